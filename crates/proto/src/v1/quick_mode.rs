//! Phase 2: quick mode (RFC 2409 section 5.5).
//!
//! ```text
//! HDR*, HASH(1), SA, Ni [, KE ] [, IDci, IDcr ]  -->
//!                                                <--  HDR*, HASH(2), SA, Nr [, KE ] [, IDci, IDcr ]
//! HDR*, HASH(3)  -->
//! ```
//!
//! The responder installs the SA when HASH(3) has proved that message 1 was no replay, and repeats message 2 until then.

mod queue;

use super::proposals::{self, Phase2Choice, Phase2Mismatch};
use super::protection::{hashed, header, unreadable};
use super::sa::{IsakmpSa, arm, fingerprint};
use super::selectors::{add_id, selector};
use super::unity;
use crate::child::{self, Agreed, ChildSa, Lifetime, Parent, Selectors};
use crate::context::{Context, Effect};
use crate::timers::Reason;
use crate::v2::Path;
use crypto::KeyExchange;
use crypto::v2::ChildKeys;
use crypto::{Cipher, Integrity};
use model::dataplane::Mode;
use model::{
    DropReason, Event, ExchangeMode, FailureKind, Instant, Phase, Proposal, Role, SaId, Side, TrafficSelector, narrow,
};
pub(crate) use queue::next as next_quick_mode;
pub(super) use queue::{Queued, abandon};
use queue::{enqueue, next, wait};
use std::net::IpAddr;
use std::time::Duration;
use wire::grammar::RuleId;
use wire::v1::{Chain, ChainBuilder, Id, NatTraversal, Sa};
use wire::{ExchangeType, Header, ProtocolId, Secret, V1NotifyType};

/// Octets of our nonces.
const NONCE_LEN: usize = 32;

/// How many quick modes may be under way, and how many message IDs are remembered.
const MAX_QUICK_MODES: usize = 32;

/// How long a Child SA lives on after its successor is installed here: message 3 may get lost more than once.
const OVERLAP: Duration = Duration::from_secs(30);
/// When to try again to make a successor: after all repetitions of a first try.
const RETRY_REKEY: Duration = Duration::from_secs(180);

/// One quick mode.
pub(super) struct QuickMode {
    step: Step,
    message: Vec<u8>,
    answers: Option<[u8; 20]>,
    resent: u32,
    repeated: u32,
    since: Instant,
}

enum Step {
    /// Initiator: message 1 sent.
    Sent(Box<Offer>),
    /// Responder: message 2 sent.
    Replied(Box<Replied>),
    /// Initiator: message 3 sent; it goes out again if message 2 does. With the Child SA whose successor it made.
    Done(Option<SaId>),
}

struct Offer {
    child: SaId,
    nonce: Vec<u8>,
    key_exchange: Option<KeyExchange>,
    /// The Child SA whose successor this is to be.
    rekeys: Option<SaId>,
}

struct Replied {
    child: ChildSa,
    agreed: Agreed,
    keys: ChildKeys,
    encapsulated: bool,
    nonces: (Vec<u8>, Vec<u8>),
}

impl QuickMode {
    /// Whether we began it and wait for message 2.
    pub fn is_ours(&self) -> bool {
        matches!(self.step, Step::Sent(_))
    }

    /// The Child SA whose successor is being negotiated.
    pub fn rekeys(&self) -> Option<SaId> {
        match &self.step {
            Step::Sent(offer) => offer.rekeys,
            _ => None,
        }
    }

    pub fn waiting_for(&self) -> Option<RuleId> {
        match self.step {
            Step::Sent(_) => Some(RuleId::QuickMode2),
            Step::Replied(_) => Some(RuleId::QuickMode3),
            Step::Done(_) => None,
        }
    }
}

pub(super) fn message_id(sa: &IsakmpSa, cx: &mut Context) -> u32 {
    loop {
        let id = u32::from_be_bytes(cx.random());
        if id != 0 && !sa.quick_modes.contains_key(&id) && !sa.used.contains(&id) {
            return id;
        }
    }
}

/// Begins phase 2 for a configured child, of which a placeholder may be there already.
pub(super) fn begin(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, index: usize) {
    let Some(connection) = sa.connection.clone() else { return };
    let Some(config) = connection.children.get(index) else { return };
    let configured = child::configured(config, sa.inner_local(), sa.inner_remote());
    let (selectors, further) = match unity::carried(sa, config, &configured) {
        // One quick mode for all of them.
        carried if carried.remote != configured.remote => (configured, Vec::new()),
        _ => unity::one_by_one(sa, configured),
    };
    begin_one(sa, cx, now, config, selectors);
    for selectors in further {
        // What is there, or under way, is not made again.
        let there = |c: &ChildSa| c.name == config.name && c.remote_ts == selectors.remote;
        if !sa.children.iter().any(there) {
            let new = ChildSa::larval(cx, config, selectors.clone());
            let id = new.id;
            sa.children.push(new);
            enqueue(sa, cx, now, id, None);
        }
    }
}

fn begin_one(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, config: &config::Child, selectors: Selectors) {
    let waiting = sa.children.iter_mut().find(|c| c.name == config.name && !c.is_installed());
    if let Some(larval) = waiting {
        // Since it was made an address may have been assigned.
        (larval.local_ts, larval.remote_ts) = (selectors.local.clone(), selectors.remote.clone());
        let larval = larval.id;
        return enqueue(sa, cx, now, larval, None);
    }
    let new = ChildSa::larval(cx, config, selectors);
    let id = new.id;
    sa.children.push(new);
    enqueue(sa, cx, now, id, None);
}

/// A lifetime of a Child SA, or a volume, is reached: the end that made it makes its successor, the other end waits until
/// it is deleted or expires. True if a successor is due and there is no ISAKMP SA to make it under.
pub(crate) fn child_lifetime(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, old: SaId) -> bool {
    let Some(child) = sa.children.iter().find(|c| c.id == old && c.is_installed()) else { return false };
    let expires = child.expires;
    let ended = match sa.superseded.get(&old).copied() {
        Some(by) => Some(FailureKind::Replaced { by }),
        None => expires.is_some_and(|end| end <= now).then_some(FailureKind::Expired),
    };
    if let Some(why) = ended {
        super::informational::delete_child(sa, cx, now, old, why);
        return false;
    }
    let due = !sa.rekeying(old) && sa.initiated.contains(&old);
    if due && !sa.is_orphaned() {
        rekey(sa, cx, now, old);
        return false;
    }
    if let Some(end) = expires {
        cx.timers.set(sa.id, Reason::ChildLifetime(old), end);
    }
    due
}

/// Begins to make the successor of a Child SA, with the same selectors. False if there is one already, or cannot be one.
pub(crate) fn rekey(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, old: SaId) -> bool {
    let Some(connection) = sa.connection.clone().filter(|_| sa.is_established() && !sa.rekeying(old)) else {
        return false;
    };
    let Some(child) = sa.children.iter().find(|c| c.id == old && c.is_installed()) else { return false };
    let Some(config) = child::config_of(&connection, &child.name) else { return false };
    let installed = || Selectors { local: child.local_ts.clone(), remote: child.remote_ts.clone() };
    let selectors = child.told.as_deref().cloned().unwrap_or_else(installed);
    // Should this fail: another try while there is time, and else its end.
    let again = now + RETRY_REKEY;
    let at = child.expires.map_or(again, |end| end.min(again));
    cx.timers.set(sa.id, Reason::ChildLifetime(old), at);
    sa.log(cx, "IKE", 1, format!("rekeying CHILD_SA {}", config.name));
    let new = ChildSa::successor(cx, config, selectors, (child.id, child.binding));
    let id = new.id;
    sa.children.push(new);
    enqueue(sa, cx, now, id, Some(old));
    true
}

/// For how much longer a Child SA that has a successor stays.
fn overlap(sa: &IsakmpSa, cx: &mut Context, now: Instant, old: SaId) {
    let Some(child) = sa.children.iter().find(|c| c.id == old && sa.superseded.contains_key(&old)) else { return };
    let end = now + OVERLAP;
    cx.timers.set(sa.id, Reason::ChildLifetime(old), child.expires.map_or(end, |expires| expires.min(end)));
}

/// Sends message 1.
fn offer(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    config: &config::Child,
    child: SaId,
    selectors: &Selectors,
    rekeys: Option<SaId>,
) {
    let Some(spi) = sa.children.iter().find(|c| c.id == child).map(|c| c.spi_in) else { return };
    prune(sa);
    let agreed = sa.suite.and_then(|suite| suite.key_exchange);
    let group = proposals::phase2_group(&config.esp_proposals, agreed);
    let key_exchange = group.and_then(|g| KeyExchange::generate(g, &mut *cx.rng).ok());
    let lifetime = proposals::lifetime_of_child(config);
    let encapsulated = sa.nat_traversal.filter(|_| sa.nat.any());
    let mode = child::mode_for(config.mode, selectors, sa.local.ip(), sa.remote.ip());
    let offer = proposals::phase2_offer(&config.esp_proposals, group, spi, mode, encapsulated, lifetime);
    let nonce = cx.random::<NONCE_LEN>().to_vec();
    let Some(keys) = sa.keys() else { return };
    let mut rest = keys.with_hash();
    rest.sa(&offer).nonce(&nonce);
    if let Some(key_exchange) = &key_exchange {
        rest.ke(key_exchange.public());
    }
    // RFC 2409 section 5.5 knows one pair of identities; further selectors need quick modes of their own.
    if let (Some(local), Some(remote)) = (selectors.local.first(), selectors.remote.first()) {
        add_id(&mut rest, local);
        add_id(&mut rest, remote);
    }
    if let Some(variant) = encapsulated.filter(|_| mode == Mode::Transport) {
        original_addresses(&mut rest, variant, sa.local.ip(), sa.remote.ip());
    }
    let id = message_id(sa, cx);
    let (spis, step) = (sa.spis, Step::Sent(Box::new(Offer { child, nonce, key_exchange, rekeys })));
    let Some(keys) = sa.keys() else { return };
    let chain = hashed(rest, |rest| keys.hash1(id, rest));
    let message = keys.seal(header(spis, ExchangeType::QUICK_MODE, id), chain);
    transmit(sa, cx, now, id, message, step, &[], true);
}

/// RFC 3947 section 5.2: in transport mode both ends tell both addresses as they know them, the initiator's first.
fn original_addresses(chain: &mut ChainBuilder, variant: NatTraversal, initiator: IpAddr, responder: IpAddr) {
    chain.nat_oa(variant, initiator).nat_oa(variant, responder);
}

#[allow(clippy::too_many_arguments)]
fn transmit(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    id: u32,
    message: Vec<u8>,
    step: Step,
    answers: &[u8],
    repeats: bool,
) {
    sa.datagrams_out += 1;
    sa.transmit(cx, message.clone());
    cx.timers.cancel(sa.id, Reason::Exchange(id));
    if repeats {
        arm(cx, sa.id, Reason::Exchange(id), now, 0);
    }
    let answers = (!answers.is_empty()).then(|| fingerprint(answers));
    sa.quick_modes.insert(id, QuickMode { step, message, answers, resent: 0, repeated: 0, since: now });
}

/// Exchanges of which only the last message is kept, to be repeated, are forgotten when there are many: theirs is the
/// past.
fn prune(sa: &mut IsakmpSa) {
    if sa.quick_modes.len() >= MAX_QUICK_MODES {
        let done = sa.quick_modes.iter().filter(|(_, q)| matches!(q.step, Step::Done(_))).map(|(id, q)| (q.since, *id));
        if let Some((_, id)) = done.min() {
            sa.quick_modes.remove(&id);
            retire(sa, id);
        }
    }
}

/// An answer did not come in time. Returns why the ISAKMP SA ends if the peer seems to be gone.
pub(super) fn retransmit(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, id: u32) -> Option<FailureKind> {
    let quick = sa.quick_modes.get_mut(&id)?;
    let waiting_for = quick.waiting_for()?;
    quick.resent += 1;
    let (resent, since, message) = (quick.resent, quick.since, quick.message.clone());
    if resent > cx.settings.backoff.tries {
        let kind = FailureKind::NoAnswer {
            waiting_for,
            to: sa.remote,
            sent: resent,
            over: now.since(since),
            answered_before: sa.children.iter().any(ChildSa::is_installed),
        };
        // Not a word since then: the peer has lost the ISAKMP SA or is gone, and another quick mode would fare no better.
        if waiting_for == RuleId::QuickMode2 && sa.last_heard <= since {
            return Some(kind);
        }
        give_up(sa, cx, now, id, kind);
        return None;
    }
    sa.retransmissions.sent = resent;
    sa.retransmissions.total += 1;
    sa.datagrams_out += 1;
    cx.event(Event::Retransmitted { sa: sa.id, name: sa.name().to_string(), waiting_for, attempt: resent });
    // Nothing answers message 3 of aggressive mode. Without it the responder cannot read this, so it goes along.
    if let Some(last) = sa.sent.as_ref().filter(|_| !sa.confirmed && sa.mode == ExchangeMode::Aggressive) {
        let last = last.message.clone();
        sa.datagrams_out += 1;
        sa.transmit(cx, last);
    }
    sa.transmit(cx, message);
    arm(cx, sa.id, Reason::Exchange(id), now, resent);
    None
}

/// Ends a quick mode without a Child SA.
fn give_up(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, id: u32, kind: FailureKind) {
    cx.timers.cancel(sa.id, Reason::Exchange(id));
    let child = match sa.quick_modes.remove(&id).map(|q| q.step) {
        Some(Step::Sent(offer)) => {
            let position = sa.children.iter().position(|c| c.id == offer.child);
            position.map(|p| sa.children.remove(p).name)
        }
        Some(Step::Replied(replied)) => {
            // The initiator may have the SA, if it was message 3 that did not arrive.
            let spi = replied.child.spi_in.to_be_bytes();
            super::informational::send(sa, cx, |rest| {
                rest.delete(ProtocolId::ESP, &[spi]);
            });
            Some(replied.child.name)
        }
        _ => None,
    };
    retire(sa, id);
    let tombstone = sa.tombstone(cx, now, kind, Some(child.as_deref().unwrap_or("-")));
    cx.event(Event::Ended(Box::new(tombstone)));
    next(sa, cx, now);
    replace_when_done(sa, cx);
}

/// The SA that this one replaces may go when everything has been negotiated anew.
pub(super) fn replace_when_done(sa: &mut IsakmpSa, cx: &mut Context) {
    let under_way = sa.quick_modes.values().any(QuickMode::is_ours) || !sa.queued.is_empty();
    if under_way || !sa.children.iter().any(ChildSa::is_installed) {
        return;
    }
    if let Some(old) = sa.replaces.take() {
        cx.effects.push(Effect::Replace { old, by: sa.id });
    }
}

fn retire(sa: &mut IsakmpSa, id: u32) {
    sa.note_used(id);
    if let Some(keys) = sa.keys() {
        keys.forget(id);
    }
}

/// A message of quick mode.
pub(super) fn receive(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let id = h.message_id;
    if let Some(quick) = sa.quick_modes.get_mut(&id).filter(|q| q.answers == Some(fingerprint(datagram))) {
        let timer = cx.timers.deadline(sa.id, Reason::Exchange(id)).is_some();
        if timer || quick.repeated >= 5 {
            sa.drop_datagram(cx, DropReason::RepeatLimit, path.remote);
            return None;
        }
        quick.repeated += 1;
        let message = quick.message.clone();
        let done = if let Step::Done(old) = quick.step { Some(old) } else { None };
        sa.datagrams_out += 1;
        sa.transmit(cx, message);
        if done.is_some() {
            wait(sa, now);
        }
        if let Some(old) = done.flatten() {
            overlap(sa, cx, now, old);
        }
        return None;
    }
    if sa.used.contains(&id) {
        sa.drop_datagram(cx, DropReason::UnexpectedMessageId, path.remote);
        return None;
    }
    let opened =
        sa.keys().and_then(|keys| keys.open(h, datagram)).filter(|_| h.flags.contains(wire::Flags::ENCRYPTION));
    let Some(opened) = opened else {
        sa.drop_datagram(cx, unreadable(h), path.remote);
        return None;
    };
    let (Some(chain), Some(rest)) = (opened.chain(), opened.after_hash()) else {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    };
    let hash = chain.hash().unwrap_or_default();
    let expected = {
        let step = sa.quick_modes.get(&id).map(|q| &q.step);
        let nonces = match step {
            Some(Step::Sent(offer)) => Some((offer.nonce.clone(), None)),
            Some(Step::Replied(r)) => Some((r.nonces.0.clone(), Some(r.nonces.1.clone()))),
            Some(Step::Done(_)) => {
                sa.drop_datagram(cx, DropReason::UnexpectedMessageId, path.remote);
                return None;
            }
            None => None,
        };
        let keys = sa.keys()?;
        match nonces {
            None => keys.hash1(id, rest),
            Some((nonce_i, None)) => keys.hash2(id, &nonce_i, rest),
            Some((nonce_i, Some(nonce_r))) => keys.hash3(id, &nonce_i, &nonce_r),
        }
    };
    if !crypto::equal(expected.expose(), hash) {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    }
    // Authentic.
    if let Some(keys) = sa.keys() {
        keys.accept(&opened);
    }
    sa.last_heard = now;
    sa.probe.1 = 0;
    sa.confirmed = true;
    follow(sa, cx, path);
    match sa.quick_modes.get(&id).map(|q| q.waiting_for()) {
        None => message1(sa, cx, now, id, &chain, datagram, path),
        Some(Some(RuleId::QuickMode2)) => message2(sa, cx, now, id, &chain, datagram),
        Some(_) => message3(sa, cx, now, id),
    }
    None
}

/// RFC 3947 section 5: behind a NAT the peer's port may change.
pub(super) fn follow(sa: &mut IsakmpSa, cx: &mut Context, path: Path) {
    if sa.nat.remote && (sa.local, sa.remote) != (path.local, path.remote) {
        (sa.local, sa.remote) = (path.local, path.remote);
        for child in &sa.children {
            child.update(cx, path.local, path.remote, sa.nat.any());
        }
    }
}

fn parent(sa: &IsakmpSa, encapsulated: bool) -> Option<Parent> {
    Some(Parent {
        id: sa.id,
        role: sa.role,
        connection: sa.connection.clone()?,
        local: sa.local,
        remote: sa.remote,
        encapsulated,
        local_id: sa.local_id.clone(),
        remote_id: sa.remote_id.clone(),
        environment: sa.configuration.environment(),
    })
}

/// KEYMAT of both directions (RFC 2409 section 5.5).
fn keymat(
    sa: &mut IsakmpSa,
    choice: &model::ChosenSuite,
    shared: Option<&Secret>,
    spis: (u32, u32),
    nonces: (&[u8], &[u8]),
    own_role: Role,
) -> Option<ChildKeys> {
    let cipher = Cipher::new(choice.encryption.id, choice.encryption.key_length).ok()?;
    let integrity = choice.integrity.map(Integrity::new).transpose().ok()?;
    let keys = sa.keys()?;
    let one = |spi: u32| {
        let (prf, spi) = (keys.hash.prf(), spi.to_be_bytes());
        crypto::v1::esp_keys(prf, &keys.skeyid.skeyid_d, shared, &spi, nonces.0, nonces.1, cipher, integrity)
    };
    // Each SA is keyed with the SPI that its receiver chose.
    let (inbound, outbound) = (one(spis.0), one(spis.1));
    Some(match own_role {
        Role::Initiator => ChildKeys { initiator_to_responder: outbound, responder_to_initiator: inbound },
        Role::Responder => ChildKeys { initiator_to_responder: inbound, responder_to_initiator: outbound },
    })
}

/// A protected Notify about a phase 2 that cannot be.
fn notify(sa: &mut IsakmpSa, cx: &mut Context, kind: V1NotifyType) {
    super::informational::send(sa, cx, |rest| {
        rest.notify(ProtocolId::ESP, &[], kind, &[]);
    });
}

/// Responder: `<-- HDR*, HASH(2), SA, Nr [, KE ] [, IDci, IDcr ]`
fn message1(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    id: u32,
    chain: &Chain<'_>,
    datagram: &[u8],
    path: Path,
) {
    let (Some(connection), Some(offered), Some(nonce_i)) = (sa.connection.clone(), chain.sa(), chain.nonce()) else {
        sa.drop_datagram(cx, DropReason::GrammarViolation, path.remote);
        return retire(sa, id);
    };
    prune(sa);
    if sa.quick_modes.len() >= MAX_QUICK_MODES {
        sa.drop_datagram(cx, DropReason::HalfOpenLimitPeer, path.remote);
        return retire(sa, id);
    }
    // Without identities the selectors are the two addresses (RFC 2409 section 5.5).
    let or_host = |id: Option<Id<'_>>, address: IpAddr| match id {
        Some(id) => selector(id),
        None => Some(TrafficSelector::host(address)),
    };
    let (theirs, ours) = (or_host(chain.id(0), sa.remote.ip()), or_host(chain.id(1), sa.local.ip()));
    let (Some(their_ts), Some(our_ts)) = (theirs, ours) else {
        notify(sa, cx, V1NotifyType::INVALID_ID_INFORMATION);
        return retire(sa, id);
    };
    match choose(sa, &connection, offered, chain.ke().is_some(), our_ts, their_ts) {
        Ok((index, choice, selectors)) => {
            let accepted = accept(sa, cx, now, Accept { id, index, choice, selectors, chain, nonce_i, datagram });
            if accepted.is_none() {
                notify(sa, cx, V1NotifyType::NO_PROPOSAL_CHOSEN);
                retire(sa, id);
            }
        }
        Err((name, kind)) => {
            let notified = match kind {
                FailureKind::TsUnacceptable { .. } => V1NotifyType::INVALID_ID_INFORMATION,
                _ => V1NotifyType::NO_PROPOSAL_CHOSEN,
            };
            notify(sa, cx, notified);
            retire(sa, id);
            let tombstone = sa.tombstone(cx, now, kind, Some(name.as_deref().unwrap_or("-")));
            cx.event(Event::Ended(Box::new(tombstone)));
        }
    }
}

type Refusal = (Option<String>, FailureKind);

/// The configured child that these selectors and proposals are meant for.
#[allow(clippy::result_large_err)] // made for an operator, not on a hot path
fn choose(
    sa: &IsakmpSa,
    connection: &config::Connection,
    offered: &Sa,
    with_ke: bool,
    ours: TrafficSelector,
    theirs: TrafficSelector,
) -> Result<(usize, Phase2Choice, Selectors), Refusal> {
    let mut closest: Option<Refusal> = None;
    for (index, child) in connection.children.iter().enumerate() {
        let configured = child::configured(child, sa.inner_local(), sa.inner_remote());
        let (ours, theirs) = match child.mode {
            Mode::Transport => {
                let (local, remote) = (sa.local.ip(), sa.remote.ip());
                (child::as_seen(&ours, sa.nat.local, local), child::as_seen(&theirs, sa.nat.remote, remote))
            }
            Mode::Tunnel => (ours, theirs),
        };
        // IKEv1 does not narrow: what is asked for must lie within what is configured.
        let within = |configured: &[TrafficSelector], ts: &TrafficSelector| {
            narrow(configured, std::slice::from_ref(ts)) == [*ts]
        };
        let ours_fits = within(&configured.local, &ours) || unity::may_ask_for_all(sa, &ours);
        if !ours_fits || !within(&configured.remote, &theirs) {
            closest.get_or_insert_with(|| {
                let kind = FailureKind::TsUnacceptable {
                    found_by: Side::Us,
                    local: configured.local,
                    remote: configured.remote,
                    peer_local: vec![theirs],
                    peer_remote: vec![ours],
                };
                (Some(child.name.clone()), kind)
            });
            continue;
        }
        let wanted: Vec<Proposal> = child.esp_proposals.clone();
        let selectors = Selectors { local: vec![ours], remote: vec![theirs] };
        let mode = child::mode_for(child.mode, &selectors, sa.local.ip(), sa.remote.ip());
        match proposals::phase2_choose(&wanted, offered, mode, with_ke) {
            Ok(choice) => return Ok((index, choice, selectors)),
            Err(Phase2Mismatch::Algorithms(mismatch)) => {
                let ours = wanted.iter().map(ToString::to_string).collect();
                let (phase, found_by) = (Phase::Child, Side::Us);
                let kind = FailureKind::NoProposalChosen { phase, found_by, mismatch: Some(mismatch), ours };
                closest = Some((Some(child.name.clone()), kind));
            }
            Err(Phase2Mismatch::Mode(own, theirs)) => {
                let kind = FailureKind::EncapsulationMode { tunnel: own == Mode::Tunnel, peer: theirs };
                closest = Some((Some(child.name.clone()), kind));
            }
        }
    }
    Err(closest.unwrap_or_else(|| {
        let (local, remote) = (Vec::new(), Vec::new());
        let kind = FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local,
            remote,
            peer_local: vec![theirs],
            peer_remote: vec![ours],
        };
        (None, kind)
    }))
}

struct Accept<'a> {
    id: u32,
    index: usize,
    choice: Phase2Choice,
    selectors: Selectors,
    chain: &'a Chain<'a>,
    nonce_i: &'a [u8],
    datagram: &'a [u8],
}

fn accept(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, a: Accept<'_>) -> Option<()> {
    let connection = sa.connection.clone()?;
    let config = connection.children.get(a.index)?;
    let (own_ke, shared) = match (a.choice.suite.key_exchange, a.chain.ke()) {
        (Some(group), Some(public)) => {
            let own = KeyExchange::generate(group, &mut *cx.rng).ok()?;
            let Ok(shared) = own.agree(public) else {
                let tombstone = sa.tombstone(cx, now, FailureKind::BadPublicValue { group }, Some(&config.name));
                cx.event(Event::Ended(Box::new(tombstone)));
                return None;
            };
            (Some(own), Some(shared))
        }
        (None, None) => (None, None),
        _ => return None,
    };
    let (carried, told) = unity::within(sa, config, a.selectors);
    // RFC 2409 section 5.5 names no predecessor: it is one that carries the same.
    let before = sa.children.iter().rev().find(|c| {
        c.is_installed() && c.name == config.name && c.local_ts == carried.local && c.remote_ts == carried.remote
    });
    let larval = match before.map(|before| (before.id, before.binding)) {
        Some(before) => ChildSa::successor(cx, config, carried.clone(), before),
        None => ChildSa::larval(cx, config, carried.clone()),
    };
    let mut new = ChildSa { told, ..larval };
    new.spi_out = a.choice.spi;
    let nonce_r = cx.random::<NONCE_LEN>().to_vec();
    let suite = a.choice.suite;
    let offered = a.choice.offered_lifetime();
    let told = proposals::shorter_than_offered(proposals::lifetime_of_child(config), offered);
    let keys = keymat(sa, &suite, shared.as_ref(), (new.spi_in, new.spi_out), (a.nonce_i, &nonce_r), Role::Responder)?;
    let mut answer = a.choice.answer;
    answer.proposals.iter_mut().for_each(|p| p.spi = new.spi_in.to_be_bytes().to_vec());
    let mut rest = sa.keys()?.with_hash();
    rest.sa(&answer).nonce(&nonce_r);
    if let Some(own) = &own_ke {
        rest.ke(own.public());
    }
    // RFC 2409 section 5.5: the identities come back as they were sent.
    for n in 0..2 {
        if let Some(id) = a.chain.id(n) {
            rest.id(id.kind, id.protocol, id.port, id.data);
        }
    }
    if let (true, Some(variant), Mode::Transport) = (a.choice.encapsulated, sa.nat_traversal, a.choice.mode) {
        original_addresses(&mut rest, variant, sa.remote.ip(), sa.local.ip());
    }
    if let Some(ours) = told {
        // RFC 2407 section 4.5.4: the offered lifetime goes back as it came, ours beside it.
        let (spi, data) = (new.spi_in.to_be_bytes(), proposals::lifetime_data(ours, ProtocolId::ESP));
        rest.notify(ProtocolId::ESP, &spi, V1NotifyType::RESPONDER_LIFETIME, &data);
    }
    let spis = sa.spis;
    let keys_of_sa = sa.keys()?;
    let chain = hashed(rest, |rest| keys_of_sa.hash2(a.id, a.nonce_i, rest));
    let message = keys_of_sa.seal(header(spis, ExchangeType::QUICK_MODE, a.id), chain);
    let (selectors, mode) = (carried, a.choice.mode);
    let agreed = Agreed { number: 1, suite, selectors, mode, lifetime: offered, padding: false, more: false };
    let nonces = (a.nonce_i.to_vec(), nonce_r);
    let replied = Replied { child: new, agreed, keys, encapsulated: a.choice.encapsulated, nonces };
    transmit(sa, cx, now, a.id, message, Step::Replied(Box::new(replied)), a.datagram, true);
    Some(())
}

/// Responder: the initiator is alive. The SA is installed.
fn message3(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, id: u32) {
    cx.timers.cancel(sa.id, Reason::Exchange(id));
    let Some(QuickMode { step: Step::Replied(replied), since, .. }) = sa.quick_modes.remove(&id) else { return };
    retire(sa, id);
    let Replied { child, agreed, keys, encapsulated, .. } = *replied;
    let new = child.id;
    install(sa, cx, now, child, agreed, keys, encapsulated, Role::Responder);
    succeeded_by_peer(sa, new, since);
}

/// What we made and the peer makes again, with the same selectors, has a successor: ours would be one too many. Only what was
/// up before the peer began: of two that are made at once each end would take the other's for the successor.
fn succeeded_by_peer(sa: &mut IsakmpSa, new: SaId, begun: Instant) {
    let Some(made) = sa.children.iter().find(|c| c.id == new && c.is_installed()) else { return };
    let same = |c: &&ChildSa| {
        let equal = (&c.name, &c.local_ts, &c.remote_ts) == (&made.name, &made.local_ts, &made.remote_ts);
        c.id != new && equal && c.installed.is_some_and(|up| up < begun) && !sa.rekeying(c.id)
    };
    let old = sa.children.iter().filter(same).map(|c| c.id).filter(|id| sa.initiated.contains(id));
    let old: Vec<SaId> = old.collect();
    sa.superseded.extend(old.into_iter().map(|old| (old, new)));
}

/// Initiator: `HDR*, HASH(3) -->`, and the SA is installed.
fn message2(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, id: u32, chain: &Chain<'_>, datagram: &[u8]) {
    cx.timers.cancel(sa.id, Reason::Exchange(id));
    sa.retransmissions.sent = 0;
    let Some(QuickMode { step: Step::Sent(offer), .. }) = sa.quick_modes.get(&id) else { return };
    let (child, nonce_i, rekeys) = (offer.child, offer.nonce.clone(), offer.rekeys);
    let shared = match (&offer.key_exchange, chain.ke()) {
        (Some(own), Some(public)) => own.agree(public).ok(),
        _ => None,
    };
    let with_ke = offer.key_exchange.is_some();
    match finish(sa, chain, child, &nonce_i, shared.as_ref(), with_ke) {
        Ok((mut agreed, keys, nonce_r, encapsulated)) => {
            let spis = sa.spis;
            let Some(keys_of_sa) = sa.keys() else { return };
            let mut hash3 = ChainBuilder::new();
            hash3.hash(keys_of_sa.hash3(id, &nonce_i, &nonce_r).expose());
            let message = keys_of_sa.seal(header(spis, ExchangeType::QUICK_MODE, id), hash3);
            let Some(position) = sa.children.iter().position(|c| c.id == child) else { return };
            let mut larval = sa.children.remove(position);
            let connection = sa.connection.clone();
            if let Some(config) = connection.as_ref().and_then(|c| child::config_of(c, &larval.name)) {
                (agreed.selectors, larval.told) = unity::within(sa, config, agreed.selectors);
            }
            // Installed before the message that lets the peer send.
            install(sa, cx, now, larval, agreed, keys, encapsulated, Role::Initiator);
            transmit(sa, cx, now, id, message, Step::Done(rekeys), datagram, false);
            wait(sa, now);
            if let Some(old) = rekeys.filter(|old| sa.children.iter().any(|c| c.id == *old)) {
                // The peer installs the successor when message 3 arrives, perhaps only at the second try: until then the
                // old one is all it has.
                sa.superseded.insert(old, child);
                overlap(sa, cx, now, old);
            }
            next(sa, cx, now);
            replace_when_done(sa, cx);
        }
        Err(kind) => {
            if matches!(kind, FailureKind::TsUnacceptable { .. }) {
                notify(sa, cx, V1NotifyType::INVALID_ID_INFORMATION);
            }
            give_up(sa, cx, now, id, kind);
        }
    }
}

type Finished = (Agreed, ChildKeys, Vec<u8>, bool);

fn finish(
    sa: &mut IsakmpSa,
    chain: &Chain<'_>,
    child: SaId,
    nonce_i: &[u8],
    shared: Option<&Secret>,
    with_ke: bool,
) -> Result<Finished, FailureKind> {
    let invalid = |what: &str| FailureKind::MessageInvalid { rule: RuleId::QuickMode2, missing: what.to_string() };
    let connection = sa.connection.clone().ok_or_else(|| invalid("a connection"))?;
    let (own, peer) = (sa.local.ip(), sa.remote.ip());
    let larval = sa.children.iter_mut().find(|c| c.id == child).ok_or_else(|| invalid("a child"))?;
    let config = child::config_of(&connection, &larval.name).ok_or_else(|| invalid("a configured child"))?;
    let (answer, nonce_r) =
        (chain.sa().ok_or_else(|| invalid("SA"))?, chain.nonce().ok_or_else(|| invalid("Nr"))?.to_vec());
    if with_ke != chain.ke().is_some() || with_ke != shared.is_some() {
        return Err(invalid("a valid KE"));
    }
    let offered = Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
    let mode = child::mode_for(config.mode, &offered, own, peer);
    let choice = proposals::phase2_choose(&config.esp_proposals, answer, mode, with_ke).map_err(|m| match m {
        Phase2Mismatch::Algorithms(mismatch) => FailureKind::ChoiceNotOffered { phase: Phase::Child, mismatch },
        Phase2Mismatch::Mode(own, peer) => FailureKind::EncapsulationMode { tunnel: own == Mode::Tunnel, peer },
    })?;
    let (local, remote) = (larval.local_ts.first().copied(), larval.remote_ts.first().copied());
    // RFC 2409 section 5.5 has the responder return what was offered. Some return what they have configured, where that is
    // less: docs/adr/020.
    let returned = |n: usize, offered: Option<TrafficSelector>| match chain.id(n) {
        None => Some(offered),
        Some(id) => selector(id).filter(|back| offered.is_some_and(|offered| offered.includes(back))).map(Some),
    };
    let (Some(local), Some(remote)) = (returned(0, local), returned(1, remote)) else {
        let (local, remote) = (larval.local_ts.clone(), larval.remote_ts.clone());
        let back = |n: usize| chain.id(n).and_then(selector).into_iter().collect();
        return Err(FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local,
            remote,
            peer_local: back(1),
            peer_remote: back(0),
        });
    };
    larval.spi_out = choice.spi;
    // RFC 2407 section 4.5.4: the responder's lifetime is the shorter one, by a Notify or, with some peers, in the answer.
    let about = |spi: &[u8]| spi.is_empty() || spi == choice.spi.to_be_bytes();
    let told = chain.notifies().filter(|n| n.kind == V1NotifyType::RESPONDER_LIFETIME && about(n.spi));
    let lifetime = told.map(|n| proposals::lifetime_in(n.data)).fold(choice.lifetime, Lifetime::shorter);
    let spis = (larval.spi_in, larval.spi_out);
    let selectors = Selectors { local: local.into_iter().collect(), remote: remote.into_iter().collect() };
    let keys = keymat(sa, &choice.suite, shared, spis, (nonce_i, &nonce_r), Role::Initiator)
        .ok_or_else(|| invalid("usable keys"))?;
    let agreed = Agreed { number: 1, suite: choice.suite, selectors, mode, lifetime, padding: false, more: false };
    Ok((agreed, keys, nonce_r, choice.encapsulated))
}

#[allow(clippy::too_many_arguments)]
fn install(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    child: ChildSa,
    agreed: Agreed,
    keys: ChildKeys,
    encapsulated: bool,
    creator: Role,
) {
    let id = child.id;
    let Some(parent) = parent(sa, encapsulated) else { return };
    // Whoever made it makes its successor too, whatever its role in phase 1.
    let parent = Parent { role: creator, ..parent };
    let ours = child::config_of(&parent.connection, &child.name).map(proposals::lifetime_of_child).unwrap_or_default();
    let shorter = ours.shorter(agreed.lifetime);
    if shorter != ours {
        sa.log(
            cx,
            "IKE",
            1,
            format!("the peer lets CHILD_SA {} live shorter than we: {shorter}, not {ours}", child.name),
        );
    }
    let Some(installed) = child::install(cx, now, &parent, child, agreed, keys, creator) else { return };
    sa.children.push(installed);
    if creator == Role::Initiator {
        sa.initiated.insert(id);
    }
    let snapshot = sa.snapshot_of_child(cx, now, id);
    cx.event(Event::ChildUp(Box::new(snapshot)));
}

/// The peer refused the phase 2 that is under way, in a protected Notify.
pub(super) fn refused(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, notify: V1NotifyType) {
    let under_way = sa.quick_modes.iter().find(|(_, q)| q.is_ours()).map(|(id, _)| *id);
    let Some(id) = under_way else { return };
    let Some(QuickMode { step: Step::Sent(offer), .. }) = sa.quick_modes.get(&id) else { return };
    let child = sa.children.iter().find(|c| c.id == offer.child);
    let (local, remote) = child.map(|c| (c.local_ts.clone(), c.remote_ts.clone())).unwrap_or_default();
    let config = sa.connection.as_deref().zip(child).and_then(|(c, x)| c.children.iter().find(|y| y.name == x.name));
    let ours = config.map(|c| c.esp_proposals.iter().map(ToString::to_string).collect()).unwrap_or_default();
    let kind = match notify {
        V1NotifyType::NO_PROPOSAL_CHOSEN => {
            FailureKind::NoProposalChosen { phase: Phase::Child, found_by: Side::Peer, mismatch: None, ours }
        }
        V1NotifyType::INVALID_ID_INFORMATION => {
            let (peer_local, peer_remote) = (Vec::new(), Vec::new());
            FailureKind::TsUnacceptable { found_by: Side::Peer, local, remote, peer_local, peer_remote }
        }
        other => FailureKind::PeerRefusedV1 { phase: Phase::Child, notify: other },
    };
    give_up(sa, cx, now, id, kind);
}
