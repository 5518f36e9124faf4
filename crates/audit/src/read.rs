//! Reading a log without writing to it.

use crate::{
    error::AuditError,
    record::{is_success, request_id_of, time_of, time_text},
    recover::{check_first, sealed},
    segment::{self, NEXT},
};
use std::{collections::HashSet, path::Path};

/// What [`verify`] found in a sound log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Files.
    pub segments: u64,
    /// Records.
    pub records: u64,
    /// Bytes behind the last good record of the last segment: the trace of a crash, or an append
    /// under way.
    pub torn_bytes: u64,
}

/// Reads every record of a log and checks checksums and continuity. Tells damage, not forgery: the
/// checksum is no signature.
pub fn verify(dir: &Path) -> Result<Verified, AuditError> {
    for_each_record(dir, |_, _| {})
}

/// Hands every record (its index, its JSON) to `visit`, in order, and checks as [`verify`] does.
/// May run beside a writer.
pub fn for_each_record(dir: &Path, visit: impl FnMut(u64, &[u8])) -> Result<Verified, AuditError> {
    from(dir, 0, visit)
}

/// As [`for_each_record`], beginning with the segment that holds record `index`.
pub(crate) fn from(dir: &Path, index: u64, mut visit: impl FnMut(u64, &[u8])) -> Result<Verified, AuditError> {
    let mut firsts = segment::list(dir)?;
    let at = firsts.partition_point(|first| *first <= index).saturating_sub(1);
    firsts.drain(..at.min(firsts.len()));
    let mut all = Verified { segments: 0, records: 0, torn_bytes: 0 };
    let Some(&start) = firsts.first() else { return Ok(all) };
    let mut end = start;
    for (i, &first) in firsts.iter().enumerate() {
        let path = segment::path(dir, first);
        let scan = segment::scan(&path, |n, json| visit(first + n, json))?;
        match firsts.get(i + 1) {
            Some(&next) => sealed(&path, &scan, first, next)?,
            None => {
                check_first(&path, &scan, first)?;
                if let Some(bad) = scan.bad.as_ref().filter(|_| scan.good_after_bad > 0) {
                    return Err(AuditError::corrupt(path, bad.line, "the record does not match its checksum"));
                }
                all.torn_bytes = scan.torn();
            }
        }
        all.segments += 1;
        all.records += scan.records;
        end = first + scan.records;
    }
    // What has been begun since the files were listed.
    while let Some((path, file)) = segment::open_at(dir, end)? {
        let scan = segment::scan_file(&path, file, |n, json| visit(end + n, json))?;
        all.segments += 1;
        all.records += scan.records;
        all.torn_bytes = scan.torn();
        end += scan.records;
        if scan.records == 0 {
            break;
        }
    }
    Ok(all)
}

/// Which of these request ids have a record of success in the last two segments, or in those before them as far back as
/// they hold records of `since` (microseconds since 1970) or later. Asked at start, before the
/// records of committed state changes are appended again, so that none is doubled. A record of failure does not
/// count: the caller of a change got an error where the store's answer was lost, and yet it was committed.
pub fn contains_request_ids(dir: &Path, ids: &HashSet<String>, since: u64) -> Result<HashSet<String>, AuditError> {
    let mut found = HashSet::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let since = time_text(since);
    // True when the file begins after that moment, so that the one before may have such records too.
    let mut look = |path: &Path| {
        let mut begins_later = false;
        segment::scan(path, |n, json| {
            // Times are all of one length and in one zone, so that their order is that of the text.
            begins_later |= n == 0 && time_of(json).is_some_and(|time| *time >= since[..]);
            if let Some(id) = request_id_of(json).filter(|id| ids.contains(*id) && is_success(json)) {
                found.insert(id.to_owned());
            }
        })
        .map(|_| begins_later && found.len() < ids.len())
    };
    let mut further = true;
    for (n, first) in segment::list(dir)?.into_iter().rev().enumerate() {
        if n >= 2 && !further {
            break;
        }
        further = look(&segment::path(dir, first))?;
    }
    let next = dir.join(NEXT);
    if next.exists() {
        look(&next)?;
    }
    Ok(found)
}
