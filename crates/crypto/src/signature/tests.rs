use super::*;

const MESSAGE: &[u8] = b"not a message but a fixture";

macro_rules! fake {
    ($name:literal) => {
        include_bytes!(concat!("fake-keys/", $name))
    };
}

fn key(octets: &[u8]) -> PrivateKey {
    PrivateKey::parse(octets, None).unwrap()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter_map(|d| char::from(d).to_digit(16).map(|d| d as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    let rsa = key(fake!("rsa-pkcs1.pem"));
    assert_eq!(rsa.public().kind(), KeyKind::Rsa(2048));
    for (form, passphrase) in [
        (&fake!("rsa-pkcs8.pem")[..], None),
        (&fake!("rsa-rfc1421-encrypted.pem")[..], Some(&b"not-a-secret"[..])),
        (&fake!("rsa-pkcs8-encrypted.pem")[..], Some(b"not-a-secret")),
        (&fake!("rsa-pkcs8-encrypted.der")[..], Some(b"not-a-secret")),
    ] {
        assert_eq!(PrivateKey::parse(form, passphrase).unwrap().public(), rsa.public());
    }
    let der = keys::from_pem(fake!("rsa-pkcs1.pem"), None).unwrap();
    assert_eq!(key(&der).public(), rsa.public());
    for (form, kind) in [
        (&fake!("ecdsa-p256-sec1.pem")[..], KeyKind::EcdsaP256),
        (&fake!("ecdsa-p384-sec1.pem")[..], KeyKind::EcdsaP384),
        (&fake!("ecdsa-p521-sec1.pem")[..], KeyKind::EcdsaP521),
        (&fake!("ed25519-pkcs8.pem")[..], KeyKind::Ed25519),
    ] {
        assert_eq!(key(form).public().kind(), kind);
    }
}

#[test]
fn what_is_no_usable_key_says_why() {
    for (form, passphrase, why) in [
        (&fake!("rsa-rfc1421-encrypted.pem")[..], None, InvalidPrivateKey::Encrypted),
        (&fake!("rsa-pkcs8-encrypted.pem")[..], None, InvalidPrivateKey::Encrypted),
        (&fake!("rsa-pkcs8-encrypted.der")[..], None, InvalidPrivateKey::Encrypted),
        (&fake!("rsa-pkcs8-encrypted.pem")[..], Some(&b"wrong"[..]), InvalidPrivateKey::WrongPassphrase),
        (&fake!("rsa-rfc1421-encrypted.pem")[..], Some(b"wrong"), InvalidPrivateKey::WrongPassphrase),
        (&fake!("rsa-too-short.pem")[..], None, InvalidPrivateKey::Unsupported),
        (&fake!("ecdsa-brainpool.pem")[..], None, InvalidPrivateKey::Unsupported),
        (&b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"[..], None, InvalidPrivateKey::Malformed),
    ] {
        assert_eq!(PrivateKey::parse(form, passphrase).unwrap_err(), why);
    }
    assert!(PrivateKey::parse(b"", None).is_err() && PrivateKey::parse(&[0x30; 40], Some(b"x")).is_err());
    assert_eq!(format!("{:?}", key(fake!("ed25519-pkcs8.pem"))), "PrivateKey(ED25519-256, <hidden>)");
}

#[test]
fn what_one_end_signs_the_other_verifies() {
    use HashAlgorithm as H;
    let mut all = vec![Scheme::RsaRaw, Scheme::EcdsaFixed, Scheme::Ed25519];
    for hash in [H::SHA1, H::SHA2_256, H::SHA2_384, H::SHA2_512] {
        all.extend([Scheme::RsaPkcs1(hash), Scheme::RsaPss(hash), Scheme::Ecdsa(hash)]);
    }
    let keys = [
        key(fake!("rsa-pkcs1.pem")),
        key(fake!("ecdsa-p256-sec1.pem")),
        key(fake!("ecdsa-p384-sec1.pem")),
        key(fake!("ecdsa-p521-sec1.pem")),
        key(fake!("ed25519-pkcs8.pem")),
    ];
    let mut signed = 0;
    for key in &keys {
        for scheme in &all {
            let Some(mut signature) = key.sign(*scheme, MESSAGE) else { continue };
            signed += 1;
            assert!(scheme.fits(key.public().kind()), "{scheme}");
            assert!(key.public().verify(*scheme, MESSAGE, &signature), "{scheme} by {}", key.public().kind());
            assert!(!key.public().verify(*scheme, b"another", &signature), "{scheme}");
            for other in all.iter().filter(|other| *other != scheme) {
                assert!(!key.public().verify(*other, MESSAGE, &signature), "{scheme} taken for {other}");
            }
            *signature.last_mut().unwrap() ^= 1;
            assert!(!key.public().verify(*scheme, MESSAGE, &signature), "{scheme}, one bit changed");
            signature.pop();
            assert!(!key.public().verify(*scheme, MESSAGE, &signature), "{scheme}, one octet short");
        }
    }
    // RSA: four hashes, three with PSS, and raw; two for each curve; Ed25519.
    assert_eq!(signed, 8 + 3 * 2 + 1);
}

#[test]
fn a_hash_that_is_made_already_is_signed_as_it_is() {
    for (form, length) in [
        (&fake!("ecdsa-p256-sec1.pem")[..], 32),
        (&fake!("ecdsa-p384-sec1.pem")[..], 48),
        (&fake!("ecdsa-p521-sec1.pem")[..], 64),
    ] {
        let key = key(form);
        let hash = vec![0x5a; length];
        let signature = key.sign(Scheme::EcdsaDigest, &hash).unwrap();
        assert!(key.public().verify(Scheme::EcdsaDigest, &hash, &signature));
        assert!(!key.public().verify(Scheme::EcdsaDigest, &vec![0x5b; length], &signature));
        assert!(!key.public().verify(Scheme::EcdsaFixed, &hash, &signature), "not hashed once more");
        // What is signed with a hash is the same signature over that hash.
        let hashed = key.sign(Scheme::EcdsaFixed, MESSAGE).unwrap();
        let digest = digest_of(key.public().kind().hash(), MESSAGE).unwrap();
        assert!(key.public().verify(Scheme::EcdsaDigest, digest.as_ref(), &hashed));
        assert_eq!(key.sign(Scheme::EcdsaDigest, &hash[1..]), None);
        assert!(!key.public().verify(Scheme::EcdsaDigest, &hash[1..], &signature));
        // A hash of another curve: the leftmost bits count, and zeros before it change nothing.
        for other in [32, 48, 64].into_iter().filter(|other| *other != length) {
            let other = vec![0x5a; other];
            let signature = key.sign(Scheme::EcdsaDigest, &other).unwrap();
            let same = match other.len() > length {
                true => other[..length].to_vec(),
                false => [vec![0; length - other.len()], other.clone()].concat(),
            };
            assert!(key.public().verify(Scheme::EcdsaDigest, &same, &signature));
            let mut changed = other.clone();
            changed[0] ^= 1;
            assert!(!key.public().verify(Scheme::EcdsaDigest, &changed, &signature));
        }
    }
}

/// Made with OpenSSL from the fake keys.
#[test]
fn signatures_of_another_implementation_are_taken() {
    let rsa = key(fake!("rsa-pkcs1.pem"));
    let sha256 = octets(
        "6daadb79a85a13325a6e83dc2468ce38ec08387b3ae3b99ca977c20b54a0d0b62a5fd07d26635c4cd6283d493d385d9fd02c\
             28d09a533763a6eb26f98db625f148158354ab93571b07805eca46cfb4a86b0d393d0a83564e913fef3afdb204f97f826a1c\
             ae8231e47fbdaa6a648dd93500f5b0b2a3f3cf7d00d8cd3caa5d0fedff56fdee63ce8383045ec81565b10a1c4d4d9bddf2f1\
             921664a6dc5c86f7de0df1746f9104ac368aec36d84c2cb1175a98e10fc1c6c8377052b35c6dbe68397442398b5fcb211f76\
             eae12ccc6ac4ac5a71def8ff04461a106bfc24587543fa5b17dec071ee06134e2139f14a3b707ac4c7e1b0f9d0194cfeadc0\
             0eae33e28263",
    );
    assert_eq!(rsa.sign(Scheme::RsaPkcs1(HashAlgorithm::SHA2_256), MESSAGE).unwrap(), sha256);
    let sha1 = octets(
        "534203512589d77658683c47ded44e064cd02dc643e72d99c170cf1dfacd4ff35b2fa280281e38e9b4d9f8df94fd15ce4000\
             561f9a49e654f79f13799b948f0a1deed2258d122d0b33ebf7a9b0bfe5135a9bcdae04fa9aade2e5cc2dba5ac89ccc290358\
             47b1f539df05a3e8d65d2be5ecaf8c11fe735213f69e8c792e8b8ca8268a4068514b93908fd1236da3611fa5f9a745d4fdb1\
             6f74edf42cdadfe8d9d4a9216ac1ffd1bfb77aef83c641960a1f6bd968126797671292aeb8ec29332167e6b340c4153360a8\
             b91b5a39a016ae0dffa1cbde6297a3f47159c7fca8fbeb95f43ac00cd7788adf1d8f934a334e538fb1571197903907565081\
             0415bf59d9f3",
    );
    assert_eq!(rsa.sign(Scheme::RsaPkcs1(HashAlgorithm::SHA1), MESSAGE).unwrap(), sha1);
    let raw = octets(
        "88a2ad6e7ad9cf4a0620165bc7080dadacf441b7718ea9a2b9b53950a03d05dcb298fbc94dcbcff0ce2ccd33039d9005c3c2\
             cc019ff4ebabbb7d616eb81a6a2aa37fc03584132f277ab4d42a451ee2ed40485854fdc910c2a1bbedec9c08dadb6a455a8d\
             d21ce181c0d4e541e5fd554498b95cfb61232bdb956b933d23df354ef310d0d4389232301300be704a1fa1538c4cb201d55a\
             bad8c9449654e636670b7cf7eb9a63b1d9b36c3a643cf1d744cc87a5a1280fba8a92d2b8590bb616597276a00d5f4dfd3404\
             c3fce10d7aa89657f70723e2939824832bd3123e7eb5ce0e3a2b48d2aaab58dc24aa1c66753d6c74457e5b3c64b71238e73f\
             ec9d0e37ec1b",
    );
    assert_eq!(rsa.sign(Scheme::RsaRaw, MESSAGE).unwrap(), raw);
    let pss = octets(
        "a6bebddaf202a926b63e286ac85ae2cf320c616f2354a46c4199c06d6ac6efb33d3197bdd4b398298a5749dbc581ee1c5eff\
             3079a1eaa32334de843e4acf5445cb6fbc738da35f104ee257d3e7cac9fbaf65e133f9f22244e3cf6af6741b0998d5a3c639\
             2d2522e70ad29cc3bda6b95555f2283297bbfb230a2d376727a191905b9d7719dc33022c4243cd16c04bbd6c76a280c441cc\
             c1a774e22b206e0ee1c21e9e8430b64bf20154fc1f899677c51993eeb14204711aa9eaf5b9afc77a1b303cec6c4f3059d157\
             326efbfad59b1cc9c65f6bbf0634a7838e312eee7445a9c7701a1aff34af99c2bd573970bdd57c483a2407f60524d1e150e2\
             b4208436a0ce",
    );
    assert!(rsa.public().verify(Scheme::RsaPss(HashAlgorithm::SHA2_256), MESSAGE, &pss));
    let ecdsa = octets(
        "306502301890ed54abd5b13fd4035380d46bb96dfd0fd912759bceed0f2eca71ffa94c01ee61da8bffea62251ed05027915b\
             25c3023100d734d6bfb0d9da025cfeccfbe3e1ba92313d78b0b2425533b2b905c485d50f1a55cd08bc8936460d6d973d41f8\
             b2a3de",
    );
    let p384 = key(fake!("ecdsa-p384-sec1.pem"));
    assert!(p384.public().verify(Scheme::Ecdsa(HashAlgorithm::SHA2_384), MESSAGE, &ecdsa));
}

/// RFC 7427 appendix A.1.2, A.3.2 and A.4.3; RFC 8420 section 3.
#[test]
fn algorithm_identifiers_are_those_of_the_rfcs() {
    use HashAlgorithm as H;
    for (scheme, der) in [
        (Scheme::RsaPkcs1(H::SHA2_256), "300d06092a864886f70d01010b0500"),
        (Scheme::RsaPkcs1(H::SHA1), "300d06092a864886f70d0101050500"),
        (Scheme::Ecdsa(H::SHA2_256), "300a06082a8648ce3d040302"),
        (Scheme::Ecdsa(H::SHA1), "300906072a8648ce3d0401"),
        (
            Scheme::RsaPss(H::SHA2_256),
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d060960\
             86480165030402010500a203020120",
        ),
        (Scheme::Ed25519, "300506032b6570"),
    ] {
        assert_eq!(scheme.algorithm_identifier().unwrap(), octets(der), "{scheme}");
        assert_eq!(Scheme::from_algorithm_identifier(&octets(der)), Some(scheme));
    }
    assert_eq!(Scheme::from_algorithm_identifier(&pss(H::SHA2_384, false).unwrap()), Some(Scheme::RsaPss(H::SHA2_384)));
    assert_eq!(Scheme::from_algorithm_identifier(b""), None);
}
