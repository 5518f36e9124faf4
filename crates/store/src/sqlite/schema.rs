//! Opening of connections, and the tables.

use crate::error::{Result, StoreError};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::path::Path;
use std::time::Duration;

/// Version of the tables that this code reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Cached statements per connection: more than there are, but for rare combinations of list filters.
const STATEMENTS: usize = 192;
/// Page cache of each connection, KiB. The index that lists scan takes about 10 MB with 100,000 keys.
const CACHE_KIB: i64 = 16 * 1024;

/// Opens the connection that writes; makes the file (mode 0600) and the tables where they are missing.
pub(super) fn open_writer(path: &Path, busy: Duration, may_migrate: bool) -> Result<Connection> {
    make_private(path).map_err(|e| StoreError::Unavailable(format!("{}: {e}", path.display())))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(busy)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!("the file system does not allow a write-ahead log ({mode})")));
    }
    // FULL: a commit that has been answered survives a power cut, not only a killed process.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 4000)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // A destroyed key's wrapped material must not stay readable in free space of the file. The log, which has
    // older copies of the pages, is the writer's business.
    conn.pragma_update(None, "secure_delete", true)?;
    tune(&conn)?;
    migrate(&conn, may_migrate)?;
    Ok(conn)
}

/// Opens a connection that only reads. The file must be there.
pub(super) fn open_reader(path: &Path, busy: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(busy)?;
    conn.pragma_update(None, "query_only", true)?;
    tune(&conn)?;
    super::search::register(&conn)?;
    Ok(conn)
}

fn tune(conn: &Connection) -> Result<()> {
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Sorting must not leave rows in a temporary file elsewhere.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Makes sure that nobody but the owner reads the file. SQLite gives its log and index files the mode
/// of the database file.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Brings the tables to [`VERSION`]; refuses those of a newer program. Two processes may do this at once.
fn migrate(conn: &Connection, may_migrate: bool) -> Result<()> {
    let found = current_version(conn)?;
    if found == Some(VERSION) {
        return Ok(());
    }
    if let Some(older) = found.filter(|found| *found < VERSION) {
        if !may_migrate {
            return Err(StoreError::Unavailable(format!(
                "the store has schema version {older}, older than this program's {VERSION}: `jadeseal serve` brings it forward, \
                 once no older program serves it any more"
            )));
        }
        tracing::warn!(from = older, to = VERSION, "bringing the store's tables forward; this may take a minute");
    }
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = (|| {
        let found = current_version(conn)?.unwrap_or(0);
        let missing = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)).ok_or_else(|| {
            StoreError::Unavailable(format!(
                "the store has schema version {found}, but Jadeseal {} knows versions up to {VERSION} only: a newer release \
                 has served this data. Start that release or a later one again; to go back to this one, restore a backup \
                 that was made before the upgrade (the upgrade itself left a file named {})",
                env!("CARGO_PKG_VERSION"),
                super::copy::BEFORE,
            ))
        })?;
        missing.iter().try_for_each(|step| conn.execute_batch(step))?;
        conn.execute("INSERT OR REPLACE INTO schema_version (id, version) VALUES (1, ?1)", [VERSION])?;
        Ok(())
    })();
    match done {
        Ok(()) => Ok(conn.execute_batch("COMMIT")?),
        Err(e) => {
            // The connection is thrown away with the error; the lock goes with it.
            let _ = conn.execute_batch("ROLLBACK");
            Err(e)
        }
    }
}

pub(super) fn current_version(conn: &Connection) -> Result<Option<u32>> {
    let exists: bool =
        conn.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'", [], |r| r.get(0))?;
    if !exists {
        return Ok(None);
    }
    Ok(conn.query_row("SELECT version FROM schema_version", [], |r| r.get(0)).optional()?)
}

/// What leads from each version to the next, beginning with an empty file. A step that has been released never
/// changes.
pub(super) const MIGRATIONS: &[&str] = &[TABLES, DATA_KEYS, TAGS, PRODUCTS, IDENTITIES, KEY_USE];

/// Version 1. Ids are BLOBs of 16 bytes, enumerations their codes, times Unix seconds.
///
/// A key costs a row, four index entries and a row per version: as few as the promises need, since they
/// bound the rate of creation. `cmk_list` holds all that a list filters and sorts by, so that counting and
/// skipping to an offset never touch the table; `cmk_list_up` is the same for the other order, which read
/// backwards would have the ids of one second the wrong way round, and sorting them costs more than the list; the `due` indexes hold only the keys that wait for a job.
const TABLES: &str = "
CREATE TABLE schema_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT;

CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE root (
    version INTEGER NOT NULL, slot TEXT NOT NULL, seal_kind TEXT NOT NULL, params BLOB NOT NULL,
    wrapped BLOB NOT NULL, state INTEGER NOT NULL, create_time INTEGER NOT NULL,
    PRIMARY KEY (version, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    account INTEGER PRIMARY KEY, app_id INTEGER NOT NULL, name TEXT NOT NULL, create_time INTEGER NOT NULL
) STRICT;

CREATE TABLE domain (
    account INTEGER NOT NULL REFERENCES account, version INTEGER NOT NULL, root_version INTEGER NOT NULL,
    wrapped BLOB NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (account, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX domain_root ON domain (root_version);

CREATE TABLE access_key (
    secret_id TEXT PRIMARY KEY, account INTEGER NOT NULL REFERENCES account, uin INTEGER NOT NULL,
    wrapped_secret BLOB NOT NULL, domain_version INTEGER NOT NULL, enabled INTEGER NOT NULL,
    create_time INTEGER NOT NULL, last_used INTEGER NOT NULL, revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cmk (
    id INTEGER PRIMARY KEY,
    key_id BLOB NOT NULL UNIQUE CHECK (length(key_id) = 16),
    account INTEGER NOT NULL, region TEXT NOT NULL, alias TEXT NOT NULL,
    product INTEGER NOT NULL, owner TEXT NOT NULL, creator INTEGER NOT NULL, description TEXT NOT NULL,
    usage INTEGER NOT NULL, suite INTEGER NOT NULL, origin INTEGER NOT NULL, state INTEGER NOT NULL,
    create_time INTEGER NOT NULL, deletion_date INTEGER NOT NULL, valid_to INTEGER NOT NULL,
    rotate INTEGER NOT NULL, rotate_days INTEGER NOT NULL, rotate_last INTEGER NOT NULL,
    rotate_next INTEGER NOT NULL, rotate_demand INTEGER NOT NULL,
    current_version INTEGER NOT NULL, hsm_cluster TEXT NOT NULL, bindings INTEGER NOT NULL,
    material_digest BLOB, revision INTEGER NOT NULL,
    UNIQUE (account, region, alias)
) STRICT;
CREATE INDEX cmk_list ON cmk
    (account, region, product, create_time DESC, key_id, state, usage, origin, hsm_cluster, alias);
CREATE INDEX cmk_list_up ON cmk
    (account, region, product, create_time, key_id, state, usage, origin, hsm_cluster, alias);
CREATE INDEX cmk_due_deletion ON cmk (deletion_date) WHERE state = 3;
CREATE INDEX cmk_due_expiry ON cmk (valid_to) WHERE valid_to > 0 AND current_version > 0;
CREATE INDEX cmk_due_rotation ON cmk (rotate_next) WHERE rotate = 1 AND state = 1;

CREATE TABLE key_version (
    cmk INTEGER NOT NULL REFERENCES cmk ON DELETE CASCADE, version INTEGER NOT NULL,
    create_time INTEGER NOT NULL, domain_version INTEGER NOT NULL, wrapped BLOB NOT NULL,
    PRIMARY KEY (cmk, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE tag (
    cmk INTEGER NOT NULL REFERENCES cmk ON DELETE CASCADE, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (cmk, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE binding (
    cmk INTEGER NOT NULL REFERENCES cmk ON DELETE CASCADE, product_id TEXT NOT NULL,
    resource_id TEXT NOT NULL, create_time INTEGER NOT NULL,
    PRIMARY KEY (cmk, product_id, resource_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE import_param (
    cmk INTEGER PRIMARY KEY REFERENCES cmk ON DELETE CASCADE, token_digest BLOB NOT NULL,
    algorithm TEXT NOT NULL, wrapped_private BLOB NOT NULL, domain_version INTEGER NOT NULL,
    expires INTEGER NOT NULL, failures INTEGER NOT NULL
) STRICT;
CREATE INDEX import_param_expires ON import_param (expires);

-- AUTOINCREMENT: an id that is done with must never come back.
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL) STRICT;
";

/// Version 2: hosted data keys.
///
/// The wrapped data key has a table of its own, so that lists read and changes write small rows. The two list indexes
/// are as those of `cmk`; `data_key_cmk` is for the destruction of a CMK, which takes its data keys with it.
const DATA_KEYS: &str = "
CREATE TABLE data_key (
    id INTEGER PRIMARY KEY,
    data_key_id BLOB NOT NULL UNIQUE CHECK (length(data_key_id) = 16),
    cmk INTEGER NOT NULL REFERENCES cmk ON DELETE CASCADE,
    account INTEGER NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
    product INTEGER NOT NULL, owner TEXT NOT NULL, creator INTEGER NOT NULL, description TEXT NOT NULL,
    bytes INTEGER NOT NULL, origin INTEGER NOT NULL, state INTEGER NOT NULL,
    create_time INTEGER NOT NULL, deletion_date INTEGER NOT NULL, hsm_cluster TEXT NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (account, region, name)
) STRICT;
CREATE INDEX data_key_cmk ON data_key (cmk);
CREATE INDEX data_key_list ON data_key
    (account, region, product, create_time DESC, data_key_id, state, origin, cmk, bytes, hsm_cluster, name);
CREATE INDEX data_key_list_up ON data_key
    (account, region, product, create_time, data_key_id, state, origin, cmk, bytes, hsm_cluster, name);
CREATE INDEX data_key_due_deletion ON data_key (deletion_date) WHERE state = 3;

CREATE TABLE data_key_material (
    data_key INTEGER PRIMARY KEY REFERENCES data_key ON DELETE CASCADE,
    domain_version INTEGER NOT NULL, wrapped BLOB NOT NULL
) STRICT;

CREATE TABLE data_key_tag (
    data_key INTEGER NOT NULL REFERENCES data_key ON DELETE CASCADE, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (data_key, key)
) STRICT, WITHOUT ROWID;
";

/// Version 3: tags by account.
///
/// Each tag repeats the account and the id of what it is on: that is what they are looked for by, over all regions.
/// `*_pair` answers which keys, values and owners there are without reading the tags of each, `*_owner` what is tagged.
const TAGS: &str = "
ALTER TABLE tag ADD COLUMN account INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tag ADD COLUMN owner BLOB NOT NULL DEFAULT x'';
UPDATE tag SET (account, owner) = (SELECT account, key_id FROM cmk WHERE id = tag.cmk);
CREATE INDEX tag_pair ON tag (account, key, value, owner);
CREATE INDEX tag_owner ON tag (account, owner);

ALTER TABLE data_key_tag ADD COLUMN account INTEGER NOT NULL DEFAULT 0;
ALTER TABLE data_key_tag ADD COLUMN owner BLOB NOT NULL DEFAULT x'';
UPDATE data_key_tag SET (account, owner) = (SELECT account, data_key_id FROM data_key WHERE id = data_key_tag.data_key);
CREATE INDEX data_key_tag_pair ON data_key_tag (account, key, value, owner);
CREATE INDEX data_key_tag_owner ON data_key_tag (account, owner);
";

/// Version 4: access keys of cloud products, indexes of what counts against a quota (what waits for its deletion would
/// have to be skipped row by row in the others), consent to bindings (those from before are none), and a count of changes to
/// access keys.
const PRODUCTS: &str = "
ALTER TABLE access_key ADD COLUMN product TEXT;
ALTER TABLE binding ADD COLUMN consent INTEGER NOT NULL DEFAULT 0;
CREATE INDEX cmk_counted ON cmk (account, region) WHERE product = 0 AND state <> 3;
CREATE INDEX data_key_counted ON data_key (account, region) WHERE product = 0 AND state <> 3;
CREATE INDEX access_key_account ON access_key (account);
CREATE TABLE access_key_epoch (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL) STRICT;
INSERT INTO access_key_epoch (id, epoch) VALUES (1, 0);
";

/// Version 5: the principals of accounts and their policies.
///
/// All that an account has lies together, since it is read whole. Numbers are unique in the store besides; the tables
/// refer to each other by account and number, so that nothing can belong to two accounts. A policy that is attached may
/// be a preset, which has no row. `identity` counts the changes of each account, access keys included, and orders them
/// over all accounts: it takes the place of the one count of version 4.
const IDENTITIES: &str = "
CREATE TABLE identity (
    account INTEGER PRIMARY KEY REFERENCES account, revision INTEGER NOT NULL, moment INTEGER NOT NULL UNIQUE
) STRICT;
INSERT INTO identity (account, revision, moment) SELECT account, 1, row_number() OVER (ORDER BY account) FROM account;

CREATE TABLE sub_user (
    account INTEGER NOT NULL REFERENCES account, uin INTEGER NOT NULL UNIQUE, name TEXT NOT NULL,
    remark TEXT NOT NULL, console_login INTEGER NOT NULL, phone TEXT NOT NULL, country_code TEXT NOT NULL,
    email TEXT NOT NULL, create_time INTEGER NOT NULL,
    PRIMARY KEY (account, uin), UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE user_group (
    account INTEGER NOT NULL REFERENCES account, id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL,
    remark TEXT NOT NULL, create_time INTEGER NOT NULL,
    PRIMARY KEY (account, id), UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE group_member (
    account INTEGER NOT NULL, user_group INTEGER NOT NULL, uin INTEGER NOT NULL, create_time INTEGER NOT NULL,
    PRIMARY KEY (account, user_group, uin),
    FOREIGN KEY (account, user_group) REFERENCES user_group (account, id) ON DELETE CASCADE,
    FOREIGN KEY (account, uin) REFERENCES sub_user (account, uin) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX group_member_uin ON group_member (account, uin);

CREATE TABLE policy (
    account INTEGER NOT NULL REFERENCES account, id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL,
    description TEXT NOT NULL, document TEXT NOT NULL, create_time INTEGER NOT NULL, update_time INTEGER NOT NULL,
    PRIMARY KEY (account, id), UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE policy_attachment (
    account INTEGER NOT NULL REFERENCES account, policy INTEGER NOT NULL, kind INTEGER NOT NULL,
    target INTEGER NOT NULL, create_time INTEGER NOT NULL,
    PRIMARY KEY (account, policy, kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX policy_attachment_target ON policy_attachment (account, kind, target);

CREATE TABLE role (
    account INTEGER NOT NULL REFERENCES account, id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL,
    description TEXT NOT NULL, document TEXT NOT NULL, console_login INTEGER NOT NULL,
    session_duration INTEGER NOT NULL, create_time INTEGER NOT NULL, update_time INTEGER NOT NULL,
    PRIMARY KEY (account, id), UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE role_tag (
    account INTEGER NOT NULL, role INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (account, role, key),
    FOREIGN KEY (account, role) REFERENCES role (account, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

ALTER TABLE access_key ADD COLUMN description TEXT NOT NULL DEFAULT '';
DROP TABLE access_key_epoch;
";

/// Version 6: when each key was last used. A table of its own: it is written apart from the row's revision, which it must
/// leave as it is, and a key that was never used has no row here.
const KEY_USE: &str = "
CREATE TABLE key_use (cmk INTEGER PRIMARY KEY REFERENCES cmk ON DELETE CASCADE, last_used INTEGER NOT NULL) STRICT;
";
