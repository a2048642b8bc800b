//! What every SA may use: random numbers, timers, outputs, counters, secrets.

use crate::endpoint::Output;
use crate::held::Held;
use crate::inquiries::Need;
use crate::peers::Peers;
use crate::settings::Settings;
use crate::timers::{Reason, Timers};
use config::{Connection, SharedSecret};
use crypto::Random;
use model::dataplane::{Binding, Command};
use model::{DropReason, Event, FailureKind, Identity, Instant, SaId, TrafficSelector};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{IkeSpi, SpiPair};

macro_rules! counters {
    ($($name:ident => $text:literal,)+) => {
        /// What is counted, by the names of `swanctl --counters`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // the name on the wire says it
        pub enum Counter { $($name,)+ }

        /// The names, in swanctl's order.
        pub const COUNTERS: &[(Counter, &str)] = &[$((Counter::$name, $text),)+];
    };
}

counters! {
    IkeRekeyInitiator => "ike-rekey-init",
    IkeRekeyResponder => "ike-rekey-resp",
    ChildRekey => "child-rekey",
    Invalid => "invalid",
    InvalidSpi => "invalid-spi",
    IkeInitInRequest => "ike-init-in-req",
    IkeInitInResponse => "ike-init-in-resp",
    IkeInitOutRequest => "ike-init-out-req",
    IkeInitOutResponse => "ike-init-out-resp",
    IkeAuthInRequest => "ike-auth-in-req",
    IkeAuthInResponse => "ike-auth-in-resp",
    IkeAuthOutRequest => "ike-auth-out-req",
    IkeAuthOutResponse => "ike-auth-out-resp",
    CreateChildInRequest => "create-child-in-req",
    CreateChildInResponse => "create-child-in-resp",
    CreateChildOutRequest => "create-child-out-req",
    CreateChildOutResponse => "create-child-out-resp",
    InfoInRequest => "info-in-req",
    InfoInResponse => "info-in-resp",
    InfoOutRequest => "info-out-req",
    InfoOutResponse => "info-out-resp",
}

/// Something an SA's handler wants done to other SAs, carried out after it returned.
pub(crate) enum Effect {
    /// This is to be the only SA of these identities. `forgotten`: the peer says so and has no others (INITIAL_CONTACT,
    /// RFC 7296 section 2.4), so it need not be told about them.
    OnlySa { sa: SaId, local: Identity, remote: Identity, forgotten: bool },
    /// An IKEv2 SA is up: the peer may have begun one at the same time.
    Established { sa: SaId },
    /// Negotiate a child again, in an IKE SA of its own (`close_action = start`).
    Begin { connection: Arc<Connection>, child: String, local: SocketAddr, remote: SocketAddr },
    /// A child that is to be there is gone, deleted by the peer (`close_action = start`) or at the end of its lifetime: made anew
    /// under this IKE SA, unless another one carries it.
    Remake { sa: SaId, child: String },
    /// IKEv1: Child SAs of the same peer that have lost their ISAKMP SA belong to this one now.
    Adopt { by: SaId },
    /// IKEv1: an ISAKMP SA is authenticated anew: the Child SAs of the old one belong to this one now.
    Succeed { old: SaId, by: SaId },
    /// IKEv1: the peer deletes, under this ISAKMP SA, an SA of ESP that another one with the same peer may have.
    DeletedElsewhere { under: SaId, spi: u32 },
    /// Wait for traffic of a child (`close_action = trap`).
    Trap { connection: String, child: String, local: SocketAddr, remote: SocketAddr },
    /// An SA with the first Child SA of another one is up beside it: it takes the others over, then the old one goes.
    Replace { old: SaId, by: SaId },
    /// Delete an SA whose replacement has all its Child SAs.
    Retire { old: SaId, by: SaId },
    /// The gateway of this IKE SA sends us to another one.
    Redirect { sa: SaId, to: crate::v2::Gateway },
    /// Begin an IKE SA beside an old one whose peer does not rekey.
    Renew { old: SaId, child: String },
    /// A rekeying made this IKE SA, which takes over the Child SAs if it `inherits`; `redundant` is one that the peer made
    /// at the same time and will delete.
    Rekeyed { old: SaId, new: Box<crate::v2::IkeSa>, inherits: bool, redundant: Option<SaId> },
    /// The Child SAs of an IKE SA belong to another one now.
    Inherit { old: SaId, heir: SaId },
}

pub(crate) struct Context {
    pub settings: Settings,
    pub rng: Box<dyn Random + Send>,
    pub timers: Timers,
    pub outputs: VecDeque<Output>,
    pub effects: Vec<Effect>,
    pub secrets: Vec<SharedSecret>,
    /// Certificates and private keys.
    pub credentials: crate::Credentials,
    /// What proves to peers that we have lost an IKE SA.
    pub tokens: crate::v2::TokenMaker,
    /// Requests that make no sense in half-open IKE SAs.
    pub senseless: crate::v2::Senseless,
    /// Peers that are told late when they must authenticate anew.
    pub hasty: crate::v2::Hasty,
    /// Virtual addresses for peers.
    pub pools: crate::Pools,
    /// This host's addresses that peers may be told of (MOBIKE).
    pub addresses: Vec<std::net::IpAddr>,
    /// Those that it had before, as far as they are remembered: nothing begins from there.
    pub gone: VecDeque<std::net::IpAddr>,
    /// Established SAs by identities and by the peer's address.
    pub peers: Peers,
    pub counters: [u64; COUNTERS.len()],
    pub drops: [u64; DropReason::ALL.len()],
    /// Child SAs that were replaced and only receive, the oldest first.
    retired: VecDeque<SaId>,
    /// Child SAs whose packets wait for the peer to load their successor.
    pub(crate) held: Held,
    next_ike: u32,
    next_child: u32,
    next_reqid: u32,
    /// Request IDs in use, by the selectors they stand for, each with the number of Child SAs and traps: more than one where
    /// a Child SA keeps its own as it moves (MOBIKE).
    reqids: BTreeMap<Protected, BTreeMap<u32, u32>>,
    /// The same by themselves: one is in use as long as anything has it, whatever it stands for by now.
    numbers: BTreeMap<u32, Number>,
    /// Request IDs below the next one that are free again.
    free_reqids: BTreeSet<u32>,
    /// The marks and interface numbers of traps, by connection and child: packets that meet a trap are to meet the Child SA
    /// that it asked for.
    trapped: BTreeMap<(String, String), Binding>,
    /// The next mark or interface number that no Child SA had.
    next_number: u32,
}

/// What a request ID stands for: selectors of both sides, and marks.
type Protected = (Vec<TrafficSelector>, Vec<TrafficSelector>, Binding);

struct Number {
    users: u32,
    /// We chose it, the operator did not.
    ours: bool,
}

/// So many Child SAs that were replaced are kept at most: a peer that rekeys all the time fills no data plane.
const MOST_RETIRED: usize = 1024;

/// Whose timers those of Child SAs that are retired or held are: no IKE SA has this number.
pub(crate) const NOBODY: SaId = SaId(0);

impl Context {
    /// A Child SA that was replaced is gone at both ends. Packets by it may have been overtaken by the Delete, so it receives
    /// for `delete_rekeyed_delay`.
    pub fn retire(&mut self, now: Instant, child: SaId, already: bool) {
        if !already && self.moves_later(now, child) {
            return;
        }
        let delay = self.settings.delete_rekeyed_delay;
        if delay.is_zero() {
            return self.plane(Command::Delete { child });
        }
        if !already {
            self.plane(Command::Retire { child });
        }
        self.retired.push_back(child);
        self.timers.set(NOBODY, Reason::Retired(child), now + delay);
        if self.retired.len() > MOST_RETIRED
            && let Some(oldest) = self.retired.front().copied()
        {
            self.timers.cancel(NOBODY, Reason::Retired(oldest));
            self.retired_long_enough(oldest);
        }
    }

    /// Nothing is expected by it any more.
    pub fn retired_long_enough(&mut self, child: SaId) {
        self.retired.retain(|other| *other != child);
        self.plane(Command::Delete { child });
    }

    /// Has the revocation lists fetched that are here. True if one is under way: then it is too early to judge.
    pub fn await_lists(&mut self, now: Instant, uris: &[String]) -> bool {
        let mut waiting = false;
        for uri in uris {
            let need = self.credentials.need_list(now, uri);
            waiting |= need != Need::Nothing;
            if need == Need::Ask {
                self.outputs.push_back(Output::Fetch(uri.clone()));
            }
        }
        waiting
    }

    /// Has the certificates looked up that a peer sent the place of. True if one is under way.
    pub fn await_certificates(&mut self, now: Instant, uris: &[String]) -> bool {
        let mut waiting = false;
        for uri in uris {
            let need = self.credentials.need_certificate(now, uri);
            waiting |= need != Need::Nothing;
            if need == Need::Ask {
                self.outputs.push_back(Output::FetchCertificate(uri.clone()));
            }
        }
        waiting
    }

    pub fn new(settings: Settings, rng: Box<dyn Random + Send>) -> Self {
        Self {
            settings,
            rng,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            effects: Vec::new(),
            secrets: Vec::new(),
            credentials: crate::Credentials::default(),
            tokens: crate::v2::TokenMaker::default(),
            pools: crate::Pools::default(),
            senseless: crate::v2::Senseless::default(),
            hasty: crate::v2::Hasty::default(),
            addresses: Vec::new(),
            gone: VecDeque::new(),
            peers: Peers::default(),
            counters: [0; COUNTERS.len()],
            drops: [0; DropReason::ALL.len()],
            retired: VecDeque::new(),
            held: Held::default(),
            next_ike: 1,
            next_child: 1,
            next_reqid: 1,
            reqids: BTreeMap::new(),
            numbers: BTreeMap::new(),
            free_reqids: BTreeSet::new(),
            trapped: BTreeMap::new(),
            next_number: 1,
        }
    }

    /// The marks and interfaces of a Child SA that succeeds no other: with numbers of its own where the configuration wants
    /// that (`%unique`), which are those of its trap if one is set.
    pub fn bind(&mut self, connection: &str, child: &config::Child) -> Binding {
        if child.unique.is_empty() {
            return child.binding;
        }
        let of_trap = self.trapped.get(&(connection.to_string(), child.name.clone())).copied();
        of_trap.unwrap_or_else(|| self.with_numbers(child))
    }

    /// The same of a trap, until [`unbind_trap`](Self::unbind_trap).
    pub fn bind_trap(&mut self, connection: &str, child: &config::Child) -> Binding {
        let binding = self.with_numbers(child);
        if !child.unique.is_empty() {
            self.trapped.insert((connection.to_string(), child.name.clone()), binding);
        }
        binding
    }

    /// The trap is gone: further Child SAs have numbers of their own.
    pub fn unbind_trap(&mut self, connection: &str, child: &str) {
        self.trapped.remove(&(connection.to_string(), child.to_string()));
    }

    fn with_numbers(&mut self, child: &config::Child) -> Binding {
        let next = &mut self.next_number;
        child.unique.fill(child.binding, || {
            let number = *next;
            *next = next.checked_add(1).unwrap_or(1); // zero is none
            number
        })
    }

    pub fn ike_id(&mut self) -> SaId {
        let id = SaId(self.next_ike);
        self.next_ike += 1;
        id
    }

    pub fn child_id(&mut self) -> SaId {
        let id = SaId(self.next_child);
        self.next_child += 1;
        id
    }

    /// Random octets.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.rng.fill(&mut octets);
        octets
    }

    /// An SPI of ours: never zero, and of this worker.
    pub fn ike_spi(&mut self) -> IkeSpi {
        let (worker, workers) = (u64::from(self.settings.worker), u64::from(self.settings.workers.max(1)));
        loop {
            let random = u64::from_be_bytes(self.random());
            // Not a uniform choice by at most `workers` in 2^64.
            let spi = (random - random % workers).wrapping_add(worker);
            if spi != 0 && spi % workers == worker {
                return IkeSpi::from(spi);
            }
        }
    }

    /// An SPI for an inbound Child SA: not among the reserved ones (RFC 4303 section 2.1).
    pub fn esp_spi(&mut self) -> u32 {
        loop {
            let spi = u32::from_be_bytes(self.random());
            if spi > 255 {
                return spi;
            }
        }
    }

    /// The request ID for these selectors with these marks: the same as long as a Child SA or trap with them exists, else the lowest one that
    /// is free, as with strongSwan.
    pub fn take_reqid(
        &mut self,
        local: &[TrafficSelector],
        remote: &[TrafficSelector],
        binding: Binding,
        fixed: Option<u32>,
    ) -> u32 {
        let (next, free) = (&mut self.next_reqid, &mut self.free_reqids);
        let users = self.reqids.entry((local.to_vec(), remote.to_vec(), binding)).or_default();
        let there = users.first_key_value().map(|(number, _)| *number);
        let of_operator = fixed.filter(|fixed| there.is_none() && !free.remove(fixed));
        let number = there.or(fixed).or_else(|| free.pop_first()).unwrap_or_else(|| {
            *next += 1;
            *next - 1
        });
        *users.entry(number).or_default() += 1;
        let ours = of_operator.is_none();
        self.numbers.entry(number).or_insert(Number { users: 0, ours }).users += 1;
        number
    }

    /// A Child SA has other selectors from now on, and its request ID still: the data plane goes on with that.
    pub fn move_reqid(
        &mut self,
        from: (&[TrafficSelector], &[TrafficSelector]),
        to: (&[TrafficSelector], &[TrafficSelector]),
        binding: Binding,
        number: u32,
    ) {
        self.leave_reqid(from, binding, number);
        let key = (to.0.to_vec(), to.1.to_vec(), binding);
        *self.reqids.entry(key).or_default().entry(number).or_default() += 1;
    }

    pub fn release_reqid(
        &mut self,
        local: &[TrafficSelector],
        remote: &[TrafficSelector],
        binding: Binding,
        number: u32,
    ) {
        self.leave_reqid((local, remote), binding, number);
        if let Some(of_number) = self.numbers.get_mut(&number) {
            of_number.users -= 1;
            if of_number.users == 0 {
                if of_number.ours {
                    self.free_reqids.insert(number);
                }
                self.numbers.remove(&number);
            }
        }
    }

    /// One fewer has this number for these selectors.
    fn leave_reqid(&mut self, from: (&[TrafficSelector], &[TrafficSelector]), binding: Binding, number: u32) {
        let key = (from.0.to_vec(), from.1.to_vec(), binding);
        let Some(numbers) = self.reqids.get_mut(&key) else { return };
        if let Some(users) = numbers.get_mut(&number) {
            *users -= 1;
            numbers.retain(|_, users| *users > 0);
        }
        if numbers.is_empty() {
            self.reqids.remove(&key);
        }
    }

    /// Whether this peer has an SA from another place. From the same one it may replace its own.
    pub fn held_elsewhere(&self, local: &Identity, remote: &Identity, at: SocketAddr) -> bool {
        let known = self.peers.with(&(local.clone(), remote.clone()));
        known.is_some_and(|sas| sas.values().any(|other| *other != at))
    }

    /// Whether there are as many IKE SAs between these identities as there may be: why there can be no other.
    pub fn too_many_of(&self, local: &Identity, remote: &Identity) -> Option<FailureKind> {
        let most = self.settings.ike_sa_limit_peer;
        let known = self.peers.with(&(local.clone(), remote.clone())).map_or(0, BTreeMap::len);
        (most != 0 && known >= most).then(|| FailureKind::TooManyOfPeer { remote: remote.clone(), most })
    }

    /// Whether another SA than `sa` is up with whoever is at this address. INITIAL_CONTACT is for an end that has none, and
    /// the peer would drop what came up because it began at the same time (RFC 7296 section 2.4).
    pub fn has_another_at(&self, sa: SaId, at: std::net::IpAddr) -> bool {
        self.peers.another_at(sa, at)
    }

    pub fn count(&mut self, counter: Counter) {
        self.counters[counter as usize] += 1;
    }

    pub fn transmit(&mut self, local: SocketAddr, remote: SocketAddr, message: Vec<u8>) {
        self.outputs.push_back(Output::Transmit { local, remote, message });
    }

    /// Sends the datagrams of one message.
    pub fn transmit_all(&mut self, local: SocketAddr, remote: SocketAddr, messages: Vec<Vec<u8>>) {
        messages.into_iter().for_each(|message| self.transmit(local, remote, message));
    }

    pub fn plane(&mut self, command: Command) {
        self.outputs.push_back(Output::Plane(command));
    }

    pub fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub fn step(&mut self, sa: SaId, name: &str, group: &'static str, level: u8, text: String) {
        self.event(Event::Step { sa: Some(sa), name: name.to_string(), group, level, text });
    }

    pub fn dropped(&mut self, reason: DropReason, from: SocketAddr) {
        self.drops[reason as usize] += 1;
        self.count(Counter::Invalid);
        self.event(Event::Dropped { reason, from, spis: None, sa: None, waiting_for: None });
    }

    /// A datagram of an SA that is not here.
    pub fn dropped_unknown(&mut self, spis: SpiPair, from: SocketAddr) {
        let reason = DropReason::UnknownSpi;
        self.drops[reason as usize] += 1;
        self.count(Counter::InvalidSpi);
        self.event(Event::Dropped { reason, from, spis: Some(spis), sa: None, waiting_for: None });
    }
}
