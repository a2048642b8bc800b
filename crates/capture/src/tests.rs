use proptest::prelude::*;

use super::*;

mod pieces;

/// Ethernet, one VLAN tag, IPv4, UDP.
fn frame(port: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x81, 0, 0, 7, 8, 0]);
    let total = u16::try_from(28 + data.len()).unwrap();
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend(port.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend((total - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(data);
    frame
}

fn word(big: bool, number: u32) -> [u8; 4] {
    if big { number.to_be_bytes() } else { number.to_le_bytes() }
}

fn pcap(big: bool, magic: u32, fraction: u32, packet: &[u8]) -> Vec<u8> {
    let len = u32::try_from(packet.len()).unwrap();
    [magic, 0, 0, 0, 65535, 1, 3, fraction, len, len]
        .iter()
        .flat_map(|n| word(big, *n))
        .chain(packet.to_vec())
        .collect()
}

#[test]
fn pcap_in_either_order_and_resolution() {
    for big in [true, false] {
        for (magic, fraction, time) in [(0xa1b2_c3d4, 5, 3_000_005_000), (0xa1b2_3c4d, 5, 3_000_000_005)] {
            let octets = pcap(big, magic, fraction, &frame(500, b"ike"));
            let mut reader = Reader::new(&octets[..]).unwrap();
            let packet = reader.next_packet().unwrap().unwrap();
            assert_eq!(packet.nanoseconds, Some(time));
            assert_eq!(decapsulate(packet.link, packet.octets).unwrap().content, Content::Ike(b"ike"));
            assert_eq!(reader.next_packet().unwrap(), None);
            assert_eq!(reader.damaged(), 0);
            let mut cut = Reader::new(&octets[..octets.len() - 1]).unwrap();
            assert_eq!(cut.next_packet().unwrap(), None);
            assert_eq!(cut.damaged(), 1);
        }
    }
}

#[test]
fn pcapng_enhanced_packets() {
    for big in [true, false] {
        let mut packet = frame(4500, &[0xff]);
        let len = u32::try_from(packet.len()).unwrap();
        packet.resize(packet.len().next_multiple_of(4), 0);
        let total = u32::try_from(packet.len()).unwrap() + 32;
        let mut octets: Vec<u8> =
            [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0, 0, 0, 28].iter().flat_map(|n| word(big, *n)).collect();
        // Link type and a reserved field share the first word of the interface's body.
        let link = if big { 0x0001_0000 } else { 1 };
        octets.extend([1, 20, link, 0, 20].iter().flat_map(|n| word(big, *n)));
        octets.extend([6, total, 0, 0, 7, len, len].iter().flat_map(|n| word(big, *n)));
        octets.extend(&packet);
        octets.extend(word(big, total));
        let mut reader = Reader::new(&octets[..]).unwrap();
        let packet = reader.next_packet().unwrap().unwrap();
        assert_eq!(packet.nanoseconds, Some(7_000));
        assert_eq!(decapsulate(packet.link, packet.octets).unwrap().content, Content::Keepalive);
        assert_eq!(reader.next_packet().unwrap(), None);
        assert_eq!(reader.damaged(), 0);
    }
}

#[test]
fn port_4500_tells_ike_from_esp_and_fragments_are_named() {
    let content = |octets: &[u8]| decapsulate(LinkType(1), octets).map(|datagram| format!("{:?}", datagram.content));
    assert_eq!(content(&frame(4500, &[0, 0, 0, 0, 9])).unwrap(), "Ike([9])");
    assert_eq!(content(&frame(4500, &[0, 0, 1, 0, 9])).unwrap(), "Esp(256, None)");
    assert_eq!(content(&frame(53, &[0; 30])), None);
    let mut fragment = frame(500, b"ike");
    fragment[18 + 6] = 0x20;
    assert!(
        content(&fragment).unwrap().starts_with("First(First { message: [105, 107, 101], length: 3, "),
        "{:?}",
        content(&fragment)
    );
    fragment[18 + 7] = 1;
    assert!(content(&fragment).unwrap().starts_with("Fragment("));
}

/// tcpdump keeps the beginning of a packet only, if it is told to: the message was there.
#[test]
fn a_message_that_the_capture_has_cut_short_is_there() {
    let mut message = vec![7; 200];
    message.splice(..28, [1; 8].into_iter().chain([2; 8]).chain([5, 0x10, 2, 1, 0, 0, 0, 0, 0, 0, 0, 200]));
    let whole = frame(500, &message);
    let track = |octets: &[u8]| {
        let mut tracker = Tracker::default();
        tracker.take(0, &decapsulate(LinkType(1), octets).unwrap());
        let tracks = tracker.finish();
        (tracks.unreadable, tracks.sas.first().map(|sa| (sa.messages[0].octets, sa.messages[0].encrypted)))
    };
    assert_eq!(track(&whole), (0, Some((200, true))));
    assert_eq!(track(&whole[..96]), (0, Some((200, true))), "cut by the capture");
    assert_eq!(track(&whole[..60]), (1, None), "less than a header");
    // One whose length is wrong on the line is no message, cut or not.
    message[27] = 190;
    assert_eq!(track(&frame(500, &message)), (1, None));
    assert_eq!(track(&frame(500, &message)[..96]), (1, None));
}

/// IKE messages, ESP packets and damaged records of a file of the shared laboratory.
fn counted(path: &std::path::Path) -> (u32, u32, u64) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = Reader::new(file).unwrap();
    let (mut ike, mut esp) = (0, 0);
    while let Some(packet) = reader.next_packet().unwrap() {
        match decapsulate(packet.link, packet.octets).map(|datagram| datagram.content) {
            Some(Content::Ike(_)) => ike += 1,
            Some(Content::Esp(..)) => esp += 1,
            _ => {}
        }
    }
    (ike, esp, reader.damaged())
}

#[test]
fn captures_of_the_laboratory() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/pcap"));
    if !root.exists() {
        assert!(std::env::var_os("CI").is_none(), "CI must have the shared laboratory");
        eprintln!("SKIP: no shared laboratory");
        return;
    }
    // Its manifest tells these numbers of ESP packets.
    assert_eq!(counted(&root.join("arkime/IKEv1.pcap")).1, 296);
    assert_eq!(counted(&root.join("arkime/wireshark-esp.pcap")).1, 240);
    assert_eq!(counted(&root.join("arkime/ah-esp.pcap")).1, 10);
    for directory in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|kind| ["pcap", "cap", "pcapng"].iter().any(|name| kind == *name)) {
                let found = counted(&path);
                eprintln!("{found:?} {}", path.display());
                assert_eq!(found.2, 0, "{}", path.display());
            }
        }
    }
}

proptest! {
    #[test]
    fn no_octets_panic(link in 0u32..300, magic in 0usize..5, octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decapsulate(LinkType(link), &octets);
        let magics = [0xa1b2_c3d4u32, 0xa1b2_3c4d, 0xd4c3_b2a1, 0x4d3c_b2a1, 0x0a0d_0d0a];
        let file = [&magics[magic].to_be_bytes()[..], &octets].concat();
        if let Ok(mut reader) = Reader::new(&file[..]) {
            while let Some(packet) = reader.next_packet().unwrap() {
                let _ = decapsulate(packet.link, packet.octets);
            }
        }
    }
}

proptest! {
    /// Whatever comes: the tracker takes it, and keeps no more than there was.
    #[test]
    fn the_tracker_takes_anything(
        datagrams in proptest::collection::vec((any::<bool>(), any::<[u8; 2]>(), 1..3u8, proptest::collection::vec(any::<u8>(), 0..80)), 0..40),
    ) {
        let mut tracker = Tracker::default();
        for (time, (back, [spi, next], version, body)) in datagrams.iter().enumerate() {
            let mut octets = vec![0; 28];
            (octets[7], octets[16], octets[17]) = (*spi, *next, version << 4);
            octets[18] = body.first().copied().unwrap_or(0) % 40;
            octets[24..28].copy_from_slice(&u32::try_from(28 + body.len()).unwrap().to_be_bytes());
            octets.extend(body);
            let (a, b) = (([192, 0, 2, 1], 500).into(), ([192, 0, 2, 2], 500).into());
            let (source, destination) = if *back { (b, a) } else { (a, b) };
            tracker.take(time as u64, &Datagram { source, destination, content: Content::Ike(&octets) });
        }
        let tracks = tracker.finish();
        let kept: usize = tracks.sas.iter().flat_map(|sa| &sa.messages).map(|m| 1 + m.repeated as usize).sum();
        prop_assert!(kept <= datagrams.len());
    }
}

#[test]
fn esp_counts_for_the_sa_that_was_there() {
    let mut tracker = Tracker::default();
    let ends = [std::net::SocketAddr::from(([192, 0, 2, 1], 500)), ([192, 0, 2, 2], 500).into()];
    let esp = |tracker: &mut Tracker, from: usize| {
        let (source, destination) = (ends[from], ends[1 - from]);
        tracker.take(0, &Datagram { source, destination, content: Content::Esp(7, None) });
    };
    esp(&mut tracker, 0);
    let mut init = vec![0; 28];
    (init[7], init[17], init[18], init[19], init[27]) = (1, 0x20, 34, 0x08, 28);
    for second in 1..4 {
        let content = Content::Ike(&init);
        tracker.take(second * 1_000_000_000, &Datagram { source: ends[0], destination: ends[1], content });
    }
    esp(&mut tracker, 0);
    esp(&mut tracker, 1);
    let tracks = tracker.finish();
    assert_eq!((tracks.sas.len(), tracks.sas[0].messages.len(), tracks.sas[0].messages[0].repeated), (1, 1, 2));
    assert_eq!(tracks.sas[0].esp, [1, 1], "not the packet from before");
}

/// A capture of the shared laboratory, read with keys.
fn opened(name: &str, keys: &str) -> Option<Tracks> {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/pcap"));
    if !root.exists() {
        assert!(std::env::var_os("CI").is_none(), "CI must have the shared laboratory");
        eprintln!("SKIP: no shared laboratory");
        return None;
    }
    let keys = Keys::parse(keys.as_bytes());
    assert_eq!(keys.refused, [], "{name}");
    let mut tracker = Tracker::with_keys(keys);
    let file = std::io::BufReader::new(std::fs::File::open(root.join(name)).unwrap());
    let mut reader = Reader::new(file).unwrap();
    while let Some(packet) = reader.next_packet().unwrap() {
        if let Some(datagram) = decapsulate(packet.link, packet.octets) {
            tracker.take(packet.nanoseconds.unwrap_or(0), &datagram);
        }
    }
    Some(tracker.finish())
}

/// The line of `KEYS.txt` or `SECRETS.txt` in the laboratory that begins so, without its beginning.
fn published(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/pcap/wireshark/KEYS.txt");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default().to_string()
}

/// What Wireshark publishes beside its captures opens them.
#[test]
fn published_keys_open_their_captures() {
    for (file, name, messages, esp) in [
        ("wireshark/ikev2-decrypt-aes256cbc.pcapng", "ikev2-decrypt-aes256cbc", 2, true),
        ("wireshark/ikev2-decrypt-aes256gcm16.pcap", "ikev2-decrypt-aes256gcm16", 4, true),
        ("wireshark/ikev2-decrypt-3des-sha1_160.pcap", "ikev2-decrypt-3des-sha1_160", 4, true),
    ] {
        let Some(tracks) = opened(file, &published(name)) else { return };
        let [used] = &tracks.keys[..] else { panic!("{:?}", tracks.keys) };
        assert_eq!((used.line, used.opened, used.failed), (1, messages, 0), "{file}: {used:?}");
        let inside: Vec<_> = tracks.sas[0].messages.iter().filter_map(|m| m.inside.as_deref()).collect();
        assert_eq!(inside.len() as u64, messages, "{file}");
        let (request, answer) = (inside[0], inside[1]);
        assert!(request.idi.is_some() && request.auth.is_some() && !request.tsi.is_empty(), "{file}: {request:?}");
        assert!(answer.idr.is_some() && answer.auth.is_some(), "{file}: {answer:?}");
        assert_eq!(answer.proposals.first().is_some_and(|p| p.protocol == wire::ProtocolId::ESP), esp, "{answer:?}");
        if messages == 4 {
            assert!(inside[2..].iter().any(|message| message.deletes_ike()), "{file}: {inside:?}");
        }
    }
    let Some(tracks) = opened("wireshark/ikev1-certs.pcap", &published("ikev1-certs.pcap")) else { return };
    let [used] = &tracks.keys[..] else { panic!("{:?}", tracks.keys) };
    assert_eq!((used.failed, used.why), (0, None), "{used:?}");
    let inside: Vec<_> = tracks.sas[0].messages.iter().filter_map(|m| m.inside.as_deref()).collect();
    assert!(inside[0].idi.is_some() && inside[0].certificates == 1 && inside[1].idr.is_some(), "{inside:?}");
    assert!(inside.iter().any(|m| !m.v1_proposals.is_empty() && m.key_exchange.is_some()), "{inside:?}");
}

#[test]
fn a_wrong_key_opens_nothing_and_says_so() {
    for (file, name) in [
        ("wireshark/ikev2-decrypt-aes256cbc.pcapng", "ikev2-decrypt-aes256cbc"),
        ("wireshark/ikev2-decrypt-aes256gcm16.pcap", "ikev2-decrypt-aes256gcm16"),
        ("wireshark/ikev1-certs.pcap", "ikev1-certs.pcap"),
    ] {
        let line = published(name);
        // Another key of the same length, which is no weak one.
        let (at, _) = line.match_indices(',').nth(if name.starts_with("ikev2") { 1 } else { 0 }).unwrap_or_default();
        let other: String =
            line.char_indices().map(|(n, c)| if (at + 1..at + 9).contains(&n) { '7' } else { c }).collect();
        let Some(tracks) = opened(file, &other) else { return };
        let [used] = &tracks.keys[..] else { panic!("{:?}", tracks.keys) };
        assert!(used.failed > 0 && used.why == Some(Unopened::WrongKey), "{file}: {used:?}");
        assert!(tracks.sas[0].unopened[0] > 0, "{file}");
    }
    let stranger = "0123456789abcdef,00112233445566778899aabbccddeeff\n";
    let Some(tracks) = opened("wireshark/ikev1-certs.pcap", stranger) else { return };
    assert_eq!((tracks.keys[0].spis, tracks.keys[0].opened, tracks.keys[0].failed), (None, 0, 0));
}

/// An ICMP message of this type and code about the beginning of a packet.
fn icmp(kind: [u8; 2], mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(28 + quoted.len()).unwrap().to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 1, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1]);
    packet.extend([kind[0], kind[1], 0, 0, 0, 0]);
    packet.extend(mtu.to_be_bytes());
    packet.extend(quoted);
    packet
}

#[test]
fn routers_say_that_esp_is_too_long() {
    let ip = |protocol: u8, content: &[u8]| {
        let mut packet = vec![0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend(content);
        packet
    };
    let esp = ip(50, &[0, 0, 0, 7, 0, 0, 0, 1]);
    let in_udp = ip(17, &[0x11, 0x94, 0x11, 0x94, 5, 200, 0, 0, 0, 0, 0, 7]);
    for quoted in [&esp, &in_udp] {
        let message = icmp([3, 4], 1400, quoted);
        let datagram = decapsulate(LinkType(101), &message).unwrap();
        assert_eq!(datagram.content, Content::TooBig(1400));
        assert_eq!(
            (datagram.source.ip().to_string(), datagram.destination.ip().to_string()),
            ("192.0.2.1".into(), "192.0.2.2".into())
        );
    }
    assert_eq!(decapsulate(LinkType(101), &icmp([3, 1], 0, &esp)), None, "host unreachable is something else");
    assert_eq!(decapsulate(LinkType(101), &icmp([3, 4], 1400, &ip(6, &[0; 8]))), None, "other traffic's");
    let mut tracker = Tracker::default();
    let mut init = vec![0; 28];
    (init[7], init[17], init[18], init[19], init[27]) = (1, 0x20, 34, 0x08, 28);
    let ends = [std::net::SocketAddr::from(([192, 0, 2, 2], 500)), ([192, 0, 2, 1], 500).into()];
    tracker.take(1, &Datagram { source: ends[0], destination: ends[1], content: Content::Ike(&init) });
    for (time, mtu) in [(2, 1400), (3, 1380), (4, 0)] {
        let message = icmp([3, 4], mtu, &esp);
        tracker.take(time, &decapsulate(LinkType(101), &message).unwrap());
    }
    let said = tracker.finish().sas[0].too_big.unwrap();
    assert_eq!((said.sender, said.times, said.first, said.last), (model::Role::Responder, 3, 2, 4));
    assert_eq!(said.mtu, 1380, "the least that anybody said");
}

proptest! {
    /// What keys open may be anything: of the peer that has them, too. Nothing panics, and no more is kept than there was.
    #[test]
    fn what_keys_open_may_be_anything(
        messages in proptest::collection::vec((any::<bool>(), 0u32..3, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..120), 0u8..3), 1..12),
    ) {
        use crypto::{Cipher, Integrity, Protection, Random};
        struct Zeros;
        impl Random for Zeros {
            fn fill(&mut self, out: &mut [u8]) {
                out.fill(0);
            }
        }
        let (key, mac) = ("11".repeat(16), "22".repeat(20));
        let table = format!(
            "0000000000000001,{key}\n0000000000000001,0000000000000002,{key},{key},AES-CBC-128,{mac},{mac},HMAC_SHA1_96\n"
        );
        let cipher = Cipher::new(wire::EncryptionId::AES_CBC, Some(128)).unwrap();
        let integrity = Integrity::new(wire::IntegrityId::HMAC_SHA1_96).unwrap();
        let sealing = Protection::new(cipher, Some(integrity), &[0x11; 16], &[0x22; 20]).unwrap();
        let mut tracker = Tracker::with_keys(Keys::parse(table.as_bytes()));
        let mut opened = 0;
        for (time, (from_initiator, id, next, content, kind)) in messages.iter().enumerate() {
            // An Encrypted payload, a fragment, or IKEv1.
            let (first, exchange, version, flags) = match kind {
                0 => (46, 35, 0x20, if *from_initiator { 0x08 } else { 0x20 }),
                1 => (53, 35, 0x20, if *from_initiator { 0x08 } else { 0x20 }),
                _ => (5, 2, 0x10, 1),
            };
            let mut octets = vec![0; 28];
            (octets[7], octets[15], octets[16], octets[17], octets[18], octets[19]) = (1, 2, first, version, exchange, flags);
            octets[20..24].copy_from_slice(&id.to_be_bytes());
            if *kind < 2 {
                let counters: &[u8] = if *kind == 1 { &[0, 1 + (id % 2) as u8, 0, 2] } else { &[] };
                let padded = (content.len() + 1).next_multiple_of(16);
                let length = 4 + counters.len() + 16 + padded + 12;
                octets.extend([*next, 0]);
                octets.extend((length as u16).to_be_bytes());
                octets.extend(counters);
                let iv_at = octets.len();
                octets.extend([0; 16]);
                octets.extend(content);
                octets.resize(iv_at + 16 + padded - 1, 0);
                octets.push((padded - content.len() - 1) as u8);
                octets.extend([0; 12]);
                let total = octets.len() as u32;
                octets[24..28].copy_from_slice(&total.to_be_bytes());
                sealing.seal(&mut octets, iv_at, 0, &mut Zeros);
                opened += 1;
            } else {
                octets.extend(content);
                let total = octets.len() as u32;
                octets[24..28].copy_from_slice(&total.to_be_bytes());
            }
            let (a, b) = (([192, 0, 2, 1], 500).into(), ([192, 0, 2, 2], 500).into());
            let (source, destination) = if *from_initiator { (a, b) } else { (b, a) };
            tracker.take(time as u64, &Datagram { source, destination, content: Content::Ike(&octets) });
        }
        let tracks = tracker.finish();
        let used: u64 = tracks.keys.iter().map(|key| key.opened + key.failed).sum();
        prop_assert!(used <= messages.len() as u64 && tracks.keys.len() == 2);
        let inside = tracks.sas.iter().flat_map(|sa| &sa.messages).filter(|m| m.inside.is_some()).count();
        prop_assert!(inside <= opened);
    }
}

/// A message of IKEv1 of so many octets, and of this exchange.
fn message(exchange: u8, message: u8, length: usize) -> Vec<u8> {
    let mut octets = vec![message; length];
    let header = [1; 8].into_iter().chain([u8::from(message > 1) * 2; 8]);
    octets.splice(..28, header.chain([0, 0x10, exchange, u8::from(message > 4), 0, 0, 0, 0, 0, 0, 0, length as u8]));
    octets
}

/// Raw IPv4 with UDP between two hosts of a network.
fn udp(from: u8, to: u8, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut packet = frame(0, data).split_off(18);
    (packet[15], packet[19]) = (from, to);
    packet[20..22].copy_from_slice(&ports.0.to_be_bytes());
    packet[22..24].copy_from_slice(&ports.1.to_be_bytes());
    packet
}

fn tracked(packets: &[(u64, Vec<u8>)]) -> Tracks {
    let mut tracker = Tracker::default();
    for (milliseconds, packet) in packets {
        if let Some(datagram) = decapsulate(LinkType(101), packet) {
            tracker.take(milliseconds * 1_000_000, &datagram);
        }
    }
    tracker.finish()
}

/// A capture that begins with message 2 has the answer first.
#[test]
fn the_first_answer_is_known_by_its_cookies() {
    let answer = |exchange| {
        let mut octets = message(exchange, 2, 100);
        octets[16] = 1; // an SA payload comes first
        octets
    };
    let initiator = |exchange, next: &[u8]| {
        let packets = [(0, udp(2, 1, (500, 60_000), &answer(exchange))), (50, udp(1, 2, (60_000, 500), next))];
        let sa = tracked(&packets).sas.remove(0);
        (sa.initiator.port(), sa.messages.iter().map(|m| m.sender).collect::<Vec<_>>())
    };
    let both = vec![model::Role::Responder, model::Role::Initiator];
    assert_eq!(initiator(2, &message(2, 3, 120)), (60_000, both.clone()));
    assert_eq!(initiator(4, &message(4, 3, 120)), (60_000, both));
    // Any other message may be of either.
    let later = tracked(&[(0, udp(2, 1, (500, 60_000), &message(2, 4, 120)))]);
    assert_eq!(later.sas[0].initiator.port(), 500);
}

/// Each packet twice, as `tcpdump -i any` has them on a router: nobody asks again so soon.
#[test]
fn the_same_packet_at_two_interfaces_is_no_repetition() {
    let first = message(2, 1, 100);
    let at = |milliseconds: u64| (milliseconds, udp(1, 2, (500, 500), &first));
    let repeated =
        |times: &[u64]| tracked(&times.iter().map(|time| at(*time)).collect::<Vec<_>>()).sas[0].messages[0].repeated;
    assert_eq!(repeated(&[1000, 1000, 1003]), 0);
    assert_eq!(repeated(&[1000, 1003, 1500, 1503, 3000, 3001]), 2);
    assert_eq!(repeated(&[0, 0, 0]), 2, "a capture without times");
    let turned = tracked(&[at(9000), at(5000)]);
    assert_eq!((turned.sas[0].messages[0].first, turned.sas[0].messages[0].last), (5_000_000_000, 9_000_000_000));
}

/// A capture on the translator before the responder: what comes to 9 goes on to 2, and back.
#[test]
fn both_sides_of_a_translator_are_one_sa() {
    let packets: Vec<(u64, Vec<u8>)> = (1..7)
        .flat_map(|n| {
            let octets = message(2, n, 100);
            let way = if n % 2 == 1 { [(1, 9), (1, 2)] } else { [(2, 1), (9, 1)] };
            way.map(|(from, to)| (u64::from(n) * 1000, udp(from, to, (500, 500), &octets)))
        })
        .collect();
    let tracks = tracked(&packets);
    let senders: Vec<bool> = tracks.sas[0].messages.iter().map(|m| m.sender == model::Role::Initiator).collect();
    assert_eq!((tracks.sas.len(), senders), (1, vec![true, false, true, false, true, false]));
    assert!(tracks.sas[0].messages.iter().all(|m| m.repeated == 0));
}

#[test]
fn ike_is_known_by_its_header_on_other_ports() {
    let exchange = |ports: (u16, u16)| -> Vec<(u64, Vec<u8>)> {
        let back = (ports.1, ports.0);
        vec![(1000, udp(1, 2, ports, &message(2, 1, 100))), (2000, udp(2, 1, back, &message(2, 2, 100)))]
    };
    let count = |packets: &[(u64, Vec<u8>)]| tracked(packets).sas.iter().map(|sa| sa.messages.len()).sum::<usize>();
    assert_eq!(count(&exchange((1500, 1500))), 2);
    assert_eq!(count(&exchange((1500, 1500))[1..]), 0, "an answer to nothing may be anything");
    let marked = [vec![0; 4], message(2, 1, 100)].concat();
    assert_eq!(count(&[(1000, udp(1, 2, (4501, 4501), &marked))]), 1, "behind the marker");
    assert_eq!(count(&[(1000, udp(1, 2, (53, 4000), &message(7, 1, 100)))]), 0, "no exchange of IKE's");
    let mut longer = message(2, 1, 100);
    longer.push(0);
    assert_eq!(count(&[(1000, udp(1, 2, (53, 4000), &longer))]), 0);
}

/// Between ports of a forwarding, or of a daemon that was told so, ESP in UDP is counted and the SA is followed when it is
/// replaced.
#[test]
fn esp_and_later_sas_are_known_where_ike_is_behind_the_marker() {
    let marked = |octets: Vec<u8>| [vec![0; 4], octets].concat();
    let (there, back) = ((20_000, 4501), (4501, 20_000));
    let esp = [0, 0, 9, 9].into_iter().chain(0..32).collect::<Vec<u8>>();
    let mut replaced = message(2, 4, 120);
    replaced[..8].fill(9);
    let packets = [
        (500, udp(1, 2, there, &esp)),
        (1000, udp(1, 2, there, &marked(message(2, 1, 100)))),
        (2000, udp(2, 1, back, &marked(message(2, 2, 100)))),
        (3000, udp(1, 2, there, &esp)),
        (3001, udp(1, 2, there, &esp)),
        (3002, udp(2, 1, back, &esp)),
        (3003, udp(2, 1, (53, 20_000), &esp)),
        (3004, udp(2, 1, back, &esp[..30])),
        (4000, udp(1, 2, there, &marked(replaced.clone()))),
        (4001, udp(1, 2, (53, 4501), &marked(replaced))),
    ];
    let tracks = tracked(&packets);
    let found: Vec<_> = tracks.sas.iter().map(|sa| (sa.messages.len(), sa.esp)).collect();
    assert_eq!(found, [(2, [2, 1]), (1, [0, 0])]);
    // Without the marker the ports are IKE's only.
    let bare = [(1000, udp(1, 2, there, &message(2, 1, 100))), (3000, udp(1, 2, there, &esp))];
    assert_eq!(tracked(&bare).sas[0].esp, [0, 0]);
}

proptest! {
    /// What others send makes no SA, and is no ESP of one.
    #[test]
    fn other_traffic_makes_no_sa(
        datagrams in proptest::collection::vec((1024..60_000u16, 1024..60_000u16, proptest::collection::vec(any::<u8>(), 0..120), any::<bool>()), 0..40),
        version in 0..3u8,
        exchange in 30..48u8,
    ) {
        let packets = datagrams.iter().filter(|(a, b, ..)| ![*a, *b].contains(&4500)).map(|(a, b, data, header)| {
            let mut data = data.clone();
            // A length at the same place as IKE's, versions and kinds like IKE's, but no beginning of an SA.
            if *header && data.len() >= 28 {
                (data[17], data[18]) = (version << 4, exchange);
                let length = data.len() as u32;
                data[24..28].copy_from_slice(&length.to_be_bytes());
                data[8] |= 1;
            }
            (1000, udp(1, 2, (*a, *b), &data))
        });
        let tracks = tracked(&packets.collect::<Vec<_>>());
        prop_assert_eq!((tracks.sas.len(), tracks.unreadable), (0, 0));
    }
}

/// RFC 9329: named, as it is not read.
#[test]
fn ike_over_tcp_is_named() {
    let segment = |port: u16, data: &[u8]| {
        let mut packet = udp(1, 2, (40_000, port), &[&[0; 4], &[0x50][..], &[0; 7], data].concat());
        packet[9] = 6;
        (1000, packet)
    };
    assert_eq!(tracked(&[segment(4500, b"IKETCP"), segment(4500, b"\0\x20abc"), segment(4500, b"")]).tcp, 2);
    assert_eq!(tracked(&[segment(443, b"IKETCP\0\x20"), segment(443, b"GET / HTTP/1.1")]).tcp, 1);
}

#[test]
fn the_agreed_lifetime_of_phase_1_is_read() {
    let with = |number: u8, seconds: u16| {
        let mut octets = message(2, number, 80);
        octets[16] = 1;
        // SA, one proposal, one transform: life type 1, a duration.
        let attributes = [0x80, 11, 0, 1, 0x80, 12, (seconds >> 8) as u8, seconds as u8];
        let transform = [&[0, 0, 0, 16, 1, 1, 0, 0][..], &attributes].concat();
        let proposal = [&[0, 0, 0, 24, 1, 1, 0, 1][..], &transform].concat();
        let sa = [&[0, 0, 0, 36, 0, 0, 0, 1, 0, 0, 0, 1][..], &proposal].concat();
        octets.truncate(28);
        octets.extend(sa);
        octets[27] = octets.len() as u8;
        octets
    };
    let packets = [(1000, udp(1, 2, (500, 500), &with(1, 3600))), (2000, udp(2, 1, (500, 500), &with(2, 600)))];
    assert_eq!(tracked(&packets[..1]).sas[0].lifetime, Some(3600));
    assert_eq!(tracked(&packets).sas[0].lifetime, Some(600));
}

/// A file that ends anywhere has what was there before.
#[test]
fn a_capture_that_is_cut_at_any_octet_is_read_as_far_as_it_goes() {
    let mut file = pcap(false, 0xa1b2_c3d4, 5, &[]);
    file.truncate(24);
    for (n, second) in (1..7_u8).zip(3_u32..) {
        let packet = frame(500, &message(2, n, 100));
        let length = packet.len() as u32;
        file.extend([second, 0, length, length].iter().flat_map(|n| n.to_le_bytes()));
        file.extend(packet);
    }
    let messages = |octets: &[u8]| fuzzing::capture(octets).iter().map(|sa| sa.messages.len()).sum::<usize>();
    let mut before = 0;
    for end in 0..=file.len() {
        let now = messages(&file[..end]);
        assert!(now == before || now == before + 1, "{end}");
        before = now;
    }
    assert_eq!(before, 6);
}

/// ICMP that quotes a message of IKE's, with no more of it than RFC 792 asks for.
#[test]
fn what_is_not_delivered_is_told() {
    let first = udp(1, 2, (500, 500), &message(2, 1, 100));
    let icmp = |code: u8, quoted: &[u8]| {
        let mut packet = udp(2, 1, (0, 0), &[&[0; 4][..], quoted].concat());
        packet[9] = 1;
        packet[20..28].copy_from_slice(&[3, code, 0, 0, 0, 0, 0, 0]);
        packet.drain(28..32);
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet
    };
    let said = |code: u8, quoted: &[u8]| {
        let tracks = tracked(&[
            (1000, first.clone()),
            (1001, icmp(code, quoted)),
            (5000, first.clone()),
            (5001, icmp(code, quoted)),
        ]);
        assert_eq!((tracks.sas.len(), tracks.unreadable), (1, 0));
        tracks.sas[0].unreachable.map(|said| (said.sender, said.why, said.times))
    };
    let port = Some((model::Role::Initiator, model::Unreachable::Port, 2));
    assert_eq!(said(3, &first[..28]), port);
    assert_eq!(said(3, &first), port);
    assert_eq!(said(13, &first[..28]).map(|said| said.1), Some(model::Unreachable::Prohibited));
    assert_eq!(said(1, &first[..28]).map(|said| said.1), Some(model::Unreachable::Host));
    assert_eq!(said(3, &udp(1, 2, (53, 53), b"")), None, "of other traffic");
}
