//! `shrike watch`: runs a command again and again and says what becomes of the SAs that it lists.

mod command;

use crate::cli::Watch as How;
use command::Printed;
use diag::{Change, Condition, Finding, Severity, Watch};
use show::listing::{Dialect, Listings};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Version of the JSON form: one object in each line.
const SCHEMA: &str = "shrike.watch/1";
/// A command that takes longer than this, and than the time between two, is ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// All dialects of one command.
#[derive(Default)]
pub struct Watcher {
    watches: BTreeMap<Dialect, Watch>,
    runs: u32,
    failures: u32,
    /// What an operator should know of the last look.
    notes: Vec<String>,
}

impl Watcher {
    /// What changed with this output, taken at this time in milliseconds; or why nothing can be said.
    ///
    /// # Errors
    /// The command failed, or what it printed is no listing.
    pub fn take(&mut self, at: u64, output: Result<Printed, String>) -> Result<Vec<Change>, String> {
        self.runs = self.runs.saturating_add(1);
        let read = output.and_then(|Printed { text, doubt }| {
            let Listings { series, unread } = show::listing::read(&text);
            let nothing = series.values().flatten().all(|listing| listing.sas.is_empty());
            let because = |why: &str| doubt.as_ref().map_or_else(|| why.to_string(), |doubt| format!("{why}; {doubt}"));
            match (series.is_empty(), unread.first()) {
                // Some print their listing and end with a failure all the same; but that SAs are gone is not to be had from it.
                (false, _) if !nothing || doubt.is_none() => Ok(series),
                (true, Some(why)) => Err(because(why)),
                // Some print nothing at all where there is nothing.
                (true, None) if text.trim().is_empty() && doubt.is_none() => Ok(BTreeMap::new()),
                (true, None) if !text.trim().is_empty() => {
                    Err(because("it prints no listing that is known (see: shrike help diagnose)"))
                }
                _ => Err(because("it lists nothing, and may have failed")),
            }
        });
        let mut series = read.inspect_err(|_| self.failures = self.failures.saturating_add(1))?;
        // Another listing altogether says nothing of the SAs of the earlier one: neither that they are there nor that they went.
        let other =
            !series.is_empty() && !self.watches.is_empty() && !series.keys().any(|d| self.watches.contains_key(d));
        if other {
            let names = |all: Vec<&Dialect>| all.iter().map(|d| d.command()).collect::<Vec<_>>().join(", ");
            let (now, before) = (names(series.keys().collect()), names(self.watches.keys().collect()));
            self.notes.push(format!("another listing than before: {now}, not {before}; beginning anew"));
            self.watches.clear();
        }
        for dialect in self.watches.keys() {
            series.entry(*dialect).or_default();
        }
        // Silence could as well mean that nobody looked.
        if self.runs == 1 && series.values().flatten().all(|listing| listing.sas.is_empty()) {
            self.notes.push("no SA is listed yet".to_string());
        }
        let mut changes = Vec::new();
        for (dialect, listings) in series {
            let watch = self.watches.entry(dialect).or_default();
            let sas = listings.into_iter().flat_map(|listing| listing.sas).collect();
            changes.extend(watch.take(at, sas));
        }
        Ok(changes)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.watches.values().flat_map(Watch::findings).collect();
        // Where one command lists SAs, another that lists none has nothing to add.
        if findings.iter().any(|found| found.attempts > 0) {
            findings.retain(|found| found.attempts > 0);
        }
        findings.sort_by_key(|found| std::cmp::Reverse(found.severity));
        findings
    }

    fn summary(&self, json: bool) -> String {
        let (findings, peers) = (self.findings(), self.watches.values().flat_map(Watch::watched));
        let left_out: u64 = self.watches.values().map(Watch::left_out).sum();
        if json {
            let peers: Vec<_> = peers.collect();
            let document = serde_json::json!({
                "schema": SCHEMA, "runs": self.runs, "failures": self.failures, "left-out": left_out,
                "peers": peers, "findings": findings,
            });
            return format!("{document}\n");
        }
        let mut text = format!("\nafter {} looks ({} failed):\n", self.runs, self.failures);
        for peer in peers {
            let _ = writeln!(
                text,
                "  {:<32} {:<14} {} established, {} of them rekeyed, {} replaced early; {} attempts failed",
                peer.peer,
                peer.condition.label(),
                peer.established,
                peer.rekeyed,
                peer.replaced,
                peer.failed
            );
        }
        if left_out > 0 {
            let _ = writeln!(text, "  left out {left_out} rows of further peers");
        }
        let faults: Vec<Finding> = findings.into_iter().filter(|f| f.severity > Severity::Info).collect();
        if !faults.is_empty() {
            text.push('\n');
            text.push_str(&crate::diagnose::as_text(&faults, &[], false));
        }
        text
    }

    fn worst(&self) -> Severity {
        let flapping = |watch: &Watch| {
            let bad = [Condition::Flapping, Condition::NeverUp];
            watch.watched().iter().any(|peer| bad.contains(&peer.condition))
        };
        let severity = self.findings().iter().map(|f| f.severity).max().unwrap_or(Severity::Ok);
        if self.watches.values().any(flapping) { severity.max(Severity::Warning) } else { severity }
    }
}

fn line(time: &str, change: &Change, json: bool) -> String {
    if json {
        let document = serde_json::json!({ "schema": SCHEMA, "time": time, "change": change });
        return format!("{document}\n");
    }
    format!("{time}  {:<32} {:<14} {}\n", change.peer, change.condition.label(), change.text)
}

/// An interrupt, as a message.
fn interrupts() -> Result<Receiver<()>, String> {
    let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let mut signals =
        signal_hook::iterator::Signals::new(signals).map_err(|error| format!("cannot catch signals: {error}"))?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let _ = sender.send(());
        }
    });
    Ok(receiver)
}

/// Watches until `--count` looks are done, or somebody interrupts. The exit code is that of `shrike diagnose` for the
/// whole series; 3 where no look succeeded, or the command cannot be started.
///
/// # Errors
/// Signals cannot be caught.
pub fn run(how: &How, print: impl Fn(&str) -> bool, complain: impl Fn(&str)) -> Result<ExitCode, String> {
    let interrupted = interrupts()?;
    let clock = crate::clock::Clock::new();
    let every = Duration::from_secs(how.every);
    let mut watcher = Watcher::default();
    loop {
        let started = clock.now();
        let program = how.command.first().map(String::as_str).unwrap_or_default();
        let printed = match command::start(&how.command) {
            Ok(child) => command::output(program, child, every.max(PATIENCE)),
            // Nothing will make it a command later.
            Err(error) if watcher.runs == 0 => {
                complain(&format!("shrike: {error}"));
                return Ok(ExitCode::from(3));
            }
            Err(error) => Err(error),
        };
        let changes = watcher.take(started.as_nanos() / 1_000_000, printed);
        let time = crate::clock::local_time();
        let mut read = true;
        for note in std::mem::take(&mut watcher.notes) {
            read &= print(&match how.json {
                true => format!("{}\n", serde_json::json!({ "schema": SCHEMA, "time": time, "note": note })),
                false => format!("{time}  {note}\n"),
            });
        }
        match changes {
            Ok(changes) => changes.iter().for_each(|change| read &= print(&line(&time, change, how.json))),
            Err(error) if how.json => {
                let document = serde_json::json!({ "schema": SCHEMA, "time": time, "error": error });
                read &= print(&format!("{document}\n"));
            }
            Err(error) => read &= print(&format!("{time}  {error}\n")),
        }
        // Nobody is there any more to watch for.
        if !read {
            break;
        }
        if how.count.is_some_and(|count| watcher.runs >= count) {
            break;
        }
        let rest = every.saturating_sub(clock.now().since(started));
        if interrupted.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    print(&watcher.summary(how.json));
    Ok(match watcher.worst() {
        _ if watcher.failures == watcher.runs => ExitCode::from(3),
        Severity::Ok | Severity::Info => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(1),
        Severity::Error => ExitCode::from(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "Destination            Cookies                           ST S  V E Created             Phase2\n";

    fn row(cookie: u32, st: &str) -> String {
        format!("{HEADER}10.9.0.2.500           61d12e5b{cookie:08x}:b1bb8252ff4d89bf {st}\n")
    }

    #[test]
    fn a_racoon_s_table_is_followed() {
        let mut watcher = Watcher::default();
        let up = " 9 I 10 M 2026-11-24 00:52:46      1";
        let told = |watcher: &mut Watcher, n: u64, text: String| {
            let changes = watcher.take(n * 60_000, Ok(Printed { text, doubt: None })).unwrap();
            changes.into_iter().map(|change| change.condition).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut watcher, 0, row(1, " 3 I 10 M      0")), [Condition::Negotiating]);
        assert_eq!(told(&mut watcher, 1, row(1, up)), [Condition::Up]);
        assert_eq!(told(&mut watcher, 2, row(1, up)), [Condition::Stable]);
        assert_eq!(told(&mut watcher, 3, row(1, up)), []);
        assert_eq!(told(&mut watcher, 4, String::new()), [Condition::Gone]);
        assert!(
            watcher
                .take(0, Ok(Printed { text: "command not found".into(), doubt: None }))
                .unwrap_err()
                .contains("no listing that is known")
        );
        let summary = watcher.summary(false);
        assert!(summary.contains("after 6 looks (1 failed)") && summary.contains("10.9.0.2"), "{summary}");
        let document: serde_json::Value = serde_json::from_str(&watcher.summary(true)).unwrap();
        assert_eq!(
            (document["schema"].as_str(), document["peers"][0]["condition"].as_str()),
            (Some(SCHEMA), Some("gone"))
        );
    }

    #[test]
    fn a_flapping_one_is_an_error_in_the_end() {
        let mut watcher = Watcher::default();
        for n in 0..8 {
            let text = row(n, " 9 I 10 M 2026-11-24 00:52:46      1");
            watcher.take(u64::from(n) * 5000, Ok(Printed { text, doubt: None })).unwrap();
        }
        assert_eq!(watcher.worst(), Severity::Error);
        let summary = watcher.summary(false);
        assert!(summary.contains("flapping") && summary.contains("LIFETIME"), "{summary}");
    }

    #[test]
    fn a_first_look_that_finds_nothing_is_told() {
        for text in ["", HEADER] {
            let mut watcher = Watcher::default();
            let nothing = || Ok(Printed { text: text.to_string(), doubt: None });
            assert_eq!(watcher.take(0, nothing()).unwrap(), []);
            assert_eq!(std::mem::take(&mut watcher.notes), ["no SA is listed yet"]);
            watcher.take(1000, nothing()).unwrap();
            assert!(watcher.notes.is_empty(), "once is enough");
        }
    }

    /// A command that fails has not said that SAs are gone, nor has one that prints another listing.
    #[test]
    fn what_is_not_known_is_not_gone() {
        let up = row(1, " 9 I 10 M 2026-11-24 00:52:46      1");
        let printed =
            |text: &str, doubt: Option<&str>| Ok(Printed { text: text.to_string(), doubt: doubt.map(str::to_string) });
        let mut watcher = Watcher::default();
        assert_eq!(watcher.take(0, printed(&up, Some("'sh' ended with exit status: 1"))).unwrap().len(), 1);
        for text in ["", HEADER] {
            let error = watcher.take(60_000, printed(text, Some("'sh' says: connection timed out"))).unwrap_err();
            assert!(error.contains("lists nothing") && error.contains("timed out"), "{error}");
        }
        let charon = "gw: #1, ESTABLISHED, IKEv2, 0123456789abcdef_i* fedcba9876543210_r\n  local  'a' @ 192.0.2.1[500]\n  remote 'b' @ 192.0.2.2[500]\n";
        let changes = watcher.take(120_000, printed(charon, None)).unwrap();
        assert!(changes.iter().all(|change| change.condition != Condition::Gone), "{changes:?}");
        assert!(watcher.notes[0].contains("another listing than before"), "{:?}", watcher.notes);
        assert_eq!(watcher.take(180_000, printed("", None)).unwrap()[0].condition, Condition::Gone);
    }
}
