//! Algorithms and key schedules of IKE and ESP.
//!
//! The primitives come from AWS-LC (and from RustCrypto HMAC, which is twice as fast on the short messages of IKE, and the
//! two ciphers that AWS-LC lacks).
//! What is written here is what the RFCs put around them: which key has which length, what is authenticated, where the
//! IV comes from, how keys are derived.
//!
//! | module | what |
//! |---|---|
//! | [`Cipher`], [`Integrity`], [`Prf`] | negotiated identifiers resolved to algorithms, with their lengths |
//! | [`KeyExchange`] | an ephemeral private value and what it agrees with the peer |
//! | [`Protection`] | the Encrypted payload of IKEv2 |
//! | [`EspSealer`], [`EspOpener`] | ESP packets in place |
//! | [`Puzzle`], [`PuzzleSolver`] | work that an initiator is asked for in a flood |
//! | [`PrivateKey`], [`PublicKey`], [`Scheme`] | signatures of IKE, in all the forms the two versions have |
//! | [`RawKey`] | public keys without a certificate |
//! | [`Certificate`], [`trust`] | X.509: reading, and paths to an authority |
//! | [`v1`] | key schedule, hashes and encryption of IKEv1 |
//! | [`v2`] | key schedule and authentication values of IKEv2 |
//!
//! Nothing in this crate draws randomness by itself: it is an argument ([`Random`]), so that a seeded source reproduces
//! a run.

mod address_blocks;
mod algorithms;
mod awslc;
mod block_mac;
mod cbc;
mod ccm;
mod certificate;
mod container;
mod error;
mod esp;
mod key_exchange;
mod mac;
mod protection;
mod puzzle;
mod random;
mod raw_key;
mod revocation_list;
mod signature;
#[cfg(test)]
mod testing;
mod transform;
pub mod trust;
pub mod v1;
pub mod v2;

pub use address_blocks::{AddressBlocks, AddressRange};
pub use algorithms::{Cipher, Integrity, Prf};
pub use certificate::{AltName, Certificate, InvalidCertificate, armour};
pub use container::{Container, InvalidContainer};
pub use error::{BadKey, BadPublicValue, OpenError, Unsupported};
pub use esp::{EspOpener, EspSealer};
pub use key_exchange::KeyExchange;
pub use mac::{MacKey, equal, sha1};
pub use protection::Protection;
pub use puzzle::{PUZZLE_KEYS, Puzzle, PuzzleSolver};
pub use random::{Random, SystemRandom};
pub use raw_key::{InvalidPublicKey, RawKey, armour_key};
pub use revocation_list::{InvalidRevocationList, RevocationList};
pub use signature::{InvalidPrivateKey, KeyKind, PrivateKey, PublicKey, Scheme};
