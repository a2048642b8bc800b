//! What fuzz targets and property tests run: any octets as a capture.

use crate::{Keys, Reader, Tracker, decapsulate};
use model::ObservedSa;

/// Reads octets as a capture, and follows what it has of IKE.
pub fn capture(data: &[u8]) -> Vec<ObservedSa> {
    followed(data, Tracker::default())
}

/// The same with a table of keys before it, which a zero octet ends.
pub fn opened(data: &[u8]) -> Vec<ObservedSa> {
    let end = data.iter().position(|octet| *octet == 0).unwrap_or(data.len());
    let (table, capture) = data.split_at_checked(end).unwrap_or_default();
    followed(capture.get(1..).unwrap_or_default(), Tracker::with_keys(Keys::parse(table)))
}

fn followed(data: &[u8], mut tracker: Tracker) -> Vec<ObservedSa> {
    let Ok(mut reader) = Reader::new(data) else { return Vec::new() };
    while let Ok(Some(packet)) = reader.next_packet() {
        if let Some(datagram) = decapsulate(packet.link, packet.octets) {
            tracker.take(packet.nanoseconds.unwrap_or(0), &datagram);
        }
    }
    tracker.finish().sas
}
