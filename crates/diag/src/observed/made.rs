//! For tests: SAs and messages as an observer saw them between two hosts, without anything that is not asked for.

use super::*;
use std::net::SocketAddr;
use wire::{IkeSpi, SpiPair};

/// A host of the network of all tests, on IKE's port.
pub(super) fn end(host: u8) -> SocketAddr {
    ([192, 0, 2, host], 500).into()
}

/// An SA between hosts 1 and 2 with these messages, and nothing else.
pub(super) fn sa(version: u8, messages: Vec<ObservedMessage>) -> ObservedSa {
    ObservedSa {
        version,
        spis: SpiPair { initiator: IkeSpi([1; 8]), responder: IkeSpi([2; 8]) },
        initiator: end(1),
        responder: end(2),
        messages,
        more: 0,
        esp: [0; 2],
        unopened: [0; 2],
        too_big: None,
        lifetime: None,
        method: None,
        looks_for_nat: [false; 2],
        esp_last: [0; 2],
        unreachable: None,
        torn: [0; 2],
    }
}

/// A message in the clear between hosts 1 and 2, seen once.
pub(super) fn message(sender: Role, exchange: ExchangeType, message_id: u32, time: u64) -> ObservedMessage {
    let [from, to] = if sender == Initiator { [end(1), end(2)] } else { [end(2), end(1)] };
    ObservedMessage {
        sender,
        exchange,
        message_id,
        response: false,
        encrypted: false,
        octets: 200,
        from,
        to,
        first: time,
        last: time,
        repeated: 0,
        notifies: Vec::new(),
        has_sa: false,
        inside: None,
    }
}
