//! The Linux kernel's ESP.

use super::bypass::Bypasses;
use super::growth::Growth;
use super::plane::DataPlane;
use super::sockets::Sockets;
use super::strays::{Ends, Strays};
use super::tunnel_routes::TunnelRoutes;
use super::updown::Scripts;
use crate::{clock, log};
use esp::{Engine, Verdict};
use linux::{
    Acquire, EarlyPackets, LocalAddress, Route, RouteTarget, Routes, Rule, SOCKET_MARK, StrayEsp, Xfrm, XfrmEvent,
    tunnel_routes, xfrm_statistics,
};
use model::dataplane::{Binding, ChildInstall, Command, Counters, PlaneEvent, TrapInstall};
use model::{Instant, PlaneFault, SaId, TrafficSelector};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// So many Child SAs are waited for at once, each with a socket of its own; a further one takes the place of the oldest.
const MOST_EXPECTED: usize = 16;

/// After this time a negotiation has come to nothing, or what was kept for it is of no use.
const PATIENCE: Duration = Duration::from_secs(10);

/// So long what the peer sent by an SA that has been deleted may still come.
const LATE: Duration = Duration::from_secs(30);

/// The kernel counts in it what comes by SPIs that it does not know.
const UNKNOWN_SPIS: &str = "XfrmInNoStates";

/// A peer that sent by what a killed run left, not longer ago than this, goes on with it; and it may, for so long, until it has
/// something new.
const IN_USE: Duration = Duration::from_secs(60);

/// Lost reports are told once in so long.
const LOSSES_TOLD: Duration = Duration::from_secs(60);

/// The kernel's data plane.
pub struct Kernel {
    xfrm: Xfrm,
    routes: Option<Routes>,
    rules: Vec<Rule>,
    installed: BTreeMap<SaId, (ChildInstall, String)>,
    /// Child SAs to come, until when, and the packets that are there before.
    expected: VecDeque<(SaId, Instant, EarlyPackets)>,
    /// Child SAs by which something may still come, with their inbound SPIs.
    retired: Vec<(SaId, u32)>,
    traps: BTreeMap<SaId, TrapInstall>,
    tunnel_routes: TunnelRoutes,
    shunts: Vec<SaId>,
    bypasses: Bypasses,
    events: VecDeque<PlaneEvent>,
    scripts: Scripts,
    install_routes: bool,
    growth: Growth,
    nat_port: u16,
    strays: Strays<StrayEsp>,
    /// Traps that let SAs of a killed run go on, and until when.
    spared: VecDeque<(SaId, Instant)>,
    /// Reports of the kernel that were lost are told again at this time.
    told_losses: Option<Instant>,
}

impl Kernel {
    /// Opens the netlink sockets. `nat_port` is where ESP in UDP comes.
    ///
    /// # Errors
    /// What is missing.
    pub fn open(nat_port: u16, install_routes: bool) -> Result<Self, String> {
        let mut xfrm = Xfrm::open().map_err(|e| format!("the kernel's XFRM interface: {e}"))?;
        // Until its Child SA is there again what meets such a policy is lost, so they are told. What nothing of this run takes
        // the place of stays.
        if let Ok(foreign) = xfrm.foreign()
            && !foreign.is_empty()
        {
            log::line("KNL", 0, &foreign.to_string());
        }
        if let Err(error) = xfrm.remember_leftovers() {
            log::line("KNL", 1, &format!("what a killed run left in the kernel cannot be read, and stays: {error}"));
        }
        let mut routes = Routes::open().ok();
        let mut rules = Vec::new();
        if let Some(routes) = &mut routes {
            for ipv6 in [false, true] {
                let rule = Rule::tunnels(ipv6);
                if routes.add_rule(&rule).is_ok() {
                    rules.push(rule);
                }
            }
        }
        let (installed, traps, events) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let (shunts, bypasses, scripts) = (Vec::new(), Bypasses::default(), Scripts::start());
        let expected = VecDeque::new();
        let growth = Growth::default();
        Ok(Self {
            xfrm,
            routes,
            rules,
            installed,
            expected,
            retired: Vec::new(),
            traps,
            tunnel_routes: TunnelRoutes::new(2),
            shunts,
            bypasses,
            events,
            scripts,
            install_routes,
            growth,
            nat_port,
            strays: Strays::new(),
            spared: VecDeque::new(),
            told_losses: None,
        })
    }

    fn expect(&mut self, now: Instant, child: SaId, spi: u32, local: SocketAddr, encapsulated: bool) {
        match EarlyPackets::open(spi, local, encapsulated) {
            Ok(tap) => {
                if self.expected.len() >= MOST_EXPECTED {
                    self.expected.pop_front();
                }
                self.expected.push_back((child, now + PATIENCE, tap));
            }
            Err(error) => log::line("KNL", 2, &format!("cannot keep packets that come before their SA: {error}")),
        }
    }

    /// Gives the kernel what came before the Child SA was there. The kernel holds no policy against it, so that is done
    /// here: what our own ESP would not deliver does not come in.
    fn receive_early(&mut self, now: Instant, install: &ChildInstall) {
        let Some(at) = self.expected.iter().position(|(child, ..)| *child == install.child) else { return };
        let Some((_, _, tap)) = self.expected.remove(at) else { return };
        // Marks, interfaces and the operator's own policies are the kernel's alone.
        if !install.policies || install.binding != Binding::default() {
            return;
        }
        // The tap stays open until they are received: closing it is slow.
        let packets = tap.take();
        if packets.is_empty() {
            return;
        }
        let mut judge = Engine::new();
        let like = ChildInstall { priority: None, succeeds: None, ..install.clone() };
        if judge.apply(now, &Command::Install(Box::new(like))).is_err() {
            return;
        }
        for packet in packets {
            let verdict = judge.open(now, &mut packet.esp().to_vec(), packet.source());
            if matches!(verdict, Verdict::Deliver { .. })
                && let Err(error) = packet.receive()
            {
                log::line("KNL", 2, &format!("a packet that came before its SA is lost: {error}"));
            }
        }
    }

    /// Removes what a killed run left in the place of this Child SA or trap; with `spare` not yet what its peer uses, if that
    /// fits. The SPIs by which the peer came of late.
    fn replace_leftovers(&mut self, owner: SaId, name: &str, spare: bool) -> Vec<u32> {
        let of_late = clock::unix_seconds().saturating_sub(IN_USE.as_secs());
        let replaced = match self.xfrm.replace_leftovers(owner, spare.then_some(of_late)) {
            Ok(replaced) => replaced,
            Err(error) => {
                log::line("KNL", 0, &format!("what a killed run left of '{name}' cannot be removed: {error}"));
                return Vec::new();
            }
        };
        let (sas, policies) = (replaced.sas, replaced.policies);
        if sas + policies > 0 {
            let what = format!("{sas} SAs and {policies} policies that a killed run had left");
            log::line("KNL", 1, &format!("'{name}' takes the place of {what}: removed"));
        }
        if replaced.spared > 0 {
            let what = format!("{} SAs that a killed run had left and the peer uses", replaced.spared);
            log::line("KNL", 1, &format!("'{name}' lets {what} go on until there are new ones"));
        }
        replaced.used.into_iter().filter(|(_, at)| *at >= of_late).map(|(spi, _)| spi).collect()
    }

    /// The peers of traps that have no Child SA here, and our ends.
    fn idle_traps(&self) -> BTreeSet<Ends> {
        let served: BTreeSet<IpAddr> = self.installed.values().map(|(install, ..)| install.remote.ip()).collect();
        let traps = self.traps.values().map(|trap| (trap.remote, trap.local));
        traps.filter(|(peer, _)| !peer.is_unspecified() && !served.contains(peer)).collect()
    }

    /// Finds peers that use what is not here.
    fn look_for_strays(&mut self, now: Instant) {
        if !self.strays.is_due(now) {
            return;
        }
        let (ends, nat_port) = (self.idle_traps(), self.nat_port);
        let (installed, retired) = (&self.installed, &self.retired);
        let count = || xfrm_statistics().get(UNKNOWN_SPIS).copied().unwrap_or(0);
        let open = || {
            let of = |ipv6| ends.iter().map(|(peer, _)| *peer).filter(move |peer| peer.is_ipv6() == ipv6);
            let mut taps = Vec::new();
            for ipv6 in [false, true].into_iter().filter(|ipv6| of(*ipv6).next().is_some()) {
                match StrayEsp::open(ipv6, nat_port, &of(ipv6).collect::<Vec<_>>()) {
                    Ok(tap) => taps.push(tap),
                    Err(error) => log::line("KNL", 2, &format!("cannot see who uses an SA that is not here: {error}")),
                }
            }
            taps
        };
        let known = |spi| {
            installed.values().any(|(install, ..)| install.inbound.spi == spi)
                || retired.iter().any(|(_, of_retired)| *of_retired == spi)
        };
        self.events.extend(self.strays.timeout(now, &ends, count, open, known));
    }

    /// The interface that has our address, which scripts want to know.
    fn interface_of(&mut self, address: IpAddr) -> String {
        let Some(routes) = &mut self.routes else { return String::new() };
        let found = routes.addresses().unwrap_or_default().into_iter().find(|a| a.address == address);
        found.and_then(|a| Routes::interface_name(a.interface).ok()).unwrap_or_default()
    }

    /// Gives packets of this host that are for a Child SA or trap a source address inside its selectors, by routes.
    fn set_routes(
        &mut self,
        owner: SaId,
        ends: (IpAddr, IpAddr),
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
    ) {
        let Some(netlink) = self.routes.as_mut().filter(|_| self.install_routes) else { return };
        let target = way(netlink, ends);
        let addresses = netlink.addresses().unwrap_or_default();
        let wanted = target.map(|target| routes_of(ends, local_ts, remote_ts, &addresses, target));
        self.tunnel_routes.set(netlink, owner, wanted.unwrap_or_default());
    }

    /// The ends or selectors of a Child SA are others, and with them the way.
    fn renew_routes(&mut self, child: SaId) {
        let Some((install, _)) = self.installed.get(&child).filter(|(install, _)| is_routed(install)) else { return };
        let install = install.clone();
        self.set_routes(child, (install.local.ip(), install.remote.ip()), &install.local_ts, &install.remote_ts);
    }

    /// The network changed: what has another way has other routes, and what the kernel dropped is put back.
    fn restore_routes(&mut self) {
        let Some(netlink) = self.routes.as_mut().filter(|_| self.install_routes) else { return };
        let Ok(addresses) = netlink.addresses() else { return };
        let children =
            self.installed.iter().filter(|(_, (install, _))| is_routed(install)).map(|(id, (install, _))| {
                (*id, (install.local.ip(), install.remote.ip()), &install.local_ts, &install.remote_ts)
            });
        let traps = self.traps.iter().filter(|(_, trap)| !trap.remote.is_unspecified());
        let traps = traps.map(|(id, trap)| (*id, (trap.local, trap.remote), &trap.local_ts, &trap.remote_ts));
        let mut ways = BTreeMap::new();
        for (id, ends, local_ts, remote_ts) in children.chain(traps) {
            // Without a way just now it keeps what it had.
            let Some(target) = *ways.entry(ends).or_insert_with(|| way(netlink, ends)) else { continue };
            let addresses = self.tunnel_routes.prefer(id, &addresses);
            let wanted = routes_of(ends, local_ts, remote_ts, &addresses, target);
            self.tunnel_routes.set(netlink, id, wanted);
        }
        self.tunnel_routes.restore(netlink);
    }

    /// The kernel had more to report than we had room for. An SA that expired is found by looking; packets that ask for an SA
    /// and a peer that moved are reported again as long as there are such packets.
    fn reports_lost(&mut self, now: Instant) {
        let mut vanished = self.xfrm.vanished().unwrap_or_default();
        vanished.retain(|child| !self.events.contains(&PlaneEvent::HardExpire { child: *child }));
        if self.told_losses.is_none_or(|until| until <= now) {
            self.told_losses = Some(now + LOSSES_TOLD);
            let what = "more SAs expire or are asked for at once than can be told, and some of that was lost";
            let found = vanished.len();
            log::line("KNL", 1, &format!("reports of the kernel: {what}; {found} Child SAs were found to be gone"));
        }
        self.events.extend(vanished.into_iter().map(|child| PlaneEvent::HardExpire { child }));
    }

    fn forget(&mut self, child: SaId) {
        let Some((install, interface)) = self.installed.remove(&child) else { return };
        self.delete_routes(child);
        self.scripts.down(&install, &interface);
    }

    fn delete_routes(&mut self, owner: SaId) {
        if let Some(netlink) = &mut self.routes {
            self.tunnel_routes.remove(netlink, owner);
        }
    }
}

/// Whether routes of ours lead to a Child SA. Packets of an XFRM interface are routed to that, by the operator.
fn is_routed(install: &ChildInstall) -> bool {
    install.policies && install.binding.if_id_out.is_none()
}

/// Where packets for a peer leave.
fn way(netlink: &mut Routes, (local, remote): (IpAddr, IpAddr)) -> Option<RouteTarget> {
    let to_peer = netlink.route_to(remote, Some(local), Some(SOCKET_MARK)).ok()?;
    Some(RouteTarget::Interface { interface: to_peer.interface, gateway: to_peer.gateway })
}

/// The routes between these selectors.
fn routes_of(
    (local, remote): (IpAddr, IpAddr),
    local_ts: &[TrafficSelector],
    remote_ts: &[TrafficSelector],
    addresses: &[LocalAddress],
    target: RouteTarget,
) -> Vec<Route> {
    let mut wanted = tunnel_routes(local_ts, remote_ts, addresses, target, false);
    // A host-to-host selector needs no route of its own where the ordinary one has the right source already.
    wanted.retain(|r| r.destination != remote || r.source != Some(local));
    wanted
}

impl DataPlane for Kernel {
    fn describe(&self) -> String {
        "kernel ESP (XFRM)".into()
    }

    fn apply(&mut self, now: Instant, command: &Command) -> Result<(), String> {
        let done = self.xfrm.apply(command).map_err(|e| e.to_string());
        match command {
            Command::Expect { child, spi, local, encapsulated } => {
                self.strays.is_ours(*spi, now + PATIENCE);
                self.expect(now, *child, *spi, *local, *encapsulated);
            }
            Command::Install(install) if done.is_ok() => {
                self.receive_early(now, install);
                self.replace_leftovers(install.child, &install.name, false);
                let ends = (install.local.ip(), install.remote.ip());
                if is_routed(install) {
                    self.set_routes(install.child, ends, &install.local_ts, &install.remote_ts);
                }
                let interface = self.interface_of(install.local.ip());
                self.scripts.up(install, &interface);
                self.installed.insert(install.child, ((**install).clone(), interface));
            }
            Command::Retire { child } => {
                if let Some((install, ..)) = self.installed.get(child) {
                    self.retired.push((*child, install.inbound.spi));
                }
                self.forget(*child);
            }
            Command::Delete { child } => {
                let retired = self.retired.iter().find(|(other, _)| other == child).map(|(_, spi)| *spi);
                let spi = retired.or_else(|| Some(self.installed.get(child)?.0.inbound.spi));
                if let Some(spi) = spi {
                    self.strays.is_ours(spi, now + LATE);
                }
                self.retired.retain(|(other, _)| other != child);
                self.forget(*child);
                self.strays.changed(now);
            }
            Command::Update { child, local, remote, encapsulated } => {
                let moved = self.installed.get_mut(child).map(|(install, ..)| {
                    let moved = (install.local.ip(), install.remote.ip()) != (local.ip(), remote.ip());
                    (install.local, install.remote, install.encapsulated) = (*local, *remote, *encapsulated);
                    moved
                });
                if moved == Some(true) {
                    self.renew_routes(*child);
                }
            }
            Command::Reselect { child, local_ts, remote_ts } => {
                if let Some((install, ..)) = self.installed.get_mut(child) {
                    (install.local_ts, install.remote_ts) = (local_ts.clone(), remote_ts.clone());
                    self.renew_routes(*child);
                }
            }
            Command::ReportTraffic { child } => {
                let idle = self.counters(now, *child).and_then(|counters| counters.idle());
                self.events.push_back(PlaneEvent::Traffic { child: *child, idle });
            }
            Command::Trap(trap) if done.is_ok() => {
                // Where each packet names the peer, it has its route and its source already.
                if !trap.remote.is_unspecified() {
                    self.set_routes(trap.trap, (trap.local, trap.remote), &trap.local_ts, &trap.remote_ts);
                }
                self.traps.insert(trap.trap, (**trap).clone());
                // Nobody here keeps what the peer uses: it is as if that came by an SPI which is not here.
                let used = self.replace_leftovers(trap.trap, &trap.name, true);
                if !used.is_empty() {
                    self.spared.push_back((trap.trap, now + IN_USE));
                }
                self.events.extend(used.into_iter().map(|spi| PlaneEvent::UnknownSpi { spi, from: trap.remote }));
                self.strays.changed(now);
            }
            Command::RemoveTrap { trap } => {
                if self.traps.remove(trap).is_some() {
                    self.delete_routes(*trap);
                }
            }
            Command::Shunt(shunt) if done.is_ok() => {
                self.shunts.push(shunt.shunt);
                if let Some(routes) = self.routes.as_mut().filter(|_| self.install_routes) {
                    self.bypasses.add(routes, shunt);
                }
            }
            Command::RemoveShunt { shunt } => {
                self.shunts.retain(|other| other != shunt);
                if let Some(routes) = &mut self.routes {
                    self.bypasses.remove(routes, *shunt);
                }
            }
            Command::Install(_)
            | Command::Trap(_)
            | Command::Shunt(_)
            | Command::Hold { .. }
            | Command::Release { .. } => {}
        }
        done
    }

    fn network_changed(&mut self) {
        if let Some(routes) = self.routes.as_mut().filter(|_| self.install_routes) {
            self.bypasses.renew(routes);
        }
        self.restore_routes();
    }

    fn counters(&mut self, _now: Instant, child: SaId) -> Option<Counters> {
        self.xfrm.counters(clock::unix_seconds(), child).ok()
    }

    fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.events.pop_front()
    }

    fn descriptors(&self) -> Vec<RawFd> {
        vec![self.xfrm.as_raw_fd()]
    }

    fn ready(&mut self, now: Instant, _index: usize, _sockets: &Sockets) -> bool {
        let events = self.xfrm.events().unwrap_or_default();
        let lost = self.xfrm.lost_reports();
        for event in events {
            match event {
                XfrmEvent::Plane(event) => self.events.push_back(event),
                XfrmEvent::Acquire(Acquire { reqid, source, destination, protocol }) => {
                    // Other policies of ours have their SAs, or are about to go.
                    let trap = self.traps.values().find(|trap| Some(trap.reqid) == reqid);
                    let acquire =
                        trap.map(|trap| PlaneEvent::Acquire { trap: trap.trap, source, destination, protocol });
                    self.events.extend(acquire);
                }
            }
        }
        if lost {
            self.reports_lost(now);
        }
        false
    }

    fn esp_in_udp(&mut self, _now: Instant, _packet: &mut [u8], _from: SocketAddr, _traffic_class: u8) {
        // The kernel takes ESP with known SPIs out of the socket; what is left has an unknown one.
    }

    fn next_timeout(&self) -> Option<Instant> {
        let expected = self.expected.front().map(|(_, until, _)| *until);
        let spared = self.spared.front().map(|(_, until)| *until);
        [expected, self.strays.next_timeout(), spared].into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Instant) {
        self.expected.retain(|(_, until, _)| *until > now);
        while let Some((trap, _)) = self.spared.pop_front_if(|(_, until)| *until <= now) {
            if let Some(name) = self.traps.get(&trap).map(|trap| trap.name.clone()) {
                self.replace_leftovers(trap, &name, false);
            }
        }
        self.look_for_strays(now);
        if self.growth.is_due(now) {
            self.growth.note(now, xfrm_statistics());
        }
    }

    fn faults(&mut self, now: Instant) -> Vec<PlaneFault> {
        let (installed, traps) = (&self.installed, &self.traps);
        let name = |id: SaId| {
            let of_child = installed.get(&id).map(|(install, ..)| install.name.clone());
            of_child.or_else(|| traps.get(&id).map(|trap| trap.name.clone())).unwrap_or_else(|| id.to_string())
        };
        // Who may not look has nothing to tell.
        let mut faults = self.xfrm.inspect(&name).unwrap_or_default();
        faults.extend(self.growth.faults(now, &xfrm_statistics()));
        faults
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let children: Vec<SaId> =
            self.installed.keys().copied().chain(self.retired.drain(..).map(|(child, _)| child)).collect();
        for child in children {
            if let Err(error) = self.xfrm.apply(&Command::Delete { child }) {
                log::line("KNL", 0, &format!("cannot remove Child SA {}: {error}", child.0));
            }
            self.forget(child);
        }
        for trap in std::mem::take(&mut self.traps).into_keys() {
            if let Err(error) = self.xfrm.apply(&Command::RemoveTrap { trap }) {
                log::line("KNL", 0, &format!("cannot remove trap {trap}: {error}"));
            }
            self.delete_routes(trap);
        }
        for shunt in std::mem::take(&mut self.shunts) {
            if let Err(error) = self.xfrm.apply(&Command::RemoveShunt { shunt }) {
                log::line("KNL", 0, &format!("cannot remove shunt {shunt}: {error}"));
            }
        }
        if let Some(routes) = &mut self.routes {
            self.bypasses.clear(routes);
            for rule in &self.rules {
                let _ = routes.delete_rule(rule);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(why: impl std::fmt::Display) {
        eprintln!("SKIP: {why}");
        assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {why}");
    }

    /// A report that an SA expired may be among those for which there was no room.
    #[test]
    fn where_reports_were_lost_child_sas_that_are_gone_are_found() {
        let namespace = match linux::Namespace::anonymous() {
            Ok(namespace) => namespace,
            Err(error) => return skip(error),
        };
        let lose = || {
            if let Err(why) = Xfrm::probe(false) {
                return skip(why);
            }
            let ip = |words: &[&str]| std::process::Command::new("ip").args(words).status().is_ok_and(|s| s.success());
            let mut plane = Kernel::open(4500, false).unwrap();
            let now = Instant::from_nanos(1);
            let install = super::super::updown::install(None);
            plane.apply(now, &Command::Install(Box::new(install.clone()))).unwrap();
            plane.reports_lost(now);
            assert_eq!(plane.poll_event(), None);
            if !ip(&["xfrm", "state", "flush"]) {
                return skip("no ip command");
            }
            plane.reports_lost(now);
            plane.reports_lost(now);
            assert_eq!(plane.poll_event(), Some(PlaneEvent::HardExpire { child: install.child }));
            assert_eq!(plane.poll_event(), None, "once");
        };
        namespace.run(lose).unwrap();
    }
}
