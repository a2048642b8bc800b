//! The registries against three tables that others keep, each derived without the other two. Where both name a value,
//! the names must be the same.

mod shared;

use std::collections::{BTreeMap, BTreeSet};

use wire::registry::*;

const LIBRESWAN: &str = "numbers-from-libreswan.csv";
const STRONGSWAN: &str = "numbers-from-strongswan.csv";
const WIRESHARK: &str = "numbers-from-wireshark-4.0.17.csv";

type Difference = (&'static str, &'static str, &'static [(u32, &'static str)]);

/// Other names for the same value: our registry, why the name differs, and each value with the name given elsewhere.
#[rustfmt::skip]
const DIFFERENCES: &[Difference] = &[
    ("ExchangeType", "abbreviated, explained, or told apart from IKEv2's INFORMATIONAL", &[
        (2, "ISAKMP_XCHG_IDPROT"), (2, "Identity Protection (Main Mode)"), (3, "ISAKMP_XCHG_AO"),
        (4, "ISAKMP_XCHG_AGGR"), (5, "ISAKMP_XCHG_INFO"), (5, "Informational"), (6, "ISAKMP_XCHG_MODE_CFG"),
        (6, "Transaction (Config Mode)"), (32, "ISAKMP_XCHG_QUICK"), (33, "ISAKMP_XCHG_NGRP"),
    ]),
    ("PayloadType", "the notation of the RFCs, or spelled out", &[
        (0, "NONE / No Next Payload"), (1, "Security Association"), (2, "ISAKMP_NEXT_P"), (3, "ISAKMP_NEXT_T"),
        (4, "Key Exchange"), (5, "Identification"), (6, "Certificate"), (7, "Certificate Request"),
        (7, "ISAKMP_NEXT_CR"), (9, "Signature"), (11, "ISAKMP_NEXT_N"), (11, "Notification"), (12, "ISAKMP_NEXT_D"),
        (13, "ISAKMP_NEXT_VID"), (14, "ISAKMP_NEXT_MODECFG"), (15, "SA KEK Payload"), (16, "ISAKMP_NEXT_TEK"),
        (16, "SA TEK Payload"), (17, "Key Download"), (18, "Sequence Number"), (19, "Proof of Possession"),
        (20, "ISAKMP_NEXT_NATD_RFC"), (20, "NAT-D (RFC 3947)"), (21, "ISAKMP_NEXT_NATOA_RFC"),
        (21, "NAT-OA (RFC 3947)"), (22, "Group Associated Policy"), (33, "Security Association"),
        (34, "Key Exchange"), (35, "Identification - Initiator"), (36, "Identification - Responder"),
        (37, "Certificate"), (38, "Certificate Request"), (39, "Authentication"), (40, "ISAKMP_NEXT_v2Ni"),
        (41, "ISAKMP_NEXT_v2N"), (42, "ISAKMP_NEXT_v2D"), (43, "ISAKMP_NEXT_v2V"),
        (44, "Traffic Selector - Initiator"), (45, "Traffic Selector - Responder"),
        (46, "Encrypted and Authenticated"), (47, "Configuration"), (48, "Extensible Authentication"),
        (49, "Generic Secure Password Method"), (50, "Group Identification"), (51, "Group Security Association"),
        (52, "Key Download"), (53, "Encrypted and Authenticated Fragment"), (130, "ISAKMP_NEXT_NATD_DRAFTS"),
        (130, "NAT-D (draft-ietf-ipsec-nat-t-ike-01 to 03)"), (131, "ISAKMP_NEXT_NATOA_DRAFTS"),
        (131, "NAT-OA (draft-ietf-ipsec-nat-t-ike-01 to 03)"), (132, "Cisco-Fragmentation"),
        (132, "ISAKMP_NEXT_IKE_FRAGMENTATION"), (132, "ISAKMP_NEXT_v2IKE_FRAGMENTATION"),
    ]),
    ("NotifyType", "shortened there", &[
        (16421, "IKEV2_REPLAY_COUNTER_SYNC_SUPPORTED"), (16424, "SECURE_PASSWORD_METHOD"),
        (16430, "FRAGMENTATION_SUPPORTED"),
    ]),
    ("NotifyType", "renamed by RFC 9838", &[
        (16429, "SENDER_REQUEST_ID"),
    ]),
    ("NotifyType", "Wireshark repeats CHILD_SA_NOT_FOUND, which is 44 (RFC 7296); IANA has AUTHORIZATION_FAILED", &[
        (46, "CHILD_SA_NOT_FOUND"),
    ]),
    ("TransformType", "abbreviated; IANA renamed it to Sequence Numbers", &[
        (5, "Extended Sequence Numbers (ESN)"), (5, "IKEv2_TRANS_TYPE_SN"),
    ]),
    ("TransformType", "spelled out", &[
        (1, "Encryption Algorithm (ENCR)"), (2, "Pseudo-random Function (PRF)"), (3, "Integrity Algorithm (INTEG)"),
    ]),
    ("TransformType", "renamed by RFC 9370", &[
        (4, "Diffie-Hellman Group (D-H)"),
    ]),
    ("EncryptionId", "spelled out or abbreviated", &[
        (3, "ENCR_3DES"), (3, "IKEv2_ENCR_3DES"), (8, "ENCR_3IDEA"), (8, "IKEv2_ENCR_3IDEA"),
        (18, "AES-GCM with a 8 octet ICV"), (19, "AES-GCM with a 12 octet ICV"), (20, "AES-GCM with a 16 octet ICV"),
        (21, "ENCR_NULL_AUTH_AES_GMAC"), (21, "IKEv2_ENCR_NULL_AUTH_AES_GMAC"),
        (25, "ENCR_CAMELLIA_CCM with an 8-octet ICV"), (26, "ENCR_CAMELLIA_CCM with a 12-octet ICV"),
        (27, "ENCR_CAMELLIA_CCM with a 16-octet ICV"),
    ]),
    ("PrfId", "misspelled there", &[
        (4, "PRF_AES128_CBC"), (8, "PRF_AES128_CMAC6"),
    ]),
    ("KeyExchangeId", "described, or named after the curve", &[
        (0, "KE_NONE"), (0, "UNDEFINED - 0"), (1, "Default 768-bit MODP group"), (1, "MODP_768_BIT"),
        (2, "Alternate 1024-bit MODP group"), (2, "MODP_1024_BIT"), (5, "1536 bit MODP group"), (5, "MODP_1536_BIT"),
        (14, "2048 bit MODP group"), (14, "MODP_2048_BIT"), (15, "3072 bit MODP group"), (15, "MODP_3072_BIT"),
        (16, "4096 bit MODP group"), (16, "MODP_4096_BIT"), (17, "6144 bit MODP group"), (17, "MODP_6144_BIT"),
        (18, "8192 bit MODP group"), (18, "MODP_8192_BIT"), (19, "256-bit random ECP group"), (19, "ECP_256_BIT"),
        (20, "384-bit random ECP group"), (20, "ECP_384_BIT"), (21, "521-bit random ECP group"), (21, "ECP_521_BIT"),
        (22, "1024-bit MODP Group with 160-bit Prime Order Subgroup"), (22, "IKEv2_KE_DH22"),
        (23, "2048-bit MODP Group with 224-bit Prime Order Subgroup"), (23, "IKEv2_KE_DH23"),
        (24, "2048-bit MODP Group with 256-bit Prime Order Subgroup"), (24, "IKEv2_KE_DH24"),
        (25, "192-bit Random ECP Group"), (25, "ECP_192_BIT"), (26, "224-bit Random ECP Group"), (26, "ECP_224_BIT"),
        (27, "224-bit Brainpool ECP group"), (27, "IKEv2_KE_BRAINPOOL_P224R1"), (28, "256-bit Brainpool ECP group"),
        (28, "IKEv2_KE_BRAINPOOL_P256R1"), (29, "384-bit Brainpool ECP group"), (29, "IKEv2_KE_BRAINPOOL_P384R1"),
        (30, "512-bit Brainpool ECP group"), (30, "IKEv2_KE_BRAINPOOL_P512R1"), (33, "GOST3410_256"),
        (34, "GOST3410_512"),
    ]),
    ("EsnId", "spelled out, or the new names of RFC 9827", &[
        (0, "IKEv2_SN_32_BIT_SEQUENTIAL"), (0, "No Extended Sequence Numbers"), (1, "Extended Sequence Numbers"),
        (1, "IKEv2_SN_PARTIAL_64_BIT_SEQUENTIAL"),
    ]),
    ("IdType", "FC_NAME in IKEv2 (RFC 4595), KEY_LIST in IKEv1 (RFC 3547)", &[
        (12, "KEY_LIST"),
    ]),
    ("AuthMethod", "spelled out or abbreviated", &[
        (2, "IKEv2_AUTH_SHARED_KEY_MAC"), (2, "Shared Key Message Integrity Code"),
        (9, "ECDSA with SHA-256 on the P-256 curve"), (9, "IKEv2_AUTH_ECDSA_SHA2_256_P256"),
        (10, "ECDSA with SHA-384 on the P-384 curve"), (10, "IKEv2_AUTH_ECDSA_SHA2_384_P384"),
        (11, "ECDSA with SHA-512 on the P-521 curve"), (11, "IKEv2_AUTH_ECDSA_SHA2_512_P521"),
        (12, "Generic Secure Password Authentication Method"),
        (12, "IKEv2_AUTH_GENERIC_SECURE_PASSWORD_AUTHENTICATION_METHOD"), (13, "NULL Authentication"),
    ]),
    ("CertEncoding", "spelled out or abbreviated", &[
        (1, "PKCS #7 wrapped X.509 certificate"), (2, "PGP Certificate"), (4, "X.509 Certificate - Signature"),
        (6, "CERT_KERBEROS_TOKENS"), (6, "Kerberos Tokens"), (7, "Certificate Revocation List (CRL)"),
        (8, "Authority Revocation List (ARL)"), (9, "SPKI Certificate"), (10, "X.509 Certificate - Attribute"),
        (11, "CERT_RAW_RSA"), (12, "CERT_X509_CERT_URL"), (12, "Hash and URL of X.509 certificate"),
        (13, "CERT_X509_BUNDLE_URL"), (13, "Hash and URL of X.509 bundle"),
    ]),
    ("OakleyEncryption", "abbreviated", &[
        (5, "3DES-CBC"), (5, "OAKLEY_3DES_CBC"),
    ]),
    ("OakleyHash", "without its version", &[
        (2, "SHA"),
    ]),
    ("OakleyAuthMethod", "abbreviated or spelled out; 5 has names for the end of a range, too", &[
        (2, "OAKLEY_DSS_SIG"), (3, "OAKLEY_RSA_SIG"), (4, "Encryption with RSA"), (4, "OAKLEY_RSA_ENC"),
        (5, "OAKLEY_RSA_REVISED_MODE"), (5, "Revised encryption with RSA"),
        (9, "ECDSA with SHA-256 on the P-256 curve"), (9, "OAKLEY_ECDSA_P256"),
        (10, "ECDSA with SHA-384 on the P-384 curve"), (10, "OAKLEY_ECDSA_P384"),
        (11, "ECDSA with SHA-512 on the P-521 curve"), (11, "OAKLEY_ECDSA_P521"),
    ]),
    ("OakleyGroup", "described, or named after the curve or the number", &[
        (1, "Default 768-bit MODP group"), (2, "Alternate 1024-bit MODP group"), (3, "EC2N group on GP[2^155] group"),
        (3, "OAKLEY_GROUP_GP155"), (4, "EC2N group on GP[2^185] group"), (4, "OAKLEY_GROUP_GP185"),
        (5, "1536 bit MODP group"), (14, "2048 bit MODP group"), (15, "3072 bit MODP group"),
        (16, "4096 bit MODP group"), (17, "6144 bit MODP group"), (18, "8192 bit MODP group"),
        (19, "256-bit random ECP group"), (20, "384-bit random ECP group"), (21, "521-bit random ECP group"),
        (22, "1024-bit MODP Group with 160-bit Prime Order Subgroup"), (22, "OAKLEY_GROUP_DH22"),
        (23, "2048-bit MODP Group with 224-bit Prime Order Subgroup"), (23, "OAKLEY_GROUP_DH23"),
        (24, "2048-bit MODP Group with 256-bit Prime Order Subgroup"), (24, "OAKLEY_GROUP_DH24"),
        (25, "192-bit Random ECP Group"), (26, "224-bit Random ECP Group"), (27, "224-bit Brainpool ECP group"),
        (27, "OAKLEY_GROUP_BRAINPOOL_P224R1"), (28, "256-bit Brainpool ECP group"),
        (28, "OAKLEY_GROUP_BRAINPOOL_P256R1"), (29, "384-bit Brainpool ECP group"),
        (29, "OAKLEY_GROUP_BRAINPOOL_P384R1"), (30, "512-bit Brainpool ECP group"),
        (30, "OAKLEY_GROUP_BRAINPOOL_P512R1"),
    ]),
    ("LifeType", "abbreviated", &[
        (2, "SA_LIFE_TYPE_KBYTES"),
    ]),
    ("EspTransformId", "a digit, which no name can start with here", &[
        (3, "IKEv1_ESP_3DES"), (8, "IKEv1_ESP_3IDEA"),
    ]),
    ("IpsecAttribute", "abbreviated or explained", &[
        (5, "AUTH_ALGORITHM"), (8, "COMPRESS_DICT_SIZE"), (9, "COMPRESS_PRIVATE_ALG"), (11, "ESN_64BIT_SEQNUM"),
        (11, "Extended (64-bit) Sequence Number"), (13, "SIG_ENC_ALGO_VAL"),
    ]),
    ("EncapsulationMode", "abbreviated", &[
        (3, "ENCAPSULATION_MODE_UDP_TUNNEL_RFC"), (4, "ENCAPSULATION_MODE_UDP_TRANSPORT_RFC"),
        (61443, "ENCAPSULATION_MODE_UDP_TUNNEL_DRAFTS"), (61444, "ENCAPSULATION_MODE_UDP_TRANSPORT_DRAFTS"),
    ]),
    ("AuthAlgorithm", "abbreviated", &[
        (2, "HMAC-SHA"), (9, "AUTH_ALGORITHM_AES_XCBC"),
    ]),
    ("V1NotifyType", "told apart from IKEv2's, or from other protocols", &[
        (24576, "v1N_IPSEC_RESPONDER_LIFETIME"), (24577, "v1N_IPSEC_REPLAY_STATUS"), (24578, "INITIAL_CONTACT_IKEV1"),
        (24578, "v1N_IPSEC_INITIAL_CONTACT"), (36136, "DPD_R_U_THERE"), (36137, "DPD_R_U_THERE_ACK"),
        (40501, "v1N_ISAKMP_N_CISCO_LOAD_BALANCE"),
    ]),
    ("V1NotifyType", "strongSwan keeps both versions in one table", &[
        (4, "INVALID_IKE_SPI"), (16384, "INITIAL_CONTACT"),
    ]),
    ("V1IdType", "FC_NAME in IKEv2 (RFC 4595), KEY_LIST in IKEv1 (RFC 3547)", &[
        (12, "ID_FC_NAME"),
    ]),
    ("V1ConfigAttribute", "misspelled there", &[
        (16525, "XAUTH_CHALLANGE"),
    ]),
    ("XauthType", "abbreviated", &[
        (1, "IKEv1_XAUTH_TYPE_CHAP"),
    ]),
    ("XauthStatus", "the drafts have OK", &[
        (1, "Success"),
    ]),
];

type Names = Vec<(u32, &'static str)>;
type Place = (&'static str, &'static str, &'static str);

macro_rules! names {
    ($registry:ident) => {
        $registry::KNOWN.iter().map(|known| (u32::from(known.0), known.name().unwrap())).collect::<Names>()
    };
}

/// Our registry, and where the same one is in the tables: table, registry there, what its names start or end with.
fn registries() -> Vec<(&'static str, Names, Vec<Place>)> {
    vec![
        (
            "ExchangeType",
            names!(ExchangeType),
            vec![
                (LIBRESWAN, "isakmp_xchg_type", "ISAKMP_XCHG_"),
                (LIBRESWAN, "ikev2_exchange", "ISAKMP_v2_"),
                (WIRESHARK, "isakmp.exchangetype", ""),
            ],
        ),
        (
            "PayloadType",
            names!(PayloadType),
            vec![
                (LIBRESWAN, "next_payload_types_ikev1", "ISAKMP_NEXT_"),
                (LIBRESWAN, "next_payload_types_ikev2", "ISAKMP_NEXT_v2"),
                (WIRESHARK, "isakmp.typepayload", ""),
            ],
        ),
        (
            "NotifyType",
            names!(NotifyType),
            vec![
                (LIBRESWAN, "v2_notification", "v2N_"),
                (STRONGSWAN, "notify", ""),
                (WIRESHARK, "isakmp.notify.msgtype", ""),
            ],
        ),
        (
            "TransformType",
            names!(TransformType),
            vec![(LIBRESWAN, "ikev2_trans_type", "IKEv2_TRANS_TYPE_"), (WIRESHARK, "isakmp.tf.type", "")],
        ),
        (
            "ProtocolId",
            names!(ProtocolId),
            vec![(LIBRESWAN, "ikev2_sec_proto_id", "IKEv2_SEC_PROTO_"), (WIRESHARK, "isakmp.prop.protoid", "")],
        ),
        (
            "EncryptionId",
            names!(EncryptionId),
            vec![(LIBRESWAN, "ikev2_trans_type_encr", "IKEv2_ENCR_"), (WIRESHARK, "isakmp.tf.id.encr", "ENCR_")],
        ),
        (
            "PrfId",
            names!(PrfId),
            vec![(LIBRESWAN, "ikev2_trans_type_prf", "IKEv2_PRF_"), (WIRESHARK, "isakmp.tf.id.prf", "PRF_")],
        ),
        (
            "IntegrityId",
            names!(IntegrityId),
            vec![(LIBRESWAN, "ikev2_trans_type_integ", "IKEv2_INTEG_"), (WIRESHARK, "isakmp.tf.id.integ", "AUTH_")],
        ),
        (
            "KeyExchangeId",
            names!(KeyExchangeId),
            vec![
                (LIBRESWAN, "ikev2_trans_type_ke", "IKEv2_KE_"),
                (STRONGSWAN, "key_exchange_method", ""),
                (WIRESHARK, "isakmp.tf.id.dh", ""),
            ],
        ),
        (
            "EsnId",
            names!(EsnId),
            vec![(LIBRESWAN, "ikev2_trans_type_sn", "IKEv2_SN_"), (WIRESHARK, "isakmp.tf.id.esn", "")],
        ),
        ("IdType", names!(IdType), vec![(LIBRESWAN, "ike_id_type", "ID_"), (WIRESHARK, "isakmp.id.type", "ID_")]),
        (
            "AuthMethod",
            names!(AuthMethod),
            vec![(LIBRESWAN, "ikev2_auth_method", "IKEv2_AUTH_"), (WIRESHARK, "isakmp.auth.method", "")],
        ),
        (
            "CertEncoding",
            names!(CertEncoding),
            vec![(LIBRESWAN, "ike_cert_type", "CERT_"), (WIRESHARK, "isakmp.cert.encoding", "")],
        ),
        ("CpType", names!(CpType), vec![(LIBRESWAN, "ikev2_cp_type", "IKEv2_CP_"), (WIRESHARK, "isakmp.cfg.type", "")]),
        (
            "CpAttribute",
            names!(CpAttribute),
            vec![(LIBRESWAN, "ikev2_cp_attribute_type", "IKEv2_"), (WIRESHARK, "isakmp.cfg.attr.type", "")],
        ),
        (
            "HashAlgorithm",
            names!(HashAlgorithm),
            vec![
                (LIBRESWAN, "ikev2_hash_algorithm", "IKEv2_HASH_ALGORITHM_"),
                (WIRESHARK, "isakmp.notify.data.signature_hash_algorithms", ""),
            ],
        ),
        (
            "TsType",
            names!(TsType),
            vec![(LIBRESWAN, "ikev2_ts_type", "IKEv2_TS_"), (WIRESHARK, "isakmp.ts.type", "TS_")],
        ),
        (
            "OakleyAttribute",
            names!(OakleyAttribute),
            vec![(LIBRESWAN, "ikev1_oakley_attr", "OAKLEY_"), (WIRESHARK, "isakmp.ike.attr.type", "")],
        ),
        (
            "OakleyEncryption",
            names!(OakleyEncryption),
            vec![
                (LIBRESWAN, "ikev1_encr_attribute", "OAKLEY_"),
                (WIRESHARK, "isakmp.ike.attr.encryption_algorithm", ""),
            ],
        ),
        (
            "OakleyHash",
            names!(OakleyHash),
            vec![(LIBRESWAN, "ikev1_hash_attribute", "OAKLEY_"), (WIRESHARK, "isakmp.ike.attr.hash_algorithm", "")],
        ),
        (
            "OakleyAuthMethod",
            names!(OakleyAuthMethod),
            vec![(LIBRESWAN, "ikev1_auth_method", "OAKLEY_"), (WIRESHARK, "isakmp.ike.attr.authentication_method", "")],
        ),
        (
            "OakleyGroup",
            names!(OakleyGroup),
            vec![
                (LIBRESWAN, "oakley_group", "OAKLEY_GROUP_"),
                (WIRESHARK, "isakmp.ike.attr.group_description", ""),
                (WIRESHARK, "isakmp.ipsec.attr.group_description", ""),
            ],
        ),
        (
            "LifeType",
            names!(LifeType),
            vec![
                (LIBRESWAN, "ikev1_sa_life_type", "SA_LIFE_TYPE_"),
                (WIRESHARK, "isakmp.ike.attr.life_type", ""),
                (WIRESHARK, "isakmp.ipsec.attr.life_type", ""),
            ],
        ),
        ("AhTransformId", names!(AhTransformId), vec![(LIBRESWAN, "ikev1_ah_transform", "IKEv1_AH_")]),
        ("EspTransformId", names!(EspTransformId), vec![(LIBRESWAN, "ikev1_esp_transform", "IKEv1_ESP_")]),
        (
            "IpcompTransformId",
            names!(IpcompTransformId),
            vec![
                (LIBRESWAN, "ipsec_ipcomp_algo", "IPCOMP_"),
                (WIRESHARK, "isakmp.notify.data.ipcomp.transform_id", "IPCOMP_"),
            ],
        ),
        (
            "IpsecAttribute",
            names!(IpsecAttribute),
            vec![(LIBRESWAN, "ikev1_ipsec_attr", ""), (WIRESHARK, "isakmp.ipsec.attr.type", "")],
        ),
        (
            "EncapsulationMode",
            names!(EncapsulationMode),
            vec![
                (LIBRESWAN, "encapsulation_mode", "ENCAPSULATION_MODE_"),
                (WIRESHARK, "isakmp.ipsec.attr.encap_mode", ""),
            ],
        ),
        (
            "AuthAlgorithm",
            names!(AuthAlgorithm),
            vec![
                (LIBRESWAN, "ikev1_auth_attribute", "AUTH_ALGORITHM_"),
                (WIRESHARK, "isakmp.ipsec.attr.auth_algorithm", ""),
            ],
        ),
        (
            "V1NotifyType",
            names!(V1NotifyType),
            vec![
                (LIBRESWAN, "v1_notification_t", "v1N_"),
                (STRONGSWAN, "notify", ""),
                (WIRESHARK, "isakmp.notify.msgtype", ""),
            ],
        ),
        ("V1IdType", names!(V1IdType), vec![(LIBRESWAN, "ike_id_type", "ID_"), (WIRESHARK, "isakmp.id.type", "ID_")]),
        (
            "V1ConfigAttribute",
            names!(V1ConfigAttribute),
            vec![(LIBRESWAN, "ikev1_attr_xauth", "IKEv1_ATTR_"), (WIRESHARK, "isakmp.cfg.attr.type", "")],
        ),
        (
            "XauthType",
            names!(XauthType),
            vec![(LIBRESWAN, "ikev1_xauth_type", "IKEv1_XAUTH_TYPE_"), (WIRESHARK, "isakmp.cfg.attr.xauth.type", "")],
        ),
        ("XauthStatus", names!(XauthStatus), vec![(WIRESHARK, "isakmp.cfg.attr.xauth.status", "")]),
    ]
}

/// Names by registry and value. Ranges are left out: they are unassigned or private.
fn read(text: &str) -> BTreeMap<(String, u32), Vec<String>> {
    let mut names: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let with_ranges = text.starts_with("field,lo,hi,");
    for line in text.lines().skip(1) {
        let mut cells = line.splitn(if with_ranges { 4 } else { 3 }, ',');
        let registry = cells.next().unwrap_or_default().to_owned();
        let low = cells.next().unwrap_or_default();
        if with_ranges && cells.next() != Some(low) {
            continue;
        }
        let Ok(value) = low.parse() else { continue };
        names.entry((registry, value)).or_default().push(cells.next().unwrap_or_default().trim().to_owned());
    }
    names
}

fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// Whether a name says that the value has none.
fn is_no_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["RESERVED", "UNASSIGNED", "UNDEFINED BY ANY", "<UNKNOWN>"].iter().any(|word| name.contains(word))
}

#[test]
fn names_agree_with_three_other_tables() {
    let Some(folder) = shared::vectors("iana") else { return };
    let tables: BTreeMap<_, _> = [LIBRESWAN, STRONGSWAN, WIRESHARK]
        .into_iter()
        .map(|table| (table, read(&std::fs::read_to_string(folder.join(table)).unwrap())))
        .collect();
    let differences: Vec<_> = DIFFERENCES
        .iter()
        .flat_map(|&(registry, _, names)| names.iter().map(move |&(value, name)| (registry, value, name)))
        .collect();
    let (mut compared, mut wrong, mut used) = (BTreeMap::<_, usize>::new(), Vec::new(), BTreeSet::new());
    for (ours, names, places) in registries() {
        for (table, registry, prefix) in places {
            for &(value, name) in &names {
                let Some(theirs) = tables[table].get(&(registry.to_owned(), value)) else { continue };
                let theirs: Vec<_> = theirs.iter().filter(|name| !is_no_name(name)).collect();
                if theirs.is_empty() {
                    continue;
                }
                *compared.entry((table, ours)).or_default() += 1;
                let prefix = normal(prefix);
                let same = |their: &&&String| {
                    let their = normal(their);
                    // IKEv1's payloads have a registry of their own elsewhere, here a prefix.
                    their.strip_prefix(&prefix).unwrap_or(&their) == normal(name.strip_prefix("V1_").unwrap_or(name))
                };
                if theirs.iter().find(same).is_some() {
                    continue;
                }
                let known = differences.iter().position(|&(registry, v, their)| {
                    (registry, v) == (ours, value) && theirs.iter().any(|name| *name == their)
                });
                match known {
                    Some(index) => drop(used.insert(index)),
                    None => wrong.push(format!("{ours} {value}: {name}, {theirs:?} in {table} {registry}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = (0..differences.len()).filter(|index| !used.contains(index)).map(|i| differences[i]).collect();
    assert!(unused.is_empty(), "no longer different: {unused:?}");
    for (table, ours) in [(LIBRESWAN, "NotifyType"), (STRONGSWAN, "NotifyType"), (WIRESHARK, "NotifyType")] {
        assert!(compared[&(table, ours)] > 40, "{compared:?}");
    }
    assert!(compared.values().sum::<usize>() > 500, "{compared:?}");
}
