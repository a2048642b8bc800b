//! Mode-Config: a virtual address and what goes with it, asked for (`pull = yes`) or given unasked (`pull = no`).

use super::{REQUEST, Received, SET, Stage, answer, attribute, octets, retire, send};
use crate::context::Context;
use crate::endpoint::Output;
use crate::timers::Reason;
use crate::v1::sa::IsakmpSa;
use crate::v1::{phase1, unity};
use model::dataplane::VirtualAddress;
use model::{FailureKind, Instant, Role, Side, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use wire::V1ConfigAttribute;
use wire::attributes::{AttributeValue, DataAttribute};
use wire::v1::Attributes;

fn class_of(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => V1ConfigAttribute::INTERNAL_IP4_ADDRESS.0,
        IpAddr::V6(_) => V1ConfigAttribute::INTERNAL_IP6_ADDRESS.0,
    }
}

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// How long an initiator that has addresses to give waits for the peer to ask for one.
const PATIENCE: Duration = Duration::from_secs(3);

/// The ISAKMP SA is established: what is to be asked for, given or waited for.
pub(super) fn begin(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    let Some(connection) = sa.connection.clone() else { return };
    if !connection.vips.is_empty() && !connection.pull {
        sa.configuration.stage = Stage::Expecting;
        cx.timers.set(sa.id, Reason::Exchange(0), now + cx.settings.half_open_timeout);
    } else if !connection.vips.is_empty() {
        sa.configuration.stage = Stage::Offered;
        let wish = |a: &IpAddr| if a.is_unspecified() { Vec::new() } else { bytes_of(*a) };
        let wishes: Vec<(u16, Vec<u8>)> = connection.vips.iter().map(|a| (class_of(*a), wish(a))).collect();
        let mut attributes: Vec<DataAttribute<'_>> = wishes.iter().map(|(class, w)| attribute(*class, w)).collect();
        let more = [
            V1ConfigAttribute::INTERNAL_IP4_DNS,
            V1ConfigAttribute::UNITY_BANNER,
            V1ConfigAttribute::UNITY_DEF_DOMAIN,
            V1ConfigAttribute::UNITY_SPLIT_INCLUDE,
        ];
        attributes.extend(more.iter().map(|class| attribute(class.0, &[])));
        if sa.unity {
            attributes.push(attribute(V1ConfigAttribute::UNITY_SPLIT_EXCLUDE.0, &[]));
        }
        send(sa, cx, now, REQUEST, &attributes);
    } else if !connection.pools.is_empty() && !connection.pull {
        sa.configuration.stage = Stage::Offered;
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            if cx.pools.have(&connection.pools, any.is_ipv4()) {
                assign(sa, cx, now, any);
            }
        }
        let values = values(sa, cx);
        let attributes: Vec<DataAttribute<'_>> = values.iter().map(|(class, v)| attribute(*class, v)).collect();
        send(sa, cx, now, SET, &attributes);
    } else if !connection.pools.is_empty() && sa.role == Role::Initiator {
        sa.configuration.stage = Stage::Awaiting;
        cx.timers.set(sa.id, Reason::Exchange(0), now + PATIENCE);
    }
}

/// Gives the peer an address of the family, if it has none yet.
fn assign(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, asked: IpAddr) {
    let (Some(connection), Some(lessee)) = (sa.connection.clone(), sa.lessee()) else { return };
    if sa.configuration.assigned.iter().any(|a| a.is_ipv4() == asked.is_ipv4()) {
        return;
    }
    match cx.pools.acquire(&connection.pools, &lessee, asked, now) {
        Some(address) => {
            sa.log(cx, "IKE", 1, format!("assigning virtual IP {address} to peer '{lessee}'"));
            sa.configuration.assigned.push(address);
        }
        None => sa.log(cx, "IKE", 1, format!("no virtual IP found for '{lessee}'")),
    }
}

/// What the peer is told: its addresses, then the attributes of the pools.
fn values(sa: &IsakmpSa, cx: &Context) -> Vec<(u16, Vec<u8>)> {
    let addresses = sa.configuration.assigned.iter().map(|a| (class_of(*a), bytes_of(*a)));
    let names = sa.connection.as_ref().map_or(&[][..], |c| &c.pools);
    // What is for all is not sent to who does not understand it; what a pool has is its own word.
    let general = cx.settings.attributes.iter().filter(|a| sa.unity || !V1ConfigAttribute(a.kind).is_unity());
    let more = cx.pools.attributes(names).chain(general).map(|a| (a.kind, a.value.clone()));
    let mut all: Vec<(u16, Vec<u8>)> = addresses.chain(more).collect();
    if !all.iter().any(|(kind, _)| *kind == V1ConfigAttribute::UNITY_SPLIT_INCLUDE.0) {
        all.extend(unity::networks(sa));
    }
    all
}

/// The peer asks.
pub(super) fn serve(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, received: &Received<'_>) {
    if let Some(wish) = octets(&received.attributes, V1ConfigAttribute::INTERNAL_IP4_ADDRESS.0) {
        let wish = wish.first_chunk::<4>().map_or(Ipv4Addr::UNSPECIFIED, |a| Ipv4Addr::from(*a));
        assign(sa, cx, now, wish.into());
    }
    if let Some(wish) = octets(&received.attributes, V1ConfigAttribute::INTERNAL_IP6_ADDRESS.0) {
        let wish = wish.first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |a| Ipv6Addr::from(*a));
        assign(sa, cx, now, wish.into());
    }
    let values = values(sa, cx);
    let attributes: Vec<DataAttribute<'_>> = values.iter().map(|(class, v)| attribute(*class, v)).collect();
    answer(sa, cx, received, &attributes);
}

/// The peer gives: as an answer, or unasked.
pub(super) fn take(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, received: &Received<'_>) -> Option<FailureKind> {
    let v4 = octets(&received.attributes, V1ConfigAttribute::INTERNAL_IP4_ADDRESS.0);
    let v6 = octets(&received.attributes, V1ConfigAttribute::INTERNAL_IP6_ADDRESS.0);
    let v4 = v4.and_then(|a| a.first_chunk::<4>()).map(|a| IpAddr::V4(Ipv4Addr::from(*a)));
    let v6 = v6.and_then(|a| a.first_chunk::<16>()).map(|a| IpAddr::V6(Ipv6Addr::from(*a)));
    let wanted = |a: &IpAddr| sa.connection.iter().any(|c| c.vips.iter().any(|v| v.is_ipv4() == a.is_ipv4()));
    let usable = |a: &IpAddr| !a.is_unspecified() && !a.is_loopback() && !a.is_multicast();
    let given: Vec<IpAddr> = [v4, v6].into_iter().flatten().filter(usable).filter(wanted).collect();
    if received.attributes.kind == SET {
        let taken: Vec<DataAttribute<'_>> = given.iter().map(|a| attribute(class_of(*a), &[])).collect();
        answer(sa, cx, received, &taken);
        cx.timers.cancel(sa.id, Reason::Exchange(0));
    } else {
        retire(sa, cx);
    }
    if given.is_empty() {
        crate::v1::informational::delete_isakmp(sa, cx);
        return Some(none_given(sa));
    }
    for address in given {
        sa.log(cx, "IKE", 1, format!("installing new virtual IP {address}"));
        sa.configuration.own.push(address);
        let new = VirtualAddress { ike: sa.id, address, outer: sa.local.ip() };
        cx.outputs.push_back(Output::AddAddress(new));
    }
    sa.configuration.servers = servers(&received.attributes);
    note_networks(sa, cx, &received.attributes);
    note_texts(sa, cx, &received.attributes);
    done(sa, cx, now);
    None
}

/// The peer has no address for us.
pub(super) fn none_given(sa: &IsakmpSa) -> FailureKind {
    let asked = sa.connection.as_ref().map(|c| c.vips.clone()).unwrap_or_default();
    FailureKind::NoVirtualAddress { found_by: Side::Peer, asked, pools: Vec::new() }
}

/// So many networks are taken from a server: each becomes a Child SA.
const MAX_NETWORKS: usize = 16;

/// Octets of one network in UNITY_SPLIT_INCLUDE: address, mask, and a protocol and two ports that nobody uses.
const NETWORK_LEN: usize = 14;

/// The same without protocol and ports, as strongSwan's pools send it, in an attribute for each network.
const SHORT_LEN: usize = 8;

/// Octets of a banner or a domain that are shown.
const MAX_TEXT: usize = 500;

/// UNITY_SPLIT_INCLUDE: the networks to be reached through the server, in any number of attributes. What is no network is
/// passed over.
fn networks<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<TrafficSelector> {
    let network = |entry: &[u8]| {
        let (address, rest) = entry.split_first_chunk::<4>()?;
        let mask = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        let prefix = mask.leading_ones();
        (mask.count_ones() == prefix).then_some(())?;
        TrafficSelector::subnet(IpAddr::V4(Ipv4Addr::from(*address)), u8::try_from(prefix).ok()?)
    };
    let mut all: Vec<TrafficSelector> = Vec::new();
    for value in values {
        let short = value.len().is_multiple_of(SHORT_LEN) && !value.len().is_multiple_of(NETWORK_LEN);
        let entries = value.chunks_exact(if short { SHORT_LEN } else { NETWORK_LEN });
        for ts in entries.filter_map(network) {
            if all.len() < MAX_NETWORKS && !all.contains(&ts) {
                all.push(ts);
            }
        }
    }
    all
}

/// Servers for names, as many as a script has use for.
fn servers(attributes: &Attributes<'_>) -> Vec<IpAddr> {
    const MOST: usize = 8;
    let server = |a: &DataAttribute<'_>| match (V1ConfigAttribute(a.kind), a.value) {
        (V1ConfigAttribute::INTERNAL_IP4_DNS, AttributeValue::Long(octets)) => {
            Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?))
        }
        (V1ConfigAttribute::INTERNAL_IP6_DNS, AttributeValue::Long(octets)) => {
            Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?))
        }
        _ => None,
    };
    attributes.attributes.iter().filter_map(server).take(MOST).collect()
}

fn note_networks(sa: &mut IsakmpSa, cx: &mut Context, attributes: &Attributes<'_>) {
    let of = |class: V1ConfigAttribute| {
        let all = attributes.attributes.iter().filter(move |a| a.kind == class.0);
        all.filter_map(|a| match a.value {
            AttributeValue::Long(octets) => Some(octets),
            AttributeValue::Short(_) => None,
        })
    };
    unity::leave_out(sa, cx, &networks(of(V1ConfigAttribute::UNITY_SPLIT_EXCLUDE)));
    sa.configuration.included = networks(of(V1ConfigAttribute::UNITY_SPLIT_INCLUDE));
    if !sa.configuration.included.is_empty() {
        let list: Vec<String> = sa.configuration.included.iter().map(ToString::to_string).collect();
        sa.log(cx, "IKE", 1, format!("networks behind the peer: {}", list.join(" ")));
    }
}

/// What the server has for the user to read: nothing acts on it.
fn note_texts(sa: &mut IsakmpSa, cx: &mut Context, attributes: &Attributes<'_>) {
    let texts = [(V1ConfigAttribute::UNITY_BANNER, "banner"), (V1ConfigAttribute::UNITY_DEF_DOMAIN, "domain")];
    for (class, what) in texts {
        let Some(value) = octets(attributes, class.0).filter(|value| !value.is_empty()) else { continue };
        let text = String::from_utf8_lossy(value.get(..MAX_TEXT).unwrap_or(value));
        if class == V1ConfigAttribute::UNITY_BANNER {
            sa.configuration.banner = Some(text.trim_end().to_string());
        }
        // One line of the log, whatever the server sends.
        sa.log(cx, "IKE", 1, format!("the peer's {what}: {}", text.trim_end().escape_debug()));
    }
}

/// Quick mode may begin.
pub(super) fn done(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    sa.configuration.stage = Stage::Done;
    phase1::go_on(sa, cx, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_include_is_a_list_of_networks_and_bounded() {
        let one = |address: [u8; 4], mask: [u8; 4]| [&address[..], &mask, &[0; 6]].concat();
        let good = [one([10, 1, 0, 0], [255, 255, 0, 0]), one([192, 168, 7, 9], [255, 255, 255, 255])].concat();
        let text = |list: Vec<TrafficSelector>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let of = |value: &[u8]| networks([value].into_iter());
        assert_eq!(text(of(&good)), ["10.1.0.0/16", "192.168.7.9/32"]);
        // Cut anywhere: what is whole counts; eight octets are one without ports.
        for length in 0..good.len() {
            let whole = if [8, 16, 24].contains(&length) { length / SHORT_LEN } else { length / NETWORK_LEN };
            assert!(of(&good[..length]).len() <= whole, "{length}");
        }
        // An attribute for each, as strongSwan's pools have it.
        let short = [&good[..8], &good[14..22]];
        assert_eq!(text(networks(short.into_iter())), ["10.1.0.0/16", "192.168.7.9/32"]);
        assert_eq!(text(of(&short.concat())), ["10.1.0.0/16", "192.168.7.9/32"]);
        // A mask with a hole, a network twice, more networks than are taken.
        assert!(of(&one([10, 1, 0, 0], [255, 0, 255, 0])).is_empty());
        assert_eq!(of(&good.repeat(50)).len(), 2);
        let many: Vec<u8> = (0..=255).flat_map(|n| one([10, n, 0, 0], [255, 255, 0, 0])).collect();
        assert_eq!(of(&many).len(), MAX_NETWORKS);
        assert_eq!(networks(many.chunks(NETWORK_LEN)).len(), MAX_NETWORKS);
    }
}
