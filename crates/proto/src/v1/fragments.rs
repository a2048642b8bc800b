//! Fragments of whole IKEv1 messages: Vendor ID FRAGMENTATION, payload 132. No RFC describes them; they are what all
//! peers understand that have them: header, and one payload with identifier, number, a flag for the last, and octets of
//! the message with its own header.
//!
//! ```text
//! HDR, FRAG(1 of 3)  -->
//! HDR, FRAG(2 of 3)  -->
//! HDR, FRAG(3 of 3)  -->
//! ```
//!
//! They are not protected, the message is. What is kept are a few messages in the making for each SA, limited in size.

use super::sa::IsakmpSa;
use crate::context::Context;
use config::Fragmentation;
use model::DropReason;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::v1::{ChainBuilder, Fragment, message, parse_chain};
use wire::{Flags, HEADER_LEN, Header, PayloadType};

/// The longest message that is sent in one piece, and the longest fragment: what fits into IPv6's smallest packet of 1280
/// octets with the headers of IPv6 and UDP and the non-ESP marker.
pub(super) const MAX_MESSAGE: usize = 1280 - 40 - 8 - 4;

/// What a fragment adds to its octets: header, generic header, identifier, number, flag.
const OVERHEAD: usize = HEADER_LEN + 8;

/// No message of phase 1 or quick mode needs more.
const MAX_OCTETS: usize = 16_384;
const MAX_FRAGMENTS: u8 = 64;

/// How many messages may be in the making at once: the last of phase 1 and the first of quick mode go out together.
const MAX_MESSAGES: usize = 4;

/// The messages in the making, the latest begun last.
#[derive(Default)]
pub(super) struct Reassemblies(Vec<Reassembly>);

impl Reassemblies {
    fn take(&mut self, fragment: &Fragment<'_>) -> Result<Option<Vec<u8>>, DropReason> {
        let index = self.0.iter().position(|r| r.id == fragment.id).unwrap_or_else(|| {
            if self.0.len() >= MAX_MESSAGES {
                self.0.remove(0);
            }
            self.0.push(Reassembly { id: fragment.id, ..Reassembly::default() });
            self.0.len() - 1
        });
        let Some(reassembly) = self.0.get_mut(index) else { return Ok(None) };
        let taken = reassembly.take(fragment);
        if !matches!(taken, Ok(None)) {
            self.0.remove(index);
        }
        taken
    }
}

/// A message in the making.
#[derive(Default)]
struct Reassembly {
    id: u16,
    parts: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
    octets: usize,
}

impl Reassembly {
    /// Takes a fragment; the whole message when this was the one that was missing.
    ///
    /// # Errors
    /// If the message would be too long, or this fragment contradicts another.
    fn take(&mut self, fragment: &Fragment<'_>) -> Result<Option<Vec<u8>>, DropReason> {
        let number = fragment.number;
        let beyond = self.last.is_some_and(|last| number > last || (fragment.last && number != last));
        let short = fragment.last && self.parts.last_key_value().is_some_and(|(highest, _)| *highest > number);
        if beyond || short || number > MAX_FRAGMENTS || self.octets + fragment.data.len() > MAX_OCTETS {
            return Err(DropReason::Malformed);
        }
        if fragment.last {
            self.last = Some(number);
        }
        // The first one of a number counts. Should it be forged, the message is not believed and comes again.
        if !self.parts.contains_key(&number) {
            self.octets += fragment.data.len();
            self.parts.insert(number, fragment.data.to_vec());
        }
        if self.last.map(usize::from) != Some(self.parts.len()) {
            return Ok(None);
        }
        let whole = std::mem::take(self).parts.into_values().flatten().collect();
        Ok(Some(whole))
    }
}

/// A datagram that holds a fragment. The whole message, with its header, if that is complete now.
pub(super) fn receive(
    sa: &mut IsakmpSa,
    cx: &mut Context,
    header: &Header,
    datagram: &[u8],
    from: SocketAddr,
) -> Option<(Header, Vec<u8>)> {
    let allowed = sa.connection.as_ref().is_none_or(|c| c.fragmentation != Fragmentation::No);
    if !allowed || sa.is_closed() {
        sa.drop_datagram(cx, DropReason::UnexpectedExchange, from);
        return None;
    }
    let chain = parse_chain(header.next_payload, datagram.get(HEADER_LEN..).unwrap_or_default(), HEADER_LEN, false);
    let taken = match chain.as_ref().ok().and_then(|chain| chain.fragment()) {
        Some(fragment) if !header.flags.contains(Flags::ENCRYPTION) => sa.reassemblies.take(&fragment),
        _ => Err(DropReason::Malformed),
    };
    let whole = match taken {
        Ok(whole) => whole?,
        Err(reason) => {
            sa.drop_datagram(cx, reason, from);
            return None;
        }
    };
    // The exchange type and message ID of fragments say nothing: strongSwan writes Identity Protection and 0.
    let inner = Header::parse(&whole).ok().filter(|inner| {
        inner.spis == header.spis && inner.version.major() == 1 && inner.next_payload != PayloadType::V1_FRAGMENT
    });
    match inner {
        Some(inner) => Some((inner, whole)),
        None => {
            sa.drop_datagram(cx, DropReason::Malformed, from);
            None
        }
    }
}

/// A message as it is sent: in fragments where the peer can take them, the connection wants them and it is long.
pub(super) fn split(sa: &IsakmpSa, whole: Vec<u8>) -> Vec<Vec<u8>> {
    let wanted =
        sa.connection.as_ref().is_some_and(|c| matches!(c.fragmentation, Fragmentation::Yes | Fragmentation::Force));
    let header = match Header::parse(&whole) {
        Ok(header) if sa.fragments && wanted && whole.len() > MAX_MESSAGE => header,
        _ => return vec![whole],
    };
    // The same message has the same identifier each time, so that parts of different times make a whole.
    let [high, low, ..] = crypto::sha1(&[&whole]);
    let parts: Vec<&[u8]> = whole.chunks(MAX_MESSAGE - OVERHEAD).collect();
    let count = parts.len();
    let one = |(number, part): (u8, &&[u8])| {
        let mut chain = ChainBuilder::new();
        let last = u8::from(usize::from(number) == count);
        chain.raw(PayloadType::V1_FRAGMENT, &[&[high, low | 1, number, last], *part].concat());
        let flags = Flags(header.flags.0 & !Flags::ENCRYPTION.0);
        message(Header { flags, next_payload: PayloadType::NONE, length: 0, ..header }, chain)
    };
    (1..=u8::MAX).zip(&parts).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(number: u8, last: bool, data: &[u8]) -> Fragment<'_> {
        Fragment { id: 7, number, last, data }
    }

    #[test]
    fn any_order_and_any_repetition_make_the_message() {
        let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
        for order in orders {
            for twice in 0..3 {
                let mut all = Reassemblies::default();
                let mut whole = None;
                for (n, number) in order.into_iter().enumerate() {
                    for _ in 0..=usize::from(n == twice && n < 2) {
                        assert!(whole.is_none());
                        whole = all.take(&fragment(number, number == 3, &[number; 5])).unwrap();
                    }
                }
                assert_eq!(whole.unwrap(), [[1; 5], [2; 5], [3; 5]].concat());
                assert!(all.0.is_empty());
            }
        }
    }

    #[test]
    fn it_is_bounded_and_contradictions_are_refused() {
        let mut all = Reassemblies::default();
        let data = vec![0; 1000];
        let taken = (1..=64).map(|n| all.take(&fragment(n, false, &data))).take_while(Result::is_ok).count();
        assert_eq!(taken, 16);
        assert!(all.0.is_empty());
        assert!(all.take(&fragment(65, false, &[1])).is_err());
        assert_eq!(all.take(&fragment(2, true, &[1])), Ok(None));
        assert!(all.take(&fragment(3, false, &[1])).is_err(), "after the last");
        assert_eq!(all.take(&fragment(3, false, &[1])), Ok(None));
        assert!(all.take(&fragment(2, true, &[1])).is_err(), "the last before another");
        for id in 0..1000 {
            for number in 1..=64 {
                let _ = all.take(&Fragment { id, number, last: false, data: &data });
                assert!(all.0.len() <= 4 && all.0.iter().all(|r| r.octets <= MAX_OCTETS && r.parts.len() <= 64));
            }
        }
        // Two at once; a third in one piece.
        let of = |id, number, last, data: &'static [u8]| Fragment { id, number, last, data };
        assert_eq!(all.take(&of(2001, 1, false, &[1])), Ok(None));
        assert_eq!(all.take(&of(2002, 1, false, &[3])), Ok(None));
        assert_eq!(all.take(&of(2003, 1, true, &[9])), Ok(Some(vec![9])));
        assert_eq!(all.take(&of(2001, 2, true, &[2])), Ok(Some(vec![1, 2])));
        assert_eq!(all.take(&of(2002, 2, true, &[4])), Ok(Some(vec![3, 4])));
    }
}
