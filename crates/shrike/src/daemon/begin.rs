//! What the daemon begins: Child SAs, traps and shunts, by `start_action` or because a client asks.

use super::Core;
use crate::log;
use config::{AddressPattern, Connection};
use linux::SOCKET_MARK;
use model::Instant;
use model::dataplane::Mode;
use proto::Started;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

impl Core {
    /// `start_action`.
    pub(super) fn start_actions(&mut self, now: Instant, connection: &Connection) {
        for shunt in &connection.shunts {
            if shunt.start_action == config::StartAction::None {
                self.endpoint.uninstall_shunts(Some(&connection.name), Some(&shunt.name));
            } else if let Err(why) = self.endpoint.install_shunt(&connection.name, &shunt.name) {
                log::line("CFG", 0, &format!("{}: {why}", shunt.name));
            }
        }
        for child in &connection.children {
            let action = child.start_action;
            if !action.traps() {
                self.endpoint.uninstall_traps(Some(&connection.name), Some(&child.name));
            } else if let Err(why) = self.install(Some(&connection.name), &child.name) {
                log::line("CFG", 0, &format!("{}: start_action = trap: {why}", child.name));
            }
            if action.starts()
                && let Err(why) = self.begin(now, Some(&connection.name), &child.name, true)
            {
                log::line("CFG", 0, &format!("{}: start_action = start: {why}", child.name));
            }
        }
    }

    /// Sets a trap for a child, or a shunt.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn install(&mut self, ike: Option<&str>, child: &str) -> Result<(), String> {
        let has_shunt = |c: &&Arc<Connection>| {
            ike.is_none_or(|name| name == c.name) && c.shunts.iter().any(|shunt| shunt.name == child)
        };
        let of_shunt = self.endpoint.connections().find(has_shunt).map(|c| c.name.clone());
        if let Some(name) = of_shunt {
            return self.endpoint.install_shunt(&name, child).map(drop).map_err(|failure| failure.to_string());
        }
        let connection = self.connection_with(ike, child)?;
        let transport = connection.children.iter().any(|c| c.name == child && c.mode == Mode::Transport);
        let remote = match self.remote_address(&connection) {
            // Between hosts the packet says who the peer is.
            Err(_) if transport && connection.remote_addrs.contains(&AddressPattern::Any) => {
                Ipv4Addr::UNSPECIFIED.into()
            }
            other => other?,
        };
        let local = match remote.is_unspecified() {
            true => connection
                .local_addrs
                .iter()
                .find_map(|p| match p {
                    AddressPattern::Host(a) => Some(*a),
                    _ => None,
                })
                .unwrap_or(remote),
            false => self.local_address(&connection, remote)?,
        };
        let from = SocketAddr::new(local, self.own_port(connection.local_port));
        let to = SocketAddr::new(remote, connection.remote_port);
        let installed = self.endpoint.install_trap(&connection.name, child, from, to);
        installed.map(drop).map_err(|failure| failure.to_string())
    }

    pub(super) fn connection_with(&self, ike: Option<&str>, child: &str) -> Result<Arc<Connection>, String> {
        let has_child = |c: &&Arc<Connection>| c.children.iter().any(|x| x.name == child);
        let found = self.endpoint.connections().filter(|c| ike.is_none_or(|n| n == c.name)).find(has_child).cloned();
        found.ok_or_else(|| {
            if let Some(unknown) = ike.filter(|name| !self.endpoint.connections().any(|c| c.name == *name)) {
                let loaded: Vec<&str> = self.endpoint.connections().map(|c| c.name.as_str()).collect();
                let loaded = if loaded.is_empty() { "none".to_string() } else { loaded.join(", ") };
                return format!("there is no connection '{unknown}'; loaded connections: {loaded}");
            }
            let known: Vec<String> =
                self.endpoint.connections().flat_map(|c| c.children.iter().map(|x| x.name.clone())).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            format!("no connection has a child '{child}'; loaded children: {known}")
        })
    }

    /// Begins to negotiate a child.
    ///
    /// # Errors
    /// Why it cannot begin, and what to do.
    pub fn initiate(&mut self, now: Instant, ike: Option<&str>, child: &str) -> Result<Started, String> {
        self.begin(now, ike, child, false)
    }

    /// The same; `for_good`: because the configuration wants it to be there, so that a refusal is not the end.
    fn begin(&mut self, now: Instant, ike: Option<&str>, child: &str, for_good: bool) -> Result<Started, String> {
        let connection = self.connection_with(ike, child)?;
        let remote = self.remote_address(&connection)?;
        let local = self.local_address(&connection, remote)?;
        let from = SocketAddr::new(local, self.own_port(connection.local_port));
        let to = SocketAddr::new(remote, connection.remote_port);
        let started = match for_good {
            true => self.endpoint.initiate_for_good(now, &connection.name, child, from, to),
            false => self.endpoint.initiate(now, &connection.name, child, from, to),
        };
        started.map_err(|failure| format!("{failure}; {}", failure.kind.remedy()))
    }

    /// Begins to negotiate an IKE SA without a Child SA (RFC 6023), or phase 1 of IKEv1 alone.
    ///
    /// # Errors
    /// Why it cannot begin, and what to do.
    pub fn initiate_childless(&mut self, now: Instant, ike: &str) -> Result<Started, String> {
        let found = self.endpoint.connections().find(|c| c.name == ike).cloned();
        let connection = found.ok_or_else(|| format!("there is no connection '{ike}'"))?;
        let remote = self.remote_address(&connection)?;
        let local = self.local_address(&connection, remote)?;
        let from = SocketAddr::new(local, self.own_port(connection.local_port));
        let to = SocketAddr::new(remote, connection.remote_port);
        let started = self.endpoint.initiate_childless(now, ike, from, to);
        started.map_err(|failure| format!("{failure}; {}", failure.kind.remedy()))
    }

    /// swanctl.conf's default of 500 means whatever port the daemon uses.
    pub(super) fn own_port(&self, configured: u16) -> u16 {
        let settings = self.endpoint.settings();
        if configured == settings.nat_port { configured } else { settings.port }
    }

    pub(super) fn remote_address(&self, connection: &Connection) -> Result<IpAddr, String> {
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
        let (why, remedy) = match failed {
            Some(why) => (why, "check the name and DNS, or write the peer's address there"),
            None => ("no single address to send to".to_string(), "write the peer's address or name there"),
        };
        Err(format!("cannot initiate '{}': {why} [{place}]; {remedy}", connection.name))
    }

    pub(super) fn local_address(&mut self, connection: &Connection, remote: IpAddr) -> Result<IpAddr, String> {
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
