//! The kernel's names for algorithms.

use super::XfrmError;
use model::dataplane::EspSa;
use wire::registry::{EncryptionId, IntegrityId};

/// What protects one SA, as `crypto/` of the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithms {
    /// A combined mode with its ICV length in bits.
    Aead { name: &'static str, icv_bits: u32 },
    /// A cipher and an integrity algorithm with its truncation in bits.
    Separate { cipher: &'static str, integrity: &'static str, truncation_bits: u32 },
}

/// The kernel's algorithms for an SA.
pub(super) fn algorithms(sa: &EspSa) -> Result<Algorithms, XfrmError> {
    let aead = |name, icv_bits| Ok(Algorithms::Aead { name, icv_bits });
    let cipher = match sa.encryption.id {
        EncryptionId::AES_GCM_8 => return aead("rfc4106(gcm(aes))", 64),
        EncryptionId::AES_GCM_12 => return aead("rfc4106(gcm(aes))", 96),
        EncryptionId::AES_GCM_16 => return aead("rfc4106(gcm(aes))", 128),
        EncryptionId::AES_CCM_8 => return aead("rfc4309(ccm(aes))", 64),
        EncryptionId::AES_CCM_12 => return aead("rfc4309(ccm(aes))", 96),
        EncryptionId::AES_CCM_16 => return aead("rfc4309(ccm(aes))", 128),
        EncryptionId::NULL_AES_GMAC => return aead("rfc4543(gcm(aes))", 128),
        EncryptionId::CHACHA20_POLY1305 => return aead("rfc7539esp(chacha20,poly1305)", 128),
        EncryptionId::AES_CBC => "cbc(aes)",
        EncryptionId::AES_CTR => "rfc3686(ctr(aes))",
        EncryptionId::TRIPLE_DES => "cbc(des3_ede)",
        EncryptionId::BLOWFISH => "cbc(blowfish)",
        EncryptionId::CAMELLIA_CBC => "cbc(camellia)",
        EncryptionId::NULL => "ecb(cipher_null)",
        _ => return Err(XfrmError::Encryption(sa.encryption)),
    };
    let (integrity, truncation_bits) = match sa.integrity {
        Some(IntegrityId::HMAC_MD5_96) => ("hmac(md5)", 96),
        Some(IntegrityId::HMAC_MD5_128) => ("hmac(md5)", 128),
        Some(IntegrityId::HMAC_SHA1_96) => ("hmac(sha1)", 96),
        Some(IntegrityId::HMAC_SHA1_160) => ("hmac(sha1)", 160),
        Some(IntegrityId::AES_XCBC_96) => ("xcbc(aes)", 96),
        Some(IntegrityId::AES_CMAC_96) => ("cmac(aes)", 96),
        Some(IntegrityId::HMAC_SHA2_256_96) => ("hmac(sha256)", 96),
        Some(IntegrityId::HMAC_SHA2_256_128) => ("hmac(sha256)", 128),
        Some(IntegrityId::HMAC_SHA2_384_192) => ("hmac(sha384)", 192),
        Some(IntegrityId::HMAC_SHA2_512_256) => ("hmac(sha512)", 256),
        other => return Err(XfrmError::Integrity(other)),
    };
    Ok(Algorithms::Separate { cipher, integrity, truncation_bits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Encryption;
    use wire::Secret;

    fn of(id: EncryptionId, bits: u16, integrity: Option<IntegrityId>) -> Result<Algorithms, XfrmError> {
        let key = || Secret::new(Vec::new());
        let encryption = Encryption { id, key_length: Some(bits) };
        algorithms(&EspSa { spi: 1, encryption, integrity, encryption_key: key(), integrity_key: key() })
    }

    /// The names as /proc/crypto lists them, and the truncations that make the algorithm (xfrm_algo.c knows HMACs by their
    /// function and has a default for each, which is not always the one that was agreed on).
    #[test]
    fn names_and_truncations_are_the_kernels() {
        let gmac = of(EncryptionId::NULL_AES_GMAC, 128, None).unwrap();
        assert_eq!(gmac, Algorithms::Aead { name: "rfc4543(gcm(aes))", icv_bits: 128 });
        for (id, cipher) in [(EncryptionId::CAMELLIA_CBC, "cbc(camellia)"), (EncryptionId::BLOWFISH, "cbc(blowfish)")] {
            for (integrity, name, truncation_bits) in [
                (IntegrityId::HMAC_MD5_128, "hmac(md5)", 128),
                (IntegrityId::HMAC_SHA1_160, "hmac(sha1)", 160),
                (IntegrityId::HMAC_SHA2_256_96, "hmac(sha256)", 96),
            ] {
                let expected = Algorithms::Separate { cipher, integrity: name, truncation_bits };
                assert_eq!(of(id, 192, Some(integrity)).unwrap(), expected);
            }
        }
        assert!(matches!(of(EncryptionId::CAST, 128, None), Err(XfrmError::Encryption(_))));
        assert!(matches!(of(EncryptionId::CAMELLIA_CBC, 128, None), Err(XfrmError::Integrity(None))));
    }
}
