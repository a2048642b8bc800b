//! Two ends that should understand each other do: algorithms, groups, selectors, cookies, NAT.

use model::dataplane::{ChildInstall, Command};
use model::{ChildState, Event, IkeState, Role};
use sim::{Conditions, Happened, Nat, NodeId, Sim, Site};
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);

fn site_a() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2")
}

fn site_b() -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1")
}

/// Brings a tunnel from the first to the second up and checks what must hold for every tunnel.
fn up(sim: &mut Sim, a: NodeId, b: NodeId) {
    sim.initiate(a, b);
    let took = sim.run_until(10 * SECOND, |sim| sim.carries(a, b));
    if took.is_none() {
        for node in [a, b] {
            for (at, event) in sim.events(node) {
                eprintln!("{} {at:?} {:?}", sim.site(node).configuration().len(), event.log());
            }
        }
    }
    took.expect("a tunnel within ten seconds");
    sim.settle(10 * SECOND);
    for (node, role) in [(a, Role::Initiator), (b, Role::Responder)] {
        let snapshots = sim.snapshots(node);
        let [sa] = snapshots.as_slice() else { panic!("one SA, not {}", snapshots.len()) };
        assert_eq!((sa.state, sa.role, sa.version), (IkeState::Established, role, 2));
        assert_eq!(sa.waiting_for, None);
        let [child] = sa.children.as_slice() else { panic!("one Child SA") };
        assert_eq!(child.state, ChildState::Installed);
        assert_eq!(sim.endpoint(node).sizes(), (1, 0));
        assert_eq!(sim.tombstones(node).len(), 0);
        assert_eq!(sim.plane(node).installs, 1);
        let install = only(sim, node);
        assert_eq!((install.inbound.spi, install.outbound.spi), (child.spi_in, child.spi_out));
        assert_eq!((install.child, install.ike), (child.id, sa.id));
        assert!(install.inbound.spi > 255, "RFC 4303 section 2.1 reserves the others");
    }
    let (of_a, of_b) = (sim.snapshots(a), sim.snapshots(b));
    assert_eq!(of_a[0].spis, of_b[0].spis);
    assert_eq!(of_a[0].suite, of_b[0].suite);
    assert_eq!((&of_a[0].local_id, &of_a[0].remote_id), (&of_b[0].remote_id, &of_b[0].local_id));
    installed_before_the_answer(sim, b);
    told_after_installing(sim, a);
    told_after_installing(sim, b);
}

fn only(sim: &Sim, node: NodeId) -> &ChildInstall {
    let mut all = sim.plane(node).installed();
    let first = all.next().expect("something installed");
    assert!(all.next().is_none(), "one Child SA only");
    first
}

/// The responder can receive before its answer allows the initiator to send.
fn installed_before_the_answer(sim: &Sim, responder: NodeId) {
    let log = sim.happened(responder);
    let install = log.iter().position(|e| matches!(e.what, Happened::Plane(Command::Install(_))));
    let answer = log.iter().position(|e| match &e.what {
        Happened::Sent(d) => Header::parse(&d.bytes).is_ok_and(|h| h.exchange == ExchangeType::IKE_AUTH),
        _ => false,
    });
    assert!(install.is_some() && install < answer, "install at {install:?}, answer at {answer:?}");
}

/// Events tell of an SA after it is installed and the message has left.
fn told_after_installing(sim: &Sim, node: NodeId) {
    let log = sim.happened(node);
    let at = |wanted: fn(&Happened) -> bool| log.iter().position(|e| wanted(&e.what));
    let install = at(|h| matches!(h, Happened::Plane(Command::Install(_))));
    let ike_up = at(|h| matches!(h, Happened::Event(Event::IkeUp(_))));
    let child_up = at(|h| matches!(h, Happened::Event(Event::ChildUp(_))));
    assert!(install.is_some() && ike_up.is_some() && install < child_up && ike_up < child_up);
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    up(&mut sim, a, b);
    (sim, a, b)
}

#[test]
fn either_end_can_begin() {
    tunnel(site_a(), site_b());
    let mut sim = Sim::new(2);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    up(&mut sim, b, a);
    let again = sim.try_initiate(b, a).unwrap();
    assert!(matches!(again, proto::Started::AlreadyUp(_)), "{again:?}");
}

#[test]
fn it_takes_two_round_trips() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.set_conditions(Conditions { latency: Duration::from_millis(50), ..Conditions::default() });
    sim.initiate(a, b);
    let took = sim.run_until(SECOND, |sim| sim.carries(a, b));
    assert_eq!(took, Some(Duration::from_millis(200)));
    assert_eq!(sim.wire.len(), 4);
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let run = |seed| {
        let mut sim = Sim::new(seed);
        let (a, b) = (sim.add(site_a()), sim.add(site_b()));
        sim.set_conditions(Conditions {
            loss: 300,
            duplicate: 100,
            reorder: 100,
            corrupt: 50,
            ..Conditions::default()
        });
        sim.initiate(a, b);
        sim.run_for(200 * SECOND);
        sim.wire
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

#[test]
fn every_cipher_integrity_and_prf() {
    for ike in [
        "aes128gcm16-prfsha256-x25519",
        "aes256gcm16-prfsha384-x25519",
        "aes128ccm16-prfsha256-x25519",
        "chacha20poly1305-prfsha256-x25519",
        "aes128-sha256-x25519",
        "aes192-sha384-x25519",
        "aes256-sha512-x25519",
        "aes128ctr-sha256-x25519",
        "aes128-sha1-x25519",
        "aes128-aesxcbc-x25519",
        "aes128-aescmac-x25519",
        "3des-sha1-x25519",
        "camellia256-sha512-x25519",
        "blowfish128-sha256-x25519",
        "aes128-md5_128-x25519",
        "aes128-sha1_160-x25519",
        "aes128-sha256_96-x25519",
    ] {
        let line = format!("proposals = {ike}");
        let (sim, a, _) = tunnel(site_a().connection(&line), site_b().connection(&line));
        assert!(sim.snapshots(a)[0].suite.is_some(), "{ike}");
    }
    for esp in [
        "aes128gcm16",
        "aes256gcm16-esn",
        "aes128gcm16-noesn",
        "aes256-sha256",
        "aes128-sha1",
        "aes192-sha384",
        "aes256-sha512",
        "chacha20poly1305",
        "camellia192-sha384",
        "blowfish256-sha512-esn",
        "3des-sha1_160",
        "aes128-sha256_96",
        "aes192gmac",
        "aes128gmac-x25519-esn",
        "aes128-sha256-x25519",
        "aes128-sha256-ecp224bp",
    ] {
        let line = format!("esp_proposals = {esp}");
        let (sim, a, b) = tunnel(site_a().child(&line), site_b().child(&line));
        let install = only(&sim, a);
        assert_eq!(install.esn, esp.ends_with("-esn"), "{esp}");
        assert_eq!(install.inbound.integrity.is_some(), esp.contains("sha"), "{esp}");
        assert_ne!(install.inbound.encryption_key.expose(), install.outbound.encryption_key.expose(), "{esp}");
        assert_eq!(only(&sim, b).outbound.encryption_key.expose(), install.inbound.encryption_key.expose());
    }
}

#[test]
fn every_key_exchange() {
    let curves = ["x25519", "ecp256", "ecp384", "ecp521", "ecp192", "ecp224"];
    let brainpool = ["ecp224bp", "ecp256bp", "ecp384bp", "ecp512bp"];
    let subgroups = ["modp1024s160", "modp2048s224", "modp2048s256"];
    let modp = ["modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "modp6144", "modp8192"];
    for ke in curves.into_iter().chain(brainpool).chain(subgroups).chain(modp) {
        let line = format!("proposals = aes128gcm16-prfsha256-{ke}");
        tunnel(site_a().connection(&line), site_b().connection(&line));
    }
}

/// strongSwan's vendor ID is sent in both versions and directions if the operator says so, else never.
#[test]
fn a_vendor_id_is_sent_on_request_only() {
    for (version, send) in [(1, false), (1, true), (2, false), (2, true)] {
        let site = |site: Site| {
            let site = site.connection(&format!("version = {version}"));
            site.connection("proposals = aes128-sha256-x25519").settings(|s| s.send_vendor_id = send)
        };
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site(site_a())), sim.add(site(site_b())));
        sim.initiate(a, b);
        sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
        let vendor = 0x882f_e56d_6fd2_0dbc_2251_613b_2ebe_5beb_u128.to_be_bytes();
        for node in [a, b] {
            let has = |e: &sim::LogEntry| match &e.what {
                Happened::Sent(d) => d.bytes.windows(16).any(|octets| octets == vendor),
                _ => false,
            };
            assert_eq!(sim.happened(node).iter().any(has), send, "version {version}");
        }
    }
}

#[test]
fn selectors_are_narrowed_to_what_both_allow() {
    let (sim, a, b) = tunnel(
        site_a().child("local_ts = 10.1.0.0/16, 10.9.0.0/24").child("remote_ts = 10.2.0.0/16"),
        site_b().child("local_ts = 10.2.3.0/24, 10.7.0.0/16").child("remote_ts = 10.1.5.0/24, 10.9.0.0/24"),
    );
    let text = |list: &[model::TrafficSelector]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let install = only(&sim, a);
    assert_eq!(text(&install.local_ts), "10.1.5.0/24 10.9.0.0/24");
    assert_eq!(text(&install.remote_ts), "10.2.3.0/24");
    assert_eq!(only(&sim, b).local_ts, install.remote_ts);
}

#[test]
fn a_dynamic_selector_is_the_address_of_that_end() {
    let (sim, a, _) = tunnel(site_a(), site_b());
    let install = only(&sim, a);
    assert_eq!(install.local_ts, [model::TrafficSelector::host("192.0.2.1".parse().unwrap())]);
    assert_eq!(install.remote_ts, [model::TrafficSelector::host("192.0.2.2".parse().unwrap())]);
    let (sim, a, _) = tunnel(
        site_a().child("local_ts = dynamic[tcp/80]").child("remote_ts = 10.2.0.0/16"),
        site_b().child("local_ts = 10.2.0.0/16").child("remote_ts = dynamic"),
    );
    assert_eq!(only(&sim, a).local_ts[0].to_string(), "192.0.2.1/32[tcp/http]");
}

#[test]
fn a_tunnel_of_ipv6_inside_and_outside() {
    let (a, b) = ("2001:db8::1", "2001:db8::2");
    let (sim, a, _) = tunnel(
        Site::new("a", a).to(b).child("local_ts = fd01::/64").child("remote_ts = fd02::/64, 10.2.0.0/16"),
        Site::new("b", b).to(a).child("local_ts = fd02::/64, 10.2.0.0/16").child("remote_ts = fd01::/64"),
    );
    assert!(only(&sim, a).local.is_ipv6());
    assert_eq!(only(&sim, a).remote_ts.len(), 2);
}

#[test]
fn identities_may_be_left_to_addresses() {
    let (sim, a, _) = tunnel(site_a().local_id(None), site_b().local_id(None));
    let sa = &sim.snapshots(a)[0];
    assert_eq!(sa.local_id.as_ref().unwrap().to_string(), "192.0.2.1");
    assert_eq!(sa.remote_id.as_ref().unwrap().to_string(), "192.0.2.2");
}

#[test]
fn a_wrong_guess_of_the_group_costs_one_round_trip() {
    let (sim, a, b) = tunnel(
        site_a().connection("proposals = aes128gcm16-prfsha256-modp2048-ecp256"),
        site_b().connection("proposals = aes128gcm16-prfsha256-ecp256"),
    );
    assert_eq!(sim.wire.len(), 6);
    assert_eq!(sim.snapshots(a)[0].suite.unwrap().key_exchange, Some(wire::KeyExchangeId::ECP_256));
    // The attempt that was sent back had a number of its own at the responder, as with charon.
    assert_eq!((sim.snapshots(a)[0].id.0, sim.snapshots(b)[0].id.0), (1, 2));
}

#[test]
fn a_doubled_invalid_ke_payload_does_no_harm() {
    let mut sim = Sim::new(1);
    let a = sim.add(site_a().connection("proposals = aes128gcm16-prfsha256-modp2048-ecp256"));
    let b = sim.add(site_b().connection("proposals = aes128gcm16-prfsha256-ecp256"));
    sim.set_conditions(Conditions { duplicate: 1000, ..Conditions::default() });
    sim.initiate(a, b);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "{:?}", sim.tombstones(a));
}

#[test]
fn a_cookie_proves_the_address() {
    let (sim, a, _) = tunnel(site_a(), site_b().settings(|s| s.cookie_threshold_peer = 0));
    assert_eq!(sim.wire.len(), 4, "0 switches it off");
    assert_eq!(sim.snapshots(a).len(), 1);
    // One half-open SA of somebody at the same address, and the next first message needs a cookie.
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b().settings(|s| s.cookie_threshold_peer = 1)));
    let mut other = sim::Peer::new(Role::Initiator, 9);
    let bytes = other.init(&sim::Peer::new(Role::Initiator, 9).init_parts());
    let (from, to) = ("192.0.2.1:999".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    sim.with(b, |endpoint, _| {
        endpoint
            .load_connection(std::sync::Arc::clone(&site_b().connection(sim::peer::PROPOSALS).load().connections[0]));
    });
    sim.inject(sim::Datagram { from, to, bytes, keepalive: false });
    sim.run_for(SECOND);
    assert_eq!(sim.endpoint(b).sizes(), (1, 1));
    sim.initiate(a, b);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "{:?}", sim.tombstones(a));
    let to_b = sim.wire.iter().filter(|(_, d)| d.to == to).count();
    assert_eq!(to_b, 2, "IKE_SA_INIT twice on port 500");
}

#[test]
fn cookie_and_wrong_guess_together() {
    let mut sim = Sim::new(1);
    let a = sim.add(site_a().connection("proposals = aes128gcm16-prfsha256-modp2048-x25519"));
    let b = sim.add(site_b().connection(sim::peer::PROPOSALS).settings(|s| s.cookie_threshold = 1));
    let mut other = sim::Peer::new(Role::Initiator, 9);
    let bytes = other.init(&other.init_parts());
    let to = "192.0.2.2:500".parse().unwrap();
    sim.inject(sim::Datagram { from: "192.0.2.1:999".parse().unwrap(), to, bytes, keepalive: false });
    sim.run_for(SECOND);
    sim.initiate(a, b);
    // RFC 7296 section 2.6.1: the initiator returns the cookie in the second try too, so that three round trips do.
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "{:?}", sim.tombstones(a));
    assert_eq!(sim.wire.iter().filter(|(_, d)| d.to == to).count(), 3);
}

fn encapsulated(sim: &Sim, node: NodeId) -> bool {
    only(sim, node).encapsulated
}

fn behind_nat(site: Site) -> Site {
    site.behind(Nat::new("203.0.113.1".parse().unwrap()))
}

#[test]
fn a_nat_moves_both_to_port_4500_and_encapsulates() {
    let a = Site::new("a", "10.0.0.2").to("192.0.2.2").child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
    let b =
        Site::new("b", "192.0.2.2").to("203.0.113.1").child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
    let (sim, a, b) = tunnel(behind_nat(a), b);
    assert!(encapsulated(&sim, a) && encapsulated(&sim, b));
    let (of_a, of_b) = (&sim.snapshots(a)[0], &sim.snapshots(b)[0]);
    assert!(of_a.nat.local && !of_a.nat.remote && of_b.nat.remote && !of_b.nat.local);
    assert_eq!((of_a.local.port(), of_a.remote.port(), of_b.local.port()), (4500, 4500, 4500));
    assert_eq!(of_b.remote.ip(), "203.0.113.1".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(only(&sim, b).remote, of_b.remote, "ESP goes where IKE comes from");
    assert_ne!(of_b.remote.port(), 4500, "this NAT does not preserve ports");
}

#[test]
fn two_peers_behind_one_nat() {
    let inside = |name: &str, address: &str, net: &str| {
        behind_nat(Site::new(name, address).to("192.0.2.2"))
            .child(&format!("local_ts = {net}"))
            .child("remote_ts = 10.9.0.0/16")
    };
    let mut sim = Sim::new(4);
    let a = sim.add(inside("a", "10.0.0.2", "10.1.0.0/16"));
    let c = sim.add(inside("c", "10.0.0.3", "10.2.0.0/16"));
    let b = sim.add(
        Site::new("b", "192.0.2.2")
            .to("203.0.113.1")
            .child("local_ts = 10.9.0.0/16")
            .child("remote_ts = 10.1.0.0/16, 10.2.0.0/16"),
    );
    sim.initiate(a, b);
    sim.initiate(c, b);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b) && sim.carries(c, b)).is_some());
    assert_eq!(sim.endpoint(b).sizes(), (2, 0));
}

#[test]
fn the_end_outside_follows_a_new_mapping() {
    let a = Site::new("a", "10.0.0.2")
        .to("192.0.2.2")
        .connection("dpd_delay = 10s")
        .child("local_ts = 10.1.0.0/16")
        .child("remote_ts = 10.2.0.0/16");
    let b =
        Site::new("b", "192.0.2.2").to("203.0.113.1").child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
    let (mut sim, a, b) = tunnel(behind_nat(a), b);
    let before = sim.snapshots(b)[0].remote;
    sim.nat(a).unwrap().reboot();
    sim.run_for(25 * SECOND);
    let after = sim.snapshots(b)[0].remote;
    assert_ne!(before, after);
    assert_eq!(only(&sim, b).remote, after, "the data plane follows (RFC 7296 section 2.23)");
    assert!(sim.carries(a, b) && sim.plane(b).updates == 1);
}

#[test]
fn keepalives_hold_the_mapping_open() {
    let a = Site::new("a", "10.0.0.2").to("192.0.2.2").child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
    let b =
        Site::new("b", "192.0.2.2").to("203.0.113.1").child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
    let (mut sim, a, b) = tunnel(behind_nat(a), b);
    sim.run_for(600 * SECOND);
    let keepalives = sim.wire.iter().filter(|(_, d)| d.keepalive).count();
    assert_eq!(keepalives, 30, "one each 20 s");
    // The outside end can still reach the inside one.
    sim.terminate(b, &proto::Selection::default());
    assert!(sim.run_until(SECOND, |sim| sim.endpoint(a).sizes().0 == 0).is_some());
}

#[test]
fn without_a_nat_mobike_moves_to_port_4500_but_does_not_encapsulate() {
    let (sim, a, b) = tunnel(site_a(), site_b());
    assert_eq!((sim.snapshots(a)[0].local.port(), sim.snapshots(b)[0].local.port()), (4500, 4500));
    assert!(!encapsulated(&sim, a) && !encapsulated(&sim, b));
    let (sim, a, b) = tunnel(site_a().connection("mobike = no"), site_b().connection("mobike = no"));
    assert_eq!((sim.snapshots(a)[0].local.port(), sim.snapshots(b)[0].local.port()), (500, 500));
    assert!(!encapsulated(&sim, a) && !encapsulated(&sim, b));
}

#[test]
fn encap_forces_encapsulation_from_either_end() {
    for (of_a, of_b) in [("encap = yes", "encap = no"), ("encap = no", "encap = yes")] {
        let (sim, a, b) = tunnel(site_a().connection(of_a), site_b().connection(of_b));
        assert!(encapsulated(&sim, a) && encapsulated(&sim, b), "a: {of_a}, b: {of_b}");
        assert_eq!(sim.snapshots(a)[0].remote.port(), 4500);
    }
}

#[test]
fn the_identity_chooses_among_connections() {
    let hub = "connections {
          x { remote_addrs = %any
              local { auth = psk
                      id = hub.example }
              remote { auth = psk
                       id = a.example }
              children { net { local_ts = 10.9.0.0/24
                               remote_ts = 10.1.0.0/24 } } }
          y { remote_addrs = %any
              local { auth = psk
                      id = hub.example }
              remote { auth = psk
                       id = *.example }
              children { net { local_ts = 10.9.0.0/24
                               remote_ts = 10.2.0.0/24 } } }
        }
        secrets {
          ike-a { id = a.example
                  secret = first }
          ike-rest { secret = second }
        }";
    let spoke = |name: &str, address: &str, secret: &str, net: &str| {
        Site::new(name, address)
            .to("192.0.2.9")
            .secret(Some(secret))
            .child(&format!("local_ts = {net}"))
            .child("remote_ts = 10.9.0.0/24")
    };
    let mut sim = Sim::new(5);
    let hub = sim.add(Site::new("hub", "192.0.2.9").text(hub));
    let a = sim.add(spoke("a", "192.0.2.1", "first", "10.1.0.0/24"));
    let c = sim.add(spoke("c", "192.0.2.3", "second", "10.2.0.0/24"));
    sim.initiate(a, hub);
    sim.initiate(c, hub);
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, hub) && sim.carries(c, hub)).is_some());
    let mut names: Vec<String> = sim.snapshots(hub).into_iter().map(|s| s.name).collect();
    names.sort();
    assert_eq!(names, ["x", "y"]);
}

/// Two peers with the same network behind them are told apart by marks: the kernel's policies and SAs, which numbers tie
/// together, must be too.
#[test]
fn the_same_selectors_with_other_marks_have_another_request_id() {
    let mut sim = Sim::new(1);
    let selectors = "local_ts = 10.2.0.0/16\nremote_ts = 10.1.0.0/16";
    let connection = |name: &str, peer: &str, mark: u32| {
        format!(
            "{name} {{ local_addrs = 192.0.2.9\nremote_addrs = {peer}\nlocal {{ auth = psk\nid = c.example }}\n\
             remote {{ auth = psk }}\nchildren {{ net {{ {selectors}\nmark_in = {mark}\nmark_out = {mark} }} }} }}\n"
        )
    };
    let [one, two] = [("alice", "192.0.2.1", 10), ("venus", "192.0.2.2", 20)].map(|(n, p, m)| connection(n, p, m));
    let text = format!("connections {{ {one} {two} }}\nsecrets {{ ike-all {{ secret = swordfish }} }}");
    let gateway = sim.add(Site::new("c", "192.0.2.9").text(&text));
    let child = ["local_ts = 10.1.0.0/16", "remote_ts = 10.2.0.0/16"];
    for (name, address) in [("a", "192.0.2.1"), ("b", "192.0.2.2")] {
        let peer = Site::new(name, address).to("192.0.2.9").child(child[0]).child(child[1]);
        let peer = sim.add(peer);
        sim.initiate(peer, gateway);
        sim.settle(Duration::from_secs(10));
        assert!(sim.carries(peer, gateway));
    }
    let installed: Vec<(u32, Option<u32>)> =
        sim.plane(gateway).installed().map(|i| (i.reqid, i.binding.mark_out.map(|mark| mark.value))).collect();
    assert_eq!(installed, [(1, Some(10)), (2, Some(20))]);
}
