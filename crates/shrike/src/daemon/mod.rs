//! The daemon: sockets, timers, data plane and control socket around one [`Endpoint`].

mod control;
mod load;
mod plane;
mod sockets;
mod updown;
mod userspace;
mod xfrm;

pub use plane::Choice;

use crate::clock::Clock;
use crate::log;
use config::{AddressPattern, Connection, SharedSecret, StartAction};
use control::Client;
use linux::{Routes, SOCKET_MARK};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use model::dataplane::{Command, PlaneEvent};
use model::{Instant, SaSnapshot};
use plane::DataPlane;
use proto::{Backoff, Endpoint, Input, Output, Selection, Settings, Started};
use sockets::Sockets;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the operator said on the command line.
pub struct Options {
    /// `swanctl.conf`.
    pub config: String,
    /// `strongswan.conf`.
    pub strongswan_conf: String,
    /// The control socket: `unix:///path`.
    pub vici: Option<String>,
    /// Which data plane.
    pub data_plane: Choice,
    /// Log level.
    pub level: u8,
}

const SIGNALS: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_SOCKET: usize = 2;
const FIRST_PLANE: usize = 16;
const FIRST_CLIENT: usize = 64;

/// How many clients may be connected to the control socket.
const MAX_CLIENTS: usize = 64;

/// What the control socket's commands work on.
pub struct Core {
    /// The protocol.
    pub endpoint: Endpoint,
    /// The data plane.
    pub plane: Box<dyn DataPlane>,
    /// Start, in local time.
    pub since: String,
    options: Options,
    /// Connections as the configuration file has them, with their lines.
    from_file: BTreeMap<String, Arc<Connection>>,
    /// Secrets as the configuration file has them.
    secrets_from_file: Vec<SharedSecret>,
    routes: Option<Routes>,
}

impl Core {
    pub fn worker(&self) -> u32 {
        self.endpoint.settings().worker
    }

    pub fn log(&self, group: &str, level: u8, text: &str) {
        log::line(group, level, text);
    }

    /// Every SA with its traffic counters.
    pub fn snapshots(&mut self, now: Instant) -> Vec<SaSnapshot> {
        let mut all = self.endpoint.snapshots(now);
        for child in all.iter_mut().flat_map(|sa| &mut sa.children) {
            if let Some(counters) = self.plane.counters(now, child.id) {
                child.counters = counters;
            }
        }
        all
    }

    /// A connection that a client loads. If the file says the same, the file's lines are kept for explanations.
    pub fn load_connection(&mut self, connection: Arc<Connection>) {
        let written = self.from_file.get(&connection.name).filter(|c| load::same(c, &connection));
        let connection = written.cloned().unwrap_or(connection);
        log::line("CFG", 1, &format!("loaded connection '{}'", connection.name));
        self.endpoint.load_connection(connection);
    }

    /// A secret that a client loads; the file's line is kept as for connections.
    pub fn load_secret(&mut self, mut secret: SharedSecret) {
        let same = |s: &&SharedSecret| {
            (s.name == secret.name || s.name == format!("ike-{}", secret.name))
                && crypto::equal(s.secret.expose(), secret.secret.expose())
        };
        if let Some(written) = self.secrets_from_file.iter().find(same) {
            secret.source = written.source.clone();
        }
        self.endpoint.add_secret(secret);
    }

    /// Reads the configuration file again, or another one. Returns a summary and what was refused; what was refused stays
    /// as it was.
    pub fn load_file(&mut self, now: Instant, path: Option<&str>) -> Result<(String, Vec<String>), String> {
        let path = path.map_or_else(|| self.options.config.clone(), str::to_string);
        let loaded = load::file(&path)?;
        let summary = format!("{path}: {} connections, {} secrets", loaded.connections.len(), loaded.secrets.len());
        self.from_file = loaded.connections.iter().map(|c| (c.name.clone(), Arc::clone(c))).collect();
        self.secrets_from_file = loaded.secrets.clone();
        for secret in loaded.secrets {
            self.endpoint.add_secret(secret);
        }
        for connection in &loaded.connections {
            self.endpoint.load_connection(Arc::clone(connection));
        }
        log::line("CFG", 0, &format!("loaded {summary}"));
        for refused in &loaded.refused {
            log::line("CFG", 0, refused);
        }
        for connection in &loaded.connections {
            for child in connection.children.iter().filter(|c| c.start_action == StartAction::Start) {
                if let Err(why) = self.initiate(now, Some(&connection.name), &child.name) {
                    log::line("CFG", 0, &format!("{}: start_action = start: {why}", child.name));
                }
            }
        }
        Ok((summary, loaded.refused))
    }

    /// `reload-settings`: the log level is all that may change while running.
    pub fn reload(&mut self) -> Result<(), String> {
        load::settings(&self.options.strongswan_conf).map(drop)
    }

    /// Begins to negotiate a child.
    ///
    /// # Errors
    /// Why it cannot begin, and what to do.
    pub fn initiate(&mut self, now: Instant, ike: Option<&str>, child: &str) -> Result<Started, String> {
        let has_child = |c: &&Arc<Connection>| c.children.iter().any(|x| x.name == child);
        let found = self.endpoint.connections().filter(|c| ike.is_none_or(|n| n == c.name)).find(has_child).cloned();
        let Some(connection) = found else {
            let known: Vec<String> =
                self.endpoint.connections().flat_map(|c| c.children.iter().map(|x| x.name.clone())).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            return Err(format!("no connection has a child '{child}'; loaded children: {known}"));
        };
        let remote = self.remote_address(&connection)?;
        let local = self.local_address(&connection, remote)?;
        let from = SocketAddr::new(local, self.own_port(connection.local_port));
        let to = SocketAddr::new(remote, connection.remote_port);
        let started = self.endpoint.initiate(now, &connection.name, child, from, to);
        started.map_err(|failure| format!("{failure}; {}", failure.kind.remedy()))
    }

    /// swanctl.conf's default of 500 means whatever port the daemon uses.
    fn own_port(&self, configured: u16) -> u16 {
        let settings = self.endpoint.settings();
        if configured == settings.nat_port { configured } else { settings.port }
    }

    fn remote_address(&self, connection: &Connection) -> Result<IpAddr, String> {
        let place = connection.source.get("remote_addrs");
        let mut failed = None;
        for pattern in &connection.remote_addrs {
            match pattern {
                AddressPattern::Host(address) => return Ok(*address),
                AddressPattern::Name(name) => match (name.as_str(), 500).to_socket_addrs().map(|mut a| a.next()) {
                    Ok(Some(address)) => return Ok(address.ip()),
                    Ok(None) => failed = Some(format!("'{name}' has no address")),
                    Err(error) => failed = Some(format!("'{name}' cannot be resolved: {error}")),
                },
                _ => {}
            }
        }
        let why = failed.unwrap_or_else(|| "no single address to send to".into());
        Err(format!(
            "cannot initiate '{}': {why} [{place}]; set remote_addrs to the peer's address or name",
            connection.name
        ))
    }

    fn local_address(&mut self, connection: &Connection, remote: IpAddr) -> Result<IpAddr, String> {
        let own = connection.local_addrs.iter().find_map(|p| match p {
            AddressPattern::Host(a) if a.is_ipv6() == remote.is_ipv6() => Some(*a),
            _ => None,
        });
        if let Some(own) = own {
            return Ok(own);
        }
        let route = self.routes.as_mut().map(|r| r.route_to(remote, None, Some(SOCKET_MARK)));
        match route {
            Some(Ok(route)) => {
                route.source.ok_or_else(|| format!("the route to {remote} has no source address; set local_addrs"))
            }
            Some(Err(error)) => Err(format!("no route to {remote}: {error}; check the network, or set local_addrs")),
            None => Ok(if remote.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }),
        }
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
    signals: UnixStream,
    socket_path: PathBuf,
}

/// Runs until a signal ends it.
///
/// # Errors
/// Why it cannot start, in one sentence that says what to do.
pub fn run(options: Options) -> Result<(), String> {
    log::set_level(options.level);
    if let Err(error) = linux::harden_process() {
        log::line("DMN", 0, &format!("secrets might reach a core dump: {error}"));
    }
    let settings = load::settings(&options.strongswan_conf)?;
    let socket_path = socket_path(&options, &settings)?;
    let mut daemon = Daemon::open(options, &settings, socket_path)?;
    daemon.start();
    let ended = daemon.serve();
    daemon.stop();
    ended
}

/// Where the control socket is: command line, else `SHRIKE_VICI`, else strongswan.conf, else charon's place.
fn socket_path(options: &Options, settings: &config::DaemonSettings) -> Result<PathBuf, String> {
    let uri = options.vici.clone().or_else(|| settings.vici_socket.clone());
    crate::client::socket_path(uri.as_deref())
}

impl Daemon {
    fn open(options: Options, file: &config::DaemonSettings, socket_path: PathBuf) -> Result<Self, String> {
        let listener = listen(&socket_path)?;
        let decision = plane::decide(options.data_plane)?;
        let socket_options =
            sockets::Options { port: file.port, nat_port: file.port_nat_t, kernel_esp: decision.kernel, mark: true };
        let sockets = Sockets::open(&socket_options).map_err(|e| e.to_string())?;
        let plane = plane::open(&decision, file.port_nat_t)?;
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
            keepalive: file.keep_alive,
            port: file.port,
            nat_port: file.port_nat_t,
            close_ike_on_child_failure: file.close_ike_on_child_failure,
            ..Settings::default()
        };
        let endpoint = Endpoint::new(settings, Box::new(crypto::SystemRandom::default()));
        let (signals, writer) = UnixStream::pair().map_err(|e| format!("signals: {e}"))?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            let writer = writer.try_clone().map_err(|e| format!("signals: {e}"))?;
            signal_hook::low_level::pipe::register(signal, writer).map_err(|e| format!("signals: {e}"))?;
        }
        let core = Core {
            endpoint,
            plane,
            since: jiff::ZonedDateTime::now().strftime("%b %d %H:%M:%S %Y").to_string(),
            options,
            from_file: BTreeMap::new(),
            secrets_from_file: Vec::new(),
            routes: Routes::open().ok(),
        };
        let poll = Poll::new().map_err(|e| format!("epoll: {e}"))?;
        let (clients, next_client) = (BTreeMap::new(), FIRST_CLIENT);
        let mut daemon =
            Self { core, sockets, clock: Clock::new(), poll, clients, next_client, listener, signals, socket_path };
        daemon.register().map_err(|e| format!("epoll: {e}"))?;
        Ok(daemon)
    }

    fn register(&mut self) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let registry = self.poll.registry();
        self.signals.set_nonblocking(true)?;
        SourceFd(&self.signals.as_raw_fd()).register(registry, SIGNALS, Interest::READABLE)?;
        registry.register(&mut self.listener, LISTENER, Interest::READABLE)?;
        for (index, fd) in self.sockets.descriptors().enumerate() {
            SourceFd(&fd).register(registry, Token(FIRST_SOCKET + index), Interest::READABLE)?;
        }
        for (index, fd) in self.core.plane.descriptors().into_iter().enumerate() {
            SourceFd(&fd).register(registry, Token(FIRST_PLANE + index), Interest::READABLE)?;
        }
        Ok(())
    }

    fn start(&mut self) {
        log::line("DMN", 0, &format!("control socket: {}", self.socket_path.display()));
        log::line("KNL", 0, &format!("data plane: {}", self.core.plane.describe()));
        let now = self.clock.now();
        let path = self.core.options.config.clone();
        if Path::new(&path).exists() {
            if let Err(error) = self.core.load_file(now, None) {
                log::line("CFG", 0, &format!("{error}; nothing is loaded"));
            }
        } else {
            log::line("CFG", 0, &format!("{path} does not exist: waiting for a client to load connections"));
        }
        self.drain(now);
    }

    /// The event loop.
    fn serve(&mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(256);
        // Edge-triggered readiness: what was not read to its end stays on this list.
        let mut again: Vec<Token> = Vec::new();
        loop {
            let timeout = if again.is_empty() { self.timeout() } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(format!("epoll: {e}")),
            }
            let mut ready: Vec<Token> = std::mem::take(&mut again);
            ready.extend(events.iter().map(mio::event::Event::token));
            ready.sort_unstable();
            ready.dedup();
            let now = self.clock.now();
            for token in ready {
                match token {
                    SIGNALS => {
                        let mut octets = [0; 16];
                        if matches!(self.signals.read(&mut octets), Ok(n) if n > 0) {
                            return Ok(());
                        }
                    }
                    LISTENER => self.accept(),
                    Token(t) if t >= FIRST_CLIENT => self.client(now, t),
                    Token(t) if t >= FIRST_PLANE => {
                        if self.core.plane.ready(now, t - FIRST_PLANE, &self.sockets) {
                            again.push(token);
                        }
                    }
                    Token(t) => {
                        if self.receive(now, t - FIRST_SOCKET) {
                            again.push(token);
                        }
                    }
                }
                self.drain(now);
            }
            let now = self.clock.now();
            self.core.plane.timeout(now);
            if self.core.endpoint.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.core.endpoint.handle(now, Input::Timeout);
            }
            self.drain(now);
            self.with_clients(|client, core| client.timeout(core, now));
            self.drain(now);
            self.clients.retain(|_, client| !client.is_closed());
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = self.clock.now();
        let endpoint = self.core.endpoint.poll_timeout().map(|(at, _)| at);
        let clients = self.clients.values().filter_map(Client::deadline).min();
        let next = [endpoint, clients, self.core.plane.next_timeout()].into_iter().flatten().min()?;
        // epoll counts whole milliseconds: waking up just too early would only spin.
        Some(next.since(now) + Duration::from_millis(1))
    }

    fn receive(&mut self, now: Instant, index: usize) -> bool {
        let (endpoint, plane) = (&mut self.core.endpoint, &mut self.core.plane);
        self.sockets.receive(index, |sockets, local, remote, data| {
            if local.port() != sockets.nat_port() {
                return endpoint.handle(now, Input::Datagram { local, remote, bytes: data });
            }
            // RFC 3948 section 2: on port 4500 four zero octets mean IKE, a single 0xFF keeps a NAT mapping alive.
            match data {
                [0, 0, 0, 0, ike @ ..] => endpoint.handle(now, Input::Datagram { local, remote, bytes: ike }),
                [0xff] => {}
                esp => plane.esp_in_udp(now, esp, remote),
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
                        Command::Delete { child } | Command::Update { child, .. } => *child,
                    };
                    log::line("KNL", 0, &format!("Child SA {}: {reason}", child.0));
                    if !matches!(command, Command::Delete { .. }) {
                        self.core.endpoint.handle(now, Input::Plane(PlaneEvent::Failed { child, reason }));
                    }
                }
            }
            Output::Transmit { local, remote, message } => {
                if let Err(error) = self.sockets.send_ike(local, remote, &message) {
                    log::line("NET", 1, &format!("cannot send from {local} to {remote}: {error}"));
                }
            }
            Output::Keepalive { local, remote } => {
                let _ = self.sockets.send(local, remote, &[0xff]); // the next one follows soon
            }
            Output::Event(event) => {
                let (group, level, text) = event.log();
                let whom = event.sa().map(|(sa, name)| format!("<{name}|{}> ", sa.0)).unwrap_or_default();
                log::line(group, level, &format!("{whom}{text}"));
                self.with_clients(|client, core| client.event(core, now, &event));
            }
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
                continue; // dropped: the peer sees it closed
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

    /// Deletes every SA, here and at the peers, and lets scripts run.
    fn stop(&mut self) {
        let now = self.clock.now();
        log::line("DMN", 0, "stopping: deleting all SAs");
        let everything = Selection { force: true, ..Selection::default() };
        self.core.endpoint.terminate(now, &everything);
        self.drain(now);
        let _ = std::fs::remove_file(&self.socket_path);
    }
}

/// Opens the control socket, owner and group only.
fn listen(path: &Path) -> Result<mio::net::UnixListener, String> {
    use std::os::unix::fs::PermissionsExt;
    if UnixStream::connect(path).is_ok() {
        return Err(format!("another daemon serves {}: stop it, or choose another socket with --vici", path.display()));
    }
    if let Some(directory) = path.parent() {
        let _ = std::fs::create_dir_all(directory);
    }
    let _ = std::fs::remove_file(path); // left over from a daemon that was killed
    let listener = mio::net::UnixListener::bind(path).map_err(|e| {
        format!("cannot open the control socket {}: {e}; choose another with --vici unix:///PATH", path.display())
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o770))
        .map_err(|e| format!("cannot restrict {}: {e}", path.display()))?;
    Ok(listener)
}
