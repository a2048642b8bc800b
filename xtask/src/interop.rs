//! The scripts of `interop/`: Shrike and real peers in network namespaces.

use std::process::Command;

use crate::checks::program;
use crate::report::{Outcome, Report};
use crate::workspace::Workspace;

/// A script (without its suffix) and its argument.
pub type Script = (&'static str, Option<&'static str>);

/// Every script, the laboratory's own test first.
pub const ALL: &[Script] = &[
    ("self-test", None),
    ("ike-scan", None),
    ("charon", None),
    ("rekey", None),
    ("fragments", None),
    ("nat", None),
    ("pluto", None),
    ("ikev1", None),
    ("certificates", None),
    ("diagnose", None),
    ("faults", None),
    ("inject", Some("--quick")),
    ("matrix", None),
    ("operator", None),
    ("charon", Some("--kernel")),
    ("rekey", Some("--kernel")),
    ("pluto", Some("--kernel")),
    ("iked", None),
    ("matrix", Some("--kernel")),
    ("transport", None),
    ("shunts", None),
    ("together", None),
    ("later", None),
];

/// Those that run at night beside all others: what takes too long for every day.
pub const NIGHTLY: &[Script] = &[
    ("rekey", Some("--all")),
    ("rekey", Some("--kernel-all")),
    ("hundred", None),
    ("together", Some("--long")),
    ("inject", Some("--all")),
];

/// `cargo xtask interop [PEER...]`: builds the program and runs these scripts, or all.
pub fn run(workspace: &Workspace, report: &mut Report, peers: &[String]) {
    let known = || ALL.iter().chain(NIGHTLY).copied();
    if let Some(unknown) = peers.iter().find(|peer| !known().any(|(script, _)| script == peer.as_str())) {
        let mut names: Vec<&str> = known().map(|(script, _)| script).collect();
        names.sort_unstable();
        names.dedup();
        report.record(
            "interop",
            Outcome::Fail(format!("no script interop/{unknown}.sh; there are {}", names.join(", "))),
        );
        return;
    }
    // What is for the night comes only by its name, unless that has a part for the day.
    let by_day = |peer: &String| ALL.iter().any(|(script, _)| script == peer);
    let at_night = NIGHTLY.iter().copied().filter(|(script, _)| peers.iter().any(|p| p == script && !by_day(p)));
    let wanted: Vec<Script> = ALL
        .iter()
        .copied()
        .filter(|(script, _)| peers.is_empty() || peers.iter().any(|peer| peer == script))
        .chain(at_night)
        .collect();
    // With a stand-in (INTEROP_STANDIN=charon) the scripts themselves are on trial: no program is needed.
    let standin = std::env::var_os("INTEROP_STANDIN").is_some();
    if standin || program(workspace, report) {
        scripts(workspace, report, &wanted);
    }
}

/// Runs the scripts with the release build. Each one says by itself what it lacks.
pub fn scripts(workspace: &Workspace, report: &mut Report, scripts: &[Script]) {
    for (script, argument) in scripts {
        let mut command = Command::new(workspace.root.join("interop").join(format!("{script}.sh")));
        command.args(argument.as_slice()).current_dir(&workspace.root);
        command.env("SHRIKE", workspace.program());
        report.script(
            &format!("interop {script}{}", argument.map_or_else(String::new, |argument| format!(" {argument}"))),
            &mut command,
        );
    }
}
