//! What happened: past-tense facts with typed fields, each with a stable name.

use crate::{Failure, IkeState, SaId, SaSnapshot, Tombstone};
use std::fmt;
use std::net::SocketAddr;
use wire::SpiPair;
use wire::grammar::{RuleId, rule};

/// Which of the two SAs a negotiation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The IKE SA ("phase 1").
    Ike,
    /// A Child SA ("phase 2").
    Child,
}

impl Phase {
    /// The key of swanctl.conf that holds the proposals.
    pub fn proposal_key(self) -> &'static str {
        match self {
            Self::Ike => "proposals",
            Self::Child => "esp_proposals",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ike => "IKE",
            Self::Child => "Child",
        })
    }
}

macro_rules! drop_reasons {
    ($($(#[$meta:meta])* $name:ident => $text:literal,)+) => {
        /// Why a datagram was not acted upon. Every one is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// Shorter than a header, or than its length field says.
    Truncated => "truncated",
    /// Longer than its length field says.
    TrailingOctets => "trailing-octets",
    /// A payload that cannot be decoded.
    Malformed => "malformed",
    /// Neither IKEv1 nor IKEv2.
    UnknownVersion => "unknown-version",
    /// An SPI pair that no SA has.
    UnknownSpi => "unknown-spi",
    /// An exchange type that means nothing here.
    UnexpectedExchange => "unexpected-exchange",
    /// A message ID outside the window (RFC 7296 section 2.3).
    UnexpectedMessageId => "unexpected-message-id",
    /// An answer to nothing that we asked.
    UnexpectedResponse => "unexpected-response",
    /// The integrity check failed, or what was decrypted makes no sense.
    IntegrityCheckFailed => "integrity-check-failed",
    /// Payloads missing, or some that must not be there.
    GrammarViolation => "grammar-violation",
    /// A choice or a public value that cannot be right, in a message that anybody can have sent: the peer's own may come yet.
    Unacceptable => "unacceptable",
    /// An unprotected message where only a protected one counts.
    NotProtected => "not-protected",
    /// A protected message, for which there are no keys yet or which is none of theirs.
    Undecryptable => "cannot-decrypt",
    /// Quick mode or Mode-Config of IKEv1 before XAuth is over.
    XauthNotDone => "xauth-not-done",
    /// Too many half-open SAs, in all.
    HalfOpenLimit => "half-open-limit",
    /// Too many half-open SAs from this address.
    HalfOpenLimitPeer => "half-open-limit-peer",
    /// As many IKE SAs as there may be (`ikesa_limit`).
    IkeSaLimit => "ike-sa-limit",
    /// As many IKE SAs as there may be with one peer (`ikesa_limit_peer`).
    IkeSaLimitPeer => "ike-sa-limit-peer",
    /// A datagram to answer again, too soon or too often.
    RepeatLimit => "repeat-limit",
    /// No connection for these addresses.
    NoConfig => "no-config",
    /// No connection for these addresses, as long as a host name's address is being asked for.
    NameUnresolved => "name-unresolved",
    /// A wrong or outdated COOKIE.
    BadCookie => "bad-cookie",
    /// A first message without the solution of a puzzle, while there are many of them.
    PuzzleUnsolved => "puzzle-unsolved",
    /// A token of RFC 6290 that is not the peer's, or too many of them.
    BadToken => "bad-token",
    /// A first message, and we answer none (`initiator_only`).
    InitiatorOnly => "initiator-only",
    /// An initiator's SPI of zero.
    ZeroSpi => "zero-spi",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An IKE SA changed its state.
    IkeState {
        /// Which.
        sa: SaId,
        /// Its connection.
        name: String,
        /// Before.
        from: IkeState,
        /// After.
        to: IkeState,
    },
    /// An IKE SA is established (vici `ike-updown`, up).
    IkeUp(Box<SaSnapshot>),
    /// An established IKE SA ended (vici `ike-updown`, down).
    IkeDown(Box<SaSnapshot>),
    /// A Child SA is installed (vici `child-updown`, up): the snapshot holds only that child.
    ChildUp(Box<SaSnapshot>),
    /// A Child SA is gone (vici `child-updown`, down): the snapshot holds only that child.
    ChildDown(Box<SaSnapshot>),
    /// A negotiation failed or an SA ended.
    Ended(Box<Tombstone>),
    /// An SA was to be rekeyed and was not, by the refusal of either end; it goes on ([`Tombstone::rekeying`]).
    RekeyFailed(Box<Tombstone>),
    /// A datagram was not acted upon.
    Dropped {
        /// Why.
        reason: DropReason,
        /// Where it came from.
        from: SocketAddr,
        /// The SPIs (IKEv1: cookies) that it names and no SA has, if that is why.
        spis: Option<SpiPair>,
        /// The SA it belongs to, if any.
        sa: Option<SaId>,
        /// What that SA waits for.
        waiting_for: Option<RuleId>,
    },
    /// A request was sent again.
    Retransmitted {
        /// Which SA.
        sa: SaId,
        /// Its connection.
        name: String,
        /// What we wait for.
        waiting_for: RuleId,
        /// How often it was sent again.
        attempt: u32,
    },
    /// A step worth a line in the log, in strongSwan's log groups.
    Step {
        /// Which SA, if any.
        sa: Option<SaId>,
        /// Its connection, empty if none.
        name: String,
        /// strongSwan's log group: IKE, CFG, CHD, NET, ENC, KNL, JOB, DMN.
        group: &'static str,
        /// 0 to 4; the higher the chattier.
        level: u8,
        /// What happened.
        text: String,
    },
    /// An operation requested by an operator could not even begin.
    Refused {
        /// The connection or child.
        name: String,
        /// Why.
        failure: Failure,
    },
}

impl Event {
    /// The log line: group, level and text, for `swanctl --log` and the daemon's own log.
    pub fn log(&self) -> (&'static str, u8, String) {
        match self {
            Self::IkeState { sa, name, from, to } => {
                ("IKE", 2, format!("IKE_SA {name}[{}] state change: {} => {}", sa.0, from.name(), to.name()))
            }
            Self::IkeUp(s) => (
                "IKE",
                0,
                format!(
                    "IKE_SA {}[{}] established between {}[{}]...{}[{}]",
                    s.name,
                    s.id.0,
                    s.local.ip(),
                    s.local_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                    s.remote.ip(),
                    s.remote_id.as_ref().map(ToString::to_string).unwrap_or_default()
                ),
            ),
            Self::IkeDown(s) => ("IKE", 0, format!("IKE_SA {}[{}] is down", s.name, s.id.0)),
            Self::ChildUp(s) | Self::ChildDown(s) => {
                let up = if matches!(self, Self::ChildUp(_)) { "established" } else { "closed" };
                let text = s.children.first().map(|c| {
                    let list = |ts: &[crate::TrafficSelector]| {
                        ts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                    };
                    format!(
                        "CHILD_SA {}{{{}}} {up} with SPIs {:08x}_i {:08x}_o and TS {} === {}",
                        c.name,
                        c.id.0,
                        c.spi_in,
                        c.spi_out,
                        list(&c.local_ts),
                        list(&c.remote_ts)
                    )
                });
                ("IKE", 0, text.unwrap_or_default())
            }
            Self::Ended(t) => {
                let what = match &t.child {
                    Some(child) => format!("CHILD_SA {child} under {}[{}]", t.sa.name, t.sa.id.0),
                    None => format!("IKE_SA {}[{}]", t.sa.name, t.sa.id.0),
                };
                let level = u8::from(t.failure.kind.is_ordinary());
                let remedy =
                    if t.failure.kind.is_ordinary() { String::new() } else { format!("; {}", t.failure.kind.remedy()) };
                ("IKE", level, format!("{what} ended: {} [{}]{remedy}", t.failure, t.failure.kind.code()))
            }
            Self::RekeyFailed(t) => {
                let what = match &t.child {
                    Some(child) => format!("CHILD_SA {child} under {}[{}]", t.sa.name, t.sa.id.0),
                    None => format!("IKE_SA {}[{}]", t.sa.name, t.sa.id.0),
                };
                if t.is_temporary() {
                    return ("IKE", 1, format!("{what} is not rekeyed for now: {}", t.failure));
                }
                let code = t.failure.kind.code();
                ("IKE", 0, format!("rekeying of {what} ended: {} [{code}]; it goes on; {}", t.failure, t.remedy()))
            }
            Self::Dropped { reason, from, sa, spis, .. } => {
                let of = sa.map(|s| format!(" for IKE_SA {s}")).unwrap_or_default();
                let spis = spis.map(|spis| format!(" {spis}")).unwrap_or_default();
                ("NET", 1, format!("dropped a datagram from {from}{of}: {reason}{spis}"))
            }
            Self::Retransmitted { waiting_for, attempt, .. } => {
                ("IKE", 1, format!("retransmit {attempt} of the request, waiting for {}", rule(*waiting_for).notation))
            }
            Self::Step { group, level, text, .. } => (group, *level, text.clone()),
            Self::Refused { name, failure } => ("CFG", 0, format!("{name}: {failure}; {}", failure.kind.remedy())),
        }
    }

    /// The IKE SA it is about, and its connection's name.
    pub fn sa(&self) -> Option<(SaId, &str)> {
        match self {
            Self::IkeState { sa, name, .. } | Self::Retransmitted { sa, name, .. } => Some((*sa, name)),
            Self::IkeUp(s) | Self::IkeDown(s) | Self::ChildUp(s) | Self::ChildDown(s) => Some((s.id, &s.name)),
            Self::Ended(t) | Self::RekeyFailed(t) => Some((t.sa.id, &t.sa.name)),
            Self::Dropped { sa, .. } => sa.map(|s| (s, "")),
            Self::Step { sa, name, .. } => sa.map(|s| (s, name.as_str())),
            Self::Refused { .. } => None,
        }
    }
}
