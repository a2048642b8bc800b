//! Datagrams that others made, good and bad: nothing may panic, and the known ones must be understood.

mod shared;

use std::path::{Path, PathBuf};

use wire::v2::Payload;
use wire::{PayloadType, ProtocolId, TransformType, esp, fuzzing, v1, v2};

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
        let attributes = &sa.proposals[0].transforms[0].attributes;
        let value = |kind| attributes.iter().find(|a| a.kind == kind).and_then(|a| a.value.number());
        assert_eq!([1, 2, 3, 4, 11, 12].map(value), [5, 2, 3, 2, 1, 28800].map(Some), "{name}");
    }
    let datagram = read("pkt-default-proposal.dat");
    let raw = v1::payloads(&datagram).unwrap().1.unwrap().next().unwrap().unwrap();
    assert_eq!(v1::parse_sa(raw).unwrap().proposals[0].transforms.len(), 8);
}
