//! The kernel's own ESP as a data plane, over NETLINK_XFRM.

mod algorithm;
mod error;
mod foreign;
mod held;
mod inspect;
mod leftover;
mod message;
mod moved;
mod policies;
mod selector;
mod statistics;

pub use error::{Step, WhyNot, XfrmError};
pub use foreign::{Foreign, ForeignPolicy, ForeignSa};
pub use leftover::Replaced;
pub(crate) use message::{Direction, socket_bypass_policy};
pub use statistics::xfrm_statistics;

use crate::NetlinkError;
use crate::netlink::{CREATE, DUMP, EXCLUSIVE, Request, Socket};
use algorithm::algorithms;
use message::{Limits, SaInfo};
use model::dataplane::{ChildInstall, Command, Counters, EspSa, Mode, PlaneEvent, TfcPadding};
use model::{Encryption, SaId, TrafficSelector};
use moved::Carried;
use policies::{Policy, PolicyKey, Rule, set_policy};
use selector::{Selector, selectors};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use wire::Secret;
use wire::registry::{EncryptionId, IntegrityId};

/// The largest anti-replay window of the kernel (XFRMA_REPLAY_ESN_MAX).
const MAX_REPLAY_WINDOW: u32 = 4096;

/// Multicast groups: ACQUIRE (1), EXPIRE (2), MAPPING (8).
const EVENT_GROUPS: u32 = 1 | 1 << 1 | 1 << 7;

/// A packet met a policy for which there is no SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// The policy's number, which ties it to its configuration, if its template has one.
    pub reqid: Option<u32>,
    /// The packet's source address and port.
    pub source: SocketAddr,
    /// The packet's destination address and port.
    pub destination: SocketAddr,
    /// The packet's protocol.
    pub protocol: u8,
}

/// What the kernel reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XfrmEvent {
    /// For the protocol, as it is.
    Plane(PlaneEvent),
    /// A packet asks for an SA.
    Acquire(Acquire),
}

#[derive(Debug)]
struct Installed {
    install: Box<ChildInstall>,
    selectors: Vec<Selector>,
}

/// The kernel's SAs and policies that belong to this daemon. Dropping it leaves them in the kernel.
///
/// `AsRawFd` is for mio's `SourceFd`: when it is readable, call [`events`](Self::events).
#[derive(Debug)]
pub struct Xfrm {
    requests: Socket,
    notifications: Socket,
    /// Where the kernel tells the last state of an SA that is to move.
    removals: Socket,
    children: BTreeMap<SaId, Installed>,
    /// What has no SA: traps and shunts.
    rules: BTreeMap<SaId, (Rule, Vec<Selector>)>,
    /// Packets that wait for an SA: the kernel's name for each, and its ends.
    waiting: VecDeque<(u32, IpAddr, IpAddr)>,
    by_inbound: HashMap<u32, SaId>,
    by_outbound: HashMap<(IpAddr, u32), SaId>,
    policies: HashMap<PolicyKey, Policy>,
    /// What was there before this run, until something of it takes its place.
    leftovers: leftover::Leftovers,
    /// Child SAs whose packets wait.
    held: held::Held,
}

impl Xfrm {
    /// Opens the netlink sockets in the calling thread's namespace. Needs `CAP_NET_ADMIN` for what follows.
    ///
    /// # Errors
    /// The kernel's: `EPROTONOSUPPORT` if it has no XFRM (see [`probe`](Self::probe)).
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            requests: Socket::open(libc::NETLINK_XFRM, 0)?,
            notifications: Socket::open(libc::NETLINK_XFRM, EVENT_GROUPS)?,
            removals: moved::open_removals()?,
            children: BTreeMap::new(),
            rules: BTreeMap::new(),
            waiting: VecDeque::new(),
            by_inbound: HashMap::new(),
            by_outbound: HashMap::new(),
            policies: HashMap::new(),
            leftovers: leftover::Leftovers::default(),
            held: held::Held::default(),
        })
    }

    /// Whether the kernel can be the data plane for a family: adds and removes an SA between two documentation addresses.
    ///
    /// # Errors
    /// [`WhyNot`] names what is missing.
    pub fn probe(ipv6: bool) -> Result<(), WhyNot> {
        let mut socket = Socket::open(libc::NETLINK_XFRM, 0).map_err(|error| match error.raw_os_error() {
            Some(libc::EPROTONOSUPPORT) => WhyNot::NoXfrm,
            Some(libc::EPERM | libc::EACCES) => WhyNot::NotPermitted,
            _ => WhyNot::Other(error.into()),
        })?;
        let (local, remote): (IpAddr, IpAddr) = if ipv6 {
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffd].into())
        } else {
            ([192, 0, 2, 254].into(), [192, 0, 2, 253].into())
        };
        let test_sa = |id, integrity, octets, integrity_octets| EspSa {
            spi: 0xfffe,
            encryption: Encryption { id, key_length: Some(128) },
            integrity,
            encryption_key: Secret::new(vec![0; octets]),
            integrity_key: Secret::new(vec![0; integrity_octets]),
        };
        let gcm = test_sa(EncryptionId::AES_GCM_16, None, 20, 0);
        match try_sa(&mut socket, local, remote, &gcm)? {
            Ok(()) => Ok(()),
            Err(error) if error.is(libc::EPERM) => Err(WhyNot::NotPermitted),
            Err(error) if error.is(libc::EPROTONOSUPPORT) => Err(WhyNot::NoEsp { ipv6 }),
            // The kernel looks for the algorithm before it looks for ESP: ask with a more common one which is missing.
            Err(error) if error.is(libc::ENOSYS) || error.is(libc::ENOENT) => {
                let cbc = test_sa(EncryptionId::AES_CBC, Some(IntegrityId::HMAC_SHA1_96), 16, 20);
                match try_sa(&mut socket, local, remote, &cbc)? {
                    Err(error) if error.is(libc::EPROTONOSUPPORT) => Err(WhyNot::NoEsp { ipv6 }),
                    _ => Err(WhyNot::NoAlgorithm),
                }
            }
            Err(error) => Err(WhyNot::Other(error)),
        }
    }

    /// Carries a command out. Deleting a Child SA that is not there is no error: it may have died in the kernel.
    ///
    /// # Errors
    /// [`XfrmError`]. After a failed installation nothing of it is left; a failed update leaves the Child SA removed.
    pub fn apply(&mut self, command: &Command) -> Result<(), XfrmError> {
        match command {
            Command::Install(install) => self.install(install),
            Command::Hold { child } => self.hold(*child),
            Command::Release { child } => self.release(*child),
            Command::Retire { child } => self.retire(*child),
            Command::Delete { child } => self.delete(*child),
            Command::Update { child, local, remote, encapsulated } => {
                self.update(*child, *local, *remote, *encapsulated)
            }
            Command::Reselect { child, local_ts, remote_ts } => self.reselect(*child, local_ts, remote_ts),
            Command::Expect { .. } => Ok(()), // whoever can check what comes keeps it
            Command::ReportTraffic { .. } => Ok(()), // whoever knows the wall clock asks for the counters
            Command::Trap(trap) => {
                self.add_rule(trap.trap, Rule::trap(trap), selectors(&trap.local_ts, &trap.remote_ts, &trap.binding)?)
            }
            Command::Shunt(shunt) => self.add_rule(
                shunt.shunt,
                Rule::shunt(shunt),
                selectors(&shunt.local_ts, &shunt.remote_ts, &shunt.binding)?,
            ),
            Command::RemoveTrap { trap: rule } | Command::RemoveShunt { shunt: rule } => self.remove_rule(*rule),
        }
    }

    fn install(&mut self, install: &ChildInstall) -> Result<(), XfrmError> {
        if self.children.contains_key(&install.child) {
            return Err(XfrmError::ChildExists(install.child));
        }
        if install.replay_window > MAX_REPLAY_WINDOW {
            return Err(XfrmError::ReplayWindow { asked: install.replay_window, most: MAX_REPLAY_WINDOW });
        }
        let selectors = match install.policies {
            true => selectors(&install.local_ts, &install.remote_ts, &install.binding)?,
            false => Vec::new(),
        };
        self.add_sa(install, Side::Inbound, None)?;
        if let Err(error) = self.add_sa(install, Side::Outbound, None) {
            let _ = self.delete_sa(install, Side::Inbound);
            return Err(error);
        }
        let child = install.child;
        self.register(Installed { install: Box::new(install.clone()), selectors });
        if let Err(error) = self.set_policies(child) {
            let _ = self.delete(child);
            return Err(error);
        }
        Ok(())
    }

    fn register(&mut self, installed: Installed) {
        let install = &installed.install;
        self.by_inbound.insert(install.inbound.spi, install.child);
        self.by_outbound.insert((install.remote.ip(), install.outbound.spi), install.child);
        let rule = Rule::of(install);
        for selector in &installed.selectors {
            self.policies.entry(rule.key(selector)).or_default().add_after(
                install.child,
                rule.rank(),
                install.succeeds,
            );
        }
        self.children.insert(install.child, installed);
    }

    /// Sets the policies of a Child SA, where it rules. What waited for others goes by it.
    fn set_policies(&mut self, child: SaId) -> Result<(), XfrmError> {
        let Some(Installed { install, selectors }) = self.children.get(&child) else { return Ok(()) };
        let (rule, selectors) = (Rule::of(install), selectors.clone());
        for selector in &selectors {
            let policy = self.policies.get(&rule.key(selector)).filter(|policy| policy.ruler() == Some(child));
            let Some(policy) = policy else { continue };
            let before = policy.heir().and_then(|user| self.rule_of(user));
            let taken = self.is_taken(&rule, selector);
            set_policy(&mut self.requests, child, &rule, (selector, taken))?;
            if let Some(before) = before {
                self.yield_directions(&before, &rule, child, selector)?;
            }
        }
        self.waits_no_more(child);
        Ok(())
    }

    /// Other selectors for a Child SA: the new policies first, so that nothing passes in the clear.
    fn reselect(
        &mut self,
        child: SaId,
        local_ts: &[TrafficSelector],
        remote_ts: &[TrafficSelector],
    ) -> Result<(), XfrmError> {
        let Some(installed) = self.children.get_mut(&child) else { return Err(XfrmError::UnknownChild(child)) };
        (installed.install.local_ts, installed.install.remote_ts) = (local_ts.to_vec(), remote_ts.to_vec());
        if !installed.install.policies {
            return Ok(());
        }
        let new = selectors(local_ts, remote_ts, &installed.install.binding)?;
        let old = std::mem::replace(&mut installed.selectors, new.clone());
        let rule = Rule::of(&installed.install);
        for selector in &new {
            self.policies.entry(rule.key(selector)).or_default().add(child, rule.rank());
        }
        self.set_policies(child)?;
        let gone: Vec<Selector> = old.into_iter().filter(|selector| !new.contains(selector)).collect();
        self.release_policies(&rule, child, &gone)
    }

    /// The policies go, to its successor if there is one; without one what is received still needs those for that. The SAs
    /// stay, the outbound one as well: a packet that another processor is about to send by it is not lost.
    fn retire(&mut self, child: SaId) -> Result<(), XfrmError> {
        let Some(Installed { install, selectors }) = self.children.get(&child) else { return Ok(()) };
        let rule = Rule::of(install);
        let (alone, shared): (Vec<Selector>, Vec<Selector>) =
            selectors.iter().partition(|selector| self.is_alone(&rule, child, selector));
        let mut result = self.release_policies(&rule, child, &shared);
        for selector in &alone {
            result = result.and(self.release_outbound(&rule, child, selector));
        }
        self.children.entry(child).and_modify(|installed| installed.selectors = alone);
        self.waits_no_more(child);
        result
    }

    fn delete(&mut self, child: SaId) -> Result<(), XfrmError> {
        let Some(Installed { install, selectors }) = self.children.remove(&child) else { return Ok(()) };
        self.by_inbound.remove(&install.inbound.spi);
        self.by_outbound.remove(&(install.remote.ip(), install.outbound.spi));
        // Policies first: without their SAs they would only make the kernel ask for new ones.
        let mut result = self.release_policies(&Rule::of(&install), child, &selectors);
        self.waits_no_more(child);
        for side in [Side::Inbound, Side::Outbound] {
            result = result.and(self.delete_sa(&install, side));
        }
        result
    }

    fn update(
        &mut self,
        child: SaId,
        local: SocketAddr,
        remote: SocketAddr,
        encapsulated: bool,
    ) -> Result<(), XfrmError> {
        let old = self.children.get(&child).ok_or(XfrmError::UnknownChild(child))?.install.clone();
        if (old.local, old.remote, old.encapsulated) == (local, remote, encapsulated) {
            return Ok(());
        }
        let mut new = old.clone();
        (new.local, new.remote, new.encapsulated) = (local, remote, encapsulated);
        // An SA is known by its destination address, so a move is a removal and an addition that keeps sequence numbers and
        // counters.
        let mut moved = Ok(());
        for side in [Side::Inbound, Side::Outbound] {
            moved = moved.and_then(|()| {
                let carried = self.take_out(&old, side)?;
                self.add_sa(&new, side, Some(carried))
            });
        }
        if let Err(error) = moved {
            let _ = self.delete(child);
            for side in [Side::Inbound, Side::Outbound] {
                let _ = self.delete_sa(&new, side); // whichever has moved
            }
            return Err(error);
        }
        self.by_outbound.remove(&(old.remote.ip(), old.outbound.spi));
        self.by_outbound.insert((new.remote.ip(), new.outbound.spi), child);
        let Some(installed) = self.children.get_mut(&child) else { return Ok(()) };
        installed.install = new;
        self.set_policies(child)
    }

    fn add_sa(&mut self, install: &ChildInstall, side: Side, carried: Option<Carried>) -> Result<(), XfrmError> {
        let (sa, source, destination) = side.of(install);
        let names = algorithms(sa)?;
        // Only the receiver has a window; the sender's state has one in form where ESN wants it.
        let window = match (side, install.esn) {
            (Side::Inbound, true) => install.replay_window.max(1), // the kernel has no ESN without a window
            (Side::Inbound, false) => install.replay_window,
            (Side::Outbound, true) => 1,
            (Side::Outbound, false) => 0,
        };
        let long = install.esn || window > 32;
        let info = SaInfo {
            sequence: if side == Side::Outbound { self.awaited_by(install) } else { 0 },
            source: source.ip(),
            destination: destination.ip(),
            spi: sa.spi,
            reqid: install.reqid,
            mode: message::mode_number(install.mode),
            replay_window: if long { 0 } else { window as u8 }, // at most 32
            esn: install.esn,
            icmp: install.binding.icmp,
            header_flags: message::header_flags(&install.header, side == Side::Inbound),
            limits: Limits {
                soft_octets: install.soft_bytes,
                soft_packets: install.soft_packets,
                hard_octets: install.hard_bytes,
                hard_packets: install.hard_packets,
                hard_seconds: install.hard_lifetime.map(|lifetime| lifetime.as_secs().max(1)),
            },
        };
        let mut request = Request::new(message::NEW_SA, CREATE | EXCLUSIVE);
        request.put(&message::sa_info(&info));
        for (kind, value) in message::algorithm_attributes(sa, names) {
            request.attribute(kind, &value);
        }
        for (kind, value) in message::sa_binding(&install.binding, side == Side::Inbound) {
            request.attribute(kind, &value);
        }
        if let Some((kind, value)) = message::header_attribute(&install.header, side == Side::Inbound) {
            request.attribute(kind, &value);
        }
        if install.encapsulated {
            request.attribute(message::ATTRIBUTE_ENCAPSULATION, &message::encapsulation(source, destination));
        }
        // The kernel takes the least of this and what fits; Linux 7.2 refuses what no packet can be.
        let padding = match (side, install.mode, install.tfc_padding) {
            (Side::Inbound, ..) | (_, Mode::Transport, _) | (.., TfcPadding::None) => None,
            (.., TfcPadding::To(octets)) => Some(octets.min(u32::from(u16::MAX))),
            (.., TfcPadding::Mtu) => Some(u32::from(u16::MAX)),
        };
        if let Some(octets) = padding {
            request.attribute(message::ATTRIBUTE_TFC_PADDING, &octets.to_ne_bytes());
        }
        match carried {
            Some(carried) => {
                for (kind, value) in carried.attributes {
                    request.attribute(kind, &value);
                }
            }
            None if long => {
                request.attribute(message::ATTRIBUTE_REPLAY_ESN, &message::replay_esn(window));
            }
            None => {}
        }
        let step = match side {
            Side::Inbound => Step::AddInbound,
            Side::Outbound => Step::AddOutbound,
        };
        self.requests.request(request).map(drop).map_err(refused(step, install.child))
    }

    /// The kernel's name for the packet that asked for this SA, or 0. With it the SA takes the place of what the kernel
    /// keeps until there is one, so that packets which need another SA ask anew.
    fn awaited_by(&mut self, install: &ChildInstall) -> u32 {
        let within = |list: &[TrafficSelector], address: IpAddr| {
            list.iter().any(|ts| ts.contains(address, ts.protocol, ts.start_port))
        };
        let fits = |(_, source, destination): &(u32, IpAddr, IpAddr)| {
            within(&install.local_ts, *source) && within(&install.remote_ts, *destination)
        };
        let found = self.waiting.iter().position(fits);
        found.and_then(|at| self.waiting.remove(at)).map_or(0, |(sequence, ..)| sequence)
    }

    fn delete_sa(&mut self, install: &ChildInstall, side: Side) -> Result<(), XfrmError> {
        let (sa, _, destination) = side.of(install);
        let mut request = Request::new(message::DELETE_SA, 0);
        request.put(&message::sa_id(destination.ip(), sa.spi));
        if let Some(mark) = message::sa_mark(&install.binding, side == Side::Inbound) {
            request.attribute(message::ATTRIBUTE_MARK, &message::mark(mark));
        }
        match self.requests.request(request) {
            // It expired in the meantime.
            Err(error) if error.is(libc::ESRCH) => Ok(()),
            other => other.map(drop).map_err(refused(Step::DeleteSa, install.child)),
        }
    }

    fn read_sa(&mut self, install: &ChildInstall, side: Side) -> Result<crate::netlink::Reply, XfrmError> {
        let (sa, _, destination) = side.of(install);
        let mut request = Request::new(message::GET_SA, 0);
        request.put(&message::sa_id(destination.ip(), sa.spi));
        if let Some(mark) = message::sa_mark(&install.binding, side == Side::Inbound) {
            request.attribute(message::ATTRIBUTE_MARK, &message::mark(mark));
        }
        let gone = || NetlinkError::from(io::Error::from_raw_os_error(libc::ESRCH));
        self.requests
            .request(request)
            .and_then(|replies| replies.into_iter().find(|reply| reply.kind == message::NEW_SA).ok_or_else(gone))
            .map_err(refused(Step::ReadSa, install.child))
    }

    /// What passed through a Child SA. `wall_seconds` is the time since 1970, by which the kernel remembers last use.
    ///
    /// # Errors
    /// [`XfrmError::UnknownChild`], or the kernel's refusal if an SA has expired there.
    pub fn counters(&mut self, wall_seconds: u64, child: SaId) -> Result<Counters, XfrmError> {
        let install = self.children.get(&child).ok_or(XfrmError::UnknownChild(child))?.install.clone();
        let mut read = |side| {
            let reply = self.read_sa(&install, side)?;
            let state = reply.fixed(message::SA_INFO).and_then(message::read_sa);
            let (octets, packets) = state.map_or((0, 0), |state| (state.octets, state.packets));
            let last_used = reply
                .attributes(message::SA_INFO)
                .get(message::ATTRIBUTE_LAST_USED)
                .and_then(|octets| octets.first_chunk().map(|octets| u64::from_ne_bytes(*octets)))
                .filter(|last| *last != 0 && packets != 0);
            let idle = last_used.map(|last| Duration::from_secs(wall_seconds.saturating_sub(last)));
            Ok((octets, packets, idle))
        };
        let (bytes_in, packets_in, idle_in) = read(Side::Inbound)?;
        let (bytes_out, packets_out, idle_out) = read(Side::Outbound)?;
        Ok(Counters { bytes_in, packets_in, bytes_out, packets_out, idle_in, idle_out })
    }

    /// What the kernel has reported since the last call; empty if nothing.
    ///
    /// # Errors
    /// The socket's. That reports were lost is none: [`lost_reports`](Self::lost_reports) tells it.
    pub fn events(&mut self) -> io::Result<Vec<XfrmEvent>> {
        let replies = self.notifications.notifications()?;
        for reply in replies.iter().filter(|reply| reply.kind == message::ACQUIRE) {
            self.note_waiting(reply);
        }
        Ok(replies.iter().filter_map(|reply| self.event(reply)).collect())
    }

    fn note_waiting(&mut self, reply: &crate::netlink::Reply) {
        /// More packets than this do not wait: the kernel forgets them by itself.
        const MOST: usize = 256;
        let (Some(octets), Some(XfrmEvent::Acquire(acquire))) = (reply.fixed(message::ACQUIRE_INFO), self.event(reply))
        else {
            return;
        };
        let (Some(sequence), Some(reqid)) = (message::acquire_sequence(octets), acquire.reqid) else { return };
        if !self.rules.values().any(|(rule, _)| matches!(rule, Rule::Protect(template) if template.reqid == reqid)) {
            return;
        }
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back((sequence, acquire.source.ip(), acquire.destination.ip()));
    }

    fn event(&self, reply: &crate::netlink::Reply) -> Option<XfrmEvent> {
        match reply.kind {
            message::EXPIRE => {
                let octets = reply.fixed(message::SA_INFO + 1)?;
                let state = message::read_sa(octets)?;
                let child = self
                    .by_outbound
                    .get(&(state.destination, state.spi))
                    .or_else(|| self.by_inbound.get(&state.spi))
                    .copied()?;
                let event = if message::read_hard(octets)? {
                    PlaneEvent::HardExpire { child }
                } else {
                    PlaneEvent::SoftExpire { child }
                };
                Some(XfrmEvent::Plane(event))
            }
            message::MAPPING => {
                let (_, spi, remote) = message::read_mapping(reply.fixed(message::MAPPING_INFO)?)?;
                let child = *self.by_inbound.get(&spi)?;
                Some(XfrmEvent::Plane(PlaneEvent::PeerMoved { child, remote }))
            }
            message::ACQUIRE => {
                let octets = reply.fixed(message::ACQUIRE_INFO)?;
                let (source, destination, protocol) = message::read_selector(octets.get(40..)?)?;
                // The template's reqid follows id (24), family (4) and source (16).
                let template = reply.attributes(message::ACQUIRE_INFO).get(message::ATTRIBUTE_TEMPLATE);
                let reqid = template
                    .and_then(|template| template.get(44..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets)))
                    .filter(|reqid| *reqid != 0);
                Some(XfrmEvent::Acquire(Acquire { reqid, source, destination, protocol }))
            }
            _ => None,
        }
    }

    /// How many SAs and policies the kernel has in this namespace, whoever made them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn count(&mut self) -> Result<(usize, usize), NetlinkError> {
        let states = self.requests.request(Request::new(message::GET_SA, DUMP))?;
        let policies = self.requests.request(Request::new(message::GET_POLICY, DUMP))?;
        let count = |replies: &[crate::netlink::Reply], kind| replies.iter().filter(|reply| reply.kind == kind).count();
        Ok((count(&states, message::NEW_SA), count(&policies, message::NEW_POLICY)))
    }
}

impl AsRawFd for Xfrm {
    fn as_raw_fd(&self) -> RawFd {
        self.notifications.as_raw_fd()
    }
}

/// Adds an SA and removes it: the inner result is the kernel's answer to the addition.
fn try_sa(socket: &mut Socket, local: IpAddr, remote: IpAddr, sa: &EspSa) -> Result<Result<(), NetlinkError>, WhyNot> {
    let info = SaInfo {
        sequence: 0,
        source: local,
        destination: remote,
        spi: sa.spi,
        reqid: 0,
        mode: message::mode_number(Mode::Tunnel),
        replay_window: 0,
        esn: false,
        icmp: false,
        header_flags: 0,
        limits: Limits { hard_seconds: Some(5), ..Limits::default() },
    };
    let mut request = Request::new(message::NEW_SA, CREATE | EXCLUSIVE);
    request.put(&message::sa_info(&info));
    let names = algorithms(sa).map_err(|_| WhyNot::NoAlgorithm)?;
    for (kind, value) in message::algorithm_attributes(sa, names) {
        request.attribute(kind, &value);
    }
    match socket.request(request) {
        // EEXIST: left over from a probe that was interrupted, so it works.
        Err(error) if !error.is(libc::EEXIST) => return Ok(Err(error)),
        _ => {}
    }
    let mut request = Request::new(message::DELETE_SA, 0);
    request.put(&message::sa_id(remote, sa.spi));
    socket.request(request).map_err(WhyNot::Other)?;
    Ok(Ok(()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Inbound,
    Outbound,
}

impl Side {
    /// The SA with its source and destination.
    fn of(self, install: &ChildInstall) -> (&EspSa, SocketAddr, SocketAddr) {
        match self {
            Self::Inbound => (&install.inbound, install.remote, install.local),
            Self::Outbound => (&install.outbound, install.local, install.remote),
        }
    }
}

fn refused(step: Step, child: SaId) -> impl Fn(NetlinkError) -> XfrmError {
    move |source| XfrmError::Refused { step, child, source }
}
