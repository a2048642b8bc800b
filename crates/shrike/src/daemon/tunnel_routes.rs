//! The routes of tunnels, by who needs them.
//!
//! The kernel has one route to a network in a table. Several Child SAs may need it, those that have other local networks with
//! another source address: the one that came last has its own in place, and when it goes, another one's takes the place.

use crate::log;
use linux::{LocalAddress, Route, RouteTarget, Routes};
use model::SaId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the kernel tells routes by: table, network and its prefix length.
type Key = (u32, IpAddr, u8);

fn key(route: &Route) -> Key {
    (route.table, route.destination, route.prefix)
}

/// The interface that a route leads to.
fn interface(route: &Route) -> Option<u32> {
    match route.target {
        RouteTarget::Interface { interface, .. } => Some(interface),
        RouteTarget::Throw | RouteTarget::Blackhole => None,
    }
}

/// A network that somebody needs a route to.
#[derive(Default)]
struct Place {
    /// Child SAs and traps, and the route that each would have.
    users: Vec<(SaId, Route)>,
    /// The one that the kernel has. `None` if it took none.
    placed: Option<Route>,
    /// The kernel took it for no user when it was asked last, which was told.
    failing: bool,
}

impl Place {
    /// What the kernel should have.
    fn wanted(&self) -> Option<Route> {
        let of_users = |route: &Route| self.users.iter().any(|(_, other)| other == route);
        self.placed.filter(of_users).or_else(|| self.users.last().map(|(_, route)| *route))
    }
}

/// The routes of all Child SAs and traps.
pub struct TunnelRoutes {
    places: BTreeMap<Key, Place>,
    owned: BTreeMap<SaId, Vec<Route>>,
    /// At which level of the log failures are told.
    level: u8,
}

impl TunnelRoutes {
    /// None yet. Failures are told at this level of the log.
    pub fn new(level: u8) -> Self {
        Self { places: BTreeMap::new(), owned: BTreeMap::new(), level }
    }

    /// The routes of a Child SA or trap.
    pub fn of(&self, owner: SaId) -> &[Route] {
        self.owned.get(&owner).map(Vec::as_slice).unwrap_or_default()
    }

    /// This host's addresses, first those that the routes of a Child SA or trap have as source: as long as those are there, they
    /// stay.
    pub fn prefer(&self, owner: SaId, addresses: &[LocalAddress]) -> Vec<LocalAddress> {
        let mut sorted = addresses.to_vec();
        sorted.sort_by_key(|own| !self.of(owner).iter().any(|route| route.source == Some(own.address)));
        sorted
    }

    /// Gives a Child SA or trap these routes in place of those that it has.
    pub fn set(&mut self, netlink: &mut Routes, owner: SaId, routes: Vec<Route>) {
        let old = self.owned.remove(&owner).unwrap_or_default();
        // What comes is there before what goes, so that packets have a way at any time.
        for route in routes.iter().filter(|route| !old.contains(route)) {
            self.place(netlink, owner, *route);
        }
        for gone in old.iter().filter(|gone| !routes.iter().any(|route| key(route) == key(gone))) {
            self.leave(netlink, owner, gone);
        }
        if !routes.is_empty() {
            self.owned.insert(owner, routes);
        }
    }

    /// A Child SA or trap needs none any more.
    pub fn remove(&mut self, netlink: &mut Routes, owner: SaId) {
        self.set(netlink, owner, Vec::new());
    }

    /// Puts back what the kernel dropped with an interface that went down or an address that was removed.
    pub fn restore(&mut self, netlink: &mut Routes) {
        let wanted: Vec<Route> = self.places.values().filter_map(Place::wanted).collect();
        if wanted.is_empty() {
            return;
        }
        // A kernel that cannot be asked so is left alone: a route that is added again for nothing is a change again.
        for route in netlink.missing(&wanted).unwrap_or_default() {
            let Some(place) = self.places.get_mut(&key(&route)) else { continue };
            match netlink.add_route(&route) {
                Ok(()) => {
                    (place.placed, place.failing) = (Some(route), false);
                    log::line("KNL", 2, &format!("route to {}/{} is back", route.destination, route.prefix));
                }
                // Once, for the host's network may change often until it can be.
                Err(error) if !place.failing => {
                    place.failing = true;
                    log::line(
                        "KNL",
                        self.level,
                        &format!(
                            "route to {}/{} was dropped with its interface or address, and cannot be added again before that is back: {error}",
                            route.destination, route.prefix
                        ),
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Has the kernel take this owner's route.
    fn place(&mut self, netlink: &mut Routes, owner: SaId, route: Route) {
        let place = self.places.entry(key(&route)).or_default();
        place.users.retain(|(other, _)| *other != owner);
        let shared = place.users.iter().any(|(_, other)| *other == route);
        place.users.push((owner, route));
        match netlink.add_route(&route) {
            Ok(()) => {
                let old = place.placed.replace(route);
                place.failing = false;
                // In IPv6 one by another interface may stay beside it. By the same one it is replaced, and what deletes a route
                // without a gateway deletes one with a gateway too.
                if let Some(old) = old.filter(|old| interface(old) != interface(&route)) {
                    let _ = netlink.delete_route(&old); // replaced, as a rule
                }
            }
            Err(error) => {
                place.failing = true;
                if !shared {
                    log::line("KNL", self.level, &format!("route to {}/{}: {error}", route.destination, route.prefix));
                }
            }
        }
    }

    /// An owner no longer needs a route: another one's takes its place, and without another one it goes.
    fn leave(&mut self, netlink: &mut Routes, owner: SaId, gone: &Route) {
        let Some(place) = self.places.get_mut(&key(gone)) else { return };
        place.users.retain(|(other, _)| *other != owner);
        let in_place = place.placed.is_some() && place.wanted() == place.placed;
        match place.users.last().copied() {
            None => {
                if let Some(route) = self.places.remove(&key(gone)).and_then(|place| place.placed) {
                    let _ = netlink.delete_route(&route); // gone with its interface or address already
                }
            }
            Some((survivor, route)) if !in_place => self.place(netlink, survivor, route),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plane::DataPlane;
    use super::super::userspace::Userspace;
    use super::super::xfrm::Kernel;
    use super::TunnelRoutes;
    use linux::{LocalAddress, Namespace, NetworkChanges, Route, RouteTarget, Routes, Xfrm};
    use model::dataplane::{ChildInstall, Command};
    use model::{Instant, SaId};
    use std::net::IpAddr;

    fn skip(why: impl std::fmt::Display) {
        eprintln!("SKIP: {why}");
        assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {why}");
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A host with a line to 192.0.2.2 and a network behind it, in which it has two addresses.
    struct Host {
        routes: Routes,
        wan: u32,
        sources: [LocalAddress; 2],
    }

    impl Host {
        fn new() -> Self {
            let mut routes = Routes::open().unwrap();
            let mut line = |names: [&str; 2]| {
                routes.add_veth(names[0], names[1], None).unwrap();
                let [interface, other] = names.map(|name| Routes::interface_index(name).unwrap());
                for end in [interface, other] {
                    routes.set_link(end, Some(true), None).unwrap();
                }
                interface
            };
            let (wan, lan) = (line(["wan", "peer"]), line(["lan", "hosts"]));
            let sources = ["10.1.0.1", "10.5.0.1"].map(|a| LocalAddress { interface: lan, address: ip(a), prefix: 24 });
            let outer = LocalAddress { interface: wan, address: ip("192.0.2.1"), prefix: 24 };
            for address in [outer, sources[0], sources[1]] {
                routes.add_address(&address).unwrap();
            }
            Self { routes, wan, sources }
        }

        /// Where packets of this host for the remote network leave, and with which source address.
        fn way(&mut self) -> Option<(u32, Option<IpAddr>)> {
            self.routes.route_to(ip("10.2.0.9"), None, None).ok().map(|way| (way.interface, way.source))
        }
    }

    /// Two Child SAs with the same remote network, from 10.1.0.0/24 and from 10.5.0.0/24.
    fn install(number: u32) -> Command {
        let like = super::super::updown::install(None);
        let sa = |sa: &model::dataplane::EspSa| model::dataplane::EspSa { spi: 256 + number, ..sa.clone() };
        let local = if number == 1 { "10.1.0.0/24" } else { "10.5.0.0/24" };
        Command::Install(Box::new(ChildInstall {
            child: SaId(number),
            reqid: number,
            inbound: sa(&like.inbound),
            outbound: sa(&like.outbound),
            local_ts: vec![local.parse().unwrap()],
            ..like
        }))
    }

    /// The same with our own ESP and with the kernel's. `device` is where the routes lead, if that is not the line.
    fn with_each(check: impl Fn(&mut dyn DataPlane, &mut Host, u32) + Sync) {
        let own = |host: &mut Host| {
            let mut plane = Userspace::open([500, 4500], true).map_err(skip).ok()?;
            let device = Routes::interface_index("shrike0").unwrap();
            check(&mut plane, host, device);
            Some(())
        };
        let kernels = |host: &mut Host| {
            Xfrm::probe(false).map_err(skip).ok()?;
            let device = host.wan;
            check(&mut Kernel::open(4500, true).unwrap(), host, device);
            Some(())
        };
        for plane in [&own as &(dyn Fn(&mut Host) -> Option<()> + Sync), &kernels] {
            match Namespace::anonymous() {
                Ok(namespace) => {
                    namespace.run(|| plane(&mut Host::new())).unwrap();
                }
                Err(error) => skip(error),
            }
        }
    }

    #[test]
    fn of_two_child_sas_with_the_same_remote_network_either_may_go_first() {
        with_each(|plane, host, device| {
            let now = Instant::from_nanos(1);
            let [first, second] = host.sources.map(|own| own.address);
            for (gone, left, source) in [(1, 2, second), (2, 1, first)] {
                plane.apply(now, &install(1)).unwrap();
                assert_eq!(host.way(), Some((device, Some(first))));
                plane.apply(now, &install(2)).unwrap();
                assert_eq!(host.way(), Some((device, Some(second))));
                plane.apply(now, &Command::Delete { child: SaId(gone) }).unwrap();
                assert_eq!(host.way(), Some((device, Some(source))), "without {gone}");
                plane.apply(now, &Command::Delete { child: SaId(left) }).unwrap();
                assert_eq!(host.way(), None);
            }
        });
    }

    #[test]
    fn where_the_way_is_another_one_the_route_is_too_and_no_second_one_stays() {
        let change_ways = || {
            let Host { mut routes, wan, sources: [own, _] } = Host::new();
            let six = |interface, text| LocalAddress { interface, address: ip(text), prefix: 64 };
            routes.add_address(&six(wan, "2001:db8:a::1")).unwrap();
            routes.add_address(&six(own.interface, "2001:db8:b::1")).unwrap();
            let table = 254;
            let mut tunnels = TunnelRoutes::new(0);
            for (destination, prefix, gateways) in [
                ("10.2.0.0", 24, ["192.0.2.2", "192.0.2.3", "10.1.0.2"]),
                ("2001:db8:2::", 48, ["2001:db8:a::2", "2001:db8:a::3", "2001:db8:b::2"]),
            ] {
                let destination = ip(destination);
                let [first, second, third] = gateways.map(|gateway| Some(ip(gateway)));
                let ways =
                    [(wan, None), (wan, first), (wan, second), (own.interface, third), (wan, first), (wan, None)];
                let mut last = None;
                for (interface, gateway) in ways {
                    let target = RouteTarget::Interface { interface, gateway };
                    let route = Route { destination, prefix, target, source: None, table, metric: None };
                    tunnels.set(&mut routes, SaId(1), vec![route]);
                    let way = routes.route_to(destination, None, None).unwrap();
                    assert_eq!((way.interface, way.gateway), (interface, gateway));
                    let elsewhere = last.replace(route).filter(|last| super::interface(last) != Some(interface));
                    assert_eq!(routes.missing(elsewhere.as_slice()).unwrap(), elsewhere.as_slice());
                }
                tunnels.remove(&mut routes, SaId(1));
                assert!(routes.route_to(destination, None, None).is_err());
            }
        };
        match Namespace::anonymous() {
            Ok(namespace) => namespace.run(change_ways).unwrap(),
            Err(error) => skip(error),
        }
    }

    #[test]
    fn what_went_with_its_interface_or_address_comes_back_with_it() {
        with_each(|plane, host, device| {
            plane.apply(Instant::from_nanos(1), &install(1)).unwrap();
            let own = host.sources[0];
            let whole = Some((device, Some(own.address)));
            assert_eq!(host.way(), whole);
            host.routes.set_link(device, Some(false), None).unwrap();
            plane.network_changed();
            host.routes.set_link(device, Some(true), None).unwrap();
            assert_eq!(host.way(), None, "the kernel has dropped it");
            plane.network_changed();
            assert_eq!(host.way(), whole);
            host.routes.delete_address(&own).unwrap();
            plane.network_changed();
            assert_ne!(host.way(), whole);
            host.routes.add_address(&own).unwrap();
            plane.network_changed();
            assert_eq!(host.way(), whole);
            // Another address there is no reason to have another source.
            let other = LocalAddress { interface: host.wan.min(own.interface), address: ip("10.1.0.9"), prefix: 24 };
            host.routes.add_address(&other).unwrap();
            let mut changes = NetworkChanges::open().unwrap();
            // The kernel itself may have something to tell of the interfaces meanwhile, but not each time.
            let quiet = (0..50).any(|_| {
                changes.changed();
                plane.network_changed();
                !changes.changed()
            });
            assert_eq!((host.way(), quiet), (whole, true), "where nothing is missing nothing is done");
            plane.apply(Instant::from_nanos(1), &Command::Delete { child: SaId(1) }).unwrap();
            plane.network_changed();
            assert_eq!(host.way(), None);
        });
    }
}
