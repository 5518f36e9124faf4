//! Retention: old segments are removed or moved away whole. The hashes of their records stay in the tree, so that whoever
//! kept a segment can still prove its records, and the log itself says up to where its records were removed.

use crate::{disk, error::AuditError, log::Log, record, segment, tree};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Most segments that go at once: half a gigabyte to be read, copied and flushed.
const AT_ONCE: usize = 8;

/// Which segments may go.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Records that are all older than this may go: microseconds since 1970-01-01 UTC.
    pub before_micros: u64,
    /// Records from this index on are still needed by somebody, an export.
    pub needed_from: Option<u64>,
    /// Where segments are moved; otherwise they are deleted.
    pub archive: Option<PathBuf>,
}

/// Segments that may go, looked at and found to be those of the tree.
#[derive(Debug)]
pub struct Retiring {
    firsts: Vec<u64>,
    /// Index of the first record that stays.
    pub keep_from: u64,
}

impl Log {
    /// Looks for segments that may go: sealed, covered by a published checkpoint, old enough, and not needed. Reads them
    /// whole and compares every record with the tree: a segment that is not what was logged stays, and is an error.
    pub fn to_retire(&self, retention: &Retention) -> Result<Option<Retiring>, AuditError> {
        if retention.archive.as_deref().is_some_and(|archive| is_same(archive, self.dir())) {
            return Err(AuditError::Proof("the archive of the audit log must be another directory than the log's"));
        }
        // Of what goes, nothing but its hashes stays: they must be on stable storage.
        let published = self.published().map_or(0, |p| p.checkpoint.size);
        let covered = published.min(self.synced()).min(retention.needed_from.unwrap_or(u64::MAX));
        let before = record::time_text(retention.before_micros);
        let firsts = segment::list(self.dir())?;
        let mut found = Retiring { firsts: Vec::new(), keep_from: 0 };
        // The last one is being written.
        for pair in firsts.windows(2).take(AT_ONCE) {
            let &[first, next] = pair else { break };
            if next > covered || !self.may_be_old(next, &before)? || !self.is_old(first, next, &before)? {
                break;
            }
            found.firsts.push(first);
            found.keep_from = next;
        }
        Ok((!found.firsts.is_empty()).then_some(found))
    }

    /// False where the segment behind begins too late: so that not every look reads a whole segment.
    fn may_be_old(&self, next: u64, before: &[u8]) -> Result<bool, AuditError> {
        let first = segment::first_record(&segment::path(self.dir(), next))?;
        let time = first.as_deref().and_then(record::time_of);
        Ok(time.is_none_or(|time| time < before))
    }

    /// True when every record of a segment is older; an error when one is not that of the tree.
    fn is_old(&self, first: u64, next: u64, before: &[u8]) -> Result<bool, AuditError> {
        let path = segment::path(self.dir(), first);
        let mut old = true;
        let mut leaves = Vec::new();
        let scan = segment::scan(&path, |_, json| {
            old &= record::time_of(json).is_some_and(|time| time < before);
            leaves.push(tree::leaf(json));
        })?;
        let whole = scan.bad.is_none() && scan.first == Some(first) && first + scan.records == next;
        if !whole || (old && self.hashes(first, leaves.len())? != leaves) {
            return Err(AuditError::Note {
                file: path,
                what: "holds records that are not those of the tree; it is kept",
            });
        }
        Ok(old)
    }

    /// Copies segments to the archive, where there is one; on stable storage when this returns. Those of each log have a
    /// directory of their own.
    pub fn archive(&self, retiring: &Retiring, retention: &Retention) -> Result<(), AuditError> {
        let Some(archive) = &retention.archive else { return Ok(()) };
        let origin: String = self.origin()?.chars().map(|c| if c == '/' { '_' } else { c }).collect();
        retiring.firsts.iter().try_for_each(|&first| copy_to(&segment::path(self.dir(), first), &archive.join(&origin)))
    }

    /// Removes segments, which have been archived where they are to be. Signs first that this is as it should be, without which a
    /// verifier misses them. The log must hold a flushed record that says so ([`RETIRED`](crate::RETIRED)) before.
    pub fn retire(&self, retiring: &Retiring) -> Result<(), AuditError> {
        self.sign_retired(retiring.keep_from)?;
        for &first in &retiring.firsts {
            let path = segment::path(self.dir(), first);
            fs::remove_file(&path).map_err(|e| AuditError::io("remove", &path, e))?;
        }
        disk::flush_dir(self.dir()).map_err(|e| AuditError::io("flush", self.dir(), e))
    }
}

/// Copies a file into a directory of any file system. One of its name that is there already must be the same.
fn copy_to(path: &Path, archive: &Path) -> Result<(), AuditError> {
    let to = archive.join(path.file_name().unwrap_or_default());
    let failed = |e| AuditError::io("archive", path, e);
    fs::create_dir_all(archive).map_err(failed)?;
    if to.exists() {
        return match fs::read(&to).map_err(failed)? == fs::read(path).map_err(failed)? {
            true => Ok(()),
            false => {
                Err(AuditError::Note { file: to, what: "is another segment of that name; it is not written over" })
            }
        };
    }
    let temporary = to.with_extension("log.new");
    let copy = || {
        let (mut from, mut copy) = (fs::File::open(path)?, disk::create(&temporary)?);
        std::io::copy(&mut from, &mut copy)?;
        copy.sync_all()?;
        fs::rename(&temporary, &to)?;
        disk::flush_dir(archive)
    };
    copy().map_err(failed)
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
