//! A blocking client over any stream.

use crate::{Decoder, Message, Packet, PacketError};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};

/// Events that wait for [`Client::next_event`]; when more arrive, the oldest are given up.
const MAX_EVENTS: usize = 10_000;

/// Why a request failed.
#[derive(Debug)]
pub enum ClientError {
    /// The stream failed.
    Io(io::Error),
    /// The daemon closed the connection.
    Closed,
    /// The daemon sent what is no packet.
    Packet(PacketError),
    /// The daemon sent a packet that does not belong there.
    UnexpectedPacket,
    /// The daemon does not know this command.
    UnknownCommand(String),
    /// The daemon does not know this event.
    UnknownEvent(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "vici connection failed: {e}"),
            Self::Closed => f.write_str("the daemon closed the vici connection"),
            Self::Packet(e) => write!(f, "the daemon sent an invalid packet: {e}"),
            Self::UnexpectedPacket => f.write_str("the daemon sent a vici packet out of turn"),
            Self::UnknownCommand(name) => write!(f, "the daemon does not know the command '{name}'"),
            Self::UnknownEvent(name) => write!(f, "the daemon does not know the event '{name}'"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::Packet(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// The client's end of one connection.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    input: Decoder,
    events: VecDeque<(String, Message)>,
    lost: u64,
}

impl<S: Read + Write> Client<S> {
    /// Over a connected stream.
    pub fn new(stream: S) -> Self {
        Self { stream, input: Decoder::new(), events: VecDeque::new(), lost: 0 }
    }

    /// The stream, to set its timeouts.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Events given up because [`Client::next_event`] was not called often enough.
    pub fn lost_events(&self) -> u64 {
        self.lost
    }

    /// Sends a command and waits for its answer. Events that arrive meanwhile wait for [`Client::next_event`].
    ///
    /// # Errors
    /// The stream failed, or the daemon does not know the command. A refused command is an answer with `success=no`:
    /// see [`crate::schema::check`].
    pub fn request(&mut self, name: &str, message: Message) -> Result<Message, ClientError> {
        self.command(name, message, "", &mut |_| {})
    }

    /// Sends a command that streams its results as events, gives each to `each`, and returns the answer that ends them.
    ///
    /// # Errors
    /// As [`Client::request`], or the daemon does not know the event.
    pub fn streamed(
        &mut self,
        name: &str,
        event: &str,
        message: Message,
        mut each: impl FnMut(Message),
    ) -> Result<Message, ClientError> {
        self.register(event)?;
        let answer = self.command(name, message, event, &mut each)?;
        self.unregister(event)?;
        Ok(answer)
    }

    /// Asks for an event; [`Client::next_event`] returns it.
    ///
    /// # Errors
    /// The stream failed, or the daemon does not know the event.
    pub fn register(&mut self, event: &str) -> Result<(), ClientError> {
        self.registration(event, Packet::EventRegister { name: event.into() })
    }

    /// Does not want an event any more.
    ///
    /// # Errors
    /// As [`Client::register`].
    pub fn unregister(&mut self, event: &str) -> Result<(), ClientError> {
        self.registration(event, Packet::EventUnregister { name: event.into() })
    }

    /// Waits for the next event: its name and content.
    ///
    /// # Errors
    /// The stream failed; a read timeout of the stream is [`ClientError::Io`] and loses nothing.
    pub fn next_event(&mut self) -> Result<(String, Message), ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        match self.receive()? {
            Packet::Event { name, message } => Ok((name, message)),
            _ => Err(ClientError::UnexpectedPacket),
        }
    }

    fn command(
        &mut self,
        name: &str,
        message: Message,
        event: &str,
        each: &mut dyn FnMut(Message),
    ) -> Result<Message, ClientError> {
        self.send(&Packet::CommandRequest { name: name.into(), message })?;
        loop {
            match self.receive()? {
                Packet::CommandResponse(message) => return Ok(message),
                Packet::CommandUnknown => return Err(ClientError::UnknownCommand(name.into())),
                Packet::Event { name, message } if name == event => each(message),
                Packet::Event { name, message } => self.keep(name, message),
                _ => return Err(ClientError::UnexpectedPacket),
            }
        }
    }

    fn registration(&mut self, event: &str, packet: Packet) -> Result<(), ClientError> {
        self.send(&packet)?;
        loop {
            match self.receive()? {
                Packet::EventConfirm => return Ok(()),
                Packet::EventUnknown => return Err(ClientError::UnknownEvent(event.into())),
                Packet::Event { name, message } => self.keep(name, message),
                _ => return Err(ClientError::UnexpectedPacket),
            }
        }
    }

    fn keep(&mut self, name: String, message: Message) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back((name, message));
    }

    fn send(&mut self, packet: &Packet) -> Result<(), ClientError> {
        self.stream.write_all(&packet.encode())?;
        Ok(self.stream.flush()?)
    }

    fn receive(&mut self) -> Result<Packet, ClientError> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(packet) = self.input.next_packet().map_err(ClientError::Packet)? {
                return Ok(packet);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(n) => self.input.push(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ClientError::Io(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, Session};

    /// A daemon inside a stream: what the client writes is answered when it reads.
    #[derive(Default)]
    struct Daemon {
        session: Session,
        output: VecDeque<u8>,
    }

    impl Write for Daemon {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.session.receive(octets).unwrap();
            while let Some(request) = self.session.poll().unwrap() {
                if let Request::Command { name, .. } = request {
                    let mut answer = Message::new();
                    answer.set("command", &name);
                    self.session.event("log", &answer);
                    for _ in 0..2 {
                        self.session.event("list-sa", &answer);
                    }
                    if name == "nosuch" { self.session.unknown_command() } else { self.session.reply(&answer) }
                }
            }
            self.output.extend(self.session.take_output());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Daemon {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            // Three octets at a time, to exercise the reassembly.
            let n = out.len().min(3);
            self.output.read(&mut out[..n])
        }
    }

    #[test]
    fn requests_streams_and_events() {
        let mut client = Client::new(Daemon::default());
        client.register("log").unwrap();
        let answer = client.request("version", Message::new()).unwrap();
        assert_eq!(answer.get_str("command"), Some("version"));
        let mut listed = 0;
        client.streamed("list-sas", "list-sa", Message::new(), |_| listed += 1).unwrap();
        assert_eq!(listed, 2);
        for of in ["version", "list-sas"] {
            let (name, event) = client.next_event().unwrap();
            assert_eq!((name.as_str(), event.get_str("command")), ("log", Some(of)));
        }
        assert!(
            matches!(client.request("nosuch", Message::new()), Err(ClientError::UnknownCommand(n)) if n == "nosuch")
        );
        assert!(matches!(client.register("nosuch"), Err(ClientError::UnknownEvent(n)) if n == "nosuch"));
        client.next_event().unwrap();
        assert!(matches!(client.next_event(), Err(ClientError::Closed)));
        assert_eq!(client.lost_events(), 0);
    }
}
