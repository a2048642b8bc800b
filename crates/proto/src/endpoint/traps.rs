//! Traps: policies without an SA, whose first packet has one negotiated (`start_action = trap`; RFC 4301 section 4.4.1).
//!
//! A trap stays while the Child SAs that it asks for come and go. Both versions of IKE serve it.

use super::Endpoint;
use crate::child::configured_for;
use crate::ike_sa::IkeSa;
use crate::v2;
use config::Connection;
use model::dataplane::{Command, Mode, TrapInstall};
use model::{Event, Failure, FailureKind, Instant, SaId, TrafficSelector};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A policy that waits for packets.
pub(super) struct Trap {
    connection: Arc<Connection>,
    /// Name of the child.
    child: String,
    local: SocketAddr,
    remote: SocketAddr,
    pub install: TrapInstall,
    /// Destinations for which a Child SA was asked though there are others, and until when not again: the peer may narrow
    /// to what does not have them.
    asked: VecDeque<(IpAddr, Instant)>,
    /// Until when a peer that has an SA which we have not does not make it ask again.
    woken: Instant,
}

/// The traps that are set.
#[derive(Default)]
pub(super) struct Traps {
    all: BTreeMap<SaId, Trap>,
    /// By connection and child.
    by_name: BTreeSet<(String, String, SaId)>,
    by_peer: BTreeSet<(IpAddr, SaId)>,
}

impl Traps {
    fn insert(&mut self, id: SaId, trap: Trap) {
        self.by_name.insert((trap.connection.name.clone(), trap.child.clone(), id));
        self.by_peer.insert((trap.remote.ip(), id));
        self.all.insert(id, trap);
    }

    fn remove(&mut self, id: SaId) -> Option<Trap> {
        let trap = self.all.remove(&id)?;
        self.by_name.remove(&(trap.connection.name.clone(), trap.child.clone(), id));
        self.by_peer.remove(&(trap.remote.ip(), id));
        Some(trap)
    }

    pub fn get(&self, id: SaId) -> Option<&Trap> {
        self.all.get(&id)
    }

    /// Those of this connection or child, in the order in which they were set; `None` for any.
    pub fn of(&self, connection: Option<&str>, child: Option<&str>) -> Vec<SaId> {
        let first = (connection.unwrap_or_default().to_string(), String::new(), SaId(0));
        let from_there = self.by_name.range(first..);
        let own = from_there.take_while(|(name, ..)| connection.is_none_or(|connection| connection == name));
        let own = own.filter(|(_, name, _)| child.is_none_or(|child| child == name)).map(|(.., id)| *id);
        own.collect::<BTreeSet<SaId>>().into_iter().collect()
    }

    /// Whether the indices say what a look at every trap says; only asked where there are few.
    #[cfg(debug_assertions)]
    pub fn is_consistent(&self) -> bool {
        let all = || self.all.iter();
        all().len() > 32
            || (self.by_name
                == all().map(|(id, trap)| (trap.connection.name.clone(), trap.child.clone(), *id)).collect()
                && self.by_peer == all().map(|(id, trap)| (trap.remote.ip(), *id)).collect())
    }

    /// The first that waits for this peer and may be woken now.
    fn sleeping(&mut self, now: Instant, peer: IpAddr) -> Option<&mut Trap> {
        let of_peer = self.by_peer.range((peer, SaId(0))..=(peer, SaId(u32::MAX)));
        let sleeps = |id: &SaId| self.all.get(id).is_some_and(|trap| trap.woken <= now);
        let id = of_peer.map(|(_, id)| *id).find(sleeps)?;
        self.all.get_mut(&id)
    }
}

/// So long after an IKE SA ended a packet of it may be late; a peer that goes on with it sends more.
const LATE: Duration = Duration::from_secs(30);

/// So long and for so many destinations a trap does not ask again.
const ASKED: (Duration, usize) = (Duration::from_secs(60), 32);

/// A packet that met a trap.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub protocol: u8,
}

impl Packet {
    /// The selectors of this packet alone, its source first; ICMP has type and code in both (RFC 7296 section 3.13.1).
    fn selectors(&self) -> (TrafficSelector, TrafficSelector) {
        let icmp = matches!(self.protocol, 1 | 58);
        let type_and_code = (self.source.port() << 8) | (self.destination.port() & 0xff);
        let one = |end: SocketAddr| {
            let port = if icmp { type_and_code } else { end.port() };
            // A packet without ports, or a later fragment of one.
            let (start_port, end_port) = if port == 0 && !icmp { (0, u16::MAX) } else { (port, port) };
            TrafficSelector { protocol: self.protocol, start_port, end_port, ..TrafficSelector::host(end.ip()) }
        };
        (one(self.source), one(self.destination))
    }
}

fn covers(local: &[TrafficSelector], remote: &[TrafficSelector], packet: &(TrafficSelector, TrafficSelector)) -> bool {
    let has = |list: &[TrafficSelector], one: &TrafficSelector| list.iter().any(|ts| ts.intersection(one).is_some());
    has(local, &packet.0) && has(remote, &packet.1)
}

impl Endpoint {
    /// Sets a trap for a child, in place of the one there is. With an unspecified `remote` each packet tells the peer,
    /// which is for transport mode only.
    ///
    /// # Errors
    /// Why it cannot be set.
    #[allow(clippy::result_large_err)] // made for an operator, not on a hot path
    pub fn install_trap(
        &mut self,
        connection: &str,
        child: &str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SaId, Failure> {
        let Some(connection) = self.connections.get(connection).cloned() else {
            return Err(Failure { kind: FailureKind::NoConfig { local, remote }, config: None });
        };
        let Some(config) = connection.children.iter().find(|c| c.name == child) else {
            return Err(Failure { kind: FailureKind::NoConfig { local, remote }, config: None });
        };
        let refused = |reason: &str, key: &str| {
            let kind = FailureKind::InstallFailed { reason: reason.to_string() };
            Err(Failure { kind, config: Some(config.source.get(key)) })
        };
        if remote.ip().is_unspecified() && config.mode != Mode::Transport {
            return refused("in tunnel mode a trap needs the peer's address: set remote_addrs", "mode");
        }
        if !config.policies {
            return refused("a trap is a policy: remove policies = no", "policies");
        }
        self.uninstall_traps(Some(&connection.name), Some(child));
        let selectors = configured_for(config, &[local.ip()], &[remote.ip()]);
        let binding = self.cx.bind_trap(&connection.name, config);
        let install = TrapInstall {
            trap: self.cx.child_id(),
            connection: connection.name.clone(),
            name: config.name.clone(),
            reqid: self.cx.take_reqid(&selectors.local, &selectors.remote, binding, config.reqid),
            binding,
            mode: config.mode,
            local: local.ip(),
            remote: remote.ip(),
            local_ts: selectors.local,
            remote_ts: selectors.remote,
            priority: config.priority,
        };
        let id = install.trap;
        self.cx.plane(Command::Trap(Box::new(install.clone())));
        let child = child.to_string();
        let asked = VecDeque::new();
        self.traps.insert(id, Trap { connection, child, local, remote, install, asked, woken: Instant::ZERO });
        Ok(id)
    }

    /// Removes the traps of this connection or child; `None` for any. Returns how many there were.
    pub fn uninstall_traps(&mut self, connection: Option<&str>, child: Option<&str>) -> usize {
        let ids = self.traps.of(connection, child);
        for trap in &ids {
            self.cx.plane(Command::RemoveTrap { trap: *trap });
            self.forget_trap(*trap);
        }
        ids.len()
    }

    /// The data plane has it no more, or never had it.
    pub(super) fn forget_trap(&mut self, id: SaId) -> bool {
        let Some(trap) = self.traps.remove(id) else { return false };
        let install = &trap.install;
        self.cx.unbind_trap(&trap.connection.name, &trap.child);
        self.cx.release_reqid(&install.local_ts, &install.remote_ts, install.binding, install.reqid);
        true
    }

    /// The traps that are set.
    pub fn traps(&self) -> impl Iterator<Item = &TrapInstall> {
        self.traps.all.values().map(|trap| &trap.install)
    }

    /// A Child SA ended whose configuration says to wait for traffic; a trap that is there stays.
    pub(super) fn trap_again(&mut self, connection: &str, child: &str, local: SocketAddr, remote: SocketAddr) {
        let there = !self.traps.of(Some(connection), Some(child)).is_empty();
        if !there && let Err(failure) = self.install_trap(connection, child, local, remote) {
            let text = format!("no trap is set for '{child}': {failure}");
            self.cx.event(Event::Step { sa: None, name: connection.to_string(), group: "CFG", level: 0, text });
        }
    }

    /// The peer at this address uses an SA that is not here. Anybody may say so in its name: what comes of it is one negotiation
    /// within a minute with the peer that is configured, and only if there is no IKE SA with it. What was on its way when an end
    /// deleted one brings nothing back.
    pub(super) fn wake_traps(&mut self, now: Instant, from: IpAddr) {
        let nothing_waits = self.traps.all.is_empty();
        if nothing_waits || self.sas.at(from).any(|sa| !sa.is_closed()) || self.has_just_ended(now, from) {
            return;
        }
        let Some(trap) = self.traps.sleeping(now, from) else { return };
        trap.woken = now + ASKED.0;
        let (name, child) = (trap.connection.name.clone(), trap.child.clone());
        let (local, remote) = (trap.local, trap.remote);
        let Some(connection) = self.connections.get(&name).cloned() else { return };
        let Some(index) = connection.children.iter().position(|c| c.name == child) else { return };
        let text = format!("{from} uses an SA that is not here: its trap asks for a new one");
        self.cx.event(Event::Step { sa: None, name, group: "KNL", level: 1, text });
        let begun = self.begin(now, connection, index, (local, remote), 1, None);
        begun.iter().for_each(|id| self.keep_wanting(*id));
    }

    /// An established IKE SA with this address ended less than [`LATE`] ago.
    fn has_just_ended(&self, now: Instant, with: IpAddr) -> bool {
        let recent = self.tombstones.iter().rev().take_while(|t| now.since(t.at) < LATE);
        recent.into_iter().any(|t| {
            let whole = t.child.is_none() && t.rekeying.is_none() && t.sa.established.is_some();
            whole && t.sa.remote.ip() == with
        })
    }

    /// A packet met a trap: its Child SA is negotiated, unless that is under way or there is one already.
    pub(super) fn acquire(&mut self, now: Instant, id: SaId, packet: Packet) {
        let Some(trap) = self.traps.get(id) else { return };
        let any = |address: SocketAddr, of_packet: IpAddr| match address.ip().is_unspecified() {
            true => SocketAddr::new(of_packet, address.port()),
            false => address,
        };
        let (local, remote) = (any(trap.local, packet.source.ip()), any(trap.remote, packet.destination.ip()));
        let (connection, child) = (Arc::clone(&trap.connection), trap.child.clone());
        let wanted = packet.selectors();
        if !covers(&trap.install.local_ts, &trap.install.remote_ts, &wanted) {
            return;
        }
        let served = |sa: &IkeSa| {
            let same = !sa.is_closed();
            let carries = |c: &crate::child::ChildSa| {
                c.name == child && (!c.is_installed() || covers(&c.local_ts, &c.remote_ts, &wanted))
            };
            same && sa.heir().is_none() && sa.lasting_children().any(carries)
        };
        if self.sas.named_at(&connection.name, remote.ip()).any(served) {
            return;
        }
        let others = |sa: &IkeSa| sa.children().iter().any(|c| c.name == child);
        if self.sas.named(&connection.name).any(others)
            && let Some(trap) = self.traps.all.get_mut(&id)
        {
            trap.asked.retain(|(_, until)| *until > now);
            if trap.asked.iter().any(|(address, _)| *address == packet.destination.ip()) {
                return;
            }
            if trap.asked.len() >= ASKED.1 {
                trap.asked.pop_front();
            }
            trap.asked.push_back((packet.destination.ip(), now + ASKED.0));
        }
        let text = format!("creating acquire job for policy {} === {}", wanted.0, wanted.1);
        self.cx.event(Event::Step { sa: None, name: connection.name.clone(), group: "KNL", level: 1, text });
        if self.add_child_v1(now, &connection.name, &child, (local, remote)).is_some() {
            return;
        }
        if self.under_another(now, &connection.name, &child, remote.ip(), Some(wanted)).is_some() {
            return;
        }
        let index = connection.children.iter().position(|c| c.name == child).unwrap_or(usize::MAX);
        // What is loaded now counts, not what was loaded when the trap was set.
        let Some(connection) = self.connections.get(&connection.name).cloned() else { return };
        let begun = self.begin(now, connection, index, (local, remote), 1, None);
        begun.iter().for_each(|id| self.keep_wanting(*id));
        if let Ok(id) = begun
            && let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2)
        {
            v2::triggered_by(sa, wanted);
        }
    }
}
