//! Pools of virtual addresses, and certification authorities.

use crate::CertificateSource;
use model::ConfigRef;
use std::net::IpAddr;

/// A pool of virtual addresses and what else its users are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Name of its section.
    pub name: String,
    /// The address listings show for the pool: the first one written.
    pub base: IpAddr,
    /// First and last address to assign. Without the first and last address of a network with more than two.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Attributes for users of the pool, in the order they were written.
    pub attributes: Vec<PoolAttribute>,
    /// Where it was written.
    pub source: ConfigRef,
}

/// An attribute as CFG_REPLY (RFC 7296 section 3.15.1) and Mode-Config carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttribute {
    /// Number of the attribute: `wire::CpAttribute` or `wire::V1ConfigAttribute`, which agree where both have it.
    pub kind: u16,
    /// Its value, encoded.
    pub value: Vec<u8>,
}

impl Pool {
    /// How many addresses it has.
    pub fn size(&self) -> u128 {
        let number = |a: IpAddr| match a {
            IpAddr::V4(a) => u128::from(u32::from(a)),
            IpAddr::V6(a) => u128::from(a),
        };
        self.ranges
            .iter()
            .map(|(first, last)| number(*last).saturating_sub(number(*first)).saturating_add(1))
            .fold(0, u128::saturating_add)
    }
}

/// What is known about a certification authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Name of its section.
    pub name: String,
    /// Its certificate.
    pub cacert: CertificateSource,
    /// Where its revocation lists are to be had.
    pub crl_uris: Vec<String>,
    /// Where it was written.
    pub source: ConfigRef,
}
