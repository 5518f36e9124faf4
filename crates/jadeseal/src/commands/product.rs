//! `jadeseal product`.

use super::{account::Place, harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{config::Config, wiring};
use jadeseal_service::{
    accounts::{self, Accounts},
    jobs::ACCESS_KEY_PERIOD,
    products::Products,
};
use jadeseal_store::Store;
use jadeseal_types::{AccountId, SecretId};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// How to print the outcome.
    #[arg(short, long, global = true, default_value = "table")]
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
    /// Switch a product's access key off. When the command returns, no process takes it any more. Needs no root of trust.
    Revoke {
        /// The access key.
        #[arg(long)]
        secret_id: String,
    },
    /// List the access keys of products that act for an account. Needs no root of trust.
    List {
        /// OwnerUin of the account.
        #[arg(long)]
        account: u64,
    },
}

pub fn run(args: Args) -> Result<()> {
    let (dir, root, suite) = args.place.find()?;
    harden();
    runtime()?.block_on(async move {
        let store = wiring::open_store(&dir).await?;
        let lines = match args.what {
            What::Grant { product, account } => match &args.place.config {
                None => Err(anyhow::anyhow!("--config is needed: it says which products there are")),
                Some(path) => {
                    let products = Config::read(path)?.products;
                    let opened = Accounts::open(store.clone(), wiring::seal_source(&root), suite).await;
                    match opened.map_err(plain) {
                        Ok(accounts) => grant(&accounts, &products, &product, AccountId(account)).await,
                        Err(e) => Err(e),
                    }
                }
            },
            What::Revoke { secret_id } => revoke(&store, &secret_id).await,
            What::List { account } => list(&store, AccountId(account)).await,
        };
        let closed = store.close().await;
        // Printed before anything else can fail: a SecretKey is not to be had again.
        for line in lines? {
            match args.output {
                Output::Json => println!("{line}"),
                Output::Table => println!("{}", table(&line)),
            }
        }
        closed.context("cannot close the store")
    })
}

async fn grant(accounts: &Accounts, products: &Products, product: &str, account: AccountId) -> Result<Vec<Value>> {
    let Some(product) = products.find(product) else {
        bail!("{product:?} is not among `products` of the configuration");
    };
    let Some(key) = accounts.grant(account, product).await.map_err(plain)? else {
        bail!("there is no account {account}");
    };
    Ok(vec![json!({
        "product": product.as_str(),
        "account": account.0,
        "secret_id": key.secret_id.as_str(),
        "secret_key": key.secret_text(),
    })])
}

async fn revoke(store: &Arc<dyn Store>, secret_id: &str) -> Result<Vec<Value>> {
    let known = match SecretId::parse(secret_id) {
        Some(id) => accounts::revoke(store.as_ref(), &id).await.map_err(plain)?,
        None => false,
    };
    if !known {
        bail!("no product has this access key");
    }
    // Also where it was off already: an earlier run may have been interrupted here.
    tokio::time::sleep(2 * ACCESS_KEY_PERIOD).await;
    Ok(vec![json!({ "secret_id": secret_id, "enabled": false })])
}

async fn list(store: &Arc<dyn Store>, account: AccountId) -> Result<Vec<Value>> {
    let keys = store.access_keys(account).await.context("cannot read the access keys")?;
    let of_products = keys.iter().filter_map(|key| key.product.as_ref().map(|product| (key, product)));
    Ok(of_products
        .map(|(key, product)| {
            json!({
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
fn table(line: &Value) -> String {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let pairs = line.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {}", text(value)));
    pairs.collect::<Vec<_>>().join("  ")
}
