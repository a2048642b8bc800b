//! What is to be done with a Child SA that is not there: `start_action`, `close_action`, `dpd_action`.

use crate::Entry;
use crate::reader::Reader;

/// What to do with a Child SA when it is loaded, closed by the peer, or when the peer is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAction {
    /// Nothing; for `dpd_action` this is `clear`.
    #[default]
    None,
    /// Initiate it; for `dpd_action` this is `restart`.
    Start,
    /// Set a trap: the first packet that needs it initiates it.
    Trap,
    /// Both (`trap|start`).
    TrapStart,
}

impl StartAction {
    /// Whether to initiate.
    pub fn starts(self) -> bool {
        matches!(self, Self::Start | Self::TrapStart)
    }

    /// Whether to set a trap.
    pub fn traps(self) -> bool {
        matches!(self, Self::Trap | Self::TrapStart)
    }
}

pub(crate) fn action(reader: &mut Reader<'_>, entry: &Entry) -> Option<StartAction> {
    let words = [
        ("none", StartAction::None),
        ("clear", StartAction::None),
        ("start", StartAction::Start),
        ("restart", StartAction::Start),
        ("trap", StartAction::Trap),
        ("route", StartAction::Trap),
        ("hold", StartAction::Trap),
        ("trap|start", StartAction::TrapStart),
        ("start|trap", StartAction::TrapStart),
    ];
    reader.word(entry, "none, start or trap, or clear, restart or trap for dpd_action", &words)
}
