//! IKE SAs that one of the ends has lost (RFC 6290).

use super::Endpoint;
use crate::ike_sa::IkeSa;
use crate::v2::{self, Path, Task, Verdict};
use model::{FailureKind, Instant, SaId};
use std::collections::BTreeMap;
use wire::{Header, Secret};

impl Endpoint {
    /// What tokens are made of: 32 octets that nobody else knows, the same after every restart (RFC 6290 section 5.1).
    /// Without it peers are told none.
    pub fn set_crash_secret(&mut self, secret: Secret) {
        self.cx.tokens.set_secret(secret);
    }

    /// A message of an IKE SA that is not there: from before a restart, perhaps.
    pub(super) fn lost(&mut self, now: Instant, header: &Header, path: Path) {
        // RFC 6290 section 9.2: no token of an IKE SA that is there. One that our rekeying makes is there at the peer as soon as it
        // has answered; our answer to what it sends comes as soon as we have its.
        let rekeyed = [header.spis.initiator, header.spis.responder].map(|spi| self.sas.has_rekeyed_as(spi));
        if rekeyed == [false; 2] && !v2::either_known(header.spis, |spi| self.by_spi.contains_key(spi)) {
            v2::answer_unknown(&mut self.cx, now, header, path);
        }
    }

    /// The peer has proven that it lost the IKE SA: it ends without a word (RFC 6290 section 3), and what `dpd_action` says
    /// is done. What else is between the two ends is probably lost too, and asked for at once.
    pub(super) fn peer_restarted(&mut self, now: Instant, id: SaId) {
        let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2) else { return };
        let asked = sa.pending.tasks().find_map(|task| match task {
            Task::DeleteIke { reason } => Some(reason.clone()),
            _ => None,
        });
        let text = format!("peer {} has restarted and lost the IKE SA: its token proves it", sa.remote.ip());
        sa.log(&mut self.cx, "IKE", 1, text);
        let known = self.sas.get(&id).and_then(IkeSa::identities).and_then(|key| self.cx.peers.with(&key));
        let others: Vec<SaId> =
            known.into_iter().flat_map(BTreeMap::keys).copied().filter(|other| *other != id).collect();
        for other in others {
            if let Some(sa) = self.sas.get_mut(&other).and_then(IkeSa::v2).filter(|sa| sa.pending.is_empty()) {
                sa.enqueue(&mut self.cx, now, Task::Liveness);
            }
        }
        self.conclude(now, id, Verdict::End(asked.unwrap_or(FailureKind::PeerRestarted)));
    }
}
