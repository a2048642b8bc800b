//! The seam to libc: return values as results, socket addresses as octets.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A system call's return value, -1 meaning `errno`.
pub(crate) fn check(returned: libc::c_int) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// As [`check`], for calls that return a size.
pub(crate) fn check_size(returned: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Sets an option whose value is a plain C struct or integer.
pub(crate) fn set_option<T: Copy>(fd: libc::c_int, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is a live `T` and its exact size is passed; the kernel only reads it.
    check(unsafe {
        libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), mem::size_of::<T>() as libc::socklen_t)
    })
    .map(drop)
}

/// Reads an option whose value is an integer.
pub(crate) fn get_number(fd: libc::c_int, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let (mut value, mut length): (libc::c_int, _) = (0, mem::size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: `value` and `length` are live, and the kernel writes no more than the length that is passed.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}

/// A `sockaddr_storage` and how much of it is used.
pub(crate) fn to_storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    let address = socket2::SockAddr::from(address);
    let length = address.len();
    // SAFETY: socket2's storage has the layout of `sockaddr_storage`, both are plain old data of the same size, which
    // `transmute_copy` of a reference reads whole.
    (unsafe { mem::transmute_copy(&address.as_storage()) }, length)
}

/// The address in a `sockaddr_storage` that the kernel filled; `None` if it is of another family or short.
pub(crate) fn from_storage(storage: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET if length >= mem::size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family says that the storage, which is larger and at least as aligned, holds a `sockaddr_in`.
            let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            Some(SocketAddrV4::new(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()), u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 if length >= mem::size_of::<libc::sockaddr_in6>() => {
            // SAFETY: the family says that the storage, which is larger and at least as aligned, holds a `sockaddr_in6`.
            let v6 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The octets of an address in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address from 4 or 16 octets (or more, of which the family says how many count).
pub(crate) fn address(family: u8, octets: &[u8]) -> Option<IpAddr> {
    match libc::c_int::from(family) {
        libc::AF_INET => octets.first_chunk::<4>().map(|o| Ipv4Addr::from(*o).into()),
        libc::AF_INET6 => octets.first_chunk::<16>().map(|o| Ipv6Addr::from(*o).into()),
        _ => None,
    }
}

/// `AF_INET` or `AF_INET6`, as netlink's headers have it.
pub(crate) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// The bits of an address of its family: the prefix of a host route.
pub(crate) fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The index of a network interface.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The name of a network interface.
pub(crate) fn interface_name(index: u32) -> io::Result<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE octets that the function may write.
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    let end = name.iter().position(|&octet| octet == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_round_trip() {
        for text in ["192.0.2.1:500", "[2001:db8::1]:4500", "[fe80::1%3]:500"] {
            let address: SocketAddr = text.parse().unwrap();
            let (storage, length) = to_storage(address);
            assert_eq!(from_storage(&storage, length), Some(address));
            assert_eq!(from_storage(&storage, 2), None);
        }
    }

    #[test]
    fn the_loopback_interface_has_a_name_and_an_index() {
        let index = interface_index("lo").unwrap();
        assert_eq!(interface_name(index).unwrap(), "lo");
        assert!(interface_index("no-such-if").is_err());
    }
}
