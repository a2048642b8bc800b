//! Clients that a gateway sends to another one (RFC 5685): before, in and after authentication, and what is not followed.

use model::{FailureKind, IkeState, RedirectProblem, Role, SaId};
use proto::{Clients, Gateway};
use sim::{Datagram, NodeId, Peer, Sim, Site};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, Flags, Header, NotifyType, PayloadType, ProtocolId, Version};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn client() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2").remote_id("*.example").connection("mobike = no")
}

/// A gateway, which is `moon.example` wherever it is.
fn gateway(name: &str, address: &str) -> Site {
    Site::new(name, address).to("192.0.2.1").local_id(Some("moon.example")).connection("mobike = no")
}

fn redirect(sim: &mut Sim, node: NodeId, to: &str) -> (usize, usize) {
    let to: Gateway = to.parse().unwrap();
    sim.with(node, |endpoint, now| endpoint.redirect(now, &Clients::default(), &to))
}

fn tunnel(client: Site) -> (Sim, NodeId, NodeId, NodeId) {
    let mut sim = Sim::new(21);
    let a = sim.add(client);
    let (b, c) = (sim.add(gateway("b", "192.0.2.2")), sim.add(gateway("c", "192.0.2.3")));
    sim.initiate(a, b);
    sim.settle(10 * SECOND);
    assert!(sim.carries(a, b));
    (sim, a, b, c)
}

#[test]
fn a_client_that_is_up_goes_to_another_gateway_and_loses_nothing_on_its_way() {
    let (mut sim, a, b, c) = tunnel(client());
    assert_eq!(redirect(&mut sim, b, "192.0.2.3"), (1, 1));
    let there = sim.run_until(10 * SECOND, |sim| {
        assert!(sim.carries(a, b) || sim.carries(a, c), "at any time");
        sim.carries(a, c) && !sim.carries(a, b)
    });
    there.expect("it is there");
    sim.settle(10 * SECOND);
    assert_eq!((sim.endpoint(b).sizes(), sim.endpoint(c).sizes()), ((0, 0), (1, 0)));
    assert_eq!(sim.snapshots(a)[0].remote.ip().to_string(), "192.0.2.3");
    assert_eq!(sim.failure(b).kind, FailureKind::PeerDeleted);
}

#[test]
fn the_new_gateway_may_have_a_name() {
    let (mut sim, a, b, c) = tunnel(client());
    let addresses = ["2001:db8::3", "192.0.2.3"].map(|a| a.parse::<IpAddr>().unwrap());
    sim.names.insert("other.example".to_string(), addresses.to_vec());
    assert_eq!(redirect(&mut sim, b, "other.example"), (1, 1));
    sim.run_until(10 * SECOND, |sim| sim.carries(a, c)).expect("it is there");
    let unknown = redirect(&mut sim, c, "nowhere.example");
    sim.settle(10 * SECOND);
    assert_eq!(unknown, (1, 1), "who came from elsewhere can be sent on");
    assert!(sim.carries(a, c), "what carries traffic stays where the new gateway is not found");
}

#[test]
fn only_clients_that_do_it_are_sent_elsewhere() {
    let (mut sim, a, b, _) = tunnel(client().settings(|s| s.follow_redirects = false));
    assert_eq!(redirect(&mut sim, b, "192.0.2.3"), (1, 0));
    assert_eq!(redirect(&mut sim, a, "192.0.2.3"), (1, 0), "a client sends nobody anywhere");
    sim.settle(10 * SECOND);
    assert!(sim.carries(a, b));
}

/// RFC 5685 section 10: the original responder alone sends the original initiator elsewhere, whoever rekeyed since.
#[test]
fn rekeying_does_not_change_who_is_the_client() {
    for by_client in [true, false] {
        let (mut sim, a, b, c) = tunnel(client());
        let end = if by_client { a } else { b };
        sim.with(end, |endpoint, now| endpoint.rekey(now, &proto::Selection::default()));
        sim.settle(10 * SECOND);
        assert_eq!(redirect(&mut sim, a, "192.0.2.3"), (1, 0));
        assert_eq!(redirect(&mut sim, b, "192.0.2.3"), (1, 1));
        sim.run_until(10 * SECOND, |sim| sim.carries(a, c)).expect("it is there");
    }
}

#[test]
fn gateways_that_send_a_client_in_a_circle_are_left_alone_after_a_while() {
    let (mut sim, a, b, c) = tunnel(client());
    let (mut here, mut there) = (b, c);
    for turn in 0..5 {
        let to = sim.address(there).to_string();
        assert_eq!(redirect(&mut sim, here, &to), (1, 1), "turn {turn}");
        sim.run_until(10 * SECOND, |sim| sim.carries(a, there) && !sim.carries(a, here)).expect("it is there");
        sim.settle(10 * SECOND);
        (here, there) = (there, here);
    }
    let to = sim.address(there).to_string();
    redirect(&mut sim, here, &to);
    sim.run_for(20 * SECOND);
    assert!(sim.carries(a, here) && !sim.carries(a, there), "section 7");
    sim.run_for(300 * SECOND);
    redirect(&mut sim, here, &to);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, there)).expect("later it goes again");
}

// ------------------------------------------------------------------------------------------- a gateway written by hand

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `GW Ident Type, GW Ident Len, identity` and what follows (section 9.2).
fn to(kind: u8, identity: &[u8], nonce: &[u8]) -> Vec<u8> {
    [&[kind, identity.len() as u8], identity, nonce].concat()
}

struct Scene {
    sim: Sim,
    a: NodeId,
    b: NodeId,
    first: Vec<u8>,
    id: SaId,
}

impl Scene {
    /// The client has begun with 192.0.2.3, where nobody is but the test; 192.0.2.2 is a gateway.
    fn begun(follow: bool) -> Self {
        let mut sim = Sim::new(22);
        let site = Site::new("a", "192.0.2.1").to("192.0.2.3").remote_id("*.example").connection("mobike = no");
        let site = site.connection(sim::peer::PROPOSALS).child(sim::peer::ESP_PROPOSALS);
        let a = sim.add(site.settings(|s| s.follow_redirects = follow));
        let b = sim.add(gateway("b", "192.0.2.2"));
        let (local, remote) = (address("192.0.2.1:500"), address("192.0.2.3:500"));
        let begun = sim.with(a, |e, now| e.initiate(now, "gw", "net", local, remote).unwrap());
        let proto::Started::Negotiation(id) = begun else { panic!("it is begun") };
        sim.run_for(30 * MS);
        let first = sim.undelivered.pop().expect("IKE_SA_INIT").bytes;
        Self { sim, a, b, first, id }
    }

    fn give(&mut self, bytes: Vec<u8>) {
        let (from, to) = (address("192.0.2.3:500"), address("192.0.2.1:500"));
        self.sim.inject(Datagram { from, to, bytes, keepalive: false });
        self.sim.run_for(30 * MS);
    }

    fn nonce(&self) -> Vec<u8> {
        let opened = Peer::new(Role::Responder, 1).open(&self.first).unwrap();
        opened.parts.iter().find(|(kind, _)| *kind == PayloadType::NONCE).unwrap().1.clone()
    }

    /// The answer to IKE_SA_INIT that sends the client elsewhere.
    fn answer(&mut self, data: &[u8]) {
        let request = Header::parse(&self.first).unwrap();
        let mut chain = ChainBuilder::new();
        chain.notify(ProtocolId::NONE, &[], NotifyType::REDIRECT, data);
        let header = Header { flags: Flags::RESPONSE, version: Version::V2, length: 0, ..request };
        self.give(wire::v2::message(header, chain));
    }
}

#[test]
fn an_answer_to_ike_sa_init_sends_the_client_elsewhere() {
    let mut scene = Scene::begun(true);
    let nonce = scene.nonce();
    let offered = Peer::new(Role::Responder, 1).open(&scene.first).unwrap().notifies();
    assert!(offered.contains(&NotifyType::REDIRECT_SUPPORTED.0));
    scene.answer(&to(1, &[192, 0, 2, 2], &nonce));
    let Scene { mut sim, a, b, id, .. } = scene;
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("it is there");
    sim.settle(10 * SECOND);
    assert_eq!(sim.snapshots(a)[0].id, id, "whoever waits for it waits for the same SA");
    assert!(sim.tombstones(a).is_empty());
    let told = sim.events(b).any(|(_, e)| e.log().2.contains("redirected from 192.0.2.3"));
    assert!(told, "the new gateway hears who sent the client");
}

#[test]
fn an_answer_with_another_nonce_or_that_was_not_asked_for_is_as_if_it_had_not_come() {
    for (follow, change) in [(true, true), (false, false)] {
        let mut scene = Scene::begun(follow);
        let mut nonce = scene.nonce();
        if change {
            nonce[3] ^= 1;
        }
        let offered = Peer::new(Role::Responder, 1).open(&scene.first).unwrap().notifies();
        assert_eq!(offered.contains(&NotifyType::REDIRECT_SUPPORTED.0), follow);
        scene.answer(&to(1, &[192, 0, 2, 2], &nonce));
        for broken in [&[][..], &[1], &[1, 4, 192], &[9, 1, 1], &[3, 1, b' ']] {
            scene.answer(broken);
        }
        let sas = scene.sim.snapshots(scene.a);
        assert_eq!((sas.len(), sas[0].state, sas[0].remote), (1, IkeState::Connecting, address("192.0.2.3:500")));
        assert_eq!(scene.sim.dropped(scene.a, model::DropReason::UnexpectedResponse), 6);
        assert!(scene.sim.plane(scene.b).installed().next().is_none());
    }
}

#[test]
fn a_gateway_that_has_no_address_for_us_ends_it() {
    for name in ["nowhere.example", "six.example"] {
        let mut scene = Scene::begun(true);
        scene.sim.names.insert("six.example".to_string(), vec!["2001:db8::9".parse().unwrap()]);
        let nonce = scene.nonce();
        scene.answer(&to(3, name.as_bytes(), &nonce));
        let expected = FailureKind::RedirectRefused { to: name.to_string(), problem: RedirectProblem::NoAddress };
        assert_eq!(scene.sim.failure(scene.a).kind, expected);
    }
}

#[test]
fn gateways_in_a_circle_before_authentication_end_it() {
    let mut scene = Scene::begun(true);
    for _ in 0..6 {
        let nonce = scene.nonce();
        scene.answer(&to(1, &[192, 0, 2, 3], &nonce));
        if let Some(next) = scene.sim.undelivered.pop() {
            scene.first = next.bytes;
        }
    }
    let expected = FailureKind::RedirectRefused { to: "192.0.2.3".to_string(), problem: RedirectProblem::TooOften };
    assert_eq!(scene.sim.failure(scene.a).kind, expected);
}

/// Section 6: the gateway has proved itself, the IKE SA stands, and nothing is made under it.
#[test]
fn an_answer_to_ike_auth_sends_the_client_elsewhere() {
    let mut scene = Scene::begun(true);
    let mut peer = Peer::new(Role::Responder, 5);
    assert!(peer.take_init(&scene.first));
    let init = peer.init(&peer.init_parts());
    scene.give(init);
    let mut parts = peer.auth_parts("moon.example", b"swordfish", "192.0.2.3", "192.0.2.1");
    parts.retain(|(kind, _)| matches!(*kind, PayloadType::IDR | PayloadType::AUTH));
    let redirect = [&[0, 0][..], &NotifyType::REDIRECT.0.to_be_bytes(), &to(1, &[192, 0, 2, 2], &[])].concat();
    parts.push((PayloadType::NOTIFY, redirect));
    let answer = peer.protected(ExchangeType::IKE_AUTH, 1, true, &parts);
    scene.sim.undelivered.clear();
    scene.give(answer);
    let sent: Vec<Vec<u8>> = scene.sim.undelivered.iter().map(|d| d.bytes.clone()).collect();
    let opened: Vec<sim::Opened> = sent.iter().filter_map(|m| peer.open(m)).collect();
    assert!(opened.iter().any(|o| o.has(PayloadType::DELETE)), "the old gateway is told");
    let done = peer.protected(ExchangeType::INFORMATIONAL, 2, true, &Vec::new());
    scene.give(done);
    let Scene { mut sim, a, b, id, .. } = scene;
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("it is there");
    sim.settle(10 * SECOND);
    let by = sim.snapshots(a)[0].id;
    assert_ne!(by, id);
    let ended = sim.tombstones(a);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].failure.kind, FailureKind::Redirected { to: "192.0.2.2".to_string(), by });
}
