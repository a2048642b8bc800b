//! The daemon's log: one line per fact on standard error, in strongSwan's groups.

use std::sync::atomic::{AtomicU8, Ordering};

static LEVEL: AtomicU8 = AtomicU8::new(1);

/// Lines above this level are left out: 0 is what matters, 1 the course of things, 2 details.
pub fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

/// Writes a line.
pub fn line(group: &str, level: u8, text: &str) {
    if level <= LEVEL.load(Ordering::Relaxed) {
        use std::io::Write as _;
        // A log that cannot be written must not stop the daemon.
        let _ = writeln!(std::io::stderr(), "{} [{group}] {text}", crate::clock::local_time());
    }
}
