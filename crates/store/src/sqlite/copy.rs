//! Copies of the file while it is in use.
//!
//! SQLite's online backup in one step: a read of one moment, beside which writes go on. In several steps it would begin
//! again after each write of somebody else. `VACUUM INTO`, which builds the tables anew, takes nearly twice the time (124 MB:
//! 0.5 s instead of 0.3 s) and is of no other use here: free pages of the file hold zeros already (`secure_delete`).

use super::schema;
use crate::error::{Result, StoreError};
use rusqlite::{Connection, OpenFlags, backup::Backup};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What stands behind the name of the file in those of copies made before a migration, up to the version and the time.
pub(super) const BEFORE: &str = "jadeseal.db.before-v<N>-<time>";
const BEFORE_INFIX: &str = ".before-v";
/// Copies from before a migration that are kept.
const KEPT: usize = 3;

/// See [`crate::Store::snapshot`].
pub(super) fn copy(from: &Path, to: &Path, busy: Duration) -> Result<()> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full(e.to_string()),
        _ => StoreError::Unavailable(format!("{}: {e}", to.display())),
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let copied = (|| {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(from, flags)?;
        source.busy_timeout(busy)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut target = Connection::open_with_flags(to, flags)?;
        // Nobody reads the copy before it is whole, and it is flushed below.
        target.pragma_update(None, "synchronous", "OFF")?;
        target.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
        Backup::new(&source, &mut target)?.run_to_completion(i32::MAX, Duration::from_millis(10), None)?;
        target.close().map_err(|(_, e)| e)?;
        file.sync_all().map_err(failed)?;
        flush_parent(to).map_err(failed)
    })();
    if copied.is_err() {
        remove(to);
    }
    copied
}

/// A file of ours that is of no more use, with what SQLite puts beside it.
fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // Most of them do not exist.
        let _ = fs::remove_file(name);
    }
}

fn flush_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// See [`super::SqliteStore::check`].
pub(super) fn check(path: &Path) -> Result<()> {
    let conn = open(path)?;
    let damaged = |what: String| StoreError::Unavailable(format!("{} is damaged: {what}", path.display()));
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
    if found != "ok" {
        return Err(damaged(found));
    }
    if conn.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Err(damaged("a row refers to one that is not there".into()));
    }
    Ok(())
}

/// See [`super::SqliteStore::version_of`].
pub(super) fn version_of(path: &Path) -> Result<Option<u32>> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > 0 => schema::current_version(&open(path)?),
        _ => Ok(None),
    }
}

fn open(path: &Path) -> Result<Connection> {
    // Not read-only: a file in write-ahead-log mode needs its index beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

/// See [`super::SqliteStore::keep_before_migration`].
pub(super) fn keep_before_migration(path: &Path, now: u64) -> Result<Option<PathBuf>> {
    if version_of(path)?.is_none_or(|found| found >= schema::VERSION) {
        return Ok(None);
    }
    let refuse = |e: StoreError| {
        StoreError::Unavailable(format!("the tables are not brought forward, since no copy could be made before: {e}"))
    };
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{BEFORE_INFIX}{}-{now}", schema::VERSION));
    let to = PathBuf::from(name);
    copy(path, &to, Duration::from_secs(10)).map_err(refuse)?;
    if let Err(e) = check(&to) {
        remove(&to);
        return Err(refuse(e));
    }
    forget_old(path);
    Ok(Some(to))
}

/// Removes all but the newest copies. One that stays although it is too old does no harm.
fn forget_old(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else { return };
    let prefix = format!("{name}{BEFORE_INFIX}");
    let time = |file: &str| file.strip_prefix(&prefix)?.split_once('-')?.1.parse::<u64>().ok();
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut kept: Vec<(u64, PathBuf)> =
        files.filter_map(|f| Some((time(f.file_name().to_str()?)?, f.path()))).collect();
    kept.sort_unstable();
    for (_, old) in kept.iter().rev().skip(KEPT) {
        remove(old);
    }
}
