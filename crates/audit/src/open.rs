//! What a log's opening does beside finding its end: the tree over its records, and whether they are those of its checkpoints.

use crate::{
    checkpoint::{self, CHECKPOINT, Checkpoint, HISTORY},
    error::AuditError,
    levels::Levels,
    notary,
    note::{Note, NoteError},
    read,
    tree::{self, Hash, Tree},
};
use std::path::Path;

/// Records hashed between two writes to the files of the tree.
const CATCH_UP: usize = 64 * 1024;

/// Records between two moments at which the growing tree is made durable.
const KEEP_EVERY: u64 = 4_000_000;

/// Grows the tree over the records that its files do not cover: all of a log that never had one. Returns the hashes for
/// which there is no room, for a start must be possible on a full disk.
pub(crate) fn catch_up(dir: &Path, levels: &Levels, tree: &mut Tree) -> Result<Vec<Hash>, AuditError> {
    let mut leaves = Vec::new();
    let from = tree.size();
    let mut kept = from;
    let mut outcome = Ok(());
    let mut grow = |leaves: &mut Vec<Hash>| {
        if !matches!(outcome, Ok(())) {
            return;
        }
        outcome = levels.append(tree, leaves);
        if outcome.is_ok() {
            leaves.clear();
        }
        // A start that is broken off goes on from here at the next one.
        if outcome.is_ok() && tree.size() - kept >= KEEP_EVERY {
            kept = tree.size();
            tracing::info!(records = kept, "the tree of the audit log is being made");
            outcome = levels.sync(tree);
        }
    };
    read::from(dir, from, |index, json| {
        if index < from {
            return;
        }
        leaves.push(tree::leaf(json));
        if leaves.len() >= CATCH_UP {
            grow(&mut leaves);
        }
    })?;
    grow(&mut leaves);
    match outcome {
        Ok(()) | Err(AuditError::Full) => Ok(leaves),
        Err(e) => Err(e),
    }
}

/// The newest published checkpoint and the last of the history. Their signatures are a verifier's business: a start asks
/// whether the records are theirs, and nobody gains from a checkpoint that makes it refuse.
pub(crate) fn checkpoints(dir: &Path) -> Result<Vec<Checkpoint>, AuditError> {
    let last = notary::mend_history(&dir.join(HISTORY))?;
    let newest = checkpoint::newest(dir).unwrap_or_else(|e| {
        tracing::warn!(error = %e, "the newest checkpoint of the audit log cannot be read; the history has an older one");
        None
    });
    let parse = |note: Note| {
        let bad = |e: NoteError| AuditError::Note { file: dir.join(CHECKPOINT), what: e.0 };
        Checkpoint::parse(note.text()).map_err(bad)
    };
    newest.into_iter().chain(last).map(parse).collect()
}

/// Refuses records that are not those that a checkpoint was made of. `behind` are hashes behind the tree.
pub(crate) fn check_checkpoints(
    levels: &Levels,
    tree: &Tree,
    behind: &[Hash],
    checkpoints: &[Checkpoint],
) -> Result<(), AuditError> {
    let records = tree.size() + behind.len() as u64;
    for checkpoint in checkpoints {
        if checkpoint.size > records {
            return Err(AuditError::Shorter { records, promised: checkpoint.size });
        }
        let root = match checkpoint.size.checked_sub(tree.size()) {
            None => levels.tree_at(checkpoint.size)?.root(),
            Some(more) => {
                let mut tree = tree.clone();
                let more = behind.get(..usize::try_from(more).unwrap_or(usize::MAX)).unwrap_or(behind);
                more.iter().for_each(|leaf| tree.push(*leaf, |_, _| {}));
                tree.root()
            }
        };
        if root != checkpoint.root {
            return Err(AuditError::Forked(checkpoint.size));
        }
    }
    Ok(())
}
