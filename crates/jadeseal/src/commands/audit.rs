//! `jadeseal audit`: what can be proved of an audit log, from a copy of its directory alone.

use super::{plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_audit::{Fields, MAX_PROOF_BYTES, Note, Proof, Proved, Trust, Verifier, checkpoint, publish, verify_log};
use jadeseal_server::{config::Config, wiring};
use jadeseal_service::certify;
use jadeseal_types::KeyId;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Check every record, the tree and every checkpoint; name the first record that is not what was logged.
    Verify {
        #[command(flatten)]
        log: LogArgs,
        /// How to print what was found.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Print the proof that the record of a request is in the log.
    Prove {
        #[command(flatten)]
        log: LogArgs,
        /// RequestId of the answer.
        #[arg(long, required_unless_present = "index")]
        request_id: Option<String>,
        /// Index of the record.
        #[arg(long, conflicts_with = "request_id")]
        index: Option<u64>,
    },
    /// Check a proof without the log, and print its record.
    CheckProof {
        /// File with the proof; - reads standard input.
        proof: PathBuf,
        #[command(flatten)]
        trust: TrustArgs,
    },
    /// List every record that names a key, and prove that the list is complete up to the newest checkpoint.
    Uses {
        #[command(flatten)]
        log: LogArgs,
        /// Id of the CMK or data key.
        #[arg(long)]
        key_id: String,
    },
    /// Write the log as static files (C2SP tlog-tiles) for monitors; may be repeated.
    Tiles {
        #[command(flatten)]
        log: LogArgs,
        /// Where they go.
        #[arg(long)]
        to: PathBuf,
    },
    /// Give up a log that was lost or is refused: it is set aside, and the next start begins another one.
    BeginAnew {
        /// Configuration file of the deployment.
        #[arg(long, env = "JADESEAL_CONFIG", required_unless_present = "data_dir")]
        config: Option<PathBuf>,
        /// Data directory; goes before the file's.
        #[arg(long, env = "JADESEAL_DATA_DIR")]
        data_dir: Option<PathBuf>,
        /// Say that the log that is there will not be continued.
        #[arg(long, required = true)]
        i_know_what_this_gives_up: bool,
    },
}

#[derive(clap::Args)]
struct LogArgs {
    /// The log's directory: `audit` in the data directory, or a copy of it.
    dir: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Let a log pass that has no checkpoint at all, such as one that is empty: then nothing is proved.
    #[arg(long)]
    allow_no_checkpoint: bool,
    /// File with a checkpoint that was kept elsewhere: the log must continue it. May be repeated.
    #[arg(long)]
    since: Vec<PathBuf>,
}

#[derive(clap::Args)]
struct TrustArgs {
    /// Public key of the log, or a file with such keys; by default those that the directory names. May be repeated.
    #[arg(long)]
    key: Vec<String>,
    /// Public key of a witness, or a file with such keys. May be repeated.
    #[arg(long)]
    witness: Vec<String>,
    /// So many witnesses must have signed the newest checkpoint; without a number all that are named.
    #[arg(long, num_args = 0..=1, default_missing_value = "all")]
    require_witness: Option<String>,
}

impl TrustArgs {
    fn trust(&self, dir: Option<&Path>) -> Result<Trust> {
        let mut keys = verifiers(&self.key)?;
        if self.key.is_empty()
            && let Some(dir) = dir
        {
            keys = checkpoint::keys(dir)?;
            eprintln!(
                "jadeseal: trusting the keys that the directory itself names; whoever can write it can have made them up (use --key)"
            );
        }
        if keys.is_empty() {
            bail!("no public key of the log is known; name one with --key");
        }
        let witnesses = verifiers(&self.witness)?;
        let required = match self.require_witness.as_deref() {
            None => 0,
            Some("all") => witnesses.len().max(1),
            Some(number) => number.parse().context("--require-witness takes a number")?,
        };
        Trust::new(keys, witnesses, required).context("--witness, --require-witness")
    }
}

fn verifiers(named: &[String]) -> Result<Vec<Verifier>> {
    let mut all = Vec::new();
    for one in named {
        if let Ok(key) = Verifier::parse(one) {
            all.push(key);
            continue;
        }
        let text =
            fs::read_to_string(one).with_context(|| format!("{one:?} is neither a key nor a file that can be read"))?;
        let before = all.len();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            all.push(Verifier::parse(line).with_context(|| format!("{one}: {line:?}"))?);
        }
        if all.len() == before {
            bail!("{one} holds no key");
        }
    }
    Ok(all)
}

impl LogArgs {
    fn walk(&self, visit: impl FnMut(u64, &[u8])) -> Result<Proved> {
        if !self.dir.is_dir() {
            bail!("{} is not a directory", self.dir.display());
        }
        let trust = self.trust.trust(Some(&self.dir))?;
        let kept = self.since.iter().map(|path| {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Note::parse(&bytes).with_context(|| path.display().to_string())
        });
        let kept = kept.collect::<Result<Vec<_>>>()?;
        let proved = verify_log(&self.dir, &trust, &kept, visit).context("the log does not verify")?;
        if proved.newest.is_none() && !self.allow_no_checkpoint {
            bail!(
                "the log does not verify: {} has {} records and no checkpoint, so nothing is proved (--allow-no-checkpoint)",
                self.dir.display(),
                proved.end - proved.first
            );
        }
        Ok(proved)
    }
}

pub fn run(args: Args) -> Result<()> {
    match args.what {
        What::Verify { log, output } => verify(&log, output),
        What::Prove { log, request_id, index } => prove(&log, request_id.as_deref(), index),
        What::CheckProof { proof, trust } => check_proof(&proof, &trust),
        What::Uses { log, key_id } => uses(&log, &key_id),
        What::Tiles { log, to } => tiles(&log, &to),
        What::BeginAnew { config, data_dir, .. } => begin_anew(config, data_dir),
    }
}

fn report(proved: &Proved) -> Value {
    let newest = proved.newest.as_ref().map(
        |(checkpoint, note)| json!({ "origin": checkpoint.origin, "size": checkpoint.size, "note": note.to_string() }),
    );
    json!({
        "first": proved.first, "end": proved.end, "segments": proved.segments, "checkpoints": proved.checkpoints,
        "newest_checkpoint": newest, "not_covered": proved.uncovered(), "torn_bytes": proved.torn_bytes,
    })
}

fn verify(log: &LogArgs, output: Output) -> Result<()> {
    let proved = log.walk(|_, _| {})?;
    match output {
        Output::Json => println!("{}", report(&proved)),
        Output::Table => print_proved(&proved),
    }
    Ok(())
}

fn print_proved(proved: &Proved) {
    match proved.end.checked_sub(1).filter(|last| *last >= proved.first) {
        Some(last) => {
            println!("records {} to {last} in {} files are those that were logged", proved.first, proved.segments);
        }
        None => println!("there are no records"),
    }
    if proved.first > 0 {
        println!("records 0 to {} were retired: their hashes are proved, the records are not here", proved.first - 1);
    }
    match &proved.newest {
        Some((newest, _)) => println!(
            "{} checkpoints of {} are signed and consistent with each other; the newest covers {} records, {} are behind it",
            proved.checkpoints,
            newest.origin,
            newest.size,
            proved.uncovered()
        ),
        None => println!("there is no checkpoint: nothing is proved but that the records are whole"),
    }
    println!(
        "keep the newest checkpoint (file `checkpoint`) elsewhere and name it with --since next time: a cut end shows only against it"
    );
}

fn prove(log: &LogArgs, request_id: Option<&str>, index: Option<u64>) -> Result<()> {
    let mut found = None;
    let proved = log.walk(|at, json| {
        let wanted = match (request_id, index) {
            (Some(id), _) => found.is_none() && Fields::parse(json).is_some_and(|fields| fields.request_id == id),
            (None, index) => Some(at) == index,
        };
        if wanted {
            found = Some((at, json.to_vec()));
        }
    })?;
    let (at, json) = found.context("the log has no such record")?;
    print!("{}", Proof::make(&log.dir, &proved, at, &json)?);
    Ok(())
}

fn check_proof(path: &Path, trust: &TrustArgs) -> Result<()> {
    let mut bytes = Vec::new();
    let limit = MAX_PROOF_BYTES as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)?;
    } else {
        let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        file.take(limit).read_to_end(&mut bytes)?;
    }
    let proof = Proof::parse(&bytes)?;
    let checkpoint = proof.check(&trust.trust(None)?).context("the proof does not hold")?;
    eprintln!("record {} of {} is in its checkpoint of size {}", proof.index, checkpoint.origin, checkpoint.size);
    println!("{}", String::from_utf8_lossy(&proof.record));
    Ok(())
}

fn uses(log: &LogArgs, key_id: &str) -> Result<()> {
    let id = KeyId::parse(key_id).context("--key-id is not the id of a key")?.to_string();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut count, mut last, mut failed) = (0u64, 0, Ok(()));
    let proved = log.walk(|index, json| {
        // Cheap for the others: the id stands in the record as it is written here.
        if memchr::memmem::find(json, id.as_bytes()).is_none() || failed.is_err() {
            return;
        }
        let Some(fields) = Fields::parse(json) else {
            let what = format!("record {index} holds the key's id and is of a form that this release cannot read");
            failed = Err(std::io::Error::other(what));
            return;
        };
        if fields.resources.contains(&id) {
            (count, last) = (count + 1, index);
            failed = writeln!(out, "{{\"index\":{index},\"record\":{}}}", String::from_utf8_lossy(json));
        }
    })?;
    failed.and_then(|()| out.flush()).context("cannot print")?;
    let covered = proved.newest.as_ref().map_or(0, |(c, _)| c.size);
    if proved.first > 0 {
        eprintln!("records 0 to {} were retired: uses among them are not listed", proved.first - 1);
    }
    eprintln!(
        "{count} uses of {id}: every record from {} to {} was looked at, and the log is the one of its checkpoint of size {covered}, so the list is complete up to there{}",
        proved.first,
        proved.end.max(1) - 1,
        if count > 0 && last >= covered { "; uses behind it are listed, and not proved yet" } else { "" },
    );
    Ok(())
}

fn tiles(log: &LogArgs, to: &Path) -> Result<()> {
    let proved = log.walk(|_, _| {})?;
    let written = publish(&log.dir, &proved, to)?;
    println!("{} tiles and {} bundles written to {}", written.tiles, written.bundles, to.display());
    Ok(())
}

fn begin_anew(config: Option<PathBuf>, data_dir: Option<PathBuf>) -> Result<()> {
    let data_dir = match (config, data_dir) {
        (_, Some(dir)) => dir,
        (Some(path), None) => Config::read(&path)?.data_dir,
        (None, None) => bail!("--config or --data-dir is needed"),
    };
    runtime()?.block_on(async move {
        // Nobody serves while the log changes its name.
        let _lock = wiring::DataDir::lock(&data_dir)?;
        let store = wiring::open_store(&data_dir).await?;
        let done = async {
            if let Some(note) = certify::last_known(store.as_ref()).await.map_err(plain)? {
                println!(
                    "The last checkpoint that the store knew of; keep it with the log that is set aside:\n\n{note}"
                );
            }
            // The directory first: as long as the store remembers the log, no start takes the empty place for it.
            if let Some(aside) = wiring::set_log_aside(&data_dir)? {
                println!("the log is now in {}; the next start begins another one", aside.display());
            }
            certify::give_up_log(store.as_ref()).await.map_err(plain)
        };
        let done = done.await;
        store.close().await.context("cannot close the store")?;
        done
    })
}
