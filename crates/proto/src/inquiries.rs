//! What the core has asked the outside world for, and when: host names, revocation lists.

use model::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
struct Times {
    answered: Option<Instant>,
    asked: Option<Instant>,
}

/// What to do about something that may have to be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The last answer is new enough.
    Nothing,
    /// The answer is under way.
    Waiting,
    /// Somebody has to ask.
    Ask,
}

/// Questions by what they are about. A flood of messages that need an answer asks no more often than the times say.
pub(crate) struct Inquiries {
    of: BTreeMap<String, Times>,
    /// For so long an answer counts as new.
    fresh: Duration,
    /// For so long a question without an answer counts as under way.
    patience: Duration,
}

impl Inquiries {
    pub fn new(fresh: Duration, patience: Duration) -> Self {
        Self { of: BTreeMap::new(), fresh, patience }
    }

    /// Whether this has to be asked for, and notes that it is.
    pub fn need(&mut self, now: Instant, about: &str) -> Need {
        let within = |at: Option<Instant>, time: Duration| at.is_some_and(|at| now.since(at) < time);
        let times = self.of.entry(about.to_string()).or_default();
        if within(times.answered, self.fresh) {
            Need::Nothing
        } else if within(times.asked, self.patience) {
            Need::Waiting
        } else {
            times.asked = Some(now);
            Need::Ask
        }
    }

    /// Whether the last answer is new enough.
    pub fn is_fresh(&self, now: Instant, about: &str) -> bool {
        let answered = self.of.get(about).and_then(|times| times.answered);
        answered.is_some_and(|at| now.since(at) < self.fresh)
    }

    pub fn answered(&mut self, now: Instant, about: &str) {
        self.of.insert(about.to_string(), Times { answered: Some(now), asked: None });
    }

    /// Forgets what does not matter any more.
    pub fn keep(&mut self, matters: impl Fn(&str) -> bool) {
        self.of.retain(|about, _| matters(about));
    }

    pub fn len(&self) -> usize {
        self.of.len()
    }
}
