//! `jadeseal account`.

use super::{account_of, harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{
    config::{Config, RootConf},
    wiring,
};
use jadeseal_service::{
    accounts::{self, Accounts, NewAccessKey},
    jobs::ACCESS_KEY_PERIOD,
};
use jadeseal_store::Store;
use jadeseal_types::{AccountId, SecretId, Suite};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

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
    /// Access keys of a main account, for an operator who has to let its owner in again or a thief out; may run beside a
    /// serving process.
    #[command(subcommand)]
    AccessKey(AccessKey),
}

#[derive(clap::Subcommand)]
enum AccessKey {
    /// List them. Needs no root of trust.
    List(On),
    /// Make one more, however many there are, and print it. This is the only time that its SecretKey is shown.
    Create(On),
    /// Switch one off, the last one too. When the command returns, no process takes it any more. Needs no root of trust.
    Disable(One),
    /// Switch one on again. Needs no root of trust.
    Enable(One),
}

#[derive(clap::Args)]
struct On {
    #[command(flatten)]
    place: Place,
    /// OwnerUin of the account; may be left out where there is one account.
    #[arg(long)]
    account: Option<u64>,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct One {
    #[command(flatten)]
    on: On,
    /// The access key.
    secret_id: String,
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
#[group(required = true, multiple = true)]
pub struct Place {
    /// Configuration file of the deployment.
    #[arg(long, env = "JADESEAL_CONFIG")]
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
            (None, None) => bail!("--config FILE or --data-dir DIR is needed"),
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
        Command::AccessKey(AccessKey::List(args)) => list_keys(args),
        Command::AccessKey(AccessKey::Create(args)) => create_key(args),
        Command::AccessKey(AccessKey::Disable(args)) => switch_key(args, false),
        Command::AccessKey(AccessKey::Enable(args)) => switch_key(args, true),
    }
}

/// Opens the store, and closes it after the work.
fn with_store<T>(
    dir: &Path,
    account: Option<u64>,
    work: impl AsyncFnOnce(Arc<dyn Store>, AccountId) -> Result<T>,
    print: impl FnOnce(&T),
) -> Result<()> {
    runtime()?.block_on(async move {
        let store = wiring::open_store(dir).await?;
        let done = match account_of(store.as_ref(), account).await {
            Ok(account) => work(store.clone(), account).await,
            Err(e) => Err(e),
        };
        let closed = store.close().await;
        // Printed before anything else can fail: a SecretKey is not to be had again.
        print(&done?);
        closed.context("cannot close the store")
    })
}

fn create_key(On { place, account, output }: On) -> Result<()> {
    let (dir, root, suite) = place.find()?;
    harden();
    let make = async |store, account| {
        let accounts = Accounts::open(store, wiring::seal_source(&root), suite).await.map_err(plain)?;
        let made = accounts.recover(account).await.map_err(plain).context("cannot make the access key")?;
        made.with_context(|| format!("there is no account {account}"))
    };
    with_store(&dir, account, make, |key| print(key, output))
}

fn switch_key(One { on: On { place, account, output }, secret_id }: One, enabled: bool) -> Result<()> {
    let (dir, ..) = place.find()?;
    let switch = async |store: Arc<dyn Store>, account| {
        let known = match SecretId::parse(&secret_id) {
            Some(id) => accounts::switch_root_key(store.as_ref(), account, &id, enabled).await.map_err(plain)?,
            None => false,
        };
        if !known {
            bail!("the main account {account} has no access key {secret_id}");
        }
        // Also where it was so already: an earlier run may have been interrupted here.
        tokio::time::sleep(2 * ACCESS_KEY_PERIOD).await;
        Ok(())
    };
    with_store(&dir, account, switch, |()| match output {
        Output::Json => println!("{}", serde_json::json!({ "secret_id": secret_id, "enabled": enabled })),
        Output::Table => println!("{secret_id} is {}", if enabled { "enabled" } else { "disabled" }),
    })
}

fn list_keys(On { place, account, output }: On) -> Result<()> {
    let (dir, ..) = place.find()?;
    let read = async |store: Arc<dyn Store>, account| {
        let mut keys = store.access_keys(account).await.context("cannot read the access keys")?;
        keys.retain(accounts::is_of_root);
        keys.sort_by_key(|key| key.create_time);
        Ok(keys)
    };
    with_store(&dir, account, read, |keys| match output {
        Output::Json => {
            let keys: Vec<_> = keys
                .iter()
                .map(|key| {
                    serde_json::json!({
                        "secret_id": key.secret_id.as_str(), "enabled": key.enabled, "create_time": key.create_time,
                        "last_used": key.last_used,
                    })
                })
                .collect();
            println!("{}", serde_json::json!({ "access_keys": keys }));
        }
        Output::Table => {
            println!("{:<38}{:<10}{:<12}LASTUSED", "SECRETID", "STATE", "CREATED");
            for key in keys {
                let state = if key.enabled { "enabled" } else { "disabled" };
                println!("{:<38}{state:<10}{:<12}{}", key.secret_id.as_str(), key.create_time, key.last_used);
            }
        }
    })
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
