//! One file per command.

pub mod account;
pub mod audit;
pub mod backup;
pub mod custody;
pub mod doctor;
pub mod init;
pub mod key;
pub mod policy;
pub mod product;
pub mod quickstart;
pub mod rekey;
pub mod restore;
pub mod serve;
pub mod version;

use anyhow::{Context as _, Result, bail};
use jadeseal_server::wiring::{self, Opened};
use jadeseal_store::Store;
use jadeseal_types::AccountId;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// An error of the service in the operator's words: its cause, where it has one.
fn plain(e: jadeseal_types::ApiError) -> anyhow::Error {
    anyhow::Error::msg(e.internal_cause().map_or_else(|| e.to_string(), str::to_owned))
}

/// The account with a number or, where there is one account, that one.
async fn account_of(store: &dyn Store, number: Option<u64>) -> Result<AccountId> {
    if let Some(number) = number {
        let row = store.account(AccountId(number)).await.context("cannot read the accounts")?;
        return row.map(|row| row.account).with_context(|| format!("there is no account {number}"));
    }
    match store.accounts().await.context("cannot read the accounts")?.as_slice() {
        [one] => Ok(one.account),
        [] => bail!("there is no account"),
        _ => bail!("several accounts; name one with --account (see `jadeseal account list`)"),
    }
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// Must come before any secret is in memory.
fn harden() {
    for missing in wiring::harden() {
        tracing::warn!("process hardening incomplete: {missing}");
    }
    wiring::seed_random_early();
}

/// Turns true at SIGTERM or SIGINT; a second one ends the process at once. To be made before anybody is told that the service is there: a
/// signal that comes earlier would end the process without a drain.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!("stopping: requests in flight finish");
        stop.send_replace(true);
        next().await;
        // Store and audit log are made to survive this.
        tracing::error!("told to stop again: not waiting for requests in flight");
        std::process::exit(1);
    });
    Ok(stopped)
}

/// Serves until told to stop; requests in flight finish.
async fn serve_until(stopped: watch::Receiver<bool>, opened: Opened, listener: TcpListener) -> Result<()> {
    opened.serve(listener, stopped).await?;
    tracing::info!("stopped");
    Ok(())
}
