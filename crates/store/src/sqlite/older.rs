//! Files of older schema versions with real rows, for tests of upgrades.

use super::schema;
use rusqlite::Connection;
use std::collections::HashSet;
use std::path::Path;

/// Makes a file of an older version out of a closed one of the present version: the older tables, with the rows of those that
/// there were already, in the columns that these had.
///
/// # Panics
/// When a file or a row is not as it should be.
pub fn downgrade(from: &Path, to: &Path, version: u32) {
    let conn = Connection::open(to).unwrap();
    for step in &schema::MIGRATIONS[..version as usize] {
        conn.execute_batch(step).unwrap();
    }
    conn.execute("ATTACH ?1 AS made", [from.to_str().unwrap()]).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut rows = conn.prepare(sql).unwrap();
        rows.query_map([], |r| r.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    let tables = |schema: &str| {
        names(&format!("SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"))
    };
    let made: HashSet<String> = tables("made").into_iter().collect();
    for table in tables("main").iter().filter(|table| made.contains(*table) && *table != "schema_version") {
        let columns = |schema: &str| names(&format!("SELECT name FROM {schema}.pragma_table_info('{table}')"));
        let newer: HashSet<String> =
            names(&format!("SELECT name FROM pragma_table_info('{table}', 'made')")).into_iter().collect();
        let kept: Vec<String> = columns("main").into_iter().filter(|column| newer.contains(column)).collect();
        let list = kept.join(", ");
        conn.execute_batch(&format!("INSERT OR REPLACE INTO main.{table} ({list}) SELECT {list} FROM made.{table}"))
            .unwrap();
    }
    conn.execute("INSERT OR REPLACE INTO schema_version (id, version) VALUES (1, ?1)", [version]).unwrap();
    conn.execute_batch("COMMIT; DETACH made").unwrap();
}
