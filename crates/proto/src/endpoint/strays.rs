//! Messages of SAs that are not here, from peers that the configuration knows: a peer that kept its SA while we lost ours
//! goes on using it until it asks whether we live (RFC 3706, RFC 7296 section 2.4). Nothing of it is proven, so it is
//! remembered for the explanation. Where a trap waits for packets to that peer it counts as one of them: the peer, which sends by
//! what we do not have, will forget that when it hears from us (INITIAL_CONTACT).

use super::Endpoint;
use crate::policy;
use crate::v2::Path;
use model::{Event, Instant, Stray, StraySa};
use std::net::IpAddr;
use std::time::Duration;
use wire::{ExchangeType, Header};

/// So many addresses are remembered,
const ADDRESSES: usize = 64;
/// and so many that are not among them are compared with the configuration within a second: with many connections that
/// takes time, which a flood from made-up addresses shall not have.
const QUESTIONS: u32 = 64;
/// So many connections are named for each.
const NAMES: usize = 8;

struct Seen {
    from: IpAddr,
    sa: StraySa,
    count: u64,
    last: Instant,
}

/// What was seen, by address.
#[derive(Default)]
pub(super) struct Strays {
    seen: Vec<Seen>,
    since: Instant,
    asked: u32,
}

impl Strays {
    /// Whether an address that is not remembered may be looked for in the configuration.
    fn may_ask(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            (self.since, self.asked) = (now, 0);
        }
        self.asked = self.asked.saturating_add(1);
        self.asked <= QUESTIONS
    }

    fn again(&mut self, now: Instant, from: IpAddr, sa: StraySa) -> bool {
        let known = self.seen.iter_mut().find(|seen| seen.from == from);
        known.map(|seen| (seen.count, seen.sa, seen.last) = (seen.count.saturating_add(1), sa, now)).is_some()
    }

    /// Remembers a new address in the place of the one that was silent for the longest time.
    fn begin(&mut self, now: Instant, from: IpAddr, sa: StraySa) {
        if self.seen.len() >= ADDRESSES
            && let Some((oldest, _)) = self.seen.iter().enumerate().min_by_key(|(_, seen)| seen.last)
        {
            self.seen.swap_remove(oldest);
        }
        self.seen.push(Seen { from, sa, count: 1, last: now });
    }
}

impl Endpoint {
    /// A message that names SPIs, or cookies, which no SA has.
    pub(super) fn unknown_spi(&mut self, now: Instant, header: &Header, path: Path) {
        self.cx.dropped_unknown(header.spis, path.remote);
        // What belongs to a negotiation comes late where we have given up: that is no SA of the peer's.
        let of_an_sa = match header.exchange {
            ExchangeType::CREATE_CHILD_SA | ExchangeType::INFORMATIONAL => header.version.major() == 2,
            ExchangeType::QUICK_MODE | ExchangeType::INFORMATIONAL_V1 | ExchangeType::TRANSACTION => true,
            _ => false,
        };
        if of_an_sa {
            let sa = StraySa::Ike { version: header.version.major(), spis: header.spis };
            self.stray(now, path.remote.ip(), sa);
            self.wake_traps(now, path.remote.ip());
        }
    }

    /// The data plane has a packet of an ESP SA that is not here.
    pub(super) fn unknown_esp(&mut self, now: Instant, spi: u32, from: IpAddr) {
        self.stray(now, from, StraySa::Esp { spi });
        let text = format!("ESP with unknown SPI {spi:08x} from {from}: that peer has a Child SA which we have not");
        self.cx.event(Event::Step { sa: None, name: String::new(), group: "ESP", level: 1, text });
        self.wake_traps(now, from);
    }

    /// Remembers it if the configuration names this address.
    fn stray(&mut self, now: Instant, from: IpAddr, sa: StraySa) {
        if self.strays.again(now, from, sa) || !self.strays.may_ask(now) {
            return;
        }
        if !policy::naming(self.connections.for_peer(from), from, &self.names).is_empty() {
            self.strays.begin(now, from, sa);
        }
    }

    /// Messages of SAs that are not here, from addresses that the configuration names: the latest first.
    pub fn strays(&self, now: Instant) -> Vec<Stray> {
        let told = |seen: &Seen| {
            let connections = policy::naming(self.connections.for_peer(seen.from), seen.from, &self.names);
            let connections: Vec<String> = connections.into_iter().take(NAMES).map(|c| c.name.clone()).collect();
            let Seen { from, sa, count, last } = *seen;
            (!connections.is_empty()).then(|| Stray { from, connections, sa, count, last: now.since(last) })
        };
        let mut strays: Vec<Stray> = self.strays.seen.iter().filter_map(told).collect();
        strays.sort_by_key(|stray| stray.last);
        strays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_addresses_are_kept_and_questions_are_few() {
        let mut strays = Strays::default();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let sa = StraySa::Esp { spi: 0x1234_5678 };
        (0..100).for_each(|n| strays.begin(at(100 + u64::from(n)), address(n), sa));
        assert_eq!(strays.seen.len(), ADDRESSES);
        assert!(strays.again(at(500), address(99), sa) && strays.again(at(501), address(36), sa));
        assert!(!strays.again(at(502), address(35), sa), "the oldest went");
        strays.begin(at(503), address(200), sa);
        assert!(strays.again(at(504), address(36), sa), "it spoke again: another one goes");
        assert!(!strays.again(at(504), address(37), sa));
        let asked = (0..1000).filter(|_| strays.may_ask(at(600))).count();
        assert_eq!(asked, QUESTIONS as usize);
        assert!(strays.may_ask(at(601)));
    }
}
