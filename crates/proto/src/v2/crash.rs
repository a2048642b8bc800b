//! Quick crash detection (RFC 6290): who has lost an IKE SA proves so, and its peer need not wait for silence.
//!
//! ```text
//! HDR, SK {IDi, AUTH, N(QUICK_CRASH_DETECTION), ...}  -->
//!                               <--  HDR, SK {IDr, AUTH, N(QUICK_CRASH_DETECTION), ...}
//! ```
//!
//! and after a restart of the responder:
//!
//! ```text
//! HDR, SK {...}  -->
//!                               <--  HDR, N(INVALID_IKE_SPI), N(QUICK_CRASH_DETECTION)
//! ```
//!
//! A token is made of a secret that survives the restart and of both SPIs (section 5.1), so that whoever makes it needs to
//! remember nothing. It is told to anybody who asks with the SPIs of an IKE SA that is not there, and never with those of
//! one that is (section 9.2).

use super::exchange::Path;
use super::sa::IkeSa;
use crate::context::Context;
use crypto::Prf;
use model::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use wire::v2::{Chain, ChainBuilder, Notify, Payload, message, parse_chain};
use wire::{
    ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, NotifyType, PayloadType, PrfId, ProtocolId, Secret, SpiPair,
    Version,
};

/// Octets of our tokens: the least that section 5 allows, so that a token is not longer than what asks for it.
pub(crate) const TOKEN_LEN: usize = 16;
/// Octets of a token that section 5 allows.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;
/// Section 4.5: so many notifications have to be looked at.
const GENERATIONS: usize = 4;
/// Octets of the answer to a request whose IKE SA is not there.
pub(crate) const ANSWER_LEN: usize = HEADER_LEN + 8 + 8 + TOKEN_LEN;
/// What the Encrypted payload of a request has to hold at least, padded, for the request not to be shorter than
/// [`ANSWER_LEN`], whatever its algorithms: an answer must not be larger than what it answers.
pub(crate) const LEAST_CONTENT: u8 = 16;

/// Answers to messages of unknown SAs in a second, in all (section 8.1).
const MAX_ANSWERS: u32 = 1000;
/// The same to one address: its requests may be of several IKE SAs.
const MAX_ANSWERS_PEER: u32 = 8;

/// So many in a second, in all and for each address.
#[derive(Default)]
struct Limiter {
    since: Option<Instant>,
    all: u32,
    /// Not more entries than `all`.
    each: BTreeMap<IpAddr, u32>,
}

impl Limiter {
    fn allows(&mut self, now: Instant, from: IpAddr) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= Duration::from_secs(1)) {
            (self.since, self.all) = (Some(now), 0);
            self.each.clear();
        }
        if self.all >= MAX_ANSWERS {
            return false;
        }
        self.all += 1;
        let each = self.each.entry(from).or_default();
        *each += 1;
        *each <= MAX_ANSWERS_PEER
    }
}

/// What makes tokens.
#[derive(Default)]
pub(crate) struct TokenMaker {
    secret: Option<Secret>,
    told: Limiter,
    checked: Limiter,
}

impl TokenMaker {
    /// Makes tokens of this secret from now on.
    pub fn set_secret(&mut self, secret: Secret) {
        self.secret = Some(secret);
    }

    /// Section 5.1, with HMAC in place of a hash of the secret and the SPIs.
    pub fn token(&self, spis: SpiPair) -> Option<Secret> {
        let prf = Prf::new(PrfId::HMAC_SHA2_256).ok()?;
        let mac = prf.compute(self.secret.as_ref()?.expose(), &[b"QCD", &spis.initiator.0, &spis.responder.0]);
        mac.expose().get(..TOKEN_LEN).map(|octets| Secret::new(octets.to_vec()))
    }
}

/// Adds our token for these SPIs (section 4.1: with the protocol of an IKE SA, and no SPI).
pub(super) fn tell(cx: &Context, chain: &mut ChainBuilder, spis: SpiPair) {
    let token = cx.tokens.token(spis).filter(|_| cx.settings.quick_crash_detection);
    if let Some(token) = token {
        write(chain, &token);
    }
}

fn write(chain: &mut ChainBuilder, token: &Secret) {
    let (protocol, kind) = (ProtocolId::IKE, NotifyType::QUICK_CRASH_DETECTION);
    chain.push(&Payload::Notify(Notify { protocol, spi: &[], kind, data: token.expose() }));
}

/// Whether the peer is to be told a token for the IKE SA that a rekeying of ours made, in an exchange of its own
/// (section 4.3).
pub(super) fn has_token(cx: &Context) -> bool {
    cx.settings.quick_crash_detection && cx.tokens.secret.is_some()
}

/// The tokens that a message has, at most as many as have to be looked at.
fn tokens<'a>(chain: &'a Chain<'_>) -> impl Iterator<Item = &'a [u8]> {
    chain
        .notifies()
        .filter(|n| n.kind == NotifyType::QUICK_CRASH_DETECTION && LENGTHS.contains(&n.data.len()))
        .map(|n| n.data)
        .take(GENERATIONS)
}

/// Keeps the token of a protected message; a later one takes the place of earlier ones (section 4.4).
pub(super) fn take(sa: &mut IkeSa, cx: &Context, chain: &Chain<'_>) {
    if let Some(token) = tokens(chain).last().filter(|_| cx.settings.quick_crash_detection) {
        sa.peer_token = Some(Secret::new(token.to_vec()));
    }
}

/// What an unprotected answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is no claim to have lost the IKE SA by a token.
    None,
    /// The peer has lost the IKE SA.
    Proven,
    /// A token, and not the one that the peer gave us.
    Wrong,
}

/// Judges an unprotected message with the SPIs of an IKE SA. Section 3: it may come from anywhere. Nothing changes.
pub(crate) fn claim(sa: &IkeSa, cx: &mut Context, now: Instant, header: &Header, bytes: &[u8], path: Path) -> Claim {
    let unprotected = header.is_response() && header.next_payload == PayloadType::NOTIFY;
    let Some(token) = sa.peer_token.as_ref().filter(|_| unprotected && sa.keys().is_some()) else { return Claim::None };
    let octets = bytes.get(HEADER_LEN..).unwrap_or_default();
    let Ok(chain) = parse_chain(header.next_payload, octets, HEADER_LEN) else { return Claim::None };
    if tokens(&chain).next().is_none() {
        return Claim::None;
    }
    // Section 8.1: not for one source as often as it likes.
    if !cx.tokens.checked.allows(now, path.remote.ip()) {
        return Claim::Wrong;
    }
    match tokens(&chain).filter(|told| crypto::equal(told, token.expose())).count() {
        0 => Claim::Wrong,
        _ => Claim::Proven,
    }
}

/// Tells whoever uses an IKE SA that is not there that it is lost (RFC 7296 section 2.21.4, RFC 6290 section 4.5). The caller
/// has made sure that neither SPI is of an IKE SA that is there.
pub(crate) fn answer_unknown(cx: &mut Context, now: Instant, header: &Header, path: Path) {
    let protected = matches!(header.next_payload, PayloadType::SK | PayloadType::SKF);
    let request = !header.is_response() && protected && header.exchange != ExchangeType::IKE_SA_INIT;
    let large_enough = usize::try_from(header.length).is_ok_and(|length| length >= ANSWER_LEN);
    if !request || !large_enough || !cx.settings.quick_crash_detection || !of_this_worker(cx, header) {
        return;
    }
    let Some(token) = cx.tokens.token(header.spis) else { return };
    if !cx.tokens.told.allows(now, path.remote.ip()) {
        return;
    }
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::NONE, &[], NotifyType::INVALID_IKE_SPI, &[]);
    write(&mut chain, &token);
    // Whoever began the IKE SA that is lost: the other end than that which asks.
    let flags = if header.from_initiator() { Flags::RESPONSE } else { Flags::RESPONSE | Flags::INITIATOR };
    let (next_payload, version) = (PayloadType::NONE, Version::V2);
    let reply = Header { next_payload, version, flags, length: 0, ..*header };
    cx.transmit(path.local, path.remote, message(reply, chain));
}

/// Another worker may have the IKE SA.
fn of_this_worker(cx: &Context, header: &Header) -> bool {
    let own = if header.from_initiator() { header.spis.responder } else { header.spis.initiator };
    let workers = u64::from(cx.settings.workers.max(1));
    own != IkeSpi::ZERO && u64::from_be_bytes(own.0) % workers == u64::from(cx.settings.worker)
}

/// Whether the message of an unknown SA has the SPI of one that is there after all, in either place: the Initiator flag is
/// not protected, and with the wrong one everybody could ask for the token of any IKE SA (section 9.2).
pub(crate) fn either_known(spis: SpiPair, known: impl Fn(&IkeSpi) -> bool) -> bool {
    known(&spis.initiator) || known(&spis.responder)
}
