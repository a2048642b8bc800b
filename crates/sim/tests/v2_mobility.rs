//! MOBIKE (RFC 4555): an end gets another address, and everything moves with it.

use model::DropReason;
use model::dataplane::PlaneEvent;
use sim::{Conditions, Nat, NodeId, Sim, Site};
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sites() -> (Site, Site) {
    let a = Site::new("a", "192.0.2.1").to("192.0.2.2").child("remote_ts = 10.2.0.0/16");
    let b = Site::new("b", "192.0.2.2").to("%any").child("local_ts = 10.2.0.0/16");
    (a, b)
}

fn up(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(11);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b));
    (sim, a, b)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Where the Child SA of a node leads, and its selectors.
fn way(sim: &Sim, node: NodeId) -> String {
    let i = sim.plane(node).installed().next().expect("a Child SA");
    format!("{} {} {} === {}", i.local.ip(), i.remote.ip(), i.local_ts[0], i.remote_ts[0])
}

#[test]
fn the_initiator_moves_and_dynamic_selectors_with_it() {
    let (mut sim, a, b) = up(sites().0, sites().1);
    let spis = sim.snapshots(a)[0].spis;
    for (round, place) in ["198.51.100.7", "203.0.113.9", "192.0.2.1"].into_iter().enumerate() {
        sim.relocate(a, address(place));
        sim.run_for(5 * SECOND);
        assert_eq!(way(&sim, a), format!("{place} 192.0.2.2 {place}/32 === 10.2.0.0/16"), "{round}");
        assert_eq!(way(&sim, b), format!("192.0.2.2 {place} 10.2.0.0/16 === {place}/32"), "{round}");
        assert!(sim.carries(a, b) && sim.quiet());
        for node in [a, b] {
            let sa = &sim.snapshots(node)[0];
            assert_eq!((sa.spis, sim.plane(node).installs), (spis, 1), "nothing was negotiated anew");
            let child = &sa.children[0];
            assert_eq!(
                (child.local_ts.clone(), child.reqid),
                (sim.plane(node).get(child.id).unwrap().local_ts.clone(), 1)
            );
        }
    }
}

#[test]
fn a_virtual_address_moves_to_the_other_interface() {
    let (a, _) = sites();
    let gate = Site::new("gate", "192.0.2.2").text(
        "connections { gw {\n local_addrs = 192.0.2.2\n pools = rw\n local { auth = psk\n id = gate.example }\n \
         remote { auth = psk }\n children { net { local_ts = 10.2.0.0/16 } } } }\n\
         secrets { ike-all { secret = swordfish } }\npools { rw { addrs = 10.3.0.0/28 } }\n",
    );
    let (mut sim, a, b) = up(a.connection("vips = 0.0.0.0"), gate);
    sim.relocate(a, address("198.51.100.7"));
    sim.run_for(5 * SECOND);
    assert_eq!(way(&sim, a), "198.51.100.7 192.0.2.2 10.3.0.1/32 === 10.2.0.0/16");
    assert_eq!(way(&sim, b), "192.0.2.2 198.51.100.7 10.2.0.0/16 === 10.3.0.1/32");
    assert_eq!(sim.virtual_addresses(a), [address("10.3.0.1")]);
    let outer = sim.happened(a).iter().filter_map(|e| match &e.what {
        sim::Happened::AddAddress(new) => Some(new.outer.to_string()),
        _ => None,
    });
    assert_eq!(outer.collect::<Vec<_>>(), ["192.0.2.1", "198.51.100.7"]);
}

#[test]
fn the_responder_moves_and_the_initiator_follows() {
    let (mut sim, a, b) = up(sites().0, sites().1);
    sim.relocate(b, address("203.0.113.2"));
    sim.run_for(10 * SECOND);
    assert_eq!(way(&sim, a), "192.0.2.1 203.0.113.2 192.0.2.1/32 === 10.2.0.0/16");
    assert_eq!(way(&sim, b), "203.0.113.2 192.0.2.1 10.2.0.0/16 === 192.0.2.1/32");
    assert!(sim.carries(a, b) && sim.quiet());
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

#[test]
fn into_a_nat_and_out_of_it() {
    let (a, b) = sites();
    let (a, b) = (a.child("local_ts = 10.1.0.0/16"), b.child("remote_ts = 10.1.0.0/16"));
    let (mut sim, a, b) = up(a.behind(Nat::new(address("198.51.100.1"))), b);
    assert!(sim.plane(a).installed().all(|i| i.encapsulated));
    // Another address behind the same box: the peer sees another port.
    sim.relocate(a, address("192.0.2.77"));
    sim.run_for(5 * SECOND);
    let there = sim.plane(b).installed().next().unwrap();
    assert!(there.encapsulated && there.remote.ip() == address("198.51.100.1"));
    assert_eq!(sim.plane(a).installed().next().unwrap().local.ip(), address("192.0.2.77"));
    assert!(sim.quiet());
}

/// What was begun from an address that goes before there is an answer begins again from the one that is there.
#[test]
fn who_moves_before_the_ike_sa_is_up_begins_from_the_new_address() {
    let (a, b) = sites();
    let mut sim = Sim::new(11);
    let (a, b) = (sim.add(a.roaming().connection("keyingtries = 0")), sim.add(b));
    sim.set_conditions(Conditions { loss: 1000, ..Conditions::default() });
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    sim.relocate(a, address("198.51.100.7"));
    sim.set_conditions(Conditions::default());
    sim.run_for(300 * SECOND);
    assert!(sim.carries(a, b));
    assert_eq!(way(&sim, a), "198.51.100.7 192.0.2.2 198.51.100.7/32 === 10.2.0.0/16");
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

#[test]
fn with_mobike_off_at_either_end_nothing_moves() {
    for off in [0, 1] {
        let (mut a, mut b) = sites();
        if off == 0 {
            a = a.connection("mobike = no");
        } else {
            b = b.connection("mobike = no");
        }
        let (mut sim, a, b) = up(a, b);
        assert!(sim.with(a, |endpoint, _| endpoint.movable()).is_empty());
        assert!(sim.with(b, |endpoint, _| endpoint.movable()).is_empty());
        sim.relocate(a, address("198.51.100.7"));
        sim.run_for(5 * SECOND);
        assert_eq!(way(&sim, b), "192.0.2.2 192.0.2.1 10.2.0.0/16 === 192.0.2.1/32");
    }
}

#[test]
fn a_message_from_elsewhere_moves_nothing_without_an_update() {
    // RFC 4555 section 3.8: only UPDATE_SA_ADDRESSES does. Somebody on the way changes the source of a sign of life.
    let (a, b) = sites();
    let (mut sim, _, b) = up(a.connection("dpd_delay = 5"), b);
    let before = way(&sim, b);
    sim.set_hook(Some(Box::new(|_, datagram| {
        let mut copy = datagram.clone();
        if copy.from.ip() == "192.0.2.1".parse::<IpAddr>().unwrap() {
            copy.from.set_ip("203.0.113.66".parse().unwrap());
        }
        vec![(Duration::ZERO, copy)]
    })));
    sim.run_for(12 * SECOND);
    assert_eq!(way(&sim, b), before);
    assert_eq!(sim.dropped(b, DropReason::IntegrityCheckFailed), 0);
}

#[test]
fn moves_survive_loss_and_rekeying() {
    for seed in 0..100 {
        let mut sim = Sim::new(seed);
        let (site_a, site_b) = sites();
        let site_a = site_a
            .connection("rekey_time = 20")
            .connection("over_time = 60")
            .connection("rand_time = 5")
            .connection("dpd_delay = 10");
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert!(sim.carries(a, b), "seed {seed}");
        sim.set_conditions(Conditions { loss: 150, duplicate: 50, ..Conditions::default() });
        for place in 10..22 {
            sim.relocate(a, address(&format!("198.51.100.{place}")));
            sim.run_for(Duration::from_millis(500 + seed * 97 % 5000));
        }
        sim.set_conditions(Conditions::default());
        sim.run_for(90 * SECOND);
        assert!(sim.carries(a, b), "seed {seed}");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "seed {seed}");
        assert_eq!(way(&sim, b), "192.0.2.2 198.51.100.21 10.2.0.0/16 === 198.51.100.21/32", "seed {seed}");
    }
}

/// A packet of ESP that was sent before the move and comes after it has nobody follow it, and one from a new mapping of a NAT is
/// followed by ESP alone (RFC 4555 section 3.8).
#[test]
fn late_packets_and_new_mappings_do_not_move_the_ike_sa() {
    let (a, b) = sites();
    let (mut sim, a, b) = up(a.connection("encap = yes"), b);
    sim.relocate(a, address("198.51.100.7"));
    sim.run_for(5 * SECOND);
    assert_eq!(way(&sim, b), "192.0.2.2 198.51.100.7 10.2.0.0/16 === 198.51.100.7/32");
    let child = sim.plane(b).installed().next().unwrap().child;
    let report = |sim: &mut Sim, from: &str| {
        sim.report(b, PlaneEvent::PeerMoved { child, remote: from.parse().unwrap() });
        sim.run_for(SECOND);
        let to = sim.plane(b).installed().next().unwrap().remote;
        (to.to_string(), sim.snapshots(b)[0].remote.to_string())
    };
    let there = "198.51.100.7:4500".to_string();
    assert_eq!(report(&mut sim, "192.0.2.1:4500"), (there.clone(), there.clone()), "late");
    assert_eq!(report(&mut sim, "203.0.113.5:1027"), ("203.0.113.5:1027".to_string(), there.clone()), "a mapping");
    assert_eq!(report(&mut sim, "198.51.100.7:4500"), (there.clone(), there.clone()), "back");
    sim.relocate(a, address("192.0.2.1"));
    sim.run_for(5 * SECOND);
    assert_eq!(way(&sim, b), "192.0.2.2 192.0.2.1 10.2.0.0/16 === 192.0.2.1/32");
    assert!(sim.carries(a, b));
}

/// A Child SA keeps its request ID as it moves, while another one that stays has it too: it is nobody else's until both are gone.
#[test]
fn a_request_id_that_moved_is_given_to_nobody_else() {
    let mut sim = Sim::new(3);
    let (connections, ends): (Vec<String>, Vec<(String, String)>) = [("b", 2, "yes", 9), ("c", 3, "no", 9), ("d", 4, "no", 8)]
        .map(|(name, host, mobike, net)| {
            let connection = format!(
                "{name} {{ local_addrs = %any\n remote_addrs = 192.0.2.{host}\n mobike = {mobike}\n local {{ auth = psk }}\n \
                 remote {{ auth = psk }}\n children {{ net {{ remote_ts = 10.{net}.0.0/16 }} }} }}\n"
            );
            let other = format!(
                "connections {{ a {{ remote_addrs = %any\n local {{ auth = psk }}\n remote {{ auth = psk }}\n \
                 children {{ net {{ local_ts = 10.{net}.0.0/16 }} }} }} }}\nsecrets {{ ike-all {{ secret = swordfish }} }}"
            );
            (connection, (format!("192.0.2.{host}"), other))
        })
        .into_iter()
        .unzip();
    let text = format!("connections {{ {} }}\nsecrets {{ ike-all {{ secret = swordfish }} }}", connections.concat());
    let a = sim.add(Site::new("a", "192.0.2.1").text(&text));
    let nodes: Vec<NodeId> =
        ends.iter().zip(["b", "c", "d"]).map(|((at, text), name)| sim.add(Site::new(name, at).text(text))).collect();
    let [b, c, d] = nodes[..] else { panic!("three") };
    let numbers = |sim: &Sim| sim.plane(a).installed().map(|i| i.reqid).collect::<Vec<u32>>();
    for other in [b, c] {
        sim.initiate(a, other);
        sim.run_until(5 * SECOND, |sim| sim.carries(a, other)).expect("a tunnel");
    }
    assert_eq!(numbers(&sim), [1, 1], "for the same selectors");
    sim.relocate(a, address("198.51.100.7"));
    sim.run_for(2 * SECOND);
    let nets: Vec<String> = sim.plane(a).installed().map(|i| i.local_ts[0].to_string()).collect();
    assert_eq!(nets, ["198.51.100.7/32", "192.0.2.1/32"], "one moved, one stays");
    sim.terminate(a, &proto::Selection { ike: Some("c".into()), force: true, ..Default::default() });
    sim.run_for(SECOND);
    assert_eq!(numbers(&sim), [1]);
    sim.initiate(a, d);
    sim.run_until(5 * SECOND, |sim| sim.carries(a, d)).expect("a tunnel");
    assert_eq!(numbers(&sim), [1, 2]);
    // When all have gone it is free again.
    sim.terminate(a, &proto::Selection::default());
    sim.run_for(5 * SECOND);
    sim.initiate(a, d);
    sim.run_until(5 * SECOND, |sim| sim.carries(a, d)).expect("a tunnel");
    assert_eq!(numbers(&sim), [1]);
}
