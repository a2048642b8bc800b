//! The Linux kernel's side: sockets, TUN devices, routes, XFRM, namespaces, scripts.
//!
//! Beside the FFI module of `crypto` this is the only place with `unsafe`: each block states why it is sound. Everything
//! above talks to safe types.
//!
//! | module | what |
//! |---|---|
//! | [`Udp`], [`RawEsp`] | datagrams in batches, with the local address of each |
//! | [`Echo`] | ICMP echo requests through a tunnel |
//! | [`Tun`] | the device whose packets the userspace data plane protects |
//! | [`Routes`] | addresses, links, routes and policy rules over rtnetlink |
//! | [`PacketFilter`] | drops what comes in for this host itself |
//! | [`Xfrm`] | the kernel's own ESP as a data plane |
//! | [`EarlyPackets`] | what comes before the kernel has the SA |
//! | [`StrayEsp`] | what comes by an SPI that the kernel does not know |
//! | [`updown`] | the script that tells the operator's firewall about a Child SA |
//! | [`Namespace`] | network namespaces for tests and the demonstration |
//! | [`harden_process`] | no core dumps, no debugger: the process holds keys |
#![allow(unsafe_code)]

mod batch;
mod early;
mod echo;
mod errors;
mod namespace;
mod netlink;
mod packet_filter;
mod port_holder;
mod process;
mod raw;
mod route;
mod socket;
mod stray;
mod sys;
mod tap;
#[cfg(test)]
mod test_install;
mod tun;
mod udp;
pub mod updown;
mod xfrm;

pub use batch::{MAX_BATCH, Received, RecvBatch, Transmit};
pub use early::{EarlyPacket, EarlyPackets};
pub use echo::{Echo, EchoError, EchoReply};
pub use errors::{SendFailure, send_trouble};
pub use namespace::{Namespace, NamespaceError};
pub use netlink::NetlinkError;
pub use packet_filter::{Incoming, PacketFilter};
pub use port_holder::PortHolder;
pub use process::{end_process, harden_process};
pub use raw::RawEsp;
pub use route::{LocalAddress, NetworkChanges, Route, RouteTarget, RouteTo, Routes, Rule, RuleAction, tunnel_routes};
pub use socket::{BindError, SocketOptions, path_mtu};
pub use stray::{StrayEsp, StrayPacket};
pub use tun::{Tun, TunError};
pub use udp::Udp;
pub use xfrm::{
    Acquire, Foreign, ForeignPolicy, ForeignSa, Replaced, Step, WhyNot, Xfrm, XfrmError, XfrmEvent, xfrm_statistics,
};

/// The routing table that holds the routes of tunnels, as strongSwan's installations know it.
pub const ROUTING_TABLE: u32 = 220;

/// The preference of the rule that consults [`ROUTING_TABLE`]: before `main` (32766).
pub const ROUTING_RULE_PREFERENCE: u32 = 220;

/// The table with the routes of traps for any peer, which rules of their own consult: it leads everything into the tunnels.
pub const TRAP_TABLE: u32 = 221;

/// The mark of our own sockets' packets, which the rule leaves to the other tables; so IKE and ESP reach the peer by the
/// real route even if the peer's address lies in the remote selector (0.0.0.0/0). ASCII "SHRK".
pub const SOCKET_MARK: u32 = 0x5348_524b;
