//! One file per command.

pub mod init;
pub mod quickstart;
pub mod rekey;
pub mod serve;
pub mod version;

use anyhow::{Context as _, Result};
use jadeseal_server::wiring::{self, Opened};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// Must come before any secret is in memory.
fn harden() {
    for missing in wiring::harden() {
        tracing::warn!("process hardening incomplete: {missing}");
    }
}

/// Serves until SIGTERM or SIGINT; requests in flight finish.
async fn serve_until_told(opened: Opened, listener: TcpListener) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests in flight finish");
        stop.send_replace(true);
    });
    opened.serve(listener, stopped).await?;
    tracing::info!("stopped");
    Ok(())
}
