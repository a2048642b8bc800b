//! IKEv1: an ISAKMP SA for which the peer sets a limit in kilobytes (RFC 2409 appendix A, Life Type 2) is renewed in time by
//! its initiator, and ends at its responder. The peer is written by hand, for no configuration of ours has that limit.

use model::FailureKind;
use sim::{Hand, Site};
use wire::{ExchangeType, Header, ProtocolId, V1NotifyType};

/// AES-CBC-128, SHA-256, Curve25519, pre-shared key, and 40 kilobytes.
const OFFER: &[u8] = &[
    0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 44, 1, 1, 0, 1, 0, 0, 0, 36, 1, 1, 0, 0, 0x80, 1, 0, 7, 0x80, 14, 0, 128, 0x80, 2,
    0, 4, 0x80, 4, 0, 31, 0x80, 3, 0, 1, 0x80, 11, 0, 2, 0x80, 12, 0, 40,
];

fn hand() -> Hand {
    let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1");
    Hand::new(&site.connection("proposals = aes128-sha256-x25519").remote_id("a.example"))
}

fn responder() -> Hand {
    let mut hand = hand();
    hand.initiate(OFFER, None);
    hand
}

fn initiator() -> Hand {
    let mut hand = hand();
    hand.respond(None);
    hand
}

/// A kilobyte of the peer's: HASH has 36 octets of it, the head of Notify 12.
fn kilobyte(hand: &mut Hand) -> Vec<Vec<u8>> {
    hand.say(ExchangeType::INFORMATIONAL_V1, |chain| {
        chain.notify(ProtocolId::IKE, &[], V1NotifyType(40_000), &[0; 1024 - 48]);
    })
}

/// RESPONDER-LIFETIME (RFC 2407 section 4.6.3.1) of so many kilobytes.
fn limit(hand: &mut Hand, kilobytes: u8) {
    let spi = [hand.spis.initiator.0, hand.spis.responder.0].concat();
    let data = [0x80, 11, 0, 2, 0x80, 12, 0, kilobytes];
    hand.say(ExchangeType::INFORMATIONAL_V1, |chain| {
        chain.notify(ProtocolId::IKE, &spi, V1NotifyType::RESPONDER_LIFETIME, &data);
    });
}

#[test]
fn a_responder_ends_what_has_protected_as_much_as_was_agreed() {
    let mut hand = responder();
    for number in 0..38 {
        kilobyte(&mut hand);
        assert!(hand.due().is_empty() && hand.ended.is_empty(), "after {number}");
    }
    // What is not the peer's does not count.
    (1..200).for_each(|id| drop(hand.forge(id << 16, 900)));
    assert!(hand.due().is_empty() && hand.ended.is_empty());
    kilobyte(&mut hand);
    let sent = hand.due();
    assert_eq!(hand.ended, [FailureKind::Expired]);
    assert_eq!(sent.len(), 1, "a Delete");
    assert!(hand.told.iter().any(|t| t.contains("octets, of 40000 that the peer allows")), "{:?}", hand.told);
}

#[test]
fn an_initiator_makes_the_successor_before_the_responders_limit() {
    let mut hand = initiator();
    limit(&mut hand, 44);
    for number in 0..38 {
        kilobyte(&mut hand);
        assert!(hand.due().is_empty(), "after {number}");
    }
    let sent: Vec<Vec<u8>> = (0..2).flat_map(|_| [kilobyte(&mut hand), hand.due()].concat()).collect();
    let begun: Vec<Header> = sent.iter().map(|m| Header::parse(m).unwrap()).collect();
    let successor = begun.iter().find(|h| h.exchange == ExchangeType::IDENTITY_PROTECTION).expect("a new message 1");
    assert_ne!(successor.spis.initiator, hand.spis.initiator);
    assert!(hand.ended.is_empty(), "the old one stays until the new one is there: {:?}", hand.ended);
    // Once: not another one for each further message.
    for _ in 0..10 {
        assert!([kilobyte(&mut hand), hand.due()].concat().is_empty());
    }
}

/// A limit that the messages of a negotiation use up would have the ends renew without end.
#[test]
fn a_limit_that_leaves_no_room_is_not_obeyed() {
    let mut hand = initiator();
    limit(&mut hand, 1);
    for _ in 0..20 {
        kilobyte(&mut hand);
        assert!(hand.due().is_empty());
    }
}
