//! Probes of Child SAs: those that clients ask for, and those that the configuration wants now and then (`probe_every`). They are
//! done in a thread of its own, one after the other, so that nothing waits for them; the last result of each is kept.

use super::Core;
use super::aside::Aside;
use crate::clock::Clock;
use crate::log;
use crate::probe::{Measured, Real, ends, measure};
use config::{Child, Connection};
use diag::Severity;
use linux::{Echo, EchoError};
use mio::Waker;
use model::dataplane::Counters;
use model::{ChildSnapshot, ChildState, Instant, Probe, ProbeOutcome, SaId, SaSnapshot, SendTrouble};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// So many may wait for their turn.
const MOST_WAITING: usize = 64;
/// So many results are kept.
const MOST_KEPT: usize = 1024;
/// A Child SA that came up is probed so much later: the peer has to put it to use, too.
const SETTLES: Duration = Duration::from_secs(2);
/// Looking which ones are due means looking at all SAs: not more often than that.
const PAUSE: Duration = Duration::from_secs(1);

/// Which Child SA, whatever number it has after a rekeying: connection, child, and the peer's address.
type Key = (String, String, IpAddr);

/// What to do.
pub struct Job {
    number: u64,
    local: IpAddr,
    to: IpAddr,
    mark: Option<u32>,
}

/// The thread that does it.
pub type Prober = Aside<Job, (u64, Measured)>;

/// Begins the thread; `waker` is woken at each result.
///
/// # Errors
/// There is no thread to be had.
pub fn start(waker: Arc<Waker>) -> io::Result<Prober> {
    let clock = Clock::new();
    Aside::start("probes", MOST_WAITING, waker, move |job: Job| {
        let failed = |outcome| Measured { outcome, sent: 0, answers: 0 };
        let measured = match Echo::open(job.local, job.to, job.mark) {
            Ok(echo) => measure(&mut Real { echo, clock: &clock }),
            Err(EchoError::NoSuchSource(_)) => failed(ProbeOutcome::CannotSend(SendTrouble::NoSuchSource)),
            Err(EchoError::Io { source, .. }) if linux::send_trouble(&source).is_some() => {
                failed(ProbeOutcome::CannotSend(linux::send_trouble(&source).unwrap_or(SendTrouble::Other)))
            }
            Err(error) => failed(ProbeOutcome::NoSocket(error.to_string())),
        };
        (job.number, measured)
    })
}

/// One that is under way.
struct Pending {
    key: Key,
    child: SaId,
    before: Option<Counters>,
    probe: Probe,
}

/// What is known of one Child SA.
#[derive(Default)]
struct State {
    /// When it is to be probed again, if the configuration wants that.
    next: Option<Instant>,
    /// Whether one is under way by itself.
    busy: bool,
    last: Option<(Instant, Probe)>,
}

/// All of them.
pub struct Probes {
    thread: Prober,
    number: u64,
    pending: BTreeMap<u64, Pending>,
    known: BTreeMap<Key, State>,
    /// When to look which ones are due.
    look: Option<Instant>,
    /// Whether any connection ever wanted some.
    wanted: bool,
}

/// What a client that asked for a probe gets.
pub enum Asked {
    /// The result: there was nothing to send.
    Done(Box<Probe>),
    /// It comes with this number.
    UnderWay(u64),
}

impl Probes {
    pub fn new(thread: Prober) -> Self {
        Self { thread, number: 0, pending: BTreeMap::new(), known: BTreeMap::new(), look: None, wanted: false }
    }

    /// When [`Core::probe_what_is_due`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.look
    }

    /// A connection is loaded, which may want probes of Child SAs that are up.
    pub fn loaded(&mut self, now: Instant, connection: &Connection) {
        if connection.children.iter().any(|child| !child.probe_every.is_zero()) {
            self.wanted = true;
            self.child_up(now);
        }
    }

    /// A Child SA is up: it may want probes.
    pub fn child_up(&mut self, now: Instant) {
        if self.wanted {
            let at = now + SETTLES;
            self.look = Some(self.look.map_or(at, |known| known.min(at)));
        }
    }

    /// The last results of Child SAs that are there.
    pub fn list(&self, now: Instant, sas: &[SaSnapshot]) -> Vec<Probe> {
        let there = |key: &Key, at: Instant| {
            // What is said of an SA that this one replaced after a failure may be wrong by now.
            let since = |sa: &SaSnapshot| sa.established.is_some_and(|time| time >= now.since(at));
            sas.iter()
                .any(|sa| since(sa) && sa.children.iter().any(|child| carries(child) && key_of(sa, child) == *key))
        };
        let last = self.known.iter().filter_map(|(key, state)| state.last.as_ref().map(|last| (key, last)));
        last.filter(|(key, (at, _))| there(key, *at))
            .map(|(_, (at, probe))| Probe { ago: now.since(*at), ..probe.clone() })
            .collect()
    }

    fn keep(&mut self, now: Instant, key: Key, probe: Probe) {
        if self.known.len() >= MOST_KEPT && !self.known.contains_key(&key) {
            let idle = self.known.iter().filter(|(_, state)| state.next.is_none());
            let oldest =
                idle.min_by_key(|(_, state)| state.last.as_ref().map(|(at, _)| *at)).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.known.remove(&oldest);
        }
        self.known.entry(key).or_default().last = Some((now, probe));
    }
}

fn carries(child: &ChildSnapshot) -> bool {
    matches!(child.state, ChildState::Installed | ChildState::Rekeying)
}

fn key_of(sa: &SaSnapshot, child: &ChildSnapshot) -> Key {
    (sa.name.clone(), child.name.clone(), sa.remote.ip())
}

impl Core {
    /// Probes a child that a client names, to the address that it names, else to the configured one, else to the first one.
    ///
    /// # Errors
    /// For the client: there is no such child, or it is not up.
    pub fn probe(&mut self, now: Instant, ike: Option<&str>, child: &str, to: Option<IpAddr>) -> Result<Asked, String> {
        let sas = self.endpoint.snapshots(now);
        let named = sas.iter().filter(|sa| ike.is_none_or(|ike| sa.name == ike));
        let up = named.flat_map(|sa| sa.children.iter().map(move |child| (sa, child)));
        let mut up: Vec<_> = up.filter(|(_, found)| found.name == child && carries(found)).collect();
        up.sort_by_key(|(_, child)| std::cmp::Reverse(child.id));
        let peers: BTreeSet<(&str, IpAddr)> = up.iter().map(|(sa, _)| (sa.name.as_str(), sa.remote.ip())).collect();
        if peers.len() > 1 && to.is_none() {
            let all: Vec<String> = peers.iter().take(8).map(|(name, peer)| format!("{name} ({peer})")).collect();
            return Err(format!(
                "'{child}' is up more than once: {}: name the connection with --ike, or an address behind one peer with --to",
                all.join(", ")
            ));
        }
        let behind = |(_, child): &&(&SaSnapshot, &ChildSnapshot)| {
            to.is_none_or(|to| {
                child.remote_ts.iter().any(|ts| ts.start <= to && to <= ts.end && ts.is_ipv6() == to.is_ipv6())
            })
        };
        let Some((sa, child)) = up.iter().find(behind).or(up.first()).copied() else {
            let mut configured = self.endpoint.connections().filter(|c| ike.is_none_or(|ike| c.name == ike));
            let known = configured.any(|c| c.children.iter().any(|configured| configured.name == child));
            return Err(match known {
                true => format!(
                    "'{child}' is not up: begin it first (shrike initiate --child {child}), or see why not (shrike diagnose)"
                ),
                false => format!("no connection has a child '{child}': see swanctl --list-conns"),
            });
        };
        if self.probes.pending.len() >= MOST_WAITING {
            return Err(format!("{MOST_WAITING} probes wait already: ask again in a minute"));
        }
        let (sa, child) = (sa.clone(), child.clone());
        Ok(self.begin_probe(now, &sa, &child, to))
    }

    fn configured(&self, sa: &SaSnapshot, child: &ChildSnapshot) -> Option<&Child> {
        let connection = self.endpoint.connections().find(|c| c.name == sa.name)?;
        connection.children.iter().find(|c| c.name == child.name)
    }

    fn begin_probe(&mut self, now: Instant, sa: &SaSnapshot, child: &ChildSnapshot, to: Option<IpAddr>) -> Asked {
        let to = to.or_else(|| self.configured(sa, child).and_then(|configured| configured.probe_to));
        let host = self.routes.as_mut().and_then(|routes| routes.usable_addresses().ok()).unwrap_or_default();
        let host: Vec<IpAddr> = host.into_iter().map(|own| own.address).collect();
        let found = ends(sa, child, &host, to);
        let texts = |list: &[model::TrafficSelector]| {
            let mut texts: Vec<String> = list.iter().take(8).map(ToString::to_string).collect();
            texts.extend((list.len() > 8).then(|| "...".to_string()));
            texts.join(" ")
        };
        let mut probe = Probe {
            connection: sa.name.clone(),
            child: child.name.clone(),
            peer: sa.remote.ip(),
            local_ts: texts(&child.local_ts),
            remote_ts: texts(&child.remote_ts),
            local: None,
            to,
            named: to.is_some(),
            outcome: ProbeOutcome::NoTarget,
            sent: 0,
            answers: 0,
            outbound: None,
            inbound: None,
            ago: Duration::ZERO,
        };
        let key = key_of(sa, child);
        match found {
            Err((outcome, to)) => {
                (probe.outcome, probe.to) = (outcome, to);
                self.told_of_probe(now, key, &probe);
                Asked::Done(Box::new(probe))
            }
            Ok((local, to)) => {
                (probe.local, probe.to) = (Some(local), Some(to));
                let before = self.plane.counters(now, child.id);
                let mark = child.binding.mark_out.map(|mark| mark.value);
                self.probes.number += 1;
                let number = self.probes.number;
                self.probes.thread.ask(Job { number, local, to, mark });
                self.probes.pending.insert(number, Pending { key, child: child.id, before, probe });
                Asked::UnderWay(number)
            }
        }
    }

    /// The results that have come, with their numbers.
    pub fn probe_results(&mut self, now: Instant) -> Vec<(u64, Probe)> {
        let mut results = Vec::new();
        while let Some((number, measured)) = self.probes.thread.answer() {
            let Some(Pending { key, child, before, mut probe }) = self.probes.pending.remove(&number) else { continue };
            let after = self.plane.counters(now, child);
            if let (Some(before), Some(after)) = (before, after) {
                probe.outbound = Some(after.packets_out.saturating_sub(before.packets_out));
                probe.inbound = Some(after.packets_in.saturating_sub(before.packets_in));
            }
            (probe.outcome, probe.sent, probe.answers) = (measured.outcome, measured.sent, measured.answers);
            if let Some(state) = self.probes.known.get_mut(&key) {
                state.busy = false;
            }
            self.told_of_probe(now, key, &probe);
            results.push((number, probe));
        }
        results
    }

    /// Keeps a result. What is another one than before is worth a line.
    fn told_of_probe(&mut self, now: Instant, key: Key, probe: &Probe) {
        let found = diag::probed(probe);
        let before = self.probes.known.get(&key).and_then(|state| state.last.as_ref());
        if before.is_none_or(|(_, before)| diag::probed(before).why != found.why) {
            let level = if found.severity > Severity::Info { 0 } else { 1 };
            log::line("NET", level, &format!("<{}> probe: {}", probe.connection, found.why));
        }
        self.probes.keep(now, key, probe.clone());
    }

    /// Begins the probes whose time has come.
    pub fn probe_what_is_due(&mut self, now: Instant) {
        if self.probes.look.take_if(|at| *at <= now).is_none() {
            return;
        }
        let sas = self.endpoint.snapshots(now);
        let mut wanted: BTreeMap<Key, (&SaSnapshot, &ChildSnapshot, Duration)> = BTreeMap::new();
        for sa in sas.iter().filter(|sa| sa.established.is_some()) {
            for child in sa.children.iter().filter(|child| carries(child)) {
                let every = self.configured(sa, child).map(|c| c.probe_every).filter(|every| !every.is_zero());
                if let Some(every) = every {
                    wanted.insert(key_of(sa, child), (sa, child, every));
                }
            }
        }
        self.probes.known.retain(|key, state| state.next.is_none() || wanted.contains_key(key));
        let mut next: Option<Instant> = None;
        for (key, (sa, child, every)) in wanted {
            let room = self.probes.pending.len() < MOST_WAITING && self.probes.known.len() < MOST_KEPT;
            let state = self.probes.known.get(&key);
            let (at, busy) = (state.and_then(|s| s.next).unwrap_or(now), state.is_some_and(|s| s.busy));
            let mut again = at;
            if at <= now {
                again = now + every;
                if busy || !room && state.is_none() {
                    again = now + every.min(PAUSE * 10);
                } else {
                    let begun = self.begin_probe(now, sa, child, None);
                    self.probes.known.entry(key.clone()).or_default().busy = matches!(begun, Asked::UnderWay(_));
                }
            }
            if let Some(state) = self.probes.known.get_mut(&key) {
                state.next = Some(again);
            }
            next = Some(next.map_or(again, |known| known.min(again)));
        }
        self.probes.look = next.map(|at| at.max(now + PAUSE));
    }
}

impl super::Daemon {
    /// Probes came to their end.
    pub fn probes(&mut self, now: Instant) {
        for (number, probe) in self.core.probe_results(now) {
            self.with_clients(|client, core| client.probed(core, now, number, &probe));
        }
    }
}
