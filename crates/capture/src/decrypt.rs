//! Opens the encrypted messages of one IKE SA with a key that was given, and keeps of them what is no secret.
//!
//! IKEv2 proves each message authentic (RFC 7296 section 3.14). IKEv1 does not before its HASH is checked, for which the key
//! alone does not suffice: what it yields counts if it reads as a chain of payloads that begins as RFC 2409 section 5 lets it.

use crate::keys::{V1Key, V2Keys};
use crypto::v1::{Cipher, Hash};
use model::{Identity, NOTIFY_DATA, ObservedInside, ObservedNotify, Role, TrafficSelector};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{
    AuthMethod, ExchangeType, HEADER_LEN, Header, OakleyAttribute, OakleyEncryption, OakleyHash, PayloadType,
    V1ConfigAttribute, V1IdType, v1, v2,
};

/// Message IDs whose IV chains are kept.
const MAX_CHAINS: usize = 64;
/// Messages in fragments at one time, and what is kept of each.
const MAX_PARTIAL: usize = 4;
const MAX_FRAGMENTS: u16 = 256;
const MAX_OCTETS: usize = 1 << 16;

/// Why a key opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// What comes out makes no sense: another key, or other algorithms.
    WrongKey,
    /// IKEv1: messages 1 to 4, which say algorithms and the first IV, are not in the capture.
    NoBeginning,
    /// IKEv1: the key is not as long as the algorithm that was agreed upon needs: octets expected.
    Length(usize),
    /// IKEv1: the algorithm that was agreed upon is not known here.
    Algorithm,
}

/// What a key made of a message.
pub(crate) type Opened = Result<Option<ObservedInside>, Unopened>;

/// A message of IKEv2 in the making.
struct Partial {
    of: (Role, ExchangeType, u32, bool),
    first: PayloadType,
    parts: BTreeMap<u16, Vec<u8>>,
    total: u16,
}

/// The keys of an IKEv2 SA.
pub(crate) struct V2 {
    keys: V2Keys,
    partial: Vec<Partial>,
}

impl V2 {
    pub fn new(keys: V2Keys) -> Self {
        Self { keys, partial: Vec::new() }
    }

    pub fn line(&self) -> usize {
        self.keys.line
    }

    /// What the message says; `None` while fragments of it are missing.
    pub fn open(&mut self, header: &Header, sender: Role, octets: &[u8]) -> Opened {
        let payloads = octets.get(HEADER_LEN..).ok_or(Unopened::WrongKey)?;
        let chain = v2::parse_chain(header.next_payload, payloads, HEADER_LEN).map_err(|_| Unopened::WrongKey)?;
        let (next, offset, fragment) = match chain.encrypted() {
            Some(v2::Payload::Encrypted { next, offset, .. }) => (*next, *offset, None),
            Some(v2::Payload::EncryptedFragment { next, number, total, offset, .. }) => {
                (*next, *offset, Some((*number, *total)))
            }
            _ => return Ok(None),
        };
        let mut message = octets.to_vec();
        let keys = match sender {
            Role::Initiator => &self.keys.initiator,
            Role::Responder => &self.keys.responder,
        };
        let content = keys.open(&mut message, offset).ok().and_then(|range| message.get(range));
        let content = content.ok_or(Unopened::WrongKey)?;
        let Some((number, total)) = fragment else { return inside_v2(next, content).map(Some) };
        let of = (sender, header.exchange, header.message_id, header.is_response());
        let Some((first, whole)) = self.fragment(of, (number, total), next, content) else { return Ok(None) };
        inside_v2(first, &whole).map(Some)
    }

    /// Keeps a fragment (RFC 7383 section 2.6), which is authentic. The whole, if it was the last one missing.
    fn fragment(
        &mut self,
        of: (Role, ExchangeType, u32, bool),
        (number, total): (u16, u16),
        next: PayloadType,
        content: &[u8],
    ) -> Option<(PayloadType, Vec<u8>)> {
        if total > MAX_FRAGMENTS {
            return None;
        }
        self.partial.retain(|partial| partial.of != of || partial.total >= total);
        let at = match self.partial.iter().position(|partial| partial.of == of) {
            Some(at) => at,
            None => {
                if self.partial.len() >= MAX_PARTIAL {
                    self.partial.remove(0);
                }
                self.partial.push(Partial { of, first: PayloadType::NONE, parts: BTreeMap::new(), total });
                self.partial.len() - 1
            }
        };
        let partial = self.partial.get_mut(at).filter(|partial| partial.total == total)?;
        if partial.parts.values().map(Vec::len).sum::<usize>() + content.len() > MAX_OCTETS {
            return None;
        }
        if number == 1 {
            partial.first = next;
        }
        partial.parts.insert(number, content.to_vec());
        (partial.parts.len() == usize::from(total)).then(|| {
            let whole = self.partial.remove(at);
            (whole.first, whole.parts.into_values().flatten().collect())
        })
    }
}

/// The key of a phase 1, and what its clear messages say of how it is used.
pub(crate) struct V1 {
    key: V1Key,
    suite: Option<(OakleyEncryption, Option<u16>, OakleyHash)>,
    /// g^xi and g^xr.
    publics: [Option<Vec<u8>>; 2],
    ready: Option<Result<Ready, Unopened>>,
}

struct Ready {
    cipher: Cipher,
    hash: Hash,
    /// Where phase 1 is: the last block of each of its encrypted messages, newest first; the first IV is the last one. An end
    /// that did not take message 5 begins its report from an older one.
    phase1: Vec<Vec<u8>>,
    chains: BTreeMap<u32, Vec<u8>>,
}

impl V1 {
    pub fn new(key: V1Key) -> Self {
        Self { key, suite: None, publics: [None, None], ready: None }
    }

    pub fn line(&self) -> usize {
        self.key.line
    }

    /// Takes what messages in the clear say.
    pub fn learn(&mut self, sender: Role, chain: &v1::Chain<'_>) {
        if self.ready.is_some() {
            return;
        }
        for (_, payload) in &chain.payloads {
            match payload {
                // The responder's has the one transform that it chose (RFC 2408 section 4.2).
                v1::Payload::Sa(sa) => {
                    let mut transforms = sa.proposals.iter().flat_map(|proposal| &proposal.transforms);
                    let first = transforms.next();
                    if let Some(chosen) = first.filter(|_| sender == Role::Responder || transforms.next().is_none()) {
                        let number =
                            |class: OakleyAttribute| chosen.get(class.0).and_then(|value| u16::try_from(value).ok());
                        let encryption = number(OakleyAttribute::ENCRYPTION_ALGORITHM).unwrap_or(0);
                        let hash = number(OakleyAttribute::HASH_ALGORITHM).unwrap_or(0);
                        let bits = number(OakleyAttribute::KEY_LENGTH);
                        self.suite = Some((OakleyEncryption(encryption), bits, OakleyHash(hash)));
                    }
                }
                v1::Payload::Ke(public) => {
                    let [i, r] = &mut self.publics;
                    let place = if sender == Role::Initiator { i } else { r };
                    *place = Some(public.to_vec());
                }
                _ => {}
            }
        }
    }

    fn prepare(&self) -> Result<Ready, Unopened> {
        let (Some((encryption, bits, hash)), [Some(i), Some(r)]) = (self.suite, &self.publics) else {
            return Err(Unopened::NoBeginning);
        };
        let algorithm = crypto::v1::cipher(encryption, bits).map_err(|_| Unopened::Algorithm)?;
        let hash = Hash::new(hash).map_err(|_| Unopened::Algorithm)?;
        let key = self.key.key.expose();
        if key.len() != algorithm.key_len() {
            return Err(Unopened::Length(algorithm.key_len()));
        }
        let cipher = Cipher::new(algorithm, key).map_err(|_| Unopened::WrongKey)?;
        let iv = crypto::v1::phase1_iv(hash, i, r, cipher.block_len());
        Ok(Ready { cipher, hash, phase1: vec![iv], chains: BTreeMap::new() })
    }

    /// What the message says.
    pub fn open(&mut self, header: &Header, sender: Role, octets: &[u8]) -> Opened {
        if self.ready.is_none() {
            self.ready = Some(self.prepare());
        }
        match &mut self.ready {
            Some(Ok(ready)) => ready.open(header, sender, octets),
            Some(Err(why)) => Err(*why),
            None => Err(Unopened::NoBeginning),
        }
    }
}

impl Ready {
    fn open(&mut self, header: &Header, sender: Role, octets: &[u8]) -> Opened {
        let content = octets.get(HEADER_LEN..).ok_or(Unopened::WrongKey)?;
        let (id, block) = (header.message_id, self.cipher.block_len());
        let mut ivs: Vec<Vec<u8>> = self.chains.get(&id).cloned().into_iter().collect();
        let begins = |iv: &Vec<u8>| match id {
            0 => iv.clone(),
            _ => crypto::v1::phase2_iv(self.hash, iv, id, block),
        };
        ivs.extend(self.phase1.iter().map(begins));
        for iv in ivs {
            let mut plain = content.to_vec();
            let Ok(next) = self.cipher.decrypt(&iv, &mut plain) else { return Err(Unopened::WrongKey) };
            let first = header.next_payload;
            let Ok(chain) = v1::parse_chain(first, &plain, 0, true) else { continue };
            if !self.plausible(&chain, header.exchange, id) {
                continue;
            }
            let inside = inside_v1(&chain, header.exchange, sender);
            if id == 0 {
                self.phase1.insert(0, next);
                self.phase1.truncate(4);
            } else {
                if self.chains.len() >= MAX_CHAINS && !self.chains.contains_key(&id) {
                    self.chains.pop_first();
                }
                self.chains.insert(id, next);
            }
            return Ok(Some(inside));
        }
        Err(Unopened::WrongKey)
    }

    /// Whether decrypted payloads look like what was encrypted: RFC 2409 section 5 begins main mode's last messages with an
    /// identity, and all of phase 2 with a HASH of known length.
    fn plausible(&self, chain: &v1::Chain<'_>, exchange: ExchangeType, id: u32) -> bool {
        if chain.reserved || chain.padding >= 256 {
            return false;
        }
        // A report before phase 1 is done has no HASH yet (RFC 2409 section 5.7).
        let report = id != 0 && exchange == ExchangeType::INFORMATIONAL_V1 && chain.padding < self.cipher.block_len();
        let hashed = |payload: &v1::Payload<'_>| match payload {
            v1::Payload::Hash(octets) => octets.len() == self.hash.output_len(),
            _ => false,
        };
        match (id, chain.payloads.first().map(|(_, payload)| payload)) {
            (0, Some(v1::Payload::Id(_) | v1::Payload::Sig(_) | v1::Payload::Cert { .. })) => true,
            (_, Some(v1::Payload::Notify(_) | v1::Payload::Delete(_))) => report,
            (_, Some(first)) => hashed(first),
            _ => false,
        }
    }
}

fn notify(kind: u16, data: &[u8]) -> ObservedNotify {
    ObservedNotify { kind, data: data.get(..NOTIFY_DATA.min(data.len())).unwrap_or_default().to_vec() }
}

/// What is authentic and makes no sense was decrypted with a wrong key: SK_a fits, SK_e does not.
fn inside_v2(first: PayloadType, content: &[u8]) -> Result<ObservedInside, Unopened> {
    let chain = v2::parse_chain(first, content, 0).map_err(|_| Unopened::WrongKey)?;
    let mut inside = ObservedInside::default();
    for (_, payload) in &chain.payloads {
        match payload {
            v2::Payload::Notify(it) => inside.notifies.push(notify(it.kind.0, it.data)),
            v2::Payload::IdI(id) => inside.idi = Some(Identity::from_wire(id.kind.0, id.data)),
            v2::Payload::IdR(id) => inside.idr = Some(Identity::from_wire(id.kind.0, id.data)),
            v2::Payload::Auth { method, .. } => inside.auth = Some(*method),
            v2::Payload::Cert { .. } => inside.certificates += 1,
            v2::Payload::Eap(_) => inside.user = true,
            v2::Payload::Sa(proposals) => inside.proposals.clone_from(proposals),
            v2::Payload::TsI(selectors) => inside.tsi = selectors.iter().copied().map(Into::into).collect(),
            v2::Payload::TsR(selectors) => inside.tsr = selectors.iter().copied().map(Into::into).collect(),
            v2::Payload::Ke(ke) => inside.key_exchange = Some(ke.method.0),
            v2::Payload::Delete(delete) => inside.deletes.push(delete.protocol),
            _ => {}
        }
    }
    Ok(inside)
}

fn inside_v1(chain: &v1::Chain<'_>, exchange: ExchangeType, sender: Role) -> ObservedInside {
    let mut inside = ObservedInside::default();
    let quick = exchange == ExchangeType::QUICK_MODE;
    let phase1 = matches!(exchange, ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE);
    let mut networks = Vec::new();
    for (_, payload) in &chain.payloads {
        match payload {
            v1::Payload::Notify(it) => inside.notifies.push(notify(it.kind.0, it.data)),
            v1::Payload::Id(id) if quick => networks.extend(selector(*id)),
            v1::Payload::Id(id) => {
                let whose = if sender == Role::Initiator { &mut inside.idi } else { &mut inside.idr };
                *whose = Some(Identity::from_wire(id.kind.0, id.data));
            }
            v1::Payload::Hash(_) if phase1 => inside.auth = Some(AuthMethod::SHARED_KEY_MIC),
            v1::Payload::Sig(_) => inside.auth = Some(AuthMethod::DIGITAL_SIGNATURE),
            v1::Payload::Cert { .. } => inside.certificates += 1,
            v1::Payload::Sa(sa) => inside.v1_proposals.clone_from(&sa.proposals),
            v1::Payload::Ke(_) => inside.key_exchange = Some(0),
            v1::Payload::Delete(delete) => inside.deletes.push(delete.protocol),
            v1::Payload::Attributes(attributes) => {
                let xauth = V1ConfigAttribute::XAUTH_TYPE.0..=V1ConfigAttribute::XAUTH_ANSWER.0;
                inside.user |= attributes.attributes.iter().any(|attribute| xauth.contains(&attribute.kind));
                if let Some(status) = attributes.get(V1ConfigAttribute::XAUTH_STATUS.0) {
                    inside.user_passed = Some(status.number() == Some(1));
                }
            }
            _ => {}
        }
    }
    // RFC 2409 section 5.5: IDci, then IDcr.
    let mut networks = networks.into_iter();
    inside.tsi.extend(networks.next());
    inside.tsr.extend(networks.next());
    inside
}

/// The addresses of an identity of quick mode (RFC 2407 section 4.6.2). `None` for what is no address.
fn selector(id: v1::Id<'_>) -> Option<TrafficSelector> {
    let v4 = |octets: &[u8]| octets.first_chunk::<4>().map(|a| IpAddr::from(Ipv4Addr::from(*a)));
    let v6 = |octets: &[u8]| octets.first_chunk::<16>().map(|a| IpAddr::from(Ipv6Addr::from(*a)));
    let halves = |each: usize| (id.data.len() == 2 * each).then(|| id.data.split_at_checked(each)).flatten();
    let mut found = match id.kind {
        V1IdType::IPV4_ADDR => TrafficSelector::host(v4(id.data)?),
        V1IdType::IPV6_ADDR => TrafficSelector::host(v6(id.data)?),
        V1IdType::IPV4_ADDR_SUBNET => {
            let (address, mask) = halves(4)?;
            let prefix = u32::from_be_bytes(*mask.first_chunk()?).leading_ones();
            TrafficSelector::subnet(v4(address)?, u8::try_from(prefix).ok()?)?
        }
        V1IdType::IPV6_ADDR_SUBNET => {
            let (address, mask) = halves(16)?;
            let prefix = u128::from_be_bytes(*mask.first_chunk()?).leading_ones();
            TrafficSelector::subnet(v6(address)?, u8::try_from(prefix).ok()?)?
        }
        V1IdType::IPV4_ADDR_RANGE => {
            let (start, end) = halves(4)?;
            TrafficSelector { start: v4(start)?, end: v4(end)?, ..TrafficSelector::any(false) }
        }
        V1IdType::IPV6_ADDR_RANGE => {
            let (start, end) = halves(16)?;
            TrafficSelector { start: v6(start)?, end: v6(end)?, ..TrafficSelector::any(true) }
        }
        _ => return None,
    };
    found.protocol = id.protocol;
    if id.port != 0 {
        (found.start_port, found.end_port) = (id.port, id.port);
    }
    Some(found)
}
