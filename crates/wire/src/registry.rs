//! The number registries of IKE as open newtypes: an unknown value prints, compares and round-trips.
//!
//! Names are IANA's ("Internet Key Exchange Version 2 (IKEv2) Parameters").

macro_rules! registry {
    ($(#[$meta:meta])* $name:ident($int:ty) { $($value:literal => $konst:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        #[allow(missing_docs)] // the name is IANA's and is the documentation
        impl $name {
            $(pub const $konst: Self = Self($value);)+

            /// Every value that has a name here, in numerical order.
            pub const KNOWN: &'static [Self] = &[$(Self::$konst),+];

            /// IANA's name, if this value has one here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($konst)),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&format!("({})", self.0)),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({}", stringify!($name), self.0)?;
                if let Some(name) = self.name() { write!(f, " {name}")?; }
                f.write_str(")")
            }
        }
    };
}

mod v1;

pub use v1::*;

registry! {
    /// Exchange types (RFC 2408 section 3.1, RFC 7296 section 3.1, RFC 9242, RFC 9370).
    ExchangeType(u8) {
        1 => BASE, 2 => IDENTITY_PROTECTION, 3 => AUTHENTICATION_ONLY, 4 => AGGRESSIVE, 5 => INFORMATIONAL_V1, 6 => TRANSACTION,
        32 => QUICK_MODE, 33 => NEW_GROUP_MODE,
        34 => IKE_SA_INIT, 35 => IKE_AUTH, 36 => CREATE_CHILD_SA, 37 => INFORMATIONAL, 38 => IKE_SESSION_RESUME,
        39 => GSA_AUTH, 40 => GSA_REGISTRATION, 41 => GSA_REKEY,
        43 => IKE_INTERMEDIATE, 44 => IKE_FOLLOWUP_KE,
    }
}

registry! {
    /// IKEv2 transform types (RFC 7296 section 3.3.2, RFC 9370).
    TransformType(u8) {
        1 => ENCR, 2 => PRF, 3 => INTEG, 4 => KE, 5 => ESN,
        6 => ADDKE1, 7 => ADDKE2, 8 => ADDKE3, 9 => ADDKE4, 10 => ADDKE5, 11 => ADDKE6, 12 => ADDKE7,
    }
}

registry! {
    /// Security protocol identifiers (RFC 7296 section 3.3.1).
    ProtocolId(u8) { 0 => NONE, 1 => IKE, 2 => AH, 3 => ESP }
}

registry! {
    /// Transform type 1: encryption algorithms.
    EncryptionId(u16) {
        1 => DES_IV64, 2 => DES, 3 => TRIPLE_DES, 4 => RC5, 5 => IDEA, 6 => CAST, 7 => BLOWFISH, 8 => TRIPLE_IDEA,
        9 => DES_IV32, 11 => NULL, 12 => AES_CBC, 13 => AES_CTR,
        14 => AES_CCM_8, 15 => AES_CCM_12, 16 => AES_CCM_16, 18 => AES_GCM_8, 19 => AES_GCM_12, 20 => AES_GCM_16,
        21 => NULL_AES_GMAC, 23 => CAMELLIA_CBC, 24 => CAMELLIA_CTR, 25 => CAMELLIA_CCM_8, 26 => CAMELLIA_CCM_12,
        27 => CAMELLIA_CCM_16, 28 => CHACHA20_POLY1305, 29 => AES_CCM_8_IIV, 30 => AES_GCM_16_IIV,
        31 => CHACHA20_POLY1305_IIV, 32 => KUZNYECHIK_MGM_KTREE, 33 => MAGMA_MGM_KTREE, 34 => KUZNYECHIK_MGM_MAC_KTREE,
        35 => MAGMA_MGM_MAC_KTREE,
    }
}

registry! {
    /// Transform type 2: pseudorandom functions.
    PrfId(u16) {
        1 => HMAC_MD5, 2 => HMAC_SHA1, 3 => HMAC_TIGER, 4 => AES128_XCBC, 5 => HMAC_SHA2_256, 6 => HMAC_SHA2_384,
        7 => HMAC_SHA2_512, 8 => AES128_CMAC, 9 => HMAC_STREEBOG_512,
    }
}

registry! {
    /// Transform type 3: integrity algorithms. 1026 is strongSwan's private use, announced by its vendor ID.
    IntegrityId(u16) {
        0 => NONE, 1 => HMAC_MD5_96, 2 => HMAC_SHA1_96, 3 => DES_MAC, 4 => KPDK_MD5, 5 => AES_XCBC_96, 6 => HMAC_MD5_128,
        7 => HMAC_SHA1_160, 8 => AES_CMAC_96, 9 => AES_128_GMAC, 10 => AES_192_GMAC, 11 => AES_256_GMAC,
        12 => HMAC_SHA2_256_128, 13 => HMAC_SHA2_384_192, 14 => HMAC_SHA2_512_256,
        1026 => HMAC_SHA2_256_96,
    }
}

registry! {
    /// Transform type 4: key exchange methods.
    KeyExchangeId(u16) {
        0 => NONE, 1 => MODP_768, 2 => MODP_1024, 5 => MODP_1536, 14 => MODP_2048, 15 => MODP_3072, 16 => MODP_4096,
        17 => MODP_6144, 18 => MODP_8192, 19 => ECP_256, 20 => ECP_384, 21 => ECP_521, 22 => MODP_1024_160,
        23 => MODP_2048_224, 24 => MODP_2048_256, 25 => ECP_192, 26 => ECP_224, 27 => ECP_224_BP, 28 => ECP_256_BP,
        29 => ECP_384_BP, 30 => ECP_512_BP, 31 => CURVE_25519, 32 => CURVE_448, 33 => GOST3410_2012_256,
        34 => GOST3410_2012_512, 35 => ML_KEM_512, 36 => ML_KEM_768,
        37 => ML_KEM_1024,
    }
}

registry! {
    /// Transform type 5: extended sequence numbers.
    EsnId(u16) { 0 => NO_EXT_SEQ, 1 => EXT_SEQ }
}

registry! {
    /// Payload types. 1 to 22 and 130 to 132 are IKEv1's (RFC 2408 section 3.1, RFC 3547, RFC 3947 and its drafts), 33 to
    /// 54 are IKEv2's (RFC 7296 section 3.2, RFC 6467, RFC 7383, RFC 9370).
    PayloadType(u8) {
        0 => NONE, 1 => V1_SA, 2 => V1_PROPOSAL, 3 => V1_TRANSFORM, 4 => V1_KE, 5 => V1_ID, 6 => V1_CERT,
        7 => V1_CERTREQ, 8 => V1_HASH, 9 => V1_SIG, 10 => V1_NONCE, 11 => V1_NOTIFY, 12 => V1_DELETE,
        13 => V1_VENDOR_ID, 14 => V1_ATTRIBUTES, 15 => V1_SAK, 16 => V1_SAT, 17 => V1_KD, 18 => V1_SEQ, 19 => V1_POP,
        20 => V1_NAT_D, 21 => V1_NAT_OA, 22 => V1_GAP,
        33 => SA, 34 => KE, 35 => IDI, 36 => IDR, 37 => CERT, 38 => CERTREQ, 39 => AUTH, 40 => NONCE, 41 => NOTIFY,
        42 => DELETE, 43 => VENDOR_ID, 44 => TSI, 45 => TSR, 46 => SK, 47 => CP, 48 => EAP, 49 => GSPM, 50 => IDG,
        51 => GSA, 52 => KD, 53 => SKF, 54 => PS,
        130 => V1_NAT_D_DRAFT, 131 => V1_NAT_OA_DRAFT, 132 => V1_FRAGMENT,
    }
}

/// No payload.
impl Default for PayloadType {
    fn default() -> Self {
        Self::NONE
    }
}

impl PayloadType {
    /// The notation of RFC 7296 section 3.2 and, for IKEv1, of RFC 2409 section 3.2. `Ni` stands for either nonce.
    pub const fn notation(self) -> Option<&'static str> {
        Some(match self {
            Self::SA | Self::V1_SA => "SA",
            Self::KE | Self::V1_KE => "KE",
            Self::IDI => "IDi",
            Self::IDR => "IDr",
            Self::V1_ID => "ID",
            Self::CERT | Self::V1_CERT => "CERT",
            Self::CERTREQ | Self::V1_CERTREQ => "CERTREQ",
            Self::AUTH => "AUTH",
            Self::NONCE | Self::V1_NONCE => "Ni",
            Self::NOTIFY | Self::V1_NOTIFY => "N",
            Self::DELETE | Self::V1_DELETE => "D",
            Self::VENDOR_ID => "V",
            Self::V1_VENDOR_ID => "VID",
            Self::TSI => "TSi",
            Self::TSR => "TSr",
            Self::SK => "SK",
            Self::SKF => "SKF",
            Self::CP => "CP",
            Self::EAP => "EAP",
            Self::GSPM => "GSPM",
            Self::IDG => "IDg",
            Self::GSA => "GSA",
            Self::KD => "KD",
            Self::PS => "PS",
            Self::V1_HASH => "HASH",
            Self::V1_SIG => "SIG",
            Self::V1_ATTRIBUTES => "ATTR",
            Self::V1_NAT_D | Self::V1_NAT_D_DRAFT => "NAT-D",
            Self::V1_NAT_OA | Self::V1_NAT_OA_DRAFT => "NAT-OA",
            _ => return None,
        })
    }
}

registry! {
    /// IKEv2 notify message types (RFC 7296 section 3.10.1 and its extensions).
    NotifyType(u16) {
        1 => UNSUPPORTED_CRITICAL_PAYLOAD, 4 => INVALID_IKE_SPI, 5 => INVALID_MAJOR_VERSION, 7 => INVALID_SYNTAX,
        9 => INVALID_MESSAGE_ID, 11 => INVALID_SPI, 14 => NO_PROPOSAL_CHOSEN, 17 => INVALID_KE_PAYLOAD,
        24 => AUTHENTICATION_FAILED, 34 => SINGLE_PAIR_REQUIRED, 35 => NO_ADDITIONAL_SAS,
        36 => INTERNAL_ADDRESS_FAILURE, 37 => FAILED_CP_REQUIRED, 38 => TS_UNACCEPTABLE, 39 => INVALID_SELECTORS,
        40 => UNACCEPTABLE_ADDRESSES, 41 => UNEXPECTED_NAT_DETECTED, 42 => USE_ASSIGNED_HOA, 43 => TEMPORARY_FAILURE,
        44 => CHILD_SA_NOT_FOUND, 45 => INVALID_GROUP_ID, 46 => AUTHORIZATION_FAILED, 47 => STATE_NOT_FOUND,
        48 => TS_MAX_QUEUE, 49 => REGISTRATION_FAILED,
        16384 => INITIAL_CONTACT, 16385 => SET_WINDOW_SIZE, 16386 => ADDITIONAL_TS_POSSIBLE, 16387 => IPCOMP_SUPPORTED,
        16388 => NAT_DETECTION_SOURCE_IP, 16389 => NAT_DETECTION_DESTINATION_IP, 16390 => COOKIE,
        16391 => USE_TRANSPORT_MODE, 16392 => HTTP_CERT_LOOKUP_SUPPORTED, 16393 => REKEY_SA,
        16394 => ESP_TFC_PADDING_NOT_SUPPORTED, 16395 => NON_FIRST_FRAGMENTS_ALSO, 16396 => MOBIKE_SUPPORTED,
        16397 => ADDITIONAL_IP4_ADDRESS, 16398 => ADDITIONAL_IP6_ADDRESS, 16399 => NO_ADDITIONAL_ADDRESSES,
        16400 => UPDATE_SA_ADDRESSES, 16401 => COOKIE2, 16402 => NO_NATS_ALLOWED, 16403 => AUTH_LIFETIME,
        16404 => MULTIPLE_AUTH_SUPPORTED, 16405 => ANOTHER_AUTH_FOLLOWS, 16406 => REDIRECT_SUPPORTED,
        16407 => REDIRECT, 16408 => REDIRECTED_FROM, 16409 => TICKET_LT_OPAQUE, 16410 => TICKET_REQUEST,
        16411 => TICKET_ACK, 16412 => TICKET_NACK, 16413 => TICKET_OPAQUE, 16414 => LINK_ID, 16415 => USE_WESP_MODE,
        16416 => ROHC_SUPPORTED, 16417 => EAP_ONLY_AUTHENTICATION, 16418 => CHILDLESS_IKEV2_SUPPORTED,
        16419 => QUICK_CRASH_DETECTION, 16420 => IKEV2_MESSAGE_ID_SYNC_SUPPORTED,
        16421 => IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED, 16422 => IKEV2_MESSAGE_ID_SYNC,
        16423 => IPSEC_REPLAY_COUNTER_SYNC, 16424 => SECURE_PASSWORD_METHODS, 16425 => PSK_PERSIST,
        16426 => PSK_CONFIRM, 16427 => ERX_SUPPORTED, 16428 => IFOM_CAPABILITY, 16429 => GROUP_SENDER,
        16430 => IKEV2_FRAGMENTATION_SUPPORTED, 16431 => SIGNATURE_HASH_ALGORITHMS, 16432 => CLONE_IKE_SA_SUPPORTED,
        16433 => CLONE_IKE_SA, 16434 => PUZZLE, 16435 => USE_PPK, 16436 => PPK_IDENTITY, 16437 => NO_PPK_AUTH,
        16438 => INTERMEDIATE_EXCHANGE_SUPPORTED, 16439 => IP4_ALLOWED, 16440 => IP6_ALLOWED,
        16441 => ADDITIONAL_KEY_EXCHANGE, 16442 => USE_AGGFRAG, 16443 => SUPPORTED_AUTH_METHODS,
        16444 => SA_RESOURCE_INFO, 16445 => USE_PPK_INT, 16446 => PPK_IDENTITY_KEY,
    }
}

impl NotifyType {
    /// Whether this reports an error rather than a status (RFC 7296 section 3.10.1).
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// Identification types (RFC 7296 section 3.5; 4 and 6 to 8 are IKEv1's, RFC 2407 section 4.6.2).
    IdType(u8) {
        1 => IPV4_ADDR, 2 => FQDN, 3 => RFC822_ADDR, 4 => IPV4_ADDR_SUBNET, 5 => IPV6_ADDR, 6 => IPV6_ADDR_SUBNET,
        7 => IPV4_ADDR_RANGE, 8 => IPV6_ADDR_RANGE, 9 => DER_ASN1_DN, 10 => DER_ASN1_GN, 11 => KEY_ID, 12 => FC_NAME,
        13 => NULL,
    }
}

registry! {
    /// Authentication methods (RFC 7296 section 3.8, RFC 4754, RFC 6467, RFC 7427, RFC 7619).
    AuthMethod(u8) {
        1 => RSA_DIGITAL_SIGNATURE, 2 => SHARED_KEY_MIC, 3 => DSS_DIGITAL_SIGNATURE, 9 => ECDSA_SHA256_P256,
        10 => ECDSA_SHA384_P384, 11 => ECDSA_SHA512_P521, 12 => GENERIC_SECURE_PASSWORD, 13 => NULL,
        14 => DIGITAL_SIGNATURE,
    }
}

registry! {
    /// Certificate encodings (RFC 7296 section 3.6, RFC 4806, RFC 7670).
    CertEncoding(u8) {
        1 => PKCS7_WRAPPED_X509, 2 => PGP, 3 => DNS_SIGNED_KEY, 4 => X509_SIGNATURE, 6 => KERBEROS_TOKEN, 7 => CRL,
        8 => ARL, 9 => SPKI, 10 => X509_ATTRIBUTE, 11 => RAW_RSA_KEY, 12 => HASH_AND_URL_X509,
        13 => HASH_AND_URL_BUNDLE, 14 => OCSP_CONTENT, 15 => RAW_PUBLIC_KEY,
    }
}

registry! {
    /// Configuration payload types (RFC 7296 section 3.15).
    CpType(u8) { 1 => CFG_REQUEST, 2 => CFG_REPLY, 3 => CFG_SET, 4 => CFG_ACK }
}

registry! {
    /// Configuration attributes (RFC 7296 section 3.15.1 and its extensions).
    CpAttribute(u16) {
        1 => INTERNAL_IP4_ADDRESS, 2 => INTERNAL_IP4_NETMASK, 3 => INTERNAL_IP4_DNS, 4 => INTERNAL_IP4_NBNS,
        6 => INTERNAL_IP4_DHCP, 7 => APPLICATION_VERSION, 8 => INTERNAL_IP6_ADDRESS, 10 => INTERNAL_IP6_DNS,
        12 => INTERNAL_IP6_DHCP, 13 => INTERNAL_IP4_SUBNET, 14 => SUPPORTED_ATTRIBUTES, 15 => INTERNAL_IP6_SUBNET,
        16 => MIP6_HOME_PREFIX, 17 => INTERNAL_IP6_LINK, 18 => INTERNAL_IP6_PREFIX, 19 => HOME_AGENT_ADDRESS,
        20 => P_CSCF_IP4_ADDRESS, 21 => P_CSCF_IP6_ADDRESS, 22 => FTT_KAT, 23 => EXTERNAL_SOURCE_IP4_NAT_INFO,
        24 => TIMEOUT_PERIOD_FOR_LIVENESS_CHECK, 25 => INTERNAL_DNS_DOMAIN, 26 => INTERNAL_DNSSEC_TA, 27 => ENCDNS_IP4,
        28 => ENCDNS_IP6, 29 => ENCDNS_DIGEST_INFO,
    }
}

registry! {
    /// Hash algorithms of digital signatures (RFC 7427 section 7, RFC 8420, RFC 9385).
    HashAlgorithm(u16) {
        1 => SHA1, 2 => SHA2_256, 3 => SHA2_384, 4 => SHA2_512, 5 => IDENTITY, 6 => STREEBOG_256, 7 => STREEBOG_512,
    }
}

registry! {
    /// Traffic selector types (RFC 7296 section 3.13.1, RFC 4595, RFC 9478).
    TsType(u8) { 7 => IPV4_ADDR_RANGE, 8 => IPV6_ADDR_RANGE, 9 => FC_ADDR_RANGE, 10 => SECLABEL }
}
