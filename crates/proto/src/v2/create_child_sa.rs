//! CREATE_CHILD_SA for Child SAs (RFC 7296 sections 1.3.1 and 1.3.3): a further one, or one in place of another.
//!
//! ```text
//! HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}  -->
//!                                             <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//! ```
//!
//! or, and nothing has changed then:
//!
//! ```text
//!                                             <--  HDR, SK {N(INVALID_KE_PAYLOAD)}     section 1.3: again, with that group
//!                                             <--  HDR, SK {N(TEMPORARY_FAILURE)}      section 2.25: again, later
//!                                             <--  HDR, SK {N(CHILD_SA_NOT_FOUND)}     section 2.25: make it anew
//!                                             <--  HDR, SK {N(NO_ADDITIONAL_SAS)}      section 1.3: a new IKE SA instead
//!                                             <--  HDR, SK {N(NO_PROPOSAL_CHOSEN)} or N(TS_UNACCEPTABLE)
//! ```
//!
//! Rekeying: the responder installs the new pair before it answers, the initiator when the answer comes, who then deletes
//! the old pair. If both ends begin at once there are two new pairs; the one whose exchange has the lowest of the four
//! nonces goes, by the hand that made it, and the other maker deletes the old pair (section 2.8.1).

use super::certified::certified_only;
use super::child::{self, Agreed, Asked, ChildSa, Selectors};
use super::exchange::{Request, Task, Verdict};
use super::ike_auth::child_up;
use super::ike_sa_init::{MAX_RETRIES, NONCE_LEN};
use super::informational::{child_refusal, remove_child};
use super::keys::child_keys;
use super::sa::IkeSa;
use super::terms::{
    self, answered_mode, answered_selectors, ask_for_transport, heard, on_wire, selectors, transport_of, transport_wish,
};
use super::{refused, rekey_ike_sa, unsettled};
use crate::context::{Context, Counter, Effect};
use crate::held::ON_ITS_WAY;
use crate::parts;
use crate::timers::Reason;
use config::Connection;
use crypto::KeyExchange;
use model::dataplane::Command;
use model::{ChildState, Event, FailureKind, Instant, Mismatch, Phase, Proposal, Role, SaId, Side, TrafficSelector};
use std::sync::Arc;
use std::time::Duration;
use wire::grammar::RuleId;
use wire::v2::{Chain, ChainBuilder};
use wire::{ExchangeType, IkeSpi, KeyExchangeId, NotifyType, ProtocolId, Secret};

/// Seconds after which a request that failed for the time being is made again, and how much of that is random: both as
/// with strongSwan.
const RETRY: (f64, f64) = (15.0, 10.0);

/// So long a peer has for loading the Child SA that it answered.
const GETS_READY: Duration = Duration::from_millis(100);

/// For so long a peer that uses strongSwan's defaults repeats a request.
const REPEATED: Duration = Duration::from_secs(165);

/// An IKE SA has at most so many Child SAs, or four times as many as are configured: a peer that makes one after the other
/// and deletes none is stopped.
const MAX_CHILDREN: usize = 64;

/// What the request under way needs when its answer comes.
pub(crate) struct Creating {
    pub nonce: Vec<u8>,
    pub key_exchange: Option<KeyExchange>,
    /// How often INVALID_KE_PAYLOAD made us begin again.
    pub retries: u32,
    /// The Child SAs to which the peer sends no more, unknown here: the answer may bring one of them.
    pub gone: Vec<u32>,
    pub what: What,
}

/// What it is to become.
pub(crate) enum What {
    /// A further Child SA, whose placeholder is listed with the others.
    Child { proposals: Vec<Proposal> },
    /// A Child SA in place of another.
    Rekeyed { proposals: Vec<Proposal>, new: Box<ChildSa>, crossing: Option<Crossing> },
    /// An IKE SA in place of this one: its SPI of ours.
    Ike { spi: IkeSpi, crossing: Option<Crossing> },
}

/// The peer replaces the same SA in an exchange of its own (RFC 7296 sections 2.8.1 and 2.8.2).
pub(crate) struct Crossing {
    /// The lower of that exchange's nonces.
    pub lowest: Vec<u8>,
    /// What it made.
    pub made: SaId,
}

impl Creating {
    /// The IKE SA that the peer made while we are making one.
    pub fn crossing_ike(&self) -> Option<SaId> {
        match &self.what {
            What::Ike { crossing, .. } => crossing.as_ref().map(|c| c.made),
            _ => None,
        }
    }

    /// Our SPI of the IKE SA that is made.
    pub fn new_spi(&self) -> Option<IkeSpi> {
        match &self.what {
            What::Ike { spi, .. } => Some(*spi),
            _ => None,
        }
    }
}

/// When to try again what failed for the time being: RFC 7296 section 2.25 forbids to do so at once. With little life
/// left half of that is waited for.
pub(super) fn retry_at(cx: &mut Context, now: Instant, end: Option<Instant>) -> Instant {
    let random = f64::from(u32::from_be_bytes(cx.random())) / f64::from(u32::MAX);
    let wait = Duration::from_secs_f64(RETRY.0 - RETRY.1 * random);
    let left = end.map_or(wait, |end| end.since(now) / 2);
    now + wait.min(left).max(Duration::from_millis(200))
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// Queues a further Child SA of this name, if it is configured: its turn comes with the next task.
pub(crate) fn further_child(sa: &mut IkeSa, cx: &mut Context, name: &str) {
    let Some(connection) = sa.connection.clone() else { return };
    let Some(config) = child::config_of(&connection, name) else { return };
    let ends = sa.ends();
    let selectors = child::configured_for(config, &ends.inner_local, &ends.inner_remote);
    let larval = ChildSa::larval(cx, config, selectors);
    sa.queue.push_back(Task::CreateChild { child: larval.id });
    sa.children.push(larval);
}

/// The placeholder made last is for this packet: our side of it, and the peer's.
pub(crate) fn triggered_by(sa: &mut IkeSa, packet: (TrafficSelector, TrafficSelector)) {
    let (local, remote) = (TrafficSelector::host(sa.local.ip()), TrafficSelector::host(sa.remote.ip()));
    let config = sa.children.last().and_then(|c| child::config_of(sa.connection.as_ref()?, &c.name));
    let single_pair = config.is_some_and(|child| child.single_pair);
    if let Some(larval) = sa.children.last_mut().filter(|c| c.state == ChildState::Larval) {
        larval.trigger = Some(packet);
        if single_pair {
            // RFC 7296 section 2.9.1: nothing is proposed that our own policy would not have.
            let wanted = Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
            let pair = parts::of_packet(&wanted, &packet);
            (larval.local_ts, larval.remote_ts) = (pair.local, pair.remote);
        }
        let within = |list: &[TrafficSelector], end| list.iter().filter_map(|ts| ts.intersection(&end)).collect();
        let hosts: Selectors =
            Selectors { local: within(&larval.local_ts, local), remote: within(&larval.remote_ts, remote) };
        if larval.mode == model::dataplane::Mode::Transport && !hosts.local.is_empty() && !hosts.remote.is_empty() {
            // RFC 4301 section 4.1: transport mode is for the two hosts, of which the packet is one's to the other.
            (larval.local_ts, larval.remote_ts) = (hosts.local, hosts.remote);
        }
    }
}

/// The placeholder made last is for these selectors alone.
pub(crate) fn only_for(sa: &mut IkeSa, selectors: Selectors) {
    if let Some(larval) = sa.children.last_mut().filter(|c| c.state == ChildState::Larval) {
        (larval.local_ts, larval.remote_ts) = (selectors.local, selectors.remote);
    }
}

/// The selectors to offer: RFC 7296 section 2.9 has the packet that asks for the Child SA first, so that a responder that
/// narrows does not leave it out.
pub(super) fn with_trigger(ts: &Selectors, trigger: Option<(TrafficSelector, TrafficSelector)>) -> Selectors {
    let mut all = ts.clone();
    let room = |list: &[TrafficSelector]| list.len() < model::MOST_SELECTORS;
    if let Some((local, remote)) = trigger.filter(|_| room(&ts.local) && room(&ts.remote)) {
        all.local.insert(0, local);
        all.remote.insert(0, remote);
    }
    all
}

/// Whether a Child SA made for a packet carries it, or at least something that no other does: a responder that does not
/// take the packet may narrow to what is there already.
fn of_use(
    sa: &IkeSa,
    name: &str,
    agreed: Agreed,
    (local, remote): (TrafficSelector, TrafficSelector),
) -> Result<Agreed, FailureKind> {
    let Selectors { local: ours, remote: theirs } = &agreed.selectors;
    let twin = |c: &ChildSa| c.name == name && c.is_installed() && (&c.local_ts, &c.remote_ts) == (ours, theirs);
    let has = |list: &[TrafficSelector], one| list.iter().any(|ts| ts.includes(one));
    if (has(ours, &local) && has(theirs, &remote)) || !sa.children.iter().any(twin) {
        return Ok(agreed);
    }
    Err(FailureKind::TsUnacceptable {
        found_by: Side::Us,
        local: vec![local],
        remote: vec![remote],
        peer_local: theirs.clone(),
        peer_remote: ours.clone(),
    })
}

/// A timer of a Child SA: it is to be made at last, replaced, or ended.
pub(crate) fn child_lifetime(sa: &mut IkeSa, cx: &mut Context, now: Instant, id: SaId, soft: bool) {
    let Some(child) = sa.children.iter().find(|c| c.id == id) else { return };
    let (spi, end, state) = (child.spi_in, child.expires, child.state);
    if state == ChildState::Larval {
        return sa.enqueue(cx, now, Task::CreateChild { child: id });
    }
    if let Some(by) = child_that_goes_soon(sa, id).filter(|_| !soft && state == ChildState::Rekeyed) {
        if sa.asks_or_will_ask(|t| *t == Task::Loaded { child: id }) {
            return cx.timers.set(sa.id, Reason::ChildLifetime(id), now + GETS_READY); // or by its answer
        }
        if move_away(sa, cx, id) {
            return cx.timers.set(sa.id, Reason::ChildLifetime(id), now + ON_ITS_WAY);
        }
        return sa.enqueue(cx, now, Task::DeleteChild { spi, reason: FailureKind::Replaced { by } });
    }
    if !soft && end.is_some_and(|end| end <= now) {
        // Its `life_time` is over and nothing took its place: it ends, the IKE SA does not.
        return sa.enqueue(cx, now, Task::DeleteChild { spi, reason: FailureKind::Expired });
    }
    if let Some(end) = end {
        cx.timers.set(sa.id, Reason::ChildLifetime(id), end);
    }
    if state == ChildState::Rekeyed && !soft {
        return unsettled::not_deleted(sa, cx, now, id);
    }
    if state == ChildState::Installed {
        sa.enqueue(cx, now, Task::RekeyChild { child: id });
    }
}

/// What is in the place of a Child SA that we are to delete by now.
fn child_that_goes_soon(sa: &IkeSa, id: SaId) -> Option<SaId> {
    sa.children.iter().find(|c| c.id == id && c.goes_soon)?.replaced_by
}

/// What we send goes by the successor from now on, if it did not before: true the first time.
fn move_away(sa: &mut IkeSa, cx: &mut Context, id: SaId) -> bool {
    let Some(child) = sa.children.iter_mut().find(|c| c.id == id && !c.retired) else { return false };
    child.retired = true;
    cx.plane(Command::Retire { child: id });
    true
}

/// Sends a queued request.
pub(super) fn start(sa: &mut IkeSa, cx: &mut Context, now: Instant, task: Task) {
    let Some(connection) = sa.connection.clone() else { return };
    let id = match task {
        Task::CreateChild { child } | Task::RekeyChild { child } => child,
        _ => return,
    };
    let (wanted, retries) = sa.other_groups.remove(&id).map_or((None, 0), |(group, retries)| (Some(group), retries));
    let rekey = matches!(task, Task::RekeyChild { .. });
    if !rekey && made_by_peer(sa, id) {
        drop_placeholder(sa, cx, id);
        return;
    }
    let ready = |c: &&mut ChildSa| {
        c.id == id
            && if rekey { matches!(c.state, ChildState::Installed | ChildState::Rekeying) } else { !c.is_installed() }
    };
    let Some(listed) = sa.children.iter_mut().find(ready) else { return };
    let Some(config) = child::config_of(&connection, &listed.name) else { return };
    let proposals = config.esp_proposals.clone();
    let group = wanted.or_else(|| first_group(&proposals));
    // A suite whose key exchange this build cannot do was not loaded.
    let key_exchange = group.and_then(|group| KeyExchange::generate(group, &mut *cx.rng).ok());
    let nonce = cx.random::<NONCE_LEN>().to_vec();
    let mut chain = ChainBuilder::new();
    let ts = Selectors { local: listed.local_ts.clone(), remote: listed.remote_ts.clone() };
    let (spi, what) = if rekey {
        // RFC 7296 section 1.3.3: the SPI by which the initiator of this exchange receives. The selectors stay.
        chain.notify(ProtocolId::ESP, &listed.spi_in.to_be_bytes(), NotifyType::REKEY_SA, &[]);
        listed.state = ChildState::Rekeying;
        let new =
            ChildSa { mode: listed.mode, ..ChildSa::successor(cx, config, ts.clone(), (listed.id, listed.binding)) };
        // By section 2.8 a responder goes on with the old one until it hears from us by the new one. Some do not: what they
        // send is here before the answer is, or before it is read.
        let (local, encapsulated) = (sa.local, sa.nat.any());
        cx.plane(Command::Expect { child: new.id, spi: new.spi_in, local, encapsulated });
        (new.spi_in, What::Rekeyed { proposals: proposals.clone(), new: Box::new(new), crossing: None })
    } else {
        (listed.spi_in, What::Child { proposals: proposals.clone() })
    };
    let (name, number) = (listed.name.clone(), listed.id.0);
    let offered = with_trigger(&ts, listed.trigger.filter(|_| !rekey));
    // The successor is in the mode of the Child SA that it replaces (RFC 7296 section 2.8).
    let mode = child::mode_for(listed.mode, &ts, sa.local.ip(), sa.remote.ip()); // as transport_of() when the answer comes
    ask_for_transport(&mut chain, mode);
    chain.sa(&child::offer(&proposals, &spi.to_be_bytes()));
    chain.nonce(&nonce);
    if let Some(key_exchange) = &key_exchange {
        chain.ke(key_exchange.id(), key_exchange.public());
    }
    chain.ts_i(&on_wire(&offered.local));
    chain.ts_r(&on_wire(&offered.remote));
    let doing =
        if rekey { format!("rekeying CHILD_SA {name}{{{number}}}") } else { format!("creating CHILD_SA {name}") };
    sa.log(cx, "IKE", 1, doing);
    let creating = Creating { nonce, key_exchange, retries, gone: Vec::new(), what };
    let (exchange, waiting_for) = (ExchangeType::CREATE_CHILD_SA, RuleId::CreateChildSaResponse);
    sa.request(cx, now, exchange, chain, waiting_for, task, Some(creating));
}

/// The first key exchange group of the proposals that can be done.
pub(super) fn first_group(proposals: &[Proposal]) -> Option<KeyExchangeId> {
    let groups = proposals.iter().flat_map(|p| p.key_exchange.iter().copied());
    groups.into_iter().find(|g| *g != KeyExchangeId::NONE && KeyExchange::supported(*g))
}

/// The group that the peer asks for instead of ours, if we may take it.
pub(super) fn other_group(
    proposals: &[Proposal],
    creating: &Creating,
    notify: &wire::v2::Notify<'_>,
) -> Result<KeyExchangeId, FailureKind> {
    let ours = creating.key_exchange.as_ref().map_or(KeyExchangeId::NONE, KeyExchange::id);
    let wanted = notify.data.first_chunk().map_or(KeyExchangeId::NONE, |d| KeyExchangeId(u16::from_be_bytes(*d)));
    let allowed = proposals.iter().any(|p| p.key_exchange.contains(&wanted)) && KeyExchange::supported(wanted);
    if allowed && wanted != ours && creating.retries < MAX_RETRIES {
        Ok(wanted)
    } else {
        Err(FailureKind::InvalidKeyExchange { ours, wanted })
    }
}

/// The peer answers.
pub(super) fn response(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    (task, creating): (Task, Creating),
    response: &Request<'_>,
) -> Verdict {
    let Some(connection) = sa.connection.clone() else { return Verdict::Keep };
    let id = match task {
        Task::CreateChild { child } | Task::RekeyChild { child } => child,
        _ => return Verdict::Keep,
    };
    if response.rule != RuleId::CreateChildSaResponse {
        return refusal(sa, cx, now, (task, id), creating, &connection, response);
    }
    let Creating { nonce, key_exchange, gone, what, .. } = creating;
    let (old, proposals, mut new, crossing) = match what {
        What::Ike { .. } => return Verdict::Keep,
        What::Rekeyed { proposals, new, crossing } => (Some(id), proposals, *new, crossing),
        What::Child { proposals } => match sa.children.iter().position(|c| c.id == id) {
            Some(index) => (None, proposals, sa.children.remove(index), None),
            None => return Verdict::Keep,
        },
    };
    let chain = response.chain;
    let (Some(answer), Some(nonce_r)) = (chain.sa(), chain.nonce()) else { return Verdict::Keep };
    let offered = Selectors { local: new.local_ts.clone(), remote: new.remote_ts.clone() };
    new.spi_out = answer.first().and_then(wire::v2::Proposal::child_spi).unwrap_or(0);
    if gone.contains(&new.spi_out) {
        // The peer deleted it before its answer came.
        match old {
            Some(old) => again_later(sa, cx, now, old),
            None => {
                let id = new.id;
                sa.children.push(new);
                remove_child(sa, cx, now, id, FailureKind::PeerDeleted);
                all_children_made(sa, cx);
            }
        }
        return Verdict::Keep;
    }
    let not_offered =
        || FailureKind::ChoiceNotOffered { phase: Phase::Child, mismatch: Mismatch { differing: Vec::new() } };
    let mode = answered_mode(transport_of(sa, &new), chain);
    let (tsi, tsr) = answered_selectors(sa, mode, chain);
    let agreed = child::accept(&proposals, &offered, answer, &tsi, &tsr, mode);
    let agreed = agreed.and_then(|agreed| certified_only(sa, heard(agreed, chain))).and_then(|agreed| {
        let group = agreed.suite.key_exchange.filter(|g| *g != KeyExchangeId::NONE);
        let shared = match (group, chain.ke(), &key_exchange) {
            (None, ..) => None,
            (Some(group), Some(ke), Some(ours)) if ke.method == group && ours.id() == group => {
                Some(ours.agree(ke.data).map_err(|_| FailureKind::BadPublicValue { group })?)
            }
            _ => return Err(not_offered()),
        };
        let keys = sa.keys().and_then(|k| child_keys(k, &agreed.suite, shared.as_ref(), (&nonce, nonce_r)));
        keys.filter(|_| new.spi_out != 0).map(|keys| (agreed, keys)).ok_or_else(not_offered)
    });
    let agreed = agreed.and_then(|(agreed, keys)| match new.trigger.filter(|_| old.is_none()) {
        Some(packet) => of_use(sa, &new.name, agreed, packet).map(|agreed| (agreed, keys)),
        None => Ok((agreed, keys)),
    });
    let (new_id, new_spi) = (new.id, new.spi_in);
    match agreed {
        Ok((agreed, keys)) => {
            // What we are to delete never carries what we send: the peer forgets it before we hear that it did.
            let lost = |c: &Crossing| nonce.as_slice().min(nonce_r) < c.lowest.as_slice();
            let mut new = new;
            new.asked = match old {
                None => Some(Box::new(Asked { nonce: nonce.clone(), answered: now })),
                Some(old) => asked_before(sa, old),
            };
            new.succeeds = crossing.as_ref().filter(|c| lost(c)).map(|c| c.made);
            if crossing.is_none() && old.is_some() && unsettled::doubtful(sa) {
                new.succeeds = old;
            }
            let (name, taken) = (new.name.clone(), agreed.selectors.clone());
            let complete = old.is_none() && new.trigger.is_none() && sa.replaces.is_none();
            sa.install(cx, now, new, agreed, keys, Role::Initiator);
            child_up(sa, cx, now, new_id);
            match old {
                Some(old) => {
                    cx.count(Counter::ChildRekey);
                    replaced(sa, cx, now, (old, new_id), crossing, nonce.as_slice().min(nonce_r));
                }
                None => {
                    if complete {
                        terms::ask_for_rest(sa, cx, chain, &name, (&offered, &taken));
                    }
                    all_children_made(sa, cx);
                }
            }
        }
        Err(kind) => {
            // The peer has installed it: it must hear that we do not.
            let wish = refused::wish(&new).filter(|_| old.is_none());
            sa.children.push(new);
            sa.enqueue(cx, now, Task::DeleteChild { spi: new_spi, reason: kind });
            match old {
                Some(old) => again_later(sa, cx, now, old),
                None => all_children_made(sa, cx),
            }
            wish.into_iter().for_each(|wish| refused::ask_later(sa, cx, now, wish));
        }
    }
    Verdict::Keep
}

/// The new Child SA is there: one of the ends deletes the old one, and perhaps one of two new ones goes too.
fn replaced(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    (old, new): (SaId, SaId),
    crossing: Option<Crossing>,
    lowest: &[u8],
) {
    let spi_of = |sa: &IkeSa, id: SaId| sa.children.iter().find(|c| c.id == id).map(|c| c.spi_in);
    // An operator has ended the old one meanwhile, at once: what is in its place goes too.
    let forced = sa.queue.iter().any(|t| matches!(t, Task::DeleteGone { child, .. } if *child == old));
    if let Some(spi) = spi_of(sa, new).filter(|_| forced) {
        sa.enqueue(cx, now, Task::DeleteChild { spi, reason: FailureKind::Terminated });
    }
    // RFC 7296 section 2.8.1: the SA made with the lowest of the four nonces is closed by the end that made it, the old
    // one by the other.
    let (ours_to_delete, of_the_peer, by) = match crossing {
        Some(crossing) if lowest < crossing.lowest.as_slice() => (new, Some(old), crossing.made),
        Some(crossing) => (old, Some(crossing.made), new),
        None => (old, None, new),
    };
    for id in [Some(ours_to_delete), of_the_peer].into_iter().flatten() {
        mark_replaced(sa, cx, id, by);
    }
    of_the_peer
        .filter(|made| *made != old)
        .into_iter()
        .for_each(|made| unsettled::peer_is_to_delete(sa, cx, now, made));
    unsettled::succeeded(sa, cx, now, old);
    let waits = of_the_peer.is_none() && unsettled::doubtful(sa);
    if waits && wait_for_peer(sa, cx, now, old) {
        if sa.forgets_at_once {
            // It does one thing after the other: when it answers it has, and before that nothing else is asked.
            sa.queue.push_back(Task::Loaded { child: old });
        }
        return;
    }
    if let Some(spi) = spi_of(sa, ours_to_delete) {
        // An operator may have asked meanwhile for the end of what has a successor now.
        let asked = sa.queue.iter().find_map(|t| match (t, spi_of(sa, old)) {
            (Task::DeleteChild { spi, reason }, Some(of_old)) if reason.is_wanted() && *spi == of_old => Some(reason),
            _ => None,
        });
        let mut installed = sa.children.iter().filter(|c| c.state == ChildState::Installed);
        let newest = installed.find(|c| c.id == new || Some(c.id) == of_the_peer).map(|c| c.spi_in);
        if let (Some(spi), Some(reason)) = (newest, asked.cloned()) {
            sa.enqueue(cx, now, Task::DeleteChild { spi, reason });
        }
        sa.enqueue(cx, now, Task::DeleteChild { spi, reason: FailureKind::Replaced { by } });
    }
}

/// RFC 7296 section 2.8 has a responder ready to receive by what it made when it answers. OpenIKED is not: it loads its SAs
/// afterwards. So the old one carries what we send for a while, and only then the peer is told to forget it. Whether it waits.
fn wait_for_peer(sa: &mut IkeSa, cx: &mut Context, now: Instant, old: SaId) -> bool {
    let due = now + GETS_READY;
    let ended = |t: &Task, spi: u32| matches!(t, Task::DeleteChild { spi: of, .. } if *of == spi);
    let asked = |c: &ChildSa| sa.queue.iter().any(|t| ended(t, c.spi_in));
    let waits = |c: &&ChildSa| c.id == old && !asked(c) && c.expires.is_none_or(|end| end > due);
    let Some(at) = sa.children.iter().position(|c| waits(&c)) else { return false };
    if let Some(child) = sa.children.get_mut(at) {
        child.goes_soon = true;
        cx.timers.set(sa.id, Reason::ChildLifetime(old), due);
    }
    true
}

/// The Child SA has a successor: it is not replaced again, and ends at the latest with its lifetime.
fn mark_replaced(sa: &mut IkeSa, cx: &mut Context, id: SaId, by: SaId) {
    let Some(child) = sa.children.iter_mut().find(|c| c.id == id) else { return };
    (child.state, child.replaced_by) = (ChildState::Rekeyed, Some(by));
    match child.expires {
        Some(end) => cx.timers.set(sa.id, Reason::ChildLifetime(id), end),
        None => cx.timers.cancel(sa.id, Reason::ChildLifetime(id)),
    }
}

/// A Child SA could not be replaced for now: again in a while.
fn again_later(sa: &mut IkeSa, cx: &mut Context, now: Instant, id: SaId) {
    let Some(child) = sa.children.iter_mut().find(|c| c.id == id) else { return };
    if child.state == ChildState::Rekeying {
        child.state = ChildState::Installed;
    }
    // What failed as a probe has its time.
    let at = child.due.take().filter(|due| *due > now).unwrap_or_else(|| retry_at(cx, now, child.expires));
    cx.timers.set(sa.id, Reason::ChildLifetime(id), at);
}

/// IKE_AUTH makes a Child SA without a key exchange of its own (RFC 7296 section 1.2), so that different groups, or one at one
/// end only, would show when it is first replaced. Where that is wanted (`pfs_probe`), that is tried soon; if it fails, the Child
/// SA stays until its time comes.
pub(super) fn probe_soon(sa: &mut IkeSa, cx: &mut Context, now: Instant, id: SaId) {
    let wait = cx.settings.pfs_probe;
    let due = cx.timers.deadline(sa.id, Reason::ChildLifetime(id));
    let Some(child) = sa.children.iter_mut().find(|c| c.id == id) else { return };
    // One that is never replaced needs no group.
    let replaced = due.filter(|due| Some(*due) != child.expires && now + wait < *due);
    if let Some(due) = replaced.filter(|_| !wait.is_zero()) {
        child.due = Some(due);
        // Both ends may want to know.
        let random = f64::from(u32::from_be_bytes(cx.random())) / f64::from(u32::MAX);
        cx.timers.set(sa.id, Reason::ChildLifetime(id), now + wait.mul_f64(0.5 + random / 2.0));
    }
}

/// Whether the peer has made what this placeholder is for, or more: both ends may want the same Child SA at once, and one
/// is enough.
fn made_by_peer(sa: &IkeSa, id: SaId) -> bool {
    let Some(wanted) = sa.children.iter().find(|c| c.id == id) else { return false };
    let includes = |list: &[TrafficSelector], all: &[TrafficSelector]| {
        all.iter().all(|one| list.iter().any(|ts| ts.includes(one)))
    };
    sa.children.iter().any(|c| {
        c.id != id
            && c.name == wanted.name
            && c.state == ChildState::Installed
            && !sa.is_child_leaving(c)
            && includes(&c.local_ts, &wanted.local_ts)
            && includes(&c.remote_ts, &wanted.remote_ts)
    })
}

/// The peer has made it: ours is not needed.
fn drop_placeholder(sa: &mut IkeSa, cx: &mut Context, id: SaId) {
    if let Some(at) = sa.children.iter().position(|c| c.id == id) {
        let name = sa.children.remove(at).name;
        sa.log(cx, "IKE", 1, format!("CHILD_SA {name} was made by the peer meanwhile"));
    }
    all_children_made(sa, cx);
}

/// A new IKE SA beside another has all the Child SAs that it is going to have: the other one goes.
fn all_children_made(sa: &mut IkeSa, cx: &mut Context) {
    // What the peer could not make just now (RFC 7296 section 2.25) comes too, or the old one's end does. A refusal is one.
    let comes_later = |c: &ChildSa| {
        let waits = cx.timers.deadline(sa.id, Reason::ChildLifetime(c.id)).is_some();
        c.state == ChildState::Larval && c.refused == 0 && waits
    };
    let more = sa.queue.iter().chain(sa.pending.tasks()).any(|t| matches!(t, Task::CreateChild { .. }));
    let more = more || sa.children.iter().any(comes_later);
    if let Some(old) = sa.replaces.take_if(|_| !more) {
        cx.effects.push(Effect::Retire { old, by: sa.id });
    }
}

/// The peer does not make it.
fn refusal(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    (task, id): (Task, SaId),
    creating: Creating,
    connection: &Arc<Connection>,
    response: &Request<'_>,
) -> Verdict {
    let error = response.chain.error();
    let notify = error.map_or(NotifyType::NO_PROPOSAL_CHOSEN, |n| n.kind);
    if notify == NotifyType::INVALID_SYNTAX {
        // RFC 7296 section 2.21.3: fatal at both ends.
        return Verdict::End(FailureKind::PeerRefused { phase: Phase::Ike, notify });
    }
    let (rekey, proposals, crossing) = match &creating.what {
        What::Rekeyed { proposals, crossing, .. } => (true, proposals, crossing.as_ref().map(|c| c.made)),
        What::Child { proposals } => (false, proposals, None),
        What::Ike { .. } => return Verdict::Keep,
    };
    if let Some(made) = crossing {
        // Section 2.8.1: the peer was done before our request came; its new SA is the one.
        mark_replaced(sa, cx, id, made);
        return Verdict::Keep;
    }
    let Some(listed) = sa.children.iter().find(|c| c.id == id) else { return Verdict::Keep }; // deleted meanwhile
    let (name, ts) =
        (listed.name.clone(), Selectors { local: listed.local_ts.clone(), remote: listed.remote_ts.clone() });
    let ours = || proposals.iter().map(ToString::to_string).collect();
    let kind = match (notify, error) {
        (NotifyType::INVALID_KE_PAYLOAD, Some(error)) => match other_group(proposals, &creating, error) {
            Ok(group) => {
                // Before everything else, as soon as the window has room.
                sa.other_groups.insert(id, (group, creating.retries + 1));
                sa.queue.push_front(task);
                return Verdict::Keep;
            }
            Err(kind) => kind,
        },
        (NotifyType::TEMPORARY_FAILURE, _) if !rekey && made_by_peer(sa, id) => {
            drop_placeholder(sa, cx, id);
            return Verdict::Keep;
        }
        (NotifyType::TEMPORARY_FAILURE, _) => {
            sa.log(cx, "IKE", 1, format!("the peer cannot make CHILD_SA {name} just now: again later"));
            if rekey {
                sa.tell_not_rekeyed(cx, now, FailureKind::PeerRefused { phase: Phase::Child, notify }, Some(id));
            }
            again_later(sa, cx, now, id);
            return Verdict::Keep;
        }
        (NotifyType::CHILD_SA_NOT_FOUND, _) if rekey => {
            // Section 2.25: the peer has lost it. It goes without a word, and a new one is made.
            sa.tell_not_rekeyed(cx, now, FailureKind::PeerRefused { phase: Phase::Child, notify }, Some(id));
            remove_child(sa, cx, now, id, FailureKind::PeerRefused { phase: Phase::Child, notify });
            further_child(sa, cx, &name);
            return Verdict::Keep;
        }
        (NotifyType::NO_ADDITIONAL_SAS, _) if rekey => {
            sa.log(cx, "IKE", 1, "the peer makes no further SAs under this IKE SA".to_string());
            sa.tell_not_rekeyed(cx, now, FailureKind::PeerRefused { phase: Phase::Child, notify }, Some(id));
            again_later(sa, cx, now, id);
            cx.effects.push(Effect::Renew { old: sa.id, child: name });
            return Verdict::Keep;
        }
        (NotifyType::NO_ADDITIONAL_SAS, _) => {
            sa.children.retain(|c| c.id != id);
            all_children_made(sa, cx);
            let (mut local, mut remote) = (sa.local, sa.remote);
            local.set_port(cx.settings.port);
            remote.set_port(connection.remote_port);
            cx.effects.push(Effect::Begin { connection: Arc::clone(connection), child: name, local, remote });
            return Verdict::Keep;
        }
        (NotifyType::SINGLE_PAIR_REQUIRED, _) if !rekey && terms::for_single_pair(sa, cx, id) => {
            sa.queue.push_front(task);
            return Verdict::Keep;
        }
        (notify, _) => child_refusal(notify, ours(), ts),
    };
    if rekey {
        sa.tell_not_rekeyed(cx, now, kind, Some(id));
        again_later(sa, cx, now, id);
    } else {
        let waits_for_packets = notify == NotifyType::SINGLE_PAIR_REQUIRED;
        let wish = sa.children.iter().find(|c| c.id == id).and_then(refused::wish).filter(|_| !waits_for_packets);
        remove_child(sa, cx, now, id, kind);
        all_children_made(sa, cx);
        wish.into_iter().for_each(|wish| refused::ask_later(sa, cx, now, wish));
    }
    Verdict::Keep
}

// ---------------------------------------------------------------------------------------------------------- responder

/// Why a request is not served.
pub(super) struct Refusal {
    notify: NotifyType,
    data: Vec<u8>,
    /// The Child SA that the notification is about.
    spi: Option<[u8; 4]>,
    /// The fault, and the child it is about, where an operator should know.
    kind: Option<Box<(FailureKind, Option<usize>)>>,
}

impl Refusal {
    pub fn plain(notify: NotifyType) -> Self {
        Self { notify, data: Vec::new(), spi: None, kind: None }
    }

    pub fn group(wanted: KeyExchangeId) -> Self {
        Self { data: wanted.0.to_be_bytes().to_vec(), ..Self::plain(NotifyType::INVALID_KE_PAYLOAD) }
    }

    pub fn fault(notify: NotifyType, kind: FailureKind, child: Option<usize>) -> Self {
        Self { kind: Some(Box::new((kind, child))), ..Self::plain(notify) }
    }
}

/// The peer's request.
pub(super) fn request(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    request: &Request<'_>,
) -> (ChainBuilder, Verdict) {
    let mut reply = ChainBuilder::new();
    let Some(connection) = sa.connection.clone().filter(|_| sa.is_established()) else {
        // RFC 7296 section 2.25: TEMPORARY_FAILURE is for requests that cannot be served just now; an SA that is not
        // authenticated, or is being deleted, serves none.
        reply.notify(ProtocolId::NONE, &[], NotifyType::TEMPORARY_FAILURE, &[]);
        return (reply, Verdict::Keep);
    };
    let served = if request.rule == RuleId::CreateChildSaIkeRekeyRequest {
        rekey_ike_sa::serve(sa, cx, now, &connection, request, &mut reply)
    } else {
        serve(sa, cx, now, &connection, request, &mut reply)
    };
    if let Err(refusal) = served {
        let Refusal { notify, data, spi, kind } = refusal;
        sa.log(cx, "IKE", 1, format!("the peer's CREATE_CHILD_SA request is refused with {notify}"));
        match spi {
            Some(spi) => reply.notify(ProtocolId::ESP, &spi, notify, &data),
            None => reply.notify(ProtocolId::NONE, &[], notify, &data),
        };
        let rekeyed = rekeyed_child(sa, request.chain);
        let of_ike = request.rule == RuleId::CreateChildSaIkeRekeyRequest;
        if let Some((kind, child)) = kind.map(|k| *k) {
            if of_ike || rekeyed.is_some() {
                sa.tell_not_rekeyed(cx, now, kind, rekeyed);
                return (reply, Verdict::Keep);
            }
            let name = child.and_then(|i| connection.children.get(i)).map_or("-", |c| c.name.as_str());
            let tombstone = sa.tombstone(cx, now, kind, Some(name));
            cx.event(Event::Ended(Box::new(tombstone)));
        }
    }
    (reply, Verdict::Keep)
}

/// The Child SA that the peer's request is to replace.
fn rekeyed_child(sa: &IkeSa, chain: &Chain<'_>) -> Option<SaId> {
    let spi = *chain.notify(NotifyType::REKEY_SA)?.spi.first_chunk::<4>()?;
    sa.children.iter().find(|c| c.is_installed() && c.spi_out.to_be_bytes() == spi).map(|c| c.id)
}

/// The request that made the Child SA which is rekeyed: the peer's for the same may come even later.
fn asked_before(sa: &mut IkeSa, old: SaId) -> Option<Box<Asked>> {
    sa.children.iter_mut().find(|c| c.id == old)?.asked.take()
}

/// Whether the peer asks for the same further Child SA as a request of ours, and ours is the one to be made, or is made: both
/// ends would have it twice. RFC 7296 has no rule for this; that of section 2.8.1 does: the request with the lower nonce is
/// the one that comes to nothing, here before anything is installed. Both ends compare the same two. A request that was
/// under way then may come as late as the peer repeats it.
fn crosses_ours(sa: &IkeSa, now: Instant, config: Option<&config::Child>, asked: &Selectors, nonce: &[u8]) -> bool {
    let under_way = |id: SaId| {
        let request = sa.pending.iter().find(|request| request.task == Task::CreateChild { child: id });
        request.and_then(|request| request.creating.as_ref()).map(|creating| creating.nonce.clone())
    };
    let request_for = |c: &ChildSa| match &c.asked {
        Some(asked) => {
            let counts = asked.answered + REPEATED > now && !sa.is_child_leaving(c);
            counts.then(|| asked.nonce.clone())
        }
        None => under_way(c.id),
    };
    let same = |c: &&ChildSa| {
        config.is_some_and(|config| config.name == c.name)
            && c.trigger.is_none()
            && (&c.local_ts, &c.remote_ts) == (&asked.local, &asked.remote)
    };
    sa.children.iter().filter(same).filter_map(request_for).any(|ours| ours.as_slice() > nonce)
}

/// Whether a Delete of ours for this Child SA is queued or under way.
fn closing(sa: &IkeSa, spi_in: u32) -> bool {
    let tasks = sa.queue.iter().chain(sa.pending.tasks());
    tasks.into_iter().any(|t| matches!(t, Task::DeleteChild { spi, .. } if *spi == spi_in))
}

fn serve(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    connection: &Arc<Connection>,
    request: &Request<'_>,
    reply: &mut ChainBuilder,
) -> Result<(), Refusal> {
    let chain = request.chain;
    let ending = sa.queue.iter().any(|t| matches!(t, Task::DeleteIke { .. }));
    if ending || sa.is_rekeying() || sa.replaced_by.is_some() || sa.undecided {
        // RFC 7296 section 2.25.2: not while the IKE SA is being replaced.
        return Err(Refusal::plain(NotifyType::TEMPORARY_FAILURE));
    }
    if sa.virtual_addresses.missing {
        // What `pools` is for holds for every Child SA: no selectors without an address of ours.
        return Err(Refusal::plain(NotifyType::FAILED_CP_REQUIRED));
    }
    if sa.children.len() >= MAX_CHILDREN.max(4 * connection.children.len()) {
        return Err(Refusal::plain(NotifyType::NO_ADDITIONAL_SAS));
    }
    let old = match chain.notify(NotifyType::REKEY_SA) {
        None => None,
        Some(named) => {
            // Section 1.3.3: the SPI by which the peer receives.
            let spi = named.spi.first_chunk::<4>().copied().unwrap_or_default();
            let known =
                |c: &&ChildSa| named.protocol == ProtocolId::ESP && c.is_installed() && c.spi_out.to_be_bytes() == spi;
            let Some(old) = sa.children.iter().find(known) else {
                if sa.pending.creating().next().is_some() {
                    // The peer may mean the one that we are making: it knew that first.
                    return Err(Refusal::plain(NotifyType::TEMPORARY_FAILURE));
                }
                return Err(Refusal { spi: Some(spi), ..Refusal::plain(NotifyType::CHILD_SA_NOT_FOUND) });
            };
            if old.goes_soon || closing(sa, old.spi_in) {
                return Err(Refusal::plain(NotifyType::TEMPORARY_FAILURE)); // section 2.25.1
            }
            Some((old.id, old.name.clone(), old.binding))
        }
    };
    let (Some(offered), Some(nonce_i)) = (chain.sa(), chain.nonce()) else {
        return Err(Refusal::plain(NotifyType::INVALID_SYNTAX));
    };
    let (tsi, tsr): (Vec<TrafficSelector>, _) = (selectors(chain.tsi()), selectors(chain.tsr()));
    let only = old.as_ref().map(|(_, name, _)| name.as_str());
    let (ends, transport) = (sa.ends(), transport_wish(sa, chain));
    let (index, agreed) = child::choose_further(connection, &ends, offered, (&tsi, &tsr), only, transport)
        .map_err(|(i, kind)| Refusal::fault(terms::refusal(connection, i, &kind), kind, i))?;
    let agreed = heard(agreed, chain);
    if old.is_none() && crosses_ours(sa, now, connection.children.get(index), &agreed.selectors, nonce_i) {
        sa.log(cx, "IKE", 1, "the peer asks for the Child SA that we ask for: ours is made".to_string());
        return Err(Refusal::plain(NotifyType::TEMPORARY_FAILURE));
    }
    let spi_out = child::offered_spi(offered, agreed.number);
    let exchanged = exchange(cx, agreed.suite.key_exchange, chain.ke())?;
    let nonce_r = cx.random::<NONCE_LEN>().to_vec();
    let (public, shared) = exchanged.map_or((None, None), |(k, shared)| (Some(k), Some(shared)));
    let keys = sa.keys().and_then(|k| child_keys(k, &agreed.suite, shared.as_ref(), (nonce_i, &nonce_r)));
    let (Some(config), Some(spi_out), Some(keys)) = (connection.children.get(index), spi_out, keys) else {
        return Err(Refusal::plain(NotifyType::NO_PROPOSAL_CHOSEN));
    };
    // Everything is checked: from here on the SA changes.
    let mut new = match &old {
        Some((old, _, binding)) => ChildSa::successor(cx, config, agreed.selectors.clone(), (*old, *binding)),
        None => ChildSa::larval(cx, config, agreed.selectors.clone()),
    };
    new.asked = old.as_ref().and_then(|(old, ..)| asked_before(sa, *old));
    new.spi_out = spi_out;
    new.succeeds = old.as_ref().map(|(old, ..)| *old);
    let new_id = new.id;
    let mut held = None;
    reply.sa(&[child::answer(&agreed, new.spi_in)]);
    reply.nonce(&nonce_r);
    if let Some(key_exchange) = public {
        reply.ke(key_exchange.id(), key_exchange.public());
    }
    terms::answer_selectors(reply, &agreed);
    if let Some((old, name, _)) = old {
        sa.log(cx, "IKE", 1, format!("the peer rekeys CHILD_SA {name}{{{}}}", old.0));
        cx.count(Counter::ChildRekey);
        match sa.pending.rekeying(old) {
            // Section 2.25.1: both at once; the answer to our request decides.
            Some(What::Rekeyed { crossing, .. }) => {
                *crossing = Some(Crossing { lowest: nonce_i.min(&nonce_r).to_vec(), made: new_id });
            }
            _ => {
                mark_replaced(sa, cx, old, new_id);
                held = Some(old).filter(|_| sa.forgets_at_once);
            }
        }
    }
    sa.install(cx, now, new, agreed, keys, Role::Responder);
    if let Some(old) = held {
        cx.hold(now, old);
    }
    child_up(sa, cx, now, new_id);
    Ok(())
}

/// The responder's half of a key exchange, if the chosen suite has one.
pub(super) fn exchange(
    cx: &mut Context,
    group: Option<KeyExchangeId>,
    sent: Option<wire::v2::KeyExchange<'_>>,
) -> Result<Option<(KeyExchange, Secret)>, Refusal> {
    let Some(group) = group.filter(|g| *g != KeyExchangeId::NONE) else { return Ok(None) };
    let Some(sent) = sent.filter(|ke| ke.method == group) else {
        // RFC 7296 section 1.3: the initiator guessed another group than the one chosen.
        return Err(Refusal::group(group));
    };
    let refusal = || Refusal::plain(NotifyType::NO_PROPOSAL_CHOSEN);
    let ours = KeyExchange::generate(group, &mut *cx.rng).map_err(|_| refusal())?;
    let shared = ours
        .agree(sent.data)
        .map_err(|_| Refusal::fault(NotifyType::NO_PROPOSAL_CHOSEN, FailureKind::BadPublicValue { group }, None))?;
    Ok(Some((ours, shared)))
}
