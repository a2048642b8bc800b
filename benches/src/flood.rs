//! Legitimate initiators while strangers send IKE_SA_INIT from addresses that are not theirs.

use crate::peers::{Datagram, Side, Suite, gateway, initiator, number};
use proto::Settings;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Legitimate initiators that begin at the same moment: fewer than the half-open SAs that are allowed without cookies.
const TOGETHER: u32 = 16;

/// Between two such moments. Half-open SAs end after 30 seconds, so that a phase sees many generations of them.
const PAUSE: Duration = Duration::from_secs(20);

/// A gateway with the limits that it has by default, and who speaks to it.
pub struct Siege {
    /// The gateway.
    pub gateway: Side,
    suite: Suite,
    /// An IKE_SA_INIT request with nothing wrong in it, so that the gateway finds no cheap reason to drop it.
    template: Datagram,
    /// Of the generator of addresses and SPIs.
    state: u64,
    /// The next legitimate initiator.
    next: u32,
}

/// What a phase took, in the unit of whoever measured: seconds of CPU or octets of heap.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phase {
    /// Legitimate initiators that tried.
    pub legitimate: u32,
    /// How many of them have an IKE SA and a Child SA.
    pub up: u32,
    /// Messages of strangers.
    pub spoofed: u32,
    /// For the legitimate ones, at the gateway, with its answers.
    pub for_legitimate: f64,
    /// For the strangers, at the gateway, with the timers of their half-open SAs.
    pub for_spoofed: f64,
    /// The most half-open SAs that there were.
    pub half_open: usize,
}

impl Siege {
    /// Nobody has said anything yet.
    pub fn new(suite: Suite, seed: u64) -> Self {
        let mut first = Vec::new();
        initiator(suite, 0..1).initiate(0, &mut first);
        let template = first.pop().expect("an initiator begins with a message");
        Self { gateway: gateway(suite, Settings::default(), 0), suite, template, state: seed, next: 0 }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): the same seed gives the same strangers.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A first message from one of 2^30 addresses, none of which is a legitimate initiator's.
    fn spoofed(&mut self) -> Datagram {
        let (spi, source) = (self.random() | 1, self.random() as u32);
        let address = Ipv4Addr::from(0x4000_0000 | source >> 2);
        let mut datagram = Datagram { from: SocketAddr::from((address, 500)), ..self.template.clone() };
        if let Some(initiator_spi) = datagram.message.get_mut(..8) {
            initiator_spi.copy_from_slice(&spi.to_be_bytes());
        }
        datagram
    }

    /// `legitimate` initiators set up an IKE SA with a Child SA each, and meanwhile `ratio` times as many first messages
    /// come from strangers. `meter` is read before and after what the gateway does for either.
    pub fn phase(&mut self, legitimate: u32, ratio: u32, meter: impl Fn() -> f64) -> Phase {
        let mut phase = Phase::default();
        while phase.legitimate < legitimate {
            let together = TOGETHER.min(legitimate - phase.legitimate);
            self.moment(together, together * ratio, &meter, &mut phase);
        }
        phase
    }

    /// `strangers` send a first message each, and nobody else says anything: what grows is theirs.
    pub fn alone(&mut self, strangers: u32, meter: impl Fn() -> f64) -> Phase {
        const AT_ONCE: u32 = 1_600;
        let mut phase = Phase::default();
        while phase.spoofed < strangers {
            let more = AT_ONCE.min(strangers - phase.spoofed);
            self.moment(0, more, &meter, &mut phase);
        }
        phase
    }

    fn moment(&mut self, together: u32, strangers: u32, meter: impl Fn() -> f64, phase: &mut Phase) {
        let before = meter();
        self.gateway.wait(PAUSE, &mut Vec::new());
        phase.for_spoofed += meter() - before;
        // The strangers' messages come between the steps of the others: IKE_SA_INIT, the same with a cookie, IKE_AUTH.
        let strangers: Vec<Datagram> = (0..strangers).map(|_| self.spoofed()).collect();
        let mut strangers = strangers.chunks(strangers.len().div_ceil(3).max(1));
        let (begin, end) = (self.next, self.next + together);
        self.next = end;
        let mut initiators: Vec<Side> = (begin..end).map(|n| initiator(self.suite, n..n + 1)).collect();
        let mut requests = Vec::new();
        initiators.iter_mut().zip(begin..end).for_each(|(side, n)| side.initiate(n, &mut requests));
        loop {
            let flood = strangers.next().unwrap_or_default();
            if flood.is_empty() && requests.is_empty() {
                break;
            }
            self.flood(flood, &meter, phase);
            let mut replies = Vec::with_capacity(requests.len());
            let before = meter();
            requests.iter().for_each(|request| self.gateway.receive(request, &mut replies));
            phase.for_legitimate += meter() - before;
            requests = Vec::new();
            for reply in &replies {
                let index = number(reply.to).and_then(|n| n.checked_sub(begin));
                if let Some(side) = index.and_then(|index| initiators.get_mut(index as usize)) {
                    side.receive(reply, &mut requests);
                }
            }
            phase.half_open = phase.half_open.max(self.gateway.endpoint.sizes().1);
        }
        phase.legitimate += together;
        phase.up += initiators.iter().filter(|side| side.ike_up == 1 && side.installed == 1).count() as u32;
    }

    fn flood(&mut self, strangers: &[Datagram], meter: impl Fn() -> f64, phase: &mut Phase) {
        let before = meter();
        let mut replies = Vec::with_capacity(strangers.len());
        strangers.iter().for_each(|datagram| self.gateway.receive(datagram, &mut replies));
        drop(replies); // they go to those whose addresses these are
        phase.for_spoofed += meter() - before;
        phase.spoofed += strangers.len() as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn siege() -> Siege {
        Siege::new(Suite::ALL[0], 1)
    }

    #[test]
    fn legitimate_initiators_get_through_a_flood() {
        let mut siege = siege();
        let before = siege.phase(20, 0, || 0.0);
        assert_eq!((before.legitimate, before.up, before.spoofed), (20, 20, 0));
        assert!(before.half_open <= 16, "as many as begin together");
        let during = siege.phase(20, 100, || 0.0);
        assert_eq!((during.legitimate, during.up, during.spoofed), (20, 20, 2_000));
        let settings = siege.gateway.endpoint.settings();
        assert!(during.half_open >= settings.cookie_threshold, "the flood did what it could");
        assert!(during.half_open <= settings.cookie_threshold + TOGETHER as usize, "cookies keep strangers out");
        let alone = siege.alone(2_000, || 0.0);
        assert_eq!((alone.legitimate, alone.spoofed), (0, 2_000));
        let after = siege.phase(20, 0, || 0.0);
        assert_eq!(after.up, 20);
        siege.gateway.wait(PAUSE * 2, &mut Vec::new());
        assert_eq!(siege.gateway.endpoint.sizes(), (60, 0), "nothing is left of the flood but reasons");
        assert!(siege.gateway.endpoint.tombstones(model::Instant::from_nanos(0)).len() <= 256);
    }

    #[test]
    fn the_same_seed_gives_the_same_strangers_and_no_initiator_is_among_them() {
        let (mut one, mut same, mut other) = (siege(), siege(), Siege::new(Suite::ALL[0], 2));
        for _ in 0..1_000 {
            let (from, same, other) = (one.spoofed(), same.spoofed(), other.spoofed());
            assert_eq!((from.from, &from.message[..8]), (same.from, &same.message[..8]));
            assert_ne!(from.message[..8], other.message[..8]);
            assert!(number(from.from).is_none(), "{}", from.from);
        }
    }

    #[test]
    fn the_meter_is_read_around_the_gateway_alone() {
        let readings = std::cell::Cell::new(0);
        let phase = siege().phase(1, 3, || {
            readings.set(readings.get() + 1);
            f64::from(readings.get())
        });
        // Each part is between two readings that follow each other: the pause, three floods, three steps.
        assert_eq!(f64::from(readings.get()), 2.0 * (phase.for_legitimate + phase.for_spoofed));
    }
}
