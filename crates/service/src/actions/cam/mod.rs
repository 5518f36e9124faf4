//! Access management: the principals of an account, and the policies that say what they may do.
//!
//! Everything here is about the caller's own account, whatever a request names. A number that the API counts (pages, limits)
//! is small, so lists are made of what is in memory.

pub(crate) mod access_keys;
pub(crate) mod attachments;
pub(crate) mod groups;
pub(crate) mod policies;
pub(crate) mod roles;
pub(crate) mod users;

use crate::cx::Cx;
use jadeseal_auth::params::{Params, Value};
use jadeseal_types::{ApiError, error::Result};
use std::fmt;

/// Rows of a page when a request does not say.
const DEFAULT_ROWS: u64 = 20;
/// Most rows of a page.
const MAX_ROWS: u64 = 200;

/// A page of a list: `Page` from 1, `Rp` rows each.
struct Paging {
    skip: usize,
    take: usize,
}

impl Paging {
    fn new(page: Option<u64>, rows: Option<u64>) -> Result<Self> {
        let (page, rows) = (page.unwrap_or(1), rows.unwrap_or(DEFAULT_ROWS));
        if page == 0 {
            return Err(ApiError::invalid("Page", "counts from 1", "从 1 开始"));
        }
        if !(1..=MAX_ROWS).contains(&rows) {
            return Err(ApiError::invalid("Rp", "must be 1 to 200", "必须为 1 到 200"));
        }
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Paging { skip: number(page - 1).saturating_mul(number(rows)), take: number(rows) })
    }

    /// The total, and the rows of the page.
    fn of<T>(&self, rows: Vec<T>) -> (u64, Vec<T>) {
        (rows.len() as u64, rows.into_iter().skip(self.skip).take(self.take).collect())
    }
}

/// A time as this API writes it: `2026-11-24 20:15:22`, Beijing time; empty for never.
struct Stamp(u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        let at = i64::try_from(self.0).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let Some(at) = at else { return Ok(()) };
        write!(f, "{}", jiff::tz::Offset::constant(8).to_datetime(at).strftime("%Y-%m-%d %H:%M:%S"))
    }
}

/// A number under a raw parameter; 0, which nobody has, for what is none.
fn number(params: &Params<'_>, name: &str) -> u64 {
    params.get(name).and_then(crate::schema::uint).unwrap_or(0)
}

/// A text under a raw parameter; the empty one, which nobody has, for what is none.
fn text(params: &Params<'_>, name: &str) -> String {
    match params.get(name) {
        Some(Value::Str(text)) => text.to_string(),
        _ => String::new(),
    }
}

/// A name: 1 to `max` of letters, digits and `+=,.@_-`.
fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'=' | b',' | b'.' | b'@' | b'_' | b'-'))
}

impl Cx<'_> {
    /// A number that nobody has, as good as surely: the store refuses one that somebody has, and it is tried again.
    fn fresh_number(&self, from: u64, count: u64) -> Result<u64> {
        crate::accounts::random_number(from, count)
    }
}
