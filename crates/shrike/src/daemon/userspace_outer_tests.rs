//! The outer IP header on a wire between two hosts, and the packet that comes out behind it.

use super::super::sockets::Options;
use super::*;
use linux::{LocalAddress, Namespace, Transmit, Udp};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use model::dataplane::{CopyDscp, HeaderFields, OuterFields};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

const T0: Instant = Instant::from_nanos(1_000_000_000);
const PORT: u16 = 7000;

/// Expedited Forwarding (RFC 3246) and AF11 (RFC 2597), as they stand in the octet; and ECN's code points.
const EF: u8 = 0xb8;
const AF11: u8 = 0x28;
const ECT_0: u8 = 2;
const CE: u8 = 3;

struct Host {
    plane: Userspace,
    sockets: Sockets,
    /// An application's.
    inside: Udp,
}

/// What a wire carried of a packet.
#[derive(Debug, PartialEq, Eq)]
struct Outer {
    traffic_class: u8,
    dont_fragment: bool,
    more_fragments: bool,
}

fn skip(reason: impl std::fmt::Display) {
    eprintln!("SKIP: {reason}");
    assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {reason}");
}

fn inner(n: u8) -> IpAddr {
    [10, n, 0, 1].into()
}

fn outer(n: u8, ipv6: bool) -> IpAddr {
    if ipv6 { [0x2001, 0xdb8, 9, 0, 0, 0, 0, n.into()].into() } else { [192, 0, 2, n].into() }
}

/// Gives the host its addresses and a data plane.
fn host(n: u8) -> Result<Host, String> {
    let mut routes = Routes::open().map_err(|e| e.to_string())?;
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/veth0/accept_dad", "0"); // else the address waits a second
    for (name, address, prefix) in [("lo", inner(n), 32), ("veth0", outer(n, false), 24), ("veth0", outer(n, true), 64)]
    {
        let interface = Routes::interface_index(name).map_err(|e| e.to_string())?;
        routes.set_link(interface, Some(true), None).map_err(|e| e.to_string())?;
        routes.add_address(&LocalAddress { interface, address, prefix }).map_err(|e| e.to_string())?;
    }
    let plane = Userspace::open([500, 4500], true)?;
    let options = Options { port: 500, nat_port: 4500, kernel_esp: false, mark: true };
    let sockets = Sockets::open(&options).map_err(|e| e.to_string())?;
    let inside = Udp::bind(SocketAddr::new(inner(n), PORT), &SocketOptions::default()).map_err(|e| e.to_string())?;
    Ok(Host { plane, sockets, inside })
}

/// What the wire carries to this host, with IP headers.
fn tap(ipv6: bool) -> io::Result<Socket> {
    let kind: u16 = if ipv6 { 0x86dd } else { 0x0800 };
    let tap = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(kind.to_be()))))?;
    tap.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(tap)
}

/// The outer header of the next packet between the two hosts.
fn carried(tap: &Socket) -> Outer {
    let mut buffer = [0; 2000];
    loop {
        let length = (&*tap).read(&mut buffer).expect("a packet on the wire");
        match &buffer[..length] {
            [0x45, class, _, _, _, _, flags, _, _, 17 | 50, _, _, 192, 0, 2, 1, ..] => {
                return Outer {
                    traffic_class: *class,
                    dont_fragment: flags & 0x40 != 0,
                    more_fragments: flags & 0x20 != 0,
                };
            }
            // UDP, ESP or a fragment of these; all else is about neighbours.
            [a, b, _, _, _, _, next @ (17 | 44 | 50), ..] if a >> 4 == 6 => {
                let traffic_class = a << 4 | b >> 4;
                return Outer { traffic_class, dont_fragment: false, more_fragments: *next == 44 };
            }
            _ => {}
        }
    }
}

fn wait(fd: RawFd) {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(1);
    poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
    assert!(!events.is_empty(), "something comes");
}

impl Host {
    /// An application sends, and the data plane with it.
    fn send(&mut self, octets: usize, outer: OuterFields) -> io::Result<()> {
        let (local, remote) = (inner(1), SocketAddr::new(inner(2), PORT));
        self.inside.send_batch(&[Transmit { local, remote, data: &vec![7; octets], outer }])?;
        wait(self.plane.tun.as_raw_fd());
        self.plane.read_tun(T0, &self.sockets);
        Ok(())
    }

    /// The data plane has what came.
    fn receive(&mut self, encapsulated: bool, ipv6: bool) {
        if encapsulated {
            let index = 2 + usize::from(ipv6);
            wait(self.sockets.descriptors().nth(index).unwrap());
            let plane = &mut self.plane;
            self.sockets.receive(index, |_, from, data| plane.esp_in_udp(T0, data, from.remote, from.traffic_class));
        } else {
            let index = usize::from(ipv6);
            wait(self.plane.raw[index].as_raw_fd());
            self.plane.read_raw(T0, index);
        }
    }

    /// The octet that an application sees.
    fn seen(&self) -> (usize, u8) {
        wait(self.inside.as_raw_fd());
        let mut batch = RecvBatch::new(1, 2000);
        self.inside.recv_batch(&mut batch).unwrap();
        let (received, data) = batch.iter().next().unwrap();
        (data.len(), received.traffic_class)
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.plane.drops().iter().find(|(name, _)| *name == reason).unwrap().1
    }

    fn install(&mut self, n: u8, header: HeaderFields, encapsulated: bool, ipv6: bool) {
        let (own, peer, port) = (n, 3 - n, if encapsulated { 4500 } else { 500 });
        let mut install = super::super::updown::install(None);
        (install.local, install.remote) =
            (SocketAddr::new(outer(own, ipv6), port), SocketAddr::new(outer(peer, ipv6), port));
        install.local_ts = vec![TrafficSelector::host(inner(own))];
        install.remote_ts = vec![TrafficSelector::host(inner(peer))];
        (install.encapsulated, install.header) = (encapsulated, header);
        self.plane.apply(T0, &Command::Delete { child: install.child }).unwrap();
        self.plane.apply(T0, &Command::Install(Box::new(install))).unwrap();
    }
}

/// Has `check` run in the first of two hosts with a wire between them.
fn between_hosts(check: impl FnOnce(&mut Host, &mut Host, &Namespace, &Namespace) + Send) {
    let pair = Namespace::anonymous().and_then(|a| Ok((a, Namespace::anonymous()?)));
    let (a, b) = match pair {
        Ok(pair) => pair,
        Err(error) => return skip(error),
    };
    let plug = || Routes::open().unwrap().add_veth("veth0", "veth0", Some(b.as_fd()));
    if let Err(error) = a.run(plug).unwrap() {
        return skip(error);
    }
    let made = a.run(|| host(1)).unwrap().and_then(|one| Ok((one, b.run(|| host(2)).unwrap()?)));
    let (mut one, mut two) = match made {
        Ok(made) => made,
        Err(error) => return skip(error),
    };
    a.run(|| check(&mut one, &mut two, &a, &b)).unwrap();
}

#[test]
fn the_outer_header_has_what_is_configured_and_so_has_the_packet_inside() {
    between_hosts(|one, two, _, b| {
        let of = |copy_df, copy_ecn, copy_dscp| HeaderFields { copy_df, copy_ecn, copy_dscp };
        for (encapsulated, ipv6) in [(false, false), (true, false), (false, true), (true, true)] {
            let tap = b.run(|| tap(ipv6)).unwrap().unwrap();
            for (fields, sent_df, class, dont_fragment) in [
                (HeaderFields::default(), true, EF | ECT_0, true),
                (HeaderFields::default(), false, EF | ECT_0, false),
                (of(false, true, CopyDscp::Out), true, EF | ECT_0, false),
                (of(true, false, CopyDscp::Yes), true, EF, true),
                (of(true, true, CopyDscp::In), true, ECT_0, true),
                (of(false, false, CopyDscp::No), true, 0, false),
            ] {
                let of = format!("{fields:?} encapsulated {encapsulated} ipv6 {ipv6}");
                one.install(1, fields, encapsulated, ipv6);
                two.install(2, fields, encapsulated, ipv6);
                one.send(100, OuterFields { traffic_class: EF | ECT_0, dont_fragment: sent_df }).unwrap();
                let expected =
                    Outer { traffic_class: class, dont_fragment: dont_fragment && !ipv6, more_fragments: false };
                assert_eq!(carried(&tap), expected, "{of}");
                two.receive(encapsulated, ipv6);
                // The class that came goes inside where that is wanted: here it is EF's or none.
                let dscp = if fields.copy_dscp.inbound() { class & !CE } else { EF };
                assert_eq!(two.seen(), (100, dscp | ECT_0), "{of}");
            }
            // Marked on the way: what knows of marks gets them, and what does not is dropped (RFC 6040 section 4.2).
            for (inside, fields, arrives) in [
                (EF | ECT_0, HeaderFields::default(), Some(EF | CE)),
                (EF | ECT_0, of(true, true, CopyDscp::Yes), Some(AF11 | CE)),
                (EF | ECT_0, of(true, false, CopyDscp::Out), Some(EF | ECT_0)),
                (EF, HeaderFields::default(), None),
            ] {
                one.install(1, fields, encapsulated, ipv6);
                two.install(2, fields, encapsulated, ipv6);
                let packet = {
                    let outer = OuterFields { traffic_class: inside, dont_fragment: false };
                    let (local, remote) = (inner(1), SocketAddr::new(inner(2), PORT));
                    one.inside.send_batch(&[Transmit { local, remote, data: &[7; 50], outer }]).unwrap();
                    wait(one.plane.tun.as_raw_fd());
                    let mut buffer = [0; 2000];
                    let length = one.plane.tun.recv(&mut buffer).unwrap();
                    buffer[..length].to_vec()
                };
                let sealed = one.plane.engine.seal(T0, &packet, &mut one.plane.sealed);
                let Outbound::Send { child, local, remote, outer, .. } = sealed else { panic!("{sealed:?}") };
                let outer = OuterFields { traffic_class: AF11 | CE, ..outer };
                let marked = Outbound::Send { child, local, remote, encapsulated, outer };
                let before = two.dropped("esp-congestion");
                one.plane.send(T0, marked, &packet, &one.sockets);
                two.receive(encapsulated, ipv6);
                assert_eq!(two.dropped("esp-congestion") - before, u64::from(arrives.is_none()));
                if let Some(class) = arrives {
                    assert_eq!(two.seen(), (50, class), "{fields:?}");
                }
            }
        }
    });
}

/// RFC 4301 section 8.2.1: whoever sent it hears how much fits, and what may be fragmented is.
#[test]
fn the_sender_of_what_is_too_long_for_the_path_hears_how_much_fits() {
    between_hosts(|one, two, _, b| {
        let interface = Routes::interface_index("veth0").unwrap();
        Routes::open().unwrap().set_link(interface, None, Some(1300)).unwrap();
        let whole = OuterFields { traffic_class: 0, dont_fragment: true };
        // AES-GCM-16 in ESP: SPI and sequence number 8, IV 8, padding to 4 with the trailer of 2, ICV 16. IP 20 or 40, UDP 8.
        for (encapsulated, ipv6, fits) in
            [(false, false, 1246), (true, false, 1238), (false, true, 1226), (true, true, 1218)]
        {
            one.install(1, HeaderFields::default(), encapsulated, ipv6);
            two.install(2, HeaderFields::default(), encapsulated, ipv6);
            let tap = b.run(|| tap(ipv6)).unwrap().unwrap();
            // As long as the kernel does not know better it lets the application send as much as the device takes.
            let told = one.dropped("esp-too-big");
            if one.send(1320, whole).is_ok() {
                assert_eq!(one.dropped("esp-too-big"), told + 1);
            }
            assert_eq!(linux::path_mtu(inner(1), inner(2), None).unwrap(), fits, "{encapsulated} {ipv6}");
            let error = one.inside.send_batch(&[Transmit {
                local: inner(1),
                remote: SocketAddr::new(inner(2), PORT),
                data: &vec![7; fits - 27],
                outer: whole,
            }]);
            assert_eq!(linux::send_trouble(&error.unwrap_err()), Some(SendTrouble::TooLong));
            one.send(fits - 28, whole).unwrap();
            two.receive(encapsulated, ipv6);
            assert_eq!(two.seen().0, fits - 28, "all that fits");
            assert!(!carried(&tap).more_fragments);
        }
        assert_eq!(
            (one.dropped("send-error"), one.plane.send_errors().len()),
            (0, 0),
            "it is no trouble of the peer's"
        );
        assert!(one.sockets.take_reports().is_empty());
        // Without the DF bit outside the host cuts it.
        let fields = HeaderFields { copy_df: false, ..HeaderFields::default() };
        one.install(1, fields, false, false);
        two.install(2, fields, false, false);
        let tap = b.run(|| tap(false)).unwrap().unwrap();
        let told = one.dropped("esp-too-big");
        let mut packet = vec![0x45, 0, 0x05, 0x78, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1];
        packet.resize(1400, 0);
        let outbound = one.plane.engine.seal(T0, &packet, &mut one.plane.sealed);
        one.plane.send(T0, outbound, &packet, &one.sockets);
        assert_eq!(carried(&tap), Outer { traffic_class: 0, dont_fragment: false, more_fragments: true });
        two.receive(false, false);
        assert_eq!((one.dropped("esp-too-big"), two.plane.engine.counters(T0, SaId(1)).unwrap().packets_in), (told, 1));
    });
}

/// The peer replaces a Child SA: what is sent leaves when that is done, and not before.
#[test]
fn what_waits_leaves_when_it_is_released() {
    between_hosts(|one, two, _, _| {
        one.install(1, HeaderFields::default(), false, false);
        two.install(2, HeaderFields::default(), false, false);
        let child = SaId(1);
        one.plane.apply(T0, &Command::Hold { child }).unwrap();
        one.send(100, OuterFields::default()).unwrap();
        one.plane.send_held(T0, &one.sockets);
        assert_eq!(one.plane.counters(T0, child).unwrap().packets_out, 0);
        one.plane.apply(T0, &Command::Release { child }).unwrap();
        one.plane.send_held(T0, &one.sockets);
        two.receive(false, false);
        assert_eq!(two.seen().0, 100);
    });
}

/// A shunt that drops means what comes in for this host, too, but for what another one passes and what comes by a tunnel.
#[test]
fn what_a_shunt_drops_does_not_come_in() {
    between_hosts(|one, two, a, b| {
        let bound = |n| Udp::bind(SocketAddr::new(outer(n, false), PORT), &SocketOptions::default()).unwrap();
        let (from, to) = (a.run(|| bound(1)).unwrap(), b.run(|| bound(2)).unwrap());
        let comes_in = |two: &mut Host| {
            from.send(outer(1, false), to.local_addr(), b"in the clear").unwrap();
            // IKE comes in at any time, and what was sent before it has come by then.
            from.send(outer(1, false), SocketAddr::new(outer(2, false), 500), b"IKE").unwrap();
            wait(two.sockets.descriptors().next().unwrap());
            two.sockets.receive(0, |_, _, _| {});
            to.recv_batch(&mut RecvBatch::new(2, 100)).is_ok()
        };
        let shunt = |number: u32, action| {
            Command::Shunt(Box::new(model::dataplane::ShuntInstall {
                shunt: SaId(number),
                connection: "gw".into(),
                name: format!("shunt-{number}"),
                action,
                local_ts: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
                remote_ts: vec!["192.0.2.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
                priority: None,
                binding: Binding::default(),
            }))
        };
        assert!(comes_in(two));
        if let Err(error) = b.run(|| PacketFilter::open(InterfaceName::new("probe").unwrap())).unwrap() {
            return skip(error);
        }
        let apply = |two: &mut Host, command: Command| b.run(|| two.plane.apply(T0, &command)).unwrap().unwrap();
        apply(two, shunt(8, ShuntAction::Drop));
        assert!(!comes_in(two));
        apply(two, shunt(9, ShuntAction::Pass));
        assert!(comes_in(two));
        apply(two, Command::RemoveShunt { shunt: SaId(9) });
        assert!(!comes_in(two));
        // Of ICMP only what is about our own packets' length comes in.
        let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        for (protocol, port, says, known) in [(17, 9u16, 900u16, 1500), (50, 9, 1000, 1000), (17, 4500, 800, 800)] {
            let mut told = vec![3, 4, 0, 0, 0, 0, (says >> 8) as u8, says as u8];
            told.extend([0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
            told.extend([(port >> 8) as u8, port as u8, 0x11, 0x94, 0, 80, 0, 0]);
            let sum: u32 = told.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            told[2..4].copy_from_slice(&sum.to_be_bytes());
            icmp.send_to(&told, &SocketAddr::new(outer(2, false), 0).into()).unwrap();
            assert!(!comes_in(two));
            let mtu = || linux::path_mtu(outer(2, false), outer(1, false), Some(SOCKET_MARK)).unwrap();
            assert_eq!(b.run(mtu).unwrap(), known, "protocol {protocol}, port {port}");
        }
        // What an SA carries is not in the clear: ESP comes in, and so does what was in it.
        for encapsulated in [false, true] {
            one.install(1, HeaderFields::default(), encapsulated, false);
            two.install(2, HeaderFields::default(), encapsulated, false);
            one.send(100, OuterFields::default()).unwrap();
            two.receive(encapsulated, false);
            assert_eq!(two.seen(), (100, 0));
        }
        apply(two, Command::RemoveShunt { shunt: SaId(8) });
        assert!(two.plane.filter.is_none() && comes_in(two));
    });
}
