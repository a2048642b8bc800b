//! `shrike diagnose`: what is wrong, from packet captures, listings and logs, without keys and without a daemon.

use crate::cli::Diagnose;
use capture::{Reader, Tracker, Tracks, decapsulate};
use diag::{Cause, Finding, Log, Severity, Sourced};
use model::{ExchangeMode, ListedSa, Listing};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::process::ExitCode;

/// Version of the JSON form.
const SCHEMA: &str = "shrike.findings/1";

/// What could not be used of the input.
struct Unused {
    damaged: u64,
    tracks: Tracks,
}

fn read(path: &str) -> Result<Unused, String> {
    let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(|error| format!("{path}: {error}"))?;
    let mut tracker = Tracker::default();
    while let Some(packet) = reader.next_packet().map_err(|error| format!("{path}: {error}"))? {
        if let Some(datagram) = decapsulate(packet.link, packet.octets) {
            tracker.take(packet.nanoseconds.unwrap_or(0), &datagram);
        }
    }
    Ok(Unused { damaged: reader.damaged(), tracks: tracker.finish() })
}

/// The tables of a file, in order, and what could not be read of it.
fn listings(path: &str) -> Result<(Vec<Listing>, Vec<String>), String> {
    let octets = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let (mut series, mut notes) = (Vec::new(), Vec::new());
    let mut tables = 0;
    for (at, text) in split(&String::from_utf8_lossy(&octets)) {
        match show::racoonctl::parse(&text) {
            Ok(rows) => {
                tables += 1;
                series.push(Listing { at, sas: rows.into_iter().map(listed).collect() });
            }
            Err(show::racoonctl::ParseError::NotATable) => {}
            Err(error) => notes.push(format!("{path}: a table was left out: {error}")),
        }
    }
    if tables > 0 && series.iter().all(|listing: &Listing| listing.sas.is_empty()) {
        notes.push(format!("{path}: no SA is listed: nothing has begun to negotiate, or every attempt is over"));
    }
    if tables == 0 && notes.is_empty() {
        return Err(format!("{path}: no output of 'racoonctl show-sa isakmp' in it"));
    }
    Ok((series, notes))
}

/// Cuts a text before each header of a table, and takes times from lines `# t=38 ms`.
fn split(text: &str) -> Vec<(Option<u64>, String)> {
    let mut parts: Vec<(Option<u64>, String)> = Vec::new();
    let mut at = None;
    for line in text.lines() {
        let time = line.trim().strip_prefix("# t=").and_then(|rest| rest.trim_end_matches("ms").trim().parse().ok());
        if time.is_some() {
            at = time;
        } else if line.contains("Destination") && line.contains("Cookies") {
            parts.push((at, format!("{line}\n")));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        } else {
            parts.push((at, format!("{line}\n")));
        }
    }
    parts
}

/// A row of racoon's table.
fn listed(row: show::racoonctl::RacoonIsakmp) -> ListedSa {
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
        spis: row.cookies,
        role: status.map(|s| s.side),
        mode,
        st: status.map(|s| s.st),
        established: row.created.is_some() || status.is_some_and(|s| s.st >= 9),
        phase2: status.and_then(|s| s.phase2),
    }
}

/// Reads captures, listings and logs and prints findings. The exit code is a monitoring plugin's: 0 for nothing above
/// information, 1 for a warning, 2 for an error, 3 where an input cannot be read.
pub fn run(how: &Diagnose, print: impl Fn(&str), complain: impl Fn(&str)) -> ExitCode {
    match findings(how, print) {
        Ok(Severity::Ok | Severity::Info) => ExitCode::SUCCESS,
        Ok(Severity::Warning) => ExitCode::from(1),
        Ok(Severity::Error) => ExitCode::from(2),
        Err(error) => {
            complain(&format!("shrike: {error}"));
            ExitCode::from(3)
        }
    }
}

/// The page of a cause, or without a code all causes with what they mean.
///
/// # Errors
/// There is no such cause.
pub fn explain(code: Option<&str>) -> Result<String, String> {
    let Some(code) = code else {
        let line = |cause: &Cause| format!("{cause:<22} {}\n", cause.page().means);
        return Ok(Cause::ALL.iter().map(line).collect());
    };
    let cause = Cause::from_code(code);
    let unknown = || format!("'{code}' is no cause; 'shrike explain' lists all");
    cause.map(|cause| cause.page().to_string()).ok_or_else(unknown)
}

/// The worst of what was found and printed.
fn findings(how: &Diagnose, print: impl Fn(&str)) -> Result<Severity, String> {
    let mut sources = Vec::new();
    let mut notes = Vec::new();
    let mut from = |source: &String, findings| sources.push(Sourced { source: source.clone(), findings });
    for path in &how.pcap {
        from(path, captured(path, &mut notes)?);
    }
    for path in &how.listing {
        let (series, unread) = listings(path)?;
        notes.extend(unread);
        from(path, diag::listed(&series));
    }
    for path in &how.log {
        from(path, logged(path, &mut notes)?);
    }
    let findings = diag::merged(sources);
    print(&if how.json { as_json(&findings, &notes) } else { as_text(&findings, &notes, how.verbose) });
    Ok(findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok))
}

/// Findings from a capture.
fn captured(path: &str, notes: &mut Vec<String>) -> Result<Vec<Finding>, String> {
    let Unused { damaged, tracks } = read(path)?;
    let counted = [
        (damaged, "damaged records"),
        (tracks.unreadable, "datagrams on IKE's ports that are no IKE"),
        (tracks.left_out, "messages of further SAs, which are too many"),
        (tracks.fragments, "fragments of IP packets, which are not put together"),
    ];
    notes.extend(counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{path}: left out {n} {what}")));
    if tracks.sas.is_empty() {
        notes.push(format!("{path}: no IKE message in it (UDP ports 500 and 4500)"));
    }
    Ok(diag::observed(&tracks.sas))
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
    let counted = [(report.cut, "the rest of lines that are too long"), (report.left_out, "lines about further peers")];
    notes.extend(counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{path}: left out {what} ({n})")));
    Ok(report.findings)
}

fn as_json(findings: &[Finding], notes: &[String]) -> String {
    let document = serde_json::json!({ "schema": SCHEMA, "findings": findings, "notes": notes });
    format!("{document:#}\n")
}

fn as_text(findings: &[Finding], notes: &[String], verbose: bool) -> String {
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
mod tests;
