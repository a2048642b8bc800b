//! What became of one peer: its attempts, its SAs, and what was said to be wrong.

use super::catalogue::{Place, Rank, Says};
use super::children::{Children, Why};
use super::verdict;
use crate::{Cause, Finding};
use Cause as C;
use model::Role;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// So many different complaints of a peer are kept.
const MAX_TALLIES: usize = 32;
/// So many established SAs of a peer are told apart.
const MAX_LIVE: usize = 16;
/// So much of a line is shown as evidence.
const MAX_SAMPLE: usize = 300;
/// So many Child SAs of a peer are known by name, and so many of the peer's transforms by what they differ in.
const MAX_CHILDREN: usize = 64;
/// So many instants of a peer are kept.
const MAX_INSTANTS: usize = 32;
/// Established SAs that follow each other faster than this are no rekeying.
pub(super) const TOO_SOON: u64 = 10_000;

/// Beginnings of both ends so close to each other cross.
const CROSSING: u64 = 2_000;

/// How far an attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The first message is sent, or is there.
    Begun,
    /// The other end's first message is there.
    Answered,
    /// Keys are exchanged.
    Keyed,
}

/// An attempt that is neither established nor given up yet.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub role: Role,
    pub version: u8,
    pub aggressive: bool,
    pub stage: Stage,
    pub nat: bool,
    pub at: Option<u64>,
    pub line: u64,
    pub repeated: u32,
    /// The peer's refusal could be decrypted.
    secret_fits: bool,
    /// pluto told it.
    of_pluto: bool,
    sa: Option<String>,
    sample: String,
}

impl Attempt {
    /// How it began and how far it got.
    fn story(&self) -> String {
        let far = match self.stage {
            Stage::Begun if self.role == Role::Initiator => "no answer to the first message",
            Stage::Begun => "the first message is there",
            Stage::Answered => "answered, and no keys exchanged",
            Stage::Keyed => "keys exchanged, and not authenticated",
        };
        let begun: String = self.sample.chars().take(MAX_SAMPLE / 2).collect();
        match self.repeated {
            0 => format!("{begun}; then: {far}"),
            times => format!("{begun}; then: {far}, {times} repetitions"),
        }
    }
}

/// One kind of complaint.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    phrase: u16,
    pub place: Place,
    pub rank: Rank,
    pub causes: &'static [Cause],
    pub count: u32,
    /// How often since the last success.
    pub open: u32,
    /// How many successes it has been followed by.
    pub spells: u32,
    pub line: u64,
    pub sample: String,
    /// The Child SA that it is about, where that is known; of an IKE SA the connection, where pluto names it.
    child: Option<String>,
}

impl Tally {
    /// Whether it may be about the connection.
    fn is_of(&self, connection: Option<&str>) -> bool {
        self.child.as_deref().is_none_or(|of| connection.is_none_or(|connection| connection == of))
    }
}

/// A line, for evidence.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub number: u64,
    pub time: Option<u64>,
    pub text: &'a str,
    /// The connection, where each of its Child SAs has its own: pluto's.
    pub child: Option<&'a str>,
}

/// A line that is kept, for evidence.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    number: u64,
    text: String,
}

impl Kept {
    /// Keeps a line in the place of another.
    fn keep(&mut self, at: At<'_>) {
        self.number = at.number;
        self.text.clear();
        if at.text.len() <= MAX_SAMPLE {
            self.text.push_str(at.text);
        } else {
            self.text.extend(at.text.chars().take(MAX_SAMPLE));
        }
    }

    /// With its number in the file.
    pub fn shown(&self, course: &Course) -> String {
        format!("line {}: {}", course.number(self.number), self.text)
    }
}

/// One peer.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// What it is called if its address is not known.
    pub name: String,
    pub address: Option<IpAddr>,
    pub local: Option<IpAddr>,
    pub tallies: Vec<Tally>,
    pub attempt: Option<Attempt>,
    /// One in the other role that the attempt crosses.
    beside: Option<Attempt>,
    pub attempts: u32,
    pub up: u32,
    pub children: u32,
    last_up: Option<u64>,
    live: BTreeSet<String>,
    /// Whether the pre-shared key is what proves an end, as far as the log says.
    secret: Option<bool>,
    /// How often one established SA followed another too soon, at a stretch, and how long that took.
    pub quick: u32,
    pub quick_time: u64,
    /// When the peer deleted the last SA and we began again; at most the last few.
    pub taken: VecDeque<Option<u64>>,
    taken_pending: bool,
    pub by_peer: u32,
    /// When SAs came in place of others that had not ended their time; at most the last few.
    pub ups: VecDeque<u64>,
    /// When the peer deleted one and none was left; at most the last few.
    pub deletes: VecDeque<u64>,
    /// Child SAs that are there, and those that ended while the IKE SA stayed.
    pub children_there: Children,
    /// When the peer was found dead; at most the last few.
    pub losses: VecDeque<u64>,
    /// How often an SA came to the end of its lifetime.
    pub expired: u32,
    /// How often one role followed the other, and how often both began at once.
    pub crossed: u32,
    /// The role in which we were when the last one was established.
    pub last_role: Option<Role>,
    last_whose: Option<(String, String)>,
    /// We announced that we renew the SA.
    renews: bool,
    /// What is deleted next is deleted by us.
    ours: bool,
    last_closed: String,
    /// The next SA that we delete is a duplicate.
    duplicate: bool,
    /// The log began when an SA was there already.
    pub before: bool,
    /// The role in which we began last.
    pub begun_as: Option<Role>,
    /// The Child SA that is being negotiated, by its name.
    child: Option<String>,
    /// The peer has our quick mode, or should have.
    quick_mode: bool,
    /// Child SAs that were there: their names and networks.
    known: BTreeSet<String>,
    /// What each of the peer's transforms differs in, as racoon tells for each pair.
    pub rejected: BTreeMap<String, Vec<Cause>>,
    /// The last line that said an SA is established, and the last that said one ends.
    pub established: Option<Kept>,
    pub ended: Option<Kept>,
    /// No line that said an SA is established had a time.
    pub timeless: bool,
    /// The file has so many lines, the newest first.
    pub backwards: Option<u64>,
}

/// Adds an instant, and forgets the oldest of too many.
fn note(instants: &mut VecDeque<u64>, at: Option<u64>) {
    instants.extend(at);
    if instants.len() > MAX_INSTANTS {
        instants.pop_front();
    }
}

/// Which SA of a peer's a line says is established: its connection and identities, or its addresses and ports.
fn whose(text: &str) -> Option<(&str, &str)> {
    if let Some((before, ends)) = text.split_once(" between ") {
        let name = before.split_once("IKE_SA ").map_or("", |(_, rest)| rest.split('[').next().unwrap_or_default());
        return Some((name, ends));
    }
    let (_, rest) = text.split_once("ISAKMP-SA established ")?;
    rest.split(' ').next().filter(|ends| ends.contains("]-")).map(|ends| ("", ends))
}

/// As much of a line as is shown.
fn sample(text: &str) -> String {
    if text.len() <= MAX_SAMPLE { text.to_string() } else { text.chars().take(MAX_SAMPLE).collect() }
}

/// The name in charon's `CHILD_SA name{1}`.
fn child_name(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("CHILD_SA ")?;
    rest.split_once('{').map(|(name, _)| name).filter(|name| !name.is_empty() && !name.contains(' '))
}

/// The networks of a Child SA, as charon has them: `10.8.1.0/24 === 10.8.2.0/24`.
fn networks(text: &str) -> Option<&str> {
    const BETWEEN: &str = " === ";
    let at = memchr::memmem::find(text.as_bytes(), BETWEEN.as_bytes())?;
    let start = text.get(..at)?.rfind(' ').map_or(0, |blank| blank + 1);
    let behind = text.get(at + BETWEEN.len()..)?;
    let length = behind.find([' ', ',']).unwrap_or(behind.len());
    text.get(start..at + BETWEEN.len() + length).filter(|networks| networks.len() <= MAX_SAMPLE)
}

/// The number of the message in charon's `message ID 22, seq 3`, as both versions of it say it.
fn message_id(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("essage ID ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether BIG-IP's brackets name a responder's SPI: then it has answered.
fn answered(text: &str) -> bool {
    text.split("-0x").skip(1).any(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
        digits.bytes().any(|digit| digit != b'0')
    })
}

/// Whether the cookies of an attempt that racoon gives up, `failed due to time up. I:R`, have a responder's: then it has
/// answered, or is this end.
fn responder_cookie(text: &str) -> Option<bool> {
    let (_, cookies) = text.split_once("due to time up. ")?;
    let (_, cookie) = cookies.trim_end().split_once(':')?;
    let cookie = cookie.get(..16).filter(|cookie| cookie.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    Some(cookie.bytes().any(|digit| digit != b'0'))
}

/// The number of a request that the peer repeats, as charon says it.
fn received_again(text: &str) -> Option<u32> {
    let number = text.strip_prefix("received retransmit of request with ID ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether pluto says it of a quick mode.
fn of_quick_mode(text: &str) -> bool {
    text.starts_with("STATE_QUICK_")
}

/// Whose attempt it is of which a log has no more than repetitions, of which version, and how far it has come.
fn repeats(text: &str, number: Option<u32>) -> (Role, u8, Stage) {
    if text.starts_with("the packet is retransmitted by") {
        // racoon: the peer repeats what we have answered.
        return (Role::Initiator, 1, Stage::Answered);
    }
    if let Some(number) = received_again(text) {
        return (Role::Responder, 2, if number == 0 { Stage::Begun } else { Stage::Keyed });
    }
    // charon counts the messages of main mode that it sends, the identity in the initiator's third and the responder's third.
    if let Some((what, sequence)) = text.split_once(" message ID 0, seq ") {
        let role = if what.ends_with("response") { Role::Responder } else { Role::Initiator };
        let stage = match (role, sequence.trim_end()) {
            (_, "1") => Stage::Begun,
            (Role::Initiator, "2") => Stage::Answered,
            _ => Stage::Keyed,
        };
        return (role, 1, stage);
    }
    (Role::Initiator, 2, if number == Some(1) { Stage::Keyed } else { Stage::Begun })
}

/// What worked once and fails when it is renewed: the first one under IKE_AUTH has no key exchange of its own (RFC 7296
/// section 1.2).
const RENEWED_CHILD: &[Cause] = &[C::Pfs, C::ChildFailed, C::EncryptionAlgorithm, C::AuthenticationAlgorithm];
const CHILD_PROPOSAL: &[Cause] = &[C::ChildFailed, C::EncryptionAlgorithm, C::AuthenticationAlgorithm];

impl Course {
    /// A peer that was just heard of.
    pub fn new(name: &str, address: Option<IpAddr>) -> Self {
        Self { name: name.to_string(), address, ..Self::default() }
    }

    /// Whether it is a connection's complaint that never carried anything, beside others of the same peer.
    pub fn is_beside(&self, tally: &Tally) -> bool {
        tally.place == Place::Ike && tally.child.as_ref().is_some_and(|of| !self.known.contains(of))
    }

    /// Whether an IKE SA is established, as far as the log says.
    pub fn is_up(&self) -> bool {
        !self.live.is_empty()
    }

    /// The number of a line in the file.
    pub fn number(&self, number: u64) -> u64 {
        self.backwards.map_or(number, |lines| (lines + 1).saturating_sub(number))
    }

    /// How often messages to it were repeated without an answer.
    pub fn repeated(&self) -> u32 {
        self.attempt.as_ref().map_or(0, |attempt| attempt.repeated)
    }

    /// The line in which the attempt under way began.
    pub fn since(&self) -> Option<u64> {
        self.attempt.as_ref().map(|attempt| attempt.line)
    }

    /// Takes what a line says about this peer; `sa` names the SA where the line does.
    pub fn take(&mut self, phrase: u16, says: Says, at: At<'_>, sa: Option<&str>) {
        self.presume(says, at);
        match says {
            Says::Nothing | Says::Restart | Says::Beneath => {}
            Says::Begun { role, version } => self.begin(role, version, at, sa),
            Says::Aggressive => self.on_attempt(|attempt| attempt.aggressive = true),
            Says::Answered => self.reach(Stage::Answered),
            Says::Keyed => self.reach(Stage::Keyed),
            Says::Up => self.established(at, sa),
            Says::ChildBegun => self.child = at.child.or_else(|| child_name(at.text)).map(str::to_string),
            Says::QuickMode => self.quick_mode = true,
            Says::ChildUp => {
                self.carries(at);
                self.children_there.up(at.text, at.child.and(sa), at.time);
            }
            Says::ChildByPeer => {
                self.children_there.ending(Why::Peer);
                // pluto names the Child SA in the IKE SA's line.
                let number = at.text.split_once(" #").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
                if let Some(number) = number.flatten().filter(|number| !number.is_empty() && at.child.is_some()) {
                    self.children_there.closed(at.text, Some(number), at.time, Why::Peer);
                }
            }
            Says::ChildIdle => self.children_there.ending(Why::Idle),
            Says::ChildExpired => self.children_there.closed(at.text, at.child.and(sa), at.time, Why::Expired),
            Says::ChildClosed => self.children_there.closed(at.text, at.child.and(sa), at.time, Why::Own),
            // racoon's words for what the peer's deletion does, and also for what its own commands do.
            Says::ChildPurged => {
                let why = if self.ours { Why::Own } else { Why::Peer };
                self.children_there.closed(at.text, None, at.time, why);
            }
            Says::Repeated => {
                // A log may begin in the middle of an attempt, or of an SA's life: numbers count up from 0, and those from 2
                // on are of an established one (RFC 7296 section 2.2).
                if self.attempt.is_none() && self.up == 0 && self.attempts == 0 && !self.before {
                    match message_id(at.text) {
                        Some(number) if number >= 2 => {
                            self.before = true;
                            self.live.insert("?".to_string());
                            // Those of IKEv1 are random (RFC 2409 section 5.5).
                            self.quick_mode = number >= 1 << 24;
                        }
                        number => {
                            let (role, version, stage) = repeats(at.text, number);
                            self.begin(role, version, at, None);
                            self.reach(stage);
                            if sa.is_some_and(answered) {
                                self.reach(Stage::Keyed);
                            }
                        }
                    }
                } else if sa.is_some_and(answered) {
                    self.reach(Stage::Keyed);
                }
                self.on_attempt(|attempt| attempt.repeated = attempt.repeated.saturating_add(1));
            }
            Says::HalfOpen => {
                let causes: &[Cause] = match self.attempt.take() {
                    Some(a) if a.version == 1 && a.stage == Stage::Keyed => {
                        &[C::PskMismatch, C::NatTraversal, C::HalfOpen, C::PeerId]
                    }
                    // It repeats what was answered: our answers do not arrive.
                    Some(a) if a.role == Role::Responder && a.repeated >= 2 => {
                        &[C::NoResponse, C::HalfOpen, C::NatTraversal]
                    }
                    _ => &[C::HalfOpen, C::NatTraversal, C::NoResponse],
                };
                self.complain(phrase, Place::Ike, Rank::Vague, causes, at);
            }
            Says::GaveUp => self.give_up(phrase, at, sa),
            Says::Closed => self.close(at, sa, false),
            Says::Replaced => {
                self.renewed();
                self.close(at, sa, false);
            }
            Says::ByPeer => self.close(at, sa, true),
            Says::Expired => {
                self.expired = self.expired.saturating_add(1);
                self.close(at, sa, false);
            }
            // racoon's words for what the peer's deletion does, and also for what its own commands do.
            Says::Purged if at.child.is_none() => self.close(at, sa, !self.ours),
            // pluto says the same of one whose successor is there.
            Says::Purged => self.close(at, sa, !self.ours && self.live.len() <= 1 && at.time.is_some()),
            Says::Renews => self.renews = true,
            Says::Redirected => (self.attempt, self.ours) = (None, true),
            Says::Ours => {
                self.ours = true;
                self.ups.clear();
                self.children_there.by_hand();
            }
            Says::Method { secret } => {
                self.secret = Some(secret);
                self.reach(Stage::Keyed);
            }
            Says::Nat => {
                self.on_attempt(|attempt| attempt.nat = true);
                self.reach(Stage::Keyed);
            }
            Says::Refused => {
                // charon shows what it has decrypted. Where a secret proves the ends the keys are made of it (RFC 2409 section 5),
                // so that it is the same at both.
                self.on_attempt(|a| {
                    a.secret_fits |=
                        a.version == 1 && at.text.contains("parsed") && at.text.contains("[ HASH N(AUTH_FAILED)")
                });
                let of_v1 = self.attempt.as_ref().filter(|attempt| attempt.version == 1);
                let causes: &[Cause] = match self.secret {
                    _ if of_v1.is_some_and(|a| a.secret_fits) => {
                        &[C::PeerId, C::NegotiationMode, C::AuthFailed, C::NoConfig]
                    }
                    // Nothing was proved yet that could be wrong: the responder has no use for the identity in message 1.
                    _ if of_v1.is_some_and(|a| a.role == Role::Initiator && a.stage < Stage::Keyed) => {
                        &[C::PeerId, C::NegotiationMode, C::AuthFailed, C::PskMismatch, C::NoConfig]
                    }
                    _ if of_v1.is_some() => &[C::PskMismatch, C::PeerId, C::AuthFailed, C::NegotiationMode],
                    Some(true) => &[C::PskMismatch, C::PeerId, C::AuthFailed],
                    Some(false) => &[C::AuthFailed, C::PeerId],
                    None => &[C::AuthFailed, C::PskMismatch, C::PeerId],
                };
                self.complain(phrase, Place::Ike, Rank::Named, causes, at);
            }
            Says::Fault(place, rank, causes) => {
                self.note_rejected(causes, at.text);
                let (place, causes) = self.settled(place, causes);
                self.complain(phrase, place, rank, causes, at);
            }
        }
    }

    /// The daemon restarts: what was under way is over, without a verdict.
    pub fn restart(&mut self) {
        (self.attempt, self.beside) = (None, None);
        self.live.clear();
        self.children_there.clear();
        self.taken_pending = false;
        (self.renews, self.ours) = (false, false);
        // A daemon that is started again and again is no peer that flaps.
        self.ups.clear();
    }

    /// What the log ended with: `last` is the time of its last line. If the newest line came first, `backwards` is how many
    /// lines there were.
    pub fn finish(mut self, last: Option<u64>, backwards: Option<u64>) -> Vec<Finding> {
        self.backwards = backwards;
        if let Some(attempt) = self.attempt.take() {
            let waited = last.zip(attempt.at).map_or(0, |(last, began)| last.saturating_sub(began));
            let certain = attempt.repeated >= 2 || waited > 2 * TOO_SOON;
            // What was said about it since tells more than where it stands.
            let told = |tally: &Tally| tally.open > 0 && tally.rank >= Rank::Hint && tally.line > attempt.line;
            if certain || self.up == 0 {
                let rank = match certain {
                    true => Rank::Vague,
                    false if self.tallies.iter().any(told) => Rank::Note,
                    // What pluto prints on a terminal has no time and ends with the command, which may not wait.
                    false if attempt.of_pluto && attempt.at.is_none() && attempt.role == Role::Initiator => Rank::Note,
                    false => Rank::Hint,
                };
                let story = attempt.story();
                let at = At { number: attempt.line, time: None, text: &story, child: None };
                self.complain(u16::MAX, Place::Ike, rank, verdict::stuck(&attempt), at);
            }
        }
        verdict::judge(&self)
    }

    fn on_attempt(&mut self, act: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = &mut self.attempt {
            act(attempt);
        }
    }

    fn reach(&mut self, stage: Stage) {
        self.on_attempt(|attempt| {
            if stage > attempt.stage {
                (attempt.stage, attempt.repeated) = (stage, 0);
            }
        });
    }

    fn begin(&mut self, role: Role, version: u8, at: At<'_>, sa: Option<&str>) {
        // The same attempt, told twice.
        if self.attempt.as_ref().is_some_and(|attempt| attempt.role == role && at.number <= attempt.line + 1) {
            return;
        }
        self.attempts = self.attempts.saturating_add(1);
        let crosses = self.attempt.as_ref().is_some_and(|other| {
            other.role != role && other.stage < Stage::Keyed && {
                let since = at.time.zip(other.at).map(|(now, then)| now.saturating_sub(then));
                since.map_or(at.number <= other.line + 3, |since| since < CROSSING)
            }
        });
        if crosses {
            // Both begin at once: neither has failed.
            self.crossed = self.crossed.saturating_add(1);
            self.beside = self.attempt.take();
        } else {
            self.fail(at);
        }
        if self.taken_pending && role == Role::Initiator {
            self.taken.push_back(at.time);
            if self.taken.len() > 8 {
                self.taken.pop_front();
            }
        }
        self.taken_pending = false;
        self.begun_as = Some(role);
        // pluto: `initiating Main Mode to replace #12`, `initiating IKEv2 connection (replacing established IKE SA #1)`.
        let replaces = [" to replace #", "(replacing "].iter().any(|words| at.text.contains(words));
        self.renews |= self.is_up() && replaces;
        self.attempt = Some(Attempt {
            role,
            version,
            // pluto and charon say it in the line that begins, racoon in one of its own.
            aggressive: at.text.to_ascii_lowercase().contains("aggressive mode"),
            stage: Stage::Begun,
            nat: false,
            at: at.time,
            line: at.number,
            repeated: 0,
            secret_fits: false,
            of_pluto: at.child.is_some(),
            sa: sa.map(str::to_string),
            sample: at.text.to_string(),
        });
    }

    /// The attempt under way has come to nothing, for no reason that was given.
    fn fail(&mut self, at: At<'_>) {
        let Some(attempt) = self.attempt.take() else { return };
        // Another one beside an established SA may be a crossing, or the other end's.
        if !self.is_up() {
            let story = attempt.story();
            let line = At { number: attempt.line, time: at.time, text: &story, child: None };
            self.complain(u16::MAX, Place::Ike, Rank::Vague, verdict::stuck(&attempt), line);
        }
    }

    fn established(&mut self, at: At<'_>, sa: Option<&str>) {
        // racoon, pluto and others say it twice where there is more to do (XAuth, Mode-Config).
        if sa.is_some_and(|sa| self.live.contains(sa)) {
            self.attempt = None;
            return;
        }
        let (attempt, beside) = (self.attempt.take(), self.beside.take());
        let crossing = beside.is_some();
        // Of two that cross, the one that the line names is the one that came through.
        let named = beside.filter(|beside| sa.is_some() && beside.sa.as_deref() == sa);
        self.note_up(at, named.or(attempt).map(|attempt| attempt.role), crossing);
        self.up = self.up.saturating_add(1);
        if self.live.len() < MAX_LIVE {
            self.live.insert(sa.unwrap_or("?").to_string());
        }
        match at.time.zip(self.last_up).map(|(now, before)| now.saturating_sub(before)) {
            Some(gap) if gap < TOO_SOON && self.live.len() <= 2 => {
                self.quick = self.quick.saturating_add(1);
                self.quick_time = self.quick_time.saturating_add(gap);
            }
            // What once was a stretch of them stays one.
            _ if self.quick < 3 => (self.quick, self.quick_time) = (0, 0),
            _ => {}
        }
        self.last_up = at.time;
        self.established.get_or_insert_default().keep(at);
        self.timeless = at.time.is_none() && (self.timeless || self.up == 1);
        self.rejected.clear();
        self.quick_mode = false;
        self.succeed(|tally| match tally.place {
            Place::Ike => tally.is_of(at.child),
            place => place == Place::Peer,
        });
    }

    /// A Child SA is there: its own complaints are settled, not those of others beside it.
    fn carries(&mut self, at: At<'_>) {
        self.children = self.children.saturating_add(1);
        // Whatever an IKE SA's own line says: it carries a Child SA.
        let carried = self.attempt.take().is_some();
        let name = at.child.or_else(|| child_name(at.text));
        let networks = networks(at.text);
        // Networks that were not there before may be those that were refused, put right.
        let new = networks.is_some_and(|networks| !self.known.contains(networks));
        self.succeed(|tally| match tally.place {
            Place::Child => match tally.child.as_deref() {
                Some(of) if of.contains(" === ") => new || networks.is_none_or(|networks| networks == of),
                Some(of) => name.is_none_or(|name| name == of),
                None => true,
            },
            place => carried && place == Place::Ike && tally.is_of(at.child),
        });
        for named in name.into_iter().chain(networks) {
            if self.known.len() < MAX_CHILDREN && !self.known.contains(named) {
                self.known.insert(named.to_string());
            }
        }
        self.child = None;
        self.quick_mode = false;
    }

    /// Whether the Child SA under negotiation is one that was there before.
    fn renews_child(&self) -> bool {
        self.children > 0 && self.child.as_ref().is_none_or(|name| self.known.contains(name))
    }

    /// racoon compares each of the peer's transforms with each of ours: `rejected X: DB(prop#1:trns#1):Peer(prop#0:trns#1)`.
    fn note_rejected(&mut self, causes: &'static [Cause], text: &str) {
        let rejected = text.strip_prefix("rejected ").and_then(|rest| rest.split_once("DB(prop"));
        let pair = rejected.and_then(|(_, rest)| rest.split_once(") = "));
        let Some((cause, (pair, _))) = causes.first().zip(pair) else { return };
        if self.rejected.len() < MAX_CHILDREN || self.rejected.contains_key(pair) {
            let of = self.rejected.entry(pair.to_string()).or_default();
            if !of.contains(cause) {
                of.push(*cause);
            }
        }
    }

    /// Keeps when it was established, unless it is a renewal or stands beside others on purpose.
    fn note_up(&mut self, at: At<'_>, role: Option<Role>, crossing: bool) {
        let renewed = std::mem::take(&mut self.renews) || at.text.contains("rekeyed");
        self.ours = false;
        if let Some((role, last)) = role.zip(self.last_role) {
            self.crossed = self.crossed.saturating_add(u32::from(role != last && !renewed));
        }
        self.last_role = role.or(self.last_role);
        let whose = whose(at.text);
        let last = self.last_whose.as_ref().map(|(name, ends)| (name.as_str(), ends.as_str()));
        let another = whose.is_some() && last.is_some() && whose != last;
        // Many SAs that others begin are users behind one address, where nothing tells them apart.
        let users = whose.is_none() && !crossing && role != Some(Role::Initiator) && self.live.len() >= 2;
        if let Some((name, ends)) = whose.filter(|whose| last.as_ref() != Some(whose)) {
            self.last_whose = Some((sample(name), sample(ends)));
        }
        if renewed || another || users {
            self.ups.clear();
        }
        note(&mut self.ups, at.time);
    }

    /// The last one that was established renews another.
    fn renewed(&mut self) {
        self.ups.clear();
        note(&mut self.ups, self.last_up);
    }

    fn succeed(&mut self, what: impl Fn(&Tally) -> bool) {
        for tally in self.tallies.iter_mut().filter(|tally| tally.open > 0) {
            if what(tally) {
                tally.open = 0;
                tally.spells = tally.spells.saturating_add(1);
            }
        }
    }

    /// A log may begin when the IKE SA is there already: quick mode and CREATE_CHILD_SA have their place under one (RFC 2409
    /// section 5.5, RFC 7296 section 1.3), so that what is refused there is the Child SA.
    fn presume(&mut self, says: Says, at: At<'_>) {
        let beneath = match says {
            Says::Beneath | Says::QuickMode => true,
            // charon says this of the Child SA in IKE_AUTH, too.
            Says::ChildBegun => !at.text.starts_with("establishing"),
            // The first two requests are IKE_SA_INIT and IKE_AUTH, all of main mode has the number 0.
            Says::Repeated => received_again(at.text).is_some_and(|number| number >= 2) || of_quick_mode(at.text),
            _ => of_quick_mode(at.text),
        };
        // pluto names the IKE SA under which it begins a Child SA: that one is there, whatever the log lacks.
        let under = at.child.and_then(|_| super::parent(at.text));
        if let Some(under) = under
            && self.attempt.as_ref().is_some_and(|attempt| attempt.sa.as_deref() == Some(under))
        {
            (self.attempt, self.before) = (None, true);
            self.live.insert(under.to_string());
        }
        if beneath && self.attempt.is_none() && (self.up, self.attempts) == (0, 0) && !self.before {
            self.before = true;
            self.live.insert("?".to_string());
            // What was refused before is what is refused now, and so none of the IKE SA's.
            self.tallies.retain(|tally| tally.place != Place::Ike);
        }
    }

    fn give_up(&mut self, phrase: u16, at: At<'_>, sa: Option<&str>) {
        let peers = responder_cookie(at.text);
        if peers == Some(true) && self.attempt.as_ref().is_some_and(|attempt| attempt.role == Role::Initiator) {
            self.reach(Stage::Answered);
        }
        match self.attempt.take() {
            Some(attempt) => self.complain(phrase, Place::Ike, Rank::Vague, verdict::stuck(&attempt), at),
            // pluto numbers all of its SAs, and this one is no IKE SA: it is a quick mode that has no answer.
            None if self.is_up()
                && at.child.is_some()
                && !at.text.starts_with("STATE_V2")
                && sa.is_some_and(|sa| !self.live.contains(sa) && !self.live.contains("?")) =>
            {
                self.complain(phrase, Place::Child, Rank::Vague, verdict::UNANSWERED_CHILD, at);
            }
            // Of IKEv1: the IKE SA's own exchange was answered.
            None if self.is_up() && self.quick_mode => {
                self.live.clear();
                self.complain(phrase, Place::Child, Rank::Vague, verdict::UNANSWERED_CHILD, at);
            }
            None if self.is_up() => {
                self.live.clear();
                self.complain(phrase, Place::Peer, Rank::Named, &[C::DpdTimeout], at);
            }
            None if self.up == 0 => {
                let causes: &[Cause] = match peers {
                    _ if sa.is_some_and(answered) => verdict::UNPROVED_OR_LOST,
                    Some(true) => &[C::PskMismatch, C::Phase1Timeout, C::PeerId, C::AuthFailed, C::NatTraversal],
                    Some(false) => &[C::NoResponse, C::Phase1Proposal, C::NoConfig, C::NegotiationMode],
                    None => &[C::NoResponse, C::Phase1Timeout, C::Phase1Proposal],
                };
                self.complain(phrase, Place::Ike, Rank::Vague, causes, at);
            }
            None => {}
        }
    }

    fn close(&mut self, at: At<'_>, sa: Option<&str>, by_peer: bool) {
        let known = match sa {
            Some(sa) => self.live.remove(sa) || self.live.remove("?"),
            None => self.live.remove("?"),
        };
        // The end of an SA is told more than once.
        let again = sa.is_some_and(|sa| sa == self.last_closed);
        self.last_closed.clear();
        self.last_closed.push_str(sa.unwrap_or_default());
        if again && !known {
            return;
        }
        self.ended.get_or_insert_default().keep(at);
        if !self.is_up() {
            self.children_there.clear();
        }
        if !by_peer && known && !self.duplicate && at.text.starts_with("deleting IKE_SA") {
            // Nothing but an operator, or a limit that was set, makes charon end an SA that is in order.
            self.ups.clear();
        }
        self.duplicate = false;
        if by_peer && known && self.is_up() && self.crossed == 0 {
            // It made the next one first, and ends this one only now.
            self.renewed();
        }
        if by_peer {
            if self.live.is_empty() && (known || self.up == 0) {
                note(&mut self.deletes, at.time);
            }
            self.by_peer = self.by_peer.saturating_add(u32::from(known || self.up == 0));
            self.taken_pending = known && self.live.is_empty();
        } else if !known && !self.is_up() {
            self.fail(at);
        }
    }

    /// Where a phrase that fits both kinds of SA belongs, and what it means there.
    fn settled(&self, place: Place, causes: &'static [Cause]) -> (Place, &'static [Cause]) {
        if place == Place::Child && causes.starts_with(&[C::ChildFailed, C::EncryptionAlgorithm]) && self.renews_child()
        {
            return (place, RENEWED_CHILD);
        }
        // Where signatures prove the ends there is no secret that could differ.
        if causes == verdict::GIVEN_UP_PROOF && self.secret == Some(false) {
            return (place, &[C::AuthFailed, C::PeerId, C::NatTraversal]);
        }
        if place != Place::Either {
            return (place, causes);
        }
        // Of IKEv2, what is refused after IKE_SA_INIT is the Child SA: IKE_AUTH has no other proposal (RFC 7296 section 1.2).
        let in_auth = |a: &Attempt| (a.version, a.role, a.stage) == (2, Role::Initiator, Stage::Keyed);
        let proposal = matches!(causes, [C::Phase1Proposal, ..]) && self.attempt.as_ref().is_some_and(in_auth);
        // Another phase 1 that begins beside an SA is what its refusal is about.
        let anew = self.attempt.as_ref().is_some_and(|attempt| attempt.version == 1);
        let child = self.is_up() && !anew || proposal;
        let causes = match causes {
            [C::Phase1Proposal, ..] if child && self.renews_child() => RENEWED_CHILD,
            [C::Phase1Proposal, ..] if child => CHILD_PROPOSAL,
            [C::TrafficSelector, C::PeerId] if child => &[C::TrafficSelector],
            // pluto says so of an identity as well as of a certificate that it has no use for.
            [C::TrafficSelector, C::PeerId] if self.secret == Some(false) => &[C::AuthFailed, C::PeerId],
            [C::TrafficSelector, C::PeerId] => &[C::PeerId],
            [C::DhGroup] if child => verdict::GROUP,
            other => other,
        };
        (if child { Place::Child } else { Place::Ike }, causes)
    }

    fn complain(&mut self, phrase: u16, place: Place, rank: Rank, causes: &'static [Cause], at: At<'_>) {
        self.duplicate |= causes == verdict::OURS;
        if place == Place::Peer && causes == [C::DpdTimeout] {
            self.ours = true;
            let again = at.time.zip(self.losses.back()).is_some_and(|(now, last)| now.abs_diff(*last) < TOO_SOON);
            note(&mut self.losses, at.time.filter(|_| !again));
        }
        let child = match place {
            Place::Child => networks(at.text).or(at.child).map(str::to_string).or_else(|| self.child.clone()),
            // Which of its connections an initiator fails with is certain, and another's success is no help to it.
            Place::Ike if self.begun_as == Some(Role::Initiator) => at.child.map(str::to_string),
            _ => None,
        };
        let same = |t: &&mut Tally| (t.phrase, t.place, t.causes) == (phrase, place, causes) && t.child == child;
        let known = self.tallies.iter_mut().find(same);
        if let Some(tally) = known {
            (tally.count, tally.open) = (tally.count.saturating_add(1), tally.open.saturating_add(1));
            tally.rank = tally.rank.max(rank);
        } else if self.tallies.len() < MAX_TALLIES {
            let sample = sample(at.text);
            self.tallies.push(Tally {
                phrase,
                place,
                rank,
                causes,
                count: 1,
                open: 1,
                spells: 0,
                line: at.number,
                sample,
                child,
            });
        }
    }
}
