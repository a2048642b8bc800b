//! One payload at a time.

use super::{NONCE_LEN, Sa, parse_sa};
use crate::attributes::{self, AttributeValue, DataAttribute};
use crate::error::{Field, ParseError, Reader, Why};
use crate::payloads::RawPayload;
use crate::registry::{CertEncoding, PayloadType, ProtocolId, V1IdType, V1NotifyType};

/// A payload of IKEv1, its contents checked against RFC 2408 section 3 and RFC 2407 section 4.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Security Association.
    Sa(Sa),
    /// Key Exchange: the public value, never empty; its length is not checked against the group.
    Ke(&'a [u8]),
    /// Identification.
    Id(Id<'a>),
    /// Certificate.
    Cert {
        /// How `data` is encoded.
        encoding: CertEncoding,
        /// The certificate, or what stands for it.
        data: &'a [u8],
    },
    /// Certificate Request.
    CertReq {
        /// The encoding wanted.
        encoding: CertEncoding,
        /// The distinguished name of an authority, empty for any (RFC 2408 section 3.10).
        authority: &'a [u8],
    },
    /// Hash, never empty; its length is not checked against the algorithm.
    Hash(&'a [u8]),
    /// Signature, never empty.
    Sig(&'a [u8]),
    /// Nonce of 8 to 256 octets.
    Nonce(&'a [u8]),
    /// Notification.
    Notify(Notify<'a>),
    /// Delete.
    Delete(Delete<'a>),
    /// Vendor ID.
    VendorId(&'a [u8]),
    /// Attributes: Mode-Config and XAuth.
    Attributes(Attributes<'a>),
    /// NAT Discovery: a hash of address and port (RFC 3947 section 3.2), of either payload type.
    NatD(&'a [u8]),
    /// NAT Original Address (RFC 3947 section 5.2), of either payload type. Protocol and port are reserved there.
    NatOa(Id<'a>),
    /// A fragment of a whole message, as Cisco and Microsoft send them before IKEv2 had any.
    Fragment(Fragment<'a>),
    /// A payload that is not IKEv1's or that this crate does not take apart.
    Unknown {
        /// Its type.
        kind: PayloadType,
        /// Its contents.
        body: &'a [u8],
    },
}

/// The contents of an Identification payload (RFC 2407 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// What kind of name it is.
    pub kind: V1IdType,
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// Port, 0 for any.
    pub port: u16,
    /// The name. Addresses, subnets and ranges have the length of their kind.
    pub data: &'a [u8],
}

/// The contents of a Notification payload (RFC 2408 section 3.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// Domain of Interpretation, not judged: an error may be about it.
    pub doi: u32,
    /// The protocol of `spi`.
    pub protocol: ProtocolId,
    /// The SA that this is about. For ISAKMP the two cookies, or nothing, or whatever (RFC 2408 section 3.14).
    pub spi: &'a [u8],
    /// What is notified.
    pub kind: V1NotifyType,
    /// Data that goes with it.
    pub data: &'a [u8],
}

/// The contents of a Delete payload (RFC 2408 section 3.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// Domain of Interpretation, not judged.
    pub doi: u32,
    /// Whose SAs.
    pub protocol: ProtocolId,
    /// Octets of each SPI: 16, the cookies, for ISAKMP; four for AH and ESP.
    pub spi_size: u8,
    /// The SPIs one after the other.
    pub spis: &'a [u8],
}

impl<'a> Delete<'a> {
    /// The SPIs one by one.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // Where the size is zero there are no octets either, so the replacement cuts nothing.
        self.spis.chunks_exact(usize::from(self.spi_size).max(1))
    }

    /// The SPIs of AH or ESP SAs.
    pub fn child_spis(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|spi| spi.try_into().ok().map(u32::from_be_bytes))
    }
}

/// The contents of an Attributes payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Request 1, reply 2, set 3, acknowledgement 4: the numbers of [`CpType`](crate::CpType).
    pub kind: u8,
    /// Ties request and reply, set and acknowledgement together.
    pub identifier: u16,
    /// The attributes in order; their values are not checked. The classes are those of
    /// [`V1ConfigAttribute`](crate::V1ConfigAttribute).
    pub attributes: Vec<DataAttribute<'a>>,
}

impl<'a> Attributes<'a> {
    /// The first attribute of a class.
    pub fn get(&self, class: u16) -> Option<AttributeValue<'a>> {
        self.attributes.iter().find(|attribute| attribute.kind == class).map(|attribute| attribute.value)
    }
}

/// The contents of a fragment payload (type 132).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The message that this is a part of.
    pub id: u16,
    /// The part's number, from 1.
    pub number: u8,
    /// Whether this is the last part.
    pub last: bool,
    /// Octets of the message, its header included.
    pub data: &'a [u8],
}

impl Payload<'_> {
    /// The payload's type. NAT-D and NAT-OA are given as RFC 3947's, also where the drafts' types were read.
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::V1_SA,
            Self::Ke(_) => PayloadType::V1_KE,
            Self::Id(_) => PayloadType::V1_ID,
            Self::Cert { .. } => PayloadType::V1_CERT,
            Self::CertReq { .. } => PayloadType::V1_CERTREQ,
            Self::Hash(_) => PayloadType::V1_HASH,
            Self::Sig(_) => PayloadType::V1_SIG,
            Self::Nonce(_) => PayloadType::V1_NONCE,
            Self::Notify(_) => PayloadType::V1_NOTIFY,
            Self::Delete(_) => PayloadType::V1_DELETE,
            Self::VendorId(_) => PayloadType::V1_VENDOR_ID,
            Self::Attributes(_) => PayloadType::V1_ATTRIBUTES,
            Self::NatD(_) => PayloadType::V1_NAT_D,
            Self::NatOa(_) => PayloadType::V1_NAT_OA,
            Self::Fragment(_) => PayloadType::V1_FRAGMENT,
            Self::Unknown { kind, .. } => *kind,
        }
    }
}

/// Checks and takes apart the contents of one payload. A type that is not understood is [`Payload::Unknown`];
/// [`parse_chain`](super::parse_chain) refuses those.
///
/// # Errors
/// The first field that breaks a rule of RFC 2408 section 3, RFC 2407 section 4.6 or RFC 3947.
pub fn parse_payload(raw: RawPayload<'_>) -> Result<Payload<'_>, ParseError> {
    let mut octets = raw.reader();
    Ok(match raw.kind {
        PayloadType::V1_SA => Payload::Sa(parse_sa(raw)?),
        PayloadType::V1_KE => Payload::Ke(not_empty(octets, Field::KeyExchange)?),
        PayloadType::V1_ID => Payload::Id(id(octets)?),
        PayloadType::V1_CERT => {
            let [encoding] = octets.array(Field::Certificate)?;
            Payload::Cert { encoding: CertEncoding(encoding), data: octets.rest() }
        }
        PayloadType::V1_CERTREQ => {
            let [encoding] = octets.array(Field::CertificateRequest)?;
            Payload::CertReq { encoding: CertEncoding(encoding), authority: octets.rest() }
        }
        PayloadType::V1_HASH => Payload::Hash(not_empty(octets, Field::Hash)?),
        PayloadType::V1_SIG => Payload::Sig(not_empty(octets, Field::Signature)?),
        PayloadType::V1_NONCE => {
            // RFC 2409 section 5
            length_in(Field::Nonce, octets, *NONCE_LEN.start(), *NONCE_LEN.end())?;
            Payload::Nonce(raw.body)
        }
        PayloadType::V1_NOTIFY => Payload::Notify(notify(octets)?),
        PayloadType::V1_DELETE => Payload::Delete(delete(octets)?),
        PayloadType::V1_VENDOR_ID => Payload::VendorId(raw.body),
        PayloadType::V1_ATTRIBUTES => Payload::Attributes(configuration(octets)?),
        PayloadType::V1_NAT_D | PayloadType::V1_NAT_D_DRAFT => Payload::NatD(not_empty(octets, Field::NatDiscovery)?),
        PayloadType::V1_NAT_OA | PayloadType::V1_NAT_OA_DRAFT => Payload::NatOa(id(octets)?),
        PayloadType::V1_FRAGMENT => Payload::Fragment(fragment(octets)?),
        kind => Payload::Unknown { kind, body: raw.body },
    })
}

fn not_empty(octets: Reader<'_>, what: Field) -> Result<&[u8], ParseError> {
    if octets.is_empty() {
        return Err(ParseError::new(octets.at(), what, Why::Empty));
    }
    Ok(octets.rest())
}

fn length_in(what: Field, octets: Reader<'_>, min: usize, max: usize) -> Result<(), ParseError> {
    let found = octets.len();
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(ParseError::new(octets.at(), what, Why::LengthOutOfRange { found, min, max }))
}

fn id(mut octets: Reader<'_>) -> Result<Id<'_>, ParseError> {
    let [kind, protocol, high, low] = octets.array(Field::Identification)?;
    let kind = V1IdType(kind);
    // RFC 2407 sections 4.6.2.2 to 4.6.2.9
    let expected = match kind {
        V1IdType::IPV4_ADDR => Some(4),
        V1IdType::IPV4_ADDR_SUBNET | V1IdType::IPV4_ADDR_RANGE => Some(8),
        V1IdType::IPV6_ADDR => Some(16),
        V1IdType::IPV6_ADDR_SUBNET | V1IdType::IPV6_ADDR_RANGE => Some(32),
        _ => None,
    };
    if let Some(length) = expected {
        length_in(Field::Identification, octets, length, length)?;
    }
    Ok(Id { kind, protocol, port: u16::from_be_bytes([high, low]), data: octets.rest() })
}

fn notify(mut octets: Reader<'_>) -> Result<Notify<'_>, ParseError> {
    let doi = octets.u32(Field::Notify)?;
    let [protocol, spi_size, high, low] = octets.array(Field::Notify)?;
    // The SPI's size is not judged: for ISAKMP its contents are to be ignored (RFC 2408 section 3.14), and what is said
    // about an SA that does not exist does no harm.
    let spi = octets.take(usize::from(spi_size), Field::Spi)?;
    let kind = V1NotifyType(u16::from_be_bytes([high, low]));
    Ok(Notify { doi, protocol: ProtocolId(protocol), spi, kind, data: octets.rest() })
}

fn delete(mut octets: Reader<'_>) -> Result<Delete<'_>, ParseError> {
    let doi = octets.u32(Field::Delete)?;
    let at = octets.at();
    let [protocol, spi_size, high, low] = octets.array(Field::Delete)?;
    let protocol = ProtocolId(protocol);
    let count = usize::from(u16::from_be_bytes([high, low]));
    if matches!(protocol, ProtocolId::AH | ProtocolId::ESP) && spi_size != 4 {
        return Err(ParseError::new(at + 1, Field::SpiSize, Why::Value { found: spi_size.into(), expected: 4 }));
    }
    if spi_size == 0 && count != 0 {
        return Err(ParseError::new(at + 2, Field::SpiCount, Why::Value { found: count as u64, expected: 0 }));
    }
    let octets_of_spis = usize::from(spi_size) * count;
    length_in(Field::Delete, octets, octets_of_spis, octets_of_spis)?;
    Ok(Delete { doi, protocol, spi_size, spis: octets.rest() })
}

fn configuration(mut octets: Reader<'_>) -> Result<Attributes<'_>, ParseError> {
    let [kind, _reserved, high, low] = octets.array(Field::Configuration)?;
    let attributes = attributes::Attributes::new(octets.rest(), octets.at()).collect::<Result<_, _>>()?;
    Ok(Attributes { kind, identifier: u16::from_be_bytes([high, low]), attributes })
}

fn fragment(mut octets: Reader<'_>) -> Result<Fragment<'_>, ParseError> {
    let at = octets.at();
    let [high, low, number, flags] = octets.array(Field::Fragment)?;
    if number == 0 {
        return Err(ParseError::new(at + 2, Field::FragmentNumber, Why::Value { found: 0, expected: 1 }));
    }
    Ok(Fragment { id: u16::from_be_bytes([high, low]), number, last: flags & 1 != 0, data: octets.rest() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: PayloadType, body: &[u8]) -> Result<Payload<'_>, ParseError> {
        parse_payload(RawPayload { kind, critical: false, body, offset: 28, next: PayloadType::NONE })
    }

    #[test]
    fn nonces_have_8_to_256_octets() {
        for (length, good) in [(0, false), (7, false), (8, true), (256, true), (257, false)] {
            assert_eq!(parse(PayloadType::V1_NONCE, &vec![7; length]).is_ok(), good, "{length}");
        }
    }

    #[test]
    fn identities_carry_protocol_and_port() {
        let id = parse(PayloadType::V1_ID, &[4, 17, 0x06, 0xa5, 10, 0, 0, 0, 255, 0, 0, 0]).unwrap();
        let expected =
            Id { kind: V1IdType::IPV4_ADDR_SUBNET, protocol: 17, port: 1701, data: &[10, 0, 0, 0, 255, 0, 0, 0] };
        assert_eq!(id, Payload::Id(expected));
        for (kind, length) in [(1, 4), (4, 8), (5, 16), (6, 32), (7, 8), (8, 32)] {
            for (given, good) in [(length - 1, false), (length, true), (length + 1, false)] {
                let body = [vec![kind, 0, 0, 0], vec![1; given]].concat();
                assert_eq!(parse(PayloadType::V1_ID, &body).is_ok(), good, "type {kind}, {given} octets");
                assert_eq!(parse(PayloadType::V1_NAT_OA, &body).is_ok(), good, "type {kind}, {given} octets");
            }
        }
        assert!(parse(PayloadType::V1_ID, &[2, 0, 0, 0]).is_ok());
        assert_eq!(parse(PayloadType::V1_ID, &[2, 0, 0]).unwrap_err().what, Field::Identification);
    }

    /// RFC 3706 section 5.3: R-U-THERE names the SA by its cookies and carries a sequence number.
    #[test]
    fn a_sign_of_life_is_asked_for() {
        let mut body = vec![0, 0, 0, 1, 1, 16, 0x8d, 0x28];
        body.extend_from_slice(&[7; 16]);
        body.extend_from_slice(&[0, 0, 0, 9]);
        let Payload::Notify(notify) = parse(PayloadType::V1_NOTIFY, &body).unwrap() else { panic!("a Notify payload") };
        assert_eq!((notify.doi, notify.protocol, notify.kind), (1, ProtocolId::IKE, V1NotifyType::R_U_THERE));
        assert_eq!((notify.spi, notify.data), (&[7; 16][..], &[0, 0, 0, 9][..]));
        assert!(!notify.kind.is_error() && V1NotifyType::NO_PROPOSAL_CHOSEN.is_error());
        body.truncate(23);
        assert_eq!(parse(PayloadType::V1_NOTIFY, &body).unwrap_err().what, Field::Spi);
    }

    #[test]
    fn delete_counts_its_spis() {
        let body = [0, 0, 0, 1, 3, 4, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0];
        let Payload::Delete(delete) = parse(PayloadType::V1_DELETE, &body).unwrap() else { panic!("a Delete payload") };
        assert_eq!(delete.child_spis().collect::<Vec<_>>(), [0x100, 0x200]);
        assert_eq!(parse(PayloadType::V1_DELETE, &body[..12]).unwrap_err().what, Field::Delete);
        let isakmp = [&[0, 0, 0, 1, 1, 16, 0, 1][..], &[5; 16]].concat();
        let Payload::Delete(delete) = parse(PayloadType::V1_DELETE, &isakmp).unwrap() else {
            panic!("a Delete payload")
        };
        assert_eq!(delete.iter().collect::<Vec<_>>(), [&[5; 16][..]]);
        assert_eq!(parse(PayloadType::V1_DELETE, &[0, 0, 0, 1, 3, 8, 0, 0]).unwrap_err().what, Field::SpiSize);
        assert_eq!(parse(PayloadType::V1_DELETE, &[0, 0, 0, 1, 1, 0, 0, 1]).unwrap_err().what, Field::SpiCount);
    }

    #[test]
    fn the_rest_of_the_payloads() {
        let Payload::Attributes(attributes) =
            parse(PayloadType::V1_ATTRIBUTES, &[1, 0, 0x12, 0x34, 0xc0, 0x88, 0, 0, 0x40, 0x89, 0, 2, b'm', b'e'])
                .unwrap()
        else {
            panic!("an Attributes payload")
        };
        assert_eq!((attributes.kind, attributes.identifier), (1, 0x1234));
        assert_eq!(attributes.get(16520), Some(AttributeValue::Short(0)));
        assert_eq!(attributes.get(16521), Some(AttributeValue::Long(b"me")));
        assert_eq!(attributes.get(16522), None);
        let fragment = parse(PayloadType::V1_FRAGMENT, &[0, 9, 2, 1, 0xee]).unwrap();
        assert_eq!(fragment, Payload::Fragment(Fragment { id: 9, number: 2, last: true, data: &[0xee] }));
        assert_eq!(parse(PayloadType::V1_FRAGMENT, &[0, 9, 0, 1]).unwrap_err().what, Field::FragmentNumber);
        for kind in [4, 8, 9, 20, 130] {
            assert_eq!(parse(PayloadType(kind), &[]).unwrap_err().why, Why::Empty, "{kind}");
            assert!(parse(PayloadType(kind), &[1]).is_ok(), "{kind}");
        }
        let draft = parse(PayloadType::V1_NAT_D_DRAFT, &[1]).unwrap();
        assert_eq!((draft.kind(), &draft), (PayloadType::V1_NAT_D, &Payload::NatD(&[1])));
        // Another version's payload is never taken for this version's.
        let unknown = parse(PayloadType::NONCE, &[1]).unwrap();
        assert_eq!(unknown, Payload::Unknown { kind: PayloadType::NONCE, body: &[1] });
    }
}
