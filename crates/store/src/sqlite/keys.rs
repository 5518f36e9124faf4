//! Queries about keys: within a scope, and for the background jobs.

use super::changes::of_key;
use super::filter::{Filter, Table};
use super::rows::{self, CMK, bound, num, sql_id};
use crate::error::Result;
use crate::model::*;
use jadeseal_types::{Alias, KeyId, KeyState};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

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

pub(super) fn key_by_alias(conn: &Connection, scope: &Scope, alias: &Alias) -> Result<Option<Cmk>> {
    let sql = format!("SELECT {CMK} FROM cmk c WHERE c.account = ?1 AND c.region = ?2 AND c.alias = ?3");
    let values = params![sql_id(scope.account().0), scope.region().as_str(), alias.as_str()];
    Ok(conn.prepare_cached(&sql)?.query_row(values, rows::cmk).optional()?)
}

pub(super) fn bindings(conn: &Connection, scope: &Scope, key_id: KeyId, limit: u64) -> Result<Vec<Binding>> {
    let sql = of_key!(
        "SELECT product_id, resource_id, create_time, consent FROM binding WHERE cmk = ",
        " ORDER BY product_id, resource_id LIMIT ?4"
    );
    let values = params![key_id.as_bytes(), sql_id(scope.account().0), scope.region().as_str(), bound(limit)];
    all(conn, sql, values, |r| {
        Ok(Binding {
            key_id,
            product_id: r.get(0)?,
            resource_id: r.get(1)?,
            create_time: rows::count(r, 2)?,
            consent: r.get(3)?,
        })
    })
}

pub(super) fn is_bound(conn: &Connection, scope: &Scope, key_id: KeyId, product_id: &str) -> Result<bool> {
    let sql = of_key!("SELECT 1 FROM binding WHERE cmk = ", " AND product_id = ?4 AND consent = 1 LIMIT 1");
    let values = params![key_id.as_bytes(), sql_id(scope.account().0), scope.region().as_str(), product_id];
    Ok(conn.prepare_cached(sql)?.exists(values)?)
}

pub(super) fn tags(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<Vec<Tag>> {
    let sql = of_key!("SELECT key, value FROM tag WHERE cmk = ", " ORDER BY key");
    of(conn, sql, scope, key_id, |r| Ok(Tag { key: r.get(0)?, value: r.get(1)? }))
}

pub(super) fn count_own(conn: &Connection, scope: &Scope) -> Result<u64> {
    LISTED.count_own(conn, scope)
}

/// True when the scope has fewer than `quota` keys that count against it.
pub(super) fn fewer_own(conn: &Connection, scope: &Scope, quota: u64) -> Result<bool> {
    LISTED.fewer_own(conn, scope, quota)
}

/// Keys as lists see them.
const LISTED: Table = Table {
    name: "cmk",
    row: "c",
    id: "key_id",
    text: "alias",
    indexes: ["cmk_list", "cmk_list_up"],
    tags: ["tag", "cmk"],
};

pub(super) fn filter(conn: &Connection, scopes: &[Scope], query: &KeyQuery) -> Result<Filter> {
    let mut f = Filter::new(&LISTED, scopes, query.role, query.ascending);
    f.equal("owner", query.owner.as_ref().map(|owner| owner.wire().to_owned()));
    f.codes("state", query.states.iter().map(|s| s.code()));
    f.equal("usage", query.usage.map(|u| i64::from(u.code())));
    f.equal("origin", query.origin.map(|o| i64::from(o.code())));
    f.equal("hsm_cluster", query.hsm_cluster.clone());
    f.search(query.search.as_deref());
    f.tags(conn, scopes, &query.tags)?;
    Ok(f)
}

/// The page is found within the index; only its rows are read from the table.
pub(super) fn list(conn: &Connection, scopes: &[Scope], query: &KeyQuery) -> Result<Page<Cmk>> {
    let _snapshot = conn.unchecked_transaction()?;
    let page = filter(conn, scopes, query)?.page(conn, "id", [query.offset, query.limit], |r| r.get(0))?;
    page_rows(conn, &format!("SELECT {CMK} FROM cmk c WHERE c.id = ?1"), page, rows::cmk)
}

/// The rows of a page of row numbers, in its order.
pub(super) fn page_rows<T>(
    conn: &Connection,
    sql: &str,
    page: Page<i64>,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Page<T>> {
    let mut one = conn.prepare_cached(sql)?;
    let rows = page.items.into_iter().map(|id| one.query_row([id], &mut read));
    Ok(Page { total: page.total, items: rows.collect::<rusqlite::Result<_>>()? })
}

pub(super) fn list_ids(conn: &Connection, scope: &Scope, query: &KeyQuery) -> Result<Page<KeyId>> {
    let _snapshot = conn.unchecked_transaction()?;
    let filter = filter(conn, std::slice::from_ref(scope), query)?;
    filter.page(conn, "key_id", [query.offset, query.limit], |r| rows::key_id(r, 0))
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

pub(super) fn last_used(conn: &Connection, scope: &Scope, key_id: KeyId) -> Result<u64> {
    let sql = of_key!("SELECT last_used FROM key_use WHERE cmk = ", "");
    Ok(of(conn, sql, scope, key_id, |r| rows::count(r, 0))?.pop().unwrap_or_default())
}

pub(super) fn touch(conn: &Connection, used: &[(KeyId, u64)]) -> Result<()> {
    let mut touch = conn.prepare_cached(
        "INSERT INTO key_use (cmk, last_used) SELECT id, ?2 FROM cmk WHERE key_id = ?1 \
         ON CONFLICT (cmk) DO UPDATE SET last_used = excluded.last_used WHERE excluded.last_used > last_used",
    )?;
    for (key_id, at) in used {
        touch.execute(params![key_id.as_bytes(), num(*at)?])?;
    }
    Ok(())
}

/// A key's row, and behind it when it was last used, its versions and its data keys.
fn overview_sql(rest: &str) -> String {
    format!(
        "SELECT {CMK}, coalesce((SELECT last_used FROM key_use u WHERE u.cmk = c.id), 0), \
         (SELECT count(*) FROM key_version v WHERE v.cmk = c.id), (SELECT count(*) FROM data_key d WHERE d.cmk = c.id) \
         FROM cmk c {rest}"
    )
}

fn read_overview(r: &Row<'_>) -> rusqlite::Result<KeyOverview> {
    let behind = CMK.split(',').count();
    Ok(KeyOverview {
        cmk: rows::cmk(r)?,
        last_used: rows::count(r, behind)?,
        versions: rows::count(r, behind + 1)?,
        data_keys: rows::count(r, behind + 2)?,
    })
}

pub(super) fn overview(conn: &Connection, key_id: KeyId) -> Result<Option<KeyOverview>> {
    let sql = overview_sql("WHERE c.key_id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([key_id.as_bytes()], read_overview).optional()?)
}

pub(super) fn overviews(conn: &Connection, after: Option<KeyId>, limit: u64) -> Result<Vec<KeyOverview>> {
    let sql = overview_sql("WHERE c.key_id > ?1 ORDER BY c.key_id LIMIT ?2");
    let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
    all(conn, &sql, params![after, bound(limit)], read_overview)
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
