//! Proposals, the suite two ends agree on, and what they differ in when they do not.

use std::fmt;
use std::str::FromStr;
use wire::registry::{EncryptionId, EsnId, IntegrityId, KeyExchangeId, PrfId, ProtocolId, TransformType};
use wire::v2::Transform;

/// An encryption algorithm with its key length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Encryption {
    /// Which algorithm.
    pub id: EncryptionId,
    /// Key length in bits, where the algorithm has several (RFC 7296 section 3.3.5).
    pub key_length: Option<u16>,
}

impl Encryption {
    /// Whether integrity comes with it (combined-mode cipher, RFC 5282).
    pub fn is_aead(self) -> bool {
        matches!(self.id.0, 14..=16 | 18..=21 | 25..=28)
    }
}

/// One algorithm of any transform type, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Algorithm {
    /// Transform type.
    pub kind: TransformType,
    /// Transform ID.
    pub id: u16,
    /// Key length in bits, if one is stated.
    pub key_length: Option<u16>,
}

/// A row of the one table of algorithm names: (transform type, ID, key bits, swanctl.conf keyword, vici name).
type Row = (u8, u16, u16, &'static str, &'static str);

/// Keywords of swanctl.conf and names of vici. The first keyword of an algorithm is the one that is printed.
const NAMES: &[Row] = &[
    (1, 3, 0, "3des", "3DES_CBC"),
    (1, 7, 128, "blowfish128", "BLOWFISH_CBC"),
    (1, 7, 128, "blowfish", "BLOWFISH_CBC"),
    (1, 7, 192, "blowfish192", "BLOWFISH_CBC"),
    (1, 7, 256, "blowfish256", "BLOWFISH_CBC"),
    (1, 11, 0, "null", "NULL"),
    (1, 12, 128, "aes128", "AES_CBC"),
    (1, 12, 128, "aes", "AES_CBC"),
    (1, 12, 192, "aes192", "AES_CBC"),
    (1, 12, 256, "aes256", "AES_CBC"),
    (1, 13, 128, "aes128ctr", "AES_CTR"),
    (1, 13, 192, "aes192ctr", "AES_CTR"),
    (1, 13, 256, "aes256ctr", "AES_CTR"),
    (1, 14, 128, "aes128ccm8", "AES_CCM_8"),
    (1, 14, 128, "aes128ccm64", "AES_CCM_8"),
    (1, 14, 192, "aes192ccm8", "AES_CCM_8"),
    (1, 14, 192, "aes192ccm64", "AES_CCM_8"),
    (1, 14, 256, "aes256ccm8", "AES_CCM_8"),
    (1, 14, 256, "aes256ccm64", "AES_CCM_8"),
    (1, 15, 128, "aes128ccm12", "AES_CCM_12"),
    (1, 15, 128, "aes128ccm96", "AES_CCM_12"),
    (1, 15, 192, "aes192ccm12", "AES_CCM_12"),
    (1, 15, 192, "aes192ccm96", "AES_CCM_12"),
    (1, 15, 256, "aes256ccm12", "AES_CCM_12"),
    (1, 15, 256, "aes256ccm96", "AES_CCM_12"),
    (1, 16, 128, "aes128ccm16", "AES_CCM_16"),
    (1, 16, 128, "aes128ccm128", "AES_CCM_16"),
    (1, 16, 128, "aes128ccm", "AES_CCM_16"),
    (1, 16, 192, "aes192ccm16", "AES_CCM_16"),
    (1, 16, 192, "aes192ccm128", "AES_CCM_16"),
    (1, 16, 192, "aes192ccm", "AES_CCM_16"),
    (1, 16, 256, "aes256ccm16", "AES_CCM_16"),
    (1, 16, 256, "aes256ccm128", "AES_CCM_16"),
    (1, 16, 256, "aes256ccm", "AES_CCM_16"),
    (1, 18, 128, "aes128gcm8", "AES_GCM_8"),
    (1, 18, 128, "aes128gcm64", "AES_GCM_8"),
    (1, 18, 192, "aes192gcm8", "AES_GCM_8"),
    (1, 18, 192, "aes192gcm64", "AES_GCM_8"),
    (1, 18, 256, "aes256gcm8", "AES_GCM_8"),
    (1, 18, 256, "aes256gcm64", "AES_GCM_8"),
    (1, 19, 128, "aes128gcm12", "AES_GCM_12"),
    (1, 19, 128, "aes128gcm96", "AES_GCM_12"),
    (1, 19, 192, "aes192gcm12", "AES_GCM_12"),
    (1, 19, 192, "aes192gcm96", "AES_GCM_12"),
    (1, 19, 256, "aes256gcm12", "AES_GCM_12"),
    (1, 19, 256, "aes256gcm96", "AES_GCM_12"),
    (1, 20, 128, "aes128gcm16", "AES_GCM_16"),
    (1, 20, 128, "aes128gcm128", "AES_GCM_16"),
    (1, 20, 128, "aes128gcm", "AES_GCM_16"),
    (1, 20, 128, "aesgcm", "AES_GCM_16"),
    (1, 20, 192, "aes192gcm16", "AES_GCM_16"),
    (1, 20, 192, "aes192gcm128", "AES_GCM_16"),
    (1, 20, 192, "aes192gcm", "AES_GCM_16"),
    (1, 20, 256, "aes256gcm16", "AES_GCM_16"),
    (1, 20, 256, "aes256gcm128", "AES_GCM_16"),
    (1, 20, 256, "aes256gcm", "AES_GCM_16"),
    (1, 21, 128, "aes128gmac", "NULL_AES_GMAC"),
    (1, 21, 192, "aes192gmac", "NULL_AES_GMAC"),
    (1, 21, 256, "aes256gmac", "NULL_AES_GMAC"),
    (1, 23, 128, "camellia128", "CAMELLIA_CBC"),
    (1, 23, 128, "camellia", "CAMELLIA_CBC"),
    (1, 23, 192, "camellia192", "CAMELLIA_CBC"),
    (1, 23, 256, "camellia256", "CAMELLIA_CBC"),
    (1, 28, 0, "chacha20poly1305", "CHACHA20_POLY1305"),
    (2, 1, 0, "prfmd5", "PRF_HMAC_MD5"),
    (2, 2, 0, "prfsha1", "PRF_HMAC_SHA1"),
    (2, 4, 0, "prfaesxcbc", "PRF_AES128_XCBC"),
    (2, 5, 0, "prfsha256", "PRF_HMAC_SHA2_256"),
    (2, 6, 0, "prfsha384", "PRF_HMAC_SHA2_384"),
    (2, 7, 0, "prfsha512", "PRF_HMAC_SHA2_512"),
    (2, 8, 0, "prfaescmac", "PRF_AES128_CMAC"),
    (3, 1, 0, "md5", "HMAC_MD5_96"),
    (3, 2, 0, "sha1", "HMAC_SHA1_96"),
    (3, 2, 0, "sha", "HMAC_SHA1_96"),
    (3, 5, 0, "aesxcbc", "AES_XCBC_96"),
    (3, 6, 0, "md5_128", "HMAC_MD5_128"),
    (3, 7, 0, "sha1_160", "HMAC_SHA1_160"),
    (3, 8, 0, "aescmac", "AES_CMAC_96"),
    (3, 12, 0, "sha256", "HMAC_SHA2_256_128"),
    (3, 12, 0, "sha2_256", "HMAC_SHA2_256_128"),
    (3, 13, 0, "sha384", "HMAC_SHA2_384_192"),
    (3, 13, 0, "sha2_384", "HMAC_SHA2_384_192"),
    (3, 14, 0, "sha512", "HMAC_SHA2_512_256"),
    (3, 14, 0, "sha2_512", "HMAC_SHA2_512_256"),
    (3, 1026, 0, "sha256_96", "HMAC_SHA2_256_96"),
    (3, 1026, 0, "sha2_256_96", "HMAC_SHA2_256_96"),
    (4, 2, 0, "modp1024", "MODP_1024"),
    (4, 5, 0, "modp1536", "MODP_1536"),
    (4, 14, 0, "modp2048", "MODP_2048"),
    (4, 15, 0, "modp3072", "MODP_3072"),
    (4, 16, 0, "modp4096", "MODP_4096"),
    (4, 17, 0, "modp6144", "MODP_6144"),
    (4, 18, 0, "modp8192", "MODP_8192"),
    (4, 19, 0, "ecp256", "ECP_256"),
    (4, 20, 0, "ecp384", "ECP_384"),
    (4, 21, 0, "ecp521", "ECP_521"),
    (4, 22, 0, "modp1024s160", "MODP_1024_160"),
    (4, 23, 0, "modp2048s224", "MODP_2048_224"),
    (4, 24, 0, "modp2048s256", "MODP_2048_256"),
    (4, 25, 0, "ecp192", "ECP_192"),
    (4, 26, 0, "ecp224", "ECP_224"),
    (4, 27, 0, "ecp224bp", "ECP_224_BP"),
    (4, 28, 0, "ecp256bp", "ECP_256_BP"),
    (4, 29, 0, "ecp384bp", "ECP_384_BP"),
    (4, 30, 0, "ecp512bp", "ECP_512_BP"),
    (4, 31, 0, "x25519", "CURVE_25519"),
    (4, 31, 0, "curve25519", "CURVE_25519"),
    (5, 0, 0, "noesn", "NO_EXT_SEQ"),
    (5, 1, 0, "esn", "EXT_SEQ"),
];

impl Algorithm {
    fn row(self) -> Option<&'static Row> {
        NAMES.iter().find(|(kind, id, bits, ..)| {
            (*kind, *id) == (self.kind.0, self.id)
                && (*bits == self.key_length.unwrap_or(0) || self.key_length.is_none())
        })
    }

    /// strongSwan's name, as vici and `swanctl --list-sas` show it, without the key length: `AES_CBC`.
    pub fn vici_name(self) -> String {
        match self.row() {
            Some((.., name)) => (*name).to_string(),
            None => match self.kind {
                TransformType::ENCR => EncryptionId(self.id).to_string(),
                TransformType::PRF => format!("PRF_{}", PrfId(self.id)),
                TransformType::INTEG => IntegrityId(self.id).to_string(),
                TransformType::KE => KeyExchangeId(self.id).to_string(),
                TransformType::ESN => EsnId(self.id).to_string(),
                kind => format!("{kind}_{}", self.id),
            },
        }
    }

    /// Whether it is only there for old peers and ought to be replaced (RFC 8247 section 2, RFC 8221 section 5): 3DES and
    /// Blowfish, MD5 and SHA-1, groups below 2048 bits or with small subgroups, curves below 256 bits.
    pub fn is_legacy(self) -> bool {
        matches!(
            (self.kind, self.id),
            (TransformType::ENCR, 3 | 7)
                | (TransformType::PRF, 1 | 2)
                | (TransformType::INTEG, 1 | 2 | 6 | 7)
                | (TransformType::KE, 2 | 5 | 22..=27)
        )
    }

    /// The keyword of swanctl.conf (`aes128`), or the vici name where there is none.
    pub fn keyword(self) -> String {
        self.row().map_or_else(|| self.to_string(), |(.., keyword, _)| (*keyword).to_string())
    }
}

/// `AES_CBC-128`, `CURVE_25519`.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key_length {
            Some(bits) => f.pad(&format!("{}-{bits}", self.vici_name())),
            None => f.pad(&self.vici_name()),
        }
    }
}

macro_rules! algorithm_from {
    ($($ty:ty => $kind:ident),+) => {$(
        impl From<$ty> for Algorithm {
            fn from(id: $ty) -> Self {
                Self { kind: TransformType::$kind, id: id.0, key_length: None }
            }
        }
    )+};
}
algorithm_from!(PrfId => PRF, IntegrityId => INTEG, KeyExchangeId => KE, EsnId => ESN);

impl From<Encryption> for Algorithm {
    fn from(e: Encryption) -> Self {
        Self { kind: TransformType::ENCR, id: e.id.0, key_length: e.key_length }
    }
}

/// What a proposal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposalProtocol {
    /// An IKE SA.
    Ike,
    /// A Child SA with ESP.
    Esp,
}

impl From<ProposalProtocol> for ProtocolId {
    fn from(protocol: ProposalProtocol) -> Self {
        match protocol {
            ProposalProtocol::Ike => ProtocolId::IKE,
            ProposalProtocol::Esp => ProtocolId::ESP,
        }
    }
}

/// A set of alternatives for each transform type, in order of preference: one proposal of RFC 7296 section 3.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What it is for.
    pub protocol: ProposalProtocol,
    /// Encryption algorithms.
    pub encryption: Vec<Encryption>,
    /// Integrity algorithms; empty with combined-mode ciphers.
    pub integrity: Vec<IntegrityId>,
    /// Pseudorandom functions (IKE only).
    pub prf: Vec<PrfId>,
    /// Key exchange methods; empty in a Child SA without perfect forward secrecy.
    pub key_exchange: Vec<KeyExchangeId>,
    /// Extended sequence numbers (Child SAs only).
    pub esn: Vec<EsnId>,
}

/// Why a text is no proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidProposal {
    /// A keyword that names no algorithm.
    Unknown(String),
    /// The algorithm exists, but Shrike cannot do it.
    Unsupported(String),
    /// A transform type that the protocol needs is missing.
    Lacks(TransformType),
    /// Combined-mode and other ciphers in one proposal (RFC 7296 section 3.3: they need different integrity transforms).
    MixedCiphers,
    /// GMAC for an IKE SA: RFC 4543 has it for ESP and AH, and it does not encrypt.
    NoEncryption(String),
    /// Nothing at all.
    Empty,
}

impl fmt::Display for InvalidProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "'{word}' names no algorithm"),
            Self::Unsupported(word) => write!(f, "'{word}' is a known algorithm that shrike does not support"),
            Self::Lacks(kind) => write!(f, "the proposal has no {}", Dimension(*kind)),
            Self::MixedCiphers => {
                f.write_str("combined-mode ciphers (gcm, ccm, chacha20poly1305) and others need proposals of their own")
            }
            Self::NoEncryption(word) => {
                write!(f, "'{word}' does not encrypt: it is for ESP, and an IKE SA needs a cipher that does")
            }
            Self::Empty => f.write_str("the proposal is empty"),
        }
    }
}

impl std::error::Error for InvalidProposal {}

/// Keywords that strongSwan knows and we refuse, so that the refusal can say so.
const KNOWN_UNSUPPORTED: &[&str] = &[
    "des",
    "cast128",
    "camellia128ctr",
    "camellia192ctr",
    "camellia256ctr",
    "camellia128ccm8",
    "camellia128ccm12",
    "camellia128ccm16",
    "camellia192ccm8",
    "camellia192ccm12",
    "camellia192ccm16",
    "camellia256ccm8",
    "camellia256ccm12",
    "camellia256ccm16",
    "modp768",
    "x448",
    "curve448",
    "mlkem512",
    "mlkem768",
    "mlkem1024",
    "serpent128",
    "serpent192",
    "serpent256",
    "twofish128",
    "twofish192",
    "twofish256",
];

impl Proposal {
    /// Reads strongSwan's notation: keywords joined by `-`. Without a PRF an IKE proposal uses the one that belongs to its
    /// integrity algorithm (strongSwan's rule).
    ///
    /// # Errors
    /// The offending keyword, or what is missing.
    pub fn parse(protocol: ProposalProtocol, text: &str) -> Result<Self, InvalidProposal> {
        let mut p = Self {
            protocol,
            encryption: Vec::new(),
            integrity: Vec::new(),
            prf: Vec::new(),
            key_exchange: Vec::new(),
            esn: Vec::new(),
        };
        for word in text.split('-').map(str::trim).filter(|w| !w.is_empty()) {
            let lower = word.to_ascii_lowercase();
            if KNOWN_UNSUPPORTED.contains(&lower.as_str()) || lower.starts_with("ke1_") {
                return Err(InvalidProposal::Unsupported(word.into()));
            }
            if lower == "modpnone" || lower == "none" {
                continue;
            }
            let Some(&(kind, id, bits, ..)) = NAMES.iter().find(|(_, _, _, keyword, _)| *keyword == lower) else {
                return Err(InvalidProposal::Unknown(word.into()));
            };
            match TransformType(kind) {
                TransformType::ENCR => {
                    if EncryptionId(id) == EncryptionId::NULL_AES_GMAC && protocol == ProposalProtocol::Ike {
                        return Err(InvalidProposal::NoEncryption(word.into()));
                    }
                    let key_length = (bits != 0).then_some(bits);
                    push_new(&mut p.encryption, Encryption { id: EncryptionId(id), key_length });
                }
                TransformType::PRF => push_new(&mut p.prf, PrfId(id)),
                TransformType::INTEG => push_new(&mut p.integrity, IntegrityId(id)),
                TransformType::KE => push_new(&mut p.key_exchange, KeyExchangeId(id)),
                _ => push_new(&mut p.esn, EsnId(id)),
            }
        }
        p.complete()?;
        Ok(p)
    }

    fn complete(&mut self) -> Result<(), InvalidProposal> {
        if self.encryption.is_empty() {
            let nothing = self.integrity.is_empty() && self.key_exchange.is_empty();
            return Err(if nothing { InvalidProposal::Empty } else { InvalidProposal::Lacks(TransformType::ENCR) });
        }
        let aead = self.encryption.iter().filter(|e| e.is_aead()).count();
        if aead != 0 && aead != self.encryption.len() {
            return Err(InvalidProposal::MixedCiphers);
        }
        match self.protocol {
            ProposalProtocol::Ike => {
                if self.prf.is_empty() {
                    self.prf = self.integrity.iter().filter_map(|i| prf_of(*i)).collect();
                }
                if aead > 0 {
                    self.integrity.clear();
                }
                if self.prf.is_empty() {
                    return Err(InvalidProposal::Lacks(TransformType::PRF));
                }
                if aead == 0 && self.integrity.is_empty() {
                    return Err(InvalidProposal::Lacks(TransformType::INTEG));
                }
                if self.key_exchange.is_empty() {
                    return Err(InvalidProposal::Lacks(TransformType::KE));
                }
                self.esn.clear();
            }
            ProposalProtocol::Esp => {
                self.prf.clear();
                if aead > 0 {
                    self.integrity.clear();
                } else if self.integrity.is_empty() {
                    return Err(InvalidProposal::Lacks(TransformType::INTEG));
                }
                if self.esn.is_empty() {
                    self.esn.push(EsnId::NO_EXT_SEQ);
                }
            }
        }
        Ok(())
    }

    /// What `default` means in `proposals` and `esp_proposals`: strong algorithms that every current peer has.
    pub fn defaults(protocol: ProposalProtocol) -> Vec<Self> {
        let texts: &[&str] = match protocol {
            ProposalProtocol::Ike => &[
                "aes128-aes192-aes256-sha256-sha384-sha512-x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp6144-modp8192-modp2048",
                "aes128gcm16-aes192gcm16-aes256gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp6144-modp8192-modp2048",
            ],
            ProposalProtocol::Esp => &[
                "aes128gcm16-aes192gcm16-aes256gcm16-chacha20poly1305",
                "aes128-aes192-aes256-sha256-sha384-sha512-sha1",
            ],
        };
        texts.iter().filter_map(|text| Self::parse(protocol, text).ok()).collect()
    }

    /// The transforms as they go on the wire, in RFC 7296 section 3.3.2 order of types.
    pub fn transforms(&self) -> Vec<Transform> {
        let plain = |kind, id| Transform { kind, id, key_length: None, unknown_attribute: false };
        let mut all: Vec<Transform> = self
            .encryption
            .iter()
            .map(|e| Transform { key_length: e.key_length, ..plain(TransformType::ENCR, e.id.0) })
            .collect();
        all.extend(self.integrity.iter().map(|i| plain(TransformType::INTEG, i.0)));
        all.extend(self.prf.iter().map(|p| plain(TransformType::PRF, p.0)));
        all.extend(self.key_exchange.iter().map(|k| plain(TransformType::KE, k.0)));
        all.extend(self.esn.iter().map(|e| plain(TransformType::ESN, e.0)));
        all
    }

    /// The algorithms of one transform type, for people.
    pub fn of(&self, kind: TransformType) -> Vec<Algorithm> {
        self.transforms().into_iter().filter(|t| t.kind == kind).map(algorithm).collect()
    }

    /// Without its key exchange methods: what is proposed for the first Child SA (RFC 7296 section 1.2, no KE in IKE_AUTH).
    #[must_use]
    pub fn without_key_exchange(&self) -> Self {
        Self { key_exchange: Vec::new(), ..self.clone() }
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn prf_of(integrity: IntegrityId) -> Option<PrfId> {
    Some(match integrity {
        IntegrityId::HMAC_MD5_96 | IntegrityId::HMAC_MD5_128 => PrfId::HMAC_MD5,
        IntegrityId::HMAC_SHA1_96 | IntegrityId::HMAC_SHA1_160 => PrfId::HMAC_SHA1,
        IntegrityId::AES_XCBC_96 => PrfId::AES128_XCBC,
        IntegrityId::AES_CMAC_96 => PrfId::AES128_CMAC,
        IntegrityId::HMAC_SHA2_256_128 | IntegrityId::HMAC_SHA2_256_96 => PrfId::HMAC_SHA2_256,
        IntegrityId::HMAC_SHA2_384_192 => PrfId::HMAC_SHA2_384,
        IntegrityId::HMAC_SHA2_512_256 => PrfId::HMAC_SHA2_512,
        _ => return None,
    })
}

fn algorithm(t: Transform) -> Algorithm {
    Algorithm { kind: t.kind, id: t.id, key_length: t.key_length }
}

/// `aes128-sha256-prfsha256-x25519`.
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for t in self.transforms() {
            if t.kind == TransformType::ESN && self.esn == [EsnId::NO_EXT_SEQ] {
                continue;
            }
            write!(f, "{}{}", if first { "" } else { "-" }, algorithm(t).keyword())?;
            first = false;
        }
        Ok(())
    }
}

impl FromStr for Encryption {
    type Err = InvalidProposal;

    fn from_str(text: &str) -> Result<Self, InvalidProposal> {
        match NAMES.iter().find(|(kind, _, _, keyword, _)| *kind == 1 && *keyword == text) {
            Some(&(_, id, bits, ..)) => Ok(Self { id: EncryptionId(id), key_length: (bits != 0).then_some(bits) }),
            None => Err(InvalidProposal::Unknown(text.into())),
        }
    }
}

/// The one combination two ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChosenSuite {
    /// Encryption algorithm.
    pub encryption: Encryption,
    /// Integrity algorithm, `None` with a combined-mode cipher.
    pub integrity: Option<IntegrityId>,
    /// Pseudorandom function, `None` for Child SAs.
    pub prf: Option<PrfId>,
    /// Key exchange method, `None` for a Child SA without perfect forward secrecy.
    pub key_exchange: Option<KeyExchangeId>,
    /// Extended sequence numbers.
    pub esn: bool,
}

impl ChosenSuite {
    /// As the answer to a proposal carries it: exactly one transform of each type (RFC 7296 section 2.7).
    pub fn to_proposal(&self, protocol: ProposalProtocol) -> Proposal {
        let esn = if self.esn { EsnId::EXT_SEQ } else { EsnId::NO_EXT_SEQ };
        Proposal {
            protocol,
            encryption: vec![self.encryption],
            integrity: self.integrity.into_iter().collect(),
            prf: self.prf.into_iter().collect(),
            key_exchange: self.key_exchange.into_iter().collect(),
            esn: if protocol == ProposalProtocol::Esp { vec![esn] } else { Vec::new() },
        }
    }
}

/// `AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519`, as `swanctl --list-sas` prints it.
impl fmt::Display for ChosenSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Algorithm::from(self.encryption))?;
        let parts = [
            self.integrity.map(Algorithm::from),
            self.prf.map(Algorithm::from),
            self.key_exchange.map(Algorithm::from),
        ];
        for part in parts.into_iter().flatten() {
            write!(f, "/{part}")?;
        }
        if self.esn { f.write_str("/ESN") } else { Ok(()) }
    }
}

/// A transform type as an operator calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimension(pub TransformType);

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            TransformType::ENCR => "encryption algorithm",
            TransformType::PRF => "pseudorandom function",
            TransformType::INTEG => "integrity algorithm",
            TransformType::KE => "key exchange group",
            TransformType::ESN => "extended sequence numbers",
            _ => "additional key exchange",
        })
    }
}

/// What two ends differ in, taken from the pair of proposals that came closest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Each transform type without a common algorithm: ours, theirs. An empty list means that side has none.
    pub differing: Vec<(Dimension, Vec<Algorithm>, Vec<Algorithm>)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |algorithms: &[Algorithm]| {
            if algorithms.is_empty() {
                "none".to_string()
            } else {
                algorithms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
        };
        for (n, (dimension, ours, theirs)) in self.differing.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{dimension}: ours {}, theirs {}", list(ours), list(theirs))?;
        }
        Ok(())
    }
}

/// Chooses from what the peer offers, by our order of preference: for each of our proposals, the first of theirs that has
/// a common algorithm in every dimension (RFC 7296 section 3.3.6).
///
/// Returns the number of the peer's proposal and the suite.
///
/// # Errors
/// What the closest pair of proposals differs in; empty when the peer offered nothing for this protocol.
pub fn select(ours: &[Proposal], theirs: &[wire::v2::Proposal]) -> Result<(u8, ChosenSuite), Mismatch> {
    let mut closest: Option<Mismatch> = None;
    for our in ours {
        for their in theirs.iter().filter(|t| t.protocol == ProtocolId::from(our.protocol)) {
            match intersect(our, their) {
                Ok(suite) => return Ok((their.number, suite)),
                Err(mismatch) => {
                    if closest.as_ref().is_none_or(|c| mismatch.differing.len() < c.differing.len()) {
                        closest = Some(mismatch);
                    }
                }
            }
        }
    }
    Err(closest.unwrap_or(Mismatch { differing: Vec::new() }))
}

fn intersect(our: &Proposal, their: &wire::v2::Proposal) -> Result<ChosenSuite, Mismatch> {
    let ours = our.transforms();
    let mut differing = Vec::new();
    let mut choose = |kind: TransformType| -> Option<Transform> {
        let is_none = |t: &Transform| t.id == 0 && matches!(kind, TransformType::INTEG | TransformType::KE);
        let mine: Vec<Transform> = ours.iter().filter(|t| t.kind == kind).copied().collect();
        let offered: Vec<Transform> = their.transforms.iter().filter(|t| t.kind == kind).copied().collect();
        // RFC 7296 section 3.3.3: leaving an optional type out and offering NONE mean the same.
        let may_be_none = offered.is_empty() || offered.iter().any(is_none);
        if mine.is_empty() && may_be_none {
            return None;
        }
        // RFC 7296 section 3.3.6: a transform with an attribute we do not understand is one we do not understand.
        let usable = |t: &Transform| {
            offered.iter().any(|o| !o.unknown_attribute && (o.id, o.key_length) == (t.id, t.key_length))
        };
        let chosen = mine.iter().find(|t| usable(t)).copied();
        // A peer that leaves the ESN transform out does not do extended sequence numbers.
        if chosen.is_none() && !(kind == TransformType::ESN && offered.is_empty() && mine.iter().any(|t| t.id == 0)) {
            let shown = |list: Vec<Transform>| list.into_iter().filter(|t| !is_none(t)).map(algorithm).collect();
            differing.push((Dimension(kind), shown(mine), shown(offered)));
        }
        chosen
    };
    let encryption = choose(TransformType::ENCR);
    let integrity = choose(TransformType::INTEG);
    let prf = choose(TransformType::PRF);
    let key_exchange = choose(TransformType::KE);
    let esn = choose(TransformType::ESN);
    let extra: Vec<TransformType> = their.transforms.iter().map(|t| t.kind).filter(|k| k.0 > 5).collect();
    for kind in extra {
        // RFC 9370 section 2.2.2: an additional key exchange is optional only if NONE is among its transforms.
        let offered: Vec<Transform> = their.transforms.iter().filter(|t| t.kind == kind).copied().collect();
        if !offered.iter().any(|t| t.id == 0) && !differing.iter().any(|(d, ..)| *d == Dimension(kind)) {
            differing.push((Dimension(kind), Vec::new(), offered.into_iter().map(algorithm).collect()));
        }
    }
    match (differing.is_empty(), encryption) {
        (true, Some(e)) => Ok(ChosenSuite {
            encryption: Encryption { id: EncryptionId(e.id), key_length: e.key_length },
            integrity: integrity.map(|t| IntegrityId(t.id)),
            prf: prf.map(|t| PrfId(t.id)),
            key_exchange: key_exchange.map(|t| KeyExchangeId(t.id)),
            esn: esn.is_some_and(|t| t.id == EsnId::EXT_SEQ.0),
        }),
        _ => Err(Mismatch { differing }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ike(text: &str) -> Proposal {
        Proposal::parse(ProposalProtocol::Ike, text).unwrap()
    }

    fn esp(text: &str) -> Proposal {
        Proposal::parse(ProposalProtocol::Esp, text).unwrap()
    }

    fn offer(proposals: &[Proposal]) -> Vec<wire::v2::Proposal> {
        proposals
            .iter()
            .zip(1..)
            .map(|(p, number)| wire::v2::Proposal {
                number,
                protocol: p.protocol.into(),
                spi: Vec::new(),
                transforms: p.transforms(),
            })
            .collect()
    }

    #[test]
    fn reads_strongswan_notation() {
        let p = ike("aes128-sha256-x25519");
        assert_eq!(p.prf, [PrfId::HMAC_SHA2_256], "the PRF follows the integrity algorithm");
        assert_eq!(p.to_string(), "aes128-sha256-prfsha256-x25519");
        let p = ike("aes128gcm16-prfsha384-ecp384");
        assert!(p.integrity.is_empty());
        let p = ike("aes256gcm16-sha384-ecp384");
        assert_eq!((p.prf.as_slice(), p.integrity.len()), (&[PrfId::HMAC_SHA2_384][..], 0));
        assert_eq!(esp("aes128gcm128-x25519").encryption[0].id, EncryptionId::AES_GCM_16);
        let parse = |text| Proposal::parse(ProposalProtocol::Ike, text).unwrap_err();
        assert_eq!(parse("aes128-sha257-x25519"), InvalidProposal::Unknown("sha257".into()));
        assert_eq!(parse("aes128-modp2048-camellia128ctr-sha1"), InvalidProposal::Unsupported("camellia128ctr".into()));
        let gmac = parse("aes128gmac-prfsha256-x25519");
        assert_eq!(
            gmac.to_string(),
            "'aes128gmac' does not encrypt: it is for ESP, and an IKE SA needs a cipher that does"
        );
        assert_eq!(parse("aes128-aes128gcm16-sha256-x25519"), InvalidProposal::MixedCiphers);
        assert_eq!(parse("aes128gcm16-x25519"), InvalidProposal::Lacks(TransformType::PRF));
        assert_eq!(parse("aes128-sha256"), InvalidProposal::Lacks(TransformType::KE));
        assert_eq!(parse(""), InvalidProposal::Empty);
        assert_eq!(Proposal::defaults(ProposalProtocol::Ike).len(), 2);
        assert_eq!(Proposal::defaults(ProposalProtocol::Esp).len(), 2);
    }

    #[test]
    fn legacy_is_named() {
        let legacy = |p: Proposal| -> Vec<String> {
            p.transforms().into_iter().map(algorithm).filter(|a| a.is_legacy()).map(Algorithm::keyword).collect()
        };
        assert_eq!(legacy(ike("aes128-md5-x25519")), ["md5", "prfmd5"]);
        assert_eq!(legacy(ike("3des-aes128-sha1-sha256-modp1024-x25519")), ["3des", "sha1", "prfsha1", "modp1024"]);
        assert_eq!(legacy(ike("blowfish256-camellia256-sha512-modp2048s256")), ["blowfish256", "modp2048s256"]);
        let groups = "modp1024s160-modp2048s224-ecp192-ecp224-ecp224bp-ecp256bp-ecp384bp-ecp512bp";
        let weak = ["modp1024s160", "modp2048s224", "ecp192", "ecp224", "ecp224bp"];
        assert_eq!(legacy(ike(&format!("aes128-sha256-{groups}"))), weak);
        assert_eq!(legacy(esp("camellia128-md5_128-sha1_160-sha256_96")), ["md5_128", "sha1_160"]);
        assert!(Proposal::defaults(ProposalProtocol::Ike).into_iter().all(|p| legacy(p).is_empty()));
    }

    /// What strongSwan prints for its keywords, and that ours are read back.
    #[test]
    fn names_go_both_ways() {
        for (keyword, name) in [
            ("camellia192", "CAMELLIA_CBC-192"),
            ("blowfish128", "BLOWFISH_CBC-128"),
            ("aes256gmac", "NULL_AES_GMAC-256"),
        ] {
            let encryption: Encryption = keyword.parse().unwrap();
            let algorithm = Algorithm::from(encryption);
            assert_eq!((algorithm.to_string().as_str(), algorithm.keyword().as_str()), (name, keyword));
        }
        assert_eq!("blowfish".parse::<Encryption>(), "blowfish128".parse());
        assert_eq!("camellia".parse::<Encryption>(), "camellia128".parse());
        let p = ike("camellia256-sha512-modp2048s256-ecp224-ecp512bp-modp1024s160-ecp192");
        assert_eq!(ike(&p.to_string()), p);
        let names: Vec<String> = p.of(TransformType::KE).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["MODP_2048_256", "ECP_224", "ECP_512_BP", "MODP_1024_160", "ECP_192"]);
        let p = esp("3des-md5_128-sha1_160-sha256_96");
        let names: Vec<String> = p.of(TransformType::INTEG).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["HMAC_MD5_128", "HMAC_SHA1_160", "HMAC_SHA2_256_96"]);
        assert_eq!(p.to_string(), "3des-md5_128-sha1_160-sha256_96");
        // GMAC authenticates by itself, and so goes with combined modes only.
        assert!(esp("aes128gmac").integrity.is_empty());
        let mixed = Proposal::parse(ProposalProtocol::Esp, "aes128gmac-aes128-sha256");
        assert_eq!(mixed, Err(InvalidProposal::MixedCiphers));
    }

    #[test]
    fn chooses_by_our_preference() {
        let (number, suite) = select(
            &[ike("aes256-sha512-ecp384"), ike("aes128-sha256-x25519")],
            &offer(&[ike("aes128-aes256-sha256-sha512-x25519-ecp384")]),
        )
        .unwrap();
        assert_eq!(number, 1);
        assert_eq!(suite.to_string(), "AES_CBC-256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512/ECP_384");
        let (number, suite) =
            select(&[esp("aes128gcm16")], &offer(&[esp("aes256gcm16"), esp("aes128gcm16-noesn-esn")])).unwrap();
        assert_eq!((number, suite.to_string().as_str()), (2, "AES_GCM_16-128"));
    }

    #[test]
    fn a_mismatch_names_the_dimension_and_both_sides() {
        let mismatch = select(
            &[ike("aes128-sha256-x25519")],
            &offer(&[ike("aes256-sha1-modp1024"), ike("aes128-sha256-ecp256-modp2048")]),
        )
        .unwrap_err();
        assert_eq!(mismatch.to_string(), "key exchange group: ours CURVE_25519, theirs ECP_256, MODP_2048");
        let mismatch = select(&[esp("aes128-sha256")], &offer(&[esp("aes128gcm16")])).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "encryption algorithm: ours AES_CBC-128, theirs AES_GCM_16-128; integrity algorithm: ours HMAC_SHA2_256_128, theirs none"
        );
        assert_eq!(select(&[ike("aes128-sha256-x25519")], &[]).unwrap_err().differing, []);
    }

    #[test]
    fn optional_types_may_be_left_out_or_none() {
        let mut offered = offer(&[esp("aes128gcm16")]);
        offered[0].transforms.retain(|t| t.kind != TransformType::ESN);
        offered[0].transforms.push(Transform {
            kind: TransformType::INTEG,
            id: 0,
            key_length: None,
            unknown_attribute: false,
        });
        assert!(!select(&[esp("aes128gcm16")], &offered).unwrap().1.esn);
        offered[0].transforms.push(Transform {
            kind: TransformType::ADDKE1,
            id: 36,
            key_length: None,
            unknown_attribute: false,
        });
        assert!(select(&[esp("aes128gcm16")], &offered).is_err(), "an additional key exchange that is not optional");
        let mut unknown = offer(&[esp("aes128gcm16")]);
        unknown[0].transforms[0].unknown_attribute = true;
        assert!(select(&[esp("aes128gcm16")], &unknown).is_err());
    }
}
