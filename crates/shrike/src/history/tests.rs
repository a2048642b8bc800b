use super::*;
use sim::{Sim, Site};
use std::sync::Mutex;

/// A file of its own for each test, gone when the test is over.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("shrike-history-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory.join("history.sqlite"))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// What two sites with different secrets tell at the responder, and what a good pair tells.
fn events() -> Vec<Event> {
    let mut events = Vec::new();
    for secret in ["other", "swordfish"] {
        let mut sim = Sim::new(3);
        let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1").secret(Some(secret)));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(20));
        events.extend(sim.events(b).map(|(_, event)| event.clone()));
    }
    events
}

fn record(path: &Path, events: &[Event]) -> Vec<String> {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    let recorder = Recorder::start(path, move |note| kept.lock().unwrap().push(note.to_string())).unwrap();
    events.iter().for_each(|event| recorder.event(event));
    drop(recorder);
    let notes = notes.lock().unwrap();
    notes.clone()
}

#[test]
fn what_happened_is_there_after_a_restart() {
    let file = File::new("restart");
    assert_eq!(record(&file.0, &events()), Vec::<String>::new());
    let text = show(&file.0, Some("gw"), 50, false).unwrap();
    for word in ["ended", "PSK_MISMATCH", "ike-up", "child-up", "192.0.2.1"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let secret = text.contains("swordfish") || std::fs::read(&file.0).unwrap().windows(9).any(|w| w == b"swordfish");
    assert!(!secret, "secrets are not kept");
    for peer in ["192.0.2.1", "a.example"] {
        assert!(show(&file.0, Some(peer), 50, false).unwrap().lines().count() >= 1, "{peer}");
    }
    assert!(show(&file.0, Some("nobody"), 50, false).unwrap_err().contains("nothing about 'nobody'"));
    assert_eq!(show(&file.0, None, 1, false).unwrap().lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&show(&file.0, None, 50, true).unwrap()).unwrap();
    assert_eq!(json["schema"], SCHEMA);
    let ended = json["events"].as_array().unwrap().iter().find(|event| event["kind"] == "ended").unwrap();
    assert_eq!((&ended["code"], &ended["causes"][0]), (&"PSK_MISMATCH".into(), &"PSK_MISMATCH".into()));
    let again = Recorder::start(&file.0, |_| {}).unwrap();
    let restored: Vec<Tombstone> = again.restored().collect();
    assert_eq!((restored.len(), restored[0].failure.kind.code()), (1, "PSK_MISMATCH"));
    assert!(restored[0].ended < Duration::from_secs(60));
}

/// What the operating system said of the datagrams is kept with the end that they led to, and explains it after a restart.
#[test]
fn what_became_of_datagrams_is_there_after_a_restart() {
    for (errno, words, remedy) in [
        (model::SendTrouble::NotPermitted, "a packet filter of this host drops it", "packet filter"),
        (model::SendTrouble::NetworkUnreachable, "this host has no route to it", "add a route"),
        (model::SendTrouble::PortUnreachable, "no daemon has the port", "start the IKE daemon"),
    ] {
        let file = File::new("sending");
        let mut sim = Sim::new(3);
        let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
        sim.blocks.push(sim::Block { to: Some(sim.address(b)), ..sim::Block::default() });
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(300));
        let mut ended = sim.tombstones(a).remove(0);
        let reporter = Some([192, 0, 2, 9].into());
        let last = Duration::from_secs(2);
        ended.sa.send_error = Some(model::SendError { to: ended.sa.remote, trouble: errno, count: 6, last, reporter });
        record(&file.0, &[Event::Ended(Box::new(ended))]);
        let text = show(&file.0, Some("gw"), 50, false).unwrap();
        assert!(text.contains(words) && text.contains("as 192.0.2.9 reports (6 times)"), "{text}");
        let again = Recorder::start(&file.0, |_| {}).unwrap();
        let kept = again.restored().next().unwrap();
        assert_eq!(kept.sa.send_error.unwrap().last, last + kept.ended, "it grows older with the end");
        let live = model::Live { ended: again.restored().collect(), remembers: true, ..model::Live::default() };
        let found = diag::live(&live).remove(0);
        assert_eq!(found.causes.first(), Some(&diag::Cause::NoResponse));
        assert!(
            found.remedy[0].contains(remedy) && found.evidence.iter().any(|line| line.contains(words)),
            "{found:?}"
        );
    }
}

/// Of several attempts that fail alike there is one finding, and it ends when the peer is up; a restart does not forget it.
#[test]
fn a_finding_begins_and_ends() {
    let file = File::new("findings");
    let events = events();
    let failed: Vec<Event> = events.iter().filter(|event| matches!(event, Event::Ended(_))).cloned().collect();
    let up: Vec<Event> = events.iter().filter(|event| matches!(event, Event::IkeUp(_))).cloned().collect();
    assert_eq!((failed.len(), up.len()), (1, 1));
    record(&file.0, &[&failed[..], &failed, &failed].concat());
    let kinds = |kind: &str| {
        let json: serde_json::Value = serde_json::from_str(&show(&file.0, Some("gw"), 50, true).unwrap()).unwrap();
        let rows = json["events"].as_array().unwrap().clone();
        rows.into_iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>()
    };
    let began = kinds("finding");
    assert_eq!((began.len(), &began[0]["code"], kinds("finding-over").len()), (1, &"PSK_MISMATCH".into(), 0));
    assert!(began[0]["at"].as_i64().unwrap() > 0);
    // Another daemon with the same file: the finding is still open, and the peer comes up.
    record(&file.0, &[&failed[..], &up].concat());
    let over = kinds("finding-over");
    assert_eq!((kinds("finding").len(), over.len(), &over[0]["code"]), (1, 1, &"PSK_MISMATCH".into()));
    assert!(over[0]["text"].as_str().unwrap().starts_with("PSK_MISMATCH is over after"), "{over:?}");
    record(&file.0, &failed);
    assert_eq!(kinds("finding").len(), 2, "it begins anew");
}

#[test]
fn a_damaged_file_is_set_aside() {
    let file = File::new("damaged");
    let events = events();
    record(&file.0, &events);
    let good = std::fs::read(&file.0).unwrap();
    let mut holes = good.clone();
    holes[4096..].fill(0xa5);
    for (n, bad) in [b"this is no database, whatever it is called".to_vec(), holes, good[..good.len() / 3].to_vec()]
        .iter()
        .enumerate()
    {
        std::fs::write(&file.0, bad).unwrap();
        let notes = record(&file.0, &events);
        assert!(notes.len() == 1 && notes[0].contains("set aside"), "{n}: {notes:?}");
        assert_eq!(&std::fs::read(file.0.with_added_extension("broken")).unwrap(), bad, "{n}");
        assert!(show(&file.0, Some("gw"), 50, false).unwrap().contains("PSK_MISMATCH"), "{n}");
    }
    // Another program's, or a newer version's.
    std::fs::remove_file(&file.0).unwrap();
    Connection::open(&file.0).unwrap().execute_batch("CREATE TABLE event (id); PRAGMA user_version = 7").unwrap();
    assert!(record(&file.0, &events)[0].contains("set aside"));
    // While it is written to.
    let (mut store, _) = Store::open(&file.0).unwrap();
    std::fs::write(&file.0, vec![0x5a; 8192]).unwrap();
    let row = Row { kind: "ended".into(), connection: "gw".into(), text: "after".into(), ..Row::default() };
    let note = store.add_anyhow(std::slice::from_ref(&row)).unwrap().unwrap();
    assert!(note.contains("set aside"), "{note}");
    assert_eq!(store.add_anyhow(&[row]), Ok(None));
    assert_eq!(read(&file.0, Some("gw"), 10).unwrap().len(), 2);
}

#[test]
fn the_oldest_rows_go_and_a_full_file_goes_on() {
    let file = File::new("bounded");
    let (mut store, _) = Store::open(&file.0).unwrap();
    let rows: Vec<Row> = (0..500).map(|n| Row { at: n, text: "x".repeat(400), ..Row::default() }).collect();
    for _ in 0..4 {
        store.add(&rows, 1000).unwrap();
    }
    let count =
        |store: &Store| store.db.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(&store), 1000);
    let pages: i64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    for _ in 0..4 {
        store.add_anyhow(&rows).unwrap();
    }
    assert!(count(&store) >= 500 && count(&store) < 2500, "{}", count(&store));
    let directory = file.0.parent().unwrap();
    assert!(Store::open(directory).map(|_| ()).unwrap_err().contains("history"), "a directory is no file");
    assert!(show(&directory.join("none"), None, 1, false).unwrap_err().contains("--history FILE"));
}

/// A newer version's file is not lost by an older daemon, and whoever reads what he cannot is told what to do.
#[test]
fn a_file_of_a_newer_version_is_kept_and_one_that_cannot_be_read_says_why() {
    let file = File::new("newer");
    let newer = || {
        let db = Connection::open(&file.0).unwrap();
        db.execute_batch("CREATE TABLE event (id, what); PRAGMA user_version = 7").unwrap();
    };
    newer();
    let error = show(&file.0, None, 5, false).unwrap_err();
    assert!(error.contains("newer version of shrike"), "{error}");
    let notes = record(&file.0, &events());
    assert!(notes[0].contains("history.sqlite.version-7"), "{notes:?}");
    std::fs::write(&file.0, b"this is no database").unwrap();
    let error = show(&file.0, None, 5, false).unwrap_err();
    assert!(error.contains("damaged, or no history"), "{error}");
    assert!(record(&file.0, &events())[0].contains("broken"));
    assert!(file.0.with_added_extension("version-7").exists(), "it is still there");
    let directory = file.0.parent().unwrap();
    let error = show(directory, None, 5, false).unwrap_err();
    assert!(error.contains("it is no file"), "{error}");
}

/// Two daemons with one file, a reader beside a writer, and one who keeps the file locked: nothing waits for ever, and what
/// could not be written is told once.
#[test]
fn a_file_that_is_open_twice_is_no_harm() {
    let file = File::new("twice");
    let events = events();
    let first = Recorder::start(&file.0, |_| {}).unwrap();
    let second = Recorder::start(&file.0, |_| {}).unwrap();
    for event in &events {
        first.event(event);
        second.event(event);
    }
    drop((first, second));
    let one = read(&file.0, None, 1000).unwrap().len();
    assert!(one >= 2 * events.iter().filter(|event| Row::of(event).is_some()).count(), "{one}");
    let (mut store, _) = Store::open(&file.0).unwrap();
    let other = Connection::open(&file.0).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let row = Row { kind: "ended".into(), connection: "late".into(), ..Row::default() };
    assert!(store.add_anyhow(std::slice::from_ref(&row)).unwrap_err().contains("locked"));
    let error = show(&file.0, None, 5, false).unwrap_err();
    assert!(error.contains("another program has it locked"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.add_anyhow(&[row]), Ok(None));
    assert_eq!(read(&file.0, Some("late"), 10).unwrap().len(), 1);
}

/// A daemon that was killed while it wrote leaves a file and a journal: the file as it is in the middle, and what it was.
#[test]
fn what_a_killed_daemon_was_writing_is_taken_back() {
    let (file, copy) = (File::new("killed"), File::new("killed-copy"));
    record(&file.0, &events());
    let before = read(&file.0, None, 100).unwrap().len();
    assert!(before > 0);
    let journal = |path: &Path| path.with_extension("sqlite-journal");
    {
        let db = Connection::open(&file.0).unwrap();
        // So little is kept in memory that pages are written before the transaction is over.
        db.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN;").unwrap();
        for n in 0..2000 {
            let more = "INSERT INTO event (at, kind, connection, local, remote, identity, code, causes, text)
                SELECT at, kind, connection, local, remote, identity, code, causes, text || ?1 FROM event LIMIT 1";
            db.execute(more, [format!("{n:200}")]).unwrap();
        }
        std::fs::copy(&file.0, &copy.0).unwrap();
        std::fs::copy(journal(&file.0), journal(&copy.0)).unwrap();
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let refused = select(&copy.0, flags, None, 100).map(|_| ()).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::ReadOnly), "{refused}");
    assert_eq!(read(&copy.0, None, 100).unwrap().len(), before);
}

#[test]
fn an_address_is_found_however_it_is_written() {
    let file = File::new("address");
    let (mut store, _) = Store::open(&file.0).unwrap();
    store.add(&[Row { remote: "2001:db8::1".into(), ..Row::default() }], 10).unwrap();
    assert_eq!(read(&file.0, Some("2001:DB8:0::1"), 10).unwrap().len(), 1);
}

/// While somebody else has the file locked nothing is written, and in the end it is told how much that was.
#[test]
fn what_could_not_be_written_is_counted() {
    let file = File::new("counted");
    let notes = Arc::new(Mutex::new(Vec::new()));
    let (kept, (told, waits)) = (Arc::clone(&notes), std::sync::mpsc::channel());
    let recorder = Recorder::start(&file.0, move |note| {
        kept.lock().unwrap().push(note.to_string());
        let _ = told.send(());
    })
    .unwrap();
    let other = Connection::open(&file.0).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let event = events().into_iter().find(|event| matches!(event, Event::IkeUp(_))).unwrap();
    recorder.event(&event);
    waits.recv_timeout(Duration::from_secs(30)).unwrap();
    other.execute_batch("COMMIT").unwrap();
    recorder.event(&event);
    drop(recorder);
    let notes = notes.lock().unwrap();
    assert!(notes[0].contains("locked; end that"), "{notes:?}");
    assert_eq!(notes[1], "it is written again; 1 events in between are not in it");
    assert_eq!(read(&file.0, None, 10).unwrap().len(), 1);
}
