//! TUN devices: the door between the kernel's routing and the userspace data plane.

use crate::sys::{check, check_size};
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/net/tun";

/// Why a TUN device could not be made.
#[derive(Debug)]
pub enum TunError {
    /// There is no `/dev/net/tun`.
    NoDevice,
    /// `/dev/net/tun` exists, but the kernel has no driver behind it.
    NoDriver,
    /// A privilege is missing.
    NotPermitted {
        /// The device's name.
        name: String,
    },
    /// Another process holds a device of this name.
    Busy {
        /// The device's name.
        name: String,
    },
    /// Not a possible interface name.
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

impl fmt::Display for TunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => write!(
                f,
                "{DEVICE} does not exist: load the module (modprobe tun), or in a container pass the device \
                 (--device {DEVICE}), or make it (mkdir -p /dev/net && mknod {DEVICE} c 10 200)"
            ),
            Self::NoDriver => write!(f, "{DEVICE} has no driver behind it: load the module (modprobe tun)"),
            Self::NotPermitted { name } => {
                write!(f, "not permitted to make TUN device '{name}': run as root or give the process CAP_NET_ADMIN")
            }
            Self::Busy { name } => {
                write!(f, "TUN device '{name}' is held by another process: stop it or use another name")
            }
            Self::BadName { name } => {
                write!(f, "'{name}' is no interface name: 1 to 15 characters without '/', spaces or NUL")
            }
            Self::Io { step, source } => write!(f, "cannot {step}: {source}"),
        }
    }
}

impl std::error::Error for TunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A TUN device: IP packets without further header, non-blocking. It goes away when this is dropped.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
}

impl Tun {
    /// Makes a device. A `%d` in the name stands for the first free number (`ipsec%d`).
    ///
    /// The device is down and has the kernel's MTU of 1500: see [`crate::Routes::set_link`].
    ///
    /// # Errors
    /// [`TunError`].
    pub fn open(name_template: &str) -> Result<Self, TunError> {
        let bad_name = || TunError::BadName { name: name_template.to_owned() };
        let in_name = |octet: u8| octet.is_ascii_graphic() && octet != b'/';
        if name_template.is_empty() || name_template.len() >= libc::IFNAMSIZ || !name_template.bytes().all(in_name) {
            return Err(bad_name());
        }
        let fd: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(DEVICE)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::ENOENT) => TunError::NoDevice,
                Some(libc::ENODEV | libc::ENXIO) => TunError::NoDriver,
                Some(libc::EPERM | libc::EACCES) => TunError::NotPermitted { name: name_template.to_owned() },
                _ => TunError::Io { step: "open /dev/net/tun", source },
            })?
            .into();
        // SAFETY: all zero is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name_template.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes an `ifreq`, which outlives the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) }).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => TunError::NotPermitted { name: name_template.to_owned() },
                Some(libc::EBUSY) => TunError::Busy { name: name_template.to_owned() },
                Some(libc::EINVAL) => bad_name(),
                _ => TunError::Io { step: "make the TUN device", source },
            }
        })?;
        let name = request.ifr_name.iter().take_while(|&&octet| octet != 0).map(|&octet| octet as u8 as char).collect();
        Ok(Self { fd, name })
    }

    /// The device's name, as the kernel chose it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface index.
    ///
    /// # Errors
    /// The kernel's, if the device was removed or moved to another namespace.
    pub fn index(&self) -> io::Result<u32> {
        crate::sys::interface_index(&self.name)
    }

    /// Reads one IP packet; returns its length.
    ///
    /// # Errors
    /// `WouldBlock` when none waits. `InvalidInput` or `Other` (`EBADFD`, `EIO`) while the device is down.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the buffer's own pointer and length; the kernel writes no more than that.
        check_size(unsafe { libc::read(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
    }

    /// Writes one IP packet.
    ///
    /// # Errors
    /// The kernel's: `InvalidInput` for what is no IP packet, `Other` (`EIO`) while the device is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        // SAFETY: the packet's own pointer and length; the kernel only reads.
        check_size(unsafe { libc::write(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len()) }).map(drop)
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_before_the_kernel_sees_them() {
        for name in ["", "sixteen-octets-x", "a/b", "a b", "a\0"] {
            assert!(matches!(Tun::open(name), Err(TunError::BadName { .. })), "{name:?}");
        }
    }
}
