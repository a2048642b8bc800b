//! strongSwan's scenarios, run by `../shared/suite`: Shrike on all hosts, then on one side with charon on the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checks::program;
use crate::report::{Outcome, Report};
use crate::table::{Cell, REFUSED, Side, Status, Table, load_failure, refusal, results};
use crate::workspace::Workspace;

/// What `cargo xtask suite` is asked.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Every scenario (about an hour)
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Those that must pass today (the default)
    #[arg(long)]
    quick: bool,
    /// Write interop/SUITE.md anew (with --full)
    #[arg(long, requires = "full")]
    update: bool,
    /// Of every scenario, only those whose names begin so; the others keep their rows in interop/SUITE.md
    #[arg(long, requires = "full", value_name = "CATEGORY/NAME")]
    only: Vec<String>,
}

/// The scenarios that must pass.
const QUICK: [&str; 12] = [
    "ikev2/net2net-psk",
    "ikev2/rw-psk-ipv4",
    "ikev2/rw-psk-fqdn",
    "ikev2/rw-psk-no-idr",
    "ikev2/net2net-psk-fail",
    "ikev2/net2net-cert",
    "ikev2/rw-cert",
    "ikev2/host2host-transport-nat",
    "ikev1/net2net-cert",
    "ikev1/ecdsa-certs",
    "ikev1/xauth-id-rsa-hybrid",
    "ikev1/protoport-dual",
];

/// The host that one side of an interoperability run is; the first that a scenario uses.
const GATEWAYS: [&str; 4] = ["moon", "sun", "bob", "carol"];

/// `cargo xtask suite`.
pub fn run(workspace: &Workspace, report: &mut Report, options: &Options) {
    if !program(workspace, report) {
        return;
    }
    if options.full { full(workspace, report, options.update, &options.only) } else { quick(workspace, report) }
}

/// The quick set: every scenario must pass, on all three sides.
pub fn quick(workspace: &Workspace, report: &mut Report) {
    let Some(suite) = Suite::find(workspace, report) else { return };
    let scenarios: Vec<String> = QUICK.map(str::to_owned).to_vec();
    for side in Side::ALL {
        let mut table = Table::default();
        println!("\n==> suite, {}", side.title());
        let outcome = match suite.side(side, &scenarios, 1, &mut table) {
            Err(reason) => Outcome::Fail(reason),
            Ok(()) => {
                let lines = table.not_passed();
                lines.iter().for_each(|line| println!("{line}"));
                if lines.is_empty() {
                    Outcome::Pass
                } else {
                    Outcome::Fail(format!("{} of {} scenarios do not pass", lines.len(), QUICK.len()))
                }
            }
        };
        report.record(&format!("suite, {}", side.title()), outcome);
    }
}

/// Every scenario, or those whose names begin as one of `only`. A scenario that passes in interop/SUITE.md must still pass;
/// `update` writes the file anew.
pub fn full(workspace: &Workspace, report: &mut Report, update: bool, only: &[String]) {
    let Some(suite) = Suite::find(workspace, report) else { return };
    let document = workspace.root.join("interop/SUITE.md");
    let before = std::fs::read_to_string(&document).map(|text| Table::parse(&text)).unwrap_or_default();
    let mut scenarios = suite.all_scenarios();
    scenarios.retain(|name| only.is_empty() || only.iter().any(|prefix| name.starts_with(prefix.as_str())));
    let mut table = Table::default();
    for side in Side::ALL {
        println!("\n==> suite, {}", side.title());
        // A configuration that Shrike refuses, it refuses beside charon too: no need to wait for that again.
        let (refused, wanted): (Vec<String>, Vec<String>) =
            scenarios.iter().cloned().partition(|name| table.is_refused(name, Side::Everywhere));
        for name in &refused {
            table.copy(name, Side::Everywhere, side);
        }
        let mut outcome = suite.side(side, &wanted, 0, &mut table);
        // Many scenarios measure time and the machine was busy: what passed before gets a second chance, alone.
        let lost: Vec<String> = table.regressions(&before, side).into_iter().map(str::to_owned).collect();
        if outcome.is_ok() && !lost.is_empty() {
            outcome = suite.side(side, &lost, 1, &mut table);
        }
        let lost = table.regressions(&before, side);
        let outcome = match outcome {
            Err(reason) => Outcome::Fail(reason),
            Ok(()) if lost.is_empty() => Outcome::Pass,
            Ok(()) => Outcome::Fail(format!("passed according to interop/SUITE.md, does not now: {}", lost.join(", "))),
        };
        report.record(&format!("suite, {}", side.title()), outcome);
    }
    if update {
        let mut whole = if only.is_empty() { Table::default() } else { before };
        whole.replace_with(table);
        let written = std::fs::write(&document, whole.markdown());
        let outcome =
            written.map_or_else(|error| Outcome::Fail(format!("interop/SUITE.md: {error}")), |()| Outcome::Pass);
        report.record("interop/SUITE.md", outcome);
    }
}

/// The suite with its shims as they must be. A checkout without symbolic links holds, in place of each, a text file with the
/// name it points to, which cannot be executed (`ifdown` is `ifup` by another name): then a copy in the cache serves.
fn with_links(directory: PathBuf) -> Result<PathBuf, String> {
    let broken = lost_links(&directory.join("shims"));
    if broken.is_empty() {
        return Ok(directory);
    }
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let copy = PathBuf::from(home).join(".cache/shrike-interop/suite");
    let said = |error: std::io::Error| format!("{}: {error}", copy.display());
    match std::fs::remove_dir_all(&copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(said(error)),
        _ => {}
    }
    copy_directory(&directory, &copy).map_err(said)?;
    for (name, target) in broken {
        let link = copy.join("shims").join(name);
        std::fs::remove_file(&link).and_then(|()| std::os::unix::fs::symlink(target, &link)).map_err(said)?;
    }
    Ok(copy)
}

/// Files that hold nothing but the name of a program beside them: its name and the program's.
fn lost_links(directory: &Path) -> Vec<(String, String)> {
    let names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let target = |name: &String| std::fs::read_to_string(directory.join(name)).ok();
    let mut links: Vec<(String, String)> = names
        .iter()
        .filter_map(|name| Some((name.clone(), target(name)?)))
        .filter(|(name, target)| name != target && names.contains(target))
        .collect();
    links.sort();
    links
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, to) = (entry?, to.to_owned());
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_symlink() {
            symlink(std::fs::read_link(entry.path())?, &to)?;
        } else if kind.is_dir() {
            copy_directory(&entry.path(), &to)?;
        } else {
            // Written anew, and not with the original's leave to write: the next run removes it.
            std::fs::write(&to, std::fs::read(entry.path())?)?;
            let mode = entry.metadata()?.permissions().mode() | 0o200;
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

struct Suite<'a> {
    workspace: &'a Workspace,
    directory: PathBuf,
}

impl<'a> Suite<'a> {
    fn find(workspace: &'a Workspace, report: &mut Report) -> Option<Suite<'a>> {
        let directory =
            workspace.shared().map(|shared| shared.join("suite")).filter(|suite| suite.join("suite").is_file());
        if directory.is_none() {
            let reason =
                "strongSwan's scenarios are not part of this repository; they are looked for in ../shared/suite";
            report.record("suite", Outcome::Skip(reason.to_owned()));
        }
        match with_links(directory?) {
            Ok(directory) => Some(Suite { workspace, directory }),
            Err(reason) => {
                report.record("suite", Outcome::Fail(reason));
                None
            }
        }
    }

    /// CATEGORY/NAME of each scenario there is.
    fn all_scenarios(&self) -> Vec<String> {
        let directories = |path: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
        };
        let scenarios = self.directory.join("scenarios");
        let mut names: Vec<String> = directories(&scenarios)
            .iter()
            .flat_map(|category| directories(category))
            .filter(|scenario| scenario.join("test.conf").is_file())
            .filter_map(|scenario| Some(scenario.strip_prefix(&scenarios).ok()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    fn ipsec_hosts(&self, scenario: &str) -> Vec<String> {
        let conf = std::fs::read_to_string(self.directory.join("scenarios").join(scenario).join("test.conf"));
        ipsec_hosts(&conf.unwrap_or_default())
    }

    /// Runs these scenarios with Shrike on this side. An error is the suite's, not a scenario's.
    fn side(&self, side: Side, scenarios: &[String], retry: u32, table: &mut Table) -> Result<(), String> {
        // One run per gateway: the daemon of a host is chosen for a whole run.
        let mut groups: BTreeMap<Option<&str>, Vec<&String>> = BTreeMap::new();
        for scenario in scenarios {
            let gateway = match side {
                Side::Everywhere => None,
                Side::Gateway | Side::Others => gateway(&self.ipsec_hosts(scenario)),
            };
            groups.entry(gateway).or_default().push(scenario);
        }
        let adapter = self.adapter()?.display().to_string();
        for (gateway, group) in groups {
            let daemons = match (side, gateway) {
                (Side::Gateway, Some(gateway)) => vec![format!("{adapter}:{gateway}")],
                (Side::Others, Some(gateway)) => vec![adapter.clone(), format!("charon:{gateway}")],
                _ => vec![adapter.clone()],
            };
            self.run(side, gateway, &daemons, &group, retry, table)?;
        }
        Ok(())
    }

    /// The adapter that starts Shrike on a virtual host. Each host has a /tmp of its own: from a checkout below the real one
    /// nothing could be read there, so a copy in the cache serves.
    fn adapter(&self) -> Result<PathBuf, String> {
        let adapter = self.workspace.root.join("interop/daemons/shrike");
        if !adapter.starts_with(std::env::temp_dir()) {
            return Ok(adapter);
        }
        let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
        let cache = PathBuf::from(home).join(".cache/shrike-interop");
        let copy = cache.join("shrike");
        std::fs::create_dir_all(&cache)
            .and_then(|()| std::fs::copy(&adapter, &copy))
            .map_err(|error| format!("{}: {error}", copy.display()))?;
        Ok(copy)
    }

    fn run(
        &self,
        side: Side,
        gateway: Option<&str>,
        daemons: &[String],
        scenarios: &[&String],
        retry: u32,
        table: &mut Table,
    ) -> Result<(), String> {
        let output = self.workspace.target.join("suite").join(format!("{side:?}-{}", gateway.unwrap_or("all")));
        if let Err(error) = std::fs::remove_dir_all(&output)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(format!("{}: {error}", output.display()));
        }
        let mut command = std::process::Command::new(self.directory.join("suite"));
        command.arg("run").args(scenarios).args(["--keep", "--retry", &retry.to_string(), "--out"]).arg(&output);
        for daemon in daemons {
            command.args(["--daemon", daemon]);
        }
        let program = self.workspace.program();
        // The adapter asks for the directory: each virtual host has its own /tmp, and this may be below the real one.
        if let Some(shared) = self.workspace.shared() {
            command.env("VM_RUN", shared.join("lab/vm/vm-run"));
        }
        command.env("SHRIKE_DIRECTORY", program.parent().unwrap_or(&program)).env("SHRIKE", &program);
        println!("$ suite run ({} scenarios) --daemon {}", scenarios.len(), daemons.join(" --daemon "));
        // Its exit status says whether a scenario failed; so do the results, in detail.
        command
            .stdin(std::process::Stdio::null())
            .status()
            .map_err(|error| format!("cannot run the suite: {error}"))?;
        let file = output.join("results.json");
        let document: Value = std::fs::read_to_string(&file)
            .map_err(|error| error.to_string())
            .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
            .map_err(|error| format!("the suite left no results in {}: {error}", file.display()))?;
        for (scenario, cell) in results(&document) {
            let hosts = self.ipsec_hosts(&scenario);
            let shrike: Vec<&String> = hosts
                .iter()
                .filter(|host| match side {
                    Side::Everywhere => true,
                    Side::Gateway => gateway == Some(host.as_str()),
                    Side::Others => gateway != Some(host.as_str()),
                })
                .collect();
            let cell = judged(cell, &logs(&output.join(&scenario), &shrike));
            table.set(&scenario, side, cell);
        }
        Ok(())
    }
}

/// What Shrike and swanctl printed on these hosts.
fn logs(scenario: &Path, hosts: &[&String]) -> String {
    let mut text = String::new();
    for host in hosts {
        for suffix in ["daemon.out", "daemon.log"] {
            if let Ok(log) = std::fs::read(scenario.join(format!("{host}.{suffix}"))) {
                text.push_str(&String::from_utf8_lossy(&log));
            }
        }
    }
    text
}

/// The daemon's own word is a better reason than the check that failed. And a scenario that expects a failure passes also
/// when the configuration was never loaded: that is no pass.
fn judged(cell: Cell, log: &str) -> Cell {
    match cell.status {
        Status::Fail | Status::Error => refusal(log).map_or(cell.clone(), |reason| Cell { reason, ..cell }),
        Status::Pass => {
            load_failure(log).map_or(cell, |reason| Cell { status: Status::Fail, reason: format!("{REFUSED}{reason}") })
        }
        Status::Skip => cell,
    }
}

fn ipsec_hosts(conf: &str) -> Vec<String> {
    let value = conf.lines().find_map(|line| line.trim().strip_prefix("IPSECHOSTS="));
    value.unwrap_or_default().trim_matches('"').split_whitespace().map(str::to_owned).collect()
}

fn gateway(hosts: &[String]) -> Option<&'static str> {
    GATEWAYS.into_iter().find(|gateway| hosts.iter().any(|host| host == gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_a_checkout_made_a_text_of_is_a_link_again() {
        let directory = std::env::temp_dir().join(format!("shrike-suite-links-{}", std::process::id()));
        let (from, to) = (directory.join("from"), directory.join("to"));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::write(from.join("ifup"), "#!/bin/sh\n").unwrap();
        std::fs::write(from.join("ifdown"), "ifup").unwrap();
        std::os::unix::fs::symlink("ifup", from.join("ifquery")).unwrap();
        let lost = lost_links(&from);
        let copied = copy_directory(&from, &to);
        let link = std::fs::read_link(to.join("ifquery"));
        let text = std::fs::read_to_string(to.join("ifup"));
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(lost, [("ifdown".to_owned(), "ifup".to_owned())]);
        copied.unwrap();
        assert_eq!(link.unwrap(), Path::new("ifup"));
        assert_eq!(text.unwrap(), "#!/bin/sh\n");
    }

    #[test]
    fn the_gateway_is_the_first_known_host() {
        let hosts = ipsec_hosts("VIRTHOSTS=\"alice moon\"\nIPSECHOSTS=\"carol moon sun\"\n");
        assert_eq!(hosts, ["carol", "moon", "sun"]);
        assert_eq!(gateway(&hosts), Some("moon"));
        assert_eq!(gateway(&ipsec_hosts("IPSECHOSTS=\"alice bob\"")), Some("bob"));
        assert_eq!(gateway(&ipsec_hosts("SWANCTL=1")), None);
    }

    #[test]
    fn a_pass_with_a_refused_configuration_is_none() {
        let pass = Cell { status: Status::Pass, reason: String::new() };
        assert_eq!(judged(pass.clone(), "swanctl: loaded connection 'gw-gw'\n"), pass);
        let refused = judged(pass, "swanctl: loading connection 'gw-gw' failed: mobike: not yet\n");
        assert_eq!(refused.status, Status::Fail);
        assert!(refused.reason.ends_with("refused: mobike: not yet"), "{}", refused.reason);
    }

    #[test]
    fn a_failure_keeps_its_check_when_the_daemon_says_nothing() {
        let fail = Cell { status: Status::Fail, reason: "1/5: moon# ping".to_owned() };
        assert_eq!(judged(fail.clone(), "quiet\n"), fail);
        let named = judged(fail, "swanctl: loading connection 'a' failed: auth = pubkey: not yet\n");
        assert_eq!(named.reason, "refused: auth = pubkey: not yet");
    }
}
