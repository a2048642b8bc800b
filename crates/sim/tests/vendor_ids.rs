//! Names of Vendor IDs that are MD5 of a known text: the value follows from the text.

use crypto::v1::Hash;
use wire::OakleyHash;
use wire::v1::vendor_name;

/// MD5: the first IV of phase 1 is the hash of the two public values (RFC 2409 appendix B).
fn md5(text: &str) -> Vec<u8> {
    crypto::v1::phase1_iv(Hash::new(OakleyHash(1)).unwrap(), text.as_bytes(), &[], 16)
}

#[test]
fn implementations_that_hash_their_own_name() {
    let strongswan = [
        (2, 2, 0..=2),
        (2, 3, 0..=2),
        (2, 4, 0..=4),
        (2, 5, 0..=7),
        (2, 6, 0..=4),
        (2, 7, 0..=3),
        (2, 8, 0..=9),
        (4, 0, 0..=7),
        (4, 1, 0..=11),
        (4, 2, 0..=9),
        (4, 3, 0..=5),
        (4, 4, 0..=1),
        (4, 5, 0..=3),
        (4, 6, 0..=4),
        (5, 0, 0..=4),
        (5, 1, 0..=1),
    ];
    for (major, minor, patches) in strongswan {
        for patch in patches {
            let name = format!("strongSwan {major}.{minor}.{patch}");
            assert_eq!(vendor_name(&md5(&name)), Some(name.as_str()));
        }
    }
    for version in ["1.1.0", "1.1.1", "1.1.2", "1.2.1", "1.2.2"] {
        let text = format!("Ssh Communications Security IPSEC Express version {version}");
        assert_eq!(vendor_name(&md5(&text)), Some(format!("SSH IPSEC Express {version}").as_str()));
    }
    for version in ["2.0.0", "2.1.0", "2.1.1", "2.1.2", "3.0.0", "3.0.1", "4.0.0", "4.0.1", "4.1.0", "4.2.0"] {
        let text = format!("SSH Communications Security IPSEC Express version {version}");
        assert_eq!(vendor_name(&md5(&text)), Some(format!("SSH IPSEC Express {version}").as_str()));
    }
    for version in ["", " 1.1", " 1.2", " 1.3", " 1.4", " 1.4.1"] {
        let name = format!("SSH Sentinel{version}");
        assert_eq!(vendor_name(&md5(&name)), Some(name.as_str()));
    }
}

#[test]
fn extensions_that_hash_the_text_that_describes_them() {
    let other = [
        ("Vid-Initial-Contact", "Windows initial contact"),
        ("Microsoft Xbox One 2013", "Xbox One"),
        ("MSFT IPsec Security Realm Id", "Windows security realm"),
        ("GSSAPI", "GSS-API"),
        ("draft-huttunen-ipsec-esp-in-udp-00.txt", "draft-huttunen-ipsec-esp-in-udp-00"),
        ("Testing NAT-T RFC", "NAT-T, before RFC 3947 had its number"),
        ("RFC XXXX", "NAT-T, before RFC 3947 had its number"),
        ("RFC 3947", "RFC 3947 NAT-T"),
    ];
    for (text, name) in other {
        assert_eq!(vendor_name(&md5(text)), Some(name), "{text}");
    }
    for number in ["00", "02", "03", "04", "05", "06", "07", "08", "09"] {
        let name = format!("draft-ietf-ipsec-nat-t-ike-{number}");
        assert_eq!(vendor_name(&md5(&name)), Some(name.as_str()));
    }
}
