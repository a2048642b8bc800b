//! Addresses, links, routes and policy rules over rtnetlink.
//!
//! How tunnels are routed: the routes to the peer's networks lie in a table of their own ([`crate::ROUTING_TABLE`]), so the
//! operator's `main` table stays as it is. The rule `pref 220: not fwmark SOCKET_MARK lookup 220` consults it first for all
//! packets except those of our own sockets, which are marked. So IKE and ESP take the real route even when the peer's own
//! address lies in the remote selector (0.0.0.0/0).
//!
//! Packets that shall pass a tunnel by ([`Rule::around_tunnels`]) jump over that rule: `pref 219: from A to B goto 224`. What
//! this host sends itself has no source address before it has a route, and the tunnel's would give it that of the tunnel: where
//! the host has an address in A, such packets to B jump too.
//!
//! Without the kernel's policies rules do their work too. A trap for any peer ([`Rule::captures`]) leads what no tunnel has to
//! the TUN device: `pref 221: from A to B lookup 221`. What is to be discarded ([`Rule::discards`]) goes nowhere if it gets so
//! far: `pref 223: from A to B blackhole`, but for what came out of a tunnel, `pref 222: iif TUN goto 224`. Our own sockets
//! jump over all of this.
//!
//! One thing to know: strict reverse path filtering (`rp_filter = 1`) looks up the way back of received ESP without the mark.
//! Where the remote selector includes the peer's address it would find the tunnel and drop the packet: such hosts need
//! `rp_filter = 2`, the default of systemd.

use crate::netlink::{CREATE, DUMP, EXCLUSIVE, NetlinkError, REPLACE, Reply, Request, Socket};
use crate::sys::{address, family, octets, width};
use model::TrafficSelector;
use model::dataplane::InterfaceName;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

mod inspect;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;

const IFLA_MTU: u16 = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
/// Who made an address, as the kernel keeps it since Linux 5.18; older ones ignore it. The kernel's own are 1 to 3.
const VIRTUAL_ADDRESS: u8 = 83;
/// Usable at once, without duplicate address detection.
const IFA_F_NODAD: u32 = 2;

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const RTA_MARK: u16 = 16;

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
const FIB_RULE_INVERT: u32 = 2;
/// IPv6: the rule is also for packets that have no source address yet.
const FIB_RULE_FIND_SADDR: u32 = 0x1_0000;
const FR_ACT_TO_TABLE: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;
const FR_ACT_BLACKHOLE: u8 = 6;

/// Where rules come: around everything, a trap for any peer, what came out of a tunnel, what is discarded, and behind all.
const AROUND: u32 = crate::ROUTING_RULE_PREFERENCE - 1;
const CAPTURED: u32 = crate::ROUTING_RULE_PREFERENCE + 1;
const OUT_OF_TUNNEL: u32 = crate::ROUTING_RULE_PREFERENCE + 2;
const DISCARDED: u32 = crate::ROUTING_RULE_PREFERENCE + 3;
const BEHIND: u32 = crate::ROUTING_RULE_PREFERENCE + 4;

const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTN_THROW: u8 = 9;
const RTPROT_STATIC: u8 = 4;

const IFF_UP: u32 = 1;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// Multicast groups: links (1), addresses (IPv4 5, IPv6 9) and routes (7 and 11).
const CHANGES: u32 = 1 | 1 << 4 | 1 << 8 | 1 << 6 | 1 << 10;

/// Tells that something about the host's interfaces, addresses or routes changed; what, one looks up.
///
/// `AsRawFd` is for mio's `SourceFd`: when it is readable, call [`changed`](Self::changed).
#[derive(Debug)]
pub struct NetworkChanges {
    socket: Socket,
}

impl NetworkChanges {
    /// Opens the netlink socket in the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(libc::NETLINK_ROUTE, CHANGES)? })
    }

    /// Whether anything changed since the last call. Lost reports (`ENOBUFS`) are a change too.
    pub fn changed(&mut self) -> bool {
        let told = self.socket.notifications().map_or(true, |all| !all.is_empty());
        self.socket.take_lost() || told
    }
}

impl AsRawFd for NetworkChanges {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The interface's index.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length of its network.
    pub prefix: u8,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Out of an interface, to a gateway if there is one.
    Interface {
        /// The interface's index.
        interface: u32,
        /// The next hop.
        gateway: Option<IpAddr>,
    },
    /// On to the next table.
    Throw,
    /// Nowhere, silently.
    Blackhole,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network's first address.
    pub destination: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Where it leads.
    pub target: RouteTarget,
    /// The source address of packets that originate here.
    pub source: Option<IpAddr>,
    /// The table ([`crate::ROUTING_TABLE`] for tunnels, 254 is `main`).
    pub table: u32,
    /// The metric, lower is preferred.
    pub metric: Option<u32>,
}

/// How the kernel would reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTo {
    /// The interface's index.
    pub interface: u32,
    /// The next hop, if it is not the destination itself.
    pub gateway: Option<IpAddr>,
    /// The source address it would choose.
    pub source: Option<IpAddr>,
}

/// What becomes of a packet that meets a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// It consults this table.
    Table(u32),
    /// It goes on with the rule of this preference.
    GoTo(u32),
    /// It goes on with the next rule: a place to go to.
    Next,
    /// It goes nowhere, silently.
    Blackhole,
}

/// A rule that says which packets consult a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// IPv6 or IPv4.
    pub ipv6: bool,
    /// Rules are tried in ascending order.
    pub preference: u32,
    /// Packets without this mark only.
    pub unless_mark: Option<u32>,
    /// Packets with this mark only.
    pub mark: Option<u32>,
    /// Packets that came from this interface only.
    pub input: Option<InterfaceName>,
    /// Packets from this network only.
    pub from: Option<(IpAddr, u8)>,
    /// Packets that have no source address yet: those only in IPv4, those too in IPv6.
    pub unbound: bool,
    /// Packets to this network only.
    pub to: Option<(IpAddr, u8)>,
    /// Packets of this protocol only; 0 for any.
    pub protocol: u8,
    /// Packets from these ports only.
    pub from_ports: Option<(u16, u16)>,
    /// Packets to these ports only.
    pub to_ports: Option<(u16, u16)>,
    /// What becomes of them.
    pub action: RuleAction,
}

impl Rule {
    fn any(ipv6: bool, preference: u32, action: RuleAction) -> Self {
        let (from, to, from_ports, to_ports) = (None, None, None, None);
        Self {
            ipv6,
            preference,
            unless_mark: None,
            mark: None,
            input: None,
            from,
            unbound: false,
            to,
            protocol: 0,
            from_ports,
            to_ports,
            action,
        }
    }

    /// The rule that leads packets into tunnels, except our own sockets' (see the head of this module).
    pub fn tunnels(ipv6: bool) -> Self {
        let rule = Self::any(ipv6, crate::ROUTING_RULE_PREFERENCE, RuleAction::Table(crate::ROUTING_TABLE));
        Self { unless_mark: Some(crate::SOCKET_MARK), ..rule }
    }

    /// The rules by which packets between these selectors do not consult the table of the tunnels. Ports and protocols are
    /// those of the kernel's rules: types of ICMP are none. `addresses` are this host's: where one lies in the local selector,
    /// sockets that are bound to none go the same way.
    pub fn around_tunnels(
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
        addresses: &[LocalAddress],
    ) -> Vec<Self> {
        Self::between(local_ts, remote_ts, addresses, Self::any(false, AROUND, RuleAction::GoTo(BEHIND)))
    }

    /// The rules by which packets between these selectors that no tunnel has consult [`crate::TRAP_TABLE`].
    pub fn captures(
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
        addresses: &[LocalAddress],
    ) -> Vec<Self> {
        let captured = Self::any(false, CAPTURED, RuleAction::Table(crate::TRAP_TABLE));
        Self::own_sockets_around(Self::between(local_ts, remote_ts, addresses, captured))
    }

    /// The rules by which packets between these selectors, in both directions, go nowhere if no tunnel has them and they did
    /// not come out of one, by its device. What comes in for this host itself does not get here: the kernel's table of own
    /// addresses is before all rules.
    pub fn discards(
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
        addresses: &[LocalAddress],
        device: InterfaceName,
    ) -> Vec<Self> {
        let discarded = Self::any(false, DISCARDED, RuleAction::Blackhole);
        let out = Self::between(local_ts, remote_ts, addresses, discarded);
        let back = Self::between(remote_ts, local_ts, &[], discarded);
        let mut rules: Vec<Self> = Vec::new();
        for ipv6 in [false, true] {
            if out.iter().any(|rule| rule.ipv6 == ipv6) {
                let tunnel = Self::any(ipv6, OUT_OF_TUNNEL, RuleAction::GoTo(BEHIND));
                rules.push(Self { input: Some(device), ..tunnel });
            }
        }
        rules.extend(out);
        rules.extend(back.into_iter().filter(|rule| rule.action != RuleAction::Next));
        Self::own_sockets_around(rules)
    }

    /// The same with the way for our own sockets before them.
    fn own_sockets_around(rules: Vec<Self>) -> Vec<Self> {
        let around =
            |ipv6| Self { mark: Some(crate::SOCKET_MARK), ..Self::any(ipv6, AROUND, RuleAction::GoTo(BEHIND)) };
        let families = [false, true].into_iter().filter(|ipv6| rules.iter().any(|rule| rule.ipv6 == *ipv6));
        families.map(around).collect::<Vec<_>>().into_iter().chain(rules).collect()
    }

    /// Rules like this one for the packets between these selectors, and a place to go to behind all.
    fn between(
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
        addresses: &[LocalAddress],
        like: Self,
    ) -> Vec<Self> {
        let mut rules = Vec::new();
        for local in local_ts {
            for remote in remote_ts.iter().filter(|remote| remote.is_ipv6() == local.is_ipv6()) {
                let Some(protocol) = local.common_protocol(remote) else { continue };
                let with_ports = !matches!(protocol, 0 | 1 | 58);
                let ports = |ts: &TrafficSelector| {
                    (with_ports && (ts.start_port, ts.end_port) != (0, u16::MAX))
                        .then_some((ts.start_port, ts.end_port))
                };
                let ipv6 = local.is_ipv6();
                rules.push(Self::any(ipv6, BEHIND, RuleAction::Next));
                for from in local.networks() {
                    for to in remote.networks() {
                        let (from_ports, to_ports) = (ports(local), ports(remote));
                        let rule =
                            Self { ipv6, from: Some(from), to: Some(to), protocol, from_ports, to_ports, ..like };
                        let unbound = source_within(local, addresses).is_some();
                        // In IPv6 one rule says both, and the kernel takes no second one that differs in this alone.
                        if !ipv6 || !unbound {
                            rules.push(rule);
                        }
                        if unbound {
                            rules.push(Self { unbound, ..rule });
                        }
                    }
                }
            }
        }
        let mut once = Vec::new();
        for rule in rules {
            if !once.contains(&rule) {
                once.push(rule);
            }
        }
        once
    }
}

/// The kernel's routing, as seen from the namespace in which this was opened.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
}

impl Routes {
    /// Opens the netlink socket. Reading needs no privilege, everything else `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(libc::NETLINK_ROUTE, 0)? })
    }

    /// The addresses of this host, all interfaces.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        let mut request = Request::new(RTM_GETADDR, DUMP);
        request.put(&[0; ADDRESS_HEADER]);
        let replies = self.socket.request(request)?;
        Ok(replies.iter().filter(|reply| reply.kind == RTM_NEWADDR).filter_map(local_address).collect())
    }

    /// The same without those of interfaces that are down: nothing is sent from them, though the kernel keeps them.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn usable_addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        let mut request = Request::new(RTM_GETLINK, DUMP);
        request.put(&link_header(0, None));
        let replies = self.socket.request(request)?;
        let up: BTreeSet<u32> =
            replies.iter().filter(|reply| reply.kind == RTM_NEWLINK).filter_map(link_that_is_up).collect();
        Ok(self.addresses()?.into_iter().filter(|own| up.contains(&own.interface)).collect())
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// [`NetlinkError`], `EEXIST` if it has it already.
    pub fn add_address(&mut self, new: &LocalAddress) -> Result<(), NetlinkError> {
        self.change_address(RTM_NEWADDR, CREATE | EXCLUSIVE, new, None)
    }

    /// The same, marked as a virtual address of ours.
    ///
    /// # Errors
    /// As [`Routes::add_address`].
    pub fn add_virtual_address(&mut self, new: &LocalAddress) -> Result<(), NetlinkError> {
        self.change_address(RTM_NEWADDR, CREATE | EXCLUSIVE, new, Some(VIRTUAL_ADDRESS))
    }

    /// The addresses that are marked so. Kernels before Linux 5.18 know none.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn virtual_addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        let ours = |reply: &&Reply| reply.attributes(ADDRESS_HEADER).get(IFA_PROTO) == Some(&[VIRTUAL_ADDRESS][..]);
        let mut request = Request::new(RTM_GETADDR, DUMP);
        request.put(&[0; ADDRESS_HEADER]);
        let replies = self.socket.request(request)?;
        let addresses = replies.iter().filter(|reply| reply.kind == RTM_NEWADDR).filter(ours);
        Ok(addresses.filter_map(local_address).collect())
    }

    /// Takes an address away. One that is not there any more, as when its interface went, is no error.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn delete_address(&mut self, old: &LocalAddress) -> Result<(), NetlinkError> {
        match self.change_address(RTM_DELADDR, 0, old, None) {
            Err(error) if error.is(libc::EADDRNOTAVAIL) || error.is(libc::ENODEV) => Ok(()),
            done => done,
        }
    }

    fn change_address(
        &mut self,
        kind: u16,
        flags: u16,
        which: &LocalAddress,
        maker: Option<u8>,
    ) -> Result<(), NetlinkError> {
        let mut request = Request::new(kind, flags);
        let mut header = vec![family(which.address), which.prefix, 0, RT_SCOPE_UNIVERSE];
        header.extend(which.interface.to_ne_bytes());
        request.put(&header);
        request.attribute(IFA_LOCAL, &octets(which.address)).attribute(IFA_ADDRESS, &octets(which.address));
        if which.address.is_ipv6() {
            request.attribute(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
        }
        if let Some(maker) = maker {
            request.attribute(IFA_PROTO, &[maker]);
        }
        self.socket.request(request).map(drop)
    }

    /// Sets an interface up or down and its MTU; `None` leaves either alone.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn set_link(&mut self, interface: u32, up: Option<bool>, mtu: Option<u32>) -> Result<(), NetlinkError> {
        let mut request = Request::new(RTM_NEWLINK, 0);
        request.put(&link_header(interface, up));
        if let Some(mtu) = mtu {
            request.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.socket.request(request).map(drop)
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn delete_link(&mut self, interface: u32) -> Result<(), NetlinkError> {
        let mut request = Request::new(RTM_DELLINK, 0);
        request.put(&link_header(interface, None));
        self.socket.request(request).map(drop)
    }

    /// Makes two interfaces that are joined by a cable, the second in the namespace `peer_in` if given. Both are down.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn add_veth(&mut self, name: &str, peer: &str, peer_in: Option<BorrowedFd<'_>>) -> Result<(), NetlinkError> {
        let terminated = |name: &str| [name.as_bytes(), &[0]].concat();
        let mut request = Request::new(RTM_NEWLINK, CREATE | EXCLUSIVE);
        request.put(&link_header(0, None)).attribute(IFLA_IFNAME, &terminated(name));
        request.nested(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth").nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |other| {
                    other.put(&link_header(0, None)).attribute(IFLA_IFNAME, &terminated(peer));
                    if let Some(namespace) = peer_in {
                        other.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
                    }
                });
            });
        });
        self.socket.request(request).map(drop)
    }

    /// The index of an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// `NotFound` or another of the kernel's.
    pub fn interface_index(name: &str) -> io::Result<u32> {
        crate::sys::interface_index(name)
    }

    /// The name of an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn interface_name(index: u32) -> io::Result<String> {
        crate::sys::interface_name(index)
    }

    /// Adds a route; replaces one to the same network with the same metric.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.socket.request(route_request(RTM_NEWROUTE, CREATE | REPLACE, route)).map(drop)
    }

    /// Removes a route.
    ///
    /// # Errors
    /// [`NetlinkError`], `ESRCH` if it is not there.
    pub fn delete_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.socket.request(route_request(RTM_DELROUTE, 0, route)).map(drop)
    }

    /// How a packet to `destination` would leave, from `source` and with a socket mark if given.
    ///
    /// # Errors
    /// [`NetlinkError`], `ENETUNREACH` if there is no route.
    pub fn route_to(
        &mut self,
        destination: IpAddr,
        source: Option<IpAddr>,
        mark: Option<u32>,
    ) -> Result<RouteTo, NetlinkError> {
        let mut request = Request::new(RTM_GETROUTE, 0);
        let source_bits = source.map_or(0, width);
        request.put(&[family(destination), width(destination), source_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        request.attribute(RTA_DST, &octets(destination));
        if let Some(source) = source {
            request.attribute(RTA_SRC, &octets(source));
        }
        if let Some(mark) = mark {
            request.attribute(RTA_MARK, &mark.to_ne_bytes());
        }
        let replies = self.socket.request(request)?;
        replies
            .iter()
            .filter(|reply| reply.kind == RTM_NEWROUTE)
            .find_map(route_to)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENETUNREACH).into())
    }

    /// Adds a rule; one that is there already is no error.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        match self.socket.request(rule_request(RTM_NEWRULE, CREATE | EXCLUSIVE, rule)) {
            Err(error) if !error.is(libc::EEXIST) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`NetlinkError`], `ENOENT` if it is not there.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        self.socket.request(rule_request(RTM_DELRULE, 0, rule)).map(drop)
    }
}

/// The routes that lead into a tunnel: one for each network of the remote selectors, with a source address that lies in the
/// local selectors if this host has one there, so that packets that originate here match the policy.
///
/// `needs_route`: with a TUN device every network needs its route; XFRM catches packets on any route, so there only those
/// with a source address are of use.
pub fn tunnel_routes(
    local_ts: &[TrafficSelector],
    remote_ts: &[TrafficSelector],
    addresses: &[LocalAddress],
    target: RouteTarget,
    needs_route: bool,
) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for remote in remote_ts {
        let source = local_ts
            .iter()
            .filter(|local| local.is_ipv6() == remote.is_ipv6())
            .find_map(|local| source_within(local, addresses));
        if source.is_none() && !needs_route {
            continue;
        }
        for (destination, prefix) in remote.networks() {
            let route = Route { destination, prefix, target, source, table: crate::ROUTING_TABLE, metric: None };
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
    }
    routes
}

/// An address of this host, other than loopback, that lies in the selector.
fn source_within(local: &TrafficSelector, addresses: &[LocalAddress]) -> Option<IpAddr> {
    let within = |a: &IpAddr| a.is_ipv6() == local.is_ipv6() && local.start <= *a && *a <= local.end;
    addresses.iter().map(|own| own.address).filter(|a| !a.is_loopback()).find(within)
}

/// `struct ifinfomsg`.
fn link_header(interface: u32, up: Option<bool>) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(interface.to_ne_bytes());
    header.extend(if up == Some(true) { IFF_UP } else { 0 }.to_ne_bytes());
    header.extend(if up.is_some() { IFF_UP } else { 0 }.to_ne_bytes());
    header
}

/// The index in a `struct ifinfomsg` whose interface is up.
fn link_that_is_up(reply: &Reply) -> Option<u32> {
    let &[_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3] = reply.fixed(LINK_HEADER)?.first_chunk::<12>()?;
    (u32::from_ne_bytes([f0, f1, f2, f3]) & IFF_UP != 0).then(|| u32::from_ne_bytes([i0, i1, i2, i3]))
}

fn local_address(reply: &Reply) -> Option<LocalAddress> {
    let &[family, prefix, _, _, i0, i1, i2, i3] = reply.fixed(ADDRESS_HEADER)?.first_chunk::<ADDRESS_HEADER>()?;
    let attributes = reply.attributes(ADDRESS_HEADER);
    // On a point-to-point link ADDRESS is the other end; IPv6 has no LOCAL elsewhere.
    let octets = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?;
    let interface = u32::from_ne_bytes([i0, i1, i2, i3]);
    Some(LocalAddress { interface, address: address(family, octets)?, prefix })
}

fn route_request(kind: u16, flags: u16, route: &Route) -> Request {
    let (route_kind, scope) = match route.target {
        RouteTarget::Interface { gateway: Some(_), .. } => (RTN_UNICAST, RT_SCOPE_UNIVERSE),
        RouteTarget::Interface { gateway: None, .. } => (RTN_UNICAST, RT_SCOPE_LINK),
        RouteTarget::Throw => (RTN_THROW, RT_SCOPE_UNIVERSE),
        RouteTarget::Blackhole => (RTN_BLACKHOLE, RT_SCOPE_UNIVERSE),
    };
    // The kernel knows scopes for IPv4 only.
    let scope = if route.destination.is_ipv6() { RT_SCOPE_UNIVERSE } else { scope };
    let mut request = Request::new(kind, flags);
    request.put(&[
        family(route.destination),
        route.prefix,
        0,
        0,
        0, // the table is in its attribute, which has room for more than 255
        RTPROT_STATIC,
        scope,
        route_kind,
        0,
        0,
        0,
        0,
    ]);
    request.attribute(RTA_DST, &octets(route.destination)).attribute(RTA_TABLE, &route.table.to_ne_bytes());
    if let RouteTarget::Interface { interface, gateway } = route.target {
        request.attribute(RTA_OIF, &interface.to_ne_bytes());
        if let Some(gateway) = gateway {
            request.attribute(RTA_GATEWAY, &octets(gateway));
        }
    }
    if let Some(source) = route.source {
        request.attribute(RTA_PREFSRC, &octets(source));
    }
    if let Some(metric) = route.metric {
        request.attribute(RTA_PRIORITY, &metric.to_ne_bytes());
    }
    request
}

fn route_to(reply: &Reply) -> Option<RouteTo> {
    let family = *reply.fixed(ROUTE_HEADER)?.first()?;
    let attributes = reply.attributes(ROUTE_HEADER);
    let find = |kind| attributes.get(kind).and_then(|octets| address(family, octets));
    Some(RouteTo { interface: attributes.get_u32(RTA_OIF)?, gateway: find(RTA_GATEWAY), source: find(RTA_PREFSRC) })
}

fn rule_request(kind: u16, flags: u16, rule: &Rule) -> Request {
    let family = if rule.ipv6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let from = if rule.unbound && !rule.ipv6 { Some((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 32)) } else { rule.from };
    let mut rule_flags = if rule.unless_mark.is_some() { FIB_RULE_INVERT } else { 0 };
    if rule.unbound && rule.ipv6 {
        rule_flags |= FIB_RULE_FIND_SADDR;
    }
    let length = |network: Option<(IpAddr, u8)>| network.map_or(0, |(_, length)| length);
    let action = match rule.action {
        RuleAction::Table(_) => FR_ACT_TO_TABLE,
        RuleAction::GoTo(_) => FR_ACT_GOTO,
        RuleAction::Next => FR_ACT_NOP,
        RuleAction::Blackhole => FR_ACT_BLACKHOLE,
    };
    let mut header = vec![family, length(rule.to), length(from), 0, 0, 0, 0, action];
    header.extend(rule_flags.to_ne_bytes());
    let mut request = Request::new(kind, flags);
    request.put(&header).attribute(FRA_PRIORITY, &rule.preference.to_ne_bytes());
    match rule.action {
        RuleAction::Table(table) => request.attribute(FRA_TABLE, &table.to_ne_bytes()),
        RuleAction::GoTo(preference) => request.attribute(FRA_GOTO, &preference.to_ne_bytes()),
        RuleAction::Next | RuleAction::Blackhole => &mut request,
    };
    // A network of all addresses is none for the kernel.
    for (kind, network) in [(FRA_DST, rule.to), (FRA_SRC, from)] {
        if let Some((network, _)) = network.filter(|(_, length)| *length != 0) {
            request.attribute(kind, &octets(network));
        }
    }
    if rule.protocol != 0 {
        request.attribute(FRA_IP_PROTO, &[rule.protocol]);
    }
    for (kind, ports) in [(FRA_SPORT_RANGE, rule.from_ports), (FRA_DPORT_RANGE, rule.to_ports)] {
        if let Some((first, last)) = ports {
            request.attribute(kind, &[first.to_ne_bytes(), last.to_ne_bytes()].concat());
        }
    }
    if let Some(name) = rule.input {
        request.attribute(FRA_IIFNAME, &[name.as_str().as_bytes(), &[0]].concat());
    }
    if let Some(mark) = rule.unless_mark.or(rule.mark) {
        request.attribute(FRA_FWMARK, &mark.to_ne_bytes()).attribute(FRA_FWMASK, &u32::MAX.to_ne_bytes());
    }
    request
}
