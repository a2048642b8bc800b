//! Puzzles before IKE_AUTH, as responder (RFC 8019 section 7.2).
//!
//! ```text
//!                          <--  HDR(A,B), SAr1, KEr, Nr, N(PUZZLE)
//! HDR(A,B), PS, SK {...}   -->
//! ```
//!
//! Only who solved one for its first message is asked for another, and only while many SAs get an IKE_AUTH that makes no
//! sense: our half of the key exchange is not computed before the solution is there.

use super::exchange::{Path, Verdict};
use super::ike_sa_init::unusable;
use super::keys::Keys;
use super::sa::{HalfOpen, IkeSa, State};
use crate::context::Context;
use crypto::{KeyExchange, Puzzle};
use model::{ChosenSuite, DropReason, FailureKind, Instant, Role};
use std::time::Duration;
use wire::{ExchangeType, HEADER_LEN, Header, PayloadType};

/// As long as this is looked back.
const PERIOD: Duration = Duration::from_secs(10);
/// So many senseless requests are no accident, if they are for one in so many of the SAs that began.
const MANY: (u32, u32) = (8, 4);

/// A half-open SA whose initiator is at a puzzle.
pub(crate) struct Puzzled {
    pub puzzle: Puzzle,
    /// Our half of the key exchange, and the initiator's.
    pub key_exchange: KeyExchange,
    pub public: Vec<u8>,
    pub suite: ChosenSuite,
    /// What IKE_AUTH is checked with, once there are keys.
    pub rest: Unkeyed,
}

/// A half-open SA without its keys.
pub(crate) struct Unkeyed {
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    pub nonce_i: Vec<u8>,
    pub nonce_r: Vec<u8>,
    pub hashes: Vec<wire::HashAlgorithm>,
    pub candidates: Vec<std::sync::Arc<config::Connection>>,
}

/// How many half-open SAs there were lately, and how many of them got an IKE_AUTH request that nobody can decipher.
#[derive(Debug, Default)]
pub(crate) struct Senseless {
    since: Option<Instant>,
    begun: u32,
    got: u32,
    /// Whether there were many in the period before.
    many: bool,
}

impl Senseless {
    fn now_many(&self) -> bool {
        self.got >= MANY.0 && self.got.saturating_mul(MANY.1) >= self.begun
    }

    fn roll(&mut self, now: Instant) {
        let past = self.since.map(|since| now.since(since));
        if past.is_none_or(|past| past >= PERIOD) {
            let many = self.now_many() && past.is_some_and(|past| past < 2 * PERIOD);
            *self = Self { since: Some(now), begun: 0, got: 0, many };
        }
    }

    /// An IKE SA is half-open.
    pub fn begun(&mut self, now: Instant) {
        self.roll(now);
        self.begun = self.begun.saturating_add(1);
    }

    /// One got such a request, for the first time.
    pub fn got(&mut self, now: Instant) {
        self.roll(now);
        self.got = self.got.saturating_add(1);
    }

    /// Whether somebody makes us compute for nothing.
    pub fn are_many(&mut self, now: Instant) -> bool {
        self.roll(now);
        self.many || self.now_many()
    }
}

/// What stands in front of the Encrypted payload.
pub(super) struct Front<'a> {
    solution: &'a [u8],
    /// The payload after it, and where that begins.
    pub next: PayloadType,
    pub at: usize,
}

/// The Puzzle Solution payload of an IKE_AUTH request, in the first fragment if it is divided (section 7.2.2).
pub(super) fn front<'a>(header: &Header, datagram: &'a [u8]) -> Option<Front<'a>> {
    if header.next_payload != PayloadType::PS || header.exchange != ExchangeType::IKE_AUTH || header.is_response() {
        return None;
    }
    let body = datagram.get(HEADER_LEN..)?;
    let [next, _, high, low] = *body.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    Some(Front { solution: body.get(4..length)?, next: PayloadType(next), at: HEADER_LEN + length })
}

/// The initiator of this half-open SA has been asked for a solution: whether that is in this message, and right, so that the
/// SA has its keys now. Everything else is dropped without a word (section 7.2.4).
pub(super) fn solved(
    sa: &mut IkeSa,
    cx: &mut Context,
    header: &Header,
    datagram: &[u8],
    path: Path,
) -> Result<bool, Verdict> {
    let State::Puzzled(state) = &sa.state else { return Ok(true) };
    let bits = front(header, datagram).and_then(|front| state.puzzle.check(front.solution));
    if bits.is_none_or(|bits| bits < state.puzzle.difficulty.into()) {
        sa.drop_datagram(cx, DropReason::PuzzleUnsolved, path);
        return Ok(false);
    }
    let nonces = (state.rest.nonce_i.as_slice(), state.rest.nonce_r.as_slice());
    let Ok(shared) = state.key_exchange.agree(&state.public) else {
        return Err(Verdict::End(FailureKind::BadPublicValue { group: state.key_exchange.id() }));
    };
    let (keys, auth) = Keys::derive(&state.suite, &shared, nonces, sa.spis, Role::Responder)
        .map_err(|error| Verdict::End(unusable(error)))?;
    sa.log(cx, "IKE", 1, "the peer has solved the puzzle".to_string());
    if let State::Puzzled(state) = std::mem::replace(&mut sa.state, State::Closed) {
        sa.state = State::HalfOpen(Box::new(HalfOpen::new(keys, auth, state.rest)));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_so_many_of_those_that_began_and_not_for_ever() {
        let at = |seconds: u64| Instant::ZERO + Duration::from_secs(100 + seconds);
        let mut senseless = Senseless::default();
        (0..32).for_each(|_| senseless.begun(at(0)));
        for _ in 0..7 {
            senseless.got(at(1));
        }
        assert!(!senseless.are_many(at(2)), "seven may be an accident");
        senseless.got(at(2));
        assert!(senseless.are_many(at(2)));
        senseless.begun(at(3));
        assert!(!senseless.are_many(at(3)), "less than a quarter");
        senseless.got(at(4));
        assert!(senseless.are_many(at(15)), "what was counted holds for the next period");
        assert!(!senseless.are_many(at(26)));
        (0..40).for_each(|_| senseless.got(at(27)));
        assert!(!senseless.are_many(at(60)), "that was long ago");
    }

    #[test]
    fn what_is_in_front_is_read_without_trust() {
        let header = |next, exchange, flags| Header {
            spis: wire::SpiPair { initiator: wire::IkeSpi([1; 8]), responder: wire::IkeSpi([2; 8]) },
            next_payload: next,
            version: wire::Version::V2,
            exchange,
            flags,
            message_id: 1,
            length: 0,
        };
        let auth = header(PayloadType::PS, ExchangeType::IKE_AUTH, wire::Flags::INITIATOR);
        let message = |payload: &[u8]| [&[0; HEADER_LEN][..], payload].concat();
        let whole = message(&[46, 0, 0, 8, 1, 2, 3, 4, 9]);
        let found = front(&auth, &whole).unwrap();
        assert_eq!((found.solution, found.next, found.at), (&[1, 2, 3, 4][..], PayloadType::SK, HEADER_LEN + 8));
        for bad in [&[46, 0, 0, 3, 1][..], &[46, 0, 0, 9, 1, 2, 3, 4], &[46, 0, 255, 255], &[46, 0], &[]] {
            assert!(front(&auth, &message(bad)).is_none(), "{bad:?}");
        }
        for other in [
            header(PayloadType::SK, ExchangeType::IKE_AUTH, wire::Flags::INITIATOR),
            header(PayloadType::PS, ExchangeType::INFORMATIONAL, wire::Flags::INITIATOR),
            header(PayloadType::PS, ExchangeType::IKE_AUTH, wire::Flags::RESPONSE),
        ] {
            assert!(front(&other, &whole).is_none());
        }
    }
}
