//! Block ciphers in CBC mode: AES and 3DES from AWS-LC, Camellia and Blowfish, which it does not have, from RustCrypto.
//!
//! RustCrypto's two look their S-boxes up in tables, so that their time depends on the key: who measures caches on our
//! machine may learn of it. Both are there for peers that have nothing better, and only where they are asked for by name.

use crate::Cipher;
use crate::block_mac::cbc_key;
use crate::transform::{aes, decryption_context, encryption_context, triple_des};
use ::cbc::cipher::array::Array;
use ::cbc::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use ::cbc::{Decryptor, Encryptor};
use aws_lc_rs::cipher::{DecryptingKey, EncryptingKey, UnboundCipherKey};
use blowfish::Blowfish;
use camellia::{Camellia128, Camellia192, Camellia256};
use wire::registry::EncryptionId;

/// A key that encrypts.
#[allow(clippy::large_enum_variant)] // nearly all SAs have the large one, and it would only be one indirection more
pub(crate) enum CbcEncrypt {
    Library(EncryptingKey),
    Other(Other),
}

/// A key that decrypts.
#[allow(clippy::large_enum_variant)] // as above
pub(crate) enum CbcDecrypt {
    Library(DecryptingKey),
    Other(Other),
}

/// A cipher of RustCrypto, the same for both directions. Boxed: Blowfish expands its key to four kilobytes.
pub(crate) enum Other {
    Camellia128(Box<Camellia128>),
    Camellia192(Box<Camellia192>),
    Camellia256(Box<Camellia256>),
    Blowfish(Box<Blowfish>),
}

impl Other {
    fn new(cipher: Cipher, key: &[u8]) -> Option<Self> {
        if key.len() != cipher.key_len() {
            return None;
        }
        Some(match (cipher.id(), cipher.key_bits()) {
            (EncryptionId::CAMELLIA_CBC, 128) => Self::Camellia128(boxed(key)?),
            (EncryptionId::CAMELLIA_CBC, 192) => Self::Camellia192(boxed(key)?),
            (EncryptionId::CAMELLIA_CBC, 256) => Self::Camellia256(boxed(key)?),
            (EncryptionId::BLOWFISH, _) => Self::Blowfish(boxed(key)?),
            _ => return None,
        })
    }
}

fn boxed<C: KeyInit>(key: &[u8]) -> Option<Box<C>> {
    C::new_from_slice(key).ok().map(Box::new)
}

/// The key of AES or 3DES for the library. `None` for other ciphers and for keys that the library refuses.
fn library(cipher: Cipher, key: &[u8]) -> Option<UnboundCipherKey> {
    match cipher.id() {
        EncryptionId::AES_CBC => UnboundCipherKey::new(aes(cipher)?, key).ok(),
        EncryptionId::TRIPLE_DES => triple_des(key),
        _ => None,
    }
}

impl CbcEncrypt {
    /// `None` if `cipher` is none in CBC mode, or the key is not one of its.
    pub(crate) fn new(cipher: Cipher, key: &[u8]) -> Option<Self> {
        match cipher.id() {
            EncryptionId::AES_CBC => cbc_key(aes(cipher)?, key).map(Self::Library),
            EncryptionId::TRIPLE_DES => EncryptingKey::cbc(library(cipher, key)?).ok().map(Self::Library),
            _ => Other::new(cipher, key).map(Self::Other),
        }
    }

    /// Encrypts whole blocks in place. `None` if they are not whole, or `iv` is not one block.
    pub(crate) fn encrypt(&self, iv: &[u8], body: &mut [u8]) -> Option<()> {
        match self {
            Self::Library(key) => key.less_safe_encrypt(body, encryption_context(iv)?).ok().map(|_| ()),
            Self::Other(Other::Camellia128(cipher)) => encrypt(&**cipher, iv, body),
            Self::Other(Other::Camellia192(cipher)) => encrypt(&**cipher, iv, body),
            Self::Other(Other::Camellia256(cipher)) => encrypt(&**cipher, iv, body),
            Self::Other(Other::Blowfish(cipher)) => encrypt(&**cipher, iv, body),
        }
    }
}

impl CbcDecrypt {
    /// `None` if `cipher` is none in CBC mode, or the key is not one of its.
    pub(crate) fn new(cipher: Cipher, key: &[u8]) -> Option<Self> {
        match cipher.id() {
            EncryptionId::AES_CBC | EncryptionId::TRIPLE_DES => {
                DecryptingKey::cbc(library(cipher, key)?).ok().map(Self::Library)
            }
            _ => Other::new(cipher, key).map(Self::Other),
        }
    }

    /// Decrypts whole blocks in place. `None` if they are not whole, or `iv` is not one block; the body is untouched then.
    pub(crate) fn decrypt(&self, iv: &[u8], body: &mut [u8]) -> Option<()> {
        match self {
            Self::Library(key) => key.decrypt(body, decryption_context(iv)?).ok().map(|_| ()),
            Self::Other(Other::Camellia128(cipher)) => decrypt(&**cipher, iv, body),
            Self::Other(Other::Camellia192(cipher)) => decrypt(&**cipher, iv, body),
            Self::Other(Other::Camellia256(cipher)) => decrypt(&**cipher, iv, body),
            Self::Other(Other::Blowfish(cipher)) => decrypt(&**cipher, iv, body),
        }
    }
}

fn encrypt<C: BlockCipherEncrypt>(cipher: &C, iv: &[u8], body: &mut [u8]) -> Option<()> {
    let (blocks, rest) = Array::slice_as_chunks_mut(body);
    let mut mode = Encryptor::inner_iv_slice_init(cipher, iv).ok().filter(|_| rest.is_empty())?;
    mode.encrypt_blocks(blocks);
    Some(())
}

fn decrypt<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], body: &mut [u8]) -> Option<()> {
    let (blocks, rest) = Array::slice_as_chunks_mut(body);
    let mut mode = Decryptor::inner_iv_slice_init(cipher, iv).ok().filter(|_| rest.is_empty())?;
    mode.decrypt_blocks(blocks);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;

    fn ciphers() -> Vec<Cipher> {
        let camellia = [128, 192, 256].map(|bits| (EncryptionId::CAMELLIA_CBC, Some(bits)));
        let aes = [128, 192, 256].map(|bits| (EncryptionId::AES_CBC, Some(bits)));
        let blowfish = (16..=56).map(|octets| (EncryptionId::BLOWFISH, Some(octets * 8)));
        let all = camellia.into_iter().chain(aes).chain(blowfish).chain([(EncryptionId::TRIPLE_DES, None)]);
        all.map(|(id, bits)| Cipher::new(id, bits).unwrap()).collect()
    }

    /// One block of ECB is one block of CBC with an IV of zeros.
    fn block(id: EncryptionId, key: &str, plain: &str) -> Vec<u8> {
        let key = hex(key);
        let cipher = Cipher::new(id, Some(u16::try_from(key.len() * 8).unwrap())).unwrap();
        let mut body = hex(plain);
        let iv = vec![0; cipher.block_len()];
        CbcEncrypt::new(cipher, &key).unwrap().encrypt(&iv, &mut body).unwrap();
        let sealed = body.clone();
        CbcDecrypt::new(cipher, &key).unwrap().decrypt(&iv, &mut body).unwrap();
        assert_eq!(body, hex(plain));
        sealed
    }

    /// RFC 3713 appendix A.
    #[test]
    fn rfc_3713_camellia() {
        let plain = "0123456789abcdeffedcba9876543210";
        let camellia = |key: &str| block(EncryptionId::CAMELLIA_CBC, key, plain);
        assert_eq!(camellia(plain), hex("67673138549669730857065648eabe43"));
        let key = [plain, "0011223344556677"].concat();
        assert_eq!(camellia(&key), hex("b4993401b3e996f84ee5cee7d79b09b9"));
        let key = [plain, "00112233445566778899aabbccddeeff"].concat();
        assert_eq!(camellia(&key), hex("9acc237dff16d76c20ef7c919e3a7509"));
    }

    /// The vectors that Eric Young published with Blowfish (`bf_test.c` of SSLeay, "vectors.txt" of Schneier's page), with
    /// the key of 8 octets repeated: Blowfish cycles its key, so that twice the key is the same key.
    #[test]
    fn eric_youngs_blowfish() {
        for (key, plain, sealed) in [
            ("0000000000000000", "0000000000000000", "4ef997456198dd78"),
            ("ffffffffffffffff", "ffffffffffffffff", "51866fd5b85ecb8a"),
            ("3000000000000000", "1000000000000001", "7d856f9a613063f2"),
            ("1111111111111111", "1111111111111111", "2466dd878b963c9d"),
            ("0123456789abcdef", "1111111111111111", "61f9c3802281b096"),
            ("fedcba9876543210", "0123456789abcdef", "0aceab0fc6a0a28d"),
            ("7ca110454a1a6e57", "01a1d6d039776742", "59c68245eb05282b"),
        ] {
            assert_eq!(block(EncryptionId::BLOWFISH, &key.repeat(2), plain), hex(sealed), "{key}");
        }
        // The same table's `set_key test`: every key length, the one of 16 octets and the longest here.
        let key = "f0e1d2c3b4a5968778695a4b3c2d1e0f0011223344556677";
        let plain = "fedcba9876543210";
        assert_eq!(block(EncryptionId::BLOWFISH, &key[..32], plain), hex("93142887ee3be15c"));
        assert_eq!(block(EncryptionId::BLOWFISH, key, plain), hex("05044b62fa52d080"));
    }

    /// The same author's `chaining mode test data`: 16 octets of key, 32 of text with zeros behind it.
    #[test]
    fn eric_youngs_blowfish_cbc() {
        let cipher = Cipher::new(EncryptionId::BLOWFISH, Some(128)).unwrap();
        let key = hex("0123456789abcdeff0e1d2c3b4a59687");
        let mut body = b"7654321 Now is the time for \0\0\0\0".to_vec();
        CbcEncrypt::new(cipher, &key).unwrap().encrypt(&hex("fedcba9876543210"), &mut body).unwrap();
        assert_eq!(body, hex("6b77b4d63006dee605b156e27403979358deb9e7154616d959f1652bd5ff92cc"));
    }

    proptest! {
        /// The definition of CBC, block by block.
        #[test]
        fn chains_block_by_block(which: prop::sample::Index, seed: u8, blocks in 1..20usize) {
            let ciphers = ciphers();
            let cipher = ciphers[which.index(ciphers.len())];
            let octets = |length: usize, by: u8| -> Vec<u8> {
                (0..length).map(|i| (i as u8).wrapping_mul(by) ^ seed).collect()
            };
            let (key, iv) = (octets(cipher.key_len(), 37), octets(cipher.block_len(), 11));
            let plain = octets(blocks * cipher.block_len(), 5);
            let (seal, open) = (CbcEncrypt::new(cipher, &key).unwrap(), CbcDecrypt::new(cipher, &key).unwrap());
            let (mut expected, mut before, zeros) = (Vec::new(), iv.clone(), vec![0; cipher.block_len()]);
            for block in plain.chunks(cipher.block_len()) {
                let mut one: Vec<u8> = block.iter().zip(&before).map(|(a, b)| a ^ b).collect();
                seal.encrypt(&zeros, &mut one).unwrap();
                expected.extend_from_slice(&one);
                before = one;
            }
            let mut body = plain.clone();
            seal.encrypt(&iv, &mut body).unwrap();
            prop_assert_eq!(&body, &expected);
            open.decrypt(&iv, &mut body).unwrap();
            prop_assert_eq!(&body, &plain);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for cipher in ciphers() {
            let key: Vec<u8> = (1..=cipher.key_len() as u8).collect();
            assert!(CbcEncrypt::new(cipher, &key[1..]).is_none() && CbcDecrypt::new(cipher, &key[1..]).is_none());
            let (seal, open) = (CbcEncrypt::new(cipher, &key).unwrap(), CbcDecrypt::new(cipher, &key).unwrap());
            let (iv, mut body) = (vec![0; cipher.block_len()], vec![1; 2 * cipher.block_len() - 1]);
            assert!(seal.encrypt(&iv, &mut body).is_none() && open.decrypt(&iv, &mut body).is_none(), "{cipher:?}");
            assert!(seal.encrypt(&iv[1..], &mut [1; 32]).is_none() && open.decrypt(&iv[1..], &mut [1; 32]).is_none());
            assert!(body.iter().all(|octet| *octet == 1), "untouched");
        }
        let gcm = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).unwrap();
        assert!(CbcEncrypt::new(gcm, &[1; 20]).is_none() && CbcDecrypt::new(gcm, &[1; 20]).is_none());
    }
}
