//! Policies without SAs. Traps: a packet asks for its Child SA (`start_action = trap`). Shunts: what is not protected
//! (`mode = pass`, `mode = drop`).

use model::SaId;
use model::dataplane::{PlaneEvent, ShuntAction};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sites(version: u8) -> (Site, Site) {
    let site = |name: &str, own: &str, peer: &str, local: &str, remote: &str| {
        let site = Site::new(name, own).to(peer).connection(&format!("version = {version}"));
        site.child(&format!("local_ts = {local}")).child(&format!("remote_ts = {remote}"))
    };
    (
        site("a", "192.0.2.1", "192.0.2.2", "10.1.0.0/16", "10.2.0.0/16"),
        site("b", "192.0.2.2", "192.0.2.1", "10.2.0.0/16", "10.1.0.0/16"),
    )
}

fn trap(sim: &mut Sim, node: NodeId, peer: NodeId) -> SaId {
    let at = |address| SocketAddr::new(address, 500);
    let (local, remote) = (at(sim.address(node)), at(sim.address(peer)));
    sim.with(node, |endpoint, _| endpoint.install_trap("gw", "net", local, remote).expect("a trap"))
}

fn packet(sim: &mut Sim, node: NodeId, trap: SaId, destination: &str) {
    let (source, destination) = ("10.1.0.9:4711".parse().unwrap(), format!("{destination}:80").parse().unwrap());
    sim.report(node, PlaneEvent::Acquire { trap, source, destination, protocol: 6 });
}

fn texts(list: &[model::TrafficSelector]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_packet_brings_the_child_sa_up_and_the_trap_stays() {
    for version in [1, 2] {
        let (site_a, site_b) = sites(version);
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        let id = trap(&mut sim, a, b);
        assert_eq!(sim.plane(a).traps().map(|t| t.trap).collect::<Vec<_>>(), [id]);
        assert_eq!(sim.endpoint(a).sizes(), (0, 0), "nothing is negotiated yet");
        // Packets go on while it is negotiated.
        for _ in 0..3 {
            packet(&mut sim, a, id, "10.2.0.1");
        }
        sim.run_for(10 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes()), (1, (1, 0)), "IKEv{version}");
        let install = sim.plane(a).installed().next().unwrap();
        let reqid = sim.plane(a).traps().next().unwrap().reqid;
        assert_eq!((install.reqid, texts(&install.remote_ts)), (reqid, vec!["10.2.0.0/16".to_string()]));
        packet(&mut sim, a, id, "10.2.0.77");
        sim.run_for(10 * SECOND);
        assert_eq!(sim.plane(a).installs, 1, "there is one already");
        // What the peer ends, the next packet makes again.
        sim.terminate(b, &Selection::default());
        sim.run_for(10 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.plane(a).traps().count()), (0, 1));
        packet(&mut sim, a, id, "10.2.0.1");
        sim.run_for(10 * SECOND);
        assert_eq!(sim.pairs(a, b), 1, "IKEv{version}");
        assert_eq!(sim.with(a, |endpoint, _| endpoint.uninstall_traps(None, Some("net"))), 1);
        assert_eq!((sim.plane(a).traps().count(), sim.pairs(a, b)), (0, 1), "the SA stays");
        packet(&mut sim, a, id, "10.2.0.1");
        assert!(sim.with(a, |endpoint, _| endpoint.unload_connection("gw")));
    }
}

#[test]
fn a_peer_that_narrows_gets_a_child_sa_for_each_part() {
    let (site_a, _) = sites(2);
    let part = |name: &str, ts: &str| format!("{name} {{ local_ts = {ts}\n remote_ts = 10.1.0.0/16 }}");
    let site_b = Site::new("b", "192.0.2.2").text(&format!(
        "connections {{ gw {{\n local_addrs = 192.0.2.2\n remote_addrs = 192.0.2.1\n local {{ auth = psk\n id = b.example }}\n \
         remote {{ auth = psk }}\n children {{ {}\n {} }} }} }}\nsecrets {{ ike-all {{ secret = swordfish }} }}\n",
        part("low", "10.2.0.0/28"),
        part("high", "10.2.0.16/28"),
    ));
    let mut sim = Sim::new(3);
    let (a, b) = (sim.add(site_a), sim.add(site_b));
    let id = trap(&mut sim, a, b);
    let mut expected = Vec::new();
    // RFC 7296 section 2.9: the packet's own selectors come first and decide, in IKE_AUTH and in CREATE_CHILD_SA.
    for (destination, part) in [("10.2.0.17", "10.2.0.16/28"), ("10.2.0.1", "10.2.0.0/28")] {
        packet(&mut sim, a, id, destination);
        sim.run_for(10 * SECOND);
        expected.push(part.to_string());
        let all: Vec<String> = sim.plane(a).installed().flat_map(|i| texts(&i.remote_ts)).collect();
        assert_eq!(all, expected);
        packet(&mut sim, a, id, destination);
        sim.run_for(10 * SECOND);
    }
    assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.plane(a).installs), (2, (1, 0), 2));
    // A packet of neither part is refused, and leaves nothing behind.
    packet(&mut sim, a, id, "10.2.9.9");
    sim.run_for(60 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.snapshots(a)[0].children.len()), (2, 2));
    // And is not asked for with each packet.
    let messages = sim.wire.len();
    packet(&mut sim, a, id, "10.2.0.1");
    for _ in 0..5 {
        packet(&mut sim, a, id, "10.2.9.8");
        packet(&mut sim, a, id, "10.2.9.8");
        sim.run_for(2 * SECOND);
    }
    assert_eq!((sim.wire.len() - messages, sim.pairs(a, b)), (4, 2), "one attempt, and one Delete");
    // A new IKE SA has both parts too.
    let before = sim.snapshots(a)[0].id;
    assert_eq!(sim.with(a, |endpoint, now| endpoint.reauthenticate(now, &Selection::default())), 1);
    sim.run_for(30 * SECOND);
    assert!(sim.snapshots(a)[0].id > before);
    let mut all: Vec<String> = sim.plane(a).installed().flat_map(|i| texts(&i.remote_ts)).collect();
    all.sort();
    assert_eq!(
        (sim.pairs(a, b), sim.endpoint(a).sizes(), all),
        (2, (1, 0), vec!["10.2.0.0/28".into(), "10.2.0.16/28".into()])
    );
}

#[test]
fn a_lost_peer_or_a_closed_child_leaves_a_trap() {
    for version in [1, 2] {
        let (site_a, site_b) = sites(version);
        let site_a = site_a.connection("dpd_delay = 5").child("dpd_action = trap").child("close_action = trap");
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.plane(a).traps().count()), (1, 0));
        // Closed by the peer: the Child SA alone, then with its IKE SA.
        for round in 0..3 {
            match round {
                0 => drop(sim.terminate(b, &Selection { child: Some("net".into()), ..Selection::default() })),
                1 => drop(sim.terminate(b, &Selection::default())),
                _ => sim.crash(b),
            }
            sim.run_for(400 * SECOND);
            assert_eq!(sim.plane(a).installed().count(), 0, "IKEv{version}, round {round}");
            let traps: Vec<SaId> = sim.plane(a).traps().map(|t| t.trap).collect();
            assert_eq!(traps.len(), 1, "IKEv{version}, round {round}");
            if round == 2 {
                sim.restart(b);
            }
            packet(&mut sim, a, traps[0], "10.2.0.1");
            sim.run_for(10 * SECOND);
            assert_eq!(sim.pairs(a, b), 1, "IKEv{version}, round {round}");
        }
    }
}

#[test]
fn between_hosts_the_packet_names_the_peer() {
    let site = |name: &str, own: &str| {
        let site = Site::new(name, own).to("%any").connection("version = 2").child("mode = transport");
        site.local_id(None)
    };
    let mut sim = Sim::new(3);
    let (a, b, c) = (sim.add(site("a", "192.0.2.1")), sim.add(site("b", "192.0.2.2")), sim.add(site("c", "192.0.2.3")));
    let any: SocketAddr = "0.0.0.0:500".parse().unwrap();
    let local = SocketAddr::new(sim.address(a), 500);
    let id = sim.with(a, |endpoint, _| endpoint.install_trap("gw", "net", local, any).expect("a trap"));
    assert_eq!(texts(&sim.plane(a).traps().next().unwrap().remote_ts), ["0.0.0.0/0"]);
    for peer in [b, c, b] {
        let (source, destination) = (SocketAddr::new(sim.address(a), 8), SocketAddr::new(sim.address(peer), 0));
        sim.report(a, PlaneEvent::Acquire { trap: id, source, destination, protocol: 1 });
        sim.run_for(5 * SECOND);
        assert_eq!(sim.pairs(a, peer), 1);
    }
    assert_eq!((sim.plane(a).installs, sim.endpoint(a).sizes()), (2, (2, 0)));
    // In tunnel mode nobody could be asked.
    sim.with(a, |endpoint, _| {
        let mut connection = config::Connection::clone(endpoint.connections().next().unwrap());
        connection.children[0].mode = model::dataplane::Mode::Tunnel;
        endpoint.load_connection(std::sync::Arc::new(connection));
        let refused = endpoint.install_trap("gw", "net", local, any).unwrap_err();
        assert!(refused.to_string().contains("set remote_addrs"), "{refused}");
        assert!(endpoint.install_trap("gw", "nosuch", local, any).is_err());
    });
}

/// This end has lost everything and has nothing to send. The peer has an SA, and what it sends by that gets nowhere until it finds
/// out; without `dpd_delay` it never would.
#[test]
fn a_peer_that_uses_what_we_have_lost_wakes_the_trap() {
    for version in [1, 2] {
        for of_ike in [true, false] {
            let (site_a, site_b) = sites(version);
            let site_a = if of_ike { site_a.connection("dpd_delay = 10") } else { site_a };
            let mut sim = Sim::new(3);
            let (a, b) = (sim.add(site_a), sim.add(site_b));
            sim.initiate(a, b);
            sim.run_for(5 * SECOND);
            sim.restart(b);
            trap(&mut sim, b, a);
            let unknown = |sim: &mut Sim, from: &str| {
                sim.report(b, PlaneEvent::UnknownSpi { spi: 0x1234_5678, from: from.parse().unwrap() });
            };
            if of_ike {
                sim.run_for(20 * SECOND);
            } else {
                sim.run_for(400 * SECOND);
                unknown(&mut sim, "203.0.113.9");
                assert_eq!(sim.endpoint(b).sizes(), (0, 0), "that is none of our peers");
                unknown(&mut sim, "192.0.2.1");
                sim.run_for(5 * SECOND);
            }
            assert_eq!((sim.pairs(a, b), sim.plane(a).installed().count()), (1, 1), "IKEv{version}, {of_ike}");
            // What is late, or made up, has no effect where there is an SA with that peer.
            (0..100).for_each(|_| unknown(&mut sim, "192.0.2.1"));
            sim.run_for(5 * SECOND);
            assert_eq!((sim.plane(b).installs, sim.endpoint(b).sizes()), (1, (1, 0)));
        }
    }
}

/// What was on its way when an IKE SA was deleted does not bring it back.
#[test]
fn what_is_late_does_not_wake_a_trap() {
    for version in [1, 2] {
        let (site_a, site_b) = sites(version);
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        trap(&mut sim, b, a);
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert_eq!(sim.pairs(a, b), 1, "IKEv{version}");
        sim.terminate(a, &proto::Selection::default());
        let late = |sim: &mut Sim| {
            sim.report(b, PlaneEvent::UnknownSpi { spi: 0x1234_5678, from: "192.0.2.1".parse().unwrap() });
            sim.run_for(5 * SECOND);
        };
        (0..4).for_each(|_| late(&mut sim));
        assert_eq!((sim.pairs(a, b), sim.plane(b).installs), (0, 1), "IKEv{version}");
        sim.run_for(60 * SECOND);
        late(&mut sim);
        assert_eq!(sim.pairs(a, b), 1, "IKEv{version}: a minute later it is not late");
    }
}

/// In the name of a peer that is silent anybody can say that it has an SA: once in a minute we believe it.
#[test]
fn a_trap_is_woken_once_in_a_minute() {
    let (site_a, site_b) = sites(2);
    let mut sim = Sim::new(3);
    let (a, b) = (sim.add(site_a), sim.add(site_b));
    trap(&mut sim, a, b);
    sim.crash(b);
    for _ in 0..600 {
        let from = sim.address(b);
        sim.report(a, PlaneEvent::UnknownSpi { spi: 0x1234_5678, from });
        sim.run_for(SECOND);
    }
    let begun = sim.tombstones(a).len() + sim.endpoint(a).sizes().0 + sim.endpoint(a).sizes().1;
    assert!((3..=5).contains(&begun), "{begun}: each takes 165 s, one after the other");
    assert!(sim.wire.len() <= 40, "{} datagrams", sim.wire.len());
}

/// `keyingtries` attempts at a silent peer are all that one packet brings about. The trap stays, as with strongSwan, and the next
/// packet begins again.
#[test]
fn a_silent_peer_is_asked_again_by_the_next_packet() {
    for version in [1, 2] {
        let (site_a, site_b) = sites(version);
        let site_a = site_a.connection("keyingtries = 1").child("close_action = trap\nstart_action = trap");
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        let id = trap(&mut sim, a, b);
        sim.crash(b);
        for _ in 0..2 {
            packet(&mut sim, a, id, "10.2.0.1");
            sim.run_for(400 * SECOND);
            assert_eq!((sim.endpoint(a).sizes(), sim.plane(a).traps().count()), ((0, 0), 1), "IKEv{version}");
        }
        let given_up = sim.tombstones(a).iter().filter(|t| t.failure.kind.code() == "NO_RESPONSE").count();
        assert_eq!(given_up, 2, "once for each packet");
        sim.restart(b);
        packet(&mut sim, a, id, "10.2.0.1");
        sim.run_for(10 * SECOND);
        assert_eq!(sim.pairs(a, b), 1, "IKEv{version}");
    }
}

#[test]
fn a_data_plane_that_cannot_trap_is_not_asked_again() {
    let (site_a, site_b) = sites(2);
    let mut sim = Sim::new(3);
    let (a, b) = (sim.add(site_a), sim.add(site_b));
    let id = trap(&mut sim, a, b);
    sim.report(a, PlaneEvent::Failed { child: id, reason: "no such thing".into() });
    assert_eq!(sim.endpoint(a).traps().count(), 0);
    packet(&mut sim, a, id, "10.2.0.1");
    assert_eq!(sim.endpoint(a).sizes(), (0, 0));
}

/// A connection with a shunt, and one that has nothing else.
fn with_shunts(site: Site, lines: &str) -> Site {
    let text = site.configuration().replacen("children {", &format!("children {{\n      lan {{ {lines} }}\n"), 1);
    let only = "  stop { children { all { mode = drop } } }\n}\nsecrets";
    site.text(&text.replacen("}\nsecrets", only, 1))
}

#[test]
fn shunts_come_with_their_connection_and_go_with_it() {
    let (site_a, site_b) = sites(2);
    let mut sim = Sim::new(3);
    let lan = "mode = pass\n local_ts = 10.1.0.0/16\n remote_ts = 10.1.0.0/16[tcp/22]\n priority = 3";
    let (a, b) = (sim.add(with_shunts(site_a, lan)), sim.add(site_b));
    let id = sim.with(a, |endpoint, _| endpoint.install_shunt("gw", "lan").expect("a shunt"));
    sim.with(a, |endpoint, _| endpoint.install_shunt("stop", "all").expect("a shunt"));
    sim.with(a, |endpoint, _| assert!(endpoint.install_shunt("gw", "net").is_err(), "that is a child"));
    let shunt = sim.plane(a).shunts().next().unwrap();
    assert_eq!((shunt.shunt, shunt.action, shunt.priority), (id, ShuntAction::Pass, Some(3)));
    let own = texts(&shunt.local_ts);
    assert_eq!((own, texts(&shunt.remote_ts)), (vec!["10.1.0.0/16".into()], vec!["10.1.0.0/16[tcp/ssh]".into()]));
    // Without addresses of its own a discard is for everything.
    let stop = sim.plane(a).shunts().find(|s| s.name == "all").unwrap();
    assert_eq!((stop.action, texts(&stop.local_ts)), (ShuntAction::Drop, vec!["0.0.0.0/0".into(), "::/0".into()]));
    // Nothing is negotiated for it, and it is nobody's connection.
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert_eq!(sim.pairs(a, b), 1);
    assert!(sim.snapshots(a).iter().all(|sa| sa.children.iter().all(|c| c.name == "net")));
    // Installed again it takes the place of the former one.
    let again = sim.with(a, |endpoint, _| endpoint.install_shunt("gw", "lan").expect("a shunt"));
    assert!(again != id && sim.plane(a).shunts().count() == 2);
    // Loaded without it, it goes; so does everything with its connection.
    sim.with(a, |endpoint, _| {
        let gw = endpoint.connections().find(|c| c.name == "gw").unwrap();
        let without = config::Connection { shunts: Vec::new(), ..config::Connection::clone(gw) };
        endpoint.load_connection(std::sync::Arc::new(without));
    });
    assert_eq!(sim.plane(a).shunts().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["all"]);
    sim.with(a, |endpoint, _| endpoint.unload_connection("stop"));
    assert_eq!(sim.plane(a).shunts().count(), 0);
    assert_eq!(sim.pairs(a, b), 1, "the SAs stay");
    assert!(sim.plane(a).violations.is_empty(), "{:?}", sim.plane(a).violations);
}

/// A connection that only says what to drop must not catch a peer that fits no other one better.
#[test]
fn a_connection_of_shunts_alone_answers_nobody() {
    let (site_a, site_b) = sites(2);
    let mut sim = Sim::new(3);
    let only = site_b.text("connections { stop { children { all { mode = drop } } } }");
    let (a, b) = (sim.add(site_a), sim.add(only));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.endpoint(b).sizes()), (0, (0, 0)));
    let codes: Vec<_> = sim.tombstones(b).iter().map(|t| t.failure.kind.code()).collect();
    assert!(codes.contains(&"NO_CONFIG"), "{codes:?}");
}

#[test]
fn a_data_plane_that_cannot_drop_has_no_shunt() {
    let (site_a, _) = sites(2);
    let mut sim = Sim::new(3);
    let a = sim.add(with_shunts(site_a, "mode = drop"));
    let id = sim.with(a, |endpoint, _| endpoint.install_shunt("gw", "lan").expect("a shunt"));
    sim.report(a, PlaneEvent::Failed { child: id, reason: "no such thing".into() });
    assert_eq!(sim.endpoint(a).shunts().count(), 0);
}
