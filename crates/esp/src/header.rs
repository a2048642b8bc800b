//! What the outer and the inner IP header have in common: DSCP and ECN (RFC 4301 section 5.1.2, RFC 6040), and Don't Fragment.
//!
//! The kernel writes the outer header; here is decided what it shall have of the inner one, and what goes back inside.

use model::dataplane::{HeaderFields, OuterFields};

/// The ECN field is the lower two bits of the octet (RFC 3168 section 5), DSCP the upper six (RFC 2474 section 3).
const ECN: u8 = 0b11;
const DSCP: u8 = !ECN;

/// The flag in the seventh octet of an IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

/// Every link carries so long an IPv6 packet, and no sender must be asked for shorter ones (RFC 8200 section 5).
pub(crate) const IPV6_MINIMUM_MTU: usize = 1280;

/// RFC 6040 section 4.2, figure 4: a row for the arriving inner header and a column for the outer one, each in the order
/// of the code points Not-ECT, ECT(1), ECT(0), CE. `None`: the packet is dropped.
const DECAPSULATED: [[Option<u8>; 4]; 4] = {
    const NOT_ECT: Option<u8> = Some(0b00);
    const ECT_1: Option<u8> = Some(0b01);
    const ECT_0: Option<u8> = Some(0b10);
    const CE: Option<u8> = Some(0b11);
    [
        [NOT_ECT, NOT_ECT, NOT_ECT, None], // inner Not-ECT
        [ECT_1, ECT_1, ECT_1, CE],         // inner ECT(1)
        [ECT_0, ECT_1, ECT_0, CE],         // inner ECT(0)
        [CE, CE, CE, CE],                  // inner CE
    ]
};

/// A packet that was marked as congested on the way, while its sender does not know of such marks: dropping it is the only
/// way to say so (RFC 6040 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CongestionLoss;

/// The octet of DSCP and ECN; `None` for what is no IP packet.
pub(crate) fn traffic_class(packet: &[u8]) -> Option<u8> {
    let &[first, second] = packet.first_chunk::<2>()?;
    match first >> 4 {
        4 => Some(second),
        6 => Some(first << 4 | second >> 4),
        _ => None,
    }
}

/// Changes the octet of DSCP and ECN and, in IPv4, the checksum of the header.
pub(crate) fn set_traffic_class(packet: &mut [u8], class: u8) {
    match packet {
        [first, second, ..] if *first >> 4 == 6 => {
            *first = 0x60 | class >> 4;
            *second = class << 4 | *second & 0x0f;
        }
        [first, second, _, _, _, _, _, _, _, _, high, low, ..] if *first >> 4 == 4 => {
            // RFC 1624 section 3, equation 3: HC' = ~(~HC + ~m + m'), in one's complement of 16 bits.
            let word = |octet: u8| u32::from(u16::from_be_bytes([*first, octet]));
            let sum = u32::from(!u16::from_be_bytes([*high, *low])) + (0xffff - word(*second)) + word(class);
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            [*high, *low] = (!(folded as u16)).to_be_bytes(); // folded to 16 bits
            *second = class;
        }
        _ => {}
    }
}

/// Whether the sender of a packet wants to hear that it is too long rather than have it cut: IPv4 says so, and with IPv6
/// nobody on the way cuts anything.
fn not_to_be_cut(packet: &[u8]) -> bool {
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => packet.get(6).is_some_and(|flags| flags & DONT_FRAGMENT != 0),
        Some(6) => packet.len() > IPV6_MINIMUM_MTU,
        _ => false,
    }
}

/// What the outer header in front of a tunnelled packet has of it. ECN goes outside as it is: the peer of a tunnel decapsulates
/// as below (RFC 7296 section 2.24), so that it is RFC 6040's normal mode, and without `copy_ecn` its compatibility mode.
pub(crate) fn outer(packet: &[u8], fields: &HeaderFields) -> OuterFields {
    let kept = if fields.copy_dscp.outbound() { DSCP } else { 0 } | if fields.copy_ecn { ECN } else { 0 };
    let traffic_class = traffic_class(packet).unwrap_or_default() & kept;
    OuterFields { traffic_class, dont_fragment: fields.copy_df && not_to_be_cut(packet) }
}

/// What a packet in transport mode is sent with: its own header goes, and the outer one stands for it.
pub(crate) fn own(packet: &[u8]) -> OuterFields {
    let traffic_class = traffic_class(packet).unwrap_or_default();
    OuterFields { traffic_class, dont_fragment: not_to_be_cut(packet) }
}

/// Brings into a decapsulated packet what the outer header came with.
///
/// # Errors
/// [`CongestionLoss`]; the packet is as it was then.
pub(crate) fn decapsulate(packet: &mut [u8], outer: u8, fields: &HeaderFields) -> Result<(), CongestionLoss> {
    let Some(inner) = traffic_class(packet) else { return Ok(()) };
    let ecn = if fields.copy_ecn {
        let row = DECAPSULATED.get(usize::from(inner & ECN));
        row.and_then(|row| row.get(usize::from(outer & ECN)).copied().flatten()).ok_or(CongestionLoss)?
    } else {
        inner & ECN
    };
    let class = ecn | DSCP & if fields.copy_dscp.inbound() { outer } else { inner };
    if class != inner {
        set_traffic_class(packet, class);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::packet;
    use crate::transport::checksum;
    use model::dataplane::CopyDscp;
    use proptest::prelude::*;

    const OURS: HeaderFields = HeaderFields { copy_df: true, copy_ecn: true, copy_dscp: CopyDscp::Out };

    /// A packet of either family with this octet, and with a right checksum.
    fn with_class(ipv6: bool, class: u8) -> Vec<u8> {
        let (from, to) = if ipv6 { ("2001:db8::1", "2001:db8::2") } else { ("10.1.0.1", "10.2.0.1") };
        let mut made = packet(from, to, 17, &[1, 2, 3, 4, 0, 8, 0, 0]);
        if ipv6 {
            (made[0], made[1], made[2]) = (0x60 | class >> 4, class << 4 | 0x0a, 0xbc); // a flow label
        } else {
            made[1] = class;
            let sum = checksum(&[&made[..20]]).to_be_bytes();
            made[10..12].copy_from_slice(&sum);
        }
        made
    }

    /// The table as RFC 6040 section 4.2 prints it.
    #[test]
    fn congestion_marks_come_in_by_the_table_of_rfc_6040() {
        let printed = [
            ("Not-ECT", ["Not-ECT", "Not-ECT", "Not-ECT", "<drop>"]),
            ("ECT(0)", ["ECT(0)", "ECT(0)", "ECT(1)", "CE"]),
            ("ECT(1)", ["ECT(1)", "ECT(1)", "ECT(1)", "CE"]),
            ("CE", ["CE", "CE", "CE", "CE"]),
        ];
        let columns = ["Not-ECT", "ECT(0)", "ECT(1)", "CE"];
        let code = |name: &str| match name {
            "Not-ECT" => Some(0u8),
            "ECT(1)" => Some(1),
            "ECT(0)" => Some(2),
            "CE" => Some(3),
            _ => None,
        };
        for (inner, row) in printed {
            for (outer, outgoing) in columns.iter().zip(row) {
                for ipv6 in [false, true] {
                    let (dscp, other) = (0xb8, 0x28);
                    let arriving = with_class(ipv6, dscp | code(inner).unwrap());
                    let mut made = arriving.clone();
                    let done = decapsulate(&mut made, other | code(outer).unwrap(), &OURS);
                    match code(outgoing) {
                        Some(ecn) => {
                            assert_eq!(done, Ok(()), "{inner} in {outer}");
                            assert_eq!(made, with_class(ipv6, dscp | ecn), "{inner} in {outer}");
                        }
                        None => assert_eq!((done, made), (Err(CongestionLoss), arriving), "{inner} in {outer}"),
                    }
                }
            }
        }
    }

    #[test]
    fn each_setting_says_what_is_copied() {
        // EF and ECT(0) inside, AF11 and CE outside.
        let (inner, outer_class) = (0xb8 | 2, 0x28 | 3);
        for ipv6 in [false, true] {
            for (copy_dscp, sent, received) in [
                (CopyDscp::Out, 0xb8, 0xb8),
                (CopyDscp::In, 0, 0x28),
                (CopyDscp::Yes, 0xb8, 0x28),
                (CopyDscp::No, 0, 0xb8),
            ] {
                for copy_ecn in [false, true] {
                    let fields = HeaderFields { copy_df: true, copy_ecn, copy_dscp };
                    let mut made = with_class(ipv6, inner);
                    let ecn = if copy_ecn { (2, 3) } else { (0, 2) };
                    assert_eq!(outer(&made, &fields).traffic_class, sent | ecn.0, "{fields:?}");
                    decapsulate(&mut made, outer_class, &fields).unwrap();
                    assert_eq!(made, with_class(ipv6, received | ecn.1), "{fields:?}");
                }
            }
        }
        // Nobody looks at marks, so there is nothing to drop for.
        let mut made = with_class(false, 0);
        assert_eq!(decapsulate(&mut made, 3, &HeaderFields { copy_ecn: false, ..OURS }), Ok(()));
    }

    #[test]
    fn what_may_not_be_cut_inside_may_not_be_cut_outside() {
        let keeps_df = |packet: &[u8]| outer(packet, &OURS).dont_fragment;
        let mut v4 = with_class(false, 0);
        assert!(!keeps_df(&v4) && !own(&v4).dont_fragment);
        v4[6] = 0x40;
        assert!(keeps_df(&v4) && own(&v4).dont_fragment);
        assert!(!outer(&v4, &HeaderFields { copy_df: false, ..OURS }).dont_fragment);
        v4[6] = 0x20;
        assert!(!keeps_df(&v4), "More Fragments is another flag");
        // RFC 8200 section 5: nobody can be asked for packets shorter than that.
        let mut v6 = with_class(true, 0);
        v6.resize(1280, 0);
        assert!(!keeps_df(&v6));
        v6.push(0);
        assert!(keeps_df(&v6));
        for nothing in [&[][..], &[0x45], &[0x51, 2]] {
            assert_eq!(outer(nothing, &OURS), OuterFields::default());
        }
    }

    #[test]
    fn the_checksum_is_as_computed_anew() {
        for (before, after) in (0..=255).flat_map(|before| [(before, 0), (before, 0xff), (before, !before)]) {
            let mut made = with_class(false, before);
            set_traffic_class(&mut made, after);
            assert_eq!(made, with_class(false, after), "{before:x} {after:x}");
        }
    }

    proptest! {
        #[test]
        fn a_header_with_another_class_is_the_header_computed_anew(
            mut octets in prop::collection::vec(any::<u8>(), 20..60), class: u8, outer_class: u8,
        ) {
            octets[0] = 0x45;
            octets[10..12].fill(0);
            let sum = checksum(&[&octets[..20]]).to_be_bytes();
            octets[10..12].copy_from_slice(&sum);
            let mut changed = octets.clone();
            set_traffic_class(&mut changed, class);
            prop_assert_eq!(checksum(&[&changed[..20]]), 0);
            prop_assert_eq!(traffic_class(&changed), Some(class));
            set_traffic_class(&mut changed, octets[1]);
            prop_assert_eq!(&changed, &octets);
            let _ = decapsulate(&mut changed, outer_class, &OURS);
            prop_assert_eq!(checksum(&[&changed[..20]]), 0);
            prop_assert_eq!(&changed[20..], &octets[20..]);
        }

        #[test]
        fn nothing_panics(mut octets in prop::collection::vec(any::<u8>(), 0..44), outer_class: u8) {
            let fields = HeaderFields { copy_dscp: CopyDscp::Yes, ..OURS };
            let _ = (outer(&octets, &fields), own(&octets));
            let _ = decapsulate(&mut octets, outer_class, &fields);
        }
    }
}
