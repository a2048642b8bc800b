//! The protocol, without I/O: datagrams, timers and wishes in; datagrams, data-plane commands and events out.
//!
//! An [`Endpoint`] is all of one worker's SAs. Everything that happens to it is a call of [`Endpoint::handle`] or of an
//! operator's verb ([`Endpoint::initiate`], [`Endpoint::terminate`], ...); everything it wants is taken from
//! [`Endpoint::poll_output`] in order: an SA is installed before the message leaves that lets the peer use it, and told
//! about after both.
//!
//! ```text
//! datagram -> Endpoint::handle -> Header::parse -> lookup by SPI
//!     first message: half-open limits, cookie, connection            v2::ike_sa_init
//!     else: duplicate? -> open -> grammar row -> handler -> commit   v2::exchange
//! ```
//!
//! The core never reads a clock or the system's random source: `now` and a [`crypto::Random`] are arguments, so that one
//! thread of a test runs a whole network of endpoints, the same way each time.

mod backoff;
mod child;
mod connections;
mod context;
mod credentials;
mod endpoint;
mod held;
mod ike_sa;
mod inquiries;
mod names;
mod parts;
mod peers;
mod place;
mod policy;
mod pools;
mod settings;
mod timers;
mod v1;
mod v2;

pub use backoff::Backoff;
pub use context::{COUNTERS, Counter};
pub use credentials::{Credentials, Places};
pub use endpoint::{Clients, Endpoint, Input, Output, Selection, Started};
pub use pools::{Lease, Pools};
pub use settings::Settings;
pub use timers::Reason;
pub use v2::{Gateway, Movable, PuzzleJob};
