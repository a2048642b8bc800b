//! IKEv1: lifetimes of both ends, in seconds and kilobytes: the shorter one holds (RFC 2407 section 4.5.4).

use model::Event;
use model::dataplane::PlaneEvent;
use sim::{NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn up(a_lines: &[&str], b_lines: &[&str]) -> (Sim, NodeId, NodeId) {
    up_with(("aggressive = no", "aggressive = no"), a_lines, b_lines)
}

/// With a line for the connection of each end.
fn up_with(connection: (&str, &str), a_lines: &[&str], b_lines: &[&str]) -> (Sim, NodeId, NodeId) {
    let site = |name: &str, own: &str, peer: &str, lines: &[&str]| {
        let site =
            Site::new(name, own).to(peer).connection("version = 1").connection("proposals = aes128-sha256-x25519");
        lines.iter().fold(site, |site, line| site.child(line))
    };
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", a_lines).connection(connection.0));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", b_lines).connection(connection.1));
    sim.initiate(a, b);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "{:?}", sim.tombstones(a));
    sim.settle(SECOND);
    (sim, a, b)
}

fn told(sim: &Sim, node: NodeId) -> Vec<String> {
    let step = |event: &Event| match event {
        Event::Step { text, .. } if text.contains(" shorter than we") => Some(text.clone()),
        _ => None,
    };
    sim.events(node).filter_map(|(_, event)| step(event)).collect()
}

#[test]
fn a_responder_tells_its_shorter_lifetime_and_the_initiator_obeys() {
    let (mut sim, a, b) = up(&["rekey_time = 3000s"], &["rekey_time = 300s"]);
    assert_eq!(told(&sim, a), ["the peer lets CHILD_SA net live shorter than we: 330 s, not 3300 s"]);
    assert!(told(&sim, b).is_empty());
    let child = sim.snapshots(a)[0].children[0].clone();
    assert!(child.expires_in.is_some_and(|left| left <= 330 * SECOND));
    assert!(child.rekey_in.is_some_and(|left| left > 270 * SECOND && left <= 300 * SECOND), "{:?}", child.rekey_in);
    // Without the notification the responder's end would leave a hole at each of its lifetimes.
    for _ in 0..2000 {
        sim.run_for(SECOND);
        assert!(sim.carries(a, b), "at {:?}", sim.now());
    }
    assert!(sim.plane(a).installs >= 6, "{}", sim.plane(a).installs);
}

#[test]
fn an_initiators_shorter_lifetime_holds_at_the_responder_too() {
    let (sim, a, b) = up(&["life_time = 200s"], &["rekey_time = 3000s"]);
    assert_eq!(told(&sim, b), ["the peer lets CHILD_SA net live shorter than we: 200 s, not 3300 s"]);
    assert!(told(&sim, a).is_empty());
    assert!(sim.snapshots(b)[0].children[0].expires_in.is_some_and(|left| left <= 200 * SECOND));
}

#[test]
fn an_offer_without_a_lifetime_means_eight_hours() {
    // RFC 2407 section 4.5.
    let (sim, a, b) = up(&["rekey_time = 0s"], &["rekey_time = 10h"]);
    assert_eq!(told(&sim, b), ["the peer lets CHILD_SA net live shorter than we: 28800 s, not 39600 s"]);
    assert!(told(&sim, a).is_empty());
    let (sim, a, b) = up(&["rekey_time = 0s"], &["rekey_time = 1h"]);
    assert_eq!(told(&sim, a), ["the peer lets CHILD_SA net live shorter than we: 3960 s, not without limit"]);
    assert!(told(&sim, b).is_empty());
}

#[test]
fn volumes_are_offered_and_the_smaller_one_holds() {
    let limits = |sim: &Sim, node: NodeId| {
        let install = sim.plane(node).installed().next().unwrap();
        (install.soft_bytes, install.hard_bytes)
    };
    // The responder's is smaller, then the initiator's, then one end has none.
    let (sim, a, b) = up(&["rekey_bytes = 5000000", "rand_bytes = 0"], &["life_bytes = 1100000"]);
    assert_eq!((limits(&sim, a), limits(&sim, b)), ((Some(1_000_000), Some(1_100_000)), (None, Some(1_100_000))));
    assert_eq!(told(&sim, a).len(), 1);
    let (sim, a, b) = up(&["rekey_bytes = 1000000", "rand_bytes = 0"], &["life_bytes = 5000000"]);
    assert_eq!((limits(&sim, a), limits(&sim, b)), ((Some(1_000_000), Some(1_100_000)), (None, Some(1_100_000))));
    assert_eq!(told(&sim, b).len(), 1);
    let (sim, a, b) = up(&[], &["life_bytes = 1100000"]);
    assert_eq!((limits(&sim, a), limits(&sim, b)), ((Some(1_000_000), Some(1_100_000)), (None, Some(1_100_000))));
}

#[test]
fn a_volume_that_is_used_up_at_once_ends_the_child_at_both_ends() {
    let (mut sim, a, b) = up(&[], &["life_bytes = 1100000"]);
    let child = sim.plane(a).installed().next().unwrap().child;
    sim.report(a, PlaneEvent::HardExpire { child });
    sim.run_for(SECOND);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
    assert_eq!(sim.tombstones(a)[0].failure.kind.code(), "EXPIRED");
}

#[test]
fn the_isakmp_sa_ends_with_the_shorter_lifetime_too() {
    for mode in ["aggressive = no", "aggressive = yes"] {
        let line = |time: &str| format!("{mode}\nreauth_time = {time}\nrand_time = 0s\nover_time = 100s");
        // The responder's is shorter: it says so, and the initiator is in time with the successor.
        let (mut sim, a, b) = up_with((&line("5000s"), &line("1000s")), &[], &[]);
        assert_eq!(told(&sim, a), ["the peer keeps the ISAKMP SA shorter than we: 1100 s, not 5100 s"], "{mode}");
        assert_eq!(sim.snapshots(a)[0].reauth_in.map(|left| left.as_secs()), Some(999), "{mode}");
        // Only who began can authenticate anew: to the other end it is the end.
        let ends =
            |node: NodeId| (sim.snapshots(node)[0].reauth_in.is_some(), sim.snapshots(node)[0].expires_in.is_some());
        assert_eq!((ends(a), ends(b)), ((true, false), (false, true)), "{mode}");
        let spis = sim.snapshots(a)[0].spis;
        for _ in 0..1050 {
            sim.run_for(SECOND);
            assert!(sim.carries(a, b), "{mode} at {:?}", sim.now());
        }
        assert_ne!(sim.snapshots(a)[0].spis, spis, "{mode}");
        assert!(sim.tombstones(b).iter().all(|t| t.failure.kind.code() != "EXPIRED"), "{:?}", sim.tombstones(b));
        // The initiator's is shorter: the responder holds it without a word.
        let (sim, a, b) = up_with((&line("1000s"), &line("5000s")), &[], &[]);
        assert!(told(&sim, a).is_empty() && told(&sim, b).is_empty(), "{mode}");
        assert_eq!(sim.snapshots(b)[0].expires_in.map(|left| left.as_secs()), Some(1099), "{mode}");
    }
}

/// What JSON and tmsh show is what both ends agreed upon, not what one of them is configured to.
#[test]
fn the_listed_lifetime_is_the_one_that_was_agreed() {
    for mode in ["aggressive = no", "aggressive = yes"] {
        // (initiator's, responder's) reauth_time; the overtime is 100 s at both.
        for (ours, theirs, agreed) in [("5000s", "1000s", 1100), ("1000s", "5000s", 1100)] {
            let line =
                |time: &str| format!("{mode}\nrekey_time = 0s\nreauth_time = {time}\nrand_time = 0s\nover_time = 100s");
            let (sim, a, b) = up_with((&line(ours), &line(theirs)), &[], &[]);
            for node in [a, b] {
                let [sa] = &sim.snapshots(node)[..] else { panic!("one SA") };
                assert_eq!(sa.lifetime, agreed * SECOND, "{mode}: {ours} and {theirs}");
                let tmsh = show::tmsh::render_ike_sa(
                    std::slice::from_ref(sa),
                    &show::tmsh::Options { all_properties: true, ..Default::default() },
                );
                assert!(tmsh.contains("Life/Active Time: 1100/"), "{tmsh}");
                let json = show::json::render(std::slice::from_ref(sa), &[], true);
                assert!(json.contains("\"lifetime\": 1100"), "{json}");
            }
        }
    }
}

#[test]
fn a_random_part_longer_than_the_soft_limit_does_not_rekey_at_once() {
    // Without rekey_time that is an hour, and the random part two: the difference to life_time.
    for version in ["version = 1", "version = 2"] {
        for seed in 0..20 {
            let site = |name: &str, own: &str, peer: &str| {
                Site::new(name, own).to(peer).connection(version).child("life_time = 3h").child("life_bytes = 1000000")
            };
            let mut sim = Sim::new(seed);
            let a = sim.add(site("a", "192.0.2.1", "192.0.2.2").child("rekey_bytes = 100000"));
            let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
            sim.initiate(a, b);
            sim.run_for(1790 * SECOND);
            assert_eq!((sim.plane(a).installs, sim.pairs(a, b)), (1, 1), "{version} {seed}");
            let soft = sim.plane(a).installed().next().unwrap().soft_bytes;
            assert!(soft.is_some_and(|soft| soft >= 50_000), "{version} {seed}: {soft:?}");
        }
    }
}
