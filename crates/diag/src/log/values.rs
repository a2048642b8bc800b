//! What a line says that each end has, and so what to change.

use crate::Cause;
use Cause as C;

/// The values of both ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Values<'a> {
    /// What this end has.
    pub ours: &'a str,
    /// What the other end has.
    pub theirs: &'a str,
}

/// What stands between two texts, or up to the end where there is no second.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let found = if after.is_empty() { rest } else { rest.split_once(after).map_or(rest, |(found, _)| found) };
    Some(found.trim().trim_matches(['\'', '"']).trim_end_matches(['.', ',', ';'])).filter(|found| !found.is_empty())
}

/// The values of both ends, where a line names them.
pub(super) fn values(text: &str) -> Option<Values<'_>> {
    let pair = |ours: (&str, &str), theirs: (&str, &str)| {
        Some(Values { ours: between(text, ours.0, ours.1)?, theirs: between(text, theirs.0, theirs.1)? })
    };
    // racoon 0.7: `rejected dh_group: DB(prop#1:trns#1):Peer(prop#0:trns#1) = 2048-bit MODP group:1024-bit MODP group`.
    if text.contains("DB(")
        && let Some((_, values)) = text.split_once(") = ")
    {
        let (ours, theirs) = values.split_once(':')?;
        return Some(Values { ours: ours.trim(), theirs: theirs.trim() });
    }
    None.or_else(|| pair((" my:", " peer:"), (" peer:", "")))
        .or_else(|| pair((" mine ", ""), (": peer ", " mine ")))
        .or_else(|| pair(("expected ", ""), ("received KE type ", ",")))
        .or_else(|| pair(("Cfg'd:", ""), ("Rcv'd:", "Cfg'd:")))
        .or_else(|| pair(("Configured ", ""), (": Received ", ", Configured ")))
        .or_else(|| pair(("lifetime, configured ", ""), ("received ", " lifetime,")))
        .or_else(|| pair(("unacceptable, requesting ", ""), ("method ", " unacceptable")))
        .or_else(|| pair(("accept key exchange method ", ","), ("it requested ", "")))
        .or_else(|| pair(("peer to have ID ", ", but"), ("peer declares ", "")))
        .or_else(|| pair(("policy dictates ", ", but"), ("peer requested ", "")))
}

/// The option that sets it, by the daemon whose words a line has.
fn option(cause: Cause, text: &str) -> Option<&'static str> {
    let racoon = text.contains(" my:") || text.contains("DB(");
    let phase_1 = text.contains("DB(");
    Some(match cause {
        C::EncryptionAlgorithm if phase_1 => {
            "encryption_algorithm in the remote section's proposal; on a BIG-IP phase1-encrypt-algorithm"
        }
        C::AuthenticationAlgorithm if text.contains("rejected authmethod") => {
            "authentication_method in the remote section's proposal; on a BIG-IP phase1-auth-method"
        }
        C::AuthenticationAlgorithm if phase_1 => {
            "hash_algorithm in the remote section's proposal; on a BIG-IP phase1-hash-algorithm"
        }
        C::DhGroup if phase_1 => {
            "dh_group in the remote section's proposal; on a BIG-IP the ike-peer's phase1-perfect-forward-secrecy"
        }
        C::Pfs if racoon => {
            "pfs_group in the sainfo section; on a BIG-IP the ipsec-policy's ike-phase2-perfect-forward-secrecy"
        }
        C::EncryptionAlgorithm if racoon => {
            "encryption_algorithm in the sainfo section; on a BIG-IP ike-phase2-encrypt-algorithm"
        }
        C::AuthenticationAlgorithm if racoon => {
            "authentication_algorithm in the sainfo section; on a BIG-IP ike-phase2-auth-algorithm"
        }
        C::EncapsulationMode if racoon => "tunnel or transport in the policy; on a BIG-IP the ipsec-policy's mode",
        C::Lifetime if racoon => "lifetime in racoon.conf; on a BIG-IP lifetime and ike-phase2-lifetime, in minutes",
        C::DhGroup | C::Phase1Proposal if text.contains("key exchange method") => "proposals in swanctl.conf",
        C::Pfs if text.contains("key exchange method") => "esp_proposals in swanctl.conf",
        C::EncapsulationMode if text.contains("policy dictates") => "type in ipsec.conf",
        C::PeerId if text.contains("peer to have ID") => "rightid here, or leftid there, in ipsec.conf",
        _ => return None,
    })
}

/// Whether a cause is about what both ends' values are.
fn is_about_values(cause: Cause) -> bool {
    use C::{
        AuthenticationAlgorithm, DhGroup, EncapsulationMode, EncryptionAlgorithm, Lifetime, PeerId, Pfs,
        Phase1Proposal, SecurityProtocol,
    };
    matches!(
        cause,
        AuthenticationAlgorithm
            | DhGroup
            | EncapsulationMode
            | EncryptionAlgorithm
            | Lifetime
            | PeerId
            | Pfs
            | Phase1Proposal
            | SecurityProtocol
    )
}

/// What to do about a cause, where the line that names it says more than the cause does.
pub(super) fn remedy(cause: Cause, text: &str) -> Option<String> {
    if cause == C::NotStarted && text.contains("bind to address") {
        let why = "the address is not there, or another program has its port";
        return Some(format!(
            "{why}: stop the other IKE daemon, and compare the listen section of racoon.conf with it"
        ));
    }
    let Values { ours, theirs } = values(text).filter(|_| is_about_values(cause))?;
    let base = if cause == C::Phase1Proposal { "give both ends a common proposal" } else { cause.remedy() };
    let what = format!("{base}: this end has {ours}, the peer {theirs}");
    Some(match option(cause, text) {
        Some(option) => format!("{what} ({option})"),
        None => what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_values_are_found() {
        for (text, ours, theirs) in [
            ("pfs group mismatched: my:14 peer:2", "14", "2"),
            ("encmode mismatched: my:Tunnel peer:Transport", "Tunnel", "Transport"),
            (
                "rejected dh_group: DB(prop#1:trns#1):Peer(prop#0:trns#1) = 2048-bit MODP group:1024-bit MODP group",
                "2048-bit MODP group",
                "1024-bit MODP group",
            ),
            ("mode mismatch: peer tunnel mine transport", "transport", "tunnel"),
            ("received KE type 14,expected 2", "2", "14"),
            ("class Group Description:  Rcv'd: Group 2  Cfg'd: Group 5", "Group 5", "Group 2"),
            ("received 3600s lifetime, configured 28800s", "28800s", "3600s"),
            ("key exchange method MODP_2048 unacceptable, requesting ECP_256", "ECP_256", "MODP_2048"),
            ("peer didn't accept key exchange method MODP_2048, it requested ECP_256", "MODP_2048", "ECP_256"),
            ("we require IKEv2 peer to have ID '@a', but peer declares '@b'", "@a", "@b"),
            ("No Proposal Match Found: Received IKE:A/B, Configured IKE:C/D", "IKE:C/D", "IKE:A/B"),
        ] {
            assert_eq!(values(text), Some(Values { ours, theirs }), "{text}");
        }
        for text in ["", "pfs group mismatched", "no suitable proposal found.", " my:1", "DB( ) = 1"] {
            assert_eq!(values(text), None, "{text}");
        }
    }

    #[test]
    fn a_remedy_names_both_and_the_option() {
        let told = remedy(C::Pfs, "pfs group mismatched: my:14 peer:2").unwrap();
        assert!(told.contains("this end has 14, the peer 2 (pfs_group in the sainfo section"), "{told}");
        assert_eq!(remedy(C::NoResponse, "pfs group mismatched: my:14 peer:2"), None);
    }

    proptest! {
        #[test]
        fn any_text_has_values_or_none(text in "( my:| peer:|DB\\(|\\) = |expected |.){0,12}") {
            let _ = remedy(C::Pfs, &text);
        }
    }
}
