//! The known answers of others for IKEv1, in full: NIST's key derivations, real aggressive modes, and a capture whose
//! key is known. The files lie beside the project and are not part of it; where they are missing a test says so and
//! passes, except under `CI=true`.

use crypto::v1::{self, Hash};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use wire::grammar::{self, Protection, RuleId, Sender};
use wire::registry::{OakleyAttribute, OakleyEncryption, OakleyHash};
use wire::{Flags, HEADER_LEN, Header, IkeSpi, Secret, Version};

/// A file, unpacked. `None`, after saying so, if it is not there.
fn octets(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")).join(name);
    let Ok(file) = std::fs::read(&path) else {
        eprintln!("SKIP: {name} is not here");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{name} must be here in CI");
        return None;
    };
    if !name.ends_with(".gz") {
        return Some(file);
    }
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&file[..]).read_to_end(&mut unpacked).unwrap();
    Some(unpacked)
}

fn text(name: &str) -> Option<String> {
    octets(name).map(|octets| String::from_utf8(octets).unwrap())
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn cookie(octets: Vec<u8>) -> IkeSpi {
    IkeSpi(octets.try_into().unwrap())
}

/// Every case of a CAVS file; `skeyid` computes SKEYID.
fn cavs(name: &str, skeyid: impl Fn(Hash, &dyn Fn(&str) -> Vec<u8>) -> Secret) {
    let Some(text) = text(name) else { return };
    let (mut hash, mut case, mut count) = (None, HashMap::new(), 0);
    for line in text.lines().map(str::trim).chain([""]).filter(|line| !line.starts_with('#')) {
        if let Some(id) = line.strip_prefix("[SHA-").and_then(|rest| rest.strip_suffix(']')) {
            hash = Some(match id {
                "1" => OakleyHash::SHA1,
                "256" => OakleyHash::SHA2_256,
                "384" => OakleyHash::SHA2_384,
                "512" => OakleyHash::SHA2_512,
                other => panic!("{other}"),
            });
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with('[')) {
            case.insert(name.to_string(), value.to_string());
        } else if line.is_empty() && case.contains_key("SKEYID_e") {
            let hash = Hash::new(hash.unwrap()).unwrap();
            let get = |name: &str| unhex(&case[name]);
            let g_xy = Secret::new(get("g^xy"));
            let keys = v1::derive(hash.prf(), skeyid(hash, &get), &g_xy, cookie(get("CKY_I")), cookie(get("CKY_R")));
            for (name, key) in [
                ("SKEYID", &keys.skeyid),
                ("SKEYID_d", &keys.skeyid_d),
                ("SKEYID_a", &keys.skeyid_a),
                ("SKEYID_e", &keys.skeyid_e),
            ] {
                assert_eq!(key.expose(), get(name), "{name} of {case:?}");
            }
            case.clear();
            count += 1;
        }
    }
    assert!(case.is_empty());
    assert_eq!(count, text.lines().filter(|line| line.starts_with("COUNT")).count());
    assert!(count > 100, "{count}");
}

#[test]
fn nist_cavs_pre_shared_keys() {
    cavs("kat/nist-cavs-ike/ikev1_psk.even.fax.gz", |hash, get| {
        v1::skeyid_psk(hash.prf(), &get("pre-shared-key"), &get("Ni"), &get("Nr"))
    });
}

#[test]
fn nist_cavs_signatures() {
    cavs("kat/nist-cavs-ike/ikev1_dsa.even.fax.gz", |hash, get| {
        v1::skeyid_signature(hash.prf(), &get("Ni"), &get("Nr"), &Secret::new(get("g^xy")))
    });
}

/// HASH_R of real aggressive modes.
#[test]
fn real_aggressive_modes() {
    let Some(text) = text("kat/ike-psk/ikev1-aggressive-hash_r.json") else { return };
    let root: Value = serde_json::from_str(&text).unwrap();
    let mut checked = 0;
    for case in root["vectors"].as_array().unwrap() {
        let get = |name: &str| unhex(case[name].as_str().unwrap());
        let id = match case["hash"].as_str().unwrap() {
            "sha1" => OakleyHash::SHA1,
            "md5" => OakleyHash::MD5,
            other => panic!("{other}"),
        };
        let hash = Hash::new(id).unwrap();
        let psk = case["psk"].as_str().unwrap().as_bytes();
        let skeyid = v1::skeyid_psk(hash.prf(), psk, &get("ni_b"), &get("nr_b"));
        assert_eq!(skeyid.expose(), get("skeyid"));
        let (g_xi, g_xr, sai_b, idir_b) = (get("g_xi"), get("g_xr"), get("sai_b"), get("idir_b"));
        let (cky_i, cky_r) = (cookie(get("cky_i")), cookie(get("cky_r")));
        let actual = v1::hash_r(hash.prf(), &skeyid, &g_xi, &g_xr, cky_i, cky_r, &sai_b, &idir_b);
        assert_eq!(actual.expose(), get("hash_r"), "{case}");
        checked += 1;
    }
    assert_eq!(checked, 4);
}

/// The IKE messages of a classic little-endian capture of IPv4 over Ethernet, in order.
fn datagrams(capture: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(capture[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    let (mut rest, mut datagrams) = (&capture[24..], Vec::new());
    while let Some((header, tail)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (frame, tail) = tail.split_at(length);
        rest = tail;
        let ip = &frame[14..];
        let udp = &ip[usize::from(ip[0] & 15) * 4..];
        let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
        datagrams.push(udp[8..length].to_vec());
    }
    datagrams
}

/// Main mode with RSA signatures and Quick Mode, as Wireshark's own tests have it, with the key they give: the chain of
/// IVs is right where each decrypted message is a chain of payloads with nothing but padding after it.
///
/// The two IVs that are hashes stand here as numbers: MD5(g^xi | g^xr) and MD5(last block of message 6 | M-ID), eight
/// octets of each.
#[test]
fn a_capture_is_decrypted() {
    let Some(capture) = octets("pcap/wireshark/ikev1-certs.pcap") else { return };
    let key = unhex("735be0cb62f82675c4f7bf8fbab9b56834ba76d6ab4fa240"); // beside the capture, in KEYS.txt
    let mut ivs = HashMap::from([(0, unhex("f39411fd5481b85c")), (0xf2cf_e203, unhex("3f875b502a873685"))]);
    let (mut seen, mut read, mut cipher) = (Vec::new(), Vec::new(), None);
    for mut datagram in datagrams(&capture) {
        // A message that was sent again goes through the chain of IVs once.
        if seen.contains(&datagram) {
            continue;
        }
        seen.push(datagram.clone());
        let header = Header::parse(&datagram).unwrap();
        assert_eq!(header.version, Version::V1);
        let content = &mut datagram[HEADER_LEN..];
        let encrypted = header.flags.contains(Flags::ENCRYPTION);
        if encrypted {
            let cipher: &v1::Cipher = cipher.as_ref().unwrap();
            let iv = ivs.get_mut(&header.message_id).unwrap();
            *iv = cipher.decrypt(iv, content).unwrap();
        }
        let chain = wire::v1::parse_chain(header.next_payload, content, HEADER_LEN, encrypted).unwrap();
        assert!(chain.padding < 8 && !chain.reserved, "{chain:?}");
        if let Some(sa) = chain.sa().filter(|_| !encrypted) {
            let chosen = &sa.proposals[0].transforms[0];
            let get = |class: OakleyAttribute| chosen.get(class.0).and_then(|value| u16::try_from(value).ok());
            assert_eq!(get(OakleyAttribute::HASH_ALGORITHM), Some(OakleyHash::MD5.0));
            let id = OakleyEncryption(get(OakleyAttribute::ENCRYPTION_ALGORITHM).unwrap());
            let resolved = v1::cipher(id, get(OakleyAttribute::KEY_LENGTH)).unwrap();
            cipher = Some(v1::Cipher::new(resolved, &key).unwrap());
        }
        let sender = if read.len() % 2 == 0 { Sender::Initiator } else { Sender::Responder };
        let protection = if encrypted { Protection::Encrypted } else { Protection::Clear };
        read.push(grammar::classify(header.exchange, sender, protection, &chain.set()).unwrap().unwrap().id);
    }
    let expected = [
        RuleId::MainMode1,
        RuleId::MainMode2,
        RuleId::MainMode3,
        RuleId::MainMode4,
        RuleId::MainMode5Signature,
        RuleId::MainMode6Signature,
        RuleId::QuickMode1,
        RuleId::QuickMode2,
        RuleId::QuickMode3,
    ];
    assert_eq!(read, expected);
}
