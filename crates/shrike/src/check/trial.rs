//! Two configurations against each other: every connection is negotiated, by two protocol cores in this process.
//!
//! Nothing is lost on the way and time is made up, so the outcome is that of the configurations alone. Each end's own
//! reason is what counts: the one that checks knows both values and the line.

use super::{finding, sanity};
use crate::clock::unix_seconds;
use crate::daemon::FromFiles;
use crate::daemon::load::{self, Loaded};
use config::{AddressPattern, AuthMethod, Child, Connection, IkeVersion, SelectorPattern};
use diag::{Cause, Finding, Severity};
use model::{FailureKind, Instant, Phase, Side, Tombstone, TrafficSelector};
use proto::{Endpoint, Input, Output, Selection, Settings, Started};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Longer than any retransmission: then nothing happens any more.
const LIMIT: Duration = Duration::from_secs(400);
/// More datagrams than this are an endless exchange.
const MANY: usize = 10_000;
/// Connections of one file that are tried.
const MAX_TRIALS: usize = 256;

/// Documentation addresses (RFC 5737) for ends whose address no file says.
const ANYWHERE: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2))];

/// A core with a file's configuration. Both ends' addresses stand for names, which nobody resolves here.
pub(super) fn endpoint((path, loaded): (&str, &Loaded), names: [IpAddr; 2]) -> Endpoint {
    let mut settings = Settings::default();
    // Everything that is tried may be half open at once.
    (settings.cookie_threshold, settings.cookie_threshold_peer) = (usize::MAX, usize::MAX);
    (settings.block_threshold, settings.half_open_limit) = (0, 0);
    let mut endpoint = Endpoint::new(settings, Box::new(crypto::SystemRandom));
    for connection in &loaded.connections {
        endpoint.load_connection(Arc::new(named(connection, names)));
    }
    endpoint.set_secrets(loaded.secrets.clone());
    loaded.pools.iter().for_each(|pool| endpoint.pools_mut().load(pool.clone()));
    let signed = |c: &Arc<Connection>| [&c.local, &c.remote].iter().any(|end| end.method == AuthMethod::Pubkey);
    if loaded.connections.iter().any(signed)
        && let Ok(again) = load::file(path)
    {
        // Private keys are never copied: each core has its own from the files.
        FromFiles::default().replace(endpoint.credentials_mut(), again.credentials);
    }
    endpoint.credentials_mut().set_clock(Instant::ZERO, Duration::from_secs(unix_seconds()));
    endpoint
}

/// A core that stands for the peer which a file's connections are meant for: with what they offer, the other way round. What
/// the peer alone has, its private key, it lacks.
pub(super) fn mirrored(loaded: &Loaded, names: [IpAddr; 2]) -> Endpoint {
    let mut endpoint = Endpoint::new(Settings::default(), Box::new(crypto::SystemRandom));
    for connection in &loaded.connections {
        let mut mirror = named(connection, names);
        std::mem::swap(&mut mirror.local_addrs, &mut mirror.remote_addrs);
        std::mem::swap(&mut mirror.local, &mut mirror.remote);
        endpoint.load_connection(Arc::new(mirror));
    }
    endpoint.set_secrets(loaded.secrets.clone());
    endpoint
}

fn named(connection: &Connection, [local, remote]: [IpAddr; 2]) -> Connection {
    let mut connection = connection.clone();
    for (patterns, address) in [(&mut connection.local_addrs, local), (&mut connection.remote_addrs, remote)] {
        for pattern in patterns.iter_mut().filter(|p| matches!(p, AddressPattern::Name(_))) {
            *pattern = AddressPattern::Host(address);
        }
    }
    connection
}

/// The first single address in a list.
fn host(patterns: &[AddressPattern]) -> Option<IpAddr> {
    patterns.iter().find_map(|pattern| if let AddressPattern::Host(host) = pattern { Some(*host) } else { None })
}

struct Pair {
    ends: [Endpoint; 2],
    now: Instant,
    /// Under way: to which end, from and to which address.
    wire: VecDeque<(usize, SocketAddr, SocketAddr, Vec<u8>)>,
    sent: usize,
}

impl Pair {
    fn drain(&mut self, end: usize) {
        let Some(endpoint) = self.ends.get_mut(end) else { return };
        while let Some(output) = endpoint.poll_output() {
            // What a data plane is told always succeeds.
            if let Output::Transmit { local, remote, message } = output {
                self.wire.push_back((1 - end, local, remote, message));
                self.sent += 1;
            }
        }
    }

    /// Until nothing is under way and the condition holds, or nothing happens any more.
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let end = self.now + LIMIT;
        loop {
            self.drain(0);
            self.drain(1);
            while let Some((to, remote, local, bytes)) = self.wire.pop_front() {
                if let Some(endpoint) = self.ends.get_mut(to).filter(|_| self.sent < MANY) {
                    endpoint.handle(self.now, Input::Datagram { local, remote, bytes: &bytes });
                    self.drain(to);
                }
            }
            let timers = self.ends.iter().enumerate().filter_map(|(n, e)| Some((e.poll_timeout()?.0, n)));
            match timers.min() {
                Some((at, n)) if at <= end && !done(self) && self.sent < MANY => {
                    self.now = self.now.max(at);
                    if let Some(endpoint) = self.ends.get_mut(n) {
                        endpoint.handle(self.now, Input::Timeout);
                    }
                }
                _ => return,
            }
        }
    }

    fn faults(&self, end: usize) -> Vec<Tombstone> {
        let all = self.ends.get(end).map(|e| e.tombstones(self.now)).unwrap_or_default();
        all.into_iter().filter(|t| !t.failure.kind.is_ordinary()).collect()
    }

    fn has_child(&self, end: usize, child: Option<&str>) -> bool {
        let sas = self.ends.get(end).map(|e| e.snapshots(self.now)).unwrap_or_default();
        let mut children = sas.iter().flat_map(|sa| &sa.children);
        children.any(|c| c.installed.is_some() && child.is_none_or(|name| c.name == name))
    }
}

/// Whether an end found the fault by itself, and does not only hear of it.
fn knows(tombstone: &Tombstone) -> bool {
    !matches!(
        tombstone.failure.kind,
        FailureKind::AuthenticationRefused { .. }
            | FailureKind::NoProposalChosen { found_by: Side::Peer, .. }
            | FailureKind::TsUnacceptable { found_by: Side::Peer, .. }
            | FailureKind::PeerRefused { .. }
            | FailureKind::PeerRefusedV1 { .. }
            | FailureKind::NoAnswer { .. }
            | FailureKind::HalfOpen { .. }
    )
}

/// Every connection of either file that can begin, towards the other.
pub(super) fn each(a: (&str, &Loaded), b: (&str, &Loaded), notes: &mut Vec<String>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let mut known: BTreeSet<(IpAddr, IpAddr, Option<Cause>)> = BTreeSet::new();
    let can_begin = |c: &&Arc<Connection>| c.remote_addrs.iter().any(AddressPattern::is_specific);
    if ![a, b].iter().any(|(_, loaded)| loaded.connections.iter().any(|c| can_begin(&c))) {
        let remedy = "write the peer's address into remote_addrs at one end at least".to_string();
        let why = "nobody can begin: neither file has a single address to send to in remote_addrs";
        return vec![finding(
            "cannot-begin",
            format!("{} -> {}", a.0, b.0),
            Severity::Error,
            &[(Cause::NotStarted, remedy)],
            why,
        )];
    }
    for (n, (ours, theirs)) in [(a, b), (b, a)].into_iter().enumerate() {
        let meant = |c: &Connection| {
            theirs.1.connections.iter().any(|other| sanity::reaches(&c.remote_addrs, &other.local_addrs))
        };
        // Connections to other peers are not what is asked; if none is to this one, that is the fault.
        let none = !ours.1.connections.iter().any(|c| can_begin(&c) && meant(c));
        for connection in ours.1.connections.iter().filter(can_begin).take(MAX_TRIALS) {
            if !none && !meant(connection) {
                notes.push(format!("{} '{}' is for another peer: not tried", ours.0, connection.name));
                continue;
            }
            let (local, remote) = addresses(connection, theirs.1);
            for finding in one(connection, (local, remote), ours, theirs) {
                let key = (local.min(remote), local.max(remote), finding.causes.first().copied());
                // The other direction fails for the same reason: that needs no second reading.
                if n == 0 || finding.severity <= Severity::Info || !known.contains(&key) {
                    found.push(finding);
                }
                if n == 0 {
                    known.insert(key);
                }
            }
        }
        if ours.1.connections.len() > MAX_TRIALS {
            notes.push(format!("{}: only the first {MAX_TRIALS} connections are tried", ours.0));
        }
    }
    found
}

/// The addresses of both ends: what the files say, else any.
fn addresses(connection: &Connection, theirs: &Loaded) -> (IpAddr, IpAddr) {
    // Of several peers in the other file, the one that the connection means.
    let meant = |c: &&Arc<Connection>| {
        host(&c.local_addrs).is_some_and(|own| connection.remote_addrs.iter().any(|p| p.matches(own)))
            || host(&c.remote_addrs).is_some_and(|own| host(&connection.local_addrs) == Some(own))
    };
    let peer = theirs.connections.iter().find(meant).or(theirs.connections.first());
    let local = host(&connection.local_addrs).or_else(|| peer.and_then(|c| host(&c.remote_addrs)));
    let remote = host(&connection.remote_addrs).or_else(|| peer.and_then(|c| host(&c.local_addrs)));
    let [here, there] = ANYWHERE;
    (local.unwrap_or(here), remote.unwrap_or(there))
}

fn one(
    connection: &Connection,
    (local, remote): (IpAddr, IpAddr),
    ours: (&str, &Loaded),
    theirs: (&str, &Loaded),
) -> Vec<Finding> {
    let mut found = Vec::new();
    for child in &connection.children {
        let ends = [endpoint(ours, [local, remote]), endpoint(theirs, [remote, local])];
        let mut pair = Pair { ends, now: Instant::ZERO, wire: VecDeque::new(), sent: 0 };
        let peer = format!("{} '{}' -> {}", ours.0, connection.name, theirs.0);
        let mut outcome = negotiate(&mut pair, connection, child, (local, remote), [ours.0, theirs.0], peer);
        if outcome.causes.first() == Some(&Cause::NoConfig) {
            other_version(&mut outcome, connection, theirs.1, (local, remote));
        }
        found.push(outcome);
    }
    found
}

/// That there is no connection for us may be because the one for our address is of another version.
fn other_version(outcome: &mut Finding, ours: &Connection, theirs: &Loaded, (local, remote): (IpAddr, IpAddr)) {
    let for_us = |c: &&Arc<Connection>| {
        let any = |patterns: &[AddressPattern], address| patterns.iter().any(|pattern| pattern.matches(address));
        any(&c.remote_addrs, local) && any(&c.local_addrs, remote) && c.version != ours.version
    };
    let Some(other) = theirs.connections.iter().find(for_us) else { return };
    let number = |version| match version {
        IkeVersion::V1 => "IKEv1",
        IkeVersion::V2 => "IKEv2 alone",
        IkeVersion::Any => "IKEv2, and answers both",
    };
    let [here, there] = [ours, other.as_ref()].map(|c| c.source.get("version"));
    outcome.causes = vec![Cause::IkeVersion];
    outcome.remedy = vec![format!("write the same version at {here} and {there}").into()];
    outcome.why =
        format!("'{}' is for {}, '{}' for {}", ours.name, number(ours.version), other.name, number(other.version));
    outcome.evidence = vec![here.to_string(), there.to_string()];
}

fn negotiate(
    pair: &mut Pair,
    connection: &Connection,
    child: &Child,
    (local, remote): (IpAddr, IpAddr),
    files: [&str; 2],
    peer: String,
) -> Finding {
    let [from, to] = [SocketAddr::new(local, 500), SocketAddr::new(remote, 500)];
    let now = pair.now;
    let [first, _] = &mut pair.ends;
    let started = first.initiate(now, &connection.name, &child.name, from, to);
    if let Err(failure) = &started {
        let remedy = format!("{}{}", failure.kind.remedy(), place(failure));
        return finding("cannot-begin", peer, Severity::Error, &[(Cause::NotStarted, remedy)], failure.to_string());
    }
    let over = |pair: &Pair| {
        let both = pair.has_child(0, Some(&child.name)) && pair.has_child(1, None);
        both || pair.faults(1).iter().any(knows) || !pair.faults(0).is_empty()
    };
    pair.run(over);
    if let Some(failed) = verdict(pair, &peer, "never-established", files, (connection, child)) {
        return failed;
    }
    if !matches!(started, Ok(Started::Negotiation(_))) || !over(pair) {
        let causes = [(Cause::Phase1Timeout, "try it with the daemons themselves: shrike run, shrike log".to_string())];
        return finding("never-established", peer, Severity::Error, &causes, "it does not come to an end");
    }
    // The first Child SA comes without a key exchange of its own: rekeying shows whether groups fit (IKEv2).
    let by_child = Selection { child: Some(child.name.clone()), ..Selection::default() };
    let now = pair.now;
    if pair.ends.first_mut().is_some_and(|end| end.rekey(now, &by_child) > 0) {
        let quiet = |pair: &Pair| {
            let busy = |e: &Endpoint| e.snapshots(pair.now).iter().any(|sa| !sa.tasks_active.is_empty());
            !pair.faults(0).is_empty() || !pair.ends.iter().any(busy)
        };
        pair.run(quiet);
        if let Some(mut failed) = verdict(pair, &peer, "cannot-rekey", files, (connection, child)) {
            failed.why = format!("it establishes, and its child '{}' cannot be rekeyed: {}", child.name, failed.why);
            if !failed.causes.contains(&Cause::Pfs) {
                failed.causes.insert(0, Cause::Pfs);
                failed.remedy.insert(0, Cause::Pfs.remedy().into());
            }
            return failed;
        }
    }
    let mut good = match narrowed(pair, child, (local, remote)) {
        Some(less) => {
            let remedy = format!("compare it with the peer's networks [{}]", child.source.get("remote_ts"));
            let why = format!("establishes, with less than its child '{}' is for: {less}", child.name);
            finding("would-establish", peer, Severity::Info, &[(Cause::TrafficSelector, remedy)], why)
        }
        None => {
            let why = format!("establishes, with its child '{}'", child.name);
            finding("would-establish", peer, Severity::Ok, &[], why)
        }
    };
    good.evidence.push(format!("tried from {local} to {remote}, {} datagrams", pair.sent));
    good
}

/// The networks that were agreed upon, if they are not those that the child is for (RFC 7296 section 2.9).
fn narrowed(pair: &Pair, child: &Child, (local, remote): (IpAddr, IpAddr)) -> Option<String> {
    let sas = pair.ends.first()?.snapshots(pair.now);
    let agreed = sas.iter().flat_map(|sa| &sa.children).find(|c| c.name == child.name && c.installed.is_some())?;
    let configured = |patterns: &[SelectorPattern], address| -> Vec<TrafficSelector> {
        patterns.iter().map(|pattern| pattern.resolve(address)).collect()
    };
    // What depends on addresses may be a virtual one, which no file says.
    let same = |patterns: &[SelectorPattern], address, agreed: &[TrafficSelector]| {
        let configured = configured(patterns, address);
        patterns.iter().any(|pattern| matches!(pattern, SelectorPattern::Dynamic { .. }))
            || configured.len() == agreed.len() && configured.iter().all(|selector| agreed.contains(selector))
    };
    let both = same(&child.local_ts, local, &agreed.local_ts) && same(&child.remote_ts, remote, &agreed.remote_ts);
    let list = |all: &[TrafficSelector]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    (!both).then(|| format!("{} === {}", list(&agreed.local_ts), list(&agreed.remote_ts)))
}

fn place(failure: &model::Failure) -> String {
    failure.config.as_ref().map(|place| format!(" [{place}]")).unwrap_or_default()
}

/// What the end says that knows, with the lines of both.
fn verdict(
    pair: &Pair,
    peer: &str,
    id: &'static str,
    files: [&str; 2],
    (connection, child): (&Connection, &Child),
) -> Option<Finding> {
    let faults = [pair.faults(0), pair.faults(1)];
    let all = faults.iter().flatten();
    let told = all.clone().find(|t| knows(t)).or_else(|| all.clone().next())?;
    let mut found = diag::ended(told);
    (found.id, found.peer) = (id, peer.to_string());
    found.evidence.clear();
    // The responder found it: the line here that its own is to be compared with.
    let by_responder = faults.iter().skip(1).flatten().any(|fault| std::ptr::eq(fault, told));
    let here = by_responder.then(|| counterpart(&told.failure.kind, connection, child)).flatten();
    for (file, faults) in files.iter().zip(&faults) {
        let telling = faults.iter().filter(|fault| here.is_none() || knows(fault));
        for fault in telling.take(2) {
            // What is said already needs its line only.
            let line = match &fault.failure.config {
                Some(place) if fault.failure.kind == told.failure.kind => format!("the line: {place}"),
                _ => format!("{file}: {}{}", fault.failure.kind, place(&fault.failure)),
            };
            if !found.evidence.contains(&line) {
                found.evidence.push(line);
            }
        }
    }
    if let Some(here) = here {
        if let Some(line) = found.remedy.first_mut() {
            *line = format!("{line}; or [{here}] at the other end").into();
        }
        found.evidence.push(format!("to be compared with {here}"));
    }
    Some(found)
}

/// The line of the initiator that the responder's reason is about.
fn counterpart(kind: &FailureKind, connection: &Connection, child: &Child) -> Option<model::ConfigRef> {
    match kind {
        FailureKind::NotAddressed { .. } => Some(connection.source.get("remote.id")),
        FailureKind::IdentityUnknown { .. } | FailureKind::IdentityNotCertified { .. } => {
            Some(connection.source.get("local.id"))
        }
        FailureKind::AuthMethodMismatch { .. } => Some(connection.source.get("local.auth")),
        FailureKind::NoProposalChosen { phase: Phase::Ike, .. } | FailureKind::InvalidKeyExchange { .. } => {
            Some(connection.source.get("proposals"))
        }
        FailureKind::NoProposalChosen { .. } => Some(child.source.get("esp_proposals")),
        FailureKind::TsUnacceptable { .. } | FailureKind::TooManySelectors { .. } => {
            let key = if child.source.is_set("remote_ts") { "remote_ts" } else { "local_ts" };
            Some(child.source.get(key))
        }
        FailureKind::ModeMismatch { .. } => Some(connection.source.get("aggressive")),
        FailureKind::EncapsulationMode { .. } => Some(child.source.get("mode")),
        FailureKind::NoConfig { .. } => Some(connection.source.get("local_addrs")),
        _ => None,
    }
}
