//! RSA key pairs made ahead of time, because making one takes a tenth of a second.
//!
//! A pair is sealed under the root key and stored before it is offered, so a restart loses none. Taking one
//! removes its row in the very transaction that puts the private key to use, so none is ever used twice, by no
//! other node either. A pair that was taken for a call that failed is thrown away with the memory it is in; its row
//! is offered again after the next start, for nobody has seen anything of it.

use crate::{
    Service,
    cx::{CommitError, Cx},
    vault::Vault,
    workers::lower_priority,
};
use jadeseal_crypto::PrivateKey;
use jadeseal_store::{Change, PooledKey, Store, StoreError};
use jadeseal_types::{ApiError, KeyId, KeyUsage, SecretBytes, error::Result};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// Nice value of the thread that fills the pool: it must not be felt.
const NICENESS: i32 = 19;
/// How long to wait after a failure before trying again.
const RETRY: Duration = Duration::from_secs(1);

/// The pool of one process.
pub struct RsaPool {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    waiting: Mutex<VecDeque<PooledKey>>,
    target: usize,
    taken: Notify,
}

/// A key pair of the pool, or a fresh one.
struct Taken {
    /// The private key as PKCS#8.
    material: SecretBytes,
    /// The change that removes the pair from the pool, for the commit that uses it.
    change: Option<Change>,
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

    /// A pair of the pool, none when it is empty. No two calls get the same.
    async fn take(&self) -> Option<(KeyId, SecretBytes)> {
        loop {
            let pair = self.waiting.lock().pop_front();
            self.taken.notify_one();
            let pair = pair?;
            match self.vault.open_pooled(&pair).await {
                Ok(material) => return Some((pair.id, material)),
                Err(e) => {
                    // Its root key has been replaced, say. Nothing depends on it.
                    let cause = e.internal_cause().unwrap_or_default();
                    tracing::warn!(cause, "an RSA key made ahead of time does not open and is thrown away");
                    if let Err(e) = self.store.drop_pooled(&[pair.id]).await {
                        tracing::warn!(error = %e, "it stays in the store until the next start");
                    }
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
                let _ = reply.send(PrivateKey::generate(KeyUsage::SignRsa2048).and_then(|key| key.material()));
            })
            .map_err(ApiError::internal)?;
        let material = made.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        let pair = self.vault.seal_pooled(id, &material, now).await?;
        match self.store.add_pooled(pair.clone()).await {
            Ok(()) => self.waiting.lock().push_back(pair),
            // The root key was replaced in between.
            Err(StoreError::Conflict) => self.vault.refresh().await?,
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
    async fn rsa_pair(&self) -> Result<Taken> {
        if let Some((id, material)) = self.svc.pool.take().await {
            return Ok(Taken { material, change: Some(Change::TakePooled(id)) });
        }
        let made = self.svc.workers.run_lengthy(|| PrivateKey::generate(KeyUsage::SignRsa2048)?.material());
        Ok(Taken { material: made.await?.map_err(ApiError::internal)?, change: None })
    }

    /// Takes an RSA key pair, lets `use_it` make changes and an answer of it, and commits both together. Another
    /// node may have taken the same pair first; then the next one is tried.
    pub(crate) async fn commit_with_rsa_pair<T: Send>(
        &self,
        mut use_it: impl FnMut(&SecretBytes) -> Result<(Vec<Change>, T)> + Send,
    ) -> Result<T> {
        loop {
            let taken = self.rsa_pair().await?;
            let last = taken.change.is_none();
            let (mut changes, answer) = use_it(&taken.material)?;
            changes.splice(0..0, taken.change);
            match self.commit(changes).await {
                Ok(_) => return Ok(answer),
                Err(CommitError::Conflict) if !last => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}
