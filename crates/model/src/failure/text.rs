//! What a reason says: one line, with both sides' values.

use super::{FailureKind, RedirectProblem, Side};
use crate::{Identity, Phase};
use std::fmt;
use wire::grammar::rule;

/// One line: what was wrong, with both sides' values.
impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdentityUnknown { received, asked_for, expected } => {
                write!(f, "no connection accepts the peer's identity '{received}'")?;
                if let Some(id) = asked_for {
                    write!(f, " (it asks for '{id}')")?;
                }
                write!(f, "; configured for these addresses: {}", List(expected))
            }
            Self::NotAddressed { remote, asked_for, ours } => {
                write!(f, "'{remote}' asks for '{asked_for}', which we are not; configured: {}", List(ours))
            }
            Self::IdentityMismatch { received, expected } => {
                write!(f, "the peer says it is '{received}', we expect '{expected}'")
            }
            Self::XauthRefused { user, found_by: Side::Us, .. } if *user == Identity::ANY => {
                f.write_str("XAuth: the client sent no user name")
            }
            Self::XauthRefused { user, found_by: Side::Us, known: true } => {
                write!(f, "XAuth: the password of user '{user}' is wrong")
            }
            Self::XauthRefused { user, found_by: Side::Us, known: false } => {
                write!(f, "XAuth: there is no user '{user}' here")
            }
            Self::XauthRefused { user, found_by: Side::Peer, .. } => {
                write!(f, "the peer refused our user '{user}' in XAuth: wrong name or password")
            }
            Self::PskMismatch { local, remote, tried } => write!(
                f,
                "pre-shared keys differ: the peer's proof does not fit {} for '{local}' and '{remote}'",
                match tried {
                    1 => "our secret".to_string(),
                    several => format!("any of our {several} secrets"),
                }
            ),
            Self::PskMissing { local, remote } => write!(f, "no pre-shared key for '{local}' and '{remote}'"),
            Self::AuthMethodUnsupported { method } => {
                write!(
                    f,
                    "authentication with {method} is asked for; we do pre-shared keys and signatures, in one round"
                )
            }
            Self::AuthMethodMismatch { expected, received } => {
                write!(f, "the peer authenticates with {received}, the connection wants {expected}")
            }
            Self::OwnCertificateMissing { local, candidates } if candidates.is_empty() => {
                write!(f, "no certificate with a private key for our identity '{local}'")
            }
            Self::OwnCertificateMissing { local, candidates } => {
                write!(f, "no certificate with a private key for our identity '{local}': {}", List(candidates))
            }
            Self::PeerCertificateMissing { remote, place: Some(place) } => {
                write!(f, "the certificate of '{remote}' could not be had from {place}, where it says that it is")
            }
            Self::PeerCertificateMissing { remote, place: None } => {
                write!(f, "'{remote}' sent no certificate that can be used, and none of it is here")
            }
            Self::IdentityNotCertified { remote, names } => {
                write!(f, "the peer says it is '{remote}', its certificate says: {}", List(names))
            }
            Self::CertificateUntrusted { subject, issuer, detail, .. } => {
                write!(f, "the certificate '{subject}' by '{issuer}' is not trusted: {detail}")
            }
            Self::SignatureInvalid { remote, method } => {
                write!(f, "the signature of '{remote}' ({method}) does not fit the key of its certificate")
            }
            Self::AuthenticationRefused { local, remote } => {
                write!(f, "the peer refused our authentication as '{local}'")?;
                if let Some(id) = remote {
                    write!(f, " to '{id}'")?;
                }
                f.write_str(": it does not accept our proof, or our identity")
            }
            Self::NoProposalChosen { phase, found_by: Side::Us, mismatch, ours } => match mismatch {
                Some(m) if !m.differing.is_empty() => write!(f, "no {} proposal in common: {m}", proposal(*phase)),
                _ => write!(f, "no {} proposal in common; ours: {}", proposal(*phase), List(ours)),
            },
            Self::NoProposalChosen { phase, ours, .. } => {
                write!(f, "the peer accepts none of our {} proposals: {}", proposal(*phase), List(ours))
            }
            Self::InvalidKeyExchange { ours, wanted } => write!(
                f,
                "the peer wants key exchange group {}, which we do not allow; ours {}",
                crate::Algorithm::from(*wanted),
                crate::Algorithm::from(*ours)
            ),
            Self::ChoiceNotOffered { phase, mismatch } => {
                write!(f, "the peer chose an {} proposal that we did not offer: {mismatch}", proposal(*phase))
            }
            Self::TsUnacceptable { found_by: Side::Us, local, remote, peer_local, peer_remote } => write!(
                f,
                "no traffic selectors in common: ours {} === {}, the peer asks for {} === {}",
                List(local),
                List(remote),
                List(peer_remote),
                List(peer_local)
            ),
            Self::TsUnacceptable { local, remote, .. } => {
                write!(f, "the peer does not accept our traffic selectors {} === {}", List(local), List(remote))
            }
            Self::TooManySelectors { most: 1, .. } => {
                f.write_str("the peer asks for several pairs of addresses in one Child SA, which single_pair forbids")
            }
            Self::TooManySelectors { pairs, most } => {
                write!(f, "the traffic selectors are {pairs} pairs of networks: a Child SA may have {most} of them")
            }
            Self::NoAnswer { waiting_for, to, sent, over, answered_before } => {
                let again = if *answered_before { " any more" } else { "" };
                write!(
                    f,
                    "no answer{again} from {to} to {sent} datagrams over {:.0} s, {}",
                    over.as_secs_f64(),
                    rule(*waiting_for).story
                )
            }
            Self::HalfOpen { waiting_for, after, repeated } => write!(
                f,
                "the initiator did not go on for {:.0} s, {}; it repeated its request {repeated} time{}",
                after.as_secs_f64(),
                rule(*waiting_for).story,
                if *repeated == 1 { "" } else { "s" }
            ),
            Self::ModeMismatch { ours } => {
                let name = |aggressive: bool| if aggressive { "aggressive" } else { "main" };
                write!(f, "the peer began in {} mode, we are configured for {} mode", name(!ours), name(*ours))
            }
            Self::EncapsulationMode { tunnel, peer } => {
                let own = if *tunnel { "tunnel" } else { "transport" };
                write!(f, "encapsulation modes differ: ours {own}, the peer's attribute value is {peer}")
            }
            Self::NoVirtualAddress { found_by: Side::Us, asked, pools } => match (asked.as_slice(), pools.as_slice()) {
                ([], pools) => {
                    write!(
                        f,
                        "the peer asked for no virtual address, which it gets here from the pools: {}",
                        List(pools)
                    )
                }
                (asked, []) => write!(f, "no virtual address was assigned; asked for: {}", List(asked)),
                (asked, pools) => {
                    write!(f, "no virtual address left in the pools {}; asked for: {}", List(pools), List(asked))
                }
            },
            Self::NoVirtualAddress { asked, .. } if asked.is_empty() => {
                f.write_str("the peer requires that a virtual address is asked for")
            }
            Self::NoVirtualAddress { asked, .. } => {
                write!(f, "the peer has no virtual address for us; asked for: {}", List(asked))
            }
            Self::TooManyOfPeer { remote, most } => write!(f, "there are {most} IKE SAs with '{remote}' already"),
            Self::NotUnique { remote } => write!(f, "there is an SA with '{remote}' already, and unique = keep"),
            Self::ChildlessMismatch { ours: true } => {
                f.write_str("the IKE SA is to be made without a Child SA here (RFC 6023), which the peer does not do")
            }
            Self::ChildlessMismatch { ours: false } => {
                f.write_str("the peer makes the IKE SA without a Child SA (RFC 6023), which childless = never forbids")
            }
            Self::RedirectRefused { to, problem: RedirectProblem::TooOften } => {
                write!(f, "the gateway sends us to {to}, and gateways did so too often in a short time")
            }
            Self::RedirectRefused { to, problem: RedirectProblem::NoAddress } => {
                write!(f, "the gateway sends us to {to}, which has no address that can be reached from ours")
            }
            Self::NoConfig { local, remote } => {
                write!(f, "no connection is configured for {} from {}", local.ip(), remote.ip())
            }
            Self::WrongVersion { peer } => write!(f, "the peer speaks IKE version {peer}"),
            Self::PeerRefusedV1 { phase, notify } => write!(f, "the peer refused the {phase} SA with {notify}"),
            Self::PeerRefused { phase, notify } => write!(f, "the peer refused the {phase} SA with {notify}"),
            Self::MessageInvalid { rule: r, missing } => {
                write!(f, "the peer's message is not {}: {missing}", rule(*r).notation)
            }
            Self::UnsupportedCritical { payload } => {
                write!(f, "the peer requires payload type {payload}, which we do not know")
            }
            Self::BadPublicValue { group } => {
                write!(f, "the peer's public value is not valid in group {}", crate::Algorithm::from(*group))
            }
            Self::InstallFailed { reason } => write!(f, "the data plane could not install the SA: {reason}"),
            Self::PeerRestarted => f.write_str("the peer has restarted and lost the SA"),
            Self::PeerDeleted => f.write_str("deleted by the peer"),
            Self::Terminated => f.write_str("terminated by the operator"),
            Self::ConfigurationChanged => f.write_str("its connection was loaded with changes, or unloaded"),
            Self::Replaced { by } => write!(f, "replaced by {by}"),
            Self::Redirected { to, by } => write!(f, "redirected to {to}, where it is {by}"),
            Self::Expired => f.write_str("lifetime ended"),
            Self::Inactive { after } => write!(f, "no packet for {} s", after.as_secs()),
        }
    }
}

/// What the proposals of a phase are called in the configuration.
fn proposal(phase: Phase) -> &'static str {
    match phase {
        Phase::Ike => "IKE",
        Phase::Child => "ESP",
    }
}

struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (n, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
