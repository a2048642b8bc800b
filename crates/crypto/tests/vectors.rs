//! The known answers of others, in full. The files lie beside the project and are not part of it; where they are missing
//! a test says so and passes, except under `CI=true`. What the project cannot do without is in the unit tests.

use crypto::{BadPublicValue, Cipher, Integrity, KeyExchange, OpenError, Prf, Protection, Random, v2};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use wire::Secret;
use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

/// The text of a file, unpacked. `None`, after saying so, if it is not there.
fn text(name: &str) -> Option<String> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/kat")).join(name);
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("SKIP: {name} is not here");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{name} must be here in CI");
        return None;
    };
    let mut text = String::new();
    match name.ends_with(".gz") {
        true => flate2::read::GzDecoder::new(&file[..]).read_to_string(&mut text).unwrap(),
        false => (&file[..]).read_to_string(&mut text).unwrap(),
    };
    Some(text)
}

/// All cases of a JSON file of this shape: `{<groups>: [{..., "tests": [...]}]}` or `{"vectors": [...]}`, each with its group.
fn cases(name: &str) -> Option<Vec<(Value, Value)>> {
    let root: Value = serde_json::from_str(&text(name)?).unwrap();
    if let Some(vectors) = root["vectors"].as_array() {
        return Some(vectors.iter().map(|case| (Value::Null, case.clone())).collect());
    }
    let groups = root["testGroups"].as_array().unwrap();
    let split = |group: &Value| {
        let mut group = group.clone();
        let tests = group["tests"].take();
        tests.as_array().unwrap().iter().map(|case| (group.clone(), case.clone())).collect::<Vec<_>>()
    };
    Some(groups.iter().flat_map(split).collect())
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    assert!(text.len().is_multiple_of(2), "{text}");
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The octets of a hexadecimal member; a missing one is empty.
fn octets(case: &Value, name: &str) -> Vec<u8> {
    unhex(case[name].as_str().unwrap_or_default())
}

struct Fixed(Vec<u8>);

impl Random for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0[..out.len()]);
    }
}

/// One AEAD case.
struct Aead<'a> {
    cipher: Cipher,
    /// Ends with the salt.
    key: &'a [u8],
    iv: &'a [u8],
    aad: &'a [u8],
    plain: &'a [u8],
    sealed: &'a [u8],
    tag: &'a [u8],
    valid: bool,
}

impl Aead<'_> {
    /// `false` if the case cannot be put in a message.
    fn check(&self) -> bool {
        let &Self { cipher, key, iv, aad, plain, sealed, tag, valid } = self;
        if sealed.is_empty() {
            return false; // an Encrypted payload has at least its pad length
        }
        let protection = Protection::new(cipher, None, key, &[]).unwrap();
        let expected = [aad, iv, sealed, tag].concat();
        if valid {
            let mut message = [aad, &[0; 8], plain, &vec![0; tag.len()]].concat();
            let sequence = u64::from_be_bytes(iv.try_into().unwrap());
            protection.seal(&mut message, aad.len(), sequence, &mut Fixed(vec![]));
            assert_eq!(message, expected);
        }
        let mut message = expected;
        match (protection.open(&mut message, aad.len()), valid) {
            // The content is not padded as IKE would, so the padding may be judged bad: the ICV was right all the same.
            (Ok(_) | Err(OpenError::BadPadding), true) => {
                assert_eq!(&message[aad.len() + iv.len()..][..plain.len()], plain);
            }
            (Err(OpenError::IntegrityCheckFailed), false) => {}
            (result, valid) => panic!("{result:?} where valid = {valid}"),
        }
        true
    }
}

/// One case of a cipher without authentication, in either direction.
fn unauthenticated(cipher: Cipher, key: &[u8], iv: &[u8], plain: &[u8], encrypted: &[u8]) {
    let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).unwrap();
    let protection = Protection::new(cipher, Some(integrity), key, &[0; 20]).unwrap();
    let mut message = [&vec![0; iv.len()], plain, &[0; 12]].concat();
    let sequence = u64::from_be_bytes(iv[..8].try_into().unwrap());
    protection.seal(&mut message, 0, sequence, &mut Fixed(iv.to_vec()));
    assert_eq!(message[..iv.len()], *iv);
    assert_eq!(message[iv.len()..message.len() - 12], *encrypted);
    let opened = protection.open(&mut message, 0);
    assert!(matches!(opened, Ok(_) | Err(OpenError::BadPadding)), "{opened:?}");
    assert_eq!(message[iv.len()..message.len() - 12], *plain);
}

/// The value of each `name = value` line, case by case; `[name]` lines begin groups.
#[test]
fn nist_cavs_ikev2() {
    let Some(text) = text("nist-cavs-ike/ikev2.even.fax.gz") else { return };
    let (mut prf, mut case, mut count) = (None, std::collections::HashMap::new(), 0);
    let mut lines = text.lines().map(str::trim).chain([""]).filter(|line| !line.starts_with('#'));
    for line in &mut lines {
        if let Some(hash) = line.strip_prefix("[SHA-").and_then(|rest| rest.strip_suffix(']')) {
            prf = Some(match hash {
                "1" => PrfId::HMAC_SHA1,
                "256" => PrfId::HMAC_SHA2_256,
                "384" => PrfId::HMAC_SHA2_384,
                "512" => PrfId::HMAC_SHA2_512,
                other => panic!("{other}"),
            });
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with('[')) {
            case.insert(name.to_string(), value.to_string());
        } else if line.is_empty() && case.contains_key("SKEYSEED(Rekey)") {
            cavs_case(Prf::new(prf.unwrap()).unwrap(), |name| unhex(&case[name]));
            case.clear();
            count += 1;
        }
    }
    assert!(case.is_empty());
    let expected = text.lines().filter(|line| line.starts_with("COUNT")).count();
    assert_eq!(count, expected);
    assert!(count > 100, "{count}");
}

fn cavs_case(prf: Prf, get: impl Fn(&str) -> Vec<u8>) {
    let (ni, nr) = (get("Ni"), get("Nr"));
    let (shared, new) = (Secret::new(get("g^ir")), Secret::new(get("g^ir (new)")));
    let (spi_i, spi_r): ([u8; 8], [u8; 8]) = (get("SPIi").try_into().unwrap(), get("SPIr").try_into().unwrap());
    let seed = v2::skeyseed(prf, &shared, &ni, &nr);
    assert_eq!(seed.expose(), get("SKEYSEED"));
    let dkm = get("DKM");
    assert_eq!(prf.plus(seed.expose(), &[&ni, &nr, &spi_i, &spi_r], dkm.len()).expose(), dkm);

    // The same through the functions that cut keys: AES-128-CBC, and a combined mode where the material is too short.
    let cipher = Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
    let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).ok();
    let keys = v2::ike_sa_keys(prf, cipher, integrity, &shared, &ni, &nr, &spi_i, &spi_r);
    let all = [&keys.sk_d, &keys.sk_ai, &keys.sk_ar, &keys.sk_ei, &keys.sk_er, &keys.sk_pi, &keys.sk_pr];
    let all = all.map(Secret::expose).concat();
    let common = all.len().min(dkm.len());
    assert_eq!(all[..common], dkm[..common]);

    for (name, shared) in [("DKM(Child SA)", None), ("DKM(Child SA D-H)", Some(&new))] {
        let expected = get(name);
        let parts = [shared.map_or(&[][..], Secret::expose), &ni, &nr];
        assert_eq!(prf.plus(keys.sk_d.expose(), &parts, expected.len()).expose(), expected);
        let child = v2::child_keys(prf, &keys.sk_d, shared, &ni, &nr, cipher, integrity);
        let (i, r) = (child.initiator_to_responder, child.responder_to_initiator);
        let all = [&i.encryption, &i.integrity, &r.encryption, &r.integrity].map(Secret::expose).concat();
        assert_eq!(all, expected[..all.len()]);
    }
    let seed = v2::rekeyed_skeyseed(prf, &keys.sk_d, &new, &ni, &nr);
    assert_eq!(seed.expose(), get("SKEYSEED(Rekey)"));
}

#[test]
fn nist_acvp_aes_cbc() {
    let Some(cases) = cases("nist-acvp/ACVP-AES-CBC-1.0.internalProjection.json.gz") else { return };
    let mut count = 0;
    for (group, case) in cases.iter().filter(|(group, _)| group["testType"] == "AFT") {
        let bits = group["keyLen"].as_u64().unwrap() as u16;
        let cipher = Cipher::new(EncryptionId::AES_CBC, Some(bits)).unwrap();
        unauthenticated(cipher, &octets(case, "key"), &octets(case, "iv"), &octets(case, "pt"), &octets(case, "ct"));
        count += 1;
    }
    assert!(count > 1000, "{count}");
}

/// The groups of RFC 3686: the counter starts at 1.
#[test]
fn nist_acvp_aes_ctr() {
    let Some(cases) = cases("nist-acvp/ACVP-AES-CTR-1.0.internalProjection.json.gz") else { return };
    let mut count = 0;
    for (group, case) in &cases {
        let bits = group["keyLen"].as_u64().unwrap() as u16;
        let (iv, length) = (octets(case, "iv"), case["payloadLen"].as_u64().unwrap_or(1));
        if iv.len() != 16 || iv[12..] != [0, 0, 0, 1] || !length.is_multiple_of(8) || group["testType"] != "AFT" {
            continue;
        }
        let key = [octets(case, "key"), iv[..4].to_vec()].concat();
        let cipher = Cipher::new(EncryptionId::AES_CTR, Some(bits)).unwrap();
        unauthenticated(cipher, &key, &iv[4..12], &octets(case, "pt"), &octets(case, "ct"));
        count += 1;
    }
    assert!(count > 10, "{count}");
}

fn gcm(tag_bits: Option<u64>) -> Option<EncryptionId> {
    match tag_bits {
        Some(64) => Some(EncryptionId::AES_GCM_8),
        Some(96) => Some(EncryptionId::AES_GCM_12),
        Some(128) => Some(EncryptionId::AES_GCM_16),
        _ => None,
    }
}

fn ccm(tag_bits: Option<u64>) -> Option<EncryptionId> {
    match tag_bits {
        Some(64) => Some(EncryptionId::AES_CCM_8),
        Some(96) => Some(EncryptionId::AES_CCM_12),
        Some(128) => Some(EncryptionId::AES_CCM_16),
        _ => None,
    }
}

fn curve(name: &str) -> Option<(KeyExchangeId, usize)> {
    match name {
        "P-224" => Some((KeyExchangeId::ECP_224, 28)),
        "P-256" => Some((KeyExchangeId::ECP_256, 32)),
        "P-384" => Some((KeyExchangeId::ECP_384, 48)),
        "P-521" => Some((KeyExchangeId::ECP_521, 66)),
        _ => None,
    }
}

/// A number at a fixed length: without leading zeros that are too many, with those that are missing.
fn fixed(number: &[u8], length: usize) -> Vec<u8> {
    let start = number.iter().position(|octet| *octet != 0).unwrap_or(number.len());
    let digits = &number[start..];
    [&vec![0; length.checked_sub(digits.len()).expect("the number fits")], digits].concat()
}

#[test]
fn wycheproof_ecdh() {
    for (name, curve_name) in
        [("secp224r1", "P-224"), ("secp256r1", "P-256"), ("secp384r1", "P-384"), ("secp521r1", "P-521")]
    {
        let Some(cases) = cases(&format!("wycheproof/ecdh_{name}_ecpoint.json")) else { return };
        let (id, length) = curve(curve_name).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for (_, case) in &cases {
            let ours = KeyExchange::from_private(id, &fixed(&octets(case, "private"), length)).unwrap();
            let public = octets(case, "public");
            // IKE has uncompressed points only, and without the first octet.
            let Some(point) = public.strip_prefix(&[4]) else { continue };
            match (ours.agree(point), case["result"].as_str().unwrap()) {
                (Ok(shared), "valid" | "acceptable") => {
                    assert_eq!(shared.expose(), octets(case, "shared"), "{case}");
                    valid += 1;
                }
                (Err(_), "invalid") => invalid += 1,
                (result, expected) => panic!("{result:?} where {expected}: {case}"),
            }
        }
        assert!(valid > 100 && invalid > 5, "{name}: {valid} {invalid}");
    }
}

/// These have their public keys as a SubjectPublicKeyInfo that names the curve (RFC 5480): the point is at its end. What is
/// wrong with some is the curve or the encoding, which IKE does not send; those are left out.
#[test]
fn wycheproof_ecdh_brainpool() {
    for (bits, id, oid) in [
        (256, KeyExchangeId::ECP_256_BP, "2b2403030208010107"),
        (384, KeyExchangeId::ECP_384_BP, "2b240303020801010b"),
        (512, KeyExchangeId::ECP_512_BP, "2b240303020801010d"),
    ] {
        let Some(cases) = cases(&format!("wycheproof/ecdh_brainpoolP{bits}r1.json")) else { return };
        let (length, oid) = (bits / 8, unhex(oid));
        let (mut valid, mut invalid) = (0, 0);
        for (_, case) in &cases {
            let public = octets(case, "public");
            if case["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "InvalidAsn")) {
                continue;
            }
            let Some(at) = public.len().checked_sub(2 * length + 1) else { continue };
            let (head, point) = public.split_at(at);
            let names_the_curve = head.len() < 32 && head.windows(oid.len()).any(|window| window == oid);
            let Some(point) = point.strip_prefix(&[4]).filter(|_| names_the_curve) else { continue };
            let ours = KeyExchange::from_private(id, &fixed(&octets(case, "private"), length)).unwrap();
            match (ours.agree(point), case["result"].as_str().unwrap()) {
                (Ok(shared), "valid" | "acceptable") => {
                    assert_eq!(shared.expose(), octets(case, "shared"), "{case}");
                    valid += 1;
                }
                (Err(_), "invalid") => invalid += 1,
                (result, expected) => panic!("{result:?} where {expected}: {case}"),
            }
        }
        assert!(valid > 100 && invalid > 0, "{bits}: {valid} {invalid}");
    }
}

#[test]
fn wycheproof_x25519() {
    let Some(cases) = cases("wycheproof/x25519.json") else { return };
    let (mut agreed, mut zero) = (0, 0);
    for (_, case) in &cases {
        let ours = KeyExchange::from_private(KeyExchangeId::CURVE_25519, &octets(case, "private")).unwrap();
        let shared = octets(case, "shared");
        match ours.agree(&octets(case, "public")) {
            Ok(actual) => {
                assert_eq!(actual.expose(), shared, "{case}");
                agreed += 1;
            }
            // RFC 8031 section 2: all zero is refused, and nothing else is.
            Err(error) => {
                assert_eq!(error, BadPublicValue::SmallOrder(KeyExchangeId::CURVE_25519));
                assert!(shared.iter().all(|octet| *octet == 0), "{case}");
                zero += 1;
            }
        }
    }
    assert!(agreed > 400 && zero > 5, "{agreed} {zero}");
}

#[test]
fn wycheproof_mac() {
    for (file, id) in [
        ("hmac_sha1", PrfId::HMAC_SHA1),
        ("hmac_sha256", PrfId::HMAC_SHA2_256),
        ("hmac_sha384", PrfId::HMAC_SHA2_384),
        ("hmac_sha512", PrfId::HMAC_SHA2_512),
        ("aes_cmac", PrfId::AES128_CMAC),
    ] {
        let Some(cases) = cases(&format!("wycheproof/{file}.json")) else { return };
        let (prf, mut count) = (Prf::new(id).unwrap(), 0);
        for (group, case) in &cases {
            if id == PrfId::AES128_CMAC && group["keySize"] != 128 {
                continue;
            }
            let (tag, message) = (octets(case, "tag"), octets(case, "msg"));
            let actual = prf.compute(&octets(case, "key"), &[&message]);
            assert_eq!(actual.expose()[..tag.len()] == tag[..], case["result"] == "valid", "{case}");
            count += 1;
        }
        assert!(count > 50, "{file}: {count}");
    }
}

#[test]
fn wycheproof_aead() {
    for (file, nonce_len, minimum) in [("aes_gcm", 12, 100), ("aes_ccm", 11, 12), ("chacha20_poly1305", 12, 200)] {
        let Some(cases) = cases(&format!("wycheproof/{file}.json")) else { return };
        let (mut count, mut invalid) = (0, 0);
        for (group, case) in &cases {
            let (bits, iv) = (group["keySize"].as_u64().unwrap() as u16, octets(case, "iv"));
            let (id, bits) = match file {
                "aes_gcm" => (gcm(group["tagSize"].as_u64()), Some(bits)),
                "aes_ccm" => (ccm(group["tagSize"].as_u64()), Some(bits)),
                _ => (Some(EncryptionId::CHACHA20_POLY1305), None),
            };
            let (Some(id), true) = (id, iv.len() == nonce_len) else { continue };
            let cipher = Cipher::new(id, bits).unwrap();
            let (salt, iv) = iv.split_at(nonce_len - 8);
            let key = [octets(case, "key"), salt.to_vec()].concat();
            let valid = case["result"] == "valid";
            let (aad, plain) = (&*octets(case, "aad"), &*octets(case, "msg"));
            let (sealed, tag) = (&*octets(case, "ct"), &*octets(case, "tag"));
            if (Aead { cipher, key: &key, iv, aad, plain, sealed, tag, valid }).check() {
                count += 1;
                invalid += u32::from(!valid);
            }
        }
        assert!(count >= minimum, "{file}: {count} cases, {invalid} of them invalid");
    }
}

#[test]
fn wycheproof_aes_cbc() {
    let Some(cases) = cases("wycheproof/aes_cbc_pkcs5.json") else { return };
    let mut count = 0;
    for (group, case) in cases.iter().filter(|(_, case)| case["result"] == "valid") {
        let cipher = Cipher::new(EncryptionId::AES_CBC, group["keySize"].as_u64().map(|bits| bits as u16)).unwrap();
        let mut plain = octets(case, "msg");
        let padding = 16 - plain.len() % 16;
        plain.extend(vec![padding as u8; padding]);
        unauthenticated(cipher, &octets(case, "key"), &octets(case, "iv"), &plain, &octets(case, "ct"));
        count += 1;
    }
    assert!(count > 50, "{count}");
}

#[test]
fn strongswan_ciphers() {
    let files = [
        ("3des_cbc", 2),
        ("aes_cbc", 5),
        ("aes_ctr", 5),
        ("aes_gcm", 10),
        ("aes_ccm", 10),
        ("blowfish", 1),
        ("camellia_cbc", 6),
        ("chacha20poly1305", 1),
    ];
    for (file, minimum) in files {
        let Some(cases) = cases(&format!("strongswan/{file}.json")) else { return };
        let mut count = 0;
        for (_, case) in &cases {
            let bits = Some(8 * case["key_size"].as_str().unwrap().parse::<u16>().unwrap());
            let (id, bits) = match case["alg"].as_str().unwrap() {
                "ENCR_3DES" => (EncryptionId::TRIPLE_DES, None),
                "ENCR_AES_CBC" => (EncryptionId::AES_CBC, bits),
                "ENCR_AES_CTR" => (EncryptionId::AES_CTR, bits),
                "ENCR_AES_GCM_ICV8" => (EncryptionId::AES_GCM_8, bits),
                "ENCR_AES_GCM_ICV12" => (EncryptionId::AES_GCM_12, bits),
                "ENCR_AES_GCM_ICV16" => (EncryptionId::AES_GCM_16, bits),
                "ENCR_AES_CCM_ICV8" => (EncryptionId::AES_CCM_8, bits),
                "ENCR_AES_CCM_ICV12" => (EncryptionId::AES_CCM_12, bits),
                "ENCR_AES_CCM_ICV16" => (EncryptionId::AES_CCM_16, bits),
                "ENCR_BLOWFISH" if bits < Some(128) => continue,
                "ENCR_BLOWFISH" => (EncryptionId::BLOWFISH, bits),
                "ENCR_CAMELLIA_CBC" => (EncryptionId::CAMELLIA_CBC, bits),
                "ENCR_CHACHA20_POLY1305" => (EncryptionId::CHACHA20_POLY1305, None),
                other => panic!("{other}"),
            };
            let (key, iv, plain) = (octets(case, "key"), octets(case, "iv"), octets(case, "plain"));
            let cipher = Cipher::new(id, bits).unwrap();
            // Some arrays are longer than the key size beside them says, which is what counts.
            let Some(key) = key.get(..cipher.key_len()).filter(|_| iv.len() == cipher.iv_len()) else { continue };
            let encrypted = octets(case, "cipher");
            if cipher.is_aead() {
                let (sealed, tag) = encrypted.split_at(encrypted.len() - cipher.icv_len());
                let case =
                    Aead { cipher, key, iv: &iv, aad: &octets(case, "adata"), plain: &plain, sealed, tag, valid: true };
                count += u32::from(case.check());
            } else {
                unauthenticated(cipher, key, &iv, &plain, &encrypted);
                count += 1;
            }
        }
        assert!(count >= minimum, "{file}: {count}");
    }
}

#[test]
fn strongswan_macs_and_prfs() {
    let files = ["md5_hmac", "sha1_hmac", "sha2_hmac", "aes_cmac", "aes_xcbc", "kdf_prf", "kdf_prf_plus"];
    for (file, minimum) in files.into_iter().zip([10, 10, 20, 10, 10, 6, 6]) {
        let Some(cases) = cases(&format!("strongswan/{file}.json")) else { return };
        let mut count = 0;
        for (_, case) in &cases {
            let algorithm = case["alg"].as_str().unwrap();
            let key = octets(case, "key");
            if let Some(integrity) = integrity(algorithm) {
                let (actual, expected) = (integrity.compute(&key, &[&octets(case, "data")]), octets(case, "mac"));
                // One array is longer than the ICV of its algorithm.
                assert_eq!(actual, expected[..actual.len()], "{case}");
            } else if let Some(prf) = prf(algorithm.rsplit(' ').next().unwrap()) {
                let (salt, out) = (octets(case, "salt"), octets(case, "out"));
                let actual = match algorithm {
                    _ if algorithm.starts_with("KDF_PRF_PLUS,") => prf.plus(&key, &[&salt], out.len()),
                    _ if algorithm.starts_with("KDF_PRF,") => prf.compute(&salt, &[&key]),
                    _ => prf.compute(&key, &[&octets(case, "seed")]),
                };
                assert_eq!(actual.expose(), out, "{case}");
            } else {
                continue;
            }
            count += 1;
        }
        assert!(count >= minimum, "{file}: {count}");
    }
}

fn integrity(name: &str) -> Option<Integrity> {
    let id = match name {
        "AUTH_HMAC_MD5_96" => IntegrityId::HMAC_MD5_96,
        "AUTH_HMAC_MD5_128" => IntegrityId::HMAC_MD5_128,
        "AUTH_HMAC_SHA1_96" => IntegrityId::HMAC_SHA1_96,
        "AUTH_HMAC_SHA1_160" => IntegrityId::HMAC_SHA1_160,
        "AUTH_HMAC_SHA2_256_128" => IntegrityId::HMAC_SHA2_256_128,
        "AUTH_HMAC_SHA2_384_192" => IntegrityId::HMAC_SHA2_384_192,
        "AUTH_HMAC_SHA2_512_256" => IntegrityId::HMAC_SHA2_512_256,
        "AUTH_AES_XCBC_96" => IntegrityId::AES_XCBC_96,
        "AUTH_AES_CMAC_96" => IntegrityId::AES_CMAC_96,
        _ => return None,
    };
    Integrity::new(id).ok()
}

fn prf(name: &str) -> Option<Prf> {
    let id = match name {
        "PRF_HMAC_MD5" => PrfId::HMAC_MD5,
        "PRF_HMAC_SHA1" => PrfId::HMAC_SHA1,
        "PRF_HMAC_SHA2_256" => PrfId::HMAC_SHA2_256,
        "PRF_HMAC_SHA2_384" => PrfId::HMAC_SHA2_384,
        "PRF_HMAC_SHA2_512" => PrfId::HMAC_SHA2_512,
        "PRF_AES128_XCBC" => PrfId::AES128_XCBC,
        "PRF_AES128_CMAC" => PrfId::AES128_CMAC,
        _ => return None,
    };
    Prf::new(id).ok()
}

#[test]
fn strongswan_key_exchange() {
    for (file, minimum) in [("modp", 7), ("modpsub", 3), ("ecp", 5), ("ecpbp", 4), ("curve25519", 1)] {
        let Some(cases) = cases(&format!("strongswan/{file}.json")) else { return };
        let mut count = 0;
        for (_, case) in &cases {
            let id = match case["method"].as_str().unwrap() {
                "MODP_1024_BIT" => KeyExchangeId::MODP_1024,
                "MODP_1536_BIT" => KeyExchangeId::MODP_1536,
                "MODP_2048_BIT" => KeyExchangeId::MODP_2048,
                "MODP_3072_BIT" => KeyExchangeId::MODP_3072,
                "MODP_4096_BIT" => KeyExchangeId::MODP_4096,
                "MODP_6144_BIT" => KeyExchangeId::MODP_6144,
                "MODP_8192_BIT" => KeyExchangeId::MODP_8192,
                "MODP_1024_160" => KeyExchangeId::MODP_1024_160,
                "MODP_2048_224" => KeyExchangeId::MODP_2048_224,
                "MODP_2048_256" => KeyExchangeId::MODP_2048_256,
                "ECP_192_BIT" => KeyExchangeId::ECP_192,
                "ECP_224_BIT" => KeyExchangeId::ECP_224,
                "ECP_224_BP" => KeyExchangeId::ECP_224_BP,
                "ECP_256_BP" => KeyExchangeId::ECP_256_BP,
                "ECP_384_BP" => KeyExchangeId::ECP_384_BP,
                "ECP_512_BP" => KeyExchangeId::ECP_512_BP,
                "ECP_256_BIT" => KeyExchangeId::ECP_256,
                "ECP_384_BIT" => KeyExchangeId::ECP_384,
                "ECP_521_BIT" => KeyExchangeId::ECP_521,
                "CURVE_25519" => KeyExchangeId::CURVE_25519,
                _ => continue,
            };
            let seed = octets(case, "seed");
            let (first, second) = seed.split_at(seed.len() / 2);
            let initiator = KeyExchange::from_private(id, first).unwrap();
            let responder = KeyExchange::from_private(id, second).unwrap();
            assert_eq!(initiator.public(), octets(case, "pub_i"), "{id}");
            assert_eq!(responder.public(), octets(case, "pub_r"), "{id}");
            assert_eq!(initiator.agree(responder.public()).unwrap().expose(), octets(case, "shared"), "{id}");
            assert_eq!(responder.agree(initiator.public()).unwrap().expose(), octets(case, "shared"), "{id}");
            count += 1;
        }
        assert!(count >= minimum, "{file}: {count}");
    }
}
