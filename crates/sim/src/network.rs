//! What happens to a datagram on its way: delay, loss, duplication, corruption, firewalls and NAT.

use crate::Rng;
use model::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// From the ISAKMP header on; the non-ESP marker of port 4500 is left out, as the core never sees it.
    pub bytes: Vec<u8>,
    /// Whether this is a NAT keepalive (RFC 3948 section 2.3), which never reaches the core.
    pub keepalive: bool,
}

/// How well a link works. Chances are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Chance that a datagram disappears.
    pub loss: u32,
    /// Chance that it arrives twice.
    pub duplicate: u32,
    /// Chance that it is held back, by up to ten times `latency`, so that later ones overtake it.
    pub reorder: u32,
    /// Chance that one bit of it is flipped and no checksum notices.
    pub corrupt: u32,
    /// One way.
    pub latency: Duration,
}

impl Default for Conditions {
    /// A good line: 10 ms one way, nothing else.
    fn default() -> Self {
        Self { loss: 0, duplicate: 0, reorder: 0, corrupt: 0, latency: Duration::from_millis(10) }
    }
}

impl Conditions {
    /// A good line that loses this many datagrams of a thousand.
    pub fn losing(per_mille: u32) -> Self {
        Self { loss: per_mille, ..Self::default() }
    }

    /// The copies that arrive, each after its delay.
    pub(crate) fn apply(&self, rng: &mut Rng, datagram: Datagram) -> Vec<(Duration, Datagram)> {
        let copies = if rng.chance(self.duplicate) { 2 } else { 1 };
        let mut arriving = Vec::new();
        for _ in 0..copies {
            if rng.chance(self.loss) {
                continue;
            }
            let mut copy = datagram.clone();
            if rng.chance(self.corrupt) && !copy.bytes.is_empty() {
                let at = rng.below(copy.bytes.len() as u64) as usize;
                copy.bytes[at] ^= 1 << rng.below(8);
            }
            let mut delay = self.latency;
            if rng.chance(self.reorder) {
                delay += Duration::from_nanos(rng.below(10 * self.latency.as_nanos() as u64));
            }
            arriving.push((delay, copy));
        }
        arriving
    }
}

/// A firewall rule: what it matches is dropped. `None` matches everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Source address.
    pub from: Option<IpAddr>,
    /// Destination address.
    pub to: Option<IpAddr>,
    /// Destination port.
    pub port: Option<u16>,
}

impl Block {
    pub(crate) fn matches(&self, datagram: &Datagram) -> bool {
        self.from.is_none_or(|a| a == datagram.from.ip())
            && self.to.is_none_or(|a| a == datagram.to.ip())
            && self.port.is_none_or(|p| p == datagram.to.port())
    }
}

/// A NAT box in the words of RFC 4787: endpoint-independent mapping (section 4.1), address and port-dependent filtering
/// (section 5), no port preservation, mappings that only outbound traffic refreshes (section 4.3).
#[derive(Clone, Debug)]
pub struct Nat {
    public: IpAddr,
    lifetime: Duration,
    next_port: u16,
    /// By the inside source.
    mappings: BTreeMap<SocketAddr, Mapping>,
}

#[derive(Clone, Debug)]
struct Mapping {
    port: u16,
    used: Instant,
    /// Who was spoken to: only they may answer.
    permitted: Vec<SocketAddr>,
}

impl Nat {
    /// A box with this outside address, whose mappings live for 60 s after the last outbound datagram.
    pub fn new(public: IpAddr) -> Self {
        Self { public, lifetime: Duration::from_secs(60), next_port: 20_000, mappings: BTreeMap::new() }
    }

    /// The same with another lifetime of mappings.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// The outside address.
    pub fn public(&self) -> IpAddr {
        self.public
    }

    /// Forgets every mapping, as after a restart of the box.
    pub fn reboot(&mut self) {
        self.mappings.clear();
    }

    /// How a datagram from the inside looks outside.
    pub(crate) fn outbound(&mut self, now: Instant, datagram: &mut Datagram) {
        self.expire(now);
        let next_port = &mut self.next_port;
        let mapping = self.mappings.entry(datagram.from).or_insert_with(|| {
            *next_port += 1;
            Mapping { port: *next_port, used: now, permitted: Vec::new() }
        });
        mapping.used = now;
        if !mapping.permitted.contains(&datagram.to) {
            mapping.permitted.push(datagram.to);
        }
        datagram.from = SocketAddr::new(self.public, mapping.port);
    }

    /// Rewrites a datagram from the outside, or refuses it.
    pub(crate) fn inbound(&mut self, now: Instant, datagram: &mut Datagram) -> bool {
        self.expire(now);
        let found = self
            .mappings
            .iter()
            .find(|(_, m)| m.port == datagram.to.port() && m.permitted.contains(&datagram.from))
            .map(|(inside, _)| *inside);
        match found {
            Some(inside) => {
                datagram.to = inside;
                true
            }
            None => false,
        }
    }

    fn expire(&mut self, now: Instant) {
        let lifetime = self.lifetime;
        self.mappings.retain(|_, mapping| now.since(mapping.used) <= lifetime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(from: &str, to: &str) -> Datagram {
        Datagram { from: from.parse().unwrap(), to: to.parse().unwrap(), bytes: vec![0; 4], keepalive: false }
    }

    #[test]
    fn a_nat_maps_filters_and_forgets() {
        let mut nat = Nat::new("203.0.113.1".parse().unwrap());
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut out = datagram("10.0.0.2:500", "192.0.2.1:500");
        nat.outbound(at(0), &mut out);
        assert_eq!(out.from, "203.0.113.1:20001".parse().unwrap());
        let mut other = datagram("10.0.0.2:500", "192.0.2.9:500");
        nat.outbound(at(0), &mut other);
        assert_eq!(other.from, out.from, "endpoint-independent mapping");
        let mut answer = datagram("192.0.2.1:500", "203.0.113.1:20001");
        assert!(nat.inbound(at(1), &mut answer));
        assert_eq!(answer.to, "10.0.0.2:500".parse().unwrap());
        let mut stranger = datagram("192.0.2.1:4500", "203.0.113.1:20001");
        assert!(!nat.inbound(at(1), &mut stranger), "port-dependent filtering");
        let mut late = datagram("192.0.2.1:500", "203.0.113.1:20001");
        assert!(!nat.inbound(at(61), &mut late), "the mapping has expired");
        let mut again = datagram("10.0.0.2:500", "192.0.2.1:500");
        nat.outbound(at(62), &mut again);
        assert_eq!(again.from.port(), 20002);
    }

    #[test]
    fn conditions_lose_double_and_flip() {
        let mut rng = Rng::new(1);
        let sent = datagram("192.0.2.1:500", "192.0.2.2:500");
        let count = |conditions: Conditions, rng: &mut Rng| -> usize {
            (0..1000).map(|_| conditions.apply(rng, sent.clone()).len()).sum()
        };
        assert_eq!(count(Conditions::default(), &mut rng), 1000);
        assert_eq!(count(Conditions::losing(1000), &mut rng), 0);
        assert_eq!(count(Conditions { duplicate: 1000, ..Conditions::default() }, &mut rng), 2000);
        let lossy = count(Conditions::losing(300), &mut rng);
        assert!((640..760).contains(&lossy), "{lossy}");
        let corrupt = Conditions { corrupt: 1000, reorder: 1000, ..Conditions::default() };
        let (delay, copy) = corrupt.apply(&mut rng, sent.clone()).remove(0);
        assert_eq!(copy.bytes.iter().zip(&sent.bytes).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
        assert!(delay >= Duration::from_millis(10) && delay < Duration::from_millis(110));
    }

    #[test]
    fn a_block_matches_what_it_names() {
        let d = datagram("192.0.2.1:500", "192.0.2.2:4500");
        assert!(Block::default().matches(&d));
        assert!(Block { port: Some(4500), ..Block::default() }.matches(&d));
        assert!(!Block { from: Some("192.0.2.2".parse().unwrap()), ..Block::default() }.matches(&d));
        assert!(!Block { to: Some("192.0.2.2".parse().unwrap()), port: Some(500), ..Block::default() }.matches(&d));
    }
}
