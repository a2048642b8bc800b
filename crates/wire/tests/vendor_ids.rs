//! Every Vendor ID of the lists in the optional shared laboratory has a name here, but those whose identity their authors
//! do not know.

use wire::v1::vendor_name;

/// A list of the laboratory; `None`, with a word, where that is not here.
fn list(name: &str) -> Option<String> {
    let path = format!("{}/../../../shared/vectors/vid/{name}", env!("CARGO_MANIFEST_DIR"));
    let found = std::fs::read_to_string(&path).ok();
    if found.is_none() {
        eprintln!("SKIP: {name} is not here");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{path}: missing");
    }
    found
}

fn octets(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn those_of_strongswan_and_libreswan() {
    let Some(text) = list("vendor-ids-strongswan-libreswan.csv") else { return };
    let mut count = 0;
    for line in text.lines().skip(1) {
        // The name may be in quotes, with commas; the hexadecimal digits are the last field but one.
        let hex = line.rsplit(',').nth(1).unwrap();
        assert!(vendor_name(&octets(hex)).is_some(), "{line}");
        count += 1;
    }
    assert!(count > 240, "{count}");
}

/// An octet string that a pattern of the list matches: `.` and `[[:xdigit:]]{n}` stand for digits.
fn example(pattern: &str) -> Vec<u8> {
    let mut hex = pattern.trim_start_matches('^').trim_end_matches('$').replace('.', "1");
    while let Some((before, rest)) = hex.split_once("[[:xdigit:]]{") {
        let (count, after) = rest.split_once('}').unwrap();
        hex = format!("{before}{}{after}", "5".repeat(count.parse().unwrap()));
    }
    octets(&hex)
}

#[test]
fn those_of_ike_scan() {
    let Some(text) = list("ike-scan-vendor-ids.txt") else { return };
    let mut count = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (name, pattern) = line.split_once('\t').unwrap();
        if name.starts_with("Unknown") || name.starts_with("Maybe") {
            continue;
        }
        assert!(vendor_name(&example(pattern.trim())).is_some(), "{line}");
        count += 1;
    }
    assert!(count > 400, "{count}");
}
