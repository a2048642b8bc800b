//! Traffic selectors as the kernel has them: networks, and ports with masks.

use super::XfrmError;
use model::TrafficSelector;
use model::dataplane::{Binding, InterfaceName};
use std::net::IpAddr;

/// The most selectors of one direction that a Child SA may need; ranges of ports are several.
const MAX_SELECTORS: usize = model::MAX_PAIRS as usize;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// One network-to-network selector from our side to the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selector {
    pub(crate) local: (IpAddr, u8),
    pub(crate) remote: (IpAddr, u8),
    pub(crate) protocol: u8,
    /// Value and mask of our port; for ICMP the type.
    pub(crate) local_port: (u16, u16),
    /// Value and mask of the peer's port; for ICMP the code.
    pub(crate) remote_port: (u16, u16),
    /// The kernel's number of the interface, 0 for any.
    pub(crate) interface: u32,
}

impl Selector {
    /// Everything of one family.
    pub(crate) fn any(like: IpAddr) -> Self {
        let any = TrafficSelector::any(like.is_ipv6()).start;
        Self { local: (any, 0), remote: (any, 0), protocol: 0, local_port: (0, 0), remote_port: (0, 0), interface: 0 }
    }

    /// The same between the other side and ours.
    pub(crate) fn reversed(&self) -> Self {
        let ports =
            if self.is_icmp() { (self.local_port, self.remote_port) } else { (self.remote_port, self.local_port) };
        Self { local: self.remote, remote: self.local, local_port: ports.0, remote_port: ports.1, ..*self }
    }

    /// ICMP type and code go out as "source and destination port" in both directions.
    pub(crate) fn is_icmp(&self) -> bool {
        matches!(self.protocol, ICMP | ICMPV6)
    }

    /// The narrower, the lower: the kernel takes the policy with the lowest value.
    pub(crate) fn priority(&self) -> u32 {
        let addresses = u32::from(self.local.1) + u32::from(self.remote.1);
        let ports = self.local_port.1.count_ones() + self.remote_port.1.count_ones();
        400_000 - addresses * 1024 - if self.protocol == 0 { 0 } else { 512 } - ports * 8
    }
}

/// The selectors between two sides, without duplicates.
pub(super) fn selectors(
    local_ts: &[TrafficSelector],
    remote_ts: &[TrafficSelector],
    binding: &Binding,
) -> Result<Vec<Selector>, XfrmError> {
    let index =
        |name: InterfaceName| crate::sys::interface_index(name.as_str()).map_err(|_| XfrmError::Interface(name));
    let interface = binding.interface.map_or(Ok(0), index)?;
    let mut selectors = Vec::new();
    for local in local_ts {
        for remote in remote_ts.iter().filter(|remote| remote.is_ipv6() == local.is_ipv6()) {
            let Some(protocol) = local.common_protocol(remote) else { continue };
            let ports = ports(local, remote, protocol)?;
            for local in local.networks() {
                for remote in remote.networks() {
                    for (local_port, remote_port) in &ports {
                        let selector = Selector {
                            local,
                            remote,
                            protocol,
                            local_port: *local_port,
                            remote_port: *remote_port,
                            interface,
                        };
                        if selectors.len() == MAX_SELECTORS {
                            return Err(XfrmError::TooManyPolicies { most: MAX_SELECTORS });
                        }
                        if !selectors.contains(&selector) {
                            selectors.push(selector);
                        }
                    }
                }
            }
        }
    }
    Ok(selectors)
}

type Masked = (u16, u16);

fn ports(local: &TrafficSelector, remote: &TrafficSelector, protocol: u8) -> Result<Vec<(Masked, Masked)>, XfrmError> {
    const ANY: Masked = (0, 0);
    if matches!(protocol, ICMP | ICMPV6) {
        // RFC 7296 section 3.13.1: type and code are in both selectors' "ports"; the one that says something decides.
        let Some(both) = [local, remote].into_iter().find(|selector| !selector.any_port()) else {
            return Ok(vec![(ANY, ANY)]);
        };
        let [start_type, start_code] = both.start_port.to_be_bytes();
        let [end_type, end_code] = both.end_port.to_be_bytes();
        return match (start_type == end_type, start_code, end_code) {
            (true, 0, 255) => Ok(vec![((start_type.into(), u16::MAX), ANY)]),
            (true, first, last) if first == last => Ok(vec![((start_type.into(), u16::MAX), (first.into(), u16::MAX))]),
            _ => Err(XfrmError::Selector(*both)),
        };
    }
    let (local, remote) = (masked(local)?, masked(remote)?);
    Ok(local.iter().flat_map(|local| remote.iter().map(|remote| (*local, *remote))).collect())
}

/// A range of ports as values with masks, as few as possible.
fn masked(selector: &TrafficSelector) -> Result<Vec<Masked>, XfrmError> {
    if selector.start_port > selector.end_port {
        return Err(XfrmError::Selector(*selector)); // OPAQUE: the kernel cannot say it
    }
    let (mut start, end) = (u32::from(selector.start_port), u32::from(selector.end_port));
    let mut masked = Vec::new();
    while start <= end {
        let mut bits = start.trailing_zeros().min(16);
        while start + (1 << bits) - 1 > end {
            bits -= 1;
        }
        masked.push((start as u16, (0xffff_u32 << bits) as u16)); // both fit by construction
        start += 1 << bits;
    }
    Ok(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> TrafficSelector {
        text.parse().unwrap()
    }

    #[test]
    fn port_ranges_become_masks() {
        assert_eq!(masked(&ts("10.0.0.1")).unwrap(), [(0, 0)]);
        assert_eq!(masked(&ts("10.0.0.1[tcp/80]")).unwrap(), [(80, 0xffff)]);
        assert_eq!(masked(&ts("10.0.0.1[tcp/1024-65535]")).unwrap().len(), 6);
        for (range, probe) in [("5000-5010", 4990..5020u16), ("0-7", 0..20), ("65530-65535", 65520..65535)] {
            let selector = ts(&format!("10.0.0.1[udp/{range}]"));
            let masked = masked(&selector).unwrap();
            for port in probe {
                let hits = masked.iter().filter(|(value, mask)| port & mask == *value).count();
                let inside = (selector.start_port..=selector.end_port).contains(&port);
                assert_eq!(hits, usize::from(inside), "{range} {port}");
            }
        }
        assert!(matches!(masked(&ts("10.0.0.1[udp/opaque]")), Err(XfrmError::Selector(_))));
    }

    #[test]
    fn icmp_types_and_codes() {
        let any = ts("0.0.0.0/0[icmp]");
        let echo = TrafficSelector { start_port: 0x0800, end_port: 0x08ff, ..any };
        assert_eq!(ports(&echo, &any, ICMP).unwrap(), [((8, 0xffff), (0, 0))]);
        let echo = TrafficSelector { start_port: 0x0800, end_port: 0x0800, ..any };
        assert_eq!(ports(&any, &echo, ICMP).unwrap(), [((8, 0xffff), (0, 0xffff))]);
        let odd = TrafficSelector { start_port: 0x0801, end_port: 0x0904, ..any };
        assert!(matches!(ports(&odd, &any, ICMP), Err(XfrmError::Selector(_))));
    }

    #[test]
    fn the_narrower_has_priority() {
        let wide = Selector::any("10.0.0.0".parse().unwrap());
        let narrow = Selector { remote: ("10.2.0.0".parse().unwrap(), 16), ..wide };
        let protocol = Selector { protocol: 6, ..narrow };
        let port = Selector { remote_port: (80, 0xffff), ..protocol };
        assert!(port.priority() < protocol.priority());
        assert!(protocol.priority() < narrow.priority());
        assert!(narrow.priority() < wide.priority());
        let six: IpAddr = "::1".parse().unwrap();
        let hosts = Selector { local: (six, 128), remote: (six, 128), ..port };
        assert!(hosts.priority() > 0);
    }
}
