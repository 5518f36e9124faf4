//! Queries about keys: within a scope, and for the background jobs.

use super::changes::of_key;
use super::rows::{self, CMK, bound, sql_id};
use super::search;
use crate::error::Result;
use crate::model::*;
use jadeseal_types::{KeyId, KeyState};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

pub(super) fn key(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<Option<Cmk>> {
    let sql = format!("SELECT {CMK} FROM cmk c WHERE c.key_id = ?1 AND c.account = ?2 AND c.region = ?3");
    let mut found = conn.prepare_cached(&sql)?;
    Ok(found
        .query_row(params![key_id.as_bytes(), sql_id(scope.account().0), scope.region().as_str()], rows::cmk)
        .optional()?)
}

pub(super) fn keys(conn: &Connection, scope: &Scope, key_ids: &[KeyId]) -> Result<Vec<Option<Cmk>>> {
    let _snapshot = conn.unchecked_transaction()?;
    key_ids.iter().map(|id| key(conn, scope, *id)).collect()
}

/// Rows of a table that belong to one key of the scope. The statement's first three parameters are the key and
/// the scope.
fn of<T>(
    conn: &Connection,
    sql: &str,
    scope: &Scope,
    key_id: KeyId,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    all(conn, sql, params![key_id.as_bytes(), sql_id(scope.account().0), scope.region().as_str()], read)
}

pub(super) fn versions(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<Vec<KeyVersion>> {
    let sql = of_key!(
        "SELECT version, create_time, domain_version, wrapped FROM key_version WHERE cmk = ",
        " ORDER BY version"
    );
    of(conn, sql, scope, key_id, |r| rows::key_version(r, key_id))
}

pub(super) fn version(conn: &Connection, scope: &Scope, key_id: KeyId, version: u32) -> Result<Option<KeyVersion>> {
    let sql = of_key!(
        "SELECT version, create_time, domain_version, wrapped FROM key_version WHERE cmk = ",
        " AND version = ?4"
    );
    let values = params![key_id.as_bytes(), sql_id(scope.account().0), scope.region().as_str(), version];
    Ok(conn.prepare_cached(sql)?.query_row(values, |r| rows::key_version(r, key_id)).optional()?)
}

pub(super) fn import_params(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<Option<ImportParams>> {
    let sql = of_key!(
        "SELECT token_digest, algorithm, wrapped_private, domain_version, expires, failures \
         FROM import_param WHERE cmk = ",
        ""
    );
    Ok(of(conn, sql, scope, key_id, |r| rows::import_params(r, key_id))?.pop())
}

pub(super) fn bindings(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<Vec<Binding>> {
    let sql = of_key!(
        "SELECT product_id, resource_id, create_time FROM binding WHERE cmk = ",
        " ORDER BY product_id, resource_id"
    );
    of(conn, sql, scope, key_id, |r| {
        Ok(Binding { key_id, product_id: r.get(0)?, resource_id: r.get(1)?, create_time: rows::count(r, 2)? })
    })
}

pub(super) fn tags(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<Vec<Tag>> {
    let sql = of_key!("SELECT key, value FROM tag WHERE cmk = ", " ORDER BY key");
    of(conn, sql, scope, key_id, |r| Ok(Tag { key: r.get(0)?, value: r.get(1)? }))
}

pub(super) fn count_own(conn: &Connection, scope: &Scope) -> Result<u64> {
    let sql = "SELECT count(*) FROM cmk INDEXED BY cmk_list \
               WHERE account = ?1 AND region = ?2 AND product = 0 AND state <> ?3";
    let values = params![sql_id(scope.account().0), scope.region().as_str(), KeyState::PendingDelete.code()];
    Ok(conn.prepare_cached(sql)?.query_row(values, |r| rows::count(r, 0))?)
}

pub(super) fn list(conn: &Connection, scope: &Scope, query: &KeyQuery) -> Result<Page<Cmk>> {
    let filter = Filter::new(scope, query);
    let order = order(query);
    // The inner select skips to the offset within the index; only the rows of the page are read from the table.
    let sql = format!(
        "SELECT {CMK} FROM (SELECT c.id AS page_id {} {order} {}) CROSS JOIN cmk c ON c.id = page_id {order}",
        filter.sql,
        filter.limit()
    );
    page(conn, filter, &sql, query, rows::cmk)
}

pub(super) fn list_ids(conn: &Connection, scope: &Scope, query: &KeyQuery) -> Result<Page<KeyId>> {
    let filter = Filter::new(scope, query);
    let sql = format!("SELECT c.key_id {} {} {}", filter.sql, order(query), filter.limit());
    page(conn, filter, &sql, query, |r| rows::key_id(r, 0))
}

fn page<T>(
    conn: &Connection,
    mut filter: Filter,
    sql: &str,
    query: &KeyQuery,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Page<T>> {
    let _snapshot = conn.unchecked_transaction()?;
    let total = conn
        .prepare_cached(&format!("SELECT count(*) {}", filter.sql))?
        .query_row(params_from_iter(&filter.values), |r| rows::count(r, 0))?;
    if query.limit == 0 || query.offset >= total {
        return Ok(Page { total, items: Vec::new() });
    }
    filter.values.extend([Value::Integer(bound(query.limit)), Value::Integer(bound(query.offset))]);
    Ok(Page { total, items: all(conn, sql, params_from_iter(&filter.values), read)? })
}

fn order(query: &KeyQuery) -> &'static str {
    if query.ascending { "ORDER BY c.create_time, c.key_id" } else { "ORDER BY c.create_time DESC, c.key_id" }
}

/// `FROM cmk … WHERE …` of a query, with its values. Every value is a parameter.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    fn new(scope: &Scope, query: &KeyQuery) -> Self {
        let index = if query.ascending { "cmk_list_up" } else { "cmk_list" };
        let mut f = Filter { sql: format!("FROM cmk c INDEXED BY {index} WHERE "), values: Vec::new() };
        f.put("c.account = ", sql_id(scope.account().0));
        f.put(" AND c.region = ", scope.region().as_str().to_owned());
        // Written out, not a parameter: two statements, each with a plan of its own.
        f.sql.push_str(match query.role {
            Role::Own => " AND c.product = 0",
            Role::Product => " AND c.product = 1",
        });
        if !query.states.is_empty() {
            f.among(" AND c.state IN (", query.states.iter().map(|s| i64::from(s.code()).into()));
        }
        if let Some(usage) = query.usage {
            f.put(" AND c.usage = ", i64::from(usage.code()));
        }
        if let Some(origin) = query.origin {
            f.put(" AND c.origin = ", i64::from(origin.code()));
        }
        if let Some(cluster) = &query.hsm_cluster {
            f.put(" AND c.hsm_cluster = ", cluster.clone());
        }
        if let Some(text) = query.search.as_deref().filter(|t| !t.is_empty()) {
            f.search(text);
        }
        for (key, values) in &query.tags {
            f.put(" AND EXISTS (SELECT 1 FROM tag t WHERE t.cmk = c.id AND t.key = ", key.clone());
            if !values.is_empty() {
                f.among(" AND t.value IN (", values.iter().map(|v| v.clone().into()));
            }
            f.sql.push(')');
        }
        f
    }

    /// `instr` compares bytes, so nothing in the text is a wildcard and case counts.
    fn search(&mut self, text: &str) {
        self.put(" AND (instr(c.alias, ", text.to_owned());
        self.sql.push(')');
        // Most texts cannot be part of an id: they cost nothing more.
        let places = search::places(text);
        if !places.is_empty() {
            self.sql.push_str(" OR (");
            for (i, hint) in search::hints(&places).into_iter().enumerate() {
                self.put(if i == 0 { "(instr(c.key_id, " } else { ") OR instr(c.key_id, " }, hint);
            }
            if self.sql.ends_with(|c: char| c.is_ascii_digit()) {
                self.sql.push_str(")) AND ");
            }
            self.put("id_matches(c.key_id, ", places);
            self.sql.push_str("))");
        }
        self.sql.push(')');
    }

    fn put(&mut self, sql: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.sql.push_str(&format!("{sql}?{}", self.values.len()));
    }

    fn among(&mut self, sql: &str, values: impl Iterator<Item = Value>) {
        self.sql.push_str(sql);
        for (i, value) in values.enumerate() {
            self.put(if i == 0 { "" } else { ", " }, value);
        }
        self.sql.push(')');
    }

    /// The two parameters behind all others.
    fn limit(&self) -> String {
        format!("LIMIT ?{} OFFSET ?{}", self.values.len() + 1, self.values.len() + 2)
    }
}

// The conditions of the next three repeat those of the partial indexes word for word: that is how SQLite knows
// that it may use them.

pub(super) fn due_deletions(conn: &Connection, now: u64, limit: u64) -> Result<Vec<Cmk>> {
    due(conn, "cmk_due_deletion", "c.state = 3", "c.deletion_date", now, limit)
}

pub(super) fn due_expiries(conn: &Connection, now: u64, limit: u64) -> Result<Vec<Cmk>> {
    due(conn, "cmk_due_expiry", "c.valid_to > 0 AND c.current_version > 0", "c.valid_to", now, limit)
}

pub(super) fn due_rotations(conn: &Connection, now: u64, limit: u64) -> Result<Vec<Cmk>> {
    due(conn, "cmk_due_rotation", "c.rotate = 1 AND c.state = 1", "c.rotate_next", now, limit)
}

fn due(conn: &Connection, index: &str, which: &str, column: &str, now: u64, limit: u64) -> Result<Vec<Cmk>> {
    let sql = format!(
        "SELECT {CMK} FROM cmk c INDEXED BY {index} WHERE {which} AND {column} <= ?1 ORDER BY {column} LIMIT ?2"
    );
    all(conn, &sql, params![bound(now), bound(limit)], rows::cmk)
}

pub(super) fn all_keys_meta(conn: &Connection, after: Option<KeyId>, limit: u64) -> Result<Vec<Cmk>> {
    // The empty BLOB sorts before every id.
    let sql = format!("SELECT {CMK} FROM cmk c WHERE c.key_id > ?1 ORDER BY c.key_id LIMIT ?2");
    let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
    all(conn, &sql, params![after, bound(limit)], rows::cmk)
}

pub(super) fn counts_by_state(conn: &Connection) -> Result<Vec<(KeyState, u64)>> {
    let sql = "SELECT state, count(*) FROM cmk GROUP BY state ORDER BY state";
    all(conn, sql, [], |r| Ok((rows::coded(r, 0, KeyState::from_code)?, rows::count(r, 1)?)))
}

/// Runs a query to its end.
pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    values: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    Ok(conn.prepare_cached(sql)?.query_map(values, read)?.collect::<rusqlite::Result<_>>()?)
}
