//! What IKEv1 leaves out: a quick mode has one identity for each side, so one pair of networks (RFC 2409 section 5.5).

use crate::{AddressPattern, Connection, IkeVersion};
use model::ConfigRef;
use std::fmt;

/// A child of `version = 1` with more networks at a side than a quick mode can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnePairOnly {
    /// The child's name.
    pub child: String,
    /// How many networks there are: ours, and the peer's.
    pub networks: (usize, usize),
    /// Where they are written.
    pub place: ConfigRef,
}

/// The child, what is left out, and what to do.
impl fmt::Display for OnePairOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, remote) = self.networks;
        write!(
            f,
            "child '{}': IKEv1 negotiates one pair of networks, so that begun from here only the first of {local} in local_ts \
             and of {remote} in remote_ts is protected: write a child for each pair [{}]",
            self.child, self.place
        )
    }
}

impl Connection {
    /// The children of which only the first pair of networks is negotiated when it begins here, silently otherwise. As
    /// responder it takes each pair that the peer asks for.
    pub fn one_pair_only(&self) -> Vec<OnePairOnly> {
        let begins = self.remote_addrs.iter().any(AddressPattern::is_specific);
        if self.version != IkeVersion::V1 || !begins {
            return Vec::new();
        }
        let several = self.children.iter().filter(|c| c.local_ts.len() > 1 || c.remote_ts.len() > 1);
        several
            .map(|c| OnePairOnly {
                child: c.name.clone(),
                networks: (c.local_ts.len(), c.remote_ts.len()),
                place: c.source.get(if c.remote_ts.len() > 1 { "remote_ts" } else { "local_ts" }),
            })
            .collect()
    }
}
