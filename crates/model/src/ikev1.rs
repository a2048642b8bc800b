//! The numbers of algorithms in IKEv1 (RFC 2409 appendix A, RFC 2407 section 4), and which suites have none.

use crate::{Proposal, ProposalProtocol};
use wire::registry::{EncryptionId, IntegrityId, PrfId};
use wire::{EspTransformId, OakleyEncryption};

/// (IKEv2 encryption ID, Oakley value) of RFC 2409 appendix A, RFC 3602 section 5.1 and RFC 4312 section 4.1. Combined and
/// counter modes have none: phase 1 has no place for them.
pub const OAKLEY_ENCRYPTION: &[(EncryptionId, OakleyEncryption)] = &[
    (EncryptionId::BLOWFISH, OakleyEncryption::BLOWFISH_CBC),
    (EncryptionId::TRIPLE_DES, OakleyEncryption::TRIPLE_DES_CBC),
    (EncryptionId::AES_CBC, OakleyEncryption::AES_CBC),
    (EncryptionId::CAMELLIA_CBC, OakleyEncryption::CAMELLIA_CBC),
];

/// (IKEv2 encryption ID, ESP transform ID) where they differ (RFC 4312 section 4.2, RFC 4543 section 9): below, a transform
/// has one number in both versions.
const ESP_ENCRYPTION: &[(EncryptionId, EspTransformId)] = &[
    (EncryptionId::CAMELLIA_CBC, EspTransformId::CAMELLIA),
    (EncryptionId::NULL_AES_GMAC, EspTransformId::NULL_AUTH_AES_GMAC),
];

/// The first number that is not the same in both versions.
const ESP_ENCRYPTION_DIFFERS: u8 = EspTransformId::SEED_CBC.0;

/// The transform ID of an encryption algorithm.
pub fn esp_transform(id: EncryptionId) -> Option<u8> {
    let differs = ESP_ENCRYPTION.iter().find(|(known, _)| *known == id).map(|(_, transform)| transform.0);
    let same = |id: EncryptionId| {
        let id = u8::try_from(id.0).ok()?;
        (id < ESP_ENCRYPTION_DIFFERS || id == CHACHA20_POLY1305).then_some(id)
    };
    differs.or_else(|| same(id))
}

/// No document gives ChaCha20-Poly1305 a number of IKEv1; this is the one of IKEv2, as other implementations have it.
const CHACHA20_POLY1305: u8 = 28;

/// The encryption algorithm of a transform ID, as IKEv2 numbers it.
pub fn esp_encryption(transform: u8) -> u16 {
    match ESP_ENCRYPTION.iter().find(|(_, known)| known.0 == transform) {
        Some((id, _)) => id.0,
        None if transform < ESP_ENCRYPTION_DIFFERS || transform == CHACHA20_POLY1305 => transform.into(),
        // Numbers of IKEv1 that IKEv2 gave to others stay out of their way.
        None => 0x8000 | u16::from(transform),
    }
}

/// (Oakley hash, the integrity algorithm and PRF that stand for it).
pub const OAKLEY_HASH: &[(u16, IntegrityId, PrfId)] = &[
    (1, IntegrityId::HMAC_MD5_96, PrfId::HMAC_MD5),
    (2, IntegrityId::HMAC_SHA1_96, PrfId::HMAC_SHA1),
    (4, IntegrityId::HMAC_SHA2_256_128, PrfId::HMAC_SHA2_256),
    (5, IntegrityId::HMAC_SHA2_384_192, PrfId::HMAC_SHA2_384),
    (6, IntegrityId::HMAC_SHA2_512_256, PrfId::HMAC_SHA2_512),
];

/// (DOI authentication algorithm, integrity algorithm) for ESP.
pub const ESP_AUTHENTICATION: &[(u16, IntegrityId)] = &[
    (1, IntegrityId::HMAC_MD5_96),
    (2, IntegrityId::HMAC_SHA1_96),
    (5, IntegrityId::HMAC_SHA2_256_128),
    (6, IntegrityId::HMAC_SHA2_384_192),
    (7, IntegrityId::HMAC_SHA2_512_256),
    (9, IntegrityId::AES_XCBC_96),
];

/// Whether IKEv1 can write at least one suite of a proposal.
pub fn has_numbers(p: &Proposal) -> bool {
    let written = |encryption: &crate::Encryption| match p.protocol {
        ProposalProtocol::Ike => {
            let hash = OAKLEY_HASH.iter().any(|(_, i, prf)| p.prf.contains(prf) && p.integrity.contains(i));
            hash && OAKLEY_ENCRYPTION.iter().any(|(id, _)| *id == encryption.id)
        }
        ProposalProtocol::Esp => {
            let known = |i: &IntegrityId| ESP_AUTHENTICATION.iter().any(|(_, id)| id == i);
            esp_transform(encryption.id).is_some() && (encryption.is_aead() || p.integrity.iter().any(known))
        }
    };
    p.encryption.iter().any(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_that_ikev1_cannot_write() {
        let has = |protocol, text: &str| has_numbers(&Proposal::parse(protocol, text).unwrap());
        let (ike, esp) = (ProposalProtocol::Ike, ProposalProtocol::Esp);
        for (protocol, text, expected) in [
            (ike, "aes128-sha256-modp2048", true),
            (ike, "aes128gcm16-prfsha256-modp2048", false),
            (ike, "aes128ctr-sha256-modp2048", false),
            (ike, "aes128ctr-aes128-sha256-modp2048", true),
            (ike, "aes128-sha256-prfaescmac-modp2048", false),
            (esp, "aes128-sha256", true),
            (esp, "aes128gcm16", true),
            (esp, "chacha20poly1305", true),
            (esp, "aes128-aescmac", false),
            (esp, "aes128-aescmac-sha1", true),
        ] {
            assert_eq!(has(protocol, text), expected, "{text}");
        }
    }
}
