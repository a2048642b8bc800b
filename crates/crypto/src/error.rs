//! What can be wrong with algorithms, keys and messages.

use std::fmt;
use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

/// An algorithm that was asked for and is not available here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsupported {
    /// Encryption algorithm with the key length in bits that was asked for.
    Encryption(EncryptionId, Option<u16>),
    /// Integrity algorithm.
    Integrity(IntegrityId),
    /// Pseudorandom function.
    Prf(PrfId),
    /// Key exchange method.
    KeyExchange(KeyExchangeId),
}

/// The key lengths of an algorithm that has several, in words.
fn lengths(id: EncryptionId) -> &'static str {
    if id == EncryptionId::BLOWFISH { "128 to 448 bits in steps of 8" } else { "128, 192 or 256 bits" }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encryption(id, None) if crate::Cipher::new(*id, Some(128)).is_ok() => {
                write!(f, "encryption algorithm {id} needs a key length: {}", lengths(*id))
            }
            Self::Encryption(id, Some(bits)) if crate::Cipher::new(*id, Some(128)).is_ok() => {
                write!(f, "encryption algorithm {id} has keys of {}, not {bits}", lengths(*id))
            }
            Self::Encryption(id, Some(bits)) if crate::Cipher::new(*id, None).is_ok() => {
                write!(f, "encryption algorithm {id} has a fixed key length; {bits} bits were asked for")
            }
            Self::Encryption(id, _) => write!(f, "encryption algorithm {id} is not supported"),
            Self::Integrity(id) => write!(f, "integrity algorithm {id} is not supported"),
            Self::Prf(id) => write!(f, "pseudorandom function {id} is not supported"),
            Self::KeyExchange(id) => write!(f, "key exchange method {id} is not supported"),
        }
    }
}

impl std::error::Error for Unsupported {}

/// Keys that do not fit the algorithms they are meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadKey {
    /// The encryption key (with its salt, where the algorithm has one) has the wrong number of octets.
    EncryptionLength {
        /// What the algorithm needs.
        expected: usize,
        /// What was given.
        actual: usize,
    },
    /// The integrity key has the wrong number of octets; 0 are expected where there is no integrity algorithm.
    IntegrityLength {
        /// What the algorithm needs.
        expected: usize,
        /// What was given.
        actual: usize,
    },
    /// A 3DES key that degrades to single DES (RFC 2451 section 2.3).
    Weak,
    /// A cipher that does not authenticate, and no integrity algorithm beside it (RFC 7296 section 3.3.3).
    IntegrityMissing(EncryptionId),
    /// A combined-mode cipher and an integrity algorithm beside it (RFC 5282 section 8).
    IntegritySuperfluous(EncryptionId),
    /// ENCR_NULL for an IKE SA (RFC 7296 section 5: it must not be used there), or GMAC, which RFC 4543 makes for ESP and AH
    /// only.
    PlaintextForIke(EncryptionId),
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EncryptionLength { expected, actual } => {
                write!(f, "the encryption key has {actual} octets where the algorithm needs {expected}")
            }
            Self::IntegrityLength { expected, actual } => {
                write!(f, "the integrity key has {actual} octets where the algorithm needs {expected}")
            }
            Self::Weak => f.write_str("the 3DES key is weak: it is no stronger than a single DES key"),
            Self::IntegrityMissing(id) => write!(f, "{id} needs an integrity algorithm beside it, and there is none"),
            Self::IntegritySuperfluous(id) => {
                write!(f, "{id} authenticates by itself and takes no integrity algorithm")
            }
            Self::PlaintextForIke(id) => write!(f, "{id} does not encrypt and cannot protect an IKE SA"),
        }
    }
}

impl std::error::Error for BadKey {}

/// A public value of the peer that must not be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadPublicValue {
    /// Not the length that the method prescribes (RFC 7296 section 3.4, RFC 5903 section 7, RFC 8031 section 3).
    Length {
        /// The method.
        method: KeyExchangeId,
        /// Octets of a public value of this method.
        expected: usize,
        /// Octets received.
        actual: usize,
    },
    /// Not in 2 ..= p - 2 (RFC 6989 section 2.1).
    OutOfRange(KeyExchangeId),
    /// Not in the subgroup of prime order that the generator makes (RFC 6989 section 2.2).
    NotInSubgroup(KeyExchangeId),
    /// Not a point on the curve (RFC 6989 section 2.3).
    NotOnCurve(KeyExchangeId),
    /// A point of small order: the shared secret would be all zero (RFC 8031 section 2, RFC 7748 section 6.1).
    SmallOrder(KeyExchangeId),
}

impl fmt::Display for BadPublicValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { method, expected, actual } => {
                write!(f, "the peer's {method} public value has {actual} octets instead of {expected}")
            }
            Self::OutOfRange(method) => write!(f, "the peer's {method} public value is not in 2 to p - 2"),
            Self::NotInSubgroup(method) => write!(f, "the peer's {method} public value is not in the subgroup"),
            Self::NotOnCurve(method) => write!(f, "the peer's {method} public value is not a point on the curve"),
            Self::SmallOrder(method) => write!(f, "the peer's {method} public value is a point of small order"),
        }
    }
}

impl std::error::Error for BadPublicValue {}

/// Why a protected message or packet was not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Not even room for IV, one block and ICV.
    TooShort,
    /// The ciphertext is not a whole number of cipher blocks.
    NotBlockMultiple,
    /// The ICV is wrong: another key, or the octets were changed on the way.
    IntegrityCheckFailed,
    /// The ICV is right, but the pad length exceeds the content: the sender is faulty.
    BadPadding,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "too short for IV, content and integrity check value",
            Self::NotBlockMultiple => "the ciphertext is not a whole number of cipher blocks",
            Self::IntegrityCheckFailed => "the integrity check failed: different keys, or changed on the way",
            Self::BadPadding => "the integrity check passed but the pad length exceeds the content",
        })
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_says_what_would_do() {
        let text = |id, bits| crate::Cipher::new(id, bits).unwrap_err().to_string();
        assert_eq!(
            text(EncryptionId::AES_CBC, None),
            "encryption algorithm AES_CBC needs a key length: 128, 192 or 256 bits"
        );
        assert_eq!(
            text(EncryptionId::AES_GCM_16, Some(512)),
            "encryption algorithm AES_GCM_16 has keys of 128, 192 or 256 bits, not 512"
        );
        assert_eq!(
            text(EncryptionId::CHACHA20_POLY1305, Some(256)),
            "encryption algorithm CHACHA20_POLY1305 has a fixed key length; 256 bits were asked for"
        );
        assert_eq!(
            text(EncryptionId::BLOWFISH, None),
            "encryption algorithm BLOWFISH needs a key length: 128 to 448 bits in steps of 8"
        );
        assert_eq!(
            text(EncryptionId::BLOWFISH, Some(64)),
            "encryption algorithm BLOWFISH has keys of 128 to 448 bits in steps of 8, not 64"
        );
        assert_eq!(text(EncryptionId::CAST, Some(128)), "encryption algorithm CAST is not supported");
    }
}
