//! Child SAs of both versions: what is offered, what is chosen, what is installed (RFC 7296 sections 1.2, 2.9 and 2.17).

use crate::context::Context;
use crate::timers::Reason;
use config::{Child, Connection};
use crypto::v2::ChildKeys;
use model::dataplane::{ChildInstall, Command, Counters, EspSa, Mode};
use model::{
    ChildSnapshot, ChildState, ChosenSuite, FailureKind, Identity, Instant, Phase, Proposal, ProposalProtocol, Role,
    SaId, Side, TrafficSelector, narrow, select,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::registry::TransformType;
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
    pub suite: Option<ChosenSuite>,
    pub local_ts: Vec<TrafficSelector>,
    pub remote_ts: Vec<TrafficSelector>,
    pub installed: Option<Instant>,
    pub expires: Option<Instant>,
}

/// Selectors of both sides, as we see them.
#[derive(Clone, Debug)]
pub(crate) struct Selectors {
    pub local: Vec<TrafficSelector>,
    pub remote: Vec<TrafficSelector>,
}

/// What both ends agreed on.
pub(crate) struct Agreed {
    pub number: u8,
    pub suite: ChosenSuite,
    pub selectors: Selectors,
}

/// The configured selectors with `dynamic` filled in: our own address, and the peer's.
pub(crate) fn configured(child: &Child, local: IpAddr, remote: IpAddr) -> Selectors {
    Selectors {
        local: child.local_ts.iter().map(|ts| ts.resolve(local)).collect(),
        remote: child.remote_ts.iter().map(|ts| ts.resolve(remote)).collect(),
    }
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
    local: IpAddr,
    remote: IpAddr,
    offered: &[wire_v2::Proposal],
    tsi: &[TrafficSelector],
    tsr: &[TrafficSelector],
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let mut offered = offered.to_vec();
    for proposal in &mut offered {
        // Without a KE payload no key exchange can be chosen, whatever transforms an initiator lists.
        proposal.transforms.retain(|t| t.kind.0 != TransformType::KE.0 && t.kind.0 < TransformType::ADDKE1.0);
    }
    choose_among(connection, (local, remote), &offered, (tsi, tsr), first_proposals, |_| true)
}

/// The same in CREATE_CHILD_SA, where a key exchange may be chosen (RFC 7296 section 1.3.1). `only` names the child that
/// is rekeyed.
///
/// # Errors
/// As [`choose`].
pub(crate) fn choose_further(
    connection: &Connection,
    addresses: (IpAddr, IpAddr),
    offered: &[wire_v2::Proposal],
    selectors: (&[TrafficSelector], &[TrafficSelector]),
    only: Option<&str>,
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let all = |child: &Child| child.esp_proposals.clone();
    choose_among(connection, addresses, offered, selectors, all, |child| only.is_none_or(|name| name == child.name))
}

fn choose_among(
    connection: &Connection,
    (local, remote): (IpAddr, IpAddr),
    offered: &[wire_v2::Proposal],
    (tsi, tsr): (&[TrafficSelector], &[TrafficSelector]),
    proposals_of: impl Fn(&Child) -> Vec<Proposal>,
    eligible: impl Fn(&Child) -> bool,
) -> Result<(usize, Agreed), (Option<usize>, FailureKind)> {
    let mut closest: Option<(Option<usize>, FailureKind)> = None;
    for (index, child) in connection.children.iter().enumerate().filter(|(_, c)| eligible(c)) {
        let ours = configured(child, local, remote);
        let agreed_ts = Selectors { local: narrow(&ours.local, tsr), remote: narrow(&ours.remote, tsi) };
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
        match select(&proposals_of(child), offered) {
            Ok((number, suite)) => return Ok((index, Agreed { number, suite, selectors: agreed_ts })),
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

/// Whether the responder's answer is among what we offered.
pub(crate) fn accept(
    proposals: &[Proposal],
    offered: &Selectors,
    answer: &[wire_v2::Proposal],
    tsi: &[TrafficSelector],
    tsr: &[TrafficSelector],
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
    Ok(Agreed { number, suite, selectors: Selectors { local: tsi.to_vec(), remote: tsr.to_vec() } })
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
            suite: None,
            local_ts: selectors.local,
            remote_ts: selectors.remote,
            installed: None,
            expires: None,
        }
    }

    pub fn is_installed(&self) -> bool {
        self.installed.is_some()
    }

    pub fn update(&self, cx: &mut Context, local: SocketAddr, remote: SocketAddr, encapsulated: bool) {
        if self.is_installed() {
            cx.plane(Command::Update { child: self.id, local, remote, encapsulated });
        }
    }

    /// Takes it out of the data plane.
    pub fn uninstall(&self, ike: SaId, cx: &mut Context) {
        cx.timers.cancel(ike, Reason::ChildLifetime(self.id));
        if self.is_installed() {
            cx.plane(Command::Delete { child: self.id });
            cx.release_reqid(&self.local_ts, &self.remote_ts);
        }
    }

    pub fn snapshot(&self, ike: SaId, encapsulated: bool, cx: &Context, now: Instant) -> ChildSnapshot {
        ChildSnapshot {
            id: self.id,
            name: self.name.clone(),
            reqid: self.reqid,
            state: self.state,
            mode: self.mode,
            encapsulated,
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
}

/// The volume after which an end replaces a Child SA: a random part earlier, so that many do not do so at once.
fn soft_limit(cx: &mut Context, role: Role, limit: u64, spread: u64) -> Option<u64> {
    if role != Role::Initiator || limit == 0 {
        return None;
    }
    let earlier = u64::from_be_bytes(cx.random()).checked_rem(spread).unwrap_or(0);
    Some(limit.saturating_sub(earlier).max(1))
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
    let one_way = |spi: u32, encryption_key: Secret, integrity_key: Secret| EspSa {
        spi,
        encryption: agreed.suite.encryption,
        integrity: agreed.suite.integrity,
        encryption_key,
        integrity_key,
    };
    child.state = ChildState::Installed;
    child.suite = Some(agreed.suite);
    child.local_ts = agreed.selectors.local;
    child.remote_ts = agreed.selectors.remote;
    child.reqid = cx.take_reqid(&child.local_ts, &child.remote_ts, config.reqid);
    child.installed = Some(now);
    child.expires = (!config.life_time.is_zero()).then(|| now + config.life_time);
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
        local_ts: child.local_ts.clone(),
        remote_ts: child.remote_ts.clone(),
        policies: config.policies,
        updown: config.updown.clone(),
        updown_environment: vec![
            ("PLUTO_UNIQUEID".into(), parent.id.0.to_string()),
            ("PLUTO_MY_ID".into(), name(&parent.local_id)),
            ("PLUTO_PEER_ID".into(), name(&parent.remote_id)),
        ]
        .into_iter()
        .chain(config.hostaccess.then(|| ("PLUTO_HOST_ACCESS".into(), "1".into())))
        .collect(),
        soft_bytes: soft_limit(cx, parent.role, config.rekey_bytes, config.rand_bytes),
        soft_packets: soft_limit(cx, parent.role, config.rekey_packets, config.rand_packets),
        hard_lifetime: None,
    };
    cx.plane(Command::Install(Box::new(install)));
    if config.rekey_time.is_zero() {
        if let Some(end) = child.expires {
            cx.timers.set(parent.id, Reason::ChildLifetime(child.id), end);
        }
    } else {
        let random = f64::from(u32::from_be_bytes(cx.random())) / f64::from(u32::MAX);
        let soft = match parent.role {
            Role::Initiator => now + config.rekey_time.saturating_sub(config.rand_time.mul_f64(random)),
            Role::Responder => now + config.life_time.max(config.rekey_time),
        };
        cx.timers.set(parent.id, Reason::ChildLifetime(child.id), soft);
    }
    Some(child)
}

/// The child of that name, with its connection's other things.
pub(crate) fn config_of<'a>(connection: &'a Arc<Connection>, name: &str) -> Option<&'a Child> {
    connection.children.iter().find(|c| c.name == name)
}
