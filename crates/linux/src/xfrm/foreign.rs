//! What the kernel has that this program did not make: left by a run that was killed, or another program's. Nothing tells
//! the two apart, so it is named and left alone.

use super::{Xfrm, message};
use crate::NetlinkError;
use crate::netlink::{DUMP, Request};
use std::fmt;
use std::net::IpAddr;

/// An SA of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignSa {
    /// Who sends by it.
    pub source: IpAddr,
    /// Who receives by it.
    pub destination: IpAddr,
    /// Its Security Parameter Index.
    pub spi: u32,
    /// 50 for ESP.
    pub protocol: u8,
}

/// A policy of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignPolicy {
    /// Where its packets come from.
    pub source: (IpAddr, u8),
    /// Where they go.
    pub destination: (IpAddr, u8),
    /// `in`, `out` or `fwd`, as `ip xfrm policy` has it.
    pub direction: &'static str,
}

/// All of it. Prints as a sentence for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// SAs, but for those that wait to be negotiated.
    pub sas: Vec<ForeignSa>,
    /// Policies, but for those of single sockets.
    pub policies: Vec<ForeignPolicy>,
}

impl Foreign {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.sas.is_empty() && self.policies.is_empty()
    }
}

/// So many of each are named.
const NAMED: usize = 4;

impl fmt::Display for ForeignSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, spi, protocol } = self;
        match protocol {
            50 => write!(f, "ESP {spi:08x} from {source} to {destination}"),
            other => write!(f, "protocol {other}, {spi:08x} from {source} to {destination}"),
        }
    }
}

impl fmt::Display for ForeignPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((source, from), (destination, to)) = (self.source, self.destination);
        write!(f, "{} {source}/{from} === {destination}/{to}", self.direction)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sas: Vec<String> = self.sas.iter().take(NAMED).map(ToString::to_string).collect();
        let policies: Vec<String> = self.policies.iter().take(NAMED).map(ToString::to_string).collect();
        let listed = |names: Vec<String>, all: usize| match (names.is_empty(), all - names.len()) {
            (true, _) => String::new(),
            (false, 0) => format!(" ({})", names.join("; ")),
            (false, more) => format!(" ({}; and {more} more)", names.join("; ")),
        };
        write!(
            f,
            "the kernel has {} SAs{} and {} policies{} that are not of this run: of one that was killed, or of another program. \
             Packets that meet such a policy go nowhere without its SA; if nothing else uses IPsec here, remove them with \
             'ip xfrm policy flush' and 'ip xfrm state flush'",
            self.sas.len(),
            listed(sas, self.sas.len()),
            self.policies.len(),
            listed(policies, self.policies.len()),
        )
    }
}

impl Xfrm {
    /// What is in the kernel and not of this program.
    ///
    /// # Errors
    /// The kernel's.
    pub fn foreign(&mut self) -> Result<Foreign, NetlinkError> {
        let states = self.requests.request(Request::new(message::GET_SA, DUMP))?;
        let policies = self.requests.request(Request::new(message::GET_POLICY, DUMP))?;
        let states = states.iter().filter(|reply| reply.kind == message::NEW_SA);
        let sas = states.filter_map(|reply| message::read_sa_ends(reply.fixed(message::SA_INFO)?));
        let known = |sa: &ForeignSa| {
            self.by_inbound.contains_key(&sa.spi) || self.by_outbound.contains_key(&(sa.destination, sa.spi))
        };
        // Without an SPI it is what the kernel keeps until an SA has been negotiated.
        let sas = sas.filter(|sa| sa.spi != 0 && !known(sa)).collect();
        let policies = policies.iter().filter(|reply| reply.kind == message::NEW_POLICY);
        let policies = policies.filter_map(|reply| message::read_policy(reply.fixed(message::POLICY_INFO)?));
        let own = |policy: &ForeignPolicy| {
            self.policies.keys().any(|(selector, ..)| {
                let ends = [(selector.local, selector.remote), (selector.remote, selector.local)];
                ends.contains(&(policy.source, policy.destination))
            })
        };
        Ok(Foreign { sas, policies: policies.filter(|policy| !own(policy)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_are_named() {
        let ends: (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let sa = |spi| ForeignSa { source: ends.0, destination: ends.1, spi, protocol: 50 };
        let policy = ForeignPolicy { source: (ends.0, 32), destination: (ends.1, 32), direction: "out" };
        let text = Foreign { sas: (1..=6).map(sa).collect(), policies: vec![policy] }.to_string();
        assert!(
            text.contains("6 SAs (ESP 00000001 from 192.0.2.1 to 192.0.2.2;") && text.contains("and 2 more)"),
            "{text}"
        );
        assert!(text.contains("1 policies (out 192.0.2.1/32 === 192.0.2.2/32)"), "{text}");
        assert!(Foreign::default().is_empty());
    }
}
