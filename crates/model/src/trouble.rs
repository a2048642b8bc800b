//! What goes wrong below the protocol: datagrams that do not leave or do not arrive, and a data plane that is not as it was
//! set up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What the operating system said about a datagram that was to be sent, or about one on the way, as ICMP tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendTrouble {
    /// No host has the address, or a router knows no way to it (`EHOSTUNREACH`).
    HostUnreachable,
    /// This host has no route to it (`ENETUNREACH`).
    NetworkUnreachable,
    /// The host is there, and nobody has the port (`ECONNREFUSED`).
    PortUnreachable,
    /// A packet filter of this host forbids it (`EPERM`).
    NotPermitted,
    /// It is longer than the way allows (`EMSGSIZE`).
    TooLong,
    /// This host has no buffer for it: what sends is faster than the interface (`ENOBUFS`).
    NoBuffers,
    /// The source address is not this host's (any more) (`EADDRNOTAVAIL`, `EINVAL`).
    NoSuchSource,
    /// Something else.
    Other,
}

impl SendTrouble {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::PortUnreachable,
        Self::NotPermitted,
        Self::TooLong,
        Self::NoBuffers,
        Self::NoSuchSource,
        Self::Other,
    ];

    /// Its code, which does not change.
    pub fn code(self) -> &'static str {
        match self {
            Self::HostUnreachable => "host-unreachable",
            Self::NetworkUnreachable => "network-unreachable",
            Self::PortUnreachable => "port-unreachable",
            Self::NotPermitted => "not-permitted",
            Self::TooLong => "too-long",
            Self::NoBuffers => "no-buffers",
            Self::NoSuchSource => "no-such-source",
            Self::Other => "other",
        }
    }

    /// The one with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.code() == code)
    }
}

/// What it means, for people.
impl fmt::Display for SendTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HostUnreachable => "host unreachable: it is off, or a router knows no way to it",
            Self::NetworkUnreachable => "network unreachable: this host has no route to it",
            Self::PortUnreachable => "port unreachable: the host is there, and no daemon has the port",
            Self::NotPermitted => "not permitted: a packet filter of this host drops it",
            Self::TooLong => "message too long for the way",
            Self::NoBuffers => "no buffers: this host's queue of the interface is full",
            Self::NoSuchSource => "this host does not have the source address",
            Self::Other => "another error of the operating system",
        })
    }
}

/// What was said so about what goes to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// Where the datagrams go; port 0 for ESP packets, which have none.
    pub to: SocketAddr,
    /// What was said.
    pub trouble: SendTrouble,
    /// How often.
    pub count: u64,
    /// How long ago the latest was.
    pub last: Duration,
    /// Who reported it, where a router or host did by ICMP.
    pub reporter: Option<IpAddr>,
}

/// What is wrong in the data plane: the kernel's tables against what the daemon put there, and packets that were dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneFault {
    /// An SA is gone from the kernel.
    SaMissing {
        /// The Child SA.
        child: String,
        /// Its SPI.
        spi: u32,
        /// Whether it is the one that receives.
        inbound: bool,
    },
    /// A policy is gone from the kernel.
    PolicyMissing {
        /// The Child SA, or the trap's.
        child: String,
        /// `in`, `fwd` or `out`.
        direction: String,
        /// What it is for: `10.1.0.0/16 -> 10.2.0.0/16`.
        packets: String,
    },
    /// A policy of somebody else comes before ours and takes some of its packets, or all.
    PolicyInTheWay {
        /// The Child SA whose packets it takes.
        child: String,
        /// `in`, `fwd` or `out`.
        direction: String,
        /// What the other one is for.
        packets: String,
        /// Its priority: the lowest number counts first.
        priority: u32,
        /// That of ours.
        ours: u32,
        /// What it does: `pass`, `block`, or `reqid N`.
        does: String,
    },
    /// A policy names an SA that is not ours: packets go by another key than the daemon thinks.
    OtherSa {
        /// The Child SA.
        child: String,
        /// The SPI that the policy names.
        spi: u32,
        /// The SPI that it should.
        ours: u32,
    },
    /// A route into a tunnel is gone: what is for this network does not reach the data plane.
    RouteMissing {
        /// The Child SA, or the trap.
        child: String,
        /// The network: `10.2.0.0/16`.
        network: String,
        /// The routing table that should have it.
        table: u32,
    },
    /// The rule of routing is gone that has packets consult the table of tunnels: none reaches the data plane.
    RuleMissing {
        /// IPv6's or IPv4's.
        ipv6: bool,
        /// Its preference.
        preference: u32,
        /// The table.
        table: u32,
        /// Packets with this mark are no concern of it.
        mark: u32,
    },
    /// Packets of an SA were dropped.
    Dropped {
        /// The Child SA.
        child: String,
        /// The SPI of the SA.
        spi: u32,
        /// Repeated, or too late for the window.
        replayed: u32,
        /// Outside the window.
        late: u32,
        /// With a wrong integrity check value.
        failed: u32,
    },
    /// A counter for all SAs has grown: the kernel's (`/proc/net/xfrm_stat`), or the userspace data plane's.
    Counted {
        /// Its name: `XfrmInNoPols`, `replay`.
        name: String,
        /// By how much it has grown.
        count: u64,
        /// In how much time.
        within: Duration,
    },
}

/// What it means, for people: which packets are lost, and where.
impl fmt::Display for PlaneFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SaMissing { child, spi, inbound } => {
                let which = if *inbound { "inbound" } else { "outbound" };
                write!(f, "the {which} SA {spi:08x} of '{child}' is gone from the kernel")
            }
            Self::PolicyMissing { child, direction, packets } => {
                write!(f, "the policy of '{child}' ({direction} {packets}) is gone from the kernel")
            }
            Self::PolicyInTheWay { child, direction, packets, priority, ours, does } => write!(
                f,
                "a policy of somebody else ({direction} {packets}, priority {priority}: {does}) comes before that of \
                 '{child}' (priority {ours})"
            ),
            Self::OtherSa { child, spi, ours } => {
                write!(f, "the policy of '{child}' names the SA {spi:08x}, which is not ours ({ours:08x})")
            }
            Self::RouteMissing { child, network, table } => {
                write!(f, "the route of '{child}' to {network} is gone from table {table}: packets go past the tunnel")
            }
            Self::RuleMissing { ipv6, table, .. } => {
                let version = if *ipv6 { "IPv6" } else { "IPv4" };
                write!(f, "the {version} rule that leads packets to table {table} is gone: they go past all tunnels")
            }
            Self::Dropped { child, spi, replayed, late, failed } => write!(
                f,
                "packets of the SA {spi:08x} of '{child}' were dropped: {replayed} repeated, {late} outside the replay \
                 window, {failed} with a wrong integrity check value"
            ),
            Self::Counted { name, count, within } => {
                write!(f, "{name} has grown by {count} within {} s", within.as_secs())
            }
        }
    }
}
