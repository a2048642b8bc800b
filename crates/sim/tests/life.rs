//! SAs after they are up: deleted from either end, peers that die, lifetimes, retransmission, and what is left behind.

use model::{Event, FailureKind, IkeState, Instant, SaId};
use proto::{Reason, Selection};
use sim::{Block, Conditions, Happened, NodeId, Sim, Site};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use wire::grammar::RuleId;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);

fn site_a() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2")
}

fn site_b() -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1")
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(3);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

/// Waits until every closed SA is forgotten, and looks for remains.
fn forgotten(sim: &mut Sim, nodes: &[NodeId]) {
    sim.run_for(61 * SECOND);
    for node in nodes {
        assert_eq!(sim.endpoint(*node).sizes(), (0, 0));
        assert_eq!(sim.endpoint(*node).poll_timeout(), None);
        assert_eq!(sim.plane(*node).installed().count(), 0);
        assert_eq!(sim.plane(*node).installs, sim.plane(*node).deletes);
    }
    assert_eq!(sim.under_way(), 0);
}

fn everything() -> Selection {
    Selection::default()
}

fn child() -> Selection {
    Selection { child: Some("net".to_string()), ..Selection::default() }
}

fn requests(sim: &Sim, node: NodeId, exchange: ExchangeType) -> Vec<Instant> {
    let sent = |e: &&sim::LogEntry| match &e.what {
        Happened::Sent(d) => Header::parse(&d.bytes).is_ok_and(|h| h.exchange == exchange && !h.is_response()),
        _ => false,
    };
    sim.happened(node).iter().filter(sent).map(|e| e.at).collect()
}

#[test]
fn either_end_deletes_the_ike_sa() {
    for initiator_deletes in [true, false] {
        let (mut sim, a, b) = tunnel(site_a(), site_b());
        let (own, other) = if initiator_deletes { (a, b) } else { (b, a) };
        assert_eq!(sim.terminate(own, &everything()), [SaId(1)]);
        assert_eq!(sim.snapshots(own)[0].state, IkeState::Deleting);
        sim.run_for(SECOND);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
        assert_eq!(sim.failure(own).kind, FailureKind::Terminated);
        assert_eq!(sim.failure(other).kind, FailureKind::PeerDeleted);
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn both_ends_delete_the_ike_sa_at_once() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    sim.terminate(a, &everything());
    sim.terminate(b, &everything());
    sim.run_for(SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
    assert_eq!(requests(&sim, a, ExchangeType::INFORMATIONAL).len(), 1, "nothing is sent again");
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn either_end_deletes_the_child_sa() {
    for initiator_deletes in [true, false] {
        let (mut sim, a, b) = tunnel(site_a(), site_b());
        let (own, other) = if initiator_deletes { (a, b) } else { (b, a) };
        sim.terminate(own, &child());
        sim.run_for(SECOND);
        for node in [a, b] {
            assert_eq!(sim.plane(node).installed().count(), 0);
            assert_eq!(sim.endpoint(node).sizes(), (1, 0), "the IKE SA stays");
            assert_eq!(sim.events(node).filter(|(_, e)| matches!(e, Event::ChildDown(_))).count(), 1);
        }
        assert_eq!(sim.tombstones(own)[0].child.as_deref(), Some("net"));
        assert_eq!(sim.failure(other).kind, FailureKind::PeerDeleted);
        sim.terminate(own, &everything());
        forgotten(&mut sim, &[a, b]);
    }
}

/// RFC 7296 section 1.4.1: each answers without naming the SPI that it deletes itself.
#[test]
fn both_ends_delete_the_child_sa_at_once() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    sim.terminate(a, &child());
    sim.terminate(b, &child());
    sim.settle(SECOND);
    for node in [a, b] {
        assert_eq!(sim.plane(node).installed().count(), 0);
        assert_eq!((sim.plane(node).deletes, sim.endpoint(node).sizes()), (1, (1, 0)));
        assert_eq!(sim.tombstones(node).len(), 1);
    }
    sim.terminate(a, &everything());
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn a_delete_of_both_crosses() {
    for (of_a, of_b) in [(child(), everything()), (everything(), child())] {
        let (mut sim, a, b) = tunnel(site_a(), site_b());
        sim.terminate(a, &of_a);
        sim.terminate(b, &of_b);
        sim.settle(SECOND);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn a_half_open_sa_can_be_given_up() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.initiate(a, b);
    sim.terminate(a, &everything());
    assert_eq!(sim.failure(a).kind, FailureKind::Terminated);
    sim.run_for(SECOND);
    assert_eq!(sim.endpoint(a).sizes(), (0, 0));
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn force_does_not_wait_for_the_answer() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    sim.crash(b);
    sim.terminate(a, &Selection { force: true, ..everything() });
    assert_eq!(sim.endpoint(a).sizes(), (0, 0));
    assert_eq!(requests(&sim, a, ExchangeType::INFORMATIONAL).len(), 1, "the Delete is sent all the same");
    forgotten(&mut sim, &[a]);
}

#[test]
fn an_answer_that_gets_lost_is_repeated_even_when_the_sa_is_gone() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    sim.blocks.push(Block { to: Some(sim.address(a)), ..Block::default() });
    sim.terminate(a, &everything());
    sim.run_for(SECOND);
    assert_eq!((sim.endpoint(a).sizes().0, sim.endpoint(b).sizes().0), (1, 0));
    sim.blocks.clear();
    sim.run_for(4 * SECOND);
    assert_eq!(sim.endpoint(a).sizes().0, 0, "the second Delete was answered");
    assert_eq!(sim.failure(a).kind, FailureKind::Terminated);
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn every_answer_of_a_handshake_may_get_lost_once() {
    for lost in 0..2 {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(site_a()), sim.add(site_b()));
        let answers = Rc::new(Cell::new(0));
        sim.set_hook(Some(Box::new(move |_, datagram| {
            let response = Header::parse(&datagram.bytes).is_ok_and(|h| h.is_response());
            answers.set(answers.get() + u32::from(response));
            let drop = response && answers.get() == lost + 1;
            if drop { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
        })));
        sim.initiate(a, b);
        let took = sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
        assert_eq!(took, Duration::from_millis(4040));
        assert_eq!(sim.plane(b).installs, 1, "the request was not carried out again");
        let of_b = sim.snapshots(b);
        assert_eq!((of_b.len(), of_b[0].retransmissions.answered), (1, 1));
        assert_eq!(sim.snapshots(a)[0].retransmissions.total, 1);
    }
}

#[test]
fn the_retransmission_times_are_strongswans() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.crash(b);
    let start = sim.now();
    sim.initiate(a, b);
    sim.run_for(200 * SECOND);
    let at: Vec<u64> = sim.wire.iter().map(|(at, _)| at.since(start).as_millis() as u64).collect();
    // 4 s * 1.8^n: strongSwan's documentation gives 4, 11, 24, 47 and 89 s, and 165 s for giving up.
    assert_eq!(at, [0, 4000, 11_200, 24_160, 47_488, 89_478]);
    assert!(sim.wire.iter().all(|(_, d)| d.bytes == sim.wire[0].1.bytes), "RFC 7296 section 2.1: the same octets");
    let ended = sim.tombstones(a)[0].at.since(start).as_millis();
    assert_eq!(ended, 165_061);
    let told = sim.events(a).filter(|(_, e)| matches!(e, Event::Retransmitted { .. })).count();
    assert_eq!(told, 5);
}

#[test]
fn keyingtries_begins_again() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a().connection("keyingtries = 3")), sim.add(site_b()));
    sim.crash(b);
    sim.initiate(a, b);
    sim.run_for(400 * SECOND);
    assert_eq!(sim.endpoint(a).sizes(), (1, 1));
    sim.run_for(100 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.tombstones(a).len()), ((0, 0), 3));
    let spis: std::collections::BTreeSet<_> =
        sim.wire.iter().map(|(_, d)| Header::parse(&d.bytes).unwrap().spis.initiator).collect();
    assert_eq!(spis.len(), 3, "each try has a new SPI");
}

// ---------------------------------------------------------------------------------------------------------- liveness

#[test]
fn a_quiet_peer_is_asked_and_answers() {
    let (mut sim, a, b) = tunnel(site_a().connection("dpd_delay = 10s"), site_b());
    let before = sim.wire.len();
    sim.run_for(100 * SECOND);
    let asked = requests(&sim, a, ExchangeType::INFORMATIONAL).len();
    assert!((9..=11).contains(&asked), "{asked} in 100 s");
    assert_eq!(sim.wire.len() - before, 2 * asked);
    assert!(sim.carries(a, b));
}

#[test]
fn a_dead_peer_is_found() {
    let (mut sim, a, b) = tunnel(site_a().connection("dpd_delay = 10s"), site_b());
    sim.crash(b);
    sim.run_for(200 * SECOND);
    let failure = sim.failure(a);
    let FailureKind::NoAnswer { waiting_for: RuleId::InformationalResponse, sent: 6, answered_before: true, .. } =
        failure.kind
    else {
        panic!("{failure}")
    };
    assert_eq!(failure.kind.code(), "PEER_LOST");
    assert_eq!(sim.plane(a).installed().count(), 0);
    forgotten(&mut sim, &[a]);
}

#[test]
fn a_dead_peer_that_returns_is_met_again() {
    let (mut sim, a, b) = tunnel(
        site_a().connection("dpd_delay = 10s").connection("keyingtries = 0").child("dpd_action = restart"),
        site_b(),
    );
    sim.crash(b);
    sim.run_for(400 * SECOND);
    assert_eq!(sim.endpoint(a).sizes(), (1, 1), "it tries");
    sim.restart(b);
    assert!(sim.run_until(400 * SECOND, |sim| sim.carries(a, b)).is_some());
}

#[test]
fn an_sa_that_was_to_be_deleted_does_not_come_back() {
    let (mut sim, a, b) = tunnel(site_a().connection("dpd_delay = 10s").child("dpd_action = restart"), site_b());
    sim.crash(b);
    sim.terminate(a, &everything());
    sim.run_for(200 * SECOND);
    assert_eq!(sim.endpoint(a).sizes(), (0, 0), "the operator ended it: {:?}", sim.failure(a));
    assert_eq!(sim.failure(a).kind, FailureKind::Terminated);
    forgotten(&mut sim, &[a]);
}

// --------------------------------------------------------------------------------------------------------- lifetimes

/// Runs in small steps and looks at each whether traffic could flow.
fn never_without(sim: &mut Sim, a: NodeId, b: NodeId, time: Duration) {
    let end = sim.now() + time;
    while sim.now() < end {
        sim.run_for(Duration::from_millis(5));
        assert!(sim.carries(a, b), "no pair installed at {:?}", sim.now());
    }
}

#[test]
fn a_new_sa_is_up_before_the_old_one_goes() {
    for time in ["rekey_time = 60s", "reauth_time = 60s"] {
        let (mut sim, a, b) = tunnel(site_a().connection(time), site_b());
        never_without(&mut sim, a, b, 200 * SECOND);
        let replaced = sim.tombstones(a).len();
        assert!((3..=4).contains(&replaced), "{replaced} in 200 s");
        assert!(sim.tombstones(a).iter().all(|t| matches!(t.failure.kind, FailureKind::Replaced { .. })));
        let rekeyed = time.starts_with("rekey");
        let told = |kind: &FailureKind| match kind {
            FailureKind::Replaced { .. } => rekeyed,
            kind => !rekeyed && *kind == FailureKind::PeerDeleted,
        };
        assert!(sim.tombstones(b).iter().all(|t| told(&t.failure.kind)), "b knows the successor only of a rekeyed SA");
        assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (1, (1, 0), (1, 0)));
        let reqids: std::collections::BTreeSet<u32> = sim
            .happened(a)
            .iter()
            .filter_map(|e| match &e.what {
                Happened::Plane(model::dataplane::Command::Install(i)) => Some(i.reqid),
                _ => None,
            })
            .collect();
        assert_eq!(reqids.len(), 1, "the same selectors keep their request ID");
    }
}

#[test]
fn the_child_sas_lifetime_counts_too() {
    let (mut sim, a, b) = tunnel(site_a().child("rekey_time = 50s"), site_b());
    never_without(&mut sim, a, b, 120 * SECOND);
    assert_eq!(sim.tombstones(a).len(), 2);
    assert_eq!(sim.pairs(a, b), 1);
}

#[test]
fn a_replacement_works_over_a_bad_line() {
    let (mut sim, a, b) = tunnel(site_a().connection("rekey_time = 300s"), site_b());
    sim.set_conditions(Conditions { loss: 250, duplicate: 100, reorder: 100, ..Conditions::default() });
    for _ in 0..100 {
        sim.run_for(10 * SECOND);
        assert!(sim.carries(a, b), "{:?}", sim.tombstones(a).iter().map(|t| &t.failure).collect::<Vec<_>>());
    }
    sim.set_conditions(Conditions::default());
    sim.run_for(200 * SECOND);
    assert_eq!(sim.pairs(a, b), 1);
}

#[test]
fn octets_end_an_sa_as_time_does() {
    let (mut sim, a, b) = tunnel(site_a().child("rekey_bytes = 1000000"), site_b());
    let install = sim.plane(a).installed().next().unwrap();
    assert!(install.soft_bytes.is_some());
    let child = install.child;
    sim.report(a, model::dataplane::PlaneEvent::SoftExpire { child });
    sim.settle(SECOND);
    assert!(sim.carries(a, b) && sim.plane(a).get(child).is_none());
    assert_eq!(sim.pairs(a, b), 1);
}

#[test]
fn a_replacement_that_fails_does_not_make_the_old_sa_immortal() {
    let (mut sim, a, b) = tunnel(
        site_a().connection("reauth_time = 100s").connection("over_time = 70s"),
        site_b().connection("rekey_time = 0s"),
    );
    // The peer's secret changes: nothing new can be authenticated.
    sim.with(b, |endpoint, _| endpoint.set_secrets(site_b().secret(Some("marlin")).load().secrets));
    sim.run_for(600 * SECOND);
    assert_eq!(sim.endpoint(a).sizes(), (0, 0));
    assert!(sim.tombstones(a).iter().any(|t| t.failure.kind == FailureKind::Expired));
    assert_eq!(sim.endpoint(b).sizes(), (0, 0));
}

#[test]
fn a_responder_does_not_keep_an_sa_that_is_not_replaced() {
    let (mut sim, a, b) = tunnel(
        site_a().connection("rekey_time = 0s").child("rekey_time = 0s"),
        site_b().connection("reauth_time = 100s").connection("over_time = 20s"),
    );
    // The responder begins a new one then, but nobody can authenticate any more: its secret changes.
    sim.with(b, |endpoint, _| endpoint.set_secrets(site_b().secret(Some("marlin")).load().secrets));
    sim.run_for(180 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
    assert!(sim.tombstones(b).iter().any(|t| t.failure.kind == FailureKind::Expired));
    forgotten(&mut sim, &[a, b]);
}

/// `life_time` without `rekey_time`: the Child SA ends, nothing replaces it.
#[test]
fn a_child_sa_that_is_not_rekeyed_ends_with_its_life_time() {
    let lines = |site: Site| site.child("rekey_time = 0s").child("life_time = 100s");
    let (mut sim, a, b) = tunnel(lines(site_a()), lines(site_b()));
    sim.run_for(99 * SECOND);
    assert!(sim.carries(a, b));
    sim.run_for(2 * SECOND);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

#[test]
fn only_long_timers_remain_when_all_is_quiet() {
    let (sim, a, b) = tunnel(site_a(), site_b());
    for node in [a, b] {
        let (at, reason) = sim.endpoint(node).poll_timeout().unwrap();
        assert!(at.since(sim.now()) > 100 * SECOND, "{reason:?}");
        assert!(matches!(reason, Reason::IkeLifetime | Reason::ChildLifetime(_)));
    }
}

/// `inactivity`: what carries nothing is closed, what carries something is asked again.
#[test]
fn an_idle_child_sa_is_closed() {
    for version in ["version = 1", "version = 2"] {
        let lines = |site: Site| site.connection(version);
        let (mut sim, a, b) = tunnel(lines(site_a()).child("inactivity = 10s"), lines(site_b()));
        let child = sim.snapshots(a)[0].children[0].id;
        sim.plane_mut(a).idle.insert(child, 3 * SECOND);
        sim.run_for(30 * SECOND);
        assert!(sim.carries(a, b), "{version}: three seconds ago there was a packet, each time");
        sim.plane_mut(a).idle.insert(child, 10 * SECOND);
        sim.run_for(10 * SECOND);
        assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0), "{version}");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "the IKE SA stays");
        assert_eq!(sim.failure(a).kind, FailureKind::Inactive { after: 10 * SECOND });
    }
    // One that never carried anything, whose IKE SA was replaced meanwhile.
    let (mut sim, a, b) = tunnel(site_a().child("inactivity = 100s"), site_b());
    sim.with(a, |endpoint, now| endpoint.rekey(now, &proto::Selection::default()));
    sim.run_for(90 * SECOND);
    assert!(sim.carries(a, b));
    sim.run_for(11 * SECOND);
    assert_eq!(sim.plane(b).installed().count(), 0);
}

/// `swanctl --rekey --reauth`: in IKEv1 by the initiator, and nobody else.
#[test]
fn an_operator_has_an_ike_sa_authenticate_anew() {
    for version in ["version = 1", "version = 2"] {
        let (mut sim, a, b) = tunnel(site_a().connection(version), site_b().connection(version));
        let before = sim.snapshots(a)[0].id;
        let all = proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() };
        if version == "version = 1" {
            assert_eq!(sim.with(b, |endpoint, now| endpoint.reauthenticate(now, &all)), 0, "{version}");
        }
        assert_eq!(sim.with(a, |endpoint, now| endpoint.reauthenticate(now, &all)), 1, "{version}");
        assert_eq!(sim.with(a, |endpoint, now| endpoint.reauthenticate(now, &all)), 0, "it is under way");
        sim.run_for(30 * SECOND);
        assert!(sim.snapshots(a)[0].id > before && sim.carries(a, b), "{version}");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "{version}");
        let other = proto::Selection { ike: Some("other".into()), ..proto::Selection::default() };
        assert_eq!(sim.with(a, |endpoint, now| endpoint.reauthenticate(now, &other)), 0);
    }
}

/// Either end can begin to authenticate anew where it knows how to reach the other; who began the SA has the first turn.
#[test]
fn the_initiator_authenticates_anew_first() {
    let site = |name: &str, own: &str, peer: &str| {
        let site = Site::new(name, own).to(peer).connection("version = 2").connection("reauth_time = 1000s");
        site.connection("rand_time = 0s").connection("over_time = 100s")
    };
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(5));
    assert!(sim.carries(a, b));
    let times = |node| {
        let sa = sim.snapshots(node).remove(0);
        (sa.rekey_in, sa.reauth_in, sa.expires_in.is_some())
    };
    assert!(times(a).1.is_some() && times(a).1 < times(b).1);
    assert_eq!((times(a).0, times(b).0, times(a).2, times(b).2), (None, None, false, false));
}

/// A silence that is longer than the lifetime of a Child SA takes it away at both ends; it comes back with the net, and once.
#[test]
fn a_child_whose_lifetime_ended_in_a_silence_comes_back() {
    for action in ["start_action = start", "close_action = start"] {
        for silence in [40, 60, 90] {
            let mut sim = Sim::new(silence);
            let site = |name: &str, own: &str, peer: &str| {
                let lifetimes = "rekey_time = 20s\nlife_time = 30s\nrand_time = 2s";
                Site::new(name, own).to(peer).connection("dpd_delay = 0s").child(action).child(lifetimes)
            };
            let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
            let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
            sim.initiate(a, b);
            sim.run_for(Duration::from_secs(10));
            assert!(sim.carries(a, b));
            sim.set_conditions(Conditions::losing(1000));
            sim.run_for(Duration::from_secs(silence));
            sim.set_conditions(Conditions::default());
            let back = sim.run_until(Duration::from_secs(120), |sim| sim.pairs(a, b) == 1);
            assert!(back.is_some(), "{action}, {silence} s");
            sim.run_for(Duration::from_secs(200));
            assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "{action}, {silence} s");
            assert!(sim.run_until(Duration::from_secs(10), |sim| sim.pairs(a, b) == 1).is_some());
        }
    }
}

/// A tenth of a few seconds is no time at all, and a random part may be longer than the time itself: what is to be replaced is,
/// and does not end at the same moment.
#[test]
fn times_of_seconds_replace_and_do_not_end() {
    for (seed, of_ike, of_child) in [
        (1, "reauth_time = 2s", "rekey_time = 0s"),
        (2, "reauth_time = 2s\nrand_time = 0s", "rekey_time = 0s"),
        (3, "rekey_time = 2s", "rekey_time = 0s"),
        (4, "rekey_time = 2s\nrand_time = 30s", "rekey_time = 0s"),
        (5, "rekey_time = 0s", "rekey_time = 2s"),
        (6, "rekey_time = 0s", "rekey_time = 2s\nlife_time = 2s\nrand_time = 0s"),
        (7, "reauth_time = 3s", "rekey_time = 1s"),
    ] {
        let mut sim = Sim::new(seed);
        let lines = |site: Site| site.connection(of_ike).child(of_child);
        let (a, b) = (sim.add(lines(site_a())), sim.add(lines(site_b())));
        sim.initiate(a, b);
        sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
        for _ in 0..2000 {
            sim.run_for(SECOND / 50);
            assert!(sim.carries(a, b), "{of_ike}, {of_child}: {:?}", sim.tombstones(a));
        }
        for node in [a, b] {
            let expired = |t: &&model::Tombstone| t.failure.kind == FailureKind::Expired;
            assert_eq!(sim.tombstones(node).iter().filter(expired).count(), 0, "{of_ike}, {of_child}");
            let ended = sim.tombstones(node).len();
            assert!((10..=200).contains(&ended), "{of_ike}, {of_child}: {ended} were replaced");
            assert!(sim.endpoint(node).sizes().0 <= 3 && sim.plane(node).installed().count() <= 3);
        }
    }
}
