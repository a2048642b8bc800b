//! An SA of either version, as the endpoint sees it.
//!
//! The versions share what an SA *is* (names, addresses, children, lifetimes) and nothing of what it *does*: a `match`,
//! no trait.

use crate::child::{ChildSa, Left};
use crate::context::Context;
use crate::v1::{self, IsakmpSa};
use crate::v2::{self, Creating, Task, Verdict};
use config::Connection;
use model::dataplane::ShuntInstall;
use model::{FailureKind, Identity, Instant, Role, SaId, SaSnapshot, Tombstone};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::IkeSpi;

/// An IKE SA (IKEv2) or ISAKMP SA (IKEv1).
pub(crate) enum IkeSa {
    V1(Box<IsakmpSa>),
    V2(Box<v2::IkeSa>),
}

macro_rules! either {
    ($self:expr, $sa:ident => $value:expr) => {
        match $self {
            IkeSa::V1($sa) => $value,
            IkeSa::V2($sa) => $value,
        }
    };
}

impl IkeSa {
    pub fn id(&self) -> SaId {
        either!(self, sa => sa.id)
    }

    pub fn role(&self) -> Role {
        either!(self, sa => sa.role)
    }

    pub fn own_spi(&self) -> IkeSpi {
        either!(self, sa => sa.own_spi())
    }

    pub fn name(&self) -> &str {
        either!(self, sa => sa.name())
    }

    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        either!(self, sa => (sa.local, sa.remote))
    }

    pub fn connection(&self) -> Option<&Arc<Connection>> {
        either!(self, sa => sa.connection.as_ref())
    }

    pub fn is_closed(&self) -> bool {
        either!(self, sa => sa.is_closed())
    }

    pub fn is_established(&self) -> bool {
        either!(self, sa => sa.is_established())
    }

    pub fn is_half_open(&self) -> bool {
        either!(self, sa => sa.is_half_open())
    }

    /// Whether it began at the peer, which has not proved itself: these are limited.
    pub fn counts_as_half_open(&self) -> bool {
        match self {
            Self::V1(sa) => sa.is_half_open_responder(),
            Self::V2(sa) => sa.is_unproven(),
        }
    }

    /// Whether it was ever established.
    pub fn was_established(&self) -> bool {
        either!(self, sa => sa.established.is_some())
    }

    /// Whether only Child SAs are left of it (IKEv1).
    pub fn is_orphaned(&self) -> bool {
        matches!(self, Self::V1(sa) if sa.is_orphaned())
    }

    /// Whether this end can begin a new one with the same peer. IKEv1: the initiator.
    pub fn can_begin_anew(&self) -> bool {
        match self {
            Self::V1(sa) => sa.role == Role::Initiator,
            Self::V2(sa) => sa.can_begin_anew(),
        }
    }

    /// IKEv1: whether it ended because nothing that counts came in answer, whatever was said without protection.
    pub fn gave_up_unanswered(&self) -> bool {
        matches!(self, Self::V1(sa) if sa.gave_up)
    }

    /// Whether a message of its peer cannot be judged before a revocation list is fetched.
    pub fn waits_for_list(&self) -> bool {
        match self {
            Self::V1(sa) => sa.parked.is_some(),
            Self::V2(sa) => sa.waits_for_list(),
        }
    }

    /// Its Child SAs but those that we are about to delete ourselves, other than because their time is over.
    pub fn children_to_keep(&self) -> impl Iterator<Item = &ChildSa> {
        let ended = |spi: u32| match self {
            Self::V1(_) => false, // there a Delete is not answered
            Self::V2(sa) => sa.asks_to_end_child(spi).is_some_and(|reason| *reason != FailureKind::Expired),
        };
        self.children().iter().filter(move |child| !ended(child.spi_in))
    }

    /// When its first message was sent or came.
    pub fn created(&self) -> Instant {
        either!(self, sa => sa.created)
    }

    /// Whether it was up before this moment.
    pub fn established_before(&self, at: Instant) -> bool {
        either!(self, sa => sa.established).is_some_and(|established| established < at)
    }

    pub fn datagrams_in(&self) -> u32 {
        either!(self, sa => sa.datagrams_in)
    }

    pub fn attempt(&self) -> u32 {
        either!(self, sa => sa.attempt)
    }

    pub fn replaces(&self) -> Option<SaId> {
        either!(self, sa => sa.replaces)
    }

    pub fn take_replaces(&mut self) -> Option<SaId> {
        either!(self, sa => sa.replaces.take())
    }

    /// That a new one takes its place is under way; should that fail, it ends then (IKEv2) or when its timer fires.
    pub fn replacement_begun(&mut self, end: Instant) {
        match self {
            Self::V1(sa) => (sa.replace_at, sa.dying) = (None, true),
            Self::V2(sa) => (sa.rekey_at, sa.reauth_at, sa.expires) = (None, None, Some(end)),
        }
    }

    /// Whether its peer makes IKE SAs without a Child SA (RFC 6023).
    pub fn can_be_childless(&self) -> bool {
        matches!(self, Self::V2(sa) if sa.peer_does_childless)
    }

    /// The IKE SA that takes over the Child SAs of this one, or has done so (IKEv1).
    pub fn heir(&self) -> Option<SaId> {
        match self {
            Self::V1(sa) => sa.replaced_by,
            Self::V2(sa) => sa.heir(),
        }
    }

    /// IKEv2: the IKE SA in whose place the peer made this one, as long as the peer has not deleted that.
    pub fn predecessor(&self) -> Option<SaId> {
        match self {
            Self::V1(_) => None,
            Self::V2(sa) => sa.predecessor,
        }
    }

    /// Our SPI of the IKE SA that a rekeying of ours makes of this one.
    pub fn rekeyed_as(&self) -> Option<IkeSpi> {
        match self {
            Self::V1(_) => None,
            Self::V2(sa) => sa.pending.creating().find_map(Creating::new_spi),
        }
    }

    pub fn set_replaces(&mut self, old: SaId) {
        either!(self, sa => sa.replaces = Some(old));
    }

    /// The IKEv2 SA, if it is one.
    pub fn v1(&mut self) -> Option<&mut IsakmpSa> {
        match self {
            Self::V1(sa) => Some(sa),
            Self::V2(_) => None,
        }
    }

    /// What its peer lets pass in the clear.
    pub fn bypasses(&self) -> &[ShuntInstall] {
        match self {
            Self::V1(sa) => &sa.bypasses,
            Self::V2(_) => &[],
        }
    }

    pub fn v2(&mut self) -> Option<&mut v2::IkeSa> {
        match self {
            Self::V1(_) => None,
            Self::V2(sa) => Some(sa),
        }
    }

    pub fn children(&self) -> &[ChildSa] {
        either!(self, sa => &sa.children)
    }

    /// The Child SAs that it has or makes, but for those that we are about to delete, with it or by themselves: these are no
    /// reason not to begin anew.
    pub fn lasting_children(&self) -> impl Iterator<Item = &ChildSa> {
        self.children().iter().filter(|child| match self {
            Self::V1(_) => true, // there a Delete is not answered: what is deleted is gone
            Self::V2(sa) => !sa.is_leaving() && !sa.is_child_leaving(child),
        })
    }

    /// The names of those, and of what the IKE SA had in whose place this one is being made.
    pub fn carries(&self) -> Vec<String> {
        let there = self.lasting_children().map(|child| child.name.clone());
        there.chain(self.left().map(|left| left.names.clone()).unwrap_or_default()).collect()
    }

    /// What the SA had that this one is to replace, if that ended before this one was up.
    pub fn left(&self) -> Option<&Left> {
        match self {
            Self::V1(_) => None, // there the Child SAs themselves go on
            Self::V2(sa) => Some(&sa.left),
        }
    }

    pub fn take_children(&mut self) -> Vec<ChildSa> {
        either!(self, sa => std::mem::take(&mut sa.children))
    }

    /// Both identities, once both are known.
    pub fn identities(&self) -> Option<(Identity, Identity)> {
        match self {
            Self::V1(sa) => sa.identities(),
            Self::V2(sa) => Some((sa.local_id.clone()?, sa.remote_id.clone()?)),
        }
    }

    pub fn snapshot(&self, cx: &Context, now: Instant) -> SaSnapshot {
        either!(self, sa => sa.snapshot(cx, now))
    }

    pub fn tombstone(&self, cx: &Context, now: Instant, kind: FailureKind) -> Tombstone {
        either!(self, sa => sa.tombstone(cx, now, kind, None))
    }

    pub fn close(&mut self, cx: &mut Context, now: Instant) {
        either!(self, sa => sa.close(cx, now));
    }

    pub fn log(&self, cx: &mut Context, group: &'static str, level: u8, text: String) {
        cx.step(self.id(), self.name(), group, level, text);
    }

    /// A request was not answered in time.
    pub fn retransmit(&mut self, cx: &mut Context, now: Instant) -> Verdict {
        match self {
            Self::V1(sa) => sa.retransmit(cx, now).into(),
            Self::V2(sa) => sa.retransmit(cx, now),
        }
    }

    /// The initiator has not gone on.
    pub fn half_open_timeout(&self, now: Instant) -> Verdict {
        match self {
            Self::V1(sa) => Verdict::End(sa.half_open_failure(now)),
            Self::V2(sa) => match sa.waiting_for() {
                Some(waiting_for) => Verdict::End(FailureKind::HalfOpen {
                    waiting_for,
                    after: now.since(sa.created),
                    repeated: sa.retransmissions.answered,
                }),
                None => Verdict::Keep,
            },
        }
    }

    /// Nothing was heard for a while.
    pub fn check_liveness(&mut self, cx: &mut Context, now: Instant) -> Verdict {
        match self {
            Self::V1(sa) => v1::probe(sa, cx, now).into(),
            Self::V2(sa) => {
                sa.check_liveness(cx, now);
                Verdict::Keep
            }
        }
    }

    /// Ends the SA at both ends. IKEv2 waits for the peer's answer; IKEv1 has none.
    pub fn delete(&mut self, cx: &mut Context, now: Instant, reason: FailureKind) -> Verdict {
        match self {
            Self::V1(sa) => {
                v1::delete_isakmp(sa, cx);
                Verdict::End(reason)
            }
            Self::V2(sa) => {
                sa.queue.clear(); // nothing else matters any more
                sa.enqueue(cx, now, Task::DeleteIke { reason });
                Verdict::Keep
            }
        }
    }

    /// Ends the SA here at once; the peer is told when there is room for that.
    pub fn delete_by_force(&mut self, cx: &mut Context, now: Instant, reason: FailureKind) -> Verdict {
        let verdict = self.delete(cx, now, reason.clone());
        match self {
            Self::V1(_) => verdict,
            Self::V2(sa) => {
                v2::prepare_farewell(sa, cx);
                Verdict::End(reason)
            }
        }
    }

    /// Ends a Child SA at both ends. With `force` it is gone here at once.
    pub fn delete_child(&mut self, cx: &mut Context, now: Instant, child: SaId, reason: FailureKind, force: bool) {
        match self {
            Self::V1(sa) => v1::delete_child(sa, cx, now, child, reason),
            Self::V2(sa) => {
                if force {
                    return v2::force_child(sa, cx, now, child, reason);
                }
                let Some(spi) = sa.children.iter().find(|c| c.id == child).map(|c| c.spi_in) else { return };
                sa.enqueue(cx, now, Task::DeleteChild { spi, reason });
            }
        }
    }

    /// ESP comes from another address of the peer: the end that is not behind the NAT follows (RFC 7296 section 2.23,
    /// RFC 3947 section 5). With MOBIKE only ESP does, and not to where the peer says it is not any more: a packet from there
    /// was late (RFC 4555 section 3.8).
    pub fn follow(&mut self, cx: &mut Context, remote: SocketAddr) {
        let (behind_nat, old) = either!(self, sa => (sa.nat.remote, sa.remote));
        let mobile = self.v2().is_some_and(|sa| sa.mobility.enabled);
        let left = self.v2().is_some_and(|sa| sa.mobility.has_left(remote.ip()));
        if !behind_nat || left || (old == remote && !mobile) {
            return;
        }
        self.log(cx, "NET", 1, format!("ESP comes from {remote}: following"));
        let local = either!(self, sa => sa.local);
        if !mobile {
            either!(self, sa => sa.remote = remote);
        }
        if let Self::V2(sa) = self {
            if mobile {
                sa.mobility.esp_from(remote);
            } else {
                sa.note_peer(cx);
            }
        }
        for child in self.children() {
            child.update(cx, local, remote, true);
        }
    }
}

impl From<Option<FailureKind>> for Verdict {
    fn from(end: Option<FailureKind>) -> Self {
        end.map_or(Self::Keep, Self::End)
    }
}
