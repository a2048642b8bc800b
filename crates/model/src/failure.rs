//! Why a negotiation failed or an SA ended, with both sides' values. What each reason says is in `text`.

mod text;

use crate::{Dimension, Identity, Mismatch, Phase, SaId, TrafficSelector};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::grammar::{RuleId, rule};
use wire::registry::KeyExchangeId;
use wire::{NotifyType, PayloadType, V1NotifyType, Version};

/// Which end found the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We did: all values are known.
    Us,
    /// The peer did, and told us: only its notification is known.
    Peer,
}

/// A place in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConfigRef {
    /// The file, or `vici` when a client loaded it.
    pub file: String,
    /// The line, counted from 1; 0 when it came over vici.
    pub line: u32,
    /// The key with its sections: `connections.gw.proposals`.
    pub key: String,
}

impl fmt::Display for ConfigRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.key) } else { write!(f, "{}:{} ({})", self.file, self.line, self.key) }
    }
}

/// Why an SA ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub kind: FailureKind,
    /// The configuration it is about.
    pub config: Option<ConfigRef>,
}

/// What can be wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It is not valid any more.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// No path leads to an authority that we have.
    IssuerUnknown,
    /// It is revoked.
    Revoked,
    /// `revocation` asks for a list that says it is not revoked, and there is none.
    RevocationUnknown,
    /// It is valid, and not what the connection asks for (`certs`, `cacerts`, `auth`).
    NotAllowed,
    /// It breaks RFC 5280, or is signed in a way that is not available.
    Invalid,
}

impl CertificateProblem {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::NotYetValid,
        Self::IssuerUnknown,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::NotAllowed,
        Self::Invalid,
    ];

    /// A stable name for events, counters and JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "CERT_EXPIRED",
            Self::NotYetValid => "CERT_NOT_YET_VALID",
            Self::IssuerUnknown => "CERT_ISSUER_UNKNOWN",
            Self::Revoked => "CERT_REVOKED",
            Self::RevocationUnknown => "CERT_REVOCATION_UNKNOWN",
            Self::NotAllowed => "CERT_NOT_ALLOWED",
            Self::Invalid => "CERT_INVALID",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Expired => "renew the peer's certificate, or correct the clock here",
            Self::NotYetValid => "correct the clock here (NTP), or at the host that issued the certificate",
            Self::IssuerUnknown => {
                "put the certificate of its authority into x509ca (and the ones between, unless the peer sends them)"
            }
            Self::Revoked => "the peer needs a new certificate",
            Self::RevocationUnknown => {
                "put the authority's current revocation list into x509crl, or set revocation = relaxed"
            }
            Self::NotAllowed => {
                "compare certs, cacerts and auth in the connection's remote section with the certificate"
            }
            Self::Invalid => "the peer needs a certificate as RFC 5280 describes it, signed with SHA-256 or better",
        }
    }
}

/// Why we do not go where a gateway sends us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectProblem {
    /// It was one time too often in a short time: gateways may send us in a circle (RFC 5685 section 7).
    TooOften,
    /// The new gateway has no address of the family that we use.
    NoAddress,
}

impl RedirectProblem {
    /// A stable name for events, counters and JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooOften => "REDIRECT_LOOP",
            Self::NoAddress => "REDIRECT_ADDRESS",
        }
    }
}

/// The reasons, named for the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The peer proved to be someone, but no connection expects that someone here.
    IdentityUnknown {
        /// Who it says it is.
        received: Identity,
        /// Who it asked for, if it did.
        asked_for: Option<Identity>,
        /// The identities that our connections for these addresses accept: `name: identity`.
        expected: Vec<String>,
    },
    /// The peer is expected, but asks for an identity that is not ours here.
    NotAddressed {
        /// Who it says it is.
        remote: Identity,
        /// Whom it asked for.
        asked_for: Identity,
        /// Who we are in the connections that expect this peer: `name: identity`.
        ours: Vec<String>,
    },
    /// The responder answered as someone else than configured.
    IdentityMismatch {
        /// Who it says it is.
        received: Identity,
        /// Who we expect.
        expected: Identity,
    },
    /// The AUTH payload does not fit our pre-shared key.
    PskMismatch {
        /// Our identity.
        local: Identity,
        /// The peer's identity, for which we have a key.
        remote: Identity,
        /// How many keys fit the identities and were tried.
        tried: usize,
    },
    /// IKEv1: a user was not taken by XAuth.
    XauthRefused {
        /// The user.
        user: Identity,
        /// Who refused.
        found_by: Side,
        /// Whether whoever refused has a password for this user, as far as we know.
        known: bool,
    },
    /// There is no pre-shared key for this pair of identities.
    PskMissing {
        /// Our identity.
        local: Identity,
        /// The peer's identity.
        remote: Identity,
    },
    /// The peer or the connection wants authentication in a way that Shrike does not do.
    AuthMethodUnsupported {
        /// Its name: `EAP`, `RSA signature`.
        method: String,
    },
    /// The peer proves itself in another way than the connection wants.
    AuthMethodMismatch {
        /// What the connection wants, in the notation of `auth`.
        expected: String,
        /// What the peer did.
        received: String,
    },
    /// We have no certificate with its private key for our identity.
    OwnCertificateMissing {
        /// Our identity.
        local: Identity,
        /// The certificates that the connection names, each with what is wrong: `moonCert.pem: no private key`.
        candidates: Vec<String>,
    },
    /// The peer sent no certificate that can be read, and there is none of it in `x509`.
    PeerCertificateMissing {
        /// The peer's identity.
        remote: Identity,
        /// The peer sent the hash of its certificate and this URL, where it could not be had.
        place: Option<String>,
    },
    /// The peer's certificate does not say that it is who it says it is.
    IdentityNotCertified {
        /// The peer's identity.
        remote: Identity,
        /// The names in its certificate.
        names: Vec<String>,
    },
    /// The peer's certificate is not trusted.
    CertificateUntrusted {
        /// Whose certificate it is, by its subject.
        subject: Identity,
        /// Who issued it.
        issuer: Identity,
        /// What is wrong.
        problem: CertificateProblem,
        /// The same in words, with the values.
        detail: String,
    },
    /// The peer's signature was not made with the key of its certificate, or over something else.
    SignatureInvalid {
        /// The peer's identity.
        remote: Identity,
        /// How it says it signed.
        method: String,
    },
    /// The peer sent AUTHENTICATION_FAILED: it does not say why.
    AuthenticationRefused {
        /// Our identity, as we sent it.
        local: Identity,
        /// Whom we asked for.
        remote: Option<Identity>,
    },
    /// No proposal in common.
    NoProposalChosen {
        /// IKE SA or Child SA.
        phase: Phase,
        /// Who found it.
        found_by: Side,
        /// What differs (known to the end that found it).
        mismatch: Option<Mismatch>,
        /// Our proposals, in swanctl's notation.
        ours: Vec<String>,
    },
    /// No key exchange group in common: the peer asks for one that we do not allow.
    InvalidKeyExchange {
        /// What we sent.
        ours: KeyExchangeId,
        /// What the peer asks for.
        wanted: KeyExchangeId,
    },
    /// The peer chose something that we did not offer.
    ChoiceNotOffered {
        /// IKE SA or Child SA.
        phase: Phase,
        /// What differs.
        mismatch: Mismatch,
    },
    /// No traffic selectors in common.
    TsUnacceptable {
        /// Who found it.
        found_by: Side,
        /// Our configured local selectors.
        local: Vec<TrafficSelector>,
        /// Our configured remote selectors.
        remote: Vec<TrafficSelector>,
        /// What the peer asked for on its own side, as far as known.
        peer_local: Vec<TrafficSelector>,
        /// What the peer asked for on our side, as far as known.
        peer_remote: Vec<TrafficSelector>,
    },
    /// The traffic selectors fit, and are more pairs of networks than a Child SA may have; with `most` = 1, of addresses.
    TooManySelectors {
        /// How many pairs there would be.
        pairs: u64,
        /// How many there may be.
        most: u64,
    },
    /// The peer did not answer.
    NoAnswer {
        /// What we waited for.
        waiting_for: RuleId,
        /// Where we sent it.
        to: SocketAddr,
        /// How often we sent it.
        sent: u32,
        /// For how long.
        over: Duration,
        /// Whether this SA ever had an answer.
        answered_before: bool,
    },
    /// The initiator did not go on.
    HalfOpen {
        /// What we waited for.
        waiting_for: RuleId,
        /// For how long.
        after: Duration,
        /// How often the initiator repeated its request: it may not receive our answers.
        repeated: u32,
    },
    /// The peer began in another mode of phase 1 than configured (IKEv1).
    ModeMismatch {
        /// Whether we are configured for aggressive mode.
        ours: bool,
    },
    /// Tunnel against transport mode (IKEv1; RFC 2407 section 4.5).
    EncapsulationMode {
        /// Whether we are configured for tunnel mode.
        tunnel: bool,
        /// The peer's value of the attribute.
        peer: u16,
    },
    /// The peer refused with an error of IKEv1 that has no more specific reason here.
    PeerRefusedV1 {
        /// What it was asked.
        phase: Phase,
        /// Its error.
        notify: V1NotifyType,
    },
    /// A virtual address is needed, and there is none (RFC 7296 section 3.15.4).
    NoVirtualAddress {
        /// Who found it.
        found_by: Side,
        /// What the initiator asked for, unspecified addresses for any; empty if it asked for none and had to.
        asked: Vec<IpAddr>,
        /// Our pools, where we assign.
        pools: Vec<String>,
    },
    /// There is another IKE SA with this peer, and `unique = keep`.
    NotUnique {
        /// The peer's identity.
        remote: Identity,
    },
    /// There are as many IKE SAs with this peer as there may be.
    TooManyOfPeer {
        /// The peer's identity.
        remote: Identity,
        /// How many there may be.
        most: usize,
    },
    /// One end makes the IKE SA without a Child SA, and the other does not (RFC 6023).
    ChildlessMismatch {
        /// Whether it is this end that makes it so.
        ours: bool,
    },
    /// The gateway sends us elsewhere, where we do not go (RFC 5685).
    RedirectRefused {
        /// Where to.
        to: String,
        /// Why not.
        problem: RedirectProblem,
    },
    /// No connection is configured for these addresses.
    NoConfig {
        /// Our address.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// The peer speaks another major version.
    WrongVersion {
        /// Its major version.
        peer: u8,
    },
    /// The peer refused with an error that has no more specific reason here.
    PeerRefused {
        /// What it was asked.
        phase: Phase,
        /// Its error.
        notify: NotifyType,
    },
    /// The message lacked payloads, or had some that must not be there.
    MessageInvalid {
        /// Which message.
        rule: RuleId,
        /// What was missing, in RFC names.
        missing: String,
    },
    /// A payload that we do not understand was marked critical (RFC 7296 section 2.5).
    UnsupportedCritical {
        /// Its type.
        payload: PayloadType,
    },
    /// The peer's public value is no valid one.
    BadPublicValue {
        /// The group.
        group: KeyExchangeId,
    },
    /// The data plane could not install the SA.
    InstallFailed {
        /// Its words.
        reason: String,
    },
    /// The peer has proven that it restarted and lost it (RFC 6290).
    PeerRestarted,
    /// The peer deleted it.
    PeerDeleted,
    /// The operator ended it.
    Terminated,
    /// Its connection was loaded with changes, or unloaded.
    ConfigurationChanged,
    /// A newer SA replaced it.
    Replaced {
        /// The newer one: an IKE SA, or of a Child SA the Child SA.
        by: SaId,
    },
    /// The gateway sent us to another one (RFC 5685).
    Redirected {
        /// Where to.
        to: String,
        /// The IKE SA there.
        by: SaId,
    },
    /// Its lifetime ended.
    Expired,
    /// No packet went through it for the time that the configuration allows (`inactivity`).
    Inactive {
        /// That time.
        after: Duration,
    },
}

impl FailureKind {
    /// Whether a certificate of the peer is known to be revoked.
    pub fn is_revocation(&self) -> bool {
        matches!(self, Self::CertificateUntrusted { problem: CertificateProblem::Revoked, .. })
    }

    /// A stable name for events, counters and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::IdentityUnknown { .. } => "PEER_ID_UNKNOWN",
            Self::NotAddressed { .. } => "LOCAL_ID_UNKNOWN",
            Self::IdentityMismatch { .. } => "PEER_ID_MISMATCH",
            Self::PskMismatch { .. } => "PSK_MISMATCH",
            Self::XauthRefused { .. } => "XAUTH_FAILED",
            Self::PskMissing { .. } => "PSK_MISSING",
            Self::AuthMethodUnsupported { .. } => "AUTH_METHOD",
            Self::AuthMethodMismatch { .. } => "AUTH_METHOD_MISMATCH",
            Self::OwnCertificateMissing { .. } => "OWN_CERT_MISSING",
            Self::PeerCertificateMissing { .. } => "PEER_CERT_MISSING",
            Self::IdentityNotCertified { .. } => "CERT_ID_MISMATCH",
            Self::CertificateUntrusted { problem, .. } => problem.code(),
            Self::SignatureInvalid { .. } => "SIGNATURE_INVALID",
            Self::AuthenticationRefused { .. } => "AUTH_FAILED",
            Self::NoProposalChosen { phase: Phase::Ike, .. } => "IKE_PROPOSAL",
            Self::NoProposalChosen { phase: Phase::Child, .. } => "CHILD_PROPOSAL",
            Self::InvalidKeyExchange { .. } => "KE_GROUP",
            Self::ChoiceNotOffered { .. } => "CHOICE_NOT_OFFERED",
            Self::TsUnacceptable { .. } => "TRAFFIC_SELECTOR",
            Self::TooManySelectors { .. } => "TOO_MANY_SELECTORS",
            Self::NoAnswer { answered_before: false, .. } => "NO_RESPONSE",
            Self::NoAnswer { .. } => "PEER_LOST",
            Self::HalfOpen { .. } => "HALF_OPEN",
            Self::ModeMismatch { .. } => "NEGOTIATION_MODE",
            Self::EncapsulationMode { .. } => "ENCAP_MODE",
            Self::PeerRefusedV1 { .. } => "PEER_REFUSED",
            Self::NoVirtualAddress { .. } => "VIRTUAL_IP",
            Self::NotUnique { .. } => "NOT_UNIQUE",
            Self::TooManyOfPeer { .. } => "TOO_MANY_IKE_SAS",
            Self::ChildlessMismatch { .. } => "CHILDLESS",
            Self::RedirectRefused { problem, .. } => problem.code(),
            Self::NoConfig { .. } => "NO_CONFIG",
            Self::WrongVersion { .. } => "IKE_VERSION",
            Self::PeerRefused { .. } => "PEER_REFUSED",
            Self::MessageInvalid { .. } => "MESSAGE_INVALID",
            Self::UnsupportedCritical { .. } => "UNSUPPORTED_CRITICAL_PAYLOAD",
            Self::BadPublicValue { .. } => "BAD_PUBLIC_VALUE",
            Self::InstallFailed { .. } => "INSTALL_FAILED",
            Self::PeerRestarted => "PEER_RESTART",
            Self::PeerDeleted => "PEER_DELETE",
            Self::Terminated => "TERMINATED",
            Self::ConfigurationChanged => "CONFIGURATION_CHANGED",
            Self::Replaced { .. } => "REPLACED",
            Self::Redirected { .. } => "REDIRECTED",
            Self::Expired => "EXPIRED",
            Self::Inactive { .. } => "INACTIVE",
        }
    }

    /// Whether this is an ordinary end, not a fault.
    pub fn is_ordinary(&self) -> bool {
        matches!(
            self,
            Self::PeerDeleted
                | Self::Terminated
                | Self::ConfigurationChanged
                | Self::Replaced { .. }
                | Self::Redirected { .. }
                | Self::Expired
                | Self::Inactive { .. }
        )
    }

    /// Whether the operator wanted this end.
    pub fn is_wanted(&self) -> bool {
        matches!(self, Self::Terminated | Self::ConfigurationChanged)
    }

    /// What to do about it, in one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::IdentityUnknown { received, .. } => {
                format!("set remote.id = {received} in the connection for this peer, or correct local.id at the peer")
            }
            Self::NotAddressed { asked_for, .. } => {
                format!("set local.id = {asked_for} here, or correct remote.id at the peer")
            }
            Self::IdentityMismatch { received, expected } => {
                format!("set remote.id = {received} here, or local.id = {expected} at the peer")
            }
            Self::XauthRefused { user, found_by: Side::Us, .. } if *user == Identity::ANY => {
                "have the client ask for, or be configured with, a user name and password".into()
            }
            Self::XauthRefused { found_by: Side::Us, known: true, .. } => {
                "compare the user's password at the client with the one here".into()
            }
            Self::XauthRefused { found_by: Side::Us, known: false, .. } => {
                "give the user a password here (a section secrets.xauth...), or correct the name at the client; xauth_id in remote may name the users that are let in".into()
            }
            Self::XauthRefused { found_by: Side::Peer, .. } => {
                "compare xauth_id and the secret of this user (secrets.xauth...) with what the peer has".into()
            }
            Self::PskMismatch { .. } => "make the secrets of this pair of identities equal at both ends".into(),
            Self::PskMissing { remote, .. } => {
                format!("add ike-NAME {{ id = {remote}  secret = ... }} to secrets, or this identity to a secret that is there")
            },
            Self::AuthMethodUnsupported { .. } => "configure auth = psk or auth = pubkey, one round, at both ends".into(),
            Self::AuthMethodMismatch { expected, received } if expected.contains("XAUTH") != received.contains("XAUTH") => {
                "have XAuth at both ends or at neither: a second section with auth = xauth, in remote of the gateway and in \
                 local of its client"
                    .into()
            }
            Self::AuthMethodMismatch { .. } => {
                "make auth in remote here the same as auth in local at the peer".into()
            }
            Self::OwnCertificateMissing { local, .. } => format!(
                "put a certificate for {local} into x509 and its key into private, or name it with certs in local; \
                 an encrypted key needs its passphrase in secrets"
            ),
            Self::PeerCertificateMissing { place: Some(place), .. } => format!(
                "see that {place} can be reached from here and is the certificate that the peer has now, or put it into x509 here"
            ),
            Self::PeerCertificateMissing { .. } => {
                "let the peer send its certificate (send_cert = always), or put it into x509 here".into()
            }
            Self::IdentityNotCertified { names, .. } => match names.first() {
                Some(name) => format!("set the peer's local.id to a name of its certificate, such as {name}, and remote.id here"),
                None => "the peer's certificate needs a subjectAltName that is its identity".into(),
            },
            Self::CertificateUntrusted { problem, .. } => problem.remedy().into(),
            Self::SignatureInvalid { .. } => {
                "the peer's private key and certificate do not belong together, or something changed the messages on the way".into()
            }
            Self::AuthenticationRefused { .. } => {
                "the peer knows the reason: compare the secret or certificates and both identities with its configuration, or read its log".into()
            }
            Self::NoProposalChosen { found_by: Side::Us, phase, mismatch, .. } => match mismatch {
                Some(m) if !m.differing.is_empty() => {
                    let what: Vec<String> = m.differing.iter().map(|(Dimension(k), ..)| Dimension(*k).to_string()).collect();
                    format!("give both ends a common {} in {}", what.join(" and "), phase.proposal_key())
                }
                _ => format!("compare {} with the peer", phase.proposal_key()),
            },
            Self::NoProposalChosen { phase: Phase::Ike, .. } => {
                "compare proposals with the peer's, whose log says what it missed; a peer without a connection for our \
                 address answers so too"
                    .into()
            }
            Self::NoProposalChosen { phase, .. } => {
                format!("compare {} with the peer's: its log says which algorithm it missed", phase.proposal_key())
            }
            Self::InvalidKeyExchange { wanted, .. } => format!("add {} to proposals, or our group at the peer", crate::Algorithm::from(*wanted).keyword()),
            Self::ChoiceNotOffered { .. } => {
                "the peer must choose from what it is offered (RFC 7296 section 2.7; in IKEv1 RFC 2408 section 4.2): report it \
                 to its vendor"
                    .into()
            },
            Self::TsUnacceptable { found_by: Side::Us, .. } => {
                "make local_ts here the mirror of remote_ts at the peer, and the reverse".into()
            }
            Self::TsUnacceptable { .. } => "local_ts and remote_ts must mirror the peer's: its log shows what it expects".into(),
            Self::TooManySelectors { most: 1, .. } => "let a packet begin it at the peer, or leave out single_pair".into(),
            Self::TooManySelectors { .. } => {
                "write the networks of local_ts and remote_ts together to larger ones, or share them out among several children"
                    .into()
            }
            Self::NoAnswer { answered_before: true, to, .. } => format!(
                "check that {} runs and can be reached; where dpd_action = restart is set the SA is made again by itself, with \
                 keyingtries = 0 as often as that takes",
                to.ip()
            ),
            Self::NoAnswer { waiting_for, to, .. } if is_first_answer(*waiting_for) => {
                format!("check that {} runs IKE, that UDP {} reaches it and that the answer finds its way back", to.ip(), to.port())
            }
            // With a NAT, message 5 is the first one to port 4500 (RFC 3947 section 4).
            Self::NoAnswer { to, waiting_for: RuleId::MainMode6 | RuleId::MainMode6Signature, .. } if to.port() == 4500 => {
                "port 500 works and 4500 does not: open UDP 4500 in both directions, or the peer drops message 5 silently".into()
            }
            Self::NoAnswer { waiting_for, .. } if rule(*waiting_for).version == Version::V1 => {
                "the peer answered what came before and not this: it could not use it, as its log says, or large and \
                 fragmented datagrams are lost"
                    .into()
            }
            Self::NoAnswer { to, .. } if to.port() == 4500 => {
                "port 500 works and 4500 does not: open UDP 4500 in both directions, or the peer drops IKE_AUTH silently".into()
            }
            Self::NoAnswer { .. } => "the peer answered IKE_SA_INIT but not this: it may drop large or fragmented datagrams".into(),
            Self::HalfOpen { repeated, .. } if *repeated > 0 => {
                "our answers do not reach the initiator: check the return path, firewall and NAT".into()
            }
            Self::HalfOpen { .. } => {
                "the initiator gave up after our first answer: its log says why; often UDP 4500 is blocked or it refused our choice".into()
            }
            Self::ModeMismatch { ours } => {
                format!("set aggressive = {} here, or the other mode at the peer", if *ours { "no" } else { "yes" })
            }
            Self::EncapsulationMode { .. } => "set the same mode at both ends".into(),
            Self::NoVirtualAddress { found_by: Side::Us, asked, pools } if !pools.is_empty() => match asked.as_slice() {
                [] => "set vips = 0.0.0.0 (or ::) at the peer, or remove pools here".into(),
                _ => "make the pools larger, or add one of that family; swanctl --list-pools --leases shows who has which address".into(),
            },
            Self::NoVirtualAddress { found_by: Side::Peer, asked, .. } if asked.is_empty() => {
                "the peer assigns addresses: set vips = 0.0.0.0 (or ::) here".into()
            }
            Self::NoVirtualAddress { .. } => "the peer needs a pool with an address left for us; or remove vips here".into(),
            Self::TooManyOfPeer { .. } => {
                "see whether the peer makes one IKE SA after the other; if many hosts have this identity, raise ikesa_limit_peer in \
                 strongswan.conf, else set unique = replace"
                    .into()
            }
            Self::NotUnique { .. } => "end the older SA, set unique = replace, or give each site an identity of its own".into(),
            Self::ChildlessMismatch { ours: true } => {
                "set childless = allow here and name a child, or allow childless IKE SAs at the peer".into()
            }
            Self::ChildlessMismatch { ours: false } => "set childless = allow here, or have the peer name a child".into(),
            Self::RedirectRefused { problem: RedirectProblem::TooOften, .. } => {
                "the gateways send us in a circle: correct them, or set follow_redirects = no in strongswan.conf".into()
            }
            Self::RedirectRefused { problem: RedirectProblem::NoAddress, to } => {
                format!("have {to} resolved here to an address of the same version of IP as ours, or redirect to an address")
            }
            Self::NoConfig { local, remote } => {
                format!(
                    "add a connection with remote_addrs = {} and local_addrs = {} (or %any); one that has them already is for \
                     the other version of IKE: version = 0 takes both",
                    remote.ip(),
                    local.ip()
                )
            }
            Self::WrongVersion { .. } => "set the same version at both ends".into(),
            Self::PeerRefusedV1 { phase: Phase::Ike, .. } => {
                "the peer's log says why; often it is our identity, or XAuth at one end only (a second section with auth = xauth)".into()
            }
            Self::PeerRefused { .. } | Self::PeerRefusedV1 { .. } => "the peer's log says why".into(),
            Self::MessageInvalid { rule: id, .. } if rule(*id).version == Version::V1 => {
                "the peer sends what RFC 2409 does not allow: report it to its vendor with a capture".into()
            }
            Self::BadPublicValue { .. } => {
                "the peer sends what the RFCs of IKE do not allow: report it to its vendor with a capture".into()
            }
            Self::MessageInvalid { .. } | Self::UnsupportedCritical { .. } => {
                "the peer sends what RFC 7296 does not allow: report it to its vendor with a capture".into()
            }
            Self::InstallFailed { .. } => "see the reason of the data plane".into(),
            Self::PeerRestarted => "find out why the peer restarted; dpd_action = restart makes the SA again by itself".into(),
            Self::PeerDeleted => "if this was not wanted, the peer's log says why it deleted the SA".into(),
            Self::Inactive { .. } => "set start_action = trap to have it back with the next packet".into(),
            Self::Terminated
            | Self::ConfigurationChanged
            | Self::Replaced { .. }
            | Self::Redirected { .. }
            | Self::Expired => "nothing to do".into(),
        }
    }
}

/// Whether this answers the first message of all, so that without it nothing was heard of the peer.
fn is_first_answer(id: RuleId) -> bool {
    matches!(
        id,
        RuleId::IkeSaInitResponse | RuleId::MainMode2 | RuleId::AggressiveMode2 | RuleId::AggressiveMode2Signature
    )
}

/// The reason, and the line of the configuration it is about.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match &self.config {
            Some(place) => write!(f, " [{place}]"),
            None => Ok(()),
        }
    }
}
