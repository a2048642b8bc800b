//! IKEv1's Security Association payload (RFC 2408 sections 3.4 to 3.6, RFC 2407 section 4.6.1): enough to recognise what
//! an IKEv1 peer offers.

use crate::attributes::{Attributes, DataAttribute};
use crate::error::{Field, ParseError, Why};
use crate::header::{Flags, HEADER_LEN, Header};
use crate::payloads::{Payloads, RawPayload};
use crate::registry::PayloadType;

/// The IPsec Domain of Interpretation (RFC 2407 section 4.2).
pub const DOI_IPSEC: u32 = 1;

/// SIT_IDENTITY_ONLY, the one situation in use (RFC 2407 section 4.2.1).
pub const SIT_IDENTITY_ONLY: u32 = 1;

/// The contents of a Security Association payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation<'a> {
    /// The proposals; those with one number are wanted together.
    pub proposals: Vec<Proposal<'a>>,
}

/// A proposal of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Proposal number.
    pub number: u8,
    /// Protocol-ID: 1 ISAKMP, 2 AH, 3 ESP, 4 IPCOMP (RFC 2407 section 4.4.1).
    pub protocol: u8,
    /// The sender's SPI.
    pub spi: &'a [u8],
    /// The transforms, most preferred first.
    pub transforms: Vec<Transform<'a>>,
}

/// A transform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// Transform number.
    pub number: u8,
    /// Transform-ID.
    pub id: u8,
    /// SA attributes: all algorithms of phase 1 are here.
    pub attributes: Vec<DataAttribute<'a>>,
}

/// The payloads of an IKEv1 datagram, `None` where they are encrypted.
///
/// # Errors
/// As [`Header::parse`].
pub fn payloads(datagram: &[u8]) -> Result<(Header, Option<Payloads<'_>>), ParseError> {
    let (header, chain) = Header::split(datagram)?;
    let clear = !header.flags.contains(Flags::ENCRYPTION);
    Ok((header, clear.then(|| Payloads::new(header.next_payload, chain, HEADER_LEN))))
}

/// Takes a Security Association payload apart.
///
/// # Errors
/// The first field that breaks RFC 2408, and a DOI or Situation other than IPsec's usual one.
pub fn parse_sa(raw: RawPayload<'_>) -> Result<SecurityAssociation<'_>, ParseError> {
    let mut octets = raw.reader();
    for (what, expected) in [(Field::Doi, DOI_IPSEC), (Field::Situation, SIT_IDENTITY_ONLY)] {
        let at = octets.at();
        let found = octets.u32(what)?;
        if found != expected {
            return Err(ParseError::new(at, what, Why::Value { found: found.into(), expected: expected.into() }));
        }
    }
    let at = octets.at();
    let proposals = Payloads::new(PayloadType::V1_PROPOSAL, octets.rest(), at)
        .map(|proposal| parse_proposal(of_kind(proposal?, PayloadType::V1_PROPOSAL)?))
        .collect::<Result<_, _>>()?;
    Ok(SecurityAssociation { proposals })
}

fn of_kind(raw: RawPayload<'_>, kind: PayloadType) -> Result<RawPayload<'_>, ParseError> {
    if raw.kind == kind {
        return Ok(raw);
    }
    let why = Why::Value { found: raw.kind.0.into(), expected: kind.0.into() };
    Err(ParseError::new(raw.offset, Field::NextPayload, why))
}

fn parse_proposal(raw: RawPayload<'_>) -> Result<Proposal<'_>, ParseError> {
    let mut octets = raw.reader();
    let [number, protocol, spi_size, count] = octets.array(Field::Proposal)?;
    let spi = octets.take(usize::from(spi_size), Field::Spi)?;
    let transforms: Vec<_> = Payloads::new(PayloadType::V1_TRANSFORM, octets.rest(), octets.at())
        .map(|transform| parse_transform(of_kind(transform?, PayloadType::V1_TRANSFORM)?))
        .collect::<Result<_, _>>()?;
    if transforms.len() != usize::from(count) {
        let why = Why::Value { found: count.into(), expected: transforms.len() as u64 };
        return Err(ParseError::new(raw.body_offset() + 3, Field::TransformCount, why));
    }
    Ok(Proposal { number, protocol, spi, transforms })
}

fn parse_transform(raw: RawPayload<'_>) -> Result<Transform<'_>, ParseError> {
    let mut octets = raw.reader();
    let [number, id, _reserved @ ..] = octets.array::<4>(Field::Transform)?;
    let attributes = Attributes::new(octets.rest(), octets.at()).collect::<Result<_, _>>()?;
    Ok(Transform { number, id, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::AttributeValue;

    /// Composed by hand after RFC 2408 sections 3.4 to 3.6: main mode's first message, one transform of 3DES, SHA-1, PSK,
    /// group 2, 28,800 seconds as four octets.
    fn main_mode() -> Vec<u8> {
        let mut octets = vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 84];
        octets.extend_from_slice(&[0, 0, 0, 56, 0, 0, 0, 1, 0, 0, 0, 1]); // SA
        octets.extend_from_slice(&[0, 0, 0, 44, 1, 1, 0, 1]); // Proposal
        octets.extend_from_slice(&[0, 0, 0, 36, 1, 1, 0, 0]); // Transform
        octets.extend_from_slice(&[0x80, 1, 0, 5, 0x80, 2, 0, 2, 0x80, 3, 0, 1, 0x80, 4, 0, 2, 0x80, 11, 0, 1]);
        octets.extend_from_slice(&[0, 12, 0, 4, 0, 0, 0x70, 0x80]);
        octets
    }

    fn sa(datagram: &[u8]) -> Result<SecurityAssociation<'_>, ParseError> {
        parse_sa(payloads(datagram).unwrap().1.unwrap().next().unwrap().unwrap())
    }

    #[test]
    fn an_offer_of_main_mode_is_read() {
        let datagram = main_mode();
        let sa = sa(&datagram).unwrap();
        assert_eq!(sa.proposals.len(), 1);
        let proposal = &sa.proposals[0];
        assert_eq!((proposal.number, proposal.protocol, proposal.spi), (1, 1, &[][..]));
        assert_eq!(proposal.transforms.len(), 1);
        let attributes = &proposal.transforms[0].attributes;
        assert_eq!(attributes.len(), 6);
        assert_eq!(attributes[0], DataAttribute { kind: 1, value: AttributeValue::Short(5) });
        assert_eq!((attributes[5].kind, attributes[5].value.number()), (12, Some(28800)));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let changed = |at: usize, value: u8| {
            let mut datagram = main_mode();
            datagram[at] = value;
            sa(&datagram).unwrap_err().what
        };
        assert_eq!(changed(35, 2), Field::Doi);
        assert_eq!(changed(39, 3), Field::Situation);
        assert_eq!(changed(40, 2), Field::GenericHeader);
        assert_eq!(changed(46, 4), Field::PayloadLength);
        assert_eq!(changed(46, 99), Field::Spi);
        assert_eq!(changed(47, 2), Field::TransformCount);
        assert_eq!(changed(43, 45), Field::PayloadLength);
        assert_eq!(changed(51, 35), Field::Attribute);
        assert_eq!(changed(48, 9), Field::GenericHeader);
    }

    #[test]
    fn encrypted_payloads_are_left_alone() {
        let mut datagram = main_mode();
        datagram[19] = 1;
        assert!(payloads(&datagram).unwrap().1.is_none());
    }
}
