//! The payloads of one message, or of the inside of its Encrypted payload.

use std::fmt;

use super::payload::parse_counting;
use super::{Id, KeyExchange, Notify, Payload, Proposal, TrafficSelector, parse_payload};
use crate::error::{Field, ParseError};
use crate::grammar::PayloadSet;
use crate::header::{HEADER_LEN, Header};
use crate::payloads::Payloads;
use crate::registry::{AuthMethod, NotifyType, PayloadType};

/// Payloads that RFC 7296 section 1 and appendix C and RFC 8019 section 7 show once in a message and never with a `+`.
const SINGLE: PayloadSet = PayloadSet::of(&[
    PayloadType::SA,
    PayloadType::KE,
    PayloadType::IDI,
    PayloadType::IDR,
    PayloadType::AUTH,
    PayloadType::NONCE,
    PayloadType::TSI,
    PayloadType::TSR,
    PayloadType::CP,
    PayloadType::EAP,
    PayloadType::PS,
]);

/// A checked chain: every payload understood, none there twice that may be there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain<'a> {
    /// The payloads in order, without those that are not understood.
    pub payloads: Vec<(PayloadType, Payload<'a>)>,
    /// Types of the payloads that were skipped: not understood and not critical.
    pub skipped: Vec<PayloadType>,
    /// Traffic selectors of types that are not understood, in both TS payloads together.
    pub skipped_selectors: usize,
}

/// Why a whole chain was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// A payload breaks the format: INVALID_SYNTAX.
    Malformed(ParseError),
    /// A payload of this type is critical and not understood: UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 section 2.5).
    UnsupportedCritical(PayloadType),
    /// A payload that may be there once is there twice: INVALID_SYNTAX.
    Duplicate {
        /// Its type.
        kind: PayloadType,
        /// Octet offset of the second one.
        at: usize,
    },
}

impl From<ParseError> for ChainError {
    fn from(error: ParseError) -> Self {
        Self::Malformed(error)
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::UnsupportedCritical(kind) => write!(f, "payload type {} is critical and not understood", kind.0),
            Self::Duplicate { kind, at } => write!(f, "octet {at}: a second {kind} payload, only one is allowed"),
        }
    }
}

impl std::error::Error for ChainError {}

/// Reads the chain in `chain`, which begins with a payload of type `first`; offsets are counted from `base`:
/// [`HEADER_LEN`] behind a header, 0 in decrypted content.
///
/// # Errors
/// The first thing wrong, in the order of the octets.
pub fn parse_chain(first: PayloadType, chain: &[u8], base: usize) -> Result<Chain<'_>, ChainError> {
    let mut result = Chain::default();
    let mut seen = PayloadSet::EMPTY;
    for raw in Payloads::new(first, chain, base) {
        let raw = raw?;
        let (payload, skipped_selectors) = parse_counting(raw)?;
        if let Payload::Unknown { kind, .. } = payload {
            // RFC 7296 section 2.5: the Critical bit counts only where the type is not understood.
            if raw.critical {
                return Err(ChainError::UnsupportedCritical(kind));
            }
            result.skipped.push(kind);
            continue;
        }
        if SINGLE.contains(raw.kind) && seen.contains(raw.kind) {
            return Err(ChainError::Duplicate { kind: raw.kind, at: raw.offset });
        }
        seen.insert(raw.kind);
        result.skipped_selectors += skipped_selectors;
        result.payloads.push((raw.kind, payload));
    }
    Ok(result)
}

impl<'a> Chain<'a> {
    fn find<'s, T>(&'s self, pick: impl FnMut(&'s Payload<'a>) -> Option<T>) -> Option<T> {
        self.payloads.iter().map(|(_, payload)| payload).find_map(pick)
    }

    /// The proposals of the SA payload.
    pub fn sa(&self) -> Option<&[Proposal]> {
        self.find(|payload| if let Payload::Sa(proposals) = payload { Some(proposals.as_slice()) } else { None })
    }

    /// The Key Exchange payload.
    pub fn ke(&self) -> Option<KeyExchange<'a>> {
        self.find(|payload| if let Payload::Ke(ke) = payload { Some(*ke) } else { None })
    }

    /// The nonce.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::Nonce(nonce) = payload { Some(*nonce) } else { None })
    }

    /// The initiator's identification.
    pub fn idi(&self) -> Option<Id<'a>> {
        self.find(|payload| if let Payload::IdI(id) = payload { Some(*id) } else { None })
    }

    /// The responder's identification.
    pub fn idr(&self) -> Option<Id<'a>> {
        self.find(|payload| if let Payload::IdR(id) = payload { Some(*id) } else { None })
    }

    /// Method and data of the Authentication payload.
    pub fn auth(&self) -> Option<(AuthMethod, &'a [u8])> {
        self.find(|payload| if let Payload::Auth { method, data } = payload { Some((*method, *data)) } else { None })
    }

    /// The certificates in order, each with its encoding.
    pub fn certs(&self) -> impl Iterator<Item = (crate::CertEncoding, &'a [u8])> {
        self.payloads.iter().filter_map(|(_, payload)| match payload {
            Payload::Cert { encoding, data } => Some((*encoding, *data)),
            _ => None,
        })
    }

    /// The certificate requests in order: the encoding asked for, and hashes of authorities' keys.
    pub fn cert_requests(&self) -> impl Iterator<Item = (crate::CertEncoding, &'a [u8])> {
        self.payloads.iter().filter_map(|(_, payload)| match payload {
            Payload::CertReq { encoding, authorities } => Some((*encoding, *authorities)),
            _ => None,
        })
    }

    /// The initiator's traffic selectors.
    pub fn tsi(&self) -> Option<&[TrafficSelector]> {
        self.find(|payload| if let Payload::TsI(selectors) = payload { Some(selectors.as_slice()) } else { None })
    }

    /// The responder's traffic selectors.
    pub fn tsr(&self) -> Option<&[TrafficSelector]> {
        self.find(|payload| if let Payload::TsR(selectors) = payload { Some(selectors.as_slice()) } else { None })
    }

    /// The EAP message.
    pub fn eap(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::Eap(message) = payload { Some(*message) } else { None })
    }

    /// The solution of a puzzle.
    pub fn puzzle_solution(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::PuzzleSolution(keys) = payload { Some(*keys) } else { None })
    }

    /// Kind and attributes of the Configuration payload.
    pub fn configuration(&self) -> Option<(crate::CpType, &[super::ConfigAttribute<'a>])> {
        self.find(
            |payload| {
                if let Payload::Cp { kind, attributes } = payload { Some((*kind, &attributes[..])) } else { None }
            },
        )
    }

    /// The notifications in order.
    pub fn notifies(&self) -> impl Iterator<Item = &Notify<'a>> {
        self.payloads
            .iter()
            .filter_map(|(_, payload)| if let Payload::Notify(notify) = payload { Some(notify) } else { None })
    }

    /// The first notification of one type.
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify<'a>> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// The first notification of an error.
    pub fn error(&self) -> Option<&Notify<'a>> {
        self.notifies().find(|notify| notify.kind.is_error())
    }

    /// The Delete payloads in order.
    pub fn deletes(&self) -> impl Iterator<Item = &super::Delete<'a>> {
        self.payloads
            .iter()
            .filter_map(|(_, payload)| if let Payload::Delete(delete) = payload { Some(delete) } else { None })
    }

    /// The Vendor IDs in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &'a [u8]> {
        self.payloads
            .iter()
            .filter_map(|(_, payload)| if let Payload::VendorId(octets) = payload { Some(*octets) } else { None })
    }

    /// The Encrypted or Encrypted Fragment payload, which is the last if there is one.
    pub fn encrypted(&self) -> Option<&Payload<'a>> {
        self.payloads
            .last()
            .map(|(_, payload)| payload)
            .filter(|payload| matches!(payload, Payload::Encrypted { .. } | Payload::EncryptedFragment { .. }))
    }

    /// The types that are there, skipped ones included.
    pub fn set(&self) -> PayloadSet {
        self.payloads.iter().map(|(kind, _)| *kind).chain(self.skipped.iter().copied()).collect()
    }
}

/// A whole datagram taken apart as far as it can be read without keys, for those who look on: nothing is refused that can
/// be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    /// The payloads in order, those that are not understood included.
    pub payloads: Vec<Payload<'a>>,
    /// The first payload type that is critical and not understood.
    pub unknown_critical: Option<PayloadType>,
}

impl<'a> Message<'a> {
    /// Reads one IKEv2 datagram (without the non-ESP marker of UDP port 4500).
    ///
    /// # Errors
    /// The first thing wrong; another major version is [`Field::Header`] with the version octet as value.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (header, chain) = Header::split(datagram)?;
        if header.version.major() != 2 {
            let why = crate::Why::Value { found: header.version.0.into(), expected: crate::Version::V2.0.into() };
            return Err(ParseError::new(17, Field::Header, why));
        }
        let mut message = Self { header, payloads: Vec::new(), unknown_critical: None };
        for raw in Payloads::new(header.next_payload, chain, HEADER_LEN) {
            let raw = raw?;
            let payload = parse_payload(raw)?;
            if raw.critical && matches!(payload, Payload::Unknown { .. }) {
                message.unknown_critical.get_or_insert(raw.kind);
            }
            message.payloads.push(payload);
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChainBuilder;
    use super::*;
    use crate::registry::ProtocolId;

    #[test]
    fn payloads_that_are_not_understood_are_skipped_unless_critical() {
        let chain = |kind: u8, critical| {
            let mut builder = ChainBuilder::new();
            builder.nonce(&[1; 16]).raw(PayloadType(kind), critical, &[9]).vendor_id(b"x");
            builder.finish()
        };
        let (first, octets) = chain(200, false);
        let parsed = parse_chain(first, &octets, 28).unwrap();
        assert_eq!((parsed.payloads.len(), &parsed.skipped[..]), (2, &[PayloadType(200)][..]));
        assert_eq!(parsed.set(), PayloadSet::of(&[PayloadType::NONCE, PayloadType::VENDOR_ID, PayloadType(200)]));
        let (first, octets) = chain(200, true);
        assert_eq!(parse_chain(first, &octets, 28), Err(ChainError::UnsupportedCritical(PayloadType(200))));
        // The bit is ignored where the type is understood.
        let (first, octets) = chain(43, true);
        assert_eq!(parse_chain(first, &octets, 28).unwrap().vendor_ids().count(), 2);
    }

    #[test]
    fn single_payloads_are_single() {
        let mut builder = ChainBuilder::new();
        builder.nonce(&[1; 16]).nonce(&[2; 16]);
        let (first, octets) = builder.finish();
        let error = parse_chain(first, &octets, 28).unwrap_err();
        assert_eq!(error, ChainError::Duplicate { kind: PayloadType::NONCE, at: 48 });
        assert_eq!(error.to_string(), "octet 48: a second NONCE payload, only one is allowed");
        let mut builder = ChainBuilder::new();
        builder.notify(ProtocolId::NONE, &[], NotifyType::COOKIE, b"1").delete_ike();
        builder.notify(ProtocolId::NONE, &[], NotifyType::INVALID_SYNTAX, b"").delete_ike();
        let (first, octets) = builder.finish();
        let chain = parse_chain(first, &octets, 0).unwrap();
        assert_eq!((chain.notifies().count(), chain.deletes().count()), (2, 2));
        assert_eq!(chain.notify(NotifyType::COOKIE).unwrap().data, b"1");
        assert_eq!(chain.error().unwrap().kind, NotifyType::INVALID_SYNTAX);
        assert!(chain.nonce().is_none() && chain.encrypted().is_none());
    }

    #[test]
    fn a_malformed_payload_is_located() {
        let error = parse_chain(PayloadType::NONCE, &[0, 0, 0, 5, 1], 28).unwrap_err();
        assert!(matches!(error, ChainError::Malformed(ParseError { at: 32, what: Field::Nonce, .. })));
    }
}
