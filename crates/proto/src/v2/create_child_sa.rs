//! CREATE_CHILD_SA (RFC 7296 section 1.3), as an end that makes no further SAs answers it.
//!
//! ```text
//! HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}  -->
//!                                             <--  HDR, SK {N(NO_ADDITIONAL_SAS)}
//! ```
//!
//! RFC 7296 section 4 allows this to a minimal implementation; a peer that wants to rekey then begins a new IKE SA.

use super::exchange::{Request, Verdict};
use super::sa::IkeSa;
use crate::context::Context;
use wire::grammar::RuleId;
use wire::v2::ChainBuilder;
use wire::{NotifyType, ProtocolId};

pub(super) fn request(sa: &mut IkeSa, cx: &mut Context, request: &Request<'_>) -> (ChainBuilder, Verdict) {
    let mut reply = ChainBuilder::new();
    if !sa.is_established() {
        // RFC 7296 section 2.25: TEMPORARY_FAILURE is for requests that cannot be served just now; an SA that is not
        // authenticated, or is being deleted, serves none.
        reply.notify(ProtocolId::NONE, &[], NotifyType::TEMPORARY_FAILURE, &[]);
        return (reply, Verdict::Keep);
    }
    let what = if request.rule == RuleId::CreateChildSaIkeRekeyRequest {
        "to rekey the IKE SA"
    } else if request.chain.notify(NotifyType::REKEY_SA).is_some() {
        "to rekey a Child SA"
    } else {
        "another Child SA"
    };
    sa.log(cx, "IKE", 1, format!("the peer asks {what}: refused with NO_ADDITIONAL_SAS, it may begin a new IKE SA"));
    reply.notify(ProtocolId::NONE, &[], NotifyType::NO_ADDITIONAL_SAS, &[]);
    (reply, Verdict::Keep)
}
