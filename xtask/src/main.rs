//! `cargo xtask`: everything a developer of Shrike does besides editing. `cargo xtask test` is the place to start.

mod checks;
mod install;
mod interop;
mod known;
mod layering;
mod packages;
mod report;
mod suite;
mod table;
mod workspace;

use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use report::{Outcome, Report};
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Shrike")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check everything this machine can check; what it cannot is a SKIP with a reason (a failure when CI=true)
    Test,
    /// The same, and a SKIP is a failure
    Ci,
    /// Check the arrows between the crates, that the core does no I/O, and where `unsafe` stands
    Layering,
    /// Install what the tests need (root, Debian), or print what is missing
    Setup {
        /// Also the servers that some scenarios of the full suite use (RADIUS, DHCP, LDAP ...)
        #[arg(long)]
        full: bool,
    },
    /// Build the program and install it, with racoonctl as its second name, unit, man page, completions and examples
    Install(install::Options),
    /// Remove what `install` has put there; configuration and history stay
    Uninstall(install::Place),
    /// Build the program and show two endpoints at work: `shrike demo ARGUMENTS`
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the benchmarks: `cargo bench -p shrike-bench ARGUMENTS`
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Shrike and real peers in network namespaces (root)
    Interop {
        /// Scripts of interop/ without their suffix: charon, pluto, iked, ike-scan, self-test (default: all)
        peers: Vec<String>,
    },
    /// The diagnosis' score: faults made in simulation and recordings of other daemons, and what each source says of them
    DiagScore {
        /// A directory of what `interop/inject.sh` recorded (INJECT_RECORDINGS), in place of the ones in the tree
        #[arg(long)]
        recordings: Option<std::path::PathBuf>,
    },
    /// strongSwan's scenarios (../shared/suite): Shrike on all hosts, then on one side only, both ways
    Suite(suite::Options),
    /// The long forms: the whole suite, long simulations, fuzzing
    Nightly {
        /// Seconds for each fuzz target
        #[arg(long, default_value_t = 300)]
        fuzz_seconds: u32,
    },
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(error) => {
            eprintln!("xtask: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut report = Report::new(ci || matches!(task, Task::Ci));
    match task {
        Task::Test | Task::Ci => checks::all(&workspace, &mut report),
        Task::Layering => checks::layering(&workspace, &mut report),
        Task::Setup { full } => packages::install(&workspace, &mut report, full),
        Task::Install(options) => return listed("installed", install::install(&workspace, &options)),
        Task::Uninstall(place) => return listed("removed", install::uninstall(&place)),
        Task::Demo { arguments } => return demo(&workspace, &arguments),
        Task::Bench { arguments } => bench(&workspace, &mut report, &arguments),
        Task::Interop { peers } => interop::run(&workspace, &mut report, &peers),
        Task::DiagScore { recordings } => checks::diag_score(&workspace, &mut report, recordings.as_deref()),
        Task::Suite(options) => suite::run(&workspace, &mut report, &options),
        Task::Nightly { fuzz_seconds } => checks::nightly(&workspace, &mut report, fuzz_seconds),
    }
    report.finish()
}

/// What was done with which files, or why nothing was.
fn listed(what: &str, done: Result<Vec<std::path::PathBuf>, install::Error>) -> ExitCode {
    match done {
        Ok(files) => {
            files.iter().for_each(|file| println!("{what} {}", file.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Not a check, so no report: the demonstration has the terminal to itself.
fn demo(workspace: &Workspace, arguments: &[String]) -> ExitCode {
    let mut command = workspace.cargo(&["run", "--quiet", "--release", "-p", "shrike", "--", "demo"]);
    match command.args(arguments).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("xtask: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(workspace: &Workspace, report: &mut Report, arguments: &[String]) {
    if workspace.package("shrike-bench").is_none() {
        report.record("bench", Outcome::Fail("the workspace has no package shrike-bench".to_owned()));
        return;
    }
    report.command("bench", workspace.cargo(&["bench", "-p", "shrike-bench", "--"]).args(arguments));
}

/// Does this command run and succeed? Its output is not shown.
fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
