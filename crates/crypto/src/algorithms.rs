//! Negotiated identifiers resolved to algorithms, with the lengths that the RFCs give them.

use crate::Unsupported;
use crate::mac::MacKey;
use wire::Secret;
use wire::registry::{EncryptionId, IntegrityId, PrfId};

/// An encryption algorithm with its key length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Cipher {
    id: EncryptionId,
    /// Length of the cipher's own key, without salt.
    bits: u16,
}

/// How a cipher works, which decides most of its lengths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Null,
    Cbc,
    Ctr,
    Ccm,
    Gcm,
    /// GCM that authenticates and does not encrypt (RFC 4543).
    Gmac,
    ChaChaPoly,
}

impl Cipher {
    /// Resolves an encryption transform.
    ///
    /// AES and Camellia need their key length attribute (128, 192 or 256 bits, RFC 7296 section 3.3.5), and so does
    /// Blowfish (RFC 2451 section 2.2 allows 40 to 448 bits; below 128 they are refused here); ciphers with one fixed length
    /// must come without. [`EncryptionId::NULL`] and [`EncryptionId::NULL_AES_GMAC`] are accepted here for ESP;
    /// [`crate::Protection`] refuses them.
    pub fn new(id: EncryptionId, key_length_bits: Option<u16>) -> Result<Self, Unsupported> {
        let bits = match (id, key_length_bits) {
            (
                EncryptionId::AES_CBC
                | EncryptionId::AES_CTR
                | EncryptionId::AES_CCM_8
                | EncryptionId::AES_CCM_12
                | EncryptionId::AES_CCM_16
                | EncryptionId::AES_GCM_8
                | EncryptionId::AES_GCM_12
                | EncryptionId::AES_GCM_16
                | EncryptionId::NULL_AES_GMAC
                | EncryptionId::CAMELLIA_CBC,
                Some(bits @ (128 | 192 | 256)),
            ) => bits,
            (EncryptionId::BLOWFISH, Some(bits @ 128..=448)) if bits.is_multiple_of(8) => bits,
            (EncryptionId::TRIPLE_DES, None) => 192,
            (EncryptionId::CHACHA20_POLY1305, None) => 256,
            (EncryptionId::NULL, None) => 0,
            _ => return Err(Unsupported::Encryption(id, key_length_bits)),
        };
        Ok(Self { id, bits })
    }

    pub(crate) fn mode(self) -> Mode {
        match self.id {
            EncryptionId::TRIPLE_DES | EncryptionId::BLOWFISH | EncryptionId::AES_CBC | EncryptionId::CAMELLIA_CBC => {
                Mode::Cbc
            }
            EncryptionId::AES_CTR => Mode::Ctr,
            EncryptionId::AES_CCM_8 | EncryptionId::AES_CCM_12 | EncryptionId::AES_CCM_16 => Mode::Ccm,
            EncryptionId::AES_GCM_8 | EncryptionId::AES_GCM_12 | EncryptionId::AES_GCM_16 => Mode::Gcm,
            EncryptionId::NULL_AES_GMAC => Mode::Gmac,
            EncryptionId::CHACHA20_POLY1305 => Mode::ChaChaPoly,
            _ => Mode::Null,
        }
    }

    /// The transform ID.
    pub fn id(self) -> EncryptionId {
        self.id
    }

    /// Length of the cipher's key in bits, without salt: the value of the key length attribute where there is one.
    /// 3DES counts its parity bits (192), NULL has 0.
    pub fn key_bits(self) -> u16 {
        self.bits
    }

    /// Whether the cipher authenticates by itself and so takes no integrity algorithm.
    pub fn is_aead(self) -> bool {
        matches!(self.mode(), Mode::Ccm | Mode::Gcm | Mode::Gmac | Mode::ChaChaPoly)
    }

    /// Whether what it protects can be read by anybody (NULL, and GMAC beside it): not for IKE SAs (RFC 7296 section 5).
    pub fn leaves_plaintext(self) -> bool {
        matches!(self.mode(), Mode::Null | Mode::Gmac)
    }

    /// Whether the cipher is kept only for old peers (3DES: RFC 8247 section 2.1, RFC 8221 section 5, which says of
    /// Blowfish that it must not be used). Both have blocks of 64 bits.
    pub fn is_legacy(self) -> bool {
        matches!(self.id, EncryptionId::TRIPLE_DES | EncryptionId::BLOWFISH)
    }

    /// Octets of salt (or CTR nonce) that the key schedule draws after the key.
    pub(crate) fn salt_len(self) -> usize {
        match self.mode() {
            // RFC 4106 section 4 and RFC 5282 section 7.1 (GCM), RFC 4543 section 3.2 (GMAC), RFC 3686 section
            // 5.1 and RFC 5930 section 2 (CTR), RFC 7634 section 2.
            Mode::Gcm | Mode::Gmac | Mode::Ctr | Mode::ChaChaPoly => 4,
            // RFC 4309 section 4, RFC 5282 section 7.1.
            Mode::Ccm => 3,
            Mode::Null | Mode::Cbc => 0,
        }
    }

    /// Octets of SK_e, or of an ESP encryption key, that the key schedule draws: key and salt.
    pub fn key_len(self) -> usize {
        usize::from(self.bits / 8) + self.salt_len()
    }

    /// Octets of explicit IV in each message.
    pub fn iv_len(self) -> usize {
        match self.mode() {
            Mode::Null => 0,
            Mode::Cbc => self.block_len(),
            Mode::Ctr | Mode::Ccm | Mode::Gcm | Mode::Gmac | Mode::ChaChaPoly => 8,
        }
    }

    /// The plaintext must be a multiple of this many octets. 1 for stream and combined modes: alignment beyond that is
    /// a rule of ESP, not of the cipher.
    pub fn block_len(self) -> usize {
        match self.id {
            EncryptionId::AES_CBC | EncryptionId::CAMELLIA_CBC => 16,
            EncryptionId::TRIPLE_DES | EncryptionId::BLOWFISH => 8,
            _ => 1,
        }
    }

    /// Octets of the integrity check value that a combined mode appends; 0 for the others.
    pub fn icv_len(self) -> usize {
        match self.id {
            EncryptionId::AES_CCM_8 | EncryptionId::AES_GCM_8 => 8,
            EncryptionId::AES_CCM_12 | EncryptionId::AES_GCM_12 => 12,
            EncryptionId::AES_CCM_16
            | EncryptionId::AES_GCM_16
            | EncryptionId::NULL_AES_GMAC
            | EncryptionId::CHACHA20_POLY1305 => 16,
            _ => 0,
        }
    }
}

/// The functions behind PRFs and integrity algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) enum Function {
    HmacMd5,
    HmacSha1,
    HmacSha256,
    HmacSha384,
    HmacSha512,
    AesXcbc,
    AesCmac,
}

impl Function {
    pub(crate) fn output_len(self) -> usize {
        match self {
            Self::HmacMd5 => 16,
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
            Self::AesXcbc | Self::AesCmac => 16,
        }
    }

    /// Whether it is there for old peers only.
    fn is_legacy(self) -> bool {
        matches!(self, Self::HmacMd5 | Self::HmacSha1)
    }
}

/// An integrity algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Integrity {
    id: IntegrityId,
    function: Function,
    icv_len: u8,
}

impl Integrity {
    /// Resolves an integrity transform. DES-MAC, KPDK and the GMACs are not here; [`IntegrityId::NONE`] is no
    /// algorithm and is expressed as the absence of an `Integrity`.
    pub fn new(id: IntegrityId) -> Result<Self, Unsupported> {
        let (function, icv_len) = match id {
            IntegrityId::HMAC_MD5_96 => (Function::HmacMd5, 12),   // RFC 2403
            IntegrityId::HMAC_SHA1_96 => (Function::HmacSha1, 12), // RFC 2404
            IntegrityId::AES_XCBC_96 => (Function::AesXcbc, 12),   // RFC 3566
            IntegrityId::AES_CMAC_96 => (Function::AesCmac, 12),   // RFC 4494
            // RFC 4595 section 4.3: all of the hash, made for Fibre Channel.
            IntegrityId::HMAC_MD5_128 => (Function::HmacMd5, 16),
            IntegrityId::HMAC_SHA1_160 => (Function::HmacSha1, 20),
            // RFC 4868 section 2.3: half of the hash.
            IntegrityId::HMAC_SHA2_256_128 => (Function::HmacSha256, 16),
            IntegrityId::HMAC_SHA2_384_192 => (Function::HmacSha384, 24),
            IntegrityId::HMAC_SHA2_512_256 => (Function::HmacSha512, 32),
            // draft-ietf-ipsec-ciph-sha-256-00, before RFC 4868: what Linux before 2.6.33 does.
            IntegrityId::HMAC_SHA2_256_96 => (Function::HmacSha256, 12),
            _ => return Err(Unsupported::Integrity(id)),
        };
        Ok(Self { id, function, icv_len })
    }

    /// The transform ID.
    pub fn id(self) -> IntegrityId {
        self.id
    }

    /// Octets of SK_a, or of an ESP integrity key: the length of the function's output (RFC 2404 section 3, RFC 4868
    /// section 2.1.1).
    pub fn key_len(self) -> usize {
        self.function.output_len()
    }

    /// Octets of the integrity check value on the wire.
    pub fn icv_len(self) -> usize {
        self.icv_len.into()
    }

    /// Whether the algorithm is kept only for old peers (MD5, SHA-1).
    pub fn is_legacy(self) -> bool {
        self.function.is_legacy()
    }

    /// Prepares a key for many messages.
    pub fn key(self, key: &[u8]) -> MacKey {
        MacKey::new(self.function, key)
    }

    /// The integrity check value of the concatenated `parts`, at its length on the wire.
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let tag = self.key(key).tag(parts);
        tag.octets().iter().copied().take(self.icv_len()).collect()
    }
}

/// A pseudorandom function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Prf {
    id: PrfId,
    function: Function,
}

impl Prf {
    /// Resolves a PRF transform. Tiger is not here.
    pub fn new(id: PrfId) -> Result<Self, Unsupported> {
        let function = match id {
            PrfId::HMAC_MD5 => Function::HmacMd5,
            PrfId::HMAC_SHA1 => Function::HmacSha1,
            PrfId::AES128_XCBC => Function::AesXcbc,
            PrfId::HMAC_SHA2_256 => Function::HmacSha256,
            PrfId::HMAC_SHA2_384 => Function::HmacSha384,
            PrfId::HMAC_SHA2_512 => Function::HmacSha512,
            PrfId::AES128_CMAC => Function::AesCmac,
            _ => return Err(Unsupported::Prf(id)),
        };
        Ok(Self { id, function })
    }

    /// The transform ID.
    pub fn id(self) -> PrfId {
        self.id
    }

    /// The preferred key length in octets: the length of SK_d, SK_pi and SK_pr (RFC 7296 section 2.14).
    pub fn key_len(self) -> usize {
        self.function.output_len()
    }

    /// Octets of output.
    pub fn output_len(self) -> usize {
        self.function.output_len()
    }

    /// Whether the function is kept only for old peers (MD5, SHA-1).
    pub fn is_legacy(self) -> bool {
        self.function.is_legacy()
    }

    /// Whether the key schedule takes only the first 64 bits of each nonce as the key of SKEYSEED: a rule for the two
    /// AES PRFs that RFC 7296 section 2.14 keeps for compatibility.
    pub(crate) fn truncates_nonces(self) -> bool {
        matches!(self.function, Function::AesXcbc | Function::AesCmac)
    }

    /// Prepares a key for more than one use. Any length is a valid key: HMAC hashes long ones, the AES functions follow
    /// RFC 4434 section 2 and RFC 4615 section 3.
    pub fn key(self, key: &[u8]) -> MacKey {
        match self.function {
            Function::AesXcbc => MacKey::xcbc_prf(key),
            Function::AesCmac => MacKey::cmac_prf(key),
            function => MacKey::new(function, key),
        }
    }

    /// prf(key, parts), the parts concatenated.
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        self.key(key).compute_once(parts)
    }

    /// The first `length` octets of prf+(key, seed), the parts of the seed concatenated (RFC 7296 section 2.13).
    ///
    /// # Panics
    /// If `length` exceeds 255 outputs of the function, where prf+ ends. Lengths come from our own algorithms, whose keys
    /// are far below that.
    pub fn plus(self, key: &[u8], seed: &[&[u8]], length: usize) -> Secret {
        assert!(length <= 255 * self.output_len(), "prf+ ends after 255 blocks (RFC 7296 section 2.13)");
        let key = self.key(key);
        let mut output = Vec::with_capacity(length);
        // T1 = prf(K, S | 1), Tn = prf(K, Tn-1 | S | n)
        let mut block = key.tag_of(&[], seed, &[1]);
        for counter in 2..=255u8 {
            let wanted = length - output.len();
            output.extend(block.octets().iter().take(wanted));
            if output.len() == length {
                break;
            }
            block = key.tag_of(block.octets(), seed, &[counter]);
        }
        let wanted = length - output.len();
        output.extend(block.octets().iter().take(wanted));
        Secret::new(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_those_of_the_rfcs() {
        let lengths = |id, bits| {
            let c = Cipher::new(id, bits).unwrap();
            (c.key_len(), c.iv_len(), c.block_len(), c.icv_len(), c.is_aead())
        };
        assert_eq!(lengths(EncryptionId::AES_CBC, Some(256)), (32, 16, 16, 0, false));
        assert_eq!(lengths(EncryptionId::TRIPLE_DES, None), (24, 8, 8, 0, false));
        assert_eq!(lengths(EncryptionId::AES_CTR, Some(128)), (20, 8, 1, 0, false));
        assert_eq!(lengths(EncryptionId::AES_GCM_16, Some(128)), (20, 8, 1, 16, true));
        assert_eq!(lengths(EncryptionId::AES_GCM_8, Some(192)), (28, 8, 1, 8, true));
        assert_eq!(lengths(EncryptionId::AES_CCM_12, Some(256)), (35, 8, 1, 12, true));
        assert_eq!(lengths(EncryptionId::CHACHA20_POLY1305, None), (36, 8, 1, 16, true));
        assert_eq!(lengths(EncryptionId::NULL, None), (0, 0, 1, 0, false));
        assert_eq!(lengths(EncryptionId::CAMELLIA_CBC, Some(192)), (24, 16, 16, 0, false));
        assert_eq!(lengths(EncryptionId::BLOWFISH, Some(448)), (56, 8, 8, 0, false));
        assert_eq!(lengths(EncryptionId::NULL_AES_GMAC, Some(256)), (36, 8, 1, 16, true));
        for bits in [None, Some(40), Some(120), Some(132), Some(456), Some(u16::MAX)] {
            assert!(Cipher::new(EncryptionId::BLOWFISH, bits).is_err(), "{bits:?}");
        }

        let integrity = |id| Integrity::new(id).map(|i| (i.key_len(), i.icv_len())).unwrap();
        assert_eq!(integrity(IntegrityId::HMAC_MD5_96), (16, 12));
        assert_eq!(integrity(IntegrityId::HMAC_SHA1_96), (20, 12));
        assert_eq!(integrity(IntegrityId::HMAC_SHA2_256_128), (32, 16));
        assert_eq!(integrity(IntegrityId::HMAC_SHA2_384_192), (48, 24));
        assert_eq!(integrity(IntegrityId::HMAC_SHA2_512_256), (64, 32));
        assert_eq!(integrity(IntegrityId::AES_XCBC_96), (16, 12));
        assert_eq!(integrity(IntegrityId::AES_CMAC_96), (16, 12));
        assert_eq!(integrity(IntegrityId::HMAC_MD5_128), (16, 16));
        assert_eq!(integrity(IntegrityId::HMAC_SHA1_160), (20, 20));
        assert_eq!(integrity(IntegrityId::HMAC_SHA2_256_96), (32, 12));
    }

    #[test]
    fn every_known_identifier_resolves_or_is_refused_by_name() {
        let ciphers = EncryptionId::KNOWN.iter().filter(|id| {
            let fixed = Cipher::new(**id, None);
            let variable = Cipher::new(**id, Some(256));
            assert!(fixed.is_err() || variable.is_err(), "{id} cannot have both a fixed and a variable key length");
            fixed.is_ok() || variable.is_ok()
        });
        assert_eq!(ciphers.count(), 14);
        assert_eq!(IntegrityId::KNOWN.iter().filter(|id| Integrity::new(**id).is_ok()).count(), 10);
        assert_eq!(PrfId::KNOWN.iter().filter(|id| Prf::new(**id).is_ok()).count(), 7);
        let text = Prf::new(PrfId::HMAC_TIGER).unwrap_err().to_string();
        assert_eq!(text, "pseudorandom function HMAC_TIGER is not supported");
    }

    #[test]
    fn legacy_algorithms_are_marked() {
        assert!(Cipher::new(EncryptionId::TRIPLE_DES, None).unwrap().is_legacy());
        assert!(!Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap().is_legacy());
        assert!(Cipher::new(EncryptionId::BLOWFISH, Some(128)).unwrap().is_legacy());
        assert!(!Cipher::new(EncryptionId::CAMELLIA_CBC, Some(128)).unwrap().is_legacy());
        assert!(Integrity::new(IntegrityId::HMAC_MD5_96).unwrap().is_legacy());
        assert!(Integrity::new(IntegrityId::HMAC_SHA1_96).unwrap().is_legacy());
        assert!(!Prf::new(PrfId::HMAC_SHA2_256).unwrap().is_legacy());
        assert!(Prf::new(PrfId::HMAC_SHA1).unwrap().is_legacy());
    }

    /// RFC 4231 sections 4.2 and 4.3: HMAC with a 20-octet key, and with a key shorter than the output.
    #[test]
    fn rfc_4231_hmac() {
        let cases = [
            (
                PrfId::HMAC_SHA2_256,
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                PrfId::HMAC_SHA2_384,
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                PrfId::HMAC_SHA2_512,
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4\
                 be9d914eeb61f1702e696c203a126854",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
                 caeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (id, first, second) in cases {
            let prf = Prf::new(id).unwrap();
            assert_eq!(prf.compute(&[0x0b; 20], &[b"Hi ", b"There"]).expose(), hex(first), "{id}");
            let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
            assert_eq!(prf.compute(b"Jefe", &parts).expose(), hex(second), "{id}");
        }
    }

    /// RFC 2202 section 2, cases 1 and 2: HMAC-MD5, and its first 96 bits as RFC 2403 uses them.
    #[test]
    fn rfc_2202_hmac_md5() {
        let prf = Prf::new(PrfId::HMAC_MD5).unwrap();
        let expected = hex("9294727a3638bb1c13f48ef8158bfc9d");
        assert_eq!(prf.compute(&[0x0b; 16], &[b"Hi ", b"There"]).expose(), expected);
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        assert_eq!(prf.compute(b"Jefe", &parts).expose(), hex("750c783e6ab0b503eaa86e310a5db738"));
        let integrity = Integrity::new(IntegrityId::HMAC_MD5_96).unwrap();
        assert_eq!(integrity.compute(&[0x0b; 16], &[b"Hi There"]), expected[..12]);
        let whole = Integrity::new(IntegrityId::HMAC_MD5_128).unwrap();
        assert_eq!(whole.compute(&[0x0b; 16], &[b"Hi There"]), expected);
    }

    /// RFC 4231 section 4.2, its first 96 bits.
    #[test]
    fn sha256_of_96_bits_is_the_beginning_of_the_hmac() {
        let integrity = Integrity::new(IntegrityId::HMAC_SHA2_256_96).unwrap();
        assert_eq!(integrity.compute(&[0x0b; 20], &[b"Hi There"]), hex("b0344c61d8db38535ca8afce"));
    }

    /// RFC 2202 section 3, case 1: HMAC-SHA-1, and its first 96 bits as RFC 2404 uses them.
    #[test]
    fn rfc_2202_hmac_sha1() {
        let expected = hex("b617318655057264e28bc0b6fb378c8ef146be00");
        let prf = Prf::new(PrfId::HMAC_SHA1).unwrap();
        assert_eq!(prf.compute(&[0x0b; 20], &[b"Hi There"]).expose(), expected);
        let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).unwrap();
        assert_eq!(integrity.compute(&[0x0b; 20], &[b"Hi There"]), expected[..12]);
        let whole = Integrity::new(IntegrityId::HMAC_SHA1_160).unwrap();
        assert_eq!(whole.compute(&[0x0b; 20], &[b"Hi There"]), expected);
    }

    proptest! {
        /// The definition in RFC 7296 section 2.13, computed block by block.
        #[test]
        fn prf_plus_is_the_chain_of_blocks(
            which in 0..7usize, key in proptest::collection::vec(any::<u8>(), 1..80),
            seed in proptest::collection::vec(any::<u8>(), 0..100), length in 0..900usize,
        ) {
            let known: Vec<Prf> = PrfId::KNOWN.iter().filter_map(|id| Prf::new(*id).ok()).collect();
            let prf = known[which];
            let (mut block, mut expected) = (Vec::new(), Vec::new());
            for counter in 1..=255u8 {
                block = prf.compute(&key, &[&block, &seed, &[counter]]).expose().to_vec();
                expected.extend_from_slice(&block);
            }
            let (first, second) = seed.split_at(seed.len() / 2);
            let actual = prf.plus(&key, &[first, second], length);
            prop_assert_eq!(actual.expose(), &expected[..length]);
        }
    }

    #[test]
    fn prf_plus_reaches_its_last_block() {
        let prf = Prf::new(PrfId::HMAC_SHA2_256).unwrap();
        let all = prf.plus(b"key", &[b"seed"], 255 * 32);
        let (before, last) = all.expose().split_at(254 * 32);
        let expected = prf.compute(b"key", &[&before[253 * 32..], b"seed", &[255]]);
        assert_eq!(last, expected.expose());
    }

    #[test]
    #[should_panic(expected = "255 blocks")]
    fn prf_plus_ends_after_255_blocks() {
        let _ = Prf::new(PrfId::AES128_XCBC).unwrap().plus(b"key", &[b"seed"], 255 * 16 + 1);
    }
}
