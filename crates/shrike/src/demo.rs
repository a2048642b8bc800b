//! The demonstration.

/// Runs it.
pub fn run(_no_root: bool) -> Result<(), String> {
    Err("in preparation".into())
}
