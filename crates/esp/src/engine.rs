//! The userspace data plane: commands in, packets in and out, events out.

use crate::early::{Early, Kept};
use crate::header;
use crate::held::Held;
use crate::packet::InnerPacket;
use crate::replay::{ReplayError, ReplayWindow};
use crate::sa::{ChildSa, HEADER};
use crate::spd::{MixHasher, Place, Spd, Target};
use crate::too_big::{self, IPV4_MINIMUM_MTU};
use crate::transport;
use crypto::{BadKey, OpenError, Unsupported};
use model::dataplane::{ChildInstall, Command, Counters, Mode, OuterFields, PlaneEvent, TfcPadding, TrapInstall};
use model::{Instant, SaId};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

/// Next header: an IPv4 packet (RFC 4303 section 2.6).
const NEXT_IPV4: u8 = 4;
/// Next header: an IPv6 packet.
const NEXT_IPV6: u8 = 41;
/// Next header: a dummy packet for traffic flow confidentiality, to be dropped silently (RFC 4303 section 2.6).
const NEXT_NONE: u8 = 59;

/// [`PlaneEvent::UnknownSpi`] is reported so often per second at most.
const UNKNOWN_SPI_PER_SECOND: u32 = 10;

/// Senders of packets that are too long for the path hear so this often per second at most (RFC 4443 section 2.4 (f)).
const TOO_BIG_PER_SECOND: u32 = 100;

/// A trap reports a packet for a peer again after this time, and for so many peers meanwhile.
const ACQUIRE_INTERVAL: Duration = Duration::from_secs(1);
const ACQUIRES: usize = 32;

/// No packet is padded to more, whatever is configured: it has to go into a datagram.
const MOST_PADDED: usize = 65_000;

macro_rules! drop_reasons {
    ($($(#[$meta:meta])* $name:ident => $text:literal,)+) => {
        /// Why a packet was not passed on. Every one is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DropReason { $($(#[$meta])* $name,)+ }

        impl DropReason {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name),+];

            /// The stable name of its counter.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Inbound: too short for SPI, sequence number, IV, trailer and ICV.
    Truncated => "esp-truncated",
    /// Inbound: no SA has this SPI.
    UnknownSpi => "esp-unknown-spi",
    /// Inbound: its Child SA is being negotiated; kept until then.
    Early => "esp-early",
    /// Inbound: sequence number zero, which nobody may send.
    SequenceZero => "esp-sequence-zero",
    /// Inbound: left of the anti-replay window.
    TooOld => "esp-too-old",
    /// Inbound: the sequence number was seen before.
    Replayed => "esp-replayed",
    /// Inbound: not a whole number of cipher blocks.
    BlockLength => "esp-block-length",
    /// Inbound: the ICV is wrong.
    Integrity => "esp-integrity",
    /// Inbound: authentic, but the padding is not 1, 2, 3, ... or longer than the packet.
    Padding => "esp-padding",
    /// Inbound: authentic, but the next header is neither IPv4, IPv6 nor dummy, or contradicts the packet.
    NextHeader => "esp-next-header",
    /// Inbound: a dummy packet, as its sender wants it.
    Dummy => "esp-dummy",
    /// The inner packet is no whole IP packet.
    InnerPacket => "esp-inner-packet",
    /// Inbound: the inner packet lies outside the SA's selectors (RFC 4301 section 5.2).
    Selectors => "esp-selectors",
    /// Inbound: marked as congested on the way, and its sender knows no such marks (RFC 6040 section 4.2).
    Congestion => "esp-congestion",
    /// Outbound: a fragment, which transport mode does not carry (RFC 4303 section 3.3.4).
    Fragment => "esp-fragment",
    /// Outbound: all sequence numbers are used up, and the SA was not replaced.
    SequenceExhausted => "esp-sequence-exhausted",
    /// Outbound: nobody may fragment it, and it is too long for the path; its sender hears so.
    TooBig => "esp-too-big",
    /// Outbound: a trap's policy, whose Child SA is being negotiated.
    Acquiring => "esp-acquiring",
    /// Outbound: the peer replaces the Child SA, and too much waits for that already.
    HeldTooMuch => "esp-held-too-much",
    /// Outbound: no policy protects this packet.
    NoPolicy => "esp-no-policy",
}

/// What became of an inbound packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Authentic and within the selectors: hand it to the TUN device.
    Deliver {
        /// The Child SA it came through.
        child: SaId,
        /// Where the inner IP packet lies.
        inner: Range<usize>,
    },
    /// Dropped and counted.
    Drop(DropReason),
}

/// What became of an outbound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Send the buffer, which begins with the SPI.
    Send {
        /// The Child SA it goes through.
        child: SaId,
        /// Our address and port.
        local: SocketAddr,
        /// The peer's address and port.
        remote: SocketAddr,
        /// As the payload of a UDP datagram (RFC 3948), else as protocol 50.
        encapsulated: bool,
        /// What the IP header in front has of the packet inside.
        outer: OuterFields,
    },
    /// It waits ([`Command::Hold`]), and comes back by [`Engine::poll_held`].
    Held,
    /// Dropped and counted.
    Discard(DropReason),
    /// No policy protects the packet. The owner of the TUN device answers with an ICMP error or drops it; counted.
    NoPolicy,
}

/// Why a command could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// An algorithm that the library does not have.
    Algorithm(Unsupported),
    /// A key that does not fit its algorithm.
    Key(BadKey),
    /// Transport mode between IPv6 addresses, which this data plane does not have.
    TransportIpv6,
    /// Transport mode for other packets than all between the two addresses.
    TransportSelectors,
    /// The anti-replay window is larger than this data plane keeps.
    ReplayWindow {
        /// What was asked for.
        asked: u32,
        /// The most there is.
        most: u32,
    },
    /// Extended sequence numbers cannot be followed without an anti-replay window (RFC 4303 section 3.3.3).
    EsnWithoutReplayWindow,
    /// A Child SA of this number is installed already.
    ChildExists(SaId),
    /// Another Child SA receives with this SPI.
    SpiInUse {
        /// The SPI.
        spi: u32,
        /// Who has it.
        holder: SaId,
    },
    /// Policies have their order by how narrow they are.
    Priority,
    /// There is no Child SA of this number.
    UnknownChild(SaId),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm(unsupported) => write!(f, "the userspace data plane has no such algorithm: {unsupported}"),
            Self::Key(key) => write!(f, "a key does not fit its algorithm: {key}"),
            Self::TransportIpv6 => f.write_str(
                "the userspace data plane has transport mode with IPv4 only: set mode = tunnel, or use the kernel's data plane",
            ),
            Self::TransportSelectors => f.write_str(
                "the userspace data plane has transport mode for all packets between the two hosts only, without ports and \
                 protocols: leave them out, set mode = tunnel, or use the kernel's data plane",
            ),
            Self::ReplayWindow { asked, most } => {
                write!(f, "an anti-replay window of {asked} packets was asked for, the userspace data plane keeps {most}")
            }
            Self::EsnWithoutReplayWindow => f.write_str(
                "extended sequence numbers need an anti-replay window: set replay_window or leave esn out of esp_proposals",
            ),
            Self::ChildExists(child) => write!(f, "Child SA {child} is installed already"),
            Self::SpiInUse { spi, holder } => write!(f, "SPI {spi:08x} is in use by Child SA {holder}"),
            Self::Priority => f.write_str(
                "the userspace ESP orders its policies by how narrow they are: leave priority out, or use the kernel's ESP",
            ),
            Self::UnknownChild(child) => write!(f, "Child SA {child} is not installed"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Algorithm(unsupported) => Some(unsupported),
            Self::Key(key) => Some(key),
            _ => None,
        }
    }
}

/// Peers, and when a Child SA with them was asked for.
type Asked = VecDeque<(IpAddr, Instant)>;

/// The Security Association and Policy Databases of the userspace data plane, and the work on packets.
#[derive(Debug, Default)]
pub struct Engine {
    slots: Vec<Option<Box<ChildSa>>>,
    free: Vec<usize>,
    by_child: BTreeMap<SaId, usize>,
    by_spi: HashMap<u32, usize, BuildHasherDefault<MixHasher>>,
    spd: Spd,
    /// Traps, with the peers that packets were for and when that was reported last.
    traps: BTreeMap<SaId, (Box<TrapInstall>, Asked)>,
    deadlines: BTreeSet<(Instant, SaId)>,
    events: VecDeque<PlaneEvent>,
    drops: [u64; DropReason::ALL.len()],
    /// The second in which unknown SPIs are counted, and how many were reported in it.
    unknown_spis: (Instant, u32),
    /// Likewise of packets that were too long.
    too_big: (Instant, u32),
    early: Early,
    /// Early packets whose Child SA is installed now.
    due: VecDeque<Kept>,
    /// What waits to be sent.
    held: Held,
    /// The longest packet that comes to be sent, in octets, if that is known.
    mtu: Option<usize>,
}

impl Engine {
    /// An engine without SAs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how long a packet to be sent is at most, in octets: none is padded to more (RFC 4303 section 2.7).
    pub fn set_mtu(&mut self, octets: usize) {
        self.mtu = Some(octets);
    }

    /// Carries a command out. Deleting a Child SA that is not there is no error: it may have died here first.
    ///
    /// # Errors
    /// [`EngineError`]; nothing has changed then.
    pub fn apply(&mut self, now: Instant, command: &Command) -> Result<(), EngineError> {
        match command {
            Command::Expect { child, spi, .. } => {
                self.early.expect(now, *child, *spi);
                Ok(())
            }
            Command::Install(install) => {
                self.install(now, install)?;
                self.due.extend(self.early.take(install.child));
                Ok(())
            }
            Command::Hold { child } => {
                self.sa(*child).ok_or(EngineError::UnknownChild(*child))?;
                self.held.hold(*child);
                Ok(())
            }
            Command::Release { child } => {
                self.held.release(*child);
                Ok(())
            }
            Command::Retire { child } => {
                self.held.release(*child);
                if let Some(slot) = self.by_child.get(child)
                    && let Some(sa) = self.slots.get_mut(*slot).and_then(Option::as_deref_mut)
                {
                    self.spd.remove(*child, &sa.remote_ts);
                    sa.policies = false;
                }
                Ok(())
            }
            Command::Delete { child } => {
                self.early.take(*child);
                self.remove(*child);
                Ok(())
            }
            Command::Update { child, local, remote, encapsulated } => {
                let sa = self.sa_mut(*child).ok_or(EngineError::UnknownChild(*child))?;
                (sa.local, sa.remote, sa.encapsulated, sa.moved_to) = (*local, *remote, *encapsulated, None);
                Ok(())
            }
            Command::Reselect { child, local_ts, remote_ts } => {
                let slot = *self.by_child.get(child).ok_or(EngineError::UnknownChild(*child))?;
                let Some(sa) = self.slots.get_mut(slot).and_then(Option::as_deref_mut) else {
                    return Err(EngineError::UnknownChild(*child));
                };
                self.spd.remove(*child, &sa.remote_ts);
                (sa.local_ts, sa.remote_ts) = (local_ts.clone(), remote_ts.clone());
                if sa.policies {
                    let place = sa.age.map_or(Place::First, Place::Again);
                    sa.age = Some(self.spd.insert(*child, Target::Slot(slot), local_ts, remote_ts, place));
                }
                Ok(())
            }
            Command::ReportTraffic { child } => {
                // One that died here has been reported.
                if let Some(counters) = self.counters(now, *child) {
                    self.events.push_back(PlaneEvent::Traffic { child: *child, idle: counters.idle() });
                }
                Ok(())
            }
            Command::Trap(trap) => {
                if trap.priority.is_some() {
                    return Err(EngineError::Priority);
                }
                if trap.mode == Mode::Transport && trap.remote_ts.iter().any(|ts| ts.is_ipv6()) {
                    return Err(EngineError::TransportIpv6);
                }
                self.remove_trap(trap.trap);
                self.spd.insert(trap.trap, Target::Trap(trap.trap), &trap.local_ts, &trap.remote_ts, Place::First);
                self.traps.insert(trap.trap, (trap.clone(), VecDeque::new()));
                Ok(())
            }
            Command::RemoveTrap { trap } => {
                self.remove_trap(*trap);
                Ok(())
            }
            // What is to pass does not come here: whoever leads packets here leads it by, whatever the priority. What is to be
            // dropped does not come here either.
            Command::Shunt(_) | Command::RemoveShunt { .. } => Ok(()),
        }
    }

    fn install(&mut self, now: Instant, install: &ChildInstall) -> Result<(), EngineError> {
        if install.mode == Mode::Transport {
            transport::permits(install)?;
        }
        if install.replay_window > ReplayWindow::MAX_SIZE {
            return Err(EngineError::ReplayWindow { asked: install.replay_window, most: ReplayWindow::MAX_SIZE });
        }
        if install.esn && install.replay_window == 0 {
            return Err(EngineError::EsnWithoutReplayWindow);
        }
        if install.priority.is_some() {
            return Err(EngineError::Priority);
        }
        if self.by_child.contains_key(&install.child) {
            return Err(EngineError::ChildExists(install.child));
        }
        if let Some(holder) = self.by_spi.get(&install.inbound.spi).and_then(|slot| self.slots.get(*slot)?.as_ref()) {
            return Err(EngineError::SpiInUse { spi: install.inbound.spi, holder: holder.child });
        }
        let mut sa = Box::new(ChildSa::new(now, install)?);
        let place = install.succeeds.and_then(|old| self.sa(old)?.age).map_or(Place::First, Place::Behind);
        if let Some(deadline) = sa.deadline {
            self.deadlines.insert((deadline, sa.child));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_child.insert(sa.child, slot);
        self.by_spi.insert(sa.inbound.spi, slot);
        if install.policies {
            sa.age = Some(self.spd.insert(sa.child, Target::Slot(slot), &sa.local_ts, &sa.remote_ts, place));
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(sa);
        }
        Ok(())
    }

    fn remove_trap(&mut self, trap: SaId) {
        if let Some((trap, _)) = self.traps.remove(&trap) {
            self.spd.remove(trap.trap, &trap.remote_ts);
        }
    }

    /// A packet needs a Child SA. Many may come before there is one: each trap asks once a second for each peer.
    fn acquire(&mut self, now: Instant, trap: SaId, packet: &InnerPacket) {
        let Some((of, asked)) = self.traps.get_mut(&trap) else { return };
        // With a trap for any peer each packet is for one of its own.
        let peer = if of.remote.is_unspecified() { packet.destination } else { of.remote };
        asked.retain(|(_, at)| now.since(*at) < ACQUIRE_INTERVAL);
        if asked.len() >= ACQUIRES || asked.iter().any(|(other, _)| *other == peer) {
            return;
        }
        asked.push_back((peer, now));
        let (mut from, mut to) = packet.ports.unwrap_or_default();
        if matches!(packet.protocol, 1 | 58) {
            (from, to) = (from >> 8, from & 0xff); // type and code, as the kernel reports them
        }
        let (source, destination) = (SocketAddr::new(packet.source, from), SocketAddr::new(packet.destination, to));
        self.events.push_back(PlaneEvent::Acquire { trap, source, destination, protocol: packet.protocol });
    }

    fn remove(&mut self, child: SaId) {
        let Some(slot) = self.by_child.remove(&child) else { return };
        self.held.release(child);
        if let Some(sa) = self.slots.get_mut(slot).and_then(Option::take) {
            self.by_spi.remove(&sa.inbound.spi);
            self.spd.remove(child, &sa.remote_ts);
            if let Some(deadline) = sa.deadline {
                self.deadlines.remove(&(deadline, child));
            }
            self.free.push(slot);
        }
    }

    fn sa(&self, child: SaId) -> Option<&ChildSa> {
        self.slots.get(*self.by_child.get(&child)?)?.as_deref()
    }

    fn sa_mut(&mut self, child: SaId) -> Option<&mut ChildSa> {
        self.slots.get_mut(*self.by_child.get(&child)?)?.as_deref_mut()
    }

    /// Opens an ESP packet in place. `packet` begins with the SPI: the payload of protocol 50, or of a UDP datagram that is
    /// neither IKE nor a keepalive. `from` is where it came from. An SA accepts both wrappings, whichever it sends with
    /// (RFC 7296 section 2.23). What its IP header came with is not known, and changes nothing inside.
    pub fn open(&mut self, now: Instant, packet: &mut [u8], from: SocketAddr) -> Verdict {
        self.open_with(now, packet, from, None)
    }

    /// As [`open`](Self::open), with the octet of DSCP and ECN that the packet's IP header had, if that is known: they go
    /// inside as the Child SA has it ([`model::dataplane::HeaderFields`]).
    pub fn open_with(&mut self, now: Instant, packet: &mut [u8], from: SocketAddr, class: Option<u8>) -> Verdict {
        match self.try_open(now, packet, from, class) {
            Ok((child, inner)) => Verdict::Deliver { child, inner },
            Err(reason) => {
                self.count_drop(reason);
                Verdict::Drop(reason)
            }
        }
    }

    /// The next packet that came before its Child SA was installed, with where it came from and the octet of DSCP and ECN:
    /// to be opened now.
    pub fn poll_early(&mut self) -> Option<(SocketAddr, Option<u8>, Vec<u8>)> {
        self.due.pop_front()
    }

    /// The next packet that waits no more: to be sealed now.
    pub fn poll_held(&mut self) -> Option<Vec<u8>> {
        self.held.pop()
    }

    fn try_open(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        from: SocketAddr,
        class: Option<u8>,
    ) -> Result<(SaId, Range<usize>), DropReason> {
        let &[s0, s1, s2, s3, q0, q1, q2, q3] = packet.first_chunk::<HEADER>().ok_or(DropReason::Truncated)?;
        let spi = u32::from_be_bytes([s0, s1, s2, s3]);
        let slot = self.by_spi.get(&spi).copied();
        let Some(sa) = slot.and_then(|slot| self.slots.get_mut(slot)?.as_deref_mut()) else {
            if self.early.keep(now, spi, packet, from, class) {
                return Err(DropReason::Early);
            }
            self.report_unknown_spi(now, spi, from);
            return Err(DropReason::UnknownSpi);
        };

        // The cheap check first: a replayed packet costs no decryption (RFC 4303 section 3.4.3).
        let inbound = &mut sa.inbound;
        let sequence = inbound.window.check(u32::from_be_bytes([q0, q1, q2, q3])).map_err(|refused| match refused {
            ReplayError::Zero => DropReason::SequenceZero,
            ReplayError::TooOld => DropReason::TooOld,
            ReplayError::Replayed => DropReason::Replayed,
        })?;
        let esn_high = inbound.esn.then_some((sequence >> 32) as u32);
        let content = inbound.opener.open(packet, esn_high).map_err(|refused| match refused {
            OpenError::TooShort => DropReason::Truncated,
            OpenError::NotBlockMultiple => DropReason::BlockLength,
            OpenError::IntegrityCheckFailed => DropReason::Integrity,
            OpenError::BadPadding => DropReason::Padding,
        })?;
        let newest = inbound.window.mark(sequence);

        // Only an authentic packet that no newer one has overtaken tells where the peer is now: an attacker who delays or
        // repeats packets moves nothing (RFC 7296 section 2.23).
        if newest && sa.encapsulated {
            if from == sa.remote {
                sa.moved_to = None;
            } else if sa.moved_to != Some(from) {
                sa.moved_to = Some(from);
                self.events.push_back(PlaneEvent::PeerMoved { child: sa.child, remote: from });
            }
        }

        let (payload, next_header) = strip_trailer(packet.get(content.clone()).ok_or(DropReason::Truncated)?)?;
        let at = match (sa.mode, next_header) {
            (_, NEXT_NONE) => return Err(DropReason::Dummy),
            (Mode::Tunnel, NEXT_IPV4 | NEXT_IPV6) => {
                let version = if next_header == NEXT_IPV4 { 4 } else { 6 };
                if payload.first().is_some_and(|first| first >> 4 != version) {
                    return Err(DropReason::NextHeader);
                }
                content.start..content.start + payload.len()
            }
            (Mode::Transport, protocol) => {
                let at = content.start..content.start + payload.len();
                let (IpAddr::V4(source), IpAddr::V4(destination)) = (sa.remote.ip(), sa.local.ip()) else {
                    return Err(DropReason::InnerPacket);
                };
                let addresses = (source, destination);
                let at = transport::rebuild(packet, at, protocol, addresses, sa.encapsulated);
                let at = at.ok_or(DropReason::InnerPacket)?;
                // The header that came is the packet's own.
                if let (Some(class), Some(whole)) = (class, packet.get_mut(at.clone())) {
                    header::set_traffic_class(whole, class);
                }
                at
            }
            _ => return Err(DropReason::NextHeader),
        };
        let inner = packet.get(at.clone()).unwrap_or_default();
        let inner = InnerPacket::parse(inner).map_err(|_| DropReason::InnerPacket)?;
        // RFC 4301 section 5.2 step 4: from the peer's side to ours.
        let admitted = sa.remote_ts.iter().any(|remote| sa.local_ts.iter().any(|local| inner.matches(remote, local)));
        if !admitted {
            return Err(DropReason::Selectors);
        }
        if let (Mode::Tunnel, Some(class), Some(whole)) = (sa.mode, class, packet.get_mut(at.clone())) {
            header::decapsulate(whole, class, &sa.header).map_err(|_| DropReason::Congestion)?;
        }
        sa.inbound.traffic.count(now, inner.length);
        let (child, length) = (sa.child, inner.length);
        if sa.hard_expires() {
            self.volume_spent(child);
        } else if sa.soft_expires() {
            self.events.push_back(PlaneEvent::SoftExpire { child });
        }
        Ok((child, at.start..at.start + length))
    }

    /// Seals an IP packet that was routed to us into `out`, which is emptied first and keeps its memory.
    ///
    /// No random source is needed: the sealer makes its IVs from the sequence number.
    pub fn seal(&mut self, now: Instant, inner: &[u8], out: &mut Vec<u8>) -> Outbound {
        match self.try_seal(now, inner, out) {
            Ok(send) => send,
            Err(reason) => {
                out.clear();
                self.count_drop(reason);
                if reason == DropReason::NoPolicy { Outbound::NoPolicy } else { Outbound::Discard(reason) }
            }
        }
    }

    fn try_seal(&mut self, now: Instant, inner: &[u8], out: &mut Vec<u8>) -> Result<Outbound, DropReason> {
        let packet = InnerPacket::parse(inner).map_err(|_| DropReason::InnerPacket)?;
        let inner = inner.get(..packet.length).ok_or(DropReason::InnerPacket)?;
        let slot = match self.spd.lookup(&packet).ok_or(DropReason::NoPolicy)? {
            Target::Slot(slot) => slot,
            Target::Trap(trap) => {
                self.acquire(now, trap, &packet);
                return Err(DropReason::Acquiring);
            }
        };
        let sa = self.slots.get_mut(slot).and_then(Option::as_deref_mut).ok_or(DropReason::NoPolicy)?;
        if self.held.holds(sa.child) {
            out.clear();
            let kept = self.held.keep(sa.child, inner);
            return if kept { Ok(Outbound::Held) } else { Err(DropReason::HeldTooMuch) };
        }
        let (carried, next_header) = match sa.mode {
            Mode::Tunnel => (inner, if packet.source.is_ipv4() { NEXT_IPV4 } else { NEXT_IPV6 }),
            Mode::Transport => {
                let (at, protocol) = transport::payload(inner).ok_or(DropReason::Fragment)?;
                (inner.get(at..).ok_or(DropReason::InnerPacket)?, protocol)
            }
        };
        // RFC 4303 section 2.7: behind a packet that says how long it is, so not in transport mode.
        let tfc = match (sa.mode, sa.tfc_padding) {
            (Mode::Transport, _) | (_, TfcPadding::None) => 0,
            (_, TfcPadding::To(octets)) => self.mtu.unwrap_or(usize::MAX).min(octets as usize).min(MOST_PADDED),
            (_, TfcPadding::Mtu) => self.mtu.unwrap_or(0),
        };
        let tfc = tfc.saturating_sub(carried.len());
        let mut outer = match sa.mode {
            Mode::Tunnel => header::outer(inner, &sa.header),
            Mode::Transport => header::own(inner),
        };
        // The padding is ours: its sender cannot make a packet shorter that is padded in any case.
        outer.dont_fragment &= tfc == 0;
        let outbound = &mut sa.outbound;
        let sequence = outbound.next_sequence().ok_or(DropReason::SequenceExhausted)?;

        let (iv, icv) = (outbound.sealer.iv_len(), outbound.sealer.icv_len());
        // RFC 4303 section 2.4: pad length and next header end on a 4-octet boundary, and on a block of the cipher.
        let align = outbound.sealer.block_len().max(4);
        let padding = (align - (carried.len() + tfc + 2) % align) % align;

        out.clear();
        out.reserve(HEADER + iv + carried.len() + tfc + padding + 2 + icv);
        out.extend_from_slice(&outbound.spi.to_be_bytes());
        out.extend_from_slice(&(sequence as u32).to_be_bytes()); // the low half, RFC 4304 section 2
        out.resize(HEADER + iv, 0);
        out.extend_from_slice(carried);
        out.resize(out.len() + tfc, 0);
        out.extend((1..=padding).map(|octet| octet as u8)); // at most 15
        out.push(padding as u8);
        out.push(next_header);
        out.resize(out.len() + icv, 0);
        outbound.sealer.seal(out, outbound.esn.then_some((sequence >> 32) as u32), sequence);

        outbound.traffic.count(now, inner.len());
        let (child, local, remote, encapsulated) = (sa.child, sa.local, sa.remote, sa.encapsulated);
        if sa.hard_expires() {
            self.volume_spent(child);
        } else if sa.soft_expires() {
            self.events.push_back(PlaneEvent::SoftExpire { child });
        }
        Ok(Outbound::Send { child, local, remote, encapsulated, outer })
    }

    /// A packet that [`seal`](Self::seal) wanted nobody to fragment is too long for the path to the peer, which takes
    /// `path_mtu` octets: what to give to the TUN device for the sender of `inner` to hear so, if it is to (RFC 4301 section
    /// 8.2.1). Counted.
    pub fn too_big(&mut self, now: Instant, child: SaId, inner: &[u8], path_mtu: usize) -> Option<Vec<u8>> {
        self.count_drop(DropReason::TooBig);
        let packet = InnerPacket::parse(inner).ok()?;
        let inner = inner.get(..packet.length)?;
        let sa = self.sa(child)?;
        let headers = if sa.remote.is_ipv4() { 20 } else { 40 } + if sa.encapsulated { 8 } else { 0 } + HEADER;
        let sealer = &sa.outbound.sealer;
        let room = path_mtu.checked_sub(headers + sealer.iv_len() + sealer.icv_len())?;
        let align = sealer.block_len().max(4);
        let carried = (room - room % align).checked_sub(2)?;
        // In transport mode the packet's own header is the outer one.
        let mtu = match sa.mode {
            Mode::Tunnel => carried,
            Mode::Transport => carried + transport::payload(inner)?.0,
        };
        let least = if packet.source.is_ipv4() { IPV4_MINIMUM_MTU } else { header::IPV6_MINIMUM_MTU };
        let mtu = mtu.max(least);
        let (since, told) = &mut self.too_big;
        if now.since(*since) >= Duration::from_secs(1) {
            (*since, *told) = (now, 0);
        }
        if mtu >= inner.len() || *told >= TOO_BIG_PER_SECOND {
            return None;
        }
        *told += 1;
        too_big::error(&packet, inner, mtu)
    }

    /// A hard limit of octets or packets is reached: the Child SA is gone with the packet that reached it.
    fn volume_spent(&mut self, child: SaId) {
        self.remove(child);
        self.events.push_back(PlaneEvent::HardExpire { child });
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes the Child SAs whose hard lifetime is over and reports them.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, child)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.remove(child);
            self.deadlines.remove(&(deadline, child));
            self.events.push_back(PlaneEvent::HardExpire { child });
        }
    }

    /// The next thing to tell the protocol.
    pub fn poll_event(&mut self) -> Option<PlaneEvent> {
        self.events.pop_front()
    }

    /// What passed through a Child SA; `None` if it is not installed.
    pub fn counters(&self, now: Instant, child: SaId) -> Option<Counters> {
        let sa = self.sa(child)?;
        let (inbound, outbound) = (&sa.inbound.traffic, &sa.outbound.traffic);
        Some(Counters {
            bytes_in: inbound.octets,
            packets_in: inbound.packets,
            bytes_out: outbound.octets,
            packets_out: outbound.packets,
            idle_in: inbound.last.map(|last| now.since(last)),
            idle_out: outbound.last.map(|last| now.since(last)),
        })
    }

    /// How many packets were dropped for which reason, every reason in a fixed order.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL.iter().map(|reason| reason.name()).zip(self.drops)
    }

    fn count_drop(&mut self, reason: DropReason) {
        if let Some(counter) = self.drops.get_mut(reason as usize) {
            *counter += 1;
        }
    }

    /// Anybody can send any SPI: the reports are few whatever comes.
    fn report_unknown_spi(&mut self, now: Instant, spi: u32, from: SocketAddr) {
        let (since, reported) = &mut self.unknown_spis;
        if now.since(*since) >= Duration::from_secs(1) {
            (*since, *reported) = (now, 0);
        }
        // Nothing is pushed on top of a queue that nobody empties.
        if *reported < UNKNOWN_SPI_PER_SECOND && self.events.len() < 1024 {
            *reported += 1;
            self.events.push_back(PlaneEvent::UnknownSpi { spi, from: from.ip() });
        }
    }

    #[cfg(test)]
    fn skip_to(&mut self, child: SaId, sequence: u64) {
        self.sa_mut(child).expect("the child is installed").outbound.skip_to(sequence);
    }
}

/// Payload and next header of what was decrypted (RFC 4303 sections 2.4 to 2.6).
fn strip_trailer(content: &[u8]) -> Result<(&[u8], u8), DropReason> {
    let (rest, &[pad_length, next_header]) = content.split_last_chunk::<2>().ok_or(DropReason::Truncated)?;
    let payload_length = rest.len().checked_sub(pad_length.into()).ok_or(DropReason::Padding)?;
    let (payload, padding) = rest.split_at_checked(payload_length).ok_or(DropReason::Padding)?;
    // RFC 4303 section 2.4: the receiver should inspect the padding.
    if padding.iter().zip(1u16..).any(|(octet, expected)| u16::from(*octet) != expected) {
        return Err(DropReason::Padding);
    }
    Ok((payload, next_header))
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
