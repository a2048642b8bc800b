//! What the sender of a packet hears that was too long for the tunnel's path (RFC 4301 section 8.2.1): ICMP, as a router
//! would send it.

use crate::header::IPV6_MINIMUM_MTU;
use crate::packet::InnerPacket;
use crate::transport::checksum;
use std::net::IpAddr;

/// The shortest that every host forwards in IPv4 (RFC 791 section 3.2).
pub(crate) const IPV4_MINIMUM_MTU: usize = 68;

/// An error of ICMP is no longer than that (RFC 1812 section 4.3.2.3).
const IPV4_ERROR: usize = 576;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const TTL: u8 = 64;

/// The ICMP error about `inner`, of which no more than `mtu` octets fit. `None` where there must be none.
///
/// It comes from where the packet was to go: of our own addresses the host would take none by this way, and the receiver
/// looks at what is quoted.
pub(crate) fn error(packet: &InnerPacket, inner: &[u8], mtu: usize) -> Option<Vec<u8>> {
    if !may_be_answered(packet, inner) {
        return None;
    }
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let quoted = inner.get(..inner.len().min(IPV4_ERROR - 28))?;
            // RFC 1191 section 4: Destination Unreachable, fragmentation needed and DF set, with the next hop's MTU.
            let [m0, m1] = u16::try_from(mtu).ok()?.to_be_bytes();
            let mut body = vec![3, 4, 0, 0, 0, 0, m0, m1];
            body.extend_from_slice(quoted);
            let sum = checksum(&[&body]).to_be_bytes();
            body.get_mut(2..4)?.copy_from_slice(&sum);
            let [t0, t1] = u16::try_from(20 + body.len()).ok()?.to_be_bytes();
            let mut whole = vec![0x45, 0, t0, t1, 0, 0, 0, 0, TTL, ICMP, 0, 0];
            whole.extend_from_slice(&destination.octets());
            whole.extend_from_slice(&source.octets());
            let sum = checksum(&[&whole]).to_be_bytes();
            whole.get_mut(10..12)?.copy_from_slice(&sum);
            whole.extend_from_slice(&body);
            Some(whole)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            // RFC 4443 section 3.2: as much as fits the minimum MTU.
            let quoted = inner.get(..inner.len().min(IPV6_MINIMUM_MTU - 48))?;
            let mut body = vec![2, 0, 0, 0];
            body.extend_from_slice(&u32::try_from(mtu).ok()?.to_be_bytes());
            body.extend_from_slice(quoted);
            let length = u16::try_from(body.len()).ok()?.to_be_bytes();
            let addresses = [destination.octets(), source.octets()].concat();
            // RFC 8200 section 8.1: the checksum is over the addresses, the length and the protocol too.
            let sum = checksum(&[&addresses, &length, &[0, ICMPV6], &body]).to_be_bytes();
            body.get_mut(2..4)?.copy_from_slice(&sum);
            let mut whole = vec![0x60, 0, 0, 0, length[0], length[1], ICMPV6, TTL];
            whole.extend_from_slice(&addresses);
            whole.extend_from_slice(&body);
            Some(whole)
        }
        _ => None,
    }
}

/// RFC 1122 section 3.2.2 and RFC 4443 section 2.4 (e): no error about an error, about a later fragment, or to and about
/// what is not one host.
fn may_be_answered(packet: &InnerPacket, inner: &[u8]) -> bool {
    let of_icmp = packet.ports.map_or(0, |(kind, _)| kind >> 8);
    let about_error = match packet.protocol {
        ICMP => packet.ports.is_none() || matches!(of_icmp, 3 | 4 | 5 | 11 | 12),
        ICMPV6 => of_icmp < 128 || of_icmp == 137,
        _ => false,
    };
    let later_fragment = packet.source.is_ipv4()
        && inner.get(6..).and_then(<[u8]>::first_chunk).is_none_or(|field| u16::from_be_bytes(*field) & 0x1fff != 0);
    let one_host = |address: IpAddr| match address {
        IpAddr::V4(a) => !a.is_unspecified() && !a.is_multicast() && !a.is_broadcast() && !a.is_loopback(),
        IpAddr::V6(a) => !a.is_unspecified() && !a.is_multicast() && !a.is_loopback(),
    };
    !about_error && !later_fragment && one_host(packet.source) && one_host(packet.destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::packet;

    fn about(inner: &[u8], mtu: usize) -> Option<Vec<u8>> {
        error(&InnerPacket::parse(inner).unwrap(), inner, mtu)
    }

    #[test]
    fn the_sender_hears_what_fits() {
        let inner = packet("10.1.0.1", "10.2.0.1", 17, &[7; 1300]);
        let told = about(&inner, 1234).unwrap();
        assert_eq!(told.len(), 576);
        let parsed = InnerPacket::parse(&told).unwrap();
        assert_eq!((parsed.source, parsed.destination), ("10.2.0.1".parse().unwrap(), "10.1.0.1".parse().unwrap()));
        assert_eq!((checksum(&[&told[..20]]), checksum(&[&told[20..]])), (0, 0));
        assert_eq!((&told[20..22], &told[24..28], &told[28..]), (&[3, 4][..], &[0, 0, 0x04, 0xd2][..], &inner[..548]));

        let inner = packet("2001:db8::1", "2001:db8::2", 6, &[7; 1300]);
        let told = about(&inner, 1300).unwrap();
        assert_eq!(told.len(), 1280);
        let parsed = InnerPacket::parse(&told).unwrap();
        assert_eq!((parsed.source, parsed.protocol), ("2001:db8::2".parse().unwrap(), 58));
        let length = (told.len() as u16 - 40).to_be_bytes();
        assert_eq!(checksum(&[&told[8..40], &length, &[0, 58], &told[40..]]), 0);
        assert_eq!((&told[40..42], &told[44..48], &told[48..]), (&[2, 0][..], &[0, 0, 0x05, 0x14][..], &inner[..1232]));
    }

    #[test]
    fn nobody_hears_of_errors_fragments_and_many_hosts() {
        let v4 = |protocol, payload: &[u8]| packet("10.1.0.1", "10.2.0.1", protocol, payload);
        assert!(about(&v4(1, &[8; 80]), 576).is_some(), "an echo request");
        for kind in [3, 4, 5, 11, 12] {
            assert_eq!(about(&v4(1, &[kind; 80]), 576), None, "{kind}");
        }
        for kind in [1, 2, 127, 137] {
            assert_eq!(about(&packet("2001:db8::1", "2001:db8::2", 58, &[kind; 80]), 1280), None, "{kind}");
        }
        let mut later = v4(17, &[1; 80]);
        later[7] = 1;
        assert_eq!(about(&later, 576), None);
        for (from, to) in [("0.0.0.0", "10.2.0.1"), ("10.1.0.1", "224.0.0.5"), ("10.1.0.1", "255.255.255.255")] {
            assert_eq!(about(&packet(from, to, 17, &[1; 80]), 576), None, "{from} {to}");
        }
        assert_eq!(about(&packet("2001:db8::1", "ff02::1", 17, &[1; 80]), 1280), None);
    }
}
