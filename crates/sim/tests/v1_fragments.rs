//! IKEv1 messages in fragments: sent when they are long and the peer takes them, received in any order.

use model::DropReason;
use sim::{Conditions, Datagram, NodeId, Sim, Site};
use std::time::Duration;
use wire::v1::{ChainBuilder, message};
use wire::{ExchangeType, Flags, Header, PayloadType};

const SECOND: Duration = Duration::from_secs(1);
const MODES: [&str; 2] = ["aggressive = no", "aggressive = yes"];

fn sites(mode: &str) -> (Site, Site) {
    let more =
        |site: Site| site.connection("version = 1").connection(mode).connection("proposals = aes128-sha256-x25519");
    (more(Site::new("a", "192.0.2.1").to("192.0.2.2")), more(Site::new("b", "192.0.2.2").to("192.0.2.1")))
}

fn pieces(datagram: &Datagram, size: usize, id: u16) -> Vec<Datagram> {
    let header = Header::parse(&datagram.bytes).unwrap();
    let parts: Vec<&[u8]> = datagram.bytes.chunks(size).collect();
    let one = |(index, part): (usize, &&[u8])| {
        let mut chain = ChainBuilder::new();
        let [high, low] = id.to_be_bytes();
        let fields = [high, low, index as u8 + 1, u8::from(index + 1 == parts.len())];
        chain.raw(PayloadType::V1_FRAGMENT, &[&fields, *part].concat());
        // Peers do not agree on what stands in the header of a fragment.
        let (exchange, message_id) = if id.is_multiple_of(2) {
            (ExchangeType::IDENTITY_PROTECTION, 0)
        } else {
            (header.exchange, header.message_id)
        };
        let (flags, next_payload) = (Flags(0), PayloadType::NONE);
        let header = Header { flags, next_payload, length: 0, exchange, message_id, ..header };
        Datagram { bytes: message(header, chain), ..datagram.clone() }
    };
    parts.iter().enumerate().map(one).collect()
}

fn is_first(datagram: &Datagram) -> bool {
    Header::parse(&datagram.bytes).is_ok_and(|h| h.spis.responder.is_zero())
}

/// A net that cuts each message but the first, and does to the pieces what `change` says.
fn cutting(sim: &mut Sim, change: impl Fn(Vec<Datagram>, usize) -> Vec<Datagram> + 'static) {
    let mut count = 0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        count += 1;
        let cut = if is_first(datagram) {
            vec![datagram.clone()]
        } else {
            change(pieces(datagram, 50, count), count as usize)
        };
        cut.into_iter().enumerate().map(|(n, d)| (Duration::from_micros(n as u64), d)).collect()
    })));
}

fn comes_up(
    mode: &str,
    what: &str,
    limit: Duration,
    change: impl Fn(Vec<Datagram>, usize) -> Vec<Datagram> + 'static,
) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = sites(mode);
    let (a, b) = (sim.add(a), sim.add(b));
    cutting(&mut sim, change);
    sim.initiate(a, b);
    let took = sim.run_until(limit, |sim| sim.carries(a, b));
    assert!(took.is_some(), "{mode} {what}: {:?} {:?}", sim.tombstones(a), sim.tombstones(b));
    sim.settle(200 * SECOND);
    (sim, a, b)
}

#[test]
fn every_message_may_come_in_pieces_in_any_order() {
    for mode in MODES {
        comes_up(mode, "in order", SECOND, |cut, _| cut);
        comes_up(mode, "reversed", SECOND, |cut, _| cut.into_iter().rev().collect());
        comes_up(mode, "doubled", SECOND, |cut, _| cut.iter().chain(&cut).cloned().collect());
        comes_up(mode, "each doubled", SECOND, |cut, _| cut.iter().flat_map(|d| [d.clone(), d.clone()]).collect());
    }
}

/// Each piece of each message is lost once: the repeated message makes up for it.
#[test]
fn a_lost_piece_costs_one_repetition() {
    for mode in MODES {
        for wanted in 2..=9 {
            for lost in 0..4 {
                comes_up(mode, "a piece lost", 20 * SECOND, move |mut cut, count| {
                    if count == wanted && cut.len() > lost {
                        cut.remove(lost);
                    }
                    cut
                });
            }
        }
    }
}

/// A forged piece spoils the message, which comes again; nothing else happens.
#[test]
fn a_forged_piece_costs_one_repetition() {
    for mode in MODES {
        for wanted in [5, 7, 8].into_iter().filter(|n| mode == MODES[0] || *n > 3) {
            comes_up(mode, "a piece forged", 20 * SECOND, move |mut cut, count| {
                if count == wanted {
                    let mut forged = cut[0].clone();
                    if let Some(octet) = forged.bytes.last_mut() {
                        *octet ^= 0xff;
                    }
                    cut.insert(0, forged);
                }
                cut
            });
        }
    }
}

#[test]
fn pieces_over_a_bad_line() {
    for mode in MODES {
        let mut up = 0;
        for seed in 0..30 {
            let mut sim = Sim::new(seed);
            let (a, b) = sites(mode);
            let (a, b) = (sim.add(a), sim.add(b));
            cutting(&mut sim, |cut, _| cut);
            sim.set_conditions(Conditions { loss: 50, duplicate: 100, reorder: 200, ..Conditions::default() });
            sim.initiate(a, b);
            up += u32::from(sim.run_until(400 * SECOND, |sim| sim.carries(a, b)).is_some());
            sim.run_for(600 * SECOND);
            let sent = sim.wire.len();
            sim.run_for(600 * SECOND);
            assert_eq!(sim.wire.len(), sent, "{mode} {seed}: quiet");
        }
        assert!(up >= 25, "{mode}: {up} of 30");
    }
}

/// A message 1 of quick mode beyond 1280 octets: many proposals and a large public value.
fn long(site: Site) -> Site {
    site.child("esp_proposals = aes128-aes192-aes256-3des-sha1-sha256-sha384-sha512-modp4096, aes128gcm16-aes192gcm16-aes256gcm16-modp4096")
}

fn longest(sim: &Sim) -> usize {
    sim.wire.iter().map(|(_, d)| d.bytes.len()).max().unwrap()
}

fn fragments(sim: &Sim) -> usize {
    let is = |d: &Datagram| Header::parse(&d.bytes).is_ok_and(|h| h.next_payload == PayloadType::V1_FRAGMENT);
    sim.wire.iter().filter(|(_, d)| is(d)).count()
}

#[test]
fn long_messages_are_cut_when_both_ends_want() {
    for (of_a, of_b, cut) in [
        ("yes", "yes", true),
        ("force", "accept", true),
        ("yes", "no", false),
        ("no", "yes", false),
        ("accept", "yes", false),
    ] {
        for mode in MODES {
            let mut sim = Sim::new(1);
            let (a, b) = sites(mode);
            let a = sim.add(long(a).connection(&format!("fragmentation = {of_a}")));
            let b = sim.add(long(b).connection(&format!("fragmentation = {of_b}")));
            sim.initiate(a, b);
            assert!(sim.run_until(5 * SECOND, |sim| sim.carries(a, b)).is_some(), "{of_a} {of_b}");
            assert_eq!(fragments(&sim) > 0, cut, "{of_a} {of_b}: longest {}", longest(&sim));
            assert_eq!(longest(&sim) <= 1228, cut, "{of_a} {of_b}: longest {}", longest(&sim));
        }
    }
}

#[test]
fn pieces_are_not_taken_where_the_configuration_says_no() {
    let mut sim = Sim::new(1);
    let (a, b) = sites(MODES[0]);
    let (a, b) = (sim.add(a.connection("fragmentation = no")), sim.add(b.connection("fragmentation = no")));
    cutting(&mut sim, |cut, _| cut);
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    assert!(!sim.carries(a, b));
    assert!(sim.dropped(a, DropReason::UnexpectedExchange) > 0);
}

/// Pieces without end: what is kept is bounded, and the SA goes on.
#[test]
fn a_flood_of_pieces_does_no_harm() {
    for mode in MODES {
        let mut sim = Sim::new(1);
        let (a, b) = sites(mode);
        let (a, b) = (sim.add(a), sim.add(b));
        sim.initiate(a, b);
        assert!(sim.run_until(SECOND, |sim| sim.carries(a, b)).is_some());
        sim.settle(SECOND);
        let template = sim.wire.last().unwrap().1.clone();
        let big = Datagram { bytes: [&template.bytes[..], &vec![7; 60_000]].concat(), ..template.clone() };
        let mut header = Header::parse(&template.bytes).unwrap();
        for id in 0..200 {
            header.message_id = u32::from(id);
            let mut inner = Vec::new();
            header.write(&mut inner);
            let source = Datagram { bytes: [&inner[..], &big.bytes[28..]].concat(), ..big.clone() };
            let mut source_bytes = source.bytes.clone();
            let length = source_bytes.len() as u32;
            source_bytes[24..28].copy_from_slice(&length.to_be_bytes());
            for piece in pieces(&Datagram { bytes: source_bytes, ..source.clone() }, 1000, id) {
                sim.inject(piece);
            }
        }
        let sent = sim.wire.len();
        sim.run_for(5 * SECOND);
        assert_eq!(sim.wire.len(), sent);
        assert!(sim.carries(a, b) && sim.dropped(b, DropReason::Malformed) > 100);
        // A fragment in a fragment is no message.
        let inner = pieces(&template, 5000, 1).remove(0);
        for piece in pieces(&inner, 20, 2) {
            sim.inject(piece);
        }
        sim.run_for(SECOND);
        assert_eq!(sim.wire.len(), sent);
    }
}

/// One fragment as it is to be.
fn fragment(template: &Datagram, id: u16, number: u8, last: u8, data: &[u8]) -> Datagram {
    let [high, low] = id.to_be_bytes();
    let mut chain = ChainBuilder::new();
    chain.raw(PayloadType::V1_FRAGMENT, &[&[high, low, number, last], data].concat());
    let header = Header::parse(&template.bytes).unwrap();
    let (flags, next_payload) = (Flags(0), PayloadType::NONE);
    let header = Header { flags, next_payload, length: 0, exchange: ExchangeType::IDENTITY_PROTECTION, ..header };
    Datagram { bytes: message(header, chain), ..template.clone() }
}

#[test]
fn odd_numbers_of_pieces_are_dropped_by_name() {
    for mode in MODES {
        let mut sim = Sim::new(1);
        let (a, b) = sites(mode);
        let (a, b) = (sim.add(a), sim.add(b));
        sim.initiate(a, b);
        assert!(sim.run_until(SECOND, |sim| sim.carries(a, b)).is_some());
        sim.settle(SECOND);
        let to_b = sim.wire.iter().rev().find(|(_, d)| d.to.ip() == sim.address(b)).unwrap().1.clone();
        let sent = sim.wire.len();
        // Number, whether it is the last, octets; and how many of the list are dropped at once.
        type Pieces<'a> = &'a [(u8, u8, usize)];
        let cases: [(Pieces, u64); 7] = [
            (&[(0, 0, 50), (0, 1, 50)], 2),                         // there is no number 0
            (&[(255, 1, 50), (65, 1, 50)], 2),                      // more than any message has
            (&[(1, 0, 60_000)], 1),                                 // longer than any message is
            (&[(1, 0, 9000), (2, 0, 9000)], 1),                     // so together
            (&[(2, 1, 50), (3, 0, 50)], 1),                         // one behind the last
            (&[(3, 0, 50), (2, 1, 50)], 1),                         // the last before another
            (&[(1, 0, 50), (1, 0, 50), (1, 0, 70), (2, 1, 50)], 1), // the first of a number counts: garbage when whole
        ];
        for (case, (pieces, dropped)) in cases.into_iter().enumerate() {
            let before = sim.dropped(b, DropReason::Malformed);
            for (number, last, octets) in pieces {
                sim.inject(fragment(&to_b, 1000 + case as u16, *number, *last, &vec![7; *octets]));
                sim.run_for(SECOND / 10);
            }
            assert_eq!(sim.dropped(b, DropReason::Malformed), before + dropped, "{mode} {pieces:?}");
        }
        assert_eq!(sim.wire.len(), sent, "no answer");
        assert!(sim.carries(a, b));
    }
}
