//! What an operator sees of keys: read from the store, beside a running service or without one.
//!
//! No request of the API comes here: the answer of DescribeKey has no member for when a key was last used.

use crate::lifecycle::effective_state;
use jadeseal_store::{KeyOverview, Store};
use jadeseal_types::{ApiError, KeyId, error::Result, limits::DAY};
use serde::Serialize;

/// Longest time by which what the store knows of last uses is behind a running service, seconds.
pub const LAG: u64 = crate::uses::SAVE_PERIOD;

/// A time as people read it: UTC to the second, `-` for none.
pub fn moment(at: u64) -> String {
    match i64::try_from(at).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
        Some(time) if at != 0 => time.to_string(),
        _ => "-".to_owned(),
    }
}

/// Keys read from the store at once.
const PAGE: u64 = 1_000;

/// One key. Times are Unix seconds; 0 = none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyLook {
    /// Its id.
    pub key_id: String,
    /// OwnerUin of its account.
    pub account: u64,
    /// Its region.
    pub region: String,
    /// Its alias.
    pub alias: String,
    /// Its state, as DescribeKey tells it.
    pub state: &'static str,
    /// Its `KeyUsage`.
    pub usage: &'static str,
    /// Its `Origin`.
    pub origin: &'static str,
    /// `user`, or the cloud product that it belongs to.
    pub owner: String,
    /// Versions of its material that are kept.
    pub versions: u64,
    /// The version that encrypts; 0 = it has no material.
    pub current_version: u32,
    /// Days between two rotations; 0 = it does not rotate by itself.
    pub rotation_days: u32,
    /// When it rotates next.
    pub next_rotation: u64,
    /// When it was created.
    pub create_time: u64,
    /// When it was last used, as far as the store knows ([`LAG`]).
    pub last_used: u64,
    /// When it will be destroyed.
    pub deletion_date: u64,
    /// Its hosted data keys, in whatever state.
    pub data_keys: u64,
}

impl KeyLook {
    fn of(overview: KeyOverview, now: u64) -> Self {
        let KeyOverview { cmk, last_used, versions, data_keys } = overview;
        let rotates = cmk.rotation.enabled;
        KeyLook {
            key_id: cmk.key_id.to_string(),
            account: cmk.account.0,
            region: cmk.region.as_str().to_owned(),
            alias: cmk.alias.as_str().to_owned(),
            state: effective_state(&cmk, now).wire(),
            usage: cmk.usage.wire(),
            origin: cmk.origin.wire(),
            owner: cmk.owner.wire().to_owned(),
            versions,
            current_version: cmk.current_version,
            rotation_days: if rotates { cmk.rotation.days } else { 0 },
            next_rotation: if rotates { cmk.rotation.next } else { 0 },
            create_time: cmk.create_time,
            last_used,
            deletion_date: cmk.deletion_date,
            data_keys,
        }
    }

    /// Whether it has not been used for so many days, nor is younger than that.
    fn is_unused_since(&self, days: u64, now: u64) -> bool {
        self.last_used.max(self.create_time).saturating_add(days.saturating_mul(DAY)) <= now
    }
}

/// One key of whatever account.
pub async fn key(store: &dyn Store, id: KeyId, now: u64) -> Result<Option<KeyLook>> {
    let found = store.overview(id).await.map_err(ApiError::internal)?;
    Ok(found.map(|overview| KeyLook::of(overview, now)))
}

/// Keys of all accounts by account, region and alias; with `unused_since` those that were not used in so many days, nor
/// made in them.
pub async fn keys(store: &dyn Store, unused_since: Option<u64>, now: u64) -> Result<Vec<KeyLook>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.overviews(after, PAGE).await.map_err(ApiError::internal)?;
        let Some(last) = page.last() else { break };
        after = Some(last.cmk.key_id);
        let looks = page.into_iter().map(|overview| KeyLook::of(overview, now));
        all.extend(looks.filter(|key| unused_since.is_none_or(|days| key.is_unused_since(days, now))));
    }
    all.sort_by(|a, b| (a.account, &a.region, &a.alias).cmp(&(b.account, &b.region, &b.alias)));
    Ok(all)
}
