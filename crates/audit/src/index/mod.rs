//! Finds records by what they say: whose they are, which key, which action, who, from where, how they ended.
//!
//! The index is made of the log and can be deleted at any time; nothing is proved with it. Of each finished segment there is a
//! part in a file (`index/audit-<first>.idx` beside the log), of the newest records one in memory, which is brought up to
//! the log's end when somebody asks. So whoever appends pays nothing, and what is written is found.
//!
//! * The index proposes records, the log decides: every record is read from the log, checked against its checksum and against
//!   the question before it is in an answer.
//! * An answer is whole or there is none: where parts are missing they are made, and where that would take too long the caller
//!   is told to come again ([`IndexError::Building`]). A background thread ([`Index::start`]) makes them before anybody asks.
//! * A record of a version that is not known here is not found; [`Page::unknown`] counts those.
//!
//! Invariant: a file is written only about records that are on stable storage, so that a power cut cannot put other records in
//! their place.

mod background;
mod catalog;
mod file;
mod memory;
mod query;
mod source;

#[cfg(test)]
mod tests;

pub use query::{Attribute, Condition, Query};

use crate::{AuditError, Facts, Log, segment};
use background::Background;
use catalog::{Catalog, ON_DEMAND, Part};
use file::Bad;
use memory::{Extent, ZONE};
use parking_lot::Mutex;
use query::candidates;
use source::Source;
use std::{
    collections::HashMap,
    convert::Infallible,
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest time that a query may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a query starts over because a part was damaged.
const MAX_TRIES: usize = 5;
/// Name of the directory beside the segments.
const DIRECTORY: &str = "index";

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// So many segments are not indexed yet. The same question has an answer later.
    #[error("the index of the audit log is being built: {0} segments are to come")]
    Building(usize),
    /// It took longer than it may. A narrower question has an answer.
    #[error("the query took too long")]
    TooLong,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] AuditError),
}

/// A record that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its index in the log.
    pub index: u64,
    /// Its canonical bytes. What the account may see of them, [`Facts::seen_by`] says.
    pub json: Vec<u8>,
}

/// A page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Records, the newest (by index) first.
    pub records: Vec<Found>,
    /// Where the next page begins ([`Query::before`]); none when this is the last one.
    pub next: Option<u64>,
    /// Records in the whole log that no query finds, since this release cannot read their version.
    pub unknown: u64,
}

/// The index of a log.
pub struct Index {
    catalog: Mutex<Catalog>,
    background: Mutex<Option<Background>>,
}

impl Index {
    /// Of a log that is being written. Reads nothing yet.
    pub fn new(log: Arc<Log>) -> Self {
        Self::of(Source::Live(log))
    }

    /// Of a log in a directory that nobody writes to. Records that are appended later are not found.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        Ok(Self::of(Source::still(dir)?))
    }

    fn of(source: Source) -> Self {
        let dir = source.dir().join(DIRECTORY);
        Index { catalog: Mutex::new(Catalog::new(source, dir)), background: Mutex::default() }
    }

    /// Makes missing parts from now on, on a thread of low priority.
    pub fn start(self: &Arc<Self>) -> Result<(), AuditError> {
        let background = Background::start(self).map_err(|e| AuditError::io("start a thread for", DIRECTORY, e))?;
        *self.background.lock() = Some(background);
        Ok(())
    }

    /// Ends the thread.
    pub fn stop(&self) {
        // Dropped outside of the lock: it is waited for.
        let background = self.background.lock().take();
        drop(background);
    }

    /// Answers a query. Reads files: not for an async thread.
    pub fn query(&self, query: &Query) -> Result<Page, IndexError> {
        let deadline = Instant::now() + DEADLINE;
        let query = &query.simplified();
        let mut distrusted = None;
        for _ in 0..MAX_TRIES {
            match self.search(query, deadline) {
                Err(Failed::Part(extent, bad)) => {
                    tracing::warn!(first = extent.first, error = %bad, "a part of the audit index is made anew");
                    self.catalog.lock().distrust(extent);
                    distrusted = Some(extent);
                }
                Err(Failed::Index(e)) => return Err(e),
                Ok(page) => return Ok(page),
            }
        }
        // Made anew it is as damaged as before: it is the log.
        let file = segment::path(self.catalog.lock().source().dir(), distrusted.map_or(0, |extent| extent.segment));
        Err(AuditError::corrupt(file, 1, "records are not where they were").into())
    }

    /// Makes what is missing where a query may wait for it; then all parts, and the newest records that may be wanted.
    fn prepare(&self, query: &Query) -> Result<Prepared, IndexError> {
        let mut catalog = self.catalog.lock();
        if !catalog.follow(u64::MAX)? {
            return Err(IndexError::Building(1));
        }
        let mut made = 0;
        loop {
            let missing = catalog.missing()?;
            let Some(at) = missing.first().copied() else { break };
            if made + missing.len() > ON_DEMAND {
                return Err(IndexError::Building(missing.len()));
            }
            make(&mut catalog, at)?;
            made += 1;
        }
        let tail = catalog.tail();
        let newest = propose_in_memory(tail, query);
        let parts: Vec<_> = catalog.parts().cloned().collect();
        let unknown = parts.iter().map(|part| u64::from(part.unknown())).sum::<u64>() + u64::from(tail.unknown);
        Ok(Prepared { parts, newest, unknown })
    }

    fn search(&self, query: &Query, deadline: Instant) -> Result<Page, Failed> {
        let Prepared { parts, newest, unknown } = self.prepare(query)?;
        let mut answer = Answer::new(self, query, deadline);
        answer.page.unknown = unknown;
        if answer.take(newest)? {
            return Ok(answer.page);
        }
        for part in parts.iter().rev() {
            // Also where nothing is proposed: long lists are read and united for that.
            answer.in_time()?;
            let extent = part.extent();
            if query.before.is_some_and(|before| extent.first >= before) {
                continue;
            }
            match &**part {
                Part::Memory(part) => {
                    if answer.take(propose_in_memory(part, query))? {
                        break;
                    }
                }
                Part::File(part) if query.overlaps(part.times) => {
                    let mut from = query.before;
                    loop {
                        answer.in_time()?;
                        let proposed = propose_in_file(part, query, from).map_err(|bad| Failed::Part(extent, bad))?;
                        let last = proposed.candidates.last().map(|last| last.index);
                        if answer.take(proposed.candidates)? {
                            return Ok(answer.page);
                        }
                        if !proposed.more {
                            break;
                        }
                        from = last;
                    }
                }
                Part::File(_) => {}
            }
        }
        Ok(answer.page)
    }

    /// One step of what the background thread does; true when there is more to do at once.
    fn tend(&self) -> Result<bool, IndexError> {
        const STEP: u64 = 20_000;
        let (part, missing, source) = {
            let mut catalog = self.catalog.lock();
            let before = catalog.tail().extent;
            if !catalog.follow(STEP)? && catalog.unwritten().is_none() {
                // Where it came no further, something else has to happen first.
                return Ok(catalog.tail().extent != before);
            }
            let part = catalog.unwritten();
            let missing = if part.is_none() { catalog.missing()? } else { Vec::new() };
            let next = |at: Extent| catalog.next_of(at.segment).map(|next| (at, next));
            (part, missing.into_iter().filter_map(next).collect::<Vec<_>>(), catalog.source().reader())
        };
        // Whoever asks meanwhile need not wait.
        if let Some(Part::Memory(part)) = part.as_deref() {
            return self.write(part);
        }
        let mut failed = None;
        for (at, next) in missing {
            match catalog::build(&source, at, next) {
                Ok(Some(made)) => {
                    if !self.catalog.lock().is_durable(&made.extent) {
                        self.catalog.lock().add(Part::Memory(made));
                        return Ok(true);
                    }
                    if self.write(&made)? {
                        return Ok(true);
                    }
                }
                // Gone; the next look will not find it either.
                Ok(None) => return Ok(true),
                // A damaged segment does not keep the others from being indexed.
                Err(e) => failed = Some(e),
            }
        }
        failed.map_or(Ok(false), |e| Err(e.into()))
    }

    /// Writes a part and takes its file; false when that cannot be read.
    fn write(&self, part: &memory::Memory) -> Result<bool, IndexError> {
        let dir = {
            let catalog = self.catalog.lock();
            let dir = catalog.dir().to_owned();
            catalog.make_dir().map_err(|e| AuditError::io("create", &dir, e))?;
            dir
        };
        file::write(&dir, part).map_err(|e| AuditError::io("write", file::path(&dir, part.extent.first), e))?;
        Ok(self.catalog.lock().written(part.extent))
    }

    /// Removes files that are about nothing any more.
    fn sweep(&self) -> Result<(), AuditError> {
        let catalog = self.catalog.lock();
        match catalog.sweep() {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(AuditError::io("sweep", catalog.dir(), e)),
            _ => Ok(()),
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a missing part at once, and a file of it where that can be.
fn make(catalog: &mut Catalog, at: Extent) -> Result<(), IndexError> {
    let Some(next) = catalog.next_of(at.segment) else { return Ok(()) };
    let Some(made) = catalog::build(catalog.source(), at, next)? else { return Ok(()) };
    let written = catalog.is_durable(&made.extent)
        && catalog.make_dir().and_then(|()| file::write(catalog.dir(), &made)).is_ok_and(|()| {
            // What was just written is taken as any other file.
            file::Part::open(catalog.dir(), made.extent.first).is_ok()
        });
    if !written {
        catalog.add(Part::Memory(made));
    }
    Ok(())
}

/// All that a query looks at.
struct Prepared {
    /// Oldest first.
    parts: Vec<Arc<Part>>,
    /// What it may want of the newest records, which are in no part.
    newest: Vec<Candidate>,
    /// See [`Page::unknown`].
    unknown: u64,
}

/// Why a search came to no end.
enum Failed {
    Index(IndexError),
    /// A part is damaged.
    Part(Extent, Bad),
}

impl From<IndexError> for Failed {
    fn from(e: IndexError) -> Self {
        Failed::Index(e)
    }
}

/// A record that may be wanted.
struct Candidate {
    /// The part that says so.
    part: Extent,
    index: u64,
    /// Where its line begins and ends in the segment.
    place: (u64, u64),
}

/// The part of an ascending list that is before a place of the log.
fn before(numbers: &[u32], before: Option<u64>, part: Extent) -> &[u32] {
    let Some(before) = before else { return numbers };
    let end = numbers.partition_point(|n| part.first + u64::from(*n) < before);
    numbers.get(..end).unwrap_or(numbers)
}

/// Proposals of a part in memory, the newest first.
fn propose_in_memory(part: &memory::Memory, query: &Query) -> Vec<Candidate> {
    let extent = part.extent;
    if !query.overlaps(part.times()) {
        return Vec::new();
    }
    let Ok(numbers): Result<_, Infallible> = candidates(&mut &*part, query);
    let place = |n: usize| {
        let from = *part.offsets.get(n)?;
        let to = part.offsets.get(n + 1).map_or(extent.end, |to| extent.start + u64::from(*to));
        Some((extent.start + u64::from(from), to))
    };
    let in_time = |n: &&u32| part.zones.get(**n as usize / ZONE).is_some_and(|zone| query.overlaps(*zone));
    before(&numbers, query.before, extent)
        .iter()
        .rev()
        .filter(in_time)
        .filter_map(|n| {
            Some(Candidate { part: extent, index: extent.first + u64::from(*n), place: place(*n as usize)? })
        })
        .collect()
}

/// Proposals of a part, the newest first.
struct Proposed {
    candidates: Vec<Candidate>,
    /// There may be others before them.
    more: bool,
}

/// The same of a part in a file, of records before `from`. No more than a page is likely to need: where each of them is costs
/// a look into the file.
fn propose_in_file(part: &file::Part, query: &Query, from: Option<u64>) -> Result<Proposed, Bad> {
    let mut reader = part.read()?;
    let numbers = candidates(&mut reader, query)?;
    let extent = part.extent;
    let mut out = Proposed { candidates: Vec::new(), more: false };
    for n in before(&numbers, from, extent).iter().rev() {
        if out.candidates.len() > query.limit {
            out.more = true;
            break;
        }
        if query.overlaps(reader.zone(*n)?) {
            let place = reader.place(*n)?;
            out.candidates.push(Candidate { part: extent, index: extent.first + u64::from(*n), place });
        }
    }
    Ok(out)
}

/// An answer in the making.
struct Answer<'a> {
    index: &'a Index,
    query: &'a Query,
    account: String,
    deadline: Instant,
    files: HashMap<u64, Option<File>>,
    page: Page,
}

impl<'a> Answer<'a> {
    fn new(index: &'a Index, query: &'a Query, deadline: Instant) -> Self {
        let account = query.account.to_string();
        Answer { index, query, account, deadline, files: HashMap::new(), page: Page::default() }
    }

    /// Refuses to go on for longer than a query may.
    fn in_time(&self) -> Result<(), IndexError> {
        if Instant::now() > self.deadline { Err(IndexError::TooLong) } else { Ok(()) }
    }

    /// Adds those candidates that the log confirms; true when the page is full and more follow.
    fn take(&mut self, candidates: Vec<Candidate>) -> Result<bool, Failed> {
        for candidate in candidates {
            self.in_time()?;
            let Some(json) = self.confirm(&candidate)? else { continue };
            if self.page.records.len() >= self.query.limit {
                self.page.next = self.page.records.last().map(|last| last.index);
                return Ok(true);
            }
            self.page.records.push(Found { index: candidate.index, json });
        }
        Ok(false)
    }

    /// The record, if it is wanted; none of a segment that is gone.
    fn confirm(&mut self, candidate: &Candidate) -> Result<Option<Vec<u8>>, Failed> {
        let segment = candidate.part.segment;
        let log = |e| Failed::Index(IndexError::Log(e));
        if !self.files.contains_key(&segment) {
            let file = self.index.catalog.lock().source().open(segment).map_err(log)?;
            self.files.insert(segment, file);
        }
        let Some(Some(file)) = self.files.get(&segment) else { return Ok(None) };
        let line = source::line(file, candidate.place).map_err(|e| {
            let path = segment::path(self.index.catalog.lock().source().dir(), segment);
            log(AuditError::io("read", path, e))
        })?;
        let Some(line) = line else {
            return Err(Failed::Part(candidate.part, Bad::Content("no record where it says there is one")));
        };
        let Some(json) = segment::parse_line(&line) else { return Ok(None) };
        let is_wanted = Facts::parse(json).is_some_and(|facts| self.query.wants(&facts, &self.account));
        Ok(is_wanted.then(|| json.to_vec()))
    }
}
