//! Hosted data keys: changes, look-ups and lists. As with keys, each statement names account and region.

use super::changes::{Apply, existing, of_key};
use super::filter::{Filter, Table};
use super::keys::{all, page_rows};
use super::rows::{self, DATA_KEY, bound, num, sql_id};
use crate::error::{Result, StoreError};
use crate::model::*;
use jadeseal_types::{DataKeyId, DataKeyState, KeyId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A statement about the data key `?1` in account `?2` and region `?3`.
macro_rules! of_data_key {
    ($before:literal, $after:literal) => {
        concat!($before, "(SELECT id FROM data_key WHERE data_key_id = ?1 AND account = ?2 AND region = ?3)", $after)
    };
}

impl Apply<'_> {
    pub(super) fn create_data_key(&self, key: &DataKey, material: &DataKeyMaterial, tags: &[Tag]) -> Result<()> {
        if key.account != self.scope.account() || key.region != *self.scope.region() {
            return Err(StoreError::NotFound);
        }
        if material.data_key_id != key.data_key_id {
            return Err(StoreError::Conflict);
        }
        // The CMK is looked up in the scope: none there, no row.
        let rows = self.run_data(
            "INSERT INTO data_key (data_key_id, account, region, cmk, name, product, owner, creator, description, bytes, \
             origin, state, create_time, deletion_date, hsm_cluster, revision) \
             SELECT ?1, ?2, ?3, id, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 1 \
             FROM cmk WHERE key_id = ?4 AND account = ?2 AND region = ?3",
            key.data_key_id,
            params![
                key.cmk.as_bytes(),
                key.name.as_str(),
                !key.owner.is_user(),
                key.owner.wire(),
                sql_id(key.creator.0),
                key.description,
                key.bytes,
                key.origin.code(),
                key.state.code(),
                num(key.create_time)?,
                num(key.deletion_date)?,
                key.hsm_cluster,
            ],
        )?;
        existing(rows)?;
        let sql =
            of_data_key!("INSERT INTO data_key_material (data_key, domain_version, wrapped) VALUES (", ", ?4, ?5)");
        self.run_data(sql, key.data_key_id, params![material.domain_version, material.wrapped])?;
        for tag in tags {
            let sql = of_data_key!(
                "INSERT INTO data_key_tag (data_key, account, owner, key, value) VALUES (",
                ", ?2, ?1, ?4, ?5)"
            );
            self.run_data(sql, key.data_key_id, params![tag.key, tag.value])?;
        }
        Ok(())
    }

    pub(super) fn update_data_key(&self, key: &DataKey) -> Result<()> {
        let rows = self.run_data(
            "UPDATE data_key SET name = ?4, description = ?5, state = ?6, deletion_date = ?7, \
             revision = revision + 1 WHERE data_key_id = ?1 AND account = ?2 AND region = ?3 AND revision = ?8",
            key.data_key_id,
            params![key.name.as_str(), key.description, key.state.code(), num(key.deletion_date)?, num(key.revision)?],
        )?;
        self.swapped_data(rows, key.data_key_id)
    }

    pub(super) fn destroy_data_key(&self, id: DataKeyId, revision: u64) -> Result<()> {
        let sql = "DELETE FROM data_key WHERE data_key_id = ?1 AND account = ?2 AND region = ?3 AND revision = ?4";
        let rows = self.run_data(sql, id, params![num(revision)?])?;
        self.swapped_data(rows, id)
    }

    /// What a compare-and-swap that changed `rows` rows means.
    fn swapped_data(&self, rows: usize, id: DataKeyId) -> Result<()> {
        if rows > 0 {
            return Ok(());
        }
        let known = data_key(self.conn, self.scope, id)?.is_some();
        Err(if known { StoreError::Conflict } else { StoreError::NotFound })
    }
}

/// The parameters with which a statement about one data key of a scope begins.
macro_rules! one {
    ($scope:ident, $id:ident) => {
        params![$id.0.as_bytes(), sql_id($scope.account().0), $scope.region().as_str()]
    };
}

pub(super) fn data_key(conn: &Connection, scope: &Scope, id: DataKeyId) -> Result<Option<DataKey>> {
    let sql = format!(
        "SELECT {DATA_KEY} FROM data_key d JOIN cmk c ON c.id = d.cmk \
         WHERE d.data_key_id = ?1 AND d.account = ?2 AND d.region = ?3"
    );
    Ok(conn.prepare_cached(&sql)?.query_row(one!(scope, id), rows::data_key).optional()?)
}

pub(super) fn data_keys(conn: &Connection, scope: &Scope, ids: &[DataKeyId]) -> Result<Vec<Option<DataKey>>> {
    let _snapshot = conn.unchecked_transaction()?;
    ids.iter().map(|id| data_key(conn, scope, *id)).collect()
}

pub(super) fn material(conn: &Connection, scope: &Scope, id: DataKeyId) -> Result<Option<DataKeyMaterial>> {
    let sql = of_data_key!("SELECT domain_version, wrapped FROM data_key_material WHERE data_key = ", "");
    let read = |r: &Row<'_>| Ok(DataKeyMaterial { data_key_id: id, domain_version: r.get(0)?, wrapped: r.get(1)? });
    Ok(conn.prepare_cached(sql)?.query_row(one!(scope, id), read).optional()?)
}

pub(super) fn tags(conn: &Connection, scope: &Scope, id: DataKeyId) -> Result<Vec<Tag>> {
    let sql = of_data_key!("SELECT key, value FROM data_key_tag WHERE data_key = ", " ORDER BY key");
    all(conn, sql, one!(scope, id), |r| Ok(Tag { key: r.get(0)?, value: r.get(1)? }))
}

pub(super) fn count_own(conn: &Connection, scope: &Scope) -> Result<u64> {
    LISTED.count_own(conn, scope)
}

/// True when the scope has fewer than `quota` data keys that count against it.
pub(super) fn fewer_own(conn: &Connection, scope: &Scope, quota: u64) -> Result<bool> {
    LISTED.fewer_own(conn, scope, quota)
}

pub(super) fn count_of(conn: &Connection, scope: &Scope, cmk: KeyId, at_most: u64) -> Result<u64> {
    let sql = of_key!("SELECT count(*) FROM (SELECT 1 FROM data_key WHERE cmk = ", " LIMIT ?4)");
    let values = params![cmk.as_bytes(), sql_id(scope.account().0), scope.region().as_str(), bound(at_most)];
    Ok(conn.prepare_cached(sql)?.query_row(values, |r| rows::count(r, 0))?)
}

pub(super) fn of(conn: &Connection, scope: &Scope, cmk: KeyId, limit: u64) -> Result<Vec<DataKey>> {
    let sql = format!(
        "SELECT {DATA_KEY} FROM cmk c CROSS JOIN data_key d INDEXED BY data_key_cmk ON d.cmk = c.id \
         WHERE c.key_id = ?1 AND c.account = ?2 AND c.region = ?3 LIMIT ?4"
    );
    let values = params![cmk.as_bytes(), sql_id(scope.account().0), scope.region().as_str(), bound(limit)];
    all(conn, &sql, values, rows::data_key)
}

pub(super) fn counts_by_state(conn: &Connection) -> Result<Vec<(DataKeyState, u64)>> {
    let sql = "SELECT state, count(*) FROM data_key GROUP BY state ORDER BY state";
    all(conn, sql, [], |r| Ok((rows::coded(r, 0, DataKeyState::from_code)?, rows::count(r, 1)?)))
}

/// Data keys as lists see them.
const LISTED: Table = Table {
    name: "data_key",
    row: "d",
    id: "data_key_id",
    text: "name",
    indexes: ["data_key_list", "data_key_list_up"],
    tags: ["data_key_tag", "data_key"],
};

fn filter(conn: &Connection, scopes: &[Scope], query: &DataKeyQuery) -> Result<Filter> {
    let mut f = Filter::new(&LISTED, scopes, query.role, query.ascending);
    f.equal("owner", query.owner.as_ref().map(|owner| owner.wire().to_owned()));
    f.codes("state", query.states.iter().map(|s| s.code()));
    f.equal("origin", query.origin.map(|o| i64::from(o.code())));
    if let Some(key_id) = query.cmk {
        let of_scope = "SELECT c.id FROM cmk c WHERE c.account = ?account AND c.region = ?region AND c.key_id = ";
        f.found("cmk", of_scope, key_id.as_bytes().to_vec());
    }
    f.equal("bytes", query.bytes.map(i64::from));
    f.equal("hsm_cluster", query.hsm_cluster.clone());
    f.search(query.search.as_deref());
    f.tags(conn, scopes, &query.tags)?;
    Ok(f)
}

pub(super) fn list(conn: &Connection, scopes: &[Scope], query: &DataKeyQuery) -> Result<Page<DataKey>> {
    let _snapshot = conn.unchecked_transaction()?;
    let page = filter(conn, scopes, query)?.page(conn, "id", [query.offset, query.limit], |r| r.get(0))?;
    let sql = format!("SELECT {DATA_KEY} FROM data_key d JOIN cmk c ON c.id = d.cmk WHERE d.id = ?1");
    page_rows(conn, &sql, page, rows::data_key)
}

pub(super) fn list_ids(conn: &Connection, scope: &Scope, query: &DataKeyQuery) -> Result<Page<DataKeyId>> {
    let _snapshot = conn.unchecked_transaction()?;
    let filter = filter(conn, std::slice::from_ref(scope), query)?;
    filter.page(conn, "data_key_id", [query.offset, query.limit], |r| rows::key_id(r, 0).map(DataKeyId))
}

pub(super) fn due_deletions(conn: &Connection, now: u64, limit: u64) -> Result<Vec<DataKey>> {
    // The condition repeats that of the partial index word for word: that is how SQLite knows that it may use it.
    let sql = format!(
        "SELECT {DATA_KEY} FROM data_key d INDEXED BY data_key_due_deletion JOIN cmk c ON c.id = d.cmk \
         WHERE d.state = 3 AND d.deletion_date <= ?1 ORDER BY d.deletion_date LIMIT ?2"
    );
    all(conn, &sql, params![bound(now), bound(limit)], rows::data_key)
}
