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
    let sa = hand.endpoint.snapshots(hand.now).remove(0);
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

/// strongSwan as the responder returns its own, narrower network. What is returned is installed if it lies within what was
/// offered; what lies outside is refused, and the responder hears of it.
#[test]
fn identities_that_come_back_narrower_hold() {
    let half = |mut id: [u8; 12]| {
        id[11] = 128;
        id
    };
    for (ours, theirs, good) in [
        (OURS, THEIRS, true),
        (OURS, half(THEIRS), true),
        (half(OURS), THEIRS, true),
        (OURS, [4, 0, 0, 0, 10, 2, 0, 0, 255, 255, 254, 0], false),
        ([4, 0, 0, 0, 10, 9, 0, 0, 255, 255, 255, 0], THEIRS, false),
        ([4, 6, 0, 80, 10, 1, 0, 0, 255, 255, 255, 0], THEIRS, true),
        ([2, 0, 0, 0, b'a', b'.', b'e', b'x', b'a', b'm', b'p', b'l'], THEIRS, false),
    ] {
        let (mut hand, first) = initiator();
        let sent = hand.answer_quick_mode(&first, SPI, Some([&ours, &theirs]));
        let children = hand.endpoint.snapshots(hand.now).remove(0).children;
        assert_eq!(sent.len(), 1, "{ours:?} {theirs:?}");
        if good {
            assert_eq!((exchange(&sent[0]), children.len()), (ExchangeType::QUICK_MODE, 1), "{ours:?} {theirs:?}");
            let width = |id: [u8; 12]| 24 + u32::from(id[11] == 128);
            let text = children[0].remote_ts[0].to_string();
            assert_eq!(text, format!("10.2.0.0/{}", width(theirs)));
            assert!(children[0].local_ts[0].to_string().starts_with(&format!("10.1.0.0/{}", width(ours))));
            continue;
        }
        assert!(children.is_empty(), "{ours:?} {theirs:?}");
        assert!(matches!(hand.ended[..], [FailureKind::TsUnacceptable { found_by: Side::Us, .. }]), "{:?}", hand.ended);
        assert_eq!(exchange(&sent[0]), ExchangeType::INFORMATIONAL_V1);
        let said = hand.open(&sent[0]);
        let (_, notify) = said.iter().find(|(kind, _)| *kind == PayloadType::V1_NOTIFY).expect("a Notify");
        assert_eq!(notify[6..8], [0, 18], "INVALID-ID-INFORMATION");
    }
}
