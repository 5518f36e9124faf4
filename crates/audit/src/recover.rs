//! Finding the end of the log at start, and cutting what a crash left behind it.

use crate::{
    disk,
    error::AuditError,
    segment::{self, NEXT, Scan},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// What opening a log found and cut.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Records in the log.
    pub records: u64,
    /// Bytes cut behind the last good record.
    pub cut_bytes: u64,
    /// Whole records among them. They lay behind a page that a power cut lost, so no flush had
    /// covered them.
    pub cut_records: u64,
    /// Where the cut bytes went, when they held whole records.
    pub set_aside: Vec<PathBuf>,
}

/// The segment to go on with.
pub(crate) struct End {
    pub file: File,
    /// Index of its first record.
    pub first: u64,
    /// Index of the record to come.
    pub next: u64,
    /// Where that one goes.
    pub offset: u64,
    /// Length of the file: from `offset` on it holds zeros.
    pub zeroed: u64,
}

/// Finds the end. The last two segments are read in full, of the others the header: a log of years
/// must not delay a start ([`verify`](crate::verify) reads everything).
///
/// Why a torn tail may only be at the very end: a segment gets its final name only after a flush of
/// everything before it, and an append never touches an earlier segment.
///
/// So many records as `promised` were on stable storage at some time: what is wrong with one of them is damage, never torn.
pub(crate) fn recover(dir: &Path, promised: u64) -> Result<(End, Recovery), AuditError> {
    let firsts = segment::list(dir)?;
    let mut report = Recovery::default();
    let Some((&last, earlier)) = firsts.split_last() else {
        if promised > 0 {
            return Err(AuditError::Shorter { records: 0, promised });
        }
        return Ok((create_first(dir)?, report));
    };
    for &first in earlier.iter().rev().skip(1) {
        check_header(dir, first)?;
    }
    if let Some(&before) = earlier.last() {
        check_sealed(dir, before, last)?;
    }
    let path = segment::path(dir, last);
    let scan = segment::scan(&path, |_, _| {})?;
    check_first(&path, &scan, last)?;
    cut_tail(&path, &scan, last + scan.records, promised, &mut report)?;
    let end = adopt_next(dir, &path, &scan, promised, &mut report)?;
    let (first, next, offset) = end.unwrap_or((last, last + scan.records, scan.good_end));
    let path = segment::path(dir, first);
    let file = disk::open(&path).map_err(|e| AuditError::io("open", &path, e))?;
    // Records of a killed process may still be in the operating system's memory only.
    file.sync_all().map_err(|e| AuditError::io("flush", &path, e))?;
    report.records = next;
    let zeroed = file.metadata().map_err(|e| AuditError::io("look at", &path, e))?.len();
    Ok((End { file, first, next, offset, zeroed }, report))
}

/// The first segment of an empty log. It too is made under another name, so that no named segment
/// is ever without its header.
fn create_first(dir: &Path) -> Result<End, AuditError> {
    let (temporary, path) = (dir.join(NEXT), segment::path(dir, 0));
    let header = segment::header(0);
    let make = || {
        let file = disk::create(&temporary)?;
        std::os::unix::fs::FileExt::write_all_at(&file, header.as_bytes(), 0)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        disk::flush_dir(dir)?;
        Ok(file)
    };
    let file = make().map_err(|e| AuditError::io("create", &path, e))?;
    let len = header.len() as u64;
    Ok(End { file, first: 0, next: 0, offset: len, zeroed: len })
}

fn check_header(dir: &Path, first: u64) -> Result<(), AuditError> {
    let path = segment::path(dir, first);
    if segment::read_first(&path)? == Some(first) {
        return Ok(());
    }
    Err(AuditError::corrupt(path, 1, "the header is not this file's"))
}

pub(crate) fn check_first(path: &Path, scan: &Scan, first: u64) -> Result<(), AuditError> {
    if scan.first == Some(first) {
        return Ok(());
    }
    Err(AuditError::corrupt(path, 1, "the header is not this file's"))
}

/// A segment with a successor is complete and ends where the successor begins.
fn check_sealed(dir: &Path, first: u64, next: u64) -> Result<(), AuditError> {
    let path = segment::path(dir, first);
    let scan = segment::scan(&path, |_, _| {})?;
    sealed(&path, &scan, first, next)
}

pub(crate) fn sealed(path: &Path, scan: &Scan, first: u64, next: u64) -> Result<(), AuditError> {
    check_first(path, scan, first)?;
    if let Some(bad) = &scan.bad {
        return Err(AuditError::corrupt(path, bad.line, "the record does not match its checksum"));
    }
    if first + scan.records != next {
        return Err(AuditError::corrupt(path, scan.records + 1, "records are missing before the next file"));
    }
    Ok(())
}

/// Cuts what lies behind the last good record of the last segment.
///
/// Bad bytes with nothing good behind them are a write that a crash interrupted. Good records
/// behind a hole are pages that a power cut let through out of order: no flush covered them, or the
/// hole would not be there. Good records behind bad bytes that are no hole are damage: refused.
fn cut_tail(path: &Path, scan: &Scan, next: u64, promised: u64, report: &mut Recovery) -> Result<(), AuditError> {
    let Some(bad) = &scan.bad else { return Ok(()) };
    if next < promised {
        return Err(AuditError::corrupt(path, bad.line, "a record that was flushed does not match its checksum"));
    }
    if scan.good_after_bad > 0 {
        if !bad.hole {
            return Err(AuditError::corrupt(path, bad.line, "the record does not match its checksum"));
        }
        let aside = aside(path, next);
        copy_tail(path, scan.good_end, &aside).map_err(|e| AuditError::io("write", &aside, e))?;
        report.set_aside.push(aside);
        report.cut_records += scan.good_after_bad;
    }
    report.cut_bytes += scan.torn();
    truncate(path, scan.good_end)
}

fn truncate(path: &Path, len: u64) -> Result<(), AuditError> {
    disk::open(path)
        .and_then(|f| {
            f.set_len(len)?;
            f.sync_all()
        })
        .map_err(|e| AuditError::io("truncate", path, e))
}

/// Where bytes that could not stay in the log are kept for the operator; never an earlier such file.
fn aside(path: &Path, next: u64) -> PathBuf {
    let name = |n: u32| path.with_file_name(format!("audit-{next:016}-{n}.torn"));
    (0..u32::MAX).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(u32::MAX))
}

fn copy_tail(path: &Path, from: u64, to: &Path) -> std::io::Result<()> {
    use std::io::Seek;
    let mut source = File::open(path)?;
    source.seek(std::io::SeekFrom::Start(from))?;
    let mut target = disk::create(to)?;
    std::io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Takes over the segment that had no final name yet: after a kill it continues the log exactly;
/// after a power cut it may lie behind lost records, and was then covered by no flush.
/// Returns its first index, the next index and the end offset. `last` is what `before` was found to hold.
fn adopt_next(
    dir: &Path,
    before: &Path,
    last: &Scan,
    promised: u64,
    report: &mut Recovery,
) -> Result<Option<(u64, u64, u64)>, AuditError> {
    let path = dir.join(NEXT);
    let next = last.first.unwrap_or(0) + last.records;
    if !path.try_exists().map_err(|e| AuditError::io("look for", &path, e))? {
        return Ok(None);
    }
    let scan = segment::scan(&path, |_, _| {})?;
    let renamed = |to: &Path| {
        fs::rename(&path, to).and_then(|()| disk::flush_dir(dir)).map_err(|e| AuditError::io("rename", &path, e))
    };
    if scan.records == 0 && scan.good_after_bad == 0 {
        // Empty, or its first record was never complete. The flusher makes it anew.
        report.cut_bytes += scan.len - scan.unused;
        return Ok(None);
    }
    if scan.first != Some(next) {
        if next < promised {
            return Err(AuditError::Shorter { records: next, promised });
        }
        let aside = aside(&path, scan.first.unwrap_or(next));
        renamed(&aside)?;
        report.set_aside.push(aside);
        report.cut_bytes += scan.len;
        report.cut_records += scan.records + scan.good_after_bad;
        return Ok(None);
    }
    cut_tail(&path, &scan, next + scan.records, promised, report)?;
    // With a successor a segment is sealed, and has no unused rest.
    truncate(before, last.good_end)?;
    disk::open(&path).and_then(|f| f.sync_all()).map_err(|e| AuditError::io("flush", &path, e))?;
    renamed(&segment::path(dir, next))?;
    Ok(Some((next, next + scan.records, scan.good_end)))
}
