//! What a connection cannot have that is for IKEv1 alone: proposals of which that version can write nothing. Else the
//! negotiation would offer an empty list, and end by a word of the peer that explains nothing. Nor what is negotiated in
//! IKEv2 only.

use crate::error::{ConfigError, ErrorKind};
use crate::syntax::{Entry, Section};
use model::{Proposal, ikev1};

/// What to write instead, for phase 1 and for phase 2.
const PHASES: [(&str, &str); 2] = [
    (
        "proposals",
        "algorithms that IKEv1 has numbers for: a cipher in CBC mode with md5, sha1, sha256, sha384 or sha512, such as \
         aes128-sha256-modp2048; or version = 2",
    ),
    ("esp_proposals", "algorithms that IKEv1 has numbers for, such as aes128gcm16 or aes128-sha256; or version = 2"),
];

/// Refuses the proposals of a section (`path`) if IKEv1 cannot write any of them. Those that are there by default it can.
pub(crate) fn check(proposals: &[Proposal], section: &Section, path: &str, errors: &mut Vec<ConfigError>) {
    if proposals.iter().any(ikev1::has_numbers) {
        return;
    }
    for (key, expected) in PHASES {
        let Some(entry) = section.entries.iter().find(|entry| entry.name() == key) else { continue };
        let got = match entry {
            Entry::Value { value, .. } => value.clone(),
            Entry::List { values, .. } => values.join(", "),
            Entry::Section(_) => continue,
        };
        errors.push(ConfigError::new(entry.at().clone(), format!("{path}.{key}"), ErrorKind::Value { got, expected }));
    }
}

/// Refuses in a child's section (`path`) what only IKEv2 can ask the peer for.
pub(crate) fn check_child(section: &Section, path: &str, padded: bool, errors: &mut Vec<ConfigError>) {
    let key = "tfc_padding";
    if let Some(entry) = section.entries.iter().find(|entry| padded && entry.name() == key) {
        let why = "IKEv1 cannot ask whether the peer takes padding: remove the key, or write version = 2";
        errors.push(ConfigError::new(entry.at().clone(), format!("{path}.{key}"), ErrorKind::Unsupported { why }));
    }
}
