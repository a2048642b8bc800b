//! The typed connections: what the protocol core works with.

use crate::action::action;
use crate::address::refuse_many;
use crate::authentication::{policies, revocation};
use crate::binding::{Bindings, padding, shared_interface_id};
use crate::ikev1;
use crate::names::Scope;
use crate::reader::{Reader, only_sections};
use crate::values::{boolean, bytes, duration, lifetime, unsigned};
use crate::{
    AddressPattern, AuthMethod, Authentication, Authority, CertificateSource, ConfigError, Entry, ErrorKind,
    KeyPassphrase, Pool, Section, SelectorPattern, SendCert, SharedSecret, Shunt, SignatureRule, Sources, StartAction,
    UniqueNumbers, names,
};
use model::dataplane::{Binding, CopyDscp, HeaderFields, Mode, TfcPadding};
use model::{Identity, InvalidProposal, Proposal, ProposalProtocol};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything in `swanctl.conf`.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Connections in their order of definition.
    pub connections: Vec<Arc<Connection>>,
    /// Shared secrets in their order of definition.
    pub secrets: Vec<SharedSecret>,
    /// Pools of virtual addresses in their order of definition.
    pub pools: Vec<Pool>,
    /// Certification authorities in their order of definition.
    pub authorities: Vec<Authority>,
    /// Passphrases of private keys in their order of definition.
    pub passphrases: Vec<KeyPassphrase>,
}

/// `version`: which IKE to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IkeVersion {
    /// Any; IKEv2 is initiated.
    #[default]
    Any,
    /// IKEv1.
    V1,
    /// IKEv2.
    V2,
}

/// `unique`: what happens to another IKE SA of the same two identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unique {
    /// Nothing, but INITIAL_CONTACT from the peer is obeyed (RFC 7296 section 2.4).
    #[default]
    No,
    /// Nothing at all.
    Never,
    /// The new one is refused.
    Keep,
    /// The old one is deleted.
    Replace,
}

/// `fragmentation` (RFC 7383).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fragmentation {
    /// Offered and used.
    #[default]
    Yes,
    /// Accepted, not used by us.
    Accept,
    /// Used from the first message on.
    Force,
    /// Off.
    No,
}

/// `childless`: whether an IKE SA is made without a Child SA in IKE_AUTH (RFC 6023).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Childless {
    /// Where the peer begins so, or no child is named.
    #[default]
    Allow,
    /// By us too, wherever the peer can.
    Prefer,
    /// In no other way, by either end.
    Force,
    /// Never.
    Never,
}

/// A connection: how to reach a peer, and what to protect.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Name of its section.
    pub name: String,
    /// IKE version.
    pub version: IkeVersion,
    /// Aggressive mode instead of main mode (IKEv1).
    pub aggressive: bool,
    /// Our addresses.
    pub local_addrs: Vec<AddressPattern>,
    /// The peer's addresses.
    pub remote_addrs: Vec<AddressPattern>,
    /// Our UDP port.
    pub local_port: u16,
    /// The peer's UDP port.
    pub remote_port: u16,
    /// Proposals for the IKE SA, best first, never empty.
    pub proposals: Vec<Proposal>,
    /// How we authenticate.
    pub local: Authentication,
    /// How the peer must.
    pub remote: Authentication,
    /// Our further rounds, in order: XAuth (IKEv1), or several authentications (RFC 4739).
    pub local_more: Vec<Authentication>,
    /// The peer's further rounds, in order.
    pub remote_more: Vec<Authentication>,
    /// Virtual addresses to request; an unspecified one asks for any of its family.
    pub vips: Vec<IpAddr>,
    /// Names of the pools to assign virtual addresses from.
    pub pools: Vec<String>,
    /// Whether virtual addresses are requested by the initiator (pull) or assigned by the responder (push, IKEv1).
    pub pull: bool,
    /// What to protect.
    pub children: Vec<Child>,
    /// What not to protect.
    pub shunts: Vec<Shunt>,
    /// MOBIKE (RFC 4555).
    pub mobike: bool,
    /// Encapsulate ESP in UDP even without a NAT.
    pub encap: bool,
    /// IKE fragmentation (RFC 7383).
    pub fragmentation: Fragmentation,
    /// IKE SAs without a Child SA in IKE_AUTH (RFC 6023).
    pub childless: Childless,
    /// Check the peer after this time without a message from it; zero for never.
    pub dpd_delay: Duration,
    /// IKEv1: a peer of which nothing came for this time while it was asked is dead; zero for as long as a retransmission
    /// takes.
    pub dpd_timeout: Duration,
    /// How often to try to initiate; 0 for ever.
    pub keyingtries: u32,
    /// What happens to another IKE SA of the same peer.
    pub unique: Unique,
    /// When to send our certificate.
    pub send_cert: SendCert,
    /// Whether to ask for the peer's certificate.
    pub send_certreq: bool,
    /// Authenticate anew after this time; zero for never.
    pub reauth_time: Duration,
    /// Rekey the IKE SA after this time; zero for never.
    pub rekey_time: Duration,
    /// Close the IKE SA this long after it should have been rekeyed or authenticated anew.
    pub over_time: Duration,
    /// Rekey and authenticate earlier by a random time up to this one.
    pub rand_time: Duration,
    /// Where each key was written.
    pub source: Sources,
}

/// A Child SA to negotiate.
#[derive(Debug, Clone)]
pub struct Child {
    /// Name of its section.
    pub name: String,
    /// Our side, never empty.
    pub local_ts: Vec<SelectorPattern>,
    /// The peer's side, never empty.
    pub remote_ts: Vec<SelectorPattern>,
    /// Proposals for ESP, best first, never empty.
    pub esp_proposals: Vec<Proposal>,
    /// How packets are wrapped.
    pub mode: Mode,
    /// What to do once loaded.
    pub start_action: StartAction,
    /// What to do when the peer closes it.
    pub close_action: StartAction,
    /// What to do when the peer is dead.
    pub dpd_action: StartAction,
    /// Script to run when it comes up and goes down.
    pub updown: Option<String>,
    /// Handed to the script.
    pub hostaccess: bool,
    /// Rekey after this time; zero for never.
    pub rekey_time: Duration,
    /// Close after this time; zero for never.
    pub life_time: Duration,
    /// Rekey earlier by a random time up to this one.
    pub rand_time: Duration,
    /// Rekey after this many octets; 0 for never.
    pub rekey_bytes: u64,
    /// Close after this many octets; 0 for never.
    pub life_bytes: u64,
    /// Rekey earlier by a random number of octets up to this one.
    pub rand_bytes: u64,
    /// Rekey after this many packets; 0 for never.
    pub rekey_packets: u64,
    /// Close after this many packets; 0 for never.
    pub life_packets: u64,
    /// Rekey earlier by a random number of packets up to this one.
    pub rand_packets: u64,
    /// Whether to install policies.
    pub policies: bool,
    /// Their fixed priority, the lowest first.
    pub priority: Option<u32>,
    /// Marks and XFRM interfaces.
    pub binding: Binding,
    /// Those that each Child SA has for itself.
    pub unique: UniqueNumbers,
    /// What the outer IP header has of the inner one.
    pub header: HeaderFields,
    /// HMAC-SHA-256 is cut to 96 bits.
    pub sha256_96: bool,
    /// Anti-replay window in packets; 0 switches the check off.
    pub replay_window: u32,
    /// How what is sent is padded.
    pub tfc_padding: TfcPadding,
    /// Whether each pair of addresses is to have a Child SA of its own.
    pub single_pair: bool,
    /// Fixed number of the policies and SAs.
    pub reqid: Option<u32>,
    /// Close after this time without a packet in either direction; zero for never.
    pub inactivity: Duration,
    /// Whom to ask for an answer through it, in order to see what it carries; `None` for the first address of the peer's side.
    pub probe_to: Option<IpAddr>,
    /// How often; zero for never.
    pub probe_every: Duration,
    /// Where each key was written.
    pub source: Sources,
}

impl Connection {
    /// Whether it is for negotiating: one that only says what not to protect (`mode = pass`, `mode = drop`) is not.
    pub fn negotiates(&self) -> bool {
        self.shunts.is_empty() || !self.children.is_empty()
    }

    /// Our round of XAuth, if there is one: a further one, or with hybrid authentication the only one.
    pub fn local_xauth(&self) -> Option<&Authentication> {
        xauth_of(&self.local, &self.local_more)
    }

    /// The peer's round of XAuth, if there is one.
    pub fn remote_xauth(&self) -> Option<&Authentication> {
        xauth_of(&self.remote, &self.remote_more)
    }

    /// The users that XAuth may prove, as a pattern: with hybrid authentication the identity of the round is the one of
    /// phase 1, and the user is `xauth_id`.
    pub fn remote_user(&self) -> Identity {
        match self.remote_xauth() {
            Some(round) if self.remote.method == AuthMethod::Xauth => {
                round.xauth_id.as_deref().and_then(|name| name.parse().ok()).unwrap_or(Identity::ANY)
            }
            Some(round) => round.id.clone(),
            None => Identity::ANY,
        }
    }
}

fn xauth_of<'a>(first: &'a Authentication, more: &'a [Authentication]) -> Option<&'a Authentication> {
    std::iter::once(first).chain(more).find(|round| round.method == AuthMethod::Xauth)
}

/// Reads everything in `swanctl.conf`.
///
/// # Errors
/// Everything that is wrong, in order. Sections that others inherit from may have any name.
pub fn load(root: &Section) -> Result<Config, Vec<ConfigError>> {
    let mut config = Config::default();
    let mut errors = Vec::new();
    let mut rest = Vec::new();
    for entry in &root.entries {
        match entry {
            Entry::Section(s) if s.name == "connections" => {
                for section in only_sections(s, "connections", &mut errors) {
                    match connection(section) {
                        Ok(c) => config.connections.push(Arc::new(c)),
                        Err(mut e) => errors.append(&mut e),
                    }
                }
            }
            Entry::Section(s) if s.name == "secrets" => {
                for section in only_sections(s, "secrets", &mut errors) {
                    if KeyPassphrase::is_named(&section.name) {
                        match crate::passphrase(section) {
                            Ok(passphrase) => config.passphrases.push(passphrase),
                            Err(mut e) => errors.append(&mut e),
                        }
                        continue;
                    }
                    match crate::secret(section) {
                        Ok(secret) => config.secrets.push(secret),
                        Err(mut e) => errors.append(&mut e),
                    }
                }
            }
            Entry::Section(s) if s.name == "pools" => {
                for section in only_sections(s, "pools", &mut errors) {
                    match crate::pool(section) {
                        Ok(pool) => config.pools.push(pool),
                        Err(mut e) => errors.append(&mut e),
                    }
                }
            }
            Entry::Section(s) if s.name == "authorities" => {
                for section in only_sections(s, "authorities", &mut errors) {
                    match crate::authority(section) {
                        Ok(authority) => config.authorities.push(authority),
                        Err(mut e) => errors.append(&mut e),
                    }
                }
            }
            Entry::Section(s) if s.entries.is_empty() && names::find(Scope::Top, &s.name, true).is_some() => {}
            Entry::Section(s) if s.template && names::find(Scope::Top, &s.name, true).is_none() => {}
            entry => rest.push(entry),
        }
    }
    for entry in rest {
        let mut found = Vec::new();
        Reader::new(Scope::Top, String::new(), &mut found).other(entry);
        errors.extend(found.into_iter().map(|e| ConfigError { key: e.key.trim_start_matches('.').into(), ..e }));
    }
    errors.sort_by(|a, b| a.at.cmp(&b.at));
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// Reads one connection: a section below `connections`, or the message of a client.
///
/// # Errors
/// Everything that is wrong with it.
pub fn connection(section: &Section) -> Result<Connection, Vec<ConfigError>> {
    let (connection, errors) = readable_connection(section);
    if errors.is_empty() { Ok(connection) } else { Err(errors) }
}

/// Reads of a connection what can be read, with defaults for what cannot, and everything that is wrong with it. Where
/// something is, it is for saying what else is unwise, not for use.
pub fn readable_connection(section: &Section) -> (Connection, Vec<ConfigError>) {
    let mut errors = Vec::new();
    let connection = read_connection(section, &mut errors);
    errors.sort_by(|a, b| a.at.cmp(&b.at));
    (connection, errors)
}

const DURATION: &str = "a time: seconds, or a number with s, m, h or d";
const PROBING: &str = "a time of at least 10s, or 0 for never";
const BOOLEAN: &str = "yes or no";
const PORT: &str = "a port from 1 to 65535";
const AMOUNT: &str = "a number of octets, or a number with K, M or G";
const NUMBER: &str = "a number";
const ROUND_OF_XAUTH: &str = "it belongs into the round with auth = xauth";

fn port(text: &str) -> Option<u16> {
    unsigned(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
}

fn number32(text: &str) -> Option<u32> {
    unsigned(text).and_then(|n| u32::try_from(n).ok())
}

fn proposals(reader: &mut Reader<'_>, entry: &Entry, protocol: ProposalProtocol) -> Option<Vec<Proposal>> {
    let all = reader.list(entry, |text| match text {
        "default" => Ok(Proposal::defaults(protocol)),
        text => Proposal::parse(protocol, text).map(|p| vec![p]).map_err(|e| match e {
            // A truncation of strongSwan's own making, under a private number.
            InvalidProposal::Unknown(word) if word.eq_ignore_ascii_case("sha256_96") => {
                ErrorKind::Proposal(InvalidProposal::Unsupported(word))
            }
            e => ErrorKind::Proposal(e),
        }),
    })?;
    Some(all.into_iter().flatten().collect())
}

/// A probe takes seconds, and is traffic.
fn probing(text: &str) -> Option<Duration> {
    duration(text).filter(|every| every.is_zero() || every.as_secs() >= 10)
}

/// A tenth, as percentages of times are meant.
fn tenth(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() / 10)
}

fn read_connection(section: &Section, errors: &mut Vec<ConfigError>) -> Connection {
    let path = format!("connections.{}", section.name);
    let mut source = Sources::new(path.clone(), section.at.clone());
    let mut c = Connection {
        name: section.name.clone(),
        version: IkeVersion::Any,
        aggressive: false,
        local_addrs: vec![AddressPattern::Any],
        remote_addrs: vec![AddressPattern::Any],
        local_port: 500,
        remote_port: 500,
        proposals: Vec::new(),
        local: Authentication::new(AuthMethod::Psk, Identity::ANY),
        remote: Authentication::new(AuthMethod::Psk, Identity::ANY),
        local_more: Vec::new(),
        remote_more: Vec::new(),
        vips: Vec::new(),
        pools: Vec::new(),
        pull: true,
        children: Vec::new(),
        shunts: Vec::new(),
        mobike: true,
        encap: false,
        fragmentation: Fragmentation::Yes,
        childless: Childless::Allow,
        dpd_delay: Duration::ZERO,
        dpd_timeout: Duration::ZERO,
        keyingtries: 1,
        unique: Unique::No,
        send_cert: SendCert::IfAsked,
        send_certreq: true,
        reauth_time: Duration::ZERO,
        rekey_time: Duration::ZERO,
        over_time: Duration::ZERO,
        rand_time: Duration::ZERO,
        source: source.clone(),
    };
    let (mut rekey, mut reauth, mut over, mut rand) = (None, None, None, None);
    let mut rounds: [Vec<&Section>; 2] = [Vec::new(), Vec::new()];
    let mut children = None;
    let mut interfaces = (None, None);
    let mut reader = Reader::new(Scope::Connection, path, errors);
    for entry in &section.entries {
        if !reader.enter(entry) {
            continue;
        }
        match (entry.name(), entry) {
            (name, Entry::Section(s)) if name.starts_with("local") => rounds[0].push(s),
            (name, Entry::Section(s)) if name.starts_with("remote") => rounds[1].push(s),
            ("children", Entry::Section(s)) => children = Some(s),
            ("version", entry) => c.version = version(&mut reader, entry).unwrap_or_default(),
            ("aggressive", entry) => put(&mut c.aggressive, reader.value(entry, BOOLEAN, boolean)),
            ("local_addrs", entry) => put(&mut c.local_addrs, reader.list(entry, AddressPattern::parse)),
            ("remote_addrs", entry) => put(&mut c.remote_addrs, reader.list(entry, AddressPattern::parse)),
            ("local_port", entry) => put(&mut c.local_port, reader.value(entry, PORT, port)),
            ("remote_port", entry) => put(&mut c.remote_port, reader.value(entry, PORT, port)),
            ("proposals", entry) => put(&mut c.proposals, proposals(&mut reader, entry, ProposalProtocol::Ike)),
            ("mobike", entry) => put(&mut c.mobike, reader.value(entry, BOOLEAN, boolean)),
            ("encap", entry) => put(&mut c.encap, reader.value(entry, BOOLEAN, boolean)),
            ("fragmentation", entry) => put(&mut c.fragmentation, fragmentation(&mut reader, entry)),
            ("if_id_in", entry) => interfaces.0 = shared_interface_id(&mut reader, entry),
            ("if_id_out", entry) => interfaces.1 = shared_interface_id(&mut reader, entry),
            ("childless", entry) => put(&mut c.childless, childless(&mut reader, entry)),
            ("dpd_delay", entry) => put(&mut c.dpd_delay, reader.value(entry, DURATION, duration)),
            ("dpd_timeout", entry) => put(&mut c.dpd_timeout, reader.value(entry, DURATION, duration)),
            ("vips", entry) => put(&mut c.vips, virtual_addresses(&mut reader, entry)),
            ("pools", entry) => put(&mut c.pools, reader.list(entry, |name| Ok(name.to_string()))),
            ("pull", entry) => put(&mut c.pull, reader.value(entry, BOOLEAN, boolean)),
            ("keyingtries", entry) => put(&mut c.keyingtries, reader.value(entry, NUMBER, number32)),
            ("unique", entry) => put(&mut c.unique, unique(&mut reader, entry)),
            ("send_cert", entry) => put(&mut c.send_cert, send_cert(&mut reader, entry)),
            ("send_certreq", entry) => put(&mut c.send_certreq, reader.value(entry, BOOLEAN, boolean)),
            ("reauth_time", entry) => reauth = reader.value(entry, DURATION, duration),
            ("rekey_time", entry) => rekey = reader.value(entry, DURATION, duration),
            ("over_time", entry) => over = reader.value(entry, DURATION, duration),
            ("rand_time", entry) => rand = reader.value(entry, DURATION, duration),
            (_, entry) => reader.other(entry),
        }
    }
    let places = std::mem::take(&mut reader.places);
    source.add("", "", places);
    // With a time for authenticating anew, rekeying happens only if it is asked for too.
    let default_rekey = if reauth.is_some() { Duration::ZERO } else { Duration::from_secs(4 * 3600) };
    c.rekey_time = rekey.unwrap_or(default_rekey);
    c.reauth_time = reauth.unwrap_or_default();
    c.over_time = over.unwrap_or_else(|| tenth(c.rekey_time.max(c.reauth_time)));
    // Not more than half of the time that it shortens, as strongSwan: else an SA could be replaced as soon as it is up.
    let shortest = [c.rekey_time, c.reauth_time].into_iter().filter(|time| !time.is_zero()).min();
    c.rand_time = rand.unwrap_or_else(|| shortest.map_or(c.over_time, |time| c.over_time.min(time / 2)));
    if c.proposals.is_empty() {
        c.proposals = Proposal::defaults(ProposalProtocol::Ike);
    }
    let [local, remote] = rounds;
    let v1 = c.version == IkeVersion::V1;
    if v1 {
        ikev1::check(&c.proposals, section, &format!("connections.{}", section.name), errors);
    }
    let local = authentication(&local, "local", section, v1, &mut source, errors);
    let remote = authentication(&remote, "remote", section, v1, &mut source, errors);
    if let Some(children) = children {
        let path = format!("connections.{}.children", section.name);
        for section in only_sections(children, &path, errors) {
            let mut child = read_child(section, format!("{path}.{}", section.name), errors);
            if v1 {
                let path = format!("{path}.{}", section.name);
                ikev1::check(&child.esp_proposals, section, &path, errors);
                ikev1::check_child(section, &path, child.tfc_padding != TfcPadding::None, errors);
            }
            let (own, binding) = (|key| child.source.is_set(key), &mut child.binding);
            binding.if_id_in = if own("if_id_in") { binding.if_id_in } else { interfaces.0 };
            binding.if_id_out = if own("if_id_out") { binding.if_id_out } else { interfaces.1 };
            match Shunt::action_of(section) {
                Some(_) if !child.unique.is_empty() => {
                    Shunt::refuse_unique(&child, &format!("{path}.{}", section.name), errors)
                }
                Some(action) => c.shunts.push(Shunt::new(action, child)),
                None => {
                    refuse_many(&child, &path, errors);
                    c.children.push(child);
                }
            }
        }
    }
    let known = local.is_some() && remote.is_some();
    (c.local, c.local_more) = local.unwrap_or_else(|| (c.local.clone(), Vec::new()));
    (c.remote, c.remote_more) = remote.unwrap_or_else(|| (c.remote.clone(), Vec::new()));
    if let Some(why) = impossible_xauth(&c).filter(|_| known) {
        let key = format!("connections.{}", section.name);
        errors.push(ConfigError::new(section.at.clone(), key, ErrorKind::Unsupported { why }));
    }
    c.source = source;
    c
}

/// Why the rounds of XAuth cannot be as they are.
fn impossible_xauth(c: &Connection) -> Option<&'static str> {
    let (local, remote) = (c.local_xauth(), c.remote_xauth());
    let twice = |first: &Authentication, more: &[Authentication]| first.method == AuthMethod::Xauth && !more.is_empty();
    if twice(&c.local, &c.local_more) || twice(&c.remote, &c.remote_more) {
        return Some("there is one round of XAuth: the section with auth = xauth comes last");
    }
    if local.is_some() && remote.is_some() {
        return Some("XAuth proves one end: remove auth = xauth from local or from remote");
    }
    let hybrid =
        [(&c.local, &c.remote), (&c.remote, &c.local)].into_iter().find(|(end, _)| end.method == AuthMethod::Xauth);
    hybrid.filter(|(_, server)| server.method != AuthMethod::Pubkey).map(|_| {
        "where XAuth is the only proof of one end (hybrid authentication), the other needs a certificate: write auth = pubkey there, or auth = psk in a section before the one with auth = xauth"
    })
}

fn put<T>(into: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *into = value;
    }
}

fn version(reader: &mut Reader<'_>, entry: &Entry) -> Option<IkeVersion> {
    let words = [("0", IkeVersion::Any), ("1", IkeVersion::V1), ("2", IkeVersion::V2)];
    reader.word(entry, "1, 2, or 0 for any version", &words)
}

fn fragmentation(reader: &mut Reader<'_>, entry: &Entry) -> Option<Fragmentation> {
    let words = [
        ("yes", Fragmentation::Yes),
        ("accept", Fragmentation::Accept),
        ("force", Fragmentation::Force),
        ("no", Fragmentation::No),
    ];
    reader.word(entry, "yes, accept, force or no", &words)
}

fn childless(reader: &mut Reader<'_>, entry: &Entry) -> Option<Childless> {
    let words = [
        ("allow", Childless::Allow),
        ("prefer", Childless::Prefer),
        ("force", Childless::Force),
        ("never", Childless::Never),
    ];
    reader.word(entry, "allow, prefer, force or never", &words)
}

fn unique(reader: &mut Reader<'_>, entry: &Entry) -> Option<Unique> {
    let words = [("no", Unique::No), ("never", Unique::Never), ("keep", Unique::Keep), ("replace", Unique::Replace)];
    reader.word(entry, "no, never, keep or replace", &words)
}

fn send_cert(reader: &mut Reader<'_>, entry: &Entry) -> Option<SendCert> {
    let words = [
        ("ifasked", SendCert::IfAsked),
        ("always", SendCert::Always),
        ("yes", SendCert::Always),
        ("never", SendCert::Never),
        ("no", SendCert::Never),
    ];
    reader.word(entry, "ifasked, always or never", &words)
}

fn certificates(reader: &mut Reader<'_>, entry: &Entry) -> Option<Vec<CertificateSource>> {
    const EXPECTED: &str = "names of files, or certificates in PEM";
    let broken = || ErrorKind::Value { got: "<broken PEM>".into(), expected: EXPECTED };
    reader.list(entry, |text| CertificateSource::parse(text).ok_or_else(broken))
}

fn public_keys(reader: &mut Reader<'_>, entry: &Entry) -> Option<Vec<CertificateSource>> {
    const EXPECTED: &str = "names of files, or public keys in PEM";
    let broken = || ErrorKind::Value { got: "<broken PEM>".into(), expected: EXPECTED };
    reader.list(entry, |text| CertificateSource::parse_key(text).ok_or_else(broken))
}

/// At most one address of each version of IP; an unspecified one asks for any.
fn virtual_addresses(reader: &mut Reader<'_>, entry: &Entry) -> Option<Vec<IpAddr>> {
    const EXPECTED: &str = "0.0.0.0, :: or an address to ask for, at most one of each version of IP";
    let found = reader.list(entry, |text| match text {
        "%any" | "%any4" => Ok(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        "%any6" => Ok(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        text => text.parse().map_err(|_| ErrorKind::Value { got: text.into(), expected: EXPECTED }),
    })?;
    if [true, false].iter().any(|v4| found.iter().filter(|a| a.is_ipv4() == *v4).count() > 1) {
        reader.refuse(entry, ErrorKind::Value { got: Reader::items(entry).join(", "), expected: EXPECTED });
        return None;
    }
    Some(found)
}

/// The name of a user, which is an identity too.
fn user_name(reader: &mut Reader<'_>, entry: &Entry) -> Option<String> {
    let text = reader.text(entry)?;
    match text.parse::<Identity>() {
        Ok(_) => Some(text.to_string()),
        Err(e) => {
            reader.refuse(entry, ErrorKind::Identity(e));
            None
        }
    }
}

/// Why this is no method of XAuth that can be used; nothing if it can.
fn unusable_xauth(method: &str, v1: bool) -> Option<&'static str> {
    match method {
        "xauth" | "xauth-generic" if v1 => None,
        "xauth" | "xauth-generic" => Some("XAuth belongs to IKEv1: write version = 1"),
        _ => Some("XAuth compares with secrets named xauth... only: write auth = xauth"),
    }
}

/// A round after the first: XAuth, in IKEv1.
fn xauth_round(
    round: &Section,
    side: &str,
    base: &str,
    v1: bool,
    source: &mut Sources,
    errors: &mut Vec<ConfigError>,
) -> Option<Authentication> {
    let mut reader = Reader::new(Scope::Authentication, format!("{base}.{}", round.name), errors);
    let method = round.entries.iter().find(|e| e.name() == "auth").and_then(|e| reader.text(e)).unwrap_or_default();
    let why = match method.trim().to_ascii_lowercase().as_str() {
        method if method.starts_with("xauth") => unusable_xauth(method, v1),
        _ => Some("a second round of authentication (RFC 4739) is not available in this version; remove the section"),
    };
    if let Some(why) = why {
        reader.refuse_at(&round.at, "", ErrorKind::Unsupported { why });
        return None;
    }
    let mut found = Authentication::new(AuthMethod::Xauth, Identity::ANY);
    for entry in &round.entries {
        if !reader.enter(entry) {
            continue;
        }
        match entry.name() {
            "auth" => {}
            "xauth_id" if side == "local" => found.xauth_id = user_name(&mut reader, entry),
            "id" | "xauth_id" => match reader.text(entry).map(str::parse::<Identity>) {
                Some(Ok(id)) => found.id = id,
                Some(Err(e)) => reader.refuse(entry, ErrorKind::Identity(e)),
                None => {}
            },
            _ => reader.other(entry),
        }
    }
    let places = std::mem::take(&mut reader.places);
    source.add(&format!("{side}-xauth."), &format!("{}.", round.name), places);
    Some(found)
}

/// One end's rounds: a pre-shared key or a signature, and in IKEv1 possibly XAuth after it. Without a section it is a
/// signature by whoever we find a certificate for, as in strongSwan.
fn authentication(
    rounds: &[&Section],
    side: &str,
    connection: &Section,
    v1: bool,
    source: &mut Sources,
    errors: &mut Vec<ConfigError>,
) -> Option<(Authentication, Vec<Authentication>)> {
    let base = format!("connections.{}", connection.name);
    let Some((first, more)) = rounds.split_first() else {
        return Some((Authentication::new(AuthMethod::Pubkey, Identity::ANY), Vec::new()));
    };
    let mut further: Vec<Authentication> = Vec::new();
    for round in more {
        if further.is_empty() {
            further.extend(xauth_round(round, side, &base, v1, source, errors));
        } else {
            let why = "there is one round of XAuth; remove the section";
            let key = format!("{base}.{}", round.name);
            errors.push(ConfigError::new(round.at.clone(), key, ErrorKind::Unsupported { why }));
        }
    }
    let mut reader = Reader::new(Scope::Authentication, format!("{base}.{}", first.name), errors);
    let method = first_method(first, v1, &mut reader);
    let mut found = Authentication::new(AuthMethod::Psk, Identity::ANY);
    if let Some((kind, signature)) = &method {
        (found.method, found.signature) = (*kind, signature.clone());
    }
    for entry in &first.entries {
        if !reader.enter(entry) {
            continue;
        }
        match entry.name() {
            "auth" => {}
            "id" if method.is_some() => {
                let Some(text) = reader.text(entry) else { continue };
                match text.parse::<Identity>() {
                    Ok(parsed) if side == "local" && parsed.is_wildcard() && parsed != Identity::ANY => {
                        let expected = "one identity: ours cannot contain '*'";
                        reader.refuse(entry, ErrorKind::Value { got: text.into(), expected });
                    }
                    Ok(parsed) => found.id = parsed,
                    Err(e) => reader.refuse(entry, ErrorKind::Identity(e)),
                }
            }
            "id" => {}
            "certs" => put(&mut found.certs, certificates(&mut reader, entry)),
            "pubkeys" => put(&mut found.pubkeys, public_keys(&mut reader, entry)),
            "cacerts" => put(&mut found.cacerts, certificates(&mut reader, entry)),
            "ca_id" => match reader.text(entry).map(str::parse::<Identity>) {
                Some(Ok(id)) => found.ca_id = Some(id),
                Some(Err(e)) => reader.refuse(entry, ErrorKind::Identity(e)),
                None => {}
            },
            "cert_policy" => put(&mut found.cert_policies, policies(&mut reader, entry)),
            "revocation" => put(&mut found.revocation, revocation(&mut reader, entry)),
            "xauth_id" if found.method == AuthMethod::Xauth => found.xauth_id = user_name(&mut reader, entry),
            "xauth_id" if method.is_some() => reader.refuse(entry, ErrorKind::Unsupported { why: ROUND_OF_XAUTH }),
            // Where the method is refused already, what only belongs to it is not worth another error.
            name if method.is_none()
                && names::find(Scope::Authentication, name, matches!(entry, Entry::Section(_))).is_some() => {}
            _ => reader.other(entry),
        }
    }
    let places = std::mem::take(&mut reader.places);
    source.add(&format!("{side}."), &format!("{}.", first.name), places);
    method.map(|_| (found, further))
}

/// The method of a first round, which without `auth` is a signature. XAuth in a first round is hybrid authentication.
fn first_method(round: &Section, v1: bool, reader: &mut Reader<'_>) -> Option<(AuthMethod, SignatureRule)> {
    const OTHERS: &[&str] = &["ed448", "bliss", "dsa", "eap", "any", "mldsa"];
    let Some(entry) = round.entries.iter().find(|e| e.name() == "auth") else {
        return Some((AuthMethod::Pubkey, SignatureRule::default()));
    };
    let text = reader.text(entry)?;
    let method = text.trim().to_ascii_lowercase();
    if method == "psk" {
        return Some((AuthMethod::Psk, SignatureRule::default()));
    }
    if let Some(rule) = SignatureRule::parse(&method) {
        return Some((AuthMethod::Pubkey, rule));
    }
    if method.starts_with("xauth") && unusable_xauth(&method, v1).is_none() {
        return Some((AuthMethod::Xauth, SignatureRule::default()));
    }
    let kind = if method.starts_with("xauth") {
        ErrorKind::Unsupported { why: unusable_xauth(&method, v1).unwrap_or_default() }
    } else if OTHERS.iter().any(|o| method.starts_with(o)) {
        let why = "only pre-shared keys and signatures by RSA, ECDSA and Ed25519 are available in this version; write auth = psk or auth = pubkey";
        ErrorKind::Unsupported { why }
    } else {
        let expected = "psk, or pubkey, rsa, rsa/pss, ecdsa or ed25519, with a length in bits and hashes (sha256, sha384, sha512) after dashes";
        ErrorKind::Value { got: text.into(), expected }
    };
    reader.refuse(entry, kind);
    None
}

fn copy_dscp(reader: &mut Reader<'_>, entry: &Entry) -> Option<CopyDscp> {
    let words = [("out", CopyDscp::Out), ("in", CopyDscp::In), ("yes", CopyDscp::Yes), ("no", CopyDscp::No)];
    reader.word(entry, "out, in, yes or no", &words)
}

fn read_child(section: &Section, path: String, errors: &mut Vec<ConfigError>) -> Child {
    let mut source = Sources::new(path.clone(), section.at.clone());
    let mut c = Child {
        name: section.name.clone(),
        local_ts: vec![SelectorPattern::DYNAMIC],
        remote_ts: vec![SelectorPattern::DYNAMIC],
        esp_proposals: Vec::new(),
        mode: Mode::Tunnel,
        start_action: StartAction::None,
        close_action: StartAction::None,
        dpd_action: StartAction::None,
        updown: None,
        hostaccess: false,
        rekey_time: Duration::ZERO,
        life_time: Duration::ZERO,
        rand_time: Duration::ZERO,
        rekey_bytes: 0,
        life_bytes: 0,
        rand_bytes: 0,
        rekey_packets: 0,
        life_packets: 0,
        rand_packets: 0,
        policies: true,
        priority: None,
        binding: Binding::default(),
        unique: UniqueNumbers::default(),
        header: HeaderFields::default(),
        sha256_96: false,
        replay_window: 32,
        tfc_padding: TfcPadding::None,
        single_pair: false,
        reqid: None,
        inactivity: Duration::ZERO,
        probe_to: None,
        probe_every: Duration::ZERO,
        source: source.clone(),
    };
    // Times, octets and packets: soft, hard, random.
    let mut limits: [[Option<u64>; 3]; 3] = Default::default();
    let mut bindings = Bindings::default();
    let mut reader = Reader::new(Scope::Child, path, errors);
    let selector = |text: &str| SelectorPattern::parse(text).map_err(ErrorKind::Selector);
    let seconds = |text: &str| duration(text).map(|d| d.as_secs());
    for entry in &section.entries {
        if !reader.enter(entry) || bindings.read(&mut reader, entry) {
            continue;
        }
        match entry.name() {
            "local_ts" => put(&mut c.local_ts, reader.list(entry, selector)),
            "remote_ts" => put(&mut c.remote_ts, reader.list(entry, selector)),
            "esp_proposals" => put(&mut c.esp_proposals, proposals(&mut reader, entry, ProposalProtocol::Esp)),
            "start_action" => put(&mut c.start_action, action(&mut reader, entry)),
            "close_action" => put(&mut c.close_action, action(&mut reader, entry)),
            "dpd_action" => put(&mut c.dpd_action, action(&mut reader, entry)),
            "updown" => c.updown = reader.text(entry).map(str::to_string).filter(|t| !t.is_empty()),
            "hostaccess" => put(&mut c.hostaccess, reader.value(entry, BOOLEAN, boolean)),
            "policies" => put(&mut c.policies, reader.value(entry, BOOLEAN, boolean)),
            "priority" => c.priority = reader.value(entry, NUMBER, number32).filter(|n| *n != 0),
            "copy_df" => put(&mut c.header.copy_df, reader.value(entry, BOOLEAN, boolean)),
            "copy_ecn" => put(&mut c.header.copy_ecn, reader.value(entry, BOOLEAN, boolean)),
            "copy_dscp" => put(&mut c.header.copy_dscp, copy_dscp(&mut reader, entry)),
            "sha256_96" => put(&mut c.sha256_96, reader.value(entry, BOOLEAN, boolean)),
            "replay_window" => put(&mut c.replay_window, reader.value(entry, NUMBER, number32)),
            "tfc_padding" => put(&mut c.tfc_padding, padding(&mut reader, entry)),
            "single_pair" => put(&mut c.single_pair, reader.value(entry, BOOLEAN, boolean)),
            "reqid" => c.reqid = reader.value(entry, NUMBER, number32).filter(|n| *n != 0),
            "inactivity" => put(&mut c.inactivity, reader.value(entry, DURATION, duration)),
            "probe_to" => c.probe_to = reader.value(entry, "an address", |text| text.trim().parse().ok()),
            "probe_every" => put(&mut c.probe_every, reader.value(entry, PROBING, probing)),
            "rekey_time" => limits[0][0] = reader.value(entry, DURATION, seconds),
            "life_time" => limits[0][1] = reader.value(entry, DURATION, seconds),
            "rand_time" => limits[0][2] = reader.value(entry, DURATION, seconds),
            "rekey_bytes" => limits[1][0] = reader.value(entry, AMOUNT, bytes),
            "mode" => {
                reader.other(entry);
                let transport = reader.text(entry).is_some_and(|t| t.trim().eq_ignore_ascii_case("transport"));
                c.mode = if transport { Mode::Transport } else { Mode::Tunnel };
            }
            "life_bytes" => limits[1][1] = reader.value(entry, AMOUNT, bytes),
            "rand_bytes" => limits[1][2] = reader.value(entry, AMOUNT, bytes),
            "rekey_packets" => limits[2][0] = reader.value(entry, NUMBER, unsigned),
            "life_packets" => limits[2][1] = reader.value(entry, NUMBER, unsigned),
            "rand_packets" => limits[2][2] = reader.value(entry, NUMBER, unsigned),
            _ => reader.other(entry),
        }
    }
    let places = std::mem::take(&mut reader.places);
    source.add("", "", places);
    (c.binding, c.unique) = bindings.finish();
    let [[soft, hard, random], octets, packets] = limits;
    let (rekey, life, rand) = lifetime(soft, hard, random, 3600);
    (c.rekey_time, c.life_time, c.rand_time) =
        (Duration::from_secs(rekey), Duration::from_secs(life), Duration::from_secs(rand));
    (c.rekey_bytes, c.life_bytes, c.rand_bytes) = lifetime(octets[0], octets[1], octets[2], 0);
    (c.rekey_packets, c.life_packets, c.rand_packets) = lifetime(packets[0], packets[1], packets[2], 0);
    if c.esp_proposals.is_empty() {
        c.esp_proposals = Proposal::defaults(ProposalProtocol::Esp);
    }
    c.source = source;
    c
}
