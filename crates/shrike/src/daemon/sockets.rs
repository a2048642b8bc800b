//! The UDP sockets of IKE: ports 500 and 4500, each family its own.

use linux::{BindError, RecvBatch, SOCKET_MARK, SocketOptions, Transmit, Udp};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// Four zero octets in front of IKE on port 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// All sockets of IKE.
pub struct Sockets {
    sockets: Vec<Udp>,
    nat_port: u16,
    batch: Option<RecvBatch>,
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
        Ok(Self { sockets, nat_port: options.nat_port, batch: Some(RecvBatch::new(32, MAX_DATAGRAM)) })
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
    pub fn receive(
        &mut self,
        index: usize,
        mut each: impl FnMut(&mut Self, SocketAddr, SocketAddr, &mut [u8]),
    ) -> bool {
        let Some(mut batch) = self.batch.take() else { return false };
        let more = match self.sockets.get(index).map(|s| s.recv_batch(&mut batch)) {
            Some(Ok(n)) => {
                for (received, data) in batch.iter_mut() {
                    each(self, received.local, received.remote, data);
                }
                n > 0
            }
            Some(Err(e)) => e.kind() != io::ErrorKind::WouldBlock,
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

    /// Sends octets as they are: a keepalive, or ESP in UDP.
    pub fn send(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> io::Result<()> {
        let fits = |s: &&Udp| s.local_addr().port() == local.port() && s.local_addr().is_ipv6() == remote.is_ipv6();
        match self.sockets.iter().find(fits) {
            Some(socket) => socket.send_batch(&[Transmit { local: local.ip(), remote, data }]).map(drop),
            None => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("no socket on port {}", local.port()))),
        }
    }
}
