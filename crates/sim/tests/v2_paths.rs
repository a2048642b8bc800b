//! MOBIKE (RFC 4555 section 3.10): the path in use answers nothing any more, and another one does.

use model::{Event, FailureKind};
use sim::{Block, NodeId, Sim, Site};
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sites() -> (Site, Site) {
    let dpd = |site: Site| site.connection("dpd_delay = 10s");
    let a =
        Site::new("a", "192.0.2.1").to("192.0.2.2").child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
    let b = Site::new("b", "192.0.2.2").to("%any").child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
    (dpd(a).connection("local_addrs = %any"), b)
}

/// A tunnel between nodes with these further addresses.
fn tunnel(a: Site, b: Site, more_a: &[&str], more_b: &[&str]) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(4555);
    let (a, b) = (sim.add(a), sim.add(b));
    more_a.iter().for_each(|more| sim.add_address(a, address(more)));
    more_b.iter().for_each(|more| sim.add_address(b, address(more)));
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

/// Nothing passes between these two any more, in either direction.
fn cut(sim: &mut Sim, one: &str, other: &str) {
    let (one, other) = (Some(address(one)), Some(address(other)));
    sim.blocks.push(Block { from: one, to: other, ..Block::default() });
    sim.blocks.push(Block { from: other, to: one, ..Block::default() });
}

/// Where the Child SA of a node leads.
fn way(sim: &Sim, node: NodeId) -> Option<(IpAddr, IpAddr)> {
    sim.plane(node).installed().next().map(|install| (install.local.ip(), install.remote.ip()))
}

#[test]
fn another_address_of_either_end_is_found_before_it_is_given_up() {
    type Case =
        (&'static [&'static str], &'static [&'static str], &'static [(&'static str, &'static str)], [&'static str; 2]);
    let cases: [Case; 4] = [
        (&[], &["198.51.100.2"], &[("192.0.2.1", "192.0.2.2")], ["192.0.2.1", "198.51.100.2"]),
        (&["198.51.100.1"], &[], &[("192.0.2.1", "192.0.2.2")], ["198.51.100.1", "192.0.2.2"]),
        // Only one pair of four is left, and addresses of the other version of IP are of no use.
        (
            &["198.51.100.1", "2001:db8::1"],
            &["198.51.100.2"],
            &[("192.0.2.1", "192.0.2.2"), ("192.0.2.1", "198.51.100.2"), ("198.51.100.1", "192.0.2.2")],
            ["198.51.100.1", "198.51.100.2"],
        ),
        (&["2001:db8::1"], &["2001:db8::2"], &[("192.0.2.1", "192.0.2.2")], ["2001:db8::1", "2001:db8::2"]),
    ];
    for (more_a, more_b, cuts, [to_a, to_b]) in cases {
        let (a, b) = sites();
        let (mut sim, a, b) = tunnel(a, b, more_a, more_b);
        cuts.iter().for_each(|(one, other)| cut(&mut sim, one, other));
        let there = (address(to_a), address(to_b));
        let moved = |sim: &Sim| way(sim, a) == Some(there) && way(sim, b) == Some((there.1, there.0));
        let took = sim.run_until(60 * SECOND, moved).unwrap_or_else(|| panic!("{:?}, not {there:?}", way(&sim, a)));
        // A sign of life, and two repetitions of it: 10 s, 4 s and 7.2 s.
        assert!(took < 23 * SECOND, "{took:?}");
        sim.run_for(60 * SECOND);
        assert!(moved(&sim) && sim.carries(a, b));
        for node in [a, b] {
            assert_eq!((sim.plane(node).installs, sim.snapshots(node).len()), (1, 1), "nothing was negotiated anew");
        }
        let said = |(_, event): (_, &Event)| matches!(event, Event::Step { text, .. } if text.contains("no answer at"));
        assert!(sim.events(a).any(said));
    }
}

#[test]
fn nobody_looks_for_another_path_without_mobike_or_without_addresses_or_where_the_configuration_has_one() {
    for (change, more_b) in [("mobike = no", "198.51.100.2"), ("mobike = yes", ""), ("local_addrs = 192.0.2.1", "")] {
        let (a, b) = sites();
        let more: Vec<&str> = Some(more_b).into_iter().filter(|a| !a.is_empty()).collect();
        let ours: &[&str] = if change.starts_with("local") { &["198.51.100.1"] } else { &[] };
        let (mut sim, a, _) = tunnel(a.connection(change), b.connection("mobike = yes"), ours, &more);
        cut(&mut sim, "192.0.2.1", "192.0.2.2");
        sim.run_for(300 * SECOND);
        assert!(matches!(sim.failure(a).kind, FailureKind::NoAnswer { answered_before: true, .. }), "{change}");
    }
}

/// Gateways tell all their addresses, those of the networks behind them too: no way leads there but the tunnel.
#[test]
fn addresses_behind_the_gateways_are_no_paths() {
    let (a, b) = sites();
    let (mut sim, a, _) = tunnel(a, b, &["10.1.0.1"], &["10.2.0.1"]);
    cut(&mut sim, "192.0.2.1", "192.0.2.2");
    let before = sim.wire.len();
    sim.run_for(100 * SECOND);
    let inner = |ip: IpAddr| [address("10.1.0.1"), address("10.2.0.1")].contains(&ip);
    assert!(sim.wire.len() > before + 2);
    assert!(!sim.wire[before..].iter().any(|(_, d)| inner(d.from.ip()) || inner(d.to.ip())));
    assert!(way(&sim, a).is_none_or(|way| way.1 == address("192.0.2.2")));
}

#[test]
fn where_datagrams_are_lost_both_ends_agree_about_the_path_all_the_same() {
    let (a, b) = sites();
    let (mut sim, a, b) = tunnel(a, b, &["198.51.100.1"], &["198.51.100.2"]);
    // One of ten datagrams is lost: repetitions, and now and then a test of other paths, whose answers win.
    sim.set_conditions(sim::Conditions::losing(100));
    sim.run_for(3600 * SECOND);
    sim.set_conditions(sim::Conditions::default());
    sim.run_for(60 * SECOND);
    assert!(sim.carries(a, b));
    let (here, there) = (way(&sim, a).unwrap(), way(&sim, b).unwrap());
    assert_eq!(here, (there.1, there.0), "both ends agree about the path");
    let said = |(_, event): &(_, &Event)| matches!(event, Event::Step { text, .. } if text.contains("no answer at"));
    assert!(sim.events(a).filter(said).count() > 3, "there were such tests");
    assert_eq!(sim.snapshots(a).len(), 1);
}
