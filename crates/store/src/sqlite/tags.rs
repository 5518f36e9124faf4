//! Tags by account: their changes, and what is tagged with what. Keys and data keys have tables alike.

use super::changes::{Apply, existing};
use super::keys::all;
use super::rows::{self, bound, sql_id};
use crate::error::{Result, StoreError};
use crate::model::*;
use jadeseal_types::{KeyId, Uin};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

/// Something that can be tagged.
struct Kind {
    /// Its table, and the column of its id.
    table: &'static str,
    id: &'static str,
    /// The table of its tags, and the column that names the row.
    tags: &'static str,
    row: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind { table: "cmk", id: "key_id", tags: "tag", row: "cmk" },
    Kind { table: "data_key", id: "data_key_id", tags: "data_key_tag", row: "data_key" },
];

impl Apply<'_> {
    pub(super) fn modify_tags(&self, id: KeyId, set: &[Tag], remove: &[String], limit: usize) -> Result<()> {
        for Kind { table, id: column, tags, row } in &KINDS {
            let found = format!("FROM {table} WHERE {column} = ?1 AND account = ?2");
            let scope = params![id.as_bytes(), sql_id(self.scope.account().0)];
            if !self.conn.prepare_cached(&format!("SELECT 1 {found}"))?.exists(scope)? {
                continue;
            }
            for key in remove {
                let sql = format!("DELETE FROM {tags} WHERE {row} = (SELECT id {found}) AND key = ?4");
                self.run(&sql, id, &[key])?;
            }
            for tag in set {
                let sql = format!(
                    "INSERT INTO {tags} ({row}, account, owner, key, value) SELECT id, ?2, ?1, ?4, ?5 {found} \
                     ON CONFLICT ({row}, key) DO UPDATE SET value = excluded.value"
                );
                existing(self.run(&sql, id, &[&tag.key, &tag.value])?)?;
            }
            let sql = format!("SELECT count(*) FROM {tags} WHERE {row} = (SELECT id {found})");
            let count = self.conn.prepare_cached(&sql)?.query_row(scope, |r| rows::count(r, 0))?;
            return if count > limit as u64 { Err(StoreError::TooManyTags) } else { Ok(()) };
        }
        Err(StoreError::NotFound)
    }
}

fn taggable(conn: &Connection, scope: &Scope, id: KeyId) -> Result<Option<Taggable>> {
    for Kind { table, id: column, tags, row } in &KINDS {
        let sql = format!("SELECT id, region, creator, owner FROM {table} WHERE {column} = ?1 AND account = ?2");
        let found = conn
            .prepare_cached(&sql)?
            .query_row(params![id.as_bytes(), sql_id(scope.account().0)], |r| {
                Ok((r.get::<_, i64>(0)?, rows::region(r, 1)?, Uin(rows::id(r, 2)?), rows::owner(r, 3)?))
            })
            .optional()?;
        if let Some((number, region, creator, owner)) = found {
            let sql = format!("SELECT key, value FROM {tags} WHERE {row} = ?1 ORDER BY key");
            let tags = all(conn, &sql, [number], |r| Ok(Tag { key: r.get(0)?, value: r.get(1)? }))?;
            return Ok(Some(Taggable { id, region, creator, owner, tags }));
        }
    }
    Ok(None)
}

pub(super) fn taggables(conn: &Connection, scope: &Scope, ids: &[KeyId]) -> Result<Vec<Option<Taggable>>> {
    let _snapshot = conn.unchecked_transaction()?;
    ids.iter().map(|id| taggable(conn, scope, *id)).collect()
}

pub(super) fn tagged(
    conn: &Connection,
    scope: &Scope,
    filters: &[(String, Vec<String>)],
    after: Option<KeyId>,
    limit: u64,
) -> Result<Vec<Taggable>> {
    let _snapshot = conn.unchecked_transaction()?;
    let mut ids: Vec<KeyId> = Vec::new();
    for Kind { tags, row, .. } in &KINDS {
        // The empty BLOB sorts before every id.
        let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let mut values: Vec<Value> = vec![sql_id(scope.account().0).into(), after.into(), bound(limit).into()];
        let index = if filters.is_empty() { "owner" } else { "pair" };
        let mut sql =
            format!("SELECT t.owner FROM {tags} t INDEXED BY {tags}_{index} WHERE t.account = ?1 AND t.owner > ?2");
        for (n, (key, wanted)) in filters.iter().enumerate() {
            let (begin, alias, end) = match n {
                0 => (" AND ".to_owned(), "t", ""),
                _ => (format!(" AND EXISTS (SELECT 1 FROM {tags} o WHERE o.{row} = t.{row} AND "), "o", ")"),
            };
            values.push(key.clone().into());
            sql.push_str(&format!("{begin}{alias}.key = ?{}", values.len()));
            for (i, value) in wanted.iter().enumerate() {
                values.push(value.clone().into());
                let before = if i == 0 { format!(" AND {alias}.value IN (") } else { ", ".to_owned() };
                sql.push_str(&format!("{before}?{}", values.len()));
            }
            sql.push_str(if wanted.is_empty() { "" } else { ")" });
            sql.push_str(end);
        }
        sql.push_str(" GROUP BY t.owner ORDER BY t.owner LIMIT ?3");
        ids.extend(all(conn, &sql, params_from_iter(&values), |r| rows::key_id(r, 0))?);
    }
    ids.sort_unstable();
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(taggable(conn, scope, id)?);
    }
    Ok(found)
}

pub(super) fn tag_keys(conn: &Connection, scope: &Scope, after: String, limit: u64) -> Result<Vec<String>> {
    let _snapshot = conn.unchecked_transaction()?;
    let mut found: Vec<String> = Vec::new();
    let mut last = after;
    while (found.len() as u64) < limit {
        let next = least(
            conn,
            |tags| format!("SELECT min(key) FROM {tags} WHERE account = ?1 AND key > ?2"),
            &[sql_id(scope.account().0).into(), last.into()],
        )?;
        let Some(next) = next else { break };
        last = next.clone();
        found.push(next);
    }
    Ok(found)
}

pub(super) fn tag_values(
    conn: &Connection,
    scope: &Scope,
    keys: &[String],
    after: Option<Tag>,
    limit: u64,
) -> Result<Vec<Tag>> {
    let _snapshot = conn.unchecked_transaction()?;
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let mut found = Vec::new();
    for key in keys {
        let mut last = match &after {
            Some(tag) if key < tag.key => continue,
            Some(tag) if key == tag.key => Some(tag.value.clone()),
            _ => None,
        };
        while (found.len() as u64) < limit {
            // An empty value is one too.
            let order = if last.is_some() { ">" } else { ">=" };
            let sql = |tags: &str| {
                format!("SELECT min(value) FROM {tags} WHERE account = ?1 AND key = ?2 AND value {order} ?3")
            };
            let values = [sql_id(scope.account().0).into(), key.clone().into(), last.unwrap_or_default().into()];
            let Some(value) = least(conn, sql, &values)? else { break };
            last = Some(value.clone());
            found.push(Tag { key: key.clone(), value });
        }
    }
    Ok(found)
}

/// The least of what a statement finds among the tags of each kind. With an index, one step to each.
fn least(conn: &Connection, sql: impl Fn(&str) -> String, values: &[Value]) -> Result<Option<String>> {
    let mut found: Option<String> = None;
    for kind in &KINDS {
        let one: Option<String> =
            conn.prepare_cached(&sql(kind.tags))?.query_row(params_from_iter(values), |r| r.get(0))?;
        found = found.into_iter().chain(one).min();
    }
    Ok(found)
}
