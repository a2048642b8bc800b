//! The Linux kernel's ESP.

use super::plane::DataPlane;
use super::sockets::Sockets;
use super::updown::Scripts;
use crate::{clock, log};
use linux::updown::Verb;
use linux::{Route, RouteTarget, Routes, Rule, SOCKET_MARK, Xfrm, XfrmEvent, tunnel_routes};
use model::dataplane::{ChildInstall, Command, Counters, PlaneEvent};
use model::{Instant, SaId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// The kernel's data plane.
pub struct Kernel {
    xfrm: Xfrm,
    routes: Option<Routes>,
    rules: Vec<Rule>,
    installed: BTreeMap<SaId, (ChildInstall, String, Vec<Route>)>,
    events: VecDeque<PlaneEvent>,
    scripts: Scripts,
    install_routes: bool,
}

impl Kernel {
    /// Opens the netlink sockets.
    ///
    /// # Errors
    /// What is missing.
    pub fn open(install_routes: bool) -> Result<Self, String> {
        let xfrm = Xfrm::open().map_err(|e| format!("the kernel's XFRM interface: {e}"))?;
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
        let (installed, events) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { xfrm, routes, rules, installed, events, scripts: Scripts::start(), install_routes })
    }

    /// The interface that has our address, which scripts want to know.
    fn interface_of(&mut self, address: IpAddr) -> String {
        let Some(routes) = &mut self.routes else { return String::new() };
        let found = routes.addresses().unwrap_or_default().into_iter().find(|a| a.address == address);
        found.and_then(|a| Routes::interface_name(a.interface).ok()).unwrap_or_default()
    }

    /// Routes that give packets of this host a source address inside the selectors.
    fn add_routes(&mut self, install: &ChildInstall) -> Vec<Route> {
        let Some(routes) = &mut self.routes else { return Vec::new() };
        let Ok(to_peer) = routes.route_to(install.remote.ip(), Some(install.local.ip()), Some(SOCKET_MARK)) else {
            return Vec::new();
        };
        let target = RouteTarget::Interface { interface: to_peer.interface, gateway: to_peer.gateway };
        let addresses = routes.addresses().unwrap_or_default();
        let mut wanted = tunnel_routes(install, &addresses, target, false);
        // A host-to-host selector needs no route of its own: the ordinary one has the right source already.
        wanted.retain(|r| r.destination != install.remote.ip());
        wanted.retain(|route| match routes.add_route(route) {
            Ok(()) => true,
            Err(error) => {
                let shared = self.installed.values().any(|(_, _, routes)| routes.contains(route));
                if !shared {
                    log::line("KNL", 2, &format!("route to {}/{}: {error}", route.destination, route.prefix));
                }
                shared
            }
        });
        wanted
    }

    fn forget(&mut self, child: SaId) {
        let Some((install, interface, routes)) = self.installed.remove(&child) else { return };
        if let Some(netlink) = &mut self.routes {
            for route in &routes {
                let shared = self.installed.values().any(|(_, _, others)| others.contains(route));
                if !shared {
                    let _ = netlink.delete_route(route); // gone with its interface already
                }
            }
        }
        self.scripts.run(&install, &interface, Verb::Down);
    }
}

impl DataPlane for Kernel {
    fn describe(&self) -> String {
        "kernel ESP (XFRM)".into()
    }

    fn apply(&mut self, _now: Instant, command: &Command) -> Result<(), String> {
        let done = self.xfrm.apply(command).map_err(|e| e.to_string());
        match command {
            Command::Install(install) if done.is_ok() => {
                let routes =
                    if install.policies && self.install_routes { self.add_routes(install) } else { Vec::new() };
                let interface = self.interface_of(install.local.ip());
                self.scripts.run(install, &interface, Verb::Up);
                self.installed.insert(install.child, ((**install).clone(), interface, routes));
            }
            Command::Delete { child } => self.forget(*child),
            Command::Update { child, local, remote, encapsulated } => {
                if let Some((install, ..)) = self.installed.get_mut(child) {
                    (install.local, install.remote, install.encapsulated) = (*local, *remote, *encapsulated);
                }
            }
            Command::Install(_) => {}
        }
        done
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

    fn ready(&mut self, _now: Instant, _index: usize, _sockets: &Sockets) -> bool {
        let events = self.xfrm.events().unwrap_or_default();
        for event in events {
            match event {
                XfrmEvent::Plane(event) => self.events.push_back(event),
                // Trap policies are refused by the configuration, so nothing of ours asks.
                XfrmEvent::Acquire(_) => {}
            }
        }
        false
    }

    fn esp_in_udp(&mut self, _now: Instant, _packet: &mut [u8], _from: SocketAddr) {
        // The kernel takes ESP with known SPIs out of the socket; what is left has an unknown one.
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn timeout(&mut self, _now: Instant) {}

    fn drops(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let children: Vec<SaId> = self.installed.keys().copied().collect();
        for child in children {
            if let Err(error) = self.xfrm.apply(&Command::Delete { child }) {
                log::line("KNL", 0, &format!("cannot remove Child SA {}: {error}", child.0));
            }
            self.forget(child);
        }
        if let Some(routes) = &mut self.routes {
            for rule in &self.rules {
                let _ = routes.delete_rule(rule);
            }
        }
    }
}
