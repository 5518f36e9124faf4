//! `jadeseal product`.

use super::{harden, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{config::Config, wiring};
use jadeseal_service::{accounts::Accounts, jobs::ACCESS_KEY_PERIOD};
use jadeseal_types::{AccountId, SecretId};
use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(clap::Args)]
pub struct Args {
    /// Configuration file of the deployment.
    #[arg(long, env = "JADESEAL_CONFIG")]
    config: PathBuf,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make an access key with which a product acts for an account, and print it. This is the only time that its
    /// SecretKey is shown.
    Grant {
        /// A product of the configuration.
        #[arg(long)]
        product: String,
        /// OwnerUin of the account.
        #[arg(long)]
        account: u64,
    },
    /// Switch a product's access key off. When the command returns, no process takes it any more.
    Revoke {
        /// The access key.
        #[arg(long)]
        secret_id: String,
    },
    /// List the access keys of products that act for an account.
    List {
        /// OwnerUin of the account.
        #[arg(long)]
        account: u64,
    },
}

pub fn run(args: Args) -> Result<()> {
    let conf = Config::read(&args.config)?;
    if !conf.data_dir.join(wiring::DATABASE).exists() {
        bail!("{} holds no store", conf.data_dir.display());
    }
    harden();
    runtime()?.block_on(async move {
        let store = wiring::open_store(&conf.data_dir).await?;
        let accounts = Accounts::open(store.clone(), wiring::seal_source(&conf.root)).await.map_err(plain)?;
        let lines = match args.what {
            What::Grant { product, account } => grant(&accounts, &conf, &product, AccountId(account)).await,
            What::Revoke { secret_id } => revoke(&accounts, &secret_id).await,
            What::List { account } => list(&accounts, AccountId(account)).await,
        };
        store.close().await.context("cannot close the store")?;
        for line in lines? {
            match args.output {
                Output::Json => println!("{line}"),
                Output::Table => println!("{}", table(&line)),
            }
        }
        Ok(())
    })
}

async fn grant(
    accounts: &Accounts,
    conf: &Config,
    product: &str,
    account: AccountId,
) -> Result<Vec<serde_json::Value>> {
    let Some(product) = conf.products.find(product) else {
        bail!("{product:?} is not among `products` of the configuration");
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
    let Some(key) = accounts.grant(account, product, now).await.map_err(plain)? else {
        bail!("there is no account {account}");
    };
    Ok(vec![serde_json::json!({
        "product": product.as_str(),
        "account": account.0,
        "secret_id": key.secret_id.as_str(),
        "secret_key": std::str::from_utf8(key.secret_key.expose()).unwrap_or_default(),
    })])
}

async fn revoke(accounts: &Accounts, secret_id: &str) -> Result<Vec<serde_json::Value>> {
    let known = match SecretId::parse(secret_id) {
        Some(id) => accounts.revoke(&id).await.map_err(plain)?,
        None => false,
    };
    if !known {
        bail!("no product has this access key, or it is switched off already");
    }
    // A serving process looks after its access keys this often.
    tokio::time::sleep(2 * ACCESS_KEY_PERIOD).await;
    Ok(vec![serde_json::json!({ "secret_id": secret_id, "enabled": false })])
}

async fn list(accounts: &Accounts, account: AccountId) -> Result<Vec<serde_json::Value>> {
    let keys = accounts.access_keys(account).await.map_err(plain)?;
    let of_products = keys.iter().filter_map(|key| key.product.as_ref().map(|product| (key, product)));
    Ok(of_products
        .map(|(key, product)| {
            serde_json::json!({
                "product": product.as_str(),
                "account": key.account.0,
                "secret_id": key.secret_id.as_str(),
                "enabled": key.enabled,
                "create_time": key.create_time,
                "last_used": key.last_used,
            })
        })
        .collect())
}

/// `name value` pairs on one line.
fn table(line: &serde_json::Value) -> String {
    let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let pairs = line.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {}", text(value)));
    pairs.collect::<Vec<_>>().join("  ")
}

fn plain(e: jadeseal_types::ApiError) -> anyhow::Error {
    anyhow::anyhow!("{}", e.internal_cause().unwrap_or("the operation failed"))
}
