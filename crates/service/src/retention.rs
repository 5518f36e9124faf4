//! How long audit records are kept.

use crate::{
    Service,
    cx::{Draft, Facts},
};
use jadeseal_audit::{Access, Principal, RETIRED, Retention};
use jadeseal_types::{ApiError, error::Result};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Index of the first record that somebody who reads the log has yet to read; none where nobody does.
pub type NeededFrom = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

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

/// Removes segments whose records are all old enough. First the log says so, then they go: a crash in between leaves
/// records that could have gone, never a gap that nobody knows of.
pub(crate) async fn run(svc: &Arc<Service>) -> Result<usize> {
    let Some(retiring) = svc.retiring.clone() else { return Ok(0) };
    let now = svc.clock.wall();
    let before = now.saturating_sub(Duration::from_secs(retiring.days * 86_400));
    let retention = Retention {
        before_micros: u64::try_from(before.as_micros()).map_err(ApiError::internal)?,
        needed_from: (retiring.needed_from)(),
        archive: retiring.archive,
    };
    let service = svc.clone();
    let work = tokio::task::spawn_blocking(move || {
        let log = service.journal.log();
        log.to_retire(&retention).map(|found| (found, retention))
    });
    let (Some(found), retention) = work.await.map_err(ApiError::internal)?.map_err(ApiError::internal)? else {
        return Ok(0);
    };
    let draft = Draft::new(Facts {
        principal: Principal::Service,
        action: RETIRED.into(),
        access: Access::Write,
        ..Facts::unknown(now, crate::pipeline::request_id())
    });
    draft.note_subject(format!("first/{}", found.keep_from));
    svc.journal.note_flushed(&draft.encode(None)).await?;
    tracing::info!(
        first = found.keep_from,
        "audit records before this one are removed: they are older than audit.keep_days"
    );
    let service = svc.clone();
    let work = tokio::task::spawn_blocking(move || service.journal.log().retire(&found, &retention));
    work.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(1)
}
