//! Many datagrams per system call (`recvmmsg`, `sendmmsg`), each with the local address it came to or leaves from.

use crate::sys::{check, from_storage, set_option, to_storage};
use model::dataplane::OuterFields;
use std::cell::Cell;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;

/// Datagrams per system call.
pub const MAX_BATCH: usize = 64;

/// Room for one `in_pktinfo` or `in6_pktinfo` and one number, each with its header, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

const EMPTY_CONTROL: Control = Control([0; 64]);

/// A received datagram's addresses, and where it lies in the batch's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The address and port it was sent to (port 0 on a raw socket).
    pub local: SocketAddr,
    /// Who sent it.
    pub remote: SocketAddr,
    /// The octet of DSCP and ECN in its IP header.
    pub traffic_class: u8,
    range: Range<usize>,
}

/// Buffers for one call's datagrams; made once, used for ever.
#[derive(Debug)]
pub struct RecvBatch {
    buffer: Box<[u8]>,
    size: usize,
    received: Vec<Received>,
    truncated: u64,
}

impl RecvBatch {
    /// Room for up to `count` datagrams (at most [`MAX_BATCH`]) of up to `size` octets.
    pub fn new(count: usize, size: usize) -> Self {
        let (count, size) = (count.clamp(1, MAX_BATCH), size.max(1));
        let buffer = vec![0; count * size].into_boxed_slice();
        Self { buffer, size, received: Vec::with_capacity(count), truncated: 0 }
    }

    /// What the last call received.
    pub fn iter(&self) -> impl Iterator<Item = (&Received, &[u8])> {
        self.received.iter().map(|r| (r, self.buffer.get(r.range.clone()).unwrap_or_default()))
    }

    /// What the last call received, to be opened in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Received, &mut [u8])> {
        // The ranges lie one in each chunk, in order, so that walking the chunks gives disjoint slices.
        let size = self.size;
        let mut chunks = self.buffer.chunks_exact_mut(size).enumerate();
        self.received.iter().filter_map(move |r| {
            let slot = r.range.start / size;
            let (index, chunk) = chunks.find(|(index, _)| *index == slot)?;
            let base = index * size;
            chunk.get_mut(r.range.start - base..r.range.end - base).map(|data| (r, data))
        })
    }

    /// Datagrams since the start that did not fit and were dropped.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Reads what waits on `fd`, without blocking. `port` is the socket's own; `strip_ipv4` removes the IP header that raw
    /// IPv4 sockets deliver.
    pub(crate) fn recv(&mut self, fd: RawFd, port: u16, strip_ipv4: bool) -> io::Result<usize> {
        self.received.clear();
        let count = self.buffer.len() / self.size;
        // SAFETY: all zero is a valid value of these plain C structs.
        let mut names: [libc::sockaddr_storage; MAX_BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above; null pointers with zero lengths.
        let mut vectors: [libc::iovec; MAX_BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; MAX_BATCH] = unsafe { mem::zeroed() };
        let mut controls = [EMPTY_CONTROL; MAX_BATCH];
        for (((chunk, vector), header), (name, control)) in self
            .buffer
            .chunks_exact_mut(self.size)
            .zip(&mut vectors)
            .zip(&mut headers)
            .zip(names.iter_mut().zip(&mut controls))
        {
            vector.iov_base = chunk.as_mut_ptr().cast();
            vector.iov_len = chunk.len();
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len() as _;
        }
        // SAFETY: the first `count` headers point to distinct live buffers of the lengths they state, all outliving the call.
        let received = check(unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        })?;
        for (slot, (header, name)) in headers.iter().zip(&names).take(received).enumerate() {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                self.truncated += 1;
                continue;
            }
            let Some(remote) = from_storage(name, header.msg_hdr.msg_namelen) else { continue };
            let (Some(local), traffic_class) = told(&header.msg_hdr) else { continue };
            let start = slot * self.size;
            let end = start + (header.msg_len as usize).min(self.size);
            let skip = if strip_ipv4 {
                match self.buffer.get(start) {
                    Some(first) => usize::from(first & 0x0f) * 4,
                    None => continue,
                }
            } else {
                0
            };
            if start + skip > end {
                continue;
            }
            let local = SocketAddr::new(local, port);
            self.received.push(Received { local, remote, traffic_class, range: start + skip..end });
        }
        Ok(self.received.len())
    }
}

/// The destination address of a datagram from its packet information, and its octet of DSCP and ECN.
fn told(header: &libc::msghdr) -> (Option<IpAddr>, u8) {
    let (mut local, mut traffic_class) = (None, 0);
    // SAFETY: `header` was filled by the kernel: its control pointer and length describe whole control messages.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a message of this type carries an `in_pktinfo`; it may be unaligned.
                let info = unsafe { libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned() };
                local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: a message of this type carries an `in6_pktinfo`; it may be unaligned.
                let info = unsafe { libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().read_unaligned() };
                local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: what the kernel sends with this type is one octet (ip(7)).
                traffic_class = unsafe { libc::CMSG_DATA(message).read() };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: a message of this type carries an integer (RFC 3542 section 6.5); it may be unaligned.
                let class = unsafe { libc::CMSG_DATA(message).cast::<libc::c_int>().read_unaligned() };
                traffic_class = u8::try_from(class).unwrap_or_default();
            }
            _ => {}
        }
        // SAFETY: `message` is a header inside `header`'s control buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (local, traffic_class)
}

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The source address; unspecified lets the kernel choose. The port is the socket's own.
    pub local: IpAddr,
    /// The destination.
    pub remote: SocketAddr,
    /// The payload.
    pub data: &'a [u8],
    /// What its IP header shall be beside the addresses.
    pub outer: OuterFields,
}

/// Whether what a socket sends may be fragmented, as it was set last: the kernel has that for each socket, not for each
/// datagram.
#[derive(Debug, Default)]
pub(crate) struct Fragmenting {
    forbidden: Cell<bool>,
}

impl Fragmenting {
    /// Has the kernel send what comes next so. One that opened the socket had it allow fragments.
    fn set(&self, fd: RawFd, ipv6: bool, forbidden: bool) -> io::Result<()> {
        if self.forbidden.get() == forbidden {
            return Ok(());
        }
        // "Do": the DF bit, and EMSGSIZE for what is longer than the path's MTU as far as it is known (ip(7)).
        if ipv6 {
            let mode = if forbidden { libc::IPV6_PMTUDISC_DO } else { libc::IPV6_PMTUDISC_DONT };
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &mode)?;
        } else {
            let mode = if forbidden { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
            set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &mode)?;
        }
        self.forbidden.set(forbidden);
        Ok(())
    }
}

/// Sends `datagrams` in order, at most [`MAX_BATCH`] of them; returns how many left before the first error, and the error
/// only if none did.
pub(crate) fn send(fd: RawFd, ipv6: bool, fragmenting: &Fragmenting, datagrams: &[Transmit<'_>]) -> io::Result<usize> {
    let mut sent = 0;
    let all = datagrams.get(..datagrams.len().min(MAX_BATCH)).unwrap_or_default();
    for run in all.chunk_by(|a, b| a.outer.dont_fragment == b.outer.dont_fragment) {
        let forbidden = run.first().is_some_and(|first| first.outer.dont_fragment);
        match fragmenting.set(fd, ipv6, forbidden).and_then(|()| send_run(fd, run)) {
            Ok(some) => {
                sent += some;
                if some < run.len() {
                    break;
                }
            }
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Sends datagrams by one call. A single one, which is what mostly comes, needs no memory for many to be cleared.
fn send_run(fd: RawFd, datagrams: &[Transmit<'_>]) -> io::Result<usize> {
    match datagrams.len() {
        0 => Ok(0),
        1 => send_up_to::<1>(fd, datagrams),
        _ => send_up_to::<MAX_BATCH>(fd, datagrams),
    }
}

/// Sends the first `N` datagrams.
fn send_up_to<const N: usize>(fd: RawFd, datagrams: &[Transmit<'_>]) -> io::Result<usize> {
    // SAFETY: all zero is a valid value of these plain C structs.
    let mut names: [libc::sockaddr_storage; N] = unsafe { mem::zeroed() };
    // SAFETY: as above; null pointers with zero lengths.
    let mut vectors: [libc::iovec; N] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; N] = unsafe { mem::zeroed() };
    let mut controls = [EMPTY_CONTROL; N];
    let count = datagrams.len().min(N);
    for ((datagram, (vector, header)), (name, control)) in
        datagrams.iter().zip(vectors.iter_mut().zip(&mut headers)).zip(names.iter_mut().zip(&mut controls))
    {
        let (storage, length) = to_storage(datagram.remote);
        *name = storage;
        // The kernel only reads through this pointer.
        vector.iov_base = datagram.data.as_ptr().cast_mut().cast();
        vector.iov_len = datagram.data.len();
        header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = length;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        let mut used = 0;
        if !datagram.local.is_unspecified() && datagram.local.is_ipv4() == datagram.remote.is_ipv4() {
            used = source_control(datagram.local, control);
        }
        if datagram.outer.traffic_class != 0 {
            used += class_control(datagram.outer.traffic_class, datagram.remote.is_ipv6(), control, used);
        }
        if used > 0 {
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = used as _;
        }
    }
    // SAFETY: the first `count` headers point to live names, vectors, payloads and control messages of the lengths stated.
    check(unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT as _) })
}

/// Writes a control message behind what is there; returns how much room it takes.
fn put<T>(control: &mut Control, used: usize, level: libc::c_int, kind: libc::c_int, info: T) -> usize {
    // SAFETY: these only compute lengths.
    let (length, space) =
        unsafe { (libc::CMSG_LEN(mem::size_of::<T>() as _), libc::CMSG_SPACE(mem::size_of::<T>() as _)) };
    assert!(used.is_multiple_of(8) && used + space as usize <= control.0.len(), "control messages fit their buffer");
    // SAFETY: as asserted, `used` lies inside the buffer.
    let message = unsafe { control.0.as_mut_ptr().add(used) }.cast::<libc::cmsghdr>();
    // SAFETY: `control` and so `message` is aligned to 8 and, as asserted, has room for the header and a `T` behind it.
    unsafe {
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
    }
    space as usize
}

/// Writes the control message that chooses the source address; returns its length.
fn source_control(source: IpAddr, control: &mut Control) -> usize {
    match source {
        IpAddr::V4(source) => {
            let source = libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
            put(control, 0, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(source) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source.octets() }, ipi6_ifindex: 0 };
            put(control, 0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

/// Writes the control message with the octet of DSCP and ECN behind what is there; returns its length.
fn class_control(class: u8, ipv6: bool, control: &mut Control, used: usize) -> usize {
    let class = libc::c_int::from(class);
    match ipv6 {
        false => put(control, used, libc::IPPROTO_IP, libc::IP_TOS, class),
        true => put(control, used, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class),
    }
}
