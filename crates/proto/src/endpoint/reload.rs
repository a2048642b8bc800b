//! What it means for SAs that are up when their connection is loaded anew, or unloaded.

use super::{Endpoint, Verdict};
use crate::ike_sa::IkeSa;
use crate::v2;
use config::{Connection, StartAction};
use model::{FailureKind, Instant, SaId};
use std::time::Duration;

impl Endpoint {
    /// This connection was changed or unloaded, and `old` is what it was: the children that it has begun by `start_action` are
    /// closed, as strongSwan does it, with their IKE SA if it has no others. What is loaded now is for
    /// [`Endpoint::initiate_for_good`] to begin. Other SAs stay with what they were made with until they authenticate anew;
    /// returns how many IKE SAs these are.
    pub fn supersede(&mut self, now: Instant, old: &Connection) -> usize {
        self.give_up(Some(&old.name), None);
        let started = |name: &str| old.children.iter().any(|c| c.name == name && StartAction::starts(c.start_action));
        let all: Vec<SaId> = self.sas.named(&old.name).map(IkeSa::id).collect();
        for id in &all {
            let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(id)) else { continue };
            let chosen: Vec<SaId> = sa.children().iter().filter(|c| started(&c.name)).map(|c| c.id).collect();
            let verdict = match chosen.len() {
                0 => Verdict::Keep,
                _ if sa.is_half_open() => Verdict::End(FailureKind::ConfigurationChanged),
                n if n == sa.children().len() => sa.delete(cx, now, FailureKind::ConfigurationChanged),
                _ => {
                    for child in chosen {
                        sa.delete_child(cx, now, child, FailureKind::ConfigurationChanged, false);
                    }
                    Verdict::Keep
                }
            };
            self.conclude(now, *id, verdict);
            self.bury_orphan(now, *id);
        }
        for id in &all {
            let reauth = self.connections.get(&old.name).map_or(Duration::ZERO, |new| new.reauth_time);
            let (cx, Some(IkeSa::V2(sa))) = (&mut self.cx, self.sas.get_mut(id)) else { continue };
            // RFC 4478 section 2: a peer who alone can authenticate anew hears of a shorter time.
            if let (true, Some(at)) = (!reauth.is_zero() && !sa.is_leaving(), sa.established) {
                v2::require(sa, cx, now, reauth.saturating_sub(now.since(at)));
            }
        }
        self.carry_out_effects(now);
        let stays = |sa: &IkeSa| match sa {
            IkeSa::V1(sa) => !sa.is_closed(),
            IkeSa::V2(sa) => !sa.is_closed() && !sa.is_leaving(),
        };
        let staying: Vec<SaId> = all.into_iter().filter(|id| self.sas.get(id).is_some_and(stays)).collect();
        self.outdated.extend(&staying);
        staying.len()
    }
}
