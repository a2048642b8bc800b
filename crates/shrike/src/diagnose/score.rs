//! The score: faults made on purpose, and what each source of evidence alone, and all together, say about them.
//!
//! Two Shrikes in simulation, one thing wrong between them. A source is judged by what it can know: the expected cause
//! has to be the first where the source contains the evidence for it, and among the causes where others look the same
//! from there. `cargo xtask diag-score` prints the table.

use super::*;
use capture::Datagram;
use model::{Live, SaSnapshot};
use sim::{Block, Happened, Nat, NodeId, Sim, Site};
use std::net::IpAddr;
use std::time::Duration;
use vici::schema;

const SECOND: Duration = Duration::from_secs(1);
/// How long each fault is watched, how often the initiator tries, and how often somebody lists.
const WATCHED: u32 = 600;
const EVERY: u32 = 10;
const RETRY: u32 = 30;

/// The sources, in the order of the marks of a [`Fault`].
const SOURCES: [&str; 11] = [
    "live a",
    "live b",
    "listing a",
    "listing b",
    "log a",
    "log b",
    "capture a",
    "capture b",
    "keys a",
    "keys b",
    "all",
];

/// What a source must say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    /// The right cause, first.
    First,
    /// The right cause, perhaps behind others.
    InSet,
    /// Nothing: it has no evidence.
    Nothing,
}

fn musts(marks: &str) -> Vec<Must> {
    let must = |mark| match mark {
        'F' => Must::First,
        'S' => Must::InSet,
        _ => Must::Nothing,
    };
    marks.chars().map(must).collect()
}

type Act = fn(&mut Sim, NodeId, NodeId);

/// One thing that is wrong.
struct Fault {
    name: String,
    /// The right cause; a second one where the catalogue has a finer name for the same.
    causes: &'static [&'static str],
    marks: &'static str,
    /// The same for the captures of both ends with the keys of that end; without it, what the captures must say alone.
    keyed: Option<&'static str>,
    a: Site,
    b: Option<Site>,
    /// Done before anything begins, and in every round after.
    before: Act,
    during: fn(&mut Sim, NodeId, NodeId, u32),
    /// Whether `a` is told to begin, again and again.
    begins: bool,
}

/// What a run left behind.
struct Evidence {
    findings: Vec<(usize, Vec<Finding>)>,
}

fn clock(at: model::Instant) -> String {
    let seconds = at.as_nanos() / 1_000_000_000;
    format!("2026-11-24 {:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// What a client gets of it over vici.
pub(super) fn over_vici(sim: &Sim, node: NodeId) -> Live {
    let connections = sim
        .endpoint(node)
        .connections()
        .flat_map(|connection| schema::live_connections(&schema::list_conn(&crate::daemon::describe(connection))));
    let sas = sim.snapshots(node);
    let ended = sim.tombstones(node);
    let strays = sim.endpoint(node).strays(sim.now());
    Live {
        connections: connections.collect(),
        sas: sas.iter().map(|sa| schema::snapshot(&schema::list_sa(sa)).unwrap()).collect(),
        ended: ended.iter().map(|t| schema::tombstone_from(&schema::tombstone(t)).unwrap()).collect(),
        remembers: true,
        running: Some(WATCHED * SECOND),
        strays: strays.iter().map(|s| schema::stray_from(&schema::stray(s)).unwrap()).collect(),
        ..Live::default()
    }
}

fn listed(sas: &[SaSnapshot]) -> String {
    if sas.iter().all(|sa| sa.version == 1) {
        let created = |_| "2026-11-24 00:52:46".to_string();
        let dialect = show::racoonctl::Dialect::Racoon07;
        let options = show::racoonctl::Options { level: 2, dialect, strict: false, created: &created };
        show::racoonctl::render(sas, &options)
    } else {
        show::swanctl::render(sas)
    }
}

fn run(fault: &Fault) -> Evidence {
    let mut sim = Sim::new(7);
    let a = sim.add(fault.a.clone());
    let b = sim.add(fault.b.clone().unwrap_or_else(|| Site::new("b", B).to(A)));
    if fault.b.is_none() {
        sim.crash(b);
    }
    (fault.before)(&mut sim, a, b);
    let mut series = [String::new(), String::new()];
    for round in 0..WATCHED / EVERY {
        let idle = sim.snapshots(a).is_empty();
        if fault.begins && idle && round % (RETRY / EVERY) == 0 {
            let _ = sim.try_initiate(a, b);
        }
        sim.run_for(EVERY * SECOND);
        (fault.during)(&mut sim, a, b, round);
        for (node, series) in [a, b].into_iter().zip(&mut series) {
            let milliseconds = sim.now().as_nanos() / 1_000_000;
            let _ = writeln!(series, "# t={milliseconds} ms\n{}", listed(&sim.snapshots(node)));
        }
    }
    let mut findings = Vec::new();
    for (n, node) in [a, b].into_iter().enumerate() {
        findings.push((n, diag::live(&over_vici(&sim, node))));
    }
    for (n, text) in series.iter().enumerate() {
        let read = show::listing::read(text);
        findings.push((2 + n, read.series.values().flat_map(|series| diag::listed(series)).collect()));
    }
    for (n, node) in [a, b].into_iter().enumerate() {
        let mut log = Log::default();
        for (at, event) in sim.events(node) {
            let (group, level, text) = event.log();
            if level <= 1 {
                // As the daemon writes it.
                let whom = event.sa().map(|(sa, name)| format!("<{name}|{}> ", sa.0)).unwrap_or_default();
                log.feed(format!("{} [{group}] {whom}{text}\n", clock(at)).as_bytes());
            }
        }
        findings.push((4 + n, log.finish().findings));
    }
    for (n, node) in [a, b, a, b].into_iter().enumerate() {
        let table = if n < 2 { String::new() } else { sim.decryption_tables(node) };
        let mut tracker = Tracker::with_keys(Keys::parse(table.as_bytes()));
        for entry in sim.happened(node) {
            let (Happened::Sent(datagram) | Happened::Received(datagram)) = &entry.what else { continue };
            if !datagram.keepalive {
                let (source, destination) = (datagram.from, datagram.to);
                let content = Content::Ike(&datagram.bytes);
                tracker.take(entry.at.as_nanos(), &Datagram { source, destination, content });
            }
        }
        findings.push((6 + n, diag::observed(&tracker.finish().sas)));
    }
    let sourced =
        |(n, findings): &(usize, Vec<Finding>)| Sourced { source: SOURCES[*n].to_string(), findings: findings.clone() };
    let all = diag::merged(findings.iter().map(sourced).collect());
    findings.push((SOURCES.len() - 1, all));
    Evidence { findings }
}

/// The causes of the worst finding above information; what lies below is no accusation.
fn accused(findings: &[Finding]) -> Vec<&'static str> {
    let above = findings.iter().filter(|f| f.severity > Severity::Info);
    let worst = above.rev().max_by_key(|f| f.severity);
    worst.map_or_else(Vec::new, |f| f.causes.iter().map(|cause| cause.code()).collect())
}

/// All causes of anything above information.
fn named(findings: &[Finding]) -> Vec<&'static str> {
    let above = findings.iter().filter(|f| f.severity > Severity::Info);
    above.flat_map(|f| f.causes.iter().map(|cause| cause.code())).collect()
}

fn short(finding: &Finding) -> String {
    let codes: Vec<&str> = finding.causes.iter().map(|cause| cause.code()).collect();
    format!("{} {} {}: {} [{}]", finding.peer, finding.id, codes.join(" "), finding.why, finding.evidence.join("; "))
}

#[derive(Default, Clone, Copy)]
struct Tally {
    first: u32,
    in_set: u32,
    wrong: u32,
    silent: u32,
    /// How often it had to be first, and was.
    due: u32,
    kept: u32,
    /// How often it had to be named at all.
    known: u32,
}

#[test]
fn every_fault_ends_in_its_cause() {
    let faults = faults();
    assert!(faults.len() >= 60, "{} faults", faults.len());
    let known = |name: &&&str| faults.iter().any(|fault| fault.name == **name);
    assert_eq!(OPENED.iter().filter(known).count(), OPENED.len(), "a fault has another name");
    let mut tallies = [Tally::default(); SOURCES.len()];
    let mut table = format!("{:<44} {:<22} {}\n", "fault", "cause", SOURCES.map(|s| format!("{s:<10}")).join(""));
    let mut complaints = String::new();
    let mut second = 0;
    for fault in &faults {
        let (alone, all) = fault.marks.split_at(fault.marks.len() - 1);
        let keyed = fault.keyed.unwrap_or(&alone[alone.len() - 2..]);
        let musts = musts(&format!("{alone}{keyed}{all}"));
        assert_eq!(musts.len(), SOURCES.len(), "{}", fault.name);
        let evidence = run(fault);
        let _ = write!(table, "{:<44} {:<22} ", fault.name, fault.causes[0]);
        for (source, findings) in &evidence.findings {
            let (mut causes, tally) = (accused(findings), &mut tallies[*source]);
            // An end that nothing reaches says so.
            if musts[*source] == Must::Nothing && causes == ["NOT_STARTED"] {
                causes.clear();
            }
            let right = |code: &&str| fault.causes.contains(code);
            let first = causes.first().is_some_and(right);
            let in_set = named(findings).iter().any(right);
            let word = match (causes.is_empty(), first, in_set) {
                (true, ..) => "silent",
                (_, true, _) => "first",
                (_, _, true) => "in set",
                _ => "WRONG",
            };
            match word {
                "silent" => tally.silent += 1,
                "first" => tally.first += 1,
                "in set" => tally.in_set += 1,
                _ => tally.wrong += 1,
            }
            let must = musts[*source];
            tally.known += u32::from(must != Must::Nothing);
            tally.due += u32::from(must == Must::First);
            tally.kept += u32::from(must == Must::First && first);
            let broken = match must {
                Must::First | Must::InSet => !in_set,
                Must::Nothing => word == "WRONG",
            };
            second += u32::from(must == Must::First && in_set && !first);
            if broken {
                let said: Vec<String> = findings.iter().filter(|f| f.severity > Severity::Info).map(short).collect();
                let _ = writeln!(complaints, "{}: {}: {word}: {said:#?}", fault.name, SOURCES[*source]);
            }
            let mark = if broken { "!" } else { "" };
            let _ = write!(table, "{:<10}", format!("{word}{mark}"));
        }
        table.push('\n');
    }
    let _ = writeln!(
        table,
        "\n{:<12} {:>6} {:>7} {:>6} {:>7} {:>16} {:>10}",
        "source", "first", "in set", "wrong", "silent", "first, where due", "must know"
    );
    for (name, t) in SOURCES.iter().zip(&tallies) {
        let share = format!("{}/{}", t.kept, t.due);
        let _ = writeln!(
            table,
            "{name:<12} {:>6} {:>7} {:>6} {:>7} {share:>16} {:>10}",
            t.first, t.in_set, t.wrong, t.silent, t.known
        );
    }
    println!("{table}");
    assert!(complaints.is_empty(), "{complaints}");
    let due: u32 = tallies.iter().map(|tally| tally.due).sum();
    println!("{} faults; first where the evidence is there: {} of {due}", faults.len(), due - second);
    assert!(second * 20 <= due, "the right cause is not the first in {second} of {due} verdicts:\n{table}");
}

#[test]
fn what_is_in_order_gives_no_finding() {
    let mut complaints = String::new();
    let runs = healthy();
    for fault in &runs {
        for (source, findings) in &run(fault).findings {
            let loud: Vec<&Finding> = findings.iter().filter(|f| f.severity > Severity::Info).collect();
            if !loud.is_empty() {
                let _ = writeln!(complaints, "{}: {}: {loud:#?}", fault.name, SOURCES[*source]);
            }
            assert!(!findings.is_empty() || !fault.begins, "{}: {} sees nothing", fault.name, SOURCES[*source]);
        }
    }
    println!(
        "{} runs in order, {} sources each: {} false findings",
        runs.len(),
        SOURCES.len(),
        complaints.matches("Finding {").count()
    );
    assert!(complaints.is_empty(), "{complaints}");
}

// ------------------------------------------------------------------------------------------------------------- faults

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

/// The three ways to begin: IKEv2, main mode, aggressive mode.
const WAYS: [(&str, &[&str]); 3] = [
    ("v2", &["proposals = aes128-sha256-x25519"]),
    ("main", &["version = 1", "proposals = aes128-sha256-x25519"]),
    ("aggressive", &["version = 1", "proposals = aes128-sha256-x25519", "aggressive = yes"]),
];

fn site(name: &str, address: &str, peer: &str, lines: &[&str]) -> Site {
    lines.iter().fold(Site::new(name, address).to(peer), |site, line| site.connection(line))
}

fn here(lines: &[&str]) -> Site {
    site("a", A, B, lines)
}

fn there(lines: &[&str]) -> Site {
    site("b", B, A, lines)
}

fn block(from: Option<&str>, to: Option<&str>, port: Option<u16>) -> Block {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Block { from: from.map(address), to: to.map(address), port }
}

fn fault(name: impl Into<String>, causes: &'static [&'static str], marks: &'static str, a: Site, b: Site) -> Fault {
    Fault {
        name: name.into(),
        causes,
        marks,
        keyed: None,
        a,
        b: Some(b),
        before: |_, _, _| {},
        during: |_, _, _, _| {},
        begins: true,
    }
}

const NO_RESPONSE: &[&str] = &["NO_RESPONSE"];
const PSK: &[&str] = &["PSK_MISMATCH"];
const PEER_ID: &[&str] = &["PEER_ID"];
const PROPOSAL: &[&str] = &["P1_PROPOSAL", "ENC_ALG", "AUTH_ALG"];
/// What a peer answers does not tell a group from another algorithm.
const GROUP: &[&str] = &["DH_GROUP", "P1_PROPOSAL"];
const CHILD: &[&str] = &["CHILD_FAILED_IKE_KEPT", "ENC_ALG"];
const SELECTOR: &[&str] = &["TRAFFIC_SELECTOR"];
const PFS: &[&str] = &["PFS"];
const AUTH: &[&str] = &["AUTH_FAILED"];

fn faults() -> Vec<Fault> {
    let mut all = Vec::new();
    for (way, lines) in WAYS {
        let (v2, aggressive) = (way == "v2", way == "aggressive");
        let (a, b) = (|| here(lines), || there(lines));
        let name = |what: &str| format!("{what}, {way}");
        all.push(Fault { b: None, ..fault(name("nobody there"), NO_RESPONSE, "F-F-F-F-F", a(), b()) });
        all.push(Fault {
            before: |sim, _, _| sim.blocks.push(block(Some(A), Some(B), None)),
            ..fault(name("way there blocked"), NO_RESPONSE, "F-F-F-F-F", a(), b())
        });
        all.push(Fault {
            before: |sim, _, _| sim.blocks.push(block(Some(B), Some(A), None)),
            ..fault(name("way back blocked"), NO_RESPONSE, "FFFSFSFFF", a(), b())
        });
        let marks = if v2 {
            "SF--SFSSF"
        } else if aggressive {
            "FF-SFSSSF"
        } else {
            "SSSSSSSSF"
        };
        all.push(fault(name("other secret"), PSK, marks, a(), b().secret(Some("other"))));
        let marks = if v2 { "SF--SFSSF" } else { "SFS-SFSSF" };
        all.push(fault(name("no secret there"), PSK, marks, a(), b().secret(None)));
        // Who hears at once that it is refused has no SA left to list.
        let marks = if aggressive { "SFS-SFSSF" } else { "SF--SFSSF" };
        all.push(fault(name("they expect another identity"), PEER_ID, marks, a(), b().remote_id("other.example")));
        let marks = if v2 {
            marks
        } else if aggressive {
            "FS-SFSSSF"
        } else {
            "F---F---F"
        };
        all.push(fault(name("we expect another identity"), PEER_ID, marks, a().remote_id("other.example"), b()));
        let other = |line: &str| {
            let kept = lines.iter().filter(|line| !line.starts_with("proposals"));
            kept.fold(Site::new("b", B).to(A), |site, line| site.connection(line)).connection(line)
        };
        let marks = if v2 { "FF--FFFFF" } else { "SFS-SFFFF" };
        all.push(fault(name("other cipher"), PROPOSAL, marks, a(), other("proposals = aes256-sha256-x25519")));
        all.push(fault(name("other hash"), PROPOSAL, marks, a(), other("proposals = aes128-sha512-x25519")));
        all.push(fault(name("other group"), GROUP, marks, a(), other("proposals = aes128-sha256-ecp256")));
        let elsewhere = site("b", B, "192.0.2.77", lines);
        let marks = if v2 { "SF--SFSSF" } else { "SFS-SFSSF" };
        all.push(fault(name("no connection for us"), &["NO_CONFIG"], marks, a(), elsewhere));
        let marks = if v2 { "FF--FF--F" } else { "FF--FFSSF" };
        let esp = |site: Site, line: &str| site.child(line);
        all.push(fault(
            name("other ESP cipher"),
            CHILD,
            marks,
            esp(a(), "esp_proposals = aes128gcm16"),
            esp(b(), "esp_proposals = aes256-sha512"),
        ));
        all.push(fault(name("other networks"), SELECTOR, marks, a(), b().child("local_ts = 10.99.0.0/16")));
        // IKEv2 falls back to tunnel mode where one end does not ask for transport mode (RFC 7296 section 1.3.1).
        if !v2 {
            all.push(fault(
                name("transport against tunnel"),
                &["ENCAP_MODE"],
                "SF--SFSSF",
                a(),
                b().child("mode = transport"),
            ));
        }
        all.push(Fault {
            during: |sim, _, b, round| {
                if round == 3 {
                    sim.crash(b);
                }
            },
            ..fault(
                name("peer dies"),
                &["DPD_TIMEOUT", "NO_RESPONSE"],
                "F-S-F-F-F",
                a().connection("dpd_delay = 10s"),
                b(),
            )
        });
        all.push(Fault {
            during: |sim, _, b, _| {
                if sim.endpoint(b).sizes().0 > 0 {
                    let all = proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() };
                    sim.terminate(b, &all);
                }
            },
            ..fault(
                name("peer deletes each SA"),
                &["PEER_DELETE"],
                if v2 { "F-F-F---F" } else { "F---F---F" },
                a(),
                b(),
            )
        });
        all.push(Fault { begins: false, ..fault(name("both wait"), &["NOT_STARTED"], "FF------F", a(), b()) });
    }
    all.extend(of_one_way());
    all.extend(certificates());
    for fault in all.iter_mut().filter(|fault| OPENED.contains(&fault.name.as_str())) {
        fault.keyed = Some("FF");
    }
    all
}

/// What a capture shows of certainty only where a key opens it.
const OPENED: [&str; 20] = [
    "other secret, main",
    "they expect another identity, main",
    "other ESP cipher, v2",
    "other ESP cipher, main",
    "other ESP cipher, aggressive",
    "other networks, v2",
    "other networks, main",
    "other networks, aggressive",
    "peer deletes each SA, v2",
    "peer deletes each SA, main",
    "peer deletes each SA, aggressive",
    "PFS here only, v2",
    "PFS there only, v2",
    "another group for PFS, v2",
    "expired certificate there, v2",
    "certificate of a stranger there, v2",
    "we are not trusted there, v2",
    "other secret, v2",
    "other secret, aggressive",
    "no secret there, aggressive",
];

/// Faults that only some ways to begin have.
fn of_one_way() -> Vec<Fault> {
    let [(_, v2), (_, main), (_, aggressive)] = WAYS;
    let mut all = Vec::new();
    let version = |name: &str, a: &[&str], b: &[&str], marks| fault(name, &["IKE_VERSION"], marks, here(a), there(b));
    all.push(version("IKEv1 there, v2", &[v2, &["version = 2"]].concat(), main, "SF--SSSSF"));
    all.push(version("IKEv2 there, main", main, &[v2, &["version = 2"]].concat(), "SF--SSSSF"));
    let mode = |name: &str, a: &[&str], b: &[&str]| fault(name, &["NEGOTIATION_MODE"], "SFS-SFSSF", here(a), there(b));
    all.push(mode("aggressive mode there, main", main, aggressive));
    all.push(mode("main mode there, aggressive", aggressive, main));
    for (way, lines) in [WAYS[0], WAYS[1]] {
        let a = here(lines).behind(Nat::new("203.0.113.9".parse().unwrap()));
        let b = site("b", B, "203.0.113.9", lines);
        all.push(Fault {
            before: |sim, _, _| sim.blocks.push(block(None, None, Some(4500))),
            ..fault(format!("port 4500 blocked, {way}"), &["NATT"], "SSSSSSSSS", a, b)
        });
    }
    let esp = |lines: &[&str], esp: &str| (here(lines).child(esp), there(lines).child(esp));
    let (plain, group, other) = (
        "esp_proposals = aes128-sha256",
        "esp_proposals = aes128-sha256-x25519",
        "esp_proposals = aes128-sha256-ecp256",
    );
    for (name, way, ours, theirs) in [
        ("PFS here only, main", main, group, plain),
        ("PFS there only, main", main, plain, group),
        ("another group for PFS, main", main, group, other),
    ] {
        all.push(fault(name, PFS, "SF--SFSSF", esp(way, ours).0, esp(way, theirs).1));
    }
    for (name, ours, theirs) in [
        ("PFS here only, v2", group, plain),
        ("PFS there only, v2", plain, group),
        ("another group for PFS, v2", group, other),
    ] {
        let (a, b) = (esp(v2, ours).0.child("rekey_time = 60s"), esp(v2, theirs).1);
        all.push(fault(name, PFS, "FF--SF--F", a, b));
    }
    for (way, lines) in [WAYS[0], WAYS[1]] {
        all.push(Fault {
            during: |sim, _, b, _| sim.plane_mut(b).fail_next_install("no such algorithm"),
            before: |sim, _, b| sim.plane_mut(b).fail_next_install("no such algorithm"),
            ..fault(
                format!("the kernel refuses there, {way}"),
                &["CHILD_FAILED_IKE_KEPT"],
                "-F---F--F",
                here(lines),
                there(lines),
            )
        });
        all.push(Fault {
            during: |sim, _, _, round| {
                for host in 0..40 {
                    let from = std::net::SocketAddr::new(IpAddr::from([198, 51, 100, host]), 500);
                    let to = std::net::SocketAddr::new(B.parse().unwrap(), 500);
                    let first = sim.wire.iter().find(|(_, d)| d.to == to).map(|(_, d)| d.bytes.clone());
                    if let Some(mut bytes) = first.filter(|_| round > 2) {
                        bytes[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, round as u8, host]);
                        sim.inject(sim::Datagram { from, to, bytes, keepalive: false });
                    }
                }
            },
            ..fault(
                format!("flood of first messages, {way}"),
                &["HALF_OPEN"],
                "-F-F-F-FF",
                here(lines),
                site("b", B, "%any", lines),
            )
        });
    }
    all
}

/// Certificates of `fake-pki`, which are valid when a simulation begins.
fn certificates() -> Vec<Fault> {
    let moon = || {
        Site::new("moon", A)
            .to(B)
            .remote_id("sun.example")
            .auth("pubkey", "pubkey")
            .secret(None)
            .certificate("moon")
            .authority("root")
    };
    let sun = || Site::new("sun", B).to(A).remote_id("moon.example").auth("pubkey", "pubkey").secret(None);
    let good = || sun().certificate("sun").authority("root");
    let mut all = Vec::new();
    let mut add = |what: &str, causes, marks, a: Site, b: Site| all.push(fault(what, causes, marks, a, b));
    let old = || sun().certificate("old").authority("root");
    let stranger = || sun().certificate("eve").authority("root").authority("other");
    add("expired certificate there, v2", AUTH, "FS------F", moon(), old());
    add("certificate of a stranger there, v2", AUTH, "FS------F", moon(), stranger());
    add("we are not trusted there, v2", AUTH, "SF--SFSSF", moon(), sun().certificate("sun").authority("other"));
    add("another identity than certified, v2", PEER_ID, "SF--SFSSF", moon(), good().remote_id("venus.example"));
    let secret = || Site::new("moon", A).to(B).remote_id("sun.example");
    add("secret here, certificate there, v2", AUTH, "SF--SFSSF", secret(), good());
    // In IKEv1 the method is part of the proposal (RFC 2409 appendix A).
    let method = &["P1_PROPOSAL", "AUTH_FAILED"];
    add(
        "secret here, certificate there, main",
        method,
        "FFS-FFFFF",
        secret().connection("version = 1"),
        good().connection("version = 1"),
    );
    let eve = Site::new("sun", A).to(B).remote_id("pluto.example").auth("pubkey", "pubkey").secret(None);
    let pluto = Site::new("pluto", B).to(A).remote_id("sun.example").auth("pubkey", "pubkey").secret(None);
    let eve = eve.certificate("eve").authority("root").authority("other").connection("version = 1");
    let pluto = pluto.certificate("pluto").authority("root").connection("version = 1");
    add("certificate of a stranger here, main", AUTH, "SF--SFSSF", eve, pluto);
    all.push(Fault {
        before: |sim, _, _| {
            sim.set_hook(Some(Box::new(|_, datagram| {
                if datagram.bytes.len() > 800 { vec![] } else { vec![(Duration::ZERO, datagram.clone())] }
            })));
        },
        ..fault(
            "large messages are lost, v2",
            &["P1_TIMEOUT", "HALF_OPEN"],
            "S--------",
            moon().connection("fragmentation = no"),
            good().connection("fragmentation = no"),
        )
    });
    all
}

fn healthy() -> Vec<Fault> {
    let mut all = Vec::new();
    for (way, lines) in WAYS {
        let name = |what: &str| format!("{what}, {way}");
        let plain = |what: &str, more: &[&str], child: &[&str]| {
            let with = |site: Site| {
                let site = more.iter().fold(site, |site, line| site.connection(line));
                child.iter().fold(site, |site, line| site.child(line))
            };
            fault(name(what), &[], "---------", with(here(lines)), with(there(lines)))
        };
        all.push(plain("established", &[], &[]));
        all.push(plain("dead peer detection", &["dpd_delay = 10s"], &[]));
        all.push(plain("rekeying the IKE SA", &["rekey_time = 60s"], &[]));
        all.push(plain("rekeying the Child SA", &[], &["rekey_time = 60s"]));
        all.push(plain("authenticating anew", &["reauth_time = 100s"], &[]));
        all.push(Fault {
            during: |sim, _, b, round| {
                if round == 5 {
                    sim.restart(b);
                }
            },
            ..plain("the peer restarts", &["dpd_delay = 10s"], &["dpd_action = restart"])
        });
        all.push(Fault {
            during: |sim, a, _, round| {
                if round == 5 {
                    sim.restart(a);
                }
            },
            ..plain("we restart", &["dpd_delay = 10s"], &[])
        });
        all.push(Fault {
            before: |sim, _, _| sim.set_conditions(sim::Conditions::losing(100)),
            ..plain("one datagram in ten is lost", &["dpd_delay = 20s"], &["rekey_time = 100s"])
        });
        all.push(Fault { before: |sim, a, b| _ = sim.try_initiate(b, a), ..plain("begun by both", &[], &[]) });
        all.push(Fault {
            during: |sim, a, _, round| {
                if round == 20 {
                    let all = proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() };
                    sim.terminate(a, &all);
                }
            },
            ..plain("ended and begun again by the operator", &[], &[])
        });
        let nat = || Nat::new("203.0.113.9".parse().unwrap());
        let a = here(lines).behind(nat()).connection("dpd_delay = 30s");
        let a = a.child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
        let b = site("b", B, "%any", lines).child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
        all.push(Fault {
            during: |sim, a, _, round| {
                if round == 10
                    && let Some(nat) = sim.nat(a)
                {
                    nat.reboot();
                }
            },
            ..fault(name("behind a NAT that forgets"), &[], "---------", a, b)
        });
    }
    all
}
