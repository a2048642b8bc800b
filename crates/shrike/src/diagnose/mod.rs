//! `shrike diagnose`: what is wrong, of a running daemon, or from packet captures (with keys or without), listings and logs.

use crate::check::Against;
use crate::cli::Diagnose;
use crate::client::Control;
use capture::{CaptureError, Content, KeyUse, Keys, Reader, Tracker, Tracks, Unopened, decapsulate};
use diag::{Cause, Finding, Log, Severity, Sourced};
use model::{Listing, ObservedSa};
use show::listing::{Dialect, Listings};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::process::ExitCode;
use zeroize::Zeroizing;

mod text;

/// Version of the JSON form.
const SCHEMA: &str = "shrike.findings/1";

/// What could not be used of the input.
struct Unused {
    damaged: u64,
    tracks: Tracks,
    /// When the last packet was captured, of whatever kind.
    end: u64,
}

fn read(path: &str, keys: Keys, mut against: Option<&mut Against>) -> Result<Unused, String> {
    let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let complain = |error: CaptureError| match error {
        CaptureError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!(
                "{path}: ends within its header: it is empty, or nothing was written down yet (tcpdump -U writes at once)"
            )
        }
        error => format!("{path}: {error}"),
    };
    let mut reader = Reader::new(BufReader::new(file)).map_err(complain)?;
    let (mut tracker, mut end) = (Tracker::with_keys(keys), 0);
    while let Some(packet) = reader.next_packet().map_err(|error| format!("{path}: {error}"))? {
        end = end.max(packet.nanoseconds.unwrap_or(0));
        if let Some(datagram) = decapsulate(packet.link, packet.octets) {
            if let (Some(against), Content::Ike(octets)) = (against.as_mut(), datagram.content) {
                against.take(datagram.source, datagram.destination, octets);
            }
            let whole = tracker.take(packet.nanoseconds.unwrap_or(0), &datagram);
            if let (Some(against), Some(whole)) = (against.as_mut(), whole) {
                against.take(whole.source, whole.destination, &whole.octets);
            }
        }
    }
    Ok(Unused { damaged: reader.damaged(), tracks: tracker.finish(), end })
}

/// The listings of a file, by dialect.
type Series = BTreeMap<Dialect, Vec<Listing>>;

fn read_listings(path: &str, notes: &mut Vec<String>) -> Result<Series, String> {
    let text = text::read(path, notes)?;
    let Listings { series, unread } = show::listing::read(&text);
    if series.is_empty() && unread.is_empty() {
        let mut log = Log::default();
        log.feed(text.as_bytes());
        if !log.finish().findings.is_empty() {
            return Err(format!("{path}: there is no listing in it, but lines of a log: shrike diagnose --log {path}"));
        }
        let known: Vec<&str> = Dialect::ALL.iter().map(|dialect| dialect.command()).collect();
        return Err(format!("{path}: no listing in it that is known: {}", known.join(", ")));
    }
    notes.extend(unread.iter().map(|why| format!("{path}: {why}")));
    Ok(series)
}

/// Findings from the listings of a file, with those of other files beside, which may be the other end's.
fn judged(series: &Series, others: &[&Series]) -> Vec<Finding> {
    let others: Vec<&[Listing]> = others.iter().flat_map(|series| series.values()).map(Vec::as_slice).collect();
    // What carries an IKE SA that is listed too has its finding there, unless something is wrong with it.
    let with_ike = series.keys().any(|dialect| !dialect.is_ipsec());
    let any = series.values().flatten().any(|listing| !listing.sas.is_empty());
    // Where one command lists SAs, another that lists none has nothing to add; nor has a second one.
    let listing = |listings: &&Vec<Listing>| !any || listings.iter().any(|listing| !listing.sas.is_empty());
    let told = |dialect: &Dialect, found: &Finding| !dialect.is_ipsec() || !with_ike || found.severity > Severity::Info;
    let judged = series.iter().filter(|(_, listings)| listing(listings));
    let judged = judged.take(if any { usize::MAX } else { 1 });
    let each = judged.flat_map(|(dialect, listings)| {
        diag::listed_beside(listings, &others).into_iter().filter(move |found| !any || told(dialect, found))
    });
    each.collect()
}

/// Findings from the listings of a file alone.
#[cfg(test)]
fn listings(path: &str, notes: &mut Vec<String>) -> Result<Vec<Finding>, String> {
    Ok(judged(&read_listings(path, notes)?, &[]))
}

/// Reads captures, listings and logs and prints findings. The exit code is a monitoring plugin's: 0 for nothing above
/// information, 1 for a warning, 2 for an error, 3 where an input cannot be read.
pub fn run(how: &Diagnose, vici: Option<&str>, print: impl Fn(&str), complain: impl Fn(&str)) -> ExitCode {
    match findings(how, vici, print) {
        Ok(Severity::Ok | Severity::Info) => ExitCode::SUCCESS,
        Ok(Severity::Warning) => ExitCode::from(1),
        Ok(Severity::Error) => ExitCode::from(2),
        Err(error) => {
            complain(&format!("shrike: {error}"));
            ExitCode::from(3)
        }
    }
}

/// The page of a cause, what a reason means that `shrike show` and the log print, with the page of its cause, or without a
/// code all causes with what they mean.
///
/// # Errors
/// There is no such cause or reason.
pub fn explain(code: Option<&str>) -> Result<String, String> {
    let Some(code) = code else {
        let line = |cause: &Cause| format!("{cause:<22} {}\n", cause.page().means);
        return Ok(Cause::ALL.iter().map(line).collect());
    };
    let cause = Cause::from_code(code);
    let unknown = || format!("'{code}' is no cause; 'shrike explain' lists all");
    let page = cause.map(|cause| cause.page().to_string());
    page.or_else(|| diag::Reason::from_code(code).map(|reason| reason.to_string())).ok_or_else(unknown)
}

/// The worst of what was found and printed.
fn findings(how: &Diagnose, vici: Option<&str>, print: impl Fn(&str)) -> Result<Severity, String> {
    let mut sources = Vec::new();
    let mut notes = Vec::new();
    let mut from = |source: &String, findings| sources.push(Sourced { source: source.clone(), findings });
    let mut against = how.against.as_deref().map(|path| Against::new(path, how.end)).transpose()?;
    let table = how.keys.as_deref().map(|path| KeyTable::read(path, &mut notes)).transpose()?;
    let mut captures: Vec<(&str, Unused)> = Vec::new();
    for path in &how.pcap {
        let mut read = captured(path, table.as_ref(), against.as_mut(), &mut notes)?;
        let before: Vec<&[ObservedSa]> = captures.iter().map(|(_, read)| read.tracks.sas.as_slice()).collect();
        same_ends(&mut read.tracks.sas, &before);
        from(path, diag::observed_until(&read.tracks.sas, read.end));
        captures.push((path, read));
    }
    for (n, (path, one)) in captures.iter().enumerate() {
        for (other, read) in captures.get(n + 1..).unwrap_or_default() {
            let found = diag::between(
                diag::Capture { sas: &one.tracks.sas, end: one.end },
                diag::Capture { sas: &read.tracks.sas, end: read.end },
            );
            from(&format!("{path} and {other}"), found);
        }
    }
    drop(captures);
    let listed: Vec<Series> =
        how.listing.iter().map(|path| read_listings(path, &mut notes)).collect::<Result<_, _>>()?;
    for (at, (path, series)) in how.listing.iter().zip(&listed).enumerate() {
        let others: Vec<&Series> =
            listed.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, other)| other).collect();
        from(path, judged(series, &others));
    }
    for path in &how.log {
        from(path, logged(path, &mut notes)?);
    }
    if how.live || sources.is_empty() {
        sources.push(Sourced { source: "daemon".to_string(), findings: running(vici, &mut notes)? });
    }
    let mut findings = diag::merged(sources);
    findings.extend(against.iter().flat_map(|against| against.findings(&mut notes)));
    // The worst first; what is alike keeps its order.
    findings.sort_by_key(|found| std::cmp::Reverse(found.severity));
    print(&if how.json { as_json(&findings, &notes) } else { as_text(&findings, &notes, how.verbose) });
    Ok(findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok))
}

/// Findings about the daemon that runs.
fn running(vici: Option<&str>, notes: &mut Vec<String>) -> Result<Vec<Finding>, String> {
    let elsewhere = |error| format!("{error}; or name what to read: --pcap, --listing, --log");
    let live = Control::open(vici).map_err(elsewhere)?.live()?;
    if !live.remembers {
        notes.push("this daemon keeps no reasons: what it lists and counts is all there is to judge by".to_string());
    }
    if live.connections.is_empty() && live.sas.is_empty() {
        notes.push("the daemon has no connection: load a configuration (shrike load)".to_string());
    }
    Ok(diag::live(&live))
}

/// An SA that an earlier capture has too is of the same two ends, though a translator between them gives them other
/// addresses here.
fn same_ends(sas: &mut [ObservedSa], before: &[&[ObservedSa]]) {
    let known: BTreeMap<_, _> = before
        .iter()
        .rev()
        .flat_map(|sas| sas.iter().map(|sa| ((sa.version, sa.spis.initiator), (sa.initiator, sa.responder))))
        .collect();
    for sa in sas {
        if let Some((initiator, responder)) = known.get(&(sa.version, sa.spis.initiator)) {
            (sa.initiator, sa.responder) = (*initiator, *responder);
        }
    }
}

/// Reads a capture.
fn captured(
    path: &str,
    table: Option<&KeyTable>,
    mut against: Option<&mut Against>,
    notes: &mut Vec<String>,
) -> Result<Unused, String> {
    let keys = table.map(KeyTable::keys).unwrap_or_default();
    let read = read(path, keys, against.as_deref_mut())?;
    let (damaged, tracks) = (read.damaged, &read.tracks);
    if let Some(against) = against {
        against.take_opened(&tracks.sas);
    }
    let counted = [
        (damaged, "damaged records"),
        (tracks.unreadable, "datagrams on IKE's ports that are no IKE"),
        (tracks.left_out, "messages of further SAs, which are too many"),
        (tracks.fragments, "fragments of IP packets that did not become whole"),
        (tracks.tcp, "segments of IKE over TCP (RFC 9329), which is not read"),
    ];
    notes.extend(counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{path}: left out {what} ({n})")));
    if let Some(table) = table {
        notes.extend(table.outcome(path, &tracks.keys));
    }
    if tracks.sas.is_empty() && tracks.tcp == 0 {
        notes.push(format!("{path}: no IKE message in it (UDP ports 500 and 4500)"));
    }
    Ok(read)
}

/// Findings from a log.
fn logged(path: &str, notes: &mut Vec<String>) -> Result<Vec<Finding>, String> {
    let complain = |error: std::io::Error| format!("{path}: {error}");
    let mut file = File::open(path).map_err(complain)?;
    let (mut log, mut buffer, mut binary) = (Log::default(), vec![0; 1 << 16], false);
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(complain(error)),
        };
        let piece = buffer.get(..length).unwrap_or_default();
        binary |= piece.contains(&0);
        log.feed(piece);
    }
    let report = log.finish();
    if report.understood == 0 && binary {
        return Err(format!("{path}: this is no log: it has octets that are no text"));
    }
    if report.understood == 0 {
        notes.push(format!(
            "{path}: no line in it says anything about an SA ({} lines): nothing began, or the level of logging is too low",
            report.lines
        ));
    }
    let counted = [
        (report.cut, "the rest of lines that are too long"),
        (report.left_out, "lines about further peers"),
        (report.unread, "the oldest lines of a log that has the newest first"),
    ];
    notes.extend(counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{path}: left out {what} ({n})")));
    Ok(report.findings)
}

/// A file with keys. Its text is kept for the next capture, and wiped when it is no longer needed.
struct KeyTable {
    path: String,
    text: Zeroizing<Vec<u8>>,
}

impl KeyTable {
    /// Reads it, and says which lines make no sense.
    ///
    /// # Errors
    /// It cannot be read, or has no key.
    fn read(path: &str, notes: &mut Vec<String>) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let table = Self { path: path.to_string(), text: Zeroizing::new(text) };
        let keys = table.keys();
        notes.extend(keys.refused.iter().take(20).map(|(line, why)| format!("{path}:{line}: left out: {why}")));
        if keys.is_empty() {
            let first = keys.refused.first().map(|(line, why)| format!("; line {line}: {why}")).unwrap_or_default();
            return Err(format!(
                "{path}: no key in it; expected are lines of Wireshark's ikev1_decryption_table or ikev2_decryption_table{first}"
            ));
        }
        Ok(table)
    }

    fn keys(&self) -> Keys {
        Keys::parse(&self.text)
    }

    /// What came of its keys in one capture, as far as somebody has to do something about it.
    fn outcome(&self, capture: &str, uses: &[KeyUse]) -> Vec<String> {
        let mut notes: Vec<String> = uses.iter().filter_map(|used| self.of_use(capture, used)).collect();
        // A table has the keys of all that was ever opened with it.
        const MOST: usize = 8;
        let unused: Vec<String> =
            uses.iter().filter(|used| used.spis.is_none()).map(|used| used.line.to_string()).collect();
        match unused.as_slice() {
            [] => {}
            [line] => notes.push(format!(
                "{}:{line}: not used: {capture} has no message that is encrypted for this SA",
                self.path
            )),
            lines => notes.push(format!(
                "{}: {} keys not used: {capture} has no messages that are encrypted for their SAs (lines {}{})",
                self.path,
                lines.len(),
                lines.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", "),
                if lines.len() > MOST { ", ..." } else { "" }
            )),
        }
        notes
    }

    /// What came of one key that is of an SA in the capture.
    fn of_use(&self, capture: &str, used: &KeyUse) -> Option<String> {
        let place = format!("{}:{}", self.path, used.line);
        let spis = used.spis?;
        if used.opened > 0 && used.failed > 0 {
            return Some(format!(
                "{place}: messages of {spis} that it opens: {}, and that it does not: {}",
                used.opened, used.failed
            ));
        }
        let why = match used.why? {
            Unopened::WrongKey => "it is another SA's key, or of other algorithms",
            Unopened::NoBeginning => "the capture lacks messages 1 to 4 of its phase 1, where decryption begins",
            Unopened::Length(octets) => {
                return Some(format!(
                    "{place}: opens no message of {spis} in {capture}: the algorithm of that phase 1 needs a key of {octets} octets"
                ));
            }
            Unopened::Algorithm => "the algorithm of that phase 1 is not known here",
        };
        Some(format!("{place}: opens no message of {spis} in {capture}: {why}"))
    }
}

/// Findings for programs.
pub(crate) fn as_json(findings: &[Finding], notes: &[String]) -> String {
    let document = serde_json::json!({ "schema": SCHEMA, "findings": findings, "notes": notes });
    format!("{document:#}\n")
}

/// Findings for people.
pub(crate) fn as_text(findings: &[Finding], notes: &[String], verbose: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let codes: Vec<&str> = finding.causes.iter().map(|cause| cause.code()).collect();
        let times = if finding.attempts > 1 { format!(" ({} SAs)", finding.attempts) } else { String::new() };
        let codes = if codes.is_empty() { finding.id.to_string() } else { codes.join(" or ") };
        let _ = writeln!(text, "{}  {}  {codes}{times}", finding.peer, finding.severity.label());
        let _ = writeln!(text, "  why:    {}", finding.why);
        if verbose || finding.severity > Severity::Info {
            finding.evidence.iter().for_each(|line| {
                let _ = writeln!(text, "  seen:   {line}");
            });
            finding.remedy.iter().for_each(|line| {
                let _ = writeln!(text, "  do:     {line}");
            });
        }
        text.push('\n');
    }
    notes.iter().for_each(|note| {
        let _ = writeln!(text, "{note}");
    });
    text
}

#[cfg(test)]
mod captured;
#[cfg(test)]
mod injected;
#[cfg(test)]
mod listed_tests;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod score;
#[cfg(test)]
mod tests;
