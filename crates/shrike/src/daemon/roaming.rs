//! Interfaces, addresses or routes of this host changed: IKE SAs move to another address (MOBIKE, RFC 4555 section 3.5).

use super::{Core, log};
use linux::{LocalAddress, Routes, SOCKET_MARK};
use model::Instant;
use proto::Movable;
use std::net::IpAddr;

impl Core {
    /// IKE SAs whose own address is gone, or whose packets would leave by a line that has another one, move, and peers are
    /// told which addresses there are.
    pub(super) fn network_changed(&mut self, now: Instant) {
        // First: the routes of tunnels have them as source.
        if let Some(routes) = &mut self.routes {
            self.addresses.restore(routes);
        }
        self.plane.network_changed();
        let Some(routes) = &mut self.routes else { return };
        let Ok(mut present) = routes.usable_addresses() else { return };
        present.retain(|a| !self.addresses.holds(a.address) && !a.address.is_loopback());
        let has = |address: IpAddr| present.iter().any(|a| a.address == address);
        for sa in self.endpoint.movable() {
            if has(sa.local) && !leaves_by_another_line(routes, &sa, &present) {
                continue;
            }
            let elsewhere = std::iter::once(sa.remote).chain(sa.others.iter().copied().filter(|_| sa.decides));
            let path = elsewhere.into_iter().find_map(|remote| {
                let source = routes.route_to(remote, None, Some(SOCKET_MARK)).ok()?.source?;
                has(source).then_some((source, remote))
            });
            match path {
                Some((local, remote)) => self.endpoint.roam(now, sa.sa, local, remote),
                None => {
                    log::line("NET", 1, &format!("{} is gone, and there is no other way to {}", sa.local, sa.remote))
                }
            }
        }
        // Link-local addresses are of no use to a peer elsewhere.
        let local_only = |a: &IpAddr| match a {
            IpAddr::V4(a) => a.is_link_local(),
            IpAddr::V6(a) => a.is_unicast_link_local(),
        };
        let told = present.iter().map(|a| a.address).filter(|a| !local_only(a)).collect();
        self.endpoint.set_addresses(now, told);
    }
}

/// Whether the way to the peer is by an interface that does not have our address, and the kernel would choose one of that
/// interface: a better line is up again, and by it nothing may come back to the address of the other one. Where the address is
/// configured, or the peer began the IKE SA, it is not for us to choose.
fn leaves_by_another_line(routes: &mut Routes, sa: &Movable, present: &[LocalAddress]) -> bool {
    if !sa.decides || !sa.any_address {
        return false;
    }
    let on = |interface, address| present.iter().any(|a| (a.interface, a.address) == (interface, address));
    // From our address, as rules by the source may have it.
    let bound = routes.route_to(sa.remote, Some(sa.local), Some(SOCKET_MARK));
    let free = routes.route_to(sa.remote, None, Some(SOCKET_MARK));
    let (Ok(bound), Ok(free)) = (bound, free) else { return false };
    free.source.is_some_and(|source| source != sa.local && on(bound.interface, source))
        && !on(bound.interface, sa.local)
}
