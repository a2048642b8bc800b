//! AES-CCM as ESP and IKE use it: 11-octet nonces, 4-octet length, ICVs of 8, 12 or 16 octets (RFC 4309, RFC 3610).
//!
//! AWS-LC has no AEAD for this nonce length, so the mode is put together from its AES-CBC and AES-CTR.

use crate::block_mac::{Chain, cbc_key};
use aws_lc_rs::cipher::{Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// An AES key for counter mode. `None` if the length is not that of `algorithm`.
pub(crate) fn ctr_key(algorithm: &'static Algorithm, key: &[u8]) -> Option<EncryptingKey> {
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()
}

/// Encrypts or decrypts, which is the same in counter mode.
pub(crate) fn ctr(key: &EncryptingKey, counter_block: [u8; 16], data: &mut [u8]) {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(counter_block)))
        .expect("AES-CTR encrypts any number of octets");
}

pub(crate) struct Ccm {
    mac: EncryptingKey,
    counter: EncryptingKey,
    icv_len: u8,
}

impl Ccm {
    pub(crate) fn new(algorithm: &'static Algorithm, key: &[u8], icv_len: u8) -> Option<Self> {
        Some(Self { mac: cbc_key(algorithm, key)?, counter: ctr_key(algorithm, key)?, icv_len })
    }

    /// Encrypts `body` in place and writes the ICV.
    pub(crate) fn seal(&self, nonce: &[u8; 11], aad: &[u8], body: &mut [u8], icv: &mut [u8]) {
        let tag = self.tag(nonce, aad, body);
        icv.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
        ctr(&self.counter, counter_block(nonce, 1), body);
    }

    /// Decrypts `body` in place. If the ICV is wrong the body is wiped.
    pub(crate) fn open(&self, nonce: &[u8; 11], aad: &[u8], body: &mut [u8], icv: &[u8]) -> bool {
        ctr(&self.counter, counter_block(nonce, 1), body);
        let tag = self.tag(nonce, aad, body);
        let genuine = icv.len() == usize::from(self.icv_len) && tag[..icv.len()].ct_eq(icv).into();
        if !genuine {
            body.zeroize();
        }
        genuine
    }

    /// RFC 3610 sections 2.2 and 2.3: the CBC-MAC of the plaintext, encrypted with the key stream block 0.
    fn tag(&self, nonce: &[u8; 11], aad: &[u8], plaintext: &[u8]) -> [u8; 16] {
        let mut chain = Chain::new(&self.mac);
        let mut first = [0; 16];
        // Flags: bit 6 = there is AAD, bits 3..5 = (M - 2) / 2, bits 0..2 = L - 1 with L = 4.
        first[0] = (u8::from(!aad.is_empty()) << 6) | (((self.icv_len - 2) / 2) << 3) | 3;
        first[1..12].copy_from_slice(nonce);
        first[12..].copy_from_slice(&(plaintext.len() as u32).to_be_bytes());
        chain.update(&first);
        if !aad.is_empty() {
            // RFC 3610 section 2.2: two octets of length below 2^16 - 2^8, else 0xFFFE and four.
            match u16::try_from(aad.len()) {
                Ok(length) if length < 0xFF00 => chain.update(&length.to_be_bytes()),
                _ => {
                    chain.update(&[0xFF, 0xFE]);
                    chain.update(&(aad.len() as u32).to_be_bytes());
                }
            }
            chain.update(aad);
            chain.align();
        }
        chain.update(plaintext);
        chain.align();
        let mut tag = chain.finish();
        ctr(&self.counter, counter_block(nonce, 0), &mut tag);
        tag
    }
}

fn counter_block(nonce: &[u8; 11], counter: u32) -> [u8; 16] {
    let mut block = [0; 16];
    block[0] = 3; // L - 1
    block[1..12].copy_from_slice(nonce);
    block[12..].copy_from_slice(&counter.to_be_bytes());
    block
}
