//! Traffic Selector payloads (RFC 7296 section 3.13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Field, ParseError, Reader, Why};
use crate::registry::TsType;

const V4_LEN: usize = 16;
const V6_LEN: usize = 40;

/// A range of addresses and ports for one IP protocol, limits included. Both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First port; 0 with an end port of 65,535 is "any", 65,535 with an end port of 0 is "OPAQUE".
    pub start_port: u16,
    /// Last port.
    pub end_port: u16,
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
}

impl TrafficSelector {
    /// Whether the ports mean "OPAQUE": a packet whose ports cannot be seen (RFC 7296 section 3.13.1).
    pub const fn ports_are_opaque(&self) -> bool {
        self.start_port == u16::MAX && self.end_port == 0
    }

    fn parse(kind: TsType, body: &mut Reader<'_>, protocol: u8) -> Result<Self, ParseError> {
        let at = body.at();
        let [a, b, c, d] = body.array(Field::TrafficSelector)?;
        let (start_port, end_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let (start, end) = if kind == TsType::IPV4_ADDR_RANGE {
            let start = Ipv4Addr::from(body.array::<4>(Field::TrafficSelector)?);
            (IpAddr::V4(start), IpAddr::V4(body.array::<4>(Field::TrafficSelector)?.into()))
        } else {
            let start = Ipv6Addr::from(body.array::<16>(Field::TrafficSelector)?);
            (IpAddr::V6(start), IpAddr::V6(body.array::<16>(Field::TrafficSelector)?.into()))
        };
        let selector = Self { protocol, start_port, end_port, start, end };
        if start_port > end_port && !selector.ports_are_opaque() {
            return Err(ParseError::new(at, Field::PortRange, Why::Reversed));
        }
        if start > end {
            return Err(ParseError::new(at + 4, Field::AddressRange, Why::Reversed));
        }
        Ok(selector)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (kind, length) = match (self.start, self.end) {
            (IpAddr::V4(_), IpAddr::V4(_)) => (TsType::IPV4_ADDR_RANGE, V4_LEN),
            (IpAddr::V6(_), IpAddr::V6(_)) => (TsType::IPV6_ADDR_RANGE, V6_LEN),
            _ => panic!("a traffic selector of two address families"),
        };
        out.extend_from_slice(&[kind.0, self.protocol, 0, length as u8]);
        out.extend_from_slice(&self.start_port.to_be_bytes());
        out.extend_from_slice(&self.end_port.to_be_bytes());
        for address in [self.start, self.end] {
            match address {
                IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
            }
        }
    }
}

/// The contents of a TS payload: the selectors of types 7 and 8, and how many of other types were skipped.
pub(super) fn parse(mut octets: Reader<'_>) -> Result<(Vec<TrafficSelector>, usize), ParseError> {
    let start = octets.at();
    let [count, _reserved @ ..] = octets.array::<4>(Field::TrafficSelectors)?;
    let (mut selectors, mut skipped) = (Vec::new(), 0);
    while !octets.is_empty() {
        let at = octets.at();
        let [kind, protocol, high, low] = octets.array(Field::TrafficSelector)?;
        let kind = TsType(kind);
        let found = usize::from(u16::from_be_bytes([high, low]));
        let available = 4 + octets.len();
        let (min, max) = match kind {
            TsType::IPV4_ADDR_RANGE => (V4_LEN, V4_LEN),
            TsType::IPV6_ADDR_RANGE => (V6_LEN, V6_LEN),
            _ => (4, available),
        };
        if !(min..=max).contains(&found) {
            return Err(ParseError::new(at + 2, Field::SelectorLength, Why::LengthOutOfRange { found, min, max }));
        }
        let mut body = Reader::new(octets.take(found.saturating_sub(4), Field::TrafficSelector)?, at + 4);
        if matches!(kind, TsType::IPV4_ADDR_RANGE | TsType::IPV6_ADDR_RANGE) {
            selectors.push(TrafficSelector::parse(kind, &mut body, protocol)?);
        } else {
            skipped += 1;
        }
    }
    let total = selectors.len() + skipped;
    if total != usize::from(count) {
        let why = Why::Value { found: count.into(), expected: total as u64 };
        return Err(ParseError::new(start, Field::SelectorCount, why));
    }
    // RFC 7296 section 3.13: one or more individual Traffic Selectors.
    if total == 0 {
        return Err(ParseError::new(start, Field::TrafficSelectors, Why::Empty));
    }
    Ok((selectors, skipped))
}

/// Appends the contents of a TS payload.
pub(super) fn write(selectors: &[TrafficSelector], out: &mut Vec<u8>) {
    let count = u8::try_from(selectors.len()).expect("at most 255 traffic selectors in a payload");
    out.extend_from_slice(&[count, 0, 0, 0]);
    selectors.iter().for_each(|selector| selector.write(out));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.13's example TSi: UDP from 198.51.100.66 ports 100 and 200; octets composed by hand.
    const EXAMPLE: [u8; 36] = [
        2, 0, 0, 0, //
        7, 17, 0, 16, 0, 100, 0, 100, 198, 51, 100, 66, 198, 51, 100, 66, //
        7, 17, 0, 16, 0, 200, 0, 200, 198, 51, 100, 66, 198, 51, 100, 66,
    ];

    fn changed(at: usize, value: u8) -> ParseError {
        let mut octets = EXAMPLE;
        octets[at] = value;
        parse(Reader::new(&octets, 0)).unwrap_err()
    }

    #[test]
    fn the_example_is_read_and_written() {
        let (selectors, skipped) = parse(Reader::new(&EXAMPLE, 0)).unwrap();
        let host = IpAddr::from([198, 51, 100, 66]);
        let of_port = |port| TrafficSelector { protocol: 17, start_port: port, end_port: port, start: host, end: host };
        assert_eq!((&selectors[..], skipped), (&[of_port(100), of_port(200)][..], 0));
        let mut out = Vec::new();
        write(&selectors, &mut out);
        assert_eq!(out, EXAMPLE);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        assert_eq!(changed(0, 1).why, Why::Value { found: 1, expected: 2 });
        assert_eq!(changed(0, 3).what, Field::SelectorCount);
        assert_eq!(changed(7, 40).why, Why::LengthOutOfRange { found: 40, min: 16, max: 16 });
        assert_eq!(changed(4, 8).why, Why::LengthOutOfRange { found: 16, min: 40, max: 40 });
        assert_eq!(changed(11, 99).what, Field::PortRange);
        assert_eq!(changed(16, 1).what, Field::AddressRange);
        assert_eq!(parse(Reader::new(&[0; 4], 0)).unwrap_err().why, Why::Empty);
        for cut in 0..EXAMPLE.len() {
            assert!(parse(Reader::new(&EXAMPLE[..cut], 0)).is_err(), "{cut}");
        }
    }

    #[test]
    fn types_that_are_not_understood_are_skipped_and_counted() {
        let octets = [2, 0, 0, 0, 10, 0, 0, 6, 1, 2, 10, 0, 0, 4];
        assert_eq!(parse(Reader::new(&octets, 0)).unwrap(), (vec![], 2));
        let endless = [1, 0, 0, 0, 10, 0, 0, 0];
        assert_eq!(parse(Reader::new(&endless, 0)).unwrap_err().what, Field::SelectorLength);
    }

    #[test]
    fn opaque_ports_are_not_a_reversed_range() {
        let mut octets = EXAMPLE;
        octets[8..12].copy_from_slice(&[255, 255, 0, 0]);
        assert!(parse(Reader::new(&octets, 0)).unwrap().0[0].ports_are_opaque());
    }
}
