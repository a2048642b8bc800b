//! Transaction exchanges between phase 1 and quick mode (draft-ietf-ipsec-isakmp-mode-cfg,
//! draft-beaulieu-ike-xauth): a user's name and password, then a virtual address.
//!
//! ```text
//! HDR*, HASH(1), ATTR (REQUEST or SET)  -->
//!                                       <--  HDR*, HASH(1), ATTR (REPLY or ACK)
//! ```
//!
//! The order is XAuth, Mode-Config, quick mode. Until XAuth is over the ISAKMP SA does not count as established.

mod mode_config;
mod xauth;

use super::phase1;
use super::protection::{hashed, header, unreadable};
use super::quick_mode;
use super::sa::{IsakmpSa, State, arm, fingerprint};
use crate::child;
use crate::context::Context;
use crate::credentials::own_identity;
use crate::endpoint::Output;
use crate::timers::Reason;
use crate::v2::Path;
use config::Connection;
use model::dataplane::VirtualAddress;
use model::{DropReason, Event, FailureKind, Identity, IkeState, Instant, Role, TrafficSelector};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::attributes::{AttributeValue, DataAttribute};
use wire::grammar::RuleId;
use wire::v1::Attributes;
use wire::{ExchangeType, Flags, Header, Secret};

/// Kinds of the Attributes payload (draft-ietf-ipsec-isakmp-mode-cfg section 3.2).
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const SET: u8 = 3;
const ACK: u8 = 4;

/// A repeated request is answered again this often.
const MAX_REPEATS: u32 = 5;

/// What comes next between phase 1 and quick mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: quick mode may begin.
    #[default]
    Done,
    /// XAuth, we ask: name and password asked for.
    Asked,
    /// XAuth, we ask: the user was told whether that was right.
    Judged(bool),
    /// XAuth, we are asked: not yet, or so many times.
    Answering(u32),
    /// Mode-Config: our request, or what we push, is under way.
    Offered,
    /// Mode-Config: the peer is to push.
    Expecting,
    /// Mode-Config: the peer, which did not begin, may ask for an address, on which our selectors depend.
    Awaiting,
}

/// Our message under way.
struct Sent {
    message_id: u32,
    kind: u8,
    message: Vec<u8>,
    resent: u32,
    since: Instant,
}

/// All about transaction exchanges of an ISAKMP SA.
#[derive(Default)]
pub(super) struct Configuration {
    pub stage: Stage,
    under_way: Option<Sent>,
    /// The last answer, with what it answered and how often.
    answered: Option<([u8; 20], Vec<u8>, u32)>,
    /// Connections that the peer's identity and proof fit as well as the one that was taken: the user decides.
    pub alternatives: Vec<Arc<Connection>>,
    /// The user that XAuth proved.
    pub user: Option<Identity>,
    /// Whether there is a password for the user.
    pub user_known: bool,
    /// Addresses that we assigned to the peer.
    assigned: Vec<IpAddr>,
    /// Addresses that the peer assigned to us.
    own: Vec<IpAddr>,
    /// Servers for names that the peer told us of.
    pub servers: Vec<IpAddr>,
    /// The networks behind the peer that it says are to be reached through it (UNITY_SPLIT_INCLUDE); none for all.
    pub included: Vec<TrafficSelector>,
    /// What the peer had to say to the user.
    pub banner: Option<String>,
    /// Why a user that proved itself is refused all the same.
    pub not_unique: Option<FailureKind>,
    /// Uniqueness is applied when XAuth is over: with INITIAL-CONTACT or without.
    pub uniqueness: Option<bool>,
}

impl Configuration {
    /// Whether the user has still to be proved.
    pub fn authenticates(&self) -> bool {
        matches!(self.stage, Stage::Asked | Stage::Judged(_) | Stage::Answering(_))
    }

    /// The peer's user, once proved.
    pub fn proven_user(&self) -> Option<Identity> {
        self.user.clone().filter(|_| !self.authenticates())
    }

    /// For the updown script.
    pub fn environment(&self) -> Vec<(String, String)> {
        child::addresses_inside(&self.own, &self.assigned, &self.servers)
    }

    /// Addresses that the peer assigned to us.
    pub fn own(&self) -> &[IpAddr] {
        &self.own
    }

    /// Takes the addresses over that another ISAKMP SA has of, or gave to, the same peer, but for those that this one has
    /// too: each counts its users.
    pub fn take_addresses(&mut self, old: &mut Self) {
        for (new, old) in [(&mut self.own, &mut old.own), (&mut self.assigned, &mut old.assigned)] {
            let (both, only): (Vec<IpAddr>, Vec<IpAddr>) =
                std::mem::take(old).into_iter().partition(|address| new.contains(address));
            new.extend(only);
            *old = both;
        }
        if self.servers.is_empty() {
            self.servers = std::mem::take(&mut old.servers);
        }
    }

    /// Addresses that we assigned to the peer.
    pub fn assigned(&self) -> &[IpAddr] {
        &self.assigned
    }

    pub fn waiting_for(&self) -> Option<RuleId> {
        match self.stage {
            Stage::Done => None,
            Stage::Asked | Stage::Judged(_) | Stage::Offered => Some(RuleId::TransactionV1Reply),
            Stage::Answering(_) | Stage::Expecting | Stage::Awaiting => Some(RuleId::TransactionV1),
        }
    }
}

/// What comes first after phase 1.
pub(super) fn first_stage(connection: &Connection) -> Stage {
    if connection.remote_xauth().is_some() {
        Stage::Asked
    } else if connection.local_xauth().is_some() {
        Stage::Answering(0)
    } else {
        Stage::Done
    }
}

/// How many other connections a user is looked for in.
const MAX_ALTERNATIVES: usize = 64;

/// The connections that the user of XAuth may turn out to belong to instead of `taken`: those in which we are the same
/// and that the peer's proof is good for.
pub(super) fn alternatives<'a>(
    taken: &Connection,
    others: impl Iterator<Item = &'a Arc<Connection>>,
    own: &Identity,
    local: SocketAddr,
    proven: impl Fn(&Connection) -> bool,
) -> Vec<Arc<Connection>> {
    if taken.remote_xauth().is_none() {
        return Vec::new();
    }
    let alike = |c: &&Arc<Connection>| {
        let same_proof = c.local == taken.local && own_identity(c, local) == *own;
        c.remote_xauth().is_some() && same_proof && proven(c)
    };
    others.filter(alike).take(MAX_ALTERNATIVES).cloned().collect()
}

/// XAuth begins.
pub(super) fn begin(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    // Whoever does not go on is given up like any half-open SA.
    cx.timers.set(sa.id, Reason::HalfOpen, now + cx.settings.half_open_timeout);
    if sa.configuration.stage == Stage::Asked {
        xauth::ask(sa, cx, now);
    }
}

/// XAuth is over, and the ISAKMP SA established.
fn authenticated(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    cx.timers.cancel(sa.id, Reason::HalfOpen);
    sa.configuration.stage = Stage::Done;
    sa.configuration.alternatives = Vec::new();
    let (from, to) = (IkeState::Connecting, IkeState::Established);
    cx.event(Event::IkeState { sa: sa.id, name: sa.name().to_string(), from, to });
    phase1::complete(sa, cx, now);
    if let Some(initial_contact) = sa.configuration.uniqueness.take() {
        phase1::apply_uniqueness(sa, cx, initial_contact);
    }
    phase1::go_on(sa, cx, now);
}

/// Mode-Config, if there is any.
pub(super) fn configure(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    mode_config::begin(sa, cx, now);
}

fn attribute(class: u16, value: &[u8]) -> DataAttribute<'_> {
    DataAttribute { kind: class, value: AttributeValue::Long(value) }
}

/// The octets of an attribute.
fn octets<'a>(attributes: &Attributes<'a>, class: u16) -> Option<&'a [u8]> {
    match attributes.get(class)? {
        AttributeValue::Long(octets) => Some(octets),
        AttributeValue::Short(_) => None,
    }
}

fn seal(sa: &mut IsakmpSa, id: u32, kind: u8, identifier: u16, attributes: &[DataAttribute<'_>]) -> Option<Vec<u8>> {
    let spis = sa.spis;
    let keys = sa.keys()?;
    let mut chain = keys.with_hash();
    chain.attributes(kind, identifier, attributes);
    let chain = hashed(chain, |rest| keys.hash1(id, rest));
    Some(keys.seal(header(spis, ExchangeType::TRANSACTION, id), chain))
}

/// Begins an exchange.
fn send(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, kind: u8, attributes: &[DataAttribute<'_>]) {
    retire(sa, cx);
    let message_id = quick_mode::message_id(sa, cx);
    let identifier = u16::from_be_bytes(cx.random());
    let Some(message) = seal(sa, message_id, kind, identifier, attributes) else { return };
    sa.datagrams_out += 1;
    sa.transmit(cx, message.clone());
    arm(cx, sa.id, Reason::Exchange(message_id), now, 0);
    sa.configuration.under_way = Some(Sent { message_id, kind, message, resent: 0, since: now });
}

/// The exchange that we began is over.
fn retire(sa: &mut IsakmpSa, cx: &mut Context) {
    if let Some(sent) = sa.configuration.under_way.take() {
        cx.timers.cancel(sa.id, Reason::Exchange(sent.message_id));
        sa.retransmissions.sent = 0;
        sa.note_used(sent.message_id);
        if let Some(keys) = sa.keys() {
            keys.forget(sent.message_id);
        }
    }
}

/// The peer's message, as a handler gets it.
struct Received<'a> {
    attributes: Attributes<'a>,
    message_id: u32,
    digest: [u8; 20],
}

/// Answers the peer's message, which ends the exchange.
fn answer(sa: &mut IsakmpSa, cx: &mut Context, received: &Received<'_>, attributes: &[DataAttribute<'_>]) {
    let kind = if received.attributes.kind == SET { ACK } else { REPLY };
    let (id, identifier) = (received.message_id, received.attributes.identifier);
    let Some(message) = seal(sa, id, kind, identifier, attributes) else { return };
    sa.note_used(id);
    if let Some(keys) = sa.keys() {
        keys.forget(id);
    }
    sa.datagrams_out += 1;
    sa.transmit(cx, message.clone());
    sa.configuration.answered = Some((received.digest, message, 0));
}

/// An answer did not come in time, in a transaction or in a quick mode.
pub(crate) fn retransmit(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, id: u32) -> Option<FailureKind> {
    if id == 0 && sa.configuration.stage == Stage::Expecting {
        super::informational::delete_isakmp(sa, cx);
        return Some(mode_config::none_given(sa));
    }
    if id == 0 && sa.configuration.stage == Stage::Awaiting {
        mode_config::done(sa, cx, now); // it wants none
        return None;
    }
    let Some(sent) = sa.configuration.under_way.as_mut().filter(|sent| sent.message_id == id) else {
        return quick_mode::retransmit(sa, cx, now, id);
    };
    sent.resent += 1;
    let (resent, since, message) = (sent.resent, sent.since, sent.message.clone());
    let waiting_for = RuleId::TransactionV1Reply;
    if resent > cx.settings.backoff.tries {
        if sa.configuration.stage == Stage::Judged(false) {
            return Some(xauth::refusal(sa));
        }
        let (to, over) = (sa.remote, now.since(since));
        return Some(FailureKind::NoAnswer { waiting_for, to, sent: resent, over, answered_before: true });
    }
    sa.retransmissions.sent = resent;
    sa.retransmissions.total += 1;
    cx.event(Event::Retransmitted { sa: sa.id, name: sa.name().to_string(), waiting_for, attempt: resent });
    // As in quick mode: message 3 of aggressive mode may be what got lost.
    if let Some(last) = sa.sent.as_ref().filter(|_| !sa.confirmed && sa.role == Role::Initiator) {
        let last = last.message.clone();
        sa.datagrams_out += 1;
        sa.transmit(cx, last);
    }
    sa.datagrams_out += 1;
    sa.transmit(cx, message);
    arm(cx, sa.id, Reason::Exchange(id), now, resent);
    None
}

/// A message of a transaction exchange.
pub(super) fn receive(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let id = h.message_id;
    let digest = fingerprint(datagram);
    if let Some((_, message, repeated)) = sa.configuration.answered.as_mut().filter(|(of, ..)| *of == digest) {
        if *repeated >= MAX_REPEATS {
            sa.drop_datagram(cx, DropReason::RepeatLimit, path.remote);
            return None;
        }
        *repeated += 1;
        let message = message.clone();
        sa.datagrams_out += 1;
        sa.transmit(cx, message);
        return None;
    }
    if sa.used.contains(&id) || sa.quick_modes.contains_key(&id) {
        sa.drop_datagram(cx, DropReason::UnexpectedMessageId, path.remote);
        return None;
    }
    let opened = sa.keys().and_then(|keys| keys.open(h, datagram)).filter(|_| h.flags.contains(Flags::ENCRYPTION));
    let Some(opened) = opened else {
        sa.drop_datagram(cx, unreadable(h), path.remote);
        return None;
    };
    let (Some(chain), Some(rest)) = (opened.chain(), opened.after_hash()) else {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    };
    let expected = sa.keys()?.hash1(id, rest);
    if !crypto::equal(expected.expose(), chain.hash().unwrap_or_default()) {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    }
    let Some(attributes) = chain.attributes().cloned() else {
        sa.drop_datagram(cx, DropReason::GrammarViolation, path.remote);
        return None;
    };
    let kind = attributes.kind;
    let fits = match &sa.configuration.under_way {
        // Both directions have the same keys: our own message, sent back, is no answer.
        Some(sent) if sent.message_id == id => {
            // The identifier is not compared: strongSwan answers with one of its own, and the message ID tells already.
            matches!((sent.kind, kind), (REQUEST, REPLY) | (SET, ACK))
        }
        _ => matches!(kind, REQUEST | SET),
    };
    if !fits {
        sa.drop_datagram(cx, DropReason::UnexpectedResponse, path.remote);
        return None;
    }
    // Authentic, and what can come now.
    if let Some(keys) = sa.keys() {
        keys.accept(&opened);
    }
    sa.last_heard = now;
    sa.probe.1 = 0;
    sa.confirmed = true;
    quick_mode::follow(sa, cx, path);
    let received = Received { attributes, message_id: id, digest };
    match (sa.configuration.stage, kind) {
        (Stage::Asked, REPLY) => xauth::judge(sa, cx, now, &received),
        (Stage::Judged(good), ACK) => return xauth::acknowledged(sa, cx, now, good),
        (Stage::Answering(times), REQUEST) => return xauth::reply(sa, cx, times, &received),
        (Stage::Answering(_), SET) => return xauth::told(sa, cx, now, &received),
        (Stage::Offered, REPLY) => return mode_config::take(sa, cx, now, &received),
        (Stage::Offered, ACK) => {
            retire(sa, cx);
            mode_config::done(sa, cx, now);
        }
        (Stage::Expecting, SET) => return mode_config::take(sa, cx, now, &received),
        (Stage::Done | Stage::Expecting | Stage::Offered | Stage::Awaiting, REQUEST) if sa.is_established() => {
            mode_config::serve(sa, cx, now, &received);
            if sa.configuration.stage == Stage::Awaiting {
                cx.timers.cancel(sa.id, Reason::Exchange(0));
                mode_config::done(sa, cx, now);
            }
        }
        // Mode-Config before XAuth, XAuth that nobody wants, a second push.
        _ => {
            sa.note_used(id);
            let early = sa.configuration.authenticates();
            let reason = if early { DropReason::XauthNotDone } else { DropReason::UnexpectedExchange };
            sa.drop_datagram(cx, reason, path.remote);
        }
    }
    None
}

impl IsakmpSa {
    /// Our address inside the tunnel.
    pub(super) fn inner_local(&self) -> IpAddr {
        self.configuration.own.first().copied().unwrap_or(self.local.ip())
    }

    /// The peer's address inside the tunnel.
    pub(super) fn inner_remote(&self) -> IpAddr {
        self.configuration.assigned.first().copied().unwrap_or(self.remote.ip())
    }

    /// Whom the peer's addresses belong to.
    fn lessee(&self) -> Option<Identity> {
        self.configuration.user.clone().or_else(|| self.remote_id.clone())
    }

    /// Gives all virtual addresses back.
    pub(super) fn release_addresses(&mut self, cx: &mut Context, now: Instant) {
        let (connection, lessee) = (self.connection.clone(), self.lessee());
        for address in std::mem::take(&mut self.configuration.assigned) {
            if let (Some(connection), Some(lessee)) = (&connection, &lessee) {
                cx.pools.release(&connection.pools, lessee, address, now);
            }
        }
        for address in std::mem::take(&mut self.configuration.own) {
            let gone = VirtualAddress { ike: self.id, address, outer: self.local.ip() };
            cx.outputs.push_back(Output::RemoveAddress(gone));
        }
    }

    /// Whether quick mode must wait for XAuth.
    pub(super) fn awaits_xauth(&self) -> bool {
        matches!(self.state, State::Established(_)) && self.configuration.authenticates()
    }
}

/// A password, compared in constant time.
fn same(a: &Secret, b: &[u8]) -> bool {
    crypto::equal(a.expose(), b)
}
