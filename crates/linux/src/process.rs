//! Keeping keys out of files, and ending processes.

use crate::sys::check;
use std::io;

/// Switches core dumps off and forbids other processes of the same user to attach: the address space holds keys.
///
/// Call it before the first secret is read. It also makes `/proc/self` belong to root, so call it after dropping privileges.
///
/// # Errors
/// The system call's error; none is expected on Linux.
pub fn harden_process() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` outlives the call, which reads it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })?;
    // SAFETY: PR_SET_DUMPABLE takes an integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    Ok(())
}

/// Ends a process at once, if it is there and may be ended.
pub fn end_process(process: u32) {
    if let Some(process) = libc::pid_t::try_from(process).ok().filter(|process| *process > 1) {
        // SAFETY: kill takes integers and touches no memory; a number above 1 is one process.
        unsafe { libc::kill(process, libc::SIGKILL) };
    }
}
