//! Test data kept outside the project.

use std::path::PathBuf;

/// A folder of shared test data; `None`, said on stderr, where it is not there. Under `CI=true` it must be.
pub fn vectors(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")).join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no {}", path.display());
    eprintln!("SKIP: no {}", path.display());
    None
}
