//! Identities that come from more than one address: where each is to be there once, they put each other out.

use super::catalogue::{Place, Rank, Says};
use crate::{Cause, Finding, Severity, rhythm};
use std::collections::{BTreeMap, BTreeSet};

/// So many identities are known, each from so many peers.
const MAX_IDENTITIES: usize = 256;
const MAX_PEERS: usize = 16;
/// Once may be a peer that has moved.
const OFTEN: u32 = 2;

/// Who came, and who was put out.
#[derive(Debug, Default)]
pub(super) struct Kicks(BTreeMap<String, Kick>);

#[derive(Debug, Default)]
struct Kick {
    /// The peers that it comes from.
    peers: BTreeSet<usize>,
    /// Who came last, and when.
    last: Option<(usize, Option<u64>)>,
    /// How often one came back soon after the other.
    returns: u32,
    /// How often one of its SAs was deleted as a duplicate.
    times: u32,
}

impl Kick {
    fn comes(&mut self, peer: usize, time: Option<u64>) {
        let soon =
            |since: Option<u64>| time.zip(since).is_none_or(|(now, then)| now.saturating_sub(then) <= rhythm::SOON);
        let known = self.peers.contains(&peer);
        if known && self.last.is_some_and(|(other, since)| other != peer && soon(since)) {
            self.returns = self.returns.saturating_add(1);
        }
        self.last = Some((peer, time));
        if self.peers.len() < MAX_PEERS {
            self.peers.insert(peer);
        }
    }
}

impl Kicks {
    /// Takes what a line says about a peer.
    pub fn take(&mut self, says: Says, text: &str, peer: usize, time: Option<u64>) {
        if says == Says::Up {
            // charon: `established between 192.0.2.1[hub]...192.0.2.7[branch]`.
            let remote = text.split_once(" between ").and_then(|(_, ends)| ends.split_once("..."));
            let identity = remote.and_then(|(_, end)| end.split_once('[')?.1.strip_suffix(']'));
            if let Some(kick) = identity.and_then(|identity| self.of(identity)) {
                kick.comes(peer, time);
            }
        } else if matches!(says, Says::Fault(Place::Peer, Rank::Note, _))
            && let Some((_, rest)) = text.split_once(" duplicate IKE_SA for peer '")
            && let Some(kick) = rest.split_once('\'').and_then(|(identity, _)| self.of(identity))
        {
            kick.times = kick.times.saturating_add(1);
        }
    }

    fn of(&mut self, identity: &str) -> Option<&mut Kick> {
        if !self.0.contains_key(identity) {
            if self.0.len() >= MAX_IDENTITIES {
                return None;
            }
            self.0.insert(identity.to_string(), Kick::default());
        }
        self.0.get_mut(identity)
    }

    /// Findings of peers that put each other out say so, not of one that roams from address to address; each is with the number of its peer.
    pub fn judge(&self, findings: &mut Vec<(usize, Finding)>) {
        for (identity, kick) in self.0.iter().filter(|(_, kick)| kick.times.min(kick.returns) >= OFTEN) {
            let peers: BTreeSet<&str> =
                findings.iter().filter(|(of, _)| kick.peers.contains(of)).map(|(_, found)| &*found.peer).collect();
            let from = peers.into_iter().collect::<Vec<_>>().join(" and ");
            // One for each of them, whatever else was said.
            let mut told = BTreeSet::new();
            findings.retain(|(of, _)| !kick.peers.contains(of) || told.insert(*of));
            for (_, found) in findings.iter_mut().filter(|(of, _)| kick.peers.contains(of)) {
                found.id = "flapping";
                found.severity = Severity::Error;
                found.causes = vec![Cause::Collision, Cause::PeerDelete];
                found.why = format!("several peers have the identity {identity}, and put each other out");
                found.evidence.push(format!("{identity} comes from {from}"));
                found.evidence.push(format!("{} times a duplicate was deleted here", kick.times));
                let remedy = format!(
                    "give each peer an identity of its own, not {identity} to all; or let several of them be there: unique = \
                     never in the connection (swanctl.conf), uniqueids = never (ipsec.conf)"
                );
                found.remedy = vec![remedy.into(), Cause::PeerDelete.remedy().into()];
            }
        }
    }
}
