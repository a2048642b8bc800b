//! What is not protected: children with `mode = pass` or `mode = drop`.

use crate::{Child, ConfigError, Entry, ErrorKind, Section, SelectorPattern, Sources, StartAction};
use model::dataplane::{Binding, ShuntAction};

/// A policy that has nothing to do with SAs (RFC 4301 section 4.4.1, BYPASS and DISCARD). It is written as a child, and
/// nothing is negotiated for it.
#[derive(Debug, Clone)]
pub struct Shunt {
    /// Name of its section.
    pub name: String,
    /// What becomes of the packets.
    pub action: ShuntAction,
    /// Our side, never empty; `dynamic` is any address.
    pub local_ts: Vec<SelectorPattern>,
    /// The other side, never empty.
    pub remote_ts: Vec<SelectorPattern>,
    /// Its fixed priority, the lowest first.
    pub priority: Option<u32>,
    /// Marks and XFRM interfaces.
    pub binding: Binding,
    /// What to do once loaded: with anything but `none` it is installed.
    pub start_action: StartAction,
    /// Where each key was written.
    pub source: Sources,
}

impl Shunt {
    /// What the `mode` of a child's section asks for, if it is no way to wrap packets.
    pub(crate) fn action_of(section: &Section) -> Option<ShuntAction> {
        section.entries.iter().find_map(|entry| match entry {
            Entry::Value { key, value, .. } if key == "mode" => match value.trim().to_ascii_lowercase().as_str() {
                "pass" => Some(ShuntAction::Pass),
                "drop" => Some(ShuntAction::Drop),
                _ => None,
            },
            _ => None,
        })
    }

    /// What passes or is dropped has no Child SA that a number would be for.
    pub(crate) fn refuse_unique(child: &Child, path: &str, errors: &mut Vec<ConfigError>) {
        let why = "with mode = pass or drop there is no Child SA to have a number of its own: write a number";
        errors.extend(child.unique.names().map(|key| {
            ConfigError::new(child.source.place(key).clone(), format!("{path}.{key}"), ErrorKind::Unsupported { why })
        }));
    }

    pub(crate) fn new(action: ShuntAction, child: Child) -> Self {
        let Child { name, local_ts, remote_ts, priority, binding, start_action, source, .. } = child;
        Self { name, action, local_ts, remote_ts, priority, binding, start_action, source }
    }
}
