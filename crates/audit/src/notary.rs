//! The thread that grows the tree over flushed records and publishes checkpoints.
//!
//! It works by the clock, not by the record: nobody's answer waits for it.

use crate::{
    checkpoint::{self, CHECKPOINT, Checkpoint, HISTORY},
    disk,
    error::AuditError,
    levels::Levels,
    note::{Note, Signer, Verifier},
    shared::Shared,
    tree::{Hash, Tree},
};
use parking_lot::{Condvar, Mutex};
use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Who signs checkpoints, and who else must.
pub struct Certifier {
    /// Key of the log; its name is the origin.
    pub signer: Signer,
    /// Keys of the witnesses.
    pub witnesses: Vec<Verifier>,
    /// How many of them must have signed a checkpoint before it is published.
    pub required: usize,
}

/// A published checkpoint.
#[derive(Clone, Debug)]
pub struct Published {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// With its signatures.
    pub note: Note,
    /// When.
    pub at: Instant,
}

/// How often the files of the tree are flushed, and a checkpoint goes into the history.
const HISTORY_EVERY: Duration = Duration::from_secs(60);
/// How often the same failure is worth a line in the log.
const TELL_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Notary {
    pub levels: Levels,
    every: Duration,
    wake: Condvar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    certifier: Option<Arc<Certifier>>,
    /// The newest that we have signed.
    candidate: Option<(Checkpoint, Note)>,
    published: Option<Published>,
    /// Of the published one that went into the history last.
    in_history: Option<(u64, Instant)>,
    closing: bool,
}

/// What the thread alone has.
pub(crate) struct Work {
    pub tree: Tree,
    /// Hashes that could not be written so far.
    backlog: Vec<Hash>,
    synced: (u64, Instant),
    told: Option<Instant>,
}

impl Work {
    pub fn new(tree: Tree, backlog: Vec<Hash>) -> Self {
        let synced = (0, Instant::now());
        Work { tree, backlog, synced, told: None }
    }
}

impl Notary {
    pub fn new(levels: Levels, every: Duration) -> Self {
        Notary { levels, every, wake: Condvar::new(), state: Mutex::default() }
    }

    /// Begins to sign. The key is noted in the directory first.
    pub fn certify(&self, shared: &Shared, certifier: Certifier) -> Result<(), AuditError> {
        checkpoint::note_key(&shared.dir, certifier.signer.verifier())?;
        let published = match checkpoint::newest(&shared.dir)? {
            Some(note) => {
                Checkpoint::parse(note.text()).ok().map(|c| Published { checkpoint: c, note, at: Instant::now() })
            }
            None => None,
        };
        let mut state = self.state.lock();
        state.published = published;
        state.certifier = Some(Arc::new(certifier));
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub fn candidate(&self) -> Option<(Checkpoint, Note)> {
        self.state.lock().candidate.clone()
    }

    pub fn published(&self) -> Option<Published> {
        self.state.lock().published.clone()
    }

    pub fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
    }

    /// Takes a checkpoint of ours that witnesses have signed.
    pub fn cosigned(&self, shared: &Shared, note: Note) -> Result<(), AuditError> {
        let mut state = self.state.lock();
        let Some(certifier) = state.certifier.clone() else { return Err(AuditError::Proof("nobody signs this log")) };
        let own = std::slice::from_ref(certifier.signer.verifier());
        let checkpoint = Checkpoint::of_note(&note, own).map_err(|e| AuditError::Proof(e.0))?;
        let signed = certifier.witnesses.iter().filter(|w| note.signed_by(w).is_some()).count();
        if signed == 0 || signed < certifier.required {
            return Err(AuditError::Proof("not enough witnesses have signed the checkpoint"));
        }
        if state.published.as_ref().is_some_and(|p| p.checkpoint.size > checkpoint.size) {
            // A newer one is out; but this one has more signatures.
            return append_history(shared, &note);
        }
        publish(shared, &mut state, checkpoint, note, true)
    }

    fn tick(&self, shared: &Shared, work: &mut Work, last: bool) {
        work.backlog.append(&mut shared.take_flushed_leaves());
        let done = self.grow(work, last).and_then(|()| self.sign(shared, work, last));
        match done {
            Ok(()) => work.told = None,
            Err(e) if work.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) => {
                work.told = Some(Instant::now());
                tracing::error!(error = %e, "the tree or checkpoint of the audit log could not be written; tried again");
            }
            Err(_) => {}
        }
    }

    fn grow(&self, work: &mut Work, last: bool) -> Result<(), AuditError> {
        if !work.backlog.is_empty() {
            self.levels.append(&mut work.tree, &work.backlog)?;
            work.backlog.clear();
        }
        let (size, at) = work.synced;
        if work.tree.size() != size && (last || at.elapsed() >= HISTORY_EVERY) {
            self.levels.sync(&work.tree)?;
            work.synced = (work.tree.size(), Instant::now());
        }
        Ok(())
    }

    fn sign(&self, shared: &Shared, work: &Work, last: bool) -> Result<(), AuditError> {
        let certifier = match &self.state.lock().certifier {
            Some(certifier) => certifier.clone(),
            None => return Ok(()),
        };
        let size = work.tree.size();
        let own = certifier.signer.verifier();
        let is_new = {
            let state = self.state.lock();
            let known = state.candidate.as_ref().map(|(c, _)| c.size);
            // What another key has signed, a changed one signs anew.
            let out = state.published.as_ref().filter(|p| p.note.signed_by(own).is_some()).map(|p| p.checkpoint.size);
            size > 0 && known.max(out) != Some(size)
        };
        if is_new {
            let checkpoint = Checkpoint { origin: own.name().to_owned(), size, root: work.tree.root() };
            let text = checkpoint.to_string();
            let line = certifier.signer.sign(&text, 0).map_err(|_| AuditError::Proof("signing a checkpoint failed"))?;
            let note = Note::new(text, &line).map_err(|e| AuditError::Proof(e.0))?;
            let mut state = self.state.lock();
            state.candidate = Some((checkpoint.clone(), note.clone()));
            if certifier.required == 0 {
                publish(shared, &mut state, checkpoint, note, last)?;
            }
        }
        Ok(())
    }
}

/// Puts a checkpoint out; into the history now and then, and where `keep` asks for it.
fn publish(
    shared: &Shared,
    state: &mut State,
    checkpoint: Checkpoint,
    note: Note,
    keep: bool,
) -> Result<(), AuditError> {
    let due = state.in_history.is_none_or(|(_, at)| at.elapsed() >= HISTORY_EVERY);
    if keep || due {
        append_history(shared, &note)?;
        state.in_history = Some((checkpoint.size, Instant::now()));
    }
    let path = shared.dir.join(CHECKPOINT);
    let replaced = disk::replace(&shared.dir, CHECKPOINT, note.to_string().as_bytes(), false);
    replaced.map_err(|e| AuditError::io("write", path, e))?;
    state.published = Some(Published { checkpoint, note, at: Instant::now() });
    Ok(())
}

fn append_history(shared: &Shared, note: &Note) -> Result<(), AuditError> {
    let path = shared.dir.join(HISTORY);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let written = open().and_then(|mut file: File| {
        let before = file.metadata()?.len();
        let entry = checkpoint::history_entry(&note.to_string());
        file.write_all(entry.as_bytes()).and_then(|()| file.sync_data()).inspect_err(|_| {
            // Half an entry would be in the way of the next one.
            file.set_len(before).unwrap_or_default();
        })
    });
    written.map_err(|e| AuditError::io("write", path, e))
}

/// Cuts what a crash left behind the last whole entry of the history.
pub(crate) fn mend_history(path: &PathBuf) -> Result<Vec<Note>, AuditError> {
    let (notes, end) = checkpoint::read_history(path)?;
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        file.set_len(end).map_err(|e| AuditError::io("cut", path, e))?;
    }
    Ok(notes)
}

/// Runs until the log is closed.
pub(crate) fn run(shared: &Shared, mut work: Work) {
    let notary = &shared.notary;
    loop {
        let closing = {
            let mut state = notary.state.lock();
            if !state.closing {
                notary.wake.wait_for(&mut state, notary.every);
            }
            state.closing
        };
        notary.tick(shared, &mut work, closing);
        if closing {
            return;
        }
    }
}
