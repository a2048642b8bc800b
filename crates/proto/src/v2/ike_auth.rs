//! IKE_AUTH (RFC 7296 section 1.2): identities, proof of them, and the first Child SA.
//!
//! ```text
//! HDR, SK {IDi, [CERT,] [CERTREQ,] [IDr,] AUTH, SAi2, TSi, TSr}  -->
//!                                        <--  HDR, SK {IDr, [CERT,] AUTH, SAr2, TSi, TSr}
//! ```
//!
//! If the Child SA cannot be made, the IKE SA stands all the same (section 1.2):
//!
//! ```text
//!                                        <--  HDR, SK {IDr, AUTH, N(TS_UNACCEPTABLE)}
//! ```
//!
//! and if the proof fails there is nothing:
//!
//! ```text
//!                                        <--  HDR, SK {N(AUTHENTICATION_FAILED)}
//! ```

use super::auth_lifetime;
use super::certificate_request::{MOST_NAMED, Wanted, request_certificate};
use super::certified::certified_only;
use super::child::{self, ChildSa};
use super::childless;
use super::configuration;
use super::crash;
use super::create_child_sa::{probe_soon, with_trigger};
use super::exchange::{Request, Task, Verdict};
use super::fetching::{waits_for_certificates, waits_for_lists};
use super::ike_sa_init::permits;
use super::informational::{child_refusal, remove_child};
use super::keys::{Keys, child_keys};
use super::mobility;
use super::redirect;
use super::refused;
use super::sa::{HalfOpen, IkeSa, State};
use super::terms::{
    answer_selectors, answered_mode, answered_selectors, ask_for_rest, ask_for_transport, for_single_pair, heard,
    on_wire, refusal, selectors, transport_of, transport_wish,
};
use super::window;
use crate::context::{Context, Effect};
use crate::credentials::{Checked, Signature, method_name, own_identity, scheme_for, sends_certificate};
use crate::policy;
use config::{AuthMethod as Method, Connection, SharedSecret, Unique, best_psk};
use crypto::{KeyKind, Scheme};
use model::{CertificateProblem, Event, FailureKind, Identity, Instant, Role, Side, TrafficSelector, narrow};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::grammar::RuleId;
use wire::v2::{Chain, ChainBuilder, Id};
use wire::{
    AuthMethod, CertEncoding, ExchangeType, HashAlgorithm, IdType, NotifyType, PayloadType, ProtocolId, Secret,
};

/// The Identification payload without its generic header, which AUTH covers (RFC 7296 section 2.15: RestOfIDPayload).
fn id_body(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0];
    body.extend_from_slice(data);
    body
}

/// The AUTH value of one end by a pre-shared key: what it sent first, the other's nonce, and its identity under its SK_p.
fn auth_value(keys: &Keys, psk: &SharedSecret, first_message: &[u8], nonce: &[u8], sk_p: &Secret, id: &[u8]) -> Secret {
    let identity = crypto::v2::id_mac(keys.prf, sk_p, id);
    crypto::v2::psk_auth(keys.prf, psk.secret.expose(), &[first_message, nonce, identity.expose()])
}

/// How many connections of a peer's identity its proof is tried with.
const MAX_TRIED: usize = 8;

/// What is signed (RFC 7296 section 2.15): what the end sent first, the other's nonce, and prf(SK_p, its identity).
fn signed_octets(keys: &Keys, first_message: &[u8], nonce: &[u8], sk_p: &Secret, id: &[u8]) -> Vec<u8> {
    let identity = crypto::v2::id_mac(keys.prf, sk_p, id);
    [first_message, nonce, identity.expose()].concat()
}

/// AUTH by a signature, with the certificates to send along.
struct Signed {
    method: AuthMethod,
    value: Vec<u8>,
    scheme: Scheme,
    certificates: Vec<(CertEncoding, Vec<u8>)>,
}

/// Signs as the connection says and the peer can check.
fn sign(
    cx: &Context,
    connection: &Connection,
    id: &Identity,
    wanted: &Wanted,
    octets: &[u8],
) -> Result<Signed, FailureKind> {
    let own = cx.credentials.own(connection, id, |authority| wanted.names(authority))?;
    let public = own.key.public();
    let unsupported = || FailureKind::AuthMethodUnsupported {
        method: format!("{} (the peer cannot check signatures of such keys)", public.kind()),
    };
    let scheme =
        scheme_for(public, &connection.local.signature, &wanted.hashes, cx.settings.rsa_pss).ok_or_else(unsupported)?;
    let signature = own.key.sign(scheme, octets).ok_or_else(unsupported)?;
    let (method, value) = match (scheme, public.kind()) {
        (Scheme::EcdsaFixed, KeyKind::EcdsaP384) => (AuthMethod::ECDSA_SHA384_P384, signature),
        (Scheme::EcdsaFixed, KeyKind::EcdsaP521) => (AuthMethod::ECDSA_SHA512_P521, signature),
        (Scheme::EcdsaFixed, _) => (AuthMethod::ECDSA_SHA256_P256, signature),
        (_, _) if wanted.hashes.is_empty() => (AuthMethod::RSA_DIGITAL_SIGNATURE, signature),
        (scheme, _) => {
            // RFC 7427 section 3: the length of the AlgorithmIdentifier, itself, the signature.
            let algorithm = scheme.algorithm_identifier().ok_or_else(unsupported)?;
            let length = u8::try_from(algorithm.len()).map_err(|_| unsupported())?;
            (AuthMethod::DIGITAL_SIGNATURE, [&[length], &algorithm[..], &signature].concat())
        }
    };
    // A peer that has the key does not ask for it.
    let raw = own.raw.filter(|_| sends_certificate(connection, wanted.raw));
    let mut certificates: Vec<_> = raw.iter().map(|raw| (CertEncoding::RAW_PUBLIC_KEY, raw.der().to_vec())).collect();
    if sends_certificate(connection, wanted.certificate) {
        let all = own.certificate.iter().chain(&own.between);
        certificates.extend(all.map(|certificate| cx.credentials.to_send(certificate, wanted.looks_up)));
    }
    Ok(Signed { method, value, scheme, certificates })
}

fn send_certificates(chain: &mut ChainBuilder, certificates: &[(CertEncoding, Vec<u8>)]) {
    for (encoding, data) in certificates {
        chain.cert(*encoding, data);
    }
}

/// How the peer says it signed, and the signature; `None` if that is no way we know.
fn scheme_of(method: AuthMethod, value: &[u8]) -> Option<(Scheme, &[u8])> {
    match method {
        AuthMethod::RSA_DIGITAL_SIGNATURE => Some((Scheme::RsaPkcs1(HashAlgorithm::SHA1), value)),
        AuthMethod::ECDSA_SHA256_P256 | AuthMethod::ECDSA_SHA384_P384 | AuthMethod::ECDSA_SHA512_P521 => {
            Some((Scheme::EcdsaFixed, value))
        }
        AuthMethod::DIGITAL_SIGNATURE => {
            let (length, rest) = value.split_first()?;
            let (algorithm, signature) = rest.split_at_checked(usize::from(*length))?;
            // RFC 7427 section 4 and RFC 8247 section 3.2: never with SHA-1, which we do not announce.
            let scheme =
                Scheme::from_algorithm_identifier(algorithm).filter(|s| s.hash() != Some(HashAlgorithm::SHA1))?;
            Some((scheme, signature))
        }
        _ => None,
    }
}

fn identity(id: Id<'_>) -> Identity {
    Identity::from_wire(id.kind.0, id.data)
}

/// Whether both ends are to prove themselves in one round and in a way that IKEv2 has. Anything else the configuration
/// asks for must never become less.
fn one_round(connection: &Connection) -> Result<(), FailureKind> {
    let rounds = |first, more| std::iter::once(first).chain(more);
    let ours = rounds(&connection.local, &connection.local_more);
    let all = ours.chain(rounds(&connection.remote, &connection.remote_more));
    let method = if all.into_iter().any(|a| a.method == Method::Xauth) {
        "XAuth"
    } else if connection.local_more.is_empty() && connection.remote_more.is_empty() {
        return Ok(());
    } else {
        "a second round of authentication"
    };
    Err(FailureKind::AuthMethodUnsupported { method: method.into() })
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// Sends IKE_AUTH. `init_request` is our IKE_SA_INIT request, which our AUTH covers.
/// `wanted` is what its answer says about certificates, `solution` that of the puzzle in it, if there is one.
pub(super) fn send(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    init_request: &[u8],
    wanted: &Wanted,
    solution: &[u8],
) -> Verdict {
    let (Some(connection), Some(local)) = (sa.connection.clone(), sa.local_id.clone()) else { return Verdict::Keep };
    if let Err(kind) = one_round(&connection) {
        return Verdict::End(kind);
    }
    let expected = &connection.remote.id;
    let State::AuthSent(auth) = &sa.state else { return Verdict::Keep };
    let childless = auth.childless;
    let id = id_body(local.kind().number(), local.data());
    let (nonce, sk_p) = (&auth.nonce_r, &auth.auth.initiator);
    let mut chain = ChainBuilder::new();
    chain.id_i(IdType(local.kind().number()), local.data());
    let (method, value, how) = if connection.local.method == Method::Pubkey {
        let octets = signed_octets(&auth.keys, init_request, nonce, sk_p, &id);
        match sign(cx, &connection, &local, wanted, &octets) {
            Ok(signed) => {
                send_certificates(&mut chain, &signed.certificates);
                (signed.method, Secret::new(signed.value), signed.scheme.to_string())
            }
            Err(kind) => return Verdict::End(kind),
        }
    } else {
        let Some(psk) = best_psk(&cx.secrets, &local, expected).first().map(|s| (*s).clone()) else {
            return Verdict::End(FailureKind::PskMissing { local, remote: expected.clone() });
        };
        let value = auth_value(&auth.keys, &psk, init_request, nonce, sk_p, &id);
        (AuthMethod::SHARED_KEY_MIC, value, "pre-shared key".to_string())
    };
    request_certificate(&mut chain, cx, [&connection], MOST_NAMED);
    if !expected.is_wildcard() {
        chain.id_r(IdType(expected.kind().number()), expected.data());
    }
    chain.auth(method, value.expose());
    sa.one_of_two.tell(now, &connection, &mut chain);
    crash::tell(cx, &mut chain, sa.spis);
    window::announce(cx, &mut chain, &mut sa.replies);
    if sa.initial_contact && !cx.has_another_at(sa.id, sa.remote.ip()) {
        // RFC 7296 section 2.4: this is the only IKE SA between these identities.
        chain.notify(ProtocolId::NONE, &[], NotifyType::INITIAL_CONTACT, &[]);
    }
    if connection.mobike {
        mobility::announce(sa, cx, &mut chain);
    }
    configuration::ask(sa, &mut chain);
    if let Some(larval) = sa.children.first().filter(|_| !childless)
        && let Some(config) = child::config_of(&connection, &larval.name)
    {
        chain.sa(&child::offer(&child::first_proposals(config), &larval.spi_in.to_be_bytes()));
        let ts = child::Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
        let offered = with_trigger(&ts, larval.trigger);
        chain.ts_i(&on_wire(&offered.local));
        chain.ts_r(&on_wire(&offered.remote));
        ask_for_transport(&mut chain, transport_of(sa, larval));
    }
    sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with {how}"));
    if !solution.is_empty() {
        chain.in_front(PayloadType::PS, solution); // RFC 8019 section 7.2.2
    }
    let answer = if childless { RuleId::IkeAuthChildRefusal } else { RuleId::IkeAuthResponse };
    sa.request(cx, now, ExchangeType::IKE_AUTH, chain, answer, Task::Auth, None);
    Verdict::Keep
}

/// The responder's answer.
pub(super) fn response(sa: &mut IkeSa, cx: &mut Context, now: Instant, response: &Request<'_>) -> Verdict {
    let chain = response.chain;
    let (Some(connection), Some(local)) = (sa.connection.clone(), sa.local_id.clone()) else { return Verdict::Keep };
    let asked_for = (!connection.remote.id.is_wildcard()).then(|| connection.remote.id.clone());
    if response.rule == RuleId::IkeAuthFailure {
        let notify = chain.error().map(|n| n.kind);
        let notified = notify.map(|n| n.to_string()).unwrap_or_default();
        sa.log(cx, "IKE", 1, format!("received {notified} notify error"));
        return Verdict::End(match notify {
            Some(NotifyType::AUTHENTICATION_FAILED) | None => {
                FailureKind::AuthenticationRefused { local, remote: asked_for }
            }
            Some(notify) => FailureKind::PeerRefused { phase: model::Phase::Ike, notify },
        });
    }
    let (Some(idr), Some(_), State::AuthSent(_)) = (chain.idr(), chain.auth(), &sa.state) else { return Verdict::Keep };
    let remote = identity(idr);
    let checked = check_response(sa, cx, now, response);
    sa.remote_id = Some(remote.clone());
    let how = match checked {
        Ok(proven) => {
            (sa.proven_by, sa.remote_certificate_until) = (Some(proven.method), proven.until);
            sa.certified = proven.certified;
            proven.how
        }
        Err(kind) => {
            // RFC 7296 section 2.21.2: the responder takes the IKE SA for established and is told in an exchange of its own,
            // whose answer nobody needs.
            let mut chain = ChainBuilder::new();
            chain.notify(ProtocolId::NONE, &[], NotifyType::AUTHENTICATION_FAILED, &[]);
            sa.last_word = Some(sa.next_request);
            sa.request(
                cx,
                now,
                ExchangeType::INFORMATIONAL,
                chain,
                RuleId::InformationalResponse,
                Task::Liveness,
                None,
            );
            return Verdict::End(kind);
        }
    };
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with {how} successful"));
    if chain.error().is_some_and(|error| error.kind == NotifyType::INVALID_SYNTAX) {
        // RFC 7296 section 2.21.2: whatever else the answer has, the responder has forgotten the IKE SA, as charon which takes
        // childless ones only (`childless = force`).
        let (phase, notify) = (model::Phase::Ike, NotifyType::INVALID_SYNTAX);
        if sa.peer_does_childless && !sa.children.is_empty() {
            let text =
                "the peer may want the Child SA in an exchange of its own (RFC 6023): childless = prefer does so";
            sa.log(cx, "IKE", 1, text.to_string());
        }
        return Verdict::End(FailureKind::PeerRefused { phase, notify });
    }
    let (nonce_i, nonce_r) = (auth_nonces(&sa.state).0, auth_nonces(&sa.state).1);
    let childless = matches!(&sa.state, State::AuthSent(auth) if auth.childless);
    sa.become_established(cx);
    sa.one_of_two.note(&connection, chain);
    crash::take(sa, cx, chain);
    configuration::take(sa, cx, chain);
    mobility::agree(sa, cx, &connection, chain, true);
    established(sa, cx, now);
    auth_lifetime::note(sa, cx, now, chain, false);
    if let Some(to) = redirect::told(sa, cx, chain) {
        cx.effects.push(Effect::Redirect { sa: sa.id, to });
        if response.rule == RuleId::IkeAuthChildRefusal {
            sa.queue.clear(); // RFC 5685 section 6: nothing follows under this IKE SA but its end
            return Verdict::Keep;
        }
    }
    if childless {
        return childless::finish(sa, cx, now, chain);
    }
    let Some(larval) = (!sa.children.is_empty()).then(|| sa.children.remove(0)) else { return Verdict::Keep };
    finish_first_child(sa, cx, now, &connection, larval, response, (&nonce_i, &nonce_r))
}

/// Checks the responder's proof, touching nothing.
pub(super) fn check_response(
    sa: &IkeSa,
    cx: &Context,
    now: Instant,
    response: &Request<'_>,
) -> Result<Proven, FailureKind> {
    let chain = response.chain;
    let missing = || FailureKind::MessageInvalid { rule: response.rule, missing: "IDr or AUTH".to_string() };
    let (Some(connection), Some(local)) = (&sa.connection, &sa.local_id) else { return Err(missing()) };
    let (Some(idr), Some((method, value)), State::AuthSent(auth)) = (chain.idr(), chain.auth(), &sa.state) else {
        return Err(missing());
    };
    let remote = identity(idr);
    if connection.remote.id.matches(&remote).is_none() {
        return Err(FailureKind::IdentityMismatch { received: remote, expected: connection.remote.id.clone() });
    }
    let id = id_body(idr.kind.0, idr.data);
    let proof = Proof {
        method,
        value,
        first_message: &auth.response,
        nonce: &auth.nonce_i,
        sk_p: &auth.auth.responder,
        id: &id,
    };
    verify(cx, now, connection, chain, (&auth.keys, &proof), (local, &remote))
}

fn auth_nonces(state: &State) -> (Vec<u8>, Vec<u8>) {
    match state {
        State::AuthSent(s) => (s.nonce_i.clone(), s.nonce_r.clone()),
        State::HalfOpen(s) => (s.nonce_i.clone(), s.nonce_r.clone()),
        _ => (Vec::new(), Vec::new()),
    }
}

fn finish_first_child(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    connection: &Arc<Connection>,
    mut larval: ChildSa,
    response: &Request<'_>,
    nonces: (&[u8], &[u8]),
) -> Verdict {
    let chain = response.chain;
    let Some(config) = child::config_of(connection, &larval.name) else { return Verdict::Keep };
    let offered = child::Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
    let ours = || config.esp_proposals.iter().map(ToString::to_string).collect();
    let agreed = match (response.rule, chain.sa()) {
        (RuleId::IkeAuthResponse, Some(answer)) => {
            larval.spi_out = answer.first().and_then(wire::v2::Proposal::child_spi).unwrap_or(0);
            let mode = answered_mode(transport_of(sa, &larval), chain);
            let (tsi, tsr) = answered_selectors(sa, mode, chain);
            let agreed = child::accept(&child::first_proposals(config), &offered, answer, &tsi, &tsr, mode);
            match configuration::failure(sa, None) {
                Some(kind) => Err(kind),
                None => agreed
                    .and_then(|agreed| assigned_only(sa, config, agreed))
                    .and_then(|agreed| certified_only(sa, agreed))
                    .map(|agreed| heard(agreed, chain)),
            }
        }
        _ => {
            let notify = chain.error().map_or(NotifyType::NO_PROPOSAL_CHOSEN, |n| n.kind);
            Err(configuration::failure(sa, Some(notify))
                .unwrap_or_else(|| child_refusal(notify, ours(), offered.clone())))
        }
    };
    let refused_by_peer = response.rule != RuleId::IkeAuthResponse;
    let agreed = agreed.and_then(|a| {
        let keys = sa.keys().and_then(|k| child_keys(k, &a.suite, None, nonces));
        match keys {
            Some(keys) if larval.spi_out != 0 => Ok((a, keys)),
            _ => Err(FailureKind::ChoiceNotOffered {
                phase: model::Phase::Child,
                mismatch: model::Mismatch { differing: Vec::new() },
            }),
        }
    });
    match agreed {
        Ok((agreed, keys)) => {
            let (id, name) = (larval.id, larval.name.clone());
            larval.of_auth = true;
            let (taken, by_packet) = (agreed.selectors.clone(), larval.trigger.is_some());
            sa.install(cx, now, larval, agreed, keys, Role::Initiator);
            probe_soon(sa, cx, now, id);
            child_up(sa, cx, now, id);
            if !others_follow(sa, cx) && !by_packet {
                ask_for_rest(sa, cx, chain, &name, (&offered, &taken));
            }
            Verdict::Keep
        }
        Err(kind) => {
            let (id, spi) = (larval.id, larval.spi_in);
            let wish = refused::wish(&larval);
            sa.children.push(larval);
            let single =
                FailureKind::PeerRefused { phase: model::Phase::Child, notify: NotifyType::SINGLE_PAIR_REQUIRED };
            if kind == single && for_single_pair(sa, cx, id) {
                sa.queue.push_front(Task::CreateChild { child: id });
                others_follow(sa, cx);
                return Verdict::Keep;
            }
            if refused_by_peer {
                remove_child(sa, cx, now, id, kind.clone());
            } else {
                // The responder has installed it: it must hear that we do not.
                sa.enqueue(cx, now, Task::DeleteChild { spi, reason: kind.clone() });
            }
            // RFC 7296 section 3.15.4: without the address that the configuration needs the IKE SA is of no use.
            if cx.settings.close_ike_on_child_failure || matches!(kind, FailureKind::NoVirtualAddress { .. }) {
                sa.enqueue(cx, now, Task::DeleteIke { reason: kind });
            } else {
                wish.filter(|_| kind != single).into_iter().for_each(|wish| refused::ask_later(sa, cx, now, wish));
                others_follow(sa, cx);
            }
            Verdict::Keep
        }
    }
}

/// The IKE SA takes the place of another one, if it does: what else that has comes too, whatever became of the first Child SA.
fn others_follow(sa: &mut IkeSa, cx: &mut Context) -> bool {
    let old = sa.replaces.take();
    old.into_iter().for_each(|old| cx.effects.push(Effect::Replace { old, by: sa.id }));
    old.is_some()
}

/// Of the selectors that the responder agrees to, those of the addresses that it assigned: it may have left more of what
/// we asked for than it should (RFC 7296 section 2.19).
fn assigned_only(sa: &IkeSa, config: &config::Child, mut agreed: child::Agreed) -> Result<child::Agreed, FailureKind> {
    if sa.wishes.is_empty() {
        return Ok(agreed);
    }
    let ends = sa.ends();
    let ours = child::configured_for(config, &ends.inner_local, &ends.inner_remote);
    let narrowed = narrow(&ours.local, &agreed.selectors.local);
    if narrowed.is_empty() {
        return Err(FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local: ours.local,
            remote: ours.remote,
            peer_local: agreed.selectors.remote,
            peer_remote: agreed.selectors.local,
        });
    }
    agreed.selectors.local = narrowed;
    Ok(agreed)
}

// ---------------------------------------------------------------------------------------------------------- responder

/// The initiator's request.
pub(super) fn request(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    request: &Request<'_>,
) -> (ChainBuilder, Verdict) {
    let mut reply = ChainBuilder::new();
    let State::HalfOpen(half_open) = &sa.state else {
        // RFC 7296 section 2.16 and 4: IKE_AUTH has one round here, and only one.
        reply.notify(ProtocolId::NONE, &[], NotifyType::INVALID_SYNTAX, &[]);
        return (reply, Verdict::Keep);
    };
    if mobility::forbidden_nat(request.chain, request.path) {
        // RFC 4555 section 3.9: nothing else is done with such a request.
        reply.notify(ProtocolId::NONE, &[], NotifyType::UNEXPECTED_NAT_DETECTED, &[]);
        let (phase, notify) = (model::Phase::Ike, NotifyType::UNEXPECTED_NAT_DETECTED);
        return (reply, Verdict::End(FailureKind::PeerRefused { phase, notify }));
    }
    if waits_for_certificates(sa, cx, now, request.chain) {
        return (reply, Verdict::Wait);
    }
    let peer = request.chain.idi().map(identity);
    let outcome = authenticate(cx, now, half_open, sa, request);
    let Authenticated { connection, local, remote, auth, proven } = match outcome {
        Ok(authenticated) => authenticated,
        Err((_, kind)) if waits_for_lists(sa, cx, now, &kind, request.chain) => return (reply, Verdict::Wait),
        Err((connection, kind)) => {
            sa.connection = connection.or(sa.connection.take());
            sa.remote_id = peer;
            // Section 2.21.2: the peer learns that it failed, never why; of the form of its request it does (RFC 6023
            // section 3).
            let form = matches!(kind, FailureKind::ChildlessMismatch { .. });
            let notify = if form { NotifyType::INVALID_SYNTAX } else { NotifyType::AUTHENTICATION_FAILED };
            reply.notify(ProtocolId::NONE, &[], notify, &[]);
            return (reply, Verdict::End(kind));
        }
    };
    let (nonce_i, nonce_r) = auth_nonces(&sa.state);
    (sa.proven_by, sa.remote_certificate_until) = (Some(proven.method), proven.until);
    sa.certified = proven.certified;
    sa.connection = Some(Arc::clone(&connection));
    sa.local_id = Some(local.clone());
    sa.remote_id = Some(remote.clone());
    sa.become_established(cx);
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with {} successful", proven.how));
    reply.id_r(IdType(local.kind().number()), local.data());
    send_certificates(&mut reply, &auth.certificates);
    reply.auth(auth.method, auth.value.expose());
    sa.one_of_two.note(&connection, request.chain);
    sa.one_of_two.answer(now, &mut reply);
    crash::tell(cx, &mut reply, sa.spis);
    window::announce(cx, &mut reply, &mut sa.replies);
    crash::take(sa, cx, request.chain);
    sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with {}", auth.how));
    let only = request.chain.notify(NotifyType::INITIAL_CONTACT).is_some() && connection.unique != Unique::Never;
    let alone = only || connection.unique == Unique::Replace;
    if alone {
        cx.effects.push(Effect::OnlySa { sa: sa.id, local, remote, forgotten: only });
    }
    let served = configuration::serve(sa, cx, now, &connection, request.chain, alone, &mut reply);
    mobility::agree(sa, cx, &connection, request.chain, false);
    if sa.mobility.enabled {
        mobility::announce(sa, cx, &mut reply);
    }
    established(sa, cx, now);
    auth_lifetime::tell(sa, cx, now, &mut reply);
    let made = match served {
        Ok(()) => first_child(sa, cx, now, &connection, request, (&nonce_i, &nonce_r), &mut reply),
        Err(kind) => Err((None, kind)),
    };
    if let Err((index, kind)) = made {
        let name = index.and_then(|i| connection.children.get(i)).map(|c| c.name.clone());
        let notify = match kind {
            // RFC 7296 section 3.10.1: what had to be asked for, and what could not be had.
            FailureKind::NoVirtualAddress { ref asked, .. } if asked.is_empty() => NotifyType::FAILED_CP_REQUIRED,
            FailureKind::NoVirtualAddress { .. } => NotifyType::INTERNAL_ADDRESS_FAILURE,
            ref kind => refusal(&connection, index, kind),
        };
        reply.notify(ProtocolId::NONE, &[], notify, &[]);
        let tombstone = sa.tombstone(cx, now, kind.clone(), Some(name.as_deref().unwrap_or("-")));
        cx.event(Event::Ended(Box::new(tombstone)));
        if cx.settings.close_ike_on_child_failure {
            sa.queue.push_back(Task::DeleteIke { reason: kind });
        }
    }
    (reply, Verdict::Keep)
}

struct Authenticated {
    connection: Arc<Connection>,
    local: Identity,
    remote: Identity,
    auth: OwnProof,
    /// The peer's.
    proven: Proven,
}

/// Our AUTH payload, and the certificates that go with it.
struct OwnProof {
    method: AuthMethod,
    value: Secret,
    certificates: Vec<(CertEncoding, Vec<u8>)>,
    how: String,
}

/// Finds the connection of this peer and checks the proof, touching nothing.
fn authenticate(
    cx: &Context,
    now: Instant,
    half_open: &HalfOpen,
    sa: &IkeSa,
    request: &Request<'_>,
) -> Result<Authenticated, (Option<Arc<Connection>>, FailureKind)> {
    let chain = request.chain;
    let Some(idi) = chain.idi() else {
        let missing = "IDi".to_string();
        return Err((None, FailureKind::MessageInvalid { rule: RuleId::IkeAuthRequest, missing }));
    };
    let remote = identity(idi);
    let asked_for = chain.idr().map(identity);
    let address: IpAddr = request.path.local.ip();
    let mut fitting: Vec<(u32, &Arc<Connection>)> = half_open
        .candidates
        .iter()
        .filter(|c| sa.suite.as_ref().is_none_or(|suite| permits(c, suite)))
        .filter(|c| childless::permits(c, request.rule).is_ok())
        .filter_map(|c| policy::identity_fit(c, &remote, asked_for.as_ref(), address).map(|score| (score, c)))
        .collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    if fitting.is_empty() {
        let fits = |c: &&Arc<Connection>| policy::identity_fit(c, &remote, asked_for.as_ref(), address).is_some();
        let other_form =
            |c: &Arc<Connection>| childless::permits(c, request.rule).err().map(|kind| (Some(Arc::clone(c)), kind));
        if let Some(refusal) = half_open.candidates.iter().filter(fits).find_map(other_form) {
            return Err(refusal);
        }
        // Does it fail because of who the peer is, or because of whom it asks for?
        let known: Vec<&Arc<Connection>> =
            half_open.candidates.iter().filter(|c| policy::identity_fit(c, &remote, None, address).is_some()).collect();
        if let (Some(first), Some(asked_for)) = (known.first(), asked_for.clone()) {
            let ours = known.iter().map(|c| format!("{}: {}", c.name, own_identity(c, request.path.local))).collect();
            return Err((Some(Arc::clone(first)), FailureKind::NotAddressed { remote, asked_for, ours }));
        }
        let expected = half_open.candidates.iter().map(|c| format!("{}: {}", c.name, c.remote.id)).collect();
        let first = half_open.candidates.first().cloned();
        return Err((first, FailureKind::IdentityUnknown { received: remote, asked_for, expected }));
    }
    let mut failed = None;
    for (_, connection) in fitting.into_iter().take(MAX_TRIED) {
        match prove(cx, now, half_open, request, connection, (&remote, asked_for.clone())) {
            Ok(authenticated) => return Ok(authenticated),
            // Another connection may want what the peer has.
            Err(kind @ (FailureKind::AuthMethodMismatch { .. } | FailureKind::CertificateUntrusted { .. })) => {
                // What only lacks a revocation list may still turn out to be right.
                let unknown = CertificateProblem::RevocationUnknown;
                let open = matches!(kind, FailureKind::CertificateUntrusted { problem, .. } if problem == unknown);
                if open || failed.is_none() {
                    failed = Some((Some(Arc::clone(connection)), kind));
                }
            }
            Err(kind) => return Err(failed.unwrap_or((Some(Arc::clone(connection)), kind))),
        }
    }
    Err(failed.unwrap_or((None, FailureKind::AuthMethodUnsupported { method: "none".into() })))
}

/// Checks the peer's proof by one connection, and makes ours.
fn prove(
    cx: &Context,
    now: Instant,
    half_open: &HalfOpen,
    request: &Request<'_>,
    connection: &Arc<Connection>,
    (remote, asked_for): (&Identity, Option<Identity>),
) -> Result<Authenticated, FailureKind> {
    let chain = request.chain;
    one_round(connection)?;
    let Some((method, value)) = chain.auth() else {
        // Section 2.16: leaving AUTH out asks for EAP.
        return Err(FailureKind::AuthMethodUnsupported { method: "EAP".into() });
    };
    let local = if connection.local.id.is_wildcard()
        && connection.local.certs.is_empty()
        && connection.local.pubkeys.is_empty()
    {
        asked_for.filter(|id| !id.is_wildcard()).unwrap_or_else(|| own_identity(connection, request.path.local))
    } else {
        own_identity(connection, request.path.local)
    };
    // Reauthentication makes the new one before the old one goes: at the same place.
    let taken = connection.unique == Unique::Keep && cx.held_elsewhere(&local, remote, request.path.remote);
    if taken && chain.notify(NotifyType::INITIAL_CONTACT).is_none() {
        return Err(FailureKind::NotUnique { remote: remote.clone() });
    }
    let id = id_body(remote.kind().number(), remote.data());
    let (keys, sk_p) = (&half_open.keys, &half_open.auth);
    let proof = Proof {
        method,
        value,
        first_message: &half_open.request,
        nonce: &half_open.nonce_r,
        sk_p: &sk_p.initiator,
        id: &id,
    };
    let mut proven = verify(cx, now, connection, chain, (keys, &proof), (&local, remote))?;
    // Those that go when this one is up do not count.
    let alone = connection.unique == Unique::Replace
        || (connection.unique != Unique::Never && chain.notify(NotifyType::INITIAL_CONTACT).is_some());
    if let Some(kind) = cx.too_many_of(&local, remote).filter(|_| !alone) {
        return Err(kind);
    }
    let own = id_body(local.kind().number(), local.data());
    let (message, nonce, sk_p) = (&half_open.response, &half_open.nonce_i, &sk_p.responder);
    let auth = if connection.local.method == Method::Pubkey {
        let octets = signed_octets(keys, message, nonce, sk_p, &own);
        let wanted = Wanted::of(chain, half_open.hashes.clone());
        let Signed { method, value, scheme, certificates } = sign(cx, connection, &local, &wanted, &octets)?;
        OwnProof { method, value: Secret::new(value), certificates, how: scheme.to_string() }
    } else {
        let missing = || FailureKind::PskMissing { local: local.clone(), remote: remote.clone() };
        let best = || best_psk(&cx.secrets, &local, remote).first().map(|s| (*s).clone());
        // Of several secrets it is the one that the peer used.
        let psk = proven.psk.take().or_else(best).ok_or_else(missing)?;
        let value = auth_value(keys, &psk, message, nonce, sk_p, &own);
        let (method, how) = (AuthMethod::SHARED_KEY_MIC, "pre-shared key".into());
        OwnProof { method, value, certificates: Vec::new(), how }
    };
    Ok(Authenticated { connection: Arc::clone(connection), local, remote: remote.clone(), auth, proven })
}

/// What a peer puts forward to prove who it is.
struct Proof<'a> {
    method: AuthMethod,
    value: &'a [u8],
    first_message: &'a [u8],
    nonce: &'a [u8],
    sk_p: &'a Secret,
    id: &'a [u8],
}

/// How a peer proved itself.
pub(super) struct Proven {
    how: String,
    /// The same in tmsh's words.
    method: &'static str,
    /// The secret, if it was one.
    psk: Option<SharedSecret>,
    /// The addresses that its certificate is for (RFC 3779); any if it does not say.
    certified: Option<Vec<TrafficSelector>>,
    /// When the first certificate of it runs out, since the Unix epoch.
    until: Option<Duration>,
}

/// Checks a proof by the method that the connection wants of the peer.
fn verify(
    cx: &Context,
    now: Instant,
    connection: &Connection,
    chain: &Chain<'_>,
    (keys, proof): (&Keys, &Proof<'_>),
    (local, remote): (&Identity, &Identity),
) -> Result<Proven, FailureKind> {
    let by_key = proof.method == AuthMethod::SHARED_KEY_MIC;
    let expected = match connection.remote.method {
        Method::Pubkey if by_key => "a signature (auth = pubkey)",
        Method::Psk if !by_key => "a pre-shared key (auth = psk)",
        Method::Psk => {
            let psk = verify_psk(cx, keys, proof, local, remote)?;
            let (how, method) = ("pre-shared key".into(), "pre-shared-key");
            return Ok(Proven { how, method, psk: Some(psk), certified: None, until: None });
        }
        _ => {
            let Some((scheme, value)) = scheme_of(proof.method, proof.value) else {
                return Err(FailureKind::AuthMethodUnsupported { method: proof.method.to_string() });
            };
            let signed = signed_octets(keys, proof.first_message, proof.nonce, proof.sk_p, proof.id);
            let signature = Signature { scheme, value, signed: &signed };
            let Checked { kind, addresses, until } =
                cx.credentials.check(now, connection, remote, chain.certs(), &signature)?;
            let (how, method) = (scheme.to_string(), method_name(kind));
            return Ok(Proven { how, method, psk: None, certified: addresses, until });
        }
    };
    Err(FailureKind::AuthMethodMismatch { expected: expected.into(), received: proof.method.to_string() })
}

/// Checks a proof against every secret of this pair of identities; returns the one that fits.
fn verify_psk(
    cx: &Context,
    keys: &Keys,
    proof: &Proof<'_>,
    local: &Identity,
    remote: &Identity,
) -> Result<SharedSecret, FailureKind> {
    let secrets = best_psk(&cx.secrets, local, remote);
    if secrets.is_empty() {
        return Err(FailureKind::PskMissing { local: local.clone(), remote: remote.clone() });
    }
    let tried = secrets.len();
    let fits = |psk: &&&SharedSecret| {
        let expected = auth_value(keys, psk, proof.first_message, proof.nonce, proof.sk_p, proof.id);
        crypto::equal(expected.expose(), proof.value)
    };
    match secrets.iter().find(fits) {
        Some(psk) => Ok((*psk).clone()),
        None => Err(FailureKind::PskMismatch { local: local.clone(), remote: remote.clone(), tried }),
    }
}

fn first_child(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    connection: &Arc<Connection>,
    request: &Request<'_>,
    nonces: (&[u8], &[u8]),
    reply: &mut ChainBuilder,
) -> Result<(), (Option<usize>, FailureKind)> {
    let chain = request.chain;
    let Some(offered) = chain.sa() else { return Ok(()) }; // childless (RFC 6023)
    let (tsi, tsr) = (selectors(chain.tsi()), selectors(chain.tsr()));
    let transport = transport_wish(sa, chain);
    let (index, agreed) = child::choose(connection, &sa.ends(), offered, &tsi, &tsr, transport)?;
    let agreed = heard(agreed, chain);
    let spi_out = child::offered_spi(offered, agreed.number);
    let keys = sa.keys().and_then(|k| child_keys(k, &agreed.suite, None, nonces));
    let (Some(config), Some(spi_out), Some(keys)) = (connection.children.get(index), spi_out, keys) else {
        let missing = "an SPI of four octets, not zero, in the chosen proposal".to_string();
        return Err((Some(index), FailureKind::MessageInvalid { rule: RuleId::IkeAuthRequest, missing }));
    };
    let mut new = ChildSa::larval(cx, config, agreed.selectors.clone());
    (new.spi_out, new.of_auth) = (spi_out, true);
    let id = new.id;
    reply.sa(&[child::answer(&agreed, new.spi_in)]);
    answer_selectors(reply, &agreed);
    sa.install(cx, now, new, agreed, keys, Role::Responder);
    probe_soon(sa, cx, now, id);
    child_up(sa, cx, now, id);
    Ok(())
}

// --------------------------------------------------------------------------------------------------------------- both

fn established(sa: &mut IkeSa, cx: &mut Context, now: Instant) {
    sa.established = Some(now);
    sa.retransmissions.sent = 0;
    sa.start_lifetime(cx, now);
    sa.note_peer(cx);
    cx.effects.push(Effect::Established { sa: sa.id });
    cx.event(Event::IkeUp(Box::new(sa.snapshot(cx, now))));
}

pub(super) fn child_up(sa: &IkeSa, cx: &mut Context, now: Instant, child: model::SaId) {
    let snapshot = sa.snapshot_of_child(cx, now, child);
    cx.event(Event::ChildUp(Box::new(snapshot)));
}
