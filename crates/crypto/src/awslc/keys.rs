//! Private keys in all the forms they are kept in, and RSA below the level of signatures: IKEv1 signs without a
//! DigestInfo (RFC 2409 section 5.1), and SHA-1 is all that some IKEv2 peers take (RFC 7296 section 3.8).

use aws_lc_sys as sys;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::{NonNull, null_mut};
use zeroize::Zeroizing;

/// An owned `EVP_PKEY`.
pub(super) struct Key(pub(super) NonNull<sys::EVP_PKEY>);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// An owned `BIO` that reads from memory which outlives it.
struct Reader(NonNull<sys::BIO>);

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::BIO_free(self.0.as_ptr()) };
    }
}

/// What the callback for passphrases gets: the passphrase, and whether it was asked for.
struct Asked<'a> {
    passphrase: Option<&'a [u8]>,
    asked: bool,
}

/// Hands the passphrase to AWS-LC: its length, or -1 if there is none or it does not fit.
unsafe extern "C" fn passphrase(buffer: *mut c_char, size: c_int, _writing: c_int, data: *mut c_void) -> c_int {
    // SAFETY: `data` is the pointer that `from_pem` passed: to an `Asked` that lives and is not borrowed meanwhile.
    let Some(asked) = (unsafe { data.cast::<Asked<'_>>().as_mut() }) else { return -1 };
    asked.asked = true;
    let (Some(passphrase), Ok(room)) = (asked.passphrase, usize::try_from(size)) else { return -1 };
    if passphrase.len() > room || buffer.is_null() {
        return -1;
    }
    // SAFETY: AWS-LC gives a buffer of `size` octets, into which the passphrase fits; they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(passphrase.as_ptr(), buffer.cast::<u8>(), passphrase.len()) };
    c_int::try_from(passphrase.len()).unwrap_or(-1)
}

/// Why a text is no private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// It is encrypted, and no passphrase was given.
    Encrypted,
    /// It is encrypted, and does not open with the passphrase.
    WrongPassphrase,
    /// It is no private key, or of a kind that AWS-LC does not know.
    Malformed,
}

/// The PKCS#8 form of a private key in PEM: PKCS#1, SEC 1, PKCS#8, encrypted PKCS#8 (PBES2), and the older
/// encryption of PEM itself (RFC 1421).
pub(crate) fn from_pem(pem: &[u8], with: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, NoKey> {
    let length = isize::try_from(pem.len()).map_err(|_| NoKey::Malformed)?;
    // SAFETY: reads at most `length` octets of `pem`, which outlives the reader.
    let reader = unsafe { sys::BIO_new_mem_buf(pem.as_ptr().cast(), length) };
    let reader = Reader(NonNull::new(reader).ok_or(NoKey::Malformed)?);
    let mut asked = Asked { passphrase: with, asked: false };
    let data: *mut Asked<'_> = &mut asked;
    // SAFETY: the reader is live, the callback takes what `data` points to, which lives until after the call. The result
    // is null or a fresh object that we own.
    let key = unsafe { sys::PEM_read_bio_PrivateKey(reader.0.as_ptr(), null_mut(), Some(passphrase), data.cast()) };
    let Some(key) = NonNull::new(key).map(Key) else {
        // SAFETY: takes nothing; empties this thread's list of errors.
        unsafe { sys::ERR_clear_error() };
        return Err(match (asked.asked, with) {
            (true, None) => NoKey::Encrypted,
            (true, Some(_)) => NoKey::WrongPassphrase,
            (false, _) => NoKey::Malformed,
        });
    };
    pkcs8(&key).ok_or(NoKey::Malformed)
}

/// The PKCS#8 form of a private key in DER: PKCS#1, SEC 1 or PKCS#8, not encrypted.
pub(crate) fn from_der(der: &[u8]) -> Result<Zeroizing<Vec<u8>>, NoKey> {
    let length = c_long::try_from(der.len()).map_err(|_| NoKey::Malformed)?;
    let mut at = der.as_ptr();
    // SAFETY: reads at most `length` octets from `at`, which is moved but not kept. The result is null or a fresh object
    // that we own.
    let key = unsafe { sys::d2i_AutoPrivateKey(null_mut(), &mut at, length) };
    let Some(key) = NonNull::new(key).map(Key) else {
        // SAFETY: takes nothing; empties this thread's list of errors.
        unsafe { sys::ERR_clear_error() };
        return Err(NoKey::Malformed);
    };
    pkcs8(&key).ok_or(NoKey::Malformed)
}

pub(super) fn pkcs8(key: &Key) -> Option<Zeroizing<Vec<u8>>> {
    let mut builder = std::mem::MaybeUninit::<sys::CBB>::uninit();
    let (mut octets, mut length) = (null_mut::<u8>(), 0usize);
    // SAFETY: the builder is zeroed before use, initialised by CBB_init, and cleaned up on every way out; CBB_finish hands
    // over `length` octets at `octets`, which we copy, wipe and free once.
    unsafe {
        sys::CBB_zero(builder.as_mut_ptr());
        let made = sys::CBB_init(builder.as_mut_ptr(), 0) == 1
            && sys::EVP_marshal_private_key(builder.as_mut_ptr(), key.0.as_ptr()) == 1
            && sys::CBB_finish(builder.as_mut_ptr(), &mut octets, &mut length) == 1
            && !octets.is_null();
        if !made {
            sys::CBB_cleanup(builder.as_mut_ptr());
            return None;
        }
        let copy = Zeroizing::new(std::slice::from_raw_parts(octets, length).to_vec());
        sys::OPENSSL_cleanse(octets.cast(), length);
        sys::OPENSSL_free(octets.cast());
        Some(copy)
    }
}

/// An RSA key, private or public.
pub(crate) struct Rsa(NonNull<sys::RSA>);

// SAFETY: AWS-LC's RSA objects may be used by several threads once they are made: what signing caches is behind their lock.
unsafe impl Send for Rsa {}
// SAFETY: as above.
unsafe impl Sync for Rsa {}

impl Drop for Rsa {
    fn drop(&mut self) {
        // SAFETY: `self.0` came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::RSA_free(self.0.as_ptr()) }
    }
}

impl Rsa {
    /// The private key in a PKCS#8 structure; `None` if it is not of RSA.
    pub(crate) fn private(pkcs8: &[u8]) -> Option<Self> {
        let mut at = pkcs8.as_ptr();
        let length = c_long::try_from(pkcs8.len()).ok()?;
        // SAFETY: reads at most `length` octets from `at`; the result is null or a fresh object that we own.
        let key = Key(NonNull::new(unsafe { sys::d2i_AutoPrivateKey(null_mut(), &mut at, length) })?);
        // SAFETY: `key.0` is live; the result is null or a new reference that we own.
        let rsa = NonNull::new(unsafe { sys::EVP_PKEY_get1_RSA(key.0.as_ptr()) });
        // SAFETY: takes nothing; empties this thread's list of errors.
        unsafe { sys::ERR_clear_error() };
        rsa.map(Self)
    }

    /// The public key in an RSAPublicKey structure (RFC 8017 appendix A.1.1).
    pub(crate) fn public(der: &[u8]) -> Option<Self> {
        // SAFETY: reads exactly `der.len()` octets; the result is null or a fresh object that we own.
        let rsa = NonNull::new(unsafe { sys::RSA_public_key_from_bytes(der.as_ptr(), der.len()) });
        // SAFETY: takes nothing; empties this thread's list of errors.
        unsafe { sys::ERR_clear_error() };
        rsa.map(Self)
    }

    /// Octets of the modulus.
    pub(crate) fn length(&self) -> usize {
        // SAFETY: `self.0` is live.
        unsafe { sys::RSA_size(self.0.as_ptr()) as usize }
    }

    /// Pads as PKCS#1 block type 1 (RFC 8017 section 9.2, from step 3 on) and signs what is given as it is.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.length()];
        let mut written = 0;
        // SAFETY: writes at most `signature.len()` octets and reads exactly `message.len()`; `self.0` is live.
        let done = unsafe {
            sys::RSA_sign_raw(
                self.0.as_ptr(),
                &mut written,
                signature.as_mut_ptr(),
                signature.len(),
                message.as_ptr(),
                message.len(),
                sys::RSA_PKCS1_PADDING,
            ) == 1
        };
        signature.truncate(written);
        done.then_some(signature)
    }

    /// What was signed, if the padding is that of PKCS#1 block type 1.
    pub(crate) fn recover(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let mut message = vec![0; self.length()];
        let mut written = 0;
        // SAFETY: writes at most `message.len()` octets and reads exactly `signature.len()`; `self.0` is live.
        let done = unsafe {
            sys::RSA_verify_raw(
                self.0.as_ptr(),
                &mut written,
                message.as_mut_ptr(),
                message.len(),
                signature.as_ptr(),
                signature.len(),
                sys::RSA_PKCS1_PADDING,
            ) == 1
        };
        // SAFETY: takes nothing; empties this thread's list of errors.
        unsafe { sys::ERR_clear_error() };
        message.truncate(written);
        done.then_some(message)
    }
}
