//! SAs and policies that a run which was killed left in the kernel. Once their connection has policies of this run in their
//! place nothing keeps them: they are not rekeyed, nobody lists them, and what the peer sends by them meets policies that
//! want other SAs. What is certainly such a thing is removed (ADR 023): it was there when this run began, its policy is for
//! packets that a policy of this run rules now, between the same two gateways, in the same mode, with the same marks and
//! interface; and no other policy that was left asks for its SA.

use super::inspect::{SELECTOR, networks};
use super::message::{self, Direction};
use super::policies::{Rule, Template};
use super::{Step, Xfrm, XfrmError, held, refused};
use crate::NetlinkError;
use crate::netlink::{DUMP, Reply, Request};
use crate::sys::address;
use model::SaId;
use std::collections::HashMap;
use std::net::IpAddr;

/// What was removed, for the operator and for the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// How many SAs.
    pub sas: usize,
    /// How many policies that were for fewer packets than ours are. Those for the same packets are ours now.
    pub policies: usize,
    /// How many SAs go on for now.
    pub spared: usize,
    /// By which of these SPIs the peer was sending: when the last packet came, in seconds since 1970.
    pub used: Vec<(u32, u64)>,
}

/// What the kernel had when this run began.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// By both ends, the lower address first.
    between: HashMap<(IpAddr, IpAddr), Between>,
}

#[derive(Debug, Default)]
struct Between {
    sas: Vec<LeftSa>,
    policies: Vec<LeftPolicy>,
}

#[derive(Debug)]
struct LeftSa {
    destination: IpAddr,
    spi: u32,
    reqid: u32,
    mode: u8,
    mark: Option<Vec<u8>>,
    last_used: Option<u64>,
}

#[derive(Debug)]
struct LeftPolicy {
    selector: [u8; SELECTOR],
    direction: u8,
    /// Of its template.
    destination: IpAddr,
    reqid: u32,
    mode: u8,
    mark: Option<Vec<u8>>,
    interface: Option<Vec<u8>>,
}

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(b), a.max(b))
}

impl Leftovers {
    fn is_empty(&self) -> bool {
        self.between.is_empty()
    }
}

impl Xfrm {
    /// Remembers what is in the kernel now, which must be before anything of this run is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remember_leftovers(&mut self) -> Result<(), NetlinkError> {
        let states = self.requests.request(Request::new(message::GET_SA, DUMP))?;
        let policies = self.requests.request(Request::new(message::GET_POLICY, DUMP))?;
        let mut leftovers = Leftovers::default();
        for (source, sa) in states.iter().filter_map(read_sa) {
            if sa.reqid == held::REQID {
                held::of_a_killed_run(&mut self.requests, sa.destination, sa.spi);
                continue;
            }
            leftovers.between.entry(pair(source, sa.destination)).or_default().sas.push(sa);
        }
        for (source, policy) in policies.iter().filter_map(read_policy) {
            leftovers.between.entry(pair(source, policy.destination)).or_default().policies.push(policy);
        }
        self.leftovers = leftovers;
        Ok(())
    }

    /// Removes what was left of the Child SA or trap in whose place this one is now. With `spare`, a time in seconds since 1970,
    /// SAs stay until the next call that fit the new policies too and were used since then: a trap has nothing better yet.
    ///
    /// # Errors
    /// [`XfrmError`], of the first that could not be removed.
    pub fn replace_leftovers(&mut self, owner: SaId, spare: Option<u64>) -> Result<Replaced, XfrmError> {
        let mut replaced = Replaced::default();
        if self.leftovers.is_empty() {
            return Ok(replaced);
        }
        let of_child = self.children.get(&owner).map(|child| &child.selectors);
        let selectors = of_child.or_else(|| self.rules.get(&owner).map(|(_, selectors)| selectors));
        let (Some(Rule::Protect(template)), Some(selectors)) = (self.rule_of(owner), selectors.cloned()) else {
            return Ok(replaced);
        };
        let rule = Rule::Protect(template);
        let Template { local, remote, .. } = template;
        let Some(mut between) = self.leftovers.between.remove(&pair(local, remote)) else { return Ok(replaced) };
        let mode = message::mode_number(template.mode);
        // For each policy that was left: whether ours is for all of its packets, and whether for others too.
        let covering = |policy: &LeftPolicy| -> Option<bool> {
            let found = rule.directions(false).iter().filter(|direction| direction.number() == policy.direction);
            let mut narrower = None;
            for direction in found.filter(|direction| **direction != Direction::ForwardOut) {
                let end = if *direction == Direction::Out { remote } else { local };
                let binding = message::policy_binding(rule.binding(), *direction);
                let of = |kind| binding.iter().find(|(found, _)| *found == kind).map(|(_, value)| value);
                let same = policy.destination == end
                    && policy.mode == mode
                    && policy.mark.as_ref() == of(message::ATTRIBUTE_MARK)
                    && policy.interface.as_ref() == of(message::ATTRIBUTE_INTERFACE_ID);
                for selector in selectors.iter().filter(|_| same) {
                    let ours = message::selector(&rule.selector(selector, *direction), *direction);
                    if ours == policy.selector {
                        return Some(false);
                    }
                    if covers(&ours, &policy.selector) {
                        narrower = Some(true);
                    }
                }
            }
            narrower
        };
        let fits = |sa: &&LeftSa| sa.mode == mode && sa.reqid == template.reqid && sa.reqid != 0;
        let comes_in = |sa: &&LeftSa| sa.destination == local;
        let recent = |sa: &LeftSa| spare.is_some_and(|since| sa.last_used.is_some_and(|at| at >= since));
        let is_used = between.sas.iter().filter(fits).filter(comes_in).any(recent);
        let spared = is_used.then_some(template.reqid);
        if is_used {
            replaced.spared = between.sas.iter().filter(fits).count();
            let inbound = between.sas.iter().filter(fits).filter(comes_in);
            replaced.used.extend(inbound.filter_map(|sa| Some((sa.spi, sa.last_used?))));
        }
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for policy in between.policies {
            match covering(&policy) {
                Some(narrower) if spared != Some(policy.reqid) => gone.push((policy, narrower)),
                _ => kept.push(policy),
            }
        }
        let asked = |policy: &LeftPolicy, sa: &LeftSa| policy.reqid == sa.reqid && policy.mode == sa.mode;
        // Without a number it is nobody's, or anybody's.
        let is_left = |sa: &LeftSa| {
            sa.reqid != 0
                && gone.iter().any(|(policy, _)| asked(policy, sa))
                && !kept.iter().any(|policy| asked(policy, sa))
        };
        let (left, others): (Vec<LeftSa>, Vec<LeftSa>) = between.sas.into_iter().partition(is_left);
        between = Between { sas: others, policies: kept };
        if !between.sas.is_empty() || !between.policies.is_empty() {
            self.leftovers.between.insert(pair(local, remote), between);
        }
        let mut result = Ok(());
        for (policy, narrower) in &gone {
            if !narrower || self.is_ours(policy) {
                continue;
            }
            let mut request = Request::new(message::DELETE_POLICY, 0);
            request.put(&policy.id());
            let binding =
                [(message::ATTRIBUTE_MARK, &policy.mark), (message::ATTRIBUTE_INTERFACE_ID, &policy.interface)];
            for (kind, value) in binding {
                if let Some(value) = value {
                    request.attribute(kind, value);
                }
            }
            match self.requests.request(request) {
                Err(error) if error.is(libc::ENOENT) => {}
                Err(error) => result = result.and(Err(refused(Step::DeletePolicy, owner)(error))),
                Ok(_) => replaced.policies += 1,
            }
        }
        for sa in left {
            // It ended, and one of this run has the number now.
            if self.by_inbound.contains_key(&sa.spi) || self.by_outbound.contains_key(&(sa.destination, sa.spi)) {
                continue;
            }
            let mut request = Request::new(message::DELETE_SA, 0);
            request.put(&message::sa_id(sa.destination, sa.spi));
            if let Some(mark) = &sa.mark {
                request.attribute(message::ATTRIBUTE_MARK, mark);
            }
            match self.requests.request(request) {
                // It expired in the meantime.
                Err(error) if error.is(libc::ESRCH) => {}
                Err(error) => result = result.and(Err(refused(Step::DeleteSa, owner)(error))),
                Ok(_) => replaced.sas += 1,
            }
            if sa.destination == local {
                replaced.used.extend(sa.last_used.map(|at| (sa.spi, at)));
            }
        }
        result.map(|()| replaced)
    }

    /// Whether this run has put the same policy there since.
    fn is_ours(&self, policy: &LeftPolicy) -> bool {
        self.policies.iter().any(|((selector, ..), users)| {
            let Some(rule) = users.ruler().and_then(|owner| self.rule_of(owner)) else { return false };
            rule.directions(false).iter().any(|direction| {
                let binding = message::policy_binding(rule.binding(), *direction);
                let of = |kind| binding.iter().find(|(found, _)| *found == kind).map(|(_, value)| value);
                direction.number() == policy.direction
                    && message::selector(&rule.selector(selector, *direction), *direction) == policy.selector
                    && policy.mark.as_ref() == of(message::ATTRIBUTE_MARK)
                    && policy.interface.as_ref() == of(message::ATTRIBUTE_INTERFACE_ID)
            })
        })
    }
}

impl LeftPolicy {
    /// `struct xfrm_userpolicy_id`.
    fn id(&self) -> Vec<u8> {
        let mut out = self.selector.to_vec();
        out.extend(0u32.to_ne_bytes());
        out.extend([self.direction, 0, 0, 0]);
        out
    }
}

/// Whether all packets of the second selector are the first one's too.
fn covers(ours: &[u8], theirs: &[u8; SELECTOR]) -> bool {
    let Some(ours) = ours.first_chunk::<SELECTOR>() else { return false };
    let (Some(wide), Some(narrow)) = (networks(ours), networks(theirs)) else { return false };
    let within = |(wide, prefix): (IpAddr, u8), (narrow, length): (IpAddr, u8)| {
        let shared = match (wide, narrow) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        prefix <= length && shared >= u32::from(prefix)
    };
    // Ports with their masks, protocol, interface and user: for all, or the same.
    let field = |at: usize, length: usize| (ours.get(at..at + length), theirs.get(at..at + length));
    let same_or_any = |at, length| {
        let (wide, narrow) = field(at, length);
        wide == narrow || wide.is_some_and(|octets| octets.iter().all(|octet| *octet == 0))
    };
    wide.iter().zip(narrow).all(|(wide, narrow)| within(*wide, narrow))
        && [(32, 4), (36, 4), (44, 1), (48, 4), (52, 4)].iter().all(|(at, length)| same_or_any(*at, *length))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

/// Reads `struct xfrm_usersa_info` of ESP with its attributes: its source, and the rest.
fn read_sa(reply: &Reply) -> Option<(IpAddr, LeftSa)> {
    let octets = reply.fixed(message::SA_INFO).filter(|_| reply.kind == message::NEW_SA)?;
    let ends = message::read_sa_ends(octets)?;
    let attributes = || reply.attributes(message::SA_INFO);
    let last_used = attributes().get(message::ATTRIBUTE_LAST_USED).and_then(|octets| octets.first_chunk());
    let sa = LeftSa {
        destination: ends.destination,
        spi: ends.spi,
        reqid: u32_at(octets, 208)?,
        mode: *octets.get(214)?,
        mark: attributes().get(message::ATTRIBUTE_MARK).map(<[u8]>::to_vec),
        last_used: last_used.map(|octets| u64::from_ne_bytes(*octets)).filter(|at| *at != 0),
    };
    // Without an SPI it is what the kernel keeps until an SA has been negotiated.
    (ends.protocol == 50 && sa.spi != 0).then_some((ends.source, sa))
}

/// Reads `struct xfrm_userpolicy_info` with its template: the template's source, and the rest.
fn read_policy(reply: &Reply) -> Option<(IpAddr, LeftPolicy)> {
    let octets = reply.fixed(message::POLICY_INFO).filter(|_| reply.kind == message::NEW_POLICY)?;
    let attributes = || reply.attributes(message::POLICY_INFO);
    // struct xfrm_user_tmpl: id (24), family (4), source (16), reqid (4), mode.
    let template = attributes().get(message::ATTRIBUTE_TEMPLATE)?;
    let family = u8::try_from(u16::from_ne_bytes(*template.get(24..)?.first_chunk()?)).ok()?;
    let policy = LeftPolicy {
        selector: *octets.first_chunk()?,
        direction: *octets.get(160).filter(|direction| **direction <= Direction::Forward as u8)?,
        destination: address(family, template.get(..16)?)?,
        reqid: u32_at(template, 44)?,
        mode: *template.get(48)?,
        mark: attributes().get(message::ATTRIBUTE_MARK).map(<[u8]>::to_vec),
        interface: attributes().get(message::ATTRIBUTE_INTERFACE_ID).map(<[u8]>::to_vec),
    };
    let is_esp = template.get(20) == Some(&50);
    is_esp.then_some((address(family, template.get(28..44)?)?, policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfrm::selector::Selector;

    fn octets(local: &str, remote: &str, protocol: u8, port: (u16, u16)) -> [u8; SELECTOR] {
        let network = |text: &str| {
            let (address, prefix) = text.split_once('/').unwrap();
            (address.parse().unwrap(), prefix.parse().unwrap())
        };
        let (local, remote) = (network(local), network(remote));
        let selector = Selector { local, remote, protocol, local_port: (0, 0), remote_port: port, interface: 0 };
        message::selector(&selector, Direction::Out).try_into().unwrap()
    }

    #[test]
    fn only_what_lies_within_is_covered() {
        let wide = octets("10.0.0.0/8", "10.2.0.0/16", 0, (0, 0));
        let tcp = octets("10.1.0.0/16", "10.2.0.0/16", 6, (443, u16::MAX));
        for (within, theirs) in [
            (true, wide),
            (true, tcp),
            (true, octets("10.1.0.0/16", "10.2.3.4/32", 0, (0, 0))),
            (false, octets("10.1.0.0/16", "10.2.0.0/15", 0, (0, 0))),
            (false, octets("0.0.0.0/0", "10.2.0.0/16", 0, (0, 0))),
            (false, octets("10.1.0.0/16", "10.3.0.0/16", 0, (0, 0))),
            (false, octets("2001:db8::/32", "2001:db8::/32", 0, (0, 0))),
        ] {
            assert_eq!(covers(&wide, &theirs), within, "{theirs:?}");
        }
        assert!(covers(&tcp, &tcp) && !covers(&tcp, &wide));
        assert!(!covers(&tcp, &octets("10.1.0.0/16", "10.2.0.0/16", 17, (443, u16::MAX))));
        assert!(!covers(&tcp, &octets("10.1.0.0/16", "10.2.0.0/16", 6, (80, u16::MAX))));
    }
}
