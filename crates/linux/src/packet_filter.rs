//! A small packet filter (nf_tables) for what comes in for this host itself and is to be dropped: no rule of routing says so,
//! for the kernel's table of own addresses is before all rules.
//!
//! The table belongs to the netlink socket that made it (`NFT_TABLE_F_OWNER`, Linux 5.12): nobody else changes it, whoever
//! flushes the ruleset leaves it, and it goes with the socket, even if the program is killed. It has one chain:
//!
//! ```text
//! table inet shrike0 {
//!     chain input {
//!         type filter hook input priority filter; policy accept;
//!         iifname { "lo", "shrike0" } accept
//!         meta l4proto esp accept
//!         udp dport { 500, 4500 } accept
//!         icmpv6 type 133-137 accept
//!         icmp: fragmentation needed, icmpv6: packet too big, about ESP or about UDP from these ports: accept
//!         ip saddr 192.0.2.0-192.0.2.255 ip daddr 10.1.0.0-10.1.255.255 tcp dport 22 accept
//!         ip saddr 0.0.0.0-255.255.255.255 ip daddr 10.1.0.0-10.1.255.255 drop
//!     }
//! }
//! ```

use crate::netlink::{CREATE, NetlinkError, Request, Socket};
use crate::sys;
use model::TrafficSelector;
use model::dataplane::InterfaceName;
use std::net::IpAddr;

const NETLINK_NETFILTER: libc::c_int = 12;

// include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;
const NLM_F_APPEND: u16 = 0x800;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_OWNED: u32 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const LOCAL_IN: u32 = 1;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
const META_INPUT_NAME: u32 = 6;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

const CHAIN: &[u8] = b"input\0";
const ESP: u8 = 50;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Router and neighbour discovery (RFC 4861 section 4): without it a host has no IPv6 at all.
const DISCOVERY: (u8, u8) = (133, 137);

/// What a rule compares.
enum Term {
    Input(InterfaceName),
    Family(u8),
    Protocol(u8),
    /// Octets of a header, at an offset, within these bounds.
    Within {
        base: u32,
        offset: u32,
        least: Vec<u8>,
        most: Vec<u8>,
    },
}

/// The filter; without it, and when it is dropped, everything comes in.
#[derive(Debug)]
pub struct PacketFilter {
    socket: Socket,
    device: InterfaceName,
}

/// What comes from a peer's selector for one of ours.
pub type Incoming = (TrafficSelector, TrafficSelector);

impl PacketFilter {
    /// A filter that lets everything in. Its table is named as the tunnels' device, through which everything comes in.
    /// Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The kernel's, that it has no nf_tables, above all.
    pub fn open(device: InterfaceName) -> Result<Self, NetlinkError> {
        let mut filter = Self { socket: Socket::open(NETLINK_NETFILTER, 0)?, device };
        filter.set(&[], &[], &[])?;
        Ok(filter)
    }

    /// Drops what comes in for `dropped`, unless it is for `passed`, is IKE (by its ports) or ESP, or says that one of these
    /// was too long. All changes at once.
    /// Protocols and ports are looked at, types of ICMP are not.
    ///
    /// # Errors
    /// The kernel's; the filter is as it was then.
    pub fn set(&mut self, ike: &[u16], passed: &[Incoming], dropped: &[Incoming]) -> Result<(), NetlinkError> {
        let table = self.table();
        let begin = || batch_mark(BATCH_BEGIN);
        let mut requests = vec![begin(), self.new_table(), self.new_chain()];
        let mut flush = message(DELETE_RULE, 0);
        flush.attribute(RULE_TABLE, &table).attribute(RULE_CHAIN, CHAIN);
        requests.push(flush);
        let mut add = |terms: Vec<Term>, verdict| requests.push(rule(&table, &terms, verdict));
        if !dropped.is_empty() {
            for input in InterfaceName::new("lo").into_iter().chain([self.device]) {
                add(vec![Term::Input(input)], ACCEPT);
            }
            add(vec![Term::Protocol(ESP)], ACCEPT);
            for port in ike {
                add(vec![Term::Protocol(UDP), ports(2, *port, *port)], ACCEPT);
            }
            let (first, last) = DISCOVERY;
            let types = Term::Within { base: TRANSPORT_HEADER, offset: 0, least: vec![first], most: vec![last] };
            add(vec![Term::Family(libc::AF_INET6 as u8), Term::Protocol(ICMPV6), types], ACCEPT);
            for about in too_big(ike) {
                add(about, ACCEPT);
            }
            for (all, verdict) in [(passed, ACCEPT), (dropped, DROP)] {
                all.iter().filter_map(terms).for_each(|terms| add(terms, verdict));
            }
        }
        requests.push(batch_mark(BATCH_END));
        self.socket.transaction(requests)
    }

    fn table(&self) -> Vec<u8> {
        [self.device.as_str().as_bytes(), b"\0"].concat()
    }

    fn new_table(&self) -> Request {
        let mut request = message(NEW_TABLE, CREATE);
        request.attribute(TABLE_NAME, &self.table()).attribute(TABLE_FLAGS, &TABLE_OWNED.to_be_bytes());
        request
    }

    fn new_chain(&self) -> Request {
        let mut request = message(NEW_CHAIN, CREATE);
        request.attribute(CHAIN_TABLE, &self.table()).attribute(CHAIN_NAME, CHAIN);
        request.nested(CHAIN_HOOK, |hook| {
            hook.attribute(HOOK_NUMBER, &LOCAL_IN.to_be_bytes()).attribute(HOOK_PRIORITY, &0u32.to_be_bytes());
        });
        request.attribute(CHAIN_POLICY, &ACCEPT.to_be_bytes()).attribute(CHAIN_TYPE, b"filter\0");
        request
    }
}

/// A message of nf_tables for both families of IP.
fn message(kind: u16, flags: u16) -> Request {
    let mut request = Request::new(kind, flags);
    request.put(&[libc::NFPROTO_INET as u8, 0, 0, 0]);
    request
}

/// Begins or ends a transaction, which names the subsystem.
fn batch_mark(kind: u16) -> Request {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let mut request = Request::new(kind, 0);
    request.put(&[libc::AF_UNSPEC as u8, 0, high, low]);
    request
}

/// Ports from `offset` of the transport header on, the source's at 0, the destination's at 2.
fn ports(offset: u32, first: u16, last: u16) -> Term {
    let (least, most) = (first.to_be_bytes().to_vec(), last.to_be_bytes().to_vec());
    Term::Within { base: TRANSPORT_HEADER, offset, least, most }
}

/// What says that a packet of our own was too long for its path (RFC 1191 section 4, RFC 4443 section 3.2): without it those
/// that nobody may fragment would be lost without a word.
fn too_big(ike: &[u16]) -> Vec<Vec<Term>> {
    let header = |offset, octets: &[u8]| Term::Within {
        base: TRANSPORT_HEADER,
        offset,
        least: octets.to_vec(),
        most: octets.to_vec(),
    };
    let mut all = Vec::new();
    // The type, with the code; and where the quoted packet has its protocol and its ports: its header is of the kernel's making,
    // without options.
    for (family, protocol, kind, quoted_protocol, quoted_ports) in
        [(libc::AF_INET, ICMP, &[3, 4][..], 8 + 9, 8 + 20), (libc::AF_INET6, ICMPV6, &[2, 0], 8 + 6, 8 + 40)]
    {
        let about = |quoted| {
            vec![
                Term::Family(family as u8),
                Term::Protocol(protocol),
                header(0, kind),
                header(quoted_protocol, &[quoted]),
            ]
        };
        all.push(about(ESP));
        for port in ike {
            let mut udp = about(UDP);
            udp.push(ports(quoted_ports, *port, *port));
            all.push(udp);
        }
    }
    all
}

/// What a packet between two selectors looks like; `None` where there is none: they have no protocol or family in common, or
/// are for packets whose ports cannot be seen, of which none are left when the host has put fragments together.
fn terms((remote, local): &Incoming) -> Option<Vec<Term>> {
    if remote.is_ipv6() != local.is_ipv6() {
        return None;
    }
    let protocol = remote.common_protocol(local)?;
    // Where both addresses lie in the header.
    let (family, from, to) = if local.is_ipv6() { (libc::AF_INET6, 8, 24) } else { (libc::AF_INET, 12, 16) };
    let addresses = |offset, start: IpAddr, end: IpAddr| Term::Within {
        base: NETWORK_HEADER,
        offset,
        least: sys::octets(start),
        most: sys::octets(end),
    };
    let mut all = vec![
        Term::Family(family as u8),
        addresses(from, remote.start, remote.end),
        addresses(to, local.start, local.end),
    ];
    if protocol != 0 {
        all.push(Term::Protocol(protocol));
    }
    for (offset, ts) in [(0, remote), (2, local)] {
        if !ts.any_port() && !matches!(protocol, 0 | ICMP | ICMPV6) {
            if ts.start_port > ts.end_port {
                return None;
            }
            all.push(ports(offset, ts.start_port, ts.end_port));
        }
    }
    Some(all)
}

fn rule(table: &[u8], terms: &[Term], verdict: u32) -> Request {
    let mut request = message(NEW_RULE, CREATE | NLM_F_APPEND);
    request.attribute(RULE_TABLE, table).attribute(RULE_CHAIN, CHAIN);
    request.nested(RULE_EXPRESSIONS, |all| {
        for term in terms {
            match term {
                Term::Input(name) => {
                    let mut padded = name.as_str().as_bytes().to_vec();
                    padded.resize(libc::IFNAMSIZ, 0);
                    meta(all, META_INPUT_NAME);
                    compare(all, EQUAL, &padded);
                }
                Term::Family(family) => {
                    meta(all, META_FAMILY);
                    compare(all, EQUAL, &[*family]);
                }
                Term::Protocol(protocol) => {
                    meta(all, META_PROTOCOL);
                    compare(all, EQUAL, &[*protocol]);
                }
                Term::Within { base, offset, least, most } => {
                    payload(all, *base, *offset, least.len() as u32); // an address at most
                    if least == most {
                        compare(all, EQUAL, least);
                    } else {
                        compare(all, AT_LEAST, least);
                        compare(all, AT_MOST, most);
                    }
                }
            }
        }
        expression(all, b"immediate\0", |data| {
            data.attribute(1, &VERDICT_REGISTER.to_be_bytes()).nested(2, |value| {
                value.nested(DATA_VERDICT, |code| {
                    code.attribute(VERDICT_CODE, &verdict.to_be_bytes());
                });
            });
        });
    });
    request
}

fn expression(all: &mut Request, name: &[u8], data: impl FnOnce(&mut Request)) {
    all.nested(LIST_ELEMENT, |one| {
        one.attribute(EXPRESSION_NAME, name).nested(EXPRESSION_DATA, data);
    });
}

/// Loads what the kernel knows of a packet.
fn meta(all: &mut Request, key: u32) {
    expression(all, b"meta\0", |data| {
        data.attribute(1, &REGISTER.to_be_bytes()).attribute(2, &key.to_be_bytes());
    });
}

/// Loads octets of a header.
fn payload(all: &mut Request, base: u32, offset: u32, length: u32) {
    expression(all, b"payload\0", |data| {
        for (kind, number) in [(1, REGISTER), (2, base), (3, offset), (4, length)] {
            data.attribute(kind, &number.to_be_bytes());
        }
    });
}

/// Goes on with the rule if what was loaded compares so, as octets do.
fn compare(all: &mut Request, how: u32, with: &[u8]) {
    expression(all, b"cmp\0", |data| {
        data.attribute(1, &REGISTER.to_be_bytes()).attribute(2, &how.to_be_bytes()).nested(3, |value| {
            value.attribute(DATA_VALUE, with);
        });
    });
}
