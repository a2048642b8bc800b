//! The XFRM data plane on a kernel that has ESP. Elsewhere each test says SKIP.

mod common;

use common::{install, namespace, skip};
use linux::{
    Acquire, EarlyPackets, LocalAddress, Namespace, RawEsp, Route, RouteTarget, Routes, SocketOptions, StrayEsp,
    StrayPacket, Tun, Udp, WhyNot, Xfrm, XfrmError, XfrmEvent, xfrm_statistics,
};
use model::dataplane::{
    Binding, ChildInstall, Command, CopyDscp, EspSa, HeaderFields, InterfaceName, Mark, Mode, PlaneEvent, TfcPadding,
    TrapInstall,
};
use model::{Encryption, PlaneFault, SaId};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::Secret;
use wire::registry::{EncryptionId, IntegrityId};

/// A namespace on a kernel with ESP, or `None` (said aloud).
fn kernel_with_esp() -> Option<Namespace> {
    let namespace = namespace()?;
    match namespace.run(|| Xfrm::probe(false)).unwrap() {
        Ok(()) => Some(namespace),
        Err(reason @ (WhyNot::NoXfrm | WhyNot::NoEsp { .. } | WhyNot::NoAlgorithm | WhyNot::NotPermitted)) => {
            skip(reason);
            None
        }
        Err(reason) => panic!("{reason}"),
    }
}

fn apply_install(xfrm: &mut Xfrm, install: ChildInstall) {
    if let Err(error) = xfrm.apply(&Command::Install(Box::new(install.clone()))) {
        panic!("{:?}: {error}", install.inbound.encryption);
    }
}

#[test]
fn probing_leaves_nothing_behind() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            assert_eq!(Xfrm::open().unwrap().count().unwrap(), (0, 0));
            Xfrm::probe(true).unwrap();
            assert_eq!(Xfrm::open().unwrap().count().unwrap(), (0, 0));
        })
        .unwrap();
}

#[test]
fn installed_and_gone() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            for esn in [false, true] {
                for replay_window in [0, 32, 64, 1024, 4096] {
                    for encapsulated in [false, true] {
                        apply_install(&mut xfrm, ChildInstall { esn, replay_window, encapsulated, ..install(1) });
                        assert_eq!(xfrm.count().unwrap(), (2, 3));
                        xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
                        assert_eq!(xfrm.count().unwrap(), (0, 0));
                    }
                }
            }
            // Both families, a range and ports; and nothing is set if the operator sets policies.
            let mut wide = install(2);
            wide.local_ts = ["10.1.0.0/16", "2001:db8:1::/48"].map(|ts| ts.parse().unwrap()).to_vec();
            wide.remote_ts = ["10.2.0.1-10.2.0.2", "2001:db8:2::/48[tcp/80-81]"].map(|ts| ts.parse().unwrap()).to_vec();
            apply_install(&mut xfrm, wide.clone());
            assert_eq!(xfrm.count().unwrap(), (2, 9));
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            apply_install(&mut xfrm, ChildInstall { policies: false, ..wide });
            assert_eq!(xfrm.count().unwrap(), (2, 0));
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            for tfc_padding in [TfcPadding::To(1200), TfcPadding::Mtu] {
                apply_install(&mut xfrm, ChildInstall { tfc_padding, ..install(5) });
                assert_eq!(xfrm.count().unwrap(), (2, 3));
                xfrm.apply(&Command::Delete { child: SaId(5) }).unwrap();
            }
            // Transport mode has no forwarding.
            let mut transport = ChildInstall { mode: Mode::Transport, ..install(3) };
            transport.local_ts = vec!["192.0.2.1".parse().unwrap()];
            transport.remote_ts = vec!["192.0.2.2".parse().unwrap()];
            apply_install(&mut xfrm, transport);
            assert_eq!(xfrm.count().unwrap(), (2, 2));
            xfrm.apply(&Command::Delete { child: SaId(3) }).unwrap();
            // IPv6 outside, IPv4 inside.
            let mut six = install(4);
            (six.local, six.remote) = ("[2001:db8::1]:500".parse().unwrap(), "[2001:db8::2]:500".parse().unwrap());
            apply_install(&mut xfrm, six);
            assert_eq!(xfrm.count().unwrap(), (2, 3));
            xfrm.apply(&Command::Delete { child: SaId(4) }).unwrap();
            xfrm.apply(&Command::Delete { child: SaId(4) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 0));
        })
        .unwrap();
}

#[test]
fn an_interface_what_is_forwarded_and_the_outer_header() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            let lo = InterfaceName::new("lo");
            let mut child = install(1);
            child.binding = Binding { interface: lo, forward_out: true, ..Binding::default() };
            child.header = HeaderFields { copy_df: false, copy_ecn: false, copy_dscp: CopyDscp::In };
            apply_install(&mut xfrm, child.clone());
            let mut other = install(2);
            other.remote_ts = vec!["10.3.0.0/16".parse().unwrap()];
            apply_install(&mut xfrm, other);
            assert_eq!(xfrm.count().unwrap(), (4, 4 + 3), "outbound, inbound and forwarded in both directions");
            let listed = std::process::Command::new("ip").args(["xfrm", "policy"]).output().unwrap();
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let of = |dir: &str| listed.split("src ").filter(|one| one.contains("dev lo") && one.contains(dir)).count();
            assert_eq!((of("dir out"), of("dir fwd"), of("dir in")), (1, 1, 0), "what leaves: {listed}");
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (2, 3));
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            // A tunnel in the other direction has the policy that would let packets into this one: it stays its own.
            let mut back = install(3);
            (back.local_ts, back.remote_ts) = (child.remote_ts.clone(), child.local_ts.clone());
            child.binding.interface = None;
            apply_install(&mut xfrm, back);
            apply_install(&mut xfrm, child.clone());
            assert_eq!(xfrm.count().unwrap(), (4, 6));
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (2, 3));
            // When it goes first, this one gets the policy at once.
            apply_install(&mut xfrm, child.clone());
            xfrm.apply(&Command::Delete { child: SaId(3) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (2, 4));
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            child.binding.interface = InterfaceName::new("nosuch0");
            match xfrm.apply(&Command::Install(Box::new(child))) {
                Err(error @ XfrmError::Interface(_)) => assert!(error.to_string().contains("nosuch0"), "{error}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(xfrm.count().unwrap(), (0, 0));
        })
        .unwrap();
}

#[test]
fn what_a_killed_run_left_is_named_and_own_things_are_not() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let mut killed = Xfrm::open().unwrap();
            apply_install(&mut killed, install(1));
            drop(killed);
            // A socket that is let by the policies, as ours are.
            let options = SocketOptions { bypass_policies: true, ..SocketOptions::default() };
            let _socket = Udp::bind("0.0.0.0:4500".parse().unwrap(), &options).unwrap();
            let mut xfrm = Xfrm::open().unwrap();
            let found = xfrm.foreign().unwrap();
            assert_eq!((found.sas.len(), found.policies.len()), (2, 3), "{found}");
            let text = found.to_string();
            assert!(text.contains("ESP 00001001 from 192.0.2.2 to 192.0.2.1"), "{text}");
            assert!(text.contains("out 10.1.0.0/16 === 10.2.0.0/16"), "{text}");
            let mut own = install(2);
            own.remote_ts = vec!["10.3.0.0/16".parse().unwrap()];
            apply_install(&mut xfrm, own);
            assert_eq!(xfrm.foreign().unwrap(), found);
            // The same Child SA again takes the policies over; its old SAs end by their lifetimes.
            apply_install(&mut xfrm, install(3));
            let left = xfrm.foreign().unwrap();
            assert_eq!((left.sas.len(), left.policies.len()), (2, 0), "{left}");
        })
        .unwrap();
}

/// What a killed run left of a Child SA goes when a trap or a Child SA of this run is in its place, and nothing else does.
#[test]
fn what_a_killed_run_left_is_removed_where_it_is_replaced() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let child = |id: u32, remote_ts: &str, reqid| {
                let mut child = ChildInstall { reqid, ..install(id) };
                child.remote_ts = vec![remote_ts.parse().unwrap()];
                child
            };
            let mut killed = Xfrm::open().unwrap();
            apply_install(&mut killed, child(1, "10.2.0.0/16", 7));
            // The peer had narrowed it; with another peer; for other packets; one that two policies ask for.
            apply_install(&mut killed, child(2, "10.3.7.0/24", 8));
            let elsewhere = "198.51.100.7:500".parse().unwrap();
            apply_install(&mut killed, ChildInstall { remote: elsewhere, ..child(3, "10.2.9.0/24", 7) });
            apply_install(&mut killed, child(4, "10.4.0.0/16", 9));
            let mut two = child(5, "10.3.8.0/24", 10);
            two.remote_ts.push("10.5.0.0/16".parse().unwrap());
            apply_install(&mut killed, two);
            // Transport mode between the same hosts.
            let mut transport = ChildInstall { mode: Mode::Transport, ..child(6, "192.0.2.2", 7) };
            transport.local_ts = vec!["192.0.2.1".parse().unwrap()];
            apply_install(&mut killed, transport);
            assert_eq!(killed.count().unwrap(), (12, 5 * 3 + 3 + 2));
            drop(killed);

            let mut xfrm = Xfrm::open().unwrap();
            xfrm.remember_leftovers().unwrap();
            let trap = |id, remote_ts: &str| TrapInstall {
                trap: SaId(id),
                connection: "gw-gw".into(),
                name: "net".into(),
                reqid: 1,
                binding: Binding::default(),
                mode: Mode::Tunnel,
                local: "192.0.2.1".parse().unwrap(),
                remote: "192.0.2.2".parse().unwrap(),
                local_ts: vec!["10.1.0.0/16".parse().unwrap()],
                remote_ts: vec![remote_ts.parse().unwrap()],
                priority: None,
            };
            let mut replace = |command: Command, id| {
                xfrm.apply(&command).unwrap();
                let replaced = xfrm.replace_leftovers(SaId(id), None).unwrap();
                assert_eq!(replaced.used, [], "nothing ever came");
                (replaced.sas, replaced.policies, xfrm.count().unwrap())
            };
            // The same packets: the policies are the trap's now.
            let first = Command::Trap(Box::new(trap(21, "10.2.0.0/16")));
            assert_eq!(replace(first, 21), (2, 0, (10, 20)));
            // More packets: the narrower ones would come first. Those SAs that 10.5.0.0/16 asks for stay.
            let wide = Command::Install(Box::new(child(22, "10.3.0.0/16", 2)));
            assert_eq!(replace(wide, 22), (2, 6, (10, 17)));
            // Nothing is removed twice, or because something is installed beside it.
            let beside = Command::Trap(Box::new(trap(23, "10.9.0.0/16")));
            assert_eq!(replace(beside, 23), (0, 0, (10, 20)));
            // What this run has installed in the meantime is no leftover.
            let narrow = Command::Trap(Box::new(trap(24, "10.4.0.0/16")));
            xfrm.apply(&narrow).unwrap();
            xfrm.apply(&Command::Trap(Box::new(trap(25, "10.4.0.0/15")))).unwrap();
            let replaced = xfrm.replace_leftovers(SaId(25), Some(0)).unwrap();
            assert_eq!((replaced.sas, replaced.policies), (4, 3), "both: 10.5.0.0/16 is within, too");
            let left = xfrm.foreign().unwrap();
            assert_eq!((left.sas.len(), left.policies.len()), (4, 3 + 2), "{left}");
        })
        .unwrap();
}

#[test]
fn every_algorithm_the_kernel_has() {
    let Some(namespace) = kernel_with_esp() else { return };
    type Suite = (EncryptionId, Option<u16>, usize, Option<(IntegrityId, usize)>);
    let sha256 = Some((IntegrityId::HMAC_SHA2_256_128, 32));
    let suites: &[Suite] = &[
        (EncryptionId::AES_GCM_8, Some(128), 20, None),
        (EncryptionId::AES_GCM_12, Some(192), 28, None),
        (EncryptionId::AES_GCM_16, Some(256), 36, None),
        (EncryptionId::AES_CCM_8, Some(128), 19, None),
        (EncryptionId::AES_CCM_12, Some(192), 27, None),
        (EncryptionId::AES_CCM_16, Some(256), 35, None),
        (EncryptionId::CHACHA20_POLY1305, None, 36, None),
        (EncryptionId::AES_CBC, Some(128), 16, sha256),
        (EncryptionId::AES_CBC, Some(256), 32, Some((IntegrityId::HMAC_SHA1_96, 20))),
        (EncryptionId::AES_CBC, Some(192), 24, Some((IntegrityId::HMAC_SHA2_384_192, 48))),
        (EncryptionId::AES_CTR, Some(128), 20, Some((IntegrityId::HMAC_SHA2_512_256, 64))),
        (EncryptionId::AES_CBC, Some(128), 16, Some((IntegrityId::AES_XCBC_96, 16))),
        (EncryptionId::AES_CBC, Some(128), 16, Some((IntegrityId::AES_CMAC_96, 16))),
        (EncryptionId::TRIPLE_DES, None, 24, sha256),
        (EncryptionId::TRIPLE_DES, None, 24, Some((IntegrityId::HMAC_MD5_128, 16))),
        (EncryptionId::TRIPLE_DES, None, 24, Some((IntegrityId::HMAC_SHA1_160, 20))),
        (EncryptionId::BLOWFISH, Some(192), 24, sha256),
        (EncryptionId::CAMELLIA_CBC, Some(256), 32, Some((IntegrityId::HMAC_SHA2_256_96, 32))),
        (EncryptionId::NULL_AES_GMAC, Some(128), 20, None),
        (EncryptionId::NULL, None, 0, sha256),
    ];
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            let mut missing = Vec::new();
            for (id, key_length, octets, integrity) in suites {
                let sa = |spi| EspSa {
                    spi,
                    encryption: Encryption { id: *id, key_length: *key_length },
                    integrity: integrity.map(|(id, _)| id),
                    encryption_key: Secret::new((0..*octets as u8).collect()),
                    integrity_key: Secret::new(vec![7; integrity.map_or(0, |(_, octets)| octets)]),
                };
                let child = ChildInstall { inbound: sa(0x1001), outbound: sa(0x2001), ..install(1) };
                match xfrm.apply(&Command::Install(Box::new(child))) {
                    Ok(()) => assert_eq!(xfrm.count().unwrap(), (2, 3), "{id}"),
                    // A kernel may be built without one; the error must say so.
                    Err(error) => {
                        assert!(error.to_string().contains("lacks the algorithm"), "{id}: {error}");
                        missing.push(*id);
                    }
                }
                xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
                assert_eq!(xfrm.count().unwrap(), (0, 0), "{id}");
            }
            eprintln!("algorithms this kernel lacks: {missing:?}");
            assert!(missing.len() < suites.len() / 2);
        })
        .unwrap();
}

#[test]
fn a_refusal_leaves_nothing_and_says_why() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            apply_install(&mut xfrm, install(1));
            // The outbound SPI is taken: the inbound SA, added first, is taken back.
            let mut clash = install(2);
            clash.outbound.spi = 0x2001;
            let error = xfrm.apply(&Command::Install(Box::new(clash))).unwrap_err();
            assert!(matches!(error, XfrmError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("another SA has this SPI"), "{error}");
            assert_eq!(xfrm.count().unwrap(), (2, 3));
            let large = ChildInstall { replay_window: 4097, ..install(3) };
            let error = xfrm.apply(&Command::Install(Box::new(large))).unwrap_err();
            assert!(matches!(error, XfrmError::ReplayWindow { asked: 4097, most: 4096 }), "{error}");
            let error = xfrm.apply(&Command::Install(Box::new(install(1)))).unwrap_err();
            assert!(matches!(error, XfrmError::ChildExists(SaId(1))), "{error}");
        })
        .unwrap();
}

#[test]
fn a_rekeyed_child_shares_its_policies() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            apply_install(&mut xfrm, install(1));
            apply_install(&mut xfrm, install(2));
            assert_eq!(xfrm.count().unwrap(), (4, 3));
            xfrm.apply(&Command::Retire { child: SaId(2) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (4, 3), "the other one needs them");
            xfrm.apply(&Command::Retire { child: SaId(1) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (4, 2), "what is on its way may come");
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 0));
            apply_install(&mut xfrm, install(1));
            apply_install(&mut xfrm, install(2));
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (2, 3));
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 0));
        })
        .unwrap();
}

fn mirrored(mut install: ChildInstall) -> ChildInstall {
    std::mem::swap(&mut install.local, &mut install.remote);
    std::mem::swap(&mut install.inbound, &mut install.outbound);
    std::mem::swap(&mut install.local_ts, &mut install.remote_ts);
    install
}

/// Two namespaces joined by a cable, 192.0.2.1 and 192.0.2.2, each with an inner address 10.1.0.1 and 10.2.0.1.
fn two_ends() -> Option<(Namespace, Namespace)> {
    let (left, right) = (kernel_with_esp()?, kernel_with_esp()?);
    let made =
        left.run(|| Routes::open().unwrap().add_veth("v0", "v0", Some(std::os::fd::AsFd::as_fd(&right)))).unwrap();
    if let Err(error) = made {
        skip(format!("no virtual Ethernet: {error}"));
        return None;
    }
    for (namespace, outer, inner, peer) in
        [(&left, "192.0.2.1", "10.1.0.1", "10.2.0.0"), (&right, "192.0.2.2", "10.2.0.1", "10.1.0.0")]
    {
        namespace
            .run(|| {
                let mut routes = Routes::open().unwrap();
                let interface = Routes::interface_index("v0").unwrap();
                let address = |text: &str, prefix| LocalAddress { interface, address: text.parse().unwrap(), prefix };
                routes.add_address(&address(outer, 24)).unwrap();
                routes.add_address(&address(inner, 32)).unwrap();
                routes.set_link(interface, Some(true), None).unwrap();
                routes.set_link(Routes::interface_index("lo").unwrap(), Some(true), None).unwrap();
                let to_peer = linux::Route {
                    destination: peer.parse().unwrap(),
                    prefix: 16,
                    target: linux::RouteTarget::Interface { interface, gateway: None },
                    source: Some(inner.parse().unwrap()),
                    table: 254,
                    metric: None,
                };
                routes.add_route(&to_peer).unwrap();
            })
            .unwrap();
    }
    Some((left, right))
}

fn recv_timeout(socket: &std::net::UdpSocket) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; 2000];
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (length, _) = socket.recv_from(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

#[test]
fn hard_limits_of_volume_end_the_sa() {
    let Some((left, right)) = two_ends() else { return };
    for limits in [(Some(100), None), (None, Some(3))] {
        let child = ChildInstall { hard_bytes: limits.0, hard_packets: limits.1, ..install(1) };
        let (mut a, mut b) =
            (left.run(|| Xfrm::open().unwrap()).unwrap(), right.run(|| Xfrm::open().unwrap()).unwrap());
        apply_install(&mut a, child.clone());
        apply_install(&mut b, mirrored(child));
        let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
        for n in 0..10u8 {
            // Refused from the moment on where nothing is left to send by.
            let _ = sender.send_to(&[n; 9], "10.2.0.1:7777");
        }
        let hard = XfrmEvent::Plane(PlaneEvent::HardExpire { child: SaId(1) });
        assert!(a.events().unwrap().contains(&hard), "{limits:?}");
        for end in [&mut a, &mut b] {
            end.apply(&Command::Delete { child: SaId(1) }).unwrap();
            assert_eq!(end.count().unwrap(), (0, 0), "{limits:?}");
        }
    }
}

#[test]
fn packets_cross_are_counted_and_survive_a_move() {
    let Some((left, right)) = two_ends() else { return };
    let tfc_padding = TfcPadding::To(1000); // the receiver takes it off
    let child = ChildInstall { soft_packets: Some(2), esn: true, replay_window: 64, tfc_padding, ..install(1) };
    let (mut a, mut b) = (left.run(|| Xfrm::open().unwrap()).unwrap(), right.run(|| Xfrm::open().unwrap()).unwrap());
    apply_install(&mut a, child.clone());
    apply_install(&mut b, mirrored(child));
    let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
    let receiver = right.run(|| std::net::UdpSocket::bind("10.2.0.1:7777").unwrap()).unwrap();
    for n in 0..3u8 {
        sender.send_to(&[n; 9], "10.2.0.1:7777").unwrap();
        assert_eq!(recv_timeout(&receiver).unwrap(), [n; 9]);
    }
    let (sent, received) = (a.counters(u64::MAX, SaId(1)).unwrap(), b.counters(u64::MAX, SaId(1)).unwrap());
    assert_eq!((sent.packets_out, sent.packets_in), (3, 0));
    assert_eq!((received.packets_in, received.packets_out), (3, 0));
    assert!(received.idle_in.is_some() && received.idle_out.is_none());
    let soft = XfrmEvent::Plane(PlaneEvent::SoftExpire { child: SaId(1) });
    assert!(a.events().unwrap().contains(&soft));

    // NAT appears: both ends move to UDP encapsulation; the kernel takes it out of the sockets on 4500.
    let options = SocketOptions { kernel_esp_in_udp: true, bypass_policies: true, ..SocketOptions::default() };
    let any: SocketAddr = "0.0.0.0:4500".parse().unwrap();
    let _sockets = (
        left.run(|| Udp::bind(any, &options).unwrap()).unwrap(),
        right.run(|| Udp::bind(any, &options).unwrap()).unwrap(),
    );
    let (l, r) = ("192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap());
    a.apply(&Command::Update { child: SaId(1), local: l, remote: r, encapsulated: true }).unwrap();
    b.apply(&Command::Update { child: SaId(1), local: r, remote: l, encapsulated: true }).unwrap();
    sender.send_to(b"in UDP", "10.2.0.1:7777").unwrap();
    assert_eq!(recv_timeout(&receiver).unwrap(), b"in UDP");
    assert_eq!(b.counters(u64::MAX, SaId(1)).unwrap().packets_in, 4, "counters survive");
    // The kernel lists the two policies of the socket beside the three of the Child SA.
    assert_eq!((a.count().unwrap(), b.count().unwrap()), ((2, 5), (2, 5)));

    // With the SAs gone at one end nothing comes in the clear.
    a.apply(&Command::Delete { child: SaId(1) }).unwrap();
    sender.send_to(b"clear", "10.2.0.1:7777").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(receiver.recv_from(&mut [0; 100]).is_err(), "the inbound policy refuses clear text");
}

#[test]
fn a_retired_child_receives_and_does_not_send() {
    let Some((left, right)) = two_ends() else { return };
    let (mut a, mut b) = (left.run(|| Xfrm::open().unwrap()).unwrap(), right.run(|| Xfrm::open().unwrap()).unwrap());
    let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
    let receiver = right.run(|| std::net::UdpSocket::bind("10.2.0.1:7777").unwrap()).unwrap();
    apply_install(&mut a, install(1));
    apply_install(&mut b, mirrored(install(1)));
    // The other end sends by the old one still.
    apply_install(&mut b, mirrored(install(2)));
    apply_install(&mut a, ChildInstall { succeeds: Some(SaId(1)), ..install(2) });
    b.apply(&Command::Retire { child: SaId(1) }).unwrap();
    sender.send_to(b"late", "10.2.0.1:7777").unwrap();
    assert_eq!(recv_timeout(&receiver).unwrap(), b"late");
    assert_eq!(b.counters(u64::MAX, SaId(1)).unwrap().packets_in, 1);
    a.apply(&Command::Retire { child: SaId(1) }).unwrap();
    sender.send_to(b"new", "10.2.0.1:7777").unwrap();
    assert_eq!(recv_timeout(&receiver).unwrap(), b"new");
    assert_eq!(b.counters(u64::MAX, SaId(2)).unwrap().packets_in, 1);
    // The last one: this end deletes it, and what the other end sends meanwhile comes.
    b.apply(&Command::Retire { child: SaId(2) }).unwrap();
    b.apply(&Command::Delete { child: SaId(1) }).unwrap();
    sender.send_to(b"last", "10.2.0.1:7777").unwrap();
    assert_eq!(recv_timeout(&receiver).unwrap(), b"last");
    assert_eq!(b.counters(u64::MAX, SaId(2)).unwrap().packets_in, 2);
    let back = right.run(|| std::net::UdpSocket::bind("10.2.0.1:0").unwrap()).unwrap();
    let _ = back.send_to(b"back", "10.1.0.1:7777");
    assert_eq!(b.counters(u64::MAX, SaId(2)).unwrap().packets_out, 0, "it sends no more");
    b.apply(&Command::Delete { child: SaId(2) }).unwrap();
    assert_eq!(right.run(|| b.count().unwrap()).unwrap(), (0, 0));
}

#[test]
fn what_is_held_goes_by_the_successor_or_by_itself() {
    let Some((left, right)) = two_ends() else { return };
    let (mut a, mut b) = (left.run(|| Xfrm::open().unwrap()).unwrap(), right.run(|| Xfrm::open().unwrap()).unwrap());
    let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
    let receiver = right.run(|| std::net::UdpSocket::bind("10.2.0.1:7777").unwrap()).unwrap();
    let setting = || left.run(|| std::fs::read_to_string("/proc/sys/net/core/xfrm_larval_drop").unwrap()).unwrap();
    let send = |from: u8, to: u8| {
        (from..to).for_each(|number| {
            sender.send_to(&[number], "10.2.0.1:7777").unwrap();
        });
    };
    let receive = |from: u8, to: u8| {
        let mut got: Vec<u8> = (from..to).map(|_| recv_timeout(&receiver).unwrap()[0]).collect();
        got.sort_unstable();
        assert_eq!(got, (from..to).collect::<Vec<_>>());
    };
    let nothing_comes = || {
        receiver.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(receiver.recv_from(&mut [0; 100]).is_err());
    };
    apply_install(&mut a, install(1));
    apply_install(&mut b, mirrored(install(1)));
    apply_install(&mut b, mirrored(install(2)));
    send(0, 1);
    receive(0, 1);
    let before = setting();
    left.run(|| {
        apply_install(&mut a, ChildInstall { succeeds: Some(SaId(1)), ..install(2) });
        a.apply(&Command::Hold { child: SaId(1) }).unwrap();
    })
    .unwrap();
    assert_eq!(setting().trim(), "0");
    send(1, 30);
    nothing_comes();
    assert_eq!(a.inspect(&|child| child.to_string()).unwrap(), [], "that is as it should be");
    // It goes on by the old one.
    left.run(|| a.apply(&Command::Release { child: SaId(1) }).unwrap()).unwrap();
    receive(1, 30);
    assert_eq!(setting(), before);
    assert_eq!(a.count().unwrap().0, 4, "nothing but the Child SAs is left");
    assert_eq!(b.counters(u64::MAX, SaId(1)).unwrap().packets_in, 30);
    // The peer forgets the old one, and the new one takes over.
    left.run(|| a.apply(&Command::Hold { child: SaId(1) }).unwrap()).unwrap();
    send(30, 60);
    nothing_comes();
    b.apply(&Command::Delete { child: SaId(1) }).unwrap();
    left.run(|| a.apply(&Command::Retire { child: SaId(1) }).unwrap()).unwrap();
    receive(30, 60);
    assert_eq!(b.counters(u64::MAX, SaId(2)).unwrap().packets_in, 30);
    assert_eq!(setting(), before);
    // It goes away while something waits: nothing is left, and nobody is asked for an SA.
    left.run(|| {
        a.apply(&Command::Hold { child: SaId(2) }).unwrap();
        a.apply(&Command::Hold { child: SaId(2) }).unwrap();
    })
    .unwrap();
    send(60, 61);
    left.run(|| {
        a.apply(&Command::Delete { child: SaId(2) }).unwrap();
        a.apply(&Command::Delete { child: SaId(1) }).unwrap();
        a.apply(&Command::Release { child: SaId(2) }).unwrap();
    })
    .unwrap();
    assert_eq!(a.count().unwrap(), (0, 0));
    assert_eq!(setting(), before);
    let acquires = |event: &XfrmEvent| matches!(event, XfrmEvent::Acquire(_));
    assert!(!a.events().unwrap().iter().any(acquires));
}

#[test]
fn what_is_held_with_marks_by_interfaces_and_by_a_run_that_is_killed() {
    let Some(namespace) = kernel_with_esp() else { return };
    let setting = || std::fs::read_to_string("/proc/sys/net/core/xfrm_larval_drop").unwrap();
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            let mark = Mark { value: 5, mask: 0xf };
            let marked = Binding { mark_out: Some(mark), ..Binding::default() };
            apply_install(&mut xfrm, ChildInstall { binding: marked, ..install(1) });
            xfrm.apply(&Command::Hold { child: SaId(1) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (3, 3));
            xfrm.apply(&Command::Release { child: SaId(1) }).unwrap();
            assert_eq!((xfrm.count().unwrap(), setting().trim()), ((2, 3), "1"));
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            // The kernel's interfaces look for SAs without the queue.
            let bound = Binding { if_id_out: Some(7), if_id_in: Some(7), ..Binding::default() };
            apply_install(&mut xfrm, ChildInstall { binding: bound, ..install(2) });
            let error = xfrm.apply(&Command::Hold { child: SaId(2) }).unwrap_err();
            assert!(matches!(error, XfrmError::InterfaceCannotWait(SaId(2))), "{error}");
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            // One rules, the other comes to rule while it is held: what comes in is for either.
            apply_install(&mut xfrm, install(1));
            apply_install(&mut xfrm, install(2));
            xfrm.apply(&Command::Hold { child: SaId(1) }).unwrap();
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            assert_eq!(xfrm.inspect(&|child| child.to_string()).unwrap(), []);
            assert_eq!(templates("in"), ["reqid 7"]);
            assert_ne!(templates("out"), ["reqid 7"]);
            std::mem::forget(xfrm); // killed
            assert_eq!(setting().trim(), "0");
            let mut next = Xfrm::open().unwrap();
            next.remember_leftovers().unwrap();
            assert_eq!((next.count().unwrap().0, setting().trim()), (2, "1"));
        })
        .unwrap();
}

/// What the policies of this direction ask for, as `ip` has it.
fn templates(direction: &str) -> Vec<String> {
    let listed = std::process::Command::new("ip").args(["xfrm", "policy", "list", "dir", direction]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == "reqid").map(|pair| pair.join(" ")).collect()
}

/// The kernel has one policy for a transport and a tunnel of the same packets.
#[test]
fn a_trap_and_a_child_of_other_modes_have_the_policies_one_after_the_other() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let mut xfrm = Xfrm::open().unwrap();
            let child = install(1);
            let trap = TrapInstall {
                trap: SaId(21),
                connection: "gw-gw".into(),
                name: "net".into(),
                reqid: 7,
                binding: Binding::default(),
                mode: Mode::Transport,
                local: child.local.ip(),
                remote: child.remote.ip(),
                local_ts: child.local_ts.clone(),
                remote_ts: child.remote_ts.clone(),
                priority: None,
            };
            let in_order = |xfrm: &mut Xfrm| xfrm.inspect(&|child| child.to_string()).unwrap();
            xfrm.apply(&Command::Trap(Box::new(trap.clone()))).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 2));
            apply_install(&mut xfrm, child.clone());
            assert_eq!((xfrm.count().unwrap(), in_order(&mut xfrm)), ((2, 3), vec![]));
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            assert_eq!((xfrm.count().unwrap(), in_order(&mut xfrm)), ((0, 2), vec![]), "the trap waits again");
            xfrm.apply(&Command::RemoveTrap { trap: SaId(21) }).unwrap();
            // The other way round, and with another mark to set.
            let transport = ChildInstall { mode: Mode::Transport, ..install(2) };
            let set = Binding { set_mark_out: Some(Mark { value: 1, mask: 1 }), ..Binding::default() };
            apply_install(&mut xfrm, child);
            apply_install(&mut xfrm, transport);
            assert_eq!((xfrm.count().unwrap(), in_order(&mut xfrm)), ((4, 2), vec![]));
            apply_install(&mut xfrm, ChildInstall { binding: set, ..install(3) });
            xfrm.apply(&Command::Trap(Box::new(trap))).unwrap();
            assert_eq!((xfrm.count().unwrap(), in_order(&mut xfrm)), ((6, 3), vec![]), "a Child SA has precedence");
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
            xfrm.apply(&Command::Delete { child: SaId(3) }).unwrap();
            assert_eq!((xfrm.count().unwrap(), in_order(&mut xfrm)), ((2, 3), vec![]));
            xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
            xfrm.apply(&Command::RemoveTrap { trap: SaId(21) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 0));
        })
        .unwrap();
}

#[test]
fn what_came_before_its_sa_is_received_afterwards() {
    let Some((left, right)) = two_ends() else { return };
    let options = SocketOptions { kernel_esp_in_udp: true, bypass_policies: true, ..SocketOptions::default() };
    let any: SocketAddr = "0.0.0.0:4500".parse().unwrap();
    let _sockets = (
        left.run(|| Udp::bind(any, &options).unwrap()).unwrap(),
        right.run(|| Udp::bind(any, &options).unwrap()).unwrap(),
    );
    let (l, r): (SocketAddr, SocketAddr) = ("192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap());
    let (mut a, mut b) = (left.run(|| Xfrm::open().unwrap()).unwrap(), right.run(|| Xfrm::open().unwrap()).unwrap());
    let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
    let receiver = right.run(|| std::net::UdpSocket::bind("10.2.0.1:7777").unwrap()).unwrap();
    receiver.set_nonblocking(true).unwrap();
    for (number, encapsulated) in [(1, false), (2, true)] {
        let child = ChildInstall { local: l, remote: r, encapsulated, ..install(number) };
        let theirs = mirrored(child.clone());
        let keep = || EarlyPackets::open(theirs.inbound.spi, r, encapsulated).unwrap();
        let (tap, other) = right.run(|| (keep(), EarlyPackets::open(0x7777_7777, r, encapsulated).unwrap())).unwrap();
        apply_install(&mut a, child);
        for n in 0..3u8 {
            sender.send_to(&[n; 9], "10.2.0.1:7777").unwrap();
        }
        assert!(receiver.recv_from(&mut [0; 100]).is_err(), "there is no SA");
        apply_install(&mut b, theirs);
        let packets = tap.take();
        assert_eq!((packets.len(), other.take().len()), (3, 0), "of this SPI only");
        right.run(|| packets.iter().for_each(|packet| packet.receive().unwrap())).unwrap();
        receiver.set_nonblocking(false).unwrap();
        for (n, packet) in (0..3u8).zip(&packets) {
            assert_eq!(packet.source(), SocketAddr::new(l.ip(), if encapsulated { 4500 } else { 0 }));
            assert_eq!(recv_timeout(&receiver).unwrap(), [n; 9]);
        }
        receiver.set_nonblocking(true).unwrap();
        right.run(|| packets[0].receive().unwrap()).unwrap();
        assert!(receiver.recv_from(&mut [0; 100]).is_err(), "once: the kernel has it in its window");
        assert_eq!(b.counters(u64::MAX, SaId(number)).unwrap().packets_in, 3);
        for end in [&mut a, &mut b] {
            end.apply(&Command::Delete { child: SaId(number) }).unwrap();
        }
    }
}

/// A trap lets SAs go on that the peer uses and that fit its policies, until there is something better.
#[test]
fn what_a_killed_run_left_goes_on_until_it_is_replaced_where_that_can_be() {
    let Some((left, right)) = two_ends() else { return };
    let (mut peer, mut killed) =
        (left.run(|| Xfrm::open().unwrap()).unwrap(), right.run(|| Xfrm::open().unwrap()).unwrap());
    let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
    let receiver = right.run(|| std::net::UdpSocket::bind("10.2.0.1:7777").unwrap()).unwrap();
    let theirs = mirrored(install(1));
    apply_install(&mut peer, install(1));
    apply_install(&mut killed, theirs.clone());
    sender.send_to(b"before", "10.2.0.1:7777").unwrap();
    assert_eq!(recv_timeout(&receiver).unwrap(), b"before");
    let trap = |id, reqid| TrapInstall {
        trap: SaId(id),
        connection: "gw-gw".into(),
        name: "net".into(),
        reqid,
        binding: Binding::default(),
        mode: Mode::Tunnel,
        local: theirs.local.ip(),
        remote: theirs.remote.ip(),
        local_ts: theirs.local_ts.clone(),
        remote_ts: theirs.remote_ts.clone(),
        priority: None,
    };
    drop(killed);
    let spi = theirs.inbound.spi;
    // With another number they do not fit, and what was used long ago is not in use.
    for (reqid, since, spares) in [(theirs.reqid, 0, true), (theirs.reqid, u64::MAX, false), (8, 0, false)] {
        let mut xfrm = right.run(|| Xfrm::open().unwrap()).unwrap();
        xfrm.remember_leftovers().unwrap();
        xfrm.apply(&Command::Trap(Box::new(trap(21, reqid)))).unwrap();
        let replaced = xfrm.replace_leftovers(SaId(21), Some(since)).unwrap();
        assert_eq!((replaced.sas, replaced.spared), if spares { (0, 2) } else { (2, 0) }, "{reqid} {since}");
        assert_eq!(replaced.used.iter().map(|(spi, _)| *spi).collect::<Vec<_>>(), [spi]);
        if spares {
            sender.send_to(b"still", "10.2.0.1:7777").unwrap();
            assert_eq!(recv_timeout(&receiver).unwrap(), b"still");
            let mut new = theirs.clone();
            (new.child, new.inbound.spi, new.outbound.spi) = (SaId(2), 0x9999, 0x9998);
            apply_install(&mut xfrm, new);
            assert_eq!(xfrm.replace_leftovers(SaId(2), None).unwrap().sas, 2);
            xfrm.apply(&Command::Delete { child: SaId(2) }).unwrap();
        }
        xfrm.apply(&Command::RemoveTrap { trap: SaId(21) }).unwrap();
        assert_eq!(xfrm.count().unwrap(), (0, 0));
        // As it was, for the next turn.
        let mut killed = right.run(|| Xfrm::open().unwrap()).unwrap();
        apply_install(&mut killed, theirs.clone());
        sender.send_to(b"again", "10.2.0.1:7777").unwrap();
        assert_eq!(recv_timeout(&receiver).unwrap(), b"again");
    }
}

/// What the kernel drops because it has no SA for it: the counter says that there was something, a tap who sent it.
#[test]
fn esp_of_an_sa_that_is_not_there_is_counted_and_shown() {
    let Some((left, right)) = two_ends() else { return };
    let options = SocketOptions { kernel_esp_in_udp: true, bypass_policies: true, ..SocketOptions::default() };
    let any: SocketAddr = "0.0.0.0:4500".parse().unwrap();
    let _socket = right.run(|| Udp::bind(any, &options).unwrap()).unwrap();
    let (l, r): (SocketAddr, SocketAddr) = ("192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap());
    let mut a = left.run(|| Xfrm::open().unwrap()).unwrap();
    let sender = left.run(|| std::net::UdpSocket::bind("10.1.0.1:0").unwrap()).unwrap();
    let unknown = || right.run(|| xfrm_statistics().get("XfrmInNoStates").copied().unwrap_or(0)).unwrap();
    assert_eq!(unknown(), 0);
    let open = |sender: &str| right.run(|| StrayEsp::open(false, 4500, &[sender.parse().unwrap()]).unwrap()).unwrap();
    for (number, encapsulated) in [(1, false), (2, true)] {
        let (mut tap, mut other) = (open("192.0.2.1"), open("192.0.2.9"));
        let child = ChildInstall { local: l, remote: r, encapsulated, ..install(number) };
        let spi = child.outbound.spi;
        apply_install(&mut a, child);
        sender.send_to(b"lost", "10.2.0.1:7777").unwrap();
        let source = SocketAddr::new(l.ip(), if encapsulated { 4500 } else { 0 });
        assert_eq!(tap.read(), [StrayPacket { spi, source, destination: r.ip() }]);
        assert_eq!((tap.read().len(), other.read().len()), (0, 0));
        assert_eq!(unknown(), number.into());
        a.apply(&Command::Delete { child: SaId(number) }).unwrap();
    }
}

#[test]
fn sequence_numbers_go_on_after_a_move_and_skip_none() {
    let Some((left, right)) = two_ends() else { return };
    for (esn, replay_window) in [(false, 32), (false, 64), (true, 64)] {
        let child = ChildInstall { esn, replay_window, ..install(1) };
        let (mut xfrm, sender) =
            left.run(|| (Xfrm::open().unwrap(), std::net::UdpSocket::bind("10.1.0.1:0").unwrap())).unwrap();
        let receiver = right.run(|| std::net::UdpSocket::bind("192.0.2.2:4500").unwrap()).unwrap();
        apply_install(&mut xfrm, child);
        let (local, remote) = ("192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap());
        for _ in 0..3 {
            sender.send_to(b"before", "10.2.0.1:7777").unwrap();
        }
        xfrm.apply(&Command::Update { child: SaId(1), local, remote, encapsulated: true }).unwrap();
        sender.send_to(b"after", "10.2.0.1:7777").unwrap();
        let packet = recv_timeout(&receiver).unwrap();
        assert_eq!(packet[..8], [0, 0, 0x20, 0x01, 0, 0, 0, 4], "esn {esn}, window {replay_window}");
        assert_eq!(xfrm.counters(u64::MAX, SaId(1)).unwrap().packets_out, 4);
        xfrm.apply(&Command::Delete { child: SaId(1) }).unwrap();
    }
}

#[test]
fn our_sockets_are_not_caught_by_policies() {
    let Some((left, right)) = two_ends() else { return };
    // The policy covers the gateways themselves, and there is only one end of it.
    let mut child = install(1);
    child.local_ts = vec!["0.0.0.0/0".parse().unwrap()];
    child.remote_ts = vec!["0.0.0.0/0".parse().unwrap()];
    let options = SocketOptions { bypass_policies: true, ..SocketOptions::default() };
    let any: SocketAddr = "0.0.0.0:500".parse().unwrap();
    let (mut xfrm, a) = left.run(|| (Xfrm::open().unwrap(), Udp::bind(any, &options).unwrap())).unwrap();
    let b = right.run(|| std::net::UdpSocket::bind("192.0.2.2:500").unwrap()).unwrap();
    apply_install(&mut xfrm, child);
    let (from, to): (IpAddr, SocketAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    a.send(from, to, b"IKE").unwrap();
    assert_eq!(recv_timeout(&b).unwrap(), b"IKE");
}

#[test]
fn a_raw_socket_sees_what_the_kernel_protects() {
    let Some((left, right)) = two_ends() else { return };
    let (mut xfrm, sender) =
        left.run(|| (Xfrm::open().unwrap(), std::net::UdpSocket::bind("10.1.0.1:0").unwrap())).unwrap();
    let raw = right.run(|| RawEsp::open(false, &SocketOptions::default()).unwrap()).unwrap();
    apply_install(&mut xfrm, install(1));
    sender.send_to(b"inside", "10.2.0.1:7777").unwrap();
    let mut batch = linux::RecvBatch::new(4, 2000);
    let mut attempts = 0;
    while matches!(raw.recv_batch(&mut batch), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock) {
        attempts += 1;
        assert!(attempts < 5000, "the packet arrives");
        std::thread::yield_now();
    }
    let (received, packet) = batch.iter().next().unwrap();
    assert_eq!(received.local.ip().to_string(), "192.0.2.2");
    assert_eq!(received.remote.ip().to_string(), "192.0.2.1");
    assert_eq!(packet[..8], [0, 0, 0x20, 0x01, 0, 0, 0, 1]);
}

/// Policies without SAs need no ESP in the kernel.
#[test]
fn a_trap_reports_its_packets() {
    let Some(namespace) = namespace() else { return };
    namespace
        .run(|| {
            let Ok(mut xfrm) = Xfrm::open() else { return skip("the kernel has no XFRM") };
            let tun = Tun::open("trap%d").unwrap();
            let interface = tun.index().unwrap();
            let mut routes = Routes::open().unwrap();
            routes.set_link(interface, Some(true), None).unwrap();
            let address: IpAddr = "10.1.0.1".parse().unwrap();
            routes.add_address(&LocalAddress { interface, address, prefix: 16 }).unwrap();
            let (destination, target) =
                ("10.2.0.0".parse().unwrap(), RouteTarget::Interface { interface, gateway: None });
            let route = Route { destination, prefix: 16, target, source: None, table: 254, metric: None };
            routes.add_route(&route).unwrap();

            let of = install(1);
            let trap = |trap: u32, local_ts: &str| TrapInstall {
                trap: SaId(trap),
                connection: of.connection.clone(),
                name: of.name.clone(),
                binding: model::dataplane::Binding::default(),
                reqid: 70 + trap,
                mode: Mode::Tunnel,
                local: of.local.ip(),
                remote: of.remote.ip(),
                local_ts: vec![local_ts.parse().unwrap()],
                remote_ts: vec!["10.2.0.0/16".parse().unwrap()],
                priority: None,
            };
            xfrm.apply(&Command::Trap(Box::new(trap(3, "10.1.0.0/16")))).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 3));
            // Two traps may have the same selectors: the policies go with the last one.
            xfrm.apply(&Command::Trap(Box::new(trap(4, "10.1.0.0/16")))).unwrap();
            xfrm.apply(&Command::RemoveTrap { trap: SaId(4) }).unwrap();
            assert_eq!(xfrm.count().unwrap(), (0, 3));

            let socket = std::net::UdpSocket::bind("10.1.0.1:4711").unwrap();
            let _ = socket.send_to(b"who carries this?", "10.2.0.9:80"); // what becomes of it is not what we look at
            let mut found = Vec::new();
            for _ in 0..100 {
                found.extend(xfrm.events().unwrap());
                if !found.is_empty() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
            let expected = Acquire {
                reqid: Some(73),
                source: "10.1.0.1:4711".parse().unwrap(),
                destination: "10.2.0.9:80".parse().unwrap(),
                protocol: 17,
            };
            assert_eq!(found, [XfrmEvent::Acquire(expected)]);
            xfrm.apply(&Command::RemoveTrap { trap: SaId(3) }).unwrap();
            assert_eq!(xfrm.count().unwrap().1, 0);
        })
        .unwrap();
}

/// What somebody else flushed is told by the name of its child, and what is as it was put there is not.
#[test]
fn what_was_flushed_is_noticed() {
    let Some(namespace) = kernel_with_esp() else { return };
    namespace
        .run(|| {
            let ip = |words: &[&str]| std::process::Command::new("ip").args(words).status().is_ok_and(|s| s.success());
            if !ip(&["-V"]) {
                return skip("no ip command");
            }
            let mut xfrm = Xfrm::open().unwrap();
            let name = |_: SaId| "net".to_string();
            apply_install(&mut xfrm, install(1));
            assert_eq!(xfrm.inspect(&name).unwrap(), []);
            assert_eq!((xfrm.vanished().unwrap(), xfrm.lost_reports()), (vec![], false));
            assert!(ip(&["xfrm", "policy", "flush"]));
            let gone = xfrm.inspect(&name).unwrap();
            assert_eq!(gone.len(), 3, "{gone:?}");
            assert!(matches!(&gone[0], PlaneFault::PolicyMissing { child, .. } if child == "net"));
            assert!(ip(&["xfrm", "state", "flush"]));
            let gone = xfrm.inspect(&name).unwrap();
            assert!(matches!(&gone[0], PlaneFault::SaMissing { spi: 0x1001, inbound: true, .. }), "{gone:?}");
            assert_eq!(gone.len(), 5, "{gone:?}");
            apply_install(&mut xfrm, install(2));
            assert_eq!(xfrm.vanished().unwrap(), [SaId(1)]);
        })
        .unwrap();
}
