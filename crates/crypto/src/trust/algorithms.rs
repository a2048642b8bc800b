//! How certificates and revocation lists may be signed: all that `webpki` has, and RSA with the hashes that IKE itself does
//! not use: SHA-224 (RFC 8017 appendix A.2.4) and SHA-3 (FIPS 202, with the identifiers of RFC 9688 section 3.1).

use crate::Certificate;
use crate::awslc::keys::Rsa;
use aws_lc_rs::digest;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use std::sync::LazyLock;
use x509_cert::der::{Any, Decode, Encode};

/// RSASSA-PKCS1-v1_5 with a hash.
#[derive(Debug)]
struct RsaPkcs1 {
    /// The contents of the AlgorithmIdentifier: the object identifier, and NULL.
    identifier: AlgorithmIdentifier,
    /// What stands before the hash in DigestInfo (RFC 8017 section 9.2).
    prefix: &'static [u8],
    hash: &'static digest::Algorithm,
}

/// The octets of OIDs of hashes and of signatures with them: both below 2.16.840.1.101.3.4 (NIST).
macro_rules! nist {
    (signature $last:literal) => {
        &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, $last, 5, 0]
    };
    (digest $last:literal, $length:literal) => {
        &[0x30, 17 + $length, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, $last, 5, 0, 4, $length]
    };
}

static SHA224: RsaPkcs1 = RsaPkcs1 {
    // 1.2.840.113549.1.1.14, sha224WithRSAEncryption
    identifier: AlgorithmIdentifier::from_slice(&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 14, 5, 0]),
    prefix: nist!(digest 4, 28),
    hash: &digest::SHA224,
};

static SHA3_256: RsaPkcs1 = RsaPkcs1 {
    identifier: AlgorithmIdentifier::from_slice(nist!(signature 14)),
    prefix: nist!(digest 8, 32),
    hash: &digest::SHA3_256,
};

static SHA3_384: RsaPkcs1 = RsaPkcs1 {
    identifier: AlgorithmIdentifier::from_slice(nist!(signature 15)),
    prefix: nist!(digest 9, 48),
    hash: &digest::SHA3_384,
};

static SHA3_512: RsaPkcs1 = RsaPkcs1 {
    identifier: AlgorithmIdentifier::from_slice(nist!(signature 16)),
    prefix: nist!(digest 10, 64),
    hash: &digest::SHA3_512,
};

/// Every way that is accepted.
pub(super) static ALL: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
    let more: [&dyn SignatureVerificationAlgorithm; 4] = [&SHA224, &SHA3_256, &SHA3_384, &SHA3_512];
    webpki::ALL_VERIFICATION_ALGS.iter().copied().chain(more).collect()
});

/// Whether the key of this certificate made the signature, in one of [`ALL`] ways; `algorithm` is an AlgorithmIdentifier in
/// DER.
pub(crate) fn verifies(certificate: &Certificate, algorithm: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let check = || {
        let certificate = x509_cert::Certificate::from_der(certificate.der()).ok()?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        let (kind, algorithm) = (Any::from_der(&info.algorithm.to_der().ok()?).ok()?, Any::from_der(algorithm).ok()?);
        let fits = |way: &&&dyn SignatureVerificationAlgorithm| {
            way.signature_alg_id().as_ref() == algorithm.value() && way.public_key_alg_id().as_ref() == kind.value()
        };
        let way = ALL.iter().find(fits)?;
        way.verify_signature(info.subject_public_key.as_bytes()?, signed, signature).ok()
    };
    check().is_some()
}

impl SignatureVerificationAlgorithm for RsaPkcs1 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = Rsa::public(public_key).filter(|key| (256..=1024).contains(&key.length())).ok_or(InvalidSignature)?;
        // As RFC 8017 section 8.2.2 has it: the whole encoding is compared, so that nothing can hide in it.
        let expected = [self.prefix, digest::digest(self.hash, message).as_ref()].concat();
        let signed = key.recover(signature).ok_or(InvalidSignature)?;
        if crate::equal(&signed, &expected) { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.identifier
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::verifies;
    use x509_cert::der::{Decode, Encode};

    /// 2027-06-01.
    const NOW: Duration = Duration::from_secs(1_811_808_000);

    fn read(pem: &[u8]) -> Certificate {
        Certificate::parse(pem).unwrap()
    }

    /// Made by OpenSSL 3.0.19 (`openssl x509 -req -sha224 -set_serial 2 ...`) with RSA keys of 2048 bits.
    #[test]
    fn rsa_with_hashes_that_ike_does_not_use() {
        let root = read(include_bytes!("fake-hashes/root.pem"));
        let trust = Trust { authorities: vec![&root], ..Trust::default() };
        for (hash, pem) in [
            ("sha224", &include_bytes!("fake-hashes/sha224.pem")[..]),
            ("sha3-256", include_bytes!("fake-hashes/sha3-256.pem")),
            ("sha3-384", include_bytes!("fake-hashes/sha3-384.pem")),
            ("sha3-512", include_bytes!("fake-hashes/sha3-512.pem")),
        ] {
            let end = read(pem);
            assert_eq!(verify(&trust, &end, &[], Revocation::Relaxed, NOW), Ok(vec![root.clone()]), "{hash}");
            let parsed = x509_cert::Certificate::from_der(end.der()).unwrap();
            let algorithm = parsed.signature_algorithm().to_der().unwrap();
            let mut signed = parsed.tbs_certificate().to_der().unwrap();
            let signature = parsed.signature().as_bytes().unwrap();
            assert!(verifies(&root, &algorithm, &signed, signature) && !verifies(&end, &algorithm, &signed, signature));
            signed[9] ^= 1;
            assert!(!verifies(&root, &algorithm, &signed, signature), "{hash}");
            // Another octet in what is signed (the last of the subject's name), or in the signature.
            let name = end.der().windows(4).rposition(|w| w == b"hash").unwrap() + 3;
            for at in [name, end.der().len() - 1] {
                let mut forged = end.der().to_vec();
                forged[at] ^= 1;
                let forged = Certificate::from_der(&forged).unwrap();
                let found = verify(&trust, &forged, &[], Revocation::Relaxed, NOW);
                assert_eq!(found, Err(Untrusted::BadSignature), "{hash}, octet {at}");
            }
        }
    }
}
