//! CREATE_CHILD_SA with a peer that has the keys and refuses, or sends nonsense: what is refused changes nothing (RFC 7296
//! sections 1.3, 2.21.3 and 2.25).

use model::dataplane::PlaneEvent;
use model::{ChildState, Event, FailureKind, IkeState, ProposalProtocol, Role, TrafficSelector};
use proto::Selection;
use sim::{Datagram, NodeId, Opened, Peer, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::v2::{ChainBuilder, Proposal};
use wire::{ExchangeType, Header, KeyExchangeId, NotifyType, PayloadType, ProtocolId};

const MS: Duration = Duration::from_millis(1);

fn peer_address() -> SocketAddr {
    "192.0.2.1:500".parse().unwrap()
}

fn our_address() -> SocketAddr {
    "192.0.2.2:500".parse().unwrap()
}

struct Scene {
    sim: Sim,
    node: NodeId,
    peer: Peer,
    /// Message ID of the peer's next request.
    next: u32,
}

impl Scene {
    /// A tunnel that the endpoint (192.0.2.2) or the peer (192.0.2.1) began.
    fn up(endpoint_began: bool) -> Self {
        Self::with(endpoint_began, Site::new("b", "192.0.2.2"))
    }

    /// The same with more in the endpoint's configuration.
    fn with(endpoint_began: bool, site: Site) -> Self {
        Self::of(endpoint_began, site, b"nobody's")
    }

    /// The same, with this Vendor ID of the peer's.
    fn of(endpoint_began: bool, site: Site, vendor_id: &[u8]) -> Self {
        let mut sim = Sim::new(1);
        let site = site.to("192.0.2.1").connection(sim::peer::PROPOSALS).connection("mobike = no");
        let node = sim.add(site.child("esp_proposals = aes128gcm16,aes128gcm16-ecp256"));
        let peer = Peer::new(if endpoint_began { Role::Responder } else { Role::Initiator }, 5);
        let mut scene = Self { sim, node, peer, next: if endpoint_began { 0 } else { 2 } };
        let mut first = scene.peer.init_parts();
        first.push((PayloadType::VENDOR_ID, vendor_id.to_vec()));
        if endpoint_began {
            let (local, remote) = (our_address(), peer_address());
            let begun = scene.sim.with(node, |e, now| e.initiate(now, "gw", "net", local, remote).is_ok());
            assert!(begun);
            let request = scene.sent().pop().unwrap();
            assert!(scene.peer.take_init(&request));
            let bytes = scene.peer.init(&first);
            assert_eq!(scene.give(bytes).len(), 1);
        } else {
            let bytes = scene.peer.init(&first);
            let answer = scene.give(bytes);
            assert!(scene.peer.take_init(&answer[0]));
        }
        let parts = scene.peer.auth_parts("a.example", b"swordfish", "192.0.2.1", "192.0.2.2");
        let bytes = scene.peer.protected(ExchangeType::IKE_AUTH, 1, endpoint_began, &parts);
        scene.give(bytes);
        assert_eq!(scene.sim.plane(node).installed().count(), 1);
        scene
    }

    /// What the endpoint has sent meanwhile.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.sim.run_for(30 * MS);
        std::mem::take(&mut self.sim.undelivered).into_iter().map(|d| d.bytes).collect()
    }

    fn give(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.sim.undelivered.clear();
        self.sim.inject(Datagram { from: peer_address(), to: our_address(), bytes, keepalive: false });
        self.sent()
    }

    /// The same for a Delete of what we sent by until now: what had chosen that leaves before the answer.
    fn give_delete(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        assert!(self.give(bytes).is_empty());
        self.sim.run_for(15 * MS);
        assert!(self.sim.undelivered.is_empty());
        self.sent()
    }

    fn open(&self, all: &[Vec<u8>]) -> Vec<Opened> {
        all.iter().filter_map(|m| self.peer.open(m)).collect()
    }

    /// A CREATE_CHILD_SA request of the peer; the endpoint's answer.
    fn ask(&mut self, chain: ChainBuilder) -> Opened {
        let bytes = self.peer.protected_chain(ExchangeType::CREATE_CHILD_SA, self.next, false, chain);
        self.next += 1;
        let sent = self.give(bytes);
        let answers: Vec<Opened> = self.open(&sent).into_iter().filter(|o| o.header.is_response()).collect();
        assert_eq!(answers.len(), 1);
        answers.into_iter().next().unwrap()
    }

    /// The endpoint rekeys; its request.
    fn rekey(&mut self, child: bool) -> Opened {
        let selection = Selection { child: child.then(|| "net".to_string()), ..Selection::default() };
        assert_eq!(self.sim.with(self.node, |e, now| e.rekey(now, &selection)), 1);
        let sent = self.sent();
        self.open(&sent).pop().expect("a request")
    }

    /// The peer answers the endpoint's request; what the endpoint sends next.
    fn answer(&mut self, request: &Opened, chain: ChainBuilder) -> Vec<Opened> {
        let bytes = self.peer.protected_chain(request.header.exchange, request.header.message_id, true, chain);
        let sent = self.give(bytes);
        sent.iter().map(|m| self.peer.open(m)).map(|o| o.expect("a message for the peer")).collect()
    }

    /// One IKE SA and its first Child SA, as if nothing had happened.
    fn untouched(&self) -> bool {
        let snapshots = self.sim.snapshots(self.node);
        let [sa] = snapshots.as_slice() else { return false };
        let [child] = sa.children.as_slice() else { return false };
        (sa.state, child.state, child.id.0) == (IkeState::Established, ChildState::Installed, 1)
            && self.sim.plane(self.node).installs == 1
    }
}

fn notify(kind: NotifyType, data: &[u8]) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::NONE, &[], kind, data);
    chain
}

fn proposal(protocol: ProposalProtocol, text: &str, spi: &[u8]) -> Proposal {
    let transforms = model::Proposal::parse(protocol, text).unwrap().transforms();
    Proposal { number: 1, protocol: protocol.into(), spi: spi.to_vec(), transforms }
}

const SPI: [u8; 4] = [9, 9, 9, 9];

/// A request or an answer for a Child SA: suite, selectors of initiator and responder.
fn child(rekeyed: Option<u32>, text: &str, tsi: &str, tsr: &str) -> ChainBuilder {
    child_with(SPI, rekeyed, text, tsi, tsr)
}

fn child_with(spi: [u8; 4], rekeyed: Option<u32>, text: &str, tsi: &str, tsr: &str) -> ChainBuilder {
    let selector = |text: &str| -> wire::v2::TrafficSelector { text.parse::<TrafficSelector>().unwrap().into() };
    let mut chain = ChainBuilder::new();
    if let Some(spi) = rekeyed {
        chain.notify(ProtocolId::ESP, &spi.to_be_bytes(), NotifyType::REKEY_SA, &[]);
    }
    chain.sa(&[proposal(ProposalProtocol::Esp, text, &spi)]);
    chain.nonce(&[7; 32]);
    chain.ts_i(&[selector(tsi)]);
    chain.ts_r(&[selector(tsr)]);
    chain
}

const PEER_TS: &str = "192.0.2.1";
const OUR_TS: &str = "192.0.2.2";

#[test]
fn refused_requests_change_nothing() {
    for endpoint_began in [true, false] {
        let mut scene = Scene::up(endpoint_began);
        let spi = scene.peer.esp_spi;
        for rekeyed in [None, Some(spi)] {
            let cases = [
                (child(rekeyed, "aes128gcm16", "10.0.0.0/8", OUR_TS), NotifyType::TS_UNACCEPTABLE),
                (child(rekeyed, "aes256gcm16", PEER_TS, OUR_TS), NotifyType::NO_PROPOSAL_CHOSEN),
                (child(rekeyed, "aes128gcm16-ecp256", PEER_TS, OUR_TS), NotifyType::INVALID_KE_PAYLOAD),
            ];
            for (request, expected) in cases {
                assert_eq!(scene.ask(request).notifies(), [expected.0]);
                assert!(scene.untouched(), "{expected}");
            }
        }
        // The SPI is named in the refusal (section 2.25).
        let answer = scene.ask(child(Some(0xdead_beef), "aes128gcm16", PEER_TS, OUR_TS));
        let body = [
            &[ProtocolId::ESP.0, 4],
            &NotifyType::CHILD_SA_NOT_FOUND.0.to_be_bytes()[..],
            &0xdead_beef_u32.to_be_bytes(),
        ]
        .concat();
        assert_eq!(answer.parts, [(PayloadType::NOTIFY, body)]);
        // IKE SA: no SPI, zero, and a suite that is not ours.
        let suite = "aes128gcm16-prfsha256-x25519";
        for (text, own) in [(suite, &[][..]), (suite, &[0; 8]), ("aes256-sha256-x25519", &[1; 8])] {
            let mut chain = ChainBuilder::new();
            chain.sa(&[proposal(ProposalProtocol::Ike, text, own)]);
            chain.nonce(&[7; 32]);
            chain.ke(KeyExchangeId::CURVE_25519, &[9; 32]);
            assert_eq!(scene.ask(chain).notifies(), [NotifyType::NO_PROPOSAL_CHOSEN.0], "{own:?}");
            assert!(scene.untouched());
        }
        // A public value that is none.
        let mut chain = ChainBuilder::new();
        chain.sa(&[proposal(ProposalProtocol::Ike, suite, &[1; 8])]);
        chain.nonce(&[7; 32]);
        chain.ke(KeyExchangeId::CURVE_25519, &[0; 32]);
        assert_eq!(scene.ask(chain).notifies(), [NotifyType::NO_PROPOSAL_CHOSEN.0]);
        assert!(scene.untouched());
        // And what is right is served still.
        assert!(scene.ask(child(Some(spi), "aes128gcm16", PEER_TS, OUR_TS)).has(PayloadType::NONCE));
        assert_eq!(scene.sim.plane(scene.node).installs, 2);
    }
}

/// What was told of rekeyings that failed: of which SA, why, and whether it is kept with the ends.
fn not_rekeyed(scene: &Scene) -> Vec<(Option<String>, String, bool)> {
    let kept = scene.sim.tombstones(scene.node);
    let events = scene.sim.events(scene.node).filter_map(|(_, event)| match event {
        Event::RekeyFailed(t) => Some(t),
        _ => None,
    });
    let one = |t: &model::Tombstone| {
        let same = |k: &model::Tombstone| k.rekeying.is_some() && k.failure.kind == t.failure.kind;
        (t.child.clone(), t.failure.kind.code().to_string(), kept.iter().any(same))
    };
    events.map(|t| one(t)).collect()
}

#[test]
fn a_rekeying_that_the_peer_refuses_is_told_with_its_reason() {
    for of_child in [true, false] {
        let group = KeyExchangeId::MODP_2048.0.to_be_bytes();
        let proposal = if of_child { "CHILD_PROPOSAL" } else { "IKE_PROPOSAL" };
        for (refusal, data, code, kept) in [
            (NotifyType::NO_PROPOSAL_CHOSEN, &[][..], proposal, true),
            (NotifyType::INVALID_KE_PAYLOAD, &group, "KE_GROUP", true),
            (NotifyType::TS_UNACCEPTABLE, &[], if of_child { "TRAFFIC_SELECTOR" } else { "PEER_REFUSED" }, true),
            (NotifyType::TEMPORARY_FAILURE, &[], "PEER_REFUSED", false),
            (NotifyType::CHILD_SA_NOT_FOUND, &[], "PEER_REFUSED", false),
            (NotifyType::NO_ADDITIONAL_SAS, &[], "PEER_REFUSED", false),
        ] {
            let mut scene = Scene::up(true);
            let request = scene.rekey(of_child);
            scene.answer(&request, notify(refusal, data));
            let child = of_child.then(|| "net".to_string());
            assert_eq!(not_rekeyed(&scene), [(child, code.to_string(), kept)], "{refusal}");
            let lines = scene.sim.events(scene.node).filter(|(_, event)| matches!(event, Event::RekeyFailed(_)));
            let levels: Vec<u8> = lines.map(|(_, event)| event.log().1).collect();
            assert_eq!(levels, [u8::from(!kept)], "what is for the time being is no fault");
            let goes_on = refusal != NotifyType::CHILD_SA_NOT_FOUND || !of_child;
            assert_eq!(scene.sim.plane(scene.node).installed().count() == 1, goes_on, "{refusal}");
        }
    }
    // And one of the peer's that we refuse, with what it offers.
    let mut scene = Scene::up(false);
    let spi = scene.peer.esp_spi;
    scene.ask(child(Some(spi), "aes256gcm16", PEER_TS, OUR_TS));
    assert_eq!(not_rekeyed(&scene), [(Some("net".into()), "CHILD_PROPOSAL".into(), true)]);
    scene.ask(child(None, "aes256gcm16", PEER_TS, OUR_TS));
    assert_eq!(not_rekeyed(&scene).len(), 1, "a further one is no rekeying");
}

#[test]
fn what_we_close_or_rekey_is_not_rekeyed_by_the_peer() {
    let mut scene = Scene::up(true);
    let spi = scene.peer.esp_spi;
    let selection = Selection { child: Some("net".to_string()), ..Selection::default() };
    scene.sim.terminate(scene.node, &selection);
    let answer = scene.ask(child(Some(spi), "aes128gcm16", PEER_TS, OUR_TS));
    assert_eq!(answer.notifies(), [NotifyType::TEMPORARY_FAILURE.0]);

    let mut scene = Scene::up(true);
    scene.rekey(false);
    for rekeyed in [None, Some(spi)] {
        let answer = scene.ask(child(rekeyed, "aes128gcm16", PEER_TS, OUR_TS));
        assert_eq!(answer.notifies(), [NotifyType::TEMPORARY_FAILURE.0]);
    }
    // Section 2.25.2: a Delete is carried out all the same.
    let mut delete = ChainBuilder::new();
    delete.delete(ProtocolId::ESP, &[spi.to_be_bytes()]);
    let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, scene.next, false, delete);
    let sent = scene.give(bytes);
    assert!(scene.open(&sent)[0].has(PayloadType::DELETE));
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 0);
}

#[test]
fn temporary_failure_means_later() {
    for child in [true, false] {
        let mut scene = Scene::up(true);
        let request = scene.rekey(child);
        assert!(scene.answer(&request, notify(NotifyType::TEMPORARY_FAILURE, &[])).is_empty());
        assert!(scene.untouched());
        scene.sim.run_for(4900 * MS);
        assert!(scene.sent().is_empty(), "not at once");
        scene.sim.run_for(10_100 * MS);
        let sent = scene.sent();
        let again = scene.open(&sent);
        assert_eq!(again[0].header.exchange, ExchangeType::CREATE_CHILD_SA);
        assert_eq!(again[0].header.message_id, request.header.message_id + 1);
    }
}

#[test]
fn a_peer_that_does_not_rekey_gets_a_new_ike_sa() {
    for child in [true, false] {
        let mut scene = Scene::up(true);
        let request = scene.rekey(child);
        let sent = scene.answer(&request, notify(NotifyType::NO_ADDITIONAL_SAS, &[]));
        assert_eq!(sent.iter().map(|o| o.header.exchange).collect::<Vec<_>>(), [ExchangeType::IKE_SA_INIT]);
        assert_eq!(scene.sim.snapshots(scene.node).len(), 2);
        assert_eq!(scene.sim.plane(scene.node).installed().count(), 1, "the old one stays until then");
    }
}

#[test]
fn invalid_syntax_ends_the_ike_sa() {
    for child in [true, false] {
        let mut scene = Scene::up(true);
        let request = scene.rekey(child);
        scene.answer(&request, notify(NotifyType::INVALID_SYNTAX, &[]));
        assert!(scene.sim.snapshots(scene.node).is_empty());
    }
}

#[test]
fn an_answer_that_was_not_asked_for_is_undone() {
    let answers = [
        child(None, "aes256gcm16", OUR_TS, PEER_TS),
        child(None, "aes128gcm16", OUR_TS, "192.0.2.0/24"),
        child(None, "aes128gcm16-ecp256", OUR_TS, PEER_TS),
    ];
    for answer in answers {
        let mut scene = Scene::up(true);
        let request = scene.rekey(true);
        let sent = scene.answer(&request, answer);
        // The peer has installed it: it hears that we have not.
        assert_eq!(sent.len(), 1);
        assert!(sent[0].has(PayloadType::DELETE));
        let of_old = scene.sim.plane(scene.node).installed().next().unwrap().inbound.spi;
        assert!(!sent[0].parts[0].1.ends_with(&of_old.to_be_bytes()));
        scene.answer(&sent[0], ChainBuilder::new());
        assert!(scene.untouched());
    }
}

#[test]
fn a_group_that_we_do_not_allow_is_not_taken() {
    for child in [true, false] {
        for wanted in [KeyExchangeId(2), KeyExchangeId(14), KeyExchangeId(0)] {
            let mut scene = Scene::up(true);
            let request = scene.rekey(child);
            let sent = scene.answer(&request, notify(NotifyType::INVALID_KE_PAYLOAD, &wanted.0.to_be_bytes()));
            assert!(sent.is_empty(), "{wanted:?}");
            assert!(scene.untouched());
        }
    }
}

/// The answer to our request is outstanding; the peer, which has made the Child SA, deletes that at once.
#[test]
fn a_child_sa_that_is_deleted_before_its_answer_comes() {
    let mut scene = Scene::up(true);
    let request = scene.rekey(true);
    let mut delete = ChainBuilder::new();
    delete.delete(ProtocolId::ESP, &[SPI]);
    let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, scene.next, false, delete);
    let sent = scene.give(bytes);
    assert!(!scene.open(&sent)[0].has(PayloadType::DELETE), "section 2.25.1: without a Delete payload");
    scene.answer(&request, child(None, "aes128gcm16", OUR_TS, PEER_TS));
    assert!(scene.untouched());
}

/// Not every responder has loaded what it made when it answers (OpenIKED), as RFC 7296 section 2.8 would have it: what we send
/// goes by the old Child SA for a moment, unless something comes by the new one, and only then the peer is to forget it.
#[test]
fn the_peer_has_time_to_load_what_it_made() {
    let made = || child_with([2; 4], None, "aes128gcm16", OUR_TS, PEER_TS);
    let mut scene = Scene::up(true);
    let old = scene.peer.esp_spi;
    let new_spi = u32::from_be_bytes([2; 4]);
    let sends_by = |scene: &Scene, spi: u32| scene.sim.plane(scene.node).sending().map(|i| i.outbound.spi) == Some(spi);
    let request = scene.rekey(true);
    assert!(scene.answer(&request, made()).is_empty());
    let new = scene.sim.plane(scene.node).installed().last().unwrap();
    assert!(new.succeeds.is_some() && sends_by(&scene, old));
    // The peer wants to replace what has a successor, and is told to wait (section 2.25.1).
    let theirs = child_with([3; 4], Some(old), "aes128gcm16", PEER_TS, OUR_TS);
    assert_eq!(scene.ask(theirs).notifies(), [NotifyType::TEMPORARY_FAILURE.0]);
    // Each look takes 30 ms.
    assert!(scene.sent().is_empty() && sends_by(&scene, old));
    assert!(scene.sent().is_empty() && sends_by(&scene, new_spi), "what is on its way by the old one may arrive");
    assert_eq!(scene.sim.plane(scene.node).retired(), 1, "and what the peer sends");
    scene.sim.run_for(20 * MS);
    let sent = scene.sent();
    let delete = scene.open(&sent).pop().expect("a Delete");
    assert!(delete.has(PayloadType::DELETE), "it may forget the old one as soon as it has this");
    assert_eq!(scene.sim.plane(scene.node).retired(), 1, "and may not have it yet");
    assert!(scene.answer(&delete, ChainBuilder::new()).is_empty());
    scene.sim.run_for(60_000 * MS);
    let plane = scene.sim.plane(scene.node);
    assert_eq!((plane.installed().count(), plane.retired(), &plane.violations[..]), (1, 0, &[][..]));
    assert!(scene.sent().is_empty());

    // OpenIKED says by its answer to the next question that it has, be it late or soon.
    for late in [0, 400] {
        let mut scene = Scene::of(true, Site::new("b", "192.0.2.2"), b"OpenIKED-7.2");
        let request = scene.rekey(true);
        let sent = scene.answer(&request, made());
        let [question] = &sent[..] else { panic!("no question") };
        assert_eq!(question.parts.len(), 0);
        scene.sim.run_for(late * MS);
        assert!(sends_by(&scene, old));
        assert!(scene.answer(question, ChainBuilder::new()).is_empty() && sends_by(&scene, new_spi));
        scene.sim.run_for(20 * MS);
        let sent = scene.sent();
        assert!(scene.open(&sent)[0].has(PayloadType::DELETE));
    }

    // The peer deletes the old one itself.
    let mut scene = Scene::up(true);
    let request = scene.rekey(true);
    assert!(scene.answer(&request, made()).is_empty());
    let mut delete = ChainBuilder::new();
    delete.delete(ProtocolId::ESP, &[old.to_be_bytes()]);
    let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, scene.next, false, delete);
    let sent = scene.give_delete(bytes);
    assert!(scene.open(&sent)[0].has(PayloadType::DELETE));
    assert!(sends_by(&scene, new_spi));
    scene.sim.run_for(60_000 * MS);
    assert!(scene.sent().is_empty(), "there is nothing left to delete");
    assert_eq!(scene.sim.plane(scene.node).violations, [] as [&str; 0]);

    // The operator ends both.
    let mut scene = Scene::up(true);
    let request = scene.rekey(true);
    assert!(scene.answer(&request, made()).is_empty());
    let net = Selection { child: Some("net".to_string()), ..Selection::default() };
    assert!(!scene.sim.with(scene.node, |e, now| e.terminate(now, &net)).is_empty());
    let sent = scene.sent();
    let mut sent = scene.open(&sent);
    while let Some(delete) = sent.pop() {
        assert!(delete.has(PayloadType::DELETE));
        sent.extend(scene.answer(&delete, ChainBuilder::new()));
    }
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 0);
    scene.sim.run_for(1_000 * MS);
    assert!(scene.sent().is_empty());
}

/// OpenIKED takes a Child SA away as it deletes it, with what is on its way, and loads the new one only then: what we send
/// waits until it has. In all other cases it goes by the old one.
#[test]
fn what_is_sent_waits_while_a_peer_that_forgets_at_once_replaces_a_child_sa() {
    let sends_by = |scene: &Scene| scene.sim.plane(scene.node).sending().map(|i| i.outbound.spi.to_be_bytes());
    let replace = |scene: &mut Scene, old: u32, spi: [u8; 4]| {
        let theirs = child_with(spi, Some(old), "aes128gcm16", PEER_TS, OUR_TS);
        let bytes = scene.peer.protected_chain(ExchangeType::CREATE_CHILD_SA, scene.next, false, theirs);
        scene.next += 1;
        scene.sim.undelivered.clear();
        scene.sim.inject(Datagram { from: peer_address(), to: our_address(), bytes, keepalive: false });
        scene.sim.run_for(4 * MS);
        assert_eq!((sends_by(scene), scene.sim.undelivered.len()), (None, 0), "what was being sent leaves first");
        let sent = scene.sent();
        assert!(scene.open(&sent)[0].has(PayloadType::NONCE));
    };
    // The Delete, and our question after the answer to it.
    let delete_of = |scene: &mut Scene, old: [u8; 4], moves: bool| {
        let mut delete = ChainBuilder::new();
        delete.delete(ProtocolId::ESP, &[old]);
        let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, scene.next, false, delete);
        scene.next += 1;
        let sent = if moves { scene.give_delete(bytes) } else { scene.give(bytes) };
        let mut sent = scene.open(&sent);
        assert!(sent[0].header.is_response() && sent[0].has(PayloadType::DELETE), "the answer does not wait");
        sent.split_off(1)
    };
    let delete = |scene: &mut Scene, old: [u8; 4]| delete_of(scene, old, false);
    let one_is_left = |scene: &mut Scene| {
        scene.sim.run_for(60_000 * MS);
        let plane = scene.sim.plane(scene.node);
        assert_eq!((plane.installed().count(), plane.retired(), &plane.violations[..]), (1, 0, &[][..]));
    };
    let iked = |endpoint_began| Scene::of(endpoint_began, Site::new("b", "192.0.2.2"), b"OpenIKED-7.2");
    for (endpoint_began, replaced_before) in [(true, false), (false, false), (false, true)] {
        let mut scene = iked(endpoint_began);
        if replaced_before {
            let mut theirs = Peer::new(Role::Initiator, 9);
            let reply = scene.ask(theirs.rekey_chain());
            assert!(theirs.take_rekey(&scene.peer, &reply));
            theirs.esp_spi = scene.peer.esp_spi;
            (scene.peer, scene.next) = (theirs, 0);
        }
        let old = scene.peer.esp_spi;
        let late = scene.sim.plane(scene.node).installed().next().unwrap().inbound.spi;
        replace(&mut scene, old, [2; 4]);
        scene.sim.run_for(100 * MS);
        assert_eq!(sends_by(&scene), None, "the answer may be on its way");
        let question = delete(&mut scene, old.to_be_bytes());
        assert_eq!((sends_by(&scene), question.len(), question[0].parts.len()), (None, 1, 0));
        assert!(scene.answer(&question[0], ChainBuilder::new()).is_empty());
        assert_eq!(sends_by(&scene), Some([2; 4]));
        assert!(scene.sim.plane(scene.node).receives(late));
        // The next time our answer is lost: the old one carries on until the Delete comes. Nor is our question answered.
        replace(&mut scene, u32::from_be_bytes([2; 4]), [3; 4]);
        scene.sim.run_for(205 * MS);
        assert_eq!(sends_by(&scene), Some([2; 4]));
        assert!(delete_of(&mut scene, [2; 4], true).is_empty());
        assert_eq!(sends_by(&scene), Some([3; 4]));
        replace(&mut scene, u32::from_be_bytes([3; 4]), [4; 4]);
        assert_eq!(delete(&mut scene, [3; 4]).len(), 1);
        scene.sim.run_for(100 * MS);
        assert_eq!(sends_by(&scene), Some([4; 4]));
        one_is_left(&mut scene);
    }
    // The operator ends both meanwhile.
    let mut scene = iked(true);
    let old = scene.peer.esp_spi;
    replace(&mut scene, old, [2; 4]);
    let net = Selection { child: Some("net".to_string()), ..Selection::default() };
    assert!(!scene.sim.with(scene.node, |e, now| e.terminate(now, &net)).is_empty());
    let sent = scene.sent();
    let mut sent = scene.open(&sent);
    while let Some(delete) = sent.pop() {
        sent.extend(scene.answer(&delete, ChainBuilder::new()));
    }
    scene.sim.run_for(10_000 * MS);
    let plane = scene.sim.plane(scene.node);
    assert_eq!((plane.installed().count(), plane.retired(), &plane.violations[..]), (0, 0, &[][..]));
    // Where the data plane cannot keep it, it moves with the Delete.
    let mut scene = iked(true);
    let old = scene.peer.esp_spi;
    replace(&mut scene, old, [2; 4]);
    let held = scene.sim.plane(scene.node).installed().next().unwrap().child;
    scene.sim.report(scene.node, PlaneEvent::NotHeld { child: held });
    assert!(delete_of(&mut scene, old.to_be_bytes(), true).is_empty());
    assert_eq!(scene.sim.plane(scene.node).retired(), 1);
    one_is_left(&mut scene);
    // Others keep what they replaced, and nothing waits.
    let mut scene = Scene::of(false, Site::new("b", "192.0.2.2"), b"strongSwan");
    let old = scene.peer.esp_spi;
    assert!(scene.ask(child_with([2; 4], Some(old), "aes128gcm16", PEER_TS, OUR_TS)).has(PayloadType::NONCE));
    assert_eq!(sends_by(&scene), Some(old.to_be_bytes()));
    assert!(delete_of(&mut scene, old.to_be_bytes(), true).is_empty());
    assert_eq!(sends_by(&scene), Some([2; 4]));
    one_is_left(&mut scene);
}

/// Both ends replace the Child SA at once, and the peer, which has both answers, deletes what goes before its own answer is here:
/// it was replaced, and is not lost.
#[test]
fn what_the_peer_deletes_of_a_crossing_before_its_answer_is_here() {
    for deletes_old in [true, false] {
        let mut scene = Scene::with(true, Site::new("b", "192.0.2.2").child("close_action = start"));
        let request = scene.rekey(true);
        let old = scene.peer.esp_spi;
        assert!(scene.ask(child_with([1; 4], Some(old), "aes128gcm16", PEER_TS, OUR_TS)).has(PayloadType::NONCE));
        let mut delete = ChainBuilder::new();
        delete.delete(ProtocolId::ESP, &[if deletes_old { old.to_be_bytes() } else { [1; 4] }]);
        let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, scene.next, false, delete);
        let sent = scene.give_delete(bytes);
        assert_eq!(sent.len(), 1, "an answer, and no Child SA is asked for anew");
        assert!(scene.open(&sent)[0].has(PayloadType::DELETE));
        assert!(matches!(scene.sim.failure(scene.node).kind, FailureKind::Replaced { .. }));
        let plane = scene.sim.plane(scene.node);
        assert_eq!((plane.installed().count(), plane.retired()), (1, 1), "what is on its way is received");
        let mut sent = scene.answer(&request, child_with([2; 4], None, "aes128gcm16", OUR_TS, PEER_TS));
        for _ in 0..3 {
            while let Some(request) = sent.pop() {
                sent.extend(scene.answer(&request, ChainBuilder::new()));
            }
            scene.sim.run_for(100 * MS);
            let later = scene.sent();
            sent = scene.open(&later);
        }
        let plane = scene.sim.plane(scene.node);
        assert!((1..=2).contains(&plane.installed().count()) && plane.violations.is_empty());
    }
}

/// The inbound SPIs of the endpoint, by the peer's.
fn inbound(scene: &Scene, outbound: [u8; 4]) -> Option<u32> {
    let of_peer = u32::from_be_bytes(outbound);
    scene.sim.plane(scene.node).installed().find(|i| i.outbound.spi == of_peer).map(|i| i.inbound.spi)
}

/// Both ends replace the Child SA at once, ours is the one that stays (RFC 7296 section 2.8.1), and the peer does not delete its
/// own, as libreswan never does. That one goes when the peer has something newer than both, and not before.
#[test]
fn of_two_child_sas_the_one_that_the_peer_leaves_goes_after_a_newer_one_is_there() {
    let mut scene = Scene::up(true);
    let request = scene.rekey(true);
    let old = scene.peer.esp_spi;
    let theirs = child_with([1; 4], Some(old), "aes128gcm16", PEER_TS, OUR_TS);
    assert!(scene.ask(theirs).has(PayloadType::NONCE));
    let sent = scene.answer(&request, child_with([2; 4], None, "aes128gcm16", OUR_TS, PEER_TS));
    assert!(sent[0].has(PayloadType::DELETE), "ours stays, so that the old one is ours to delete");
    assert!(scene.answer(&sent[0], ChainBuilder::new()).is_empty());
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 2);
    scene.sim.run_for(9_000 * MS);
    assert!(scene.sent().is_empty(), "the peer has time for it");
    let ours = inbound(&scene, [2; 4]).unwrap();
    scene.sim.run_for(1_000 * MS);
    let sent = scene.sent();
    let again = scene.open(&sent).pop().expect("a rekeying of the one that stays");
    assert_eq!(again.notifies(), [NotifyType::REKEY_SA.0]);
    assert!(again.parts.iter().any(|(_, body)| body.ends_with(&ours.to_be_bytes())));
    let mut sent = scene.answer(&again, child_with([3; 4], None, "aes128gcm16", OUR_TS, PEER_TS));
    assert!(inbound(&scene, [3; 4]).is_some());
    for _ in 0..2 {
        while let Some(delete) = sent.pop() {
            assert!(delete.has(PayloadType::DELETE));
            sent.extend(scene.answer(&delete, ChainBuilder::new()));
        }
        // The one that was replaced last goes when the peer has had time to load the newest.
        scene.sim.run_for(100 * MS);
        let later = scene.sent();
        sent = scene.open(&later);
    }
    assert!(sent.is_empty());
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 1);
    assert!(inbound(&scene, [3; 4]).is_some());
    scene.sim.run_for(60_000 * MS);
    assert!(scene.sent().is_empty(), "that is all");
}

/// Both ends replace the IKE SA at once, the peer's is the one that stays (section 2.8.2), and the peer has the Child SAs under
/// the other one, as libreswan: deleting that would take them along.
#[test]
fn of_two_ike_sas_ours_goes_when_the_child_sas_are_under_the_other_one() {
    let mut scene = Scene::up(true);
    let request = scene.rekey(false);
    let mut theirs = Peer::new(Role::Initiator, 9);
    let reply = scene.ask(theirs.rekey_chain());
    assert!(theirs.take_rekey(&scene.peer, &reply));
    // The lowest nonce is in the exchange that we began.
    let ours = Peer::new(Role::Responder, 8);
    let mut chain = ChainBuilder::new();
    chain.sa(&[proposal(ProposalProtocol::Ike, "aes128gcm16-prfsha256-x25519", &[2; 8])]);
    chain.nonce(&[0; 32]);
    chain.ke(KeyExchangeId::CURVE_25519, ours.public());
    let (exchange, id) = (request.header.exchange, request.header.message_id);
    let bytes = scene.peer.protected_chain(exchange, id, true, chain);
    let sent = scene.give(bytes);
    scene.peer = theirs;
    let asked = scene.open(&sent);
    assert_eq!(sent.len(), 1, "ours is not deleted before that is clear");
    assert_eq!(asked[0].notifies(), [NotifyType::REKEY_SA.0]);
    let sent = scene.answer(&asked[0], notify(NotifyType::CHILD_SA_NOT_FOUND, &[]));
    assert!(sent[0].has(PayloadType::TSI) && sent[0].notifies().is_empty(), "made anew at once (section 2.25)");
    assert!(scene.answer(&sent[0], child(None, "aes128gcm16", OUR_TS, PEER_TS)).is_empty());
    assert!(inbound(&scene, SPI).is_some());
    scene.sim.run_for(4_000 * MS);
    assert!(scene.sent().is_empty());
    scene.sim.run_for(1_000 * MS);
    let sent = scene.sent();
    let to: Vec<[u8; 8]> = sent.iter().map(|m| Header::parse(m).unwrap().spis.responder.0).collect();
    assert_eq!(to, [[2; 8]], "and then it is");
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 1);
}

/// As before, but ours is the one that stays. The peer's, which it does not use and does not delete, goes by a word of ours; a peer
/// that never took our answer cannot answer that either.
#[test]
fn of_two_ike_sas_the_one_that_the_peer_leaves_goes() {
    let mut scene = Scene::up(true);
    let request = scene.rekey(false);
    let ike = |spi: u8, nonce: u8| {
        let mut chain = ChainBuilder::new();
        chain.sa(&[proposal(ProposalProtocol::Ike, "aes128gcm16-prfsha256-x25519", &[spi; 8])]);
        chain.nonce(&[nonce; 32]);
        chain.ke(KeyExchangeId::CURVE_25519, Peer::new(Role::Responder, 8).public());
        chain
    };
    assert!(scene.ask(ike(1, 0)).has(PayloadType::NONCE), "the lowest nonce is in the exchange of the peer");
    let sent = scene.answer(&request, ike(2, 255));
    assert!(sent[0].has(PayloadType::DELETE), "the old one is ours to delete");
    scene.answer(&sent[0], ChainBuilder::new());
    assert_eq!(scene.sim.snapshots(scene.node).len(), 2);
    scene.sim.run_for(10_000 * MS);
    let sent = scene.sent();
    let to: Vec<[u8; 8]> = sent.iter().map(|m| Header::parse(m).unwrap().spis.initiator.0).collect();
    assert_eq!(to, [[1; 8]]);
    let left = scene.sim.snapshots(scene.node);
    assert_eq!((left.len(), left[0].spis.responder.0, left[0].children.len()), (1, [2; 8], 1));
    scene.sim.run_for(100_000 * MS);
    assert!(scene.sent().is_empty());
}

/// An answer of ours that came while the peer made one of its own is lost to libreswan for good: it repeats its request, and
/// sends by what we do not have.
#[test]
fn a_peer_that_cannot_take_our_answer_gets_a_new_ike_sa() {
    for crossing in [true, false] {
        let mut scene = Scene::up(true);
        let request = crossing.then(|| scene.rekey(true));
        let theirs = child_with([1; 4], Some(scene.peer.esp_spi), "aes128gcm16", PEER_TS, OUR_TS);
        let bytes = scene.peer.protected_chain(ExchangeType::CREATE_CHILD_SA, 0, false, theirs);
        assert_eq!(scene.give(bytes.clone()).len(), 1);
        if let Some(request) = &request {
            assert_eq!(scene.give(bytes.clone()).len(), 1, "repeated before our request is answered");
            assert!(scene.answer(request, notify(NotifyType::TS_UNACCEPTABLE, &[])).is_empty());
        }
        let mut exchanges = Vec::new();
        for _ in 0..10 {
            let sent = scene.give(bytes.clone());
            exchanges.extend(sent.iter().map(|m| Header::parse(m).unwrap().exchange));
        }
        let begun = exchanges.iter().filter(|e| **e == ExchangeType::IKE_SA_INIT).count();
        assert_eq!(begun, usize::from(crossing), "one, and not where only answers are lost");
        let first = exchanges.iter().position(|e| *e == ExchangeType::IKE_SA_INIT);
        assert!(first.is_none_or(|at| at >= 3), "{exchanges:?}");
        assert_eq!(scene.sim.plane(scene.node).installed().count(), 2, "the old one stays until then");
    }
}

#[test]
fn a_peer_cannot_make_child_sas_without_end() {
    let mut scene = Scene::up(true);
    let made = (0..200).take_while(|n: &u32| {
        let rekeyed = (n % 2 == 1).then_some(scene.peer.esp_spi);
        scene.ask(child(rekeyed, "aes128gcm16", PEER_TS, OUR_TS)).has(PayloadType::NONCE)
    });
    assert_eq!(made.count(), 63);
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 64);
}

/// RFC 7296 section 3.13: the number of selectors is one octet. Cut by our own, those of a peer are more.
#[test]
fn an_answer_has_no_more_selectors_than_there_is_room_for() {
    let site = Site::new("b", "192.0.2.2").child("local_ts = 192.0.2.2,10.0.0.0/25,10.0.0.128/25");
    let mut scene = Scene::with(false, site);
    let [any, host] = ["10.0.0.0/24", PEER_TS].map(|text| text.parse::<TrafficSelector>().unwrap());
    let ports = (1..=255).map(|port| TrafficSelector { protocol: 17, start_port: port, end_port: port, ..any });
    let mut chain = ChainBuilder::new();
    chain.sa(&[proposal(ProposalProtocol::Esp, "aes128gcm16", &SPI)]);
    chain.nonce(&[7; 32]);
    chain.ts_i(&[host.into()]);
    chain.ts_r(&ports.map(wire::v2::TrafficSelector::from).collect::<Vec<_>>());
    let answer = scene.ask(chain);
    let (_, tsr) = answer.parts.iter().find(|(kind, _)| *kind == PayloadType::TSR).expect("a Child SA");
    assert_eq!((tsr[0], tsr.len()), (255, 4 + 255 * 16));
    assert!(answer.notifies().contains(&NotifyType::ADDITIONAL_TS_POSSIBLE.0));
    let installed =
        scene.sim.plane(scene.node).installed().find(|i| i.outbound.spi == u32::from_be_bytes(SPI)).unwrap();
    assert_eq!(installed.local_ts.len(), 255);
}

/// RFC 4303 section 2.1: the SPI zero is never on the wire. Here it stands for none yet.
#[test]
fn the_spi_zero_names_nothing_and_makes_nothing() {
    let mut scene = Scene::up(true);
    let request = scene.rekey(true);
    let sent = scene.answer(&request, notify(NotifyType::CHILD_SA_NOT_FOUND, &[]));
    let asked = sent.into_iter().next().expect("a request for a new one");
    let mut delete = ChainBuilder::new();
    delete.delete(ProtocolId::ESP, &[[0; 4]]);
    let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, scene.next, false, delete);
    scene.next += 1;
    let sent = scene.give(bytes);
    assert!(!scene.open(&sent)[0].has(PayloadType::DELETE), "there is none");
    assert!(scene.answer(&asked, child(None, "aes128gcm16", OUR_TS, PEER_TS)).is_empty());
    assert_eq!(scene.sim.plane(scene.node).installed().count(), 1, "what was asked for is made");
    let mut scene = Scene::up(false);
    for rekeyed in [None, Some(scene.peer.esp_spi)] {
        let answer = scene.ask(child_with([0; 4], rekeyed, "aes128gcm16", PEER_TS, OUR_TS));
        assert_eq!(answer.notifies(), [NotifyType::NO_PROPOSAL_CHOSEN.0]);
        assert!(scene.untouched());
    }
}

/// A rekeying of an SA of AH with the SPI of one of ESP, and proposals of the other protocol.
#[test]
fn what_is_for_another_protocol_is_refused() {
    let mut scene = Scene::up(false);
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::AH, &scene.peer.esp_spi.to_be_bytes(), NotifyType::REKEY_SA, &[]);
    chain.sa(&[proposal(ProposalProtocol::Esp, "aes128gcm16", &SPI)]);
    chain.nonce(&[7; 32]);
    chain.ts_i(&[PEER_TS.parse::<TrafficSelector>().unwrap().into()]);
    chain.ts_r(&[OUR_TS.parse::<TrafficSelector>().unwrap().into()]);
    assert_eq!(scene.ask(chain).notifies(), [NotifyType::CHILD_SA_NOT_FOUND.0]);
    assert!(scene.untouched());
    let mut chain = ChainBuilder::new();
    chain.sa(&[proposal(ProposalProtocol::Esp, "aes128gcm16-x25519", &SPI)]);
    chain.nonce(&[7; 32]);
    chain.ke(KeyExchangeId::CURVE_25519, &[9; 32]);
    assert_eq!(scene.ask(chain).notifies(), [NotifyType::NO_PROPOSAL_CHOSEN.0]);
    assert!(scene.untouched());
    let mut chain = ChainBuilder::new();
    chain.sa(&[proposal(ProposalProtocol::Ike, "aes128gcm16-prfsha256-x25519", &[1; 8])]);
    chain.nonce(&[7; 32]);
    chain.ts_i(&[PEER_TS.parse::<TrafficSelector>().unwrap().into()]);
    chain.ts_r(&[OUR_TS.parse::<TrafficSelector>().unwrap().into()]);
    assert_eq!(scene.ask(chain).notifies(), [NotifyType::NO_PROPOSAL_CHOSEN.0]);
    assert!(scene.untouched());
}

/// Both ends replace the IKE SA at once, and the answer to our request cannot be used: the peer's is the one, and serves.
#[test]
fn of_two_ike_sas_the_peers_has_the_child_sas_where_the_answer_for_ours_makes_no_sense() {
    for without_ke in [false, true] {
        let mut scene = Scene::up(true);
        let request = scene.rekey(false);
        let mut theirs = Peer::new(Role::Initiator, 9);
        let reply = scene.ask(theirs.rekey_chain());
        assert!(theirs.take_rekey(&scene.peer, &reply));
        let mut chain = ChainBuilder::new();
        chain.sa(&[proposal(ProposalProtocol::Ike, "aes256-sha256-modp2048", &[2; 8])]);
        chain.nonce(&[0; 32]);
        if !without_ke {
            chain.ke(KeyExchangeId::CURVE_25519, Peer::new(Role::Responder, 8).public());
        }
        let (exchange, id) = (request.header.exchange, request.header.message_id);
        let bytes = scene.peer.protected_chain(exchange, id, true, chain);
        scene.give(bytes);
        (scene.peer, scene.next) = (theirs, 0);
        scene.sim.run_for(100_000 * MS);
        let mut left = scene.sim.snapshots(scene.node);
        left.retain(|sa| sa.state != IkeState::Deleting); // the old one, of which the peer confirms nothing
        assert_eq!(
            left.iter().map(|sa| (sa.state, sa.children.len())).collect::<Vec<_>>(),
            [(IkeState::Established, 1)]
        );
        let spi = scene.sim.plane(scene.node).installed().next().unwrap().outbound.spi;
        assert!(scene.ask(child(Some(spi), "aes128gcm16", PEER_TS, OUR_TS)).has(PayloadType::NONCE), "{without_ke}");
    }
}
