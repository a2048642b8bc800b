//! Deletes that cross each other, and those whose turn comes late (RFC 7296 sections 1.4.1, 2.3 and 2.25.2).

use model::dataplane::PlaneEvent;
use model::{ChildState, FailureKind, IkeState, SaId};
use proto::Selection;
use sim::{Happened, NodeId, Sim, Site};
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn site(name: &str) -> Site {
    match name {
        "a" => Site::new("a", "192.0.2.1").to("192.0.2.2"),
        _ => Site::new("b", "192.0.2.2").to("192.0.2.1"),
    }
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(31);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate_for_good(a, b).expect("it begins");
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

fn everything() -> Selection {
    Selection::default()
}

fn child() -> Selection {
    Selection { child: Some("net".to_string()), ..Selection::default() }
}

/// How many requests of this exchange a node has sent, with repetitions.
fn requests(sim: &Sim, node: NodeId, exchange: ExchangeType) -> usize {
    let sent = |e: &&sim::LogEntry| match &e.what {
        Happened::Sent(d) => Header::parse(&d.bytes).is_ok_and(|h| h.exchange == exchange && !h.is_response()),
        _ => false,
    };
    sim.happened(node).iter().filter(sent).count()
}

/// What an operator ends stays down, whatever `close_action` says of the peer's Delete that crosses ours.
#[test]
fn what_both_operators_end_stays_down() {
    for (action, selection) in ["start", "trap"].into_iter().flat_map(|a| [(a, everything()), (a, child())]) {
        let what = format!("{action} {selection:?}");
        let line = format!("close_action = {action}");
        let (mut sim, a, b) = tunnel(site("a").child(&line), site("b").child(&line));
        sim.terminate(a, &selection);
        sim.run_for(5 * MILLISECOND);
        sim.terminate(b, &selection);
        sim.run_for(60 * SECOND);
        let left = usize::from(selection.child.is_some());
        for node in [a, b] {
            assert_eq!(sim.tombstones(node).len(), 1, "{what}");
            assert_eq!(sim.failure(node).kind, FailureKind::Terminated, "{what}");
            assert_eq!((sim.endpoint(node).sizes(), sim.plane(node).traps().count()), ((left, 0), 0), "{what}");
            assert_eq!((sim.pairs(a, b), requests(&sim, node, ExchangeType::IKE_SA_INIT) <= 1), (0, true), "{what}");
        }
    }
}

/// RFC 7296 section 1.4.1: of a Child SA that both ends delete at once each end sends no more when it hears of that, and receives
/// until its own Delete is answered, in which the SPIs are not named again.
#[test]
fn what_both_ends_delete_receives_until_the_answer() {
    let (mut sim, a, b) = tunnel(site("a"), site("b"));
    let at = sim.now();
    sim.terminate(a, &child());
    sim.terminate(b, &child());
    let retired = |sim: &Sim, node: NodeId| sim.plane(node).retired();
    sim.run_until(SECOND, |sim| retired(sim, a) == 1 && retired(sim, b) == 1).expect("both have heard of it");
    assert!(sim.now().since(at) < 20 * MILLISECOND, "the answers are on their way");
    for node in [a, b] {
        assert_eq!(sim.plane(node).installed().count(), 0, "it sends no more");
        assert_eq!(sim.snapshots(node)[0].children[0].state, ChildState::Deleting);
    }
    sim.run_until(SECOND, |sim| retired(sim, a) + retired(sim, b) == 0).expect("the answers are here");
    assert!(sim.now().since(at) < 50 * MILLISECOND);
    sim.run_for(60 * SECOND);
    for node in [a, b] {
        assert_eq!((sim.tombstones(node).len(), sim.snapshots(node)[0].children.len()), (1, 0));
        assert_eq!((sim.failure(node).kind, sim.plane(node).deletes), (FailureKind::Terminated, 1));
    }
}

/// A Delete that the peer sends by itself does what `close_action` says.
#[test]
fn what_one_end_deletes_the_other_may_bring_back() {
    for selection in [everything(), child()] {
        let (mut sim, a, b) = tunnel(site("a").child("close_action = start"), site("b"));
        sim.terminate(b, &selection);
        sim.run_for(60 * SECOND);
        assert_eq!(sim.failure(a).kind, FailureKind::PeerDeleted);
        assert_eq!(sim.pairs(a, b), 1, "{selection:?}");
    }
}

/// A Child SA that an operator ends stays down, though the peer ends the IKE SA before it hears of that.
#[test]
fn what_an_operator_ends_as_the_peer_ends_the_ike_sa_stays_down() {
    for action in ["start", "trap"] {
        let (mut sim, a, b) = tunnel(site("a").child(&format!("close_action = {action}")), site("b"));
        sim.terminate(b, &everything());
        sim.terminate(a, &child());
        sim.run_for(60 * SECOND);
        assert_eq!(sim.failure(a).kind, FailureKind::PeerDeleted, "the IKE SA");
        assert_eq!((sim.endpoint(a).sizes(), sim.plane(a).traps().count()), ((0, 0), 0), "{action}");
    }
}

/// `close_action` is each child's own: which one was made first has no say in it.
#[test]
fn each_child_has_its_own_close_action() {
    let text = |own: &str, peer: &str, here: u8, there: u8, action: &str| {
        let child = |name: &str, n: u8, action: &str| {
            format!("{name} {{ local_ts = 10.{here}.{n}.0/24\n remote_ts = 10.{there}.{n}.0/24\n {action} }}\n")
        };
        format!(
            "connections {{ gw {{ local_addrs = {own}\n remote_addrs = {peer}\n local {{ auth = psk }}\n remote {{ auth = psk }}
            children {{ {} {} }} }} }} secrets {{ ike-all {{ secret = swordfish }} }}",
            child("first", 1, ""),
            child("second", 2, action)
        )
    };
    let (own, peer) = ("192.0.2.1", "192.0.2.2");
    let mut sim = Sim::new(3);
    let a = sim.add(Site::new("a", own).text(&text(own, peer, 1, 2, "close_action = start")));
    let b = sim.add(Site::new("b", peer).text(&text(peer, own, 2, 1, "")));
    let at = |sim: &Sim, node| std::net::SocketAddr::new(sim.address(node), 500);
    let (local, remote) = (at(&sim, a), at(&sim, b));
    for name in ["first", "second"] {
        assert!(sim.with(a, |endpoint, now| endpoint.initiate(now, "gw", name, local, remote).is_ok()));
    }
    sim.run_until(5 * SECOND, |sim| sim.pairs(a, b) == 2).expect("both");
    sim.settle(SECOND);
    sim.terminate(b, &everything());
    sim.run_for(20 * SECOND);
    let names: Vec<String> = sim.snapshots(a)[0].children.iter().map(|c| c.name.clone()).collect();
    assert_eq!((sim.pairs(a, b), names), (1, vec!["second".to_string()]));
}

/// The lifetime is over here while the peer's operator ends it: what the configuration wants to be there is begun again, as if
/// the peer had only answered.
#[test]
fn an_ike_sa_that_expires_as_the_peer_ends_it_is_begun_again() {
    let never = "childless = never";
    let timed = site("a").connection(never).connection("rekey_time = 0s\nreauth_time = 60s\nrand_time = 0s");
    let (mut sim, a, b) = tunnel(timed, site("b").connection(never));
    // Without a Child SA nothing can be begun beside it.
    sim.terminate(a, &child());
    sim.settle(SECOND);
    let deletes = |sim: &Sim| sim.snapshots(a).iter().any(|sa| sa.state == IkeState::Deleting);
    sim.run_until(70 * SECOND, deletes).expect("its lifetime ends");
    sim.terminate(b, &everything());
    sim.run_for(SECOND);
    assert_eq!(sim.failure(b).kind, FailureKind::Terminated);
    assert_eq!(sim.failure(a).kind, FailureKind::Expired);
    assert_eq!(sim.with(a, |endpoint, now| endpoint.next_attempts(now)).len(), 1);
}

/// The same for a Child SA: one pair comes back, made by the end that began the IKE SA.
#[test]
fn a_child_sa_that_expires_at_both_ends_comes_back_once() {
    for action in ["start_action = start", "close_action = start"] {
        let (mut sim, a, b) = tunnel(site("a").child(action), site("b"));
        for node in [a, b] {
            let child = sim.snapshots(node)[0].children[0].id;
            sim.report(node, PlaneEvent::HardExpire { child });
        }
        sim.run_for(30 * SECOND);
        assert!(sim.tombstones(a).iter().chain(&sim.tombstones(b)).all(|t| t.failure.kind == FailureKind::Expired));
        assert_eq!(sim.pairs(a, b), 1, "{action}");
    }
}

/// Beside a Child SA the name or the number of an IKE SA only says under which one: that stays.
#[test]
fn an_ike_sa_named_beside_a_child_sa_is_a_filter() {
    let named = |ike: Option<&str>, ike_id| Selection { ike: ike.map(str::to_string), ike_id, ..child() };
    for (version, which) in [1, 2].into_iter().flat_map(|version| (0..3).map(move |which| (version, which))) {
        let site = |name| site(name).connection(&format!("version = {version}"));
        let (mut sim, a, b) = tunnel(site("a"), site("b"));
        let (ike, net) = (sim.snapshots(a)[0].id, sim.snapshots(a)[0].children[0].id);
        assert!(sim.terminate(a, &named(Some("other"), None)).is_empty());
        assert!(sim.terminate(a, &named(None, Some(SaId(ike.0 + 100)))).is_empty());
        assert!(sim.carries(a, b));
        let selection = match which {
            0 => named(Some("gw"), None),
            1 => named(None, Some(ike)),
            _ => Selection { child: None, child_id: Some(net), ..named(Some("gw"), Some(ike)) },
        };
        assert_eq!(sim.terminate(a, &selection), [ike], "IKEv{version} {selection:?}");
        sim.run_for(SECOND);
        assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (0, (1, 0), (1, 0)));
    }
}

/// `--force` takes the Child SA down at once, and the peer hears of it when there is room for another request (RFC 7296 section
/// 2.3).
#[test]
fn a_child_sa_that_ends_by_force_ends_at_the_peer_too() {
    let forced = Selection { force: true, ..child() };
    for (what, ike) in [("nothing is asked", None), ("a successor is asked for", Some(false)), ("rekeying", Some(true))]
    {
        let (mut sim, a, b) = tunnel(site("a"), site("b"));
        let asked = Selection { child: ike.filter(|ike| !ike).map(|_| "net".to_string()), ..Selection::default() };
        if ike.is_some() {
            assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &asked)), 1);
            sim.run_for(5 * MILLISECOND);
        }
        sim.terminate(a, &forced);
        assert_eq!((sim.plane(a).sending().is_some(), sim.failure(a).kind), (false, FailureKind::Terminated), "{what}");
        sim.run_for(20 * SECOND);
        for node in [a, b] {
            assert_eq!((sim.plane(node).installed().count(), sim.endpoint(node).sizes()), (0, (1, 0)), "{what}");
        }
        assert!(sim.snapshots(a)[0].tasks_queued.is_empty() && sim.snapshots(a)[0].tasks_active.is_empty(), "{what}");
    }
}

/// What we have only begun to delete is not deleted twice.
#[test]
fn force_after_a_delete_sends_no_second_one() {
    let (mut sim, a, b) = tunnel(site("a"), site("b"));
    let before = requests(&sim, a, ExchangeType::INFORMATIONAL);
    sim.terminate(a, &child());
    sim.terminate(a, &Selection { force: true, ..child() });
    sim.run_for(SECOND);
    assert_eq!(requests(&sim, a, ExchangeType::INFORMATIONAL), before + 1);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
}

/// An IKE SA that ends by force while a request of ours is under way: the peer hears of it when it has answered, or when the time
/// for that is over.
#[test]
fn an_ike_sa_that_ends_by_force_ends_at_the_peer_too() {
    for (window, lost) in [(1, false), (1, true), (4, false)] {
        let site = |name| site(name).connection("dpd_delay = 0s").settings(|s| s.window_size = window);
        let (mut sim, a, b) = tunnel(site("a"), site("b"));
        assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &child())), 1);
        let from_b = sim.address(b);
        let mut first = lost;
        sim.set_hook(Some(Box::new(move |_, datagram| {
            if std::mem::take(&mut first) && datagram.from.ip() == from_b {
                return Vec::new();
            }
            vec![(Duration::ZERO, datagram.clone())]
        })));
        sim.run_for(5 * MILLISECOND);
        sim.terminate(a, &Selection { force: true, ..everything() });
        assert_eq!((sim.endpoint(a).sizes(), sim.failure(a).kind), ((0, 0), FailureKind::Terminated));
        assert_eq!(requests(&sim, a, ExchangeType::INFORMATIONAL), 0, "there is no room for it yet");
        sim.run_for(if lost { 35 * SECOND } else { SECOND });
        assert_eq!(requests(&sim, a, ExchangeType::INFORMATIONAL), 1, "window {window}, lost {lost}");
        assert_eq!(
            (sim.endpoint(b).sizes(), sim.plane(b).installed().count()),
            ((0, 0), 0),
            "window {window}, lost {lost}"
        );
        assert_eq!(sim.failure(b).kind, FailureKind::PeerDeleted);
        assert_eq!(sim.dropped(a, model::DropReason::UnexpectedResponse), 0);
    }
}
