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

use crate::{
    schema::{FromValue, Type, uint},
    values::Bounded,
};
use jadeseal_auth::params::{Params, Value};
use jadeseal_types::{ApiError, ErrorCode as E, error::Result};
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
    /// `code` refuses a page that is too long: actions differ in the code that they have for it.
    fn new(code: E, page: Option<u64>, rows: Option<u64>) -> Result<Self> {
        let (page, rows) = (given(page).unwrap_or(1), given(rows).unwrap_or(DEFAULT_ROWS));
        if rows > MAX_ROWS {
            return Err(ApiError::about(code, "Rp", "must be at most 200", "最大为 200"));
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
    params.get(name).and_then(uint).unwrap_or(0)
}

/// A number that may be left out. Clients send 0 for what they leave out, and nothing has that number.
fn given(number: Option<u64>) -> Option<u64> {
    number.filter(|number| *number != 0)
}

/// What [`given`] will say of a number, from the raw parameter, for the policy. What is no number names nobody: it is 0.
fn given_in(params: &Params<'_>, name: &str) -> Option<u64> {
    match params.get(name) {
        None | Some(Value::Null) => None,
        Some(value) => uint(value).map_or(Some(0), |number| given(Some(number))),
    }
}

/// A parameter that is 0 or 1.
fn flag(name: &str, value: Option<u64>) -> Result<Option<bool>> {
    match value {
        None => Ok(None),
        Some(0) => Ok(Some(false)),
        Some(1) => Ok(Some(true)),
        Some(_) => Err(ApiError::invalid(name, "must be 0 or 1", "必须为 0 或 1")),
    }
}

/// A text under a raw parameter; the empty one, which nobody has, for what is none.
fn text(params: &Params<'_>, name: &str) -> String {
    match params.get(name) {
        Some(Value::Str(text)) => text.to_string(),
        _ => String::new(),
    }
}

/// A name: 1 to `max` of letters, digits and `+=,.@_-`.
pub(super) fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'=' | b',' | b'.' | b'@' | b'_' | b'-'))
}

/// Whether a character belongs into no name: it cannot be seen, or lets what stands beside it be read otherwise.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A remark: at most 256 bytes, of one line or several, without hidden characters.
pub struct Remark(pub String);

impl FromValue for Remark {
    const TYPE: Type = Type::String;

    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        let Bounded(text) = Bounded::<256>::from_value(value, name)?;
        if text.chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(ApiError::invalid(name, "must not have control characters", "不能包含控制字符"));
        }
        Ok(Remark(text))
    }
}
