//! UDP sockets for IKE and for ESP in UDP.

use crate::batch::{self, Fragmenting, RecvBatch, Transmit};
use crate::errors::SendFailure;
use crate::socket::{self, BindError, SocketOptions};
use model::dataplane::OuterFields;
use socket2::{Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A non-blocking UDP socket of one family that knows the local address of each datagram and sends from a chosen one.
///
/// `AsRawFd` is for mio's `SourceFd`.
#[derive(Debug)]
pub struct Udp {
    socket: Socket,
    local: SocketAddr,
    fragmenting: Fragmenting,
}

impl Udp {
    /// Binds to `address`, usually a wildcard. An IPv6 socket takes IPv6 only, so both families need one each.
    ///
    /// # Errors
    /// [`BindError`], with the process that holds the port where that can be seen.
    pub fn bind(address: SocketAddr, options: &SocketOptions) -> Result<Self, BindError> {
        let socket = socket::open(address, Type::DGRAM, Protocol::UDP, options)?;
        let local = socket.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address);
        Ok(Self { socket, local, fragmenting: Fragmenting::default() })
    }

    /// Where the socket is bound, with the port that the kernel chose if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Receives what waits, up to the size of `batch`; returns how many datagrams.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits. `ConnectionRefused` and the like report an ICMP error for an earlier datagram; go on.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.recv(self.socket.as_raw_fd(), self.local.port(), false)
    }

    /// Sends datagrams in order, at most [`crate::MAX_BATCH`]; returns how many left.
    ///
    /// # Errors
    /// The error of the first datagram if none left: skip it, or wait on `WouldBlock`.
    pub fn send_batch(&self, datagrams: &[Transmit<'_>]) -> io::Result<usize> {
        batch::send(self.socket.as_raw_fd(), self.local.is_ipv6(), &self.fragmenting, datagrams)
    }

    /// What was reported about datagrams that left, since the last call ([`SocketOptions::report_errors`]). The first
    /// report makes one receiving or sending fail, which is then to be done again.
    pub fn failures(&self) -> Vec<SendFailure> {
        crate::errors::read(self.socket.as_raw_fd())
    }

    /// Sends one datagram from `local` (unspecified: the kernel's choice).
    ///
    /// # Errors
    /// The kernel's; `WouldBlock` when its buffer is full.
    pub fn send(&self, local: IpAddr, remote: SocketAddr, data: &[u8]) -> io::Result<()> {
        self.send_batch(&[Transmit { local, remote, data, outer: OuterFields::default() }]).map(drop)
    }
}

impl AsRawFd for Udp {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_BATCH;

    fn wait(socket: &Udp, batch: &mut RecvBatch) -> usize {
        let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1, "a datagram arrives");
        socket.recv_batch(batch).unwrap()
    }

    #[test]
    fn batches_keep_order_and_addresses() {
        for (wildcard, source, target) in [("0.0.0.0:0", "127.0.0.2", "127.0.0.3"), ("[::]:0", "::1", "::1")] {
            let a = Udp::bind(wildcard.parse().unwrap(), &SocketOptions::default()).unwrap();
            let b = Udp::bind(wildcard.parse().unwrap(), &SocketOptions::default()).unwrap();
            let (source, target): (IpAddr, IpAddr) = (source.parse().unwrap(), target.parse().unwrap());
            let payloads: Vec<Vec<u8>> = (0..10u8).map(|n| vec![n; usize::from(n) * 10]).collect();
            let remote = SocketAddr::new(target, b.local_addr().port());
            // Of all classes, and every third one not to be fragmented.
            let outer = |n: usize| OuterFields { traffic_class: 25 * n as u8, dont_fragment: n.is_multiple_of(3) };
            let numbered = payloads.iter().enumerate();
            let datagrams: Vec<_> =
                numbered.map(|(n, data)| Transmit { local: source, remote, data, outer: outer(n) }).collect();
            assert_eq!(a.send_batch(&datagrams).unwrap(), 10);

            let mut batch = RecvBatch::new(MAX_BATCH, 100);
            let mut got = Vec::new();
            while got.len() < 10 {
                wait(&b, &mut batch);
                let shared: Vec<_> = batch.iter().map(|(_, data)| data.to_vec()).collect();
                for ((received, data), same) in batch.iter_mut().zip(shared) {
                    assert_eq!(received.local, remote);
                    assert_eq!(received.remote, SocketAddr::new(source, a.local_addr().port()));
                    assert_eq!(data, same);
                    assert_eq!(usize::from(received.traffic_class), 25 * got.len());
                    got.push(data.to_vec());
                }
            }
            assert_eq!(got, payloads);
            assert_eq!(b.recv_batch(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_dropped_and_counted() {
        let a = Udp::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        a.send("127.0.0.1".parse().unwrap(), a.local_addr(), &[1; 101]).unwrap();
        a.send("0.0.0.0".parse().unwrap(), a.local_addr(), &[2; 100]).unwrap();
        let mut batch = RecvBatch::new(4, 100);
        let mut got = Vec::new();
        while got.is_empty() {
            wait(&a, &mut batch);
            got.extend(batch.iter().map(|(_, data)| data.to_vec()));
        }
        assert_eq!(got, [vec![2; 100]]);
        assert_eq!(batch.truncated(), 1);
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let first = Udp::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        let error = Udp::bind(first.local_addr(), &SocketOptions::default()).unwrap_err();
        let BindError::InUse { holder: Some(holder), .. } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, std::process::id());
        assert!(error.to_string().contains("stop it"), "{error}");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let error = Udp::bind("192.0.2.77:0".parse().unwrap(), &SocketOptions::default()).unwrap_err();
        assert!(matches!(error, BindError::NoSuchAddress { .. }), "{error}");
    }
}
