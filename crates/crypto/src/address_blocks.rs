//! Blocks of addresses that a certificate is for (RFC 3779 section 2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Any, Decode, Encode, Tag, Tagged};

/// First and last address of a range, both of one family.
pub type AddressRange = (IpAddr, IpAddr);

/// The extension's object identifier, id-pe-ipAddrBlocks.
pub(crate) const OID: &str = "1.3.6.1.5.5.7.1.7";

/// More ranges in one certificate are not believed.
const MAX_RANGES: usize = 1024;

/// What the extension says. Families that are not IPv4 and IPv6 are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressBlocks {
    ranges: Vec<AddressRange>,
    /// The blocks of IPv4, or of IPv6, are those of the issuer.
    inherits: (bool, bool),
}

impl AddressBlocks {
    /// Reads the extension's value. `None` if it is malformed.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let mut blocks = Self::default();
        for family in Vec::<Vec<Any>>::from_der(der).ok()? {
            let [family, choice] = &family[..] else { return None };
            // Section 2.2.3.3: the address family number, and perhaps a SAFI.
            let v6 = match (family.tag(), family.value()) {
                (Tag::OctetString, [0, 1, ..]) => false,
                (Tag::OctetString, [0, 2, ..]) => true,
                _ => continue,
            };
            match choice.tag() {
                Tag::Null => *if v6 { &mut blocks.inherits.1 } else { &mut blocks.inherits.0 } = true,
                Tag::Sequence => {
                    for item in Vec::<Any>::from_der(&choice.to_der().ok()?).ok()? {
                        blocks.ranges.push(range(&item, v6)?);
                        if blocks.ranges.len() > MAX_RANGES {
                            return None;
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(blocks)
    }

    /// The blocks of this certificate below one of these. `Err`: the first range that is not the issuer's.
    pub(crate) fn below(&self, issuer: &[AddressRange]) -> Result<Vec<AddressRange>, AddressRange> {
        let mut all = self.ranges.clone();
        let foreign = all.iter().find(|(first, last)| !issuer.iter().any(|(from, to)| from <= first && last <= to));
        if let Some(foreign) = foreign {
            return Err(*foreign);
        }
        let inherited = |range: &&AddressRange| if range.0.is_ipv6() { self.inherits.1 } else { self.inherits.0 };
        all.extend(issuer.iter().filter(inherited));
        Ok(all)
    }

    /// The blocks of a certificate that has no issuer to inherit from.
    pub(crate) fn own(&self) -> Vec<AddressRange> {
        self.ranges.clone()
    }
}

/// IPAddressOrRange: the bits of a prefix, or of both ends, without the zeros or ones that fill them up (section 2.1).
fn range(item: &Any, v6: bool) -> Option<AddressRange> {
    let ends = match item.tag() {
        Tag::BitString => {
            let bits: BitString = item.decode_as().ok()?;
            (filled(&bits, v6, false)?, filled(&bits, v6, true)?)
        }
        Tag::Sequence => {
            let both = Vec::<BitString>::from_der(&item.to_der().ok()?).ok()?;
            let [first, last] = &both[..] else { return None };
            (filled(first, v6, false)?, filled(last, v6, true)?)
        }
        _ => return None,
    };
    (ends.0 <= ends.1).then_some(ends)
}

fn filled(bits: &BitString, v6: bool, ones: bool) -> Option<IpAddr> {
    let width = if v6 { 128 } else { 32 };
    let given = bits.bit_len();
    if given > width {
        return None;
    }
    let mut number = 0u128;
    for octet in bits.raw_bytes() {
        number = number << 8 | u128::from(*octet);
    }
    let number = number.checked_shr(bits.unused_bits().into())?;
    let free = (width - given) as u32;
    let fill = if !ones || free == 0 { 0 } else { u128::MAX >> (128 - free) };
    let number = number.checked_shl(free).unwrap_or(0) | fill;
    Some(if v6 { Ipv6Addr::from(number).into() } else { Ipv4Addr::from(u32::try_from(number).ok()?).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &[(&str, &str)]) -> Vec<AddressRange> {
        text.iter().map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap())).collect()
    }

    #[test]
    fn blocks_are_prefixes_ranges_or_the_issuers() {
        // IPv4: 10.1.0.0/16 and 10.2.48.0 to 10.2.64.255 (the range of RFC 3779 section 2.1.2's kind); IPv6: inherit.
        let prefix = [0x03, 0x03, 0x00, 0x0a, 0x01];
        let range = [0x30, 0x0c, 0x03, 0x04, 0x04, 0x0a, 0x02, 0x30, 0x03, 0x04, 0x00, 0x0a, 0x02, 0x40];
        let v4 = [&[0x30, 0x19, 0x04, 0x02, 0x00, 0x01, 0x30, 0x13][..], &prefix, &range].concat();
        let v6 = [0x30, 0x06, 0x04, 0x02, 0x00, 0x02, 0x05, 0x00];
        let der = [&[0x30, (v4.len() + v6.len()) as u8][..], &v4, &v6].concat();
        let blocks = AddressBlocks::parse(&der).unwrap();
        let own = ranges(&[("10.1.0.0", "10.1.255.255"), ("10.2.48.0", "10.2.64.255")]);
        assert_eq!(blocks.own(), own);
        let issuer = ranges(&[("10.0.0.0", "10.3.255.255"), ("fec1::", "fec1::ffff")]);
        let all = [own, ranges(&[("fec1::", "fec1::ffff")])].concat();
        assert_eq!(blocks.below(&issuer), Ok(all));
        let narrow = ranges(&[("10.1.0.0", "10.1.255.255"), ("10.2.48.0", "10.2.64.254")]);
        assert_eq!(blocks.below(&narrow), Err(("10.2.48.0".parse().unwrap(), "10.2.64.255".parse().unwrap())));
        for length in 0..der.len() {
            assert_eq!(AddressBlocks::parse(&der[..length]), None);
        }
    }

    #[test]
    fn what_is_too_long_or_turned_round_is_refused() {
        let of = |choice: &[u8]| {
            let family = [&[0x30, (4 + choice.len()) as u8, 4, 2, 0, 1][..], choice].concat();
            AddressBlocks::parse(&[&[0x30, family.len() as u8][..], &family].concat())
        };
        let all = of(&[0x30, 3, 3, 1, 0]).unwrap();
        assert_eq!(all.own(), ranges(&[("0.0.0.0", "255.255.255.255")]));
        let host = of(&[0x30, 7, 3, 5, 0, 192, 0, 2, 1]).unwrap();
        assert_eq!(host.own(), ranges(&[("192.0.2.1", "192.0.2.1")]));
        assert_eq!(of(&[0x30, 8, 3, 6, 0, 192, 0, 2, 1, 1]), None, "five octets");
        assert_eq!(of(&[0x30, 10, 0x30, 8, 3, 2, 0, 10, 3, 2, 0, 9]), None, "10/8 to 9/8");
        assert_eq!(of(&[2, 1, 1]), None);
    }
}
