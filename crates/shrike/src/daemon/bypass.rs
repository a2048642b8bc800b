//! What passes in the clear is not led to the tunnels either: rules around the table with their routes.

use crate::log;
use linux::{Routes, Rule};
use model::SaId;
use model::dataplane::{ShuntAction, ShuntInstall};
use std::collections::BTreeMap;

/// The rules of the shunts that are set.
#[derive(Default)]
pub struct Bypasses {
    rules: BTreeMap<SaId, Vec<Rule>>,
}

impl Bypasses {
    /// Sets the rules of a shunt, if it lets packets pass.
    pub fn add(&mut self, routes: &mut Routes, shunt: &ShuntInstall) {
        if shunt.action != ShuntAction::Pass {
            return;
        }
        let rules = Rule::around_tunnels(&shunt.local_ts, &shunt.remote_ts);
        for rule in &rules {
            if let Err(error) = routes.add_rule(rule) {
                log::line("KNL", 0, &format!("cannot lead '{}' around the tunnels: {error}", shunt.name));
            }
        }
        self.rules.insert(shunt.shunt, rules);
    }

    /// Removes the rules of a shunt that no other one has.
    pub fn remove(&mut self, routes: &mut Routes, shunt: SaId) {
        for rule in self.rules.remove(&shunt).unwrap_or_default() {
            if !self.rules.values().flatten().any(|other| *other == rule) {
                let _ = routes.delete_rule(&rule); // gone already
            }
        }
    }

    /// Removes all.
    pub fn clear(&mut self, routes: &mut Routes) {
        while let Some(shunt) = self.rules.keys().next().copied() {
            self.remove(routes, shunt);
        }
    }
}
