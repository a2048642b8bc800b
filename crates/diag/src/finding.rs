//! What a diagnosis says.

use crate::Cause;
use serde::Serialize;
use std::borrow::Cow;

/// So many of these, in the singular or the plural.
pub(crate) fn several(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How often, in words where there is a word.
pub(crate) fn times(count: u32) -> String {
    match count {
        1 => "once".to_string(),
        2 => "twice".to_string(),
        _ => format!("{count} times"),
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// May be a fault; what was seen does not suffice to tell.
    Warning,
    /// A fault.
    Error,
}

impl Severity {
    /// In capitals, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// One finding about one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of finding this is: a stable name.
    pub id: &'static str,
    /// The two ends, initiator first.
    pub peer: String,
    /// How much it matters.
    pub severity: Severity,
    /// When the first of it was seen, in nanoseconds since 1970; 0 where that is not known.
    pub since: u64,
    /// How many attempts or SAs this is about.
    pub attempts: u32,
    /// What may be the reason, most likely first; none if there is nothing to explain.
    pub causes: Vec<Cause>,
    /// One sentence: where it stands.
    pub why: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What to do, one line for each cause.
    pub remedy: Vec<Cow<'static, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_told_in_the_plural() {
        assert_eq!([0, 1, 2].map(|n| several(n, "child", "children")), ["0 children", "1 child", "2 children"]);
        assert_eq!([0, 1, 2, 3].map(times), ["0 times", "once", "twice", "3 times"]);
    }
}
