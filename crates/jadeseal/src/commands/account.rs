//! `jadeseal account`.

use super::{harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{
    config::{Config, RootConf},
    wiring,
};
use jadeseal_service::accounts::{Accounts, NewAccessKey};
use jadeseal_types::Suite;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make an account with its first access key; may run beside a serving process.
    Create(Create),
    /// List the accounts, the oldest first.
    List(List),
}

#[derive(clap::Args)]
struct Create {
    #[command(flatten)]
    place: Place,
    /// Name of the account, for people; at most 64 characters.
    #[arg(long, default_value = "")]
    name: String,
    /// How to print the access key. It is shown once.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// How to print them.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

/// Where the store is.
#[derive(clap::Args)]
pub struct Place {
    /// Configuration file of the deployment.
    #[arg(long, env = "JADESEAL_CONFIG", required_unless_present = "data_dir")]
    pub config: Option<PathBuf>,
    /// Data directory; goes before the file's. Without a file, that of a quickstart.
    #[arg(long, env = "JADESEAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    /// Data directory, root of trust and, where a file names regions, what wraps secrets.
    pub fn find(&self) -> Result<(PathBuf, RootConf, Option<Suite>)> {
        let (dir, root, suite) = match (&self.config, &self.data_dir) {
            (Some(path), dir) => {
                let conf = Config::read(path)?;
                (dir.clone().unwrap_or(conf.data_dir), conf.root, Some(conf.regions.hierarchy_suite()))
            }
            (None, Some(dir)) => (dir.clone(), RootConf::File(dir.join("root.key")), None),
            (None, None) => bail!("--config or --data-dir is needed"),
        };
        if !dir.join(wiring::DATABASE).exists() {
            bail!("{} holds no store", dir.display());
        }
        Ok((dir, root, suite))
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
    }
}

fn create(args: Create) -> Result<()> {
    let (dir, root, suite) = args.place.find()?;
    harden();
    runtime()?.block_on(async move {
        let store = wiring::open_store(&dir).await?;
        let made = match Accounts::open(store.clone(), wiring::seal_source(&root), suite).await {
            Ok(accounts) => accounts.create(&args.name).await,
            Err(e) => Err(e),
        };
        let closed = store.close().await;
        // Printed before anything else can fail: it is not to be had again.
        print(&made.map_err(plain).context("cannot make the account")?, args.output);
        closed.context("cannot close the store")
    })
}

/// Prints a new account with its access key.
pub fn print(key: &NewAccessKey, output: Output) {
    let secret = key.secret_text();
    match output {
        Output::Json => {
            let line = serde_json::json!({
                "secret_id": key.secret_id.as_str(),
                "secret_key": secret,
                "owner_uin": key.account.0,
                "app_id": key.app_id.0,
            });
            println!("{line}");
        }
        Output::Table => println!(
            "SecretId   {}\nSecretKey  {secret}\nOwnerUin   {}\nAppId      {}\n\nThe SecretKey is not shown again.",
            key.secret_id, key.account, key.app_id
        ),
    }
}

fn list(args: List) -> Result<()> {
    let (dir, ..) = args.place.find()?;
    runtime()?.block_on(async move {
        let store = wiring::open_store(&dir).await?;
        let rows = store.accounts().await;
        store.close().await.context("cannot close the store")?;
        let rows = rows.context("cannot read the accounts")?;
        match args.output {
            Output::Json => {
                let accounts: Vec<_> = rows
                    .iter()
                    .map(|row| {
                        serde_json::json!({
                            "owner_uin": row.account.0, "app_id": row.app_id.0, "name": row.name,
                            "create_time": row.create_time,
                        })
                    })
                    .collect();
                println!("{}", serde_json::json!({ "accounts": accounts }));
            }
            Output::Table => {
                println!("{:<14}{:<12}NAME", "OWNERUIN", "APPID");
                for row in rows {
                    println!("{:<14}{:<12}{}", row.account.to_string(), row.app_id.to_string(), row.name);
                }
            }
        }
        Ok(())
    })
}
