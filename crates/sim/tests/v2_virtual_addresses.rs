//! IKEv2: virtual addresses by Configuration payloads (RFC 7296 sections 2.19 and 3.15).

use model::{Event, FailureKind, Side};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

const ONE: &str = "rw { addrs = 10.3.0.0/28 }";

fn client(name: &str, address: &str, vips: &str) -> Site {
    let vips = if vips.is_empty() { "mobike = yes".to_string() } else { format!("vips = {vips}") };
    Site::new(name, address).to("192.0.2.1").connection(&vips).child("remote_ts = 10.1.0.0/16, 2001:db8:1::/48")
}

/// A gateway with these lines in its connection and these pools.
fn gateway(connection: &str, pools: &str) -> Site {
    Site::new("gate", "192.0.2.1").text(&format!(
        "connections {{ gw {{\n local_addrs = 192.0.2.1\n {connection}\n local {{ auth = psk\n id = gate.example }}\n \
         remote {{ auth = psk }}\n children {{ net {{ local_ts = 10.1.0.0/16, 2001:db8:1::/48 }} }} }} }}\n\
         secrets {{ ike-all {{ secret = swordfish }} }}\npools {{ {pools} }}\n"
    ))
}

fn addresses(list: &[IpAddr]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn leases(sim: &Sim, node: NodeId, pool: &str) -> Vec<String> {
    let leases = sim.endpoint(node).pools().leases(pool);
    leases.map(|lease| format!("{} {} {}", lease.address, lease.identity, lease.users)).collect()
}

fn selectors(sim: &Sim, node: NodeId) -> Vec<String> {
    let list = |ts: &[model::TrafficSelector]| ts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let text = |i: &model::dataplane::ChildInstall| format!("{} === {}", list(&i.local_ts), list(&i.remote_ts));
    let mut all: Vec<String> = sim.plane(node).installed().map(text).collect();
    all.sort();
    all
}

fn up(client: Site, gate: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(7);
    let (a, b) = (sim.add(client), sim.add(gate));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    (sim, a, b)
}

#[test]
fn an_address_of_each_family_is_assigned_and_given_back() {
    let cases: [(&str, &[&str], &str); 4] = [
        ("0.0.0.0", &["10.3.0.1"], "10.3.0.1/32 === 10.1.0.0/16 2001:db8:1::/48"),
        ("10.3.0.5", &["10.3.0.5"], "10.3.0.5/32 === 10.1.0.0/16 2001:db8:1::/48"),
        ("::", &["2001:db8:3::1"], "2001:db8:3::1/128 === 10.1.0.0/16 2001:db8:1::/48"),
        (
            "0.0.0.0, ::",
            &["10.3.0.1", "2001:db8:3::1"],
            "10.3.0.1/32 2001:db8:3::1/128 === 10.1.0.0/16 2001:db8:1::/48",
        ),
    ];
    let pools = "rw { addrs = 10.3.0.0/28\n dns = 10.1.0.20 }\n six { addrs = 2001:db8:3::/120 }";
    for (vips, expected, at_client) in cases {
        let (mut sim, a, b) = up(client("a", "192.0.2.2", vips), gateway("pools = rw, six", pools));
        assert!(sim.carries(a, b), "{vips}");
        assert_eq!(selectors(&sim, a), [at_client]);
        let (here, there) = (&sim.snapshots(a)[0], &sim.snapshots(b)[0]);
        assert_eq!(
            (addresses(&here.local_vips), here.remote_vips.len()),
            (expected.iter().map(|s| s.to_string()).collect(), 0)
        );
        assert_eq!((addresses(&there.remote_vips), there.local_vips.len()), (addresses(&here.local_vips), 0));
        assert_eq!(addresses(&sim.virtual_addresses(a)), expected);
        let install = sim.plane(a).installed().next().unwrap();
        let script = |name: &str| install.updown_environment.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(script("PLUTO_MY_SOURCEIP"), Some(expected[0]));
        assert_eq!(script("PLUTO_DNS4_1"), Some("10.1.0.20"));
        sim.terminate(a, &Selection::default());
        sim.run_for(5 * SECOND);
        assert!(sim.virtual_addresses(a).is_empty());
        assert!(leases(&sim, b, "rw").iter().chain(&leases(&sim, b, "six")).all(|lease| lease.ends_with(" 0")));
    }
}

#[test]
fn each_peer_has_its_own_and_gets_it_again() {
    let mut sim = Sim::new(7);
    let gate = sim.add(gateway("pools = rw", ONE));
    let a = sim.add(client("a", "192.0.2.2", "0.0.0.0"));
    let b = sim.add(client("b", "192.0.2.3", "0.0.0.0"));
    for node in [a, b] {
        sim.initiate(node, gate);
        sim.run_for(5 * SECOND);
    }
    assert_eq!(leases(&sim, gate, "rw"), ["10.3.0.1 a.example 1", "10.3.0.2 b.example 1"]);
    // It comes back after an end, and after a crash of which only INITIAL_CONTACT tells.
    sim.terminate(b, &Selection::default());
    sim.run_for(5 * SECOND);
    sim.restart(a);
    for node in [b, a] {
        sim.initiate(node, gate);
        sim.run_for(5 * SECOND);
    }
    assert_eq!(leases(&sim, gate, "rw"), ["10.3.0.1 a.example 1", "10.3.0.2 b.example 1"]);
    assert_eq!(sim.endpoint(gate).sizes(), (2, 0));
    assert!(sim.carries(a, gate) && sim.carries(b, gate));
}

#[test]
fn an_address_outlives_rekeying_and_authenticating_anew() {
    for lifetime in ["rekey_time = 60", "reauth_time = 60"] {
        let site = client("a", "192.0.2.2", "0.0.0.0").connection(lifetime).connection("rand_time = 0");
        let (mut sim, a, b) = up(site, gateway("pools = rw", ONE));
        let first = sim.snapshots(a)[0].id;
        sim.run_for(70 * SECOND);
        let sa = &sim.snapshots(a)[0];
        assert_ne!(sa.id, first, "{lifetime}");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
        assert_eq!(addresses(&sa.local_vips), ["10.3.0.1"], "{lifetime}");
        assert_eq!(addresses(&sim.snapshots(b)[0].remote_vips), ["10.3.0.1"]);
        assert_eq!(addresses(&sim.virtual_addresses(a)), ["10.3.0.1"], "{lifetime}");
        assert_eq!(leases(&sim, b, "rw"), ["10.3.0.1 a.example 1"], "{lifetime}");
        assert!(sim.carries(a, b));
        sim.terminate(b, &Selection::default());
        sim.run_for(5 * SECOND);
        assert!(sim.virtual_addresses(a).is_empty());
        assert_eq!(leases(&sim, b, "rw"), ["10.3.0.1 a.example 0"]);
    }
}

#[test]
fn both_ends_rekey_at_once_and_the_address_stays() {
    let (mut sim, a, b) = up(client("a", "192.0.2.2", "0.0.0.0"), gateway("pools = rw", ONE));
    for round in 0..3 {
        for node in [a, b] {
            let ike = Selection { ike: Some("gw".into()), ..Selection::default() };
            assert_eq!(sim.with(node, |endpoint, now| endpoint.rekey(now, &ike)), 1);
        }
        sim.settle(60 * SECOND);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "{round}");
        assert_eq!(addresses(&sim.virtual_addresses(a)), ["10.3.0.1"]);
        assert_eq!(addresses(&sim.snapshots(a)[0].local_vips), ["10.3.0.1"]);
        assert_eq!(leases(&sim, b, "rw"), ["10.3.0.1 a.example 1"]);
    }
}

#[test]
fn the_responder_says_when_to_authenticate_anew() {
    // RFC 4478: only the initiator can, which has no such time of its own.
    let gate = gateway("pools = rw\n reauth_time = 60\n over_time = 6\n rekey_time = 0", ONE);
    let site = client("a", "192.0.2.2", "0.0.0.0").connection("rekey_time = 0").connection("over_time = 6");
    let (mut sim, a, b) = up(site, gate);
    let first = sim.snapshots(a)[0].id;
    assert!(sim.snapshots(a)[0].reauth_in.is_some_and(|left| left < 54 * SECOND));
    sim.run_for(60 * SECOND);
    assert!(sim.snapshots(a)[0].id > first && sim.carries(a, b));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
    // One selector pair, one number: it is free again when the first Child SA is gone.
    assert_eq!(sim.plane(b).installed().map(|i| i.reqid).collect::<Vec<_>>(), [1]);
}

/// A gateway whose time is shorter than anybody can use must not have its client do nothing else.
#[test]
fn a_lifetime_of_seconds_is_no_storm() {
    let gate = gateway("pools = rw\n reauth_time = 2\n over_time = 100\n rekey_time = 0", ONE);
    let site = client("a", "192.0.2.2", "0.0.0.0").connection("rekey_time = 0").connection("over_time = 1000");
    let (mut sim, a, _) = up(site, gate);
    sim.run_for(100 * SECOND);
    let made = sim.snapshots(a).iter().map(|sa| sa.id.0).max().unwrap_or(0);
    assert!((2..=12).contains(&made), "{made} IKE SAs in 100 s");
}

fn refused(sim: &Sim, node: NodeId) -> FailureKind {
    let found = sim.tombstones(node).into_iter().map(|t| t.failure.kind);
    found.into_iter().find(|kind| matches!(kind, FailureKind::NoVirtualAddress { .. })).expect("for want of an address")
}

#[test]
fn without_an_address_there_is_no_child_sa() {
    let any: IpAddr = "0.0.0.0".parse().unwrap();
    // The pool has none of the family; there is no pool; nobody asked.
    let cases = [
        ("::", "pools = rw", vec!["::".parse().unwrap()], vec!["rw".to_string()]),
        ("0.0.0.0", "unique = no", vec![any], Vec::new()),
        ("", "pools = rw", Vec::new(), vec!["rw".to_string()]),
    ];
    for (vips, connection, asked, pools) in cases {
        let (sim, a, b) = up(client("a", "192.0.2.2", vips), gateway(connection, ONE));
        assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (0, 0), "{vips}");
        assert!(sim.events(b).any(|(_, e)| matches!(e, Event::IkeUp(_))), "the IKE SA stands at first");
        assert_eq!(refused(&sim, b), FailureKind::NoVirtualAddress { found_by: Side::Us, asked: asked.clone(), pools });
        assert_eq!(refused(&sim, a), FailureKind::NoVirtualAddress { found_by: Side::Peer, asked, pools: Vec::new() });
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
        assert!(sim.virtual_addresses(a).is_empty());
    }
    let mut sim = Sim::new(7);
    let gate = sim.add(gateway("pools = rw", "rw { addrs = 10.3.0.1 }"));
    let nodes: Vec<NodeId> =
        ["a", "b"].iter().zip(["192.0.2.2", "192.0.2.3"]).map(|(n, at)| sim.add(client(n, at, "0.0.0.0"))).collect();
    for node in &nodes {
        sim.initiate(*node, gate);
        sim.run_for(5 * SECOND);
    }
    let kind = refused(&sim, nodes[1]);
    assert_eq!(kind.to_string(), "the peer has no virtual address for us; asked for: 0.0.0.0");
    assert_eq!(refused(&sim, gate).to_string(), "no virtual address left in the pools rw; asked for: 0.0.0.0");
    // The address is free again, and the one who was refused gets it.
    sim.terminate(nodes[0], &Selection::default());
    sim.run_for(5 * SECOND);
    sim.initiate(nodes[1], gate);
    sim.run_for(5 * SECOND);
    assert_eq!(leases(&sim, gate, "rw"), ["10.3.0.1 b.example 1"]);
    assert!(sim.carries(nodes[1], gate));
}

#[test]
fn a_lost_peer_gives_its_address_back() {
    let gate = gateway("pools = rw\n dpd_delay = 10", ONE);
    let (mut sim, a, b) = up(client("a", "192.0.2.2", "0.0.0.0"), gate);
    assert_eq!(leases(&sim, b, "rw"), ["10.3.0.1 a.example 1"]);
    sim.crash(a);
    sim.run_for(600 * SECOND);
    assert_eq!(leases(&sim, b, "rw"), ["10.3.0.1 a.example 0"]);
}

#[test]
fn leases_are_counted_right_whatever_the_net_loses() {
    for seed in 0..60 {
        let mut sim = Sim::new(seed);
        let gate = sim.add(gateway("pools = rw", ONE));
        let lossy = sim::Conditions { loss: 200, duplicate: 100, ..sim::Conditions::default() };
        sim.set_conditions(lossy);
        let site = client("a", "192.0.2.2", "0.0.0.0").connection("rekey_time = 30").connection("rand_time = 10");
        let a = sim.add(site);
        sim.initiate(a, gate);
        sim.run_for(400 * SECOND);
        sim.set_conditions(sim::Conditions::default());
        sim.run_for(300 * SECOND);
        let live = sim.endpoint(gate).sizes().0;
        let users: u32 = sim.endpoint(gate).pools().leases("rw").map(|lease| lease.users).sum();
        let brought: usize = sim.snapshots(a).iter().map(|sa| sa.local_vips.len()).sum();
        assert_eq!((users as usize, sim.virtual_addresses(a).len()), (live.min(1), brought), "seed {seed}");
    }
}
