//! `jadeseal rekey`.

use super::{harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{
    config::{self, Config, RootConf},
    wiring,
};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Configuration file of the deployment.
    #[arg(long, env = "JADESEAL_CONFIG", required_unless_present = "data_dir")]
    config: Option<PathBuf>,
    /// Data directory; goes before the file's. Without a file, that of a quickstart.
    #[arg(long, env = "JADESEAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Regions that the service is told of outside its file, as for `serve`: with a strict one, SM4 wraps.
    #[arg(long, env = "JADESEAL_REGION", value_delimiter = ',')]
    region: Vec<String>,
    /// Change the root of trust too: file:PATH (made when missing), passphrase-file:PATH,
    /// passphrase-env:NAME, passphrase-credential:NAME or systemd:NAME. The service must be stopped, and
    /// its configuration changed before it starts again.
    #[arg(long)]
    to: Option<String>,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    let named = (!args.region.is_empty()).then(|| config::regions(&args.region)).transpose()?;
    let (root, data_dir, regions) = match (&args.config, args.data_dir) {
        (Some(path), dir) => {
            let conf = Config::read(path)?;
            (conf.root, dir.unwrap_or(conf.data_dir), Some(conf.regions))
        }
        (None, Some(dir)) => (RootConf::File(dir.join("root.key")), dir, None),
        (None, None) => bail!("--config or --data-dir is needed"),
    };
    let suite = named.or(regions).map(|r| r.hierarchy_suite());
    if !data_dir.join(wiring::DATABASE).exists() {
        bail!("{} holds no store", data_dir.display());
    }
    harden();
    runtime()?.block_on(async move {
        // A running service could not open what a root of trust that it does not know has sealed.
        let _lock = args.to.is_some().then(|| wiring::DataDir::lock(&data_dir)).transpose()?;
        let to = args.to.as_deref().map(root_of).transpose()?.map(|conf| wiring::seal_source(&conf));
        let store = wiring::open_store(&data_dir).await?;
        let from = wiring::seal_source(&root);
        let report = jadeseal_service::rekey::rekey(store.as_ref(), &from, to.as_ref(), suite).await;
        let closed = store.close().await;
        let report = report.map_err(plain).context("rekey stopped; run it again to go on")?;
        closed.context("cannot close the store")?;
        match args.output {
            Output::Json => println!(
                "{}",
                serde_json::json!({
                    "version": report.version, "rewrapped": report.rewrapped, "dropped": report.dropped,
                    "resumed": report.resumed, "cipher": report.suite.name(),
                })
            ),
            Output::Table => println!(
                "root key version {}, which wraps with {}; {} domain keys re-wrapped; versions dropped: {:?}{}",
                report.version,
                report.suite.name(),
                report.rewrapped,
                report.dropped,
                if report.resumed { " (finished an interrupted rekey)" } else { "" },
            ),
        }
        Ok(())
    })
}

fn root_of(text: &str) -> Result<RootConf> {
    let (kind, rest) = text.split_once(':').context("--to must be KIND:VALUE")?;
    Ok(match kind {
        "file" => RootConf::File(rest.into()),
        "passphrase-file" => RootConf::PassphraseFile(rest.into()),
        "passphrase-env" => RootConf::PassphraseEnv(rest.to_owned()),
        "passphrase-credential" => RootConf::PassphraseCredential(rest.to_owned()),
        "systemd" => RootConf::Systemd(rest.to_owned()),
        _ => bail!("--to knows file, passphrase-file, passphrase-env, passphrase-credential and systemd"),
    })
}
