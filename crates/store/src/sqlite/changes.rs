//! The changes of a commit. Each statement about a key names its account and region, so that no change can
//! reach another tenant's key, whatever the code around it does.

use super::rows::{self, num, sql_id};
use crate::error::{Result, StoreError};
use crate::model::*;
use jadeseal_types::{DataKeyId, KeyId};
use rusqlite::{Connection, ToSql, params};

/// A statement about the key `?1` in account `?2` and region `?3`; `{key}` in it becomes the row's number.
macro_rules! of_key {
    ($before:literal, $after:literal) => {
        concat!($before, "(SELECT id FROM cmk WHERE key_id = ?1 AND account = ?2 AND region = ?3)", $after)
    };
}
pub(super) use of_key;

/// The scope and the connection that a commit works with.
pub(super) struct Apply<'a> {
    pub(super) conn: &'a Connection,
    pub(super) scope: &'a Scope,
}

/// Applies a commit inside the transaction that is open.
pub(super) fn commit(conn: &Connection, scope: &Scope, commit: &Commit) -> Result<Committed> {
    let apply = Apply { conn, scope };
    let mut touched: Vec<KeyId> = Vec::new();
    for change in &commit.changes {
        if let Some(key_id) = apply.change(change)?
            && !touched.contains(&key_id)
        {
            touched.push(key_id);
        }
    }
    let outbox_id = commit.outbox.as_deref().map(|record| put_outbox(conn, record)).transpose()?;
    let mut keys = Vec::with_capacity(touched.len());
    for key_id in touched {
        keys.extend(super::keys::key(conn, scope, key_id)?);
    }
    Ok(Committed { outbox_id, keys })
}

/// Stores an audit record; returns its id.
pub(super) fn put_outbox(conn: &Connection, record: &[u8]) -> Result<u64> {
    conn.prepare_cached("INSERT INTO outbox (record) VALUES (?1)")?.execute([record])?;
    Ok(conn.last_insert_rowid().unsigned_abs())
}

/// As [`put_outbox`], where there is a record.
pub(super) fn put_record(conn: &Connection, record: Option<&[u8]>) -> Result<()> {
    record.map_or(Ok(()), |record| put_outbox(conn, record).map(drop))
}

impl Apply<'_> {
    /// Applies one change; tells the key whose row it may have changed.
    fn change(&self, change: &Change) -> Result<Option<KeyId>> {
        match change {
            Change::CreateKey { cmk, version, tags } => {
                self.create(cmk, version.as_ref(), tags)?;
                return Ok(Some(cmk.key_id));
            }
            Change::UpdateKey { cmk } => {
                self.update(cmk)?;
                return Ok(Some(cmk.key_id));
            }
            Change::AddVersion(version) => self.add_version(version)?,
            Change::DropVersions(key_id) => {
                self.require(*key_id)?;
                self.run(of_key!("DELETE FROM key_version WHERE cmk = ", ""), *key_id, &[])?;
            }
            Change::DestroyKey { key_id, revision } => {
                let sql = "DELETE FROM cmk WHERE key_id = ?1 AND account = ?2 AND region = ?3 AND revision = ?4";
                let rows = self.run(sql, *key_id, &[&num(*revision)?])?;
                self.swapped(rows, *key_id)?;
            }
            Change::PutImport(import) => self.put_import(import)?,
            Change::TakeImportAttempt { key_id, token_digest, limit } => {
                let sql = of_key!(
                    "UPDATE import_param SET failures = failures + 1 WHERE cmk = ",
                    " AND token_digest = ?4 AND failures < ?5"
                );
                let rows = self.run(sql, *key_id, &[token_digest, limit])?;
                self.swapped(rows, *key_id)?;
            }
            Change::ReturnImportAttempt { key_id, token_digest } => {
                self.require(*key_id)?;
                let sql = of_key!(
                    "UPDATE import_param SET failures = failures - 1 WHERE cmk = ",
                    " AND token_digest = ?4 AND failures > 0"
                );
                self.run(sql, *key_id, &[token_digest])?;
            }
            Change::DropImport(key_id) => {
                self.require(*key_id)?;
                self.run(of_key!("DELETE FROM import_param WHERE cmk = ", ""), *key_id, &[])?;
            }
            Change::Bind(binding) => {
                self.bind(binding)?;
                return Ok(Some(binding.key_id));
            }
            Change::Unbind { key_id, product_id, resource_id } => {
                let sql = of_key!("DELETE FROM binding WHERE cmk = ", " AND product_id = ?4 AND resource_id = ?5");
                if self.run(sql, *key_id, &[product_id, resource_id])? == 0 {
                    return Err(StoreError::NotFound);
                }
                self.count_bindings(*key_id, -1)?;
                return Ok(Some(*key_id));
            }
            Change::ModifyTags { id, set, remove, limit } => self.modify_tags(*id, set, remove, *limit)?,
            Change::CreateDataKey { key, material, tags } => self.create_data_key(key, material, tags)?,
            Change::UpdateDataKey { key } => self.update_data_key(key)?,
            Change::DestroyDataKey { data_key_id, revision } => self.destroy_data_key(*data_key_id, *revision)?,
            Change::RequireRoom { of, quota } => {
                let has_room = match of {
                    Counted::Keys => super::keys::fewer_own(self.conn, self.scope, *quota)?,
                    Counted::DataKeys => super::data_keys::fewer_own(self.conn, self.scope, *quota)?,
                };
                if !has_room {
                    return Err(StoreError::NoRoom(*of));
                }
            }
            Change::Identities { revision, changes } => {
                super::identities::change(self.conn, self.scope.account(), *revision, changes)?;
            }
            Change::RequireKey { key_id, revision } => {
                let row = super::keys::key(self.conn, self.scope, *key_id)?.ok_or(StoreError::NotFound)?;
                if row.revision != *revision {
                    return Err(StoreError::Conflict);
                }
            }
        }
        Ok(None)
    }

    fn create(&self, cmk: &Cmk, version: Option<&KeyVersion>, tags: &[Tag]) -> Result<()> {
        if cmk.account != self.scope.account() || cmk.region != *self.scope.region() {
            return Err(StoreError::NotFound);
        }
        if version.is_some_and(|v| v.key_id != cmk.key_id) {
            return Err(StoreError::Conflict);
        }
        let r = &cmk.rotation;
        self.conn
            .prepare_cached(
                "INSERT INTO cmk (key_id, account, region, alias, product, owner, creator, description, usage, \
                 suite, origin, state, create_time, deletion_date, valid_to, rotate, rotate_days, rotate_last, \
                 rotate_next, rotate_demand, current_version, hsm_cluster, bindings, material_digest, revision) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
                 ?20, ?21, ?22, 0, ?23, 1)",
            )?
            .execute(params![
                cmk.key_id.as_bytes(),
                sql_id(cmk.account.0),
                cmk.region.as_str(),
                cmk.alias.as_str(),
                !cmk.owner.is_user(),
                cmk.owner.wire(),
                sql_id(cmk.creator.0),
                cmk.description,
                cmk.usage.code(),
                cmk.suite.code(),
                cmk.origin.code(),
                cmk.state.code(),
                num(cmk.create_time)?,
                num(cmk.deletion_date)?,
                num(cmk.valid_to)?,
                r.enabled,
                r.days,
                num(r.last)?,
                num(r.next)?,
                num(r.last_on_demand)?,
                cmk.current_version,
                cmk.hsm_cluster,
                cmk.material_digest,
            ])?;
        if let Some(version) = version {
            self.add_version(version)?;
        }
        for tag in tags {
            let sql = of_key!("INSERT INTO tag (cmk, account, owner, key, value) VALUES (", ", ?2, ?1, ?4, ?5)");
            self.run(sql, cmk.key_id, &[&tag.key, &tag.value])?;
        }
        Ok(())
    }

    fn update(&self, cmk: &Cmk) -> Result<()> {
        let r = &cmk.rotation;
        let rows = self.run(
            "UPDATE cmk SET alias = ?4, description = ?5, state = ?6, deletion_date = ?7, valid_to = ?8, \
             rotate = ?9, rotate_days = ?10, rotate_last = ?11, rotate_next = ?12, rotate_demand = ?13, \
             current_version = ?14, material_digest = ?15, revision = revision + 1 \
             WHERE key_id = ?1 AND account = ?2 AND region = ?3 AND revision = ?16",
            cmk.key_id,
            params![
                cmk.alias.as_str(),
                cmk.description,
                cmk.state.code(),
                num(cmk.deletion_date)?,
                num(cmk.valid_to)?,
                r.enabled,
                r.days,
                num(r.last)?,
                num(r.next)?,
                num(r.last_on_demand)?,
                cmk.current_version,
                cmk.material_digest,
                num(cmk.revision)?,
            ],
        )?;
        self.swapped(rows, cmk.key_id)
    }

    fn add_version(&self, v: &KeyVersion) -> Result<()> {
        let rows = self.run(
            "INSERT INTO key_version (cmk, version, create_time, domain_version, wrapped) \
             SELECT id, ?4, ?5, ?6, ?7 FROM cmk WHERE key_id = ?1 AND account = ?2 AND region = ?3",
            v.key_id,
            params![v.version, num(v.create_time)?, v.domain_version, v.wrapped],
        )?;
        existing(rows)
    }

    fn put_import(&self, p: &ImportParams) -> Result<()> {
        let rows = self.run(
            "INSERT OR REPLACE INTO import_param \
             (cmk, token_digest, algorithm, wrapped_private, domain_version, expires, failures) \
             SELECT id, ?4, ?5, ?6, ?7, ?8, ?9 FROM cmk WHERE key_id = ?1 AND account = ?2 AND region = ?3",
            p.key_id,
            params![p.token_digest, p.algorithm, p.wrapped_private, p.domain_version, num(p.expires)?, p.failures],
        )?;
        existing(rows)
    }

    fn bind(&self, b: &Binding) -> Result<()> {
        self.require(b.key_id)?;
        let added = self.run(
            "INSERT OR IGNORE INTO binding (cmk, product_id, resource_id, create_time, consent) \
             SELECT id, ?4, ?5, ?6, ?7 FROM cmk WHERE key_id = ?1 AND account = ?2 AND region = ?3",
            b.key_id,
            params![b.product_id, b.resource_id, num(b.create_time)?, b.consent],
        )?;
        if added > 0 {
            return self.count_bindings(b.key_id, 1);
        }
        let sql = of_key!(
            "UPDATE binding SET consent = 1 WHERE cmk = ",
            " AND product_id = ?4 AND resource_id = ?5 AND consent < ?6"
        );
        let agreed = self.run(sql, b.key_id, params![b.product_id, b.resource_id, b.consent])?;
        if agreed > 0 { self.count_bindings(b.key_id, 0) } else { Ok(()) }
    }

    fn count_bindings(&self, key_id: KeyId, by: i64) -> Result<()> {
        let sql = "UPDATE cmk SET bindings = bindings + ?4, revision = revision + 1 \
                   WHERE key_id = ?1 AND account = ?2 AND region = ?3";
        existing(self.run(sql, key_id, &[&by])?)
    }

    /// What a compare-and-swap that changed `rows` rows means.
    fn swapped(&self, rows: usize, key_id: KeyId) -> Result<()> {
        if rows > 0 {
            return Ok(());
        }
        self.require(key_id)?;
        Err(StoreError::Conflict)
    }

    fn require(&self, key_id: KeyId) -> Result<()> {
        let sql = "SELECT 1 FROM cmk WHERE key_id = ?1 AND account = ?2 AND region = ?3";
        let exists = self.conn.prepare_cached(sql)?.exists(params![
            key_id.as_bytes(),
            sql_id(self.scope.account().0),
            self.scope.region().as_str()
        ])?;
        if exists { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// As `run`, about a data key.
    pub(super) fn run_data(&self, sql: &str, id: DataKeyId, rest: &[&dyn ToSql]) -> Result<usize> {
        self.run(sql, id.0, rest)
    }

    /// Runs a statement whose first three parameters are the key and the scope; returns the number of rows.
    pub(super) fn run(&self, sql: &str, key_id: KeyId, rest: &[&dyn ToSql]) -> Result<usize> {
        let account = rows::sql_id(self.scope.account().0);
        let region = self.scope.region().as_str();
        let mut values: Vec<&dyn ToSql> = Vec::with_capacity(3 + rest.len());
        values.extend([key_id.as_bytes() as &dyn ToSql, &account, &region]);
        values.extend_from_slice(rest);
        Ok(self.conn.prepare_cached(sql)?.execute(values.as_slice())?)
    }
}

pub(super) fn existing(rows: usize) -> Result<()> {
    if rows > 0 { Ok(()) } else { Err(StoreError::NotFound) }
}
