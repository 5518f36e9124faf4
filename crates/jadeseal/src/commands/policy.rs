//! `jadeseal policy`.

use super::{account::Place, account_of, plain, runtime};
use crate::Output;
use anyhow::{Context as _, Result, anyhow, bail};
use jadeseal_auth::Organisations;
use jadeseal_server::{
    config::{self, Config},
    wiring,
};
use jadeseal_service::{
    explain::{Answer, Question, Simulator, Who},
    region::Regions,
};
use jadeseal_store::Store;
use jadeseal_types::{AccountId, limits};
use std::{
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// What the end of the process tells.
const EXIT_CODES: &str = "Exit codes:
  0  he may, or the document is valid
  1  something that was named does not exist, the document is not valid, or the store cannot be read
  2  the command line is wrong
  3  he may not";

#[derive(clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Tell whether a principal may do something, and which statement says so. Ends with 0 when he may, with 3 when not.
    #[command(after_help = EXIT_CODES)]
    Explain(Box<Explain>),
    /// Check a policy document as CreatePolicy would; `-` reads standard input.
    #[command(after_help = EXIT_CODES)]
    Check(Check),
}

#[derive(clap::Args)]
struct Explain {
    #[command(flatten)]
    place: Place,
    /// OwnerUin of the account; may be left out where there is one account.
    #[arg(long)]
    account: Option<u64>,
    /// A user, by name or Uin. Without a user or role it is the main account itself.
    #[arg(long, conflicts_with = "role")]
    user: Option<String>,
    /// A session of a role, by name or id.
    #[arg(long)]
    role: Option<String>,
    /// The action, such as kms:Encrypt.
    #[arg(long)]
    action: String,
    /// Six segments, such as qcs::kms:ap-guangzhou:uin/100000000001:key/creatorUin/100000000002/KEYID, or *.
    #[arg(long, default_value = "*")]
    resource: String,
    /// Address that the request would come from.
    #[arg(long)]
    source_ip: Option<IpAddr>,
    /// The request would come in clear, not over TLS.
    #[arg(long)]
    insecure: bool,
    /// Unix time of the request, seconds; now when left out.
    #[arg(long)]
    time: Option<u64>,
    /// Tag of the key as KEY=VALUE, in place of those that it has; may be repeated.
    #[arg(long = "tag", value_parser = tag)]
    tags: Vec<String>,
    /// Tag in the request as KEY=VALUE; may be repeated.
    #[arg(long = "request-tag", value_parser = tag)]
    request_tags: Vec<String>,
    /// File with a session policy.
    #[arg(long)]
    session_policy: Option<PathBuf>,
    /// How to print the answer.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(clap::Args)]
struct Check {
    #[command(flatten)]
    place: Place,
    /// OwnerUin of the account that the policy is for; may be left out where there is one account.
    #[arg(long)]
    account: Option<u64>,
    /// It says who may take a role.
    #[arg(long)]
    trust: bool,
    /// The document.
    file: PathBuf,
}

/// The exit code of a question whose answer is no.
const REFUSED: u8 = 3;

/// `KEY=VALUE` as policies see it.
fn tag(text: &str) -> Result<String, String> {
    let (key, value) = text.split_once('=').ok_or("a tag is KEY=VALUE")?;
    Ok(format!("{key}&{value}"))
}

pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Explain(args) => explain(*args),
        Command::Check(args) => check(args),
    }
}

/// A document of a file, or of standard input. Longer ones than a policy can be are not read to their end.
fn read(path: &Path) -> Result<String> {
    // Nothing longer can have so few characters.
    let limit = 4 * limits::MAX_POLICY_CHARS as u64;
    let mut bytes = Vec::new();
    let got = if path.as_os_str() == "-" {
        std::io::stdin().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    got.with_context(|| path.display().to_string())?;
    document(bytes).with_context(|| path.display().to_string())
}

fn document(bytes: Vec<u8>) -> Result<String> {
    if bytes.len() > 4 * limits::MAX_POLICY_CHARS {
        bail!("the document is longer than {} characters", limits::MAX_POLICY_CHARS);
    }
    String::from_utf8(bytes).map_err(|e| anyhow!("the document is not UTF-8: byte {}", e.utf8_error().valid_up_to()))
}

/// Opens the store, and closes it after the work.
fn with_simulator<T>(
    place: &Place,
    account: Option<u64>,
    work: impl AsyncFnOnce(Simulator, AccountId) -> Result<T>,
) -> Result<T> {
    let (dir, ..) = place.find()?;
    let (regions, organisations) = match &place.config {
        Some(path) => {
            let conf = Config::read(path)?;
            (conf.regions, conf.organisations)
        }
        None => (quickstart_regions()?, Organisations::default()),
    };
    runtime()?.block_on(async move {
        let store: Arc<dyn Store> = wiring::open_store(&dir).await?;
        let done = async {
            let account = account_of(store.as_ref(), account).await?;
            work(Simulator::new(store.clone(), &regions, organisations), account).await
        };
        let done = done.await;
        store.close().await.context("cannot close the store")?;
        done
    })
}

/// What a quickstart serves when it is told nothing else: a question about another region can still be asked.
fn quickstart_regions() -> Result<Regions> {
    Ok(config::regions(&[config::DEFAULT_REGION.to_owned()])?)
}

fn explain(args: Explain) -> Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let session_policy = args.session_policy.as_deref().map(read).transpose()?;
    let answer = with_simulator(&args.place, args.account, async |simulator, account| {
        let who = match (&args.user, &args.role) {
            (Some(user), _) => Who::User(user.clone()),
            (None, Some(role)) => Who::Role(role.clone()),
            (None, None) => Who::Root,
        };
        let question = Question {
            account,
            who,
            action: args.action.clone(),
            resource: args.resource.clone(),
            source: args.source_ip,
            now: args.time.unwrap_or(now),
            secure: !args.insecure,
            tags: (!args.tags.is_empty()).then(|| args.tags.clone()),
            request_tags: args.request_tags.clone(),
            session_policy: session_policy.clone(),
        };
        simulator.explain(&question).await.map_err(plain)
    })?;
    print(&answer, args.output);
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn print(answer: &Answer, output: Output) {
    match output {
        Output::Json => {
            let policies: Vec<_> = answer
                .policies
                .iter()
                .map(|(policy, from)| serde_json::json!({ "policy": policy, "from": from }))
                .collect();
            let line = serde_json::json!({ "allowed": answer.allowed, "why": answer.why, "policies": policies });
            println!("{line}");
        }
        Output::Table => {
            println!("{}: {}", if answer.allowed { "ALLOWED" } else { "REFUSED" }, answer.why);
            for (policy, from) in &answer.policies {
                println!("  {policy} ({from})");
            }
        }
    }
}

fn check(args: Check) -> Result<ExitCode> {
    let document = read(&args.file)?;
    with_simulator(&args.place, args.account, async |simulator, account| {
        simulator.check(account, &document, args.trust).map_err(|e| anyhow!("{}: {e}", args.file.display()))
    })?;
    println!("the policy is valid");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_document_that_is_none_is_told_why() {
        let said = |bytes: Vec<u8>| super::document(bytes).map_err(|e| e.to_string());
        let longest = 4 * super::limits::MAX_POLICY_CHARS;
        assert_eq!(said(b"{}".to_vec()).as_deref(), Ok("{}"));
        assert!(said(vec![b' '; longest]).is_ok(), "what is in it is for the service to judge");
        // Cut off within a character, it is too long and not malformed.
        let long = "\u{1f511}".repeat(longest).into_bytes();
        assert_eq!(said(long[..=longest].to_vec()), Err("the document is longer than 6144 characters".to_owned()));
        assert_eq!(said(b"ab\xff".to_vec()), Err("the document is not UTF-8: byte 2".to_owned()));
    }

    #[test]
    fn tags_are_written_as_policies_see_them() {
        assert_eq!(super::tag("team=a=b").as_deref(), Ok("team&a=b"));
        assert!(super::tag("team").is_err());
    }
}
