//! Suites as IKEv1 writes them: whole transforms, one combination each (RFC 2408 section 3.6, RFC 2409 appendix A,
//! RFC 2407 section 4).
//!
//! The choice itself is the one of IKEv2 ([`model::select`]): a transform of version 1 is a proposal of version 2 with one
//! algorithm of each type, so that both versions prefer and report alike.

use crate::child::Lifetime;
use model::dataplane::Mode;
use model::ikev1::{ESP_AUTHENTICATION, OAKLEY_ENCRYPTION, OAKLEY_HASH, esp_encryption, esp_transform};
use model::{ChosenSuite, Mismatch, Proposal, select};
use std::time::Duration;
use wire::attributes::{Attributes, DataAttribute};
use wire::registry::{EsnId, IntegrityId, KeyExchangeId, TransformType};
use wire::v1::{AttributeValue, NatTraversal, Proposal as WireProposal, Sa, Transform};
use wire::{IpsecAttribute, OakleyAttribute, ProtocolId, v2};

/// KEY_IKE (RFC 2407 section 4.4.2).
const KEY_IKE: u8 = 1;
const SECONDS: u16 = 1;
const KILOBYTES: u16 = 2;

/// Octets of a kilobyte. RFC 2407 section 4.5 does not say whether it is 1000 or 1024: with the former an SA ends no later
/// than the peer believes.
const KILOBYTE: u64 = 1000;

/// The lifetime of a phase 2 offer that names none (RFC 2407 section 4.5).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(28_800);

/// The Oakley hash of a suite.
pub(super) fn hash_of(suite: &ChosenSuite) -> Option<u16> {
    OAKLEY_HASH.iter().find(|(_, _, prf)| Some(*prf) == suite.prf).map(|(hash, ..)| *hash)
}

fn short(class: u16, value: u16) -> (u16, AttributeValue) {
    (class, AttributeValue::Short(value))
}

fn duration(class: u16, seconds: u64) -> (u16, AttributeValue) {
    (class, AttributeValue::of(seconds))
}

/// What lifetimes a list of attributes names, the shortest of each unit; the classes are those of the phase. Zero is none.
fn lifetime_of(t: &Transform, type_class: u16, duration_class: u16) -> Lifetime {
    let mut all = Lifetime::default();
    for (unit, amount) in t.lifetimes(type_class, duration_class).filter(|(_, amount)| *amount != 0) {
        // Units that nobody knows are not ours to obey.
        all = all.shorter(match u16::try_from(unit) {
            Ok(SECONDS) => Lifetime { time: Some(Duration::from_secs(amount.min(u32::MAX.into()))), octets: None },
            Ok(KILOBYTES) => Lifetime { time: None, octets: Some(amount.saturating_mul(KILOBYTE)) },
            _ => Lifetime::default(),
        });
    }
    all
}

/// The attributes that name a lifetime.
fn lifetime_attributes(l: Lifetime, type_class: u16, duration_class: u16) -> Vec<(u16, AttributeValue)> {
    let time = l.time.map(|time| (SECONDS, time.as_secs()));
    let volume = l.octets.map(|octets| (KILOBYTES, octets.div_ceil(KILOBYTE)));
    let both = time.into_iter().chain(volume).filter(|(_, amount)| *amount != 0);
    both.flat_map(|(unit, amount)| [short(type_class, unit), duration(duration_class, amount)]).collect()
}

/// The data of RESPONDER-LIFETIME (RFC 2407 section 4.6.3.1), under the ISAKMP SA or a phase 2 one.
pub(super) fn lifetime_data(l: Lifetime, protocol: ProtocolId) -> Vec<u8> {
    let (type_class, duration_class) = match protocol {
        ProtocolId::IKE => (OakleyAttribute::LIFE_TYPE.0, OakleyAttribute::LIFE_DURATION.0),
        _ => (IpsecAttribute::SA_LIFE_TYPE.0, IpsecAttribute::SA_LIFE_DURATION.0),
    };
    let mut data = Vec::new();
    for (class, value) in lifetime_attributes(l, type_class, duration_class) {
        let value = match &value {
            AttributeValue::Short(value) => wire::attributes::AttributeValue::Short(*value),
            AttributeValue::Long(octets) => wire::attributes::AttributeValue::Long(octets),
        };
        DataAttribute { kind: class, value }.write(&mut data);
    }
    data
}

/// The reverse; nothing where the list is cut off. Under an ISAKMP SA some peers number the classes as in phase 2.
pub(super) fn lifetime_in(data: &[u8]) -> Lifetime {
    let list: Result<Vec<_>, _> = Attributes::new(data, 0).map(|a| a.map(|a| (a.kind, a.value.into()))).collect();
    let Ok(attributes) = list else { return Lifetime::default() };
    let list = Transform { number: 0, id: 0, attributes };
    let ipsec = lifetime_of(&list, IpsecAttribute::SA_LIFE_TYPE.0, IpsecAttribute::SA_LIFE_DURATION.0);
    ipsec.shorter(lifetime_of(&list, OakleyAttribute::LIFE_TYPE.0, OakleyAttribute::LIFE_DURATION.0))
}

// ------------------------------------------------------------------------------------------------------------ phase 1

/// Our phase 1 proposals as one SA payload: every combination that IKEv1 can write, in our order.
pub(super) fn phase1_offer(proposals: &[Proposal], lifetime: u64, method: u16) -> Sa {
    let mut transforms = Vec::new();
    for p in proposals {
        for encryption in &p.encryption {
            for prf in &p.prf {
                for group in &p.key_exchange {
                    let known = OAKLEY_ENCRYPTION.iter().find(|(id, _)| *id == encryption.id);
                    let hash = OAKLEY_HASH.iter().find(|(_, integrity, f)| f == prf && p.integrity.contains(integrity));
                    let (Some((_, oakley)), Some((hash, ..))) = (known, hash) else { continue };
                    let mut attributes = vec![short(OakleyAttribute::ENCRYPTION_ALGORITHM.0, oakley.0)];
                    if let Some(bits) = encryption.key_length {
                        attributes.push(short(OakleyAttribute::KEY_LENGTH.0, bits));
                    }
                    attributes.push(short(OakleyAttribute::HASH_ALGORITHM.0, *hash));
                    attributes.push(short(OakleyAttribute::GROUP_DESCRIPTION.0, group.0));
                    attributes.push(short(OakleyAttribute::AUTHENTICATION_METHOD.0, method));
                    if lifetime > 0 {
                        attributes.push(short(OakleyAttribute::LIFE_TYPE.0, SECONDS));
                        attributes.push(duration(OakleyAttribute::LIFE_DURATION.0, lifetime));
                    }
                    transforms.push(attributes);
                }
            }
        }
    }
    let transforms = numbered(transforms, KEY_IKE);
    Sa::new(vec![WireProposal::isakmp(1, transforms)])
}

/// The lifetime that the chosen transform of phase 1 names.
pub(super) fn phase1_lifetime(answer: &Sa) -> Lifetime {
    let chosen = answer.proposals.first().and_then(|p| p.transforms.first());
    chosen.map(|t| lifetime_of(t, OakleyAttribute::LIFE_TYPE.0, OakleyAttribute::LIFE_DURATION.0)).unwrap_or_default()
}

fn numbered(transforms: Vec<Vec<(u16, AttributeValue)>>, id: u8) -> Vec<Transform> {
    transforms.into_iter().zip(1..=u8::MAX).map(|(attributes, number)| Transform { number, id, attributes }).collect()
}

/// A phase 1 transform as IKEv2 would write it.
fn phase1_as_v2(t: &Transform) -> v2::Proposal {
    let value = |class: u16| t.get(class).and_then(|v| u16::try_from(v).ok());
    let mut transforms = Vec::new();
    if let Some(encryption) = value(OakleyAttribute::ENCRYPTION_ALGORITHM.0) {
        let known = OAKLEY_ENCRYPTION.iter().find(|(_, v)| v.0 == encryption).map(|(id, _)| id.0);
        transforms.push(v2::Transform {
            kind: TransformType::ENCR,
            // Numbers of IKEv1 that IKEv2 has no name for stay out of the way of those it has.
            id: known.unwrap_or(0x8000 | encryption),
            key_length: value(OakleyAttribute::KEY_LENGTH.0),
            unknown_attribute: false,
        });
    }
    if let Some(hash) = value(OakleyAttribute::HASH_ALGORITHM.0) {
        let known = OAKLEY_HASH.iter().find(|(v, ..)| *v == hash);
        transforms.push(v2::Transform::new(TransformType::INTEG, known.map_or(0x8000 | hash, |(_, i, _)| i.0)));
        transforms.push(v2::Transform::new(TransformType::PRF, known.map_or(0x8000 | hash, |(.., f)| f.0)));
    }
    transforms.push(v2::Transform::new(TransformType::KE, value(OakleyAttribute::GROUP_DESCRIPTION.0).unwrap_or(0)));
    v2::Proposal { number: t.number, protocol: ProtocolId::IKE, spi: Vec::new(), transforms }
}

/// The authentication methods that a phase 1 offer names.
pub(super) fn auth_methods(sa: &Sa) -> Vec<u16> {
    let all = sa.proposals.iter().flat_map(|p| &p.transforms);
    all.filter_map(|t| t.get(OakleyAttribute::AUTHENTICATION_METHOD.0).and_then(|v| u16::try_from(v).ok())).collect()
}

/// Chooses among what the peer offers. The answer is its SA payload with the chosen transform alone, as it was sent
/// (RFC 2408 section 4.2: the responder must not change attributes).
pub(super) fn phase1_choose(ours: &[Proposal], offered: &Sa, method: u16) -> Result<(Sa, ChosenSuite), Mismatch> {
    let with_method = |t: &&Transform| t.get(OakleyAttribute::AUTHENTICATION_METHOD.0) == Some(u64::from(method));
    let mut closest = Mismatch { differing: Vec::new() };
    for proposal in offered.proposals.iter().filter(|p| p.protocol == ProtocolId::IKE) {
        let usable: Vec<&Transform> = proposal.transforms.iter().filter(with_method).collect();
        let as_v2: Vec<v2::Proposal> = usable.iter().map(|t| phase1_as_v2(t)).collect();
        match select(ours, &as_v2) {
            Ok((number, suite)) => {
                let Some(chosen) = usable.iter().find(|t| t.number == number) else { continue };
                let answer = WireProposal { transforms: vec![(*chosen).clone()], ..proposal.clone() };
                return Ok((Sa { proposals: vec![answer], ..offered.clone() }, suite));
            }
            Err(mismatch) => closest = mismatch,
        }
    }
    Err(closest)
}

// ------------------------------------------------------------------------------------------------------------ phase 2

/// How packets are wrapped, in numbers of RFC 2407 and RFC 3947.
fn mode_value(mode: Mode, encapsulated: Option<NatTraversal>) -> u16 {
    match (mode, encapsulated) {
        (Mode::Tunnel, None) => 1,
        (Mode::Transport, None) => 2,
        (Mode::Tunnel, Some(variant)) => variant.tunnel().0,
        (Mode::Transport, Some(variant)) => variant.transport().0,
    }
}

/// Our phase 2 proposals as an SA payload: those that allow this group, or that want none, for there is one KE payload
/// (RFC 2409 section 5.5).
pub(super) fn phase2_offer(
    proposals: &[Proposal],
    group: Option<KeyExchangeId>,
    spi: u32,
    mode: Mode,
    encapsulated: Option<NatTraversal>,
    lifetime: Lifetime,
) -> Sa {
    let mut list: Vec<WireProposal> = Vec::new();
    let allows = |p: &&Proposal| match group {
        Some(group) => p.key_exchange.contains(&group),
        None => p.key_exchange.iter().all(|group| *group == KeyExchangeId::NONE),
    };
    for p in proposals.iter().filter(allows) {
        for encryption in &p.encryption {
            let integrity: Vec<Option<IntegrityId>> =
                if encryption.is_aead() { vec![None] } else { p.integrity.iter().map(|i| Some(*i)).collect() };
            for integrity in integrity {
                let auth = integrity.map(|i| ESP_AUTHENTICATION.iter().find(|(_, id)| *id == i).map(|(v, _)| *v));
                let Some(id) = esp_transform(encryption.id).filter(|_| auth != Some(None)) else { continue };
                let mut attributes = vec![short(IpsecAttribute::ENCAPSULATION_MODE.0, mode_value(mode, encapsulated))];
                if let Some(bits) = encryption.key_length {
                    attributes.push(short(IpsecAttribute::KEY_LENGTH.0, bits));
                }
                if let Some(Some(auth)) = auth {
                    attributes.push(short(IpsecAttribute::AUTHENTICATION_ALGORITHM.0, auth));
                }
                if let Some(group) = group {
                    attributes.push(short(IpsecAttribute::GROUP_DESCRIPTION.0, group.0));
                }
                if p.esn.first() == Some(&EsnId::EXT_SEQ) {
                    attributes.push(short(IpsecAttribute::EXTENDED_SEQUENCE_NUMBER.0, 1));
                }
                attributes.extend(phase2_lifetime(lifetime));
                let transform = Transform { number: 1, id, attributes };
                // Transforms of one proposal differ in their attributes only by choice: one proposal holds them all.
                match list.first_mut() {
                    Some(first) => {
                        let number = u8::try_from(first.transforms.len() + 1).unwrap_or(u8::MAX);
                        first.transforms.push(Transform { number, ..transform });
                    }
                    None => list.push(WireProposal {
                        number: 1,
                        protocol: ProtocolId::ESP,
                        spi: spi.to_be_bytes().to_vec(),
                        transforms: vec![transform],
                    }),
                }
            }
        }
    }
    Sa::new(list)
}

fn phase2_lifetime(l: Lifetime) -> Vec<(u16, AttributeValue)> {
    lifetime_attributes(l, IpsecAttribute::SA_LIFE_TYPE.0, IpsecAttribute::SA_LIFE_DURATION.0)
}

/// How long we let a child live.
pub(super) fn lifetime_of_child(child: &config::Child) -> Lifetime {
    let time = Some(child.life_time).filter(|time| !time.is_zero());
    Lifetime { time, octets: Some(child.life_bytes).filter(|octets| *octets != 0) }
}

/// What of our lifetime an initiator must be told, because it offered a longer one (RFC 2407 section 4.5.4).
pub(super) fn shorter_than_offered(ours: Lifetime, offered: Lifetime) -> Option<Lifetime> {
    // As the initiator reads it, so that a rounded number is not told for its rounding.
    let read = |octets: u64| octets.div_ceil(KILOBYTE);
    let time = ours.time.filter(|ours| offered.time.is_none_or(|offered| *ours < offered));
    let octets = ours.octets.filter(|ours| offered.octets.is_none_or(|offered| read(*ours) < read(offered)));
    (time.is_some() || octets.is_some()).then_some(Lifetime { time, octets })
}

fn phase2_as_v2(t: &Transform) -> v2::Proposal {
    let value = |class: u16| t.get(class).and_then(|v| u16::try_from(v).ok());
    let encryption = v2::Transform {
        kind: TransformType::ENCR,
        id: esp_encryption(t.id),
        key_length: value(IpsecAttribute::KEY_LENGTH.0),
        unknown_attribute: false,
    };
    let mut transforms = vec![encryption];
    if let Some(auth) = value(IpsecAttribute::AUTHENTICATION_ALGORITHM.0) {
        let known = ESP_AUTHENTICATION.iter().find(|(v, _)| *v == auth).map(|(_, id)| id.0);
        transforms.push(v2::Transform::new(TransformType::INTEG, known.unwrap_or(0x8000 | auth)));
    }
    if let Some(group) = value(IpsecAttribute::GROUP_DESCRIPTION.0) {
        transforms.push(v2::Transform::new(TransformType::KE, group));
    }
    transforms
        .push(v2::Transform::new(TransformType::ESN, value(IpsecAttribute::EXTENDED_SEQUENCE_NUMBER.0).unwrap_or(0)));
    v2::Proposal { number: t.number, protocol: ProtocolId::ESP, spi: Vec::new(), transforms }
}

/// What was chosen in phase 2.
#[derive(Clone, Debug)]
pub(super) struct Phase2Choice {
    /// The answer's SA payload, with the peer's SPI still in it.
    pub answer: Sa,
    pub suite: ChosenSuite,
    /// The peer's SPI: by it we send.
    pub spi: u32,
    pub encapsulated: bool,
    pub mode: Mode,
    /// The lifetime that the chosen transform names.
    pub lifetime: Lifetime,
}

impl Phase2Choice {
    /// The lifetime that an initiator offers: where it names none, the default (RFC 2407 section 4.5).
    pub fn offered_lifetime(&self) -> Lifetime {
        match self.lifetime {
            Lifetime { time: None, octets: None } => Lifetime { time: Some(DEFAULT_LIFETIME), octets: None },
            named => named,
        }
    }
}

/// Why no phase 2 transform can be used.
pub(super) enum Phase2Mismatch {
    Algorithms(Mismatch),
    /// Tunnel against transport mode: ours, theirs.
    Mode(Mode, u16),
}

/// Chooses among what the peer offers. `group`: whether a KE payload came with it.
pub(super) fn phase2_choose(
    ours: &[Proposal],
    offered: &Sa,
    mode: Mode,
    with_key_exchange: bool,
) -> Result<Phase2Choice, Phase2Mismatch> {
    // A peer that offers no group where we want one, or the reverse, differs in the key exchange: both see it named.
    let ours: Vec<Proposal> = ours.to_vec();
    let mut closest: Option<Phase2Mismatch> = None;
    for proposal in offered.proposals.iter().filter(|p| p.protocol == ProtocolId::ESP) {
        let Some(spi) = proposal.spi.first_chunk::<4>().filter(|_| proposal.spi.len() == 4) else { continue };
        let mode_of = |t: &Transform| {
            t.get(IpsecAttribute::ENCAPSULATION_MODE.0).and_then(|v| u16::try_from(v).ok()).unwrap_or(1)
        };
        let fits = |t: &&Transform| match mode {
            Mode::Tunnel => matches!(mode_of(t), 1 | 3 | 61443),
            Mode::Transport => matches!(mode_of(t), 2 | 4 | 61444),
        };
        let usable: Vec<&Transform> = proposal.transforms.iter().filter(fits).collect();
        if usable.is_empty() {
            let theirs = proposal.transforms.first().map_or(0, mode_of);
            closest.get_or_insert(Phase2Mismatch::Mode(mode, theirs));
            continue;
        }
        let mut as_v2: Vec<v2::Proposal> = usable.iter().map(|t| phase2_as_v2(t)).collect();
        if !with_key_exchange {
            // A group without its KE payload cannot be used.
            as_v2.iter_mut().for_each(|p| p.transforms.retain(|t| t.kind != TransformType::KE));
        }
        match select(&ours, &as_v2) {
            Ok((number, suite)) => {
                let Some(chosen) = usable.iter().find(|t| t.number == number) else { continue };
                let answer = WireProposal { transforms: vec![(*chosen).clone()], ..proposal.clone() };
                let lifetime = lifetime_of(chosen, IpsecAttribute::SA_LIFE_TYPE.0, IpsecAttribute::SA_LIFE_DURATION.0);
                return Ok(Phase2Choice {
                    answer: Sa { proposals: vec![answer], ..offered.clone() },
                    suite,
                    spi: u32::from_be_bytes(*spi),
                    encapsulated: matches!(mode_of(chosen), 3 | 4 | 61443 | 61444),
                    mode,
                    lifetime,
                });
            }
            Err(mismatch) => closest = Some(Phase2Mismatch::Algorithms(mismatch)),
        }
    }
    Err(closest.unwrap_or(Phase2Mismatch::Algorithms(Mismatch { differing: Vec::new() })))
}

/// The one group of our KE payload in phase 2: the one that phase 1 agreed on if we allow it, since the peer has shown that
/// it does that one, else our first.
pub(super) fn phase2_group(proposals: &[Proposal], phase1: Option<KeyExchangeId>) -> Option<KeyExchangeId> {
    let ours = || proposals.iter().flat_map(|p| p.key_exchange.iter().copied());
    let usable = |group: &KeyExchangeId| crypto::KeyExchange::supported(*group);
    ours().find(|group| usable(group) && Some(*group) == phase1).or_else(|| ours().find(usable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProposalProtocol;

    const HOUR: Lifetime = Lifetime { time: Some(Duration::from_secs(3600)), octets: None };

    fn ike(text: &str) -> Proposal {
        Proposal::parse(ProposalProtocol::Ike, text).unwrap()
    }

    fn esp(text: &str) -> Proposal {
        Proposal::parse(ProposalProtocol::Esp, text).unwrap()
    }

    #[test]
    fn phase1_offers_every_combination_and_chooses_by_preference() {
        let offer = phase1_offer(&[ike("aes128-aes256-sha256-sha1-modp2048")], 28_800, 1);
        assert_eq!(offer.proposals[0].transforms.len(), 4);
        let (answer, suite) = phase1_choose(&[ike("aes256-sha1-modp2048")], &offer, 1).unwrap();
        assert_eq!(suite.to_string(), "AES_CBC-256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_2048");
        assert_eq!(answer.proposals[0].transforms.len(), 1);
        assert!(offer.proposals[0].transforms.contains(&answer.proposals[0].transforms[0]), "unchanged");
        let mismatch = phase1_choose(&[ike("aes256-sha1-modp1536")], &offer, 1).unwrap_err();
        assert_eq!(mismatch.to_string(), "key exchange group: ours MODP_1536, theirs MODP_2048");
    }

    /// RFC 2409 appendix A, RFC 4312 section 4, RFC 5114 section 3.2, RFC 4543 section 9: the numbers on the wire, and back.
    #[test]
    fn algorithms_have_the_numbers_of_version_1() {
        for (text, encryption, group, suite) in [
            ("camellia256-sha512-modp3072", 8, 15, "CAMELLIA_CBC-256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512/MODP_3072"),
            ("blowfish128-sha256-modp1536", 3, 5, "BLOWFISH_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_1536"),
            ("aes128-sha1-modp1024s160", 7, 22, "AES_CBC-128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024_160"),
            ("3des-sha256-ecp224", 5, 26, "3DES_CBC/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_224"),
        ] {
            let offer = phase1_offer(&[ike(text)], 0, 1);
            let transform = &offer.proposals[0].transforms[0];
            assert_eq!(transform.get(OakleyAttribute::ENCRYPTION_ALGORITHM.0), Some(encryption), "{text}");
            assert_eq!(transform.get(OakleyAttribute::GROUP_DESCRIPTION.0), Some(group), "{text}");
            assert_eq!(phase1_choose(&[ike(text)], &offer, 1).unwrap().1.to_string(), suite);
        }
        for (text, id, suite) in [
            ("camellia192-sha384", 22, "CAMELLIA_CBC-192/HMAC_SHA2_384_192"),
            ("aes128gmac", 23, "NULL_AES_GMAC-128"),
            ("blowfish192-sha384", 7, "BLOWFISH_CBC-192/HMAC_SHA2_384_192"),
            ("3des-sha1", 3, "3DES_CBC/HMAC_SHA1_96"),
            ("aes256gcm16", 20, "AES_GCM_16-256"),
            ("chacha20poly1305", 28, "CHACHA20_POLY1305"),
        ] {
            let mut offer = phase2_offer(&[esp(text)], None, 7, Mode::Tunnel, None, HOUR);
            assert_eq!(offer.proposals[0].transforms[0].id, id, "{text}");
            assert_eq!(phase2_choose(&[esp(text)], &offer, Mode::Tunnel, false).ok().unwrap().suite.to_string(), suite);
            // SEED has the number that GMAC has in IKEv2, and what has none here is not taken for its number there.
            for other in [21, 24, 29, 255] {
                offer.proposals[0].transforms[0].id = other;
                assert!(phase2_choose(&[esp(text)], &offer, Mode::Tunnel, false).is_err(), "{text} {other}");
            }
        }
    }

    #[test]
    fn phase2_offers_what_goes_with_its_one_group() {
        let ours =
            [esp("aes128gcm16-ecp256"), esp("aes192gcm16-aes256gcm16-ecp384-ecp256"), esp("aes128-sha256-ecp384")];
        assert_eq!(phase2_group(&ours, Some(KeyExchangeId::ECP_384)), Some(KeyExchangeId::ECP_384));
        assert_eq!(phase2_group(&ours, Some(KeyExchangeId::CURVE_25519)), Some(KeyExchangeId::ECP_256));
        assert_eq!(phase2_group(&[esp("aes128gcm16")], Some(KeyExchangeId::ECP_384)), None);
        for (group, bits) in [(KeyExchangeId::ECP_384, [192, 256, 128]), (KeyExchangeId::ECP_256, [128, 192, 256])] {
            let offer = phase2_offer(&ours, Some(group), 7, Mode::Tunnel, None, HOUR);
            let offered = offer.proposals[0].transforms.iter().map(|t| t.get(IpsecAttribute::KEY_LENGTH.0).unwrap());
            assert_eq!(offered.collect::<Vec<_>>(), bits);
            // The responder may take any of its own groups, as long as it is this one.
            let theirs = [esp("aes256gcm16-ecp521-ecp384-ecp256")];
            let chosen = phase2_choose(&theirs, &offer, Mode::Tunnel, true).ok().unwrap();
            assert_eq!(chosen.suite.key_exchange, Some(group));
        }
    }

    #[test]
    fn phase2_names_a_missing_group() {
        let with =
            phase2_offer(&[esp("aes128gcm16-modp2048")], Some(KeyExchangeId::MODP_2048), 7, Mode::Tunnel, None, HOUR);
        let without = phase2_offer(&[esp("aes128gcm16")], None, 7, Mode::Tunnel, Some(NatTraversal::Rfc3947), HOUR);
        let chosen = phase2_choose(&[esp("aes128gcm16-modp2048")], &with, Mode::Tunnel, true).ok().unwrap();
        assert_eq!((chosen.spi, chosen.suite.key_exchange), (7, Some(KeyExchangeId::MODP_2048)));
        assert!(!chosen.encapsulated);
        let Err(Phase2Mismatch::Algorithms(m)) =
            phase2_choose(&[esp("aes128gcm16-modp2048")], &without, Mode::Tunnel, false)
        else {
            panic!("the peer offers no group")
        };
        assert_eq!(m.to_string(), "key exchange group: ours MODP_2048, theirs none");
        assert!(phase2_choose(&[esp("aes128gcm16")], &without, Mode::Tunnel, false).is_ok_and(|c| c.encapsulated));
        assert!(matches!(
            phase2_choose(&[esp("aes128gcm16")], &without, Mode::Transport, false),
            Err(Phase2Mismatch::Mode(Mode::Transport, 3))
        ));
    }

    #[test]
    fn lifetimes_are_written_and_read_in_both_units() {
        let ours = Lifetime { time: Some(Duration::from_secs(100_000)), octets: Some(4_608_000_001) };
        let offer = phase2_offer(&[esp("aes128gcm16")], None, 7, Mode::Tunnel, None, ours);
        let choice = phase2_choose(&[esp("aes128gcm16")], &offer, Mode::Tunnel, false).ok().unwrap();
        let rounded = Lifetime { octets: Some(4_608_001_000), ..ours };
        assert_eq!((choice.lifetime, choice.offered_lifetime()), (rounded, rounded));
        assert_eq!(shorter_than_offered(ours, choice.lifetime), None, "not for the rounding");
        let none = phase2_offer(&[esp("aes128gcm16")], None, 7, Mode::Tunnel, None, Lifetime::default());
        let choice = phase2_choose(&[esp("aes128gcm16")], &none, Mode::Tunnel, false).ok().unwrap();
        assert_eq!(choice.lifetime, Lifetime::default());
        assert_eq!(choice.offered_lifetime().to_string(), "28800 s");
        for protocol in [ProtocolId::ESP, ProtocolId::IKE] {
            let data = lifetime_data(ours, protocol);
            assert_eq!(lifetime_in(&data), rounded);
            // Cut anywhere it is no list, or a shorter one: never a panic, never a longer lifetime.
            for length in 0..data.len() {
                let cut = lifetime_in(&data[..length]);
                assert!(cut == Lifetime::default() || cut == Lifetime { octets: None, ..rounded }, "{length}");
            }
        }
    }

    #[test]
    fn only_the_shorter_part_of_a_lifetime_is_told() {
        let life = |time: u64, octets: u64| Lifetime {
            time: Some(Duration::from_secs(time)).filter(|t| !t.is_zero()),
            octets: Some(octets).filter(|o| *o != 0),
        };
        assert_eq!(shorter_than_offered(life(3600, 0), life(3600, 0)), None);
        assert_eq!(shorter_than_offered(life(0, 0), life(3600, 5000)), None);
        assert_eq!(shorter_than_offered(life(3600, 0), life(7200, 5000)), Some(life(3600, 0)));
        assert_eq!(shorter_than_offered(life(3600, 5000), life(3600, 0)), Some(life(0, 5000)));
        assert_eq!(shorter_than_offered(life(3600, 5000), life(0, 0)), Some(life(3600, 5000)));
    }

    #[test]
    fn odd_lifetimes_are_no_limit() {
        // Zero, a duration without a unit, a unit nobody knows, and octets too many for a number.
        let odd: [&[u8]; 5] = [
            &[0x80, 1, 0, 1, 0x80, 2, 0, 0],
            &[0x80, 2, 0, 60],
            &[0x80, 1, 0, 9, 0x80, 2, 0, 60],
            &[0x80, 1, 0, 1, 0, 2, 0, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x80, 1, 0, 1, 0, 2, 0, 0],
        ];
        for data in odd {
            assert_eq!(lifetime_in(data), Lifetime::default(), "{data:?}");
        }
        let most = [0x80, 1, 0, 2, 0, 2, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(lifetime_in(&most), Lifetime { time: None, octets: Some(u64::MAX) });
        // The shortest of several.
        let two = [0x80, 1, 0, 1, 0x80, 2, 0, 60, 0x80, 1, 0, 1, 0x80, 2, 0, 30];
        assert_eq!(lifetime_in(&two), Lifetime { time: Some(Duration::from_secs(30)), octets: None });
    }
}
