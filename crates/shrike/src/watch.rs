//! `shrike watch`: runs a command again and again and says what becomes of the SAs that it lists.

use crate::cli::Watch as How;
use diag::{Change, Condition, Finding, Severity, Watch};
use show::listing::{Dialect, Listings};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Version of the JSON form: one object in each line.
const SCHEMA: &str = "shrike.watch/1";
/// So much of a listing is read.
const MAX_OUTPUT: u64 = 16 << 20;
/// A command that takes longer than this, and than the time between two, is ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed, or why it did not.
fn output(words: &[String], patience: Duration) -> Result<String, String> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let mut command = Command::new(program);
    command.args(words.get(1..).unwrap_or_default()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run '{program}': {error}"))?;
    let (sender, done) = channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let complaint = channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // Its end closes the pipe; what it says too much is not waited for.
        let _ = stderr.map(|stderr| stderr.take(4096).read_to_end(&mut text));
        let _ = complaint.0.send(text);
    });
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_OUTPUT).read_to_end(&mut text));
        let _ = sender.send(read.transpose().map(|_| text));
    });
    let text = match done.recv_timeout(patience) {
        Ok(text) => text.map_err(|error| format!("'{program}': {error}"))?,
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("'{program}' did not end within {} s", patience.as_secs()));
        }
    };
    if u64::try_from(text.len()).unwrap_or(u64::MAX) >= MAX_OUTPUT {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("'{program}': {error}"))?;
    // Some print their listing and end with a failure all the same.
    if !status.success() && text.is_empty() {
        let said = complaint.1.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_string();
        return Err(format!("'{program}' ended with {status}: {}", diag::redact(&said)));
    }
    let text = String::from_utf8_lossy(&text);
    Ok(show::listing::unwrapped(&text).lines().flat_map(|line| [diag::redact(line), "\n".into()]).collect())
}

/// All dialects of one command.
#[derive(Default)]
pub struct Watcher {
    watches: BTreeMap<Dialect, Watch>,
    runs: u32,
    failures: u32,
}

impl Watcher {
    /// What changed with this output, taken at this time in milliseconds; or why nothing can be said.
    ///
    /// # Errors
    /// The command failed, or what it printed is no listing.
    pub fn take(&mut self, at: u64, output: Result<String, String>) -> Result<Vec<Change>, String> {
        self.runs = self.runs.saturating_add(1);
        let read = output.and_then(|text| {
            let Listings { series, unread } = show::listing::read(&text);
            match (series.is_empty(), unread.first()) {
                (false, _) => Ok(series),
                (true, Some(why)) => Err(why.clone()),
                // Some print nothing at all where there is nothing.
                (true, None) if text.trim().is_empty() => Ok(BTreeMap::new()),
                (true, None) => Err("it prints no listing that is known (see: shrike help diagnose)".to_string()),
            }
        });
        let mut series = read.inspect_err(|_| self.failures = self.failures.saturating_add(1))?;
        for dialect in self.watches.keys() {
            series.entry(*dialect).or_default();
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
/// whole series; 3 where no look succeeded.
///
/// # Errors
/// Signals cannot be caught.
pub fn run(how: &How, print: impl Fn(&str)) -> Result<ExitCode, String> {
    let interrupted = interrupts()?;
    let clock = crate::clock::Clock::new();
    let every = Duration::from_secs(how.every);
    let mut watcher = Watcher::default();
    loop {
        let started = clock.now();
        let changes = watcher.take(started.as_nanos() / 1_000_000, output(&how.command, every.max(PATIENCE)));
        let time = crate::clock::local_time();
        match changes {
            Ok(changes) => changes.iter().for_each(|change| print(&line(&time, change, how.json))),
            Err(error) if how.json => {
                let document = serde_json::json!({ "schema": SCHEMA, "time": time, "error": error });
                print(&format!("{document}\n"));
            }
            Err(error) => print(&format!("{time}  {error}\n")),
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
            let changes = watcher.take(n * 60_000, Ok(text)).unwrap();
            changes.into_iter().map(|change| change.condition).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut watcher, 0, row(1, " 3 I 10 M      0")), [Condition::Negotiating]);
        assert_eq!(told(&mut watcher, 1, row(1, up)), [Condition::Up]);
        assert_eq!(told(&mut watcher, 2, row(1, up)), [Condition::Stable]);
        assert_eq!(told(&mut watcher, 3, row(1, up)), []);
        assert_eq!(told(&mut watcher, 4, String::new()), [Condition::Gone]);
        assert!(watcher.take(0, Ok("command not found".into())).unwrap_err().contains("no listing that is known"));
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
            watcher.take(u64::from(n) * 5000, Ok(row(n, " 9 I 10 M 2026-11-24 00:52:46      1"))).unwrap();
        }
        assert_eq!(watcher.worst(), Severity::Error);
        let summary = watcher.summary(false);
        assert!(summary.contains("flapping") && summary.contains("LIFETIME"), "{summary}");
    }

    #[test]
    fn commands_are_run_and_keys_in_their_output_are_not_kept() {
        let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
        let shell = |script: &str| output(&["sh".into(), "-c".into(), script.into()], Duration::from_secs(20));
        assert_eq!(shell("echo listing").unwrap(), "listing\n");
        let printed = shell("printf '\\tE: aes-cbc  d56bba6c 3e061e8f d36c7c57 c126e0e7\\n'").unwrap();
        assert!(!printed.contains("3e061e8f"), "{printed}");
        assert!(shell("echo gone >&2; exit 4").unwrap_err().contains("4: gone"));
        assert!(output(&words("/no/such/program"), Duration::from_secs(1)).unwrap_err().contains("cannot run"));
        let error = output(&words("sleep 60"), Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
    }
}
