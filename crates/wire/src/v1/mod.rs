//! IKEv1 payloads (RFC 2408 section 3, RFC 2407 section 4.6, RFC 3947): from octets, and to octets.
//!
//! IKEv1 authenticates octets as they were sent, not values: a [`Chain`] therefore keeps the raw body of each payload
//! beside what it means. Encrypted messages are a chain like any other once they are decrypted, followed by padding that
//! only the chain itself tells from payloads.

mod build;
mod chain;
mod payload;
mod sa;
mod vendor;
mod vendor_names;

pub use build::{ChainBuilder, message, padded_message};
pub use chain::{Chain, ChainError, after_first_payload, parse_chain};
pub use payload::{Attributes, Delete, Fragment, Id, Notify, Payload, parse_payload};
pub use sa::{AttributeValue, Proposal, Sa, Transform, parse_sa};
pub use vendor::{NatTraversal, STRONGSWAN_VENDOR_ID, VendorId, vendor_name};

use crate::error::ParseError;
use crate::header::{Flags, HEADER_LEN, Header};
use crate::payloads::Payloads;
use crate::registry::ProtocolId;

/// The IPsec Domain of Interpretation (RFC 2407 section 4.2).
pub const DOI_IPSEC: u32 = 1;

/// SIT_IDENTITY_ONLY, the one situation in use (RFC 2407 section 4.2.1).
pub const SIT_IDENTITY_ONLY: u32 = 1;

/// Protocol ISAKMP: the ISAKMP SA itself (RFC 2407 section 4.4.1). AH and ESP have the numbers of [`ProtocolId`], too.
pub const PROTO_ISAKMP: ProtocolId = ProtocolId::IKE;

/// Protocol IPCOMP (RFC 2407 section 4.4.1); in IKEv2 the number means something else.
pub const PROTO_IPCOMP: ProtocolId = ProtocolId(4);

/// Octets a nonce may have (RFC 2409 section 5).
pub const NONCE_LEN: std::ops::RangeInclusive<usize> = 8..=256;

/// The payloads of an IKEv1 datagram, `None` where they are encrypted.
///
/// # Errors
/// As [`Header::parse`].
pub fn payloads(datagram: &[u8]) -> Result<(Header, Option<Payloads<'_>>), ParseError> {
    let (header, chain) = Header::split(datagram)?;
    let clear = !header.flags.contains(Flags::ENCRYPTION);
    Ok((header, clear.then(|| Payloads::new(header.next_payload, chain, HEADER_LEN))))
}
