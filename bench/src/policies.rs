//! Encrypt by callers that need policies, beside the main account, interleaved.

use crate::{
    Setup,
    jadeseal::Jadeseal,
    load,
    ops::median,
    process::pin_self,
    sign::{Signer, now},
};
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::{Value, json};
use std::{cell::RefCell, rc::Rc, time::Duration};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Rounds; each measures everything once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests of each caller in a round
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

const CAM: &str = "2019-01-16";
const STS: &str = "2018-08-13";
const KEYS: usize = 100;
/// Policies of a user, with three statements each.
const POLICIES: usize = 10;

pub fn run(options: &Options) -> Result<()> {
    pin_self(options.setup.load_core)?;
    let directory = options.setup.fresh()?;
    let server = Jadeseal::start(&options.setup, &directory.path().join("data"), "os", None)?;
    let tags = json!([{ "TagKey": "team", "TagValue": "bench" }]);
    let made = server.own_bodies("CreateKey", KEYS, |n| json!({ "Alias": format!("p-{n}"), "Tags": tags }).to_string());
    let (keys, _) = server.members(made, 8, "KeyId")?;
    let callers = callers(&server)?;
    server.rest()?;
    let mut rows: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); callers.len()];
    for round in 0..options.rounds {
        for ((who, signer), row) in callers.iter().zip(&mut rows) {
            let at = now();
            let body = |n: usize| {
                let text = STANDARD.encode(format!("{round:08}-{n:08}-0123456789abcdef"));
                format!(r#"{{"KeyId":"{}","Plaintext":"{text}"}}"#, keys[n % KEYS])
            };
            let requests = (0..options.requests).map(|n| signer.request("Encrypt", &body(n), at)).collect();
            let before = server.process.cpu()?;
            let limit = Duration::from_secs(30);
            let outcome =
                load::drive(server.address(), requests, options.connections, limit).with_context(|| who.clone())?;
            let cpu = server.process.cpu()? - before;
            row.0.push(cpu.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64);
            row.1.push(outcome.percentile_us(99.0));
        }
    }
    let first = rows.first().map_or(f64::NAN, |row| median(&row.0));
    println!("| caller of Encrypt | CPU µs/request | × main account | µs more | p99 µs |\n|---|---|---|---|---|");
    for ((who, _), (cpu, p99)) in callers.iter().zip(&rows) {
        let cpu = median(cpu);
        println!("| {who} | {cpu:.2} | {:.3} | {:.2} | {:.0} |", cpu / first, cpu - first, median(p99));
    }
    Ok(())
}

/// One call of any API, which must succeed.
fn call(server: &Jadeseal, signer: &Signer, version: &str, action: &str, body: Value) -> Result<Value> {
    let got = Rc::new(RefCell::new(Value::Null));
    let sink = got.clone();
    let request = signer.request_of(version, action, &body.to_string(), now());
    load::collect(server.address(), vec![request], 1, move |_, body| {
        *sink.borrow_mut() = serde_json::from_slice(body).unwrap_or_default();
    })?;
    let mut answer = got.take();
    ensure!(answer["Response"]["Error"].is_null(), "{action}: {answer}");
    Ok(answer["Response"].take())
}

/// A policy of three statements. The one that lets Encrypt through comes last; `condition` goes with it.
fn policy(condition: Option<Value>) -> String {
    let mut last =
        json!({ "effect": "allow", "action": ["name/kms:Encrypt"], "resource": ["qcs::kms:::key/creatorUin/*"] });
    if let Some(condition) = condition {
        last["condition"] = condition;
    }
    json!({ "version": "2.0", "statement": [
        { "effect": "deny", "action": ["kms:ScheduleKeyDeletion", "kms:Encrypt"], "resource": "qcs::kms:::key/creatorUin/1/*" },
        { "effect": "allow", "action": ["kms:Describe*", "kms:List*"], "resource": "*" },
        last,
    ] })
    .to_string()
}

/// Who calls: the main account, and principals with ever more to decide.
fn callers(server: &Jadeseal) -> Result<Vec<(String, Signer)>> {
    let root = &server.signer;
    let plain = user(server, "plain", None)?;
    let tag = json!({ "for_any_value:string_equal": { "qcs:resource_tag": ["team&bench"] }, "ip_equal": { "qcs:ip": "127.0.0.0/8" } });
    let tagged = user(server, "tagged", Some(tag))?;
    let account = call(server, root, STS, "GetCallerIdentity", json!({}))?;
    let account = account["AccountId"].as_str().context("AccountId")?.to_owned();
    let trust = json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "sts:AssumeRole",
        "principal": { "qcs": [format!("qcs::cam::uin/{account}:root")] } }] });
    call(server, root, CAM, "CreateRole", json!({ "RoleName": "bench", "PolicyDocument": trust.to_string() }))?;
    call(
        server,
        root,
        CAM,
        "AttachRolePolicy",
        json!({ "AttachRoleName": "bench", "PolicyName": "QcloudKMSFullAccess" }),
    )?;
    let arn = format!("qcs::cam::uin/{account}:roleName/bench");
    let session = json!({ "RoleArn": arn, "RoleSessionName": "bench", "Policy": policy(None) });
    let session = call(server, root, STS, "AssumeRole", session)?;
    let text = |name: &str| session["Credentials"][name].as_str().unwrap_or_default().to_owned();
    let session = Signer {
        secret_id: text("TmpSecretId"),
        secret_key: text("TmpSecretKey"),
        token: Some(text("Token")),
        ..root.clone()
    };
    Ok(vec![
        ("main account".into(), root.clone()),
        (format!("user, {POLICIES} policies"), plain),
        (format!("user, {POLICIES} policies with tag and address"), tagged),
        ("session of a role, with a policy".into(), session),
    ])
}

fn user(server: &Jadeseal, name: &str, condition: Option<Value>) -> Result<Signer> {
    let root = &server.signer;
    let made = call(server, root, CAM, "AddUser", json!({ "Name": name, "UseApi": 1 }))?;
    for n in 0..POLICIES {
        let document = policy(condition.clone());
        let body = json!({ "PolicyName": format!("{name}-{n}"), "PolicyDocument": document });
        let policy = call(server, root, CAM, "CreatePolicy", body)?;
        let body = json!({ "PolicyId": policy["PolicyId"], "AttachUin": made["Uin"] });
        call(server, root, CAM, "AttachUserPolicy", body)?;
    }
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    Ok(Signer { secret_id: text("SecretId"), secret_key: text("SecretKey"), ..root.clone() })
}
