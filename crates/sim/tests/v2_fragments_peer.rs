//! Fragments (RFC 7383) of a peer that has the keys and does not keep to the protocol.

use model::{DropReason, IkeState, Role};
use sim::{Datagram, NodeId, Parts, Peer, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, PayloadType};

const AUTH: ExchangeType = ExchangeType::IKE_AUTH;

/// An endpoint that waits for IKE_AUTH, and the peer that began.
struct Scene {
    sim: Sim,
    node: NodeId,
    peer: Peer,
}

impl Scene {
    fn new() -> Self {
        let site = Site::new("b", "192.0.2.2")
            .to("192.0.2.1")
            .connection(sim::peer::PROPOSALS)
            .child(sim::peer::ESP_PROPOSALS);
        let mut sim = Sim::new(1);
        let node = sim.add(site);
        let mut scene = Self { sim, node, peer: Peer::new(Role::Initiator, 5) };
        let first = scene.peer.init(&scene.peer.init_parts());
        let answer = scene.give(first);
        assert!(scene.peer.take_init(&answer[0]));
        scene
    }

    fn give(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let (from, to): (SocketAddr, SocketAddr) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
        let before = self.sim.undelivered.len();
        self.sim.inject(Datagram { from, to, bytes, keepalive: false });
        self.sim.run_for(Duration::from_millis(30));
        self.sim.undelivered.split_off(before).into_iter().map(|d| d.bytes).collect()
    }

    /// IKE_AUTH as it would stand in the Encrypted payload.
    fn auth(&self) -> (PayloadType, Vec<u8>) {
        let parts: Parts = self.peer.auth_parts("a.example", b"swordfish", "192.0.2.1", "192.0.2.2");
        let mut chain = ChainBuilder::new();
        for (kind, body) in &parts {
            chain.raw(*kind, false, body);
        }
        chain.finish()
    }

    fn fragment(&mut self, counters: (u16, u16), content: &[u8]) -> Vec<Vec<u8>> {
        let next = if counters.0 == 1 { PayloadType::IDI } else { PayloadType::NONE };
        let bytes = self.peer.fragment(AUTH, 1, counters, next, content);
        self.give(bytes)
    }

    /// Sends IKE_AUTH in this many fragments; the SA must be up then, after one answer.
    fn comes_up(&mut self, total: u16) {
        let (first, content) = self.auth();
        assert_eq!(first, PayloadType::IDI);
        let parts: Vec<&[u8]> = content.chunks(content.len().div_ceil(usize::from(total))).collect();
        assert_eq!(parts.len(), usize::from(total));
        let answers: usize = (1..).zip(&parts).map(|(n, part)| self.fragment((n, total), part).len()).sum();
        assert_eq!(answers, 1);
        assert_eq!(self.sim.snapshots(self.node)[0].state, IkeState::Established);
    }
}

#[test]
fn any_number_of_fragments_makes_the_same_message() {
    for total in [1, 2, 3, 7] {
        Scene::new().comes_up(total);
    }
}

#[test]
fn a_finer_division_takes_the_place_of_one_that_never_ends() {
    let mut scene = Scene::new();
    assert!(scene.fragment((1, 2), &[0xff; 100]).is_empty());
    assert!(scene.fragment((3, 4), &[0xff; 100]).is_empty());
    scene.comes_up(5);
    assert_eq!(scene.sim.dropped(scene.node, DropReason::Malformed), 0);
}

#[test]
fn counters_that_cannot_be_are_refused() {
    let mut scene = Scene::new();
    for counters in [(0, 0), (0, 2), (3, 2), (1, 0), (u16::MAX, 1), (1, u16::MAX), (129, 129)] {
        assert!(scene.fragment(counters, &[1; 10]).is_empty(), "{counters:?}");
    }
    assert_eq!(scene.sim.dropped(scene.node, DropReason::Malformed), 7);
    scene.comes_up(2);
}

#[test]
fn too_many_octets_are_forgotten_and_the_message_may_come_again() {
    let mut scene = Scene::new();
    for number in 1..=100 {
        assert!(scene.fragment((number, 128), &[1; 1000]).is_empty());
    }
    assert!(scene.sim.dropped(scene.node, DropReason::Malformed) > 0);
    // What was left of it had 128 fragments: only a division as fine or finer takes its place in time, else the peer's
    // message in one piece does.
    let (next, content) = scene.auth();
    let mut chain = ChainBuilder::new();
    wire::Payloads::new(next, &content, 0).for_each(|p| {
        let p = p.unwrap();
        chain.raw(p.kind, false, p.body);
    });
    let whole = scene.peer.protected_chain(AUTH, 1, false, chain);
    assert_eq!(scene.give(whole).len(), 1);
    assert_eq!(scene.sim.snapshots(scene.node)[0].state, IkeState::Established);
}
