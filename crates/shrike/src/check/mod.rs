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
use crate::daemon::load::{self, Loaded};
use crate::diagnose::{as_json, as_text};
use diag::{Cause, Finding, Severity};
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

/// A file, and what was refused in it as findings.
fn read(path: &str) -> Result<(Loaded, Vec<Finding>), String> {
    let mut loaded = load::file(path)?;
    let refused = std::mem::take(&mut loaded.refused);
    let keys = std::mem::take(&mut loaded.refused_keys);
    let one = |(why, key): (String, String)| {
        let (first, rest) = why.split_once('\n').unwrap_or((&why, ""));
        let remedy = "correct this line: the connection is not loaded as it stands".to_string();
        let remedy = (cause_of(&key), remedy);
        let mut found = finding("refused", path, Severity::Error, &[remedy], first);
        found.evidence.extend(rest.lines().map(str::to_string));
        found
    };
    Ok((loaded, refused.into_iter().zip(keys).map(one).collect()))
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

fn findings(how: &Check) -> Result<(Vec<Finding>, Vec<String>), String> {
    let (a, mut found) = read(&how.file)?;
    let mut notes = Vec::new();
    let now = Duration::from_secs(unix_seconds());
    found.extend(sanity::one(&how.file, &a));
    found.extend(certificates::one(&how.file, &a, now));
    if let Some(with) = &how.with {
        let (b, refused) = read(with)?;
        found.extend(refused);
        found.extend(sanity::one(with, &b));
        found.extend(certificates::one(with, &b, now));
        found.extend(sanity::two((&how.file, &a), (with, &b)));
        found.extend(trial::each((&how.file, &a), (with, &b), &mut notes));
    }
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
