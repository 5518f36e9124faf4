//! Offline verification: every record, the tree, and every checkpoint.

use crate::{
    checkpoint::{self, CHECKPOINT, Checkpoint, HISTORY},
    error::AuditError,
    levels::Levels,
    note::{Note, Verifier},
    segment::{self, Scan},
    tree::{self, Hash, LEVELS, Tree},
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// Whose signatures count.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys of the log.
    pub keys: Vec<Verifier>,
    /// Keys of witnesses.
    pub witnesses: Vec<Verifier>,
    /// How many of them must have signed the newest checkpoint.
    pub required: usize,
}

impl Trust {
    /// Whose signatures count. A key that is named twice counts once; a witness must have the key of a witness.
    pub fn new(keys: Vec<Verifier>, witnesses: Vec<Verifier>, required: usize) -> Result<Self, AuditError> {
        let mut distinct: Vec<Verifier> = Vec::new();
        for witness in witnesses {
            if !witness.is_witness() {
                return Err(AuditError::Proof("a key that was named as a witness's is not one"));
            }
            if !distinct.iter().any(|known| known.has_key_of(&witness)) {
                distinct.push(witness);
            }
        }
        if required > distinct.len() {
            return Err(AuditError::Proof("more witnesses are required than keys of witnesses are named"));
        }
        Ok(Trust { keys, witnesses: distinct, required })
    }
}

/// What a verification has found: nothing that is wrong.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Index of the first record that is there; those before were retired.
    pub first: u64,
    /// Index behind the last record.
    pub end: u64,
    /// Files with records.
    pub segments: u64,
    /// Checkpoints whose signature and root were checked. Each is consistent with each other: they are of one tree.
    pub checkpoints: u64,
    /// The largest of them.
    pub newest: Option<(Checkpoint, Note)>,
    /// Hashes of level 0 that the tree's files have; the records behind were compared with nothing but checkpoints.
    pub hashed: u64,
    /// Bytes behind the last record: the trace of a crash, or an append under way.
    pub torn_bytes: u64,
}

impl Proved {
    /// Records behind the newest checkpoint: nothing is proved of them.
    pub fn uncovered(&self) -> u64 {
        self.end - self.newest.as_ref().map_or(0, |(c, _)| c.size)
    }
}

/// A checkpoint that has yet to be met.
struct Expected {
    checkpoint: Checkpoint,
    note: Note,
}

/// Verifies a log: the continuity and checksum of its records, that they are those of the tree's files, that the tree has
/// the root of each checkpoint of the directory and of `more`, and each checkpoint's signature. Hands every record with its
/// index to `visit` on the way; what that saw counts only if this returns `Ok`. May run beside a writer.
pub fn verify_log(
    dir: &Path,
    trust: &Trust,
    more: &[Note],
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<Proved, AuditError> {
    // The tree first, then the records: beside a writer there are at least as many.
    let mut walk = Walk::begin(dir, trust, more)?;
    let firsts = segment::list(dir)?;
    let start = firsts.first().copied().unwrap_or(0);
    // Records may be gone only as far as the key of the log has said so.
    if checkpoint::retired_to(dir, &trust.keys)? < start {
        return Err(AuditError::Missing { from: 0, to: start });
    }
    walk.retired(start)?;
    let mut segments = 0;
    let mut last = None;
    let mut see = |walk: &mut Walk, place: &Place<'_>, json: &[u8]| {
        let index = walk.tree.size();
        walk.record(place, tree::leaf(json))?;
        visit(index, json);
        Ok(())
    };
    for (i, &first) in firsts.iter().enumerate() {
        if first != walk.tree.size() {
            return Err(AuditError::Missing { from: walk.tree.size(), to: first });
        }
        let path = segment::path(dir, first);
        let file = File::open(&path).map_err(|e| AuditError::io("read", &path, e))?;
        let scan = walk.segment(&path, file, &mut see)?;
        if scan.first != Some(first) {
            return Err(AuditError::corrupt(path, 1, "the header is not this file's"));
        }
        if let Some(bad) = scan.bad.as_ref().filter(|_| i + 1 < firsts.len() || scan.good_after_bad > 0) {
            return Err(walk.torn(path, bad.line));
        }
        segments += 1;
        last = Some((path, scan));
    }
    // What has been begun since the files were listed.
    while let Some((path, file)) = segment::open_at(dir, walk.tree.size())? {
        let scan = walk.segment(&path, file, &mut see)?;
        let records = scan.records;
        segments += 1;
        last = Some((path, scan));
        if records == 0 {
            break;
        }
    }
    let torn_bytes = last.as_ref().map_or(0, |(_, scan)| scan.torn());
    let bad = last.and_then(|(path, scan)| Some((path, scan.bad?.line)));
    walk.end(bad, start, segments, torn_bytes, trust)
}

/// Where a record is.
struct Place<'a> {
    file: &'a Path,
    line: u64,
}

struct Walk {
    tree: Tree,
    levels: Vec<Cursor>,
    hashed: u64,
    expected: Vec<Expected>,
    met: usize,
    /// Sizes of the last checkpoint that was met, and of the last smaller one.
    good: u64,
    smaller: u64,
}

impl Walk {
    fn begin(dir: &Path, trust: &Trust, more: &[Note]) -> Result<Self, AuditError> {
        let levels = Levels::read_only(dir)?;
        let hashed = levels.size();
        let own = |file: &str, notes: Vec<Note>| {
            notes.into_iter().map(move |note| (PathBuf::from(file), note)).collect::<Vec<_>>()
        };
        let mut notes = own(HISTORY, checkpoint::history(dir)?);
        notes.extend(own(CHECKPOINT, checkpoint::newest(dir)?.into_iter().collect()));
        notes.extend(own("the given checkpoint", more.to_vec()));
        let signed = |(file, note): (PathBuf, Note)| {
            let checkpoint =
                Checkpoint::of_note(&note, &trust.keys).map_err(|e| AuditError::Note { file, what: e.0 })?;
            Ok(Expected { checkpoint, note })
        };
        let mut expected = notes.into_iter().map(signed).collect::<Result<Vec<_>, AuditError>>()?;
        expected.sort_by_key(|e| e.checkpoint.size);
        let levels = std::sync::Arc::new(levels);
        let cursor =
            |level| Ok(Cursor { level, left: levels.len(level)?, levels: levels.clone(), at: 0, ahead: Vec::new() });
        let levels = (0..LEVELS).map(cursor).collect::<Result<Vec<_>, AuditError>>()?;
        let mut walk = Walk { tree: Tree::default(), levels, hashed, expected, met: 0, good: 0, smaller: 0 };
        walk.meet()?;
        Ok(walk)
    }

    /// Takes the hashes of records that are gone.
    fn retired(&mut self, count: u64) -> Result<(), AuditError> {
        if count > self.hashed {
            return Err(AuditError::Missing { from: 0, to: count });
        }
        while self.tree.size() < count {
            let Some(cursor) = self.levels.first_mut() else { break };
            let leaf = cursor.peek()?.ok_or(AuditError::Missing { from: 0, to: count })?;
            self.grow(leaf).map_err(|level| AuditError::Hash { level, record: self.tree.size() - 1 })?;
            self.meet()?;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        path: &Path,
        file: File,
        see: &mut impl FnMut(&mut Self, &Place<'_>, &[u8]) -> Result<(), AuditError>,
    ) -> Result<Scan, AuditError> {
        let mut outcome = Ok(());
        let scan = segment::scan_file(path, file, |n, json| {
            if outcome.is_ok() {
                // Behind the header, from 1.
                outcome = see(self, &Place { file: path, line: n + 2 }, json);
            }
        })?;
        outcome.map(|()| scan)
    }

    fn record(&mut self, place: &Place<'_>, leaf: Hash) -> Result<(), AuditError> {
        let index = self.tree.size();
        self.grow(leaf).map_err(|level| match level {
            0 => AuditError::Altered { index, file: place.file.to_owned(), line: place.line },
            level => AuditError::Hash { level, record: index },
        })?;
        self.meet()
    }

    /// Appends to the tree; tells the lowest level whose file has another hash.
    fn grow(&mut self, leaf: Hash) -> Result<(), usize> {
        let mut wrong = None;
        let levels = &mut self.levels;
        self.tree.push(leaf, |level, hash| {
            let stored = levels.get_mut(level).and_then(|cursor| cursor.next().transpose());
            if let Some(stored) = stored
                && stored.ok() != Some(*hash)
            {
                wrong.get_or_insert(level);
            }
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Compares with the checkpoints of the present size.
    fn meet(&mut self) -> Result<(), AuditError> {
        while let Some(expected) = self.expected.get(self.met).filter(|e| e.checkpoint.size <= self.tree.size()) {
            let size = expected.checkpoint.size;
            if size > self.good {
                self.smaller = self.good;
            }
            if self.tree.root() != expected.checkpoint.root {
                return Err(AuditError::Rewritten { from: self.smaller, size });
            }
            self.good = size;
            self.met += 1;
        }
        Ok(())
    }

    fn torn(&self, file: PathBuf, line: u64) -> AuditError {
        AuditError::BadAt { index: self.tree.size(), file, line }
    }

    fn end(
        self,
        bad: Option<(PathBuf, u64)>,
        first: u64,
        segments: u64,
        torn_bytes: u64,
        trust: &Trust,
    ) -> Result<Proved, AuditError> {
        let records = self.tree.size();
        let promised = self.expected.last().map_or(0, |e| e.checkpoint.size).max(self.hashed);
        if promised > records {
            // A line that a flush had covered is damage, not the trace of a crash.
            return Err(match bad {
                Some((file, line)) => self.torn(file, line),
                None => AuditError::Shorter { records, promised },
            });
        }
        // Of those of one size the one with the most witnesses.
        let witnessed = |note: &Note| trust.witnesses.iter().filter(|w| note.signed_by(w).is_some()).count();
        let newest = self.expected.into_iter().max_by_key(|e| (e.checkpoint.size, witnessed(&e.note)));
        let signed = newest.as_ref().map_or(0, |e| witnessed(&e.note));
        if signed < trust.required {
            return Err(AuditError::Proof("too few witnesses have signed the newest checkpoint"));
        }
        Ok(Proved {
            first,
            end: records,
            segments,
            checkpoints: self.met as u64,
            newest: newest.map(|e| (e.checkpoint, e.note)),
            hashed: self.hashed,
            torn_bytes,
        })
    }
}

/// The hashes of a level's file, one behind the other.
struct Cursor {
    level: usize,
    levels: std::sync::Arc<Levels>,
    at: u64,
    left: u64,
    /// Read and not given yet, the next one last.
    ahead: Vec<Hash>,
}

/// Hashes read at once.
const AHEAD: u64 = 4096;

impl Cursor {
    fn peek(&mut self) -> Result<Option<Hash>, AuditError> {
        if self.ahead.is_empty() && self.left > 0 {
            let count = self.left.min(AHEAD);
            self.ahead = self.levels.hashes(self.level, self.at, usize::try_from(count).unwrap_or(0))?;
            self.ahead.reverse();
            self.at += count;
            self.left -= count;
        }
        Ok(self.ahead.last().copied())
    }

    fn next(&mut self) -> Result<Option<Hash>, AuditError> {
        let hash = self.peek()?;
        self.ahead.pop();
        Ok(hash)
    }
}
