//! All SAs of one worker: what comes in finds its SA, what goes out leaves in order.

mod again;
mod configuration;
mod crash;
mod half_open;
mod initiation;
mod outside;
mod redirect;
mod reload;
mod remembered;
mod renewal;
mod shunts;
mod strays;
mod table;
mod traps;
mod twins;
#[cfg(test)]
mod visits;

pub use redirect::Clients;

use crate::child::ChildSa;
use crate::connections::Connections;
use crate::context::{COUNTERS, Context, Effect};
use crate::ike_sa::IkeSa;
use crate::names::Names;
use crate::settings::Settings;
use crate::timers::Reason;
use crate::v1;
use crate::v2::{self, Gate, Path, Verdict};
use config::{Connection, IkeVersion};
use crypto::Random;
use half_open::FirstKey;
use model::dataplane::{Command, PlaneEvent, ShuntInstall, VirtualAddress};
use model::{ConfigRef, DropReason, Event, FailureKind, Instant, Role, SaId, SaSnapshot, Tombstone};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::{ExchangeType, Flags, Header, IkeSpi, NotifyType, Version, Why};

/// What can happen to an endpoint.
pub enum Input<'a> {
    /// A datagram on port 500, or on 4500 without its non-ESP marker.
    Datagram {
        /// Where it arrived.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// From the ISAKMP header on.
        bytes: &'a [u8],
    },
    /// Time has passed; [`Endpoint::poll_timeout`] says when this is due.
    Timeout,
    /// The data plane reports.
    Plane(PlaneEvent),
}

/// What an endpoint wants, in this order.
#[derive(Debug)]
pub enum Output {
    /// For the data plane.
    Plane(Command),
    /// An IKE message to send, without non-ESP marker.
    Transmit {
        /// From here.
        local: SocketAddr,
        /// To there.
        remote: SocketAddr,
        /// From the ISAKMP header on.
        message: Vec<u8>,
    },
    /// A NAT keepalive to send: one octet 0xFF (RFC 3948 section 2.3).
    Keepalive {
        /// From here.
        local: SocketAddr,
        /// To there.
        remote: SocketAddr,
    },
    /// Give this host a virtual address. Comes before the Child SAs that use it.
    AddAddress(VirtualAddress),
    /// Take a virtual address away again.
    RemoveAddress(VirtualAddress),
    /// Find out what addresses this host name has, and tell [`Endpoint::name_resolved`].
    Resolve(String),
    /// Fetch the revocation list that is here, and tell [`Endpoint::list_fetched`].
    Fetch(String),
    /// Fetch the certificate that is here, and tell [`Endpoint::certificate_fetched`].
    FetchCertificate(String),
    /// Solve this puzzle without keeping anything else waiting, and tell [`Endpoint::puzzle_solved`].
    Solve(v2::PuzzleJob),
    /// Something happened.
    Event(Event),
}

/// Which SAs an operator means; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Name of the connection.
    pub ike: Option<String>,
    /// Number of the IKE SA.
    pub ike_id: Option<SaId>,
    /// Name of the child.
    pub child: Option<String>,
    /// Number of the Child SA.
    pub child_id: Option<SaId>,
    /// Forget the SA without waiting for the peer's answer.
    pub force: bool,
}

/// What [`Endpoint::initiate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A negotiation began; events with this number tell how it goes.
    Negotiation(SaId),
    /// The Child SA is installed already, under this IKE SA.
    AlreadyUp(SaId),
}

/// All SAs of one worker.
pub struct Endpoint {
    cx: Context,
    connections: Connections,
    sas: table::Table,
    /// By the SPI that we chose.
    by_spi: BTreeMap<IkeSpi, SaId>,
    /// Responder's SAs by their first message, which has no SPI of ours.
    first_messages: BTreeMap<FirstKey, SaId>,
    /// The same the other way round.
    first_keys: BTreeMap<SaId, FirstKey>,
    /// Half-open SAs by the initiator's address.
    half_open: BTreeMap<IpAddr, usize>,
    half_open_total: usize,
    half_open_v1: usize,
    gate: Gate,
    tombstones: VecDeque<Tombstone>,
    /// SAs that are over, the oldest first; some may be forgotten already.
    closed: VecDeque<SaId>,
    names: Names,
    traps: traps::Traps,
    shunts: BTreeMap<SaId, ShuntInstall>,
    /// IKE SAs whose gateway sends us to a host name, of which the addresses are asked for.
    redirects: BTreeMap<SaId, String>,
    twins: twins::Twins,
    strays: strays::Strays,
    again: again::Again,
    /// IKE SAs whose connection is another now than they were made with: nothing new is made under them.
    outdated: BTreeSet<SaId>,
}

impl Endpoint {
    /// An endpoint without connections. `rng` must be unpredictable except in tests.
    pub fn new(settings: Settings, rng: Box<dyn Random + Send>) -> Self {
        Self {
            cx: Context::new(settings, rng),
            connections: Connections::default(),
            sas: table::Table::default(),
            by_spi: BTreeMap::new(),
            first_messages: BTreeMap::new(),
            first_keys: BTreeMap::new(),
            half_open: BTreeMap::new(),
            half_open_total: 0,
            half_open_v1: 0,
            gate: Gate::new(),
            tombstones: VecDeque::new(),
            closed: VecDeque::new(),
            names: Names::default(),
            traps: traps::Traps::default(),
            shunts: BTreeMap::new(),
            redirects: BTreeMap::new(),
            twins: twins::Twins::default(),
            strays: strays::Strays::default(),
            again: again::Again::default(),
            outdated: BTreeSet::new(),
        }
    }

    /// Takes an input. Afterwards take all outputs.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { local, remote, bytes } => self.datagram(now, Path { local, remote }, bytes),
            Input::Timeout => {
                while let Some((sa, reason)) = self.cx.timers.pop_due(now) {
                    self.timer(now, sa, reason);
                }
            }
            Input::Plane(event) => self.plane_event(now, event),
        }
        self.carry_out_effects(now);
        #[cfg(debug_assertions)]
        assert!(self.sas.is_consistent() && self.traps.is_consistent() && self.again.is_consistent());
    }

    /// The next thing it wants, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.cx.outputs.pop_front()?;
        match &output {
            Output::Event(Event::Ended(tombstone)) => self.bury((**tombstone).clone()),
            Output::Event(Event::RekeyFailed(tombstone)) if !tombstone.is_temporary() => {
                self.bury((**tombstone).clone())
            }
            _ => {}
        }
        Some(output)
    }

    /// When to call with [`Input::Timeout`], and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.cx.timers.next()
    }

    // ---------------------------------------------------------------------------------------------------- operator

    /// Ends SAs: the Child SAs that a selection names, else IKE SAs. Returns the IKE SAs that are affected; events tell when they
    /// are gone.
    pub fn terminate(&mut self, now: Instant, selection: &Selection) -> Vec<SaId> {
        let by_child = selection.child.is_some() || selection.child_id.is_some();
        if selection.ike_id.is_none() && selection.child_id.is_none() {
            self.give_up(selection.ike.as_deref(), selection.child.as_deref());
        }
        let among = self.among(selection);
        let matching: Vec<SaId> = among
            .iter()
            .filter_map(|id| self.sas.get(id))
            .filter(|sa| !sa.is_closed())
            .filter(|sa| selection.ike.as_deref().is_none_or(|name| name == sa.name()))
            .filter(|sa| selection.ike_id.is_none_or(|id| id == sa.id()))
            .filter(|sa| !by_child || sa.children().iter().any(|c| selects_child(selection, c.id, &c.name)))
            .map(IkeSa::id)
            .collect();
        for id in &matching {
            let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(id)) else { continue };
            let verdict = if sa.is_half_open() {
                Verdict::End(FailureKind::Terminated)
            } else if by_child {
                // What names an IKE SA beside a Child SA says under which, as with `rekey`.
                let all = sa.children().iter();
                let chosen: Vec<SaId> = all.filter(|c| selects_child(selection, c.id, &c.name)).map(|c| c.id).collect();
                for child in chosen {
                    sa.delete_child(cx, now, child, FailureKind::Terminated, selection.force);
                }
                Verdict::Keep
            } else if selection.force {
                sa.delete_by_force(cx, now, FailureKind::Terminated)
            } else {
                sa.delete(cx, now, FailureKind::Terminated)
            };
            self.conclude(now, *id, verdict);
            self.bury_orphan(now, *id);
        }
        self.carry_out_effects(now);
        matching
    }

    // -------------------------------------------------------------------------------------------------- observation

    /// Every SA, live or being negotiated, by number.
    pub fn snapshots(&self, now: Instant) -> Vec<SaSnapshot> {
        self.sas.values().filter(|sa| !sa.is_closed()).map(|sa| sa.snapshot(&self.cx, now)).collect()
    }

    /// How many IKE SAs there are, and how many of them are half-open.
    pub fn sizes(&self) -> (usize, usize) {
        self.sas.sizes()
    }

    /// Counters by swanctl's names.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        COUNTERS.iter().zip(self.cx.counters).map(|((_, name), n)| (*name, n)).collect()
    }

    /// Datagrams that were not acted upon, by reason.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.cx.drops).collect()
    }

    // ------------------------------------------------------------------------------------------------------ datagrams

    fn datagram(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(error) => {
                let longer = matches!(error.why, Why::LengthMismatch { header, actual } if header < actual);
                let reason = if longer { DropReason::TrailingOctets } else { DropReason::Truncated };
                return self.cx.dropped(reason, path.remote);
            }
        };
        match header.version.major() {
            2 => {}
            1 => return self.datagram_v1(now, &header, bytes, path),
            0 => return self.cx.dropped(DropReason::UnknownVersion, path.remote),
            _ => return self.newer_version(&header, path),
        }
        if header.spis.initiator.is_zero() {
            return self.cx.dropped(DropReason::ZeroSpi, path.remote);
        }
        // The sender's flag tells which of the two SPIs is ours.
        let own = if header.from_initiator() { header.spis.responder } else { header.spis.initiator };
        if header.exchange == ExchangeType::IKE_SA_INIT {
            if header.is_response() {
                return self.init_response(now, &header, bytes, path, own);
            }
            return self.first_message(now, &header, bytes, path);
        }
        let Some((id, sa)) = self.by_spi.get(&own).and_then(|id| Some((*id, self.sas.get_mut(id)?))) else {
            self.unknown_spi(now, &header, path);
            return self.lost(now, &header, path);
        };
        let IkeSa::V2(sa) = sa else { return self.unknown_spi(now, &header, path) };
        if sa.spis != header.spis {
            return self.unknown_spi(now, &header, path);
        }
        match v2::claim(sa, &mut self.cx, now, &header, bytes, path) {
            v2::Claim::None => {}
            v2::Claim::Proven => return self.peer_restarted(now, id),
            v2::Claim::Wrong => return sa.drop_datagram(&mut self.cx, DropReason::BadToken, path),
        }
        let known_exchange = (ExchangeType::IKE_AUTH.0..=ExchangeType::INFORMATIONAL.0).contains(&header.exchange.0);
        if !known_exchange {
            sa.drop_datagram(&mut self.cx, DropReason::UnexpectedExchange, path);
            return;
        }
        if sa.tells_heir(&header, bytes) {
            self.peer_has_decided(now, id);
        }
        let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2) else { return };
        let was_half_open = sa.is_unproven();
        let verdict = sa.receive(&mut self.cx, now, &header, bytes, path);
        self.after_message(now, id, was_half_open, verdict);
    }

    /// An IKEv2 SA has had a message.
    fn after_message(&mut self, now: Instant, id: SaId, was_half_open: bool, verdict: Verdict) {
        let half_open = self.sas.get_mut(&id).and_then(IkeSa::v2).is_some_and(|sa| sa.is_unproven());
        if was_half_open && !half_open {
            self.leave_half_open(id);
        }
        self.conclude(now, id, verdict);
        self.close_twin(now, id);
    }

    /// RFC 7296 section 2.5: a message of a newer major version is told which one we speak, unless it is an answer, or
    /// shorter than ours would be: nobody is to be flooded through us.
    fn newer_version(&mut self, header: &Header, path: Path) {
        const ANSWER_LEN: u32 = 28 + 8 + 1;
        self.cx.dropped(DropReason::UnknownVersion, path.remote);
        if !header.flags.contains(Flags::RESPONSE) && header.length >= ANSWER_LEN {
            v2::notify_only(&mut self.cx, header, path, NotifyType::INVALID_MAJOR_VERSION, &[Version::V2.major()]);
        }
    }

    fn init_response(&mut self, now: Instant, header: &Header, bytes: &[u8], path: Path, own: IkeSpi) {
        let Some((id, sa)) = self.by_spi.get(&own).and_then(|id| Some((*id, self.sas.get_mut(id)?))) else {
            return self.unknown_spi(now, header, path);
        };
        let IkeSa::V2(sa) = sa else { return self.unknown_spi(now, header, path) };
        let verdict = v2::response(sa, &mut self.cx, now, header, bytes, path);
        self.conclude(now, id, verdict);
    }

    /// A message of IKEv1.
    fn datagram_v1(&mut self, now: Instant, header: &Header, bytes: &[u8], path: Path) {
        if header.spis.initiator.is_zero() {
            return self.cx.dropped(DropReason::ZeroSpi, path.remote);
        }
        if header.spis.responder.is_zero() {
            return self.first_message_v1(now, header, bytes, path);
        }
        // IKEv1 does not say who sent a message: either cookie may be ours.
        let own = [header.spis.responder, header.spis.initiator];
        let Some(id) = own.iter().find_map(|spi| self.by_spi.get(spi)).copied() else {
            return self.unknown_spi(now, header, path);
        };
        let Some(IkeSa::V1(sa)) = self.sas.get_mut(&id) else {
            return self.unknown_spi(now, header, path);
        };
        // The initiator learns the responder's cookie from message 2.
        let known =
            sa.spis == header.spis || (sa.spis.responder.is_zero() && sa.spis.initiator == header.spis.initiator);
        if !known {
            return self.unknown_spi(now, header, path);
        }
        let was_half_open = sa.is_half_open_responder();
        let end = sa.receive(&mut self.cx, now, header, bytes, path);
        if was_half_open && !sa.is_half_open_responder() {
            self.leave_half_open(id);
        }
        self.conclude(now, id, end.into());
    }

    fn first_message_v1(&mut self, now: Instant, header: &Header, bytes: &[u8], path: Path) {
        let begins = matches!(header.exchange, ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE);
        if !begins || header.message_id != 0 {
            // An unprotected Notify about our own first message has no responder's cookie either.
            let own = self.by_spi.get(&header.spis.initiator).and_then(|id| self.sas.get_mut(id));
            if let (Some(IkeSa::V1(sa)), ExchangeType::INFORMATIONAL_V1) = (own, header.exchange) {
                let _ = sa.receive(&mut self.cx, now, header, bytes, path); // a hint never ends an SA
                return;
            }
            return self.cx.dropped(DropReason::UnexpectedExchange, path.remote);
        }
        let key = FirstKey { spi: header.spis.initiator, from: path.remote, digest: crypto::sha1(&[bytes]) };
        if let Some(IkeSa::V1(sa)) = self.first_messages.get(&key).and_then(|id| self.sas.get_mut(id)) {
            let _ = sa.repeat(&mut self.cx, bytes, path.remote);
            return;
        }
        if let Some(limit) = self.over_half_open_limit(path.remote.ip(), IkeVersion::V1) {
            return self.cx.dropped(limit, path.remote);
        }
        let Some(candidates) = self.candidates(now, path, IkeVersion::V2) else {
            return self.cx.dropped(DropReason::NameUnresolved, path.remote);
        };
        let first = v1::FirstMessage { header, datagram: bytes, path, candidates };
        match v1::respond(&mut self.cx, now, first) {
            v1::Response::HalfOpen(sa) => self.half_open_begun(key, IkeSa::V1(sa)),
            v1::Response::Refused(sa, kind) => {
                let tombstone = sa.tombstone(&self.cx, now, kind, None);
                self.cx.event(Event::Ended(Box::new(tombstone)));
            }
            v1::Response::Dropped(reason) => self.cx.dropped(reason, path.remote),
        }
    }

    // ---------------------------------------------------------------------------------------------- timers and plane

    fn timer(&mut self, now: Instant, id: SaId, reason: Reason) {
        if let Reason::Retired(child) = reason {
            return self.cx.retired_long_enough(child);
        }
        if let Reason::Held(child) = reason {
            return self.cx.held_long_enough(now, child);
        }
        if reason == Reason::Answer {
            return self.cx.send_answers(now);
        }
        if reason == Reason::Twin {
            return self.ask_for_twin(id, now);
        }
        if reason == Reason::Again {
            return self.attempt_again(now, id); // the SA may be forgotten by now
        }
        let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id)) else { return };
        let verdict = match reason {
            Reason::Retransmit => sa.retransmit(cx, now),
            Reason::HalfOpen if sa.is_closed() => {
                sa.v2().into_iter().for_each(|sa| v2::send_farewell(sa, cx));
                return self.forget(id);
            }
            Reason::HalfOpen => sa.half_open_timeout(now),
            Reason::Liveness => sa.check_liveness(cx, now),
            Reason::Exchange(message_id) => {
                if let IkeSa::V1(sa) = sa {
                    v1::retransmit(sa, cx, now, message_id).into()
                } else {
                    Verdict::Keep
                }
            }
            Reason::NextQuickMode => {
                if let IkeSa::V1(sa) = sa {
                    v1::next_quick_mode(sa, cx, now);
                }
                Verdict::Keep
            }
            Reason::Keepalive => {
                let ((local, remote), every) = (sa.addresses(), cx.settings.keepalive);
                cx.outputs.push_back(Output::Keepalive { local, remote });
                cx.timers.set(id, Reason::Keepalive, now + every);
                Verdict::Keep
            }
            Reason::Idle(child) => {
                cx.plane(Command::ReportTraffic { child });
                Verdict::Keep
            }
            Reason::IkeLifetime | Reason::ChildLifetime(_) => return self.renew(now, id, reason),
            Reason::Again | Reason::Twin | Reason::Retired(_) | Reason::Held(_) | Reason::Answer => Verdict::Keep,
        };
        self.conclude(now, id, verdict);
    }

    fn plane_event(&mut self, now: Instant, event: PlaneEvent) {
        match event {
            PlaneEvent::Failed { child, .. } if self.forget_policy(child) => {}
            PlaneEvent::Traffic { child, idle } => {
                if let Some(id) = self.sas.owner(child) {
                    self.traffic(now, id, child, idle);
                }
            }
            PlaneEvent::Acquire { trap, source, destination, protocol } => {
                self.acquire(now, trap, traps::Packet { source, destination, protocol });
            }
            PlaneEvent::Failed { child, reason } => {
                let owner = self.sas.owner(child);
                self.lose_child(now, child, owner, FailureKind::InstallFailed { reason });
            }
            PlaneEvent::HardExpire { child } => {
                let owner = self.sas.owner(child);
                self.lose_child(now, child, owner, FailureKind::Expired);
            }
            PlaneEvent::SoftExpire { child } => {
                if let Some(id) = self.sas.owner(child) {
                    self.volume_spent(now, id, child);
                }
            }
            PlaneEvent::PeerMoved { child, remote } => {
                if let Some(sa) = self.sas.owner(child).and_then(|id| self.sas.get_mut(&id)) {
                    sa.follow(&mut self.cx, remote);
                }
            }
            PlaneEvent::NotHeld { child } => self.cx.not_held(child),
            PlaneEvent::UnknownSpi { spi, from } => self.unknown_esp(now, spi, from),
        }
    }

    fn lose_child(&mut self, now: Instant, child: SaId, owner: Option<SaId>, kind: FailureKind) {
        if let Some(sa) = owner.and_then(|id| self.sas.get_mut(&id)) {
            sa.delete_child(&mut self.cx, now, child, kind, false);
        }
        owner.into_iter().for_each(|id| self.bury_orphan(now, id));
    }

    // ------------------------------------------------------------------------------------------------------------ end

    /// The children that an SA's connection has under other IKE SAs with the same peer, or that we are making there. Both
    /// ends may have begun: what is up beside an SA that is lost, or that never came up, must not come up once more. Those
    /// others find out by themselves if they are lost too.
    fn carried_by_others(&mut self, id: SaId) -> BTreeSet<String> {
        let Some(sa) = self.sas.get(&id) else { return BTreeSet::new() };
        let at = sa.addresses().1.ip();
        let established = sa.was_established();
        let (name, role) = (sa.name().to_string(), sa.role());
        let known = sa.identities().filter(|_| established).and_then(|key| self.cx.peers.with(&key));
        let same_peer = |other: SaId, its: &IkeSa| match known {
            Some(sas) if its.was_established() => sas.contains_key(&other),
            _ => its.addresses().1.ip() == at && (role == Role::Initiator || established),
        };
        let there: BTreeSet<SaId> = self.sas.named_at(&name, at).map(IkeSa::id).collect();
        let of_peer = known.into_iter().flat_map(BTreeMap::keys).copied();
        let all: BTreeSet<SaId> = of_peer.chain(there).filter(|other| *other != id).collect();
        let ours = |its: &IkeSa| its.is_established() || (its.is_half_open() && its.role() == Role::Initiator);
        let beside = all
            .iter()
            .filter_map(|other| self.sas.get(other))
            .filter(|its| its.name() == name && !its.is_closed() && same_peer(its.id(), its) && ours(its));
        beside.flat_map(IkeSa::carries).collect()
    }

    /// Carries out what a handler decided.
    fn conclude(&mut self, now: Instant, id: SaId, verdict: Verdict) {
        let Verdict::End(kind) = verdict else { return };
        if let Some(heir) = self.sas.get(&id).and_then(IkeSa::heir) {
            self.inherit(now, id, heir);
        }
        for successor in self.sas.with_predecessor(id) {
            self.sas.get_mut(&successor).and_then(IkeSa::v2).into_iter().for_each(|sa| sa.predecessor = None);
        }
        // IKEv1: by the Delete of an ISAKMP SA the peer does not mean the Child SAs, which it deletes by themselves.
        // Where it does not answer under this one it may under another, or is soon found to be dead there too.
        let alone = matches!(kind, FailureKind::PeerDeleted | FailureKind::NoAnswer { answered_before: true, .. });
        let heir = if alone { self.hand_on(now, id).or_else(|| self.sas.get(&id).and_then(IkeSa::heir)) } else { None };
        let kind = heir.map_or(kind, |by| FailureKind::Replaced { by });
        self.leave(id, &kind);
        let again = self.sas.get(&id).is_some_and(|sa| retry_after(sa, &kind).is_some());
        let carried = if again { self.carried_by_others(id) } else { BTreeSet::new() };
        let (wanted, breaking) = (self.is_wanted(id), self.is_breaking(id));
        let later = !breaking && self.comes_again(id, &kind);
        let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id)) else { return };
        if sa.is_closed() && !sa.was_established() && sa.datagrams_in() == 0 {
            return;
        }
        let was_half_open = sa.counts_as_half_open();
        let unanswered = matches!(kind, FailureKind::HalfOpen { .. });
        let mut retry = retry_after(sa, &kind);
        let mut others = retry
            .as_ref()
            .map_or_else(Vec::new, |(connection, first, ..)| others_to_retry(sa, connection, *first, &kind));
        if let Some((connection, child, ..)) = &mut retry {
            others.retain(|name| !carried.contains(name));
            if connection.children.get(*child).is_some_and(|c| carried.contains(&c.name)) {
                let next = (!others.is_empty()).then(|| others.remove(0));
                match next.and_then(|name| connection.children.iter().position(|c| c.name == name)) {
                    Some(index) => *child = index,
                    None => retry = None,
                }
            }
        }
        // What the configuration has begun anew it wants to be there.
        let wanted = wanted
            || match kind {
                FailureKind::NoAnswer { answered_before, .. } => answered_before,
                FailureKind::PeerDeleted | FailureKind::PeerRestarted => true,
                _ => false,
            };
        let later = later && retry.is_none();
        let (mut at, mut names) = (sa.addresses(), Vec::new());
        if (later || breaking)
            && let Some(connection) = sa.connection()
        {
            at =
                (SocketAddr::new(at.0.ip(), connection.local_port), SocketAddr::new(at.1.ip(), connection.remote_port));
            names = sa.children().iter().map(|c| c.name.clone()).collect();
            names.extend(sa.left().into_iter().flat_map(|left| left.names.iter().cloned()));
        }
        let outlived = match kind {
            FailureKind::PeerDeleted => true,
            FailureKind::Expired => sa.role() == Role::Responder,
            _ => false,
        };
        let outlived = outlived && sa.children().iter().any(ChildSa::is_installed);
        let outlived = outlived && matches!(sa, IkeSa::V1(_));
        let trapped = to_trap(sa, &kind);
        let revoked = kind.is_revocation().then(|| kind.clone());
        if let IkeSa::V2(sa) = sa {
            v2::note_end(sa, cx, now, &kind);
        }
        let tombstone = sa.tombstone(cx, now, kind);
        if let Some(key) = sa.identities().filter(|_| sa.was_established()) {
            cx.peers.forget(id, &key);
        }
        let down = (sa.was_established() && !sa.is_orphaned()).then(|| Box::new(sa.snapshot(cx, now)));
        if outlived {
            let own = sa.own_spi();
            if let IkeSa::V1(sa) = sa {
                sa.orphan(cx);
            }
            down.into_iter().for_each(|snapshot| cx.event(Event::IkeDown(snapshot)));
            cx.event(Event::Ended(Box::new(tombstone)));
            self.by_spi.remove(&own);
            return self.forget_first_message(id);
        }
        let bare = model::SaSnapshot { children: Vec::new(), ..tombstone.sa.clone() };
        let shown: BTreeMap<SaId, &model::ChildSnapshot> = tombstone.sa.children.iter().map(|c| (c.id, c)).collect();
        for child in sa.take_children() {
            match tombstone.failure.kind {
                FailureKind::Replaced { .. } => child.retire(id, cx, now),
                _ => child.uninstall(id, cx),
            }
            if child.is_installed() {
                let mut snapshot = bare.clone();
                snapshot.children.extend(shown.get(&child.id).map(|c| (*c).clone()));
                cx.event(Event::ChildDown(Box::new(snapshot)));
            }
        }
        if let Some(snapshot) = down {
            cx.event(Event::IkeDown(snapshot));
        }
        let (replaces, left) = (sa.take_replaces(), sa.left().cloned().unwrap_or_default());
        sa.close(cx, now);
        self.closed.push_back(id);
        cx.event(Event::Ended(Box::new(tombstone)));
        if let (Some(kind), Some(old)) = (revoked, replaces) {
            self.cut_off(now, old, kind);
        }
        if was_half_open {
            self.leave_half_open(id);
        }
        if unanswered {
            // An initiator that still repeats its first message gets another chance.
            self.forget_first_message(id);
        }
        for (connection, child, local, remote) in trapped {
            self.trap_again(&connection, &child, local, remote);
        }
        if let Some((connection, child, attempt, local, remote)) = retry {
            let known = self.connections.get(&connection.name).cloned();
            if let Some(connection) = known {
                let begun = self.begin(now, connection, child, (local, remote), attempt, replaces).ok();
                begun.filter(|_| wanted).into_iter().for_each(|id| self.keep_wanting(id));
                if let (cx, Some(sa)) = (&mut self.cx, begun.and_then(|id| self.sas.get_mut(&id)).and_then(IkeSa::v2)) {
                    others.iter().for_each(|name| v2::further_child(sa, cx, name));
                    sa.left = left;
                }
            }
        } else if later {
            self.later_again(now, id, names, at, replaces);
        } else if breaking {
            self.make_after_break(now, id, at);
        }
        self.forget_oldest();
    }

    fn forget(&mut self, id: SaId) {
        self.forget_first_message(id);
        self.redirects.remove(&id);
        self.forget_twin(id);
        self.want_no_more(id);
        self.outdated.remove(&id);
        if let Some(sa) = self.sas.remove(&id) {
            self.by_spi.remove(&sa.own_spi());
            self.cx.timers.cancel_all(id);
        }
    }

    fn carry_out_effects(&mut self, now: Instant) {
        while let Some(effect) = self.cx.effects.pop() {
            match effect {
                Effect::Replace { old, by } => self.replace(now, old, by),
                Effect::Established { sa } => {
                    self.again_from_start(sa);
                    self.find_twin(now, sa);
                }
                Effect::Redirect { sa, to } => self.follow_redirect(now, sa, &to),
                Effect::Retire { old, by } => self.retire(now, old, by),
                Effect::Renew { old, child } => {
                    self.beside(now, old, &child);
                }
                Effect::Rekeyed { old, new, inherits, redundant } => self.rekeyed(now, old, *new, inherits, redundant),
                Effect::Inherit { old, heir } => self.peers_is_the_one(now, old, heir),
                Effect::Trap { connection, child, local, remote } => {
                    self.trap_again(&connection, &child, local, remote);
                }
                Effect::Begin { connection, child, local, remote } => {
                    let index = connection.children.iter().position(|c| c.name == child).unwrap_or(usize::MAX);
                    if self.connections.contains(&connection.name) {
                        let begun = self.begin(now, connection, index, (local, remote), 1, None);
                        begun.into_iter().for_each(|id| self.keep_wanting(id));
                    }
                }
                Effect::Remake { sa: id, child } => {
                    let carried = self.carried_by_others(id).contains(&child);
                    let (cx, sa) = (&mut self.cx, self.sas.get_mut(&id).and_then(IkeSa::v2));
                    if let Some(sa) = sa.filter(|sa| !carried && sa.is_established() && !sa.is_leaving()) {
                        v2::further_child(sa, cx, &child);
                        sa.next_task(cx, now);
                    }
                }
                Effect::Adopt { by } => self.adopt(now, by),
                Effect::DeletedElsewhere { under, spi } => self.deleted_elsewhere(now, under, spi),
                Effect::Succeed { old, by } => self.succeed(now, old, by),
                Effect::OnlySa { sa: except, local, remote, forgotten } => {
                    let identities = (local, remote);
                    if forgotten {
                        self.forget_orphans(now, &identities, except);
                    }
                    let known = self.cx.peers.with(&identities);
                    // What came up while the new one was negotiated, because both ends began at once, is not from before:
                    // else each end would delete the other's.
                    let begun = self.sas.get(&except).map_or(now, IkeSa::created);
                    let older = |id: &SaId| self.sas.get(id).is_some_and(|sa| sa.established_before(begun));
                    let stale: Vec<SaId> = known
                        .map(|sas| sas.keys().copied().filter(|id| *id != except && older(id)).collect())
                        .unwrap_or_default();
                    for id in stale {
                        let reason = FailureKind::Replaced { by: except };
                        if forgotten {
                            self.conclude(now, id, Verdict::End(reason));
                        } else if !self.stays_a_while(now, id, except)
                            && let Some(sa) = self.sas.get_mut(&id)
                        {
                            let verdict = sa.delete(&mut self.cx, now, reason);
                            self.conclude(now, id, verdict);
                        }
                    }
                }
            }
        }
    }

    /// Where the configuration says something about `key` of a connection.
    pub fn config_ref(&self, connection: &str, key: &str) -> Option<ConfigRef> {
        self.connections.get(connection).map(|c| c.source.get(key))
    }
}

/// The index of a child where none is wanted.
const NO_CHILD: usize = usize::MAX;

fn selects_child(selection: &Selection, id: SaId, name: &str) -> bool {
    selection.child.as_deref().is_none_or(|n| n == name) && selection.child_id.is_none_or(|n| n == id)
}

/// The children of an SA for which `close_action = trap` or `dpd_action = trap` sets a trap when it ends, with both ends.
fn to_trap(sa: &IkeSa, kind: &FailureKind) -> Vec<(String, String, SocketAddr, SocketAddr)> {
    let Some(connection) = sa.connection() else { return Vec::new() };
    let wanted = |c: &config::Child| match kind {
        FailureKind::PeerDeleted => c.close_action.traps(),
        FailureKind::NoAnswer { answered_before: true, .. } | FailureKind::PeerRestarted => c.dpd_action.traps(),
        _ => false,
    };
    let (mut local, mut remote) = sa.addresses();
    local.set_port(connection.local_port);
    remote.set_port(connection.remote_port);
    let names: BTreeSet<&str> = sa.children_to_keep().map(|c| c.name.as_str()).collect();
    let chosen = connection.children.iter().filter(|c| wanted(c) && names.contains(c.name.as_str()));
    chosen.map(|c| (connection.name.clone(), c.name.clone(), local, remote)).collect()
}

/// Whether a child that the SA had is begun anew after this end.
fn comes_anew(connection: &Connection, name: &str, kind: &FailureKind) -> bool {
    connection.children.iter().find(|c| c.name == name).is_some_and(|c| match kind {
        FailureKind::PeerDeleted => c.close_action.starts(),
        FailureKind::NoAnswer { answered_before: true, .. } | FailureKind::PeerRestarted => c.dpd_action.starts(),
        _ => true,
    })
}

/// The children beside the first one that are to be begun anew with it.
fn others_to_retry(sa: &IkeSa, connection: &Connection, first: usize, kind: &FailureKind) -> Vec<String> {
    let names: BTreeSet<&str> = sa.children_to_keep().map(|c| c.name.as_str()).collect();
    let first = connection.children.get(first).map(|c| c.name.as_str());
    let others = names.into_iter().filter(|name| Some(*name) != first && comes_anew(connection, name, kind));
    others.map(str::to_string).collect()
}

/// Whether to begin anew, and with which child: `close_action = start` when the peer deleted it, `keyingtries` while the first
/// exchange is not answered, `dpd_action = restart` when an established peer is lost.
fn retry_after(sa: &IkeSa, kind: &FailureKind) -> Option<(Arc<Connection>, usize, u32, SocketAddr, SocketAddr)> {
    let answered_before = match kind {
        FailureKind::NoAnswer { answered_before, .. } => *answered_before,
        FailureKind::PeerDeleted | FailureKind::PeerRestarted => true,
        // The reason is hearsay: anybody can have sent what is not protected (RFC 2409 section 5.7).
        _ if sa.gave_up_unanswered() => false,
        _ => return None,
    };
    let connection = sa.connection().cloned()?;
    let index = |name: &str| connection.children.iter().position(|c| c.name == name);
    let (child, again) = if answered_before {
        let first = sa.children_to_keep().find(|c| comes_anew(&connection, &c.name, kind));
        (first.and_then(|c| index(&c.name)), first.is_some())
    } else {
        let first = sa.children().first();
        // A childless IKE SA is begun as often as another.
        let child = first.map_or(Some(NO_CHILD), |first| index(&first.name));
        (child, sa.role() == Role::Initiator && (connection.keyingtries == 0 || sa.attempt() < connection.keyingtries))
    };
    let attempt = if answered_before { 1 } else { sa.attempt().saturating_add(1) };
    let (mut local, mut remote) = sa.addresses();
    local.set_port(connection.local_port);
    remote.set_port(connection.remote_port);
    child.filter(|_| again).map(|child| (connection, child, attempt, local, remote))
}
