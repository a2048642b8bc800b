//! IKEv1: NAT traversal with peers that know only the drafts before RFC 3947.

use sim::{Hand, HandNat, Nat, Parts, Sim, Site};
use std::time::Duration;
use wire::v1::{AttributeValue, ChainBuilder, NatTraversal, Proposal, Sa, Transform, VendorId, parse_sa};
use wire::{ExchangeType, IpsecAttribute, PayloadType, ProtocolId, RawPayload};

const SECOND: Duration = Duration::from_secs(1);

/// A peer without these Vendor IDs: each is overwritten with something unknown.
fn without(bytes: &mut [u8], vendors: &[VendorId]) {
    for vendor in vendors {
        let id = vendor.octets();
        if let Some(at) = bytes.windows(id.len()).position(|w| w == id) {
            bytes[at..at + id.len()].fill(0xee);
        }
    }
}

#[test]
fn the_drafts_numbers_are_spoken_where_the_rfc_is_not_known() {
    let newer = [VendorId::Rfc3947, VendorId::NatTraversalDraft03, VendorId::NatTraversalDraft02LineFeed];
    for count in 0..=newer.len() {
        let gone = newer[..count].to_vec();
        let mut sim = Sim::new(1);
        let a = Site::new("a", "10.0.0.2").to("192.0.2.2").connection("version = 1");
        let b = Site::new("b", "192.0.2.2").to("203.0.113.1").connection("version = 1");
        let a = a.child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
        let b = b.child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
        let a = sim.add(a.behind(Nat::new("203.0.113.1".parse().unwrap())));
        let b = sim.add(b);
        sim.set_hook(Some(Box::new(move |_, datagram| {
            let mut datagram = datagram.clone();
            without(&mut datagram.bytes, &gone);
            vec![(Duration::ZERO, datagram)]
        })));
        sim.initiate(a, b);
        assert!(sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).is_some(), "without {count}");
        let payload = if count == 0 { 20 } else { 130 };
        // Message 3 in the clear: KE, then Nonce, whose header names the NAT-D payload.
        let third = &sim.wire[2].1.bytes;
        let ke = usize::from(u16::from_be_bytes([third[30], third[31]]));
        assert_eq!(third[28 + ke], payload, "without {count}");
        for node in [a, b] {
            assert!(sim.plane(node).installed().all(|child| child.encapsulated), "in UDP");
            assert!(sim.snapshots(node)[0].nat.any());
        }
    }
}

/// What a peer may know of NAT traversal: Vendor IDs, and the numbers that it uses.
const KINDS: [HandNat; 5] = [
    HandNat { vendors: &[VendorId::NatTraversalDraft02], variant: NatTraversal::Draft },
    HandNat { vendors: &[VendorId::NatTraversalDraft02LineFeed], variant: NatTraversal::Draft },
    HandNat { vendors: &[VendorId::NatTraversalDraft03], variant: NatTraversal::Draft },
    HandNat { vendors: &[VendorId::Rfc3947], variant: NatTraversal::Rfc3947 },
    HandNat { vendors: &[VendorId::NatTraversalDraft02, VendorId::Rfc3947], variant: NatTraversal::Rfc3947 },
];

/// AES-CBC-128, SHA-256, Curve25519, pre-shared key.
const OFFER: &[u8] = &[
    0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 36, 1, 1, 0, 1, 0, 0, 0, 28, 1, 1, 0, 0, 0x80, 1, 0, 7, 0x80, 14, 0, 128, 0x80, 2,
    0, 4, 0x80, 4, 0, 31, 0x80, 3, 0, 1,
];

fn hand(mode: &str) -> Hand {
    let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1").remote_id("a.example");
    let site = site.connection("proposals = aes128-sha256-x25519").child("esp_proposals = aes128gcm16");
    Hand::new(&site.child(&format!("mode = {mode}")))
}

fn kinds(parts: &Parts) -> Vec<u8> {
    parts.iter().map(|(kind, _)| kind.0).collect()
}

/// The encapsulation modes that an SA payload of quick mode names.
fn modes(parts: &Parts) -> Vec<u64> {
    let (kind, body) = parts.iter().find(|(kind, _)| *kind == PayloadType::V1_SA).unwrap();
    let raw = RawPayload { kind: *kind, critical: false, body, offset: 0, next: PayloadType::NONE };
    let sa = parse_sa(raw).unwrap();
    let all = sa.proposals.iter().flat_map(|p| &p.transforms);
    all.map(|t| t.get(IpsecAttribute::ENCAPSULATION_MODE.0).unwrap()).collect()
}

/// (NAT-D, NAT-OA, tunnel, transport) of a variant: RFC 3947 sections 3.2, 5.1 and 9, and the drafts' private numbers.
fn numbers(variant: NatTraversal) -> (u8, u8, u64, u64) {
    match variant {
        NatTraversal::Draft => (130, 131, 61443, 61444),
        NatTraversal::Rfc3947 => (20, 21, 3, 4),
    }
}

#[test]
fn an_initiator_speaks_the_numbers_of_what_was_agreed() {
    for (index, nat) in KINDS.into_iter().enumerate() {
        for mode in ["tunnel", "transport"] {
            let mut hand = hand(mode);
            let (clear, sent) = hand.respond(Some(nat));
            let (nat_d, nat_oa, tunnel, transport) = numbers(nat.variant);
            let third = kinds(&clear[1]);
            assert_eq!(third.iter().filter(|kind| **kind == nat_d).count(), 2, "{index} {mode}: {third:?}");
            let quick = hand.open(&sent[0]);
            let expected = if mode == "tunnel" { tunnel } else { transport };
            assert_eq!(modes(&quick), [expected], "{index} {mode}");
            let addresses = quick.iter().filter(|(kind, _)| kind.0 == nat_oa).count();
            assert_eq!(addresses, if mode == "transport" { 2 } else { 0 }, "{index} {mode}: {:?}", kinds(&quick));
            let other = numbers(if nat_d == 20 { NatTraversal::Draft } else { NatTraversal::Rfc3947 });
            assert!(!kinds(&quick).contains(&other.1) && !third.contains(&other.0), "{index} {mode}");
        }
    }
    // Where there is no NAT traversal there is no encapsulation either.
    for (mode, number) in [("tunnel", 1), ("transport", 2)] {
        let mut hand = hand(mode);
        let (clear, sent) = hand.respond(None);
        assert!(!kinds(&clear[1]).iter().any(|kind| [20, 130].contains(kind)));
        let quick = hand.open(&sent[0]);
        assert_eq!(modes(&quick), [number]);
    }
}

/// Message 1 of quick mode with this encapsulation mode.
fn offer(number: u64) -> Sa {
    let attributes = vec![
        (IpsecAttribute::ENCAPSULATION_MODE.0, AttributeValue::of(number)),
        (IpsecAttribute::KEY_LENGTH.0, AttributeValue::of(128)),
    ];
    let transforms = vec![Transform { number: 1, id: 20, attributes }];
    Sa::new(vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![0x12, 0x34, 0x56, 0x78], transforms }])
}

/// The responder leaves the peer's number as it is (RFC 2408 section 4.2). It takes the numbers of either variant, for both
/// say the same, and a peer that mixes them does so each time.
#[test]
fn a_responder_answers_with_the_peers_number_and_its_own_variant_elsewhere() {
    for (index, nat) in KINDS.into_iter().enumerate() {
        for (mode, offered) in [("tunnel", [3, 61443]), ("transport", [4, 61444])] {
            for number in offered {
                let mut hand = hand(mode);
                let clear = hand.initiate(OFFER, Some(nat));
                let (nat_d, nat_oa, ..) = numbers(nat.variant);
                assert_eq!(kinds(&clear[1]).iter().filter(|kind| **kind == nat_d).count(), 2, "{index} {mode}");
                let fill = |chain: &mut ChainBuilder| {
                    chain.sa(&offer(number)).nonce(&[9; 20]);
                    if mode == "transport" {
                        chain.nat_oa(nat.variant, [10, 0, 0, 1].into()).nat_oa(nat.variant, [192, 0, 2, 2].into());
                    }
                };
                let answers = hand.say(ExchangeType::QUICK_MODE, fill);
                let answer = hand.open(&answers[0]);
                assert_eq!(modes(&answer), [number], "{index} {mode}");
                let addresses = answer.iter().filter(|(kind, _)| kind.0 == nat_oa).count();
                assert_eq!(addresses, if mode == "transport" { 2 } else { 0 }, "{index} {mode}");
            }
        }
    }
}
