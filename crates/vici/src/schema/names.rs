//! Texts for values that print one way only: algorithms, identities, selectors, grammar rows.

use model::{Algorithm, Identity, TrafficSelector};
use wire::grammar::{RULES, RuleId};
use wire::registry::{EncryptionId, EsnId, IntegrityId, KeyExchangeId, PrfId, TransformType};

/// The stable name of a grammar row: `ike-auth-response`.
pub fn rule_name(id: RuleId) -> String {
    let mut name = String::new();
    for c in format!("{id:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The grammar row of a name.
pub fn rule_from(name: &str) -> Option<RuleId> {
    RULES.iter().map(|row| row.id).find(|id| rule_name(*id) == name)
}

/// An identity as a text that [`identity_from`] reads back exactly: its usual form where that is unambiguous, else
/// `id:TYPE:HEX` with the type of RFC 7296 section 3.5.
pub fn identity_text(id: &Identity) -> String {
    let text = id.to_string();
    if !text.starts_with("id:") && text.parse().as_ref() == Ok(id) {
        return text;
    }
    let hex: String = id.data().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("id:{}:{hex}", id.kind().number())
}

/// Reads what [`identity_text`] wrote, or what strongSwan prints.
///
/// A distinguished name, which `model` does not read, becomes a name that prints the same.
pub fn identity_from(text: &str) -> Identity {
    let exact = || {
        let (kind, hex) = text.strip_prefix("id:")?.split_once(':')?;
        let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        let data: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Some(Identity::from_wire(kind.parse().ok()?, &data))
    };
    exact().or_else(|| text.parse().ok()).unwrap_or_else(|| Identity::from_wire(2, text.as_bytes()))
}

/// Reads a traffic selector as strongSwan or `model` prints it.
pub(super) fn selector_from(text: &str) -> Option<TrafficSelector> {
    text.to_ascii_lowercase().parse().ok()
}

fn known(kind: TransformType) -> Vec<u16> {
    match kind {
        TransformType::ENCR => EncryptionId::KNOWN.iter().map(|id| id.0).collect(),
        TransformType::PRF => PrfId::KNOWN.iter().map(|id| id.0).collect(),
        TransformType::INTEG => IntegrityId::KNOWN.iter().map(|id| id.0).collect(),
        TransformType::ESN => EsnId::KNOWN.iter().map(|id| id.0).collect(),
        _ => KeyExchangeId::KNOWN.iter().map(|id| id.0).collect(),
    }
}

/// The algorithm of a vici name (`AES_CBC`) and key length; numbers without a name print as `..(1234)` or `.._1234`.
pub(super) fn algorithm(kind: TransformType, name: &str, key_length: Option<u16>) -> Option<Algorithm> {
    let of = |id| Algorithm { kind, id, key_length };
    let number = || name.rsplit(['(', '_']).next()?.trim_end_matches(')').parse().ok();
    known(kind).into_iter().chain(number()).map(of).find(|a| a.vici_name() == name)
}

/// The algorithm of a text such as `AES_CBC-128`.
pub(super) fn algorithm_with_length(kind: TransformType, text: &str) -> Option<Algorithm> {
    let with_length = || {
        let (name, bits) = text.rsplit_once('-')?;
        algorithm(kind, name, Some(bits.parse().ok()?))
    };
    with_length().or_else(|| algorithm(kind, text, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn selectors_have_names_of_services() {
        for text in
            ["10.1.0.0/16", "10.1.0.0/16[tcp/ssh]", "10.1.0.0/16[tcp/21-22]", "10.1.0.1/32[icmp/8]", "::/0[udp/9]"]
        {
            assert_eq!(selector_from(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn rules_have_stable_names() {
        assert_eq!(rule_name(RuleId::IkeSaInitResponse), "ike-sa-init-response");
        assert!(RULES.iter().all(|row| rule_from(&rule_name(row.id)) == Some(row.id)));
        assert_eq!(rule_from("nosuch"), None);
    }

    #[test]
    fn names_of_algorithms_are_unique() {
        for n in [1, 2, 3, 4, 5, 6, 12] {
            let kind = TransformType(n);
            for id in known(kind).into_iter().chain([77, 1000, 60_000]) {
                for key_length in [None, Some(128), Some(777)] {
                    let a = Algorithm { kind, id, key_length };
                    assert_eq!(algorithm(kind, &a.vici_name(), key_length), Some(a), "{a}");
                    assert_eq!(algorithm_with_length(kind, &a.to_string()), Some(a), "{a}");
                }
            }
        }
        assert_eq!(algorithm(TransformType::ENCR, "NO_SUCH", None), None);
    }

    #[test]
    fn identities_of_other_daemons() {
        assert_eq!(identity_text(&identity_from("moon.strongswan.org")), "moon.strongswan.org");
        assert_eq!(identity_from("C=CH, O=strongSwan, CN=moon").to_string(), "C=CH, O=strongSwan, CN=moon");
        assert_eq!(identity_from("id:zz").to_string(), "id:zz");
    }

    proptest! {
        #[test]
        fn identities_survive(kind: u8, data in proptest::collection::vec(any::<u8>(), 0..20), text in "[%@:#*=.a-f0-9id]{0,12}") {
            for id in [Identity::from_wire(kind, &data), Identity::from_wire(kind % 12, text.as_bytes()), Identity::ANY] {
                prop_assert_eq!(identity_from(&identity_text(&id)), id);
            }
        }
    }
}
