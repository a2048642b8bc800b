//! IKE_AUTH (RFC 7296 section 1.2): identities, proof of them, and the first Child SA.
//!
//! ```text
//! HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}  -->
//!                                        <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
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

use super::child::{self, ChildSa};
use super::exchange::{Request, Task, Verdict};
use super::ike_sa_init::{own_identity, permits};
use super::informational::{child_refusal, remove_child};
use super::keys::{Keys, child_keys};
use super::sa::{HalfOpen, IkeSa, State};
use crate::context::{Context, Effect};
use crate::policy;
use config::{AuthMethod as Method, Connection, SharedSecret, Unique, best_psk};
use model::dataplane::Mode;
use model::{Event, FailureKind, Identity, Instant, Role, TrafficSelector};
use std::net::IpAddr;
use std::sync::Arc;
use wire::grammar::RuleId;
use wire::v2::{Chain, ChainBuilder, Id};
use wire::{AuthMethod, ExchangeType, IdType, NotifyType, ProtocolId, Secret};

/// The Identification payload without its generic header, which AUTH covers (RFC 7296 section 2.15: RestOfIDPayload).
fn id_body(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0];
    body.extend_from_slice(data);
    body
}

/// The AUTH value of one end: what it sent first, the other's nonce, and its identity under its SK_p.
fn auth_value(keys: &Keys, psk: &SharedSecret, first_message: &[u8], nonce: &[u8], sk_p: &Secret, id: &[u8]) -> Secret {
    let identity = crypto::v2::id_mac(keys.prf, sk_p, id);
    crypto::v2::psk_auth(keys.prf, psk.secret.expose(), &[first_message, nonce, identity.expose()])
}

fn identity(id: Id<'_>) -> Identity {
    Identity::from_wire(id.kind.0, id.data)
}

pub(super) fn selectors(list: Option<&[wire::v2::TrafficSelector]>) -> Vec<TrafficSelector> {
    list.unwrap_or_default().iter().map(|ts| TrafficSelector::from(*ts)).collect()
}

pub(super) fn on_wire(list: &[TrafficSelector]) -> Vec<wire::v2::TrafficSelector> {
    list.iter().map(|ts| wire::v2::TrafficSelector::from(*ts)).collect()
}

/// Whether both ends are to prove themselves in the one way that is implemented, in one round. Anything else the
/// configuration asks for must never become a pre-shared key.
fn only_psk(connection: &Connection) -> Result<(), FailureKind> {
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
pub(super) fn send(sa: &mut IkeSa, cx: &mut Context, now: Instant, init_request: &[u8]) -> Verdict {
    let (Some(connection), Some(local)) = (sa.connection.clone(), sa.local_id.clone()) else { return Verdict::Keep };
    if let Err(kind) = only_psk(&connection) {
        return Verdict::End(kind);
    }
    let expected = &connection.remote.id;
    let Some(psk) = best_psk(&cx.secrets, &local, expected).first().map(|s| (*s).clone()) else {
        return Verdict::End(FailureKind::PskMissing { local, remote: expected.clone() });
    };
    let State::AuthSent(auth) = &sa.state else { return Verdict::Keep };
    let id = id_body(local.kind().number(), local.data());
    let value = auth_value(&auth.keys, &psk, init_request, &auth.nonce_r, &auth.auth.initiator, &id);

    let mut chain = ChainBuilder::new();
    chain.id_i(IdType(local.kind().number()), local.data());
    if !expected.is_wildcard() {
        chain.id_r(IdType(expected.kind().number()), expected.data());
    }
    chain.auth(AuthMethod::SHARED_KEY_MIC, value.expose());
    if sa.initial_contact {
        // RFC 7296 section 2.4: this is the only IKE SA between these identities.
        chain.notify(ProtocolId::NONE, &[], NotifyType::INITIAL_CONTACT, &[]);
    }
    if let Some(larval) = sa.children.first()
        && let Some(config) = child::config_of(&connection, &larval.name)
    {
        chain.sa(&child::offer(&child::first_proposals(config), &larval.spi_in.to_be_bytes()));
        chain.ts_i(&on_wire(&larval.local_ts));
        chain.ts_r(&on_wire(&larval.remote_ts));
        ask_for_transport(&mut chain, transport_of(sa, larval));
    }
    sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with pre-shared key"));
    sa.request(cx, now, ExchangeType::IKE_AUTH, chain, RuleId::IkeAuthResponse, Task::Auth);
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
    let (Some(idr), Some((method, value))) = (chain.idr(), chain.auth()) else { return Verdict::Keep };
    let remote = identity(idr);
    let State::AuthSent(auth) = &sa.state else { return Verdict::Keep };
    let checked = if connection.remote.id.matches(&remote).is_none() {
        Err(FailureKind::IdentityMismatch { received: remote.clone(), expected: connection.remote.id.clone() })
    } else {
        let id = id_body(idr.kind.0, idr.data);
        let proof = Proof {
            method,
            value,
            first_message: &auth.response,
            nonce: &auth.nonce_i,
            sk_p: &auth.auth.responder,
            id: &id,
        };
        verify(cx, &auth.keys, &proof, &local, &remote)
    };
    sa.remote_id = Some(remote.clone());
    if let Err(kind) = checked {
        // RFC 7296 section 2.21.2: the responder takes the IKE SA for established and is told in an exchange of its own,
        // whose answer nobody needs.
        let mut chain = ChainBuilder::new();
        chain.notify(ProtocolId::NONE, &[], NotifyType::AUTHENTICATION_FAILED, &[]);
        sa.request(cx, now, ExchangeType::INFORMATIONAL, chain, RuleId::InformationalResponse, Task::Liveness);
        return Verdict::End(kind);
    }
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with pre-shared key successful"));
    let (nonce_i, nonce_r) = (auth_nonces(&sa.state).0, auth_nonces(&sa.state).1);
    sa.become_established(cx);
    established(sa, cx, now);

    let Some(larval) = (!sa.children.is_empty()).then(|| sa.children.remove(0)) else { return Verdict::Keep };
    finish_first_child(sa, cx, now, &connection, larval, response, (&nonce_i, &nonce_r))
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
            let (tsi, tsr) = (selectors(chain.tsi()), selectors(chain.tsr()));
            larval.spi_out = answer.first().and_then(wire::v2::Proposal::child_spi).unwrap_or(0);
            let mode = answered_mode(transport_of(sa, &larval), chain);
            child::accept(&child::first_proposals(config), &offered, answer, &tsi, &tsr, mode)
        }
        _ => {
            let notify = chain.error().map_or(NotifyType::NO_PROPOSAL_CHOSEN, |n| n.kind);
            Err(child_refusal(notify, ours(), offered))
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
            let id = larval.id;
            sa.install(cx, now, larval, agreed, keys, Role::Initiator);
            child_up(sa, cx, now, id);
            if let Some(old) = sa.replaces.take() {
                cx.effects.push(Effect::Replace { old, by: sa.id });
            }
            Verdict::Keep
        }
        Err(kind) => {
            let (id, spi) = (larval.id, larval.spi_in);
            sa.children.push(larval);
            if refused_by_peer {
                remove_child(sa, cx, now, id, kind.clone());
            } else {
                // The responder has installed it: it must hear that we do not.
                sa.enqueue(cx, now, Task::DeleteChild { spi, reason: kind.clone() });
            }
            if cx.settings.close_ike_on_child_failure {
                sa.enqueue(cx, now, Task::DeleteIke { reason: kind });
            }
            Verdict::Keep
        }
    }
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
    let peer = request.chain.idi().map(identity);
    let outcome = authenticate(cx, half_open, sa, request);
    let Authenticated { connection, local, remote, auth, .. } = match outcome {
        Ok(authenticated) => authenticated,
        Err((connection, kind)) => {
            sa.connection = connection.or(sa.connection.take());
            sa.remote_id = peer;
            // Section 2.21.2: the peer learns that it failed, never why.
            reply.notify(ProtocolId::NONE, &[], NotifyType::AUTHENTICATION_FAILED, &[]);
            return (reply, Verdict::End(kind));
        }
    };
    let (nonce_i, nonce_r) = auth_nonces(&sa.state);
    sa.connection = Some(Arc::clone(&connection));
    sa.local_id = Some(local.clone());
    sa.remote_id = Some(remote.clone());
    sa.become_established(cx);
    sa.log(cx, "IKE", 1, format!("authentication of '{remote}' with pre-shared key successful"));
    reply.id_r(IdType(local.kind().number()), local.data());
    reply.auth(AuthMethod::SHARED_KEY_MIC, auth.expose());
    let only = request.chain.notify(NotifyType::INITIAL_CONTACT).is_some() && connection.unique != Unique::Never;
    if only || connection.unique == Unique::Replace {
        cx.effects.push(Effect::OnlySa { sa: sa.id, local, remote, forgotten: only });
    }
    established(sa, cx, now);
    if let Err((index, kind)) = first_child(sa, cx, now, &connection, request, (&nonce_i, &nonce_r), &mut reply) {
        let name = index.and_then(|i| connection.children.get(i)).map(|c| c.name.clone());
        let notify = match kind {
            FailureKind::NoProposalChosen { .. } => NotifyType::NO_PROPOSAL_CHOSEN,
            _ => NotifyType::TS_UNACCEPTABLE,
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
    auth: Secret,
}

/// Finds the connection of this peer and checks the proof, touching nothing.
fn authenticate(
    cx: &Context,
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
        .filter_map(|c| policy::identity_fit(c, &remote, asked_for.as_ref(), address).map(|score| (score, c)))
        .collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let Some(connection) = fitting.first().map(|(_, c)| Arc::clone(c)) else {
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
    };
    let fail = |kind| (Some(Arc::clone(&connection)), kind);
    only_psk(&connection).map_err(fail)?;
    let Some((method, value)) = chain.auth() else {
        // Section 2.16: leaving AUTH out asks for EAP.
        return Err(fail(FailureKind::AuthMethodUnsupported { method: "EAP".into() }));
    };
    let local = if connection.local.id.is_wildcard() {
        asked_for.filter(|id| !id.is_wildcard()).unwrap_or_else(|| own_identity(&connection, request.path.local))
    } else {
        connection.local.id.clone()
    };
    // The same peer at the same place may replace its own SA: reauthentication makes the new one before the old one goes.
    let elsewhere = cx
        .peers
        .get(&(local.clone(), remote.clone()))
        .is_some_and(|sas| sas.values().any(|at| *at != request.path.remote));
    let taken = connection.unique == Unique::Keep && elsewhere;
    if taken && chain.notify(NotifyType::INITIAL_CONTACT).is_none() {
        return Err(fail(FailureKind::NotUnique { remote }));
    }
    let id = id_body(idi.kind.0, idi.data);
    let (keys, sk_p) = (&half_open.keys, &half_open.auth);
    let proof = Proof {
        method,
        value,
        first_message: &half_open.request,
        nonce: &half_open.nonce_r,
        sk_p: &sk_p.initiator,
        id: &id,
    };
    let psk = verify(cx, keys, &proof, &local, &remote).map_err(fail)?;
    let own = id_body(local.kind().number(), local.data());
    let auth = auth_value(keys, &psk, &half_open.response, &half_open.nonce_i, &sk_p.responder, &own);
    Ok(Authenticated { connection, local, remote, auth })
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

/// Checks a proof against every secret of this pair of identities; returns the one that fits.
fn verify(
    cx: &Context,
    keys: &Keys,
    proof: &Proof<'_>,
    local: &Identity,
    remote: &Identity,
) -> Result<SharedSecret, FailureKind> {
    if proof.method != AuthMethod::SHARED_KEY_MIC {
        return Err(FailureKind::AuthMethodUnsupported { method: proof.method.to_string() });
    }
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
    let (index, agreed) = child::choose(connection, sa.local.ip(), sa.remote.ip(), offered, &tsi, &tsr, transport)?;
    let spi_out = offered.iter().find(|p| p.number == agreed.number).and_then(wire::v2::Proposal::child_spi);
    let keys = sa.keys().and_then(|k| child_keys(k, &agreed.suite, None, nonces));
    let (Some(config), Some(spi_out), Some(keys)) = (connection.children.get(index), spi_out, keys) else {
        let missing = "an SPI of four octets in the chosen proposal".to_string();
        return Err((Some(index), FailureKind::MessageInvalid { rule: RuleId::IkeAuthRequest, missing }));
    };
    let mut new = ChildSa::larval(cx, config, agreed.selectors.clone());
    new.spi_out = spi_out;
    let id = new.id;
    reply.sa(&[child::answer(&agreed, new.spi_in)]);
    reply.ts_i(&on_wire(&agreed.told().remote));
    reply.ts_r(&on_wire(&agreed.told().local));
    ask_for_transport(reply, agreed.mode);
    sa.install(cx, now, new, agreed, keys, Role::Responder);
    child_up(sa, cx, now, id);
    Ok(())
}

// --------------------------------------------------------------------------------------------------------------- both

/// The mode that we ask for: transport where the child wants it and its selectors are those of the two hosts.
pub(super) fn transport_of(sa: &IkeSa, child: &ChildSa) -> Mode {
    let selectors = child::Selectors { local: child.local_ts.clone(), remote: child.remote_ts.clone() };
    child::mode_for(child.mode, &selectors, sa.local.ip(), sa.remote.ip())
}

/// RFC 7296 section 1.3.1: asks for transport mode, or agrees to it.
pub(super) fn ask_for_transport(chain: &mut ChainBuilder, mode: Mode) {
    if mode == Mode::Transport {
        chain.notify(ProtocolId::NONE, &[], NotifyType::USE_TRANSPORT_MODE, &[]);
    }
}

/// The mode after the responder's answer.
pub(super) fn answered_mode(asked: Mode, answer: &Chain<'_>) -> Mode {
    if answer.notify(NotifyType::USE_TRANSPORT_MODE).is_some() { asked } else { Mode::Tunnel }
}

/// Whether the initiator asks for transport mode.
pub(super) fn transport_wish(sa: &IkeSa, request: &Chain<'_>) -> child::TransportWish {
    child::TransportWish { asked: request.notify(NotifyType::USE_TRANSPORT_MODE).is_some(), nat: sa.nat }
}

fn established(sa: &mut IkeSa, cx: &mut Context, now: Instant) {
    sa.established = Some(now);
    sa.retransmissions.sent = 0;
    sa.start_lifetime(cx, now);
    sa.note_peer(cx);
    cx.event(Event::IkeUp(Box::new(sa.snapshot(cx, now))));
}

pub(super) fn child_up(sa: &IkeSa, cx: &mut Context, now: Instant, child: model::SaId) {
    let snapshot = sa.snapshot_of_child(cx, now, child);
    cx.event(Event::ChildUp(Box::new(snapshot)));
}
