//! What the fuzz target of IKEv1 runs: arbitrary payloads under the cookies of a negotiation, at any point of it.

use crate::{Sim, Site};
use proto::{Input, Output};
use std::time::Duration;
use wire::{ExchangeType, Flags, HEADER_LEN, Header, PayloadType, Version};

/// Reads `data` as a point of a negotiation (first octet: mode, and how many datagrams have arrived) and what a stranger
/// who has seen the cookies then sends: for each datagram the end it goes to, exchange type, flags, message ID, first
/// payload, length and contents.
///
/// # Panics
/// If an endpoint does, answers a datagram more than once, touches the data plane, or keeps more SAs than it may.
pub fn endpoint_v1(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let mode = if first & 1 == 0 { "aggressive = no" } else { "aggressive = yes" };
    let site = |name: &str, own: &str, peer: &str| {
        let site = Site::new(name, own).to(peer).connection("version = 1").connection(mode);
        site.connection("proposals = aes128-sha256-x25519").child("esp_proposals = aes128gcm16")
    };
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
    sim.initiate(a, b);
    let arrived = usize::from(first / 2 % 10);
    sim.run_until(Duration::from_secs(1), |sim| sim.wire.len() - sim.under_way() >= arrived);
    let spis = sim.snapshots(b).first().or(sim.snapshots(a).first()).map(|sa| sa.spis).unwrap_or_default();
    let mut octet = || {
        let (first, more) = rest.split_first()?;
        rest = more;
        Some(*first)
    };
    while let Some(how) = octet() {
        let (node, from, to) = if how & 1 == 0 { (a, 2, 1) } else { (b, 1, 2) };
        let exchange = match how / 2 % 8 {
            0 => ExchangeType::IDENTITY_PROTECTION,
            1 => ExchangeType::AGGRESSIVE,
            2 | 3 => ExchangeType::INFORMATIONAL_V1,
            4 | 5 => ExchangeType::QUICK_MODE,
            _ => ExchangeType(octet().unwrap_or(0)),
        };
        let next_payload = PayloadType(octet().unwrap_or(0));
        let message_id = u32::from(octet().unwrap_or(0) % 4);
        let length = usize::from(octet().unwrap_or(0)) * if how & 0x40 == 0 { 1 } else { 16 };
        let body: Vec<u8> = (0..length).map_while(|_| octet()).collect();
        let (version, flags) = (Version::V1, Flags(how >> 7));
        let length = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        Header { spis, next_payload, version, exchange, flags, message_id, length }.write(&mut bytes);
        bytes.extend_from_slice(&body);
        let at = |last: u8| std::net::SocketAddr::from(([192, 0, 2, last], 500));
        let mut sent = 0;
        sim.with(node, |endpoint, now| {
            endpoint.handle(now, Input::Datagram { local: at(to), remote: at(from), bytes: &bytes });
            while let Some(output) = endpoint.poll_output() {
                match output {
                    Output::Transmit { .. } => sent += 1,
                    Output::Plane(command) => panic!("a stranger reached the data plane: {command:?}"),
                    Output::Keepalive { .. }
                    | Output::AddAddress(_)
                    | Output::RemoveAddress(_)
                    | Output::Resolve(_)
                    | Output::Solve(_)
                    | Output::Fetch(_)
                    | Output::FetchCertificate(_)
                    | Output::Event(_) => {}
                }
            }
        });
        assert!(sent <= 1, "{sent} answers to one datagram");
        assert!(sim.endpoint(node).sizes().0 <= 6, "{:?}", sim.endpoint(node).sizes());
    }
    sim.run_for(Duration::from_secs(400));
    for node in [a, b] {
        assert_eq!(sim.endpoint(node).sizes().1, 0, "half-open for ever");
        assert_eq!(sim.plane(node).installed().count(), sim.pairs(a, b), "installed at one end only");
    }
}
