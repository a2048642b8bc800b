//! Room for encryption in place: messages laid out with an Encrypted payload (RFC 7296 section 3.14) or with Encrypted
//! Fragment payloads (RFC 7383 section 2.5), all lengths final, IV and checksum still zero.

use std::ops::Range;

use super::ChainBuilder;
use crate::error::{Field, ParseError, Why};
use crate::header::{HEADER_LEN, Header};
use crate::payloads::GENERIC_HEADER_LEN;
use crate::registry::PayloadType;

/// A message ready to be sealed in place. The parts follow each other without a gap:
/// authenticated octets, IV, body, ICV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedLayout {
    /// The whole message.
    pub message: Vec<u8>,
    /// Octets from the start that are authenticated but not encrypted: IKE header, generic header and, in a fragment,
    /// its number and total. This is the associated data of RFC 5282 section 5.1.
    pub aad_len: usize,
    /// Where the IV starts; it ends where `body` starts.
    pub iv_at: usize,
    /// To be encrypted: inner payloads, padding and Pad Length.
    pub body: Range<usize>,
    /// The Integrity Checksum Data. With a separate integrity algorithm it covers everything before it.
    pub icv: Range<usize>,
}

/// Lays out a message whose payloads are all inside an Encrypted payload. Next Payload and Length of `header` are filled
/// in. `iv_len` and `icv_len` are octets; `block` is the cipher's block in octets, 1 where it has none, at most 256.
///
/// Padding is zero octets, of the least possible number that [`ChainBuilder::at_least`] leaves (RFC 7296 section 3.14).
///
/// # Panics
/// Where the payload exceeds 65,535 octets.
pub fn seal_layout(
    header: Header,
    mut chain: ChainBuilder,
    iv_len: usize,
    block: usize,
    icv_len: usize,
) -> SealedLayout {
    let (least, front) = (chain.least(), chain.taken_in_front());
    let (next, content) = chain.finish();
    lay_out(header, front.as_ref(), PayloadType::SK, next, &[], (&content, least), [iv_len, block, icv_len])
}

/// As [`seal_layout`] where the message fits `max_len` octets, else as many Encrypted Fragment messages of at most that
/// size as needed (RFC 7383 section 2.5), each to be sealed with an IV of its own. `max_len` counts from the IKE header
/// on, so take IP, UDP and the non-ESP marker off first.
///
/// `None` where `max_len` leaves no room for content or where 65,535 fragments do not suffice.
pub fn seal_fragment_layouts(
    header: Header,
    mut chain: ChainBuilder,
    iv_len: usize,
    block: usize,
    icv_len: usize,
    max_len: usize,
) -> Option<Vec<SealedLayout>> {
    let (least, front) = (chain.least(), chain.taken_in_front());
    let (first, content) = chain.finish();
    let sizes = [iv_len, block, icv_len];
    let front_len = front.as_ref().map_or(0, |(_, body)| GENERIC_HEADER_LEN + body.len());
    let overhead = HEADER_LEN + front_len + GENERIC_HEADER_LEN + iv_len + icv_len;
    if overhead + padded_len(content.len(), least, block) <= max_len {
        return Some(vec![lay_out(header, front.as_ref(), PayloadType::SK, first, &[], (&content, least), sizes)]);
    }
    let room = max_len.checked_sub(overhead + 4)?;
    let chunk = (room - room % block.max(1)).checked_sub(1).filter(|chunk| *chunk > 0)?;
    let total = u16::try_from(content.len().div_ceil(chunk)).ok()?;
    let layouts = content.chunks(chunk).zip(1u16..).map(|(chunk, number)| {
        let mut counters = [0; 4];
        counters[..2].copy_from_slice(&number.to_be_bytes());
        counters[2..].copy_from_slice(&total.to_be_bytes());
        let next = if number == 1 { first } else { PayloadType::NONE };
        let front = front.as_ref().filter(|_| number == 1);
        lay_out(header, front, PayloadType::SKF, next, &counters, (chunk, 0), sizes)
    });
    Some(layouts.collect())
}

/// Octets of content, padding and Pad Length together, at least `least`.
fn padded_len(content: usize, least: usize, block: usize) -> usize {
    (content + 1).max(least).next_multiple_of(block.max(1))
}

fn lay_out(
    header: Header,
    front: Option<&(PayloadType, Vec<u8>)>,
    kind: PayloadType,
    next: PayloadType,
    counters: &[u8],
    (content, least): (&[u8], usize),
    [iv_len, block, icv_len]: [usize; 3],
) -> SealedLayout {
    let body_len = padded_len(content.len(), least, block);
    let padding = u8::try_from(body_len - content.len() - 1).expect("Pad Length is one octet");
    let payload_len = GENERIC_HEADER_LEN + counters.len() + iv_len + body_len + icv_len;
    let [high, low] = u16::try_from(payload_len).expect("a payload of at most 65,535 octets").to_be_bytes();
    let front_len = front.map_or(0, |(_, body)| GENERIC_HEADER_LEN + body.len());
    let length = HEADER_LEN + front_len + payload_len;

    let mut message = Vec::with_capacity(length);
    let next_payload = front.map_or(kind, |(front, _)| *front);
    Header { next_payload, length: length as u32, ..header }.write(&mut message);
    if let Some((_, body)) = front {
        let [high, low] = u16::try_from(front_len).expect("a payload of at most 65,535 octets").to_be_bytes();
        message.extend_from_slice(&[kind.0, 0, high, low]);
        message.extend_from_slice(body);
    }
    message.extend_from_slice(&[next.0, 0, high, low]);
    message.extend_from_slice(counters);
    let iv_at = message.len();
    message.resize(iv_at + iv_len, 0);
    let body = message.len()..message.len() + body_len;
    message.extend_from_slice(content);
    message.resize(body.end - 1, 0);
    message.push(padding);
    message.resize(length, 0);
    SealedLayout { message, aad_len: iv_at, iv_at, icv: body.end..length, body }
}

/// Takes padding and Pad Length off decrypted content (RFC 7296 section 3.14). The padding may have any value. Call this
/// only once the content is authentic: what it says would tell an attacker about forged ciphertext.
///
/// # Errors
/// Where there is no Pad Length or it exceeds what is there.
pub fn strip_padding(content: &[u8]) -> Result<&[u8], ParseError> {
    let Some((&pad, rest)) = content.split_last() else {
        return Err(ParseError::new(0, Field::PadLength, Why::Truncated { need: 1, have: 0 }));
    };
    let pad = usize::from(pad);
    let why = Why::LengthOutOfRange { found: pad, min: 0, max: rest.len() };
    let end = rest.len().checked_sub(pad).ok_or(ParseError::new(rest.len(), Field::PadLength, why))?;
    Ok(rest.split_at(end).0)
}

#[cfg(test)]
mod tests {
    use super::super::{Payload, parse_chain};
    use super::*;
    use crate::header::{Flags, IkeSpi, SpiPair, Version};
    use crate::registry::{ExchangeType, IdType};

    fn header() -> Header {
        Header {
            spis: SpiPair { initiator: IkeSpi::from(1), responder: IkeSpi::from(2) },
            next_payload: PayloadType::NONE,
            version: Version::V2,
            exchange: ExchangeType::IKE_AUTH,
            flags: Flags::INITIATOR,
            message_id: 1,
            length: 0,
        }
    }

    fn chain(octets: usize) -> ChainBuilder {
        let mut chain = ChainBuilder::new();
        chain.id_i(IdType::KEY_ID, &vec![0x55; octets - 8]);
        chain
    }

    #[test]
    fn the_layout_follows_section_3_14() {
        for (content, iv, block, icv, pad) in
            [(20, 16, 16, 16, 11), (15, 16, 16, 12, 0), (16, 16, 16, 16, 15), (20, 8, 1, 16, 0), (9, 8, 8, 12, 6)]
        {
            let sealed = seal_layout(header(), chain(content), iv, block, icv);
            assert_eq!((sealed.aad_len, sealed.iv_at), (32, 32));
            assert_eq!(sealed.body, 32 + iv..32 + iv + content + pad + 1);
            assert_eq!(sealed.body.len() % block, 0);
            assert_eq!(sealed.icv, sealed.body.end..sealed.body.end + icv);
            assert_eq!(sealed.icv.end, sealed.message.len());
            let parsed = Header::parse(&sealed.message).unwrap();
            assert_eq!(parsed.next_payload, PayloadType::SK);
            let outer = parse_chain(parsed.next_payload, &sealed.message[28..], 28).unwrap();
            let Some(Payload::Encrypted { next, content: sealed_content, offset }) = outer.encrypted() else {
                panic!("an Encrypted payload")
            };
            assert_eq!((*next, *offset, *sealed_content), (PayloadType::IDI, 32, &sealed.message[32..]));
            let inner = strip_padding(&sealed.message[sealed.body.clone()]).unwrap();
            assert_eq!(inner, chain(content).finish().1);
        }
    }

    #[test]
    fn an_empty_message_is_padding_only() {
        let sealed = seal_layout(header(), ChainBuilder::new(), 16, 16, 16);
        assert_eq!(sealed.body.len(), 16);
        assert_eq!(sealed.message[28], PayloadType::NONE.0);
        assert_eq!(strip_padding(&sealed.message[sealed.body]).unwrap(), b"");
    }

    #[test]
    fn fragments_carry_the_whole_content() {
        for (block, iv, icv) in [(16, 16, 16), (1, 8, 16), (8, 8, 12)] {
            let whole = seal_fragment_layouts(header(), chain(300), iv, block, icv, 500).unwrap();
            assert_eq!(whole, [seal_layout(header(), chain(300), iv, block, icv)]);
            let fragments = seal_fragment_layouts(header(), chain(5000), iv, block, icv, 500).unwrap();
            let mut content = Vec::new();
            for (index, fragment) in fragments.iter().enumerate() {
                assert!(fragment.message.len() <= 500 && fragment.message.len() == fragment.icv.end);
                let parsed = Header::parse(&fragment.message).unwrap();
                let outer = parse_chain(parsed.next_payload, &fragment.message[28..], 28).unwrap();
                let Some(Payload::EncryptedFragment { next, number, total, offset, .. }) = outer.encrypted() else {
                    panic!("an Encrypted Fragment payload")
                };
                assert_eq!((usize::from(*number), usize::from(*total)), (index + 1, fragments.len()));
                assert_eq!(*next, if index == 0 { PayloadType::IDI } else { PayloadType::NONE });
                assert_eq!((*offset, fragment.aad_len, fragment.iv_at), (36, 36, 36));
                assert_eq!((fragment.body.start, fragment.body.len() % block), (36 + iv, 0));
                content.extend_from_slice(strip_padding(&fragment.message[fragment.body.clone()]).unwrap());
            }
            assert_eq!(content, chain(5000).finish().1);
        }
        assert_eq!(seal_fragment_layouts(header(), chain(5000), 16, 16, 16, 68), None);
    }

    #[test]
    fn a_pad_length_beyond_the_content_is_refused() {
        assert_eq!(strip_padding(&[1, 2, 9, 9, 2]).unwrap(), [1, 2]);
        assert_eq!(strip_padding(&[9, 9, 2]).unwrap(), []);
        assert_eq!(strip_padding(&[9, 2]).unwrap_err().why, Why::LengthOutOfRange { found: 2, min: 0, max: 1 });
        assert!(strip_padding(&[]).is_err());
    }

    #[test]
    fn a_payload_may_stand_in_front_of_the_encrypted_one_and_of_the_first_fragment_only() {
        let mut chain = ChainBuilder::new();
        chain.vendor_id(&[7; 200]).in_front(PayloadType::PS, &[1, 2, 3, 4]);
        let whole = seal_layout(header(), chain.clone(), 8, 1, 16);
        let at = HEADER_LEN;
        assert_eq!(whole.message[16], PayloadType::PS.0);
        assert_eq!(whole.message[at..at + 8], [PayloadType::SK.0, 0, 0, 8, 1, 2, 3, 4]);
        assert_eq!((whole.message[at + 8], whole.aad_len), (PayloadType::VENDOR_ID.0, HEADER_LEN + 8 + 4));
        assert_eq!(Header::parse(&whole.message).unwrap().length as usize, whole.message.len());
        let parts = seal_fragment_layouts(header(), chain, 8, 1, 16, 160).unwrap();
        assert!(parts.len() > 1 && parts.iter().all(|part| part.message.len() <= 160));
        for (index, part) in parts.iter().enumerate() {
            let first = if index == 0 { PayloadType::PS } else { PayloadType::SKF };
            assert_eq!(part.message[16], first.0);
            assert_eq!(Header::parse(&part.message).unwrap().length as usize, part.message.len());
        }
        let (second, front) = (&parts[0].message, HEADER_LEN + 8);
        assert_eq!(second[HEADER_LEN], PayloadType::SKF.0);
        assert_eq!(second[front + 4..front + 6], [0, 1], "Fragment Number");
    }
}
