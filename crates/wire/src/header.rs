//! The ISAKMP header, the same 28 octets in both versions (RFC 2408 section 3.1, RFC 7296 section 3.1).

use std::fmt;

use crate::error::{Field, ParseError, Reader, Why};
use crate::registry::{ExchangeType, PayloadType};

/// Octets of the header.
pub const HEADER_LEN: usize = 28;

/// One end's SPI of an IKE SA. RFC 2408 calls these cookies.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    /// "Not chosen yet": the responder's SPI in the first message.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether no SPI was chosen yet.
    pub const fn is_zero(self) -> bool {
        self.to_u64() == 0
    }

    /// The SPI as a number, first octet most significant.
    pub const fn to_u64(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

impl From<u64> for IkeSpi {
    fn from(number: u64) -> Self {
        Self(number.to_be_bytes())
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.to_u64())
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IkeSpi({self})")
    }
}

/// The two SPIs that name an IKE SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiPair {
    /// The original initiator's SPI.
    pub initiator: IkeSpi,
    /// The original responder's SPI, zero until it has answered.
    pub responder: IkeSpi,
}

impl fmt::Display for SpiPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.initiator, self.responder)
    }
}

/// The version octet: major in the upper half, minor in the lower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u8);

impl Version {
    /// IKEv1, ISAKMP 1.0.
    pub const V1: Self = Self(0x10);
    /// IKEv2.
    pub const V2: Self = Self(0x20);

    /// The major version.
    pub const fn major(self) -> u8 {
        self.0 >> 4
    }

    /// The minor version, ignored on receipt (RFC 7296 section 3.1).
    pub const fn minor(self) -> u8 {
        self.0 & 0x0f
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

/// The header's flags. The two versions use different bits, so one type serves both.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// IKEv1: the payloads are encrypted (RFC 2408 section 3.1).
    pub const ENCRYPTION: Self = Self(0x01);
    /// IKEv1: wait for CONNECTED (RFC 2408 section 3.1).
    pub const COMMIT: Self = Self(0x02);
    /// IKEv1: authenticated, not encrypted (RFC 2408 section 3.1).
    pub const AUTH_ONLY: Self = Self(0x04);
    /// IKEv2: sent by the original initiator of the IKE SA (RFC 7296 section 3.1).
    pub const INITIATOR: Self = Self(0x08);
    /// IKEv2: the sender can speak a higher major version (RFC 7296 section 3.1).
    pub const VERSION: Self = Self(0x10);
    /// IKEv2: a response (RFC 7296 section 3.1).
    pub const RESPONSE: Self = Self(0x20);

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 6] = [
            (Flags::ENCRYPTION, " ENCRYPTION"),
            (Flags::COMMIT, " COMMIT"),
            (Flags::AUTH_ONLY, " AUTH_ONLY"),
            (Flags::INITIATOR, " INITIATOR"),
            (Flags::VERSION, " VERSION"),
            (Flags::RESPONSE, " RESPONSE"),
        ];
        write!(f, "Flags({:#04x}", self.0)?;
        NAMES.iter().filter(|(flag, _)| self.contains(*flag)).try_for_each(|(_, name)| f.write_str(name))?;
        f.write_str(")")
    }
}

/// The header of every IKE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Both SPIs.
    pub spis: SpiPair,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Protocol version; not judged by the parser.
    pub version: Version,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// Flags; unknown bits are kept.
    pub flags: Flags,
    /// Message ID.
    pub message_id: u32,
    /// Octets of the whole message, header included.
    pub length: u32,
}

impl Header {
    /// Reads the header of one datagram (without the non-ESP marker of UDP port 4500).
    ///
    /// # Errors
    /// [`Why::Truncated`] under 28 octets, [`Why::LengthMismatch`] where Length is not the datagram's.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        Self::split(datagram).map(|(header, _)| header)
    }

    /// As [`Header::parse`], with the payload chain behind it; the chain starts at octet [`HEADER_LEN`].
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn split(datagram: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let short = Why::Truncated { need: HEADER_LEN, have: datagram.len() };
        let mut octets = match datagram.get(..HEADER_LEN) {
            Some(header) => Reader::new(header, 0),
            None => return Err(ParseError::new(0, Field::Header, short)),
        };
        let initiator = IkeSpi(octets.array(Field::Header)?);
        let responder = IkeSpi(octets.array(Field::Header)?);
        let [next_payload, version, exchange, flags] = octets.array(Field::Header)?;
        let message_id = octets.u32(Field::Header)?;
        let length = octets.u32(Field::HeaderLength)?;
        let actual = datagram.len();
        if usize::try_from(length) != Ok(actual) {
            let header = usize::try_from(length).unwrap_or(usize::MAX);
            return Err(ParseError::new(24, Field::HeaderLength, Why::LengthMismatch { header, actual }));
        }
        let header = Self {
            spis: SpiPair { initiator, responder },
            next_payload: PayloadType(next_payload),
            version: Version(version),
            exchange: ExchangeType(exchange),
            flags: Flags(flags),
            message_id,
            length,
        };
        Ok((header, datagram.get(HEADER_LEN..).unwrap_or_default()))
    }

    /// Appends the 28 octets, every field as it stands.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.spis.initiator.0);
        out.extend_from_slice(&self.spis.responder.0);
        out.extend_from_slice(&[self.next_payload.0, self.version.0, self.exchange.0, self.flags.0]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
    }

    /// IKEv2: whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flags.contains(Flags::RESPONSE)
    }

    /// IKEv2: whether the original initiator of the IKE SA sent this.
    pub fn from_initiator(&self) -> bool {
        self.flags.contains(Flags::INITIATOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Composed by hand after RFC 7296 figure 4.
    const OCTETS: [u8; 28] = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 46, 0x20, 37,
        0x28, 0, 0, 1, 2, 0, 0, 0, 28,
    ];

    #[test]
    fn the_header_is_read_and_written() {
        let header = Header::parse(&OCTETS).unwrap();
        assert_eq!(header.spis.to_string(), "0102030405060708:a1a2a3a4a5a6a7a8");
        assert_eq!(header.spis.initiator, IkeSpi::from(0x0102_0304_0506_0708));
        assert_eq!(header.next_payload, PayloadType::SK);
        assert_eq!(header.version, Version::V2);
        assert_eq!((header.version.major(), header.version.minor()), (2, 0));
        assert_eq!(header.exchange, ExchangeType::INFORMATIONAL);
        assert_eq!(header.flags, Flags::INITIATOR | Flags::RESPONSE);
        assert!(header.is_response() && header.from_initiator() && !header.flags.contains(Flags::VERSION));
        assert_eq!((header.message_id, header.length), (0x102, 28));
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(out, OCTETS);
        assert_eq!(format!("{:?}", header.flags), "Flags(0x28 INITIATOR RESPONSE)");
    }

    #[test]
    fn a_wrong_length_is_named_with_both_values() {
        for cut in 0..28 {
            let error = Header::parse(&OCTETS[..cut]).unwrap_err();
            assert_eq!(error, ParseError::new(0, Field::Header, Why::Truncated { need: 28, have: cut }));
        }
        let mut longer = OCTETS.to_vec();
        longer.push(0);
        let error = Header::parse(&longer).unwrap_err();
        assert_eq!(error, ParseError::new(24, Field::HeaderLength, Why::LengthMismatch { header: 28, actual: 29 }));
        assert_eq!(error.to_string(), "octet 24: header Length says 28 octets, the datagram has 29");
    }

    #[test]
    fn an_spi_shows_all_its_digits() {
        assert_eq!(IkeSpi::from(0xff).to_string(), "00000000000000ff");
        assert!(IkeSpi::ZERO.is_zero() && !IkeSpi::from(1).is_zero());
        assert_eq!(IkeSpi::from(u64::MAX).to_u64(), u64::MAX);
    }
}
