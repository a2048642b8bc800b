//! What a Child SA has beside its selectors: marks and interface numbers of its own (`%unique`), fields of the outer
//! header, an integrity check that is cut shorter than both ends call it.

use model::SaId;
use model::dataplane::{Binding, ChildInstall, CopyDscp, HeaderFields, PlaneEvent};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::registry::IntegrityId;

const SECOND: Duration = Duration::from_secs(1);

fn sites(version: u8, keys: &[&str]) -> (Site, Site) {
    let site = |name: &str, own: &str, peer: &str, local: &str, remote: &str| {
        let site = Site::new(name, own).to(peer).connection(&format!("version = {version}"));
        site.child(&format!("local_ts = {local}")).child(&format!("remote_ts = {remote}"))
    };
    let a = site("a", "192.0.2.1", "192.0.2.2", "10.1.0.0/16", "10.2.0.0/16");
    let b = site("b", "192.0.2.2", "192.0.2.1", "10.2.0.0/16", "10.1.0.0/16");
    (keys.iter().fold(a, |site, key| site.child(key)), b)
}

fn up(sim: &mut Sim, from: NodeId, to: NodeId) {
    sim.initiate(from, to);
    sim.run_until(10 * SECOND, |sim| sim.carries(from, to)).expect("a tunnel within ten seconds");
    sim.settle(10 * SECOND);
}

fn only(sim: &Sim, node: NodeId) -> ChildInstall {
    let all: Vec<&ChildInstall> = sim.plane(node).installed().collect();
    assert_eq!(all.len(), 1);
    all[0].clone()
}

/// Marks and interface numbers, inbound before outbound.
fn numbers(binding: &Binding) -> [Option<u32>; 4] {
    let mark = |mark: Option<model::dataplane::Mark>| mark.map(|mark| mark.value);
    [mark(binding.mark_in), mark(binding.mark_out), binding.if_id_in, binding.if_id_out]
}

#[test]
fn each_child_sa_has_numbers_of_its_own_and_its_successors_keep_them() {
    for version in [1, 2] {
        for by_peer in [false, true] {
            let keys = ["mark_in = %unique", "mark_out = %unique", "set_mark_in = %same", "if_id_in = %unique-dir"];
            let (site_a, site_b) = sites(version, &keys);
            let site_a = site_a.child("if_id_out = %unique-dir");
            let mut sim = Sim::new(3);
            let (a, b) = (sim.add(site_a), sim.add(site_b));
            up(&mut sim, a, b);
            let first = only(&sim, a);
            let [mark_in, mark_out, if_in, if_out] = numbers(&first.binding);
            assert!(mark_in.is_some() && mark_in == mark_out, "one for both directions");
            assert!(if_in.is_some() && if_out.is_some() && if_in != if_out, "one for each direction");
            assert_eq!(first.binding.set_mark_in, first.binding.mark_in);
            assert_eq!(first.binding.mark_in.map(|mark| mark.mask), Some(u32::MAX));
            assert_eq!(sim.snapshots(a)[0].children[0].binding, first.binding, "as it is listed");

            let child = Selection { child: Some("net".to_string()), ..Selection::default() };
            let by = if by_peer { b } else { a };
            assert_eq!(sim.with(by, |endpoint, now| endpoint.rekey(now, &child)), 1);
            sim.run_for(180 * SECOND);
            let second = only(&sim, a);
            assert_ne!(second.inbound.spi, first.inbound.spi, "IKEv{version}");
            assert_eq!((second.binding, second.reqid), (first.binding, first.reqid), "IKEv{version}, peer: {by_peer}");

            sim.terminate(a, &Selection::default());
            sim.settle(10 * SECOND);
            up(&mut sim, a, b);
            let third = only(&sim, a);
            for (old, new) in numbers(&first.binding).iter().zip(numbers(&third.binding)) {
                assert!(new.is_some() && new != *old, "what succeeds nothing has new ones");
            }
        }
    }
}

#[test]
fn peers_of_one_connection_are_told_apart_by_their_numbers() {
    let gateway = "connections { rw {\nlocal_addrs = 192.0.2.9\nlocal { auth = psk\nid = gw.example }\nremote { auth = psk }\n\
                   children { net { local_ts = 10.9.0.0/16\nmark_in = %unique\nmark_out = %unique } } } }\n\
                   secrets { ike-all { secret = swordfish } }";
    let mut sim = Sim::new(3);
    let gateway = sim.add(Site::new("gw", "192.0.2.9").text(gateway));
    for (name, address) in [("a", "192.0.2.1"), ("b", "192.0.2.2")] {
        let peer = sim.add(Site::new(name, address).to("192.0.2.9").child("remote_ts = 10.9.0.0/16"));
        up(&mut sim, peer, gateway);
    }
    let all: Vec<[Option<u32>; 4]> = sim.plane(gateway).installed().map(|i| numbers(&i.binding)).collect();
    let [first, second] = all.as_slice() else { panic!("two Child SAs") };
    assert!(first[0].is_some() && first[0] == first[1] && second[0].is_some() && second[0] == second[1]);
    assert_ne!(first[0], second[0]);
}

#[test]
fn a_child_sa_has_the_numbers_of_its_trap() {
    for version in [1, 2] {
        let (site_a, site_b) = sites(version, &["mark_in = %unique", "mark_out = %unique"]);
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        let at = |address| SocketAddr::new(address, 500);
        let (local, remote) = (at(sim.address(a)), at(sim.address(b)));
        let trap: SaId = sim.with(a, |endpoint, _| endpoint.install_trap("gw", "net", local, remote).expect("a trap"));
        let of_trap = sim.plane(a).traps().next().unwrap().binding;
        assert!(numbers(&of_trap)[0].is_some());
        let (source, destination) = ("10.1.0.9:4711".parse().unwrap(), "10.2.0.1:80".parse().unwrap());
        sim.report(a, PlaneEvent::Acquire { trap, source, destination, protocol: 6 });
        sim.run_for(10 * SECOND);
        assert_eq!(only(&sim, a).binding, of_trap, "IKEv{version}: what met the trap meets the Child SA");
        assert_eq!(only(&sim, a).reqid, sim.plane(a).traps().next().unwrap().reqid);
        // Without the trap there is nothing to be like.
        assert_eq!(sim.with(a, |endpoint, _| endpoint.uninstall_traps(None, Some("net"))), 1);
        sim.terminate(a, &Selection::default());
        sim.settle(10 * SECOND);
        up(&mut sim, a, b);
        assert_ne!(only(&sim, a).binding, of_trap);
    }
}

#[test]
fn the_outer_header_and_the_length_of_the_check_are_as_configured() {
    for version in [1, 2] {
        let keys = ["esp_proposals = aes128-sha256", "sha256_96 = yes", "copy_df = no", "copy_dscp = in"];
        let (site_a, site_b) = sites(version, &keys);
        let site_b = site_b.child(keys[0]).child(keys[1]);
        let mut sim = Sim::new(3);
        let (a, b) = (sim.add(site_a), sim.add(site_b));
        up(&mut sim, a, b);
        let (of_a, of_b) = (only(&sim, a), only(&sim, b));
        for sa in [&of_a.inbound, &of_a.outbound, &of_b.inbound, &of_b.outbound] {
            assert_eq!(sa.integrity, Some(IntegrityId::HMAC_SHA2_256_96));
        }
        let agreed = sim.snapshots(a)[0].children[0].suite.and_then(|suite| suite.integrity);
        assert_eq!(agreed, Some(IntegrityId::HMAC_SHA2_256_128), "it is not negotiated");
        let expected = HeaderFields { copy_df: false, copy_ecn: true, copy_dscp: CopyDscp::In };
        assert_eq!((of_a.header, of_b.header), (expected, HeaderFields::default()));
    }
}

/// A script hears of none of them: it must be known at both ends, whichever began, and also where the new one carries what is
/// sent from the start.
#[test]
fn what_a_rekeying_makes_is_known_by_what_it_was_made_of() {
    for version in [1, 2] {
        for by_peer in [false, true] {
            let (site_a, site_b) = sites(version, &[]);
            let mut sim = Sim::new(3);
            let (a, b) = (sim.add(site_a), sim.add(site_b));
            up(&mut sim, a, b);
            let first = [only(&sim, a), only(&sim, b)];
            assert_eq!(first.each_ref().map(|install| install.rekeys), [None, None]);
            let child = Selection { child: Some("net".to_string()), ..Selection::default() };
            assert_eq!(sim.with(if by_peer { b } else { a }, |endpoint, now| endpoint.rekey(now, &child)), 1);
            sim.run_for(180 * SECOND);
            let second = [only(&sim, a), only(&sim, b)];
            let of = first.each_ref().map(|install| Some(install.child));
            assert_eq!(second.each_ref().map(|install| install.rekeys), of, "IKEv{version}, peer: {by_peer}");
        }
    }
}
