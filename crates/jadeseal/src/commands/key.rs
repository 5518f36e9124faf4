//! `jadeseal key`.

use super::{account::Place, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::wiring;
use jadeseal_service::{
    clock::{Clock as _, SystemClock},
    looks::{self, KeyLook},
};
use jadeseal_store::Store;
use jadeseal_types::KeyId;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show one key: state, versions, when it was last used. Needs no root of trust; may run beside a serving process, and
    /// then knows of uses up to a minute ago.
    Show(Show),
    /// List the keys of all accounts. Needs no root of trust; may run beside a serving process, and then knows of uses up
    /// to a minute ago.
    List(List),
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// The key.
    key_id: String,
    /// How to print it.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Only keys that were neither used nor made in so many days.
    #[arg(long, value_name = "DAYS")]
    unused_since: Option<u64>,
    /// How to print them.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Show(args) => show(args),
        Command::List(args) => list(args),
    }
}

/// Opens the store, and closes it after the work.
fn with_store<T>(place: &Place, work: impl AsyncFnOnce(Arc<dyn Store>) -> Result<T>) -> Result<T> {
    let (dir, ..) = place.find()?;
    runtime()?.block_on(async move {
        let store = wiring::open_store(&dir).await?;
        let done = work(store.clone()).await;
        store.close().await.context("cannot close the store")?;
        done
    })
}

fn show(args: Show) -> Result<()> {
    let Some(id) = KeyId::parse(&args.key_id) else { bail!("{:?} is no key id", args.key_id) };
    let now = SystemClock::default().now();
    let look = with_store(&args.place, async |store| {
        looks::key(store.as_ref(), id, now).await.map_err(plain).context("cannot read the key")
    })?;
    let Some(look) = look else { bail!("there is no key {id}") };
    match args.output {
        Output::Json => {
            let mut line = serde_json::to_value(&look)?;
            line["last_used_lag"] = looks::LAG.into();
            println!("{line}");
        }
        Output::Table => println!("{}", table(&look)),
    }
    Ok(())
}

fn table(key: &KeyLook) -> String {
    let rotation = match key.rotation_days {
        0 => "off".to_owned(),
        days => format!("every {days} days, next {}", looks::moment(key.next_rotation)),
    };
    let versions = match key.current_version {
        0 => "none".to_owned(),
        current => format!("{}, of which {current} encrypts", key.versions),
    };
    let lines = [
        ("KeyId", key.key_id.clone()),
        ("Account", key.account.to_string()),
        ("Region", key.region.clone()),
        ("Alias", key.alias.clone()),
        ("State", key.state.to_owned()),
        ("KeyUsage", key.usage.to_owned()),
        ("Origin", key.origin.to_owned()),
        ("Owner", key.owner.clone()),
        ("Versions", versions),
        ("Rotation", rotation),
        ("Created", looks::moment(key.create_time)),
        ("Last used", format!("{} (a running service tells within a minute)", looks::moment(key.last_used))),
        ("Deletion", looks::moment(key.deletion_date)),
        ("Data keys", key.data_keys.to_string()),
    ];
    lines.map(|(name, value)| format!("{name:<11}{value}")).join("\n")
}

fn list(args: List) -> Result<()> {
    let now = SystemClock::default().now();
    let keys = with_store(&args.place, async |store| {
        looks::keys(store.as_ref(), args.unused_since, now).await.map_err(plain).context("cannot read the keys")
    })?;
    match args.output {
        Output::Json => println!("{}", serde_json::json!({ "keys": keys, "last_used_lag": looks::LAG })),
        Output::Table => {
            println!("{:<38}{:<14}{:<16}{:<15}{:<22}ALIAS", "KEYID", "ACCOUNT", "REGION", "STATE", "LASTUSED");
            for key in keys {
                let used = looks::moment(key.last_used);
                let (id, account) = (key.key_id, key.account);
                println!("{id:<38}{account:<14}{:<16}{:<15}{used:<22}{}", key.region, key.state, key.alias);
            }
        }
    }
    Ok(())
}
