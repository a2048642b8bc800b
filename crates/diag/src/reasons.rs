//! The codes that a daemon gives the end of an SA ([`FailureKind::code`]), for those who ask what one means.

use crate::Cause;
use Cause as C;
use std::fmt;

/// What a code of [`model::FailureKind`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The code, as `shrike show` and the log print it.
    pub code: &'static str,
    /// What has happened.
    pub means: &'static str,
    /// The cause whose page says more; none where nothing is wrong, or only this host knows.
    pub cause: Option<Cause>,
}

/// All codes that an SA may end with.
const REASONS: [Reason; 48] = [
    of("PEER_ID_UNKNOWN", "no connection here expects the identity that the peer has proven or given", C::PeerId),
    of("LOCAL_ID_UNKNOWN", "the peer asks for an identity that is not ours", C::PeerId),
    of("PEER_ID_MISMATCH", "the responder has another identity than our connection expects", C::PeerId),
    of("PSK_MISMATCH", "the peer's proof, or what it encrypted, does not fit our pre-shared key", C::PskMismatch),
    of("XAUTH_FAILED", "a user was not taken in XAuth: unknown name or wrong password", C::AuthFailed),
    of("PSK_MISSING", "there is no pre-shared key here for the two identities", C::PskMismatch),
    of("AUTH_METHOD", "authentication was asked for in a way that is not available here", C::AuthFailed),
    of("AUTH_METHOD_MISMATCH", "the ends want to authenticate in different ways", C::AuthFailed),
    of("OWN_CERT_MISSING", "we have no certificate with its private key for our identity", C::AuthFailed),
    of("PEER_CERT_MISSING", "the peer sent no certificate that can be used, and none of it is here", C::AuthFailed),
    of("CERT_ID_MISMATCH", "the peer's certificate does not have the identity that it gives", C::PeerId),
    of("CERT_EXPIRED", "the peer's certificate is not valid any more", C::AuthFailed),
    of("CERT_NOT_YET_VALID", "the peer's certificate is not valid yet", C::AuthFailed),
    of("CERT_ISSUER_UNKNOWN", "no path leads from the peer's certificate to an authority that we have", C::AuthFailed),
    of("CERT_REVOKED", "the peer's certificate is revoked", C::AuthFailed),
    of("CERT_REVOCATION_UNKNOWN", "no list says whether the peer's certificate is revoked", C::AuthFailed),
    of("CERT_NOT_ALLOWED", "the peer's certificate is good, and not what the connection asks for", C::AuthFailed),
    of("CERT_INVALID", "the peer's certificate breaks RFC 5280", C::AuthFailed),
    of("SIGNATURE_INVALID", "the peer's signature does not fit its certificate", C::AuthFailed),
    of("AUTH_FAILED", "the peer refused our authentication, and does not say why", C::AuthFailed),
    of("IKE_PROPOSAL", "no proposal for the IKE SA in common", C::Phase1Proposal),
    of("CHILD_PROPOSAL", "no proposal for the Child SA in common", C::ChildFailed),
    of(
        "TOO_MANY_SELECTORS",
        "the traffic selectors are more pairs of networks than a Child SA may have",
        C::TrafficSelector,
    ),
    of("KE_GROUP", "the peer asks for a key exchange group that is not allowed here", C::DhGroup),
    of("CHOICE_NOT_OFFERED", "the peer chose what we did not offer", C::Phase1Proposal),
    of("TRAFFIC_SELECTOR", "no traffic selectors in common", C::TrafficSelector),
    of("NO_RESPONSE", "the peer did not answer, or not any more before the SA was there", C::NoResponse),
    of("PEER_LOST", "the peer of an established SA does not answer any more", C::DpdTimeout),
    of("HALF_OPEN", "the initiator did not go on", C::HalfOpen),
    of("NEGOTIATION_MODE", "the peer began in the other mode of phase 1", C::NegotiationMode),
    of("ENCAP_MODE", "tunnel mode at one end and transport mode at the other", C::EncapsulationMode),
    of("PEER_REFUSED", "the peer refused with an error that has no code of its own", C::AuthFailed),
    of("VIRTUAL_IP", "a virtual address is needed, and there is none", C::ChildFailed),
    of("TOO_MANY_IKE_SAS", "there are as many IKE SAs with this peer as ikesa_limit_peer allows", C::Collision),
    of("NOT_UNIQUE", "there is an SA with this peer already, and unique = keep", C::Collision),
    of("CHILDLESS", "one end makes the IKE SA without a Child SA, the other does not", C::ChildFailed),
    of("REDIRECT_LOOP", "gateways send us from one to the other too often", C::NoResponse),
    of("REDIRECT_ADDRESS", "the gateway that we are sent to has no address that we can use", C::NoResponse),
    of("NO_CONFIG", "no connection here is for these addresses", C::NoConfig),
    of("IKE_VERSION", "the peer speaks another version of IKE", C::IkeVersion),
    of("MESSAGE_INVALID", "the peer's message lacks payloads, or has some that must not be there", C::Phase1Timeout),
    of("UNSUPPORTED_CRITICAL_PAYLOAD", "the peer requires a payload that is not known here", C::NoConfig),
    of("BAD_PUBLIC_VALUE", "the peer's public value is not valid in its group", C::DhGroup),
    of("INSTALL_FAILED", "the data plane of this host could not install the SA", C::ChildFailed),
    of("PEER_RESTART", "the peer has restarted and lost the SA", C::DpdTimeout),
    of("PEER_DELETE", "the peer deleted the SA", C::PeerDelete),
    of("EXPIRED", "the SA's lifetime ended, and nothing had taken its place by then", C::Lifetime),
    of("INACTIVE", "no packet went through the SA for as long as inactivity allows", C::NotStarted),
];

/// And those of an end that somebody wanted.
const WANTED: [Reason; 4] = [
    wanted("TERMINATED", "the operator ended the SA"),
    wanted("CONFIGURATION_CHANGED", "the connection was loaded with changes, or unloaded"),
    wanted("REPLACED", "a newer SA took its place"),
    wanted("REDIRECTED", "the gateway sent us to another one, where the SA is now (RFC 5685)"),
];

const fn of(code: &'static str, means: &'static str, cause: Cause) -> Reason {
    Reason { code, means, cause: Some(cause) }
}

const fn wanted(code: &'static str, means: &'static str) -> Reason {
    Reason { code, means, cause: None }
}

impl Reason {
    /// The reason with this code, in any letters.
    pub fn from_code(code: &str) -> Option<Self> {
        let code = code.trim().to_ascii_uppercase().replace('-', "_");
        REASONS.into_iter().chain(WANTED).find(|reason| reason.code == code)
    }
}

/// The reason, and the page of its cause.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.code, self.means)?;
        match self.cause {
            Some(cause) => write!(f, "\n{}", cause.page()),
            None => writeln!(f, "\nNothing is wrong, and there is nothing to do."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_an_end_is_explained() {
        for code in model::FailureKind::CODES {
            let reason = Reason::from_code(&code.to_lowercase()).unwrap_or_else(|| panic!("{code} is not explained"));
            assert_eq!(reason.code, code);
            let text = reason.to_string();
            assert!(text.contains(reason.means) && text.lines().count() >= 3, "{text}");
        }
        assert_eq!(Reason::from_code("IKE_PROPOSAL").and_then(|r| r.cause), Some(C::Phase1Proposal));
        assert_eq!(Reason::from_code("BLUE_MOON"), None);
    }
}
