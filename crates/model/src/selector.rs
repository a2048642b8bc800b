//! Traffic selectors (RFC 7296 section 2.9 and 3.13.1) and how they narrow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A set of packets: an IP protocol, a range of ports and a range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrafficSelector {
    /// IP protocol number, 0 for any.
    pub protocol: u8,
    /// First port (0 when any; for ICMP type and code, RFC 7296 section 3.13.1).
    pub start_port: u16,
    /// Last port, inclusive (65535 when any). `start 65535, end 0` is OPAQUE.
    pub end_port: u16,
    /// First address.
    pub start: IpAddr,
    /// Last address, inclusive, of the same family.
    pub end: IpAddr,
}

/// Why a text is no traffic selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidSelector {
    /// Neither an address, `ADDRESS/PREFIX` nor `FIRST-LAST`.
    Address(String),
    /// The prefix is longer than the address.
    Prefix(String),
    /// The part in brackets is not `[PROTOCOL[/PORT[-PORT]]]`.
    ProtocolPort(String),
    /// The last address or port lies before the first.
    EmptyRange(String),
}

impl fmt::Display for InvalidSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(t) => write!(f, "'{t}' is neither an address, ADDRESS/PREFIX nor FIRST-LAST"),
            Self::Prefix(t) => write!(f, "the prefix length of '{t}' is longer than its address"),
            Self::ProtocolPort(t) => write!(f, "'{t}' is not [PROTOCOL[/PORT[-PORT]]]"),
            Self::EmptyRange(t) => write!(f, "'{t}' ends before it begins"),
        }
    }
}

impl std::error::Error for InvalidSelector {}

impl TrafficSelector {
    /// All traffic of one address.
    pub fn host(address: IpAddr) -> Self {
        Self { protocol: 0, start_port: 0, end_port: u16::MAX, start: address, end: address }
    }

    /// All traffic of a network; `None` if the prefix is longer than the address.
    pub fn subnet(address: IpAddr, prefix: u8) -> Option<Self> {
        let (start, end) = match address {
            IpAddr::V4(a) => {
                let host = if prefix > 32 { return None } else { u32::MAX.checked_shr(prefix.into()).unwrap_or(0) };
                let bits = a.to_bits();
                (Ipv4Addr::from_bits(bits & !host).into(), Ipv4Addr::from_bits(bits | host).into())
            }
            IpAddr::V6(a) => {
                let host = if prefix > 128 { return None } else { u128::MAX.checked_shr(prefix.into()).unwrap_or(0) };
                let bits = a.to_bits();
                (Ipv6Addr::from_bits(bits & !host).into(), Ipv6Addr::from_bits(bits | host).into())
            }
        };
        Some(Self { protocol: 0, start_port: 0, end_port: u16::MAX, start, end })
    }

    /// Everything of one family.
    pub fn any(ipv6: bool) -> Self {
        let (start, end): (IpAddr, IpAddr) = if ipv6 {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into())
        } else {
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())
        };
        Self { protocol: 0, start_port: 0, end_port: u16::MAX, start, end }
    }

    /// Whether this selector speaks of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.start.is_ipv6()
    }

    /// Whether a packet with this address, protocol and port (0 where it has none) is in the set.
    pub fn contains(&self, address: IpAddr, protocol: u8, port: u16) -> bool {
        address.is_ipv6() == self.is_ipv6()
            && self.start <= address
            && address <= self.end
            && (self.protocol == 0 || self.protocol == protocol)
            && (self.any_port() || (self.start_port <= port && port <= self.end_port))
    }

    /// Whether all of `other` is in this set.
    pub fn includes(&self, other: &Self) -> bool {
        self.intersection(other).as_ref() == Some(other)
    }

    /// Whether no port is excluded.
    pub fn any_port(&self) -> bool {
        self.start_port == 0 && self.end_port == u16::MAX
    }

    /// Whether the ports are types and codes of ICMP.
    fn is_icmp(&self) -> bool {
        matches!(self.protocol, 1 | 58)
    }

    /// The protocol of packets between this side and the other, 0 for any; `None` if no packet is in both.
    pub fn common_protocol(&self, other: &Self) -> Option<u8> {
        match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => Some(protocol),
            (one, other) => (one == other).then_some(one),
        }
    }

    /// What both sets have in common.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_ipv6() != other.is_ipv6() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, p) | (p, 0) => p,
            (p, q) if p == q => p,
            _ => return None,
        };
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        let (start_port, end_port) = (self.start_port.max(other.start_port), self.end_port.min(other.end_port));
        if start > end || start_port > end_port {
            return None;
        }
        Some(Self { protocol, start_port, end_port, start, end })
    }

    /// The prefix length if the addresses are exactly one network.
    pub fn prefix(&self) -> Option<u8> {
        let (start, end, width) = match (self.start, self.end) {
            (IpAddr::V4(s), IpAddr::V4(e)) => (u128::from(s.to_bits()), u128::from(e.to_bits()), 32u32),
            (IpAddr::V6(s), IpAddr::V6(e)) => (s.to_bits(), e.to_bits(), 128),
            _ => return None,
        };
        let differing = start ^ end;
        // A network's first and last address differ in a run of low bits, all zero in the first.
        let host_bits = 128 - differing.leading_zeros();
        if differing.count_ones() == host_bits && start & differing == 0 {
            u8::try_from(width - host_bits).ok()
        } else {
            None
        }
    }

    /// The smallest set of networks that covers the addresses exactly (for routes), first to last.
    pub fn networks(&self) -> Vec<(IpAddr, u8)> {
        let (mut start, end, width) = match (self.start, self.end) {
            (IpAddr::V4(s), IpAddr::V4(e)) => (u128::from(s.to_bits()), u128::from(e.to_bits()), 32u32),
            (IpAddr::V6(s), IpAddr::V6(e)) => (s.to_bits(), e.to_bits(), 128),
            _ => return Vec::new(),
        };
        let mut networks = Vec::new();
        loop {
            let mut bits = start.trailing_zeros().min(width);
            while bits > 0 && (end - start) < low_ones(bits) {
                bits -= 1;
            }
            let address = if width == 32 {
                IpAddr::V4(Ipv4Addr::from_bits(start as u32)) // at most 32 bits by construction
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(start))
            };
            networks.push((address, (width - bits) as u8));
            match (start + low_ones(bits)).checked_add(1) {
                Some(next) if next <= end => start = next,
                _ => return networks,
            }
        }
    }
}

fn low_ones(bits: u32) -> u128 {
    if bits >= 128 { u128::MAX } else { (1u128 << bits) - 1 }
}

/// The selectors that `ours` allows of what `theirs` asks for: every non-empty intersection, without those that another
/// one includes (RFC 7296 section 2.9).
pub fn narrow(ours: &[TrafficSelector], theirs: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    for t in theirs {
        for o in ours {
            let Some(both) = o.intersection(t) else { continue };
            if !narrowed.iter().any(|n| n.includes(&both)) {
                narrowed.retain(|n| !both.includes(n));
                narrowed.push(both);
            }
        }
    }
    narrowed
}

/// The most selectors that one side of a Child SA may have: their number is one octet of the payload (RFC 7296 section 3.13).
pub const MOST_SELECTORS: usize = u8::MAX as usize;

/// The most pairs of networks that a Child SA may have ([`pairs`]): what is looked up for each packet and installed at once
/// must not be for a peer to choose. RFC 7296 allows 255 ranges on either side, each of them up to 254 networks.
pub const MAX_PAIRS: u64 = 1024;

/// How many pairs of networks these selectors are, one of `local` and one of `remote` of the same family: as many policies
/// carry them.
pub fn pairs(local: &[TrafficSelector], remote: &[TrafficSelector]) -> u64 {
    let networks = |list: &[TrafficSelector], ipv6| -> u64 {
        let of_family = list.iter().filter(|ts| ts.is_ipv6() == ipv6);
        of_family.map(|ts| ts.networks().len() as u64).sum()
    };
    [false, true].into_iter().map(|ipv6| networks(local, ipv6) * networks(remote, ipv6)).sum()
}

const PROTOCOLS: &[(u8, &str)] =
    &[(1, "icmp"), (4, "ipencap"), (6, "tcp"), (17, "udp"), (47, "gre"), (50, "esp"), (58, "ipv6-icmp"), (132, "sctp")];

/// As swanctl prints one: `10.1.0.0/16`, `10.1.0.1..10.1.0.9`, `10.1.0.0/16[tcp/http]`, `10.1.0.0/16[udp/4000-4010]`.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(prefix) => write!(f, "{}/{prefix}", self.start)?,
            None => write!(f, "{}..{}", self.start, self.end)?,
        }
        if self.protocol == 0 && self.any_port() {
            return Ok(());
        }
        f.write_str("[")?;
        match PROTOCOLS.iter().find(|(n, _)| *n == self.protocol) {
            Some((_, name)) => f.write_str(name)?,
            None if self.protocol == 0 => f.write_str("0")?,
            None => write!(f, "{}", self.protocol)?,
        }
        if !self.any_port() {
            // RFC 7296 section 3.13.1: ICMP has its type in the upper octet and its code in the lower one.
            let one = |port: u16| match port.to_be_bytes() {
                [kind, 0] if self.is_icmp() => kind.to_string(),
                [kind, code] if self.is_icmp() => format!("{kind}({code})"),
                _ => port.to_string(),
            };
            if self.start_port == u16::MAX && self.end_port == 0 {
                f.write_str("/OPAQUE")?;
            } else if self.start_port == self.end_port {
                match service(self.protocol, self.start_port) {
                    Some(name) => write!(f, "/{name}")?,
                    None => write!(f, "/{}", one(self.start_port))?,
                }
            } else {
                write!(f, "/{}-{}", one(self.start_port), one(self.end_port))?;
            }
        }
        f.write_str("]")
    }
}

/// The notation of swanctl.conf: `10.1.0.0/16`, `10.1.0.1-10.1.0.9`, each with an optional `[tcp/80]`.
/// `dynamic` is not a selector yet and is refused here; the configuration keeps it apart.
impl FromStr for TrafficSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let text = text.trim();
        let (addresses, bracket) = match text.split_once('[') {
            Some((a, rest)) => {
                let inner = rest.strip_suffix(']').ok_or_else(|| InvalidSelector::ProtocolPort(text.into()))?;
                (a, Some(inner))
            }
            None => (text, None),
        };
        let bad = || InvalidSelector::Address(text.into());
        let mut selector = if let Some((first, last)) = addresses.split_once('-').or_else(|| addresses.split_once(".."))
        {
            let (start, end): (IpAddr, IpAddr) =
                (first.trim().parse().map_err(|_| bad())?, last.trim().parse().map_err(|_| bad())?);
            if start.is_ipv6() != end.is_ipv6() {
                return Err(bad());
            }
            if start > end {
                return Err(InvalidSelector::EmptyRange(text.into()));
            }
            Self { protocol: 0, start_port: 0, end_port: u16::MAX, start, end }
        } else if let Some((address, prefix)) = addresses.split_once('/') {
            let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
            let prefix: u8 = prefix.trim().parse().map_err(|_| bad())?;
            Self::subnet(address, prefix).ok_or_else(|| InvalidSelector::Prefix(text.into()))?
        } else {
            Self::host(addresses.trim().parse().map_err(|_| bad())?)
        };
        if let Some(inner) = bracket {
            let (protocol, start_port, end_port) = parse_protocol_port(inner, text)?;
            selector.protocol = protocol;
            selector.start_port = start_port;
            selector.end_port = end_port;
        }
        Ok(selector)
    }
}

fn parse_protocol_port(inner: &str, text: &str) -> Result<(u8, u16, u16), InvalidSelector> {
    let bad = || InvalidSelector::ProtocolPort(text.into());
    let (protocol, ports) = match inner.split_once('/') {
        Some((protocol, ports)) => (protocol.trim(), ports.trim()),
        None => (inner.trim(), ""),
    };
    let protocol = match protocol {
        "" | "any" => 0,
        name => match PROTOCOLS.iter().find(|(_, known)| *known == name) {
            Some((number, _)) => *number,
            None if name == "icmpv6" => 58,
            None => name.parse().map_err(|_| bad())?,
        },
    };
    let port = |text: &str| if matches!(protocol, 1 | 58) { icmp_type(text) } else { port(text) };
    let (start, end) = match ports {
        "" | "any" => (0, u16::MAX),
        "opaque" => (u16::MAX, 0),
        range => match range.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (port(first).ok_or_else(bad)?, port(last).ok_or_else(bad)?);
                if first > last {
                    return Err(InvalidSelector::EmptyRange(text.into()));
                }
                (first, last)
            }
            None => {
                let one = port(range).ok_or_else(bad)?;
                (one, one)
            }
        },
    };
    Ok((protocol, start, end))
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Ports with names, and the protocols for which they are printed by them (as Debian's `/etc/services` has it, so that
/// listings do not depend on the machine). Where a port has two names the first is printed.
const SERVICES: &[(&str, u16, &[u8])] = &[
    ("ftp", 21, &[TCP]),
    ("ssh", 22, &[TCP]),
    ("telnet", 23, &[TCP]),
    ("smtp", 25, &[TCP]),
    ("domain", 53, &[TCP, UDP]),
    ("http", 80, &[TCP]),
    ("ntp", 123, &[UDP]),
    ("snmp", 161, &[TCP, UDP]),
    ("bgp", 179, &[TCP]),
    ("ldap", 389, &[TCP, UDP]),
    ("https", 443, &[TCP, UDP]),
    ("l2f", 1701, &[UDP]),
    ("l2tp", 1701, &[UDP]),
];

/// Type and code of ICMP as a selector has them: `8` is type 8 with code 0, `3(1)` has a code too. A number above 255 is
/// both.
fn icmp_type(text: &str) -> Option<u16> {
    let text = text.trim();
    if let Some((kind, code)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        return Some(u16::from_be_bytes([kind.parse().ok()?, code.parse().ok()?]));
    }
    text.parse::<u16>().ok().map(|n| if n < 256 { n << 8 } else { n })
}

fn port(text: &str) -> Option<u16> {
    let text = text.trim();
    text.parse().ok().or_else(|| SERVICES.iter().find(|(name, ..)| *name == text).map(|(_, number, _)| *number))
}

fn service(protocol: u8, port: u16) -> Option<&'static str> {
    let named = SERVICES.iter().find(|(_, number, protocols)| *number == port && protocols.contains(&protocol));
    named.map(|(name, ..)| *name)
}

impl From<wire::v2::TrafficSelector> for TrafficSelector {
    fn from(ts: wire::v2::TrafficSelector) -> Self {
        Self { protocol: ts.protocol, start_port: ts.start_port, end_port: ts.end_port, start: ts.start, end: ts.end }
    }
}

impl From<TrafficSelector> for wire::v2::TrafficSelector {
    fn from(ts: TrafficSelector) -> Self {
        Self { protocol: ts.protocol, start_port: ts.start_port, end_port: ts.end_port, start: ts.start, end: ts.end }
    }
}

impl serde::Serialize for TrafficSelector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TrafficSelector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> TrafficSelector {
        text.parse().unwrap()
    }

    #[test]
    fn prints_what_it_reads() {
        for text in [
            "10.1.0.0/16",
            "0.0.0.0/0",
            "10.1.0.1/32",
            "10.1.0.1..10.1.0.9",
            "2001:db8::/32",
            "::/0",
            "10.1.0.0/16[tcp]",
            "10.1.0.0/16[tcp/ssh]",
            "10.1.0.0/16[udp/domain]",
            "10.1.0.0/16[udp/22]",
            "10.1.0.0/16[tcp/8080]",
            "10.1.0.0/16[tcp/80-81]",
            "10.1.0.0/16[udp/1000-2000]",
            "fec1::1/128[ipv6-icmp]",
            "1.2.3.4/32[0/53]",
        ] {
            assert_eq!(ts(text).to_string(), text);
        }
        assert_eq!(ts("10.1.2.3").to_string(), "10.1.2.3/32");
        assert_eq!(ts("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(ts("10.1.0.0/16[tcp/http]").start_port, 80);
        assert_eq!(ts("10.1.0.0/16[tcp/80]").to_string(), "10.1.0.0/16[tcp/http]");
        assert_eq!(ts("10.1.0.0/16[udp/l2tp]").to_string(), "10.1.0.0/16[udp/l2f]");
    }

    #[test]
    fn refuses_with_a_reason() {
        let reason = |text: &str| text.parse::<TrafficSelector>().unwrap_err();
        assert!(matches!(reason("10.1.0.0/33"), InvalidSelector::Prefix(_)));
        assert!(matches!(reason("10.1.0/8"), InvalidSelector::Address(_)));
        assert!(matches!(reason("10.1.0.9-10.1.0.1"), InvalidSelector::EmptyRange(_)));
        assert!(matches!(reason("10.0.0.0/8[nosuch/1]"), InvalidSelector::ProtocolPort(_)));
        assert!(matches!(reason("10.0.0.0/8[tcp"), InvalidSelector::ProtocolPort(_)));
        assert!(matches!(reason("10.0.0.1-::1"), InvalidSelector::Address(_)));
    }

    #[test]
    fn narrows_to_the_common_part() {
        assert_eq!(narrow(&[ts("10.1.0.0/16")], &[ts("10.0.0.0/8")]), [ts("10.1.0.0/16")]);
        assert_eq!(
            narrow(&[ts("10.0.0.0/8")], &[ts("10.1.0.0/16"), ts("10.2.0.0/16")]),
            [ts("10.1.0.0/16"), ts("10.2.0.0/16")]
        );
        assert_eq!(narrow(&[ts("10.1.0.0/16")], &[ts("10.2.0.0/16")]), []);
        // RFC 7296 section 2.9: the very packet first, then the whole network; the larger one absorbs it.
        assert_eq!(narrow(&[ts("10.0.0.0/8")], &[ts("10.1.0.5[tcp/80]"), ts("10.1.0.0/16")]), [ts("10.1.0.0/16")]);
        assert_eq!(narrow(&[ts("10.0.0.0/8[tcp]")], &[ts("10.1.0.0/16[udp]")]), []);
        assert_eq!(narrow(&[ts("::/0")], &[ts("10.1.0.0/16")]), []);
    }

    #[test]
    fn ranges_become_networks() {
        assert_eq!(
            ts("10.0.0.1-10.0.0.6").networks(),
            [("10.0.0.1", 32), ("10.0.0.2", 31), ("10.0.0.4", 31), ("10.0.0.6", 32)]
                .map(|(a, p)| (a.parse().unwrap(), p))
        );
        assert_eq!(ts("0.0.0.0/0").networks(), [("0.0.0.0".parse().unwrap(), 0)]);
        assert_eq!(ts("::/0").networks(), [("::".parse().unwrap(), 0)]);
    }

    proptest::proptest! {
        #[test]
        fn networks_cover_exactly(a: u32, b: u32, probe: u32) {
            let (start, end) = (a.min(b), a.max(b));
            let range = TrafficSelector {
                start: Ipv4Addr::from_bits(start).into(), end: Ipv4Addr::from_bits(end).into(), ..TrafficSelector::any(false)
            };
            let covered = range.networks().iter().filter(|(address, prefix)| {
                TrafficSelector::subnet(*address, *prefix).unwrap().contains(Ipv4Addr::from_bits(probe).into(), 0, 0)
            }).count();
            proptest::prop_assert_eq!(covered, usize::from((start..=end).contains(&probe)));
        }

        #[test]
        fn intersection_is_what_both_contain(a: (u32, u32), b: (u32, u32), probe: u32) {
            let range = |(x, y): (u32, u32)| TrafficSelector {
                start: Ipv4Addr::from_bits(x.min(y)).into(), end: Ipv4Addr::from_bits(x.max(y)).into(), ..TrafficSelector::any(false)
            };
            let (a, b, probe) = (range(a), range(b), IpAddr::from(Ipv4Addr::from_bits(probe)));
            let both = a.intersection(&b).is_some_and(|c| c.contains(probe, 0, 0));
            proptest::prop_assert_eq!(both, a.contains(probe, 0, 0) && b.contains(probe, 0, 0));
        }
    }

    #[test]
    fn icmp_has_types_and_codes() {
        let parse = |text: &str| text.parse::<TrafficSelector>().unwrap();
        // RFC 7296 section 3.13.1: the type is in the upper octet.
        for (text, start, end) in [
            ("10.1.0.0/16[icmp/8]", 0x0800, 0x0800),
            ("10.1.0.0/16[icmp/3(1)]", 0x0301, 0x0301),
            ("10.1.0.0/16[icmp/8-8(255)]", 0x0800, 0x08ff),
            ("fec1::/16[ipv6-icmp/128]", 0x8000, 0x8000),
        ] {
            let ts = parse(text);
            assert_eq!((ts.start_port, ts.end_port, ts.to_string().as_str()), (start, end, text));
        }
        assert_eq!(parse("10.1.0.0/16[icmp/2048]").start_port, 0x0800, "both in one number");
        assert!("10.1.0.0/16[icmp/3(256)]".parse::<TrafficSelector>().is_err());
    }
}
