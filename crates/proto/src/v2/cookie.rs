//! Stateless proof of address (RFC 7296 section 2.6).
//!
//! ```text
//! HDR(A,0), SAi1, KEi, Ni  -->
//!                          <--  HDR(A,0), N(COOKIE)
//! HDR(A,0), N(COOKIE), SAi1, KEi, Ni  -->
//!                          <--  HDR(A,B), SAr1, KEr, Nr
//! ```
//!
//! `Cookie = version | terms | prf(secret, Ni | IPi | SPIi | terms)`, as the RFC suggests; the port is covered too. The terms
//! are those of a puzzle that goes with it, if there is one (RFC 8019 section 7.1.1.3): function, zero bits, and when it was
//! given.

use crypto::{Prf, Random};
use model::Instant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::{IkeSpi, PrfId, Secret};

/// A secret is used this long for new cookies, and accepted twice as long.
const ROTATION: Duration = Duration::from_secs(60);

/// Octets of a cookie: one of version, the terms, and the MAC.
const LENGTH: usize = 1 + TERMS_LEN + 32;
/// Octets of the terms of a puzzle.
const TERMS_LEN: usize = 5;

/// What a cookie says that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The puzzle that went with it: function and zero bits.
    pub puzzle: Option<(PrfId, u8)>,
    /// How long ago it was given; of a cookie without a puzzle that is not known.
    pub age: Duration,
}

pub(crate) struct Cookies {
    current: Option<Generation>,
    previous: Option<Generation>,
}

struct Generation {
    number: u8,
    since: Instant,
    secret: Secret,
}

impl Cookies {
    pub fn new() -> Self {
        Self { current: None, previous: None }
    }

    fn rotate(&mut self, now: Instant, rng: &mut dyn Random) {
        let outdated = self.current.as_ref().is_none_or(|g| now.since(g.since) >= ROTATION);
        if outdated {
            let mut secret = vec![0; 32];
            rng.fill(&mut secret);
            let number = self.current.as_ref().map_or(0, |g| g.number.wrapping_add(1));
            self.previous = self.current.take();
            self.current = Some(Generation { number, since: now, secret: Secret::new(secret) });
        }
    }

    /// The cookie to ask for, with the puzzle that goes with it.
    pub fn make(
        &mut self,
        now: Instant,
        rng: &mut dyn Random,
        nonce: &[u8],
        from: SocketAddr,
        spi: IkeSpi,
        puzzle: Option<(PrfId, u8)>,
    ) -> Vec<u8> {
        self.rotate(now, rng);
        let Some(generation) = &self.current else { return Vec::new() };
        let terms = puzzle.map(|(prf, difficulty)| {
            let ([a, b], seconds) = (prf.0.to_be_bytes(), now.since(generation.since).as_secs());
            let [c, d] = u16::try_from(seconds).unwrap_or(u16::MAX).to_be_bytes();
            [a, b, difficulty, c, d]
        });
        compute(generation, terms.as_ref().map_or(&[], |terms| &terms[..]), nonce, from, spi)
    }

    /// What a returned cookie says, if it is one of ours for this initiator.
    pub fn check(&self, now: Instant, cookie: &[u8], nonce: &[u8], from: SocketAddr, spi: IkeSpi) -> Option<Terms> {
        let terms = if cookie.len() == LENGTH { cookie.get(1..=TERMS_LEN).unwrap_or_default() } else { &[] };
        let ours = |g: &&Generation| {
            now.since(g.since) < 2 * ROTATION
                && cookie.first() == Some(&g.number)
                && crypto::equal(cookie, &compute(g, terms, nonce, from, spi))
        };
        let generation = [&self.current, &self.previous].into_iter().flatten().find(ours)?;
        let given = |seconds: u16| generation.since + Duration::from_secs(seconds.into());
        Some(match *terms {
            [a, b, difficulty, c, d] => Terms {
                puzzle: Some((PrfId(u16::from_be_bytes([a, b])), difficulty)),
                age: now.since(given(u16::from_be_bytes([c, d]))),
            },
            _ => Terms { puzzle: None, age: Duration::ZERO },
        })
    }
}

fn compute(generation: &Generation, terms: &[u8], nonce: &[u8], from: SocketAddr, spi: IkeSpi) -> Vec<u8> {
    let port = from.port().to_be_bytes();
    let (v4, v6);
    let address: &[u8] = match from.ip() {
        IpAddr::V4(a) => {
            v4 = a.octets();
            &v4
        }
        IpAddr::V6(a) => {
            v6 = a.octets();
            &v6
        }
    };
    let mut cookie = Vec::with_capacity(LENGTH);
    cookie.push(generation.number);
    cookie.extend_from_slice(terms);
    if let Ok(prf) = Prf::new(PrfId::HMAC_SHA2_256) {
        let mac = prf.compute(generation.secret.expose(), &[nonce, address, &port, &spi.0, terms]);
        cookie.extend_from_slice(mac.expose());
    }
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u8);

    impl Random for Counter {
        fn fill(&mut self, out: &mut [u8]) {
            for octet in out {
                self.0 = self.0.wrapping_add(1);
                *octet = self.0;
            }
        }
    }

    #[test]
    fn a_cookie_proves_one_initiator_for_a_while() {
        let mut rng = Counter(0);
        let (from, spi) = ("192.0.2.1:500".parse().unwrap(), IkeSpi::from(7));
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let prf = PrfId::HMAC_SHA2_256;
        for puzzle in [None, Some((prf, 17))] {
            let mut cookies = Cookies::new();
            let _ = cookies.make(at(0), &mut rng, b"nonce", from, spi, None);
            let cookie = cookies.make(at(20), &mut rng, b"nonce", from, spi, puzzle);
            assert_eq!(cookie.len(), if puzzle.is_some() { LENGTH } else { LENGTH - TERMS_LEN });
            let terms = cookies.check(at(30), &cookie, b"nonce", from, spi).expect("ours");
            let age = if puzzle.is_some() { 10 } else { 0 };
            assert_eq!(terms, Terms { puzzle, age: Duration::from_secs(age) });
            assert_eq!(cookies.check(at(30), &cookie, b"other", from, spi), None);
            assert_eq!(cookies.check(at(30), &cookie, b"nonce", "192.0.2.2:500".parse().unwrap(), spi), None);
            assert_eq!(cookies.check(at(30), &cookie, b"nonce", "192.0.2.1:501".parse().unwrap(), spi), None);
            assert_eq!(cookies.check(at(30), &cookie, b"nonce", from, IkeSpi::from(8)), None);
            assert_eq!(cookies.check(at(30), &[], b"nonce", from, spi), None);
            for at_octet in 0..cookie.len() {
                let mut other = cookie.clone();
                other[at_octet] ^= 1; // an easier puzzle, or a later time, among others
                assert_eq!(cookies.check(at(30), &other, b"nonce", from, spi), None, "octet {at_octet}");
            }
            let _ = cookies.make(at(61), &mut rng, b"nonce", from, spi, None);
            assert!(cookies.check(at(61), &cookie, b"nonce", from, spi).is_some(), "the previous secret still counts");
            assert_eq!(cookies.check(at(121), &cookie, b"nonce", from, spi), None);
        }
    }
}
