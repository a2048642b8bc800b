//! The payloads of one message, in the clear or decrypted.

use std::fmt;

use super::{Attributes, Delete, Id, Notify, Payload, Sa, parse_payload};
use crate::error::{Field, ParseError, Why};
use crate::grammar::PayloadSet;
use crate::payloads::{Payloads, RawPayload};
use crate::registry::{PayloadType, V1NotifyType};

/// How often a payload may be in a message, where that is limited. A second SA payload is what RFC 2409 section 5.5 allows
/// in Quick Mode for several SAs at once; that is not supported. Quick Mode has two identities.
const fn limit(kind: PayloadType) -> Option<usize> {
    match kind {
        PayloadType::V1_SA
        | PayloadType::V1_KE
        | PayloadType::V1_HASH
        | PayloadType::V1_SIG
        | PayloadType::V1_NONCE
        | PayloadType::V1_ATTRIBUTES
        | PayloadType::V1_FRAGMENT => Some(1),
        PayloadType::V1_ID => Some(2),
        _ => None,
    }
}

/// A checked chain: every payload understood, none there more often than it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain<'a> {
    /// The payloads in order: as they were sent, and what they mean.
    pub payloads: Vec<(RawPayload<'a>, Payload<'a>)>,
    /// The octets of the payloads with their generic headers, without padding.
    pub octets: &'a [u8],
    /// Octets after the last payload: the padding of an encrypted message.
    pub padding: usize,
    /// Whether a RESERVED octet of a generic header was not zero, which RFC 2408 section 3.2 requires. Harmless in a
    /// message that is in the clear or authenticated; in one that was only decrypted, a sign of a wrong key.
    pub reserved: bool,
    base: usize,
}

/// Why a whole chain was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// A payload breaks the format.
    Malformed(ParseError),
    /// A payload of a type that IKEv1 does not have or that is not understood. IKEv1 has no way to skip one
    /// (RFC 2408 section 5.3).
    InvalidPayloadType {
        /// The type.
        kind: PayloadType,
        /// Octet offset of its generic header.
        at: usize,
    },
    /// A payload is there more often than it may be.
    Duplicate {
        /// Its type.
        kind: PayloadType,
        /// Octet offset of the superfluous one.
        at: usize,
    },
}

impl ChainError {
    /// The notification that tells the peer (RFC 2408 sections 5.3 to 5.15).
    pub const fn notify(&self) -> V1NotifyType {
        match self {
            Self::InvalidPayloadType { .. } => V1NotifyType::INVALID_PAYLOAD_TYPE,
            Self::Malformed(ParseError { what: Field::Doi, why: Why::Value { .. }, .. }) => {
                V1NotifyType::DOI_NOT_SUPPORTED
            }
            Self::Malformed(ParseError { what: Field::Situation, why: Why::Value { .. }, .. }) => {
                V1NotifyType::SITUATION_NOT_SUPPORTED
            }
            Self::Malformed(_) | Self::Duplicate { .. } => V1NotifyType::PAYLOAD_MALFORMED,
        }
    }
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
            Self::InvalidPayloadType { kind, at } => {
                write!(f, "octet {at}: payload type {} is not understood, and IKEv1 cannot skip it", kind.0)
            }
            Self::Duplicate { kind, at } => {
                let limit = limit(*kind).unwrap_or_default();
                write!(f, "octet {at}: one {kind} payload more than the {limit} allowed")
            }
        }
    }
}

impl std::error::Error for ChainError {}

/// Reads the chain in `chain`, which begins with a payload of type `first`; offsets are counted from `base`:
/// [`HEADER_LEN`](crate::HEADER_LEN) behind a header, 0 where decrypted content stands alone. With `padded` any octets may
/// follow the last payload, as they do in decrypted content (RFC 2409 appendix B: zeros; some peers send others).
///
/// # Errors
/// The first thing wrong, in the order of the octets.
pub fn parse_chain(first: PayloadType, chain: &[u8], base: usize, padded: bool) -> Result<Chain<'_>, ChainError> {
    let mut result = Chain { base, ..Chain::default() };
    let mut end = 0;
    for raw in Payloads::new(first, chain, base) {
        let raw = match raw {
            Err(ParseError { what: Field::PayloadChain, why: Why::Trailing { octets }, .. })
                if padded || aligns(chain, octets) =>
            {
                result.padding = octets;
                break;
            }
            raw => raw?,
        };
        let payload = parse_payload(raw)?;
        if matches!(payload, Payload::Unknown { .. }) {
            return Err(ChainError::InvalidPayloadType { kind: raw.kind, at: raw.offset });
        }
        if limit(raw.kind).is_some_and(|limit| result.of(raw.kind).count() >= limit) {
            return Err(ChainError::Duplicate { kind: raw.kind, at: raw.offset });
        }
        let start = raw.offset.saturating_sub(base);
        result.reserved |= chain.get(start + 1).is_some_and(|reserved| *reserved != 0);
        end = start + (raw.body_offset() - raw.offset) + raw.body.len();
        result.payloads.push((raw, payload));
    }
    result.octets = chain.get(..end).unwrap_or_default();
    Ok(result)
}

/// Whether the last octets are what RFC 2408 section 3.6 has added to a message in the clear, whose payloads are of any
/// length: padding that makes it a multiple of four octets long. libreswan sends it, as zeros.
fn aligns(chain: &[u8], octets: usize) -> bool {
    let padding = chain.len().checked_sub(octets).and_then(|at| chain.get(at..)).unwrap_or_default();
    padding.len() < 4 && chain.len().is_multiple_of(4) && padding.iter().all(|octet| *octet == 0)
}

/// What follows the first payload, by the lengths in the generic headers and without padding: what HASH(1) and HASH(2)
/// cover where the first payload is the Hash (RFC 2409 sections 5.5 and 5.7). Contents are not looked at. `None` where the
/// chain is empty or does not add up.
pub fn after_first_payload(first: PayloadType, chain: &[u8]) -> Option<&[u8]> {
    let mut ends = Vec::new();
    for raw in Payloads::new(first, chain, 0) {
        match raw {
            Ok(raw) => ends.push(raw.body_offset() + raw.body.len()),
            Err(ParseError { what: Field::PayloadChain, why: Why::Trailing { .. }, .. }) => break,
            Err(_) => return None,
        }
    }
    chain.get(*ends.first()?..*ends.last()?)
}

impl<'a> Chain<'a> {
    fn of(&self, kind: PayloadType) -> impl Iterator<Item = &(RawPayload<'a>, Payload<'a>)> {
        self.payloads.iter().filter(move |(raw, _)| raw.kind == kind)
    }

    fn find<'s, T>(&'s self, pick: impl FnMut(&'s Payload<'a>) -> Option<T>) -> Option<T> {
        self.payloads.iter().map(|(_, payload)| payload).find_map(pick)
    }

    /// The Security Association payload.
    pub fn sa(&self) -> Option<&Sa> {
        self.find(|payload| if let Payload::Sa(sa) = payload { Some(sa) } else { None })
    }

    /// The public value of the Key Exchange payload.
    pub fn ke(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::Ke(ke) = payload { Some(*ke) } else { None })
    }

    /// The nonce.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::Nonce(nonce) = payload { Some(*nonce) } else { None })
    }

    /// The identities in order. Phase 1 has one, number 0; Quick Mode has none or IDci, number 0, and IDcr, number 1
    /// (RFC 2409 section 5.5).
    pub fn id(&self, number: usize) -> Option<Id<'a>> {
        let mut ids = self.payloads.iter().filter_map(|(_, p)| if let Payload::Id(id) = p { Some(*id) } else { None });
        ids.nth(number)
    }

    /// The Hash payload.
    pub fn hash(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::Hash(hash) = payload { Some(*hash) } else { None })
    }

    /// The Signature payload.
    pub fn sig(&self) -> Option<&'a [u8]> {
        self.find(|payload| if let Payload::Sig(signature) = payload { Some(*signature) } else { None })
    }

    /// The certificates in order, each with its encoding.
    pub fn certs(&self) -> impl Iterator<Item = (crate::CertEncoding, &'a [u8])> {
        self.payloads
            .iter()
            .filter_map(|(_, p)| if let Payload::Cert { encoding, data } = p { Some((*encoding, *data)) } else { None })
    }

    /// The certificate requests in order: the encoding asked for, and the authority's name, which may be empty.
    pub fn cert_requests(&self) -> impl Iterator<Item = (crate::CertEncoding, &'a [u8])> {
        self.payloads.iter().filter_map(|(_, p)| match p {
            Payload::CertReq { encoding, authority } => Some((*encoding, *authority)),
            _ => None,
        })
    }

    /// The notifications in order.
    pub fn notifies(&self) -> impl Iterator<Item = &Notify<'a>> {
        self.payloads.iter().filter_map(|(_, p)| if let Payload::Notify(notify) = p { Some(notify) } else { None })
    }

    /// The first notification of one type.
    pub fn notify(&self, kind: V1NotifyType) -> Option<&Notify<'a>> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// The first notification of an error.
    pub fn error(&self) -> Option<&Notify<'a>> {
        self.notifies().find(|notify| notify.kind.is_error())
    }

    /// The Delete payloads in order.
    pub fn deletes(&self) -> impl Iterator<Item = &Delete<'a>> {
        self.payloads.iter().filter_map(|(_, p)| if let Payload::Delete(delete) = p { Some(delete) } else { None })
    }

    /// The Vendor IDs in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &'a [u8]> {
        self.payloads.iter().filter_map(|(_, p)| if let Payload::VendorId(octets) = p { Some(*octets) } else { None })
    }

    /// The hashes of the NAT-D payloads in order, of both payload types: first that of the destination, then those of the
    /// source (RFC 3947 section 3.2).
    pub fn nat_d(&self) -> impl Iterator<Item = &'a [u8]> {
        self.payloads.iter().filter_map(|(_, p)| if let Payload::NatD(hash) = p { Some(*hash) } else { None })
    }

    /// The original addresses in order, of both payload types: NAT-OAi, NAT-OAr (RFC 3947 section 5.2).
    pub fn nat_oa(&self) -> impl Iterator<Item = Id<'a>> {
        self.payloads.iter().filter_map(|(_, p)| if let Payload::NatOa(id) = p { Some(*id) } else { None })
    }

    /// The Attributes payload of Mode-Config and XAuth.
    pub fn attributes(&self) -> Option<&Attributes<'a>> {
        self.find(|payload| if let Payload::Attributes(attributes) = payload { Some(attributes) } else { None })
    }

    /// The fragment, which is alone in its message.
    pub fn fragment(&self) -> Option<super::Fragment<'a>> {
        self.find(|payload| if let Payload::Fragment(fragment) = payload { Some(*fragment) } else { None })
    }

    /// The body of the first payload of a type as it was sent, without its generic header: SAi_b, IDii_b and so on
    /// (RFC 2409 section 3.2).
    pub fn raw(&self, kind: PayloadType) -> Option<&'a [u8]> {
        self.of(kind).map(|(raw, _)| raw.body).next()
    }

    /// Type of the first payload. It must be the Hash in Quick Mode, Transaction and encrypted Informational messages
    /// (RFC 2409 sections 5.5 and 5.7).
    pub fn first(&self) -> Option<PayloadType> {
        self.payloads.first().map(|(raw, _)| raw.kind)
    }

    /// Octet offset of payload number `index`'s generic header, counted as in [`parse_chain`].
    pub fn payload_offset(&self, index: usize) -> Option<usize> {
        self.payloads.get(index).map(|(raw, _)| raw.offset)
    }

    /// The octets after payload number `index`, without padding; empty where it is the last.
    pub fn after(&self, index: usize) -> Option<&'a [u8]> {
        let (raw, _) = self.payloads.get(index)?;
        self.octets.get((raw.body_offset() + raw.body.len()).checked_sub(self.base)?..)
    }

    /// The types that are there. The drafts' NAT-D and NAT-OA count as RFC 3947's.
    pub fn set(&self) -> PayloadSet {
        self.payloads.iter().map(|(_, payload)| payload.kind()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChainBuilder, NatTraversal};
    use super::*;
    use crate::registry::{ProtocolId, V1IdType};

    #[test]
    fn a_message_in_the_clear_may_be_padded_to_four_octets() {
        for length in 8..16 {
            let mut builder = ChainBuilder::new();
            builder.nonce(&vec![7; length]);
            let (first, octets) = builder.finish();
            let parse = |padding: &[u8]| {
                let all = [&octets[..], padding].concat();
                parse_chain(first, &all, 28, false).map(|chain| (chain.padding, chain.octets.len()))
            };
            let missing = octets.len().next_multiple_of(4) - octets.len();
            for padding in 0..9 {
                let zeros = vec![0; padding];
                let good = padding == 0 || padding == missing;
                assert_eq!(parse(&zeros).ok(), good.then_some((padding, octets.len())), "{length} and {padding}");
            }
            assert!(missing == 0 || parse(&vec![1; missing]).is_err(), "{length}");
        }
    }

    #[test]
    fn octets_are_kept_as_they_were_sent() {
        let mut builder = ChainBuilder::new();
        builder.hash(&[9; 20]).nonce(&[1; 16]).id(V1IdType::IPV4_ADDR, 17, 500, &[192, 0, 2, 1]);
        builder.id(V1IdType::IPV4_ADDR, 0, 0, &[192, 0, 2, 2]);
        let (first, mut octets) = builder.finish();
        let length = octets.len();
        octets.extend_from_slice(&[0xee; 12]);
        assert!(matches!(
            parse_chain(first, &octets, 28, false),
            Err(ChainError::Malformed(ParseError { why: Why::Trailing { octets: 12 }, .. }))
        ));
        for base in [0, 28] {
            let chain = parse_chain(first, &octets, base, true).unwrap();
            assert_eq!((chain.octets, chain.padding, chain.reserved), (&octets[..length], 12, false));
            assert_eq!((chain.first(), chain.payload_offset(1)), (Some(PayloadType::V1_HASH), Some(base + 24)));
            assert_eq!(chain.after(0), Some(&octets[24..length]));
            assert_eq!(chain.after(0), after_first_payload(first, &octets));
            assert_eq!((chain.after(3), chain.after(4)), (Some(&[][..]), None));
            assert_eq!(chain.raw(PayloadType::V1_ID), Some(&[1, 17, 1, 244, 192, 0, 2, 1][..]));
            assert_eq!(chain.id(0).unwrap().port, 500);
            assert_eq!(chain.id(1).unwrap().data, [192, 0, 2, 2]);
            assert!(chain.id(2).is_none() && chain.sa().is_none());
            let kinds = [PayloadType::V1_HASH, PayloadType::V1_NONCE, PayloadType::V1_ID];
            assert_eq!(chain.set(), PayloadSet::of(&kinds));
        }
        octets[1] = 1;
        assert!(parse_chain(first, &octets, 0, true).unwrap().reserved);
        octets[2] = 0xff;
        assert_eq!(after_first_payload(first, &octets), None);
        assert_eq!(after_first_payload(PayloadType::NONE, &[]), None);
        assert_eq!(after_first_payload(PayloadType::V1_HASH, &[0, 0, 0, 5, 1, 0, 0]), Some(&[][..]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for kind in [2, 3, 15, 22, 34, 46, 53, 133, 255] {
            let mut builder = ChainBuilder::new();
            builder.nonce(&[1; 16]).raw(PayloadType(kind), b"12345678");
            let (first, octets) = builder.finish();
            let error = parse_chain(first, &octets, 28, true).unwrap_err();
            assert_eq!(error, ChainError::InvalidPayloadType { kind: PayloadType(kind), at: 48 });
            assert_eq!(error.notify(), V1NotifyType::INVALID_PAYLOAD_TYPE);
        }
        let doi = parse_chain(PayloadType::V1_SA, &[0, 0, 0, 8, 0, 0, 0, 2], 0, false).unwrap_err();
        assert_eq!(doi.notify(), V1NotifyType::DOI_NOT_SUPPORTED);
        let nonce = parse_chain(PayloadType::V1_NONCE, &[0, 0, 0, 5, 1], 0, false).unwrap_err();
        assert_eq!(nonce.notify(), V1NotifyType::PAYLOAD_MALFORMED);
    }

    #[test]
    fn payloads_are_there_as_often_as_they_may_be() {
        let mut builder = ChainBuilder::new();
        for _ in 0..2 {
            builder.vendor_id(b"v").nat_d(NatTraversal::Draft, &[3; 20]);
            builder.id(V1IdType::FQDN, 0, 0, b"a").delete(ProtocolId::ESP, &[[1; 4]]);
            builder.notify(ProtocolId::IKE, &[], V1NotifyType::INITIAL_CONTACT, &[]);
        }
        let (first, octets) = builder.clone().finish();
        let chain = parse_chain(first, &octets, 0, false).unwrap();
        assert_eq!((chain.vendor_ids().count(), chain.nat_d().count(), chain.deletes().count()), (2, 2, 2));
        assert_eq!(chain.payloads[1].0.kind, PayloadType::V1_NAT_D_DRAFT);
        assert!(chain.set().contains(PayloadType::V1_NAT_D) && chain.error().is_none());
        assert!(chain.notify(V1NotifyType::INITIAL_CONTACT).is_some());
        let at = octets.len();
        builder.id(V1IdType::FQDN, 0, 0, b"b");
        let (first, octets) = builder.finish();
        let error = parse_chain(first, &octets, 0, false).unwrap_err();
        assert_eq!(error, ChainError::Duplicate { kind: PayloadType::V1_ID, at });
        assert_eq!(error.to_string(), format!("octet {at}: one V1_ID payload more than the 2 allowed"));
    }
}
