//! Verdicts on a daemon's log, read as a stream.
//!
//! Line by line: [`prefix`] takes it apart, [`ends`] finds whom it is about, [`catalogue`] knows what its words mean, and
//! [`course`] keeps what became of each peer; [`verdict`] judges in the end. Nothing grows with the length of the log:
//! peers, names and complaints are bounded, and what exceeds the bounds is counted and said.

mod catalogue;
mod children;
mod course;
mod ends;
mod kicks;
mod lines;
mod makers;
mod order;
mod own;
mod phrases;
mod pluto;
mod prefix;
mod proposals;
mod values;
mod verdict;
mod wrapping;

use crate::{Finding, redact, rhythm};
use catalogue::Says;
use course::{At, Course};
use kicks::Kicks;
use lines::Lines;
use memchr::memmem::Finder;
use order::Order;
use prefix::Line;
use proposals::Proposals;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::LazyLock;

/// So many peers are told apart.
const MAX_PEERS: usize = 1024;
/// So many names of SAs, connections and threads are known at once; the oldest are forgotten.
const MAX_NAMES: usize = 4096;
/// So many addresses of this host are known.
const MAX_OURS: usize = 64;
/// Stands for a phrase where a comparison of proposals speaks.
const COMPARED: u16 = u16::MAX - 1;
/// A thread's next line comes within so many lines.
const NEXT_LINE: u64 = 16;
/// Words for the same: pluto's names of notifications say of which version they are, and charon before 5.9 had a word of
/// its own.
const SAME: [(&str, &str); 3] = [("v1n_", ""), ("v2n_", ""), ("inacceptable", "unacceptable")];
/// Searchers take longer to be made than a line to be searched.
static SAME_WORDS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| SAME.map(|(words, _)| Finder::new(words)));
static NAMED: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["IKE_SA ", "spi"].map(Finder::new));
/// What a peer is called whom no line names.
const NOBODY: &str = "unknown peer";

/// Reads a log. Feed it in pieces of any size.
#[derive(Default)]
pub struct Log {
    lines: Lines,
    order: Order,
    reader: Reader,
}

/// What a log has to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// About each peer, in order of appearance.
    pub findings: Vec<Finding>,
    /// Lines, all of them.
    pub lines: u64,
    /// Lines that say something about an SA.
    pub understood: u64,
    /// Lines of which only the beginning was looked at, for they are too long.
    pub cut: u64,
    /// Lines about further peers, which are too many.
    pub left_out: u64,
    /// Lines that were not read: the oldest of a log that has the newest first, and is too long to be turned round.
    pub unread: u64,
}

#[derive(Default)]
struct Reader {
    courses: Vec<Course>,
    by_address: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, usize>,
    order: VecDeque<String>,
    ours: BTreeSet<IpAddr>,
    /// Whom the last line was about.
    current: Option<usize>,
    /// A repetition of which the next line says to whom it goes.
    repeats: Option<Repetition>,
    last: Option<u64>,
    proposals: Proposals,
    numbers: u64,
    understood: u64,
    left_out: u64,
    /// When the next line was written, where a line of its own says so.
    stamp: Option<u64>,
    /// Whose a packet was of whom nothing else is known yet.
    heard: Option<Heard>,
    kicks: Kicks,
}

/// A peer that a thread works for, as its packet tells.
struct Heard {
    thread: String,
    address: IpAddr,
    local: Option<IpAddr>,
    number: u64,
}

/// charon says that it repeats a message one line before it says to whom.
struct Repetition {
    phrase: u16,
    thread: String,
    /// Under which names the SA is known from now on.
    names: Vec<String>,
    text: String,
    number: u64,
    time: Option<u64>,
    /// Whom it is about if the next line does not say so.
    else_about: Option<usize>,
}

impl Log {
    /// Takes the next piece.
    pub fn feed(&mut self, octets: &[u8]) {
        let (reader, order) = (&mut self.reader, &mut self.order);
        self.lines.feed(octets, |line| order.next(line, time_of, |line| reader.line(line)));
    }

    /// The log is over.
    pub fn finish(mut self) -> LogReport {
        let (mut reader, mut order) = (self.reader, self.order);
        self.lines.finish(|line| order.next(line, time_of, |line| reader.line(line)));
        let (backwards, dropped) = order.finish(|line| reader.line(line));
        reader.settle(None);
        let last = reader.last;
        let ups: Vec<Vec<u64>> = reader.courses.iter().map(|course| course.ups.iter().copied().collect()).collect();
        let ups: Vec<&[u64]> = ups.iter().map(Vec::as_slice).filter(|ups| !ups.is_empty()).collect();
        let together = rhythm::at_one_instant(&ups);
        let each = reader.courses.into_iter().enumerate();
        let mut findings: Vec<(usize, Finding)> =
            each.flat_map(|(at, course)| course.finish(last, backwards).into_iter().map(move |f| (at, f))).collect();
        reader.kicks.judge(&mut findings);
        for (_, finding) in findings.iter_mut().filter(|(_, finding)| together && finding.id == "flapping") {
            let all = "all peers are established anew at the same instants: look at this end, not at theirs";
            finding.evidence.push(format!("{all} (a restart, a takeover, the clock, an interface)"));
        }
        LogReport {
            findings: findings.into_iter().map(|(_, finding)| finding).collect(),
            lines: reader.numbers + dropped,
            understood: reader.understood,
            cut: self.lines.cut,
            left_out: reader.left_out,
            unread: dropped,
        }
    }
}

impl Reader {
    fn line(&mut self, line: &str) {
        self.numbers += 1;
        // What is escaped in its carrier is no secret that `redact` would find.
        let (stamp, line) = match wrapping::unwrap(line) {
            Some(wrapping::Carried { at, text: None }) => {
                self.stamp = at;
                return;
            }
            Some(wrapping::Carried { at, text: Some(text) }) => (at.or(self.stamp), text),
            None => (None, Cow::Borrowed(line)),
        };
        let clean = redact(&line);
        let mut parts = prefix::split(&clean);
        parts.at = stamp.or(parts.at);
        self.last = parts.at.or(self.last);
        if parts.aside {
            return;
        }
        self.settle(Some(&parts));
        let mut small = parts.text.to_ascii_lowercase();
        for ((words, plain), finder) in SAME.into_iter().zip(&*SAME_WORDS) {
            if finder.find(small.as_bytes()).is_some() {
                small = small.replace(words, plain);
            }
        }
        let compared = self.proposals.take(parts.thread, parts.connection, parts.text);
        let found = compared.map(|says| (COMPARED, says)).or_else(|| catalogue::look_up(&small));
        if let Some((phrase, Says::Repeated)) = found
            && (parts.text.starts_with("sending retransmit") || parts.text.starts_with("retransmit "))
            && self.repeats(phrase, &parts)
        {
            self.understood += 1;
            return;
        }
        let subject = self.subject(&parts, found.map(|(_, says)| says));
        let Some((phrase, says)) = found else { return };
        self.understood += 1;
        if says == Says::Restart {
            self.courses.iter_mut().for_each(Course::restart);
            return;
        }
        if says == Says::Ours {
            // The command need not name the peer.
            let at = At { number: self.numbers, time: parts.at, text: parts.text, child: None };
            self.courses.iter_mut().for_each(|course| course.take(phrase, says, at, None));
            return;
        }
        let Some(subject) = subject else {
            self.left_out += u64::from(says != Says::Nothing);
            return;
        };
        let sa = parts.sa.or_else(|| named_sa(parts.text));
        self.kicks.take(says, parts.text, subject, parts.at);
        // pluto's Child SAs have a connection each.
        let child = parts.connection.filter(|_| parts.thread.is_none());
        if let Some(course) = self.courses.get_mut(subject) {
            course.take(phrase, says, At { number: self.numbers, time: parts.at, text: parts.text, child }, sa);
        }
    }

    /// Whom a line is about; makes the peer known if the line says something about it.
    fn subject(&mut self, line: &Line<'_>, says: Option<Says>) -> Option<usize> {
        let ours = &self.ours;
        let ends = ends::find(line.text, |address| ours.contains(&address));
        let local = line.local.or(ends.local);
        if let Some(local) = local.filter(|_| self.ours.len() < MAX_OURS) {
            self.ours.insert(local);
        }
        // racoon puts either end into its prefix.
        let prefixed = line.peer.filter(|peer| !self.ours.contains(peer));
        let names = self.names_of(line);
        let named = names.iter().find_map(|name| self.names.get(name)).copied();
        // pluto's Child SA has a connection of its own, and says under which IKE SA it begins.
        let under = pluto_state(line)
            .and_then(|_| parent(line.text))
            .and_then(|number| self.names.get(&state(number)))
            .copied();
        let named = under.or(named);
        let thread = thread_name(line);
        let address = prefixed.or(ends.peer);
        let worth =
            matches!(says, Some(says) if !matches!(says, Says::Nothing | Says::Restart | Says::Ours | Says::Renews));
        let found = match address {
            Some(address) => self.at(address, named, line, says, worth),
            // racoon's attempts all last the same time, and it does not say whose ends.
            None if line.text.starts_with("phase1 negotiation failed due to time up") => {
                self.oldest().or_else(|| self.context(&thread))
            }
            None if says == Some(Says::GaveUp) && named.is_none() => {
                self.most_repeated().or_else(|| self.context(&thread))
            }
            None if worth && named.is_none() && self.has_heard(line, &thread) => self.heard(),
            None => named.or_else(|| line.connection.is_none().then(|| self.context(&thread)).flatten()),
        };
        if let Some(address) = address.filter(|_| found.is_none()) {
            self.hear(address, local, line, &thread);
        }
        let subject = match found {
            None if worth => {
                let name = line.connection.filter(|_| line.thread.is_none()).unwrap_or(NOBODY);
                self.introduce(name, None)
            }
            found => found,
        };
        if let Some(subject) = subject {
            let course = self.courses.get_mut(subject)?;
            course.local = local.or(course.local);
            if course.name.is_empty() || line.thread.is_none() && line.connection.is_some() {
                course.name = line.connection.unwrap_or_default().to_string();
            }
            let state = pluto_state(line).map(state);
            names.into_iter().chain(thread).chain(state).for_each(|name| self.call(name, subject));
            self.current = Some(subject);
            self.heard.take_if(|heard| heard.thread == line.thread.unwrap_or_default());
        }
        subject
    }

    /// A packet is somebody's of whom nothing is known: what comes next is about him, not about whom the log spoke of last.
    fn hear(&mut self, address: IpAddr, local: Option<IpAddr>, line: &Line<'_>, thread: &Option<String>) {
        const BEGIN: [&str; 4] =
            ["received packet", "sending packet", "looking for peer configs", "looking for an IKE config"];
        if line.text.starts_with("sending packet") && self.adopt(address, local, thread) {
            return;
        }
        if BEGIN.iter().any(|begin| line.text.starts_with(begin)) {
            let name = line.thread.unwrap_or_default().to_string();
            self.heard = Some(Heard { thread: name, address, local, number: self.numbers });
            self.current = None;
            thread.iter().for_each(|thread| _ = self.names.remove(thread));
        }
    }

    /// What a thread sends is of what it has just been at: that tells the address of one whose lines have none.
    fn adopt(&mut self, address: IpAddr, local: Option<IpAddr>, thread: &Option<String>) -> bool {
        let Some(subject) = thread.as_ref().and_then(|thread| self.names.get(thread)).copied() else { return false };
        let Some(course) = self.courses.get_mut(subject) else { return false };
        if course.address.is_some() || course.name != NOBODY || self.by_address.contains_key(&address) {
            return false;
        }
        course.name.clear();
        (course.address, course.local) = (Some(address), course.local.or(local));
        self.by_address.insert(address, subject);
        self.current = Some(subject);
        true
    }

    /// Whether a packet told whom this line is about.
    fn has_heard(&self, line: &Line<'_>, thread: &Option<String>) -> bool {
        let other = thread.as_ref().is_some_and(|thread| self.names.contains_key(thread));
        let same =
            |heard: &Heard| heard.thread == line.thread.unwrap_or_default() && self.numbers <= heard.number + NEXT_LINE;
        !other && self.heard.as_ref().is_some_and(same)
    }

    /// Introduces the peer whose packet it was.
    fn heard(&mut self) -> Option<usize> {
        let heard = self.heard.take()?;
        let subject =
            self.by_address.get(&heard.address).copied().or_else(|| self.introduce("", Some(heard.address)))?;
        let course = self.courses.get_mut(subject)?;
        course.local = course.local.or(heard.local);
        Some(subject)
    }

    /// The peer with an address, which a name may have stood for until now.
    fn at(
        &mut self,
        address: IpAddr,
        named: Option<usize>,
        line: &Line<'_>,
        says: Option<Says>,
        worth: bool,
    ) -> Option<usize> {
        let known = self.by_address.get(&address).copied();
        let begins = matches!(says, Some(Says::Begun { .. }));
        if let Some(named) = named
            && let Some(course) = self.courses.get_mut(named)
            && (line.thread.is_none() || course.address.is_none())
        {
            match course.address {
                None if known.is_none() => {
                    course.address = Some(address);
                    if course.name == NOBODY {
                        course.name.clear();
                    }
                    self.by_address.insert(address, named);
                    return Some(named);
                }
                Some(other) if other == address => return Some(named),
                // A message to a third party is still about this SA; a new negotiation with another address is not.
                _ if !begins => return Some(named),
                _ => {}
            }
        }
        known.or_else(|| worth.then(|| self.introduce("", Some(address))).flatten())
    }

    /// What the thread, or the log, spoke of last.
    fn context(&self, thread: &Option<String>) -> Option<usize> {
        let by_thread = thread.as_ref().and_then(|thread| self.names.get(thread)).copied();
        by_thread.or(self.current)
    }

    fn oldest(&self) -> Option<usize> {
        let under_way = self.courses.iter().enumerate().filter_map(|(at, course)| Some((course.since()?, at)));
        under_way.min().map(|(_, at)| at)
    }

    fn most_repeated(&self) -> Option<usize> {
        let (at, most) = self.courses.iter().enumerate().max_by_key(|(_, course)| course.repeated())?;
        (most.repeated() > 0).then_some(at)
    }

    /// Keeps a repetition until the next line says whom it is about; not if it is known already.
    fn repeats(&mut self, phrase: u16, line: &Line<'_>) -> bool {
        let names = self.names_of(line);
        if line.peer.is_some() || names.iter().any(|name| self.names.contains_key(name)) {
            return false;
        }
        let thread = line.thread.unwrap_or_default().to_string();
        let else_about = self.context(&thread_name(line));
        let (text, number, time) = (line.text.chars().take(100).collect(), self.numbers, line.at);
        self.repeats = Some(Repetition { phrase, thread, names, text, number, time, else_about });
        true
    }

    /// The line behind a repetition is there, or the log is over.
    fn settle(&mut self, next: Option<&Line<'_>>) {
        // Threads speak by turns.
        let other = |kept: &mut Repetition| {
            let thread = next.and_then(|next| next.thread).unwrap_or_default();
            thread == kept.thread || thread.is_empty() || next.is_none() || self.numbers > kept.number + NEXT_LINE
        };
        let Some(kept) = self.repeats.take_if(other) else { return };
        let sent = next.filter(|next| next.text.starts_with("sending packet"));
        let to = sent.and_then(|next| Some((next, ends::find(next.text, |_| false).peer?)));
        let subject = match to {
            Some((next, address)) => self.at(address, None, next, Some(Says::Repeated), true),
            None => kept.else_about.or_else(|| self.introduce(NOBODY, None)),
        };
        let Some(subject) = subject else { return };
        kept.names.into_iter().for_each(|name| self.call(name, subject));
        if let Some(course) = self.courses.get_mut(subject) {
            let at = At { number: kept.number, time: kept.time, text: &kept.text, child: None };
            course.take(kept.phrase, Says::Repeated, at, None);
        }
    }

    /// Under which names the line's SA is known from now on.
    fn names_of(&self, line: &Line<'_>) -> Vec<String> {
        let mut names = Vec::new();
        if line.thread.is_some() {
            // One connection of charon's may have many peers; its numbers are unique.
            names.extend(line.sa.or_else(|| named_sa(line.text)).map(|number| format!("number {number}")));
        } else {
            let instance = line.connection.filter(|_| line.peer.is_none());
            names.extend(instance.map(|name| format!("connection {name}")));
            let sa = line.sa.or_else(|| named_sa(line.text)).filter(|_| line.connection.is_none());
            names.extend(sa.map(|sa| format!("sa {sa}")));
        }
        names
    }

    fn call(&mut self, name: String, subject: usize) {
        if self.names.insert(name.clone(), subject).is_none() {
            self.order.push_back(name);
            if self.order.len() > MAX_NAMES
                && let Some(oldest) = self.order.pop_front()
            {
                self.names.remove(&oldest);
            }
        }
    }

    fn introduce(&mut self, name: &str, address: Option<IpAddr>) -> Option<usize> {
        let at = self.courses.len();
        if address.is_none()
            && let Some(known) = self.courses.iter().position(|course| course.address.is_none() && course.name == name)
        {
            return Some(known);
        }
        if at >= MAX_PEERS {
            return None;
        }
        self.courses.push(Course::new(name, address));
        if let Some(address) = address {
            self.by_address.insert(address, at);
        }
        Some(at)
    }
}

/// When a line was written.
fn time_of(line: &str) -> Option<u64> {
    match wrapping::unwrap(line) {
        Some(wrapping::Carried { at, text }) => at.or_else(|| prefix::split(&text?).at),
        None => prefix::split(line).at,
    }
}

/// The number of one of pluto's SAs, of either kind, which is the only one of the number.
fn pluto_state<'a>(line: &Line<'a>) -> Option<&'a str> {
    line.sa.filter(|_| line.thread.is_none() && line.connection.is_some())
}

/// What a number of pluto's is known under.
fn state(number: &str) -> String {
    format!("state {number}")
}

/// Under which IKE SA a Child SA of pluto's is: `using IKE SA #1`, and of IKEv1 `{using isakmp#1`.
fn parent(text: &str) -> Option<&str> {
    memchr::memchr(b'#', text.as_bytes())?;
    let (_, rest) = text.split_once("using IKE SA #").or_else(|| text.split_once("using isakmp#"))?;
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..length).filter(|number| !number.is_empty())
}

/// What a thread's SA is known under while it works at it.
fn thread_name(line: &Line<'_>) -> Option<String> {
    line.thread.filter(|thread| !thread.is_empty()).map(|thread| format!("thread {thread}"))
}

/// What may be the cause of an end that Shrike gives a sentence and a code; none where it is in order.
pub(crate) fn of_end(reason: &str) -> Option<&'static [crate::Cause]> {
    use crate::Cause as C;
    match catalogue::look_up(&format!("ended: {reason}").to_ascii_lowercase())?.1 {
        Says::Fault(_, _, causes) => Some(causes),
        Says::Refused => Some(&[C::PskMismatch, C::PeerId, C::AuthFailed, C::NegotiationMode]),
        Says::HalfOpen => Some(&[C::HalfOpen, C::NatTraversal, C::NoResponse]),
        _ => None,
    }
}

/// The SA that a message names: charon's `IKE_SA name[1]`, racoon's `spi:COOKIES`.
fn named_sa(text: &str) -> Option<&str> {
    let [charons, racoons] = &*NAMED;
    // Nearly all lines that name none are known by a look at their octets.
    if memchr::memchr(b'[', text.as_bytes()).is_some()
        && let Some(rest) = charons.find(text.as_bytes()).and_then(|at| text.get(at + charons.needle().len()..))
    {
        let (first, _) = prefix::word(rest);
        return first
            .strip_suffix([',', '.', ';'])
            .unwrap_or(first)
            .strip_suffix(']')?
            .rsplit_once('[')
            .map(|(_, n)| n);
    }
    let at = racoons.find(text.as_bytes())?;
    let rest = text.get(at..)?.strip_prefix("spi:").or_else(|| text.get(at..)?.strip_prefix("spi="))?;
    let (first, _) = prefix::word(rest);
    Some(first.trim_end_matches(['.', ')'])).filter(|spi| spi.len() >= 16)
}

#[cfg(test)]
mod tests;
