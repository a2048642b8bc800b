//! Informational exchanges (RFC 2408 section 4.8, RFC 2409 section 5.7): Delete, Notify, and dead peer detection.
//!
//! ```text
//! HDR*, HASH(1), N/D  -->
//! ```
//!
//! One message, never answered as such; R-U-THERE is answered by R-U-THERE-ACK in an exchange of its own (RFC 3706).
//! What is not protected is remembered as a hint and changes nothing.

use super::protection::{Keys, hashed, header};
use super::quick_mode;
use super::sa::{Hint, IsakmpSa, State};
use crate::child::ChildSa;
use crate::context::{Context, Effect};
use crate::timers::Reason;
use crate::v2::Path;
use model::{DropReason, Event, FailureKind, Instant, Phase, Role, SaId};
use wire::v1::{Chain, ChainBuilder, parse_chain};
use wire::{ExchangeType, Flags, HEADER_LEN, Header, ProtocolId, SpiPair, V1NotifyType};

/// Without `dpd_timeout` R-U-THERE goes unanswered this often before the peer is taken for dead.
const MAX_UNANSWERED: u32 = 5;

/// Sends payloads, protected, in an exchange of their own.
pub(super) fn send(sa: &mut IsakmpSa, cx: &mut Context, fill: impl FnOnce(&mut ChainBuilder)) {
    let id = u32::from_be_bytes(cx.random()).max(1);
    let spis = sa.spis;
    let Some(keys) = sa.keys() else { return };
    let message = sealed(keys, spis, id, fill);
    // Both directions have the same keys: our own message, sent back to us, must not pass for the peer's.
    sa.note_used(id);
    sa.datagrams_out += 1;
    sa.transmit(cx, message);
}

/// A message of an Informational exchange, `HDR*, HASH(1), ...`, under these keys, which phase 1 may not have confirmed yet.
pub(super) fn sealed(keys: &mut Keys, spis: SpiPair, id: u32, fill: impl FnOnce(&mut ChainBuilder)) -> Vec<u8> {
    let mut chain = keys.with_hash();
    fill(&mut chain);
    let chain = hashed(chain, |rest| keys.hash1(id, rest));
    let message = keys.seal(header(spis, ExchangeType::INFORMATIONAL_V1, id), chain);
    keys.forget(id);
    message
}

/// The responder's refusal instead of message 6. It is protected by keys that only the two ends have: with a pre-shared
/// key that is as good as its word, and with signatures it is the word of whoever we agreed the keys with, who can end
/// this as well by saying nothing.
fn refused_before_message_6(sa: &IsakmpSa, h: &Header, datagram: &[u8]) -> Option<V1NotifyType> {
    let State::IdSent(proving) = &sa.state else { return None };
    let opened = proving.keys.open(h, datagram).filter(|_| h.message_id != 0)?;
    let (chain, rest) = (opened.chain()?, opened.after_hash()?);
    let expected = proving.keys.hash1(h.message_id, rest);
    let error = chain.notifies().map(|n| n.kind).find(|kind| kind.is_error())?;
    crypto::equal(expected.expose(), chain.hash()?).then_some(error)
}

/// An informational message of the peer.
pub(super) fn receive(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    if !h.flags.contains(Flags::ENCRYPTION) {
        hint(sa, cx, now, (h, datagram), path);
        return None;
    }
    if let Some(refused) = refused_before_message_6(sa, h, datagram) {
        sa.log(cx, "IKE", 1, format!("received {refused} error notify"));
        return Some(FailureKind::PeerRefusedV1 { phase: Phase::Ike, notify: refused });
    }
    let opened = sa.keys().and_then(|keys| keys.open(h, datagram));
    let (Some(opened), false) = (opened, h.message_id == 0) else {
        // The likely content is the peer's refusal, but whose it is and what it says cannot be known.
        if sa.is_half_open() {
            sa.hint.get_or_insert((Hint::Unreadable, now));
        }
        sa.drop_datagram(cx, DropReason::Undecryptable, path.remote);
        return None;
    };
    let (Some(chain), Some(rest)) = (opened.chain(), opened.after_hash()) else {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    };
    let good = {
        let keys = sa.keys()?;
        let expected = keys.hash1(h.message_id, rest);
        crypto::equal(expected.expose(), chain.hash().unwrap_or_default())
    };
    if !good || sa.used.contains(&h.message_id) {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    }
    sa.note_used(h.message_id);
    sa.keys()?.count(&opened);
    let stale = stale(sa, &chain);
    if !stale {
        sa.confirmed = true;
        sa.last_heard = now;
        sa.probe.1 = 0;
        quick_mode::follow(sa, cx, path);
    }
    let (mut ended, mut wanted_back) = (None, Vec::new());
    for delete in chain.deletes() {
        match delete.protocol {
            ProtocolId::IKE => {
                let own = super::identity_protection::spi_of(sa);
                if delete.iter().any(|spi| spi == own) {
                    let rejected = sa.rejected.map(|notify| FailureKind::PeerRefusedV1 { phase: Phase::Ike, notify });
                    ended = Some(rejected.filter(|_| sa.children.is_empty()).unwrap_or(FailureKind::PeerDeleted));
                }
            }
            ProtocolId::ESP => {
                let spis: Vec<u32> = delete.child_spis().collect();
                for spi in spis {
                    match deleted_by_peer(sa, cx, now, spi) {
                        Some(name) => wanted_back.push(name),
                        None => cx.effects.push(Effect::DeletedElsewhere { under: sa.id, spi }),
                    }
                }
            }
            _ => {}
        }
    }
    let notifies: Vec<(V1NotifyType, ProtocolId, Vec<u8>)> =
        chain.notifies().map(|n| (n.kind, n.protocol, n.data.to_vec())).collect();
    drop(chain);
    if ended.is_none() {
        wanted_back.iter().for_each(|name| make_again(sa, cx, now, name));
    }
    let mut acknowledged = false;
    for (kind, protocol, data) in notifies {
        match kind {
            // One answer to one message, however often it asks.
            V1NotifyType::R_U_THERE if !stale && !acknowledged => {
                acknowledged = true;
                sa.probed = sequence(&data);
                acknowledge(sa, cx, &data);
            }
            V1NotifyType::R_U_THERE | V1NotifyType::R_U_THERE_ACK => {}
            V1NotifyType::RESPONDER_LIFETIME if protocol == ProtocolId::IKE => {
                super::phase1::shortened(sa, cx, super::proposals::lifetime_in(&data));
            }
            V1NotifyType::INITIAL_CONTACT => super::phase1::apply_uniqueness(sa, cx, true),
            V1NotifyType::INVALID_ID_INFORMATION | V1NotifyType::AUTHENTICATION_FAILED
                if protocol == ProtocolId::IKE && begun_by_peer_alone(sa) =>
            {
                sa.log(cx, "IKE", 1, "the peer does not accept us as who we say that we are".to_string());
                sa.rejected = Some(kind);
            }
            error if error.is_error() => {
                sa.log(cx, "IKE", 1, format!("received {error} error notify"));
                quick_mode::refused(sa, cx, now, error);
            }
            other => sa.log(cx, "IKE", 2, format!("received notify {other}")),
        }
    }
    ended
}

/// The peer deletes the SA of ESP with its own SPI (RFC 2408 section 3.15), or with ours: strongSwan names that one when it
/// could not install the pair. Returns the child's name if it is here.
pub(crate) fn deleted_by_peer(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, spi: u32) -> Option<String> {
    let with = |spi_of: fn(&ChildSa) -> u32| sa.children.iter().find(|c| c.is_installed() && spi_of(c) == spi);
    let child = with(|c| c.spi_out).or_else(|| with(|c| c.spi_in))?;
    let (id, name) = (child.id, child.name.clone());
    remove_child(sa, cx, now, id, FailureKind::PeerDeleted);
    Some(name)
}

/// Whether the peer began phase 1 and no phase 2 has followed: then what it refuses is message 6.
fn begun_by_peer_alone(sa: &IsakmpSa) -> bool {
    sa.role == Role::Responder && sa.children.is_empty() && sa.quick_modes.is_empty()
}

/// `close_action`: the peer closed a Child SA, and no successor of it is there.
fn make_again(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, name: &str) {
    let Some(connection) = sa.connection.clone().filter(|_| sa.children.iter().all(|c| c.name != name)) else { return };
    let Some(index) = connection.children.iter().position(|c| c.name == name) else { return };
    let action = connection.children.get(index).map(|c| c.close_action).unwrap_or_default();
    if action.starts() {
        quick_mode::begin(sa, cx, now, index);
    } else if action.traps() {
        let (mut local, mut remote) = (sa.local, sa.remote);
        local.set_port(connection.local_port);
        remote.set_port(connection.remote_port);
        let (connection, child) = (connection.name.clone(), name.to_string());
        cx.effects.push(Effect::Trap { connection, child, local, remote });
    }
}

fn sequence(data: &[u8]) -> Option<u32> {
    data.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// Whether a message is a sign of life from another time: R-U-THERE with a sequence number below the last one, or an
/// ACK of something else than was asked last (RFC 3706 section 7). A recorded one must not keep a dead peer alive.
fn stale(sa: &IsakmpSa, chain: &Chain<'_>) -> bool {
    chain.notifies().any(|n| match n.kind {
        V1NotifyType::R_U_THERE => match (sequence(n.data), sa.probed) {
            (Some(new), Some(last)) => new.wrapping_sub(last) > u32::MAX / 2,
            (new, _) => new.is_none(),
        },
        V1NotifyType::R_U_THERE_ACK => {
            // Any of those that are not answered yet: the line may be slow.
            sequence(n.data).is_none_or(|answered| sa.probe.0.wrapping_sub(answered) >= sa.probe.1)
        }
        _ => false,
    })
}

/// Whether a Delete means this ISAKMP SA or one of its Child SAs.
fn names(delete: &wire::v1::Delete<'_>, sa: &IsakmpSa) -> bool {
    match delete.protocol {
        ProtocolId::IKE => delete.iter().any(|spi| spi == super::identity_protection::spi_of(sa)),
        ProtocolId::ESP => {
            delete.child_spis().any(|spi| sa.children.iter().any(|c| c.spi_out == spi || c.spi_in == spi))
        }
        _ => false,
    }
}

/// An unprotected Notify or Delete: remembered, never acted upon (RFC 2409 section 5.7). The cookies in the header have
/// named this SA already.
fn hint(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, (h, datagram): (&Header, &[u8]), path: Path) {
    let payloads = datagram.get(HEADER_LEN..).unwrap_or_default();
    let Ok(chain) = parse_chain(h.next_payload, payloads, HEADER_LEN, false) else {
        return sa.drop_datagram(cx, DropReason::Malformed, path.remote);
    };
    let kinds: Vec<V1NotifyType> = chain.notifies().map(|n| n.kind).filter(|k| k.is_error()).collect();
    for kind in kinds {
        sa.log(cx, "IKE", 1, format!("the peer reports {kind}, unprotected: not acted upon, {}", sa.remote.ip()));
        sa.hint = Some((Hint::Notify(kind), now));
    }
    if chain.deletes().any(|delete| names(delete, sa)) {
        sa.log(cx, "IKE", 1, format!("the peer deletes, unprotected: not acted upon, {}", sa.remote.ip()));
        sa.hint = Some((Hint::Delete, now));
    }
    sa.drop_datagram(cx, DropReason::NotProtected, path.remote);
}

fn acknowledge(sa: &mut IsakmpSa, cx: &mut Context, sequence: &[u8]) {
    let cookies = sa.spis;
    send(sa, cx, |rest| {
        rest.notify_isakmp(cookies, V1NotifyType::R_U_THERE_ACK, sequence);
    });
}

/// Time to ask whether the peer is alive. Returns why the SA ends if it does not seem to be.
pub(crate) fn probe(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) -> Option<FailureKind> {
    let (delay, timeout) = sa.connection.as_ref().map(|c| (c.dpd_delay, c.dpd_timeout))?;
    if delay.is_zero() {
        return None;
    }
    let quiet = now.since(sa.last_heard);
    // `dpd_timeout` counts from the peer's last message, as with strongSwan; where the first question comes no sooner than
    // that, from the question.
    let silence = (!timeout.is_zero()).then(|| if timeout > delay { timeout } else { delay + timeout });
    if quiet >= delay {
        let given_up = match silence {
            Some(silence) => sa.probe.1 > 0 && quiet >= silence,
            None => sa.probe.1 >= MAX_UNANSWERED,
        };
        if given_up {
            return Some(FailureKind::NoAnswer {
                waiting_for: wire::grammar::RuleId::InformationalV1,
                to: sa.remote,
                sent: sa.probe.1,
                over: quiet,
                answered_before: true,
            });
        }
        if sa.probe.0 == 0 {
            sa.probe.0 = u32::from_be_bytes(cx.random()) >> 1;
        }
        sa.probe = (sa.probe.0.wrapping_add(1), sa.probe.1.saturating_add(1));
        let (cookies, sequence) = (sa.spis, sa.probe.0.to_be_bytes());
        send(sa, cx, |rest| {
            rest.notify_isakmp(cookies, V1NotifyType::R_U_THERE, &sequence);
        });
        let next = now + delay;
        cx.timers.set(sa.id, Reason::Liveness, silence.map_or(next, |silence| next.min(sa.last_heard + silence)));
    } else {
        cx.timers.set(sa.id, Reason::Liveness, now + (delay - quiet));
    }
    None
}

/// Takes a Child SA down and tells.
pub(crate) fn remove_child(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, child: SaId, reason: FailureKind) {
    let Some(index) = sa.children.iter().position(|c| c.id == child) else { return };
    let snapshot = sa.snapshot_of_child(cx, now, child);
    let name = sa.children.get(index).map(|c| c.name.clone()).unwrap_or_default();
    let tombstone = sa.tombstone(cx, now, reason, Some(&name));
    let gone = sa.children.remove(index);
    sa.initiated.remove(&child);
    sa.superseded.remove(&child);
    gone.uninstall(sa.id, cx);
    if gone.is_installed() {
        cx.event(Event::ChildDown(Box::new(snapshot)));
    }
    cx.event(Event::Ended(Box::new(tombstone)));
}

/// Deletes a Child SA, here and at the peer: RFC 2408 section 3.15, nobody answers.
pub(crate) fn delete_child(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, child: SaId, reason: FailureKind) {
    let Some(spi) = sa.children.iter().find(|c| c.id == child && c.is_installed()).map(|c| c.spi_in) else { return };
    send(sa, cx, |rest| {
        rest.delete(ProtocolId::ESP, &[spi.to_be_bytes()]);
    });
    remove_child(sa, cx, now, child, reason);
}

/// Tells the peer that the ISAKMP SA, and what is under it, is no more.
pub(crate) fn delete_isakmp(sa: &mut IsakmpSa, cx: &mut Context) {
    let spis: Vec<[u8; 4]> = sa.children.iter().filter(|c| c.is_installed()).map(|c| c.spi_in.to_be_bytes()).collect();
    if !spis.is_empty() {
        send(sa, cx, |rest| {
            rest.delete(ProtocolId::ESP, &spis);
        });
    }
    delete_isakmp_alone(sa, cx);
}

/// The ISAKMP SA goes, what was negotiated under it stays.
pub(crate) fn delete_isakmp_alone(sa: &mut IsakmpSa, cx: &mut Context) {
    let cookies = sa.spis;
    send(sa, cx, |rest| {
        rest.delete_isakmp(cookies);
    });
}
