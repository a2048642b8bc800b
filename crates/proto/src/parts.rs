//! A policy in several Child SAs (RFC 7296 section 2.9): which part of the selectors one of them has, and what is left for
//! others.

use crate::child::Selectors;
use model::{TrafficSelector, narrow};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More ranges than this are no remainder to ask for.
const MOST_RANGES: usize = 64;

/// Whether all packets are between one address and one other.
pub(crate) fn is_one_pair(selectors: &Selectors) -> bool {
    let one = |list: &[TrafficSelector]| match list {
        [first, ..] => first.start == first.end && list.iter().all(|ts| (ts.start, ts.end) == (first.start, first.end)),
        [] => false,
    };
    one(&selectors.local) && one(&selectors.remote)
}

/// The part of these selectors that is between the addresses of a packet, whose source is here.
pub(crate) fn of_packet(selectors: &Selectors, packet: &(TrafficSelector, TrafficSelector)) -> Selectors {
    let (local, remote) = (TrafficSelector::host(packet.0.start), TrafficSelector::host(packet.1.start));
    Selectors { local: narrow(&selectors.local, &[local]), remote: narrow(&selectors.remote, &[remote]) }
}

/// Of what a responder could agree to, the part between the addresses of the packet that the initiator names first; nothing
/// if it names none, and that is more than one pair.
pub(crate) fn one_pair(possible: Selectors, (tsi, tsr): (&[TrafficSelector], &[TrafficSelector])) -> Selectors {
    if is_one_pair(&possible) {
        return possible;
    }
    match (tsi, tsr) {
        ([packet_i, _, ..], [packet_r, _, ..]) if packet_i.start == packet_i.end && packet_r.start == packet_r.end => {
            of_packet(&possible, &(*packet_r, *packet_i))
        }
        _ => Selectors { local: Vec::new(), remote: Vec::new() },
    }
}

/// Whether a child with these selectors would agree to a part of what the initiator offers that is not agreed to.
pub(crate) fn is_beside(
    ours: &Selectors,
    (tsi, tsr): (&[TrafficSelector], &[TrafficSelector]),
    agreed: &Selectors,
) -> bool {
    let possible = Selectors { local: narrow(&ours.local, tsr), remote: narrow(&ours.remote, tsi) };
    let has = |list: &[TrafficSelector], all: &[TrafficSelector]| {
        all.iter().all(|one| list.iter().any(|ts| ts.includes(one)))
    };
    let agreed_to = has(&agreed.local, &possible.local) && has(&agreed.remote, &possible.remote);
    let any = !possible.local.is_empty() && !possible.remote.is_empty();
    any && !agreed_to
}

/// What we asked for and did not get, as the selectors of another Child SA; `None` if there is nothing, or too much of it.
pub(crate) fn remainder(asked: &Selectors, agreed: &Selectors) -> Option<Selectors> {
    let (local, remote) = (without(&asked.local, &agreed.local), without(&asked.remote, &agreed.remote));
    // Both sides of a Child SA go with each other: what is left on both sides takes several turns.
    let rest = match (local.is_empty(), remote.is_empty()) {
        (_, false) => Selectors { local: asked.local.clone(), remote },
        (false, true) => Selectors { local, remote: asked.remote.clone() },
        (true, true) => return None,
    };
    (rest.local.len() <= MOST_RANGES && rest.remote.len() <= MOST_RANGES).then_some(rest)
}

/// The addresses of `asked` that are not in `agreed`. Where only some protocols or ports were agreed to nothing is left, for
/// what is left of those is no range.
fn without(asked: &[TrafficSelector], agreed: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut left = asked.to_vec();
    for gone in agreed {
        let cut = |ts: TrafficSelector| -> Vec<TrafficSelector> {
            if gone.intersection(&ts).is_none() {
                return vec![ts];
            }
            let all_of_it = TrafficSelector { start: ts.start, end: ts.end, ..*gone }.includes(&ts);
            let before = before(gone.start).filter(|end| all_of_it && ts.start < gone.start && ts.start <= *end);
            let after = after(gone.end).filter(|start| all_of_it && gone.end < ts.end && *start <= ts.end);
            let before = before.map(|end| TrafficSelector { end, ..ts });
            before.into_iter().chain(after.map(|start| TrafficSelector { start, ..ts })).collect()
        };
        left = left.into_iter().flat_map(cut).collect();
        if left.len() > 2 * MOST_RANGES {
            break; // too many to ask for
        }
    }
    left
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => a.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(a) => a.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => a.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(a) => a.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> Vec<TrafficSelector> {
        text.split_whitespace().map(|one| one.parse().unwrap()).collect()
    }

    fn both(local: &str, remote: &str) -> Selectors {
        Selectors { local: ts(local), remote: ts(remote) }
    }

    #[test]
    fn what_is_left_is_what_was_asked_for_without_what_was_agreed_to() {
        for (asked, agreed, left) in [
            ("10.0.0.0/8", "10.0.0.0/8", ""),
            ("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"),
            ("10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/16 10.2.0.0-10.255.255.255"),
            ("10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16", "10.2.0.0/16"),
            ("10.1.0.0/16", "10.1.0.0/17 10.1.128.0/17", ""),
            ("0.0.0.0/0", "0.0.0.0/0", ""),
            ("::/0", "8000::/1", "::/1"),
            ("10.0.0.0/8", "2001:db8::/32", "10.0.0.0/8"),
            // Some ports of them are no part that can be cut out.
            ("10.0.0.0/8", "10.0.0.0/8[tcp/80]", ""),
            ("10.0.0.0/8[tcp/80]", "10.0.0.0/9", "10.128.0.0/9[tcp/80]"),
        ] {
            assert_eq!(without(&ts(asked), &ts(agreed)), ts(left), "{asked} without {agreed}");
        }
        let asked = both("10.1.0.0/16", "10.2.0.0/16 10.3.0.0/16");
        let rest = remainder(&asked, &both("10.1.0.0/16", "10.3.0.0/16")).unwrap();
        assert_eq!((rest.local, rest.remote), (ts("10.1.0.0/16"), ts("10.2.0.0/16")));
        let rest = remainder(&asked, &both("10.1.0.0/17", "10.2.0.0/16 10.3.0.0/16")).unwrap();
        assert_eq!((rest.local, rest.remote), (ts("10.1.128.0/17"), asked.remote.clone()));
        assert!(remainder(&asked, &asked).is_none());
        // A peer that cuts holes into it.
        let holes: Vec<TrafficSelector> = (0..255_u8).map(|n| TrafficSelector::host([10, 2, n, 1].into())).collect();
        assert!(remainder(&asked, &Selectors { remote: holes, ..asked.clone() }).is_none());
    }

    #[test]
    fn one_pair_is_one_address_at_each_end() {
        assert!(is_one_pair(&both("10.1.0.1", "10.2.0.1")));
        assert!(is_one_pair(&both("10.1.0.1[tcp/80] 10.1.0.1", "10.2.0.1")));
        assert!(!is_one_pair(&both("10.1.0.1 10.1.0.2", "10.2.0.1")));
        assert!(!is_one_pair(&both("10.1.0.1", "10.2.0.0/31")));
        let offered = (ts("10.1.0.9[tcp] 10.1.0.0/16"), ts("10.2.0.1[tcp/80] 10.2.0.0/16"));
        let possible = both("10.2.0.0/24", "10.1.0.0/16");
        let pair = one_pair(possible.clone(), (&offered.0, &offered.1));
        assert_eq!((pair.local, pair.remote), (ts("10.2.0.1"), ts("10.1.0.9")));
        let pair = one_pair(possible, (&ts("10.1.0.0/16"), &ts("10.2.0.0/16")));
        assert!(pair.local.is_empty() && pair.remote.is_empty(), "it cannot be guessed");
    }
}
