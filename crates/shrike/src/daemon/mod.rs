//! The daemon: sockets, timers, data plane and control socket around one [`Endpoint`].

mod addresses;
mod aside;
mod begin;
mod bypass;
pub(crate) mod control;
mod crash;
mod credentials;
mod drops;
mod growth;
mod listener;
mod lists;
pub(crate) mod load;
mod names;
mod plane;
mod probes;
mod roaming;
mod signals;
mod sockets;
mod solver;
mod strays;
mod troubles;
mod tunnel_routes;
mod updown;
mod userspace;
mod xfrm;

#[cfg(test)]
pub(crate) use control::describe;
pub(crate) use credentials::FromFiles;
pub use plane::Choice;

use crate::clock::{Calendar, Clock, unix_seconds};
use crate::history::{self, Recorder};
use crate::log;
use addresses::VirtualAddresses;
use config::{Connection, SharedSecret};
use control::Client;
use drops::Drops;
use linux::{NetworkChanges, Routes};
use listener::{SocketFile, listen};
use lists::{Fetcher, Lookup};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use model::dataplane::{Command, PlaneEvent};
use model::{Event, Instant, SaId, SaSnapshot, Tombstone};
use names::Resolver;
use plane::DataPlane;
use probes::Probes;
use proto::{Backoff, Endpoint, Input, Output, Selection, Settings};
use signals::Signals;
use sockets::Sockets;
use solver::Solver;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use troubles::Troubles;

/// What the operator said on the command line.
pub struct Options {
    /// `swanctl.conf`; `None` for the usual place, if there is one.
    pub config: Option<String>,
    /// `strongswan.conf`; `None` for the usual place, if there is one.
    pub strongswan_conf: Option<String>,
    /// The control socket: `unix:///path`.
    pub vici: Option<String>,
    /// Which data plane.
    pub data_plane: Choice,
    /// Log level.
    pub level: u8,
    /// Where to keep what happens, or `off`.
    pub history: Option<String>,
}

const SIGNALS: Token = Token(0);
const LISTENER: Token = Token(1);
/// The threads that ask the outside world.
const OUTSIDE: Token = Token(2);
const NETWORK: Token = Token(3);
const FIRST_SOCKET: usize = 4;
const FIRST_PLANE: usize = 16;
const FIRST_CLIENT: usize = 64;

/// How many clients may be connected to the control socket.
const MAX_CLIENTS: usize = 256;

/// Where swanctl has its configuration.
const DEFAULT_CONFIG: &str = "/etc/swanctl/swanctl.conf";

/// Changes of interfaces, addresses and routes come in groups, our own routes among them: they are looked at together,
/// after as long as strongSwan waits.
const NETWORK_SETTLES: Duration = Duration::from_millis(100);

/// How long peers are given to confirm that their SAs are deleted when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the control socket's commands work on.
pub struct Core {
    /// The protocol.
    pub endpoint: Endpoint,
    /// The data plane.
    pub plane: Box<dyn DataPlane>,
    /// Start, in local time.
    pub since: String,
    /// When things happened, for clients.
    pub calendar: Calendar,
    options: Options,
    /// Connections as the configuration file has them, with their lines.
    from_file: BTreeMap<String, Arc<Connection>>,
    /// Secrets as the configuration file has them.
    secrets_from_file: Vec<SharedSecret>,
    /// Certificates and keys as the configuration's directories have them.
    credentials_from_files: credentials::FromFiles,
    /// Names of the authorities that the configuration file has.
    authorities_from_file: BTreeSet<String>,
    /// Names of the pools that the configuration file has.
    pools_from_file: BTreeSet<String>,
    routes: Option<Routes>,
    changes: Option<NetworkChanges>,
    addresses: VirtualAddresses,
    /// Child SAs that the data plane refused, until the protocol has given them up: nobody is told that they were up.
    refused: BTreeSet<SaId>,
    /// What happened, for later.
    history: Option<Recorder>,
    /// What became of datagrams.
    pub troubles: Troubles,
    /// What became of packets that were sent through tunnels on purpose.
    pub probes: Probes,
}

impl Core {
    pub fn worker(&self) -> u32 {
        self.endpoint.settings().worker
    }

    /// Whether the event tells of a Child SA that the data plane refused. The protocol took it for installed: its own word
    /// was in the queue already.
    fn never_up(&mut self, event: &Event) -> bool {
        let (snapshot, down) = match event {
            Event::ChildUp(snapshot) => (snapshot, false),
            Event::ChildDown(snapshot) => (snapshot, true),
            _ => return false,
        };
        let Some(child) = snapshot.children.first().map(|c| c.id) else { return false };
        if down { self.refused.remove(&child) } else { self.refused.contains(&child) }
    }

    /// SAs that ended, the latest first: also those that ended before the daemon was started.
    pub fn ended(&self, now: Instant) -> Vec<Tombstone> {
        let before = self.history.iter().flat_map(Recorder::restored);
        let mut here = self.endpoint.tombstones(now);
        here.iter_mut().for_each(|tombstone| troubles::keep(&self.troubles, now, tombstone));
        here.into_iter().chain(before).collect()
    }

    /// Every SA with its traffic counters.
    pub fn snapshots(&mut self, now: Instant) -> Vec<SaSnapshot> {
        let mut all = self.endpoint.snapshots(now);
        for child in all.iter_mut().flat_map(|sa| &mut sa.children) {
            if let Some(counters) = self.plane.counters(now, child.id) {
                child.counters = counters;
            }
        }
        for sa in &mut all {
            sa.send_error = self.troubles.of(now, sa.remote);
        }
        all
    }

    /// A connection that a client loads. If the file says the same, the file's lines are kept for explanations. What begins
    /// with it begins, unless the same was loaded already.
    pub fn load_connection(&mut self, now: Instant, connection: Arc<Connection>) {
        let known = self.endpoint.connections().any(|c| c.name == connection.name && load::same(c, &connection));
        let written = self.from_file.get(&connection.name).filter(|c| load::same(c, &connection));
        let connection = written.cloned().unwrap_or(connection);
        log::line("CFG", 1, &format!("loaded connection '{}'", connection.name));
        if !known {
            warn_of_one_pair(&connection);
        }
        let before = self.loaded(&connection.name);
        self.endpoint.load_connection(Arc::clone(&connection));
        self.probes.loaded(now, &connection);
        if !known {
            self.supersede_by(now, before, &connection);
            self.start_actions(now, &connection);
        }
    }

    fn loaded(&self, name: &str) -> Option<Arc<Connection>> {
        self.endpoint.connections().find(|c| c.name == name).cloned()
    }

    /// A connection is loaded in the place of one of the same name.
    fn supersede_by(&mut self, now: Instant, before: Option<Arc<Connection>>, connection: &Connection) {
        let Some(before) = before.filter(|before| !load::same(before, connection)) else { return };
        let staying = self.endpoint.supersede(now, &before);
        if staying > 0 {
            let (name, sas) = (&connection.name, counted(staying, "IKE SA"));
            let how = "until they authenticate anew (swanctl --rekey --reauth) or are made anew";
            log::line("CFG", 0, &format!("changed connection '{name}': {sas} up with the old settings {how}"));
        }
    }

    /// Forgets a connection, and closes what it began by itself. False if there is none of this name.
    pub fn unload_connection(&mut self, now: Instant, name: &str, why: &str) -> bool {
        let Some(before) = self.loaded(name) else { return false };
        self.endpoint.unload_connection(name);
        let stay = match self.endpoint.supersede(now, &before) {
            0 => String::new(),
            n => format!("; {} stay", counted(n, "IKE SA")),
        };
        log::line("CFG", 0, &format!("unloaded connection '{name}'{why}{stay}"));
        true
    }

    /// A secret that a client loads; the file's line is kept as for connections.
    pub fn load_secret(&mut self, mut secret: SharedSecret) {
        let same = |s: &&SharedSecret| {
            (s.name == secret.name || s.name == format!("ike-{}", secret.name))
                && s.kind == secret.kind
                && crypto::equal(s.secret.expose(), secret.secret.expose())
        };
        if let Some(written) = self.secrets_from_file.iter().find(same) {
            secret.source = written.source.clone();
        }
        self.endpoint.add_secret(secret);
    }

    /// The directory of the configuration, below which certificates and keys are.
    pub fn directory(&self) -> PathBuf {
        Path::new(&self.config_path()).parent().map(Path::to_path_buf).unwrap_or_default()
    }

    fn config_path(&self) -> String {
        self.options.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.to_string())
    }

    /// Reads the configuration file again, or another one. Returns a summary and what was refused; what was refused stays
    /// as it was, what the file no longer has is unloaded, and what clients loaded is left alone.
    pub fn load_file(&mut self, now: Instant, path: Option<&str>) -> Result<(String, Vec<String>), String> {
        let path = path.map_or_else(|| self.config_path(), str::to_string);
        let loaded = load::file(&path)?;
        let (connections, secrets) = (loaded.connections.len(), loaded.secrets.len());
        let mut summary = format!("{path}: {}, {}", counted(connections, "connection"), counted(secrets, "secret"));
        if !loaded.refused.is_empty() {
            summary +=
                &format!("; {} (below), what is concerned stays as it was", counted(loaded.refused.len(), "error"));
        }
        let gone: Vec<String> =
            self.from_file.keys().filter(|name| !loaded.connection_names.contains(*name)).cloned().collect();
        for name in gone {
            self.from_file.remove(&name);
            self.unload_connection(now, &name, &format!(": {path} no longer has it"));
        }
        for name in self.pools_from_file.difference(&loaded.pool_names) {
            self.endpoint.pools_mut().unload(name);
            log::line("CFG", 0, &format!("unloaded pool '{name}': {path} no longer has it"));
        }
        self.pools_from_file = loaded.pool_names;
        for pool in loaded.pools {
            self.endpoint.pools_mut().load(pool);
        }
        self.credentials_from_files.replace(self.endpoint.credentials_mut(), loaded.credentials);
        let names: BTreeSet<String> = loaded.authorities.iter().map(|a| a.name.clone()).collect();
        for name in self.authorities_from_file.difference(&names) {
            self.endpoint.credentials_mut().forget_authority(name);
            log::line("CFG", 0, &format!("unloaded authority '{name}': {path} no longer has it"));
        }
        self.authorities_from_file = names;
        loaded.authorities.iter().for_each(|authority| load::trust(self.endpoint.credentials_mut(), authority));
        self.from_file.extend(loaded.connections.iter().map(|c| (c.name.clone(), Arc::clone(c))));
        for old in std::mem::take(&mut self.secrets_from_file) {
            if !loaded.secret_names.contains(&old.name) {
                self.endpoint.remove_secret(&old.name);
                log::line("CFG", 0, &format!("unloaded secret '{}': {path} no longer has it", old.name));
            } else if !loaded.secrets.iter().any(|s| s.name == old.name) {
                self.secrets_from_file.push(old); // refused: the old one stays
            }
        }
        self.secrets_from_file.extend(loaded.secrets.iter().cloned());
        for secret in loaded.secrets {
            self.endpoint.add_secret(secret);
        }
        for connection in &loaded.connections {
            warn_of_one_pair(connection);
            let before = self.loaded(&connection.name);
            self.endpoint.load_connection(Arc::clone(connection));
            self.supersede_by(now, before, connection);
        }
        log::line("CFG", 0, &format!("loaded {summary}"));
        for refused in &loaded.refused {
            log::line("CFG", 0, &refused.report);
        }
        for connection in &loaded.connections {
            self.probes.loaded(now, connection);
            self.start_actions(now, connection);
        }
        Ok((summary, loaded.refused.into_iter().map(|refused| refused.report).collect()))
    }

    /// `reload-settings`: the log level is all that may change while running.
    pub fn reload(&mut self) -> Result<(), String> {
        load::settings(self.options.strongswan_conf.as_deref()).map(drop)
    }
}

/// The whole daemon.
struct Daemon {
    core: Core,
    sockets: Sockets,
    clock: Clock,
    poll: Poll,
    clients: BTreeMap<usize, Client>,
    next_client: usize,
    listener: mio::net::UnixListener,
    signals: Signals,
    socket: SocketFile,
    resolver: Resolver,
    fetcher: Fetcher,
    lookup: Lookup,
    solver: Solver,
    /// When to look what became of the network.
    check_network: Option<Instant>,
    drops: Drops,
}

/// Runs until a signal ends it.
///
/// # Errors
/// Why it cannot start, in one sentence that says what to do.
pub fn run(mut options: Options) -> Result<(), String> {
    log::set_level(options.level);
    if let Err(error) = linux::harden_process() {
        log::line("DMN", 0, &format!("secrets might reach a core dump: {error}"));
    }
    let settings = load::settings(options.strongswan_conf.as_deref())?;
    if let Some(path) = options.config.as_deref().filter(|path| !Path::new(path).exists()) {
        return Err(format!("the configuration {path} does not exist: write it, or name another with --config"));
    }
    // In full, because explanations name it to readers who are elsewhere.
    options.config = options.config.map(|path| match std::path::absolute(&path) {
        Ok(absolute) => absolute.to_string_lossy().into_owned(),
        Err(_) => path,
    });
    let socket_path = socket_path(&options, &settings)?;
    let mut daemon = Daemon::open(options, &settings, socket_path)?;
    daemon.start()?;
    let ended = daemon.serve();
    daemon.stop();
    ended
}

/// "1 error", "2 errors".
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Where the control socket is: command line, else `SHRIKE_VICI`, else strongswan.conf, else charon's place.
/// What a child of IKEv1 leaves out, which nobody is told of otherwise.
fn warn_of_one_pair(connection: &Connection) {
    for child in connection.one_pair_only() {
        log::line("CFG", 0, &format!("connection '{}', {child}", connection.name));
    }
}

fn socket_path(options: &Options, settings: &config::DaemonSettings) -> Result<PathBuf, String> {
    let uri = options.vici.clone().or_else(|| settings.vici_socket.clone());
    crate::client::socket_path(uri.as_deref())
}

impl Daemon {
    fn open(options: Options, file: &config::DaemonSettings, socket_path: PathBuf) -> Result<Self, String> {
        let listener = listen(&socket_path)?;
        let socket = SocketFile(socket_path);
        let decision = plane::decide(options.data_plane)?;
        let socket_options =
            sockets::Options { port: file.port, nat_port: file.port_nat_t, kernel_esp: decision.kernel, mark: true };
        let sockets = Sockets::open(&socket_options).map_err(|e| e.to_string())?;
        let plane = plane::open(&decision, [file.port, file.port_nat_t], file.install_routes)?;
        log::line("DMN", 0, &format!("shrike {} starts: {}", env!("CARGO_PKG_VERSION"), decision.why));
        let settings = Settings {
            backoff: Backoff {
                timeout: file.retransmit_timeout,
                base: file.retransmit_base,
                tries: file.retransmit_tries,
                jitter: file.retransmit_jitter.into(),
                limit: file.retransmit_limit,
            },
            half_open_timeout: file.half_open_timeout,
            cookie_threshold: file.cookie_threshold as usize,
            cookie_threshold_peer: file.cookie_threshold_ip as usize,
            block_threshold: file.block_threshold as usize,
            half_open_limit: match file.init_limit_half_open {
                0 => Settings::default().half_open_limit,
                limit => limit as usize,
            },
            puzzle_threshold: file.puzzle_threshold as usize,
            puzzle_threshold_peer: file.puzzle_threshold_ip as usize,
            puzzle_difficulty: file.puzzle_difficulty,
            puzzle_max_difficulty: file.puzzle_max_difficulty,
            window_size: file.window_size,
            keepalive: file.keep_alive,
            fragment_size: file.fragment_size,
            port: file.port,
            nat_port: file.port_nat_t,
            ike_sa_limit: file.ikesa_limit as usize,
            ike_sa_limit_peer: file.ikesa_limit_peer as usize,
            make_before_break: file.make_before_break,
            delete_rekeyed_delay: file.delete_rekeyed_delay,
            pfs_probe: file.pfs_probe,
            close_ike_on_child_failure: file.close_ike_on_child_failure,
            initiator_only: file.initiator_only,
            rsa_pss: file.rsa_pss,
            cisco_unity: file.cisco_unity,
            attributes: file.attributes.clone(),
            send_vendor_id: file.send_vendor_id,
            follow_redirects: file.follow_redirects,
            hash_and_url: file.hash_and_url,
            quick_crash_detection: file.quick_crash_detection,
            ..Settings::default()
        };
        let clock = Clock::new();
        let mut endpoint = Endpoint::new(settings, Box::new(crypto::SystemRandom));
        if let Some(secret) = crash_secret(file) {
            endpoint.set_crash_secret(secret);
        }
        let signals = Signals::open().map_err(|e| format!("signals: {e}"))?;
        let mut routes = Routes::open().ok();
        for address in routes.as_mut().map(VirtualAddresses::clear).unwrap_or_default() {
            log::line("KNL", 1, &format!("removed the virtual address {address}, which a killed daemon had left"));
        }
        let history = recorder(options.history.as_deref());
        let poll = Poll::new().map_err(|e| format!("epoll: {e}"))?;
        let waker = Waker::new(poll.registry(), OUTSIDE).map_err(|e| format!("epoll: {e}"))?;
        let waker = Arc::new(waker);
        let thread = |e: std::io::Error| format!("cannot start a thread: {e}");
        let prober = probes::start(Arc::clone(&waker)).map_err(thread)?;
        let core = Core {
            endpoint,
            plane,
            since: jiff::ZonedDateTime::now().strftime("%b %d %H:%M:%S %Y").to_string(),
            calendar: Calendar::new(clock.now()),
            options,
            from_file: BTreeMap::new(),
            secrets_from_file: Vec::new(),
            authorities_from_file: BTreeSet::new(),
            routes,
            changes: NetworkChanges::open().ok(),
            addresses: VirtualAddresses::default(),
            pools_from_file: BTreeSet::new(),
            refused: BTreeSet::new(),
            history,
            troubles: Troubles::default(),
            probes: Probes::new(prober),
            credentials_from_files: credentials::FromFiles::default(),
        };
        let resolver = names::start(Arc::clone(&waker)).map_err(thread)?;
        let fetcher = lists::start(Arc::clone(&waker)).map_err(thread)?;
        let lookup = lists::start_lookup(Arc::clone(&waker)).map_err(thread)?;
        let solver = solver::start(waker).map_err(thread)?;
        let mut daemon = Self {
            core,
            sockets,
            clock,
            poll,
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            listener,
            signals,
            socket,
            resolver,
            fetcher,
            lookup,
            solver,
            drops: Drops::new(),
            check_network: None,
        };
        daemon.register().map_err(|e| format!("epoll: {e}"))?;
        Ok(daemon)
    }

    fn register(&mut self) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let registry = self.poll.registry();
        SourceFd(&self.signals.as_raw_fd()).register(registry, SIGNALS, Interest::READABLE)?;
        registry.register(&mut self.listener, LISTENER, Interest::READABLE)?;
        if let Some(changes) = &self.core.changes {
            SourceFd(&changes.as_raw_fd()).register(registry, NETWORK, Interest::READABLE)?;
        }
        for (index, fd) in self.sockets.descriptors().enumerate() {
            SourceFd(&fd).register(registry, Token(FIRST_SOCKET + index), Interest::READABLE)?;
        }
        for (index, fd) in self.core.plane.descriptors().into_iter().enumerate() {
            SourceFd(&fd).register(registry, Token(FIRST_PLANE + index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Loads the configuration.
    ///
    /// # Errors
    /// The file as a whole cannot be read or makes no sense. A connection with a fault is only left out.
    fn start(&mut self) -> Result<(), String> {
        log::line("DMN", 0, &format!("control socket: {}", self.socket.0.display()));
        log::line("KNL", 0, &format!("data plane: {}", self.core.plane.describe()));
        let now = self.clock.now();
        let path = self.core.config_path();
        if Path::new(&path).exists() {
            self.core.load_file(now, None)?;
        } else {
            log::line("CFG", 0, &format!("{path} does not exist: waiting for a client to load connections"));
        }
        self.core.network_changed(now);
        self.drain(now);
        Ok(())
    }

    /// SIGHUP.
    fn reload(&mut self, now: Instant) {
        log::line("CFG", 0, "SIGHUP: reading the configuration again");
        if let Err(error) = self.core.load_file(now, None) {
            log::line("CFG", 0, &format!("everything stays as it was: {error}"));
        }
    }

    /// The event loop, until a signal ends it.
    fn serve(&mut self) -> Result<(), String> {
        let mut turn = Turn::new();
        while !self.signals.end() {
            self.turn(&mut turn, None)?;
        }
        Ok(())
    }

    /// Waits until something happens, but not longer than `most`, and handles it.
    fn turn(&mut self, turn: &mut Turn, most: Option<Duration>) -> Result<(), String> {
        let timeout = if turn.again.is_empty() {
            [self.timeout(), most].into_iter().flatten().min()
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut turn.events, timeout) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(format!("epoll: {e}")),
        }
        let mut ready: Vec<Token> = std::mem::take(&mut turn.again);
        ready.extend(turn.events.iter().map(mio::event::Event::token));
        ready.sort_unstable();
        ready.dedup();
        let now = self.clock.now();
        self.drops.summary(now).iter().for_each(|line| log::line("NET", 1, line));
        // Every time: the clock of the calendar may be set while the daemon runs.
        self.core.endpoint.credentials_mut().set_clock(now, Duration::from_secs(unix_seconds()));
        for token in ready {
            match token {
                SIGNALS => {
                    if self.signals.reload() {
                        self.reload(now);
                    }
                }
                LISTENER => self.accept(),
                OUTSIDE => {
                    self.names(now);
                    self.lists(now);
                    self.certificates(now);
                    self.puzzles(now);
                    self.probes(now);
                }
                NETWORK => {
                    if self.core.changes.as_mut().is_some_and(NetworkChanges::changed) {
                        self.check_network.get_or_insert(now + NETWORK_SETTLES);
                    }
                }
                Token(t) if t >= FIRST_CLIENT => self.client(now, t),
                Token(t) if t >= FIRST_PLANE => {
                    if self.core.plane.ready(now, t - FIRST_PLANE, &self.sockets) {
                        turn.again.push(token);
                    }
                }
                Token(t) => {
                    if self.receive(now, t - FIRST_SOCKET) {
                        turn.again.push(token);
                    }
                }
            }
            self.drain(now);
        }
        for report in self.sockets.take_reports() {
            self.core.troubles.reported(now, &report);
        }
        for (to, error) in self.core.plane.send_errors() {
            self.core.troubles.refused(now, to, &error);
        }
        let now = self.clock.now();
        if self.check_network.take_if(|at| *at <= now).is_some() {
            self.core.network_changed(now);
        }
        self.core.plane.timeout(now);
        self.core.probe_what_is_due(now);
        if self.core.endpoint.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.core.endpoint.handle(now, Input::Timeout);
        }
        self.drain(now);
        self.with_clients(|client, core| client.timeout(core, now));
        self.drain(now);
        self.clients.retain(|_, client| !client.is_closed());
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        let now = self.clock.now();
        let endpoint = self.core.endpoint.poll_timeout().map(|(at, _)| at);
        let clients = self.clients.values().filter_map(Client::deadline).min();
        let (plane, probes) = (self.core.plane.next_timeout(), self.core.probes.next_timeout());
        let next = [endpoint, clients, plane, probes, self.check_network].into_iter().flatten().min()?;
        // epoll counts whole milliseconds: waking up just too early would only spin.
        Some(next.since(now) + Duration::from_millis(1))
    }

    fn receive(&mut self, now: Instant, index: usize) -> bool {
        let (endpoint, plane) = (&mut self.core.endpoint, &mut self.core.plane);
        self.sockets.receive(index, |sockets, received, data| {
            let (local, remote) = (received.local, received.remote);
            if local.port() != sockets.nat_port() {
                return endpoint.handle(now, Input::Datagram { local, remote, bytes: data });
            }
            // RFC 3948 section 2: on port 4500 four zero octets mean IKE, a single 0xFF keeps a NAT mapping alive.
            match data {
                [0, 0, 0, 0, ike @ ..] => endpoint.handle(now, Input::Datagram { local, remote, bytes: ike }),
                [0xff] => {}
                esp => plane.esp_in_udp(now, esp, remote, received.traffic_class),
            }
        })
    }

    /// Carries out everything the endpoint wants, in order, and everything that follows from it.
    fn drain(&mut self, now: Instant) {
        loop {
            let mut nothing = true;
            while let Some(output) = self.core.endpoint.poll_output() {
                nothing = false;
                self.carry_out(now, output);
            }
            while let Some(event) = self.core.plane.poll_event() {
                nothing = false;
                self.core.endpoint.handle(now, Input::Plane(event));
            }
            if nothing {
                return;
            }
        }
    }

    fn carry_out(&mut self, now: Instant, output: Output) {
        match output {
            Output::Plane(command) => {
                if let Err(reason) = self.core.plane.apply(now, &command) {
                    let child = match &command {
                        Command::Install(install) => install.child,
                        Command::Retire { child } | Command::Delete { child } | Command::Update { child, .. } => *child,
                        Command::Reselect { child, .. } | Command::ReportTraffic { child } => *child,
                        Command::Expect { child, .. } => *child,
                        Command::Hold { child } | Command::Release { child } => *child,
                        Command::Trap(trap) => trap.trap,
                        Command::RemoveTrap { trap } => *trap,
                        Command::Shunt(shunt) => shunt.shunt,
                        Command::RemoveShunt { shunt } => *shunt,
                    };
                    let what = match &command {
                        Command::Trap(trap) => format!("trap of '{}'", trap.name),
                        Command::RemoveTrap { trap } => format!("trap {trap}"),
                        Command::Shunt(shunt) => format!("shunt '{}'", shunt.name),
                        Command::RemoveShunt { shunt } => format!("shunt {shunt}"),
                        _ => format!("Child SA {}", child.0),
                    };
                    log::line("KNL", 0, &format!("{what}: {reason}"));
                    if matches!(command, Command::Install(_)) {
                        self.core.refused.insert(child);
                    }
                    let removes = matches!(
                        command,
                        Command::Retire { .. }
                            | Command::Delete { .. }
                            | Command::RemoveTrap { .. }
                            | Command::RemoveShunt { .. }
                    );
                    if matches!(command, Command::Hold { .. }) {
                        self.core.endpoint.handle(now, Input::Plane(PlaneEvent::NotHeld { child }));
                    } else if !removes {
                        self.core.endpoint.handle(now, Input::Plane(PlaneEvent::Failed { child, reason }));
                    }
                }
                self.core.plane.send_held(now, &self.sockets);
            }
            Output::Transmit { local, remote, message } => {
                if let Err(error) = self.sockets.send_ike(local, remote, &message) {
                    log::line("NET", 1, &format!("cannot send from {local} to {remote}: {error}"));
                    self.core.troubles.refused(now, remote, &error);
                }
            }
            Output::AddAddress(new) => {
                let core = &mut self.core;
                let added = match &mut core.routes {
                    Some(routes) => core.addresses.add(routes, &new),
                    None => Err("there is no access to the kernel's addresses".to_string()),
                };
                if let Err(error) = added {
                    log::line("KNL", 0, &format!("cannot add the virtual address {}: {error}", new.address));
                }
            }
            Output::RemoveAddress(gone) => {
                let core = &mut self.core;
                let removed = core.routes.as_mut().map_or(Ok(()), |routes| core.addresses.remove(routes, gone.address));
                if let Err(error) = removed {
                    log::line("KNL", 1, &format!("cannot remove the virtual address {}: {error}", gone.address));
                }
            }
            Output::Keepalive { local, remote } => {
                let _ = self.sockets.send(local, remote, &[0xff]); // the next one follows soon
            }
            Output::Resolve(name) => self.resolver.ask(name),
            Output::Fetch(uri) => {
                log::line("CFG", 1, &format!("fetching crl from '{uri}'"));
                self.fetcher.ask(uri);
            }
            Output::FetchCertificate(uri) => {
                log::line("CFG", 1, &format!("fetching certificate from '{uri}'"));
                self.lookup.ask(uri);
            }
            Output::Solve(job) => self.solver.ask(job),
            Output::Event(event) if self.core.never_up(&event) => {}
            Output::Event(mut event) => {
                self.core.keep_trouble(now, &mut event);
                let (group, level, text) = event.log();
                let whom = event.sa().map(|(sa, name)| format!("<{name}|{}> ", sa.0)).unwrap_or_default();
                let shown = !matches!(&event, Event::Dropped { reason, .. } if !self.drops.admit(*reason));
                if shown {
                    log::line(group, level, &format!("{whom}{text}"));
                }
                if let Some(history) = &self.core.history {
                    history.event(&event);
                }
                if matches!(event, Event::ChildUp(_)) {
                    self.core.probes.child_up(now);
                }
                self.with_clients(|client, core| client.event(core, now, &event));
            }
        }
    }

    /// Host names have been looked up.
    fn names(&mut self, now: Instant) {
        while let Some((name, found)) = self.resolver.answer() {
            let shown = match &found {
                Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                Err(why) => format!("unknown: {why}"),
            };
            log::line("NET", 1, &format!("'{name}' is {shown}"));
            self.core.endpoint.name_resolved(now, &name, found.unwrap_or_default());
        }
    }

    /// Revocation lists have been fetched.
    fn lists(&mut self, now: Instant) {
        while let Some((uri, fetched)) = self.fetcher.answer() {
            if let Err(why) = &fetched {
                log::line("CFG", 0, &format!("cannot fetch the revocation list at '{uri}': {why}"));
            }
            self.core.endpoint.list_fetched(now, &uri, fetched.ok());
        }
    }

    /// Certificates have been looked up.
    fn certificates(&mut self, now: Instant) {
        while let Some((uri, fetched)) = self.lookup.answer() {
            match &fetched {
                Ok(found) => {
                    let subject = model::Identity::from_wire(9, found.subject());
                    log::line("CFG", 1, &format!("fetched certificate \"{subject}\""));
                }
                Err(why) => log::line("CFG", 0, &format!("cannot fetch the certificate at '{uri}': {why}")),
            }
            self.core.endpoint.certificate_fetched(now, &uri, fetched.ok());
        }
    }

    /// Puzzles have been solved.
    fn puzzles(&mut self, now: Instant) {
        while let Some((job, solution)) = self.solver.answer() {
            self.core.endpoint.puzzle_solved(now, &job, solution.as_deref());
        }
    }

    fn with_clients(&mut self, mut each: impl FnMut(&mut Client, &mut Core)) {
        for client in self.clients.values_mut() {
            each(client, &mut self.core);
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.clients.len() >= MAX_CLIENTS {
                log::line("CFG", 0, &format!("more than {MAX_CLIENTS} control connections: closing the new one"));
                continue;
            }
            let token = self.next_client;
            self.next_client += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(token), interest).is_ok() {
                self.clients.insert(token, Client::new(stream));
            }
        }
    }

    fn client(&mut self, now: Instant, token: usize) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.ready(&mut self.core, now);
        }
    }

    /// Deletes every SA, here and at the peers, and lets scripts run. A second signal ends the wait for the peers.
    fn stop(&mut self) {
        log::line("DMN", 0, "stopping: deleting all SAs");
        let deadline = self.clock.now() + FAREWELL;
        self.signals.forget();
        let mut turn = Turn::new();
        self.terminate_all(false);
        loop {
            let now = self.clock.now();
            let over = now >= deadline || self.core.endpoint.sizes().0 == 0;
            if over || self.signals.end() || self.turn(&mut turn, Some(deadline.since(now))).is_err() {
                break;
            }
        }
        self.terminate_all(true);
    }

    fn terminate_all(&mut self, force: bool) {
        let now = self.clock.now();
        self.core.endpoint.terminate(now, &Selection { force, ..Selection::default() });
        self.drain(now);
    }
}

/// Where to keep what happens: as asked, or in the usual place if its directory is there. A daemon without a history is
/// better than none.
fn recorder(asked: Option<&str>) -> Option<Recorder> {
    let usual = Path::new(history::DEFAULT);
    let path = match asked {
        Some("off") => return None,
        Some(path) => Path::new(path),
        None if usual.parent().is_some_and(Path::is_dir) => usual,
        None => return None,
    };
    match Recorder::start(path, |note| log::line("DMN", 0, &format!("history: {note}"))) {
        Ok(recorder) => {
            log::line("DMN", 1, &format!("history: {}", path.display()));
            Some(recorder)
        }
        Err(error) => {
            log::line("DMN", 0, &format!("history: nothing is kept: {error}"));
            None
        }
    }
}

/// What proves a restart to peers (RFC 6290), if it is wanted and can be kept. A daemon that cannot prove it is better than
/// none.
fn crash_secret(file: &config::DaemonSettings) -> Option<wire::Secret> {
    let usual = Path::new(config::CRASH_SECRET);
    let path = match file.quick_crash_detection_secret.as_deref().filter(|_| file.quick_crash_detection) {
        Some(path) => Path::new(path),
        None if file.quick_crash_detection && usual.parent().is_some_and(Path::is_dir) => usual,
        None => return None,
    };
    match crash::secret(path) {
        Ok(secret) => Some(secret),
        Err(error) => {
            log::line("DMN", 0, &format!("a restart cannot be proven to peers (RFC 6290): {error}"));
            None
        }
    }
}

/// What one turn of the event loop leaves to the next.
struct Turn {
    events: Events,
    /// Edge-triggered readiness: what was not read to its end.
    again: Vec<Token>,
}

impl Turn {
    fn new() -> Self {
        Self { events: Events::with_capacity(256), again: Vec::new() }
    }
}
