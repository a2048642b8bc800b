//! What happened, kept in SQLite: bounded, and never in the way.
//!
//! A thread of its own writes, so that the event loop never waits for a disk; when it cannot keep up, rows are left out and
//! counted. A file that is damaged is set aside and a new one begun. `shrike history` reads the same file, also when no daemon
//! runs; anybody else can with sqlite3.

mod findings;

use crate::clock::unix_milliseconds;
use findings::Findings;
use model::{Event, SaSnapshot, Tombstone};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where it is, if there is this directory and nothing else is said.
pub const DEFAULT: &str = "/var/lib/shrike/history.sqlite";
/// Version of the JSON form.
const SCHEMA: &str = "shrike.history/1";
/// Our version of the table, in SQLite's `user_version`.
const VERSION: i64 = 1;
/// Rows that are kept; the oldest go.
const MAX_ROWS: i64 = 100_000;
/// Pages of 4096 octets that the file may have: 128 MiB.
const MAX_PAGES: i64 = 32_768;
/// Rows that wait for the disk.
const QUEUE: usize = 4096;
/// Rows of one transaction.
const BATCH: usize = 256;
/// Ends that are remembered over a restart.
const RESTORED: usize = 256;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, connection TEXT NOT NULL, local TEXT NOT NULL,
    remote TEXT NOT NULL, identity TEXT NOT NULL, code TEXT NOT NULL, causes TEXT NOT NULL, text TEXT NOT NULL, message BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS event_of_connection ON event (connection, id);
CREATE INDEX IF NOT EXISTS event_of_remote ON event (remote, id);";

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Milliseconds since 1970.
    at: i64,
    /// `ike-up`, `ike-down`, `child-up`, `child-down`, `ended` or `rekey-failed`; `finding` where one begins, `finding-over` where it ends.
    kind: String,
    connection: String,
    local: String,
    remote: String,
    /// Who the peer says it is, once known.
    identity: String,
    /// The reason's code, of an end.
    code: String,
    /// The catalogue's causes of a fault, most likely first, with blanks between.
    causes: String,
    /// The event as the log has it.
    text: String,
    /// The tombstone as `shrike-list-ended` tells it, of an end.
    message: Option<Vec<u8>>,
}

impl Row {
    /// What an event leaves; most leave nothing.
    fn of(event: &Event) -> Option<Self> {
        let (kind, sa): (&str, &SaSnapshot) = match event {
            Event::IkeUp(sa) => ("ike-up", sa),
            Event::IkeDown(sa) => ("ike-down", sa),
            Event::ChildUp(sa) => ("child-up", sa),
            Event::ChildDown(sa) => ("child-down", sa),
            Event::Ended(tombstone) => ("ended", &tombstone.sa),
            Event::RekeyFailed(tombstone) if !tombstone.is_temporary() => ("rekey-failed", &tombstone.sa),
            _ => return None,
        };
        let mut row = Row {
            at: i64::try_from(unix_milliseconds()).unwrap_or(i64::MAX),
            kind: kind.to_string(),
            connection: sa.name.clone(),
            local: sa.local.ip().to_string(),
            remote: sa.remote.ip().to_string(),
            identity: sa.remote_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            text: event.log().2,
            ..Row::default()
        };
        if let Event::Ended(tombstone) | Event::RekeyFailed(tombstone) = event {
            row.code = tombstone.failure.kind.code().to_string();
            row.message = Some(vici::schema::tombstone(tombstone).encode());
            if let Some(error) = &sa.send_error {
                let by = error.reporter.map(|reporter| format!(", as {reporter} reports")).unwrap_or_default();
                let _ = write!(row.text, "; sending to {}: {}{by} ({} times)", error.to, error.trouble, error.count);
            }
            if !tombstone.failure.kind.is_ordinary() {
                let found = diag::ended(tombstone);
                row.causes = found.causes.iter().map(|cause| cause.code()).collect::<Vec<_>>().join(" ");
            }
        }
        Some(row)
    }
}

/// The file.
struct Store {
    path: PathBuf,
    db: Connection,
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch)
    ) || matches!(error, rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::SqlInputError { .. })
}

/// An error with what to do about it.
fn complaint(path: &Path, error: &rusqlite::Error) -> String {
    let what_to_do = match error.sqlite_error_code() {
        _ if version_of(path).is_some_and(|version| version > VERSION) => {
            ": a newer version of shrike wrote it; read it with that one"
        }
        _ if path.exists() && !path.is_file() => ": it is no file",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ": another program has it locked; end that",
        Some(ErrorCode::ReadOnly) => ": make it and its directory writable, or name another place (--history FILE)",
        Some(ErrorCode::DiskFull) => ": make room there, or name another place (--history FILE)",
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => ": not for this user (try sudo), or not there",
        _ if is_damage(error) => {
            ": it is damaged, or no history of shrike; a daemon that is started with it sets it aside and begins a new one"
        }
        _ => "",
    };
    format!("{}: {error}{what_to_do}", path.display())
}

/// The version of a file's table, if it can be read.
fn version_of(path: &Path) -> Option<i64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).ok()?;
    db.query_row("PRAGMA user_version", [], |row| row.get(0)).ok()
}

impl Store {
    /// Opens or makes the file. One that is damaged, or of another version, is renamed to `NAME.broken` (in place of an
    /// earlier one), one of a newer version to `NAME.version-N`; the note says so.
    ///
    /// # Errors
    /// There can be none at that place.
    fn open(path: &Path) -> Result<(Self, Option<String>), String> {
        let said = |error: rusqlite::Error| complaint(path, &error);
        match Self::try_open(path) {
            Ok(store) => Ok((store, None)),
            Err(error)
                if path.is_file() && (is_damage(&error) || matches!(error, rusqlite::Error::QueryReturnedNoRows)) =>
            {
                let aside = path.with_added_extension(match version_of(path) {
                    // A newer version may want it back.
                    Some(version) if version > VERSION => format!("version-{version}"),
                    _ => "broken".to_string(),
                });
                std::fs::rename(path, &aside).map_err(|e| format!("{}: {e}", path.display()))?;
                // What belongs to the old file must not be applied to the new one.
                for left in ["-journal", "-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(left);
                    let _ = std::fs::remove_file(name);
                }
                let note = format!(
                    "{}: damaged, or of another version ({error}): set aside as {}",
                    path.display(),
                    aside.display()
                );
                Ok((Self::try_open(path).map_err(said)?, Some(note)))
            }
            Err(error) => Err(said(error)),
        }
    }

    fn try_open(path: &Path) -> rusqlite::Result<Self> {
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_millis(500))?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let empty: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if version != VERSION && (version != 0 || empty != 0) {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
        let sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
        db.execute_batch(TABLE)?;
        db.execute_batch(&format!("PRAGMA user_version = {VERSION}; PRAGMA synchronous = NORMAL;"))?;
        db.query_row(&format!("PRAGMA max_page_count = {MAX_PAGES}"), [], |_| Ok(()))?;
        db.prepare("SELECT at, kind, connection, local, remote, identity, code, causes, text, message FROM event")?;
        Ok(Self { path: path.to_path_buf(), db })
    }

    /// Adds rows, in one transaction, and lets the oldest go.
    fn add(&mut self, rows: &[Row], keep: i64) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO event (at, kind, connection, local, remote, identity, code, causes, text, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for r in rows {
                let (ends, why) = ((&r.local, &r.remote, &r.identity), (&r.code, &r.causes, &r.text));
                insert.execute(params![
                    r.at,
                    r.kind,
                    r.connection,
                    ends.0,
                    ends.1,
                    ends.2,
                    why.0,
                    why.1,
                    why.2,
                    r.message
                ])?;
            }
            transaction.execute("DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1", [keep])?;
        }
        transaction.commit()
    }

    /// Adds rows whatever becomes of the file: one that is full loses its older half, one that is damaged is set aside.
    /// What an operator should know of that comes back.
    fn add_anyhow(&mut self, rows: &[Row]) -> Result<Option<String>, String> {
        let said = |path: &Path, error: rusqlite::Error| complaint(path, &error);
        match self.add(rows, MAX_ROWS) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                let half = "DELETE FROM event WHERE id < (SELECT (min(id) + max(id)) / 2 FROM event)";
                let freed = self.db.execute(half, []).and_then(|_| self.add(rows, MAX_ROWS));
                freed.map(|()| None).map_err(|error| said(&self.path, error))
            }
            Err(error) if is_damage(&error) => {
                let (store, note) = Self::open(&self.path.clone())?;
                *self = store;
                self.add(rows, MAX_ROWS).map_err(|error| said(&self.path, error))?;
                Ok(note)
            }
            other => other.map(|()| None).map_err(|error| said(&self.path, error)),
        }
    }

    /// The last ends, the latest first: when, and how a client would be told.
    fn ends(&self) -> Vec<(i64, Tombstone)> {
        let query = format!("SELECT at, message FROM event WHERE kind = 'ended' ORDER BY id DESC LIMIT {RESTORED}");
        let Ok(mut statement) = self.db.prepare(&query) else { return Vec::new() };
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let Ok(rows) = statement.query_map([], read) else { return Vec::new() };
        // What an older version wrote and this one cannot read is left out.
        let one = |(at, octets): (i64, Vec<u8>)| {
            let message = vici::Message::decode(&octets).ok()?;
            Some((at, vici::schema::tombstone_from(&message).ok()?))
        };
        rows.filter_map(Result::ok).filter_map(one).collect()
    }
}

/// Hands rows to the thread that writes.
pub struct Recorder {
    sender: Option<SyncSender<Row>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
    restored: Vec<(i64, Tombstone)>,
    findings: Mutex<Findings>,
}

impl Recorder {
    /// Begins to record into this file. `log` gets what an operator should know.
    ///
    /// # Errors
    /// There can be no file at that place.
    pub fn start(path: &Path, log: impl Fn(&str) + Send + 'static) -> Result<Self, String> {
        let (mut store, note) = Store::open(path)?;
        note.iter().for_each(|note| log(note));
        let (restored, findings) = (store.ends(), Mutex::new(Findings::restored(&store.db)));
        let (sender, receiver): (SyncSender<Row>, Receiver<Row>) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let left_out = Arc::clone(&lost);
        let write = move || {
            // What was complained about last, and how much was not written since.
            let (mut told, mut missing) = (String::new(), 0);
            while let Ok(first) = receiver.recv() {
                let rows: Vec<Row> = std::iter::once(first).chain(receiver.try_iter().take(BATCH - 1)).collect();
                match store.add_anyhow(&rows) {
                    Ok(note) => {
                        note.iter().for_each(|note| log(note));
                        if missing > 0 {
                            log(&format!("it is written again; {missing} events in between are not in it"));
                        }
                        (told, missing) = (String::new(), 0);
                    }
                    Err(error) => {
                        missing += rows.len();
                        if error != told {
                            log(&error);
                            told = error;
                        }
                    }
                }
                let lost = left_out.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    log(&format!("the disk is too slow: {lost} events are not in the history"));
                }
            }
        };
        let thread = std::thread::Builder::new().name("history".into()).spawn(write).map_err(|e| e.to_string())?;
        Ok(Self { sender: Some(sender), thread: Some(thread), lost, restored, findings })
    }

    /// Something happened. Never waits.
    pub fn event(&self, event: &Event) {
        let (Some(sender), Some(row)) = (&self.sender, Row::of(event)) else { return };
        let further = self.findings.lock().map(|mut findings| findings.rows(event, &row)).unwrap_or_default();
        for row in std::iter::once(row).chain(further) {
            if let Err(TrySendError::Full(_)) = sender.try_send(row) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What ended before this daemon began, with the time since.
    pub fn restored(&self) -> impl Iterator<Item = Tombstone> {
        let now = i64::try_from(unix_milliseconds()).unwrap_or(i64::MAX);
        self.restored.iter().map(move |(at, tombstone)| {
            let ago = u64::try_from(now.saturating_sub(*at)).unwrap_or(0);
            let ended = Duration::from_millis(ago);
            let mut restored = Tombstone { ended, again_in: None, ..tombstone.clone() };
            if let Some(error) = &mut restored.sa.send_error {
                error.last += ended;
            }
            restored
        })
    }
}

impl Drop for Recorder {
    /// Writes what is still to be written.
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The last rows about a peer (a connection's name, an address or an identity), or about all; the oldest of them first.
fn read(path: &Path, peer: Option<&str>, last: u32) -> Result<Vec<Row>, String> {
    if !path.exists() {
        return Err(format!(
            "{}: there is no history: run the daemon with --history FILE, or name its file with --file",
            path.display()
        ));
    }
    // An address has several ways to be written; the file has one.
    let address = peer.and_then(|peer| peer.parse::<std::net::IpAddr>().ok()).map(|address| address.to_string());
    let peer = address.as_deref().or(peer);
    let rows = match select(path, OpenFlags::SQLITE_OPEN_READ_ONLY, peer, last) {
        // A daemon was killed while it wrote: what it had not finished has to be taken back first.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
            select(path, OpenFlags::SQLITE_OPEN_READ_WRITE, peer, last)
        }
        rows => rows,
    };
    rows.map_err(|error| complaint(path, &error))
}

/// The `last` rows about a peer, the oldest first.
fn select(path: &Path, access: OpenFlags, peer: Option<&str>, last: u32) -> rusqlite::Result<Vec<Row>> {
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_secs(2))?;
    let query = "SELECT at, kind, connection, local, remote, identity, code, causes, text FROM event
        WHERE ?1 IS NULL OR connection = ?1 OR remote = ?1 OR identity = ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = db.prepare(query)?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            at: row.get(0)?,
            kind: row.get(1)?,
            connection: row.get(2)?,
            local: row.get(3)?,
            remote: row.get(4)?,
            identity: row.get(5)?,
            code: row.get(6)?,
            causes: row.get(7)?,
            text: row.get(8)?,
            message: None,
        })
    };
    let rows = statement.query_map(params![peer, last], row)?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
    rows.reverse();
    Ok(rows)
}

/// `shrike history`.
///
/// # Errors
/// There is no such file, it cannot be read, or nothing in it is about the peer.
pub fn show(path: &Path, peer: Option<&str>, last: u32, json: bool) -> Result<String, String> {
    let rows = read(path, peer, last)?;
    if let (Some(peer), true) = (peer, rows.is_empty()) {
        return Err(format!(
            "{}: nothing about '{peer}': a connection's name, the peer's address or its identity",
            path.display()
        ));
    }
    if json {
        let one = |r: &Row| {
            let causes: Vec<&str> = r.causes.split_whitespace().collect();
            serde_json::json!({
                "at": r.at, "kind": r.kind, "connection": r.connection, "local": r.local, "remote": r.remote,
                "identity": r.identity, "code": r.code, "causes": causes, "text": r.text,
            })
        };
        let events: Vec<_> = rows.iter().map(one).collect();
        return Ok(format!("{:#}\n", serde_json::json!({ "schema": SCHEMA, "events": events })));
    }
    let mut text = String::new();
    for r in &rows {
        let time =
            jiff::Timestamp::from_millisecond(r.at).unwrap_or_default().to_zoned_datetime(jiff::tz::TimeZone::system());
        let time = time.strftime("%Y-%m-%d %H:%M:%S");
        let name = if r.connection.is_empty() { "-" } else { &r.connection };
        let _ = writeln!(text, "{time}  {name:<12} {:<15} {:<10} {}", r.remote, r.kind, r.text);
    }
    if text.is_empty() {
        text.push_str("nothing has happened yet\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
