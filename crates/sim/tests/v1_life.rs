//! IKEv1: successors of Child SAs over the same ISAKMP SA, successors of ISAKMP SAs, and several children over one.

use model::dataplane::PlaneEvent;
use model::{ChildState, DropReason, Event, FailureKind, IkeState, Role};
use proto::{Selection, Started};
use sim::{Block, Conditions, NodeId, Sim, Site};
use std::net::SocketAddr;
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

fn installed(sim: &Sim, node: NodeId) -> usize {
    sim.plane(node).installed().count()
}

#[test]
fn a_child_sa_is_rekeyed_over_the_same_isakmp_sa() {
    for esp in ["aes128gcm16", "aes128gcm16-x25519"] {
        let short = |site: Site| {
            let esp = format!("esp_proposals = {esp}");
            site.child(&esp).child("rekey_time = 100s").child("life_time = 150s").child("rand_time = 0s")
        };
        let (a, b) = sites();
        let (mut sim, a, b) = up(short(a), short(b));
        let (isakmp, first) = (sim.snapshots(a)[0].spis, sim.snapshots(a)[0].children[0].spi_in);
        for _ in 0..1000 {
            sim.run_for(SECOND);
            assert!(sim.carries(a, b), "at {:?}", sim.now());
            assert!(installed(&sim, a) <= 2 && installed(&sim, b) <= 2);
        }
        sim.run_for(40 * SECOND);
        for node in [a, b] {
            assert_eq!((sim.snapshots(node).len(), sim.snapshots(node)[0].spis), (1, isakmp));
            assert_eq!(installed(&sim, node), 1);
            assert!((10..=11).contains(&sim.plane(node).installs), "{}", sim.plane(node).installs);
            assert_eq!(sim.snapshots(node)[0].children.len(), 1);
        }
        assert_ne!(sim.snapshots(a)[0].children[0].spi_in, first);
        assert!(sim.tombstones(a).iter().all(|t| matches!(t.failure.kind, FailureKind::Replaced { .. })));
        assert!(sim.tombstones(b).iter().all(|t| t.failure.kind == FailureKind::PeerDeleted));
        let reqids: Vec<u32> = sim.plane(a).installed().map(|i| i.reqid).collect();
        assert_eq!(reqids, [1], "the successor keeps the number of the policies");
    }
}

#[test]
fn a_volume_rekeys_too_and_once() {
    let (a, b) = sites();
    let (mut sim, a, b) = up(a.child("rekey_bytes = 1000000"), b);
    let child = sim.plane(a).installed().next().unwrap().child;
    sim.report(a, PlaneEvent::SoftExpire { child });
    sim.report(a, PlaneEvent::SoftExpire { child });
    sim.run_for(SECOND);
    assert_eq!((installed(&sim, a), installed(&sim, b)), (2, 2), "both for a while");
    assert_eq!(sim.pairs(a, b), 2);
    // ... and listed as what they are: the old one is rekeyed no more.
    for node in [a, b] {
        let mut children = sim.snapshots(node).remove(0).children;
        children.sort_by_key(|c| c.id);
        let listed: Vec<_> = children.iter().map(|c| c.state).collect();
        assert_eq!(listed, [ChildState::Rekeyed, ChildState::Installed]);
        assert_eq!(children[0].rekey_in, None);
    }
    sim.run_for(40 * SECOND);
    assert_eq!((installed(&sim, a), installed(&sim, b), sim.pairs(a, b)), (1, 1, 1));
    assert_eq!((sim.plane(a).installs, sim.endpoint(a).sizes()), (2, (1, 0)));
    assert!(sim.plane(a).get(child).is_none());
    // The end that did not make it leaves it to the other.
    let child = sim.plane(b).installed().next().unwrap().child;
    sim.report(b, PlaneEvent::SoftExpire { child });
    sim.run_for(20 * SECOND);
    assert_eq!((sim.plane(b).installs, installed(&sim, b)), (2, 1));
}

/// The data plane counts, and is told how far: the end that makes the successor hears of the soft limit.
#[test]
fn packets_are_limited_too() {
    let (a, b) = sites();
    let limits = |site: Site| site.child("rekey_packets = 1000").child("life_packets = 2000").child("rand_packets = 0");
    let (mut sim, a, b) = up(limits(a), limits(b));
    let of = |sim: &Sim, node| sim.plane(node).installed().map(|i| (i.child, i.soft_packets, i.hard_packets)).last();
    let ((child, soft, hard), (_, soft_there, hard_there)) = (of(&sim, a).unwrap(), of(&sim, b).unwrap());
    assert_eq!((soft, hard, soft_there, hard_there), (Some(1000), Some(2000), None, Some(2000)));
    sim.report(a, PlaneEvent::SoftExpire { child });
    sim.run_for(40 * SECOND);
    assert!(sim.plane(a).get(child).is_none() && sim.carries(a, b));
    assert_eq!(sim.plane(a).installs, 2);
}

#[test]
fn rekeying_over_a_bad_line_never_interrupts() {
    for seed in 0..10 {
        let mut sim = Sim::new(seed);
        let short = |site: Site| site.child("rekey_time = 300s").child("life_time = 600s").child("rand_time = 0s");
        let (a, b) = sites();
        let (a, b) = (sim.add(short(a)), sim.add(short(b)));
        sim.initiate(a, b);
        assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some());
        sim.set_conditions(Conditions { loss: 200, duplicate: 100, reorder: 200, ..Conditions::default() });
        for _ in 0..3000 {
            sim.run_for(SECOND);
            assert!(sim.carries(a, b), "seed {seed} at {:?}", sim.now());
        }
        sim.set_conditions(Conditions::default());
        sim.run_for(1300 * SECOND);
        // Deletes are not answered: what is lost is forgotten at the end of its lifetime.
        assert!(sim.carries(a, b));
        assert!(
            installed(&sim, a) <= 2 && installed(&sim, b) <= 3,
            "seed {seed}: {} {}",
            installed(&sim, a),
            installed(&sim, b)
        );
        assert_eq!(sim.endpoint(a).sizes(), (1, 0));
    }
}

#[test]
fn a_refused_successor_leaves_the_old_one_to_its_end() {
    let (a, b) = sites();
    let life = |site: Site| site.child("rekey_time = 100s").child("life_time = 600s").child("rand_time = 0s");
    let (mut sim, a, b) = up(life(a), life(b));
    let other = life(sites().1).child("esp_proposals = aes256-sha512").load().connections[0].clone();
    // The responder's SA keeps the configuration that it was made with: replace the whole SA's.
    sim.with(b, |endpoint, _| endpoint.load_connection(other));
    sim.run_for(150 * SECOND);
    assert!(sim.carries(a, b));
    assert_eq!(sim.plane(a).installs, 2, "what an SA was made with holds");
}

#[test]
fn a_peer_that_lost_the_isakmp_sa_is_noticed_when_rekeying() {
    let (a, b) = sites();
    let life = |site: Site| site.child("rekey_time = 100s").child("life_time = 1000s").child("rand_time = 0s");
    let (mut sim, a, b) = up(life(a).child("dpd_action = restart"), life(b));
    sim.restart(b);
    assert!(!sim.carries(a, b));
    let healed = sim.run_until(400 * SECOND, |sim| sim.carries(a, b)).expect("a new ISAKMP SA");
    assert!(healed > 200 * SECOND && healed < 300 * SECOND, "{healed:?}");
    sim.run_for(20 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

#[test]
fn a_silent_peer_ends_the_tunnel_at_its_lifetime() {
    let (a, b) = sites();
    let life = |site: Site| site.child("rekey_time = 100s").child("life_time = 300s").child("rand_time = 0s");
    let (mut sim, a, b) = up(life(a), life(b));
    sim.blocks.push(Block::default());
    sim.run_for(1000 * SECOND);
    assert_eq!((installed(&sim, a), installed(&sim, b)), (0, 0));
    assert!(sim.quiet());
    assert!(sim.tombstones(a).iter().any(|t| t.failure.kind.code() == "PEER_LOST"), "{:?}", sim.tombstones(a));
}

#[test]
fn dpd_timeout_says_when_a_silent_peer_is_dead() {
    // Delay, timeout, and when it is over; without a timeout after five questions.
    for (delay, timeout, dead) in [(10, 0, 60), (10, 25, 25), (10, 120, 120), (10, 11, 11), (10, 10, 20), (30, 5, 35)] {
        let (a, b) = sites();
        let a = a.connection(&format!("dpd_delay = {delay}s")).connection(&format!("dpd_timeout = {timeout}s"));
        let (mut sim, a, b) = up(a, b);
        sim.run_for(100 * SECOND); // answered in time, however short
        assert!(sim.carries(a, b), "{delay} {timeout}");
        let heard = sim.now();
        sim.blocks.push(Block::default());
        if timeout > 60 {
            // Meanwhile it is listed as silent.
            sim.run_for(50 * SECOND);
            assert!(sim.snapshots(a)[0].retransmissions.sent >= 2, "{delay} {timeout}");
        }
        sim.run_for(500 * SECOND);
        let ended = |event: &Event| matches!(event, Event::Ended(t) if t.failure.kind.code() == "PEER_LOST");
        let (at, _) = sim.events(a).find(|(_, event)| ended(event)).expect("dead");
        let silence = at.since(heard).as_secs();
        // The last answer came up to one delay before the line was cut.
        assert!((dead - delay..=dead).contains(&silence), "{delay} {timeout}: {silence}");
        assert_eq!(sim.plane(a).installed().count(), 0);
    }
}

const TWO: &str = "connections { gw {
  version = 1
  MODE
  proposals = aes128-sha256-x25519
  reauth_time = 1000s
  rand_time = 0s
  local_addrs = OWN
  remote_addrs = PEER
  local { auth = psk
          id = NAME }
  remote { auth = psk }
  children {
    one { local_ts = L1
          remote_ts = R1 }
    two { local_ts = L2
          remote_ts = R2 }
  } } }
secrets { ike { secret = swordfish } }";

fn two(name: &str, mode: &str) -> Site {
    let (own, peer, l, r) =
        if name == "a" { ("192.0.2.1", "192.0.2.2", "1", "2") } else { ("192.0.2.2", "192.0.2.1", "2", "1") };
    let net = |side: &str, n: &str| format!("10.{side}.{n}.0/24");
    let text =
        TWO.replace("MODE", mode).replace("OWN", own).replace("PEER", peer).replace("NAME", &format!("{name}.example"));
    let text = text
        .replace("L1", &net(l, "1"))
        .replace("R1", &net(r, "1"))
        .replace("L2", &net(l, "2"))
        .replace("R2", &net(r, "2"));
    Site::new(name, own).text(&text)
}

#[allow(clippy::result_large_err)] // as in the core
fn begin(sim: &mut Sim, node: NodeId, child: &str) -> Started {
    let (a, b): (SocketAddr, SocketAddr) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    let (local, remote) = if sim.address(node) == a.ip() { (a, b) } else { (b, a) };
    sim.with(node, |endpoint, now| endpoint.initiate(now, "gw", child, local, remote)).unwrap()
}

#[test]
fn several_children_over_one_isakmp_sa() {
    for mode in ["aggressive = no", "aggressive = yes"] {
        for at_once in [true, false] {
            let mut sim = Sim::new(1);
            let (a, b) = (sim.add(two("a", mode)), sim.add(two("b", mode)));
            begin(&mut sim, a, "one");
            if !at_once {
                sim.run_for(SECOND);
                assert_eq!(sim.pairs(a, b), 1);
            }
            begin(&mut sim, a, "two");
            sim.run_for(SECOND);
            assert_eq!((sim.pairs(a, b), installed(&sim, a), installed(&sim, b)), (2, 2, 2), "{mode} {at_once}");
            assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
            assert!(matches!(begin(&mut sim, a, "two"), Started::AlreadyUp(_)));
            // One goes, the other stays.
            sim.terminate(b, &Selection { child: Some("one".into()), ..Selection::default() });
            sim.run_for(SECOND);
            assert_eq!((sim.pairs(a, b), installed(&sim, a), sim.endpoint(a).sizes().0), (1, 1, 1));
            // The responder of phase 1 may begin phase 2.
            begin(&mut sim, b, "one");
            sim.run_for(SECOND);
            assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (2, (1, 0), (1, 0)));
            // The successor of the ISAKMP SA has them all.
            let before = sim.snapshots(a)[0].spis;
            sim.run_for(1100 * SECOND);
            assert_eq!((sim.pairs(a, b), installed(&sim, a), installed(&sim, b)), (2, 2, 2));
            let after = sim.snapshots(a);
            assert_eq!((after.len(), after[0].role), (1, Role::Initiator));
            assert_ne!(after[0].spis, before);
        }
    }
}

#[test]
fn the_successor_of_an_isakmp_sa_is_made_before_it_ends() {
    let (a, b) = sites();
    let life =
        |site: Site| site.connection("reauth_time = 500s").connection("rand_time = 0s").connection("over_time = 60s");
    let (mut sim, a, b) = up(life(a), life(b));
    for _ in 0..2000 {
        sim.run_for(SECOND);
        assert!(sim.carries(a, b), "at {:?}", sim.now());
    }
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
    let ups = sim.events(a).filter(|(_, e)| matches!(e, Event::IkeUp(_))).count();
    assert!((4..=5).contains(&ups), "{ups}");
}

/// Its time is over and the peer does not answer yet: it is listed as dying (ST 10 of racoon 0.8, 9 of 0.7), and carries on.
#[test]
fn a_dying_isakmp_sa_is_used_until_there_is_another() {
    let (a, b) = sites();
    let life = |site: Site| site.connection("reauth_time = 500s\n rand_time = 0s\n over_time = 60s");
    let (mut sim, a, b) = up(life(a), b);
    sim.run_for(490 * SECOND);
    sim.set_hook(Some(Box::new(|_, datagram| {
        let lost = Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == ExchangeType::IDENTITY_PROTECTION);
        if lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    sim.run_for(20 * SECOND);
    assert_eq!((in_state(&sim, a, IkeState::Rekeying), in_state(&sim, a, IkeState::Connecting)), (1, 1));
    let created = |_: Duration| String::new();
    let st = |sim: &Sim, dialect| {
        let options = show::racoonctl::Options { level: 1, dialect, strict: true, created: &created };
        let table = show::racoonctl::render(&sim.snapshots(a), &options);
        table
            .lines()
            .filter(|line| line.contains(" I ") && !line.contains(":0000000000000000"))
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let dying = st(&sim, show::racoonctl::Dialect::Racoon08);
    assert!(dying.len() == 1 && dying[0].contains(" 10 I 10 M"), "{dying:?}");
    // A further Child SA is negotiated under it all the same.
    let child = sim.plane(a).installed().next().unwrap().child;
    sim.report(a, PlaneEvent::SoftExpire { child });
    sim.run_for(2 * SECOND);
    assert_eq!(sim.pairs(a, b), 2, "rekeyed while dying");
    sim.set_hook(None);
    sim.run_for(60 * SECOND);
    assert_eq!((in_state(&sim, a, IkeState::Established), in_state(&sim, a, IkeState::Rekeying)), (1, 0));
    assert!(sim.carries(a, b));
}

/// Begins and ends at random over a bad net, with short lifetimes: afterwards the net is quiet and both ends agree.
#[test]
fn operators_and_crashes_at_random() {
    for seed in 0..40 {
        let mut sim = Sim::new(seed);
        let mode = if seed % 2 == 0 { "aggressive = no" } else { "aggressive = yes" };
        let nodes = [sim.add(two("a", mode)), sim.add(two("b", mode))];
        let mut rng = sim::Rng::new(seed ^ 0x5eed);
        sim.set_conditions(Conditions {
            loss: 150,
            duplicate: 100,
            reorder: 200,
            corrupt: 10,
            ..Conditions::default()
        });
        for _ in 0..40 {
            let node = nodes[rng.below(2) as usize];
            match rng.below(8) {
                0 => sim.restart(node),
                1 => drop(sim.terminate(node, &Selection::default())),
                2 => drop(sim.terminate(node, &Selection { child: Some("one".into()), ..Selection::default() })),
                3 => {
                    let child = sim.plane(node).installed().next().map(|install| install.child);
                    if let Some(child) = child {
                        sim.report(node, PlaneEvent::SoftExpire { child });
                    }
                }
                n => drop(begin(&mut sim, node, if n % 2 == 0 { "one" } else { "two" })),
            }
            sim.run_for(Duration::from_millis(rng.below(6_000)));
        }
        sim.set_conditions(Conditions::default());
        sim.run_for(800 * SECOND);
        for node in nodes {
            assert_eq!(sim.endpoint(node).sizes().1, 0, "seed {seed}");
            sim.terminate(node, &Selection::default());
        }
        sim.run_for(5000 * SECOND);
        let sent = sim.wire.len();
        sim.run_for(20_000 * SECOND);
        for node in nodes {
            assert_eq!(installed(&sim, node), 0, "seed {seed}");
            assert_eq!(sim.endpoint(node).poll_timeout(), None, "seed {seed}: a timer without an owner");
        }
        assert!(sim.wire.len() - sent < 100, "seed {seed}");
        begin(&mut sim, nodes[0], "one");
        sim.run_for(10 * SECOND);
        assert_eq!(sim.pairs(nodes[0], nodes[1]), 1, "seed {seed}");
    }
}

#[test]
fn an_operator_may_have_keys_replaced_by_either_end() {
    let (a, b) = sites();
    let (mut sim, a, b) = up(a, b);
    for (n, node) in [a, b].into_iter().enumerate() {
        let child = Selection { child: Some("net".into()), ..Selection::default() };
        assert_eq!(sim.with(node, |endpoint, now| endpoint.rekey(now, &child)), 1);
        assert_eq!(sim.with(node, |endpoint, now| endpoint.rekey(now, &child)), 0, "under way");
        sim.run_for(40 * SECOND);
        assert_eq!((sim.pairs(a, b), installed(&sim, a), installed(&sim, b)), (1, 1, 1));
        assert_eq!(sim.plane(a).installs, n + 2);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
    }
}

#[test]
fn close_action_start_makes_it_again() {
    let (a, b) = sites();
    let (mut sim, a, b) = up(a.child("close_action = start"), b);
    sim.terminate(b, &Selection { child: Some("net".into()), ..Selection::default() });
    sim.run_for(SECOND);
    assert_eq!((sim.pairs(a, b), sim.plane(a).installs, sim.endpoint(a).sizes()), (1, 2, (1, 0)));
    // The delete of one that has a successor is no reason.
    let child = Selection { child: Some("net".into()), ..Selection::default() };
    sim.with(b, |endpoint, now| endpoint.rekey(now, &child));
    sim.run_for(60 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.plane(a).installs, installed(&sim, a)), (1, 3, 1));
    sim.terminate(b, &Selection::default());
    sim.run_for(5 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (1, (1, 0), (1, 0)));
}

/// Loses the first message of the next deletion that this node sends: the one about the Child SAs. What the peer sees is
/// what racoon, libreswan and others send, which delete an ISAKMP SA alone.
fn lose_delete_of_children(sim: &mut Sim, from: NodeId) {
    let (from, mut lost) = (sim.address(from), false);
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let informational = Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == ExchangeType::INFORMATIONAL_V1);
        if datagram.from.ip() == from && informational && !lost {
            lost = true;
            return Vec::new();
        }
        vec![(Duration::ZERO, datagram.clone())]
    })));
}

fn in_state(sim: &Sim, node: NodeId, state: IkeState) -> usize {
    sim.snapshots(node).iter().filter(|sa| sa.state == state).count()
}

#[test]
fn phase_2_outlives_a_phase_1_that_is_deleted_alone() {
    let (a, b) = sites();
    let (mut sim, a, b) = up(a, b.child("rekey_time = 500s").child("life_time = 600s").child("rand_time = 0s"));
    let child = sim.plane(b).installed().next().unwrap().child;
    lose_delete_of_children(&mut sim, a);
    sim.terminate(a, &Selection::default());
    sim.run_for(SECOND);
    assert_eq!((sim.endpoint(b).sizes(), in_state(&sim, b, IkeState::Deleting)), ((1, 0), 1));
    assert!(sim.plane(b).get(child).is_some());
    assert_eq!(sim.failure(b).kind, FailureKind::PeerDeleted);
    // Messages with the old cookies reach nothing any more.
    let replayed = sim.wire.iter().rev().find(|(_, d)| d.from.ip() == sim.address(a)).unwrap().1.clone();
    let unknown = sim.dropped(b, DropReason::UnknownSpi);
    sim.inject(replayed);
    sim.run_for(SECOND);
    assert_eq!(sim.dropped(b, DropReason::UnknownSpi), unknown + 1);
    // It ends when its lifetime does, and with it everything that was left.
    sim.run_for(590 * SECOND);
    assert_eq!(installed(&sim, b), 1);
    sim.run_for(20 * SECOND);
    assert_eq!((installed(&sim, b), sim.endpoint(b).sizes()), (0, (0, 0)));
    let downs = sim.events(b).filter(|(_, e)| matches!(e, Event::IkeDown(_))).count();
    assert_eq!(downs, 1, "told once");
    sim.run_for(100 * SECOND);
    assert_eq!(sim.endpoint(b).poll_timeout(), None);
}

#[test]
fn the_next_phase_1_takes_over_what_the_last_one_left() {
    let (a, b) = sites();
    let (mut sim, a, b) = up(a, b);
    let child = sim.plane(b).installed().next().unwrap().child;
    lose_delete_of_children(&mut sim, a);
    sim.terminate(a, &Selection::default());
    sim.run_for(SECOND);
    sim.set_hook(None);
    sim.initiate(b, a);
    sim.run_for(5 * SECOND);
    assert_eq!((sim.endpoint(b).sizes(), in_state(&sim, b, IkeState::Established)), ((1, 0), 1));
    assert!(sim.snapshots(b)[0].children.iter().any(|c| c.id == child), "the old one, under the new ISAKMP SA");
    assert_eq!((installed(&sim, b), sim.pairs(a, b)), (2, 1), "and the new one");
    // A peer that has forgotten everything says so (INITIAL-CONTACT): then nothing of before is kept.
    let (a, b) = sites();
    let (mut sim, a, b) = up(a, b);
    lose_delete_of_children(&mut sim, a);
    sim.terminate(a, &Selection::default());
    sim.run_for(SECOND);
    sim.set_hook(None);
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert_eq!((installed(&sim, b), sim.endpoint(b).sizes(), sim.pairs(a, b)), (1, (1, 0), 1));
}

#[test]
fn a_child_sa_without_an_isakmp_sa_gets_one_when_it_has_to_be_rekeyed() {
    for by_volume in [false, true] {
        let (a, b) = sites();
        let (mut sim, a, b) = up(a.child("rekey_time = 100s").child("life_time = 150s").child("rand_time = 0s"), b);
        let child = sim.plane(a).installed().next().unwrap().child;
        lose_delete_of_children(&mut sim, b);
        sim.terminate(b, &Selection::default());
        sim.run_for(50 * SECOND);
        sim.set_hook(None);
        assert_eq!((in_state(&sim, a, IkeState::Deleting), installed(&sim, a)), (1, 1));
        if by_volume {
            sim.report(a, PlaneEvent::SoftExpire { child });
            sim.report(a, PlaneEvent::SoftExpire { child });
        } else {
            sim.run_for(60 * SECOND);
        }
        sim.run_for(5 * SECOND);
        assert_eq!((sim.endpoint(a).sizes(), sim.pairs(a, b)), ((1, 0), 1), "{by_volume}");
        sim.run_for(100 * SECOND);
        assert!(sim.plane(a).get(child).is_none() && sim.carries(a, b), "the old one is gone");
    }
}

/// Whoever authenticates anew does not negotiate the Child SAs again: they move to the new ISAKMP SA at both ends, and no
/// packet notices.
#[test]
fn the_children_of_a_phase_1_that_is_replaced_move() {
    for mode in ["aggressive = no", "aggressive = yes"] {
        let (a, b) = sites();
        let life = |site: Site| site.connection(mode).connection("reauth_time = 500s").connection("rand_time = 0s");
        let (mut sim, a, b) = up(life(a), b.connection(mode));
        let before = [a, b].map(|n| (sim.plane(n).installed().next().unwrap().child, sim.snapshots(n)[0].id));
        sim.run_for(520 * SECOND);
        for (node, (child, first)) in [a, b].into_iter().zip(before) {
            let left = sim.snapshots(node);
            assert_eq!((left.len(), sim.endpoint(node).sizes()), (1, (1, 0)), "{mode}");
            assert!(left[0].id != first && left[0].children.iter().any(|c| c.id == child), "moved to the new one");
            assert_eq!((sim.plane(node).installs, sim.plane(node).deletes), (1, 0), "{mode}: nothing was made anew");
            let ended = sim.tombstones(node).into_iter().find(|t| t.sa.id == first && t.child.is_none());
            assert_eq!(ended.unwrap().failure.kind, FailureKind::Replaced { by: left[0].id });
        }
        // Its timers came along: it is rekeyed, and ends at its lifetime.
        sim.run_for(4000 * SECOND);
        assert!(sim.plane(b).get(before[1].0).is_none() && sim.carries(a, b), "{mode}");
    }
}

/// An initiator that makes a new ISAKMP SA only when it needs one, as racoon does: the responder's runs out, and the Child SA
/// carries on at both ends, until it is rekeyed under a new one.
#[test]
fn phase_2_outlives_a_phase_1_that_runs_out_at_the_responder() {
    let (a, b) = sites();
    let short = |site: Site| site.connection("reauth_time = 300s").connection("over_time = 30s");
    let long = |site: Site| site.connection("reauth_time = 0s").connection("rekey_time = 0s");
    let (mut sim, a, b) = up(long(a), short(b.connection("rand_time = 0s")));
    let child = sim.plane(b).installed().next().unwrap().child;
    for _ in 0..400 {
        sim.run_for(SECOND);
        assert!(sim.carries(a, b) && sim.carries(b, a), "at {:?}", sim.now());
    }
    let over = |node| (in_state(&sim, node, IkeState::Deleting), in_state(&sim, node, IkeState::Established));
    assert_eq!((over(a), over(b), sim.plane(b).installs), ((1, 0), (1, 0), 1), "phase 1 is over at both ends");
    assert_eq!(sim.failure(b).kind, FailureKind::Expired);
    for _ in 0..4000 {
        sim.run_for(SECOND);
        assert!(sim.carries(a, b), "at {:?}", sim.now());
    }
    assert!(sim.plane(b).get(child).is_none(), "it was rekeyed");
}
