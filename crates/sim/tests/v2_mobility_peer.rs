//! MOBIKE (RFC 4555) with a peer that has the keys and refuses, or says what is not so.

use model::dataplane::PlaneEvent;
use model::{FailureKind, Phase, Role};
use sim::{Datagram, NodeId, Opened, Peer, Sim, Site};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::grammar::RuleId;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, NotifyType, PayloadType, ProtocolId};

const MS: Duration = Duration::from_millis(1);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const PEER: &str = "192.0.2.1:4500";
const OURS: &str = "192.0.2.2:4500";

fn plain(kind: NotifyType, data: &[u8]) -> (PayloadType, Vec<u8>) {
    (PayloadType::NOTIFY, [&[0, 0][..], &kind.0.to_be_bytes(), data].concat())
}

/// NO_NATS_ALLOWED of a message from here to there (RFC 4555 section 4.2.6).
fn no_nats(from: SocketAddr, to: SocketAddr) -> (PayloadType, Vec<u8>) {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    plain(NotifyType::NO_NATS_ALLOWED, &[octets(from.ip()), octets(to.ip()), ports].concat())
}

struct Scene {
    sim: Sim,
    node: NodeId,
    peer: Peer,
    next: u32,
}

impl Scene {
    /// A peer that has had its answer to IKE_SA_INIT, or has answered ours.
    fn begun(endpoint_begins: bool) -> Self {
        Self::begun_with(endpoint_begins, "", &[])
    }

    /// The same with a line of the connection, and with more payloads in the peer's IKE_SA_INIT.
    fn begun_with(endpoint_begins: bool, line: &str, more: &[(PayloadType, Vec<u8>)]) -> Self {
        let mut sim = Sim::new(45);
        let node = sim.add(
            Site::new("b", "192.0.2.2")
                .to("192.0.2.1")
                .connection(sim::peer::PROPOSALS)
                .connection(line)
                .child(sim::peer::ESP_PROPOSALS),
        );
        let peer = Peer::new(if endpoint_begins { Role::Responder } else { Role::Initiator }, 5);
        let mut scene = Self { sim, node, peer, next: if endpoint_begins { 0 } else { 2 } };
        if endpoint_begins {
            let (local, remote) = (at("192.0.2.2:500"), at("192.0.2.1:500"));
            assert!(scene.sim.with(node, |e, now| e.initiate(now, "gw", "net", local, remote).is_ok()));
            let request = scene.sent().remove(0);
            assert!(scene.peer.take_init(&request.bytes));
            let bytes = scene.peer.init(&scene.peer.init_parts());
            scene.give(at("192.0.2.1:500"), at("192.0.2.2:500"), bytes);
        } else {
            let bytes = scene.peer.init(&[scene.peer.init_parts(), more.to_vec()].concat());
            let answer = scene.give(at("192.0.2.1:500"), at("192.0.2.2:500"), bytes).remove(0);
            assert!(scene.peer.take_init(&answer.bytes));
        }
        scene
    }

    /// A tunnel of two ends that do MOBIKE.
    fn up(endpoint_begins: bool) -> Self {
        let mut scene = Self::begun(endpoint_begins);
        scene.authenticate(endpoint_begins, &[]);
        assert_eq!(scene.sim.plane(scene.node).installed().count(), 1);
        assert_eq!(scene.sim.with(scene.node, |endpoint, _| endpoint.movable()).len(), 1);
        scene
    }

    fn authenticate(&mut self, response: bool, more: &[(PayloadType, Vec<u8>)]) -> Vec<Datagram> {
        let mut parts = self.peer.auth_parts("a.example", b"swordfish", "192.0.2.1", "192.0.2.2");
        parts.push(plain(NotifyType::MOBIKE_SUPPORTED, &[]));
        parts.extend_from_slice(more);
        let bytes = self.peer.protected(ExchangeType::IKE_AUTH, 1, response, &parts);
        self.give(at(PEER), at(OURS), bytes)
    }

    fn sent(&mut self) -> Vec<Datagram> {
        self.sim.run_for(30 * MS);
        std::mem::take(&mut self.sim.undelivered)
    }

    fn give(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) -> Vec<Datagram> {
        self.sim.undelivered.clear();
        self.sim.inject(Datagram { from, to, bytes, keepalive: false });
        self.sent()
    }

    fn open(&self, all: &[Datagram]) -> Vec<Opened> {
        all.iter().filter_map(|d| self.peer.open(&d.bytes)).collect()
    }

    /// A request of the peer's from an address; what the endpoint sends.
    fn tell(&mut self, from: SocketAddr, parts: &[(PayloadType, Vec<u8>)]) -> Vec<Datagram> {
        let bytes = self.peer.protected(ExchangeType::INFORMATIONAL, self.next, false, &parts.to_vec());
        self.next += 1;
        self.give(from, at(OURS), bytes)
    }

    /// The peer's answer to this request, from an address; what the endpoint sends.
    fn answer(&mut self, from: SocketAddr, request: &Opened, kinds: &[(NotifyType, &[u8])]) -> Vec<Datagram> {
        let mut chain = ChainBuilder::new();
        for (kind, data) in kinds {
            chain.notify(ProtocolId::NONE, &[], *kind, data);
        }
        let bytes = self.peer.protected_chain(ExchangeType::INFORMATIONAL, request.header.message_id, true, chain);
        self.give(from, at(OURS), bytes)
    }

    fn remote(&self) -> Option<SocketAddr> {
        self.sim.plane(self.node).installed().next().map(|i| i.remote)
    }
}

/// RFC 4555 section 3.5: the responder stays where it was, where we are not any more.
#[test]
fn who_may_not_move_ends_the_ike_sa() {
    for refusal in [NotifyType::UNACCEPTABLE_ADDRESSES, NotifyType::UNEXPECTED_NAT_DETECTED] {
        let mut scene = Scene::up(true);
        scene.sim.undelivered.clear();
        scene.sim.relocate(scene.node, "198.51.100.7".parse().unwrap());
        let sent = scene.sent();
        let request = scene.open(&sent).pop().expect("a request");
        assert!(request.notifies().contains(&NotifyType::UPDATE_SA_ADDRESSES.0));
        assert!(sent.iter().all(|d| d.from.ip().to_string() == "198.51.100.7"));
        let mut chain = ChainBuilder::new();
        chain.notify(ProtocolId::NONE, &[], refusal, &[]);
        let bytes = scene.peer.protected_chain(ExchangeType::INFORMATIONAL, request.header.message_id, true, chain);
        scene.give(at(PEER), at("198.51.100.7:4500"), bytes);
        let kind = scene.sim.failure(scene.node).kind;
        assert_eq!(kind, FailureKind::PeerRefused { phase: Phase::Ike, notify: refusal });
        assert_eq!((scene.sim.endpoint(scene.node).sizes(), scene.remote()), ((0, 0), None));
    }
    // An answer to another request says nothing about addresses.
    let mut scene = Scene::up(true);
    let selection = proto::Selection { child: Some("net".into()), ..proto::Selection::default() };
    scene.sim.terminate(scene.node, &selection);
    let sent = scene.sent();
    let request = scene.open(&sent).pop().expect("a Delete");
    scene.answer(at(PEER), &request, &[(NotifyType::UNACCEPTABLE_ADDRESSES, &[])]);
    assert_eq!(scene.sim.endpoint(scene.node).sizes(), (1, 0));
}

/// RFC 4555 section 3.6: what changes while the peer is being told is told afterwards.
#[test]
fn addresses_that_change_again_are_told_again() {
    let mut scene = Scene::up(false);
    let set = |scene: &mut Scene, all: &[&str]| {
        let all = all.iter().map(|a| a.parse().unwrap()).collect();
        scene.sim.undelivered.clear();
        scene.sim.with(scene.node, |endpoint, now| endpoint.set_addresses(now, all));
        scene.sent()
    };
    let sent = set(&mut scene, &["192.0.2.2", "198.51.100.1"]);
    let first = scene.open(&sent).pop().expect("a request");
    assert_eq!(first.notifies(), [NotifyType::ADDITIONAL_IP4_ADDRESS.0]);
    assert!(set(&mut scene, &["192.0.2.2"]).is_empty(), "one at a time");
    let sent = scene.answer(at(PEER), &first, &[]);
    let second = scene.open(&sent).pop().expect("another request");
    assert_eq!(second.notifies(), [NotifyType::NO_ADDITIONAL_ADDRESSES.0]);
    assert!(scene.answer(at(PEER), &second, &[]).is_empty());
}

/// RFC 4555 section 3.7: a peer that says it has moved is asked to return a cookie from there.
#[test]
fn a_new_address_is_asked_for_its_cookie_and_another_one_ends_the_ike_sa() {
    let elsewhere = at("203.0.113.5:4500");
    for cookie in ["right", "wrong", "none"] {
        let mut scene = Scene::up(false);
        let sent = scene.tell(elsewhere, &[plain(NotifyType::UPDATE_SA_ADDRESSES, &[])]);
        assert!(sent.iter().all(|d| d.to == elsewhere) && scene.remote() == Some(elsewhere));
        let opened = scene.open(&sent);
        let request = opened.iter().find(|o| !o.header.is_response()).expect("a request").clone();
        assert_eq!(request.notifies(), [NotifyType::COOKIE2.0]);
        let octets = request.parts[0].1[4..].to_vec();
        assert!((8..=64).contains(&octets.len()), "section 4.2.5");
        let mut wrong = octets.clone();
        wrong[0] ^= 1;
        let sent = match cookie {
            "right" => scene.answer(elsewhere, &request, &[(NotifyType::COOKIE2, &octets)]),
            "wrong" => scene.answer(elsewhere, &request, &[(NotifyType::COOKIE2, &wrong)]),
            _ => scene.answer(elsewhere, &request, &[]),
        };
        let delete = scene.open(&sent).iter().any(|o| o.has(PayloadType::DELETE));
        assert_eq!(delete, cookie != "right", "{cookie}: MUST be closed");
        scene.sim.run_for(200 * Duration::from_secs(1));
        let left = scene.sim.plane(scene.node).installed().count();
        assert_eq!(left, usize::from(cookie == "right"), "{cookie}");
        if cookie != "right" {
            let missing = "the COOKIE2 of the request".to_string();
            let rule = RuleId::InformationalResponse;
            let told = scene.sim.tombstones(scene.node).iter().any(|t| {
                matches!(&t.failure.kind, FailureKind::MessageInvalid { rule: r, missing: m } if (r, m) == (&rule, &missing))
                    || matches!(t.failure.kind, FailureKind::NoAnswer { .. })
            });
            assert!(told, "{:?}", scene.sim.tombstones(scene.node));
        }
    }
    // Ours returns a peer's as it is.
    let mut scene = Scene::up(true);
    let sent = scene.tell(at(PEER), &[plain(NotifyType::COOKIE2, &[7; 20])]);
    let answer = scene.open(&sent).pop().unwrap();
    assert!(answer.parts.contains(&plain(NotifyType::COOKIE2, &[7; 20])));
}

/// RFC 4555 section 3.8: a peer behind a NAT says that its mapping has changed. One that does not notice, and asks from there
/// itself, is asked there too before it is given up; that does not move it.
#[test]
fn a_peer_that_does_not_notice_its_new_mapping_is_asked_there() {
    let elsewhere = at("192.0.2.1:1027");
    for (behind_nat, by_esp) in [(true, false), (true, true), (false, false)] {
        let kinds = [NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP];
        let nat = if behind_nat { kinds.map(|kind| plain(kind, &[7; 20])).to_vec() } else { Vec::new() };
        let mut scene = Scene::begun_with(false, "dpd_delay = 30s", &nat);
        scene.authenticate(false, &[]);
        let esp_to = if by_esp {
            let child = scene.sim.plane(scene.node).installed().next().unwrap().child;
            scene.sim.report(scene.node, PlaneEvent::PeerMoved { child, remote: elsewhere });
            elsewhere // it may follow
        } else {
            let sent = scene.tell(elsewhere, &[]);
            assert!(sent.len() == 1 && sent[0].to == elsewhere, "it is answered where it asks: {sent:?}");
            at(PEER)
        };
        scene.sim.undelivered.clear();
        scene.sim.run_for(Duration::from_secs(58));
        let to: Vec<SocketAddr> = scene.sim.undelivered.iter().filter(|d| !d.keepalive).map(|d| d.to).collect();
        let peer = at(PEER);
        let expected = if behind_nat { vec![peer, peer, peer, elsewhere] } else { vec![peer; 3] };
        assert!(to.starts_with(&expected) && to.contains(&elsewhere) == behind_nat, "{to:?}");
        let seen = || scene.sim.snapshots(scene.node)[0].remote;
        assert_eq!((seen(), scene.remote()), (peer, Some(esp_to)), "it has not moved");
        let request = scene.open(&scene.sim.undelivered).pop().expect("the request");
        if behind_nat {
            scene.answer(elsewhere, &request, &[]);
            let sa = scene.sim.snapshots(scene.node).remove(0);
            assert_eq!((sa.remote, sa.retransmissions.sent, scene.remote()), (peer, 0, Some(esp_to)));
            // What it says for itself counts, and then there is one place to ask.
            scene.tell(elsewhere, &[plain(NotifyType::UPDATE_SA_ADDRESSES, &[])]);
            assert_eq!(scene.remote(), Some(elsewhere));
            scene.sim.undelivered.clear();
            scene.sim.run_for(Duration::from_secs(58));
            let mut asked = scene.sim.undelivered.iter().filter(|d| !d.keepalive).map(|d| d.to).peekable();
            assert!(asked.peek().is_some() && asked.all(|to| to == elsewhere));
        }
        scene.sim.run_for(Duration::from_secs(200));
        assert_eq!(scene.sim.endpoint(scene.node).sizes(), (0, 0));
    }
}

/// RFC 4555 section 3.9: a peer that allows no NAT says where its message comes from.
#[test]
fn where_no_nat_is_allowed_a_message_from_elsewhere_moves_nothing() {
    let (elsewhere, claimed) = (at("203.0.113.5:4500"), at("198.51.100.9:4500"));
    let update = plain(NotifyType::UPDATE_SA_ADDRESSES, &[]);
    for (says, moves) in [
        (no_nats(elsewhere, at(OURS)), true),
        (no_nats(claimed, at(OURS)), false),
        (no_nats(elsewhere, at("192.0.2.99:4500")), false),
        (no_nats(at("203.0.113.5:4501"), at(OURS)), false),
        (plain(NotifyType::NO_NATS_ALLOWED, &[]), false),
    ] {
        let mut scene = Scene::up(false);
        let sent = scene.tell(elsewhere, &[update.clone(), says.clone()]);
        let answer = scene.open(&sent).into_iter().find(|o| o.header.is_response()).expect("an answer");
        assert_eq!(answer.notifies().contains(&NotifyType::UNEXPECTED_NAT_DETECTED.0), !moves, "{says:?}");
        assert_eq!(scene.remote(), Some(if moves { elsewhere } else { at(PEER) }), "{says:?}");
        assert_eq!(scene.sim.endpoint(scene.node).sizes(), (1, 0));
    }
    // In IKE_AUTH nothing else is done with such a request.
    for (says, up) in [(no_nats(at(PEER), at(OURS)), true), (no_nats(claimed, at(OURS)), false)] {
        let mut scene = Scene::begun(false);
        let sent = scene.authenticate(false, &[says]);
        let answer = scene.open(&sent).remove(0);
        assert_eq!(answer.notifies().contains(&NotifyType::UNEXPECTED_NAT_DETECTED.0), !up);
        assert_eq!(
            (answer.has(PayloadType::AUTH), scene.sim.plane(scene.node).installed().count()),
            (up, usize::from(up))
        );
        assert_eq!(scene.sim.endpoint(scene.node).sizes(), (usize::from(up), 0));
    }
}
