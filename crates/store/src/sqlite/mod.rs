//! The embedded store: one SQLite file in write-ahead-log mode, one thread that writes, a few that read. See
//! `docs/adr/0001-embedded-store.md`.

mod changes;
mod copy;
mod data_keys;
mod filter;
mod identities;
mod inspect;
mod keys;
#[cfg(any(test, feature = "conformance"))]
mod older;
mod reader;
mod rows;
mod schema;
mod search;
mod system;
mod tags;
#[cfg(test)]
mod tests;
mod writer;

pub use inspect::{Inspection, inspect};
#[cfg(any(test, feature = "conformance"))]
pub use older::downgrade;

use crate::error::{Result, StoreError};
use crate::model::*;
use crate::store::Store;
use async_trait::async_trait;
use jadeseal_types::{AccountId, Alias, DataKeyId, DataKeyState, KeyId, KeyState, SecretId};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Sizes of the embedded store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that read, each with a connection; at least 1.
    pub readers: usize,
    /// Calls that may wait for the writer, and again for the readers; at least 1.
    pub queue: usize,
    /// Most calls in one transaction; at least 1.
    pub batch: usize,
    /// How long to wait for another process that is writing.
    pub busy_timeout: Duration,
    /// Whether tables of an older version are brought forward. Not while a program that knows them alone may be at work: it
    /// would go on without what the newer ones keep besides.
    pub migrate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { readers: 2, queue: 4096, batch: 256, busy_timeout: Duration::from_secs(10), migrate: true }
    }
}

/// The embedded store. Dropping it finishes what waits in the background; [`Store::close`] waits for that.
pub struct SqliteStore {
    // Behind locks so that `close` can take them while calls go on.
    writes: Mutex<Option<SyncSender<Box<dyn writer::Job>>>>,
    reads: Mutex<Option<SyncSender<reader::Job>>>,
    threads: Mutex<Threads>,
    path: PathBuf,
    busy: Duration,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the file, makes it (mode 0600) where it is missing, and starts the threads. Blocks on the disk.
    ///
    /// Several processes may have one file open. Refuses a file whose schema is newer than this program.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        let busy = options.busy_timeout;
        let conn = schema::open_writer(path, busy, options.migrate)?;
        let (writes, queue) = sync_channel(options.queue.max(1));
        let (reads, read_queue) = sync_channel(options.queue.max(1));
        let read_queue = Arc::new(Mutex::new(read_queue));
        let mut threads = Threads::default();
        for _ in 0..options.readers.max(1) {
            let conn = schema::open_reader(path, busy)?;
            let queue = read_queue.clone();
            threads.readers.push(spawn("store-read", move || reader::run(conn, queue))?);
        }
        let writer = writer::Writer { conn, path: path.to_owned(), busy, batch: options.batch.max(1) };
        threads.writer = Some(spawn("store-write", move || writer.run(queue))?);
        Ok(SqliteStore {
            writes: Mutex::new(Some(writes)),
            reads: Mutex::new(Some(reads)),
            threads: Mutex::new(threads),
            path: path.to_owned(),
            busy,
        })
    }

    /// Checks a closed file through and through: its pages, indexes and references. Reads all of it.
    pub fn check(path: &Path) -> Result<()> {
        copy::check(path)
    }

    /// Version of the tables in a file; none where there is no file or it is empty.
    pub fn version_of(path: &Path) -> Result<Option<u32>> {
        copy::version_of(path)
    }

    /// Newest version of the tables that this program knows, and the one that it writes.
    pub const VERSION: u32 = schema::VERSION;

    /// Before the tables of an older version are brought forward: copies the file beside itself, checks the copy, and
    /// keeps the last three such. None when nothing has to be brought forward. `now` is in Unix seconds.
    pub fn keep_before_migration(path: &Path, now: u64) -> Result<Option<PathBuf>> {
        copy::keep_before_migration(path, now)
    }

    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.write_call(false, work).await
    }

    /// As `write`; with `destroys` the log is emptied soon after, so that what was removed stays readable nowhere.
    async fn write_call<T, F>(&self, destroys: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (call, wait) = writer::Call::new(destroys, work);
        hand_over(&self.writes, Box::new(call))?;
        wait.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, wait) = oneshot::channel();
        let job = move |conn: &Connection| {
            // Nobody waits any more: a read has no other effect.
            if !reply.is_closed() {
                let _ = reply.send(work(conn));
            }
        };
        hand_over(&self.reads, Box::new(job))?;
        wait.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|e| StoreError::Unavailable(format!("no thread for the store: {e}")))
}

fn hand_over<J>(queue: &Mutex<Option<SyncSender<J>>>, job: J) -> Result<()> {
    let queue = queue.lock();
    let sender = queue.as_ref().ok_or_else(StoreError::closed)?;
    sender.try_send(job).map_err(|e| match e {
        TrySendError::Full(_) => StoreError::Unavailable("too many calls wait for the store".into()),
        TrySendError::Disconnected(_) => StoreError::closed(),
    })
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, scope: &Scope, commit: Commit) -> Result<Committed> {
        let scope = scope.clone();
        let destroys = commit.changes.iter().any(Change::destroys);
        self.write_call(destroys, move |c| changes::commit(c, &scope, &commit)).await
    }

    async fn key(&self, scope: &Scope, key_id: KeyId) -> Result<Option<Cmk>> {
        let scope = scope.clone();
        self.read(move |c| keys::key(c, &scope, key_id)).await
    }

    async fn keys(&self, scope: &Scope, key_ids: &[KeyId]) -> Result<Vec<Option<Cmk>>> {
        let (scope, key_ids) = (scope.clone(), key_ids.to_vec());
        self.read(move |c| keys::keys(c, &scope, &key_ids)).await
    }

    async fn versions(&self, scope: &Scope, key_id: KeyId) -> Result<Vec<KeyVersion>> {
        let scope = scope.clone();
        self.read(move |c| keys::versions(c, &scope, key_id)).await
    }

    async fn version(&self, scope: &Scope, key_id: KeyId, version: u32) -> Result<Option<KeyVersion>> {
        let scope = scope.clone();
        self.read(move |c| keys::version(c, &scope, key_id, version)).await
    }

    async fn list(&self, scopes: &[Scope], query: KeyQuery) -> Result<Page<Cmk>> {
        let scopes = scopes.to_vec();
        self.read(move |c| keys::list(c, &scopes, &query)).await
    }

    async fn list_ids(&self, scope: &Scope, query: KeyQuery) -> Result<Page<KeyId>> {
        let scope = scope.clone();
        self.read(move |c| keys::list_ids(c, &scope, &query)).await
    }

    async fn import_params(&self, scope: &Scope, key_id: KeyId) -> Result<Option<ImportParams>> {
        let scope = scope.clone();
        self.read(move |c| keys::import_params(c, &scope, key_id)).await
    }

    async fn key_by_alias(&self, scope: &Scope, alias: &Alias) -> Result<Option<Cmk>> {
        let (scope, alias) = (scope.clone(), alias.clone());
        self.read(move |c| keys::key_by_alias(c, &scope, &alias)).await
    }

    async fn bindings(&self, scope: &Scope, key_id: KeyId, limit: u64) -> Result<Vec<Binding>> {
        let scope = scope.clone();
        self.read(move |c| keys::bindings(c, &scope, key_id, limit)).await
    }

    async fn is_bound(&self, scope: &Scope, key_id: KeyId, product_id: &str) -> Result<bool> {
        let (scope, product_id) = (scope.clone(), product_id.to_owned());
        self.read(move |c| keys::is_bound(c, &scope, key_id, &product_id)).await
    }

    async fn tags(&self, scope: &Scope, key_id: KeyId) -> Result<Vec<Tag>> {
        let scope = scope.clone();
        self.read(move |c| keys::tags(c, &scope, key_id)).await
    }

    async fn count_own(&self, scope: &Scope) -> Result<u64> {
        let scope = scope.clone();
        self.read(move |c| keys::count_own(c, &scope)).await
    }

    async fn last_used(&self, scope: &Scope, key_id: KeyId) -> Result<u64> {
        let scope = scope.clone();
        self.read(move |c| keys::last_used(c, &scope, key_id)).await
    }

    async fn data_key(&self, scope: &Scope, id: DataKeyId) -> Result<Option<DataKey>> {
        let scope = scope.clone();
        self.read(move |c| data_keys::data_key(c, &scope, id)).await
    }

    async fn data_keys(&self, scope: &Scope, ids: &[DataKeyId]) -> Result<Vec<Option<DataKey>>> {
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read(move |c| data_keys::data_keys(c, &scope, &ids)).await
    }

    async fn data_key_material(&self, scope: &Scope, id: DataKeyId) -> Result<Option<DataKeyMaterial>> {
        let scope = scope.clone();
        self.read(move |c| data_keys::material(c, &scope, id)).await
    }

    async fn data_key_tags(&self, scope: &Scope, id: DataKeyId) -> Result<Vec<Tag>> {
        let scope = scope.clone();
        self.read(move |c| data_keys::tags(c, &scope, id)).await
    }

    async fn list_data_keys(&self, scopes: &[Scope], query: DataKeyQuery) -> Result<Page<DataKey>> {
        let scopes = scopes.to_vec();
        self.read(move |c| data_keys::list(c, &scopes, &query)).await
    }

    async fn list_data_key_ids(&self, scope: &Scope, query: DataKeyQuery) -> Result<Page<DataKeyId>> {
        let scope = scope.clone();
        self.read(move |c| data_keys::list_ids(c, &scope, &query)).await
    }

    async fn count_data_keys(&self, scope: &Scope) -> Result<u64> {
        let scope = scope.clone();
        self.read(move |c| data_keys::count_own(c, &scope)).await
    }

    async fn count_data_keys_of(&self, scope: &Scope, cmk: KeyId, at_most: u64) -> Result<u64> {
        let scope = scope.clone();
        self.read(move |c| data_keys::count_of(c, &scope, cmk, at_most)).await
    }

    async fn data_keys_of(&self, scope: &Scope, cmk: KeyId, limit: u64) -> Result<Vec<DataKey>> {
        let scope = scope.clone();
        self.read(move |c| data_keys::of(c, &scope, cmk, limit)).await
    }

    async fn taggables(&self, scope: &Scope, ids: &[KeyId]) -> Result<Vec<Option<Taggable>>> {
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read(move |c| tags::taggables(c, &scope, &ids)).await
    }

    async fn tagged(
        &self,
        scope: &Scope,
        filters: &[(String, Vec<String>)],
        after: Option<KeyId>,
        limit: u64,
    ) -> Result<Vec<Taggable>> {
        let (scope, filters) = (scope.clone(), filters.to_vec());
        self.read(move |c| tags::tagged(c, &scope, &filters, after, limit)).await
    }

    async fn tag_keys(&self, scope: &Scope, after: &str, limit: u64) -> Result<Vec<String>> {
        let (scope, after) = (scope.clone(), after.to_owned());
        self.read(move |c| tags::tag_keys(c, &scope, after, limit)).await
    }

    async fn tag_values(&self, scope: &Scope, keys: &[String], after: Option<Tag>, limit: u64) -> Result<Vec<Tag>> {
        let (scope, keys) = (scope.clone(), keys.to_vec());
        self.read(move |c| tags::tag_values(c, &scope, &keys, after, limit)).await
    }

    async fn due_data_key_deletions(&self, now: u64, limit: u64) -> Result<Vec<DataKey>> {
        self.read(move |c| data_keys::due_deletions(c, now, limit)).await
    }

    async fn due_deletions(&self, now: u64, limit: u64) -> Result<Vec<Cmk>> {
        self.read(move |c| keys::due_deletions(c, now, limit)).await
    }

    async fn due_expiries(&self, now: u64, limit: u64) -> Result<Vec<Cmk>> {
        self.read(move |c| keys::due_expiries(c, now, limit)).await
    }

    async fn due_rotations(&self, now: u64, limit: u64) -> Result<Vec<Cmk>> {
        self.read(move |c| keys::due_rotations(c, now, limit)).await
    }

    async fn drop_expired_imports(&self, now: u64, limit: u64) -> Result<u64> {
        // There is nothing to drop nearly always: that takes no turn of the writer.
        if !self.read(move |c| system::expired_imports(c, now)).await? {
            return Ok(0);
        }
        self.write_call(true, move |c| system::drop_expired_imports(c, now, limit)).await
    }

    async fn all_keys_meta(&self, after: Option<KeyId>, limit: u64) -> Result<Vec<Cmk>> {
        self.read(move |c| keys::all_keys_meta(c, after, limit)).await
    }

    async fn touch_keys(&self, used: &[(KeyId, u64)]) -> Result<()> {
        let used = used.to_vec();
        self.write(move |c| keys::touch(c, &used)).await
    }

    async fn overview(&self, key_id: KeyId) -> Result<Option<KeyOverview>> {
        self.read(move |c| keys::overview(c, key_id)).await
    }

    async fn overviews(&self, after: Option<KeyId>, limit: u64) -> Result<Vec<KeyOverview>> {
        self.read(move |c| keys::overviews(c, after, limit)).await
    }

    async fn counts_by_state(&self) -> Result<Vec<(KeyState, u64)>> {
        self.read(keys::counts_by_state).await
    }

    async fn data_key_counts_by_state(&self) -> Result<Vec<(DataKeyState, u64)>> {
        self.read(data_keys::counts_by_state).await
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>> {
        self.read(system::accounts).await
    }

    async fn account(&self, account: AccountId) -> Result<Option<AccountRow>> {
        self.read(move |c| system::account(c, account)).await
    }

    async fn create_account(
        &self,
        account: AccountRow,
        domain: DomainRow,
        access_keys: Vec<AccessKeyRow>,
        record: Option<Vec<u8>>,
    ) -> Result<()> {
        self.write(move |c| {
            system::create_account(c, &account, &domain, &access_keys)?;
            changes::put_record(c, record.as_deref())
        })
        .await
    }

    async fn access_key(&self, secret_id: &SecretId) -> Result<Option<AccessKeyRow>> {
        let secret_id = secret_id.clone();
        self.read(move |c| system::access_key(c, &secret_id)).await
    }

    async fn access_keys(&self, account: AccountId) -> Result<Vec<AccessKeyRow>> {
        self.read(move |c| system::access_keys(c, account)).await
    }

    async fn identities(&self, account: AccountId) -> Result<Option<Identities>> {
        self.read(move |c| identities::identities(c, account)).await
    }

    async fn identities_revision(&self, account: AccountId) -> Result<Option<u64>> {
        self.read(move |c| identities::revision(c, account)).await
    }

    async fn identities_changed(&self, since: u64) -> Result<(u64, Vec<AccountId>)> {
        self.read(move |c| identities::changed(c, since)).await
    }

    async fn put_access_key(&self, row: AccessKeyRow, record: Option<Vec<u8>>) -> Result<()> {
        self.write(move |c| {
            system::put_access_key(c, &row)?;
            changes::put_record(c, record.as_deref())
        })
        .await
    }

    async fn touch_access_keys(&self, used: &[(SecretId, u64)]) -> Result<()> {
        let used = used.to_vec();
        self.write(move |c| system::touch_access_keys(c, &used)).await
    }

    async fn domains(&self, account: AccountId) -> Result<Vec<DomainRow>> {
        self.read(move |c| system::domains(c, account)).await
    }

    async fn add_domain(&self, row: DomainRow) -> Result<()> {
        self.write(move |c| system::add_domain(c, &row)).await
    }

    async fn domains_under_root(&self, root_version: u32, limit: u64) -> Result<Vec<DomainRow>> {
        self.read(move |c| system::domains_under_root(c, root_version, limit)).await
    }

    async fn count_domains_under(&self, root_version: u32) -> Result<u64> {
        self.read(move |c| system::count_domains_under(c, root_version)).await
    }

    async fn rewrap_domain(&self, row: DomainRow) -> Result<()> {
        self.write(move |c| system::rewrap_domain(c, &row)).await
    }

    async fn root_rows(&self) -> Result<Vec<RootRow>> {
        self.read(system::root_rows).await
    }

    async fn add_root(&self, rows: Vec<RootRow>, beside: &[String], record: Option<Vec<u8>>) -> Result<()> {
        let beside = beside.to_vec();
        self.write(move |c| {
            system::add_root(c, &rows, &beside)?;
            changes::put_record(c, record.as_deref())
        })
        .await
    }

    async fn add_root_slot(&self, rows: Vec<RootRow>, record: Option<Vec<u8>>) -> Result<()> {
        self.write(move |c| {
            system::add_root_slot(c, &rows)?;
            changes::put_record(c, record.as_deref())
        })
        .await
    }

    async fn drop_root_slot(&self, slot: &str, record: Option<Vec<u8>>) -> Result<()> {
        let slot = slot.to_owned();
        self.write_call(true, move |c| {
            system::drop_root_slot(c, &slot)?;
            changes::put_record(c, record.as_deref())
        })
        .await
    }

    async fn replace_root_slots(&self, version: u32, rows: Vec<RootRow>) -> Result<()> {
        self.write_call(true, move |c| system::replace_root_slots(c, version, &rows)).await
    }

    async fn drop_root(&self, version: u32, record: Option<Vec<u8>>) -> Result<()> {
        self.write_call(true, move |c| {
            system::drop_root(c, version)?;
            changes::put_record(c, record.as_deref())
        })
        .await
    }

    async fn add_outbox(&self, record: Vec<u8>) -> Result<u64> {
        self.write(move |c| changes::put_outbox(c, &record)).await
    }

    async fn outbox_pending(&self, after: u64, limit: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        self.read(move |c| system::outbox_pending(c, after, limit)).await
    }

    async fn outbox_done(&self, ids: &[u64]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |c| system::outbox_done(c, &ids)).await
    }

    async fn meta_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let key = key.to_owned();
        self.read(move |c| system::meta_get(c, &key)).await
    }

    async fn meta_put(&self, key: &str, value: &[u8]) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_vec());
        self.write(move |c| system::meta_put(c, &key, &value)).await
    }

    async fn snapshot(&self, to: &Path) -> Result<()> {
        let (from, to, busy) = (self.path.clone(), to.to_owned(), self.busy);
        // A connection of its own: the readers have the calls of clients to answer.
        let copied = tokio::task::spawn_blocking(move || copy::copy(&from, &to, busy)).await;
        copied.map_err(|e| StoreError::Unavailable(format!("the copy ended badly: {e}")))?
    }

    async fn schema_version(&self) -> Result<u32> {
        self.read(system::schema_version).await
    }

    async fn ping(&self) -> Result<()> {
        // Not through the writer: while another process writes, calls wait, but the store is well.
        if self.threads.lock().writer.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(StoreError::closed());
        }
        self.schema_version().await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.reads.lock().take();
        self.writes.lock().take();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            // The readers first: the writer empties the log into the file, which an open read would prevent.
            let readers = threads.readers.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
            readers == 0 && threads.writer.is_none_or(|w| w.join().is_ok())
        })
        .await;
        match joined {
            Ok(true) => Ok(()),
            _ => Err(StoreError::Unavailable("a thread of the store had panicked".into())),
        }
    }
}
