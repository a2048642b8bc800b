//! The Encrypted payload of IKEv2 (RFC 7296 section 3.14, RFC 5282).

use crate::algorithms::Mode;
use crate::transform::{Authenticated, Open, Seal, check};
use crate::{BadKey, Cipher, Integrity, OpenError, Random};
use std::ops::Range;
use wire::Secret;

/// The protection of one direction of an IKE SA.
///
/// Keeps the keys as they came out of the key schedule and expands them per message: an IKE SA sees a handful of messages
/// in its life, and expanded keys would be ten times the memory.
pub struct Protection {
    cipher: Cipher,
    integrity: Option<Integrity>,
    sk_e: Secret,
    sk_a: Secret,
}

impl Protection {
    /// Takes SK_e and SK_a of one direction. SK_a is empty if the cipher authenticates by itself.
    pub fn new(cipher: Cipher, integrity: Option<Integrity>, sk_e: &[u8], sk_a: &[u8]) -> Result<Self, BadKey> {
        if cipher.leaves_plaintext() {
            return Err(BadKey::PlaintextForIke(cipher.id()));
        }
        check(cipher, integrity, sk_e, sk_a)?;
        Ok(Self { cipher, integrity, sk_e: Secret::from(sk_e), sk_a: Secret::from(sk_a) })
    }

    /// Octets of IV at the start of the Encrypted payload's content.
    pub fn iv_len(&self) -> usize {
        self.cipher.iv_len()
    }

    /// Octets of integrity check value at the end of the message.
    pub fn icv_len(&self) -> usize {
        self.integrity.map_or(self.cipher.icv_len(), Integrity::icv_len)
    }

    /// The plaintext, with padding and pad length, must be a multiple of this many octets.
    pub fn block_len(&self) -> usize {
        self.cipher.block_len()
    }

    /// Encrypts a laid-out message in place.
    ///
    /// `message` is header and payloads up to and including the generic header of the Encrypted payload (`iv_at` octets,
    /// lengths already final), room for the IV, the inner payloads with padding and pad length, room for the ICV.
    /// `sequence` becomes the explicit IV of combined and counter modes and must never repeat under one key; CBC takes
    /// its IV from `rng` instead.
    ///
    /// # Panics
    /// If the layout is not that of the algorithms (the content is empty or no multiple of [`Protection::block_len`]).
    /// The message is our own, so this is a mistake in the program, and to send it unprotected would be worse.
    pub fn seal(&self, message: &mut [u8], iv_at: usize, sequence: u64, rng: &mut dyn Random) {
        let layout = "the message has the layout of its algorithms";
        let (head, rest) = message.split_at_mut_checked(iv_at).expect(layout);
        let (iv, rest) = rest.split_at_mut_checked(self.iv_len()).expect(layout);
        let body_len = rest.len().checked_sub(self.icv_len()).expect(layout);
        let (body, icv) = rest.split_at_mut_checked(body_len).expect(layout);
        assert!(!body.is_empty() && body.len().is_multiple_of(self.block_len()), "{layout}");
        match self.cipher.mode() {
            // RFC 7296 section 3.14: the IV of CBC must be unpredictable.
            Mode::Cbc => rng.fill(iv),
            // RFC 5282 section 4, RFC 5930 section 2: any way of generating it that does not repeat; a counter cannot.
            _ => iv.copy_from_slice(&sequence.to_be_bytes()),
        }
        let keys = Seal::new(self.cipher, self.integrity, self.sk_e.expose(), self.sk_a.expose());
        // RFC 7296 section 3.14: the ICV of a separate algorithm covers everything before it. RFC 5282 section 5.1: the
        // AAD of a combined mode is everything before the IV.
        let with = Authenticated { aad: head, head, tail: &[] };
        keys.expect("the keys were checked when they were taken").seal(with, iv, body, icv);
    }

    /// Checks and decrypts a received message in place. `content_at` is where the content of the Encrypted payload (the
    /// IV) begins; the content goes to the end of the message.
    ///
    /// Returns where in `message` the inner payloads are, without padding. After an error the octets from `content_at` on
    /// are meaningless.
    pub fn open(&self, message: &mut [u8], content_at: usize) -> Result<Range<usize>, OpenError> {
        let (head, rest) = message.split_at_mut_checked(content_at).ok_or(OpenError::TooShort)?;
        let (iv, rest) = rest.split_at_mut_checked(self.iv_len()).ok_or(OpenError::TooShort)?;
        let body_len = rest.len().checked_sub(self.icv_len()).ok_or(OpenError::TooShort)?;
        let (body, icv) = rest.split_at_mut_checked(body_len).ok_or(OpenError::TooShort)?;
        if body.is_empty() {
            return Err(OpenError::TooShort); // there is at least the pad length
        }
        if !body.len().is_multiple_of(self.block_len()) {
            return Err(OpenError::NotBlockMultiple);
        }
        let keys = Open::new(self.cipher, self.integrity, self.sk_e.expose(), self.sk_a.expose());
        let keys = keys.map_err(|_| OpenError::IntegrityCheckFailed)?; // cannot be: they were checked when taken
        keys.open(Authenticated { aad: head, head, tail: &[] }, iv, body, icv)?;
        // RFC 7296 section 3.14: the recipient accepts any padding, of any length that fits.
        let padding = usize::from(*body.last().ok_or(OpenError::TooShort)?) + 1;
        let inner = body.len().checked_sub(padding).ok_or(OpenError::BadPadding)?;
        let start = content_at + self.iv_len();
        Ok(start..start + inner)
    }
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protection")
            .field("cipher", &self.cipher)
            .field("integrity", &self.integrity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixed, Seeded, hex};
    use proptest::prelude::*;
    use wire::registry::{EncryptionId, IntegrityId};

    fn suites() -> Vec<Protection> {
        let hmac = Integrity::new(IntegrityId::HMAC_SHA2_256_128).unwrap();
        let xcbc = Integrity::new(IntegrityId::AES_XCBC_96).unwrap();
        let ciphers = EncryptionId::KNOWN
            .iter()
            .flat_map(|id| [None, Some(128), Some(192), Some(256)].map(|bits| Cipher::new(*id, bits)))
            .filter_map(Result::ok)
            .filter(|cipher| !cipher.leaves_plaintext());
        ciphers
            .flat_map(|cipher| match cipher.is_aead() {
                true => vec![(cipher, None)],
                false => vec![(cipher, Some(hmac)), (cipher, Some(xcbc))],
            })
            .map(|(cipher, integrity)| {
                let octets: Vec<u8> = (0..128).map(|i: u8| i.wrapping_mul(73)).collect();
                let sk_a = &octets[..integrity.map_or(0, Integrity::key_len)];
                Protection::new(cipher, integrity, &octets[50..50 + cipher.key_len()], sk_a).unwrap()
            })
            .collect()
    }

    /// Header and generic header (32 octets), IV, `inner` padded to the block with `extra` more blocks, ICV.
    fn message(protection: &Protection, inner: &[u8], extra: usize) -> Vec<u8> {
        let block = protection.block_len();
        let padding = (inner.len() + 1).next_multiple_of(block) - inner.len() - 1 + extra * block;
        let mut message = (0..32).collect::<Vec<u8>>();
        message.extend(vec![0; protection.iv_len()]);
        message.extend_from_slice(inner);
        message.extend(vec![0xEE; padding]);
        message.push(padding as u8);
        message.extend(vec![0; protection.icv_len()]);
        message
    }

    /// RFC 7634 appendix B: an INFORMATIONAL request.
    #[test]
    fn rfc_7634_ike_message() {
        let key: Vec<u8> = (0x80..0xa0).chain([0xa0, 0xa1, 0xa2, 0xa3]).collect();
        let cipher = Cipher::new(EncryptionId::CHACHA20_POLY1305, None).unwrap();
        let protection = Protection::new(cipher, None, &key, &[]).unwrap();
        let expected = hex("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029
             1011121314151617610394701f8d017f7c12924889
             6b71bfe25236efd7cdc67066906315b2");
        let inner = hex("0000000c000040010000000a");
        let mut message = [&expected[..32], &[0; 8], &inner, &[0], &[0; 16]].concat();
        protection.seal(&mut message, 32, 0x1011_1213_1415_1617, &mut Fixed(vec![0]));
        assert_eq!(message, expected);
        let range = protection.open(&mut message, 32).unwrap();
        assert_eq!(message[range], inner);
    }

    /// RFC 3602 section 4, case 1, through the CBC and HMAC path; the ICV from its definition.
    #[test]
    fn cbc_takes_its_iv_from_the_random_source() {
        let cipher = Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).unwrap();
        let key = hex("06a9214036b8a15b512e03d534120006");
        let protection = Protection::new(cipher, Some(integrity), &key, &[9; 20]).unwrap();
        let iv = hex("3dafba429d9eb430b422da802c9fac41");
        let mut message = [&[1; 32][..], &[0; 16], b"Single block msg", &[0; 12]].concat();
        protection.seal(&mut message, 32, 1, &mut Fixed(iv.clone()));
        assert_eq!(message[32..48], iv);
        assert_eq!(message[48..64], hex("e353779c1079aeb82708942dbe77181a"));
        assert_eq!(message[64..], integrity.compute(&[9; 20], &[&message[..64]]));
        // "g" = 103 is no pad length for 16 octets.
        assert_eq!(protection.open(&mut message, 32), Err(OpenError::BadPadding));
    }

    /// Seals `plain`, padded or not, and compares with `aad | IV | sealed`.
    fn assert_seals(cipher: Cipher, key: &str, iv: &str, aad: &str, plain: &str, sealed: &str) {
        let protection = Protection::new(cipher, None, &hex(key), &[]).unwrap();
        let (aad, iv, sealed) = (hex(aad), hex(iv), hex(sealed));
        let mut message = [aad.clone(), vec![0; 8], hex(plain), vec![0; cipher.icv_len()]].concat();
        let sequence = u64::from_be_bytes(iv[..].try_into().unwrap());
        protection.seal(&mut message, aad.len(), sequence, &mut Fixed(vec![0]));
        assert_eq!(message, [aad, iv, sealed].concat(), "{cipher:?}");
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test case 4; the shorter ICVs are its
    /// first octets (RFC 4106 section 6).
    #[test]
    fn gcm_test_case_4() {
        let sealed = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b39\
                      6a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47";
        for (id, octets) in
            [(EncryptionId::AES_GCM_16, 76), (EncryptionId::AES_GCM_12, 72), (EncryptionId::AES_GCM_8, 68)]
        {
            assert_seals(
                Cipher::new(id, Some(128)).unwrap(),
                "feffe9928665731c6d6a8f9467308308 cafebabe",
                "facedbaddecaf888",
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5
                 aa0de657ba637b39",
                &sealed[..2 * octets],
            );
        }
    }

    /// Two cases with 11-octet nonces from NIST CAVS files, as the Linux kernel and strongSwan carry them.
    #[test]
    fn ccm_cavs() {
        assert_seals(
            Cipher::new(EncryptionId::AES_CCM_12, Some(256)).unwrap(),
            "7cc8183b8d99e07c4541b8bd5ca7c2328ab80259a4fea92c09759a9b3c9b2739 f9d94e",
            "63b53d9d43f61e50",
            "57f56b8b575c3d3b1302010c834c96358ed639cf7d149b94b03936e68f57e013",
            "3b6c2936b6ef07a68372074fcffa66895fcab1bad58f2c2730db750993d465e4",
            "b0885a33aae5c71d8523c7c62ff41e3dcc63442507784f9e96b888ebbc481f06 39af39acd84a80397b728af7",
        );
        assert_seals(
            Cipher::new(EncryptionId::AES_CCM_8, Some(192)).unwrap(),
            "585da096651a04d796e5c568aa9535e029a0ba9e4878d1ba ee4983",
            "e9a9ffe957bafd9e",
            "44a62c05e9e143b1587cf25c6d390a64a4f01305d177996711c4c6",
            "85346642c8920f3658e06b913c985cbb0a85cc02ad7a96e96543a4",
            "fbe55d34bee5e8e75aef2fbf1f7fd4b266ca611e967a61b31c1645 11031648fbb7def1",
        );
    }

    /// NIST's 3DES multi-block message test, example 1.
    #[test]
    fn triple_des_mmt() {
        let cipher = Cipher::new(EncryptionId::TRIPLE_DES, None).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).ok();
        let key = hex("627f460e08104a1043cd265d5840eaf1313edf97df2a8a8c");
        let protection = Protection::new(cipher, integrity, &key, &[0; 20]).unwrap();
        let mut message = [vec![0; 8], hex("326a494cd33fe756"), vec![0; 12]].concat();
        protection.seal(&mut message, 0, 0, &mut Fixed(hex("8e29f75ea77e5475")));
        assert_eq!(message[..16], hex("8e29f75ea77e5475b22b8d66de970692"));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(
            which in 0..1000usize, inner in proptest::collection::vec(any::<u8>(), 0..300), extra in 0..8usize,
            sequence: u64, seed: u64,
        ) {
            let suites = suites();
            let protection = &suites[which % suites.len()];
            let mut message = message(protection, &inner, extra);
            protection.seal(&mut message, 32, sequence, &mut Seeded(seed));
            let range = protection.open(&mut message, 32).unwrap();
            prop_assert_eq!(&message[range], &inner[..]);
        }

        #[test]
        fn arbitrary_octets_never_open(
            which in 0..1000usize, octets in proptest::collection::vec(any::<u8>(), 0..200), content_at in 0..220usize,
        ) {
            let suites = suites();
            let mut octets = octets;
            prop_assert!(suites[which % suites.len()].open(&mut octets, content_at).is_err());
        }
    }

    #[test]
    fn a_changed_bit_in_any_octet_is_noticed() {
        for protection in suites() {
            let mut sealed = message(&protection, b"a payload of some length, or two", 1);
            protection.seal(&mut sealed, 32, 5, &mut Seeded(1));
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << (at % 8);
                assert_eq!(protection.open(&mut changed, 32), Err(OpenError::IntegrityCheckFailed), "octet {at}");
            }
            for length in 0..sealed.len() {
                assert!(protection.open(&mut sealed[..length].to_vec(), 32).is_err());
            }
            assert!(protection.open(&mut sealed, 32).is_ok());
        }
    }

    #[test]
    fn another_key_fails_the_integrity_check() {
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(256)).unwrap();
        let ours = Protection::new(cipher, None, &[1; 36], &[]).unwrap();
        let theirs = Protection::new(cipher, None, &[2; 36], &[]).unwrap();
        let mut sealed = message(&ours, b"payload", 0);
        ours.seal(&mut sealed, 32, 5, &mut Seeded(1));
        assert_eq!(theirs.open(&mut sealed, 32), Err(OpenError::IntegrityCheckFailed));
    }

    #[test]
    fn too_much_padding_is_its_own_error() {
        for protection in suites() {
            let mut sealed = message(&protection, &[0; 31], 0);
            let last = sealed.len() - protection.icv_len() - 1;
            sealed[last] = 200;
            protection.seal(&mut sealed, 32, 5, &mut Seeded(1));
            assert_eq!(protection.open(&mut sealed, 32), Err(OpenError::BadPadding));
        }
    }

    #[test]
    fn short_and_ragged_messages_are_told_apart() {
        for protection in suites() {
            let overhead = 32 + protection.iv_len() + protection.icv_len();
            for length in 0..=overhead {
                assert_eq!(protection.open(&mut vec![0; length], 32), Err(OpenError::TooShort));
            }
            if protection.block_len() > 1 {
                assert_eq!(protection.open(&mut vec![0; overhead + 1], 32), Err(OpenError::NotBlockMultiple));
            }
        }
    }

    #[test]
    fn null_encryption_is_not_for_ike() {
        let null = Cipher::new(EncryptionId::NULL, None).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).ok();
        let refused = BadKey::PlaintextForIke(EncryptionId::NULL);
        assert_eq!(Protection::new(null, integrity, &[], &[0; 20]).unwrap_err(), refused);
        let gmac = Cipher::new(EncryptionId::NULL_AES_GMAC, Some(128)).unwrap();
        let refused = Protection::new(gmac, None, &[0; 20], &[]).unwrap_err();
        assert_eq!(refused.to_string(), "NULL_AES_GMAC does not encrypt and cannot protect an IKE SA");
    }

    #[test]
    fn debug_shows_no_key() {
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).unwrap();
        let text = format!("{:?}", Protection::new(cipher, None, &[0x41; 20], &[]).unwrap());
        assert!(!text.contains("65") && !text.contains("41") && !text.contains("AAAA"), "{text}");
    }
}
