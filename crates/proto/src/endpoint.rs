//! All SAs of one worker: what comes in finds its SA, what goes out leaves in order.

use crate::context::{COUNTERS, Context, Counter, Effect};
use crate::policy;
use crate::settings::Settings;
use crate::timers::Reason;
use crate::v2::{self, Cookies, FirstMessage, IkeSa, Path, Response, State, Task, Verdict, Wish};
use config::{Connection, SharedSecret, StartAction};
use crypto::Random;
use model::dataplane::{Command, PlaneEvent};
use model::{ConfigRef, DropReason, Event, Failure, FailureKind, Instant, Role, SaId, SaSnapshot, Tombstone};
use std::collections::{BTreeMap, VecDeque};
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
    connections: BTreeMap<String, Arc<Connection>>,
    sas: BTreeMap<SaId, IkeSa>,
    /// By the SPI that we chose.
    by_spi: BTreeMap<IkeSpi, SaId>,
    /// Responder's SAs by the initiator's SPI and address: a repeated first message has no SPI of ours.
    first_messages: BTreeMap<(IkeSpi, SocketAddr), SaId>,
    /// Half-open SAs by the initiator's address.
    half_open: BTreeMap<IpAddr, usize>,
    half_open_total: usize,
    cookies: Cookies,
    tombstones: VecDeque<Tombstone>,
}

impl Endpoint {
    /// An endpoint without connections. `rng` must be unpredictable except in tests.
    pub fn new(settings: Settings, rng: Box<dyn Random + Send>) -> Self {
        Self {
            cx: Context::new(settings, rng),
            connections: BTreeMap::new(),
            sas: BTreeMap::new(),
            by_spi: BTreeMap::new(),
            first_messages: BTreeMap::new(),
            half_open: BTreeMap::new(),
            half_open_total: 0,
            cookies: Cookies::new(),
            tombstones: VecDeque::new(),
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
    }

    /// The next thing it wants, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.cx.outputs.pop_front()?;
        if let Output::Event(Event::Ended(tombstone)) = &output {
            self.bury((**tombstone).clone());
        }
        Some(output)
    }

    /// When to call with [`Input::Timeout`], and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.cx.timers.next()
    }

    // ------------------------------------------------------------------------------------------------- configuration

    /// Adds a connection, or replaces the one of that name. SAs that exist keep what they were made with.
    pub fn load_connection(&mut self, connection: Arc<Connection>) {
        self.connections.insert(connection.name.clone(), connection);
    }

    /// Forgets a connection; its SAs live on. Returns whether there was one.
    pub fn unload_connection(&mut self, name: &str) -> bool {
        self.connections.remove(name).is_some()
    }

    /// The connections, by name.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values()
    }

    /// Replaces all shared secrets.
    pub fn set_secrets(&mut self, secrets: Vec<SharedSecret>) {
        self.cx.secrets = secrets;
    }

    /// Adds a shared secret, or replaces the one of that name.
    pub fn add_secret(&mut self, secret: SharedSecret) {
        self.cx.secrets.retain(|s| s.name != secret.name);
        self.cx.secrets.push(secret);
    }

    /// Forgets a shared secret. Returns whether there was one.
    pub fn remove_secret(&mut self, name: &str) -> bool {
        let before = self.cx.secrets.len();
        self.cx.secrets.retain(|s| s.name != name);
        self.cx.secrets.len() != before
    }

    /// The shared secrets.
    pub fn secrets(&self) -> &[SharedSecret] {
        &self.cx.secrets
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.cx.settings
    }

    // ---------------------------------------------------------------------------------------------------- operator

    /// Begins to negotiate a child of a connection from `local` to `remote` (with IKE's ports).
    ///
    /// # Errors
    /// Why it cannot even begin.
    pub fn initiate(
        &mut self,
        now: Instant,
        connection: &str,
        child: &str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Started, Failure> {
        let Some(found) = self.connections.get(connection).cloned() else {
            return Err(Failure { kind: FailureKind::NoConfig { local, remote }, config: None });
        };
        let up =
            |sa: &&IkeSa| sa.name() == connection && !sa.is_closed() && sa.children.iter().any(|c| c.name == child);
        if let Some(sa) = self.sas.values().find(up) {
            let installed = sa.children.iter().any(|c| c.name == child && c.is_installed());
            return Ok(if installed { Started::AlreadyUp(sa.id) } else { Started::Negotiation(sa.id) });
        }
        let index = found.children.iter().position(|c| c.name == child).unwrap_or(usize::MAX);
        let source = found.source.get("proposals");
        match self.begin(now, found, index, (local, remote), 1, None) {
            Ok(id) => {
                self.carry_out_effects(now);
                Ok(Started::Negotiation(id))
            }
            Err(kind) => Err(Failure { kind, config: Some(source) }),
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        connection: Arc<Connection>,
        child: usize,
        (local, remote): (SocketAddr, SocketAddr),
        attempt: u32,
        replaces: Option<SaId>,
    ) -> Result<SaId, FailureKind> {
        let known = self.sas.values().any(|sa| sa.is_established() && sa.name() == connection.name);
        let initial_contact = !known && replaces.is_none() && connection.unique != config::Unique::Never;
        let wish = Wish { connection, child, local, remote, attempt, replaces, initial_contact };
        let sa = v2::initiate(&mut self.cx, now, wish)?;
        let id = sa.id;
        self.by_spi.insert(sa.own_spi(), id);
        self.sas.insert(id, sa);
        Ok(id)
    }

    /// Ends SAs. Returns the IKE SAs that are affected; events tell when they are gone.
    pub fn terminate(&mut self, now: Instant, selection: &Selection) -> Vec<SaId> {
        let by_child = selection.child.is_some() || selection.child_id.is_some();
        let matching: Vec<SaId> = self
            .sas
            .values()
            .filter(|sa| !sa.is_closed())
            .filter(|sa| selection.ike.as_deref().is_none_or(|name| name == sa.name()))
            .filter(|sa| selection.ike_id.is_none_or(|id| id == sa.id))
            .filter(|sa| !by_child || sa.children.iter().any(|c| selects_child(selection, c.id, &c.name)))
            .map(|sa| sa.id)
            .collect();
        for id in &matching {
            let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(id)) else { continue };
            let verdict = if sa.is_half_open() {
                Verdict::End(FailureKind::Terminated)
            } else if by_child && selection.ike.is_none() && selection.ike_id.is_none() {
                let chosen: Vec<(SaId, u32)> = sa
                    .children
                    .iter()
                    .filter(|c| selects_child(selection, c.id, &c.name))
                    .map(|c| (c.id, c.spi_in))
                    .collect();
                for (child, spi) in chosen {
                    sa.enqueue(cx, now, Task::DeleteChild { spi, reason: FailureKind::Terminated });
                    if selection.force {
                        v2::remove_child(sa, cx, now, child, FailureKind::Terminated);
                    }
                }
                Verdict::Keep
            } else {
                sa.queue.clear(); // nothing else matters any more
                sa.enqueue(cx, now, Task::DeleteIke { reason: FailureKind::Terminated });
                if selection.force { Verdict::End(FailureKind::Terminated) } else { Verdict::Keep }
            };
            self.conclude(now, *id, verdict);
        }
        self.carry_out_effects(now);
        matching
    }

    // -------------------------------------------------------------------------------------------------- observation

    /// Every SA, live or being negotiated, by number.
    pub fn snapshots(&self, now: Instant) -> Vec<SaSnapshot> {
        self.sas.values().filter(|sa| !sa.is_closed()).map(|sa| sa.snapshot(&self.cx, now)).collect()
    }

    /// SAs that ended, the latest first.
    pub fn tombstones(&self, now: Instant) -> Vec<Tombstone> {
        let with_age = |t: &Tombstone| Tombstone { ended: now.since(t.at), ..t.clone() };
        self.tombstones.iter().rev().map(with_age).collect()
    }

    /// How many IKE SAs there are, and how many of them are half-open.
    pub fn sizes(&self) -> (usize, usize) {
        let live = self.sas.values().filter(|sa| !sa.is_closed());
        (live.clone().count(), live.filter(|sa| sa.is_half_open()).count())
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
                let longer = matches!(error.why, Why::LengthMismatch { header, actual } if (header as usize) < actual);
                let reason = if longer { DropReason::TrailingOctets } else { DropReason::Truncated };
                return self.cx.dropped(reason, path.remote);
            }
        };
        match header.version.major() {
            2 => {}
            1 => return self.cx.dropped(DropReason::Version1, path.remote),
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
            return self.cx.dropped(DropReason::UnknownSpi, path.remote);
        };
        if sa.spis != header.spis {
            return self.cx.dropped(DropReason::UnknownSpi, path.remote);
        }
        let known_exchange = (ExchangeType::IKE_AUTH.0..=ExchangeType::INFORMATIONAL.0).contains(&header.exchange.0);
        if !known_exchange {
            sa.drop_datagram(&mut self.cx, DropReason::UnexpectedExchange, path);
            return;
        }
        let was_half_open = matches!(sa.state, State::HalfOpen(_));
        let verdict = sa.receive(&mut self.cx, now, &header, bytes, path);
        if was_half_open && !matches!(sa.state, State::HalfOpen(_)) {
            let from = path.remote.ip();
            self.leave_half_open(from, id);
        }
        self.conclude(now, id, verdict);
    }

    /// RFC 7296 section 2.5: a message of a newer major version is told which one we speak, unless it is an answer.
    fn newer_version(&mut self, header: &Header, path: Path) {
        self.cx.dropped(DropReason::UnknownVersion, path.remote);
        if !header.flags.contains(Flags::RESPONSE) {
            v2::notify_only(&mut self.cx, header, path, NotifyType::INVALID_MAJOR_VERSION, &[Version::V2.major()]);
        }
    }

    fn init_response(&mut self, now: Instant, header: &Header, bytes: &[u8], path: Path, own: IkeSpi) {
        let Some((id, sa)) = self.by_spi.get(&own).and_then(|id| Some((*id, self.sas.get_mut(id)?))) else {
            return self.cx.dropped(DropReason::UnknownSpi, path.remote);
        };
        let verdict = v2::response(sa, &mut self.cx, now, header, bytes, path);
        self.conclude(now, id, verdict);
    }

    fn first_message(&mut self, now: Instant, header: &Header, bytes: &[u8], path: Path) {
        if !header.spis.responder.is_zero() || header.message_id != 0 || !header.from_initiator() {
            return self.cx.dropped(DropReason::UnknownSpi, path.remote);
        }
        let key = (header.spis.initiator, path.remote);
        if let Some(sa) = self.first_messages.get(&key).and_then(|id| self.sas.get_mut(id)) {
            // RFC 7296 section 2.1: the same request again gets the same answer again.
            sa.datagrams_in += 1;
            match sa.replies.repeat(bytes) {
                Ok(reply) => {
                    sa.retransmissions.answered += 1;
                    sa.datagrams_out += 1;
                    self.cx.transmit(path.local, path.remote, reply);
                }
                Err(reason) => sa.drop_datagram(&mut self.cx, reason, path),
            }
            return;
        }
        self.cx.count(Counter::IkeInitInRequest);
        let settings = &self.cx.settings;
        let from_peer = self.half_open.get(&path.remote.ip()).copied().unwrap_or(0);
        let over = |limit: usize, now: usize| limit != 0 && now >= limit;
        if over(settings.half_open_limit, self.half_open_total) {
            return self.cx.dropped(DropReason::HalfOpenLimit, path.remote);
        }
        if over(settings.block_threshold, from_peer) {
            return self.cx.dropped(DropReason::HalfOpenLimitPeer, path.remote);
        }
        let cookie_needed =
            over(settings.cookie_threshold, self.half_open_total) || over(settings.cookie_threshold_peer, from_peer);
        let candidates = policy::by_addresses(self.connections.values(), path.local.ip(), path.remote.ip());
        let first = FirstMessage { header, datagram: bytes, path, candidates, cookie_needed };
        match v2::respond(&mut self.cx, now, first, &mut self.cookies) {
            Response::HalfOpen(sa) => {
                self.by_spi.insert(sa.own_spi(), sa.id);
                self.first_messages.insert(key, sa.id);
                *self.half_open.entry(path.remote.ip()).or_default() += 1;
                self.half_open_total += 1;
                self.sas.insert(sa.id, *sa);
            }
            Response::Stateless => {}
            Response::Refused(sa, kind) => {
                let tombstone = sa.tombstone(&self.cx, now, kind, None);
                self.cx.event(Event::Ended(Box::new(tombstone)));
            }
            Response::Dropped(reason) => self.cx.dropped(reason, path.remote),
        }
    }

    fn leave_half_open(&mut self, from: IpAddr, id: SaId) {
        if let Some(sa) = self.sas.get(&id) {
            // The first message may have come from another port than what follows, not from another address.
            let key = self.first_messages.iter().find(|((spi, _), owner)| **owner == id && *spi == sa.spis.initiator);
            if let Some(key) = key.map(|(key, _)| *key) {
                self.first_messages.remove(&key);
            }
        }
        self.half_open_total = self.half_open_total.saturating_sub(1);
        if let Some(n) = self.half_open.get_mut(&from) {
            *n -= 1;
            if *n == 0 {
                self.half_open.remove(&from);
            }
        }
    }

    // ---------------------------------------------------------------------------------------------- timers and plane

    fn timer(&mut self, now: Instant, id: SaId, reason: Reason) {
        let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id)) else { return };
        let verdict = match reason {
            Reason::Retransmit => sa.retransmit(cx, now),
            Reason::HalfOpen if sa.is_closed() => return self.forget(id),
            Reason::HalfOpen => match sa.waiting_for() {
                Some(waiting_for) => Verdict::End(FailureKind::HalfOpen {
                    waiting_for,
                    after: now.since(sa.created),
                    repeated: sa.retransmissions.answered,
                }),
                None => Verdict::Keep,
            },
            Reason::Liveness => {
                let delay = sa.connection.as_ref().map_or(std::time::Duration::ZERO, |c| c.dpd_delay);
                if now.since(sa.last_heard) >= delay && sa.pending.is_none() {
                    sa.enqueue(cx, now, Task::Liveness);
                }
                let quiet = now.since(sa.last_heard).min(delay / 2);
                cx.timers.set(id, Reason::Liveness, now + (delay - quiet));
                Verdict::Keep
            }
            Reason::Keepalive => {
                let (local, remote, every) = (sa.local, sa.remote, cx.settings.keepalive);
                cx.outputs.push_back(Output::Keepalive { local, remote });
                cx.timers.set(id, Reason::Keepalive, now + every);
                Verdict::Keep
            }
            Reason::IkeLifetime | Reason::ChildLifetime(_) => return self.renew(now, id, reason),
        };
        self.conclude(now, id, verdict);
    }

    /// A lifetime ends: the initiator makes a new SA beside the old one, which goes when the new one is up; where that is
    /// not our part, or did not work, the SA ends.
    fn renew(&mut self, now: Instant, id: SaId, reason: Reason) {
        let Some(sa) = self.sas.get(&id).filter(|sa| sa.is_established()) else { return };
        let (role, addresses) = (sa.role, (sa.local, sa.remote));
        let child_name = match reason {
            Reason::ChildLifetime(child) => sa.children.iter().find(|c| c.id == child).map(|c| c.name.clone()),
            _ => sa.children.first().map(|c| c.name.clone()),
        };
        let replacement = self.sas.values().any(|other| other.replaces == Some(id));
        let connection = sa.connection.clone().filter(|c| self.connections.contains_key(&c.name));
        if let (Role::Initiator, Some(connection), Some(name), false) = (role, connection, child_name, replacement) {
            let index = connection.children.iter().position(|c| c.name == name).unwrap_or(usize::MAX);
            let over = connection.over_time;
            let ports = (self.cx.settings.port, connection.remote_port);
            let mut at = addresses;
            at.0.set_port(ports.0);
            at.1.set_port(ports.1);
            if let Some(sa) = self.sas.get_mut(&id) {
                sa.log(&mut self.cx, "IKE", 0, "lifetime ends: making a new IKE SA beside this one".to_string());
                sa.replace_at = None;
            }
            if self.begin(now, connection, index, at, 1, Some(id)).is_ok() {
                // Should the new one fail, this one ends all the same, later.
                self.cx.timers.set(id, Reason::IkeLifetime, now + over.max(std::time::Duration::from_secs(60)));
                return;
            }
        }
        if let Some(sa) = self.sas.get_mut(&id) {
            sa.enqueue(&mut self.cx, now, Task::DeleteIke { reason: FailureKind::Expired });
        }
    }

    fn plane_event(&mut self, now: Instant, event: PlaneEvent) {
        let owner = |sas: &BTreeMap<SaId, IkeSa>, child: SaId| {
            sas.values().find(|sa| sa.children.iter().any(|c| c.id == child)).map(|sa| sa.id)
        };
        match event {
            PlaneEvent::Failed { child, reason } => {
                self.lose_child(now, child, owner(&self.sas, child), FailureKind::InstallFailed { reason })
            }
            PlaneEvent::HardExpire { child } => {
                self.lose_child(now, child, owner(&self.sas, child), FailureKind::Expired)
            }
            PlaneEvent::SoftExpire { child } => {
                if let Some(id) = owner(&self.sas, child) {
                    self.renew(now, id, Reason::ChildLifetime(child));
                }
            }
            PlaneEvent::PeerMoved { child, remote } => {
                if let Some(sa) = owner(&self.sas, child).and_then(|id| self.sas.get_mut(&id)) {
                    // RFC 7296 section 2.23: only the end that is not behind the NAT follows.
                    if sa.nat.remote && sa.remote != remote {
                        sa.log(&mut self.cx, "NET", 1, format!("ESP comes from {remote}: following"));
                        sa.remote = remote;
                        for child in &sa.children {
                            child.update(&mut self.cx, sa.local, remote, true);
                        }
                    }
                }
            }
            PlaneEvent::UnknownSpi { spi, from } => {
                let text =
                    format!("ESP with unknown SPI {spi:08x} from {from}: that peer has a Child SA which we have not");
                self.cx.event(Event::Step { sa: None, name: String::new(), group: "ESP", level: 1, text });
            }
        }
    }

    fn lose_child(&mut self, now: Instant, child: SaId, owner: Option<SaId>, kind: FailureKind) {
        let Some(sa) = owner.and_then(|id| self.sas.get_mut(&id)) else { return };
        let Some(spi) = sa.children.iter().find(|c| c.id == child).map(|c| c.spi_in) else { return };
        sa.enqueue(&mut self.cx, now, Task::DeleteChild { spi, reason: kind });
    }

    // ------------------------------------------------------------------------------------------------------------ end

    /// Carries out what a handler decided.
    fn conclude(&mut self, now: Instant, id: SaId, verdict: Verdict) {
        let Verdict::End(kind) = verdict else { return };
        let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id)) else { return };
        if sa.is_closed() && sa.established.is_none() && sa.datagrams_in == 0 {
            return;
        }
        let from = sa.remote.ip();
        let was_half_open = matches!(sa.state, State::HalfOpen(_));
        let retry = retry_after(sa, &kind);
        let tombstone = sa.tombstone(cx, now, kind, None);
        if let (Some(_), Some(local), Some(remote)) = (sa.established, &sa.local_id, &sa.remote_id) {
            let key = (local.clone(), remote.clone());
            if let Some(n) = cx.peers.get_mut(&key) {
                *n -= 1;
                if *n == 0 {
                    cx.peers.remove(&key);
                }
            }
        }
        let down = sa.established.is_some().then(|| Box::new(sa.snapshot(cx, now)));
        for child in std::mem::take(&mut sa.children) {
            child.uninstall(id, cx);
            if child.is_installed() {
                let mut snapshot = tombstone.sa.clone();
                snapshot.children.retain(|c| c.id == child.id);
                cx.event(Event::ChildDown(Box::new(snapshot)));
            }
        }
        if let Some(snapshot) = down {
            cx.event(Event::IkeDown(snapshot));
        }
        let replaces = sa.replaces.take();
        sa.close(cx, now);
        cx.event(Event::Ended(Box::new(tombstone)));
        if was_half_open {
            self.leave_half_open(from, id);
        }
        if let Some((connection, child, attempt, local, remote)) = retry {
            let known = self.connections.get(&connection.name).cloned();
            if let Some(connection) = known {
                let _ = self.begin(now, connection, child, (local, remote), attempt, replaces);
            }
        }
    }

    fn forget(&mut self, id: SaId) {
        if let Some(sa) = self.sas.remove(&id) {
            self.by_spi.remove(&sa.own_spi());
            self.cx.timers.cancel_all(id);
        }
    }

    fn carry_out_effects(&mut self, now: Instant) {
        while let Some(effect) = self.cx.effects.pop() {
            match effect {
                Effect::Replace { old, by } => {
                    if let Some(sa) = self.sas.get_mut(&old) {
                        sa.enqueue(&mut self.cx, now, Task::DeleteIke { reason: FailureKind::Replaced { by } });
                    }
                }
                Effect::OnlySa { sa: except, local, remote, forgotten } => {
                    let stale: Vec<SaId> = self
                        .sas
                        .values()
                        .filter(|sa| sa.id != except && sa.established.is_some() && !sa.is_closed())
                        .filter(|sa| sa.local_id.as_ref() == Some(&local) && sa.remote_id.as_ref() == Some(&remote))
                        .map(|sa| sa.id)
                        .collect();
                    for id in stale {
                        let reason = FailureKind::Replaced { by: except };
                        if forgotten {
                            self.conclude(now, id, Verdict::End(reason));
                        } else if let Some(sa) = self.sas.get_mut(&id) {
                            sa.enqueue(&mut self.cx, now, Task::DeleteIke { reason });
                        }
                    }
                }
            }
        }
    }

    /// Remembers why an SA ended. Strangers' first messages share one place per address and reason, so that a flood of
    /// them cannot wash out what matters.
    fn bury(&mut self, tombstone: Tombstone) {
        if tombstone.sa.established.is_none() && tombstone.sa.role == Role::Responder {
            let same = |t: &Tombstone| {
                t.sa.established.is_none()
                    && t.sa.remote.ip() == tombstone.sa.remote.ip()
                    && t.failure.kind.code() == tombstone.failure.kind.code()
            };
            self.tombstones.retain(|t| !same(t));
        }
        if self.tombstones.len() >= self.cx.settings.tombstones.max(1) {
            let stranger = |t: &Tombstone| t.sa.established.is_none() && t.sa.role == Role::Responder;
            let victim = self.tombstones.iter().position(stranger).unwrap_or(0);
            self.tombstones.remove(victim);
        }
        self.tombstones.push_back(tombstone);
    }

    /// Where the configuration says something about `key` of a connection.
    pub fn config_ref(&self, connection: &str, key: &str) -> Option<ConfigRef> {
        self.connections.get(connection).map(|c| c.source.get(key))
    }
}

fn selects_child(selection: &Selection, id: SaId, name: &str) -> bool {
    selection.child.as_deref().is_none_or(|n| n == name) && selection.child_id.is_none_or(|n| n == id)
}

/// Whether to begin anew: `keyingtries` while the first exchange is not answered, `dpd_action = restart` when an
/// established peer is lost.
fn retry_after(sa: &IkeSa, kind: &FailureKind) -> Option<(Arc<Connection>, usize, u32, SocketAddr, SocketAddr)> {
    let FailureKind::NoAnswer { answered_before, .. } = kind else { return None };
    let connection = sa.connection.clone()?;
    let child = sa.children.first().and_then(|c| connection.children.iter().position(|x| x.name == c.name))?;
    let again = if *answered_before {
        connection.children.get(child).is_some_and(|c| c.dpd_action == StartAction::Start)
    } else {
        sa.role == Role::Initiator && (connection.keyingtries == 0 || sa.attempt < connection.keyingtries)
    };
    let attempt = if *answered_before { 1 } else { sa.attempt.saturating_add(1) };
    let (mut local, mut remote) = (sa.local, sa.remote);
    local.set_port(connection.local_port);
    remote.set_port(connection.remote_port);
    again.then_some((connection, child, attempt, local, remote))
}
