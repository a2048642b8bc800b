//! Phase 1 in main mode with pre-shared keys (RFC 2409 section 5.4) or signatures (section 5.1).
//!
//! ```text
//! HDR, SA          -->
//!                  <--  HDR, SA
//! HDR, KE, Ni      -->
//!                  <--  HDR, KE, Nr
//! HDR*, IDii, HASH_I  -->
//!                  <--  HDR*, IDir, HASH_R
//! ```
//!
//! With signatures there are SIG_I and SIG_R instead, perhaps with CERT before them: [`super::authentication`].
//! A pre-shared key goes into the keys of messages 5 and 6, before any identity is known: the responder tries each key
//! that the addresses allow.

use super::authentication::{
    Proof, Proven, check, hash_function, is_signature, note_requests, prove, request_certificates, requested, signs,
};
use super::informational;
use super::nat;
use super::phase1::{
    MAX_ATTEMPTS, NONCE_LEN, apply_uniqueness, established, go_on, hash_of, id_body, identity, keys, not_unique,
    note_vendor_ids, phase1_hash, psk_for, signature_keys,
};
use super::proposals;
use super::protection::{Opened, header};
use super::sa::{Attempt, IsakmpSa, KeReplied, KeSent, Proving, State};
use super::transaction;
use crate::context::Context;
use crate::credentials::own_identity;
use crate::policy;
use crate::timers::Reason;
use crate::v2::Path;
use config::Connection;
use crypto::KeyExchange;
use model::{DropReason, ExchangeMode, FailureKind, Identity, Instant, Mismatch, Phase, Role};
use std::sync::Arc;
use wire::grammar::RuleId;
use wire::v1::{Chain, ChainBuilder, message, parse_chain};
use wire::{ExchangeType, HEADER_LEN, Header, KeyExchangeId, PayloadType, V1IdType, V1NotifyType};

/// A message of main mode.
pub(super) fn receive(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    header: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    if sa.repeat(cx, datagram, path.remote) {
        return None;
    }
    let encrypted = header.flags.contains(wire::Flags::ENCRYPTION);
    let wants_encrypted = matches!(sa.state, State::KeReplied(_) | State::IdSent(_));
    if encrypted != wants_encrypted {
        sa.drop_datagram(
            cx,
            if encrypted { DropReason::UnexpectedResponse } else { DropReason::NotProtected },
            path.remote,
        );
        return None;
    }
    if encrypted {
        return match sa.state {
            State::KeReplied(_) => message5(sa, cx, now, header, datagram, path),
            _ => message6(sa, cx, now, header, datagram, path),
        };
    }
    let Ok(chain) = parse_chain(header.next_payload, datagram.get(HEADER_LEN..).unwrap_or_default(), HEADER_LEN, false)
    else {
        sa.drop_datagram(cx, DropReason::Malformed, path.remote);
        return None;
    };
    match sa.state {
        State::SaSent { .. } => message2(sa, cx, now, header, &chain, datagram, path),
        State::SaReplied { .. } => message3(sa, cx, now, &chain, datagram, path),
        State::KeSent(_) => message4(sa, cx, now, &chain, datagram, path),
        _ => {
            sa.drop_datagram(cx, DropReason::UnexpectedResponse, path.remote);
            None
        }
    }
}

fn ungrammatical(sa: &IsakmpSa, cx: &mut Context, path: Path) -> Option<FailureKind> {
    sa.drop_datagram(cx, DropReason::GrammarViolation, path.remote);
    None
}

/// Initiator: the responder's choice. `HDR, KE, Ni, NAT-D, NAT-D -->`
fn message2(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    chain: &Chain<'_>,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::SaSent { sa_body } = &sa.state else { return None };
    let (Some(answer), Some(connection)) = (chain.sa(), sa.connection.clone()) else {
        return ungrammatical(sa, cx, path);
    };
    if h.spis.responder.is_zero() {
        sa.drop_datagram(cx, DropReason::ZeroSpi, path.remote);
        return None;
    }
    let suite = match proposals::phase1_choose(&connection.proposals, answer, sa.method.0) {
        Ok((_, suite)) => suite,
        Err(mismatch) => {
            return sa.doubt(cx, FailureKind::ChoiceNotOffered { phase: Phase::Ike, mismatch }, path.remote);
        }
    };
    let hash = hash_of(&suite)?;
    let group = suite.key_exchange.unwrap_or(KeyExchangeId::NONE);
    let Ok(key_exchange) = KeyExchange::generate(group, &mut *cx.rng) else {
        return Some(FailureKind::ChoiceNotOffered { phase: Phase::Ike, mismatch: Mismatch { differing: Vec::new() } });
    };
    let sa_body = sa_body.clone();
    let nonce = cx.random::<NONCE_LEN>().to_vec();
    note_vendor_ids(sa, cx, chain);
    note_requests(sa, chain);
    sa.spis = h.spis;
    sa.suite = Some(suite);
    sa.last_heard = now;
    sa.log(cx, "CFG", 1, format!("selected proposal: {suite}"));
    let mut reply = ChainBuilder::new();
    reply.ke(key_exchange.public()).nonce(&nonce);
    request_certificates((sa.method, sa.role), cx, &connection, &mut reply);
    add_nat_detection(sa, cx, &mut reply, hash, connection.encap);
    sa.state = State::KeSent(Box::new(KeSent { sa_body, hash, key_exchange, nonce }));
    let reply = message(header(sa.spis, ExchangeType::IDENTITY_PROTECTION, 0), reply);
    sa.send(cx, now, reply, Some(RuleId::MainMode4), datagram);
    None
}

pub(super) fn add_nat_detection(
    sa: &IsakmpSa,
    cx: &mut Context,
    chain: &mut ChainBuilder,
    hash: crypto::v1::Hash,
    pretend: bool,
) {
    if let Some(variant) = sa.nat_traversal {
        let pretend = pretend.then(|| cx.random());
        for payload in nat::payloads(hash, sa.spis, sa.local, sa.remote, pretend) {
            chain.nat_d(variant, &payload);
        }
    }
}

/// Responder: the initiator's public value. `<-- HDR, KE, Nr, NAT-D, NAT-D`
fn message3(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    chain: &Chain<'_>,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::SaReplied { sa_body, hash, candidates } = &sa.state else { return None };
    let (Some(ke), Some(nonce_i), Some(suite)) = (chain.ke(), chain.nonce(), sa.suite) else {
        return ungrammatical(sa, cx, path);
    };
    let (sa_body, hash, candidates) = (sa_body.clone(), *hash, candidates.clone());
    let group = suite.key_exchange.unwrap_or(KeyExchangeId::NONE);
    let key_exchange = KeyExchange::generate(group, &mut *cx.rng).ok()?;
    let Ok(shared) = key_exchange.agree(ke) else {
        return sa.doubt(cx, FailureKind::BadPublicValue { group }, path.remote);
    };
    let nonce_r = cx.random::<NONCE_LEN>().to_vec();
    let publics = (ke.to_vec(), key_exchange.public().to_vec());
    let mut attempts = Vec::new();
    if let (true, Some(any)) = (is_signature(sa.method), candidates.first()) {
        let keys = signature_keys(&suite, hash, (nonce_i, &nonce_r), &shared, sa.spis, (&publics.0, &publics.1))?;
        attempts.push(Attempt { keys, connection: Arc::clone(any), psk: None });
    }
    for connection in candidates.iter().filter(|_| !is_signature(sa.method)) {
        let tried = |name: &str| attempts.iter().any(|a: &Attempt| a.psk.as_deref() == Some(name));
        let Some(psk) = psk_for(cx, connection, path.local, path.remote).filter(|psk| !tried(&psk.name)) else {
            continue;
        };
        let derived = keys(&suite, hash, psk, (nonce_i, &nonce_r), &shared, sa.spis, (&publics.0, &publics.1));
        if let Some(keys) = derived {
            attempts.push(Attempt { keys, connection: Arc::clone(connection), psk: Some(psk.name.clone()) });
        }
        if attempts.len() >= MAX_ATTEMPTS {
            break;
        }
    }
    if attempts.is_empty() {
        // Once, for the SA ends. The initiator has shown that it is where it says: message 3 has our cookie.
        let mut why = ChainBuilder::new();
        why.notify(wire::ProtocolId::IKE, &[], V1NotifyType::AUTHENTICATION_FAILED, &[]);
        let id = u32::from_be_bytes(cx.random()).max(1);
        sa.datagrams_out += 1;
        cx.transmit(path.local, path.remote, message(header(sa.spis, ExchangeType::INFORMATIONAL_V1, id), why));
        let local = Identity::from(path.local.ip());
        return Some(FailureKind::PskMissing { local, remote: Identity::from(path.remote.ip()) });
    }
    let forced = candidates.first().is_some_and(|c| c.encap);
    if sa.nat_traversal.is_some() {
        let payloads: Vec<&[u8]> = chain.nat_d().collect();
        sa.nat = nat::detect(hash, sa.spis, path.local, path.remote, &payloads, forced);
    }
    sa.last_heard = now;
    note_requests(sa, chain);
    let mut reply = ChainBuilder::new();
    reply.ke(&publics.1).nonce(&nonce_r);
    if let Some(any) = candidates.first() {
        request_certificates((sa.method, sa.role), cx, any, &mut reply);
    }
    add_nat_detection(sa, cx, &mut reply, hash, forced);
    // The initiator has shown that it gets our answers: it may repeat itself for as long again.
    cx.timers.set(sa.id, Reason::HalfOpen, now + cx.settings.half_open_timeout);
    sa.state = State::KeReplied(Box::new(KeReplied { sa_body, publics, attempts, candidates, unreadable: false }));
    let reply = message(header(sa.spis, ExchangeType::IDENTITY_PROTECTION, 0), reply);
    let waiting_for = if signs(sa.method, Role::Initiator) { RuleId::MainMode5Signature } else { RuleId::MainMode5 };
    sa.send(cx, now, reply, Some(waiting_for), datagram);
    None
}

/// Initiator: the responder's public value. `HDR*, IDii, HASH_I -->`
fn message4(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    chain: &Chain<'_>,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::KeSent(s) = &sa.state else { return None };
    let (Some(ke), Some(nonce_r), Some(suite)) = (chain.ke(), chain.nonce(), sa.suite) else {
        return ungrammatical(sa, cx, path);
    };
    if ke == s.key_exchange.public() || nonce_r == s.nonce.as_slice() {
        // Our own message 3, sent back.
        sa.drop_datagram(cx, DropReason::UnexpectedResponse, path.remote);
        return None;
    }
    let (connection, local) = (sa.connection.clone()?, sa.local_id.clone()?);
    let Ok(shared) = s.key_exchange.agree(ke) else {
        let group = s.key_exchange.id();
        return sa.doubt(cx, FailureKind::BadPublicValue { group }, path.remote);
    };
    let publics = (s.key_exchange.public().to_vec(), ke.to_vec());
    let (nonces, both) = ((s.nonce.as_slice(), nonce_r), (publics.0.as_slice(), publics.1.as_slice()));
    let keys = if is_signature(sa.method) {
        signature_keys(&suite, s.hash, nonces, &shared, sa.spis, both)?
    } else {
        let Some(psk) = psk_for(cx, &connection, sa.local, sa.remote).cloned() else {
            return Some(FailureKind::PskMissing { local, remote: connection.remote.id.clone() });
        };
        keys(&suite, s.hash, &psk, nonces, &shared, sa.spis, both)?
    };
    let (hash, sa_body) = (s.hash, s.sa_body.clone());
    if sa.nat_traversal.is_some() {
        let payloads: Vec<&[u8]> = chain.nat_d().collect();
        sa.nat = nat::detect(hash, sa.spis, sa.local, sa.remote, &payloads, connection.encap);
    }
    sa.last_heard = now;
    note_requests(sa, chain);
    float(sa, cx);
    let (initiator_id, responder_id) = (id_body(&local), Vec::new());
    let mut proving = Proving { keys, sa_body, publics, initiator_id, responder_id };
    let own = phase1_hash(sa.method, &proving, sa.spis, Role::Initiator);
    let mut reply = ChainBuilder::new();
    reply.id(V1IdType(local.kind().number()), 0, 0, local.data());
    if let Err(kind) = prove(sa, cx, &connection, &local, own.expose(), &mut reply) {
        return Some(kind);
    }
    if sa.initial_contact && !cx.has_another_at(sa.id, sa.remote.ip()) {
        reply.notify_isakmp(sa.spis, V1NotifyType::INITIAL_CONTACT, &[]);
    }
    let reply = proving.keys.seal(header(sa.spis, ExchangeType::IDENTITY_PROTECTION, 0), reply);
    sa.state = State::IdSent(Box::new(proving));
    let waiting_for = if signs(sa.method, Role::Responder) { RuleId::MainMode6Signature } else { RuleId::MainMode6 };
    sa.send(cx, now, reply, Some(waiting_for), datagram);
    None
}

/// Both cookies, as an ISAKMP SPI is written (RFC 2407 section 4.6.3.3).
pub(super) fn spi_of(sa: &IsakmpSa) -> [u8; 16] {
    let mut spi = [0; 16];
    spi[..8].copy_from_slice(&sa.spis.initiator.0);
    spi[8..].copy_from_slice(&sa.spis.responder.0);
    spi
}

/// RFC 3947 section 4: with a NAT the initiator goes on over port 4500.
pub(super) fn float(sa: &mut IsakmpSa, cx: &Context) {
    if sa.nat.any() && sa.local.port() == cx.settings.port {
        sa.local.set_port(cx.settings.nat_port);
        sa.remote.set_port(cx.settings.nat_port);
    }
}

struct Believed {
    opened: Opened,
    id_body: Vec<u8>,
    id: Identity,
    proof: Proof,
    /// Authorities that the peer asks for.
    requested: Vec<Vec<u8>>,
    initial_contact: bool,
}

/// Decrypts and looks whether there are an identity and a proof at all: with a wrong key there are not.
fn read(opened: Option<Opened>) -> Option<Believed> {
    let opened = opened?;
    let chain = opened.chain()?;
    let (id, proof) = (identity(chain.id(0)?), Proof::of(&chain)?);
    if chain.id(1).is_some() {
        return None; // HASH_I and HASH_R are over one identity (RFC 2409 section 5)
    }
    let id_body = chain.raw(PayloadType::V1_ID)?.to_vec();
    let initial_contact = chain.notifies().any(|n| n.kind == V1NotifyType::INITIAL_CONTACT);
    let requested = requested(&chain);
    drop(chain);
    Some(Believed { opened, id_body, id, proof, requested, initial_contact })
}

/// The connections that this pre-shared key is for, or all where there is none: whoever has one peer's key is not another
/// one, whose connection has a key of its own.
fn with_key<'a>(
    cx: &Context,
    candidates: &'a [Arc<Connection>],
    psk: Option<&str>,
    path: Path,
) -> Vec<&'a Arc<Connection>> {
    let key_of = |c: &Connection| psk_for(cx, c, path.local, path.remote).map(|psk| psk.name.as_str());
    candidates.iter().filter(|c| psk.is_none() || key_of(c) == psk).collect()
}

/// Those that take this identity, the closest first, among equals the one that the keys are for.
fn fitting<'a>(
    candidates: &[&'a Arc<Connection>],
    by_key: &Arc<Connection>,
    remote: &Identity,
    path: Path,
) -> Vec<&'a Arc<Connection>> {
    let fit = |c: &'a Arc<Connection>| policy::identity_fit(c, remote, None, path.local.ip()).map(|score| (score, c));
    let mut fitting: Vec<(u32, &Arc<Connection>)> = candidates.iter().copied().filter_map(fit).collect();
    fitting.sort_by_key(|(score, c)| (std::cmp::Reverse(*score), !Arc::ptr_eq(c, by_key)));
    fitting.into_iter().map(|(_, c)| c).collect()
}

/// Responder: who the initiator is. `<-- HDR*, IDir, HASH_R`
fn message5(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::KeReplied(s) = &mut sa.state else { return None };
    // With each key in turn: the one that gives a good HASH_I is the one that is meant.
    let mut found = None;
    for (index, Attempt { keys, .. }) in s.attempts.iter().enumerate() {
        let Some(believed) = read(keys.open(h, datagram)) else { continue };
        let prf = hash_function(sa.method, keys.hash.prf());
        let (skeyid, (g_xi, g_xr)) = (&keys.skeyid.skeyid, &s.publics);
        let (ci, cr) = (sa.spis.initiator, sa.spis.responder);
        let expected = crypto::v1::hash_i(prf, skeyid, g_xi, g_xr, ci, cr, &s.sa_body, &believed.id_body);
        if believed.proof.is_plausible((sa.method, Role::Initiator), expected.expose()) {
            found = Some((index, believed, expected));
            break;
        }
    }
    let Some((index, believed, expected)) = found else {
        // Anybody can send garbage here: the SA stays as it is, and the garbage is remembered for the explanation.
        let first = !std::mem::replace(&mut s.unreadable, true);
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        if first {
            let why = if is_signature(sa.method) { "it is damaged" } else { "the pre-shared keys seem to differ" };
            sa.log(cx, "IKE", 1, format!("message 5 cannot be decrypted: {why}"));
            cannot_read(sa, cx, path, datagram.len());
        }
        return None;
    };
    // The initiator has the key, or says that it signed. Now the identity must be one that is expected.
    let remote = believed.id.clone();
    let candidates = s.candidates.clone();
    let attempt = s.attempts.get(index)?;
    let (by_key, psk) = (Arc::clone(&attempt.connection), attempt.psk.clone());
    sa.remote_id = Some(remote.clone());
    let with_key = with_key(cx, &candidates, psk.as_deref(), path);
    let fitting = fitting(&with_key, &by_key, &remote, path);
    let Some(first) = fitting.first() else {
        let expected = with_key.iter().map(|c| format!("{}: {}", c.name, c.remote.id)).collect();
        refuse(sa, cx, index, &believed.opened, path, V1NotifyType::INVALID_ID_INFORMATION);
        sa.state = State::Closed;
        return Some(FailureKind::IdentityUnknown { received: remote, asked_for: None, expected });
    };
    let proven =
        |c: &Connection| check(cx, now, (sa.method, Role::Initiator), c, &remote, expected.expose(), &believed.proof);
    let (connection, Proven { how, until }) = match proven(first) {
        Ok(proof) => (Arc::clone(first), proof),
        Err(kind) => {
            // Another connection may take the authority that this one does not.
            let others = matches!(kind, FailureKind::CertificateUntrusted { .. }).then_some(fitting.iter());
            let mut others = others.into_iter().flatten().take(MAX_ATTEMPTS).skip(1);
            match others.find_map(|c| Some((Arc::clone(c), proven(c).ok()?))) {
                Some(found) => found,
                None => {
                    let first = Arc::clone(first);
                    if sa.waits(cx, now, (&kind, &believed.proof), (h, datagram, path)) {
                        return None;
                    }
                    refuse(sa, cx, index, &believed.opened, path, V1NotifyType::AUTHENTICATION_FAILED);
                    sa.connection = Some(first);
                    return Some(kind);
                }
            }
        }
    };
    let local = own_identity(&connection, path.local);
    let others_stay = !believed.initial_contact || connection.unique == config::Unique::Never;
    if others_stay && connection.remote_xauth().is_none() {
        let taken = not_unique(cx, &connection, (&local, &remote), path.remote);
        if let Some(kind) = taken {
            refuse(sa, cx, index, &believed.opened, path, V1NotifyType::AUTHENTICATION_FAILED);
            sa.connection = Some(connection);
            return Some(kind);
        }
    }
    let others = fitting.iter().copied().filter(|c| !Arc::ptr_eq(c, &connection));
    let alternatives = transaction::alternatives(&connection, others, &local, path.local, |c| proven(c).is_ok());
    let State::KeReplied(s) = &mut sa.state else { return None };
    let Attempt { keys, .. } = s.attempts.swap_remove(index);
    let (sa_body, publics) = (s.sa_body.clone(), s.publics.clone());
    let mut proving = Proving { keys, sa_body, publics, initiator_id: believed.id_body, responder_id: id_body(&local) };
    proving.keys.accept(&believed.opened);
    let own = phase1_hash(sa.method, &proving, sa.spis, Role::Responder);
    sa.requested.extend(believed.requested);
    sa.remote_certificate_until = until;
    (sa.local, sa.remote) = (path.local, path.remote);
    sa.connection = Some(Arc::clone(&connection));
    sa.local_id = Some(local.clone());
    sa.configuration.alternatives = alternatives;
    let mut reply = ChainBuilder::new();
    reply.id(V1IdType(local.kind().number()), 0, 0, local.data());
    if let Err(kind) = prove(sa, cx, &connection, &local, own.expose(), &mut reply) {
        return Some(kind);
    }
    let reply = proving.keys.seal(header(sa.spis, ExchangeType::IDENTITY_PROTECTION, 0), reply);
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with {how} successful"));
    sa.send(cx, now, reply, None, datagram);
    apply_uniqueness_after(sa, cx, now, proving, believed.initial_contact);
    None
}

/// The initiator has the key, and hears why there will be no message 6: by it or by a forger nothing more is reached than
/// by silence. It goes back the way that message 5 came (RFC 3947 section 4): behind a NAT no other is open.
fn refuse(sa: &mut IsakmpSa, cx: &mut Context, attempt: usize, message5: &Opened, path: Path, notify: V1NotifyType) {
    let (id, spis) = (u32::from_be_bytes(cx.random()).max(1), sa.spis);
    let State::KeReplied(s) = &mut sa.state else { return };
    let Some(Attempt { keys, .. }) = s.attempts.get_mut(attempt) else { return };
    keys.accept(message5);
    let message = informational::sealed(keys, spis, id, |rest| {
        rest.notify_isakmp(spis, notify, &[]);
    });
    sa.datagrams_out += 1;
    cx.transmit(path.local, path.remote, message);
}

/// Once, and no longer than what came: PAYLOAD-MALFORMED under a key that the initiator has not, by which its operator
/// sees that there was an answer and that the keys differ (RFC 2408 section 5.1 leaves it to us).
fn cannot_read(sa: &mut IsakmpSa, cx: &mut Context, path: Path, received: usize) {
    let id = u32::from_be_bytes(cx.random()).max(1);
    let State::KeReplied(s) = &mut sa.state else { return };
    let Some(Attempt { keys, .. }) = s.attempts.first_mut() else { return };
    let message = informational::sealed(keys, sa.spis, id, |rest| {
        rest.notify(wire::ProtocolId::IKE, &[], V1NotifyType::PAYLOAD_MALFORMED, &[]);
    });
    if message.len() <= received {
        sa.datagrams_out += 1;
        cx.transmit(path.local, path.remote, message);
    }
}

fn apply_uniqueness_after(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, proving: Proving, initial_contact: bool) {
    established(sa, cx, now, proving.keys);
    apply_uniqueness(sa, cx, initial_contact);
}

/// Initiator: who the responder is. Phase 1 is done.
fn message6(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    now: Instant,
    h: &Header,
    datagram: &[u8],
    path: Path,
) -> Option<FailureKind> {
    let State::IdSent(s) = &mut sa.state else { return None };
    let Some(believed) = read(s.keys.open(h, datagram)) else {
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    };
    let previous = std::mem::replace(&mut s.responder_id, believed.id_body.clone());
    let expected = phase1_hash(sa.method, s, sa.spis, Role::Responder);
    if !believed.proof.is_plausible((sa.method, Role::Responder), expected.expose()) {
        s.responder_id = previous;
        sa.drop_datagram(cx, DropReason::IntegrityCheckFailed, path.remote);
        return None;
    }
    let connection = sa.connection.clone()?;
    sa.remote_id = Some(believed.id.clone());
    if connection.remote.id.matches(&believed.id).is_none() {
        reject(sa, cx, &believed.opened, V1NotifyType::INVALID_ID_INFORMATION);
        return Some(FailureKind::IdentityMismatch { received: believed.id, expected: connection.remote.id.clone() });
    }
    let by = (sa.method, Role::Responder);
    match check(cx, now, by, &connection, &believed.id, expected.expose(), &believed.proof) {
        Ok(Proven { how, until }) => {
            sa.remote_certificate_until = until;
            sa.log(cx, "IKE", 1, format!("authentication of '{}' with {how} successful", believed.id));
        }
        Err(kind) if sa.waits(cx, now, (&kind, &believed.proof), (h, datagram, path)) => {
            if let State::IdSent(s) = &mut sa.state {
                s.responder_id = previous;
            }
            return None;
        }
        Err(kind) => {
            reject(sa, cx, &believed.opened, V1NotifyType::AUTHENTICATION_FAILED);
            return Some(kind);
        }
    }
    if let State::IdSent(s) = &mut sa.state {
        s.keys.accept(&believed.opened);
    }
    finish(sa, cx, now);
    None
}

/// Message 6 is the responder's, and it is not the one that is meant. To it the ISAKMP SA is up: it hears why, and that there
/// is none.
fn reject(sa: &mut IsakmpSa, cx: &mut Context, message6: &Opened, notify: V1NotifyType) {
    let spis = sa.spis;
    let ids = [(); 2].map(|()| u32::from_be_bytes(cx.random()).max(1));
    let State::IdSent(s) = &mut sa.state else { return };
    s.keys.accept(message6);
    let [why, gone] = ids;
    let why = informational::sealed(&mut s.keys, spis, why, |rest| {
        rest.notify_isakmp(spis, notify, &[]);
    });
    let gone = informational::sealed(&mut s.keys, spis, gone, |rest| {
        rest.delete_isakmp(spis);
    });
    for message in [why, gone] {
        sa.datagrams_out += 1;
        sa.transmit(cx, message);
    }
}

/// The initiator is done with phase 1 and goes on with phase 2.
fn finish(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    debug_assert!(sa.mode == ExchangeMode::IdentityProtection);
    match std::mem::replace(&mut sa.state, State::Closed) {
        State::IdSent(proving) => {
            sa.state = State::SaSent { sa_body: Vec::new() }; // so that the event tells CONNECTING => ESTABLISHED
            established(sa, cx, now, proving.keys);
            go_on(sa, cx, now);
        }
        other => sa.state = other,
    }
}
