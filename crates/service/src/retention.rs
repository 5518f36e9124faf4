//! How long audit records are kept.

use crate::{Service, records};
use jadeseal_audit::{AuditError, RETIRED, Retention};
use jadeseal_types::{ApiError, error::Result};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Index of the first record that somebody who reads the log has yet to read; none where nobody does. Is told how many records
/// the log has, and may read files.
pub type NeededFrom = Arc<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// Which audit records go, and where.
#[derive(Clone)]
pub struct Retiring {
    /// Days after which they may.
    pub days: u64,
    /// Directory that segments are moved to; otherwise they are deleted.
    pub archive: Option<PathBuf>,
    /// What must stay nevertheless.
    pub needed_from: NeededFrom,
}

/// What has been announced in the log and not been done yet.
#[derive(Default)]
pub struct Announced {
    /// First record that stays, and the index of the record that says so.
    last: Option<(u64, u64)>,
}

/// One step of removing segments whose records are all old enough: copies them to the archive, says in the log that they go,
/// and when a checkpoint covers that, removes them. Each step can be the last before a crash; what it leaves is more than
/// needs to be there, never a gap that the log does not tell of.
pub async fn step(svc: &Arc<Service>, announced: &mut Announced) -> Result<usize> {
    let Some(retiring) = svc.retiring.clone() else { return Ok(0) };
    let now = svc.clock.wall();
    let before = now.saturating_sub(Duration::from_secs(retiring.days * 86_400));
    let before_micros = u64::try_from(before.as_micros()).map_err(ApiError::internal)?;
    let service = svc.clone();
    let ready = announced.last;
    let work = tokio::task::spawn_blocking(move || {
        let log = service.journal.log();
        let needed_from = (retiring.needed_from)(log.next_index());
        let retention = Retention { before_micros, needed_from, archive: retiring.archive };
        let Some(found) = log.to_retire(&retention)? else { return Ok(None) };
        log.archive(&found, &retention)?;
        let covered = log.published().map_or(0, |published| published.checkpoint.size);
        match ready {
            Some((first, index)) if first >= found.keep_from && index < covered => {
                log.retire(&found)?;
                Ok(Some((found, true)))
            }
            _ => Ok::<_, AuditError>(Some((found, false))),
        }
    });
    let (found, removed) = match work.await.map_err(ApiError::internal)?.map_err(ApiError::internal)? {
        None => return Ok(0),
        Some(done) => done,
    };
    if removed {
        tracing::info!(
            first = found.keep_from,
            "audit records before this one were removed: they are older than audit.keep_days"
        );
        return Ok(1);
    }
    if announced.last.is_none_or(|(first, _)| first < found.keep_from) {
        let record = records::of_service(now, RETIRED, &[format!("first/{}", found.keep_from)]);
        let index = svc.journal.note_flushed(&record).await?;
        announced.last = Some((found.keep_from, index));
    }
    Ok(0)
}
