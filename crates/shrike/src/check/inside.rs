//! What was read inside a capture's encrypted messages, against a configuration: identities, ways of proof, proposals of Child
//! SAs and networks, at the end that the configuration is.
//!
//! The responder's checks are those of RFC 7296 sections 2.9, 2.15 and 3.3.6, and of RFC 2409 section 5.5; the initiator's,
//! whether what it was answered is something that it allows.

use config::{AuthMethod, Connection};
use diag::Cause;
use model::dataplane::Mode;
use model::{
    ConfigRef, FailureKind, Identity, ObservedInside, ObservedSa, Phase, Proposal, Role, Side, TrafficSelector, narrow,
    select,
};
use std::net::IpAddr;
use wire::{AuthAlgorithm, EspTransformId, ExchangeType, IpsecAttribute, ProtocolId, TransformType, v1, v2};

/// What a connection does not accept: how far the negotiation came, why, and the line.
pub(super) struct Refused {
    rank: u8,
    /// The reason, in the daemon's words.
    pub kind: FailureKind,
    /// The catalogue's cause.
    pub cause: Cause,
    /// The line.
    pub place: ConfigRef,
}

/// What became of what was read.
pub(super) enum Outcome {
    /// Nothing that decides was opened.
    Unread,
    /// Accepted, by connection and child.
    Accepted(String, Option<String>),
    /// Refused by every connection; what the one says that came furthest.
    Refused(Box<Refused>),
}

/// An end's addresses: ours, the peer's.
type Path = (IpAddr, IpAddr);

/// Judges what the initiator sent.
pub(super) fn as_responder(connections: &[&Connection], path: Path, sa: &ObservedSa) -> Outcome {
    let Some(proof) = proof(sa, Role::Initiator) else { return Outcome::Unread };
    each(connections, |c| {
        if let Some(id) = &proof.idr
            && c.local.id.matches(id).is_none()
        {
            let remote = proof.idi.clone().unwrap_or(Identity::ANY);
            let ours = vec![format!("{}: {}", c.name, c.local.id)];
            let kind = FailureKind::NotAddressed { remote, asked_for: id.clone(), ours };
            return Err(refused(1, kind, Cause::PeerId, c.source.get("local.id")));
        }
        let asked_for = proof.idr.clone();
        known(c, proof.idi.as_ref(), proof.auth, |received| {
            let expected = vec![format!("{}: {}", c.name, c.remote.id)];
            FailureKind::IdentityUnknown { received, asked_for: asked_for.clone(), expected }
        })?;
        child(c, path, asked(sa, Role::Initiator), Role::Initiator)
    })
}

/// Judges what the responder answered.
pub(super) fn as_initiator(connections: &[&Connection], path: Path, sa: &ObservedSa) -> Outcome {
    let Some(proof) = proof(sa, Role::Responder) else { return Outcome::Unread };
    each(connections, |c| {
        known(c, proof.idr.as_ref(), proof.auth, |received| FailureKind::IdentityMismatch {
            received,
            expected: c.remote.id.clone(),
        })?;
        child(c, path, asked(sa, Role::Responder), Role::Responder)
    })
}

fn each(connections: &[&Connection], judge: impl Fn(&Connection) -> Result<Option<String>, Box<Refused>>) -> Outcome {
    let mut furthest: Option<Box<Refused>> = None;
    for connection in connections {
        match judge(connection) {
            Ok(child) => return Outcome::Accepted(connection.name.clone(), child),
            Err(why) => {
                if furthest.as_ref().is_none_or(|known| known.rank < why.rank) {
                    furthest = Some(why);
                }
            }
        }
    }
    furthest.map_or(Outcome::Unread, Outcome::Refused)
}

fn refused(rank: u8, kind: FailureKind, cause: Cause, place: ConfigRef) -> Box<Refused> {
    Box::new(Refused { rank, kind, cause, place })
}

/// The message in which an end names and proves itself.
fn proof(sa: &ObservedSa, end: Role) -> Option<&ObservedInside> {
    let phase1 = [ExchangeType::IKE_AUTH, ExchangeType::IDENTITY_PROTECTION, ExchangeType::AGGRESSIVE];
    let mut of_end = sa.messages.iter().filter(|m| m.sender == end && phase1.contains(&m.exchange));
    of_end.find_map(|m| m.inside.as_deref().filter(|inside| inside.idi.is_some() || inside.idr.is_some()))
}

/// The first message of an end that has a proposal for a Child SA.
fn asked(sa: &ObservedSa, end: Role) -> Option<&ObservedInside> {
    let has = |inside: &&ObservedInside| {
        let esp = inside.proposals.iter().any(|p| matches!(p.protocol, ProtocolId::ESP | ProtocolId::AH));
        esp || !inside.v1_proposals.is_empty()
    };
    sa.messages.iter().filter(|m| m.sender == end).find_map(|m| m.inside.as_deref().filter(has))
}

/// Whether the peer is who is expected, and proves it in the way that is wanted.
fn known(
    c: &Connection,
    id: Option<&Identity>,
    auth: Option<wire::AuthMethod>,
    unknown: impl Fn(Identity) -> FailureKind,
) -> Result<(), Box<Refused>> {
    if let Some(id) = id.filter(|id| c.remote.id.matches(id).is_none()) {
        return Err(refused(2, unknown(id.clone()), Cause::PeerId, c.source.get("remote.id")));
    }
    let (expected, fits) = match c.remote.method {
        AuthMethod::Psk => ("psk", auth == Some(wire::AuthMethod::SHARED_KEY_MIC)),
        AuthMethod::Pubkey => ("pubkey", auth.is_some_and(|method| method != wire::AuthMethod::SHARED_KEY_MIC)),
        // Hybrid authentication proves nothing in phase 1 that the capture shows.
        AuthMethod::Xauth => return Ok(()),
    };
    if fits {
        return Ok(());
    }
    let received = auth.map_or("EAP".to_string(), |method| method.to_string());
    let kind = FailureKind::AuthMethodMismatch { expected: expected.to_string(), received };
    Err(refused(3, kind, Cause::AuthFailed, c.source.get("remote.auth")))
}

/// Which child a proposal and its networks fit; `None` where none was asked for.
fn child(
    c: &Connection,
    (local, remote): Path,
    asked: Option<&ObservedInside>,
    by: Role,
) -> Result<Option<String>, Box<Refused>> {
    let Some(asked) = asked else { return Ok(None) };
    let first_version = !asked.v1_proposals.is_empty();
    // The end of the configuration is the initiator where it judges the responder's answer.
    let (theirs, ours) = if by == Role::Initiator { (&asked.tsi, &asked.tsr) } else { (&asked.tsr, &asked.tsi) };
    let mut closest: Option<Box<Refused>> = None;
    let mut keep = |why: Box<Refused>| {
        if closest.as_ref().is_none_or(|known| known.rank < why.rank) {
            closest = Some(why);
        }
    };
    for child in &c.children {
        let resolve = |patterns: &[config::SelectorPattern], address| -> Vec<TrafficSelector> {
            patterns.iter().map(|pattern| pattern.resolve(address)).collect()
        };
        let own = (resolve(&child.local_ts, local), resolve(&child.remote_ts, remote));
        // IKEv1 does not narrow, and an answer is not narrowed any further: all of it must lie within.
        let whole = first_version || by == Role::Responder;
        let fits = |configured: &[TrafficSelector], asked: &[TrafficSelector]| {
            let common = narrow(configured, asked);
            if whole { asked.iter().all(|ts| common.contains(ts)) } else { !common.is_empty() || asked.is_empty() }
        };
        let networks = [(&own.0, ours, "local_ts"), (&own.1, theirs, "remote_ts")];
        if let Some((.., key)) = networks.iter().find(|(configured, asked, _)| !fits(configured, asked)) {
            let kind = FailureKind::TsUnacceptable {
                found_by: Side::Us,
                local: own.0.clone(),
                remote: own.1.clone(),
                peer_local: theirs.clone(),
                peer_remote: ours.clone(),
            };
            keep(refused(4, kind, Cause::TrafficSelector, child.source.get(key)));
            continue;
        }
        let offers = if first_version { of_v1(&asked.v1_proposals) } else { asked.proposals.clone() };
        let configured: Vec<Proposal> = match first_version {
            true => child.esp_proposals.clone(),
            // RFC 7296 section 1.2: IKE_AUTH has no key exchange for the Child SA.
            false if asked.key_exchange.is_none() => {
                child.esp_proposals.iter().map(Proposal::without_key_exchange).collect()
            }
            false => child.esp_proposals.clone(),
        };
        if let Err(mismatch) = select(&configured, &offers) {
            let only_group =
                !mismatch.differing.is_empty() && mismatch.differing.iter().all(|(d, ..)| d.0 == TransformType::KE);
            let kind = FailureKind::NoProposalChosen {
                phase: Phase::Child,
                found_by: Side::Us,
                mismatch: Some(mismatch),
                ours: child.esp_proposals.iter().map(ToString::to_string).collect(),
            };
            let cause = if only_group { Cause::Pfs } else { Cause::ChildFailed };
            keep(refused(5, kind, cause, child.source.get("esp_proposals")));
            continue;
        }
        // IKEv2 falls back to tunnel mode where an end does not agree (RFC 7296 section 1.3.1); IKEv1 has no such way.
        if first_version
            && let Some(peer) = mode_v1(asked)
            // Transport is 2 and, in UDP, 4 (RFC 2407 section 4.5, RFC 3947 section 5.1), 61444 in the drafts before it.
            && matches!(peer, 2 | 4 | 61_444) != (child.mode == Mode::Transport)
        {
            let kind = FailureKind::EncapsulationMode { tunnel: child.mode == Mode::Tunnel, peer };
            keep(refused(6, kind, Cause::EncapsulationMode, child.source.get("mode")));
            continue;
        }
        return Ok(Some(child.name.clone()));
    }
    closest.map_or(Ok(None), Err)
}

fn number(transform: &v1::Transform, class: IpsecAttribute) -> Option<u16> {
    transform.get(class.0).and_then(|value| u16::try_from(value).ok())
}

fn mode_v1(asked: &ObservedInside) -> Option<u16> {
    let first = asked.v1_proposals.first().and_then(|proposal| proposal.transforms.first());
    first.and_then(|transform| number(transform, IpsecAttribute::ENCAPSULATION_MODE))
}

/// IKEv1's transforms, each an alternative with all its parameters, in the notation of IKEv2 (RFC 2407 section 4.4.4 and 4.5
/// against RFC 7296 section 3.3.2).
fn of_v1(proposals: &[v1::Proposal]) -> Vec<v2::Proposal> {
    let of = |proposal: &v1::Proposal, transform: &v1::Transform| {
        let encryption = match EspTransformId(transform.id) {
            EspTransformId::CAMELLIA => 23,
            EspTransformId::NULL_AUTH_AES_GMAC => 21,
            EspTransformId(same) => u16::from(same),
        };
        let mut transforms = vec![v2::Transform {
            key_length: number(transform, IpsecAttribute::KEY_LENGTH),
            ..v2::Transform::new(TransformType::ENCR, encryption)
        }];
        let integrity = number(transform, IpsecAttribute::AUTHENTICATION_ALGORITHM).map(AuthAlgorithm);
        transforms.extend(integrity.map(|algorithm| {
            let id = match algorithm {
                AuthAlgorithm::HMAC_SHA2_256 => 12,
                AuthAlgorithm::HMAC_SHA2_384 => 13,
                AuthAlgorithm::HMAC_SHA2_512 => 14,
                AuthAlgorithm::AES_XCBC_MAC => 5,
                AuthAlgorithm(same) => same,
            };
            v2::Transform::new(TransformType::INTEG, id)
        }));
        let group = number(transform, IpsecAttribute::GROUP_DESCRIPTION);
        transforms.extend(group.map(|group| v2::Transform::new(TransformType::KE, group)));
        v2::Proposal { number: proposal.number, protocol: proposal.protocol, spi: proposal.spi.clone(), transforms }
    };
    proposals.iter().flat_map(|p| p.transforms.iter().map(move |t| of(p, t))).collect()
}
