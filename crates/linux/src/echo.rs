//! ICMP echo requests of a given length that nobody may fragment, and what comes back: for looking into a tunnel.

use crate::errors;
use crate::sys::{check, check_size, set_option};
use model::SendTrouble;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The largest packet that is sent, in octets.
const LARGEST: usize = 65_535;
/// The header of an echo message (RFC 792 page 14, RFC 4443 section 4.1).
const ECHO_HEADER: usize = 8;

/// Why there is no socket for echo requests.
#[derive(Debug)]
pub enum EchoError {
    /// A privilege is missing.
    NotPermitted,
    /// This host does not have the source address.
    NoSuchSource(IpAddr),
    /// Anything else: which step failed, and the kernel's answer. Where there is no route, it is [`io::Error`]'s `ENETUNREACH`.
    Io {
        /// Which step failed.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for EchoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted => f.write_str(
                "not permitted to open a socket for ICMP: give the process CAP_NET_RAW, or its group a place in \
                 net.ipv4.ping_group_range",
            ),
            Self::NoSuchSource(address) => write!(f, "this host does not have the address {address}"),
            Self::Io { step, source } => write!(f, "cannot {step}: {source}"),
        }
    }
}

impl std::error::Error for EchoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoReply {
    /// The answer to the request with this number.
    Answer(u16),
    /// Something was reported instead: what, and by whom if it was not this host. Anybody can have made it up.
    Report(SendTrouble, Option<IpAddr>),
}

/// A socket for echo requests from one address to another one. Its packets have no mark unless one is given, so that they are
/// led into tunnels as anybody's.
#[derive(Debug)]
pub struct Echo {
    socket: Socket,
    ipv6: bool,
    /// Without `CAP_NET_RAW` the kernel lends a "ping socket", and chooses the identifier itself.
    raw: bool,
    identifier: u16,
}

impl Echo {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`EchoError`].
    pub fn open(local: IpAddr, to: IpAddr, mark: Option<u32>) -> Result<Self, EchoError> {
        let failed = |step| move |source: io::Error| EchoError::Io { step, source };
        let ipv6 = to.is_ipv6();
        let (domain, protocol) = match ipv6 {
            true => (Domain::IPV6, Protocol::ICMPV6),
            false => (Domain::IPV4, Protocol::ICMPV4),
        };
        let refused = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        let (socket, raw) = match Socket::new(domain, Type::RAW, Some(protocol)) {
            Ok(socket) => (socket, true),
            Err(error) if refused(&error) => match Socket::new(domain, Type::DGRAM, Some(protocol)) {
                Ok(socket) => (socket, false),
                Err(error) if refused(&error) => return Err(EchoError::NotPermitted),
                Err(source) => return Err(failed("open a socket for ICMP")(source)),
            },
            Err(source) => return Err(failed("open a socket for ICMP")(source)),
        };
        socket.set_nonblocking(true).map_err(failed("make the socket non-blocking"))?;
        let fd = socket.as_raw_fd();
        // With DF, and whatever is believed about the path: that is what is to be found out.
        let probe = match ipv6 {
            true => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_PROBE),
            false => set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE),
        };
        probe.map_err(failed("forbid fragments"))?;
        errors::ask(fd, !ipv6).map_err(failed("have ICMP errors reported"))?;
        if let Some(mark) = mark {
            socket.set_mark(mark).map_err(failed("mark the socket's packets"))?;
        }
        socket.bind(&SockAddr::from(SocketAddr::new(local, 0))).map_err(|source| match source.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => EchoError::NoSuchSource(local),
            _ => failed("bind the socket")(source),
        })?;
        socket.connect(&SockAddr::from(SocketAddr::new(to, 0))).map_err(failed("find a route"))?;
        let identifier = std::process::id() as u16; // tells our requests from those of other programs
        Ok(Self { socket, ipv6, raw, identifier })
    }

    /// The longest packet of the route, as far as this host knows.
    pub fn mtu(&self) -> Option<u32> {
        let (level, name) = match self.ipv6 {
            true => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
            false => (libc::IPPROTO_IP, libc::IP_MTU),
        };
        let mut value: libc::c_int = 0;
        let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` octets to a live integer of that size.
        let asked = check(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                std::ptr::from_mut(&mut value).cast(),
                std::ptr::from_mut(&mut length),
            )
        });
        asked.ok().and_then(|_| u32::try_from(value).ok()).filter(|mtu| *mtu > 0)
    }

    /// Sends a request in a packet of `length` octets, its IP header among them.
    ///
    /// # Errors
    /// The kernel's: `EMSGSIZE` where it knows that the packet is too long.
    pub fn send(&self, number: u16, length: u32) -> io::Result<()> {
        let message = request(self.ipv6, self.identifier, number, length as usize);
        self.socket.send(&message).map(drop)
    }

    /// Waits for what comes back; `None` when the time is over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, most: Duration) -> io::Result<Option<EchoReply>> {
        let fd = self.socket.as_raw_fd();
        let milliseconds = libc::c_int::try_from(most.as_millis().saturating_add(1)).unwrap_or(libc::c_int::MAX);
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        if check(unsafe { libc::poll(&raw mut poll, 1, milliseconds) })? == 0 {
            return Ok(None);
        }
        // The length of an answer is that of its request: its head suffices.
        let mut buffer = [0u8; 128];
        // SAFETY: the kernel writes at most the buffer's length.
        let received = check_size(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) });
        let said = match received {
            Ok(length) => {
                let octets = buffer.get(..length).unwrap_or_default();
                let identifier = self.raw.then_some(self.identifier);
                answer(octets, self.ipv6, self.raw && !self.ipv6, identifier).map(EchoReply::Answer)
            }
            // The error is in the queue too, and there with who reported it.
            Err(error) => {
                let queued = errors::read(fd).into_iter().find_map(|f| Some((f.trouble?, f.reporter)));
                let plain = errors::send_trouble(&error).map(|trouble| (trouble, None));
                queued.or(plain).map(|(trouble, reporter)| EchoReply::Report(trouble, reporter))
            }
        };
        Ok(said)
    }
}

/// An echo request. The kernel writes the IP header, and in IPv6 the checksum (RFC 3542 section 3.1).
fn request(ipv6: bool, identifier: u16, number: u16, packet: usize) -> Vec<u8> {
    let (kind, header) = if ipv6 { (128, 40) } else { (8, 20) };
    let length = packet.min(LARGEST).saturating_sub(header).max(ECHO_HEADER);
    let mut message = vec![0; ECHO_HEADER];
    message[0] = kind;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&number.to_be_bytes());
    // Not zeros, which something on the way might compress.
    message.extend((ECHO_HEADER..length).map(|at| (at as u8).wrapping_mul(151) ^ (at >> 8) as u8));
    if !ipv6 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The Internet checksum (RFC 1071 section 1).
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The number of an echo reply; `None` for anything else that a raw socket gets.
fn answer(octets: &[u8], ipv6: bool, ip_header: bool, identifier: Option<u16>) -> Option<u16> {
    let message = match ip_header {
        true => octets.get(usize::from(octets.first()? & 0xf) * 4..)?,
        false => octets,
    };
    let [kind, code, _, _, id @ .., high, low] = message.first_chunk::<ECHO_HEADER>()?;
    let reply = *kind == if ipv6 { 129 } else { 0 } && *code == 0;
    let ours = identifier.is_none_or(|identifier| identifier.to_be_bytes() == *id);
    (reply && ours).then(|| u16::from_be_bytes([*high, *low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_answers_itself() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let echo = match Echo::open(address, address, None) {
                Err(EchoError::NotPermitted) => {
                    eprintln!("SKIP: ICMP needs CAP_NET_RAW");
                    assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip");
                    return;
                }
                other => other.unwrap(),
            };
            let mtu = echo.mtu().unwrap();
            assert!(mtu >= 1280, "{mtu}");
            for (number, length) in [(1, 64), (2, 1400)] {
                echo.send(number, length).unwrap();
                // The socket hears the request, too.
                let mut heard = (0..10).map(|_| echo.wait(Duration::from_secs(5)).unwrap());
                assert!(heard.any(|reply| reply == Some(EchoReply::Answer(number))));
            }
        }
    }

    #[test]
    fn a_request_is_as_long_as_it_is_asked_for_and_sums_up() {
        for (ipv6, header) in [(false, 20), (true, 40)] {
            for length in [28, 48, 64, 65, 1400, 65_535] {
                let message = request(ipv6, 0x1234, 7, length);
                assert_eq!(message.len(), length.saturating_sub(header).max(8));
                assert_eq!(message[4..8], [0x12, 0x34, 0, 7]);
                assert!(ipv6 || checksum(&message) == 0);
            }
        }
        // RFC 1071 section 3 sums these up to ddf2, carry included.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn only_an_answer_of_ours_is_one() {
        let reply = [0, 0, 0, 0, 0x12, 0x34, 0, 9];
        let with_header: Vec<u8> = std::iter::once(0x45).chain([0; 19]).chain(reply).collect();
        assert_eq!(answer(&with_header, false, true, Some(0x1234)), Some(9));
        assert_eq!(answer(&reply, false, false, None), Some(9));
        assert_eq!(answer(&reply, true, false, None), None, "IPv6 has other numbers");
        assert_eq!(answer(&with_header, false, true, Some(0x1235)), None);
        for length in 0..with_header.len() {
            assert_eq!(answer(&with_header[..length], false, true, Some(0x1234)), None);
        }
        assert_eq!(answer(&[0x4f; 30], false, true, None), None);
    }
}
