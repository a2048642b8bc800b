//! What our datagram sockets have in common: creation, options, and errors an operator can act on.

use crate::PortHolder;
use crate::port_holder::udp_port_holder;
use crate::sys::set_option;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

/// How a socket is set up.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Octets of kernel buffer asked for in each direction; root gets them beyond the system's limit.
    pub buffer: usize,
    /// Mark of outgoing packets for policy routing ([`crate::SOCKET_MARK`]); `None` needs no privilege.
    pub mark: Option<u32>,
    /// Exempt the socket from the kernel's IPsec policies, so that IKE is not caught by them. For the XFRM data plane.
    pub bypass_policies: bool,
    /// Let the kernel take UDP-encapsulated ESP out of this socket (RFC 3948). For the XFRM data plane, port 4500.
    pub kernel_esp_in_udp: bool,
    /// Have the kernel keep what ICMP says about datagrams that left, for [`crate::Udp::failures`].
    pub report_errors: bool,
}

impl Default for SocketOptions {
    /// 4 MiB buffers, no mark, nothing that needs privileges.
    fn default() -> Self {
        Self { buffer: 4 << 20, mark: None, bypass_policies: false, kernel_esp_in_udp: false, report_errors: false }
    }
}

/// Why a socket could not be opened.
#[derive(Debug)]
pub enum BindError {
    /// Another socket has the address and port.
    InUse {
        /// What was asked for.
        address: SocketAddr,
        /// Who has it, if that can be seen.
        holder: Option<PortHolder>,
    },
    /// The address is on none of this host's interfaces.
    NoSuchAddress {
        /// What was asked for.
        address: SocketAddr,
    },
    /// A privilege is missing.
    NotPermitted {
        /// What was asked for.
        address: SocketAddr,
        /// Which step was refused.
        step: &'static str,
        /// The capability that it takes.
        capability: &'static str,
    },
    /// Anything else.
    Io {
        /// What was asked for.
        address: SocketAddr,
        /// Which step failed.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { address, holder } => {
                write!(f, "UDP port {} of {} is taken", address.port(), address.ip())?;
                match holder {
                    Some(holder) => write!(f, " by {holder}: stop it (kill {})", holder.pid)?,
                    None => f.write_str(
                        " by a process that cannot be seen from here: stop it ('ss -lunp' as root shows it)",
                    )?,
                }
                f.write_str(" or set charon.port and charon.port_nat_t to other ports")
            }
            Self::NoSuchAddress { address } => {
                write!(f, "address {} is on no interface of this host: add it, or listen on another", address.ip())
            }
            Self::NotPermitted { address, step, capability } => {
                write!(f, "{address}: not permitted to {step}: run as root or give the process {capability}")
            }
            Self::Io { address, step, source } => write!(f, "{address}: cannot {step}: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A non-blocking socket that tells the local address of each datagram.
pub(crate) fn open(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
) -> Result<Socket, BindError> {
    let step = |step, capability| {
        move |source: io::Error| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => BindError::InUse { address, holder: udp_port_holder(address) },
            Some(libc::EADDRNOTAVAIL) => BindError::NoSuchAddress { address },
            Some(libc::EPERM | libc::EACCES) => BindError::NotPermitted { address, step, capability },
            _ => BindError::Io { address, step, source },
        }
    };
    let domain = Domain::for_address(address);
    let (mut capability, opening) = ("CAP_NET_BIND_SERVICE", "open a UDP socket");
    let opening = if kind == Type::RAW {
        capability = "CAP_NET_RAW";
        "open a raw socket for ESP"
    } else {
        opening
    };
    let socket = Socket::new(domain, kind, Some(protocol)).map_err(step(opening, capability))?;
    socket.set_nonblocking(true).map_err(step("make the socket non-blocking", capability))?;
    let fd = socket.as_raw_fd();
    let on: libc::c_int = 1;
    let packet_info = step("ask for the local address of datagrams", capability);
    if address.is_ipv4() {
        set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, &on).map_err(packet_info)?;
        set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, &on)
            .map_err(step("ask for DSCP and ECN of datagrams", capability))?;
        // Large IKE messages are fragmented rather than lost, and so is ESP but where its sender wants to hear: no DF bit.
        set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_DONT)
            .map_err(step("switch path MTU discovery off", capability))?;
    } else {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on).map_err(packet_info)?;
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, &on)
            .map_err(step("ask for DSCP and ECN of datagrams", capability))?;
        // A raw IPv6 socket never takes IPv4 and refuses the option.
        if kind == Type::DGRAM {
            socket.set_only_v6(true).map_err(step("restrict the socket to IPv6", capability))?;
        }
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_DONT)
            .map_err(step("switch path MTU discovery off", capability))?;
    }
    set_buffers(&socket, options.buffer);
    if let Some(mark) = options.mark {
        socket.set_mark(mark).map_err(step("mark the socket's packets", "CAP_NET_ADMIN"))?;
    }
    if options.bypass_policies {
        bypass_policies(&socket, address).map_err(step("exempt the socket from IPsec policies", "CAP_NET_ADMIN"))?;
    }
    if options.report_errors {
        crate::errors::ask(fd, address.is_ipv4()).map_err(step("have ICMP errors reported", capability))?;
    }
    socket.bind(&SockAddr::from(address)).map_err(step("bind the socket", capability))?;
    if options.kernel_esp_in_udp {
        // include/uapi/linux/udp.h
        const UDP_ENCAP: libc::c_int = 100;
        const UDP_ENCAP_ESPINUDP: libc::c_int = 2;
        set_option(fd, libc::IPPROTO_UDP, UDP_ENCAP, &UDP_ENCAP_ESPINUDP)
            .map_err(step("have the kernel decapsulate ESP in UDP", "CAP_NET_ADMIN"))?;
    }
    Ok(socket)
}

/// Buffers for bursts. A smaller buffer is no error: it only drops sooner.
fn set_buffers(socket: &Socket, octets: usize) {
    let wanted = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX);
    for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        let fd = socket.as_raw_fd();
        if set_option(fd, libc::SOL_SOCKET, forced, &wanted).is_err() {
            let _ = set_option(fd, libc::SOL_SOCKET, plain, &wanted);
        }
    }
}

/// `allow` policies of the socket itself, which come before those of the SPD.
fn bypass_policies(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let (level, option) = if address.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_XFRM_POLICY)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_XFRM_POLICY)
    };
    for direction in [crate::xfrm::Direction::In, crate::xfrm::Direction::Out] {
        let policy = crate::xfrm::socket_bypass_policy(address.ip(), direction);
        let length = policy.len() as libc::socklen_t;
        // SAFETY: `policy` is a live buffer and its exact length is passed; the kernel only reads it.
        crate::sys::check(unsafe {
            libc::setsockopt(socket.as_raw_fd(), level, option, policy.as_ptr().cast(), length)
        })?;
    }
    Ok(())
}

/// How long a packet is at most that goes from an address of ours to a peer, as far as the kernel knows (RFC 1191, RFC 8201):
/// what it has heard from the path, else the MTU of the interface. `mark`: as the packet's, for the rules of routing.
///
/// # Errors
/// The kernel's; that there is no route, above all.
pub fn path_mtu(local: IpAddr, remote: IpAddr, mark: Option<u32>) -> io::Result<usize> {
    // Connecting sends nothing: it looks for the route, as sending would.
    let remote = SocketAddr::new(remote, 9);
    let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    if local.is_ipv4() == remote.is_ipv4() {
        socket.bind(&SockAddr::from(SocketAddr::new(local, 0)))?;
    }
    socket.connect(&SockAddr::from(remote))?;
    let (level, option) = match remote {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    crate::sys::get_number(socket.as_raw_fd(), level, option)
        .and_then(|mtu| usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_its_own_mtu() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert!(path_mtu(address, address, None).unwrap() >= 16_384, "{address}");
        }
    }
}
