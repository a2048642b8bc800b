//! Who holds a UDP port: what `ss -lunp` would say.

use std::fmt;
use std::fs;
use std::net::SocketAddr;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHolder {
    /// Process ID.
    pub pid: u32,
    /// The process's name as the kernel knows it (at most 15 characters).
    pub name: String,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name)
    }
}

/// The process that holds the UDP port of `address`, if this process may know: another user's processes and those outside
/// our PID namespace cannot be seen.
pub(crate) fn udp_port_holder(address: SocketAddr) -> Option<PortHolder> {
    let table = if address.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" };
    let inodes = inodes(&fs::read_to_string(table).ok()?, address.port());
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|link| link.to_str().is_some_and(|link| wanted.iter().any(|wanted| wanted == link)));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(PortHolder { pid, name: name.trim_end().to_owned() });
        }
    }
    None
}

/// The inodes of sockets bound to `port` in a table of the format of `/proc/net/udp`.
fn inodes(table: &str, port: u16) -> Vec<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
            let inode: u64 = fields.nth(7)?.parse().ok()?;
            (u16::from_str_radix(local_port, 16).ok()? == port && inode != 0).then_some(inode)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_table() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                     \x20 111: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0000000000000000 0\n\
                     \x20 222: 0100007F:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 999 2 0000000000000000 0\n";
        assert_eq!(inodes(table, 500), [12345]);
        assert_eq!(inodes(table, 4500), [999]);
        assert_eq!(inodes(table, 1), []);
        assert_eq!(inodes("sl local\ngarbage\n1: x:y z", 500), []);
    }

    #[test]
    fn finds_this_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let holder = udp_port_holder(socket.local_addr().unwrap()).unwrap();
        assert_eq!(holder.pid, std::process::id());
    }
}
