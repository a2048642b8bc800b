//! IKEv1 as Cisco's clients and gateways do it (`cisco_unity`): one Child SA for all networks of a split tunnel, and networks
//! that pass beside it.

use config::{Connection, Pool, PoolAttribute};
use model::dataplane::ShuntAction;
use model::{ConfigRef, SaId, TrafficSelector};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::V1ConfigAttribute;

const SECOND: Duration = Duration::from_secs(1);
const NETWORKS: [&str; 2] = ["10.1.0.0/16", "10.2.1.0/24"];

/// A client that asks for everything, and a gateway with two networks, each with Unity or not.
fn ends(unity: (bool, bool), excluded: &[u8]) -> (Sim, NodeId, NodeId) {
    let site = |name: &str, own: &str, peer: &str, unity: bool| {
        let site = Site::new(name, own).to(peer).connection("version = 1");
        site.settings(|settings| settings.cisco_unity = unity)
    };
    let client = site("a", "192.0.2.1", "192.0.2.2", unity.0).connection("vips = 0.0.0.0");
    let client = client.child("remote_ts = 0.0.0.0/0");
    let exclude = PoolAttribute { kind: V1ConfigAttribute::UNITY_SPLIT_EXCLUDE.0, value: excluded.to_vec() };
    let gateway = site("b", "192.0.2.2", "192.0.2.1", unity.1).child(&format!("local_ts = {}", NETWORKS.join(",")));
    let gateway = gateway.settings(|settings| settings.attributes = vec![exclude]);
    let mut sim = Sim::new(5);
    let (a, b) = (sim.add(client), sim.add(gateway));
    let (first, last): (IpAddr, IpAddr) = ("10.2.1.1".parse().unwrap(), "10.2.1.6".parse().unwrap());
    let source = ConfigRef { file: "test".into(), line: 1, key: "test".into() };
    let pool = Pool { name: "rw".into(), base: first, ranges: vec![(first, last)], attributes: Vec::new(), source };
    sim.with(b, |endpoint, _| {
        endpoint.pools_mut().load(pool);
        let mut connection = Connection::clone(endpoint.connections().next().expect("a connection"));
        connection.pools = vec!["rw".into()];
        endpoint.load_connection(Arc::new(connection));
    });
    (sim, a, b)
}

fn texts(list: &[TrafficSelector]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What the one Child SA of an end carries.
fn carried(sim: &Sim, node: NodeId) -> (Vec<String>, Vec<String>) {
    let all: Vec<_> = sim.plane(node).installed().collect();
    let [child] = all[..] else { panic!("{} Child SAs", all.len()) };
    (texts(&child.local_ts), texts(&child.remote_ts))
}

const LAN: [u8; 14] = [192, 0, 2, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn one_child_sa_carries_all_networks_and_is_rekeyed_by_either_end() {
    let (mut sim, a, b) = ends((true, true), &LAN);
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    let host = vec!["10.2.1.1/32".to_string()];
    let as_agreed = |sim: &Sim| {
        assert_eq!(carried(sim, a), (host.clone(), NETWORKS.map(String::from).to_vec()));
        assert_eq!(carried(sim, b), (NETWORKS.map(String::from).to_vec(), host.clone()));
        assert_eq!(sim.pairs(a, b), 1);
    };
    as_agreed(&sim);
    // What the gateway leaves out passes in the clear, from both of the client's addresses.
    let shunts: Vec<_> = sim.plane(a).shunts().collect();
    let [shunt] = shunts[..] else { panic!("{shunts:?}") };
    assert_eq!((shunt.action, shunt.connection.as_str()), (ShuntAction::Pass, "unity"));
    assert_eq!(shunt.name, "Unity (gw[1]: 192.0.2.0/24)");
    assert_eq!(texts(&shunt.local_ts), ["192.0.2.1/32", "10.2.1.1/32"]);
    assert_eq!(texts(&shunt.remote_ts), ["192.0.2.0/24"]);
    assert_eq!((sim.endpoint(a).shunts().count(), sim.plane(b).shunts().count()), (1, 0));
    for node in [a, b] {
        let before: Vec<SaId> = sim.plane(node).installed().map(|c| c.child).collect();
        sim.with(node, |endpoint, now| {
            let child = Selection { child: Some("net".into()), ..Selection::default() };
            assert_eq!(endpoint.rekey(now, &child), 1);
        });
        sim.run_for(120 * SECOND);
        as_agreed(&sim);
        let after: Vec<SaId> = sim.plane(node).installed().map(|c| c.child).collect();
        assert_ne!(before, after, "it was rekeyed");
    }
    sim.terminate(a, &Selection::default());
    sim.run_for(5 * SECOND);
    assert_eq!((sim.plane(a).shunts().count(), sim.endpoint(a).shunts().count()), (0, 0));
    assert!(sim.plane(a).violations.is_empty(), "{:?}", sim.plane(a).violations);
}

/// Without it on both ends nothing is narrowed and nothing passes in the clear.
#[test]
fn it_takes_both_ends() {
    for unity in [(true, false), (false, true), (false, false)] {
        let (mut sim, a, b) = ends(unity, &LAN);
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        let codes: Vec<_> = sim.tombstones(b).iter().map(|t| t.failure.kind.code()).collect();
        match unity {
            // The gateway names its networks to whoever understands them: each has its own Child SA, as without Unity.
            (false, true) => assert_eq!(sim.pairs(a, b), 2),
            _ => assert!(sim.pairs(a, b) == 0 && codes.contains(&"TRAFFIC_SELECTOR"), "{unity:?}: {codes:?}"),
        }
        assert_eq!(sim.plane(a).shunts().count(), 0, "{unity:?}");
    }
}

/// Who was given no address is no client of the gateway's: all networks are then all networks.
#[test]
fn only_a_client_may_ask_for_everything() {
    let (mut sim, a, b) = ends((true, true), &LAN);
    sim.with(a, |endpoint, _| {
        let mut connection = Connection::clone(endpoint.connections().next().expect("a connection"));
        connection.vips.clear();
        endpoint.load_connection(Arc::new(connection));
    });
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    let codes: Vec<_> = sim.tombstones(b).iter().map(|t| t.failure.kind.code()).collect();
    assert!(sim.pairs(a, b) == 0 && codes.contains(&"TRAFFIC_SELECTOR"), "{codes:?}");
}
