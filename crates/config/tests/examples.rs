//! The configurations of `examples/`: each loads, and each pair fits together.

use config::{Child, Config, Connection, FileError, Files, SelectorPattern, best_psk, load, parse};
use std::fs;
use std::path::Path;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, FileError> {
        fs::read_to_string(path).map_err(|e| FileError::from(e.kind()))
    }

    fn glob(&self, _pattern: &str) -> Vec<String> {
        Vec::new() // no example includes another file
    }
}

fn read(path: &Path) -> Config {
    let path = path.to_str().expect("a path that is text");
    let source = Disk.read(path).ok();
    let root = parse(path, &Disk).unwrap_or_else(|e| panic!("{}", e.report(source.as_deref())));
    load(&root).unwrap_or_else(|errors| {
        let reports: Vec<String> = errors.iter().map(|e| e.report(source.as_deref())).collect();
        panic!("{}", reports.join("\n"))
    })
}

fn example(name: &str) -> Config {
    read(&Path::new(EXAMPLES).join(name).join("swanctl.conf"))
}

#[test]
fn every_example_loads() {
    let mut names = Vec::new();
    for entry in fs::read_dir(EXAMPLES).expect("the directory examples").flatten() {
        let path = entry.path().join("swanctl.conf");
        let config = read(&path);
        assert!(!config.connections.is_empty() && !config.secrets.is_empty(), "{}", path.display());
        names.push(entry.file_name());
    }
    names.sort();
    assert_eq!(names, ["gateway-a", "gateway-b", "road-warrior", "road-warrior-gateway"]);
}

fn connection<'c>(config: &'c Config, name: &str) -> &'c Connection {
    config.connections.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no connection '{name}'"))
}

/// Both ends expect each other, share a secret that fits both identities best, and mirror each other's selectors.
fn fit_together(a: &Config, a_name: &str, b: &Config, b_name: &str) {
    let (to_b, to_a) = (connection(a, a_name), connection(b, b_name));
    assert_eq!((&to_b.local.id, &to_b.remote.id), (&to_a.remote.id, &to_a.local.id));
    let secret = |config: &Config| {
        let found = best_psk(&config.secrets, &to_b.local.id, &to_b.remote.id);
        found.first().map(|s| s.secret.expose().to_vec())
    };
    assert!(secret(a).is_some());
    assert!(secret(a) == secret(b), "the secrets of '{a_name}' and '{b_name}' differ");
    assert_eq!(to_b.proposals, to_a.proposals);
    let ([child_a], [child_b]) = (to_b.children.as_slice(), to_a.children.as_slice()) else { panic!("one child each") };
    let texts = |selectors: &[SelectorPattern]| selectors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sides = |child: &Child| (texts(&child.local_ts), texts(&child.remote_ts));
    let (local, remote) = sides(child_a);
    assert_eq!(sides(child_b), (remote, local));
    assert_eq!(child_a.esp_proposals, child_b.esp_proposals);
}

#[test]
fn the_pairs_fit_together() {
    fit_together(&example("gateway-a"), "to-b", &example("gateway-b"), "to-a");
    fit_together(&example("road-warrior"), "home", &example("road-warrior-gateway"), "alice");
}
