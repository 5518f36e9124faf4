//! `jadeseal version`.

use crate::Output;
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// How to print it.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output {
        Output::Table => println!("jadeseal {version} (Tencent Cloud KMS API {})", jadeseal_service::KMS_VERSION),
        Output::Json => println!("{}", serde_json::json!({ "version": version, "api": jadeseal_service::KMS_VERSION })),
    }
    Ok(())
}
