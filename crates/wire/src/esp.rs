//! The clear part of ESP and its UDP encapsulation (RFC 4303 section 2, RFC 3948 section 2).

use crate::error::{Field, ParseError, Reader};

/// Octets of the SPI and the sequence number.
pub const HEADER_LEN: usize = 8;

/// The UDP port of encapsulated ESP and of IKE behind a NAT (RFC 3948 section 2.1, RFC 7296 section 2.23).
pub const PORT: u16 = 4500;

/// The four zero octets in front of IKE on port 4500 (RFC 3948 section 2.2): no SPI is zero.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The datagram that keeps a NAT mapping alive (RFC 3948 section 2.3).
pub const KEEPALIVE: [u8; 1] = [0xff];

/// The smallest SPI an implementation may choose; zero is local and 1 to 255 are IANA's (RFC 4303 section 2.1).
pub const MIN_SPI: u32 = 256;

/// The next header value of a dummy packet (RFC 4303 section 2.6).
pub const NEXT_HEADER_DUMMY: u8 = 59;

/// The clear part of an ESP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Security Parameters Index.
    pub spi: u32,
    /// The low 32 bits of the sequence number.
    pub sequence: u32,
}

impl Header {
    /// Reads the header in front of an ESP packet.
    ///
    /// # Errors
    /// [`Why::Truncated`](crate::Why::Truncated) under eight octets.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let mut octets = Reader::new(packet, 0);
        Ok(Self { spi: octets.u32(Field::EspHeader)?, sequence: octets.u32(Field::EspHeader)? })
    }

    /// The eight octets.
    pub const fn to_octets(self) -> [u8; HEADER_LEN] {
        (((self.spi as u64) << 32) | self.sequence as u64).to_be_bytes()
    }
}

/// What a datagram on UDP port 4500 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port4500<'a> {
    /// An IKE message, the marker taken off.
    Ike(&'a [u8]),
    /// A NAT keepalive: to be ignored.
    Keepalive,
    /// An ESP packet.
    Esp(&'a [u8]),
    /// Too short to be any of them.
    TooShort,
}

/// Tells IKE, ESP and keepalives apart (RFC 3948 section 2).
pub fn classify(datagram: &[u8]) -> Port4500<'_> {
    if datagram == KEEPALIVE {
        return Port4500::Keepalive;
    }
    match datagram.split_first_chunk() {
        Some((&NON_ESP_MARKER, message)) => Port4500::Ike(message),
        Some(_) => Port4500::Esp(datagram),
        None => Port4500::TooShort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_and_written() {
        let octets = [0xc0, 0, 0, 1, 0, 0, 2, 3];
        let header = Header::parse(&octets).unwrap();
        assert_eq!(header, Header { spi: 0xc000_0001, sequence: 0x203 });
        assert_eq!(header.to_octets(), octets);
        assert!(Header::parse(&octets[..7]).is_err());
    }

    #[test]
    fn datagrams_are_told_apart() {
        assert_eq!(classify(&[0xff]), Port4500::Keepalive);
        assert_eq!(classify(&[0xff, 0xff]), Port4500::TooShort);
        assert_eq!(classify(&[]), Port4500::TooShort);
        assert_eq!(classify(&[0, 0, 0]), Port4500::TooShort);
        assert_eq!(classify(&[0, 0, 0, 0]), Port4500::Ike(&[]));
        assert_eq!(classify(&[0, 0, 0, 0, 9]), Port4500::Ike(&[9]));
        assert_eq!(classify(&[0, 0, 0, 1, 9]), Port4500::Esp(&[0, 0, 0, 1, 9]));
        assert_eq!(classify(&[0xff; 8]), Port4500::Esp(&[0xff; 8]));
    }
}
