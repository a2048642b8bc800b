use super::*;
use crate::cli::Diagnose;
use capture::Datagram;
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
    assert!(findings.iter().all(|f| !f.why.is_empty() && !f.evidence.is_empty() && f.remedy.len() == f.causes.len()));
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
    Diagnose { pcap: vec![path.to_string_lossy().into_owned()], json, ..Diagnose::default() }
}

fn verdicts(text: &str) -> Vec<(Severity, Option<&'static str>)> {
    let read = show::listing::read(text);
    assert!(read.unread.is_empty(), "{:?}", read.unread);
    let findings: Vec<Finding> = read.series.values().flat_map(|series| diag::listed(series)).collect();
    assert!(findings.iter().all(|f| !f.evidence.is_empty() && f.remedy.len() == f.causes.len()));
    findings.iter().map(|f| (f.severity, f.causes.first().map(|c| c.code()))).collect()
}

const HEADER: &str = "Destination            Cookies                           ST S  V E Created             Phase2\n";

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

#[test]
fn a_flood_is_seen() {
    let row = |n: u32| {
        format!(
            "203.0.113.{n}.500        61d12e5b65e53c{n:02x}:b1bb8252ff4d89bf  3 R 10 M                          0\n"
        )
    };
    let found = verdicts(&format!("{HEADER}{}", (1..60).map(row).collect::<String>()));
    assert_eq!(found.iter().max(), Some(&(Severity::Error, Some("HALF_OPEN"))));
    assert!(
        verdicts(&format!("{HEADER}{}", (1..5).map(row).collect::<String>())).iter().all(|f| f.0 == Severity::Warning)
    );
}

#[test]
fn sas_that_go_before_their_time_are_missed() {
    let listing = |n: u64, age: u64, children: u32| {
        format!(
            "Tue Nov 24 01:{n:02}:00 UTC 2026\nIKE::SecurityAssociations\n(tmm: 3)\n  10.2.2.2/500 -> 10.1.1.1/500\n  \
             Version: v2 State: ESTABLISHED\n  IKE Peer: /Common/a\n  Spi(local): {:#018x} Spi(Remote): 0x74c405a807c5226b\n  \
             Encryption: aes256 Authentication: pre-shared-key\n  Hash Algorithm: sha256 Initiator: TRUE\n  \
             Life/Active Time: 28800/{age} seconds NAT-T: none\n  Traffic Selectors 1 Reqid(in/out)\n    /Common/s 1/2\n  \
             Child SA Count: {children}\nTotal records returned: 1\n",
            n + 1
        )
    };
    let series = |age: fn(u64) -> u64, children| (0..6).map(|n| listing(n, age(n), children)).collect::<String>();
    assert_eq!(verdicts(&series(|_| 20, 0)), [(Severity::Error, Some("CHILD_FAILED_IKE_KEPT"))]);
    assert_eq!(verdicts(&series(|_| 20, 1)), [(Severity::Error, Some("PEER_DELETE"))]);
    // Each was as old as it was meant to be.
    assert_eq!(verdicts(&series(|_| 28_000, 1)), [(Severity::Ok, None)]);
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
        let mut notes = Vec::new();
        let findings = listings(&format!("{directory}/{name}"), &mut notes).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
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
fn without_a_file_and_without_a_daemon_it_says_what_can_be_read() {
    let nowhere = std::env::temp_dir().join("shrike-no-such-socket").to_string_lossy().into_owned();
    let error = findings(&Diagnose::default(), Some(&nowhere), |_| {}).unwrap_err();
    assert!(["no daemon serves", "--pcap", "--listing", "--log"].iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn causes_are_explained() {
    let all = explain(None).unwrap();
    assert_eq!(all.lines().count(), Cause::ALL.len());
    assert!(explain(Some("psk-mismatch")).unwrap().starts_with("PSK_MISMATCH\n  means:"));
    for code in model::FailureKind::CODES {
        assert!(explain(Some(code)).unwrap().starts_with(code), "{code}");
    }
    assert!(explain(Some("BLUE_MOON")).unwrap_err().contains("'BLUE_MOON' is no cause"));
}

#[test]
fn what_is_no_capture_is_refused_and_json_has_a_schema() {
    let path = std::env::temp_dir().join(format!("shrike-diagnose-{}", std::process::id()));
    std::fs::write(&path, "this is text").unwrap();
    let error = findings(&how(&path, false), None, |_| {}).unwrap_err();
    assert!(error.contains("not a pcap"), "{error}");
    let mut empty = 0xa1b2_c3d4_u32.to_be_bytes().to_vec();
    empty.extend([0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 1]);
    std::fs::write(&path, empty).unwrap();
    let printed = std::cell::RefCell::new(String::new());
    findings(&how(&path, true), None, |text| printed.borrow_mut().push_str(text)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let document: serde_json::Value = serde_json::from_str(&printed.borrow()).unwrap();
    assert_eq!((document["schema"].as_str(), document["findings"].as_array().map(Vec::len)), (Some(SCHEMA), Some(0)));
    assert!(document["notes"][0].as_str().unwrap().contains("no IKE message"));
}

/// A pcap file of what went over the wire, raw IPv4 in UDP.
fn pcap_of(sim: &Sim) -> Vec<u8> {
    let mut file = 0xd4c3_b2a1_u32.to_be_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 101, 0, 0, 0]);
    for (time, datagram) in sim.wire.iter().filter(|(_, datagram)| !datagram.keepalive) {
        let (std::net::SocketAddr::V4(from), std::net::SocketAddr::V4(to)) = (datagram.from, datagram.to) else {
            continue;
        };
        let marker: &[u8] = if to.port() == 500 { &[] } else { &[0; 4] };
        let length = 28 + marker.len() + datagram.bytes.len();
        let nanoseconds = time.as_nanos();
        for word in [nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000 / 1000, length as u64, length as u64] {
            file.extend((word as u32).to_le_bytes());
        }
        file.extend([0x45, 0]);
        file.extend((length as u16).to_be_bytes());
        file.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        file.extend(from.ip().octets());
        file.extend(to.ip().octets());
        file.extend(from.port().to_be_bytes());
        file.extend(to.port().to_be_bytes());
        file.extend(((length - 20) as u16).to_be_bytes());
        file.extend([0, 0]);
        file.extend(marker);
        file.extend(&datagram.bytes);
    }
    file
}

/// What `shrike diagnose --pcap F --keys TABLE` prints, and how bad it is, of two sites and with this done to the table.
fn with_keys(
    name: &str,
    here: Site,
    there: Site,
    change: impl Fn(String) -> String,
) -> (Result<Severity, String>, String) {
    let mut sim = Sim::new(3);
    let (here, there) = (sim.add(here), sim.add(there));
    sim.initiate(here, there);
    sim.run_for(60 * SECOND);
    let path = |kind: &str| std::env::temp_dir().join(format!("shrike-diagnose-{name}-{kind}-{}", std::process::id()));
    let (pcap, table) = (path("pcap"), path("keys"));
    std::fs::write(&pcap, pcap_of(&sim)).unwrap();
    let lines = sim.decryption_tables(here);
    assert!(!lines.is_empty(), "the simulation knows its keys");
    std::fs::write(&table, change(lines)).unwrap();
    let keys = Some(table.to_string_lossy().into_owned());
    let how = Diagnose { keys, verbose: true, ..how(&pcap, false) };
    let printed = std::cell::RefCell::new(String::new());
    let result = findings(&how, None, |text| printed.borrow_mut().push_str(text));
    std::fs::remove_file(pcap).unwrap();
    std::fs::remove_file(table).unwrap();
    (result, printed.into_inner())
}

/// The longest runs of hexadecimal digits in a text: keys are 32 and more.
fn longest_digits(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max().unwrap_or(0)
}

#[test]
fn keys_open_a_capture_and_are_not_printed() {
    let same = |table: String| format!("# keys of a simulation\n{table}");
    for lines in [&[][..], &V1, &AGGRESSIVE] {
        let (result, text) = with_keys("good", a(lines), b(lines), same);
        assert_eq!(result, Ok(Severity::Ok), "{lines:?}: {text}");
        assert!(text.contains("ESP "), "{lines:?}: {text}");
        // Aggressive mode names itself in the clear.
        assert!(lines == AGGRESSIVE || text.contains("'a.example'"), "{lines:?}: {text}");
        assert!(longest_digits(&text) < 24 && !text.contains("opens no message"), "{lines:?}: {text}");
    }
    // Without keys it might as well be another network, or phase 2's proposal, or a group.
    let (result, text) = with_keys("networks", a(&V1), b(&V1).child("local_ts = 10.99.0.0/16"), same);
    assert!(result == Ok(Severity::Error) && text.contains("  ERROR  TRAFFIC_SELECTOR\n"), "{text}");
    assert!(text.contains("answers quick mode with INVALID_ID_INFORMATION"), "{text}");
    let (result, text) = with_keys("secret", a(&V1), b(&V1).secret(Some("another secret")), same);
    assert!(result == Ok(Severity::Error) && text.contains("  ERROR  PSK_MISMATCH\n"), "{text}");
    assert!(text.contains("different pre-shared keys"), "{text}");
}

#[test]
fn a_key_that_does_not_fit_is_named_by_its_line() {
    let wrong = |table: String| {
        let fields: Vec<&str> = table.trim().split(',').collect();
        let other = "5a".repeat(fields[2].len() / 2);
        let line = fields.iter().enumerate().map(|(n, field)| if matches!(n, 2 | 3) { other.as_str() } else { field });
        format!("# a comment\nthis is no line of a table\n{}\n", line.collect::<Vec<_>>().join(","))
    };
    let (result, text) = with_keys("wrong", a(&[]), b(&[]), wrong);
    assert_eq!(result, Ok(Severity::Ok), "what is seen from outside still counts: {text}");
    assert!(text.contains(":2: left out: 1 fields"), "{text}");
    assert!(text.contains(":3: opens no message of") && text.contains("another SA's key"), "{text}");
    assert!(!text.contains("5a5a5a"), "{text}");
    let (result, _) = with_keys("none", a(&[]), b(&[]), |_| "nothing\n".to_string());
    assert!(result.unwrap_err().contains("no key in it"), "a table without a key is no table");
    let stranger = |_| "0123456789abcdef,00112233445566778899aabbccddeeff\n".to_string();
    let (_, text) = with_keys("stranger", a(&[]), b(&[]), stranger);
    assert!(text.contains(":1: not used"), "{text}");
    let many = |_| (1..30u8).map(|n| format!("{n:02x}23456789abcdef,00112233445566778899aabbccddeeff\n")).collect();
    let (_, text) = with_keys("strangers", a(&[]), b(&[]), many);
    let told: Vec<&str> = text.lines().filter(|line| line.contains("not used")).collect();
    assert!(told.len() == 1 && told[0].contains("29 keys not used") && told[0].ends_with("7, 8, ...)"), "{told:?}");
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
        let Unused { tracks, .. } = read(&format!("{directory}/{name}"), Keys::default(), None).unwrap();
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
    // The responder repeats message 2 of quick mode although message 3 came again, and sends no ESP.
    assert_eq!(worst("tcpdump/isakmp4500.pcap"), (Severity::Warning, Some("P2_TIMEOUT")));
    assert_eq!(worst("scapy/ikev2_notify_redirect.pcap"), (Severity::Error, Some("P1_PROPOSAL")));
    assert_eq!(worst("libreswan/02-isakmp-vid-first.pcap"), (Severity::Error, Some("NO_RESPONSE")));
}

/// The laboratory's folder of that name, or why there is none.
fn laboratory(name: &str) -> Option<String> {
    let directory = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::path::Path::new(&directory).is_dir() {
        return Some(directory);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no {directory}");
    eprintln!("SKIP: no {directory}");
    None
}

/// Severity and causes of the worst finding in a log.
fn worst_of_log(path: &str) -> (Severity, Vec<&'static str>) {
    let findings = logged(path, &mut Vec::new()).unwrap_or_else(|error| panic!("{error}"));
    assert!(findings.iter().all(|f| !f.evidence.is_empty() && f.remedy.len() == f.causes.len()));
    let worst = findings.iter().max_by_key(|finding| finding.severity);
    worst.map_or((Severity::Ok, vec![]), |f| (f.severity, f.causes.iter().map(|cause| cause.code()).collect()))
}

/// Recordings of racoon: the folder's name is the answer.
#[test]
fn logs_of_racoon() {
    let Some(directory) = laboratory("racoonctl") else { return };
    for (log, severity, cause) in [
        ("noanswer/racoon-a.log", Severity::Error, "NO_RESPONSE"),
        ("badproposal/racoon-a.log", Severity::Error, "NO_RESPONSE"), // P1_PROPOSAL is the second: the answer is not believed
        ("badproposal/racoon-b.log", Severity::Error, "P1_PROPOSAL"),
        ("badpsk/racoon-a.log", Severity::Error, "PSK_MISMATCH"),
        ("badpsk/racoon-b.log", Severity::Warning, "PSK_MISMATCH"), // it says nothing, and ends at once
        ("badp2/racoon-a.log", Severity::Error, "CHILD_FAILED_IKE_KEPT"),
        ("badp2/racoon-b.log", Severity::Error, "CHILD_FAILED_IKE_KEPT"),
        ("flap/racoon-a.log", Severity::Error, "LIFETIME"),
        ("flap/racoon-b.log", Severity::Error, "LIFETIME"),
    ] {
        let (worst, causes) = worst_of_log(&format!("{directory}/{log}"));
        assert_eq!((worst, causes.first().copied()), (severity, Some(cause)), "{log}");
    }
    for name in
        ["main", "aggressive", "rekey", "lifetime", "restart", "natt", "p1only", "ipv6", "none", "charon-initiates"]
    {
        for end in ["a", "b"] {
            let path = format!("{directory}/{name}/racoon-{end}.log");
            if std::path::Path::new(&path).is_file() {
                assert!(worst_of_log(&path).0 <= Severity::Info, "{path}: {:?}", worst_of_log(&path));
            }
        }
    }
}

/// Recordings of charon, pluto and iked: the folder's name is the answer.
#[test]
fn logs_of_other_peers() {
    let Some(directory) = laboratory("peers") else { return };
    for (log, cause) in [
        ("charon-badproposal/initiate-v1.txt", "P1_PROPOSAL"),
        ("charon-badproposal/initiate-v2.txt", "P1_PROPOSAL"),
        ("charon-badpsk/initiate-v1.txt", "PSK_MISMATCH"),
        ("charon-badpsk/initiate-v2.txt", "PSK_MISMATCH"),
        ("charon-badpsk/charon-a.log", "PSK_MISMATCH"),
    ] {
        let (worst, causes) = worst_of_log(&format!("{directory}/{log}"));
        assert_eq!((worst, causes.first().copied()), (Severity::Error, Some(cause)), "{log}");
    }
    for log in ["charon-v1/charon-a.log", "charon-v1/charon-b.log", "charon-v2/charon-a.log", "charon-v2/charon-b.log"]
        .into_iter()
        .chain(["pluto-v2/charon-a.log", "pluto-v2/pluto-b.log", "iked/iked-b.log", "charon-v2/terminate.txt"])
    {
        let worst = worst_of_log(&format!("{directory}/{log}"));
        assert!(worst.0 <= Severity::Info, "{log}: {worst:?}");
    }
}

/// Consoles of pluto, each with its answer; the laboratory's words for causes in ours. Some ends log nothing of it.
#[test]
fn logs_of_pluto() {
    let Some(directory) = laboratory("logs/pluto") else { return };
    let mut folders: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        let answer = std::fs::read_to_string(folder.join("answer.json")).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let expected = match answer["cause"].as_str().unwrap() {
            "NO_RESPONSE" | "REDIRECT_TARGET_DOWN" => "NO_RESPONSE",
            "PSK_MISSING_LOCAL" | "PSK_MISSING_PEER" => "PSK_MISMATCH",
            "IKE_PROPOSAL_MISMATCH" => "P1_PROPOSAL",
            "TS_MISMATCH" => "TRAFFIC_SELECTOR",
            "MODE_MISMATCH" => "ENCAP_MODE",
            "PEER_ID_NOT_IN_CERT_SAN" => "PEER_ID",
            "ESP_PROPOSAL_MISMATCH" | "ADDRESS_POOL_EXHAUSTED" | "PEER_OMITTED_CHILD_PAYLOADS" => {
                "CHILD_FAILED_IKE_KEPT"
            }
            "LOCAL_PRIVATE_KEY_MISSING" | "PEER_CERT_EXPIRED" | "LOCAL_CERT_REVOKED" | "XAUTH_BACKEND_TIMEOUT" => {
                "AUTH_FAILED"
            }
            _ => "",
        };
        for end in ["west", "road", "east"] {
            for kind in ["log", "console.txt"] {
                let path = folder.join(format!("{end}.{kind}"));
                if !path.is_file() {
                    continue;
                }
                let path = path.to_string_lossy();
                let findings = logged(&path, &mut Vec::new()).unwrap();
                if expected.is_empty() {
                    assert!(findings.iter().all(|f| f.severity <= Severity::Info), "{path}: {findings:?}");
                } else if !findings.is_empty() && (end != "east" || answer["cause_visible_in"] == "east") {
                    let found = |f: &Finding| {
                        f.severity >= Severity::Warning && f.causes.first().is_some_and(|c| c.code() == expected)
                    };
                    assert!(findings.iter().any(found), "{path}: {findings:?}");
                }
            }
        }
    }
}

#[test]
fn logs_and_listings_are_brought_together() {
    let file = |name: &str, text: &str| {
        let path = std::env::temp_dir().join(format!("shrike-diagnose-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let row = "10.9.0.1.500 10.9.0.2.500 61d12e5b65e53c95:0000000000000000  3 I 10 M                          0 \n";
    let listing = file("listing", &format!("{HEADER}{row}"));
    let log = file(
        "log",
        "2026-11-24 00:52:03: INFO: respond new phase 1 negotiation: 10.9.0.2[500]<=>10.9.0.1[500]\n\
         2026-11-24 00:52:03: ERROR: no suitable proposal found.\n",
    );
    let how = Diagnose { listing: vec![listing.clone()], log: vec![log.clone()], json: true, ..Diagnose::default() };
    let printed = std::cell::RefCell::new(String::new());
    assert_eq!(findings(&how, None, |text| printed.borrow_mut().push_str(text)), Ok(Severity::Error));
    let document: serde_json::Value = serde_json::from_str(&printed.borrow()).unwrap();
    let found = document["findings"].as_array().unwrap();
    assert_eq!((found.len(), found[0]["causes"][0].as_str()), (1, Some("P1_PROPOSAL")), "{document:#}");
    assert!(found[0]["causes"].as_array().unwrap().iter().any(|cause| cause == "NO_RESPONSE"));
    let binary = file("binary", "\0\0\0");
    assert!(logged(&binary, &mut Vec::new()).unwrap_err().contains("no log"));
    let other = file("other", "dear diary\n");
    let mut notes = Vec::new();
    assert_eq!(logged(&other, &mut notes), Ok(vec![]));
    assert!(notes[0].contains("no line in it says anything"), "{notes:?}");
    for path in [listing, log, binary, other] {
        std::fs::remove_file(path).unwrap();
    }
}

/// Listings of other programs, published or recorded: what is established gives no finding above information.
#[test]
fn listings_of_others() {
    let (Some(show), Some(peers)) = (laboratory("show"), laboratory("peers")) else { return };
    let worst = |path: String| {
        let found = listings(&path, &mut Vec::new()).unwrap_or_else(|error| panic!("{error}"));
        assert!(found.iter().all(|f| !f.evidence.is_empty() && !f.peer.is_empty() && f.remedy.len() == f.causes.len()));
        found.into_iter().map(|f| (f.severity, f.causes.first().map(|c| c.code()))).max()
    };
    for name in [
        "bigip/racoonctl-ll-show-sa-isakmp.txt",
        "bigip/tmsh-ike-sa-empty.txt",
        "cisco-genie/asa.ShowCryptoIkev2Sa.golden_output1_output.txt",
        "cisco-genie/asa.ShowCryptoIkev2Sa.golden_output2_output.txt",
        "cisco-genie/ios.ShowCryptoSession.golden_output1_output.txt",
        "cisco-genie/iosxe.ShowCryptoIkev2Sa.golden_output1_output.txt",
        "cisco-genie/iosxe.ShowCryptoIkev2Sa.golden_output2_output.txt",
        "cisco-genie/iosxe.ShowCryptoIkev2SaDetail.golden_output4_output.txt",
        "cisco-genie/iosxe.ShowCryptoIsakmpSaDetail.golden_output_isakmp_no_ipv6_output.txt",
        "ntc-templates/cisco_asa_show_crypto_ikev1_sa_detail.raw",
        "racoonctl/l-vagrant-1.txt",
        "strongswan-docs/swanctlListSas.adoc",
    ] {
        let found = worst(format!("{show}/{name}"));
        assert!(found.is_none_or(|found| found.0 <= Severity::Info), "{name}: {found:?}");
    }
    for name in [
        "charon-v1/connecting-initiator.txt",
        "charon-v2/connecting-responder.txt",
        "charon-v2/after-rekey-initiator.txt",
        "charon-v2/after-terminate.txt",
        "charon-badproposal/initiator.txt",
        "pluto-v2/connecting.txt",
        "pluto-v2/established.txt",
        "pluto-v2/before.txt",
        "iked/established.txt",
        "iked/swanctl.txt",
    ] {
        let found = worst(format!("{peers}/{name}"));
        assert!(found.is_none_or(|found| found.0 <= Severity::Info), "{name}: {found:?}");
    }
    for (path, cause) in [
        (format!("{peers}/charon-badpsk/initiator.txt"), "PSK_MISMATCH"),
        (format!("{peers}/charon-badpsk/responder.txt"), "PSK_MISMATCH"),
        (format!("{show}/libreswan-wiki/Read-status-output.md"), "NO_RESPONSE"),
        (format!("{show}/cisco-genie/iosxe.ShowCryptoIsakmpSa.golden_output_isakmp_output.txt"), "NO_RESPONSE"),
    ] {
        assert_eq!(worst(path.clone()), Some((Severity::Warning, Some(cause))), "{path}");
    }
    assert_eq!(worst(format!("{show}/bigip/tmsh-ipsec-sa-all-properties.txt")), Some((Severity::Ok, None)));
    let error = listings(&format!("{show}/../README.md"), &mut Vec::new()).unwrap_err();
    assert!(error.contains("tmsh show net ipsec ike-sa"), "{error}");
}

/// Keys beside a listing, and in its damaged rows, are not shown.
#[test]
fn keys_in_listings_do_not_come_out() {
    let path = std::env::temp_dir().join(format!("shrike-diagnose-keys-{}", std::process::id()));
    let dump = "\tE: aes-cbc  d56bba6c 3e061e8f d36c7c57 c126e0e7\n@a @b : PSK \"correct horse\"\n";
    let row = "61d12e5b65e53c95:0000000000000000 password=battery\n";
    std::fs::write(
        &path,
        format!("{HEADER}10.9.0.2.500 {row}{dump}{HEADER}10.9.0.2.500 61d12e5b65e53c95:0000000000000000  3 I 10 M 0\n"),
    )
    .unwrap();
    let path = path.to_string_lossy().into_owned();
    let how = Diagnose { listing: vec![path.clone()], verbose: true, ..Diagnose::default() };
    let printed = std::cell::RefCell::new(String::new());
    findings(&how, None, |text| printed.borrow_mut().push_str(text)).unwrap();
    std::fs::remove_file(path).unwrap();
    let printed = printed.into_inner();
    assert!(printed.contains("a table was left out") && printed.contains("NO_RESPONSE"), "{printed}");
    assert!(["3e061e8f", "horse", "battery"].iter().all(|secret| !printed.contains(secret)), "{printed}");
}

fn codes(findings: &[Finding]) -> Vec<(Severity, Vec<&'static str>)> {
    findings.iter().map(|f| (f.severity, f.causes.iter().map(|c| c.code()).collect())).collect()
}

/// What is up and carries packets in one direction only.
#[test]
fn a_tunnel_that_nothing_comes_back_through_is_missed() {
    let mut sim = Sim::new(3);
    let (here, there) = (sim.add(a(&[])), sim.add(b(&[])));
    sim.initiate(here, there);
    sim.run_for(100 * SECOND);
    let mut live = score::over_vici(&sim, here);
    assert_eq!(codes(&diag::live(&live)), [(Severity::Ok, vec![])]);
    let counters = &mut live.sas[0].children[0].counters;
    (counters.packets_out, counters.bytes_out) = (100, 8400);
    assert_eq!(codes(&diag::live(&live))[1], (Severity::Warning, vec!["NATT", "TRAFFIC_SELECTOR"]));
    live.sas[0].children[0].counters.packets_in = 1;
    assert_eq!(diag::live(&live).len(), 1);
}

/// SAs that go one after the other, each from another address: two sites with one identity.
#[test]
fn two_sites_with_one_identity_are_told() {
    let mut sim = Sim::new(3);
    let (here, there) = (sim.add(a(&[])), sim.add(b(&[])));
    for _ in 0..4 {
        sim.initiate(here, there);
        sim.run_for(20 * SECOND);
        sim.terminate(there, &proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() });
        sim.run_for(10 * SECOND);
    }
    let mut live = score::over_vici(&sim, here);
    let found = diag::live(&live);
    assert_eq!((found[0].severity, found[0].causes.first()), (Severity::Error, Some(&Cause::PeerDelete)), "{found:?}");
    assert!(!as_text(&found, &[], false).contains("one identity"));
    for tombstone in live.ended.iter_mut().step_by(2) {
        tombstone.sa.remote.set_ip([192, 0, 2, 3].into());
    }
    let text = as_text(&diag::live(&live), &[], false);
    assert!(text.contains("established again and again") && text.contains("with one identity"), "{text}");
}

/// While a negotiation of IKEv1 is under way the peer's unprotected word, or a proof that cannot be read, is the best that is
/// known: it comes first, and "no response" is no cause where something came.
#[test]
fn what_is_not_believed_is_told_while_it_is_negotiated() {
    let after = |here: Site, there: Site, at_responder: bool| {
        let mut sim = Sim::new(3);
        let (here, there) = (sim.add(here), sim.add(there));
        sim.initiate(here, there);
        sim.run_for(15 * SECOND);
        let node = if at_responder { there } else { here };
        let found = diag::live(&score::over_vici(&sim, node));
        (codes(&found).remove(0), as_text(&found, &[], true))
    };
    let ((severity, causes), text) = after(a(&V1), b(&["version = 1", "proposals = aes256-sha512-x25519"]), false);
    assert!(severity >= Severity::Warning && causes[0] == "P1_PROPOSAL", "{causes:?}");
    assert!(!causes.contains(&"NO_RESPONSE") && text.contains("reports NO_PROPOSAL_CHOSEN, unprotected"), "{text}");
    let secrets = || (a(&V1), b(&V1).secret(Some("other")));
    let ((severity, causes), text) = after(secrets().0, secrets().1, true);
    assert!(severity >= Severity::Warning && causes[0] == "PSK_MISMATCH", "{causes:?}");
    assert!(text.contains("cannot be decrypted"), "{text}");
    let ((_, causes), _) = after(secrets().0, secrets().1, false);
    assert!(causes[0] == "PSK_MISMATCH" && !causes.contains(&"NO_RESPONSE"), "{causes:?}");
}

/// One of many peers of a connection is up, and another one is refused: that is not lost.
#[test]
fn a_refused_peer_beside_one_that_is_up_is_told() {
    let mut sim = Sim::new(3);
    let hub = Site::new("b", "192.0.2.2").to("192.0.2.0/24").connection("version = 1").connection("unique = keep");
    let hub = sim.add(hub.child("remote_ts = 192.0.2.1, 192.0.2.3"));
    let first = sim.add(a(&["version = 1"]));
    let second = Site::new("c", "192.0.2.3").to("192.0.2.2").local_id(Some("a.example")).connection("version = 1");
    let second = sim.add(second.connection("unique = never"));
    sim.initiate(first, hub);
    sim.run_for(5 * SECOND);
    assert_eq!(diag::live(&score::over_vici(&sim, hub)).len(), 1);
    for _ in 0..2 {
        sim.initiate(second, hub);
        sim.run_for(5 * SECOND);
    }
    let found = diag::live(&score::over_vici(&sim, hub));
    let refused = found.iter().find(|f| f.peer == "192.0.2.2 -> 192.0.2.3").expect("a finding of its own");
    // What strangers fail with is remembered once for each address and reason.
    assert_eq!((refused.severity, refused.attempts), (Severity::Error, 1));
    assert!(
        refused.why.contains("unique = keep") && refused.evidence[0].contains("up with another peer"),
        "{refused:?}"
    );
    assert!(found.iter().any(|f| f.peer == "192.0.2.2 -> 192.0.2.1" && f.severity <= Severity::Info));
}

/// Who is to begin decides how much it matters that nobody has.
#[test]
fn a_trap_waits_and_what_should_have_begun_is_missed() {
    let with = |starts, trapped, seconds| {
        let child = model::LiveChild { name: "net".into(), starts, trapped, ..model::LiveChild::default() };
        let connection = model::LiveConnection {
            name: "gw".into(),
            remote_addrs: vec!["192.0.2.2".into()],
            children: vec![child],
            ..model::LiveConnection::default()
        };
        let running = Some(seconds * SECOND);
        let live = model::Live { connections: vec![connection], remembers: true, running, ..model::Live::default() };
        codes(&diag::live(&live))
    };
    let (info, warning) = ((Severity::Info, vec!["NOT_STARTED"]), (Severity::Warning, vec!["NOT_STARTED"]));
    assert_eq!(with(Some(false), true, 9999), std::slice::from_ref(&info));
    assert_eq!(with(Some(false), false, 10), [info]);
    assert_eq!(with(Some(false), false, 9999), std::slice::from_ref(&warning));
    assert_eq!(with(Some(true), false, 10), [warning]);
}

/// All that is allowed by default is a long list: a finding has its beginning.
#[test]
fn a_finding_is_short() {
    let mut sim = Sim::new(3);
    let here = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
    let there = sim.add(b(&["proposals = aes128ctr-sha256-x25519"]));
    sim.initiate(here, there);
    sim.run_for(5 * SECOND);
    let found = diag::live(&score::over_vici(&sim, here));
    assert_eq!(found[0].causes.first().map(|cause| cause.code()), Some("P1_PROPOSAL"));
    assert!(found[0].why.chars().count() < 330 && found[0].why.ends_with(" ..."), "{}", found[0].why);
    // What differs is told whole, also where it is everything.
    let mut sim = Sim::new(3);
    let only = |line: &str| Site::new("a", "192.0.2.1").to("192.0.2.2").connection(line);
    let here = sim.add(only("proposals = aes128-sha256-x25519"));
    let there = sim.add(b(&["proposals = aes256-sha384-ecp384"]));
    sim.initiate(here, there);
    sim.run_for(5 * SECOND);
    let found = diag::live(&score::over_vici(&sim, there));
    assert!(found[0].why.contains("ours ECP_384, theirs CURVE_25519"), "{}", found[0].why);
}

/// A daemon without memory: its counters say how far it got (IKEv2).
#[test]
fn counters_tell_how_far_attempts_got() {
    let connection = model::LiveConnection {
        name: "gw".into(),
        remote_addrs: vec!["192.0.2.2".into()],
        ..model::LiveConnection::default()
    };
    let with = |counted: &[(&str, u64)]| {
        let counters = counted.iter().map(|(name, n)| (name.to_string(), *n)).collect();
        diag::live(&model::Live {
            connections: vec![connection.clone()],
            counters: [("gw".to_string(), counters)].into(),
            ..model::Live::default()
        })
    };
    let first = |counted: &[(&str, u64)]| {
        let found = with(counted);
        (found[0].severity, found[0].causes.first().map(|cause| cause.code()))
    };
    let (sent, answered) = ("ike-init-out-req", "ike-init-in-resp");
    assert_eq!(first(&[]), (Severity::Info, Some("NOT_STARTED")));
    assert_eq!(first(&[(sent, 1)]), (Severity::Error, Some("NO_RESPONSE")));
    assert_eq!(first(&[(sent, 2), (answered, 2)]), (Severity::Error, Some("P1_PROPOSAL")));
    let (proof, judged) = ("ike-auth-out-req", "ike-auth-in-resp");
    assert_eq!(first(&[(sent, 1), (answered, 1), (proof, 6)]), (Severity::Error, Some("NATT")));
    assert_eq!(first(&[(sent, 1), (answered, 1), (proof, 1), (judged, 1)]), (Severity::Error, Some("PSK_MISMATCH")));
    assert_eq!(with(&[(sent, 6)])[0].peer, "192.0.2.2");
}

/// What protects little is told of SAs that are up, of what they agreed upon, as a client of any daemon sees it.
#[test]
fn what_is_up_and_protects_little_is_told() {
    let told = |lines: &[&str], child: &str| {
        let mut sim = sim::Sim::new(4);
        let site = |own: &str, address, peer| {
            let site = lines.iter().fold(sim::Site::new(own, address).to(peer), |site, line| site.connection(line));
            site.child(child)
        };
        let (a, b) = (sim.add(site("a", "192.0.2.1", "192.0.2.2")), sim.add(site("b", "192.0.2.2", "192.0.2.1")));
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert!(sim.carries(a, b), "{:?}", sim.tombstones(a));
        let found = diag::live(&score::over_vici(&sim, a));
        let weak = found.into_iter().filter(|f| f.id == "weak" || f.severity > Severity::Info);
        weak.map(|f| (f.id, f.causes[0].code(), f.severity)).collect::<Vec<_>>()
    };
    let (good, warning) = ("proposals = aes128-sha256-x25519", Severity::Warning);
    assert_eq!(told(&[good], ""), []);
    assert_eq!(
        told(&["proposals = 3des-sha256-modp1024"], ""),
        [("weak", "ENC_ALG", warning), ("weak", "DH_GROUP", warning)]
    );
    assert_eq!(told(&[good], "esp_proposals = aes128-md5"), [("weak", "AUTH_ALG", warning)]);
    let aggressive = ["version = 1", "aggressive = yes", "proposals = aes128-sha256-modp2048"];
    assert_eq!(told(&aggressive, ""), [("weak", "NEGOTIATION_MODE", Severity::Info)]);
}

/// What the operating system says of a request that nobody answers is the reason, while it is tried and afterwards; of another
/// peer, of another time, and of what is refused it says nothing.
#[test]
fn what_sending_says_is_told_of_the_peer_that_does_not_answer() {
    let mut sim = sim::Sim::new(4);
    let a = sim.add(sim::Site::new("a", "192.0.2.1").to("192.0.2.2"));
    let b = sim.add(sim::Site::new("b", "192.0.2.2").to("192.0.2.1"));
    sim.blocks.push(sim::Block { to: Some(sim.address(b)), ..sim::Block::default() });
    sim.initiate(a, b);
    let told = |sim: &sim::Sim, to: &str, last| {
        let error = model::SendError {
            to: to.parse().unwrap(),
            trouble: model::SendTrouble::NotPermitted,
            count: 3,
            last: last * SECOND,
            reporter: None,
        };
        let live = model::Live { send_errors: vec![error], ..score::over_vici(sim, a) };
        let found = diag::live(&live).remove(0);
        (found.severity, found.causes[0].code(), found.remedy[0].contains("packet filter"))
    };
    sim.run_for(SECOND);
    assert_eq!(told(&sim, "192.0.2.2:500", 0), (Severity::Warning, "NO_RESPONSE", true), "at once");
    assert_eq!(told(&sim, "192.0.2.3:500", 0), (Severity::Info, "NO_RESPONSE", false));
    assert_eq!(told(&sim, "192.0.2.2:500", 60), (Severity::Info, "NO_RESPONSE", false), "before it began");
    sim.run_for(300 * SECOND);
    assert!(sim.snapshots(a).is_empty());
    assert_eq!(told(&sim, "192.0.2.2:500", 150), (Severity::Error, "NO_RESPONSE", true), "it is given up");
}

#[test]
fn a_capture_that_is_empty_says_so() {
    let path = std::env::temp_dir().join(format!("shrike-empty-{}.pcap", std::process::id()));
    std::fs::write(&path, [0xd4, 0xc3]).unwrap();
    let result = read(path.to_str().unwrap(), Keys::default(), None);
    std::fs::remove_file(&path).unwrap();
    assert!(result.is_err_and(|error| error.contains("is empty")));
}

/// What nobody renewed is a warning, and a warning has something to do.
#[test]
fn what_ended_before_it_was_renewed_says_what_to_change() {
    let mut sim = Sim::new(3);
    let here = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2").connection("reauth_time = 2s"));
    let there = sim.add(b(&["childless = never"]));
    sim.initiate(here, there);
    sim.run_for(SECOND);
    // Without a Child SA it cannot begin anew: this peer makes no IKE SA without one.
    sim.terminate(here, &proto::Selection { child: Some("net".into()), ..proto::Selection::default() });
    sim.run_for(12 * SECOND);
    let found = diag::live(&score::over_vici(&sim, here));
    assert_eq!(found[0].causes.first().map(|cause| cause.code()), Some("LIFETIME"), "{found:?}");
    assert!(found[0].remedy[0].contains("reauth_time"), "{found:?}");
}
