//! IKEv1: two ends that should understand each other do, in both modes and roles.

use model::dataplane::{ChildInstall, Command};
use model::{ChildState, Event, ExchangeMode, IkeState, Role};
use proto::Selection;
use sim::{Conditions, Happened, Nat, NodeId, Sim, Site};
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);
const MODES: [&str; 2] = ["aggressive = no", "aggressive = yes"];
const IKE: &str = "proposals = aes128-sha256-x25519";

fn site(name: &str, address: &str, peer: &str) -> Site {
    Site::new(name, address).to(peer).connection("version = 1")
}

fn site_a() -> Site {
    site("a", "192.0.2.1", "192.0.2.2")
}

fn site_b() -> Site {
    site("b", "192.0.2.2", "192.0.2.1")
}

fn only(sim: &Sim, node: NodeId) -> &ChildInstall {
    let mut all = sim.plane(node).installed();
    let first = all.next().expect("something installed");
    assert!(all.next().is_none(), "one Child SA only");
    first
}

/// Brings a tunnel from the first to the second up and checks what must hold for every tunnel.
fn up(sim: &mut Sim, a: NodeId, b: NodeId) {
    sim.initiate(a, b);
    if sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_none() {
        for node in [a, b] {
            sim.events(node).for_each(|(at, event)| eprintln!("{at:?} {:?}", event.log()));
        }
        panic!("no tunnel within ten seconds");
    }
    sim.settle(10 * SECOND);
    for (node, role) in [(a, Role::Initiator), (b, Role::Responder)] {
        let snapshots = sim.snapshots(node);
        let [sa] = snapshots.as_slice() else { panic!("one SA, not {}", snapshots.len()) };
        assert_eq!((sa.state, sa.role, sa.version), (IkeState::Established, role, 1));
        assert!(sa.waiting_for.is_none() && sa.tasks_active.is_empty());
        let [child] = sa.children.as_slice() else { panic!("one Child SA") };
        assert_eq!(child.state, ChildState::Installed);
        assert_eq!(sim.endpoint(node).sizes(), (1, 0));
        assert_eq!(sim.tombstones(node).len(), 0);
        assert_eq!(sim.plane(node).installs, 1);
        let install = only(sim, node);
        assert_eq!((install.inbound.spi, install.outbound.spi), (child.spi_in, child.spi_out));
        assert_eq!((install.child, install.ike), (child.id, sa.id));
        let drops: Vec<_> = sim.endpoint(node).drops().into_iter().filter(|(_, n)| *n > 0).collect();
        assert!(drops.is_empty(), "{drops:?}");
    }
    let (of_a, of_b) = (sim.snapshots(a), sim.snapshots(b));
    assert_eq!((of_a[0].spis, of_a[0].suite, of_a[0].mode), (of_b[0].spis, of_b[0].suite, of_b[0].mode));
    assert_eq!((&of_a[0].local_id, &of_a[0].remote_id), (&of_b[0].remote_id, &of_b[0].local_id));
    // The initiator is ready to receive before message 3 of quick mode lets the responder send.
    let log = sim.happened(a);
    let install = log.iter().position(|e| matches!(e.what, Happened::Plane(Command::Install(_))));
    let third = log.iter().rposition(|e| match &e.what {
        Happened::Sent(d) => Header::parse(&d.bytes).is_ok_and(|h| h.exchange == ExchangeType::QUICK_MODE),
        _ => false,
    });
    assert!(install.is_some() && install < third, "install at {install:?}, message 3 at {third:?}");
    for node in [a, b] {
        let at = |wanted: fn(&Event) -> bool| {
            sim.happened(node).iter().position(|e| matches!(&e.what, Happened::Event(event) if wanted(event)))
        };
        let (ike, child) = (at(|e| matches!(e, Event::IkeUp(_))), at(|e| matches!(e, Event::ChildUp(_))));
        assert!(ike.is_some() && ike < child);
    }
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    up(&mut sim, a, b);
    (sim, a, b)
}

#[test]
fn both_modes_and_both_roles() {
    for (mode, expected, datagrams) in
        [(MODES[0], ExchangeMode::IdentityProtection, 9), (MODES[1], ExchangeMode::Aggressive, 6)]
    {
        let (sim, a, _) = tunnel(site_a().connection(mode), site_b().connection(mode));
        assert_eq!((sim.snapshots(a)[0].mode, sim.wire.len()), (Some(expected), datagrams));
        let mut sim = Sim::new(2);
        let (a, b) = (sim.add(site_a().connection(mode)), sim.add(site_b().connection(mode)));
        up(&mut sim, b, a);
        let again = sim.try_initiate(b, a).unwrap();
        assert!(matches!(again, proto::Started::AlreadyUp(_)), "{again:?}");
    }
}

#[test]
fn every_phase_1_suite() {
    for mode in MODES {
        for cipher in ["aes128", "aes192", "aes256", "3des", "camellia128", "camellia256", "blowfish128", "blowfish256"]
        {
            for hash in ["sha1", "sha256", "sha384", "sha512"] {
                let line = format!("proposals = {cipher}-{hash}-x25519");
                let (sim, a, b) =
                    tunnel(site_a().connection(mode).connection(&line), site_b().connection(mode).connection(&line));
                let suite = sim.snapshots(a)[0].suite.unwrap();
                assert_eq!(
                    suite.to_proposal(model::ProposalProtocol::Ike).to_string(),
                    format!("{cipher}-{hash}-prf{hash}-x25519")
                );
                assert!(sim.carries(a, b));
            }
        }
    }
}

#[test]
fn every_group_in_phase_1() {
    let groups = ["modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "ecp521", "x25519"];
    let legacy = ["modp1024s160", "modp2048s224", "modp2048s256", "ecp192", "ecp224"];
    for (n, group) in groups.into_iter().chain(legacy).enumerate() {
        let line = format!("proposals = aes128-sha256-{group}");
        let mode = MODES[n % 2];
        tunnel(site_a().connection(mode).connection(&line), site_b().connection(mode).connection(&line));
    }
}

#[test]
fn every_phase_2_suite_with_and_without_pfs() {
    let plain =
        ["aes128gcm16", "aes256gcm16", "aes192gcm16", "aes128-sha1", "aes256-sha256", "aes192-sha384", "3des-sha1"];
    let others = ["camellia192-sha384", "camellia256-sha512", "blowfish192-sha384", "aes128gmac", "aes256gmac"];
    let pfs = ["aes128gcm16-x25519", "aes256-sha512-ecp256", "aes128-sha256-modp2048", "aes128-sha256-modp1536-ecp384"];
    for esp in plain.into_iter().chain(others).chain(pfs) {
        let line = format!("esp_proposals = {esp}");
        let (sim, a, b) = tunnel(site_a().connection(IKE).child(&line), site_b().connection(IKE).child(&line));
        let install = only(&sim, a);
        assert_eq!(install.inbound.integrity.is_some(), esp.contains("sha"), "{esp}");
        let group = sim.snapshots(a)[0].children[0].suite.unwrap().key_exchange;
        assert_eq!(group.is_some(), pfs.contains(&esp), "{esp}");
        assert_ne!(install.inbound.encryption_key.expose(), install.outbound.encryption_key.expose(), "{esp}");
        assert_eq!(only(&sim, b).outbound.encryption_key.expose(), install.inbound.encryption_key.expose());
    }
}

#[test]
fn the_responder_chooses_by_its_own_preference() {
    let (sim, a, _) = tunnel(
        site_a().connection("proposals = aes128-aes256-sha1-sha256-modp2048-x25519"),
        site_b().connection("proposals = aes256-sha256-x25519, aes128-sha1-modp2048"),
    );
    assert_eq!(
        sim.snapshots(a)[0].suite.unwrap().to_string(),
        "AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519"
    );
    let (sim, a, _) = tunnel(
        site_a().connection(IKE).child("esp_proposals = aes128-sha1, aes256gcm16, aes256-sha256"),
        site_b().connection(IKE).child("esp_proposals = aes256-sha256, aes256gcm16"),
    );
    assert!(sim.snapshots(a)[0].children[0].suite.unwrap().to_string().starts_with("AES_CBC-256"));
}

#[test]
fn selectors_of_all_kinds() {
    for (of_a, of_b) in [
        ("10.1.0.0/16", "10.2.0.0/16"),
        ("0.0.0.0/0", "10.2.0.7/32"),
        ("10.1.0.0/16[tcp/80]", "10.2.0.0/24[tcp]"),
        ("10.1.0.5-10.1.0.9", "10.2.0.0/16"),
        ("fd01::/64", "fd02::1/128"),
        ("dynamic", "dynamic"),
    ] {
        let (sim, a, b) = tunnel(
            site_a().connection(IKE).child(&format!("local_ts = {of_a}")).child(&format!("remote_ts = {of_b}")),
            site_b().connection(IKE).child(&format!("local_ts = {of_b}")).child(&format!("remote_ts = {of_a}")),
        );
        assert_eq!(only(&sim, a).local_ts, only(&sim, b).remote_ts, "{of_a}");
    }
}

/// The responder does not narrow, but takes what lies within its own.
#[test]
fn a_wider_responder_takes_the_narrower_initiator() {
    let (sim, _, b) = tunnel(
        site_a().connection(IKE).child("local_ts = 10.1.5.0/24").child("remote_ts = 10.2.3.0/24"),
        site_b().connection(IKE).child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16"),
    );
    assert_eq!(only(&sim, b).remote_ts[0].to_string(), "10.1.5.0/24");
}

#[test]
fn over_ipv6() {
    let (a, b) = ("2001:db8::1", "2001:db8::2");
    for mode in MODES {
        let (sim, a, _) = tunnel(site("a", a, b).connection(mode), site("b", b, a).connection(mode));
        assert!(only(&sim, a).local.is_ipv6());
    }
}

#[test]
fn identities_may_be_left_to_addresses() {
    for mode in MODES {
        let (sim, a, _) = tunnel(site_a().connection(mode).local_id(None), site_b().connection(mode).local_id(None));
        let sa = &sim.snapshots(a)[0];
        assert_eq!(sa.local_id.as_ref().unwrap().to_string(), "192.0.2.1");
        assert_eq!(sa.remote_id.as_ref().unwrap().to_string(), "192.0.2.2");
    }
}

fn nat_sites(mode: &str) -> (Site, Site) {
    let a = site("a", "10.0.0.2", "192.0.2.2").child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
    let b = site("b", "192.0.2.2", "203.0.113.1").child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
    (a.connection(mode).behind(Nat::new("203.0.113.1".parse().unwrap())), b.connection(mode))
}

#[test]
fn a_nat_moves_both_to_port_4500_and_encapsulates() {
    for mode in MODES {
        let (a, b) = nat_sites(mode);
        let (sim, a, b) = tunnel(a, b);
        assert!(only(&sim, a).encapsulated && only(&sim, b).encapsulated);
        let (of_a, of_b) = (&sim.snapshots(a)[0], &sim.snapshots(b)[0]);
        assert!(of_a.nat.local && !of_a.nat.remote && of_b.nat.remote && !of_b.nat.local, "{mode}");
        assert_eq!((of_a.local.port(), of_a.remote.port(), of_b.local.port()), (4500, 4500, 4500), "{mode}");
        assert_eq!(only(&sim, b).remote, of_b.remote, "ESP goes where IKE comes from");
        assert_ne!(of_b.remote.port(), 4500, "this NAT does not preserve ports");
    }
}

#[test]
fn the_end_outside_follows_a_new_mapping_and_keepalives_hold_it() {
    for mode in MODES {
        let (a, b) = nat_sites(mode);
        let (mut sim, a, b) = tunnel(a.connection("dpd_delay = 10s"), b);
        let before = sim.snapshots(b)[0].remote;
        sim.nat(a).unwrap().reboot();
        sim.run_for(25 * SECOND);
        let after = sim.snapshots(b)[0].remote;
        assert_ne!(before, after);
        assert_eq!(only(&sim, b).remote, after, "the data plane follows");
        assert!(sim.carries(a, b) && sim.plane(b).updates == 1);
        let from = sim.wire.iter().filter(|(_, d)| d.keepalive).count();
        sim.run_for(200 * SECOND);
        assert_eq!(sim.wire.iter().filter(|(_, d)| d.keepalive).count() - from, 10, "one each 20 s, {mode}");
    }
}

#[test]
fn encap_forces_encapsulation_from_either_end() {
    for mode in MODES {
        for (of_a, of_b) in [("encap = yes", "encap = no"), ("encap = no", "encap = yes")] {
            let (sim, a, b) =
                tunnel(site_a().connection(mode).connection(of_a), site_b().connection(mode).connection(of_b));
            assert!(only(&sim, a).encapsulated && only(&sim, b).encapsulated, "{mode} a: {of_a}, b: {of_b}");
            assert_eq!(sim.snapshots(a)[0].remote.port(), 4500, "{mode} a: {of_a}, b: {of_b}");
        }
        let (sim, a, b) = tunnel(site_a().connection(mode), site_b().connection(mode));
        assert!(!only(&sim, a).encapsulated && !only(&sim, b).encapsulated);
        assert_eq!(sim.snapshots(a)[0].remote.port(), 500);
    }
}

const HUB: &str = "connections {
  x { version = 1
      MODE
      remote_addrs = %any
      local { auth = psk
              id = hub.example }
      remote { auth = psk
               id = a.example }
      children { net { local_ts = 10.9.0.0/24
                       remote_ts = 10.1.0.0/24 } } }
  y { version = 1
      MODE
      remote_addrs = %any
      local { auth = psk
              id = hub.example }
      remote { auth = psk
               id = c.example }
      children { net { local_ts = 10.9.0.0/24
                       remote_ts = 10.2.0.0/24 } } }
}
secrets {
  ike-a { id = a.example
          secret = first }
  ike-c { id = c.example
          secret = second }
}";

/// Main mode hides the identity until the key is needed: message 5 is tried with the key of each connection that the
/// address allows, and the identity then chooses the connection.
#[test]
fn keys_and_identities_choose_among_connections() {
    for mode in MODES {
        let spoke = |name: &str, address: &str, secret: &str, net: &str| {
            site(name, address, "192.0.2.9")
                .connection(mode)
                .secret(Some(secret))
                .child(&format!("local_ts = {net}"))
                .child("remote_ts = 10.9.0.0/24")
        };
        let mut sim = Sim::new(5);
        let hub = sim.add(Site::new("hub", "192.0.2.9").text(&HUB.replace("MODE", mode)));
        let a = sim.add(spoke("a", "192.0.2.1", "first", "10.1.0.0/24"));
        let c = sim.add(spoke("c", "192.0.2.3", "second", "10.2.0.0/24"));
        sim.initiate(a, hub);
        sim.initiate(c, hub);
        assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, hub) && sim.carries(c, hub)).is_some(), "{mode}");
        let mut names: Vec<String> = sim.snapshots(hub).into_iter().map(|s| s.name).collect();
        names.sort();
        assert_eq!(names, ["x", "y"]);
    }
}

fn nothing_left(sim: &mut Sim, nodes: &[NodeId]) {
    sim.run_for(100 * SECOND);
    for node in nodes {
        assert_eq!(sim.endpoint(*node).sizes(), (0, 0));
        assert_eq!(sim.endpoint(*node).poll_timeout(), None);
        assert_eq!(sim.plane(*node).installed().count(), 0);
    }
}

#[test]
fn delete_of_the_isakmp_sa_by_either_end() {
    for mode in MODES {
        for by_initiator in [true, false] {
            let (mut sim, a, b) = tunnel(site_a().connection(mode), site_b().connection(mode));
            let (by, other) = if by_initiator { (a, b) } else { (b, a) };
            sim.terminate(by, &Selection::default());
            assert!(sim.run_until(SECOND, |sim| sim.endpoint(other).sizes() == (0, 0)).is_some());
            assert_eq!(sim.failure(by).kind.code(), "TERMINATED");
            assert_eq!(sim.failure(other).kind.code(), "PEER_DELETE");
            nothing_left(&mut sim, &[a, b]);
        }
    }
}

#[test]
fn delete_of_the_child_sa_leaves_the_isakmp_sa() {
    for by_initiator in [true, false] {
        let (mut sim, a, b) = tunnel(site_a(), site_b());
        let (by, other) = if by_initiator { (a, b) } else { (b, a) };
        sim.terminate(by, &Selection { child: Some("net".into()), ..Selection::default() });
        assert!(sim.run_until(SECOND, |sim| sim.plane(other).installed().count() == 0).is_some());
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
        assert_eq!(sim.plane(by).installed().count(), 0);
        assert!(sim.events(other).any(|(_, e)| matches!(e, Event::ChildDown(_))));
        // The next one is negotiated over the ISAKMP SA that is there: three datagrams.
        let before = sim.wire.len();
        sim.initiate(by, other);
        assert!(sim.run_until(SECOND, |sim| sim.carries(a, b)).is_some());
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
        assert_eq!(sim.wire.len() - before, 3);
    }
}

#[test]
fn dead_peers_are_detected_both_ways() {
    for mode in MODES {
        for initiator_asks in [true, false] {
            let dpd = |site: Site, asks: bool| if asks { site.connection("dpd_delay = 10s") } else { site };
            let (mut sim, a, b) =
                tunnel(dpd(site_a().connection(mode), initiator_asks), dpd(site_b().connection(mode), !initiator_asks));
            let (asker, other) = if initiator_asks { (a, b) } else { (b, a) };
            let before = sim.wire.len();
            sim.run_for(100 * SECOND + SECOND / 2);
            let asked = sim.wire.len() - before;
            assert!((16..=20).contains(&asked), "R-U-THERE and its ACK each 10 s: {asked} datagrams");
            assert!(sim.carries(a, b));
            sim.crash(other);
            let took = sim.run_until(200 * SECOND, |sim| sim.endpoint(asker).sizes().0 == 0).expect("noticed");
            assert!(took >= 50 * SECOND && took <= 70 * SECOND, "{took:?}");
            assert_eq!(sim.failure(asker).kind.code(), "PEER_LOST");
        }
    }
}

/// The last answers may be lost: an answer that comes resets the count.
#[test]
fn a_lossy_line_is_not_a_dead_peer() {
    let (mut sim, a, b) = tunnel(site_a().connection("dpd_delay = 5s"), site_b().connection("dpd_delay = 7s"));
    sim.set_conditions(Conditions::losing(100));
    sim.run_for(3600 * SECOND);
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(a));
}

#[test]
fn initial_contact_removes_what_a_crash_left() {
    for mode in MODES {
        let (mut sim, a, b) = tunnel(site_a().connection(mode), site_b().connection(mode));
        sim.restart(a);
        sim.initiate(a, b);
        assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some());
        sim.settle(10 * SECOND);
        assert_eq!(sim.endpoint(b).sizes(), (1, 0), "{mode}");
        assert_eq!(sim.plane(b).installed().count(), 1);
    }
}

#[test]
fn both_begin_at_once() {
    for mode in MODES {
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a().connection(mode)), sim.add(site_b().connection(mode)));
        sim.initiate(a, b);
        sim.initiate(b, a);
        sim.run_for(60 * SECOND);
        assert!(sim.carries(a, b), "{mode}: {:?} {:?}", sim.tombstones(a), sim.tombstones(b));
        let (of_a, of_b) = (sim.plane(a).installed().count(), sim.plane(b).installed().count());
        assert_eq!((of_a, of_b), (sim.pairs(a, b), sim.pairs(a, b)), "{mode}: nothing at one end only");
    }
}

/// Phase 1 alone, as `racoonctl establish-sa isakmp` has it, in both modes; quick mode comes when it is asked for.
#[test]
fn phase_1_alone() {
    for aggressive in ["no", "yes"] {
        let mut sim = Sim::new(9);
        let site = |name: &str, own: &str, peer: &str| {
            Site::new(name, own).to(peer).connection("version = 1").connection(&format!("aggressive = {aggressive}"))
        };
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
        let at = |address: &str| std::net::SocketAddr::new(address.parse().unwrap(), 500);
        let phase1 = |sim: &mut Sim| {
            sim.with(a, |endpoint, now| {
                endpoint.initiate_childless(now, "gw", at("192.0.2.1"), at("192.0.2.2")).expect("it can begin")
            })
        };
        assert!(matches!(phase1(&mut sim), proto::Started::Negotiation(_)));
        sim.run_for(Duration::from_secs(60));
        for node in [a, b] {
            let sas = sim.snapshots(node);
            assert_eq!((sas.len(), sas[0].state, sas[0].children.len()), (1, model::IkeState::Established, 0));
        }
        assert!(matches!(phase1(&mut sim), proto::Started::AlreadyUp(_)));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        assert!(sim.carries(a, b));
        assert_eq!(sim.snapshots(a).len(), 1, "over the one that is there");
    }
}
