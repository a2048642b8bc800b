//! What is wrong with a configuration, where, and what to do about it.

use crate::{FileError, Place};
use model::{InvalidIdentity, InvalidProposal, InvalidSelector};
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub at: Place,
    /// The key with its sections: `connections.gw.proposals`; may be empty where there is none.
    pub key: String,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text does not follow the grammar.
    Syntax {
        /// What would have been right here.
        expected: &'static str,
    },
    /// No such key or section exists.
    UnknownKey {
        /// One that is spelled almost so.
        suggestion: Option<String>,
    },
    /// strongSwan knows it; this version does not implement it.
    Unsupported {
        /// What is missing, and what to do.
        why: &'static str,
    },
    /// A value that the key cannot have.
    Value {
        /// What is written there; `<hidden>` for secrets.
        got: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A proposal that cannot be used.
    Proposal(InvalidProposal),
    /// An identity that cannot be used.
    Identity(InvalidIdentity),
    /// A traffic selector that cannot be used.
    Selector(InvalidSelector),
    /// A key or section that must be there.
    Missing {
        /// What, and what to write.
        what: &'static str,
    },
    /// Something that may be given once.
    Duplicate {
        /// Where it was given first.
        first: Place,
    },
    /// A section to inherit from that does not exist.
    Reference {
        /// Its path.
        path: String,
    },
    /// A file that cannot be read.
    File {
        /// Its path.
        path: String,
        /// Why.
        error: FileError,
    },
    /// The configuration exceeds a bound.
    TooLarge {
        /// The bound.
        limit: &'static str,
    },
}

impl ErrorKind {
    /// Whether the configuration is right, and only this version cannot do it.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::Proposal(InvalidProposal::Unsupported(_)))
    }

    /// The text in the source line that is to blame, if the error names it.
    fn culprit(&self) -> Option<&str> {
        match self {
            Self::Value { got, .. } => Some(got),
            Self::Proposal(InvalidProposal::Unknown(word) | InvalidProposal::Unsupported(word)) => Some(word),
            Self::Identity(InvalidIdentity::DistinguishedName(t) | InvalidIdentity::KeyId(t)) => Some(t),
            Self::Selector(
                InvalidSelector::Address(t)
                | InvalidSelector::Prefix(t)
                | InvalidSelector::ProtocolPort(t)
                | InvalidSelector::EmptyRange(t),
            ) => Some(t),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { expected } => write!(f, "expected {expected}"),
            Self::UnknownKey { suggestion: Some(name) } => {
                write!(f, "there is no such key or section; did you mean '{name}'?")
            }
            Self::UnknownKey { suggestion: None } => f.write_str("there is no such key or section; remove it"),
            Self::Unsupported { why } => write!(f, "not supported: {why}"),
            Self::Value { got, expected } => write!(f, "'{}' is no valid value; expected {expected}", printable(got)),
            Self::Proposal(e @ InvalidProposal::Unsupported(_)) => write!(f, "{e}; use another one on both ends"),
            Self::Proposal(e) => {
                write!(f, "{e}; expected algorithms joined by '-', such as {EXAMPLE_PROPOSAL}, or 'default'")
            }
            Self::Identity(e) => write!(f, "{e}"),
            Self::Selector(e) => write!(f, "{e}; expected for instance 10.1.0.0/16, 10.1.0.0/16[tcp/443] or 'dynamic'"),
            Self::Missing { what } => write!(f, "missing: {what}"),
            Self::Duplicate { first } => write!(f, "given a second time, first at {first}; remove one of them"),
            Self::Reference { path } => {
                write!(f, "inherits from '{}', which does not exist; give the full path from the top", printable(path))
            }
            Self::File { path, error } => write!(f, "cannot read '{}': {error}", printable(path)),
            Self::TooLarge { limit } => write!(f, "larger than the limit of {limit}"),
        }
    }
}

const EXAMPLE_PROPOSAL: &str = "aes128-sha256-x25519";

/// Values may come from a client: no control characters reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl ConfigError {
    /// An error at a place.
    pub fn new(at: Place, key: impl Into<String>, kind: ErrorKind) -> Self {
        Self { at, key: key.into(), kind }
    }

    /// The error with the line it is about and a mark under the part to blame. `source` is the text of the file
    /// [`Place::file`]; without it, the error alone. The value of a secret is not shown.
    pub fn report(&self, source: Option<&str>) -> String {
        let report = format!("error: {self}");
        match source.and_then(|text| excerpt(text, &self.at, self.kind.culprit())) {
            Some(lines) => format!("{report}\n{lines}"),
            None => report,
        }
    }
}

/// The line of a file that `at` names, and a mark under the part of it to blame: `culprit`, or the key. Nothing where the
/// file has changed meanwhile. The value of a secret is not shown.
pub fn excerpt(source: &str, at: &Place, culprit: Option<&str>) -> Option<String> {
    let line = at.line.checked_sub(1).and_then(|n| source.lines().nth(n as usize))?;
    let line = hide_secret(line);
    let start = (at.column.max(1) - 1) as usize;
    let (column, width) = mark(&line, start, culprit);
    let number = at.line.to_string();
    let blank = " ".repeat(number.len());
    // Tabs stay as they are in the indentation, so that the mark stands right under the text.
    let indent: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let shown: String = line.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
    Some(format!("{blank} |\n{number} | {shown}\n{blank} | {indent}{}", "^".repeat(width)))
}

/// Column from 0 and width, in characters, of the part to blame.
fn mark(line: &str, start: usize, culprit: Option<&str>) -> (usize, usize) {
    let from = line.char_indices().nth(start).map_or(line.len(), |(n, _)| n);
    let tail = line.get(from..).unwrap_or_default();
    let found = culprit.filter(|t| !t.is_empty()).and_then(|text| whole_word(tail, text).map(|n| (n, text)));
    if let Some((n, text)) = found {
        let before = tail.get(..n).unwrap_or_default().chars().count();
        return (start + before, text.chars().count());
    }
    let name = tail.chars().take_while(|c| crate::lexer::is_name_character(*c)).count();
    (start.min(line.chars().count()), name.max(1))
}

/// Where `text` stands in `line` as a word of its own, or else anywhere; not in front of the `=`.
fn whole_word(line: &str, text: &str) -> Option<usize> {
    let skip = line.find('=').map_or(0, |n| n + 1);
    let value = line.get(skip..)?;
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = value.match_indices(text).find(|(n, _)| {
        let before = value.get(..*n).and_then(|t| t.chars().next_back());
        let after = value.get(n + text.len()..).and_then(|t| t.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    });
    whole.map(|(n, _)| n).or_else(|| value.find(text)).map(|n| n + skip)
}

/// Replaces what follows `secret =` on the line. A secret may go on over several lines, each of which looks like
/// anything: those are shown only if an error is found in them, which is why syntax errors point to the beginning of a
/// string.
fn hide_secret(line: &str) -> String {
    for key in ["secret", "pin"] {
        for (n, _) in line.match_indices(key) {
            let after = line.get(n + key.len()..).unwrap_or_default();
            if let Some(equals) = after.find('=').filter(|e| after.get(..*e).is_some_and(|b| b.trim().is_empty())) {
                let end = n + key.len() + equals + 1;
                return format!("{} <hidden>", line.get(..end).unwrap_or_default());
            }
        }
    }
    line.to_string()
}

/// `swanctl.conf:12:7: connections.gw.proposals: 'sha257' names no algorithm; expected ...`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", printable(&self.key))?;
        }
        write!(f, "{}", self.kind)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_marks_the_word() {
        let source = "connections {\n  gw {\n\tproposals = aes128-sha257-x25519\n  }\n}\n";
        let error = ConfigError::new(
            Place::new("swanctl.conf", 3, 2),
            "connections.gw.proposals",
            ErrorKind::Proposal(InvalidProposal::Unknown("sha257".into())),
        );
        assert_eq!(
            error.report(Some(source)),
            "error: swanctl.conf:3:2: connections.gw.proposals: 'sha257' names no algorithm; expected algorithms joined by \
             '-', such as aes128-sha256-x25519, or 'default'\n  |\n3 | \tproposals = aes128-sha257-x25519\n  | \t                   ^^^^^^"
        );
        assert_eq!(error.report(None), format!("error: {error}"));
        assert_eq!(error.report(Some("short")), format!("error: {error}"), "the file has changed meanwhile");
    }

    #[test]
    fn a_report_marks_the_key_without_a_culprit() {
        let error =
            ConfigError::new(Place::new("f", 1, 5), "a.b", ErrorKind::UnknownKey { suggestion: Some("bb".into()) });
        assert!(error.report(Some("a { bbb = c }")).ends_with("1 | a { bbb = c }\n  |     ^^^"));
        assert!(error.to_string().contains("did you mean 'bb'?"));
    }

    #[test]
    fn a_report_hides_secrets() {
        let error = ConfigError::new(Place::new("f", 1, 11), "", ErrorKind::Syntax { expected: "x" });
        for line in ["ike { id = a secret = hunter2", "  secret=\"hunter2", "secret\t= hunter2"] {
            let report = error.report(Some(line));
            assert!(!report.contains("hunter2"), "{report}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let kind = ErrorKind::Value { got: "\x1b[31m".into(), expected: "yes or no" };
        assert!(!ConfigError::new(Place::vici(), "k", kind).to_string().contains('\x1b'));
    }
}
