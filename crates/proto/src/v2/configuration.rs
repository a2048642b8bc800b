//! Configuration payloads in IKE_AUTH (RFC 7296 sections 2.19 and 3.15): a virtual address and what goes with it, asked
//! for by the initiator (`vips`) and given by the responder (`pools`).
//!
//! ```text
//! HDR, SK {IDi, [CERT,] [IDr,] AUTH, CP(CFG_REQUEST), SAi2, TSi, TSr}  -->
//!                          <--  HDR, SK {IDr, [CERT,] AUTH, CP(CFG_REPLY), SAr2, TSi, TSr}
//! ```
//!
//! or, and the IKE SA stands without a Child SA (section 3.15.4):
//!
//! ```text
//!                          <--  HDR, SK {IDr, [CERT,] AUTH, N(INTERNAL_ADDRESS_FAILURE) or N(FAILED_CP_REQUIRED)}
//! ```

use super::child::Ends;
use super::sa::IkeSa;
use crate::child;
use crate::context::Context;
use crate::endpoint::Output;
use config::Connection;
use model::dataplane::VirtualAddress;
use model::{FailureKind, Instant, Side};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::v2::{Chain, ChainBuilder};
use wire::{CpAttribute, CpType, NotifyType, V1ConfigAttribute};

/// More servers for names than this are not taken from a peer.
const MAX_SERVERS: usize = 8;

/// The addresses inside the tunnel that an IKE SA brought.
#[derive(Default)]
pub(crate) struct VirtualAddresses {
    /// What the peer assigned to us.
    pub own: Vec<IpAddr>,
    /// What we assigned to the peer.
    pub assigned: Vec<IpAddr>,
    /// Servers for names that the peer told us of.
    pub servers: Vec<IpAddr>,
    /// The connection wants an address of one of the ends, and there was none.
    pub missing: bool,
}

impl VirtualAddresses {
    /// Takes over those of the IKE SA before.
    pub fn extend(&mut self, before: Self) {
        self.own.extend(before.own);
        self.assigned.extend(before.assigned);
        self.servers.extend(before.servers);
        self.missing |= before.missing;
    }

    /// For the updown script.
    pub fn environment(&self) -> Vec<(String, String)> {
        child::addresses_inside(&self.own, &self.assigned, &self.servers)
    }
}

/// How an attribute carries an address. RFC 7296 section 3.15.1: one of IPv6 has its prefix length behind it, and a virtual
/// one belongs to one host.
fn encoded(address: IpAddr) -> (CpAttribute, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (CpAttribute::INTERNAL_IP4_ADDRESS, a.octets().to_vec()),
        IpAddr::V6(a) => (CpAttribute::INTERNAL_IP6_ADDRESS, [&a.octets()[..], &[128]].concat()),
    }
}

/// The address in an attribute that has one, whatever stands behind it; unspecified where it is empty, which asks for any.
fn address(kind: CpAttribute, value: &[u8]) -> Option<IpAddr> {
    let v4 = || match value {
        [] => Some(Ipv4Addr::UNSPECIFIED.into()),
        value => value.first_chunk::<4>().map(|a| Ipv4Addr::from(*a).into()),
    };
    let v6 = || match value {
        [] => Some(Ipv6Addr::UNSPECIFIED.into()),
        value => value.first_chunk::<16>().map(|a| Ipv6Addr::from(*a).into()),
    };
    match kind {
        CpAttribute::INTERNAL_IP4_ADDRESS | CpAttribute::INTERNAL_IP4_DNS => v4(),
        CpAttribute::INTERNAL_IP6_ADDRESS | CpAttribute::INTERNAL_IP6_DNS => v6(),
        _ => None,
    }
}

/// The first address of each family that a payload of this kind names or asks for.
fn addresses(chain: &Chain<'_>, wanted: CpType) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let Some((_, attributes)) = chain.configuration().filter(|(kind, _)| *kind == wanted) else { return found };
    for attribute in attributes {
        let is_address =
            matches!(attribute.kind, CpAttribute::INTERNAL_IP4_ADDRESS | CpAttribute::INTERNAL_IP6_ADDRESS);
        if let Some(one) = address(attribute.kind, attribute.value).filter(|_| is_address)
            && !found.iter().any(|other| other.is_ipv4() == one.is_ipv4())
        {
            found.push(one);
        }
    }
    found
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// What to ask for: the configured addresses, each replaced by the one of its family that the IKE SA before had.
pub(crate) fn wishes(connection: &Connection, before: &[IpAddr]) -> Vec<IpAddr> {
    let wish = |vip: &IpAddr| *before.iter().find(|a| a.is_ipv4() == vip.is_ipv4()).unwrap_or(vip);
    connection.vips.iter().map(wish).collect()
}

/// Asks, if the connection wants virtual addresses.
pub(super) fn ask(sa: &IkeSa, chain: &mut ChainBuilder) {
    if sa.wishes.is_empty() {
        return;
    }
    let mut attributes: Vec<(CpAttribute, Vec<u8>)> = Vec::new();
    for wish in &sa.wishes {
        let (kind, value) = encoded(*wish);
        // RFC 7296 section 3.15.1: an address asks for that one, an empty attribute for any.
        attributes.push((kind, if wish.is_unspecified() { Vec::new() } else { value }));
    }
    for wish in &sa.wishes {
        let servers = if wish.is_ipv4() { CpAttribute::INTERNAL_IP4_DNS } else { CpAttribute::INTERNAL_IP6_DNS };
        attributes.push((servers, Vec::new()));
    }
    let attributes: Vec<(CpAttribute, &[u8])> = attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
    chain.cp(CpType::CFG_REQUEST, &attributes);
}

/// Takes what the responder gives: addresses of the families that we asked for.
pub(super) fn take(sa: &mut IkeSa, cx: &mut Context, chain: &Chain<'_>) {
    let usable = |a: &IpAddr| !a.is_unspecified() && !a.is_loopback() && !a.is_multicast();
    let wanted = |a: &IpAddr| sa.wishes.iter().any(|wish| wish.is_ipv4() == a.is_ipv4());
    let given: Vec<IpAddr> = addresses(chain, CpType::CFG_REPLY).into_iter().filter(usable).filter(wanted).collect();
    if given.is_empty() {
        sa.virtual_addresses.missing = !sa.wishes.is_empty();
        return;
    }
    for address in given {
        sa.log(cx, "IKE", 1, format!("installing new virtual IP {address}"));
        sa.virtual_addresses.own.push(address);
        cx.outputs.push_back(Output::AddAddress(VirtualAddress { ike: sa.id, address, outer: sa.local.ip() }));
    }
    let reply = chain.configuration().map(|(_, attributes)| attributes).unwrap_or_default();
    let is_server = |kind| matches!(kind, CpAttribute::INTERNAL_IP4_DNS | CpAttribute::INTERNAL_IP6_DNS);
    let servers = reply.iter().filter(|a| is_server(a.kind)).filter_map(|a| address(a.kind, a.value)).filter(usable);
    sa.virtual_addresses.servers = servers.take(MAX_SERVERS).collect();
    if !sa.virtual_addresses.servers.is_empty() {
        let list: Vec<String> = sa.virtual_addresses.servers.iter().map(ToString::to_string).collect();
        sa.log(cx, "IKE", 1, format!("servers for names behind the peer: {}", list.join(" ")));
    }
}

/// Why there is no Child SA, where that is for want of an address; `notify` is the responder's error, if it said one.
pub(super) fn failure(sa: &IkeSa, notify: Option<NotifyType>) -> Option<FailureKind> {
    let (found_by, asked) = match notify {
        Some(NotifyType::INTERNAL_ADDRESS_FAILURE) => (Side::Peer, sa.wishes.clone()),
        Some(NotifyType::FAILED_CP_REQUIRED) => (Side::Peer, Vec::new()),
        None if sa.virtual_addresses.missing => (Side::Us, sa.wishes.clone()),
        _ => return None,
    };
    Some(FailureKind::NoVirtualAddress { found_by, asked, pools: Vec::new() })
}

// ---------------------------------------------------------------------------------------------------------- responder

/// Serves the initiator's request, if there is one. With `alone` this IKE SA is to be the only one of this peer, which then
/// gets the addresses that the others have.
///
/// # Errors
/// That it gets none: with an empty list of what it asked for, it had to ask and did not.
pub(super) fn serve(
    sa: &mut IkeSa,
    cx: &mut Context,
    now: Instant,
    connection: &Connection,
    chain: &Chain<'_>,
    alone: bool,
    reply: &mut ChainBuilder,
) -> Result<(), FailureKind> {
    let Some(peer) = sa.remote_id.clone() else { return Ok(()) };
    let asked = addresses(chain, CpType::CFG_REQUEST);
    let none = |asked: &[IpAddr]| FailureKind::NoVirtualAddress {
        found_by: Side::Us,
        asked: asked.to_vec(),
        pools: connection.pools.clone(),
    };
    if asked.is_empty() {
        sa.virtual_addresses.missing = !connection.pools.is_empty();
        return if connection.pools.is_empty() { Ok(()) } else { Err(none(&asked)) };
    }
    for wish in &asked {
        let held = || cx.pools.held(&connection.pools, &peer, wish.is_ipv4());
        let wanted = if alone && wish.is_unspecified() { held().unwrap_or(*wish) } else { *wish };
        match cx.pools.acquire(&connection.pools, &peer, wanted, now) {
            Some(address) => {
                sa.log(cx, "IKE", 1, format!("assigning virtual IP {address} to peer '{peer}'"));
                sa.virtual_addresses.assigned.push(address);
            }
            None => sa.log(cx, "IKE", 1, format!("no virtual IP found for {wish} requested by '{peer}'")),
        }
    }
    if sa.virtual_addresses.assigned.is_empty() {
        sa.virtual_addresses.missing = true;
        return Err(none(&asked));
    }
    let given = sa.virtual_addresses.assigned.iter().map(|address| encoded(*address));
    // Those of Unity are for IKEv1 alone.
    let general = cx.settings.attributes.iter().filter(|a| !V1ConfigAttribute(a.kind).is_unity());
    let more = cx.pools.attributes(&connection.pools).chain(general).map(|a| (CpAttribute(a.kind), a.value.clone()));
    let attributes: Vec<(CpAttribute, Vec<u8>)> = given.chain(more).collect();
    let attributes: Vec<(CpAttribute, &[u8])> = attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
    reply.cp(CpType::CFG_REPLY, &attributes);
    Ok(())
}

// --------------------------------------------------------------------------------------------------------------- both

impl IkeSa {
    /// The addresses that `dynamic` stands for, and those outside.
    pub fn ends(&self) -> Ends {
        let inner = |virtual_ones: &[IpAddr], outer: IpAddr| match virtual_ones {
            [] => vec![outer],
            some => some.to_vec(),
        };
        let (local, remote) = (self.local.ip(), self.remote.ip());
        Ends {
            inner_local: inner(&self.virtual_addresses.own, local),
            inner_remote: inner(&self.virtual_addresses.assigned, remote),
            certified: self.certified.clone(),
            local,
            remote,
        }
    }

    /// Gives all virtual addresses back.
    pub(super) fn release_addresses(&mut self, cx: &mut Context, now: Instant) {
        let gone = std::mem::take(&mut self.virtual_addresses);
        for address in gone.assigned {
            if let (Some(connection), Some(peer)) = (&self.connection, &self.remote_id) {
                cx.pools.release(&connection.pools, peer, address, now);
            }
        }
        for address in gone.own {
            let gone = VirtualAddress { ike: self.id, address, outer: self.local.ip() };
            cx.outputs.push_back(Output::RemoveAddress(gone));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T>(attributes: &[(CpAttribute, &[u8])], kind: CpType, with: impl FnOnce(&Chain<'_>) -> T) -> T {
        let mut builder = ChainBuilder::new();
        builder.cp(kind, attributes);
        let (first, octets) = builder.finish();
        with(&wire::v2::parse_chain(first, &octets, 0).unwrap())
    }

    #[test]
    fn addresses_are_one_of_each_family_whatever_stands_behind_them() {
        let six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 64];
        let list = [
            (CpAttribute::INTERNAL_IP4_DNS, &[8, 8, 8, 8][..]),
            (CpAttribute::INTERNAL_IP4_ADDRESS, &[10, 3, 0, 1]),
            (CpAttribute::INTERNAL_IP4_ADDRESS, &[10, 3, 0, 2]),
            (CpAttribute::INTERNAL_IP6_ADDRESS, &six),
        ];
        let text = |chain: &Chain<'_>| -> Vec<String> {
            addresses(chain, CpType::CFG_REPLY).iter().map(ToString::to_string).collect()
        };
        assert_eq!(parsed(&list, CpType::CFG_REPLY, text), ["10.3.0.1", "2001:db8::5"]);
        assert!(parsed(&list, CpType::CFG_SET, text).is_empty(), "not what we wait for");
        // RFC 7296 section 3.15.1 has 16 octets of address; some leave the prefix length out.
        let bare = [(CpAttribute::INTERNAL_IP6_ADDRESS, &six[..16]), (CpAttribute::INTERNAL_IP4_ADDRESS, &[1, 2, 3])];
        assert_eq!(parsed(&bare, CpType::CFG_REPLY, text), ["2001:db8::5"]);
        let any = [(CpAttribute::INTERNAL_IP6_ADDRESS, &[][..]), (CpAttribute::INTERNAL_IP4_ADDRESS, &[])];
        assert_eq!(parsed(&any, CpType::CFG_REPLY, text), ["::", "0.0.0.0"]);
    }
}
