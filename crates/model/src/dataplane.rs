//! What the protocol asks of a data plane, and what the data plane reports.
//!
//! The core never calls a data plane: it emits [`Command`]s in the same ordered queue as its datagrams, so that an SA is
//! installed before the message that lets the peer use it leaves.

use crate::{Encryption, SaId, TrafficSelector};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::Secret;
use wire::registry::IntegrityId;

/// One direction of a Child SA.
#[derive(Clone, Debug)]
pub struct EspSa {
    /// Security Parameter Index, chosen by the receiver.
    pub spi: u32,
    /// Encryption algorithm with its key length.
    pub encryption: Encryption,
    /// Integrity algorithm, `None` for combined-mode ciphers.
    pub integrity: Option<IntegrityId>,
    /// Encryption key, with the salt where the algorithm has one.
    pub encryption_key: Secret,
    /// Integrity key, empty for combined-mode ciphers.
    pub integrity_key: Secret,
}

/// How the packets of a Child SA are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Mode {
    /// A whole IP packet inside (RFC 4303 section 3.1.2).
    Tunnel,
    /// Only the transport protocol inside (RFC 4303 section 3.1.1).
    Transport,
}

/// A mark of packets (Linux): what a policy, an SA or a firewall looks at, under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The bits.
    pub value: u32,
    /// Which of them count.
    pub mask: u32,
}

/// `42/0xffffffff`, as strongSwan writes it.
impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{:#010x}", self.value, self.mask)
    }
}

/// The name of a network interface (Linux), of at most fifteen octets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName([u8; 16]);

impl InterfaceName {
    /// What the kernel takes for a name: neither empty nor longer than fifteen octets, without `/`, `:`, spaces and control
    /// characters, and none of the two directories.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() < 16 && name != "." && name != "..";
        let plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        let mut octets = [0; 16];
        octets.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        (fits && plain).then_some(Self(octets))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|octet| *octet == 0).unwrap_or(self.0.len());
        self.0.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl std::fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// In which direction of a tunnel the differentiated services field is copied between both IP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CopyDscp {
    /// To the outer header of what is sent (RFC 4301 section 5.1.2.1).
    #[default]
    Out,
    /// From the outer header of what is received.
    In,
    /// Both.
    Yes,
    /// Neither.
    No,
}

impl CopyDscp {
    /// Whether what is sent carries the inner field outside.
    pub fn outbound(self) -> bool {
        matches!(self, Self::Out | Self::Yes)
    }

    /// Whether what is received gets the outer field inside.
    pub fn inbound(self) -> bool {
        matches!(self, Self::In | Self::Yes)
    }
}

/// What a tunnel's outer IP header has in common with the inner one (RFC 4301 section 5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeaderFields {
    /// The DF bit goes outside.
    pub copy_df: bool,
    /// Congestion marks go outside, and back inside (RFC 6040).
    pub copy_ecn: bool,
    /// The differentiated services field.
    pub copy_dscp: CopyDscp,
}

impl Default for HeaderFields {
    fn default() -> Self {
        Self { copy_df: true, copy_ecn: true, copy_dscp: CopyDscp::Out }
    }
}

/// What the outer IP header of one packet that is sent shall be beside its addresses. The default is a plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OuterFields {
    /// The octet of DSCP and ECN: Type of Service in IPv4, Traffic Class in IPv6 (RFC 2474 section 3, RFC 3168 section 5).
    pub traffic_class: u8,
    /// Nobody may fragment the packet, neither this host nor, in IPv4, those on the way.
    pub dont_fragment: bool,
}

/// What else than addresses and ports ties packets to a Child SA (Linux). The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    /// Mark of packets that the inbound policies are for.
    pub mark_in: Option<Mark>,
    /// Whether the inbound SA is for packets of that mark only too.
    pub mark_in_sa: bool,
    /// Mark of packets that the outbound policy and SA are for.
    pub mark_out: Option<Mark>,
    /// Mark that packets get once they are decrypted.
    pub set_mark_in: Option<Mark>,
    /// Mark that packets get once they are encrypted.
    pub set_mark_out: Option<Mark>,
    /// Number of the XFRM interface from which packets come.
    pub if_id_in: Option<u32>,
    /// Number of the XFRM interface to which packets go.
    pub if_id_out: Option<u32>,
    /// ICMP errors about packets of the Child SA belong to it, whoever sends them (RFC 4301 section 6).
    pub icmp: bool,
    /// The interface that packets leave by which the outbound policies are for; any without it.
    pub interface: Option<InterfaceName>,
    /// What is forwarded into the tunnel passes where a policy drops what is forwarded.
    pub forward_out: bool,
}

/// How far what we send is padded, so that its length says less (RFC 4303 section 2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TfcPadding {
    /// Not at all.
    #[default]
    None,
    /// Packets inside that are shorter, to so many octets, or as many as fit.
    To(u32),
    /// To as many octets as fit.
    Mtu,
}

/// Everything a data plane needs to carry one Child SA: both directions and their policies.
#[derive(Clone, Debug)]
pub struct ChildInstall {
    /// The Child SA, as listings number it.
    pub child: SaId,
    /// The IKE SA above it.
    pub ike: SaId,
    /// The Child SA that this one succeeds. Until that is retired or deleted it carries what we send: the peer may not receive by
    /// the new one yet (RFC 7296 section 2.8).
    pub succeeds: Option<SaId>,
    /// The Child SA whose rekeying made this one (RFC 7296 section 1.3.3; in IKEv1 a new one for the same). For scripts the two
    /// are one.
    pub rekeys: Option<SaId>,
    /// Name of the connection and of the child in the configuration.
    pub connection: String,
    /// Name of the child in the configuration.
    pub name: String,
    /// The number that ties policies to SAs; the same for every SA of one policy.
    pub reqid: u32,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// Our address and port (4500 when UDP-encapsulated).
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Whether ESP travels inside UDP (RFC 3948).
    pub encapsulated: bool,
    /// The SA by which we receive.
    pub inbound: EspSa,
    /// The SA by which we send.
    pub outbound: EspSa,
    /// Extended sequence numbers (RFC 4304).
    pub esn: bool,
    /// Anti-replay window in packets; 0 switches the check off.
    pub replay_window: u32,
    /// How what we send is padded; in tunnel mode only.
    pub tfc_padding: TfcPadding,
    /// Our side of the selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
    /// Marks and XFRM interfaces.
    pub binding: Binding,
    /// What the outer IP header has of the inner one, in tunnel mode.
    pub header: HeaderFields,
    /// Whether the daemon sets policies (`policies = no` leaves them to the operator).
    pub policies: bool,
    /// The kernel's priority of the policies, the lowest first, where it is written down.
    pub priority: Option<u32>,
    /// The script to run when the Child SA comes up or goes down, with strongSwan's environment.
    pub updown: Option<String>,
    /// The IKE SA's unique number and identities, for the script.
    pub updown_environment: Vec<(String, String)>,
    /// Report [`PlaneEvent::SoftExpire`] after this many octets in either direction.
    pub soft_bytes: Option<u64>,
    /// Report [`PlaneEvent::SoftExpire`] after this many packets in either direction.
    pub soft_packets: Option<u64>,
    /// Die, and report [`PlaneEvent::HardExpire`], after this many octets in either direction (RFC 4301 section 4.4.2.1).
    pub hard_bytes: Option<u64>,
    /// Die, and report [`PlaneEvent::HardExpire`], after this many packets in either direction.
    pub hard_packets: Option<u64>,
    /// Die after this time even if the protocol forgets.
    pub hard_lifetime: Option<Duration>,
}

/// A policy without an SA: the first packet that meets it asks for one (RFC 4301 section 4.4.1, PROTECT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapInstall {
    /// Its number, from the same series as those of Child SAs.
    pub trap: SaId,
    /// Name of the connection.
    pub connection: String,
    /// Name of the child in the configuration.
    pub name: String,
    /// As that of the Child SA to come, if it has the same selectors.
    pub reqid: u32,
    /// Marks and XFRM interfaces.
    pub binding: Binding,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// Our address; unspecified where that depends on the packet (transport mode).
    pub local: IpAddr,
    /// The peer's address; likewise.
    pub remote: IpAddr,
    /// Our side of the selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
    /// The kernel's priority of the policies, the lowest first, where it is written down.
    pub priority: Option<u32>,
}

/// What becomes of the packets that a shunt takes (RFC 4301 section 4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ShuntAction {
    /// BYPASS: they go in the clear, whatever SA there is.
    Pass,
    /// DISCARD: they go nowhere, unless an SA, a trap or a bypass takes them.
    Drop,
}

impl ShuntAction {
    /// As swanctl lists it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Drop => "DROP",
        }
    }
}

/// A policy that has nothing to do with SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShuntInstall {
    /// Its number, from the same series as those of Child SAs.
    pub shunt: SaId,
    /// Name of the connection.
    pub connection: String,
    /// Name of the child in the configuration.
    pub name: String,
    /// What it does.
    pub action: ShuntAction,
    /// Our side of the selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The other side.
    pub remote_ts: Vec<TrafficSelector>,
    /// The kernel's priority of the policies, the lowest first, where it is written down.
    pub priority: Option<u32>,
    /// Marks and XFRM interfaces.
    pub binding: Binding,
}

/// What the protocol wants done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Install both directions and the policies of a Child SA.
    Install(Box<ChildInstall>),
    /// The Child SA is being negotiated, and a peer may send by it before the answer that makes it is here: keep such
    /// packets, within bounds, until it is installed.
    Expect {
        /// The Child SA to come.
        child: SaId,
        /// The SPI by which we are going to receive.
        spi: u32,
        /// Our address and port.
        local: SocketAddr,
        /// Whether ESP travels inside UDP.
        encapsulated: bool,
    },
    /// The peer is about to replace this Child SA, and cannot be sent anything meanwhile: what would leave by it waits, within
    /// bounds, until it is released, or retired or deleted. In the latter cases what succeeds it carries what waited.
    Hold {
        /// The Child SA.
        child: SaId,
    },
    /// What waits ([`Hold`](Self::Hold)) leaves by this Child SA after all. One that is gone is no error.
    Release {
        /// The Child SA.
        child: SaId,
    },
    /// A Child SA is deleted at both ends, or was by the peer while our own Delete is not answered (RFC 7296 section 1.4.1). It
    /// sends no more and has no policies for that, but what is still on its way by it is received until the
    /// [`Delete`](Self::Delete) that follows.
    Retire {
        /// The Child SA.
        child: SaId,
    },
    /// Remove a Child SA with its policies.
    Delete {
        /// The Child SA.
        child: SaId,
    },
    /// The peer's or our address changed: move an installed Child SA.
    Update {
        /// The Child SA.
        child: SaId,
        /// Our address and port.
        local: SocketAddr,
        /// The peer's address and port.
        remote: SocketAddr,
        /// Whether ESP travels inside UDP.
        encapsulated: bool,
    },
    /// The selectors of an installed Child SA follow the address of an end (MOBIKE).
    Reselect {
        /// The Child SA.
        child: SaId,
        /// Our side.
        local_ts: Vec<TrafficSelector>,
        /// The peer's side.
        remote_ts: Vec<TrafficSelector>,
    },
    /// Report [`PlaneEvent::Traffic`] of an installed Child SA.
    ReportTraffic {
        /// The Child SA.
        child: SaId,
    },
    /// Report packets that need a Child SA ([`PlaneEvent::Acquire`]). A Child SA with the same selectors has precedence.
    Trap(Box<TrapInstall>),
    /// Remove a trap.
    RemoveTrap {
        /// Its number.
        trap: SaId,
    },
    /// Let packets pass in the clear, or drop them.
    Shunt(Box<ShuntInstall>),
    /// Remove a shunt.
    RemoveShunt {
        /// Its number.
        shunt: SaId,
    },
}

/// A virtual address that the peer assigned to this host (CFG_REPLY, Mode-Config).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    /// The IKE SA it was assigned under.
    pub ike: SaId,
    /// The address; it belongs to this host alone (/32, /128).
    pub address: IpAddr,
    /// Our address on the outside: the virtual one goes to the same interface.
    pub outer: IpAddr,
}

/// What a data plane reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneEvent {
    /// A command could not be carried out.
    Failed {
        /// The Child SA it was about.
        child: SaId,
        /// What went wrong, in the data plane's words: for the operator.
        reason: String,
    },
    /// A soft limit of octets or packets was passed.
    SoftExpire {
        /// The Child SA.
        child: SaId,
    },
    /// [`Command::Hold`] could not be carried out: what is sent goes on as before.
    NotHeld {
        /// The Child SA.
        child: SaId,
    },
    /// The SA died in the data plane.
    HardExpire {
        /// The Child SA.
        child: SaId,
    },
    /// A protected packet came from another address than before (NAT mapping changed).
    PeerMoved {
        /// The Child SA.
        child: SaId,
        /// Where the packet came from.
        remote: SocketAddr,
    },
    /// The answer to [`Command::ReportTraffic`].
    Traffic {
        /// The Child SA.
        child: SaId,
        /// Time since the last packet in either direction; `None` if there was none.
        idle: Option<Duration>,
    },
    /// A packet met a trap. It may come again while the Child SA is negotiated.
    Acquire {
        /// The trap.
        trap: SaId,
        /// The packet's source address and port; for ICMP the type as port.
        source: SocketAddr,
        /// The packet's destination address and port; for ICMP the code as port.
        destination: SocketAddr,
        /// The packet's protocol.
        protocol: u8,
    },
    /// ESP with an SPI that nobody knows.
    UnknownSpi {
        /// The SPI.
        spi: u32,
        /// Who sent it.
        from: IpAddr,
    },
}

/// Traffic counters of one Child SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Octets received (inner packets).
    pub bytes_in: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Octets sent (inner packets).
    pub bytes_out: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Time since the last packet received, if any.
    pub idle_in: Option<Duration>,
    /// Time since the last packet sent, if any.
    pub idle_out: Option<Duration>,
}

impl Counters {
    /// Time since the last packet in either direction, if there was any.
    pub fn idle(&self) -> Option<Duration> {
        self.idle_in.into_iter().chain(self.idle_out).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_are_those_that_the_kernel_takes() {
        for name in ["eth0", "wan.100", "abcdefghijklmno", "br-0@x"] {
            assert_eq!(InterfaceName::new(name).map(|n| n.to_string()).as_deref(), Some(name));
        }
        for wrong in ["", ".", "..", "a/b", "a:1", "a b", "abcdefghijklmnop", "a\0"] {
            assert_eq!(InterfaceName::new(wrong), None, "{wrong}");
        }
    }
}
