//! A peer of IKEv1 written by hand from `wire` and `crypto` alone: either end of main mode with a pre-shared key, and
//! messages of any content after it. What no configuration of ours makes a peer do is tested with it.

use crate::{Parts, Rng, Site};
use crypto::v1::{Cipher, Hash, SkeyIds};
use crypto::{KeyExchange, Prf};
use model::{Event, FailureKind, Instant};
use proto::{Endpoint, Input, Output};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::v1::{ChainBuilder, NatTraversal, VendorId, message, padded_message, parse_chain};
use wire::{
    EncryptionId, ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, KeyExchangeId, OakleyHash, PayloadType, SpiPair,
    Version,
};

const ENDPOINT: [u8; 4] = [192, 0, 2, 2];
const HAND: [u8; 4] = [192, 0, 2, 1];
/// The identity of the hand, `a.example`, as an ID payload has it.
const ID: &[u8] = &[2, 0, 0, 0, b'a', b'.', b'e', b'x', b'a', b'm', b'p', b'l', b'e'];
const NONCE: [u8; 20] = [3; 20];

fn hash() -> Hash {
    Hash::new(OakleyHash(4)).expect("SHA-256")
}

fn prf() -> Prf {
    hash().prf()
}

/// The payloads of a message in the clear.
///
/// # Panics
/// If it cannot be read.
pub fn clear_parts(bytes: &[u8]) -> Parts {
    let next = Header::parse(bytes).expect("a header").next_payload;
    let parsed = parse_chain(next, &bytes[HEADER_LEN..], HEADER_LEN, false).expect("payloads");
    parsed.payloads.iter().map(|(raw, _)| (raw.kind, raw.body.to_vec())).collect()
}

fn of(parts: &Parts, kind: PayloadType) -> Vec<u8> {
    parts.iter().find(|(k, _)| *k == kind).map(|(_, body)| body.clone()).expect("a payload")
}

/// How the hand does NAT traversal.
#[derive(Clone, Copy)]
pub struct HandNat {
    /// The Vendor IDs that it sends.
    pub vendors: &'static [VendorId],
    /// The numbers that it uses. Its NAT-D payloads fit no address, so that both ends seem to be behind a NAT.
    pub variant: NatTraversal,
}

struct Keys {
    ids: SkeyIds,
    cipher: Cipher,
    iv: Vec<u8>,
    chains: BTreeMap<u32, Vec<u8>>,
}

/// The endpoint at 192.0.2.2, which believes the hand at 192.0.2.1. The suite is AES-CBC-128, SHA-256, Curve25519.
pub struct Hand {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The time.
    pub now: Instant,
    /// The cookies.
    pub spis: SpiPair,
    /// Why SAs of the endpoint ended.
    pub ended: Vec<FailureKind>,
    /// What it logged.
    pub told: Vec<String>,
    port: u16,
    key_exchange: KeyExchange,
    keys: Option<Keys>,
    next_id: u32,
}

impl Hand {
    /// An endpoint of this site, with the connection `gw` and the child `net`.
    pub fn new(site: &Site) -> Self {
        Self {
            endpoint: site.endpoint(Rng::new(1)),
            now: Instant::ZERO,
            spis: SpiPair { initiator: IkeSpi::from(77), responder: IkeSpi::ZERO },
            ended: Vec::new(),
            told: Vec::new(),
            port: 500,
            key_exchange: KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Rng::new(5)).expect("Curve25519"),
            keys: None,
            next_id: 100,
        }
    }

    fn path(&self) -> (SocketAddr, SocketAddr) {
        ((ENDPOINT, self.port).into(), (HAND, self.port).into())
    }

    /// Gives the endpoint a datagram; what it sends.
    pub fn give(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (local, remote) = self.path();
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

    /// What the endpoint sends because it is due now.
    pub fn due(&mut self) -> Vec<Vec<u8>> {
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

    fn key_message(&self, nat: Option<HandNat>) -> Vec<u8> {
        self.main_mode(|chain| {
            chain.ke(self.key_exchange.public()).nonce(&NONCE);
            for _ in nat.iter().flat_map(|_| 0..2) {
                nat.iter().for_each(|nat| {
                    chain.nat_d(nat.variant, &[0xdd; 32]);
                });
            }
        })
    }

    fn vendors(nat: Option<HandNat>, chain: &mut ChainBuilder) {
        nat.iter().flat_map(|nat| nat.vendors).for_each(|vendor| {
            chain.vendor_id(vendor.octets());
        });
    }

    fn take_keys(&mut self, theirs: &[u8], publics: [&[u8]; 2], nonces: [&[u8]; 2]) {
        let shared = self.key_exchange.agree(theirs).expect("a public value");
        let skeyid = crypto::v1::skeyid_psk(prf(), b"swordfish", nonces[0], nonces[1]);
        let ids = crypto::v1::derive(prf(), skeyid, &shared, self.spis.initiator, self.spis.responder);
        let key = crypto::v1::phase1_key(prf(), &ids.skeyid_e, 16);
        let algorithm = crypto::Cipher::new(EncryptionId::AES_CBC, Some(128)).expect("AES");
        let cipher = Cipher::new(algorithm, key.expose()).expect("a key");
        let iv = crypto::v1::phase1_iv(hash(), publics[0], publics[1], 16);
        self.keys = Some(Keys { ids, cipher, iv, chains: BTreeMap::new() });
    }

    fn keys(&mut self) -> &mut Keys {
        self.keys.as_mut().expect("main mode first")
    }

    fn chain_iv(&mut self, id: u32) -> Vec<u8> {
        let keys = self.keys();
        let fresh = || crypto::v1::phase2_iv(hash(), &keys.iv, id, 16);
        if id == 0 { keys.iv.clone() } else { keys.chains.get(&id).cloned().unwrap_or_else(fresh) }
    }

    fn advance(&mut self, id: u32, iv: Vec<u8>) {
        let keys = self.keys();
        if id == 0 {
            keys.iv = iv;
        } else {
            keys.chains.insert(id, iv);
        }
    }

    /// Encrypts, and advances the IV.
    fn seal(&mut self, exchange: ExchangeType, id: u32, chain: ChainBuilder) -> Vec<u8> {
        let header = Header { flags: Flags::ENCRYPTION, ..self.header(exchange, id) };
        let mut bytes = padded_message(header, chain, 16);
        let iv = self.chain_iv(id);
        let next = self.keys().cipher.encrypt(&iv, &mut bytes[HEADER_LEN..]);
        self.advance(id, next);
        bytes
    }

    /// The payloads of an encrypted message of the endpoint's, the next one of its exchange.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn open(&mut self, bytes: &[u8]) -> Parts {
        let header = Header::parse(bytes).expect("a header");
        let iv = self.chain_iv(header.message_id);
        let mut plain = bytes[HEADER_LEN..].to_vec();
        let next = self.keys().cipher.decrypt(&iv, &mut plain).expect("whole blocks");
        self.advance(header.message_id, next);
        let parsed = parse_chain(header.next_payload, &plain, 0, true).expect("payloads");
        parsed.payloads.iter().map(|(raw, _)| (raw.kind, raw.body.to_vec())).collect()
    }

    fn float(&mut self, nat: Option<HandNat>) {
        if nat.is_some() {
            self.port = 4500; // RFC 3947 section 4
        }
    }

    fn proof(&mut self, proof: &wire::Secret) -> ChainBuilder {
        let mut chain = ChainBuilder::new();
        chain.raw(PayloadType::V1_ID, ID).hash(proof.expose());
        chain
    }

    /// The hand is the initiator of main mode and offers this SA payload; what the endpoint sent in the clear.
    ///
    /// # Panics
    /// If no ISAKMP SA comes of it.
    pub fn initiate(&mut self, offer: &[u8], nat: Option<HandNat>) -> Vec<Parts> {
        let first = self.main_mode(|chain| {
            chain.raw(PayloadType::V1_SA, offer);
            Self::vendors(nat, chain);
        });
        let second = self.give(&first).remove(0);
        self.spis = Header::parse(&second).expect("a header").spis;
        let third = self.key_message(nat);
        let fourth = clear_parts(&self.give(&third).remove(0));
        let (theirs, nonce) = (of(&fourth, PayloadType::V1_KE), of(&fourth, PayloadType::V1_NONCE));
        let ours = self.key_exchange.public().to_vec();
        self.take_keys(&theirs, [&ours, &theirs], [&NONCE, &nonce]);
        let (spis, skeyid) = (self.spis, &self.keys.as_ref().expect("keys").ids.skeyid);
        let proof = crypto::v1::hash_i(prf(), skeyid, &ours, &theirs, spis.initiator, spis.responder, offer, ID);
        let chain = self.proof(&proof);
        let fifth = self.seal(ExchangeType::IDENTITY_PROTECTION, 0, chain);
        self.float(nat);
        let sixth = self.give(&fifth).remove(0);
        self.open(&sixth);
        assert_eq!(self.endpoint.sizes(), (1, 0), "{:?}", self.told);
        vec![clear_parts(&second), fourth]
    }

    /// The hand is the responder of main mode; what the endpoint sent in the clear, and what it sends when phase 1 is done.
    ///
    /// # Panics
    /// If no ISAKMP SA comes of it.
    pub fn respond(&mut self, nat: Option<HandNat>) -> (Vec<Parts>, Vec<Vec<u8>>) {
        let (local, remote) = self.path();
        self.endpoint.initiate(self.now, "gw", "net", local, remote).expect("it begins");
        let first = self.drain().remove(0);
        let initiator = Header::parse(&first).expect("a header").spis.initiator;
        self.spis = SpiPair { initiator, responder: IkeSpi::from(99) };
        let first = clear_parts(&first);
        let offer = of(&first, PayloadType::V1_SA);
        let second = self.main_mode(|chain| {
            chain.raw(PayloadType::V1_SA, &offer);
            Self::vendors(nat, chain);
        });
        let third = clear_parts(&self.give(&second).remove(0));
        let (theirs, nonce) = (of(&third, PayloadType::V1_KE), of(&third, PayloadType::V1_NONCE));
        let fourth = self.key_message(nat);
        let ours = self.key_exchange.public().to_vec();
        self.take_keys(&theirs, [&theirs, &ours], [&nonce, &NONCE]);
        let fifth = self.give(&fourth).remove(0);
        self.open(&fifth);
        let (spis, skeyid) = (self.spis, &self.keys.as_ref().expect("keys").ids.skeyid);
        let proof = crypto::v1::hash_r(prf(), skeyid, &theirs, &ours, spis.initiator, spis.responder, &offer, ID);
        let chain = self.proof(&proof);
        let sixth = self.seal(ExchangeType::IDENTITY_PROTECTION, 0, chain);
        self.float(nat);
        let sent = self.give(&sixth);
        assert_eq!(self.endpoint.sizes(), (1, 0), "{:?}", self.told);
        (vec![first, third], sent)
    }

    /// The first message of an exchange under the ISAKMP SA, with a good HASH(1); what it has as answers.
    pub fn say(&mut self, exchange: ExchangeType, fill: impl FnOnce(&mut ChainBuilder)) -> Vec<Vec<u8>> {
        self.next_id += 1;
        let id = self.next_id;
        let mut chain = ChainBuilder::new();
        chain.hash(&[0; 32]);
        fill(&mut chain);
        let good = crypto::v1::hash1(prf(), &self.keys().ids.skeyid_a, id, chain.after_first());
        chain.fill_first(good.expose());
        let bytes = self.seal(exchange, id, chain);
        self.give(&bytes)
    }

    /// The hand is the responder of quick mode: the answer to this message 1, which offers one suite and no key exchange,
    /// with this SPI, and these ID payloads instead of those that were offered. What the endpoint sends then.
    ///
    /// # Panics
    /// If it is no message 1.
    pub fn answer_quick_mode(&mut self, first: &[u8], spi: [u8; 4], ids: Option<[&[u8]; 2]>) -> Vec<Vec<u8>> {
        let id = Header::parse(first).expect("a header").message_id;
        let offered = self.open(first);
        let nonce = of(&offered, PayloadType::V1_NONCE);
        let mut suite = of(&offered, PayloadType::V1_SA);
        suite[16..20].copy_from_slice(&spi); // behind DOI and situation, and the head of the proposal
        let offered_ids =
            offered.iter().filter(|(kind, _)| *kind == PayloadType::V1_ID).map(|(_, body)| body.as_slice());
        let ids = ids.map_or_else(|| offered_ids.collect(), |ids| ids.to_vec());
        let mut chain = ChainBuilder::new();
        chain.hash(&[0; 32]).raw(PayloadType::V1_SA, &suite).nonce(&NONCE);
        ids.into_iter().for_each(|id| {
            chain.raw(PayloadType::V1_ID, id);
        });
        let good = crypto::v1::hash2(prf(), &self.keys().ids.skeyid_a, id, &nonce, chain.after_first());
        chain.fill_first(good.expose());
        let bytes = self.seal(ExchangeType::QUICK_MODE, id, chain);
        self.give(&bytes)
    }

    /// An encrypted message with a wrong HASH: not the peer's.
    pub fn forge(&mut self, id: u32, octets: usize) -> Vec<Vec<u8>> {
        let mut chain = ChainBuilder::new();
        chain.hash(&[7; 32]).vendor_id(&vec![0; octets]);
        let bytes = self.seal(ExchangeType::INFORMATIONAL_V1, id, chain);
        self.give(&bytes)
    }
}
