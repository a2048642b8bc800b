//! IKE SAs without a Child SA in IKE_AUTH (RFC 6023), by either end's will, and where the ends do not fit.

use model::{Event, FailureKind, IkeState};
use proto::{Selection, Started};
use sim::{Happened, NodeId, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::{ExchangeType, Header, NotifyType};

const SECOND: Duration = Duration::from_secs(1);

fn site_a(childless: &str) -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2").connection(&format!("childless = {childless}"))
}

fn site_b(childless: &str) -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1").connection(&format!("childless = {childless}"))
}

fn begun(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(7);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.settle(60 * SECOND);
    (sim, a, b)
}

fn exchanges(sim: &Sim, node: NodeId) -> Vec<ExchangeType> {
    let request = |e: &sim::LogEntry| match &e.what {
        Happened::Sent(d) => Header::parse(&d.bytes).ok().filter(|h| !h.is_response()).map(|h| h.exchange),
        _ => None,
    };
    sim.happened(node).iter().filter_map(request).collect()
}

/// Begins an IKE SA alone.
fn alone(sim: &mut Sim, a: NodeId) -> Started {
    let at = |address: &str| -> SocketAddr { format!("{address}:500").parse().unwrap() };
    let (local, remote) = (at("192.0.2.1"), at("192.0.2.2"));
    let started = sim.with(a, |endpoint, now| endpoint.initiate_childless(now, "gw", local, remote).unwrap());
    sim.run_for(30 * SECOND);
    started
}

#[test]
fn the_first_child_sa_has_an_exchange_of_its_own_where_one_end_wants_it_so() {
    let (init, auth, child) = (ExchangeType::IKE_SA_INIT, ExchangeType::IKE_AUTH, ExchangeType::CREATE_CHILD_SA);
    for (ours, peers, childless) in [
        ("allow", "allow", false),
        ("never", "allow", false),
        ("prefer", "allow", true),
        ("prefer", "never", false),
        ("force", "allow", true),
        ("force", "force", true),
        ("prefer", "force", true),
    ] {
        let (sim, a, b) = begun(site_a(ours), site_b(peers));
        assert!(sim.carries(a, b), "{ours}, {peers}");
        let expected = if childless { vec![init, auth, child] } else { vec![init, auth] };
        assert_eq!(exchanges(&sim, a), expected, "{ours}, {peers}");
        assert_eq!(sim.pairs(a, b), 1);
    }
}

/// What IKE_AUTH cannot have: a key exchange for the first Child SA.
#[test]
fn the_first_child_sa_has_a_key_exchange_of_its_own() {
    let esp = "esp_proposals = aes128gcm16-x25519";
    let (sim, a, b) = begun(site_a("force").child(esp), site_b("allow").child(esp));
    assert!(sim.carries(a, b));
    let suite = sim.snapshots(b)[0].children[0].suite.unwrap();
    assert_eq!(suite.key_exchange, Some(wire::KeyExchangeId::CURVE_25519));
}

#[test]
fn ends_that_do_not_fit_hear_why() {
    let (sim, a, b) = begun(site_a("force"), site_b("never"));
    assert_eq!(sim.failure(a).kind, FailureKind::ChildlessMismatch { ours: true });
    assert_eq!(sim.failure(a).config, Some(sim.place(a, "childless", "connections.gw.childless")));
    assert_eq!(exchanges(&sim, a), [ExchangeType::IKE_SA_INIT], "RFC 6023 section 3: it does not even try");
    assert!(sim.plane(b).installed().next().is_none());

    let (sim, a, b) = begun(site_a("never"), site_b("force"));
    assert_eq!(sim.failure(b).kind, FailureKind::ChildlessMismatch { ours: true });
    assert_eq!(sim.failure(b).config, Some(sim.place(b, "childless", "connections.gw.childless")));
    let refused = FailureKind::PeerRefused { phase: model::Phase::Ike, notify: NotifyType::INVALID_SYNTAX };
    assert_eq!(sim.failure(a).kind, refused);
    assert!(!sim.carries(a, b));
}

#[test]
fn an_ike_sa_stands_alone_and_gets_its_child_sa_later() {
    let mut sim = Sim::new(8);
    let (a, b) = (sim.add(site_a("allow")), sim.add(site_b("allow")));
    let Started::Negotiation(id) = alone(&mut sim, a) else { panic!("it is begun") };
    assert_eq!(alone(&mut sim, a), Started::AlreadyUp(id));
    for node in [a, b] {
        let sas = sim.snapshots(node);
        assert_eq!((sas.len(), sas[0].state, sas[0].children.len()), (1, IkeState::Established, 0));
        assert!(sim.tombstones(node).is_empty());
    }
    assert_eq!(sim.initiate(a, b), id, "under the same IKE SA");
    sim.settle(10 * SECOND);
    assert!(sim.carries(a, b));
}

#[test]
fn an_ike_sa_alone_needs_a_peer_that_does_it() {
    let mut sim = Sim::new(9);
    let (a, b) = (sim.add(site_a("allow")), sim.add(site_b("never")));
    alone(&mut sim, a);
    assert_eq!(sim.failure(a).kind, FailureKind::ChildlessMismatch { ours: true });
    sim.run_for(61 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
}

#[test]
fn an_ike_sa_alone_is_tried_as_often_as_another_and_authenticates_anew() {
    let mut sim = Sim::new(10);
    let a = sim.add(site_a("allow").connection("keyingtries = 2").connection("reauth_time = 100s"));
    alone(&mut sim, a);
    sim.run_for(600 * SECOND);
    let given_up = |e: &Event| matches!(e, Event::Ended(t) if matches!(t.failure.kind, FailureKind::NoAnswer { .. }));
    assert_eq!(sim.events(a).filter(|(_, e)| given_up(e)).count(), 2);

    let b = sim.add(site_b("allow"));
    alone(&mut sim, a);
    sim.run_for(150 * SECOND);
    let ended: Vec<FailureKind> = sim.tombstones(a).into_iter().map(|t| t.failure.kind).collect();
    assert!(!ended.contains(&FailureKind::Expired), "{ended:?}");
    for node in [a, b] {
        assert_eq!(sim.endpoint(node).sizes(), (1, 0), "there is a new one");
    }
}

/// A new IKE SA beside the old one makes each Child SA once, and the old one stays as long as that takes.
#[test]
fn authenticating_anew_without_a_child_sa_in_ike_auth_loses_nothing() {
    let a = site_a("force").connection("reauth_time = 100s");
    let (mut sim, a, b) = begun(a, site_b("allow"));
    let before = sim.snapshots(a)[0].id;
    let carried = sim.run_until(120 * SECOND, |sim| {
        assert!(sim.carries(a, b), "at any time");
        sim.snapshots(a).iter().all(|sa| sa.id != before)
    });
    carried.expect("a new IKE SA");
    sim.settle(60 * SECOND);
    assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (1, (1, 0), (1, 0)));
    sim.terminate(a, &Selection::default());
    sim.run_for(61 * SECOND);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
}

#[test]
fn dynamic_selectors_follow_the_virtual_address_without_a_child_sa_in_ike_auth() {
    let config = |name: &str, local: &str, remote: &str, more: &str, child: &str| {
        format!(
            "connections {{ gw {{ version = 2\n local_addrs = {local}\n remote_addrs = {remote}\n {more}\n\
             local {{ auth = psk\n id = {name}.example }}\n remote {{ auth = psk }}\n\
             children {{ net {{ {child} }} }} }} }}\n\
             pools {{ rw {{ addrs = 10.3.0.0/28 }} }}\n secrets {{ ike-all {{ secret = swordfish }} }}"
        )
    };
    let mut sim = Sim::new(11);
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    let a = config("a", here, there, "childless = force\nvips = 0.0.0.0", "remote_ts = 10.1.0.0/16");
    let b = config("b", there, here, "pools = rw", "local_ts = 10.1.0.0/16");
    let a = sim.add(Site::new("a", here).text(&a));
    let b = sim.add(Site::new("b", there).text(&b));
    sim.initiate(a, b);
    sim.settle(60 * SECOND);
    assert!(sim.carries(a, b));
    for node in [a, b] {
        let child = &sim.snapshots(node)[0].children[0];
        let inner = if node == a { &child.local_ts } else { &child.remote_ts };
        assert_eq!(inner.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.3.0.1/32"]);
    }
}
