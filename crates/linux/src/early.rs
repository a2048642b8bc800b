//! Packets of an SA that the kernel does not have yet.
//!
//! The kernel drops ESP with an unknown SPI. A tap (packet(7)) that lets through one SPI keeps a copy meanwhile; once the SA
//! is there the packet is sent to this host as it came, from the peer's address to ours, and takes the kernel's whole way:
//! integrity, window, counters. One thing it does not meet: packets that come by the loopback are exempt from policies
//! (`net.ipv4.conf.lo.disable_policy`), so whoever calls [`EarlyPacket::receive`] has checked what is inside.
//!
//! It has to be quick: what comes by the SA meanwhile moves its anti-replay window on, at a thousand packets a second over the
//! early ones in a thirtieth of a second.

use crate::SOCKET_MARK;
use crate::tap::{DROP, IPPROTO_ESP, IPPROTO_UDP, Tap, UDP_HEADER, resolved, statement};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A tap for the packets of one SPI.
#[derive(Debug)]
pub struct EarlyPackets {
    tap: Tap,
    ipv6: bool,
    encapsulated: bool,
}

/// An IP packet with ESP in it, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyPacket {
    packet: Vec<u8>,
    esp: usize,
    source: SocketAddr,
    destination: IpAddr,
}

impl EarlyPackets {
    /// Keeps from now on what comes with this SPI to an address (and port, in UDP) of ours. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(spi: u32, local: SocketAddr, encapsulated: bool) -> io::Result<Self> {
        let ipv6 = local.is_ipv6();
        let tap = Tap::open(ipv6, filter(ipv6, encapsulated.then(|| local.port()), spi))?;
        Ok(Self { tap, ipv6, encapsulated })
    }

    /// What has come since the last time, in order.
    pub fn take(&self) -> Vec<EarlyPacket> {
        let mut buffer = vec![0; 65_535];
        let mut all = Vec::new();
        while let Some(length) = self.tap.read(&mut buffer) {
            all.extend(buffer.get(..length).and_then(|packet| parse(packet, self.ipv6, self.encapsulated)));
        }
        all
    }
}

impl EarlyPacket {
    /// The ESP packet.
    pub fn esp(&self) -> &[u8] {
        self.packet.get(self.esp..).unwrap_or_default()
    }

    /// Who sent it, with the port in UDP.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Gives it to the kernel as if it came just now. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(&self) -> io::Result<()> {
        // A raw socket of this protocol takes packets with their IP header (raw(7)).
        let domain = if self.destination.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.set_nonblocking(true)?;
        socket.set_mark(SOCKET_MARK)?;
        socket.send_to(&self.packet, &SockAddr::from(SocketAddr::new(self.destination, 0))).map(drop)
    }
}

/// A classic BPF program for whole IP packets with this SPI: in UDP to this port, else right after the IP header.
fn filter(ipv6: bool, port: Option<u16>, spi: u32) -> Vec<libc::sock_filter> {
    use libc::{
        BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET, BPF_W,
    };
    let protocol = u32::from(if port.is_some() { IPPROTO_UDP } else { IPPROTO_ESP });
    let equal = |k| statement(BPF_JMP | BPF_JEQ | BPF_K, 0, DROP, k);
    let mut program = if ipv6 {
        vec![
            statement(BPF_LD | BPF_B | BPF_ABS, 0, 0, 6), // next header; with extension headers it is none of ours
            equal(protocol),
            statement(BPF_LDX | BPF_W, 0, 0, 40), // BPF_IMM is 0
        ]
    } else {
        vec![
            statement(BPF_LD | BPF_B | BPF_ABS, 0, 0, 9),
            equal(protocol),
            statement(BPF_LD | BPF_H | BPF_ABS, 0, 0, 6),
            statement(BPF_JMP | BPF_JSET | BPF_K, DROP, 0, 0x3fff), // a fragment
            statement(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0),
        ]
    };
    if let Some(port) = port {
        program.push(statement(BPF_LD | BPF_H | BPF_IND, 0, 0, 2));
        program.push(equal(port.into()));
    }
    program.push(statement(BPF_LD | BPF_W | BPF_IND, 0, 0, if port.is_some() { UDP_HEADER as u32 } else { 0 }));
    program.push(equal(spi));
    program.push(statement(BPF_RET | BPF_K, 0, 0, u32::MAX));
    program.push(statement(BPF_RET | BPF_K, 0, 0, 0));
    resolved(program)
}

/// The packet that the filter let through, without what the link put behind it.
fn parse(octets: &[u8], ipv6: bool, encapsulated: bool) -> Option<EarlyPacket> {
    let number = |at: usize| octets.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two));
    let (header, length, source, destination): (usize, usize, IpAddr, IpAddr) = if ipv6 {
        let address = |at: usize| octets.get(at..)?.first_chunk::<16>().map(|a| Ipv6Addr::from(*a));
        (40, 40 + usize::from(number(4)?), address(8)?.into(), address(24)?.into())
    } else {
        let address = |at: usize| octets.get(at..)?.first_chunk::<4>().map(|a| Ipv4Addr::from(*a));
        let header = usize::from(octets.first()? & 0xf) * 4;
        (header, number(2)?.into(), address(12)?.into(), address(16)?.into())
    };
    let (esp, port) = if encapsulated { (header + UDP_HEADER, number(header)?) } else { (header, 0) };
    let packet = octets.get(..length).filter(|packet| packet.len() > esp)?.to_vec();
    Some(EarlyPacket { packet, esp, source: SocketAddr::new(source, port), destination })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_end_at_the_last_statement() {
        for ipv6 in [false, true] {
            for port in [None, Some(4500)] {
                let program = filter(ipv6, port, 0x1234_5678);
                let last = program.len() - 1;
                assert_eq!((program[last].code, program[last].k), ((libc::BPF_RET | libc::BPF_K) as u16, 0));
                for (at, one) in program.iter().enumerate().filter(|(_, one)| one.code & 7 == libc::BPF_JMP as u16) {
                    let targets = [one.jt, one.jf].map(|jump| at + 1 + usize::from(jump));
                    assert!(targets.contains(&last) && targets.contains(&(at + 1)), "{ipv6} {port:?} {at}");
                }
            }
        }
    }

    #[test]
    fn what_the_link_adds_is_cut_off() {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 50, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1];
        packet.extend([1, 2, 3, 4, 0, 0, 0, 1, 9, 9, 9, 9]);
        let whole = parse(&packet, false, false).unwrap();
        assert_eq!((whole.esp(), whole.source().to_string().as_str()), (&packet[20..], "192.0.2.2:0"));
        packet.extend([0; 14]);
        assert_eq!(parse(&packet, false, false), Some(whole));
        for length in 0..21 {
            assert_eq!(parse(&packet[..length], false, false), None, "{length}");
        }
        assert_eq!(parse(&packet, false, true).unwrap().esp(), [9, 9, 9, 9]);
    }
}
