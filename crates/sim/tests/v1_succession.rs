//! IKEv1: how an ISAKMP SA, or a Child SA, leaves its place to its successor with a peer that does things in another order
//! than we.

use model::{ChildState, Event, FailureKind, IkeState};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);

fn sites() -> (Site, Site) {
    let more = |site: Site| site.connection("version = 1").connection("proposals = aes128-sha256-x25519");
    (more(Site::new("a", "192.0.2.1").to("192.0.2.2")), more(Site::new("b", "192.0.2.2").to("192.0.2.1")))
}

fn up(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "{:?}", sim.tombstones(a));
    sim.settle(SECOND);
    (sim, a, b)
}

/// When the initiator's second ISAKMP SA is up.
fn authenticates_anew(sim: &mut Sim, a: NodeId) {
    let twice = |sim: &Sim| sim.events(a).filter(|(_, e)| matches!(e, Event::IkeUp(_))).count() == 2;
    sim.run_until(600 * SECOND, twice).expect("a second ISAKMP SA");
}

/// strongSwan moves the Child SAs in a job after message 6: a Delete of the old ISAKMP SA that comes before takes them along.
#[test]
fn an_isakmp_sa_stays_for_a_while_beside_its_successor() {
    for (over_time, stays) in [("60s", 10), ("4s", 4)] {
        let (a, b) = sites();
        let life = format!("reauth_time = 500s\n rand_time = 0s\n over_time = {over_time}");
        let (mut sim, a, b) = up(a.connection(&life), b);
        let (first, child) = (sim.snapshots(a)[0].id, sim.snapshots(a)[0].children[0].id);
        authenticates_anew(&mut sim, a);
        let (began, sent) = (sim.now(), sim.wire.len());
        sim.run_for((stays - 1) * SECOND);
        let said = sim.wire[sent..].iter().filter(|(_, d)| d.from.ip() == sim.address(a)).count();
        assert_eq!(said, 0, "nothing is said of the old one");
        let both = sim.snapshots(a);
        let (old, new): (Vec<_>, Vec<_>) = both.iter().partition(|sa| sa.id == first);
        assert_eq!((old.len(), new.len()), (1, 1));
        assert_eq!((old[0].state, old[0].children.len()), (IkeState::Rekeying, 0));
        assert_eq!((new[0].state, new[0].children[0].id), (IkeState::Established, child));
        // What is begun, is begun under the new one.
        let selection = Selection { child: Some("net".into()), ..Selection::default() };
        assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &selection)), 1);
        sim.run_for(3 * SECOND);
        let ended = sim.tombstones(a).into_iter().find(|t| t.sa.id == first && t.child.is_none()).expect("gone");
        assert_eq!(ended.failure.kind, FailureKind::Replaced { by: new[0].id });
        let stayed = ended.at.since(began);
        assert!(stayed > (stays - 1) * SECOND && stayed <= stays * SECOND, "{over_time}: {stayed:?}");
        assert!(sim.carries(a, b) && sim.carries(b, a));
        assert_eq!((sim.snapshots(a).len(), sim.snapshots(b).len()), (1, 1));
    }
}

/// While both are there the ends may have a Child SA under different ones.
#[test]
fn what_is_deleted_under_the_successor_is_gone_at_both_ends() {
    for child in [Some("net".to_string()), None] {
        let (a, b) = sites();
        let (mut sim, a, b) = up(a.connection("reauth_time = 500s\n rand_time = 0s"), b);
        authenticates_anew(&mut sim, a);
        sim.run_for(SECOND);
        sim.terminate(a, &Selection { child, ..Selection::default() });
        sim.run_for(SECOND);
        assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
    }
}

/// A site with the children `one`, `two` and `three`; `foreign` is a child whose network the peer does not know.
fn three(name: &str, foreign: &str) -> Site {
    let (own, peer) = if name == "a" { ("1", "2") } else { ("2", "1") };
    let children = ["one", "two", "three"].iter().enumerate().map(|(n, child)| {
        let net = if *child == foreign { 77 } else { n };
        format!("{child} {{\n local_ts = 10.{own}.{net}.0/24\n remote_ts = 10.{peer}.{net}.0/24\n }}\n")
    });
    let children: String = children.collect();
    Site::new(name, &format!("192.0.2.{own}")).text(&format!(
        "connections {{ gw {{
  version = 1
  proposals = aes128-sha256-x25519
  local_addrs = 192.0.2.{own}
  remote_addrs = 192.0.2.{peer}
  local {{ auth = psk }}
  remote {{ auth = psk }}
  children {{ {children} }} }} }}
secrets {{ ike {{ secret = swordfish }} }}"
    ))
}

/// strongSwan forgets the quick modes that it has half done when it refuses another one: ours go one after the other, each when
/// the peer had the time to read message 3 of the one before, and a refusal is of the one under way.
#[test]
fn quick_modes_of_ours_go_one_after_the_other() {
    for refused in ["", "one", "two", "three"] {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(three("a", "")), sim.add(three("b", refused)));
        let (local, remote) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
        for child in ["one", "two", "three"] {
            sim.with(a, |endpoint, now| endpoint.initiate(now, "gw", child, local, remote).is_ok());
        }
        sim.run_for(5 * SECOND);
        let of_a = sim.wire.iter().filter(|(_, d)| d.from == local);
        let of_a = of_a.filter_map(|(at, d)| Header::parse(&d.bytes).ok().map(|h| (*at, h)));
        let of_a: Vec<_> = of_a.filter(|(_, h)| h.exchange == ExchangeType::QUICK_MODE).collect();
        let ours: Vec<_> = of_a.chunk_by(|(_, x), (_, y)| x.message_id == y.message_id).collect();
        assert_eq!(ours.len(), 3, "{refused}: none begins before the one before it is over: {of_a:?}");
        for (pair, before) in ours.windows(2).zip(["one", "two"]) {
            let (end, begin) = (pair[0][pair[0].len() - 1].0, pair[1][0].0);
            let (waited, refused) = (begin.since(end), before == refused);
            assert_eq!(waited >= Duration::from_millis(50), !refused, "after {before}, {waited:?}");
        }
        let mut up: Vec<String> = sim.snapshots(a)[0].children.iter().map(|c| c.name.clone()).collect();
        up.sort();
        let mut expected = vec!["one", "three", "two"];
        expected.retain(|child| *child != refused);
        assert_eq!(up, expected);
        assert_eq!(sim.pairs(a, b), expected.len());
        let failed: Vec<_> = sim.tombstones(a).into_iter().map(|t| (t.child, t.failure.kind.code())).collect();
        let expected = [(Some(refused.to_string()), "TRAFFIC_SELECTOR")];
        assert_eq!(failed, if refused.is_empty() { &[][..] } else { &expected[..] });
    }
}

/// The successor of a Child SA is being made when the ISAKMP SA is replaced: it is made under the new one, and at once.
#[test]
fn a_rekeying_under_way_goes_on_under_the_successor() {
    let (a, b) = sites();
    let life = |site: Site| site.child("rekey_time = 495s\n life_time = 600s\n rand_time = 0s");
    let (mut sim, a, b) = up(life(a).connection("reauth_time = 500s\n rand_time = 0s"), life(b));
    let child = sim.snapshots(a)[0].children[0].id;
    // Its messages get lost until the new ISAKMP SA is up.
    let first = sim.snapshots(a)[0].spis;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let lost =
            Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == ExchangeType::QUICK_MODE && h.spis == first);
        if lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    authenticates_anew(&mut sim, a);
    sim.run_for(2 * SECOND);
    let new = sim.snapshots(a).into_iter().find(|sa| sa.spis != first).expect("the new one");
    let (mut old, mut successors): (Vec<_>, Vec<_>) = new.children.into_iter().partition(|c| c.id == child);
    assert_eq!((old.len(), successors.len()), (1, 1), "{:?}", sim.tombstones(a));
    assert_eq!((old.remove(0).state, successors.remove(0).state), (ChildState::Rekeyed, ChildState::Installed));
    sim.run_for(100 * SECOND);
    assert!(sim.carries(a, b) && sim.plane(a).installed().count() == 1);
}

/// An end that makes the successor of what the other one made: the other one does not make one too.
#[test]
fn a_successor_that_the_peer_made_is_enough() {
    let (a, b) = sites();
    let life = |site: Site| site.child("rekey_time = 500s\n life_time = 600s\n rand_time = 0s");
    let (mut sim, a, b) = up(life(a), life(b));
    let child = sim.snapshots(a)[0].children[0].id;
    sim.run_for(490 * SECOND);
    // A Delete of the old one gets lost, or the peer sends none.
    let from = sim.address(b);
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let informational = Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == ExchangeType::INFORMATIONAL_V1);
        if datagram.from.ip() == from && informational { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    let selection = Selection { child: Some("net".into()), ..Selection::default() };
    assert_eq!(sim.with(b, |endpoint, now| endpoint.rekey(now, &selection)), 1);
    sim.run_for(50 * SECOND);
    assert_eq!(sim.plane(a).installs, 2, "none of ours beside the peer's");
    assert!(sim.plane(a).get(child).is_none() && sim.carries(a, b) && sim.carries(b, a));
}
