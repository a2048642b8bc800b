//! ESP whose SPI the kernel does not know.
//!
//! The kernel counts such a packet (`XfrmInNoStates`) and drops it without a word. A tap (packet(7)) that is there for a
//! moment shows who sends it and by which SPI. Its filter lets through ESP to this host only, as it is (RFC 4303) and in UDP
//! (RFC 3948), of the senders that are asked for, and no more of each packet than its headers. What it shows is not proven:
//! anybody can send it in anybody's name.

use crate::tap::{DROP, IPPROTO_ESP, IPPROTO_UDP, Tap, UDP_HEADER, resolved, statement};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// So many packets are read at once.
const MOST: usize = 256;

/// So many senders go into a filter; with more it lets everybody through. Its jumps are of one octet.
const MOST_SENDERS: usize = 32;

/// So much of a packet is kept: the longest IPv4 header, that of UDP, and the SPI.
const KEPT: u32 = 60 + 8 + 4;

/// A tap for ESP to this host, of one family.
#[derive(Debug)]
pub struct StrayEsp {
    tap: Tap,
    ipv6: bool,
}

/// What the headers of an ESP packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StrayPacket {
    /// Its Security Parameter Index.
    pub spi: u32,
    /// Who sent it, with the port if it is in UDP, else 0.
    pub source: SocketAddr,
    /// To which address of ours.
    pub destination: IpAddr,
}

impl StrayEsp {
    /// Shows from now on ESP from these senders, bare or in UDP to `nat_port`. The filter takes a few senders and tells those
    /// of IPv6 by their ends: look at [`StrayPacket::source`]. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(ipv6: bool, nat_port: u16, senders: &[IpAddr]) -> io::Result<Self> {
        Ok(Self { tap: Tap::open(ipv6, filter(ipv6, nat_port, senders))?, ipv6 })
    }

    /// What has come since the last call, in order; not more than a few hundred packets.
    pub fn read(&mut self) -> Vec<StrayPacket> {
        let mut buffer = [0; KEPT as usize];
        let mut all = Vec::new();
        for _ in 0..MOST {
            let Some(length) = self.tap.read(&mut buffer) else { break };
            all.extend(buffer.get(..length).and_then(|packet| parse(packet, self.ipv6)));
        }
        all
    }
}

/// A classic BPF program for whole IP packets: ESP to this host from these senders, with an SPI that is not zero (RFC 3948
/// section 2.2: in UDP that is IKE). A keepalive is too short to have one.
fn filter(ipv6: bool, nat_port: u16, senders: &[IpAddr]) -> Vec<libc::sock_filter> {
    use libc::{
        BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
        BPF_W,
    };
    let one = statement;
    let load = |size: u32, at: u32| one(BPF_LD | size | BPF_ABS, 0, 0, at);
    let load_behind = |size: u32, at: u32| one(BPF_LD | size | BPF_IND, 0, 0, at);
    let equal = |k: u32, jt: u8, jf: u8| one(BPF_JMP | BPF_JEQ | BPF_K, jt, jf, k);
    let mut program = vec![
        load(BPF_B, (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32),
        equal(u32::from(libc::PACKET_HOST), 0, DROP),
    ];
    let mut words: Vec<u32> = senders.iter().filter_map(|sender| last_word(*sender, ipv6)).collect();
    words.sort_unstable();
    words.dedup();
    if words.len() <= MOST_SENDERS {
        program.push(load(BPF_W, if ipv6 { 20 } else { 12 }));
        for (at, word) in words.iter().enumerate() {
            let behind = (words.len() - 1 - at) as u8; // how many there are still
            program.push(equal(*word, behind, if behind == 0 { DROP } else { 0 }));
        }
    }
    if ipv6 {
        program.push(one(BPF_LDX | BPF_W, 0, 0, 40)); // BPF_IMM is 0; with extension headers it is none of ours
        program.push(load(BPF_B, 6));
    } else {
        program.push(load(BPF_H, 6));
        program.push(one(BPF_JMP | BPF_JSET | BPF_K, DROP, 0, 0x1fff)); // a fragment that is not the first
        program.push(one(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0));
        program.push(load(BPF_B, 9));
    }
    program.extend([
        equal(IPPROTO_ESP.into(), 5, 0), // to where its SPI is loaded
        equal(IPPROTO_UDP.into(), 0, DROP),
        load_behind(BPF_H, 2),
        equal(nat_port.into(), 0, DROP),
        load_behind(BPF_W, UDP_HEADER as u32),
        one(BPF_JMP | BPF_JA, 0, 0, 1),
        load_behind(BPF_W, 0),
        equal(0, DROP, 0),
        one(BPF_RET | BPF_K, 0, 0, KEPT),
        one(BPF_RET | BPF_K, 0, 0, 0),
    ]);
    resolved(program)
}

/// The last four octets of an address of this family.
fn last_word(address: IpAddr, ipv6: bool) -> Option<u32> {
    match address {
        IpAddr::V4(address) => (!ipv6).then_some(address.to_bits()),
        IpAddr::V6(address) => ipv6.then_some(address.to_bits() as u32),
    }
}

/// What the filter let through.
fn parse(octets: &[u8], ipv6: bool) -> Option<StrayPacket> {
    let (header, protocol, source, destination): (usize, u8, IpAddr, IpAddr) = if ipv6 {
        let address = |at: usize| octets.get(at..)?.first_chunk::<16>().map(|a| Ipv6Addr::from(*a));
        (40, *octets.get(6)?, address(8)?.into(), address(24)?.into())
    } else {
        let address = |at: usize| octets.get(at..)?.first_chunk::<4>().map(|a| Ipv4Addr::from(*a));
        let header = usize::from(octets.first()? & 0xf) * 4;
        (header, *octets.get(9)?, address(12)?.into(), address(16)?.into())
    };
    let (esp, port) = match protocol {
        IPPROTO_ESP => (header, 0),
        IPPROTO_UDP => (header + UDP_HEADER, u16::from_be_bytes(*octets.get(header..)?.first_chunk()?)),
        _ => return None,
    };
    let spi = u32::from_be_bytes(*octets.get(esp..)?.first_chunk()?);
    Some(StrayPacket { spi, source: SocketAddr::new(source, port), destination })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does (Documentation/networking/filter.rst): how much of the packet is kept.
    fn run(program: &[libc::sock_filter], packet: &[u8], kind: u8) -> u32 {
        let number = |at: usize, size: u32| match size {
            libc::BPF_B => packet.get(at).map(|octet| u32::from(*octet)),
            libc::BPF_H => packet.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two).into()),
            _ => packet.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four)),
        };
        let (mut a, mut x, mut at) = (0, 0, 0);
        loop {
            let one = &program[at];
            let (code, k) = (u32::from(one.code), one.k);
            at += 1;
            match code & 7 {
                libc::BPF_LD if k == (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32 => a = kind.into(),
                libc::BPF_LD => {
                    let base = if code & 0xe0 == libc::BPF_IND { x } else { 0 };
                    let Some(value) = number((base + k) as usize, code & 0x18) else { return 0 };
                    a = value;
                }
                libc::BPF_LDX if code & 0xe0 == libc::BPF_MSH => x = (u32::from(packet[k as usize]) & 0xf) * 4,
                libc::BPF_LDX => x = k,
                libc::BPF_JMP => {
                    let jump = match code & 0xf0 {
                        libc::BPF_JA => k as usize,
                        libc::BPF_JEQ => usize::from(if a == k { one.jt } else { one.jf }),
                        libc::BPF_JSET => usize::from(if a & k != 0 { one.jt } else { one.jf }),
                        _ => panic!("{code:#x}"),
                    };
                    at += jump;
                }
                libc::BPF_RET => return k,
                _ => panic!("{code:#x}"),
            }
        }
    }

    fn v4(source: [u8; 4], protocol: u8, options: usize, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45 + (options / 4) as u8, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend(source);
        packet.extend([192, 0, 2, 1]);
        packet.resize(packet.len() + options, 1);
        packet.extend(payload);
        packet
    }

    fn v6(source: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        packet.extend(source.octets());
        packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(payload);
        packet
    }

    const ESP: [u8; 8] = [0xc0, 0xff, 0xee, 1, 0, 0, 0, 1];
    /// From port 4501 to 4500.
    const UDP: [u8; 8] = [0x11, 0x95, 0x11, 0x94, 0, 0, 0, 0];
    const PEER: [u8; 4] = [192, 0, 2, 2];

    #[test]
    fn esp_of_the_senders_to_this_host_passes_and_nothing_else() {
        let peer = IpAddr::from(PEER);
        let program = filter(false, 4500, &[[198, 51, 100, 1].into(), peer, [198, 51, 100, 2].into()]);
        let udp = |payload: &[u8]| [&UDP, payload].concat();
        let mut later = v4(PEER, 50, 0, &ESP);
        later[7] = 1;
        let mut first = v4(PEER, 50, 0, &ESP);
        first[6] = 0x20;
        let host = libc::PACKET_HOST;
        for (passes, kind, packet, why) in [
            (true, host, v4(PEER, 50, 0, &ESP), "ESP"),
            (true, host, v4(PEER, 50, 8, &ESP), "behind options"),
            (true, host, first, "the first fragment"),
            (true, host, v4(PEER, 17, 0, &udp(&ESP)), "in UDP"),
            (true, host, v4(PEER, 17, 40, &udp(&ESP)), "in UDP behind options"),
            (false, libc::PACKET_OTHERHOST, v4(PEER, 50, 0, &ESP), "to another host"),
            (false, libc::PACKET_OUTGOING, v4(PEER, 50, 0, &ESP), "ours"),
            (false, host, v4([192, 0, 2, 3], 50, 0, &ESP), "of somebody else"),
            (false, host, later, "no SPI is in a later fragment"),
            (false, host, v4(PEER, 51, 0, &ESP), "AH"),
            (false, host, v4(PEER, 17, 0, &udp(&[0, 0, 0, 0, 1, 2, 3, 4])), "IKE"),
            (false, host, v4(PEER, 17, 0, &udp(&[0xff])), "a keepalive"),
            (false, host, v4(PEER, 17, 0, &[&[0x11, 0x94, 0x11, 0x95, 0, 0, 0, 0], &ESP[..]].concat()), "other port"),
            (false, host, v4(PEER, 50, 0, &ESP[..3]), "cut short"),
        ] {
            assert_eq!(run(&program, &packet, kind), if passes { KEPT } else { 0 }, "{why}");
        }
        let peer = "2001:db8::2".parse().unwrap();
        let program = filter(true, 4500, &[IpAddr::V6(peer), IpAddr::from(PEER)]);
        assert_eq!(run(&program, &v6(peer, 50, &ESP), host), KEPT);
        assert_eq!(run(&program, &v6(peer, 17, &udp(&ESP)), host), KEPT);
        assert_eq!(run(&program, &v6(peer, 17, &udp(&[0xff])), host), 0);
        assert_eq!(run(&program, &v6("2001:db8::3".parse().unwrap(), 50, &ESP), host), 0);
    }

    #[test]
    fn with_too_many_senders_everybody_passes() {
        let many = |n: u8| (0..n).map(|n| IpAddr::from([198, 51, 100, n])).collect::<Vec<_>>();
        for (senders, passes) in [(many(MOST_SENDERS as u8), false), (many(MOST_SENDERS as u8 + 1), true)] {
            let program = filter(false, 4500, &senders);
            assert_eq!(run(&program, &v4(PEER, 50, 0, &ESP), libc::PACKET_HOST) != 0, passes);
            let one_of_them = v4([198, 51, 100, 31], 50, 0, &ESP);
            assert_eq!(run(&program, &one_of_them, libc::PACKET_HOST), KEPT);
            assert_eq!(run(&program, &v4(PEER, 6, 0, &ESP), libc::PACKET_HOST), 0);
        }
    }

    #[test]
    fn headers_say_who_sent_it_by_which_spi() {
        let told = |source: &str, spi, ipv6| {
            let ours = if ipv6 { "2001:db8::1" } else { "192.0.2.1" };
            Some(StrayPacket { spi, source: source.parse().unwrap(), destination: ours.parse().unwrap() })
        };
        assert_eq!(parse(&v4(PEER, 50, 8, &ESP), false), told("192.0.2.2:0", 0xc0ff_ee01, false));
        let in_udp = [&UDP[..], &ESP].concat();
        let longest = v4(PEER, 17, 40, &in_udp);
        assert_eq!(parse(&longest[..KEPT as usize], false), told("192.0.2.2:4501", 0xc0ff_ee01, false));
        let peer = "2001:db8::2".parse().unwrap();
        assert_eq!(parse(&v6(peer, 50, &ESP), true), told("[2001:db8::2]:0", 0xc0ff_ee01, true));
        assert_eq!(parse(&v6(peer, 17, &in_udp), true), told("[2001:db8::2]:4501", 0xc0ff_ee01, true));
        assert_eq!(parse(&v4(PEER, 6, 0, &ESP), false), None);
        for whole in [v4(PEER, 17, 40, &in_udp[..12]), v6(peer, 17, &in_udp[..12])] {
            let ipv6 = whole[0] == 0x60;
            assert!((0..whole.len()).all(|length| parse(&whole[..length], ipv6).is_none()));
        }
    }
}
