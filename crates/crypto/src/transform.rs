//! Encryption with authentication, in place, as the Encrypted payload and ESP share it.
//!
//! Both lay a message out as `header | IV | body | ICV`. They differ in what is authenticated beside the body, which the
//! caller passes, and in where the IV comes from.

use crate::algorithms::Mode;
use crate::awslc::ShortIcvGcm;
use crate::cbc::{CbcDecrypt, CbcEncrypt};
use crate::ccm::{Ccm, ctr, ctr_key};
use crate::mac::MacKey;
use crate::{BadKey, Cipher, Integrity, OpenError};
use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use wire::registry::EncryptionId;

/// What is authenticated beside IV and body.
#[derive(Clone, Copy)]
pub(crate) struct Authenticated<'a> {
    /// AAD of a combined mode.
    pub aad: &'a [u8],
    /// Before the IV, for a separate integrity algorithm.
    pub head: &'a [u8],
    /// After the body, for a separate integrity algorithm: the high half of an extended sequence number.
    pub tail: &'a [u8],
}

/// A combined mode with its key and salt; the same object seals and opens.
enum Combined {
    Library { key: LessSafeKey, salt: [u8; 4] },
    Gmac { key: LessSafeKey, salt: [u8; 4] },
    ShortIcv { key: ShortIcvGcm, salt: [u8; 4] },
    Ccm { key: Box<Ccm>, salt: [u8; 3] },
}

impl Combined {
    fn new(cipher: Cipher, key: &[u8]) -> Option<Self> {
        let icv_len = cipher.icv_len();
        match cipher.mode() {
            Mode::Gcm if icv_len != 16 => {
                let (key, salt) = key.split_last_chunk()?;
                Some(Self::ShortIcv { key: ShortIcvGcm::new(key, icv_len)?, salt: *salt })
            }
            Mode::Ccm => {
                let (key, salt) = key.split_last_chunk()?;
                let ccm = Ccm::new(aes(cipher)?, key, u8::try_from(icv_len).ok()?)?;
                Some(Self::Ccm { key: Box::new(ccm), salt: *salt })
            }
            _ => {
                let algorithm = match (cipher.mode(), cipher.key_bits()) {
                    (Mode::Gcm | Mode::Gmac, 128) => &AES_128_GCM,
                    (Mode::Gcm | Mode::Gmac, 192) => &AES_192_GCM,
                    (Mode::Gcm | Mode::Gmac, 256) => &AES_256_GCM,
                    (Mode::ChaChaPoly, _) => &CHACHA20_POLY1305,
                    _ => return None,
                };
                let (key, salt) = key.split_last_chunk()?;
                let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
                Some(match cipher.mode() {
                    Mode::Gmac => Self::Gmac { key, salt: *salt },
                    _ => Self::Library { key, salt: *salt },
                })
            }
        }
    }

    fn seal(&self, aad: &[u8], iv: &[u8], body: &mut [u8], icv: &mut [u8]) -> Option<()> {
        match self {
            Self::Library { key, salt } => {
                let nonce = Nonce::assume_unique_for_key(nonce(salt, iv)?);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body).ok()?;
                (tag.as_ref().len() == icv.len()).then(|| icv.copy_from_slice(tag.as_ref()))
            }
            // RFC 4543 section 3.5: the plaintext of GCM is empty, and what would be it is authenticated.
            Self::Gmac { key, salt } => {
                let nonce = Nonce::assume_unique_for_key(nonce(salt, iv)?);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from([aad, iv, body].concat()), &mut []).ok()?;
                (tag.as_ref().len() == icv.len()).then(|| icv.copy_from_slice(tag.as_ref()))
            }
            Self::ShortIcv { key, salt } => key.seal(&nonce(salt, iv)?, aad, body, icv).then_some(()),
            Self::Ccm { key, salt } => {
                key.seal(&nonce(salt, iv)?, aad, body, icv);
                Some(())
            }
        }
    }

    fn open(&self, aad: &[u8], iv: &[u8], body: &mut [u8], icv: &[u8]) -> Option<()> {
        match self {
            Self::Library { key, salt } => {
                let nonce = Nonce::assume_unique_for_key(nonce(salt, iv)?);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), icv, body).ok().map(|_| ())
            }
            Self::Gmac { key, salt } => {
                let nonce = Nonce::assume_unique_for_key(nonce(salt, iv)?);
                let aad = Aad::from([aad, iv, body].concat());
                key.open_in_place_separate_tag(nonce, aad, icv, &mut []).ok().map(|_| ())
            }
            Self::ShortIcv { key, salt } => key.open(&nonce(salt, iv)?, aad, body, icv).then_some(()),
            Self::Ccm { key, salt } => key.open(&nonce(salt, iv)?, aad, body, icv).then_some(()),
        }
    }
}

/// `salt | IV` (RFC 4106 section 4, RFC 4309 section 4, RFC 7634 section 2).
fn nonce<const SALT: usize, const N: usize>(salt: &[u8; SALT], iv: &[u8]) -> Option<[u8; N]> {
    let mut nonce = [0; N];
    let (first, second) = nonce.split_at_mut_checked(SALT)?;
    first.copy_from_slice(salt);
    (second.len() == iv.len()).then(|| second.copy_from_slice(iv))?;
    Some(nonce)
}

/// The counter block of RFC 3686 section 4, which RFC 5930 takes over for IKE: nonce, IV, one.
fn first_counter_block(salt: &[u8; 4], iv: &[u8]) -> Option<[u8; 16]> {
    let prefix: [u8; 12] = nonce(salt, iv)?;
    let mut block = [0; 16];
    let (first, second) = block.split_at_mut_checked(12)?;
    first.copy_from_slice(&prefix);
    second.copy_from_slice(&1u32.to_be_bytes());
    Some(block)
}

pub(crate) fn aes(cipher: Cipher) -> Option<&'static aws_lc_rs::cipher::Algorithm> {
    match cipher.key_bits() {
        128 => Some(&AES_128),
        192 => Some(&AES_192),
        256 => Some(&AES_256),
        _ => None,
    }
}

#[allow(deprecated)] // 3DES is offered to old peers, on request only
pub(crate) fn triple_des(key: &[u8]) -> Option<UnboundCipherKey> {
    UnboundCipherKey::new(&aws_lc_rs::cipher::DES_EDE3_FOR_LEGACY_USE_ONLY, key).ok()
}

pub(crate) fn encryption_context(iv: &[u8]) -> Option<EncryptionContext> {
    match iv.len() {
        16 => Some(EncryptionContext::Iv128(FixedLength::from(<[u8; 16]>::try_from(iv).ok()?))),
        8 => Some(EncryptionContext::Iv64(FixedLength::from(<[u8; 8]>::try_from(iv).ok()?))),
        _ => None,
    }
}

pub(crate) fn decryption_context(iv: &[u8]) -> Option<DecryptionContext> {
    encryption_context(iv).map(|context| match context {
        EncryptionContext::Iv128(iv) => DecryptionContext::Iv128(iv),
        EncryptionContext::Iv64(iv) => DecryptionContext::Iv64(iv),
        _ => DecryptionContext::None,
    })
}

/// Checks what is common to both directions.
pub(crate) fn check(cipher: Cipher, integrity: Option<Integrity>, sk_e: &[u8], sk_a: &[u8]) -> Result<(), BadKey> {
    match integrity {
        None if !cipher.is_aead() => return Err(BadKey::IntegrityMissing(cipher.id())),
        Some(_) if cipher.is_aead() => return Err(BadKey::IntegritySuperfluous(cipher.id())),
        _ => {}
    }
    if sk_e.len() != cipher.key_len() {
        return Err(BadKey::EncryptionLength { expected: cipher.key_len(), actual: sk_e.len() });
    }
    let expected = integrity.map_or(0, Integrity::key_len);
    if sk_a.len() != expected {
        return Err(BadKey::IntegrityLength { expected, actual: sk_a.len() });
    }
    // The library refuses 3DES keys whose parts are weak or equal.
    if cipher.id() == EncryptionId::TRIPLE_DES && CbcEncrypt::new(cipher, sk_e).is_none() {
        return Err(BadKey::Weak);
    }
    Ok(())
}

/// A cipher and an integrity algorithm beside it. Boxed where it is used: it is far larger than a combined mode, whose
/// keys the library keeps elsewhere.
struct Separate<C> {
    cipher: C,
    mac: MacKey,
}

/// Keys of the sealing direction, expanded.
pub(crate) struct Seal(SealKind);

enum SealKind {
    Combined(Combined),
    Separate(Box<Separate<SealCipher>>),
}

enum SealCipher {
    Null,
    Ctr { key: EncryptingKey, salt: [u8; 4] },
    Cbc(CbcEncrypt),
}

/// Keys of the opening direction, expanded.
pub(crate) struct Open(OpenKind);

enum OpenKind {
    Combined(Combined),
    Separate(Box<Separate<OpenCipher>>),
}

enum OpenCipher {
    Null,
    Ctr { key: EncryptingKey, salt: [u8; 4] },
    Cbc(CbcDecrypt),
}

impl Seal {
    pub(crate) fn new(cipher: Cipher, integrity: Option<Integrity>, sk_e: &[u8], sk_a: &[u8]) -> Result<Self, BadKey> {
        check(cipher, integrity, sk_e, sk_a)?;
        Self::expand(cipher, integrity, sk_e, sk_a).map(Self).ok_or(BadKey::Weak)
    }

    fn expand(cipher: Cipher, integrity: Option<Integrity>, sk_e: &[u8], sk_a: &[u8]) -> Option<SealKind> {
        let Some(integrity) = integrity else { return Combined::new(cipher, sk_e).map(SealKind::Combined) };
        let mac = integrity.key(sk_a);
        let cipher = match cipher.mode() {
            Mode::Ctr => {
                let (key, salt) = sk_e.split_last_chunk()?;
                SealCipher::Ctr { key: ctr_key(aes(cipher)?, key)?, salt: *salt }
            }
            Mode::Cbc => SealCipher::Cbc(CbcEncrypt::new(cipher, sk_e)?),
            Mode::Null => SealCipher::Null,
            Mode::Ccm | Mode::Gcm | Mode::Gmac | Mode::ChaChaPoly => return None,
        };
        Some(SealKind::Separate(Box::new(Separate { cipher, mac })))
    }

    /// Encrypts `body` in place and writes the ICV. The lengths must be those of the algorithms.
    ///
    /// # Panics
    /// If a length is not that of the algorithms: sending the plaintext would be the alternative.
    pub(crate) fn seal(&self, with: Authenticated<'_>, iv: &[u8], body: &mut [u8], icv: &mut [u8]) {
        self.try_seal(with, iv, body, icv).expect("IV, body and ICV have the lengths of the algorithms");
    }

    fn try_seal(&self, with: Authenticated<'_>, iv: &[u8], body: &mut [u8], icv: &mut [u8]) -> Option<()> {
        match &self.0 {
            SealKind::Combined(combined) => combined.seal(with.aad, iv, body, icv),
            SealKind::Separate(separate) => {
                let Separate { cipher, mac } = &**separate;
                match cipher {
                    SealCipher::Null => {}
                    SealCipher::Ctr { key, salt } => ctr(key, first_counter_block(salt, iv)?, body),
                    SealCipher::Cbc(key) => key.encrypt(iv, body)?,
                }
                // Encrypt first, then authenticate the ciphertext (RFC 7296 section 3.14, RFC 4303 section 3.3.2.1).
                let tag = mac.tag(&[with.head, iv, body, with.tail]);
                icv.copy_from_slice(tag.octets().get(..icv.len())?);
                Some(())
            }
        }
    }
}

impl Open {
    pub(crate) fn new(cipher: Cipher, integrity: Option<Integrity>, sk_e: &[u8], sk_a: &[u8]) -> Result<Self, BadKey> {
        check(cipher, integrity, sk_e, sk_a)?;
        Self::expand(cipher, integrity, sk_e, sk_a).map(Self).ok_or(BadKey::Weak)
    }

    fn expand(cipher: Cipher, integrity: Option<Integrity>, sk_e: &[u8], sk_a: &[u8]) -> Option<OpenKind> {
        let Some(integrity) = integrity else { return Combined::new(cipher, sk_e).map(OpenKind::Combined) };
        let mac = integrity.key(sk_a);
        let cipher = match cipher.mode() {
            Mode::Ctr => {
                let (key, salt) = sk_e.split_last_chunk()?;
                OpenCipher::Ctr { key: ctr_key(aes(cipher)?, key)?, salt: *salt }
            }
            Mode::Cbc => OpenCipher::Cbc(CbcDecrypt::new(cipher, sk_e)?),
            Mode::Null => OpenCipher::Null,
            Mode::Ccm | Mode::Gcm | Mode::Gmac | Mode::ChaChaPoly => return None,
        };
        Some(OpenKind::Separate(Box::new(Separate { cipher, mac })))
    }

    /// Checks the ICV and decrypts `body` in place. After an error the body is not to be looked at.
    pub(crate) fn open(
        &self,
        with: Authenticated<'_>,
        iv: &[u8],
        body: &mut [u8],
        icv: &[u8],
    ) -> Result<(), OpenError> {
        match &self.0 {
            OpenKind::Combined(combined) => {
                combined.open(with.aad, iv, body, icv).ok_or(OpenError::IntegrityCheckFailed)
            }
            OpenKind::Separate(separate) => {
                let Separate { cipher, mac } = &**separate;
                // Authenticate before anything is decrypted.
                if !mac.verify(&[with.head, iv, body, with.tail], icv) {
                    return Err(OpenError::IntegrityCheckFailed);
                }
                match cipher {
                    OpenCipher::Null => {}
                    OpenCipher::Ctr { key, salt } => {
                        ctr(key, first_counter_block(salt, iv).ok_or(OpenError::TooShort)?, body);
                    }
                    OpenCipher::Cbc(key) => key.decrypt(iv, body).ok_or(OpenError::NotBlockMultiple)?,
                }
                Ok(())
            }
        }
    }
}
