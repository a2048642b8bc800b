//! What is to be there by the configuration, and was refused, is begun again later.
//!
//! A peer that boots may answer before it has read its configuration. Where `start_action`, `dpd_action`, `close_action` or a
//! trap began the IKE SA, one refusal must not be the last word. What an operator begins by hand is answered with the
//! failure and not repeated. A Child SA that is refused under an IKE SA that stays is `v2::refused`'s.

use super::{Endpoint, NO_CHILD, Started};
use crate::backoff::after_refusal;
use crate::ike_sa::IkeSa;
use crate::timers::Reason;
use crate::v2;
use model::{Failure, FailureKind, Instant, Role, SaId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// What is begun again.
#[derive(Default)]
pub(super) struct Again {
    /// IKE SAs that the configuration has made, not an operator.
    wanted: BTreeSet<SaId>,
    attempts: Attempts,
    /// IKE SAs that go before their successors are begun (`make_before_break = no`).
    breaking: BTreeMap<SaId, Vec<String>>,
}

impl Again {
    /// Whether each attempt is found by the SA after which it begins; only asked where there are few.
    #[cfg(debug_assertions)]
    pub fn is_consistent(&self) -> bool {
        let Attempts { all, by_after } = &self.attempts;
        all.len() > 32 || *by_after == all.iter().map(|(key, attempt)| (attempt.after, key.clone())).collect()
    }
}

/// Connection and first child.
type Key = (String, String);

/// What was refused, as many as are configured at most. A power cut at the peers' end can have that be all.
#[derive(Default)]
struct Attempts {
    all: BTreeMap<Key, Attempt>,
    by_after: BTreeMap<SaId, Key>,
}

impl Attempts {
    fn insert(&mut self, key: Key, attempt: Attempt) {
        self.remove(&key);
        self.by_after.insert(attempt.after, key.clone());
        self.all.insert(key, attempt);
    }

    fn remove(&mut self, key: &Key) -> Option<Attempt> {
        let attempt = self.all.remove(key)?;
        self.by_after.remove(&attempt.after);
        Some(attempt)
    }

    /// The one that begins after this SA.
    fn after(&self, sa: SaId) -> Option<(&Key, &Attempt)> {
        self.all.get_key_value(self.by_after.get(&sa)?)
    }

    /// Those of a connection and child; `None` stands for any.
    fn of(&self, connection: Option<&str>, child: Option<&str>) -> Vec<Key> {
        let from_there = self.all.range((connection.unwrap_or_default().to_string(), String::new())..);
        let own = from_there.take_while(|((name, _), _)| connection.is_none_or(|connection| connection == name));
        let named = |first: &str, attempt: &Attempt| {
            child.is_none_or(|child| child == first || attempt.others.iter().any(|other| other == child))
        };
        own.filter(|((_, first), attempt)| named(first, attempt)).map(|(key, _)| key.clone()).collect()
    }
}

struct Attempt {
    /// How often it was refused.
    refused: u32,
    /// The SA that ended last, at whose timer the next attempt begins.
    after: SaId,
    others: Vec<String>,
    at: (SocketAddr, SocketAddr),
    replaces: Option<SaId>,
}

impl Endpoint {
    /// As [`Endpoint::initiate`], for what the configuration wants to be there: what the peer refuses is begun again later.
    ///
    /// # Errors
    /// Why it cannot even begin.
    #[allow(clippy::result_large_err)] // as there
    pub fn initiate_for_good(
        &mut self,
        now: Instant,
        connection: &str,
        child: &str,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Started, Failure> {
        let started = self.start(now, connection, child, local, remote, false)?;
        let (Started::Negotiation(id) | Started::AlreadyUp(id)) = started;
        self.keep_wanting(id);
        Ok(started)
    }

    /// The configuration wants this IKE SA to be there.
    pub(super) fn keep_wanting(&mut self, id: SaId) {
        self.again.wanted.insert(id);
    }

    /// Whether the configuration wants this IKE SA to be there.
    pub(super) fn is_wanted(&self, id: SaId) -> bool {
        self.again.wanted.contains(&id)
    }

    /// The SA is forgotten.
    pub(super) fn want_no_more(&mut self, id: SaId) {
        self.again.wanted.remove(&id);
        self.again.breaking.remove(&id);
    }

    /// An operator, or the configuration, does not want it any more; `None` stands for any.
    pub(super) fn give_up(&mut self, connection: Option<&str>, child: Option<&str>) {
        for key in self.again.attempts.of(connection, child) {
            if let Some(attempt) = self.again.attempts.remove(&key) {
                self.cx.timers.cancel(attempt.after, Reason::Again);
            }
        }
    }

    /// An IKE SA of this connection is up: what is refused later begins with a short pause again.
    pub(super) fn again_from_start(&mut self, id: SaId) {
        let Some(name) = self.sas.get(&id).map(|sa| sa.name().to_string()) else { return };
        if !self.again.attempts.all.is_empty() && self.is_wanted(id) {
            self.give_up(Some(&name), None);
        }
    }

    /// When the next attempt at a connection begins, of those that were refused.
    pub fn next_attempts(&self, now: Instant) -> Vec<(String, Duration)> {
        let due = |attempt: &Attempt| self.cx.timers.deadline(attempt.after, Reason::Again);
        let all = self.again.attempts.all.iter();
        all.filter_map(|((name, _), attempt)| Some((name.clone(), due(attempt)?.since(now)))).collect()
    }

    /// Whether an IKE SA that ends so is to be begun again later. `retry`: whether it is begun again at once.
    pub(super) fn comes_again(&self, id: SaId, kind: &FailureKind) -> bool {
        let Some(sa) = self.sas.get(&id).filter(|sa| self.is_wanted(id) && !sa.is_closed()) else { return false };
        let first = sa.children().first().map_or("", |c| c.name.as_str());
        match kind {
            FailureKind::Terminated
            | FailureKind::ConfigurationChanged
            | FailureKind::Replaced { .. }
            | FailureKind::PeerDeleted
            | FailureKind::PeerRestarted
            | FailureKind::Redirected { .. }
            | FailureKind::Inactive { .. }
            | FailureKind::HalfOpen { .. }
            | FailureKind::NoAnswer { answered_before: true, .. } => false,
            // `keyingtries` says how often, unless it is one of several attempts.
            FailureKind::NoAnswer { .. } => {
                self.again.attempts.all.contains_key(&(sa.name().to_string(), first.to_string()))
            }
            FailureKind::Expired => true,
            _ => sa.role() == Role::Initiator,
        }
    }

    /// Sets the time of the next attempt, and says so. `id` is the SA that ends, `children` are those that it had.
    pub(super) fn later_again(
        &mut self,
        now: Instant,
        id: SaId,
        children: Vec<String>,
        at: (SocketAddr, SocketAddr),
        replaces: Option<SaId>,
    ) {
        let Some(name) = self.sas.get(&id).map(|sa| sa.name().to_string()) else { return };
        if !self.connections.contains(&name) {
            return;
        }
        let mut others = children.into_iter();
        let key = (name.clone(), others.next().unwrap_or_default());
        let before = self.again.attempts.remove(&key);
        if let Some(before) = &before {
            self.cx.timers.cancel(before.after, Reason::Again);
        }
        let refused = before.map_or(0, |attempt| attempt.refused);
        let pause = after_refusal(refused, u32::from_be_bytes(self.cx.random()));
        self.cx.timers.set(id, Reason::Again, now + pause);
        let attempt = Attempt { refused: refused + 1, after: id, others: others.collect(), at, replaces };
        self.again.attempts.insert(key, attempt);
        let text = format!("beginning again in {} s, for the configuration wants it to be there", pause.as_secs());
        self.cx.step(id, &name, "IKE", 1, text);
    }

    /// It is time for the next attempt, with what is loaded now.
    pub(super) fn attempt_again(&mut self, now: Instant, after: SaId) {
        let Some(((name, first), attempt)) = self.again.attempts.after(after) else { return };
        let (name, first, others, at) = (name.clone(), first.clone(), attempt.others.clone(), attempt.at);
        let replaces = attempt.replaces.filter(|old| self.sas.get(old).is_some_and(IkeSa::is_established));
        // Somebody else may have made it meanwhile: the peer, an operator, a packet.
        let there = |sa: &&IkeSa| Some(sa.id()) != replaces;
        let made = |sa: &IkeSa| first.is_empty() || sa.lasting_children().any(|c| c.name == first);
        let Some(connection) = self.connections.get(&name).cloned() else { return self.give_up(Some(&name), None) };
        if self.sas.named(&name).filter(there).any(made) {
            return self.give_up(Some(&name), Some(&first));
        }
        let index = match connection.children.iter().position(|c| c.name == first) {
            Some(index) => index,
            None if first.is_empty() => NO_CHILD,
            None => return self.give_up(Some(&name), Some(&first)),
        };
        if let Ok(id) = self.begin(now, connection, index, at, 1, replaces) {
            self.keep_wanting(id);
            self.further_children(id, &others);
        }
    }

    /// These come too, as soon as the IKE SA is up.
    fn further_children(&mut self, id: SaId, names: &[String]) {
        if let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id).and_then(IkeSa::v2)) {
            names.iter().for_each(|name| v2::further_child(sa, cx, name));
        }
    }

    /// `make_before_break = no`: this IKE SA goes, and then a new one with its children is begun.
    pub(super) fn break_before_make(&mut self, now: Instant, id: SaId) -> bool {
        let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2).filter(|sa| !sa.is_leaving()) else { return false };
        let mut children: Vec<String> =
            sa.children.iter().filter(|c| c.is_installed()).map(|c| c.name.clone()).collect();
        children.dedup();
        sa.log(&mut self.cx, "IKE", 0, "lifetime ends: deleting this IKE SA, then making a new one".to_string());
        self.again.breaking.insert(id, children);
        self.end(now, id, FailureKind::Expired);
        true
    }

    /// An IKE SA has ended: if that was to make room for a new one, that begins.
    pub(super) fn make_after_break(&mut self, now: Instant, id: SaId, at: (SocketAddr, SocketAddr)) {
        let Some(children) = self.again.breaking.remove(&id) else { return };
        let connection = self.sas.get(&id).and_then(|sa| self.connections.get(sa.name())).cloned();
        let Some(connection) = connection else { return };
        let mut loaded = children.iter().filter(|name| connection.children.iter().any(|c| c.name == **name)).cloned();
        let index = loaded.next().and_then(|first| connection.children.iter().position(|c| c.name == first));
        let others: Vec<String> = loaded.collect();
        let index = match index {
            Some(index) => index,
            None if children.is_empty() => NO_CHILD,
            None => return,
        };
        if let Ok(new) = self.begin(now, connection, index, at, 1, None) {
            self.keep_wanting(new);
            self.further_children(new, &others);
        }
    }

    /// Whether this IKE SA goes to make room for a new one.
    pub(super) fn is_breaking(&self, id: SaId) -> bool {
        self.again.breaking.contains_key(&id)
    }
}
