//! `jadeseal backup`.

use super::{account::Place, harden, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_backup::LockTo;
use jadeseal_crypto::PublicSeal;
use jadeseal_root::PassphraseFrom;
use jadeseal_server::wiring;
use jadeseal_service::{
    backup::{self, Proof, Request},
    clock::SystemClock,
};
use jadeseal_types::SecretBytes;
use std::{path::PathBuf, process::ExitCode};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// File to make; must not exist.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Close it to a public key instead: a PEM file with an RSA key of at least 2,048 bits, or an SM2 key.
    #[arg(long, value_name = "PEM", conflicts_with = "passphrase")]
    recipient: Option<PathBuf>,
    /// Leave the root key out: to restore then takes one of the custodians too.
    #[arg(long)]
    without_root: bool,
    /// How to print the outcome.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

/// Where a passphrase is read.
#[derive(clap::Args)]
#[group(id = "passphrase", multiple = false)]
pub struct Passphrase {
    /// Passphrase of the backup, at least 12 bytes: from a file that only you can read.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The passphrase from an environment variable.
    #[arg(long, value_name = "NAME")]
    passphrase_env: Option<String>,
    /// The passphrase from a systemd credential.
    #[arg(long, value_name = "NAME")]
    passphrase_credential: Option<String>,
    /// The passphrase from a file descriptor that the parent process opened.
    #[arg(long, value_name = "NUMBER")]
    passphrase_fd: Option<u32>,
}

impl Passphrase {
    /// The passphrase, if one was named.
    pub fn read(&self) -> Result<Option<SecretBytes>> {
        let from = match self {
            Passphrase { passphrase_file: Some(path), .. } => PassphraseFrom::File(path.clone()),
            Passphrase { passphrase_env: Some(name), .. } => PassphraseFrom::Env(name.clone()),
            Passphrase { passphrase_credential: Some(name), .. } => PassphraseFrom::SystemdCredential(name.clone()),
            Passphrase { passphrase_fd: Some(number), .. } => PassphraseFrom::Fd(*number),
            _ => return Ok(None),
        };
        Ok(Some(from.passphrase().context("cannot read the passphrase of the backup")?))
    }
}

pub fn run(args: Args) -> Result<ExitCode> {
    let (dir, root, suite) = args.place.find()?;
    harden();
    let passphrase = args.passphrase.read()?;
    let public = args.recipient.as_ref().map(|path| {
        let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        PublicSeal::parse(&pem).with_context(|| format!("{}", path.display()))
    });
    let public = public.transpose()?;
    let lock = match (&passphrase, &public) {
        (Some(passphrase), _) => LockTo::Passphrase(passphrase),
        (None, Some(public)) => LockTo::PublicKey(public),
        (None, None) => {
            bail!("a passphrase (--passphrase-file, -env, -credential, -fd) or a public key (--recipient) is needed")
        }
    };
    runtime()?.block_on(async {
        let store = wiring::open_store(&dir).await?;
        let made = backup::make(Request {
            store: store.as_ref(),
            root: &wiring::seal_source(&root),
            suite,
            scratch: &dir,
            audit: &dir.join("audit"),
            out: &args.out,
            lock,
            with_root: !args.without_root,
            clock: &SystemClock::default(),
        })
        .await;
        let closed = store.close().await;
        let proof = made.map_err(plain).context("no backup was made")?;
        closed.context("cannot close the store")?;
        if args.output == Output::Table {
            println!("backup {} made and read back", args.out.display());
        }
        report(&proof, args.output, serde_json::json!({ "file": args.out, "recipient": public.is_some() }));
        Ok(outcome(&proof))
    })
}

/// 0 when everything was as it should be.
pub fn outcome(proof: &Proof) -> ExitCode {
    if proof.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what was proved, with more members in JSON.
pub fn report(proof: &Proof, output: Output, more: serde_json::Value) {
    let manifest = &proof.manifest;
    match output {
        Output::Json => {
            let mut line = serde_json::json!({
                "created": manifest.created, "release": manifest.release, "schema": manifest.schema,
                "deployment": manifest.deployment, "root_key": manifest.root_key, "accounts": manifest.accounts.len(),
                "keys": manifest.keys, "data_keys": manifest.data_keys, "key_versions_opened": proof.versions,
                "access_keys_opened": proof.access_keys, "canaries_decrypted": proof.canaries,
                "accounts_without_canary": proof.without_canary, "due_for_deletion": proof.due_for_deletion,
                "audit_next_index": manifest.audit.as_ref().map(|head| head.next_index),
                "differences": proof.differences,
            });
            if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
                line.extend(more);
            }
            println!("{line}");
        }
        Output::Table => {
            let total = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
            println!(
                "  of {} (Unix time), deployment {}, schema {}, root key {}",
                manifest.created,
                manifest.deployment,
                manifest.schema,
                if manifest.root_key { "inside" } else { "left out" },
            );
            println!(
                "  {} accounts, {} CMKs, {} data keys; opened: {} key versions, {} access keys, {} canaries",
                manifest.accounts.len(),
                total(&manifest.keys),
                total(&manifest.data_keys),
                proof.versions,
                proof.access_keys,
                proof.canaries,
            );
            if !proof.without_canary.is_empty() {
                println!(
                    "  accounts without an enabled symmetric CMK, and so without a canary: {:?}",
                    proof.without_canary
                );
            }
            if proof.due_for_deletion > 0 {
                println!("  CMKs whose deletion is due by now: {}", proof.due_for_deletion);
            }
            for difference in &proof.differences {
                println!("  WRONG: {difference}");
            }
        }
    }
}
