//! The registries of IKEv1 and of the IPsec Domain of Interpretation ("Internet Key Exchange (IKE) Attributes",
//! "ISAKMP Registries"). Exchange types, payload types, certificate encodings and the types of configuration messages are
//! shared with IKEv2, and so are the numbers of the groups.

use super::KeyExchangeId;

registry! {
    /// Classes of phase 1 attributes (RFC 2409 appendix A).
    OakleyAttribute(u16) {
        1 => ENCRYPTION_ALGORITHM, 2 => HASH_ALGORITHM, 3 => AUTHENTICATION_METHOD, 4 => GROUP_DESCRIPTION,
        5 => GROUP_TYPE, 6 => GROUP_PRIME, 7 => GROUP_GENERATOR_ONE, 8 => GROUP_GENERATOR_TWO, 9 => GROUP_CURVE_A,
        10 => GROUP_CURVE_B, 11 => LIFE_TYPE, 12 => LIFE_DURATION, 13 => PRF, 14 => KEY_LENGTH, 15 => FIELD_SIZE,
        16 => GROUP_ORDER, 17 => BLOCK_SIZE, 20 => ASYMMETRIC_CRYPTOGRAPHIC_ALGORITHM_TYPE,
    }
}

registry! {
    /// Phase 1 encryption algorithms (RFC 2409 appendix A, RFC 3602 section 5, RFC 4312).
    OakleyEncryption(u16) {
        1 => DES_CBC, 2 => IDEA_CBC, 3 => BLOWFISH_CBC, 4 => RC5_R16_B64_CBC, 5 => TRIPLE_DES_CBC, 6 => CAST_CBC,
        7 => AES_CBC, 8 => CAMELLIA_CBC,
    }
}

registry! {
    /// Phase 1 hash algorithms (RFC 2409 appendix A; the SHA-2 family as IANA lists it).
    OakleyHash(u16) { 1 => MD5, 2 => SHA1, 3 => TIGER, 4 => SHA2_256, 5 => SHA2_384, 6 => SHA2_512 }
}

registry! {
    /// Phase 1 authentication methods (RFC 2409 appendix A, RFC 4754 section 7). From 64221 on they are private values of
    /// the drafts on hybrid authentication and XAuth: "init" is what is offered where the initiator is the client, "resp"
    /// where the responder is.
    OakleyAuthMethod(u16) {
        1 => PRE_SHARED_KEY, 2 => DSS_SIGNATURES, 3 => RSA_SIGNATURES, 4 => RSA_ENCRYPTION,
        5 => REVISED_RSA_ENCRYPTION, 9 => ECDSA_SHA256_P256, 10 => ECDSA_SHA384_P384, 11 => ECDSA_SHA512_P521,
        64221 => HYBRID_INIT_RSA, 64222 => HYBRID_RESP_RSA, 64223 => HYBRID_INIT_DSS, 64224 => HYBRID_RESP_DSS,
        65001 => XAUTH_INIT_PRE_SHARED, 65002 => XAUTH_RESP_PRE_SHARED, 65003 => XAUTH_INIT_DSS,
        65004 => XAUTH_RESP_DSS, 65005 => XAUTH_INIT_RSA, 65006 => XAUTH_RESP_RSA,
        65007 => XAUTH_INIT_RSA_ENCRYPTION, 65008 => XAUTH_RESP_RSA_ENCRYPTION,
        65009 => XAUTH_INIT_RSA_REVISED_ENCRYPTION, 65010 => XAUTH_RESP_RSA_REVISED_ENCRYPTION,
    }
}

registry! {
    /// Groups (RFC 2409 section 6, RFC 3526, RFC 5903): the numbers of [`KeyExchangeId`].
    OakleyGroup(u16) {
        1 => MODP_768, 2 => MODP_1024, 3 => EC2N_155, 4 => EC2N_185, 5 => MODP_1536, 14 => MODP_2048, 15 => MODP_3072,
        16 => MODP_4096, 17 => MODP_6144, 18 => MODP_8192, 19 => ECP_256, 20 => ECP_384, 21 => ECP_521,
        22 => MODP_1024_160, 23 => MODP_2048_224, 24 => MODP_2048_256, 25 => ECP_192, 26 => ECP_224, 27 => ECP_224_BP,
        28 => ECP_256_BP, 29 => ECP_384_BP, 30 => ECP_512_BP, 31 => CURVE_25519, 32 => CURVE_448,
    }
}

impl From<OakleyGroup> for KeyExchangeId {
    fn from(group: OakleyGroup) -> Self {
        Self(group.0)
    }
}

impl From<KeyExchangeId> for OakleyGroup {
    fn from(method: KeyExchangeId) -> Self {
        Self(method.0)
    }
}

registry! {
    /// Units of a lifetime, of both phases (RFC 2409 appendix A, RFC 2407 section 4.5).
    LifeType(u16) { 1 => SECONDS, 2 => KILOBYTES }
}

registry! {
    /// Transform IDs of protocol ISAKMP (RFC 2407 section 4.4.2).
    IsakmpTransformId(u8) { 1 => KEY_IKE }
}

registry! {
    /// Transform IDs of AH (RFC 2407 section 4.4.3).
    AhTransformId(u8) {
        2 => MD5, 3 => SHA, 4 => DES, 5 => SHA2_256, 6 => SHA2_384, 7 => SHA2_512, 8 => RIPEMD, 9 => AES_XCBC_MAC,
        10 => RSA, 11 => AES_128_GMAC, 12 => AES_192_GMAC, 13 => AES_256_GMAC,
    }
}

registry! {
    /// Transform IDs of ESP (RFC 2407 section 4.4.4, RFC 3602, RFC 3686, RFC 4309, RFC 4106, RFC 4196, RFC 4312, RFC 4543).
    /// Not the numbers of [`super::EncryptionId`] from 21 on.
    EspTransformId(u8) {
        1 => DES_IV64, 2 => DES, 3 => TRIPLE_DES, 4 => RC5, 5 => IDEA, 6 => CAST, 7 => BLOWFISH, 8 => TRIPLE_IDEA,
        9 => DES_IV32, 10 => RC4, 11 => NULL, 12 => AES, 13 => AES_CTR, 14 => AES_CCM_8, 15 => AES_CCM_12,
        16 => AES_CCM_16, 18 => AES_GCM_8, 19 => AES_GCM_12, 20 => AES_GCM_16, 21 => SEED_CBC, 22 => CAMELLIA,
        23 => NULL_AUTH_AES_GMAC,
    }
}

registry! {
    /// Transform IDs of IPCOMP (RFC 2407 section 4.4.5, RFC 3051).
    IpcompTransformId(u8) { 1 => OUI, 2 => DEFLATE, 3 => LZS, 4 => LZJH }
}

registry! {
    /// Classes of the attributes of IPsec SAs (RFC 2407 section 4.5, RFC 3168 section 9.2.1, RFC 4304).
    IpsecAttribute(u16) {
        1 => SA_LIFE_TYPE, 2 => SA_LIFE_DURATION, 3 => GROUP_DESCRIPTION, 4 => ENCAPSULATION_MODE,
        5 => AUTHENTICATION_ALGORITHM, 6 => KEY_LENGTH, 7 => KEY_ROUNDS, 8 => COMPRESS_DICTIONARY_SIZE,
        9 => COMPRESS_PRIVATE_ALGORITHM, 10 => ECN_TUNNEL, 11 => EXTENDED_SEQUENCE_NUMBER,
        12 => AUTHENTICATION_KEY_LENGTH, 13 => SIGNATURE_ENCODING_ALGORITHM, 14 => ADDRESS_PRESERVATION,
        15 => SA_DIRECTION,
    }
}

registry! {
    /// Encapsulation modes (RFC 2407 section 4.5, RFC 3947 section 5.1). 61443 and 61444 are those of the drafts before
    /// RFC 3947.
    EncapsulationMode(u16) {
        1 => TUNNEL, 2 => TRANSPORT, 3 => UDP_ENCAPSULATED_TUNNEL, 4 => UDP_ENCAPSULATED_TRANSPORT,
        61443 => UDP_ENCAPSULATED_TUNNEL_DRAFT, 61444 => UDP_ENCAPSULATED_TRANSPORT_DRAFT,
    }
}

registry! {
    /// Authentication algorithms of AH and ESP (RFC 2407 section 4.5, RFC 4868 section 4, RFC 3566, RFC 4359, RFC 4543).
    AuthAlgorithm(u16) {
        1 => HMAC_MD5, 2 => HMAC_SHA1, 3 => DES_MAC, 4 => KPDK, 5 => HMAC_SHA2_256, 6 => HMAC_SHA2_384,
        7 => HMAC_SHA2_512, 8 => HMAC_RIPEMD, 9 => AES_XCBC_MAC, 10 => SIG_RSA, 11 => AES_128_GMAC, 12 => AES_192_GMAC,
        13 => AES_256_GMAC,
    }
}

registry! {
    /// Notify message types (RFC 2408 section 3.14.1, RFC 2407 section 4.6.3, RFC 3706 section 5.2).
    V1NotifyType(u16) {
        1 => INVALID_PAYLOAD_TYPE, 2 => DOI_NOT_SUPPORTED, 3 => SITUATION_NOT_SUPPORTED, 4 => INVALID_COOKIE,
        5 => INVALID_MAJOR_VERSION, 6 => INVALID_MINOR_VERSION, 7 => INVALID_EXCHANGE_TYPE, 8 => INVALID_FLAGS,
        9 => INVALID_MESSAGE_ID, 10 => INVALID_PROTOCOL_ID, 11 => INVALID_SPI, 12 => INVALID_TRANSFORM_ID,
        13 => ATTRIBUTES_NOT_SUPPORTED, 14 => NO_PROPOSAL_CHOSEN, 15 => BAD_PROPOSAL_SYNTAX, 16 => PAYLOAD_MALFORMED,
        17 => INVALID_KEY_INFORMATION, 18 => INVALID_ID_INFORMATION, 19 => INVALID_CERT_ENCODING,
        20 => INVALID_CERTIFICATE, 21 => CERT_TYPE_UNSUPPORTED, 22 => INVALID_CERT_AUTHORITY,
        23 => INVALID_HASH_INFORMATION, 24 => AUTHENTICATION_FAILED, 25 => INVALID_SIGNATURE,
        26 => ADDRESS_NOTIFICATION, 27 => NOTIFY_SA_LIFETIME, 28 => CERTIFICATE_UNAVAILABLE,
        29 => UNSUPPORTED_EXCHANGE_TYPE, 30 => UNEQUAL_PAYLOAD_LENGTHS,
        16384 => CONNECTED,
        24576 => RESPONDER_LIFETIME, 24577 => REPLAY_STATUS, 24578 => INITIAL_CONTACT,
        36136 => R_U_THERE, 36137 => R_U_THERE_ACK,
        40501 => UNITY_LOAD_BALANCE,
    }
}

impl V1NotifyType {
    /// Whether this reports an error rather than a status (RFC 2408 section 3.14.1: 1 to 8191 are errors, 8192 to 16383
    /// private errors).
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// Identification types (RFC 2407 section 4.6.2.1, RFC 3547). 3 is `RFC822_ADDR` in IKEv2.
    V1IdType(u8) {
        1 => IPV4_ADDR, 2 => FQDN, 3 => USER_FQDN, 4 => IPV4_ADDR_SUBNET, 5 => IPV6_ADDR, 6 => IPV6_ADDR_SUBNET,
        7 => IPV4_ADDR_RANGE, 8 => IPV6_ADDR_RANGE, 9 => DER_ASN1_DN, 10 => DER_ASN1_GN, 11 => KEY_ID, 12 => KEY_LIST,
    }
}

registry! {
    /// Attributes of Mode-Config and XAuth messages (the expired drafts on both; from 28672 on Cisco's "Unity").
    V1ConfigAttribute(u16) {
        1 => INTERNAL_IP4_ADDRESS, 2 => INTERNAL_IP4_NETMASK, 3 => INTERNAL_IP4_DNS, 4 => INTERNAL_IP4_NBNS,
        5 => INTERNAL_ADDRESS_EXPIRY, 6 => INTERNAL_IP4_DHCP, 7 => APPLICATION_VERSION, 8 => INTERNAL_IP6_ADDRESS,
        9 => INTERNAL_IP6_NETMASK, 10 => INTERNAL_IP6_DNS, 11 => INTERNAL_IP6_NBNS, 12 => INTERNAL_IP6_DHCP,
        13 => INTERNAL_IP4_SUBNET, 14 => SUPPORTED_ATTRIBUTES, 15 => INTERNAL_IP6_SUBNET,
        16520 => XAUTH_TYPE, 16521 => XAUTH_USER_NAME, 16522 => XAUTH_USER_PASSWORD, 16523 => XAUTH_PASSCODE,
        16524 => XAUTH_MESSAGE, 16525 => XAUTH_CHALLENGE, 16526 => XAUTH_DOMAIN, 16527 => XAUTH_STATUS,
        16528 => XAUTH_NEXT_PIN, 16529 => XAUTH_ANSWER,
        28672 => UNITY_BANNER, 28673 => UNITY_SAVE_PASSWD, 28674 => UNITY_DEF_DOMAIN, 28675 => UNITY_SPLIT_DOMAIN,
        28676 => UNITY_SPLIT_INCLUDE, 28677 => UNITY_NATT_PORT, 28678 => UNITY_SPLIT_EXCLUDE, 28679 => UNITY_PFS,
        28680 => UNITY_FW_TYPE, 28681 => UNITY_BACKUP_SERVERS, 28682 => UNITY_DDNS_HOSTNAME,
    }
}

impl V1ConfigAttribute {
    /// Whether it is one of Cisco's.
    pub fn is_unity(self) -> bool {
        (Self::UNITY_BANNER..=Self::UNITY_DDNS_HOSTNAME).contains(&self)
    }
}

registry! {
    /// Values of XAUTH_TYPE.
    XauthType(u16) { 0 => GENERIC, 1 => RADIUS_CHAP, 2 => OTP, 3 => S_KEY }
}

registry! {
    /// Values of XAUTH_STATUS.
    XauthStatus(u16) { 0 => FAIL, 1 => OK }
}
