//! The UDP sockets of IKE: ports 500 and 4500, each family its own.

use linux::{BindError, Received, RecvBatch, SOCKET_MARK, SendFailure, SocketOptions, Transmit, Udp};
use model::SendTrouble;
use model::dataplane::OuterFields;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// Four zero octets in front of IKE on port 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Reports that wait to be taken: more are dropped.
const MAX_REPORTS: usize = 256;

/// All sockets of IKE.
pub struct Sockets {
    sockets: Vec<Udp>,
    nat_port: u16,
    batch: Option<RecvBatch>,
    /// What was reported about datagrams that left.
    reports: RefCell<Vec<SendFailure>>,
}

/// How sockets are opened.
pub struct Options {
    /// Port of IKE.
    pub port: u16,
    /// Port of IKE and ESP in UDP.
    pub nat_port: u16,
    /// Whether the kernel does ESP: it then takes ESP out of port 4500 by itself.
    pub kernel_esp: bool,
    /// Whether packets are marked, so that the routes of tunnels do not apply to them.
    pub mark: bool,
}

impl Sockets {
    /// Opens all four. A host without IPv6 gets two.
    pub fn open(options: &Options) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        for port in [options.port, options.nat_port] {
            for wildcard in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
                let socket_options = SocketOptions {
                    mark: options.mark.then_some(SOCKET_MARK),
                    bypass_policies: options.kernel_esp,
                    kernel_esp_in_udp: options.kernel_esp && port == options.nat_port,
                    report_errors: true,
                    ..SocketOptions::default()
                };
                match Udp::bind(SocketAddr::new(wildcard, port), &socket_options) {
                    Ok(socket) => sockets.push(socket),
                    Err(BindError::NoSuchAddress { .. } | BindError::Io { step: "create the socket", .. })
                        if wildcard.is_ipv6() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let batch = Some(RecvBatch::new(32, MAX_DATAGRAM));
        Ok(Self { sockets, nat_port: options.nat_port, batch, reports: RefCell::default() })
    }

    /// The descriptors to wait on; their positions are the `index` of [`Sockets::receive`].
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets.iter().map(AsRawFd::as_raw_fd)
    }

    /// The port on which IKE carries a non-ESP marker.
    pub fn nat_port(&self) -> u16 {
        self.nat_port
    }

    /// Receives a batch from one socket and gives each datagram to `each`. Returns whether there may be more.
    pub fn receive(&mut self, index: usize, mut each: impl FnMut(&mut Self, &Received, &mut [u8])) -> bool {
        let Some(mut batch) = self.batch.take() else { return false };
        let more = match self.sockets.get(index).map(|s| s.recv_batch(&mut batch)) {
            Some(Ok(n)) => {
                for (received, data) in batch.iter_mut() {
                    each(self, received, data);
                }
                n > 0
            }
            Some(Err(e)) => {
                let reported = e.kind() != io::ErrorKind::WouldBlock;
                if let Some(socket) = self.sockets.get(index).filter(|_| reported) {
                    self.keep_reports(socket);
                }
                reported
            }
            None => false,
        };
        self.batch = Some(batch);
        more
    }

    /// Sends an IKE message, with the marker where the port needs one.
    pub fn send_ike(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        if local.port() == self.nat_port {
            let mut marked = NON_ESP_MARKER.to_vec();
            marked.extend_from_slice(message);
            return self.send(local, remote, &marked);
        }
        self.send(local, remote, message)
    }

    /// Sends octets as they are, by an IP header that is nothing out of the ordinary: a keepalive, say.
    pub fn send(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> io::Result<()> {
        self.send_esp(local, remote, data, OuterFields::default())
    }

    /// Sends ESP in UDP.
    pub fn send_esp(&self, local: SocketAddr, remote: SocketAddr, data: &[u8], outer: OuterFields) -> io::Result<()> {
        let fits = |s: &&Udp| s.local_addr().port() == local.port() && s.local_addr().is_ipv6() == remote.is_ipv6();
        match self.sockets.iter().find(fits) {
            Some(socket) => {
                let send = || socket.send_batch(&[Transmit { local: local.ip(), remote, data, outer }]).map(drop);
                // The kernel tells of an earlier datagram first, whoever it was for: this one has not left then.
                send().or_else(|error| match self.keep_reports(socket) {
                    0 => Err(error),
                    _ => send(),
                })
            }
            None => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("no socket on port {}", local.port()))),
        }
    }

    /// Notes what was reported for a socket, and says how much that was.
    fn keep_reports(&self, socket: &Udp) -> usize {
        let told = socket.failures();
        let mut reports = self.reports.borrow_mut();
        let room = MAX_REPORTS.saturating_sub(reports.len());
        // IKE's messages may be fragmented: what is too long for a path is an ESP packet that may not be. That is how the path's
        // MTU is found, of which the packet's sender hears, and no trouble of the peer's.
        let troubles = told.iter().filter(|report| report.trouble != Some(SendTrouble::TooLong));
        reports.extend(troubles.take(room));
        told.len()
    }

    /// What was reported about datagrams that left, since the last call.
    pub fn take_reports(&self) -> Vec<SendFailure> {
        self.reports.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::SendTrouble;

    /// Somebody's closed port must not cost another peer its datagram.
    #[test]
    fn a_report_of_one_peer_is_kept_and_what_is_for_another_leaves() {
        let options = |port| Options { port, nat_port: port, kernel_esp: false, mark: false };
        let sockets = Sockets::open(&options(0)).unwrap();
        let port = sockets.sockets[0].local_addr().port();
        let sockets = Sockets { nat_port: 1, ..sockets };
        let local: SocketAddr = ([127, 0, 0, 1], port).into();
        let plain = SocketOptions::default();
        let gone = Udp::bind(([127, 0, 0, 1], 0).into(), &plain).unwrap().local_addr();
        let peer = Udp::bind(([127, 0, 0, 1], 0).into(), &plain).unwrap();
        sockets.send(local, gone, b"nobody").unwrap();
        sockets.send(local, peer.local_addr(), b"somebody").unwrap();
        let mut batch = RecvBatch::new(4, 100);
        assert_eq!(peer.recv_batch(&mut batch).unwrap(), 1);
        let reports = sockets.take_reports();
        assert!(
            matches!(&reports[..], [report] if report.remote == gone && report.trouble == Some(SendTrouble::PortUnreachable))
        );
        assert!(sockets.take_reports().is_empty());
    }
}
