//! What can be wrong with octets from a peer, and the cursor that finds it.

use std::fmt;

/// Why a datagram, a payload or a substructure was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Octet offset of the offending field, in the datagram or in the decrypted chain, whichever was parsed.
    pub at: usize,
    /// The field.
    pub what: Field,
    /// What is wrong with it.
    pub why: Why,
}

impl ParseError {
    pub(crate) const fn new(at: usize, what: Field, why: Why) -> Self {
        Self { at, what, why }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "octet {}: {} {}", self.at, self.what, self.why)
    }
}

impl std::error::Error for ParseError {}

macro_rules! fields {
    ($($(#[$meta:meta])* $name:ident => $text:literal),+ $(,)?) => {
        /// The fields of ISAKMP, IKEv2 and ESP that a parser can object to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Field { $($(#[$meta])* $name),+ }

        impl fmt::Display for Field {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text),+ })
            }
        }
    };
}

fields! {
    /// The 28-octet header (RFC 7296 section 3.1).
    Header => "IKE header",
    /// The header's Length.
    HeaderLength => "header Length",
    /// The chain as a whole.
    PayloadChain => "payload chain",
    /// The four octets in front of each payload (RFC 7296 section 3.2).
    GenericHeader => "generic payload header",
    /// Payload Length.
    PayloadLength => "Payload Length",
    /// A Next Payload.
    NextPayload => "Next Payload",
    /// The SA payload's contents.
    SecurityAssociation => "Security Association payload",
    /// IKEv1's Domain of Interpretation.
    Doi => "Domain of Interpretation",
    /// IKEv1's Situation.
    Situation => "Situation",
    /// A Proposal substructure.
    Proposal => "Proposal",
    /// Last Substruc of a Proposal or Transform.
    LastSubstructure => "Last Substruc",
    /// Proposal Length.
    ProposalLength => "Proposal Length",
    /// Proposal Num.
    ProposalNumber => "Proposal Num",
    /// SPI Size.
    SpiSize => "SPI Size",
    /// An SPI.
    Spi => "SPI",
    /// Num Transforms.
    TransformCount => "Num Transforms",
    /// A Transform substructure.
    Transform => "Transform",
    /// Transform Length.
    TransformLength => "Transform Length",
    /// A data attribute.
    Attribute => "attribute",
    /// The Key Length attribute.
    KeyLength => "Key Length attribute",
    /// The Key Exchange payload.
    KeyExchange => "Key Exchange payload",
    /// An Identification payload.
    Identification => "Identification payload",
    /// The Certificate payload.
    Certificate => "Certificate payload",
    /// The Certificate Request payload.
    CertificateRequest => "Certificate Request payload",
    /// The Authentication payload.
    Authentication => "Authentication payload",
    /// The Nonce payload.
    Nonce => "Nonce payload",
    /// The Notify payload.
    Notify => "Notify payload",
    /// The Delete payload.
    Delete => "Delete payload",
    /// Num of SPIs in a Delete payload.
    SpiCount => "Num of SPIs",
    /// A Traffic Selector payload.
    TrafficSelectors => "Traffic Selector payload",
    /// Number of TSs.
    SelectorCount => "Number of TSs",
    /// One Traffic Selector.
    TrafficSelector => "Traffic Selector",
    /// Selector Length.
    SelectorLength => "Selector Length",
    /// The addresses of a Traffic Selector.
    AddressRange => "address range",
    /// The ports of a Traffic Selector.
    PortRange => "port range",
    /// The Configuration payload.
    Configuration => "Configuration payload",
    /// The Extensible Authentication payload.
    Eap => "Extensible Authentication payload",
    /// The Puzzle Solution payload.
    PuzzleSolution => "Puzzle Solution payload",
    /// The Encrypted payload.
    Encrypted => "Encrypted payload",
    /// The Encrypted Fragment payload.
    EncryptedFragment => "Encrypted Fragment payload",
    /// Fragment Number.
    FragmentNumber => "Fragment Number",
    /// IKEv1's Hash payload.
    Hash => "Hash payload",
    /// IKEv1's Signature payload.
    Signature => "Signature payload",
    /// A NAT-D payload (RFC 3947 section 3.2).
    NatDiscovery => "NAT-D payload",
    /// IKEv1's fragment payload.
    Fragment => "fragment payload",
    /// Pad Length of decrypted content.
    PadLength => "Pad Length",
    /// The ESP header (RFC 4303 section 2).
    EspHeader => "ESP header",
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The octets end before the field does.
    Truncated {
        /// Octets the field needs.
        need: usize,
        /// Octets that are left.
        have: usize,
    },
    /// The header's Length is not the datagram's.
    LengthMismatch {
        /// What the header says.
        header: usize,
        /// What arrived.
        actual: usize,
    },
    /// A length is outside what its structure allows, the limits included.
    LengthOutOfRange {
        /// The length found.
        found: usize,
        /// The smallest allowed.
        min: usize,
        /// The largest allowed.
        max: usize,
    },
    /// A value that the RFC does not allow here.
    Value {
        /// The value found.
        found: u64,
        /// The value, or one of the values, that would have been right.
        expected: u64,
    },
    /// The first of a range is above its last.
    Reversed,
    /// More elements than this implementation takes.
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Octets that belong to nothing.
    Trailing {
        /// How many.
        octets: usize,
    },
    /// At least one element must be there, and none is.
    Empty,
    /// The element may appear once only.
    Repeated,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need, have } => write!(f, "is cut short: {need} octets needed, {have} left"),
            Self::LengthMismatch { header, actual } => write!(f, "says {header} octets, the datagram has {actual}"),
            Self::LengthOutOfRange { found, min, max } if min == max => write!(f, "is {found} octets, must be {min}"),
            Self::LengthOutOfRange { found, min, max } => write!(f, "is {found} octets, must be {min} to {max}"),
            Self::Value { found, expected } => write!(f, "is {found}, must be {expected}"),
            Self::Reversed => f.write_str("starts after its end"),
            Self::TooMany { limit } => write!(f, "has more than {limit} elements"),
            Self::Trailing { octets } => write!(f, "is followed by {octets} octets that belong to nothing"),
            Self::Empty => f.write_str("is empty"),
            Self::Repeated => f.write_str("appears twice"),
        }
    }
}

/// A cursor over octets that knows where it is; the only way this crate takes octets apart.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8], at: usize) -> Self {
        Self { rest: octets, at }
    }

    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn array<const N: usize>(&mut self, what: Field) -> Result<[u8; N], ParseError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(ParseError::new(self.at, what, Why::Truncated { need: N, have: self.rest.len() }));
        };
        self.rest = tail;
        self.at += N;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self, what: Field) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn take(&mut self, octets: usize, what: Field) -> Result<&'a [u8], ParseError> {
        let Some((head, tail)) = self.rest.split_at_checked(octets) else {
            return Err(ParseError::new(self.at, what, Why::Truncated { need: octets, have: self.rest.len() }));
        };
        self.rest = tail;
        self.at += octets;
        Ok(head)
    }
}
