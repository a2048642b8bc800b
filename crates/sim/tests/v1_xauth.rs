//! IKEv1: XAuth and Mode-Config between the phases, and that nobody gets past them.

use config::{AuthMethod, Authentication, Connection, Pool, PoolAttribute, SecretKind, SharedSecret};
use model::{ConfigRef, DropReason, Event, Identity};
use sim::{NodeId, Sim, Site};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ExchangeType, Header, Secret};

const SECOND: Duration = Duration::from_secs(1);

fn site(name: &str, address: &str, peer: &str, aggressive: bool) -> Site {
    let mode = if aggressive { "aggressive = yes" } else { "aggressive = no" };
    Site::new(name, address).to(peer).connection("version = 1").connection(mode)
}

fn change(sim: &mut Sim, node: NodeId, change: impl FnOnce(&mut Connection)) {
    sim.with(node, |endpoint, _| {
        let mut connection = Connection::clone(endpoint.connections().next().expect("a connection"));
        change(&mut connection);
        endpoint.load_connection(Arc::new(connection));
    });
}

fn source() -> ConfigRef {
    ConfigRef { file: "test".into(), line: 1, key: "test".into() }
}

fn password(sim: &mut Sim, node: NodeId, user: &str, password: &str) {
    let (owners, secret) = (vec![user.parse().unwrap()], Secret::new(password.as_bytes().to_vec()));
    let secret =
        SharedSecret { kind: SecretKind::Xauth, name: format!("xauth-{user}"), owners, secret, source: source() };
    sim.with(node, |endpoint, _| endpoint.add_secret(secret));
}

fn xauth() -> Authentication {
    Authentication::new(AuthMethod::Xauth, Identity::ANY)
}

/// A client and a server, with the password that each has.
fn ends(aggressive: bool, client: &str, server: &str) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", aggressive));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", aggressive));
    change(&mut sim, a, |c| c.local_more = vec![Authentication { xauth_id: Some("carol".into()), ..xauth() }]);
    change(&mut sim, b, |c| c.remote_more = vec![xauth()]);
    password(&mut sim, a, "carol", client);
    password(&mut sim, b, "carol", server);
    (sim, a, b)
}

fn transactions(sim: &Sim) -> usize {
    let is = |bytes: &[u8]| Header::parse(bytes).is_ok_and(|h| h.exchange == ExchangeType::TRANSACTION);
    sim.wire.iter().filter(|(_, d)| is(&d.bytes)).count()
}

fn with_pool(sim: &mut Sim, a: NodeId, b: NodeId, pull: bool) {
    let (first, last): (IpAddr, IpAddr) = ("10.3.0.1".parse().unwrap(), "10.3.0.6".parse().unwrap());
    let (name, ranges) = ("rw".to_string(), vec![(first, last)]);
    let dns = PoolAttribute { kind: wire::V1ConfigAttribute::INTERNAL_IP4_DNS.0, value: vec![10, 1, 0, 20] };
    let pool = Pool { name, base: first, ranges, attributes: vec![dns], source: source() };
    sim.with(b, |endpoint, _| endpoint.pools_mut().load(pool));
    change(sim, b, |c| (c.pools, c.pull) = (vec!["rw".into()], pull));
    change(sim, a, |c| (c.vips, c.pull) = (vec!["0.0.0.0".parse().unwrap()], pull));
}

#[test]
fn a_user_is_proved_in_both_modes() {
    for aggressive in [false, true] {
        let (mut sim, a, b) = ends(aggressive, "secret", "secret");
        sim.initiate(a, b);
        assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "aggressive: {aggressive}");
        assert_eq!(transactions(&sim), 4);
        for node in [a, b] {
            assert_eq!((sim.endpoint(node).sizes(), sim.tombstones(node).len()), ((1, 0), 0));
        }
    }
}

#[test]
fn a_wrong_password_ends_in_no_sa() {
    let (mut sim, a, b) = ends(false, "wrong", "secret");
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    for (node, found_by) in [(a, model::Side::Peer), (b, model::Side::Us)] {
        assert_eq!(sim.plane(node).installs, 0);
        assert!(sim.events(node).all(|(_, e)| !matches!(e, Event::IkeUp(_))));
        let failure = sim.failure(node);
        let expected = model::FailureKind::XauthRefused { user: "carol".parse().unwrap(), found_by, known: true };
        assert_eq!((failure.kind, failure.config), (expected, Some(source())), "the user's secret, not the group's");
    }
    // A user that nobody has heard of.
    let (mut sim, a, b) = ends(false, "secret", "secret");
    change(&mut sim, a, |c| c.local_more[0].xauth_id = Some("eve".into()));
    password(&mut sim, a, "eve", "secret");
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    let user = "eve".parse().unwrap();
    let expected = model::FailureKind::XauthRefused { user, found_by: model::Side::Us, known: false };
    assert_eq!(sim.failure(b).kind, expected);
}

/// While the user is being asked, phase 1 is done, as racoon lists it: ST 9 with the time of its end, and no phase 2.
#[test]
fn a_phase_1_that_waits_for_its_user_has_a_date() {
    let (mut sim, a, b) = ends(false, "secret", "secret");
    sim.set_hook(Some(Box::new(|_, datagram| {
        let header = Header::parse(&datagram.bytes).unwrap();
        let lost = header.exchange == ExchangeType::TRANSACTION;
        if lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    let server = &sim.snapshots(b)[0];
    assert!(server.established.is_none() && server.phase1.is_some_and(|at| at >= 9 * SECOND), "{server:?}");
    let created = |age: Duration| format!("{} seconds ago", age.as_secs());
    let dialect = show::racoonctl::Dialect::Racoon07;
    let options = show::racoonctl::Options { level: 1, dialect, strict: true, created: &created };
    let table = show::racoonctl::render(&sim.snapshots(b), &options);
    let row = table.lines().nth(1).unwrap();
    assert!(row.contains("  9 R 10 M 9 seconds ago") && row.trim_end().ends_with(" 0"), "{table}");
    sim.set_hook(None);
    assert!(sim.run_until(20 * SECOND, |sim| sim.carries(a, b)).is_some());
}

#[test]
fn nobody_gets_past_xauth() {
    // The client knows the group's key, but offers no XAuth.
    let (mut sim, a, b) = ends(false, "secret", "secret");
    change(&mut sim, a, |c| c.local_more.clear());
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    assert_eq!(sim.plane(b).installs, 0);
    assert!(sim.tombstones(b).iter().any(|t| t.failure.kind.code() == "AUTH_METHOD_MISMATCH"));
    // And the server does not ask a client that insists.
    let (mut sim, a, b) = ends(false, "secret", "secret");
    change(&mut sim, b, |c| c.remote_more.clear());
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (0, 0));
}

/// A server without a pool gives no address: neither asked nor unasked, and the client says what is wrong.
#[test]
fn no_address_is_told_as_what_it_is() {
    for pull in [true, false] {
        let (mut sim, a, b) = ends(false, "secret", "secret");
        let vips: Vec<IpAddr> = vec!["0.0.0.0".parse().unwrap()];
        change(&mut sim, a, |c| (c.vips, c.pull) = (vips.clone(), pull));
        sim.initiate(a, b);
        sim.run_for(60 * SECOND);
        let kind = sim.failure(a).kind;
        let expected =
            model::FailureKind::NoVirtualAddress { found_by: model::Side::Peer, asked: vips, pools: Vec::new() };
        assert_eq!(kind, expected, "pull: {pull}");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)), "pull: {pull}");
    }
}

#[test]
fn an_address_is_pulled_or_pushed() {
    for pull in [true, false] {
        let (mut sim, a, b) = ends(false, "secret", "secret");
        with_pool(&mut sim, a, b, pull);
        sim.initiate(a, b);
        sim.run_for(10 * SECOND);
        assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (1, 1), "pull: {pull}");
        assert_eq!(transactions(&sim), 6);
        let lease: Vec<String> =
            sim.endpoint(b).pools().leases("rw").map(|l| format!("{} {} {}", l.address, l.identity, l.users)).collect();
        assert_eq!(lease, ["10.3.0.1 carol 1"]);
        let given: IpAddr = "10.3.0.1".parse().unwrap();
        let (client, server) = (&sim.snapshots(a)[0], &sim.snapshots(b)[0]);
        assert_eq!((client.local_vips.clone(), client.remote_vips.len()), (vec![given], 0));
        assert_eq!((server.remote_vips.clone(), server.local_vips.len()), (vec![given], 0));
        assert_eq!((server.remote_xauth_id.clone(), &client.remote_xauth_id), (Some("carol".parse().unwrap()), &None));
        // The script lets the virtual address through its packet filter.
        let heard = |node: NodeId| {
            let install = sim.plane(node).installed().next().unwrap();
            install.updown_environment.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        for told in ["PLUTO_MY_SOURCEIP=10.3.0.1", "PLUTO_MY_SOURCEIP4_1=10.3.0.1", "PLUTO_DNS4_1=10.1.0.20"] {
            assert!(heard(a).iter().any(|line| line == told), "{told}: {:?}", heard(a));
        }
        assert!(heard(b).iter().any(|line| line == "PLUTO_PEER_SOURCEIP=10.3.0.1"), "{:?}", heard(b));
        sim.terminate(a, &proto::Selection::default());
        sim.run_for(5 * SECOND);
        assert_eq!(sim.endpoint(b).pools().leases("rw").map(|l| l.users).collect::<Vec<_>>(), [0]);
    }
}

#[test]
fn addresses_of_both_families_are_pushed() {
    let (mut sim, a, b) = ends(false, "secret", "secret");
    with_pool(&mut sim, a, b, false);
    let (first, last): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::9".parse().unwrap());
    let pool =
        Pool { name: "six".into(), base: first, ranges: vec![(first, last)], attributes: Vec::new(), source: source() };
    sim.with(b, |endpoint, _| endpoint.pools_mut().load(pool));
    change(&mut sim, b, |c| c.pools = vec!["rw".into(), "six".into()]);
    change(&mut sim, a, |c| c.vips = vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()]);
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (1, 1));
    for (pool, address) in [("rw", "10.3.0.1"), ("six", "2001:db8::1")] {
        let leases: Vec<String> = sim.endpoint(b).pools().leases(pool).map(|l| l.address.to_string()).collect();
        assert_eq!(leases, [address]);
    }
}

/// A client whose server names these networks, and what the client then has; each network is one Child SA.
fn with_networks(remote_ts: &str, included: &[[u8; 8]]) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", false).child(&format!("remote_ts = {remote_ts}")));
    let b = site("b", "192.0.2.2", "192.0.2.1", false).child("local_ts = 0.0.0.0/0");
    let b = sim.add(b);
    with_pool(&mut sim, a, b, true);
    let value = included.iter().flat_map(|network| [&network[..], &[0; 6]].concat()).collect();
    let attribute = |kind: wire::V1ConfigAttribute, value: Vec<u8>| PoolAttribute { kind: kind.0, value };
    let attributes = vec![
        attribute(wire::V1ConfigAttribute::UNITY_SPLIT_INCLUDE, value),
        attribute(wire::V1ConfigAttribute::UNITY_BANNER, b"Welcome\r\n\x1b[31mto the lab\n".to_vec()),
        attribute(wire::V1ConfigAttribute::UNITY_DEF_DOMAIN, b"lab.example".to_vec()),
    ];
    sim.with(b, |endpoint, _| {
        let mut pool = endpoint.pools().iter().next().unwrap().clone();
        pool.attributes = attributes;
        endpoint.pools_mut().load(pool)
    });
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    (sim, a, b)
}

fn selectors(sim: &Sim, node: NodeId) -> Vec<String> {
    let text = |i: &model::dataplane::ChildInstall| format!("{} === {}", i.local_ts[0], i.remote_ts[0]);
    let mut all: Vec<String> = sim.plane(node).installed().map(text).collect();
    all.sort();
    all
}

#[test]
fn the_servers_networks_become_child_sas() {
    let two = [[10, 1, 0, 0, 255, 255, 0, 0], [10, 9, 8, 0, 255, 255, 255, 0]];
    let (mut sim, a, b) = with_networks("0.0.0.0/0", &two);
    assert_eq!(selectors(&sim, a), ["10.3.0.1/32 === 10.1.0.0/16", "10.3.0.1/32 === 10.9.8.0/24"]);
    assert_eq!(sim.pairs(a, b), 2);
    // Asked for again, nothing is made twice.
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    assert_eq!(sim.plane(a).installed().count(), 2, "{:?}", selectors(&sim, a));
    // Narrower: what both name. Nothing in common: what is configured.
    let (sim, a, b) = with_networks("10.9.0.0/16", &two);
    assert_eq!((selectors(&sim, a), sim.pairs(a, b)), (vec!["10.3.0.1/32 === 10.9.8.0/24".to_string()], 1));
    let (sim, a, b) = with_networks("172.16.0.0/12", &two);
    assert_eq!((selectors(&sim, a), sim.pairs(a, b)), (vec!["10.3.0.1/32 === 172.16.0.0/12".to_string()], 1));
    // None named: everything.
    let (sim, a, _) = with_networks("0.0.0.0/0", &[]);
    assert_eq!(selectors(&sim, a), ["10.3.0.1/32 === 0.0.0.0/0"]);
}

#[test]
fn the_servers_networks_are_bounded_and_its_texts_are_one_line() {
    let many: Vec<[u8; 8]> = (0..=255).map(|n| [10, n, 0, 0, 255, 255, 0, 0]).collect();
    let (sim, a, _) = with_networks("0.0.0.0/0", &many);
    assert_eq!((sim.plane(a).installed().count(), sim.endpoint(a).sizes()), (16, (1, 0)));
    let lines: Vec<&str> = sim
        .events(a)
        .filter_map(|(_, e)| match e {
            Event::Step { text, .. } if text.starts_with("the peer's ") => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let banner = sim.snapshots(a)[0].banner.clone();
    assert_eq!(banner.as_deref(), Some("Welcome\r\n\u{1b}[31mto the lab"), "for whoever prints it to make harmless");
    assert_eq!(lines, [r"the peer's banner: Welcome\r\n\u{1b}[31mto the lab", "the peer's domain: lab.example"]);
}

#[test]
fn quick_mode_waits_for_the_user() {
    let (mut sim, a, b) = ends(false, "secret", "secret");
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| transactions(sim) > 0).expect("XAuth begins");
    let spis = sim.snapshots(b)[0].spis;
    let header = Header {
        spis,
        next_payload: wire::PayloadType::V1_HASH,
        version: wire::Version::V1,
        exchange: ExchangeType::QUICK_MODE,
        flags: wire::Flags::ENCRYPTION,
        message_id: 77,
        length: 60,
    };
    let mut bytes = Vec::new();
    header.write(&mut bytes);
    bytes.resize(60, 7);
    let outputs = sim.with(b, |endpoint, now| {
        let (local, remote) = ("192.0.2.2:500".parse().unwrap(), "192.0.2.1:500".parse().unwrap());
        endpoint.handle(now, proto::Input::Datagram { local, remote, bytes: &bytes });
        let drops = endpoint.drops();
        drops.into_iter().find(|(reason, _)| *reason == DropReason::XauthNotDone).map(|(_, n)| n)
    });
    assert_eq!(outputs, Some(1));
    assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "and nothing changed");
}

/// The end with the pool begins: its selectors wait for the address that the peer asks for, and not for ever.
#[test]
fn a_server_that_begins_waits_for_the_question() {
    for asks in [true, false] {
        let mut sim = Sim::new(1);
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", false).child("local_ts = dynamic"));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", false).child("remote_ts = dynamic"));
        with_pool(&mut sim, a, b, true);
        if !asks {
            change(&mut sim, a, |c| c.vips.clear());
        }
        sim.initiate(b, a);
        sim.run_for(SECOND);
        assert_eq!(sim.carries(a, b), asks);
        sim.run_for(5 * SECOND);
        let address = if asks { "10.3.0.1" } else { "192.0.2.1" };
        assert_eq!(selectors(&sim, b), [format!("192.0.2.2/32 === {address}/32")]);
        assert_eq!((sim.pairs(a, b), sim.endpoint(b).sizes()), (1, (1, 0)));
    }
}
