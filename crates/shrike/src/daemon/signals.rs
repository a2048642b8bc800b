//! SIGTERM and SIGINT end the daemon, SIGHUP has it read its configuration again.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What signals ask for.
pub struct Signals {
    /// Readable after each signal.
    wake: UnixStream,
    reload: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
}

impl Signals {
    /// From now on signals come here.
    pub fn open() -> io::Result<Self> {
        let (wake, writer) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let signals = Self { wake, reload: Arc::default(), end: Arc::default() };
        for (signal, flag) in [(SIGHUP, &signals.reload), (SIGINT, &signals.end), (SIGTERM, &signals.end)] {
            // The flag first: whoever is woken finds it set.
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(signals)
    }

    /// Whether the configuration is to be read again. To be called when the descriptor is readable.
    pub fn reload(&mut self) -> bool {
        let mut octets = [0; 64];
        while matches!(self.wake.read(&mut octets), Ok(n) if n > 0) {}
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// Whether the daemon is to end.
    pub fn end(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// The end is under way: [`Signals::end`] tells whether another signal wants it at once.
    pub fn forget(&self) {
        self.end.store(false, Ordering::Relaxed);
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_told_apart() {
        let mut signals = Signals::open().unwrap();
        assert!(!signals.reload() && !signals.end());
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert!(signals.reload() && !signals.reload() && !signals.end());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(!signals.reload() && signals.end());
        signals.forget();
        assert!(!signals.end());
        signal_hook::low_level::raise(SIGINT).unwrap();
        assert!(signals.end());
    }
}
