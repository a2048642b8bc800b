//! Shunts: policies that have nothing to do with SAs (`mode = pass` and `mode = drop`; RFC 4301 section 4.4.1, BYPASS and
//! DISCARD).

use super::Endpoint;
use crate::child::resolved;
use crate::ike_sa::IkeSa;
use config::Shunt;
use model::dataplane::{Command, ShuntInstall};
use model::{Failure, FailureKind, SaId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Endpoint {
    /// Sets a shunt, in place of the one there is.
    ///
    /// # Errors
    /// There is none of this name.
    #[allow(clippy::result_large_err)] // made for an operator, not on a hot path
    pub fn install_shunt(&mut self, connection: &str, name: &str) -> Result<SaId, Failure> {
        let shunt = self.connections.get(connection).and_then(|c| c.shunts.iter().find(|s| s.name == name));
        let Some(Shunt { action, local_ts, remote_ts, priority, binding, .. }) = shunt.cloned() else {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
            return Err(Failure { kind: FailureKind::NoConfig { local: any, remote: any }, config: None });
        };
        self.uninstall_shunts(Some(connection), Some(name));
        let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        let install = ShuntInstall {
            shunt: self.cx.child_id(),
            connection: connection.to_string(),
            name: name.to_string(),
            action,
            local_ts: resolved(&local_ts, &any),
            remote_ts: resolved(&remote_ts, &any),
            priority,
            binding,
        };
        let id = install.shunt;
        self.cx.plane(Command::Shunt(Box::new(install.clone())));
        self.shunts.insert(id, install);
        Ok(id)
    }

    /// Removes the configured shunts of this connection or name; `None` for any. Returns how many there were.
    pub fn uninstall_shunts(&mut self, connection: Option<&str>, name: Option<&str>) -> usize {
        let named = |shunt: &&ShuntInstall| {
            connection.is_none_or(|c| c == shunt.connection) && name.is_none_or(|n| n == shunt.name)
        };
        let ids: Vec<SaId> = self.shunts.values().filter(named).map(|shunt| shunt.shunt).collect();
        for shunt in &ids {
            self.cx.plane(Command::RemoveShunt { shunt: *shunt });
            self.shunts.remove(shunt);
        }
        ids.len()
    }

    /// The shunts that are set, those that peers asked for too.
    pub fn shunts(&self) -> impl Iterator<Item = &ShuntInstall> {
        let of_peers = self.sas.values().flat_map(IkeSa::bypasses);
        self.shunts.values().chain(of_peers)
    }

    /// The data plane has a trap or a shunt no more, or never had it. False if it is neither, as where it is a Child SA.
    pub(super) fn forget_policy(&mut self, id: SaId) -> bool {
        self.sas.owner(id).is_none() && (self.forget_trap(id) || self.forget_shunt(id))
    }

    fn forget_shunt(&mut self, id: SaId) -> bool {
        let mut found = self.shunts.remove(&id).is_some();
        for of_peer in self.sas.bypassing() {
            let Some(sa) = self.sas.get_mut(&of_peer).and_then(IkeSa::v1) else { continue };
            let before = sa.bypasses.len();
            sa.bypasses.retain(|shunt| shunt.shunt != id);
            found |= sa.bypasses.len() != before;
        }
        found
    }

    /// What a connection no longer has is removed.
    pub(super) fn forget_policies(&mut self, connection: &config::Connection) {
        let child = |name: &str| connection.children.iter().any(|c| c.name == name);
        let shunt = |name: &str| connection.shunts.iter().any(|s| s.name == name);
        let own = |of: &str| of == connection.name;
        let traps = self.traps.of(Some(&connection.name), None);
        let traps = traps.into_iter().filter_map(|id| self.traps.get(id)).map(|trap| trap.install.name.clone());
        let traps: Vec<String> = traps.filter(|name| !child(name)).collect();
        let shunts = self.shunts.values().filter(|s| own(&s.connection) && !shunt(&s.name));
        let shunts: Vec<String> = shunts.map(|s| s.name.clone()).collect();
        for trap in traps {
            self.uninstall_traps(Some(&connection.name), Some(&trap));
        }
        for shunt in shunts {
            self.uninstall_shunts(Some(&connection.name), Some(&shunt));
        }
    }
}
