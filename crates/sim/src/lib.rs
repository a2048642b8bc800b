//! A whole internet in one thread: a simulated clock, a seeded network with loss, delay, NAT and an adversary, a data
//! plane that records, and endpoints of [`proto`] between them. For tests only.
//!
//! Everything is decided by one seed. The same seed gives the same run to the last octet, so a failure that a property
//! test finds can be replayed from its number alone.
//!
//! ```
//! use sim::{Sim, Site};
//! use std::time::Duration;
//!
//! let mut sim = Sim::new(1);
//! let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
//! let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
//! sim.initiate(a, b);
//! assert!(sim.run_until(Duration::from_secs(5), |sim| sim.carries(a, b)).is_some());
//! ```

pub mod fuzz;
pub mod fuzz_v1;
mod keys;
mod network;
pub mod peer;
mod peer_v1;
mod plane;
mod rng;
mod simulation;
mod site;

pub use network::{Block, Conditions, Datagram, Nat};
pub use peer::{Opened, Parts, Peer};
pub use peer_v1::{Hand, HandNat, clear_parts};
pub use plane::{Pair, Recording};
pub use rng::Rng;
pub use simulation::{Happened, Hook, LogEntry, NodeId, Sim};
pub use site::{FAKE_PKI_VALID, Site, fake_certificate};
