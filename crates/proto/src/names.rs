//! Host names in `local_addrs` and `remote_addrs`, as far as their addresses are known.
//!
//! The core asks for a name ([`crate::endpoint::Output::Resolve`]) when a first message comes that no connection fits but
//! one whose names might have changed, and is told later. Until then the message is dropped, without an answer: its
//! initiator repeats it.

use config::{AddressPattern, Connection};
use model::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// For so long an answer counts as new, and a question as under way: a flood of first messages asks no more often.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Known {
    addresses: Vec<IpAddr>,
    answered: Option<Instant>,
    asked: Option<Instant>,
}

/// What is known of names.
#[derive(Default)]
pub(crate) struct Names(BTreeMap<String, Known>);

/// What to do about a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its addresses are new enough.
    Nothing,
    /// The answer is under way.
    Waiting,
    /// Somebody has to ask.
    Ask,
}

impl Names {
    /// Whether a name has this address, as far as is known.
    pub fn has(&self, name: &str, address: IpAddr) -> bool {
        self.0.get(name).is_some_and(|known| known.addresses.contains(&address))
    }

    /// The addresses of a name are these now; none if there is no such name.
    pub fn resolved(&mut self, now: Instant, name: &str, addresses: Vec<IpAddr>) {
        self.0.insert(name.to_string(), Known { addresses, answered: Some(now), asked: None });
    }

    /// Whether a name has to be asked for, and notes that it is.
    pub fn need(&mut self, now: Instant, name: &str) -> Need {
        let recent = |at: Option<Instant>| at.is_some_and(|at| now.since(at) < FRESH);
        let known = self.0.entry(name.to_string()).or_default();
        if recent(known.answered) {
            Need::Nothing
        } else if recent(known.asked) {
            Need::Waiting
        } else {
            known.asked = Some(now);
            Need::Ask
        }
    }

    /// Forgets the names that no connection has any more.
    pub fn keep<'a>(&mut self, connections: impl Iterator<Item = &'a Connection>) {
        let used: Vec<&str> = connections.flat_map(of).collect();
        self.0.retain(|name, _| used.contains(&name.as_str()));
    }
}

/// The names in the addresses of a connection.
pub(crate) fn of(connection: &Connection) -> impl Iterator<Item = &str> {
    let patterns = connection.local_addrs.iter().chain(&connection.remote_addrs);
    patterns.filter_map(|pattern| match pattern {
        AddressPattern::Name(name) => Some(name.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_in_a_while() {
        let mut names = Names::default();
        let (start, address) = (Instant::ZERO, IpAddr::from([192, 0, 2, 1]));
        let later = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(names.need(start, "carol"), Need::Ask);
        assert_eq!(names.need(later(999), "carol"), Need::Waiting);
        assert_eq!(names.need(later(1000), "carol"), Need::Ask, "nobody answered");
        names.resolved(later(1500), "carol", vec![address]);
        assert!(names.has("carol", address) && !names.has("dave", address));
        assert_eq!(names.need(later(2499), "carol"), Need::Nothing);
        assert_eq!(names.need(later(2500), "carol"), Need::Ask);
        assert!(names.has("carol", address), "meanwhile the old address counts");
        names.resolved(later(2600), "carol", Vec::new());
        assert!(!names.has("carol", address));
        names.keep(std::iter::empty());
        assert_eq!(names.need(later(2600), "carol"), Need::Ask, "forgotten");
    }
}
