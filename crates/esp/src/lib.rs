//! ESP (RFC 4303) without input and output: the userspace data plane.
//!
//! [`Engine`] holds the Security Association Database and the Security Policy Database (RFC 4301 section 4.4). The program
//! feeds it ESP packets from its sockets and inner packets from its TUN device, and carries out what it answers. The clock
//! (`now`) and the random source are arguments.
//!
//! The outer IP header belongs to the kernel: packets leave through a raw socket of protocol 50 or a UDP socket. What it is to
//! have of the inner one (DSCP, ECN, Don't Fragment) is said with each packet ([`Outbound::Send`]), and what it came with goes
//! inside by RFC 6040, as the Child SA is configured. Where a packet that nobody may fragment is too long for the path,
//! [`Engine::too_big`] has the ICMP error for its sender. The TTL is decremented by the forwarding path on either side of the
//! TUN device. In transport mode the inner header does not travel, and the receiver makes another with the addresses that it
//! knows and what the outer one came with.

mod early;
mod engine;
mod header;
mod held;
mod packet;
mod replay;
mod sa;
mod spd;
mod too_big;
mod transport;

pub use engine::{DropReason, Engine, EngineError, Outbound, Verdict};
pub use packet::{InnerPacket, PacketError};
pub use replay::{ReplayError, ReplayWindow};
