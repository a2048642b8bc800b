//! What fuzz targets and property tests run: any octets as a capture.

use crate::{Reader, Tracker, decapsulate};
use model::ObservedSa;

/// Reads octets as a capture, and follows what it has of IKE.
pub fn capture(data: &[u8]) -> Vec<ObservedSa> {
    let mut tracker = Tracker::default();
    let Ok(mut reader) = Reader::new(data) else { return Vec::new() };
    while let Ok(Some(packet)) = reader.next_packet() {
        if let Some(datagram) = decapsulate(packet.link, packet.octets) {
            tracker.take(packet.nanoseconds.unwrap_or(0), &datagram);
        }
    }
    tracker.finish().sas
}
