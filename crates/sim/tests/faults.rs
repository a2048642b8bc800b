//! Each fault, as both ends explain it: the kind, both sides' values, the line of the configuration, and what the peer
//! learns of it on the wire.

use model::{DropReason, Event, FailureKind, Identity, IkeState, Phase, Role, Side};
use sim::{Block, Datagram, Nat, NodeId, Peer, Sim, Site};
use std::time::Duration;
use wire::grammar::RuleId;
use wire::{Header, KeyExchangeId, NotifyType, PayloadType};

const SECOND: Duration = Duration::from_secs(1);

fn site_a() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2")
}

fn site_b() -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1")
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

/// Lets `a` initiate to `b` and waits for the end of everything.
fn attempt(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_until(5 * SECOND, |_| false);
    (sim, a, b)
}

/// Nothing remains of any SA but tombstones.
fn forgotten(sim: &mut Sim, nodes: &[NodeId]) {
    sim.run_for(400 * SECOND);
    for node in nodes {
        assert_eq!(sim.endpoint(*node).sizes(), (0, 0));
        assert_eq!(sim.endpoint(*node).poll_timeout(), None);
        assert_eq!(sim.plane(*node).installed().count(), 0);
    }
}

/// The notifications that a node sent in the clear.
fn clear_notifies(sim: &Sim, from: &str) -> Vec<NotifyType> {
    let from = from.parse::<std::net::IpAddr>().unwrap();
    let mut found = Vec::new();
    for (_, datagram) in sim.wire.iter().filter(|(_, d)| d.from.ip() == from) {
        let Ok(message) = wire::v2::Message::parse(&datagram.bytes) else { continue };
        for payload in &message.payloads {
            match payload {
                wire::v2::Payload::Notify(n)
                    if ![NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP]
                        .contains(&n.kind) =>
                {
                    found.push(n.kind);
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_answer_at_all() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.blocks.push(Block { to: Some(sim.address(b)), ..Block::default() });
    sim.initiate(a, b);
    sim.run_for(200 * SECOND);
    let failure = sim.failure(a);
    let FailureKind::NoAnswer { waiting_for, to, sent, over, answered_before } = failure.kind.clone() else {
        panic!("{failure}")
    };
    assert_eq!((waiting_for, sent, answered_before), (RuleId::IkeSaInitResponse, 6, false));
    assert_eq!((to, over.as_secs()), ("192.0.2.2:500".parse().unwrap(), 165));
    assert_eq!(failure.config, Some(sim.place(a, "remote_addrs", "connections.gw.remote_addrs")));
    assert_eq!(failure.kind.code(), "NO_RESPONSE");
    assert!(failure.kind.remedy().contains("192.0.2.2"));
    assert_eq!(sim.tombstones(a)[0].datagrams_in, 0);
    assert!(sim.tombstones(b).is_empty());
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn answers_that_do_not_come_back() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.blocks.push(Block { to: Some(sim.address(a)), ..Block::default() });
    sim.initiate(a, b);
    sim.run_for(31 * SECOND);
    let failure = sim.failure(b);
    let FailureKind::HalfOpen { waiting_for, after, repeated } = failure.kind else { panic!("{failure}") };
    assert_eq!((waiting_for, after.as_secs()), (RuleId::IkeAuthRequest, 30));
    assert!(repeated >= 2, "the initiator repeated its request at 4 s and 11 s: {repeated}");
    assert!(failure.kind.remedy().contains("return path"));
    assert_eq!(sim.endpoint(b).sizes(), (0, 0));
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn a_silent_initiator() {
    let mut sim = Sim::new(1);
    let b = sim.add(site_b().connection(sim::peer::PROPOSALS));
    let mut peer = Peer::new(Role::Initiator, 5);
    let bytes = peer.init(&peer.init_parts());
    let (from, to) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    sim.inject(Datagram { from, to, bytes, keepalive: false });
    sim.run_for(SECOND);
    let sa = &sim.snapshots(b)[0];
    assert_eq!((sa.state, sa.waiting_for), (IkeState::Connecting, Some(RuleId::IkeAuthRequest)));
    assert_eq!(sa.name, "gw");
    sim.run_for(30 * SECOND);
    let failure = sim.failure(b);
    assert!(matches!(failure.kind, FailureKind::HalfOpen { repeated: 0, .. }), "{failure}");
    assert!(failure.kind.remedy().contains("its log says why"));
    forgotten(&mut sim, &[b]);
}

#[test]
fn different_secrets() {
    let (mut sim, a, b) = attempt(site_a(), site_b().secret(Some("marlin")));
    let failure = sim.failure(b);
    assert_eq!(
        failure.kind,
        FailureKind::PskMismatch { local: id("b.example"), remote: id("a.example"), tried: 1 },
        "{failure}"
    );
    assert_eq!(failure.config, Some(sim.place(b, "secret = marlin", "secrets.ike-all.secret")));
    let failure = sim.failure(a);
    assert_eq!(failure.kind, FailureKind::AuthenticationRefused { local: id("a.example"), remote: None });
    assert_eq!(failure.config, Some(sim.place(a, "id = a.example", "connections.gw.local.id")));
    assert_eq!(sim.tombstones(b)[0].sa.remote_id, Some(id("a.example")));
    assert_eq!(sim.plane(a).installs + sim.plane(b).installs, 0);
    forgotten(&mut sim, &[a, b]);
}

/// What the initiator that fails learns is AUTHENTICATION_FAILED, whatever the reason (RFC 7296 section 2.21.2).
#[test]
fn the_peer_learns_nothing_but_authentication_failed() {
    let with = |b: Site, name: &str, psk: &[u8]| {
        let mut sim = Sim::new(1);
        let b = sim.add(b.connection(sim::peer::PROPOSALS).connection("mobike = no"));
        let mut peer = Peer::new(Role::Initiator, 5);
        let (from, to) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
        let bytes = peer.init(&peer.init_parts());
        sim.inject(Datagram { from, to, bytes, keepalive: false });
        sim.run_for(SECOND);
        assert!(peer.take_init(&sim.undelivered.pop().unwrap().bytes));
        let parts = peer.auth_parts(name, psk, "192.0.2.1", "192.0.2.2");
        let bytes = peer.protected(wire::ExchangeType::IKE_AUTH, 1, false, &parts);
        sim.inject(Datagram { from, to, bytes, keepalive: false });
        sim.run_for(SECOND);
        let answer = peer.open(&sim.undelivered.pop().unwrap().bytes).expect("an authentic answer");
        let code = sim.tombstones(b).first().map(|t| t.failure.kind.code());
        (answer.parts, code)
    };
    let only_failed = vec![(PayloadType::NOTIFY, vec![0, 0, 0, 24])];
    for (site, name, psk, code) in [
        (site_b(), "a.example", b"wrong".as_slice(), "PSK_MISMATCH"),
        (site_b().secret(None), "a.example", b"swordfish", "PSK_MISSING"),
        (site_b().remote_id("c.example"), "a.example", b"swordfish", "PEER_ID_UNKNOWN"),
    ] {
        assert_eq!(with(site, name, psk), (only_failed.clone(), Some(code)));
    }
    let (parts, code) = with(site_b(), "a.example", b"swordfish");
    assert!(parts.len() == 5 && code.is_none(), "{parts:?}");
}

#[test]
fn an_identity_nobody_expects() {
    let (mut sim, a, b) = attempt(site_a(), site_b().remote_id("c.example"));
    let failure = sim.failure(b);
    let expected = vec!["gw: c.example".to_string()];
    assert_eq!(
        failure.kind,
        FailureKind::IdentityUnknown { received: id("a.example"), asked_for: None, expected },
        "{failure}"
    );
    assert_eq!(failure.config, Some(sim.place(b, "id = c.example", "connections.gw.remote.id")));
    assert!(matches!(sim.failure(a).kind, FailureKind::AuthenticationRefused { .. }));
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn an_identity_that_is_not_ours() {
    let (mut sim, a, b) = attempt(site_a().remote_id("c.example"), site_b());
    let failure = sim.failure(b);
    let ours = vec!["gw: b.example".to_string()];
    let expected = FailureKind::NotAddressed { remote: id("a.example"), asked_for: id("c.example"), ours };
    assert_eq!(failure.kind, expected, "the peer is known; whom it asks for is not");
    assert_eq!(failure.config, Some(sim.place(b, "id = b.example", "connections.gw.local.id")));
    let refused = FailureKind::AuthenticationRefused { local: id("a.example"), remote: Some(id("c.example")) };
    assert_eq!(sim.failure(a).kind, refused);
    forgotten(&mut sim, &[a, b]);
}

/// The responder takes the SA for established when the initiator finds its identity wrong: it is told (RFC 7296 section
/// 2.21.2), and nothing stays installed.
#[test]
fn a_responder_with_another_identity_than_expected() {
    let mut sim = Sim::new(1);
    let a = sim.add(site_a().remote_id("*.example.org").connection(sim::peer::PROPOSALS));
    let b = sim.add(site_b().connection(sim::peer::PROPOSALS));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    let failure = sim.failure(a);
    assert_eq!(
        failure.kind,
        FailureKind::IdentityMismatch { received: id("b.example"), expected: id("*.example.org") },
        "{failure}"
    );
    assert_eq!(failure.config, Some(sim.place(a, "*.example.org", "connections.gw.remote.id")));
    let refused = FailureKind::AuthenticationRefused { local: id("b.example"), remote: Some(id("a.example")) };
    assert_eq!(sim.failure(b).kind, refused);
    // Its answer to that is no surprise, and needed by nobody.
    assert_eq!(sim.dropped(a, DropReason::UnexpectedResponse), 0);
    assert_eq!(sim.plane(b).deletes, 1);
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn no_secret_for_the_peer() {
    let (mut sim, a, b) = attempt(site_a(), site_b().secret(None));
    let missing = FailureKind::PskMissing { local: id("b.example"), remote: id("a.example") };
    assert_eq!(sim.failure(b).kind, missing);
    assert!(matches!(sim.failure(a).kind, FailureKind::AuthenticationRefused { .. }));
    forgotten(&mut sim, &[a, b]);
    let (mut sim, a, b) = attempt(site_a().secret(None).remote_id("b.example"), site_b());
    let missing = FailureKind::PskMissing { local: id("a.example"), remote: id("b.example") };
    assert_eq!(sim.failure(a).kind, missing);
    sim.run_for(30 * SECOND);
    assert!(matches!(sim.failure(b).kind, FailureKind::HalfOpen { repeated: 0, .. }));
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn different_ike_proposals() {
    let (mut sim, a, b) = attempt(
        site_a().connection("proposals = aes128-sha256-x25519"),
        site_b().connection("proposals = aes256-sha256-x25519"),
    );
    let failure = sim.failure(b);
    let FailureKind::NoProposalChosen { phase: Phase::Ike, found_by: Side::Us, mismatch: Some(m), ours } =
        &failure.kind
    else {
        panic!("{failure}")
    };
    assert_eq!(m.to_string(), "encryption algorithm: ours AES_CBC-256, theirs AES_CBC-128");
    assert_eq!(ours, &["aes256-sha256-prfsha256-x25519"]);
    assert_eq!(failure.config, Some(sim.place(b, "proposals", "connections.gw.proposals")));
    let failure = sim.failure(a);
    let FailureKind::NoProposalChosen { phase: Phase::Ike, found_by: Side::Peer, mismatch: None, ours } = &failure.kind
    else {
        panic!("{failure}")
    };
    assert_eq!(ours, &["aes128-sha256-prfsha256-x25519"]);
    assert_eq!(failure.config, Some(sim.place(a, "proposals", "connections.gw.proposals")));
    assert_eq!(clear_notifies(&sim, "192.0.2.2"), [NotifyType::NO_PROPOSAL_CHOSEN]);
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn no_common_group() {
    let (mut sim, a, b) = attempt(
        site_a().connection("proposals = aes128-sha256-x25519"),
        site_b().connection("proposals = aes128-sha256-ecp384"),
    );
    let failure = sim.failure(b);
    assert!(failure.to_string().contains("key exchange group: ours ECP_384, theirs CURVE_25519"), "{failure}");
    assert_eq!(sim.failure(a).kind.code(), "IKE_PROPOSAL");
    forgotten(&mut sim, &[a, b]);
}

/// A responder that asks for a group which we do not allow.
#[test]
fn a_group_we_do_not_allow() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a().connection(sim::peer::PROPOSALS)), sim.add(site_b()));
    sim.crash(b);
    sim.initiate(a, b);
    let request = sim.wire[0].1.clone();
    let header = Header::parse(&request.bytes).unwrap();
    let mut chain = wire::v2::ChainBuilder::new();
    chain.notify(wire::ProtocolId::NONE, &[], NotifyType::INVALID_KE_PAYLOAD, &14u16.to_be_bytes());
    let header = Header { flags: wire::Flags::RESPONSE, ..header };
    let bytes = wire::v2::message(header, chain);
    sim.inject(Datagram { from: request.to, to: request.from, bytes, keepalive: false });
    sim.run_for(SECOND);
    let failure = sim.failure(a);
    let (ours, wanted) = (KeyExchangeId::CURVE_25519, KeyExchangeId::MODP_2048);
    assert_eq!(failure.kind, FailureKind::InvalidKeyExchange { ours, wanted });
    assert!(failure.kind.remedy().contains("modp2048"), "{}", failure.kind.remedy());
}

/// RFC 7296 section 1.2: the IKE SA stands without its Child SA.
#[test]
fn different_esp_proposals() {
    let (mut sim, a, b) = attempt(
        site_a().child("esp_proposals = aes128-sha256"),
        site_b().child("esp_proposals = aes256gcm16, aes128-sha384"),
    );
    for node in [a, b] {
        let sa = &sim.snapshots(node)[0];
        assert_eq!((sa.state, sa.children.len()), (IkeState::Established, 0));
        let tombstone = &sim.tombstones(node)[0];
        assert_eq!(tombstone.child.as_deref(), Some("net"));
        assert_eq!(tombstone.failure.kind.code(), "CHILD_PROPOSAL");
        let place = sim.place(node, "esp_proposals", "connections.gw.children.net.esp_proposals");
        assert_eq!(tombstone.failure.config, Some(place));
    }
    let text = sim.failure(b).to_string();
    assert!(text.contains("integrity algorithm: ours HMAC_SHA2_384_192, theirs HMAC_SHA2_256_128"), "{text}");
    assert!(matches!(sim.failure(a).kind, FailureKind::NoProposalChosen { found_by: Side::Peer, .. }));
    sim.terminate(a, &proto::Selection::default());
    forgotten(&mut sim, &[a, b]);
}

/// Within our own selectors a peer may ask for any number of pieces: each pair of them is a policy.
#[test]
fn more_pairs_of_selectors_than_a_child_sa_may_have() {
    let hosts = |net: &str, count: usize| {
        // Every other address, so that no two of them are one network.
        (0..count).map(|n| format!("{net}.{}/32", 2 * n)).collect::<Vec<_>>().join(",")
    };
    for (count, most) in [(32, true), (33, false)] {
        let (sim, a, b) = attempt(
            site_a()
                .child(&format!("local_ts = {}", hosts("10.1.0", count)))
                .child(&format!("remote_ts = {}", hosts("10.2.0", count))),
            site_b().child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16"),
        );
        for node in [a, b] {
            assert_eq!(sim.snapshots(node)[0].state, IkeState::Established);
            let children = &sim.snapshots(node)[0].children;
            assert_eq!(children.iter().any(|c| c.installed.is_some()), most, "{count}: {children:?}");
        }
        if !most {
            let kind = FailureKind::TooManySelectors { pairs: 33 * 33, most: 1024 };
            assert_eq!(sim.failure(b).kind, kind);
            assert!(matches!(sim.failure(a).kind, FailureKind::TsUnacceptable { found_by: Side::Peer, .. }));
        }
    }
}

#[test]
fn selectors_that_do_not_meet() {
    let (mut sim, a, b) = attempt(
        site_a().child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16"),
        site_b().child("local_ts = 10.3.0.0/16").child("remote_ts = 10.1.0.0/16"),
    );
    for node in [a, b] {
        assert_eq!((sim.snapshots(node)[0].state, sim.endpoint(node).sizes()), (IkeState::Established, (1, 0)));
    }
    // The peer that knows both sides' selectors points at the one that differs.
    let key = |name: &str| format!("connections.gw.children.net.{name}");
    assert_eq!(sim.failure(a).config, Some(sim.place(a, "remote_ts", &key("remote_ts"))));
    assert_eq!(sim.failure(b).config, Some(sim.place(b, "local_ts", &key("local_ts"))));
    let net = |text: &str| vec![text.parse::<model::TrafficSelector>().unwrap()];
    let expected = FailureKind::TsUnacceptable {
        found_by: Side::Us,
        local: net("10.3.0.0/16"),
        remote: net("10.1.0.0/16"),
        peer_local: net("10.1.0.0/16"),
        peer_remote: net("10.2.0.0/16"),
    };
    assert_eq!(sim.failure(b).kind, expected);
    let text = sim.failure(b).kind.to_string();
    let shown = "ours 10.3.0.0/16 === 10.1.0.0/16, the peer asks for 10.2.0.0/16 === 10.1.0.0/16";
    assert!(text.ends_with(shown), "{text}");
    assert!(matches!(sim.failure(a).kind, FailureKind::TsUnacceptable { found_by: Side::Peer, .. }));
    // Trying again is possible at once.
    assert!(matches!(sim.try_initiate(a, b), Ok(proto::Started::Negotiation(_))));
}

#[test]
fn an_ike_sa_without_child_can_be_closed_at_once() {
    for (a_closes, b_closes) in [(true, false), (false, true), (true, true)] {
        let (mut sim, a, b) = attempt(
            site_a().child("remote_ts = 10.2.0.0/16").settings(|s| s.close_ike_on_child_failure = a_closes),
            site_b().child("local_ts = 10.3.0.0/16").settings(|s| s.close_ike_on_child_failure = b_closes),
        );
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)), "{a_closes} {b_closes}");
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn no_connection_for_the_address() {
    let (mut sim, a, b) = attempt(site_a(), Site::new("b", "192.0.2.2").to("192.0.2.77"));
    let failure = sim.failure(b);
    let (local, remote) = ("192.0.2.2:500".parse().unwrap(), "192.0.2.1:500".parse().unwrap());
    assert_eq!(failure.kind, FailureKind::NoConfig { local, remote });
    assert!(failure.kind.remedy().contains("remote_addrs = 192.0.2.1"));
    assert_eq!(sim.failure(a).kind.code(), "IKE_PROPOSAL");
    assert_eq!(clear_notifies(&sim, "192.0.2.2"), [NotifyType::NO_PROPOSAL_CHOSEN]);
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn port_4500_closed_behind_a_nat() {
    let nat = Nat::new("203.0.113.1".parse().unwrap());
    let mut sim = Sim::new(1);
    let a = sim.add(Site::new("a", "10.0.0.2").to("192.0.2.2").behind(nat));
    let b = sim.add(Site::new("b", "192.0.2.2").to("203.0.113.1"));
    sim.blocks.push(Block { port: Some(4500), ..Block::default() });
    sim.initiate(a, b);
    sim.run_for(200 * SECOND);
    let failure = sim.failure(a);
    let FailureKind::NoAnswer { waiting_for, to, sent: 6, answered_before: false, .. } = failure.kind else {
        panic!("{failure}")
    };
    assert_eq!((waiting_for, to.port()), (RuleId::IkeAuthResponse, 4500));
    assert!(failure.kind.remedy().contains("open UDP 4500"), "{}", failure.kind.remedy());
    assert!(sim.tombstones(a)[0].sa.nat.local);
    let failure = sim.failure(b);
    assert!(matches!(failure.kind, FailureKind::HalfOpen { repeated: 0, .. }), "{failure}");
    assert!(failure.kind.remedy().contains("4500"));
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn a_data_plane_that_refuses() {
    for failing_is_initiator in [true, false] {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(site_a()), sim.add(site_b()));
        let (failing, other) = if failing_is_initiator { (a, b) } else { (b, a) };
        sim.plane_mut(failing).fail_next_install("no such algorithm");
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        let failure = sim.failure(failing);
        assert_eq!(failure.kind, FailureKind::InstallFailed { reason: "no such algorithm".into() });
        assert_eq!(sim.failure(other).kind, FailureKind::PeerDeleted, "the peer is told");
        for node in [a, b] {
            assert_eq!(sim.plane(node).installed().count(), 0);
            assert_eq!(sim.snapshots(node)[0].children.len(), 0);
            assert_eq!(sim.snapshots(node)[0].state, IkeState::Established);
        }
        sim.terminate(a, &proto::Selection::default());
        forgotten(&mut sim, &[a, b]);
    }
}

#[test]
fn a_peer_that_deletes() {
    let (mut sim, a, b) = attempt(site_a(), site_b());
    assert!(sim.carries(a, b));
    sim.terminate(b, &proto::Selection::default());
    sim.run_for(SECOND);
    assert_eq!(sim.failure(a).kind, FailureKind::PeerDeleted);
    assert_eq!(sim.failure(b).kind, FailureKind::Terminated);
    let down = sim.events(a).filter(|(_, e)| matches!(e, Event::IkeDown(_) | Event::ChildDown(_))).count();
    assert_eq!(down, 2);
    forgotten(&mut sim, &[a, b]);
}

#[test]
fn another_major_version() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.set_hook(Some(Box::new(|_, d| {
        let mut d = d.clone();
        if d.to.ip().to_string() == "192.0.2.2" {
            d.bytes[17] = 0x30;
        }
        vec![(Duration::ZERO, d)]
    })));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    assert_eq!(clear_notifies(&sim, "192.0.2.2"), [NotifyType::INVALID_MAJOR_VERSION]);
    assert_eq!(sim.failure(a).kind.code(), "IKE_VERSION");
}

// ------------------------------------------------------------------------------------------------------- uniqueness

/// A second initiator of the same identity at another address.
fn doubled(unique: &str) -> (Sim, [NodeId; 3]) {
    let hub =
        Site::new("b", "192.0.2.2").to("192.0.2.0/24").connection(unique).child("remote_ts = 192.0.2.1, 192.0.2.3");
    let _ = hub.load();
    let mut sim = Sim::new(1);
    let a = sim.add(site_a());
    let b = sim.add(hub);
    let c =
        sim.add(Site::new("c", "192.0.2.3").to("192.0.2.2").local_id(Some("a.example")).connection("unique = never"));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    assert!(sim.carries(a, b));
    sim.initiate(c, b);
    sim.run_for(5 * SECOND);
    (sim, [a, b, c])
}

/// A peer that authenticates again and again, with `unique = never`: it has so many IKE SAs and no more.
#[test]
fn a_peer_has_so_many_ike_sas_and_no_more() {
    let mut sim = Sim::new(1);
    let hub = site_b().connection("unique = never").settings(|s| s.ike_sa_limit_peer = 5);
    let b = sim.add(hub);
    let from = |n: u8| format!("192.0.2.{}", 10 + n);
    let again = |n: u8| Site::new(&format!("a{n}"), &from(n)).to("192.0.2.2").local_id(Some("a.example"));
    let any = Site::new("b", "192.0.2.2").to("%any").connection("unique = never").load().connections.remove(0);
    sim.with(b, |endpoint, _| endpoint.load_connection(any));
    let mut up = 0;
    for n in 0..12 {
        let a = sim.add(again(n).connection("unique = never"));
        sim.initiate(a, b);
        sim.run_for(SECOND);
        up += usize::from(sim.carries(a, b));
        assert_eq!(sim.endpoint(b).sizes().0, usize::from(n + 1).min(5), "{n}");
        if n >= 5 {
            assert!(matches!(sim.failure(a).kind, FailureKind::AuthenticationRefused { .. }));
        }
        sim.run_for(40 * SECOND);
    }
    assert_eq!((up, sim.endpoint(b).sizes()), (5, (5, 0)));
    assert_eq!(sim.dropped(b, DropReason::IkeSaLimitPeer), 7);
    assert_eq!(sim.failure(b).kind, FailureKind::TooManyOfPeer { remote: id("a.example"), most: 5 });
    assert_eq!(sim.failure(b).kind.code(), "TOO_MANY_IKE_SAS");
    // Somebody else is served, and so is the peer when one has gone.
    let c = sim.add(Site::new("c", "192.0.2.3").to("192.0.2.2"));
    sim.initiate(c, b);
    sim.run_for(SECOND);
    assert!(sim.carries(c, b));
    let one = sim.snapshots(b)[0].id;
    sim.terminate(b, &proto::Selection { ike_id: Some(one), ..proto::Selection::default() });
    sim.run_for(5 * SECOND);
    let a = sim.add(again(20).connection("unique = never"));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    assert!(sim.carries(a, b));
}

#[test]
fn unique_keep_refuses_the_second() {
    let (sim, [a, b, c]) = doubled("unique = keep");
    assert!(sim.carries(a, b) && !sim.carries(c, b));
    let failure = sim.failure(b);
    assert_eq!(failure.kind, FailureKind::NotUnique { remote: id("a.example") });
    assert_eq!(failure.config, Some(sim.place(b, "unique", "connections.gw.unique")));
    assert!(matches!(sim.failure(c).kind, FailureKind::AuthenticationRefused { .. }));
}

#[test]
fn unique_replace_ends_the_first() {
    let (sim, [a, b, c]) = doubled("unique = replace");
    assert!(!sim.carries(a, b) && sim.carries(c, b));
    let by = sim.snapshots(b)[0].id;
    assert_eq!(sim.failure(b).kind, FailureKind::Replaced { by });
    assert_eq!(sim.failure(a).kind, FailureKind::PeerDeleted, "it is told");
}

#[test]
fn unique_no_and_never_keep_both() {
    for unique in ["unique = no", "unique = never"] {
        let (sim, [a, b, c]) = doubled(unique);
        assert!(sim.carries(a, b) && sim.carries(c, b));
        assert_eq!(sim.endpoint(b).sizes(), (2, 0));
    }
}

#[test]
fn a_restarted_initiator_says_initial_contact() {
    for (unique, left) in [("no", 1), ("replace", 1), ("keep", 1), ("never", 2)] {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(site_a()), sim.add(site_b().connection(&format!("unique = {unique}"))));
        sim.initiate(a, b);
        sim.run_for(SECOND);
        sim.restart(a);
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert!(sim.carries(a, b), "unique = {unique}");
        assert_eq!(sim.endpoint(b).sizes().0, left, "unique = {unique}");
        assert_eq!(sim.plane(b).installed().count(), left);
    }
}

/// RFC 7296 section 2.4: INITIAL_CONTACT says that there is no other IKE SA of these identities, of whatever connection.
#[test]
fn a_second_connection_to_the_same_peer_does_not_end_the_first() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a().to("192.0.2.2")), sim.add(site_b()));
    for connection in ["gw", "gw2"] {
        let at = |node| std::net::SocketAddr::new(sim.address(node), 500);
        let (local, remote) = (at(a), at(b));
        assert!(sim.with(a, |endpoint, now| endpoint.initiate(now, connection, "net", local, remote).is_ok()));
        sim.run_for(5 * SECOND);
    }
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((2, 0), (2, 0)));
}

#[test]
fn a_restarted_responder_says_initial_contact_too() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a()), sim.add(site_b()));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    sim.restart(b);
    sim.initiate(b, a);
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

/// A rekeying or reauthentication makes a second SA of the same identities at the same address: `unique = keep` must not
/// stand in its way.
#[test]
fn unique_keep_lets_a_peer_replace_its_own_sa() {
    let times = "rekey_time = 100s";
    let mut sim = Sim::new(1);
    let a = sim.add(site_a().connection(times).connection("rand_time = 0s"));
    let b = sim.add(site_b().connection("unique = keep"));
    sim.initiate(a, b);
    sim.run_for(130 * SECOND);
    assert!(sim.carries(a, b));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
    assert!(matches!(sim.failure(a).kind, FailureKind::Replaced { .. }), "{:?}", sim.failure(a));
}
