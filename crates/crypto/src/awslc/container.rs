//! PKCS#12 containers (RFC 7292): a private key and certificates under one passphrase.

use super::keys::{Key, pkcs8};
use aws_lc_sys as sys;
use std::ptr::{NonNull, null_mut};
use zeroize::Zeroizing;

/// An owned stack of X.509 certificates.
struct Stack(NonNull<sys::OPENSSL_STACK>);

impl Drop for Stack {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        // SAFETY: `self.0` came from AWS-LC, is owned by us, empty, and freed only here.
        unsafe { sys::OPENSSL_sk_free(self.0.as_ptr()) }
    }
}

impl Stack {
    fn pop(&mut self) -> Option<Certificate> {
        // SAFETY: `self.0` is live; the result is null if it is empty, else a certificate that is ours from now on.
        let last = unsafe { sys::OPENSSL_sk_pop(self.0.as_ptr()) };
        NonNull::new(last.cast::<sys::X509>()).map(Certificate)
    }
}

/// An owned `X509`.
struct Certificate(NonNull<sys::X509>);

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::X509_free(self.0.as_ptr()) }
    }
}

impl Certificate {
    fn der(&self) -> Option<Vec<u8>> {
        // SAFETY: `self.0` is live; with a null destination only the length is computed.
        let length = unsafe { sys::i2d_X509(self.0.as_ptr(), null_mut()) };
        let mut der = vec![0; usize::try_from(length).ok()?];
        let mut at = der.as_mut_ptr();
        // SAFETY: `self.0` is live and has not changed, so that exactly `der.len()` octets are written to `at`.
        let written = unsafe { sys::i2d_X509(self.0.as_ptr(), &mut at) };
        (written == length).then_some(der)
    }
}

/// The private key as PKCS#8, and the certificates in DER in their order.
pub(crate) type Opened = (Option<Zeroizing<Vec<u8>>>, Vec<Vec<u8>>);

/// Opens a container. `None`: it is none, does not open with the passphrase, or is made in a way that AWS-LC does not know.
pub(crate) fn open(octets: &[u8], passphrase: &[u8]) -> Option<Opened> {
    if passphrase.contains(&0) {
        return None; // it would end there
    }
    let mut text = Zeroizing::new(Vec::with_capacity(passphrase.len() + 1));
    text.extend_from_slice(passphrase);
    text.push(0);
    // SAFETY: takes nothing; the result is null or a fresh stack that we own.
    let mut certificates = Stack(NonNull::new(unsafe { sys::OPENSSL_sk_new_null() })?);
    let mut key = null_mut::<sys::EVP_PKEY>();
    let mut reader = std::mem::MaybeUninit::<sys::CBS>::uninit();
    // SAFETY: CBS_init makes the reader whole; it reads at most `octets.len()` octets of `octets`, which outlives it. `text`
    // ends with a zero. A stack of certificates is an OPENSSL_STACK of pointers to X509, and is ours. What is written to `key`
    // is null or a fresh object that we own.
    let done = unsafe {
        sys::CBS_init(reader.as_mut_ptr(), octets.as_ptr(), octets.len());
        sys::PKCS12_get_key_and_certs(
            &mut key,
            certificates.0.as_ptr().cast::<sys::stack_st_X509>(),
            reader.as_mut_ptr(),
            text.as_ptr().cast(),
        )
    };
    let key = NonNull::new(key).map(Key);
    // SAFETY: takes nothing; empties this thread's list of errors.
    unsafe { sys::ERR_clear_error() };
    if done != 1 {
        return None;
    }
    let mut found = Vec::new();
    while let Some(certificate) = certificates.pop() {
        found.push(certificate.der()?);
    }
    found.reverse();
    let key = match &key {
        Some(key) => Some(pkcs8(key)?),
        None => None,
    };
    Some((key, found))
}
