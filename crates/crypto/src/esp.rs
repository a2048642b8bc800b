//! ESP packets sealed and opened in place (RFC 4303).

use crate::algorithms::Mode;
use crate::block_mac::{cbc_key, encrypt_block};
use crate::transform::{Authenticated, Open, Seal};
use crate::v2::EspKeys;
use crate::{BadKey, Cipher, Integrity, OpenError, Prf};
use aws_lc_rs::cipher::{AES_128, EncryptingKey};
use std::ops::Range;
use wire::registry::PrfId;

/// SPI and sequence number.
const HEADER: usize = 8;
/// Pad length and next header.
const TRAILER: usize = 2;

/// What a packet's integrity check covers beside IV and body (RFC 4303 section 2.8): the header, and with extended
/// sequence numbers their high half, which is not transmitted.
struct Covered {
    aad: [u8; 12],
    aad_len: usize,
    high: [u8; 4],
}

impl Covered {
    fn new(header: &[u8; HEADER], esn_high: Option<u32>) -> Self {
        let [s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        let high = esn_high.unwrap_or_default().to_be_bytes();
        let [h0, h1, h2, h3] = high;
        match esn_high {
            // RFC 4106 section 5, RFC 4309 section 5, RFC 7634 section 2.1: SPI | high | low.
            Some(_) => Self { aad: [s0, s1, s2, s3, h0, h1, h2, h3, l0, l1, l2, l3], aad_len: 12, high },
            None => Self { aad: [s0, s1, s2, s3, l0, l1, l2, l3, 0, 0, 0, 0], aad_len: HEADER, high },
        }
    }

    fn with<'a>(&'a self, header: &'a [u8; HEADER]) -> Authenticated<'a> {
        // RFC 4303 section 3.3.2.1: a separate algorithm covers the high half after the trailer.
        let tail = if self.aad_len == HEADER { &[][..] } else { &self.high };
        Authenticated { aad: self.aad.get(..self.aad_len).unwrap_or_default(), head: header, tail }
    }
}

/// Where the IV of a packet comes from.
enum Iv {
    None,
    /// The counter itself (RFC 4106 section 3.1, RFC 3686 section 3.1, RFC 7634 section 2).
    Counter,
    /// The counter, encrypted.
    Encrypted(Box<EncryptingKey>),
}

/// Seals the packets of an outbound ESP SA. Keys are expanded once; nothing is allocated per packet, but for GMAC, whose
/// library wants all that it authenticates in one piece.
///
/// IVs: combined and counter modes take the counter. CBC needs IVs that nobody can predict (RFC 3602 section 3): there the
/// IV is the counter encrypted with AES-128 under a key of its own, `HMAC-SHA-256(encryption key, "ESP CBC IV")`. To
/// anybody without the SA's key that is indistinguishable from a random block, it never repeats, and no random source is
/// needed per packet.
pub struct EspSealer {
    keys: Seal,
    iv: Iv,
    iv_len: usize,
    icv_len: usize,
    block_len: usize,
}

impl EspSealer {
    /// Expands the keys of one direction.
    pub fn new(cipher: Cipher, integrity: Option<Integrity>, keys: &EspKeys) -> Result<Self, BadKey> {
        let (encryption, authentication) = (keys.encryption.expose(), keys.integrity.expose());
        let iv = match cipher.mode() {
            Mode::Null => Iv::None,
            Mode::Cbc => {
                let derived = Prf::new(PrfId::HMAC_SHA2_256).ok().map(|prf| prf.compute(encryption, &[b"ESP CBC IV"]));
                let key = derived.and_then(|derived| cbc_key(&AES_128, derived.expose().get(..16)?));
                Iv::Encrypted(Box::new(key.expect("AES-128 takes every key of 16 octets")))
            }
            Mode::Ctr | Mode::Ccm | Mode::Gcm | Mode::Gmac | Mode::ChaChaPoly => Iv::Counter,
        };
        Ok(Self {
            keys: Seal::new(cipher, integrity, encryption, authentication)?,
            iv,
            iv_len: cipher.iv_len(),
            icv_len: integrity.map_or(cipher.icv_len(), Integrity::icv_len),
            block_len: cipher.block_len(),
        })
    }

    /// Octets of IV after the sequence number.
    pub fn iv_len(&self) -> usize {
        self.iv_len
    }

    /// Octets of integrity check value at the end.
    pub fn icv_len(&self) -> usize {
        self.icv_len
    }

    /// Payload and trailer must be a multiple of this many octets for the cipher. ESP itself asks for 4 (RFC 4303
    /// section 2.4), which is the caller's part.
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Seals `packet` in place: SPI, sequence number, room for the IV, payload with trailer, room for the ICV.
    ///
    /// `esn_high` is the high half of the sequence number if extended sequence numbers were negotiated. `counter` must
    /// never repeat under one key; the 64-bit sequence number will do.
    ///
    /// # Panics
    /// If the packet is too short for its algorithms or its content is no multiple of [`EspSealer::block_len`]. The
    /// packet is our own, so this is a mistake in the program, and to send it unprotected would be worse.
    pub fn seal(&self, packet: &mut [u8], esn_high: Option<u32>, counter: u64) {
        let layout = "the packet has the layout of its algorithms";
        let (header, rest) = packet.split_first_chunk_mut::<HEADER>().expect(layout);
        let (iv, rest) = rest.split_at_mut_checked(self.iv_len).expect(layout);
        let body_len = rest.len().checked_sub(self.icv_len).expect(layout);
        let (body, icv) = rest.split_at_mut_checked(body_len).expect(layout);
        assert!(body.len() >= TRAILER && body.len().is_multiple_of(self.block_len), "{layout}");
        match &self.iv {
            Iv::None => {}
            Iv::Counter => iv.copy_from_slice(&counter.to_be_bytes()),
            Iv::Encrypted(key) => {
                let block = encrypt_block(key, u128::from(counter).to_be_bytes());
                iv.iter_mut().zip(block).for_each(|(to, from)| *to = from);
            }
        }
        let covered = Covered::new(header, esn_high);
        self.keys.seal(covered.with(header), iv, body, icv);
    }
}

impl std::fmt::Debug for EspSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EspSealer(..)")
    }
}

/// Opens the packets of an inbound ESP SA. Keys are expanded once; nothing is allocated per packet, but for GMAC.
pub struct EspOpener {
    keys: Open,
    iv_len: usize,
    icv_len: usize,
    block_len: usize,
}

impl EspOpener {
    /// Expands the keys of one direction.
    pub fn new(cipher: Cipher, integrity: Option<Integrity>, keys: &EspKeys) -> Result<Self, BadKey> {
        Ok(Self {
            keys: Open::new(cipher, integrity, keys.encryption.expose(), keys.integrity.expose())?,
            iv_len: cipher.iv_len(),
            icv_len: integrity.map_or(cipher.icv_len(), Integrity::icv_len),
            block_len: cipher.block_len(),
        })
    }

    /// Checks and decrypts `packet`, which begins with the SPI, in place.
    ///
    /// Returns where payload, padding, pad length and next header are: at least two octets. After an error everything
    /// behind the sequence number is meaningless.
    pub fn open(&self, packet: &mut [u8], esn_high: Option<u32>) -> Result<Range<usize>, OpenError> {
        let (header, rest) = packet.split_first_chunk_mut::<HEADER>().ok_or(OpenError::TooShort)?;
        let (iv, rest) = rest.split_at_mut_checked(self.iv_len).ok_or(OpenError::TooShort)?;
        let body_len = rest.len().checked_sub(self.icv_len).ok_or(OpenError::TooShort)?;
        let (body, icv) = rest.split_at_mut_checked(body_len).ok_or(OpenError::TooShort)?;
        if body.len() < TRAILER {
            return Err(OpenError::TooShort);
        }
        if !body.len().is_multiple_of(self.block_len) {
            return Err(OpenError::NotBlockMultiple);
        }
        let covered = Covered::new(header, esn_high);
        self.keys.open(covered.with(header), iv, body, icv)?;
        let start = HEADER + self.iv_len;
        Ok(start..start + body_len)
    }
}

impl std::fmt::Debug for EspOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EspOpener(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use wire::Secret;
    use wire::registry::{EncryptionId, IntegrityId};

    fn keys(encryption: &[u8], integrity: &[u8]) -> EspKeys {
        EspKeys { encryption: Secret::from(encryption), integrity: Secret::from(integrity) }
    }

    /// Every cipher with every integrity algorithm that it can go with.
    fn suites() -> Vec<(Cipher, Option<Integrity>)> {
        let ciphers = EncryptionId::KNOWN
            .iter()
            .flat_map(|id| [None, Some(128), Some(192), Some(256)].map(|bits| Cipher::new(*id, bits)))
            .filter_map(Result::ok);
        let integrity: Vec<Integrity> = IntegrityId::KNOWN.iter().filter_map(|id| Integrity::new(*id).ok()).collect();
        ciphers
            .flat_map(|cipher| match cipher.is_aead() {
                true => vec![(cipher, None)],
                false => integrity.iter().map(|i| (cipher, Some(*i))).collect(),
            })
            .collect()
    }

    fn pair(cipher: Cipher, integrity: Option<Integrity>, seed: u8) -> (EspSealer, EspOpener) {
        let octets: Vec<u8> = (0..128).map(|i: u8| i.wrapping_mul(151) ^ seed).collect();
        let keys = keys(&octets[..cipher.key_len()], &octets[64..64 + integrity.map_or(0, Integrity::key_len)]);
        (EspSealer::new(cipher, integrity, &keys).unwrap(), EspOpener::new(cipher, integrity, &keys).unwrap())
    }

    fn packet(sealer: &EspSealer, body: &[u8]) -> Vec<u8> {
        [&[1, 2, 3, 4, 0, 0, 0, 9][..], &vec![0; sealer.iv_len()], body, &vec![0; sealer.icv_len()]].concat()
    }

    /// RFC 7634 appendix A.
    #[test]
    fn rfc_7634_chacha20_poly1305() {
        let key: Vec<u8> = (0x80..0xa0).chain([0xa0, 0xa1, 0xa2, 0xa3]).collect();
        let cipher = Cipher::new(EncryptionId::CHACHA20_POLY1305, None).unwrap();
        let keys = keys(&key, &[]);
        let plain = hex(
            "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f1011121314151617
             18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204",
        );
        let expected = hex("01020304000000051011121314151617
             24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7
             2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0
             76aaa8266b7fb0f7b11b369907e1ad43");
        let mut packet = [&expected[..8], &[0; 8], &plain, &[0; 16]].concat();
        EspSealer::new(cipher, None, &keys).unwrap().seal(&mut packet, None, 0x1011_1213_1415_1617);
        assert_eq!(packet, expected);
        let range = EspOpener::new(cipher, None, &keys).unwrap().open(&mut packet, None).unwrap();
        assert_eq!(packet[range], plain);
    }

    /// RFC 3602 section 4, case 5: the ciphertext of an ESP packet, with an ICV of ours behind it.
    #[test]
    fn rfc_3602_aes_cbc() {
        let cipher = Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA2_256_128).unwrap();
        let keys = keys(&hex("90d382b410eeba7ad938c46cec1a82bf"), &[7; 32]);
        let mut packet = hex("0000432100000001e96e8c08ab465763fd098d45dd3ff893
             f663c25d325c18c6a9453e194e120849a4870b66cc6b9965330013b4898dc856
             a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874a
             a269add047ad2d5913ac19b7cfbad4a6");
        packet.extend(integrity.compute(&[7; 32], &[&packet]));
        let range = EspOpener::new(cipher, Some(integrity), &keys).unwrap().open(&mut packet, None).unwrap();
        let plain = hex("08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617
             18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637
             0102030405060708090a0b0c0d0e0e01");
        assert_eq!(packet[range], plain);
    }

    /// RFC 3686 section 6, vector 2.
    #[test]
    fn rfc_3686_aes_ctr() {
        let cipher = Cipher::new(EncryptionId::AES_CTR, Some(128)).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).unwrap();
        let keys = keys(&hex("7E24067817FAE0D743D6CE1F32539163006CB6DB"), &[7; 20]);
        let plain: Vec<u8> = (0..32).collect();
        let mut packet = [&[0; 16][..], &plain, &[0; 12]].concat();
        EspSealer::new(cipher, Some(integrity), &keys).unwrap().seal(&mut packet, None, 0xC054_3B59_DA48_D90B);
        let expected = hex("5104A106168A72D9790D41EE8EDAD388EB2E1EFC46DA57C8FCE630DF9141BE28");
        assert_eq!(packet[16..48], expected);
    }

    /// draft-mcgrew-gcm-test-01, the vector of ENCR_NULL_AUTH_AES_GMAC: the IV is authenticated, too.
    #[test]
    fn mcgrew_gmac() {
        let cipher = Cipher::new(EncryptionId::NULL_AES_GMAC, Some(128)).unwrap();
        let keys = keys(&hex("4c80cdefbb5d10da906ac73c3613a634 22433c64"), &[]);
        let plain = hex("45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364
             65666768696a6b6c6d6e6f707172737401020201");
        let expected =
            [&hex("00004321 00000007 0000000000000000"), &plain[..], &hex("f2a9a836e155106aa8dcd618e4099aaa")];
        let mut packet = [&expected[0][..8], &[0; 8], &plain, &[0; 16]].concat();
        EspSealer::new(cipher, None, &keys).unwrap().seal(&mut packet, None, 0);
        assert_eq!(packet, expected.concat());
        let range = EspOpener::new(cipher, None, &keys).unwrap().open(&mut packet, None).unwrap();
        assert_eq!(packet[range], plain);
    }

    /// RFC 4543 sections 3.3 and 3.5 against GCM: the ICV of an empty text, with SPI, both halves of the sequence number, IV
    /// and payload as AAD.
    #[test]
    fn gmac_is_gcm_of_nothing() {
        use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
        let key: Vec<u8> = (0..36).collect();
        let cipher = Cipher::new(EncryptionId::NULL_AES_GMAC, Some(256)).unwrap();
        let sealer = EspSealer::new(cipher, None, &keys(&key, &[])).unwrap();
        let mut sealed = packet(&sealer, b"in plain text, padded");
        sealer.seal(&mut sealed, Some(0xAABB_CCDD), 7);
        let gcm = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key[..32]).unwrap());
        let nonce: [u8; 12] = [&key[32..], &sealed[8..16]].concat().try_into().unwrap();
        let aad = [&sealed[..4], &[0xAA, 0xBB, 0xCC, 0xDD], &sealed[4..37]].concat();
        let icv = gcm.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut []).unwrap();
        assert_eq!((&sealed[16..37], &sealed[37..]), (&b"in plain text, padded"[..], icv.as_ref()));
    }

    /// RFC 4303 section 3.3.2.1 against the definition: the high half is authenticated after the trailer and not sent.
    #[test]
    fn extended_sequence_numbers_with_hmac() {
        let integrity = Integrity::new(IntegrityId::HMAC_SHA2_256_128).unwrap();
        let cipher = Cipher::new(EncryptionId::NULL, None).unwrap();
        let sealer = EspSealer::new(cipher, Some(integrity), &keys(&[], &[5; 32])).unwrap();
        let mut sealed = packet(&sealer, b"payload!");
        sealer.seal(&mut sealed, Some(0xAABB_CCDD), 0);
        let (covered, icv) = sealed.split_at(16);
        assert_eq!(icv, integrity.compute(&[5; 32], &[covered, &[0xAA, 0xBB, 0xCC, 0xDD]]));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(
            which in 0..1000usize, blocks in 1..100usize, esn: Option<u32>, counter: u64, seed: u8,
        ) {
            let suites = suites();
            let (cipher, integrity) = suites[which % suites.len()];
            let (sealer, opener) = pair(cipher, integrity, seed);
            let body: Vec<u8> = (0..blocks * sealer.block_len().max(2)).map(|i| i as u8 ^ seed).collect();
            let mut sealed = packet(&sealer, &body);
            sealer.seal(&mut sealed, esn, counter);
            let range = opener.open(&mut sealed, esn).unwrap();
            prop_assert_eq!(&sealed[range], &body[..]);
        }

        #[test]
        fn arbitrary_octets_never_open(which in 0..1000usize, octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let suites = suites();
            let (cipher, integrity) = suites[which % suites.len()];
            let (_, opener) = pair(cipher, integrity, 1);
            let mut octets = octets;
            prop_assert!(opener.open(&mut octets, None).is_err());
        }
    }

    #[test]
    fn a_changed_bit_in_any_octet_is_noticed() {
        assert_eq!(suites().len(), 22 + 14 * 10, "every suite is here");
        for (cipher, integrity) in suites() {
            let (sealer, opener) = pair(cipher, integrity, 3);
            let mut sealed = packet(&sealer, &[0x5A; 48]);
            sealer.seal(&mut sealed, Some(1), 77);
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << (at % 8);
                let error = opener.open(&mut changed, Some(1)).unwrap_err();
                assert_eq!(error, OpenError::IntegrityCheckFailed, "{cipher:?} {integrity:?} octet {at}");
            }
            for other in [None, Some(0), Some(2)] {
                assert_eq!(opener.open(&mut sealed.clone(), other), Err(OpenError::IntegrityCheckFailed));
            }
            for length in 0..sealed.len() {
                assert!(opener.open(&mut sealed[..length].to_vec(), Some(1)).is_err());
            }
            assert!(opener.open(&mut sealed, Some(1)).is_ok());
        }
    }

    #[test]
    fn short_and_ragged_packets_are_told_apart() {
        for (cipher, integrity) in suites() {
            let (sealer, opener) = pair(cipher, integrity, 3);
            let overhead = packet(&sealer, &[]).len();
            assert_eq!(opener.open(&mut vec![0; overhead + 1], None), Err(OpenError::TooShort));
            assert_eq!(opener.open(&mut [], None), Err(OpenError::TooShort));
            if cipher.block_len() > 1 {
                let ragged = overhead + cipher.block_len() + 1;
                assert_eq!(opener.open(&mut vec![0; ragged], None), Err(OpenError::NotBlockMultiple));
            }
        }
    }

    /// RFC 3602 section 3: no IV twice, and none that shows the counter.
    #[test]
    fn cbc_ivs_are_not_the_counter() {
        for (id, bits) in [
            (EncryptionId::AES_CBC, Some(128)),
            (EncryptionId::TRIPLE_DES, None),
            (EncryptionId::CAMELLIA_CBC, Some(256)),
            (EncryptionId::BLOWFISH, Some(128)),
        ] {
            let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).unwrap();
            let (sealer, _) = pair(Cipher::new(id, bits).unwrap(), Some(integrity), 9);
            let mut seen = std::collections::BTreeSet::new();
            for counter in 0..1000u64 {
                let mut sealed = packet(&sealer, &[0; 16]);
                sealer.seal(&mut sealed, None, counter);
                let iv = &sealed[8..8 + sealer.iv_len()];
                assert_ne!(iv[iv.len() - 8..], counter.to_be_bytes());
                assert!(seen.insert(iv.to_vec()));
            }
        }
    }

    #[test]
    fn keys_must_fit() {
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).unwrap();
        let cbc = Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
        let des = Cipher::new(EncryptionId::TRIPLE_DES, None).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA2_256_128).ok();
        let error = |cipher, integrity, e: &[u8], a: &[u8]| {
            let sealer = EspSealer::new(cipher, integrity, &keys(e, a)).unwrap_err();
            assert_eq!(sealer, EspOpener::new(cipher, integrity, &keys(e, a)).unwrap_err());
            sealer
        };
        assert_eq!(error(cipher, None, &[0; 16], &[]), BadKey::EncryptionLength { expected: 20, actual: 16 });
        assert_eq!(error(cipher, None, &[0; 20], &[1]), BadKey::IntegrityLength { expected: 0, actual: 1 });
        assert_eq!(error(cbc, integrity, &[0; 16], &[1; 20]), BadKey::IntegrityLength { expected: 32, actual: 20 });
        assert_eq!(error(cbc, None, &[0; 16], &[]), BadKey::IntegrityMissing(EncryptionId::AES_CBC));
        let superfluous = BadKey::IntegritySuperfluous(EncryptionId::AES_GCM_16);
        assert_eq!(error(cipher, integrity, &[0; 20], &[0; 32]), superfluous);
        assert_eq!(error(des, integrity, &[0; 24], &[0; 32]), BadKey::Weak);
    }

    #[test]
    #[should_panic(expected = "layout")]
    fn a_ragged_packet_is_not_sent() {
        let cipher = Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
        let (sealer, _) = pair(cipher, Integrity::new(IntegrityId::HMAC_SHA1_96).ok(), 1);
        let mut ragged = packet(&sealer, &[0; 17]);
        sealer.seal(&mut ragged, None, 0);
    }
}
