//! The server under measurement and requests for it.

use crate::{
    Setup, load,
    process::Process,
    sign::{Signer, now},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    path::Path,
    rc::Rc,
};

/// Timestamps are spread to either side of now: the same body under another timestamp is another request. The window
/// of the server is 300 s; a run begins at once after signing and lasts well under what is left.
const SPREAD: i64 = 200;

/// A running server.
pub struct Jadeseal {
    pub process: Process,
    pub signer: Signer,
    calls: Cell<usize>,
}

impl Jadeseal {
    /// Starts `quickstart` on a data directory, on its core. `creds` is what an earlier start printed.
    pub fn start(setup: &Setup, data: &Path, audit: &str, creds: Option<(String, String)>) -> Result<Self> {
        Self::start_on(Some(setup.server_core), setup, data, audit, creds)
    }

    /// The same on another core, or on all.
    pub fn start_on(
        core: Option<usize>,
        setup: &Setup,
        data: &Path,
        audit: &str,
        creds: Option<(String, String)>,
    ) -> Result<Self> {
        let data = data.to_str().context("a path that is not text")?;
        let args = ["quickstart", "--data-dir", data, "--listen", "127.0.0.1:0", "--audit", audit, "-o", "json"];
        let process = Process::start(&setup.binary, &args, core)?;
        let hello: Value = serde_json::from_str(&process.hello).context("the first line of quickstart")?;
        let text = |name: &str| hello[name].as_str().unwrap_or_default().to_owned();
        let (secret_id, secret_key) = creds.unwrap_or_else(|| (text("secret_id"), text("secret_key")));
        ensure!(!secret_key.is_empty(), "quickstart printed no secret_key");
        let host = text("endpoint").trim_start_matches("http://").to_owned();
        Ok(Jadeseal {
            process,
            signer: Signer { secret_id, secret_key, host, region: text("region"), token: None },
            calls: Cell::new(0),
        })
    }

    pub fn creds(&self) -> (String, String) {
        (self.signer.secret_id.clone(), self.signer.secret_key.clone())
    }

    /// Waits until the server has done what it does unasked: it fills its pool of RSA keys, at once when one is taken.
    pub fn rest(&self) -> Result<()> {
        self.call("CreateKey", r#"{"Alias":"rest","KeyUsage":"ASYMMETRIC_SIGN_VERIFY_RSA_2048"}"#, "KeyId")?;
        self.process.settle()
    }

    pub fn address(&self) -> &str {
        &self.signer.host
    }

    /// Signs `count` requests that all differ though there are only so many bodies: the timestamp tells the rest apart,
    /// and white space behind the JSON those of one call of this function from those of the next.
    pub fn requests(
        &self,
        action: &str,
        count: usize,
        bodies: usize,
        body: impl Fn(usize) -> String,
    ) -> Result<Vec<Vec<u8>>> {
        let base = now();
        let call = self.calls.replace(self.calls.get() + 1);
        let all: Vec<_> = (0..count)
            .map(|n| {
                let text = body(n % bodies) + &" ".repeat(call % 64);
                self.signer.request(action, &text, base - SPREAD + (n / bodies) as i64)
            })
            .collect();
        let distinct: HashSet<_> = all.iter().collect();
        ensure!(distinct.len() == all.len(), "{action}: {} of {} requests differ", distinct.len(), all.len());
        ensure!(count.div_ceil(bodies) as i64 <= 2 * SPREAD, "{action}: more requests than timestamps");
        Ok(all)
    }

    /// As `requests`, but every request has a body of its own and the time is now.
    pub fn own_bodies(&self, action: &str, count: usize, body: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
        let base = now();
        (0..count).map(|n| self.signer.request(action, &body(n), base)).collect()
    }

    /// Makes one call and returns one text member of the answer.
    pub fn call(&self, action: &str, body: &str, member: &'static str) -> Result<String> {
        let requests = self.own_bodies(action, 1, |_| body.to_owned());
        let (got, _) = self.members(requests, 1, member).with_context(|| format!("{action} {body}"))?;
        got.into_iter().next().context("no answer")
    }

    /// Makes keys over 32 connections; returns their ids and how the creation went.
    pub fn create_keys(&self, stem: &str, count: usize) -> Result<(Vec<String>, load::Outcome)> {
        let requests = self.own_bodies("CreateKey", count, |n| format!(r#"{{"Alias":"{stem}-{n}"}}"#));
        self.members(requests, 32, "KeyId")
    }

    /// Sends all requests and gathers one text member of every answer, in the order of the requests.
    pub fn members(
        &self,
        requests: Vec<Vec<u8>>,
        connections: usize,
        name: &'static str,
    ) -> Result<(Vec<String>, load::Outcome)> {
        let got = Rc::new(RefCell::new(vec![String::new(); requests.len()]));
        let sink = got.clone();
        let outcome = load::collect(self.address(), requests, connections, move |n, body| {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            sink.borrow_mut()[n] = answer["Response"][name].as_str().unwrap_or_default().to_owned();
        })?;
        let got = got.take();
        ensure!(got.iter().all(|text| !text.is_empty()), "an answer without {name}");
        Ok((got, outcome))
    }
}
