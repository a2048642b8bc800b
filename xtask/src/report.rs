//! Steps: each prints its command and its time, and the last thing on the screen is a table of all of them.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Pass,
    /// It did not; what to look at.
    Fail(String),
    /// It could not run here; what is missing.
    Skip(String),
}

struct Step {
    name: String,
    time: Duration,
    outcome: Outcome,
}

/// The steps so far.
pub struct Report {
    steps: Vec<Step>,
    strict: bool,
    started: Instant,
    last: Instant,
}

/// The exit status with which a script says that it could not run; it prints `SKIP: reason`.
const SKIPPED: i32 = 77;

impl Report {
    /// `strict`: a step that cannot run counts as a failure.
    pub fn new(strict: bool) -> Report {
        let now = now();
        Report { steps: Vec::new(), strict, started: now, last: now }
    }

    /// Adds a step that has just ended (its time runs from the end of the one before).
    pub fn record(&mut self, name: &str, outcome: Outcome) -> bool {
        let (before, now) = (self.last, now());
        self.last = now;
        let time = now.duration_since(before);
        match &outcome {
            Outcome::Pass => println!("PASS {name} ({:.1} s)", time.as_secs_f32()),
            Outcome::Fail(reason) => println!("FAIL {name} ({:.1} s): {reason}", time.as_secs_f32()),
            Outcome::Skip(reason) => println!("SKIP {name}: {reason}"),
        }
        let passed = outcome == Outcome::Pass;
        self.steps.push(Step { name: name.to_owned(), time, outcome });
        passed
    }

    /// Runs a command whose exit status is the outcome.
    pub fn command(&mut self, name: &str, command: &mut Command) -> bool {
        println!("\n==> {name}\n$ {}", shown(command));
        let outcome = match command.stdin(Stdio::null()).status() {
            Ok(status) if status.success() => Outcome::Pass,
            Ok(status) => Outcome::Fail(status.to_string()),
            Err(error) => Outcome::Fail(format!("cannot run {}: {error}", command.get_program().to_string_lossy())),
        };
        self.record(name, outcome)
    }

    /// Runs a script that may say `SKIP: reason` and end with status 77.
    pub fn script(&mut self, name: &str, command: &mut Command) -> bool {
        println!("\n==> {name}\n$ {}", shown(command));
        let outcome = match watch(command) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Fail(format!("cannot run {}: {error}", command.get_program().to_string_lossy())),
        };
        self.record(name, outcome)
    }

    /// Prints the table; failure when a step failed, or was skipped and must not be.
    pub fn finish(self) -> ExitCode {
        let width = self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        println!("\n{:4}  {:width$}  {:>7}", "", "step", "time");
        for step in &self.steps {
            let (word, reason) = match &step.outcome {
                Outcome::Pass => ("PASS", ""),
                Outcome::Fail(reason) => ("FAIL", reason.as_str()),
                Outcome::Skip(reason) => ("SKIP", reason.as_str()),
            };
            let line = format!("{word}  {:width$}  {:5.1} s  {reason}", step.name, step.time.as_secs_f32());
            println!("{}", line.trim_end());
        }
        println!("      {:width$}  {:5.1} s", "all", self.started.elapsed().as_secs_f32());
        if self.failed() {
            if self.strict && self.steps.iter().any(|step| matches!(step.outcome, Outcome::Skip(_))) {
                println!("A step that cannot run is a failure here (CI=true, or cargo xtask ci).");
            }
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    fn failed(&self) -> bool {
        self.steps.iter().any(|step| match step.outcome {
            Outcome::Pass => false,
            Outcome::Fail(_) => true,
            Outcome::Skip(_) => self.strict,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a development tool tells its user how long each step took")]
fn now() -> Instant {
    Instant::now()
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy()))))
        .collect();
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Passes the output through while looking for the reason of a skip and the first failed check.
fn watch(command: &mut Command) -> std::io::Result<Outcome> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (mut skip, mut failure) = (None, None);
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            println!("{text}");
            if let Some(reason) = text.strip_prefix("SKIP: ") {
                skip = Some(reason.to_owned());
            } else if text.starts_with("FAIL ") && failure.is_none() {
                failure = Some(text.to_owned());
            }
            line.clear();
        }
    }
    let status = child.wait()?;
    Ok(match status.code() {
        Some(0) => Outcome::Pass,
        Some(SKIPPED) => Outcome::Skip(skip.unwrap_or_else(|| "the script gave no reason".to_owned())),
        _ => Outcome::Fail(failure.unwrap_or_else(|| status.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_skip_fails_only_a_strict_report() {
        for strict in [false, true] {
            let mut report = Report::new(strict);
            report.record("works", Outcome::Pass);
            report.record("cannot", Outcome::Skip("no such peer".to_owned()));
            assert_eq!(report.failed(), strict);
        }
    }

    #[test]
    fn a_failed_command_fails_the_report() {
        let mut report = Report::new(false);
        assert!(report.command("true", &mut shell("true")));
        assert!(!report.failed());
        assert!(!report.command("false", &mut shell("exit 3")));
        assert!(report.failed());
        assert!(!report.command("absent", &mut Command::new("/nonexistent/program")));
    }

    #[test]
    fn a_script_says_why_it_skips_and_what_failed() {
        assert_eq!(watch(&mut shell("echo 'SKIP: no root'; exit 77")).ok(), Some(Outcome::Skip("no root".to_owned())));
        assert_eq!(
            watch(&mut shell("echo 'PASS a'; echo 'FAIL b'; echo 'FAIL c'; exit 1")).ok(),
            Some(Outcome::Fail("FAIL b".to_owned()))
        );
        assert_eq!(watch(&mut shell("echo 'PASS a'")).ok(), Some(Outcome::Pass));
        assert_eq!(watch(&mut shell("kill -9 $$")).ok().map(|outcome| outcome == Outcome::Pass), Some(false));
    }

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "it's"]);
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc 'it'\\''s'");
    }
}
