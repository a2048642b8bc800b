//! Messages in fragments of IP.

use super::*;
use model::Role;

/// The packet in fragments that end at these octets of its content.
fn pieces(whole: &[u8], id: u16, ends: &[usize]) -> Vec<Vec<u8>> {
    let length = whole.len() - 20;
    let mut from = 0;
    let ends = ends.iter().copied().filter(|end| *end < length).chain([length]);
    ends.map(|to| {
        let piece = piece(whole, id, from, to);
        from = to;
        piece
    })
    .collect()
}

/// The fragment of an IPv4 packet that has these octets of its content.
fn piece(whole: &[u8], id: u16, from: usize, to: usize) -> Vec<u8> {
    let more = to < whole.len() - 20;
    let mut packet = whole[..20].to_vec();
    packet.extend(&whole[20 + from..20 + to]);
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&((from / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
    packet
}

/// The fragment of an IPv6 packet that has these octets of the content of an IPv4 packet.
fn piece6(whole: &[u8], id: u32, from: usize, to: usize) -> Vec<u8> {
    let more = u16::from(to < whole.len() - 20);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((8 + to - from) as u16).to_be_bytes());
    packet.extend([44, 64]);
    for host in [whole[15], whole[19]] {
        packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend([17, 0]);
    packet.extend((from as u16 | more).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(&whole[20 + from..20 + to]);
    packet
}

/// IKE_SA_INIT with an SA payload, a vendor ID of so many octets, and behind it a notification.
fn init(vendor: usize) -> Vec<u8> {
    let mut octets = vec![1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    octets.extend([43, 0, 0, 44, 0, 0, 0, 40, 1, 1, 0, 4]);
    octets.extend([3, 0, 0, 8, 1, 0, 0, 3, 3, 0, 0, 8, 2, 0, 0, 5, 3, 0, 0, 8, 3, 0, 0, 12, 0, 0, 0, 8, 4, 0, 0, 14]);
    octets.extend([41, 0]);
    octets.extend(((4 + vendor) as u16).to_be_bytes());
    octets.extend((0..vendor).map(|n| (n % 251) as u8));
    octets.extend([0, 0, 0, 8, 0, 0, 0x40, 4]);
    let length = octets.len() as u32;
    octets[24..28].copy_from_slice(&length.to_be_bytes());
    octets
}

fn at(milliseconds: u64, packets: Vec<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
    packets.into_iter().map(|packet| (milliseconds, packet)).collect()
}

/// The last payload is in the last fragment.
#[test]
fn a_message_in_fragments_is_read_whole() {
    let whole = udp(1, 2, (500, 500), &init(2000));
    let marked = udp(1, 2, (4500, 4500), &[&[0; 4][..], &init(2000)].concat());
    let elsewhere = udp(1, 2, (6000, 7000), &[&[0; 4][..], &init(2000)].concat());
    for whole in [whole, marked, elsewhere] {
        let all = tracked(&[(1000, whole.clone())]);
        assert_eq!(all.sas[0].messages[0].notifies, [16_388]);
        // The smallest first fragment has UDP's header only, which tells nothing elsewhere.
        let ends = if whole[20..22] == 6000_u16.to_be_bytes() { &[480, 1480][..] } else { &[8, 16, 480, 1480] };
        let v4 = tracked(&at(1000, pieces(&whole, 7, ends)));
        assert_eq!(v4.sas, all.sas);
        assert_eq!((v4.fragments, v4.unreadable, v4.pieces.whole), (0, 0, 1));
        let length = whole.len() - 20;
        let v6 = tracked(&at(1000, [(0, 1448), (1448, length)].map(|(from, to)| piece6(&whole, 9, from, to)).to_vec()));
        let messages = |tracks: &Tracks| {
            let of = |m: &model::ObservedMessage| (m.octets, m.notifies.clone(), m.has_sa, m.sender);
            tracks.sas[0].messages.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!((messages(&v6), v6.fragments, v6.sas[0].looks_for_nat), (messages(&all), 0, [true, false]));
        assert!(v6.sas[0].initiator.is_ipv6());
    }
}

/// The first fragment alone leaves open what the rest had; what is whole does not.
#[test]
fn what_was_cut_off_may_have_been_there_until_it_is_seen() {
    let mut octets = init(2000);
    let at_notify = octets.len() - 2;
    octets[at_notify..].copy_from_slice(&[0x40, 0x2e]);
    let whole = pieces(&udp(1, 2, (500, 500), &octets), 7, &[1480]);
    assert_eq!(tracked(&at(1, whole[..1].to_vec())).sas[0].looks_for_nat, [true, false]);
    assert_eq!(tracked(&at(1, whole)).sas[0].looks_for_nat, [false, false]);
}

#[test]
fn a_message_of_which_a_fragment_is_missing_is_told() {
    let whole = udp(1, 2, (500, 500), &message(2, 1, 200));
    let torn = |pieces: &[(usize, usize)]| {
        let packets: Vec<_> = pieces.iter().map(|(from, to)| (1000, piece(&whole, 7, *from, *to))).collect();
        let tracks = tracked(&packets);
        (tracks.sas.first().map(|sa| (sa.torn, sa.messages[0].octets)), tracks.fragments)
    };
    assert_eq!(torn(&[(0, 80), (80, 160), (160, 208)]), (Some(([0, 0], 200)), 0));
    assert_eq!(torn(&[(160, 208), (80, 160), (0, 80)]), (Some(([0, 0], 200)), 0), "in any order");
    assert_eq!(torn(&[(0, 80), (160, 208)]), (Some(([1, 0], 200)), 2));
    assert_eq!(torn(&[(0, 80)]), (Some(([1, 0], 200)), 1));
    assert_eq!(torn(&[(80, 160), (160, 208)]), (None, 2), "whose it is, nobody knows");
    // Fragments of other traffic do not add up.
    let mut tracker = Tracker::default();
    for id in 0..20_000_u16 {
        tracker.take(1, &decapsulate(LinkType(101), &piece(&whole, id, 80, 160)).unwrap());
    }
    assert_eq!(tracker.finish().fragments, 20_000);
}

/// Retransmissions have identifications of their own; one that is whole mends what was torn, and how often each was sent is
/// told.
#[test]
fn a_retransmission_in_fragments_is_one() {
    let whole = udp(1, 2, (500, 500), &init(2000));
    let mut packets = at(1000, pieces(&whole, 7, &[1480])[..1].to_vec());
    packets.extend(at(3000, pieces(&whole, 8, &[1480])));
    // The path has become narrower.
    packets.extend(at(7000, pieces(&whole, 9, &[1200])));
    packets.push((15_000, whole.clone()));
    let tracks = tracked(&packets);
    let [sa] = &tracks.sas[..] else { panic!("{:?}", tracks.sas) };
    let [only] = &sa.messages[..] else { panic!("{:?}", sa.messages) };
    assert_eq!((only.repeated, &only.notifies[..], sa.torn), (3, &[16_388][..], [1, 0]));
    assert_eq!((tracks.pieces.whole, tracks.fragments), (2, 1));
    // Sent at once, and then in fragments.
    let turned = tracked(&[vec![(500, whole.clone())], at(1500, pieces(&whole, 7, &[1480]))].concat());
    assert_eq!((turned.sas[0].messages.len(), turned.sas[0].messages[0].repeated), (1, 1));
}

/// An identification comes again when so many packets have been sent (RFC 791 section 3.2).
#[test]
fn pieces_of_different_packets_are_not_mixed() {
    let whole = udp(1, 2, (500, 500), &init(2000));
    let parts = pieces(&whole, 7, &[1480]);
    let late = tracked(&[(1000, parts[0].clone()), (32_000, parts[1].clone())]);
    assert_eq!((late.sas[0].torn, late.fragments), ([1, 0], 2));
    let other = udp(1, 2, (53, 53), &[9; 2044]);
    let foreign = pieces(&other, 7, &[1480]);
    let mixed = tracked(&[(1000, foreign[0].clone()), (1001, parts[1].clone()), (1002, parts[0].clone())]);
    assert_eq!((mixed.sas[0].torn, mixed.pieces.whole), ([1, 0], 0), "the second one was of the other");
    let back = udp(2, 1, (500, 500), &init(2000));
    let ways = tracked(&[(1000, parts[0].clone()), (1000, pieces(&back, 7, &[1480])[1].clone())]);
    assert_eq!(ways.sas[0].torn, [1, 0], "of the other way");
}

/// RFC 5722 section 4 for IPv6; what came first stays with IPv4.
#[test]
fn overlapping_fragments_do_not_change_a_message() {
    let whole = udp(1, 2, (500, 500), &init(200));
    let length = whole.len() - 20;
    let mut evil = whole.clone();
    let end = evil.len();
    evil[end - 2..].copy_from_slice(&[0x40, 6]);
    let four = |packets: Vec<Vec<u8>>| tracked(&at(1000, packets));
    let first = four(vec![piece(&whole, 7, 0, 120), piece(&whole, 7, 200, length), piece(&evil, 7, 112, length)]);
    assert_eq!((&first.sas[0].messages[0].notifies[..], first.pieces.overlapping), (&[16_388][..], 1));
    let six = four(vec![
        piece6(&whole, 7, 0, 120),
        piece6(&whole, 7, 200, length),
        piece6(&evil, 7, 112, length),
        piece6(&whole, 7, 120, 200),
    ]);
    assert_eq!((six.sas[0].messages[0].notifies.len(), six.pieces.whole, six.pieces.overlapping), (0, 0, 1));
    // An end that is told differently, and one beyond what a packet can have.
    let mut beyond = piece(&whole, 7, 120, length);
    beyond[6..8].copy_from_slice(&0x1ffe_u16.to_be_bytes());
    let longer = four(vec![piece(&whole, 7, 0, 120), beyond, piece(&whole, 7, 120, length)]);
    assert_eq!(longer.sas[0].messages[0].notifies, [16_388]);
}

/// tcpdump's snapshot length cuts fragments too: they were there.
#[test]
fn fragments_that_the_capture_has_cut_short_were_there() {
    let whole = udp(1, 2, (500, 500), &init(2000));
    let cut = pieces(&whole, 7, &[1480]).into_iter().map(|piece| piece[..96].to_vec()).collect();
    let tracks = tracked(&at(1000, cut));
    assert_eq!((tracks.sas[0].torn, tracks.sas[0].messages[0].octets), ([0, 0], init(2000).len()));
}

/// ESP in fragments is ESP once, and what follows of it is nothing that is left out.
#[test]
fn esp_in_fragments_is_counted_once() {
    let esp = [0, 0, 9, 9].into_iter().chain(0..=255).cycle().take(1996).collect::<Vec<u8>>();
    let mut packets = vec![(1000, udp(1, 2, (500, 500), &init(100)))];
    packets.extend(at(2000, pieces(&udp(1, 2, (4500, 4500), &esp), 7, &[1480])));
    let mut bare = udp(1, 2, (0, 0), &esp);
    bare[9] = 50;
    packets.extend(at(3000, pieces(&bare, 8, &[1480])));
    let tracks = tracked(&packets);
    assert_eq!((tracks.sas[0].esp, tracks.fragments, tracks.pieces.whole), ([2, 0], 0, 0));
}

/// Pieces by the million are bounded in memory, and a message among them is still read.
#[test]
fn a_flood_of_pieces_is_bounded() {
    let whole = udp(1, 2, (500, 500), &init(2000));
    let other = udp(3, 2, (500, 500), &message(2, 1, 200));
    let mut tracker = Tracker::default();
    let mut kept = 0;
    let mut take = |tracker: &mut Tracker, packet: &[u8]| {
        if let Some(datagram) = decapsulate(LinkType(101), packet) {
            kept += usize::from(tracker.take(1_000_000, &datagram).is_some());
        }
    };
    let mut large = other.clone();
    large.resize(20 + 60_000, 7);
    let total = large.len() as u16;
    large[2..4].copy_from_slice(&total.to_be_bytes());
    for id in 0..3000_u16 {
        take(&mut tracker, &piece(&large, id, 80, 59_992));
        assert!(tracker.kept_of_pieces() <= (4 << 20) + (1 << 17), "{}", tracker.kept_of_pieces());
        if id == 2000 {
            for piece in pieces(&whole, 7, &[1480]) {
                take(&mut tracker, &piece);
            }
        }
    }
    // One packet in very many pieces.
    for at in (0..40_000).step_by(16) {
        take(&mut tracker, &piece(&large, 9, at, at + 8));
    }
    assert_eq!(kept, 1);
    assert_eq!(tracker.finish().sas.iter().filter(|sa| sa.messages[0].notifies == [16_388]).count(), 1);
}

proptest! {
    /// In whatever order, however often and however cut: the same message.
    #[test]
    fn order_and_repetition_do_not_matter(
        vendor in 100..4000_usize,
        ends in proptest::collection::btree_set(1..500_usize, 0..12),
        order in proptest::collection::vec(any::<u16>(), 40),
        again in proptest::collection::vec(0..12_usize, 0..10),
        six in any::<bool>(),
    ) {
        let whole = udp(1, 2, (500, 500), &init(vendor));
        let length = whole.len() - 20;
        let ends: Vec<usize> = ends.iter().map(|end| end * 8).filter(|end| *end < length).chain([length]).collect();
        let begins = [0].into_iter().chain(ends.iter().copied());
        let ranges: Vec<(usize, usize)> = begins.zip(ends.iter().copied()).collect();
        prop_assume!(ranges.len() > 1);
        let mut all: Vec<(usize, usize)> = ranges.clone();
        all.extend(again.iter().filter_map(|at| ranges.get(*at)));
        let mut sorted: Vec<_> = all.into_iter().zip(order).collect();
        sorted.sort_by_key(|(_, key)| *key);
        let packets = sorted.iter().map(|((from, to), _)| match six {
            true => piece6(&whole, 7, *from, *to),
            false => piece(&whole, 7, *from, *to),
        });
        let tracks = tracked(&at(1000, packets.collect()));
        let [sa] = &tracks.sas[..] else { panic!("{:?}", tracks.sas) };
        prop_assert_eq!(sa.messages.len(), 1);
        prop_assert_eq!(&sa.messages[0].notifies[..], &[16_388][..]);
        prop_assert_eq!((sa.torn, sa.messages[0].repeated, sa.messages[0].sender), ([0, 0], 0, Role::Initiator));
        prop_assert_eq!((tracks.pieces.whole, tracks.fragments, tracks.pieces.overlapping), (1, 0, 0));
    }

    /// Pieces of anything: none panics, and no message comes of them that nobody sent.
    #[test]
    fn pieces_may_be_anything(
        parts in proptest::collection::vec((0..3u16, 0..40usize, 0..40usize, any::<[bool; 3]>()), 0..60),
    ) {
        let whole = udp(1, 2, (500, 500), &init(200));
        let length = whole.len() - 20;
        let packets = parts.iter().map(|(id, from, long, [six, lies, last])| {
            let from = (from * 8).min(length - 8);
            let to = (from + long * 8).min(length);
            let mut packet = if *six { piece6(&whole, u32::from(*id), from, to) } else { piece(&whole, *id, from, to) };
            if *lies {
                let at = if *six { 43 } else { 6 };
                packet[at] ^= if *six { 1 } else { 0x20 };
            }
            if *last {
                packet.truncate(packet.len() - packet.len() / 3);
            }
            packet
        });
        let tracks = tracked(&at(1000, packets.collect()));
        for message in tracks.sas.iter().flat_map(|sa| &sa.messages) {
            prop_assert!(message.notifies.is_empty() || message.notifies == [16_388], "{:?}", message);
        }
    }
}
