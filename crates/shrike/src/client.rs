//! The commands that speak to a running daemon over vici.

use crate::clock::unix_seconds;
use crate::daemon::control::validity;
use model::{Live, Probe, SaSnapshot, Tombstone};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use vici::{Client, ClientError, Message, schema};

/// Where charon has its socket, so that swanctl finds us without being told.
const DEFAULT_SOCKETS: &[&str] = &["/run/charon.vici", "/var/run/charon.vici"];

/// The socket of a URI `unix:///path` (or a bare path); without one `SHRIKE_VICI`, else charon's place.
///
/// # Errors
/// The URI is of another kind.
pub fn socket_path(uri: Option<&str>) -> Result<PathBuf, String> {
    let from_environment = std::env::var("SHRIKE_VICI").ok();
    match uri.or(from_environment.as_deref()) {
        None => Ok(PathBuf::from(DEFAULT_SOCKETS.first().copied().unwrap_or_default())),
        Some(uri) => match uri.strip_prefix("unix://") {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            None if uri.starts_with('/') => Ok(PathBuf::from(uri)),
            _ => Err(format!("'{uri}' is no control socket: use unix:///PATH")),
        },
    }
}

/// What happened to an SA.
pub enum Change {
    /// Phase 1, or the IKE SA, is up.
    IkeUp(Box<SaSnapshot>),
    /// A Child SA is up.
    ChildUp(Box<SaSnapshot>),
    /// An SA, or a negotiation, is over.
    Ended(Box<Tombstone>),
}

/// A connection to a daemon.
pub struct Control {
    client: Client<UnixStream>,
    /// The daemon's clock at the last listing, nanoseconds since 1970.
    listed_at: Option<u64>,
}

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// What is missing and what to do.
    pub fn open(uri: Option<&str>) -> Result<Self, String> {
        let path = socket_path(uri)?;
        let stream = UnixStream::connect(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("no daemon serves {}: start one (shrike run), or name its socket with --vici", path.display())
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("{}: permission denied; run as root or as a member of the socket's group", path.display())
            }
            std::io::ErrorKind::ConnectionRefused => {
                format!("{} is left over from a daemon that is gone: start one (shrike run)", path.display())
            }
            _ => format!("{}: {e}", path.display()),
        })?;
        Ok(Self { client: Client::new(stream), listed_at: None })
    }

    /// Every SA that is live or being negotiated.
    ///
    /// # Errors
    /// The daemon's, or what it said makes no sense.
    pub fn snapshots(&mut self) -> Result<Vec<SaSnapshot>, String> {
        let (mut all, mut failed) = (Vec::new(), None);
        let listed_at = &mut self.listed_at;
        let each = |m: Message| match schema::snapshot(&m) {
            Ok(snapshot) => {
                *listed_at = schema::listed_at(&m);
                all.push(snapshot);
            }
            Err(error) => failed = Some(error.to_string()),
        };
        self.client.streamed("list-sas", "list-sa", Message::new(), each).map_err(|e| e.to_string())?;
        match failed {
            Some(error) => Err(format!("the daemon lists an SA that cannot be understood: {error}")),
            None => Ok(all),
        }
    }

    /// The daemon's clock at the last [`Control::snapshots`], nanoseconds since 1970, if it tells.
    pub fn listed_at(&self) -> Option<u64> {
        self.listed_at
    }

    /// SAs that ended. Only Shrike remembers them: any other daemon has none.
    ///
    /// # Errors
    /// The daemon's.
    pub fn ended(&mut self) -> Result<Vec<Tombstone>, String> {
        let mut all = Vec::new();
        let each = |m: Message| all.extend(schema::tombstone_from(&m).ok());
        match self.client.streamed("shrike-list-ended", "shrike-ended", Message::new(), each) {
            Ok(_) => Ok(all),
            Err(ClientError::UnknownCommand(_) | ClientError::UnknownEvent(_)) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Everything a diagnosis can ask for. What the daemon does not know is left out: charon has no memory of what
    /// ended, but counts messages.
    ///
    /// # Errors
    /// The daemon's, or what it said makes no sense.
    pub fn live(&mut self) -> Result<Live, String> {
        let said = |error: ClientError| error.to_string();
        let mut live = Live { sas: self.snapshots()?, ..Live::default() };
        let each = |m: Message| live.connections.extend(schema::live_connections(&m));
        self.client.streamed("list-conns", "list-conn", Message::new(), each).map_err(said)?;
        let mut traps = Message::new();
        traps.set("trap", "yes");
        let each = |m: Message| schema::note_trap(&mut live.connections, &m);
        self.client.streamed("list-policies", "list-policy", traps, each).map_err(said)?;
        let mut ended = Vec::new();
        let each = |m: Message| ended.extend(schema::tombstone_from(&m).ok());
        live.remembers = match self.client.streamed("shrike-list-ended", "shrike-ended", Message::new(), each) {
            Ok(_) => true,
            Err(ClientError::UnknownCommand(_) | ClientError::UnknownEvent(_)) => false,
            Err(error) => return Err(error.to_string()),
        };
        live.ended = ended;
        let mut strays = Vec::new();
        let each = |m: Message| strays.extend(schema::stray_from(&m).ok());
        match self.client.streamed("shrike-list-strays", "shrike-stray", Message::new(), each) {
            Ok(_) | Err(ClientError::UnknownCommand(_) | ClientError::UnknownEvent(_)) => live.strays = strays,
            Err(error) => return Err(error.to_string()),
        }
        let (mut errors, mut faults) = (Vec::new(), Vec::new());
        let lists =
            [("shrike-list-send-errors", "shrike-send-error"), ("shrike-list-plane-faults", "shrike-plane-fault")];
        for (command, event) in lists {
            let each = |m: Message| match event {
                "shrike-send-error" => errors.extend(schema::send_error_from(&m).ok()),
                _ => faults.extend(schema::plane_fault_from(&m).ok()),
            };
            match self.client.streamed(command, event, Message::new(), each) {
                Ok(_) | Err(ClientError::UnknownCommand(_) | ClientError::UnknownEvent(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        (live.send_errors, live.plane_faults) = (errors, faults);
        live.probes = self.probes()?;
        let each = |m: Message| live.certificates.extend(validity(&m));
        match self.client.streamed("list-certs", "list-cert", Message::new(), each) {
            Ok(_) | Err(ClientError::UnknownCommand(_) | ClientError::UnknownEvent(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        live.now = Some(Duration::from_secs(unix_seconds()));
        let stats = self.client.request("stats", Message::new());
        live.running = stats.ok().as_ref().and_then(schema::running);
        if !live.remembers {
            let mut all = Message::new();
            all.set("all", "yes");
            let counters = self.client.request("get-counters", all);
            live.counters = counters.ok().as_ref().map_or_else(BTreeMap::new, schema::counters_from);
        }
        Ok(live)
    }

    /// The last result of probing each Child SA that was probed. Only Shrike probes: any other daemon has none.
    ///
    /// # Errors
    /// The daemon's.
    pub fn probes(&mut self) -> Result<Vec<Probe>, String> {
        let mut probes = Vec::new();
        let each = |m: Message| probes.extend(schema::probe_from(&m).ok());
        match self.client.streamed("shrike-list-probes", "shrike-probe", Message::new(), each) {
            Ok(_) | Err(ClientError::UnknownCommand(_) | ClientError::UnknownEvent(_)) => Ok(probes),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A command with an answer; its log lines go to `log`.
    ///
    /// # Errors
    /// Why the daemon refused.
    pub fn command(&mut self, name: &str, message: Message, mut log: impl FnMut(&str)) -> Result<Message, String> {
        let each = |m: Message| {
            let group = m.get_str("group").unwrap_or_default().to_string();
            log(&format!("[{group}] {}", m.get_str("msg").unwrap_or_default()));
        };
        let answer = self.client.streamed(name, "control-log", message, each).map_err(|e| e.to_string())?;
        schema::check(&answer).map_err(|refused| refused.to_string())?;
        Ok(answer)
    }

    /// The connections that are loaded, as `list-conns` tells them.
    ///
    /// # Errors
    /// The daemon's.
    pub fn connections(&mut self) -> Result<Vec<(String, Message)>, String> {
        let mut found = Vec::new();
        let each = |m: Message| found.extend(m.sections().map(|(name, c)| (name.to_string(), c.clone())));
        self.client.streamed("list-conns", "list-conn", Message::new(), each).map_err(|e| e.to_string())?;
        Ok(found)
    }

    /// When the daemon was started, in its local time: `Nov 24 01:05:33 2026`.
    ///
    /// # Errors
    /// The daemon's, or it does not say.
    pub fn since(&mut self) -> Result<String, String> {
        let stats = self.client.request("stats", Message::new()).map_err(|e| e.to_string())?;
        let since = stats.get_section("uptime").and_then(|uptime| uptime.get_str("since"));
        since.map(str::to_string).ok_or_else(|| "the daemon does not say since when it runs".to_string())
    }

    /// The certificates that the daemon has, in DER.
    ///
    /// # Errors
    /// The daemon's.
    pub fn certificates(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut found = Vec::new();
        let each = |m: Message| found.extend(m.get("data").map(<[u8]>::to_vec));
        self.client.streamed("list-certs", "list-cert", Message::new(), each).map_err(|e| e.to_string())?;
        Ok(found)
    }

    /// What comes up and what ends, until the daemon goes away.
    ///
    /// # Errors
    /// The daemon's; charon does not tell why SAs end.
    pub fn follow_changes(&mut self, mut each: impl FnMut(Change)) -> Result<(), String> {
        for event in ["ike-updown", "child-updown", "shrike-ended"] {
            self.client.register(event).map_err(|e| e.to_string())?;
        }
        loop {
            let (event, message) = match self.client.next_event() {
                Ok(event) => event,
                Err(ClientError::Closed) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let up = message.get_str("up") == Some("yes");
            let snapshot = || schema::snapshot(&message).map_err(|e| e.to_string());
            match event.as_str() {
                "ike-updown" if up => each(Change::IkeUp(Box::new(snapshot()?))),
                "child-updown" if up => each(Change::ChildUp(Box::new(snapshot()?))),
                "shrike-ended" => {
                    each(Change::Ended(Box::new(schema::tombstone_from(&message).map_err(|e| e.to_string())?)));
                }
                _ => {}
            }
        }
    }

    /// The daemon's log, line by line, until it goes away.
    ///
    /// # Errors
    /// The daemon's.
    pub fn follow_log(&mut self, mut each: impl FnMut(&str)) -> Result<(), String> {
        self.client.register("log").map_err(|e| e.to_string())?;
        loop {
            match self.client.next_event() {
                Ok((_, m)) => each(&format!(
                    "[{}] {}",
                    m.get_str("group").unwrap_or_default(),
                    m.get_str("msg").unwrap_or_default()
                )),
                Err(ClientError::Closed) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
