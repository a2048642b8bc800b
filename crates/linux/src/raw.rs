//! Raw sockets for ESP that is not in UDP (IP protocol 50).

use crate::batch::{self, Fragmenting, RecvBatch, Transmit};
use crate::socket::{self, BindError, SocketOptions};
use model::dataplane::OuterFields;
use socket2::{Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

const IPPROTO_ESP: i32 = 50;

/// A raw socket of one family for ESP packets without UDP. The kernel writes the outer IP header.
///
/// A kernel with ESP of its own handles the same packets too: to it they are SAs it does not know, which it counts
/// (`XfrmInNoStates`) and drops; the copy that this socket gets is unaffected.
#[derive(Debug)]
pub struct RawEsp {
    socket: Socket,
    ipv6: bool,
    fragmenting: Fragmenting,
}

impl RawEsp {
    /// Opens the socket for every local address of the family. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn open(ipv6: bool, options: &SocketOptions) -> Result<Self, BindError> {
        let wildcard: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = socket::open(SocketAddr::new(wildcard, 0), Type::RAW, Protocol::from(IPPROTO_ESP), options)?;
        Ok(Self { socket, ipv6, fragmenting: Fragmenting::default() })
    }

    /// Receives what waits, without outer IP headers; ports are 0.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.recv(self.socket.as_raw_fd(), 0, !self.ipv6)
    }

    /// Sends ESP packets in order; the ports of the destinations do not matter. Returns how many left.
    ///
    /// # Errors
    /// The error of the first packet if none left.
    pub fn send_batch(&self, packets: &[Transmit<'_>]) -> io::Result<usize> {
        // A raw socket takes the "port" for a protocol number (raw(7)), so it must be 0.
        let (local, remote) = (Ipv4Addr::UNSPECIFIED.into(), ([0; 4], 0).into());
        let empty = Transmit { local, remote, data: &[], outer: OuterFields::default() };
        let mut portless = [empty; batch::MAX_BATCH];
        let count = packets.len().min(portless.len());
        for (to, from) in portless.iter_mut().zip(packets) {
            *to = *from;
            to.remote.set_port(0);
        }
        batch::send(self.socket.as_raw_fd(), self.ipv6, &self.fragmenting, portless.get(..count).unwrap_or_default())
    }

    /// Sends one ESP packet from `local` (unspecified: the kernel's choice).
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` when its buffer is full, `EMSGSIZE` for what is too long and not to be fragmented.
    pub fn send(&self, local: IpAddr, mut remote: SocketAddr, data: &[u8], outer: OuterFields) -> io::Result<()> {
        remote.set_port(0); // as above
        let one = [Transmit { local, remote, data, outer }];
        batch::send(self.socket.as_raw_fd(), self.ipv6, &self.fragmenting, &one).map(drop)
    }
}

impl AsRawFd for RawEsp {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for RawEsp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esp_crosses_the_loopback() {
        for (ipv6, address) in [(false, "127.0.0.1"), (true, "::1")] {
            let socket = match RawEsp::open(ipv6, &SocketOptions::default()) {
                Err(BindError::NotPermitted { .. }) => {
                    eprintln!("SKIP: raw sockets need CAP_NET_RAW");
                    assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip");
                    return;
                }
                other => other.unwrap(),
            };
            let address: IpAddr = address.parse().unwrap();
            let packet = [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1, 9, 9, 9, 9];
            let outer = OuterFields { traffic_class: 0xba, dont_fragment: true };
            socket.send(address, SocketAddr::new(address, 4500), &packet, outer).unwrap();
            let mut batch = RecvBatch::new(4, 2000);
            let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one live pollfd.
            assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1);
            assert_eq!(socket.recv_batch(&mut batch).unwrap(), 1);
            let (received, data) = batch.iter().next().unwrap();
            assert_eq!((received.local.ip(), received.remote.ip(), data), (address, address, &packet[..]));
            assert_eq!(received.traffic_class, 0xba);
        }
    }
}
