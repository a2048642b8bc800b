//! Whether routes and rules are still where they were put: whoever may configure the network can remove them, and what is
//! then sent for a tunnel does not reach it.

use super::{
    FIB_RULE_INVERT, FR_ACT_TO_TABLE, FRA_FWMARK, FRA_PRIORITY, FRA_TABLE, ROUTE_HEADER, RTA_DST, RTA_OIF, RTA_TABLE,
    RTM_GETROUTE, RTM_NEWROUTE, RTM_NEWRULE, Route, RouteTarget, Routes, Rule, RuleAction,
};
use crate::netlink::{DUMP, NetlinkError, Reply, Request};
use crate::sys::{address, family};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_GETRULE: u16 = 34;
const RULE_HEADER: usize = 12;

/// What makes a route this one: network, prefix length, table, and the interface that it leads to.
type Key = (IpAddr, u8, u32, Option<u32>);

impl Routes {
    /// Which of these routes are not in their table. The kernel is asked for those tables only, however long others are.
    ///
    /// # Errors
    /// [`NetlinkError`]; kernels older than Linux 4.20 cannot be asked so.
    pub fn missing(&mut self, wanted: &[Route]) -> Result<Vec<Route>, NetlinkError> {
        let tables: BTreeSet<(u8, u32)> = wanted.iter().map(|route| (family(route.destination), route.table)).collect();
        self.socket.strict(true)?;
        let found = tables.into_iter().map(|(family, table)| self.table(family, table)).collect::<Result<Vec<_>, _>>();
        self.socket.strict(false)?;
        let found: BTreeSet<Key> = found?.into_iter().flatten().collect();
        Ok(wanted.iter().filter(|route| !found.contains(&key(route))).copied().collect())
    }

    /// The routes of one family in one table.
    fn table(&mut self, family: u8, table: u32) -> Result<Vec<Key>, NetlinkError> {
        let mut request = Request::new(RTM_GETROUTE, DUMP);
        request.put(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).attribute(RTA_TABLE, &table.to_ne_bytes());
        match self.socket.request(request) {
            Ok(replies) => Ok(replies.iter().filter(|reply| reply.kind == RTM_NEWROUTE).filter_map(listed).collect()),
            // The last route takes its table with it.
            Err(error) if error.is(libc::ENOENT) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether a rule is there that leads to a table: of this preference, with these marks, to this table.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn has_rule(&mut self, rule: &Rule) -> Result<bool, NetlinkError> {
        let mut header = [0; RULE_HEADER];
        header[0] = if rule.ipv6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
        let mut request = Request::new(RTM_GETRULE, DUMP);
        request.put(&header);
        let replies = self.socket.request(request)?;
        Ok(replies.iter().filter(|reply| reply.kind == RTM_NEWRULE).any(|reply| is_rule(reply, rule)))
    }
}

fn key(route: &Route) -> Key {
    let interface = match route.target {
        RouteTarget::Interface { interface, .. } => Some(interface),
        RouteTarget::Throw | RouteTarget::Blackhole => None,
    };
    (route.destination, route.prefix, route.table, interface)
}

/// `struct rtmsg` and what follows.
fn listed(reply: &Reply) -> Option<Key> {
    let &[family, prefix, ..] = reply.fixed(ROUTE_HEADER)?.first_chunk::<ROUTE_HEADER>()?;
    let find = |kind| reply.attributes(ROUTE_HEADER).get_u32(kind);
    let destination = match reply.attributes(ROUTE_HEADER).get(RTA_DST) {
        Some(octets) => address(family, octets)?,
        None if i32::from(family) == libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        None => Ipv6Addr::UNSPECIFIED.into(),
    };
    Some((destination, prefix, find(RTA_TABLE)?, find(RTA_OIF)))
}

/// `struct fib_rule_hdr` and what follows.
fn is_rule(reply: &Reply, rule: &Rule) -> bool {
    let Some(&[_, _, _, _, _, _, _, action, f0, f1, f2, f3]) =
        reply.fixed(RULE_HEADER).and_then(|header| header.first_chunk::<RULE_HEADER>())
    else {
        return false;
    };
    let inverted = u32::from_ne_bytes([f0, f1, f2, f3]) & FIB_RULE_INVERT != 0;
    let find = |kind| reply.attributes(RULE_HEADER).get_u32(kind);
    let table = if action == FR_ACT_TO_TABLE { find(FRA_TABLE).map(RuleAction::Table) } else { None };
    // The kernel leaves a preference of 0 out.
    table == Some(rule.action)
        && find(FRA_PRIORITY).unwrap_or(0) == rule.preference
        && find(FRA_FWMARK) == rule.unless_mark.or(rule.mark)
        && inverted == rule.unless_mark.is_some()
}
