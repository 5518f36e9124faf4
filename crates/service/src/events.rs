//! The audit log as the accounts see it: each its own records, and what administrators of its organisation did for it.
//!
//! The account of a query is that of an authenticated [`Caller`], and there is no other way to ask, so code that would show
//! one tenant the records of another does not compile.

use jadeseal_audit::{
    Facts, Log,
    index::{Condition, Found, Index, IndexError, Query},
};
use jadeseal_auth::Caller;
use jadeseal_types::{AccountId, ApiError, ErrorCode, error::Result};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Queries that may run at once. They read files, beside a service that has better to do.
const AT_ONCE: usize = 4;
/// Queries of one account that may run at once, so that there is always a turn for others.
const AT_ONCE_OF_ACCOUNT: usize = 2;
/// Queries of one account that may run or wait.
const OF_ACCOUNT: usize = 8;
/// Longest time that a query waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);
/// Records that no query finds are told of at most so often.
const TELL: Duration = Duration::from_secs(10);

/// What is wanted of the caller's records.
pub(crate) struct Wanted {
    /// First second, Unix time.
    pub from: u64,
    /// Last second.
    pub to: u64,
    /// Of each group one holds.
    pub all: Vec<Vec<Condition>>,
    /// None of these holds.
    pub none: Vec<Condition>,
    /// Index below this one.
    pub before: Option<u64>,
    /// Most records.
    pub limit: usize,
}

/// A page of records, the newest first.
pub(crate) struct Seen {
    records: Vec<Found>,
    account: String,
    /// Where the next page begins; none when this is the last one.
    pub next: Option<u64>,
}

impl Seen {
    /// Each record with its index, as the account may see it.
    pub fn records(&self) -> impl Iterator<Item = (u64, Facts<'_>)> {
        self.records.iter().filter_map(|found| {
            let facts = Facts::parse(&found.json)?;
            Some((found.index, facts.seen_by(&self.account)?))
        })
    }
}

/// Who may ask the index now, and who waits for it.
struct Turns {
    /// How long anybody waits.
    patience: Duration,
    all: Arc<Semaphore>,
    accounts: Arc<Mutex<HashMap<AccountId, Waiting>>>,
}

/// The queries of an account: how many run or wait, and their turns among each other.
struct Waiting {
    count: usize,
    turns: Arc<Semaphore>,
}

/// A place among the queries of an account.
struct Place {
    accounts: Arc<Mutex<HashMap<AccountId, Waiting>>>,
    account: AccountId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.accounts.lock();
        if let Some(waiting) = accounts.get_mut(&self.account) {
            waiting.count -= 1;
            if waiting.count == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

/// A turn; dropping it lets others have theirs. The members go in this order: whoever comes next finds the account there.
struct Turn {
    _common: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _place: Place,
}

impl Turns {
    fn new(patience: Duration) -> Self {
        Turns { patience, all: Arc::new(Semaphore::new(AT_ONCE)), accounts: Arc::default() }
    }

    /// Waits for a turn, for as long as anybody waits.
    async fn take(&self, account: AccountId) -> Result<Turn> {
        let (place, turns) = self.place(account).ok_or_else(too_many)?;
        let both = async {
            // First the account's own: what waits for it must not hold a turn that others could have.
            let own = turns.acquire_owned().await?;
            Ok::<_, AcquireError>((own, self.all.clone().acquire_owned().await?))
        };
        let both = tokio::time::timeout(self.patience, both).await;
        let (own, common) = both.map_err(|_| too_many())?.map_err(ApiError::internal)?;
        Ok(Turn { _common: common, _own: own, _place: place })
    }

    fn place(&self, account: AccountId) -> Option<(Place, Arc<Semaphore>)> {
        let mut accounts = self.accounts.lock();
        let waiting = accounts
            .entry(account)
            .or_insert_with(|| Waiting { count: 0, turns: Arc::new(Semaphore::new(AT_ONCE_OF_ACCOUNT)) });
        if waiting.count >= OF_ACCOUNT {
            return None;
        }
        waiting.count += 1;
        let turns = waiting.turns.clone();
        Some((Place { accounts: self.accounts.clone(), account }, turns))
    }
}

/// The index and who waits for it.
pub(crate) struct Events {
    index: Arc<Index>,
    turns: Turns,
    told: Seldom,
}

/// Says when it is time to tell something again.
#[derive(Default)]
struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= TELL);
        if due {
            *last = Some(now);
        }
        due
    }
}

impl Events {
    /// Of a log, whose index is kept up to date from now on.
    pub fn start(log: Arc<Log>) -> Result<Self> {
        let index = Arc::new(Index::new(log));
        index.start().map_err(ApiError::internal)?;
        Ok(Events { index, turns: Turns::new(PATIENCE), told: Seldom::default() })
    }

    /// Records of the caller's account.
    pub async fn of(&self, caller: &Caller, wanted: Wanted) -> Result<Seen> {
        let account = caller.account();
        let turn = self.turns.take(account).await?;
        let micros = |seconds: u64| seconds.saturating_mul(1_000_000);
        let query = Query {
            all: wanted.all,
            none: wanted.none,
            before: wanted.before,
            ..Query::of(account, micros(wanted.from), micros(wanted.to.saturating_add(1)), wanted.limit)
        };
        let index = self.index.clone();
        // It runs to its end even if the caller hangs up, and keeps its place as long.
        let answer = tokio::task::spawn_blocking(move || {
            let answer = index.query(&query);
            drop(turn);
            answer
        });
        let page = answer.await.map_err(ApiError::internal)?.map_err(refused)?;
        if page.unknown > 0 && self.told.is_due(Instant::now()) {
            tracing::warn!(records = page.unknown, "records of versions that this release does not know are not found");
        }
        Ok(Seen { records: page.records, account: account.to_string(), next: page.next })
    }

    /// Stops keeping the index up to date.
    pub fn close(&self) {
        self.index.stop();
    }
}

fn too_many() -> ApiError {
    ApiError::with_text(
        ErrorCode::RequestLimitExceeded,
        "Too many queries of the audit log are running; try again later.",
        "正在执行的审计查询过多，请稍后重试。",
    )
}

fn refused(error: IndexError) -> ApiError {
    match error {
        // The code that all official clients try again on.
        IndexError::Building(_) => ApiError::with_text(
            ErrorCode::RequestLimitExceeded,
            "The index of the audit log is being built; try again in a moment.",
            "审计日志索引正在构建，请稍后重试。",
        ),
        IndexError::TooLong => ApiError::with_text(
            ErrorCode::FailedOperation,
            "The query took too long; ask for a shorter time or with more conditions.",
            "查询耗时过长，请缩短时间范围或增加检索条件。",
        ),
        IndexError::Log(e) => ApiError::internal(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    const ONE: AccountId = AccountId(1);

    #[test]
    fn what_every_query_finds_is_told_seldom() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let due: Vec<bool> = [0, 1, 9, 10, 11, 20].map(|s| seldom.is_due(start + Duration::from_secs(s))).into();
        assert_eq!(due, [true, false, false, true, false, true]);
    }

    #[tokio::test]
    async fn an_account_leaves_turns_to_others() {
        let turns = Turns::new(Duration::from_millis(50));
        let mut running = vec![turns.take(ONE).await.ok().unwrap(), turns.take(ONE).await.ok().unwrap()];
        // Its third query waits although there are turns, and its ninth does not even do that.
        let mut waiting: Vec<_> = (2..OF_ACCOUNT).map(|_| Box::pin(turns.take(ONE))).collect();
        for query in &mut waiting {
            assert!(query.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let ninth = pin!(turns.take(ONE)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ninth, std::task::Poll::Ready(Err(_))));
        running.push(turns.take(AccountId(2)).await.ok().unwrap());
        running.push(turns.take(AccountId(2)).await.ok().unwrap());
        // All are taken; each waits as long as it may.
        assert_eq!(turns.take(AccountId(3)).await.err().unwrap().code(), ErrorCode::RequestLimitExceeded);
        for query in waiting {
            assert_eq!(query.await.err().unwrap().code(), ErrorCode::RequestLimitExceeded);
        }
        running.remove(0);
        running.push(turns.take(ONE).await.ok().unwrap());
        drop(running);
        assert!(turns.accounts.lock().is_empty());
    }
}
