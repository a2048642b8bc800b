//! ESP (RFC 4303) without input and output: the userspace data plane.
//!
//! [`Engine`] holds the Security Association Database and the Security Policy Database (RFC 4301 section 4.4). The program
//! feeds it ESP packets from its sockets and inner packets from its TUN device, and carries out what it answers. The clock
//! (`now`) and the random source are arguments.
//!
//! The outer IP header belongs to the kernel: packets leave through a raw socket of protocol 50 or a UDP socket, so the
//! inner TTL, DF bit, DSCP and ECN field are not copied to the outer header (RFC 4301 section 5.1.2 leaves the TTL and DF to
//! configuration; ECN propagation of RFC 6040 is in its "not ECN capable outer" mode, which loses no correctness). The inner
//! header is left as it is: the TTL is decremented by the forwarding path on either side of the TUN device. In transport mode
//! the inner header does not travel, and the receiver makes another with the addresses that it knows.

mod early;
mod engine;
mod packet;
mod replay;
mod sa;
mod spd;
mod transport;

pub use engine::{DropReason, Engine, EngineError, Outbound, Verdict};
pub use packet::{InnerPacket, PacketError};
pub use replay::{ReplayError, ReplayWindow};
