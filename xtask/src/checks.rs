//! The checks in the order in which they fail cheapest.

use std::path::Path;
use std::process::Command;

use crate::report::{Outcome, Report};
use crate::workspace::Workspace;
use crate::{interop, layering as arrows, packages, succeeds, suite};

/// `cargo xtask test`.
pub fn all(workspace: &Workspace, report: &mut Report) {
    packages::install(workspace, report, false);
    report.command("format", &mut workspace.cargo(&["fmt", "--all", "--check"]));
    layering(workspace, report);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    report.command("clippy", &mut workspace.cargo(&clippy));
    let mut docs = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
    report.command("documentation", docs.env("RUSTDOCFLAGS", "-D warnings"));
    tests(workspace, report);
    if program(workspace, report) {
        interop::scripts(workspace, report, interop::ALL);
        suite::quick(workspace, report);
    }
}

/// `cargo xtask layering`.
pub fn layering(workspace: &Workspace, report: &mut Report) {
    println!("\n==> layering");
    let outcome = match arrows::check(workspace) {
        Ok(violations) if violations.is_empty() => Outcome::Pass,
        Ok(violations) => {
            for violation in &violations {
                println!("{violation}");
            }
            Outcome::Fail(format!("{} violations of the arrows in ARCHITECTURE.md", violations.len()))
        }
        Err(error) => Outcome::Fail(format!("cannot read the sources: {error}")),
    };
    report.record("layering", outcome);
}

/// Builds the program that interop and the suite run, unless `$SHRIKE` names one.
pub fn program(workspace: &Workspace, report: &mut Report) -> bool {
    std::env::var_os("SHRIKE").is_some()
        || report.command("program", &mut workspace.cargo(&["build", "--release", "-p", "shrike"]))
}

/// Unit, property and documentation tests. nextest runs each in its own process and in parallel; it has no doc tests.
fn tests(workspace: &Workspace, report: &mut Report) {
    if has_nextest(workspace) {
        report.command("tests", &mut workspace.cargo(&["nextest", "run", "--workspace"]));
        report.command("doc tests", &mut workspace.cargo(&["test", "--workspace", "--doc", "--quiet"]));
    } else {
        report.command("tests", &mut workspace.cargo(&["test", "--workspace"]));
    }
}

/// `cargo xtask diag-score`: the tests that are the score, with the tables they print.
pub fn diag_score(workspace: &Workspace, report: &mut Report, recordings: Option<&Path>) {
    let score =
        ["test", "--quiet", "-p", "shrike", "--bin", "shrike", "diagnose::", "--", "--nocapture", "--test-threads=1"];
    let mut command = workspace.cargo(&score);
    // The tests run elsewhere.
    match recordings.map(std::fs::canonicalize) {
        None => {}
        Some(Ok(directory)) => _ = command.env("SHRIKE_RECORDINGS", directory),
        Some(Err(error)) => {
            report.record("diag-score", Outcome::Fail(format!("cannot read the recordings: {error}")));
            return;
        }
    }
    report.command("diag-score", &mut command);
}

fn has_nextest(workspace: &Workspace) -> bool {
    succeeds(&mut workspace.cargo(&["nextest", "--version"]))
}

/// `cargo xtask nightly`.
pub fn nightly(workspace: &Workspace, report: &mut Report, fuzz_seconds: u32) {
    packages::install(workspace, report, true);
    let mut simulations = if has_nextest(workspace) {
        workspace.cargo(&["nextest", "run", "--workspace", "--release"])
    } else {
        workspace.cargo(&["test", "--workspace", "--release"])
    };
    report.command("long simulations", simulations.env("SHRIKE_SIM_LONG", "1"));
    fuzz(workspace, report, fuzz_seconds);
    if program(workspace, report) {
        interop::scripts(workspace, report, interop::ALL);
        interop::scripts(workspace, report, interop::NIGHTLY);
        suite::full(workspace, report, false, &[]);
    }
}

fn fuzz(workspace: &Workspace, report: &mut Report, seconds: u32) {
    if !workspace.root.join("fuzz").is_dir() {
        report.record("fuzz", Outcome::Skip("there is no fuzz/ directory".to_owned()));
        return;
    }
    // libFuzzer's instrumentation is a nightly feature; rustup's cargo takes `+nightly`, ours ($CARGO) does not.
    let cargo_fuzz = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args(["+nightly", "fuzz"])
            .args(arguments)
            .current_dir(&workspace.root)
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN");
        command
    };
    let targets = match cargo_fuzz(&["list"]).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            let reason =
                "needs cargo-fuzz and a nightly toolchain (cargo install cargo-fuzz; rustup toolchain install nightly)";
            report.record("fuzz", Outcome::Skip(reason.to_owned()));
            return;
        }
    };
    let limit = format!("-max_total_time={seconds}");
    for target in targets.split_whitespace() {
        report.command(&format!("fuzz {target}"), &mut cargo_fuzz(&["run", target, "--", &limit]));
    }
}
