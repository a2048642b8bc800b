//! The control socket: vici sessions, and what each command does.

mod credentials;
mod findings;
mod live;
mod probe;
mod waiting;

pub(crate) use credentials::{validity, validity_of_list};

use super::Core;
use super::load;
use config::{AddressPattern, SharedSecret};
use model::dataplane::{Mode, ShuntAction};
use model::{ConfigRef, Event, Identity, Instant, LiveTimer, SaId};
use proto::{Clients, Gateway, Selection, Started};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use vici::schema::{self, AuthInfo, ChildInfo, ConnectionInfo, Stats, VersionInfo};
use vici::{Message, Request, Session};
use waiting::{Awaited, Waiting};
use wire::Secret;

/// A client that does not read while this many octets of events gather is disconnected.
const MAX_BACKLOG: usize = 4 << 20;

/// With more than this unread the client's next command has to wait.
const ENOUGH: usize = 1 << 20;

/// So many commands of one client are carried out before the rest of the daemon has its turn.
const MOST_AT_ONCE: usize = 16;

/// One connected client.
pub struct Client {
    pub stream: mio::net::UnixStream,
    session: Session,
    output: Vec<u8>,
    waiting: Option<Waiting>,
    /// Octets of answers among the output: they are as long as they are, only events are limited.
    answers: usize,
    /// Further commands may be there, for when it is this client's turn again.
    more: bool,
    /// Something was sent that was not read, as there were commands already.
    unread: bool,
    closed: bool,
}

impl Client {
    pub fn new(stream: mio::net::UnixStream) -> Self {
        let (more, unread, closed) = (false, false, false);
        Self { stream, session: Session::new(), output: Vec::new(), waiting: None, answers: 0, more, unread, closed }
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// When a waiting command gives up, or the next one is carried out.
    pub fn deadline(&self) -> Option<Instant> {
        if self.more || self.unread { Some(Instant::ZERO) } else { self.gives_up() }
    }

    fn gives_up(&self) -> Option<Instant> {
        self.waiting.as_ref().and_then(|w| w.deadline)
    }

    /// The client has sent something, or can take more.
    pub fn ready(&mut self, core: &mut Core, now: Instant) {
        let was_read = self.read();
        self.flush();
        if was_read {
            self.serve(core, now);
        }
    }

    /// Reads what there is, unless there are commands already: those first, and the client may wait.
    fn read(&mut self) -> bool {
        self.unread = self.more;
        if self.unread {
            return false;
        }
        let mut buffer = [0; 16_384];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(n) => {
                    if let Err(error) = self.session.receive(buffer.get(..n).unwrap_or_default()) {
                        crate::log::line("CFG", 1, &format!("control connection closed: {error}"));
                        self.closed = true;
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        true
    }

    /// Carries out what the client asked for, one command after the other, as long as it reads the answers.
    fn serve(&mut self, core: &mut Core, now: Instant) {
        self.serve_by(|client, name, message| client.command(core, now, name, message));
    }

    fn serve_by(&mut self, mut command: impl FnMut(&mut Self, &str, &Message)) {
        self.more = false;
        let mut carried_out = 0;
        while self.waiting.is_none() && !self.closed && self.output.len() < ENOUGH {
            if carried_out >= MOST_AT_ONCE {
                self.more = true;
                break;
            }
            match self.session.poll() {
                Ok(Some(Request::Command { name, message })) => {
                    carried_out += 1;
                    let before = self.output.len();
                    command(self, &name, &message);
                    self.output.extend(self.session.take_output());
                    self.answers += self.output.len() - before;
                }
                Ok(Some(Request::Register { .. } | Request::Unregister { .. })) => {}
                Ok(None) => break,
                Err(error) => {
                    crate::log::line("CFG", 1, &format!("control connection closed: {error}"));
                    self.closed = true;
                }
            }
            self.flush();
        }
    }

    /// Writes what there is to write, as far as the client takes it.
    pub fn flush(&mut self) {
        self.output.extend(self.session.take_output());
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        // What was read is none of the rest.
        self.answers = self.answers.min(self.output.len());
        if self.output.len() > MAX_BACKLOG + self.answers {
            self.closed = true; // it does not read
        }
    }

    /// Something happened: clients that asked hear of it, and a waiting command may be done.
    pub fn event(&mut self, core: &mut Core, now: Instant, event: &Event) {
        match event {
            Event::IkeUp(s) | Event::IkeDown(s) if self.session.listens_to("ike-updown") => {
                let up = matches!(event, Event::IkeUp(_));
                self.session.event("ike-updown", &schema::updown(s, up, true));
            }
            Event::ChildUp(s) | Event::ChildDown(s) if self.session.listens_to("child-updown") => {
                let up = matches!(event, Event::ChildUp(_));
                self.session.event("child-updown", &schema::updown(s, up, true));
            }
            Event::Ended(t) if self.session.listens_to("shrike-ended") => {
                self.session.event("shrike-ended", &schema::tombstone(t));
            }
            Event::RekeyFailed(t) if self.session.listens_to("shrike-rekey-failed") => {
                self.session.event("shrike-rekey-failed", &schema::tombstone(t));
            }
            _ => {}
        }
        findings::of_event(&mut self.session, event);
        let (group, level, text) = event.log();
        let control_log = self.waiting.as_ref().is_some_and(|w| i64::from(level) <= w.level && w.concerns(event));
        if control_log || self.session.listens_to("log") {
            let line = schema::log(group, level, core.worker(), event.sa(), &text);
            self.session.event("log", &line);
            if control_log {
                self.session.event("control-log", &line);
            }
        }
        if let Some(answer) = self.waiting.as_mut().and_then(|w| w.settled_by(event)) {
            self.finish(core, now, &answer);
        }
        self.flush();
    }

    /// Gives up waiting if it is time, or carries out what had to wait for others.
    pub fn timeout(&mut self, core: &mut Core, now: Instant) {
        if self.more {
            self.serve(core, now);
        }
        if self.unread && !self.more {
            self.ready(core, now);
        }
        if self.gives_up().is_some_and(|d| d <= now) {
            let answer = match self.waiting.as_ref().map(|w| &w.what) {
                Some(Awaited::Child { child, .. }) => {
                    schema::refusal(format!("'{child}' is not up yet; it goes on in the background (see: shrike show)"))
                }
                Some(Awaited::Ike { .. }) => {
                    schema::refusal("not up yet; it goes on in the background (see: shrike show)")
                }
                Some(Awaited::Probe { .. }) => {
                    schema::refusal("other probes are before it; it goes on in the background (see: shrike show)")
                }
                _ => schema::refusal("not gone yet; it goes on in the background (see: shrike show)"),
            };
            self.finish(core, now, &answer);
            self.flush();
        }
    }

    fn finish(&mut self, core: &mut Core, now: Instant, answer: &Message) {
        self.waiting = None;
        self.session.reply(answer);
        self.serve(core, now);
    }

    fn command(&mut self, core: &mut Core, now: Instant, name: &str, m: &Message) {
        let answer = match name {
            "version" => schema::version(&version()),
            "stats" => schema::stats(&stats(core, now)),
            "list-sas" => self.list_sas(core, now, m),
            "list-conns" => self.list_conns(core, m),
            "shrike-list-ended" => self.list_ended(core, now),
            "shrike-list-strays" => self.list_strays(core, now),
            "shrike-list-send-errors" => self.list_send_errors(core, now),
            "shrike-list-plane-faults" => self.list_plane_faults(core, now),
            "shrike-list-probes" => self.list_probes(core, now),
            "shrike-probe" => match self.probe(core, now, m) {
                Some(answer) => answer,
                None => return,
            },
            "shrike-diagnose" => self.diagnose(core, now),
            "get-conns" => {
                let names: Vec<String> = core.endpoint.connections().map(|c| c.name.clone()).collect();
                list("conns", names)
            }
            "load-conn" => load_conn(core, now, m),
            "unload-conn" => {
                let known = m.get_str("name").is_some_and(|n| core.unload_connection(now, n, ""));
                result(known, || format!("no connection '{}'", m.get_str("name").unwrap_or_default()))
            }
            "load-shared" => load_shared(core, m),
            "unload-shared" => {
                let known = m.get_str("id").is_some_and(|n| core.endpoint.remove_secret(n));
                result(known, || format!("no secret '{}'", m.get_str("id").unwrap_or_default()))
            }
            "get-shared" => list("keys", core.endpoint.secrets().iter().map(|s| s.name.clone()).collect::<Vec<_>>()),
            "clear-creds" => {
                core.endpoint.set_secrets(Vec::new());
                core.endpoint.credentials_mut().clear();
                schema::success()
            }
            "get-keys" => list("keys", credentials::key_ids(core.endpoint.credentials())),
            "load-cert" => credentials::load_cert(core.endpoint.credentials_mut(), m),
            "load-key" => credentials::load_key(core.endpoint.credentials_mut(), m),
            "unload-key" => credentials::unload_key(core.endpoint.credentials_mut(), m),
            "list-certs" => {
                for event in credentials::list(core.endpoint.credentials(), m) {
                    self.session.event("list-cert", &event);
                }
                Message::new()
            }
            "get-authorities" => {
                let named = core.endpoint.credentials().named_authorities();
                list("authorities", named.map(|(name, ..)| name.to_string()).collect())
            }
            "get-pools" => pools(core, m),
            "list-authorities" => {
                for event in credentials::authorities(core.endpoint.credentials(), m) {
                    self.session.event("list-authority", &event);
                }
                Message::new()
            }
            "list-policies" => self.list_policies(core, m),
            "flush-certs" => {
                // Certificates are not kept, but lists are.
                if m.get_str("type").is_none_or(|kind| matches!(kind, "any" | "X509_CRL" | "x509_crl")) {
                    core.endpoint.credentials_mut().flush_fetched_lists();
                }
                schema::success()
            }
            "get-algorithms" => algorithms(),
            "get-counters" => counters(core, m),
            "reset-counters" => schema::refusal("the counters count since the start and cannot be reset"),
            "reload-settings" => match core.reload() {
                Ok(()) => schema::success(),
                Err(error) => schema::refusal(error),
            },
            "shrike-load" => load_file(core, now, m),
            "initiate" => match self.initiate(core, now, m) {
                Some(answer) => answer,
                None => return,
            },
            "terminate" => match self.terminate(core, now, m) {
                Some(answer) => answer,
                None => return,
            },
            "rekey" => rekey(core, now, m),
            "install" => install(core, m),
            "uninstall" => {
                let (ike, child) = (m.get_str("ike"), m.get_str("child"));
                let count = child.map_or(0, |_| {
                    core.endpoint.uninstall_traps(ike, child) + core.endpoint.uninstall_shunts(ike, child)
                });
                result(count > 0, || format!("no policy of '{}' is installed", m.get_str("child").unwrap_or_default()))
            }
            "redirect" => redirect(core, now, m),
            "load-token" => schema::refusal("keys on tokens are not available in this version: load the key itself"),
            "load-authority" => load_authority(core, m),
            "load-pool" => load_pool(core, m),
            "unload-pool" => {
                let known = m.get_str("name").is_some_and(|n| core.endpoint.pools_mut().unload(n));
                result(known, || format!("no pool '{}'", m.get_str("name").unwrap_or_default()))
            }
            "unload-authority" => {
                let name = m.get_str("name").unwrap_or_default();
                result(core.endpoint.credentials_mut().forget_authority(name), || format!("no authority '{name}'"))
            }
            _ => return self.session.unknown_command(),
        };
        self.session.reply(&answer);
    }

    fn await_until(&mut self, what: Awaited, deadline: Option<Instant>) {
        self.waiting = Some(Waiting { what, deadline, level: -1 });
    }

    fn awaits_probe(&self, number: u64) -> bool {
        matches!(&self.waiting, Some(Waiting { what: Awaited::Probe { number: n }, .. }) if *n == number)
    }

    fn list_sas(&mut self, core: &mut Core, now: Instant, m: &Message) -> Message {
        let number = |key: &str| m.get_str(key).and_then(|t| t.parse::<u32>().ok());
        let listed_at = core.calendar.at(now);
        for sa in core.snapshots(now) {
            let named = m.get_str("ike").is_none_or(|n| n == sa.name);
            let numbered = number("ike-id").is_none_or(|n| n == sa.id.0);
            let child = m.get_str("child").is_none_or(|n| sa.children.iter().any(|c| c.name == n));
            let child_id = number("child-id").is_none_or(|n| sa.children.iter().any(|c| c.id.0 == n));
            if named && numbered && child && child_id {
                self.session.event("list-sa", &schema::list_sa_at(&sa, listed_at));
            }
        }
        Message::new()
    }

    /// Traps and shunts.
    fn list_policies(&mut self, core: &mut Core, m: &Message) -> Message {
        let wanted = |key: &str, name: &str| m.get_str(key).is_none_or(|n| n == name);
        // swanctl names the kinds it wants; without any it wants all.
        let asked = |key: &str| m.get_str(key) == Some("yes");
        let any = !(asked("trap") || asked("drop") || asked("pass"));
        for shunt in core.endpoint.shunts() {
            let kind = match shunt.action {
                ShuntAction::Pass => "pass",
                ShuntAction::Drop => "drop",
            };
            if (any || asked(kind)) && wanted("ike", &shunt.connection) && wanted("child", &shunt.name) {
                self.session.event("list-policy", &schema::list_shunt(shunt));
            }
        }
        let traps = any || asked("trap");
        for trap in core.endpoint.traps().filter(|_| traps) {
            if wanted("ike", &trap.connection) && wanted("child", &trap.name) {
                self.session.event("list-policy", &schema::list_policy(trap));
            }
        }
        Message::new()
    }

    fn list_ended(&mut self, core: &mut Core, now: Instant) -> Message {
        for tombstone in core.ended(now) {
            self.session.event("shrike-ended", &schema::tombstone(&tombstone));
        }
        Message::new()
    }

    fn list_conns(&mut self, core: &mut Core, m: &Message) -> Message {
        let wanted = m.get_str("ike");
        for connection in core.endpoint.connections().filter(|c| wanted.is_none_or(|n| n == c.name)) {
            self.session.event("list-conn", &schema::list_conn(&describe(connection)));
        }
        Message::new()
    }

    fn initiate(&mut self, core: &mut Core, now: Instant, m: &Message) -> Option<Message> {
        let (ike, child) = (m.get_str("ike"), m.get_str("child"));
        let started = match (ike, child) {
            (_, Some(child)) => core.initiate(now, ike, child),
            (Some(ike), None) => core.initiate_childless(now, ike),
            (None, None) => Err("name what to initiate: --child NAME, or --ike NAME for an IKE SA alone".to_string()),
        };
        match (started, child) {
            (Err(reason), _) => Some(schema::refusal(reason)),
            (Ok(Started::AlreadyUp(_)), _) => Some(schema::success()),
            (Ok(Started::Negotiation(sa)), Some(child)) => {
                self.wait(now, m, Awaited::Child { sa, child: child.to_string() })
            }
            (Ok(Started::Negotiation(sa)), None) => self.wait(now, m, Awaited::Ike { sa }),
        }
    }

    fn terminate(&mut self, core: &mut Core, now: Instant, m: &Message) -> Option<Message> {
        let selection = selection(m);
        if !names_any(&selection) {
            return Some(schema::refusal("name what to terminate: --ike, --child, --ike-id or --child-id"));
        }
        let children = selection.child.is_some() || selection.child_id.is_some();
        let affected = core.endpoint.terminate(now, &selection);
        if affected.is_empty() {
            return Some(schema::refusal("no matching SAs to terminate found"));
        }
        let matches = affected.len();
        let left = affected.into_iter().collect();
        self.wait(now, m, Awaited::Gone { left, children, matches })
    }

    /// Keeps the answer back until an event settles it; `timeout = -1` does not wait at all.
    fn wait(&mut self, now: Instant, m: &Message, what: Awaited) -> Option<Message> {
        let number = |key: &str| m.get_str(key).and_then(|t| t.parse::<i64>().ok());
        let timeout = number("timeout").unwrap_or(0);
        if timeout < 0 {
            return Some(schema::success());
        }
        let wait = Duration::from_millis(u64::try_from(timeout).unwrap_or(0));
        let deadline = (timeout > 0).then(|| now + wait);
        self.waiting = Some(Waiting { what, deadline, level: number("loglevel").unwrap_or(1) });
        None
    }
}

/// What `initiate`'s counterparts are about.
fn selection(m: &Message) -> Selection {
    let number = |key: &str| m.get_str(key).and_then(|t| t.parse().ok()).map(SaId);
    Selection {
        ike: m.get_str("ike").map(str::to_string),
        ike_id: number("ike-id"),
        child: m.get_str("child").map(str::to_string),
        child_id: number("child-id"),
        force: m.get_str("force") == Some("yes"),
    }
}

/// `rekey`: begins it and says how many SAs are meant; events tell how it goes.
/// Whether it is about some SAs, and not about all.
fn names_any(s: &Selection) -> bool {
    s.ike.is_some() || s.child.is_some() || s.ike_id.is_some() || s.child_id.is_some()
}

fn rekey(core: &mut Core, now: Instant, m: &Message) -> Message {
    let (selection, anew) = (selection(m), m.get_str("reauth") == Some("yes"));
    if !names_any(&selection) {
        return schema::refusal("name what to rekey: --ike, --child, --ike-id or --child-id");
    }
    if anew && (selection.child.is_some() || selection.child_id.is_some()) {
        return schema::refusal("an IKE SA authenticates, a Child SA does not: name it with --ike or --ike-id");
    }
    let matches = match anew {
        true => core.endpoint.reauthenticate(now, &selection),
        false => core.endpoint.rekey(now, &selection),
    };
    if matches == 0 && anew {
        return schema::refusal(
            "no matching IKE SAs that are up, have a Child SA and do not authenticate anew already",
        );
    }
    if matches == 0 {
        return schema::refusal("no matching SAs to rekey found (IKEv2 SAs that are up)");
    }
    let mut answer = schema::success();
    answer.set("matches", matches.to_string());
    answer
}

/// `redirect {ike ike-id peer-ip peer-id gateway}`: sends clients to another gateway (RFC 5685).
fn redirect(core: &mut Core, now: Instant, m: &Message) -> Message {
    let gateway = match m.get_str("gateway").unwrap_or_default().parse::<Gateway>() {
        Ok(gateway) => gateway,
        Err(why) => return schema::refusal(format!("gateway '{}': {why}", m.get_str("gateway").unwrap_or_default())),
    };
    let mut clients = Clients { ike: m.get_str("ike").map(str::to_string), ..Clients::default() };
    match m.get_str("ike-id").map(str::parse) {
        Some(Ok(id)) => clients.ike_id = Some(SaId(id)),
        Some(Err(_)) => return schema::refusal("ike-id is no number"),
        None => {}
    }
    match m.get_str("peer-ip").map(AddressPattern::parse) {
        Some(Ok(pattern)) => clients.peer_ip = Some(pattern),
        Some(Err(_)) => return schema::refusal("peer-ip is no address, network or range"),
        None => {}
    }
    match m.get_str("peer-id").map(str::parse) {
        Some(Ok(id)) => clients.peer_id = Some(id),
        Some(Err(_)) => return schema::refusal("peer-id is no identity"),
        None => {}
    }
    let named = clients.ike.is_some() || clients.ike_id.is_some();
    if !named && clients.peer_ip.is_none() && clients.peer_id.is_none() {
        return schema::refusal("name whom to redirect: --ike, --ike-id, --peer-ip or --peer-id");
    }
    let (matches, told) = core.endpoint.redirect(now, &clients, &gateway);
    let mut answer = match (matches, told) {
        (0, _) => schema::refusal("no matching IKE SAs that are up"),
        (matches, told) if told < matches => schema::refusal(format!(
            "{} of {matches} matching IKE SAs cannot be redirected: they are not of IKEv2, began here, or the peer does not do RFC 5685",
            matches - told
        )),
        _ => schema::success(),
    };
    answer.set("matches", matches.to_string());
    answer
}

fn list(key: &str, names: Vec<String>) -> Message {
    let mut m = Message::new();
    m.list(key, names);
    m
}

fn result(done: bool, why_not: impl FnOnce() -> String) -> Message {
    if done { schema::success() } else { schema::refusal(why_not()) }
}

fn version() -> VersionInfo {
    let uname =
        |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap_or_default().trim().to_string();
    VersionInfo {
        daemon: "shrike".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        sysname: uname("ostype"),
        release: uname("osrelease"),
        machine: std::env::consts::ARCH.into(),
    }
}

fn stats(core: &Core, now: Instant) -> Stats {
    let (ike_sas, half_open) = core.endpoint.sizes();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Stats {
        running: now.since(Instant::ZERO),
        since: core.since.clone(),
        workers_total: 1,
        workers_idle: 0,
        workers_active: [0, 0, 1, 0],
        queues: [0; 4],
        scheduled: u32::from(core.endpoint.poll_timeout().is_some()),
        ike_sas: count(ike_sas),
        half_open: count(half_open),
        plugins: vec![
            "ikev1".into(),
            "ikev2".into(),
            "psk".into(),
            "pubkey".into(),
            "x509".into(),
            "vici".into(),
            core.plane.describe(),
        ],
    }
}

fn counters(core: &Core, m: &Message) -> Message {
    if let Some(name) = m.get_str("name") {
        return schema::refusal(format!("counters are kept for the whole daemon, not for '{name}'"));
    }
    let mut all = core.endpoint.counters();
    let drops = core.endpoint.drops().into_iter().filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.name(), n));
    all.extend(drops);
    all.extend(core.plane.drops().into_iter().filter(|(_, n)| *n > 0));
    let sets = [("", all.as_slice())];
    schema::counters(sets)
}

/// What can be configured, by strongSwan's names, each with the library that it comes from.
fn algorithms() -> Message {
    use crypto::{Cipher, Integrity, KeyExchange, Prf};
    use model::{Algorithm, Encryption};
    use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};
    const AWS_LC: &str = "aws-lc";
    const RUST_CRYPTO: &str = "rust-crypto";
    let encryption = EncryptionId::KNOWN.iter().copied().filter(|id| {
        // Whatever has several lengths of key has this one.
        Cipher::new(*id, None).is_ok() || Cipher::new(*id, Some(128)).is_ok()
    });
    let encryption = encryption.map(|id| {
        let other = matches!(id, EncryptionId::BLOWFISH | EncryptionId::CAMELLIA_CBC);
        (Encryption { id, key_length: None }.into(), if other { RUST_CRYPTO } else { AWS_LC })
    });
    let integrity = IntegrityId::KNOWN.iter().copied().filter(|id| Integrity::new(*id).is_ok()).map(|id| {
        let block = matches!(id, IntegrityId::AES_XCBC_96 | IntegrityId::AES_CMAC_96);
        (Algorithm::from(id), if block { AWS_LC } else { RUST_CRYPTO })
    });
    let prf = PrfId::KNOWN.iter().copied().filter(|id| Prf::new(*id).is_ok()).map(|id| {
        let block = matches!(id, PrfId::AES128_XCBC | PrfId::AES128_CMAC);
        (Algorithm::from(id), if block { AWS_LC } else { RUST_CRYPTO })
    });
    let groups = KeyExchangeId::KNOWN.iter().copied().filter(|id| KeyExchange::supported(*id));
    let kinds: [(&str, Vec<(Algorithm, &str)>); 4] = [
        ("encryption", encryption.collect()),
        ("integrity", integrity.collect()),
        ("prf", prf.collect()),
        ("ke", groups.map(|id| (id.into(), AWS_LC)).collect()),
    ];
    let mut m = Message::new();
    for (kind, algorithms) in kinds {
        m.section(kind, |m| {
            for (algorithm, library) in algorithms {
                m.set(algorithm.vici_name(), library);
            }
        });
    }
    m
}

fn load_conn(core: &mut Core, now: Instant, m: &Message) -> Message {
    let Some((name, body)) = m.sections().next() else {
        return schema::refusal("load-conn needs a section with the connection's name");
    };
    match load::connection(&load::section(name, body), &core.directory()) {
        Ok(connection) => {
            core.load_connection(now, Arc::new(connection));
            schema::success()
        }
        Err(why) => schema::refusal(why),
    }
}

fn install(core: &mut Core, m: &Message) -> Message {
    let Some(child) = m.get_str("child") else { return schema::refusal("name the child whose policy to install") };
    match core.install(m.get_str("ike"), child) {
        Ok(()) => schema::success(),
        Err(why) => schema::refusal(why),
    }
}

fn load_authority(core: &mut Core, m: &Message) -> Message {
    let Some((name, body)) = m.sections().next() else {
        return schema::refusal("load-authority needs a section with the authority's name");
    };
    match load::authority(&load::section(name, body), &core.directory()) {
        Ok(authority) => {
            load::trust(core.endpoint.credentials_mut(), &authority);
            schema::success()
        }
        Err(why) => schema::refusal(why),
    }
}

fn load_pool(core: &mut Core, m: &Message) -> Message {
    let Some((name, body)) = m.sections().next() else {
        return schema::refusal("load-pool needs a section with the pool's name");
    };
    match load::pool(&load::section(name, body)) {
        Ok(pool) => {
            core.endpoint.pools_mut().load(pool);
            schema::success()
        }
        Err(why) => schema::refusal(why),
    }
}

/// `get-pools`: all, or the one named; with the leases where they are asked for.
fn pools(core: &Core, m: &Message) -> Message {
    let (wanted, with_leases) = (m.get_str("name"), m.get_str("leases") == Some("yes"));
    let pools = core.endpoint.pools();
    let mut answer = Message::new();
    for pool in pools.iter().filter(|pool| wanted.is_none_or(|name| name == pool.name)) {
        let online = pools.leases(&pool.name).filter(|lease| lease.users > 0).count();
        let offline = pools.leases(&pool.name).count() - online;
        answer.section(&pool.name, |m| {
            m.set("base", pool.base.to_string());
            m.set("size", pool.size().to_string());
            m.set("online", online.to_string());
            m.set("offline", offline.to_string());
            if with_leases {
                m.section("leases", |m| {
                    for (number, lease) in pools.leases(&pool.name).enumerate() {
                        m.section(number.to_string(), |m| {
                            m.set("address", lease.address.to_string());
                            m.set("identity", lease.identity.to_string());
                            m.set("status", if lease.users > 0 { "online" } else { "offline" });
                        });
                    }
                });
            }
        });
    }
    answer
}

fn load_shared(core: &mut Core, m: &Message) -> Message {
    let kind = m.get_str("type").unwrap_or_default();
    let purpose = match kind.to_ascii_lowercase().as_str() {
        "ike" => config::SecretKind::Ike,
        "xauth" | "eap" => config::SecretKind::Xauth,
        _ => {
            return schema::refusal(format!(
                "secrets of type '{kind}' are not available in this version: only IKE (pre-shared keys) and XAuth"
            ));
        }
    };
    let Some(data) = m.get("data").filter(|d| !d.is_empty()) else {
        return schema::refusal("the secret is empty");
    };
    let mut owners = Vec::new();
    for owner in m.texts("owners") {
        match owner.parse::<Identity>() {
            Ok(id) if id == Identity::ANY => {}
            Ok(id) => owners.push(id),
            Err(error) => return schema::refusal(error.to_string()),
        }
    }
    let name = m.get_str("id").map_or_else(|| free_name(core.endpoint.secrets()), str::to_string);
    let source = ConfigRef { file: "vici".into(), line: 0, key: format!("secrets.{name}") };
    core.load_secret(SharedSecret { kind: purpose, name, owners, secret: Secret::from(data), source });
    schema::success()
}

/// A name for a secret that comes without one: no other's, whose place it would take.
fn free_name(secrets: &[SharedSecret]) -> String {
    let mut names = (secrets.len() + 1..).map(|number| format!("vici-{number}"));
    names.find(|name| secrets.iter().all(|secret| secret.name != *name)).unwrap_or_default()
}

fn load_file(core: &mut Core, now: Instant, m: &Message) -> Message {
    let path = m.get_str("file").map(str::to_string);
    match core.load_file(now, path.as_deref()) {
        Ok((report, refused)) if refused.is_empty() => {
            let mut answer = schema::success();
            answer.set("report", report);
            answer
        }
        Ok((report, refused)) => {
            let mut answer = schema::refusal(refused.join("\n"));
            answer.set("report", report);
            answer
        }
        Err(error) => schema::refusal(error),
    }
}

/// A connection, as `list-conns` tells it.
pub(crate) fn describe(c: &config::Connection) -> ConnectionInfo {
    let strings = |list: &[config::AddressPattern]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let auth = |round: &config::Authentication| AuthInfo {
        class: match round.method {
            config::AuthMethod::Psk => "pre-shared key".into(),
            config::AuthMethod::Pubkey => "public key".into(),
            config::AuthMethod::Xauth => "XAuth".into(),
        },
        id: (round.id != Identity::ANY).then(|| round.id.to_string()),
        xauth_id: round.xauth_id.clone(),
    };
    let action = |a: config::StartAction, none: &str, start: &str| match a {
        config::StartAction::None => none.to_string(),
        config::StartAction::Start => start.to_string(),
        config::StartAction::Trap | config::StartAction::TrapStart => "trap".to_string(),
    };
    ConnectionInfo {
        name: c.name.clone(),
        local_addrs: strings(&c.local_addrs),
        remote_addrs: strings(&c.remote_addrs),
        version: match c.version {
            config::IkeVersion::Any => "IKEv1/2",
            config::IkeVersion::V1 => "IKEv1",
            config::IkeVersion::V2 => "IKEv2",
        }
        .into(),
        reauth_time: c.reauth_time,
        rekey_time: c.rekey_time,
        unique: format!("UNIQUE_{:?}", c.unique).to_uppercase(),
        dpd_delay: c.dpd_delay,
        local: std::iter::once(&c.local).chain(&c.local_more).map(auth).collect(),
        remote: std::iter::once(&c.remote).chain(&c.remote_more).map(auth).collect(),
        children: c
            .children
            .iter()
            .map(|child| ChildInfo {
                name: child.name.clone(),
                mode: if child.mode == Mode::Tunnel { "TUNNEL" } else { "TRANSPORT" }.into(),
                rekey_time: child.rekey_time,
                rekey_bytes: child.rekey_bytes,
                rekey_packets: child.rekey_packets,
                dpd_action: action(child.dpd_action, "none", "start"),
                close_action: action(child.close_action, "none", "start"),
                starts: child.start_action.starts(),
                local_ts: child.local_ts.iter().map(ToString::to_string).collect(),
                remote_ts: child.remote_ts.iter().map(ToString::to_string).collect(),
            })
            .chain(c.shunts.iter().map(|shunt| ChildInfo {
                name: shunt.name.clone(),
                mode: shunt.action.name().into(),
                dpd_action: "none".into(),
                close_action: "none".into(),
                local_ts: shunt.local_ts.iter().map(ToString::to_string).collect(),
                remote_ts: shunt.remote_ts.iter().map(ToString::to_string).collect(),
                ..ChildInfo::default()
            }))
            .collect(),
        timers: timers(c),
        version_at: Some(c.source.get("version").to_string()),
    }
}

/// The timers of a connection's IKE SA, with their places.
fn timers(c: &config::Connection) -> Vec<LiveTimer> {
    let all = [
        ("rekey_time", c.rekey_time),
        ("reauth_time", c.reauth_time),
        ("over_time", c.over_time),
        ("dpd_delay", c.dpd_delay),
        ("dpd_timeout", c.dpd_timeout),
    ];
    let timer = |(key, time): (&str, Duration)| {
        let default = if c.source.is_set(key) { "" } else { ", by default" };
        LiveTimer { key: key.to_string(), time, place: format!("{}{default}", c.source.get(key)) }
    };
    all.into_iter().filter(|(_, time)| !time.is_zero()).map(timer).collect()
}

#[cfg(test)]
mod client_tests;

#[cfg(test)]
mod tests {
    use super::algorithms;

    /// Also what no default proposal has: `swanctl --list-algs` is where an operator looks for it.
    #[test]
    fn all_that_can_be_configured_is_listed() {
        let listed = algorithms();
        for (kind, name, library) in [
            ("encryption", "AES_GCM_16", "aws-lc"),
            ("encryption", "3DES_CBC", "aws-lc"),
            ("encryption", "CAMELLIA_CBC", "rust-crypto"),
            ("encryption", "BLOWFISH_CBC", "rust-crypto"),
            ("encryption", "NULL_AES_GMAC", "aws-lc"),
            ("integrity", "HMAC_SHA2_256_96", "rust-crypto"),
            ("prf", "PRF_AES128_XCBC", "aws-lc"),
            ("ke", "MODP_2048_256", "aws-lc"),
            ("ke", "ECP_512_BP", "aws-lc"),
        ] {
            let section = listed.sections().find(|(of, _)| *of == kind).map(|(_, section)| section);
            assert_eq!(section.and_then(|section| section.get_str(name)), Some(library), "{name}");
        }
    }
}
