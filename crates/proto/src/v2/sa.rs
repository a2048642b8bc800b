//! What an IKE SA is: plain data, and how it looks to an operator.

use super::auth_puzzle::{Puzzled, Unkeyed};
use super::certificate_request::Wanted;
use super::configuration::VirtualAddresses;
use super::create_child_sa::Creating;
use super::exchange::{Parked, Task};
use super::fragments::Reassembly;
use super::keys::{AuthKeys, Keys};
use super::mobility::Mobility;
use super::one_of_two::OneOfTwo;
use super::outstanding::Outstanding;
use super::redirect::Redirection;
use super::window::Replies;
use crate::child::{self, Agreed, ChildSa, Left, Parent};
use crate::context::Context;
use crate::timers::Reason;
use config::{AddressPattern, Connection};
use crypto::KeyExchange;
use crypto::v2::ChildKeys;
use model::{
    ChosenSuite, Event, Failure, FailureKind, Identity, IkeState, Instant, NatState, Rekeying, Retransmissions, Role,
    SaId, SaSnapshot, Tombstone,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::grammar::RuleId;
use wire::{HashAlgorithm, IkeSpi, KeyExchangeId, Secret, SpiPair};

/// How far the SA is, with exactly what is known there.
pub(crate) enum State {
    /// Initiator: IKE_SA_INIT sent.
    InitSent(Box<InitSent>),
    /// Responder: IKE_SA_INIT answered, waiting for IKE_AUTH with the solution of a puzzle.
    Puzzled(Box<Puzzled>),
    /// Responder: IKE_SA_INIT answered, waiting for IKE_AUTH.
    HalfOpen(Box<HalfOpen>),
    /// Initiator: IKE_AUTH sent.
    AuthSent(Box<AuthSent>),
    /// Authenticated.
    Established(Keys),
    /// Our Delete is under way.
    Deleting(Keys),
    /// Over; only the last answer is repeated for a while, should the peer not have received it.
    Closed,
}

/// What the initiator remembers of its IKE_SA_INIT request.
pub(crate) struct InitSent {
    pub nonce: Vec<u8>,
    pub key_exchange: KeyExchange,
    pub cookie: Vec<u8>,
    /// The solution of the puzzle that came with the cookie.
    pub solution: Vec<u8>,
    /// Somebody is at the puzzle.
    pub solving: bool,
    /// How often the peer made us begin again (COOKIE, INVALID_KE_PAYLOAD).
    pub retries: u32,
    pub pretend: Option<[u8; 20]>,
}

/// What the responder needs to check IKE_AUTH.
pub(crate) struct HalfOpen {
    pub keys: Keys,
    pub auth: AuthKeys,
    /// RealMessage1: the initiator's request, which its AUTH covers.
    pub request: Vec<u8>,
    /// RealMessage2: our answer, which our AUTH covers.
    pub response: Vec<u8>,
    pub nonce_i: Vec<u8>,
    pub nonce_r: Vec<u8>,
    /// Hashes with which the peer checks signatures (RFC 7427 section 4).
    pub hashes: Vec<HashAlgorithm>,
    /// The connections that these addresses and this suite allow, best first.
    pub candidates: Vec<Arc<Connection>>,
}

impl HalfOpen {
    pub fn new(keys: Keys, auth: AuthKeys, rest: Unkeyed) -> Self {
        let Unkeyed { request, response, nonce_i, nonce_r, hashes, candidates } = rest;
        Self { keys, auth, request, response, nonce_i, nonce_r, hashes, candidates }
    }
}

/// What the initiator needs to check the answer to IKE_AUTH.
pub(crate) struct AuthSent {
    pub keys: Keys,
    pub auth: AuthKeys,
    /// RealMessage2.
    pub response: Vec<u8>,
    pub nonce_i: Vec<u8>,
    pub nonce_r: Vec<u8>,
    /// IKE_AUTH asks for no Child SA (RFC 6023).
    pub childless: bool,
    /// IKE_AUTH waits for the solution of a puzzle.
    pub(super) postponed: Option<Postponed>,
}

/// What IKE_AUTH is made of once its puzzle is solved (RFC 8019 section 7.2).
pub(super) struct Postponed {
    pub request: Vec<u8>,
    pub wanted: Wanted,
    /// What the puzzle is about: Nr and SPIr.
    pub content: Vec<u8>,
}

/// One IKE SA.
pub(crate) struct IkeSa {
    pub id: SaId,
    pub role: Role,
    pub spis: SpiPair,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub connection: Option<Arc<Connection>>,
    pub state: State,
    pub suite: Option<ChosenSuite>,
    pub nat: NatState,
    pub local_id: Option<Identity>,
    pub remote_id: Option<Identity>,
    /// When the first of the certificates runs out by which the peer proved itself, since the Unix epoch.
    pub remote_certificate_until: Option<Duration>,
    pub created: Instant,
    pub established: Option<Instant>,
    /// When something authentic was heard last.
    pub last_heard: Instant,
    /// When we rekey it.
    pub rekey_at: Option<Instant>,
    /// When we begin a new one beside it, which authenticates anew.
    pub reauth_at: Option<Instant>,
    /// When the peer must have authenticated anew; rekeying does not put it off.
    pub reauth_end: Option<Instant>,
    /// When the peer is told that it must (RFC 4478), if not in IKE_AUTH.
    pub tell_at: Option<Instant>,
    /// When it ends, unless it is replaced before.
    pub expires: Option<Instant>,
    /// The IKE SA that took its place, to which the Child SAs belong now.
    pub replaced_by: Option<SaId>,
    /// The IKE SA in whose place the peer made this one, as long as the peer has not deleted that.
    pub predecessor: Option<SaId>,
    /// The peer made it while we rekey too: it is not clear yet whether it inherits the Child SAs.
    pub undecided: bool,
    /// The message ID of the peer's last request that one of ours for an SA crossed.
    pub(super) crossed: Option<u32>,
    /// The requests under way.
    pub pending: Outstanding,
    /// A message that cannot be judged before a revocation list is fetched.
    pub(super) parked: Option<Parked>,
    /// Requests waiting for their turn.
    pub queue: VecDeque<Task>,
    /// Message ID of our next request.
    pub next_request: u32,
    pub replies: Replies,
    /// Whether the peer takes fragments (RFC 7383).
    pub fragments: bool,
    /// Long messages did not arrive: they go in the smallest fragments.
    pub(super) narrow_path: bool,
    /// The peer's answers of which not all fragments are here, by message ID: of requests under way only.
    pub(super) partial_responses: BTreeMap<u32, Reassembly>,
    /// Child SAs for which the peer wants another key exchange, and how often it has (INVALID_KE_PAYLOAD).
    pub(super) other_groups: BTreeMap<SaId, (KeyExchangeId, u32)>,
    pub children: Vec<ChildSa>,
    pub retransmissions: Retransmissions,
    /// Octets of IKE_SA_INIT that came, and that went: the peer has not shown yet that it is where they came from.
    pub unproven: (usize, usize),
    pub datagrams_in: u32,
    pub datagrams_out: u32,
    /// Which attempt of the same negotiation this is, from 1.
    pub attempt: u32,
    /// The SA that this one is to replace.
    pub replaces: Option<SaId>,
    /// What the SA that this one is to replace had, if that ended before this one was up.
    pub left: Left,
    /// Whether IKE_AUTH says INITIAL_CONTACT.
    pub initial_contact: bool,
    /// Whether the responder makes IKE SAs without a Child SA (RFC 6023).
    pub peer_does_childless: bool,
    /// Which goes if both ends begin at once.
    pub one_of_two: OneOfTwo,
    /// The peer takes a Child SA away as it deletes it, with what is on its way.
    pub forgets_at_once: bool,
    /// Who sends whom to another gateway.
    pub redirection: Redirection,
    /// MOBIKE.
    pub mobility: Mobility,
    /// The virtual addresses that our IKE_AUTH asks for.
    pub wishes: Vec<IpAddr>,
    /// Virtual addresses of both ends.
    pub virtual_addresses: VirtualAddresses,
    /// How the peer proved itself, in tmsh's words, once it has.
    pub proven_by: Option<&'static str>,
    /// Whether an IKE_AUTH request came that cannot be deciphered.
    pub(super) got_senseless: bool,
    /// The addresses that the peer's certificate is for (RFC 3779); any if it does not say.
    pub certified: Option<Vec<model::TrafficSelector>>,
    /// The message ID of a request of ours whose answer nobody needs.
    pub(super) last_word: Option<u32>,
    /// What is still to be said when it is closed.
    pub(super) farewell: Option<super::farewell::Farewell>,
    /// By this the peer proves that it has lost the IKE SA (RFC 6290).
    pub peer_token: Option<Secret>,
}

impl IkeSa {
    pub fn new(
        id: SaId,
        role: Role,
        spis: SpiPair,
        addresses: (SocketAddr, SocketAddr),
        state: State,
        now: Instant,
    ) -> Self {
        Self {
            id,
            role,
            spis,
            local: addresses.0,
            remote: addresses.1,
            connection: None,
            state,
            suite: None,
            nat: NatState::default(),
            local_id: None,
            remote_id: None,
            remote_certificate_until: None,
            created: now,
            established: None,
            last_heard: now,
            rekey_at: None,
            reauth_at: None,
            reauth_end: None,
            tell_at: None,
            expires: None,
            replaced_by: None,
            predecessor: None,
            undecided: false,
            crossed: None,
            pending: Outstanding::default(),
            parked: None,
            queue: VecDeque::new(),
            next_request: 0,
            replies: Replies::default(),
            fragments: false,
            narrow_path: false,
            partial_responses: BTreeMap::new(),
            other_groups: BTreeMap::new(),
            children: Vec::new(),
            retransmissions: Retransmissions::default(),
            unproven: (0, 0),
            datagrams_in: 0,
            datagrams_out: 0,
            attempt: 1,
            replaces: None,
            left: Left::default(),
            initial_contact: false,
            peer_does_childless: false,
            one_of_two: OneOfTwo::default(),
            forgets_at_once: false,
            redirection: Redirection::default(),
            mobility: Mobility::default(),
            wishes: Vec::new(),
            virtual_addresses: VirtualAddresses::default(),
            proven_by: None,
            got_senseless: false,
            certified: None,
            last_word: None,
            farewell: None,
            peer_token: None,
        }
    }

    /// The SPI that we chose.
    /// Whether a message cannot be judged before a revocation list is fetched.
    pub fn waits_for_list(&self) -> bool {
        self.parked.is_some()
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

    pub fn is_half_open(&self) -> bool {
        self.is_unproven() || matches!(self.state, State::InitSent(_) | State::AuthSent(_))
    }

    /// Whether the peer began it and has not proved itself.
    pub fn is_unproven(&self) -> bool {
        matches!(self.state, State::Puzzled(_) | State::HalfOpen(_))
    }

    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    pub(super) fn asks_or_will_ask(&self, wanted: impl Fn(&Task) -> bool) -> bool {
        self.queue.iter().chain(self.pending.tasks()).any(wanted)
    }

    /// Whether we delete it, now or when its turn comes.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Deleting(..)) || self.asks_or_will_ask(|t| matches!(t, Task::DeleteIke { .. }))
    }

    /// Why we delete it, now or when its turn comes.
    pub fn asks_to_end(&self) -> Option<&FailureKind> {
        self.pending.tasks().chain(&self.queue).find_map(|task| match task {
            Task::DeleteIke { reason } => Some(reason),
            _ => None,
        })
    }

    /// Why we delete the Child SA that receives by this SPI, now or when its turn comes.
    pub fn asks_to_end_child(&self, spi_in: u32) -> Option<&FailureKind> {
        self.pending.tasks().chain(&self.queue).find_map(|task| match task {
            Task::DeleteChild { spi, reason } if *spi == spi_in => Some(reason),
            _ => None,
        })
    }

    /// Whether we delete this Child SA, now or when its turn comes.
    pub fn is_child_leaving(&self, child: &ChildSa) -> bool {
        child.state == model::ChildState::Deleting
            || child.goes_soon
            || self.asks_or_will_ask(|t| matches!(t, Task::DeleteChild { spi, .. } if *spi == child.spi_in))
    }

    pub fn keys(&self) -> Option<&Keys> {
        match &self.state {
            State::HalfOpen(s) => Some(&s.keys),
            State::AuthSent(s) => Some(&s.keys),
            State::Established(keys) | State::Deleting(keys) => Some(keys),
            State::InitSent(_) | State::Puzzled(_) | State::Closed => None,
        }
    }

    pub fn keys_mut(&mut self) -> Option<&mut Keys> {
        match &mut self.state {
            State::HalfOpen(s) => Some(&mut s.keys),
            State::AuthSent(s) => Some(&mut s.keys),
            State::Established(keys) | State::Deleting(keys) => Some(keys),
            State::InitSent(_) | State::Puzzled(_) | State::Closed => None,
        }
    }

    pub fn ike_state(&self) -> IkeState {
        match self.state {
            State::InitSent(_) | State::Puzzled(_) | State::HalfOpen(_) | State::AuthSent(_) => IkeState::Connecting,
            State::Established(_) if self.replaced_by.is_some() => IkeState::Rekeyed,
            State::Established(_) if self.is_rekeying() => IkeState::Rekeying,
            State::Established(_) => IkeState::Established,
            State::Deleting(..) => IkeState::Deleting,
            State::Closed => IkeState::Destroying,
        }
    }

    /// The grammar row whose message we wait for.
    pub fn waiting_for(&self) -> Option<RuleId> {
        match self.state {
            State::Puzzled(_) | State::HalfOpen(_) => Some(RuleId::IkeAuthRequest),
            State::Closed => None,
            _ => self.pending.first().map(|p| p.waiting_for),
        }
    }

    /// Authenticated: what only IKE_AUTH needed is forgotten.
    pub fn become_established(&mut self, cx: &mut Context) {
        self.change(cx, State::Established);
    }

    /// Our Delete is about to leave.
    pub fn become_deleting(&mut self, cx: &mut Context) {
        self.change(cx, State::Deleting);
    }

    fn change(&mut self, cx: &mut Context, to: impl FnOnce(Keys) -> State) {
        let from = self.ike_state();
        if let Some(keys) = self.take_keys() {
            self.state = to(keys);
            cx.event(Event::IkeState { sa: self.id, name: self.name().to_string(), from, to: self.ike_state() });
        }
    }

    /// Keeps the list of established peers up to date, where uniqueness is looked up.
    pub fn note_peer(&self, cx: &mut Context) {
        if let (Some(_), Some(local), Some(remote)) = (self.established, &self.local_id, &self.remote_id) {
            cx.peers.note(self.id, (local.clone(), remote.clone()), self.remote);
        }
    }

    pub fn log(&self, cx: &mut Context, group: &'static str, level: u8, text: String) {
        cx.step(self.id, self.name(), group, level, text);
    }

    pub fn snapshot(&self, cx: &Context, now: Instant) -> SaSnapshot {
        self.snapshot_with(cx, now, |_| true)
    }

    fn snapshot_with(&self, cx: &Context, now: Instant, shown: impl Fn(&ChildSa) -> bool) -> SaSnapshot {
        let connection = self.connection.as_deref();
        let left = |at: Option<Instant>| at.map(|at| at.since(now));
        let lifetime = connection.map_or(Duration::ZERO, |c| match (c.rekey_time, c.reauth_time) {
            (Duration::ZERO, reauth) => reauth,
            (rekey, Duration::ZERO) => rekey,
            (rekey, reauth) => rekey.min(reauth),
        });
        SaSnapshot {
            id: self.id,
            name: self.name().to_string(),
            version: 2,
            mode: None,
            state: self.ike_state(),
            waiting_for: self.waiting_for(),
            role: self.role,
            spis: self.spis,
            local: self.local,
            remote: self.remote,
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            remote_certificate_until: self.remote_certificate_until,
            remote_xauth_id: None,
            local_vips: self.virtual_addresses.own.clone(),
            remote_vips: self.virtual_addresses.assigned.clone(),
            banner: None,
            suite: self.suite,
            nat: self.nat,
            authentication: self
                .proven_by
                .unwrap_or_else(|| crate::credentials::configured_method(self.connection.as_deref())),
            age: now.since(self.created),
            established: self.established.map(|at| now.since(at)),
            phase1: None,
            rekey_in: left(self.rekey_at),
            reauth_in: left(self.reauth_at),
            expires_in: left(self.expires).filter(|_| self.rekey_at.is_none() && self.reauth_at.is_none()),
            lifetime,
            retransmissions: self.retransmissions,
            tasks_queued: self.queue.iter().map(Task::name).collect(),
            tasks_active: self.pending.tasks().map(Task::name).collect(),
            worker: cx.settings.worker,
            children: {
                let shown = self.children.iter().filter(|c| shown(c));
                shown.map(|c| c.snapshot(self.id, self.nat.any(), cx, now)).collect()
            },
            suspicion: None,
            send_error: None, // whoever sends adds it
            heard: model::Heard::default(),
            configured_children: connection
                .map_or_else(Vec::new, |c| c.children.iter().map(|c| c.name.clone()).collect()),
        }
    }

    /// A snapshot that shows one Child SA only, for events about it.
    pub fn snapshot_of_child(&self, cx: &Context, now: Instant, child: SaId) -> SaSnapshot {
        self.snapshot_with(cx, now, |c| c.id == child)
    }

    /// What remains of the SA, or of one negotiation under it.
    pub fn tombstone(&self, cx: &Context, now: Instant, kind: FailureKind, child: Option<&str>) -> Tombstone {
        self.tombstone_with(cx, now, kind, child, self.snapshot(cx, now))
    }

    /// The same, with this of the SA.
    pub fn tombstone_with(
        &self,
        cx: &Context,
        now: Instant,
        kind: FailureKind,
        child: Option<&str>,
        sa: SaSnapshot,
    ) -> Tombstone {
        let config = crate::place::of(&kind, self.connection.as_deref(), child, &cx.secrets);
        Tombstone {
            sa,
            failure: Failure { kind, config },
            child: child.map(str::to_string),
            rekeying: None,
            at: now,
            ended: Duration::ZERO,
            again_in: None,
            datagrams_in: self.datagrams_in,
            datagrams_out: self.datagrams_out,
        }
    }

    /// Tells that the IKE SA, or this Child SA under it, was not rekeyed, and goes on.
    pub fn tell_not_rekeyed(&self, cx: &mut Context, now: Instant, kind: FailureKind, child: Option<SaId>) {
        let child = child.and_then(|id| self.children.iter().find(|c| c.id == id));
        let first = child.is_some_and(|child| child.of_auth);
        let rekeying = Some(if first { Rekeying::First } else { Rekeying::Other });
        let tombstone = self.tombstone(cx, now, kind, child.map(|c| c.name.as_str()));
        cx.event(Event::RekeyFailed(Box::new(Tombstone { rekeying, ..tombstone })));
    }

    /// Gives a negotiated Child SA to the data plane.
    pub fn install(
        &mut self,
        cx: &mut Context,
        now: Instant,
        child: ChildSa,
        agreed: Agreed,
        keys: ChildKeys,
        creator: Role,
    ) {
        let Some(connection) = self.connection.clone() else { return };
        let parent = Parent {
            id: self.id,
            role: Role::Initiator, // RFC 7296 section 2.8: either end may rekey
            connection,
            local: self.local,
            remote: self.remote,
            encapsulated: self.nat.any(),
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            environment: self.virtual_addresses.environment(),
        };
        self.children.extend(child::install(cx, now, &parent, child, agreed, keys, creator));
    }

    /// Sets the timers of an SA that is up.
    pub fn start_lifetime(&mut self, cx: &mut Context, now: Instant) {
        cx.timers.cancel(self.id, Reason::HalfOpen);
        let Some(connection) = self.connection.clone() else { return };
        if !connection.dpd_delay.is_zero() {
            cx.timers.set(self.id, Reason::Liveness, now + connection.dpd_delay);
        }
        if self.nat.local && !cx.settings.keepalive.is_zero() {
            cx.timers.set(self.id, Reason::Keepalive, now + cx.settings.keepalive);
        }
        // Each end shortens by a random part of rand_time, so that both do not replace the SA at once.
        let random = f64::from(u32::from_be_bytes(cx.random())) / f64::from(u32::MAX);
        let earlier = |time: Duration| connection.rand_time.min(time).mul_f64(random);
        let (rekey, reauth, over) = (connection.rekey_time, connection.reauth_time, over_time(&connection));
        if !rekey.is_zero() {
            self.rekey_at = Some(now + (rekey - earlier(rekey)));
        }
        if !reauth.is_zero() && self.reauth_end.is_none() {
            // Who began the SA has the first turn: both ends may have the same time. Should nobody do it, the SA ends here.
            let turn = match self.role {
                Role::Initiator => reauth - earlier(reauth),
                Role::Responder => reauth + over / 2,
            };
            self.reauth_at = self.can_begin_anew().then(|| now + turn);
            self.reauth_end = Some(now + reauth + over);
        }
        self.expires = [(!rekey.is_zero()).then(|| now + rekey + over), self.reauth_end].into_iter().flatten().min();
        self.arm_lifetime(cx);
    }

    /// Whether this end can begin a new IKE SA with the peer. A responder cannot where the peer asked for an address of ours
    /// (RFC 7296 section 2.19), nor where it does not know how to reach the peer, or whom to expect.
    pub fn can_begin_anew(&self) -> bool {
        let reachable = |c: &Connection| c.remote_addrs.contains(&AddressPattern::Host(self.remote.ip()));
        let known = self.connection.as_ref().is_some_and(|c| !c.remote.id.is_wildcard() || reachable(c));
        self.role == Role::Initiator || (known && !self.nat.remote && self.virtual_addresses.assigned.is_empty())
    }

    /// Sets the timer for what comes next in the life of the SA.
    pub fn arm_lifetime(&self, cx: &mut Context) {
        match [self.rekey_at, self.reauth_at, self.tell_at, self.expires].into_iter().flatten().min() {
            Some(at) => cx.timers.set(self.id, Reason::IkeLifetime, at),
            None => cx.timers.cancel(self.id, Reason::IkeLifetime),
        }
    }

    /// Whether a request of ours to rekey the IKE SA is under way.
    pub fn is_rekeying(&self) -> bool {
        self.pending.tasks().any(|task| *task == Task::RekeyIke)
    }

    /// The IKE SA to which the Child SAs go when this one ends.
    pub fn heir(&self) -> Option<SaId> {
        self.replaced_by.or_else(|| self.pending.creating().find_map(Creating::crossing_ike))
    }
}

/// How long after its time an IKE SA may be rekeyed or authenticated anew: `over_time`, and no less than that takes. A tenth of
/// a few seconds is none at all, and the IKE SA would end at the very moment at which it is to be replaced.
pub(super) fn over_time(connection: &Connection) -> Duration {
    connection.over_time.max(child::LEAST_OVER_TIME)
}
