//! Proofs that stand on their own (C2SP tlog-proof): a record, its way to the root, and the checkpoint.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of the record>
//! index <index of the record>
//! <base64 of a hash>, in any number of lines
//! <empty line>
//! <checkpoint>
//! ```

use crate::{
    checkpoint::Checkpoint,
    error::AuditError,
    levels::Levels,
    note::{MAX_NOTE_BYTES, Note},
    segment::MAX_RECORD_BYTES,
    tree::{self, Hash},
    verify::{Proved, Trust},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fmt, path::Path};
use tlog_tiles::tlog;

const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 records is so deep.
const MAX_HASHES: usize = 64;
/// Largest proof that is read, bytes.
pub const MAX_PROOF_BYTES: usize = 2 * MAX_RECORD_BYTES + MAX_NOTE_BYTES + 8192;

/// A record with the proof that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Index of the record.
    pub index: u64,
    /// Its bytes.
    pub record: Vec<u8>,
    hashes: Vec<Hash>,
    note: Note,
}

impl Proof {
    /// Makes the proof for a record of a log that was verified just now.
    pub fn make(dir: &Path, proved: &Proved, index: u64, record: &[u8]) -> Result<Self, AuditError> {
        let Some((checkpoint, note)) = &proved.newest else {
            return Err(AuditError::Proof("the log has no checkpoint"));
        };
        if index >= checkpoint.size {
            return Err(AuditError::Proof("no checkpoint covers the record yet; try again in a few seconds"));
        }
        let hashes = Levels::read_only(dir)?.inclusion(index, checkpoint.size)?;
        Ok(Proof { index, record: record.to_vec(), hashes, note: note.clone() })
    }

    /// Reads a proof of at most [`MAX_PROOF_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AuditError> {
        let bad = |what| AuditError::Proof(what);
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(bad("the proof is too large"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("the proof is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(bad("the proof has no checkpoint"))?;
        let mut lines = head.lines();
        if lines.next() != Some(HEAD) {
            return Err(bad("the first line is not c2sp.org/tlog-proof@v1"));
        }
        let record = lines.next().and_then(|line| STANDARD.decode(line.strip_prefix("extra ")?).ok());
        let record = record.ok_or(bad("the proof has no record"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok());
        let index = index.ok_or(bad("the proof has no index"))?;
        let hash = |line: &str| Hash::try_from(STANDARD.decode(line).ok()?.as_slice()).ok();
        let hashes: Vec<Hash> = lines.map(hash).collect::<Option<_>>().ok_or(bad("a line of the proof is no hash"))?;
        if hashes.len() > MAX_HASHES {
            return Err(bad("the proof has too many hashes"));
        }
        let note = Note::parse(note.as_bytes()).map_err(|e| bad(e.0))?;
        Ok(Proof { index, record, hashes, note })
    }

    /// Checks everything; returns the checkpoint that covers the record.
    pub fn check(&self, trust: &Trust) -> Result<Checkpoint, AuditError> {
        let checkpoint = Checkpoint::of_note(&self.note, &trust.keys).map_err(|e| AuditError::Proof(e.0))?;
        let signed = trust.witnesses.iter().filter(|w| self.note.signed_by(w).is_some()).count();
        if signed < trust.required {
            return Err(AuditError::Proof("too few witnesses have signed the checkpoint"));
        }
        let hashes = self.hashes.iter().map(|hash| tlog::Hash(*hash)).collect();
        let leaf = tlog::Hash(tree::leaf(&self.record));
        tlog::check_record(&hashes, checkpoint.size, tlog::Hash(checkpoint.root), self.index, leaf)
            .map(|()| checkpoint)
            .map_err(|_| AuditError::Proof("the record is not in the tree of the checkpoint at this index"))
    }
}

/// As [`Proof::parse`] reads it.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\nextra {}\nindex {}", STANDARD.encode(&self.record), self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}
