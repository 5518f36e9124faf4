//! `jadeseal custody`.

use super::{account::Place, harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_root::SealSource;
use jadeseal_server::{config, wiring};
use jadeseal_service::{
    clock::SystemClock,
    custody::{self, Custodian},
};
use jadeseal_store::Store;
use jadeseal_types::Suite;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the custodians of the root key. Needs no root of trust.
    List(List),
    /// Seal the root key for one more custodian.
    Add(Add),
    /// Remove a custodian; never the last one.
    Remove(Remove),
    /// Open the root key, and all that lies under it, by one custodian alone.
    Prove(Prove),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// How to print them.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct Opener {
    #[command(flatten)]
    place: Place,
    /// Custodian to open the root key with, in place of the one that the configuration names; written as the custodian of
    /// `add`.
    #[arg(long = "with", value_name = "KIND:VALUE")]
    with: Option<String>,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct Add {
    #[command(flatten)]
    opener: Opener,
    /// Name of the slot, chosen by you: 1 to 64 letters, digits, dots, underscores and hyphens.
    slot: String,
    /// The custodian: file:PATH (made when missing), passphrase-file:PATH, passphrase-env:NAME, passphrase-credential:NAME,
    /// systemd:NAME, or shamir:M:PATH,PATH,… (a new key in shares, each written to its file, of which M open).
    custodian: String,
}

#[derive(clap::Args)]
struct Remove {
    #[command(flatten)]
    place: Place,
    /// Name of the slot.
    slot: String,
    /// Also when the configuration opens with this slot alone, or opens nothing.
    #[arg(long)]
    force: bool,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct Prove {
    #[command(flatten)]
    place: Place,
    /// Name of the slot.
    slot: String,
    /// The custodian, as for `add`; shares of a holder who is away may be named too. Left out: that of the configuration.
    custodian: Option<String>,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List(args) => list(args),
        Command::Add(args) => add(args),
        Command::Remove(args) => remove(args),
        Command::Prove(args) => prove(args),
    }
}

/// Opens the store, and closes it after the work.
fn with_store<T>(
    place: &Place,
    work: impl AsyncFnOnce(Arc<dyn Store>, SealSource, Option<Suite>) -> jadeseal_types::error::Result<T>,
) -> Result<T> {
    let (dir, root, suite) = place.find()?;
    harden();
    runtime()?.block_on(async move {
        let store = wiring::open_store(&dir).await?;
        let done = work(store.clone(), wiring::seal_source(&root), suite).await;
        let closed = store.close().await;
        let done = done.map_err(plain)?;
        closed.context("cannot close the store")?;
        Ok(done)
    })
}

/// A custodian of the command line.
pub fn source(text: &str) -> Result<SealSource> {
    Ok(wiring::seal_source(&config::root::parse(text)?))
}

fn list(args: List) -> Result<()> {
    let custodians = with_store(&args.place, async |store, _, _| custody::list(store.as_ref()).await)?;
    match args.output {
        Output::Json => {
            let one = |c: &Custodian| {
                serde_json::json!({
                    "slot": c.slot, "kind": c.kind, "about": c.about, "versions": c.versions, "since": c.since,
                    "complete": c.complete,
                })
            };
            let all: Vec<_> = custodians.iter().map(one).collect();
            println!("{}", serde_json::json!({ "custodians": all }));
        }
        Output::Table => {
            println!("{:<24} {:<12} {:<18} ABOUT", "SLOT", "KIND", "ROOT KEY VERSIONS");
            for c in custodians {
                let versions = c.versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                let incomplete = if c.complete { "" } else { " (does not open every version)" };
                println!("{:<24} {:<12} {versions:<18} {}{incomplete}", c.slot, c.kind, c.about);
            }
        }
    }
    Ok(())
}

fn add(args: Add) -> Result<()> {
    let new = source(&args.custodian)?;
    let with = args.opener.with.as_deref().map(source).transpose()?;
    let clock = SystemClock::default();
    with_store(&args.opener.place, async |store, own, suite| {
        custody::add(store.as_ref(), with.as_ref().unwrap_or(&own), &args.slot, &new, suite, &clock).await
    })?;
    match args.opener.output {
        Output::Json => println!("{}", serde_json::json!({ "slot": args.slot, "kind": new.kind() })),
        Output::Table => println!("{} ({}) opens the root key from now on", args.slot, new.kind()),
    }
    Ok(())
}

fn remove(args: Remove) -> Result<()> {
    let removed = with_store(&args.place, async |store, own, _| {
        custody::remove(store.as_ref(), &own, &args.slot, args.force, &SystemClock::default()).await
    })?;
    if !removed {
        bail!("there is no slot {:?}", args.slot);
    }
    match args.output {
        Output::Json => println!("{}", serde_json::json!({ "slot": args.slot, "removed": true })),
        Output::Table => println!(
            "{} is removed. Whoever has its secret and an older copy of the store still opens that copy; `jadeseal rekey` \
             makes a root key that it never sealed",
            args.slot
        ),
    }
    Ok(())
}

fn prove(args: Prove) -> Result<()> {
    let custodian = args.custodian.as_deref().map(source).transpose()?;
    let proof = with_store(&args.place, async |store, own, _| {
        custody::prove(store.as_ref(), &args.slot, custodian.as_ref().unwrap_or(&own)).await
    })?;
    match args.output {
        Output::Json => println!(
            "{}",
            serde_json::json!({ "slot": args.slot, "versions": proof.versions, "domain_keys": proof.domains })
        ),
        Output::Table => println!(
            "{} opens root key version(s) {:?} and {} domain keys under them",
            args.slot, proof.versions, proof.domains
        ),
    }
    Ok(())
}
