//! MOBIKE (RFC 4555): an IKE SA and its Child SAs move to other addresses.
//!
//! ```text
//! HDR, SK {N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_SOURCE_IP), N(NAT_DETECTION_DESTINATION_IP)}  -->
//!                                                <--  HDR, SK {N(NAT_DETECTION_*)}      or N(UNACCEPTABLE_ADDRESSES)
//! HDR, SK {N(ADDITIONAL_*_ADDRESS)+ or N(NO_ADDITIONAL_ADDRESSES)}  -->
//!                                                <--  HDR, SK {}
//!                                                <--  HDR, SK {N(COOKIE2)}              is the initiator really there?
//! HDR, SK {N(COOKIE2)}  -->
//! ```
//!
//! The initiator of the IKE SA decides which addresses are used (section 3.5). The responder follows at once and checks
//! afterwards that the initiator receives at its new address (section 3.7 leaves the order to it).

use super::exchange::{Path, Request, Task, Verdict};
use super::nat;
use super::sa::{IkeSa, State};
use crate::context::Context;
use crate::endpoint::Output;
use crate::timers::Reason;
use config::{AddressPattern, Connection, SelectorPattern};
use model::dataplane::{Command, VirtualAddress};
use model::{FailureKind, Instant, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId};

/// More addresses than this are not taken from a peer, nor told to one.
const MAX_ADDRESSES: usize = 16;

/// More pairs of addresses than this are not tried at once.
const MAX_PATHS: usize = 8;

/// A request is repeated so often where it went first before other pairs of addresses are tried as well.
const LOYALTY: u32 = 1;

/// Octets of COOKIE2: RFC 4555 section 4.2.5 has 8 to 64, and they must not be guessed.
pub(super) const COOKIE_LEN: usize = 16;

/// What an IKE SA knows about moving.
#[derive(Clone, Default)]
pub(crate) struct Mobility {
    /// Both ends do MOBIKE.
    pub enabled: bool,
    /// Who began the first IKE SA: rekeying does not change who decides about addresses.
    pub decides: bool,
    /// Further addresses of the peer.
    pub peer: Vec<IpAddr>,
    /// Where the peer was before it said that it is elsewhere.
    left: Option<IpAddr>,
    /// Where its last request or ESP came from, if that is not where it is by what it said.
    heard_at: Option<SocketAddr>,
    /// How often our addresses changed: an answer to an earlier update counts no more.
    pub generation: u32,
    /// How the peer sees us, as it hashed it last: with another value a NAT has a new mapping for us (section 3.8).
    seen_as: Option<[u8; 20]>,
}

impl Mobility {
    /// Whether the peer has told that it is not there any more.
    pub fn has_left(&self, address: IpAddr) -> bool {
        self.enabled && self.left == Some(address)
    }

    /// Its ESP comes from there.
    pub fn esp_from(&mut self, remote: SocketAddr) {
        self.heard_at = Some(remote);
    }
}

fn plain(chain: &mut ChainBuilder, kind: NotifyType, data: &[u8]) {
    chain.notify(ProtocolId::NONE, &[], kind, data);
}

/// Offers MOBIKE in IKE_AUTH, or agrees to it, with our other addresses (section 3.4).
pub(super) fn announce(sa: &IkeSa, cx: &Context, chain: &mut ChainBuilder) {
    plain(chain, NotifyType::MOBIKE_SUPPORTED, &[]);
    for address in others(sa, cx) {
        additional(chain, address);
    }
}

/// Our addresses beside the one in use.
fn others(sa: &IkeSa, cx: &Context) -> Vec<IpAddr> {
    let own = cx.addresses.iter().copied().filter(|a| *a != sa.local.ip());
    own.take(MAX_ADDRESSES).collect()
}

fn additional(chain: &mut ChainBuilder, address: IpAddr) {
    match address {
        IpAddr::V4(a) => plain(chain, NotifyType::ADDITIONAL_IP4_ADDRESS, &a.octets()),
        IpAddr::V6(a) => plain(chain, NotifyType::ADDITIONAL_IP6_ADDRESS, &a.octets()),
    }
}

/// What the peer's message says about its other addresses, if it says anything.
fn addresses(chain: &Chain<'_>) -> Option<Vec<IpAddr>> {
    let none = chain.notify(NotifyType::NO_ADDITIONAL_ADDRESSES).is_some();
    let one = |n: &wire::v2::Notify<'_>| match n.kind {
        NotifyType::ADDITIONAL_IP4_ADDRESS => <[u8; 4]>::try_from(n.data).ok().map(|a| Ipv4Addr::from(a).into()),
        NotifyType::ADDITIONAL_IP6_ADDRESS => <[u8; 16]>::try_from(n.data).ok().map(|a| Ipv6Addr::from(a).into()),
        _ => None,
    };
    let usable = |a: &IpAddr| !a.is_unspecified() && !a.is_loopback() && !a.is_multicast();
    let all: Vec<IpAddr> = chain.notifies().filter_map(one).filter(usable).take(MAX_ADDRESSES).collect();
    (none || !all.is_empty()).then_some(all)
}

/// IKE_AUTH: whether both ends do MOBIKE. `decides`: we began the IKE SA.
pub(super) fn agree(sa: &mut IkeSa, cx: &mut Context, connection: &Connection, chain: &Chain<'_>, decides: bool) {
    if !connection.mobike || chain.notify(NotifyType::MOBIKE_SUPPORTED).is_none() {
        return;
    }
    sa.mobility =
        Mobility { enabled: true, decides, peer: addresses(chain).unwrap_or_default(), ..Mobility::default() };
    sa.log(cx, "IKE", 2, "the peer supports MOBIKE".to_string());
}

/// The `NAT_DETECTION_DESTINATION_IP` of a message: how the sender sees us.
fn seen_as(chain: &Chain<'_>) -> Option<[u8; 20]> {
    chain.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).and_then(|n| n.data.try_into().ok())
}

fn forced(sa: &IkeSa) -> bool {
    sa.connection.as_ref().is_some_and(|c| c.encap)
}

fn detect_nat(sa: &IkeSa, cx: &mut Context, chain: &mut ChainBuilder) {
    // With `encap = yes` the peer is to find a NAT wherever we are.
    let pretend = forced(sa).then(|| cx.random());
    nat::announce(chain, sa.spis, sa.local, sa.remote, pretend);
}

/// A selector that is the address of an end itself moves with that end, if it was written as `dynamic`; virtual addresses
/// stay.
fn moved(list: &[TrafficSelector], written: &[SelectorPattern], from: IpAddr, to: IpAddr) -> Vec<TrafficSelector> {
    let dynamic = written.iter().any(|p| matches!(p, SelectorPattern::Dynamic { .. }));
    let is_end = |ts: &TrafficSelector| dynamic && (ts.start, ts.end) == (from, from) && from.is_ipv4() == to.is_ipv4();
    list.iter().map(|ts| if is_end(ts) { TrafficSelector { start: to, end: to, ..*ts } } else { *ts }).collect()
}

impl IkeSa {
    /// Uses other addresses from now on: for IKE messages, for the Child SAs and for virtual addresses of ours.
    pub(crate) fn move_to(&mut self, cx: &mut Context, local: SocketAddr, remote: SocketAddr) {
        let (from, to) = ((self.local, self.remote), (local, remote));
        if from == to {
            return;
        }
        self.log(cx, "NET", 1, format!("moving from {}...{} to {local}...{remote}", from.0, from.1));
        (self.local, self.remote) = to;
        self.narrow_path = false; // another path takes what that takes
        self.note_peer(cx);
        if from.0.ip() != local.ip() {
            for address in &self.virtual_addresses.own {
                let at = |outer: SocketAddr| VirtualAddress { ike: self.id, address: *address, outer: outer.ip() };
                cx.outputs.push_back(Output::RemoveAddress(at(from.0)));
                cx.outputs.push_back(Output::AddAddress(at(local)));
            }
        }
        self.update_children(cx);
        let Some(connection) = self.connection.clone() else { return };
        for child in self.children.iter_mut().filter(|c| c.is_installed() && !c.retired) {
            let Some(config) = connection.children.iter().find(|c| c.name == child.name) else { continue };
            let local_ts = moved(&child.local_ts, &config.local_ts, from.0.ip(), local.ip());
            let remote_ts = moved(&child.remote_ts, &config.remote_ts, from.1.ip(), remote.ip());
            if (&local_ts, &remote_ts) == (&child.local_ts, &child.remote_ts) {
                continue;
            }
            let (before, after) = ((&child.local_ts[..], &child.remote_ts[..]), (&local_ts[..], &remote_ts[..]));
            cx.move_reqid(before, after, child.binding, child.reqid);
            (child.local_ts, child.remote_ts) = (local_ts.clone(), remote_ts.clone());
            cx.plane(Command::Reselect { child: child.id, local_ts, remote_ts });
        }
    }

    fn update_children(&self, cx: &mut Context) {
        for child in &self.children {
            child.update(cx, self.local, self.remote, self.nat.any());
        }
    }

    /// What the peer's notifications say about NATs on this path (section 3.5); none, nothing.
    fn note_nat(&mut self, cx: &mut Context, now: Instant, chain: &Chain<'_>) {
        if chain.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_none() {
            return;
        }
        let found = nat::detect(chain, self.spis, self.local, self.remote, forced(self));
        self.mobility.seen_as = seen_as(chain);
        if found != self.nat {
            let encapsulated = self.nat.any();
            self.nat = found;
            if found.any() != encapsulated {
                self.update_children(cx);
            }
            if found.local && !cx.settings.keepalive.is_zero() {
                cx.timers.set(self.id, Reason::Keepalive, now + cx.settings.keepalive);
            } else {
                cx.timers.cancel(self.id, Reason::Keepalive);
            }
        }
    }

    /// Our addresses changed, and `local` is the one to reach the peer from, at `remote` (section 3.5).
    pub(crate) fn roam(&mut self, cx: &mut Context, now: Instant, local: IpAddr, remote: IpAddr) {
        let to = (SocketAddr::new(local, self.local.port()), SocketAddr::new(remote, self.remote.port()));
        self.mobility.generation = self.mobility.generation.wrapping_add(1);
        self.move_to(cx, to.0, to.1);
        self.queue.retain(|t| !matches!(t, Task::UpdateAddresses { .. } | Task::TellAddresses));
        // Section 3.5: what is under way goes on at the new addresses, at once.
        for pending in self.pending.iter() {
            self.datagrams_out += 1;
            cx.transmit_all(self.local, self.remote, pending.message.clone());
        }
        if !self.can_move() {
            return; // it is on its end, or another one has its Child SAs
        }
        let task = match self.mobility.decides {
            true => Task::UpdateAddresses { generation: self.mobility.generation },
            false => Task::TellAddresses, // section 3.6: the initiator is to choose
        };
        self.queue.push_front(task);
        self.next_task(cx, now);
    }

    /// Our set of addresses changed, but not the one in use (section 3.6).
    pub(crate) fn tell_addresses(&mut self, cx: &mut Context, now: Instant) {
        // One that is under way says what was before.
        if !self.queue.contains(&Task::TellAddresses) {
            self.queue.push_back(Task::TellAddresses);
        }
        self.next_task(cx, now);
    }

    /// Whether its messages have to come from an address of ours that is there: until its end is confirmed, too.
    pub(crate) fn is_mobile(&self) -> bool {
        self.mobility.enabled && matches!(self.state, State::Established(_) | State::Deleting(_))
    }

    /// Whether it is up and can move.
    pub(crate) fn can_move(&self) -> bool {
        self.mobility.enabled && self.is_established() && self.heir().is_none()
    }
}

/// The contents of a request of ours.
pub(super) fn write(sa: &IkeSa, cx: &mut Context, task: &Task, chain: &mut ChainBuilder) {
    match task {
        Task::UpdateAddresses { .. } => {
            plain(chain, NotifyType::UPDATE_SA_ADDRESSES, &[]);
            detect_nat(sa, cx, chain);
            tell(sa, cx, chain);
        }
        Task::TellAddresses => tell(sa, cx, chain),
        Task::Routability { cookie } => plain(chain, NotifyType::COOKIE2, cookie),
        // Section 3.8: behind a NAT we look whether the peer still sees us where it did.
        Task::Liveness if sa.mobility.enabled && sa.mobility.decides && sa.nat.local => detect_nat(sa, cx, chain),
        _ => {}
    }
}

/// Section 3.6: the complete list, or that there is none.
fn tell(sa: &IkeSa, cx: &Context, chain: &mut ChainBuilder) {
    let others = others(sa, cx);
    if others.is_empty() {
        plain(chain, NotifyType::NO_ADDITIONAL_ADDRESSES, &[]);
    }
    others.into_iter().for_each(|address| additional(chain, address));
}

/// The peer answered one of those.
pub(super) fn answered(sa: &mut IkeSa, cx: &mut Context, now: Instant, task: &Task, chain: &Chain<'_>) -> Verdict {
    match task {
        Task::UpdateAddresses { generation } if *generation == sa.mobility.generation => {
            let refusal = [NotifyType::UNACCEPTABLE_ADDRESSES, NotifyType::UNEXPECTED_NAT_DETECTED];
            if let Some(notify) = refusal.into_iter().find(|kind| chain.notify(*kind).is_some()) {
                // The peer stays where it was, where we are not any more.
                return Verdict::End(FailureKind::PeerRefused { phase: model::Phase::Ike, notify });
            }
            sa.note_nat(cx, now, chain);
        }
        // Of the first one it is not known what was before: section 3.8 calls an update in vain harmless.
        Task::Liveness
            if sa.can_move()
                && sa.mobility.decides
                && seen_as(chain).is_some_and(|seen| sa.mobility.seen_as != Some(seen)) =>
        {
            sa.mobility.seen_as = seen_as(chain);
            sa.mobility.generation = sa.mobility.generation.wrapping_add(1);
            sa.enqueue(cx, now, Task::UpdateAddresses { generation: sa.mobility.generation });
        }
        // Section 3.7: MUST be closed if the values do not match.
        Task::Routability { cookie }
            if chain.notify(NotifyType::COOKIE2).is_none_or(|n| !crypto::equal(n.data, cookie)) =>
        {
            let reason = FailureKind::MessageInvalid {
                rule: wire::grammar::RuleId::InformationalResponse,
                missing: "the COOKIE2 of the request".to_string(),
            };
            sa.queue.clear();
            sa.enqueue(cx, now, Task::DeleteIke { reason });
        }
        _ => {}
    }
    Verdict::Keep
}

/// Whether an address pair from an IP header is what NO_NATS_ALLOWED says: source and destination, then the ports
/// (section 4.2.6).
fn without_nat(data: &[u8], path: Path) -> bool {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    let ports = [path.remote.port().to_be_bytes(), path.local.port().to_be_bytes()].concat();
    data == [octets(path.remote.ip()), octets(path.local.ip()), ports].concat()
}

/// What an INFORMATIONAL request of the peer says about addresses.
pub(super) fn serve(sa: &mut IkeSa, cx: &mut Context, now: Instant, request: &Request<'_>, reply: &mut ChainBuilder) {
    let (chain, path) = (request.chain, request.path);
    if let Some(cookie) = chain.notify(NotifyType::COOKIE2) {
        plain(reply, NotifyType::COOKIE2, cookie.data); // section 3.7: as it is
    }
    if !sa.can_move() {
        return;
    }
    let update = chain.notify(NotifyType::UPDATE_SA_ADDRESSES).is_some();
    let told = addresses(chain);
    if (update || told.is_some())
        && let Some(claimed) = chain.notify(NotifyType::NO_NATS_ALLOWED)
        && !without_nat(claimed.data, path)
    {
        sa.log(cx, "NET", 1, format!("the peer allows no NAT, but its message comes from {}", path.remote));
        plain(reply, NotifyType::UNEXPECTED_NAT_DETECTED, &[]);
        return;
    }
    if let Some(told) = told {
        let left = sa.mobility.decides && path.remote.ip() != sa.remote.ip() && !told.contains(&sa.remote.ip());
        sa.mobility.peer = told;
        if left {
            // Section 3.5: the responder is not any more where we send to.
            sa.roam(cx, now, path.local.ip(), path.remote.ip());
        }
    }
    let asks_for_nat = chain.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some();
    if update && !sa.mobility.decides {
        let before = sa.remote.ip();
        if before != path.remote.ip() {
            sa.mobility.left = Some(before);
        }
        sa.move_to(cx, path.local, path.remote);
        sa.note_nat(cx, now, chain);
        if before != path.remote.ip() {
            sa.queue.retain(|t| !matches!(t, Task::Routability { .. }));
            sa.queue.push_back(Task::Routability { cookie: cx.random::<COOKIE_LEN>() });
        }
    }
    if asks_for_nat {
        // Section 3.8: about the addresses of this very message.
        let pretend = forced(sa).then(|| cx.random());
        nat::announce(reply, sa.spis, path.local, path.remote, pretend);
    }
}

/// Where the addresses of the peer's first IKE_AUTH request differ from what it says and it allows no NAT (section 3.9).
pub(super) fn forbidden_nat(chain: &Chain<'_>, path: Path) -> bool {
    chain.notify(NotifyType::NO_NATS_ALLOWED).is_some_and(|claimed| !without_nat(claimed.data, path))
}

/// Where else the peer may be, and where else we may be seen from: each pair of addresses of one version of IP beside the one
/// in use. Only the initiator looks for another path (section 3.11).
fn other_paths(sa: &IkeSa, cx: &Context) -> Vec<(SocketAddr, SocketAddr)> {
    if !sa.can_move() || !sa.mobility.decides {
        return Vec::new();
    }
    let allowed = |a: &IpAddr| sa.connection.as_ref().is_none_or(|c| c.local_addrs.iter().any(|p| p.matches(*a)));
    let ours = || std::iter::once(sa.local.ip()).chain(others(sa, cx).into_iter().filter(allowed));
    let theirs =
        std::iter::once(sa.remote.ip()).chain(sa.mobility.peer.iter().copied().filter(|a| *a != sa.remote.ip()));
    let pairs = theirs.flat_map(|remote| ours().map(move |local| (local, remote)));
    // An address within the networks of a tunnel, where the one in use is not, is an inner one: no way leads there but the
    // tunnel itself.
    let holds = |ts: &TrafficSelector, a: IpAddr| ts.start <= a && a <= ts.end;
    let inner = |all: &[TrafficSelector], a: IpAddr, now: IpAddr| all.iter().any(|ts| holds(ts, a) && !holds(ts, now));
    let within = |local: IpAddr, remote: IpAddr| {
        sa.children.iter().any(|child| {
            inner(&child.local_ts, local, sa.local.ip()) || inner(&child.remote_ts, remote, sa.remote.ip())
        })
    };
    let usable = |(local, remote): &(IpAddr, IpAddr)| {
        local.is_ipv4() == remote.is_ipv4()
            && (*local, *remote) != (sa.local.ip(), sa.remote.ip())
            && !within(*local, *remote)
    };
    let with_ports =
        |(local, remote)| (SocketAddr::new(local, sa.local.port()), SocketAddr::new(remote, sa.remote.port()));
    pairs.filter(usable).take(MAX_PATHS).map(with_ports).collect()
}

/// Whether a request that was repeated so often is tried on other paths.
pub(super) fn probes(resent: u32) -> bool {
    resent > LOYALTY
}

/// Notes where an authentic request came from that moves nothing (section 3.8).
pub(super) fn heard(sa: &mut IkeSa, path: Path) {
    sa.mobility.heard_at = Some(path.remote).filter(|remote| *remote != sa.remote && !follows_messages(sa));
}

/// Where a peer behind a NAT may be, whose mapping has changed and which has not noticed: strongSwan compares with what it was
/// told at its first sign of life, not in IKE_SA_INIT. The update is for the peer to send (section 3.8); until it does, requests
/// of ours would end the IKE SA of a peer that is there.
fn heard_at(sa: &IkeSa) -> Option<SocketAddr> {
    let stays = sa.can_move() && !sa.mobility.decides && sa.nat.remote;
    sa.mobility.heard_at.filter(|at| stays && *at != sa.remote && !sa.mobility.has_left(at.ip()))
}

/// The peer does not answer where it was: the request under way, which any path may bring, tests them all (section 3.10).
pub(super) fn probe(sa: &mut IkeSa, cx: &mut Context, resent: u32, message: &[Vec<u8>]) {
    if !probes(resent) {
        return;
    }
    if let Some(heard_at) = heard_at(sa) {
        if resent == LOYALTY + 1 {
            sa.log(
                cx,
                "NET",
                1,
                format!("no answer at {}: trying {heard_at}, where its messages or ESP come from", sa.remote),
            );
        }
        sa.datagrams_out += 1;
        cx.transmit_all(sa.local, heard_at, message.to_vec());
    }
    let paths = other_paths(sa, cx);
    for (local, remote) in &paths {
        if resent == LOYALTY + 1 {
            sa.log(cx, "NET", 1, format!("no answer at {}: trying {}...{}", sa.remote.ip(), local.ip(), remote.ip()));
        }
        sa.datagrams_out += 1;
        cx.transmit_all(*local, *remote, message.to_vec());
    }
}

/// The answer to a request that tested other paths came by this one: that is the one to use now.
pub(super) fn answered_by(sa: &mut IkeSa, cx: &mut Context, now: Instant, path: Path) {
    let by = (path.local.ip(), path.remote.ip());
    if other_paths(sa, cx).iter().any(|(local, remote)| (local.ip(), remote.ip()) == by) {
        sa.roam(cx, now, by.0, by.1);
    }
}

/// The ends of an IKE SA that may have to move, and the other addresses of its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movable {
    /// Its number.
    pub sa: model::SaId,
    /// Our end.
    pub local: IpAddr,
    /// Where the peer is.
    pub remote: IpAddr,
    /// Where it may be reached too.
    pub others: Vec<IpAddr>,
    /// Whether we began the IKE SA and choose the path.
    pub decides: bool,
    /// Whether our address is whichever the host has (`local_addrs = %any`).
    pub any_address: bool,
}

impl Movable {
    pub(crate) fn of(sa: &IkeSa) -> Option<Self> {
        let decides = sa.mobility.decides;
        let others = sa.mobility.peer.clone();
        let any = |c: &Connection| c.local_addrs.is_empty() || c.local_addrs.contains(&AddressPattern::Any);
        let any_address = sa.connection.as_deref().is_some_and(any);
        let (local, remote) = (sa.local.ip(), sa.remote.ip());
        sa.is_mobile().then_some(Self { sa: sa.id, local, remote, others, decides, any_address })
    }
}

/// The IKE SA that takes the place of another one can do what that one could.
pub(super) fn inherited(before: &IkeSa) -> Mobility {
    // The hash covers the SPIs, which are others now (section 3.8).
    Mobility { seen_as: None, ..before.mobility.clone() }
}

/// Whether the address in authentic IKE messages is followed without an update: not with MOBIKE (section 3.8), where the
/// peer says so itself.
pub(super) fn follows_messages(sa: &IkeSa) -> bool {
    !(sa.mobility.enabled && sa.is_established())
}
