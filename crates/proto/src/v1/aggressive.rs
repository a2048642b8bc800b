//! Phase 1 in aggressive mode with pre-shared keys (RFC 2409 section 5.4) or signatures (section 5.1).
//!
//! ```text
//! HDR, SA, KE, Ni, IDii  -->
//!                        <--  HDR, SA, KE, Nr, IDir, HASH_R
//! HDR, HASH_I            -->
//! ```
//!
//! With signatures there are SIG_R and SIG_I instead, perhaps with CERT before them: [`super::authentication`].
//! Identities are known before the key is needed, and shown to everybody on the path, with a hash to guess the key by.

use super::authentication::{Proof, check, is_signature, note_requests, prove, request_certificates, signs};
use super::identity_protection::{add_nat_detection, float};
use super::informational;
use super::nat;
use super::phase1::{
    NONCE_LEN, Response, add_vendor_ids, apply_uniqueness, established, go_on, hash_of, id_body, identity, keys,
    not_unique, note_vendor_ids, phase1_hash, refuse, signature_keys, warn_about_aggressive,
};
use super::proposals;
use super::protection::{Opened, header};
use super::sa::{IsakmpSa, Proving, State};
use super::transaction;
use crate::context::Context;
use crate::credentials::own_identity;
use crate::policy;
use crate::v2::Path;
use config::{Connection, best_psk};
use crypto::KeyExchange;
use crypto::v1::Hash;
use model::{DropReason, FailureKind, Instant, Phase, Role};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::grammar::RuleId;
use wire::v1::{Chain, ChainBuilder, Sa, message, parse_chain};
use wire::{ExchangeType, Flags, HEADER_LEN, Header, KeyExchangeId, PayloadType, V1IdType, V1NotifyType};

/// Message 1 with what was chosen from it.
pub(super) struct Answer<'a> {
    pub chain: &'a Chain<'a>,
    pub sa_body: &'a [u8],
    pub answer: &'a Sa,
    pub hash: Hash,
    pub candidates: Vec<Arc<Connection>>,
    pub datagram: &'a [u8],
}

/// Responder: `<-- HDR, SA, KE, Nr, IDir, HASH_R`
pub(super) fn respond(cx: &mut Context, now: Instant, mut sa: IsakmpSa, first: Answer<'_>) -> Response {
    let chain = first.chain;
    let (Some(ke), Some(nonce_i), Some(id), Some(raw_id), Some(suite)) =
        (chain.ke(), chain.nonce(), chain.id(0), chain.raw(PayloadType::V1_ID), sa.suite)
    else {
        return Response::Dropped(DropReason::GrammarViolation);
    };
    let remote = identity(id);
    sa.remote_id = Some(remote.clone());
    let mut fitting: Vec<(u32, &Arc<Connection>)> = first
        .candidates
        .iter()
        .filter_map(|c| policy::identity_fit(c, &remote, None, sa.local.ip()).map(|score| (score, c)))
        .collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let Some(connection) = fitting.first().map(|(_, c)| Arc::clone(c)) else {
        let expected = first.candidates.iter().map(|c| format!("{}: {}", c.name, c.remote.id)).collect();
        let kind = FailureKind::IdentityUnknown { received: remote, asked_for: None, expected };
        return refuse(cx, sa, V1NotifyType::INVALID_ID_INFORMATION, kind);
    };
    let local = own_identity(&connection, sa.local);
    let psk = best_psk(&cx.secrets, &local, &remote).first().map(|p| (*p).clone());
    if psk.is_none() && !is_signature(sa.method) {
        return refuse(cx, sa, V1NotifyType::AUTHENTICATION_FAILED, FailureKind::PskMissing { local, remote });
    }
    let group = suite.key_exchange.unwrap_or(KeyExchangeId::NONE);
    let Ok(key_exchange) = KeyExchange::generate(group, &mut *cx.rng) else {
        return Response::Dropped(DropReason::NoConfig);
    };
    let Ok(shared) = key_exchange.agree(ke) else {
        return refuse(cx, sa, V1NotifyType::INVALID_KEY_INFORMATION, FailureKind::BadPublicValue { group });
    };
    let nonce_r = cx.random::<NONCE_LEN>().to_vec();
    let publics = (ke.to_vec(), key_exchange.public().to_vec());
    let (nonces, both) = ((nonce_i, &nonce_r[..]), (&publics.0[..], &publics.1[..]));
    let derived = match psk {
        Some(psk) if !is_signature(sa.method) => keys(&suite, first.hash, &psk, nonces, &shared, sa.spis, both),
        _ => signature_keys(&suite, first.hash, nonces, &shared, sa.spis, both),
    };
    let Some(keys) = derived else { return Response::Dropped(DropReason::NoConfig) };
    let sa_body = first.sa_body.to_vec();
    let (initiator_id, responder_id) = (raw_id.to_vec(), id_body(&local));
    let proving = Proving { keys, sa_body, publics, initiator_id, responder_id };
    let hash_r = phase1_hash(sa.method, &proving, sa.spis, Role::Responder);
    let mut reply = ChainBuilder::new();
    reply.sa(first.answer).ke(&proving.publics.1).nonce(&nonce_r);
    reply.id(V1IdType(local.kind().number()), 0, 0, local.data());
    request_certificates((sa.method, sa.role), cx, &connection, &mut reply);
    if let Err(kind) = prove(&sa, cx, &connection, &local, hash_r.expose(), &mut reply) {
        return refuse(cx, sa, V1NotifyType::AUTHENTICATION_FAILED, kind);
    }
    add_vendor_ids(&mut reply, cx, &connection);
    add_nat_detection(&sa, cx, &mut reply, first.hash, connection.encap);
    // The proof comes later; in message 3 each would be checked alike, where it is a HASH.
    let others = fitting.iter().map(|(_, c)| *c).skip(1);
    let by_hash = !signs(sa.method, Role::Initiator);
    sa.configuration.alternatives = transaction::alternatives(&connection, others, &local, sa.local, |_| by_hash);
    sa.connection = Some(connection);
    sa.local_id = Some(local);
    if !is_signature(sa.method) {
        warn_about_aggressive(&sa, cx);
    }
    let signed = signs(sa.method, Role::Initiator);
    let waiting_for = if signed { RuleId::AggressiveMode3Signature } else { RuleId::AggressiveMode3 };
    sa.state = State::AggressiveReplied(Box::new(proving));
    let reply = message(header(sa.spis, ExchangeType::AGGRESSIVE, 0), reply);
    sa.send(cx, now, reply, Some(waiting_for), first.datagram);
    Response::HalfOpen(Box::new(sa))
}

/// A later message of aggressive mode.
pub(super) fn receive(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    if sa.repeat(cx, datagram, path.remote) {
        return None;
    }
    match sa.state {
        State::AggressiveSent(_) => message2(sa, cx, now, h, datagram, path),
        State::AggressiveReplied(_) => message3(sa, cx, now, h, datagram, path),
        _ => {
            sa.drop_datagram(cx, DropReason::UnexpectedResponse, path.remote);
            None
        }
    }
}

/// Initiator: everything of the responder at once. `HDR*, HASH_I, NAT-D, NAT-D -->`
fn message2(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::AggressiveSent(s) = &sa.state else { return None };
    let parsed = parse_chain(h.next_payload, datagram.get(HEADER_LEN..).unwrap_or_default(), HEADER_LEN, false);
    let Ok(chain) = parsed else {
        sa.drop_datagram(cx, DropReason::Malformed, path.remote);
        return None;
    };
    let all = (chain.sa(), chain.ke(), chain.nonce(), chain.id(0), chain.raw(PayloadType::V1_ID), Proof::of(&chain));
    let (Some(answer), Some(ke), Some(nonce_r), Some(id), Some(raw_id), Some(proof)) = all else {
        sa.drop_datagram(cx, DropReason::GrammarViolation, path.remote);
        return None;
    };
    let (connection, local) = (sa.connection.clone()?, sa.local_id.clone()?);
    let suite = match proposals::phase1_choose(&connection.proposals, answer, sa.method.0) {
        Ok((_, suite)) => suite,
        Err(mismatch) => {
            return sa.doubt(cx, FailureKind::ChoiceNotOffered { phase: Phase::Ike, mismatch }, path.remote);
        }
    };
    let hash = hash_of(&suite)?;
    let group = s.key_exchange.id();
    if suite.key_exchange != Some(group) {
        let kind = FailureKind::InvalidKeyExchange { ours: group, wanted: suite.key_exchange? };
        return sa.doubt(cx, kind, path.remote);
    }
    let Ok(shared) = s.key_exchange.agree(ke) else {
        return sa.doubt(cx, FailureKind::BadPublicValue { group }, path.remote);
    };
    let remote = identity(id);
    if connection.remote.id.matches(&remote).is_none() {
        tell(cx, (sa.local, sa.remote), h.spis, V1NotifyType::INVALID_ID_INFORMATION);
        return Some(FailureKind::IdentityMismatch { received: remote, expected: connection.remote.id.clone() });
    }
    let publics = (s.key_exchange.public().to_vec(), ke.to_vec());
    let (nonces, both) = ((s.nonce.as_slice(), nonce_r), (publics.0.as_slice(), publics.1.as_slice()));
    let keys = if is_signature(sa.method) {
        signature_keys(&suite, hash, nonces, &shared, h.spis, both)?
    } else {
        let secrets = best_psk(&cx.secrets, &local, &remote);
        let Some(psk) = secrets.first().map(|p| (*p).clone()) else {
            tell(cx, (sa.local, sa.remote), h.spis, V1NotifyType::AUTHENTICATION_FAILED);
            return Some(FailureKind::PskMissing { local, remote });
        };
        keys(&suite, hash, &psk, nonces, &shared, h.spis, both)?
    };
    let (initiator_id, responder_id) = (s.id_body.clone(), raw_id.to_vec());
    let mut proving = Proving { keys, sa_body: s.sa_body.clone(), publics, initiator_id, responder_id };
    let expected = phase1_hash(sa.method, &proving, h.spis, Role::Responder);
    let by = (sa.method, Role::Responder);
    let how = match (&proof, check(cx, now, by, &connection, &remote, expected.expose(), &proof)) {
        (_, Ok(proven)) => {
            sa.remote_certificate_until = proven.until;
            proven.how
        }
        // Anybody on the path could have sent this; but nobody else has answered, and the peer's key is the likely cause.
        (Proof::Signature { .. }, Err(kind)) if is_signature(sa.method) => {
            if sa.waits(cx, now, (&kind, &proof), (h, datagram, path)) {
                return None;
            }
            tell(cx, (sa.local, sa.remote), h.spis, V1NotifyType::INVALID_SIGNATURE);
            return Some(kind);
        }
        (_, Err(kind)) => {
            tell(cx, (sa.local, sa.remote), h.spis, V1NotifyType::AUTHENTICATION_FAILED);
            let by_key = !is_signature(sa.method);
            return Some(if by_key { FailureKind::PskMismatch { local, remote, tried: 1 } } else { kind });
        }
    };
    note_vendor_ids(sa, cx, &chain);
    note_requests(sa, &chain);
    sa.spis = h.spis;
    sa.suite = Some(suite);
    sa.remote_id = Some(remote.clone());
    if sa.nat_traversal.is_some() {
        let payloads: Vec<&[u8]> = chain.nat_d().collect();
        sa.nat = nat::detect(hash, sa.spis, sa.local, sa.remote, &payloads, connection.encap);
    }
    sa.log(cx, "CFG", 1, format!("selected proposal: {suite}"));
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with {how} successful"));
    let hash_i = phase1_hash(sa.method, &proving, sa.spis, Role::Initiator);
    // RFC 3947 section 3.2: the hashes are of the addresses and ports that this message goes between.
    float(sa, cx);
    let mut reply = ChainBuilder::new();
    if let Err(kind) = prove(sa, cx, &connection, &local, hash_i.expose(), &mut reply) {
        tell(cx, (sa.local, sa.remote), h.spis, V1NotifyType::AUTHENTICATION_FAILED);
        return Some(kind);
    }
    add_nat_detection(sa, cx, &mut reply, hash, connection.encap);
    if sa.initial_contact && !cx.has_another_at(sa.id, sa.remote.ip()) {
        reply.notify_isakmp(sa.spis, V1NotifyType::INITIAL_CONTACT, &[]);
    }
    // RFC 2409 section 5.4 leaves it to the initiator whether message 3 is encrypted; RFC 3947 section 3.2 has it so.
    let reply = proving.keys.seal(header(sa.spis, ExchangeType::AGGRESSIVE, 0), reply);
    sa.send(cx, now, reply, None, datagram);
    established(sa, cx, now, proving.keys);
    go_on(sa, cx, now);
    None
}

/// Tells the responder why there will be no message 3: unprotected, so that it can only be a hint.
fn tell(cx: &mut Context, (local, remote): (SocketAddr, SocketAddr), spis: wire::SpiPair, notify: V1NotifyType) {
    let mut chain = ChainBuilder::new();
    chain.notify(wire::ProtocolId::IKE, &[], notify, &[]);
    let id = u32::from_be_bytes(cx.random()).max(1);
    cx.transmit(local, remote, message(header(spis, ExchangeType::INFORMATIONAL_V1, id), chain));
}

/// Responder: message 3 is right and the SA cannot be all the same. The initiator takes it for established: it is deleted.
fn refuse_established(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    message3: Option<&Opened>,
    kind: FailureKind,
) -> Option<FailureKind> {
    let (id, spis) = (u32::from_be_bytes(cx.random()).max(1), sa.spis);
    if let State::AggressiveReplied(s) = &mut sa.state {
        message3.into_iter().for_each(|opened| s.keys.accept(opened));
        let message = informational::sealed(&mut s.keys, spis, id, |rest| {
            rest.delete_isakmp(spis);
        });
        sa.datagrams_out += 1;
        sa.transmit(cx, message);
    }
    Some(kind)
}

/// Responder: the initiator's proof.
fn message3(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::AggressiveReplied(s) = &sa.state else { return None };
    let opened = if h.flags.contains(Flags::ENCRYPTION) { s.keys.open(h, datagram) } else { None };
    let clear = datagram.get(HEADER_LEN..).unwrap_or_default();
    let chain = match &opened {
        Some(opened) => opened.chain(),
        None if h.flags.contains(Flags::ENCRYPTION) => None,
        None => parse_chain(h.next_payload, clear, HEADER_LEN, false).ok(),
    };
    let expected = phase1_hash(sa.method, s, sa.spis, Role::Initiator);
    let by = (sa.method, Role::Initiator);
    let proof = chain.as_ref().and_then(Proof::of).filter(|p| p.is_plausible(by, expected.expose()));
    let (Some(proof), Some(chain)) = (proof, chain) else {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    };
    let (connection, remote) = (sa.connection.clone()?, sa.remote_id.clone()?);
    let how = match check(cx, now, by, &connection, &remote, expected.expose(), &proof) {
        Ok(proven) => {
            sa.remote_certificate_until = proven.until;
            proven.how
        }
        Err(kind) if opened.is_some() => {
            drop(chain);
            let waits = sa.waits(cx, now, (&kind, &proof), (h, datagram, path));
            return (!waits).then_some(kind);
        }
        // In the clear anybody can say that it signed.
        Err(_) => {
            drop(chain);
            sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
            return None;
        }
    };
    let initial_contact = chain.notifies().any(|n| n.kind == V1NotifyType::INITIAL_CONTACT);
    let others_stay = !initial_contact || connection.unique == config::Unique::Never;
    if others_stay && connection.remote_xauth().is_none() {
        let local = sa.local_id.clone()?;
        let taken = not_unique(cx, &connection, (&local, &remote), path.remote);
        if let Some(kind) = taken {
            drop(chain);
            return refuse_established(sa, cx, opened.as_ref(), kind);
        }
    }
    let payloads: Vec<&[u8]> = chain.nat_d().collect();
    let forced = sa.connection.as_ref().is_some_and(|c| c.encap);
    let found = nat::detect(s.keys.hash, sa.spis, path.local, path.remote, &payloads, forced);
    drop(chain);
    if sa.nat_traversal.is_some() {
        sa.nat = found;
    }
    (sa.local, sa.remote) = (path.local, path.remote);
    let State::AggressiveReplied(mut proving) = std::mem::replace(&mut sa.state, State::SaSent { sa_body: Vec::new() })
    else {
        return None;
    };
    if let Some(opened) = &opened {
        proving.keys.accept(opened);
    }
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with {how} successful"));
    established(sa, cx, now, proving.keys);
    apply_uniqueness(sa, cx, initial_contact);
    None
}
