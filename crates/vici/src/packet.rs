//! Packets: what travels over the socket, each with its length in front.

use crate::{DecodeError, Message};
use std::fmt;

/// The longest packet, without its length field: 512 KiB, strongSwan's limit.
pub const MAX_PACKET: usize = 512 * 1024;

/// The types of packets, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketType {
    /// A named request.
    CommandRequest = 0,
    /// The answer to it.
    CommandResponse = 1,
    /// There is no such command.
    CommandUnknown = 2,
    /// A client wants to hear a named event.
    EventRegister = 3,
    /// A client does not want to hear it any more.
    EventUnregister = 4,
    /// Done as asked.
    EventConfirm = 5,
    /// There is no such event.
    EventUnknown = 6,
    /// A named event.
    Event = 7,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A named request.
    CommandRequest {
        /// Which command.
        name: String,
        /// Its arguments.
        message: Message,
    },
    /// The answer to a request.
    CommandResponse(Message),
    /// There is no such command.
    CommandUnknown,
    /// Wants to hear an event.
    EventRegister {
        /// Which.
        name: String,
    },
    /// Does not want to hear it any more.
    EventUnregister {
        /// Which.
        name: String,
    },
    /// Registered or unregistered as asked.
    EventConfirm,
    /// There is no such event.
    EventUnknown,
    /// An event.
    Event {
        /// Which.
        name: String,
        /// Its content.
        message: Message,
    },
}

/// Why octets are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Longer than [`MAX_PACKET`].
    TooLong {
        /// The announced length in octets.
        length: usize,
    },
    /// Nothing inside, not even a type.
    Empty,
    /// A type that does not exist.
    UnknownType(u8),
    /// The name is cut off, empty or no UTF-8.
    Name,
    /// Octets behind a packet that has no message.
    TrailingOctets,
    /// The message cannot be decoded.
    Message(DecodeError),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length } => write!(f, "vici packet of {length} octets; at most {MAX_PACKET} are allowed"),
            Self::Empty => f.write_str("vici packet without a type"),
            Self::UnknownType(n) => write!(f, "vici packet of unknown type {n}"),
            Self::Name => f.write_str("vici packet whose name is cut off or no text"),
            Self::TrailingOctets => f.write_str("vici packet with octets behind its end"),
            Self::Message(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PacketError {}

impl From<DecodeError> for PacketError {
    fn from(e: DecodeError) -> Self {
        Self::Message(e)
    }
}

impl Packet {
    /// The octets with their length in front.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, name, message) = match self {
            Self::CommandRequest { name, message } => (PacketType::CommandRequest, Some(name), Some(message)),
            Self::CommandResponse(message) => (PacketType::CommandResponse, None, Some(message)),
            Self::CommandUnknown => (PacketType::CommandUnknown, None, None),
            Self::EventRegister { name } => (PacketType::EventRegister, Some(name), None),
            Self::EventUnregister { name } => (PacketType::EventUnregister, Some(name), None),
            Self::EventConfirm => (PacketType::EventConfirm, None, None),
            Self::EventUnknown => (PacketType::EventUnknown, None, None),
            Self::Event { name, message } => (PacketType::Event, Some(name), Some(message)),
        };
        encode(kind, name.map(String::as_str), message)
    }

    /// Reads a packet from what follows its length field.
    ///
    /// # Errors
    /// Why the octets are no packet.
    pub fn decode(octets: &[u8]) -> Result<Self, PacketError> {
        let (&kind, rest) = octets.split_first().ok_or(PacketError::Empty)?;
        let nothing_follows = |rest: &[u8]| if rest.is_empty() { Ok(()) } else { Err(PacketError::TrailingOctets) };
        Ok(match kind {
            0 | 7 => {
                let (name, rest) = name(rest)?;
                let message = Message::decode(rest)?;
                if kind == 0 { Self::CommandRequest { name, message } } else { Self::Event { name, message } }
            }
            1 => Self::CommandResponse(Message::decode(rest)?),
            3 | 4 => {
                let (name, rest) = name(rest)?;
                nothing_follows(rest)?;
                if kind == 3 { Self::EventRegister { name } } else { Self::EventUnregister { name } }
            }
            2 | 5 | 6 => {
                nothing_follows(rest)?;
                match kind {
                    2 => Self::CommandUnknown,
                    5 => Self::EventConfirm,
                    _ => Self::EventUnknown,
                }
            }
            unknown => return Err(PacketError::UnknownType(unknown)),
        })
    }
}

/// The octets of a packet from its borrowed parts, with the length in front.
pub(crate) fn encode(kind: PacketType, name: Option<&str>, message: Option<&Message>) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, kind as u8];
    if let Some(name) = name {
        let octets = name.as_bytes().get(..crate::MAX_KEY).unwrap_or(name.as_bytes());
        out.push(octets.len() as u8); // at most MAX_KEY
        out.extend(octets);
    }
    if let Some(message) = message {
        message.encode_into(&mut out);
    }
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out.splice(..4, length.to_be_bytes());
    out
}

fn name(octets: &[u8]) -> Result<(String, &[u8]), PacketError> {
    let (&length, rest) = octets.split_first().ok_or(PacketError::Name)?;
    let (name, rest) = rest.split_at_checked(length.into()).ok_or(PacketError::Name)?;
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() => Ok((name.to_string(), rest)),
        _ => Err(PacketError::Name),
    }
}

/// Cuts a stream of octets into packets.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends octets from the stream.
    pub fn push(&mut self, octets: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// Octets that wait to become packets.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    /// The next packet, `None` when it has not arrived completely.
    ///
    /// # Errors
    /// Why it is no packet; the stream cannot be read any further after [`PacketError::TooLong`].
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_PACKET {
            return Err(PacketError::TooLong { length });
        }
        let Some(octets) = rest.get(..length) else { return Ok(None) };
        let packet = Packet::decode(octets);
        self.consumed += 4 + length;
        packet.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Packet> {
        let mut message = Message::new();
        message.set("ike", "gw").list("l", ["a"]);
        let name = || "list-sas".to_string();
        vec![
            Packet::CommandRequest { name: name(), message: message.clone() },
            Packet::CommandRequest { name: "version".into(), message: Message::new() },
            Packet::CommandResponse(message.clone()),
            Packet::CommandUnknown,
            Packet::EventRegister { name: name() },
            Packet::EventUnregister { name: name() },
            Packet::EventConfirm,
            Packet::EventUnknown,
            Packet::Event { name: name(), message },
        ]
    }

    #[test]
    fn framing_is_length_type_name_message() {
        let request = Packet::CommandRequest { name: "version".into(), message: Message::new() };
        assert_eq!(request.encode(), b"\x00\x00\x00\x09\x00\x07version");
        assert_eq!(Packet::EventConfirm.encode(), b"\x00\x00\x00\x01\x05");
    }

    #[test]
    fn refuses_with_a_reason() {
        for (octets, error) in [
            (&b""[..], PacketError::Empty),
            (b"\x08", PacketError::UnknownType(8)),
            (b"\x00", PacketError::Name),
            (b"\x03\x05abc", PacketError::Name),
            (b"\x03\x00", PacketError::Name),
            (b"\x03\x01ab", PacketError::TrailingOctets),
            (b"\x05\x00", PacketError::TrailingOctets),
            (b"\x01\x09", PacketError::Message(DecodeError::UnexpectedElement { offset: 0, element: 9 })),
        ] {
            assert_eq!(Packet::decode(octets), Err(error), "{octets:02x?}");
        }
        let mut decoder = Decoder::new();
        decoder.push(b"\x00\x08\x00\x01");
        assert_eq!(decoder.next_packet(), Err(PacketError::TooLong { length: MAX_PACKET + 1 }));
    }

    proptest! {
        #[test]
        fn a_stream_may_be_cut_anywhere(chunk in 1usize..40) {
            let stream: Vec<u8> = samples().iter().flat_map(Packet::encode).collect();
            let mut decoder = Decoder::new();
            let mut packets = Vec::new();
            for part in stream.chunks(chunk) {
                decoder.push(part);
                while let Some(packet) = decoder.next_packet().unwrap() {
                    packets.push(packet);
                }
            }
            prop_assert_eq!(packets, samples());
            prop_assert_eq!(decoder.pending(), 0);
        }

        #[test]
        fn any_octets_decode_or_fail(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = Packet::decode(&octets) {
                let encoded = packet.encode();
                prop_assert_eq!(encoded.get(4..), Some(&octets[..]));
            }
        }
    }
}
