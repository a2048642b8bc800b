//! Our own ESP: packets come from a TUN device and leave through UDP or a raw socket, and the reverse.

use super::bypass::{Bypasses, Device};
use super::growth::Growth;
use super::plane::DataPlane;
use super::sockets::Sockets;
use super::tunnel_routes::TunnelRoutes;
use super::updown::Scripts;
use crate::log;
use esp::{Engine, Outbound, Verdict};
use linux::{
    BindError, Incoming, NetlinkError, PacketFilter, RawEsp, RecvBatch, Route, RouteTarget, Routes, Rule, RuleAction,
    SOCKET_MARK, SocketOptions, Tun, tunnel_routes,
};
use model::dataplane::{Binding, ChildInstall, Command, Counters, InterfaceName, PlaneEvent, ShuntAction, TrapInstall};
use model::{Instant, PlaneFault, SaId, SendTrouble, TrafficSelector};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// Inner packets of this size still fit a path of 1500 octets with every suite, in UDP and over IPv6.
const TUN_MTU: u32 = 1400;

/// How many packets of one source are handled before the others get their turn.
const BUDGET: usize = 64;

/// As many routes that are gone are told.
const MOST_FAULTS: usize = 64;

/// Errors of sending that are kept until somebody asks for them.
const MAX_REFUSED: usize = 16;

/// The userspace data plane.
pub struct Userspace {
    engine: Engine,
    tun: Tun,
    interface: u32,
    raw: Vec<RawEsp>,
    routes: Routes,
    rules: Vec<Rule>,
    installed: BTreeMap<SaId, ChildInstall>,
    /// Traps that have routes.
    traps: BTreeMap<SaId, TrapInstall>,
    tunnel_routes: TunnelRoutes,
    bypasses: Bypasses,
    /// What is dropped of what comes in for this host itself; without it nothing is.
    filter: Option<PacketFilter>,
    scripts: Scripts,
    batch: RecvBatch,
    inner: Vec<u8>,
    sealed: Vec<u8>,
    /// IKE's, the second one ESP's in UDP too.
    ports: [u16; 2],
    install_routes: bool,
    send_errors: u64,
    growth: Growth,
    /// What the operating system said, until somebody asks.
    refused: Vec<(SocketAddr, io::Error)>,
}

impl Userspace {
    /// Makes the TUN device and the sockets.
    ///
    /// # Errors
    /// What is missing and what to do.
    pub fn open(ports: [u16; 2], install_routes: bool) -> Result<Self, String> {
        let tun = Tun::open("shrike%d").map_err(|e| e.to_string())?;
        let interface = tun.index().map_err(|e| format!("TUN device {}: {e}", tun.name()))?;
        let options = SocketOptions { mark: Some(SOCKET_MARK), ..SocketOptions::default() };
        let mut raw = Vec::new();
        for ipv6 in [false, true] {
            match RawEsp::open(ipv6, &options) {
                Ok(socket) => raw.push(socket),
                Err(BindError::Io { .. } | BindError::NoSuchAddress { .. }) if ipv6 => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let mut routes = Routes::open().map_err(|e| format!("netlink: {e}"))?;
        routes.set_link(interface, Some(true), Some(TUN_MTU)).map_err(|e| format!("TUN device {}: {e}", tun.name()))?;
        let name = InterfaceName::new(tun.name()).ok_or_else(|| format!("TUN device {}: an odd name", tun.name()))?;
        let bypasses = Bypasses::beside(Device { name, index: interface });
        let mut rules = Vec::new();
        for ipv6 in [false, true] {
            let rule = Rule::tunnels(ipv6);
            match routes.add_rule(&rule) {
                Ok(()) => rules.push(rule),
                Err(error) if ipv6 => log::line("KNL", 1, &format!("no IPv6 tunnels: {error}")),
                Err(error) => return Err(format!("cannot add the routing rule of tunnels: {error}")),
            }
        }
        let mut engine = Engine::new();
        engine.set_mtu(TUN_MTU as usize);
        Ok(Self {
            engine,
            tun,
            interface,
            raw,
            routes,
            rules,
            installed: BTreeMap::new(),
            traps: BTreeMap::new(),
            tunnel_routes: TunnelRoutes::new(1),
            bypasses,
            filter: None,
            scripts: Scripts::start(),
            batch: RecvBatch::new(32, 65_535),
            inner: vec![0; 65_535],
            sealed: Vec::new(),
            ports,
            install_routes,
            send_errors: 0,
            growth: Growth::default(),
            refused: Vec::new(),
        })
    }

    fn install(&mut self, now: Instant, command: &Command, install: &ChildInstall) -> Result<(), String> {
        self.engine.apply(now, command).map_err(|e| e.to_string())?;
        while let Some((from, class, mut packet)) = self.engine.poll_early() {
            let verdict = self.engine.open_with(now, &mut packet, from, class);
            self.deliver(&verdict, &packet);
        }
        if install.policies {
            self.set_routes(install.child, &install.local_ts, &install.remote_ts);
        }
        self.scripts.up(install, self.tun.name());
        self.installed.insert(install.child, install.clone());
        Ok(())
    }

    /// Leads the packets of a Child SA or trap to us, by routes.
    fn set_routes(&mut self, owner: SaId, local_ts: &[TrafficSelector], remote_ts: &[TrafficSelector]) {
        if self.install_routes {
            let addresses = self.routes.addresses().unwrap_or_default();
            let wanted = tunnel_routes(local_ts, remote_ts, &addresses, self.target(), true);
            self.tunnel_routes.set(&mut self.routes, owner, wanted);
        }
    }

    /// The network changed: sources may be others, and what the kernel dropped is put back.
    fn restore_routes(&mut self) {
        let Ok(addresses) = self.routes.addresses() else { return };
        let target = self.target();
        let children = self.installed.iter().filter(|(_, install)| install.policies);
        let children = children.map(|(id, install)| (*id, &install.local_ts, &install.remote_ts));
        let traps = self.traps.iter().map(|(id, trap)| (*id, &trap.local_ts, &trap.remote_ts));
        for (id, local_ts, remote_ts) in children.chain(traps) {
            let addresses = self.tunnel_routes.prefer(id, &addresses);
            let wanted = tunnel_routes(local_ts, remote_ts, &addresses, target, true);
            self.tunnel_routes.set(&mut self.routes, id, wanted);
        }
        self.tunnel_routes.restore(&mut self.routes);
    }

    fn target(&self) -> RouteTarget {
        RouteTarget::Interface { interface: self.interface, gateway: None }
    }

    /// What keeps packets from reaching us: routes and rules that were removed since.
    fn unrouted(&mut self) -> Vec<PlaneFault> {
        let by_name = || {
            let traps = self.traps.iter().map(|(id, trap)| (&trap.name, self.tunnel_routes.of(*id)));
            self.installed.iter().map(|(id, install)| (&install.name, self.tunnel_routes.of(*id))).chain(traps)
        };
        let wanted: Vec<Route> = by_name().flat_map(|(_, routes)| routes).copied().collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        // Who may not look has nothing to tell.
        let missing = self.routes.missing(&wanted).unwrap_or_default();
        let of_routes = by_name().flat_map(|(name, routes)| {
            let gone = routes.iter().filter(|route| missing.contains(route));
            gone.map(|route| PlaneFault::RouteMissing {
                child: name.clone(),
                network: format!("{}/{}", route.destination, route.prefix),
                table: route.table,
            })
        });
        let mut faults: Vec<PlaneFault> = Vec::new();
        for fault in of_routes.take(MOST_FAULTS) {
            // A child that is up and trapped has the same route twice.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        for rule in &self.rules {
            let RuleAction::Table(table) = rule.action else { continue };
            let used = wanted.iter().any(|route| route.destination.is_ipv6() == rule.ipv6);
            if used && matches!(self.routes.has_rule(rule), Ok(false)) {
                let (ipv6, preference, mark) = (rule.ipv6, rule.preference, rule.unless_mark.unwrap_or_default());
                faults.push(PlaneFault::RuleMissing { ipv6, preference, table, mark });
            }
        }
        faults
    }

    /// Has dropped what comes in for this host itself and a shunt is to drop: rules of routing do not reach that.
    fn filter(&mut self) -> Result<(), NetlinkError> {
        let of = |action| -> Vec<Incoming> {
            let shunts = self.bypasses.shunts().filter(|shunt| shunt.action == action);
            let pairs = shunts.flat_map(|shunt| shunt.remote_ts.iter().map(move |remote| (remote, &shunt.local_ts)));
            pairs.flat_map(|(remote, all)| all.iter().map(|local| (*remote, *local))).collect()
        };
        let (passed, dropped) = (of(ShuntAction::Pass), of(ShuntAction::Drop));
        if dropped.is_empty() {
            self.filter = None; // its table goes with it
            return Ok(());
        }
        let mut filter = match self.filter.take() {
            Some(filter) => filter,
            None => PacketFilter::open(self.bypasses.device_name().ok_or(io::Error::from(io::ErrorKind::NotFound))?)?,
        };
        let set = filter.set(&self.ports, &passed, &dropped);
        self.filter = Some(filter);
        set
    }

    fn delete(&mut self, child: SaId) {
        let Some(install) = self.installed.remove(&child) else { return };
        self.tunnel_routes.remove(&mut self.routes, child);
        self.scripts.down(&install, self.tun.name());
    }

    fn deliver(&mut self, verdict: &Verdict, packet: &[u8]) {
        if let Verdict::Deliver { inner, .. } = verdict
            && let Some(inner) = packet.get(inner.clone())
            && self.tun.send(inner).is_err()
        {
            self.send_errors += 1;
        }
    }

    /// Sends the packet that was sealed, whose inside is `inner`.
    fn send(&mut self, now: Instant, outbound: Outbound, inner: &[u8], sockets: &Sockets) {
        let Outbound::Send { child, local, remote, encapsulated, outer } = outbound else { return };
        let sent = if encapsulated {
            let from = SocketAddr::new(local.ip(), self.ports[1]);
            sockets.send_esp(from, remote, &self.sealed, outer)
        } else {
            match self.raw.get(usize::from(remote.is_ipv6())) {
                Some(raw) => raw.send(local.ip(), remote, &self.sealed, outer),
                None => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        let Err(error) = sent else { return };
        if outer.dont_fragment && linux::send_trouble(&error) == Some(SendTrouble::TooLong) {
            return self.too_big(now, child, (local.ip(), remote.ip()), inner);
        }
        self.send_errors += 1;
        if self.refused.len() < MAX_REFUSED {
            let to = if encapsulated { remote } else { SocketAddr::new(remote.ip(), 0) };
            self.refused.push((to, error));
        }
    }

    /// What nobody may fragment does not fit the path: whoever sent it is to send less at once.
    fn too_big(&mut self, now: Instant, child: SaId, (local, remote): (IpAddr, IpAddr), inner: &[u8]) {
        // Without a route there is no MTU, and the next packet has its own error.
        let Ok(mtu) = linux::path_mtu(local, remote, Some(SOCKET_MARK)) else { return };
        if let Some(told) = self.engine.too_big(now, child, inner, mtu)
            && self.tun.send(&told).is_err()
        {
            self.send_errors += 1;
        }
    }

    /// Packets that were dropped, by reason.
    fn counted(&self) -> BTreeMap<String, u64> {
        self.engine.drops().map(|(name, count)| (name.to_string(), count)).collect()
    }

    fn read_tun(&mut self, now: Instant, sockets: &Sockets) -> bool {
        for _ in 0..BUDGET {
            let mut buffer = std::mem::take(&mut self.inner);
            let read = self.tun.recv(&mut buffer);
            if let Ok(length) = &read {
                let inner = buffer.get(..*length).unwrap_or_default();
                let outbound = self.engine.seal(now, inner, &mut self.sealed);
                self.send(now, outbound, inner, sockets);
            }
            self.inner = buffer;
            if read.is_err() {
                return false;
            }
        }
        true
    }

    fn read_raw(&mut self, now: Instant, index: usize) -> bool {
        let mut batch = std::mem::replace(&mut self.batch, RecvBatch::new(1, 1));
        let received = self.raw.get(index).map(|raw| raw.recv_batch(&mut batch));
        for (from, packet) in batch.iter_mut() {
            let verdict = self.engine.open_with(now, packet, from.remote, Some(from.traffic_class));
            self.deliver(&verdict, packet);
        }
        self.batch = batch;
        matches!(received, Some(Ok(n)) if n > 0)
    }
}

impl DataPlane for Userspace {
    fn describe(&self) -> String {
        format!("userspace ESP over {} (MTU {TUN_MTU})", self.tun.name())
    }

    fn apply(&mut self, now: Instant, command: &Command) -> Result<(), String> {
        let binding = match command {
            Command::Install(install) => install.binding,
            Command::Trap(trap) => trap.binding,
            Command::Shunt(shunt) => shunt.binding,
            _ => Binding::default(),
        };
        // Nothing here drops what is forwarded, so it need not be let through.
        if (Binding { forward_out: false, ..binding }) != Binding::default() {
            let what = "marks, XFRM interfaces, interface and icmp = yes";
            return Err(format!("{what} need the kernel's ESP (--data-plane xfrm)"));
        }
        match command {
            Command::Install(install) => self.install(now, command, install),
            // Its routes and its script are its successor's now.
            Command::Retire { child } | Command::Delete { child } => {
                self.delete(*child);
                self.engine.apply(now, command).map_err(|e| e.to_string())
            }
            Command::Update { child, local, remote, encapsulated } => {
                if let Some(install) = self.installed.get_mut(child) {
                    (install.local, install.remote, install.encapsulated) = (*local, *remote, *encapsulated);
                }
                self.engine.apply(now, command).map_err(|e| e.to_string())
            }
            Command::Reselect { child, local_ts, remote_ts } => {
                let Some(install) = self.installed.get_mut(child) else { return Ok(()) };
                (install.local_ts, install.remote_ts) = (local_ts.clone(), remote_ts.clone());
                if install.policies {
                    self.set_routes(*child, local_ts, remote_ts);
                }
                self.engine.apply(now, command).map_err(|e| e.to_string())
            }
            Command::ReportTraffic { .. } | Command::Expect { .. } | Command::Hold { .. } | Command::Release { .. } => {
                self.engine.apply(now, command).map_err(|e| e.to_string())
            }
            Command::Trap(trap) => {
                let any_peer = trap.remote.is_unspecified();
                if any_peer && !self.install_routes {
                    return Err("a trap for any peer leads packets here by routes: set install_routes = yes in strongswan.conf, or remote_addrs".into());
                }
                self.engine.apply(now, command).map_err(|e| e.to_string())?;
                if any_peer {
                    self.bypasses.capture(&mut self.routes, trap);
                } else {
                    self.set_routes(trap.trap, &trap.local_ts, &trap.remote_ts);
                    self.traps.insert(trap.trap, (**trap).clone());
                }
                Ok(())
            }
            Command::Shunt(shunt) => {
                if shunt.action == ShuntAction::Drop && !self.install_routes {
                    return Err("our own ESP drops by rules of routing: set install_routes = yes in strongswan.conf, or use the kernel's ESP (--data-plane xfrm)".into());
                }
                self.engine.apply(now, command).map_err(|e| e.to_string())?;
                if self.install_routes {
                    self.bypasses.add(&mut self.routes, shunt);
                    if let Err(error) = self.filter() {
                        let text = "drops what is sent and forwarded; what comes in for this host itself is for a packet filter to drop, or for the kernel's ESP";
                        let what = if shunt.action == ShuntAction::Drop { text } else { "passes out, and not in" };
                        log::line("KNL", 0, &format!("'{}' {what}: nf_tables: {error}", shunt.name));
                    }
                }
                Ok(())
            }
            Command::RemoveShunt { shunt } => {
                self.bypasses.remove(&mut self.routes, *shunt);
                if let Err(error) = self.filter() {
                    log::line(
                        "KNL",
                        0,
                        &format!("what came in for a shunt that is gone is dropped still: nf_tables: {error}"),
                    );
                }
                self.engine.apply(now, command).map_err(|e| e.to_string())
            }
            Command::RemoveTrap { trap } => {
                self.bypasses.remove(&mut self.routes, *trap);
                self.traps.remove(trap);
                self.tunnel_routes.remove(&mut self.routes, *trap);
                self.engine.apply(now, command).map_err(|e| e.to_string())
            }
        }
    }

    fn send_held(&mut self, now: Instant, sockets: &Sockets) {
        while let Some(inner) = self.engine.poll_held() {
            let outbound = self.engine.seal(now, &inner, &mut self.sealed);
            self.send(now, outbound, &inner, sockets);
        }
    }

    fn network_changed(&mut self) {
        if self.install_routes {
            self.bypasses.renew(&mut self.routes);
            self.restore_routes();
        }
    }

    fn counters(&mut self, now: Instant, child: SaId) -> Option<Counters> {
        self.engine.counters(now, child)
    }

    fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.engine.poll_event()
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.tun.as_raw_fd()];
        all.extend(self.raw.iter().map(AsRawFd::as_raw_fd));
        all
    }

    fn ready(&mut self, now: Instant, index: usize, sockets: &Sockets) -> bool {
        if index == 0 { self.read_tun(now, sockets) } else { self.read_raw(now, index - 1) }
    }

    fn esp_in_udp(&mut self, now: Instant, packet: &mut [u8], from: SocketAddr, traffic_class: u8) {
        let verdict = self.engine.open_with(now, packet, from, Some(traffic_class));
        self.deliver(&verdict, packet);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.engine.next_timeout()
    }

    fn timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        if self.growth.is_due(now) {
            self.growth.note(now, self.counted());
        }
    }

    fn faults(&mut self, now: Instant) -> Vec<PlaneFault> {
        let mut faults = self.unrouted();
        faults.extend(self.growth.faults(now, &self.counted()));
        faults
    }

    fn send_errors(&mut self) -> Vec<(SocketAddr, io::Error)> {
        std::mem::take(&mut self.refused)
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let mut drops: Vec<_> = self.engine.drops().collect();
        drops.push(("send-error", self.send_errors));
        drops
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        let children: Vec<SaId> = self.installed.keys().copied().collect();
        for child in children {
            self.delete(child);
        }
        for trap in std::mem::take(&mut self.traps).into_keys() {
            self.tunnel_routes.remove(&mut self.routes, trap);
        }
        self.bypasses.clear(&mut self.routes);
        for rule in &self.rules {
            let _ = self.routes.delete_rule(rule);
        }
    }
}

#[cfg(test)]
#[path = "userspace_outer_tests.rs"]
mod outer_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use model::dataplane::OuterFields;
    use std::time::Duration;

    /// What the data plane drops of late is told by the name of its counter, and what the operating system refuses by address.
    #[test]
    fn what_is_dropped_and_what_cannot_be_sent_is_told() {
        let namespace = match linux::Namespace::anonymous() {
            Ok(namespace) => namespace,
            Err(error) => {
                eprintln!("SKIP: {error}");
                assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {error}");
                return;
            }
        };
        let drop_packets = || {
            let mut plane = Userspace::open([500, 4500], false)?;
            let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
            plane.timeout(at(0));
            let healthy = plane.faults(at(1));
            for n in 0..25u8 {
                let mut packet = [vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0, n], vec![0; 64]].concat();
                plane.esp_in_udp(at(2), &mut packet, ([192, 0, 2, 2], 4500).into(), 0);
            }
            // There is no route in a namespace of its own.
            let options = super::super::sockets::Options { port: 500, nat_port: 4500, kernel_esp: false, mark: true };
            let sockets = Sockets::open(&options).map_err(|e| e.to_string())?;
            let (local, remote) = (([192, 0, 2, 1], 500).into(), ([192, 0, 2, 2], 500).into());
            plane.sealed = vec![0; 64];
            let outer = OuterFields::default();
            let outbound = Outbound::Send { child: SaId(1), local, remote, encapsulated: false, outer };
            plane.send(at(2), outbound, &[], &sockets);
            let refused: Vec<_> = plane.send_errors().iter().map(|(to, e)| (*to, linux::send_trouble(e))).collect();
            Ok::<_, String>((healthy, plane.faults(at(10)), refused, plane.send_errors().len()))
        };
        let (healthy, dropped, refused, left) = match namespace.run(drop_packets).unwrap() {
            Ok(found) => found,
            Err(error) => {
                eprintln!("SKIP: {error}");
                return;
            }
        };
        assert_eq!(healthy, []);
        assert_eq!((refused.len(), refused[0].0, left), (1, ([192, 0, 2, 2], 0).into(), 0), "{refused:?}");
        assert!(refused[0].1.is_some(), "{refused:?}");
        let within = Duration::from_secs(10);
        assert_eq!(dropped, [PlaneFault::Counted { name: "esp-unknown-spi".into(), count: 25, within }]);
    }

    /// What is sent for a tunnel comes to us by a route and a rule, which others may remove.
    #[test]
    fn a_route_or_rule_that_is_gone_is_told() {
        let namespace = match linux::Namespace::anonymous() {
            Ok(namespace) => namespace,
            Err(error) => {
                eprintln!("SKIP: {error}");
                assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {error}");
                return;
            }
        };
        let lose_them = || {
            let mut plane = Userspace::open([500, 4500], true)?;
            let remote = ["10.2.0.0/16", "2001:db8:2::/48", "0.0.0.0/0", "10.9.0.0/24"];
            let remote_ts = remote.map(|network| network.parse().unwrap()).to_vec();
            let install = ChildInstall { remote_ts, ..super::super::updown::install(None) };
            let at = Instant::from_nanos(1);
            plane.apply(at, &Command::Install(Box::new(install.clone())))?;
            let trap = TrapInstall {
                trap: SaId(7),
                connection: "gw".into(),
                name: "trapped".into(),
                reqid: 7,
                binding: Binding::default(),
                mode: install.mode,
                local: install.local.ip(),
                remote: install.remote.ip(),
                local_ts: install.local_ts.clone(),
                remote_ts: vec!["10.7.0.0/16".parse().unwrap()],
                priority: None,
            };
            plane.apply(at, &Command::Trap(Box::new(trap)))?;
            let healthy = plane.faults(at);
            let gone = plane.tunnel_routes.of(install.child).to_vec();
            plane.routes.delete_route(&gone[0]).map_err(|e| e.to_string())?;
            let one = plane.faults(at);
            plane.routes.set_link(plane.interface, Some(false), None).map_err(|e| e.to_string())?;
            plane.routes.delete_rule(&Rule::tunnels(false)).map_err(|e| e.to_string())?;
            Ok::<_, String>((healthy, one, plane.faults(at)))
        };
        let (healthy, one, all) = match namespace.run(lose_them).unwrap() {
            Ok(found) => found,
            Err(error) => {
                eprintln!("SKIP: {error}");
                return;
            }
        };
        assert_eq!(healthy, []);
        let missing =
            |network: &str| PlaneFault::RouteMissing { child: "net".into(), network: network.into(), table: 220 };
        assert_eq!(one, [missing("10.2.0.0/16")]);
        let rule = PlaneFault::RuleMissing { ipv6: false, preference: 220, table: 220, mark: SOCKET_MARK };
        assert_eq!(all.last(), Some(&rule), "{all:?}");
        assert!(all.contains(&missing("0.0.0.0/0")) && all.contains(&missing("10.9.0.0/24")), "{all:?}");
        let trapped =
            |fault: &PlaneFault| matches!(fault, PlaneFault::RouteMissing { child, .. } if child == "trapped");
        assert!(all.iter().any(trapped), "{all:?}");
    }
}
