//! From which address of ours to which one of the peer's a Child SA is probed.

use model::{ChildSnapshot, ProbeOutcome, SaSnapshot, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// ICMP and ICMPv6 (RFC 4443 section 1).
fn protocol(address: IpAddr) -> u8 {
    if address.is_ipv4() { 1 } else { 58 }
}

/// Whether echo requests of this address are the selector's: type 8 or 128, code 0, as "ports" (RFC 7296 section 3.13.1).
fn has(selector: &TrafficSelector, address: IpAddr) -> bool {
    let request = if address.is_ipv4() { 8 << 8 } else { 128 << 8 };
    selector.contains(address, protocol(address), request)
}

/// An address that a host can have, of those of the peer's: the one that was named, or the first one of its networks. Where the
/// peer has everything, it is asked itself.
fn target(selector: &TrafficSelector, peer: IpAddr) -> IpAddr {
    if (selector.start, selector.end) == (TrafficSelector::any(selector.is_ipv6()).start, any_end(selector)) {
        return if peer.is_ipv6() == selector.is_ipv6() { peer } else { selector.start };
    }
    let first_host = match (selector.start, selector.prefix()) {
        // RFC 3021: of two addresses both are hosts'; RFC 4291 section 2.6.1: the first one is any router's.
        (IpAddr::V4(start), Some(prefix)) if prefix < 31 => {
            Ipv4Addr::from_bits(start.to_bits().saturating_add(1)).into()
        }
        (IpAddr::V6(start), Some(prefix)) if prefix < 127 => {
            Ipv6Addr::from_bits(start.to_bits().saturating_add(1)).into()
        }
        (start, _) => start,
    };
    first_host.min(selector.end)
}

fn any_end(selector: &TrafficSelector) -> IpAddr {
    TrafficSelector::any(selector.is_ipv6()).end
}

/// The two ends of a probe of this Child SA, `host` being this host's addresses and `to` the one that was named.
///
/// # Errors
/// Why there are none, with the address that was found for the other end.
pub fn ends(
    sa: &SaSnapshot,
    child: &ChildSnapshot,
    host: &[IpAddr],
    to: Option<IpAddr>,
) -> Result<(IpAddr, IpAddr), (ProbeOutcome, Option<IpAddr>)> {
    let ours = |ipv6: bool| {
        let outer = sa.local.ip();
        let usable = |address: &&IpAddr| {
            address.is_ipv6() == ipv6
                && child.local_ts.iter().any(|selector| has(selector, **address))
                && !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
                // Nothing leaves a host from there (RFC 1122 section 3.2.1.3).
                && !address.is_loopback()
        };
        // What the peer assigned is meant for this; the outer address is, only if there is no other.
        let all = sa.local_vips.iter().chain(host).filter(usable);
        all.min_by_key(|a| (!sa.local_vips.contains(a), **a == outer)).copied()
    };
    if let Some(to) = to {
        if !child.remote_ts.iter().any(|selector| has(selector, to)) {
            return Err((ProbeOutcome::OutsideSelectors, Some(to)));
        }
        return ours(to.is_ipv6()).map(|local| (local, to)).ok_or((ProbeOutcome::NoLocalAddress, Some(to)));
    }
    let mut targets = child.remote_ts.iter().map(|selector| (selector, target(selector, sa.remote.ip())));
    let possible: Vec<IpAddr> = targets.by_ref().filter(|(s, to)| has(s, *to)).map(|(_, to)| to).collect();
    let found = possible.iter().find_map(|to| Some((ours(to.is_ipv6())?, *to)));
    found.ok_or(match possible.first() {
        None => (ProbeOutcome::NoTarget, None),
        Some(to) => (ProbeOutcome::NoLocalAddress, Some(*to)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::{Sim, Site};
    use std::time::Duration;

    fn up() -> SaSnapshot {
        let mut sim = Sim::new(5);
        let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        sim.snapshots(a).remove(0)
    }

    fn found(local: &str, remote: &str, host: &[&str], vips: &[&str], to: Option<&str>) -> String {
        let mut sa = up();
        let mut child = sa.children[0].clone();
        let selectors = |text: &str| text.split(' ').map(|one| one.parse().unwrap()).collect();
        (child.local_ts, child.remote_ts) = (selectors(local), selectors(remote));
        let addresses = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<IpAddr>>();
        sa.local_vips = addresses(vips);
        match ends(&sa, &child, &addresses(host), to.map(|to| to.parse().unwrap())) {
            Ok((local, to)) => format!("{local} -> {to}"),
            Err((why, to)) => format!("{why:?} {}", to.map_or_else(String::new, |to| to.to_string())),
        }
    }

    #[test]
    fn both_ends_lie_within_the_selectors() {
        let host = ["127.0.0.1", "192.0.2.1", "10.1.0.1", "fe80::1", "2001:db8:1::1"];
        for (local, remote, vips, to, ends) in [
            ("10.1.0.0/16", "10.2.0.0/16", &[][..], None, "10.1.0.1 -> 10.2.0.1"),
            ("10.1.0.0/16", "10.2.0.0/16", &[], Some("10.2.3.4"), "10.1.0.1 -> 10.2.3.4"),
            ("10.1.0.0/16", "10.2.0.7/32", &[], None, "10.1.0.1 -> 10.2.0.7"),
            ("10.1.0.0/16", "10.2.0.6/31", &[], None, "10.1.0.1 -> 10.2.0.6"),
            ("10.1.0.0/16", "10.3.0.0/16", &[], Some("10.2.0.1"), "OutsideSelectors 10.2.0.1"),
            ("10.9.0.0/16", "10.2.0.0/16", &[], None, "NoLocalAddress 10.2.0.1"),
            ("10.9.0.5/32", "0.0.0.0/0", &["10.9.0.5"], None, "10.9.0.5 -> 192.0.2.2"),
            ("0.0.0.0/0", "10.2.0.0/16", &[], None, "10.1.0.1 -> 10.2.0.1"),
            ("127.0.0.0/8 192.0.2.0/24", "10.2.0.0/16", &[], None, "192.0.2.1 -> 10.2.0.1"),
            ("192.0.2.1/32", "192.0.2.2/32", &[], None, "192.0.2.1 -> 192.0.2.2"),
            ("10.1.0.0/16[6]", "10.2.0.0/16[6]", &[], None, "NoTarget "),
            ("10.1.0.0/16[1]", "10.2.0.0/16[1]", &[], None, "10.1.0.1 -> 10.2.0.1"),
            ("2001:db8:1::/64", "10.2.0.0/16 2001:db8:2::/64", &[], None, "2001:db8:1::1 -> 2001:db8:2::1"),
            ("::/0", "2001:db8:2::9/128", &[], None, "2001:db8:1::1 -> 2001:db8:2::9"),
        ] {
            assert_eq!(found(local, remote, &host, vips, to), ends, "{local} {remote}");
        }
    }
}
