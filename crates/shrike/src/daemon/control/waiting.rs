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
            (Awaited::Ike { sa }, Event::Ended(t)) if t.sa.id == *sa && t.child.is_none() => {
                let remedy = t.failure.kind.remedy();
                Some(schema::refusal(format!("establishing the IKE_SA failed: {}; {remedy}", t.failure)))
            }
            // Another child under the same IKE SA may end meanwhile.
            (Awaited::Child { sa, child }, Event::Ended(t))
                if t.sa.id == *sa && t.child.as_ref().is_none_or(|ended| ended == child) =>
            {
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

#[cfg(test)]
mod tests {
    use super::*;
    use sim::{Sim, Site};
    use std::time::Duration;

    #[test]
    fn the_end_of_another_child_is_no_answer() {
        let mut sim = Sim::new(3);
        let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        sim.terminate(a, &proto::Selection { child: Some("net".into()), ..proto::Selection::default() });
        sim.run_for(Duration::from_secs(5));
        let ended = sim.events(a).find_map(|(_, event)| match event {
            Event::Ended(tombstone) if tombstone.child.as_deref() == Some("net") => Some(event.clone()),
            _ => None,
        });
        let ended = ended.expect("the Child SA ended");
        let sa = ended.sa().expect("it names its IKE SA").0;
        let settled = |what| Waiting { what, deadline: None, level: 1 }.settled_by(&ended).is_some();
        assert!(settled(Awaited::Child { sa, child: "net".into() }));
        assert!(!settled(Awaited::Child { sa, child: "other".into() }));
        assert!(!settled(Awaited::Child { sa: SaId(sa.0 + 1), child: "net".into() }));
        assert!(!settled(Awaited::Ike { sa }), "the IKE SA lives on");
    }
}
