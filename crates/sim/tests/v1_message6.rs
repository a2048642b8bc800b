//! Main mode that waits for message 6: a blocked port 4500 is told from a wrong pre-shared key by what came since.

use diag::Cause::{self, AuthFailed, NatTraversal, PeerId, PskMismatch};
use model::{FailureKind, Live};
use sim::{Block, Datagram, Nat, NodeId, Sim, Site};
use std::time::Duration;
use wire::grammar::RuleId;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);

/// With and without a NAT before `a`.
fn pair(behind_nat: bool, secret_of_b: &str) -> (Sim, NodeId, NodeId) {
    let a = if behind_nat {
        Site::new("a", "10.0.0.1").to("192.0.2.2").behind(Nat::new("203.0.113.1".parse().unwrap()))
    } else {
        Site::new("a", "192.0.2.1").to("192.0.2.2")
    };
    let b = Site::new("b", "192.0.2.2").to(if behind_nat { "203.0.113.1" } else { "192.0.2.1" });
    let mut sim = Sim::new(4);
    let a = sim.add(a.connection("version = 1"));
    let b = sim.add(b.connection("version = 1").secret(Some(secret_of_b)));
    (sim, a, b)
}

fn from_b(datagram: &Datagram) -> Option<Header> {
    Header::parse(&datagram.bytes).ok().filter(|_| datagram.from.ip().to_string() == "192.0.2.2")
}

/// A responder that says nothing of what it cannot read, as racoon.
fn mute(sim: &mut Sim) {
    sim.set_hook(Some(Box::new(|_, datagram| {
        let said = from_b(datagram).is_some_and(|h| h.exchange == ExchangeType::INFORMATIONAL_V1);
        if said { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
}

/// And one that repeats message 4, because no message 5 has come that it could use.
fn repeats_message_4(sim: &mut Sim) {
    let mut answers = 0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let Some(header) = from_b(datagram) else { return vec![(Duration::ZERO, datagram.clone())] };
        if header.exchange == ExchangeType::INFORMATIONAL_V1 {
            return Vec::new();
        }
        answers += 1;
        let again = [0, 4000, 8000].map(|after| (Duration::from_millis(after), datagram.clone()));
        if answers == 2 { again.to_vec() } else { vec![again[0].clone()] }
    })));
}

/// What is concluded while it is under way, and when it has failed, with the evidence of the latter.
fn concluded(sim: &mut Sim, a: NodeId, b: NodeId) -> (Vec<Cause>, Vec<Cause>, String) {
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    let live = Live { sas: sim.snapshots(a), remembers: true, ..Live::default() };
    let under_way = diag::live(&live).remove(0);
    assert!(under_way.evidence.iter().any(|e| e.contains("port")), "{under_way:?}");
    sim.run_for(300 * SECOND);
    let tombstone = sim.tombstones(a).remove(0);
    let over = diag::ended(&tombstone);
    (under_way.causes, over.causes, over.evidence.join("; "))
}

#[test]
fn a_blocked_port_4500_comes_first_where_nothing_came_from_there() {
    let (mut sim, a, b) = pair(true, "swordfish");
    sim.blocks.push(Block { from: None, to: None, port: Some(4500) });
    let (under_way, over, evidence) = concluded(&mut sim, a, b);
    let expected = [NatTraversal, PskMismatch, PeerId, AuthFailed];
    assert_eq!((under_way.as_slice(), over.as_slice()), (&expected[..], &expected[..]), "{evidence}");
    assert!(evidence.contains("nothing came from there; see at the peer"), "{evidence}");
    // The responder has not got message 5, which a wrong secret would not have kept away.
    assert_eq!(diag::ended(&sim.tombstones(b)[0]).causes, [NatTraversal, PeerId, AuthFailed]);
    // The same silence with a wrong secret: the evidence says what decides.
    let (mut sim, a, b) = pair(true, "marlin");
    mute(&mut sim);
    let (_, over, evidence) = concluded(&mut sim, a, b);
    assert_eq!(over, expected);
    assert!(evidence.contains("whether message 5 arrives on UDP port 4500: if it does, pre-shared keys"), "{evidence}");
    // A peer that has not got message 5 may repeat what came before it, from port 500.
    let (mut sim, a, b) = pair(true, "swordfish");
    sim.blocks.push(Block { from: None, to: None, port: Some(4500) });
    repeats_message_4(&mut sim);
    let (_, over, evidence) = concluded(&mut sim, a, b);
    assert_eq!(over, expected);
    assert!(evidence.contains("while the peer repeats message 4"), "{evidence}");
}

#[test]
fn a_peer_that_answers_from_port_4500_has_a_reason_of_its_own() {
    let (mut sim, a, b) = pair(true, "marlin");
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    let heard = sim.snapshots(a)[0].heard;
    assert!(heard.from_there > 0, "{heard:?}");
    let live = Live { sas: sim.snapshots(a), remembers: true, ..Live::default() };
    assert_eq!(diag::live(&live)[0].causes, [PskMismatch, PeerId, AuthFailed]);
}

#[test]
fn without_a_nat_no_port_is_suspected() {
    let expected = [PskMismatch, PeerId, AuthFailed];
    let (mut sim, a, b) = pair(false, "marlin");
    mute(&mut sim);
    let (under_way, over, evidence) = concluded(&mut sim, a, b);
    assert_eq!((under_way.as_slice(), over.as_slice()), (&expected[..], &expected[..]));
    assert!(evidence.contains("no NAT was found"), "{evidence}");
    assert!(matches!(sim.failure(a).kind, FailureKind::NoAnswer { waiting_for: RuleId::MainMode6, .. }));
    let (mut sim, a, b) = pair(false, "marlin");
    repeats_message_4(&mut sim);
    let (_, over, evidence) = concluded(&mut sim, a, b);
    assert_eq!(over, expected);
    assert!(evidence.contains("the peer repeats message 4"), "{evidence}");
}
