//! What main and aggressive mode share: how an ISAKMP SA begins, HASH_I and HASH_R, and what follows when it is up.

use super::authentication::{self, note_requests};
use super::proposals;
use super::protection::{Keys, header};
use super::sa::{AggressiveSent, IsakmpSa, Proving, State};
use super::{aggressive, fragments, identity_protection, quick_mode, transaction};
use crate::child::{self, ChildSa, Lifetime};
use crate::context::{Context, Effect};
use crate::credentials::own_identity;
use crate::timers::Reason;
use crate::v2::Path;
use config::{Connection, Fragmentation, SharedSecret, Unique, best_psk};
use crypto::KeyExchange;
use crypto::v1::{Hash, SkeyIds};
use model::{ChosenSuite, DropReason, Event, ExchangeMode, FailureKind, Identity, Instant, Phase, Role, SaId, Side};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::OakleyAuthMethod as Method;
use wire::grammar::RuleId;
use wire::v1::{Chain, ChainBuilder, STRONGSWAN_VENDOR_ID, VendorId, message, parse_chain, vendor_name};
use wire::{ExchangeType, HEADER_LEN, Header, IkeSpi, KeyExchangeId, Secret, SpiPair, V1IdType, V1NotifyType};

/// Octets of our nonces (RFC 2409 section 5: 8 to 256).
pub(super) const NONCE_LEN: usize = 32;

/// How many pre-shared keys are tried on message 5.
pub(super) const MAX_ATTEMPTS: usize = 8;

/// What to initiate.
pub(crate) struct Wish {
    pub connection: Arc<Connection>,
    pub child: usize,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub attempt: u32,
    pub replaces: Option<SaId>,
    pub initial_contact: bool,
}

/// No limit to the volume of an ISAKMP SA is obeyed that leaves no room for the messages by which it is renewed: each new
/// one would be used up at once.
const LEAST_VOLUME: u64 = 32 * 1024;

/// How long we keep an ISAKMP SA. The configuration has no word for a volume; the peer's holds (`spent`).
fn lifetime_of(connection: &Connection) -> Lifetime {
    let time = connection.rekey_time.max(connection.reauth_time) + connection.over_time;
    Lifetime { time: Some(time).filter(|time| !time.is_zero()), octets: None }
}

/// How long both ends keep the ISAKMP SA: the shorter time of ours and what the peer has offered or told.
pub(super) fn agreed_lifetime(sa: &IsakmpSa) -> Option<std::time::Duration> {
    sa.connection.as_deref().map(lifetime_of).unwrap_or_default().shorter(sa.offered_lifetime).time
}

/// IDii_b or IDir_b: type, protocol 0, port 0, data (RFC 2407 section 4.6.2).
pub(super) fn id_body(id: &Identity) -> Vec<u8> {
    let mut body = vec![id.kind().number(), 0, 0, 0];
    body.extend_from_slice(id.data());
    body
}

pub(super) fn add_vendor_ids(chain: &mut ChainBuilder, cx: &Context, connection: &Connection) {
    if cx.settings.send_vendor_id {
        chain.vendor_id(&STRONGSWAN_VENDOR_ID);
    }
    // RFC 3947 section 3.1 and RFC 3706 section 5.
    chain.vendor_id(VendorId::Rfc3947.octets()).vendor_id(VendorId::DeadPeerDetection.octets());
    // The drafts before it, for peers that know nothing newer.
    chain.vendor_id(VendorId::NatTraversalDraft03.octets());
    chain.vendor_id(VendorId::NatTraversalDraft02LineFeed.octets()).vendor_id(VendorId::NatTraversalDraft02.octets());
    if transaction::first_stage(connection) != transaction::Stage::Done {
        chain.vendor_id(VendorId::Xauth.octets());
    }
    if !connection.vips.is_empty() || !connection.pools.is_empty() {
        chain.vendor_id(VendorId::Unity.octets());
    }
    if connection.fragmentation != Fragmentation::No {
        chain.vendor_id(VendorId::Fragmentation.octets());
    }
}

/// How many of a peer's Vendor IDs are told of.
const MAX_VENDOR_IDS: usize = 20;

pub(super) fn note_vendor_ids(sa: &mut IsakmpSa, cx: &mut Context, chain: &Chain<'_>) {
    let hex = |octets: &[u8]| octets.iter().take(16).map(|octet| format!("{octet:02x}")).collect::<String>();
    let names = chain.vendor_ids().take(MAX_VENDOR_IDS).map(|v| vendor_name(v).map_or_else(|| hex(v), str::to_string));
    let names: Vec<String> = names.collect();
    if !names.is_empty() {
        sa.log(cx, "IKE", 2, format!("received vendor IDs: {}", names.join(", ")));
    }
    for vendor in chain.vendor_ids().filter_map(VendorId::recognise) {
        sa.nat_traversal = sa.nat_traversal.max(vendor.nat_traversal());
        match vendor {
            VendorId::Fragmentation => sa.fragments = true,
            VendorId::DeadPeerDetection => sa.dead_peer_detection = true,
            VendorId::Unity => sa.unity = cx.settings.cisco_unity,
            _ => {}
        }
    }
}

/// Begins an ISAKMP SA.
///
/// # Errors
/// Why it cannot begin.
pub(crate) fn initiate(cx: &mut Context, now: Instant, wish: Wish) -> Result<IsakmpSa, FailureKind> {
    let connection = wish.connection;
    let lifetime = lifetime_of(&connection).time.unwrap_or_default().as_secs();
    let method = authentication::method(cx, &connection, wish.local, Role::Initiator)?;
    let offer = proposals::phase1_offer(&connection.proposals, lifetime, method.0);
    let spis = SpiPair { initiator: cx.ike_spi(), responder: IkeSpi::ZERO };
    let mode = if connection.aggressive { ExchangeMode::Aggressive } else { ExchangeMode::IdentityProtection };
    let local_id = own_identity(&connection, wish.local);
    let mut chain = ChainBuilder::new();
    chain.sa(&offer);
    // SAi_b: the payload without its generic header (RFC 2409 section 5).
    let sa_body = chain.octets().get(4..).unwrap_or_default().to_vec();
    let state = match mode {
        ExchangeMode::IdentityProtection => State::SaSent { sa_body },
        ExchangeMode::Aggressive => {
            let group = connection
                .proposals
                .iter()
                .flat_map(|p| p.key_exchange.iter().copied())
                .find(|g| KeyExchange::supported(*g));
            let unsupported = |e: crypto::Unsupported| FailureKind::InstallFailed { reason: e.to_string() };
            let key_exchange =
                KeyExchange::generate(group.unwrap_or(KeyExchangeId::NONE), &mut *cx.rng).map_err(unsupported)?;
            let nonce = cx.random::<NONCE_LEN>().to_vec();
            chain.ke(key_exchange.public()).nonce(&nonce);
            chain.id(V1IdType(local_id.kind().number()), 0, 0, local_id.data());
            authentication::request_certificates((method, Role::Initiator), cx, &connection, &mut chain);
            State::AggressiveSent(Box::new(AggressiveSent {
                sa_body,
                key_exchange,
                nonce,
                id_body: id_body(&local_id),
            }))
        }
    };
    add_vendor_ids(&mut chain, cx, &connection);
    let mut sa = IsakmpSa::new(cx, Role::Initiator, mode, spis, wish.local, wish.remote, state, now);
    sa.connection = Some(Arc::clone(&connection));
    sa.method = method;
    sa.local_id = Some(local_id);
    sa.attempt = wish.attempt;
    sa.replaces = wish.replaces;
    sa.initial_contact = wish.initial_contact;
    if let Some(config) = connection.children.get(wish.child) {
        let selectors = child::configured(config, wish.local.ip(), wish.remote.ip());
        let larval = ChildSa::larval(cx, config, selectors);
        sa.children.push(larval);
        sa.wanted.push(wish.child);
    }
    let what = if mode == ExchangeMode::Aggressive { "Aggressive Mode" } else { "Main Mode" };
    sa.log(cx, "IKE", 0, format!("initiating {what} IKE_SA {}[{}] to {}", connection.name, sa.id.0, wish.remote.ip()));
    if mode == ExchangeMode::Aggressive && !authentication::is_signature(method) {
        warn_about_aggressive(&sa, cx);
    }
    let (exchange, waiting_for) = match mode {
        ExchangeMode::Aggressive if authentication::signs(method, Role::Responder) => {
            (ExchangeType::AGGRESSIVE, RuleId::AggressiveMode2Signature)
        }
        ExchangeMode::IdentityProtection => (ExchangeType::IDENTITY_PROTECTION, RuleId::MainMode2),
        ExchangeMode::Aggressive => (ExchangeType::AGGRESSIVE, RuleId::AggressiveMode2),
    };
    let first = message(header(spis, exchange, 0), chain);
    sa.send(cx, now, first, Some(waiting_for), &[]);
    Ok(sa)
}

pub(super) fn warn_about_aggressive(sa: &IsakmpSa, cx: &mut Context) {
    let text = "aggressive mode with a pre-shared key shows anybody on the path a hash by which the key can be guessed offline: \
                use main mode or IKEv2";
    sa.log(cx, "CFG", 0, text.to_string());
}

/// A first message, as the endpoint found it.
pub(crate) struct FirstMessage<'a> {
    pub header: &'a Header,
    pub datagram: &'a [u8],
    pub path: Path,
    pub candidates: Vec<Arc<Connection>>,
}

/// What becomes of a first message.
pub(crate) enum Response {
    /// A half-open SA, which has answered.
    HalfOpen(Box<IsakmpSa>),
    /// Refused; the SA only exists to tell why.
    Refused(Box<IsakmpSa>, FailureKind),
    /// Nothing to answer.
    Dropped(DropReason),
}

/// Answers the first message of either mode.
pub(crate) fn respond(cx: &mut Context, now: Instant, first: FirstMessage<'_>) -> Response {
    let (header, path) = (first.header, first.path);
    let Ok(chain) =
        parse_chain(header.next_payload, first.datagram.get(HEADER_LEN..).unwrap_or_default(), HEADER_LEN, false)
    else {
        return Response::Dropped(DropReason::Malformed);
    };
    let (Some(offered), Some(sa_body)) = (chain.sa(), chain.raw(wire::PayloadType::V1_SA)) else {
        return Response::Dropped(DropReason::GrammarViolation);
    };
    let mode = match header.exchange {
        ExchangeType::AGGRESSIVE => ExchangeMode::Aggressive,
        _ => ExchangeMode::IdentityProtection,
    };
    let responder = cx.ike_spi();
    let spis = SpiPair { initiator: header.spis.initiator, responder };
    let mut sa = IsakmpSa::new(cx, Role::Responder, mode, spis, path.local, path.remote, State::Closed, now);
    sa.datagrams_in = 1;
    note_vendor_ids(&mut sa, cx, &chain);
    let allowed = |c: &&Arc<Connection>| c.aggressive == (mode == ExchangeMode::Aggressive);
    let candidates: Vec<Arc<Connection>> = first.candidates.iter().filter(allowed).cloned().collect();
    let Some(any) = candidates.first() else {
        let kind = match first.candidates.first() {
            Some(other) => {
                sa.connection = Some(Arc::clone(other));
                FailureKind::ModeMismatch { ours: !(mode == ExchangeMode::Aggressive) }
            }
            None => FailureKind::NoConfig { local: path.local, remote: path.remote },
        };
        sa.connection = first.candidates.first().cloned();
        return refuse(cx, sa, V1NotifyType::NO_PROPOSAL_CHOSEN, kind);
    };
    sa.connection = Some(Arc::clone(any));
    let methods = proposals::auth_methods(offered);
    let own: Vec<_> =
        candidates.iter().map(|c| (c, authentication::method(cx, c, path.local, Role::Responder))).collect();
    let usable: Vec<(&Arc<Connection>, Method)> = own
        .iter()
        .filter_map(|(c, method)| Some((*c, authentication::agreed(*method.as_ref().ok()?, &methods)?)))
        .collect();
    if usable.is_empty() {
        let received = Method(methods.first().copied().unwrap_or(0)).to_string();
        let kind = match own.into_iter().next() {
            Some((_, Err(kind))) => kind,
            Some((_, Ok(ours))) => FailureKind::AuthMethodMismatch { expected: ours.to_string(), received },
            None => FailureKind::AuthMethodUnsupported { method: received },
        };
        return refuse(cx, sa, V1NotifyType::NO_PROPOSAL_CHOSEN, kind);
    }
    let mut closest = None;
    let chosen =
        usable.iter().find_map(|&(c, method)| match proposals::phase1_choose(&c.proposals, offered, method.0) {
            Ok((answer, suite)) => Some((Arc::clone(c), answer, suite, method)),
            Err(mismatch) => {
                closest.get_or_insert(mismatch);
                None
            }
        });
    let Some((connection, answer, suite, method)) = chosen else {
        let ours = candidates.iter().flat_map(|c| c.proposals.iter().map(ToString::to_string)).collect();
        let kind = FailureKind::NoProposalChosen { phase: Phase::Ike, found_by: Side::Us, mismatch: closest, ours };
        return refuse(cx, sa, V1NotifyType::NO_PROPOSAL_CHOSEN, kind);
    };
    sa.suite = Some(suite);
    sa.method = method;
    note_requests(&mut sa, &chain);
    sa.offered_lifetime = proposals::phase1_lifetime(&answer);
    // The method says whether XAuth follows: a connection that wants it is not to be had without.
    let candidates: Vec<Arc<Connection>> =
        usable.iter().filter(|(_, m)| *m == method).map(|(c, _)| Arc::clone(c)).collect();
    let any = Arc::clone(&connection);
    if candidates.len() > 1 {
        sa.connection = None; // the identities decide
    } else {
        sa.connection = Some(connection);
    }
    let Some(hash) = hash_of(&suite) else { return Response::Dropped(DropReason::NoConfig) };
    sa.log(cx, "IKE", 0, format!("{} is initiating a {mode} IKE_SA", path.remote.ip()));
    sa.log(cx, "CFG", 1, format!("selected proposal: {suite}"));
    cx.timers.set(sa.id, Reason::HalfOpen, now + cx.settings.half_open_timeout);
    match mode {
        ExchangeMode::IdentityProtection => {
            let mut reply = ChainBuilder::new();
            reply.sa(&answer);
            add_vendor_ids(&mut reply, cx, &any);
            sa.state = State::SaReplied { sa_body: sa_body.to_vec(), hash, candidates };
            let reply = message(self::header(spis, header.exchange, 0), reply);
            sa.send(cx, now, reply, Some(RuleId::MainMode3), first.datagram);
            Response::HalfOpen(Box::new(sa))
        }
        ExchangeMode::Aggressive => {
            let answered = aggressive::Answer {
                chain: &chain,
                sa_body,
                answer: &answer,
                hash,
                candidates,
                datagram: first.datagram,
            };
            aggressive::respond(cx, now, sa, answered)
        }
    }
}

pub(super) fn hash_of(suite: &ChosenSuite) -> Option<Hash> {
    proposals::hash_of(suite).and_then(|h| Hash::new(wire::OakleyHash(h)).ok())
}

/// An unprotected Notify, as RFC 2408 section 5.4 allows, and the SA that only tells why.
pub(super) fn refuse(cx: &mut Context, mut sa: IsakmpSa, notify: V1NotifyType, kind: FailureKind) -> Response {
    cx.timers.cancel_all(sa.id);
    let mut chain = ChainBuilder::new();
    chain.notify(wire::ProtocolId::IKE, &[], notify, &[]);
    let id = u32::from_be_bytes(cx.random()).max(1);
    let reply = message(header(sa.spis, ExchangeType::INFORMATIONAL_V1, id), chain);
    sa.datagrams_out += 1;
    cx.transmit(sa.local, sa.remote, reply);
    sa.state = State::Closed;
    Response::Refused(Box::new(sa), kind)
}

/// HASH_I or HASH_R (RFC 2409 section 5).
pub(super) fn phase1_hash(method: Method, p: &Proving, spis: SpiPair, of: Role) -> Secret {
    let prf = authentication::hash_function(method, p.keys.hash.prf());
    let (skeyid, (g_xi, g_xr)) = (&p.keys.skeyid.skeyid, &p.publics);
    match of {
        Role::Initiator => {
            crypto::v1::hash_i(prf, skeyid, g_xi, g_xr, spis.initiator, spis.responder, &p.sa_body, &p.initiator_id)
        }
        Role::Responder => {
            crypto::v1::hash_r(prf, skeyid, g_xi, g_xr, spis.initiator, spis.responder, &p.sa_body, &p.responder_id)
        }
    }
}

/// SKEYID where the ends sign (RFC 2409 section 5), and everything below it.
pub(super) fn signature_keys(
    suite: &ChosenSuite,
    hash: Hash,
    nonces: (&[u8], &[u8]),
    shared: &Secret,
    spis: SpiPair,
    publics: (&[u8], &[u8]),
) -> Option<Keys> {
    let skeyid = crypto::v1::skeyid_signature(hash.prf(), nonces.0, nonces.1, shared);
    let ids: SkeyIds = crypto::v1::derive(hash.prf(), skeyid, shared, spis.initiator, spis.responder);
    Keys::derive(suite, hash, ids, publics)
}

/// SKEYID of a pre-shared key and everything below it.
pub(super) fn keys(
    suite: &ChosenSuite,
    hash: Hash,
    psk: &SharedSecret,
    nonces: (&[u8], &[u8]),
    shared: &Secret,
    spis: SpiPair,
    publics: (&[u8], &[u8]),
) -> Option<Keys> {
    let skeyid = crypto::v1::skeyid_psk(hash.prf(), psk.secret.expose(), nonces.0, nonces.1);
    let ids: SkeyIds = crypto::v1::derive(hash.prf(), skeyid, shared, spis.initiator, spis.responder);
    Keys::derive(suite, hash, ids, publics)
}

/// The pre-shared key that we, knowing only addresses and our configuration, use with this peer.
pub(super) fn psk_for<'a>(
    cx: &'a Context,
    connection: &Connection,
    local: SocketAddr,
    remote: SocketAddr,
) -> Option<&'a SharedSecret> {
    let own = own_identity(connection, local);
    let peer =
        if connection.remote.id.is_wildcard() { Identity::from(remote.ip()) } else { connection.remote.id.clone() };
    best_psk(&cx.secrets, &own, &peer).first().copied()
}

/// Checks that the connection accepts the identity of an ID payload.
pub(super) fn identity(id: wire::v1::Id<'_>) -> Identity {
    Identity::from_wire(id.kind.0, id.data)
}

/// Phase 1 is done.
pub(super) fn established(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, keys: Keys) {
    cx.timers.cancel(sa.id, Reason::Retransmit);
    cx.timers.cancel(sa.id, Reason::HalfOpen);
    sa.retransmissions.sent = 0;
    sa.last_heard = now;
    sa.phase1 = Some(now);
    sa.hint = None;
    sa.configuration.stage = sa.connection.as_deref().map(transaction::first_stage).unwrap_or_default();
    sa.enter(cx, State::Established(Box::new(keys)));
    if sa.configuration.authenticates() {
        return transaction::begin(sa, cx, now);
    }
    complete(sa, cx, now);
}

/// The peer is who it says, and its user too where there is one.
pub(super) fn complete(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    sa.established = Some(now);
    let Some(connection) = sa.connection.clone() else { return };
    if let Some(identities) = sa.identities() {
        cx.peers.note(sa.id, identities, sa.remote);
    }
    if !connection.dpd_delay.is_zero() && sa.dead_peer_detection {
        cx.timers.set(sa.id, Reason::Liveness, now + connection.dpd_delay);
    }
    if sa.nat.local && !cx.settings.keepalive.is_zero() {
        cx.timers.set(sa.id, Reason::Keepalive, now + cx.settings.keepalive);
    }
    let soft = [connection.rekey_time, connection.reauth_time].into_iter().filter(|t| !t.is_zero()).min();
    if let Some(soft) = soft {
        let random = f64::from(u32::from_be_bytes(cx.random())) / f64::from(u32::MAX);
        let at = match sa.role {
            Role::Initiator => now + soft.saturating_sub(connection.rand_time.mul_f64(random)),
            Role::Responder => now + soft + connection.over_time,
        };
        sa.replace_at = Some(at);
        cx.timers.set(sa.id, Reason::IkeLifetime, at);
    }
    if sa.role == Role::Responder {
        sa.volume = sa.offered_lifetime.octets;
        sa.offered_lifetime.time.into_iter().for_each(|offered| end_by(sa, cx, now + offered));
    }
    cx.event(Event::IkeUp(Box::new(sa.snapshot(cx, now))));
    if sa.role == Role::Responder {
        tell_lifetime(sa, cx, &connection);
    }
    transaction::configure(sa, cx, now);
}

/// The ISAKMP SA is replaced, or ends, at this time if not before.
fn end_by(sa: &mut IsakmpSa, cx: &mut Context, at: Instant) {
    if sa.replace_at.is_none_or(|before| at < before) {
        sa.replace_at = Some(at);
        cx.timers.set(sa.id, Reason::IkeLifetime, at);
    }
}

/// The ISAKMP SA has protected as much as the peer lets it (RFC 2409 appendix A, Life Type kilobytes): as with time, its
/// initiator makes the successor a little before, and at its responder it ends. Asked after each message of the peer: an SA
/// whose peer is silent ends by that.
fn spent(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    let (State::Established(keys), Some(volume), false) = (&sa.state, sa.volume, sa.dying) else { return };
    let volume = volume.max(LEAST_VOLUME);
    let limit = if sa.role == Role::Initiator { volume / 11 * 10 } else { volume };
    let octets = keys.octets();
    if octets >= limit && sa.established.is_some() {
        sa.volume = None;
        sa.log(cx, "IKE", 1, format!("the ISAKMP SA has protected {octets} octets, of {volume} that the peer allows"));
        end_by(sa, cx, now);
    }
}

/// Responder: what the initiator offered is longer than what we keep. By an Informational exchange: in message 6 of main
/// mode the Notify would not be covered by HASH_R, and in aggressive mode it is forbidden (RFC 2407 section 4.6.3).
fn tell_lifetime(sa: &mut IsakmpSa, cx: &mut Context, connection: &Connection) {
    let Some(offered) = sa.offered_lifetime.time else { return };
    let Some(ours) = lifetime_of(connection).time.filter(|ours| *ours < offered) else { return };
    let data = proposals::lifetime_data(Lifetime { time: Some(ours), octets: None }, wire::ProtocolId::IKE);
    let cookies = sa.spis;
    super::informational::send(sa, cx, |rest| {
        rest.notify_isakmp(cookies, V1NotifyType::RESPONDER_LIFETIME, &data);
    });
}

/// Initiator: the responder keeps the ISAKMP SA no longer than this, authentic (RFC 2407 section 4.6.3.1). Its successor is
/// begun while there is time.
pub(super) fn shortened(sa: &mut IsakmpSa, cx: &mut Context, lifetime: Lifetime) {
    if sa.role == Role::Initiator {
        sa.volume = sa.volume.into_iter().chain(lifetime.octets).min();
    }
    let (Some(time), Some(established), Role::Initiator) = (lifetime.time, sa.established, sa.role) else { return };
    let ours = sa.connection.as_deref().map(lifetime_of).unwrap_or_default();
    sa.offered_lifetime = sa.offered_lifetime.shorter(lifetime);
    // Where there is no time although we have a lifetime, the successor is being made already.
    let replacing = sa.replace_at.is_none() && ours.time.is_some();
    if ours.shorter(lifetime) == ours || replacing {
        return;
    }
    let shorter = ours.shorter(lifetime);
    sa.log(cx, "IKE", 1, format!("the peer keeps the ISAKMP SA shorter than we: {shorter}, not {ours}"));
    end_by(sa, cx, established + time.mul_f64(10.0 / 11.0));
}

/// `unique = keep`, and `ikesa_limit_peer`: why there can be no SA with a peer that has one already, or too many.
pub(super) fn not_unique(
    cx: &Context,
    connection: &Connection,
    (local, remote): (&Identity, &Identity),
    at: SocketAddr,
) -> Option<FailureKind> {
    let elsewhere = cx.held_elsewhere(local, remote, at);
    if connection.unique == Unique::Keep && elsewhere {
        return Some(FailureKind::NotUnique { remote: remote.clone() });
    }
    cx.too_many_of(local, remote).filter(|_| connection.unique != Unique::Replace)
}

/// INITIAL-CONTACT from the peer, or `unique = replace` (RFC 2407 section 4.6.3.3).
pub(super) fn apply_uniqueness(sa: &mut IsakmpSa, cx: &mut Context, initial_contact: bool) {
    if sa.awaits_xauth() {
        // Who only knows the group's key must not end another user's SA.
        sa.configuration.uniqueness = Some(initial_contact || sa.configuration.uniqueness == Some(true));
        return;
    }
    // Carried out last: a peer that has forgotten everything has no Child SAs to be taken over.
    cx.effects.push(Effect::Adopt { by: sa.id });
    let (Some(connection), Some((local, remote))) = (&sa.connection, sa.identities()) else { return };
    let only = initial_contact && connection.unique != Unique::Never;
    if only || connection.unique == Unique::Replace {
        cx.effects.push(Effect::OnlySa { sa: sa.id, local, remote, forgotten: only });
    }
}

/// After phase 1 the initiator goes on with phase 2.
pub(super) fn go_on(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    if sa.configuration.stage != transaction::Stage::Done {
        return;
    }
    if let Some(old) = sa.replaces {
        cx.effects.push(Effect::Succeed { old, by: sa.id });
        return;
    }
    cx.effects.push(Effect::Adopt { by: sa.id });
    begin_wanted(sa, cx, now);
}

/// Phase 2 for what is wanted and not there: what has been taken over is.
pub(crate) fn begin_wanted(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    let connection = sa.connection.clone();
    let name = |index: &usize| connection.as_ref().and_then(|c| c.children.get(*index)).map(|c| c.name.as_str());
    let there: Vec<String> = sa.children.iter().filter(|c| c.is_installed()).map(|c| c.name.clone()).collect();
    let has = |name: Option<&str>| name.is_some_and(|name| there.iter().any(|other| other == name));
    let wanted: Vec<usize> = std::mem::take(&mut sa.wanted).into_iter().filter(|index| !has(name(index))).collect();
    sa.children.retain(|c| c.is_installed() || !has(Some(&c.name)));
    for index in wanted {
        quick_mode::begin(sa, cx, now, index);
    }
    quick_mode::replace_when_done(sa, cx);
}

/// Negotiates another child of the connection over this ISAKMP SA, at once or when phase 1 is done. False if it cannot.
pub(crate) fn add_child(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, name: &str) -> bool {
    let Some(connection) = sa.connection.clone() else { return false };
    let Some(index) = connection.children.iter().position(|c| c.name == name) else { return false };
    let configured = sa.configuration.stage == transaction::Stage::Done;
    if sa.is_established() && configured {
        quick_mode::begin(sa, cx, now, index);
        return true;
    }
    let waiting = (sa.is_half_open() && sa.role == Role::Initiator) || (sa.is_established() && !configured);
    if let Some(config) = connection.children.get(index).filter(|_| waiting && !sa.wanted.contains(&index)) {
        let selectors = child::configured(config, sa.local.ip(), sa.remote.ip());
        let larval = ChildSa::larval(cx, config, selectors);
        sa.children.push(larval);
        sa.wanted.push(index);
    }
    waiting
}

impl IsakmpSa {
    /// A datagram for this SA.
    pub fn receive(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: &Header,
        datagram: &[u8],
        path: Path,
    ) -> Option<FailureKind> {
        let end = self.take(cx, now, header, datagram, path);
        if end.is_none() {
            spent(self, cx, now);
        }
        end
    }

    fn take(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: &Header,
        datagram: &[u8],
        path: Path,
    ) -> Option<FailureKind> {
        self.datagrams_in += 1;
        if self.is_half_open() {
            self.heard.datagrams = self.heard.datagrams.saturating_add(1);
            let from_there = u32::from(path.remote == self.remote);
            self.heard.from_there = self.heard.from_there.saturating_add(from_there);
        }
        if header.next_payload == wire::PayloadType::V1_FRAGMENT {
            let (whole_header, whole) = fragments::receive(self, cx, header, datagram, path.remote)?;
            return self.message(cx, now, &whole_header, &whole, path);
        }
        self.message(cx, now, header, datagram, path)
    }

    /// A whole message.
    fn message(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: &Header,
        datagram: &[u8],
        path: Path,
    ) -> Option<FailureKind> {
        // To the peer phase 1 is done, and it goes on without waiting; not every peer says it again.
        const MOST_BEHIND: usize = 4;
        if self.parked.is_some() && header.message_id != 0 && self.behind.len() < MOST_BEHIND {
            self.behind.push((*header, datagram.to_vec(), path));
            return None;
        }
        match header.exchange {
            ExchangeType::IDENTITY_PROTECTION
                if self.mode == ExchangeMode::IdentityProtection && header.message_id == 0 =>
            {
                identity_protection::receive(self, cx, now, header, datagram, path)
            }
            ExchangeType::AGGRESSIVE if self.mode == ExchangeMode::Aggressive && header.message_id == 0 => {
                aggressive::receive(self, cx, now, header, datagram, path)
            }
            ExchangeType::QUICK_MODE if self.awaits_xauth() => {
                self.drop_datagram(cx, DropReason::XauthNotDone, path.remote);
                None
            }
            ExchangeType::TRANSACTION if header.message_id != 0 => {
                transaction::receive(self, cx, now, header, datagram, path)
            }
            ExchangeType::QUICK_MODE if header.message_id != 0 => {
                quick_mode::receive(self, cx, now, header, datagram, path)
            }
            ExchangeType::INFORMATIONAL_V1 => super::informational::receive(self, cx, now, header, datagram, path),
            _ => {
                self.drop_datagram(cx, DropReason::UnexpectedExchange, path.remote);
                None
            }
        }
    }
}
