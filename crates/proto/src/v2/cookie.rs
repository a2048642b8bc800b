//! Stateless proof of address (RFC 7296 section 2.6).
//!
//! ```text
//! HDR(A,0), SAi1, KEi, Ni  -->
//!                          <--  HDR(A,0), N(COOKIE)
//! HDR(A,0), N(COOKIE), SAi1, KEi, Ni  -->
//!                          <--  HDR(A,B), SAr1, KEr, Nr
//! ```
//!
//! `Cookie = version | prf(secret, Ni | IPi | SPIi)`, as the RFC suggests; the port is covered too.

use crypto::{Prf, Random};
use model::Instant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::{IkeSpi, PrfId, Secret};

/// A secret is used this long for new cookies, and accepted twice as long.
const ROTATION: Duration = Duration::from_secs(60);

/// Octets of a cookie: one of version, and the MAC.
const LENGTH: usize = 33;

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

    /// The cookie to ask for.
    pub fn make(&mut self, now: Instant, rng: &mut dyn Random, nonce: &[u8], from: SocketAddr, spi: IkeSpi) -> Vec<u8> {
        self.rotate(now, rng);
        self.current.as_ref().map(|g| compute(g, nonce, from, spi)).unwrap_or_default()
    }

    /// Whether a returned cookie is one of ours for this initiator.
    pub fn check(&self, now: Instant, cookie: &[u8], nonce: &[u8], from: SocketAddr, spi: IkeSpi) -> bool {
        [&self.current, &self.previous].into_iter().flatten().any(|g| {
            now.since(g.since) < 2 * ROTATION
                && cookie.first() == Some(&g.number)
                && crypto::equal(cookie, &compute(g, nonce, from, spi))
        })
    }
}

fn compute(generation: &Generation, nonce: &[u8], from: SocketAddr, spi: IkeSpi) -> Vec<u8> {
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
    if let Ok(prf) = Prf::new(PrfId::HMAC_SHA2_256) {
        let mac = prf.compute(generation.secret.expose(), &[nonce, address, &port, &spi.0]);
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
        let (mut cookies, mut rng) = (Cookies::new(), Counter(0));
        let (from, spi) = ("192.0.2.1:500".parse().unwrap(), IkeSpi::from(7));
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let cookie = cookies.make(at(0), &mut rng, b"nonce", from, spi);
        assert_eq!(cookie.len(), LENGTH);
        assert!(cookies.check(at(10), &cookie, b"nonce", from, spi));
        assert!(!cookies.check(at(10), &cookie, b"other", from, spi));
        assert!(!cookies.check(at(10), &cookie, b"nonce", "192.0.2.2:500".parse().unwrap(), spi));
        assert!(!cookies.check(at(10), &cookie, b"nonce", "192.0.2.1:501".parse().unwrap(), spi));
        assert!(!cookies.check(at(10), &cookie, b"nonce", from, IkeSpi::from(8)));
        assert!(!cookies.check(at(10), &[], b"nonce", from, spi));
        let _ = cookies.make(at(61), &mut rng, b"nonce", from, spi);
        assert!(cookies.check(at(61), &cookie, b"nonce", from, spi), "the previous secret still counts");
        assert!(!cookies.check(at(121), &cookie, b"nonce", from, spi));
    }
}
