//! IKEv1 (RFC 2409 over ISAKMP, RFC 2408): one ISAKMP SA, from its first message to its end.
//!
//! | module | exchange |
//! |---|---|
//! | [`identity_protection`] | phase 1, main mode (RFC 2409 section 5, RFC 2408 section 4.5) |
//! | [`aggressive`] | phase 1, aggressive mode |
//! | [`quick_mode`] | phase 2 (RFC 2409 section 5.5) |
//! | [`fragments`] | messages in pieces |
//! | [`informational`] | Delete, Notify, dead peer detection (RFC 3706) |
//! | [`phase1`] | what both modes share: proposals, keys, identities, HASH_I and HASH_R |
//! | [`transaction`] | XAuth and Mode-Config, between the phases |
//! | [`protection`] | CBC with an IV chain per message ID, HASH(n) (RFC 2409 sections 5 and 5.7, appendix B) |

mod aggressive;
mod authentication;
mod fragments;
mod identity_protection;
mod informational;
mod nat;
mod phase1;
mod proposals;
mod protection;
mod quick_mode;
mod sa;
mod selectors;
mod transaction;
mod unity;

pub(crate) use informational::{delete_child, delete_isakmp, delete_isakmp_alone, deleted_by_peer, probe};
pub(crate) use phase1::{FirstMessage, Response, Wish, add_child, begin_wanted, initiate, respond};
pub(crate) use quick_mode::{child_lifetime, next_quick_mode, rekey};
pub(crate) use sa::IsakmpSa;
pub(crate) use transaction::retransmit;
