//! Sockets that see the IP packets which a filter lets through (packet(7)).

use crate::sys::{check, set_option};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read};
use std::mem;
use std::os::fd::AsRawFd;
use std::thread;

/// Octets of kernel buffer: what comes beyond that is not seen.
const BUFFER: libc::c_int = 256 << 10;

pub(crate) const IPPROTO_ESP: u8 = 50;
pub(crate) const IPPROTO_UDP: u8 = 17;
pub(crate) const UDP_HEADER: usize = 8;

/// Stands in a filter for the way to its last statement, which drops.
pub(crate) const DROP: u8 = u8::MAX;

/// A tap for the packets of one family. It is closed in a thread of its own: the kernel makes whoever closes it wait until no
/// processor delivers packets to it any more, tens of milliseconds.
#[derive(Debug)]
pub(crate) struct Tap(Option<Socket>);

impl Tap {
    /// Sees from now on what this classic BPF program lets through of whole IP packets. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn open(ipv6: bool, mut program: Vec<libc::sock_filter>) -> io::Result<Self> {
        let ethertype = if ipv6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP } as u16;
        // Without a protocol it receives nothing until the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &BUFFER)?;
        let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
        set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
        // SAFETY: `sockaddr_ll` is plain old data, for which zeros are valid.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        (address.sll_family, address.sll_protocol) = (libc::AF_PACKET as libc::c_ushort, ethertype.to_be());
        let length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: a live address with its exact size; the kernel only reads it.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Self(Some(socket)))
    }

    /// The next packet's length, if one is there.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        self.0.as_ref()?.read(buffer).ok()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let socket = self.0.take();
        // Without a thread it is closed here, which takes longer: what is given to one that does not start is dropped.
        let _ = thread::Builder::new().name("close".into()).stack_size(64 << 10).spawn(move || drop(socket));
    }
}

/// One statement of a program.
pub(crate) fn statement(code: u32, jump_true: u8, jump_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k }
}

/// The program with the way to its end in place of [`DROP`].
pub(crate) fn resolved(mut program: Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    let last = program.len() - 1;
    for (at, one) in program.iter_mut().enumerate() {
        for jump in [&mut one.jt, &mut one.jf] {
            if *jump == DROP {
                *jump = (last - at - 1) as u8; // relative to the next one; there are some fifty at most
            }
        }
    }
    program
}
