//! `jadeseal restore`.

use super::{
    backup::{Passphrase, outcome, report},
    custody::source,
    harden, plain, runtime,
};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_backup::Unlock;
use jadeseal_crypto::{PrivateOpener, public_seal::MAX_PRIVATE};
use jadeseal_root::read_private_file;
use jadeseal_server::{config::Config, wiring};
use jadeseal_service::{
    backup::{self, Restored, Restoring},
    clock::{Clock as _, SystemClock},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(clap::Args)]
pub struct Args {
    /// The backup.
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
    /// The private key of a backup that was closed to a public one: an unencrypted PKCS#8 PEM file that only you can read.
    #[arg(long, value_name = "PEM", conflicts_with = "passphrase")]
    private_key: Option<PathBuf>,
    /// Restore nothing: unpack it into a private directory that is removed, open everything in it, and compare. With
    /// --config or --data-dir of the deployment that it is of, note the time there.
    #[arg(long)]
    prove: bool,
    /// Configuration of the deployment, for --prove.
    #[arg(long, env = "JADESEAL_CONFIG", requires = "prove")]
    config: Option<PathBuf>,
    /// Data directory to restore into, which must be new or empty; with --prove that of the deployment.
    #[arg(long, env = "JADESEAL_DATA_DIR", required_unless_present = "prove")]
    data_dir: Option<PathBuf>,
    /// With --prove: where the private directory is made, by default the system's directory for temporary files.
    #[arg(long, requires = "prove")]
    scratch: Option<PathBuf>,
    /// Custodian that this host opens the root key with: file:PATH (made when missing), passphrase-file:PATH,
    /// passphrase-env:NAME, passphrase-credential:NAME, systemd:NAME, shamir:PATH,PATH,… or shamir:M:PATH,PATH,….
    #[arg(long, value_name = "KIND:VALUE", required_unless_present = "prove", conflicts_with = "prove")]
    root: Option<String>,
    /// Name of his slot, by default `restored`.
    #[arg(long, conflicts_with = "prove")]
    slot: Option<String>,
    /// A custodian who opens the root key in the backup, for one that was made --without-root; written as --root.
    #[arg(long, value_name = "KIND:VALUE")]
    open_with: Option<String>,
    /// Hours after the restore during which no key is destroyed, whatever is due.
    #[arg(long, default_value_t = 24, conflicts_with = "prove")]
    hold_hours: u32,
    /// The old audit log will be copied to `audit` in the data directory before the first start, and go on. Without it a new
    /// log begins.
    #[arg(long)]
    keep_log: bool,
    /// A copy of the audit log: what was changed after the backup is listed from it.
    #[arg(long, value_name = "DIR", conflicts_with = "prove")]
    audit: Option<PathBuf>,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<ExitCode> {
    harden();
    let passphrase = args.passphrase.read()?;
    let private = args.private_key.clone().map(|path| {
        let pem = read_private_file(&path, MAX_PRIVATE)?;
        PrivateOpener::parse(&pem).with_context(|| format!("{}", path.display()))
    });
    let private = private.transpose()?;
    let unlock = match (&passphrase, &private) {
        (Some(passphrase), _) => Unlock::Passphrase(passphrase),
        (None, Some(private)) => Unlock::PrivateKey(private),
        (None, None) => {
            bail!("a passphrase (--passphrase-file, -env, -credential, -fd) or a private key (--private-key) is needed")
        }
    };
    if args.prove { prove(&args, &unlock) } else { restore(&args, &unlock) }
}

fn prove(args: &Args, unlock: &Unlock<'_>) -> Result<ExitCode> {
    let live = match (&args.data_dir, &args.config) {
        (Some(dir), _) => Some(dir.clone()),
        (None, Some(path)) => Some(Config::read(path)?.data_dir),
        (None, None) => None,
    };
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let open_with = args.open_with.as_deref().map(source).transpose()?;
    runtime()?.block_on(async {
        let clock = SystemClock::default();
        let proof = backup::prove(&args.file, unlock, open_with.as_ref(), &scratch, clock.now()).await;
        let proof = proof.map_err(plain).context("the backup is not proved")?;
        let mut noted = false;
        if let Some(dir) = live.filter(|_| proof.differences.is_empty()) {
            let store = wiring::open_store(&dir).await?;
            let recorded = backup::record_proof(store.as_ref(), &proof, &clock).await;
            store.close().await.context("cannot close the store")?;
            recorded.map_err(plain)?;
            noted = true;
        }
        if args.output == Output::Table {
            let good = if proof.differences.is_empty() { "restores" } else { "does NOT restore as it was" };
            println!("{} {good}", args.file.display());
        }
        report(&proof, args.output, serde_json::json!({ "file": args.file, "noted": noted }));
        Ok(outcome(&proof))
    })
}

fn restore(args: &Args, unlock: &Unlock<'_>) -> Result<ExitCode> {
    let (Some(data_dir), Some(root)) = (&args.data_dir, &args.root) else { bail!("--data-dir and --root are needed") };
    let root = source(root)?;
    let open_with = args.open_with.as_deref().map(source).transpose()?;
    runtime()?.block_on(async {
        let restored = backup::restore(Restoring {
            archive: &args.file,
            unlock,
            data_dir,
            database: wiring::DATABASE,
            root: &root,
            slot: args.slot.as_deref(),
            open_with: open_with.as_ref(),
            hold: u64::from(args.hold_hours) * 3600,
            keep_log: args.keep_log,
            audit: args.audit.as_deref(),
            clock: &SystemClock::default(),
        })
        .await;
        let restored = restored.map_err(plain).context("nothing was restored")?;
        print(args, data_dir, &restored);
        Ok(ExitCode::SUCCESS)
    })
}

fn print(args: &Args, data_dir: &Path, restored: &Restored) {
    let (changes, untold, untellable) = match &restored.replay {
        None => (None, 0, None),
        Some(Ok(replay)) => (Some(&replay.changes), replay.untold, None),
        Some(Err(why)) => (None, 0, Some(why)),
    };
    if args.output == Output::Json {
        let more = serde_json::json!({
            "data_dir": data_dir, "slot": restored.slot, "destruction_held_until": restored.held_until,
            "changes_since": changes, "changes_untold": untold, "changes_untellable": untellable,
        });
        return report(&restored.proof, args.output, more);
    }
    println!(
        "{} restored into {}; this host opens with the slot {}",
        args.file.display(),
        data_dir.display(),
        restored.slot
    );
    report(&restored.proof, args.output, serde_json::Value::Null);
    println!("  nothing is destroyed before {} (Unix time)", restored.held_until);
    println!(
        "\nEverything is as it was when the backup was made: keys and access keys that were disabled or deleted since are \
         usable again."
    );
    match (changes, untellable) {
        (Some(changes), _) => {
            println!("Changes after the backup, from the audit log; repeat those that have to hold:");
            for c in changes {
                let what = c.resources.iter().chain(&c.subjects).cloned().collect::<Vec<_>>().join(" ");
                println!("  {} {:<28} account {} by {} {what}", c.time, c.action, c.account, c.uin);
            }
            if untold > 0 {
                println!("  and {untold} more");
            }
        }
        (None, Some(why)) => println!("What was changed since cannot be told: {why}."),
        (None, None) => println!(
            "What was changed since is not known here: give a copy of the audit log with --audit DIR, or go through it yourself \
             before you serve."
        ),
    }
}
