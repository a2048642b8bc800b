//! The score over recordings of other daemons: racoon, charon, pluto and iked, healthy and broken on purpose, each source
//! alone and the sources of one end together. Folders are named for the answer; pluto's have it beside them.
//!
//! `cargo xtask diag-score` prints the table. The thresholds: the right cause among those named wherever the source has the
//! evidence, first in at least 95 of 100, and nothing above information about what is in order.

use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a recording shows, and what of it is wrong.
struct Answer {
    folder: &'static str,
    /// The right cause and its finer names; none where all is in order.
    causes: &'static [&'static str],
    /// Sources, by file, that show nothing of it.
    without: &'static [&'static str],
    /// Sources to which other causes look the same: the right one must be among those named.
    alike: &'static [&'static str],
}

const fn good(folder: &'static str) -> Answer {
    Answer { folder, causes: &[], without: &[], alike: &[] }
}

const fn bad(
    folder: &'static str,
    causes: &'static [&'static str],
    without: &'static [&'static str],
    alike: &'static [&'static str],
) -> Answer {
    Answer { folder, causes, without, alike }
}

/// Phase 1 is there, and a phase 2 under it that is being tried: a single listing shows no more, nor does the responder's.
const ONE_PHASE_2: &[&str] = &["initiator.txt", "responder.txt", "watch-b.txt"];
/// An initiator of racoon does not believe the refusal, for it is not protected, and so does not show it.
const UNBELIEVED: &[&str] = &["initiator.txt", "racoon-a.log", "watch-a.txt", "end a"];

const ANSWERS: [Answer; 22] = [
    good("racoonctl/aggressive"),
    bad("racoonctl/badp2", &["CHILD_FAILED_IKE_KEPT"], ONE_PHASE_2, &[]),
    bad("racoonctl/badproposal", &["P1_PROPOSAL"], &[], UNBELIEVED),
    bad("racoonctl/badpsk", &["PSK_MISMATCH"], &[], &[]),
    good("racoonctl/charon-initiates"),
    bad("racoonctl/flap", &["LIFETIME"], &[], &[]),
    good("racoonctl/ipv6"),
    good("racoonctl/lifetime"),
    good("racoonctl/main"),
    // One of its peers is not there.
    bad("racoonctl/many", &["NO_RESPONSE"], &[], &[]),
    good("racoonctl/natt"),
    bad("racoonctl/noanswer", &["NO_RESPONSE"], &[], &[]),
    good("racoonctl/none"),
    good("racoonctl/p1only"),
    good("racoonctl/rekey"),
    good("racoonctl/restart"),
    bad("peers/charon-badproposal", &["P1_PROPOSAL"], &[], &[]),
    bad("peers/charon-badpsk", &["PSK_MISMATCH"], &[], &[]),
    good("peers/charon-v1"),
    good("peers/charon-v2"),
    good("peers/iked"),
    good("peers/pluto-v2"),
];

/// Listings of other programs, as published, and captures of others' negotiations: file, and what is wrong in it.
const FILES: [(&str, &[&str]); 27] = [
    ("show/bigip/racoonctl-ll-show-sa-isakmp.txt", &[]),
    ("show/bigip/tmsh-ike-sa-empty.txt", &[]),
    ("show/bigip/tmsh-ipsec-sa-all-properties.txt", &[]),
    ("show/cisco-genie/asa.ShowCryptoIkev2Sa.golden_output1_output.txt", &[]),
    ("show/cisco-genie/asa.ShowCryptoIkev2Sa.golden_output2_output.txt", &[]),
    ("show/cisco-genie/ios.ShowCryptoSession.golden_output1_output.txt", &[]),
    ("show/cisco-genie/iosxe.ShowCryptoIkev2Sa.golden_output1_output.txt", &[]),
    ("show/cisco-genie/iosxe.ShowCryptoIkev2Sa.golden_output2_output.txt", &[]),
    ("show/cisco-genie/iosxe.ShowCryptoIkev2SaDetail.golden_output4_output.txt", &[]),
    ("show/cisco-genie/iosxe.ShowCryptoIsakmpSaDetail.golden_output_isakmp_no_ipv6_output.txt", &[]),
    ("show/cisco-genie/iosxe.ShowCryptoIsakmpSa.golden_output_isakmp_output.txt", &["NO_RESPONSE"]),
    ("show/ntc-templates/cisco_asa_show_crypto_ikev1_sa_detail.raw", &[]),
    ("show/racoonctl/l-vagrant-1.txt", &[]),
    ("show/strongswan-docs/swanctlListSas.adoc", &[]),
    ("show/libreswan-wiki/Read-status-output.md", &["NO_RESPONSE"]),
    ("pcap/wireshark/ikev1-certs.pcap", &[]),
    ("pcap/wireshark/ikev2-decrypt-aes256cbc.pcapng", &[]),
    ("pcap/wireshark/ikev2-decrypt-aes256gcm16.pcap", &[]),
    ("pcap/wireshark/ikev2-decrypt-3des-sha1_160.pcap", &[]),
    ("pcap/corelight/ipsec-ikev1-isakmp-main-mode.pcap", &[]),
    ("pcap/corelight/ipsec-ikev1-isakmp-aggressive-mode.pcap", &[]),
    ("pcap/arkime/IKEv1.pcap", &[]),
    ("pcap/ndpi/esp.pcapng", &[]),
    ("pcap/ndpi/ah.pcapng", &[]),
    ("pcap/tcpdump/isakmp4500.pcap", &["P2_TIMEOUT"]),
    ("pcap/scapy/ikev2_notify_redirect.pcap", &["P1_PROPOSAL"]),
    ("pcap/libreswan/02-isakmp-vid-first.pcap", &["NO_RESPONSE"]),
];

/// The laboratory's words for pluto's causes in ours.
fn of_pluto(cause: &str) -> &'static [&'static str] {
    match cause {
        "NO_RESPONSE" | "REDIRECT_TARGET_DOWN" => &["NO_RESPONSE"],
        "PSK_MISSING_LOCAL" | "PSK_MISSING_PEER" => &["PSK_MISMATCH"],
        "IKE_PROPOSAL_MISMATCH" => &["P1_PROPOSAL"],
        "TS_MISMATCH" => &["TRAFFIC_SELECTOR"],
        "MODE_MISMATCH" => &["ENCAP_MODE"],
        "PEER_ID_NOT_IN_CERT_SAN" => &["PEER_ID"],
        "ESP_PROPOSAL_MISMATCH" | "ADDRESS_POOL_EXHAUSTED" | "PEER_OMITTED_CHILD_PAYLOADS" => {
            &["CHILD_FAILED_IKE_KEPT"]
        }
        "LOCAL_PRIVATE_KEY_MISSING" | "PEER_CERT_EXPIRED" | "LOCAL_CERT_REVOKED" | "XAUTH_BACKEND_TIMEOUT" => {
            &["AUTH_FAILED"]
        }
        _ => &[],
    }
}

/// What kind of source a file is, by its name in the laboratory.
fn kind(name: &str) -> Option<&'static str> {
    let log = name.ends_with(".log")
        || name.starts_with("initiate-")
        || ["initiate.txt", "terminate.txt", "rekey.txt"].contains(&name);
    let other = ["events-", "other-", "racoon-", "delete-sa", "ping", "usage", "bad-proto", "no-daemon", "status"];
    match name {
        _ if name.ends_with(".conf") || name.ends_with(".json") => None,
        _ if log => Some("log"),
        "console.txt" | "west.console.txt" | "east.console.txt" | "road.console.txt" => Some("log"),
        "kernel.txt" => Some("kernel"),
        _ if name.starts_with("watch-") => Some("series"),
        _ if other.iter().any(|prefix| name.starts_with(prefix)) || name.starts_with("pluto-initiate") => None,
        _ if name.ends_with(".txt") => Some("listing"),
        _ => None,
    }
}

/// An empty listing has no SA to say anything of.
fn says(found: &Finding) -> bool {
    found.id != "not-started"
}

#[derive(Default)]
struct Score {
    table: String,
    complaints: String,
    tallies: BTreeMap<&'static str, [u32; 4]>,
    due: u32,
    second: u32,
    healthy: u32,
}

impl Score {
    /// `must` is whether the right cause has to be named, and whether first.
    fn row(&mut self, name: &str, source: &'static str, causes: &[&str], must: (bool, bool), findings: &[Finding]) {
        let (must, be_first) = must;
        let above = || findings.iter().filter(|found| found.severity > Severity::Info);
        let codes = |found: &Finding| found.causes.iter().map(|cause| cause.code()).collect::<Vec<_>>();
        let worst = above().rev().max_by_key(|found| found.severity).map(codes).unwrap_or_default();
        let right = |code: &&str| causes.contains(code);
        let in_set = above().flat_map(codes).any(|code| right(&code));
        let (word, broken) = match (causes.is_empty(), worst.first()) {
            (true, None) => ("in order", false),
            (true, Some(_)) => ("FALSE", true),
            (_, None) => ("silent", must),
            (_, Some(first)) if right(first) => ("first", false),
            _ if in_set => ("in set", false),
            _ => ("WRONG", true),
        };
        let tally = self.tallies.entry(source).or_default();
        match word {
            "in order" | "FALSE" => self.healthy += 1,
            "first" => tally[0] += 1,
            "in set" => tally[1] += 1,
            "silent" => tally[3] += 1,
            _ => tally[2] += 1,
        }
        if !causes.is_empty() && must && be_first {
            self.due += 1;
            self.second += u32::from(word == "in set");
        }
        let expected = causes.first().copied().unwrap_or("-");
        let mark = if broken { "!" } else { "" };
        let _ = writeln!(self.table, "{name:<66} {source:<8} {expected:<22} {word}{mark}");
        if broken {
            let _ = writeln!(self.complaints, "{name}: {source}: {word}: {findings:#?}");
        }
    }

    /// Each file of a folder alone, then those of each end together.
    fn folder(&mut self, folder: &Path, answer: &Answer) {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut together: BTreeMap<&str, Vec<Sourced>> = BTreeMap::new();
        for path in files {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(source) = kind(&file) else { continue };
            let text = path.to_string_lossy().into_owned();
            let mut notes = Vec::new();
            let read = if source == "log" { logged(&text, &mut notes) } else { listings(&text, &mut notes) };
            // What says nothing of an SA is no source.
            let Ok(findings) = read else { continue };
            let says = findings.iter().any(says);
            let without = answer.without.contains(&file.as_str());
            let must = (says && !without, !answer.alike.contains(&file.as_str()));
            self.row(&format!("{}/{file}", answer.folder), source, answer.causes, must, &findings);
            let end = if ["a.", "initia", "connecting-i", "west", "road"].iter().any(|mark| file.contains(mark)) {
                "a"
            } else {
                "b"
            };
            together.entry(end).or_default().push(Sourced { source: file, findings });
        }
        for (end, sources) in together.into_iter().filter(|(_, sources)| sources.len() > 1) {
            let findings = diag::merged(sources);
            let says = findings.iter().any(says);
            let must = (says, !answer.alike.contains(&format!("end {end}").as_str()));
            self.row(&format!("{}, end {end}", answer.folder), "all", answer.causes, must, &findings);
        }
    }
}

#[test]
fn recordings_of_real_daemons_are_read_rightly() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    if !root.is_dir() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no recordings at {}", root.display());
        eprintln!("SKIP: no recordings at {}", root.display());
        return;
    }
    let mut score = Score::default();
    for answer in &ANSWERS {
        score.folder(&root.join(answer.folder), answer);
    }
    score.pluto(&root.join("logs/pluto"));
    for (name, causes) in FILES {
        score.file(&root, name, causes);
    }
    let mut text = format!("{:<66} {:<8} {:<22} verdict\n{}", "recording", "source", "cause", score.table);
    let _ = writeln!(text, "\n{:<10} {:>6} {:>7} {:>6} {:>7}", "source", "first", "in set", "wrong", "silent");
    for (source, [first, set, wrong, silent]) in &score.tallies {
        let _ = writeln!(text, "{source:<10} {first:>6} {set:>7} {wrong:>6} {silent:>7}");
    }
    let _ = writeln!(
        text,
        "recordings in order: {}; broken ones: first in {} of {} where the evidence is there",
        score.healthy,
        score.due - score.second,
        score.due
    );
    println!("{text}");
    assert!(score.complaints.is_empty(), "{}", score.complaints);
    assert!(score.due > 30 && score.healthy > 60, "too few recordings: {} and {}", score.due, score.healthy);
    assert!(score.second * 20 <= score.due, "the right cause is not the first in {} of {}", score.second, score.due);
}

impl Score {
    /// A listing or a capture; of a capture that the laboratory has keys of, also with them.
    fn file(&mut self, root: &Path, name: &str, causes: &[&str]) {
        let path = root.join(name).to_string_lossy().into_owned();
        if !name.starts_with("pcap/") {
            let findings = listings(&path, &mut Vec::new()).unwrap_or_else(|error| panic!("{error}"));
            return self.row(name, "listing", causes, (true, true), &findings);
        }
        let capture =
            |keys| diag::observed(&read(&path, keys, None).unwrap_or_else(|error| panic!("{error}")).tracks.sas);
        self.row(name, "capture", causes, (true, true), &capture(Keys::default()));
        let published = std::fs::read_to_string(root.join("pcap/wireshark/KEYS.txt")).unwrap_or_default();
        let file = name.rsplit('/').next().unwrap_or_default();
        let of_file = |line: &&str| line.split_once(": ").is_some_and(|(of, _)| file.starts_with(of));
        if let Some((_, table)) = published.lines().find(of_file).and_then(|line| line.split_once(": ")) {
            let keys = Keys::parse(table.as_bytes());
            assert_eq!((keys.len(), keys.refused.len()), (1, 0), "{name}");
            self.row(name, "keys", causes, (true, true), &capture(keys));
        }
    }

    /// Consoles and logs of pluto, each scenario with its answer. An end that cannot know may be silent.
    fn pluto(&mut self, root: &Path) {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        for folder in folders {
            let answer = std::fs::read_to_string(folder.join("answer.json")).unwrap();
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let causes = of_pluto(answer["cause"].as_str().unwrap());
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for end in ["west", "road", "east"] {
                for kind in ["log", "console.txt"] {
                    let path = folder.join(format!("{end}.{kind}"));
                    if !path.is_file() {
                        continue;
                    }
                    let findings = logged(&path.to_string_lossy(), &mut Vec::new()).unwrap();
                    let visible = end != "east" || answer["cause_visible_in"] == "east";
                    if causes.is_empty() || visible {
                        let must = (visible && findings.iter().any(says), true);
                        self.row(&format!("pluto/{name}/{end}.{kind}"), "log", causes, must, &findings);
                    }
                }
            }
        }
    }
}
