//! Background jobs: deletion at its date, expiry of imported material, scheduled rotation.
//!
//! A job takes no input but the clock and the store, so a restart loses nothing and a second run does
//! no harm. Each change leaves an audit record with the principal `service`.

use crate::{
    Service,
    actions::{import::dropping, rotation::rotation},
    backup, certify,
    cx::{CommitError, Draft, Facts, commit},
    lifecycle::{Step, apply},
    retention,
};
use jadeseal_audit::{Access, Principal};
use jadeseal_store::{Change, Cmk, DataKey, Scope};
use jadeseal_types::{ApiError, DataKeyState, KeyId, KeyState, error::Result, limits};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Rows that one pass takes from each queue; the next pass follows at once while queues are long.
const BATCH: u64 = 200;
/// Time between two passes.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the store is told the newest checkpoint of the audit log.
const REMEMBER_PERIOD: Duration = Duration::from_secs(60);
pub use crate::principals::FRESH as ACCESS_KEY_PERIOD;

/// A wall clock that runs ahead of the monotonic one by more than this has been set, not run.
const JUMP: Duration = Duration::from_secs(300);

/// Watches the wall clock, because a deletion cannot be taken back.
///
/// After a start, and after each jump forward, keys are not destroyed until the clock has run steadily
/// for `settle`: an operator who set the clock wrongly has that long to notice. Nothing can be done with
/// such keys in the meantime except cancelling their deletion.
pub struct ClockWatch {
    settle: Duration,
    last: Option<(Duration, Duration)>,
    steady_since: Duration,
}

impl ClockWatch {
    /// A watch that has seen nothing yet.
    pub fn new(settle: Duration) -> Self {
        ClockWatch { settle, last: None, steady_since: Duration::ZERO }
    }

    /// Takes a reading; true when the clock may be trusted with destruction.
    pub fn steady(&mut self, wall: Duration, monotonic: Duration) -> bool {
        match self.last {
            None => self.steady_since = monotonic,
            Some((last_wall, last_monotonic)) => {
                let expected = last_wall + monotonic.saturating_sub(last_monotonic);
                if wall > expected + JUMP {
                    tracing::error!(
                        seconds = (wall - expected).as_secs(),
                        "the wall clock jumped forward; keys that are due for deletion are kept for the moment"
                    );
                    self.steady_since = monotonic;
                } else if wall + JUMP < expected {
                    tracing::error!(seconds = (expected - wall).as_secs(), "the wall clock jumped backward");
                    self.steady_since = monotonic;
                }
            }
        }
        self.last = Some((wall, monotonic));
        monotonic.saturating_sub(self.steady_since) >= self.settle
    }
}

/// Runs the jobs until `stop` turns true.
pub async fn run(svc: Arc<Service>, settle: Duration, stop: watch::Receiver<bool>) {
    if let Ok(until) = backup::held_until(svc.store.as_ref()).await
        && until > svc.clock.now()
    {
        tracing::warn!(until, "this deployment was restored from a backup: until that time nothing is destroyed");
    }
    let (principals, log) = (watch_principals(&svc, stop.clone()), tend_log(&svc, settle, stop.clone()));
    tokio::join!(passes(&svc, settle, stop), principals, log);
}

/// Keeps what fails again and again from filling the log.
#[derive(Default)]
struct Failures {
    told: Option<Duration>,
    unsaid: u64,
}

impl Failures {
    /// How many went untold since the last that was told, when this one at a monotonic time is worth a line.
    fn next(&mut self, now: Duration) -> Option<u64> {
        if self.told.is_some_and(|at| now.saturating_sub(at) < FAILURE_PERIOD) {
            self.unsaid += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// How often the same failure is worth a line.
const FAILURE_PERIOD: Duration = Duration::from_secs(10);

/// Beside the passes, of which one may take long.
async fn watch_principals(svc: &Service, mut stop: watch::Receiver<bool>) {
    let mut failures = Failures::default();
    loop {
        if let Err(e) = svc.refresh_principals().await
            && let Some(unsaid) = failures.next(svc.clock.monotonic())
        {
            let cause = e.internal_cause().unwrap_or("");
            tracing::error!(cause, unsaid, "principals could not be looked after: {e}");
        }
        tokio::select! {
            () = tokio::time::sleep(ACCESS_KEY_PERIOD / 2) => {}
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
        }
    }
}

/// Tells the store how far the audit log has come, and removes old segments of it. Beside the passes, because the latter reads
/// and copies files of any size.
async fn tend_log(svc: &Arc<Service>, settle: Duration, mut stop: watch::Receiver<bool>) {
    let (mut watch, mut size) = (ClockWatch::new(settle), 0);
    let mut announced = retention::Announced::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(REMEMBER_PERIOD) => {}
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
        }
        report(svc, "audit_checkpoint", certify::remember(svc, &mut size).await.map(|()| 0));
        // Neither can removal be taken back: it needs a clock to be trusted, as the destruction of keys does.
        let steady = watch.steady(svc.clock.wall(), svc.clock.monotonic());
        let held = backup::held_until(svc.store.as_ref()).await.map_or(true, |until| until > svc.clock.now());
        if steady && !held {
            report(svc, "audit_retention", retention::step(svc, &mut announced).await);
        }
    }
}

async fn passes(svc: &Arc<Service>, settle: Duration, mut stop: watch::Receiver<bool>) {
    let mut watch = ClockWatch::new(settle);
    loop {
        let more = pass(svc, &mut watch).await;
        let pause = if more { Duration::from_millis(10) } else { PERIOD };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
        }
    }
}

/// One pass of every job. True when there is more to do at once. A failing job is logged, counted and
/// tried again in the next pass; it does not keep the others from running.
pub async fn pass(svc: &Arc<Service>, watch: &mut ClockWatch) -> bool {
    let steady = watch.steady(svc.clock.wall(), svc.clock.monotonic());
    let mut more = false;
    let now = svc.clock.now();
    more |= report(svc, "rotate", rotate(svc, now).await);
    // A restored deployment destroys nothing before its operator has had time to look.
    if steady && !held(svc, now).await {
        // Neither can be taken back. Use is refused from the very second on, whatever the jobs do.
        more |= report(svc, "expire", expire(svc, now).await);
        more |= report(svc, "expire_import", forget_imports(svc, now).await);
        more |= report(svc, "delete", delete(svc, now).await);
        more |= report(svc, "delete_data_key", delete_data_keys(svc, now).await);
    }
    report(svc, "audit_outbox", svc.journal.sweep().await.map(|()| 0));
    svc.credentials.sweep(now);
    report(svc, "last_use", save_uses(svc, Some(now)).await.map(|()| 0));
    svc.guard.tell(svc.clock.monotonic());
    more
}

/// Whether nothing may be destroyed yet since a restore. Where that cannot be told, nothing is.
async fn held(svc: &Service, now: u64) -> bool {
    match backup::held_until(svc.store.as_ref()).await {
        Ok(until) => now < until,
        Err(e) => {
            tracing::error!(
                cause = e.internal_cause().unwrap_or(""),
                "what is due for deletion is kept for the moment: {e}"
            );
            true
        }
    }
}

fn report(svc: &Service, job: &'static str, result: Result<usize>) -> bool {
    match result {
        Ok(0) => false,
        Ok(count) => {
            svc.metrics.job(job, "done", count as u64);
            count as u64 >= BATCH
        }
        Err(e) => {
            svc.metrics.job(job, "failed", 1);
            tracing::error!(job, cause = e.internal_cause().unwrap_or(""), "background job failed: {e}");
            false
        }
    }
}

async fn delete(svc: &Arc<Service>, now: u64) -> Result<usize> {
    let due = svc.store.due_deletions(now, BATCH).await.map_err(ApiError::internal)?;
    let mut count = 0;
    for row in due {
        if row.state != KeyState::PendingDelete || row.deletion_date == 0 || row.deletion_date > now {
            continue;
        }
        count += usize::from(each(svc, row.key_id, delete_one(svc, &row).await));
    }
    Ok(count)
}

/// Data keys that go with their CMK in one transaction, which nothing else can be written beside: some 0.2 s.
const DATA_KEYS_WITH_CMK: u64 = 10_000;
/// Data keys that go in one transaction before their CMK: as many as one audit record names.
const DATA_KEYS_AT_ONCE: u64 = limits::MAX_BATCH_KEYS as u64;
/// Such transactions in one pass, for one CMK.
const BATCHES_OF_DATA_KEYS: u64 = 100;

/// Destroys a CMK with its data keys; where these are very many, as many of them first as leaves a transaction of bounded
/// size, over several passes if need be. False when the CMK stays for a later pass.
async fn delete_one(svc: &Arc<Service>, row: &Cmk) -> Result<bool> {
    let (scope, key_id, revision) = (row.scope(), row.key_id, row.revision);
    let mut left = svc.store.count_data_keys_of(&scope, key_id, u64::MAX).await.map_err(ApiError::internal)?;
    for _ in 0..BATCHES_OF_DATA_KEYS {
        if left <= DATA_KEYS_WITH_CMK {
            break;
        }
        let data_keys = svc.store.data_keys_of(&scope, key_id, DATA_KEYS_AT_ONCE).await.map_err(ApiError::internal)?;
        // A deletion that is cancelled meanwhile keeps what is left.
        let mut changes = vec![Change::RequireKey { key_id, revision }];
        let destroy = |k: &DataKey| Change::DestroyDataKey { data_key_id: k.data_key_id, revision: k.revision };
        changes.extend(data_keys.iter().map(destroy));
        let named = [key_id].into_iter().chain(data_keys.iter().map(|k| k.data_key_id.0));
        if !record_change(svc, scope.clone(), named, "DeleteDataKeysOfKeyAtDate", changes).await? {
            return Ok(false);
        }
        left -= data_keys.len() as u64;
    }
    if left > DATA_KEYS_WITH_CMK {
        tracing::info!(key = %key_id, account = %row.account, data_keys_left = left, "data keys of a key past its deletion date are being destroyed");
        return Ok(false);
    }
    let change = Change::DestroyKey { key_id, revision };
    let done = change_of(svc, row, "DeleteKeyAtDate", vec![change]).await?;
    if done {
        tracing::info!(key = %key_id, account = %row.account, data_keys = left, "key destroyed at its deletion date");
    }
    Ok(done)
}

async fn delete_data_keys(svc: &Arc<Service>, now: u64) -> Result<usize> {
    let due = svc.store.due_data_key_deletions(now, BATCH).await.map_err(ApiError::internal)?;
    let mut count = 0;
    for row in due {
        if row.state != DataKeyState::PendingDelete || row.deletion_date == 0 || row.deletion_date > now {
            continue;
        }
        let id = row.data_key_id.0;
        let change = Change::DestroyDataKey { data_key_id: row.data_key_id, revision: row.revision };
        if each(svc, id, record_change(svc, row.scope(), [id], "DeleteDataKeyAtDate", vec![change]).await) {
            count += 1;
            tracing::info!(data_key = %id, account = %row.account, "data key destroyed at its deletion date");
        }
    }
    Ok(count)
}

async fn expire(svc: &Arc<Service>, now: u64) -> Result<usize> {
    let due = svc.store.due_expiries(now, BATCH).await.map_err(ApiError::internal)?;
    let mut count = 0;
    for row in due {
        let done = match dropping(&row, Step::ExpireMaterial, now) {
            Ok(changes) => change_of(svc, &row, "ExpireKeyMaterial", changes).await,
            Err(e) => Err(e),
        };
        count += usize::from(each(svc, row.key_id, done));
    }
    Ok(count)
}

async fn forget_imports(svc: &Arc<Service>, now: u64) -> Result<usize> {
    let count = svc.store.drop_expired_imports(now, BATCH).await.map_err(ApiError::internal)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

async fn rotate(svc: &Arc<Service>, now: u64) -> Result<usize> {
    let due = svc.store.due_rotations(now, BATCH).await.map_err(ApiError::internal)?;
    let mut count = 0;
    for row in due {
        let done = rotate_one(svc, &row, now).await;
        count += usize::from(each(svc, row.key_id, done));
    }
    Ok(count)
}

async fn rotate_one(svc: &Arc<Service>, row: &Cmk, now: u64) -> Result<bool> {
    let region = svc.regions.find(row.region.as_str());
    if region.is_some_and(|r| !r.profile.permits(row.usage, row.suite)) {
        // The region has become strict: nothing new is made for such a key.
        let stopped = apply(row, Step::DisableRotation, now)?;
        let changes = stopped.map(|cmk| Change::UpdateKey { cmk }).into_iter().collect();
        return change_of(svc, row, "StopKeyRotation", changes).await;
    }
    let domain = svc.vault.newest(row.account).await?;
    change_of(svc, row, "RotateKeyOnSchedule", rotation(&domain, row, Step::RotateScheduled, now)?).await
}

/// One key that fails must not keep the others from their turn: it is logged, counted and left for the
/// next pass.
fn each(svc: &Service, id: KeyId, outcome: Result<bool>) -> bool {
    outcome.unwrap_or_else(|e| {
        svc.metrics.job("key", "failed", 1);
        tracing::error!(key = %id, cause = e.internal_cause().unwrap_or(""), "background job failed: {e}");
        false
    })
}

/// Saves when access keys and keys were last used: when it is time for it, or with no time at once. Not counted: it would
/// make every pass look busy.
pub(crate) async fn save_uses(svc: &Service, due: Option<u64>) -> Result<()> {
    let now = svc.clock.now();
    let access_keys = &svc.credentials.uses;
    let unsaved = due.map_or_else(|| access_keys.take(now), |now| access_keys.due(now));
    for used in unsaved.batches() {
        if let Err(e) = svc.store.touch_access_keys(&used).await {
            access_keys.put_back(&unsaved);
            return Err(ApiError::internal(e));
        }
    }
    let keys = &svc.keys.uses;
    let unsaved = due.map_or_else(|| keys.take(now), |now| keys.due(now));
    for used in unsaved.batches() {
        if let Err(e) = svc.store.touch_keys(&used).await {
            keys.put_back(&unsaved);
            return Err(ApiError::internal(e));
        }
    }
    Ok(())
}

async fn change_of(svc: &Arc<Service>, row: &Cmk, action: &'static str, changes: Vec<Change>) -> Result<bool> {
    record_change(svc, row.scope(), [row.key_id], action, changes).await
}

/// Commits a job's changes, with a record that names keys and data keys. False when somebody else changed it first; the next pass
/// looks at it again.
pub(crate) async fn record_change(
    svc: &Arc<Service>,
    scope: Scope,
    named: impl IntoIterator<Item = KeyId>,
    action: &'static str,
    changes: Vec<Change>,
) -> Result<bool> {
    if changes.is_empty() {
        return Ok(false);
    }
    let draft = Draft::new(Facts {
        account: Some(scope.account()),
        principal: Principal::Service,
        action: action.into(),
        region: scope.region().as_str().to_owned().into(),
        access: Access::Write,
        ..Facts::unknown(svc.clock.wall(), crate::pipeline::request_id())
    });
    named.into_iter().for_each(|id| draft.note(id));
    match commit(svc, scope, changes, Some(draft.records())).await {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_told_now_and_then() {
        let mut failures = Failures::default();
        let told: Vec<_> = (0..100).filter_map(|n| failures.next(Duration::from_millis(250 * n))).collect();
        assert_eq!(told, [0, 39, 39]);
    }

    #[test]
    fn a_clock_that_jumps_forward_is_not_trusted_until_it_has_settled() {
        let secs = Duration::from_secs;
        let mut watch = ClockWatch::new(secs(600));
        assert!(!watch.steady(secs(1_000), secs(0)), "not at the start");
        assert!(!watch.steady(secs(1_599), secs(599)));
        assert!(watch.steady(secs(1_600), secs(600)));
        assert!(!watch.steady(secs(1_000_000), secs(601)), "set a year ahead");
        assert!(!watch.steady(secs(1_000_599), secs(1_200)));
        assert!(watch.steady(secs(1_000_601), secs(1_202)));
        assert!(!watch.steady(secs(500), secs(1_203)), "set back");
    }
}
