//! Traffic selectors and the addresses that the peer's certificate is for (RFC 3779). A responder narrows by them as by its own
//! selectors; an initiator, who offers before it knows the certificate, takes of the answer what they allow.

use super::sa::IkeSa;
use crate::child::Agreed;
use model::{FailureKind, Side, narrow};

/// Of what the responder answered, what its certificate is for.
pub(super) fn certified_only(sa: &IkeSa, mut agreed: Agreed) -> Result<Agreed, FailureKind> {
    let Some(certified) = &sa.certified else { return Ok(agreed) };
    let narrowed = narrow(certified, &agreed.selectors.remote);
    if narrowed.is_empty() {
        return Err(FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local: agreed.selectors.local.clone(),
            remote: certified.to_vec(),
            peer_local: agreed.selectors.remote,
            peer_remote: agreed.selectors.local,
        });
    }
    agreed.selectors.remote = narrowed;
    Ok(agreed)
}
