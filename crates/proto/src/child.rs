//! Child SAs of both versions: what is offered, what is chosen, what is installed (RFC 7296 sections 1.2, 2.9 and 2.17).

use crate::context::Context;
use crate::parts;
use crate::timers::Reason;
use config::{Child, Connection, SelectorPattern};
use crypto::v2::ChildKeys;
use model::dataplane::{Binding, ChildInstall, Command, Counters, EspSa, Mode, TfcPadding};
use model::{
    ChildSnapshot, ChildState, ChosenSuite, FailureKind, Identity, Instant, NatState, Phase, Proposal,
    ProposalProtocol, Role, SaId, Side, TrafficSelector, narrow, select,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::registry::{IntegrityId, TransformType};
use wire::{Secret, v2 as wire_v2};

/// One Child SA, from the wish to its end.
pub(crate) struct ChildSa {
    pub id: SaId,
    pub name: String,
    pub state: ChildState,
    pub spi_in: u32,
    pub spi_out: u32,
    pub reqid: u32,
    pub mode: Mode,
    pub binding: Binding,
    pub suite: Option<ChosenSuite>,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    pub installed: Option<Instant>,
    pub expires: Option<Instant>,
    /// When it is to be replaced, where that is tried earlier once (`pfs_probe`).
    pub due: Option<Instant>,
    /// The Child SA that it succeeds, which carries what we send until it goes.
    pub succeeds: Option<SaId>,
    /// The Child SA whose rekeying makes this one.
    pub rekeys: Option<SaId>,
    /// The identities of its quick mode, where both ends carry less than these say (Unity).
    pub told: Option<Box<Selectors>>,
    /// The packet that asks for it, our side first.
    pub trigger: Option<(TrafficSelector, TrafficSelector)>,
    /// IKEv2: our request that made it as a further Child SA. One of the peer's for the same may have been under way.
    pub asked: Option<Box<Asked>>,
    /// It is asked for once: an operator wants it, and hears of a refusal.
    pub once: bool,
    /// How often it was refused.
    pub refused: u32,
    /// Its keys are those of IKE_AUTH.
    pub of_auth: bool,
    /// The Child SA that has taken its place.
    pub replaced_by: Option<SaId>,
    /// It is deleted by us when the peer has had time to get ready for what takes its place.
    pub goes_soon: bool,
    /// The data plane sends no more by it.
    pub retired: bool,
}

/// How long after its time an SA may at least be replaced: for one repetition of a request, and its answer (strongSwan repeats
/// after 4 s).
pub(crate) const LEAST_OVER_TIME: Duration = Duration::from_secs(5);

/// How much longer than `life_time` the data plane keeps a Child SA that nobody deletes.
const AFTER_THE_END: Duration = Duration::from_secs(30);

/// A request of ours: its nonce, and when it was answered.
pub(crate) struct Asked {
    pub nonce: Vec<u8>,
    pub answered: Instant,
}

/// Selectors of both sides, as we see them.
#[derive(Clone, Debug)]
pub(crate) struct Selectors {
    pub local: Vec<TrafficSelector>,
    pub remote: Vec<TrafficSelector>,
}

/// The Child SAs of an IKE SA that the one in its place is to have too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    pub names: Vec<String>,
    /// Those that are parts of what is configured, as a peer narrowed it, each by itself.
    pub parts: Vec<(String, Selectors)>,
}

/// What both ends agreed on.
pub(crate) struct Agreed {
    pub number: u8,
    pub suite: ChosenSuite,
    pub selectors: Selectors,
    pub mode: Mode,
    /// How long the peer wants the SA to live; the shorter one holds. IKEv2 leaves lifetimes to each end (RFC 7296
    /// section 2.8).
    pub lifetime: Lifetime,
    /// Whether the peer takes padding for traffic flow confidentiality.
    pub padding: bool,
    /// The responder would make another Child SA of what it left out (ADDITIONAL_TS_POSSIBLE).
    pub more: bool,
}

/// Transport mode is for packets between the two addresses of the SA itself (RFC 4301 section 4.1): with other selectors a
/// child that wants it is in tunnel mode, as with strongSwan.
pub(crate) fn mode_for(wanted: Mode, selectors: &Selectors, local: IpAddr, remote: IpAddr) -> Mode {
    let only = |list: &[TrafficSelector], address: IpAddr| list.iter().all(|ts| is_host(ts) && ts.start == address);
    match wanted {
        Mode::Transport if only(&selectors.local, local) && only(&selectors.remote, remote) => Mode::Transport,
        _ => Mode::Tunnel,
    }
}

fn is_host(ts: &TrafficSelector) -> bool {
    ts.start == ts.end
}

/// In transport mode behind a NAT an end knows the translated address for what the other calls by the one before: such a
/// selector is meant for the address that packets are seen with (RFC 7296 section 2.23.1, RFC 3947 section 5.2).
pub(crate) fn as_seen(ts: &TrafficSelector, translated: bool, seen: IpAddr) -> TrafficSelector {
    if translated && is_host(ts) && ts.start.is_ipv4() == seen.is_ipv4() {
        TrafficSelector { start: seen, end: seen, ..*ts }
    } else {
        *ts
    }
}

/// An initiator's wish for transport mode (RFC 7296 section 1.3.1), with what lies between the ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransportWish {
    pub asked: bool,
    pub nat: NatState,
}

/// How long an SA may live, as the ends of IKEv1 tell each other (RFC 2407 section 4.5); `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub time: Option<Duration>,
    pub octets: Option<u64>,
}

impl Lifetime {
    /// The shorter one of each.
    pub fn shorter(self, other: Self) -> Self {
        fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            a.into_iter().chain(b).min()
        }
        Self { time: least(self.time, other.time), octets: least(self.octets, other.octets) }
    }
}

impl std::fmt::Display for Lifetime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.time, self.octets) {
            (None, None) => f.write_str("without limit"),
            (Some(time), None) => write!(f, "{} s", time.as_secs()),
            (None, Some(octets)) => write!(f, "{octets} octets"),
            (Some(time), Some(octets)) => write!(f, "{} s or {octets} octets", time.as_secs()),
        }
    }
}

/// A soft limit, a hard one and the random part of the soft one, all zero for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits<T> {
    soft: T,
    hard: T,
    spread: T,
}

impl Limits<u64> {
    /// As configured, but that the random part leaves half of the soft limit: by default it is the difference of both
    /// limits, which may be longer than the soft one, and a Child SA that is replaced at once is replaced for ever.
    fn new(soft: u64, hard: u64, spread: u64) -> Self {
        Self { soft, hard, spread: spread.min(soft / 2) }
    }

    /// Under a peer's hard limit that is shorter than ours. As much as that is shorter we are earlier: a successor must be
    /// there before the peer's end, a tenth of the soft limit as where only one of both is configured. An SA that was to
    /// live for ever is replaced too; one that was to end without a successor ends without.
    fn within(self, peer: Option<u64>) -> Self {
        match peer {
            Some(peer) if self.hard == 0 || peer < self.hard => {
                let latest = (peer - peer / 11).max(1);
                let for_ever = self.hard == 0 && self.soft == 0;
                let soft = if for_ever { latest } else { self.soft.min(latest) };
                Self { soft, hard: peer, spread: self.spread.min(soft / 11) }
            }
            _ => self,
        }
    }
}

/// The addresses of both ends.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// Our address outside, where ESP goes from.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// What `dynamic` stands for on our side: virtual addresses, else the one outside.
    pub inner_local: Vec<IpAddr>,
    /// The same on the peer's side.
    pub inner_remote: Vec<IpAddr>,
    /// The addresses that the peer's certificate is for (RFC 3779); any if it does not say.
    pub certified: Option<Vec<TrafficSelector>>,
}

/// The configured selectors with `dynamic` filled in: our own address, and the peer's.
pub(crate) fn configured(child: &Child, local: IpAddr, remote: IpAddr) -> Selectors {
    configured_for(child, &[local], &[remote])
}

/// The same where an end has several addresses. An unspecified one stands for all of its family: it is not assigned yet
/// (RFC 7296 section 2.19).
pub(crate) fn configured_for(child: &Child, local: &[IpAddr], remote: &[IpAddr]) -> Selectors {
    Selectors { local: resolved(&child.local_ts, local), remote: resolved(&child.remote_ts, remote) }
}

/// The selectors of one side, `dynamic` being these addresses.
pub(crate) fn resolved(patterns: &[SelectorPattern], dynamic: &[IpAddr]) -> Vec<TrafficSelector> {
    let one = |pattern: &SelectorPattern, address: IpAddr| match pattern.resolve(address) {
        ts if address.is_unspecified() => TrafficSelector {
            protocol: ts.protocol,
            start_port: ts.start_port,
            end_port: ts.end_port,
            ..TrafficSelector::any(address.is_ipv6())
        },
        ts => ts,
    };
    let mut found: Vec<TrafficSelector> = Vec::new();
    for pattern in patterns {
        match pattern {
            SelectorPattern::Fixed(ts) => found.push(*ts),
            SelectorPattern::Dynamic { .. } => found.extend(dynamic.iter().map(|address| one(pattern, *address))),
        }
    }
    found
}

/// Our ESP proposals for IKE_AUTH, which carries no KE payload (RFC 7296 section 1.2).
pub(crate) fn first_proposals(child: &Child) -> Vec<Proposal> {
    let mut proposals: Vec<Proposal> = Vec::new();
    for proposal in child.esp_proposals.iter().map(Proposal::without_key_exchange) {
        if !proposals.contains(&proposal) {
            proposals.push(proposal);
        }
    }
    proposals
}

/// As they go on the wire, with our inbound SPI.
pub(crate) fn offer(proposals: &[Proposal], spi: &[u8]) -> Vec<wire_v2::Proposal> {
    proposals
        .iter()
        .zip(1..=u8::MAX)
        .map(|(p, number)| wire_v2::Proposal {
            number,
            protocol: p.protocol.into(),
            spi: spi.to_vec(),
            transforms: p.transforms(),
        })
        .collect()
}

/// The responder's choice among the children of a connection: the first whose selectors and proposals both fit.
///
/// # Errors
/// Why not, for the child that came closest: selectors are compared first.
pub(crate) fn choose(
    connection: &Connection,
    ends: &Ends,
    offered: &[wire_v2::Proposal],
    tsi: &[TrafficSelector],
    tsr: &[TrafficSelector],
    transport: TransportWish,
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let mut offered = offered.to_vec();
    for proposal in &mut offered {
        // Without a KE payload no key exchange can be chosen, whatever transforms an initiator lists.
        proposal.transforms.retain(|t| t.kind.0 != TransformType::KE.0 && t.kind.0 < TransformType::ADDKE1.0);
    }
    choose_mode(connection, ends, &offered, (tsi, tsr), transport, first_proposals, |_| true)
}

/// The same in CREATE_CHILD_SA, where a key exchange may be chosen (RFC 7296 section 1.3.1). `only` names the child that
/// is rekeyed.
///
/// # Errors
/// As [`choose`].
pub(crate) fn choose_further(
    connection: &Connection,
    ends: &Ends,
    offered: &[wire_v2::Proposal],
    selectors: (&[TrafficSelector], &[TrafficSelector]),
    only: Option<&str>,
    transport: TransportWish,
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let all = |child: &Child| child.esp_proposals.clone();
    let eligible = |child: &Child| only.is_none_or(|name| name == child.name);
    choose_mode(connection, ends, offered, selectors, transport, all, eligible)
}

/// A child in transport mode, where the initiator asks for that and one wants it; else in tunnel mode, which is how a
/// responder declines (RFC 7296 section 1.3.1).
fn choose_mode(
    connection: &Connection,
    ends: &Ends,
    offered: &[wire_v2::Proposal],
    (tsi, tsr): (&[TrafficSelector], &[TrafficSelector]),
    transport: TransportWish,
    proposals_of: impl Fn(&Child) -> Vec<Proposal>,
    eligible: impl Fn(&Child) -> bool,
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let TransportWish { asked, nat } = transport;
    let (local, remote) = (ends.local, ends.remote);
    let seen_i: Vec<TrafficSelector> = tsi.iter().map(|ts| as_seen(ts, nat.remote, remote)).collect();
    let seen_r: Vec<TrafficSelector> = tsr.iter().map(|ts| as_seen(ts, nat.local, local)).collect();
    let wants = |child: &Child| asked && child.mode == Mode::Transport && eligible(child);
    let found = choose_among(connection, ends, offered, (&seen_i, &seen_r), &proposals_of, wants);
    if let Ok((index, agreed)) = found
        && mode_for(Mode::Transport, &agreed.selectors, local, remote) == Mode::Transport
    {
        // Section 2.23.1: the answer has the addresses that we see, and the initiator puts its own in their place.
        return Ok((index, Agreed { mode: Mode::Transport, ..agreed }));
    }
    choose_among(connection, ends, offered, (tsi, tsr), &proposals_of, eligible)
}

fn choose_among(
    connection: &Connection,
    ends: &Ends,
    offered: &[wire_v2::Proposal],
    (tsi, tsr): (&[TrafficSelector], &[TrafficSelector]),
    proposals_of: impl Fn(&Child) -> Vec<Proposal>,
    eligible: impl Fn(&Child) -> bool,
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let mut closest: Option<(Option<usize>, FailureKind)> = None;
    let mut children: Vec<(usize, &Child, Selectors)> = (connection.children.iter().enumerate())
        .filter(|(_, child)| eligible(child))
        .map(|(index, child)| {
            let mut ours = configured_for(child, &ends.inner_local, &ends.inner_remote);
            if let Some(certified) = &ends.certified {
                ours.remote = narrow(certified, &ours.remote);
            }
            (index, child, ours)
        })
        .collect();
    if let ([packet_i, _, ..], [packet_r, _, ..]) = (tsi, tsr)
        && is_host(packet_i)
        && is_host(packet_r)
    {
        // RFC 7296 section 2.9: the first selectors may be those of the packet that asks; a child for it comes first.
        let carries = |ours: &Selectors| {
            let has = |list: &[TrafficSelector], one| list.iter().any(|ts| ts.includes(one));
            has(&ours.local, packet_r) && has(&ours.remote, packet_i)
        };
        children.sort_by_key(|(_, _, ours)| !carries(ours)); // stable: the configuration's order among equals
    }
    let others: Vec<Selectors> = children.iter().map(|(_, _, ours)| ours.clone()).collect();
    for (index, child, ours) in children {
        let mut agreed_ts = Selectors { local: narrow(&ours.local, tsr), remote: narrow(&ours.remote, tsi) };
        if child.single_pair && !agreed_ts.local.is_empty() && !agreed_ts.remote.is_empty() {
            agreed_ts = parts::one_pair(agreed_ts, (tsi, tsr));
            // RFC 7296 section 2.9: they fit, but the peer does not say for which packet.
            let named = matches!((tsi, tsr), ([i, _, ..], [r, _, ..]) if is_host(i) && is_host(r));
            if agreed_ts.local.is_empty() && !named {
                closest = Some((Some(index), FailureKind::TooManySelectors { pairs: 2, most: 1 }));
                continue;
            }
        }
        // What is cut by selectors of ours may be more pieces than the answer has room for. Those that the peer names first stay:
        // a responder takes any part (RFC 7296 section 2.9).
        agreed_ts.local.truncate(model::MOST_SELECTORS);
        agreed_ts.remote.truncate(model::MOST_SELECTORS);
        if agreed_ts.local.is_empty() || agreed_ts.remote.is_empty() {
            closest.get_or_insert_with(|| {
                let kind = FailureKind::TsUnacceptable {
                    found_by: Side::Us,
                    local: ours.local,
                    remote: ours.remote,
                    peer_local: tsi.to_vec(),
                    peer_remote: tsr.to_vec(),
                };
                (Some(index), kind)
            });
            continue;
        }
        if let Err(kind) = not_too_many(&agreed_ts) {
            closest = Some((Some(index), kind));
            continue;
        }
        match select(&proposals_of(child), offered) {
            Ok((number, suite)) => {
                let (lifetime, mode) = (Lifetime::default(), Mode::Tunnel);
                let (selectors, padding) = (agreed_ts, false);
                // RFC 7296 section 2.9: what is left out may be had too, though only in an SA of its own.
                let more = others.iter().any(|ours| parts::is_beside(ours, (tsi, tsr), &selectors));
                return Ok((index, Agreed { number, suite, selectors, mode, lifetime, padding, more }));
            }
            Err(mismatch) => {
                let ours = child.esp_proposals.iter().map(ToString::to_string).collect();
                let mismatch = Some(mismatch);
                let kind = FailureKind::NoProposalChosen { phase: Phase::Child, found_by: Side::Us, mismatch, ours };
                // The selectors fit: this is closer than any child whose selectors do not.
                closest = Some((Some(index), kind));
            }
        }
    }
    Err(closest.unwrap_or_else(|| {
        let kind = FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local: Vec::new(),
            remote: Vec::new(),
            peer_local: tsi.to_vec(),
            peer_remote: tsr.to_vec(),
        };
        (None, kind)
    }))
}

/// The SPI by which the initiator receives, of the proposal that is chosen. Zero is none (RFC 4303 section 2.1).
pub(crate) fn offered_spi(offered: &[wire_v2::Proposal], chosen: u8) -> Option<u32> {
    let chosen = offered.iter().find(|proposal| proposal.number == chosen);
    chosen.and_then(wire_v2::Proposal::child_spi).filter(|spi| *spi != 0)
}

/// A peer within our own selectors may ask for any number of pieces of them.
fn not_too_many(agreed: &Selectors) -> Result<(), FailureKind> {
    match model::pairs(&agreed.local, &agreed.remote) {
        pairs if pairs > model::MAX_PAIRS => Err(FailureKind::TooManySelectors { pairs, most: model::MAX_PAIRS }),
        _ => Ok(()),
    }
}

/// Whether the responder's answer is among what we offered. `mode` is what both ends said about it: a responder may always
/// decline transport mode (RFC 7296 section 1.3.1).
pub(crate) fn accept(
    proposals: &[Proposal],
    offered: &Selectors,
    answer: &[wire_v2::Proposal],
    tsi: &[TrafficSelector],
    tsr: &[TrafficSelector],
    mode: Mode,
) -> Result<Agreed, FailureKind> {
    let [chosen] = answer else {
        // RFC 7296 section 2.7: the answer holds exactly one proposal.
        return Err(FailureKind::ChoiceNotOffered {
            phase: Phase::Child,
            mismatch: model::Mismatch { differing: Vec::new() },
        });
    };
    let (number, suite) = select(proposals, std::slice::from_ref(chosen))
        .map_err(|mismatch| FailureKind::ChoiceNotOffered { phase: Phase::Child, mismatch })?;
    let within = |answer: &[TrafficSelector], offer: &[TrafficSelector]| {
        !answer.is_empty() && answer.iter().all(|ts| offer.iter().any(|o| o.includes(ts)))
    };
    if !within(tsi, &offered.local) || !within(tsr, &offered.remote) {
        return Err(FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local: offered.local.clone(),
            remote: offered.remote.clone(),
            peer_local: tsr.to_vec(),
            peer_remote: tsi.to_vec(),
        });
    }
    let selectors = Selectors { local: tsi.to_vec(), remote: tsr.to_vec() };
    not_too_many(&selectors)?;
    let lifetime = Lifetime::default();
    Ok(Agreed { number, suite, selectors, mode, lifetime, padding: false, more: false })
}

/// The answer that names the choice, with our inbound SPI.
pub(crate) fn answer(agreed: &Agreed, spi: u32) -> wire_v2::Proposal {
    let proposal = agreed.suite.to_proposal(ProposalProtocol::Esp);
    wire_v2::Proposal {
        number: agreed.number,
        protocol: proposal.protocol.into(),
        spi: spi.to_be_bytes().to_vec(),
        transforms: proposal.transforms(),
    }
}

impl ChildSa {
    /// The placeholder that exists before anything is negotiated.
    pub fn larval(cx: &mut Context, child: &Child, selectors: Selectors) -> Self {
        Self {
            id: cx.child_id(),
            name: child.name.clone(),
            state: ChildState::Larval,
            spi_in: cx.esp_spi(),
            spi_out: 0,
            reqid: 0,
            mode: child.mode,
            binding: child.binding,
            suite: None,
            local_ts: selectors.local,
            remote_ts: selectors.remote,
            installed: None,
            expires: None,
            due: None,
            succeeds: None,
            rekeys: None,
            told: None,
            trigger: None,
            asked: None,
            once: false,
            refused: 0,
            of_auth: false,
            replaced_by: None,
            goes_soon: false,
            retired: false,
        }
    }

    /// The placeholder of what succeeds `old`, which keeps the numbers that are its own: firewalls and routes know them.
    pub fn successor(cx: &mut Context, child: &Child, selectors: Selectors, old: (SaId, Binding)) -> Self {
        let (old, binding) = old;
        let binding = if child.unique.is_empty() { child.binding } else { binding };
        Self { binding, rekeys: Some(old), ..Self::larval(cx, child, selectors) }
    }

    pub fn is_installed(&self) -> bool {
        self.installed.is_some()
    }

    pub fn update(&self, cx: &mut Context, local: SocketAddr, remote: SocketAddr, encapsulated: bool) {
        if self.is_installed() && !self.retired {
            cx.plane(Command::Update { child: self.id, local, remote, encapsulated });
        }
    }

    /// Takes it out of the data plane.
    pub fn uninstall(&self, ike: SaId, cx: &mut Context) {
        if self.leave(ike, cx) {
            cx.plane(Command::Delete { child: self.id });
        }
    }

    /// Takes it out of the data plane, as something else is in its place: what is on its way by it may still come.
    pub fn retire(&self, ike: SaId, cx: &mut Context, now: Instant) {
        if self.leave(ike, cx) {
            cx.retire(now, self.id, self.retired);
        }
    }

    /// What ends with it; whether the data plane has it.
    fn leave(&self, ike: SaId, cx: &mut Context) -> bool {
        cx.timers.cancel(ike, Reason::ChildLifetime(self.id));
        cx.timers.cancel(ike, Reason::Idle(self.id));
        if self.is_installed() {
            cx.release_reqid(&self.local_ts, &self.remote_ts, self.binding, self.reqid);
        }
        self.is_installed()
    }

    pub fn snapshot(&self, ike: SaId, encapsulated: bool, cx: &Context, now: Instant) -> ChildSnapshot {
        ChildSnapshot {
            id: self.id,
            name: self.name.clone(),
            reqid: self.reqid,
            state: self.state,
            mode: self.mode,
            encapsulated,
            binding: self.binding,
            spi_in: self.spi_in,
            spi_out: self.spi_out,
            suite: self.suite,
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            installed: self.installed.map(|at| now.since(at)),
            rekey_in: cx
                .timers
                .deadline(ike, Reason::ChildLifetime(self.id))
                .filter(|at| self.is_installed() && Some(*at) != self.expires)
                .map(|at| at.since(now)),
            expires_in: self.expires.map(|at| at.since(now)),
            counters: Counters::default(),
        }
    }
}

/// The SA above a Child SA, as far as the data plane is concerned.
pub(crate) struct Parent {
    pub id: SaId,
    /// An initiator replaces the Child SA when its soft lifetime ends.
    pub role: Role,
    pub connection: Arc<Connection>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub encapsulated: bool,
    pub local_id: Option<Identity>,
    pub remote_id: Option<Identity>,
    /// What else the updown script is told.
    pub environment: Vec<(String, String)>,
}

/// The volume after which an end replaces a Child SA: a random part earlier, so that many do not do so at once.
fn soft_limit(cx: &mut Context, role: Role, limit: u64, spread: u64) -> Option<u64> {
    if role != Role::Initiator || limit == 0 {
        return None;
    }
    let earlier = u64::from_be_bytes(cx.random()).checked_rem(spread).unwrap_or(0);
    Some(limit.saturating_sub(earlier).max(1))
}

/// Virtual addresses for the updown script, by strongSwan's names: the first without and all with a number, by family.
pub(crate) fn addresses_inside(own: &[IpAddr], peers: &[IpAddr], servers: &[IpAddr]) -> Vec<(String, String)> {
    let numbered = |name: String, addresses: &[IpAddr]| -> Vec<(String, String)> {
        let of = |ipv4: bool| {
            let (name, family) = (&name, if ipv4 { '4' } else { '6' });
            let these = addresses.iter().filter(move |a| a.is_ipv4() == ipv4).zip(1..);
            these
                .map(move |(address, number): (&IpAddr, u32)| (format!("{name}{family}_{number}"), address.to_string()))
        };
        of(true).chain(of(false)).collect()
    };
    let mut all = Vec::new();
    for (who, addresses) in [("MY", own), ("PEER", peers)] {
        all.extend(addresses.first().map(|first| (format!("PLUTO_{who}_SOURCEIP"), first.to_string())));
        all.extend(numbered(format!("PLUTO_{who}_SOURCEIP"), addresses));
    }
    all.extend(numbered("PLUTO_DNS".into(), servers));
    all
}

/// Gives a negotiated Child SA to the data plane: both directions at once, before the message leaves that lets the peer
/// use it. `creator` is our role in the exchange that made it.
pub(crate) fn install(
    cx: &mut Context,
    now: Instant,
    parent: &Parent,
    mut child: ChildSa,
    agreed: Agreed,
    keys: ChildKeys,
    creator: Role,
) -> Option<ChildSa> {
    let connection = &parent.connection;
    let config = connection.children.iter().find(|c| c.name == child.name)?;
    let (outgoing, incoming) = match creator {
        Role::Initiator => (keys.initiator_to_responder, keys.responder_to_initiator),
        Role::Responder => (keys.responder_to_initiator, keys.initiator_to_responder),
    };
    // What succeeds another one has its numbers already.
    if child.binding == config.binding {
        child.binding = cx.bind(&connection.name, config);
    }
    // Not negotiated: what both ends call HMAC-SHA-256 is cut shorter, as early kernels did (`sha256_96`).
    let integrity = agreed.suite.integrity.map(|id| match id {
        IntegrityId::HMAC_SHA2_256_128 if config.sha256_96 => IntegrityId::HMAC_SHA2_256_96,
        other => other,
    });
    let one_way = |spi: u32, encryption_key: Secret, integrity_key: Secret| EspSa {
        spi,
        encryption: agreed.suite.encryption,
        integrity,
        encryption_key,
        integrity_key,
    };
    if (config.mode, agreed.mode) == (Mode::Transport, Mode::Tunnel) {
        let text = format!("CHILD_SA {} is in tunnel mode: transport mode is for both ends and two hosts", child.name);
        cx.step(parent.id, &connection.name, "CHD", 1, text);
    }
    child.mode = agreed.mode;
    child.state = ChildState::Installed;
    child.suite = Some(agreed.suite);
    child.local_ts = agreed.selectors.local;
    child.remote_ts = agreed.selectors.remote;
    child.reqid = cx.take_reqid(&child.local_ts, &child.remote_ts, child.binding, config.reqid);
    child.installed = Some(now);
    // In milliseconds: the peer's lifetime may be a few seconds only.
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let [soft, hard, spread] = [config.rekey_time, config.life_time, config.rand_time].map(milliseconds);
    let times = Limits::new(soft, hard, spread).within(agreed.lifetime.time.map(milliseconds));
    let [rekey_time, life_time, rand_time] = [times.soft, times.hard, times.spread].map(Duration::from_millis);
    let volume = Limits::new(config.rekey_bytes, config.life_bytes, config.rand_bytes).within(agreed.lifetime.octets);
    let packets = Limits::new(config.rekey_packets, config.life_packets, config.rand_packets);
    // A tenth more than a few seconds is no more: the Child SA would end at the moment at which it is to be replaced.
    let coincide = life_time == rekey_time && !rekey_time.is_zero() && agreed.lifetime.time.is_none();
    let life_time = if coincide { life_time + LEAST_OVER_TIME } else { life_time };
    child.expires = (!life_time.is_zero()).then(|| now + life_time);
    let name = |id: &Option<model::Identity>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    let install = ChildInstall {
        child: child.id,
        ike: parent.id,
        connection: connection.name.clone(),
        name: child.name.clone(),
        reqid: child.reqid,
        mode: child.mode,
        local: parent.local,
        remote: parent.remote,
        encapsulated: parent.encapsulated,
        inbound: one_way(child.spi_in, incoming.encryption, incoming.integrity),
        outbound: one_way(child.spi_out, outgoing.encryption, outgoing.integrity),
        esn: agreed.suite.esn,
        replay_window: config.replay_window,
        tfc_padding: if agreed.padding && agreed.mode == Mode::Tunnel { config.tfc_padding } else { TfcPadding::None },
        local_ts: child.local_ts.clone(),
        remote_ts: child.remote_ts.clone(),
        binding: child.binding,
        header: config.header,
        policies: config.policies,
        succeeds: child.succeeds,
        rekeys: child.rekeys,
        priority: config.priority,
        updown: config.updown.clone(),
        updown_environment: vec![
            ("PLUTO_UNIQUEID".into(), parent.id.0.to_string()),
            ("PLUTO_MY_ID".into(), name(&parent.local_id)),
            ("PLUTO_PEER_ID".into(), name(&parent.remote_id)),
        ]
        .into_iter()
        .chain(parent.environment.iter().cloned())
        .chain(config.hostaccess.then(|| ("PLUTO_HOST_ACCESS".into(), "1".into())))
        .collect(),
        soft_bytes: soft_limit(cx, parent.role, volume.soft, volume.spread),
        soft_packets: soft_limit(cx, parent.role, packets.soft, packets.spread),
        hard_bytes: (volume.hard != 0).then_some(volume.hard),
        hard_packets: (packets.hard != 0).then_some(packets.hard),
        // Behind our own timer, for the case that we are not there any more to see to it.
        hard_lifetime: (!life_time.is_zero()).then(|| life_time + AFTER_THE_END),
    };
    cx.plane(Command::Install(Box::new(install)));
    if !config.inactivity.is_zero() {
        cx.timers.set(parent.id, Reason::Idle(child.id), now + config.inactivity);
    }
    if rekey_time.is_zero() {
        if let Some(end) = child.expires {
            cx.timers.set(parent.id, Reason::ChildLifetime(child.id), end);
        }
    } else {
        let random = f64::from(u32::from_be_bytes(cx.random())) / f64::from(u32::MAX);
        let soft = match parent.role {
            Role::Initiator => now + (rekey_time - rand_time.min(rekey_time).mul_f64(random)),
            Role::Responder => now + life_time.max(rekey_time),
        };
        cx.timers.set(parent.id, Reason::ChildLifetime(child.id), soft);
    }
    Some(child)
}

/// The child of that name, with its connection's other things.
pub(crate) fn config_of<'a>(connection: &'a Arc<Connection>, name: &str) -> Option<&'a Child> {
    connection.children.iter().find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_lifetime_of_the_peer_comes_with_an_earlier_successor() {
        let limits = |soft, hard, spread| Limits { soft, hard, spread };
        let ours = limits(3600, 3960, 360);
        assert_eq!(ours.within(None), ours);
        assert_eq!(ours.within(Some(3960)), ours);
        assert_eq!(ours.within(Some(28_800)), ours, "the shorter one holds");
        assert_eq!(ours.within(Some(330)), limits(300, 330, 27));
        assert_eq!(limits(100, 3960, 0).within(Some(330)), limits(100, 330, 0), "it is early enough");
        assert_eq!(limits(0, 0, 0).within(Some(1100)), limits(1000, 1100, 0), "for ever, with successors");
        assert_eq!(limits(0, 3960, 0).within(Some(1100)), limits(0, 1100, 0), "to its end, without one");
        assert_eq!(limits(5, 6, 1).within(Some(1)), limits(1, 1, 0));
        assert_eq!(Limits::new(3600, 10_800, 7200), limits(3600, 10_800, 1800), "the random part leaves half");
        assert_eq!(Limits::new(0, 10_800, 7200), limits(0, 10_800, 0));
    }

    #[test]
    fn scripts_hear_of_every_address() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        let own = parse(&["2001:db8::5", "10.3.0.1"]);
        let servers = parse(&["10.1.0.20", "10.1.0.30"]);
        let all = addresses_inside(&own, &[], &servers);
        let lines: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "PLUTO_MY_SOURCEIP=2001:db8::5",
            "PLUTO_MY_SOURCEIP4_1=10.3.0.1",
            "PLUTO_MY_SOURCEIP6_1=2001:db8::5",
            "PLUTO_DNS4_1=10.1.0.20",
            "PLUTO_DNS4_2=10.1.0.30",
        ];
        assert_eq!(lines, expected);
    }
}
