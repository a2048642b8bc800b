//! Transport mode, both versions (RFC 2407 section 4.5, RFC 3947 section 5.1, RFC 7296 section 1.3.1), also behind a NAT
//! (RFC 7296 section 2.23.1, RFC 3947 section 5.2).

use model::dataplane::{Mode, PlaneEvent};
use sim::{Nat, NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const VERSIONS: [&str; 2] = ["version = 1", "version = 2"];

/// `a`, behind a NAT or not, and `b`; each with lines for its child.
fn pair(version: &str, nat: bool, a_lines: &[&str], b_lines: &[&str]) -> (Sim, NodeId, NodeId) {
    let seen = if nat { "203.0.113.1" } else { "10.0.0.2" };
    let with = |site: Site, lines: &[&str]| lines.iter().fold(site.connection(version), |site, line| site.child(line));
    let a = with(Site::new("a", "10.0.0.2").to("192.0.2.2"), a_lines);
    let b = with(Site::new("b", "192.0.2.2").to(seen), b_lines);
    let mut sim = Sim::new(1);
    let a = sim.add(if nat { a.behind(Nat::new(seen.parse().unwrap())) } else { a });
    let b = sim.add(b);
    (sim, a, b)
}

fn up(version: &str, nat: bool, a_lines: &[&str], b_lines: &[&str]) -> (Sim, NodeId, NodeId) {
    let (mut sim, a, b) = pair(version, nat, a_lines, b_lines);
    sim.initiate(a, b);
    let carries = sim.run_until(10 * SECOND, |sim| sim.carries(a, b));
    assert!(carries.is_some(), "{version} {nat}: {:?} {:?}", sim.tombstones(a), sim.tombstones(b));
    sim.settle(SECOND);
    (sim, a, b)
}

/// Mode, selectors and wrapping of what is installed last.
fn installed(sim: &Sim, node: NodeId) -> (Mode, String, String, bool) {
    let install = sim.plane(node).installed().last().unwrap();
    let text = |list: &[model::TrafficSelector]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    (install.mode, text(&install.local_ts), text(&install.remote_ts), install.encapsulated)
}

#[test]
fn two_hosts() {
    for version in VERSIONS {
        let (sim, a, b) = up(version, false, &["mode = transport"], &["mode = transport"]);
        let (own, peer) = ("10.0.0.2/32".to_string(), "192.0.2.2/32".to_string());
        assert_eq!(installed(&sim, a), (Mode::Transport, own.clone(), peer.clone(), false), "{version}");
        assert_eq!(installed(&sim, b), (Mode::Transport, peer, own, false), "{version}");
        assert_eq!(sim.snapshots(a)[0].children[0].mode, Mode::Transport);
    }
}

#[test]
fn one_port_of_two_hosts() {
    let a = ["mode = transport", "local_ts = dynamic[udp/1701]", "remote_ts = dynamic[udp/1701]"];
    for version in VERSIONS {
        for nat in [false, true] {
            let (sim, a, b) = up(version, nat, &a, &a);
            let seen = if nat { "203.0.113.1/32[udp/l2f]" } else { "10.0.0.2/32[udp/l2f]" };
            assert_eq!(installed(&sim, a).1, "10.0.0.2/32[udp/l2f]", "{version}");
            assert_eq!((installed(&sim, b).0, installed(&sim, b).2), (Mode::Transport, seen.to_string()), "{version}");
        }
    }
}

#[test]
fn behind_a_nat_each_end_has_the_addresses_that_it_sees() {
    // In IKEv2 the responder's answer has 203.0.113.1, as it sees the initiator, who must know itself in that.
    for version in VERSIONS {
        let (mut sim, a, b) = up(version, true, &["mode = transport"], &["mode = transport"]);
        let at_a = (Mode::Transport, "10.0.0.2/32".to_string(), "192.0.2.2/32".to_string(), true);
        let at_b = (Mode::Transport, "192.0.2.2/32".to_string(), "203.0.113.1/32".to_string(), true);
        assert_eq!((installed(&sim, a), installed(&sim, b)), (at_a.clone(), at_b.clone()), "{version}");
        // Replaced by its maker, and with IKEv2 by the other end too: from outside to inside.
        for node in if version == VERSIONS[0] { vec![a, a] } else { vec![a, b] } {
            let before = sim.plane(a).installs;
            let child = sim.plane(node).installed().last().unwrap().child;
            sim.report(node, PlaneEvent::SoftExpire { child });
            sim.run_for(60 * SECOND);
            assert_eq!((sim.plane(a).installs, sim.pairs(a, b)), (before + 1, 1), "{version}");
            assert_eq!((installed(&sim, a), installed(&sim, b)), (at_a.clone(), at_b.clone()), "{version}");
        }
    }
}

#[test]
fn networks_are_tunnelled_whatever_is_written() {
    for version in VERSIONS {
        let a = ["mode = transport", "local_ts = 10.1.0.0/16", "remote_ts = 10.2.0.0/16"];
        let b = ["mode = transport", "local_ts = 10.2.0.0/16", "remote_ts = 10.1.0.0/16"];
        let (sim, a, b) = up(version, false, &a, &b);
        assert_eq!((installed(&sim, a).0, installed(&sim, b).0), (Mode::Tunnel, Mode::Tunnel), "{version}");
    }
}

#[test]
fn ikev2_falls_back_to_a_tunnel_where_one_end_wants_it() {
    // RFC 7296 section 1.3.1: the responder declines by silence.
    for (a, b) in [("transport", "tunnel"), ("tunnel", "transport")] {
        for nat in [false, true] {
            let (a, b) = (format!("mode = {a}"), format!("mode = {b}"));
            let (mut sim, a, b) = pair(VERSIONS[1], nat, &[&a], &[&b]);
            sim.initiate(a, b);
            sim.run_for(SECOND);
            let modes: Vec<Mode> = [a, b].iter().flat_map(|n| sim.plane(*n).installed().map(|i| i.mode)).collect();
            // Behind the NAT the selectors of a tunnel do not fit those of the other end.
            let expected = if nat { vec![] } else { vec![Mode::Tunnel; 2] };
            assert_eq!(modes, expected, "{nat}");
        }
    }
}

#[test]
fn ikev1_refuses_the_other_mode_and_tells() {
    for (a, b) in [("transport", "tunnel"), ("tunnel", "transport")] {
        let (a, b) = (format!("mode = {a}"), format!("mode = {b}"));
        let (mut sim, a, b) = pair(VERSIONS[0], false, &[&a], &[&b]);
        sim.initiate(a, b);
        sim.run_for(SECOND);
        assert_eq!(sim.plane(a).installed().count() + sim.plane(b).installed().count(), 0);
        assert_eq!(sim.failure(b).kind.code(), "ENCAP_MODE");
        assert!(sim.failure(b).config.is_some_and(|place| place.key.ends_with("net.mode")));
    }
}
