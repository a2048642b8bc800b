//! What the core asks the outside world for, and what it does with the answers: host names, revocation lists, certificates
//! and solved puzzles.

use super::{Endpoint, Output};
use crate::ike_sa::IkeSa;
use crate::inquiries::Need;
use crate::v2::{self, Path};
use crate::{names, policy};
use config::{Connection, IkeVersion};
use crypto::{Certificate, RevocationList};
use model::Instant;
use std::net::IpAddr;
use std::sync::Arc;

impl Endpoint {
    /// A puzzle is solved, or cannot be (RFC 8019): the first message goes out again.
    pub fn puzzle_solved(&mut self, now: Instant, job: &v2::PuzzleJob, solution: Option<&[u8]>) {
        if let Some(sa) = self.sas.get_mut(&job.sa).and_then(IkeSa::v2) {
            let verdict = v2::puzzle_solved(sa, &mut self.cx, now, &job.puzzle, solution);
            self.conclude(now, job.sa, verdict);
            self.carry_out_effects(now);
        }
    }

    /// A revocation list has been fetched from here, or could not be: what waited for it is looked at again.
    pub fn list_fetched(&mut self, now: Instant, uri: &str, list: Option<RevocationList>) {
        if let Some(list) = list {
            self.cx.credentials.add_fetched_list(list);
        }
        self.cx.credentials.list_answered(now, uri);
        self.resume_waiting(now);
    }

    /// A certificate has been fetched from here, or could not be: what waited for it is looked at again.
    pub fn certificate_fetched(&mut self, now: Instant, uri: &str, certificate: Option<Certificate>) {
        self.cx.credentials.certificate_answered(now, uri, certificate);
        self.resume_waiting(now);
    }

    /// What waited for the answer to something that was fetched may go on, or wait for the next.
    fn resume_waiting(&mut self, now: Instant) {
        for id in self.sas.waiting_for_list() {
            match self.sas.get_mut(&id) {
                Some(IkeSa::V1(sa)) => {
                    let (parked, behind) = (sa.parked.take(), std::mem::take(&mut sa.behind));
                    // Where the first waits for another list, so does the rest.
                    for (header, message, path) in parked.into_iter().chain(behind) {
                        self.datagram_v1(now, &header, &message, path);
                    }
                }
                Some(IkeSa::V2(sa)) => {
                    let was_half_open = sa.is_unproven();
                    let verdict = sa.resume(&mut self.cx, now);
                    self.after_message(now, id, was_half_open, verdict);
                }
                None => {}
            }
        }
        self.carry_out_effects(now);
    }

    /// A host name of the configuration has these addresses now; none if there is no such name. In answer to
    /// [`Output::Resolve`], or before it.
    pub fn name_resolved(&mut self, now: Instant, name: &str, addresses: Vec<IpAddr>) {
        self.names.resolved(now, name, addresses);
        self.redirects_resolved(now, name);
        self.carry_out_effects(now);
    }

    /// The connections that these addresses allow and that are not for the `other` version alone. `None` if there is none,
    /// but that may be because a host name has got another address.
    pub(super) fn candidates(&mut self, now: Instant, path: Path, other: IkeVersion) -> Option<Vec<Arc<Connection>>> {
        let allowed = || self.connections.for_peer(path.remote.ip()).filter(|c| c.version != other);
        let found = policy::by_addresses(allowed(), path.local.ip(), path.remote.ip(), &self.names);
        if !found.is_empty() {
            return Some(found);
        }
        let mut known = true;
        for name in allowed().flat_map(|c| names::of(c)) {
            let need = self.names.need(now, name);
            known &= need == Need::Nothing;
            if need == Need::Ask {
                self.cx.outputs.push_back(Output::Resolve(name.to_string()));
            }
        }
        known.then_some(found)
    }
}
