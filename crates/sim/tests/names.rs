//! A peer that the configuration knows by its host name, as the responder.

use model::{DropReason, FailureKind, Role};
use proto::{Input, Output};
use sim::{Peer, Sim, Site};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const GATEWAY: &str = "192.0.2.2";

fn roadwarrior(address: &str, version: &str) -> Site {
    Site::new("carol", address).to(GATEWAY).remote_id("moon.example").connection(version)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The responder asks when somebody comes whom it does not know, and takes who comes from an address of the name; when the
/// name has moved it takes the new one.
#[test]
fn a_name_is_looked_up_when_somebody_comes() {
    for version in ["version = 1", "version = 2"] {
        let mut sim = Sim::new(1);
        let gateway = Site::new("moon", GATEWAY).to("carol.example.org").remote_id("carol.example");
        let gateway = sim.add(gateway.connection(version).connection("unique = replace"));
        let home = sim.add(roadwarrior("192.0.2.1", version));
        sim.names.insert("carol.example.org".into(), vec![ip("192.0.2.1"), ip("2001:db8::1")]);
        sim.initiate(home, gateway);
        assert!(sim.run_until(5 * SECOND, |sim| sim.carries(home, gateway)).is_some(), "{:?}", sim.tombstones(home));
        assert_eq!(sim.dropped(gateway, DropReason::NameUnresolved), 1, "the first message, which came again");

        // A stranger is refused as ever, and has the name looked up no more than once a second.
        sim.run_for(10 * SECOND);
        let strangers: Vec<_> = (66..=75).map(|n| sim.add(roadwarrior(&format!("192.0.2.{n}"), version))).collect();
        for stranger in &strangers {
            sim.initiate(*stranger, gateway);
        }
        sim.run_for(Duration::from_millis(900));
        assert_eq!(sim.dropped(gateway, DropReason::NameUnresolved), 2, "only one of them asked");
        sim.run_for(5 * SECOND);
        assert!(strangers.iter().all(|stranger| !sim.carries(*stranger, gateway)));
        assert!(matches!(sim.failure(gateway).kind, FailureKind::NoConfig { .. }), "{}", sim.failure(gateway));

        // Carol is somewhere else now.
        sim.crash(home);
        sim.names.insert("carol.example.org".into(), vec![ip("192.0.2.7")]);
        let away = sim.add(roadwarrior("192.0.2.7", version));
        sim.run_for(60 * SECOND);
        sim.initiate(away, gateway);
        assert!(sim.run_until(5 * SECOND, |sim| sim.carries(away, gateway)).is_some(), "{:?}", sim.tombstones(away));
        sim.run_for(SECOND);
        assert_eq!(sim.endpoint(gateway).sizes(), (1, 0), "the old one is replaced");
    }
}

#[test]
fn a_name_without_addresses_lets_nobody_in() {
    let mut sim = Sim::new(1);
    let gateway = sim.add(Site::new("moon", GATEWAY).to("gone.example.org").remote_id("carol.example"));
    let carol = sim.add(roadwarrior("192.0.2.1", "version = 2"));
    sim.initiate(carol, gateway);
    sim.run_for(20 * SECOND);
    assert!(!sim.carries(carol, gateway));
    assert_eq!(sim.endpoint(gateway).sizes(), (0, 0));
}

/// Who sends from other people's addresses costs an answer and nothing else: nobody is asked for addresses of a host name
/// for it. Whoever returns the cookie is looked for as ever (RFC 7296 section 2.6).
#[test]
fn nothing_is_looked_up_for_an_address_that_is_not_proven() {
    let mut sim = Sim::new(1);
    let gateway = Site::new("moon", GATEWAY).to("carol.example.org").to("192.0.2.66").remote_id("%any");
    let gateway = sim.add(gateway.connection(sim::peer::PROPOSALS).settings(|s| s.cookie_threshold = 1));
    let home = sim.add(roadwarrior("192.0.2.1", sim::peer::PROPOSALS));
    sim.names.insert("carol.example.org".into(), vec![ip("192.0.2.1")]);
    let to = "192.0.2.2:500".parse().unwrap();
    let first_message = |sim: &mut Sim, n: u8| {
        let mut stranger = Peer::new(Role::Initiator, n.into());
        let bytes = stranger.init(&stranger.init_parts());
        let from = SocketAddr::from(([192, 0, 2, n], 500));
        let outputs: Vec<Output> = sim.with(gateway, |endpoint, now| {
            endpoint.handle(now, Input::Datagram { local: to, remote: from, bytes: &bytes });
            std::iter::from_fn(|| endpoint.poll_output()).collect()
        });
        let asks = outputs.iter().any(|o| matches!(o, Output::Resolve(_)));
        let answers = outputs.into_iter().filter_map(|o| match o {
            Output::Transmit { message, .. } => stranger.open(&message).map(|o| o.notifies()),
            _ => None,
        });
        (answers.collect::<Vec<_>>(), asks)
    };
    first_message(&mut sim, 66);
    assert_eq!(sim.endpoint(gateway).sizes(), (1, 1), "from here on everybody is asked for a cookie");
    for n in 100..200 {
        assert_eq!(first_message(&mut sim, n), (vec![vec![16390]], false), "a cookie and no question");
    }
    assert_eq!(sim.dropped(gateway, DropReason::NameUnresolved), 0);

    sim.initiate(home, gateway);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(home, gateway)).is_some(), "{:?}", sim.tombstones(home));
    assert_eq!(sim.dropped(gateway, DropReason::NameUnresolved), 1, "looked up once the address was proven");
}
