//! One entry point that feeds octets to every parser and checks what all of them promise. Fuzz targets and property
//! tests call it; the program does not.

use crate::error::ParseError;
use crate::header::{HEADER_LEN, Header};
use crate::payloads::{Payloads, RawPayload};
use crate::registry::PayloadType;
use crate::v2::{self, ChainBuilder, Payload};
use crate::{attributes, esp, grammar, v1};

/// How far the parsers came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// A header was read, and its length was right.
    pub header: bool,
    /// Payloads whose contents were understood, in either version.
    pub payloads: usize,
}

/// Feeds `data` to every parser: as a datagram, as the inside of an Encrypted payload, as ESP. What can be read is
/// written again and read once more.
///
/// # Panics
/// Where a parser breaks a promise: more steps than the octets allow, offsets outside the input, or a value that changes
/// between writing and reading.
pub fn parse_anything(data: &[u8]) -> Depth {
    let mut depth = Depth::default();
    match esp::classify(data) {
        esp::Port4500::Esp(packet) | esp::Port4500::Ike(packet) => {
            if let Ok(header) = esp::Header::parse(packet) {
                assert_eq!(header.to_octets(), packet[..esp::HEADER_LEN]);
            }
        }
        esp::Port4500::Keepalive | esp::Port4500::TooShort => {}
    }
    assert!(attributes::Attributes::new(data, 0).count() <= data.len() / 4 + 1, "linear time");
    if let Ok(content) = v2::strip_padding(data) {
        assert!(content.len() < data.len());
    }

    match Header::split(data) {
        Ok((header, chain)) => {
            depth.header = true;
            let mut out = Vec::new();
            header.write(&mut out);
            assert_eq!(out, data[..HEADER_LEN]);
            depth.payloads += walk(header.next_payload, chain, HEADER_LEN);
            if let Ok(message) = v2::Message::parse(data) {
                rebuild_message(&message);
            }
        }
        Err(error) => within(&error, data.len()),
    }
    if let Some((first, chain)) = data.split_first() {
        depth.payloads += walk(PayloadType(*first), chain, 1);
    }
    depth
}

fn within(error: &ParseError, end: usize) {
    // The header's Length is at octet 24 even where the datagram is shorter than what it says.
    assert!(error.at <= end.max(HEADER_LEN), "{error:?} beyond octet {end}");
}

/// Reads one chain as both versions; returns the number of payloads understood.
fn walk(first: PayloadType, chain: &[u8], base: usize) -> usize {
    let end = base + chain.len();
    let (mut steps, mut understood) = (0, 0);
    for raw in Payloads::new(first, chain, base) {
        steps += 1;
        match raw {
            Ok(raw) => understood += payload(raw, end),
            Err(error) => within(&error, end),
        }
    }
    assert!(steps <= chain.len() / 4 + 1, "linear time: {steps} steps for {} octets", chain.len());

    match v2::parse_chain(first, chain, base) {
        Ok(parsed) => {
            let found = parsed.set();
            for rule in grammar::RULES {
                if let Err(violation) = grammar::check(rule, &found) {
                    assert!(!violation.to_string().is_empty());
                }
            }
            let payloads: Vec<_> = parsed.payloads.iter().map(|(_, payload)| payload.clone()).collect();
            if let Some((first, octets)) = rebuild(&payloads) {
                let again = v2::parse_chain(first, &octets, base).expect("what was written can be read");
                assert_eq!(comparable(again.payloads.into_iter().map(|(_, payload)| payload)), comparable(payloads));
            }
        }
        Err(v2::ChainError::Malformed(error)) => within(&error, end),
        Err(v2::ChainError::Duplicate { at, .. }) => assert!(at < end),
        Err(v2::ChainError::UnsupportedCritical(kind)) => assert_ne!(kind, PayloadType::NONE),
    }
    for padded in [false, true] {
        walk_v1(first, chain, base, padded);
    }
    understood
}

/// Reads one chain as IKEv1; what can be read is written again and read once more.
fn walk_v1(first: PayloadType, chain: &[u8], base: usize, padded: bool) {
    let end = base + chain.len();
    let parsed = match v1::parse_chain(first, chain, base, padded) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.notify().is_error());
            return match error {
                v1::ChainError::Malformed(error) => within(&error, end),
                v1::ChainError::InvalidPayloadType { at, .. } | v1::ChainError::Duplicate { at, .. } => {
                    assert!(at < end);
                }
            };
        }
    };
    assert_eq!(parsed.octets.len() + parsed.padding, chain.len());
    assert_eq!(v1::after_first_payload(first, chain), parsed.after(0));
    let mut builder = v1::ChainBuilder::new();
    parsed.payloads.iter().for_each(|(raw, payload)| {
        builder.push(raw, payload);
    });
    assert_eq!(builder.after_first().len(), parsed.after(0).map_or(0, <[u8]>::len));
    let (first, octets) = builder.finish();
    let again = v1::parse_chain(first, &octets, base, false).expect("what was written can be read");
    assert!(!again.reserved && again.padding == 0);
    let kinds = |chain: &v1::Chain<'_>| chain.payloads.iter().map(|(raw, _)| raw.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&again), kinds(&parsed));
    assert!(again.payloads.iter().map(|(_, payload)| payload).eq(parsed.payloads.iter().map(|(_, payload)| payload)));
}

fn payload(raw: RawPayload<'_>, end: usize) -> usize {
    assert!(raw.body_offset() + raw.body.len() <= end);
    let mut understood = 0;
    match v2::parse_payload(raw) {
        Ok(parsed) => {
            assert_eq!(parsed.kind(), raw.kind);
            if let Payload::Delete(delete) = &parsed {
                assert_eq!(delete.iter().flatten().count(), delete.spis.len());
            }
            understood += usize::from(!matches!(parsed, Payload::Unknown { .. }));
        }
        Err(error) => {
            within(&error, end);
            assert!(error.at >= raw.offset && !error.to_string().is_empty(), "{error:?}");
        }
    }
    match v1::parse_payload(raw) {
        Ok(parsed) => {
            if let v1::Payload::Delete(delete) = &parsed {
                assert_eq!(delete.iter().flatten().count(), delete.spis.len());
            }
            understood += usize::from(!matches!(parsed, v1::Payload::Unknown { .. }));
        }
        Err(error) => within(&error, end),
    }
    understood
}

/// Writes what was read, if all of it can be written: a TS payload whose selectors were all skipped cannot.
fn rebuild(payloads: &[Payload<'_>]) -> Option<(PayloadType, Vec<u8>)> {
    let mut builder = ChainBuilder::new();
    for payload in payloads {
        if matches!(payload, Payload::TsI(selectors) | Payload::TsR(selectors) if selectors.is_empty()) {
            return None;
        }
        builder.push(payload);
    }
    Some(builder.finish())
}

fn rebuild_message(message: &v2::Message<'_>) {
    let Some((first, octets)) = rebuild(&message.payloads) else { return };
    let mut builder = ChainBuilder::new();
    message.payloads.iter().for_each(|payload| {
        builder.push(payload);
    });
    assert_eq!(builder.first(), first);
    let written = v2::message(message.header, builder);
    assert_eq!(written.get(HEADER_LEN..), Some(octets.as_slice()));
    let again = v2::Message::parse(&written).expect("what was written can be read");
    assert_eq!(comparable(again.payloads), comparable(message.payloads.clone()));
}

/// Payloads without what writing loses: offsets, and marks of attributes that were not understood.
fn comparable<'a>(payloads: impl IntoIterator<Item = Payload<'a>>) -> Vec<Payload<'a>> {
    payloads
        .into_iter()
        .map(|mut payload| {
            match &mut payload {
                Payload::Sa(proposals) => proposals
                    .iter_mut()
                    .flat_map(|proposal| &mut proposal.transforms)
                    .for_each(|transform| transform.unknown_attribute = false),
                Payload::Encrypted { offset, .. } | Payload::EncryptedFragment { offset, .. } => *offset = 0,
                _ => {}
            }
            payload
        })
        .collect()
}
