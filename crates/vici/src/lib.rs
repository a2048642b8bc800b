//! The vici protocol, strongSwan's control protocol: messages, packets, a server session, a client and the schema.
//!
//! Nothing here opens a socket or reads a clock. [`Session`] is fed octets and hands out requests; [`Client`] works over
//! any `Read + Write`. [`schema`] turns the values of `model` into messages with strongSwan's keys and back, so that
//! `swanctl` and every other vici client can read a Shrike daemon, and a Shrike client can read charon.
//!
//! Message encoding in one paragraph: a message is a sequence of elements, each starting with one type octet. Section
//! starts, key/values and list starts are followed by a name (one length octet); values and list items by a two-octet
//! length in network order. A packet is a four-octet length, a type octet, for named packets a name with one length
//! octet, and a message.

mod client;
mod message;
mod packet;
pub mod schema;
mod server;

pub use client::{Client, ClientError};
pub use message::{DecodeError, Element, MAX_DEPTH, MAX_KEY, MAX_VALUE, Message};
pub use packet::{Decoder, MAX_PACKET, Packet, PacketError, PacketType};
pub use server::{Request, Session, SessionError};
