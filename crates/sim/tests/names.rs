//! A peer that the configuration knows by its host name, as the responder.

use model::{DropReason, FailureKind};
use sim::{Sim, Site};
use std::net::IpAddr;
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
