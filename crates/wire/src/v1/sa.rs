//! The Security Association payload (RFC 2408 sections 3.4 to 3.6, RFC 2407 section 4.6.1).

use super::{DOI_IPSEC, PROTO_ISAKMP, SIT_IDENTITY_ONLY};
use crate::attributes::{self, Attributes, DataAttribute};
use crate::error::{Field, ParseError, Why};
use crate::payloads::{GENERIC_HEADER_LEN, Payloads, RawPayload};
use crate::registry::{PayloadType, ProtocolId};

/// The contents of a Security Association payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sa {
    /// Domain of Interpretation; [`DOI_IPSEC`] where it was parsed.
    pub doi: u32,
    /// Situation; [`SIT_IDENTITY_ONLY`] where it was parsed.
    pub situation: u32,
    /// The proposals, most preferred first; neighbours with one number are wanted together.
    pub proposals: Vec<Proposal>,
}

impl Sa {
    /// Proposals for IPsec's one usual situation.
    pub const fn new(proposals: Vec<Proposal>) -> Self {
        Self { doi: DOI_IPSEC, situation: SIT_IDENTITY_ONLY, proposals }
    }
}

/// One protocol and, as alternatives, the transforms for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Proposal number.
    pub number: u8,
    /// The protocol.
    pub protocol: ProtocolId,
    /// The sender's SPI: four octets for AH and ESP, usually empty for ISAKMP.
    pub spi: Vec<u8>,
    /// The transforms, most preferred first; one of them is chosen.
    pub transforms: Vec<Transform>,
}

impl Proposal {
    /// The one proposal of phase 1: protocol ISAKMP without an SPI.
    pub const fn isakmp(number: u8, transforms: Vec<Transform>) -> Self {
        Self { number, protocol: PROTO_ISAKMP, spi: Vec::new(), transforms }
    }
}

/// One set of algorithms and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Transform number.
    pub number: u8,
    /// Transform ID, in the registry of the protocol: an [`IsakmpTransformId`](crate::IsakmpTransformId), an
    /// [`EspTransformId`](crate::EspTransformId) and so on.
    pub id: u8,
    /// The attributes in order: class and value. In phase 1 all algorithms are here
    /// ([`OakleyAttribute`](crate::OakleyAttribute)), in phase 2 the parameters of `id`
    /// ([`IpsecAttribute`](crate::IpsecAttribute)).
    pub attributes: Vec<(u16, AttributeValue)>,
}

/// A value in one of its two forms on the wire (RFC 2408 section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Type/Value: two octets.
    Short(u16),
    /// Type/Length/Value.
    Long(Vec<u8>),
}

impl AttributeValue {
    /// A number in the shortest form that holds it: two octets in place, else four or eight with a length.
    pub fn of(number: u64) -> Self {
        match (u16::try_from(number), u32::try_from(number)) {
            (Ok(short), _) => Self::Short(short),
            (_, Ok(long)) => Self::Long(long.to_be_bytes().to_vec()),
            _ => Self::Long(number.to_be_bytes().to_vec()),
        }
    }

    /// The value as a number, for either form of up to eight octets.
    pub fn number(&self) -> Option<u64> {
        self.borrow().number()
    }

    fn borrow(&self) -> attributes::AttributeValue<'_> {
        match self {
            Self::Short(value) => attributes::AttributeValue::Short(*value),
            Self::Long(octets) => attributes::AttributeValue::Long(octets),
        }
    }
}

impl From<attributes::AttributeValue<'_>> for AttributeValue {
    fn from(value: attributes::AttributeValue<'_>) -> Self {
        match value {
            attributes::AttributeValue::Short(value) => Self::Short(value),
            attributes::AttributeValue::Long(octets) => Self::Long(octets.to_vec()),
        }
    }
}

impl Transform {
    /// The first attribute of a class as a number. Peers send lifetimes in two octets or in four.
    pub fn get(&self, class: u16) -> Option<u64> {
        self.attributes.iter().find(|(kind, _)| *kind == class).and_then(|(_, value)| value.number())
    }

    /// The lifetimes, each as life type and duration, given the classes of both. A duration belongs to the life type
    /// before it (RFC 2409 appendix A, RFC 2407 section 4.5); one without is left out.
    pub fn lifetimes(&self, type_class: u16, duration_class: u16) -> impl Iterator<Item = (u64, u64)> {
        let mut unit = None;
        self.attributes.iter().filter_map(move |(class, value)| {
            if *class == type_class {
                unit = value.number();
                None
            } else if *class == duration_class {
                unit.take().zip(value.number())
            } else {
                None
            }
        })
    }
}

/// Takes a Security Association payload apart.
///
/// # Errors
/// The first field that breaks RFC 2408, and a DOI or Situation other than IPsec's usual one.
pub fn parse_sa(raw: RawPayload<'_>) -> Result<Sa, ParseError> {
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
    Ok(Sa::new(proposals))
}

fn of_kind(raw: RawPayload<'_>, kind: PayloadType) -> Result<RawPayload<'_>, ParseError> {
    if raw.kind == kind {
        return Ok(raw);
    }
    let why = Why::Value { found: raw.kind.0.into(), expected: kind.0.into() };
    Err(ParseError::new(raw.offset, Field::NextPayload, why))
}

fn parse_proposal(raw: RawPayload<'_>) -> Result<Proposal, ParseError> {
    let mut octets = raw.reader();
    let [number, protocol, spi_size, count] = octets.array(Field::Proposal)?;
    let spi = octets.take(usize::from(spi_size), Field::Spi)?.to_vec();
    let transforms: Vec<_> = Payloads::new(PayloadType::V1_TRANSFORM, octets.rest(), octets.at())
        .map(|transform| parse_transform(of_kind(transform?, PayloadType::V1_TRANSFORM)?))
        .collect::<Result<_, _>>()?;
    if transforms.len() != usize::from(count) {
        let why = Why::Value { found: count.into(), expected: transforms.len() as u64 };
        return Err(ParseError::new(raw.body_offset() + 3, Field::TransformCount, why));
    }
    Ok(Proposal { number, protocol: ProtocolId(protocol), spi, transforms })
}

fn parse_transform(raw: RawPayload<'_>) -> Result<Transform, ParseError> {
    let mut octets = raw.reader();
    let [number, id, _reserved @ ..] = octets.array::<4>(Field::Transform)?;
    let attributes = Attributes::new(octets.rest(), octets.at())
        .map(|attribute| attribute.map(|attribute| (attribute.kind, attribute.value.into())))
        .collect::<Result<_, _>>()?;
    Ok(Transform { number, id, attributes })
}

/// Appends the contents of a Security Association payload.
pub(super) fn write(sa: &Sa, out: &mut Vec<u8>) {
    out.extend_from_slice(&sa.doi.to_be_bytes());
    out.extend_from_slice(&sa.situation.to_be_bytes());
    substructures(PayloadType::V1_PROPOSAL, &sa.proposals, out, |proposal, out| {
        let spi_size = u8::try_from(proposal.spi.len()).expect("an SPI of at most 255 octets");
        let count = u8::try_from(proposal.transforms.len()).expect("at most 255 transforms in a proposal");
        out.extend_from_slice(&[proposal.number, proposal.protocol.0, spi_size, count]);
        out.extend_from_slice(&proposal.spi);
        substructures(PayloadType::V1_TRANSFORM, &proposal.transforms, out, |transform, out| {
            out.extend_from_slice(&[transform.number, transform.id, 0, 0]);
            for (kind, value) in &transform.attributes {
                DataAttribute { kind: *kind, value: value.borrow() }.write(out);
            }
        });
    });
}

/// Appends a chain of one kind of payload.
fn substructures<T>(kind: PayloadType, list: &[T], out: &mut Vec<u8>, fill: impl Fn(&T, &mut Vec<u8>)) {
    for (index, item) in list.iter().enumerate() {
        let start = out.len();
        let next = if index + 1 == list.len() { PayloadType::NONE } else { kind };
        out.extend_from_slice(&[next.0, 0, 0, 0]);
        fill(item, out);
        let length = u16::try_from(out.len() - start).expect("a payload of at most 65,535 octets");
        out[start + 2..start + GENERIC_HEADER_LEN].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::payloads;
    use super::*;
    use crate::registry::{LifeType, OakleyAttribute};

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

    fn sa(datagram: &[u8]) -> Result<Sa, ParseError> {
        parse_sa(payloads(datagram).unwrap().1.unwrap().next().unwrap().unwrap())
    }

    #[test]
    fn an_offer_of_main_mode_is_read_and_written() {
        let datagram = main_mode();
        let sa = sa(&datagram).unwrap();
        assert_eq!((sa.doi, sa.situation, sa.proposals.len()), (1, 1, 1));
        let proposal = &sa.proposals[0];
        assert_eq!((proposal.number, proposal.protocol, &proposal.spi[..]), (1, PROTO_ISAKMP, &[][..]));
        let transform = &proposal.transforms[0];
        assert_eq!((transform.number, transform.id, transform.attributes.len()), (1, 1, 6));
        assert_eq!(transform.attributes[0], (1, AttributeValue::Short(5)));
        assert_eq!([1, 2, 3, 4, 12].map(|class| transform.get(class)), [5, 2, 1, 2, 28800].map(Some));
        assert_eq!(transform.get(14), None);
        let mut out = Vec::new();
        write(&sa, &mut out);
        assert_eq!(out, datagram[32..]);
    }

    #[test]
    fn a_duration_belongs_to_the_type_before_it() {
        let (unit, duration) = (OakleyAttribute::LIFE_TYPE.0, OakleyAttribute::LIFE_DURATION.0);
        let number = AttributeValue::of;
        let transform = Transform {
            number: 1,
            id: 1,
            attributes: vec![
                (duration, number(9)),
                (unit, number(1)),
                (duration, number(86400)),
                (unit, number(2)),
                (duration, AttributeValue::Short(1000)),
                (duration, number(7)),
            ],
        };
        assert_eq!(transform.attributes[2].1, AttributeValue::Long(vec![0, 1, 0x51, 0x80]));
        let lifetimes: Vec<_> = transform.lifetimes(unit, duration).collect();
        let (seconds, kilobytes) = (LifeType::SECONDS.0.into(), LifeType::KILOBYTES.0.into());
        assert_eq!(lifetimes, [(seconds, 86400), (kilobytes, 1000)]);
        assert_eq!(AttributeValue::of(1 << 40).number(), Some(1 << 40));
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
