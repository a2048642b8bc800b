//! The lives of SAs: what happens when a lifetime ends, and how one IKE SA takes the place of another.
//!
//! IKEv2 rekeys (`v2::create_child_sa`, `v2::rekey_ike_sa`). Reauthentication, a peer that refuses CREATE_CHILD_SA, and
//! IKEv1 make a new IKE SA beside the old one instead, which goes when the new one is up.

use super::{Endpoint, NO_CHILD, Selection, selects_child};
use crate::child::{ChildSa, Left, Selectors};
use crate::ike_sa::IkeSa;
use crate::timers::Reason;
use crate::v1;
use crate::v2::{self, Task, Verdict};
use config::IkeVersion;
use model::{Event, FailureKind, Identity, Instant, Role, SaId, TrafficSelector};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// How long the end of a rekeying that does not delete the old IKE SA waits for the other one to do so, and how long a
/// new IKE SA beside an old one may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long an SA stays beside its successor: a peer moves the Child SAs in its own time, and until it has, a Delete of the
/// old one would take them along (strongSwan waits as long with both versions of IKE).
const LINGER: Duration = Duration::from_secs(10);

/// So many of our former addresses are remembered.
const MOST_GONE: usize = 64;

impl Endpoint {
    /// Replaces keys before their time: of the Child SAs that a selection names, else of IKE SAs. Returns how many are
    /// affected; events tell how it goes. An ISAKMP SA (IKEv1) cannot be
    /// rekeyed, its Child SAs can.
    pub fn rekey(&mut self, now: Instant, selection: &Selection) -> usize {
        let by_child = selection.child.is_some() || selection.child_id.is_some();
        let mut affected = 0;
        for id in self.among(selection) {
            let sa = self.sas.get_mut(&id).filter(|sa| sa.is_established() && sa.heir().is_none());
            let Some(sa) = sa else { continue };
            let named = selection.ike.as_deref().is_none_or(|name| name == sa.name())
                && selection.ike_id.is_none_or(|id| id == sa.id());
            if let (IkeSa::V1(sa), true) = (&mut *sa, named && by_child) {
                let live = sa.children.iter().filter(|c| c.is_installed() && selects_child(selection, c.id, &c.name));
                let chosen: Vec<SaId> = live.map(|c| c.id).collect();
                affected += chosen.iter().filter(|c| v1::rekey(sa, &mut self.cx, now, **c)).count();
            }
            let Some(sa) = sa.v2().filter(|_| named) else { continue };
            if !by_child {
                sa.enqueue(&mut self.cx, now, Task::RekeyIke);
                affected += 1;
                continue;
            }
            let live = sa.children.iter().filter(|c| c.state == model::ChildState::Installed);
            let chosen: Vec<SaId> = live.filter(|c| selects_child(selection, c.id, &c.name)).map(|c| c.id).collect();
            affected += chosen.len();
            for child in chosen {
                sa.enqueue(&mut self.cx, now, Task::RekeyChild { child });
            }
        }
        self.carry_out_effects(now);
        affected
    }

    /// The IKE SAs among which those are that a selection names: who names one does not have all looked at.
    pub(super) fn among(&mut self, selection: &Selection) -> Vec<SaId> {
        match (selection.ike_id, selection.child_id, &selection.ike) {
            (Some(id), ..) => vec![id],
            (None, Some(child), _) => self.sas.owner(child).into_iter().collect(),
            (None, None, Some(name)) => self.sas.named(name).map(IkeSa::id).collect(),
            (None, None, None) => self.sas.values().map(IkeSa::id).collect(),
        }
    }

    /// Authenticates anew before its time, in an IKE SA beside each that a selection names. Where only the peer can begin that it
    /// is asked to (RFC 4478), and the IKE SA ends if it does not. Returns how many are affected.
    pub fn reauthenticate(&mut self, now: Instant, selection: &Selection) -> usize {
        let named = |sa: &&IkeSa| {
            selection.ike.as_deref().is_none_or(|name| name == sa.name())
                && selection.ike_id.is_none_or(|id| id == sa.id())
                && sa.is_established()
                && sa.heir().is_none()
        };
        let first = |sa: &IkeSa| {
            let installed = sa.children().iter().find(|c| c.is_installed()).map(|c| c.name.clone());
            installed.or_else(|| sa.can_be_childless().then(String::new))
        };
        let among = self.among(selection);
        let matching = || among.iter().filter_map(|id| self.sas.get(id)).filter(named);
        let chosen: Vec<(SaId, String)> = matching().filter_map(|sa| Some((sa.id(), first(sa)?))).collect();
        let others: Vec<SaId> = matching().map(IkeSa::id).collect();
        let mut affected = 0;
        for id in others {
            let (cx, Some(IkeSa::V2(sa))) = (&mut self.cx, self.sas.get_mut(&id)) else { continue };
            affected += usize::from(v2::require(sa, cx, now, Duration::ZERO));
        }
        affected += chosen.iter().filter(|(id, child)| self.beside(now, *id, child)).count();
        self.carry_out_effects(now);
        affected
    }

    /// Makes a Child SA under an IKE SA that is there or on its way (RFC 7296 section 1.3.1), if there is one.
    /// `packet` asks for it, if one does.
    pub(super) fn under_another(
        &mut self,
        now: Instant,
        connection: &str,
        child: &str,
        peer: IpAddr,
        packet: Option<(TrafficSelector, TrafficSelector)>,
    ) -> Option<SaId> {
        let outdated = &self.outdated;
        let fits = |sa: &&IkeSa| {
            let usable = sa.is_established() || (sa.is_half_open() && sa.role() == Role::Initiator);
            let known = sa.connection().is_some_and(|c| c.children.iter().any(|c| c.name == child));
            let known = known && !outdated.contains(&sa.id());
            let lasts = matches!(sa, IkeSa::V2(sa) if !sa.is_leaving());
            usable && known && lasts && sa.heir().is_none()
        };
        let all: Vec<SaId> = self.sas.named_at(connection, peer).filter(fits).map(IkeSa::id).collect();
        let lasting = all.iter().find(|id| !self.is_twin_that_goes(**id)).or(all.first())?;
        let sa = self.sas.get_mut(lasting).and_then(IkeSa::v2)?;
        v2::further_child(sa, &mut self.cx, child);
        if let Some(packet) = packet {
            v2::triggered_by(sa, packet);
        }
        sa.next_task(&mut self.cx, now);
        Some(sa.id)
    }

    /// This host's addresses, virtual ones excluded, which peers are told of that do MOBIKE (RFC 4555 section 3.6). Before,
    /// let those IKE SAs move that have to ([`Endpoint::movable`]).
    pub fn set_addresses(&mut self, now: Instant, mut addresses: Vec<IpAddr>) {
        addresses.sort();
        addresses.dedup();
        if addresses == self.cx.addresses {
            return;
        }
        self.note_addresses(addresses);
        for sa in self.sas.values_mut().filter_map(IkeSa::v2).filter(|sa| sa.can_move()) {
            sa.tell_addresses(&mut self.cx, now);
        }
        self.carry_out_effects(now);
    }

    fn note_addresses(&mut self, addresses: Vec<IpAddr>) {
        let gone = self.cx.addresses.iter().copied().filter(|a| !addresses.contains(a));
        self.cx.gone.extend(gone);
        self.cx.gone.retain(|a| !addresses.contains(a));
        while self.cx.gone.len() > MOST_GONE {
            self.cx.gone.pop_front();
        }
        self.cx.addresses = addresses;
    }

    /// The IKE SAs whose addresses can change, with those addresses.
    pub fn movable(&mut self) -> Vec<v2::Movable> {
        self.sas.values_mut().filter_map(IkeSa::v2).filter_map(|sa| v2::Movable::of(sa)).collect()
    }

    /// An IKE SA and its Child SAs use other addresses from now on, and the peer is told (RFC 4555 section 3.5).
    pub fn roam(&mut self, now: Instant, id: SaId, local: IpAddr, remote: IpAddr) {
        let before = self.sas.get(&id).map(|sa| sa.addresses().0.ip());
        if let Some(before) = before.filter(|before| *before != local && self.cx.addresses.contains(before)) {
            // It is gone: the peer must not hear that we may be there.
            let left = self.cx.addresses.iter().copied().filter(|a| *a != before && *a != local);
            let mut addresses: Vec<IpAddr> = left.chain([local]).collect();
            addresses.sort();
            self.note_addresses(addresses);
        }
        if let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2).filter(|sa| sa.is_mobile()) {
            sa.roam(&mut self.cx, now, local, remote);
        }
        self.carry_out_effects(now);
    }

    /// The peer of an IKE SA that was to be authenticated anew has a certificate that is revoked by now: it may not keep the
    /// old one either.
    pub(super) fn cut_off(&mut self, now: Instant, id: SaId, reason: FailureKind) {
        if let Some(sa) = self.sas.get_mut(&id).filter(|sa| sa.is_established()) {
            let verdict = sa.delete(&mut self.cx, now, reason);
            self.conclude(now, id, verdict);
        }
    }

    /// A lifetime ends, or it is time to prepare for that.
    pub(super) fn renew(&mut self, now: Instant, id: SaId, reason: Reason) {
        if reason == Reason::IkeLifetime
            && let Some(by) = self.carrier_beside(id)
        {
            return self.end(now, id, FailureKind::Replaced { by });
        }
        let Some(sa) = self.sas.get_mut(&id).filter(|sa| sa.is_established() || sa.is_orphaned()) else { return };
        let Some(sa) = sa.v2() else { return self.renew_v1(now, id, reason) };
        if let Reason::ChildLifetime(child) = reason {
            return v2::child_lifetime(sa, &mut self.cx, now, child, false);
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(sa.expires) {
            let reason = sa.replaced_by.map_or(FailureKind::Expired, |by| FailureKind::Replaced { by });
            if sa.replaced_by.is_some() && sa.datagrams_in == 0 && sa.role == Role::Responder {
                // RFC 7296 section 2.25.2: the peer made it, but forgot its request before our answer came. One that may have it
                // all the same hears of the end, and need not answer.
                if v2::doubtful(sa) {
                    sa.enqueue(&mut self.cx, now, Task::DeleteIke { reason: reason.clone() });
                }
                return self.conclude(now, id, Verdict::End(reason));
            }
            return self.end(now, id, reason);
        }
        if due(sa.reauth_at) {
            (sa.rekey_at, sa.reauth_at) = (None, None);
            let child = sa.children.iter().find(|c| c.is_installed()).map(|c| c.name.clone());
            let child = child.or_else(|| sa.peer_does_childless.then(String::new));
            if !child.is_some_and(|child| self.beside(now, id, &child)) {
                self.end(now, id, FailureKind::Expired);
            }
            return;
        }
        if due(sa.tell_at) {
            v2::tell_now(sa, &mut self.cx, now);
        }
        if due(sa.rekey_at) {
            sa.rekey_at = None;
            sa.enqueue(&mut self.cx, now, Task::RekeyIke);
        }
        sa.arm_lifetime(&mut self.cx);
    }

    /// IKEv1: the initiator makes a new SA beside the old one; where that is not our part, or did not work, the SA ends.
    fn renew_v1(&mut self, now: Instant, id: SaId, reason: Reason) {
        let (cx, Some(IkeSa::V1(sa))) = (&mut self.cx, self.sas.get_mut(&id)) else { return };
        if let (Reason::IkeLifetime, Some(by)) = (reason, sa.replaced_by) {
            // What the peer made under it meanwhile stays too.
            self.hand_on(now, id);
            return self.end(now, id, FailureKind::Replaced { by });
        }
        if let Reason::ChildLifetime(child) = reason {
            let name = sa.children.iter().find(|c| c.id == child).map(|c| c.name.clone());
            if v1::child_lifetime(sa, cx, now, child) {
                self.begin_for_orphan(now, id, name.as_deref());
            }
            return self.bury_orphan(now, id);
        }
        // A replacement was begun and did not come up in time: no second one, the SA ends.
        let overdue = sa.replace_at.is_none();
        let names: Vec<String> = sa.children.iter().map(|c| c.name.clone()).collect();
        if overdue || !names.first().is_some_and(|name| self.beside(now, id, name)) {
            // The peer may have made a new one, and go on with the Child SAs of this one.
            if let Some(by) = self.hand_on(now, id) {
                return self.end(now, id, FailureKind::Replaced { by });
            }
            // Not every initiator renews an ISAKMP SA before it needs one: it has Child SAs, and comes when they are due.
            if let (cx, Some(IkeSa::V1(sa))) = (&mut self.cx, self.sas.get_mut(&id))
                && sa.role == Role::Responder
                && sa.children.iter().any(ChildSa::is_installed)
            {
                v1::delete_isakmp_alone(sa, cx);
                return self.conclude(now, id, Verdict::End(FailureKind::Expired));
            }
            return self.end(now, id, FailureKind::Expired);
        }
        let new = self.sas.replacing(id).first().copied();
        if let Some(IkeSa::V1(new)) = new.and_then(|new| self.sas.get_mut(&new)) {
            for child in names.iter().skip(1) {
                v1::add_child(new, &mut self.cx, now, child);
            }
        }
    }

    /// The data plane says that a Child SA has carried what it may.
    pub(super) fn volume_spent(&mut self, now: Instant, id: SaId, child: SaId) {
        match self.sas.get_mut(&id).filter(|sa| sa.is_established() || sa.is_orphaned()) {
            Some(IkeSa::V2(sa)) => v2::child_lifetime(sa, &mut self.cx, now, child, true),
            Some(IkeSa::V1(_)) => self.renew_v1(now, id, Reason::ChildLifetime(child)),
            None => {}
        }
    }

    /// The connection and the identities of an ISAKMP SA: whose are the same may have each other's Child SAs.
    fn isakmp_peer(&self, id: SaId) -> Option<(String, (Identity, Identity))> {
        let sa = self.sas.get(&id).filter(|sa| matches!(sa, IkeSa::V1(_)))?;
        Some((sa.name().to_string(), sa.identities()?))
    }

    /// IKEv1: this ISAKMP SA is no more. Returns the one that has its Child SAs now, if there is another.
    pub(super) fn hand_on(&mut self, now: Instant, id: SaId) -> Option<SaId> {
        let peer = self.isakmp_peer(id)?;
        let same = |other: &SaId| *other != id && self.isakmp_peer(*other).as_ref() == Some(&peer);
        let lasts = |other: &SaId| self.sas.get(other).is_some_and(|sa| sa.is_established() && sa.heir().is_none());
        let known = self.cx.peers.with(&peer.1).into_iter().flat_map(BTreeMap::keys).copied();
        let heir = known.rev().find(|other| lasts(other) && same(other))?;
        self.take_over(now, id, heir).then_some(heir)
    }

    /// Child SAs go from one ISAKMP SA to another. False if there were none.
    fn take_over(&mut self, now: Instant, from: SaId, to: SaId) -> bool {
        let Some(IkeSa::V1(mut old)) = self.sas.remove(&from) else { return false };
        let any = old.children.iter().any(ChildSa::is_installed);
        if let (true, Some(IkeSa::V1(new))) = (any, self.sas.get_mut(&to)) {
            new.take_over(&mut self.cx, now, &mut old);
        }
        self.sas.insert(from, IkeSa::V1(old));
        any
    }

    /// An ISAKMP SA that was made beside an old one is up: the Child SAs move, untouched, and only what is missing is
    /// negotiated.
    pub(super) fn succeed(&mut self, now: Instant, old: SaId, by: SaId) {
        self.take_over(now, old, by);
        self.adopt(now, by);
        if let (cx, Some(IkeSa::V1(sa))) = (&mut self.cx, self.sas.get_mut(&by)) {
            v1::begin_wanted(sa, cx, now);
        }
    }

    /// The peer deletes a Child SA under another ISAKMP SA than the one that has it here: while an old one stays beside a new
    /// one the ends may differ in that.
    pub(super) fn deleted_elsewhere(&mut self, now: Instant, under: SaId, spi: u32) {
        let Some(peer) = self.isakmp_peer(under) else { return };
        let orphans = self.sas.orphans();
        let same = |id: &SaId| *id != under && self.isakmp_peer(*id).as_ref() == Some(&peer);
        let known = self.cx.peers.with(&peer.1).into_iter().flat_map(BTreeMap::keys).copied();
        let others: BTreeSet<SaId> = known.chain(orphans).filter(same).collect();
        for id in others {
            let (cx, Some(IkeSa::V1(sa))) = (&mut self.cx, self.sas.get_mut(&id)) else { continue };
            if v1::deleted_by_peer(sa, cx, now, spi).is_some() {
                return self.bury_orphan(now, id);
            }
        }
    }

    /// An ISAKMP SA is up: it takes over what others with the same peer have left.
    pub(super) fn adopt(&mut self, now: Instant, by: SaId) {
        let Some(peer) = self.isakmp_peer(by) else { return };
        for id in self.orphans(|orphan| orphan == peer) {
            self.take_over(now, id, by);
            self.bury_orphan(now, id);
        }
    }

    /// The peer has forgotten everything: what its former ISAKMP SAs left is of no use.
    pub(super) fn forget_orphans(&mut self, now: Instant, identities: &(Identity, Identity), by: SaId) {
        for id in self.orphans(|(_, orphan)| orphan == *identities) {
            self.conclude(now, id, Verdict::End(FailureKind::Replaced { by }));
        }
    }

    fn orphans(&mut self, of: impl Fn((String, (Identity, Identity))) -> bool) -> Vec<SaId> {
        self.sas.orphans().into_iter().filter(|id| self.isakmp_peer(*id).is_some_and(&of)).collect()
    }

    /// The last Child SA is gone.
    pub(super) fn bury_orphan(&mut self, now: Instant, id: SaId) {
        if let Some(sa) = self.sas.get_mut(&id).filter(|sa| sa.is_orphaned() && sa.children().is_empty()) {
            sa.close(&mut self.cx, now);
        }
    }

    /// It is time for a successor of a Child SA of ours, and there is no ISAKMP SA to negotiate it under: a new one, which
    /// takes over what is left.
    fn begin_for_orphan(&mut self, now: Instant, id: SaId, child: Option<&str>) {
        let Some(sa) = self.sas.get(&id).filter(|sa| sa.is_orphaned()) else { return };
        let (mut local, mut remote) = sa.addresses();
        let connection = sa.connection().and_then(|c| self.connections.get(&c.name)).cloned();
        let Some(connection) = connection else { return };
        let lasts = |sa: &IkeSa| sa.is_half_open() || (sa.is_established() && sa.heir().is_none());
        if self.sas.named(&connection.name).any(lasts) {
            return;
        }
        let Some(index) = connection.children.iter().position(|c| Some(c.name.as_str()) == child) else { return };
        local.set_port(self.cx.settings.port);
        remote.set_port(connection.remote_port);
        // Should it not come up, the Child SA ends when its lifetime does.
        let _ = self.begin(now, connection, index, (local, remote), 1, None);
    }

    /// The data plane says when a Child SA carried a packet last: it ends if that is as long ago as `inactivity`, else that
    /// is asked again when it may be.
    pub(super) fn traffic(&mut self, now: Instant, id: SaId, child: SaId, idle: Option<Duration>) {
        let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id)) else { return };
        let Some((name, up)) = sa.children().iter().find(|c| c.id == child).map(|c| (c.name.clone(), c.installed))
        else {
            return;
        };
        let config = sa.connection().and_then(|c| c.children.iter().find(|c| c.name == name));
        let limit = config.map_or(Duration::ZERO, |c| c.inactivity);
        let idle = idle.or_else(|| up.map(|at| now.since(at))).unwrap_or_default();
        if limit.is_zero() {
            return;
        }
        if idle < limit {
            return cx.timers.set(id, Reason::Idle(child), now + (limit - idle));
        }
        sa.log(cx, "JOB", 1, format!("deleting CHILD_SA after {} seconds of inactivity", limit.as_secs()));
        sa.delete_child(cx, now, child, FailureKind::Inactive { after: limit }, false);
    }

    pub(super) fn end(&mut self, now: Instant, id: SaId, reason: FailureKind) {
        if let Some(sa) = self.sas.get_mut(&id) {
            let verdict = sa.delete(&mut self.cx, now, reason);
            self.conclude(now, id, verdict);
        }
    }

    /// Begins an IKE SA with the same child beside an old one, with what is loaded now of that name. Only an end that can
    /// does, and only once.
    pub(super) fn beside(&mut self, now: Instant, id: SaId, child: &str) -> bool {
        let replaced = !self.sas.replacing(id).is_empty();
        let Some(sa) = self.sas.get(&id).filter(|sa| sa.can_begin_anew() && !replaced) else { return false };
        let (mut local, mut remote) = sa.addresses();
        let connection = self.connections.get(sa.name()).cloned();
        let Some(connection) = connection else { return false };
        let wanted = std::iter::once(child).chain(sa.children().iter().map(|c| c.name.as_str()));
        let loaded = |name: &str| connection.children.iter().position(|c| c.name == name);
        let index = match wanted.clone().find_map(loaded) {
            Some(index) => index,
            None if child.is_empty() => NO_CHILD,
            None => return false, // none of its children is configured any more
        };
        if connection.version != IkeVersion::V1 && !self.cx.settings.make_before_break {
            return self.break_before_make(now, id);
        }
        // Should the new one fail, this one ends all the same, later.
        let end = now + connection.over_time.max(PATIENCE);
        local.set_port(self.cx.settings.port);
        remote.set_port(connection.remote_port);
        if let Some(sa) = self.sas.get_mut(&id) {
            sa.log(&mut self.cx, "IKE", 0, "lifetime ends: making a new IKE SA beside this one".to_string());
            sa.replacement_begun(end);
        }
        let begun = self.begin(now, connection, index, (local, remote), 1, Some(id));
        let wanted = self.is_wanted(id);
        if let (Ok(new), true) = (&begun, wanted) {
            self.keep_wanting(*new);
        }
        let begun = begun.is_ok();
        if begun {
            self.cx.timers.set(id, Reason::IkeLifetime, end);
        }
        begun
    }

    /// The first Child SA of the new IKE SA is up: the others follow, then the old IKE SA goes.
    pub(super) fn replace(&mut self, now: Instant, old: SaId, by: SaId) {
        let (mut had, left) = (self.had(old), self.sas.get_mut(&by).and_then(IkeSa::v2).map(|sa| &mut sa.left));
        if let Some(left) = left.map(std::mem::take).filter(|_| had.names.is_empty()) {
            had = left; // it ended meanwhile
        }
        let (mut missing, before) = (had.names, had.parts);
        // What is only on its way there is not missing: a childless IKE SA makes its first Child SA itself.
        let there = self.sas.get(&by).map(IkeSa::children).unwrap_or_default();
        let there: Vec<String> = there.iter().map(|c| c.name.clone()).collect();
        missing.retain(|name| !there.contains(name));
        missing.sort();
        missing.dedup();
        let parts = self.parts_missing(before, by);
        match self.sas.get_mut(&by).and_then(IkeSa::v2) {
            Some(sa) if !missing.is_empty() || !parts.is_empty() || !sa.children.iter().all(ChildSa::is_installed) => {
                sa.replaces = Some(old);
                missing.iter().for_each(|name| v2::further_child(sa, &mut self.cx, name));
                for (name, selectors) in parts {
                    v2::further_child(sa, &mut self.cx, &name);
                    v2::only_for(sa, selectors);
                }
                sa.next_task(&mut self.cx, now);
            }
            Some(_) => self.retire(now, old, by),
            None => self.linger(now, old, by),
        }
    }

    /// IKEv1: the old ISAKMP SA leaves its place, and goes when the peer has had time to move its Child SAs.
    fn linger(&mut self, now: Instant, old: SaId, by: SaId) {
        let Some(IkeSa::V1(sa)) = self.sas.get_mut(&old).filter(|sa| sa.is_established()) else {
            return self.retire(now, old, by);
        };
        let over_time = sa.connection.as_ref().map(|c| c.over_time).filter(|time| !time.is_zero());
        sa.leave_by(&mut self.cx, by, now + over_time.map_or(LINGER, |time| time.min(LINGER)));
    }

    /// What an IKE SA has that one in its place is to have.
    fn had(&self, id: SaId) -> Left {
        let children = self.sas.get(&id).map(IkeSa::children).unwrap_or_default();
        let names = children.iter().filter(|c| c.is_installed()).map(|c| c.name.clone()).collect();
        let lasting = children.iter().filter(|c| c.state == model::ChildState::Installed);
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        lasting.clone().for_each(|c| *times.entry(&c.name).or_default() += 1);
        let parts = lasting.filter(|c| times.get(c.name.as_str()).is_some_and(|times| *times > 1));
        let selectors = |c: &ChildSa| Selectors { local: c.local_ts.clone(), remote: c.remote_ts.clone() };
        Left { names, parts: parts.map(|c| (c.name.clone(), selectors(c))).collect() }
    }

    /// An IKE SA ends, by no wish of ours, while another one is made in its place: what the new one is to have does not go
    /// with it (RFC 7296 section 2.8.3: the peer may delete the old one before we have its answer for the new one).
    pub(super) fn leave(&mut self, id: SaId, kind: &FailureKind) {
        let lost = matches!(
            kind,
            FailureKind::PeerDeleted
                | FailureKind::PeerRestarted
                | FailureKind::Expired
                | FailureKind::NoAnswer { answered_before: true, .. }
        );
        for by in if lost { self.sas.replacing(id) } else { Vec::new() } {
            let left = self.had(id);
            let sa = self.sas.get_mut(&by).and_then(IkeSa::v2).filter(|sa| sa.is_half_open());
            if let Some(sa) = sa.filter(|_| !left.names.is_empty()) {
                sa.left = left;
            }
        }
    }

    /// The peer made `by`, and is to have no other (`unique = replace`). An IKE SA from the same place is one that it
    /// authenticates anew: it deletes the old one itself as soon as the new one has all the Child SAs (RFC 7296 section
    /// 2.8.3), and until then both carry traffic. Only where it does not do so in time we do.
    pub(super) fn stays_a_while(&mut self, now: Instant, old: SaId, by: SaId) -> bool {
        let place = self.ikev2(by).map(|sa| (sa.local, sa.remote));
        let Some(sa) = self.sas.get_mut(&old).and_then(IkeSa::v2) else { return false };
        // Of a peer that comes again and again one stays, not all.
        if place != Some((sa.local, sa.remote)) || !sa.is_established() || sa.is_leaving() || sa.heir().is_some() {
            return false;
        }
        (sa.rekey_at, sa.reauth_at, sa.tell_at, sa.expires) = (None, None, None, Some(now + LINGER));
        sa.replaced_by = Some(by);
        sa.arm_lifetime(&mut self.cx);
        self.cx.timers.cancel(old, Reason::Liveness);
        true
    }

    /// Of the Child SAs that are parts of what is configured, as a peer narrowed it for one packet or another, those that
    /// the new IKE SA has not: each with its selectors.
    fn parts_missing(&self, mut before: Vec<(String, Selectors)>, by: SaId) -> Vec<(String, Selectors)> {
        let children = self.sas.get(&by).map(IkeSa::children).unwrap_or_default();
        let there = children.iter().filter(|c| c.state == model::ChildState::Installed);
        let includes = |list: &[TrafficSelector], all: &[TrafficSelector]| {
            all.iter().all(|one| list.iter().any(|ts| ts.includes(one)))
        };
        before.retain(|(name, part)| {
            let mut same = there.clone().filter(|n| n.name == *name).peekable();
            same.peek().is_some()
                && !same.any(|n| includes(&n.local_ts, &part.local) && includes(&n.remote_ts, &part.remote))
        });
        before
    }

    /// The new IKE SA has everything: the old one goes.
    pub(super) fn retire(&mut self, now: Instant, old: SaId, by: SaId) {
        self.end(now, old, FailureKind::Replaced { by });
    }

    /// A rekeying made a new IKE SA.
    pub(super) fn rekeyed(
        &mut self,
        now: Instant,
        old: SaId,
        mut new: v2::IkeSa,
        inherits: bool,
        redundant: Option<SaId>,
    ) {
        let (id, maker) = (new.id, new.role == Role::Initiator);
        if self.is_wanted(old) {
            self.keep_wanting(id);
        }
        if self.outdated.contains(&old) {
            self.outdated.insert(id);
        }
        self.by_spi.insert(new.own_spi(), id);
        new.start_lifetime(&mut self.cx, now);
        new.note_peer(&mut self.cx);
        self.sas.insert(id, IkeSa::V2(Box::new(new)));
        for beside in self.sas.replacing(old) {
            // A new IKE SA is being made beside the old one.
            self.sas.get_mut(&beside).into_iter().for_each(|sa| sa.set_replaces(id));
        }
        if inherits {
            self.inherit(now, old, id);
        }
        if let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&id).and_then(IkeSa::v2)) {
            cx.event(Event::IkeUp(Box::new(sa.snapshot(cx, now))));
            sa.next_task(cx, now);
        }
        if let Some(redundant) = redundant {
            if let Some(sa) = self.sas.get_mut(&redundant).and_then(IkeSa::v2) {
                sa.replaced_by = Some(id);
            }
            let doubtful = self.sas.get_mut(&redundant).and_then(IkeSa::v2).is_some_and(|sa| v2::doubtful(sa));
            self.awaits_delete(now, redundant, id, if doubtful { v2::PATIENCE } else { PATIENCE });
        }
        match (inherits, maker) {
            // RFC 7296 section 2.18: the end that made the new IKE SA deletes the old one.
            (true, true) => self.retire(now, old, id),
            (true, false) => self.awaits_delete(now, old, id, PATIENCE),
            // The loser of two.
            (false, true) => {
                let heir = self.sas.get(&id).and_then(IkeSa::heir);
                heir.into_iter().for_each(|heir| self.awaits_delete(now, id, heir, v2::STAYS));
            }
            (false, false) => {}
        }
    }

    /// An IKE SA that the peer is going to delete has an heir. Should the peer not do it in this time, we do.
    pub(super) fn awaits_delete(&mut self, now: Instant, old: SaId, heir: SaId, patience: Duration) {
        self.inherit(now, old, heir);
        let Some(sa) = self.sas.get_mut(&old).and_then(IkeSa::v2) else { return };
        (sa.rekey_at, sa.reauth_at, sa.expires) = (None, None, Some(now + patience));
        sa.arm_lifetime(&mut self.cx);
        self.cx.timers.cancel(old, Reason::Liveness);
        self.cx.timers.cancel(old, Reason::Keepalive);
    }

    /// Both ends rekeyed the IKE SA, and the one that the peer made is the one that stays.
    pub(super) fn peers_is_the_one(&mut self, now: Instant, old: SaId, heir: SaId) {
        self.awaits_delete(now, old, heir, PATIENCE);
        if let (cx, Some(sa)) = (&mut self.cx, self.sas.get_mut(&heir).and_then(IkeSa::v2)) {
            v2::prove_children(sa, cx, now);
        }
    }

    /// Both ends rekey the IKE SA, and the peer speaks of Child SAs under the one that it made: that is the one.
    pub(super) fn peer_has_decided(&mut self, now: Instant, heir: SaId) {
        if let Some(old) = self.sas.with_heir(heir).first().copied() {
            self.inherit(now, old, heir);
        }
    }

    /// Child SAs, their timers and what is queued for them go to another IKE SA. The data plane notices nothing.
    pub(super) fn inherit(&mut self, now: Instant, old: SaId, heir: SaId) {
        let mut heir = heir;
        while !self.sas.get(&heir).is_some_and(IkeSa::is_established) {
            // It may have been replaced itself meanwhile; a later one has a higher number.
            match self.sas.get(&heir).and_then(IkeSa::heir) {
                Some(next) if next > heir => heir = next,
                _ => return,
            }
        }
        let Some(sa) = self.sas.get_mut(&old).and_then(IkeSa::v2) else { return };
        let children = std::mem::take(&mut sa.children);
        let replaces = sa.replaces.take();
        let addresses = std::mem::take(&mut sa.virtual_addresses);
        let goes_on = |t: &Task| t.is_of_child() || matches!(t, Task::TellLifetime { .. });
        let of_addresses = |t: &Task| matches!(t, Task::UpdateAddresses { .. } | Task::TellAddresses);
        // Whether the peer heard of an update under way it does not tell, and under the old IKE SA it obeys none any more.
        let update = sa.queue.iter().chain(sa.pending.tasks()).find(|t| of_addresses(t)).cloned();
        let (mut tasks, stay): (Vec<Task>, Vec<Task>) =
            sa.queue.drain(..).filter(|t| !of_addresses(t) && *t != Task::TellMore).partition(goes_on);
        tasks.splice(0..0, update);
        sa.queue.extend(stay);
        for child in &children {
            for reason in [Reason::ChildLifetime(child.id), Reason::Idle(child.id)] {
                if let Some(at) = self.cx.timers.deadline(old, reason) {
                    self.cx.timers.cancel(old, reason);
                    self.cx.timers.set(heir, reason, at);
                }
            }
        }
        if let Some(sa) = self.sas.get_mut(&heir).and_then(IkeSa::v2) {
            sa.undecided = false;
            sa.children.extend(children);
            sa.replaces = sa.replaces.or(replaces); // what is still to be made there before the other goes
            sa.virtual_addresses.extend(addresses);
            let asked_to_end =
                sa.queue.iter().position(|t| matches!(t, Task::DeleteIke { .. })).unwrap_or(sa.queue.len());
            for (at, task) in tasks.into_iter().enumerate() {
                sa.queue.insert(asked_to_end + at, task);
            }
            sa.next_task(&mut self.cx, now);
        }
        self.twin_inherits(now, old, heir);
    }
}
