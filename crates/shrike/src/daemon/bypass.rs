//! Rules of routing around and beside the table of the tunnels: what passes in the clear is not led to them; and where no
//! policies of the kernel's do it, what waits for a Child SA with any peer is, and what is to be dropped goes nowhere.

use crate::log;
use linux::{LocalAddress, Route, RouteTarget, Routes, Rule, TRAP_TABLE};
use model::SaId;
use model::dataplane::{InterfaceName, ShuntAction, ShuntInstall, TrapInstall};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What rules are for.
#[derive(Clone)]
enum Policy {
    Shunt(ShuntInstall),
    Trap(Box<TrapInstall>),
}

/// The TUN device that leads to our own ESP.
#[derive(Clone)]
pub struct Device {
    /// Its name.
    pub name: InterfaceName,
    /// The kernel's number of it.
    pub index: u32,
}

/// The rules of the shunts and traps that are set.
#[derive(Default)]
pub struct Bypasses {
    policies: BTreeMap<SaId, (Policy, Vec<Rule>)>,
    /// Without one the kernel's policies drop and trap.
    device: Option<Device>,
}

impl Bypasses {
    /// Those of our own ESP, behind this device.
    pub fn beside(device: Device) -> Self {
        Self { policies: BTreeMap::new(), device: Some(device) }
    }

    /// Sets the rules of a shunt, if it needs any.
    pub fn add(&mut self, routes: &mut Routes, shunt: &ShuntInstall) {
        if shunt.action == ShuntAction::Pass || self.device.is_some() {
            self.set(routes, shunt.shunt, Policy::Shunt(shunt.clone()));
        }
    }

    /// Leads what meets a trap for any peer to our own ESP, but for what a tunnel has.
    pub fn capture(&mut self, routes: &mut Routes, trap: &TrapInstall) {
        if self.device.is_some() {
            self.set(routes, trap.trap, Policy::Trap(Box::new(trap.clone())));
        }
    }

    /// The name of the device of our own ESP, if that is what these are beside.
    pub fn device_name(&self) -> Option<InterfaceName> {
        self.device.as_ref().map(|device| device.name)
    }

    /// The shunts that are set.
    pub fn shunts(&self) -> impl Iterator<Item = &ShuntInstall> {
        self.policies.values().filter_map(|(policy, _)| match policy {
            Policy::Shunt(shunt) => Some(shunt),
            Policy::Trap(_) => None,
        })
    }

    /// Removes the rules of a shunt or trap that no other one has.
    pub fn remove(&mut self, routes: &mut Routes, policy: SaId) {
        let Some((_, rules)) = self.policies.remove(&policy) else { return };
        self.unset(routes, &rules);
    }

    /// This host's addresses changed: those that its own sockets take may lie in a policy's selectors now, or no longer.
    pub fn renew(&mut self, routes: &mut Routes) {
        let all: Vec<SaId> = self.policies.keys().copied().collect();
        for id in all {
            let Some((policy, old)) = self.policies.get(&id).cloned() else { continue };
            let new = self.wanted(routes, &policy);
            if new == old {
                continue;
            }
            self.policies.insert(id, (policy.clone(), new.clone()));
            self.unset(routes, &old);
            add_rules(routes, &policy, &new);
        }
    }

    /// Removes all.
    pub fn clear(&mut self, routes: &mut Routes) {
        while let Some(policy) = self.policies.keys().next().copied() {
            self.remove(routes, policy);
        }
        for route in self.device.iter().flat_map(to_device) {
            let _ = routes.delete_route(&route); // never there, or gone with its device
        }
    }

    fn set(&mut self, routes: &mut Routes, id: SaId, policy: Policy) {
        if matches!(policy, Policy::Trap(_)) {
            for route in self.device.iter().flat_map(to_device) {
                if let Err(error) = routes.add_route(&route) {
                    log::line("KNL", 1, &format!("route of traps to {}/0: {error}", route.destination));
                }
            }
        }
        let rules = self.wanted(routes, &policy);
        add_rules(routes, &policy, &rules);
        self.policies.insert(id, (policy, rules));
    }

    fn unset(&self, routes: &mut Routes, rules: &[Rule]) {
        for rule in rules {
            if !self.policies.values().any(|(_, others)| others.contains(rule)) {
                let _ = routes.delete_rule(rule); // gone already
            }
        }
    }

    fn wanted(&self, routes: &mut Routes, policy: &Policy) -> Vec<Rule> {
        let addresses: Vec<LocalAddress> = routes.addresses().unwrap_or_default();
        match (policy, &self.device) {
            (Policy::Trap(trap), _) => Rule::captures(&trap.local_ts, &trap.remote_ts, &addresses),
            (Policy::Shunt(shunt), Some(device)) if shunt.action == ShuntAction::Drop => {
                Rule::discards(&shunt.local_ts, &shunt.remote_ts, &addresses, device.name)
            }
            (Policy::Shunt(shunt), _) => Rule::around_tunnels(&shunt.local_ts, &shunt.remote_ts, &addresses),
        }
    }
}

/// The routes of [`TRAP_TABLE`].
fn to_device(device: &Device) -> [Route; 2] {
    let target = RouteTarget::Interface { interface: device.index, gateway: None };
    [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)].map(|destination| Route {
        destination,
        prefix: 0,
        target,
        source: None,
        table: TRAP_TABLE,
        metric: None,
    })
}

fn add_rules(routes: &mut Routes, policy: &Policy, rules: &[Rule]) {
    let (name, what) = match policy {
        Policy::Shunt(shunt) if shunt.action == ShuntAction::Drop => (&shunt.name, "drop what is of"),
        Policy::Shunt(shunt) => (&shunt.name, "lead"),
        Policy::Trap(trap) => (&trap.name, "lead to the trap"),
    };
    for rule in rules {
        if let Err(error) = routes.add_rule(rule) {
            let end = if what == "lead" { " around the tunnels" } else { "" };
            log::line("KNL", 0, &format!("cannot {what} '{name}'{end}: {error}"));
        }
    }
}
