//! Pools of virtual addresses.

use crate::names::Scope;
use crate::reader::Reader;
use crate::{AddressPattern, ConfigError, Entry, ErrorKind, Section, WarningKind};
use model::ConfigRef;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::V1ConfigAttribute;

/// A pool of virtual addresses and what else its users are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Name of its section.
    pub name: String,
    /// The address listings show for the pool: the first one to assign, as in strongSwan.
    pub base: IpAddr,
    /// First and last address to assign. Without the first and last address of a network with more than two.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Attributes for users of the pool, in the order they were written.
    pub attributes: Vec<PoolAttribute>,
    /// Where it was written.
    pub source: ConfigRef,
}

/// An attribute as CFG_REPLY (RFC 7296 section 3.15.1) and Mode-Config carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttribute {
    /// Number of the attribute: `wire::CpAttribute` or `wire::V1ConfigAttribute`, which agree where both have it.
    pub kind: u16,
    /// Its value, encoded.
    pub value: Vec<u8>,
}

impl Pool {
    /// How many addresses it has.
    pub fn size(&self) -> u128 {
        let number = |a: IpAddr| match a {
            IpAddr::V4(a) => u128::from(u32::from(a)),
            IpAddr::V6(a) => u128::from(a),
        };
        self.ranges
            .iter()
            .map(|(first, last)| number(*last).saturating_sub(number(*first)).saturating_add(1))
            .fold(0, u128::saturating_add)
    }
}

const ADDRS: &str = "a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9) or an address";
const ADDRESS: &str = "an address";
const V4_ADDRESS: &str = "an IPv4 address";
const SUBNET: &str = "a network, as in 192.0.2.0/24";
const V4_SUBNET: &str = "an IPv4 network, as in 192.0.2.0/24";

/// Servers of Microsoft's making, which strongSwan's `server` means.
const INTERNAL_IP4_SERVER: u16 = 23456;
const INTERNAL_IP6_SERVER: u16 = 23457;

/// Reads one section of `pools`, or a client's message.
///
/// # Errors
/// Everything that is wrong with it.
pub fn pool(section: &Section) -> Result<Pool, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let pool = read(section, &mut errors);
    match pool {
        Some(pool) if errors.is_empty() => Ok(pool),
        _ => Err(errors),
    }
}

fn read(section: &Section, errors: &mut Vec<ConfigError>) -> Option<Pool> {
    let path = format!("pools.{}", section.name);
    let source = ConfigRef { file: section.at.file.to_string(), line: section.at.line, key: path.clone() };
    let mut reader = Reader::new(Scope::Pool, path, errors);
    let (mut addresses, mut attributes) = (None, Vec::new());
    for entry in &section.entries {
        if !reader.enter(entry) {
            continue;
        }
        match entry.name() {
            "addrs" => addresses = reader.value(entry, ADDRS, ranges),
            name => attributes.extend(match attribute(&mut reader, entry, name) {
                Some(found) => found,
                None => {
                    reader.other(entry);
                    Vec::new()
                }
            }),
        }
    }
    if !reader.places.contains_key("addrs") {
        let what = "write addrs = ... with the addresses of the pool";
        reader.refuse_at(&section.at, "addrs", ErrorKind::Missing { what });
    }
    let (base, ranges) = addresses?;
    let base = ranges.first().map_or(base, |(first, _)| *first);
    Some(Pool { name: section.name.clone(), base, ranges, attributes, source })
}

/// The first address as written, and what may be assigned: not a network's own address nor its broadcast address, unless
/// there is nothing else in it.
fn ranges(text: &str) -> Option<(IpAddr, Vec<(IpAddr, IpAddr)>)> {
    match AddressPattern::parse(text).ok()? {
        AddressPattern::Host(address) => Some((address, vec![(address, address)])),
        AddressPattern::Range(first, last) => Some((first, vec![(first, last)])),
        AddressPattern::Subnet(written, prefix) => {
            let network = model::TrafficSelector::subnet(written, prefix)?;
            let (first, last) = (network.start, network.end);
            let small = prefix + 1 >= if written.is_ipv4() { 32 } else { 128 };
            if prefix == 0 {
                return None;
            }
            // An address within the network is where assignment begins.
            let first = if small || written != first { written.max(first) } else { step(first, true) };
            let last = if small || !last.is_ipv4() { last } else { step(last, false) };
            (first <= last).then(|| (written, vec![(first, last)]))
        }
        _ => None,
    }
}

fn step(address: IpAddr, up: bool) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            Ipv4Addr::from_bits(if up { a.to_bits().saturating_add(1) } else { a.to_bits().saturating_sub(1) }).into()
        }
        IpAddr::V6(a) => {
            Ipv6Addr::from_bits(if up { a.to_bits().saturating_add(1) } else { a.to_bits().saturating_sub(1) }).into()
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The attributes of a setting in `plugins.attr`, whose names have dashes where a pool's have underscores.
pub(crate) fn attributes_of(entry: &Entry) -> Result<Vec<PoolAttribute>, WarningKind> {
    let mut errors = Vec::new();
    let mut reader = Reader::new(Scope::Pool, "plugins.attr".into(), &mut errors);
    let found = attribute(&mut reader, entry, &entry.name().replace('-', "_"));
    match (found, errors.pop()) {
        (Some(found), None) => Ok(found),
        (_, Some(ConfigError { kind: ErrorKind::Value { got, expected }, .. })) => {
            Err(WarningKind::Value { got, expected })
        }
        _ => Err(WarningKind::Unknown { suggestion: None }),
    }
}

/// The attributes that a key stands for; `None` if it stands for none, nothing if it is wrong, with an error.
fn attribute(reader: &mut Reader<'_>, entry: &Entry, name: &str) -> Option<Vec<PoolAttribute>> {
    use V1ConfigAttribute as A;
    let one = |kind: u16, value: Vec<u8>| PoolAttribute { kind, value };
    let hosts = |reader: &mut Reader<'_>, v4: u16, v6: Option<u16>| {
        let expected = if v6.is_some() { ADDRESS } else { V4_ADDRESS };
        reader.list(entry, |text| {
            let wrong = || ErrorKind::Value { got: text.into(), expected };
            let address: IpAddr = text.parse().map_err(|_| wrong())?;
            let kind = if address.is_ipv4() { Some(v4) } else { v6 };
            Ok(one(kind.ok_or_else(wrong)?, octets(address)))
        })
    };
    let found = match name {
        "dns" => hosts(reader, A::INTERNAL_IP4_DNS.0, Some(A::INTERNAL_IP6_DNS.0)),
        "nbns" => hosts(reader, A::INTERNAL_IP4_NBNS.0, None),
        "dhcp" => hosts(reader, A::INTERNAL_IP4_DHCP.0, Some(A::INTERNAL_IP6_DHCP.0)),
        "netmask" => hosts(reader, A::INTERNAL_IP4_NETMASK.0, None),
        "server" => hosts(reader, INTERNAL_IP4_SERVER, Some(INTERNAL_IP6_SERVER)),
        "subnet" => reader.list(entry, |text| {
            let (address, prefix) = subnet(text).ok_or(ErrorKind::Value { got: text.into(), expected: SUBNET })?;
            Ok(match address {
                IpAddr::V4(a) => one(A::INTERNAL_IP4_SUBNET.0, [a.octets(), mask(prefix)].concat()),
                IpAddr::V6(a) => one(A::INTERNAL_IP6_SUBNET.0, [&a.octets()[..], &[prefix]].concat()),
            })
        }),
        // Unity: address, mask, and six octets for a protocol and ports, all zero; one attribute has all networks.
        "split_include" | "split_exclude" => {
            let kind = if name == "split_include" { A::UNITY_SPLIT_INCLUDE } else { A::UNITY_SPLIT_EXCLUDE };
            let networks = reader.list(entry, |text| match subnet(text) {
                Some((IpAddr::V4(a), prefix)) => Ok([&a.octets()[..], &mask(prefix), &[0; 6]].concat()),
                _ => Err(ErrorKind::Value { got: text.into(), expected: V4_SUBNET }),
            });
            networks.map(|all| vec![one(kind.0, all.concat())])
        }
        number if number.bytes().all(|b| b.is_ascii_digit()) => {
            let kind = number.parse::<u16>().ok().filter(|kind| (1..0x8000).contains(kind))?;
            reader.text(entry).map(|text| vec![one(kind, text.as_bytes().to_vec())])
        }
        _ => return None,
    };
    Some(found.unwrap_or_default())
}

fn subnet(text: &str) -> Option<(IpAddr, u8)> {
    match AddressPattern::parse(text).ok()? {
        AddressPattern::Host(address) => Some((address, if address.is_ipv4() { 32 } else { 128 })),
        AddressPattern::Subnet(address, prefix) => Some((address, prefix)),
        _ => None,
    }
}

fn mask(prefix: u8) -> [u8; 4] {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).to_be_bytes()
}
