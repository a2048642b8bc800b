//! What passes in the clear is not led to the tunnels either: rules around the table with their routes.

use crate::log;
use linux::{Routes, Rule};
use model::SaId;
use model::dataplane::{ShuntAction, ShuntInstall};
use std::collections::BTreeMap;

/// The rules of the shunts that are set.
#[derive(Default)]
pub struct Bypasses {
    shunts: BTreeMap<SaId, (ShuntInstall, Vec<Rule>)>,
}

impl Bypasses {
    /// Sets the rules of a shunt, if it lets packets pass.
    pub fn add(&mut self, routes: &mut Routes, shunt: &ShuntInstall) {
        if shunt.action != ShuntAction::Pass {
            return;
        }
        let rules = wanted(routes, shunt);
        set(routes, shunt, &rules);
        self.shunts.insert(shunt.shunt, (shunt.clone(), rules));
    }

    /// Removes the rules of a shunt that no other one has.
    pub fn remove(&mut self, routes: &mut Routes, shunt: SaId) {
        let Some((_, rules)) = self.shunts.remove(&shunt) else { return };
        self.unset(routes, &rules);
    }

    /// This host's addresses changed: those that its own sockets take may lie in a shunt's selectors now, or no longer.
    pub fn renew(&mut self, routes: &mut Routes) {
        let all: Vec<SaId> = self.shunts.keys().copied().collect();
        for id in all {
            let Some((shunt, rules)) = self.shunts.get_mut(&id) else { continue };
            let new = wanted(routes, shunt);
            if new == *rules {
                continue;
            }
            let (shunt, old) = (shunt.clone(), std::mem::replace(rules, new.clone()));
            self.unset(routes, &old);
            set(routes, &shunt, &new);
        }
    }

    /// Removes all.
    pub fn clear(&mut self, routes: &mut Routes) {
        while let Some(shunt) = self.shunts.keys().next().copied() {
            self.remove(routes, shunt);
        }
    }

    fn unset(&self, routes: &mut Routes, rules: &[Rule]) {
        for rule in rules {
            if !self.shunts.values().any(|(_, others)| others.contains(rule)) {
                let _ = routes.delete_rule(rule); // gone already
            }
        }
    }
}

fn wanted(routes: &mut Routes, shunt: &ShuntInstall) -> Vec<Rule> {
    let addresses = routes.addresses().unwrap_or_default();
    Rule::around_tunnels(&shunt.local_ts, &shunt.remote_ts, &addresses)
}

fn set(routes: &mut Routes, shunt: &ShuntInstall, rules: &[Rule]) {
    for rule in rules {
        if let Err(error) = routes.add_rule(rule) {
            log::line("KNL", 0, &format!("cannot lead '{}' around the tunnels: {error}", shunt.name));
        }
    }
}
