//! What the selectors need to know of an inner packet (RFC 4301 section 4.4.1.1).

use model::TrafficSelector;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an inner packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Neither IPv4 nor IPv6.
    Version,
    /// Shorter than its header says.
    Truncated,
    /// The header contradicts itself.
    Header,
}

/// The selector fields of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The protocol behind all extension headers.
    pub protocol: u8,
    /// Source and destination port. ICMP: type in the upper and code in the lower octet of both (RFC 7296 section 3.13.1).
    /// `None` where the protocol has none or the packet is not the first fragment.
    pub ports: Option<(u16, u16)>,
    /// The packet's length in octets as its header states; what follows is padding for traffic flow confidentiality
    /// (RFC 4303 section 2.7).
    pub length: usize,
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const MOBILITY: u8 = 135;

/// Extension headers are walked so far; a packet with more has no ports.
const MAX_EXTENSIONS: usize = 8;

impl InnerPacket {
    /// Reads the headers at the start of `packet`, which may be longer than the IP packet.
    pub fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => Self::parse_v4(packet),
            Some(6) => Self::parse_v6(packet),
            Some(_) => Err(PacketError::Version),
            None => Err(PacketError::Truncated),
        }
    }

    fn parse_v4(packet: &[u8]) -> Result<Self, PacketError> {
        let (header, _) = packet.split_first_chunk::<20>().ok_or(PacketError::Truncated)?;
        let [version_ihl, _, len_a, len_b, _, _, frag_a, frag_b, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *header;
        let header_length = usize::from(version_ihl & 0x0f) * 4;
        let length = usize::from(u16::from_be_bytes([len_a, len_b]));
        if header_length < 20 || length < header_length {
            return Err(PacketError::Header);
        }
        let payload =
            packet.get(..length).and_then(|whole| whole.get(header_length..)).ok_or(PacketError::Truncated)?;
        let first_fragment = u16::from_be_bytes([frag_a, frag_b]) & 0x1fff == 0;
        Ok(Self {
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
            protocol,
            ports: if first_fragment { ports(protocol, payload) } else { None },
            length,
        })
    }

    fn parse_v6(packet: &[u8]) -> Result<Self, PacketError> {
        let (header, _) = packet.split_first_chunk::<40>().ok_or(PacketError::Truncated)?;
        let (fixed, addresses) = header.split_at(8);
        let &[_, _, _, _, len_a, len_b, next_header, _] = fixed else { return Err(PacketError::Header) };
        let (source, destination) = addresses.split_at(16);
        let address = |octets: &[u8]| <[u8; 16]>::try_from(octets).map(Ipv6Addr::from).map_err(|_| PacketError::Header);
        let length = 40 + usize::from(u16::from_be_bytes([len_a, len_b]));
        let mut rest = packet.get(40..length).ok_or(PacketError::Truncated)?;
        let (source, destination) = (address(source)?.into(), address(destination)?.into());

        let mut protocol = next_header;
        let mut first_fragment = true;
        for _ in 0..MAX_EXTENSIONS {
            let step = match protocol {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                    let Some(&[next, units]) = rest.first_chunk::<2>() else { break };
                    (next, 8 + usize::from(units) * 8)
                }
                FRAGMENT => {
                    let Some(&[next, _, offset_a, offset_b, ..]) = rest.first_chunk::<8>() else { break };
                    first_fragment = u16::from_be_bytes([offset_a, offset_b]) & 0xfff8 == 0;
                    (next, 8)
                }
                _ => break,
            };
            protocol = step.0;
            if !first_fragment {
                // What follows is the middle of something: no more headers to find.
                break;
            }
            let Some(behind) = rest.get(step.1..) else { return Err(PacketError::Truncated) };
            rest = behind;
        }
        let ports = if first_fragment { ports(protocol, rest) } else { None };
        Ok(Self { source, destination, protocol, ports, length })
    }

    /// Whether the packet lies between these two selectors.
    pub(crate) fn matches(&self, source: &TrafficSelector, destination: &TrafficSelector) -> bool {
        matches(source, self.source, self.protocol, self.ports.map(|(source, _)| source))
            && matches(destination, self.destination, self.protocol, self.ports.map(|(_, destination)| destination))
    }
}

fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        // TCP, UDP, DCCP, SCTP and UDP-Lite begin with their ports.
        6 | 17 | 33 | 132 | 136 => {
            let &[s0, s1, d0, d1] = payload.first_chunk::<4>()?;
            Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
        }
        ICMP | ICMPV6 => {
            let both = u16::from_be_bytes(*payload.first_chunk::<2>()?);
            Some((both, both))
        }
        // RFC 7296 section 3.13.1: the Mobility Header type is in the upper octet.
        MOBILITY => {
            let both = u16::from_be_bytes([*payload.get(2)?, 0]);
            Some((both, both))
        }
        _ => None,
    }
}

fn matches(selector: &TrafficSelector, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    // RFC 7296 section 3.13.1: OPAQUE stands for packets whose port cannot be seen.
    let opaque = selector.start_port == u16::MAX && selector.end_port == 0;
    match port {
        Some(port) => !opaque && selector.contains(address, protocol, port),
        None if opaque => {
            TrafficSelector { start_port: 0, end_port: u16::MAX, ..*selector }.contains(address, protocol, 0)
        }
        // RFC 4301 section 7.4: a fragment without ports is no match for a selector with ports.
        None => selector.any_port() && selector.contains(address, protocol, 0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 or IPv6 packet with `payload` behind the header.
    pub(crate) fn packet(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (source.parse().unwrap(), destination.parse().unwrap()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                let mut p = vec![0x45, 0];
                p.extend((20 + payload.len() as u16).to_be_bytes());
                p.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
                p.extend(s.octets());
                p.extend(d.octets());
                p.extend(payload);
                p
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                let mut p = vec![0x60, 0, 0, 0];
                p.extend((payload.len() as u16).to_be_bytes());
                p.extend([protocol, 64]);
                p.extend(s.octets());
                p.extend(d.octets());
                p.extend(payload);
                p
            }
            _ => unreachable!("addresses of two families"),
        }
    }

    #[test]
    fn reads_ports() {
        let p = InnerPacket::parse(&packet("10.0.0.1", "10.0.0.2", 6, &[0x12, 0x34, 0, 80, 0, 0])).unwrap();
        assert_eq!((p.protocol, p.ports, p.length), (6, Some((0x1234, 80)), 26));
        let p = InnerPacket::parse(&packet("10.0.0.1", "10.0.0.2", 1, &[8, 0, 1, 2])).unwrap();
        assert_eq!(p.ports, Some((0x0800, 0x0800)));
        let p = InnerPacket::parse(&packet("2001:db8::1", "2001:db8::2", 58, &[128, 0, 1, 2])).unwrap();
        assert_eq!((p.protocol, p.ports), (58, Some((0x8000, 0x8000))));
        let p = InnerPacket::parse(&packet("10.0.0.1", "10.0.0.2", 47, &[0; 8])).unwrap();
        assert_eq!(p.ports, None);
    }

    #[test]
    fn walks_extension_headers_and_fragments() {
        // Destination options (8 octets), then UDP.
        let p = packet("::1", "::2", 60, &[17, 0, 1, 4, 0, 0, 0, 0, 0, 53, 0, 99, 0, 8, 0, 0]);
        let p = InnerPacket::parse(&p).unwrap();
        assert_eq!((p.protocol, p.ports), (17, Some((53, 99))));
        // First fragment, then a later one.
        let p = packet("::1", "::2", 44, &[17, 0, 0, 1, 0, 0, 0, 1, 0, 53, 0, 99, 0, 8, 0, 0]);
        assert_eq!(InnerPacket::parse(&p).unwrap().ports, Some((53, 99)));
        let p = packet("::1", "::2", 44, &[17, 0, 0, 8, 0, 0, 0, 1, 0, 53, 0, 99, 0, 8, 0, 0]);
        let p = InnerPacket::parse(&p).unwrap();
        assert_eq!((p.protocol, p.ports), (17, None));
        let mut p = packet("10.0.0.1", "10.0.0.2", 17, &[0, 53, 0, 99]);
        p[7] = 1;
        assert_eq!(InnerPacket::parse(&p).unwrap().ports, None);
    }

    #[test]
    fn fragments_match_only_selectors_without_ports() {
        let mut p = packet("10.0.0.1", "10.0.0.2", 17, &[0, 53, 0, 99]);
        p[7] = 1;
        let p = InnerPacket::parse(&p).unwrap();
        let ts = |text: &str| text.parse::<TrafficSelector>().unwrap();
        assert!(p.matches(&ts("10.0.0.0/8"), &ts("10.0.0.0/8[udp]")));
        assert!(!p.matches(&ts("10.0.0.0/8"), &ts("10.0.0.0/8[udp/99]")));
        assert!(p.matches(&ts("10.0.0.0/8[udp/opaque]"), &ts("10.0.0.0/8[udp/opaque]")));
        let p = InnerPacket::parse(&packet("10.0.0.1", "10.0.0.2", 17, &[0, 53, 0, 99])).unwrap();
        assert!(p.matches(&ts("10.0.0.0/8[udp/53]"), &ts("10.0.0.0/8[udp/99]")));
        assert!(!p.matches(&ts("10.0.0.0/8[udp/opaque]"), &ts("10.0.0.0/8")));
    }

    #[test]
    fn refuses_lies() {
        assert_eq!(InnerPacket::parse(&[]), Err(PacketError::Truncated));
        assert_eq!(InnerPacket::parse(&[0x50; 40]), Err(PacketError::Version));
        let mut p = packet("10.0.0.1", "10.0.0.2", 6, &[0; 20]);
        p[0] = 0x44;
        assert_eq!(InnerPacket::parse(&p), Err(PacketError::Header));
        let mut p = packet("10.0.0.1", "10.0.0.2", 6, &[0; 20]);
        p[3] += 1;
        assert_eq!(InnerPacket::parse(&p), Err(PacketError::Truncated));
    }

    proptest! {
        #[test]
        fn never_panics(mut octets in prop::collection::vec(any::<u8>(), 0..120), six: bool) {
            if let Some(first) = octets.first_mut() {
                *first = if six { 0x60 } else { 0x40 | (*first & 0xf) };
            }
            if let Ok(packet) = InnerPacket::parse(&octets) {
                prop_assert!(packet.length <= octets.len());
            }
        }
    }
}
