//! Strangers on the path: whatever they send, in whatever state, changes nothing, is counted, and does not amplify.

use model::{DropReason, Role};
use proptest::prelude::*;
use proto::{Endpoint, Input, Output, Selection};
use sim::{Conditions, Datagram, NodeId, Peer, Rng, Sim, Site};
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);

fn site_a() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2").connection(sim::peer::PROPOSALS)
}

fn site_b() -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1").connection(sim::peer::PROPOSALS)
}

/// A handshake, then a Delete, stopped after this many times 10 ms: each is one datagram further.
fn stage(number: u64) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(7);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.set_conditions(Conditions { latency: Duration::from_millis(10), ..Conditions::default() });
    sim.initiate(a, b);
    sim.run_for(Duration::from_millis(10 * number.min(4)));
    if number > 4 {
        sim.terminate(a, &Selection::default());
        sim.run_for(Duration::from_millis(10 * (number - 5)));
    }
    (sim, a, b)
}

const STAGES: u64 = 8;

/// Everything that a datagram could change, SA by SA; `repeats` counts answers given again.
fn fingerprint(endpoint: &Endpoint, sim: &Sim) -> Vec<(u32, u32, String)> {
    let snapshots = endpoint.snapshots(sim.now()).into_iter().map(|mut sa| {
        let repeats = std::mem::take(&mut sa.retransmissions.answered);
        (sa.id.0, repeats, format!("{sa:?}"))
    });
    snapshots.collect()
}

struct Reaction {
    sent: Vec<Vec<u8>>,
    commands: usize,
    drops: u64,
    unchanged: bool,
    /// Answers given again.
    repeats: u32,
    begun: usize,
}

fn total_drops(endpoint: &Endpoint) -> u64 {
    endpoint.drops().iter().map(|(_, n)| n).sum()
}

/// Gives a node a datagram and looks at what it does; nothing it sends goes anywhere.
fn react(sim: &mut Sim, node: NodeId, datagram: &Datagram) -> Reaction {
    let before = fingerprint(sim.endpoint(node), sim);
    let (timeout, drops) = (sim.endpoint(node).poll_timeout(), total_drops(sim.endpoint(node)));
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
    let after = fingerprint(sim.endpoint(node), sim);
    let kept = before.iter().all(|(id, _, text)| after.iter().any(|(i, _, t)| (i, t) == (id, text)));
    let repeats = |list: &[(u32, u32, String)]| list.iter().map(|(_, n, _)| n).sum::<u32>();
    let begun = after.len().saturating_sub(before.len());
    // A new half-open SA has a timer of its own; else none moves.
    let timers = sim.endpoint(node).poll_timeout() == timeout || begun > 0;
    Reaction {
        sent,
        commands,
        drops: total_drops(sim.endpoint(node)) - drops,
        unchanged: kept && timers,
        repeats: repeats(&after).saturating_sub(repeats(&before)),
        begun,
    }
}

/// An IKE_SA_INIT response is not protected: an initiator that waits for one cannot tell a forged one that has both its
/// SPI and its message ID (RFC 7296 section 2.21.1), which takes an attacker on the path.
fn forgeable(sim: &Sim, node: NodeId, datagram: &Datagram) -> bool {
    let waits = sim.snapshots(node).iter().any(|sa| sa.spis.responder.is_zero());
    waits && Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == ExchangeType::IKE_SA_INIT && h.is_response())
}

/// What must hold for any datagram that is not the next authentic message.
fn harmless(sim: &mut Sim, node: NodeId, datagram: &Datagram, what: &str) {
    if forgeable(sim, node, datagram) {
        return;
    }
    let header = Header::parse(&datagram.bytes);
    let first = header.is_ok_and(|h| h.exchange == ExchangeType::IKE_SA_INIT && !h.is_response());
    let reaction = react(sim, node, datagram);
    assert!(reaction.unchanged, "{what}: the state changed");
    assert_eq!(reaction.commands, 0, "{what}: the data plane was touched");
    assert!(reaction.sent.len() <= 1, "{what}: {} answers to one datagram", reaction.sent.len());
    if reaction.begun > 0 {
        assert!(first && reaction.begun == 1, "{what}: a new SA");
    }
    let answered = !reaction.sent.is_empty();
    assert!(answered || reaction.drops == 1, "{what}: dropped without being counted");
    if answered && !first && reaction.drops == 0 {
        assert!(sim.wire.iter().any(|(_, d)| d.bytes == reaction.sent[0]), "{what}: a new answer");
        // A closed SA is not listed any more, so that its repetitions are not either.
        assert!(reaction.repeats <= 1);
    }
}

fn seen(sim: &Sim) -> Vec<Datagram> {
    sim.wire.iter().map(|(_, d)| d.clone()).collect()
}

#[test]
fn replays_and_reflections_in_every_state() {
    let all = seen(&stage(STAGES - 1).0);
    assert_eq!(all.len(), 6);
    for number in 0..STAGES {
        let (sim, a, b) = stage(number);
        let known = seen(&sim);
        for (index, datagram) in known.iter().enumerate() {
            for node in [a, b] {
                let (mut sim, _, _) = stage(number);
                // What is still under way would be accepted, not replayed.
                let fresh =
                    sim.wire.iter().any(|(at, d)| d == datagram && sim.now().since(*at) < Duration::from_millis(10));
                if fresh && datagram.to.ip() == sim.address(node) {
                    continue;
                }
                let what = format!("stage {number}, datagram {index}");
                harmless(&mut sim, node, datagram, &what);
                let reflected = Datagram { from: datagram.to, to: datagram.from, ..datagram.clone() };
                harmless(&mut sim, node, &reflected, &format!("{what} reflected"));
            }
        }
    }
}

/// RFC 7296 section 2.1: a first message of an SA whose IKE_AUTH has come is ignored.
#[test]
fn an_old_first_message_begins_nothing() {
    let (mut sim, _, b) = stage(4);
    let first = sim.wire[0].1.clone();
    let reaction = react(&mut sim, b, &first);
    assert_eq!((reaction.begun, reaction.sent.len(), reaction.drops), (0, 0, 1));
    assert_eq!(sim.dropped(b, DropReason::UnexpectedMessageId), 1);
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_protected_message() {
    // IKE_AUTH request at the responder, its answer at the initiator, the Delete at the responder.
    for (number, index, at_responder) in [(1, 2, true), (2, 3, false), (5, 4, true)] {
        let mut full = stage(STAGES - 1).0;
        let datagram = full.wire.swap_remove(index).1;
        let (mut sim, a, b) = stage(number);
        let node = if at_responder { b } else { a };
        for bit in 0..datagram.bytes.len() * 8 {
            let mut copy = datagram.clone();
            copy.bytes[bit / 8] ^= 1 << (bit % 8);
            harmless(&mut sim, node, &copy, &format!("bit {bit} of datagram {index}"));
        }
        for length in 0..datagram.bytes.len() {
            let copy = Datagram { bytes: datagram.bytes[..length].to_vec(), ..datagram.clone() };
            harmless(&mut sim, node, &copy, &format!("datagram {index} cut to {length}"));
            if length >= 28 {
                let mut copy = copy;
                copy.bytes[24..28].copy_from_slice(&(length as u32).to_be_bytes());
                harmless(&mut sim, node, &copy, &format!("datagram {index} cut to {length}, length corrected"));
            }
        }
        // And then the true one is accepted all the same.
        assert!(!react(&mut sim, node, &datagram).unchanged, "datagram {index} was accepted");
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let length = bytes.len() as u64;
        match rng.below(6) {
            0 if length > 0 => bytes[rng.below(length) as usize] ^= 1 << rng.below(8),
            1 if length > 0 => bytes[rng.below(length) as usize] = rng.number() as u8,
            2 => bytes.truncate(rng.below(length + 1) as usize),
            3 => bytes.extend((0..rng.below(64)).map(|n| n as u8)),
            4 => bytes.resize(length as usize + 60_000, 0xAA),
            _ if length > 8 => {
                let (from, to) = (rng.below(length - 4) as usize, rng.below(length - 4) as usize);
                let four: Vec<u8> = bytes[from..from + 4].to_vec();
                bytes[to..to + 4].copy_from_slice(&four);
            }
            _ => {}
        }
    }
    if rng.chance(500) && bytes.len() >= 28 {
        let length = bytes.len() as u32;
        bytes[24..28].copy_from_slice(&length.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn mutated_datagrams_in_every_state(number in 0..STAGES, responder: bool, seed: u64) {
        let (mut sim, a, b) = stage(number);
        let known = seen(&stage(STAGES - 1).0);
        let node = if responder { b } else { a };
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            let original = &known[rng.below(known.len() as u64) as usize];
            let mut copy = original.clone();
            mutate(&mut copy.bytes, &mut rng);
            if rng.chance(200) {
                copy.from.set_port(1024 + rng.below(60_000) as u16);
            }
            if known.iter().any(|d| d.bytes == copy.bytes) {
                continue;
            }
            harmless(&mut sim, node, &copy, &format!("stage {number}, seed {seed}"));
        }
    }

    #[test]
    fn arbitrary_octets_in_every_state(number in 0..STAGES, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut sim, a, b) = stage(number);
        for node in [a, b] {
            let (from, to) = ("192.0.2.66:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
            harmless(&mut sim, node, &Datagram { from, to, bytes: bytes.clone(), keepalive: false }, "octets");
        }
    }

    #[test]
    fn stories_of_strangers(data in prop::collection::vec(any::<u8>(), 0..600)) {
        sim::fuzz::endpoint_unauthenticated(&data);
    }
}

// ------------------------------------------------------------------------------------------------ limits, amplification

fn transmitted(endpoint: &mut Endpoint) -> Vec<Vec<u8>> {
    let outputs = std::iter::from_fn(|| endpoint.poll_output());
    outputs.filter_map(|o| if let Output::Transmit { message, .. } = o { Some(message) } else { None }).collect()
}

#[test]
fn a_flood_from_everywhere_leaves_a_bounded_number_of_half_open_sas() {
    let mut sim = Sim::new(1);
    let a = sim.add(site_a());
    let b = sim.add(site_b().text(&site_b().to("%any").configuration()).settings(|s| {
        s.cookie_threshold = 10;
        s.half_open_limit = 40;
    }));
    for n in 0..2000u64 {
        let mut peer = Peer::new(Role::Initiator, n);
        let bytes = peer.init(&peer.init_parts());
        let from = std::net::SocketAddr::from(([198, 18, (n >> 8) as u8, n as u8], 500));
        let answers = sim.with(b, |endpoint, now| {
            endpoint
                .handle(now, Input::Datagram { local: "192.0.2.2:500".parse().unwrap(), remote: from, bytes: &bytes });
            transmitted(endpoint)
        });
        let (all, half_open) = sim.endpoint(b).sizes();
        assert!(all == half_open && half_open <= 10, "{half_open} half-open SAs");
        if half_open == 10 && n > 10 {
            assert!(answers.iter().map(Vec::len).sum::<usize>() <= bytes.len(), "amplification");
        }
    }
    assert!(sim.endpoint(b).tombstones(sim.now()).len() <= 256);
    // Whoever can answer a cookie gets through.
    sim.initiate(a, b);
    assert!(sim.run_until(SECOND, |sim| sim.carries(a, b)).is_some());
    sim.run_for(100 * SECOND);
    assert_eq!(sim.endpoint(b).sizes(), (1, 0), "the flood has passed");
}

/// IKEv1 has no COOKIE: a flood of it from everywhere takes half of the places, and IKEv2 still gets in. Then all is over.
#[test]
fn a_flood_of_ikev1_leaves_room_for_ikev2() {
    let mut sim = Sim::new(1);
    let a = sim.add(site_a());
    let both = "version = 0\nproposals = aes128gcm16-prfsha256-x25519, aes128-sha256-x25519";
    let b = sim.add(Site::new("b", "192.0.2.2").to("%any").connection(both).settings(|s| s.half_open_limit = 40));
    let mut first = Sim::new(2);
    let [c, d] = [("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")].map(|(own, peer)| {
        first.add(Site::new("c", own).to(peer).connection("version = 1\nproposals = aes128-sha256-x25519"))
    });
    first.initiate(c, d);
    let message = first.wire[0].1.bytes.clone();
    for n in 0..2000u16 {
        let mut bytes = message.clone();
        bytes[..2].copy_from_slice(&(n + 1).to_be_bytes());
        let from = std::net::SocketAddr::from(([198, 18, (n >> 8) as u8, n as u8], 500));
        let answers = sim.with(b, |endpoint, now| {
            endpoint
                .handle(now, Input::Datagram { local: "192.0.2.2:500".parse().unwrap(), remote: from, bytes: &bytes });
            transmitted(endpoint)
        });
        assert!(answers.iter().map(Vec::len).sum::<usize>() <= bytes.len(), "amplification");
    }
    assert_eq!(sim.endpoint(b).sizes(), (20, 20));
    assert_eq!(sim.dropped(b, DropReason::HalfOpenLimit), 1980);
    sim.initiate(a, b);
    assert!(sim.run_until(SECOND, |sim| sim.carries(a, b)).is_some());
    sim.run_for(200 * SECOND);
    assert_eq!(sim.endpoint(b).sizes(), (1, 0), "the flood has passed");
}

#[test]
fn one_address_cannot_take_all_places() {
    let mut sim = Sim::new(1);
    let b = sim.add(site_b());
    let (to, mut sent) = ("192.0.2.2:500".parse().unwrap(), 0);
    for n in 0..200u16 {
        // Whoever owns the address can answer cookies: the limit per address stops it all the same.
        let mut peer = Peer::new(Role::Initiator, n.into());
        let from = std::net::SocketAddr::from(([192, 0, 2, 1], 1000 + n));
        let mut parts = peer.init_parts();
        for _ in 0..2 {
            let bytes = peer.init(&parts);
            let answers = sim.with(b, |endpoint, now| {
                endpoint.handle(now, Input::Datagram { local: to, remote: from, bytes: &bytes });
                transmitted(endpoint)
            });
            sent += answers.len();
            let cookie = answers.first().and_then(|m| peer.open(m)).filter(|o| o.notifies() == [16390]);
            let Some(cookie) = cookie else { break };
            parts.insert(0, cookie.parts[0].clone());
        }
    }
    assert_eq!(sim.endpoint(b).sizes(), (5, 5));
    assert_eq!(sim.dropped(b, DropReason::HalfOpenLimitPeer), 195);
    assert_eq!(sent, 3 + 2 * 2, "three at once, two with a cookie, the others nothing");
}

/// The half-open SA is counted where its first message came from, wherever IKE_AUTH comes from.
#[test]
fn half_open_sas_are_counted_at_one_address_only() {
    let mut sim = Sim::new(1);
    let b = sim.add(site_b().settings(|s| s.cookie_threshold_peer = 0));
    let local = "192.0.2.2:500".parse().unwrap();
    for n in 0..20 {
        let mut peer = Peer::new(Role::Initiator, n);
        let bytes = peer.init(&peer.init_parts());
        let remote = "192.0.2.1:500".parse().unwrap();
        let give = |sim: &mut Sim, remote, bytes: &[u8]| {
            sim.with(b, |endpoint, now| {
                endpoint.handle(now, Input::Datagram { local, remote, bytes });
                transmitted(endpoint)
            })
        };
        let answer = give(&mut sim, remote, &bytes);
        assert!(peer.take_init(&answer[0]), "attempt {n}");
        let parts = peer.auth_parts("a.example", b"wrong", "192.0.2.1", "192.0.2.2");
        let bytes = peer.protected(ExchangeType::IKE_AUTH, 1, false, &parts);
        assert_eq!(give(&mut sim, "192.0.2.77:4500".parse().unwrap(), &bytes).len(), 1);
        assert_eq!(sim.endpoint(b).sizes(), (0, 0));
    }
}

#[test]
fn no_answer_in_the_clear_is_larger_than_its_request() {
    // A header of a later version, alone: the shortest thing that might be answered.
    let mut endpoint = site_b().endpoint(Rng::new(1));
    for version in 0..=255u8 {
        for exchange in 0..=255u8 {
            let mut bytes = vec![1; 28];
            bytes[8..16].fill(0);
            bytes[16..20].copy_from_slice(&[0, version, exchange, 0x08]);
            bytes[20..24].fill(0);
            bytes[24..28].copy_from_slice(&28u32.to_be_bytes());
            let (local, remote) = ("192.0.2.2:500".parse().unwrap(), "192.0.2.1:500".parse().unwrap());
            endpoint.handle(model::Instant::ZERO, Input::Datagram { local, remote, bytes: &bytes });
            let sent: usize = transmitted(&mut endpoint).iter().map(Vec::len).sum();
            assert!(sent <= 28, "version {version:02x}, exchange {exchange}: {sent} octets for 28");
        }
    }
}

/// What an end that has lost its SAs is sent by a peer that has not: requests and answers of every exchange, whole and cut short.
/// It may be told (INVALID_IKE_SPI, a token of RFC 6290), with no more octets than came.
#[test]
fn no_answer_to_a_message_of_an_sa_that_is_gone_is_larger_than_that() {
    let secret = b"a secret of quick crash detection";
    let (site_a, site_b) = (site_a().connection("dpd_delay = 3"), site_b().crash_secret(secret));
    let mut sim = Sim::new(9);
    let (a, b) = (sim.add(site_a), sim.add(site_b.clone()));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    for selection in [Selection { child: Some("net".into()), ..Selection::default() }, Selection::default()] {
        sim.with(a, |endpoint, now| assert_eq!(endpoint.rekey(now, &selection), 1));
        sim.run_for(5 * SECOND);
    }
    let mut exchanges = std::collections::BTreeMap::new();
    for datagram in seen(&sim).into_iter().filter(|d| d.to.ip() == sim.address(b)) {
        let header = Header::parse(&datagram.bytes).unwrap();
        *exchanges.entry((header.exchange.0, header.is_response())).or_insert(0) += 1;
        for length in 28..=datagram.bytes.len() {
            let mut bytes = datagram.bytes[..length].to_vec();
            bytes[24..28].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            let mut forgetful = site_b.endpoint(Rng::new(1));
            let now = model::Instant::ZERO + 10 * SECOND;
            forgetful.handle(now, Input::Datagram { local: datagram.to, remote: datagram.from, bytes: &bytes });
            let sent: usize = transmitted(&mut forgetful).iter().map(Vec::len).sum();
            let first = header.exchange == ExchangeType::IKE_SA_INIT && length == datagram.bytes.len();
            assert!(first || sent <= length, "{}: {sent} octets for {length}", header.exchange);
        }
    }
    let requests = [ExchangeType::IKE_AUTH, ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL];
    assert!(requests.iter().all(|exchange| exchanges.contains_key(&(exchange.0, false))), "{exchanges:?}");
}

// --------------------------------------------------------------------------------------------------------- quiescence

#[test]
fn after_a_storm_of_copies_the_net_goes_quiet() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let (a, b) = (sim.add(site_a()), sim.add(site_b()));
        // Every datagram arrives six times, over ten seconds.
        sim.set_hook(Some(Box::new(|rng, datagram| {
            let copies = (0..5).map(|_| (Duration::from_millis(rng.below(10_000)), datagram.clone()));
            std::iter::once((Duration::ZERO, datagram.clone())).chain(copies).collect()
        })));
        sim.initiate(a, b);
        sim.run_for(SECOND);
        assert!(sim.carries(a, b), "seed {seed}");
        sim.run_for(60 * SECOND);
        assert!(sim.carries(a, b) && sim.quiet());
        let exchanged = sim.wire.len();
        // Each request of the two is answered at most six times.
        assert!(exchanged <= 2 * 7, "seed {seed}: {exchanged} datagrams");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
        sim.run_for(SECOND);
        assert_eq!(sim.wire.len(), exchanged);
    }
}

#[test]
fn two_mirrors_do_not_play_ping_pong() {
    // Everything that either sends comes back to it as well.
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.set_hook(Some(Box::new(|_, d| {
        let back = Datagram { from: d.to, to: d.from, ..d.clone() };
        vec![(Duration::ZERO, d.clone()), (Duration::ZERO, back)]
    })));
    sim.initiate(a, b);
    sim.run_for(100 * SECOND);
    assert!(sim.carries(a, b));
    assert!(sim.wire.len() <= 8, "{} datagrams", sim.wire.len());
}
