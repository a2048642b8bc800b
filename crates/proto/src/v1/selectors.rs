//! Selectors as ID payloads (RFC 2407 section 4.6.2), and back.

use model::TrafficSelector;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::V1IdType;
use wire::v1::{ChainBuilder, Id};

/// A selector as an ID payload (RFC 2407 section 4.6.2): an address, a subnet or a range.
pub(super) fn add_id(chain: &mut ChainBuilder, ts: &TrafficSelector) {
    let port = if ts.any_port() { 0 } else { ts.start_port };
    let octets = |a: IpAddr| match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let six = ts.is_ipv6();
    let width = if six { 128 } else { 32 };
    match ts.prefix() {
        Some(prefix) if prefix == width => {
            let kind = if six { V1IdType::IPV6_ADDR } else { V1IdType::IPV4_ADDR };
            chain.id(kind, ts.protocol, port, &octets(ts.start));
        }
        Some(prefix) => {
            let kind = if six { V1IdType::IPV6_ADDR_SUBNET } else { V1IdType::IPV4_ADDR_SUBNET };
            let mask = match six {
                true => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0))),
                false => IpAddr::V4(Ipv4Addr::from_bits(u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0))),
            };
            chain.id(kind, ts.protocol, port, &[octets(ts.start), octets(mask)].concat());
        }
        None => {
            let kind = if six { V1IdType::IPV6_ADDR_RANGE } else { V1IdType::IPV4_ADDR_RANGE };
            chain.id(kind, ts.protocol, port, &[octets(ts.start), octets(ts.end)].concat());
        }
    }
}

/// The reverse. `None` for what is no address.
pub(super) fn selector(id: Id<'_>) -> Option<TrafficSelector> {
    let v4 = |d: &[u8]| d.first_chunk::<4>().map(|a| IpAddr::from(Ipv4Addr::from(*a)));
    let v6 = |d: &[u8]| d.first_chunk::<16>().map(|a| IpAddr::from(Ipv6Addr::from(*a)));
    let two = |n: usize| (id.data.len() == 2 * n).then(|| id.data.split_at_checked(n)).flatten();
    let mut ts = match id.kind {
        V1IdType::IPV4_ADDR if id.data.len() == 4 => TrafficSelector::host(v4(id.data)?),
        V1IdType::IPV6_ADDR if id.data.len() == 16 => TrafficSelector::host(v6(id.data)?),
        V1IdType::IPV4_ADDR_SUBNET => {
            let (address, mask) = two(4)?;
            let mask = u32::from_be_bytes(*mask.first_chunk()?);
            let prefix = mask.leading_ones();
            (mask.count_ones() == prefix).then_some(())?;
            TrafficSelector::subnet(v4(address)?, u8::try_from(prefix).ok()?)?
        }
        V1IdType::IPV6_ADDR_SUBNET => {
            let (address, mask) = two(16)?;
            let mask = u128::from_be_bytes(*mask.first_chunk()?);
            let prefix = mask.leading_ones();
            (mask.count_ones() == prefix).then_some(())?;
            TrafficSelector::subnet(v6(address)?, u8::try_from(prefix).ok()?)?
        }
        V1IdType::IPV4_ADDR_RANGE => {
            let (first, last) = two(4)?;
            TrafficSelector { start: v4(first)?, end: v4(last)?, ..TrafficSelector::any(false) }
        }
        V1IdType::IPV6_ADDR_RANGE => {
            let (first, last) = two(16)?;
            TrafficSelector { start: v6(first)?, end: v6(last)?, ..TrafficSelector::any(true) }
        }
        _ => return None,
    };
    (ts.start <= ts.end).then_some(())?;
    ts.protocol = id.protocol;
    if id.port != 0 {
        (ts.start_port, ts.end_port) = (id.port, id.port);
    }
    Some(ts)
}
