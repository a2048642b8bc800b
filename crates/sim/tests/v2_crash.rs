//! Quick crash detection (RFC 6290): a peer that restarted proves it, and nobody else does.

use model::{DropReason, Event, FailureKind, SaId};
use proto::{Endpoint, Input, Output, Selection};
use sim::{Datagram, Happened, NodeId, Rng, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::v2::{ChainBuilder, Notify, Payload, message, parse_chain};
use wire::{ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, NotifyType, PayloadType, ProtocolId, SpiPair, Version};

const SECOND: Duration = Duration::from_secs(1);
const SECRET: [u8; 32] = [0x51; 32];
const OTHER: [u8; 32] = [0x15; 32];

fn sites() -> (Site, Site) {
    let ready = |site: Site| site.connection("dpd_delay = 10s").child("dpd_action = restart");
    (
        ready(Site::new("a", "192.0.2.1").to("192.0.2.2")).crash_secret(&OTHER),
        ready(Site::new("b", "192.0.2.2").to("192.0.2.1")).crash_secret(&SECRET),
    )
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(6290);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

/// A protected request as whoever has no keys can make it.
fn request(spis: SpiPair, flags: Flags, length: usize) -> Vec<u8> {
    let header = Header {
        spis,
        next_payload: PayloadType::SK,
        version: Version::V2,
        exchange: ExchangeType::INFORMATIONAL,
        flags,
        message_id: 7,
        length: length as u32,
    };
    let mut octets = Vec::new();
    header.write(&mut octets);
    octets.resize(length, 0x33);
    octets
}

/// What an endpoint answers to a datagram.
fn answers(endpoint: &mut Endpoint, now: model::Instant, from: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let (local, remote) = (addr("192.0.2.2:4500"), addr(from));
    endpoint.handle(now, Input::Datagram { local, remote, bytes });
    let mut sent = Vec::new();
    while let Some(output) = endpoint.poll_output() {
        if let Output::Transmit { local: l, remote: r, message } = output {
            assert_eq!((l, r), (local, remote), "the answer goes where the request came from");
            sent.push(message);
        }
    }
    sent
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The token in an answer.
fn token_in(answer: &[u8]) -> Vec<u8> {
    let header = Header::parse(answer).unwrap();
    assert!(header.is_response());
    let chain = parse_chain(header.next_payload, &answer[HEADER_LEN..], HEADER_LEN).unwrap();
    assert!(chain.notify(NotifyType::INVALID_IKE_SPI).is_some());
    let notify = chain.notify(NotifyType::QUICK_CRASH_DETECTION).unwrap();
    assert_eq!((notify.protocol, notify.spi), (ProtocolId::IKE, &[][..]), "RFC 6290 section 4.1");
    notify.data.to_vec()
}

/// The token of these SPIs, as a gateway with this secret tells it that does not have the IKE SA.
fn token(secret: &[u8], spis: SpiPair) -> Vec<u8> {
    let mut endpoint = Site::new("b", "192.0.2.2").crash_secret(secret).endpoint(Rng::new(1));
    let sent = answers(&mut endpoint, model::Instant::ZERO, "192.0.2.9:4500", &request(spis, Flags::INITIATOR, 80));
    token_in(&sent[0])
}

/// An unprotected claim to have lost an IKE SA, made by the original responder.
fn claim(spis: SpiPair, tokens: &[Vec<u8>]) -> Vec<u8> {
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::NONE, &[], NotifyType::INVALID_IKE_SPI, &[]);
    for token in tokens {
        let kind = NotifyType::QUICK_CRASH_DETECTION;
        chain.push(&Payload::Notify(Notify { protocol: ProtocolId::IKE, spi: &[], kind, data: token }));
    }
    let header = Header {
        spis,
        next_payload: PayloadType::NONE,
        version: Version::V2,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags::RESPONSE,
        message_id: 2,
        length: 0,
    };
    message(header, chain)
}

fn inject(sim: &mut Sim, from: &str, bytes: Vec<u8>) {
    sim.inject(Datagram { from: addr(from), to: addr("192.0.2.1:4500"), bytes, keepalive: false });
    sim.run_for(Duration::from_millis(1));
}

fn spis(sim: &Sim, node: NodeId) -> SpiPair {
    sim.snapshots(node)[0].spis
}

/// How long it takes until traffic flows again after a restart.
fn recovery(a: Site, b: Site, initiator_restarts: bool) -> (Duration, FailureKind) {
    let (mut sim, a, b) = tunnel(a, b);
    let (restarted, survivor) = if initiator_restarts { (a, b) } else { (b, a) };
    sim.run_for(3 * SECOND);
    sim.restart(restarted);
    assert!(!sim.carries(a, b));
    let took = sim.run_until(600 * SECOND, |sim| sim.carries(a, b)).expect("the tunnel comes back");
    let kind = sim.failure(survivor).kind;
    // Nothing that the survivor sends asks about the SA that is gone, and its end is silent (RFC 6290 section 3).
    assert_eq!(sim.dropped(restarted, DropReason::UnknownSpi) > 1, kind != FailureKind::PeerRestarted);
    (took, kind)
}

#[test]
fn traffic_flows_again_with_the_first_message_after_a_restart() {
    for initiator_restarts in [false, true] {
        for suite in ["default", "aes128gcm16-prfsha256-x25519", "aes128gcm8-prfsha256-x25519", "aes128-sha256-x25519"]
        {
            let sites = || {
                let (a, b) = sites();
                let line = format!("proposals = {suite}");
                (a.connection(&line), b.connection(&line))
            };
            let (a, b) = sites();
            let (with, kind) = recovery(a, b, initiator_restarts);
            assert_eq!(kind, FailureKind::PeerRestarted);
            assert!(with < 11 * SECOND, "{with:?}: by the next sign of life");
            // Either end may not do it, then it takes as long as it takes to give up.
            for off in [0, 1] {
                let (mut a, mut b) = sites();
                let site = if off == 0 { &mut a } else { &mut b };
                site.settings.quick_crash_detection = false;
                let (without, kind) = recovery(a, b, initiator_restarts);
                assert!(matches!(kind, FailureKind::NoAnswer { answered_before: true, .. }), "{kind:?}");
                assert!(without > 100 * SECOND, "{without:?}");
            }
        }
    }
}

#[test]
fn what_is_lost_is_deleted_and_explained_where_nothing_is_to_follow() {
    let (a, b) = sites();
    let (mut sim, a, b) = tunnel(a.child("dpd_action = clear"), b);
    sim.restart(b);
    sim.run_for(60 * SECOND);
    assert_eq!(sim.endpoint(a).sizes(), (0, 0));
    assert_eq!(sim.plane(a).installed().count(), 0);
    let ended = &sim.tombstones(a)[0];
    assert_eq!((ended.failure.kind.code(), ended.sa.id), ("PEER_RESTART", SaId(1)));
    assert_eq!(ended.failure.kind.to_string(), "the peer has restarted and lost the SA");
    assert!(ended.failure.kind.remedy().contains("dpd_action"));
    let said = |(_, event): (_, &Event)| matches!(event, Event::Step { text, .. } if text.contains("has restarted"));
    assert!(sim.events(a).any(said));
}

#[test]
fn only_the_token_of_this_ike_sa_ends_it() {
    let (a, b) = sites();
    let (mut sim, a, _) = tunnel(a, b);
    let pair = spis(&sim, a);
    let right = token(&SECRET, pair);
    let flipped = |at: usize| {
        let mut token = right.clone();
        token[at] ^= 1;
        token
    };
    let (mut other_i, mut other_r) = (pair, pair);
    other_i.initiator.0[7] ^= 1;
    other_r.responder.0[7] ^= 1;
    let wrong = [
        flipped(0),
        flipped(right.len() - 1),
        right[..15].to_vec(),
        [&right[..], &[0]].concat(),
        vec![0; 16],
        vec![0xFF; 128],
        token(&SECRET, other_i),
        token(&SECRET, other_r),
        token(&OTHER, pair),
        Vec::new(),
        vec![7; 4000],
    ];
    for token in &wrong {
        inject(&mut sim, "192.0.2.2:4500", claim(pair, std::slice::from_ref(token)));
        assert_eq!(sim.endpoint(a).sizes(), (1, 0));
        sim.run_for(SECOND);
    }
    assert!(sim.dropped(a, DropReason::BadToken) >= 8);
    // A claim in a request, or with another SA's SPIs, is none.
    let mut as_request = claim(pair, std::slice::from_ref(&right));
    as_request[19] = 0;
    inject(&mut sim, "192.0.2.2:4500", as_request);
    inject(&mut sim, "192.0.2.2:4500", claim(other_r, std::slice::from_ref(&right)));
    // More tokens than four need not be looked at (section 4.5).
    inject(
        &mut sim,
        "192.0.2.2:4500",
        claim(pair, &[vec![1; 16], vec![2; 16], vec![3; 16], vec![4; 16], right.clone()]),
    );
    assert_eq!(sim.endpoint(a).sizes(), (1, 0));
    // Nowhere does it say what the token is.
    let hex: String = right.iter().map(|octet| format!("{octet:02x}")).collect();
    let list = format!("{right:?}");
    for (_, event) in sim.events(a) {
        let text = format!("{event:?}");
        assert!(!text.contains(&hex) && !text.contains(&list), "{text}");
    }
    // The fourth of four may be it, and it may come from anywhere (section 3).
    inject(&mut sim, "198.51.100.7:9", claim(pair, &[vec![1; 16], vec![2; 16], vec![3; 16], right]));
    assert_eq!(sim.failure(a).kind, FailureKind::PeerRestarted);
}

#[test]
fn a_rekeyed_ike_sa_has_a_token_of_its_own_and_the_old_one_is_worth_nothing() {
    // Both ends tell theirs, whichever of them rekeys (section 4.3).
    for (a_time, b_time) in [("20s", "0"), ("0", "20s")] {
        let (a, b) = sites();
        let lines = |site: Site, time| site.connection(&format!("rekey_time = {time}")).connection("rand_time = 0");
        let (mut sim, a, b) = tunnel(lines(a, a_time), lines(b, b_time));
        let before = spis(&sim, a);
        sim.run_until(30 * SECOND, |sim| spis(sim, a) != before).expect("a new IKE SA");
        sim.run_for(3 * SECOND);
        let after = spis(&sim, a);
        assert_eq!(sim.snapshots(a)[0].tasks_queued.len(), 0);
        let old = token(&SECRET, before);
        inject(&mut sim, "192.0.2.2:4500", claim(after, std::slice::from_ref(&old)));
        inject(&mut sim, "192.0.2.2:4500", claim(before, &[old]));
        assert_eq!(spis(&sim, a), after);
        // Either end notices the other's restart by the next sign of life.
        let (lost, survivor) = if a_time == "0" { (a, b) } else { (b, a) };
        sim.restart(lost);
        let found = |sim: &Sim| sim.tombstones(survivor).iter().any(|t| t.failure.kind == FailureKind::PeerRestarted);
        sim.run_until(16 * SECOND, found).expect("found out");
        sim.run_until(2 * SECOND, |sim| sim.carries(a, b)).expect("traffic flows again");
    }
}

#[test]
fn a_rekeying_tells_the_token_of_the_end_that_began_it_too() {
    for restarted in [0, 1] {
        let (a, b) = sites();
        let (mut sim, a, b) = tunnel(a.connection("rekey_time = 20s").connection("rand_time = 0"), b);
        let before = spis(&sim, a);
        sim.run_until(30 * SECOND, |sim| spis(sim, a) != before).expect("a new IKE SA");
        sim.run_for(SECOND);
        let (lost, survivor) = if restarted == 0 { (a, b) } else { (b, a) };
        sim.restart(lost);
        let found = |sim: &Sim| sim.tombstones(survivor).iter().any(|t| t.failure.kind == FailureKind::PeerRestarted);
        sim.run_until(16 * SECOND, found).expect("found out");
    }
}

#[test]
fn no_token_is_told_of_an_ike_sa_that_is_there() {
    let (a, b) = sites();
    let (mut sim, a, b) = tunnel(a, b);
    let pair = spis(&sim, a);
    let mut swapped = pair;
    std::mem::swap(&mut swapped.initiator, &mut swapped.responder);
    let mut foreign = pair;
    foreign.initiator.0[3] ^= 0x40;
    for from in ["192.0.2.1:4500", "198.51.100.7:500"] {
        // With the Initiator flag of the other end it is another SPI that is looked up.
        for flags in [Flags::INITIATOR, Flags(0), Flags::RESPONSE, Flags::RESPONSE | Flags::INITIATOR] {
            for pair in [pair, foreign, swapped] {
                let sent = sim.with(b, |endpoint, now| answers(endpoint, now, from, &request(pair, flags, 80)));
                assert_eq!(sent.len(), 0, "{flags:?}");
            }
        }
    }
    // An IKE SA that was ended a moment ago is there as long as its last answer may be asked for.
    sim.terminate(a, &Selection::default());
    sim.run_for(SECOND);
    let sent =
        sim.with(b, |endpoint, now| answers(endpoint, now, "192.0.2.1:4500", &request(pair, Flags::INITIATOR, 80)));
    assert_eq!(sent.len(), 0);
    assert_eq!(sim.endpoint(b).sizes(), (0, 0));
}

#[test]
fn an_answer_is_no_larger_than_the_request_and_there_is_none_to_an_answer() {
    let mut b = Site::new("b", "192.0.2.2").crash_secret(&SECRET).endpoint(Rng::new(2));
    let pair = SpiPair { initiator: IkeSpi::from(1), responder: IkeSpi::from(2) };
    let mut second = 0;
    let mut ask = |bytes: &[u8]| {
        second += 1;
        answers(&mut b, model::Instant::ZERO + second * SECOND, "192.0.2.9:500", bytes)
    };
    for length in HEADER_LEN..100 {
        for answer in ask(&request(pair, Flags::INITIATOR, length)) {
            assert!(answer.len() <= length);
        }
    }
    let answer = &ask(&request(pair, Flags::INITIATOR, 60))[0];
    let header = Header::parse(answer).unwrap();
    assert_eq!((header.spis, header.message_id, header.flags), (pair, 7, Flags::RESPONSE));
    let answer = &ask(&request(pair, Flags(0), 60))[0];
    assert_eq!(Header::parse(answer).unwrap().flags, Flags::RESPONSE | Flags::INITIATOR);
    assert_eq!(ask(&request(pair, Flags::RESPONSE, 80)).len(), 0);
    // What is not protected is no message of an IKE SA.
    let mut plain = request(pair, Flags::INITIATOR, 80);
    plain[16] = PayloadType::NOTIFY.0;
    assert_eq!(ask(&plain).len(), 0);
    let mut first = request(pair, Flags::INITIATOR, 80);
    first[18] = ExchangeType::IKE_SA_INIT.0;
    assert_eq!(ask(&first).len(), 0);
    // Tokens of different pairs have nothing in common (section 5), and the same secret makes the same ones.
    let other = SpiPair { initiator: IkeSpi::from(1), responder: IkeSpi::from(3) };
    assert_ne!(token(&SECRET, pair), token(&SECRET, other));
    assert_eq!(token(&SECRET, pair), token(&SECRET, pair));
    assert_ne!(token(&SECRET, pair), token(&OTHER, pair));
}

#[test]
fn without_a_secret_nothing_is_told() {
    let mut b = Site::new("b", "192.0.2.2").endpoint(Rng::new(2));
    let pair = SpiPair { initiator: IkeSpi::from(1), responder: IkeSpi::from(2) };
    assert_eq!(answers(&mut b, model::Instant::ZERO, "192.0.2.9:500", &request(pair, Flags::INITIATOR, 80)).len(), 0);
}

#[test]
fn whoever_floods_gets_few_answers_and_costs_no_memory() {
    let mut b = Site::new("b", "192.0.2.2").crash_secret(&SECRET).endpoint(Rng::new(2));
    let now = model::Instant::ZERO + SECOND;
    let mut rng = Rng::new(3);
    let mut pair = || SpiPair { initiator: IkeSpi::from(rng.number() | 1), responder: IkeSpi::from(rng.number() | 1) };
    let one: usize =
        (0..5000).map(|_| answers(&mut b, now, "192.0.2.9:500", &request(pair(), Flags::INITIATOR, 80)).len()).sum();
    assert_eq!(one, 8);
    // From everywhere, a second later.
    let now = now + SECOND;
    let from = |n: u32| format!("{}:500", std::net::Ipv4Addr::from(0x0A00_0000 + n));
    let all: usize =
        (0..5000).map(|n| answers(&mut b, now, &from(n), &request(pair(), Flags::INITIATOR, 80)).len()).sum();
    assert_eq!(all, 1000);
    assert_eq!((b.sizes(), b.poll_timeout()), ((0, 0), None));
    let sent = answers(&mut b, now + SECOND, "192.0.2.9:500", &request(pair(), Flags::INITIATOR, 80));
    assert_eq!(sent.len(), 1, "and in the next second it goes on");
}

#[test]
fn forged_tokens_in_numbers_do_not_end_it_and_do_not_keep_the_right_one_out() {
    let (a, b) = sites();
    let (mut sim, a, _) = tunnel(a, b);
    let pair = spis(&sim, a);
    for n in 0..2000_u128 {
        inject(&mut sim, "198.51.100.7:500", claim(pair, &[n.to_be_bytes().to_vec()]));
    }
    assert_eq!(sim.endpoint(a).sizes(), (1, 0));
    inject(&mut sim, "192.0.2.2:4500", claim(pair, &[token(&SECRET, pair)]));
    assert_eq!(sim.failure(a).kind, FailureKind::PeerRestarted);
    let deletes = |e: &&sim::LogEntry| matches!(&e.what, Happened::Sent(d) if d.to.port() == 4500);
    let sent = sim.happened(a).iter().filter(deletes).count();
    sim.run_for(SECOND);
    let later = sim.happened(a).iter().filter(deletes).count();
    assert!(later >= sent, "the end itself sends nothing but the new negotiation");
}

/// Section 9.2: the peer has the IKE SA that our rekeying makes as soon as it has answered, and may speak under it before we
/// have that answer. A token in the clear would let whoever sees it end that IKE SA.
#[test]
fn no_token_is_told_of_an_ike_sa_that_is_just_being_made() {
    let (a, b) = sites();
    let (mut sim, a, b) = tunnel(a, b);
    let answers_rekeying = |d: &Datagram| {
        Header::parse(&d.bytes).is_ok_and(|h| h.exchange == ExchangeType::CREATE_CHILD_SA && h.is_response())
    };
    sim.set_hook(Some(Box::new(
        move |_, d| {
            if answers_rekeying(d) { Vec::new() } else { vec![(Duration::ZERO, d.clone())] }
        },
    )));
    assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &Selection::default())), 1);
    sim.run_for(Duration::from_millis(500));
    let new = sim.snapshots(b).iter().max_by_key(|sa| sa.id).unwrap().spis;
    assert!(sim.snapshots(a).iter().all(|sa| sa.spis != new), "it has no answer");
    let (from, before) = (sim.wire.len(), sim.dropped(a, DropReason::UnknownSpi));
    inject(&mut sim, "192.0.2.2:4500", request(new, Flags::default(), 80));
    assert_eq!(sim.dropped(a, DropReason::UnknownSpi), before + 1);
    let (own, told) = (addr("192.0.2.1:4500"), |d: &Datagram| Header::parse(&d.bytes).is_ok_and(|h| h.spis == new));
    assert!(!sim.wire[from..].iter().any(|(_, d)| d.from.ip() == own.ip() && told(d)));
    // Of one that nobody makes it is told, as ever.
    let mut other = new;
    other.initiator.0[7] ^= 1;
    inject(&mut sim, "192.0.2.2:4500", request(other, Flags::default(), 80));
    let answer = sim.wire[from..]
        .iter()
        .find(|(_, d)| Header::parse(&d.bytes).is_ok_and(|h| h.spis == other && h.is_response()));
    assert_eq!(token_in(&answer.expect("an answer").1.bytes), token(&OTHER, other));
    // The answer comes at last, and what the peer says is understood.
    sim.set_hook(None);
    sim.run_for(60 * SECOND);
    assert!(sim.carries(a, b) && sim.snapshots(a)[0].spis == new);
}
