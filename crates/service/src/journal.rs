//! The audit log as the service uses it.
//!
//! The record of a state change is stored in the change's own transaction (the outbox) and copied to
//! the log behind it; its outbox row goes once the log has been flushed past the copy. So a crash at
//! any moment leaves either neither the change nor the record, or both.

use jadeseal_audit::Log;
use jadeseal_store::Store;
use jadeseal_types::{ApiError, error::Result};
use parking_lot::Mutex;
use std::{collections::HashSet, sync::Arc};

/// The log and what the outbox still owes it.
pub struct Journal {
    log: Arc<Log>,
    store: Arc<dyn Store>,
    /// Outbox rows with the index of their copy in the log, or none where the copy has failed so far.
    owed: Mutex<Vec<(u64, Option<u64>)>>,
}

impl Journal {
    /// Opens the journal and copies what a crash left in the outbox.
    pub async fn open(log: Arc<Log>, store: Arc<dyn Store>) -> Result<Self> {
        let journal = Journal { log, store, owed: Mutex::default() };
        let pending = journal.store.outbox_pending().await.map_err(ApiError::internal)?;
        if !pending.is_empty() {
            let ids: HashSet<String> = pending.iter().filter_map(|(_, r)| request_id(r)).collect();
            let there = journal.log.contains_request_ids(&ids).map_err(ApiError::internal)?;
            let mut last = None;
            let mut done = Vec::new();
            for (id, record) in &pending {
                if request_id(record).is_none_or(|r| !there.contains(&r)) {
                    last = Some(journal.log.append(record).map_err(ApiError::internal)?);
                }
                done.push(*id);
            }
            if let Some(last) = last {
                journal.log.flushed(last).await.map_err(ApiError::internal)?;
            }
            journal.store.outbox_done(&done).await.map_err(ApiError::internal)?;
            tracing::info!(records = done.len(), "audit records of the last run copied from the outbox");
        }
        Ok(journal)
    }

    /// Writes the record of a request that changed nothing; returns when it has reached the configured
    /// degree.
    pub async fn answer(&self, record: &[u8]) -> Result<()> {
        self.log.append_for_answer(record).await.map(drop).map_err(ApiError::internal)
    }

    /// Writes a record and waits until it is on stable storage, whatever the degree.
    pub async fn note_flushed(&self, record: &[u8]) -> Result<()> {
        let index = self.log.append(record).map_err(ApiError::internal)?;
        self.log.flushed(index).await.map_err(ApiError::internal)
    }

    /// Writes a record without waiting, where nobody waits for the answer any more.
    pub fn note_or_log(&self, record: &[u8]) {
        if let Err(e) = self.log.append(record) {
            tracing::error!(error = %e, "the record of an abandoned request could not be written");
        }
    }

    /// Copies the record of a committed change to the log. If the log refuses it now, the outbox keeps
    /// it and [`Journal::sweep`] tries again.
    pub fn change_committed(&self, outbox_id: u64, record: &[u8]) {
        let index = self.log.append(record).inspect_err(|e| tracing::error!(error = %e, "audit append failed")).ok();
        self.owed.lock().push((outbox_id, index));
    }

    /// Forgets outbox rows whose copies have been flushed, and retries failed copies.
    pub async fn sweep(&self) -> Result<()> {
        let missing: HashSet<u64> = self.owed.lock().iter().filter(|(_, i)| i.is_none()).map(|(id, _)| *id).collect();
        if !missing.is_empty() {
            for (id, record) in self.store.outbox_pending().await.map_err(ApiError::internal)? {
                if missing.contains(&id) {
                    let index = self.log.append(&record).map_err(ApiError::internal)?;
                    if let Some(row) = self.owed.lock().iter_mut().find(|(owed, _)| *owed == id) {
                        row.1 = Some(index);
                    }
                }
            }
        }
        let flushed = self.log.flushed_through();
        let done: Vec<u64> =
            self.owed.lock().iter().filter(|(_, i)| i.is_some() && *i <= flushed).map(|(id, _)| *id).collect();
        if done.is_empty() {
            return Ok(());
        }
        self.store.outbox_done(&done).await.map_err(ApiError::internal)?;
        let done: HashSet<u64> = done.into_iter().collect();
        self.owed.lock().retain(|(id, _)| !done.contains(id));
        Ok(())
    }

    /// Flushes the log, settles the outbox and stops the log.
    pub async fn close(&self) {
        if let Some(last) = self.log.next_index().checked_sub(1)
            && let Err(e) = self.log.flushed(last).await
        {
            tracing::error!(error = %e, "audit log could not be flushed at shutdown");
        }
        if let Err(e) = self.sweep().await {
            tracing::error!(cause = e.internal_cause().unwrap_or(""), "audit outbox could not be settled at shutdown");
        }
        if let Err(e) = self.log.close() {
            tracing::error!(error = %e, "audit log did not close cleanly");
        }
    }

    /// The log itself, for metrics and readiness.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// The request id inside an encoded record.
fn request_id(record: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(record).ok()?;
    Some(value.get("request_id")?.as_str()?.to_owned())
}
