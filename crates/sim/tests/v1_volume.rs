//! IKEv1: an ISAKMP SA for which the peer sets a limit in kilobytes (RFC 2409 appendix A, Life Type 2) is renewed in time by
//! its initiator, and ends at its responder. The peer is written by hand, for no configuration of ours has that limit.

use crypto::v1::{Cipher, Hash, SkeyIds};
use crypto::{KeyExchange, Prf};
use model::{Event, FailureKind, Instant};
use proto::{Endpoint, Input, Output};
use sim::{Rng, Site};
use std::net::SocketAddr;
use wire::v1::{ChainBuilder, message, padded_message, parse_chain};
use wire::{
    EncryptionId, ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, KeyExchangeId, OakleyHash, PayloadType, ProtocolId,
    SpiPair, V1NotifyType, Version,
};

const OURS: ([u8; 4], [u8; 4]) = ([192, 0, 2, 2], [192, 0, 2, 1]);

/// AES-CBC-128, SHA-256, Curve25519, pre-shared key, and 40 kilobytes.
const OFFER: &[u8] = &[
    0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 44, 1, 1, 0, 1, 0, 0, 0, 36, 1, 1, 0, 0, 0x80, 1, 0, 7, 0x80, 14, 0, 128, 0x80, 2,
    0, 4, 0x80, 4, 0, 31, 0x80, 3, 0, 1, 0x80, 11, 0, 2, 0x80, 12, 0, 40,
];

fn hash() -> Hash {
    Hash::new(OakleyHash(4)).unwrap()
}

fn prf() -> Prf {
    hash().prf()
}

/// The endpoint at 192.0.2.2, and what the hand at 192.0.2.1 knows.
struct Scene {
    endpoint: Endpoint,
    now: Instant,
    spis: SpiPair,
    keys: Option<(SkeyIds, Cipher, Vec<u8>)>,
    next_id: u32,
    ended: Vec<FailureKind>,
    told: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1");
        let site = site.connection("proposals = aes128-sha256-x25519").remote_id("a.example");
        let spis = SpiPair { initiator: IkeSpi::from(77), responder: IkeSpi::ZERO };
        let endpoint = site.endpoint(Rng::new(1));
        Self { endpoint, now: Instant::ZERO, spis, keys: None, next_id: 100, ended: Vec::new(), told: Vec::new() }
    }

    fn path() -> (SocketAddr, SocketAddr) {
        ((OURS.0, 500).into(), (OURS.1, 500).into())
    }

    fn give(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (local, remote) = Self::path();
        self.endpoint.handle(self.now, Input::Datagram { local, remote, bytes });
        self.drain()
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { message, .. } => sent.push(message),
                Output::Event(Event::Ended(tombstone)) => self.ended.push(tombstone.failure.kind),
                Output::Event(Event::Step { text, .. }) => self.told.push(text),
                _ => {}
            }
        }
        sent
    }

    /// What is due now.
    fn due(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while self.endpoint.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.endpoint.handle(self.now, Input::Timeout);
            sent.extend(self.drain());
        }
        sent
    }

    fn header(&self, exchange: ExchangeType, message_id: u32) -> Header {
        let (spis, next_payload, version, flags) = (self.spis, PayloadType::NONE, Version::V1, Flags(0));
        Header { spis, next_payload, version, exchange, flags, message_id, length: 0 }
    }

    fn main_mode(&self, fill: impl FnOnce(&mut ChainBuilder)) -> Vec<u8> {
        let mut chain = ChainBuilder::new();
        fill(&mut chain);
        message(self.header(ExchangeType::IDENTITY_PROTECTION, 0), chain)
    }

    fn encrypt(&self, header: Header, iv: &[u8], chain: ChainBuilder) -> Vec<u8> {
        let mut bytes = padded_message(Header { flags: Flags::ENCRYPTION, ..header }, chain, 16);
        self.keys.as_ref().unwrap().1.encrypt(iv, &mut bytes[HEADER_LEN..]);
        bytes
    }

    /// Keys from both public values, g^xi first, and both nonces, Ni first; ours is `ke`.
    fn take_keys(&mut self, ke: &KeyExchange, theirs: &[u8], publics: [&[u8]; 2], nonces: [&[u8]; 2]) -> Vec<u8> {
        let shared = ke.agree(theirs).unwrap();
        let skeyid = crypto::v1::skeyid_psk(prf(), b"swordfish", nonces[0], nonces[1]);
        let ids = crypto::v1::derive(prf(), skeyid, &shared, self.spis.initiator, self.spis.responder);
        let key = crypto::v1::phase1_key(prf(), &ids.skeyid_e, 16);
        let algorithm = crypto::Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
        let iv = crypto::v1::phase1_iv(hash(), publics[0], publics[1], 16);
        self.keys = Some((ids, Cipher::new(algorithm, key.expose()).unwrap(), Vec::new()));
        iv
    }

    /// An Informational message with a good HASH(1).
    fn inform(&mut self, fill: impl FnOnce(&mut ChainBuilder)) -> Vec<Vec<u8>> {
        self.next_id += 1;
        let id = self.next_id;
        let (ids, _, iv) = self.keys.as_ref().unwrap();
        let mut chain = ChainBuilder::new();
        chain.hash(&[0; 32]);
        fill(&mut chain);
        let good = crypto::v1::hash1(prf(), &ids.skeyid_a, id, chain.after_first());
        chain.fill_first(good.expose());
        let iv = crypto::v1::phase2_iv(hash(), iv, id, 16);
        let bytes = self.encrypt(self.header(ExchangeType::INFORMATIONAL_V1, id), &iv, chain);
        self.give(&bytes)
    }

    /// A kilobyte of it.
    fn kilobyte(&mut self) -> Vec<Vec<u8>> {
        // HASH 36 octets, Notify 12: with the rest a kilobyte on the wire.
        self.inform(|chain| {
            chain.notify(ProtocolId::IKE, &[], V1NotifyType(40_000), &[0; 1024 - 48]);
        })
    }
}

fn id_body() -> Vec<u8> {
    [&[2, 0, 0, 0], &b"a.example"[..]].concat()
}

fn last_block(bytes: &[u8]) -> Vec<u8> {
    bytes[bytes.len() - 16..].to_vec()
}

fn parts_of(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let next = Header::parse(bytes).unwrap().next_payload;
    let parsed = parse_chain(next, &bytes[HEADER_LEN..], HEADER_LEN, false).unwrap();
    (parsed.ke().unwrap().to_vec(), parsed.nonce().unwrap().to_vec())
}

/// The hand is the initiator of main mode.
fn responder() -> Scene {
    let mut scene = Scene::new();
    let ke = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Rng::new(5)).unwrap();
    let first = scene.main_mode(|chain| {
        chain.raw(PayloadType::V1_SA, OFFER);
    });
    let second = scene.give(&first).remove(0);
    scene.spis = Header::parse(&second).unwrap().spis;
    let third = scene.main_mode(|chain| {
        chain.ke(ke.public()).nonce(&[3; 20]);
    });
    let fourth = scene.give(&third).remove(0);
    let (theirs, nonce) = parts_of(&fourth);
    let iv = scene.take_keys(&ke, &theirs, [ke.public(), &theirs], [&[3; 20], &nonce]);
    let (ci, cr, skeyid) = (scene.spis.initiator, scene.spis.responder, &scene.keys.as_ref().unwrap().0.skeyid);
    let proof = crypto::v1::hash_i(prf(), skeyid, ke.public(), &theirs, ci, cr, OFFER, &id_body());
    let mut chain = ChainBuilder::new();
    chain.raw(PayloadType::V1_ID, &id_body()).hash(proof.expose());
    let fifth = scene.encrypt(scene.header(ExchangeType::IDENTITY_PROTECTION, 0), &iv, chain);
    let sixth = scene.give(&fifth).remove(0);
    scene.keys.as_mut().unwrap().2 = last_block(&sixth);
    assert_eq!(scene.endpoint.sizes(), (1, 0));
    scene
}

/// The hand is the responder.
fn initiator() -> Scene {
    let mut scene = Scene::new();
    let ke = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Rng::new(5)).unwrap();
    let (local, remote) = Scene::path();
    scene.endpoint.initiate(scene.now, "gw", "net", local, remote).unwrap();
    let first = scene.drain().remove(0);
    let header = Header::parse(&first).unwrap();
    scene.spis = SpiPair { initiator: header.spis.initiator, responder: IkeSpi::from(99) };
    let parsed = parse_chain(header.next_payload, &first[HEADER_LEN..], HEADER_LEN, false).unwrap();
    let offer = parsed.raw(PayloadType::V1_SA).unwrap().to_vec();
    drop(parsed);
    let second = scene.main_mode(|chain| {
        chain.raw(PayloadType::V1_SA, &offer);
    });
    let third = scene.give(&second).remove(0);
    let (theirs, nonce) = parts_of(&third);
    let fourth = scene.main_mode(|chain| {
        chain.ke(ke.public()).nonce(&[3; 20]);
    });
    scene.take_keys(&ke, &theirs, [&theirs, ke.public()], [&nonce, &[3; 20]]);
    let fifth = scene.give(&fourth).remove(0);
    let (ci, cr, skeyid) = (scene.spis.initiator, scene.spis.responder, &scene.keys.as_ref().unwrap().0.skeyid);
    let proof = crypto::v1::hash_r(prf(), skeyid, &theirs, ke.public(), ci, cr, &offer, &id_body());
    let mut chain = ChainBuilder::new();
    chain.raw(PayloadType::V1_ID, &id_body()).hash(proof.expose());
    let sixth = scene.encrypt(scene.header(ExchangeType::IDENTITY_PROTECTION, 0), &last_block(&fifth), chain);
    scene.give(&sixth);
    scene.keys.as_mut().unwrap().2 = last_block(&sixth);
    assert_eq!(scene.endpoint.sizes(), (1, 0), "{:?}", scene.told);
    scene
}

#[test]
fn a_responder_ends_what_has_protected_as_much_as_was_agreed() {
    let mut scene = responder();
    for number in 0..38 {
        scene.kilobyte();
        assert!(scene.due().is_empty() && scene.ended.is_empty(), "after {number}");
    }
    // What is not the peer's does not count.
    for id in 1..200 {
        let mut chain = ChainBuilder::new();
        chain.hash(&[7; 32]).notify(ProtocolId::IKE, &[], V1NotifyType(40_000), &[0; 900]);
        let bytes = scene.encrypt(scene.header(ExchangeType::INFORMATIONAL_V1, id << 16), &[9; 16], chain);
        scene.give(&bytes);
    }
    assert!(scene.due().is_empty() && scene.ended.is_empty());
    scene.kilobyte();
    let sent = scene.due();
    assert_eq!(scene.ended, [FailureKind::Expired]);
    assert_eq!(sent.len(), 1, "a Delete");
    assert!(scene.told.iter().any(|t| t.contains("octets, of 40000 that the peer allows")), "{:?}", scene.told);
}

#[test]
fn an_initiator_makes_the_successor_before_the_responders_limit() {
    let mut scene = initiator();
    // RESPONDER-LIFETIME (RFC 2407 section 4.6.3.1): 44 kilobytes.
    let spi = [scene.spis.initiator.0, scene.spis.responder.0].concat();
    scene.inform(|chain| {
        chain.notify(ProtocolId::IKE, &spi, V1NotifyType::RESPONDER_LIFETIME, &[0x80, 11, 0, 2, 0x80, 12, 0, 44]);
    });
    for number in 0..38 {
        scene.kilobyte();
        assert!(scene.due().is_empty(), "after {number}");
    }
    let sent: Vec<Vec<u8>> = (0..2).flat_map(|_| [scene.kilobyte(), scene.due()].concat()).collect();
    let begun: Vec<Header> = sent.iter().map(|m| Header::parse(m).unwrap()).collect();
    let successor = begun.iter().find(|h| h.exchange == ExchangeType::IDENTITY_PROTECTION).expect("a new message 1");
    assert_ne!(successor.spis.initiator, scene.spis.initiator);
    assert!(scene.ended.is_empty(), "the old one stays until the new one is there: {:?}", scene.ended);
    // Once: not another one for each further message.
    for _ in 0..10 {
        let sent = [scene.kilobyte(), scene.due()].concat();
        assert!(sent.is_empty());
    }
}

/// A limit that the messages of a negotiation use up would have the ends renew without end.
#[test]
fn a_limit_that_leaves_no_room_is_not_obeyed() {
    let mut scene = initiator();
    let spi = [scene.spis.initiator.0, scene.spis.responder.0].concat();
    scene.inform(|chain| {
        chain.notify(ProtocolId::IKE, &spi, V1NotifyType::RESPONDER_LIFETIME, &[0x80, 11, 0, 2, 0x80, 12, 0, 1]);
    });
    for _ in 0..20 {
        scene.kilobyte();
        assert!(scene.due().is_empty());
    }
}
