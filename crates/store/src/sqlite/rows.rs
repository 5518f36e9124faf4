//! Rows to structs and back, and SQLite's errors to ours.

use crate::error::StoreError;
use crate::model::*;
use jadeseal_types::{
    AccountId, Alias, AppId, DataKeyId, DataKeyState, GroupId, KeyId, KeyState, KeyUsage, Origin, Owner, PolicyId,
    Region, RoleId, SecretId, Suite, Uin,
};
use rusqlite::types::Type;
use rusqlite::{Error, ErrorCode, Row, ffi};

/// The columns that [`cmk`] reads, in its order.
pub(super) const CMK: &str = "c.key_id, c.account, c.region, c.alias, c.description, c.usage, c.suite, c.origin, \
     c.state, c.owner, c.creator, c.create_time, c.deletion_date, c.valid_to, c.rotate, c.rotate_days, \
     c.rotate_last, c.rotate_next, c.rotate_demand, c.current_version, c.hsm_cluster, c.bindings, \
     c.material_digest, c.revision";

pub(super) fn cmk(r: &Row<'_>) -> rusqlite::Result<Cmk> {
    Ok(Cmk {
        key_id: key_id(r, 0)?,
        account: AccountId(id(r, 1)?),
        region: parsed(r, 2, Region::parse)?,
        alias: parsed(r, 3, Alias::parse)?,
        description: r.get(4)?,
        usage: coded(r, 5, KeyUsage::from_code)?,
        suite: coded(r, 6, Suite::from_code)?,
        origin: coded(r, 7, Origin::from_code)?,
        state: coded(r, 8, KeyState::from_code)?,
        owner: parsed(r, 9, Owner::from_wire)?,
        creator: Uin(id(r, 10)?),
        create_time: count(r, 11)?,
        deletion_date: count(r, 12)?,
        valid_to: count(r, 13)?,
        rotation: Rotation {
            enabled: r.get(14)?,
            days: r.get(15)?,
            last: count(r, 16)?,
            next: count(r, 17)?,
            last_on_demand: count(r, 18)?,
        },
        current_version: r.get(19)?,
        hsm_cluster: r.get(20)?,
        bindings: r.get(21)?,
        material_digest: r.get(22)?,
        revision: count(r, 23)?,
    })
}

/// The columns that [`data_key`] reads, in its order: of `data_key d` and its `cmk c`.
pub(super) const DATA_KEY: &str = "d.data_key_id, c.key_id, c.alias, d.account, d.region, d.name, d.description, \
     d.bytes, d.origin, d.state, d.owner, d.creator, d.create_time, d.deletion_date, d.hsm_cluster, d.revision";

pub(super) fn data_key(r: &Row<'_>) -> rusqlite::Result<DataKey> {
    Ok(DataKey {
        data_key_id: DataKeyId(key_id(r, 0)?),
        cmk: key_id(r, 1)?,
        cmk_alias: parsed(r, 2, Alias::parse)?,
        account: AccountId(id(r, 3)?),
        region: parsed(r, 4, Region::parse)?,
        name: parsed(r, 5, Alias::parse)?,
        description: r.get(6)?,
        bytes: r.get(7)?,
        origin: coded(r, 8, Origin::from_code)?,
        state: coded(r, 9, DataKeyState::from_code)?,
        owner: parsed(r, 10, Owner::from_wire)?,
        creator: Uin(id(r, 11)?),
        create_time: count(r, 12)?,
        deletion_date: count(r, 13)?,
        hsm_cluster: r.get(14)?,
        revision: count(r, 15)?,
    })
}

/// Reads `version, create_time, domain_version, wrapped`.
pub(super) fn key_version(r: &Row<'_>, key_id: KeyId) -> rusqlite::Result<KeyVersion> {
    Ok(KeyVersion {
        key_id,
        version: r.get(0)?,
        create_time: count(r, 1)?,
        domain_version: r.get(2)?,
        wrapped: r.get(3)?,
    })
}

/// Reads `account, app_id, name, create_time`.
pub(super) fn account(r: &Row<'_>) -> rusqlite::Result<AccountRow> {
    Ok(AccountRow {
        account: AccountId(id(r, 0)?),
        app_id: AppId(id(r, 1)?),
        name: r.get(2)?,
        create_time: count(r, 3)?,
    })
}

/// Reads `account, version, root_version, wrapped, revision`.
pub(super) fn domain(r: &Row<'_>) -> rusqlite::Result<DomainRow> {
    Ok(DomainRow {
        account: AccountId(id(r, 0)?),
        version: r.get(1)?,
        root_version: r.get(2)?,
        wrapped: r.get(3)?,
        revision: count(r, 4)?,
    })
}

/// Reads `version, slot, seal_kind, params, wrapped, state, create_time`.
pub(super) fn root(r: &Row<'_>) -> rusqlite::Result<RootRow> {
    Ok(RootRow {
        version: r.get(0)?,
        slot: r.get(1)?,
        seal_kind: r.get(2)?,
        params: r.get(3)?,
        wrapped: r.get(4)?,
        state: coded(r, 5, RootState::from_code)?,
        create_time: count(r, 6)?,
    })
}

/// Reads `secret_id, account, uin, wrapped_secret, domain_version, enabled, create_time, last_used, revision, product,
/// description`.
pub(super) fn access_key(r: &Row<'_>) -> rusqlite::Result<AccessKeyRow> {
    Ok(AccessKeyRow {
        secret_id: parsed(r, 0, SecretId::parse)?,
        account: AccountId(id(r, 1)?),
        uin: Uin(id(r, 2)?),
        description: r.get(10)?,
        wrapped_secret: r.get(3)?,
        domain_version: r.get(4)?,
        enabled: r.get(5)?,
        create_time: count(r, 6)?,
        last_used: count(r, 7)?,
        revision: count(r, 8)?,
        product: match r.get_ref(9)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(parsed(r, 9, Alias::parse)?),
        },
    })
}

/// Reads `uin, name, remark, console_login, phone, country_code, email, create_time`.
pub(super) fn user(r: &Row<'_>) -> rusqlite::Result<UserRow> {
    Ok(UserRow {
        uin: Uin(id(r, 0)?),
        name: r.get(1)?,
        remark: r.get(2)?,
        console_login: r.get(3)?,
        phone: r.get(4)?,
        country_code: r.get(5)?,
        email: r.get(6)?,
        create_time: count(r, 7)?,
    })
}

/// Reads `id, name, remark, create_time`.
pub(super) fn group(r: &Row<'_>) -> rusqlite::Result<GroupRow> {
    Ok(GroupRow { id: GroupId(id(r, 0)?), name: r.get(1)?, remark: r.get(2)?, create_time: count(r, 3)? })
}

/// Reads `user_group, uin, create_time`.
pub(super) fn membership(r: &Row<'_>) -> rusqlite::Result<Membership> {
    Ok(Membership { group: GroupId(id(r, 0)?), uin: Uin(id(r, 1)?), create_time: count(r, 2)? })
}

/// Reads `id, name, description, document, create_time, update_time`.
pub(super) fn policy(r: &Row<'_>) -> rusqlite::Result<PolicyRow> {
    Ok(PolicyRow {
        id: PolicyId(id(r, 0)?),
        name: r.get(1)?,
        description: r.get(2)?,
        document: r.get(3)?,
        create_time: count(r, 4)?,
        update_time: count(r, 5)?,
    })
}

/// Reads `policy, kind, target, create_time`.
pub(super) fn attachment(r: &Row<'_>) -> rusqlite::Result<Attachment> {
    let target = id(r, 2)?;
    let to = match r.get(1)? {
        USER => Attached::User(Uin(target)),
        GROUP => Attached::Group(GroupId(target)),
        ROLE => Attached::Role(RoleId(target)),
        _ => return Err(damaged(1, Type::Integer)),
    };
    Ok(Attachment { policy: PolicyId(id(r, 0)?), to, create_time: count(r, 3)? })
}

const USER: u8 = 1;
const GROUP: u8 = 2;
const ROLE: u8 = 3;

/// The columns `kind, target` of what a policy is attached to.
pub(super) fn attached_columns(to: Attached) -> (u8, i64) {
    match to {
        Attached::User(uin) => (USER, sql_id(uin.0)),
        Attached::Group(group) => (GROUP, sql_id(group.0)),
        Attached::Role(role) => (ROLE, sql_id(role.0)),
    }
}

/// Reads `id, name, description, document, console_login, session_duration, create_time, update_time`. The tags are
/// rows of their own.
pub(super) fn role(r: &Row<'_>) -> rusqlite::Result<RoleRow> {
    Ok(RoleRow {
        id: RoleId(id(r, 0)?),
        name: r.get(1)?,
        description: r.get(2)?,
        document: r.get(3)?,
        console_login: r.get(4)?,
        session_duration: count(r, 5)?,
        tags: Vec::new(),
        create_time: count(r, 6)?,
        update_time: count(r, 7)?,
    })
}

/// Reads `role, key, value`.
pub(super) fn role_tag(r: &Row<'_>) -> rusqlite::Result<(RoleId, Tag)> {
    Ok((RoleId(id(r, 0)?), Tag { key: r.get(1)?, value: r.get(2)? }))
}

/// Reads `token_digest, algorithm, wrapped_private, domain_version, expires, failures`.
pub(super) fn import_params(r: &Row<'_>, key_id: KeyId) -> rusqlite::Result<ImportParams> {
    Ok(ImportParams {
        key_id,
        token_digest: r.get(0)?,
        algorithm: r.get(1)?,
        wrapped_private: r.get(2)?,
        domain_version: r.get(3)?,
        expires: count(r, 4)?,
        failures: r.get(5)?,
    })
}

pub(super) fn owner(r: &Row<'_>, at: usize) -> rusqlite::Result<Owner> {
    parsed(r, at, Owner::from_wire)
}

pub(super) fn key_id(r: &Row<'_>, at: usize) -> rusqlite::Result<KeyId> {
    Ok(KeyId::from_bytes(r.get(at)?))
}

pub(super) fn region(r: &Row<'_>, at: usize) -> rusqlite::Result<Region> {
    parsed(r, at, Region::parse)
}

pub(super) fn coded<T>(r: &Row<'_>, at: usize, read: impl Fn(u8) -> Option<T>) -> rusqlite::Result<T> {
    read(r.get(at)?).ok_or_else(|| damaged(at, Type::Integer))
}

fn parsed<T>(r: &Row<'_>, at: usize, read: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    r.get_ref(at)?.as_str().ok().and_then(read).ok_or_else(|| damaged(at, Type::Text))
}

fn damaged(at: usize, kind: Type) -> Error {
    Error::FromSqlConversionFailure(at, kind, "the value has no meaning".into())
}

/// An id of 64 bits as SQLite's signed integer and back: bit for bit, since ids are only compared for equality.
pub(super) fn sql_id(id: u64) -> i64 {
    id as i64
}

pub(super) fn id(r: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    r.get::<_, i64>(at).map(|v| v as u64)
}

/// Reads a time, count or revision.
pub(super) fn count(r: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    u64::try_from(r.get::<_, i64>(at)?).map_err(|_| damaged(at, Type::Integer))
}

/// A time, count or revision that is to be stored; beyond SQLite's integers it is refused.
pub(super) fn num(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Unavailable("a number is too large to be stored".into()))
}

/// A bound to compare with: above all that can be stored there is no difference.
pub(super) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl From<Error> for StoreError {
    fn from(e: Error) -> Self {
        let Error::SqliteFailure(code, ref message) = e else {
            return match e {
                Error::QueryReturnedNoRows => StoreError::NotFound,
                e => StoreError::Unavailable(e.to_string()),
            };
        };
        match code.code {
            ErrorCode::ConstraintViolation => match (code.extended_code, message) {
                (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, _) => StoreError::NotFound,
                (_, Some(text)) if text.contains("cmk.alias") => StoreError::AliasTaken,
                (_, Some(text)) if text.contains("data_key.name") => StoreError::NameTaken,
                _ => StoreError::Conflict,
            },
            ErrorCode::DiskFull => StoreError::Full(e.to_string()),
            // How a full file system shows itself when the index of the log grows.
            _ if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full(e.to_string()),
            _ => StoreError::Unavailable(e.to_string()),
        }
    }
}
