//! Network namespaces, for tests and the demonstration.

use crate::sys::check;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/run/netns";

/// Why a namespace could not be made or entered.
#[derive(Debug)]
pub enum NamespaceError {
    /// A privilege is missing.
    NotPermitted {
        /// Which step was refused.
        step: &'static str,
    },
    /// There is a namespace of this name already.
    Exists {
        /// The name.
        name: String,
    },
    /// Not a possible name.
    BadName {
        /// What was asked for.
        name: String,
    },
    /// Anything else.
    Io {
        /// Which step failed.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted { step } => {
                write!(f, "not permitted to {step}: run as root or give the process CAP_SYS_ADMIN")
            }
            Self::Exists { name } => {
                write!(f, "network namespace '{name}' exists already: remove it with 'ip netns delete {name}'")
            }
            Self::BadName { name } => write!(f, "'{name}' is no name for a network namespace"),
            Self::Io { step, source } => write!(f, "cannot {step}: {source}"),
        }
    }
}

impl std::error::Error for NamespaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> NamespaceError {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NamespaceError::NotPermitted { step },
        _ => NamespaceError::Io { step, source },
    }
}

/// A network namespace. It disappears when this is dropped and nobody is inside.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
    mounted: Option<PathBuf>,
}

impl Namespace {
    /// A namespace without a name, known only to this process.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn anonymous() -> Result<Self, NamespaceError> {
        // A thread leaves its namespace for a new one and hands out the handle; the namespace lives as long as the handle.
        let handle = on_own_thread(|| {
            // SAFETY: `unshare` takes flags only; it affects this thread, which ends here.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map_err(failed("make a network namespace"))?;
            File::open("/proc/thread-self/ns/net").map_err(failed("open the new network namespace"))
        })?;
        Ok(Self { handle, mounted: None })
    }

    /// A namespace that `ip netns exec NAME` can enter.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn create(name: &str) -> Result<Self, NamespaceError> {
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(NamespaceError::BadName { name: name.to_owned() });
        }
        let mut namespace = Self::anonymous()?;
        fs::create_dir_all(DIRECTORY).map_err(failed("make /run/netns"))?;
        let path = Path::new(DIRECTORY).join(name);
        File::create_new(&path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => NamespaceError::Exists { name: name.to_owned() },
            _ => failed("make the namespace's file")(source),
        })?;
        let source = format!("/proc/self/fd/{}", namespace.handle.as_raw_fd());
        if let Err(error) = bind_mount(Path::new(&source), &path) {
            let _ = fs::remove_file(&path);
            return Err(failed("mount the namespace's file")(error));
        }
        namespace.mounted = Some(path);
        Ok(namespace)
    }

    /// Enters a namespace made by `ip netns add` or by another process; dropping this leaves it alone.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn existing(name: &str) -> Result<Self, NamespaceError> {
        let handle = File::open(Path::new(DIRECTORY).join(name)).map_err(failed("open the network namespace"))?;
        Ok(Self { handle, mounted: None })
    }

    /// Runs `work` on a thread inside the namespace and returns what it returns. Sockets, TUN devices and processes made
    /// there stay in the namespace.
    ///
    /// # Errors
    /// [`NamespaceError`] if the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Moves the calling thread into the namespace, for good. Threads made by it later start there.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn enter(&self) -> Result<(), NamespaceError> {
        // SAFETY: the descriptor is open and names a network namespace; only this thread's namespace changes.
        check(unsafe { libc::setns(self.handle.as_raw_fd(), libc::CLONE_NEWNET) })
            .map(drop)
            .map_err(failed("enter the network namespace"))
    }
}

impl AsFd for Namespace {
    /// For moving an interface into the namespace.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(path) = &self.mounted {
            if let Ok(path) = c_string(path) {
                // SAFETY: a NUL-terminated path that outlives the call.
                unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
            }
            let _ = fs::remove_file(path);
        }
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, NamespaceError> + Send) -> Result<T, NamespaceError> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn c_string(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn bind_mount(source: &Path, target: &Path) -> io::Result<()> {
    let (source, target) = (c_string(source)?, c_string(target)?);
    // SAFETY: NUL-terminated paths that outlive the call; file system type and data are unused with MS_BIND.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "a/b", ".", "..", "a\0b"] {
            assert!(matches!(Namespace::create(name), Err(NamespaceError::BadName { .. })), "{name:?}");
        }
    }
}
