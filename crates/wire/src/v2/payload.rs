//! One payload at a time.

use super::{NONCE_LEN, Proposal, TrafficSelector, sa, ts};
use crate::error::{Field, ParseError, Reader, Why};
use crate::payloads::RawPayload;
use crate::registry::{
    AuthMethod, CertEncoding, CpAttribute, CpType, IdType, KeyExchangeId, NotifyType, PayloadType, ProtocolId,
};

/// A payload of IKEv2, its contents checked against RFC 7296 section 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Security Association: proposals, most preferred first.
    Sa(Vec<Proposal>),
    /// Key Exchange.
    Ke(KeyExchange<'a>),
    /// Identification - Initiator.
    IdI(Id<'a>),
    /// Identification - Responder.
    IdR(Id<'a>),
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
        /// SHA-1 hashes of trusted authorities' public keys, 20 octets each (RFC 7296 section 3.7).
        authorities: &'a [u8],
    },
    /// Authentication.
    Auth {
        /// How `data` was made.
        method: AuthMethod,
        /// Signature or MAC.
        data: &'a [u8],
    },
    /// Nonce of 16 to 256 octets.
    Nonce(&'a [u8]),
    /// Notify.
    Notify(Notify<'a>),
    /// Delete.
    Delete(Delete<'a>),
    /// Vendor ID.
    VendorId(&'a [u8]),
    /// Traffic Selector - Initiator. Selectors of unknown types are left out, so it may be empty.
    TsI(Vec<TrafficSelector>),
    /// Traffic Selector - Responder. Selectors of unknown types are left out, so it may be empty.
    TsR(Vec<TrafficSelector>),
    /// Configuration.
    Cp {
        /// Request, reply, set or acknowledgement.
        kind: CpType,
        /// The attributes in order; their values are not checked.
        attributes: Vec<ConfigAttribute<'a>>,
    },
    /// Extensible Authentication: one EAP message.
    Eap(&'a [u8]),
    /// Puzzle Solution (RFC 8019 section 8.2): four keys of one length.
    PuzzleSolution(&'a [u8]),
    /// Encrypted and Authenticated.
    Encrypted {
        /// Type of the first inner payload.
        next: PayloadType,
        /// IV, ciphertext and integrity checksum.
        content: &'a [u8],
        /// Octet offset of `content`: what stands before it is authenticated but not encrypted.
        offset: usize,
    },
    /// Encrypted and Authenticated Fragment (RFC 7383 section 2.5).
    EncryptedFragment {
        /// Type of the first inner payload in fragment 1, NONE in the others.
        next: PayloadType,
        /// Fragment Number, from 1.
        number: u16,
        /// Total Fragments, at least `number`.
        total: u16,
        /// IV, ciphertext and integrity checksum.
        content: &'a [u8],
        /// Octet offset of `content`: what stands before it is authenticated but not encrypted.
        offset: usize,
    },
    /// A payload that is not IKEv2's or that this crate does not take apart.
    Unknown {
        /// Its type.
        kind: PayloadType,
        /// Its contents.
        body: &'a [u8],
    },
}

/// The contents of a Key Exchange payload (RFC 7296 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyExchange<'a> {
    /// The method that `data` belongs to.
    pub method: KeyExchangeId,
    /// The public value; never empty, its length not checked against the method.
    pub data: &'a [u8],
}

/// The contents of an Identification payload (RFC 7296 section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// What kind of name it is.
    pub kind: IdType,
    /// The name.
    pub data: &'a [u8],
}

/// The contents of a Notify payload (RFC 7296 section 3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// The protocol of `spi`; without meaning where that is empty.
    pub protocol: ProtocolId,
    /// The SA that this is about, where the type says so.
    pub spi: &'a [u8],
    /// What is notified.
    pub kind: NotifyType,
    /// Data that goes with it.
    pub data: &'a [u8],
}

/// The contents of a Delete payload (RFC 7296 section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// Whose SAs.
    pub protocol: ProtocolId,
    /// Octets of each SPI.
    pub spi_size: u8,
    /// The SPIs one after the other; none for the IKE SA itself.
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

/// A configuration attribute (RFC 7296 section 3.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigAttribute<'a> {
    /// Which attribute.
    pub kind: CpAttribute,
    /// Its value, empty where it is asked for.
    pub value: &'a [u8],
}

impl Payload<'_> {
    /// The payload's type.
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Cert { .. } => PayloadType::CERT,
            Self::CertReq { .. } => PayloadType::CERTREQ,
            Self::Auth { .. } => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Cp { .. } => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::PuzzleSolution(_) => PayloadType::PS,
            Self::Encrypted { .. } => PayloadType::SK,
            Self::EncryptedFragment { .. } => PayloadType::SKF,
            Self::Unknown { kind, .. } => *kind,
        }
    }
}

/// Checks and takes apart the contents of one payload. A type that is not understood is [`Payload::Unknown`], whatever
/// its Critical bit; [`parse_chain`](super::parse_chain) judges that.
///
/// # Errors
/// The first field that breaks a rule of RFC 7296 section 3 or RFC 7383 section 2.5.
pub fn parse_payload(raw: RawPayload<'_>) -> Result<Payload<'_>, ParseError> {
    parse_counting(raw).map(|(payload, _)| payload)
}

/// As [`parse_payload`], and the number of traffic selectors that were skipped.
pub(super) fn parse_counting(raw: RawPayload<'_>) -> Result<(Payload<'_>, usize), ParseError> {
    let mut octets = raw.reader();
    let payload = match raw.kind {
        PayloadType::SA => Payload::Sa(sa::parse(octets)?),
        PayloadType::KE => Payload::Ke(key_exchange(octets)?),
        PayloadType::IDI => Payload::IdI(id(octets)?),
        PayloadType::IDR => Payload::IdR(id(octets)?),
        PayloadType::CERT => {
            let [encoding] = octets.array(Field::Certificate)?;
            Payload::Cert { encoding: CertEncoding(encoding), data: octets.rest() }
        }
        PayloadType::CERTREQ => {
            let [encoding] = octets.array(Field::CertificateRequest)?;
            Payload::CertReq { encoding: CertEncoding(encoding), authorities: octets.rest() }
        }
        PayloadType::AUTH => {
            let [method, _reserved @ ..] = octets.array::<4>(Field::Authentication)?;
            Payload::Auth { method: AuthMethod(method), data: octets.rest() }
        }
        PayloadType::NONCE => {
            // RFC 7296 section 3.9
            length_in(Field::Nonce, octets.at(), octets.len(), *NONCE_LEN.start(), *NONCE_LEN.end())?;
            Payload::Nonce(raw.body)
        }
        PayloadType::NOTIFY => Payload::Notify(notify(octets)?),
        PayloadType::DELETE => Payload::Delete(delete(octets)?),
        PayloadType::VENDOR_ID => Payload::VendorId(raw.body),
        PayloadType::TSI => return ts::parse(octets).map(|(selectors, skipped)| (Payload::TsI(selectors), skipped)),
        PayloadType::TSR => return ts::parse(octets).map(|(selectors, skipped)| (Payload::TsR(selectors), skipped)),
        PayloadType::CP => configuration(octets)?,
        PayloadType::EAP => Payload::Eap(eap(octets)?),
        PayloadType::PS => Payload::PuzzleSolution(puzzle_solution(octets)?),
        PayloadType::SK => Payload::Encrypted { next: raw.next, content: raw.body, offset: raw.body_offset() },
        PayloadType::SKF => fragment(raw.next, octets)?,
        kind => Payload::Unknown { kind, body: raw.body },
    };
    Ok((payload, 0))
}

fn length_in(what: Field, at: usize, found: usize, min: usize, max: usize) -> Result<(), ParseError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(ParseError::new(at, what, Why::LengthOutOfRange { found, min, max }))
}

fn key_exchange(mut octets: Reader<'_>) -> Result<KeyExchange<'_>, ParseError> {
    let [high, low, _reserved @ ..] = octets.array::<4>(Field::KeyExchange)?;
    if octets.is_empty() {
        return Err(ParseError::new(octets.at(), Field::KeyExchange, Why::Empty));
    }
    Ok(KeyExchange { method: KeyExchangeId(u16::from_be_bytes([high, low])), data: octets.rest() })
}

fn id(mut octets: Reader<'_>) -> Result<Id<'_>, ParseError> {
    let [kind, _reserved @ ..] = octets.array::<4>(Field::Identification)?;
    let kind = IdType(kind);
    match kind {
        // RFC 7296 section 3.5
        IdType::IPV4_ADDR => length_in(Field::Identification, octets.at(), octets.len(), 4, 4)?,
        IdType::IPV6_ADDR => length_in(Field::Identification, octets.at(), octets.len(), 16, 16)?,
        _ => {}
    }
    Ok(Id { kind, data: octets.rest() })
}

fn notify(mut octets: Reader<'_>) -> Result<Notify<'_>, ParseError> {
    let at = octets.at();
    let [protocol, spi_size, high, low] = octets.array(Field::Notify)?;
    let protocol = ProtocolId(protocol);
    // RFC 7296 section 3.10. For the IKE SA the size should be zero, but peers that name it do no harm; with an unknown
    // protocol only the notification's type can say what is right.
    let fits = match protocol {
        ProtocolId::AH | ProtocolId::ESP => matches!(spi_size, 0 | 4),
        ProtocolId::IKE => matches!(spi_size, 0 | 8),
        _ => true,
    };
    if !fits {
        let expected = if protocol == ProtocolId::IKE { 0 } else { 4 };
        return Err(ParseError::new(at + 1, Field::SpiSize, Why::Value { found: spi_size.into(), expected }));
    }
    let spi = octets.take(usize::from(spi_size), Field::Spi)?;
    Ok(Notify { protocol, spi, kind: NotifyType(u16::from_be_bytes([high, low])), data: octets.rest() })
}

fn delete(mut octets: Reader<'_>) -> Result<Delete<'_>, ParseError> {
    let at = octets.at();
    let [protocol, spi_size, high, low] = octets.array(Field::Delete)?;
    let protocol = ProtocolId(protocol);
    let count = usize::from(u16::from_be_bytes([high, low]));
    // RFC 7296 section 3.11: SPI Size is zero for IKE, where there are no SPIs, and four for AH and ESP.
    let expected = match protocol {
        ProtocolId::IKE => 0,
        ProtocolId::AH | ProtocolId::ESP => 4,
        _ => spi_size,
    };
    if spi_size != expected {
        let why = Why::Value { found: spi_size.into(), expected: expected.into() };
        return Err(ParseError::new(at + 1, Field::SpiSize, why));
    }
    if spi_size == 0 && count != 0 {
        return Err(ParseError::new(at + 2, Field::SpiCount, Why::Value { found: count as u64, expected: 0 }));
    }
    let octets_of_spis = usize::from(spi_size) * count;
    length_in(Field::Delete, octets.at(), octets.len(), octets_of_spis, octets_of_spis)?;
    Ok(Delete { protocol, spi_size, spis: octets.rest() })
}

fn configuration(mut octets: Reader<'_>) -> Result<Payload<'_>, ParseError> {
    let [kind, _reserved @ ..] = octets.array::<4>(Field::Configuration)?;
    let mut attributes = Vec::new();
    while !octets.is_empty() {
        let [a, b, c, d] = octets.array(Field::Attribute)?;
        let value = octets.take(usize::from(u16::from_be_bytes([c, d])), Field::Attribute)?;
        // RFC 7296 section 3.15.1: the first bit is reserved and ignored; it is not the format bit of section 3.3.5.
        attributes.push(ConfigAttribute { kind: CpAttribute(u16::from_be_bytes([a, b]) & 0x7fff), value });
    }
    Ok(Payload::Cp { kind: CpType(kind), attributes })
}

/// RFC 8019 section 8.2: not empty, and a multiple of four octets.
fn puzzle_solution(octets: Reader<'_>) -> Result<&[u8], ParseError> {
    let (at, keys) = (octets.at(), octets.rest());
    if keys.is_empty() || !keys.len().is_multiple_of(4) {
        let why = Why::LengthOutOfRange { found: keys.len(), min: 4, max: keys.len() / 4 * 4 };
        return Err(ParseError::new(at, Field::PuzzleSolution, why));
    }
    Ok(keys)
}

fn eap(mut octets: Reader<'_>) -> Result<&[u8], ParseError> {
    let (at, message) = (octets.at(), octets.rest());
    let [_code, _identifier, high, low] = octets.array(Field::Eap)?;
    // RFC 7296 section 3.16: the message's own Length is four less than Payload Length.
    let (found, expected) = (usize::from(u16::from_be_bytes([high, low])), message.len());
    if found != expected {
        let why = Why::LengthOutOfRange { found, min: expected, max: expected };
        return Err(ParseError::new(at + 2, Field::Eap, why));
    }
    Ok(message)
}

fn fragment(next: PayloadType, mut octets: Reader<'_>) -> Result<Payload<'_>, ParseError> {
    let at = octets.at();
    let [a, b, c, d] = octets.array(Field::EncryptedFragment)?;
    let (number, total) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    // RFC 7383 section 2.5: 1 <= Fragment Number <= Total Fragments, and only the first fragment has a Next Payload.
    if number == 0 || number > total {
        let why = Why::Value { found: number.into(), expected: total.max(1).into() };
        return Err(ParseError::new(at, Field::FragmentNumber, why));
    }
    if number > 1 && next != PayloadType::NONE {
        let why = Why::Value { found: next.0.into(), expected: 0 };
        return Err(ParseError::new(at.saturating_sub(4), Field::NextPayload, why));
    }
    Ok(Payload::EncryptedFragment { next, number, total, content: octets.rest(), offset: octets.at() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: PayloadType, body: &[u8]) -> Result<Payload<'_>, ParseError> {
        parse_payload(RawPayload { kind, critical: false, body, offset: 28, next: PayloadType::NONE })
    }

    #[test]
    fn nonces_have_16_to_256_octets() {
        for (length, good) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
            let body = vec![7; length];
            assert_eq!(parse(PayloadType::NONCE, &body).is_ok(), good, "{length}");
        }
        let error = parse(PayloadType::NONCE, &[0; 15]).unwrap_err();
        assert_eq!(error.to_string(), "octet 32: Nonce payload is 15 octets, must be 16 to 256");
    }

    #[test]
    fn key_exchange_and_identification() {
        let ke = parse(PayloadType::KE, &[0, 31, 0, 0, 1, 2]).unwrap();
        assert_eq!(ke, Payload::Ke(KeyExchange { method: KeyExchangeId::CURVE_25519, data: &[1, 2] }));
        assert_eq!(parse(PayloadType::KE, &[0, 31, 0, 0]).unwrap_err().why, Why::Empty);
        let id = parse(PayloadType::IDR, &[2, 0, 0, 0, b'a']).unwrap();
        assert_eq!(id, Payload::IdR(Id { kind: IdType::FQDN, data: b"a" }));
        assert_eq!(parse(PayloadType::IDI, &[1, 0, 0, 0, 1, 2, 3]).unwrap_err().what, Field::Identification);
        assert_eq!(parse(PayloadType::IDI, &[5, 0, 0, 0, 1, 2, 3, 4]).unwrap_err().what, Field::Identification);
    }

    #[test]
    fn notifications_about_a_child_sa_have_four_octet_spis() {
        let Payload::Notify(notify) = parse(PayloadType::NOTIFY, &[3, 4, 0x40, 0x09, 1, 2, 3, 4, 5]).unwrap() else {
            panic!("a Notify payload")
        };
        assert_eq!((notify.protocol, notify.kind), (ProtocolId::ESP, NotifyType::REKEY_SA));
        assert_eq!((notify.spi, notify.data), (&[1, 2, 3, 4][..], &[5][..]));
        assert_eq!(parse(PayloadType::NOTIFY, &[3, 5, 0x40, 9, 1, 2, 3, 4, 5]).unwrap_err().what, Field::SpiSize);
        assert_eq!(parse(PayloadType::NOTIFY, &[1, 4, 0x40, 9, 1, 2, 3, 4, 5]).unwrap_err().what, Field::SpiSize);
        assert_eq!(parse(PayloadType::NOTIFY, &[3, 4, 0x40, 9, 1, 2, 3]).unwrap_err().what, Field::Spi);
        assert!(parse(PayloadType::NOTIFY, &[0, 0, 0, 14]).is_ok());
        assert!(NotifyType::NO_PROPOSAL_CHOSEN.is_error() && !NotifyType::COOKIE.is_error());
    }

    #[test]
    fn delete_counts_its_spis() {
        let Payload::Delete(delete) = parse(PayloadType::DELETE, &[3, 4, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0]).unwrap() else {
            panic!("a Delete payload")
        };
        assert_eq!(delete.child_spis().collect::<Vec<_>>(), [0x100, 0x200]);
        assert_eq!(delete.iter().next(), Some(&[0, 0, 1, 0][..]));
        let Payload::Delete(ike) = parse(PayloadType::DELETE, &[1, 0, 0, 0]).unwrap() else {
            panic!("a Delete payload")
        };
        assert_eq!((ike.protocol, ike.iter().count()), (ProtocolId::IKE, 0));
        assert_eq!(parse(PayloadType::DELETE, &[1, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap_err().what, Field::SpiSize);
        assert_eq!(parse(PayloadType::DELETE, &[1, 0, 0, 1]).unwrap_err().what, Field::SpiCount);
        assert_eq!(parse(PayloadType::DELETE, &[3, 4, 0, 2, 0, 0, 1, 0]).unwrap_err().what, Field::Delete);
        assert_eq!(parse(PayloadType::DELETE, &[3, 4, 255, 255]).unwrap_err().what, Field::Delete);
        assert_eq!(parse(PayloadType::DELETE, &[9, 0, 255, 255]).unwrap_err().what, Field::SpiCount);
    }

    #[test]
    fn the_rest_of_the_payloads() {
        let Payload::Cp { kind, attributes } =
            parse(PayloadType::CP, &[1, 0, 0, 0, 0x80, 1, 0, 0, 0, 3, 0, 1, 9]).unwrap()
        else {
            panic!("a Configuration payload")
        };
        assert_eq!((kind, attributes.len()), (CpType::CFG_REQUEST, 2));
        assert_eq!(attributes[0], ConfigAttribute { kind: CpAttribute::INTERNAL_IP4_ADDRESS, value: &[] });
        assert_eq!(parse(PayloadType::CP, &[1, 0, 0, 0, 0, 1, 0, 1]).unwrap_err().what, Field::Attribute);
        assert!(parse(PayloadType::EAP, &[3, 7, 0, 4]).is_ok());
        assert_eq!(parse(PayloadType::EAP, &[3, 7, 0, 5]).unwrap_err().what, Field::Eap);
        let auth = parse(PayloadType::AUTH, &[2, 0, 0, 0, 9]).unwrap();
        assert_eq!(auth, Payload::Auth { method: AuthMethod::SHARED_KEY_MIC, data: &[9] });
        let cert = parse(PayloadType::CERT, &[4, 0x30]).unwrap();
        assert_eq!(cert, Payload::Cert { encoding: CertEncoding::X509_SIGNATURE, data: &[0x30] });
        for kind in [PayloadType::CERT, PayloadType::CERTREQ, PayloadType::AUTH, PayloadType::EAP, PayloadType::CP] {
            assert!(matches!(parse(kind, &[]).unwrap_err().why, Why::Truncated { have: 0, .. }), "{kind}");
        }
        // Another version's payload is never taken for this version's.
        let unknown = parse(PayloadType::V1_SA, &[1]).unwrap();
        assert_eq!(unknown, Payload::Unknown { kind: PayloadType::V1_SA, body: &[1] });
    }

    #[test]
    fn fragments_are_numbered() {
        let fragment = |next, number, total| {
            let body = [0, number, 0, total, 0xee];
            parse_payload(RawPayload { kind: PayloadType::SKF, critical: false, body: &body, offset: 28, next })
                .map(|payload| payload.kind())
                .map_err(|error| error.what)
        };
        assert_eq!(fragment(PayloadType::IDI, 1, 2), Ok(PayloadType::SKF));
        assert_eq!(fragment(PayloadType::NONE, 2, 2), Ok(PayloadType::SKF));
        assert_eq!(fragment(PayloadType::IDI, 2, 2), Err(Field::NextPayload));
        assert_eq!(fragment(PayloadType::NONE, 3, 2), Err(Field::FragmentNumber));
        assert_eq!(fragment(PayloadType::NONE, 0, 2), Err(Field::FragmentNumber));
        assert_eq!(fragment(PayloadType::NONE, 0, 0), Err(Field::FragmentNumber));
    }
}
