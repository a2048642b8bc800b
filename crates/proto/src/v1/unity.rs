//! What Cisco's clients and gateways do with a split tunnel (`cisco_unity = yes`): one quick mode for 0.0.0.0/0, of which both
//! ends carry only the networks that the gateway named, and networks that pass beside the tunnel in the clear.
//!
//! There is no RFC: the attributes are those that Cisco's clients ask for in Mode-Config.

use super::sa::IsakmpSa;
use crate::child::{self, Selectors};
use crate::context::Context;
use model::dataplane::{Binding, Command, ShuntAction, ShuntInstall};
use model::{TrafficSelector, narrow};
use std::net::IpAddr;
use wire::V1ConfigAttribute;

/// All of IPv4, which is how such a client says "what the gateway names".
fn is_all(list: &[TrafficSelector]) -> bool {
    *list == [TrafficSelector::any(false)]
}

/// What is carried of what a quick mode says: as a client the networks that the gateway named, as a gateway its own.
pub(super) fn carried(sa: &IsakmpSa, config: &config::Child, told: &Selectors) -> Selectors {
    let mut carried = told.clone();
    if !sa.unity {
        return carried;
    }
    if is_all(&told.remote) && !sa.configuration.included.is_empty() {
        carried.remote = sa.configuration.included.clone();
    }
    if is_all(&told.local) {
        let mut own = child::configured(config, sa.inner_local(), sa.inner_remote()).local;
        own.retain(|ts| !ts.is_ipv6());
        if !own.is_empty() {
            carried.local = own;
        }
    }
    carried
}

/// What is configured, within the networks that the server named (UNITY_SPLIT_INCLUDE): the selectors of the first quick
/// mode and of further ones, for a quick mode has one pair of them (RFC 2409 section 5.5). Where nothing of it is among
/// those networks the configuration holds.
pub(super) fn one_by_one(sa: &IsakmpSa, configured: Selectors) -> (Selectors, Vec<Selectors>) {
    let within = narrow(configured.remote.get(..1).unwrap_or_default(), &sa.configuration.included);
    let mut all = within.into_iter().map(|ts| Selectors { remote: vec![ts], ..configured.clone() });
    match all.next() {
        Some(first) => (first, all.collect()),
        None => (configured, Vec::new()),
    }
}

/// What is carried, and what was said where that is more.
pub(super) fn within(sa: &IsakmpSa, config: &config::Child, told: Selectors) -> (Selectors, Option<Box<Selectors>>) {
    let carried = carried(sa, config, &told);
    let same = carried.local == told.local && carried.remote == told.remote;
    (carried, (!same).then(|| Box::new(told)))
}

/// Whether the client may ask for all of what is ours, though we carry less.
pub(super) fn may_ask_for_all(sa: &IsakmpSa, ours: &TrafficSelector) -> bool {
    sa.unity && !sa.configuration.assigned().is_empty() && is_all(std::slice::from_ref(ours))
}

/// The gateway's networks for its client, where a connection says which they are: IPv4 networks that are not all.
pub(super) fn networks(sa: &IsakmpSa) -> Option<(u16, Vec<u8>)> {
    let connection = sa.connection.as_ref().filter(|_| sa.unity)?;
    let all = connection.children.iter().flat_map(|c| child::configured(c, sa.inner_local(), sa.inner_remote()).local);
    let mut value = Vec::new();
    for ts in all {
        if ts == TrafficSelector::any(false) {
            return None; // everything is to go through the tunnel
        }
        for (network, prefix) in ts.networks() {
            if let IpAddr::V4(network) = network {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                value.extend_from_slice(&network.octets());
                value.extend_from_slice(&mask.to_be_bytes());
                value.extend_from_slice(&[0; 6]); // a protocol and two ports that nobody uses
            }
        }
    }
    (!value.is_empty()).then_some((V1ConfigAttribute::UNITY_SPLIT_INCLUDE.0, value))
}

/// Networks that the gateway wants left out: what this host sends there passes in the clear.
pub(super) fn leave_out(sa: &mut IsakmpSa, cx: &mut Context, networks: &[TrafficSelector]) {
    if networks.is_empty() {
        return;
    }
    let list: Vec<String> = networks.iter().map(ToString::to_string).collect();
    if !sa.unity {
        let text =
            "networks that the peer leaves out go through the tunnel nevertheless, for want of cisco_unity = yes";
        sa.log(cx, "IKE", 1, format!("{text}: {}", list.join(" ")));
        return;
    }
    sa.log(cx, "IKE", 1, format!("networks that pass in the clear, as the peer says: {}", list.join(" ")));
    let hosts = std::iter::once(sa.local.ip()).chain(sa.configuration.own().iter().copied());
    let local_ts: Vec<TrafficSelector> = hosts.filter(IpAddr::is_ipv4).map(TrafficSelector::host).collect();
    for network in networks {
        let shunt = ShuntInstall {
            shunt: cx.child_id(),
            connection: "unity".to_string(),
            name: format!("Unity ({}[{}]: {network})", sa.name(), sa.id.0),
            action: ShuntAction::Pass,
            local_ts: local_ts.clone(),
            remote_ts: vec![*network],
            priority: None,
            binding: Binding::default(),
        };
        cx.plane(Command::Shunt(Box::new(shunt.clone())));
        sa.bypasses.push(shunt);
    }
}
