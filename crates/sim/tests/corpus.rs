//! Replays the corpora of the fuzz targets, so that what they once found stays found on the stable compiler too.

use std::path::PathBuf;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{} holds {} files", folder.display(), files.len());
    files
}

fn replay(target: &str, run: fn(&[u8])) {
    for file in corpus(target) {
        let data = std::fs::read(&file).expect("a file");
        eprintln!("{}", file.display()); // shown with a panic: which one
        run(&data);
        // Cut short, each is another input.
        for length in (0..data.len()).step_by(7) {
            run(&data[..length]);
        }
    }
}

/// Each file with one octet exchanged, here and there.
fn replay_damaged(target: &str, run: fn(&[u8])) {
    for file in corpus(target) {
        let mut data = std::fs::read(&file).expect("a file");
        eprintln!("{}", file.display());
        for at in (0..data.len()).step_by(23) {
            for change in [0x01, 0x20, 0x80] {
                data[at] ^= change;
                run(&data);
                data[at] ^= change;
            }
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

fn listing(data: &[u8]) {
    show::fuzzing::listing(data).series.values().for_each(|series| diag::fuzzing::listing(series));
}

fn capture(data: &[u8]) {
    diag::fuzzing::capture(&capture::fuzzing::capture(data));
}

fn opened(data: &[u8]) {
    diag::fuzzing::capture(&capture::fuzzing::opened(data));
}

/// The keys of the corpus are those of its captures: what is replayed is what is inside.
#[test]
fn diagnose_keys() {
    for file in corpus("diagnose_keys") {
        let sas = capture::fuzzing::opened(&std::fs::read(&file).expect("a file"));
        let read = sas.iter().flat_map(|sa| &sa.messages).any(|message| message.inside.is_some());
        assert!(read, "{}: nothing is opened", file.display());
    }
    replay("diagnose_keys", opened);
    replay_damaged("diagnose_keys", opened);
}

#[test]
fn diagnose_log() {
    replay("diagnose_log", diag::fuzzing::log);
    replay_damaged("diagnose_log", diag::fuzzing::log);
}

#[test]
fn diagnose_listing() {
    replay("diagnose_listing", listing);
    replay_damaged("diagnose_listing", listing);
}

#[test]
fn diagnose_capture() {
    replay("diagnose_capture", capture);
    replay_damaged("diagnose_capture", capture);
}
