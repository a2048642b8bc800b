//! Listings of SAs of whatever program, recognised by themselves.
//!
//! A file may be one listing, a series with lines that are times between, or what a terminal showed: prompts, several commands,
//! and things that are no listing. [`read`] cuts it where a listing begins and offers each part to every dialect; each
//! looks for lines that only it has.

mod charon;
mod cisco;
mod iked;
mod ipsec;
mod libreswan;
mod own;
#[cfg(test)]
mod tests;
mod time;
mod tunnels;
#[cfg(test)]
mod tunnels_tests;
mod vendors;

use crate::{racoonctl, tmsh};
use model::{ExchangeMode, ListedSa, Listing, Role};
use std::borrow::Cow;
use std::collections::BTreeMap;
use wire::{IkeSpi, SpiPair};

/// Whose listing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// `racoonctl show-sa isakmp`.
    Racoonctl,
    /// `tmsh show net ipsec ike-sa`.
    Tmsh,
    /// `swanctl --list-sas`, also `--raw` and `--pretty`.
    Swanctl,
    /// strongSwan's `ipsec statusall`.
    Statusall,
    /// libreswan's `ipsec status`, `showstates` and `trafficstatus`.
    Libreswan,
    /// `ikectl show sa`.
    Ikectl,
    /// `show crypto isakmp sa` and `show crypto ikev1 sa`.
    CiscoIsakmp,
    /// `show crypto ikev2 sa`.
    CiscoIkev2,
    /// `show crypto session`.
    CiscoSession,
    /// `show vpn-sessiondb l2l`.
    CiscoSessiondb,
    /// `setkey -D`, `racoonctl show-sa esp`: IPsec SAs.
    Setkey,
    /// `ip xfrm state`: IPsec SAs.
    IpXfrm,
    /// `tmsh show net ipsec ipsec-sa`.
    TmshIpsec,
    /// `show security ike security-associations`.
    Juniper,
    /// `diagnose vpn ike gateway list`.
    Fortinet,
    /// `get vpn ipsec tunnel summary`.
    FortinetSummary,
    /// `show vpn ike-sa`.
    PaloAlto,
    /// `show crypto ipsec sa`: IPsec SAs.
    CiscoIpsec,
    /// `show security ipsec security-associations` and `inactive-tunnels`: IPsec SAs.
    JuniperIpsec,
    /// `show vpn ipsec-sa`: IPsec SAs.
    PaloAltoIpsec,
    /// `show vpn flow`: tunnels with their counters.
    PaloAltoFlow,
    /// `diagnose vpn tunnel list`: tunnels with their counters.
    FortinetTunnels,
    /// `shrike show`.
    Own,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Racoonctl,
        Self::Tmsh,
        Self::Swanctl,
        Self::Statusall,
        Self::Libreswan,
        Self::Ikectl,
        Self::CiscoIsakmp,
        Self::CiscoIkev2,
        Self::CiscoSession,
        Self::CiscoSessiondb,
        Self::Setkey,
        Self::IpXfrm,
        Self::TmshIpsec,
        Self::Juniper,
        Self::Fortinet,
        Self::FortinetSummary,
        Self::PaloAlto,
        Self::CiscoIpsec,
        Self::JuniperIpsec,
        Self::PaloAltoIpsec,
        Self::PaloAltoFlow,
        Self::FortinetTunnels,
        Self::Own,
    ];

    /// The command that prints it.
    pub fn command(self) -> &'static str {
        match self {
            Self::Racoonctl => "racoonctl show-sa isakmp",
            Self::Tmsh => "tmsh show net ipsec ike-sa",
            Self::Swanctl => "swanctl --list-sas",
            Self::Statusall => "ipsec statusall",
            Self::Libreswan => "ipsec status",
            Self::Ikectl => "ikectl show sa",
            Self::CiscoIsakmp => "show crypto isakmp sa",
            Self::CiscoIkev2 => "show crypto ikev2 sa",
            Self::CiscoSession => "show crypto session",
            Self::CiscoSessiondb => "show vpn-sessiondb l2l",
            Self::Setkey => "setkey -D",
            Self::IpXfrm => "ip xfrm state",
            Self::TmshIpsec => "tmsh show net ipsec ipsec-sa",
            Self::Juniper => "show security ike security-associations",
            Self::Fortinet => "diagnose vpn ike gateway list",
            Self::FortinetSummary => "get vpn ipsec tunnel summary",
            Self::PaloAlto => "show vpn ike-sa",
            Self::CiscoIpsec => "show crypto ipsec sa",
            Self::JuniperIpsec => "show security ipsec security-associations",
            Self::PaloAltoIpsec => "show vpn ipsec-sa",
            Self::PaloAltoFlow => "show vpn flow",
            Self::FortinetTunnels => "diagnose vpn tunnel list",
            Self::Own => "shrike show",
        }
    }

    /// Whether it lists IPsec SAs and no IKE SAs.
    pub fn is_ipsec(self) -> bool {
        let of_unix = matches!(self, Self::Setkey | Self::IpXfrm | Self::TmshIpsec);
        let of_makers = matches!(self, Self::CiscoIpsec | Self::JuniperIpsec | Self::PaloAltoIpsec);
        of_unix || of_makers || matches!(self, Self::PaloAltoFlow | Self::FortinetTunnels)
    }

    /// Words of a command line that ask for it, all of one of these.
    fn words(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Racoonctl => &[&["racoonctl", "show-sa", "isakmp"]],
            Self::Tmsh => &[&["show net ipsec ike-sa"]],
            Self::Swanctl => &[&["swanctl", "--list-sas"], &["swanctl -l"]],
            Self::Statusall => &[&["ipsec statusall"], &["strongswan statusall"]],
            Self::Libreswan => &[
                &["ipsec status"],
                &["ipsec auto --status"],
                &["ipsec whack --status"],
                &["showstates"],
                &["trafficstatus"],
            ],
            Self::Ikectl => &[&["ikectl show sa"]],
            Self::CiscoIsakmp => &[&["show crypto isakmp sa"], &["show crypto ikev1 sa"], &["sh cry isa sa"]],
            Self::CiscoIkev2 => &[&["show crypto ikev2 sa"]],
            Self::CiscoSession => &[&["show crypto session"]],
            Self::CiscoSessiondb => &[&["show vpn-sessiondb l2l"], &["show vpn-sessiondb detail l2l"]],
            Self::Setkey => &[&["setkey -D"], &["racoonctl", "show-sa", "esp"], &["racoonctl", "show-sa", "ipsec"]],
            Self::IpXfrm => &[&["ip xfrm state"], &["ip -s xfrm state"]],
            Self::TmshIpsec => &[&["show net ipsec ipsec-sa"]],
            Self::Juniper => &[&["show security ike security-associations"], &["show security ike sa"]],
            Self::Fortinet => &[&["diagnose vpn ike gateway list"], &["diag vpn ike gateway list"]],
            Self::FortinetSummary => &[&["get vpn ipsec tunnel summary"]],
            Self::PaloAlto => &[&["show vpn ike-sa"]],
            Self::CiscoIpsec => &[&["show crypto ipsec sa"], &["sh cry ips sa"]],
            Self::JuniperIpsec => &[
                &["show security ipsec security-associations"],
                &["show security ipsec sa"],
                &["show security ipsec inactive-tunnels"],
            ],
            Self::PaloAltoIpsec => &[&["show vpn ipsec-sa"]],
            Self::PaloAltoFlow => &[&["show vpn flow"]],
            Self::FortinetTunnels => &[&["diagnose vpn tunnel list"], &["diag vpn tunnel list"]],
            Self::Own => &[&["shrike show"]],
        }
    }
}

/// What is in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listings {
    /// Each dialect's listings, in order.
    pub series: BTreeMap<Dialect, Vec<Listing>>,
    /// What was recognised and could not be read.
    pub unread: Vec<String>,
}

/// A part of a text that holds one listing, or none.
#[derive(Default)]
struct Part {
    at: Option<u64>,
    /// What the command before it asks for.
    asked: Option<Dialect>,
    text: String,
}

/// A BIG-IP's REST interface hands out tmsh's text as a string of JSON (`apiAnonymous`): that text, with line ends that
/// are some. Any other text is as it was.
pub fn unwrapped(text: &str) -> Cow<'_, str> {
    const KEY: &str = "\"apiAnonymous\"";
    if !text.contains(KEY) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for behind in text.split(KEY).skip(1) {
        let value = behind.trim_start().strip_prefix(':').map(str::trim_start);
        let Some(value) = value.and_then(|value| value.strip_prefix('"')) else { continue };
        let mut characters = value.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => match characters.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('u') => {
                        let digits: String = characters.by_ref().take(4).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        out.push(code.unwrap_or('\u{fffd}'));
                    }
                    Some('r' | 'b' | 'f') | None => {}
                    Some(other) => out.push(other),
                },
                other => out.push(other),
            }
        }
        out.push('\n');
    }
    Cow::Owned(out)
}

/// Reads all listings in a text.
pub fn read(text: &str) -> Listings {
    let text = &*unwrapped(text);
    let mut found = Listings::default();
    let known = libreswan::Known::of(text);
    for part in parts(text) {
        let (mut any, before) = (false, found.unread.len());
        for (dialect, sas) in listed(&part.text, &known, &mut found.unread) {
            any = true;
            found.series.entry(dialect).or_default().push(Listing { at: part.at, sas });
        }
        // What cannot be read is not nothing.
        if let Some(dialect) = part.asked.filter(|_| !any && found.unread.len() == before) {
            found.series.entry(dialect).or_default().push(Listing { at: part.at, sas: Vec::new() });
        }
    }
    found
}

/// A title that each listing of its kind has once.
fn title(line: &str) -> Option<&'static str> {
    const TITLES: [&str; 4] = [
        "IKE::SecurityAssociations",
        "IPsec::SecurityAssociations",
        "Status of IKE charon daemon",
        "Security Associations (",
    ];
    let racoon = line.contains("Destination") && line.contains("Cookies");
    let trimmed = line.trim_start();
    TITLES.into_iter().find(|title| trimmed.starts_with(title)).or(racoon.then_some("Cookies"))
}

/// Cuts a text at times and commands, and before a title that the part has already.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = vec![Part::default()];
    let mut at = None;
    let mut titles: Vec<&str> = Vec::new();
    for line in text.lines() {
        // `Every 2.0s: racoonctl -ll show-sa isakmp      gw: Sun Jun  1 10:00:02 2025`, as watch(1) has it.
        let watched = || line.starts_with("Every ").then(|| time::stamp(line.rsplit_once(": ")?.1)).flatten();
        let time = time::stamp(line).or_else(watched);
        let asked = command(line);
        if time.is_some() || asked.is_some() {
            let milliseconds = |rest: &str| rest.split_once("ms")?.0.trim().parse().ok();
            let noted = line.split_once("(t=").and_then(|(_, rest)| milliseconds(rest));
            at = time.or(noted).or(at);
            parts.push(Part { at, asked: asked.flatten(), ..Part::default() });
            titles.clear();
            continue;
        }
        if let Some(title) = title(line) {
            if titles.contains(&title) {
                parts.push(Part { at, ..Part::default() });
                titles.clear();
            }
            titles.push(title);
        }
        if let Some(part) = parts.last_mut() {
            part.text.push_str(line);
            part.text.push('\n');
        }
    }
    parts
}

/// Whether a line is a command at a prompt, and which listing it asks for.
fn command(line: &str) -> Option<Option<Dialect>> {
    let trimmed = line.trim_start();
    let words = Dialect::ALL.into_iter().find(|dialect| {
        dialect.words().iter().any(|words| {
            let mut rest = Some(trimmed);
            words.iter().all(|word| {
                rest = rest.and_then(|rest| rest.split_once(word)).map(|(_, behind)| behind);
                rest.is_some()
            })
        })
    });
    let program = [
        "racoonctl",
        "tmsh",
        "swanctl",
        "ipsec",
        "ikectl",
        "show ",
        "sh ",
        "sudo",
        "strongswan",
        "shrike ",
        "setkey",
        "ip ",
        "diag",
        "get vpn",
        "test vpn",
    ];
    let at_prompt = |text: &str| program.iter().any(|name| text.trim_start().starts_with(name));
    // `$ command`, `root@gw:~# command`, `[root@bigip:Active] config # command`, `router#command`; not `#1: "name" ...`.
    let behind = trimmed.find(['$', '#', '>', '%']).and_then(|mark| trimmed.get(mark + 1..));
    let prompt = behind.is_some_and(at_prompt) || at_prompt(trimmed) && words.is_some();
    (prompt && line.len() < 400).then_some(words)
}

/// The listings in a part, each with its dialect.
fn listed(text: &str, known: &libreswan::Known<'_>, unread: &mut Vec<String>) -> Vec<(Dialect, Vec<ListedSa>)> {
    let mut found = Vec::new();
    if let Some((rows, errors)) = racoonctl::parse_rows(text) {
        if let Some(error) = errors.first() {
            let more = errors.len() - 1;
            let further = if more > 0 { format!(", and {more} more") } else { String::new() };
            unread.push(format!("part of a table was left out: {error}{further}"));
        }
        if !rows.is_empty() || errors.is_empty() {
            found.push((Dialect::Racoonctl, rows.into_iter().map(from_racoonctl).collect()));
        }
    }
    let titled = text.contains("IKE::SecurityAssociations");
    if let Some((sas, errors)) =
        tmsh::parse_ike_sa_blocks(text).filter(|(sas, errors)| titled || !sas.is_empty() && errors.is_empty())
    {
        if let Some(error) = errors.first() {
            unread.push(format!("part of a listing was left out: {error}"));
        }
        // A block that is cut before its state says nothing about the SA.
        let (whole, cut): (Vec<_>, Vec<_>) = sas.iter().partition(|sa| !sa.state.is_empty());
        if let Some(sa) = cut.first() {
            let ends = format!("{} -> {}", sa.remote, sa.local);
            unread.push(format!(
                "part of a listing was left out: the block of {ends} ends before its state; copy all of it"
            ));
        }
        if !whole.is_empty() || sas.is_empty() && errors.is_empty() {
            found.push((Dialect::Tmsh, whole.into_iter().map(from_tmsh).collect()));
        }
    }
    let others = [
        (Dialect::Swanctl, charon::swanctl(text)),
        (Dialect::Swanctl, charon::raw(text)),
        (Dialect::Statusall, charon::statusall(text)),
        (Dialect::Libreswan, libreswan::states(text, known)),
        (Dialect::Ikectl, iked::sas(text)),
        (Dialect::CiscoIsakmp, cisco::isakmp(text)),
        (Dialect::CiscoIkev2, cisco::ikev2(text)),
        (Dialect::CiscoSession, cisco::session(text)),
        (Dialect::CiscoSessiondb, cisco::sessiondb(text)),
        (Dialect::Setkey, ipsec::setkey(text)),
        (Dialect::IpXfrm, ipsec::xfrm(text)),
        (Dialect::TmshIpsec, ipsec::tmsh(text)),
        (Dialect::Juniper, vendors::juniper(text)),
        (Dialect::Fortinet, vendors::fortinet(text)),
        (Dialect::FortinetSummary, vendors::fortinet_summary(text)),
        (Dialect::PaloAlto, vendors::palo_alto(text)),
        (Dialect::CiscoIpsec, tunnels::cisco(text)),
        (Dialect::JuniperIpsec, tunnels::juniper(text)),
        (Dialect::PaloAltoIpsec, tunnels::palo_alto(text)),
        (Dialect::PaloAltoFlow, tunnels::palo_alto_flow(text)),
        (Dialect::FortinetTunnels, tunnels::fortinet(text)),
        (Dialect::Own, own::sas(text)),
    ];
    found.extend(others.into_iter().filter_map(|(dialect, sas)| Some((dialect, sas?))));
    found
}

/// A row of racoon's table.
fn from_racoonctl(row: racoonctl::RacoonIsakmp) -> ListedSa {
    let status = row.status.as_ref();
    let mode = status.and_then(|s| s.exchange).and_then(|exchange| match exchange.letter() {
        'M' => Some(ExchangeMode::IdentityProtection),
        'A' => Some(ExchangeMode::Aggressive),
        _ => None,
    });
    ListedSa {
        source: row.source.map(|end| end.address),
        peer: row.destination.address,
        port: Some(row.destination.port),
        version: status.map(|s| s.version >> 4),
        spis: Some(row.cookies),
        role: status.map(|s| s.side),
        mode,
        st: status.map(|s| s.st),
        established: row.created.is_some() || status.is_some_and(|s| s.st >= 9),
        phase2: status.and_then(|s| s.phase2),
        created: row.created.as_deref().and_then(time::stamp).map(|milliseconds| milliseconds / 1000),
        ..ListedSa::default()
    }
}

/// A block of a BIG-IP's.
fn from_tmsh(sa: &tmsh::TmshIkeSa) -> ListedSa {
    let (peer, port) = end(&sa.remote.to_string());
    let properties = sa.properties.as_ref();
    let established = sa.state.eq_ignore_ascii_case("ESTABLISHED") || sa.state.eq_ignore_ascii_case("DYING");
    let role = properties.map(|p| if p.initiator { Role::Initiator } else { Role::Responder });
    let spis = properties.map(|p| {
        let (local, remote) = (IkeSpi::from(p.spi_local), IkeSpi::from(p.spi_remote));
        let (initiator, responder) = if p.initiator { (local, remote) } else { (remote, local) };
        SpiPair { initiator, responder }
    });
    ListedSa {
        source: Some(end(&sa.local.to_string()).0),
        peer,
        port,
        name: Some(sa.peer.clone()),
        version: sa.version.trim_start_matches('v').parse().ok(),
        spis,
        role,
        st: established.then_some(9),
        state: Some(sa.state.clone()),
        established,
        phase2: properties.map(|p| p.child_sas),
        wanted: properties.map(|p| u32::try_from(p.selectors.len()).unwrap_or(u32::MAX)),
        age: properties.map(|p| p.active),
        lifetime: properties.map(|p| p.lifetime),
        ..ListedSa::default()
    }
}

/// Address and port of `10.2.2.2%0/500`, `10.2.2.2[500]`, `10.2.2.2:500`, `[2001:db8::1]:500` or an address alone.
fn end(text: &str) -> (String, Option<u16>) {
    let text = text.trim().trim_start_matches("...").trim_end_matches([',', ';', ']']);
    let plain = |address: &str| {
        address.split('%').next().unwrap_or(address).trim_start_matches('[').trim_end_matches(']').to_string()
    };
    for mark in ['/', '[', ':'] {
        if let Some((address, port)) = text.rsplit_once(mark) {
            let address = plain(address);
            if let Ok(port) = port.parse() {
                // The last colon of an IPv6 address is none before a port.
                let whole = text.parse::<std::net::Ipv6Addr>().is_ok();
                if !whole && address.parse::<std::net::IpAddr>().is_ok() {
                    return (address, Some(port));
                }
            }
        }
    }
    (plain(text), None)
}

/// About so many packets are so many octets: none are none, and some are at least one.
fn packets(octets: u64) -> u64 {
    octets.div_ceil(100)
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Whether a text is an address, alone.
fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// An SPI of 16 digits, also behind `0x`.
fn spi(text: &str) -> Option<IkeSpi> {
    let digits = text.trim_start_matches("0x");
    let sound = !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then(|| u64::from_str_radix(digits, 16).ok()).flatten().map(IkeSpi::from)
}
