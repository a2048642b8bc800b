//! Keys of IKE SAs, as Wireshark keeps them: `ikev1_decryption_table` with cookie and key of each phase 1, and
//! `ikev2_decryption_table` with SPIs, keys and algorithms of each IKE SA. Both may stand in one file.
//!
//! ```text
//! # a comment
//! 0123456789abcdef,00112233445566778899aabbccddeeff
//! 0123456789abcdef,fedcba9876543210,SK_ei,SK_er,"AES-CBC-128 [RFC3602]",SK_ai,SK_ar,"HMAC_SHA2_256_128 [RFC4868]"
//! ```

use crypto::{Cipher, Integrity, Protection};
use std::collections::BTreeMap;
use std::fmt;
use wire::{EncryptionId, IkeSpi, IntegrityId, Secret};

/// The longest line that can be one: two 64 octet keys of either kind, in hexadecimal, with all else.
const MAX_LINE: usize = 4096;
/// Keys of more SAs than a capture is ever asked about.
const MAX_KEYS: usize = 65_536;

/// Why a line of a table was not taken. The text of a key is in none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadKeyLine {
    /// Not as many fields as a table has: 2 in IKEv1's, 8 in IKEv2's.
    Fields(usize),
    /// An SPI or a cookie that is no 16 hexadecimal digits.
    Spi,
    /// A key that is not made of pairs of hexadecimal digits.
    Key,
    /// An algorithm that nobody here knows, in printable form.
    Algorithm(String),
    /// Keys that do not fit their algorithms.
    Unfit(crypto::BadKey),
    /// Longer than any line of a table.
    TooLong,
    /// The same SA as in an earlier line, with this number.
    Again(usize),
    /// More SAs than are kept.
    TooMany,
}

impl fmt::Display for BadKeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(count) => write!(
                f,
                "{count} fields; a line of Wireshark's ikev1_decryption_table has 2 (initiator's cookie, encryption key), of its ikev2_decryption_table 8 (SPIs, SK_ei, SK_er, algorithm, SK_ai, SK_ar, algorithm)"
            ),
            Self::Spi => f.write_str("an SPI or cookie is 16 hexadecimal digits"),
            Self::Key => f.write_str("a key is written in pairs of hexadecimal digits"),
            Self::Algorithm(name) => write!(f, "'{name}' is no algorithm that can be decrypted here"),
            Self::Unfit(why) => write!(f, "{why}"),
            Self::TooLong => f.write_str("too long for a line of a table of keys"),
            Self::Again(line) => write!(f, "the same SA as in line {line}, which counts"),
            Self::TooMany => write!(f, "more than {MAX_KEYS} SAs"),
        }
    }
}

pub(crate) struct V2Keys {
    pub line: usize,
    pub initiator: Protection,
    pub responder: Protection,
}

pub(crate) struct V1Key {
    pub line: usize,
    pub key: Secret,
}

/// Keys of IKE SAs, by SPIs.
#[derive(Default)]
pub struct Keys {
    pub(crate) v1: BTreeMap<IkeSpi, V1Key>,
    pub(crate) v2: BTreeMap<(IkeSpi, IkeSpi), V2Keys>,
    /// Lines that were not taken, by number from 1.
    pub refused: Vec<(usize, BadKeyLine)>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("v1", &self.v1.len()).field("v2", &self.v2.len()).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads a table. A line that makes no sense is left out, with the reason.
    pub fn parse(text: &[u8]) -> Self {
        let mut keys = Self::default();
        for (number, line) in (1..).zip(text.split(|octet| *octet == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if let Err(why) = keys.line(number, line)
                && keys.refused.len() < MAX_KEYS
            {
                keys.refused.push((number, why));
            }
        }
        keys
    }

    /// How many SAs there are keys of.
    pub fn len(&self) -> usize {
        self.v1.len() + self.v2.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lines that were taken.
    pub fn lines(&self) -> impl Iterator<Item = usize> {
        self.v1.values().map(|key| key.line).chain(self.v2.values().map(|keys| keys.line))
    }

    fn line(&mut self, number: usize, line: &[u8]) -> Result<(), BadKeyLine> {
        if line.len() > MAX_LINE {
            return Err(BadKeyLine::TooLong);
        }
        if self.len() >= MAX_KEYS {
            return Err(BadKeyLine::TooMany);
        }
        let fields = fields(line);
        match fields.as_slice() {
            [cookie, key] => {
                let (cookie, key) = (spi(cookie)?, hexadecimal(key)?);
                if key.is_empty() {
                    return Err(BadKeyLine::Key);
                }
                match self.v1.get(&cookie) {
                    Some(known) => Err(BadKeyLine::Again(known.line)),
                    None => {
                        self.v1.insert(cookie, V1Key { line: number, key });
                        Ok(())
                    }
                }
            }
            [spi_i, spi_r, ei, er, cipher, ai, ar, integrity] => {
                let spis = (spi(spi_i)?, spi(spi_r)?);
                let keys = [hexadecimal(ei)?, hexadecimal(er)?, hexadecimal(ai)?, hexadecimal(ar)?];
                let cipher = encryption(cipher).ok_or_else(|| unknown(cipher))?;
                let integrity = integrity_algorithm(integrity).ok_or_else(|| unknown(integrity))?;
                let [ei, er, ai, ar] = &keys;
                let protection = |e: &Secret, a: &Secret| {
                    Protection::new(cipher, integrity, e.expose(), a.expose()).map_err(BadKeyLine::Unfit)
                };
                let (initiator, responder) = (protection(ei, ai)?, protection(er, ar)?);
                match self.v2.get(&spis) {
                    Some(known) => Err(BadKeyLine::Again(known.line)),
                    None => {
                        self.v2.insert(spis, V2Keys { line: number, initiator, responder });
                        Ok(())
                    }
                }
            }
            other => Err(BadKeyLine::Fields(other.len())),
        }
    }
}

/// The fields of a line, without the quotes that may be around them.
fn fields(line: &[u8]) -> Vec<&[u8]> {
    let mut quoted = false;
    let separates = |octet: &u8| {
        quoted ^= *octet == b'"';
        *octet == b',' && !quoted
    };
    line.split(separates)
        .map(<[u8]>::trim_ascii)
        .map(|field| match field {
            [b'"', inner @ .., b'"'] => inner.trim_ascii(),
            _ => field,
        })
        .collect()
}

fn hexadecimal(field: &[u8]) -> Result<Secret, BadKeyLine> {
    let field = field.strip_prefix(b"0x").unwrap_or(field);
    let (pairs, rest) = field.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(BadKeyLine::Key);
    }
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let octets: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    octets.map(Secret::new).ok_or(BadKeyLine::Key)
}

fn spi(field: &[u8]) -> Result<IkeSpi, BadKeyLine> {
    let octets = hexadecimal(field).map_err(|_| BadKeyLine::Spi)?;
    <[u8; 8]>::try_from(octets.expose()).map(IkeSpi).map_err(|_| BadKeyLine::Spi)
}

/// Names the algorithm, unless a key stands in its place.
fn unknown(field: &[u8]) -> BadKeyLine {
    if field.len() >= 16 && hexadecimal(field).is_ok() {
        return BadKeyLine::Algorithm("(digits)".to_string());
    }
    let printable = field.iter().take(60).map(|octet| match octet {
        b' '..=b'~' => char::from(*octet),
        _ => '?',
    });
    BadKeyLine::Algorithm(printable.collect())
}

/// A name without the document that Wireshark puts behind it, in capitals and with one kind of dash.
fn name(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    let text = text.split('[').next().unwrap_or_default().trim();
    text.to_ascii_uppercase().replace(['_', ' '], "-")
}

/// An encryption algorithm by Wireshark's name, such as `AES-GCM-256 with 16 octet ICV [RFC5282]`.
fn encryption(field: &[u8]) -> Option<Cipher> {
    let name = name(field);
    let (id, bits) = match name.as_str() {
        "3DES" | "3DES-CBC" => (EncryptionId::TRIPLE_DES, None),
        "CHACHA20-POLY1305" | "ENCR-CHACHA20-POLY1305" => (EncryptionId::CHACHA20_POLY1305, None),
        other => {
            let (kind, rest) = match other.strip_prefix("AES-") {
                Some(rest) => rest.split_once('-')?,
                None => ("CAMELLIA", other.strip_prefix("CAMELLIA-CBC-").or(other.strip_prefix("CAMELLIA-"))?),
            };
            let (bits, icv) = rest.split_once("-WITH-").unwrap_or((rest, ""));
            let id = match (kind, icv) {
                ("CBC", "") => EncryptionId::AES_CBC,
                ("CTR", "") => EncryptionId::AES_CTR,
                ("CAMELLIA", "") => EncryptionId::CAMELLIA_CBC,
                ("GCM", "8-OCTET-ICV") => EncryptionId::AES_GCM_8,
                ("GCM", "12-OCTET-ICV") => EncryptionId::AES_GCM_12,
                ("GCM", "16-OCTET-ICV") => EncryptionId::AES_GCM_16,
                ("CCM", "8-OCTET-ICV") => EncryptionId::AES_CCM_8,
                ("CCM", "12-OCTET-ICV") => EncryptionId::AES_CCM_12,
                ("CCM", "16-OCTET-ICV") => EncryptionId::AES_CCM_16,
                _ => return None,
            };
            (id, Some(bits.parse().ok()?))
        }
    };
    Cipher::new(id, bits).ok()
}

/// An integrity algorithm by Wireshark's name; `Some(None)` is none at all, as combined modes have it. Its `ANY n-bits of
/// authentication` is not taken: what is not checked may be a wrong key's.
fn integrity_algorithm(field: &[u8]) -> Option<Option<Integrity>> {
    let id = match name(field).as_str() {
        "" | "NONE" => return Some(None),
        "HMAC-MD5-96" => IntegrityId::HMAC_MD5_96,
        "HMAC-SHA1-96" => IntegrityId::HMAC_SHA1_96,
        "HMAC-MD5-128" => IntegrityId::HMAC_MD5_128,
        "HMAC-SHA1-160" => IntegrityId::HMAC_SHA1_160,
        "HMAC-SHA2-256-96" => IntegrityId::HMAC_SHA2_256_96,
        "HMAC-SHA2-256-128" => IntegrityId::HMAC_SHA2_256_128,
        "HMAC-SHA2-384-192" => IntegrityId::HMAC_SHA2_384_192,
        "HMAC-SHA2-512-256" => IntegrityId::HMAC_SHA2_512_256,
        "AES-XCBC-96" => IntegrityId::AES_XCBC_96,
        "AES-CMAC-96" => IntegrityId::AES_CMAC_96,
        _ => return None,
    };
    Integrity::new(id).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_tables_are_read_with_comments_and_quotes() {
        let sha = "00".repeat(32);
        let text = format!(
            "# This file is automatically generated, DO NOT MODIFY.\n\n0123456789abcdef,{0}\r\n\
             0123456789ABCDEF,fedcba9876543210,{0},{0},\"AES-CBC-128 [RFC3602]\",{sha},{sha},\"HMAC_SHA2_256_128 [RFC4868]\"\n\
             \"1123456789ABCDEF\",0xfedcba9876543210,{0}00000000,{0}00000000,\"AES-GCM-128 with 16 octet ICV [RFC5282]\",,,\"NONE [RFC4306]\"\n",
            "00".repeat(16)
        );
        let keys = Keys::parse(text.as_bytes());
        assert_eq!((keys.v1.len(), keys.v2.len(), &keys.refused[..]), (1, 2, &[][..]));
        assert_eq!(keys.lines().collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_line_and_never_printed() {
        let secret = "c0ffee".repeat(4);
        let spis = "0123456789abcdef,fedcba9876543210";
        let cases = [
            (format!("0123456789abcdef,{secret},1"), "3 fields"),
            (format!("0123456789abcde,{secret}"), "16 hexadecimal digits"),
            (format!("0123456789abcdef,{secret}x"), "pairs of hexadecimal digits"),
            ("0123456789abcdef,".to_string(), "pairs of hexadecimal digits"),
            (format!("{spis},{secret},{secret},{secret},,,NONE"), "'(digits)'"),
            (format!("{spis},{secret},{secret},\"ROT13\",,,\"NONE\""), "'ROT13' is no algorithm"),
            (format!("{spis},{secret},{secret},\"AES-CBC-128\",{secret},{secret},\"ANY 96-bits\""), "'ANY 96-bits'"),
            (
                format!("{spis},{secret},{secret},\"AES-CBC-128\",{secret},{secret},\"HMAC_SHA1_96\""),
                "the algorithm needs 16",
            ),
            ("a".repeat(5000), "too long"),
        ];
        for (line, why) in cases {
            let keys = Keys::parse(format!("\n{line}\n").as_bytes());
            let [(2, refused)] = &keys.refused[..] else { panic!("{line}: {:?}", keys.refused) };
            assert!(refused.to_string().contains(why), "{line}: {refused}");
            assert!(keys.is_empty() && !format!("{refused} {refused:?} {keys:?}").contains("c0ffee"));
        }
        let twice = format!("0123456789abcdef,{secret}\n0123456789abcdef,{secret}\n");
        assert_eq!(Keys::parse(twice.as_bytes()).refused, [(2, BadKeyLine::Again(1))]);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_table(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let keys = Keys::parse(&text);
            prop_assert!(keys.refused.len() <= text.len());
        }
    }
}
