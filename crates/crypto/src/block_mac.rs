//! MACs made of AES-CBC: AES-CMAC (RFC 4493), AES-XCBC-MAC (RFC 3566) and the CBC-MAC inside CCM (RFC 3610).

use aws_lc_rs::cipher::{AES_128, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use std::sync::Arc;
use zeroize::Zeroize;

const BLOCK: usize = 16;
/// How much is gathered before it is encrypted: several blocks, so that the call costs little per block.
const BUFFER: usize = 16 * BLOCK;

/// An AES key for CBC. `None` if the length is not that of `algorithm`.
pub(crate) fn cbc_key(algorithm: &'static Algorithm, key: &[u8]) -> Option<EncryptingKey> {
    EncryptingKey::cbc(UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

/// One AES block under `key`: CBC of a single block with a zero IV.
pub(crate) fn encrypt_block(key: &EncryptingKey, mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    encrypt(key, [0; BLOCK], &mut block);
    block
}

fn encrypt(key: &EncryptingKey, iv: [u8; BLOCK], blocks: &mut [u8]) {
    key.less_safe_encrypt(blocks, EncryptionContext::Iv128(FixedLength::from(iv)))
        .expect("AES-CBC encrypts whole blocks with an IV of one block");
}

/// A CBC-MAC being computed. The last block is always held back, because CMAC and XCBC treat it apart.
pub(crate) struct Chain<'a> {
    key: &'a EncryptingKey,
    state: [u8; BLOCK],
    buffer: [u8; BUFFER],
    filled: usize,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(key: &'a EncryptingKey) -> Self {
        Self { key, state: [0; BLOCK], buffer: [0; BUFFER], filled: 0 }
    }

    pub(crate) fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.filled == BUFFER {
                self.encrypt_buffer();
            }
            let (now, later) = data.split_at(data.len().min(BUFFER - self.filled));
            self.buffer[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            data = later;
        }
    }

    /// Fills the last block with zeros.
    pub(crate) fn align(&mut self) {
        let to = self.filled.next_multiple_of(BLOCK);
        self.buffer[self.filled..to].fill(0);
        self.filled = to;
    }

    /// Encrypts what is in the buffer, which is a whole number of blocks and at least one.
    fn encrypt_buffer(&mut self) {
        let blocks = &mut self.buffer[..self.filled];
        encrypt(self.key, self.state, blocks);
        self.state.copy_from_slice(&blocks[blocks.len() - BLOCK..]);
        self.filled = 0;
    }

    /// The plain CBC-MAC of aligned input.
    pub(crate) fn finish(mut self) -> [u8; BLOCK] {
        if self.filled > 0 {
            self.encrypt_buffer();
        }
        self.state
    }

    /// Ends as CMAC and XCBC do: the last block is combined with `whole` if complete, else padded with 1 and zeros and
    /// combined with `partial`.
    fn finish_with(mut self, whole: &[u8; BLOCK], partial: &[u8; BLOCK]) -> [u8; BLOCK] {
        let complete = self.filled > 0 && self.filled.is_multiple_of(BLOCK);
        if !complete {
            self.buffer[self.filled] = 0x80;
            self.filled += 1;
            self.align();
        }
        let last = &mut self.buffer[self.filled - BLOCK..self.filled];
        last.iter_mut().zip(if complete { whole } else { partial }).for_each(|(to, key)| *to ^= key);
        self.encrypt_buffer();
        self.state
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        self.state.zeroize();
        self.buffer.zeroize();
    }
}

/// AES-CMAC or AES-XCBC-MAC with its key.
#[derive(Clone)]
pub(crate) struct BlockMac(Arc<Keys>);

struct Keys {
    cipher: EncryptingKey,
    whole: [u8; BLOCK],
    partial: [u8; BLOCK],
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.whole.zeroize();
        self.partial.zeroize();
    }
}

impl BlockMac {
    /// RFC 3566 section 4: three keys from one.
    pub(crate) fn xcbc(key: &[u8; BLOCK]) -> Self {
        let parent = aes128(key);
        let mut first = encrypt_block(&parent, [1; BLOCK]);
        let keys = Keys {
            cipher: aes128(&first),
            whole: encrypt_block(&parent, [2; BLOCK]),
            partial: encrypt_block(&parent, [3; BLOCK]),
        };
        first.zeroize();
        Self(Arc::new(keys))
    }

    /// RFC 4493 section 2.3: subkeys by doubling in GF(2^128).
    pub(crate) fn cmac(key: &[u8; BLOCK]) -> Self {
        let cipher = aes128(key);
        let double = |block: [u8; BLOCK]| {
            let value = u128::from_be_bytes(block);
            // Without a branch on the secret top bit: the mask is all ones or zero.
            ((value << 1) ^ (0x87 & (value >> 127).wrapping_neg())).to_be_bytes()
        };
        let whole = double(encrypt_block(&cipher, [0; BLOCK]));
        Self(Arc::new(Keys { cipher, whole, partial: double(whole) }))
    }

    pub(crate) fn tag(&self, parts: impl Iterator<Item: AsRef<[u8]>>) -> [u8; BLOCK] {
        let mut chain = Chain::new(&self.0.cipher);
        parts.for_each(|part| chain.update(part.as_ref()));
        chain.finish_with(&self.0.whole, &self.0.partial)
    }
}

fn aes128(key: &[u8; BLOCK]) -> EncryptingKey {
    cbc_key(&AES_128, key).expect("AES-128 takes every key of 16 octets")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;

    fn key(text: &str) -> [u8; 16] {
        hex(text).try_into().unwrap()
    }

    /// RFC 4493 section 4.
    #[test]
    fn rfc_4493_cmac() {
        let mac = BlockMac::cmac(&key("2b7e151628aed2a6abf7158809cf4f3c"));
        let message =
            hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52ef\
             f69f2445df4f9b17ad2b417be66c3710");
        for (length, expected) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            assert_eq!(mac.tag([&message[..length]].into_iter()).to_vec(), hex(expected), "{length} octets");
        }
    }

    /// RFC 3566 section 4.6, cases 1 to 4.
    #[test]
    fn rfc_3566_xcbc() {
        let mac = BlockMac::xcbc(&key("000102030405060708090a0b0c0d0e0f"));
        let message: Vec<u8> = (0..32).collect();
        for (length, expected) in [
            (0, "75f0251d528ac01c4573dfd584d79f29"),
            (3, "5b376580ae2f19afe7219ceef172756f"),
            (16, "d2a246fa349b68a79998a4394ff7a263"),
            (20, "47f51b4564966215b8985c63055ed308"),
        ] {
            assert_eq!(mac.tag([&message[..length]].into_iter()).to_vec(), hex(expected), "{length} octets");
        }
    }

    proptest! {
        /// AWS-LC's own CMAC is the reference, over every length around the buffer and every way of cutting the input.
        #[test]
        fn cmac_agrees_with_the_library(key: [u8; 16], message in proptest::collection::vec(any::<u8>(), 0..800), cut: u16) {
            let reference = aws_lc_rs::cmac::Key::new(aws_lc_rs::cmac::AES_128, &key).unwrap();
            let expected = aws_lc_rs::cmac::sign(&reference, &message).unwrap();
            let (first, second) = message.split_at(usize::from(cut) % (message.len() + 1));
            let actual = BlockMac::cmac(&key).tag([first, second].into_iter());
            prop_assert_eq!(&actual[..], expected.as_ref());
        }
    }
}
