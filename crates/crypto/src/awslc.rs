//! The only `unsafe` of this crate: what AWS-LC has and `aws-lc-rs` has no door to.
//!
//! Five things: modular exponentiation for the MODP groups, curves other than P-256, P-384 and P-521 ([`curve`]), AES-GCM
//! with ICVs of 8 and 12 octets, private keys in the forms that operators keep them in ([`keys`]), and
//! PKCS#12 ([`container`]). Pointers never leave this module, lengths always come from the slice that
//! is passed, and every object is freed by the `Drop` of its guard.

#![allow(unsafe_code)]

pub(crate) mod container;
pub(crate) mod curve;
pub(crate) mod keys;

use aws_lc_sys as sys;
use std::ptr::{NonNull, null_mut};
use zeroize::Zeroizing;

/// An owned `BIGNUM`, wiped when dropped.
struct Bn(NonNull<sys::BIGNUM>);

impl Bn {
    fn zero() -> Option<Self> {
        // SAFETY: takes nothing; the result is null or a fresh object that we own.
        NonNull::new(unsafe { sys::BN_new() }).map(Self)
    }

    /// From big-endian octets.
    fn from_octets(octets: &[u8]) -> Option<Self> {
        // SAFETY: reads exactly `octets.len()` octets; with a null third argument a fresh object is returned, which we own.
        NonNull::new(unsafe { sys::BN_bin2bn(octets.as_ptr(), octets.len(), null_mut()) }).map(Self)
    }

    /// To big-endian octets, padded on the left. `false` if the value does not fit.
    fn write(&self, out: &mut [u8]) -> bool {
        // SAFETY: writes exactly `out.len()` octets; `self.0` is a live BIGNUM.
        unsafe { sys::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), self.0.as_ptr()) == 1 }
    }
}

impl Drop for Bn {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}

/// An owned `BN_CTX`: scratch space of one computation.
struct Scratch(NonNull<sys::BN_CTX>);

impl Scratch {
    fn new() -> Option<Self> {
        // SAFETY: takes nothing; the result is null or a fresh object that we own.
        NonNull::new(unsafe { sys::BN_CTX_new() }).map(Self)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::BN_CTX_free(self.0.as_ptr()) }
    }
}

/// An owned `BN_MONT_CTX`.
struct Montgomery(NonNull<sys::BN_MONT_CTX>);

impl Drop for Montgomery {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::BN_MONT_CTX_free(self.0.as_ptr()) }
    }
}

/// Primes of RFC 3526 that AWS-LC knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rfc3526 {
    Modp1536,
    Modp2048,
    Modp3072,
    Modp4096,
    Modp6144,
    Modp8192,
}

/// A prime modulus, prepared for exponentiation.
pub(crate) struct Modulus {
    prime: Bn,
    montgomery: Montgomery,
    octets: Vec<u8>,
}

// SAFETY: after construction neither the BIGNUM nor the BN_MONT_CTX is written (they are passed as pointers to const), and
// AWS-LC keeps no thread-bound state in either, so they may be moved to and read from any thread.
unsafe impl Send for Modulus {}
// SAFETY: as above: shared use is read-only.
unsafe impl Sync for Modulus {}

impl Modulus {
    /// A group of RFC 3526.
    pub(crate) fn rfc3526(group: Rfc3526) -> Option<Self> {
        let get = match group {
            Rfc3526::Modp1536 => sys::BN_get_rfc3526_prime_1536,
            Rfc3526::Modp2048 => sys::BN_get_rfc3526_prime_2048,
            Rfc3526::Modp3072 => sys::BN_get_rfc3526_prime_3072,
            Rfc3526::Modp4096 => sys::BN_get_rfc3526_prime_4096,
            Rfc3526::Modp6144 => sys::BN_get_rfc3526_prime_6144,
            Rfc3526::Modp8192 => sys::BN_get_rfc3526_prime_8192,
        };
        // SAFETY: with a null argument these functions return null or a fresh object that we own.
        let prime = Bn(NonNull::new(unsafe { get(null_mut()) })?);
        // SAFETY: `prime.0` is a live BIGNUM.
        let length = unsafe { sys::BN_num_bytes(prime.0.as_ptr()) };
        Self::prepare(prime, usize::try_from(length).ok()?)
    }

    /// A prime given as big-endian octets.
    pub(crate) fn from_octets(prime: &[u8]) -> Option<Self> {
        Self::prepare(Bn::from_octets(prime)?, prime.len())
    }

    fn prepare(prime: Bn, length: usize) -> Option<Self> {
        let mut octets = vec![0; length];
        if !prime.write(&mut octets) {
            return None;
        }
        let scratch = Scratch::new()?;
        // SAFETY: both arguments are live objects; the modulus is copied; the result is null or a fresh object that we own.
        let montgomery = unsafe { sys::BN_MONT_CTX_new_for_modulus(prime.0.as_ptr(), scratch.0.as_ptr()) };
        Some(Self { prime, montgomery: Montgomery(NonNull::new(montgomery)?), octets })
    }

    /// The modulus as big-endian octets without leading zeros.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// `base ^ exponent mod p`, as long as the modulus, in a time that depends on the lengths only.
    ///
    /// `None` if `base` is not below the modulus or memory is exhausted.
    pub(crate) fn power(&self, base: &[u8], exponent: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (base, exponent) = (Bn::from_octets(base)?, Bn::from_octets(exponent)?);
        let (result, scratch) = (Bn::zero()?, Scratch::new()?);
        // SAFETY: all six are live objects; `result` and `scratch` are written and nobody else has them, the other four
        // are read only. AWS-LC checks that the base is below the modulus, and returns 0 if it is not.
        let done = unsafe {
            sys::BN_mod_exp_mont_consttime(
                result.0.as_ptr(),
                base.0.as_ptr(),
                exponent.0.as_ptr(),
                self.prime.0.as_ptr(),
                scratch.0.as_ptr(),
                self.montgomery.0.as_ptr(),
            )
        };
        let mut out = Zeroizing::new(vec![0; self.octets.len()]);
        (done == 1 && result.write(&mut out)).then_some(out)
    }
}

/// AES-GCM with an ICV shorter than 16 octets (RFC 4106 section 6).
pub(crate) struct ShortIcvGcm {
    context: NonNull<sys::EVP_AEAD_CTX>,
    icv_len: usize,
}

// SAFETY: the context is written only by its construction; sealing and opening take it as a pointer to const, and AWS-LC's
// aead.h lists the AES-GCM AEADs among those whose context may be used by several threads at once.
unsafe impl Send for ShortIcvGcm {}
// SAFETY: as above.
unsafe impl Sync for ShortIcvGcm {}

impl ShortIcvGcm {
    /// `None` if the key is not 16, 24 or 32 octets long or the ICV is not 1 to 16.
    pub(crate) fn new(key: &[u8], icv_len: usize) -> Option<Self> {
        // AWS-LC reads an ICV length of 0 as "the default".
        if icv_len == 0 {
            return None;
        }
        // SAFETY: these return pointers to static descriptions.
        let aead = unsafe {
            match key.len() {
                16 => sys::EVP_aead_aes_128_gcm(),
                24 => sys::EVP_aead_aes_192_gcm(),
                32 => sys::EVP_aead_aes_256_gcm(),
                _ => return None,
            }
        };
        // SAFETY: `aead` is static; exactly `key.len()` octets are read; the result is null or a fresh object that we own.
        let context = unsafe { sys::EVP_AEAD_CTX_new(aead, key.as_ptr(), key.len(), icv_len) };
        Some(Self { context: NonNull::new(context)?, icv_len })
    }

    /// Encrypts `body` in place and writes the ICV. `false` if `icv` has not the length of the key's ICVs.
    #[must_use]
    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], body: &mut [u8], icv: &mut [u8]) -> bool {
        if icv.len() != self.icv_len {
            return false;
        }
        let mut written = 0;
        // SAFETY: input and output are the same `body.len()` octets, which the function allows; at most `icv.len()`
        // octets of ICV are written; nonce and AAD are read at their lengths; there is no extra input.
        let done = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                self.context.as_ptr(),
                body.as_mut_ptr(),
                icv.as_mut_ptr(),
                &mut written,
                icv.len(),
                nonce.as_ptr(),
                nonce.len(),
                body.as_ptr(),
                body.len(),
                std::ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        done == 1 && written == icv.len()
    }

    /// Decrypts `body` in place. `false` if the ICV is wrong, and then the body is zeros.
    #[must_use]
    pub(crate) fn open(&self, nonce: &[u8; 12], aad: &[u8], body: &mut [u8], icv: &[u8]) -> bool {
        if icv.len() != self.icv_len {
            return false;
        }
        // SAFETY: input and output are the same `body.len()` octets, which the function allows; ICV, nonce and AAD are
        // read at their lengths.
        let done = unsafe {
            sys::EVP_AEAD_CTX_open_gather(
                self.context.as_ptr(),
                body.as_mut_ptr(),
                nonce.as_ptr(),
                nonce.len(),
                body.as_ptr(),
                body.len(),
                icv.as_ptr(),
                icv.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        done == 1
    }
}

impl Drop for ShortIcvGcm {
    fn drop(&mut self) {
        // SAFETY: the context came from AWS-LC, is owned by us and freed only here (AWS-LC wipes it).
        unsafe { sys::EVP_AEAD_CTX_free(self.context.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_powers() {
        let modulus = Modulus::from_octets(&[0, 23]).unwrap();
        assert_eq!(modulus.octets(), [0, 23]);
        assert_eq!(**modulus.power(&[5], &[6]).unwrap(), [0, 8]); // 15625 mod 23
        assert_eq!(**modulus.power(&[2], &[0]).unwrap(), [0, 1]);
        assert_eq!(**modulus.power(&[0], &[5]).unwrap(), [0, 0]);
        assert!(modulus.power(&[23], &[6]).is_none(), "the base must be below the modulus");
        assert!(modulus.power(&[], &[]).is_some());
        assert!(Modulus::from_octets(&[22]).is_none(), "Montgomery needs an odd modulus");
        assert!(Modulus::from_octets(&[]).is_none());
    }

    /// Fermat: 2^(p-1) = 1, and the generator 2 has the prime order (p-1)/2, in every group.
    #[test]
    fn the_groups_are_what_they_claim() {
        for (group, bits) in [
            (Rfc3526::Modp1536, 1536),
            (Rfc3526::Modp2048, 2048),
            (Rfc3526::Modp3072, 3072),
            (Rfc3526::Modp4096, 4096),
            (Rfc3526::Modp6144, 6144),
            (Rfc3526::Modp8192, 8192),
        ] {
            let modulus = Modulus::rfc3526(group).unwrap();
            let prime = modulus.octets().to_vec();
            assert_eq!(prime.len() * 8, bits);
            assert_eq!(prime[..8], [0xFF; 8]);
            assert_eq!(prime[prime.len() - 8..], [0xFF; 8]);
            let mut half = prime.clone();
            let mut carry = 0;
            for octet in &mut half {
                (*octet, carry) = ((*octet >> 1) | (carry << 7), *octet & 1);
            }
            let one = modulus.power(&[2], &half).unwrap();
            let (last, zeros) = one.split_last().unwrap();
            assert!(*last == 1 && zeros.iter().all(|octet| *octet == 0), "{group:?}");
        }
    }

    #[test]
    fn short_icvs_are_the_beginning_of_the_long_one() {
        let (key, nonce, aad) = ([7; 16], [1; 12], [2; 20]);
        let seal = |length: usize| {
            let (mut body, mut icv) = ([3; 50], vec![0; length]);
            assert!(ShortIcvGcm::new(&key, length).unwrap().seal(&nonce, &aad, &mut body, &mut icv));
            (body, icv)
        };
        let (body, long) = seal(16);
        for length in [8, 12] {
            let (same, short) = seal(length);
            assert_eq!(same, body);
            assert_eq!(short, long[..length]);
            let gcm = ShortIcvGcm::new(&key, length).unwrap();
            let mut copy = body;
            assert!(gcm.open(&nonce, &aad, &mut copy, &short));
            assert_eq!(copy, [3; 50]);
            let mut copy = body;
            assert!(!gcm.open(&nonce, &aad, &mut copy, &long), "a longer ICV is not accepted");
            assert!(!gcm.open(&nonce, &aad[1..], &mut copy, &short));
            assert_eq!(copy, [0; 50], "nothing of the plaintext is left");
        }
        assert!(!ShortIcvGcm::new(&key, 8).unwrap().seal(&nonce, &aad, &mut [], &mut [0; 7]));
        assert!(ShortIcvGcm::new(&key[1..], 8).is_none());
        assert!(ShortIcvGcm::new(&key, 0).is_none());
        assert!(ShortIcvGcm::new(&key, 17).is_none());
    }
}
