//! The keys of a node's SAs, as Wireshark's tables hold them.
//!
//! Endpoints give no keys away. But a simulation's random numbers are known: among those that a node drew is the private value
//! of the public one that it sent, and with it all keys follow.

use crate::{Happened, NodeId, Rng, Sim};
use crypto::{Cipher, Integrity, KeyExchange, Prf, Random};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use wire::{
    EncryptionId, HEADER_LEN, Header, IkeSpi, IntegrityId, KeyExchangeId, OakleyAttribute, OakleyAuthMethod,
    OakleyEncryption, OakleyHash, PrfId, Secret, SpiPair, TransformType, v1, v2,
};

/// So many numbers of each source are looked through.
const DRAWN: usize = 40_000;

/// What is in the clear of one attempt.
#[derive(Default)]
struct Attempt {
    responder: Option<IkeSpi>,
    /// Whether the node is the initiator.
    ours: bool,
    group: Option<KeyExchangeId>,
    /// Public values and nonces of initiator and responder.
    publics: [Vec<u8>; 2],
    nonces: [Vec<u8>; 2],
    v2: Option<v2::Proposal>,
    v1: Option<v1::Transform>,
}

impl Attempt {
    fn v2(&mut self, header: &Header, payloads: &[u8]) {
        let Ok(chain) = v2::parse_chain(header.next_payload, payloads, HEADER_LEN) else { return };
        let at = usize::from(header.is_response());
        if let (Some(ke), Some(nonce)) = (chain.ke(), chain.nonce()) {
            (self.publics[at], self.nonces[at]) = (ke.data.to_vec(), nonce.to_vec());
            self.group = Some(ke.method);
            if header.is_response() {
                self.v2 = chain.sa().and_then(<[v2::Proposal]>::first).cloned();
                self.responder = Some(header.spis.responder);
            }
        }
    }

    fn v1(&mut self, header: &Header, payloads: &[u8], from_initiator: bool) {
        let Ok(chain) = v1::parse_chain(header.next_payload, payloads, HEADER_LEN, true) else { return };
        let at = usize::from(!from_initiator);
        for (_, payload) in &chain.payloads {
            match payload {
                v1::Payload::Sa(sa) if !from_initiator => {
                    self.v1 = sa.proposals.first().and_then(|proposal| proposal.transforms.first()).cloned();
                    self.responder = Some(header.spis.responder);
                }
                v1::Payload::Ke(public) => self.publics[at] = public.to_vec(),
                v1::Payload::Nonce(nonce) => self.nonces[at] = nonce.to_vec(),
                _ => {}
            }
        }
        let group = self.v1.as_ref().and_then(|chosen| chosen.get(OakleyAttribute::GROUP_DESCRIPTION.0));
        self.group = group.and_then(|group| u16::try_from(group).ok()).map(KeyExchangeId);
    }

    /// g^xy, if the node's private value is among what it drew.
    fn shared(&self, private: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Secret> {
        let [i, r] = &self.publics;
        let (own, peer) = if self.ours { (i, r) } else { (r, i) };
        KeyExchange::from_private(self.group?, private.get(own)?)?.agree(peer).ok()
    }

    fn v2_line(&self, initiator: IkeSpi, shared: &Secret) -> Option<String> {
        let chosen = self.v2.as_ref()?;
        let one = |kind| chosen.transforms_of(kind).next();
        let encryption = one(TransformType::ENCR)?;
        let cipher = Cipher::new(EncryptionId(encryption.id), encryption.key_length).ok()?;
        let integrity = one(TransformType::INTEG).map(|t| IntegrityId(t.id)).filter(|id| *id != IntegrityId::NONE);
        let algorithm = integrity.map(Integrity::new).transpose().ok()?;
        let prf = Prf::new(PrfId(one(TransformType::PRF)?.id)).ok()?;
        let [ni, nr] = &self.nonces;
        let responder = self.responder?;
        let keys = crypto::v2::ike_sa_keys(prf, cipher, algorithm, shared, ni, nr, &initiator.0, &responder.0);
        let name = match EncryptionId(encryption.id) {
            EncryptionId::AES_GCM_16 => format!("AES-GCM-{} with 16 octet ICV [RFC5282]", cipher.key_bits()),
            _ => format!("AES-CBC-{} [RFC3602]", cipher.key_bits()),
        };
        let integrity = integrity.map_or("NONE [RFC4306]".to_string(), |id| format!("{id} [RFC4868]"));
        let [ei, er, ai, ar] = [&keys.sk_ei, &keys.sk_er, &keys.sk_ai, &keys.sk_ar].map(digits);
        Some(format!("{initiator},{responder},{ei},{er},\"{name}\",{ai},{ar},\"{integrity}\"\n"))
    }

    fn v1_line(&self, initiator: IkeSpi, shared: &Secret, secret: Option<&str>) -> Option<String> {
        let chosen = self.v1.as_ref()?;
        let number = |class: OakleyAttribute| chosen.get(class.0).and_then(|n| u16::try_from(n).ok());
        let hash = crypto::v1::Hash::new(OakleyHash(number(OakleyAttribute::HASH_ALGORITHM)?)).ok()?;
        let encryption = OakleyEncryption(number(OakleyAttribute::ENCRYPTION_ALGORITHM)?);
        let cipher = crypto::v1::cipher(encryption, number(OakleyAttribute::KEY_LENGTH)).ok()?;
        let method = OakleyAuthMethod(number(OakleyAttribute::AUTHENTICATION_METHOD)?);
        let ([ni, nr], prf) = (&self.nonces, hash.prf());
        let skeyid = match method {
            OakleyAuthMethod::PRE_SHARED_KEY => crypto::v1::skeyid_psk(prf, secret?.as_bytes(), ni, nr),
            _ => crypto::v1::skeyid_signature(prf, ni, nr, shared),
        };
        let keys = crypto::v1::derive(prf, skeyid, shared, initiator, self.responder?);
        let key = crypto::v1::phase1_key(prf, &keys.skeyid_e, cipher.key_len());
        Some(format!("{initiator},{}\n", digits(&key)))
    }
}

fn digits(secret: &Secret) -> String {
    secret.expose().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

impl Sim {
    /// Lines of Wireshark's decryption tables for what the node negotiated with X25519: the keys as this end computed them.
    /// SAs that replaced others are not among them.
    pub fn decryption_tables(&self, node: NodeId) -> String {
        let mut attempts: BTreeMap<(IkeSpi, u8), Attempt> = BTreeMap::new();
        for entry in self.happened(node) {
            let (datagram, sent) = match &entry.what {
                Happened::Sent(datagram) => (datagram, true),
                Happened::Received(datagram) => (datagram, false),
                _ => continue,
            };
            let Ok((header, payloads)) = Header::split(&datagram.bytes) else { continue };
            let SpiPair { initiator, responder } = header.spis;
            let attempt = attempts
                .entry((initiator, header.version.major()))
                .or_insert_with(|| Attempt { ours: sent == responder.is_zero(), ..Attempt::default() });
            match header.version.major() {
                2 => attempt.v2(&header, payloads),
                _ => attempt.v1(&header, payloads, sent == attempt.ours),
            }
        }
        let x25519 = |attempt: &Attempt| attempt.group == Some(KeyExchangeId::CURVE_25519);
        let usable =
            attempts.values().filter(|attempt| x25519(attempt) && attempt.publics.iter().all(|p| !p.is_empty()));
        let wanted: Vec<&Vec<u8>> = usable.map(|attempt| &attempt.publics[usize::from(!attempt.ours)]).collect();
        let private = self.private_values(node, &wanted);
        let mut table = String::new();
        for ((initiator, version), attempt) in &attempts {
            let Some(shared) = attempt.shared(&private) else { continue };
            let line = match version {
                2 => attempt.v2_line(*initiator, &shared),
                _ => attempt.v1_line(*initiator, &shared, self.site(node).shared()),
            };
            table.extend(line);
        }
        table
    }

    /// Private values by their public ones.
    fn private_values(&self, node: NodeId, wanted: &[&Vec<u8>]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut found = BTreeMap::new();
        for begun in self.random(node) {
            let mut numbers: Rng = begun.clone();
            for _ in 0..DRAWN {
                if found.len() >= wanted.len() {
                    return found;
                }
                let mut candidate = [0; 32];
                numbers.clone().fill(&mut candidate);
                numbers.number();
                let exchange = KeyExchange::from_private(KeyExchangeId::CURVE_25519, &candidate);
                if let Some(public) = exchange.map(|exchange| exchange.public().to_vec())
                    && wanted.contains(&&public)
                {
                    found.insert(public, candidate.to_vec());
                }
            }
        }
        found
    }
}
