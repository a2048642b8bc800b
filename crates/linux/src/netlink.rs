//! A small netlink codec and socket (RFC 3549): requests with attributes, acknowledgements with the kernel's own words.
//!
//! Requests and replies may hold keys, so all buffers are zeroised when they are dropped.

use crate::sys::{check, check_size, set_option};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use zeroize::Zeroizing;

const HEADER: usize = 16;
const ALIGN: usize = 4;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// Flags of a request that makes something new.
pub(crate) const CREATE: u16 = 0x400;
/// ... and fails if it is there already.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// ... and replaces what is there.
pub(crate) const REPLACE: u16 = 0x100;
/// A request for the whole table.
pub(crate) const DUMP: u16 = 0x300;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// In an acknowledgement: the request is not repeated; attributes follow.
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

const SOL_NETLINK: libc::c_int = 270;
const NETLINK_ADD_MEMBERSHIP: libc::c_int = 1;
const NETLINK_DROP_MEMBERSHIP: libc::c_int = 2;
const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;
const NETLINK_GET_STRICT_CHK: libc::c_int = 12;

/// Set in the type of an attribute that contains attributes.
const NESTED: u16 = 0x8000;

/// The kernel refused a netlink request.
#[derive(Debug)]
pub struct NetlinkError {
    /// The error number's meaning.
    pub source: io::Error,
    /// What the kernel says beside it, if anything.
    pub message: Option<String>,
}

impl NetlinkError {
    /// Whether it is this `errno`.
    pub(crate) fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

impl From<io::Error> for NetlinkError {
    fn from(source: io::Error) -> Self {
        Self { source, message: None }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        match &self.message {
            Some(message) => write!(f, " (the kernel says: {message})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NetlinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A request under construction.
pub(crate) struct Request {
    octets: Zeroizing<Vec<u8>>,
}

impl Request {
    /// A request of `kind` with `flags` (without REQUEST and ACK, which are added).
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        // Large enough that nothing with a key in it is ever moved.
        let mut octets = Zeroizing::new(Vec::with_capacity(16384));
        octets.extend_from_slice(&0u32.to_ne_bytes());
        octets.extend_from_slice(&kind.to_ne_bytes());
        octets.extend_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        octets.extend_from_slice(&[0; 8]);
        Self { octets }
    }

    /// Appends the message's fixed part.
    pub(crate) fn put(&mut self, octets: &[u8]) -> &mut Self {
        self.octets.extend_from_slice(octets);
        self.pad()
    }

    /// Appends an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (value.len() + 4) as u16; // our own attributes are short
        self.octets.extend_from_slice(&length.to_ne_bytes());
        self.octets.extend_from_slice(&kind.to_ne_bytes());
        self.octets.extend_from_slice(value);
        self.pad()
    }

    /// Appends an attribute of attributes, which `content` adds.
    pub(crate) fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.octets.len();
        self.octets.extend_from_slice(&[0; 2]);
        self.octets.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        content(self);
        let length = (self.octets.len() - start) as u16; // our own attributes are short
        if let Some(place) = self.octets.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }

    fn pad(&mut self) -> &mut Self {
        let length = self.octets.len().next_multiple_of(ALIGN);
        self.octets.resize(length, 0);
        self
    }

    /// Has the kernel answer only if it refuses.
    fn quietly(&mut self) {
        if let Some(flags) = self.octets.get_mut(6..8) {
            let quiet = flags.first_chunk().map_or(0, |two| u16::from_ne_bytes(*two)) & !NLM_F_ACK;
            flags.copy_from_slice(&quiet.to_ne_bytes());
        }
    }

    fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = self.octets.len() as u32;
        let dump = self.octets.get(6..8).is_some_and(|f| u16::from_ne_bytes([f[0], f[1]]) & DUMP == DUMP);
        if dump {
            // A dump ends with DONE; an acknowledgement would come on top.
            if let Some(flags) = self.octets.get_mut(6..8) {
                flags.copy_from_slice(&(DUMP | NLM_F_REQUEST).to_ne_bytes());
            }
        }
        if let Some(place) = self.octets.get_mut(0..4) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        if let Some(place) = self.octets.get_mut(8..12) {
            place.copy_from_slice(&sequence.to_ne_bytes());
        }
        &self.octets
    }
}

/// A message from the kernel: its type and what follows the header.
pub(crate) struct Reply {
    pub(crate) kind: u16,
    octets: Zeroizing<Vec<u8>>,
}

impl Reply {
    #[cfg(test)]
    pub(crate) fn new(kind: u16, octets: &[u8]) -> Self {
        Self { kind, octets: Zeroizing::new(octets.to_vec()) }
    }

    /// The fixed part, of `length` octets; `None` if the message is shorter.
    pub(crate) fn fixed(&self, length: usize) -> Option<&[u8]> {
        self.octets.get(..length)
    }

    /// The attributes behind a fixed part of `length` octets.
    pub(crate) fn attributes(&self, length: usize) -> Attributes<'_> {
        Attributes(self.octets.get(length.next_multiple_of(ALIGN)..).unwrap_or_default())
    }
}

/// Walks attributes; stops at the first that contradicts itself.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of `kind`.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// As [`get`](Self::get), as a number.
    pub(crate) fn get_u32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[l0, l1, k0, k1] = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & !NESTED, value))
    }
}

/// Splits a datagram from the kernel into messages: (type, flags, sequence, content).
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = self.0.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let content = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((
            u16::from_ne_bytes([k0, k1]),
            u16::from_ne_bytes([f0, f1]),
            u32::from_ne_bytes([s0, s1, s2, s3]),
            content,
        ))
    }
}

/// Notices that wait for us fill so many octets at most, as far as the kernel lets us: what comes on top of them is lost.
const NOTICES: libc::c_int = 1 << 20;

/// So many notices are handed out at once; more are lost, as if the kernel had had no room.
const MOST_NOTICES: usize = 1 << 16;

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    /// Notices were lost, and nobody has asked since.
    lost: bool,
}

impl Socket {
    /// A socket for requests; `groups` subscribes to multicast groups (bit n-1 for group n) and makes it non-blocking.
    pub(crate) fn open(protocol: libc::c_int, groups: u32) -> io::Result<Self> {
        let non_blocking = if groups == 0 { 0 } else { libc::SOCK_NONBLOCK };
        // SAFETY: integers only.
        let fd = check(unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | non_blocking, protocol)
        })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        // SAFETY: all zero is a valid `sockaddr_nl`.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = groups;
        // SAFETY: a live address of the size stated.
        check(unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        })?;
        let on: libc::c_int = 1;
        // Both make errors better and are missing only on kernels older than 4.12. CAP_ACK: keys are not echoed.
        let _ = set_option(fd.as_raw_fd(), SOL_NETLINK, NETLINK_CAP_ACK, &on);
        let _ = set_option(fd.as_raw_fd(), SOL_NETLINK, NETLINK_EXT_ACK, &on);
        // The kernel answers at once; this only keeps a kernel bug from hanging us.
        let patience = libc::timeval { tv_sec: 5, tv_usec: 0 };
        set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
        if groups != 0 {
            // FORCE goes beyond the system's limit, for those who may. With less than we ask for more may be lost, no more.
            let force = set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &NOTICES);
            let _ = force.or_else(|_| set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &NOTICES));
        }
        Ok(Self { fd, sequence: 0, lost: false })
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Subscribes to a multicast group, or ends that.
    pub(crate) fn subscribe(&self, group: u8, on: bool) -> io::Result<()> {
        let option = if on { NETLINK_ADD_MEMBERSHIP } else { NETLINK_DROP_MEMBERSHIP };
        set_option(self.fd.as_raw_fd(), SOL_NETLINK, option, &libc::c_int::from(group))
    }

    /// Has the kernel obey what a request for a table says that it is for, instead of listing all there is.
    pub(crate) fn strict(&self, on: bool) -> io::Result<()> {
        set_option(self.fd.as_raw_fd(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &libc::c_int::from(on))
    }

    /// Sends a request and collects the replies up to its acknowledgement.
    pub(crate) fn request(&mut self, mut request: Request) -> Result<Vec<Reply>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let octets = request.finish(self.sequence);
        // SAFETY: the request's own pointer and length; the kernel only reads.
        check_size(unsafe { libc::send(self.fd.as_raw_fd(), octets.as_ptr().cast(), octets.len(), 0) })?;
        let mut replies = Vec::new();
        let mut buffer = Zeroizing::new(vec![0; 65536]);
        loop {
            let length = self.receive(&mut buffer)?;
            for (kind, flags, sequence, content) in Messages(buffer.get(..length).unwrap_or_default()) {
                if sequence != self.sequence {
                    continue; // left over from a request that timed out
                }
                match kind {
                    NLMSG_ERROR => return acknowledged(content, flags).map(|()| replies),
                    NLMSG_DONE => return listed(content).map(|()| replies),
                    _ => replies.push(Reply { kind, octets: Zeroizing::new(content.to_vec()) }),
                }
            }
        }
    }

    /// Sends requests that the kernel carries out all or none (a batch of nfnetlink), between the marks that begin and end it.
    pub(crate) fn transaction(&mut self, mut requests: Vec<Request>) -> Result<(), NetlinkError> {
        // The last one before the mark at the end is acknowledged, and any that is refused.
        let acknowledged_one = requests.len().saturating_sub(2);
        let (first, mut last) = (self.sequence.wrapping_add(1), self.sequence);
        let mut octets = Zeroizing::new(Vec::new());
        for (at, request) in requests.iter_mut().enumerate() {
            if at != acknowledged_one {
                request.quietly();
            }
            self.sequence = self.sequence.wrapping_add(1);
            octets.extend_from_slice(request.finish(self.sequence));
            if at == acknowledged_one {
                last = self.sequence;
            }
        }
        // SAFETY: the requests' own pointer and length; the kernel only reads.
        check_size(unsafe { libc::send(self.fd.as_raw_fd(), octets.as_ptr().cast(), octets.len(), 0) })?;
        let own = self.sequence.wrapping_sub(first);
        let mut buffer = Zeroizing::new(vec![0; 65536]);
        loop {
            let length = self.receive(&mut buffer)?;
            for (kind, flags, sequence, content) in Messages(buffer.get(..length).unwrap_or_default()) {
                if kind == NLMSG_ERROR && sequence.wrapping_sub(first) <= own {
                    acknowledged(content, flags)?;
                    if sequence == last {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The notifications that wait; empty if none do. Whether some were lost says [`take_lost`](Self::take_lost).
    ///
    /// It reads until nothing waits, also behind a loss (`ENOBUFS`): until then the kernel adds no more, and who waits for an
    /// edge is not woken again.
    pub(crate) fn notifications(&mut self) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        let mut buffer = Zeroizing::new(vec![0; 65536]);
        loop {
            match self.receive(&mut buffer) {
                Ok(_) if replies.len() >= MOST_NOTICES => self.lost = true,
                Ok(length) => replies.extend(
                    Messages(buffer.get(..length).unwrap_or_default())
                        .map(|(kind, _, _, content)| Reply { kind, octets: Zeroizing::new(content.to_vec()) }),
                ),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.lost = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(replies),
                // What was read counts; the error, if it lasts, comes back with the next call.
                Err(_) if !replies.is_empty() => return Ok(replies),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether notifications were lost since the last call, for they came faster than they were read.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // SAFETY: all zero is a valid `sockaddr_nl`.
            let mut from: libc::sockaddr_nl = unsafe { mem::zeroed() };
            let mut from_length = mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: the buffer's own pointer and length, an address and its length; all outlive the call.
            let length = check_size(unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut from_length,
                )
            });
            match length {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Only the kernel (port 0) is believed.
                Ok(_) if from.nl_pid != 0 => {}
                other => return other,
            }
        }
    }
}

/// What an acknowledgement says.
fn acknowledged(content: &[u8], flags: u16) -> Result<(), NetlinkError> {
    let Some((code, rest)) = content.split_first_chunk::<4>() else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    };
    let errno = i32::from_ne_bytes(*code).wrapping_neg();
    if errno == 0 {
        return Ok(());
    }
    let message = (flags & NLM_F_ACK_TLVS != 0).then_some(()).and_then(|()| {
        // The request's header follows, and the rest of the request unless the kernel capped it.
        let request = rest.first_chunk::<4>().map(|octets| u32::from_ne_bytes(*octets) as usize)?;
        let skip = if flags & NLM_F_CAPPED != 0 { HEADER } else { request.next_multiple_of(ALIGN) };
        let text = Attributes(rest.get(skip..)?).get(NLMSGERR_ATTR_MSG)?;
        Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    });
    Err(NetlinkError { source: io::Error::from_raw_os_error(errno), message })
}

/// The end of a list: it has the error that ended it early, if any.
fn listed(content: &[u8]) -> Result<(), NetlinkError> {
    let errno = content.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code).wrapping_neg());
    if errno > 0 { Err(io::Error::from_raw_os_error(errno).into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_round_trip() {
        let mut request = Request::new(0x10, CREATE);
        request.put(&[1, 2, 3, 4]).attribute(5, b"abcde").nested(7, |inner| {
            inner.attribute(1, &9u32.to_ne_bytes());
        });
        let octets = request.finish(77).to_vec();
        let messages: Vec<_> = Messages(&octets).collect();
        let &[(kind, flags, sequence, content)] = &messages[..] else { panic!("one message") };
        assert_eq!((kind, flags, sequence), (0x10, CREATE | NLM_F_REQUEST | NLM_F_ACK, 77));
        let attributes = Attributes(&content[4..]);
        assert_eq!(attributes.get(5), Some(&b"abcde"[..]));
        assert_eq!(attributes.get(7).and_then(|inner| Attributes(inner).get_u32(1)), Some(9));
        assert_eq!(attributes.get(6), None);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        for octets in [&[0u8, 0, 1, 0][..], &[3, 0, 1, 0], &[9, 0, 1, 0, 1], &[4, 0, 1]] {
            assert_eq!(Attributes(octets).count(), 0, "{octets:?}");
        }
        for length in [0u32, 15, 17] {
            let mut octets = [0; HEADER];
            octets[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Messages(&octets).count(), 0, "{length}");
        }
    }

    #[test]
    fn the_kernels_words_are_kept() {
        let mut content = (-libc::EINVAL).to_ne_bytes().to_vec();
        content.extend([0; HEADER]);
        content.extend([12, 0, 1, 0]);
        content.extend(b"no key\0\0");
        let error = acknowledged(&content, NLM_F_CAPPED | NLM_F_ACK_TLVS).unwrap_err();
        assert!(error.is(libc::EINVAL));
        assert_eq!(error.message.as_deref(), Some("no key"));
        assert!(acknowledged(&[0; 20], 0).is_ok());
        assert!(acknowledged(&[0; 3], 0).is_err());
    }

    /// A namespace, or `None` (said aloud) without the privilege.
    fn namespace() -> Option<crate::Namespace> {
        match crate::Namespace::anonymous() {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                eprintln!("SKIP: {error}");
                assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {error}");
                None
            }
        }
    }

    #[test]
    fn who_has_lost_notices_hears_of_it_and_of_what_comes_after() {
        let Some(namespace) = namespace() else { return };
        let overflow = || {
            let mut routes = crate::Routes::open().unwrap();
            let lo = crate::Routes::interface_index("lo").unwrap();
            let mut change = |times: u32| {
                for _ in 0..times {
                    routes.set_link(lo, Some(true), None).unwrap();
                    routes.set_link(lo, Some(false), None).unwrap();
                }
            };
            let mut socket = Socket::open(libc::NETLINK_ROUTE, 1).unwrap();
            let mut changes = crate::NetworkChanges::open().unwrap();
            let small: libc::c_int = 4096;
            for fd in [socket.as_raw_fd(), changes.as_raw_fd()] {
                set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &small).unwrap();
            }
            change(1);
            let few = (socket.notifications().unwrap().is_empty(), socket.take_lost(), changes.changed());
            change(2000);
            let many = (socket.notifications().unwrap().is_empty(), socket.take_lost(), changes.changed());
            let none = (socket.notifications().unwrap().is_empty(), socket.take_lost(), changes.changed());
            change(1);
            let after = (socket.notifications().unwrap().is_empty(), socket.take_lost(), changes.changed());
            (few, many, none, after)
        };
        let (few, many, none, after) = namespace.run(overflow).unwrap();
        assert_eq!(few, (false, false, true));
        assert_eq!(many, (false, true, true), "what fitted is there, and what did not is known to be lost");
        assert_eq!(none, (true, false, false));
        assert_eq!(after, (false, false, true), "the next change is told");
    }

    #[test]
    fn sockets_for_notices_have_room_for_many() {
        let room = |groups| {
            let socket = Socket::open(libc::NETLINK_ROUTE, groups).unwrap();
            crate::sys::get_number(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF).unwrap()
        };
        assert!(room(1) >= NOTICES || room(1) > room(0), "{} against {}", room(1), room(0));
    }
}
