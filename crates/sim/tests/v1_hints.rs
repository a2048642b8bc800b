//! IKEv1: what is said without protection about an SA is kept for the explanation, and ends nothing (RFC 2409 section 5.7).

use model::{DropReason, FailureKind, IkeState};
use sim::{Conditions, Datagram, NodeId, Sim, Site};
use std::time::Duration;
use wire::v1::{ChainBuilder, message};
use wire::{ExchangeType, Flags, Header, PayloadType, ProtocolId, SpiPair, V1NotifyType, Version};

const SECOND: Duration = Duration::from_secs(1);

fn pair() -> (Sim, NodeId, NodeId) {
    let site = |name, own, peer| {
        Site::new(name, own)
            .to(peer)
            .connection("version = 1")
            .connection("dpd_delay = 30s")
            .connection("dpd_timeout = 90s")
    };
    let mut sim = Sim::new(3);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
    sim.initiate(a, b);
    (sim, a, b)
}

/// Gives `a` an Informational message in the clear, as if from `b`.
fn say(sim: &mut Sim, a: NodeId, spis: SpiPair, chain: ChainBuilder) {
    let header = Header {
        spis,
        next_payload: PayloadType::NONE,
        version: Version::V1,
        exchange: ExchangeType::INFORMATIONAL_V1,
        flags: Flags::NONE,
        message_id: 77,
        length: 0,
    };
    let bytes = message(header, chain);
    let (from, to) = ("192.0.2.2:500".parse().unwrap(), "192.0.2.1:500".parse().unwrap());
    sim.inject(Datagram { from, to, bytes, keepalive: false });
    sim.run_for(Duration::from_millis(500));
    assert_eq!(sim.snapshots(a).len(), 1);
}

fn suspicion(sim: &Sim, node: NodeId) -> Option<String> {
    sim.snapshots(node)[0].suspicion.clone()
}

#[test]
fn a_delete_in_the_clear_is_remembered_until_the_peer_gives_a_sign_of_life() {
    let (mut sim, a, b) = pair();
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b));
    let spis = sim.snapshots(a)[0].spis;
    let child = sim.snapshots(a)[0].children[0].spi_out;

    // Of somebody else's SA.
    let mut chain = ChainBuilder::new();
    chain.delete(ProtocolId::ESP, &[(child ^ 1).to_be_bytes()]);
    chain.delete_isakmp(SpiPair { initiator: 1.into(), responder: 2.into() });
    say(&mut sim, a, spis, chain);
    assert_eq!(suspicion(&sim, a), None);

    let fill: [fn(&mut ChainBuilder, SpiPair, u32); 2] = [
        |chain, spis, _| {
            chain.delete_isakmp(spis);
        },
        |chain, _, child| {
            chain.delete(ProtocolId::ESP, &[child.to_be_bytes()]);
        },
    ];
    for fill in fill {
        let before = sim.dropped(a, DropReason::NotProtected);
        let mut chain = ChainBuilder::new();
        fill(&mut chain, spis, child);
        say(&mut sim, a, spis, chain);
        assert_eq!(suspicion(&sim, a).as_deref(), Some(model::DELETED));
        assert_eq!(sim.dropped(a, DropReason::NotProtected), before + 1);
        assert!(sim.carries(a, b) && sim.tombstones(a).is_empty(), "nothing is done");
        sim.run_for(60 * SECOND);
        assert_eq!(suspicion(&sim, a), None, "the peer has answered R-U-THERE");
        assert!(sim.carries(a, b) && sim.tombstones(a).is_empty());
    }
}

/// A peer that has restarted says so in the clear, and answers nothing: then its words are told with the end.
#[test]
fn what_was_said_in_the_clear_explains_a_peer_that_answers_no_more() {
    for deleted in [true, false] {
        let (mut sim, a, b) = pair();
        sim.run_for(5 * SECOND);
        let spis = sim.snapshots(a)[0].spis;
        sim.crash(b);
        let mut chain = ChainBuilder::new();
        if deleted {
            chain.delete_isakmp(spis);
        } else {
            chain.notify(ProtocolId::IKE, &[], V1NotifyType::INVALID_COOKIE, &[]);
        }
        say(&mut sim, a, spis, chain);
        let said = if deleted { "DELETE" } else { "INVALID_COOKIE" };
        assert_eq!(suspicion(&sim, a).as_deref(), Some(said));
        sim.run_for(200 * SECOND);
        let ended = sim.tombstones(a).remove(0);
        assert!(matches!(ended.failure.kind, FailureKind::NoAnswer { answered_before: true, .. }), "{ended:?}");
        assert_eq!(ended.sa.suspicion.as_deref(), Some(said));
        let found = diag::ended(&ended);
        assert_eq!(found.causes, [diag::Cause::StaleSa, diag::Cause::DpdTimeout]);
        assert!(found.evidence.iter().any(|e| e.contains("unprotected")), "{found:?}");
    }
}

/// The same while phase 1 is under way: it goes on.
#[test]
fn a_delete_in_the_clear_does_not_end_phase_1() {
    let (mut sim, a, b) = pair();
    sim.run_until(SECOND, |sim| sim.wire.len() - sim.under_way() >= 4);
    let spis = sim.snapshots(a)[0].spis;
    assert!(!spis.responder.is_zero() && sim.snapshots(a)[0].state == IkeState::Connecting);
    sim.set_conditions(Conditions { loss: 1000, ..Conditions::default() });
    let mut chain = ChainBuilder::new();
    chain.delete_isakmp(spis);
    sim.set_conditions(Conditions::default());
    let hook: sim::Hook = Box::new(|_, _| Vec::new());
    sim.set_hook(Some(hook));
    let header = Header {
        spis,
        next_payload: PayloadType::NONE,
        version: Version::V1,
        exchange: ExchangeType::INFORMATIONAL_V1,
        flags: Flags::NONE,
        message_id: 77,
        length: 0,
    };
    let bytes = message(header, chain);
    sim.with(a, |endpoint, now| {
        let (local, remote) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
        endpoint.handle(now, proto::Input::Datagram { local, remote, bytes: &bytes });
    });
    assert_eq!(suspicion(&sim, a).as_deref(), Some("DELETE"));
    sim.set_hook(None);
    sim.run_for(30 * SECOND);
    assert!(sim.carries(a, b));
    assert_eq!(suspicion(&sim, a), None);
}

/// One forged datagram for each attempt must not end `keyingtries = 0`: the reason is kept, and decides nothing.
#[test]
fn a_forged_refusal_does_not_end_the_attempts() {
    let site = |name, own, peer| Site::new(name, own).to(peer).connection("version = 1").connection("keyingtries = 0");
    for mode in ["aggressive = no", "aggressive = yes"] {
        for said in [V1NotifyType::NO_PROPOSAL_CHOSEN, V1NotifyType::AUTHENTICATION_FAILED] {
            let mut sim = Sim::new(5);
            let a = sim.add(site("a", "192.0.2.1", "192.0.2.2").connection(mode));
            let b = sim.add(site("b", "192.0.2.2", "192.0.2.1").connection(mode));
            let (of_b, silent) = (sim.address(b), sim::Block { to: Some(sim.address(b)), ..sim::Block::default() });
            sim.blocks.push(silent);
            sim.initiate(a, b);
            for attempt in 1..=3 {
                let spis = sim.snapshots(a)[0].spis;
                let mut chain = ChainBuilder::new();
                chain.notify(ProtocolId::IKE, &[], said, &[]);
                say(&mut sim, a, spis, chain);
                assert_eq!(suspicion(&sim, a).as_deref(), Some(said.to_string().as_str()));
                sim.run_until(400 * SECOND, |sim| sim.tombstones(a).len() == attempt);
                let ended = sim.tombstones(a).into_iter().max_by_key(|t| t.at).unwrap();
                let told = match (said, mode) {
                    (V1NotifyType::NO_PROPOSAL_CHOSEN, _) => "IKE_PROPOSAL",
                    (_, "aggressive = yes") => "AUTH_FAILED",
                    _ => "NO_RESPONSE",
                };
                assert_eq!(ended.failure.kind.code(), told, "{mode}: the reason is told as before");
                sim.run_until(400 * SECOND, |sim| sim.snapshots(a).iter().any(|sa| sa.state == IkeState::Connecting));
                assert_eq!(sim.snapshots(a).len(), 1, "{mode}, {said}: it goes on after attempt {attempt}");
            }
            sim.blocks.retain(|block| block.to != Some(of_b));
            sim.run_for(60 * SECOND);
            assert!(sim.carries(a, b), "{mode}, {said}: the peer is there");
        }
    }
}
