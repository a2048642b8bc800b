//! IKEv2 (RFC 7296): one IKE SA, from its first message to its end.
//!
//! | module | exchange |
//! |---|---|
//! | [`ike_sa_init`] | IKE_SA_INIT, section 1.2 |
//! | [`puzzle`] | cookies and puzzles (RFC 8019) within that |
//! | [`auth_puzzle`] | puzzles before IKE_AUTH, as responder (RFC 8019 section 7.2) |
//! | [`ike_auth`] | IKE_AUTH, section 1.2 |
//! | [`certificate_request`] | Certificate Request payloads, section 3.7 |
//! | [`childless`] | IKE_AUTH without a Child SA (RFC 6023) |
//! | [`configuration`] | Configuration payloads in IKE_AUTH, sections 2.19 and 3.15 |
//! | [`create_child_sa`] | CREATE_CHILD_SA for Child SAs, sections 1.3.1 and 1.3.3 |
//! | [`rekey_ike_sa`] | CREATE_CHILD_SA for the IKE SA, section 1.3.2 |
//! | [`terms`] | what both of these say of a Child SA beside proposals and selectors, sections 1.3.1 and 2.9 |
//! | [`refused`] | Child SAs that are asked for again after a refusal |
//! | [`informational`] | INFORMATIONAL, section 1.4 |
//! | [`mobility`] | MOBIKE (RFC 4555), within INFORMATIONAL |
//! | [`crash`] | quick crash detection (RFC 6290), within all protected exchanges and after a restart |
//! | [`redirect`] | going to another gateway (RFC 5685), within all exchanges but CREATE_CHILD_SA |
//! | [`certified`] | traffic selectors and the addresses that a certificate is for (RFC 3779) |
//! | [`auth_lifetime`] | the time after which to authenticate anew (RFC 4478), within IKE_AUTH and INFORMATIONAL |
//! | [`fragments`] | messages in several datagrams (RFC 7383) |
//! | [`window`] | the peer's requests in any order, and our answers (section 2.3) |
//! | [`exchange`] | what they share: message IDs, retransmission, protection, grammar (sections 2.1 to 2.3) |

mod auth_lifetime;
mod auth_puzzle;
mod certificate_request;
mod certified;
mod childless;
mod configuration;
mod cookie;
mod crash;
mod create_child_sa;
mod exchange;
mod farewell;
mod fetching;
mod fragments;
mod ike_auth;
mod ike_sa_init;
mod informational;
mod keys;
mod mobility;
mod nat;
mod one_of_two;
mod outstanding;
mod puzzle;
mod redirect;
mod refused;
mod rekey_ike_sa;
mod sa;
mod terms;
mod unsettled;
mod window;

use crate::child;

pub(crate) use auth_lifetime::{Hasty, note_end, require, tell_now};
pub(crate) use auth_puzzle::Senseless;
pub(crate) use configuration::wishes;
pub(crate) use crash::{Claim, TokenMaker, answer_unknown, claim, either_known};
pub(crate) use create_child_sa::{Creating, child_lifetime, further_child, only_for, triggered_by};
pub(crate) use exchange::{Path, Task, Verdict};
pub(crate) use farewell::{prepare as prepare_farewell, send as send_farewell};
pub(crate) use ike_sa_init::{FirstMessage, Response, Wish, initiate, notify_only, puzzle_solved, respond, response};
pub(crate) use informational::force_child;
pub use mobility::Movable;
pub use puzzle::PuzzleJob;
pub(crate) use puzzle::{Demand, Gate, Passage, admit};
pub use redirect::Gateway;
pub(crate) use redirect::Redirection;
pub(crate) use refused::{ask_now, due};
pub(crate) use sa::{IkeSa, State};
pub(crate) use unsettled::{PATIENCE, STAYS, doubtful, prove_children};
