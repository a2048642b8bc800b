//! IKEv2 payloads (RFC 7296 section 3): from octets, and to octets.

mod build;
mod chain;
mod payload;
mod sa;
mod seal;
mod ts;

pub use build::{ChainBuilder, message};
pub use chain::{Chain, ChainError, Message, parse_chain};
pub use payload::{ConfigAttribute, Delete, Id, KeyExchange, Notify, Payload, parse_payload};
pub use sa::{Proposal, Transform};
pub use seal::{SealedLayout, seal_fragment_layouts, seal_layout, strip_padding};
pub use ts::TrafficSelector;

/// The Key Length transform attribute (RFC 7296 section 3.3.5).
pub const KEY_LENGTH: u16 = 14;

/// Octets a nonce may have (RFC 7296 section 3.9).
pub const NONCE_LEN: std::ops::RangeInclusive<usize> = 16..=256;
