//! The daemon's part of `strongswan.conf`.

use crate::names::{self, Scope, Support};
use crate::values::{boolean, duration, unsigned};
use crate::{Entry, Place, PoolAttribute, Section, pools};
use std::fmt;
use std::time::Duration;

/// Where the secret is by which a restart is proven to peers, where nothing else is said.
pub const CRASH_SECRET: &str = "/var/lib/shrike/qcd.secret";

/// Settings of the daemon, with strongSwan's names and defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonSettings {
    /// Seconds before the first retransmission.
    pub retransmit_timeout: f64,
    /// Factor from one waiting time to the next.
    pub retransmit_base: f64,
    /// How often a request is sent again.
    pub retransmit_tries: u32,
    /// Percentage by which waiting times are shortened at random, 0 to 100.
    pub retransmit_jitter: u8,
    /// Upper limit of a waiting time in seconds; 0 for none.
    pub retransmit_limit: f64,
    /// Time a peer has to complete IKE_SA_INIT and IKE_AUTH.
    pub half_open_timeout: Duration,
    /// Half-open IKE SAs before cookies are demanded (RFC 7296 section 2.6); 0 for never.
    pub cookie_threshold: u32,
    /// The same for one address.
    pub cookie_threshold_ip: u32,
    /// Half-open IKE SAs of one address before it is ignored; 0 for never.
    pub block_threshold: u32,
    /// Half-open IKE SAs before further ones are refused; 0 for never.
    pub init_limit_half_open: u32,
    /// Half-open IKE SAs before puzzles are given (RFC 8019); 0 for never.
    pub puzzle_threshold: u32,
    /// The same for one address.
    pub puzzle_threshold_ip: u32,
    /// Zero bits that a puzzle asks for at least; 0 for no puzzles.
    pub puzzle_difficulty: u8,
    /// Zero bits of a puzzle that is solved at most; 0 for none.
    pub puzzle_max_difficulty: u8,
    /// How many requests an IKEv2 peer may have under way, and we with a peer that takes them.
    pub window_size: u32,
    /// UDP port for IKE.
    pub port: u16,
    /// UDP port behind a NAT.
    pub port_nat_t: u16,
    /// Largest IP datagram that carries a fragment of an IKEv2 message, in octets; 0 for what IPv4 or IPv6 has to carry.
    pub fragment_size: u16,
    /// Interval of NAT keepalives; zero for none.
    pub keep_alive: Duration,
    /// Close the IKE SA if its first Child SA fails.
    pub close_ike_on_child_failure: bool,
    /// Authenticate anew before the old IKE SA is closed.
    pub make_before_break: bool,
    /// How long after IKE_AUTH made a Child SA it is replaced once, to see whether both ends have the same groups; zero for never.
    pub pfs_probe: Duration,
    /// How long a Child SA that was replaced and deleted goes on receiving.
    pub delete_rekeyed_delay: Duration,
    /// With so many IKE SAs no first message is answered; 0 for no limit.
    pub ikesa_limit: u32,
    /// So many IKE SAs may be up with one peer; 0 for no limit.
    pub ikesa_limit_peer: u32,
    /// Answer no IKE_SA_INIT requests.
    pub initiator_only: bool,
    /// Sign with RSASSA-PSS where `auth` says nothing.
    pub rsa_pss: bool,
    /// Send strongSwan's vendor ID.
    pub send_vendor_id: bool,
    /// Go where a gateway sends us (RFC 5685).
    pub follow_redirects: bool,
    /// Whether certificates are looked up where peers say they are (RFC 7296 section 3.6).
    pub hash_and_url: bool,
    /// Prove a restart to peers, and believe theirs (RFC 6290).
    pub quick_crash_detection: bool,
    /// The file with the secret of that, made if it is missing; `None` for [`CRASH_SECRET`], if its directory is there.
    pub quick_crash_detection_secret: Option<String>,
    /// Install routes for the traffic selectors.
    pub install_routes: bool,
    /// Behave as Cisco's clients and gateways do (IKEv1): one Child SA for all networks of a split tunnel, networks left out.
    pub cisco_unity: bool,
    /// What every peer that asks for a virtual address is told (`plugins.attr`).
    pub attributes: Vec<PoolAttribute>,
    /// Address of the control socket: `unix:///PATH` or `tcp://ADDRESS:PORT`.
    pub vici_socket: Option<String>,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            retransmit_timeout: 4.0,
            retransmit_base: 1.8,
            retransmit_tries: 5,
            retransmit_jitter: 0,
            retransmit_limit: 0.0,
            half_open_timeout: Duration::from_secs(30),
            cookie_threshold: 30,
            cookie_threshold_ip: 3,
            block_threshold: 5,
            init_limit_half_open: 0,
            puzzle_threshold: 1000,
            puzzle_threshold_ip: 0,
            puzzle_difficulty: 16,
            puzzle_max_difficulty: 20,
            window_size: 1,
            port: 500,
            port_nat_t: 4500,
            fragment_size: 1280,
            keep_alive: Duration::from_secs(20),
            close_ike_on_child_failure: false,
            make_before_break: true,
            pfs_probe: Duration::ZERO,
            delete_rekeyed_delay: Duration::from_secs(5),
            ikesa_limit: 0,
            ikesa_limit_peer: 1000,
            initiator_only: false,
            rsa_pss: false,
            send_vendor_id: false,
            follow_redirects: true,
            hash_and_url: false,
            quick_crash_detection: true,
            quick_crash_detection_secret: None,
            install_routes: true,
            cisco_unity: false,
            attributes: Vec::new(),
            vici_socket: None,
        }
    }
}

/// Something in `strongswan.conf` that does not have the effect its author expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub at: Place,
    /// The key with its sections: `charon.retransmit_base`.
    pub key: String,
    /// What is the matter.
    pub kind: WarningKind,
}

/// What is the matter with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarningKind {
    /// A setting of strongSwan's that this version does not implement: without effect.
    NotImplemented {
        /// The reason.
        why: &'static str,
    },
    /// No such setting.
    Unknown {
        /// One that is spelled almost so.
        suggestion: Option<String>,
    },
    /// A value the setting cannot have; its default applies.
    Value {
        /// What is written there.
        got: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Warning {
    /// Whether it is an error: the file must be corrected before the daemon starts.
    pub fn is_fatal(&self) -> bool {
        matches!(self.kind, WarningKind::Value { .. })
    }
}

/// `strongswan.conf:3:5: charon.port: 'x' is no valid value; expected ...`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.at, self.key)?;
        match &self.kind {
            WarningKind::NotImplemented { why } => write!(f, "has no effect: {why}"),
            WarningKind::Unknown { suggestion: Some(name) } => {
                write!(f, "has no effect: there is no such setting; did you mean '{name}'?")
            }
            WarningKind::Unknown { suggestion: None } => f.write_str("has no effect: there is no such setting"),
            WarningKind::Value { got, expected } => write!(f, "'{got}' is no valid value; expected {expected}"),
        }
    }
}

/// The sections that speak of the daemon, in order of precedence.
const SECTIONS: &[&str] = &["shrike", "charon-systemd", "charon"];

/// Reads the daemon's settings from the sections `shrike`, `charon-systemd` and `charon`, the first that has a key
/// deciding. Other sections belong to other programs. Settings without effect here are warnings, wrong values are
/// warnings that [`Warning::is_fatal`] marks.
pub fn daemon_settings(root: &Section) -> (DaemonSettings, Vec<Warning>) {
    let mut reader = SettingsReader { settings: DaemonSettings::default(), warnings: Vec::new() };
    // The last to be read decides.
    for name in SECTIONS.iter().rev() {
        if let Some(section) = root.section(name) {
            for entry in &section.entries {
                reader.entry(entry, name);
            }
            if let Some(attributes) = section.section("plugins").and_then(|p| p.section("attr")) {
                reader.attributes(attributes, name);
            }
            let socket = section.section("plugins").and_then(|p| p.section("vici")).and_then(|v| v.value("socket"));
            if let Some(socket) = socket {
                reader.settings.vici_socket = Some(socket.to_string());
            }
        }
    }
    (reader.settings, reader.warnings)
}

struct SettingsReader {
    settings: DaemonSettings,
    warnings: Vec<Warning>,
}

const NUMBER: &str = "a number";
const TIME: &str = "a time: seconds, or a number with s, m, h or d";
const BOOLEAN: &str = "yes or no";
const PORT: &str = "a port from 0 to 65535, 0 for any free one";

fn number(text: &str) -> Option<u32> {
    unsigned(text).and_then(|n| u32::try_from(n).ok())
}

fn bits(text: &str, most: u8) -> Option<u8> {
    unsigned(text).and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= most)
}

fn port(text: &str) -> Option<u16> {
    unsigned(text).and_then(|n| u16::try_from(n).ok())
}

/// A finite number of at least `least`, at most what a day has seconds.
fn real(text: &str, least: f64) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= least && *n <= 86_400.0)
}

impl SettingsReader {
    fn warn(&mut self, entry: &Entry, section: &str, kind: WarningKind) {
        self.warnings.push(Warning { at: entry.at().clone(), key: format!("{section}.{}", entry.name()), kind });
    }

    /// `plugins.attr`, in the words of a pool.
    fn attributes(&mut self, section: &Section, above: &str) {
        self.settings.attributes.clear();
        // A plugin's own key, with a number for its priority: there is no plugin here, but `no` means that peers are not told.
        if section.value("load").and_then(boolean) == Some(false) {
            return;
        }
        for entry in section.entries.iter().filter(|entry| entry.name() != "load") {
            match pools::attributes_of(entry) {
                Ok(found) => self.settings.attributes.extend(found),
                Err(kind) => self.warn(entry, &format!("{above}.plugins.attr"), kind),
            }
        }
    }

    fn entry(&mut self, entry: &Entry, section: &str) {
        let text = match entry {
            Entry::Value { value, .. } => value.trim(),
            Entry::List { .. } | Entry::Section(_) => "",
        };
        let s = &mut self.settings;
        let wrong = match entry.name() {
            _ if matches!(entry, Entry::Section(_)) => return self.other(entry, section, ""),
            "retransmit_timeout" => put(&mut s.retransmit_timeout, real(text, 0.001), "seconds, more than 0"),
            "retransmit_base" => put(&mut s.retransmit_base, real(text, 1.0), "a factor of at least 1"),
            "retransmit_tries" => {
                put(&mut s.retransmit_tries, number(text).filter(|n| *n <= 1000), "a number up to 1000")
            }
            "retransmit_jitter" => {
                let percent = number(text).filter(|n| *n <= 100).and_then(|n| u8::try_from(n).ok());
                put(&mut s.retransmit_jitter, percent, "a percentage from 0 to 100")
            }
            "retransmit_limit" => put(&mut s.retransmit_limit, real(text, 0.0), "seconds"),
            "half_open_timeout" => {
                put(&mut s.half_open_timeout, duration(text).filter(|d| !d.is_zero()), "a time, more than 0")
            }
            "cookie_threshold" => put(&mut s.cookie_threshold, number(text), NUMBER),
            "cookie_threshold_ip" => put(&mut s.cookie_threshold_ip, number(text), NUMBER),
            "block_threshold" => put(&mut s.block_threshold, number(text), NUMBER),
            "init_limit_half_open" => put(&mut s.init_limit_half_open, number(text), NUMBER),
            "puzzle_threshold" => put(&mut s.puzzle_threshold, number(text), NUMBER),
            "puzzle_threshold_ip" => put(&mut s.puzzle_threshold_ip, number(text), NUMBER),
            "puzzle_difficulty" => {
                let bits = bits(text, 28).filter(|bits| *bits == 0 || *bits >= 8);
                put(&mut s.puzzle_difficulty, bits, "a number of bits from 8 to 28, or 0 for no puzzles")
            }
            "puzzle_max_difficulty" => put(&mut s.puzzle_max_difficulty, bits(text, 32), "a number of bits up to 32"),
            "window_size" => {
                put(&mut s.window_size, number(text).filter(|n| (1..=64).contains(n)), "a number from 1 to 64")
            }
            "port" => put(&mut s.port, port(text), PORT),
            "port_nat_t" => put(&mut s.port_nat_t, port(text), PORT),
            "fragment_size" => {
                put(&mut s.fragment_size, port(text), "octets from 0 to 65535, 0 for the least of IPv4 and IPv6")
            }
            "keep_alive" => put(&mut s.keep_alive, duration(text), TIME),
            "close_ike_on_child_failure" => put(&mut s.close_ike_on_child_failure, boolean(text), BOOLEAN),
            "make_before_break" => put(&mut s.make_before_break, boolean(text), BOOLEAN),
            "delete_rekeyed_delay" => put(&mut s.delete_rekeyed_delay, duration(text), TIME),
            "pfs_probe" => put(&mut s.pfs_probe, duration(text), TIME),
            "ikesa_limit_peer" => put(&mut s.ikesa_limit_peer, number(text), "a number, 0 for no limit"),
            "ikesa_limit" => put(&mut s.ikesa_limit, number(text), "a number, 0 for no limit"),
            "rsa_pss" => put(&mut s.rsa_pss, boolean(text), BOOLEAN),
            "send_vendor_id" => put(&mut s.send_vendor_id, boolean(text), BOOLEAN),
            "initiator_only" => put(&mut s.initiator_only, boolean(text), BOOLEAN),
            "cisco_unity" => put(&mut s.cisco_unity, boolean(text), BOOLEAN),
            "hash_and_url" => put(&mut s.hash_and_url, boolean(text), BOOLEAN),
            "follow_redirects" => put(&mut s.follow_redirects, boolean(text), BOOLEAN),
            "quick_crash_detection" => put(&mut s.quick_crash_detection, boolean(text), BOOLEAN),
            "quick_crash_detection_secret" => {
                let path = (!text.is_empty()).then(|| Some(text.to_string()));
                put(&mut s.quick_crash_detection_secret, path, "the path of a file")
            }
            "install_routes" => put(&mut s.install_routes, boolean(text), BOOLEAN),
            _ => return self.other(entry, section, text),
        };
        if let Some(expected) = wrong {
            self.warn(entry, section, WarningKind::Value { got: text.into(), expected });
        }
    }

    fn other(&mut self, entry: &Entry, section: &str, text: &str) {
        let is_section = matches!(entry, Entry::Section(_));
        if matches!(entry, Entry::Section(s) if s.entries.is_empty()) {
            return; // says nothing: the packages' files have such sections
        }
        let kind = match names::find(Scope::Settings, entry.name(), is_section).map(|d| (d.support, d.default)) {
            Some((Support::Accepted(_) | Support::Yes, _)) => return,
            Some((Support::Only(values, _), _)) if values.iter().any(|v| v.eq_ignore_ascii_case(text)) => return,
            // Saying what is so anyway misleads nobody.
            Some((Support::No(_), default)) if !is_section && default == text => return,
            Some((Support::Only(_, why) | Support::No(why), _)) => WarningKind::NotImplemented { why },
            None => WarningKind::Unknown { suggestion: names::suggestion(Scope::Settings, entry.name()) },
        };
        self.warn(entry, section, kind);
    }
}

/// `None` if all is well, else what was expected.
fn put<T>(into: &mut T, value: Option<T>, expected: &'static str) -> Option<&'static str> {
    match value {
        Some(value) => {
            *into = value;
            None
        }
        None => Some(expected),
    }
}
