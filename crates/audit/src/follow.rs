//! Reading a log in order while its writer works on it.
//!
//! Only flushed records are read. What recovery may cut or set aside after a power cut was flushed by nobody, so
//! nothing leaves this place that the log could lose again. It also makes reading simple: a record counts as flushed
//! only once its segment carries its final name and the one before is cut to its last record, so no other file is
//! looked at, and what stands there never changes any more.

use crate::{
    error::AuditError,
    segment::{self, MAX_LINE_BYTES},
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes read at once, at most and at least: a line always fits.
const MAX_READ: usize = 256 * 1024;
const MIN_READ: usize = 72 * 1024;
const _: () = assert!(MIN_READ > MAX_LINE_BYTES);

/// How often the directory is looked at anew when a segment that was just listed is gone.
const TRIES: u32 = 8;

/// Why a follower cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The next record has been removed from the log with its segment (retention).
    #[error("records {from} to {} are no longer in the audit log", first.saturating_sub(1))]
    Gap {
        /// The record that was to come.
        from: u64,
        /// The first that is there.
        first: u64,
    },
    /// The log is damaged or cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Reads a log directory record by record, from an index on. Keeps its place, so that a batch costs its own bytes.
pub struct Follower {
    dir: PathBuf,
    /// Index of the next record to hand out.
    next: u64,
    place: Option<Place>,
    buffer: Vec<u8>,
}

/// A place in a segment.
struct Place {
    file: File,
    /// Index of the segment's first record.
    first: u64,
    /// Index of the record at `offset`; below [`Follower::next`] while the way there is being made.
    at: u64,
    offset: u64,
}

/// What one read found.
enum Step {
    /// Lines were read.
    Read,
    /// Nothing more stands in the segment.
    End,
}

impl Follower {
    /// Starts at `from`, which may lie behind the end of the log. Reads names only; a place in the middle of a segment
    /// is found with the first batch, by reading the segment up to it once.
    pub fn open(dir: &Path, from: u64) -> Result<Self, FollowError> {
        let follower = Follower { dir: dir.into(), next: from, place: None, buffer: Vec::new() };
        match follower.segment_of(from)? {
            Ok(_) => Ok(follower),
            Err(first) => Err(FollowError::Gap { from, first }),
        }
    }

    /// Index of the record that the next batch begins with.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The next records with their indices, all below `up_to`: [`Log::flushed_through`](crate::Log::flushed_through)
    /// plus 1. At most `max_records`, and no more once they have `max_bytes` (so one record more than fits, or one at
    /// least). Every checksum is verified. None when there is nothing yet.
    ///
    /// After an error the follower stands where it stood before the call. Blocks for reads of files.
    pub fn next_batch(
        &mut self,
        up_to: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, FollowError> {
        let mut batch = Batch { records: Vec::new(), bytes: 0, from: self.next, up_to, max_records, max_bytes };
        while batch.wants_more(batch.next()) {
            if self.place.is_none() {
                self.place = Some(self.enter(batch.next())?);
            }
            let Some(place) = self.place.as_mut() else { break };
            let outcome = place.read(&self.dir, &mut self.buffer, &mut batch);
            let ended = match outcome {
                Ok(Step::Read) => continue,
                Ok(Step::End) => place.successor(&self.dir),
                Err(e) => Err(e.into()),
            };
            match ended {
                Ok(place) => self.place = Some(place),
                Err(e) => {
                    // The place is behind records that are not handed out.
                    self.place = None;
                    // Those before the damage or the gap are good; the next call meets it again.
                    if batch.records.is_empty() {
                        return Err(e);
                    }
                    break;
                }
            }
        }
        self.next = batch.next();
        Ok(batch.records)
    }

    /// Opens the segment that holds `index`.
    fn enter(&self, index: u64) -> Result<Place, FollowError> {
        for _ in 0..TRIES {
            let first = match self.segment_of(index)? {
                Ok(first) => first,
                Err(first) => return Err(FollowError::Gap { from: index, first }),
            };
            // Retention may be faster.
            if let Some(place) = Place::open(&self.dir, first)? {
                return Ok(place);
            }
        }
        Err(AuditError::NoSuchRecord(index).into())
    }

    /// First index of the segment that holds `index` or would hold it, or else that of the first segment.
    fn segment_of(&self, index: u64) -> Result<Result<u64, u64>, AuditError> {
        let firsts = segment::list(&self.dir)?;
        match firsts.iter().rev().find(|first| **first <= index) {
            Some(first) => Ok(Ok(*first)),
            None => firsts.first().map(|first| Err(*first)).ok_or(AuditError::NoSuchRecord(index)),
        }
    }
}

/// A batch while it is gathered.
struct Batch {
    records: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    from: u64,
    up_to: u64,
    max_records: usize,
    max_bytes: usize,
}

impl Batch {
    fn next(&self) -> u64 {
        self.from + self.records.len() as u64
    }

    fn wants_more(&self, at: u64) -> bool {
        at < self.up_to && self.records.len() < self.max_records && self.bytes < self.max_bytes
    }

    fn take(&mut self, index: u64, json: &[u8]) {
        // Records before the first one wanted are only on the way.
        if index >= self.from {
            self.bytes += json.len();
            self.records.push((index, json.to_vec()));
        }
    }
}

impl Place {
    /// Opens a named segment at its first record; `None` when there is no such file.
    fn open(dir: &Path, first: u64) -> Result<Option<Place>, AuditError> {
        let path = segment::path(dir, first);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(AuditError::io("open", path, e)),
        };
        let header = segment::header(first);
        let mut there = vec![0; header.len()];
        match file.read_exact_at(&mut there, 0) {
            Ok(()) if there == header.as_bytes() => {}
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(AuditError::io("read", path, e)),
            _ => return Err(AuditError::corrupt(path, 1, "the header is not this file's")),
        }
        Ok(Some(Place { file, first, at: first, offset: header.len() as u64 }))
    }

    /// Reads once from the file and takes the lines that are whole. What stands behind `up_to` is read but not looked
    /// at, and read again when its time has come: only then is it sure not to change.
    fn read(&mut self, dir: &Path, buffer: &mut Vec<u8>, batch: &mut Batch) -> Result<Step, AuditError> {
        let path = || segment::path(dir, self.first);
        let wanted = usize::try_from(batch.up_to.saturating_sub(self.at)).unwrap_or(usize::MAX).saturating_mul(1024);
        buffer.resize(wanted.clamp(MIN_READ, MAX_READ), 0);
        let n = read_at(&self.file, buffer, self.offset).map_err(|e| AuditError::io("read", path(), e))?;
        let mut rest = buffer.get(..n).unwrap_or_default();
        let before = self.at;
        while batch.wants_more(self.at.max(batch.from))
            && let Some(end) = rest.iter().take(MAX_LINE_BYTES).position(|c| *c == b'\n')
        {
            let (line, behind) = rest.split_at(end + 1);
            let number = self.at - self.first + 2;
            let json = segment::parse_line(line)
                .ok_or_else(|| AuditError::corrupt(path(), number, "the record does not match its checksum"))?;
            batch.take(self.at, json);
            self.at += 1;
            self.offset += line.len() as u64;
            rest = behind;
        }
        if self.at > before {
            return Ok(Step::Read);
        }
        // NUL bytes up to the end are the unused rest.
        if n < buffer.len() && rest.iter().all(|c| *c == 0) {
            return Ok(Step::End);
        }
        Err(AuditError::corrupt(path(), self.at - self.first + 2, "a flushed record is not there"))
    }

    /// The segment that goes on where this one ends.
    fn successor(&self, dir: &Path) -> Result<Place, FollowError> {
        if self.at == self.first {
            // It would be this one itself: a segment without records has none.
            let path = segment::path(dir, self.first);
            return Err(AuditError::corrupt(path, 2, "a flushed record is not there").into());
        }
        for _ in 0..TRIES {
            if let Some(place) = Place::open(dir, self.at)? {
                return Ok(place);
            }
            let firsts = segment::list(dir)?;
            match firsts.first() {
                // Retention removes the oldest first: with any before, nothing may be missing here.
                Some(first) if *first > self.at => return Err(FollowError::Gap { from: self.at, first: *first }),
                _ if firsts.contains(&self.at) => {}
                _ => break,
            }
        }
        let path = segment::path(dir, self.first);
        Err(AuditError::corrupt(path, self.at - self.first + 2, "records are missing before the next file").into())
    }
}

/// Fills the buffer from the file, as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read_at(free, offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
