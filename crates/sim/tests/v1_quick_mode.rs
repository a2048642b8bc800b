//! IKEv1: quick mode with a responder that does what ours does not; written by hand.

use model::{FailureKind, Side};
use sim::{Hand, Site};
use wire::{ExchangeType, Header, PayloadType, ProtocolId};

const SPI: [u8; 4] = [0xc0, 0, 0, 1];
/// 10.1.0.0/24 and 10.2.0.0/24 as ID payloads: the endpoint's network, and the hand's.
const OURS: [u8; 12] = [4, 0, 0, 0, 10, 1, 0, 0, 255, 255, 255, 0];
const THEIRS: [u8; 12] = [4, 0, 0, 0, 10, 2, 0, 0, 255, 255, 255, 0];

/// An endpoint that initiated, and its message 1 of quick mode.
fn initiator() -> (Hand, Vec<u8>) {
    let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 1").remote_id("a.example");
    let site = site.connection("proposals = aes128-sha256-x25519").child("esp_proposals = aes128gcm16");
    let site = site.child("local_ts = 10.1.0.0/24").child("remote_ts = 10.2.0.0/24");
    let mut hand = Hand::new(&site);
    let (_, mut sent) = hand.respond(None);
    assert_eq!(sent.len(), 1);
    (hand, sent.remove(0))
}

fn exchange(message: &[u8]) -> ExchangeType {
    Header::parse(message).expect("a header").exchange
}

/// strongSwan, which could not install the pair, deletes it by the SPI of its outbound SA, which is ours.
#[test]
fn a_delete_may_name_our_own_spi() {
    let (mut hand, first) = initiator();
    hand.answer_quick_mode(&first, SPI, None);
    let (sa, _) = (hand.endpoint.snapshots(hand.now).remove(0), ());
    let spi = sa.children[0].spi_in;
    assert_eq!(sa.children[0].spi_out, u32::from_be_bytes(SPI));
    hand.say(ExchangeType::INFORMATIONAL_V1, |chain| {
        chain.delete(ProtocolId::ESP, &[(spi ^ 1).to_be_bytes()]);
    });
    assert_eq!(hand.ended, []);
    hand.say(ExchangeType::INFORMATIONAL_V1, |chain| {
        chain.delete(ProtocolId::ESP, &[spi.to_be_bytes()]);
    });
    assert_eq!(hand.ended, [FailureKind::PeerDeleted]);
    assert!(hand.endpoint.snapshots(hand.now)[0].children.is_empty());
}
