//! What the kernel has against what was put there: SAs and policies that somebody removed, and policies of others that come
//! before ours.

use super::message::{self, Direction};
use super::policies::Policy;
use super::{Side, Xfrm};
use crate::NetlinkError;
use crate::netlink::{DUMP, Reply, Request};
use crate::sys::address;
use model::{PlaneFault, SaId};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// So many faults are told at most.
const MOST: usize = 64;

/// So many policies of others are looked at.
const MOST_FOREIGN: usize = 256;

/// The most octets of a selector: `struct xfrm_selector`.
pub(super) const SELECTOR: usize = 56;

/// An SA as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ListedSa {
    destination: IpAddr,
    spi: u32,
    /// Outside the window, repeated, with a wrong integrity check value.
    dropped: [u32; 3],
}

/// A policy as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ListedPolicy {
    selector: [u8; SELECTOR],
    direction: u8,
    priority: u32,
    blocks: bool,
    /// SPI and reqid of its first template, if it has one.
    template: Option<(u32, u32)>,
    mark: Option<Vec<u8>>,
    interface: Option<Vec<u8>>,
}

/// A policy as it was put there.
#[derive(Clone, Debug)]
struct Expected {
    child: String,
    direction: Direction,
    selector: [u8; SELECTOR],
    priority: u32,
    /// The outbound SA that it names; zero for any.
    spi: u32,
    mark: Option<Vec<u8>>,
    interface: Option<Vec<u8>>,
}

impl Xfrm {
    /// Compares what the kernel has with what was put there. `name` says what an operator calls the Child SA or trap.
    ///
    /// # Errors
    /// The kernel's, when it is asked for its tables.
    pub fn inspect(&mut self, name: &dyn Fn(SaId) -> String) -> Result<Vec<PlaneFault>, NetlinkError> {
        let replies = self.requests.request(Request::new(message::GET_SA, DUMP))?;
        let sas: HashMap<(IpAddr, u32), ListedSa> =
            replies.iter().filter_map(read_sa).map(|sa| ((sa.destination, sa.spi), sa)).collect();
        let replies = self.requests.request(Request::new(message::GET_POLICY, DUMP))?;
        let policies: Vec<ListedPolicy> = replies.iter().filter_map(read_policy).collect();
        let mut faults = Vec::new();
        for (child, installed) in &self.children {
            for side in [Side::Inbound, Side::Outbound] {
                let (sa, _, destination) = side.of(&installed.install);
                let known = sas.get(&(destination.ip(), sa.spi));
                faults.extend(of_sa(&name(*child), sa.spi, side == Side::Inbound, known));
            }
        }
        faults.extend(compare(&self.expected(name), &policies));
        faults.truncate(MOST);
        Ok(faults)
    }

    /// Whether the kernel had reports for which there was no room since the last call: of packets that ask for an SA, of SAs
    /// that expired, of peers that moved. What [`events`](Self::events) does not have then is to be looked up
    /// ([`vanished`](Self::vanished)).
    pub fn lost_reports(&mut self) -> bool {
        self.notifications.take_lost()
    }

    /// The Child SAs of which the kernel has not both SAs any more, whoever or whatever ended them.
    ///
    /// # Errors
    /// The kernel's, when it is asked for its table.
    pub fn vanished(&mut self) -> Result<Vec<SaId>, NetlinkError> {
        let replies = self.requests.request(Request::new(message::GET_SA, DUMP))?;
        let sas: HashSet<(IpAddr, u32)> =
            replies.iter().filter_map(read_sa).map(|sa| (sa.destination, sa.spi)).collect();
        let there = |installed: &super::Installed| {
            [Side::Inbound, Side::Outbound].into_iter().all(|side| {
                let (sa, _, destination) = side.of(&installed.install);
                sas.contains(&(destination.ip(), sa.spi))
            })
        };
        Ok(self.children.iter().filter(|(_, installed)| !there(installed)).map(|(child, _)| *child).collect())
    }

    /// The policies that should be there.
    fn expected(&self, name: &dyn Fn(SaId) -> String) -> Vec<Expected> {
        let mut all = Vec::new();
        for ((selector, ..), policy) in &self.policies {
            let Some((owner, rule)) = Policy::ruler(policy).and_then(|owner| Some((owner, self.rule_of(owner)?)))
            else {
                continue;
            };
            let taken = self.is_taken(&rule, selector);
            for direction in rule.directions(taken) {
                let Ok(octets) = message::selector(selector, *direction).try_into() else { continue };
                let binding = message::policy_binding(rule.binding(), *direction);
                let of = |kind| binding.iter().find(|(found, _)| *found == kind).map(|(_, value)| value.clone());
                all.push(Expected {
                    child: name(owner),
                    direction: *direction,
                    selector: octets,
                    priority: rule.priority(selector, *direction),
                    spi: if *direction == Direction::Out { rule.spi() } else { 0 },
                    mark: of(message::ATTRIBUTE_MARK),
                    interface: of(message::ATTRIBUTE_INTERFACE_ID),
                });
            }
        }
        all
    }
}

fn of_sa(child: &str, spi: u32, inbound: bool, listed: Option<&ListedSa>) -> Option<PlaneFault> {
    let child = child.to_string();
    match listed {
        None => Some(PlaneFault::SaMissing { child, spi, inbound }),
        Some(ListedSa { dropped: [0, 0, 0], .. }) => None,
        Some(ListedSa { dropped: [late, replayed, failed], .. }) => {
            Some(PlaneFault::Dropped { child, spi, replayed: *replayed, late: *late, failed: *failed })
        }
    }
}

/// What the kernel tells policies by.
type Key<'a> = (u8, &'a [u8; SELECTOR], Option<&'a [u8]>, Option<&'a [u8]>);

impl Expected {
    fn key(&self) -> Key<'_> {
        (self.direction.number(), &self.selector, self.mark.as_deref(), self.interface.as_deref())
    }
}

impl ListedPolicy {
    fn key(&self) -> Key<'_> {
        (self.direction, &self.selector, self.mark.as_deref(), self.interface.as_deref())
    }
}

/// What is missing of the expected policies, and what of the listed ones is in their way.
fn compare(expected: &[Expected], listed: &[ListedPolicy]) -> Vec<PlaneFault> {
    let by_key: HashMap<Key<'_>, &ListedPolicy> = listed.iter().map(|policy| (policy.key(), policy)).collect();
    let own: HashSet<Key<'_>> = expected.iter().map(Expected::key).collect();
    let foreign: Vec<&ListedPolicy> =
        listed.iter().filter(|policy| !own.contains(&policy.key())).take(MOST_FOREIGN).collect();
    let mut faults = Vec::new();
    for ours in expected {
        let child = ours.child.clone();
        let direction = ours.direction.name().to_string();
        match by_key.get(&ours.key()) {
            None => faults.push(PlaneFault::PolicyMissing {
                child,
                direction: direction.clone(),
                packets: packets(&ours.selector),
            }),
            Some(ListedPolicy { template: Some((spi, _)), .. }) if ours.spi != 0 && *spi != ours.spi => {
                faults.push(PlaneFault::OtherSa { child, spi: *spi, ours: ours.spi });
            }
            Some(_) => {}
        }
        // Among equal priorities the one that was there first counts, which the list does not tell.
        let before = |theirs: &&&ListedPolicy| {
            theirs.direction == ours.direction.number()
                && theirs.priority < ours.priority
                && (theirs.mark.is_none() || theirs.mark == ours.mark)
                && theirs.interface == ours.interface
                && overlap(&theirs.selector, &ours.selector)
        };
        if let Some(theirs) = foreign.iter().find(before) {
            faults.push(PlaneFault::PolicyInTheWay {
                child: ours.child.clone(),
                direction,
                packets: packets(&theirs.selector),
                priority: theirs.priority,
                ours: ours.priority,
                does: match (theirs.blocks, theirs.template) {
                    (true, _) => "block".to_string(),
                    (false, None) => "pass".to_string(),
                    (false, Some((_, reqid))) => format!("reqid {reqid}"),
                },
            });
        }
        if faults.len() >= MOST {
            break;
        }
    }
    faults
}

/// Reads `struct xfrm_usersa_info`, of ESP.
fn read_sa(reply: &Reply) -> Option<ListedSa> {
    let octets = reply.fixed(message::SA_INFO).filter(|_| reply.kind == message::NEW_SA)?;
    let state = message::read_sa(octets)?;
    let number = |at: usize| octets.get(at..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets));
    // struct xfrm_stats: replay_window, replay, integrity_failed.
    let dropped = [number(192)?, number(196)?, number(200)?];
    let is_esp = octets.get(76) == Some(&50);
    is_esp.then_some(ListedSa { destination: state.destination, spi: state.spi, dropped })
}

/// Reads `struct xfrm_userpolicy_info` and its attributes; policies of sockets have other directions.
fn read_policy(reply: &Reply) -> Option<ListedPolicy> {
    let octets = reply.fixed(message::POLICY_INFO).filter(|_| reply.kind == message::NEW_POLICY)?;
    let attributes = || reply.attributes(message::POLICY_INFO);
    let template = attributes().get(message::ATTRIBUTE_TEMPLATE).and_then(|template| {
        let spi = u32::from_be_bytes(*template.get(16..)?.first_chunk()?);
        Some((spi, u32::from_ne_bytes(*template.get(44..)?.first_chunk()?)))
    });
    Some(ListedPolicy {
        selector: *octets.first_chunk()?,
        priority: u32::from_ne_bytes(*octets.get(152..)?.first_chunk()?),
        direction: *octets.get(160).filter(|direction| **direction <= Direction::Forward as u8)?,
        blocks: *octets.get(161)? != 0,
        template,
        mark: attributes().get(message::ATTRIBUTE_MARK).map(<[u8]>::to_vec),
        interface: attributes().get(message::ATTRIBUTE_INTERFACE_ID).map(<[u8]>::to_vec),
    })
}

/// Networks of a selector's octets: destination and source, each with its prefix.
pub(super) fn networks(selector: &[u8; SELECTOR]) -> Option<[(IpAddr, u8); 2]> {
    let family = u8::try_from(u16::from_ne_bytes(*selector.get(40..)?.first_chunk()?)).ok()?;
    let [destination, source] = [*selector.get(42)?, *selector.get(43)?];
    Some([(address(family, selector.get(..16)?)?, destination), (address(family, selector.get(16..32)?)?, source)])
}

/// `10.1.0.0/16 -> 10.2.0.0/16`.
fn packets(selector: &[u8; SELECTOR]) -> String {
    let Some([destination, source]) = networks(selector) else { return "everything".to_string() };
    let protocol = match selector.get(44) {
        Some(0) | None => String::new(),
        Some(protocol) => format!(", protocol {protocol}"),
    };
    format!("{}/{} -> {}/{}{protocol}", source.0, source.1, destination.0, destination.1)
}

/// Whether some packet is for both.
fn overlap(a: &[u8; SELECTOR], b: &[u8; SELECTOR]) -> bool {
    let (Some(ours), Some(theirs)) = (networks(a), networks(b)) else { return false };
    let protocol = |s: &[u8; SELECTOR]| s.get(44).copied().unwrap_or(0);
    let word = |s: &[u8; SELECTOR], at: usize| {
        s.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |octets| u16::from_be_bytes(*octets))
    };
    let ports = [32, 36].iter().all(|at| {
        let both = word(a, at + 2) & word(b, at + 2);
        word(a, *at) & both == word(b, *at) & both
    });
    let same_protocol = protocol(a) == 0 || protocol(b) == 0 || protocol(a) == protocol(b);
    same_protocol && ports && ours.iter().zip(&theirs).all(|(a, b)| share(*a, *b))
}

/// Whether one network is in the other.
fn share((a, prefix_a): (IpAddr, u8), (b, prefix_b): (IpAddr, u8)) -> bool {
    let prefix = u32::from(prefix_a.min(prefix_b));
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => prefix == 0 || (a.to_bits() ^ b.to_bits()).leading_zeros() >= prefix,
        (IpAddr::V6(a), IpAddr::V6(b)) => prefix == 0 || (a.to_bits() ^ b.to_bits()).leading_zeros() >= prefix,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfrm::selector::Selector;

    fn selector(local: ([u8; 4], u8), remote: ([u8; 4], u8)) -> [u8; SELECTOR] {
        let (local, remote) = ((local.0.into(), local.1), (remote.0.into(), remote.1));
        let selector = Selector { local, remote, protocol: 0, local_port: (0, 0), remote_port: (0, 0), interface: 0 };
        message::selector(&selector, Direction::Out).try_into().unwrap()
    }

    fn ours() -> Expected {
        Expected {
            child: "net".into(),
            direction: Direction::Out,
            selector: selector(([10, 1, 0, 0], 16), ([10, 2, 0, 0], 16)),
            priority: 1000,
            spi: 0x2001,
            mark: None,
            interface: None,
        }
    }

    fn listed(priority: u32) -> ListedPolicy {
        ListedPolicy {
            selector: ours().selector,
            direction: Direction::Out as u8,
            priority,
            blocks: false,
            template: Some((0x2001, 7)),
            mark: None,
            interface: None,
        }
    }

    #[test]
    fn what_is_as_it_was_put_there_is_no_fault() {
        assert_eq!(compare(&[ours()], &[listed(1000)]), []);
        // Somebody else's for other packets, behind ours, for another interface, another direction.
        let elsewhere = selector(([10, 3, 0, 0], 16), ([10, 2, 0, 0], 16));
        let others = [
            listed(1000),
            ListedPolicy { selector: elsewhere, ..listed(1) },
            ListedPolicy { selector: selector(([0; 4], 0), ([0; 4], 0)), ..listed(2000) },
            ListedPolicy {
                selector: selector(([0; 4], 0), ([0; 4], 0)),
                interface: Some(vec![1, 0, 0, 0]),
                ..listed(1)
            },
            ListedPolicy { selector: selector(([0; 4], 0), ([0; 4], 0)), direction: 0, ..listed(1) },
        ];
        assert_eq!(compare(&[ours()], &others), []);
    }

    #[test]
    fn what_is_missing_or_another_ones_is_told() {
        let [PlaneFault::PolicyMissing { child, direction, packets }] = &compare(&[ours()], &[])[..] else { panic!() };
        assert_eq!(
            (child.as_str(), direction.as_str(), packets.as_str()),
            ("net", "out", "10.1.0.0/16 -> 10.2.0.0/16")
        );
        let stolen = ListedPolicy { template: Some((0x9999, 7)), ..listed(1000) };
        assert_eq!(
            compare(&[ours()], &[stolen]),
            [PlaneFault::OtherSa { child: "net".into(), spi: 0x9999, ours: 0x2001 }]
        );
        let all = selector(([0; 4], 0), ([10, 2, 7, 0], 24));
        for (blocks, template, does) in
            [(true, None, "block"), (false, None, "pass"), (false, Some((0, 12)), "reqid 12")]
        {
            let theirs = ListedPolicy { selector: all, blocks, template, ..listed(999) };
            let found = compare(&[ours()], &[listed(1000), theirs]);
            let [PlaneFault::PolicyInTheWay { packets, priority: 999, ours: 1000, does: found, .. }] = &found[..]
            else {
                panic!("{found:?}")
            };
            assert_eq!((packets.as_str(), found.as_str()), ("0.0.0.0/0 -> 10.2.7.0/24", does));
        }
    }

    #[test]
    fn an_sa_that_is_gone_or_drops_packets_is_told() {
        let sa = |dropped| ListedSa { destination: [192, 0, 2, 1].into(), spi: 5, dropped };
        assert_eq!(of_sa("net", 5, true, Some(&sa([0, 0, 0]))), None);
        assert_eq!(
            of_sa("net", 5, true, None),
            Some(PlaneFault::SaMissing { child: "net".into(), spi: 5, inbound: true })
        );
        let dropped = PlaneFault::Dropped { child: "net".into(), spi: 5, late: 1, replayed: 2, failed: 3 };
        assert_eq!(of_sa("net", 5, true, Some(&sa([1, 2, 3]))), Some(dropped));
    }

    #[test]
    fn networks_share_addresses_by_the_shorter_prefix() {
        let net = |text: &str, prefix| (text.parse().unwrap(), prefix);
        assert!(share(net("10.1.0.0", 16), net("10.1.2.0", 24)) && share(net("10.1.2.0", 24), net("0.0.0.0", 0)));
        assert!(!share(net("10.1.0.0", 16), net("10.2.0.0", 16)) && !share(net("10.1.0.0", 16), net("::", 0)));
        assert!(share(net("2001:db8::", 32), net("2001:db8:1::", 48)));
    }

    /// More reports than there is room for: what fits is told, that some were lost too, and what comes after.
    #[test]
    fn reports_that_were_lost_are_known_and_further_ones_are_told() {
        let Ok(namespace) = crate::Namespace::anonymous() else {
            eprintln!("SKIP: no network namespaces");
            assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip");
            return;
        };
        let overflow = || {
            Xfrm::probe(false).ok()?;
            let mut xfrm = Xfrm::open().unwrap();
            let install = crate::test_install::install(1);
            xfrm.apply(&model::dataplane::Command::Install(Box::new(install.clone()))).unwrap();
            let small: libc::c_int = 4096;
            crate::sys::set_option(xfrm.notifications.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &small).unwrap();
            let sa = xfrm.read_sa(&install, Side::Inbound).unwrap();
            let report = |xfrm: &mut Xfrm, times: u32| {
                for _ in 0..times {
                    let mut request = Request::new(message::EXPIRE, 0);
                    // A soft limit, behind which the structure is filled up.
                    request.put(&[sa.fixed(message::SA_INFO).unwrap(), &[0; 8]].concat());
                    xfrm.requests.request(request).unwrap();
                }
                let told = xfrm.events().unwrap();
                let own = crate::XfrmEvent::Plane(model::dataplane::PlaneEvent::SoftExpire { child: install.child });
                assert!(told.iter().all(|event| *event == own), "{told:?}");
                (told.len(), xfrm.lost_reports())
            };
            Some([1, 2000, 0, 1].map(|times| report(&mut xfrm, times)))
        };
        let Some([one, many, none, after]) = namespace.run(overflow).unwrap() else {
            eprintln!("SKIP: no ESP in this kernel");
            assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip");
            return;
        };
        assert_eq!((one, none, after), ((1, false), (0, false), (1, false)));
        assert!(many.0 > 0 && many.0 < 2000 && many.1, "{many:?}");
    }
}
