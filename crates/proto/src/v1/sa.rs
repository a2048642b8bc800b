//! What an ISAKMP SA is: plain data, and how it looks to an operator.

use super::authentication::Proof;
use super::fragments;
use super::protection::Keys;
use super::quick_mode::{Queued, QuickMode};
use crate::child::ChildSa;
use crate::context::Context;
use crate::timers::Reason;
use crate::v2::Path;
use config::Connection;
use crypto::KeyExchange;
use crypto::v1::Hash;
use model::dataplane::{Command, ShuntInstall};
use model::{
    ChildState, ChosenSuite, DropReason, Event, ExchangeMode, Failure, FailureKind, Heard, Identity, IkeState, Instant,
    NatState, Retransmissions, Role, SaId, SaSnapshot, Tombstone,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::grammar::RuleId;
use wire::{Header, IkeSpi, OakleyAuthMethod, SpiPair, V1NotifyType};

/// How far phase 1 is, with exactly what is known there.
pub(super) enum State {
    /// Main mode, initiator: message 1 sent.
    SaSent { sa_body: Vec<u8> },
    /// Main mode, responder: message 2 sent.
    SaReplied { sa_body: Vec<u8>, hash: Hash, candidates: Vec<Arc<Connection>> },
    /// Main mode, initiator: message 3 sent.
    KeSent(Box<KeSent>),
    /// Main mode, responder: message 4 sent. One set of keys for each pre-shared key that may be meant: which one it is
    /// shows when message 5 decrypts.
    KeReplied(Box<KeReplied>),
    /// Main mode, initiator: message 5 sent.
    IdSent(Box<Proving>),
    /// Aggressive mode, initiator: message 1 sent.
    AggressiveSent(Box<AggressiveSent>),
    /// Aggressive mode, responder: message 2 sent.
    AggressiveReplied(Box<Proving>),
    /// Phase 1 is done.
    Established(Box<Keys>),
    /// The peer deleted the ISAKMP SA, and not the Child SAs that it had made: an SA is deleted by its own SPI alone (RFC
    /// 2408 section 3.15). They last until they expire or another ISAKMP SA with the peer takes them over.
    Orphaned,
    /// Over; only the last answer is repeated for a while.
    Closed,
}

pub(super) struct KeSent {
    pub sa_body: Vec<u8>,
    pub hash: Hash,
    pub key_exchange: KeyExchange,
    pub nonce: Vec<u8>,
}

pub(super) struct KeReplied {
    pub sa_body: Vec<u8>,
    pub publics: (Vec<u8>, Vec<u8>),
    pub attempts: Vec<Attempt>,
    pub candidates: Vec<Arc<Connection>>,
    /// Whether message 5 came and could be read with none of the keys.
    pub unreadable: bool,
}

/// Keys that message 5 may be under.
pub(super) struct Attempt {
    pub keys: Keys,
    /// The first connection that they are meant for.
    pub connection: Arc<Connection>,
    /// The name of the pre-shared key in them; none where the ends sign.
    pub psk: Option<String>,
}

/// Waiting for the other end's HASH.
pub(super) struct Proving {
    pub keys: Keys,
    pub sa_body: Vec<u8>,
    pub publics: (Vec<u8>, Vec<u8>),
    /// IDii_b, once known.
    pub initiator_id: Vec<u8>,
    /// IDir_b, once known.
    pub responder_id: Vec<u8>,
}

pub(super) struct AggressiveSent {
    pub sa_body: Vec<u8>,
    pub key_exchange: KeyExchange,
    pub nonce: Vec<u8>,
    pub id_body: Vec<u8>,
}

/// What was said without protection, by the peer or by anybody.
#[derive(Clone, Copy)]
pub(super) enum Hint {
    /// An error.
    Notify(V1NotifyType),
    /// That the SA, or one of its Child SAs, is deleted.
    Delete,
    /// Something encrypted that we cannot open.
    Unreadable,
}

/// A message that may have to be sent again.
#[derive(Clone)]
pub(super) struct Sent {
    pub message: Vec<u8>,
    /// What we wait for; `None` if nothing is expected and only a repeated request has it sent again.
    pub waiting_for: Option<RuleId>,
    pub resent: u32,
    pub since: Instant,
    /// The datagram that this one answers.
    pub answers: Option<[u8; 20]>,
    /// How often a repeated request was answered again.
    pub repeated: u32,
}

/// How often one datagram is answered again. Both ends of IKEv1 may repeat themselves: without a limit, and without
/// the rule that an end with a timer running stays silent, one duplicated datagram would echo for ever.
const MAX_REPEATS: u32 = 5;

/// How many message IDs are remembered.
const MAX_USED: usize = 256;

/// What tells one datagram from another: all of it, so that a forged one that ends alike is no repetition.
pub(super) fn fingerprint(datagram: &[u8]) -> [u8; 20] {
    crypto::sha1(&[datagram])
}

/// One ISAKMP SA.
pub(crate) struct IsakmpSa {
    pub id: SaId,
    pub role: Role,
    pub mode: ExchangeMode,
    /// Cookies; RFC 2408's name for SPIs.
    pub spis: SpiPair,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub connection: Option<Arc<Connection>>,
    pub(super) state: State,
    pub suite: Option<ChosenSuite>,
    pub nat: NatState,
    /// The NAT traversal that both ends do, by RFC 3947 if possible.
    pub(super) nat_traversal: Option<wire::v1::NatTraversal>,
    /// Whether the peer takes messages in fragments.
    pub(super) fragments: bool,
    pub(super) reassemblies: fragments::Reassemblies,
    /// Whether the peer answers R-U-THERE (RFC 3706).
    pub(super) dead_peer_detection: bool,
    pub local_id: Option<Identity>,
    pub remote_id: Option<Identity>,
    /// When the first of the certificates runs out by which the peer proved itself, since the Unix epoch.
    pub remote_certificate_until: Option<std::time::Duration>,
    pub created: Instant,
    pub established: Option<Instant>,
    /// When phase 1 was done; XAuth may follow.
    pub phase1: Option<Instant>,
    pub last_heard: Instant,
    pub replace_at: Option<Instant>,
    /// Responder: how long the initiator offered to keep this SA (RFC 2409 appendix A, Life Duration).
    pub(super) offered_lifetime: crate::child::Lifetime,
    /// How many octets this SA may protect, both ways, where the peer sets a limit.
    pub(super) volume: Option<u64>,
    /// Our last message of phase 1.
    pub(super) sent: Option<Sent>,
    pub(super) quick_modes: BTreeMap<u32, QuickMode>,
    /// Quick modes of ours that are to follow the one under way.
    pub(super) queued: std::collections::VecDeque<Queued>,
    /// When the next of them may begin, if the last one ended with a message of ours.
    pub(super) next_quick_mode: Option<Instant>,
    /// Message IDs of exchanges that are over: each is used once (RFC 2408 section 3.1).
    pub(super) used: std::collections::VecDeque<u32>,
    /// Sequence number of the R-U-THERE under way, and how many went unanswered.
    pub(super) probe: (u32, u32),
    pub children: Vec<ChildSa>,
    /// Which configured children to negotiate once phase 1 is up.
    pub(super) wanted: Vec<usize>,
    /// Child SAs that we made, whose successors we make too.
    pub(super) initiated: BTreeSet<SaId>,
    /// Child SAs with a successor, which they leave the place to shortly.
    pub(super) superseded: BTreeMap<SaId, SaId>,
    /// Whether the peer is known to have our last message of phase 1.
    pub(super) confirmed: bool,
    /// The last sequence number of the peer's R-U-THERE.
    pub(super) probed: Option<u32>,
    pub retransmissions: Retransmissions,
    pub datagrams_in: u32,
    pub datagrams_out: u32,
    pub attempt: u32,
    pub replaces: Option<SaId>,
    pub(super) initial_contact: bool,
    pub(super) configuration: super::transaction::Configuration,
    /// How the ends prove themselves, as the proposals say.
    pub(super) method: OakleyAuthMethod,
    /// A message that cannot be judged before a revocation list is fetched.
    pub parked: Option<(Header, Vec<u8>, Path)>,
    /// What the peer sent after it, believing us further.
    pub behind: Vec<(Header, Vec<u8>, Path)>,
    /// Its time is over and a new one is being made; until that is there it is used as before.
    pub dying: bool,
    /// Its successor, which is up and has its Child SAs: nothing is begun under this one any more, and it goes shortly.
    pub replaced_by: Option<SaId>,
    /// Whether both ends behave as Cisco's clients and gateways do.
    pub(super) unity: bool,
    /// What the peer wants left out of its networks: it passes in the clear.
    pub bypasses: Vec<ShuntInstall>,
    /// Authorities that the peer asked for, by their names in DER.
    pub(super) requested: Vec<Vec<u8>>,
    /// What the peer reported without protection, and when: never acted upon, but told when the negotiation or the SA fails.
    pub(super) hint: Option<(Hint, Instant)>,
    /// Responder: why the initiator does not accept message 6, authentic, before anything was negotiated.
    pub(super) rejected: Option<V1NotifyType>,
    /// What came since our last message of phase 1 first went out.
    pub(super) heard: Heard,
    /// What was wrong with a message of phase 1 that anybody can have sent: told when the peer's own does not come.
    pub(super) doubt: Option<Box<FailureKind>>,
    /// Whether a message of phase 1 was sent as often as it may be without the peer's answer. Why that was may be known by
    /// hearsay only ([`Self::hint`], [`Self::doubt`]), so that it decides nothing.
    pub gave_up: bool,
}

impl IsakmpSa {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        cx: &mut Context,
        role: Role,
        mode: ExchangeMode,
        spis: SpiPair,
        local: SocketAddr,
        remote: SocketAddr,
        state: State,
        now: Instant,
    ) -> Self {
        Self {
            id: cx.ike_id(),
            role,
            mode,
            spis,
            local,
            remote,
            connection: None,
            state,
            suite: None,
            nat: NatState::default(),
            nat_traversal: None,
            fragments: false,
            reassemblies: fragments::Reassemblies::default(),
            dead_peer_detection: false,
            local_id: None,
            remote_id: None,
            remote_certificate_until: None,
            created: now,
            established: None,
            phase1: None,
            last_heard: now,
            replace_at: None,
            offered_lifetime: crate::child::Lifetime::default(),
            volume: None,
            sent: None,
            quick_modes: BTreeMap::new(),
            queued: std::collections::VecDeque::new(),
            next_quick_mode: None,
            used: std::collections::VecDeque::new(),
            probe: (0, 0),
            children: Vec::new(),
            wanted: Vec::new(),
            initiated: BTreeSet::new(),
            superseded: BTreeMap::new(),
            confirmed: false,
            probed: None,
            retransmissions: Retransmissions::default(),
            datagrams_in: 0,
            datagrams_out: 0,
            attempt: 1,
            replaces: None,
            initial_contact: false,
            configuration: super::transaction::Configuration::default(),
            method: OakleyAuthMethod::PRE_SHARED_KEY,
            parked: None,
            behind: Vec::new(),
            dying: false,
            replaced_by: None,
            unity: false,
            bypasses: Vec::new(),
            requested: Vec::new(),
            hint: None,
            rejected: None,
            heard: Heard::default(),
            doubt: None,
            gave_up: false,
        }
    }

    /// By whom one SA is told from another's: both ends of phase 1, and where XAuth proved a user, that one, for many may
    /// share the identity of their group.
    pub fn identities(&self) -> Option<(Identity, Identity)> {
        let remote = self.configuration.proven_user().or_else(|| self.remote_id.clone())?;
        Some((self.local_id.clone()?, remote))
    }

    pub fn own_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.spis.initiator,
            Role::Responder => self.spis.responder,
        }
    }

    pub fn name(&self) -> &str {
        self.connection.as_ref().map_or("", |c| c.name.as_str())
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_)) && !self.configuration.authenticates()
    }

    pub fn is_half_open(&self) -> bool {
        !self.is_closed() && !self.is_established() && !self.is_orphaned()
    }

    /// A proof was refused; true if that was only for want of a revocation list, which is being fetched: then the message
    /// is kept until the list is there, as if it came then.
    pub(super) fn waits(
        &mut self,
        cx: &mut Context,
        now: Instant,
        (refused, proof): (&FailureKind, &Proof),
        (header, message, path): (&Header, &[u8], Path),
    ) -> bool {
        let uris = cx.credentials.lists_wanted(now, refused, proof.certificates());
        let waits = cx.await_lists(now, &uris);
        if waits {
            self.log(cx, "IKE", 1, format!("waiting for a revocation list: {}", uris.join(" ")));
            self.parked = Some((*header, message.to_vec(), path));
        }
        waits
    }

    /// Whether only its Child SAs are left.
    pub fn is_orphaned(&self) -> bool {
        matches!(self.state, State::Orphaned)
    }

    /// The peer deleted the ISAKMP SA alone. What is being negotiated under it is over.
    pub fn orphan(&mut self, cx: &mut Context) {
        let keep: Vec<(Reason, Instant)> = self
            .children
            .iter()
            .filter_map(|c| {
                Some(Reason::ChildLifetime(c.id)).zip(cx.timers.deadline(self.id, Reason::ChildLifetime(c.id)))
            })
            .collect();
        cx.timers.cancel_all(self.id);
        keep.into_iter().for_each(|(reason, at)| cx.timers.set(self.id, reason, at));
        self.quick_modes.clear();
        self.queued.clear();
        self.children.retain(ChildSa::is_installed);
        self.replace_at = None;
        let count = self.children.len();
        let what = if count == 1 { "its Child SA stays" } else { "its Child SAs stay" };
        self.log(cx, "IKE", 0, format!("the ISAKMP SA alone is gone: {what} until a lifetime ends"));
        self.enter(cx, State::Orphaned);
    }

    /// Its successor is up. Until this time it only answers the peer; not beyond what was agreed to be its lifetime.
    pub fn leave_by(&mut self, cx: &mut Context, by: SaId, at: Instant) {
        (self.replaced_by, self.dying, self.replace_at) = (Some(by), true, None);
        let end = self.established.zip(super::phase1::agreed_lifetime(self)).map(|(up, lifetime)| up + lifetime);
        cx.timers.set(self.id, Reason::IkeLifetime, end.map_or(at, |end| end.min(at)));
        // The successor asks whether the peer lives, and keeps the NAT's mapping.
        cx.timers.cancel(self.id, Reason::Liveness);
        cx.timers.cancel(self.id, Reason::Keepalive);
    }

    /// Takes the Child SAs of another ISAKMP SA with the same peer over, with their timers and the virtual addresses that
    /// they use.
    pub fn take_over(&mut self, cx: &mut Context, now: Instant, old: &mut Self) {
        let rekeyed: Vec<SaId> = old.children.iter().map(|c| c.id).filter(|c| old.successor_due(*c)).collect();
        let unfinished = super::quick_mode::abandon(old, cx);
        let config = self.connection.clone();
        let index = |name: &String| config.as_ref()?.children.iter().position(|c| c.name == *name);
        self.wanted.extend(unfinished.iter().filter_map(index));
        let moved = (self.local, self.remote, self.nat.any()) != (old.local, old.remote, old.nat.any());
        let (stay, go): (Vec<ChildSa>, Vec<ChildSa>) =
            std::mem::take(&mut old.children).into_iter().partition(|c| !c.is_installed());
        old.children = stay;
        for child in &go {
            let reason = Reason::ChildLifetime(child.id);
            if let Some(at) = cx.timers.deadline(old.id, reason) {
                cx.timers.cancel(old.id, reason);
                cx.timers.set(self.id, reason, at);
            }
            if rekeyed.contains(&child.id) {
                // Its successor was being made under the old one.
                cx.timers.set(self.id, reason, now);
            }
            if old.initiated.remove(&child.id) {
                self.initiated.insert(child.id);
            }
            self.superseded.extend(old.superseded.remove(&child.id).map(|by| (child.id, by)));
            if moved {
                child.update(cx, self.local, self.remote, self.nat.any());
            }
            self.log(
                cx,
                "IKE",
                1,
                format!("takes over CHILD_SA {} of IKE_SA {}[{}]", child.name, old.name(), old.id.0),
            );
        }
        self.children.extend(go);
        self.configuration.take_addresses(&mut old.configuration);
    }

    /// Whether it began at the peer and phase 1 is not done.
    pub fn is_half_open_responder(&self) -> bool {
        self.is_half_open() && self.role == Role::Responder
    }

    /// Whether a successor of this Child SA is up or being negotiated.
    pub(super) fn rekeying(&self, child: SaId) -> bool {
        let queued = || self.queued.iter().any(|q| q.rekeys == Some(child));
        self.superseded.contains_key(&child) || self.quick_modes.values().any(|q| q.rekeys() == Some(child)) || queued()
    }

    /// Whether a successor of this Child SA is being negotiated.
    fn successor_due(&self, child: SaId) -> bool {
        self.rekeying(child) && !self.superseded.contains_key(&child)
    }

    /// A message ID that must not be used again.
    pub(super) fn note_used(&mut self, id: u32) {
        if self.used.len() >= MAX_USED {
            self.used.pop_front();
        }
        self.used.push_back(id);
    }

    pub(super) fn keys(&mut self) -> Option<&mut Keys> {
        match &mut self.state {
            State::Established(keys) => Some(keys),
            _ => None,
        }
    }

    pub fn ike_state(&self) -> IkeState {
        match self.state {
            State::Established(_) if self.dying => IkeState::Rekeying,
            State::Established(_) if !self.configuration.authenticates() => IkeState::Established,
            State::Orphaned => IkeState::Deleting,
            State::Closed => IkeState::Destroying,
            _ => IkeState::Connecting,
        }
    }

    /// The grammar row whose message we wait for.
    pub fn waiting_for(&self) -> Option<RuleId> {
        let signed = super::authentication::signs(self.method, self.role.other());
        Some(match &self.state {
            State::SaSent { .. } => RuleId::MainMode2,
            State::SaReplied { .. } => RuleId::MainMode3,
            State::KeSent(_) => RuleId::MainMode4,
            State::KeReplied(_) if signed => RuleId::MainMode5Signature,
            State::KeReplied(_) => RuleId::MainMode5,
            State::IdSent(_) if signed => RuleId::MainMode6Signature,
            State::IdSent(_) => RuleId::MainMode6,
            State::AggressiveSent(_) if signed => RuleId::AggressiveMode2Signature,
            State::AggressiveSent(_) => RuleId::AggressiveMode2,
            State::AggressiveReplied(_) if signed => RuleId::AggressiveMode3Signature,
            State::AggressiveReplied(_) => RuleId::AggressiveMode3,
            State::Established(_) if self.configuration.waiting_for().is_some() => {
                return self.configuration.waiting_for();
            }
            State::Established(_) => return self.quick_modes.values().find_map(QuickMode::waiting_for),
            State::Orphaned | State::Closed => return None,
        })
    }

    pub(super) fn log(&self, cx: &mut Context, group: &'static str, level: u8, text: String) {
        cx.step(self.id, self.name(), group, level, text);
    }

    pub(super) fn enter(&mut self, cx: &mut Context, state: State) {
        let from = self.ike_state();
        self.state = state;
        let to = self.ike_state();
        if from != to {
            cx.event(Event::IkeState { sa: self.id, name: self.name().to_string(), from, to });
        }
    }

    pub fn snapshot(&self, cx: &Context, now: Instant) -> SaSnapshot {
        let connection = self.connection.as_deref();
        let left = |role| self.replace_at.filter(|_| self.role == role).map(|at| at.since(now));
        SaSnapshot {
            id: self.id,
            name: self.name().to_string(),
            version: 1,
            mode: Some(self.mode),
            state: self.ike_state(),
            waiting_for: self.waiting_for(),
            role: self.role,
            spis: self.spis,
            local: self.local,
            remote: self.remote,
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            remote_certificate_until: self.remote_certificate_until,
            remote_xauth_id: self.configuration.proven_user(),
            local_vips: self.configuration.own().to_vec(),
            remote_vips: self.configuration.assigned().to_vec(),
            banner: self.configuration.banner.clone(),
            suite: self.suite,
            nat: self.nat,
            authentication: super::authentication::name(self.method),
            age: now.since(self.created),
            established: self.established.map(|at| now.since(at)),
            phase1: self.phase1.map(|at| now.since(at)),
            rekey_in: None,
            // Only the initiator authenticates anew; the responder sees it end.
            reauth_in: left(Role::Initiator),
            expires_in: left(Role::Responder),
            lifetime: super::phase1::agreed_lifetime(self).unwrap_or_default(),
            // A question whether the peer lives is a message of its own each time (RFC 3706 section 5.2).
            retransmissions: Retransmissions {
                sent: self.retransmissions.sent.max(self.probe.1.saturating_sub(1)),
                ..self.retransmissions
            },
            tasks_queued: Vec::new(),
            tasks_active: if self.quick_modes.values().any(|q| q.waiting_for().is_some()) {
                vec!["QUICK_MODE"]
            } else {
                Vec::new()
            },
            worker: cx.settings.worker,
            children: self.children.iter().map(|c| self.listed(c, cx, now)).collect(),
            suspicion: self.suspicion(),
            send_error: None, // whoever sends adds it
            heard: self.heard,
            configured_children: connection
                .map_or_else(Vec::new, |c| c.children.iter().map(|c| c.name.clone()).collect()),
        }
    }

    /// What speaks against a phase 1 under way, or an SA whose peer has been silent since, though it may come from anybody.
    fn suspicion(&self) -> Option<String> {
        let hint = |(hint, _): (Hint, Instant)| match hint {
            Hint::Notify(kind) => kind.to_string(),
            Hint::Delete => model::DELETED.to_string(),
            Hint::Unreadable => model::UNREADABLE.to_string(),
        };
        if !self.is_half_open() {
            // A sign of life that is proven outweighs it.
            return self.hint.filter(|(_, at)| *at >= self.last_heard).map(hint);
        }
        let unreadable = matches!(&self.state, State::KeReplied(s) if s.unreadable);
        let doubt = self.doubt.as_ref().map(|kind| kind.code().to_string());
        doubt.or_else(|| unreadable.then(|| model::UNREADABLE.to_string())).or_else(|| self.hint.map(hint))
    }

    /// A Child SA as it is listed. IKEv1 has no word for replacing one: a newer one of the same selectors does it.
    fn listed(&self, child: &ChildSa, cx: &Context, now: Instant) -> model::ChildSnapshot {
        let mut listed = child.snapshot(self.id, self.nat.any(), cx, now);
        let newer = |other: &ChildSa| {
            let same =
                (&other.name, &other.local_ts, &other.remote_ts) == (&child.name, &child.local_ts, &child.remote_ts);
            other.is_installed() && other.id > child.id && same
        };
        if child.is_installed() && (self.superseded.contains_key(&child.id) || self.children.iter().any(newer)) {
            (listed.state, listed.rekey_in) = (ChildState::Rekeyed, None);
        } else if child.is_installed() && self.rekeying(child.id) {
            listed.state = ChildState::Rekeying;
        }
        listed
    }

    pub(super) fn snapshot_of_child(&self, cx: &Context, now: Instant, child: SaId) -> SaSnapshot {
        let mut snapshot = self.snapshot(cx, now);
        snapshot.children.retain(|c| c.id == child);
        snapshot
    }

    pub fn tombstone(&self, cx: &Context, now: Instant, kind: FailureKind, child: Option<&str>) -> Tombstone {
        let config = crate::place::of(&kind, self.connection.as_deref(), child, &cx.secrets);
        Tombstone {
            sa: self.snapshot(cx, now),
            failure: Failure { kind, config },
            child: child.map(str::to_string),
            rekeying: None,
            at: now,
            ended: std::time::Duration::ZERO,
            again_in: None,
            datagrams_in: self.datagrams_in,
            datagrams_out: self.datagrams_out,
        }
    }

    pub fn drop_datagram(&self, cx: &mut Context, reason: DropReason, from: SocketAddr) {
        cx.drops[reason as usize] += 1;
        cx.count(crate::context::Counter::Invalid);
        cx.event(Event::Dropped { reason, from, spis: None, sa: Some(self.id), waiting_for: self.waiting_for() });
    }

    /// Hands a message to the socket, in fragments if need be.
    pub(super) fn transmit(&self, cx: &mut Context, message: Vec<u8>) {
        for part in fragments::split(self, message) {
            cx.transmit(self.local, self.remote, part);
        }
    }

    /// Sends a message of phase 1. With something to wait for it is repeated until that comes.
    pub(super) fn send(
        &mut self,
        cx: &mut Context,
        now: Instant,
        message: Vec<u8>,
        waiting_for: Option<RuleId>,
        answers: &[u8],
    ) {
        self.datagrams_out += 1;
        self.doubt = None; // it goes on
        self.heard = Heard::default();
        self.transmit(cx, message.clone());
        cx.timers.cancel(self.id, Reason::Retransmit);
        // The responder of phase 1 leaves repetition to the initiator: an unproven address gets no more than it sent.
        if waiting_for.is_some() && self.role == Role::Initiator {
            arm(cx, self.id, Reason::Retransmit, now, 0);
        }
        let answers = (!answers.is_empty()).then(|| fingerprint(answers));
        self.sent = Some(Sent { message, waiting_for, resent: 0, since: now, answers, repeated: 0 });
    }

    /// Whether the datagram was answered before, by the last message of phase 1: then that goes out again.
    pub fn repeat(&mut self, cx: &mut Context, datagram: &[u8], from: SocketAddr) -> bool {
        let timer = cx.timers.deadline(self.id, Reason::Retransmit).is_some();
        let Some(sent) = self.sent.as_mut().filter(|s| s.answers == Some(fingerprint(datagram))) else { return false };
        self.heard.repeated = self.heard.repeated.saturating_add(1);
        if timer || sent.repeated >= MAX_REPEATS {
            self.drop_datagram(cx, DropReason::RepeatLimit, from);
            return true;
        }
        sent.repeated += 1;
        let message = sent.message.clone();
        self.retransmissions.answered += 1;
        self.datagrams_out += 1;
        self.log(cx, "IKE", 1, "repeated message of phase 1, answering again".to_string());
        self.transmit(cx, message);
        true
    }

    /// An answer of phase 1 did not come in time.
    pub fn retransmit(&mut self, cx: &mut Context, now: Instant) -> Option<FailureKind> {
        let sent = self.sent.as_mut()?;
        let waiting_for = sent.waiting_for?;
        sent.resent += 1;
        let (resent, since, message) = (sent.resent, sent.since, sent.message.clone());
        if resent > cx.settings.backoff.tries {
            self.gave_up = true;
            return Some(self.silence(waiting_for, resent, now.since(since)));
        }
        self.retransmissions.sent = resent;
        self.retransmissions.total += 1;
        self.datagrams_out += 1;
        cx.event(Event::Retransmitted { sa: self.id, name: self.name().to_string(), waiting_for, attempt: resent });
        self.transmit(cx, message);
        arm(cx, self.id, Reason::Retransmit, now, resent);
        None
    }

    /// A message of phase 1 that is not protected holds what no peer of ours sends. It may be forged, so that the
    /// negotiation goes on; if nothing better comes, this is why it failed.
    pub(super) fn doubt(&mut self, cx: &mut Context, kind: FailureKind, from: SocketAddr) -> Option<FailureKind> {
        self.drop_datagram(cx, DropReason::Unacceptable, from);
        if self.doubt.is_none() {
            self.log(cx, "IKE", 1, format!("{kind}: not acted upon, since anybody can have sent it"));
            self.doubt = Some(Box::new(kind));
        }
        None
    }

    /// What a silence in phase 1 means, with what the peer said unprotected.
    fn silence(&self, waiting_for: RuleId, sent: u32, over: std::time::Duration) -> FailureKind {
        if let Some(doubt) = &self.doubt {
            return FailureKind::clone(doubt);
        }
        let ours = || self.connection.iter().flat_map(|c| c.proposals.iter().map(ToString::to_string)).collect();
        let local = self.local_id.clone().unwrap_or(Identity::ANY);
        let refused = |remote| FailureKind::AuthenticationRefused { local: local.clone(), remote };
        let expected = self.connection.as_ref().map(|c| c.remote.id.clone()).filter(|id| !id.is_wildcard());
        match (waiting_for, self.hint.map(|(hint, _)| hint)) {
            (_, Some(Hint::Notify(V1NotifyType::NO_PROPOSAL_CHOSEN))) => {
                let (phase, found_by) = (model::Phase::Ike, model::Side::Peer);
                FailureKind::NoProposalChosen { phase, found_by, mismatch: None, ours: ours() }
            }
            (RuleId::MainMode6 | RuleId::AggressiveMode2, Some(Hint::Notify(_))) => refused(expected),
            // Who has no secret for us says so when it needs one.
            (RuleId::MainMode4, Some(Hint::Notify(V1NotifyType::AUTHENTICATION_FAILED))) => refused(expected),
            // Of a pre-shared key the keys are made (RFC 2409 section 5): with another one nothing can be read.
            (RuleId::MainMode6, Some(Hint::Unreadable))
                if matches!(super::authentication::name(self.method), "pre-shared-key") =>
            {
                let remote = expected.unwrap_or_else(|| Identity::from(self.remote.ip()));
                FailureKind::PskMismatch { local, remote, tried: 1 }
            }
            _ => FailureKind::NoAnswer { waiting_for, to: self.remote, sent, over, answered_before: false },
        }
    }

    /// The initiator has not gone on.
    pub fn half_open_failure(&self, now: Instant) -> FailureKind {
        if let Some(doubt) = &self.doubt {
            return FailureKind::clone(doubt);
        }
        let local = self.local_id.clone().unwrap_or_else(|| Identity::from(self.local.ip()));
        if let State::KeReplied(s) = &self.state
            && s.unreadable
        {
            let remote = Identity::from(self.remote.ip());
            return FailureKind::PskMismatch { local, remote, tried: s.attempts.len() };
        }
        // What the initiator said without protection is likely the truth when it is silent from then on.
        if let (
            Some((Hint::Notify(V1NotifyType::AUTHENTICATION_FAILED) | Hint::Unreadable, _)),
            State::AggressiveReplied(_),
        ) = (self.hint, &self.state)
        {
            return FailureKind::AuthenticationRefused { local, remote: self.remote_id.clone() };
        }
        let waiting_for = self.waiting_for().unwrap_or(RuleId::MainMode3);
        FailureKind::HalfOpen { waiting_for, after: now.since(self.created), repeated: self.retransmissions.answered }
    }

    pub fn close(&mut self, cx: &mut Context, now: Instant) {
        cx.timers.cancel_all(self.id);
        self.release_addresses(cx, now);
        self.quick_modes.clear();
        self.queued.clear();
        self.children.clear();
        (self.parked, self.behind) = (None, Vec::new());
        for shunt in std::mem::take(&mut self.bypasses) {
            cx.plane(Command::RemoveShunt { shunt: shunt.shunt });
        }
        self.state = State::Closed;
        cx.timers.set(self.id, Reason::HalfOpen, now + cx.settings.half_open_timeout);
    }
}

/// Sets the timer for the next repetition; false when there is none left.
pub(super) fn arm(cx: &mut Context, sa: SaId, reason: Reason, now: Instant, resent: u32) -> bool {
    let random = u32::from_be_bytes(cx.random());
    match cx.settings.backoff.delay(resent, random) {
        Some(delay) => {
            cx.timers.set(sa, reason, now + delay);
            true
        }
        None => false,
    }
}
