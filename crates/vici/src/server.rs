//! The server's end of one connection, without its socket.

use crate::packet::encode;
use crate::schema::EVENTS;
use crate::{Decoder, MAX_PACKET, Message, Packet, PacketError, PacketType};
use std::collections::BTreeSet;
use std::fmt;

/// Octets that a session keeps of a client that sends on while its command is under way.
const MAX_BACKLOG: usize = 2 * MAX_PACKET;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Carry out a command; answer with [`Session::reply`] or [`Session::unknown_command`].
    Command {
        /// Which.
        name: String,
        /// Its arguments.
        message: Message,
    },
    /// The client hears this event from now on. Confirmed already.
    Register {
        /// Which.
        event: String,
    },
    /// The client does not hear this event any more. Confirmed already.
    Unregister {
        /// Which.
        event: String,
    },
}

/// Why a connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The client sent what is no packet.
    Packet(PacketError),
    /// The client sent what only a server sends.
    NotARequest,
    /// The client sends more and more requests without waiting for its answers.
    Backlog,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(e) => e.fmt(f),
            Self::NotARequest => f.write_str("vici client sent a packet that only servers send"),
            Self::Backlog => f.write_str("vici client sends requests without reading the answers"),
        }
    }
}

impl std::error::Error for SessionError {}

/// The server's end of one connection.
///
/// Requests come out one at a time: the next one only after the answer to the one before, so answers are in order and a
/// command's events come before its answer. Registrations are answered here, from [`EVENTS`].
#[derive(Debug, Default)]
pub struct Session {
    input: Decoder,
    output: Vec<u8>,
    registered: BTreeSet<String>,
    busy: bool,
}

impl Session {
    /// A new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets from the client.
    ///
    /// # Errors
    /// [`SessionError::Backlog`]: close the connection.
    pub fn receive(&mut self, octets: &[u8]) -> Result<(), SessionError> {
        if self.input.pending() + octets.len() > MAX_BACKLOG {
            return Err(SessionError::Backlog);
        }
        self.input.push(octets);
        Ok(())
    }

    /// Whether reading from the client makes sense now: a command is not under way.
    pub fn wants_input(&self) -> bool {
        !self.busy
    }

    /// The next request, `None` while a command is under way or nothing complete has arrived.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub fn poll(&mut self) -> Result<Option<Request>, SessionError> {
        while !self.busy {
            match self.input.next_packet().map_err(SessionError::Packet)? {
                None => return Ok(None),
                Some(Packet::CommandRequest { name, message }) => {
                    self.busy = true;
                    return Ok(Some(Request::Command { name, message }));
                }
                Some(Packet::EventRegister { name }) if EVENTS.contains(&name.as_str()) => {
                    self.registered.insert(name.clone());
                    self.push(PacketType::EventConfirm, None, None);
                    return Ok(Some(Request::Register { event: name }));
                }
                Some(Packet::EventUnregister { name }) if self.registered.remove(&name) => {
                    self.push(PacketType::EventConfirm, None, None);
                    return Ok(Some(Request::Unregister { event: name }));
                }
                Some(Packet::EventRegister { .. } | Packet::EventUnregister { .. }) => {
                    self.push(PacketType::EventUnknown, None, None);
                }
                Some(_) => return Err(SessionError::NotARequest),
            }
        }
        Ok(None)
    }

    fn push(&mut self, kind: PacketType, name: Option<&str>, message: Option<&Message>) {
        self.output.extend(encode(kind, name, message));
    }

    /// Answers the command under way; without one it does nothing. An answer that does not fit a packet becomes
    /// `{success=no errmsg=..}`.
    pub fn reply(&mut self, message: &Message) {
        if std::mem::take(&mut self.busy) {
            let packet = encode(PacketType::CommandResponse, None, Some(message));
            if packet.len() - 4 > MAX_PACKET {
                let refusal = crate::schema::refusal(format!("the answer is longer than {MAX_PACKET} octets"));
                self.push(PacketType::CommandResponse, None, Some(&refusal));
            } else {
                self.output.extend(packet);
            }
        }
    }

    /// Answers the command under way: there is no such command.
    pub fn unknown_command(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.push(PacketType::CommandUnknown, None, None);
        }
    }

    /// Whether the client wants to hear this event: check before building a message.
    pub fn listens_to(&self, event: &str) -> bool {
        self.registered.contains(event)
    }

    /// Sends an event if the client registered for it and it fits a packet. Returns whether it was sent.
    pub fn event(&mut self, name: &str, message: &Message) -> bool {
        if !self.listens_to(name) {
            return false;
        }
        let packet = encode(PacketType::Event, Some(name), Some(message));
        let fits = packet.len() - 4 <= MAX_PACKET;
        if fits {
            self.output.extend(packet);
        }
        fits
    }

    /// Octets for the client that [`Session::take_output`] would return. A daemon closes the connection of a listener
    /// that does not read, so that this stays bounded.
    pub fn pending_output(&self) -> usize {
        self.output.len()
    }

    /// Takes what must be sent to the client.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str) -> Vec<u8> {
        Packet::CommandRequest { name: name.into(), message: Message::new() }.encode()
    }

    fn sent(session: &mut Session) -> Vec<Packet> {
        let mut decoder = Decoder::new();
        decoder.push(&session.take_output());
        std::iter::from_fn(|| decoder.next_packet().unwrap()).collect()
    }

    #[test]
    fn a_streamed_command_is_in_order() {
        let mut session = Session::new();
        session.receive(&Packet::EventRegister { name: "list-sa".into() }.encode()).unwrap();
        session.receive(&command("list-sas")).unwrap();
        session.receive(&command("version")).unwrap();
        assert_eq!(session.poll(), Ok(Some(Request::Register { event: "list-sa".into() })));
        assert_eq!(session.poll(), Ok(Some(Request::Command { name: "list-sas".into(), message: Message::new() })));
        assert!(!session.wants_input());
        assert_eq!(session.poll(), Ok(None), "the second command waits for the answer to the first");
        assert!(session.event("list-sa", &Message::new()));
        assert!(!session.event("log", &Message::new()), "not registered");
        session.reply(&Message::new());
        session.reply(&Message::new());
        assert!(matches!(session.poll(), Ok(Some(Request::Command { name, .. })) if name == "version"));
        session.unknown_command();
        assert_eq!(
            sent(&mut session),
            [
                Packet::EventConfirm,
                Packet::Event { name: "list-sa".into(), message: Message::new() },
                Packet::CommandResponse(Message::new()),
                Packet::CommandUnknown,
            ]
        );
        assert_eq!(session.pending_output(), 0);
    }

    #[test]
    fn unknown_events_are_refused() {
        let mut session = Session::new();
        session.receive(&Packet::EventRegister { name: "nosuch".into() }.encode()).unwrap();
        session.receive(&Packet::EventUnregister { name: "log".into() }.encode()).unwrap();
        assert_eq!(session.poll(), Ok(None));
        assert_eq!(sent(&mut session), [Packet::EventUnknown, Packet::EventUnknown]);
    }

    #[test]
    fn hostile_clients_end_the_connection() {
        let mut session = Session::new();
        session.receive(&Packet::EventConfirm.encode()).unwrap();
        assert_eq!(session.poll(), Err(SessionError::NotARequest));
        let mut session = Session::new();
        session.receive(b"\xff\xff\xff\xff").unwrap();
        assert_eq!(session.poll(), Err(SessionError::Packet(PacketError::TooLong { length: u32::MAX as usize })));
        let mut session = Session::new();
        session.receive(&command("list-sas")).unwrap();
        assert!(session.poll().unwrap().is_some());
        let outcome = (0..MAX_BACKLOG).try_for_each(|_| session.receive(&[0; 1024]));
        assert_eq!(outcome, Err(SessionError::Backlog));
    }

    #[test]
    fn an_answer_that_is_too_long_says_so() {
        let mut session = Session::new();
        session.receive(&command("get-conns")).unwrap();
        session.poll().unwrap();
        let mut long = Message::new();
        long.list("conns", std::iter::repeat_n("x".repeat(1000), 600));
        session.reply(&long);
        let packets = sent(&mut session);
        assert!(matches!(&packets[..], [Packet::CommandResponse(m)] if m.get_str("success") == Some("no")));
    }
}
