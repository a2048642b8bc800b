//! IKE SAs as somebody on the path sees them: what a packet capture holds without keys.

use crate::Role;
use std::net::SocketAddr;
use wire::{ExchangeType, SpiPair};

/// One message, with its repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedMessage {
    /// Who sent it.
    pub sender: Role,
    /// Exchange type; its meaning depends on the version.
    pub exchange: ExchangeType,
    /// Message ID.
    pub message_id: u32,
    /// Whether it answers a request (IKEv2's R flag; always false in IKEv1, which has none).
    pub response: bool,
    /// Whether its payloads are encrypted.
    pub encrypted: bool,
    /// Octets of the message from the ISAKMP header on; of a message in fragments, of the first one seen.
    pub octets: usize,
    /// Sender's address and port.
    pub from: SocketAddr,
    /// Receiver's address and port.
    pub to: SocketAddr,
    /// When it was seen first, in nanoseconds since 1970; 0 where the capture does not say.
    pub first: u64,
    /// When it was seen last.
    pub last: u64,
    /// How often it was seen again, octet by octet the same.
    pub repeated: u32,
    /// Types of its Notify payloads, as far as they are in the clear.
    pub notifies: Vec<u16>,
    /// Whether it has an SA payload in the clear.
    pub has_sa: bool,
}

/// An IKE SA, or an attempt to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSa {
    /// Major version of IKE: 1 or 2.
    pub version: u8,
    /// Both SPIs, in IKEv1 cookies; the responder's is zero until it has answered.
    pub spis: SpiPair,
    /// The initiator's address, as seen first.
    pub initiator: SocketAddr,
    /// The responder's address, as seen first.
    pub responder: SocketAddr,
    /// Its messages in order of appearance, without repetitions.
    pub messages: Vec<ObservedMessage>,
    /// Messages that were seen and are not in `messages`, because there are too many.
    pub more: u64,
    /// ESP packets from the initiator's address to the responder's after the SA began, and the other way. They may belong
    /// to another SA of the same two addresses: the capture does not tell.
    pub esp: [u64; 2],
}

impl ObservedSa {
    /// Messages of one kind from one end, in order.
    pub fn from(&self, sender: Role, exchange: ExchangeType) -> impl Iterator<Item = &ObservedMessage> {
        self.messages.iter().filter(move |m| m.sender == sender && m.exchange == exchange)
    }
}
