//! CPU time of ESP packets in the userspace data plane: SA lookup, selectors, sequence numbers and cryptography.

use bench::{Options, Table, Value, cpu_time, median, nanoseconds_each};
use esp::{Engine, Outbound, Verdict};
use model::dataplane::{ChildInstall, Command, EspSa, Mode};
use model::{Encryption, Instant, SaId};
use std::hint::black_box;
use std::net::SocketAddr;
use wire::{EncryptionId, IntegrityId, Secret};

const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Packets that are opened between two looks at the clock: together they fit a core's second-level cache.
const BATCH: usize = 256;

struct Suite {
    name: &'static str,
    encryption: Encryption,
    integrity: Option<IntegrityId>,
    encryption_octets: usize,
    integrity_octets: usize,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "aes128gcm16",
        encryption: Encryption { id: EncryptionId::AES_GCM_16, key_length: Some(128) },
        integrity: None,
        encryption_octets: 20,
        integrity_octets: 0,
    },
    Suite {
        name: "chacha20poly1305",
        encryption: Encryption { id: EncryptionId::CHACHA20_POLY1305, key_length: None },
        integrity: None,
        encryption_octets: 36,
        integrity_octets: 0,
    },
    Suite {
        name: "aes128-sha256",
        encryption: Encryption { id: EncryptionId::AES_CBC, key_length: Some(128) },
        integrity: Some(IntegrityId::HMAC_SHA2_256_128),
        encryption_octets: 16,
        integrity_octets: 32,
    },
];

fn engine(suite: &Suite, left: bool) -> Engine {
    let sa = |spi: u32| EspSa {
        spi,
        encryption: suite.encryption,
        integrity: suite.integrity,
        encryption_key: Secret::new((0..suite.encryption_octets).map(|i| i as u8 ^ spi as u8).collect()),
        integrity_key: Secret::new((0..suite.integrity_octets).map(|i| i as u8 ^ spi as u8).collect()),
    };
    let here: (SocketAddr, &str) = (([192, 0, 2, 1], 4500).into(), "10.1.0.0/16");
    let there: (SocketAddr, &str) = (([192, 0, 2, 2], 4500).into(), "10.2.0.0/16");
    let (own, peer) = if left { (here, there) } else { (there, here) };
    let (to_left, to_right) = (sa(0x1001), sa(0x2002));
    let (inbound, outbound) = if left { (to_left, to_right) } else { (to_right, to_left) };
    let install = ChildInstall {
        child: SaId(1),
        ike: SaId(1),
        connection: "net".into(),
        name: "net".into(),
        reqid: 1,
        mode: Mode::Tunnel,
        local: own.0,
        remote: peer.0,
        encapsulated: true,
        inbound,
        outbound,
        esn: false,
        replay_window: 1024,
        tfc_padding: model::dataplane::TfcPadding::None,
        local_ts: vec![own.1.parse().expect("a subnet")],
        remote_ts: vec![peer.1.parse().expect("a subnet")],
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
    };
    let mut engine = Engine::new();
    engine.apply(NOW, &Command::Install(Box::new(install))).expect("the engine has these algorithms");
    engine
}

/// A UDP packet of `length` octets from left to right. Its checksums are zero: the engine has no use for them.
fn inner(length: usize) -> Vec<u8> {
    let [high, low] = (length as u16).to_be_bytes();
    let [udp_high, udp_low] = (length as u16 - 20).to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1];
    packet.extend_from_slice(&[0x30, 0x39, 0, 53, udp_high, udp_low, 0, 0]);
    packet.resize(length, 0x55);
    packet
}

/// Nanoseconds per packet, without what sealing the packets takes.
fn open(suite: &Suite, runs: u32, packet: &[u8]) -> f64 {
    let (mut left, mut right) = (engine(suite, true), engine(suite, false));
    let from = SocketAddr::from(([192, 0, 2, 1], 4500));
    let mut sealed = vec![Vec::new(); BATCH];
    let mut one = || {
        let mut taken = std::time::Duration::ZERO;
        const ROUNDS: u32 = 20;
        for _ in 0..ROUNDS {
            for out in &mut sealed {
                assert!(matches!(left.seal(NOW, packet, out), Outbound::Send { .. }));
            }
            let start = cpu_time();
            for out in &mut sealed {
                let verdict = right.open(NOW, out, from);
                assert!(matches!(black_box(verdict), Verdict::Deliver { .. }));
            }
            taken += cpu_time() - start;
        }
        taken.as_nanos() as f64 / f64::from(ROUNDS) / BATCH as f64
    };
    one();
    median((0..runs).map(|_| one()).collect())
}

fn main() {
    let options = Options::get();
    let mut table = Table::new(
        "ESP packets, userspace data plane, one core",
        &["suite and inner octets", "seal ns", "seal Gbit/s", "open ns", "open Gbit/s"],
        &["Octets of inner IP packets. Without sockets and TUN device."],
    );
    for suite in SUITES {
        for length in [64, 576, 1400] {
            let name = format!("{} {length}", suite.name);
            if !options.wants(&name) {
                continue;
            }
            let packet = inner(length);
            let (mut left, mut out) = (engine(suite, true), Vec::new());
            let seal = nanoseconds_each(options.runs, || {
                let verdict = left.seal(NOW, black_box(&packet), &mut out);
                assert!(matches!(black_box(verdict), Outbound::Send { .. }));
            });
            let open = open(suite, options.runs, &packet);
            let speed = |nanoseconds: f64| Value::Number(length as f64 * 8.0 / nanoseconds, 2);
            table.row(vec![
                name.as_str().into(),
                Value::Number(seal, 1),
                speed(seal),
                Value::Number(open, 1),
                speed(open),
            ]);
        }
    }
    table.print(options.json);
}
