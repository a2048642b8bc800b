//! An ISAKMP SA of IKEv1, message by message, as racoonctl lists it at both ends.

use super::{A, B, Site, heading, say};
use crate::clock::Clock;
use config::MemoryFiles;
use model::SaSnapshot;
use proto::{Endpoint, Input, Output, Settings};
use show::racoonctl::{Dialect, Options, render};
use std::collections::VecDeque;
use std::net::SocketAddr;

struct End {
    name: &'static str,
    address: SocketAddr,
    endpoint: Endpoint,
}

impl End {
    fn new(own: &'static Site, peer: &Site) -> Result<Self, String> {
        let text = super::configuration(own, peer, (own.address, peer.address), super::Fault::None);
        // The same site with IKEv1: main mode, and no combined-mode cipher in phase 1.
        let text = text.replacen("mobike = no", "version = 1", 1);
        let path = format!("gateway-{}/swanctl.conf", own.name);
        let root = config::parse(&path, &MemoryFiles::one(&path, &text)).map_err(|e| e.to_string())?;
        let loaded =
            config::load(&root).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let mut endpoint = Endpoint::new(Settings::default(), Box::new(crypto::SystemRandom));
        for connection in loaded.connections {
            endpoint.load_connection(connection);
        }
        endpoint.set_secrets(loaded.secrets);
        let address = format!("{}:500", own.address).parse().map_err(|_| "no address".to_string())?;
        Ok(Self { name: own.name, address, endpoint })
    }

    /// The datagrams that it wants to send.
    fn datagrams(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            if let Output::Transmit { message, .. } = output {
                all.push(message);
            }
        }
        all
    }

    fn row(&self, now: model::Instant) -> Option<String> {
        let sas: Vec<SaSnapshot> = self.endpoint.snapshots(now);
        let created = |_| crate::clock::local_time();
        let options = Options { level: 1, dialect: Dialect::Racoon07, strict: true, created: &created };
        render(&sas, &options).lines().nth(1).map(str::to_string)
    }
}

/// What the six messages of main mode and the three of quick mode are.
const MESSAGES: [&str; 9] = [
    "HDR, SA",
    "HDR, SA",
    "HDR, KE, Ni, NAT-D, NAT-D",
    "HDR, KE, Nr, NAT-D, NAT-D",
    "HDR*, IDii, HASH_I",
    "HDR*, IDir, HASH_R",
    "HDR*, HASH(1), SA, Ni, IDci, IDcr",
    "HDR*, HASH(2), SA, Nr, IDci, IDcr",
    "HDR*, HASH(3)",
];

/// Runs it.
pub(super) fn run() -> Result<(), String> {
    heading("IKEv1: racoonctl -l show-sa isakmp at both ends, message by message");
    let clock = Clock::new();
    let (mut a, mut b) = (End::new(&A, &B)?, End::new(&B, &A)?);
    let now = clock.now();
    a.endpoint.initiate(now, "site", "net", a.address, b.address).map_err(|e| e.to_string())?;
    say("     Destination            Cookies                           ST S  V E Created             Phase2");
    let mut wire: VecDeque<(bool, Vec<u8>)> = a.datagrams().into_iter().map(|d| (true, d)).collect();
    let mut number = 0;
    while let Some((from_a, datagram)) = wire.pop_front() {
        let story = MESSAGES.get(number).copied().unwrap_or("HDR*");
        number += 1;
        let arrow = if from_a { "a -> b" } else { "b -> a" };
        say(&format!("  {number}  {arrow}  {story}"));
        let now = clock.now();
        let (from, to) = if from_a { (&a, &mut b) } else { (&b, &mut a) };
        let (local, remote) = (to.address, from.address);
        to.endpoint.handle(now, Input::Datagram { local, remote, bytes: &datagram });
        wire.extend(to.datagrams().into_iter().map(|d| (!from_a, d)));
        for end in [&a, &b] {
            if let Some(row) = end.row(now) {
                say(&format!("  {}  {row}", end.name));
            }
        }
    }
    let now = clock.now();
    let up = |end: &End| end.endpoint.snapshots(now).iter().any(|sa| sa.children.iter().any(|c| c.installed.is_some()));
    if up(&a) && up(&b) { Ok(()) } else { Err("the IKEv1 tunnel did not come up".into()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_walk_reaches_both_ends_established() {
        super::run().unwrap();
    }
}
