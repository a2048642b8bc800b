//! INFORMATIONAL (RFC 7296 section 1.4): signs of life and Deletes.
//!
//! ```text
//! HDR, SK {[N,] [D,] [CP,] ...}  -->
//!                           <--  HDR, SK {[N,] [D,] [CP], ...}
//! ```

use super::child;
use super::exchange::{Request, Task, Verdict};
use super::sa::{IkeSa, State};
use super::{auth_lifetime, crash, mobility, redirect, refused, unsettled, window};
use crate::context::{Context, Effect};
use crate::timers::Reason;
use model::dataplane::Command;
use model::{ChildState, Event, FailureKind, Instant, Phase, SaId};
use wire::grammar::RuleId;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, NotifyType, ProtocolId};

/// More unknown Child SAs than this are not remembered while an answer is waited for.
const MAX_GONE: usize = 16;

/// The peer's request.
pub(super) fn request(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    request: &Request<'_>,
) -> (ChainBuilder, Verdict) {
    let mut reply = ChainBuilder::new();
    let failed = request.chain.notify(NotifyType::AUTHENTICATION_FAILED).is_some();
    if !sa.is_established() && !matches!(sa.state, State::Deleting(_)) {
        reply.notify(ProtocolId::NONE, &[], NotifyType::INVALID_SYNTAX, &[]);
        return (reply, Verdict::Keep);
    }
    let mut verdict = Verdict::Keep;
    for delete in request.chain.deletes() {
        match delete.protocol {
            ProtocolId::IKE => {
                // RFC 7296 section 1.4.1: the answer to the Delete of an IKE SA is empty, and both ends forget it.
                // Section 2.25.2: a rekeying of ours that is under way is forgotten; what the peer's made inherits.
                // Where ours crosses it the reason is ours: the SA ends as if the peer had only answered.
                let reason = sa.heir().map(|by| FailureKind::Replaced { by }).or_else(|| sa.asks_to_end().cloned());
                verdict = Verdict::End(reason.unwrap_or(FailureKind::PeerDeleted));
            }
            ProtocolId::ESP => {
                let (mut gone, mut unknown) = (Vec::new(), 0);
                for spi in delete.child_spis() {
                    match by_peer_spi(sa, spi) {
                        Some(child) => gone.extend(delete_by_peer(sa, cx, now, child)),
                        None => {
                            unknown += 1;
                            note_unknown(sa, cx, spi, unknown);
                        }
                    }
                }
                let spis: Vec<[u8; 4]> = gone.iter().map(|spi| spi.to_be_bytes()).collect();
                if !spis.is_empty() {
                    // Section 1.4.1: the answer names the paired SAs going in the other direction.
                    reply.delete(ProtocolId::ESP, &spis);
                }
            }
            other => sa.log(cx, "IKE", 1, format!("the peer deletes an SA of protocol {other}: there is none")),
        }
    }
    if matches!(verdict, Verdict::Keep) {
        crash::take(sa, cx, request.chain);
        auth_lifetime::note(sa, cx, now, request.chain, true);
        mobility::serve(sa, cx, now, request, &mut reply);
        if let Some(to) = redirect::told(sa, cx, request.chain) {
            cx.effects.push(Effect::Redirect { sa: sa.id, to });
        }
    }
    if failed {
        // Section 2.21.2: an initiator that could not authenticate us says so in a request of its own.
        let local = sa.local_id.clone().unwrap_or(model::Identity::ANY);
        verdict = Verdict::End(FailureKind::AuthenticationRefused { local, remote: sa.remote_id.clone() });
    }
    if let (Verdict::Keep, Some(error)) = (&verdict, request.chain.error()) {
        sa.log(cx, "IKE", 1, format!("the peer reports {}", error.kind));
    }
    (reply, verdict)
}

/// The Child SA to which the peer receives by `spi`.
fn by_peer_spi(sa: &IkeSa, spi: u32) -> Option<SaId> {
    sa.children.iter().find(|c| c.is_installed() && c.spi_out == spi).map(|c| c.id)
}

/// The peer deletes a Child SA that is not there, the so manieth in one message: a Delete has room for 16,000.
fn note_unknown(sa: &mut IkeSa, cx: &mut Context, spi: u32, number: usize) {
    match number {
        0..=MAX_GONE => {
            sa.log(cx, "IKE", 1, format!("the peer deletes the Child SA with SPI {spi:08x}: there is none"));
        }
        _ if number == MAX_GONE + 1 => {
            sa.log(cx, "IKE", 1, "and more of which there is none: they are not told one by one".to_string());
        }
        _ => {}
    }
    // The answer to any of our requests may bring it.
    for creating in sa.pending.creating_mut().filter(|c| c.gone.len() < MAX_GONE) {
        creating.gone.push(spi);
    }
}

/// The peer deletes a Child SA. Returns our inbound SPI.
fn delete_by_peer(sa: &mut IkeSa, cx: &mut Context, now: Instant, child: SaId) -> Option<u32> {
    let found = sa.children.iter().find(|c| c.id == child)?;
    let (spi_in, name) = (found.spi_in, found.name.clone());
    let rekeyed = (found.state == ChildState::Rekeyed).then(|| found.replaced_by.unwrap_or(sa.id));
    let replaced_by = rekeyed.or_else(|| sa.pending.crossed(child));
    // What we delete too is made anew, if at all, by the end that began the IKE SA: not by both.
    let turn = sa.role == model::Role::Initiator || !sa.is_child_leaving(found);
    let ours = sa.asks_to_end_child(spi_in).cloned();
    // Section 1.4.1: if we deleted it at the same time, the SPI is not named in the answer.
    let ours_too = sa.pending.tasks().any(|task| matches!(task, Task::DeleteChild { spi, .. } if *spi == spi_in));
    let config = sa.connection.as_ref().and_then(|c| child::config_of(c, &name));
    let action = config.map(|c| c.close_action).filter(|_| replaced_by.is_none());
    // Where ours crosses it, it ends for our reason, as if the peer had only answered: what an operator ends stays down.
    let (again, trap) = match &ours {
        None => (turn && action.is_some_and(|a| a.starts()), action.is_some_and(|a| a.traps())),
        Some(FailureKind::Expired) => (replaced_by.is_none() && outlives(sa, &name), action.is_some_and(|a| a.traps())),
        Some(_) => (false, false),
    };
    let replaced = replaced_by.map(|by| FailureKind::Replaced { by });
    // Section 1.4.1: what we send by it ends now, and what we receive with the answer to our own Delete.
    let answered_later = ours_too && replaced.is_none();
    let found = sa.children.iter_mut().find(|c| c.id == child)?;
    found.replaced_by = found.replaced_by.or(replaced_by);
    if answered_later {
        if std::mem::replace(&mut found.retired, true) {
            return None; // it says so once more
        }
        cx.plane(Command::Retire { child });
    } else {
        if replaced.is_some() && !found.retired && !cx.holds(child) && unsettled::doubtful(sa) {
            cx.answer_behind_what_is_sent(now);
        }
        remove_child(sa, cx, now, child, replaced.or(ours).unwrap_or(FailureKind::PeerDeleted));
    }
    if cx.holds(child) {
        sa.queue.push_back(Task::Loaded { child }); // behind the answer
    }
    if again && !answered_later {
        cx.effects.push(Effect::Remake { sa: sa.id, child: name.clone() });
    }
    if trap && !answered_later {
        set_trap(sa, cx, name);
    }
    (!ours_too).then_some(spi_in)
}

/// The next packet makes the Child SA anew.
fn set_trap(sa: &IkeSa, cx: &mut Context, child: String) {
    let Some(connection) = &sa.connection else { return };
    let (mut local, mut remote) = (sa.local, sa.remote);
    local.set_port(connection.local_port);
    remote.set_port(connection.remote_port);
    cx.effects.push(Effect::Trap { connection: connection.name.clone(), child, local, remote });
}

/// Whether a Child SA is made anew whose lifetime ended before a successor was made, as after a long silence: who began has it
/// made anew. Where the peer began that is its part, by its `close_action`.
fn outlives(sa: &IkeSa, child: &str) -> bool {
    let config = sa.connection.as_ref().and_then(|c| child::config_of(c, child));
    config.is_some_and(|c| (c.close_action.starts() && sa.role == model::Role::Initiator) || c.start_action.starts())
}

/// Takes a Child SA down and tells.
pub(crate) fn remove_child(sa: &mut IkeSa, cx: &mut Context, now: Instant, child: SaId, reason: FailureKind) {
    let Some(index) = sa.children.iter().position(|c| c.id == child) else { return };
    let snapshot = sa.snapshot_of_child(cx, now, child);
    let name = sa.children.get(index).map(|c| c.name.clone()).unwrap_or_default();
    // A peer may make many, and end them all: what remains of each is of that one alone.
    let tombstone = sa.tombstone_with(cx, now, reason, Some(&name), snapshot.clone());
    let gone = sa.children.remove(index);
    match gone.replaced_by {
        Some(_) => gone.retire(sa.id, cx, now),
        None => gone.uninstall(sa.id, cx),
    }
    if gone.is_installed() {
        cx.event(Event::ChildDown(Box::new(snapshot)));
    }
    cx.event(Event::Ended(Box::new(tombstone)));
}

/// Takes a Child SA down at once, and tells the peer when there is room for that (RFC 7296 sections 1.4.1 and 2.3).
pub(crate) fn force_child(sa: &mut IkeSa, cx: &mut Context, now: Instant, child: SaId, reason: FailureKind) {
    let Some(found) = sa.children.iter().find(|c| c.id == child) else { return };
    let (spi, installed) = (found.spi_in, found.is_installed());
    let is_own = |task: &Task| matches!(task, Task::DeleteChild { spi: of, .. } if *of == spi);
    let asked = sa.pending.tasks().any(is_own);
    // What is asked for just now the peer may have before we hear of it; it has never heard of what only waits.
    let known = installed || sa.pending.tasks().any(|task| *task == Task::CreateChild { child });
    sa.queue.retain(|task| !is_own(task));
    if known && !asked {
        sa.enqueue(cx, now, Task::DeleteGone { child, spi });
    }
    remove_child(sa, cx, now, child, reason);
}

/// Sends a queued request.
pub(super) fn start(sa: &mut IkeSa, cx: &mut Context, now: Instant, task: Task) {
    let mut chain = ChainBuilder::new();
    match &task {
        Task::DeleteChild { spi, .. } => {
            if let Task::DeleteChild { reason, .. } = &task
                && let Some(child) = sa.children.iter().find(|c| c.spi_in == *spi && refused::waits(sa, cx, c))
            {
                // The peer has never had it.
                let (child, reason) = (child.id, reason.clone());
                return remove_child(sa, cx, now, child, reason);
            }
            let Some(child) = sa.children.iter_mut().find(|c| c.spi_in == *spi) else {
                return; // gone meanwhile
            };
            child.state = ChildState::Deleting;
            if child.replaced_by.is_some() && child.is_installed() && !child.retired {
                // The peer need not receive by it any more when it has this.
                child.retired = true;
                cx.plane(Command::Retire { child: child.id });
            }
            chain.delete(ProtocolId::ESP, &[spi.to_be_bytes()]);
        }
        Task::DeleteGone { spi, .. } => _ = chain.delete(ProtocolId::ESP, &[spi.to_be_bytes()]),
        Task::DeleteIke { .. } => {
            chain.delete_ike();
            sa.become_deleting(cx);
        }
        Task::TellMore => {
            if sa.role == model::Role::Initiator {
                crash::tell(cx, &mut chain, sa.spis);
            }
            window::announce(cx, &mut chain, &mut sa.replies);
        }
        Task::TellLifetime { end } => auth_lifetime::ask(sa, cx, now, *end, &mut chain),
        Task::Redirect { to } => redirect::write(&mut chain, to),
        task => mobility::write(sa, cx, task, &mut chain),
    }
    sa.request(cx, now, ExchangeType::INFORMATIONAL, chain, RuleId::InformationalResponse, task, None);
}

/// The peer answered one of our requests.
pub(super) fn response(sa: &mut IkeSa, cx: &mut Context, now: Instant, task: Task, response: &Request<'_>) -> Verdict {
    let fatal = response.chain.notify(NotifyType::INVALID_SYNTAX).map(|n| n.kind);
    if let (Some(notify), false) = (fatal, matches!(task, Task::DeleteIke { .. })) {
        // RFC 7296 section 2.21.3: fatal at both ends; the peer has forgotten the IKE SA.
        return Verdict::End(FailureKind::PeerRefused { phase: Phase::Ike, notify });
    }
    match task {
        Task::DeleteIke { reason } => Verdict::End(reason),
        Task::DeleteChild { spi, reason } => {
            if let Some(found) = sa.children.iter().find(|c| c.spi_in == spi) {
                let (child, name) = (found.id, found.name.clone());
                let config = sa.connection.as_ref().and_then(|c| child::config_of(c, &name));
                let by_peer_too = found.retired && found.replaced_by.is_none();
                let trap = by_peer_too && config.is_some_and(|c| c.close_action.traps());
                if reason == FailureKind::Expired && trap {
                    set_trap(sa, cx, name.clone());
                }
                if reason == FailureKind::Expired && outlives(sa, &name) {
                    cx.effects.push(Effect::Remake { sa: sa.id, child: name });
                }
                remove_child(sa, cx, now, child, reason);
            }
            Verdict::Keep
        }
        Task::DeleteGone { .. } => Verdict::Keep,
        Task::Loaded { child } => {
            match sa.children.iter().any(|c| c.id == child && c.goes_soon) {
                true => cx.timers.set(sa.id, Reason::ChildLifetime(child), now),
                false => cx.held_long_enough(now, child),
            }
            Verdict::Keep
        }
        task => mobility::answered(sa, cx, now, &task, response.chain),
    }
}

/// What a refusal of a Child SA means.
pub(super) fn child_refusal(notify: NotifyType, ours: Vec<String>, ts: crate::v2::child::Selectors) -> FailureKind {
    match notify {
        NotifyType::NO_PROPOSAL_CHOSEN => {
            FailureKind::NoProposalChosen { phase: Phase::Child, found_by: model::Side::Peer, mismatch: None, ours }
        }
        NotifyType::TS_UNACCEPTABLE => FailureKind::TsUnacceptable {
            found_by: model::Side::Peer,
            local: ts.local,
            remote: ts.remote,
            peer_local: Vec::new(),
            peer_remote: Vec::new(),
        },
        notify => FailureKind::PeerRefused { phase: Phase::Child, notify },
    }
}
