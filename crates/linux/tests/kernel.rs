//! Namespaces, links, routes and TUN devices on a real kernel, as root. Elsewhere each test says SKIP.

mod common;

use common::{install, namespace, skip};
use linux::{
    LocalAddress, Namespace, NamespaceError, PacketFilter, ROUTING_TABLE, RawEsp, Route, RouteTarget, Routes, Rule,
    SOCKET_MARK, SocketOptions, StrayEsp, StrayPacket, TRAP_TABLE, Tun, TunError, Udp, tunnel_routes,
};
use model::dataplane::{InterfaceName, OuterFields};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

fn tun() -> Option<Tun> {
    match Tun::open("test%d") {
        Ok(tun) => Some(tun),
        Err(error @ (TunError::NoDevice | TunError::NoDriver | TunError::NotPermitted { .. })) => {
            skip(error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn virtual_addresses_are_told_from_others() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let mut routes = Routes::open().unwrap();
            let lo = Routes::interface_index("lo").unwrap();
            routes.set_link(lo, Some(true), None).unwrap();
            let at = |text: &str, prefix| LocalAddress { interface: lo, address: text.parse().unwrap(), prefix };
            let (ours, six, other) = (at("10.3.0.1", 32), at("2001:db8::3", 128), at("10.1.0.1", 32));
            routes.add_virtual_address(&ours).unwrap();
            routes.add_virtual_address(&six).unwrap();
            routes.add_address(&other).unwrap();
            let marked = routes.virtual_addresses().unwrap();
            if marked.is_empty() {
                return skip("this kernel does not keep who made an address".to_string());
            }
            assert_eq!(marked, [ours, six]);
            routes.delete_address(&ours).unwrap();
            assert_eq!(routes.virtual_addresses().unwrap(), [six]);
            assert!(routes.addresses().unwrap().contains(&other));
        })
        .unwrap();
}

#[test]
fn an_address_that_went_with_its_interface_is_no_trouble() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let Some(tun) = tun() else { return };
            let mut routes = Routes::open().unwrap();
            let interface = tun.index().unwrap();
            routes.set_link(interface, Some(true), None).unwrap();
            let at = |text: &str, prefix| LocalAddress { interface, address: text.parse().unwrap(), prefix };
            for address in [at("10.3.0.1", 32), at("2001:db8::3", 128)] {
                routes.add_virtual_address(&address).unwrap();
                routes.delete_address(&address).unwrap();
                routes.delete_address(&address).unwrap(); // the interface has lost it meanwhile
                routes.add_virtual_address(&address).unwrap();
            }
            routes.delete_link(interface).unwrap();
            for address in [at("10.3.0.1", 32), at("2001:db8::3", 128)] {
                routes.delete_address(&address).unwrap();
            }
        })
        .unwrap();
}

/// The filter in the kernel, in both families: it needs no ESP there.
#[test]
fn esp_is_shown_bare_and_in_udp_from_those_who_are_asked_for() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let mut routes = Routes::open().unwrap();
            routes.set_link(Routes::interface_index("lo").unwrap(), Some(true), None).unwrap();
            for (ipv6, host, other) in [(false, "127.0.0.1", "127.0.0.2"), (true, "::1", "::2")] {
                let [host, other]: [IpAddr; 2] = [host.parse().unwrap(), other.parse().unwrap()];
                let receiver = UdpSocket::bind(SocketAddr::new(host, 0)).unwrap();
                receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
                let nat_port = receiver.local_addr().unwrap().port();
                let mut taps = [host, other].map(|sender| StrayEsp::open(ipv6, nat_port, &[sender]).unwrap());
                let raw = RawEsp::open(ipv6, &SocketOptions::default()).unwrap();
                raw.send(
                    host,
                    SocketAddr::new(host, 0),
                    &[0xc0, 0xff, 0xee, 1, 0, 0, 0, 1, 9, 9],
                    OuterFields::default(),
                )
                .unwrap();
                let sender = UdpSocket::bind(SocketAddr::new(host, 0)).unwrap();
                for datagram in [&[0, 0, 0, 0, 1, 2, 3, 4][..], &[0xff], &[0xc0, 0xff, 0xee, 2, 0, 0, 0, 1]] {
                    sender.send_to(datagram, receiver.local_addr().unwrap()).unwrap();
                    receiver.recv_from(&mut [0; 100]).unwrap(); // the tap was before it
                }
                let told = |spi, port| StrayPacket { spi, source: SocketAddr::new(host, port), destination: host };
                let port = sender.local_addr().unwrap().port();
                assert_eq!(taps[0].read(), [told(0xc0ff_ee01, 0), told(0xc0ff_ee02, port)]);
                assert_eq!(taps[1].read(), []);
            }
        })
        .unwrap();
}

#[test]
fn a_tunnel_is_routed_and_our_own_packets_are_not() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let Some(tun) = tun() else { return };
            assert_eq!(tun.name(), "test0");
            let index = tun.index().unwrap();
            assert_eq!(Routes::interface_name(index).unwrap(), "test0");
            let mut routes = Routes::open().unwrap();
            let lo = Routes::interface_index("lo").unwrap();
            routes.set_link(lo, Some(true), None).unwrap();
            let inner = LocalAddress { interface: lo, address: "10.1.0.1".parse().unwrap(), prefix: 32 };
            let inner6 = LocalAddress { interface: lo, address: "2001:db8:1::1".parse().unwrap(), prefix: 128 };
            routes.add_address(&inner).unwrap();
            routes.add_address(&inner6).unwrap();
            let addresses = routes.addresses().unwrap();
            assert!(addresses.contains(&inner) && addresses.contains(&inner6), "{addresses:?}");
            routes.set_link(index, Some(true), Some(1400)).unwrap();
            let mtu = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{}/mtu", tun.name()));
            assert!(mtu.is_err() || mtu.unwrap().trim() == "1400");

            let mut child = install(1);
            child.local_ts = ["10.1.0.0/16", "2001:db8:1::/48"].map(|ts| ts.parse().unwrap()).to_vec();
            child.remote_ts = ["0.0.0.0/0", "::/0"].map(|ts| ts.parse().unwrap()).to_vec();
            let target = RouteTarget::Interface { interface: index, gateway: None };
            let tunnel = tunnel_routes(&child.local_ts, &child.remote_ts, &addresses, target, true);
            assert_eq!(tunnel.len(), 2);
            for route in &tunnel {
                routes.add_route(route).unwrap();
                routes.add_route(route).unwrap();
            }
            for ipv6 in [false, true] {
                routes.add_rule(&Rule::tunnels(ipv6)).unwrap();
                routes.add_rule(&Rule::tunnels(ipv6)).unwrap();
            }
            for (peer, source) in [("203.0.113.9", inner.address), ("2001:db8:9::9", inner6.address)] {
                let peer: IpAddr = peer.parse().unwrap();
                let found = routes.route_to(peer, None, None).unwrap();
                assert_eq!((found.interface, found.source), (index, Some(source)));
                // Marked packets take the real route; here there is none.
                assert!(routes.route_to(peer, None, Some(SOCKET_MARK)).is_err());
            }

            // What is led around the tunnels does not consult their table; other protocols and hosts do.
            let one = |text: &str| vec![text.parse::<model::TrafficSelector>().unwrap()];
            let around = Rule::around_tunnels(&one("0.0.0.0/0[udp]"), &one("203.0.113.0/29[udp/9]"), &[]);
            let around6 = Rule::around_tunnels(&one("::/0"), &one("2001:db8:9::9"), &[]);
            for rule in around.iter().chain(&around6) {
                routes.add_rule(rule).unwrap();
                routes.add_rule(rule).unwrap();
            }
            assert!(routes.route_to("2001:db8:9::9".parse().unwrap(), None, None).is_err());
            assert!(routes.route_to("203.0.113.1".parse().unwrap(), None, None).is_ok(), "it is not UDP");
            let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            assert!(probe.send_to(b"around", "203.0.113.1:9").is_err());
            assert!(probe.send_to(b"through", "203.0.113.9:9").is_ok());
            for rule in around.iter().chain(&around6) {
                routes.delete_rule(rule).unwrap();
            }
            assert!(probe.send_to(b"through", "203.0.113.1:9").is_ok());
            // Sockets that are bound to no address are led around where one of this host's addresses is, and only there.
            for (from, to, to_one) in [
                ("10.1.0.0/16", "203.0.113.0/29", "203.0.113.1"),
                ("2001:db8:1::/48", "2001:db8:9::9", "2001:db8:9::9"),
            ] {
                let to_one: IpAddr = to_one.parse().unwrap();
                let elsewhere = Rule::around_tunnels(&one(from), &one(to), &[]);
                let here = Rule::around_tunnels(&one(from), &one(to), &addresses);
                for (rules, passes) in [(&elsewhere, false), (&here, true)] {
                    for rule in rules {
                        routes.add_rule(rule).unwrap();
                    }
                    assert_eq!(routes.route_to(to_one, None, None).is_err(), passes, "{from} {to} {rules:?}");
                    for rule in rules {
                        routes.delete_rule(rule).unwrap();
                    }
                    assert!(routes.route_to(to_one, None, None).is_ok());
                }
            }
            let mut buffer = [0; 2000];
            while tun.recv(&mut buffer).is_ok() {}

            // A packet to the tunnel comes out of the device, one written into it is received.
            let options = SocketOptions::default();
            let socket = Udp::bind("0.0.0.0:7777".parse().unwrap(), &options).unwrap();
            socket.send("0.0.0.0".parse().unwrap(), "203.0.113.9:9".parse().unwrap(), b"through").unwrap();
            let mut buffer = [0; 2000];
            let packet = loop {
                let length = tun.recv(&mut buffer).unwrap();
                if buffer[0] >> 4 == 4 {
                    break &buffer[..length]; // not the kernel's own IPv6 router solicitations
                }
            };
            assert_eq!(packet[12..20], [10, 1, 0, 1, 203, 0, 113, 9]);
            assert_eq!(&packet[28..], b"through");
            assert_eq!(tun.send(&[0; 3]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            let marked = SocketOptions { mark: Some(SOCKET_MARK), ..options };
            let own = Udp::bind("0.0.0.0:7778".parse().unwrap(), &marked).unwrap();
            let refused = own.send("0.0.0.0".parse().unwrap(), "203.0.113.9:9".parse().unwrap(), b"around");
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc_enetunreach()));

            for route in &tunnel {
                routes.delete_route(route).unwrap();
            }
            routes.delete_rule(&Rule::tunnels(false)).unwrap();
            assert!(routes.delete_rule(&Rule::tunnels(false)).is_err());
            assert!(routes.route_to("203.0.113.9".parse().unwrap(), None, None).is_err());
            routes.delete_address(&inner).unwrap();
        })
        .unwrap();
}

#[test]
fn rules_capture_for_any_peer_and_discard_what_no_tunnel_has() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let (mut routes, tun) = (Routes::open().unwrap(), Tun::open("rules%d").unwrap());
            let device = InterfaceName::new(tun.name()).unwrap();
            let index = tun.index().unwrap();
            let lo = Routes::interface_index("lo").unwrap();
            routes.set_link(lo, Some(true), None).unwrap();
            routes.set_link(index, Some(true), None).unwrap();
            let own = LocalAddress { interface: lo, address: "192.0.2.1".parse().unwrap(), prefix: 32 };
            routes.add_address(&own).unwrap();
            routes.add_rule(&Rule::tunnels(false)).unwrap();
            let ts = |text: &str| vec![text.parse::<model::TrafficSelector>().unwrap()];
            let to = |interface, destination: &str, prefix, table| Route {
                destination: destination.parse().unwrap(),
                prefix,
                target: RouteTarget::Interface { interface, gateway: None },
                source: None,
                table,
                metric: None,
            };
            // The ordinary way is by lo, one network has a tunnel, and traps lead to the device.
            routes.add_route(&to(lo, "0.0.0.0", 0, 254)).unwrap();
            routes.add_route(&to(index, "203.0.113.0", 25, ROUTING_TABLE)).unwrap();
            routes.add_route(&to(index, "0.0.0.0", 0, TRAP_TABLE)).unwrap();
            let mut way = |destination: &str, source: Option<&str>, mark| {
                let source = source.map(|source| source.parse().unwrap());
                routes.route_to(destination.parse().unwrap(), source, mark).map(|found| found.interface).ok()
            };
            assert_eq!(way("198.51.100.9", None, None), Some(lo));
            let addresses = [own];
            let captures = Rule::captures(&ts("192.0.2.1"), &ts("198.51.100.0/24"), &addresses);
            let discards = Rule::discards(&ts("192.0.2.1"), &ts("203.0.113.0/24"), &addresses, device);
            let mut rules = Routes::open().unwrap();
            // The ways around and behind all are the same for both.
            let mut all: Vec<Rule> = captures.clone();
            all.extend(discards.iter().filter(|rule| !captures.contains(rule)));
            assert!(all.len() < captures.len() + discards.len());
            for rule in captures.iter().chain(&discards) {
                rules.add_rule(rule).unwrap();
            }
            for source in [None, Some("192.0.2.1")] {
                assert_eq!(way("198.51.100.9", source, None), Some(index), "captured");
                assert_eq!(way("198.51.101.9", source, None), Some(lo), "another network");
                assert_eq!(way("203.0.113.9", source, None), Some(index), "the tunnel has it");
                assert_eq!(way("203.0.113.200", source, None), None, "discarded");
            }
            for destination in ["198.51.100.9", "203.0.113.200"] {
                assert_eq!(way(destination, None, Some(SOCKET_MARK)), Some(lo), "our own sockets");
            }
            // What came out of the tunnel is not discarded on its way to others.
            assert!(discards.iter().any(|rule| rule.input == Some(device)));
            for rule in &all {
                rules.delete_rule(rule).unwrap();
            }
            assert_eq!(way("198.51.100.9", None, None), Some(lo));
            assert_eq!(way("203.0.113.200", None, None), Some(lo));
        })
        .unwrap();
}

fn libc_enetunreach() -> i32 {
    101 // ENETUNREACH
}

#[test]
fn routes_of_every_kind() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let mut routes = Routes::open().unwrap();
            let lo = Routes::interface_index("lo").unwrap();
            routes.set_link(lo, Some(true), None).unwrap();
            for target in
                [RouteTarget::Throw, RouteTarget::Blackhole, RouteTarget::Interface { interface: lo, gateway: None }]
            {
                for (destination, prefix) in [("10.9.0.0", 16), ("2001:db8:9::", 48)] {
                    let route = Route {
                        destination: destination.parse().unwrap(),
                        prefix,
                        target,
                        source: None,
                        table: ROUTING_TABLE,
                        metric: Some(9),
                    };
                    routes.add_route(&route).unwrap();
                    routes.delete_route(&route).unwrap();
                    assert!(routes.delete_route(&route).is_err(), "{target:?}");
                }
            }
        })
        .unwrap();
}

#[test]
fn a_named_namespace_comes_and_goes() {
    let name = format!("shrike-test-{}", std::process::id());
    let namespace = match Namespace::create(&name) {
        Err(error @ NamespaceError::NotPermitted { .. }) => return skip(error),
        other => other.unwrap(),
    };
    assert!(matches!(Namespace::create(&name), Err(NamespaceError::Exists { .. })));
    let id = |namespace: &Namespace| namespace.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
    let other = Namespace::existing(&name).unwrap();
    assert_eq!(id(&namespace), id(&other));
    assert_ne!(id(&namespace), std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    drop(namespace);
    assert!(Namespace::existing(&name).is_err());
}

#[test]
fn addresses_of_an_interface_that_is_down_are_not_usable() {
    let (Some(namespace), Some(other)) = (namespace(), namespace()) else { return };
    namespace
        .run(|| {
            let mut routes = Routes::open().unwrap();
            if let Err(error) = routes.add_veth("v0", "v0", Some(std::os::fd::AsFd::as_fd(&other))) {
                return skip(format!("no virtual Ethernet: {error}"));
            }
            let interface = Routes::interface_index("v0").unwrap();
            let own = LocalAddress { interface, address: "192.0.2.1".parse().unwrap(), prefix: 24 };
            routes.add_address(&own).unwrap();
            assert!(!routes.usable_addresses().unwrap().contains(&own), "not up yet");
            routes.set_link(interface, Some(true), None).unwrap();
            assert!(routes.usable_addresses().unwrap().contains(&own));
            routes.set_link(interface, Some(false), None).unwrap();
            assert!(routes.addresses().unwrap().contains(&own), "the kernel keeps it");
            assert!(!routes.usable_addresses().unwrap().contains(&own));
        })
        .unwrap();
}

/// What comes in for this host itself is before all rules of routing.
#[test]
fn a_filter_drops_what_comes_in_and_goes_with_its_socket() {
    let (Some(left), Some(right)) = (namespace(), namespace()) else { return };
    if let Err(error) =
        left.run(|| Routes::open().unwrap().add_veth("v0", "v0", Some(std::os::fd::AsFd::as_fd(&right)))).unwrap()
    {
        return skip(error);
    }
    let addressed = |n: u8| {
        let mut routes = Routes::open().unwrap();
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/v0/accept_dad", "0");
        let interface = Routes::interface_index("v0").unwrap();
        routes.set_link(interface, Some(true), None).unwrap();
        routes.set_link(Routes::interface_index("lo").unwrap(), Some(true), None).unwrap();
        for (text, prefix) in [(format!("192.0.2.{n}"), 24), (format!("2001:db8::{n}"), 64)] {
            routes.add_address(&LocalAddress { interface, address: text.parse().unwrap(), prefix }).unwrap();
        }
    };
    let bound = |address: &str, port: u16| {
        Udp::bind((address.parse::<IpAddr>().unwrap(), port).into(), &SocketOptions::default()).unwrap()
    };
    left.run(|| addressed(1)).unwrap();
    right.run(|| addressed(2)).unwrap();
    let from4 = left.run(|| bound("192.0.2.1", 9000)).unwrap();
    let from6 = left.run(|| bound("2001:db8::1", 9000)).unwrap();
    right
        .run(move || {
            let device = InterfaceName::new("test9").unwrap();
            let mut filter = match PacketFilter::open(device) {
                Ok(filter) => filter,
                Err(error) => return skip(error),
            };
            let ports = [500, 7000, 7001];
            let sockets: Vec<_> = ["192.0.2.2", "2001:db8::2"]
                .iter()
                .flat_map(|address| ports.map(|port| bound(address, port)))
                .collect();
            // Which of them get something. What is to come is waited for: another processor may have it still.
            let arrive = |expected: (bool, bool, bool, bool, bool, bool)| {
                for to in &sockets {
                    let from = if to.local_addr().is_ipv4() { &from4 } else { &from6 };
                    from.send(from.local_addr().ip(), to.local_addr(), b"in").unwrap();
                }
                // One to itself comes last, by the loopback.
                let own = bound("192.0.2.2", 7999);
                own.send("192.0.2.2".parse().unwrap(), own.local_addr(), b"own").unwrap();
                let got = |socket: &Udp| {
                    let mut batch = linux::RecvBatch::new(4, 100);
                    socket.recv_batch(&mut batch).is_ok_and(|count| count > 0)
                };
                let comes = |all: &mut dyn FnMut() -> bool| {
                    (0..300_000).any(|_| {
                        std::thread::yield_now();
                        all()
                    })
                };
                assert!(comes(&mut || got(&own)), "what the host sends to itself is nobody's business");
                let (a, b, c, d, e, f) = expected;
                let mut arrived = [false; 6];
                comes(&mut || {
                    arrived.iter_mut().zip(&sockets).for_each(|(arrived, socket)| *arrived |= got(socket));
                    arrived == [a, b, c, d, e, f]
                });
                sockets.iter().zip(arrived).map(|(socket, arrived)| arrived | got(socket)).collect::<Vec<_>>()
            };
            let ts = |text: &str| text.parse::<model::TrafficSelector>().unwrap();
            let all = (true, true, true, true, true, true);
            let six = |got: Vec<bool>| match got[..] {
                [a, b, c, d, e, f] => (a, b, c, d, e, f),
                _ => panic!("{got:?}"),
            };
            assert_eq!(six(arrive(all)), all); // and the neighbours get to know each other
            let everything = [(ts("0.0.0.0/0"), ts("0.0.0.0/0")), (ts("::/0"), ts("::/0"))];
            for (ike, passed, dropped, expected) in [
                (&[500][..], vec![], everything.to_vec(), (true, false, false, true, false, false)),
                (&[], vec![], everything[..1].to_vec(), (false, false, false, true, true, true)),
                (
                    &[],
                    vec![(ts("192.0.2.1[udp/9000]"), ts("192.0.2.0/30[udp/7001]"))],
                    everything.to_vec(),
                    (false, false, true, false, false, false),
                ),
                (
                    &[],
                    vec![],
                    vec![(ts("192.0.2.0-192.0.2.1"), ts("192.0.2.2[udp/7000-7001]")), (ts("::/0"), ts("::/0[tcp]"))],
                    (true, false, false, true, true, true),
                ),
                (&[], vec![], vec![(ts("192.0.2.0"), ts("0.0.0.0/0")), (ts("::/0"), ts("2001:db8::1"))], all),
                (&[], vec![], vec![(ts("0.0.0.0/0[udp/9001]"), ts("0.0.0.0/0"))], all),
                (&[], vec![], vec![], all),
            ] {
                filter.set(ike, &passed, &dropped).unwrap();
                assert_eq!(six(arrive(expected)), expected, "{ike:?} {passed:?} {dropped:?}");
            }
            filter.set(&[], &[], &everything).unwrap();
            // Its table is its own, and goes with it.
            assert!(PacketFilter::open(device).is_err());
            let none = (false, false, false, false, false, false);
            assert_eq!(six(arrive(none)), none);
            drop(filter);
            assert_eq!(six(arrive(all)), all);
        })
        .unwrap();
}
