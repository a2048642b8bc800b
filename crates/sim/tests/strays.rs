//! A peer that uses an SA which this end has lost, as after `kill -9`: the log names the SPIs, and the diagnosis says what
//! it is, in both versions of IKE.

use diag::{Finding, Severity};
use model::dataplane::PlaneEvent;
use model::{Event, Live, LiveChild, LiveConnection, StraySa};
use sim::{NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn site(name: &str, own: &str, peer: &str, version: u8) -> Site {
    Site::new(name, own).to(peer).connection(&format!("version = {version}")).connection("dpd_delay = 10s")
}

fn findings(sim: &Sim, node: NodeId) -> Vec<Finding> {
    let endpoint = sim.endpoint(node);
    let connection = |c: &std::sync::Arc<config::Connection>| LiveConnection {
        name: c.name.clone(),
        remote_addrs: c.remote_addrs.iter().map(ToString::to_string).collect(),
        children: vec![LiveChild { name: "net".into(), starts: Some(false), ..LiveChild::default() }],
        ..LiveConnection::default()
    };
    diag::live(&Live {
        connections: endpoint.connections().map(connection).collect(),
        sas: sim.snapshots(node),
        ended: sim.tombstones(node),
        remembers: true,
        running: Some(600 * SECOND),
        strays: endpoint.strays(sim.now()),
        ..Live::default()
    })
}

#[test]
fn a_peer_that_kept_its_sa_over_our_restart_is_told_from_one_that_never_began() {
    for version in [1, 2] {
        let mut sim = Sim::new(5);
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", version));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", version));
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert!(sim.carries(a, b));
        let spis = sim.snapshots(a)[0].spis;
        assert_eq!(sim.endpoint(b).strays(sim.now()), []);
        sim.restart(b);
        assert_eq!(findings(&sim, b)[0].id, "not-started");
        sim.run_for(20 * SECOND);

        let strays = sim.endpoint(b).strays(sim.now());
        let [stray] = strays.as_slice() else { panic!("IKEv{version}: {strays:?}") };
        assert_eq!((stray.from, &stray.connections), (sim.address(a), &vec!["gw".to_string()]));
        assert_eq!(stray.sa, StraySa::Ike { version, spis });
        assert!(stray.count >= 2 && stray.last <= 10 * SECOND, "{stray:?}");
        let lines: Vec<String> = sim.events(b).map(|(_, event): (_, &Event)| event.log().2).collect();
        let port = if version == 1 { 500 } else { 4500 }; // MOBIKE goes on over the latter
        let line = format!("dropped a datagram from 192.0.2.1:{port}: unknown-spi {spis}");
        assert!(lines.contains(&line), "{lines:?}");

        let found = &findings(&sim, b)[0];
        assert_eq!((found.id, found.severity), ("lost-here", Severity::Warning));
        assert_eq!(found.causes, [diag::Cause::StaleSa]);
        assert!(found.evidence.iter().any(|e| e.contains(&spis.to_string())), "{found:?}");
        let remedy = format!("{:?}", found.remedy);
        assert!(remedy.contains("--initiate --child net") && remedy.contains(&spis.to_string()), "{remedy}");

        // The peer finds out; what we begin ourselves is healthy, and stays so.
        sim.initiate(b, a);
        sim.run_for(300 * SECOND);
        assert!(sim.carries(a, b), "IKEv{version}");
        assert!(findings(&sim, b)[0].severity <= Severity::Info, "{:?}", findings(&sim, b));
    }
}

/// ESP alone shows it too, before the peer asks for a sign of life.
#[test]
fn esp_of_a_lost_sa_is_remembered_of_configured_peers_only() {
    let mut sim = Sim::new(5);
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", 2));
    for from in ["192.0.2.1", "192.0.2.77"] {
        sim.report(b, PlaneEvent::UnknownSpi { spi: 0xc0ff_ee01, from: from.parse().unwrap() });
    }
    let strays = sim.endpoint(b).strays(sim.now());
    assert_eq!(strays.len(), 1, "{strays:?}");
    assert_eq!(strays[0].sa, StraySa::Esp { spi: 0xc0ff_ee01 });
    assert_eq!(findings(&sim, b)[0].id, "lost-here");
    sim.run_for(1000 * SECOND);
    assert_eq!(findings(&sim, b)[0].id, "not-started", "it has stopped");
}

/// What comes late, of an SA that has just ended, is nothing strange.
#[test]
fn messages_that_are_late_are_no_sign_of_a_lost_sa() {
    for version in [1, 2] {
        let mut sim = Sim::new(5);
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", version));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", version));
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        let late = sim.wire.iter().rev().find(|(_, d)| d.from.ip() == sim.address(a)).unwrap().1.clone();
        sim.terminate(b, &proto::Selection::default());
        sim.run_for(15 * SECOND);
        sim.inject(late);
        sim.run_for(SECOND);
        assert_ne!(findings(&sim, b)[0].id, "lost-here", "IKEv{version}");
    }
}
