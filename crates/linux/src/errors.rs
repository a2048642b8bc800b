//! What became of datagrams that left: errors that routers and hosts report by ICMP, and that the kernel queues for the socket.

use crate::sys::{check, from_storage, set_option};
use model::SendTrouble;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

/// So many reports are read in one go; the kernel bounds how many wait.
const MOST: usize = 64;

/// An error about a datagram that was sent. Whoever knows its addresses and ports can have made it up: it is good for an
/// explanation only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendFailure {
    /// Where the datagram was sent to.
    pub remote: SocketAddr,
    /// What it says; `None` where it only means to try again.
    pub trouble: Option<SendTrouble>,
    /// Who reported it; `None` for this host.
    pub reporter: Option<IpAddr>,
}

/// What an error of sending says; `None` where it only means to try again.
pub fn send_trouble(error: &io::Error) -> Option<SendTrouble> {
    error.raw_os_error().and_then(meaning)
}

fn meaning(errno: i32) -> Option<SendTrouble> {
    Some(match errno {
        libc::EHOSTUNREACH | libc::EHOSTDOWN => SendTrouble::HostUnreachable,
        libc::ENETUNREACH | libc::ENETDOWN => SendTrouble::NetworkUnreachable,
        libc::ECONNREFUSED => SendTrouble::PortUnreachable,
        libc::EPERM | libc::EACCES => SendTrouble::NotPermitted,
        libc::EMSGSIZE => SendTrouble::TooLong,
        libc::ENOBUFS | libc::ENOMEM => SendTrouble::NoBuffers,
        libc::EADDRNOTAVAIL | libc::EINVAL => SendTrouble::NoSuchSource,
        // The socket's own buffer is full, which is soon over.
        libc::EAGAIN | libc::EINTR => return None,
        _ => SendTrouble::Other,
    })
}

/// Room for the error, the address of its reporter and their headers, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([u8; 256]);

/// Asks the kernel to queue such reports.
pub(crate) fn ask(fd: RawFd, ipv4: bool) -> io::Result<()> {
    let on: libc::c_int = 1;
    match ipv4 {
        true => set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, &on),
        false => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &on),
    }
}

/// Takes what is queued.
pub(crate) fn read(fd: RawFd) -> Vec<SendFailure> {
    let mut failures = Vec::new();
    for _ in 0..MOST {
        // SAFETY: all zero is a valid value of this plain C struct.
        let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let (mut control, mut data) = (Control([0; 256]), [0u8; 64]);
        let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
        // SAFETY: as above; null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = std::ptr::from_mut(&mut name).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        // SAFETY: the header points to live buffers of the lengths that it states, all outliving the call.
        let received = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if check(libc::c_int::try_from(received).unwrap_or(libc::c_int::MAX)).is_err() {
            break;
        }
        let Some(remote) = from_storage(&name, header.msg_namelen) else { continue };
        failures.extend(error_of(&header).map(|(errno, reporter)| SendFailure {
            remote,
            trouble: meaning(errno),
            reporter,
        }));
    }
    failures
}

/// The error in a message's control data, and who reported it.
fn error_of(header: &libc::msghdr) -> Option<(i32, Option<IpAddr>)> {
    // SAFETY: `header` was filled by the kernel: its control pointer and length describe whole control messages.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside the control buffer.
        let (level, kind, length) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len as usize) };
        let is_error =
            matches!((level, kind), (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
        // SAFETY: the length that a header needs of itself.
        let head = unsafe { libc::CMSG_LEN(0) } as usize;
        if is_error && length >= head {
            // SAFETY: the kernel wrote `cmsg_len` octets, those of the header among them, inside the control buffer.
            let octets = unsafe { std::slice::from_raw_parts(libc::CMSG_DATA(message), length - head) };
            return parse(octets);
        }
        // SAFETY: `message` is a header inside `header`'s control buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

/// `struct sock_extended_err`, 16 octets, and behind it the socket address of who reported it, if that is not this host.
fn parse(octets: &[u8]) -> Option<(i32, Option<IpAddr>)> {
    /// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6` (include/uapi/linux/errqueue.h).
    const ICMP: [u8; 2] = [2, 3];
    let errno = u32::from_ne_bytes(*octets.first_chunk()?);
    let offender = octets.get(16..).filter(|_| octets.get(4).is_some_and(|origin| ICMP.contains(origin)));
    let reporter = offender.and_then(|address| {
        let family = u16::from_ne_bytes(*address.first_chunk()?);
        match libc::c_int::from(family) {
            libc::AF_INET => address.get(4..)?.first_chunk::<4>().map(|o| Ipv4Addr::from(*o).into()),
            libc::AF_INET6 => address.get(8..)?.first_chunk::<16>().map(|o| Ipv6Addr::from(*o).into()),
            _ => None,
        }
    });
    Some((i32::try_from(errno).ok()?, reporter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SocketOptions, Udp};
    use std::os::fd::AsRawFd;

    /// Nobody has the port of a socket that is closed: this host says so, and the next datagram leaves all the same.
    #[test]
    fn a_port_that_nobody_has_is_reported_with_its_address() {
        for (wildcard, target) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let options = SocketOptions { report_errors: true, ..SocketOptions::default() };
            let socket = Udp::bind(wildcard.parse().unwrap(), &options).unwrap();
            let target: IpAddr = target.parse().unwrap();
            let gone = Udp::bind(SocketAddr::new(target, 0), &SocketOptions::default()).unwrap().local_addr();
            assert!(socket.failures().is_empty());
            socket.send(target, gone, b"first").unwrap();
            let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
            // SAFETY: one live pollfd.
            assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1, "an error waits");
            let told = socket.failures();
            assert_eq!(
                told,
                [SendFailure { remote: gone, trouble: Some(SendTrouble::PortUnreachable), reporter: Some(target) }]
            );
            let other = Udp::bind(SocketAddr::new(target, 0), &SocketOptions::default()).unwrap();
            socket.send(target, other.local_addr(), b"second").unwrap();
            assert!(socket.failures().is_empty());
        }
    }

    #[test]
    fn errors_of_sending_have_a_meaning() {
        let of = |errno| send_trouble(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::EPERM), Some(SendTrouble::NotPermitted));
        assert_eq!(of(libc::ENETUNREACH), Some(SendTrouble::NetworkUnreachable));
        assert_eq!(of(libc::EHOSTUNREACH), Some(SendTrouble::HostUnreachable));
        assert_eq!(of(libc::ENOBUFS), Some(SendTrouble::NoBuffers));
        assert_eq!(of(libc::EPROTO), Some(SendTrouble::Other));
        assert_eq!((of(libc::EAGAIN), send_trouble(&io::ErrorKind::Other.into())), (None, None));
    }

    #[test]
    fn what_is_cut_off_is_no_error() {
        let mut octets = vec![0; 32];
        octets[..4].copy_from_slice(&(libc::EHOSTUNREACH as u32).to_ne_bytes());
        octets[4] = 2;
        octets[16..18].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        octets[20..24].copy_from_slice(&[192, 0, 2, 9]);
        assert_eq!(parse(&octets), Some((libc::EHOSTUNREACH, Some(IpAddr::from([192, 0, 2, 9])))));
        for length in 0..32 {
            let cut = parse(&octets[..length]);
            assert!(if length < 4 { cut.is_none() } else { cut.is_some_and(|(errno, _)| errno == libc::EHOSTUNREACH) });
        }
        octets[4] = 1; // this host
        assert_eq!(parse(&octets), Some((libc::EHOSTUNREACH, None)));
    }
}
