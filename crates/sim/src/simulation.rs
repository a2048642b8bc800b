//! The clock, the nodes and what is under way between them.

use crate::{Block, Conditions, Datagram, Nat, Recording, Rng, Site};
use crypto::{Certificate, RevocationList};
use model::dataplane::{Command, PlaneEvent, VirtualAddress};
use model::{ConfigRef, DropReason, Event, Failure, Instant, SaId, SaSnapshot, Tombstone};
use proto::{Endpoint, Input, Output, Reason, Selection, Started};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

/// What happened at a node.
#[derive(Clone, Debug)]
pub enum Happened {
    /// It sent a datagram, as it looked before any NAT.
    Sent(Datagram),
    /// A datagram arrived, as it looked behind any NAT.
    Received(Datagram),
    /// It gave its data plane a command.
    Plane(Command),
    /// Its data plane reported.
    Report(PlaneEvent),
    /// It wanted a virtual address of its own.
    AddAddress(VirtualAddress),
    /// It gave a virtual address of its own back.
    RemoveAddress(VirtualAddress),
    /// It told.
    Event(Event),
}

/// What happened at a node, and when.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Simulated time.
    pub at: Instant,
    /// What.
    pub what: Happened,
}

/// The adversary: sees each datagram on the open net and returns what goes on in its place, each with a delay on top of
/// the link's. Nothing drops it; more than one injects.
pub type Hook = Box<dyn FnMut(&mut Rng, &Datagram) -> Vec<(Duration, Datagram)>>;

struct Node {
    site: Site,
    endpoint: Endpoint,
    plane: Recording,
    nat: Option<usize>,
    log: Vec<LogEntry>,
    up: bool,
    /// Where its random numbers began, and began again.
    random: Vec<Rng>,
    /// Addresses beside the first.
    more: Vec<IpAddr>,
    clock: Clock,
}

/// By how much the clock of a node is ahead of the simulation's, and behind it.
#[derive(Clone, Copy, Default)]
struct Clock {
    ahead: Duration,
    behind: Duration,
    /// Since when it stands still.
    still: Option<Instant>,
}

impl Clock {
    /// What it shows.
    fn read(&self, now: Instant) -> Instant {
        let moved = (now + self.ahead).since(Instant::ZERO).saturating_sub(self.behind);
        Instant::ZERO + moved
    }

    /// When it shows this.
    fn when(&self, shown: Instant) -> Instant {
        Instant::ZERO + (shown + self.behind).since(Instant::ZERO).saturating_sub(self.ahead)
    }
}

/// Nodes, the net between them, and one clock.
pub struct Sim {
    now: Instant,
    sequence: u64,
    rng: Rng,
    nodes: Vec<Node>,
    nats: Vec<Nat>,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    conditions: Conditions,
    links: BTreeMap<(IpAddr, IpAddr), Conditions>,
    /// Firewall rules of the open net.
    pub blocks: Vec<Block>,
    hook: Option<Hook>,
    /// Every datagram that entered the open net, as it looked there, with the time.
    pub wire: Vec<(Instant, Datagram)>,
    /// Datagrams to addresses where no node is.
    pub undelivered: Vec<Datagram>,
    /// The revocation lists that nodes want fetched and that [`Sim::fetched`] has not told them of.
    pub fetches: Vec<(NodeId, String)>,
    /// The certificates that nodes want looked up and that [`Sim::looked_up`] has not told them of.
    pub lookups: Vec<(NodeId, String)>,
    /// Whether puzzles (RFC 8019) are solved at once.
    pub solves: bool,
    /// Those that are not.
    pub puzzles: Vec<(NodeId, proto::PuzzleJob)>,
    /// What the nodes are told when they ask for a host name.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

/// More inputs than this without time going on are an endless loop.
const LIVELOCK: u32 = 100_000;

impl Sim {
    /// An empty net over good lines. Everything that follows depends on the seed alone.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::ZERO + Duration::from_secs(1000),
            sequence: 0,
            rng: Rng::new(seed),
            nodes: Vec::new(),
            nats: Vec::new(),
            in_flight: BTreeMap::new(),
            conditions: Conditions::default(),
            links: BTreeMap::new(),
            blocks: Vec::new(),
            hook: None,
            wire: Vec::new(),
            undelivered: Vec::new(),
            fetches: Vec::new(),
            lookups: Vec::new(),
            solves: true,
            puzzles: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Adds a node. Nodes behind NAT boxes of the same address share the box.
    pub fn add(&mut self, mut site: Site) -> NodeId {
        let nat = site.nat.take().map(|nat| {
            self.nats.iter().position(|n| n.public() == nat.public()).unwrap_or_else(|| {
                self.nats.push(nat);
                self.nats.len() - 1
            })
        });
        let rng = self.rng.fork();
        let mut endpoint = site.endpoint(rng.clone());
        endpoint.set_addresses(self.now, vec![site.address]);
        let plane = Recording::default();
        let (log, more, random) = (Vec::new(), Vec::new(), vec![rng]);
        let clock = Clock::default();
        self.nodes.push(Node { site, endpoint, plane, nat, log, up: true, more, random, clock });
        NodeId(self.nodes.len() - 1)
    }

    // ----------------------------------------------------------------------------------------------------------- net

    /// Sets the conditions of every link that has none of its own.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Sets the conditions from one address to another, in that direction.
    pub fn set_link(&mut self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        self.links.insert((from, to), conditions);
    }

    /// Sets the adversary, or removes it.
    pub fn set_hook(&mut self, hook: Option<Hook>) {
        self.hook = hook;
    }

    /// The NAT box of a node.
    pub fn nat(&mut self, node: NodeId) -> Option<&mut Nat> {
        let nat = self.nodes[node.0].nat?;
        self.nats.get_mut(nat)
    }

    /// Puts a datagram on the open net, as somebody with any source address could.
    pub fn inject(&mut self, datagram: Datagram) {
        self.launch(Duration::ZERO, datagram);
    }

    /// How many datagrams are under way.
    pub fn under_way(&self) -> usize {
        self.in_flight.len()
    }

    fn send(&mut self, from: NodeId, mut datagram: Datagram) {
        self.log(from, Happened::Sent(datagram.clone()));
        if let Some(nat) = self.nodes[from.0].nat {
            self.nats[nat].outbound(self.now, &mut datagram);
        }
        self.wire.push((self.now, datagram.clone()));
        let through = match &mut self.hook {
            Some(hook) => hook(&mut self.rng, &datagram),
            None => vec![(Duration::ZERO, datagram)],
        };
        for (delay, datagram) in through {
            if self.blocks.iter().any(|b| b.matches(&datagram)) {
                continue;
            }
            let link = (datagram.from.ip(), datagram.to.ip());
            let conditions = *self.links.get(&link).unwrap_or(&self.conditions);
            for (link_delay, copy) in conditions.apply(&mut self.rng, datagram) {
                self.launch(delay + link_delay, copy);
            }
        }
    }

    fn launch(&mut self, delay: Duration, datagram: Datagram) {
        self.sequence += 1;
        self.in_flight.insert((self.now + delay, self.sequence), datagram);
    }

    fn arrive(&mut self, mut datagram: Datagram) {
        let nat = self.nats.iter().position(|n| n.public() == datagram.to.ip());
        if let Some(nat) = nat
            && !self.nats[nat].inbound(self.now, &mut datagram)
        {
            return;
        }
        let to = datagram.to.ip();
        let Some(index) =
            self.nodes.iter().position(|n| n.nat == nat && (n.site.address == to || n.more.contains(&to)))
        else {
            self.undelivered.push(datagram);
            return;
        };
        if datagram.keepalive || !self.nodes[index].up {
            return;
        }
        self.log(NodeId(index), Happened::Received(datagram.clone()));
        let input = Input::Datagram { local: datagram.to, remote: datagram.from, bytes: &datagram.bytes };
        let now = self.clock(NodeId(index));
        self.nodes[index].endpoint.handle(now, input);
        self.drain(NodeId(index));
    }

    // --------------------------------------------------------------------------------------------------------- nodes

    fn log(&mut self, node: NodeId, what: Happened) {
        self.nodes[node.0].log.push(LogEntry { at: self.now, what });
    }

    /// Takes everything an endpoint wants, in order, and lets its data plane report.
    fn drain(&mut self, node: NodeId) {
        let mut reports = VecDeque::new();
        loop {
            while let Some(output) = self.nodes[node.0].endpoint.poll_output() {
                match output {
                    Output::Plane(command) => {
                        self.log(node, Happened::Plane(command.clone()));
                        reports.extend(self.nodes[node.0].plane.carry_out(command));
                    }
                    Output::Transmit { local, remote, message } => {
                        self.send(node, Datagram { from: local, to: remote, bytes: message, keepalive: false });
                    }
                    Output::Fetch(uri) => self.fetches.push((node, uri)),
                    Output::FetchCertificate(uri) => self.lookups.push((node, uri)),
                    Output::Resolve(name) => {
                        let addresses = self.names.get(&name).cloned().unwrap_or_default();
                        let now = self.clock(node);
                        self.nodes[node.0].endpoint.name_resolved(now, &name, addresses);
                    }
                    Output::Solve(job) if self.solves => {
                        let mut solver = crypto::PuzzleSolver::new(job.puzzle.clone());
                        while solver.work(1024) {}
                        let now = self.clock(node);
                        self.nodes[node.0].endpoint.puzzle_solved(now, &job, solver.solution());
                    }
                    Output::Solve(job) => self.puzzles.push((node, job)),
                    Output::AddAddress(new) => self.log(node, Happened::AddAddress(new)),
                    Output::RemoveAddress(gone) => self.log(node, Happened::RemoveAddress(gone)),
                    Output::Keepalive { local, remote } => {
                        self.send(node, Datagram { from: local, to: remote, bytes: vec![0xFF], keepalive: true });
                    }
                    Output::Event(event) => self.log(node, Happened::Event(event)),
                }
            }
            let Some(report) = reports.pop_front() else { return };
            self.report(node, report);
        }
    }

    /// All fetches that are under way are over: each with a list, or without.
    pub fn fetched(&mut self, list: impl Fn(&str) -> Option<RevocationList>) {
        for (node, uri) in std::mem::take(&mut self.fetches) {
            let list = list(&uri);
            self.with(node, |endpoint, now| endpoint.list_fetched(now, &uri, list));
        }
    }

    /// All certificates that are looked up are answered: each with one, or without.
    pub fn looked_up(&mut self, certificate: impl Fn(&str) -> Option<Certificate>) {
        for (node, uri) in std::mem::take(&mut self.lookups) {
            let certificate = certificate(&uri);
            self.with(node, |endpoint, now| endpoint.certificate_fetched(now, &uri, certificate));
        }
    }

    /// The endpoint, to look at.
    pub fn endpoint(&self, node: NodeId) -> &Endpoint {
        &self.nodes[node.0].endpoint
    }

    /// Does something with an endpoint, and then what the endpoint wants.
    pub fn with<T>(&mut self, node: NodeId, act: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = self.clock(node);
        let result = act(&mut self.nodes[node.0].endpoint, now);
        self.drain(node);
        result
    }

    /// Lets the data plane of a node report something.
    pub fn report(&mut self, node: NodeId, event: PlaneEvent) {
        self.log(node, Happened::Report(event.clone()));
        let now = self.clock(node);
        self.nodes[node.0].endpoint.handle(now, Input::Plane(event));
        self.drain(node);
    }

    /// The data plane of a node.
    pub fn plane(&self, node: NodeId) -> &Recording {
        &self.nodes[node.0].plane
    }

    /// The data plane of a node, to make it fail.
    pub fn plane_mut(&mut self, node: NodeId) -> &mut Recording {
        &mut self.nodes[node.0].plane
    }

    /// The configuration of a node.
    pub fn site(&self, node: NodeId) -> &Site {
        &self.nodes[node.0].site
    }

    /// The address of a node, behind its NAT if it has one.
    pub fn address(&self, node: NodeId) -> IpAddr {
        self.nodes[node.0].site.address
    }

    /// A node has one more address.
    pub fn add_address(&mut self, node: NodeId, address: IpAddr) {
        self.nodes[node.0].more.push(address);
        let all = std::iter::once(self.address(node)).chain(self.nodes[node.0].more.iter().copied()).collect();
        self.with(node, |endpoint, now| endpoint.set_addresses(now, all));
    }

    /// A node has another address, and lost the one before: its IKE SAs move if they can (MOBIKE).
    pub fn relocate(&mut self, node: NodeId, address: IpAddr) {
        let before = std::mem::replace(&mut self.nodes[node.0].site.address, address);
        self.with(node, |endpoint, now| {
            for sa in endpoint.movable().into_iter().filter(|sa| sa.local == before) {
                endpoint.roam(now, sa.sa, address, sa.remote);
            }
            endpoint.set_addresses(now, vec![address]);
        });
    }

    /// A node crashes and starts again at once: it has forgotten everything but its configuration.
    pub fn restart(&mut self, node: NodeId) {
        let rng = self.rng.fork();
        let node = &mut self.nodes[node.0];
        node.random.push(rng.clone());
        node.endpoint = node.site.endpoint(rng);
        let all = std::iter::once(node.site.address).chain(node.more.iter().copied()).collect();
        node.endpoint.set_addresses(node.clock.read(self.now), all);
        node.plane = Recording::default();
        node.up = true;
    }

    /// A node crashes and stays down: what is sent to it is lost. [`Sim::restart`] brings it up again.
    pub fn crash(&mut self, node: NodeId) {
        self.restart(node);
        self.nodes[node.0].up = false;
    }

    /// A node stands still with all that it knows, as a suspended machine: it hears nothing, and its clock does not tick.
    pub fn suspend(&mut self, node: NodeId) {
        self.nodes[node.0].up = false;
    }

    /// The same with a clock that does not count the time, as CLOCK_MONOTONIC does not.
    pub fn suspend_clock(&mut self, node: NodeId) {
        self.suspend(node);
        self.nodes[node.0].clock.still.get_or_insert(self.now);
    }

    /// A suspended node goes on. For it the clock jumps: everything that was due meanwhile is due now; unless its clock
    /// stood still.
    pub fn wake(&mut self, node: NodeId) {
        let (now, node) = (self.now, &mut self.nodes[node.0]);
        node.up = true;
        node.clock.behind += node.clock.still.take().map_or(Duration::ZERO, |still| now.since(still));
    }

    /// The clock of one node jumps ahead, as if it alone had been suspended for so long.
    pub fn jump(&mut self, node: NodeId, time: Duration) {
        self.nodes[node.0].clock.ahead += time;
    }

    /// What the clock of a node shows.
    pub fn clock(&self, node: NodeId) -> Instant {
        self.nodes[node.0].clock.read(self.now)
    }

    /// Forgets what was recorded: the nodes' logs and the datagrams. For simulations that are too long to keep them.
    pub fn forget_records(&mut self) {
        self.wire.clear();
        self.undelivered.clear();
        self.nodes.iter_mut().for_each(|node| node.log.clear());
    }

    /// Begins the child `net` of the connection whose peer is `to`, on port 500.
    ///
    /// # Panics
    /// If there is no such connection, or it cannot begin.
    pub fn initiate(&mut self, from: NodeId, to: NodeId) -> SaId {
        match self.try_initiate(from, to) {
            Ok(Started::Negotiation(id) | Started::AlreadyUp(id)) => id,
            Err(failure) => panic!("cannot begin: {failure}"),
        }
    }

    /// As [`Sim::initiate`].
    ///
    /// # Errors
    /// Why it cannot begin.
    #[allow(clippy::result_large_err)] // as in the core
    pub fn try_initiate(&mut self, from: NodeId, to: NodeId) -> Result<Started, Failure> {
        let (connection, local, remote) = self.between(from, to);
        self.with(from, |endpoint, now| endpoint.initiate(now, &connection, "net", local, remote))
    }

    /// As [`Sim::initiate`], but as the configuration does it (`start_action = start`): what is refused is begun again later.
    ///
    /// # Errors
    /// Why it cannot even begin.
    #[allow(clippy::result_large_err)] // as there
    pub fn initiate_for_good(&mut self, from: NodeId, to: NodeId) -> Result<Started, Failure> {
        let (connection, local, remote) = self.between(from, to);
        self.with(from, |endpoint, now| endpoint.initiate_for_good(now, &connection, "net", local, remote))
    }

    /// The connection from one node to another one, and both ends.
    fn between(&self, from: NodeId, to: NodeId) -> (String, SocketAddr, SocketAddr) {
        let (local, remote) = (self.address(from), self.address(to));
        let named = |c: &config::Connection| c.remote_addrs.iter().any(|p| p.matches(remote));
        let connection = self.endpoint(from).connections().find(|c| named(c)).map(|c| c.name.clone());
        let connection = connection.unwrap_or_else(|| panic!("no connection to {remote}"));
        let at = |address| SocketAddr::new(address, 500);
        (connection, at(local), at(remote))
    }

    /// Ends SAs at a node.
    pub fn terminate(&mut self, node: NodeId, selection: &Selection) -> Vec<SaId> {
        self.with(node, |endpoint, now| endpoint.terminate(now, selection))
    }

    // ---------------------------------------------------------------------------------------------------------- time

    /// The clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When anything happens next.
    fn next(&self) -> Option<(Instant, Option<usize>)> {
        let packet = self.in_flight.first_key_value().map(|((at, _), _)| (*at, None));
        let timers = self.nodes.iter().enumerate().filter(|(_, n)| n.up);
        let timer = timers
            .filter_map(|(index, node)| node.endpoint.poll_timeout().map(|(at, _)| (node.clock.when(at), Some(index))))
            .min_by_key(|(at, _)| *at);
        match (packet, timer) {
            (Some(p), Some(t)) => Some(if p.0 <= t.0 { p } else { t }),
            (p, t) => p.or(t),
        }
    }

    /// One datagram or timer that is due until `limit`; false if there is none, and then it is `limit`.
    fn step(&mut self, limit: Instant) -> bool {
        let Some((at, timer)) = self.next().filter(|(at, _)| *at <= limit) else {
            self.now = limit;
            return false;
        };
        self.now = self.now.max(at);
        match timer {
            Some(index) => {
                let now = self.clock(NodeId(index));
                self.nodes[index].endpoint.handle(now, Input::Timeout);
                self.drain(NodeId(index));
            }
            None => {
                if let Some((_, datagram)) = self.in_flight.pop_first() {
                    self.arrive(datagram);
                }
            }
        }
        true
    }

    /// Runs until the condition holds, for at most `limit`; how long that took, or `None`. Checks the books of every
    /// data plane at the end.
    ///
    /// # Panics
    /// If time stands still, or the books do not balance.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Sim) -> bool) -> Option<Duration> {
        let (start, end) = (self.now, self.now + limit);
        let (mut steps, mut moment) = (0, self.now);
        let mut reached = condition(self);
        while !reached && self.step(end) {
            (steps, moment) = if self.now == moment { (steps + 1, moment) } else { (0, self.now) };
            assert!(steps < LIVELOCK, "time stands still at {:?}", self.now);
            reached = condition(self);
        }
        self.check_books();
        reached.then(|| self.now.since(start))
    }

    /// Runs for this time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Whether nothing is outstanding but long timers: no datagram under way, no request unanswered or queued, no
    /// negotiation half done.
    pub fn quiet(&self) -> bool {
        self.in_flight.is_empty()
            && self.nodes.iter().filter(|n| n.up).all(|node| {
                let busy = |sa: &SaSnapshot| {
                    !sa.tasks_active.is_empty() || !sa.tasks_queued.is_empty() || sa.waiting_for.is_some()
                };
                !matches!(node.endpoint.poll_timeout(), Some((_, Reason::Retransmit)))
                    && !node.endpoint.snapshots(node.clock.read(self.now)).iter().any(busy)
            })
    }

    /// Runs until [`Sim::quiet`].
    ///
    /// # Panics
    /// If that takes longer than `limit`.
    pub fn settle(&mut self, limit: Duration) -> Duration {
        let at = self.run_until(limit, Sim::quiet);
        at.unwrap_or_else(|| panic!("the net is not quiet after {limit:?}: {} datagrams under way", self.under_way()))
    }

    /// What every data plane has is what its endpoint says.
    fn check_books(&self) {
        for node in self.nodes.iter().filter(|n| n.up) {
            let name = &node.site.name;
            assert!(node.plane.violations.is_empty(), "{name}: {}", node.plane.violations.join("; "));
            let snapshots = node.endpoint.snapshots(node.clock.read(self.now));
            let listed: Vec<SaId> =
                snapshots.iter().flat_map(|s| &s.children).filter(|c| c.installed.is_some()).map(|c| c.id).collect();
            for install in node.plane.installed() {
                let known = listed.contains(&install.child) || node.plane.holds(install.child);
                assert!(known, "{name}: Child SA {} is installed, not listed", install.child);
            }
        }
    }

    // --------------------------------------------------------------------------------------------------- observation

    /// Whether the two nodes can exchange traffic in both directions.
    pub fn carries(&self, a: NodeId, b: NodeId) -> bool {
        self.plane(a).pairs(self.plane(b)).next().is_some()
    }

    /// How many pairs of Child SAs the two nodes have in common.
    pub fn pairs(&self, a: NodeId, b: NodeId) -> usize {
        self.plane(a).pairs(self.plane(b)).count()
    }

    /// The log of a node.
    pub fn happened(&self, node: NodeId) -> &[LogEntry] {
        &self.nodes[node.0].log
    }

    /// Where the random numbers of a node began, and after each restart began again: who knows that knows its keys.
    pub(crate) fn random(&self, node: NodeId) -> &[Rng] {
        &self.nodes[node.0].random
    }

    /// The events of a node.
    pub fn events(&self, node: NodeId) -> impl Iterator<Item = (Instant, &Event)> {
        self.happened(node).iter().filter_map(|entry| match &entry.what {
            Happened::Event(event) => Some((entry.at, event)),
            _ => None,
        })
    }

    /// The virtual addresses that a node has, one for each IKE SA that brought it.
    pub fn virtual_addresses(&self, node: NodeId) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = Vec::new();
        for entry in self.happened(node) {
            match &entry.what {
                Happened::AddAddress(new) => all.push(new.address),
                Happened::RemoveAddress(gone) => {
                    let held = all.iter().position(|a| *a == gone.address);
                    all.swap_remove(held.expect("it has what it gives back"));
                }
                _ => {}
            }
        }
        all
    }

    /// The SAs of a node.
    pub fn snapshots(&self, node: NodeId) -> Vec<SaSnapshot> {
        self.endpoint(node).snapshots(self.clock(node))
    }

    /// What ended at a node, the latest first.
    pub fn tombstones(&self, node: NodeId) -> Vec<Tombstone> {
        self.endpoint(node).tombstones(self.clock(node))
    }

    /// Why the latest SA of a node ended.
    ///
    /// # Panics
    /// If none ended.
    pub fn failure(&self, node: NodeId) -> Failure {
        self.tombstones(node).first().expect("something ended").failure.clone()
    }

    /// The place in the configuration of a node where a text stands first, as a failure should name it.
    pub fn place(&self, node: NodeId, text: &str, key: &str) -> ConfigRef {
        let site = self.site(node);
        ConfigRef { file: format!("{}.conf", site.name), line: site.line_of(text), key: key.to_string() }
    }

    /// How often a node dropped a datagram for this reason.
    pub fn dropped(&self, node: NodeId, reason: DropReason) -> u64 {
        self.endpoint(node).drops().into_iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| n)
    }
}
