//! IKEv1: each fault, as both ends explain it. Nothing that comes unprotected decides anything (RFC 2409 section 5.7):
//! it is remembered, and told when the negotiation has failed by itself.

use model::{FailureKind, Identity, IkeState, Phase, Side};
use sim::{Block, NodeId, Sim, Site};
use std::time::Duration;
use wire::grammar::RuleId;
use wire::{ExchangeType, Header, V1NotifyType};

const SECOND: Duration = Duration::from_secs(1);
const MODES: [&str; 2] = ["aggressive = no", "aggressive = yes"];

fn site_a() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2").connection("version = 1")
}

fn site_b() -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1")
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

/// Lets `a` initiate to `b` and waits for the end of everything that ends.
fn attempt(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_for(300 * SECOND);
    (sim, a, b)
}

/// Nothing remains of any SA but tombstones.
fn forgotten(sim: &mut Sim, nodes: &[NodeId]) {
    sim.run_for(400 * SECOND);
    for node in nodes {
        assert_eq!(sim.endpoint(*node).sizes(), (0, 0));
        assert_eq!(sim.endpoint(*node).poll_timeout(), None);
        assert_eq!(sim.plane(*node).installs, 0);
    }
}

fn informationals(sim: &Sim, from: NodeId) -> usize {
    let from = sim.address(from);
    let is = |bytes: &[u8]| Header::parse(bytes).is_ok_and(|h| h.exchange == ExchangeType::INFORMATIONAL_V1);
    sim.wire.iter().filter(|(_, d)| d.from.ip() == from && is(&d.bytes)).count()
}

/// In main mode the key is chosen by addresses, before the identity is known: it must not serve for somebody else.
#[test]
fn one_peers_key_does_not_prove_another_peer() {
    let gateway = |own: &str| {
        format!(
            "connections {{ {} }}\nsecrets {{ ike-carol {{ id = carol.example\n secret = marlin }}
             ike-dave {{ id = dave.example\n secret = swordfish }} }}",
            ["carol", "dave"]
                .map(|peer| format!(
                    "rw-{peer} {{ version = 1\n local_addrs = {own}\n remote_addrs = %any
                     local {{ auth = psk\n id = b.example }}\n remote {{ auth = psk\n id = {peer}.example }}
                     children {{ net {{ local_ts = 10.2.0.0/16 }} }} }}"
                ))
                .join("\n")
        )
    };
    let peer = |secret: &str| {
        let site = site_a().local_id(Some("dave.example")).remote_id("b.example").secret(Some(secret));
        site.child("local_ts = dynamic").child("remote_ts = 10.2.0.0/16")
    };
    let (sim, a, b) = attempt(peer("swordfish"), site_b().text(&gateway("192.0.2.2")));
    assert!(sim.carries(a, b), "dave with dave's key: {:?}", sim.tombstones(b));
    let (mut sim, a, b) = attempt(peer("marlin"), site_b().text(&gateway("192.0.2.2")));
    let expected = vec!["rw-carol: carol.example".to_string()];
    let kind = FailureKind::IdentityUnknown { received: id("dave.example"), asked_for: None, expected };
    assert_eq!(sim.failure(b).kind, kind, "dave with carol's key");
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn different_secrets_in_main_mode() {
    let (mut sim, a, b) = attempt(site_a(), site_b().secret(Some("marlin")));
    let failure = sim.failure(b);
    let expected = FailureKind::PskMismatch { local: "192.0.2.2".parse().unwrap(), remote: id("192.0.2.1"), tried: 1 };
    assert_eq!(failure.kind.code(), expected.code(), "{failure}");
    let failure = sim.failure(a);
    // What came back is under other keys than ours: of these the secret is a part.
    let expected = FailureKind::PskMismatch { local: id("a.example"), remote: id("192.0.2.2"), tried: 1 };
    assert_eq!(failure.kind, expected, "{failure}");
    let ended = sim.tombstones(a).remove(0);
    assert_eq!(ended.sa.suspicion.as_deref(), Some(model::UNREADABLE));
    let found = diag::ended(&ended);
    assert_eq!(found.causes, [diag::Cause::PskMismatch]);
    assert!(found.evidence.iter().any(|line| line == model::UNREADABLE_TEXT), "{found:?}");
    assert!(!format!("{found:?}").contains("AUTHENTICATION_FAILED"), "nobody said that: {found:?}");
    // Message 5 came six times; the responder tells once that it cannot read it.
    assert_eq!(informationals(&sim, b), 1);
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn different_secrets_in_aggressive_mode() {
    let (mut sim, a, b) = attempt(site_a().connection(MODES[1]), site_b().connection(MODES[1]).secret(Some("marlin")));
    let failure = sim.failure(a);
    let expected = FailureKind::PskMismatch { local: id("a.example"), remote: id("b.example"), tried: 1 };
    assert_eq!(failure.kind, expected, "{failure}");
    let failure = sim.failure(b);
    let expected = FailureKind::AuthenticationRefused { local: id("b.example"), remote: Some(id("a.example")) };
    assert_eq!(failure.kind, expected, "{failure}");
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn no_common_phase_1_proposal() {
    for mode in MODES {
        let (mut sim, a, b) = attempt(
            site_a().connection(mode).connection("proposals = aes128-sha256-x25519"),
            site_b().connection(mode).connection("proposals = aes256-sha256-x25519"),
        );
        let failure = sim.failure(b);
        let FailureKind::NoProposalChosen { phase: Phase::Ike, found_by: Side::Us, mismatch, .. } = &failure.kind
        else {
            panic!("{failure}")
        };
        assert_eq!(
            mismatch.as_ref().unwrap().to_string(),
            "encryption algorithm: ours AES_CBC-256, theirs AES_CBC-128"
        );
        assert_eq!(failure.config, Some(sim.place(b, "proposals", "connections.gw.proposals")));
        let failure = sim.failure(a);
        let found_by_peer =
            matches!(failure.kind, FailureKind::NoProposalChosen { phase: Phase::Ike, found_by: Side::Peer, .. });
        assert!(found_by_peer, "{failure}");
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn the_other_mode() {
    for (of_a, of_b) in [(MODES[0], MODES[1]), (MODES[1], MODES[0])] {
        let (mut sim, a, b) = attempt(site_a().connection(of_a), site_b().connection(of_b));
        let failure = sim.failure(b);
        assert_eq!(failure.kind, FailureKind::ModeMismatch { ours: of_b == MODES[1] }, "{failure}");
        assert_eq!(failure.config, Some(sim.place(b, "aggressive", "connections.gw.aggressive")));
        assert_eq!(sim.failure(a).kind.code(), "IKE_PROPOSAL");
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn an_identity_that_nobody_expects() {
    for mode in MODES {
        let (mut sim, a, b) = attempt(
            site_a().connection(mode),
            site_b().connection(mode).remote_id("c.example").secret(Some("swordfish")),
        );
        let failure = sim.failure(b);
        let FailureKind::IdentityUnknown { received, expected, .. } = &failure.kind else { panic!("{failure}") };
        assert_eq!((received, expected.as_slice()), (&id("a.example"), &["gw: c.example".to_string()][..]));
        assert!(!sim.failure(a).kind.is_ordinary(), "{mode}: {}", sim.failure(a));
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn a_responder_that_is_someone_else() {
    for mode in MODES {
        let (sim, a, b) = attempt(site_a().connection(mode).remote_id("c.example"), site_b().connection(mode));
        let failure = sim.failure(a);
        let expected = FailureKind::IdentityMismatch { received: id("b.example"), expected: id("c.example") };
        assert_eq!(failure.kind, expected, "{failure}");
        assert_eq!(sim.plane(a).installs, 0);
        // In main mode its ISAKMP SA is up when it hears of it: a notification why, and a Delete.
        let told = if mode == MODES[0] { 2 } else { 1 };
        assert_eq!((informationals(&sim, a), sim.endpoint(b).sizes()), (told, (0, 0)), "{mode}");
        if mode == MODES[0] {
            let notify = V1NotifyType::INVALID_ID_INFORMATION;
            assert_eq!(sim.failure(b).kind, FailureKind::PeerRefusedV1 { phase: Phase::Ike, notify });
        }
    }
}

#[test]
fn no_connection_for_the_address() {
    for mode in MODES {
        let (mut sim, a, b) = attempt(
            site_a().connection(mode),
            Site::new("b", "192.0.2.2").to("192.0.2.77").connection("version = 1").connection(mode),
        );
        assert!(matches!(sim.failure(b).kind, FailureKind::NoConfig { .. }), "{}", sim.failure(b));
        assert_eq!(sim.failure(a).kind.code(), "IKE_PROPOSAL");
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn a_peer_that_speaks_ikev2_only() {
    let (mut sim, a, b) = attempt(site_a(), Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 2"));
    assert!(matches!(sim.failure(b).kind, FailureKind::NoConfig { .. }), "{}", sim.failure(b));
    assert!(!sim.failure(a).kind.is_ordinary());
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn no_secret_for_the_peer() {
    for mode in MODES {
        let (sim, a, b) = attempt(site_a().connection(mode), site_b().connection(mode).secret(None));
        // The other end is told once, and knows more than that there is no answer.
        assert!(matches!(sim.failure(a).kind, FailureKind::AuthenticationRefused { .. }), "{mode} {}", sim.failure(a));
        assert!(matches!(sim.failure(b).kind, FailureKind::PskMissing { .. }), "{mode} {}", sim.failure(b));
        let (sim, a, _) = attempt(site_a().connection(mode).secret(None), site_b().connection(mode));
        assert!(matches!(sim.failure(a).kind, FailureKind::PskMissing { .. }), "{mode} {}", sim.failure(a));
    }
}

/// Phase 1 is up, the child is refused at both ends, and the ISAKMP SA stays.
fn phase_2_fault(a: Site, b: Site) -> (Sim, model::Failure, model::Failure) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    for node in [a, b] {
        assert_eq!(sim.endpoint(node).sizes(), (1, 0));
        assert_eq!(sim.snapshots(node)[0].state, IkeState::Established);
        assert!(sim.snapshots(node)[0].children.is_empty());
        assert_eq!(sim.plane(node).installs, 0);
    }
    assert!(sim.quiet());
    let (of_a, of_b) = (sim.failure(a), sim.failure(b));
    // A second try over the same ISAKMP SA fares alike.
    sim.initiate(a, b);
    sim.run_for(10 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
    assert_eq!(sim.failure(a).kind.code(), of_a.kind.code());
    (sim, of_a, of_b)
}

#[test]
fn no_common_phase_2_proposal() {
    let (_, a, b) =
        phase_2_fault(site_a().child("esp_proposals = aes128gcm16"), site_b().child("esp_proposals = aes256-sha256"));
    let FailureKind::NoProposalChosen { phase: Phase::Child, found_by: Side::Us, mismatch: Some(m), .. } = &b.kind
    else {
        panic!("{b}")
    };
    assert!(m.to_string().contains("AES_GCM_16-128"), "{m}");
    assert!(b.config.unwrap().key.ends_with("net.esp_proposals"));
    assert!(matches!(a.kind, FailureKind::NoProposalChosen { phase: Phase::Child, found_by: Side::Peer, .. }), "{a}");
}

#[test]
fn perfect_forward_secrecy_at_one_end_only() {
    for (of_a, of_b, expected) in [
        ("aes128gcm16-x25519", "aes128gcm16", "key exchange group: ours none, theirs CURVE_25519"),
        ("aes128gcm16", "aes128gcm16-x25519", "key exchange group: ours CURVE_25519, theirs none"),
        ("aes128gcm16-ecp256", "aes128gcm16-x25519", "key exchange group: ours CURVE_25519, theirs ECP_256"),
    ] {
        let (_, a, b) = phase_2_fault(
            site_a().child(&format!("esp_proposals = {of_a}")),
            site_b().child(&format!("esp_proposals = {of_b}")),
        );
        let FailureKind::NoProposalChosen { mismatch: Some(m), .. } = &b.kind else { panic!("{b}") };
        assert_eq!(m.to_string(), expected);
        assert_eq!(a.kind.code(), "CHILD_PROPOSAL");
    }
}

#[test]
fn selectors_that_differ() {
    let (_, a, b) = phase_2_fault(
        site_a().child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16"),
        site_b().child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.5.0/24"),
    );
    let FailureKind::TsUnacceptable { found_by: Side::Us, peer_local, peer_remote, .. } = &b.kind else {
        panic!("{b}")
    };
    assert_eq!((peer_local[0].to_string(), peer_remote[0].to_string()), ("10.1.0.0/16".into(), "10.2.0.0/16".into()));
    assert!(matches!(a.kind, FailureKind::TsUnacceptable { found_by: Side::Peer, .. }), "{a}");
}

#[test]
fn no_answer_at_all() {
    for (mode, rule) in [(MODES[0], RuleId::MainMode2), (MODES[1], RuleId::AggressiveMode2)] {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(site_a().connection(mode)), sim.add(site_b().connection(mode)));
        sim.blocks.push(Block { to: Some(sim.address(b)), ..Block::default() });
        sim.initiate(a, b);
        sim.run_for(200 * SECOND);
        let failure = sim.failure(a);
        let FailureKind::NoAnswer { waiting_for, sent, over, answered_before, .. } = failure.kind else {
            panic!("{failure}")
        };
        assert_eq!((waiting_for, sent, over.as_secs(), answered_before), (rule, 6, 165, false));
        let remedy = sim.failure(a).kind.remedy();
        assert!(remedy.contains("check that 192.0.2.2 runs IKE") && !remedy.contains("answered"), "{remedy}");
        assert!(sim.tombstones(b).is_empty());
        forgotten(&mut sim, &[a, b]);
    }
}

/// From the `n`th datagram on nothing arrives any more: what each end says it was waiting for.
#[test]
fn silence_from_each_message_on() {
    use RuleId::{
        AggressiveMode2, AggressiveMode3, MainMode2, MainMode3, MainMode4, MainMode5, MainMode6, QuickMode2, QuickMode3,
    };
    let main = [
        (Some(MainMode2), None),
        (Some(MainMode2), Some(MainMode3)),
        (Some(MainMode4), Some(MainMode3)),
        (Some(MainMode4), Some(MainMode5)),
        (Some(MainMode6), Some(MainMode5)),
        (Some(MainMode6), None),
        (Some(QuickMode2), None),
        (Some(QuickMode2), Some(QuickMode3)),
    ];
    let aggressive = [
        (Some(AggressiveMode2), None),
        (Some(AggressiveMode2), Some(AggressiveMode3)),
        (Some(QuickMode2), Some(AggressiveMode3)),
    ];
    let cases =
        main.iter().map(|c| (MODES[0], c)).enumerate().chain(aggressive.iter().map(|c| (MODES[1], c)).enumerate());
    for (delivered, (mode, (of_a, of_b))) in cases {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(site_a().connection(mode)), sim.add(site_b().connection(mode)));
        let mut count = 0;
        sim.set_hook(Some(Box::new(move |_, datagram| {
            count += 1;
            if count <= delivered { vec![(Duration::ZERO, datagram.clone())] } else { Vec::new() }
        })));
        sim.initiate(a, b);
        sim.run_for(400 * SECOND);
        for (node, expected) in [(a, of_a), (b, of_b)] {
            let waited = sim.tombstones(node).first().map(|t| match &t.failure.kind {
                FailureKind::NoAnswer { waiting_for, .. } | FailureKind::HalfOpen { waiting_for, .. } => *waiting_for,
                other => panic!("{mode} {delivered}: {other:?}"),
            });
            assert_eq!(
                waited,
                *expected,
                "{mode}, {delivered} datagrams delivered, {}",
                sim.site(node).line_of("conn")
            );
            // A responder that saw the last message knows no better; everybody else has nothing left.
            let up = sim.snapshots(node).iter().filter(|sa| sa.state == IkeState::Established).count();
            assert_eq!(sim.endpoint(node).sizes(), (up, 0));
            assert!(node == b || up == 0, "{mode} {delivered}");
            assert_eq!(sim.plane(node).installed().count(), 0);
        }
    }
}

/// Message 3 of quick mode is lost for good: the responder takes back what the initiator has installed.
#[test]
fn a_quick_mode_that_is_never_finished_leaves_nothing() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    let from = sim.address(a);
    let mut quick = 0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let header = Header::parse(&datagram.bytes).unwrap();
        if header.exchange == ExchangeType::QUICK_MODE && datagram.from.ip() == from {
            quick += 1;
            if quick > 1 {
                return Vec::new();
            }
        }
        vec![(Duration::ZERO, datagram.clone())]
    })));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (1, 0));
    sim.run_for(200 * SECOND);
    assert_eq!((sim.plane(a).installed().count(), sim.plane(b).installed().count()), (0, 0));
    assert_eq!(sim.failure(a).kind.code(), "PEER_DELETE");
    assert_eq!(sim.failure(b).kind.code(), "NO_RESPONSE");
    assert!(sim.quiet());
}

/// XAuth is asked for by the responder's connection and not done by ours, and the other way round.
#[test]
fn the_place_and_the_remedy_of_xauth_at_one_end_are_those_of_its_own_section() {
    let b = site_b().text(
        "connections { gw { version = 1\n local_addrs = 192.0.2.2\n remote_addrs = 192.0.2.1
             local { auth = psk\n id = b.example }\n remote { auth = psk\n id = a.example }\n remote-x { auth = xauth }
             children { net { } } } }\nsecrets { ike-a { secret = swordfish } }",
    );
    let (sim, _, b) = attempt(site_a(), b);
    let failure = sim.failure(b);
    assert_eq!(failure.kind.code(), "AUTH_METHOD_MISMATCH", "{failure}");
    assert!(failure.config.as_ref().unwrap().key.ends_with("remote-x.auth"), "{failure}");
    assert!(failure.kind.remedy().contains("auth = xauth"), "{}", failure.kind.remedy());
}

/// A refusal of message 1 of aggressive mode, in which no proof was sent.
#[test]
fn a_refusal_before_any_proof_is_not_about_the_secret() {
    use diag::Cause::{AuthFailed, NegotiationMode, PeerId, PskMismatch};
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a().connection(MODES[1])), sim.add(site_b()));
    sim.blocks.push(Block { to: Some(sim.address(b)), ..Block::default() });
    sim.initiate(a, b);
    let spis = sim.snapshots(a)[0].spis;
    let mut chain = wire::v1::ChainBuilder::new();
    chain.notify(wire::ProtocolId::IKE, &[], wire::V1NotifyType::AUTHENTICATION_FAILED, &[]);
    let header = Header {
        spis,
        next_payload: wire::PayloadType::NONE,
        version: wire::Version::V1,
        exchange: ExchangeType::INFORMATIONAL_V1,
        flags: wire::Flags::NONE,
        message_id: 7,
        length: 0,
    };
    let bytes = wire::v1::message(header, chain);
    let (from, to) = ("192.0.2.2:500".parse().unwrap(), "192.0.2.1:500".parse().unwrap());
    sim.inject(sim::Datagram { from, to, bytes, keepalive: false });
    sim.run_for(200 * SECOND);
    let found = diag::ended(&sim.tombstones(a)[0]);
    assert_eq!(found.causes, [NegotiationMode, AuthFailed, PeerId, PskMismatch]);
    assert!(found.remedy[0].contains("aggressive"), "{found:?}");
}

/// What is said about IKEv1 names no exchange or payload of IKEv2.
#[test]
fn no_words_of_the_other_version() {
    use wire::grammar::RULES;
    let (to, over) = ("192.0.2.2:500".parse().unwrap(), SECOND);
    for rule in RULES.iter().filter(|rule| rule.version == wire::Version::V1) {
        for port in [500, 4500] {
            let mut to: std::net::SocketAddr = to;
            to.set_port(port);
            let kinds = [
                FailureKind::NoAnswer { waiting_for: rule.id, to, sent: 3, over, answered_before: false },
                FailureKind::HalfOpen { waiting_for: rule.id, after: over, repeated: 0 },
                FailureKind::MessageInvalid { rule: rule.id, missing: "HASH".into() },
            ];
            for kind in kinds {
                let said = format!("{kind}; {}", kind.remedy());
                assert!(!["IKE_", "AUTH", "7296"].iter().any(|word| said.contains(word)), "{said}");
            }
        }
    }
}
