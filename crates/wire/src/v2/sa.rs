//! The Security Association payload (RFC 7296 section 3.3).

use super::KEY_LENGTH;
use crate::attributes::{AttributeValue, Attributes, DataAttribute};
use crate::error::{Field, ParseError, Reader, Why};
use crate::registry::{ProtocolId, TransformType};

const PROPOSAL_HEADER_LEN: usize = 8;
const TRANSFORM_HEADER_LEN: usize = 8;
/// Last Substruc where another Proposal follows (RFC 7296 section 3.3.1).
const MORE_PROPOSALS: u8 = 2;
/// Last Substruc where another Transform follows (RFC 7296 section 3.3.2).
const MORE_TRANSFORMS: u8 = 3;

/// One proposal: one protocol and, by transform type, the algorithms to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Proposal Num, from 1.
    pub number: u8,
    /// The protocol proposed.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty for the first IKE SA, eight octets where one is rekeyed, four for AH and ESP.
    pub spi: Vec<u8>,
    /// The algorithms, most preferred first within each type.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transform {
    /// What the algorithm is for.
    pub kind: TransformType,
    /// The algorithm's number, in the registry of `kind`.
    pub id: u16,
    /// Key Length in bits, where the attribute is present.
    pub key_length: Option<u16>,
    /// Whether an attribute was not understood; such a transform must not be chosen (RFC 7296 section 3.3.6). Never
    /// written.
    pub unknown_attribute: bool,
}

impl Transform {
    /// A transform without attributes.
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_length: None, unknown_attribute: false }
    }

    /// A transform with a Key Length in bits.
    pub const fn with_key_length(kind: TransformType, id: u16, bits: u16) -> Self {
        Self { kind, id, key_length: Some(bits), unknown_attribute: false }
    }

    fn parse(octets: &[u8], at: usize, last: bool) -> Result<Self, ParseError> {
        let mut octets = Reader::new(octets, at);
        let [more, _reserved, _, _, kind, _reserved2, high, low] = octets.array(Field::Transform)?;
        check_last(more, last, MORE_TRANSFORMS, at)?;
        let mut transform = Self::new(TransformType(kind), u16::from_be_bytes([high, low]));
        let mut attributes = Attributes::new(octets.rest(), octets.at());
        loop {
            let at = attributes.offset();
            match attributes.next().transpose()? {
                None => return Ok(transform),
                Some(DataAttribute { kind: KEY_LENGTH, value: AttributeValue::Short(bits) }) => {
                    // RFC 7296 section 3.3: a transform must not have two attributes of one type.
                    if transform.key_length.replace(bits).is_some() {
                        return Err(ParseError::new(at, Field::KeyLength, Why::Repeated));
                    }
                }
                Some(_) => transform.unknown_attribute = true,
            }
        }
    }

    fn write(&self, last: bool, out: &mut Vec<u8>) {
        let mut attributes = Vec::new();
        if let Some(bits) = self.key_length {
            DataAttribute { kind: KEY_LENGTH, value: AttributeValue::Short(bits) }.write(&mut attributes);
        }
        let [high, low] = length_octets(TRANSFORM_HEADER_LEN + attributes.len());
        let [id_high, id_low] = self.id.to_be_bytes();
        let more = if last { 0 } else { MORE_TRANSFORMS };
        out.extend_from_slice(&[more, 0, high, low, self.kind.0, 0, id_high, id_low]);
        out.extend_from_slice(&attributes);
    }
}

impl Proposal {
    /// The transforms of one type, in order of preference.
    pub fn transforms_of(&self, kind: TransformType) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().filter(move |transform| transform.kind == kind)
    }

    /// The SPI of an AH or ESP proposal.
    pub fn child_spi(&self) -> Option<u32> {
        self.spi.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    fn parse(octets: &[u8], at: usize, last: bool) -> Result<Self, ParseError> {
        let mut octets = Reader::new(octets, at);
        let [more, _reserved, _, _, number, protocol, spi_size, count] = octets.array(Field::Proposal)?;
        check_last(more, last, MORE_PROPOSALS, at)?;
        let protocol = ProtocolId(protocol);
        check_spi_size(protocol, spi_size, at + 6)?;
        let spi = octets.take(usize::from(spi_size), Field::Spi)?.to_vec();
        let mut transforms = Vec::new();
        while !octets.is_empty() {
            let at = octets.at();
            let (transform, last) = substructure(&mut octets, TRANSFORM_HEADER_LEN, Field::TransformLength)?;
            transforms.push(Transform::parse(transform, at, last)?);
        }
        // RFC 7296 section 3.3: lengths and counts must agree, and each proposal has one or more transforms.
        if transforms.is_empty() {
            return Err(ParseError::new(at, Field::Proposal, Why::Empty));
        }
        if transforms.len() != usize::from(count) {
            let why = Why::Value { found: count.into(), expected: transforms.len() as u64 };
            return Err(ParseError::new(at + 7, Field::TransformCount, why));
        }
        Ok(Self { number, protocol, spi, transforms })
    }

    fn write(&self, last: bool, out: &mut Vec<u8>) {
        let spi_size = u8::try_from(self.spi.len()).expect("an SPI of at most 255 octets");
        let count = u8::try_from(self.transforms.len()).expect("at most 255 transforms in a proposal");
        let mut transforms = Vec::new();
        for (index, transform) in self.transforms.iter().enumerate() {
            transform.write(index + 1 == self.transforms.len(), &mut transforms);
        }
        let [high, low] = length_octets(PROPOSAL_HEADER_LEN + self.spi.len() + transforms.len());
        let more = if last { 0 } else { MORE_PROPOSALS };
        out.extend_from_slice(&[more, 0, high, low, self.number, self.protocol.0, spi_size, count]);
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&transforms);
    }
}

/// The contents of an SA payload.
pub(super) fn parse(mut octets: Reader<'_>) -> Result<Vec<Proposal>, ParseError> {
    let start = octets.at();
    let mut proposals: Vec<Proposal> = Vec::new();
    while !octets.is_empty() {
        let at = octets.at();
        let (proposal, last) = substructure(&mut octets, PROPOSAL_HEADER_LEN, Field::ProposalLength)?;
        let proposal = Proposal::parse(proposal, at, last)?;
        // RFC 7296 section 3.3.1: an offer counts from 1 in steps of 1. An answer is a single proposal with the number
        // of the one it accepts, so a lone proposal may have any number but 0.
        let expected = match proposals.last() {
            Some(previous) => u64::from(previous.number) + 1,
            None if last => u64::from(proposal.number.max(1)),
            None => 1,
        };
        let found = u64::from(proposal.number);
        if found != expected {
            return Err(ParseError::new(at + 4, Field::ProposalNumber, Why::Value { found, expected }));
        }
        proposals.push(proposal);
    }
    if proposals.is_empty() {
        return Err(ParseError::new(start, Field::SecurityAssociation, Why::Empty));
    }
    Ok(proposals)
}

/// Appends the contents of an SA payload.
pub(super) fn write(proposals: &[Proposal], out: &mut Vec<u8>) {
    for (index, proposal) in proposals.iter().enumerate() {
        proposal.write(index + 1 == proposals.len(), out);
    }
}

/// Cuts off the next Proposal or Transform, which both have their length in octets 2 and 3; says whether it is the last.
fn substructure<'a>(octets: &mut Reader<'a>, min: usize, what: Field) -> Result<(&'a [u8], bool), ParseError> {
    let (at, max) = (octets.at(), octets.len());
    let [_, _, high, low] = Reader::new(octets.rest(), at).array(what)?;
    let found = usize::from(u16::from_be_bytes([high, low]));
    if !(min..=max).contains(&found) {
        return Err(ParseError::new(at + 2, what, Why::LengthOutOfRange { found, min, max }));
    }
    Ok((octets.take(found, what)?, found == max))
}

fn check_last(found: u8, last: bool, more: u8, at: usize) -> Result<(), ParseError> {
    let expected = if last { 0 } else { more };
    if found == expected {
        return Ok(());
    }
    let why = Why::Value { found: found.into(), expected: expected.into() };
    Err(ParseError::new(at, Field::LastSubstructure, why))
}

/// RFC 7296 section 3.3.1: 0 or 8 octets for IKE, 4 for AH and ESP. What another protocol uses is not known.
fn check_spi_size(protocol: ProtocolId, size: u8, at: usize) -> Result<(), ParseError> {
    let expected = match protocol {
        ProtocolId::IKE if size != 0 => 8,
        ProtocolId::AH | ProtocolId::ESP => 4,
        _ => size,
    };
    if size == expected {
        return Ok(());
    }
    Err(ParseError::new(at, Field::SpiSize, Why::Value { found: size.into(), expected: expected.into() }))
}

fn length_octets(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a substructure of at most 65,535 octets").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{EncryptionId, EsnId, IntegrityId};

    /// Composed by hand after RFC 7296 section 3.3.1 and 3.3.2: ESP, AES-CBC-256 or AES-CBC-128, HMAC-SHA2-256-128, no ESN.
    const ESP: [u8; 52] = [
        0, 0, 0, 52, 1, 3, 4, 4, 0xc0, 0xff, 0xee, 0x01, //
        3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 1, 0, //
        3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 0, 128, //
        3, 0, 0, 8, 3, 0, 0, 12, //
        0, 0, 0, 8, 5, 0, 0, 0,
    ];

    fn parse_octets(octets: &[u8]) -> Result<Vec<Proposal>, ParseError> {
        parse(Reader::new(octets, 0))
    }

    fn changed(at: usize, value: u8) -> ParseError {
        let mut octets = ESP;
        octets[at] = value;
        parse_octets(&octets).unwrap_err()
    }

    #[test]
    fn an_esp_proposal_is_read_and_written() {
        let proposals = parse_octets(&ESP).unwrap();
        let expected = Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: vec![0xc0, 0xff, 0xee, 1],
            transforms: vec![
                Transform::with_key_length(TransformType::ENCR, EncryptionId::AES_CBC.0, 256),
                Transform::with_key_length(TransformType::ENCR, EncryptionId::AES_CBC.0, 128),
                Transform::new(TransformType::INTEG, IntegrityId::HMAC_SHA2_256_128.0),
                Transform::new(TransformType::ESN, EsnId::NO_EXT_SEQ.0),
            ],
        };
        assert_eq!(proposals, [expected]);
        assert_eq!(proposals[0].child_spi(), Some(0xc0ff_ee01));
        assert_eq!(proposals[0].transforms_of(TransformType::ENCR).count(), 2);
        let mut out = Vec::new();
        write(&proposals, &mut out);
        assert_eq!(out, ESP);
    }

    #[test]
    fn counts_and_lengths_must_agree() {
        assert_eq!(changed(7, 3).to_string(), "octet 7: Num Transforms is 3, must be 4");
        assert_eq!(changed(0, 2).what, Field::LastSubstructure);
        assert_eq!(changed(12, 0).why, Why::Value { found: 0, expected: 3 });
        assert_eq!(changed(44, 3).why, Why::Value { found: 3, expected: 0 });
        assert_eq!(changed(3, 53).why, Why::LengthOutOfRange { found: 53, min: 8, max: 52 });
        assert_eq!(changed(3, 7).what, Field::ProposalLength);
        assert_eq!(changed(15, 7).what, Field::TransformLength);
        assert_eq!(changed(15, 0).what, Field::TransformLength);
        assert_eq!(changed(6, 8).to_string(), "octet 6: SPI Size is 8, must be 4");
        assert_eq!(changed(5, 1).why, Why::Value { found: 4, expected: 8 });
        assert_eq!(changed(4, 0).why, Why::Value { found: 0, expected: 1 });
        assert_eq!(parse_octets(&[]).unwrap_err().why, Why::Empty);
        assert_eq!(parse_octets(&[0, 0, 0, 8, 1, 1, 0, 0]).unwrap_err().why, Why::Empty);
        for cut in 0..ESP.len() {
            assert!(parse_octets(&ESP[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn proposals_count_from_one() {
        let proposal = |number| Proposal {
            number,
            protocol: ProtocolId::IKE,
            spi: vec![],
            transforms: vec![Transform::new(TransformType::KE, 31)],
        };
        let read = |numbers: &[u8]| {
            let mut octets = Vec::new();
            write(&numbers.iter().copied().map(proposal).collect::<Vec<_>>(), &mut octets);
            parse_octets(&octets).map(|proposals| proposals.iter().map(|p| p.number).collect::<Vec<_>>())
        };
        assert_eq!(read(&[1, 2, 3]).unwrap(), [1, 2, 3]);
        assert_eq!(read(&[7]).unwrap(), [7]);
        for wrong in [&[0][..], &[2, 3], &[1, 1], &[1, 3], &[2, 1]] {
            assert_eq!(read(wrong).unwrap_err().what, Field::ProposalNumber, "{wrong:?}");
        }
        let mut all: Vec<u8> = (1..=255).collect();
        assert_eq!(read(&all).unwrap().len(), 255);
        all.push(0);
        assert_eq!(read(&all).unwrap_err().why, Why::Value { found: 0, expected: 256 });
    }

    #[test]
    fn attributes_that_are_not_understood_mark_the_transform() {
        let one = |attributes: &[u8]| {
            let mut octets = vec![0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 12];
            octets.extend_from_slice(attributes);
            octets[3] = u8::try_from(octets.len()).unwrap();
            octets[11] = octets[3] - 8;
            parse_octets(&octets).map(|proposals| proposals[0].transforms[0])
        };
        assert!(one(&[0x80, 15, 0, 1]).unwrap().unknown_attribute);
        // Key Length exists in the short form only (RFC 7296 section 3.3.5).
        let long_form = one(&[0, 14, 0, 2, 1, 0]).unwrap();
        assert!(long_form.unknown_attribute && long_form.key_length.is_none());
        assert_eq!(one(&[0x80, 14, 1, 0, 0x80, 14, 1, 0]).unwrap_err().why, Why::Repeated);
        assert_eq!(one(&[0x80, 14, 1]).unwrap_err().what, Field::Attribute);
    }
}
