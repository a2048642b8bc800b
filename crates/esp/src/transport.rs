//! Transport mode (RFC 4303 section 3.1.1) behind a TUN device, IPv4 alone: the device hands over whole packets and takes
//! whole ones, while ESP carries what follows the IP header, and the outer header takes its place.

use crate::engine::EngineError;
use model::TrafficSelector;
use model::dataplane::ChildInstall;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// Octets of an IPv4 header without options.
const HEADER: usize = 20;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Hops of a packet whose own header did not travel.
const TTL: u8 = 64;
/// Don't Fragment: with it a zero identification is right (RFC 6864 section 4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// Whether this data plane can carry the Child SA.
///
/// # Errors
/// IPv6, for whose longer header there is no room in a received packet; and selectors of less than all packets between both
/// addresses, for the device gets everything to the peer and has nowhere to put the rest.
pub(crate) fn permits(install: &ChildInstall) -> Result<(), EngineError> {
    let (local, remote) = (install.local.ip(), install.remote.ip());
    if !local.is_ipv4() || !remote.is_ipv4() {
        return Err(EngineError::TransportIpv6);
    }
    let whole = |list: &[TrafficSelector], address: IpAddr| {
        !list.is_empty() && list.iter().all(|ts| *ts == TrafficSelector::host(address))
    };
    if whole(&install.local_ts, local) && whole(&install.remote_ts, remote) {
        Ok(())
    } else {
        Err(EngineError::TransportSelectors)
    }
}

/// Where the payload of an IPv4 packet begins, and its protocol; `None` for a fragment, which transport mode does not carry
/// (RFC 4303 section 3.3.4).
pub(crate) fn payload(packet: &[u8]) -> Option<(usize, u8)> {
    let &[version_ihl, _, _, _, _, _, frag_a, frag_b, _, protocol] = packet.first_chunk::<10>()?;
    let whole = u16::from_be_bytes([frag_a, frag_b]) & !DONT_FRAGMENT & 0x7fff == 0;
    (whole && version_ihl >> 4 == 4).then(|| (usize::from(version_ihl & 0x0f) * 4, protocol))
}

/// Puts an IPv4 header before a received payload, which is moved if need be; where the packet is then. `translated`: a NAT
/// may have changed the addresses that the checksum of TCP or UDP is over, which only we can mend (RFC 3948 section 3.1.2).
pub(crate) fn rebuild(
    packet: &mut [u8],
    at: Range<usize>,
    protocol: u8,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    translated: bool,
) -> Option<Range<usize>> {
    let length = at.len();
    let start = at.start.max(HEADER);
    packet.get(start..start.checked_add(length)?)?;
    packet.copy_within(at, start);
    let total = u16::try_from(HEADER + length).ok()?;
    let whole = packet.get_mut(start - HEADER..start + length)?;
    let (header, body) = whole.split_first_chunk_mut::<HEADER>()?;
    if translated {
        mend(body, protocol, source, destination);
    }
    let ([t0, t1], [f0, f1]) = (total.to_be_bytes(), DONT_FRAGMENT.to_be_bytes());
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (source.octets(), destination.octets());
    *header = [0x45, 0, t0, t1, 0, 0, f0, f1, TTL, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    let [c0, c1] = checksum(&[header]).to_be_bytes();
    (header[10], header[11]) = (c0, c1);
    Some(start - HEADER..start + length)
}

/// The content is authentic, so that its checksum need not be checked, only be right for these addresses.
fn mend(body: &mut [u8], protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) {
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    let Ok(length) = u16::try_from(body.len()) else { return };
    let Some(field) = body.get_mut(at..at + 2) else { return };
    field.fill(0);
    if protocol == UDP {
        return; // none (RFC 768)
    }
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, protocol], &length.to_be_bytes()].concat();
    let sum = checksum(&[&pseudo, body]).to_be_bytes();
    if let Some(field) = body.get_mut(at..at + 2) {
        field.copy_from_slice(&sum);
    }
}

/// The Internet checksum (RFC 1071). All parts but the last have an even number of octets.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u64 = words.map(|w| u64::from(w[0]) << 8 | w.get(1).map_or(0, |low| u64::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16) // folded to 16 bits
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    #[test]
    fn a_packet_has_a_right_header_wherever_its_payload_was() {
        for before in [0, 8, 16, 20, 24, 40] {
            let mut packet = vec![0xee; before];
            packet.extend_from_slice(b"eight oc");
            packet.extend_from_slice(&[0xee; 22]);
            let at = rebuild(&mut packet, before..before + 8, 50, (A, B), false).unwrap();
            let whole = &packet[at];
            assert_eq!((whole.len(), &whole[20..]), (28, &b"eight oc"[..]), "{before}");
            assert_eq!(checksum(&[&whole[..20]]), 0, "the header's checksum holds");
            assert_eq!((&whole[12..16], &whole[16..20], whole[9]), (&A.octets()[..], &B.octets()[..], 50));
            assert_eq!(payload(whole), Some((20, 50)));
        }
        assert!(rebuild(&mut [0; 27], 0..8, 50, (A, B), false).is_none(), "no room");
    }

    #[test]
    fn checksums_are_mended_for_other_addresses() {
        // A TCP segment of 20 + 3 octets, its checksum over other addresses; UDP goes without.
        let segment: Vec<u8> = (0..23).collect();
        for (protocol, at) in [(TCP, 16), (UDP, 6)] {
            let mut packet = [&[0; 20][..], &segment].concat();
            let range = rebuild(&mut packet, 20..43, protocol, (A, B), true).unwrap();
            let body = &packet[range][20..];
            let pseudo = [&A.octets()[..], &B.octets(), &[0, protocol, 0, 23]].concat();
            if protocol == TCP {
                assert_eq!(checksum(&[&pseudo, body]), 0);
            } else {
                assert_eq!(body[at..at + 2], [0, 0]);
            }
            assert_eq!((&body[..at], &body[at + 2..]), (&segment[..at], &segment[at + 2..]), "nothing else changes");
        }
        // Too short for a checksum.
        assert!(rebuild(&mut [0; 25], 20..25, TCP, (A, B), true).is_some());
    }

    #[test]
    fn fragments_and_ipv6_have_no_payload() {
        let mut packet = [0; 28];
        let at = rebuild(&mut packet, 20..28, UDP, (A, B), false).unwrap();
        for (octet, value, whole) in [(6, 0x20, false), (7, 1, false), (6, 0x40, true), (0, 0x65, false)] {
            let mut changed = packet[at.clone()].to_vec();
            changed[octet] = value;
            assert_eq!(payload(&changed).is_some(), whole, "{octet} {value:x}");
        }
        assert_eq!(payload(&[0x45; 9]), None);
    }
}
