//! The configurations of strongSwan's test suite, where a copy lies beside the workspace.

use config::{ConfigError, FileError, Files, daemon_settings, load, parse};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/suite/scenarios");

/// Scenarios that must load completely: IKEv2 with pre-shared keys.
const COMPLETE: &[&str] = &[
    "ikev2/net2net-psk/",
    "ikev2/rw-psk-ipv4/",
    "ikev2/rw-psk-fqdn/",
    "ikev2/rw-psk-no-idr/",
    "ikev2/net2net-psk-fail/",
];

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, FileError> {
        // The suite's scripts put the hosts' addresses in place of words such as PH_IP_MOON1.
        let text = fs::read_to_string(path).map_err(|e| FileError::from(e.kind()))?;
        let mut parts = text.split("PH_IP_");
        let mut filled = parts.next().unwrap_or_default().to_string();
        for part in parts {
            filled.push_str("192.0.2.1");
            filled.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        }
        Ok(filled)
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        // The suite has one kind of pattern: DIRECTORY/*.conf.
        let Some(directory) = pattern.strip_suffix("*.conf") else { return Vec::new() };
        let mut paths: Vec<String> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(|e| Some(e.ok()?.path().to_str()?.to_string()))
            .filter(|p| p.ends_with(".conf"))
            .collect();
        paths.sort();
        paths
    }
}

fn find(directory: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name, found);
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
}

fn all(name: &str) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    find(Path::new(SCENARIOS), name, &mut found);
    found.sort();
    if found.is_empty() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no scenarios at {SCENARIOS}");
        eprintln!("SKIP: no scenarios at {SCENARIOS}");
        return None;
    }
    Some(found)
}

#[test]
fn swanctl_conf() {
    let Some(paths) = all("swanctl.conf") else { return };
    let (mut complete, mut unsupported) = (0, 0);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong: Vec<ConfigError> = Vec::new();
    let mut incomplete = Vec::new();
    for path in &paths {
        let path = path.to_str().unwrap();
        let root = match parse(path, &Disk) {
            Ok(root) => root,
            Err(e) => {
                wrong.push(e);
                continue;
            }
        };
        match load(&root) {
            Ok(_) => complete += 1,
            Err(errors) => {
                unsupported += 1;
                for e in &errors {
                    *reasons.entry(e.kind.to_string()).or_default() += 1;
                }
                if COMPLETE.iter().any(|c| path.contains(c)) {
                    incomplete.extend(errors.clone());
                }
                wrong.extend(errors.into_iter().filter(|e| !e.kind.is_unsupported()));
            }
        }
    }
    eprintln!("{} files: {complete} load, {unsupported} need what is not available:", paths.len());
    for (reason, count) in &reasons {
        eprintln!("{count:6} {reason}");
    }
    assert_eq!(incomplete.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(wrong.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn strongswan_conf() {
    let Some(paths) = all("etc/strongswan.conf") else { return };
    let mut warnings: BTreeMap<String, usize> = BTreeMap::new();
    for path in &paths {
        let path = path.to_str().unwrap();
        let root = parse(path, &Disk).unwrap_or_else(|e| panic!("{e}"));
        for warning in daemon_settings(&root).1 {
            assert!(!warning.is_fatal(), "{warning}");
            *warnings.entry(format!("{}: {:?}", warning.key, warning.kind)).or_default() += 1;
        }
    }
    eprintln!("{} files:", paths.len());
    for (warning, count) in &warnings {
        eprintln!("{count:6} {warning}");
    }
}
