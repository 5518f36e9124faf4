//! The thread that grows the tree over flushed records and publishes checkpoints.
//!
//! It works by the clock, not by the record: nobody's answer waits for it.

use crate::{
    checkpoint::{self, CHECKPOINT, Checkpoint, HISTORY, RETIRED_TO},
    disk,
    error::AuditError,
    levels::Levels,
    note::{Note, Signer, Verifier},
    segment,
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
    /// Held while files are written, which must be in the order of what they say. Never together with a wait for `state`
    /// by somebody who has it.
    writing: Mutex<History>,
}

#[derive(Default)]
struct State {
    certifier: Option<Arc<Certifier>>,
    /// The newest that we have signed.
    candidate: Option<(Checkpoint, Note)>,
    published: Option<Published>,
    closing: bool,
}

/// What went into the history last.
#[derive(Default)]
struct History {
    last: Option<(u64, Instant)>,
    /// With signatures of witnesses.
    witnessed: Option<Instant>,
}

/// What the thread alone has.
pub(crate) struct Work {
    pub tree: Tree,
    /// Hashes that could not be written so far.
    backlog: Vec<Hash>,
    synced: (u64, Instant),
    told: Option<Instant>,
    /// The files of the tree cannot be made durable by this process any more.
    sync_failed: bool,
}

impl Work {
    pub fn new(tree: Tree, backlog: Vec<Hash>) -> Self {
        let synced = (0, Instant::now());
        Work { tree, backlog, synced, told: None, sync_failed: false }
    }
}

impl Notary {
    pub fn new(levels: Levels, every: Duration) -> Self {
        Notary { levels, every, wake: Condvar::new(), state: Mutex::default(), writing: Mutex::default() }
    }

    /// Begins to sign. The key is noted in the directory first. Refused where more records are gone than the key has said.
    pub fn certify(&self, shared: &Shared, certifier: Certifier) -> Result<(), AuditError> {
        let own = std::slice::from_ref(certifier.signer.verifier());
        checkpoint::note_key(&shared.dir, &own[0])?;
        let keys = checkpoint::keys(&shared.dir)?;
        let first = segment::list(&shared.dir)?.first().copied().unwrap_or(0);
        if first > 0 && checkpoint::retired_to(&shared.dir, &keys)? < first {
            return Err(AuditError::Missing { from: 0, to: first });
        }
        // One that cannot be read has been told of; the next one takes its place.
        let newest = checkpoint::newest(&shared.dir).unwrap_or_default();
        let newest = newest.and_then(|note| Some((Checkpoint::of_note(&note, own).ok()?, note)));
        let mut state = self.state.lock();
        // It may lack witnesses that are asked for from now on.
        state.candidate = newest.clone();
        let enough = |note: &Note| certifier.witnessed(note) >= certifier.required;
        state.published = newest.filter(|(_, note)| enough(note)).map(|(checkpoint, note)| Published {
            checkpoint,
            note,
            at: Instant::now(),
        });
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

    fn certifier(&self) -> Result<Arc<Certifier>, AuditError> {
        self.state.lock().certifier.clone().ok_or(AuditError::Proof("nobody signs this log"))
    }

    pub fn origin(&self) -> Result<String, AuditError> {
        Ok(self.certifier()?.signer.verifier().name().to_owned())
    }

    /// Signs that the records before `first` were retired, on stable storage when this returns.
    pub fn sign_retired(&self, shared: &Shared, first: u64) -> Result<(), AuditError> {
        let certifier = self.certifier()?;
        let text = checkpoint::retired_text(certifier.signer.verifier().name(), first);
        let note = certifier.sign(text)?;
        let replaced = disk::replace(&shared.dir, RETIRED_TO, note.to_string().as_bytes(), true);
        replaced.map_err(|e| AuditError::io("write", shared.dir.join(RETIRED_TO), e))
    }

    /// Takes a checkpoint of ours that witnesses have signed. Flushes a file.
    pub fn cosigned(&self, shared: &Shared, note: Note) -> Result<(), AuditError> {
        let certifier = self.certifier()?;
        let own = std::slice::from_ref(certifier.signer.verifier());
        let checkpoint = Checkpoint::of_note(&note, own).map_err(|e| AuditError::Proof(e.0))?;
        let signed = certifier.witnessed(&note);
        if signed == 0 || signed < certifier.required {
            return Err(AuditError::Proof("not enough witnesses have signed the checkpoint"));
        }
        let mut writing = self.writing.lock();
        let keep = writing.witnessed.is_none_or(|at| at.elapsed() >= HISTORY_EVERY);
        if keep {
            append_history(shared, &mut writing, checkpoint.size, &note)?;
            writing.witnessed = Some(Instant::now());
        }
        if self.published().is_some_and(|p| p.checkpoint.size > checkpoint.size) {
            // A newer one is out; this one has more signatures, and is in the history now and then.
            return Ok(());
        }
        self.publish(shared, &mut writing, checkpoint, note)
    }

    /// Puts a checkpoint out; into the history now and then.
    fn publish(
        &self,
        shared: &Shared,
        writing: &mut History,
        checkpoint: Checkpoint,
        note: Note,
    ) -> Result<(), AuditError> {
        if writing.last.is_none_or(|(_, at)| at.elapsed() >= HISTORY_EVERY) {
            append_history(shared, writing, checkpoint.size, &note)?;
        }
        let replaced = disk::replace(&shared.dir, CHECKPOINT, note.to_string().as_bytes(), false);
        replaced.map_err(|e| AuditError::io("write", shared.dir.join(CHECKPOINT), e))?;
        self.state.lock().published = Some(Published { checkpoint, note, at: Instant::now() });
        Ok(())
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
        if work.tree.size() != size && !work.sync_failed && (last || at.elapsed() >= HISTORY_EVERY) {
            // Tried once: after a failed flush the system may say that all is well, and it is not. The next start makes
            // the hashes again from what the last good flush has left.
            work.sync_failed = true;
            self.levels.sync(&work.tree)?;
            work.sync_failed = false;
            work.synced = (work.tree.size(), Instant::now());
        }
        Ok(())
    }

    fn sign(&self, shared: &Shared, work: &Work, last: bool) -> Result<(), AuditError> {
        let Ok(certifier) = self.certifier() else { return Ok(()) };
        let (size, own) = (work.tree.size(), certifier.signer.verifier());
        // Both are signed by this key: `certify` takes no others over from an earlier run, and `cosigned` none at all.
        let (candidate, is_out) = {
            let state = self.state.lock();
            let known = state.candidate.clone().filter(|(checkpoint, _)| checkpoint.size == size);
            (known, state.published.as_ref().is_some_and(|p| p.checkpoint.size == size))
        };
        if size > 0 && !is_out {
            let (checkpoint, note) = match candidate {
                Some(known) => known,
                None => {
                    let checkpoint = Checkpoint { origin: own.name().to_owned(), size, root: work.tree.root() };
                    let note = certifier.sign(checkpoint.to_string())?;
                    self.state.lock().candidate = Some((checkpoint.clone(), note.clone()));
                    (checkpoint, note)
                }
            };
            if certifier.required == 0 {
                self.publish(shared, &mut self.writing.lock(), checkpoint, note)?;
            }
        }
        if last {
            // What was out at the end of each run is kept.
            let mut writing = self.writing.lock();
            if let Some(out) =
                self.published().filter(|p| writing.last.is_none_or(|(size, _)| size < p.checkpoint.size))
            {
                append_history(shared, &mut writing, out.checkpoint.size, &out.note)?;
            }
        }
        Ok(())
    }
}

impl Certifier {
    fn sign(&self, text: String) -> Result<Note, AuditError> {
        let line = self.signer.sign(&text, 0).map_err(|_| AuditError::Proof("signing for the audit log failed"))?;
        Note::new(text, &line).map_err(|e| AuditError::Proof(e.0))
    }

    /// How many of the witnesses have signed.
    fn witnessed(&self, note: &Note) -> usize {
        self.witnesses.iter().filter(|witness| note.signed_by(witness).is_some()).count()
    }
}

fn append_history(shared: &Shared, writing: &mut History, size: u64, note: &Note) -> Result<(), AuditError> {
    let path = shared.dir.join(HISTORY);
    let text = note.to_string();
    if Note::parse(text.as_bytes()).as_ref() != Ok(note) {
        // What cannot be read again would make every later reader fail.
        return Err(AuditError::Proof("a checkpoint cannot be written so that it is read again"));
    }
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let written = open().and_then(|mut file: File| {
        let before = file.metadata()?.len();
        let entry = checkpoint::history_entry(&text);
        file.write_all(entry.as_bytes()).and_then(|()| file.sync_data()).inspect_err(|_| {
            // Half an entry would be in the way of the next one.
            file.set_len(before).unwrap_or_default();
        })
    });
    written.map_err(|e| AuditError::io("write", path, e))?;
    writing.last = Some((size, Instant::now()));
    Ok(())
}

/// Cuts what a crash left behind the last whole entry of the history, which it returns.
pub(crate) fn mend_history(path: &PathBuf) -> Result<Option<Note>, AuditError> {
    let (notes, end) = checkpoint::last_of_history(path)?;
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
