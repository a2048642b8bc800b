//! What stands before a message: time, host, program, thread, connection, peer.
//!
//! Each daemon has its own, syslog and the journal put theirs before it, and pasted logs lack some of it. What is not
//! recognised is left standing: it belongs to the message then, and the catalogue looks for phrases anywhere in it.

use std::net::IpAddr;

/// A line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Milliseconds since some moment that is the same for the whole log, for differences.
    pub at: Option<u64>,
    /// charon's thread, which works at one SA at a time.
    pub thread: Option<&'a str>,
    /// The connection: charon's `<name|1>`, pluto's `"name"`.
    pub connection: Option<&'a str>,
    /// The SA by the program's numbering, or by its SPI.
    pub sa: Option<&'a str>,
    /// Our end, where the prefix says it.
    pub local: Option<IpAddr>,
    /// The peer, where the prefix says it.
    pub peer: Option<IpAddr>,
    /// Not the daemon's word on an SA: pluto's debugging, or a command that was typed on a terminal.
    pub aside: bool,
    /// The message.
    pub text: &'a str,
}

/// Programs whose name before a colon is a prefix.
const PROGRAMS: [&str; 12] = [
    "racoon",
    "charon",
    "charon-systemd",
    "charon-nm",
    "ipsec",
    "pluto",
    "iked",
    "strongswan",
    "swanctl",
    "ipsec_starter",
    "starter",
    "tmm",
];

/// So long is the name of a container at most.
const MAX_NAME: usize = 64;

/// What begins a command that searches a log, and so has its words.
const COMMANDS: [&str; 14] = [
    "grep",
    "egrep",
    "zgrep",
    "awk",
    "sed",
    "echo",
    "hostname",
    "journalctl",
    "ipsec",
    "swanctl",
    "sudo",
    "tail",
    "cat",
    "test",
];

/// Takes a line apart.
pub(super) fn split(line: &str) -> Line<'_> {
    let mut parts = Line { text: line.trim(), ..Line::default() };
    let (first, rest) = word(parts.text.trim_start_matches(['$', '#', '%', '>', ' ']));
    let path = first.starts_with(['.', '/']) && !rest.is_empty();
    if path || COMMANDS.contains(&first) && !rest.starts_with(['[', ':']) {
        parts.aside = true;
        return parts;
    }
    parts.time();
    parts.program();
    parts.thread();
    parts.racoon();
    parts.tmm();
    parts.pluto();
    parts.iked();
    parts
}

impl<'a> Line<'a> {
    fn time(&mut self) {
        // docker compose: `name-1  | `.
        let begin = self.text.as_bytes().get(..MAX_NAME).unwrap_or(self.text.as_bytes());
        if let Some(at) = memchr::memchr(b'|', begin)
            && let Some((name, rest)) = self.text.split_at_checked(at)
            && let Some(name) = name.strip_suffix(' ').map(str::trim_end)
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            self.text = rest.trim_start_matches('|').trim_start();
        }
        let mut rest = self.text;
        if let Some(priority) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'))
            && !priority.0.is_empty()
            && priority.0.len() <= 3
            && priority.0.bytes().all(|b| b.is_ascii_digit())
        {
            rest = priority.1;
        }
        rest = rest.trim_start_matches('[');
        let (day, after) = word(rest);
        if matches!(day.trim_end_matches(','), "Mon" | "Tue" | "Wed" | "Thu" | "Fri" | "Sat" | "Sun") {
            rest = after;
        }
        if let Some((at, rest)) = iso(rest).or_else(|| syslog(rest)) {
            self.at = Some(at);
            self.text = rest.trim_start_matches([']', ':', ',', '|']).trim_start();
            // Kubernetes: `2025-10-04T07:11:12Z stdout F `.
            let whole = ["stdout F ", "stderr F ", "stdout P ", "stderr P "];
            if let Some(rest) = whole.iter().find_map(|stream| self.text.strip_prefix(stream)) {
                self.text = rest.trim_start();
            }
        }
    }

    /// `host charon[12]: `, `host program: `, `info tmm[20647]: 017c0000 [0.0] [IKE] `.
    fn program(&mut self) {
        let mut rest = self.text;
        for _ in 0..3 {
            let (first, after) = word(rest);
            let name = first.strip_suffix(':').map(|name| name.split('[').next().unwrap_or(name));
            let plain = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase();
            if name.is_some_and(|name| PROGRAMS.contains(&plain(name).as_str())) {
                self.text = after;
                break;
            }
            rest = after;
        }
        loop {
            let (first, after) = word(self.text);
            let number = first.len() == 8 && first.bytes().all(|b| b.is_ascii_hexdigit());
            let slot = first.strip_prefix('[').and_then(|f| f.strip_suffix(']')).is_some_and(|inside| {
                inside == "IKE" && after.starts_with(['v', '['])
                    || inside.matches('.').count() == 1 && inside.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            });
            if !(number || slot) || after.is_empty() {
                return;
            }
            self.text = after;
        }
    }

    /// `13[IKE] <name|1> `, `[ENC] `.
    fn thread(&mut self) {
        let digits = self.text.bytes().take_while(u8::is_ascii_digit).count();
        let (thread, rest) = self.text.split_at_checked(digits).unwrap_or_default();
        let Some((group, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return };
        let letters = group.trim_end_matches(|c: char| c.is_ascii_digit());
        if letters.len() != 3 || !letters.bytes().all(|b| b.is_ascii_uppercase()) || digits > 5 {
            return;
        }
        self.thread = Some(thread);
        self.text = rest.trim_start();
        if let Some((tag, rest)) = self.text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
            let (name, number) = tag.split_once('|').map_or((None, tag), |(name, number)| (Some(name), number));
            (self.connection, self.sa, self.text) = (name, Some(number), rest.trim_start());
        }
    }

    /// `[10.9.0.2] ERROR: `, `INFO: `, `[PROTO_ERR]: file.c:12:function(): `.
    fn racoon(&mut self) {
        if let Some((inside, rest)) = self.text.strip_prefix('[').and_then(|rest| rest.split_once("] "))
            && let Ok(address) = inside.split('%').next().unwrap_or(inside).parse()
        {
            (self.peer, self.text) = (Some(address), rest.trim_start());
        }
        self.level();
        let (first, after) = word(self.text);
        if first.contains(".c:") && first.ends_with(':') {
            self.text = after;
        }
    }

    /// `ERROR: ` and the like.
    fn level(&mut self) {
        const LEVELS: [&str; 16] = [
            "INFO",
            "NOTIFY",
            "WARNING",
            "ERROR",
            "DEBUG",
            "DEBUG2",
            "PROTO_ERR",
            "PROTO_WARN",
            "INTERNAL_ERR",
            "INTERNAL_WARN",
            "INTERR",
            "INTWARN",
            "PROTOERR",
            "PROTOWARN",
            "CRITICAL",
            "IMPAIR",
        ];
        let (first, after) = word(self.text);
        let level = first.strip_suffix(':').map(|level| level.trim_start_matches('[').trim_end_matches(']'));
        if level.is_some_and(|level| LEVELS.contains(&level)) {
            self.text = after;
        }
    }

    /// racoon2's, as a BIG-IP has it: `v2 LOCAL%0-PEER%0 [0xSPI-0xSPI][R] [PROTO_ERR]: `.
    fn tmm(&mut self) {
        let Some(rest) = self.text.strip_prefix("v2 ").or_else(|| self.text.strip_prefix("v1 ")) else { return };
        let (ends, mut rest) = word(rest);
        let address = |text: &str| text.split(['%', '[']).next().unwrap_or(text).parse().ok();
        let Some((local, peer)) = ends.split_once('-').map(|(a, b)| (address(a), address(b))) else { return };
        (self.local, self.peer) = (local, peer);
        if let Some((spis, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            self.sa = Some(spis);
            rest = after;
        }
        self.text = rest.trim_start_matches("[I]").trim_start_matches("[R]").trim_start();
        self.level();
    }

    /// `002 "name"[1] 192.0.2.1 #1: `, `packet from 192.0.2.1:500: `.
    fn pluto(&mut self) {
        let (code, after) = word(self.text);
        // whack's: a number, or `1v2` where the state has none.
        if code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) || matches!(code, "1v1" | "1v2") {
            self.text = after;
        }
        self.aside |= self.text.starts_with("| ");
        self.level();
        if let Some((from, rest)) = self.text.strip_prefix("packet from ").and_then(|rest| rest.split_once(": ")) {
            self.peer = address(from);
            self.text = rest;
        }
        let Some((name, rest)) = self.text.strip_prefix('"').and_then(|rest| rest.split_once('"')) else { return };
        let Some((between, text)) = rest.split_once(':') else { return };
        // An IPv6 address between has colons too: the message begins behind the number.
        let (between, text) = match rest.find('#').and_then(|at| rest.get(at..)?.find(':').map(|colon| at + colon)) {
            Some(colon) if between.len() < colon && colon < 80 => {
                (rest.get(..colon).unwrap_or_default(), rest.get(colon + 1..).unwrap_or_default())
            }
            _ => (between, text),
        };
        for part in between.split_whitespace() {
            match part.strip_prefix('#') {
                Some(number) => self.sa = Some(number),
                None => self.peer = self.peer.or_else(|| address(part)),
            }
        }
        (self.connection, self.text) = (Some(name), text.trim_start());
        // Before version 5 it stands behind the connection.
        self.level();
    }

    /// `spi=0x0123456789abcdef: `.
    fn iked(&mut self) {
        if let Some((spi, rest)) = self.text.strip_prefix("spi=").and_then(|rest| rest.split_once(": ")) {
            (self.sa, self.text) = (Some(spi), rest);
        }
    }
}

/// An address, perhaps with a port behind it.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_start_matches("...");
    text.parse().ok().or_else(|| {
        let (address, _) = text.rsplit_once(':')?;
        address.trim_start_matches('[').trim_end_matches(']').parse().ok()
    })
}

/// The first word and what is behind it.
pub(super) fn word(text: &str) -> (&str, &str) {
    // Nearly always an ASCII blank ends it; what is not ASCII may be a blank of another kind.
    match text.bytes().position(|b| matches!(b, b' ' | b'\t'..=b'\r') || !b.is_ascii()) {
        None => (text, ""),
        Some(at) if text.as_bytes().get(at).is_some_and(u8::is_ascii) => {
            let (first, rest) = text.split_at(at);
            (first, rest.trim_start())
        }
        Some(_) => {
            let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            (first, rest.trim_start())
        }
    }
}

const DAYS: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days before a month and day, without leap days: a log of two days at the end of February may be a day off.
fn day_of_year(month: u64, day: u64) -> Option<u64> {
    let before = DAYS.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    (1..=31).contains(&day).then(|| before + day - 1)
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `2026-11-24 00:52:02`, with `/` or `T`, a fraction and a zone, which does not matter for differences.
fn iso(text: &str) -> Option<(u64, &str)> {
    let date = text.get(..10)?;
    let mut parts = date.split(['-', '/']);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() != 4 || parts.next().is_some() {
        return None;
    }
    let days = (number(year)?.checked_sub(1970)?) * 365 + day_of_year(number(month)?, number(day)?)?;
    let rest = text.get(10..)?.trim_start_matches('T').trim_start();
    let (clock, rest) = clock(rest)?;
    Some((days * 86_400_000 + clock, rest))
}

/// `Nov 24 01:08:06.623643`, also with a year.
fn syslog(text: &str) -> Option<(u64, &str)> {
    let (month, rest) = word(text);
    let month = MONTHS.iter().position(|known| *known == month)?;
    let (day, mut rest) = word(rest);
    let days = day_of_year(month as u64 + 1, number(day.trim_end_matches(','))?)?;
    let (year, after) = word(rest);
    if year.len() == 4 && number(year).is_some() {
        rest = after;
    }
    let (clock, rest) = clock(rest)?;
    Some((days * 86_400_000 + clock, rest))
}

/// `01:08:06.623643+01:00`, in milliseconds.
fn clock(text: &str) -> Option<(u64, &str)> {
    let two = |at: usize| number(text.get(at..at + 2)?);
    let separated = text.get(2..3)? == ":" && text.get(5..6)? == ":";
    let (hours, minutes, seconds) = (two(0)?, two(3)?, two(6)?);
    if !separated || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let mut rest = text.get(8..)?;
    let mut thousandths = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let scale = [1000, 100, 10, 1].get(digits.min(3))?;
        thousandths = number(fraction.get(..digits.min(3))?).unwrap_or(0) * scale;
        rest = fraction.get(digits..)?;
    }
    rest = rest.strip_prefix('Z').unwrap_or(rest);
    if rest.starts_with(['+', '-']) {
        rest = word(rest).1;
    }
    Some((((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> &str {
        split(line).text
    }

    #[test]
    fn each_daemon_s_prefix_is_understood() {
        let racoon = split("2026-11-24 00:52:03: [10.9.0.1] ERROR: phase1 negotiation failed.");
        assert_eq!((racoon.text, racoon.peer), ("phase1 negotiation failed.", "10.9.0.1".parse().ok()));
        assert_eq!(text("Nov 24 00:52:03 gw racoon: INFO: begin Aggressive mode."), "begin Aggressive mode.");
        let tmm = split(
            "info tmm[20647]: 017c0000  [0.0] [IKE] v2 192.0.2.1%0-198.51.100.1%0 [0xb9e0-0x92f7][R] [PROTO_ERR]: message lacks KE payload",
        );
        assert_eq!(
            (tmm.text, tmm.sa, tmm.peer),
            ("message lacks KE payload", Some("0xb9e0-0x92f7"), "198.51.100.1".parse().ok())
        );
        assert_eq!(
            text("info tmm[1]: 017c0000 [0.0] [IKE] [PROTO_WARN]: message to a nonexistent ike_sa"),
            "message to a nonexistent ike_sa"
        );
        assert_eq!(text("2007-01-01 10:00:00 [PROTO_ERR]: ikev2.c:123:f(): no proposal chosen"), "no proposal chosen");
        for prefix in [
            "13[IKE] ",
            "Nov 24 01:08:06 gw charon: 13[IKE] ",
            "2026-11-24T01:08:06.123+0100 gw charon-systemd[7]: 13[IKE] ",
        ] {
            let charon = format!("{prefix}<gw|4> IKE_SA gw[4] established between");
            let charon = split(&charon);
            assert_eq!(
                (charon.thread, charon.connection, charon.sa, charon.text),
                (Some("13"), Some("gw"), Some("4"), "IKE_SA gw[4] established between")
            );
        }
        let pluto = split("Nov 24 01:08:06.6: \"road\"[1] 192.1.3.209 #4: leasing IPv4 address failed");
        assert_eq!(
            (pluto.connection, pluto.sa, pluto.peer, pluto.text),
            (Some("road"), Some("4"), "192.1.3.209".parse().ok(), "leasing IPv4 address failed")
        );
        let pluto = split("003 \"v6\"[2] 2001:db8::1 #2: sent Main Mode R1");
        assert_eq!((pluto.peer, pluto.text), ("2001:db8::1".parse().ok(), "sent Main Mode R1"));
        let pluto = split("1v2 \"v6\" #7: IMPAIR: sent IKE_SA_INIT request");
        assert_eq!((pluto.connection, pluto.sa, pluto.text), (Some("v6"), Some("7"), "sent IKE_SA_INIT request"));
        assert_eq!(split("packet from 192.1.2.45:500: ignoring").peer, "192.1.2.45".parse().ok());
        let iked = split("spi=0xe1a86ba672c7d8b6: recv IKE_AUTH req 1 peer 10.9.0.1:4500");
        assert_eq!((iked.sa, iked.text), (Some("0xe1a86ba672c7d8b6"), "recv IKE_AUTH req 1 peer 10.9.0.1:4500"));
    }

    #[test]
    fn what_containers_put_before_is_taken_off() {
        for line in ["2025-10-04T07:11:12.123456789Z stdout F 07[IKE] x", "vpn-1  | 07[IKE] x"] {
            assert_eq!((split(line).thread, split(line).text), (Some("07"), "x"), "{line}");
        }
        assert!(split("| 07[IKE] x").aside);
    }

    #[test]
    fn what_is_typed_is_no_log() {
        for line in [
            " grep NO_PROPOSAL_CHOSEN /tmp/pluto.log",
            "$ journalctl -u strongswan | grep AUTH",
            "../wait.sh 'address pool'",
        ] {
            assert!(split(line).aside, "{line}");
        }
        assert!(split("| complete v1 state transition with NO_PROPOSAL_CHOSEN").aside);
        assert!(!split("13[IKE] received NO_PROPOSAL_CHOSEN notify error").aside);
        assert!(!split("Nov 24 01:08:06 gw ipsec: 13[IKE] received NO_PROPOSAL_CHOSEN notify error").aside);
    }

    #[test]
    fn times_count_on() {
        let at = |line: &str| split(line).at.unwrap();
        assert_eq!(at("2026-11-24 00:52:03: x") - at("2026-11-24T00:51:59.5Z x"), 3500);
        assert_eq!(at("Nov  2 00:00:00 x") - at("Oct 31 23:59:59 x"), 86_401_000);
        assert_eq!(split("31 bottles").at, None);
        assert_eq!(split("2026-13-24 00:52:03 x").at, None);
    }
}
