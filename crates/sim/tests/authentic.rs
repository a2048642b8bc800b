//! A peer that has the keys and does not keep to the protocol: no panic, no SA without proof, one answer per request.

use model::{DropReason, IkeState, Role};
use proptest::prelude::*;
use sim::{Datagram, NodeId, Parts, Peer, Rng, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, NotifyType, PayloadType, ProtocolId};

const MS: Duration = Duration::from_millis(1);
const PSK: &[u8] = b"swordfish";

fn peer_address() -> SocketAddr {
    "192.0.2.1:500".parse().unwrap()
}

fn our_address() -> SocketAddr {
    "192.0.2.2:500".parse().unwrap()
}

/// The endpoint under test, with the peer at 192.0.2.1.
fn site() -> Site {
    Site::new("b", "192.0.2.2")
        .to("192.0.2.1")
        .connection(sim::peer::PROPOSALS)
        .connection("mobike = no")
        .child(sim::peer::ESP_PROPOSALS)
        .settings(|s| (s.cookie_threshold_peer, s.block_threshold) = (0, 0))
}

struct Scene {
    sim: Sim,
    node: NodeId,
    peer: Peer,
}

impl Scene {
    fn new(role: Role) -> Self {
        let mut sim = Sim::new(1);
        let node = sim.add(site());
        Self { sim, node, peer: Peer::new(role, 5) }
    }

    /// Gives the endpoint a datagram; what it answers.
    fn give(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let before = self.sim.undelivered.len();
        self.sim.inject(Datagram { from: peer_address(), to: our_address(), bytes, keepalive: false });
        self.sim.run_for(30 * MS);
        self.sim.undelivered.split_off(before).into_iter().map(|d| d.bytes).collect()
    }

    fn established(&self) -> bool {
        self.sim.snapshots(self.node).iter().any(|sa| sa.state == IkeState::Established)
    }

    /// The peer began and has the keys; the endpoint waits for IKE_AUTH.
    fn half_open() -> Self {
        let mut scene = Self::new(Role::Initiator);
        let bytes = scene.peer.init(&scene.peer.init_parts());
        let answer = scene.give(bytes);
        assert!(scene.peer.take_init(&answer[0]));
        scene
    }

    /// The endpoint began and waits for the answer to IKE_SA_INIT.
    fn init_sent() -> Self {
        let mut scene = Self::new(Role::Responder);
        let (local, remote) = (our_address(), peer_address());
        let begun = scene.sim.with(scene.node, |e, now| e.initiate(now, "gw", "net", local, remote).is_ok());
        assert!(begun);
        scene.sim.run_for(30 * MS);
        let request = scene.sim.undelivered.pop().unwrap().bytes;
        assert!(scene.peer.take_init(&request));
        scene
    }

    /// The endpoint began and waits for the answer to IKE_AUTH.
    fn auth_sent() -> Self {
        let mut scene = Self::init_sent();
        let bytes = scene.peer.init(&scene.peer.init_parts());
        let sent = scene.give(bytes);
        assert!(scene.peer.open(&sent[0]).is_some_and(|o| o.has(PayloadType::AUTH)));
        scene
    }

    fn auth_parts(&self) -> Parts {
        let (name, own, other) = ("a.example", "192.0.2.1", "192.0.2.2");
        self.peer.auth_parts(name, PSK, own, other)
    }

    /// IKE_AUTH of these payloads, whichever role.
    fn auth(&mut self, parts: &Parts) -> Vec<Vec<u8>> {
        let responder = self.sim.snapshots(self.node).iter().any(|sa| sa.role == Role::Initiator);
        let bytes = self.peer.protected(ExchangeType::IKE_AUTH, 1, responder, parts);
        self.give(bytes)
    }

    fn up(role: Role) -> Self {
        let mut scene = if role == Role::Initiator { Self::half_open() } else { Self::auth_sent() };
        let parts = scene.auth_parts();
        scene.auth(&parts);
        assert!(scene.established(), "{:?}", scene.sim.tombstones(scene.node));
        assert_eq!(scene.sim.plane(scene.node).installed().count(), 1);
        scene
    }
}

/// Every way to leave one payload out or to send it twice, with the type of that payload.
fn variations(parts: &Parts) -> Vec<(String, PayloadType, bool, Parts)> {
    let mut all = Vec::new();
    for (index, (kind, body)) in parts.iter().enumerate() {
        let mut without = parts.clone();
        without.remove(index);
        all.push((format!("without {kind}"), *kind, false, without));
        let mut twice = parts.clone();
        twice.insert(index, (*kind, body.clone()));
        all.push((format!("{kind} twice"), *kind, true, twice));
        for cut in [0, 1, 4, body.len().saturating_sub(1)] {
            if *kind == PayloadType::NONCE && cut >= 16 {
                continue; // a nonce has 16 to 256 octets (RFC 7296 section 3.9)
            }
            let mut shorter = parts.clone();
            shorter[index].1.truncate(cut);
            all.push((format!("{kind} cut to {cut}"), *kind, true, shorter));
        }
    }
    all
}

#[test]
fn the_hand_written_peer_is_a_good_one() {
    for role in [Role::Initiator, Role::Responder] {
        let scene = Scene::up(role);
        let install = scene.sim.plane(scene.node).installed().next().unwrap();
        assert_eq!(install.outbound.spi, scene.peer.esp_spi);
    }
}

#[test]
fn an_init_request_with_any_payload_missing_double_or_short() {
    let parts = Scene::new(Role::Initiator).peer.init_parts();
    for (what, .., parts) in variations(&parts) {
        let mut scene = Scene::new(Role::Initiator);
        let bytes = scene.peer.init(&parts);
        let answers = scene.give(bytes);
        assert_eq!(scene.sim.endpoint(scene.node).sizes(), (0, 0), "{what}");
        assert!(answers.len() <= 1, "{what}");
    }
}

#[test]
fn an_init_response_with_any_payload_missing_double_or_short() {
    let parts = Scene::init_sent().peer.init_parts();
    for (what, .., parts) in variations(&parts) {
        let mut scene = Scene::init_sent();
        let bytes = scene.peer.init(&parts);
        let sent = scene.give(bytes);
        assert!(sent.is_empty() && !scene.established(), "{what}: IKE_AUTH was sent");
    }
}

#[test]
fn an_auth_request_with_any_payload_missing_double_or_short() {
    let parts = Scene::half_open().auth_parts();
    for (what, kind, _, parts) in variations(&parts) {
        let mut scene = Scene::half_open();
        let answers = scene.auth(&parts);
        assert_eq!(answers.len(), 1, "{what}: an authentic request has an answer");
        assert!(!scene.established(), "{what}: established");
        assert_eq!(scene.sim.plane(scene.node).installs, 0, "{what}");
        let answer = scene.peer.open(&answers[0]).expect("protected");
        assert!(answer.notifies() == [7] || answer.notifies() == [24], "{what} of {kind}: {answer:?}");
        assert!(!scene.sim.tombstones(scene.node).is_empty(), "{what}");
    }
}

#[test]
fn an_auth_response_with_any_payload_missing_double_or_short() {
    let parts = Scene::auth_sent().auth_parts();
    for (what, kind, _, parts) in variations(&parts) {
        let mut scene = Scene::auth_sent();
        scene.auth(&parts);
        let proven = ![PayloadType::IDR, PayloadType::AUTH].contains(&kind);
        assert_eq!(scene.sim.plane(scene.node).installs, 0, "{what}: installed");
        assert!(!scene.established() || proven, "{what}: established without proof");
    }
}

/// Payloads may come in any order (RFC 7296 section 2.5 asks for none).
#[test]
fn payloads_in_another_order() {
    let mut scene = Scene::half_open();
    let mut parts = scene.auth_parts();
    parts.reverse();
    scene.auth(&parts);
    assert!(scene.established());
}

#[test]
fn nothing_but_ike_auth_counts_before_ike_auth() {
    let child = |scene: &Scene| {
        let mut parts = scene.auth_parts();
        parts.retain(|(kind, _)| [PayloadType::SA, PayloadType::TSI, PayloadType::TSR].contains(kind));
        parts.insert(1, (PayloadType::NONCE, vec![7; 32]));
        parts
    };
    let delete = vec![(PayloadType::DELETE, vec![1, 0, 0, 0])];
    for (exchange, what) in
        [(ExchangeType::CREATE_CHILD_SA, 0), (ExchangeType::INFORMATIONAL, 1), (ExchangeType::INFORMATIONAL, 2)]
    {
        // The endpoint as responder, then as initiator: there the peer's own requests begin at 0.
        for (mut scene, id) in [(Scene::half_open(), 1), (Scene::auth_sent(), 0)] {
            let parts = match what {
                0 => child(&scene),
                1 => delete.clone(),
                _ => Vec::new(),
            };
            let bytes = scene.peer.protected(exchange, id, false, &parts);
            let answers = scene.give(bytes);
            assert!(answers.len() <= 1 && !scene.established());
            assert_eq!(scene.sim.plane(scene.node).installs, 0);
            if id == 0 {
                // An answer would have the peer give up what it made: our IKE_AUTH's may only be late, and it asks again.
                assert!(answers.is_empty(), "{what}");
                assert_eq!(scene.sim.dropped(scene.node, DropReason::UnexpectedExchange), 1);
                continue;
            }
            let first = answers.first().and_then(|m| scene.peer.open(m));
            assert!(first.is_some_and(|o| !o.notifies().is_empty()), "refused by name");
        }
    }
}

/// An answer to IKE_AUTH that is a request, and the reverse; message IDs of another exchange.
#[test]
fn the_wrong_kind_of_ike_auth() {
    for (response, id) in [(true, 1), (true, 0), (false, 0), (false, 2), (false, u32::MAX)] {
        let mut scene = Scene::half_open();
        let parts = scene.auth_parts();
        let bytes = scene.peer.protected(ExchangeType::IKE_AUTH, id, response, &parts);
        assert!(scene.give(bytes).is_empty() && !scene.established(), "response {response}, message ID {id}");
    }
    for (response, id) in [(false, 1), (true, 0), (true, 2)] {
        let mut scene = Scene::auth_sent();
        let parts = scene.auth_parts();
        let bytes = scene.peer.protected(ExchangeType::IKE_AUTH, id, response, &parts);
        assert!(scene.give(bytes).is_empty() && !scene.established(), "response {response}, message ID {id}");
    }
}

#[test]
fn a_second_ike_auth_changes_nothing() {
    let mut scene = Scene::up(Role::Initiator);
    let parts = scene.auth_parts();
    let bytes = scene.peer.protected(ExchangeType::IKE_AUTH, 2, false, &parts);
    assert_eq!(scene.give(bytes).len(), 1);
    assert!(scene.sim.plane(scene.node).installs == 1);
}

#[test]
fn a_critical_payload_that_nobody_knows() {
    for critical in [true, false] {
        let mut scene = Scene::up(Role::Initiator);
        let mut chain = ChainBuilder::new();
        chain.raw(PayloadType(200), critical, b"x");
        let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, 2, false, chain);
        let answers = scene.give(bytes);
        let answer = scene.peer.open(&answers[0]).unwrap();
        // RFC 7296 section 2.5: UNSUPPORTED_CRITICAL_PAYLOAD with the type; else skipped.
        let expected = if critical { vec![(PayloadType::NOTIFY, vec![0, 0, 0, 1, 200])] } else { Vec::new() };
        assert_eq!(answer.parts, expected);
        assert!(scene.established(), "not fatal");
    }
}

/// RFC 7296 section 2.21.3: fatal at both ends, without Delete.
#[test]
fn a_malformed_request_ends_the_sa_with_invalid_syntax() {
    let mut scene = Scene::up(Role::Initiator);
    let bytes = scene.peer.protected(ExchangeType::INFORMATIONAL, 2, false, &vec![(PayloadType::DELETE, vec![1])]);
    let answers = scene.give(bytes);
    assert_eq!(scene.peer.open(&answers[0]).unwrap().notifies(), [NotifyType::INVALID_SYNTAX.0]);
    assert!(!scene.established() && scene.sim.plane(scene.node).installed().count() == 0);
}

/// Who can have SAs end as fast as it begins them does not fill the memory with what is kept to answer a repetition.
#[test]
fn of_sas_that_are_over_a_bounded_number_answers_repetitions() {
    let mut scene = Scene::new(Role::Initiator);
    scene.node = scene.sim.add(Site::new("c", "192.0.2.3").to("%any").connection(sim::peer::PROPOSALS).settings(|s| {
        (s.cookie_threshold_peer, s.block_threshold, s.closed) = (0, 0, 8);
    }));
    let to: SocketAddr = "192.0.2.3:500".parse().unwrap();
    let give = |sim: &mut Sim, bytes: &[u8]| {
        sim.inject(Datagram { from: peer_address(), to, bytes: bytes.to_vec(), keepalive: false });
        sim.run_for(30 * MS);
        std::mem::take(&mut sim.undelivered).into_iter().map(|d| d.bytes).collect::<Vec<_>>()
    };
    let mut refused = Vec::new();
    for seed in 0..20 {
        let mut peer = Peer::new(Role::Initiator, seed);
        let bytes = peer.init(&peer.init_parts());
        let answer = give(&mut scene.sim, &bytes);
        assert!(peer.take_init(&answer[0]));
        let parts = peer.auth_parts("a.example", b"another", "192.0.2.1", "192.0.2.3");
        let bytes = peer.protected(ExchangeType::IKE_AUTH, 1, false, &parts);
        let answer = give(&mut scene.sim, &bytes);
        assert_eq!(peer.open(&answer[0]).unwrap().notifies(), [NotifyType::AUTHENTICATION_FAILED.0]);
        refused.push(bytes);
    }
    let answered: Vec<bool> = refused.iter().map(|bytes| !give(&mut scene.sim, bytes).is_empty()).collect();
    assert_eq!(answered, (0..20).map(|n| n >= 12).collect::<Vec<_>>(), "the latest eight");
}

/// The other way round: INVALID_SYNTAX as the answer to our request ends the SA here.
#[test]
fn invalid_syntax_in_an_answer_ends_the_sa() {
    let mut scene = Scene::up(Role::Initiator);
    let child = proto::Selection { child: Some("net".into()), ..proto::Selection::default() };
    scene.sim.terminate(scene.node, &child);
    scene.sim.run_for(30 * MS);
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::NONE, &[], NotifyType::INVALID_SYNTAX, &[]);
    let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, 0, true, chain);
    scene.give(bytes);
    assert!(!scene.established());
}

/// RFC 7296 section 2.21.2: who answers IKE_AUTH with INVALID_SYNTAX has no IKE SA, though it proves itself in the same message
/// (charon with `childless = force` does).
#[test]
fn invalid_syntax_beside_a_proof_is_no_ike_sa() {
    let mut scene = Scene::auth_sent();
    let mut parts = scene.auth_parts();
    parts.retain(|(kind, _)| ![PayloadType::SA, PayloadType::TSI, PayloadType::TSR].contains(kind));
    let mut refused = parts.clone();
    refused.push((PayloadType::NOTIFY, [&[0, 0], &NotifyType::INVALID_SYNTAX.0.to_be_bytes()[..]].concat()));
    assert!(scene.auth(&refused).is_empty());
    assert!(!scene.established());
    let codes: Vec<_> = scene.sim.tombstones(scene.node).iter().map(|t| t.failure.kind.code()).collect();
    assert_eq!(codes, ["PEER_REFUSED"]);
}

#[test]
fn deletes_of_what_is_not_there() {
    let mut scene = Scene::up(Role::Initiator);
    let spi = |n: u32| n.to_be_bytes();
    let real = scene.peer.esp_spi;
    let cases: [(ProtocolId, Vec<[u8; 4]>, usize); 5] = [
        (ProtocolId::ESP, vec![spi(1)], 1),
        (ProtocolId(2), vec![spi(real)], 1),
        (ProtocolId::ESP, Vec::new(), 1),
        (ProtocolId::ESP, (0..5000).map(spi).collect(), 1),
        (ProtocolId::ESP, vec![spi(real), spi(real), spi(9)], 0),
    ];
    for (id, (protocol, spis, left)) in (2..).zip(cases) {
        let mut chain = ChainBuilder::new();
        chain.delete(protocol, &spis);
        let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, id, false, chain);
        let answers = scene.give(bytes);
        let answer = scene.peer.open(&answers[0]).expect("an answer");
        assert_eq!(answer.has(PayloadType::DELETE), left == 0, "message {id}");
        assert_eq!(scene.sim.plane(scene.node).installed().count(), left);
        assert!(scene.established());
    }
    let lines = scene.sim.events(scene.node).filter(|(_, event)| event.log().2.contains("there is none"));
    assert!((10..30).contains(&lines.count()), "one message does not fill the log");
}

#[test]
fn selectors_beyond_what_was_offered_are_not_installed() {
    let mut scene = Scene::auth_sent();
    let parts = scene.peer.auth_parts("a.example", PSK, "0.0.0.0/0", "192.0.2.2");
    scene.auth(&parts);
    assert_eq!(scene.sim.plane(scene.node).installs, 0);
    assert!(scene.established(), "the IKE SA is all right");
    let tombstone = &scene.sim.tombstones(scene.node);
    assert!(tombstone.is_empty() || tombstone[0].failure.kind.code() == "TRAFFIC_SELECTOR");
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let kind = prop_oneof![4 => 33u8..55, 1 => any::<u8>()];
    let body = prop::collection::vec(any::<u8>(), 0..60);
    prop::collection::vec((kind.prop_map(PayloadType), body), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_authentic_request_has_one_answer_at_most(
        responder: bool,
        exchange in 35u8..38,
        parts in any_parts(),
        more in any_parts(),
    ) {
        let role = if responder { Role::Initiator } else { Role::Responder };
        let mut scene = Scene::up(role);
        let first = if responder { 2 } else { 0 };
        for (n, parts) in [parts, more].into_iter().enumerate() {
            let parts: Parts = parts.into_iter().filter(|(kind, _)| kind.0 != 0).collect();
            let bytes = scene.peer.protected(ExchangeType(exchange), first + n as u32, false, &parts);
            let answers = scene.give(bytes);
            prop_assert!(answers.len() <= 1);
            prop_assert!(answers.iter().all(|a| scene.peer.open(a).is_some()), "authentic answers only");
        }
        prop_assert!(scene.sim.plane(scene.node).installs == 1);
        let (all, half_open) = scene.sim.endpoint(scene.node).sizes();
        prop_assert!(all <= 1 && half_open == 0);
    }

    /// Whatever is changed in IKE_AUTH: established only if identity and proof are as they were.
    #[test]
    fn no_proof_no_sa(initiator: bool, part in 0usize..5, seed: u64) {
        let mut scene = if initiator { Scene::half_open() } else { Scene::auth_sent() };
        let parts = scene.auth_parts();
        let mut changed = parts.clone();
        let mut rng = Rng::new(seed);
        let body = &mut changed[part].1;
        for _ in 0..=rng.below(3) {
            let at = rng.below(body.len() as u64) as usize;
            body[at] = rng.number() as u8;
        }
        scene.auth(&changed);
        // The three octets behind the type of identity and the method are reserved.
        let proven = parts.iter().zip(&changed).take(2).all(|((_, a), (_, b))| a[0] == b[0] && a[4..] == b[4..]);
        prop_assert!(!scene.established() || proven);
    }

    #[test]
    fn any_answer_to_ike_auth(parts in any_parts()) {
        let mut scene = Scene::auth_sent();
        let parts: Parts = parts.into_iter().filter(|(kind, _)| kind.0 != 0).collect();
        scene.auth(&parts);
        prop_assert!(!scene.established());
        prop_assert_eq!(scene.sim.plane(scene.node).installs, 0);
    }

    #[test]
    fn stories_of_a_peer(data in prop::collection::vec(any::<u8>(), 0..400)) {
        sim::fuzz::endpoint_authentic(&data);
    }
}
