//! CREATE_CHILD_SA for the IKE SA (RFC 7296 sections 1.3.2 and 2.18): new keys, new SPIs, message IDs from 0, and the
//! same Child SAs.
//!
//! ```text
//! HDR, SK {SA, Ni, KEi}  -->
//!                   <--  HDR, SK {SA, Nr, KEr}
//! HDR, SK {D}            -->                      by the initiator of the exchange, under the old IKE SA
//!                   <--  HDR, SK {}
//! ```
//!
//! If both ends begin at once there are two new IKE SAs; the one whose exchange has the lowest of the four nonces is
//! deleted by its maker, inherits nothing, and the other maker deletes the old one (section 2.8.2).

use super::child;
use super::crash;
use super::create_child_sa::{Creating, Crossing, Refusal, What, exchange, first_group, other_group, retry_at};
use super::exchange::{Request, Task, Verdict};
use super::ike_sa_init::NONCE_LEN;
use super::mobility;
use super::sa::{IkeSa, State};
use super::unsettled::doubtful;
use crate::context::{Context, Counter, Effect};
use config::Connection;
use crypto::KeyExchange;
use model::{
    ChosenSuite, Event, FailureKind, IkeState, Instant, Mismatch, Phase, ProposalProtocol, Role, SaId, Side, select,
};
use std::sync::Arc;
use wire::grammar::RuleId;
use wire::v2::{ChainBuilder, Proposal};
use wire::{ExchangeType, IkeSpi, KeyExchangeId, NotifyType, ProtocolId, Secret, SpiPair};

/// Sends our request.
pub(super) fn start(sa: &mut IkeSa, cx: &mut Context, now: Instant) {
    send(sa, cx, now, None, 0);
}

fn send(sa: &mut IkeSa, cx: &mut Context, now: Instant, wanted: Option<KeyExchangeId>, retries: u32) {
    let Some(connection) = sa.connection.clone().filter(|_| sa.replaced_by.is_none()) else { return };
    let Some(group) = wanted.or_else(|| first_group(&connection.proposals)) else { return };
    let Ok(key_exchange) = KeyExchange::generate(group, &mut *cx.rng) else { return };
    let (nonce, spi) = (cx.random::<NONCE_LEN>().to_vec(), cx.ike_spi());
    let mut chain = ChainBuilder::new();
    // RFC 7296 section 3.3.1: the SPI of the new IKE SA is in the proposals.
    chain.sa(&child::offer(&connection.proposals, &spi.0));
    chain.nonce(&nonce);
    chain.ke(group, key_exchange.public());
    sa.log(cx, "IKE", 1, format!("rekeying IKE_SA {}[{}]", connection.name, sa.id.0));
    let from = sa.ike_state();
    let what = What::Ike { spi, crossing: None };
    let creating = Creating { nonce, key_exchange: Some(key_exchange), retries, gone: Vec::new(), what };
    let (exchange, waiting_for) = (ExchangeType::CREATE_CHILD_SA, RuleId::CreateChildSaIkeRekeyResponse);
    sa.request(cx, now, exchange, chain, waiting_for, Task::RekeyIke, Some(creating));
    tell_state(sa, cx, from);
}

fn tell_state(sa: &IkeSa, cx: &mut Context, from: IkeState) {
    let to = sa.ike_state();
    if from != to {
        cx.event(Event::IkeState { sa: sa.id, name: sa.name().to_string(), from, to });
    }
}

/// The peer's half, taken from its proposal.
struct Chosen {
    suite: ChosenSuite,
    number: u8,
    group: KeyExchangeId,
    spi: IkeSpi,
}

fn choose(connection: &Connection, offered: &[Proposal]) -> Result<Chosen, Mismatch> {
    let (number, suite) = select(&connection.proposals, offered)?;
    let octets = offered.iter().find(|p| p.number == number).map(|p| <[u8; 8]>::try_from(p.spi.as_slice()));
    let spi = octets.and_then(Result::ok).map(IkeSpi).filter(|spi| !spi.is_zero());
    match (spi, suite.key_exchange) {
        (Some(spi), Some(group)) => Ok(Chosen { suite, number, group, spi }),
        _ => Err(Mismatch { differing: Vec::new() }),
    }
}

/// What a new IKE SA is made of.
struct Made {
    suite: ChosenSuite,
    shared: Secret,
    spis: SpiPair,
    role: Role,
}

/// The IKE SA that takes the place of this one.
fn successor(sa: &IkeSa, cx: &mut Context, now: Instant, made: &Made, nonces: (&[u8], &[u8])) -> Option<IkeSa> {
    let keys = sa.keys()?.rekeyed(&made.suite, &made.shared, nonces, made.spis, made.role).ok()?;
    let addresses = (sa.local, sa.remote);
    let mut new = IkeSa::new(cx.ike_id(), made.role, made.spis, addresses, State::Established(keys), now);
    new.connection = sa.connection.clone();
    new.suite = Some(made.suite);
    new.nat = sa.nat;
    new.fragments = sa.fragments; // RFC 7383 section 2.3 asks in IKE_SA_INIT only
    new.narrow_path = sa.narrow_path;
    new.local_id = sa.local_id.clone();
    new.remote_id = sa.remote_id.clone();
    new.mobility = mobility::inherited(sa);
    (new.proven_by, new.remote_certificate_until) = (sa.proven_by, sa.remote_certificate_until);
    new.certified.clone_from(&sa.certified);
    new.one_of_two = sa.one_of_two;
    new.forgets_at_once = sa.forgets_at_once;
    new.redirection = sa.redirection.clone();
    new.peer_does_childless = sa.peer_does_childless;
    new.established = Some(now);
    // Only authentication itself puts the next one off.
    new.reauth_at = sa.reauth_at;
    new.reauth_end = sa.reauth_end;
    new.tell_at = sa.tell_at;
    Some(new)
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// The peer answers.
pub(super) fn response(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    creating: Creating,
    response: &Request<'_>,
) -> Verdict {
    let Some(connection) = sa.connection.clone() else { return Verdict::Keep };
    let What::Ike { spi, crossing } = &creating.what else { return Verdict::Keep };
    let chain = response.chain;
    if response.rule != RuleId::CreateChildSaIkeRekeyResponse {
        let error = chain.error();
        let notify = error.map_or(NotifyType::NO_PROPOSAL_CHOSEN, |n| n.kind);
        if let Some(crossing) = crossing {
            // RFC 7296 section 2.8.2: the peer was done before our request came; its new SA is the one.
            inherit(sa, cx, crossing.made);
            return Verdict::Keep;
        }
        let kind = match (notify, error) {
            (NotifyType::INVALID_SYNTAX, _) => {
                return Verdict::End(FailureKind::PeerRefused { phase: Phase::Ike, notify });
            }
            (NotifyType::INVALID_KE_PAYLOAD, Some(error)) => {
                match other_group(&connection.proposals, &creating, error) {
                    Ok(group) => {
                        send(sa, cx, now, Some(group), creating.retries + 1);
                        return Verdict::Keep;
                    }
                    Err(kind) => kind,
                }
            }
            (NotifyType::NO_ADDITIONAL_SAS, _) => {
                sa.log(cx, "IKE", 1, "the peer does not rekey the IKE SA".to_string());
                sa.tell_not_rekeyed(cx, now, FailureKind::PeerRefused { phase: Phase::Ike, notify }, None);
                cx.effects.push(Effect::Renew {
                    old: sa.id,
                    child: sa.children.first().map(|c| c.name.clone()).unwrap_or_default(),
                });
                return Verdict::Keep;
            }
            (NotifyType::NO_PROPOSAL_CHOSEN, _) => FailureKind::NoProposalChosen {
                phase: Phase::Ike,
                found_by: Side::Peer,
                mismatch: None,
                ours: connection.proposals.iter().map(ToString::to_string).collect(),
            },
            (notify, _) => FailureKind::PeerRefused { phase: Phase::Ike, notify },
        };
        sa.log(cx, "IKE", 1, format!("the IKE SA is not rekeyed, again later: {kind}"));
        sa.tell_not_rekeyed(cx, now, kind, None);
        sa.rekey_at = Some(retry_at(cx, now, sa.expires));
        sa.arm_lifetime(cx);
        tell_state(sa, cx, IkeState::Rekeying);
        return Verdict::Keep;
    }
    let (Some(answer), Some(nonce_r), Some(ke), Some(ours)) =
        (chain.sa(), chain.nonce(), chain.ke(), &creating.key_exchange)
    else {
        return Verdict::Keep; // the row requires them
    };
    // What the peer made with such an answer cannot be used: the whole IKE SA ends, the peer hears it and forgets both.
    let made_by_peer = crossing.as_ref().map(|c| c.made);
    let end = |sa: &mut IkeSa, cx: &mut Context, kind: FailureKind| {
        if let Some(heir) = made_by_peer {
            // What it made in an exchange of its own can: that is the one.
            sa.log(cx, "IKE", 1, format!("the IKE SA is as the peer rekeyed it, our rekeying failed: {kind}"));
            inherit(sa, cx, heir);
            return Verdict::Keep;
        }
        sa.queue.clear();
        sa.enqueue(cx, now, Task::DeleteIke { reason: kind });
        Verdict::Keep
    };
    let chosen = match (answer, choose(&connection, answer)) {
        ([_], Ok(chosen)) if chosen.group == ke.method && chosen.group == ours.id() => chosen,
        (_, chosen) => {
            let mismatch = chosen.err().unwrap_or(Mismatch { differing: Vec::new() });
            return end(sa, cx, FailureKind::ChoiceNotOffered { phase: Phase::Ike, mismatch });
        }
    };
    let Ok(shared) = ours.agree(ke.data) else {
        return end(sa, cx, FailureKind::BadPublicValue { group: ke.method });
    };
    let spis = SpiPair { initiator: *spi, responder: chosen.spi };
    let made = Made { suite: chosen.suite, shared, spis, role: Role::Initiator };
    let Some(mut new) = successor(sa, cx, now, &made, (&creating.nonce, nonce_r)) else {
        return end(sa, cx, FailureKind::InstallFailed { reason: "no keys for the new IKE SA".to_string() });
    };
    cx.count(Counter::IkeRekeyInitiator);
    crash::take(&mut new, cx, chain);
    // An operator may have asked meanwhile for the end of what has a successor now.
    let asked = sa.queue.iter().find(|t| matches!(t, Task::DeleteIke { .. })).cloned();
    let by = new.id;
    match crossing {
        Some(crossing) if creating.nonce.as_slice().min(nonce_r) < crossing.lowest.as_slice() => {
            // Section 2.8.2: ours has the lowest of the four nonces, so we close it; the peer deletes the old one.
            let heir = crossing.made;
            if doubtful(sa) {
                new.replaced_by = Some(heir); // it goes in a while: the peer may have the Child SAs here
            } else {
                new.queue.push_back(Task::DeleteIke { reason: FailureKind::Replaced { by: heir } });
            }
            cx.effects.push(Effect::Rekeyed { old: sa.id, new: Box::new(new), inherits: false, redundant: None });
            inherit(sa, cx, heir);
        }
        crossing => {
            let redundant = crossing.as_ref().map(|c| c.made);
            if asked.is_none() && (crash::has_token(cx) || cx.settings.window_size > 1) {
                new.queue.push_back(Task::TellMore);
            }
            new.queue.extend(asked);
            sa.replaced_by = Some(by);
            tell_state(sa, cx, IkeState::Rekeying);
            cx.effects.push(Effect::Rekeyed { old: sa.id, new: Box::new(new), inherits: true, redundant });
        }
    }
    Verdict::Keep
}

/// The Child SAs go to an IKE SA that is there already.
fn inherit(sa: &mut IkeSa, cx: &mut Context, heir: SaId) {
    sa.replaced_by = Some(heir);
    tell_state(sa, cx, IkeState::Rekeying);
    cx.effects.push(Effect::Inherit { old: sa.id, heir });
}

// ---------------------------------------------------------------------------------------------------------- responder

/// The peer's request.
pub(super) fn serve(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    connection: &Arc<Connection>,
    request: &Request<'_>,
    reply: &mut ChainBuilder,
) -> Result<(), Refusal> {
    let chain = request.chain;
    let ending = sa.queue.iter().any(|t| matches!(t, Task::DeleteIke { .. }));
    let of_child = sa.pending.tasks().any(Task::is_of_child);
    // Section 2.18: who rekeyed deletes the old IKE SA. Else a peer could make more and more of them.
    let ending = ending || sa.predecessor.is_some();
    if ending || of_child || sa.heir().is_some() || sa.undecided {
        // RFC 7296 section 2.25.1: not while we change a Child SA.
        return Err(Refusal::plain(NotifyType::TEMPORARY_FAILURE));
    }
    let (Some(offered), Some(nonce_i)) = (chain.sa(), chain.nonce()) else {
        return Err(Refusal::plain(NotifyType::INVALID_SYNTAX));
    };
    let chosen = choose(connection, offered).map_err(|mismatch| {
        let kind = FailureKind::NoProposalChosen {
            phase: Phase::Ike,
            found_by: Side::Us,
            mismatch: Some(mismatch),
            ours: connection.proposals.iter().map(ToString::to_string).collect(),
        };
        Refusal::fault(NotifyType::NO_PROPOSAL_CHOSEN, kind, None)
    })?;
    let none = || Refusal::plain(NotifyType::NO_PROPOSAL_CHOSEN);
    let (key_exchange, shared) = exchange(cx, Some(chosen.group), chain.ke())?.ok_or_else(none)?;
    let nonce_r = cx.random::<NONCE_LEN>().to_vec();
    let spis = SpiPair { initiator: chosen.spi, responder: cx.ike_spi() };
    let made = Made { suite: chosen.suite, shared, spis, role: Role::Responder };
    let mut new = successor(sa, cx, now, &made, (nonce_i, &nonce_r)).ok_or_else(none)?;
    // Everything is checked: from here on the SA changes.
    reply.sa(&[Proposal {
        number: chosen.number,
        protocol: ProtocolId::IKE,
        spi: spis.responder.0.to_vec(),
        transforms: chosen.suite.to_proposal(ProposalProtocol::Ike).transforms(),
    }]);
    reply.nonce(&nonce_r);
    reply.ke(key_exchange.id(), key_exchange.public());
    crash::tell(cx, reply, spis);
    sa.log(cx, "IKE", 1, format!("the peer rekeys IKE_SA {}[{}]", connection.name, sa.id.0));
    cx.count(Counter::IkeRekeyResponder);
    let inherits = match sa.pending.rekeying_ike() {
        // Section 2.25.2: both at once; the answer to our request decides who inherits.
        Some(What::Ike { crossing, .. }) => {
            *crossing = Some(Crossing { lowest: nonce_i.min(&nonce_r).to_vec(), made: new.id });
            false
        }
        _ => {
            let from = sa.ike_state();
            sa.replaced_by = Some(new.id);
            tell_state(sa, cx, from);
            true
        }
    };
    new.undecided = !inherits;
    new.predecessor = inherits.then_some(sa.id);
    if inherits && cx.settings.window_size > 1 {
        new.queue.push_back(Task::TellMore);
    }
    cx.effects.push(Effect::Rekeyed { old: sa.id, new: Box::new(new), inherits, redundant: None });
    Ok(())
}
