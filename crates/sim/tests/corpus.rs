//! Replays the corpora of the fuzz targets, so that what they once found stays found on the stable compiler too.

use std::path::PathBuf;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{} holds {} files", folder.display(), files.len());
    for file in files {
        let data = std::fs::read(&file).expect("a file");
        eprintln!("{}", file.display()); // shown with a panic: which one
        run(&data);
        // Cut short, each is another input.
        for length in (0..data.len()).step_by(7) {
            run(&data[..length]);
        }
    }
}

#[test]
fn wire_parse() {
    replay("wire_parse", |data| {
        wire::fuzzing::parse_anything(data);
    });
}

#[test]
fn endpoint_unauth() {
    replay("endpoint_unauth", sim::fuzz::endpoint_unauthenticated);
}

#[test]
fn endpoint_auth() {
    replay("endpoint_auth", sim::fuzz::endpoint_authentic);
}

#[test]
fn endpoint_v1() {
    replay("endpoint_v1", sim::fuzz_v1::endpoint_v1);
}

#[test]
fn config_parse() {
    replay("config_parse", sim::fuzz::config_parse);
}

#[test]
fn diagnose_log() {
    replay("diagnose_log", diag::fuzzing::log);
}

#[test]
fn diagnose_listing() {
    replay("diagnose_listing", |data| {
        show::fuzzing::listing(data).series.values().for_each(|series| diag::fuzzing::listing(series));
    });
}

#[test]
fn diagnose_capture() {
    replay("diagnose_capture", |data| diag::fuzzing::capture(&capture::fuzzing::capture(data)));
}
