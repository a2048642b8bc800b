//! Message authentication codes with a prepared key, shared by PRFs and integrity algorithms.
//!
//! HMAC is RustCrypto's: 0.13 microseconds for a short message where AWS-LC needs 0.23, and its state is a plain value,
//! so that nothing is allocated per message and a key is hashed once.

use crate::algorithms::Function;
use crate::block_mac::BlockMac;
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use wire::Secret;
use zeroize::Zeroize;

/// Output of the longest function in octets.
const MAX_OUTPUT: usize = 64;

/// A full-length output on the stack, wiped when dropped.
pub(crate) struct Tag {
    octets: [u8; MAX_OUTPUT],
    length: usize,
}

impl Tag {
    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        // Only what was used: this runs for each of the many small MACs of a handshake.
        self.octets[..self.length].zeroize();
    }
}

/// A PRF or integrity algorithm together with its prepared key.
#[derive(Clone)]
pub struct MacKey(Keyed);

#[derive(Clone)]
enum Keyed {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
    Block(BlockMac),
}

fn hmac<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes keys of every length (RFC 2104 section 2)")
}

/// Runs HMAC. `output` is as long as that of the hash.
fn run<'a, M: Mac + FixedOutput>(mut state: M, input: impl Iterator<Item = &'a [u8]>, output: &mut [u8]) {
    input.for_each(|part| Mac::update(&mut state, part));
    let output = output.try_into().expect("the output has the length of the hash's");
    FixedOutput::finalize_into(state, output);
}

impl MacKey {
    /// The key as an integrity algorithm takes it. The AES functions need 16 octets; another length is brought to 16 as
    /// their PRFs do, so that no key can make this fail.
    pub(crate) fn new(function: Function, key: &[u8]) -> Self {
        Self(match function {
            Function::HmacMd5 => Keyed::Md5(hmac(key)),
            Function::HmacSha1 => Keyed::Sha1(hmac(key)),
            Function::HmacSha256 => Keyed::Sha256(hmac(key)),
            Function::HmacSha384 => Keyed::Sha384(Box::new(hmac(key))),
            Function::HmacSha512 => Keyed::Sha512(Box::new(hmac(key))),
            Function::AesXcbc => return Self::xcbc_prf(key),
            Function::AesCmac => return Self::cmac_prf(key),
        })
    }

    /// AES-XCBC-PRF-128: short keys are padded with zeros, long ones go through the function (RFC 4434 section 2).
    pub(crate) fn xcbc_prf(key: &[u8]) -> Self {
        let mut fixed = [0; 16];
        if key.len() > 16 {
            fixed = BlockMac::xcbc(&fixed).tag([key].into_iter());
        } else {
            fixed.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        }
        let mac = BlockMac::xcbc(&fixed);
        fixed.zeroize();
        Self(Keyed::Block(mac))
    }

    /// AES-CMAC-PRF-128: a key that is not 16 octets long goes through the function (RFC 4615 section 3).
    pub(crate) fn cmac_prf(key: &[u8]) -> Self {
        let mut fixed = match <[u8; 16]>::try_from(key) {
            Ok(key) => key,
            Err(_) => BlockMac::cmac(&[0; 16]).tag([key].into_iter()),
        };
        let mac = BlockMac::cmac(&fixed);
        fixed.zeroize();
        Self(Keyed::Block(mac))
    }

    /// Octets of output at full length.
    fn output_len(&self) -> usize {
        match &self.0 {
            Keyed::Md5(_) => 16,
            Keyed::Sha1(_) => 20,
            Keyed::Sha256(_) => 32,
            Keyed::Sha384(_) => 48,
            Keyed::Sha512(_) => 64,
            Keyed::Block(_) => 16,
        }
    }

    /// The function over the concatenated `parts`, at full length.
    pub fn compute(&self, parts: &[&[u8]]) -> Secret {
        let mut output = vec![0; self.output_len()];
        self.finish(parts.iter().copied(), &mut output);
        Secret::new(output)
    }

    /// As [`MacKey::compute`], for a key that is used only this once: saves the copy of its state.
    pub(crate) fn compute_once(self, parts: &[&[u8]]) -> Secret {
        let mut output = vec![0; self.output_len()];
        let input = parts.iter().copied();
        match self.0 {
            Keyed::Md5(state) => run(state, input, &mut output),
            Keyed::Sha1(state) => run(state, input, &mut output),
            Keyed::Sha256(state) => run(state, input, &mut output),
            Keyed::Sha384(state) => run(*state, input, &mut output),
            Keyed::Sha512(state) => run(*state, input, &mut output),
            Keyed::Block(key) => output.copy_from_slice(&key.tag(input)),
        }
        Secret::new(output)
    }

    pub(crate) fn tag(&self, parts: &[&[u8]]) -> Tag {
        self.tag_of(&[], parts, &[])
    }

    /// The function over `head | parts | tail`. Allocates nothing.
    pub(crate) fn tag_of(&self, head: &[u8], parts: &[&[u8]], tail: &[u8]) -> Tag {
        let mut tag = Tag { octets: [0; MAX_OUTPUT], length: self.output_len() };
        let input = [head].into_iter().chain(parts.iter().copied()).chain([tail]);
        self.finish(input, &mut tag.octets[..tag.length]);
        tag
    }

    fn finish<'a>(&self, input: impl Iterator<Item = &'a [u8]>, output: &mut [u8]) {
        match &self.0 {
            Keyed::Md5(key) => run(key.clone(), input, output),
            Keyed::Sha1(key) => run(key.clone(), input, output),
            Keyed::Sha256(key) => run(key.clone(), input, output),
            Keyed::Sha384(key) => run(Hmac::clone(key), input, output),
            Keyed::Sha512(key) => run(Hmac::clone(key), input, output),
            Keyed::Block(key) => output.copy_from_slice(&key.tag(input)),
        }
    }

    /// Whether `icv`, possibly truncated, is the function over `parts`. Takes the same time wherever they differ.
    pub(crate) fn verify(&self, parts: &[&[u8]], icv: &[u8]) -> bool {
        let tag = self.tag(parts);
        tag.octets().get(..icv.len()).is_some_and(|expected| !icv.is_empty() && equal(expected, icv))
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// Whether two values are equal, in a time that depends on their lengths only.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// SHA-1 over the concatenated `parts`: the hash of NAT detection (RFC 7296 section 2.23), where no strength is asked of
/// it.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn equal_compares_values_and_lengths() {
        assert!(equal(b"", b""));
        assert!(equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd"));
        assert!(!equal(b"abc", b"ab"));
    }

    /// RFC 3174 section 7.3, first case.
    #[test]
    fn rfc_3174_sha1() {
        assert_eq!(sha1(&[b"a", b"", b"bc"]).to_vec(), hex("a9993e364706816aba3e25717850c26c9cd0d89d"));
    }

    #[test]
    fn an_empty_or_overlong_icv_never_verifies() {
        let key = MacKey::new(Function::HmacSha1, b"key");
        let tag = key.compute(&[b"message"]);
        assert!(key.verify(&[b"message"], tag.expose()));
        assert!(key.verify(&[b"message"], &tag.expose()[..12]));
        assert!(!key.verify(&[b"message"], &[]));
        assert!(!key.verify(&[b"message"], &[tag.expose(), &[0]].concat()));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", MacKey::new(Function::HmacSha256, b"hunter2")), "MacKey(..)");
    }
}
