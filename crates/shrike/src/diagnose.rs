//! `shrike diagnose`: what is wrong, from a packet capture or a listing, without keys and without a daemon.

use crate::cli::Diagnose;
use capture::{Reader, Tracker, Tracks, decapsulate};
use diag::{Cause, Finding, Severity};
use model::{ExchangeMode, ListedSa, Listing};
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
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

/// Reads captures and listings and prints findings. The exit code is a monitoring plugin's: 0 for nothing above
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
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    for path in &how.pcap {
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
        findings.extend(diag::observed(&tracks.sas));
    }
    for path in &how.listing {
        let (series, unread) = listings(path)?;
        notes.extend(unread);
        findings.extend(diag::listed(&series));
    }
    print(&if how.json { as_json(&findings, &notes) } else { as_text(&findings, &notes, how.verbose) });
    Ok(findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok))
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
mod tests {
    use super::*;
    use crate::cli::Diagnose;
    use capture::{Content, Datagram};
    use sim::{Sim, Site};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// What an observer of the wire finds, as (severity, codes), after `a` and `b` tried for a while.
    fn seen(
        a: Site,
        b: Option<Site>,
        act: impl FnOnce(&mut Sim, sim::NodeId, sim::NodeId),
    ) -> Vec<(Severity, Vec<&'static str>)> {
        let mut sim = Sim::new(3);
        let here = sim.add(a);
        let there = match b {
            Some(b) => sim.add(b),
            None => {
                // Somebody with that address who answers nothing.
                let silent = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
                sim.crash(silent);
                silent
            }
        };
        sim.initiate(here, there);
        act(&mut sim, here, there);
        sim.run_for(400 * SECOND);
        let mut tracker = Tracker::default();
        for (time, datagram) in sim.wire.iter().filter(|(_, d)| !d.keepalive) {
            let (source, destination) = (datagram.from, datagram.to);
            let content = Content::Ike(&datagram.bytes);
            tracker.take(time.as_nanos(), &Datagram { source, destination, content });
        }
        let findings = diag::observed(&tracker.finish().sas);
        assert!(
            findings.iter().all(|f| !f.why.is_empty() && !f.evidence.is_empty() && f.remedy.len() == f.causes.len())
        );
        findings.iter().map(|f| (f.severity, f.causes.iter().map(|c| c.code()).collect())).collect()
    }

    fn a(lines: &[&str]) -> Site {
        lines.iter().fold(Site::new("a", "192.0.2.1").to("192.0.2.2"), |site, line| site.connection(line))
    }

    fn b(lines: &[&str]) -> Site {
        lines.iter().fold(Site::new("b", "192.0.2.2").to("192.0.2.1"), |site, line| site.connection(line))
    }

    const V1: [&str; 2] = ["version = 1", "proposals = aes128-sha256-x25519"];
    const AGGRESSIVE: [&str; 3] = ["version = 1", "proposals = aes128-sha256-x25519", "aggressive = yes"];

    #[test]
    fn a_healthy_sa_gives_no_finding() {
        let delete = |sim: &mut Sim, here, _| {
            sim.run_for(100 * SECOND);
            sim.terminate(here, &proto::Selection::default());
        };
        for lines in [&[][..], &["dpd_delay = 10s"], &["rekey_time = 60s"], &V1, &AGGRESSIVE] {
            let found = seen(a(lines), Some(b(lines)), delete);
            assert!(
                !found.is_empty() && found.iter().all(|(severity, _)| *severity == Severity::Ok),
                "{lines:?}: {found:?}"
            );
        }
    }

    #[test]
    fn each_fault_has_its_cause_first() {
        let nothing = |_: &mut Sim, _, _| {};
        let secret = |site: Site| site.secret(Some("another secret"));
        let id = |site: Site| site.remote_id("somebody.example");
        let other = ["version = 1", "proposals = aes256-sha512-ecp384"];
        for (name, expected, found) in [
            ("nobody", "NO_RESPONSE", seen(a(&[]), None, nothing)),
            ("nobody, v1", "NO_RESPONSE", seen(a(&V1), None, nothing)),
            ("nobody, aggressive", "NO_RESPONSE", seen(a(&AGGRESSIVE), None, nothing)),
            ("secret", "PSK_MISMATCH", seen(a(&[]), Some(secret(b(&[]))), nothing)),
            ("secret, v1", "PSK_MISMATCH", seen(a(&V1), Some(secret(b(&V1))), nothing)),
            ("secret, aggressive", "PSK_MISMATCH", seen(a(&AGGRESSIVE), Some(secret(b(&AGGRESSIVE))), nothing)),
            ("identity", "PSK_MISMATCH", seen(a(&[]), Some(id(b(&[]))), nothing)), // the same from outside
            (
                "proposal",
                "P1_PROPOSAL",
                seen(a(&["proposals = aes128-sha256-x25519"]), Some(b(&["proposals = aes256-sha512-x25519"])), nothing),
            ),
            ("proposal, v1", "P1_PROPOSAL", seen(a(&V1), Some(b(&other)), nothing)),
            ("networks, v1", "TRAFFIC_SELECTOR", seen(a(&V1), Some(b(&V1).child("local_ts = 10.99.0.0/16")), nothing)),
        ] {
            let worst = found.iter().max_by_key(|(severity, _)| *severity).unwrap();
            assert_eq!((worst.0, worst.1.first().copied()), (Severity::Error, Some(expected)), "{name}: {found:?}");
        }
    }

    #[test]
    fn a_peer_that_goes_away_is_missed() {
        let crash = |sim: &mut Sim, _, there| {
            sim.run_for(30 * SECOND);
            sim.crash(there);
        };
        let lines = ["dpd_delay = 10s"];
        assert_eq!(seen(a(&lines), Some(b(&lines)), crash)[0], (Severity::Error, vec!["DPD_TIMEOUT"]));
    }

    fn how(path: &std::path::Path, json: bool) -> Diagnose {
        Diagnose { pcap: vec![path.to_string_lossy().into_owned()], listing: Vec::new(), json, verbose: false }
    }

    fn verdicts(text: &str) -> Vec<(Severity, Option<&'static str>)> {
        let tables = split(text).into_iter();
        let series: Vec<Listing> = tables
            .filter_map(|(at, text)| {
                let rows = show::racoonctl::parse(&text).ok()?;
                Some(Listing { at, sas: rows.into_iter().map(listed).collect() })
            })
            .collect();
        let findings = diag::listed(&series);
        assert!(findings.iter().all(|f| !f.evidence.is_empty() && f.remedy.len() == f.causes.len()));
        findings.iter().map(|f| (f.severity, f.causes.first().map(|c| c.code()))).collect()
    }

    const HEADER: &str =
        "Destination            Cookies                           ST S  V E Created             Phase2\n";

    #[test]
    fn a_row_says_what_it_waits_for() {
        let row = |cookies: &str, rest: &str| verdicts(&format!("{HEADER}10.9.0.2.500           {cookies} {rest}\n"));
        let (none, both) = ("61d12e5b65e53c95:0000000000000000", "61d12e5b65e53c95:b1bb8252ff4d89bf");
        let warning = |code| vec![(Severity::Warning, Some(code))];
        assert_eq!(row(none, " 3 I 10 M                          0 "), warning("NO_RESPONSE"));
        assert_eq!(row(both, " 7 I 10 M                          0 "), warning("PSK_MISMATCH"));
        assert_eq!(row(both, " 5 R 10 M                          0 "), warning("PSK_MISMATCH"));
        assert_eq!(row(both, " 3 R 10 M                          0 "), warning("NO_RESPONSE"));
        assert_eq!(row(both, " 9 I 10 M 2026-11-24 00:52:46      1 "), [(Severity::Ok, None)]);
        assert_eq!(row(both, " 9 I 10 M 2026-11-24 00:52:46      0 "), [(Severity::Info, None)]);
    }

    /// Recordings of racoon, where a copy of the laboratory lies beside the workspace. The folder's name is the answer.
    #[test]
    fn series_of_listings() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/racoonctl");
        if !std::path::Path::new(directory).is_dir() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no listings at {directory}");
            eprintln!("SKIP: no listings at {directory}");
            return;
        }
        let worst = |name: &str| {
            let (series, notes) = listings(&format!("{directory}/{name}")).unwrap();
            assert!(notes.is_empty(), "{notes:?}");
            let findings = diag::listed(&series);
            findings.iter().map(|f| (f.severity, f.causes.first().map(|c| c.code()))).max()
        };
        for (name, code) in [
            ("noanswer/watch-a.txt", "NO_RESPONSE"),
            ("badproposal/watch-a.txt", "NO_RESPONSE"), // racoon shows the same: P1_PROPOSAL is the second of the set
            ("badpsk/watch-a.txt", "PSK_MISMATCH"),
            ("badpsk/watch-b.txt", "PSK_MISMATCH"),
            ("badp2/watch-a.txt", "CHILD_FAILED_IKE_KEPT"),
            ("flap/watch-a.txt", "LIFETIME"),
            ("flap/watch-b.txt", "LIFETIME"),
        ] {
            assert_eq!(worst(name), Some((Severity::Error, Some(code))), "{name}");
        }
        for name in ["main", "aggressive", "rekey", "lifetime", "restart", "natt", "p1only", "ipv6"] {
            for end in ["a", "b"] {
                let path = format!("{name}/watch-{end}.txt");
                if std::path::Path::new(&format!("{directory}/{path}")).is_file() {
                    assert!(worst(&path).is_none_or(|found| found.0 <= Severity::Info), "{path}: {:?}", worst(&path));
                }
            }
        }
    }

    #[test]
    fn causes_are_explained() {
        let all = explain(None).unwrap();
        assert_eq!(all.lines().count(), Cause::ALL.len());
        assert!(explain(Some("psk-mismatch")).unwrap().starts_with("PSK_MISMATCH\n  means:"));
        assert!(explain(Some("BLUE_MOON")).unwrap_err().contains("'BLUE_MOON' is no cause"));
    }

    #[test]
    fn what_is_no_capture_is_refused_and_json_has_a_schema() {
        let path = std::env::temp_dir().join(format!("shrike-diagnose-{}", std::process::id()));
        std::fs::write(&path, "this is text").unwrap();
        let error = findings(&how(&path, false), |_| {}).unwrap_err();
        assert!(error.contains("not a pcap"), "{error}");
        let mut empty = 0xa1b2_c3d4_u32.to_be_bytes().to_vec();
        empty.extend([0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 1]);
        std::fs::write(&path, empty).unwrap();
        let printed = std::cell::RefCell::new(String::new());
        findings(&how(&path, true), |text| printed.borrow_mut().push_str(text)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let document: serde_json::Value = serde_json::from_str(&printed.borrow()).unwrap();
        assert_eq!(
            (document["schema"].as_str(), document["findings"].as_array().map(Vec::len)),
            (Some(SCHEMA), Some(0))
        );
        assert!(document["notes"][0].as_str().unwrap().contains("no IKE message"));
    }

    /// Captures of other implementations, where a copy of the laboratory lies beside the workspace.
    #[test]
    fn captures_of_others() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/pcap");
        if !std::path::Path::new(directory).is_dir() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no captures at {directory}");
            eprintln!("SKIP: no captures at {directory}");
            return;
        }
        let worst = |name: &str| {
            let Unused { tracks, .. } = read(&format!("{directory}/{name}")).unwrap();
            let findings = diag::observed(&tracks.sas);
            findings.iter().map(|f| (f.severity, f.causes.first().map(|c| c.code()))).max().unwrap()
        };
        for name in [
            "wireshark/ikev1-certs.pcap",
            "wireshark/ikev2-decrypt-aes256cbc.pcapng",
            "wireshark/ikev2-decrypt-aes256gcm16.pcap",
            "wireshark/ikev2-decrypt-3des-sha1_160.pcap",
            "corelight/ipsec-ikev1-isakmp-main-mode.pcap",
            "corelight/ipsec-ikev1-isakmp-aggressive-mode.pcap",
            "arkime/IKEv1.pcap",
            "ndpi/esp.pcapng",
        ] {
            assert!(worst(name).0 <= Severity::Info, "{name}: {:?}", worst(name));
        }
        assert_eq!(worst("scapy/ikev2_notify_redirect.pcap"), (Severity::Error, Some("P1_PROPOSAL")));
        assert_eq!(worst("libreswan/02-isakmp-vid-first.pcap"), (Severity::Error, Some("NO_RESPONSE")));
    }
}
