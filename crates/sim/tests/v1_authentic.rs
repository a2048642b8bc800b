//! IKEv1 and an authentic adversary: a peer with the right keys, written by hand, that does not keep to the protocol.

use config::Pool;
use crypto::v1::{Cipher, Hash, SkeyIds};
use crypto::{KeyExchange, Prf};
use model::DropReason;
use model::dataplane::Command;
use proto::{Endpoint, Input, Output};
use sim::{Rng, Site};
use std::time::Duration;
use wire::v1::{ChainBuilder, message, padded_message, parse_chain};
use wire::{
    EncryptionId, ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, KeyExchangeId, OakleyHash, PayloadType, SpiPair,
    Version,
};

type Parts = Vec<(PayloadType, Vec<u8>)>;

/// AES-CBC-128, SHA-256, Curve25519, pre-shared key.
const PHASE1: &[u8] = &[
    0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 36, 1, 1, 0, 1, 0, 0, 0, 28, 1, 1, 0, 0, 0x80, 1, 0, 7, 0x80, 14, 0, 128, 0x80, 2,
    0, 4, 0x80, 4, 0, 31, 0x80, 3, 0, 1,
];
/// AES-GCM-16-128 in tunnel mode with this SPI.
fn phase2(spi: u32) -> Vec<u8> {
    let s = spi.to_be_bytes();
    let head = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 28, 1, 3, 4, 1, s[0], s[1], s[2], s[3]];
    [&head[..], &[0, 0, 0, 16, 1, 20, 0, 0, 0x80, 4, 0, 1, 0x80, 6, 0, 128]].concat()
}

struct Scene {
    endpoint: Endpoint,
    now: model::Instant,
    spis: SpiPair,
    hash: Hash,
    ids: SkeyIds,
    key: Vec<u8>,
    iv: Vec<u8>,
    next_id: u32,
    installs: usize,
    deletes: usize,
}

fn prf() -> Prf {
    Hash::new(OakleyHash(4)).unwrap().prf()
}

fn chain(parts: &Parts) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    for (kind, body) in parts {
        chain.raw(*kind, body);
    }
    chain
}

impl Scene {
    fn give(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (local, remote) = (([192, 0, 2, 2], 500).into(), ([192, 0, 2, 1], 500).into());
        self.endpoint.handle(self.now, Input::Datagram { local, remote, bytes });
        self.drain()
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { message, .. } => sent.push(message),
                Output::Plane(Command::Install(_)) => self.installs += 1,
                Output::Plane(Command::Delete { .. }) => self.deletes += 1,
                _ => {}
            }
        }
        sent
    }

    /// Time goes on, and with it everything that is due.
    fn wait(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let (end, mut sent) = (self.now + time, Vec::new());
        while let Some((at, _)) = self.endpoint.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at;
            self.endpoint.handle(at, Input::Timeout);
            sent.extend(self.drain());
        }
        self.now = end;
        sent
    }

    fn header(&self, exchange: ExchangeType, message_id: u32) -> Header {
        let (spis, next_payload, version, flags) = (self.spis, PayloadType::NONE, Version::V1, Flags(0));
        Header { spis, next_payload, version, exchange, flags, message_id, length: 0 }
    }

    fn cipher(&self) -> Cipher {
        Cipher::new(crypto::Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap(), &self.key).unwrap()
    }

    fn encrypt(&self, exchange: ExchangeType, id: u32, iv: &[u8], chain: ChainBuilder) -> (Vec<u8>, Vec<u8>) {
        let header = Header { flags: Flags::ENCRYPTION, ..self.header(exchange, id) };
        let mut bytes = padded_message(header, chain, 16);
        let next = self.cipher().encrypt(iv, &mut bytes[HEADER_LEN..]);
        (bytes, next)
    }

    fn iv2(&self, id: u32) -> Vec<u8> {
        crypto::v1::phase2_iv(self.hash, &self.iv, id, 16)
    }

    /// A message of these payloads with a good HASH(1) in front.
    fn first(&mut self, exchange: ExchangeType, parts: &Parts) -> (u32, Vec<u8>, Vec<u8>) {
        self.next_id += 1;
        let id = self.next_id;
        let rest = chain(parts).octets().to_vec();
        let hash = crypto::v1::hash1(prf(), &self.ids.skeyid_a, id, &rest).expose().to_vec();
        let all = [vec![(PayloadType::V1_HASH, hash)], parts.clone()].concat();
        let (bytes, iv) = self.encrypt(exchange, id, &self.iv2(id), chain(&all));
        (id, bytes, iv)
    }

    fn quick_parts(&self) -> Parts {
        scene_parts(phase2(0x1234_5678))
    }

    /// Message 1 of quick mode, with the message ID, the payloads of the answer if it can be read, and its last block.
    fn quick_answer(&mut self, parts: &Parts) -> Option<(u32, Parts, Vec<u8>)> {
        let (id, bytes, iv) = self.first(ExchangeType::QUICK_MODE, parts);
        let answers = self.give(&bytes);
        assert!(answers.len() <= 1, "one answer");
        let answer = answers.first()?;
        let header = Header::parse(answer).unwrap();
        if header.exchange != ExchangeType::QUICK_MODE {
            return None;
        }
        let mut plain = answer[HEADER_LEN..].to_vec();
        let iv = self.cipher().decrypt(&iv, &mut plain).unwrap();
        let parsed = parse_chain(header.next_payload, &plain, 0, true).unwrap();
        Some((id, parsed.payloads.iter().map(|(raw, _)| (raw.kind, raw.body.to_vec())).collect(), iv))
    }

    /// Message 1 of quick mode, and message 3 with a good HASH(3) if the answer can be read.
    fn quick(&mut self, parts: &Parts) -> Option<Vec<u8>> {
        let (id, answer, iv) = self.quick_answer(parts)?;
        let nonce_of = |parts: &Parts| parts.iter().find(|(kind, _)| *kind == PayloadType::V1_NONCE).unwrap().1.clone();
        let hash = crypto::v1::hash3(prf(), &self.ids.skeyid_a, id, &nonce_of(parts), &nonce_of(&answer));
        let mut third = ChainBuilder::new();
        third.hash(hash.expose());
        Some(self.encrypt(ExchangeType::QUICK_MODE, id, &iv, third).0)
    }

    fn established(&self) -> bool {
        self.endpoint.sizes() == (1, 0)
    }

    fn take_keys(&mut self, ke: &KeyExchange, theirs: &[u8], nonce: &[u8]) {
        let shared = ke.agree(theirs).unwrap();
        let skeyid = crypto::v1::skeyid_psk(prf(), b"swordfish", &[3; 20], nonce);
        self.ids = crypto::v1::derive(prf(), skeyid, &shared, self.spis.initiator, self.spis.responder);
        self.key = crypto::v1::phase1_key(prf(), &self.ids.skeyid_e, 16).expose().to_vec();
        self.iv = crypto::v1::phase1_iv(self.hash, ke.public(), theirs, 16);
    }

    fn hash_i(&self, ke: &KeyExchange, theirs: &[u8]) -> Vec<u8> {
        self.hash_of_initiator(ke, theirs, PHASE1)
    }

    fn hash_of_initiator(&self, ke: &KeyExchange, theirs: &[u8], sa: &[u8]) -> Vec<u8> {
        let (ci, cr, skeyid) = (self.spis.initiator, self.spis.responder, &self.ids.skeyid);
        crypto::v1::hash_i(prf(), skeyid, ke.public(), theirs, ci, cr, sa, &id_body()).expose().to_vec()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.endpoint.drops().into_iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| n)
    }

    fn all_drops(&self) -> u64 {
        self.endpoint.drops().into_iter().map(|(_, n)| n).sum()
    }
}

fn site() -> Site {
    let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1");
    site.connection("proposals = aes128-sha256-x25519").child("esp_proposals = aes128gcm16")
}

/// The responder, to whom nothing has come yet.
fn nothing_yet(site: &Site) -> Scene {
    Scene {
        endpoint: site.endpoint(Rng::new(1)),
        now: model::Instant::ZERO,
        spis: SpiPair { initiator: IkeSpi::from(77), responder: IkeSpi::ZERO },
        hash: Hash::new(OakleyHash(4)).unwrap(),
        ids: crypto::v1::derive(
            prf(),
            wire::Secret::from(&[0_u8][..]),
            &wire::Secret::from(&[0_u8][..]),
            IkeSpi::ZERO,
            IkeSpi::ZERO,
        ),
        key: Vec::new(),
        iv: Vec::new(),
        next_id: 100,
        installs: 0,
        deletes: 0,
    }
}

fn id_body() -> Vec<u8> {
    [&[2, 0, 0, 0], &b"a.example"[..]].concat()
}

/// Main mode as it should be, but for message 5, which `fifth` makes of the good one's payloads; with its answers.
fn main_mode(fifth: impl Fn(&mut Parts)) -> (Scene, Vec<Vec<u8>>) {
    let mut scene = nothing_yet(&site());
    let ke = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Rng::new(5)).unwrap();
    let first = vec![(PayloadType::V1_SA, PHASE1.to_vec())];
    let second = scene.give(&message(scene.header(ExchangeType::IDENTITY_PROTECTION, 0), chain(&first))).remove(0);
    scene.spis = Header::parse(&second).unwrap().spis;
    let third = vec![(PayloadType::V1_KE, ke.public().to_vec()), (PayloadType::V1_NONCE, vec![3; 20])];
    let fourth = scene.give(&message(scene.header(ExchangeType::IDENTITY_PROTECTION, 0), chain(&third))).remove(0);
    let next = Header::parse(&fourth).unwrap().next_payload;
    let parsed = parse_chain(next, &fourth[HEADER_LEN..], HEADER_LEN, false).unwrap();
    scene.take_keys(&ke, parsed.ke().unwrap(), parsed.nonce().unwrap());
    let hash = scene.hash_i(&ke, parsed.ke().unwrap());
    let mut parts = vec![(PayloadType::V1_ID, id_body()), (PayloadType::V1_HASH, hash)];
    fifth(&mut parts);
    let (bytes, _) = scene.encrypt(ExchangeType::IDENTITY_PROTECTION, 0, &scene.iv.clone(), chain(&parts));
    let answers = scene.give(&bytes);
    (scene, answers)
}

/// Aggressive mode as it should be, but for message 3, which `third` makes of the good one's payloads.
fn scene(change_first: impl Fn(&mut Parts), third: impl Fn(&mut Parts)) -> Option<Scene> {
    aggressive(&site(), PHASE1, change_first, third).map(|(scene, _)| scene)
}

/// The same with this site and this SA payload; with what message 3 has as answers.
fn aggressive(
    site: &Site,
    sa: &[u8],
    change_first: impl Fn(&mut Parts),
    third: impl Fn(&mut Parts),
) -> Option<(Scene, Vec<Vec<u8>>)> {
    let ke = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Rng::new(5)).unwrap();
    let mut scene = nothing_yet(&site.clone().connection("aggressive = yes"));
    let mut parts = vec![
        (PayloadType::V1_SA, sa.to_vec()),
        (PayloadType::V1_KE, ke.public().to_vec()),
        (PayloadType::V1_NONCE, vec![3; 20]),
        (PayloadType::V1_ID, id_body()),
    ];
    change_first(&mut parts);
    let first = message(scene.header(ExchangeType::AGGRESSIVE, 0), chain(&parts));
    let answers = scene.give(&first);
    assert!(answers.len() <= 1);
    let answer = answers.first().filter(|a| Header::parse(a).unwrap().exchange == ExchangeType::AGGRESSIVE)?.clone();
    let header = Header::parse(&answer).unwrap();
    scene.spis = header.spis;
    let parsed = parse_chain(header.next_payload, &answer[HEADER_LEN..], HEADER_LEN, false).unwrap();
    let (theirs, nonce) = (parsed.ke().unwrap(), parsed.nonce().unwrap());
    scene.take_keys(&ke, theirs, nonce);
    let hash = scene.hash_of_initiator(&ke, theirs, sa);
    let mut parts = vec![(PayloadType::V1_HASH, hash)];
    third(&mut parts);
    let (bytes, iv) = scene.encrypt(ExchangeType::AGGRESSIVE, 0, &scene.iv.clone(), chain(&parts));
    let answers = scene.give(&bytes);
    scene.iv = iv;
    Some((scene, answers))
}

fn up() -> Scene {
    let scene = scene(|_| {}, |_| {}).unwrap();
    assert!(scene.established());
    scene
}

#[test]
fn it_works_when_everything_is_right() {
    let mut scene = up();
    let parts = scene.quick_parts();
    let third = scene.quick(&parts).expect("message 2");
    assert_eq!(scene.installs, 0, "not before message 3");
    assert!(scene.give(&third).is_empty());
    assert_eq!(scene.installs, 1);
    // The message ID is used up (RFC 2408 section 3.1).
    assert!(scene.give(&third).is_empty());
    assert!(scene.wait(Duration::from_secs(200)).is_empty());
    assert_eq!(scene.installs, 1);
}

/// Changes of a list of payloads: each one missing, doubled, emptied, cut at each octet, extended, or of another type.
fn changes(parts: &Parts) -> Vec<(String, Parts)> {
    let mut all = Vec::new();
    for index in 0..parts.len() {
        let mut with = |what: String, change: &dyn Fn(&mut Parts)| {
            let mut changed = parts.clone();
            change(&mut changed);
            all.push((format!("payload {index} {what}"), changed));
        };
        with("missing".into(), &|p| drop(p.remove(index)));
        with("doubled".into(), &|p| p.insert(index, p[index].clone()));
        for length in 0..parts[index].1.len() {
            with(format!("cut to {length}"), &|p| p[index].1.truncate(length));
        }
        with("extended".into(), &|p| p[index].1.extend_from_slice(&[0xff; 300]));
        for at in 0..parts[index].1.len() {
            with(format!("octet {at} changed"), &|p| p[index].1[at] ^= 0x81);
        }
        for kind in 0..=255 {
            with(format!("of type {kind}"), &|p| p[index].0 = PayloadType(kind));
        }
        for value in [0, 1, 0xff] {
            with(format!("all {value}"), &|p| p[index].1.fill(value));
        }
    }
    all
}

#[test]
fn every_change_of_message_1_of_aggressive_mode() {
    let good = vec![
        (PayloadType::V1_SA, PHASE1.to_vec()),
        (PayloadType::V1_KE, vec![9; 32]),
        (PayloadType::V1_NONCE, vec![3; 20]),
        (PayloadType::V1_ID, [&[2, 0, 0, 0], &b"a.example"[..]].concat()),
    ];
    for (what, parts) in changes(&good) {
        if let Some(mut scene) = scene(|p| p.clone_from(&parts), |_| {}) {
            // HASH_I is over what the peer meant to send, so that no changed message leads anywhere.
            assert!(!scene.established(), "{what}");
            scene.wait(Duration::from_secs(100));
            assert_eq!(scene.endpoint.sizes(), (0, 0), "{what}");
        }
    }
}

#[test]
fn every_change_of_message_3_of_aggressive_mode() {
    let good = scene(|_| {}, |parts| parts[0].1[0] ^= 1).unwrap();
    assert!(!good.established(), "a wrong HASH_I");
    // Without any payload there is nothing to encrypt.
    let all =
        changes(&vec![(PayloadType::V1_HASH, vec![0; 32])]).into_iter().filter(|(what, _)| !what.ends_with("missing"));
    for (what, _) in all {
        let change = |p: &mut Parts| {
            let own = changes(p).into_iter().find(|(w, _)| *w == what).unwrap().1;
            *p = own;
        };
        let mut scene = scene(|_| {}, change).unwrap();
        assert_eq!(scene.established(), what == "payload 0 of type 8", "{what}");
        scene.wait(Duration::from_secs(100));
    }
}

#[test]
fn every_change_of_message_1_of_quick_mode_with_a_good_hash() {
    let mut scene = up();
    let good = scene.quick_parts();
    for (what, parts) in changes(&good) {
        let third = scene.quick(&parts);
        // Half of them are finished, the others given up; more than a few at once are not begun.
        if let Some(third) = third {
            scene.give(&third);
        }
        scene.wait(Duration::from_secs(1));
        assert!(scene.established(), "{what}");
        assert!(scene.endpoint.snapshots(scene.now)[0].children.len() == scene.installs - scene.deletes, "{what}");
    }
    // A changed nonce or SPI is as good as another.
    assert!(scene.installs > 0);
}

#[test]
fn quick_modes_that_are_not_finished_are_bounded() {
    let mut scene = up();
    let parts = scene.quick_parts();
    let mut answered = 0;
    for _ in 0..200 {
        answered += usize::from(scene.quick(&parts).is_some());
    }
    assert_eq!(answered, 32);
    assert_eq!(scene.installs, 0);
    scene.wait(Duration::from_secs(200));
    let third = scene.quick(&parts).expect("room again");
    scene.give(&third);
    assert_eq!((scene.installs, scene.established()), (1, true));
}

#[test]
fn wrong_hashes_and_none() {
    let mut scene = up();
    let quick = scene.quick_parts();
    let delete = vec![(
        PayloadType::V1_DELETE,
        [&[0, 0, 0, 1, 1, 16, 0, 1], &scene.spis.initiator.0[..], &scene.spis.responder.0[..]].concat(),
    )];
    for (exchange, parts) in
        [(ExchangeType::QUICK_MODE, quick.clone()), (ExchangeType::INFORMATIONAL_V1, delete.clone())]
    {
        for hash in [None, Some(vec![0; 32]), Some(vec![0; 31]), Some(vec![0; 1]), Some(vec![0; 64])] {
            for last in [false, true] {
                scene.next_id += 1;
                let mut all = parts.clone();
                if let Some(hash) = &hash {
                    all.insert(if last { all.len() } else { 0 }, (PayloadType::V1_HASH, hash.clone()));
                }
                let (bytes, _) = scene.encrypt(exchange, scene.next_id, &scene.iv2(scene.next_id), chain(&all));
                assert!(scene.give(&bytes).is_empty());
                assert!(scene.established() && scene.installs == 0);
                // The same in the clear.
                let bytes = message(scene.header(exchange, scene.next_id), chain(&all));
                assert!(scene.give(&bytes).is_empty() && scene.established());
            }
        }
    }
    // Phase 1's chain, message ID 0.
    let rest = chain(&delete).octets().to_vec();
    let hash = crypto::v1::hash1(prf(), &scene.ids.skeyid_a, 0, &rest).expose().to_vec();
    let all = [vec![(PayloadType::V1_HASH, hash)], delete.clone()].concat();
    let (bytes, _) = scene.encrypt(ExchangeType::INFORMATIONAL_V1, 0, &scene.iv.clone(), chain(&all));
    assert!(scene.give(&bytes).is_empty() && scene.established());
    // The good one, at last.
    let (_, bytes, _) = scene.first(ExchangeType::INFORMATIONAL_V1, &delete);
    scene.give(&bytes);
    assert_eq!(scene.endpoint.sizes(), (0, 0));
}

#[test]
fn signs_of_life_are_answered_once_and_stale_ones_not() {
    let mut scene = up();
    let ask = |scene: &Scene, sequence: u32| {
        let head = [0, 0, 0, 1, 1, 16, 0x8d, 0x28];
        let body = [&head[..], &scene.spis.initiator.0, &scene.spis.responder.0, &sequence.to_be_bytes()].concat();
        vec![(PayloadType::V1_NOTIFY, body)]
    };
    for (sequence, answers) in [(1000, 1), (1001, 1), (1001, 1), (1000, 0), (5, 0), (1002, 1)] {
        let (_, bytes, _) = scene.first(ExchangeType::INFORMATIONAL_V1, &ask(&scene, sequence));
        assert_eq!(scene.give(&bytes).len(), answers, "{sequence}");
        assert!(scene.give(&bytes).is_empty(), "a message ID is used once");
    }
    // A thousand of them change nothing.
    for sequence in 2000..3000 {
        let (_, bytes, _) = scene.first(ExchangeType::INFORMATIONAL_V1, &ask(&scene, sequence));
        assert_eq!(scene.give(&bytes).len(), 1);
    }
    assert!(scene.established());
}

#[test]
fn every_change_of_message_5_of_main_mode() {
    let (scene, answers) = main_mode(|_| {});
    assert!(scene.established() && answers.len() == 1, "it works when everything is right");
    let good = vec![(PayloadType::V1_ID, id_body()), (PayloadType::V1_HASH, vec![0; 32])];
    for (what, _) in changes(&good) {
        let change = |p: &mut Parts| {
            let own = changes(p).into_iter().find(|(w, _)| *w == what).unwrap().1;
            *p = own;
        };
        let (mut scene, answers) = main_mode(change);
        // What is not changed: a payload that keeps its type.
        let same = ["payload 0 of type 5", "payload 1 of type 8"].contains(&what.as_str());
        assert_eq!(scene.established(), same, "{what}");
        if !same {
            let fragment = u64::from(what == "payload 0 of type 132");
            assert_eq!(scene.drops(DropReason::IntegrityCheckFailed), 1 - fragment, "{what}");
            assert_eq!(scene.drops(DropReason::Malformed), fragment, "{what}");
            assert!(answers.len() <= 1, "{what}: the hint, once");
        }
        scene.wait(Duration::from_secs(100));
        assert_eq!(scene.endpoint.sizes(), (usize::from(same), 0), "{what}");
        assert_eq!(scene.installs, 0, "{what}");
    }
}

/// XAUTHInitPreShared (65001) in place of the pre-shared key alone.
fn phase1_with_xauth() -> Vec<u8> {
    let mut sa = PHASE1.to_vec();
    let length = sa.len();
    sa[length - 2..].copy_from_slice(&65001_u16.to_be_bytes());
    sa
}

/// Attributes: kind of message, identifier, attributes of a name or address each.
fn attributes(kind: u8, list: &[(u16, &[u8])]) -> Parts {
    let mut body = vec![kind, 0, 0, 9];
    for (class, value) in list {
        body.extend_from_slice(&class.to_be_bytes());
        body.extend_from_slice(&(value.len() as u16).to_be_bytes());
        body.extend_from_slice(value);
    }
    vec![(PayloadType::V1_ATTRIBUTES, body)]
}

/// Phase 1 is done, and the user is still to be asked: with the question as it stands on the wire.
fn before_xauth() -> (Scene, Vec<u8>) {
    let site = site().connection("aggressive = yes").connection("pools = rw");
    let text =
        site.configuration().replace("    children {", "    remote-x {\n      auth = xauth\n    }\n    children {");
    let site = site.text(&text);
    let (mut scene, mut answers) = aggressive(&site, &phase1_with_xauth(), |_| {}, |_| {}).unwrap();
    let (first, last) = ("10.3.0.1".parse().unwrap(), "10.3.0.6".parse().unwrap());
    let source = model::ConfigRef { file: "test".into(), line: 1, key: "test".into() };
    let pool = Pool { name: "rw".into(), base: first, ranges: vec![(first, last)], attributes: vec![], source };
    scene.endpoint.pools_mut().load(pool);
    assert_eq!((answers.len(), scene.established()), (1, false), "asked for name and password");
    (scene, answers.remove(0))
}

#[test]
fn before_xauth_is_over_nothing_else_is_served() {
    let (mut scene, question) = before_xauth();
    let asked = Header::parse(&question).unwrap();
    assert_eq!(asked.exchange, ExchangeType::TRANSACTION);
    // Authentic, all of it: who knows the group's key is not the user yet.
    let quick = scene.quick_parts();
    let address = attributes(1, &[(1, &[])]);
    let pushed = attributes(3, &[(1, &[10, 3, 0, 1])]);
    let verdict = attributes(3, &[(16527, &[0, 1])]);
    let forbidden =
        [(ExchangeType::QUICK_MODE, quick), (ExchangeType::TRANSACTION, address), (ExchangeType::TRANSACTION, pushed)];
    let forbidden = forbidden.into_iter().chain([(ExchangeType::TRANSACTION, verdict)]);
    for (number, (exchange, parts)) in forbidden.enumerate() {
        let (_, bytes, _) = scene.first(exchange, &parts);
        assert!(scene.give(&bytes).is_empty(), "{exchange} {number}");
        assert_eq!(scene.drops(DropReason::XauthNotDone), number as u64 + 1, "{exchange}");
        assert!(!scene.established() && scene.installs == 0);
    }
    // An answer to nothing, and one to the question with a wrong HASH.
    let reply = attributes(2, &[(16521, b"carol"), (16522, b"guess")]);
    let (_, bytes, _) = scene.first(ExchangeType::TRANSACTION, &reply);
    assert!(scene.give(&bytes).is_empty());
    assert_eq!(scene.drops(DropReason::UnexpectedResponse), 1);
    let mut plain = question[HEADER_LEN..].to_vec();
    let iv = scene.cipher().decrypt(&scene.iv2(asked.message_id), &mut plain).unwrap();
    let wrong = [vec![(PayloadType::V1_HASH, vec![0; 32])], reply.clone()].concat();
    let (bytes, _) = scene.encrypt(ExchangeType::TRANSACTION, asked.message_id, &iv, chain(&wrong));
    assert!(scene.give(&bytes).is_empty());
    assert_eq!(scene.drops(DropReason::IntegrityCheckFailed), 1);
    // The same in the clear, and our own question come back.
    let bytes = message(scene.header(ExchangeType::TRANSACTION, asked.message_id), chain(&wrong));
    assert!(scene.give(&bytes).is_empty());
    assert_eq!(scene.drops(DropReason::NotProtected), 1);
    assert!(scene.give(&question).is_empty());
    // With a good HASH: a user who has no password here is told so, and that is all.
    let rest = chain(&reply).octets().to_vec();
    let hash = crypto::v1::hash1(prf(), &scene.ids.skeyid_a, asked.message_id, &rest).expose().to_vec();
    let all = [vec![(PayloadType::V1_HASH, hash)], reply].concat();
    let (bytes, _) = scene.encrypt(ExchangeType::TRANSACTION, asked.message_id, &iv, chain(&all));
    assert_eq!(scene.give(&bytes).len(), 1, "the verdict");
    assert!(!scene.established());
    scene.wait(Duration::from_secs(300));
    assert_eq!((scene.endpoint.sizes(), scene.installs), ((0, 0), 0));
    assert_eq!(scene.endpoint.pools().leases("rw").count(), 0, "no address without a user");
}

#[test]
fn every_change_of_a_transaction_with_a_good_hash() {
    // Before XAuth: no change of any message makes an established SA of it.
    let good = attributes(1, &[(1, &[10, 3, 0, 1]), (16521, b"carol"), (16522, b"guess")]);
    let (mut scene, _) = before_xauth();
    for (what, parts) in changes(&good) {
        let before = scene.all_drops();
        let (_, bytes, _) = scene.first(ExchangeType::TRANSACTION, &parts);
        assert!(scene.give(&bytes).is_empty(), "{what}");
        assert_eq!(scene.all_drops(), before + 1, "{what}");
        assert!(!scene.established() && scene.installs == 0, "{what}");
    }
    // With the SA established: it stays, whatever is asked for, pushed or acknowledged.
    let mut scene = up();
    for kind in 0..=5 {
        for (what, parts) in changes(&attributes(kind, &[(1, &[10, 3, 0, 1]), (28676, &[1; 14])])) {
            let before = scene.all_drops();
            let (_, bytes, _) = scene.first(ExchangeType::TRANSACTION, &parts);
            let answers = scene.give(&bytes);
            assert!(answers.len() == 1 || scene.all_drops() == before + 1, "{kind} {what}");
            assert!(scene.established() && scene.installs == 0, "{kind} {what}");
        }
    }
}

#[test]
fn every_change_of_an_informational_with_a_good_hash() {
    let cookies = |scene: &Scene| [scene.spis.initiator.0, scene.spis.responder.0].concat();
    let notify = |scene: &Scene, kind: u16, data: &[u8]| {
        let kind = kind.to_be_bytes();
        (PayloadType::V1_NOTIFY, [&[0, 0, 0, 1, 1, 16, kind[0], kind[1]], &cookies(scene)[..], data].concat())
    };
    let mut scene = up();
    let parts = scene.quick_parts();
    let third = scene.quick(&parts).unwrap();
    scene.give(&third);
    assert_eq!(scene.installs, 1);
    let life = [0x80, 1, 0, 1, 0x80, 2, 0, 60, 0x80, 11, 0, 1, 0x80, 12, 0, 60];
    // A sign of life, lifetimes, a refusal of a quick mode that we do not have, words that nobody knows.
    for (kind, data) in [(36136, &[0, 0, 0, 7][..]), (24576, &life), (14, &[]), (24578, &[]), (40000, &[1; 9])] {
        let good = vec![notify(&scene, kind, data)];
        for (what, parts) in changes(&good) {
            let (_, bytes, _) = scene.first(ExchangeType::INFORMATIONAL_V1, &parts);
            let answers = scene.give(&bytes);
            assert!(answers.len() <= 1, "{kind} {what}");
            if what == "payload 0 of type 12" {
                continue;
            }
            assert!(scene.established() && scene.deletes == 0, "{kind} {what}");
        }
    }
    // A Delete of an SPI that we do not send by, in every shape; then the one that is meant.
    let delete = |spi: [u8; 4]| vec![(PayloadType::V1_DELETE, [&[0, 0, 0, 1, 3, 4, 0, 1], &spi[..]].concat())];
    for (what, parts) in changes(&delete([0x12, 0x34, 0x56, 0x79])) {
        let (_, bytes, _) = scene.first(ExchangeType::INFORMATIONAL_V1, &parts);
        assert!(scene.give(&bytes).is_empty(), "{what}");
        assert!(scene.established() && scene.deletes == 0, "{what}");
    }
    let (_, bytes, _) = scene.first(ExchangeType::INFORMATIONAL_V1, &delete([0x12, 0x34, 0x56, 0x78]));
    scene.give(&bytes);
    assert_eq!((scene.established(), scene.deletes), (true, 1));
}

#[test]
fn bad_public_values_in_quick_mode() {
    let site = site().child("esp_proposals = aes128gcm16-x25519").connection("aggressive = yes");
    let (mut scene, _) = aggressive(&site, PHASE1, |_| {}, |_| {}).unwrap();
    let mut sa = phase2(0x1234_5678);
    // One attribute more: the group.
    sa.extend_from_slice(&[0x80, 3, 0, 31]);
    for at in [11, 23] {
        sa[at] += 4;
    }
    let parts = |public: Vec<u8>| {
        let mut parts = scene_parts(sa.clone());
        parts.insert(2, (PayloadType::V1_KE, public));
        parts
    };
    let one = [&[1][..], &[0; 31]].concat();
    for public in [vec![0; 32], one, vec![0; 31], vec![0; 33], vec![0; 256]] {
        let what = format!("{public:?}");
        assert!(scene.quick(&parts(public)).is_none(), "{what}");
        assert!(scene.established() && scene.installs == 0, "{what}");
    }
    let tombstones: Vec<&str> = scene.endpoint.tombstones(scene.now).iter().map(|t| t.failure.kind.code()).collect();
    assert_eq!(tombstones, ["BAD_PUBLIC_VALUE"; 5]);
    let good = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Rng::new(9)).unwrap().public().to_vec();
    assert!(scene.quick(&parts(good)).is_some());
}

fn scene_parts(sa: Vec<u8>) -> Parts {
    vec![
        (PayloadType::V1_SA, sa),
        (PayloadType::V1_NONCE, vec![7; 16]),
        (PayloadType::V1_ID, vec![1, 0, 0, 0, 192, 0, 2, 1]),
        (PayloadType::V1_ID, vec![1, 0, 0, 0, 192, 0, 2, 2]),
    ]
}

/// What a message holds of one type.
fn of(parts: &Parts, kind: PayloadType) -> Vec<Vec<u8>> {
    parts.iter().filter(|(k, _)| *k == kind).map(|(_, body)| body.clone()).collect()
}

#[test]
fn the_responder_tells_its_lifetime_in_message_2() {
    // RFC 2407 sections 4.5.4 and 4.6.3.1. Nothing is offered, which means eight hours; ours is 3300 seconds and 2 MB.
    let site = site().connection("aggressive = yes").child("rekey_time = 3000s").child("life_bytes = 2000000");
    let (mut scene, _) = aggressive(&site, PHASE1, |_| {}, |_| {}).unwrap();
    let parts = scene.quick_parts();
    let (_, answer, _) = scene.quick_answer(&parts).unwrap();
    let sa = &of(&answer, PayloadType::V1_SA)[0];
    assert_eq!(sa[20..], phase2(0)[20..], "the transform goes back as it came");
    let notify = &of(&answer, PayloadType::V1_NOTIFY)[0];
    assert_eq!(notify[..8], [0, 0, 0, 1, 3, 4, 0x60, 0], "DOI, ESP, an SPI of 4 octets, 24576");
    assert_eq!(notify[8..12], sa[16..20], "the responder's SPI");
    let (seconds, kilobytes) = (3300_u16.to_be_bytes(), 2000_u16.to_be_bytes());
    let life = [[0x80, 1, 0, 1], [0x80, 2, seconds[0], seconds[1]]].concat();
    let volume = [[0x80, 1, 0, 2], [0x80, 2, kilobytes[0], kilobytes[1]]].concat();
    assert_eq!(notify[12..], [life, volume].concat());
    // Whoever offers no more is told nothing.
    let long = Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1").connection("aggressive = yes");
    let long = long.connection("proposals = aes128-sha256-x25519").child("rekey_time = 24h");
    let (mut scene, _) = aggressive(&long, PHASE1, |_| {}, |_| {}).unwrap();
    let (_, answer, _) = scene.quick_answer(&parts).unwrap();
    assert!(of(&answer, PayloadType::V1_NOTIFY).is_empty());
}

#[test]
fn both_ends_addresses_are_told_in_transport_mode_behind_a_nat() {
    // RFC 3947 section 5.2. The initiator calls itself 10.0.0.2.
    let site = site().connection("aggressive = yes").child("mode = transport");
    let vendor = |parts: &mut Parts| {
        parts.push((PayloadType::V1_VENDOR_ID, wire::v1::VendorId::Rfc3947.octets().to_vec()));
    };
    let detection = |parts: &mut Parts| {
        parts.extend([1, 2].map(|octet| (PayloadType::V1_NAT_D, vec![octet; 32])));
    };
    let (mut scene, _) = aggressive(&site, PHASE1, vendor, detection).unwrap();
    assert!(scene.established() && scene.endpoint.snapshots(scene.now)[0].nat.any());
    for (mode, original) in [(4, true), (3, false)] {
        let mut sa = phase2(0x1234_5678);
        let at = sa.windows(4).position(|w| w == [0x80, 4, 0, 1]).unwrap();
        sa[at + 3] = mode;
        let mut parts = scene_parts(sa);
        parts[2].1 = vec![1, 0, 0, 0, 10, 0, 0, 2];
        parts[3].1 = vec![1, 0, 0, 0, 203, 0, 113, 5];
        let Some((_, answer, _)) = scene.quick_answer(&parts) else {
            assert!(!original, "transport mode is what is configured");
            continue;
        };
        assert_eq!(of(&answer, PayloadType::V1_ID), of(&parts, PayloadType::V1_ID), "as they came");
        let told = of(&answer, PayloadType::V1_NAT_OA);
        assert_eq!(told, [vec![1, 0, 0, 0, 192, 0, 2, 1], vec![1, 0, 0, 0, 192, 0, 2, 2]], "the initiator's first");
    }
}
