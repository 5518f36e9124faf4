//! `jadeseal init`.

use super::{account, harden, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{
    config::{self, Config},
    tls, wiring,
};
use std::{fs, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Configuration file; written with comments when it does not exist.
    #[arg(long, env = "JADESEAL_CONFIG")]
    config: PathBuf,
    /// Data directory of a newly written configuration.
    #[arg(long, env = "JADESEAL_DATA_DIR", default_value = "/var/lib/jadeseal")]
    data_dir: PathBuf,
    /// Address of a newly written configuration.
    #[arg(long, env = "JADESEAL_LISTEN", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Name of the first account.
    #[arg(long, default_value = "main")]
    account_name: String,
    /// How to print the first access key.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    if !args.config.exists() {
        let text = config::sample(&args.data_dir, args.listen);
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&args.config);
        file.and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()))
            .with_context(|| format!("cannot write {}", args.config.display()))?;
        eprintln!("wrote {}", args.config.display());
    }
    let conf = Config::read(&args.config)?;
    if let Some(files) = conf.tls.clone()
        && let Err(e) = tls::Acceptor::open(files)
    {
        // Before the first account is made: its access key is shown once, and init runs once.
        bail!("TLS: {e}; provide the files that [tls] names in {} and run init again", args.config.display());
    }
    harden();
    runtime()?.block_on(async move {
        let root = conf.root.clone();
        let opened = wiring::open(conf, true).await?;
        if opened.service.has_account().await.context("cannot read the store")? {
            bail!("this data directory has been initialised before");
        }
        let key = opened.service.create_account(&args.account_name).await.context("cannot make the first account")?;
        account::print(&key, args.output);
        if args.output == Output::Table {
            println!("Back up the root of trust now ({root:?}): without it no key can be recovered.");
        }
        opened.service.close().await.context("cannot close the store")
    })
}
