//! Puzzles (RFC 8019): under attack whoever wants an IKE SA works for it.
//!
//! ```text
//! HDR(A,0), SAi1, KEi, Ni  -->
//!                          <--  HDR(A,0), N(COOKIE), N(PUZZLE)
//! HDR(A,0), N(COOKIE), PS, SAi1, KEi, Ni  -->
//!                          <--  HDR(A,B), SAr1, KEr, Nr
//! ```
//!
//! or, between IKE_SA_INIT and IKE_AUTH (section 7.2; `auth_puzzle` is the responder):
//!
//! ```text
//!                          <--  HDR(A,B), SAr1, KEr, Nr, N(PUZZLE)
//! HDR(A,B), PS, SK {...}   -->
//! ```
//!
//! The responder keeps nothing: what it asked for and when is in the cookie (section 7.1.1.3). Who returns the cookie without
//! a solution takes part in a lottery (section 7.1), so that initiators that know no puzzles have a chance, too.

use super::cookie::{Cookies, Terms};
use super::exchange::Path;
use super::ike_sa_init::stateless;
use crate::context::Context;
use crate::settings::Settings;
use crypto::{Prf, Puzzle};
use model::{DropReason, Instant, SaId};
use std::time::Duration;
use wire::grammar::{self, Protection, Sender};
use wire::v2::{Chain, ChainBuilder, parse_chain};
use wire::{ExchangeType, HEADER_LEN, Header, NotifyType, PrfId, ProtocolId, TransformType};

/// The functions for puzzles, the one we like best first.
const FUNCTIONS: [PrfId; 6] = [
    PrfId::HMAC_SHA2_256,
    PrfId::HMAC_SHA2_512,
    PrfId::HMAC_SHA2_384,
    PrfId::HMAC_SHA1,
    PrfId::AES128_CMAC,
    PrfId::AES128_XCBC,
];

/// A puzzle is at most so many bits harder than configured, however many half-open SAs there are.
const MOST_HARDER: u32 = 4;
/// How long a solution counts. An SA that it made is half-open about as long, and with that it counts no second time.
const SOLUTION_TIME: Duration = Duration::from_secs(60);
/// First messages without a solution that are served in a second, at most.
const MAX_UNSOLVED: u32 = 10;
/// Bits that we work for where the responder leaves it to us (section 7.1.1.1).
const OWN_CHOICE: u8 = 14;

/// What a first message is asked for before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nothing.
    Nothing,
    /// To return a cookie.
    Cookie,
    /// To solve a puzzle of so many bits. How many times as many half-open SAs there are as it takes for that, as a power of
    /// two.
    Puzzle { difficulty: u8, level: u32 },
}

impl Demand {
    /// What the load demands: half-open SAs in all, and with this peer (section 6).
    pub fn of(settings: &Settings, all: usize, peer: usize) -> Self {
        let over = |limit: usize, now: usize| limit != 0 && now >= limit;
        let level = all.checked_div(settings.puzzle_threshold).and_then(usize::checked_ilog2);
        let (level, puzzle) = (level.unwrap_or(0), level.is_some() || over(settings.puzzle_threshold_peer, peer));
        if puzzle && settings.puzzle_difficulty != 0 {
            let harder = u8::try_from(level.min(MOST_HARDER)).unwrap_or(0);
            return Self::Puzzle { difficulty: settings.puzzle_difficulty.saturating_add(harder), level };
        }
        match over(settings.cookie_threshold, all) || over(settings.cookie_threshold_peer, peer) {
            true => Self::Cookie,
            false => Self::Nothing,
        }
    }
}

/// How many without a solution were served lately.
#[derive(Default)]
pub(crate) struct Lottery {
    since: Option<Instant>,
    served: u32,
}

impl Lottery {
    /// Section 7.1: the more half-open SAs, the fewer. Never more than [`MAX_UNSOLVED`] in a second.
    fn draw(&mut self, now: Instant, level: u32, random: u32) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= Duration::from_secs(1)) {
            (self.since, self.served) = (Some(now), 0);
        }
        let wins = self.served < MAX_UNSOLVED && random.trailing_zeros() >= level.saturating_add(2).min(32);
        self.served += u32::from(wins);
        wins
    }
}

/// What stands between a first message and its being served.
pub(crate) struct Gate {
    pub cookies: Cookies,
    pub lottery: Lottery,
}

impl Gate {
    pub fn new() -> Self {
        Self { cookies: Cookies::new(), lottery: Lottery::default() }
    }
}

/// What becomes of a first message at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It is done with.
    TurnedAway,
    /// It is served.
    Free,
    /// It is served, for a solution; a puzzle is of so many bits now.
    Worked(u8),
}

/// Asks whoever has not proven its address for a cookie, and whoever has not worked enough for a solution. This comes before
/// anything that takes longer the more connections there are, and before anybody is asked for the addresses of a host name.
/// What is no proper IKE_SA_INIT request is left to `respond`.
///
/// `served` says that there is a half-open SA with this SPI and address already.
pub(crate) fn admit(
    cx: &mut Context,
    now: Instant,
    (header, datagram): (&Header, &[u8]),
    path: Path,
    gate: &mut Gate,
    (demand, served): (Demand, bool),
) -> Passage {
    if demand == Demand::Nothing {
        return Passage::Free;
    }
    let octets = datagram.get(HEADER_LEN..).unwrap_or_default();
    let Ok(chain) = parse_chain(header.next_payload, octets, HEADER_LEN) else { return Passage::Free };
    let row = grammar::classify(ExchangeType::IKE_SA_INIT, Sender::Initiator, Protection::Clear, &chain.set());
    let (Some(Ok(_)), Some(nonce)) = (row, chain.nonce()) else { return Passage::Free };
    let returned = chain.notify(NotifyType::COOKIE).map(|n| n.data);
    let (spi, from) = (header.spis.initiator, path.remote);
    let terms = returned.and_then(|c| gate.cookies.check(now, c, nonce, from, spi));
    let puzzle = match demand {
        // Section 7.1.1.2: without a function in common there will be no IKE SA.
        Demand::Puzzle { difficulty, level } => function(&chain).map(|prf| (prf, difficulty, level)),
        Demand::Cookie | Demand::Nothing => None,
    };
    let (Some(terms), Some((prf, difficulty, level))) = (terms, puzzle) else {
        if terms.is_some() {
            return Passage::Free; // section 7.1.4: what else is in the message does not matter
        }
        let asked = puzzle.map(|(prf, difficulty, _)| (prf, difficulty));
        ask(cx, now, (header, datagram), path, (nonce, &mut gate.cookies), asked);
        return Passage::TurnedAway;
    };
    if served {
        // Section 7.1.1.3: one solution, or one prize, makes one SA.
        cx.dropped(DropReason::PuzzleUnsolved, path.remote);
        return Passage::TurnedAway;
    }
    match solved(&terms, returned.unwrap_or_default(), chain.puzzle_solution()) {
        // What was asked for when there was less load is less work; a little is no reason to ask again.
        Some(bits) if bits + 1 >= u32::from(difficulty) => Passage::Worked(difficulty),
        Some(_) => {
            ask(cx, now, (header, datagram), path, (nonce, &mut gate.cookies), Some((prf, difficulty)));
            Passage::TurnedAway
        }
        None if gate.lottery.draw(now, level, u32::from_be_bytes(cx.random())) => Passage::Free,
        None => {
            cx.dropped(DropReason::PuzzleUnsolved, path.remote);
            Passage::TurnedAway
        }
    }
}

/// The bits that a first message was worked for, if at least as many as its cookie asked for (section 7.1.4).
fn solved(terms: &Terms, cookie: &[u8], solution: Option<&[u8]>) -> Option<u32> {
    let (prf, difficulty) = terms.puzzle.filter(|_| terms.age <= SOLUTION_TIME)?;
    let puzzle = Puzzle { prf: Prf::new(prf).ok()?, difficulty, content: cookie.to_vec() };
    puzzle.check(solution?).filter(|bits| *bits >= difficulty.into())
}

/// The function for a puzzle: one that the initiator offers for its IKE SA (section 7.1.1.2).
fn function(chain: &Chain<'_>) -> Option<PrfId> {
    let offered = |id: &PrfId| {
        let mut transforms = chain.sa().unwrap_or_default().iter().flat_map(|proposal| &proposal.transforms);
        transforms.any(|t| t.kind == TransformType::PRF && t.id == id.0)
    };
    FUNCTIONS.into_iter().find(offered).filter(|id| Prf::new(*id).is_ok())
}

/// RFC 7296 section 2.6: no state, no public-key operation, and an answer that is not longer than the request.
fn ask(
    cx: &mut Context,
    now: Instant,
    (header, datagram): (&Header, &[u8]),
    path: Path,
    (nonce, cookies): (&[u8], &mut Cookies),
    puzzle: Option<(PrfId, u8)>,
) {
    let cookie = cookies.make(now, &mut *cx.rng, nonce, path.remote, header.spis.initiator, puzzle);
    let mut chain = ChainBuilder::new();
    chain.notify(ProtocolId::NONE, &[], NotifyType::COOKIE, &cookie);
    if let Some((prf, difficulty)) = puzzle {
        let [high, low] = prf.0.to_be_bytes();
        chain.notify(ProtocolId::NONE, &[], NotifyType::PUZZLE, &[high, low, difficulty]);
    }
    match HEADER_LEN + chain.len() <= datagram.len() {
        true => stateless(cx, header, path, chain),
        false => cx.dropped(DropReason::Malformed, path.remote),
    }
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// Work for whoever can do it without keeping others waiting. [`crypto::PuzzleSolver`] does it; tell
/// [`Endpoint::puzzle_solved`](crate::Endpoint::puzzle_solved).
#[derive(Clone, Debug)]
pub struct PuzzleJob {
    /// The IKE SA that waits for it.
    pub sa: SaId,
    /// The puzzle.
    pub puzzle: Puzzle,
}

/// What a PUZZLE notification asks of us.
pub(super) enum Asked {
    /// This.
    Work(Puzzle),
    /// More than `puzzle_max_difficulty`.
    TooHard(u8),
    /// Nothing that we can do: the notification is none, or its function is none of those that we offered.
    Nothing,
}

/// Reads the data of a PUZZLE notification (section 8.1). `offers` tells the functions of our proposals.
pub(super) fn asked(settings: &Settings, data: &[u8], cookie: &[u8], offers: impl Fn(PrfId) -> bool) -> Asked {
    let [high, low, difficulty] = data else { return Asked::Nothing };
    let id = PrfId(u16::from_be_bytes([*high, *low]));
    let Some(prf) = Some(id).filter(|id| offers(*id)).and_then(|id| Prf::new(id).ok()) else { return Asked::Nothing };
    let most = settings.puzzle_max_difficulty;
    match *difficulty {
        difficulty if difficulty > most || most == 0 => Asked::TooHard(difficulty),
        0 => Asked::Work(Puzzle { prf, difficulty: OWN_CHOICE.min(most), content: cookie.to_vec() }),
        difficulty => Asked::Work(Puzzle { prf, difficulty, content: cookie.to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_decides_what_is_demanded() {
        let settings = Settings {
            cookie_threshold: 30,
            cookie_threshold_peer: 3,
            puzzle_threshold: 100,
            puzzle_threshold_peer: 4,
            puzzle_difficulty: 16,
            ..Settings::default()
        };
        let puzzle = |difficulty, level| Demand::Puzzle { difficulty, level };
        for (all, peer, demand) in [
            (0, 0, Demand::Nothing),
            (29, 2, Demand::Nothing),
            (30, 0, Demand::Cookie),
            (0, 3, Demand::Cookie),
            (5, 4, puzzle(16, 0)),
            (99, 3, Demand::Cookie),
            (100, 0, puzzle(16, 0)),
            (199, 0, puzzle(16, 0)),
            (200, 0, puzzle(17, 1)),
            (800, 0, puzzle(19, 3)),
            (100_000, 0, puzzle(20, 9)),
        ] {
            assert_eq!(Demand::of(&settings, all, peer), demand, "{all} half-open SAs, {peer} of them the peer's");
        }
        let off = Settings { puzzle_threshold: 0, puzzle_threshold_peer: 0, ..settings.clone() };
        assert_eq!(Demand::of(&off, 100_000, 5), Demand::Cookie);
        let off = Settings { puzzle_difficulty: 0, ..settings };
        assert_eq!(Demand::of(&off, 100_000, 5), Demand::Cookie);
    }

    #[test]
    fn the_lottery_is_the_harder_the_more_there_are_and_has_few_prizes() {
        let won = |level| {
            let mut random = 1_u32;
            let each = |second: u32| {
                let mut lottery = Lottery::default();
                let at = Instant::ZERO + Duration::from_secs(second.into());
                (0..16)
                    .filter(|_| {
                        random ^= random << 13;
                        random ^= random >> 17;
                        random ^= random << 5;
                        lottery.draw(at, level, random)
                    })
                    .count()
            };
            (0..1000).map(each).sum::<usize>()
        };
        // Of 16,000 each: a quarter, an eighth, and so on.
        for (level, expected) in [(0, 4000), (1, 2000), (4, 250)] {
            let won = won(level);
            assert!(won.abs_diff(expected) < expected / 4, "{won} at level {level}");
        }
        let mut lottery = Lottery::default();
        let now = Instant::ZERO;
        assert_eq!((0..1000).filter(|_| lottery.draw(now, 0, 0)).count(), MAX_UNSOLVED as usize);
        assert_eq!((0..1000).filter(|_| lottery.draw(now + Duration::from_secs(1), 0, 0)).count(), 10);
        assert!(!lottery.draw(now + Duration::from_secs(9), 70, 1), "no level overflows");
    }
}
