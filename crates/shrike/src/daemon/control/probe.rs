//! The commands about probes of Child SAs.

use super::{Awaited, Client};
use crate::daemon::Core;
use crate::daemon::probes::Asked;
use crate::probe::MOST;
use model::{Instant, Probe};
use vici::{Message, schema};

impl Client {
    /// `shrike-probe {child ike to}`: what came of probing that child.
    pub(super) fn probe(&mut self, core: &mut Core, now: Instant, m: &Message) -> Option<Message> {
        let Some(child) = m.get_str("child") else { return Some(schema::refusal("name the child to probe")) };
        let to = match m.get_str("to").map(str::parse) {
            None => None,
            Some(Ok(to)) => Some(to),
            Some(Err(_)) => return Some(schema::refusal("to: this is no address")),
        };
        match core.probe(now, m.get_str("ike"), child, to) {
            Err(why) => Some(schema::refusal(why)),
            Ok(Asked::Done(probe)) => Some(schema::probe(&probe)),
            Ok(Asked::UnderWay(number)) => {
                // Others may be before it.
                self.await_until(Awaited::Probe { number }, Some(now + MOST * 8));
                None
            }
        }
    }

    /// A probe came to its end: the client that waits for it is told.
    pub fn probed(&mut self, core: &mut Core, now: Instant, number: u64, probe: &Probe) {
        if self.awaits_probe(number) {
            self.finish(core, now, &schema::probe(probe));
            self.flush();
        }
    }

    /// The last results.
    pub(super) fn list_probes(&mut self, core: &mut Core, now: Instant) -> Message {
        let sas = core.endpoint.snapshots(now);
        for probe in core.probes.list(now, &sas) {
            self.session.event("shrike-probe", &schema::probe(&probe));
        }
        Message::new()
    }
}
