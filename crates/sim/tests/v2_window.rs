//! Message windows (RFC 7296 section 2.3): a peer that was told so has several requests under way, in any order.

use model::{DropReason, Role};
use sim::{Datagram, NodeId, Opened, Peer, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, NotifyType, PayloadType};

const WINDOW: u32 = 4;

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
    announced: Option<u32>,
}

impl Scene {
    fn up(window: u32) -> Self {
        let mut sim = Sim::new(1);
        let site =
            Site::new("b", "192.0.2.2").to("192.0.2.1").connection(sim::peer::PROPOSALS).connection("mobike = no");
        let node = sim.add(site.child(sim::peer::ESP_PROPOSALS).settings(|s| s.window_size = window));
        let mut scene = Self { sim, node, peer: Peer::new(Role::Initiator, 5), announced: None };
        let bytes = scene.peer.init(&scene.peer.init_parts());
        let answer = scene.give(bytes);
        assert!(scene.peer.take_init(&answer[0]));
        let parts = scene.peer.auth_parts("a.example", b"swordfish", "192.0.2.1", "192.0.2.2");
        let bytes = scene.peer.protected(ExchangeType::IKE_AUTH, 1, false, &parts);
        let answer = scene.give(bytes);
        let opened = scene.peer.open(&answer[0]).unwrap();
        scene.announced = opened.parts.iter().find_map(|(kind, body)| {
            let is = *kind == PayloadType::NOTIFY && body.get(2..4)? == NotifyType::SET_WINDOW_SIZE.0.to_be_bytes();
            is.then(|| u32::from_be_bytes(body[4..].try_into().unwrap()))
        });
        scene
    }

    fn give(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.sim.undelivered.clear();
        self.sim.inject(Datagram { from: peer_address(), to: our_address(), bytes, keepalive: false });
        self.sim.run_for(Duration::from_millis(30));
        std::mem::take(&mut self.sim.undelivered).into_iter().map(|d| d.bytes).collect()
    }

    /// A sign of life with this message ID, and the answers to it.
    fn ask(&mut self, id: u32) -> (Vec<u8>, Vec<Vec<u8>>) {
        let bytes = self.peer.protected_chain(ExchangeType::INFORMATIONAL, id, false, ChainBuilder::new());
        let answers = self.give(bytes.clone());
        for answer in &answers {
            let Opened { header, .. } = self.peer.open(answer).unwrap();
            assert_eq!(header.message_id, id);
        }
        (bytes, answers)
    }

    fn dropped(&self) -> u64 {
        self.sim.dropped(self.node, DropReason::UnexpectedMessageId)
    }
}

#[test]
fn requests_within_the_window_are_served_in_any_order_and_each_answer_can_be_had_again() {
    let mut scene = Scene::up(WINDOW);
    assert_eq!(scene.announced, Some(WINDOW));
    let mut kept = Vec::new();
    for id in [4, 2, 5] {
        let (request, answers) = scene.ask(id);
        assert_eq!(answers.len(), 1, "message ID {id}");
        kept.push((request, answers));
    }
    // 3 is missing: the window is 3 to 6, and 7 is beyond it.
    assert!(scene.ask(7).1.is_empty());
    assert_eq!(scene.dropped(), 1);
    assert_eq!(scene.ask(6).1.len(), 1);
    for (request, answers) in &kept {
        assert_eq!(&scene.give(request.clone()), answers, "to the last octet");
    }
    // A different request with a message ID that was answered is no repetition.
    assert!(scene.ask(5).1.is_empty());
    assert_eq!(scene.ask(3).1.len(), 1);
    // Now all up to 6 have come: what is four and more back, the peer has answers to.
    for id in 7..=10 {
        assert_eq!(scene.ask(id).1.len(), 1);
    }
    for (request, _) in &kept {
        assert!(scene.give(request.clone()).is_empty());
    }
}

#[test]
fn fragments_of_several_requests_come_mixed() {
    let mut scene = Scene::up(WINDOW);
    let mut fragment = |id: u32, number: u16| {
        // A Notify of a status that means nothing, in two pieces.
        let payload = [0_u8, 0, 0, 12, 0, 0, 0xBF, 0xFF, 1, 2, 3, 4];
        let piece = if number == 1 { &payload[..6] } else { &payload[6..] };
        let next = if number == 1 { PayloadType::NOTIFY } else { PayloadType::NONE };
        scene.peer.fragment(ExchangeType::INFORMATIONAL, id, (number, 2), next, piece)
    };
    let messages = [fragment(3, 1), fragment(2, 2), fragment(3, 2), fragment(2, 1)];
    let answers: Vec<usize> = messages.into_iter().map(|message| scene.give(message).len()).collect();
    assert_eq!(answers, [0, 0, 1, 1]);
}

#[test]
fn without_an_announcement_one_request_comes_after_the_other() {
    let mut scene = Scene::up(1);
    assert_eq!(scene.announced, None);
    assert!(scene.ask(3).1.is_empty());
    assert_eq!(scene.dropped(), 1);
    let (request, answers) = scene.ask(2);
    assert_eq!(scene.give(request.clone()), answers);
    assert_eq!(scene.ask(3).1.len(), 1);
    assert!(scene.give(request).is_empty(), "the answer to the one before is not kept");
}

#[test]
fn the_initiator_announces_its_window_too_and_both_do_so_again_after_a_rekeying() {
    let mut sim = Sim::new(2);
    let site = |name: &str, own: &str, other: &str| {
        Site::new(name, own).to(other).settings(|s| s.window_size = 3).connection("rand_time = 0")
    };
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2").connection("rekey_time = 30s"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1").connection("rekey_time = 0"));
    sim.initiate(a, b);
    sim.run_until(Duration::from_secs(5), |sim| sim.carries(a, b)).expect("a tunnel");
    let before = sim.snapshots(a)[0].spis;
    sim.run_for(Duration::from_secs(32));
    assert_ne!(sim.snapshots(a)[0].spis, before);
    sim.settle(Duration::from_secs(5));
    // Each end has told the other under the new IKE SA: one INFORMATIONAL exchange by each, and the Delete of the old one.
    let requests = |node: NodeId| {
        sim.happened(node).iter().filter(|e| match &e.what {
            sim::Happened::Sent(d) => wire::Header::parse(&d.bytes)
                .is_ok_and(|h| h.exchange == ExchangeType::INFORMATIONAL && !h.is_response() && h.spis != before),
            _ => false,
        })
    };
    assert_eq!((requests(a).count(), requests(b).count()), (1, 1));
}
