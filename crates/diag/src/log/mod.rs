//! Verdicts on a daemon's log, read as a stream.
//!
//! Line by line: [`prefix`] takes it apart, [`ends`] finds whom it is about, [`catalogue`] knows what its words mean, and
//! [`course`] keeps what became of each peer; [`verdict`] judges in the end. Nothing grows with the length of the log:
//! peers, names and complaints are bounded, and what exceeds the bounds is counted and said.

mod catalogue;
mod course;
mod ends;
mod lines;
mod own;
mod phrases;
mod prefix;
mod proposals;
mod verdict;

use crate::{Finding, redact};
use catalogue::Says;
use course::{At, Course};
use lines::Lines;
use prefix::Line;
use proposals::Proposals;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// So many peers are told apart.
const MAX_PEERS: usize = 1024;
/// So many names of SAs, connections and threads are known at once; the oldest are forgotten.
const MAX_NAMES: usize = 4096;
/// So many addresses of this host are known.
const MAX_OURS: usize = 64;
/// Stands for a phrase where a comparison of proposals speaks.
const COMPARED: u16 = u16::MAX - 1;
/// What a peer is called whom no line names.
const NOBODY: &str = "unknown peer";

/// Reads a log. Feed it in pieces of any size.
#[derive(Default)]
pub struct Log {
    lines: Lines,
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
    /// The thread that just said it repeats a message; to whom, its next line says.
    repeats: Option<String>,
    last: Option<u64>,
    proposals: Proposals,
    numbers: u64,
    understood: u64,
    left_out: u64,
}

impl Log {
    /// Takes the next piece.
    pub fn feed(&mut self, octets: &[u8]) {
        let reader = &mut self.reader;
        self.lines.feed(octets, |line| reader.line(line));
    }

    /// The log is over.
    pub fn finish(mut self) -> LogReport {
        let mut reader = self.reader;
        self.lines.finish(|line| reader.line(line));
        let last = reader.last;
        LogReport {
            findings: reader.courses.into_iter().flat_map(|course| course.finish(last)).collect(),
            lines: reader.numbers,
            understood: reader.understood,
            cut: self.lines.cut,
            left_out: reader.left_out,
        }
    }
}

impl Reader {
    fn line(&mut self, line: &str) {
        self.numbers += 1;
        let clean = redact(line);
        let parts = prefix::split(&clean);
        self.last = parts.at.or(self.last);
        if parts.aside {
            return;
        }
        let small = parts.text.to_ascii_lowercase();
        let compared = self.proposals.take(parts.thread, parts.connection, parts.text);
        let found = compared.map(|says| (COMPARED, says)).or_else(|| catalogue::look_up(&small));
        let subject = self.subject(&parts, found.map(|(_, says)| says));
        let Some((phrase, says)) = found else { return };
        self.understood += 1;
        if says == Says::Restart {
            self.courses.iter_mut().for_each(Course::restart);
            return;
        }
        let Some(subject) = subject else {
            self.left_out += u64::from(says != Says::Nothing);
            return;
        };
        let sa = parts.sa.or_else(|| named_sa(parts.text));
        if let Some(course) = self.courses.get_mut(subject) {
            course.take(phrase, says, At { number: self.numbers, time: parts.at, text: parts.text }, sa);
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
        let thread = line.thread.filter(|thread| !thread.is_empty()).map(|thread| format!("thread {thread}"));
        let address = prefixed.or(ends.peer);
        let worth = matches!(says, Some(says) if !matches!(says, Says::Nothing | Says::Restart));
        let found = match address {
            Some(address) => self.at(address, named, line, says, worth),
            None if says == Some(Says::GaveUp) && named.is_none() => {
                self.most_repeated().or_else(|| self.context(&thread))
            }
            None => named.or_else(|| line.connection.is_none().then(|| self.context(&thread)).flatten()),
        };
        let subject = match found {
            None if worth => {
                let name = line.connection.filter(|_| line.thread.is_none()).unwrap_or(NOBODY);
                self.introduce(name, None)
            }
            found => found,
        };
        self.note_repetition(&thread, line, says, subject);
        if let Some(subject) = subject {
            let course = self.courses.get_mut(subject)?;
            course.local = local.or(course.local);
            if course.name.is_empty() || line.thread.is_none() && line.connection.is_some() {
                course.name = line.connection.unwrap_or_default().to_string();
            }
            names.into_iter().chain(thread).for_each(|name| self.call(name, subject));
            self.current = Some(subject);
        }
        subject
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
        if let Some(named) = named.filter(|_| line.thread.is_none()) {
            let course = self.courses.get_mut(named)?;
            match course.address {
                None if known.is_none() => {
                    course.address = Some(address);
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

    fn most_repeated(&self) -> Option<usize> {
        let (at, most) = self.courses.iter().enumerate().max_by_key(|(_, course)| course.repeated())?;
        (most.repeated() > 0).then_some(at)
    }

    /// charon says that it repeats a message one line before it says to whom.
    fn note_repetition(
        &mut self,
        thread: &Option<String>,
        line: &Line<'_>,
        says: Option<Says>,
        subject: Option<usize>,
    ) {
        if says == Some(Says::Repeated) && line.thread.is_some() {
            self.repeats = thread.clone().or_else(|| Some(String::new()));
        } else if let Some(repeats) = self.repeats.take() {
            let same = thread.as_deref().unwrap_or_default() == repeats;
            if same
                && line.text.starts_with("sending packet")
                && subject != self.names.get(&repeats).copied()
                && let Some(course) = subject.and_then(|subject| self.courses.get_mut(subject))
            {
                let at = At { number: self.numbers, time: line.at, text: line.text };
                course.take(u16::MAX, Says::Repeated, at, None);
            }
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
            names.extend(line.sa.filter(|_| line.connection.is_none()).map(|sa| format!("sa {sa}")));
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
    if let Some((_, rest)) = text.split_once("IKE_SA ") {
        let (first, _) = prefix::word(rest);
        return first
            .strip_suffix([',', '.', ';'])
            .unwrap_or(first)
            .strip_suffix(']')?
            .rsplit_once('[')
            .map(|(_, n)| n);
    }
    let rest = text.split_once("spi:").or_else(|| text.split_once("spi="))?.1;
    let (first, _) = prefix::word(rest);
    Some(first.trim_end_matches('.')).filter(|spi| spi.len() >= 16)
}

#[cfg(test)]
mod tests;
