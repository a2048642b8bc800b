//! Reauthentication by a new IKE SA beside the old one (RFC 7296 section 2.8.3): nothing is down meanwhile, and nothing is
//! lost by it, whoever ends the old one and whenever.

use model::{Event, FailureKind, IkeState, SaId};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const CHILDREN: [&str; 3] = ["one", "two", "three"];

/// An end with three children and these lines in its connection and in each child.
fn site(name: &str, own: &str, peer: &str, connection: &str, child: &str) -> Site {
    let (here, there) = if name == "a" { (1, 2) } else { (2, 1) };
    let children = (1..).zip(CHILDREN).map(|(n, child_name)| {
        format!("{child_name} {{ local_ts = 10.{here}.{n}.0/24\n remote_ts = 10.{there}.{n}.0/24\n {child} }}\n")
    });
    Site::new(name, own).text(&format!(
        "connections {{ gw {{
            local_addrs = {own}
            remote_addrs = {peer}
            {connection}
            local {{ auth = psk }}
            remote {{ auth = psk }}
            children {{ {} }}
        }} }}
        secrets {{ ike-all {{ secret = swordfish }} }}",
        children.collect::<String>()
    ))
}

/// All three are up.
fn up(a: [&str; 2], b: [&str; 2]) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(5);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", a[0], a[1]));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", b[0], b[1]));
    let at = |node| SocketAddr::new(sim.address(node), 500);
    let (local, remote) = (at(a), at(b));
    for child in CHILDREN {
        assert!(sim.with(a, |endpoint, now| endpoint.initiate_for_good(now, "gw", child, local, remote).is_ok()));
    }
    sim.run_until(5 * SECOND, |sim| sim.pairs(a, b) == 3).expect("all three");
    sim.settle(5 * SECOND);
    (sim, a, b)
}

fn reauthenticate(sim: &mut Sim, node: NodeId) {
    assert_eq!(sim.with(node, |endpoint, now| endpoint.reauthenticate(now, &Selection::default())), 1);
}

/// Loses the next answers of an exchange, so many.
fn lose_answers(sim: &mut Sim, exchange: ExchangeType, count: u32) {
    let left = Rc::new(Cell::new(count));
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let answer = Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == exchange && h.is_response());
        if answer && left.get() > 0 {
            left.set(left.get() - 1);
            return Vec::new();
        }
        vec![(Duration::ZERO, datagram.clone())]
    })));
}

/// The peer deletes the old IKE SA before the answer of the new one is here, as a peer may that has only one of each other.
#[test]
fn the_children_of_an_ike_sa_that_ends_meanwhile_come_all_the_same() {
    for child in ["", "close_action = start"] {
        let (mut sim, a, b) = up(["", child], ["", ""]);
        lose_answers(&mut sim, ExchangeType::IKE_AUTH, 1);
        reauthenticate(&mut sim, a);
        sim.run_for(500 * MILLISECOND);
        let old = sim.snapshots(b).iter().map(|sa| sa.id).min();
        sim.terminate(b, &Selection { ike_id: old, ..Selection::default() });
        sim.run_for(500 * MILLISECOND);
        assert_eq!(sim.pairs(a, b), 0, "the old one is gone, the new one not here");
        sim.run_for(20 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes()), (3, (1, 0)), "{:?}", sim.snapshots(a));
        assert_eq!(sim.failure(a).kind, FailureKind::PeerDeleted);
        // Once is enough.
        assert_eq!((sim.plane(a).installs, sim.plane(a).deletes), (6, 3));
    }
}

/// Where the new one fails and is begun again, all of them come with it.
#[test]
fn they_come_with_the_next_attempt_too() {
    let (mut sim, a, b) = up(["keyingtries = 0\n over_time = 20s", ""], ["", ""]);
    reauthenticate(&mut sim, a);
    sim.crash(b);
    sim.run_for(400 * SECOND);
    assert_eq!(sim.plane(a).installed().count(), 0, "the old one is gone");
    sim.restart(b);
    sim.run_for(120 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes()), (3, (1, 0)), "{:?}", sim.snapshots(a));
}

/// The peer has the first of them no more: the others come all the same, and the old IKE SA goes.
#[test]
fn the_others_come_where_the_first_one_is_refused() {
    let (mut sim, a, b) = up(["", ""], ["", ""]);
    let first = sim.snapshots(a)[0].children[0].name.clone();
    let mut connection = site("b", "192.0.2.2", "192.0.2.1", "", "").load().connections.remove(0).as_ref().clone();
    connection.children.retain(|child| child.name != first);
    sim.with(b, |endpoint, _| endpoint.load_connection(connection.into()));
    reauthenticate(&mut sim, a);
    sim.run_for(20 * SECOND);
    let names: Vec<String> = sim.snapshots(a)[0].children.iter().map(|c| c.name.clone()).collect();
    let others: Vec<&str> = CHILDREN.into_iter().filter(|name| *name != first).collect();
    let up: Vec<&str> = others.iter().copied().filter(|name| names.iter().any(|n| n == name)).collect();
    assert_eq!((sim.pairs(a, b), up), (2, others));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "the old one is gone");
}

/// What an operator ended is not brought back.
#[test]
fn what_the_operator_ends_meanwhile_is_ended() {
    let (mut sim, a, b) = up(["", ""], ["", ""]);
    reauthenticate(&mut sim, a);
    sim.terminate(a, &Selection::default());
    sim.run_for(20 * SECOND);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
}

/// `unique = replace` at the responder: each child has a pair all the time, and the initiator deletes the old one.
#[test]
fn one_of_each_peer_leaves_the_initiator_the_time() {
    let (mut sim, a, b) = up(["", ""], ["unique = replace", ""]);
    lose_answers(&mut sim, ExchangeType::IKE_AUTH, 1);
    reauthenticate(&mut sim, a);
    for _ in 0..1000 {
        sim.run_for(5 * MILLISECOND);
        assert!(sim.pairs(a, b) >= 3, "a child is without a pair at {:?}", sim.now());
    }
    sim.run_for(20 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (3, (1, 0), (1, 0)));
    let by = sim.snapshots(b)[0].id;
    assert_eq!(sim.failure(b).kind, FailureKind::Replaced { by });
    assert_eq!(sim.tombstones(b).len(), 1);
}

/// An initiator that does not delete the old one, or has forgotten it, has one of them all the same, soon.
#[test]
fn who_does_not_delete_the_old_one_has_it_deleted() {
    for again in [1, 3] {
        let (mut sim, a, b) = up(["unique = never", ""], ["unique = replace", ""]);
        sim.restart(a); // and says no INITIAL_CONTACT
        for _ in 0..again {
            sim.restart(a);
            let at = |node| SocketAddr::new(sim.address(node), 500);
            let (local, remote) = (at(a), at(b));
            assert!(sim.with(a, |endpoint, now| endpoint.initiate(now, "gw", "one", local, remote).is_ok()));
            sim.run_for(SECOND);
        }
        let old: Vec<SaId> =
            sim.snapshots(b).iter().filter(|sa| sa.state == IkeState::Rekeyed).map(|sa| sa.id).collect();
        assert_eq!(old.len(), 1, "of those from before one is left, however often it comes");
        assert!(sim.carries(a, b));
        sim.run_for(10 * SECOND);
        let live: Vec<IkeState> = sim.snapshots(b).iter().map(|sa| sa.state).collect();
        assert_eq!(live.iter().filter(|state| **state != IkeState::Deleting).count(), 1, "{live:?}");
        assert!(sim.carries(a, b));
    }
}

/// INITIAL_CONTACT is still a peer that has nothing any more (RFC 7296 section 2.4).
#[test]
fn who_has_restarted_and_says_so_has_one_at_once() {
    let (mut sim, a, b) = up(["", ""], ["unique = replace", ""]);
    sim.restart(a);
    let at = |node| SocketAddr::new(sim.address(node), 500);
    let (local, remote) = (at(a), at(b));
    assert!(sim.with(a, |endpoint, now| endpoint.initiate(now, "gw", "one", local, remote).is_ok()));
    sim.run_until(SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    assert_eq!((sim.endpoint(b).sizes(), sim.plane(b).installed().count()), ((1, 0), 1));
}

/// A child that the peer cannot make just now (RFC 7296 section 2.25) is worth the wait: until it is there the old one carries
/// its traffic.
#[test]
fn the_old_one_stays_until_what_was_put_off_is_there() {
    let (mut sim, a, b) = up(["", ""], ["", ""]);
    reauthenticate(&mut sim, a);
    sim.run_until(SECOND, |sim| sim.endpoint(b).sizes().0 == 2 && sim.plane(b).installed().count() == 4).expect("two");
    // It rekeys the new IKE SA as the request for the second child comes.
    let new = sim.snapshots(b).iter().map(|sa| sa.id).max();
    let selection = Selection { ike_id: new, ..Selection::default() };
    assert_eq!(sim.with(b, |endpoint, now| endpoint.rekey(now, &selection)), 1);
    for _ in 0..12000 {
        sim.run_for(5 * MILLISECOND);
        assert!(sim.pairs(a, b) >= 3, "a child is without a pair at {:?}", sim.now());
    }
    let put_off = |text: &str| text.contains("the peer cannot make CHILD_SA") && text.contains("again later");
    let told = |e: &Event| matches!(e, Event::Step { text, .. } if put_off(text));
    assert!(sim.events(a).any(|(_, e)| told(e)));
    sim.run_for(60 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (3, (1, 0), (1, 0)));
    assert!(matches!(sim.tombstones(a)[0].failure.kind, FailureKind::Replaced { .. }), "{:?}", sim.failure(a));
}

/// What remains of a Child SA is of that one alone, however many its IKE SA has: a peer may make many, and end them all.
#[test]
fn what_remains_of_a_child_is_not_of_the_others() {
    let (mut sim, a, b) = up(["", ""], ["", ""]);
    sim.terminate(a, &Selection { child: Some("two".to_string()), ..Selection::default() });
    sim.run_for(SECOND);
    for node in [a, b] {
        let [ended] = &sim.tombstones(node)[..] else { panic!("one") };
        let names: Vec<&str> = ended.sa.children.iter().map(|c| c.name.as_str()).collect();
        assert_eq!((ended.child.as_deref(), names), (Some("two"), vec!["two"]));
    }
    // Of the IKE SA all that it had, and each is told once, by itself.
    sim.terminate(a, &Selection::default());
    sim.run_for(SECOND);
    for node in [a, b] {
        let whole = sim.tombstones(node).into_iter().find(|ended| ended.child.is_none());
        assert_eq!(whole.map(|ended| ended.sa.children.len()), Some(2));
        let down = sim.events(node).filter_map(|(_, e)| match e {
            Event::ChildDown(sa) => Some(sa.children.iter().map(|c| c.name.as_str()).collect::<Vec<_>>()),
            _ => None,
        });
        assert_eq!(down.collect::<Vec<_>>(), [["two"], ["one"], ["three"]]);
    }
}
