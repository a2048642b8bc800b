//! Both ends begin at once: one of the two IKE SAs goes, and from the moment there is a tunnel there always is one.

use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::cell::Cell;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn pair(seed: u64, connection: &str, child: &str) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(seed);
    let site = |name: &str, own: &str, peer: &str| {
        Site::new(name, own).to(peer).connection("proposals = aes128-sha256-x25519").connection(connection).child(child)
    };
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
    (sim, a, b)
}

/// Runs, and looks at each step that there is no moment without a tunnel once there was one.
fn run_carrying(sim: &mut Sim, time: Duration, a: NodeId, b: NodeId, what: &str) {
    let up = Cell::new(sim.carries(a, b));
    sim.run_until(time, |sim| {
        let carries = sim.carries(a, b);
        assert!(carries || !up.get(), "{what}: the tunnel was away");
        up.set(carries);
        false
    });
    assert!(up.get(), "{what}: no tunnel");
}

fn one_of_each(sim: &Sim, a: NodeId, b: NodeId, what: &str) {
    for node in [a, b] {
        assert_eq!(sim.endpoint(node).sizes(), (1, 0), "{what}");
        assert_eq!(sim.plane(node).installed().count(), 1, "{what}");
    }
    assert_eq!(sim.pairs(a, b), 1, "{what}");
    assert_eq!(sim.snapshots(a)[0].spis, sim.snapshots(b)[0].spis, "{what}");
}

/// Each seed has other SPIs, so that now the one, now the other end has to delete; each of the first messages is lost once.
#[test]
fn one_goes_whichever_message_is_lost() {
    let mut deleted_by = [0, 0];
    for seed in 0..12 {
        for later in [0, 15, 40] {
            for lost in 0..16 {
                let what = format!("seed {seed}, b {later} ms later, message {lost} lost");
                let (mut sim, a, b) = pair(seed, "dpd_delay = 0s", "");
                let mut count = 0;
                sim.set_hook(Some(Box::new(move |_, datagram| {
                    count += 1;
                    if count == lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
                })));
                sim.initiate(a, b);
                sim.run_for(later * MILLISECOND);
                sim.initiate(b, a);
                run_carrying(&mut sim, 200 * SECOND, a, b, &what);
                one_of_each(&sim, a, b, &what);
                let stays = sim.snapshots(a)[0].role;
                deleted_by[usize::from(stays == model::Role::Initiator)] += 1;
            }
        }
    }
    assert!(deleted_by.iter().all(|n| *n > 100), "{deleted_by:?}");
}

/// A peer that has no such rule, as charon and OpenIKED have none, deletes nothing: the end that has it deletes one a while later,
/// whoever began it, and that is the one that the peer had first.
#[test]
fn one_goes_if_only_one_end_knows_the_rule() {
    let mut stayed = [0, 0];
    for seed in 0..24 {
        for (later, lost) in [(0, 0), (8, 0), (15, 0), (25, 0)].into_iter().chain((1..16).map(|lost| (0, lost))) {
            let what = format!("seed {seed}, b {later} ms later, message {lost} lost");
            let mut sim = Sim::new(seed);
            let site = |name: &str, own: &str, peer: &str, unique: &str| {
                let site = Site::new(name, own).to(peer).connection("proposals = aes128-sha256-x25519");
                site.connection("dpd_delay = 0s").connection(unique)
            };
            let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", "unique = no"));
            let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", "unique = never"));
            let mut count = 0;
            sim.set_hook(Some(Box::new(move |_, datagram| {
                count += 1;
                if count == lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
            })));
            sim.initiate(a, b);
            sim.run_for(later * MILLISECOND);
            sim.initiate(b, a);
            sim.run_for(SECOND);
            let of_b = sim.snapshots(b);
            let newest = of_b.iter().min_by_key(|sa| sa.established).map(|sa| sa.spis).expect("one is up");
            run_carrying(&mut sim, 60 * SECOND, a, b, &what);
            one_of_each(&sim, a, b, &what);
            if lost == 0 {
                assert_eq!(of_b.len(), 2, "{what}");
                assert_eq!(sim.snapshots(b)[0].spis, newest, "{what}");
            }
            stayed[usize::from(sim.snapshots(a)[0].role == model::Role::Initiator)] += 1;
        }
    }
    assert!(stayed.iter().all(|n| *n > 20), "{stayed:?}");
}

/// What each end does when the peer deletes an SA does not bring the one back that goes.
#[test]
fn close_actions_do_not_bring_it_back() {
    for action in ["start", "trap", "none"] {
        for seed in 0..6 {
            let what = format!("close_action = {action}, seed {seed}");
            let (mut sim, a, b) = pair(seed, "dpd_delay = 10s", &format!("close_action = {action}"));
            sim.initiate(a, b);
            sim.initiate(b, a);
            run_carrying(&mut sim, 60 * SECOND, a, b, &what);
            one_of_each(&sim, a, b, &what);
            let before = sim.snapshots(a)[0].spis;
            sim.run_for(600 * SECOND);
            assert_eq!(sim.snapshots(a)[0].spis, before, "{what}");
        }
    }
}

/// With several children the one goes only when the other carries all of them.
#[test]
fn with_several_children() {
    for seed in 0..8 {
        let what = format!("seed {seed}");
        let more = "remote_ts = 10.0.0.0/24\nlocal_ts = 10.0.0.0/24\n}\nsecond {\nlocal_ts = 10.9.0.0/24\nremote_ts = 10.9.0.0/24";
        let (mut sim, a, b) = pair(seed, "dpd_delay = 10s", more);
        for (from, to) in [(a, b), (b, a)] {
            sim.initiate(from, to);
            let (local, remote) = (sim.address(from), sim.address(to));
            let at = |address| std::net::SocketAddr::new(address, 500);
            let begun =
                sim.with(from, |endpoint, now| endpoint.initiate(now, "gw", "second", at(local), at(remote)).is_ok());
            assert!(begun, "{what}");
        }
        sim.run_for(60 * SECOND);
        for node in [a, b] {
            let sas = sim.snapshots(node);
            let mut names: Vec<&str> =
                sas.iter().flat_map(|sa| &sa.children).map(|child| child.name.as_str()).collect();
            names.sort_unstable();
            assert_eq!((sas.len(), names), (1, vec!["net", "second"]), "{what}");
        }
        assert_eq!(sim.pairs(a, b), 2, "{what}");
    }
}

/// Where an end wants several SAs with a peer, or begins one much later, nothing goes.
#[test]
fn what_is_not_at_once_or_wanted_stays() {
    let (mut sim, a, b) = pair(1, "unique = never", "");
    sim.initiate(a, b);
    sim.initiate(b, a);
    sim.run_for(60 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((2, 0), (2, 0)));
    assert_eq!(sim.terminate(a, &Selection::default()).len(), 2);
}

/// IKEv1 keeps both, and neither end makes the other forget what came up meanwhile (INITIAL-CONTACT).
#[test]
fn ikev1_loses_no_tunnel_either() {
    for aggressive in ["no", "yes"] {
        for seed in 0..4 {
            for later in [0, 15, 40] {
                for lost in 0..16 {
                    let what =
                        format!("aggressive = {aggressive}, seed {seed}, b {later} ms later, message {lost} lost");
                    let v1 = format!("version = 1\ndpd_delay = 0s\naggressive = {aggressive}");
                    let (mut sim, a, b) = pair(seed, &v1, "");
                    let mut count = 0;
                    sim.set_hook(Some(Box::new(move |_, datagram| {
                        count += 1;
                        if count == lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
                    })));
                    sim.initiate(a, b);
                    sim.run_for(later * MILLISECOND);
                    sim.initiate(b, a);
                    run_carrying(&mut sim, 200 * SECOND, a, b, &what);
                }
            }
        }
    }
}
