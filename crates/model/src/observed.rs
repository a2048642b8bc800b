//! IKE SAs as somebody on the path sees them: what a packet capture holds without keys, and with them.

use crate::{Identity, Role, TrafficSelector};
use std::net::SocketAddr;
use wire::{AuthMethod, ExchangeType, ProtocolId, SpiPair};

/// The longest data of a notification that are kept: a group (RFC 7296 section 1.2) or a few SPIs; no cookie, no ticket.
pub const NOTIFY_DATA: usize = 64;

/// A notification inside a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNotify {
    /// Its type, in the registry of the version.
    pub kind: u16,
    /// Its data, at most [`NOTIFY_DATA`] octets of them.
    pub data: Vec<u8>,
}

/// What an encrypted message says, read with keys that were given. No secret is in it: neither nonces, public values, proofs nor
/// what a user typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedInside {
    /// Notifications in order.
    pub notifies: Vec<ObservedNotify>,
    /// The initiator's identity.
    pub idi: Option<Identity>,
    /// The responder's identity; in an initiator's message the one that it wants (IKEv2).
    pub idr: Option<Identity>,
    /// How the sender proves its identity (IKEv2's AUTH payload).
    pub auth: Option<AuthMethod>,
    /// Certificates.
    pub certificates: usize,
    /// Whether there is an EAP message, or an attribute of XAuth.
    pub user: bool,
    /// XAuth's verdict on the user: whether it passed.
    pub user_passed: Option<bool>,
    /// IKEv2's proposals: of a Child SA, or of an IKE SA that replaces this one.
    pub proposals: Vec<wire::v2::Proposal>,
    /// IKEv1's proposals for IPsec SAs.
    pub v1_proposals: Vec<wire::v1::Proposal>,
    /// The initiator's traffic selectors; in IKEv1 at most one.
    pub tsi: Vec<TrafficSelector>,
    /// The responder's traffic selectors.
    pub tsr: Vec<TrafficSelector>,
    /// Whether there is a Key Exchange payload, and of which group (IKEv1 has it in the proposal, and 0 here).
    pub key_exchange: Option<u16>,
    /// Protocol of each SA that is deleted; ISAKMP or IKE for the one that carries the message.
    pub deletes: Vec<ProtocolId>,
}

impl ObservedInside {
    /// Whether there is a notification of this type.
    pub fn says(&self, kind: u16) -> bool {
        self.notifies.iter().any(|notify| notify.kind == kind)
    }

    /// Whether the SA that carries the message is deleted.
    pub fn deletes_ike(&self) -> bool {
        self.deletes.contains(&ProtocolId::IKE)
    }
}

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
    /// What is encrypted in it, where a key opened it.
    pub inside: Option<Box<ObservedInside>>,
}

/// What routers said of ESP packets that are too long for the path and must not be fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedTooBig {
    /// Whose packets.
    pub sender: Role,
    /// How often it was said.
    pub times: u32,
    /// The least length that would pass, in octets of IP; 0 where no router said (RFC 1191 section 3).
    pub mtu: u32,
    /// When it was said first, in nanoseconds since 1970.
    pub first: u64,
    /// When it was said last.
    pub last: u64,
}

/// Why a router or a host sent a packet of IKE back (ICMP Destination Unreachable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody listens on that port.
    Port,
    /// There is no way to the host, or it is off.
    Host,
    /// A filter forbids it.
    Prohibited,
}

/// What the network said of messages of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedUnreachable {
    /// Whose messages.
    pub sender: Role,
    /// Why, the last time.
    pub why: Unreachable,
    /// How often it was said.
    pub times: u32,
    /// When it was said last, in nanoseconds since 1970.
    pub last: u64,
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
    /// Whether a key was given for it and did not open some of its encrypted messages: how many of each end.
    pub unopened: [u32; 2],
    /// Whether ESP of these two addresses is too long for the path; of the end of which that was said more often.
    pub too_big: Option<ObservedTooBig>,
    /// The lifetime of phase 1 in seconds, as the last SA payload in the clear has it (IKEv1; IKEv2 does not tell).
    pub lifetime: Option<u64>,
    /// The method of authentication of phase 1, as the last SA payload in the clear has it (IKEv1; IKEv2 does not tell): none
    /// where several are proposed.
    pub method: Option<u16>,
    /// Whether each end looks for a translator between the two (NAT-D of RFC 3947, NAT_DETECTION notifications of RFC 7296).
    pub looks_for_nat: [bool; 2],
    /// When the last ESP packet was seen of the initiator's address, and of the responder's; 0 where none was.
    pub esp_last: [u64; 2],
    /// What the network said of the messages of the end of which it said more.
    pub unreachable: Option<ObservedUnreachable>,
    /// Messages of each end that were sent in fragments of IP, of which the capture lacks some.
    pub torn: [u32; 2],
}

impl ObservedSa {
    /// Messages of one kind from one end, in order.
    pub fn from(&self, sender: Role, exchange: ExchangeType) -> impl Iterator<Item = &ObservedMessage> {
        self.messages.iter().filter(move |m| m.sender == sender && m.exchange == exchange)
    }
}
