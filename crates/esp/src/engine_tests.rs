//! The engine against itself, against numbers, and against an attacker.

use super::*;
use crate::packet::tests::packet;
use model::dataplane::{ChildInstall, EspSa, TrapInstall};
use model::{Encryption, TrafficSelector};
use proptest::prelude::*;
use wire::Secret;
use wire::registry::{EncryptionId, IntegrityId};

const LEFT: &str = "192.0.2.1:4500";
const RIGHT: &str = "192.0.2.2:4500";
const T0: Instant = Instant::from_nanos(5_000_000_000);

type Suite = (EncryptionId, Option<u16>, Option<IntegrityId>, usize, usize);

/// Every suite with the octets of its keys.
const SUITES: &[Suite] = &[
    (EncryptionId::AES_GCM_16, Some(128), None, 20, 0),
    (EncryptionId::AES_GCM_16, Some(256), None, 36, 0),
    (EncryptionId::AES_GCM_12, Some(192), None, 28, 0),
    (EncryptionId::AES_GCM_8, Some(128), None, 20, 0),
    (EncryptionId::AES_CCM_16, Some(128), None, 19, 0),
    (EncryptionId::AES_CCM_12, Some(256), None, 35, 0),
    (EncryptionId::AES_CCM_8, Some(192), None, 27, 0),
    (EncryptionId::CHACHA20_POLY1305, None, None, 36, 0),
    (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::HMAC_SHA1_96), 16, 20),
    (EncryptionId::AES_CBC, Some(256), Some(IntegrityId::HMAC_SHA2_256_128), 32, 32),
    (EncryptionId::AES_CBC, Some(192), Some(IntegrityId::HMAC_SHA2_384_192), 24, 48),
    (EncryptionId::AES_CTR, Some(128), Some(IntegrityId::HMAC_SHA2_512_256), 20, 64),
    (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::AES_XCBC_96), 16, 16),
    (EncryptionId::AES_CBC, Some(128), Some(IntegrityId::AES_CMAC_96), 16, 16),
    (EncryptionId::TRIPLE_DES, None, Some(IntegrityId::HMAC_SHA2_256_128), 24, 32),
    (EncryptionId::NULL, None, Some(IntegrityId::HMAC_SHA2_256_128), 0, 32),
    (EncryptionId::NULL_AES_GMAC, Some(128), None, 20, 0),
    (EncryptionId::CAMELLIA_CBC, Some(192), Some(IntegrityId::HMAC_SHA2_384_192), 24, 48),
    (EncryptionId::BLOWFISH, Some(128), Some(IntegrityId::HMAC_SHA2_256_96), 16, 32),
    (EncryptionId::TRIPLE_DES, None, Some(IntegrityId::HMAC_MD5_128), 24, 16),
    (EncryptionId::TRIPLE_DES, None, Some(IntegrityId::HMAC_SHA1_160), 24, 20),
];

fn esp_sa(spi: u32, suite: Suite) -> EspSa {
    let (id, key_length, integrity, encryption_octets, integrity_octets) = suite;
    let key = |octets: usize, salt: u8| {
        Secret::new((0..octets).map(|i| (i as u8).wrapping_mul(7) ^ salt ^ spi as u8).collect())
    };
    EspSa {
        spi,
        encryption: Encryption { id, key_length },
        integrity,
        encryption_key: key(encryption_octets, 0x31),
        integrity_key: key(integrity_octets, 0x92),
    }
}

fn ts(text: &str) -> Vec<TrafficSelector> {
    text.split(' ').map(|one| one.parse().unwrap()).collect()
}

/// The left end's half of a Child SA.
fn install(child: u32, suite: Suite) -> ChildInstall {
    ChildInstall {
        child: SaId(child),
        ike: SaId(1),
        connection: "net-net".into(),
        name: "net".into(),
        reqid: 1,
        mode: Mode::Tunnel,
        local: LEFT.parse().unwrap(),
        remote: RIGHT.parse().unwrap(),
        encapsulated: true,
        inbound: esp_sa(0x1000 + child, suite),
        outbound: esp_sa(0x2000 + child, suite),
        esn: false,
        replay_window: 64,
        tfc_padding: TfcPadding::None,
        local_ts: ts("10.1.0.0/16 2001:db8:1::/48"),
        remote_ts: ts("10.2.0.0/16 2001:db8:2::/48"),
        binding: model::dataplane::Binding::default(),
        header: model::dataplane::HeaderFields::default(),
        policies: true,
        priority: None,
        succeeds: None,
        rekeys: None,
        updown: None,
        updown_environment: Vec::new(),
        soft_bytes: None,
        soft_packets: None,
        hard_bytes: None,
        hard_packets: None,
        hard_lifetime: None,
    }
}

/// The left end's half of a transport mode Child SA.
fn between_hosts(child: u32, suite: Suite) -> ChildInstall {
    let (local_ts, remote_ts) = (ts("192.0.2.1"), ts("192.0.2.2"));
    ChildInstall { mode: Mode::Transport, local_ts, remote_ts, ..install(child, suite) }
}

/// The other end's view.
fn mirrored(mut install: ChildInstall) -> ChildInstall {
    std::mem::swap(&mut install.local, &mut install.remote);
    std::mem::swap(&mut install.inbound, &mut install.outbound);
    std::mem::swap(&mut install.local_ts, &mut install.remote_ts);
    install
}

fn engine(install: ChildInstall) -> Engine {
    let mut engine = Engine::new();
    engine.apply(T0, &Command::Install(Box::new(install))).unwrap();
    engine
}

fn pair(install: ChildInstall) -> (Engine, Engine) {
    (engine(install.clone()), engine(mirrored(install)))
}

fn drops(engine: &Engine) -> Vec<(&'static str, u64)> {
    engine.drops().filter(|(_, count)| *count > 0).collect()
}

fn sealed(engine: &mut Engine, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(matches!(engine.seal(T0, inner, &mut out), Outbound::Send { .. }));
    out
}

fn left() -> SocketAddr {
    LEFT.parse().unwrap()
}

fn ping() -> Vec<u8> {
    packet("10.1.0.1", "10.2.0.1", 1, &[8, 0, 0, 0, 1, 2, 3, 4])
}

/// The same packet built with another implementation (OpenSSL's AES-GCM by way of Python's `cryptography`): keys and
/// packet are those of [`known_answer`] and [`known_inner`].
#[test]
fn known_answer_aes_gcm() {
    let mut engine = engine(known_answer(false));
    let packet = sealed(&mut engine, &known_inner());
    assert_eq!(hex(&packet), KNOWN_GCM);
}

/// As above with extended sequence numbers: the high half is authenticated and not sent (RFC 4106 section 5).
#[test]
fn known_answer_aes_gcm_esn() {
    let mut engine = engine(known_answer(true));
    engine.skip_to(SaId(1), 0x1_0000_0041);
    let packet = sealed(&mut engine, &known_inner());
    assert_eq!(hex(&packet), KNOWN_GCM_ESN);
}

fn known_answer(esn: bool) -> ChildInstall {
    let mut install = install(1, SUITES[0]);
    install.outbound.spi = 0x4a2c_bfe3;
    install.outbound.encryption_key = Secret::new((0..20).collect());
    install.esn = esn;
    install
}

fn known_inner() -> Vec<u8> {
    packet("10.1.0.1", "10.2.0.1", 17, &[0x12, 0x34, 0, 53, 0, 9, 0, 0, 0x55])
}

// Made with:
//   from cryptography.hazmat.primitives.ciphers.aead import AESGCM
//   inner = bytes.fromhex("4500001d00010000401100000a0100010a020001" "123400350009000055")
//   pad = bytes([1, 1, 4])                      # 29 + 1 + 2 = 32 octets: pad 01, length 1, next header 4
//   key, salt = bytes(range(16)), bytes(range(16, 20))
//   seq 1:           iv = 0000000000000001, aad = 4a2cbfe3 00000001
//   seq 1_00000042h: iv = 0000000100000042, aad = 4a2cbfe3 00000001 00000042
//   spi | low | iv | AESGCM(key).encrypt(salt + iv, inner + pad, aad)
const KNOWN_GCM: &str = "\
    4a2cbfe30000000100000000000000011b46fa8cbb152e167f96ad4d1085f2e7db92537c09d266d89b45253917f9b85ff911\
    2b5fa4d81fe1181acde8cabf6aab";
const KNOWN_GCM_ESN: &str = "\
    4a2cbfe3000000420000000100000042c1709f6efe71ded493cbbb7a873605487cb46ce7b14f8b3c8d29d46a57f4d35b2946\
    2f044415998f8a16628f3a911e00";

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn every_suite_carries_both_families() {
    for suite in SUITES {
        for esn in [false, true] {
            let (mut a, mut b) = pair(ChildInstall { esn, ..install(1, *suite) });
            for length in 0..40 {
                for (source, destination) in [("10.1.0.1", "10.2.0.1"), ("2001:db8:1::1", "2001:db8:2::1")] {
                    let inner = packet(source, destination, 253, &vec![length; length.into()]);
                    let mut esp = sealed(&mut a, &inner);
                    let Verdict::Deliver { child, inner: range } = b.open(T0, &mut esp, left()) else {
                        panic!("{suite:?} esn {esn} length {length}: {:?}", drops(&b));
                    };
                    assert_eq!((child, &esp[range]), (SaId(1), &inner[..]));
                }
            }
            let counters = b.counters(T0, SaId(1)).unwrap();
            assert_eq!((counters.packets_in, counters.packets_out), (80, 0));
            assert_eq!(a.counters(T0, SaId(1)).unwrap().bytes_out, counters.bytes_in);
        }
    }
}

/// RFC 4303 section 2.7: behind the packet, which says how long it is, so that the receiver takes it off.
#[test]
fn padded_packets_are_of_one_length_and_arrive_as_they_were() {
    let lengths = |a: &mut Engine, b: &mut Engine, suite: Suite| -> BTreeSet<usize> {
        let sizes = [0_usize, 1, 37, 400, 900];
        let each = sizes.into_iter().flat_map(|n| [("10.1.0.1", "10.2.0.1", n), ("2001:db8:1::1", "2001:db8:2::1", n)]);
        each.map(|(source, destination, n)| {
            let inner = packet(source, destination, 253, &vec![7; n]);
            let mut esp = sealed(a, &inner);
            let length = esp.len();
            let Verdict::Deliver { inner: range, .. } = b.open(T0, &mut esp, left()) else {
                panic!("{suite:?}: {:?}", drops(b));
            };
            assert_eq!(esp[range], inner);
            length
        })
        .collect()
    };
    for suite in SUITES {
        for (tfc_padding, mtu, distinct) in [
            (TfcPadding::None, Some(1400), 8..=10),
            (TfcPadding::To(1000), None, 1..=1),
            (TfcPadding::Mtu, Some(1400), 1..=1),
            (TfcPadding::To(u32::MAX), Some(1400), 1..=1),
            (TfcPadding::To(500), Some(1400), 3..=3), // what is longer goes as it is
        ] {
            let (mut a, mut b) = pair(ChildInstall { tfc_padding, ..install(1, *suite) });
            mtu.into_iter().for_each(|mtu| a.set_mtu(mtu));
            let lengths = lengths(&mut a, &mut b, *suite);
            assert!(distinct.contains(&lengths.len()), "{suite:?} {tfc_padding:?}: {lengths:?}");
            assert!(lengths.last() < Some(&1500));
            // What is counted is what there was to send.
            let out = a.counters(T0, SaId(1)).unwrap();
            assert_eq!(out.bytes_out, 2 * (1 + 37 + 400 + 900) + 5 * (20 + 40));
        }
    }
    // Transport mode has nothing that says the length.
    let (mut a, _) = pair(ChildInstall { tfc_padding: TfcPadding::To(1000), ..between_hosts(1, SUITES[0]) });
    assert!(sealed(&mut a, &packet("192.0.2.1", "192.0.2.2", 17, &[0; 12])).len() < 100);
}

#[test]
fn the_answer_says_where_to_send() {
    let (mut a, _) = pair(install(1, SUITES[0]));
    let mut out = vec![9; 3000];
    let (local, remote) = (left(), RIGHT.parse().unwrap());
    let outer = OuterFields::default();
    let send = Outbound::Send { child: SaId(1), local, remote, encapsulated: true, outer };
    assert_eq!(a.seal(T0, &ping(), &mut out), send);
    assert_eq!(out.len(), 8 + 8 + 32 + 16);
    let moved = "198.51.100.9:7777".parse().unwrap();
    a.apply(T0, &Command::Update { child: SaId(1), local, remote: moved, encapsulated: false }).unwrap();
    assert_eq!(
        a.seal(T0, &ping(), &mut out),
        Outbound::Send { child: SaId(1), local, remote: moved, encapsulated: false, outer }
    );
    assert_eq!(a.seal(T0, &packet("10.1.0.1", "10.3.0.1", 1, &[8, 0, 0, 0]), &mut out), Outbound::NoPolicy);
    assert_eq!(a.seal(T0, &ping()[..19], &mut out), Outbound::Discard(DropReason::InnerPacket));
    assert!(out.is_empty());
}

#[test]
fn a_replayed_packet_is_dropped_and_reordered_ones_are_not() {
    let (mut a, mut b) = pair(install(1, SUITES[0]));
    let packets: Vec<_> = (0..70).map(|_| sealed(&mut a, &ping())).collect();
    for index in [69, 3, 68, 6] {
        let verdict = b.open(T0, &mut packets[index].clone(), left());
        // The window of 64 covers sequence numbers 7 (index 6) to 70.
        if index == 3 {
            assert_eq!(verdict, Verdict::Drop(DropReason::TooOld));
        } else {
            assert!(matches!(verdict, Verdict::Deliver { .. }), "{index}");
        }
        if index != 3 {
            assert_eq!(b.open(T0, &mut packets[index].clone(), left()), Verdict::Drop(DropReason::Replayed));
        }
    }
    assert_eq!(drops(&b), [("esp-too-old", 1), ("esp-replayed", 3)]);
}

#[test]
fn a_forged_packet_moves_neither_window_nor_peer() {
    for suite in SUITES {
        let (mut a, mut b) = pair(install(1, *suite));
        let good = sealed(&mut a, &ping());
        let elsewhere = "203.0.113.66:1".parse().unwrap();
        for octet in 4..good.len() {
            let mut bad = good.clone();
            bad[octet] ^= 0x80;
            assert!(matches!(b.open(T0, &mut bad, elsewhere), Verdict::Drop(_)), "{suite:?} octet {octet}");
        }
        assert_eq!(b.poll_event(), None);
        assert!(matches!(b.open(T0, &mut good.clone(), left()), Verdict::Deliver { .. }), "{suite:?}");
    }
}

#[test]
fn truncated_at_every_octet() {
    for suite in SUITES {
        let (mut a, mut b) = pair(install(1, *suite));
        let good = sealed(&mut a, &ping());
        for length in 0..good.len() {
            assert!(matches!(b.open(T0, &mut good[..length].to_vec(), left()), Verdict::Drop(_)), "{suite:?} {length}");
        }
        assert!(matches!(b.open(T0, &mut good.clone(), left()), Verdict::Deliver { .. }));
    }
}

#[test]
fn what_lies_outside_the_selectors_is_dropped() {
    let suite = SUITES[0];
    let wide = ChildInstall { local_ts: ts("0.0.0.0/0"), remote_ts: ts("0.0.0.0/0"), ..install(1, suite) };
    let mut a = engine(wide);
    let mut b = engine(mirrored(install(1, suite)));
    let mut esp = sealed(&mut a, &packet("10.1.0.1", "10.3.0.1", 1, &[8, 0, 0, 0]));
    assert_eq!(b.open(T0, &mut esp, left()), Verdict::Drop(DropReason::Selectors));
    let mut esp = sealed(&mut a, &packet("10.9.0.1", "10.2.0.1", 1, &[8, 0, 0, 0]));
    assert_eq!(b.open(T0, &mut esp, left()), Verdict::Drop(DropReason::Selectors));
    assert_eq!(b.counters(T0, SaId(1)).unwrap().packets_in, 0);
}

#[test]
fn an_unknown_spi_is_reported_a_few_times() {
    let mut b = engine(install(1, SUITES[0]));
    let from: SocketAddr = "203.0.113.66:4500".parse().unwrap();
    for _ in 0..100 {
        let mut esp = vec![0xaa; 60];
        assert_eq!(b.open(T0, &mut esp, from), Verdict::Drop(DropReason::UnknownSpi));
    }
    let expected = PlaneEvent::UnknownSpi { spi: 0xaaaa_aaaa, from: from.ip() };
    let events: Vec<_> = std::iter::from_fn(|| b.poll_event()).collect();
    assert_eq!(events, vec![expected; 10]);
    b.open(T0 + Duration::from_secs(1), &mut [0xaa; 60], from);
    assert!(b.poll_event().is_some());
    assert_eq!(drops(&b), [("esp-unknown-spi", 101)]);
}

#[test]
fn the_peer_moves_with_its_newest_authentic_packet() {
    let (mut a, mut b) = pair(install(1, SUITES[0]));
    let packets: Vec<_> = (0..4).map(|_| sealed(&mut a, &ping())).collect();
    let elsewhere: SocketAddr = "203.0.113.66:1027".parse().unwrap();
    let moved = PlaneEvent::PeerMoved { child: SaId(1), remote: elsewhere };
    b.open(T0, &mut packets[1].clone(), left());
    assert_eq!(b.poll_event(), None);
    b.open(T0, &mut packets[0].clone(), elsewhere); // older: it may have been held back
    assert_eq!(b.poll_event(), None);
    b.open(T0, &mut packets[2].clone(), elsewhere);
    assert_eq!(b.poll_event(), Some(moved));
    b.open(T0, &mut packets[3].clone(), elsewhere); // reported already
    assert_eq!(b.poll_event(), None);
    // Without UDP there is no NAT mapping to follow.
    let (mut a, mut b) = pair(ChildInstall { encapsulated: false, ..install(1, SUITES[0]) });
    assert!(matches!(b.open(T0, &mut sealed(&mut a, &ping()), elsewhere), Verdict::Deliver { .. }));
    assert_eq!(b.poll_event(), None);
}

#[test]
fn sequence_numbers_never_cycle() {
    let (mut a, mut b) = pair(install(1, SUITES[0]));
    let mut out = Vec::new();
    a.skip_to(SaId(1), u64::from(u32::MAX) - 1);
    assert!(matches!(b.open(T0, &mut sealed(&mut a, &ping()), left()), Verdict::Deliver { .. }));
    assert_eq!(a.poll_event(), Some(PlaneEvent::SoftExpire { child: SaId(1) }));
    assert_eq!(a.seal(T0, &ping(), &mut out), Outbound::Discard(DropReason::SequenceExhausted));

    let (mut a, mut b) = pair(ChildInstall { esn: true, ..install(1, SUITES[0]) });
    // The receiver knows the subspace from what came before, so it must have seen the middle of it.
    for start in [1 << 31, u64::from(u32::MAX) - 10] {
        a.skip_to(SaId(1), start);
        assert!(matches!(b.open(T0, &mut sealed(&mut a, &ping()), left()), Verdict::Deliver { .. }));
    }
    for _ in 0..20 {
        let mut esp = sealed(&mut a, &ping());
        assert!(matches!(b.open(T0, &mut esp, left()), Verdict::Deliver { .. }), "{:?}", drops(&b));
    }
}

#[test]
fn hard_limits_of_volume_kill_with_the_packet_that_reaches_them() {
    let octets = Some(2 * ping().len() as u64);
    for limits in [(octets, None), (None, Some(2))] {
        let limited = ChildInstall { hard_bytes: limits.0, hard_packets: limits.1, ..install(1, SUITES[0]) };
        let (mut a, mut b) = pair(limited);
        for _ in 0..2 {
            assert!(matches!(b.open(T0, &mut sealed(&mut a, &ping()), left()), Verdict::Deliver { .. }));
        }
        for end in [&mut a, &mut b] {
            assert_eq!(end.poll_event(), Some(PlaneEvent::HardExpire { child: SaId(1) }));
            assert_eq!(end.poll_event(), None);
            assert_eq!(end.seal(T0, &ping(), &mut Vec::new()), Outbound::NoPolicy);
            end.apply(T0, &Command::Delete { child: SaId(1) }).unwrap();
        }
    }
}

#[test]
fn soft_limits_are_reported_once_and_hard_ones_kill() {
    let limited = ChildInstall {
        soft_packets: Some(2),
        soft_bytes: Some(1_000_000),
        hard_lifetime: Some(Duration::from_secs(60)),
        ..install(1, SUITES[0])
    };
    let (mut a, mut b) = pair(limited);
    for _ in 0..4 {
        b.open(T0, &mut sealed(&mut a, &ping()), left());
    }
    for end in [&mut a, &mut b] {
        assert_eq!(end.poll_event(), Some(PlaneEvent::SoftExpire { child: SaId(1) }));
        assert_eq!(end.poll_event(), None);
    }
    let deadline = a.next_timeout().unwrap();
    assert_eq!(deadline, T0 + Duration::from_secs(60));
    a.handle_timeout(T0 + Duration::from_secs(59));
    assert_eq!(a.poll_event(), None);
    a.handle_timeout(deadline);
    assert_eq!(a.poll_event(), Some(PlaneEvent::HardExpire { child: SaId(1) }));
    assert_eq!(a.next_timeout(), None);
    assert_eq!(a.seal(deadline, &ping(), &mut Vec::new()), Outbound::NoPolicy);
    a.apply(deadline, &Command::Delete { child: SaId(1) }).unwrap();
}

#[test]
fn what_comes_before_its_child_sa_is_kept_within_bounds() {
    let suite = SUITES[0];
    let (mut a, mut b) = (engine(install(2, suite)), Engine::new());
    let expect = |spi| Command::Expect { child: SaId(2), spi, local: RIGHT.parse().unwrap(), encapsulated: true };
    b.apply(T0, &expect(0x2002)).unwrap();
    let mut packets = [sealed(&mut a, &ping()), sealed(&mut a, &ping())];
    for packet in &mut packets {
        assert_eq!(b.open_with(T0, packet, left(), Some(0xba)), Verdict::Drop(DropReason::Early));
    }
    assert_eq!((b.poll_event(), b.poll_early()), (None, None), "nobody knows yet whose they are");
    b.apply(T0, &Command::Install(Box::new(mirrored(install(2, suite))))).unwrap();
    for packet in &packets {
        let (from, class, mut kept) = b.poll_early().unwrap();
        assert_eq!((&kept, from, class), (packet, left(), Some(0xba)));
        assert!(matches!(b.open(T0, &mut kept, from), Verdict::Deliver { child: SaId(2), .. }));
    }
    assert_eq!(b.poll_early(), None);

    let mut big = [0x20_u8; 60_000];
    big[..4].copy_from_slice(&0x3000u32.to_be_bytes());
    b.apply(T0, &expect(0x3000)).unwrap();
    assert_eq!(b.open(T0, &mut big.clone(), left()), Verdict::Drop(DropReason::Early));
    assert_eq!(b.open(T0, &mut big.clone(), left()), Verdict::Drop(DropReason::UnknownSpi), "64 KiB are enough");
    let later = T0 + Duration::from_secs(10);
    b.apply(T0, &expect(0x4000)).unwrap();
    big[..4].copy_from_slice(&0x4000u32.to_be_bytes());
    assert_eq!(b.open(later, &mut big.clone(), left()), Verdict::Drop(DropReason::UnknownSpi), "nothing came of it");
    for spi in 0x5000..0x5011 {
        b.apply(later, &expect(spi)).unwrap();
    }
    for (spi, kept) in [(0x5000u32, DropReason::UnknownSpi), (0x5001, DropReason::Early)] {
        big[..4].copy_from_slice(&spi.to_be_bytes());
        assert_eq!(b.open(later, &mut big.clone(), left()), Verdict::Drop(kept), "sixteen at once");
    }
}

#[test]
fn a_rekeyed_child_takes_over_and_the_old_one_still_receives() {
    let suite = SUITES[0];
    let (mut a, mut b) = pair(install(1, suite));
    let mut late = sealed(&mut a, &ping());
    for (end, install) in [(&mut a, install(2, suite)), (&mut b, mirrored(install(2, suite)))] {
        end.apply(T0, &Command::Install(Box::new(install))).unwrap();
    }
    let mut esp = sealed(&mut a, &ping());
    assert!(matches!(b.open(T0, &mut esp, left()), Verdict::Deliver { child: SaId(2), .. }));
    assert!(matches!(b.open(T0, &mut late, left()), Verdict::Deliver { child: SaId(1), .. }));
    a.apply(T0, &Command::Delete { child: SaId(1) }).unwrap();
    let mut esp = sealed(&mut a, &ping());
    assert!(matches!(b.open(T0, &mut esp, left()), Verdict::Deliver { child: SaId(2), .. }));
    assert_eq!(a.counters(T0, SaId(1)), None);
    assert_eq!(a.counters(T0 + Duration::from_secs(3), SaId(2)).unwrap().idle_out, Some(Duration::from_secs(3)));
}

#[test]
fn a_retired_child_receives_and_does_not_send() {
    let suite = SUITES[0];
    let (mut a, mut b) = pair(install(1, suite));
    let [mut late, mut later] = [sealed(&mut a, &ping()), sealed(&mut a, &ping())];
    let behind = ChildInstall { succeeds: Some(SaId(1)), ..mirrored(install(2, suite)) };
    b.apply(T0, &Command::Install(Box::new(behind))).unwrap();
    let pong = packet("10.2.0.1", "10.1.0.1", 1, &[0; 8]);
    assert_eq!(sealed(&mut b, &pong)[..4], 0x1001u32.to_be_bytes());
    b.apply(T0, &Command::Retire { child: SaId(1) }).unwrap();
    assert_eq!(sealed(&mut b, &pong)[..4], 0x1002u32.to_be_bytes(), "its successor sends");
    assert!(matches!(b.open(T0, &mut late, left()), Verdict::Deliver { child: SaId(1), .. }));
    b.apply(T0, &Command::Delete { child: SaId(1) }).unwrap();
    assert_eq!(b.open(T0, &mut later, left()), Verdict::Drop(DropReason::UnknownSpi));
    b.apply(T0, &Command::Retire { child: SaId(2) }).unwrap();
    assert_eq!(b.seal(T0, &pong, &mut Vec::new()), Outbound::NoPolicy, "there is no other");
}

#[test]
fn what_is_held_goes_by_the_successor_or_by_itself() {
    let suite = SUITES[0];
    let mut a = engine(install(1, suite));
    let successor = |old: u32| ChildInstall { succeeds: Some(SaId(old)), ..install(old + 1, suite) };
    let mut out = vec![1];
    let mut held = |a: &mut Engine, sequence: u8| {
        let inner = packet("10.1.0.1", "10.2.0.1", 1, &[sequence; 8]);
        assert_eq!((a.seal(T0, &inner, &mut out), out.len()), (Outbound::Held, 0));
        inner
    };
    a.apply(T0, &Command::Install(Box::new(successor(1)))).unwrap();
    a.apply(T0, &Command::Hold { child: SaId(1) }).unwrap();
    let waiting = [held(&mut a, 1), held(&mut a, 2)];
    assert_eq!(a.poll_held(), None);
    a.apply(T0, &Command::Retire { child: SaId(1) }).unwrap();
    let sent: Vec<Vec<u8>> = std::iter::from_fn(|| a.poll_held()).collect();
    assert_eq!(sent, waiting, "in their order");
    assert_eq!(sealed(&mut a, &sent[0])[..4], 0x2002u32.to_be_bytes());
    // Nothing succeeds it after all.
    a.apply(T0, &Command::Hold { child: SaId(2) }).unwrap();
    let waiting = held(&mut a, 3);
    a.apply(T0, &Command::Release { child: SaId(2) }).unwrap();
    assert_eq!(a.poll_held(), Some(waiting));
    assert_eq!(sealed(&mut a, &sent[0])[..4], 0x2002u32.to_be_bytes());
    // It is taken away.
    a.apply(T0, &Command::Install(Box::new(successor(2)))).unwrap();
    a.apply(T0, &Command::Hold { child: SaId(2) }).unwrap();
    let waiting = held(&mut a, 4);
    a.apply(T0, &Command::Delete { child: SaId(2) }).unwrap();
    assert_eq!(a.poll_held(), Some(waiting));
    assert_eq!(a.poll_held(), None);
    // So much waits, and no more.
    a.apply(T0, &Command::Hold { child: SaId(3) }).unwrap();
    let large = packet("10.1.0.1", "10.2.0.1", 1, &[0; 65_000]);
    let kept = (0..).take_while(|_| a.seal(T0, &large, &mut Vec::new()) == Outbound::Held).count();
    assert_eq!(kept, 64);
    assert_eq!(a.seal(T0, &large, &mut Vec::new()), Outbound::Discard(DropReason::HeldTooMuch));
    assert_eq!(a.drops().find(|(_, count)| *count > 0), Some(("esp-held-too-much", 2)), "what is kept is not dropped");
    a.apply(T0, &Command::Release { child: SaId(9) }).unwrap();
    assert_eq!(a.apply(T0, &Command::Hold { child: SaId(9) }), Err(EngineError::UnknownChild(SaId(9))));
}

#[test]
fn commands_that_cannot_be_carried_out_say_why_and_change_nothing() {
    let suite = SUITES[0];
    let mut a = engine(install(1, suite));
    let mut refused = |install: ChildInstall| a.apply(T0, &Command::Install(Box::new(install))).unwrap_err();
    assert_eq!(refused(install(1, suite)), EngineError::ChildExists(SaId(1)));
    let mut same_spi = install(2, suite);
    same_spi.inbound.spi = 0x1001;
    assert_eq!(refused(same_spi), EngineError::SpiInUse { spi: 0x1001, holder: SaId(1) });
    let selectors = ChildInstall { mode: Mode::Transport, ..install(2, suite) };
    assert_eq!(refused(selectors), EngineError::TransportSelectors, "networks");
    let port = ChildInstall { local_ts: ts("192.0.2.1[udp/1701]"), ..between_hosts(2, suite) };
    assert_eq!(refused(port), EngineError::TransportSelectors, "less than all packets");
    let six = ChildInstall { local: "[2001:db8::1]:4500".parse().unwrap(), ..between_hosts(2, suite) };
    assert_eq!(refused(six), EngineError::TransportIpv6);
    assert_eq!(
        refused(ChildInstall { replay_window: u32::MAX, ..install(2, suite) }),
        EngineError::ReplayWindow { asked: u32::MAX, most: ReplayWindow::MAX_SIZE }
    );
    assert_eq!(
        refused(ChildInstall { esn: true, replay_window: 0, ..install(2, suite) }),
        EngineError::EsnWithoutReplayWindow
    );
    let cast = (EncryptionId::CAST, Some(128), None, 16, 0);
    assert!(matches!(refused(install(2, cast)), EngineError::Algorithm(_)));
    let short = (EncryptionId::AES_GCM_16, Some(128), None, 16, 0);
    assert!(matches!(refused(install(2, short)), EngineError::Key(_)));
    let local = left();
    let update = Command::Update { child: SaId(2), local, remote: local, encapsulated: false };
    assert_eq!(a.apply(T0, &update), Err(EngineError::UnknownChild(SaId(2))));
    assert_eq!(a.slots.len(), 1);
}

#[test]
fn policies_can_be_left_to_the_operator() {
    let mut a = engine(ChildInstall { policies: false, ..install(1, SUITES[0]) });
    assert_eq!(a.seal(T0, &ping(), &mut Vec::new()), Outbound::NoPolicy);
    assert_eq!(drops(&a), [("esp-no-policy", 1)]);
}

/// An authentic packet with a chosen content behind the header, as a faulty peer would send it.
fn crafted(content: &[u8]) -> Verdict {
    let null = SUITES[15];
    let sa = esp_sa(0x1001, null);
    let integrity = crypto::Integrity::new(IntegrityId::HMAC_SHA2_256_128).unwrap();
    let keys = crypto::v2::EspKeys { encryption: sa.encryption_key, integrity: sa.integrity_key };
    let cipher = crypto::Cipher::new(EncryptionId::NULL, None).unwrap();
    let sealer = crypto::EspSealer::new(cipher, Some(integrity), &keys).unwrap();
    let mut esp = [&[0, 0, 0x10, 0x01, 0, 0, 0, 1], content, &[0; 16]].concat();
    sealer.seal(&mut esp, None, 1);
    engine(install(1, null)).open(T0, &mut esp, RIGHT.parse().unwrap())
}

#[test]
fn the_trailer_is_checked() {
    let inner = packet("10.2.0.1", "10.1.0.1", 253, &[0; 10]);
    let with = |padding: &[u8], trailer: [u8; 2]| crafted(&[&inner, padding, &trailer].concat());
    let deliver = Verdict::Deliver { child: SaId(1), inner: 8..38 };
    assert_eq!(with(&[], [0, 4]), deliver);
    let longest: Vec<u8> = (1..=255).collect();
    assert_eq!(with(&longest, [255, 4]), deliver);
    // Padding for traffic flow confidentiality before the ESP padding (RFC 4303 section 2.7).
    assert_eq!(with(&[0, 0, 0, 0, 1, 2], [2, 4]), deliver);
    assert_eq!(with(&[1, 2, 4], [3, 4]), Verdict::Drop(DropReason::Padding));
    assert_eq!(with(&[1], [255, 4]), Verdict::Drop(DropReason::Padding));
    assert_eq!(with(&[], [0, 59]), Verdict::Drop(DropReason::Dummy));
    assert_eq!(with(&[], [0, 41]), Verdict::Drop(DropReason::NextHeader));
    assert_eq!(with(&[], [0, 6]), Verdict::Drop(DropReason::NextHeader));
    assert_eq!(crafted(&[0, 4]), Verdict::Drop(DropReason::InnerPacket));
    assert_eq!(crafted(&[&inner[..29], &[0, 4]].concat()), Verdict::Drop(DropReason::InnerPacket));
}

proptest! {
    #[test]
    fn garbage_never_panics(mut octets in prop::collection::vec(any::<u8>(), 0..200), known: bool) {
        let mut a = engine(install(1, SUITES[0]));
        if let (true, Some(spi)) = (known, octets.first_chunk_mut::<4>()) {
            *spi = 0x1001u32.to_be_bytes();
        }
        let verdict = a.open(T0, &mut octets, left());
        prop_assert!(matches!(verdict, Verdict::Drop(_)));
        let mut out = Vec::new();
        a.seal(T0, &octets, &mut out);
    }

    #[test]
    fn any_payload_crosses_any_suite(suite in prop::sample::select(SUITES), payload in prop::collection::vec(any::<u8>(), 0..1500)) {
        let (mut a, mut b) = pair(install(1, suite));
        let inner = packet("10.1.2.3", "10.2.3.4", 253, &payload);
        let mut esp = sealed(&mut a, &inner);
        let Verdict::Deliver { inner: range, .. } = b.open(T0, &mut esp, left()) else { panic!("{:?}", drops(&b)) };
        prop_assert_eq!(&esp[range], &inner[..]);
    }
}

#[test]
fn transport_mode_carries_what_follows_the_header() {
    let segment: Vec<u8> = (0..101).collect();
    for suite in SUITES {
        for encapsulated in [false, true] {
            let (mut a, mut b) = pair(ChildInstall { encapsulated, ..between_hosts(1, *suite) });
            for (protocol, length) in [(1, 8), (6, 20), (6, 101), (17, 8), (50, 0), (132, 12)] {
                let inner = packet("192.0.2.1", "192.0.2.2", protocol, &segment[..length]);
                let mut esp = sealed(&mut a, &inner);
                let Verdict::Deliver { inner: at, .. } = b.open(T0, &mut esp, left()) else {
                    panic!("{suite:?} {protocol}: {:?}", drops(&b))
                };
                let got = InnerPacket::parse(&esp[at.clone()]).unwrap();
                let sent = InnerPacket::parse(&inner).unwrap();
                assert_eq!((got.source, got.destination, got.length), (sent.source, sent.destination, sent.length));
                assert_eq!((got.protocol, got.ports), (sent.protocol, sent.ports), "{suite:?}");
                if !encapsulated {
                    assert_eq!(esp[at][20..], inner[20..], "{suite:?} {protocol}");
                }
            }
            let counters = (a.counters(T0, SaId(1)).unwrap(), b.counters(T0, SaId(1)).unwrap());
            assert_eq!((counters.0.bytes_out, counters.0.packets_out), (counters.1.bytes_in, counters.1.packets_in));
        }
    }
}

#[test]
fn transport_mode_behind_a_nat_has_the_addresses_of_each_end() {
    let suite = SUITES[0];
    let inside = "10.0.0.2:4500".parse().unwrap();
    let mut a = engine(ChildInstall { local: inside, local_ts: ts("10.0.0.2"), ..between_hosts(1, suite) });
    let mut b = engine(mirrored(between_hosts(1, suite)));
    let mut esp = sealed(&mut a, &packet("10.0.0.2", "192.0.2.2", 17, &[1, 0, 2, 0, 0, 9, 7, 7, 5]));
    let Verdict::Deliver { inner, .. } = b.open(T0, &mut esp, left()) else { panic!("{:?}", drops(&b)) };
    let got = InnerPacket::parse(&esp[inner.clone()]).unwrap();
    assert_eq!((got.source.to_string(), got.destination.to_string()), ("192.0.2.1".into(), "192.0.2.2".into()));
    assert_eq!(esp[inner][26..28], [0, 0], "the checksum over other addresses is gone");
}

#[test]
fn transport_mode_takes_nothing_else() {
    let suite = SUITES[0];
    let (mut a, mut b) = pair(between_hosts(1, suite));
    // A fragment, and a packet to somebody else.
    let mut fragment = packet("192.0.2.1", "192.0.2.2", 17, &[0; 64]);
    fragment[6] = 0x20;
    assert_eq!(a.seal(T0, &fragment, &mut Vec::new()), Outbound::Discard(DropReason::Fragment));
    let other = packet("192.0.2.1", "192.0.2.3", 17, &[0; 64]);
    assert_eq!(a.seal(T0, &other, &mut Vec::new()), Outbound::NoPolicy);
    // What a peer in tunnel mode sends: a packet in a packet is only its protocol here.
    let mut tunnel = engine(install(1, suite));
    let mut esp = sealed(&mut tunnel, &ping());
    let Verdict::Deliver { inner, .. } = b.open(T0, &mut esp, left()) else { panic!("{:?}", drops(&b)) };
    assert_eq!(InnerPacket::parse(&esp[inner]).unwrap().protocol, NEXT_IPV4);
    // And the reverse is no packet of the tunnel.
    let mut tunnel = engine(mirrored(install(1, suite)));
    let mut esp = sealed(&mut a, &packet("192.0.2.1", "192.0.2.2", 17, &[0; 64]));
    assert_eq!(tunnel.open(T0, &mut esp, left()), Verdict::Drop(DropReason::NextHeader));
}

#[test]
fn a_trap_asks_once_a_second_until_there_is_a_child_sa() {
    let mut a = Engine::new();
    let of = install(1, SUITES[0]);
    let trap = TrapInstall {
        trap: SaId(9),
        connection: "gw".into(),
        name: "net".into(),
        binding: model::dataplane::Binding::default(),
        reqid: 1,
        mode: Mode::Tunnel,
        local: of.local.ip(),
        remote: of.remote.ip(),
        local_ts: of.local_ts.clone(),
        remote_ts: of.remote_ts.clone(),
        priority: None,
    };
    a.apply(T0, &Command::Trap(Box::new(trap.clone()))).unwrap();
    let mut out = Vec::new();
    let mut asked = |a: &mut Engine, at: Instant| {
        assert_eq!(a.seal(at, &ping(), &mut out), Outbound::Discard(DropReason::Acquiring));
        std::iter::from_fn(|| a.poll_event()).collect::<Vec<_>>()
    };
    let events = asked(&mut a, T0);
    let [PlaneEvent::Acquire { trap: SaId(9), source, destination, protocol: 1 }] = events[..] else {
        panic!("{events:?}")
    };
    // An echo request: type 8, code 0.
    assert_eq!((source.to_string().as_str(), destination.to_string().as_str()), ("10.1.0.1:8", "10.2.0.1:0"));
    assert!(asked(&mut a, T0 + Duration::from_millis(999)).is_empty());
    assert_eq!(asked(&mut a, T0 + Duration::from_secs(1)).len(), 1);
    a.apply(T0, &Command::Install(Box::new(of))).unwrap();
    assert!(matches!(a.seal(T0, &ping(), &mut Vec::new()), Outbound::Send { child: SaId(1), .. }));
    a.apply(T0, &Command::Delete { child: SaId(1) }).unwrap();
    assert_eq!(asked(&mut a, T0 + Duration::from_secs(9)).len(), 1, "it is there again");
    a.apply(T0, &Command::RemoveTrap { trap: SaId(9) }).unwrap();
    assert_eq!(a.seal(T0, &ping(), &mut Vec::new()), Outbound::NoPolicy);
}

#[test]
fn a_trap_for_any_peer_asks_for_each_and_for_no_more_than_it_should() {
    let mut a = Engine::new();
    let of = between_hosts(1, SUITES[0]);
    let unspecified: IpAddr = std::net::Ipv4Addr::UNSPECIFIED.into();
    let trap = TrapInstall {
        trap: SaId(9),
        connection: "any".into(),
        name: "host".into(),
        binding: model::dataplane::Binding::default(),
        reqid: 1,
        mode: Mode::Transport,
        local: of.local.ip(),
        remote: unspecified,
        local_ts: of.local_ts.clone(),
        remote_ts: ts("192.0.2.0/24"),
        priority: None,
    };
    a.apply(T0, &Command::Trap(Box::new(trap))).unwrap();
    let mut out = Vec::new();
    let mut asked = |a: &mut Engine, to: &str, at: Instant| {
        let packet = packet("192.0.2.1", to, 17, &[0; 8]);
        assert_eq!(a.seal(at, &packet, &mut out), Outbound::Discard(DropReason::Acquiring));
        std::iter::from_fn(|| a.poll_event()).count()
    };
    assert_eq!(["192.0.2.2", "192.0.2.3", "192.0.2.2"].map(|to| asked(&mut a, to, T0)), [1, 1, 0]);
    // A sweep over the network is no storm of negotiations.
    let later = T0 + Duration::from_secs(2);
    let all: usize = (1..255).map(|n| asked(&mut a, &format!("192.0.2.{n}"), later)).sum();
    assert_eq!(all, 32);
    a.apply(T0, &Command::Install(Box::new(of))).unwrap();
    let sent = a.seal(T0, &packet("192.0.2.1", "192.0.2.2", 17, &[0; 8]), &mut Vec::new());
    assert!(matches!(sent, Outbound::Send { child: SaId(1), .. }), "the one that has its Child SA");
    assert_eq!(asked(&mut a, "192.0.2.3", later + Duration::from_secs(2)), 1);
}

#[test]
fn selectors_follow_a_moved_end() {
    let (mut a, mut b) = pair(install(1, SUITES[0]));
    let moved = |ts: &str| vec![ts.parse().unwrap()];
    let (old, new) = (install(1, SUITES[0]).remote_ts, moved("10.9.0.0/16"));
    a.apply(T0, &Command::Reselect { child: SaId(1), local_ts: new.clone(), remote_ts: old.clone() }).unwrap();
    assert_eq!(a.seal(T0, &ping(), &mut Vec::new()), Outbound::NoPolicy, "the old source");
    let from_new = packet("10.9.0.1", "10.2.0.1", 1, &[8, 0, 0, 0]);
    let mut sealed = sealed(&mut a, &from_new);
    assert_eq!(b.open(T0, &mut sealed.clone(), left()), Verdict::Drop(DropReason::Selectors));
    b.apply(T0, &Command::Reselect { child: SaId(1), local_ts: old, remote_ts: new }).unwrap();
    assert_eq!(b.open(T0, &mut sealed, left()), Verdict::Drop(DropReason::Replayed), "it was authentic");
    let mut again = self::sealed(&mut a, &from_new);
    assert!(matches!(b.open(T0, &mut again, left()), Verdict::Deliver { .. }));
    let unknown = Command::Reselect { child: SaId(3), local_ts: Vec::new(), remote_ts: Vec::new() };
    assert_eq!(a.apply(T0, &unknown), Err(EngineError::UnknownChild(SaId(3))));
}

/// Sets the octet of DSCP and ECN and the DF bit of an IPv4 packet.
fn classed(mut packet: Vec<u8>, class: u8, dont_fragment: bool) -> Vec<u8> {
    header::set_traffic_class(&mut packet, class);
    packet[6] = if dont_fragment { 0x40 } else { 0 };
    packet
}

#[test]
fn classes_go_outside_and_come_inside_as_configured() {
    use model::dataplane::{CopyDscp, HeaderFields};
    let plain = HeaderFields::default();
    let yes = HeaderFields { copy_dscp: CopyDscp::Yes, ..plain };
    let no = HeaderFields { copy_df: false, copy_ecn: false, copy_dscp: CopyDscp::No };
    // EF with ECT(0) inside; AF11 comes outside, with a mark.
    for (fields, sent, arrives) in [(plain, (0xba, true), 0xbb), (yes, (0xba, true), 0x2b), (no, (0, false), 0xba)] {
        let (mut a, mut b) = pair(ChildInstall { header: fields, ..install(1, SUITES[0]) });
        let inner = classed(ping(), 0xba, true);
        let mut out = Vec::new();
        let Outbound::Send { outer, .. } = a.seal(T0, &inner, &mut out) else { panic!("{:?}", drops(&a)) };
        assert_eq!((outer.traffic_class, outer.dont_fragment), sent, "{fields:?}");
        let mut unknown = sealed(&mut a, &inner);
        let Verdict::Deliver { inner: at, .. } = b.open_with(T0, &mut out, left(), Some(0x2b)) else { panic!() };
        assert_eq!(out[at], classed(ping(), arrives, true), "{fields:?}");
        let Verdict::Deliver { inner: at, .. } = b.open(T0, &mut unknown, left()) else { panic!() };
        assert_eq!(unknown[at], inner, "nobody said what the header was");
    }
    // Dropped, and not counted as received.
    let (mut a, mut b) = pair(install(1, SUITES[0]));
    let mut esp = sealed(&mut a, &classed(ping(), 0xb8, false));
    assert_eq!(b.open_with(T0, &mut esp, left(), Some(3)), Verdict::Drop(DropReason::Congestion));
    assert_eq!((b.counters(T0, SaId(1)).unwrap().packets_in, drops(&b)), (0, vec![("esp-congestion", 1)]));
    // In transport mode the header that travels is the packet's, whatever is configured for tunnels.
    let (mut a, mut b) = pair(ChildInstall { header: no, ..between_hosts(1, SUITES[0]) });
    let inner = classed(packet("192.0.2.1", "192.0.2.2", 17, &[9; 12]), 0xba, true);
    let mut out = Vec::new();
    let Outbound::Send { outer, .. } = a.seal(T0, &inner, &mut out) else { panic!("{:?}", drops(&a)) };
    assert_eq!(outer, OuterFields { traffic_class: 0xba, dont_fragment: true });
    let Verdict::Deliver { inner: at, .. } = b.open_with(T0, &mut out, left(), Some(0xbb)) else { panic!() };
    assert_eq!((out[at.start + 1], transport::checksum(&[&out[at.start..at.start + 20]])), (0xbb, 0));
}

#[test]
fn what_fits_a_path_is_told_for_every_suite() {
    for suite in SUITES {
        for encapsulated in [false, true] {
            let headers = if encapsulated { 28 } else { 20 };
            let (mut a, _) = pair(ChildInstall { encapsulated, ..install(1, *suite) });
            let long = classed(packet("10.1.0.1", "10.2.0.1", 17, &[9; 1300]), 0, true);
            let told = a.too_big(T0, SaId(1), &long, 1100).unwrap();
            let fits = usize::from(u16::from_be_bytes([told[26], told[27]]));
            let of = |octets: usize| classed(packet("10.1.0.1", "10.2.0.1", 17, &vec![9; octets - 20]), 0, true);
            assert!(headers + sealed(&mut a, &of(fits)).len() <= 1100, "{suite:?}");
            assert!(headers + sealed(&mut a, &of(fits + 1)).len() > 1100, "{suite:?}");
            assert_eq!(a.too_big(T0, SaId(1), &of(fits), 1100), None, "it fits");
        }
    }
    let (mut a, _) = pair(install(1, SUITES[0]));
    let long = classed(packet("10.1.0.1", "10.2.0.1", 17, &[9; 1300]), 0, true);
    let told = |a: &mut Engine, at| (0..150).filter(|_| a.too_big(at, SaId(1), &long, 1100).is_some()).count();
    assert_eq!((told(&mut a, T0), told(&mut a, T0 + Duration::from_secs(1))), (100, 100), "so many a second");
    assert_eq!(drops(&a), [("esp-too-big", 300)]);
    // Nobody is asked for less than every host takes.
    for (path, least) in [(0, None), (40, None), (90, Some(68))] {
        let told = a.too_big(T0 + Duration::from_secs(5), SaId(1), &long, path);
        assert_eq!(told.map(|told| u16::from_be_bytes([told[26], told[27]])), least, "{path}");
    }
    let six = packet("2001:db8:1::1", "2001:db8:2::1", 17, &[9; 1300]);
    let told = a.too_big(T0 + Duration::from_secs(5), SaId(1), &six, 1280).unwrap();
    assert_eq!(told[44..48], 1280u32.to_be_bytes());
    // What is padded in any case cannot be made shorter by its sender.
    let (mut a, _) = pair(ChildInstall { tfc_padding: TfcPadding::To(1000), ..install(1, SUITES[0]) });
    for (octets, forbidden) in [(100, false), (1100, true)] {
        let inner = classed(packet("10.1.0.1", "10.2.0.1", 17, &vec![9; octets]), 0, true);
        let Outbound::Send { outer, .. } = a.seal(T0, &inner, &mut Vec::new()) else { panic!("{:?}", drops(&a)) };
        assert_eq!(outer.dont_fragment, forbidden, "{octets}");
    }
}
