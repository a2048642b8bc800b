//! Beginning: what an operator, a lifetime or the end of another SA has negotiated.

use super::{Endpoint, NO_CHILD, Started};
use crate::ike_sa::IkeSa;
use crate::v1;
use crate::v2;
use config::{Connection, IkeVersion};
use model::{Failure, FailureKind, Instant, SaId};
use std::net::SocketAddr;
use std::sync::Arc;

impl Endpoint {
    /// Begins to negotiate a child of a connection from `local` to `remote` (with IKE's ports).
    ///
    /// # Errors
    /// Why it cannot even begin.
    #[allow(clippy::result_large_err)] // made for an operator, not on a hot path
    pub fn initiate(
        &mut self,
        now: Instant,
        connection: &str,
        child: &str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Started, Failure> {
        self.start(now, connection, child, local, remote, true)
    }

    /// The same, `once` or as often as it takes.
    #[allow(clippy::result_large_err)] // as above
    pub(super) fn start(
        &mut self,
        now: Instant,
        connection: &str,
        child: &str,
        local: SocketAddr,
        remote: SocketAddr,
        once: bool,
    ) -> Result<Started, Failure> {
        let Some(found) = self.connections.get(connection).cloned() else {
            return Err(Failure { kind: FailureKind::NoConfig { local, remote }, config: None });
        };
        // Without an ISAKMP SA over it a Child SA is not what is asked for.
        let usable = |sa: &IkeSa| !sa.is_closed() && !sa.is_orphaned();
        let up = |sa: &&IkeSa| usable(sa) && sa.lasting_children().any(|c| c.name == child);
        let is_installed = |sa: &IkeSa| sa.lasting_children().any(|c| c.name == child && c.is_installed());
        let there = self.sas.named(connection).find(up).map(|sa| (sa.id(), is_installed(sa)));
        if let Some((id, installed)) = there {
            if let (cx, Some(IkeSa::V2(sa)), false) = (&mut self.cx, self.sas.get_mut(&id), installed) {
                v2::ask_now(sa, cx, now, child);
            }
            return Ok(if installed { Started::AlreadyUp(id) } else { Started::Negotiation(id) });
        }
        if let Some(id) = self.add_child_v1(now, connection, child, (local, remote)) {
            self.carry_out_effects(now);
            return Ok(Started::Negotiation(id));
        }
        if let Some(id) = self.under_another(now, connection, child, remote.ip(), None) {
            self.ask_once(id, child, once);
            return Ok(Started::Negotiation(id));
        }
        let index = found.children.iter().position(|c| c.name == child).unwrap_or(usize::MAX);
        let source = found.source.get("proposals");
        match self.begin(now, found, index, (local, remote), 1, None) {
            Ok(id) => {
                self.ask_once(id, child, once);
                self.carry_out_effects(now);
                Ok(Started::Negotiation(id))
            }
            Err(kind) => Err(Failure { kind, config: Some(source) }),
        }
    }

    /// Whether a refusal of what was just begun is the last word.
    fn ask_once(&mut self, id: SaId, child: &str, once: bool) {
        let children = self.sas.get_mut(&id).and_then(IkeSa::v2).map(|sa| sa.children.iter_mut());
        let larval = children.into_iter().flatten().filter(|c| c.name == child && !c.is_installed());
        larval.for_each(|c| c.once = once);
    }

    /// Begins an IKE SA of a connection without any Child SA: RFC 6023, and phase 1 alone of IKEv1, to which quick mode may
    /// come later (RFC 2409 section 2).
    ///
    /// # Errors
    /// Why it cannot even begin.
    #[allow(clippy::result_large_err)] // as above
    pub fn initiate_childless(
        &mut self,
        now: Instant,
        connection: &str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Started, Failure> {
        let Some(found) = self.connections.get(connection).cloned() else {
            return Err(Failure { kind: FailureKind::NoConfig { local, remote }, config: None });
        };
        let source = found.source.get("childless");
        let own = |sa: &&IkeSa| !sa.is_closed() && !sa.is_orphaned() && sa.heir().is_none();
        if let Some(sa) = self.sas.named_at(connection, remote.ip()).find(own) {
            let id = sa.id();
            return Ok(if sa.is_established() { Started::AlreadyUp(id) } else { Started::Negotiation(id) });
        }
        let begun = self.begin(now, found, NO_CHILD, (local, remote), 1, None);
        begun.map(Started::Negotiation).map_err(|kind| Failure { kind, config: Some(source) })
    }

    /// A further child over an ISAKMP SA that the connection has with this peer.
    pub(super) fn add_child_v1(
        &mut self,
        now: Instant,
        connection: &str,
        child: &str,
        at: (SocketAddr, SocketAddr),
    ) -> Option<SaId> {
        let own = self.sas.named_at(connection, at.1.ip()).filter(|sa| match sa {
            IkeSa::V1(sa) => !sa.is_closed() && sa.replaced_by.is_none() && sa.local.ip() == at.0.ip(),
            IkeSa::V2(_) => false,
        });
        let own: Vec<SaId> = own.map(IkeSa::id).collect();
        own.into_iter().find(|id| {
            let sa = self.sas.get_mut(id).and_then(IkeSa::v1);
            sa.is_some_and(|sa| v1::add_child(sa, &mut self.cx, now, child))
        })
    }

    pub(super) fn begin(
        &mut self,
        now: Instant,
        connection: Arc<Connection>,
        child: usize,
        (local, remote): (SocketAddr, SocketAddr),
        attempt: u32,
        replaces: Option<SaId>,
    ) -> Result<SaId, FailureKind> {
        let local = self.still_there(&connection, local, remote);
        // Another SA of this connection may be on its way: INITIAL_CONTACT would have the peer drop it.
        // Another connection may be for the same two identities; at this address it may turn out to be so.
        let known = self.sas.named(&connection.name).next().is_some() || self.sas.at(remote.ip()).next().is_some();
        let initial_contact = !known && replaces.is_none() && connection.unique != config::Unique::Never;
        let sa = if connection.version == IkeVersion::V1 {
            let wish = v1::Wish { connection, child, local, remote, attempt, replaces, initial_contact };
            IkeSa::V1(Box::new(v1::initiate(&mut self.cx, now, wish)?))
        } else {
            let addresses =
                replaces.and_then(|old| self.sas.get_mut(&old)?.v2()).map(|old| old.virtual_addresses.own.clone());
            let addresses = addresses.unwrap_or_default();
            let (redirection, number) = (v2::Redirection::default(), None);
            let wish = v2::Wish {
                connection,
                child,
                local,
                remote,
                attempt,
                replaces,
                initial_contact,
                addresses,
                redirection,
                number,
            };
            IkeSa::V2(Box::new(v2::initiate(&mut self.cx, now, wish)?))
        };
        Ok(self.begun(sa))
    }

    /// Our address for an IKE SA that is begun again, where it was begun from one that we have no more.
    fn still_there(&self, connection: &Connection, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
        if !self.cx.gone.contains(&local.ip()) {
            return local;
        }
        let usable = |a: &&std::net::IpAddr| {
            a.is_ipv4() == remote.is_ipv4() && connection.local_addrs.iter().any(|pattern| pattern.matches(**a))
        };
        self.cx.addresses.iter().find(usable).map_or(local, |address| SocketAddr::new(*address, local.port()))
    }

    pub(super) fn begun(&mut self, sa: IkeSa) -> SaId {
        let id = sa.id();
        self.by_spi.insert(sa.own_spi(), id);
        self.sas.insert(id, sa);
        id
    }
}
