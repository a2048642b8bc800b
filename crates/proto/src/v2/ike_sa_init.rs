//! IKE_SA_INIT (RFC 7296 section 1.2): algorithms, nonces and a key exchange, all in the clear.
//!
//! ```text
//! HDR(A,0), SAi1, KEi, Ni  -->
//!                          <--  HDR(A,B), SAr1, KEr, Nr, [CERTREQ]
//! ```
//!
//! or, before that, once or more:
//!
//! ```text
//!                          <--  HDR(A,0), N(COOKIE)                 section 2.6
//!                          <--  HDR(A,0), N(INVALID_KE_PAYLOAD)     section 1.2
//!                          <--  HDR(A,0), N(NO_PROPOSAL_CHOSEN)     section 2.7
//! ```

use super::auth_puzzle::{Puzzled, Unkeyed};
use super::certificate_request::{MOST_IN_CLEAR, Wanted, request_certificate};
use super::child::{self, ChildSa};
use super::exchange::{Path, Pending, Task, Verdict, count_out};
use super::keys::Keys;
use super::puzzle::PuzzleJob;
use super::redirect::{self, Redirection};
use super::sa::{AuthSent, HalfOpen, IkeSa, InitSent, Postponed, State};
use super::{childless, ike_auth, nat, puzzle};
use crate::context::{Context, Effect};
use crate::credentials::own_identity;
use crate::endpoint::Output;
use crate::held::forgets_at_once;
use crate::timers::Reason;
use config::{AuthMethod, Connection, Fragmentation};
use crypto::{KeyExchange, Puzzle};
use model::{
    Algorithm, ChosenSuite, DropReason, FailureKind, Instant, Mismatch, NatState, Phase, Proposal, ProposalProtocol,
    Role, SaId, Side, select,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::grammar::{self, Protection, RuleId, Sender};
use wire::v1::STRONGSWAN_VENDOR_ID;
use wire::v2::{Chain, ChainBuilder, message, parse_chain};
use wire::{
    ExchangeType, Flags, HEADER_LEN, HashAlgorithm, Header, IkeSpi, KeyExchangeId, NotifyType, PayloadType, ProtocolId,
    SpiPair, Version,
};

/// Octets of our nonces: RFC 7296 section 2.10 wants at least half the PRF's key, 32 suffice for all.
pub(super) const NONCE_LEN: usize = 32;

/// How long a puzzle may take. At a Shrike a solution counts for a minute.
const SOLVING_TIME: Duration = Duration::from_secs(45);

/// How often a peer may send us back to the start before we take it for broken.
pub(super) const MAX_RETRIES: u32 = 5;

// ---------------------------------------------------------------------------------------------------------- initiator

/// What to initiate.
pub(crate) struct Wish {
    pub connection: Arc<Connection>,
    /// Index of the child, if one is wanted.
    pub child: usize,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub attempt: u32,
    pub replaces: Option<SaId>,
    /// Whether to tell the peer that we have no other SA with it (RFC 7296 section 2.4).
    pub initial_contact: bool,
    /// Virtual addresses of the SA that it replaces.
    pub addresses: Vec<IpAddr>,
    /// Who sent us there.
    pub redirection: Redirection,
    /// The number of the SA that goes on elsewhere, if it is no new one.
    pub number: Option<SaId>,
}

/// Begins an IKE SA.
pub(crate) fn initiate(cx: &mut Context, now: Instant, wish: Wish) -> Result<IkeSa, FailureKind> {
    let connection = wish.connection;
    let group = connection
        .proposals
        .iter()
        .flat_map(|p| p.key_exchange.iter().copied())
        .find(|g| KeyExchange::supported(*g))
        .unwrap_or(KeyExchangeId::NONE);
    let key_exchange =
        KeyExchange::generate(group, &mut *cx.rng).map_err(|e| FailureKind::InstallFailed { reason: e.to_string() })?;
    let spis = SpiPair { initiator: cx.ike_spi(), responder: IkeSpi::ZERO };
    let nonce = cx.random::<NONCE_LEN>().to_vec();
    let pretend = connection.encap.then(|| cx.random());
    let state = State::InitSent(Box::new(InitSent {
        nonce,
        key_exchange,
        cookie: Vec::new(),
        solution: Vec::new(),
        solving: false,
        retries: 0,
        pretend,
    }));
    let number = wish.number.unwrap_or_else(|| cx.ike_id());
    let mut sa = IkeSa::new(number, Role::Initiator, spis, (wish.local, wish.remote), state, now);
    sa.redirection = Redirection { client: true, ..wish.redirection };
    sa.attempt = wish.attempt;
    sa.replaces = wish.replaces;
    sa.initial_contact = wish.initial_contact;
    sa.wishes = super::wishes(&connection, &wish.addresses);
    sa.local_id = Some(own_identity(&connection, wish.local));
    sa.connection = Some(Arc::clone(&connection));
    if let Some(child) = connection.children.get(wish.child) {
        // The placeholder is there before anything is negotiated, so that it shows what is waited for.
        // RFC 7296 section 2.19: with an address to be assigned we ask for all, and the responder narrows to that address.
        let local = if sa.wishes.is_empty() { &[wish.local.ip()][..] } else { &sa.wishes };
        let selectors = child::configured_for(child, local, &[wish.remote.ip()]);
        let larval = ChildSa::larval(cx, child, selectors);
        sa.children.push(larval);
    }
    sa.log(cx, "IKE", 0, format!("initiating IKE_SA {}[{}] to {}", connection.name, sa.id.0, wish.remote.ip()));
    send(&mut sa, cx, now);
    Ok(sa)
}

fn send(sa: &mut IkeSa, cx: &mut Context, now: Instant) {
    let State::InitSent(init) = &sa.state else { return };
    let Some(connection) = sa.connection.as_deref() else { return };
    let mut chain = ChainBuilder::new();
    if !init.cookie.is_empty() {
        // RFC 7296 section 2.6: the cookie comes first, everything else stays as it was.
        chain.notify(ProtocolId::NONE, &[], NotifyType::COOKIE, &init.cookie);
    }
    if !init.solution.is_empty() {
        chain.puzzle_solution(&init.solution); // RFC 8019 section 7.1.2
    }
    chain.sa(&child::offer(&connection.proposals, &[]));
    chain.ke(init.key_exchange.id(), init.key_exchange.public());
    chain.nonce(&init.nonce);
    nat::announce(&mut chain, sa.spis, sa.local, sa.remote, init.pretend);
    if connection.fragmentation != Fragmentation::No {
        chain.notify(ProtocolId::NONE, &[], NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]);
    }
    if connection.remote.method == AuthMethod::Pubkey {
        announce_hashes(&mut chain);
    }
    add_vendor_id(&mut chain, cx);
    redirect::announce(sa, cx, &mut chain);
    let request = message(sa.header(ExchangeType::IKE_SA_INIT, 0, false), chain);
    sa.next_request = 1;
    let pending = Pending {
        message_id: 0,
        exchange: ExchangeType::IKE_SA_INIT,
        message: vec![request],
        whole: None,
        before: 0,
        resent: 0,
        since: now,
        waiting_for: RuleId::IkeSaInitResponse,
        task: Task::Init,
        due: None,
        creating: None,
    };
    sa.begin(cx, now, pending);
}

/// RFC 7296 section 3.12: what makes numbers of the private ranges mean something.
fn add_vendor_id(chain: &mut ChainBuilder, cx: &Context) {
    if cx.settings.send_vendor_id {
        chain.vendor_id(&STRONGSWAN_VENDOR_ID);
    }
}

/// An answer to IKE_SA_INIT, in the clear.
pub(crate) fn response(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    header: &Header,
    datagram: &[u8],
    path: Path,
) -> Verdict {
    sa.datagrams_in += 1;
    let State::InitSent(init) = &sa.state else {
        sa.drop_datagram(cx, DropReason::UnexpectedResponse, path);
        return Verdict::Keep;
    };
    if !header.is_response() || header.from_initiator() || header.message_id != 0 {
        sa.drop_datagram(cx, DropReason::UnexpectedResponse, path);
        return Verdict::Keep;
    }
    let payloads = datagram.get(HEADER_LEN..).unwrap_or_default();
    let chain = match parse_chain(header.next_payload, payloads, HEADER_LEN) {
        Ok(chain) => chain,
        Err(error) => {
            sa.log(cx, "ENC", 1, format!("the answer to IKE_SA_INIT is malformed: {error}"));
            sa.drop_datagram(cx, DropReason::Malformed, path);
            return Verdict::Keep;
        }
    };
    let rule = match grammar::classify(ExchangeType::IKE_SA_INIT, Sender::Responder, Protection::Clear, &chain.set()) {
        Some(Ok(rule)) => rule.id,
        violation => {
            if let Some(Err(v)) = violation {
                sa.log(cx, "ENC", 1, format!("the answer to IKE_SA_INIT breaks the grammar: {v}"));
            }
            sa.drop_datagram(cx, DropReason::GrammarViolation, path);
            return Verdict::Keep;
        }
    };
    cx.count(crate::context::Counter::IkeInitInResponse);
    if rule == RuleId::IkeSaInitRefusal {
        return refusal(sa, cx, now, header, &chain, path);
    }
    let (Some(connection), Some(offered), Some(ke), Some(nonce)) =
        (sa.connection.clone(), chain.sa(), chain.ke(), chain.nonce())
    else {
        return Verdict::Keep; // the row requires them
    };
    if header.spis.responder.is_zero() {
        sa.drop_datagram(cx, DropReason::ZeroSpi, path);
        return Verdict::Keep;
    }
    let not_offered = |mismatch| Verdict::End(FailureKind::ChoiceNotOffered { phase: Phase::Ike, mismatch });
    let suite = match offered {
        [_] => match select(&connection.proposals, offered) {
            Ok((_, suite)) => suite,
            Err(mismatch) => return not_offered(mismatch),
        },
        _ => return not_offered(Mismatch { differing: Vec::new() }), // section 2.7: exactly one
    };
    if Some(ke.method) != suite.key_exchange || ke.method != init.key_exchange.id() {
        sa.drop_datagram(cx, DropReason::GrammarViolation, path);
        return Verdict::Keep;
    }
    let Ok(shared) = init.key_exchange.agree(ke.data) else {
        return Verdict::End(FailureKind::BadPublicValue { group: ke.method });
    };
    let spis = header.spis;
    let (nonce_i, nonce_r) = (init.nonce.clone(), nonce.to_vec());
    let (keys, auth) = match Keys::derive(&suite, &shared, (&nonce_i, &nonce_r), spis, Role::Initiator) {
        Ok(derived) => derived,
        Err(error) => return Verdict::End(unusable(error)),
    };
    let found = nat::detect(&chain, spis, sa.local, sa.remote, init.pretend.is_some());
    let request = sa.pending.take(0).and_then(|p| p.message.into_iter().next()).unwrap_or_default();
    // Everything is checked: from here on the SA changes.
    cx.timers.cancel(sa.id, Reason::Retransmit);
    sa.retransmissions.sent = 0;
    sa.spis = spis;
    sa.suite = Some(suite);
    sa.nat = found;
    // RFC 7383 section 2.3: both ends have to announce it.
    sa.fragments = fragmentable(&chain, &connection);
    sa.forgets_at_once = forgets_at_once(chain.vendor_ids());
    sa.last_heard = now;
    sa.log(cx, "CFG", 1, format!("selected proposal: {suite}"));
    report_nat(sa, cx);
    // RFC 7296 section 2.23: with a NAT the rest goes over port 4500; without one it may, and an end that may change its
    // address later does so at once (RFC 4555 section 3.3).
    if sa.local.port() == cx.settings.port && (sa.nat.any() || connection.mobike) {
        sa.local.set_port(cx.settings.nat_port);
        sa.remote.set_port(cx.settings.nat_port);
    }
    let childless = childless::begins(sa, &connection, &chain);
    if let Ok(true) = childless {
        childless::postpone(sa);
    }
    let state = AuthSent {
        keys,
        auth,
        response: datagram.to_vec(),
        nonce_i,
        nonce_r,
        childless: childless == Ok(true),
        postponed: None,
    };
    sa.state = State::AuthSent(Box::new(state));
    if let Err(kind) = childless {
        return Verdict::End(kind);
    }
    let wanted = Wanted::of(&chain, hashes_of(&chain));
    // RFC 8019 section 7.2.3
    let content = [nonce, &spis.responder.0].concat();
    let offers = |id| connection.proposals.iter().any(|p| p.prf.contains(&id));
    let asked = chain.notify(NotifyType::PUZZLE).map(|n| puzzle::asked(&cx.settings, n.data, &content, offers));
    match asked {
        Some(puzzle::Asked::Work(puzzle)) => {
            let text = format!("the peer asks for a puzzle of {} bits to be solved: at it", puzzle.difficulty);
            sa.log(cx, "IKE", 1, text);
            if let State::AuthSent(auth) = &mut sa.state {
                auth.postponed = Some(Postponed { request, wanted, content });
            }
            cx.timers.set(sa.id, Reason::Retransmit, now + SOLVING_TIME);
            cx.outputs.push_back(Output::Solve(PuzzleJob { sa: sa.id, puzzle }));
            return Verdict::Keep;
        }
        Some(puzzle::Asked::TooHard(bits)) => {
            let text =
                format!("the peer asks for a puzzle of {bits} bits, more than puzzle_max_difficulty: trying without");
            sa.log(cx, "IKE", 0, text);
        }
        Some(puzzle::Asked::Nothing) | None => {}
    }
    ike_auth::send(sa, cx, now, &request, &wanted, &[])
}

/// The hashes with which we check signatures (RFC 7427 section 4): all but SHA-1, and that of EdDSA (RFC 8420 section 2).
fn announce_hashes(chain: &mut ChainBuilder) {
    let hashes = [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512, HashAlgorithm::IDENTITY];
    let data: Vec<u8> = hashes.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
    chain.notify(ProtocolId::NONE, &[], NotifyType::SIGNATURE_HASH_ALGORITHMS, &data);
}

/// The hashes with which the peer checks signatures; none if it does not do RFC 7427.
fn hashes_of(chain: &Chain<'_>) -> Vec<HashAlgorithm> {
    let data = chain.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS).map(|n| n.data).unwrap_or_default();
    data.chunks_exact(2)
        .filter_map(|pair| pair.first_chunk())
        .map(|two| HashAlgorithm(u16::from_be_bytes(*two)))
        .collect()
}

/// Whether the peer takes fragments (RFC 7383 section 2.3), and we let it know that we do.
fn fragmentable(chain: &Chain<'_>, connection: &Connection) -> bool {
    connection.fragmentation != Fragmentation::No && chain.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some()
}

fn report_nat(sa: &IkeSa, cx: &mut Context) {
    let text = match sa.nat {
        NatState { forced: true, .. } => "pretending to be behind a NAT, so that ESP is encapsulated in UDP",
        NatState { local: true, remote: true, .. } => "both ends are behind a NAT",
        NatState { local: true, .. } => "we are behind a NAT",
        NatState { remote: true, .. } => "the peer is behind a NAT",
        _ => return,
    };
    sa.log(cx, "IKE", 0, text.to_string());
}

/// A puzzle is solved, or was given up: what waited for it goes out.
pub(crate) fn puzzle_solved(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    puzzle: &Puzzle,
    solution: Option<&[u8]>,
) -> Verdict {
    let waits = match &sa.state {
        State::InitSent(init) => init.solving && init.cookie == puzzle.content,
        State::AuthSent(auth) => auth.postponed.as_ref().is_some_and(|p| p.content == puzzle.content),
        _ => false,
    };
    if !waits {
        return Verdict::Keep; // too late
    }
    let text = if solution.is_some() { "the puzzle is solved" } else { "the puzzle is not solved: trying without" };
    sa.log(cx, "IKE", 1, text.to_string());
    go_on(sa, cx, now, solution.unwrap_or_default()).unwrap_or(Verdict::Keep)
}

/// If a puzzle takes too long, it has to do without.
pub(super) fn without_solution(sa: &mut IkeSa, cx: &mut Context, now: Instant) -> Option<Verdict> {
    let verdict = go_on(sa, cx, now, &[])?;
    sa.log(cx, "IKE", 0, "the puzzle takes too long: trying without".to_string());
    Some(verdict)
}

/// Sends what waits for the solution of a puzzle, if anything does.
fn go_on(sa: &mut IkeSa, cx: &mut Context, now: Instant, solution: &[u8]) -> Option<Verdict> {
    match &mut sa.state {
        State::InitSent(init) if init.solving => {
            init.solving = false;
            init.solution = solution.to_vec();
            send(sa, cx, now);
            Some(Verdict::Keep)
        }
        State::AuthSent(auth) => {
            let Postponed { request, wanted, .. } = auth.postponed.take()?;
            Some(ike_auth::send(sa, cx, now, &request, &wanted, solution))
        }
        _ => None,
    }
}

/// The responder wants another try, or does not want at all.
fn refusal(sa: &mut IkeSa, cx: &mut Context, now: Instant, header: &Header, chain: &Chain<'_>, path: Path) -> Verdict {
    let State::InitSent(init) = &mut sa.state else { return Verdict::Keep };
    let Some(connection) = sa.connection.as_deref() else { return Verdict::Keep };
    if let Some(cookie) = chain.notify(NotifyType::COOKIE) {
        // RFC 7296 section 2.6: 1 to 64 octets.
        let repeated = init.cookie == cookie.data;
        if !(1..=64).contains(&cookie.data.len()) || repeated || init.retries >= MAX_RETRIES || init.solving {
            sa.drop_datagram(cx, DropReason::BadCookie, path);
            return Verdict::Keep;
        }
        init.cookie = cookie.data.to_vec();
        init.solution.clear();
        init.retries += 1;
        let offers = |id| connection.proposals.iter().any(|p| p.prf.contains(&id));
        let asked = chain.notify(NotifyType::PUZZLE).map(|n| puzzle::asked(&cx.settings, n.data, cookie.data, offers));
        let (level, text) = match asked {
            Some(puzzle::Asked::Work(puzzle)) => {
                init.solving = true;
                let text = format!("the peer asks for a puzzle of {} bits to be solved: at it", puzzle.difficulty);
                // The first message is not repeated meanwhile: it would only bring another puzzle.
                cx.timers.set(sa.id, Reason::Retransmit, now + SOLVING_TIME);
                cx.outputs.push_back(Output::Solve(PuzzleJob { sa: sa.id, puzzle }));
                sa.log(cx, "IKE", 1, text);
                return Verdict::Keep;
            }
            Some(puzzle::Asked::TooHard(bits)) => (
                0,
                format!("the peer asks for a puzzle of {bits} bits, more than puzzle_max_difficulty: trying without"),
            ),
            Some(puzzle::Asked::Nothing) | None => (1, "the peer asks for a cookie: returning it".to_string()),
        };
        sa.log(cx, "IKE", level, text);
        send(sa, cx, now);
        return Verdict::Keep;
    }
    if let Some(notify) = chain.notify(NotifyType::REDIRECT) {
        // RFC 5685 section 3: without our nonce anybody may have sent it, and we go on waiting.
        match redirect::answered(cx, notify.data, &init.nonce) {
            Some(to) => cx.effects.push(Effect::Redirect { sa: sa.id, to }),
            None => sa.drop_datagram(cx, DropReason::UnexpectedResponse, path),
        }
        return Verdict::Keep;
    }
    let Some(error) = chain.error() else {
        sa.drop_datagram(cx, DropReason::GrammarViolation, path);
        return Verdict::Keep;
    };
    let kind = match error.kind {
        NotifyType::INVALID_KE_PAYLOAD => {
            let Some(wanted) = error.data.first_chunk().map(|d| KeyExchangeId(u16::from_be_bytes(*d))) else {
                sa.drop_datagram(cx, DropReason::Malformed, path);
                return Verdict::Keep;
            };
            let ours = init.key_exchange.id();
            if wanted == ours && init.retries > 0 {
                // The answer to our first guess, doubled on its way or given again to a retransmission.
                sa.drop_datagram(cx, DropReason::UnexpectedResponse, path);
                return Verdict::Keep;
            }
            let allowed = connection.proposals.iter().any(|p| p.key_exchange.contains(&wanted));
            if !allowed || wanted == ours || init.retries >= MAX_RETRIES {
                return Verdict::End(FailureKind::InvalidKeyExchange { ours, wanted });
            }
            match KeyExchange::generate(wanted, &mut *cx.rng) {
                Ok(key_exchange) => {
                    init.key_exchange = key_exchange;
                    init.retries += 1;
                    let text = format!("the peer wants key exchange group {}: trying again", Algorithm::from(wanted));
                    sa.log(cx, "IKE", 1, text);
                    send(sa, cx, now);
                    return Verdict::Keep;
                }
                Err(_) => FailureKind::InvalidKeyExchange { ours, wanted },
            }
        }
        NotifyType::NO_PROPOSAL_CHOSEN => FailureKind::NoProposalChosen {
            phase: Phase::Ike,
            found_by: Side::Peer,
            mismatch: None,
            ours: connection.proposals.iter().map(ToString::to_string).collect(),
        },
        NotifyType::INVALID_MAJOR_VERSION => FailureKind::WrongVersion { peer: header.version.major() },
        notify => FailureKind::PeerRefused { phase: Phase::Ike, notify },
    };
    sa.last_heard = now;
    Verdict::End(kind)
}

// ---------------------------------------------------------------------------------------------------------- responder

/// A first message, as the endpoint found it.
pub(crate) struct FirstMessage<'a> {
    pub header: &'a Header,
    pub datagram: &'a [u8],
    pub path: Path,
    /// The connections that the addresses allow, best first.
    pub candidates: Vec<Arc<Connection>>,
    /// The initiator is to solve a puzzle of so many bits before its IKE_AUTH is looked at.
    pub puzzle: Option<u8>,
}

/// What becomes of a first message.
pub(crate) enum Response {
    /// A half-open SA, which has answered.
    HalfOpen(Box<IkeSa>),
    /// An answer that needs no state (INVALID_KE_PAYLOAD).
    Stateless,
    /// Refused; the SA only exists to tell why.
    Refused(Box<IkeSa>, FailureKind),
    /// Nothing to answer.
    Dropped(DropReason),
}

/// Answers an IKE_SA_INIT request.
pub(crate) fn respond(cx: &mut Context, now: Instant, first: FirstMessage<'_>) -> Response {
    let (header, path) = (first.header, first.path);
    let chain = match parse_chain(header.next_payload, first.datagram.get(HEADER_LEN..).unwrap_or_default(), HEADER_LEN)
    {
        Ok(chain) => chain,
        Err(wire::v2::ChainError::UnsupportedCritical(payload)) => {
            return refuse(
                cx,
                now,
                &first,
                NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
                &[payload.0],
                FailureKind::UnsupportedCritical { payload },
            );
        }
        Err(_) => return Response::Dropped(DropReason::Malformed),
    };
    match grammar::classify(ExchangeType::IKE_SA_INIT, Sender::Initiator, Protection::Clear, &chain.set()) {
        Some(Ok(_)) => {}
        _ => return Response::Dropped(DropReason::GrammarViolation),
    }
    let (Some(offered), Some(ke), Some(nonce)) = (chain.sa(), chain.ke(), chain.nonce()) else {
        return Response::Dropped(DropReason::GrammarViolation);
    };
    if first.candidates.is_empty() {
        let kind = FailureKind::NoConfig { local: path.local, remote: path.remote };
        return refuse(cx, now, &first, NotifyType::NO_PROPOSAL_CHOSEN, &[], kind);
    }
    let (number, suite) = match choose(&first.candidates, offered) {
        Ok(chosen) => chosen,
        Err(mismatch) => {
            let ours = first.candidates.iter().flat_map(|c| c.proposals.iter().map(ToString::to_string)).collect();
            let kind =
                FailureKind::NoProposalChosen { phase: Phase::Ike, found_by: Side::Us, mismatch: Some(mismatch), ours };
            return refuse(cx, now, &first, NotifyType::NO_PROPOSAL_CHOSEN, &[], kind);
        }
    };
    let group = suite.key_exchange.unwrap_or(KeyExchangeId::NONE);
    if ke.method != group {
        // RFC 7296 section 1.2: the initiator guessed another group than the one chosen.
        notify_only(cx, header, path, NotifyType::INVALID_KE_PAYLOAD, &group.0.to_be_bytes());
        // Like each attempt that was answered with an error it has a number, which nobody else gets. Scripts that were
        // written for charon know the second peer's SA by the number that this leaves to it.
        let _ = cx.ike_id();
        return Response::Stateless;
    }
    let Ok(key_exchange) = KeyExchange::generate(group, &mut *cx.rng) else {
        return Response::Dropped(DropReason::NoConfig);
    };
    let prf = suite.prf.and_then(|prf| Some((prf, crypto::Prf::new(prf).ok()?)));
    let puzzle = first.puzzle.zip(prf);
    let shared = match puzzle {
        None => Some(key_exchange.agree(ke.data)),
        Some(_) => None, // RFC 8019 section 7.2.4: not before the solution is there
    };
    let Ok(shared) = shared.transpose() else {
        return refuse(cx, now, &first, NotifyType::INVALID_SYNTAX, &[], FailureKind::BadPublicValue { group });
    };
    let spis = SpiPair { initiator: header.spis.initiator, responder: cx.ike_spi() };
    let nonce_r = cx.random::<NONCE_LEN>().to_vec();
    let derive = |shared| Keys::derive(&suite, &shared, (nonce, &nonce_r), spis, Role::Responder);
    let Ok(keys) = shared.map(derive).transpose() else {
        return Response::Dropped(DropReason::NoConfig);
    };
    let forced = first.candidates.first().is_some_and(|c| c.encap);
    let nat = nat::detect(&chain, spis_of_request(header), path.local, path.remote, forced);
    let pretend = nat.forced.then(|| cx.random());

    let mut reply = ChainBuilder::new();
    let chosen = suite.to_proposal(ProposalProtocol::Ike);
    reply.sa(&[wire::v2::Proposal {
        number,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: chosen.transforms(),
    }]);
    reply.ke(group, key_exchange.public());
    reply.nonce(&nonce_r);
    nat::announce(&mut reply, spis, path.local, path.remote, pretend);
    if chain.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS).is_some()
        && first.candidates.iter().any(|c| c.remote.method == AuthMethod::Pubkey)
    {
        announce_hashes(&mut reply);
    }
    request_certificate(&mut reply, cx, &first.candidates, MOST_IN_CLEAR);
    childless::announce(&mut reply, &first.candidates);
    let fragments = first.candidates.first().is_some_and(|c| fragmentable(&chain, c));
    if fragments {
        reply.notify(ProtocolId::NONE, &[], NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]);
    }

    add_vendor_id(&mut reply, cx);
    if let Some((difficulty, (prf, _))) = puzzle {
        let [high, low] = prf.0.to_be_bytes();
        reply.notify(ProtocolId::NONE, &[], NotifyType::PUZZLE, &[high, low, difficulty]);
    }

    // The keys go into the state below, once all else that can be refused has been.
    let (ends, state) = ((path.local, path.remote), State::Closed);
    let mut sa = IkeSa::new(cx.ike_id(), Role::Responder, spis, ends, state, now);
    let reply_header = sa.header(ExchangeType::IKE_SA_INIT, 0, true);
    let response = message(reply_header, reply);
    sa.suite = Some(suite);
    sa.nat = nat;
    sa.fragments = fragments;
    sa.forgets_at_once = forgets_at_once(chain.vendor_ids());
    // Only where there is one connection is it certain already whose SA this will be.
    if let [only] = first.candidates.as_slice() {
        sa.connection = Some(Arc::clone(only));
    }
    sa.replies.remember(0, first.datagram, std::slice::from_ref(&response), None);
    sa.unproven = (first.datagram.len(), response.len());
    sa.datagrams_in = 1;
    sa.datagrams_out = 1;
    // Section 7.2.3
    let content = [&nonce_r[..], &spis.responder.0].concat();
    let rest = Unkeyed {
        request: first.datagram.to_vec(),
        response: response.clone(),
        nonce_i: nonce.to_vec(),
        nonce_r,
        hashes: hashes_of(&chain),
        candidates: first.candidates,
    };
    sa.state = match (keys, puzzle) {
        (Some((keys, auth)), _) => State::HalfOpen(Box::new(HalfOpen::new(keys, auth, rest))),
        (None, Some((difficulty, (_, prf)))) => {
            let text =
                format!("many IKE_AUTH requests make no sense: asking for a puzzle of {difficulty} bits before it");
            sa.log(cx, "IKE", 1, text);
            let puzzle = Puzzle { prf, difficulty, content };
            let public = ke.data.to_vec();
            State::Puzzled(Box::new(Puzzled { puzzle, key_exchange, public, suite, rest }))
        }
        (None, None) => return Response::Dropped(DropReason::NoConfig),
    };
    sa.log(cx, "IKE", 0, format!("{} is initiating an IKE_SA", path.remote.ip()));
    sa.log(cx, "CFG", 1, format!("selected proposal: {suite}"));
    report_nat(&sa, cx);
    redirect::note(&mut sa, cx, &chain);
    count_out(cx, &reply_header);
    cx.timers.set(sa.id, Reason::HalfOpen, now + cx.settings.half_open_timeout);
    cx.transmit(path.local, path.remote, response);
    Response::HalfOpen(Box::new(sa))
}

/// A suite that was negotiated cannot be used.
pub(super) fn unusable(error: crypto::Unsupported) -> FailureKind {
    FailureKind::InstallFailed { reason: error.to_string() }
}

/// NAT detection hashes in a request cover a zero responder's SPI.
fn spis_of_request(header: &Header) -> SpiPair {
    SpiPair { initiator: header.spis.initiator, responder: IkeSpi::ZERO }
}

/// The first connection with a suite in common decides; else what the closest one lacks.
fn choose(candidates: &[Arc<Connection>], offered: &[wire::v2::Proposal]) -> Result<(u8, ChosenSuite), Mismatch> {
    let mut closest: Option<Mismatch> = None;
    for connection in candidates {
        match select(&connection.proposals, offered) {
            Ok(chosen) => return Ok(chosen),
            Err(m) if closest.as_ref().is_none_or(|c| m.differing.len() < c.differing.len()) => closest = Some(m),
            Err(_) => {}
        }
    }
    Err(closest.unwrap_or(Mismatch { differing: Vec::new() }))
}

/// Whether a connection allows a suite that another one's proposals led to.
pub(crate) fn permits(connection: &Connection, suite: &ChosenSuite) -> bool {
    connection.proposals.iter().any(|p: &Proposal| {
        p.encryption.contains(&suite.encryption)
            && suite.integrity.is_none_or(|i| p.integrity.contains(&i))
            && suite.prf.is_none_or(|f| p.prf.contains(&f))
            && suite.key_exchange.is_none_or(|k| p.key_exchange.contains(&k))
    })
}

/// An answer in the clear that holds one notification (RFC 7296 section 2.21.1), without any state.
pub(crate) fn notify_only(cx: &mut Context, header: &Header, path: Path, kind: NotifyType, data: &[u8]) {
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::NONE, &[], kind, data);
    stateless(cx, header, path, chain);
}

/// An answer in the clear, without any state.
pub(super) fn stateless(cx: &mut Context, header: &Header, path: Path, chain: ChainBuilder) {
    let reply = Header {
        spis: header.spis,
        next_payload: PayloadType::NONE,
        version: Version::V2,
        exchange: header.exchange,
        flags: Flags::RESPONSE,
        message_id: header.message_id,
        length: 0,
    };
    count_out(cx, &reply);
    cx.transmit(path.local, path.remote, message(reply, chain));
}

fn refuse(
    cx: &mut Context,
    now: Instant,
    first: &FirstMessage<'_>,
    notify: NotifyType,
    data: &[u8],
    kind: FailureKind,
) -> Response {
    notify_only(cx, first.header, first.path, notify, data);
    let spis = spis_of_request(first.header);
    let mut sa =
        IkeSa::new(cx.ike_id(), Role::Responder, spis, (first.path.local, first.path.remote), State::Closed, now);
    sa.connection = first.candidates.first().cloned();
    sa.datagrams_in = 1;
    sa.datagrams_out = 1;
    Response::Refused(Box::new(sa), kind)
}
