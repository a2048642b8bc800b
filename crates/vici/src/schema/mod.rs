//! Model values as vici messages with strongSwan's keys, order and value formats, and back.
//!
//! What strongSwan's schema has no place for travels in further keys that start with `shrike-`; other clients ignore
//! them, and a Shrike client that reads another daemon's messages does without.

mod daemon;
mod failure;
mod names;
mod probe;
mod sa;
#[cfg(test)]
pub(crate) mod samples;
mod stray;
mod trouble;

pub use daemon::{
    AuthInfo, COUNTER_NAMES, ChildInfo, ConnectionInfo, Stats, VersionInfo, counters, counters_from, list_conn,
    list_policy, list_shunt, live_connections, log, note_trap, running, stats, version,
};
pub use failure::{tombstone, tombstone_from};
pub use names::{identity_from, identity_text, rule_from, rule_name};
pub use probe::{probe, probe_from};
pub use sa::{list_sa, list_sa_at, listed_at, snapshot, updown};
pub use stray::{stray, stray_from};
pub use trouble::{plane_fault, plane_fault_from, send_error, send_error_from};

use crate::Message;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Every event that a client may register for.
pub const EVENTS: &[&str] = &[
    "log",
    "control-log",
    "list-sa",
    "list-policy",
    "list-conn",
    "list-cert",
    "list-authority",
    "ike-updown",
    "child-updown",
    "shrike-ended",
    "shrike-rekey-failed",
    "shrike-stray",
    "shrike-send-error",
    "shrike-plane-fault",
    "shrike-probe",
    "shrike-finding",
];

/// `{success=yes}`.
pub fn success() -> Message {
    let mut m = Message::new();
    m.set("success", "yes");
    m
}

/// `{success=no errmsg=..}`.
pub fn refusal(reason: impl AsRef<str>) -> Message {
    let mut m = Message::new();
    m.set("success", "no").set("errmsg", reason);
    m
}

/// A daemon's refusal, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Whether an answer says that the command was carried out: one without `success` does.
///
/// # Errors
/// The daemon's words.
pub fn check(answer: &Message) -> Result<(), Refused> {
    match answer.get_str("success") {
        None | Some("yes") => Ok(()),
        Some(_) => Err(Refused(answer.get_str("errmsg").unwrap_or("no reason given").to_string())),
    }
}

/// Why a message is not what the schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaError {
    /// A section or value that must be there is not.
    Missing {
        /// Its key.
        key: &'static str,
    },
    /// A value that cannot be read.
    Value {
        /// Its key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// A reason that this version does not know: the daemon is newer than the client.
    UnknownFailure {
        /// Its code.
        code: String,
        /// The daemon's words.
        text: String,
    },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "the daemon's message lacks '{key}'"),
            Self::Value { key, value } => write!(f, "the daemon's message has {key} = '{value}', which cannot be read"),
            Self::UnknownFailure { code, text } => write!(f, "{text} [{code}]"),
        }
    }
}

impl std::error::Error for SchemaError {}

/// A value that must be there.
fn need<'a>(m: &'a Message, key: &'static str) -> Result<&'a str, SchemaError> {
    m.get_str(key).ok_or(SchemaError::Missing { key })
}

/// A value that must be there and parse.
fn parse<T: FromStr>(m: &Message, key: &'static str) -> Result<T, SchemaError> {
    let text = need(m, key)?;
    text.parse().map_err(|_| SchemaError::Value { key, value: text.into() })
}

/// A value that must parse if it is there.
fn parse_if_any<T: FromStr>(m: &Message, key: &'static str) -> Result<Option<T>, SchemaError> {
    if m.get(key).is_some() { parse(m, key).map(Some) } else { Ok(None) }
}

/// A value in whole seconds, if it is there.
fn seconds(m: &Message, key: &'static str) -> Result<Option<Duration>, SchemaError> {
    Ok(parse_if_any::<u64>(m, key)?.map(Duration::from_secs))
}

/// A hexadecimal number, if it is there.
fn hex(m: &Message, key: &'static str) -> Result<Option<u64>, SchemaError> {
    m.get_str(key)
        .map(|text| u64::from_str_radix(text, 16).map_err(|_| SchemaError::Value { key, value: text.into() }))
        .transpose()
}

fn is_yes(m: &Message, key: &str) -> bool {
    m.get_str(key) == Some("yes")
}

/// Every item of a list, read by `read`.
fn items<T>(m: &Message, key: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, SchemaError> {
    m.texts(key).map(|text| read(text).ok_or_else(|| SchemaError::Value { key, value: text.into() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        assert_eq!(check(&success()), Ok(()));
        assert_eq!(check(&Message::new()), Ok(()));
        assert_eq!(check(&refusal("no such child")), Err(Refused("no such child".into())));
    }
}
