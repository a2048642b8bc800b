//! The score over what the fault injector recorded (`interop/inject.sh`): two daemons, one thing broken between them. Each
//! source of each end alone, those of one end together, and all.
//!
//! A folder for each run: `answer.txt` with the known answer, and for each end its log, its capture and its listings through
//! time. Those in `tests/injected` are a choice of small ones; `cargo xtask diag-score --recordings DIRECTORY` judges others.
//! The thresholds are those of the recordings beside: the right cause named wherever the source has the evidence, first in at
//! least 95 of 100, no finding above information where all is in order.

use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The listings that each daemon has for all its SAs.
const MAIN: [&str; 3] = ["swanctl", "status", "ikectl"];

/// What a source must say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    /// The right cause, first.
    First,
    /// The right cause, perhaps behind others.
    InSet,
    /// It has no evidence: nothing else, at least.
    NotWrong,
}

/// The known answer.
struct Answer {
    causes: Vec<String>,
    musts: BTreeMap<String, Must>,
}

impl Answer {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("answer.txt")).unwrap();
        let lines =
            text.lines().filter_map(|line| line.split_once(" = ").or_else(|| Some((line.strip_suffix(" =")?, ""))));
        let (mut causes, mut musts) = (Vec::new(), BTreeMap::new());
        for (key, value) in lines {
            match (key, value.trim()) {
                ("causes", codes) => causes = codes.split_whitespace().map(str::to_string).collect(),
                (source, "F") => _ = musts.insert(source.to_string(), Must::First),
                (source, "S") => _ = musts.insert(source.to_string(), Must::InSet),
                (source, "-") => _ = musts.insert(source.to_string(), Must::NotWrong),
                _ => {}
            }
        }
        assert_eq!(musts.len(), 7, "{}: seven sources have a mark", folder.display());
        Self { causes, musts }
    }

    fn must(&self, source: &str) -> Must {
        let of = |name: &str| self.musts.get(name).copied().unwrap_or(Must::NotWrong);
        match source.split_once(' ') {
            // One moment may be any moment.
            Some(("listing" | "form", _)) => Must::NotWrong,
            // Shrike's own keeps the reasons that its log has.
            Some(("own", end)) => of(&format!("log-{end}")),
            Some(("end", end)) => {
                let all = ["series", "log", "capture"].map(|kind| of(&format!("{kind}-{end}")));
                if of(&format!("log-{end}")) == Must::First {
                    Must::First
                } else if all.iter().all(|must| *must == Must::NotWrong) {
                    Must::NotWrong
                } else {
                    Must::InSet
                }
            }
            _ => of(&source.replace(' ', "-")),
        }
    }
}

/// What listings say, as `shrike diagnose --listing` has it.
fn listed(text: &str) -> Vec<Finding> {
    judged(&show::listing::read(text).series, &[])
}

/// The listing in the middle of a series.
fn middle(text: &str) -> String {
    let starts: Vec<usize> =
        text.match_indices("$ ").map(|(at, _)| at).filter(|at| *at == 0 || text[..*at].ends_with('\n')).collect();
    let n = starts.len() / 2;
    let (from, to) = (starts.get(n).copied().unwrap_or(0), starts.get(n + 1).copied().unwrap_or(text.len()));
    // A paste has no time.
    let part = &text[from..to];
    part.split_once("   (t=").map_or_else(
        || part.to_string(),
        |(command, rest)| format!("{command}{}", rest.split_once(')').map_or("", |(_, rest)| rest)),
    )
}

/// Every source of a folder, in order, with what it says.
fn sources(folder: &Path) -> Vec<(String, Vec<Finding>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let (name, text) =
            (path.file_name().unwrap().to_string_lossy().into_owned(), path.to_string_lossy().into_owned());
        let Some((end, kind)) = name.split_once('.').filter(|(end, _)| end.len() == 1) else { continue };
        if kind.starts_with("watch-") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((format!("listing {end}"), listed(&middle(&text))));
            // Other forms of the same listing show one version of IKE, or established SAs only.
            let form = match kind {
                "watch-own.txt" => "own",
                _ if MAIN.iter().any(|main| kind == format!("watch-{main}.txt")) => "series",
                _ => "form",
            };
            found.push((format!("{form} {end}"), listed(&text)));
        } else if kind == "log" {
            found.push((format!("log {end}"), logged(&text, &mut Vec::new()).unwrap()));
        } else if kind == "pcap" {
            let Unused { tracks, .. } = read(&text, Keys::default(), None).unwrap();
            found.push((format!("capture {end}"), diag::observed(&tracks.sas)));
        }
    }
    let together = |wanted: Option<&str>| {
        // A single listing is part of its series.
        let of = found
            .iter()
            .filter(|(source, _)| !source.starts_with("listing") && wanted.is_none_or(|end| source.ends_with(end)));
        diag::merged(
            of.map(|(source, findings)| Sourced { source: source.clone(), findings: findings.clone() }).collect(),
        )
    };
    let more = [("end a", Some("a")), ("end b", Some("b")), ("all", None)]
        .map(|(name, end)| (name.to_string(), together(end)));
    found.extend(more);
    found
}

/// First, in set, wrong, silent; in order, false.
type Tally = [u32; 6];

#[derive(Default)]
struct Score {
    table: String,
    complaints: String,
    tallies: BTreeMap<String, Tally>,
    due: u32,
    second: u32,
}

impl Score {
    fn take(&mut self, name: &str, answer: &Answer, source: &str, findings: &[Finding]) {
        let above = || findings.iter().filter(|found| found.severity > Severity::Info);
        let codes = |found: &Finding| found.causes.iter().map(|cause| cause.code()).collect::<Vec<_>>();
        let worst = above().rev().max_by_key(|found| found.severity).map(codes).unwrap_or_default();
        let right = |code: &&str| answer.causes.iter().any(|cause| cause == code);
        let in_set = above().flat_map(codes).any(|code| right(&code));
        let must = answer.must(source);
        let (word, column, broken) = match (answer.causes.is_empty(), worst.first()) {
            (true, None) => ("in order", 4, false),
            (true, Some(_)) => ("FALSE", 5, true),
            (_, None) => ("silent", 3, must != Must::NotWrong),
            (_, Some(first)) if right(first) => ("first", 0, false),
            _ if in_set => ("in set", 1, false),
            _ => ("WRONG", 2, true),
        };
        let kind = source.split(' ').next().unwrap_or_default().to_string();
        if let Some(count) = self.tallies.entry(kind).or_default().get_mut(column) {
            *count += 1;
        }
        if !answer.causes.is_empty() && must == Must::First {
            self.due += 1;
            self.second += u32::from(word == "in set");
        }
        let expected = answer.causes.first().map_or("-", String::as_str);
        let late = if must == Must::First && word == "in set" { " (should be first)" } else { "" };
        let _ = writeln!(
            self.table,
            "{name:<44} {source:<10} {expected:<22} {word}{late}{}",
            if broken { "!" } else { "" }
        );
        if broken || !late.is_empty() {
            let said: Vec<String> =
                above().map(|f| format!("{} {} {:?}: {} {:?}", f.peer, f.id, codes(f), f.why, f.evidence)).collect();
            let line = format!("{name}: {source}: {word}, expected {:?}: {said:#?}\n", answer.causes);
            if broken { &mut self.complaints } else { &mut self.table }.push_str(&line);
        }
    }
}

#[test]
fn what_was_injected_is_found() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/injected");
    let given = std::env::var_os("SHRIKE_RECORDINGS").map(PathBuf::from);
    let root = given.clone().unwrap_or_else(|| PathBuf::from(own));
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("answer.txt").is_file())
        .collect();
    folders.sort();
    let mut score = Score::default();
    for folder in &folders {
        let (name, answer) = (folder.file_name().unwrap().to_string_lossy().into_owned(), Answer::read(folder));
        for (source, findings) in sources(folder) {
            score.take(&name, &answer, &source, &findings);
        }
    }
    println!("{:<44} {:<10} {:<22} verdict\n{}", "injected", "source", "cause", score.table);
    println!(
        "{:<10} {:>6} {:>7} {:>6} {:>7} {:>9} {:>6}",
        "source", "first", "in set", "wrong", "silent", "in order", "false"
    );
    for (source, [first, set, wrong, silent, good, bad]) in &score.tallies {
        println!("{source:<10} {first:>6} {set:>7} {wrong:>6} {silent:>7} {good:>9} {bad:>6}");
    }
    let kept = score.due - score.second;
    println!("{} recordings; first in {kept} of {} where the evidence is there", folders.len(), score.due);
    assert!(score.complaints.is_empty(), "{}", score.complaints);
    assert!(given.is_some() || folders.len() >= 20, "only {} recordings in {}", folders.len(), root.display());
    assert!(score.second * 20 <= score.due, "the right cause is not the first in {} of {}", score.second, score.due);
}
