//! Key schedule, hashes and encryption of IKEv1 (RFC 2409 section 5 and appendix B).
//!
//! Names are those of RFC 2409: `g_xi` and `g_xr` are the public values, `g_xy` the shared secret, `cky_i` and `cky_r` the
//! cookies, `m_id` the message ID; `_b` is the body of a payload without its generic header.

use crate::cbc::{CbcDecrypt, CbcEncrypt};
use crate::v2::EspKeys;
use crate::{BadKey, Integrity, OpenError, Prf, sha1};
use md5::Md5;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::fmt;
use std::net::IpAddr;
use wire::registry::{EncryptionId, OakleyEncryption, OakleyHash, PrfId, ProtocolId};
use wire::{IkeSpi, Secret};

/// An algorithm of IKEv1 that was asked for and is not available here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsupported {
    /// Hash algorithm.
    Hash(OakleyHash),
    /// Encryption algorithm with the key length in bits that was asked for.
    Encryption(OakleyEncryption, Option<u16>),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(id) => write!(f, "hash algorithm {id} is not supported"),
            Self::Encryption(id @ (OakleyEncryption::AES_CBC | OakleyEncryption::CAMELLIA_CBC), None) => {
                write!(f, "encryption algorithm {id} needs a key length: 128, 192 or 256 bits")
            }
            Self::Encryption(id @ (OakleyEncryption::AES_CBC | OakleyEncryption::CAMELLIA_CBC), Some(bits)) => {
                write!(f, "encryption algorithm {id} has keys of 128, 192 or 256 bits, not {bits}")
            }
            Self::Encryption(id @ OakleyEncryption::BLOWFISH_CBC, None) => {
                write!(f, "encryption algorithm {id} needs a key length: 128 to 448 bits in steps of 8")
            }
            Self::Encryption(id @ OakleyEncryption::BLOWFISH_CBC, Some(bits)) => {
                write!(f, "encryption algorithm {id} has keys of 128 to 448 bits in steps of 8, not {bits}")
            }
            Self::Encryption(id @ OakleyEncryption::TRIPLE_DES_CBC, Some(bits)) => {
                write!(f, "encryption algorithm {id} has a fixed key length; {bits} bits were asked for")
            }
            Self::Encryption(id, _) => write!(f, "encryption algorithm {id} is not supported"),
        }
    }
}

impl std::error::Error for Unsupported {}

/// A negotiated hash algorithm. Its HMAC is the PRF, as no other PRF is defined (RFC 2409 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Hash {
    id: OakleyHash,
    prf: Prf,
}

impl Hash {
    /// Resolves a hash algorithm. Tiger is not here.
    ///
    /// # Errors
    /// [`Unsupported::Hash`].
    pub fn new(id: OakleyHash) -> Result<Self, Unsupported> {
        let prf = match id {
            OakleyHash::MD5 => PrfId::HMAC_MD5,
            OakleyHash::SHA1 => PrfId::HMAC_SHA1,
            OakleyHash::SHA2_256 => PrfId::HMAC_SHA2_256,
            OakleyHash::SHA2_384 => PrfId::HMAC_SHA2_384,
            OakleyHash::SHA2_512 => PrfId::HMAC_SHA2_512,
            _ => return Err(Unsupported::Hash(id)),
        };
        Prf::new(prf).map(|prf| Self { id, prf }).map_err(|_| Unsupported::Hash(id))
    }

    /// The algorithm's number.
    pub fn id(self) -> OakleyHash {
        self.id
    }

    /// The HMAC version of the hash (RFC 2409 section 4).
    pub fn prf(self) -> Prf {
        self.prf
    }

    /// Octets of a hash, and of the PRF's output.
    pub fn output_len(self) -> usize {
        self.prf.output_len()
    }

    /// Whether the algorithm is kept only for old peers (MD5, SHA-1).
    pub fn is_legacy(self) -> bool {
        self.prf.is_legacy()
    }

    /// The hash of the concatenated `parts`.
    pub fn compute(self, parts: &[&[u8]]) -> Vec<u8> {
        fn run<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut state = D::new();
            parts.iter().for_each(|part| state.update(part));
            state.finalize().to_vec()
        }
        match self.id {
            OakleyHash::MD5 => run::<Md5>(parts),
            OakleyHash::SHA2_256 => run::<Sha256>(parts),
            OakleyHash::SHA2_384 => run::<Sha384>(parts),
            OakleyHash::SHA2_512 => run::<Sha512>(parts),
            _ => sha1(parts).to_vec(),
        }
    }
}

/// Resolves a phase 1 encryption algorithm to the cipher that it has in common with IKEv2, with its lengths. AES,
/// Camellia and Blowfish need their Key Length attribute (RFC 3602 section 5.3, RFC 4312 section 4), 3DES must come without.
///
/// # Errors
/// [`Unsupported::Encryption`].
pub fn cipher(id: OakleyEncryption, key_length_bits: Option<u16>) -> Result<crate::Cipher, Unsupported> {
    let common = match id {
        OakleyEncryption::AES_CBC => EncryptionId::AES_CBC,
        OakleyEncryption::TRIPLE_DES_CBC => EncryptionId::TRIPLE_DES,
        OakleyEncryption::BLOWFISH_CBC => EncryptionId::BLOWFISH,
        OakleyEncryption::CAMELLIA_CBC => EncryptionId::CAMELLIA_CBC,
        _ => return Err(Unsupported::Encryption(id, key_length_bits)),
    };
    crate::Cipher::new(common, key_length_bits).map_err(|_| Unsupported::Encryption(id, key_length_bits))
}

/// SKEYID with a pre-shared key: prf(PSK, Ni_b | Nr_b) (RFC 2409 section 5).
pub fn skeyid_psk(prf: Prf, psk: &[u8], ni: &[u8], nr: &[u8]) -> Secret {
    prf.compute(psk, &[ni, nr])
}

/// SKEYID with signatures: prf(Ni_b | Nr_b, g^xy) (RFC 2409 section 5).
pub fn skeyid_signature(prf: Prf, ni: &[u8], nr: &[u8], g_xy: &Secret) -> Secret {
    prf.compute(&[ni, nr].concat(), &[g_xy.expose()])
}

/// The keys of an ISAKMP SA (RFC 2409 section 5).
#[derive(Clone, Debug)]
pub struct SkeyIds {
    /// Proves both identities.
    pub skeyid: Secret,
    /// Derives the keys of IPsec SAs.
    pub skeyid_d: Secret,
    /// Authenticates messages.
    pub skeyid_a: Secret,
    /// Derives the key that encrypts messages.
    pub skeyid_e: Secret,
}

/// The keys of an ISAKMP SA from its SKEYID (RFC 2409 section 5).
pub fn derive(prf: Prf, skeyid: Secret, g_xy: &Secret, cky_i: IkeSpi, cky_r: IkeSpi) -> SkeyIds {
    let key = prf.key(skeyid.expose());
    let next = |before: &[u8], number: u8| key.compute(&[before, g_xy.expose(), &cky_i.0, &cky_r.0, &[number]]);
    let skeyid_d = next(&[], 0);
    let skeyid_a = next(skeyid_d.expose(), 1);
    let skeyid_e = next(skeyid_a.expose(), 2);
    SkeyIds { skeyid, skeyid_d, skeyid_a, skeyid_e }
}

/// The key of the phase 1 cipher, of `key_len` octets: the first octets of SKEYID_e, or where that is too short those of
/// K1 | K2 | ... with K1 = prf(SKEYID_e, 0) and Kn = prf(SKEYID_e, Kn-1) (RFC 2409 appendix B).
pub fn phase1_key(prf: Prf, skeyid_e: &Secret, key_len: usize) -> Secret {
    if let Some(key) = skeyid_e.expose().get(..key_len) {
        return Secret::from(key);
    }
    let key = prf.key(skeyid_e.expose());
    feedback(key_len, prf.output_len(), |before| key.compute(&[before.unwrap_or(&[0])]))
}

/// The first `length` octets of blocks of which each is made from the one before.
fn feedback(length: usize, block_len: usize, next: impl Fn(Option<&[u8]>) -> Secret) -> Secret {
    // Room for whole blocks, so that no key is left behind in a buffer that grew.
    let mut output = Vec::with_capacity(length + block_len);
    let mut block: Option<Secret> = None;
    while output.len() < length {
        let made = next(block.as_ref().map(Secret::expose));
        output.extend(made.expose().iter().take(length - output.len()));
        block = Some(made);
    }
    Secret::new(output)
}

/// The first IV of phase 1: hash(g^xi | g^xr), cut to a block of the cipher (RFC 2409 appendix B).
pub fn phase1_iv(hash: Hash, g_xi: &[u8], g_xr: &[u8], block: usize) -> Vec<u8> {
    first(hash.compute(&[g_xi, g_xr]), block)
}

/// The first IV of a phase 2 exchange, that is of Quick Mode, Transaction or Informational:
/// hash(last ciphertext block of phase 1 | M-ID), cut to a block of the cipher (RFC 2409 appendix B).
pub fn phase2_iv(hash: Hash, last_phase1_block: &[u8], m_id: u32, block: usize) -> Vec<u8> {
    first(hash.compute(&[last_phase1_block, &m_id.to_be_bytes()]), block)
}

fn first(mut octets: Vec<u8>, count: usize) -> Vec<u8> {
    octets.truncate(count);
    octets
}

/// A phase 1 cipher with its key: a block cipher in CBC mode, without authentication. Who decrypts must check a Hash payload
/// inside before believing anything.
pub struct Cipher {
    seal: CbcEncrypt,
    open: CbcDecrypt,
    block: usize,
}

impl Cipher {
    /// Prepares the key of [`phase1_key`].
    ///
    /// # Errors
    /// A key of the wrong length, a weak 3DES key, and for any cipher that is not in CBC mode [`BadKey::Weak`].
    pub fn new(cipher: crate::Cipher, key: &[u8]) -> Result<Self, BadKey> {
        if key.len() != cipher.key_len() {
            return Err(BadKey::EncryptionLength { expected: cipher.key_len(), actual: key.len() });
        }
        // RFC 2409 appendix B knows ciphers in CBC mode only.
        let seal = CbcEncrypt::new(cipher, key).ok_or(BadKey::Weak)?;
        let open = CbcDecrypt::new(cipher, key).ok_or(BadKey::Weak)?;
        Ok(Self { seal, open, block: cipher.block_len() })
    }

    /// Octets of a block, and of an IV.
    pub fn block_len(&self) -> usize {
        self.block
    }

    /// Encrypts `body`, a whole number of blocks and at least one, in place. Returns the IV of the next message of the
    /// exchange: the last block of ciphertext.
    ///
    /// # Panics
    /// If `body` or `iv` has another length: sending the plaintext would be the alternative.
    pub fn encrypt(&self, iv: &[u8], body: &mut [u8]) -> Vec<u8> {
        let fits = self.whole_blocks(body).is_ok() && iv.len() == self.block;
        fits.then(|| self.seal.encrypt(iv, body)).flatten().expect("whole blocks, and an IV of one");
        self.last_block(body)
    }

    /// Decrypts `body` in place. Returns the IV of the next message of the exchange: the last block of ciphertext.
    ///
    /// # Errors
    /// [`OpenError::TooShort`] where there is not even one block or `iv` is not one, [`OpenError::NotBlockMultiple`].
    /// `body` is untouched then.
    pub fn decrypt(&self, iv: &[u8], body: &mut [u8]) -> Result<Vec<u8>, OpenError> {
        self.whole_blocks(body)?;
        if iv.len() != self.block {
            return Err(OpenError::TooShort);
        }
        let next = self.last_block(body);
        self.open.decrypt(iv, body).ok_or(OpenError::NotBlockMultiple)?;
        Ok(next)
    }

    fn whole_blocks(&self, body: &[u8]) -> Result<(), OpenError> {
        match body.len() {
            0 => Err(OpenError::TooShort),
            length if !length.is_multiple_of(self.block) => Err(OpenError::NotBlockMultiple),
            _ => Ok(()),
        }
    }

    fn last_block(&self, body: &[u8]) -> Vec<u8> {
        body.iter().copied().skip(body.len().saturating_sub(self.block)).collect()
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v1::Cipher(..)")
    }
}

/// HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b) (RFC 2409 section 5): the initiator's proof, or
/// with signatures what it signs.
#[allow(clippy::too_many_arguments)] // they are the RFC's
pub fn hash_i(
    prf: Prf,
    skeyid: &Secret,
    g_xi: &[u8],
    g_xr: &[u8],
    cky_i: IkeSpi,
    cky_r: IkeSpi,
    sai_b: &[u8],
    idii_b: &[u8],
) -> Secret {
    prf.compute(skeyid.expose(), &[g_xi, g_xr, &cky_i.0, &cky_r.0, sai_b, idii_b])
}

/// HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b) (RFC 2409 section 5): the responder's proof, or
/// with signatures what it signs. The arguments are in the order of [`hash_i`], and SAi_b is the initiator's here, too.
#[allow(clippy::too_many_arguments)] // they are the RFC's
pub fn hash_r(
    prf: Prf,
    skeyid: &Secret,
    g_xi: &[u8],
    g_xr: &[u8],
    cky_i: IkeSpi,
    cky_r: IkeSpi,
    sai_b: &[u8],
    idir_b: &[u8],
) -> Secret {
    prf.compute(skeyid.expose(), &[g_xr, g_xi, &cky_r.0, &cky_i.0, sai_b, idir_b])
}

/// HASH(1) = prf(SKEYID_a, M-ID | rest) of Quick Mode (RFC 2409 section 5.5), Informational (section 5.7) and Transaction
/// messages, and HASH(4) of Quick Mode. `rest` is all that follows the Hash payload, generic headers included, padding not.
pub fn hash1(prf: Prf, skeyid_a: &Secret, m_id: u32, rest: &[u8]) -> Secret {
    prf.compute(skeyid_a.expose(), &[&m_id.to_be_bytes(), rest])
}

/// HASH(2) = prf(SKEYID_a, M-ID | Ni_b | rest) of Quick Mode (RFC 2409 section 5.5).
pub fn hash2(prf: Prf, skeyid_a: &Secret, m_id: u32, ni: &[u8], rest: &[u8]) -> Secret {
    prf.compute(skeyid_a.expose(), &[&m_id.to_be_bytes(), ni, rest])
}

/// HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b) of Quick Mode (RFC 2409 section 5.5).
pub fn hash3(prf: Prf, skeyid_a: &Secret, m_id: u32, ni: &[u8], nr: &[u8]) -> Secret {
    prf.compute(skeyid_a.expose(), &[&[0], &m_id.to_be_bytes(), ni, nr])
}

/// The first `length` octets of KEYMAT for the SA with this SPI: K1 | K2 | ... with
/// Kn = prf(SKEYID_d, [Kn-1 |] [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b) (RFC 2409 section 5.5).
///
/// The SPI is that of the SA's receiver, so that the two directions have different keys; the nonces are always in the order
/// initiator, responder.
#[allow(clippy::too_many_arguments)] // they are the RFC's
pub fn keymat(
    prf: Prf,
    skeyid_d: &Secret,
    g_qm_xy: Option<&Secret>,
    protocol: ProtocolId,
    spi: &[u8],
    ni: &[u8],
    nr: &[u8],
    length: usize,
) -> Secret {
    let key = prf.key(skeyid_d.expose());
    let shared = g_qm_xy.map_or(&[][..], Secret::expose);
    feedback(length, prf.output_len(), |before| {
        key.compute(&[before.unwrap_or_default(), shared, &[protocol.0], spi, ni, nr])
    })
}

/// The keys of one direction of a pair of ESP SAs, from [`keymat`]: the encryption key (with its salt) comes first
/// (RFC 2401 section 4.6.2, RFC 4106 section 8.1).
#[allow(clippy::too_many_arguments)] // they are the RFC's
pub fn esp_keys(
    prf: Prf,
    skeyid_d: &Secret,
    g_qm_xy: Option<&Secret>,
    spi: &[u8],
    ni: &[u8],
    nr: &[u8],
    cipher: crate::Cipher,
    integrity: Option<Integrity>,
) -> EspKeys {
    let (e, a) = (cipher.key_len(), integrity.map_or(0, Integrity::key_len));
    let material = keymat(prf, skeyid_d, g_qm_xy, ProtocolId::ESP, spi, ni, nr, e + a);
    let (encryption, integrity) = material.expose().split_at(e);
    EspKeys { encryption: Secret::from(encryption), integrity: Secret::from(integrity) }
}

/// The contents of a NAT-D payload: HASH(CKY-I | CKY-R | IP | Port) with the negotiated hash (RFC 3947 section 3.2).
pub fn nat_d(hash: Hash, cky_i: IkeSpi, cky_r: IkeSpi, address: IpAddr, port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    match address {
        IpAddr::V4(address) => hash.compute(&[&cky_i.0, &cky_r.0, &address.octets(), &port]),
        IpAddr::V6(address) => hash.compute(&[&cky_i.0, &cky_r.0, &address.octets(), &port]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use wire::registry::IntegrityId;

    const COOKIES: (IkeSpi, IkeSpi) = (IkeSpi([0x11; 8]), IkeSpi([0x22; 8]));

    fn sha1_hash() -> Hash {
        Hash::new(OakleyHash::SHA1).unwrap()
    }

    fn aes(bits: u16) -> crate::Cipher {
        cipher(OakleyEncryption::AES_CBC, Some(bits)).unwrap()
    }

    fn cookie(text: &str) -> IkeSpi {
        IkeSpi(hex(text).try_into().unwrap())
    }

    /// NIST CAVS 17.3, IKEv1 with pre-shared keys, [g^xy length = 256], [SHA-1], COUNT = 0.
    #[test]
    fn cavs_psk_first_case() {
        let prf = sha1_hash().prf();
        let g_xy = Secret::new(hex("739003ba2c11c982946c65e26acf661fbf8ebb78011a9fead79efa12fe3e71cc"));
        let skeyid = skeyid_psk(prf, &hex("75"), &hex("b9a2d0e922dc66dd"), &hex("2130166863b5ddef"));
        let keys = derive(prf, skeyid, &g_xy, cookie("83d374c30b3b5082"), cookie("5afc0da06c728029"));
        assert_eq!(keys.skeyid.expose(), hex("62b04d112877e442fc3282fc37c076997718a0b9"));
        assert_eq!(keys.skeyid_d.expose(), hex("369e5aad1bdb5faf6a3d929d500cdc236710a9ab"));
        assert_eq!(keys.skeyid_a.expose(), hex("588e957d8d790d093b3a39f121473473af78e9bb"));
        assert_eq!(keys.skeyid_e.expose(), hex("cd74b0c048219db81384d3fda8f6cda51e398a2b"));
        assert!(format!("{keys:?}").contains("skeyid_e: Secret(20 octets)"));
    }

    /// NIST CAVS 17.3, IKEv1 with signatures, [g^xy length = 256], [SHA-1], COUNT = 0.
    #[test]
    fn cavs_signature_first_case() {
        let prf = sha1_hash().prf();
        let g_xy = Secret::new(hex("8ba4cbc73c0187301dc19a975823854dbd641c597f637f8d053a83b9514673eb"));
        let skeyid = skeyid_signature(prf, &hex("69a62284195f1680"), &hex("80c94ba25c8abda5"), &g_xy);
        let keys = derive(prf, skeyid, &g_xy, cookie("8c3bcd3a69831d7f"), cookie("d2d9a7ff4fbe95a7"));
        assert_eq!(keys.skeyid.expose(), hex("707197817fb2d90cf54d1842606bdea59b9f4823"));
        assert_eq!(keys.skeyid_e.expose(), hex("a4a415c8e0c38c0da847c356cc61c24df8025560"));
    }

    /// A real aggressive mode: openwall/john-samples, IKE_PSK/psk_test2_sha1; pre-shared key "hello1".
    #[test]
    fn a_real_hash_r() {
        let prf = sha1_hash().prf();
        let g_xr = hex("e12a625cbad1fdd3c967f4e23f1894aea60784e638cd2ec8f0646f28dbcd777ba9c3e80ca915732e5a5c44a5d392b9d251c7
             a8660cfc5f503f6092f7f97566894af6467434bb45542b15e0668cc74b393dca4823c5badc1775e508a624f0a0c5c5897509fdd7da9de1
             5377d76ec9a40dd3e49ce0bf39e3096a85cb59d9d464eb");
        let g_xi = hex("0ec784b1fa79464280372a9cd649a099ffee1f84979af579fda7c3130db637d71a311614e50d3266918315e46d8e5ab1d91b
             a685e64e68e382a156da24205acb990024f9e9aece59e7cd7d5a14cb0c2ce705abe770751bac35600ff16d5cbbd80733049d1efad7e744
             23b8075520c3be783ede67509b6cf6c8f02737c95f9a15");
        let sai_b = hex("00000001000000010000002c0101000100000024010100008001000580020002800300018004000280
             0b0001000c000400007080");
        let (cky_i, cky_r) = (cookie("8ce48911e6c6bc37"), cookie("60713e308876842a"));
        let (ni, nr) = (hex("39298d0b9c584e6bdaf9dd2509e0755b472d47e5"), hex("84b296ae3adbf9913f1cbff6f76a5514"));
        let skeyid = skeyid_psk(prf, b"hello1", &ni, &nr);
        assert_eq!(skeyid.expose(), hex("d7589acdeb934b58c3d3b8f4d48436286cc92f16"));
        let hash = hash_r(prf, &skeyid, &g_xi, &g_xr, cky_i, cky_r, &sai_b, &hex("011101f4c0a80365"));
        assert_eq!(hash.expose(), hex("6b7c8600c2348d5235fe2b02f6e7f9919032c323"));
    }

    /// RFC 2409 appendix B, from HMAC alone.
    #[test]
    fn short_keys_are_cut_and_long_ones_fed_back() {
        let prf = sha1_hash().prf();
        let skeyid_e = Secret::new((0..20).collect());
        assert_eq!(phase1_key(prf, &skeyid_e, 16).expose(), &skeyid_e.expose()[..16]);
        assert_eq!(phase1_key(prf, &skeyid_e, 20).expose(), skeyid_e.expose());
        let k1 = prf.compute(skeyid_e.expose(), &[&[0]]);
        let k2 = prf.compute(skeyid_e.expose(), &[k1.expose()]);
        let both = [k1.expose(), k2.expose()].concat();
        assert_eq!(phase1_key(prf, &skeyid_e, 24).expose(), &both[..24]);
        assert_eq!(phase1_key(prf, &skeyid_e, 32).expose(), &both[..32]);
    }

    /// The definitions of RFC 2409 sections 5 and 5.5, written out.
    #[test]
    fn hashes_cover_what_they_should() {
        let prf = sha1_hash().prf();
        let key = Secret::from(&b"key"[..]);
        let is = |hash: Secret, octets: &[u8]| assert_eq!(hash.expose(), prf.compute(b"key", &[octets]).expose());
        let cookies = |first: u8, second: u8| [[first; 8], [second; 8]].concat();
        let (cky_i, cky_r) = COOKIES;
        let octets = [b"gxigxr", &cookies(0x11, 0x22)[..], b"said"].concat();
        is(hash_i(prf, &key, b"gxi", b"gxr", cky_i, cky_r, b"sa", b"id"), &octets);
        let octets = [b"gxrgxi", &cookies(0x22, 0x11)[..], b"said"].concat();
        is(hash_r(prf, &key, b"gxi", b"gxr", cky_i, cky_r, b"sa", b"id"), &octets);
        is(hash1(prf, &key, 0x0102_0304, b"rest"), b"\x01\x02\x03\x04rest");
        is(hash2(prf, &key, 0x0102_0304, b"ni", b"rest"), b"\x01\x02\x03\x04nirest");
        is(hash3(prf, &key, 0x0102_0304, b"ni", b"nr"), b"\0\x01\x02\x03\x04ninr");
    }

    /// RFC 2409 section 5.5, written out; RFC 2401 section 4.6.2: the encryption key first.
    #[test]
    fn keymat_is_the_chain_of_blocks() {
        let prf = sha1_hash().prf();
        let (skeyid_d, shared) = (Secret::from(&b"d"[..]), Secret::from(&b"shared"[..]));
        for shared in [None, Some(&shared)] {
            let seed = [shared.map_or(&[][..], Secret::expose), &[3, 1, 2, 3, 4], b"ninr"].concat();
            let k1 = prf.compute(b"d", &[&seed]);
            let k2 = prf.compute(b"d", &[k1.expose(), &seed]);
            let k3 = prf.compute(b"d", &[k2.expose(), &seed]);
            let all = [k1.expose(), k2.expose(), k3.expose()].concat();
            for length in [0, 1, 20, 21, 52, 60] {
                let made = keymat(prf, &skeyid_d, shared, ProtocolId::ESP, &[1, 2, 3, 4], b"ni", b"nr", length);
                assert_eq!(made.expose(), &all[..length]);
            }
            let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).ok();
            let keys = esp_keys(prf, &skeyid_d, shared, &[1, 2, 3, 4], b"ni", b"nr", aes(256), integrity);
            assert_eq!((keys.encryption.expose(), keys.integrity.expose()), (&all[..32], &all[32..52]));
        }
    }

    #[test]
    fn ivs_and_nat_hashes_are_plain_hashes() {
        let hash = Hash::new(OakleyHash::SHA2_256).unwrap();
        assert_eq!(phase1_iv(hash, b"a", b"bc", 16), hash.compute(&[b"abc"])[..16]);
        assert_eq!(phase2_iv(hash, b"last", 1, 8), hash.compute(&[b"last\0\0\0\x01"])[..8]);
        let (cky_i, cky_r) = COOKIES;
        let octets = [&[0x11; 8][..], &[0x22; 8], &[192, 0, 2, 1], &[0x11, 0x94]].concat();
        assert_eq!(nat_d(hash, cky_i, cky_r, IpAddr::from([192, 0, 2, 1]), 4500), hash.compute(&[&octets]));
        assert_eq!(nat_d(sha1_hash(), cky_i, cky_r, IpAddr::from([1; 16]), 500).len(), 20);
        // FIPS 180-4, "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.compute(&[b"a", b"bc"]), hex(abc));
    }

    #[test]
    fn algorithms_resolve_or_are_refused_by_name() {
        let lengths = |id| Hash::new(id).map(|hash| (hash.output_len(), hash.compute(&[]).len(), hash.is_legacy()));
        assert_eq!(lengths(OakleyHash::SHA1), Ok((20, 20, true)));
        assert_eq!(lengths(OakleyHash::SHA2_256), Ok((32, 32, false)));
        assert_eq!(lengths(OakleyHash::SHA2_384), Ok((48, 48, false)));
        assert_eq!(lengths(OakleyHash::SHA2_512), Ok((64, 64, false)));
        assert_eq!(lengths(OakleyHash::MD5), Ok((16, 16, true)));
        assert_eq!(lengths(OakleyHash::TIGER), Err(Unsupported::Hash(OakleyHash::TIGER)));
        assert_eq!(Unsupported::Hash(OakleyHash::TIGER).to_string(), "hash algorithm TIGER is not supported");
        let of = |id, bits| cipher(id, bits).map(|c| (c.key_len(), c.block_len()));
        assert_eq!(of(OakleyEncryption::AES_CBC, Some(192)), Ok((24, 16)));
        assert_eq!(of(OakleyEncryption::TRIPLE_DES_CBC, None), Ok((24, 8)));
        assert_eq!(of(OakleyEncryption::CAMELLIA_CBC, Some(256)), Ok((32, 16)));
        assert_eq!(of(OakleyEncryption::BLOWFISH_CBC, Some(448)), Ok((56, 8)));
        let text = |id, bits| cipher(id, bits).unwrap_err().to_string();
        assert_eq!(
            text(OakleyEncryption::AES_CBC, None),
            "encryption algorithm AES_CBC needs a key length: 128, 192 or 256 bits"
        );
        assert_eq!(
            text(OakleyEncryption::CAMELLIA_CBC, Some(64)),
            "encryption algorithm CAMELLIA_CBC has keys of 128, 192 or 256 bits, not 64"
        );
        assert_eq!(
            text(OakleyEncryption::BLOWFISH_CBC, None),
            "encryption algorithm BLOWFISH_CBC needs a key length: 128 to 448 bits in steps of 8"
        );
        assert_eq!(
            text(OakleyEncryption::BLOWFISH_CBC, Some(40)),
            "encryption algorithm BLOWFISH_CBC has keys of 128 to 448 bits in steps of 8, not 40"
        );
        assert_eq!(text(OakleyEncryption::DES_CBC, None), "encryption algorithm DES_CBC is not supported");
    }

    /// NIST SP 800-38A section F.2.1: CBC-AES128, the first two blocks, as two messages of one exchange.
    #[test]
    fn messages_of_an_exchange_are_one_chain() {
        let key = Cipher::new(aes(128), &hex("2b7e151628aed2a6abf7158809cf4f3c")).unwrap();
        let iv = hex("000102030405060708090a0b0c0d0e0f");
        let mut one = hex("6bc1bee22e409f96e93d7e117393172a");
        let mut two = hex("ae2d8a571e03ac9c9eb76fac45af8e51");
        let next = key.encrypt(&iv, &mut one);
        let last = key.encrypt(&next, &mut two);
        assert_eq!((&one, &next), (&hex("7649abac8119b246cee98e9b12e9197d"), &one));
        assert_eq!((&two, &last), (&hex("5086cb9b507219ee95db113a917678b2"), &two));
        let mut both = [one, two].concat();
        assert_eq!(key.decrypt(&iv, &mut both).unwrap(), last);
        assert_eq!(both, hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"));
        assert_eq!(format!("{key:?}"), "v1::Cipher(..)");
    }

    #[test]
    fn bad_keys_and_lengths_are_refused() {
        let triple = cipher(OakleyEncryption::TRIPLE_DES_CBC, None).unwrap();
        assert_eq!(Cipher::new(triple, &[7; 24]).unwrap_err(), BadKey::Weak);
        assert_eq!(Cipher::new(triple, &[7; 8]).unwrap_err(), BadKey::EncryptionLength { expected: 24, actual: 8 });
        let gcm = crate::Cipher::new(EncryptionId::AES_GCM_16, Some(128)).unwrap();
        assert_eq!(Cipher::new(gcm, &[7; 20]).unwrap_err(), BadKey::Weak);
        let key = Cipher::new(aes(128), &[7; 16]).unwrap();
        assert_eq!(key.decrypt(&[0; 16], &mut []).unwrap_err(), OpenError::TooShort);
        assert_eq!(key.decrypt(&[0; 8], &mut [0; 16]).unwrap_err(), OpenError::TooShort);
        assert_eq!(key.decrypt(&[0; 16], &mut [0; 17]).unwrap_err(), OpenError::NotBlockMultiple);
    }

    proptest! {
        #[test]
        fn what_is_encrypted_is_decrypted(
            which in 0..4usize, key in proptest::array::uniform32(any::<u8>()), iv: [u8; 16], blocks in 1..9usize, octet: u8,
        ) {
            let ids = [
                (OakleyEncryption::TRIPLE_DES_CBC, None),
                (OakleyEncryption::AES_CBC, Some(256)),
                (OakleyEncryption::CAMELLIA_CBC, Some(192)),
                (OakleyEncryption::BLOWFISH_CBC, Some(136)),
            ];
            let (id, bits) = ids[which];
            let cipher = cipher(id, bits).unwrap();
            let key = Cipher::new(cipher, &key[..cipher.key_len()]);
            prop_assume!(key.is_ok());
            let key = key.unwrap();
            let iv = &iv[..key.block_len()];
            let plain = vec![octet; blocks * key.block_len()];
            let mut body = plain.clone();
            let next = key.encrypt(iv, &mut body);
            prop_assert_ne!(&body, &plain);
            prop_assert_eq!(&next[..], &body[body.len() - key.block_len()..]);
            prop_assert_eq!(key.decrypt(iv, &mut body), Ok(next));
            prop_assert_eq!(body, plain);
        }
    }
}
