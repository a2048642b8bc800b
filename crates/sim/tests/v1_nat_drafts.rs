//! IKEv1: NAT traversal with peers that know only the drafts before RFC 3947.

use sim::{Nat, Sim, Site};
use std::time::Duration;
use wire::v1::VendorId;

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
