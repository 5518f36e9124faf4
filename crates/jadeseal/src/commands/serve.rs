//! `jadeseal serve`.

use super::{harden, runtime, serve_until, stop_signal};
use anyhow::{Result, bail};
use jadeseal_server::{
    config::{self, Config},
    wiring,
};
use std::{net::SocketAddr, path::PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, env = "JADESEAL_CONFIG")]
    config: PathBuf,
    /// Address to listen on; goes before the file's.
    #[arg(long, env = "JADESEAL_LISTEN")]
    listen: Option<SocketAddr>,
    /// Data directory; goes before the file's.
    #[arg(long, env = "JADESEAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Region to serve, NAME or NAME:PROFILE (all, intl, gm, gm-strict); may be repeated, the first is the default;
    /// these go before all of the file's.
    #[arg(long, env = "JADESEAL_REGION", value_delimiter = ',')]
    region: Vec<String>,
    /// Audit degree, os or fsync; goes before the file's.
    #[arg(long, env = "JADESEAL_AUDIT")]
    audit: Option<String>,
    /// Publish checkpoints of the audit log only when all its witnesses have signed them; goes before the file's.
    #[arg(long, env = "JADESEAL_REQUIRE_WITNESS")]
    require_witness: bool,
    /// Listen off loopback without TLS: requests and plaintexts cross the network in clear.
    #[arg(long, env = "JADESEAL_ALLOW_PLAIN_HTTP")]
    allow_plain_http: bool,
    /// Check configuration, TLS files, root of trust and store, then exit.
    #[arg(long)]
    check: bool,
}

pub fn run(args: Args) -> Result<()> {
    if cfg!(feature = "unaudited") {
        bail!("this binary keeps no audit log; it was built for measurements alone");
    }
    let mut conf = Config::read_unchecked(&args.config)?;
    conf.allow_plain_http |= args.allow_plain_http;
    conf.listen = args.listen.unwrap_or(conf.listen);
    conf.data_dir = args.data_dir.unwrap_or(conf.data_dir);
    if !args.region.is_empty() {
        conf.regions = config::regions(&args.region)?;
    }
    if let Some(degree) = &args.audit {
        conf.audit.fsync = config::degree(degree)?;
    }
    if args.require_witness {
        if conf.audit.witnesses.is_empty() {
            bail!("--require-witness: the configuration names no [[audit.witness]]");
        }
        conf.audit.witnesses.require_all();
    }
    conf.check()?;
    harden();
    runtime()?.block_on(async move {
        if args.check {
            wiring::check(&conf).await?;
            println!("configuration, TLS, root of trust and store are in order");
            return Ok(());
        }
        let stopped = stop_signal()?;
        let opened = wiring::open(conf, false).await?;
        let (listener, address) = opened.bind().await?;
        tracing::info!(%address, tls = opened.config().tls.is_some(), "serving");
        serve_until(stopped, opened, listener).await
    })
}
