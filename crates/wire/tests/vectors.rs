//! Datagrams that others made, good and bad: nothing may panic, and the known ones must be understood.

mod shared;

use std::path::{Path, PathBuf};

use wire::grammar::{self, Protection, Sender};
use wire::v2::Payload;
use wire::{Flags, HEADER_LEN, Header, PayloadType, ProtocolId, TransformType, Version, esp, fuzzing, v1, v2};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Feeds every tail of a frame that can be its UDP payload; returns how many of them are IKE messages. Nothing of link,
/// IP and UDP headers needs to be known: a header counts only where its Length fits, with or without Ethernet's padding.
fn frame(frame: &[u8]) -> usize {
    (0..frame.len().min(80)).filter(|start| fuzzing::parse_anything(&frame[*start..]).header).count()
}

/// The frames of a classic capture file, of either byte order; nothing for other formats.
fn frames(capture: &[u8]) -> Vec<&[u8]> {
    let number: fn([u8; 4]) -> u32 = match capture.first_chunk() {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => u32::from_le_bytes,
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => u32::from_be_bytes,
        _ => return Vec::new(),
    };
    let (mut rest, mut frames) = (capture.get(24..).unwrap_or_default(), Vec::new());
    while let Some((header, tail)) = rest.split_first_chunk::<16>() {
        let length = number([header[8], header[9], header[10], header[11]]) as usize;
        let Some((frame, tail)) = tail.split_at_checked(length) else { break };
        frames.push(frame);
        rest = tail;
    }
    frames
}

/// Every run of hexadecimal digits between quotation marks.
fn hex_strings(text: &str) -> Vec<Vec<u8>> {
    text.split('"')
        .filter(|part| part.len() >= 16 && part.len() % 2 == 0 && part.bytes().all(|octet| octet.is_ascii_hexdigit()))
        .map(|part| (0..part.len()).step_by(2).map(|at| u8::from_str_radix(&part[at..at + 2], 16).unwrap()).collect())
        .collect()
}

#[test]
fn single_datagrams_of_other_tools() {
    let Some(folder) = shared::vectors("pkt") else { return };
    let mut headers = 0;
    for path in files(&folder) {
        let octets = std::fs::read(&path).unwrap();
        headers += frame(&octets);
        if path.extension().is_some_and(|extension| extension == "json") {
            headers +=
                hex_strings(std::str::from_utf8(&octets).unwrap()).iter().map(|octets| frame(octets)).sum::<usize>();
        }
    }
    assert!(headers >= 20, "only {headers} IKE messages found");
}

#[test]
fn captures_of_other_tools() {
    let Some(folder) = shared::vectors("pcap") else { return };
    let (mut captures, mut headers) = (0, 0);
    for path in files(&folder) {
        let octets = std::fs::read(&path).unwrap();
        let frames = frames(&octets);
        captures += usize::from(!frames.is_empty());
        headers += frames.into_iter().map(frame).sum::<usize>();
    }
    // 161 of the datagrams on ports 500 and 4500 have the length that their header says.
    assert!(captures > 100 && headers >= 161, "only {headers} IKE messages in {captures} captures");
}

/// What ike-scan says of its own samples (EXPECTED-DECODES.txt).
#[test]
fn samples_of_ike_scan() {
    let Some(folder) = shared::vectors("pkt/ike-scan") else { return };
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();

    let datagram = read("pkt-v2-sainit-response.dat");
    let message = v2::Message::parse(&datagram).unwrap();
    assert_eq!(message.header.spis.responder.to_string(), "224bb31e5cd6a0db");
    let [Payload::Sa(proposals), Payload::Ke(ke), Payload::Nonce(nonce)] = &message.payloads[..] else {
        panic!("SA, KE, Nr: {:?}", message.payloads)
    };
    // Its SA says group 14 and its KE payload group 2: for the format that is none of our business.
    assert_eq!((ke.method.0, ke.data.len(), nonce.len()), (2, 128, 16));
    assert_eq!(proposals[0].protocol, ProtocolId::IKE);
    let chosen: Vec<_> = proposals[0].transforms.iter().map(|t| (t.kind, t.id, t.key_length)).collect();
    assert!(chosen.contains(&(TransformType::ENCR, 12, Some(128))));
    assert!(chosen.contains(&(TransformType::INTEG, 2, None)) && chosen.contains(&(TransformType::PRF, 2, None)));
    assert!(chosen.contains(&(TransformType::KE, 14, None)));

    let datagram = read("pkt-v2-notify-response.dat");
    let message = v2::Message::parse(&datagram).unwrap();
    assert!(matches!(&message.payloads[..], [Payload::Notify(notify)] if notify.kind.0 == 14));

    // Main mode: 3DES (5), SHA-1 (2), RSA signatures (3), group 2, 28,800 seconds.
    for name in ["pkt-main-mode-response.dat", "pkt-main-natt-response.dat"] {
        let mut datagram = read(name);
        if let esp::Port4500::Ike(message) = esp::classify(&datagram) {
            datagram = message.to_vec();
        }
        let (_, payloads) = v1::payloads(&datagram).unwrap();
        let raw: Vec<_> = payloads.unwrap().collect::<Result<_, _>>().unwrap();
        let kinds: Vec<_> = raw.iter().map(|raw| raw.kind).collect();
        assert_eq!(kinds, [PayloadType::V1_SA, PayloadType::V1_VENDOR_ID], "{name}");
        let sa = v1::parse_sa(raw[0]).unwrap();
        let transform = &sa.proposals[0].transforms[0];
        assert_eq!([1, 2, 3, 4, 11, 12].map(|class| transform.get(class)), [5, 2, 3, 2, 1, 28800].map(Some), "{name}");
    }
    let datagram = read("pkt-default-proposal.dat");
    let raw = v1::payloads(&datagram).unwrap().1.unwrap().next().unwrap().unwrap();
    assert_eq!(v1::parse_sa(raw).unwrap().proposals[0].transforms.len(), 8);
}

/// The IKEv1 messages that stand anywhere near the start of a frame. A header counts only where its Length fits and its
/// fields make sense, so that nothing of link, IP and UDP needs to be known.
fn ikev1_messages(frame: &[u8]) -> Vec<&[u8]> {
    let is_one = |datagram: &&[u8]| {
        Header::parse(datagram).is_ok_and(|header| {
            header.version == Version::V1
                && !header.spis.initiator.is_zero()
                && matches!(header.exchange.0, 1..=6 | 32 | 33)
                && header.next_payload.name().is_some_and(|name| name.starts_with("V1_"))
        })
    };
    (0..frame.len().min(80)).map(|start| &frame[start..]).filter(is_one).collect()
}

/// What IKEv1 messages of others are in this folder, each with its file's name.
fn ikev1_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for path in files(folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let octets = std::fs::read(&path).unwrap();
        let mut inputs: Vec<Vec<u8>> = frames(&octets).into_iter().map(<[u8]>::to_vec).collect();
        if name.ends_with(".json") {
            inputs.extend(hex_strings(std::str::from_utf8(&octets).unwrap()));
        } else if inputs.is_empty() {
            inputs.push(octets);
        }
        let messages = inputs.iter().flat_map(|input| ikev1_messages(input)).map(<[u8]>::to_vec);
        all.extend(messages.map(|message| (name.clone(), message)));
    }
    all
}

/// Each IKEv1 message in the clear is understood in full and is one of the grammar's; each encrypted one is left alone.
#[test]
fn ikev1_messages_of_others_are_understood() {
    let (Some(captures), Some(single)) = (shared::vectors("pcap"), shared::vectors("pkt")) else { return };
    let (mut clear, mut encrypted, mut refused, mut other) = (0, 0, Vec::new(), Vec::new());
    for (name, datagram) in ikev1_of(&captures).into_iter().chain(ikev1_of(&single)) {
        let (header, chain) = Header::split(&datagram).unwrap();
        if header.flags.contains(Flags::ENCRYPTION) {
            assert!(v1::payloads(&datagram).unwrap().1.is_none());
            encrypted += 1;
            continue;
        }
        let chain = match v1::parse_chain(header.next_payload, chain, HEADER_LEN, false) {
            Ok(chain) => chain,
            Err(error) => {
                refused.push(format!("{name}: {error}"));
                continue;
            }
        };
        assert_eq!((chain.octets.len() + HEADER_LEN, chain.padding), (datagram.len(), 0));
        clear += 1;
        let rule = [Sender::Initiator, Sender::Responder].into_iter().find_map(|sender| {
            grammar::classify(header.exchange, sender, Protection::Clear, &chain.set()).and_then(Result::ok)
        });
        if rule.is_none() {
            other.push(format!("{name}: {} {}", header.exchange, chain.set()));
        }
    }
    eprintln!("{clear} clear, {encrypted} encrypted");
    assert_eq!((refused.join("\n"), other.join("\n")), (String::new(), String::new()));
    assert!(clear >= 40 && encrypted >= 30, "{clear} clear, {encrypted} encrypted");
}

/// Vendor IDs by the names and patterns that ike-scan and libreswan have for them.
#[test]
fn vendor_ids_have_the_names_others_give_them() {
    let Some(folder) = shared::vectors("vid") else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let hex = |vendor: v1::VendorId| vendor.octets().iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let ike_scan = read("ike-scan-vendor-ids.txt");
    for vendor in v1::VendorId::ALL {
        // "Name<Tab>^pattern", the pattern all of the octets.
        let names: Vec<_> = ike_scan
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(_, pattern)| pattern.trim().trim_start_matches('^') == hex(vendor))
            .map(|(name, _)| name.replace(" v1.0", ""))
            .collect();
        assert_eq!(names, [vendor.name()], "{vendor:?}");
    }
    let table = read("vendor-ids-strongswan-libreswan.csv");
    let (mut known, mut nat) = (0, 0);
    for line in table.lines().skip(1) {
        let cells: Vec<_> = line.split(',').collect();
        let [_, name, octets, ..] = cells[..] else { continue };
        let Some(octets) = hex_strings(&format!("\"{octets}\"")).pop() else { continue };
        let Some(vendor) = v1::VendorId::recognise(&octets) else {
            assert!(!name.contains("RFC 3947") && !name.ends_with("nat-t-ike-03"), "{line}");
            continue;
        };
        known += 1;
        nat += usize::from(vendor.nat_traversal().is_some());
        let words: &[&str] = match vendor {
            v1::VendorId::Rfc3947 => &["RFC 3947"],
            v1::VendorId::NatTraversalDraft03 => &["nat-t-ike-03"],
            v1::VendorId::NatTraversalDraft02 | v1::VendorId::NatTraversalDraft02LineFeed => &["nat-t-ike-02"],
            v1::VendorId::DeadPeerDetection => &["DPD"],
            v1::VendorId::Xauth => &["XAuth", "XAUTH"],
            v1::VendorId::Unity => &["Unity"],
            v1::VendorId::Fragmentation => &["FRAGMENTATION"],
        };
        assert!(words.iter().any(|word| name.contains(word)), "{line} is not {vendor}");
    }
    assert!(known >= 12 && nat >= 5, "{known} known, {nat} of NAT traversal");
}
