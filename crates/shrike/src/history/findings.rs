//! When a finding began and when it was over: of many attempts that fail alike the history needs two rows.

use super::Row;
use model::{Event, SaSnapshot, Tombstone};
use rusqlite::Connection;
use std::collections::{BTreeMap, VecDeque};

/// Findings that are open at one time; the oldest are given up.
const MAX_OPEN: usize = 4096;

/// About whom: connection and the peer's address.
type Whom = (String, String);

/// One that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    /// Milliseconds since 1970.
    since: i64,
    /// The cause it has now.
    cause: String,
    /// How often it was found, as far as this run of the daemon knows.
    attempts: u64,
    /// Whether it is about a Child SA: then another IKE SA does not end it.
    child: bool,
}

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Findings {
    open: BTreeMap<Whom, Open>,
    order: VecDeque<Whom>,
}

fn whom(sa: &SaSnapshot) -> Whom {
    (sa.name.clone(), sa.remote.ip().to_string())
}

impl Findings {
    /// Those that were open when an earlier daemon ended.
    pub fn restored(db: &Connection) -> Self {
        let mut findings = Self::default();
        let query = "SELECT at, kind, connection, remote, code, text FROM event
            WHERE kind IN ('finding', 'finding-over') ORDER BY id";
        let Ok(mut statement) = db.prepare(query) else { return findings };
        let read = |row: &rusqlite::Row<'_>| {
            let whom: Whom = (row.get(2)?, row.get(3)?);
            Ok((whom, row.get(0)?, row.get::<_, String>(1)?, row.get(4)?, row.get::<_, String>(5)?))
        };
        let Ok(rows) = statement.query_map([], read) else { return findings };
        for (whom, since, kind, cause, text) in rows.filter_map(Result::ok) {
            if kind == "finding" {
                findings.begin(whom, Open { since, cause, attempts: 1, child: text.contains(OF_CHILD) });
            } else {
                findings.end(&whom);
            }
        }
        findings
    }

    fn begin(&mut self, whom: Whom, open: Open) {
        if self.open.insert(whom.clone(), open).is_none() {
            self.order.push_back(whom);
            if self.order.len() > MAX_OPEN
                && let Some(oldest) = self.order.pop_front()
            {
                self.open.remove(&oldest);
            }
        }
    }

    fn end(&mut self, whom: &Whom) -> Option<Open> {
        let open = self.open.remove(whom)?;
        self.order.retain(|other| other != whom);
        Some(open)
    }

    /// What an event begins or ends, as rows beside `row`, the event's own.
    pub fn rows(&mut self, event: &Event, row: &Row) -> Vec<Row> {
        match event {
            Event::Ended(tombstone) if !tombstone.failure.kind.is_ordinary() => self.failed(tombstone, row),
            Event::RekeyFailed(tombstone) if !tombstone.is_temporary() => self.failed(tombstone, row),
            Event::IkeUp(sa) => self.over(whom(sa), false, row).into_iter().collect(),
            Event::ChildUp(sa) => self.over(whom(sa), true, row).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn failed(&mut self, tombstone: &Tombstone, row: &Row) -> Vec<Row> {
        let found = diag::ended(tombstone);
        let Some(cause) = found.causes.first().map(|cause| cause.code().to_string()) else { return Vec::new() };
        let (whom, child) = (whom(&tombstone.sa), tombstone.child.is_some());
        let mut rows = Vec::new();
        match self.open.get_mut(&whom) {
            Some(open) if open.cause == cause => {
                open.attempts += 1;
                return rows;
            }
            // Another cause: what was, is over.
            Some(_) => rows.extend(self.over(whom.clone(), true, row)),
            None => {}
        }
        let about = if child { OF_CHILD } else { "" };
        let text = format!("{cause} begins{about}: {}", found.why);
        let began = Row { kind: "finding".to_string(), code: cause.clone(), text, message: None, ..row.clone() };
        self.begin(whom, Open { since: row.at, cause, attempts: 1, child });
        rows.push(began);
        rows
    }

    /// The row about a finding that is over, if there is one that this ends.
    fn over(&mut self, whom: Whom, by_child: bool, row: &Row) -> Option<Row> {
        self.open.get(&whom).filter(|open| by_child || !open.child)?;
        let open = self.end(&whom)?;
        let seconds = row.at.saturating_sub(open.since).max(0) / 1000;
        let times = if open.attempts == 1 { "once".to_string() } else { format!("{} times", open.attempts) };
        let text = format!("{} is over after {seconds} s, found {times}", open.cause);
        let kind = "finding-over".to_string();
        Some(Row { kind, code: open.cause, causes: String::new(), text, message: None, ..row.clone() })
    }
}

/// Stands in the text of a finding about a Child SA.
const OF_CHILD: &str = " (Child SA)";
