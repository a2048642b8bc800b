//! SAs as an operator sees them: plain values, taken between two inputs of the core.

use crate::dataplane::{Binding, Counters, Mode};
use crate::{ChosenSuite, Failure, FailureKind, Identity, Role, SaId, SendError, TrafficSelector};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::grammar::RuleId;
use wire::{NotifyType, SpiPair};

/// State of an IKE SA, by strongSwan's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IkeState {
    /// Exists, nothing sent.
    Created,
    /// IKE_SA_INIT or IKE_AUTH under way.
    Connecting,
    /// Usable.
    Established,
    /// A rekeying exchange is under way.
    Rekeying,
    /// Replaced, waiting to be deleted.
    Rekeyed,
    /// A Delete was sent.
    Deleting,
    /// Gone; only its tombstone is left.
    Destroying,
}

impl IkeState {
    /// strongSwan's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Connecting => "CONNECTING",
            Self::Established => "ESTABLISHED",
            Self::Rekeying => "REKEYING",
            Self::Rekeyed => "REKEYED",
            Self::Deleting => "DELETING",
            Self::Destroying => "DESTROYING",
        }
    }
}

/// State of a Child SA, by strongSwan's names; `Larval` is the placeholder before the IKE SA is up (their CREATED).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChildState {
    /// Wanted, not negotiated yet.
    Larval,
    /// Handed to the data plane.
    Installing,
    /// Carries traffic.
    Installed,
    /// A rekeying exchange is under way.
    Rekeying,
    /// Replaced by a newer one.
    Rekeyed,
    /// A Delete was sent.
    Deleting,
    /// Gone.
    Deleted,
}

impl ChildState {
    /// strongSwan's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Larval => "CREATED",
            Self::Installing => "INSTALLING",
            Self::Installed => "INSTALLED",
            Self::Rekeying => "REKEYING",
            Self::Rekeyed => "REKEYED",
            Self::Deleting => "DELETING",
            Self::Deleted => "DELETED",
        }
    }
}

/// Mode of phase 1 (IKEv1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeMode {
    /// Main mode; ISAKMP calls it Identity Protection (RFC 2408 section 4.5).
    IdentityProtection,
    /// Aggressive mode.
    Aggressive,
}

impl std::fmt::Display for ExchangeMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::IdentityProtection => "Main Mode",
            Self::Aggressive => "Aggressive Mode",
        })
    }
}

/// What NAT detection found (RFC 7296 section 2.23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NatState {
    /// We are behind a NAT.
    pub local: bool,
    /// The peer is behind a NAT.
    pub remote: bool,
    /// We pretend to be behind one, to have ESP encapsulated.
    pub forced: bool,
}

impl NatState {
    /// Whether ESP has to travel in UDP.
    pub fn any(self) -> bool {
        self.local || self.remote || self.forced
    }
}

/// Retransmissions of the request that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retransmissions {
    /// How often the request under way was sent again.
    pub sent: u32,
    /// How often the SA had to send anything again since it exists.
    pub total: u32,
    /// How often the peer sent a request again, so that we repeated our answer: our answers may not reach it.
    pub answered: u32,
}

/// One IKE SA (IKEv1: ISAKMP SA) with what is under it.
#[derive(Clone, Debug)]
pub struct SaSnapshot {
    /// Unique number.
    pub id: SaId,
    /// Name of the connection; empty while a responder does not know it yet.
    pub name: String,
    /// 1 or 2.
    pub version: u8,
    /// Mode of phase 1; `None` with IKEv2.
    pub mode: Option<ExchangeMode>,
    /// State.
    pub state: IkeState,
    /// The grammar row whose message we wait for, if we wait.
    pub waiting_for: Option<RuleId>,
    /// Our role in the exchange that made this SA.
    pub role: Role,
    /// SPIs (IKEv1: cookies).
    pub spis: SpiPair,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Who we say we are, once known.
    pub local_id: Option<Identity>,
    /// Who the peer says it is, once known.
    pub remote_id: Option<Identity>,
    /// When the first of the certificates runs out by which the peer proved itself, since the Unix epoch; `None` without one.
    pub remote_certificate_until: Option<Duration>,
    /// The peer's user, whom XAuth proved (IKEv1).
    pub remote_xauth_id: Option<Identity>,
    /// Our virtual addresses, which the peer assigned.
    pub local_vips: Vec<IpAddr>,
    /// The peer's virtual addresses, which we assigned.
    pub remote_vips: Vec<IpAddr>,
    /// What the peer had to say to its user (Unity's banner of Mode-Config, IKEv1): as it came, bounded, for nothing to act on.
    pub banner: Option<String>,
    /// The agreed suite.
    pub suite: Option<ChosenSuite>,
    /// What NAT detection found.
    pub nat: NatState,
    /// How the peers authenticate, in tmsh's words: `pre-shared-key`.
    pub authentication: &'static str,
    /// Time since this SA exists.
    pub age: Duration,
    /// Time since it was established, `None` before.
    pub established: Option<Duration>,
    /// IKEv1: time since phase 1 was done. XAuth may follow before the SA is established.
    pub phase1: Option<Duration>,
    /// Time to the next rekeying, if planned.
    pub rekey_in: Option<Duration>,
    /// Time to the next reauthentication, if planned.
    pub reauth_in: Option<Duration>,
    /// Time to its end where nothing of ours renews it before: the other end does, or nobody.
    pub expires_in: Option<Duration>,
    /// The whole lifetime, for the tmsh view: as configured, with IKEv1 what both ends agreed upon; zero when unlimited.
    pub lifetime: Duration,
    /// Retransmissions.
    pub retransmissions: Retransmissions,
    /// What came since our last message of a negotiation went out.
    pub heard: Heard,
    /// Exchanges waiting for the one under way, by strongSwan's task names.
    pub tasks_queued: Vec<&'static str>,
    /// The exchange under way.
    pub tasks_active: Vec<&'static str>,
    /// What speaks against a negotiation under way, or against an SA of which nothing proven was heard since, without being
    /// proof: the error that the peer reported unprotected, by its name, [`DELETED`] or [`UNREADABLE`].
    pub suspicion: Option<String>,
    /// What the operating system said last of what is sent to the peer's address and port; `None` for nothing.
    pub send_error: Option<SendError>,
    /// The worker that owns this SA; tmsh's `(tmm: N)`.
    pub worker: u32,
    /// Child SAs, also those still being negotiated.
    pub children: Vec<ChildSnapshot>,
    /// Names of the configured children of the connection, for the `Traffic Selectors` lines of tmsh.
    pub configured_children: Vec<String>,
}

/// What came of an SA since our last message of its negotiation first went out. Anybody can have sent it: it is good for an
/// explanation only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Datagrams.
    pub datagrams: u32,
    /// Those of them that came from the very address and port that our message goes to.
    pub from_there: u32,
    /// Those that repeated the message which ours answers: the peer has not got our answer, or has no use for it.
    pub repeated: u32,
}

/// [`SaSnapshot::suspicion`]: an unprotected Delete named the SA.
pub const DELETED: &str = "DELETE";

/// [`SaSnapshot::suspicion`]: at the responder, the peer's proof came and could not be decrypted; at the initiator, an
/// encrypted message came, of the peer or of anybody, that could not be opened.
pub const UNREADABLE: &str = "UNREADABLE";

/// The initiator's [`UNREADABLE`] in words.
pub const UNREADABLE_TEXT: &str = "an encrypted message came that our keys do not open";

/// One Child SA (IKEv1: IPsec SA pair).
#[derive(Clone, Debug)]
pub struct ChildSnapshot {
    /// Unique number.
    pub id: SaId,
    /// Name of the child in the configuration.
    pub name: String,
    /// Request ID.
    pub reqid: u32,
    /// State.
    pub state: ChildState,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// Whether ESP travels in UDP.
    pub encapsulated: bool,
    /// Marks and XFRM interfaces.
    pub binding: Binding,
    /// SPI by which we receive, 0 before it is chosen.
    pub spi_in: u32,
    /// SPI by which we send, 0 before the peer chose it.
    pub spi_out: u32,
    /// The agreed suite.
    pub suite: Option<ChosenSuite>,
    /// Our side's selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's.
    pub remote_ts: Vec<TrafficSelector>,
    /// Time since it was installed.
    pub installed: Option<Duration>,
    /// Time to the next rekeying.
    pub rekey_in: Option<Duration>,
    /// Time to its end.
    pub expires_in: Option<Duration>,
    /// Traffic.
    pub counters: Counters,
}

/// Which rekeying of an SA failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rekeying {
    /// The first of a Child SA that came up in IKE_AUTH, where no key exchange is negotiated (RFC 7296 section 1.2): with this one
    /// it is, so that the ends may differ in what they never compared.
    First,
    /// Any other.
    Other,
}

/// What is left of an SA that ended: everything an operator needs to see why.
#[derive(Clone, Debug)]
pub struct Tombstone {
    /// The SA as it was.
    pub sa: SaSnapshot,
    /// Why it ended.
    pub failure: Failure,
    /// The Child SA this is about, when only that one failed and the IKE SA lived on.
    pub child: Option<String>,
    /// Nothing ended: the SA was to be rekeyed, which failed.
    pub rekeying: Option<Rekeying>,
    /// When it ended, on the core's clock.
    pub at: crate::Instant,
    /// Time since it ended, at the moment of the listing.
    pub ended: Duration,
    /// Time until it is begun again, at that moment, where the configuration wants it to be there.
    pub again_in: Option<Duration>,
    /// Datagrams seen from the peer for this SA.
    pub datagrams_in: u32,
    /// Datagrams sent to the peer for this SA, retransmissions included.
    pub datagrams_out: u32,
}

impl Tombstone {
    /// Whether it is for the time being only, and what follows is in order: the ends were at it at once, or one was busy (RFC
    /// 7296 section 2.25), or has the successor made under a new IKE SA (section 1.3).
    pub fn is_temporary(&self) -> bool {
        let busy = [NotifyType::TEMPORARY_FAILURE, NotifyType::CHILD_SA_NOT_FOUND, NotifyType::NO_ADDITIONAL_SAS];
        self.rekeying.is_some()
            && matches!(&self.failure.kind, FailureKind::PeerRefused { notify, .. } if busy.contains(notify))
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match (&self.failure.kind, self.rekeying) {
            (FailureKind::NoProposalChosen { .. }, Some(Rekeying::First)) => {
                "give esp_proposals the same key exchange group at both ends, or none (PFS): IKE_AUTH, which made this \
                 Child SA, does not compare it"
                    .to_string()
            }
            _ if self.is_temporary() => "nothing: it is tried again".to_string(),
            (kind, _) => kind.remedy(),
        }
    }
}
