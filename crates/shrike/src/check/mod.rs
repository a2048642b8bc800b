//! `shrike check`: what a configuration would do, without doing it.
//!
//! Of one file: what it holds that will not go well ([`sanity`]). Of two: each connection is negotiated, within this
//! process, by the same protocol core that the daemon has ([`trial`]); so what is found is what would happen.

mod against;
mod certificates;
mod inside;
mod sanity;
mod trial;

use crate::cli::Check;
use crate::clock::unix_seconds;
use crate::daemon::load::{self, Loaded, Refused};
use crate::diagnose::{as_json, as_text};
use diag::{Cause, Finding, Severity};
use model::ConfigRef;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use against::Against;

/// A finding about configurations: where, what, and what to do about each cause.
fn finding(
    id: &'static str,
    peer: impl Into<String>,
    severity: Severity,
    causes: &[(Cause, String)],
    why: impl Into<String>,
) -> Finding {
    Finding {
        id,
        peer: peer.into(),
        severity,
        since: 0,
        attempts: 1,
        causes: causes.iter().map(|(cause, _)| *cause).collect(),
        why: why.into(),
        evidence: Vec::new(),
        remedy: causes.iter().map(|(_, remedy)| remedy.clone().into()).collect(),
    }
}

/// A finding about one file, with its place there.
struct Placed {
    file: String,
    line: u32,
    finding: Finding,
}

impl Placed {
    fn at(place: &ConfigRef, finding: Finding) -> Self {
        Self { file: place.file.clone(), line: place.line, finding }
    }
}

/// A file, and what was refused in it as findings.
fn read(path: &str) -> Result<(Loaded, Vec<Placed>), String> {
    let loaded = load::file(path)?;
    let one = |refused: &Refused| {
        let (first, rest) = refused.report.split_once('\n').unwrap_or((&refused.report, ""));
        // The report of a daemon's log begins so; the finding has its severity.
        let first = first.strip_prefix("error: ").unwrap_or(first);
        let cause = if refused.about_file { Cause::AuthFailed } else { cause_of(&refused.key) };
        let remedy = match refused.at.line {
            0 if refused.about_file => "correct this file, or remove it: nothing can use it as it is",
            _ => "correct this line: the connection is not loaded as it stands",
        };
        let mut found = finding("refused", path, Severity::Error, &[(cause, remedy.to_string())], first);
        found.evidence.extend(rest.lines().map(str::to_string));
        Placed { file: refused.at.file.to_string(), line: refused.at.line, finding: found }
    };
    let found = loaded.refused.iter().map(one).collect();
    Ok((loaded, found))
}

/// Everything about one file by itself, in the order of its lines.
fn alone(path: &str, now: Duration) -> Result<(Loaded, Vec<Finding>), String> {
    let (loaded, mut found) = read(path)?;
    found.extend(sanity::one(path, &loaded));
    found.extend(certificates::one(path, &loaded, now));
    found.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok((loaded, found.into_iter().map(|placed| placed.finding).collect()))
}

/// What a fault in a line would become, were it not refused: the cause that the key's value decides.
fn cause_of(key: &str) -> Cause {
    let last = key.rsplit('.').next().unwrap_or_default();
    match last {
        "proposals" => Cause::Phase1Proposal,
        "esp_proposals" | "ah_proposals" => Cause::ChildFailed,
        "certs" | "cacerts" | "cacert" | "ca_id" | "auth" | "revocation" | "file" | "crl_uris" => Cause::AuthFailed,
        "secret" if ["rsa", "ecdsa", "private", "pkcs", "eap", "xauth"].iter().any(|kind| of_section(key, kind)) => {
            Cause::AuthFailed
        }
        "secret" => Cause::PskMismatch,
        "id" => Cause::PeerId,
        "local_ts" | "remote_ts" => Cause::TrafficSelector,
        "version" => Cause::IkeVersion,
        "aggressive" => Cause::NegotiationMode,
        "mode" => Cause::EncapsulationMode,
        "encap" => Cause::NatTraversal,
        "start_action" => Cause::NotStarted,
        _ if last.starts_with("dpd_") => Cause::DpdTimeout,
        _ if ["rekey_", "life_", "rand_", "reauth_", "over_time"].iter().any(|prefix| last.starts_with(prefix)) => {
            Cause::Lifetime
        }
        _ => Cause::NoConfig,
    }
}

/// Whether a key is in a section of `secrets` of this kind: `secrets.rsa-moon.secret`.
fn of_section(key: &str, kind: &str) -> bool {
    key.strip_prefix("secrets.").is_some_and(|section| section.starts_with(kind))
}

/// A connection that a file refuses is not found in it: that is what to mend, and no other one is to be added.
fn not_loaded(path: &str, loaded: &Loaded, tried: &mut [Finding]) {
    let Some(first) = loaded.refused.iter().find(|refused| !refused.about_file) else { return };
    let to = format!(" -> {path}");
    let missed = |f: &&mut Finding| f.causes.first() == Some(&Cause::NoConfig) && f.peer.ends_with(&to);
    for found in tried.iter_mut().filter(missed) {
        if let Some(remedy) = found.remedy.first_mut() {
            *remedy = format!(
                "mend what is refused first: a connection that is not loaded cannot be found [{}:{}]",
                first.at.file, first.at.line
            )
            .into();
        }
    }
}

fn findings(how: &Check) -> Result<(Vec<Finding>, Vec<String>), String> {
    let mut notes = Vec::new();
    let now = Duration::from_secs(unix_seconds());
    let (a, mut found) = alone(&how.file, now)?;
    if let Some(with) = &how.with {
        let (b, more) = alone(with, now)?;
        found.extend(more);
        found.extend(sanity::two((&how.file, &a), (with, &b)));
        let mut tried = trial::each((&how.file, &a), (with, &b), &mut notes);
        for (path, loaded) in [(&how.file, &a), (with, &b)] {
            not_loaded(path, loaded, &mut tried);
        }
        found.extend(tried);
    }
    // The worst first; what is alike keeps the order of its lines.
    found.sort_by_key(|found| std::cmp::Reverse(found.severity));
    if found.iter().all(|f| f.severity <= Severity::Info) {
        let count = a.connections.len();
        notes.push(format!("{}: {count} connection{}, nothing wrong", how.file, if count == 1 { "" } else { "s" }));
    }
    Ok((found, notes))
}

/// Checks, and prints what was found. The exit code is that of `shrike diagnose`.
pub fn run(how: &Check, print: impl Fn(&str), complain: impl Fn(&str)) -> ExitCode {
    match findings(how) {
        Ok((found, notes)) => {
            print(&if how.json { as_json(&found, &notes) } else { as_text(&found, &notes, how.verbose) });
            match found.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok) {
                Severity::Ok | Severity::Info => ExitCode::SUCCESS,
                Severity::Warning => ExitCode::from(1),
                Severity::Error => ExitCode::from(2),
            }
        }
        Err(error) => {
            complain(&format!("shrike: {error}"));
            ExitCode::from(3)
        }
    }
}

#[cfg(test)]
mod tests;
