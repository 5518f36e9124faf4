//! The log, as the index reads it.

use crate::{
    Log, Written,
    error::AuditError,
    segment::{self, MAX_LINE_BYTES, NEXT},
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Where records come from.
pub(super) enum Source {
    /// A log that is being written.
    Live(Arc<Log>),
    /// One that nobody writes to, and how far it goes.
    Still(PathBuf, Written),
}

impl Source {
    /// A directory that nobody writes to.
    pub fn still(dir: &Path) -> Result<Self, AuditError> {
        let firsts = segment::list(dir)?;
        // Whoever wrote it may have been killed before the end of it was flushed.
        let flush = |path: &Path| {
            File::open(path).and_then(|file| file.sync_all()).map_err(|e| AuditError::io("flush", path, e))
        };
        let mut written = Written { first: 0, next: 0, offset: segment::header(0).len() as u64 };
        if let Some(&first) = firsts.last() {
            let scan = segment::scan(&segment::path(dir, first), |_, _| {})?;
            flush(&segment::path(dir, first))?;
            written = Written { first, next: first + scan.records, offset: scan.good_end };
            let next = dir.join(NEXT);
            if next.exists() && segment::read_first(&next)? == Some(written.next) {
                let scan = segment::scan(&next, |_, _| {})?;
                flush(&next)?;
                if scan.records > 0 {
                    written = Written { first: written.next, next: written.next + scan.records, offset: scan.good_end };
                }
            }
        }
        Ok(Source::Still(dir.into(), written))
    }

    /// The same log once more, to read in beside it.
    pub fn reader(&self) -> Source {
        match self {
            Source::Live(log) => Source::Live(log.clone()),
            Source::Still(dir, written) => Source::Still(dir.clone(), *written),
        }
    }

    pub fn dir(&self) -> &Path {
        match self {
            Source::Live(log) => log.dir(),
            Source::Still(dir, _) => dir,
        }
    }

    /// How far the log goes.
    pub fn written(&self) -> Written {
        match self {
            Source::Live(log) => log.written(),
            Source::Still(_, written) => *written,
        }
    }

    /// True when all records below `next` survive a power cut: what is said of them may be written down.
    pub fn is_durable(&self, next: u64) -> bool {
        match self {
            Source::Live(log) => log.flushed_through().is_some_and(|last| next <= last + 1),
            Source::Still(_, written) => next <= written.next,
        }
    }

    /// Opens a segment; `None` when it is gone.
    pub fn open(&self, first: u64) -> Result<Option<File>, AuditError> {
        let (path, next) = (segment::path(self.dir(), first), self.dir().join(NEXT));
        // The newest one may be renamed between the two looks, so the first is tried again.
        for path in [&path, &next, &path] {
            match File::open(path) {
                Ok(file) if path == &next && !is_of(&file, first) => {}
                Ok(file) => return Ok(Some(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(AuditError::io("open", path, e)),
            }
        }
        Ok(None)
    }
}

/// Whether a file begins as the segment with this first index.
fn is_of(file: &File, first: u64) -> bool {
    let header = segment::header(first);
    let mut found = vec![0; header.len()];
    file.read_exact_at(&mut found, 0).is_ok() && found == header.as_bytes()
}

/// The good lines of a segment from `at` to `end` (or to its first bad line), each with its record. Stops when `visit` says
/// no; returns where it stopped.
pub(super) fn lines(
    file: &File,
    mut at: u64,
    end: u64,
    mut visit: impl FnMut(&[u8], &[u8]) -> bool,
) -> io::Result<u64> {
    let mut buffer: Vec<u8> = Vec::new();
    let mut from = 0;
    let mut read_to = at;
    loop {
        let rest = buffer.get(from..).unwrap_or_default();
        let Some(len) = memchr::memchr(b'\n', rest).map(|last| last + 1) else {
            if rest.len() > MAX_LINE_BYTES || read_to >= end {
                return Ok(at);
            }
            buffer.drain(..from);
            from = 0;
            let before = buffer.len();
            let more = usize::try_from(end - read_to).map_or(CHUNK, |rest| rest.min(CHUNK));
            buffer.resize(before + more, 0);
            let read = file.read_at(&mut buffer[before..], read_to)?;
            buffer.truncate(before + read);
            read_to += read as u64;
            if read == 0 {
                return Ok(at);
            }
            continue;
        };
        let line = &rest[..len];
        let Some(json) = segment::parse_line(line) else { return Ok(at) };
        if !visit(line, json) {
            return Ok(at);
        }
        at += len as u64;
        from += len;
    }
}

/// One line of a segment and the record in it; `None` when the place does not hold a good line.
pub(super) fn line(file: &File, (from, to): (u64, u64)) -> io::Result<Option<Vec<u8>>> {
    let len = usize::try_from(to - from).unwrap_or(usize::MAX);
    if len > MAX_LINE_BYTES {
        return Ok(None);
    }
    let mut line = vec![0; len];
    match file.read_exact_at(&mut line, from) {
        Ok(()) => Ok(segment::parse_line(&line).is_some().then_some(line)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}
