//! RSA key pairs made ahead of time, because making one takes a tenth of a second.
//!
//! A pair is sealed under the root key and stored before it is offered, so a restart loses none. Taking one
//! removes its row in the very transaction that puts the private key to use, so none is ever used twice, by no
//! other node either. Where that commit does not happen the pair goes back: nobody has seen anything of it.

use crate::{
    Service,
    cx::{CommitError, Cx},
    vault::Vault,
    workers::{Workers, lower_priority},
};
use jadeseal_crypto::{CryptoError, ImportKey};
use jadeseal_store::{Change, PooledKey, Store, StoreError};
use jadeseal_types::{ApiError, KeyId, SecretBytes, error::Result};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// Nice value of the thread that fills the pool: it must not be felt.
const NICENESS: i32 = 19;
/// How long to wait after a failure before trying again.
const RETRY: Duration = Duration::from_secs(1);

/// How many pairs one call tries, where other nodes take them first.
const MAX_TRIES: usize = 8;

/// The pool of one process.
pub(crate) struct RsaPool {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    waiting: Mutex<VecDeque<PooledKey>>,
    target: usize,
    taken: Notify,
}

/// A key pair on its way to a use. Dropped before that, it goes back to the pool.
struct Pair<'a> {
    pool: &'a RsaPool,
    /// None for a pair that was made on demand.
    row: Option<PooledKey>,
    private: RsaPair,
}

/// An RSA-2048 key pair.
pub(crate) struct RsaPair {
    /// The private key as PKCS#8.
    pub pkcs8: SecretBytes,
    /// The public key as SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
}

impl RsaPair {
    /// Reads PKCS#8 and checks it, which takes about as long as a signature.
    fn read(pkcs8: SecretBytes) -> Result<Self, CryptoError> {
        let spki = ImportKey::from_pkcs8(pkcs8.expose())?.public_spki();
        Ok(RsaPair { pkcs8, spki })
    }

    fn make() -> Result<Self, CryptoError> {
        let key = ImportKey::generate()?;
        Ok(RsaPair { pkcs8: key.to_pkcs8()?, spki: key.public_spki() })
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        if let Some(row) = self.row.take() {
            // If its row is gone, the next commit that takes it fails and tries another.
            self.pool.waiting.lock().push_front(row);
        }
    }
}

impl RsaPool {
    /// A pool of `target` pairs, beginning with what an earlier run has left. 0 makes none ahead.
    pub async fn open(store: Arc<dyn Store>, vault: Arc<Vault>, target: usize) -> Result<Self> {
        let left = store.pooled().await.map_err(ApiError::internal)?;
        Ok(RsaPool { store, vault, waiting: Mutex::new(left.into()), target, taken: Notify::new() })
    }

    /// Pairs that are ready.
    pub fn ready(&self) -> usize {
        self.waiting.lock().len()
    }

    /// A pair of the pool, none when it is empty. No two calls hold the same.
    async fn take(&self, workers: &Workers) -> Result<Option<Pair<'_>>> {
        loop {
            let row = self.waiting.lock().pop_front();
            self.taken.notify_one();
            let Some(row) = row else { return Ok(None) };
            let read = match self.vault.open_pooled(&row).await {
                Ok(pkcs8) => workers.run(move || RsaPair::read(pkcs8).map_err(ApiError::internal)).await,
                Err(e) => Ok(Err(e)),
            };
            match read {
                Ok(Ok(private)) => return Ok(Some(Pair { pool: self, row: Some(row), private })),
                Ok(Err(e)) => {
                    // Its root key has been replaced, say. Nothing depends on it.
                    let cause = e.internal_cause().unwrap_or_default();
                    tracing::warn!(cause, "an RSA key made ahead of time does not open and is thrown away");
                    self.store.drop_pooled(&[row.id]).await.map_err(ApiError::internal)?;
                }
                Err(not_done) => {
                    self.waiting.lock().push_front(row);
                    return Err(not_done.into());
                }
            }
        }
    }

    /// Makes one pair and stores it, then offers it.
    async fn add_one(&self, id: KeyId, now: u64) -> Result<()> {
        let (reply, made) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("rsa-pool".into())
            .spawn(move || {
                lower_priority(NICENESS);
                // The process may be stopping; the pair is lost then, and nobody has seen it.
                let _ = reply.send(RsaPair::make().map(|pair| pair.pkcs8));
            })
            .map_err(ApiError::internal)?;
        let material = made.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        let pair = self.vault.seal_pooled(id, &material, now).await?;
        match self.store.add_pooled(pair.clone()).await {
            Ok(()) => self.waiting.lock().push_back(pair),
            Err(StoreError::Conflict) => {
                self.vault.refresh().await?;
                return Err(ApiError::internal("the root key was replaced in between"));
            }
            Err(e) => return Err(ApiError::internal(e)),
        }
        Ok(())
    }
}

/// Keeps the pool full until `stop` turns true. It begins after `delay`, or as soon as a pair is asked for: a
/// start has better things to do, and many a process ends before anybody wants an RSA key.
pub async fn fill(svc: Arc<Service>, delay: Duration, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = svc.pool.taken.notified() => {}
        changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
    }
    loop {
        let pool = &svc.pool;
        let step = async {
            if pool.ready() >= pool.target {
                pool.taken.notified().await;
                return;
            }
            let done = match svc.new_key_id() {
                Ok(id) => pool.add_one(id, svc.clock.now()).await,
                Err(e) => Err(e),
            };
            if let Err(e) = done {
                svc.metrics.job("rsa_pool", "failed", 1);
                tracing::error!(cause = e.internal_cause().unwrap_or_default(), "filling the pool of RSA keys failed");
                tokio::time::sleep(RETRY).await;
            } else {
                svc.metrics.job("rsa_pool", "done", 1);
            }
        };
        tokio::select! {
            () = step => {}
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
        }
    }
}

impl Cx<'_> {
    /// An RSA key pair: of the pool, or made now when that is empty.
    async fn rsa_pair(&self) -> Result<Pair<'_>> {
        let pool = &self.svc.pool;
        if let Some(pair) = pool.take(&self.svc.workers).await? {
            return Ok(pair);
        }
        let private = self.svc.makers.run(RsaPair::make).await?.map_err(ApiError::internal)?;
        Ok(Pair { pool, row: None, private })
    }

    /// Takes an RSA key pair, lets `use_it` make changes and an answer of it, and commits both together. Another
    /// node may have taken the same pair first; then the next one is tried.
    pub(crate) async fn commit_with_rsa_pair<T: Send>(
        &self,
        mut use_it: impl FnMut(&RsaPair) -> Result<(Vec<Change>, T)> + Send,
    ) -> Result<T> {
        for _ in 0..MAX_TRIES {
            let mut pair = self.rsa_pair().await?;
            let (mut changes, answer) = use_it(&pair.private)?;
            let Some(row) = &pair.row else {
                self.commit(changes).await?;
                return Ok(answer);
            };
            changes.insert(0, Change::TakePooled(row.id));
            match self.commit(changes).await {
                Ok(_) => {
                    pair.row = None;
                    return Ok(answer);
                }
                // Gone for good: not to be offered again.
                Err(CommitError::PooledGone) => pair.row = None,
                Err(e) => return Err(e.into()),
            }
        }
        Err(ApiError::internal("other nodes took every RSA key first"))
    }
}
