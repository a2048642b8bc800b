//! What has to be fetched before a proof can be judged: certificates of which the peer sent hash and URL (RFC 7296 section
//! 3.6), and revocation lists. Meanwhile the message waits.

use super::exchange::Request;
use super::ike_auth;
use super::sa::IkeSa;
use crate::context::Context;
use model::{FailureKind, Instant};
use wire::v2::Chain;

/// Whether the responder's proof cannot be judged before something is fetched, which is under way then.
pub(super) fn waits(sa: &IkeSa, cx: &mut Context, now: Instant, response: &Request<'_>) -> bool {
    if waits_for_certificates(sa, cx, now, response.chain) {
        return true;
    }
    // Only where it is known where lists are: a proof is checked twice then.
    let sent = cx.credentials.sent(response.chain.certs()).unwrap_or_default();
    if !cx.credentials.knows_places() && sent.iter().all(|c| c.crl_uris().is_empty()) {
        return false;
    }
    match ike_auth::check_response(sa, cx, now, response) {
        Err(refused) => waits_for_lists(sa, cx, now, &refused, response.chain),
        _ => false,
    }
}

/// Whether a certificate is looked up that the peer sent the hash and the URL of (RFC 7296 section 3.6).
pub(super) fn waits_for_certificates(sa: &IkeSa, cx: &mut Context, now: Instant, chain: &Chain<'_>) -> bool {
    if !cx.settings.hash_and_url {
        return false;
    }
    let uris = cx.credentials.certificates_wanted(chain.certs());
    let waits = cx.await_certificates(now, &uris);
    if waits {
        sa.log(cx, "IKE", 1, format!("waiting for a certificate: {}", uris.join(" ")));
    }
    waits
}

pub(super) fn waits_for_lists(
    sa: &IkeSa,
    cx: &mut Context,
    now: Instant,
    refused: &FailureKind,
    chain: &Chain<'_>,
) -> bool {
    let uris = cx.credentials.lists_wanted(now, refused, chain.certs());
    let waits = cx.await_lists(now, &uris);
    if waits {
        sa.log(cx, "IKE", 1, format!("waiting for a revocation list: {}", uris.join(" ")));
    }
    waits
}
