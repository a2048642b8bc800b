//! The payload chain: generic headers one after the other (RFC 2408 section 3.2, RFC 7296 section 3.2).

use crate::error::{Field, ParseError, Reader, Why};
use crate::registry::PayloadType;

/// The most payloads a chain may have. Real messages stay under 30; a peer gains nothing from more.
pub const MAX_PAYLOADS: usize = 128;

/// Octets of the generic payload header.
pub const GENERIC_HEADER_LEN: usize = 4;

/// One payload, its contents not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPayload<'a> {
    /// Its type, from the header before it.
    pub kind: PayloadType,
    /// IKEv2's Critical bit (RFC 7296 section 2.5). In IKEv1 the bit is reserved.
    pub critical: bool,
    /// What follows the generic header.
    pub body: &'a [u8],
    /// Octet offset of the generic header.
    pub offset: usize,
    /// The Next Payload field: the following payload's type, or for SK and SKF that of the first inner payload.
    pub next: PayloadType,
}

impl<'a> RawPayload<'a> {
    /// Octet offset of the body.
    pub const fn body_offset(&self) -> usize {
        self.offset + GENERIC_HEADER_LEN
    }

    pub(crate) const fn reader(&self) -> Reader<'a> {
        Reader::new(self.body, self.body_offset())
    }
}

/// Iterates over a chain; ends for good after the first error.
///
/// Each step takes at least four octets, so the work is linear in the octets. The Encrypted payload and the Encrypted
/// Fragment payload end a chain, because their Next Payload belongs to the content (RFC 7296 section 3.14).
#[derive(Clone)]
pub struct Payloads<'a> {
    next: PayloadType,
    octets: Reader<'a>,
    seen: usize,
    done: bool,
}

impl<'a> Payloads<'a> {
    /// The chain in `chain`, which begins with a payload of type `first`; offsets are counted from `base_offset`.
    pub const fn new(first: PayloadType, chain: &'a [u8], base_offset: usize) -> Self {
        Self { next: first, octets: Reader::new(chain, base_offset), seen: 0, done: false }
    }

    fn step(&mut self) -> Result<Option<RawPayload<'a>>, ParseError> {
        let offset = self.octets.at();
        if self.next == PayloadType::NONE {
            return match self.octets.len() {
                0 => Ok(None),
                octets => Err(ParseError::new(offset, Field::PayloadChain, Why::Trailing { octets })),
            };
        }
        if self.seen == MAX_PAYLOADS {
            return Err(ParseError::new(offset, Field::PayloadChain, Why::TooMany { limit: MAX_PAYLOADS }));
        }
        let [next, bits, high, low] = self.octets.array(Field::GenericHeader)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let available = GENERIC_HEADER_LEN + self.octets.len();
        let Some(body_len) = length.checked_sub(GENERIC_HEADER_LEN).filter(|_| length <= available) else {
            let why = Why::LengthOutOfRange { found: length, min: GENERIC_HEADER_LEN, max: available };
            return Err(ParseError::new(offset + 2, Field::PayloadLength, why));
        };
        let body = self.octets.take(body_len, Field::PayloadLength)?;
        let (kind, next) = (self.next, PayloadType(next));
        // RFC 7296 section 3.14: an Encrypted payload must be the last one.
        self.next = if kind == PayloadType::SK || kind == PayloadType::SKF { PayloadType::NONE } else { next };
        self.seen += 1;
        Ok(Some(RawPayload { kind, critical: bits & 0x80 != 0, body, offset, next }))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<RawPayload<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl std::iter::FusedIterator for Payloads<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_error(first: PayloadType, chain: &[u8]) -> ParseError {
        let mut payloads = Payloads::new(first, chain, 28);
        let error = payloads.by_ref().last().unwrap().unwrap_err();
        assert!(payloads.next().is_none(), "fused");
        error
    }

    #[test]
    fn a_chain_is_walked_in_order() {
        let chain = [43, 0x80, 0, 6, 1, 2, 0, 0, 0, 4];
        let all: Vec<_> = Payloads::new(PayloadType::NONCE, &chain, 28).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].kind, all[0].critical, all[0].body, all[0].offset),
            (PayloadType::NONCE, true, &[1, 2][..], 28)
        );
        assert_eq!(
            (all[1].kind, all[1].critical, all[1].body, all[1].offset),
            (PayloadType::VENDOR_ID, false, &[][..], 34)
        );
        assert_eq!(all[1].body_offset(), 38);
        assert_eq!(Payloads::new(PayloadType::NONE, &[], 0).count(), 0);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let error = last_error(PayloadType::NONCE, &[0, 0, 0]);
        assert_eq!((error.at, error.what, error.why), (28, Field::GenericHeader, Why::Truncated { need: 4, have: 3 }));
        for length in [0, 3, 6] {
            let error = last_error(PayloadType::NONCE, &[0, 0, 0, length, 1]);
            let why = Why::LengthOutOfRange { found: length.into(), min: 4, max: 5 };
            assert_eq!((error.at, error.what, error.why), (30, Field::PayloadLength, why));
        }
        let error = last_error(PayloadType::NONCE, &[0, 0, 0, 4, 9, 9]);
        assert_eq!((error.at, error.why), (32, Why::Trailing { octets: 2 }));
        let error = last_error(PayloadType::NONE, &[1]);
        assert_eq!((error.at, error.why), (28, Why::Trailing { octets: 1 }));
    }

    #[test]
    fn an_encrypted_payload_ends_the_chain() {
        for kind in [PayloadType::SK, PayloadType::SKF] {
            let all: Vec<_> = Payloads::new(kind, &[35, 0, 0, 5, 7], 0).collect::<Result<_, _>>().unwrap();
            assert_eq!((all.len(), all[0].next), (1, PayloadType::IDI));
            assert_eq!(last_error(kind, &[43, 0, 0, 4, 0, 0, 0, 4]).why, Why::Trailing { octets: 4 });
        }
    }

    #[test]
    fn the_number_of_payloads_is_bounded() {
        let chain = [43, 0, 0, 4].repeat(1000);
        assert_eq!(Payloads::new(PayloadType::VENDOR_ID, &chain, 0).filter(Result::is_ok).count(), MAX_PAYLOADS);
        assert_eq!(last_error(PayloadType::VENDOR_ID, &chain).why, Why::TooMany { limit: MAX_PAYLOADS });
    }
}
