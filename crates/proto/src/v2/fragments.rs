//! Fragments of IKEv2 messages (RFC 7383): each is encrypted and authenticated by itself, so that nothing forged is kept.
//!
//! ```text
//! HDR, SKF(1 of 3) {IDi, CERT, ...}  -->
//! HDR, SKF(2 of 3) {...}             -->
//! HDR, SKF(3 of 3) {...}             -->
//! ```
//!
//! Where long messages get no answer the path may take less than is configured, and what is too long for it, or divided by IP, is
//! lost: after some repetitions they go in the smallest datagrams (section 2.5.2).
//!
//! What is kept are requests and responses in the making within the windows (RFC 7296 section 2.3), each limited in octets
//! and in fragments.

use super::exchange::Path;
use super::sa::IkeSa;
use super::window::fingerprint;
use crate::context::Context;
use config::Fragmentation;
use model::DropReason;
use std::net::IpAddr;
use wire::v2::{ChainBuilder, Payload, parse_chain};
use wire::{ExchangeType, HEADER_LEN, Header, PayloadType};

/// The longest message that is put together: what strongSwan takes for a message (`max_packet`) and some more.
const MAX_OCTETS: usize = 16_384;
/// As many fragments as that makes in the smallest datagrams that anybody sends.
const MAX_FRAGMENTS: u16 = 128;

/// IPv4 has to carry datagrams of this size, IPv6 of the other one: limits if none is set.
const LEAST_DATAGRAM_V4: usize = 576;
const LEAST_DATAGRAM_V6: usize = 1280;
/// Less than this leaves no room for anything.
const LEAST_MESSAGE: usize = 128;

/// After so many repetitions a long message goes in smaller fragments.
pub(super) const SMALLER_AFTER: u32 = 2;

/// What a message of ours is made of that may have to be divided again.
pub(crate) struct Divisible {
    header: Header,
    chain: ChainBuilder,
}

/// A message of ours on its way.
pub(super) struct Sealed {
    pub datagrams: Vec<Vec<u8>>,
    /// What it is made of, if its datagrams are longer than every path takes.
    pub whole: Option<Box<Divisible>>,
}

/// A message put together from its fragments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// The type of its first payload.
    pub first: PayloadType,
    /// Its payloads.
    pub content: Vec<u8>,
    /// What identifies its first fragment, should that be repeated.
    pub fingerprint: Vec<u8>,
}

/// One fragment, already authentic.
pub(super) struct Fragment<'a> {
    pub number: u16,
    pub total: u16,
    /// The type of the first payload; only the first fragment says it.
    pub next: PayloadType,
    pub content: &'a [u8],
    pub fingerprint: &'a [u8],
}

/// A message in the making.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    of: Option<(ExchangeType, u32)>,
    parts: Vec<Option<Vec<u8>>>,
    have: usize,
    octets: usize,
    first: PayloadType,
    fingerprint: Vec<u8>,
}

impl Reassembly {
    /// Takes a fragment of the message with this exchange type and message ID; the message when it was the last one
    /// missing. A new message takes the place of an older one.
    ///
    /// # Errors
    /// If the message would be too long, or the fragment belongs to an older division of it.
    pub fn take(&mut self, of: (ExchangeType, u32), fragment: &Fragment<'_>) -> Result<Option<Whole>, DropReason> {
        if fragment.total > MAX_FRAGMENTS || fragment.number == 0 || fragment.number > fragment.total {
            return Err(DropReason::Malformed);
        }
        let total = usize::from(fragment.total);
        // RFC 7383 section 2.6: more fragments than before are a new division into smaller ones, which replaces the old;
        // fewer are late ones of an older division.
        if self.of != Some(of) || total > self.parts.len() {
            *self = Self { of: Some(of), parts: vec![None; total], ..Self::default() };
        } else if total < self.parts.len() {
            return Err(DropReason::UnexpectedMessageId);
        }
        let Some(place) = self.parts.get_mut(usize::from(fragment.number - 1)) else {
            return Err(DropReason::Malformed);
        };
        if place.is_some() {
            return Ok(None); // a repetition
        }
        if self.octets + fragment.content.len() > MAX_OCTETS {
            *self = Self::default();
            return Err(DropReason::Malformed);
        }
        self.octets += fragment.content.len();
        self.have += 1;
        *place = Some(fragment.content.to_vec());
        if fragment.number == 1 {
            self.first = fragment.next;
            self.fingerprint = fragment.fingerprint.to_vec();
        }
        if self.have < total {
            return Ok(None);
        }
        let done = std::mem::take(self);
        let mut content = Vec::with_capacity(done.octets);
        done.parts.into_iter().flatten().for_each(|part| content.extend_from_slice(&part));
        Ok(Some(Whole { first: done.first, content, fingerprint: done.fingerprint }))
    }
}

/// Number and total of the fragment that this datagram is, which begins `at` this octet.
pub(super) fn counters(datagram: &[u8], at: usize) -> Option<(u16, u16)> {
    let chain = parse_chain(PayloadType::SKF, datagram.get(at..)?, at).ok()?;
    match chain.payloads.as_slice() {
        // RFC 7383 section 2.5: it is the only payload of its message, but for what is not encrypted.
        [(_, Payload::EncryptedFragment { number, total, .. })] => Some((*number, *total)),
        _ => None,
    }
}

impl IkeSa {
    /// Takes a datagram that holds a fragment. What it is part of, if that is whole now.
    pub(super) fn take_fragment(
        &mut self,
        cx: &mut Context,
        header: &Header,
        (datagram, at): (&[u8], usize),
        path: Path,
    ) -> Option<Whole> {
        let Some((number, total)) = counters(datagram, at) else {
            self.drop_datagram(cx, DropReason::Malformed, path);
            return None;
        };
        let mut message = datagram.to_vec();
        // RFC 7383 section 2.6: only what is authentic is kept.
        let opened = self.keys().and_then(|keys| keys.open_fragment(&mut message, at).ok());
        let Some((next, content)) = opened.and_then(|(next, range)| Some((next, message.get(range)?))) else {
            self.senseless(cx, path);
            return None;
        };
        let fragment = Fragment { number, total, next, content, fingerprint: fingerprint(datagram) };
        let reassembly = match header.is_response() {
            true => self.partial_responses.entry(header.message_id).or_default(),
            false => self.replies.partial(header.message_id),
        };
        match reassembly.take((header.exchange, header.message_id), &fragment) {
            Ok(whole) => {
                if whole.is_some() {
                    self.log(cx, "ENC", 1, format!("received {total} fragments, the message is complete"));
                }
                whole
            }
            Err(reason) => {
                self.drop_datagram(cx, reason, path);
                None
            }
        }
    }

    /// Whether this is an authentic first fragment: of a repeated request, the one to answer (RFC 7383 section 2.6.1). A
    /// peer may divide the repeated request into smaller fragments, so it need not be the same.
    pub(super) fn is_first_fragment(&self, datagram: &[u8]) -> bool {
        let mut message = datagram.to_vec();
        counters(datagram, HEADER_LEN).is_some_and(|(number, _)| number == 1)
            && self.keys().is_some_and(|keys| keys.open_fragment(&mut message, HEADER_LEN).is_ok())
    }

    /// Seals a message of ours; `None` without keys.
    pub(super) fn seal(&mut self, cx: &mut Context, header: Header, chain: ChainBuilder) -> Option<Sealed> {
        let (limit, least) = (self.fragment_limit(cx), self.least_limit(cx));
        let kept = limit.is_some_and(|limit| limit > least).then(|| chain.clone());
        let datagrams = self.keys_mut()?.seal(header, chain, limit, &mut *cx.rng);
        let kept = kept.filter(|_| datagrams.iter().any(|datagram| datagram.len() > least));
        Some(Sealed { datagrams, whole: kept.map(|chain| Box::new(Divisible { header, chain })) })
    }

    /// The same message in the smallest fragments, as all that follow (RFC 7383 section 2.5.2). Their number is larger than before,
    /// by which the peer knows them.
    pub(super) fn divide_again(&mut self, cx: &mut Context, message: Divisible) -> Option<Vec<Vec<u8>>> {
        let least = self.least_limit(cx);
        let Divisible { header, chain } = message;
        let message = self.keys_mut()?.seal(header, chain, Some(least), &mut *cx.rng);
        self.narrow_path = true;
        self.log(cx, "IKE", 1, format!("no answer to a long message: in fragments of {least} octets from now on"));
        Some(message)
    }

    fn least_limit(&self, cx: &Context) -> usize {
        message_limit(0, self.remote.ip(), self.remote.port() != cx.settings.port)
    }

    /// How long a message of ours may be before it is sent in fragments; `None` where it is not to be divided.
    pub(super) fn fragment_limit(&self, cx: &Context) -> Option<usize> {
        // `force` is about IKEv1; here nothing can be forced upon a peer that has not announced it.
        let wanted = self
            .connection
            .as_ref()
            .is_none_or(|c| matches!(c.fragmentation, Fragmentation::Yes | Fragmentation::Force));
        let size = cx.settings.fragment_size;
        let usual = || message_limit(size, self.remote.ip(), self.remote.port() != cx.settings.port);
        (self.fragments && wanted).then(|| match self.narrow_path {
            true => usual().min(self.least_limit(cx)),
            false => usual(),
        })
    }
}

/// The longest message in a datagram of this size, which counts the headers of IP and UDP; `marked` is one with the four
/// octets of RFC 3948 section 2.2 in front. Zero stands for what each version of IP has to carry.
fn message_limit(datagram: u16, to: IpAddr, marked: bool) -> usize {
    let (least, ip) = if to.is_ipv4() { (LEAST_DATAGRAM_V4, 20) } else { (LEAST_DATAGRAM_V6, 40) };
    let datagram = if datagram == 0 { least } else { usize::from(datagram) };
    datagram.saturating_sub(ip + 8 + if marked { 4 } else { 0 }).max(LEAST_MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OF: (ExchangeType, u32) = (ExchangeType::IKE_AUTH, 1);

    fn fragment(number: u16, total: u16, content: &[u8]) -> Fragment<'_> {
        let next = if number == 1 { PayloadType::IDI } else { PayloadType::NONE };
        Fragment { number, total, next, content, fingerprint: &[7] }
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_make_the_message(
            order in Just((1..=9u16).collect::<Vec<_>>()).prop_shuffle(), again in proptest::collection::vec(0..9usize, 0..20),
        ) {
            let mut reassembly = Reassembly::default();
            let (last, rest) = order.split_last().unwrap();
            let repeated = again.iter().filter_map(|at| rest.get(*at));
            for number in rest.iter().chain(repeated) {
                prop_assert_eq!(reassembly.take(OF, &fragment(*number, 9, &[*number as u8; 3])), Ok(None));
            }
            let whole = reassembly.take(OF, &fragment(*last, 9, &[*last as u8; 3])).unwrap().unwrap();
            prop_assert_eq!(whole.content, (1..=9).flat_map(|n| [n; 3]).collect::<Vec<u8>>());
            prop_assert_eq!(whole.first, PayloadType::IDI);
            prop_assert!(reassembly.parts.is_empty() && reassembly.octets == 0);
        }
    }

    #[test]
    fn a_finer_division_replaces_a_coarser_one_and_not_the_other_way() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.take(OF, &fragment(1, 2, b"old")), Ok(None));
        assert_eq!(reassembly.take(OF, &fragment(2, 3, b"b")), Ok(None));
        assert_eq!(reassembly.take(OF, &fragment(2, 2, b"old")), Err(DropReason::UnexpectedMessageId));
        assert_eq!(reassembly.take(OF, &fragment(1, 3, b"a")), Ok(None));
        let whole = reassembly.take(OF, &fragment(3, 3, b"c")).unwrap().unwrap();
        assert_eq!(whole.content, b"abc");
    }

    #[test]
    fn it_is_bounded() {
        let mut reassembly = Reassembly::default();
        let data = [0; 1000];
        assert_eq!(reassembly.take(OF, &fragment(1, MAX_FRAGMENTS + 1, &data)), Err(DropReason::Malformed));
        assert_eq!(reassembly.take(OF, &fragment(0, 1, &data)), Err(DropReason::Malformed));
        assert_eq!(reassembly.take(OF, &fragment(3, 2, &data)), Err(DropReason::Malformed));
        let taken = (1..=MAX_FRAGMENTS).take_while(|n| reassembly.take(OF, &fragment(*n, 128, &data)).is_ok()).count();
        assert_eq!(taken, 16);
        assert!(reassembly.parts.is_empty(), "what is too long is forgotten");
        for id in 0..1000 {
            let _ = reassembly.take((ExchangeType::IKE_AUTH, id), &fragment(1, 100, &data));
            assert_eq!((reassembly.have, reassembly.octets), (1, 1000), "one message at a time");
        }
    }

    #[test]
    fn the_limit_is_that_of_the_datagram() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(message_limit(1280, v4, false), 1252);
        assert_eq!(message_limit(1280, v4, true), 1248);
        assert_eq!(message_limit(1280, v6, true), 1228);
        assert_eq!(message_limit(0, v4, true), 544);
        assert_eq!(message_limit(0, v6, true), 1228);
        assert_eq!(message_limit(1, v6, true), LEAST_MESSAGE);
    }
}
