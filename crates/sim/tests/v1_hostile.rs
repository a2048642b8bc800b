//! IKEv1 and strangers on the path: copies, garbage and unprotected words change nothing, and the net always goes quiet.

use model::{DropReason, IkeState};
use proptest::prelude::*;
use proto::{Input, Output, Selection};
use sim::{Conditions, Datagram, NodeId, Sim, Site};
use std::time::Duration;
use wire::v1::{ChainBuilder, message};
use wire::{ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, PayloadType, ProtocolId, SpiPair, V1NotifyType, Version};

const SECOND: Duration = Duration::from_secs(1);
const MODES: [&str; 2] = ["aggressive = no", "aggressive = yes"];

/// Datagrams of phase 1, of quick mode, and of a delete of both SAs.
fn datagrams(mode: &str) -> (usize, usize, usize) {
    if mode == MODES[0] { (6, 3, 2) } else { (3, 3, 2) }
}

fn sites(mode: &str) -> (Site, Site) {
    let more =
        |site: Site| site.connection("version = 1").connection(mode).connection("proposals = aes128-sha256-x25519");
    (more(Site::new("a", "192.0.2.1").to("192.0.2.2")), more(Site::new("b", "192.0.2.2").to("192.0.2.1")))
}

fn pair(mode: &str) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(7);
    let (a, b) = sites(mode);
    let (a, b) = (sim.add(a), sim.add(b));
    (sim, a, b)
}

/// A handshake, stopped when this many datagrams have arrived; then, if more, a delete.
fn stage(mode: &str, number: usize) -> (Sim, NodeId, NodeId) {
    let (mut sim, a, b) = pair(mode);
    let (phase1, phase2, _) = datagrams(mode);
    sim.initiate(a, b);
    let arrived = |sim: &Sim, wanted: usize| sim.wire.len() - sim.under_way() >= wanted;
    sim.run_until(SECOND, |sim| arrived(sim, number.min(phase1 + phase2)));
    if number > phase1 + phase2 {
        sim.terminate(a, &Selection::default());
        sim.run_until(SECOND, |sim| arrived(sim, number));
    }
    (sim, a, b)
}

/// Hands on everything, and a copy of the `n`th datagram `later`.
fn twice(sim: &mut Sim, n: usize, later: Duration) {
    let mut count = 0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        count += 1;
        let once = (Duration::ZERO, datagram.clone());
        if count == n { vec![once, (later, datagram.clone())] } else { vec![once] }
    })));
}

/// The quiet rule: an answer is repeated only where the datagram had one, no timer runs, and not often. So one copy makes
/// at most one more datagram in each direction.
#[test]
fn the_net_goes_quiet_after_one_duplicate() {
    for mode in MODES {
        let (phase1, phase2, delete) = datagrams(mode);
        let all = phase1 + phase2 + delete;
        for n in 1..=all {
            for later in [0, 1, 15, 45, 500, 5_000] {
                let (mut sim, a, b) = pair(mode);
                twice(&mut sim, n, Duration::from_millis(later));
                sim.initiate(a, b);
                assert!(sim.run_until(SECOND, |sim| sim.carries(a, b)).is_some(), "{mode} {n} {later}");
                sim.run_for(10 * SECOND);
                sim.terminate(a, &Selection::default());
                sim.run_for(20 * SECOND);
                let sent = sim.wire.len();
                assert!(
                    sent <= all + 2,
                    "{mode}, datagram {n} again after {later} ms: {sent} datagrams instead of {all}"
                );
                sim.run_for(400 * SECOND);
                assert_eq!(sim.wire.len(), sent, "{mode}, datagram {n} again after {later} ms: not quiet");
                for node in [a, b] {
                    assert_eq!(sim.endpoint(node).poll_timeout(), None);
                    assert_eq!((sim.plane(node).installs, sim.plane(node).deletes), (1, 1));
                }
            }
        }
    }
}

#[test]
fn after_a_storm_of_copies_the_net_goes_quiet() {
    for mode in MODES {
        for seed in 0..40 {
            let mut sim = Sim::new(seed);
            let (a, b) = sites(mode);
            let (a, b) = (sim.add(a), sim.add(b));
            let bad = Conditions { duplicate: 900, reorder: 300, loss: 50, ..Conditions::default() };
            sim.set_conditions(bad);
            sim.initiate(a, b);
            sim.run_for(400 * SECOND);
            let sent = sim.wire.len();
            assert!(sent < 200, "{mode} {seed}: {sent} datagrams");
            sim.run_for(400 * SECOND);
            assert_eq!(sim.wire.len(), sent, "{mode} {seed}: not quiet");
            assert_eq!(sim.plane(a).installed().count(), sim.pairs(a, b), "{mode} {seed}");
            assert_eq!(sim.plane(b).installed().count(), sim.pairs(a, b), "{mode} {seed}");
        }
    }
}

struct Reaction {
    sent: Vec<Vec<u8>>,
    commands: usize,
    changed: Option<String>,
}

/// Gives a node a datagram and looks at what it does; nothing it sends goes anywhere.
fn react(sim: &mut Sim, node: NodeId, datagram: &Datagram) -> Reaction {
    let states = |sim: &Sim| {
        let each = sim.snapshots(node).into_iter().map(|mut sa| {
            sa.retransmissions.answered = 0;
            // What was said is remembered for the explanation, and changes nothing else.
            sa.suspicion = None;
            sa.heard = model::Heard::default();
            format!("{sa:?}")
        });
        each.collect::<Vec<_>>()
    };
    let (before, timeout) = (states(sim), sim.endpoint(node).poll_timeout());
    let (mut sent, mut commands) = (Vec::new(), 0);
    sim.with(node, |endpoint, now| {
        let input = Input::Datagram { local: datagram.to, remote: datagram.from, bytes: &datagram.bytes };
        endpoint.handle(now, input);
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Transmit { message, .. } => sent.push(message),
                Output::Plane(_) => commands += 1,
                Output::Keepalive { .. }
                | Output::AddAddress(_)
                | Output::RemoveAddress(_)
                | Output::Resolve(_)
                | Output::Solve(_)
                | Output::Fetch(_)
                | Output::FetchCertificate(_)
                | Output::Event(_) => {}
            }
        }
    });
    let after = states(sim);
    let changed = if before != after {
        Some(format!("{before:#?}\n{after:#?}"))
    } else if timeout != sim.endpoint(node).poll_timeout() {
        Some("a timer".to_string())
    } else {
        None
    };
    Reaction { sent, commands, changed }
}

#[test]
fn replays_and_reflections_in_every_state() {
    for mode in MODES {
        let (phase1, phase2, delete) = datagrams(mode);
        let all = phase1 + phase2 + delete;
        for number in 1..=all {
            let (sim, a, b) = stage(mode, number);
            let under_way = sim.under_way();
            // What is still under way would be accepted, not replayed.
            let known: Vec<Datagram> =
                sim.wire.iter().take(sim.wire.len() - under_way).map(|(_, d)| d.clone()).collect();
            for (index, datagram) in known.iter().enumerate() {
                for node in [a, b] {
                    let reflected = Datagram { from: datagram.to, to: datagram.from, ..datagram.clone() };
                    for (copy, how) in [(datagram, "again"), (&reflected, "reflected")] {
                        let (mut sim, _, _) = stage(mode, number);
                        let reaction = react(&mut sim, node, copy);
                        let what = format!("{mode}: {number} arrived, datagram {index} {how} to {node:?}");
                        // A responder that has forgotten everything may take a first message for a new one.
                        let first = Header::parse(&copy.bytes).is_ok_and(|h| h.spis.responder.is_zero());
                        if first && !(node == b && how == "again" && number <= phase1 + phase2) {
                            assert!(sim.snapshots(node).len() <= 2 && reaction.sent.len() <= 1, "{what}");
                            continue;
                        }
                        assert!(reaction.changed.is_none(), "{what}: {}", reaction.changed.unwrap());
                        assert_eq!(reaction.commands, 0, "{what}");
                        assert!(reaction.sent.len() <= 1, "{what}");
                        for sent in reaction.sent {
                            let known = sim.wire.iter().any(|(_, d)| d.bytes == sent);
                            assert!(known, "{what}: a new answer");
                        }
                    }
                }
            }
        }
    }
}

fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u32;
    if let Some(field) = bytes.get_mut(24..28) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

/// What garbage before the `n`th datagram does: `None` if there is no such datagram.
fn with_garbage(mode: &str, n: usize, garbage: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> (Sim, NodeId, NodeId) {
    let (mut sim, a, b) = pair(mode);
    let mut count = 0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        count += 1;
        let mut through = Vec::new();
        if count == n {
            let forged = garbage(&datagram.bytes).into_iter().map(|bytes| Datagram { bytes, ..datagram.clone() });
            through.extend(forged.map(|d| (Duration::ZERO, d)));
        }
        through.push((Duration::from_millis(1), datagram.clone()));
        through
    })));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    sim.set_hook(None);
    (sim, a, b)
}

/// A forged message must not make the next good one unreadable: an IV chain advances with what was believed only.
#[test]
fn garbage_before_each_protected_message_does_no_harm() {
    for mode in MODES {
        let (phase1, phase2, _) = datagrams(mode);
        // Main mode protects from message 5 on, aggressive mode from message 3 on.
        let from = if mode == MODES[0] { 5 } else { 3 };
        for n in from..=phase1 + phase2 {
            let (sim, a, b) = with_garbage(mode, n, move |good| {
                let mut all = Vec::new();
                // HASH_I and HASH_R cover the identities and nothing that follows the HASH payload (RFC 2409 section 5).
                let covered = if n <= phase1 { HEADER_LEN + 32 } else { good.len() };
                for at in HEADER_LEN..covered {
                    let mut flipped = good.to_vec();
                    flipped[at] ^= 0x10;
                    all.push(flipped);
                }
                for length in 0..good.len() {
                    all.push(with_length(good[..length].to_vec()));
                    all.push(good[..length].to_vec());
                }
                for more in [1, 8, 16, 1000, 60_000] {
                    all.push(with_length([good, &vec![0xa5; more]].concat()));
                }
                for payload in 0..=255 {
                    let mut other = good.to_vec();
                    other[16] = payload;
                    if payload != good[16] {
                        all.push(other);
                    }
                }
                let mut clear = good.to_vec();
                clear[19] = 0;
                all.push(clear);
                all
            });
            assert!(sim.carries(a, b), "{mode}, before datagram {n}: {:?}", sim.tombstones(a));
            let extra = sim.wire.len() - phase1 - phase2;
            // Message 5 in many bad copies is told about once.
            assert!(extra <= 1, "{mode}, before datagram {n}: {extra} more datagrams");
            assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (1, 1));
        }
    }
}

/// Each octet of the unprotected messages set to other values, and each length: nothing panics, nothing is installed that
/// the other end has not, and everything ends.
#[test]
fn every_octet_of_every_unprotected_message() {
    for mode in MODES {
        let unprotected = if mode == MODES[0] { 4 } else { 2 };
        for n in 1..=unprotected {
            let length = stage(mode, 9).0.wire[n - 1].1.bytes.len();
            for at in 0..length {
                for how in 0..4 {
                    let (mut sim, a, b) = with_garbage(mode, n, move |good| {
                        let mut bad = good.to_vec();
                        match how {
                            0 => bad[at] ^= 1,
                            1 => bad[at] = 0xff,
                            2 => bad[at] = 0,
                            _ => bad = with_length(bad[..at].to_vec()),
                        }
                        if bad == good { Vec::new() } else { vec![bad] }
                    });
                    let what = format!("{mode}, datagram {n}, octet {at}, {how}");
                    assert_eq!(sim.plane(a).installed().count(), sim.pairs(a, b), "{what}");
                    assert_eq!(sim.plane(b).installed().count(), sim.pairs(a, b), "{what}");
                    // Half-open SAs of forged first messages end, and so does an initiator that was fooled.
                    sim.run_for(200 * SECOND);
                    assert!(sim.endpoint(b).sizes().1 == 0 && sim.endpoint(a).sizes().1 == 0, "{what}");
                    // Only a change of what the hashes cover may prevent the tunnel; a shorter message is never taken.
                    if how == 3 {
                        assert!(sim.carries(a, b), "{what}");
                    }
                }
            }
        }
    }
}

fn v1_header(spis: SpiPair, exchange: ExchangeType, message_id: u32) -> Header {
    let (next_payload, version, flags) = (PayloadType::NONE, Version::V1, Flags(0));
    Header { spis, next_payload, version, exchange, flags, message_id, length: 0 }
}

/// RFC 2409 section 5.7 leaves the reaction to unprotected Notify and Delete payloads open: there is none, but it is told.
#[test]
fn unprotected_words_change_nothing() {
    for mode in MODES {
        let (phase1, phase2, _) = datagrams(mode);
        for number in 0..=phase1 + phase2 {
            let (sim, a, b) = stage(mode, number);
            let spis = sim.snapshots(a)[0].spis;
            let esp = sim.plane(a).installed().next().map(|i| (i.inbound.spi, i.outbound.spi));
            let mut forged = Vec::new();
            for kind in (1..=30).chain([16384, 24576, 24578, 36136, 36137]) {
                let mut chain = ChainBuilder::new();
                chain.notify_isakmp(spis, V1NotifyType(kind), &[0, 0, 0, 1]);
                forged.push(chain);
            }
            let mut chain = ChainBuilder::new();
            chain.delete_isakmp(spis);
            forged.push(chain);
            if let Some((inbound, outbound)) = esp {
                let mut chain = ChainBuilder::new();
                chain.delete(ProtocolId::ESP, &[inbound.to_be_bytes(), outbound.to_be_bytes()]);
                chain.delete_isakmp(spis);
                forged.push(chain);
            }
            for chain in forged {
                for (node, from, to) in [(a, "192.0.2.2:500", "192.0.2.1:500"), (b, "192.0.2.1:500", "192.0.2.2:500")] {
                    for message_id in [0, 1, 0xffff_ffff] {
                        for responder in [spis.responder, IkeSpi::ZERO] {
                            let (mut sim, _, _) = stage(mode, number);
                            let spis = SpiPair { responder, ..spis };
                            let header = v1_header(spis, ExchangeType::INFORMATIONAL_V1, message_id);
                            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                            let datagram =
                                Datagram { from, to, bytes: message(header, chain.clone()), keepalive: false };
                            let reaction = react(&mut sim, node, &datagram);
                            assert!(reaction.changed.is_none(), "{mode} {number}: {:?}", reaction.changed);
                            assert!(reaction.sent.is_empty() && reaction.commands == 0);
                            if message_id == 1 {
                                sim.run_for(SECOND);
                                assert!(sim.carries(a, b), "{mode} {number}");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Exchanges out of turn, huge and zero lengths, and random octets with the right cookies.
#[test]
fn anything_with_the_right_cookies() {
    let mut rng = sim::Rng::new(3);
    for mode in MODES {
        let (phase1, phase2, _) = datagrams(mode);
        for number in 0..=phase1 + phase2 {
            let (mut sim, a, b) = stage(mode, number);
            let spis = sim.snapshots(a)[0].spis;
            for node in [a, b] {
                for round in 0..400_u32 {
                    let exchange = [2, 4, 5, 6, 32, 33, 0, 255, 34][round as usize % 9];
                    // A public value or a choice that is believed ends a negotiation: no well-formed phase 1 here.
                    let mut header = v1_header(spis, ExchangeType(exchange), [0, 1, 0xdead_beef][round as usize % 3]);
                    header.flags = Flags((round / 9 % 2) as u8);
                    header.next_payload = PayloadType(rng.below(256) as u8);
                    let length = [0, 1, 4, 16, 32, 48, 160, 2000, 65_000][rng.below(9) as usize];
                    let mut body: Vec<u8> = (0..length).map(|_| rng.number() as u8).collect();
                    // Lengths of zero and lengths beyond the end.
                    if let Some(field) = body.get_mut(2..4) {
                        field.copy_from_slice(&[[0, 0], [0xff, 0xff], [0, 4], [0, 3]][rng.below(4) as usize]);
                    }
                    header.length = (HEADER_LEN + body.len()) as u32;
                    let mut bytes = Vec::new();
                    header.write(&mut bytes);
                    bytes.extend_from_slice(&body);
                    let (from, to) =
                        if node == a { ("192.0.2.2:500", "192.0.2.1:500") } else { ("192.0.2.1:500", "192.0.2.2:500") };
                    let datagram =
                        Datagram { from: from.parse().unwrap(), to: to.parse().unwrap(), bytes, keepalive: false };
                    let reaction = react(&mut sim, node, &datagram);
                    assert!(reaction.changed.is_none(), "{mode} {number} {round}: {:?}", reaction.changed);
                    assert!(reaction.sent.len() <= 1 && reaction.commands == 0, "{mode} {number} {round}");
                }
            }
            sim.run_for(10 * SECOND);
            assert!(sim.carries(a, b), "{mode} {number}: {:?}", sim.tombstones(a));
        }
    }
}

/// First messages without end from one address: a limited number of half-open SAs, which go.
#[test]
fn a_flood_of_first_messages_is_bounded() {
    for mode in MODES {
        let (sim, ..) = stage(mode, 1);
        let first = sim.wire[0].1.clone();
        let mut sim = Sim::new(9);
        let b = sim.add(sites(mode).1);
        for n in 1..=1000_u64 {
            let mut datagram = first.clone();
            datagram.bytes[..8].copy_from_slice(&n.to_be_bytes());
            sim.inject(datagram);
        }
        sim.run_for(SECOND);
        assert_eq!(sim.endpoint(b).sizes(), (5, 5));
        assert_eq!(sim.dropped(b, DropReason::HalfOpenLimitPeer), 995);
        sim.run_for(100 * SECOND);
        assert_eq!(sim.endpoint(b).sizes(), (0, 0));
        assert_eq!(sim.endpoint(b).poll_timeout(), None);
        assert!(sim.snapshots(b).iter().all(|sa| sa.state != IkeState::Established));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn strangers_who_have_seen_the_cookies(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        sim::fuzz_v1::endpoint_v1(&data);
    }
}

/// Quick mode, Mode-Config and Informational before phase 1 is done: nothing happens, and each has its name.
#[test]
fn phase_2_before_phase_1_is_dropped_by_name() {
    for mode in MODES {
        let (phase1, ..) = datagrams(mode);
        for number in 0..phase1 {
            for exchange in [ExchangeType::QUICK_MODE, ExchangeType::TRANSACTION, ExchangeType::INFORMATIONAL_V1] {
                for flags in [Flags(0), Flags::ENCRYPTION] {
                    let (mut sim, a, b) = stage(mode, number);
                    for (node, from, to) in
                        [(a, "192.0.2.2:500", "192.0.2.1:500"), (b, "192.0.2.1:500", "192.0.2.2:500")]
                    {
                        let Some(sa) = sim.snapshots(node).first().cloned().filter(|sa| sa.established.is_none())
                        else {
                            continue;
                        };
                        let header = Header { flags, ..v1_header(sa.spis, exchange, 77) };
                        let mut chain = ChainBuilder::new();
                        chain.hash(&[7; 32]);
                        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                        let mut bytes = message(header, chain);
                        bytes[19] = flags.0; // `message` makes none that is encrypted
                        let datagram = Datagram { from, to, bytes, keepalive: false };
                        let total = |sim: &Sim| sim.endpoint(node).drops().iter().map(|(_, n)| n).sum::<u64>();
                        let reason = match flags.contains(Flags::ENCRYPTION) {
                            true => DropReason::Undecryptable,
                            false => DropReason::NotProtected,
                        };
                        let (before, named) = (total(&sim), sim.dropped(node, reason));
                        let reaction = react(&mut sim, node, &datagram);
                        let what = format!("{mode} {number} {exchange} {flags:?}");
                        assert!(reaction.changed.is_none(), "{what}: {:?}", reaction.changed);
                        assert!(reaction.sent.is_empty() && reaction.commands == 0, "{what}");
                        assert_eq!(total(&sim), before + 1, "{what}");
                        // Without the responder's cookie it is no message of this SA.
                        if !sa.spis.responder.is_zero() {
                            assert_eq!(sim.dropped(node, reason), named + 1, "{what}");
                        }
                    }
                    sim.run_for(SECOND);
                    assert!(sim.carries(a, b), "{mode} {number} {exchange}");
                }
            }
        }
    }
}

/// Zero, one, values beyond the group and points that are none, for either end: no SA, no panic, and the reason by name
/// (RFC 2412 section 2.4.1 wants degenerate values refused).
#[test]
fn degenerate_public_values_make_no_sa() {
    for (mode, group) in MODES.into_iter().flat_map(|mode| ["modp2048", "ecp256", "x25519"].map(|group| (mode, group)))
    {
        for to_responder in [true, false] {
            for value in ["zero", "one", "highest", "short", "long"] {
                let mut sim = Sim::new(7);
                let (a, b) = sites(mode);
                let more = format!("proposals = aes128-sha256-{group}");
                let with = |site: Site| {
                    let text = site.configuration().replace("proposals = aes128-sha256-x25519", &more);
                    site.text(&text)
                };
                let (a, b) = (sim.add(with(a)), sim.add(with(b)));
                sim.set_hook(Some(Box::new(move |_, datagram| {
                    let mut datagram = datagram.clone();
                    let header = Header::parse(&datagram.bytes).unwrap();
                    let from_initiator = datagram.from.ip().to_string() == "192.0.2.1";
                    let clear = !header.flags.contains(Flags::ENCRYPTION);
                    if clear && from_initiator == to_responder {
                        datagram.bytes = with_public(&header, &datagram.bytes, value);
                    }
                    vec![(Duration::ZERO, datagram)]
                })));
                sim.initiate(a, b);
                sim.run_for(400 * SECOND);
                let what = format!("{mode} {group} {value} to the responder: {to_responder}");
                assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (0, 0), "{what}");
                let codes = |node| sim.tombstones(node).iter().map(|t| t.failure.kind.code()).collect::<Vec<_>>();
                // 2^255 - 1 is a point of the curve of X25519 like any other: then it is HASH_I that does not fit.
                if (group, value) != ("x25519", "highest") {
                    let at = if to_responder { b } else { a };
                    assert!(codes(at).contains(&"BAD_PUBLIC_VALUE"), "{what}: {:?} {:?}", codes(a), codes(b));
                }
                sim.run_for(400 * SECOND);
                assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)), "{what}");
            }
        }
    }
}

/// Whoever sees the cookies can send degenerate values before the peer does: the peer's own message counts as if there had
/// been no other.
#[test]
fn a_forged_public_value_ends_nothing() {
    for mode in MODES {
        // In aggressive mode message 1 has the initiator's public value, and there is no SA yet that could be ended.
        let ends: &[bool] = if mode == MODES[0] { &[true, false] } else { &[false] };
        for &to_responder in ends {
            for value in ["zero", "one", "short"] {
                let mut sim = Sim::new(9);
                let (a, b) = sites(mode);
                let modp = |site: Site| {
                    let text = site.configuration().replace("aes128-sha256-x25519", "aes128-sha256-modp2048");
                    site.text(&text)
                };
                let (a, b) = (sim.add(modp(a)), sim.add(modp(b)));
                sim.set_hook(Some(Box::new(move |_, datagram| {
                    let header = Header::parse(&datagram.bytes).unwrap();
                    let from_initiator = datagram.from.ip().to_string() == "192.0.2.1";
                    let mut all = vec![(Duration::ZERO, datagram.clone())];
                    if !header.flags.contains(Flags::ENCRYPTION) && from_initiator == to_responder {
                        let mut forged = datagram.clone();
                        forged.bytes = with_public(&header, &datagram.bytes, value);
                        if forged.bytes != datagram.bytes {
                            all = vec![(Duration::ZERO, forged), (Duration::from_millis(50), datagram.clone())];
                        }
                    }
                    all
                })));
                sim.initiate(a, b);
                sim.run_for(10 * SECOND);
                let what = format!("{mode} {value} to the responder: {to_responder}");
                let at = if to_responder { b } else { a };
                assert_eq!(sim.dropped(at, DropReason::Unacceptable), 1, "{what}");
                assert!(sim.carries(a, b), "{what}: {:?} {:?}", sim.tombstones(a), sim.tombstones(b));
                assert!(sim.tombstones(a).is_empty() && sim.tombstones(b).is_empty(), "{what}");
            }
        }
    }
}

/// The message with another public value, if it has one.
fn with_public(header: &Header, bytes: &[u8], value: &str) -> Vec<u8> {
    let payloads = wire::v1::parse_chain(header.next_payload, &bytes[HEADER_LEN..], HEADER_LEN, false).unwrap();
    let mut chain = ChainBuilder::new();
    for (raw, payload) in &payloads.payloads {
        if raw.kind == PayloadType::V1_KE {
            let length = raw.body.len();
            let mut public = match value {
                "highest" => vec![0xff; length],
                "short" => raw.body[..length - 1].to_vec(),
                "long" => [raw.body, &[1]].concat(),
                _ => vec![0; length],
            };
            if value == "one" {
                // The last octet of a number, the first of X25519 (RFC 7748 section 5).
                let at = if length == 32 { 0 } else { length - 1 };
                public[at] = 1;
            }
            chain.raw(PayloadType::V1_KE, &public);
        } else {
            chain.push(raw, payload);
        }
    }
    message(*header, chain)
}
