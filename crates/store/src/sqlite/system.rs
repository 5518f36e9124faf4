//! Accounts, access keys, the key hierarchy, the outbox.

use super::identities;
use super::keys::all;
use super::rows::{self, bound, num, sql_id};
use crate::error::{Result, StoreError};
use crate::model::*;
use jadeseal_types::{AccountId, Alias, SecretId};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashSet;

pub(super) fn accounts(conn: &Connection) -> Result<Vec<AccountRow>> {
    let sql = "SELECT account, app_id, name, create_time FROM account ORDER BY create_time, account";
    all(conn, sql, [], rows::account)
}

pub(super) fn account(conn: &Connection, account: AccountId) -> Result<Option<AccountRow>> {
    let sql = "SELECT account, app_id, name, create_time FROM account WHERE account = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([sql_id(account.0)], rows::account).optional()?)
}

pub(super) fn create_account(
    conn: &Connection,
    account: &AccountRow,
    domain: &DomainRow,
    access_keys: &[AccessKeyRow],
) -> Result<()> {
    if domain.account != account.account || access_keys.iter().any(|k| k.account != account.account) {
        return Err(StoreError::Conflict);
    }
    require_current(conn, domain.root_version)?;
    conn.execute(
        "INSERT INTO account (account, app_id, name, create_time) VALUES (?1, ?2, ?3, ?4)",
        params![sql_id(account.account.0), sql_id(account.app_id.0), account.name, num(account.create_time)?],
    )?;
    identities::create(conn, account.account)?;
    insert_domain(conn, domain)?;
    access_keys.iter().try_for_each(|row| insert_access_key(conn, row))
}

pub(super) fn add_domain(conn: &Connection, row: &DomainRow) -> Result<()> {
    require_current(conn, row.root_version)?;
    account(conn, row.account)?.ok_or(StoreError::NotFound)?;
    insert_domain(conn, row)
}

fn insert_domain(conn: &Connection, row: &DomainRow) -> Result<()> {
    conn.execute(
        "INSERT INTO domain (account, version, root_version, wrapped, revision) VALUES (?1, ?2, ?3, ?4, 1)",
        params![sql_id(row.account.0), row.version, row.root_version, row.wrapped],
    )?;
    Ok(())
}

pub(super) fn access_key(conn: &Connection, secret_id: &SecretId) -> Result<Option<AccessKeyRow>> {
    let sql = format!("{ACCESS_KEY} WHERE secret_id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([secret_id.as_str()], rows::access_key).optional()?)
}

const ACCESS_KEY: &str = "SELECT secret_id, account, uin, wrapped_secret, domain_version, enabled, create_time, \
                          last_used, revision, product, description FROM access_key";

pub(super) fn access_keys(conn: &Connection, account: AccountId) -> Result<Vec<AccessKeyRow>> {
    let sql = format!("{ACCESS_KEY} WHERE account = ?1 ORDER BY secret_id");
    all(conn, &sql, [sql_id(account.0)], rows::access_key)
}

pub(super) fn put_access_key(conn: &Connection, row: &AccessKeyRow) -> Result<()> {
    identities::bump(conn, row.account)?;
    if row.revision == 0 {
        return insert_access_key(conn, row);
    }
    let changed = conn.execute(
        "UPDATE access_key SET uin = ?3, wrapped_secret = ?4, domain_version = ?5, enabled = ?6, \
         last_used = max(last_used, ?7), description = ?9, revision = revision + 1 \
         WHERE secret_id = ?1 AND account = ?2 AND revision = ?8",
        params![
            row.secret_id.as_str(),
            sql_id(row.account.0),
            sql_id(row.uin.0),
            row.wrapped_secret,
            row.domain_version,
            row.enabled,
            num(row.last_used)?,
            num(row.revision)?,
            row.description
        ],
    )?;
    if changed > 0 {
        return Ok(());
    }
    let known = access_key(conn, &row.secret_id)?.is_some_and(|k| k.account == row.account);
    Err(if known { StoreError::Conflict } else { StoreError::NotFound })
}

pub(super) fn insert_access_key(conn: &Connection, row: &AccessKeyRow) -> Result<()> {
    conn.execute(
        "INSERT INTO access_key (secret_id, account, uin, wrapped_secret, domain_version, enabled, create_time, \
         last_used, revision, product, description) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10)",
        params![
            row.secret_id.as_str(),
            sql_id(row.account.0),
            sql_id(row.uin.0),
            row.wrapped_secret,
            row.domain_version,
            row.enabled,
            num(row.create_time)?,
            num(row.last_used)?,
            row.product.as_ref().map(Alias::as_str),
            row.description
        ],
    )?;
    Ok(())
}

pub(super) fn touch_access_keys(conn: &Connection, used: &[(SecretId, u64)]) -> Result<()> {
    let mut touch =
        conn.prepare_cached("UPDATE access_key SET last_used = ?2 WHERE secret_id = ?1 AND last_used < ?2")?;
    for (secret_id, at) in used {
        touch.execute(params![secret_id.as_str(), num(*at)?])?;
    }
    Ok(())
}

const DOMAIN: &str = "SELECT account, version, root_version, wrapped, revision FROM domain";

pub(super) fn domains(conn: &Connection, account: AccountId) -> Result<Vec<DomainRow>> {
    all(conn, &format!("{DOMAIN} WHERE account = ?1 ORDER BY version"), [sql_id(account.0)], rows::domain)
}

pub(super) fn domains_under_root(conn: &Connection, root_version: u32, limit: u64) -> Result<Vec<DomainRow>> {
    let sql = format!("{DOMAIN} WHERE root_version = ?1 ORDER BY account, version LIMIT ?2");
    all(conn, &sql, params![root_version, bound(limit)], rows::domain)
}

pub(super) fn count_domains_under(conn: &Connection, root_version: u32) -> Result<u64> {
    let sql = "SELECT count(*) FROM domain WHERE root_version = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([root_version], |r| rows::count(r, 0))?)
}

pub(super) fn rewrap_domain(conn: &Connection, row: &DomainRow) -> Result<()> {
    require_current(conn, row.root_version)?;
    let changed = conn.execute(
        "UPDATE domain SET root_version = ?3, wrapped = ?4, revision = revision + 1 \
         WHERE account = ?1 AND version = ?2 AND revision = ?5",
        params![sql_id(row.account.0), row.version, row.root_version, row.wrapped, num(row.revision)?],
    )?;
    if changed > 0 {
        return Ok(());
    }
    let sql = "SELECT 1 FROM domain WHERE account = ?1 AND version = ?2";
    let known = conn.prepare_cached(sql)?.exists(params![sql_id(row.account.0), row.version])?;
    Err(if known { StoreError::Conflict } else { StoreError::NotFound })
}

pub(super) fn root_rows(conn: &Connection) -> Result<Vec<RootRow>> {
    let sql = "SELECT version, slot, seal_kind, params, wrapped, state, create_time FROM root ORDER BY version, slot";
    all(conn, sql, [], rows::root)
}

pub(super) fn add_root(conn: &Connection, new: &[RootRow], beside: &[String]) -> Result<()> {
    let version = new.first().ok_or(StoreError::Conflict)?.version;
    check_slots(version, new)?;
    let sql = "SELECT slot FROM root WHERE state = ?1 ORDER BY slot";
    if all(conn, sql, [RootState::Current.code()], |r| r.get::<_, String>(0))? != beside {
        return Err(StoreError::Conflict);
    }
    let highest: u32 = conn.query_row("SELECT coalesce(max(version), 0) FROM root", [], |r| r.get(0))?;
    if version <= highest {
        return Err(StoreError::Conflict);
    }
    conn.execute("UPDATE root SET state = ?1", [RootState::Retiring.code()])?;
    new.iter().try_for_each(|row| insert_root(conn, row, RootState::Current))
}

pub(super) fn replace_root_slots(conn: &Connection, version: u32, new: &[RootRow]) -> Result<()> {
    check_slots(version, new)?;
    let state = root_state(conn, version)?.ok_or(StoreError::NotFound)?;
    conn.execute("DELETE FROM root WHERE version = ?1", [version])?;
    new.iter().try_for_each(|row| insert_root(conn, row, state))
}

pub(super) fn add_root_slot(conn: &Connection, new: &[RootRow]) -> Result<()> {
    let stored = root_versions(conn)?;
    let mut named: Vec<u32> = new.iter().map(|row| row.version).collect();
    named.sort_unstable();
    let slot = &new.first().ok_or(StoreError::Conflict)?.slot;
    if named != stored || new.iter().any(|row| row.slot != *slot) {
        return Err(StoreError::Conflict);
    }
    for row in new {
        // An existing slot is a conflict of the primary key.
        insert_root(conn, row, root_state(conn, row.version)?.ok_or(StoreError::Conflict)?)?;
    }
    Ok(())
}

pub(super) fn drop_root_slot(conn: &Connection, slot: &str) -> Result<()> {
    let before = root_versions(conn)?;
    if conn.execute("DELETE FROM root WHERE slot = ?1", [slot])? == 0 {
        return Err(StoreError::NotFound);
    }
    // An error undoes the deletion.
    if root_versions(conn)? == before { Ok(()) } else { Err(StoreError::Conflict) }
}

fn root_versions(conn: &Connection) -> Result<Vec<u32>> {
    all(conn, "SELECT DISTINCT version FROM root ORDER BY version", [], |r| r.get(0))
}

pub(super) fn drop_root(conn: &Connection, version: u32) -> Result<()> {
    let state = root_state(conn, version)?.ok_or(StoreError::NotFound)?;
    if state == RootState::Current || count_domains_under(conn, version)? > 0 || values_under(conn, version)? > 0 {
        return Err(StoreError::Conflict);
    }
    conn.execute("DELETE FROM root WHERE version = ?1", [version])?;
    Ok(())
}

fn check_slots(version: u32, new: &[RootRow]) -> Result<()> {
    let mut slots = HashSet::new();
    let fit = !new.is_empty() && new.iter().all(|r| r.version == version && slots.insert(&r.slot));
    if fit { Ok(()) } else { Err(StoreError::Conflict) }
}

fn insert_root(conn: &Connection, row: &RootRow, state: RootState) -> Result<()> {
    conn.execute(
        "INSERT INTO root (version, slot, seal_kind, params, wrapped, state, create_time) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![row.version, row.slot, row.seal_kind, row.params, row.wrapped, state.code(), num(row.create_time)?],
    )?;
    Ok(())
}

fn root_state(conn: &Connection, version: u32) -> Result<Option<RootState>> {
    let mut one = conn.prepare_cached("SELECT state FROM root WHERE version = ?1 LIMIT 1")?;
    Ok(one.query_row([version], |r| rows::coded(r, 0, RootState::from_code)).optional()?)
}

/// A domain key may only be put under the current root key: one that a re-keying process is about to drop would
/// take the account with it.
fn require_current(conn: &Connection, version: u32) -> Result<()> {
    if root_state(conn, version)? == Some(RootState::Current) { Ok(()) } else { Err(StoreError::Conflict) }
}

pub(super) fn expired_imports(conn: &Connection, now: u64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM import_param WHERE expires <= ?1 LIMIT 1")?.exists([bound(now)])?)
}

pub(super) fn drop_expired_imports(conn: &Connection, now: u64, limit: u64) -> Result<u64> {
    let sql = "DELETE FROM import_param WHERE cmk IN \
               (SELECT cmk FROM import_param WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
    Ok(conn.prepare_cached(sql)?.execute([bound(now), bound(limit)])? as u64)
}

pub(super) fn outbox_pending(conn: &Connection, after: u64, limit: u64) -> Result<Vec<(u64, Vec<u8>)>> {
    let sql = "SELECT id, record FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2";
    all(conn, sql, [bound(after), bound(limit)], |r| Ok((rows::count(r, 0)?, r.get(1)?)))
}

pub(super) fn outbox_done(conn: &Connection, ids: &[u64]) -> Result<()> {
    let mut forget = conn.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    for id in ids {
        forget.execute([bound(*id)])?;
    }
    Ok(())
}

pub(super) fn meta_get(conn: &Connection, key: &str) -> Result<Option<Vec<u8>>> {
    let mut one = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(one.query_row([key], |r| r.get(0)).optional()?)
}

/// What names of values that lie under a root key begin with.
const UNDER_ROOT: &str = "under_root/";

/// Values that lie under a root key.
fn values_under(conn: &Connection, version: u32) -> Result<i64> {
    let sql = "SELECT count(*) FROM meta WHERE key GLOB 'under_root/*' AND substr(value, 1, 4) = ?1";
    Ok(conn.query_row(sql, [&version.to_be_bytes()[..]], |r| r.get(0))?)
}

pub(super) fn meta_put(conn: &Connection, key: &str, value: &[u8]) -> Result<()> {
    if key.starts_with(UNDER_ROOT) && !value.is_empty() {
        let version = value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(StoreError::Conflict)?;
        if root_state(conn, version)? != Some(RootState::Current) {
            return Err(StoreError::Conflict);
        }
    }
    conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?.execute(params![key, value])?;
    Ok(())
}

pub(super) fn schema_version(conn: &Connection) -> Result<u32> {
    Ok(conn.query_row("SELECT version FROM schema_version", [], |r| r.get(0))?)
}
