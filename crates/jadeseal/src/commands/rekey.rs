//! `jadeseal rekey`.

use super::{custody::source, harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{
    config::{self, Config, RootConf},
    wiring,
};
use jadeseal_service::{
    clock::SystemClock,
    rekey::{Others, rekey_with},
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
    /// Change the root of trust of this configuration too: file:PATH (made when missing), passphrase-file:PATH,
    /// passphrase-env:NAME, passphrase-credential:NAME, systemd:NAME, shamir:PATH,PATH,… or, for new shares of which M open,
    /// shamir:M:PATH,PATH,…. The service must be stopped, and its configuration changed before it starts again.
    #[arg(long)]
    to: Option<String>,
    /// Another custodian, who takes the new root key over, written as for --to; to be given for each that `jadeseal custody
    /// list` shows beside that of the configuration.
    #[arg(long, value_name = "KIND:VALUE")]
    custodian: Vec<String>,
    /// A custodian's slot that the new root key is not sealed in.
    #[arg(long, value_name = "NAME")]
    drop_slot: Vec<String>,
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
        let to = args.to.as_deref().map(source).transpose()?;
        let custodians = args.custodian.iter().map(|text| source(text)).collect::<Result<Vec<_>>>()?;
        let others = Others { custodians: &custodians, dropped: &args.drop_slot };
        let store = wiring::open_store(&data_dir).await?;
        let from = wiring::seal_source(&root);
        let report = rekey_with(store.as_ref(), &from, to.as_ref(), others, suite, &SystemClock::default()).await;
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
