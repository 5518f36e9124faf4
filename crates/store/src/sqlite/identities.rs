//! Principals of accounts and their policies. Each statement names the account, and the tables refer to each other with
//! it, so that no change reaches another tenant's rows.

use super::changes::existing;
use super::keys::all;
use super::rows::{self, bound, num, sql_id};
use super::system;
use crate::error::{Result, StoreError};
use crate::model::*;
use jadeseal_types::{AccountId, GroupId, PolicyId, RoleId, SecretId, Uin};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use std::collections::HashMap;

/// The moment of the next change of any account's principals: greater than all before, since accounts never go.
macro_rules! next_moment {
    () => {
        "(SELECT coalesce(max(moment), 0) + 1 FROM identity)"
    };
}

pub(super) fn identities(conn: &Connection, account: AccountId) -> Result<Option<Identities>> {
    let _snapshot = conn.unchecked_transaction()?;
    let of = [sql_id(account.0)];
    let sql = "SELECT a.account, a.app_id, a.name, a.create_time, i.revision \
               FROM account a JOIN identity i ON i.account = a.account WHERE a.account = ?1";
    let head = conn.prepare_cached(sql)?.query_row(of, |r| Ok((rows::account(r)?, rows::count(r, 4)?))).optional()?;
    let Some((account, revision)) = head else { return Ok(None) };

    let sql = "SELECT uin, name, remark, console_login, phone, country_code, email, create_time \
               FROM sub_user WHERE account = ?1";
    let users = all(conn, sql, of, rows::user)?;
    let sql = "SELECT id, name, remark, create_time FROM user_group WHERE account = ?1";
    let groups = all(conn, sql, of, rows::group)?;
    let sql = "SELECT user_group, uin, create_time FROM group_member WHERE account = ?1";
    let members = all(conn, sql, of, rows::membership)?;
    let sql = "SELECT id, name, description, document, create_time, update_time FROM policy WHERE account = ?1";
    let policies = all(conn, sql, of, rows::policy)?;
    let sql = "SELECT policy, kind, target, create_time FROM policy_attachment WHERE account = ?1";
    let attachments = all(conn, sql, of, rows::attachment)?;
    let sql = "SELECT id, name, description, document, console_login, session_duration, create_time, update_time \
               FROM role WHERE account = ?1";
    let mut roles = all(conn, sql, of, rows::role)?;
    let mut tags: HashMap<RoleId, Vec<Tag>> = HashMap::new();
    let sql = "SELECT role, key, value FROM role_tag WHERE account = ?1 ORDER BY role, key";
    for (role, tag) in all(conn, sql, of, rows::role_tag)? {
        tags.entry(role).or_default().push(tag);
    }
    for role in &mut roles {
        role.tags = tags.remove(&role.id).unwrap_or_default();
    }
    let access_keys = system::access_keys(conn, account.account)?;
    let mut found = Identities { account, revision, users, groups, members, policies, attachments, roles, access_keys };
    sort(&mut found);
    Ok(Some(found))
}

/// Puts all in order. Here and not by the statements: numbers are stored bit for bit, so that SQLite would take the
/// largest ones for negative.
fn sort(of: &mut Identities) {
    of.users.sort_unstable_by_key(|u| (u.create_time, u.uin));
    of.groups.sort_unstable_by_key(|g| (g.create_time, g.id));
    of.members.sort_unstable_by_key(|m| (m.group, m.uin));
    of.policies.sort_unstable_by_key(|p| (p.create_time, p.id));
    of.attachments.sort_unstable_by_key(|a| (a.create_time, a.policy, rows::attached_columns(a.to)));
    of.roles.sort_unstable_by_key(|r| (r.create_time, r.id));
    // By SecretId they are already.
    of.access_keys.sort_by_key(|k| k.create_time);
}

pub(super) fn revision(conn: &Connection, account: AccountId) -> Result<Option<u64>> {
    let sql = "SELECT revision FROM identity WHERE account = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([sql_id(account.0)], |r| rows::count(r, 0)).optional()?)
}

pub(super) fn changed(conn: &Connection, since: u64) -> Result<(u64, Vec<AccountId>)> {
    let _snapshot = conn.unchecked_transaction()?;
    let sql = "SELECT coalesce(max(moment), 0) FROM identity";
    let moment = conn.prepare_cached(sql)?.query_row([], |r| rows::count(r, 0))?;
    let sql = "SELECT account FROM identity WHERE moment > ?1 ORDER BY moment";
    Ok((moment, all(conn, sql, [bound(since)], |r| rows::id(r, 0).map(AccountId))?))
}

/// The principals of a new account: none yet.
pub(super) fn create(conn: &Connection, account: AccountId) -> Result<()> {
    let number = [sql_id(account.0)];
    // A user of any account, see `add_user`.
    if conn.prepare_cached("SELECT 1 FROM sub_user WHERE uin = ?1")?.exists(number)? {
        return Err(StoreError::Conflict);
    }
    let sql = concat!("INSERT INTO identity (account, revision, moment) VALUES (?1, 1, ", next_moment!(), ")");
    conn.prepare_cached(sql)?.execute(number)?;
    Ok(())
}

/// Notes that something of an account has been changed, whatever its revision; `NotFound` when there is no such account.
pub(super) fn bump(conn: &Connection, account: AccountId) -> Result<()> {
    let sql = concat!("UPDATE identity SET revision = revision + 1, moment = ", next_moment!(), " WHERE account = ?1");
    existing(conn.prepare_cached(sql)?.execute([sql_id(account.0)])?)
}

/// As [`bump`], if the revision still is this one, else `Conflict`.
fn swap(conn: &Connection, account: AccountId, revision: u64) -> Result<()> {
    let sql = concat!(
        "UPDATE identity SET revision = revision + 1, moment = ",
        next_moment!(),
        " WHERE account = ?1 AND revision = ?2"
    );
    if conn.prepare_cached(sql)?.execute([sql_id(account.0), bound(revision)])? > 0 {
        return Ok(());
    }
    let known = conn.prepare_cached("SELECT 1 FROM identity WHERE account = ?1")?.exists([sql_id(account.0)])?;
    Err(if known { StoreError::Conflict } else { StoreError::NotFound })
}

/// Applies changes inside the transaction that is open.
pub(super) fn change(conn: &Connection, account: AccountId, revision: u64, changes: &[IdentityChange]) -> Result<()> {
    swap(conn, account, revision)?;
    let apply = Principals { conn, account };
    changes.iter().try_for_each(|change| apply.change(change))
}

/// The account and the connection that a change works with.
struct Principals<'a> {
    conn: &'a Connection,
    account: AccountId,
}

impl Principals<'_> {
    fn change(&self, change: &IdentityChange) -> Result<()> {
        match change {
            IdentityChange::AddUser(user) => self.add_user(user),
            IdentityChange::UpdateUser(user) => self.update_user(user),
            IdentityChange::DropUser(uin) => self.drop_user(*uin),
            IdentityChange::AddGroup(group) => self.add_group(group),
            IdentityChange::UpdateGroup(group) => self.update_group(group),
            IdentityChange::DropGroup(id) => self.drop_group(*id),
            IdentityChange::AddMember(member) => self.add_member(member),
            IdentityChange::DropMember { group, uin } => {
                let sql = "DELETE FROM group_member WHERE account = ?1 AND user_group = ?2 AND uin = ?3";
                existing(self.run(sql, &[&sql_id(group.0), &sql_id(uin.0)])?)
            }
            IdentityChange::AddPolicy(policy) => self.add_policy(policy),
            IdentityChange::UpdatePolicy(policy) => self.update_policy(policy),
            IdentityChange::DropPolicy(id) => self.drop_policy(*id),
            IdentityChange::Attach(attachment) => self.attach(attachment),
            IdentityChange::Detach { policy, from } => {
                let (kind, target) = rows::attached_columns(*from);
                let sql =
                    "DELETE FROM policy_attachment WHERE account = ?1 AND policy = ?2 AND kind = ?3 AND target = ?4";
                existing(self.run(sql, &[&sql_id(policy.0), &kind, &target])?)
            }
            IdentityChange::AddRole(role) => self.add_role(role),
            IdentityChange::UpdateRole(role) => self.update_role(role),
            IdentityChange::DropRole(id) => self.drop_role(*id),
            IdentityChange::AddAccessKey(key) => self.add_access_key(key),
            IdentityChange::SetAccessKey { secret_id, enabled } => self.set_access_key(secret_id, *enabled),
            IdentityChange::DropAccessKey(secret_id) => {
                let sql = "DELETE FROM access_key WHERE account = ?1 AND secret_id = ?2 AND product IS NULL";
                existing(self.run(sql, &[&secret_id.as_str()])?)
            }
        }
    }

    fn add_user(&self, u: &UserRow) -> Result<()> {
        let added = self.run(
            "INSERT INTO sub_user (account, uin, name, remark, console_login, phone, country_code, email, create_time) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS (SELECT 1 FROM account WHERE account = ?2)",
            params![
                sql_id(u.uin.0),
                u.name,
                u.remark,
                u.console_login,
                u.phone,
                u.country_code,
                u.email,
                num(u.create_time)?
            ],
        )?;
        // A user that has an account's number would be that account's owner wherever a caller is named by it.
        if added > 0 { Ok(()) } else { Err(StoreError::Conflict) }
    }

    fn update_user(&self, u: &UserRow) -> Result<()> {
        let sql = "UPDATE sub_user SET remark = ?3, console_login = ?4, phone = ?5, country_code = ?6, email = ?7 \
                   WHERE account = ?1 AND uin = ?2";
        let values = params![sql_id(u.uin.0), u.remark, u.console_login, u.phone, u.country_code, u.email];
        existing(self.run(sql, values)?)
    }

    fn drop_user(&self, uin: Uin) -> Result<()> {
        // Its memberships go with it.
        let sql = "DELETE FROM sub_user WHERE account = ?1 AND uin = ?2";
        existing(self.run(sql, &[&sql_id(uin.0)])?)?;
        let sql = "DELETE FROM access_key WHERE account = ?1 AND uin = ?2 AND product IS NULL";
        self.run(sql, &[&sql_id(uin.0)])?;
        self.detach_all(Attached::User(uin))
    }

    fn add_group(&self, g: &GroupRow) -> Result<()> {
        let sql = "INSERT INTO user_group (account, id, name, remark, create_time) VALUES (?1, ?2, ?3, ?4, ?5)";
        existing(self.run(sql, params![sql_id(g.id.0), g.name, g.remark, num(g.create_time)?])?)
    }

    fn update_group(&self, g: &GroupRow) -> Result<()> {
        let sql = "UPDATE user_group SET name = ?3, remark = ?4 WHERE account = ?1 AND id = ?2";
        existing(self.run(sql, params![sql_id(g.id.0), g.name, g.remark])?)
    }

    fn drop_group(&self, id: GroupId) -> Result<()> {
        // Its memberships go with it.
        let sql = "DELETE FROM user_group WHERE account = ?1 AND id = ?2";
        existing(self.run(sql, &[&sql_id(id.0)])?)?;
        self.detach_all(Attached::Group(id))
    }

    fn add_member(&self, m: &Membership) -> Result<()> {
        // The foreign keys, which name the account too, refuse what is not there (`NotFound`).
        let sql = "INSERT INTO group_member (account, user_group, uin, create_time) VALUES (?1, ?2, ?3, ?4)";
        existing(self.run(sql, params![sql_id(m.group.0), sql_id(m.uin.0), num(m.create_time)?])?)
    }

    fn add_policy(&self, p: &PolicyRow) -> Result<()> {
        let sql = "INSERT INTO policy (account, id, name, description, document, create_time, update_time) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (made, changed) = (num(p.create_time)?, num(p.update_time)?);
        existing(self.run(sql, params![sql_id(p.id.0), p.name, p.description, p.document, made, changed])?)
    }

    fn update_policy(&self, p: &PolicyRow) -> Result<()> {
        let sql = "UPDATE policy SET name = ?3, description = ?4, document = ?5, update_time = ?6 \
                   WHERE account = ?1 AND id = ?2";
        let values = params![sql_id(p.id.0), p.name, p.description, p.document, num(p.update_time)?];
        existing(self.run(sql, values)?)
    }

    fn drop_policy(&self, id: PolicyId) -> Result<()> {
        let id = sql_id(id.0);
        existing(self.run("DELETE FROM policy WHERE account = ?1 AND id = ?2", &[&id])?)?;
        self.run("DELETE FROM policy_attachment WHERE account = ?1 AND policy = ?2", &[&id])?;
        Ok(())
    }

    fn attach(&self, a: &Attachment) -> Result<()> {
        let (kind, target) = rows::attached_columns(a.to);
        let sql = match a.to {
            Attached::User(_) => "SELECT 1 FROM sub_user WHERE account = ?1 AND uin = ?2",
            Attached::Group(_) => "SELECT 1 FROM user_group WHERE account = ?1 AND id = ?2",
            Attached::Role(_) => "SELECT 1 FROM role WHERE account = ?1 AND id = ?2",
        };
        if !self.exists(sql, target)? {
            return Err(StoreError::NotFound);
        }
        // A policy of nobody is a preset; one of another account does not exist here.
        if self.exists("SELECT 1 FROM policy WHERE id = ?2 AND account <> ?1", sql_id(a.policy.0))? {
            return Err(StoreError::NotFound);
        }
        let sql = "INSERT INTO policy_attachment (account, policy, kind, target, create_time) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        existing(self.run(sql, params![sql_id(a.policy.0), kind, target, num(a.create_time)?])?)
    }

    /// Takes all policies from something that is gone.
    fn detach_all(&self, from: Attached) -> Result<()> {
        let (kind, target) = rows::attached_columns(from);
        let sql = "DELETE FROM policy_attachment WHERE account = ?1 AND kind = ?2 AND target = ?3";
        self.run(sql, &[&kind, &target])?;
        Ok(())
    }

    fn add_role(&self, r: &RoleRow) -> Result<()> {
        self.run(
            "INSERT INTO role (account, id, name, description, document, console_login, session_duration, create_time, \
             update_time) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                sql_id(r.id.0),
                r.name,
                r.description,
                r.document,
                r.console_login,
                num(r.session_duration)?,
                num(r.create_time)?,
                num(r.update_time)?
            ],
        )?;
        self.tag_role(r)
    }

    fn update_role(&self, r: &RoleRow) -> Result<()> {
        let changed = self.run(
            "UPDATE role SET description = ?3, document = ?4, console_login = ?5, session_duration = ?6, \
             update_time = ?7 WHERE account = ?1 AND id = ?2",
            params![
                sql_id(r.id.0),
                r.description,
                r.document,
                r.console_login,
                num(r.session_duration)?,
                num(r.update_time)?
            ],
        )?;
        existing(changed)?;
        self.run("DELETE FROM role_tag WHERE account = ?1 AND role = ?2", &[&sql_id(r.id.0)])?;
        self.tag_role(r)
    }

    fn tag_role(&self, r: &RoleRow) -> Result<()> {
        let sql = "INSERT INTO role_tag (account, role, key, value) VALUES (?1, ?2, ?3, ?4)";
        r.tags.iter().try_for_each(|tag| self.run(sql, params![sql_id(r.id.0), tag.key, tag.value]).map(drop))
    }

    fn drop_role(&self, id: RoleId) -> Result<()> {
        // Its tags go with it.
        let sql = "DELETE FROM role WHERE account = ?1 AND id = ?2";
        existing(self.run(sql, &[&sql_id(id.0)])?)?;
        self.detach_all(Attached::Role(id))
    }

    fn add_access_key(&self, key: &AccessKeyRow) -> Result<()> {
        let own = key.uin.0 == self.account.0;
        let user = "SELECT 1 FROM sub_user WHERE account = ?1 AND uin = ?2";
        if key.account != self.account || !(own || self.exists(user, sql_id(key.uin.0))?) {
            return Err(StoreError::NotFound);
        }
        if key.product.is_some() {
            return Err(StoreError::Conflict);
        }
        system::insert_access_key(self.conn, key)
    }

    fn set_access_key(&self, secret_id: &SecretId, enabled: bool) -> Result<()> {
        let sql = "UPDATE access_key SET enabled = ?3, revision = revision + 1 \
                   WHERE account = ?1 AND secret_id = ?2 AND product IS NULL";
        existing(self.run(sql, &[&secret_id.as_str(), &enabled])?)
    }

    /// Whether a row of the account (`?1`) has the number (`?2`).
    fn exists(&self, sql: &str, number: i64) -> Result<bool> {
        Ok(self.conn.prepare_cached(sql)?.exists([sql_id(self.account.0), number])?)
    }

    /// Runs a statement whose first parameter is the account; returns the number of rows.
    fn run(&self, sql: &str, rest: &[&dyn ToSql]) -> Result<usize> {
        let account = sql_id(self.account.0);
        let mut values: Vec<&dyn ToSql> = Vec::with_capacity(1 + rest.len());
        values.push(&account);
        values.extend_from_slice(rest);
        Ok(self.conn.prepare_cached(sql)?.execute(values.as_slice())?)
    }
}
