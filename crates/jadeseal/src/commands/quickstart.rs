//! `jadeseal quickstart`.

use super::{harden, runtime, serve_until, stop_signal};
use crate::Output;
use anyhow::{Context as _, Result, bail};
use jadeseal_server::{
    config::{self, Config},
    wiring,
};
use jadeseal_service::accounts::NewAccessKey;
use std::{io::Write as _, net::SocketAddr, path::PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Where keys, audit log and root key live; made when missing.
    #[arg(long, env = "JADESEAL_DATA_DIR", default_value = "./jadeseal-data")]
    data_dir: PathBuf,
    /// Loopback address to listen on; port 0 takes a free one.
    #[arg(long, env = "JADESEAL_LISTEN", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Region to serve, NAME or NAME:PROFILE (all, intl, gm, gm-strict); may be repeated, the first is the default.
    #[arg(long, env = "JADESEAL_REGION", value_delimiter = ',', default_value = config::DEFAULT_REGION)]
    region: Vec<String>,
    /// Cloud product that may act for the account, such as cos; may be repeated. Its access key is printed too.
    #[arg(long, env = "JADESEAL_PRODUCT", value_delimiter = ',')]
    product: Vec<String>,
    /// Audit degree: os or fsync.
    #[arg(long, env = "JADESEAL_AUDIT", default_value = "os")]
    audit: String,
    /// How to print the credentials.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    if !args.listen.ip().is_loopback() {
        bail!("quickstart listens on loopback only; use `jadeseal init` and `jadeseal serve` for a network");
    }
    let mut conf = Config::quickstart(args.data_dir, args.listen, config::regions(&args.region)?)?;
    conf.audit.fsync = config::degree(&args.audit)?;
    conf.products = config::products(&args.product)?;
    harden();
    runtime()?.block_on(async move {
        let region = conf.regions.default_region().name.to_string();
        let stopped = stop_signal()?;
        let opened = wiring::open(conf, true).await?;
        let (key, new) = opened.service.quickstart_account().await.context("cannot make the first account")?;
        let mut products = Vec::with_capacity(args.product.len());
        for name in &args.product {
            let product = opened.service.products().find(name).context("the product is not configured")?;
            let granted = opened.service.quickstart_product(key.account, product).await;
            products.push((name.as_str(), granted.context("cannot grant the product an access key")?));
        }
        let (listener, address) = opened.bind().await?;
        let endpoint = format!("http://{address}");
        match args.output {
            Output::Json => print_json(&endpoint, &region, &key, &products)?,
            Output::Table => print_table(&endpoint, &region, &key, new, &products)?,
        }
        drop((key, products));
        serve_until(stopped, opened, listener).await
    })
}

fn print_json(endpoint: &str, region: &str, key: &NewAccessKey, products: &[(&str, NewAccessKey)]) -> Result<()> {
    let mut line = serde_json::json!({
        "endpoint": endpoint,
        "region": region,
        "secret_id": key.secret_id.as_str(),
        "secret_key": key.secret_text(),
        "owner_uin": key.account.0,
        "app_id": key.app_id.0,
    });
    if !products.is_empty() {
        let of = |(name, key): &(&str, NewAccessKey)| serde_json::json!({ "product": name, "secret_id": key.secret_id.as_str(), "secret_key": key.secret_text() });
        line["products"] = products.iter().map(of).collect();
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn print_table(
    endpoint: &str,
    region: &str,
    key: &NewAccessKey,
    new: bool,
    products: &[(&str, NewAccessKey)],
) -> Result<()> {
    let id = key.secret_id.as_str();
    let host = endpoint.trim_start_matches("http://");
    let secret = if new { key.secret_text() } else { "(printed at the first start; `-o json` prints it again)" };
    let shown = if new { secret } else { "..." };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\n  Jadeseal quickstart: for development. Keys live beside their root key on this disk.\n\n\
         \x20 Endpoint    {endpoint}\n\
         \x20 Region      {region}\n\
         \x20 SecretId    {id}\n\
         \x20 SecretKey   {secret}\n\
         \x20 OwnerUin    {}\n\
         \x20 AppId       {}\n\n\
         \x20 tccli:\n\n\
         \x20   export TENCENTCLOUD_SECRET_ID={id} TENCENTCLOUD_SECRET_KEY={shown}\n\
         \x20   tccli kms CreateKey --Alias first --region {region} --endpoint {endpoint}\n\n\
         \x20 Python:\n\n\
         \x20   from tencentcloud.common import credential\n\
         \x20   from tencentcloud.common.profile.client_profile import ClientProfile\n\
         \x20   from tencentcloud.common.profile.http_profile import HttpProfile\n\
         \x20   from tencentcloud.kms.v20190118 import kms_client, models\n\
         \x20   profile = ClientProfile(httpProfile=HttpProfile(protocol=\"http\", endpoint=\"{host}\"))\n\
         \x20   client = kms_client.KmsClient(credential.Credential(\"{id}\", \"{shown}\"), \"{region}\", profile)\n\
         \x20   print(client.ListKeys(models.ListKeysRequest()))\n",
        key.account, key.app_id,
    )?;
    for (name, key) in products {
        // Its SecretKey stays out of logs, which a table often goes to.
        writeln!(out, "  Product {name}: SecretId {} (`-o json` prints its SecretKey)", key.secret_id)?;
    }
    out.flush()?;
    Ok(())
}
