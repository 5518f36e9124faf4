//! Witnesses of the audit log (C2SP tlog-witness): others who sign its checkpoints, each only if it continues the last one
//! that they have signed. A log that has shown two people two histories is then found out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_audit::{Checkpoint, Note, Verifier};
use jadeseal_service::{Service, certify::Witnessing};
use reqwest::{Certificate, Client, StatusCode, Url, redirect::Policy};
use serde::Deserialize;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Longest wait for an answer of a witness.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// `[[audit.witness]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessTable {
    key: String,
    url: String,
    ca: Option<PathBuf>,
}

/// A witness.
#[derive(Clone, Debug)]
pub struct Witness {
    key: Verifier,
    /// Where checkpoints are sent.
    url: Url,
    ca: Option<PathBuf>,
}

/// The witnesses of a configuration.
#[derive(Clone, Debug)]
pub struct Witnesses {
    all: Vec<Witness>,
    /// How many must sign a checkpoint before it is published.
    pub required: usize,
    /// Time between two checkpoints that they are asked to sign.
    pub every: Duration,
}

impl Default for Witnesses {
    fn default() -> Self {
        Witnesses { all: Vec::new(), required: 0, every: Duration::from_secs(10) }
    }
}

impl Witnesses {
    /// Checks the tables; the error is in words for the operator.
    pub fn check(tables: Vec<WitnessTable>, required: usize, every: Duration) -> Result<Self, String> {
        let all: Vec<Witness> = tables.into_iter().map(Witness::check).collect::<Result<_, _>>()?;
        if required > all.len() {
            return Err(format!("audit.require_witnesses is {required}, but there are {} witnesses", all.len()));
        }
        if all.iter().enumerate().any(|(i, w)| all[..i].iter().any(|other| other.key.has_key_of(&w.key))) {
            return Err("a witness is named twice".to_owned());
        }
        Ok(Witnesses { all, required, every })
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Makes all of them required.
    pub fn require_all(&mut self) {
        self.required = self.all.len();
    }

    /// What the log has to know.
    pub fn keys(&self) -> Witnessing {
        Witnessing { witnesses: self.all.iter().map(|w| w.key.clone()).collect(), required: self.required }
    }
}

impl Witness {
    fn check(table: WitnessTable) -> Result<Self, String> {
        let WitnessTable { key, url, ca } = table;
        let named = |what: &str| format!("witness {url:?}: {what}");
        let key = Verifier::parse(&key).map_err(|e| named(&e.to_string()))?;
        if !key.is_witness() {
            return Err(named("the key is not one of a witness (its type must be 4)"));
        }
        let base = Url::parse(&url).map_err(|e| named(&e.to_string()))?;
        let loopback = matches!(base.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if !(base.scheme() == "https" || base.scheme() == "http" && loopback) {
            return Err(named("must be https, or http to this machine"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(named("must be a plain address"));
        }
        let url =
            Url::parse(&format!("{}/add-checkpoint", url.trim_end_matches('/'))).map_err(|e| named(&e.to_string()))?;
        Ok(Witness { key, url, ca })
    }

    fn client(&self) -> Result<Client, String> {
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy();
        if let Some(path) = &self.ca {
            let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|e| format!("{}: {e}", path.display()))?;
            builder = builder.tls_certs_only(roots);
        }
        builder.build().map_err(|e| e.to_string())
    }
}

/// A witness with what is known of it.
struct Asked {
    witness: Witness,
    client: Client,
    /// Size of the checkpoint that it has signed last, as far as is known.
    seen: u64,
}

/// Witnesses that can be asked.
pub struct Panel {
    asked: Vec<Asked>,
    required: usize,
    every: Duration,
}

impl Witnesses {
    /// Reads what is needed to ask them; the error names the witness.
    pub fn open(&self) -> Result<Panel, String> {
        let open = |witness: &Witness| {
            let client = witness.client().map_err(|e| format!("witness {}: {e}", witness.key.name()))?;
            Ok(Asked { witness: witness.clone(), client, seen: 0 })
        };
        let asked = self.all.iter().map(open).collect::<Result<_, String>>()?;
        Ok(Panel { asked, required: self.required, every: self.every })
    }
}

/// Asks the witnesses again and again until `stop` turns true.
pub async fn run(service: Arc<Service>, panel: Panel, mut stop: watch::Receiver<bool>) {
    let Panel { mut asked, required, every } = panel;
    let mut last = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
        }
        let Some((checkpoint, note)) = service.audit_log().candidate().filter(|(c, _)| c.size > last) else { continue };
        if round(&service, &mut asked, &checkpoint, note).await >= required.max(1) {
            last = checkpoint.size;
        }
    }
}

/// Has one checkpoint signed by whoever signs it; tells by how many.
async fn round(service: &Arc<Service>, asked: &mut [Asked], checkpoint: &Checkpoint, mut note: Note) -> usize {
    let text = note.to_string();
    let mut answers = tokio::task::JoinSet::new();
    for (at, one) in asked.iter().enumerate() {
        let (service, checkpoint, text) = (service.clone(), checkpoint.clone(), text.clone());
        let (client, url, seen) = (one.client.clone(), one.witness.url.clone(), one.seen);
        answers.spawn(async move { (at, ask(&service, &client, url, seen, &checkpoint, &text).await) });
    }
    let mut signed = 0;
    while let Some(joined) = answers.join_next().await {
        let Ok((at, answer)) = joined else { continue };
        let Some(one) = asked.get_mut(at) else { continue };
        let mut with = note.clone();
        let outcome = answer.and_then(|lines| match with.add_signature_of(&one.witness.key, &lines) {
            true => Ok(()),
            false => Err("its signature does not verify".to_owned()),
        });
        match outcome {
            Ok(()) => {
                (note, signed) = (with, signed + 1);
                one.seen = checkpoint.size;
            }
            Err(e) => {
                service.witness_failed();
                tracing::warn!(
                    witness = one.witness.key.name(),
                    size = checkpoint.size,
                    error = e,
                    "a witness has not signed"
                );
            }
        }
    }
    if signed > 0 {
        // It flushes a file.
        let log = service.clone();
        let published = tokio::task::spawn_blocking(move || log.audit_log().cosigned(note)).await;
        if let Ok(Err(e)) = published {
            tracing::warn!(size = checkpoint.size, error = %e, "the witnessed checkpoint was not published");
            return 0;
        }
    }
    signed
}

/// The signature lines of one witness.
async fn ask(
    service: &Arc<Service>,
    client: &Client,
    url: Url,
    mut seen: u64,
    checkpoint: &Checkpoint,
    note: &str,
) -> Result<String, String> {
    // The second time with the size that it has told us.
    for _ in 0..2 {
        let (log, old, new) = (service.clone(), seen, checkpoint.size);
        let proof = tokio::task::spawn_blocking(move || log.audit_log().consistency(old, new));
        let proof = proof.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let mut body = format!("old {seen}\n");
        proof.iter().for_each(|hash| body.push_str(&format!("{}\n", STANDARD.encode(hash))));
        body.push('\n');
        body.push_str(note);
        let answer = client.post(url.clone()).body(body).send().await.map_err(|e| e.without_url().to_string())?;
        let status = answer.status();
        let text = bounded(answer).await?;
        match status {
            StatusCode::OK => return Ok(text),
            StatusCode::CONFLICT => {
                let size: u64 = text.trim().parse().map_err(|_| "it told no size".to_owned())?;
                if size == seen {
                    return Err("it refuses the checkpoint that continues its own".to_owned());
                }
                if size > checkpoint.size {
                    return Err(format!("it has signed a larger log, of {size} records"));
                }
                seen = size;
            }
            other => return Err(format!("it answered {other}")),
        }
    }
    Err("it changes its mind about what it has signed".to_owned())
}

async fn bounded(mut answer: reqwest::Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
    }
    String::from_utf8(bytes).map_err(|_| "its answer is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let key = "w.example/a+b5dbf9ae+BLZCk3OvKpOQQWRFWFMXWrpVqtNxlMCrkJhh1DEXHdRZ";
        let own = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let check = |key: &str, url: &str| {
            let table = WitnessTable { key: key.to_owned(), url: url.to_owned(), ca: None };
            Witness::check(table).map(|w| w.url.to_string())
        };
        assert!(check(own, "https://w.example").unwrap_err().contains("type must be 4"));
        assert!(check(key, "https://w.example").unwrap_err().contains("id of the verifier key"));
        assert!(Witnesses::check(Vec::new(), 1, TIMEOUT).unwrap_err().contains("require_witnesses is 1"));
    }
}
