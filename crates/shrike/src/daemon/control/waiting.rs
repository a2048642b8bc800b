//! What a command waits for, and the events that settle it.

use model::{Event, FailureKind, Instant, SaId};
use std::collections::BTreeSet;
use vici::{Message, schema};

/// A command that ends with an event.
pub(super) struct Waiting {
    pub what: Awaited,
    pub deadline: Option<Instant>,
    /// Highest level of the log lines to stream to the client.
    pub level: i64,
}

pub(super) enum Awaited {
    /// `initiate`: this child under this IKE SA.
    Child { sa: SaId, child: String },
    /// `initiate` without a child: this IKE SA.
    Ike { sa: SaId },
    /// `terminate`: these IKE SAs, or the Child SAs that the selection means under them.
    Gone { left: BTreeSet<SaId>, children: bool, matches: usize },
    /// `shrike-probe`: the probe of this number.
    Probe { number: u64 },
}

impl Waiting {
    pub fn concerns(&self, event: &Event) -> bool {
        let Some((sa, _)) = event.sa() else { return !matches!(self.what, Awaited::Probe { .. }) };
        match &self.what {
            Awaited::Child { sa: ours, .. } | Awaited::Ike { sa: ours } => sa == *ours,
            Awaited::Gone { left, .. } => left.contains(&sa),
            Awaited::Probe { .. } => false,
        }
    }

    /// The answer, if this event ends the wait.
    pub fn settled_by(&mut self, event: &Event) -> Option<Message> {
        match (&mut self.what, event) {
            (Awaited::Child { sa, child }, Event::ChildUp(s)) => {
                (s.id == *sa && s.children.iter().any(|c| c.name == *child)).then(schema::success)
            }
            (Awaited::Ike { sa }, Event::IkeUp(s)) => (s.id == *sa).then(schema::success),
            (Awaited::Child { sa, .. } | Awaited::Ike { sa }, Event::Ended(t))
                if t.sa.id == *sa && goes_on(t).is_some() =>
            {
                *sa = goes_on(t).unwrap_or(*sa);
                None
            }
            (Awaited::Ike { sa }, Event::Ended(t)) if t.sa.id == *sa => {
                let remedy = t.failure.kind.remedy();
                Some(schema::refusal(format!("establishing the IKE_SA failed: {}; {remedy}", t.failure)))
            }
            (Awaited::Child { sa, child }, Event::Ended(t)) if t.sa.id == *sa => {
                let remedy = t.failure.kind.remedy();
                Some(schema::refusal(format!("establishing CHILD_SA '{child}' failed: {}; {remedy}", t.failure)))
            }
            (Awaited::Gone { left, children, matches }, Event::Ended(t)) => {
                if *children || t.child.is_none() {
                    left.remove(&t.sa.id);
                }
                left.is_empty().then(|| {
                    let gave_up = matches!(t.failure.kind, FailureKind::NoAnswer { .. });
                    let mut m = if gave_up {
                        schema::refusal(format!("the peer did not confirm: {}", t.failure))
                    } else {
                        schema::success()
                    };
                    m.set("matches", matches.to_string()).set("terminated", matches.to_string());
                    m
                })
            }
            _ => None,
        }
    }
}

/// The IKE SA at another gateway that takes the place of the one that ended.
fn goes_on(ended: &model::Tombstone) -> Option<SaId> {
    match ended.failure.kind {
        FailureKind::Redirected { by, .. } => Some(by),
        _ => None,
    }
}
