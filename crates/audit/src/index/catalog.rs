//! Which parts there are, and which records are in none yet.

use super::{
    IndexError,
    file::{self, Bad},
    memory::{Extent, Memory},
    source::{self, Source},
};
use crate::{error::AuditError, segment};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::Arc,
};

/// A finished part.
pub(super) enum Part {
    File(file::Part),
    /// Not written yet.
    Memory(Memory),
}

impl Part {
    pub fn extent(&self) -> Extent {
        match self {
            Part::File(part) => part.extent,
            Part::Memory(part) => part.extent,
        }
    }

    pub fn unknown(&self) -> u32 {
        match self {
            Part::File(part) => part.unknown,
            Part::Memory(part) => part.unknown,
        }
    }
}

/// A segment with the parts about it: each begins where the one before ends, the first at the segment's first record.
struct Segment {
    /// First index of its successor; none for the newest.
    next: Option<u64>,
    parts: Vec<Arc<Part>>,
}

impl Segment {
    /// The place behind the last part.
    fn covered(&self, first: u64) -> Extent {
        let (next, end) = match self.parts.last() {
            Some(part) => (part.extent().next, part.extent().end),
            None => (first, segment::header(first).len() as u64),
        };
        Extent::empty(first, next, end)
    }

    fn is_covered(&self, first: u64) -> bool {
        self.next.is_none_or(|next| self.covered(first).next == next)
    }
}

/// Parts in memory that wait for being written, at most. Beyond, where the disk takes none, they are forgotten and made again
/// when they are asked for.
const MAX_UNWRITTEN: usize = 4;
/// Parts that one query makes by itself.
pub(super) const ON_DEMAND: usize = 2;

/// All that is known of the index.
pub(super) struct Catalog {
    source: Source,
    dir: PathBuf,
    segments: BTreeMap<u64, Segment>,
    /// The newest records, which are in no part yet: of the newest segment, except in the moments after a new one has begun.
    tail: Memory,
    tail_file: Option<File>,
}

impl Catalog {
    /// Of a log whose parts are in files in `dir`.
    pub fn new(source: Source, dir: PathBuf) -> Self {
        let tail = Memory::new(Extent::empty(u64::MAX, u64::MAX, 0));
        Catalog { source, dir, segments: BTreeMap::new(), tail, tail_file: None }
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    pub fn tail(&self) -> &Memory {
        &self.tail
    }

    /// All finished parts, oldest first.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &Arc<Part>> {
        self.segments.values().flat_map(|segment| &segment.parts)
    }

    /// Looks how far the log goes, and reads at most `most` of its newest records into the tail; true when that was all.
    pub fn follow(&mut self, most: u64) -> Result<bool, IndexError> {
        // In this order: what is written up to now lies in segments that are found after it.
        let written = self.source.written();
        let mut firsts: Vec<u64> = segment::list(self.source.dir())?;
        firsts.retain(|first| *first < written.first);
        firsts.push(written.first);
        let there: HashSet<u64> = firsts.iter().copied().collect();
        self.segments.retain(|first, _| there.contains(first));
        for (i, first) in firsts.iter().enumerate() {
            let next = firsts.get(i + 1).copied();
            self.segments.entry(*first).or_insert(Segment { next, parts: Vec::new() }).next = next;
        }
        let mut left = most;
        let of = self.tail.extent.segment;
        if of != written.first {
            // A new segment has begun. What the tail has of the one before, it completes first.
            if let Some(next) = self.segments.get(&of).and_then(|segment| segment.next)
                && self.tail.extent.first < next
            {
                let before = self.tail.extent.next;
                let is_full = self.extend(next, u64::MAX, left)?;
                left -= self.tail.extent.next - before;
                if self.tail.extent.next < next && !is_full {
                    return Ok(false);
                }
                self.finish_tail();
            }
            self.load(written.first)?;
            self.begin_tail(written.first);
        }
        loop {
            if self.unwritten_of(written.first) >= MAX_UNWRITTEN {
                // They cannot be forgotten, for the tail is behind them.
                return Ok(false);
            }
            let before = self.tail.extent.next;
            let is_full = self.extend(written.next, written.offset, left)?;
            left -= self.tail.extent.next - before;
            if self.tail.extent.next >= written.next || !is_full {
                return Ok(self.tail.extent.next >= written.next);
            }
            self.finish_tail();
            self.begin_tail(written.first);
        }
    }

    /// An empty tail behind the parts of a segment.
    fn begin_tail(&mut self, first: u64) {
        if let Some(segment) = self.segments.get(&first) {
            self.tail = Memory::new(segment.covered(first));
            self.tail_file = None;
        }
    }

    /// Reads at most `most` records below `next` into the tail; true when it is full.
    fn extend(&mut self, next: u64, end: u64, most: u64) -> Result<bool, IndexError> {
        let Extent { segment, next: at, .. } = self.tail.extent;
        let wanted = next.saturating_sub(at).min(most);
        if wanted == 0 || self.tail.is_full() {
            return Ok(self.tail.is_full());
        }
        if self.tail_file.is_none() {
            self.tail_file = self.source.open(segment)?;
        }
        // Gone in between: the next look will not find it either.
        let Some(file) = &self.tail_file else { return Ok(false) };
        let tail = &mut self.tail;
        let failed = |e| AuditError::io("read", segment::path(self.source.dir(), segment), e);
        read_into(tail, file, end, at + wanted).map_err(failed)?;
        if tail.extent.next < at + wanted && !tail.is_full() {
            return Err(damaged(&self.source, tail.extent).into());
        }
        Ok(tail.is_full())
    }

    /// Makes a finished part of the tail.
    fn finish_tail(&mut self) {
        let extent = self.tail.extent;
        let tail = std::mem::replace(&mut self.tail, Memory::new(Extent::empty(u64::MAX, u64::MAX, 0)));
        self.tail_file = None;
        if let Some(segment) = self.segments.get_mut(&extent.segment)
            && extent.records() > 0
        {
            segment.parts.push(Arc::new(Part::Memory(tail)));
        }
        self.forget_unwritten();
    }

    fn unwritten_of(&self, first: u64) -> usize {
        self.segments.get(&first).map_or(0, |segment| segment.parts.iter().filter(|part| is_unwritten(part)).count())
    }

    /// Forgets parts in memory that are too many.
    fn forget_unwritten(&mut self) {
        let mut excess = self.parts().filter(|part| is_unwritten(part)).count().saturating_sub(MAX_UNWRITTEN);
        for segment in self.segments.values_mut().filter(|segment| segment.next.is_some()) {
            if let Some(at) = segment.parts.iter().position(is_unwritten).filter(|_| excess > 0) {
                excess = excess.saturating_sub(segment.parts.len() - at);
                // Parts stand one behind the other, so those behind it go too; their files are found again.
                segment.parts.truncate(at);
            }
        }
    }

    /// Takes the parts of a segment that there are files of.
    fn load(&mut self, first: u64) -> Result<(), IndexError> {
        let Some(segment) = self.segments.get_mut(&first) else { return Ok(()) };
        while !(segment.next.is_some() && segment.is_covered(first)) {
            let at = segment.covered(first);
            let part = match file::Part::open(&self.dir, at.first) {
                Ok(part) => part,
                Err(Bad::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => break,
                Err(e) => {
                    tracing::warn!(first = at.first, error = %e, "a part of the audit index is made anew");
                    break;
                }
            };
            if let Err(e) = fits(&self.source, &part, at, segment.next) {
                tracing::warn!(first = at.first, error = %e, "a part of the audit index is made anew");
                part.remove();
                break;
            }
            segment.parts.push(Arc::new(Part::File(part)));
        }
        Ok(())
    }

    /// Takes the files that there are; then the places from which on records of finished segments are in no part, newest
    /// first.
    pub fn missing(&mut self) -> Result<Vec<Extent>, IndexError> {
        let tail = self.tail.extent;
        let open: Vec<u64> = self
            .segments
            .iter()
            .filter(|(first, segment)| **first != tail.segment && !segment.is_covered(**first))
            .map(|(first, _)| *first)
            .collect();
        let mut missing = Vec::new();
        for first in open.into_iter().rev() {
            self.load(first)?;
            if let Some(segment) = self.segments.get(&first).filter(|segment| !segment.is_covered(first)) {
                missing.push(segment.covered(first));
            }
        }
        Ok(missing)
    }

    /// First index of the successor of a segment.
    pub fn next_of(&self, first: u64) -> Option<u64> {
        self.segments.get(&first)?.next
    }

    /// Adds a part that was made from one of the [missing](Self::missing) places, unless that is missing no more.
    pub fn add(&mut self, part: Part) {
        let extent = part.extent();
        if let Some(segment) = self.segments.get_mut(&extent.segment) {
            let at = segment.covered(extent.segment);
            if (at.first, at.start) == (extent.first, extent.start) {
                segment.parts.push(Arc::new(part));
            }
        }
        self.forget_unwritten();
    }

    /// The oldest part that can be written now.
    pub fn unwritten(&self) -> Option<Arc<Part>> {
        let is_due = |part: &&Arc<Part>| is_unwritten(part) && self.is_durable(&part.extent());
        self.parts().find(is_due).cloned()
    }

    pub fn is_durable(&self, extent: &Extent) -> bool {
        self.source.is_durable(extent.next)
    }

    /// Takes the file of a part that was just written: in place of the part in memory, or where the part is missing. False when
    /// the file is not as it was written, so that writing it again at once would be of no use.
    pub fn written(&mut self, extent: Extent) -> bool {
        let Some(segment) = self.segments.get_mut(&extent.segment) else { return true };
        let file = match file::Part::open(&self.dir, extent.first) {
            Ok(file) if file.extent == extent => file,
            Ok(_) => return false,
            Err(e) => {
                tracing::warn!(first = extent.first, error = %e, "a part of the audit index was written and cannot be read");
                return false;
            }
        };
        let at = segment.covered(extent.segment);
        match segment.parts.iter_mut().find(|part| part.extent() == extent) {
            Some(part) => *part = Arc::new(Part::File(file)),
            None if (at.first, at.start) == (extent.first, extent.start) => {
                segment.parts.push(Arc::new(Part::File(file)));
            }
            // What is about these records has changed meanwhile.
            None => {}
        }
        true
    }

    /// Forgets a part that turned out to be damaged, and what is behind it in its segment; the files of that are found again.
    pub fn distrust(&mut self, extent: Extent) {
        if let Some(segment) = self.segments.get_mut(&extent.segment)
            && let Some(at) = segment.parts.iter().position(|part| part.extent() == extent)
        {
            if let Part::File(part) = &*segment.parts[at] {
                part.remove();
            }
            segment.parts.truncate(at);
            if self.tail.extent.segment == extent.segment {
                self.begin_tail(extent.segment);
            }
        }
    }

    /// Removes the files of parts of segments that are gone, and rests of files that were never finished.
    pub fn sweep(&self) -> std::io::Result<()> {
        let oldest = self.segments.keys().next().copied().unwrap_or(0);
        for first in file::list(&self.dir)?.into_iter().filter(|first| *first < oldest) {
            fs::remove_file(file::path(&self.dir, first))?;
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let is_rest = entry.path().extension().is_some_and(|e| e == "tmp");
            // Another process may be writing one.
            let is_old = || entry.metadata()?.modified()?.elapsed().map_err(std::io::Error::other);
            if is_rest && is_old().is_ok_and(|age| age.as_secs() > 3600) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes the directory for files of parts.
    pub fn make_dir(&self) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }
}

fn is_unwritten(part: &Arc<Part>) -> bool {
    matches!(**part, Part::Memory(_))
}

/// Makes the part that begins at a missing place.
pub(super) fn build(source: &Source, at: Extent, next: u64) -> Result<Option<Memory>, AuditError> {
    let Some(file) = source.open(at.segment)? else { return Ok(None) };
    let mut part = Memory::new(at);
    let failed = |e| AuditError::io("read", segment::path(source.dir(), at.segment), e);
    read_into(&mut part, &file, u64::MAX, next).map_err(failed)?;
    if part.extent.next < next && !part.is_full() {
        return Err(damaged(source, part.extent));
    }
    Ok(Some(part))
}

/// Reads records below `next` into a part until it is full.
fn read_into(part: &mut Memory, file: &File, end: u64, next: u64) -> std::io::Result<()> {
    if part.extent.next >= next || part.is_full() {
        return Ok(());
    }
    source::lines(file, part.extent.end, end, |line, json| {
        part.push(line, json);
        // Asked behind each record, so that the one that it ends with is in it.
        part.extent.next < next && !part.is_full()
    })
    .map(drop)
}

/// Records are missing where the log says that there are some.
fn damaged(source: &Source, found: Extent) -> AuditError {
    let line = found.next - found.segment + 2;
    AuditError::corrupt(segment::path(source.dir(), found.segment), line, "the record does not match its checksum")
}

/// Whether a part is about the records that are there: a log that was restored, or that a power cut has shortened, may have
/// others.
fn fits(source: &Source, part: &file::Part, at: Extent, next: Option<u64>) -> Result<(), Bad> {
    let extent = part.extent;
    let limit = next.unwrap_or(source.written().next);
    if (extent.segment, extent.first, extent.start) != (at.segment, at.first, at.start) || extent.next > limit {
        return Err(Bad::Content("about other records"));
    }
    let file = source.open(extent.segment).map_err(std::io::Error::other)?;
    let file = file.ok_or(Bad::Content("of a segment that is gone"))?;
    let last = u32::try_from(extent.records() - 1).map_err(std::io::Error::other)?;
    let place = part.read()?.place(last)?;
    match source::line(&file, place)? {
        Some(line) if line.starts_with(&part.last_checksum) => Ok(()),
        _ => Err(Bad::Content("about other records")),
    }
}
