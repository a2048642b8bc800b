//! F5 BIG-IP's `tmsh show net ipsec ike-sa`: blocks of labelled values, one per IKE SA, grouped by `(tmm: N)`.
//!
//! [`project`] takes from a snapshot what that listing has room for, [`render`] prints it, [`parse_ike_sa`] reads such a listing
//! back, ours or a BIG-IP's. `parse_ike_sa(render(x)) == x`.
//!
//! The layout with all properties is the one F5 documents. What its plain form prints is not documented; ours is the
//! first lines of a block (addresses, version and state, peer). The line of addresses reads remote `->` local.

use model::{Algorithm, ChildState, IkeState, Role, SaSnapshot};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use wire::grammar::RuleId;
use wire::registry::EncryptionId;

const RULE: &str = "-------------------------";
const TITLE: &str = "IKE::SecurityAssociations";
/// The partition every object is in, unless its name says another.
const PARTITION: &str = "/Common/";

/// What to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The whole block, not only its first lines.
    pub all_properties: bool,
    /// Only SAs with this peer address.
    pub peer_ip: Option<IpAddr>,
    /// Only SAs of this peer; `/Common/` may be left out.
    pub peer_name: Option<String>,
    /// Only SAs with this traffic selector; `/Common/` may be left out.
    pub traffic_selector: Option<String>,
}

/// An address and port, with F5's route domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmshAddress {
    /// The address.
    pub ip: IpAddr,
    /// The route domain, if one is stated.
    pub route_domain: Option<u32>,
    /// The port.
    pub port: u16,
}

impl From<SocketAddr> for TmshAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), route_domain: None, port: address.port() }
    }
}

impl fmt::Display for TmshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if let Some(domain) = self.route_domain {
            write!(f, "%{domain}")?;
        }
        write!(f, "/{}", self.port)
    }
}

impl std::str::FromStr for TmshAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::Value { label: "address", value: text.into() };
        // `2001:db8::1.500` is how a BIG-IP writes IPv6 elsewhere.
        let dotted = || text.rsplit_once('.').filter(|(address, _)| address.contains(':'));
        let (address, port) = text.rsplit_once('/').or_else(dotted).ok_or_else(bad)?;
        let (ip, domain) = match address.split_once('%') {
            Some((ip, domain)) => (ip, Some(domain.parse().map_err(|_| bad())?)),
            None => (address, None),
        };
        Ok(Self { ip: ip.parse().map_err(|_| bad())?, route_domain: domain, port: port.parse().map_err(|_| bad())? })
    }
}

/// One line under `Traffic Selectors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmshSelector {
    /// Name with its partition.
    pub name: String,
    /// Request ID of the SA by which we receive, 0 if there is none.
    pub reqid_in: u32,
    /// Request ID of the SA by which we send, 0 if there is none.
    pub reqid_out: u32,
}

/// One block: what the listing says of an IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmshIkeSa {
    /// The TMM, our worker; `None` if the listing does not say.
    pub tmm: Option<u32>,
    /// The peer.
    pub remote: TmshAddress,
    /// We.
    pub local: TmshAddress,
    /// `v1` or `v2`.
    pub version: String,
    /// The state in F5's words; usable only if `ESTABLISHED`.
    pub state: String,
    /// Name of the peer with its partition.
    pub peer: String,
    /// The rest, when all properties are printed.
    pub properties: Option<TmshProperties>,
}

/// What only `all-properties` prints. Parsing leaves at its default what a listing does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmshProperties {
    /// Our SPI.
    pub spi_local: u64,
    /// The peer's SPI.
    pub spi_remote: u64,
    /// `aes256`, `aes-gcm256`; `none` before one is chosen.
    pub encryption: String,
    /// `pre-shared-key`, `rsa-signature`...
    pub authentication: String,
    /// `sha256`; with a combined-mode cipher the hash of the pseudorandom function.
    pub hash: String,
    /// Whether we initiated.
    pub initiator: bool,
    /// Lifetime in seconds, 0 if unlimited.
    pub lifetime: u64,
    /// Age in seconds.
    pub active: u64,
    /// `none`, or which end is behind a NAT: `local`, `remote`, `both`, `forced`.
    pub nat_t: String,
    /// The peer's selectors.
    pub selectors: Vec<TmshSelector>,
    /// How many Child SAs carry traffic.
    pub child_sas: u32,
}

/// What the listing says of a snapshot.
///
/// A Child SA of ours has one request ID for both directions; F5 counts the directions separately.
pub fn project(sa: &SaSnapshot, all_properties: bool) -> TmshIkeSa {
    TmshIkeSa {
        tmm: Some(sa.worker),
        remote: sa.remote.into(),
        local: sa.local.into(),
        version: format!("v{}", sa.version),
        state: state(sa).to_string(),
        peer: qualified(if sa.name.is_empty() { "(unnamed)" } else { &sa.name }),
        properties: all_properties.then(|| properties(sa)),
    }
}

/// Racoon2's state names, which BIG-IP's IKEv2 has.
fn state(sa: &SaSnapshot) -> &'static str {
    match (sa.state, sa.role, sa.waiting_for) {
        (IkeState::Created, ..) => "IDLING",
        // A BIG-IP lists no SA of IKEv1 here, so there is no word of its own to use.
        (IkeState::Connecting, ..) if sa.version == 1 => "CONNECTING",
        (IkeState::Connecting, Role::Initiator, Some(RuleId::IkeAuthResponse)) => "INI_IKE_AUTH_SENT",
        (IkeState::Connecting, Role::Initiator, _) => "INI_IKE_SA_INIT_SENT",
        (IkeState::Connecting, Role::Responder, Some(_)) => "RES_IKE_SA_INIT_SENT",
        (IkeState::Connecting, Role::Responder, None) => "RES_IKE_AUTH_RCVD",
        (IkeState::Established | IkeState::Rekeying, ..) => "ESTABLISHED",
        (IkeState::Rekeyed | IkeState::Deleting, ..) => "DYING",
        (IkeState::Destroying, ..) => "DEAD",
    }
}

fn qualified(name: &str) -> String {
    if name.starts_with('/') { name.to_string() } else { format!("{PARTITION}{name}") }
}

fn properties(sa: &SaSnapshot) -> TmshProperties {
    let initiator = sa.role == Role::Initiator;
    let (ours, theirs) =
        if initiator { (sa.spis.initiator, sa.spis.responder) } else { (sa.spis.responder, sa.spis.initiator) };
    let none = || "none".to_string();
    let hash = |suite: &model::ChosenSuite| match (suite.integrity, suite.prf) {
        (Some(integrity), _) => Algorithm::from(integrity).keyword(),
        (None, Some(prf)) => Algorithm::from(prf).keyword().trim_start_matches("prf").to_string(),
        (None, None) => none(),
    };
    // A configured child may have no SA yet, and a peer may have a Child SA whose configuration is gone.
    let gone = sa.children.iter().map(|c| &c.name).filter(|name| !sa.configured_children.contains(name));
    let mut names: Vec<&String> = sa.configured_children.iter().chain(gone).collect();
    names.dedup();
    let selector = |name: &String| {
        // The newest Child SA of that name counts; those it replaced are about to go.
        let reqid = sa.children.iter().rev().find(|c| c.name == *name).map_or(0, |c| c.reqid);
        TmshSelector { name: qualified(name), reqid_in: reqid, reqid_out: reqid }
    };
    let carries_traffic = |s: ChildState| matches!(s, ChildState::Installed | ChildState::Rekeying);
    TmshProperties {
        spi_local: ours.to_u64(),
        spi_remote: theirs.to_u64(),
        encryption: sa.suite.as_ref().map_or_else(none, |s| encryption(s.encryption)),
        authentication: sa.authentication.to_string(),
        hash: sa.suite.as_ref().map_or_else(none, hash),
        initiator,
        lifetime: sa.lifetime.as_secs(),
        active: sa.established.unwrap_or(sa.age).as_secs(),
        nat_t: match (sa.nat.local, sa.nat.remote, sa.nat.forced) {
            (true, true, _) => "both",
            (true, false, _) => "local",
            (false, true, _) => "remote",
            (false, false, true) => "forced",
            (false, false, false) => "none",
        }
        .to_string(),
        selectors: names.into_iter().map(selector).collect(),
        child_sas: u32::try_from(sa.children.iter().filter(|c| carries_traffic(c.state)).count()).unwrap_or(u32::MAX),
    }
}

/// F5's name: `aes256`, `aes-gcm256`.
fn encryption(e: model::Encryption) -> String {
    match (e.id, e.key_length) {
        (EncryptionId::AES_GCM_16, Some(bits)) => format!("aes-gcm{bits}"),
        _ => Algorithm::from(e).keyword(),
    }
}

/// `show net ipsec ike-sa` of these snapshots: those that the options select, grouped by worker.
pub fn render_ike_sa(sas: &[SaSnapshot], options: &Options) -> String {
    let same = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| qualified(w) == qualified(name));
    let mut selected: Vec<TmshIkeSa> = sas
        .iter()
        .filter(|sa| options.peer_ip.is_none_or(|ip| sa.remote.ip() == ip))
        .filter(|sa| same(&options.peer_name, &sa.name))
        .filter(|sa| {
            let mut names = sa.configured_children.iter().chain(sa.children.iter().map(|c| &c.name));
            options.traffic_selector.is_none() || names.any(|name| same(&options.traffic_selector, name))
        })
        .map(|sa| project(sa, options.all_properties))
        .collect();
    selected.sort_by_key(|sa| sa.tmm);
    render(&selected)
}

/// The listing of these blocks, in their order.
pub fn render(sas: &[TmshIkeSa]) -> String {
    let mut out = format!("{RULE}\n{TITLE}\n{RULE}\n");
    let mut tmm = None;
    for sa in sas {
        if let Some(n) = sa.tmm.filter(|_| sa.tmm != tmm) {
            out += &format!("(tmm: {n})\n");
        }
        tmm = sa.tmm;
        out += &format!("  {} -> {}\n", sa.remote, sa.local);
        out += &format!("  Version: {} State: {}\n", sa.version, sa.state);
        out += &format!("  IKE Peer: {}\n", sa.peer);
        if let Some(p) = &sa.properties {
            out += &render_properties(p);
        }
    }
    out + &format!("Total records returned: {}\n", sas.len())
}

fn render_properties(p: &TmshProperties) -> String {
    let mut out = format!(
        "  Spi(local): {:#018x} Spi(Remote): {:#018x}\n  Encryption: {} Authentication: {}\n  Hash Algorithm: {} \
         Initiator: {}\n  Life/Active Time: {}/{} seconds NAT-T: {}\n  Traffic Selectors {} Reqid(in/out)\n",
        p.spi_local,
        p.spi_remote,
        p.encryption,
        p.authentication,
        p.hash,
        if p.initiator { "TRUE" } else { "FALSE" },
        p.lifetime,
        p.active,
        p.nat_t,
        p.selectors.len(),
    );
    for s in &p.selectors {
        out += &format!("    {} {}/{}\n", s.name, s.reqid_in, s.reqid_out);
    }
    out + &format!("  Child SA Count: {}\n", p.child_sas)
}

/// Why a text is no such listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Neither the title nor a block nor a total.
    NotAListing,
    /// A value that cannot be read.
    Value {
        /// Its label.
        label: &'static str,
        /// The value.
        value: String,
    },
    /// The total differs from the number of blocks: the listing was cut.
    Incomplete {
        /// What the total says.
        stated: usize,
        /// How many there are.
        found: usize,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAListing => f.write_str("this is not the output of 'show net ipsec ike-sa'"),
            Self::Value { label, value } => write!(f, "'{value}' after '{label}' cannot be read"),
            Self::Incomplete { stated, found } => {
                write!(f, "the listing says it has {stated} records, but {found} are there: copy all of it")
            }
        }
    }
}

impl std::error::Error for ParseError {}

/// Labels, with their colon. Two may share a line; a value reaches up to the next one.
const LABELS: &[&str] = &[
    "Version:",
    "State:",
    "IKE Peer:",
    "Spi(local):",
    "Spi(Remote):",
    "Encryption:",
    "Authentication:",
    "Hash Algorithm:",
    "Initiator:",
    "Life/Active Time:",
    "NAT-T:",
    "Child SA Count:",
];

/// Reads `show net ipsec ike-sa`, with or without `all-properties`. Indentation, blanks between pairs and unknown lines
/// do not matter; a total that is missing does not either.
///
/// # Errors
/// Which value cannot be read, or that the listing is cut.
pub fn parse_ike_sa(text: &str) -> Result<Vec<TmshIkeSa>, ParseError> {
    let Some((sas, errors)) = parse_ike_sa_blocks(text) else { return Err(ParseError::NotAListing) };
    errors.into_iter().next().map_or(Ok(sas), Err)
}

/// The same for a text that something has happened to: what can be read, and why the rest cannot; none if nothing of this is such a
/// listing.
pub fn parse_ike_sa_blocks(text: &str) -> Option<(Vec<TmshIkeSa>, Vec<ParseError>)> {
    let (mut blocks, mut errors) = (Blocks::default(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Err(error) = blocks.take(line) {
            errors.push(error);
        }
    }
    (blocks.recognised || !blocks.sas.is_empty() || !errors.is_empty()).then_some((blocks.sas, errors))
}

/// What was read so far.
#[derive(Default)]
struct Blocks {
    sas: Vec<TmshIkeSa>,
    recognised: bool,
    /// The last block's addresses could not be read: what follows belongs to no SA.
    skipping: bool,
    tmm: Option<u32>,
    selectors_left: u32,
}

impl Blocks {
    fn take(&mut self, line: &str) -> Result<(), ParseError> {
        if line == TITLE {
            self.recognised = true;
        } else if let Some(n) = line.strip_prefix("(tmm:").and_then(|rest| rest.strip_suffix(')')) {
            self.tmm = Some(number("(tmm:", n)?);
        } else if let Some(n) = line.strip_prefix("Total records returned:") {
            let stated = number("Total records returned:", n)?;
            if stated != self.sas.len() {
                return Err(ParseError::Incomplete { stated, found: self.sas.len() });
            }
            self.recognised = true;
        } else if let Some((remote, local)) = line.split_once("->") {
            (self.selectors_left, self.skipping) = (0, true);
            let (remote, local) = (remote.trim().parse()?, local.trim().parse()?);
            self.skipping = false;
            let (version, state, peer) = Default::default();
            self.sas.push(TmshIkeSa { tmm: self.tmm, remote, local, version, state, peer, properties: None });
        } else if let Some(sa) = self.sas.last_mut().filter(|_| !self.skipping) {
            if let Some(rest) = line.strip_prefix("Traffic Selectors") {
                self.selectors_left = number("Traffic Selectors", rest.split_whitespace().next().unwrap_or_default())?;
                sa.properties.get_or_insert_default();
            } else if self.selectors_left > 0 && pairs(line).is_empty() {
                let properties = sa.properties.get_or_insert_default();
                if let Some(selector) = selector(line)? {
                    properties.selectors.push(selector);
                    self.selectors_left -= 1;
                }
            } else {
                pairs(line).into_iter().try_for_each(|(label, value)| set(sa, label, value))?;
            }
        }
        Ok(())
    }
}

/// The labels in a line with their values.
fn pairs(line: &str) -> Vec<(&'static str, &str)> {
    let mut starts: Vec<(usize, &'static str)> = LABELS
        .iter()
        .filter_map(|label| {
            // A label stands at the start or behind a blank.
            let at = line.match_indices(label).map(|(at, _)| at);
            let mut at = at.filter(|at| line.get(..*at).is_some_and(|b| b.is_empty() || b.ends_with([' ', '\t'])));
            at.next().map(|at| (at, *label))
        })
        .collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([line.len()]);
    let value = |((at, label), end): (&(usize, &'static str), usize)| {
        line.get(at + label.len()..end).map(|value| (*label, value.trim()))
    };
    starts.iter().zip(ends).filter_map(value).collect()
}

fn number<T: std::str::FromStr>(label: &'static str, value: &str) -> Result<T, ParseError> {
    let value = value.trim();
    value.parse().map_err(|_| ParseError::Value { label, value: value.into() })
}

fn spi(label: &'static str, value: &str) -> Result<u64, ParseError> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    u64::from_str_radix(digits, 16).map_err(|_| ParseError::Value { label, value: value.into() })
}

fn selector(line: &str) -> Result<Option<TmshSelector>, ParseError> {
    const LABEL: &str = "Traffic Selectors";
    let Some((name, reqids)) = line.rsplit_once([' ', '\t']) else { return Ok(None) };
    let Some((reqid_in, reqid_out)) = reqids.split_once('/') else { return Ok(None) };
    Ok(Some(TmshSelector {
        name: name.trim().to_string(),
        reqid_in: number(LABEL, reqid_in)?,
        reqid_out: number(LABEL, reqid_out)?,
    }))
}

fn set(sa: &mut TmshIkeSa, label: &'static str, value: &str) -> Result<(), ParseError> {
    match label {
        "Version:" => sa.version = value.to_string(),
        "State:" => sa.state = value.to_string(),
        "IKE Peer:" => sa.peer = value.to_string(),
        _ => {
            let p = sa.properties.get_or_insert_default();
            match label {
                "Spi(local):" => p.spi_local = spi(label, value)?,
                "Spi(Remote):" => p.spi_remote = spi(label, value)?,
                "Encryption:" => p.encryption = value.to_string(),
                "Authentication:" => p.authentication = value.to_string(),
                "Hash Algorithm:" => p.hash = value.to_string(),
                "Initiator:" => p.initiator = value.eq_ignore_ascii_case("true"),
                "Life/Active Time:" => {
                    let times = value.trim_end_matches("seconds").trim();
                    let (life, active) = times.split_once('/').unwrap_or((times, "0"));
                    (p.lifetime, p.active) = (number(label, life)?, number(label, active)?);
                }
                "NAT-T:" => p.nat_t = value.to_string(),
                _ => p.child_sas = number(label, value)?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{connecting, established, secs};
    use model::{ChildSnapshot, Encryption, NatState, SaId};
    use proptest::prelude::*;
    use wire::SpiPair;

    /// The block that F5's IPsec troubleshooting guide prints.
    const F5_GUIDE: &str = "\
-------------------------
IKE::SecurityAssociations
-------------------------
(tmm: 3)
  10.2.2.2/500 -> 10.1.1.1/500
  Version: v2 State: ESTABLISHED
  IKE Peer: /Common/ike-10202
  Spi(local): 0xdf5601249fd324ec Spi(Remote): 0x74c405a807c5226b
  Encryption: aes256 Authentication: pre-shared-key
  Hash Algorithm: sha256 Initiator: TRUE
  Life/Active Time: 28800/14691 seconds NAT-T: none
  Traffic Selectors 2 Reqid(in/out)
    /Common/selector-10202 17131/17132
    /Common/second-selector 17129/17130
  Child SA Count: 1
Total records returned: 1
";

    const EMPTY: &str = "\
-------------------------
IKE::SecurityAssociations
-------------------------
Total records returned: 0
";

    /// The SA of the guide as a snapshot.
    fn guide() -> SaSnapshot {
        let one = established().children.remove(0);
        let child = |name: &str, reqid, state| ChildSnapshot { name: name.into(), reqid, state, ..one.clone() };
        let mut sa = established();
        sa.suite.as_mut().unwrap().encryption = Encryption { id: EncryptionId::AES_CBC, key_length: Some(256) };
        SaSnapshot {
            id: SaId(9),
            name: "ike-10202".into(),
            spis: SpiPair { initiator: 0xdf56_0124_9fd3_24ec.into(), responder: 0x74c4_05a8_07c5_226b.into() },
            local: "10.1.1.1:500".parse().unwrap(),
            remote: "10.2.2.2:500".parse().unwrap(),
            nat: NatState::default(),
            established: Some(secs(14_691)),
            phase1: None,
            lifetime: secs(28_800),
            children: vec![
                child("selector-10202", 17_131, ChildState::Installed),
                child("second-selector", 17_129, ChildState::Larval),
            ],
            suspicion: None,
            send_error: None,
            expires_in: None,
            heard: model::Heard::default(),
            configured_children: vec!["selector-10202".into(), "second-selector".into()],
            ..sa
        }
    }

    fn all() -> Options {
        Options { all_properties: true, ..Options::default() }
    }

    #[test]
    fn the_guides_block_byte_for_byte() {
        let mut sa = project(&guide(), true);
        // F5 numbers the two directions of a pair separately, the outbound one higher.
        sa.properties.as_mut().unwrap().selectors.iter_mut().for_each(|s| s.reqid_out += 1);
        assert_eq!(render(std::slice::from_ref(&sa)), F5_GUIDE);
        assert_eq!(parse_ike_sa(F5_GUIDE), Ok(vec![sa]));
        let ours = render_ike_sa(&[guide()], &all());
        assert_eq!(ours, F5_GUIDE.replace("17131/17132", "17131/17131").replace("17129/17130", "17129/17129"));
    }

    #[test]
    fn the_empty_listing() {
        assert_eq!(render_ike_sa(&[], &all()), EMPTY);
        assert_eq!(parse_ike_sa(EMPTY), Ok(Vec::new()));
    }

    #[test]
    fn the_short_form_and_the_filters() {
        let sas = [established(), connecting()];
        let both = "-------------------------\nIKE::SecurityAssociations\n-------------------------\n\
            (tmm: 1)\n  192.168.0.9/500 -> 192.168.0.1/500\n  Version: v2 State: INI_IKE_SA_INIT_SENT\n  IKE Peer: /Common/branch\n\
            (tmm: 3)\n  192.168.0.2/4500 -> 192.168.0.1/4500\n  Version: v2 State: ESTABLISHED\n  IKE Peer: /Common/gw-gw\n\
            Total records returned: 2\n";
        assert_eq!(render_ike_sa(&sas, &Options::default()), both);
        let found = |options: Options| {
            parse_ike_sa(&render_ike_sa(&sas, &options)).unwrap().into_iter().map(|s| s.peer).collect::<Vec<_>>()
        };
        let base = Options::default;
        assert_eq!(found(Options { peer_ip: Some("192.168.0.9".parse().unwrap()), ..base() }), ["/Common/branch"]);
        assert_eq!(found(Options { peer_name: Some("/Common/gw-gw".into()), ..base() }), ["/Common/gw-gw"]);
        assert_eq!(found(Options { peer_name: Some("branch".into()), ..base() }), ["/Common/branch"]);
        assert_eq!(found(Options { traffic_selector: Some("net-backup".into()), ..base() }), ["/Common/gw-gw"]);
        assert!(found(Options { traffic_selector: Some("nosuch".into()), ..base() }).is_empty());
    }

    #[test]
    fn an_sa_in_negotiation() {
        let listing = render_ike_sa(&[connecting()], &all());
        assert!(listing.contains("  Spi(local): 0x31ee3f6a61962931 Spi(Remote): 0x0000000000000000\n"), "{listing}");
        assert!(
            listing.contains(
                "  Encryption: none Authentication: pre-shared-key\n  Hash Algorithm: none Initiator: TRUE\n"
            )
        );
        assert!(listing.contains("    /Common/lan 2/2\n  Child SA Count: 0\n"), "{listing}");
        let responder = SaSnapshot { role: Role::Responder, ..connecting() };
        let p = project(&responder, true).properties.unwrap();
        assert_eq!((p.spi_local, p.spi_remote, p.initiator), (0, 0x31ee_3f6a_6196_2931, false));
    }

    #[test]
    fn combined_mode_ciphers_by_f5s_name() {
        let mut sa = established();
        let suite = sa.suite.as_mut().unwrap();
        suite.encryption = Encryption { id: EncryptionId::AES_GCM_16, key_length: Some(256) };
        suite.integrity = None;
        let p = project(&sa, true).properties.unwrap();
        assert_eq!((p.encryption.as_str(), p.hash.as_str(), p.nat_t.as_str()), ("aes-gcm256", "sha256", "remote"));
    }

    #[test]
    fn reads_what_people_paste() {
        let pasted = "IKE::SecurityAssociations\n10.2.2.2%5/4500->fd00::1%5/4500\n\tVersion:v2    State:  ESTABLISHED\n\
            Some New Label: 5\nSpi(local): df56 Spi(Remote): 0x1\n Traffic Selectors  1   Reqid(in/out)\n /Common/a  7/8\nChild SA Count:  1";
        let sas = parse_ike_sa(pasted).unwrap();
        assert_eq!(sas[0].remote, TmshAddress { ip: "10.2.2.2".parse().unwrap(), route_domain: Some(5), port: 4500 });
        assert_eq!((sas[0].tmm, sas[0].version.as_str(), sas[0].state.as_str()), (None, "v2", "ESTABLISHED"));
        let p = sas[0].properties.as_ref().unwrap();
        assert_eq!((p.spi_local, p.spi_remote, p.child_sas), (0xdf56, 1, 1));
        assert_eq!(p.selectors, [TmshSelector { name: "/Common/a".into(), reqid_in: 7, reqid_out: 8 }]);
    }

    #[test]
    fn refuses_with_a_reason() {
        assert_eq!(parse_ike_sa("hello\n"), Err(ParseError::NotAListing));
        let cut = F5_GUIDE.replace("returned: 1", "returned: 3");
        assert_eq!(parse_ike_sa(&cut), Err(ParseError::Incomplete { stated: 3, found: 1 }));
        let bad = F5_GUIDE.replace("0xdf56", "0xzz");
        assert!(matches!(parse_ike_sa(&bad), Err(ParseError::Value { label: "Spi(local):", .. })));
        assert!(matches!(parse_ike_sa("a -> b"), Err(ParseError::Value { label: "address", .. })));
    }

    #[test]
    fn ikev1_has_no_state_of_ikev2() {
        let text = render_ike_sa(&[crate::samples::isakmp()], &Options::default());
        assert!(text.contains("  Version: v1 State: CONNECTING\n"), "{text}");
    }

    fn any_block() -> impl Strategy<Value = TmshIkeSa> {
        let word = || "[a-zA-Z0-9_-]{1,10}";
        let address = || {
            any::<(IpAddr, Option<u32>, u16)>().prop_map(|(ip, route_domain, port)| TmshAddress {
                ip,
                route_domain,
                port,
            })
        };
        let name = || "/Common/[a-z0-9._-]{1,10}";
        let selector = (name(), any::<u32>(), any::<u32>()).prop_map(|(name, reqid_in, reqid_out)| TmshSelector {
            name,
            reqid_in,
            reqid_out,
        });
        let properties = (
            any::<([u64; 4], bool, u32)>(),
            (word(), word(), word(), word()),
            proptest::collection::vec(selector, 0..4),
        )
            .prop_map(|(numbers, (encryption, authentication, hash, nat_t), selectors)| {
                let ([spi_local, spi_remote, lifetime, active], initiator, child_sas) = numbers;
                TmshProperties {
                    spi_local,
                    spi_remote,
                    encryption,
                    authentication,
                    hash,
                    initiator,
                    lifetime,
                    active,
                    nat_t,
                    selectors,
                    child_sas,
                }
            });
        let peer = (word(), name(), proptest::option::of(properties));
        (any::<u32>(), address(), address(), 1u8..=2, peer).prop_map(|(tmm, remote, local, version, last)| {
            let (state, peer, properties) = last;
            TmshIkeSa { tmm: Some(tmm), remote, local, version: format!("v{version}"), state, peer, properties }
        })
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_render(sas in proptest::collection::vec(any_block(), 0..4)) {
            prop_assert_eq!(parse_ike_sa(&render(&sas)), Ok(sas));
        }

        #[test]
        fn parse_of_a_rendered_snapshot_is_its_projection(spi: u64, seconds in 0u64..1 << 40, responder: bool, all_properties: bool) {
            let mut sa = guide();
            sa.spis.responder = spi.into();
            sa.established = Some(secs(seconds));
            sa.role = if responder { Role::Responder } else { Role::Initiator };
            let options = Options { all_properties, ..Options::default() };
            let expected = vec![project(&sa, all_properties)];
            prop_assert_eq!(parse_ike_sa(&render_ike_sa(&[sa], &options)), Ok(expected));
        }

        #[test]
        fn any_text_parses_or_fails(text in "(\\PC{0,30}\n){0,6}", cut in 0usize..400) {
            let _ = parse_ike_sa(&text);
            if let Some(part) = F5_GUIDE.get(..cut) {
                prop_assert!(parse_ike_sa(part).map_or(true, |sas| sas.len() <= 1));
            }
        }
    }
}
