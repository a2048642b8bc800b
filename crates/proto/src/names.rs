//! Host names in `local_addrs` and `remote_addrs`, as far as their addresses are known.
//!
//! The core asks for a name ([`crate::endpoint::Output::Resolve`]) when a first message comes that no connection fits but
//! one whose names might have changed, and is told later. Until then the message is dropped, without an answer: its
//! initiator repeats it.

use crate::inquiries::{Inquiries, Need};
use config::{AddressPattern, Connection};
use model::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// For so long an answer counts as new, and a question as under way: a flood of first messages asks no more often.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of names.
pub(crate) struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    inquiries: Inquiries,
}

impl Default for Names {
    fn default() -> Self {
        Self { addresses: BTreeMap::new(), inquiries: Inquiries::new(FRESH, FRESH) }
    }
}

impl Names {
    /// Whether a name has this address, as far as is known.
    pub fn has(&self, name: &str, address: IpAddr) -> bool {
        self.addresses.get(name).is_some_and(|known| known.contains(&address))
    }

    /// The addresses of a name, as far as is known.
    pub fn known(&self, name: &str) -> Vec<IpAddr> {
        self.addresses.get(name).cloned().unwrap_or_default()
    }

    /// The addresses of a name are these now; none if there is no such name.
    pub fn resolved(&mut self, now: Instant, name: &str, addresses: Vec<IpAddr>) {
        self.addresses.insert(name.to_string(), addresses);
        self.inquiries.answered(now, name);
    }

    /// Whether a name has to be asked for, and notes that it is.
    pub fn need(&mut self, now: Instant, name: &str) -> Need {
        self.inquiries.need(now, name)
    }

    /// Forgets the names that no connection has any more.
    pub fn keep<'a>(&mut self, connections: impl Iterator<Item = &'a Connection>) {
        let used: Vec<&str> = connections.flat_map(of).collect();
        self.addresses.retain(|name, _| used.contains(&name.as_str()));
        self.inquiries.keep(|name| used.contains(&name));
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
