//! A peer written by hand from `wire` and `crypto` alone, that does whatever a test wants: the authentic adversary, who
//! has the keys and does not keep to the protocol.

use crate::Rng;
use crypto::v2::SkKeys;
use crypto::{Cipher, KeyExchange, Prf, Protection};
use model::{ProposalProtocol, Role, TrafficSelector};
use wire::v2::{ChainBuilder, Proposal, message, parse_chain, seal_layout};
use wire::{
    AuthMethod, EncryptionId, ExchangeType, Flags, HEADER_LEN, Header, IdType, IkeSpi, KeyExchangeId, PayloadType,
    Payloads, PrfId, SpiPair, Version,
};

/// Payloads as they stand in a message: type and contents without the generic header.
pub type Parts = Vec<(PayloadType, Vec<u8>)>;

/// A message that could be read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// Its payloads, decrypted.
    pub parts: Parts,
}

impl Opened {
    /// Types of the Notify payloads.
    pub fn notifies(&self) -> Vec<u16> {
        let notify = |(kind, body): &(PayloadType, Vec<u8>)| {
            let octets = body.get(2..4).filter(|_| *kind == PayloadType::NOTIFY)?;
            Some(u16::from_be_bytes(octets.try_into().ok()?))
        };
        self.parts.iter().filter_map(notify).collect()
    }

    /// Whether there is a payload of this type.
    pub fn has(&self, kind: PayloadType) -> bool {
        self.parts.iter().any(|(k, _)| *k == kind)
    }
}

struct Keys {
    sk: SkKeys,
    inbound: Protection,
    outbound: Protection,
}

/// One end of an IKE SA with the suite aes128gcm16-prfsha256-x25519 and the ESP suite aes128gcm16.
pub struct Peer {
    role: Role,
    rng: Rng,
    spis: SpiPair,
    key_exchange: KeyExchange,
    nonce: Vec<u8>,
    other_nonce: Vec<u8>,
    first_message: Vec<u8>,
    other_first_message: Vec<u8>,
    keys: Option<Keys>,
    sealed: u64,
    /// Inbound SPI of its Child SA.
    pub esp_spi: u32,
}

const GROUP: KeyExchangeId = KeyExchangeId::CURVE_25519;

/// What the other end must allow.
pub const PROPOSALS: &str = "proposals = aes128gcm16-prfsha256-x25519";
/// What the other end must allow for ESP.
pub const ESP_PROPOSALS: &str = "esp_proposals = aes128gcm16";

impl Peer {
    /// A peer that has not said anything.
    pub fn new(role: Role, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let key_exchange = KeyExchange::generate(GROUP, &mut rng).expect("Curve25519");
        let own = IkeSpi::from(rng.number() | 1);
        let spis = match role {
            Role::Initiator => SpiPair { initiator: own, responder: IkeSpi::ZERO },
            Role::Responder => SpiPair { initiator: IkeSpi::ZERO, responder: own },
        };
        let nonce = (0..4).flat_map(|_| rng.number().to_be_bytes()).collect();
        let esp_spi = (rng.number() as u32) | 0x1000_0000;
        Self {
            role,
            rng,
            spis,
            key_exchange,
            nonce,
            other_nonce: Vec::new(),
            first_message: Vec::new(),
            other_first_message: Vec::new(),
            keys: None,
            sealed: 0,
            esp_spi,
        }
    }

    /// Both SPIs, as far as known.
    pub fn spis(&self) -> SpiPair {
        self.spis
    }

    fn header(&self, exchange: ExchangeType, message_id: u32, response: bool) -> Header {
        let initiator = if self.role == Role::Initiator { Flags::INITIATOR } else { Flags::NONE };
        let flags = initiator | if response { Flags::RESPONSE } else { Flags::NONE };
        let (spis, version) = (self.spis, Version::V2);
        Header { spis, next_payload: PayloadType::NONE, version, exchange, flags, message_id, length: 0 }
    }

    fn proposal(protocol: ProposalProtocol, spi: &[u8]) -> Proposal {
        let text = match protocol {
            ProposalProtocol::Ike => "aes128gcm16-prfsha256-x25519",
            ProposalProtocol::Esp => "aes128gcm16",
        };
        let transforms = model::Proposal::parse(protocol, text).expect("a proposal").transforms();
        Proposal { number: 1, protocol: protocol.into(), spi: spi.to_vec(), transforms }
    }

    /// The payloads of its IKE_SA_INIT message: SA, KE, Ni or Nr.
    pub fn init_parts(&self) -> Parts {
        let mut chain = ChainBuilder::new();
        chain.sa(&[Self::proposal(ProposalProtocol::Ike, &[])]);
        chain.ke(GROUP, self.key_exchange.public());
        chain.nonce(&self.nonce);
        split(chain)
    }

    /// Its IKE_SA_INIT message of these payloads, which its AUTH will cover.
    pub fn init(&mut self, parts: &Parts) -> Vec<u8> {
        let header = self.header(ExchangeType::IKE_SA_INIT, 0, self.role == Role::Responder);
        self.first_message = message(header, join(parts));
        self.first_message.clone()
    }

    /// Takes the other end's IKE_SA_INIT message and makes the keys. False if that is not possible.
    pub fn take_init(&mut self, datagram: &[u8]) -> bool {
        let Some(opened) = self.open(datagram) else { return false };
        let (mut ke, mut nonce) = (None, None);
        for (kind, body) in &opened.parts {
            match *kind {
                PayloadType::KE => ke = body.get(4..),
                PayloadType::NONCE => nonce = Some(body.clone()),
                _ => {}
            }
        }
        let (Some(ke), Some(nonce)) = (ke, nonce) else { return false };
        match self.role {
            Role::Initiator => self.spis.responder = opened.header.spis.responder,
            Role::Responder => self.spis.initiator = opened.header.spis.initiator,
        }
        let Ok(shared) = self.key_exchange.agree(ke) else { return false };
        self.other_nonce = nonce;
        self.other_first_message = datagram.to_vec();
        let prf = prf();
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).expect("AES-GCM");
        let (ni, nr) = match self.role {
            Role::Initiator => (&self.nonce, &self.other_nonce),
            Role::Responder => (&self.other_nonce, &self.nonce),
        };
        let SpiPair { initiator, responder } = self.spis;
        let sk = crypto::v2::ike_sa_keys(prf, cipher, None, &shared, ni, nr, &initiator.0, &responder.0);
        self.keep(cipher, sk);
        true
    }

    /// What its public value is.
    pub fn public(&self) -> &[u8] {
        self.key_exchange.public()
    }

    /// The request by which this one is to take the place of another IKE SA: SA, Ni, KEi.
    pub fn rekey_chain(&self) -> ChainBuilder {
        let mut chain = ChainBuilder::new();
        chain.sa(&[Self::proposal(ProposalProtocol::Ike, &self.spis.initiator.0)]);
        chain.nonce(&self.nonce);
        chain.ke(GROUP, self.key_exchange.public());
        chain
    }

    /// Takes the answer to that, and makes the keys. False if that is not possible.
    pub fn take_rekey(&mut self, old: &Self, answer: &Opened) -> bool {
        let body = |wanted| answer.parts.iter().find(|(kind, _)| *kind == wanted).map(|(_, body)| body.as_slice());
        let spi = body(PayloadType::SA).and_then(|sa| sa.get(8..16)?.try_into().ok()).map(IkeSpi);
        let ke = body(PayloadType::KE).and_then(|ke| ke.get(4..));
        let (Some(spi), Some(ke), Some(nonce)) = (spi, ke, body(PayloadType::NONCE)) else { return false };
        let (Ok(shared), Some(keys)) = (self.key_exchange.agree(ke), &old.keys) else { return false };
        self.spis.responder = spi;
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).expect("AES-GCM");
        let (own, other) = (self.spis.initiator.0, spi.0);
        let (ni, sk_d) = (&self.nonce, &keys.sk.sk_d);
        let sk = crypto::v2::rekeyed_ike_sa_keys(prf(), sk_d, prf(), cipher, None, &shared, ni, nonce, &own, &other);
        self.keep(cipher, sk);
        true
    }

    fn keep(&mut self, cipher: Cipher, sk: SkKeys) {
        let protection = |key: &wire::Secret| Protection::new(cipher, None, key.expose(), &[]).expect("a key");
        let (i, r) = (protection(&sk.sk_ei), protection(&sk.sk_er));
        let (outbound, inbound) = match self.role {
            Role::Initiator => (i, r),
            Role::Responder => (r, i),
        };
        self.keys = Some(Keys { sk, inbound, outbound });
    }

    /// The payloads of its IKE_AUTH message: ID, AUTH, SA, TSi, TSr. `own` and `other` are the selectors of the two ends.
    ///
    /// # Panics
    /// Before there are keys.
    pub fn auth_parts(&self, id: &str, psk: &[u8], own: &str, other: &str) -> Parts {
        let keys = self.keys.as_ref().expect("keys");
        let sk_p = if self.role == Role::Initiator { &keys.sk.sk_pi } else { &keys.sk.sk_pr };
        let body = [&[IdType::FQDN.0, 0, 0, 0], id.as_bytes()].concat();
        let mac = crypto::v2::id_mac(prf(), sk_p, &body);
        let signed = [self.first_message.as_slice(), &self.other_nonce, mac.expose()];
        let auth = crypto::v2::psk_auth(prf(), psk, &signed);
        let selector = |text: &str| -> wire::v2::TrafficSelector {
            text.parse::<TrafficSelector>().expect("a traffic selector").into()
        };
        let (tsi, tsr) = if self.role == Role::Initiator { (own, other) } else { (other, own) };
        let mut chain = ChainBuilder::new();
        match self.role {
            Role::Initiator => chain.id_i(IdType::FQDN, id.as_bytes()),
            Role::Responder => chain.id_r(IdType::FQDN, id.as_bytes()),
        };
        chain.auth(AuthMethod::SHARED_KEY_MIC, auth.expose());
        chain.sa(&[Self::proposal(ProposalProtocol::Esp, &self.esp_spi.to_be_bytes())]);
        chain.ts_i(&[selector(tsi)]);
        chain.ts_r(&[selector(tsr)]);
        split(chain)
    }

    /// A protected message of these payloads.
    ///
    /// # Panics
    /// Before there are keys.
    pub fn protected(&mut self, exchange: ExchangeType, message_id: u32, response: bool, parts: &Parts) -> Vec<u8> {
        self.protected_chain(exchange, message_id, response, join(parts))
    }

    /// As [`Peer::protected`], of any chain.
    ///
    /// # Panics
    /// Before there are keys.
    pub fn protected_chain(
        &mut self,
        exchange: ExchangeType,
        message_id: u32,
        response: bool,
        chain: ChainBuilder,
    ) -> Vec<u8> {
        let header = self.header(exchange, message_id, response);
        let keys = self.keys.as_ref().expect("keys");
        let (iv, block, icv) = (keys.outbound.iv_len(), keys.outbound.block_len(), keys.outbound.icv_len());
        let mut layout = seal_layout(header, chain, iv, block, icv);
        keys.outbound.seal(&mut layout.message, layout.iv_at, self.sealed, &mut self.rng);
        self.sealed += 1;
        layout.message
    }

    /// A fragment of a request (RFC 7383 section 2.5), authentic whatever its counters say: its number and the total, the
    /// type of the first payload, and the octets in it.
    ///
    /// # Panics
    /// Before there are keys.
    pub fn fragment(
        &mut self,
        exchange: ExchangeType,
        message_id: u32,
        (number, total): (u16, u16),
        next: PayloadType,
        content: &[u8],
    ) -> Vec<u8> {
        let keys = self.keys.as_ref().expect("keys");
        let sizes = (keys.outbound.iv_len(), keys.outbound.icv_len());
        let payload_len = wire::GENERIC_HEADER_LEN + 4 + sizes.0 + content.len() + 1 + sizes.1;
        let length = u32::try_from(HEADER_LEN + payload_len).expect("a datagram");
        let header = Header { next_payload: PayloadType::SKF, length, ..self.header(exchange, message_id, false) };
        let mut message = Vec::new();
        header.write(&mut message);
        message.extend_from_slice(&[next.0, 0]);
        message.extend_from_slice(&u16::try_from(payload_len).expect("a datagram").to_be_bytes());
        message.extend_from_slice(&number.to_be_bytes());
        message.extend_from_slice(&total.to_be_bytes());
        let iv_at = message.len();
        message.resize(iv_at + sizes.0, 0);
        message.extend_from_slice(content);
        message.resize(message.len() + 1 + sizes.1, 0);
        keys.outbound.seal(&mut message, iv_at, self.sealed, &mut self.rng);
        self.sealed += 1;
        message
    }

    /// Reads a message of the other end, decrypting if need be; `None` where it is not for this peer or not authentic.
    pub fn open(&self, datagram: &[u8]) -> Option<Opened> {
        let header = Header::parse(datagram).ok()?;
        // A Puzzle Solution payload may stand in front (RFC 8019 section 7.2.2).
        let front = match datagram.get(HEADER_LEN..HEADER_LEN + 4)? {
            [next, _, high, low] if header.next_payload == PayloadType::PS && *next == PayloadType::SK.0 => {
                usize::from(u16::from_be_bytes([*high, *low]))
            }
            _ => 0,
        };
        if header.next_payload != PayloadType::SK && front == 0 {
            let parts = raw(header.next_payload, datagram.get(HEADER_LEN..)?)?;
            return Some(Opened { header, parts });
        }
        let keys = self.keys.as_ref()?;
        let first = PayloadType(*datagram.get(HEADER_LEN + front)?);
        let mut message = datagram.to_vec();
        let range = keys.inbound.open(&mut message, HEADER_LEN + front + wire::GENERIC_HEADER_LEN).ok()?;
        let content = message.get(range)?;
        parse_chain(first, content, 0).ok()?;
        Some(Opened { header, parts: raw(first, content)? })
    }
}

fn prf() -> Prf {
    Prf::new(PrfId::HMAC_SHA2_256).expect("HMAC-SHA-256")
}

fn raw(first: PayloadType, chain: &[u8]) -> Option<Parts> {
    Payloads::new(first, chain, 0).map(|p| p.ok().map(|p| (p.kind, p.body.to_vec()))).collect()
}

fn split(chain: ChainBuilder) -> Parts {
    let (first, octets) = chain.finish();
    raw(first, &octets).expect("what was just written")
}

fn join(parts: &Parts) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    for (kind, body) in parts {
        chain.raw(*kind, false, body);
    }
    chain
}
