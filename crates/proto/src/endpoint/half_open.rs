//! First messages: repetitions, limits on what is half-open, cookies, and who answers.

use super::Endpoint;
use crate::context::Counter;
use crate::ike_sa::IkeSa;
use crate::v2::{self, Path};
use config::IkeVersion;
use model::{DropReason, Event, Instant, SaId};
use std::net::{IpAddr, SocketAddr};
use wire::{Header, IkeSpi};

/// What tells one first message from another: two initiators behind one NAT may choose the same SPI, so that only the
/// whole message does (RFC 7296 section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FirstKey {
    pub spi: IkeSpi,
    pub from: SocketAddr,
    pub digest: [u8; 20],
}

impl Endpoint {
    pub(super) fn first_message(&mut self, now: Instant, header: &Header, bytes: &[u8], path: Path) {
        if !header.spis.responder.is_zero() || header.message_id != 0 || !header.from_initiator() {
            return self.unknown_spi(now, header, path);
        }
        let key = FirstKey { spi: header.spis.initiator, from: path.remote, digest: crypto::sha1(&[bytes]) };
        if let Some(sa) = self.first_messages.get(&key).and_then(|id| self.sas.get_mut(id)) {
            let IkeSa::V2(sa) = sa else { return self.unknown_spi(now, header, path) };
            // RFC 7296 section 2.1: the same request again gets the same answer again, and none once IKE_AUTH has come.
            sa.datagrams_in += 1;
            match sa.replies.repeat(header.message_id, bytes) {
                Ok(reply) => {
                    // The first answer is free; somebody else's address gets no more than was sent in its name.
                    let size: usize = reply.iter().map(Vec::len).sum();
                    sa.unproven.0 += bytes.len();
                    if sa.unproven.1 + size > sa.unproven.0 {
                        return sa.drop_datagram(&mut self.cx, DropReason::RepeatLimit, path);
                    }
                    sa.unproven.1 += size;
                    sa.retransmissions.answered += 1;
                    sa.datagrams_out += 1;
                    self.cx.transmit_all(path.local, path.remote, reply);
                }
                Err(reason) => sa.drop_datagram(&mut self.cx, reason, path),
            }
            return;
        }
        self.cx.count(Counter::IkeInitInRequest);
        if let Some(limit) = self.over_half_open_limit(path.remote.ip(), IkeVersion::V2) {
            return self.cx.dropped(limit, path.remote);
        }
        let from_peer = self.half_open.get(&path.remote.ip()).copied().unwrap_or(0);
        let demand = v2::Demand::of(&self.cx.settings, self.half_open_total, from_peer);
        let served = self.serves(header.spis.initiator, path.remote);
        let worked = match v2::admit(&mut self.cx, now, (header, bytes), path, &mut self.gate, (demand, served)) {
            v2::Passage::TurnedAway => return,
            v2::Passage::Free => None,
            v2::Passage::Worked(difficulty) => Some(difficulty),
        };
        // RFC 8019 section 7.2.1: only who solved a puzzle here is given another before IKE_AUTH.
        let puzzle = worked.filter(|_| self.cx.senseless.are_many(now));
        let Some(candidates) = self.candidates(now, path, IkeVersion::V1) else {
            return self.cx.dropped(DropReason::NameUnresolved, path.remote);
        };
        let first = v2::FirstMessage { header, datagram: bytes, path, candidates, puzzle };
        match v2::respond(&mut self.cx, now, first) {
            v2::Response::HalfOpen(sa) => {
                self.cx.senseless.begun(now);
                self.half_open_begun(key, IkeSa::V2(sa));
            }
            v2::Response::Stateless => {}
            v2::Response::Refused(sa, kind) => {
                let tombstone = sa.tombstone(&self.cx, now, kind, None);
                self.cx.event(Event::Ended(Box::new(tombstone)));
            }
            v2::Response::Dropped(reason) => self.cx.dropped(reason, path.remote),
        }
    }

    /// Whether there is an SA already of an initiator with this SPI at this address.
    fn serves(&self, spi: IkeSpi, from: SocketAddr) -> bool {
        let with = |octet| FirstKey { spi, from, digest: [octet; 20] };
        self.first_messages.range(with(0)..=with(u8::MAX)).next().is_some()
    }

    /// Whether there are too many half-open SAs for one more. IKEv1 has nothing like COOKIE, so that spoofed addresses fill what
    /// it may have: half of the places, the others are IKEv2's.
    pub(super) fn over_half_open_limit(&self, peer: IpAddr, version: IkeVersion) -> Option<DropReason> {
        if self.cx.settings.initiator_only {
            return Some(DropReason::InitiatorOnly);
        }
        let over = |limit: usize, now: usize| limit != 0 && now >= limit;
        if over(self.cx.settings.ike_sa_limit, self.sizes().0) {
            return Some(DropReason::IkeSaLimit);
        }
        let limit = self.cx.settings.half_open_limit;
        let share = limit.div_ceil(2);
        if over(limit, self.half_open_total) || (version == IkeVersion::V1 && over(share, self.half_open_v1)) {
            return Some(DropReason::HalfOpenLimit);
        }
        let from_peer = self.half_open.get(&peer).copied().unwrap_or(0);
        over(self.cx.settings.block_threshold, from_peer).then_some(DropReason::HalfOpenLimitPeer)
    }

    pub(super) fn half_open_begun(&mut self, key: FirstKey, sa: IkeSa) {
        self.by_spi.insert(sa.own_spi(), sa.id());
        self.first_messages.insert(key, sa.id());
        self.first_keys.insert(sa.id(), key);
        *self.half_open.entry(key.from.ip()).or_default() += 1;
        self.half_open_total += 1;
        self.half_open_v1 += usize::from(matches!(sa, IkeSa::V1(_)));
        self.sas.insert(sa.id(), sa);
    }

    /// The SA counts as half-open no more, at the address its first message came from: what follows may come from another.
    pub(super) fn leave_half_open(&mut self, id: SaId) {
        let Some(from) = self.first_keys.get(&id).map(|key| key.from.ip()) else { return };
        self.half_open_total = self.half_open_total.saturating_sub(1);
        if matches!(self.sas.get(&id), Some(IkeSa::V1(_))) {
            self.half_open_v1 = self.half_open_v1.saturating_sub(1);
        }
        if let Some(n) = self.half_open.get_mut(&from) {
            *n -= 1;
            if *n == 0 {
                self.half_open.remove(&from);
            }
        }
    }

    /// The first message of this SA may come again, as a new one.
    pub(super) fn forget_first_message(&mut self, id: SaId) {
        if let Some(key) = self.first_keys.remove(&id) {
            self.first_messages.remove(&key);
        }
    }
}
