//! A look at the file for `jadeseal doctor`: it changes nothing, and may be taken beside a service.

use super::schema;
use crate::error::Result;
use std::{path::Path, time::Duration};

/// What is found in a store's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Version of its tables; none where there are none yet.
    pub schema: Option<u32>,
    /// The version that this program works with.
    pub known: u32,
    /// What SQLite's own check complains about, at most ten lines; empty when it is sound.
    pub damage: Vec<String>,
}

/// Reads a store's file from end to end. Blocks on the disk, about a second for each gigabyte.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let conn = schema::open_reader(path, Duration::from_secs(10))?;
    let schema = schema::current_version(&conn)?;
    let mut lines = conn.prepare("PRAGMA quick_check(10)")?;
    let lines = lines.query_map([], |row| row.get::<_, String>(0))?;
    let damage = lines.filter(|line| !matches!(line.as_deref(), Ok("ok"))).collect::<rusqlite::Result<_>>()?;
    Ok(Inspection { schema, known: schema::VERSION, damage })
}
