//! Asymmetric operations three times over: the library's call, our crate's, and the request over HTTP; interleaved.
//! Compared is processor time, so that neighbours on the machine count little. All three run on the server's core.

use crate::{
    Setup,
    calls::{self, Call, MESSAGE, Operation},
    jadeseal::Jadeseal,
    load,
    ops::median,
    process::{pin_self, thread_cpu},
};
use anyhow::{Context, Result, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use jadeseal_crypto::{
    BlobKey, Context as EncryptionContext, SignatureScheme as Scheme, Sm2PublicKey, blob,
    rsa::{Padding, RsaPublicKey},
};
use jadeseal_types::{KeyId, SecretBytes, Suite};
use std::{hint::black_box, time::Duration};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Rounds; each measures everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Processor time for each call in this process, milliseconds
    #[arg(long, default_value_t = 200)]
    milliseconds: u64,
    /// Only operations with this in their name
    #[arg(long, default_value = "")]
    only: String,
}

/// The operations and how many requests of each a round has: for about a second.
const OPERATIONS: &[(&str, Operation, usize)] = &[
    ("RSA-2048 sign, PSS", Operation::Sign(Scheme::RsaPss), 1_200),
    ("RSA-2048 sign, PKCS#1", Operation::Sign(Scheme::RsaPkcs1), 1_200),
    ("RSA-2048 decrypt, OAEP-256", Operation::DecryptRsa(Padding::OaepSha256), 1_200),
    ("RSA-2048 decrypt, PKCS#1", Operation::DecryptRsa(Padding::Pkcs1), 1_200),
    ("P-256 sign", Operation::Sign(Scheme::EcdsaP256), 20_000),
    ("P-256 verify", Operation::Verify(Scheme::EcdsaP256), 10_000),
    ("P-384 sign", Operation::Sign(Scheme::EcdsaP384), 6_000),
    ("P-384 verify", Operation::Verify(Scheme::EcdsaP384), 4_000),
    ("SM2 sign", Operation::Sign(Scheme::Sm2), 6_000),
    ("SM2 verify", Operation::Verify(Scheme::Sm2), 3_000),
    ("SM2 decrypt", Operation::DecryptSm2, 3_000),
    ("ML-KEM-1024 encrypt", Operation::EncryptPq, 15_000),
    ("ML-KEM-1024 decrypt", Operation::DecryptPq, 15_000),
    ("ML-DSA-87 sign", Operation::SignPq, 2_500),
    ("ML-DSA-87 verify", Operation::VerifyPq, 8_000),
];

/// Requests that differ in their bodies.
const BODIES: usize = 64;
/// Longest time for the requests of one operation in one round.
const AT_MOST: Duration = Duration::from_secs(5);
/// Length of what is sealed symmetrically, bytes.
const SEALED: usize = 4096;

pub fn run(options: &Options) -> Result<()> {
    let directory = options.setup.fresh()?;
    let server = Jadeseal::start(&options.setup, &directory.path().join("data"), "os", None)?;
    let mut rows = OPERATIONS
        .iter()
        .filter(|(name, ..)| name.contains(&options.only))
        .map(|&(name, operation, requests)| Row::new(&server, name, operation, requests))
        .collect::<Result<Vec<_>>>()?;
    let mut seals = seals()?;
    server.process.settle()?;
    let at_least = Duration::from_millis(options.milliseconds);
    for round in 0..options.rounds {
        eprintln!("bench: round {} of {}", round + 1, options.rounds);
        for row in &mut rows {
            pin_self(options.setup.server_core)?;
            row.library_us.push(microseconds(&row.library, at_least)?);
            row.own_us.push(microseconds(&row.own, at_least)?);
            pin_self(options.setup.load_core)?;
            row.requests(&server, options.connections)?;
        }
        pin_self(options.setup.server_core)?;
        for seal in &mut seals {
            seal.us.push(microseconds(&seal.call, at_least)?);
        }
    }
    print(&rows, &seals);
    server.process.stop()
}

/// Processor time of one call, microseconds.
fn microseconds(call: &Call, at_least: Duration) -> Result<f64> {
    call()?;
    let begin = thread_cpu();
    let mut calls = 0u32;
    loop {
        for _ in 0..8 {
            call()?;
        }
        calls += 8;
        let used = thread_cpu() - begin;
        if used >= at_least {
            return Ok(used.as_secs_f64() * 1e6 / f64::from(calls));
        }
    }
}

/// One operation and what the rounds showed of it.
struct Row {
    name: &'static str,
    library: Call,
    own: Call,
    action: &'static str,
    bodies: Vec<String>,
    count: usize,
    library_us: Vec<f64>,
    own_us: Vec<f64>,
    http_us: Vec<f64>,
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Row {
    fn new(server: &Jadeseal, name: &'static str, operation: Operation, count: usize) -> Result<Self> {
        let (library, own) = calls::pair(operation).with_context(|| name)?;
        let (action, bodies) = bodies(server, operation).with_context(|| name)?;
        let [library_us, own_us, http_us, rate, p50, p99] = Default::default();
        Ok(Row { name, library, own, action, bodies, count, library_us, own_us, http_us, rate, p50, p99 })
    }

    fn requests(&mut self, server: &Jadeseal, connections: usize) -> Result<()> {
        let requests = server.requests(self.action, self.count, self.bodies.len(), |n| self.bodies[n].clone())?;
        let before = server.process.cpu()?;
        let outcome = load::drive(server.address(), requests, connections, AT_MOST).with_context(|| self.name)?;
        let used = server.process.cpu()? - before;
        self.http_us.push(used.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64);
        self.rate.push(outcome.rate());
        self.p50.push(outcome.percentile_us(50.0) / 1e3);
        self.p99.push(outcome.percentile_us(99.0) / 1e3);
        Ok(())
    }
}

/// The action and bodies for it, under a new key.
fn bodies(server: &Jadeseal, operation: Operation) -> Result<(&'static str, Vec<String>)> {
    let usage = operation.usage().wire();
    let alias = format!("{operation:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let body = format!(r#"{{"Alias":"{}","KeyUsage":"{usage}"}}"#, alias.trim_end_matches('-'));
    let id = server.call("CreateKey", &body, "KeyId")?;
    let public = || -> Result<Vec<u8>> {
        let text = server.call("GetPublicKey", &format!(r#"{{"KeyId":"{id}"}}"#), "PublicKey")?;
        Ok(STANDARD.decode(text)?)
    };
    let each =
        |body: &dyn Fn(&str) -> Result<String>| (0..BODIES).map(|n| body(&message(n))).collect::<Result<Vec<_>>>();
    // What another action makes of each message.
    let made = |action: &str, member, more: &str, name: &str| -> Result<Vec<String>> {
        let requests =
            server.own_bodies(action, BODIES, |n| format!(r#"{{"KeyId":"{id}","{name}":"{}"{more}}}"#, message(n)));
        Ok(server.members(requests, 8, member)?.0)
    };
    let zip = |made: Vec<String>, body: &dyn Fn(&str, &str) -> String| {
        made.iter().enumerate().map(|(n, made)| body(&message(n), made)).collect()
    };
    Ok(match operation {
        Operation::Sign(scheme) => {
            let name = wire(scheme)?;
            let body = |m: &str| Ok(format!(r#"{{"KeyId":"{id}","Algorithm":"{name}","Message":"{m}"}}"#));
            ("SignByAsymmetricKey", each(&body)?)
        }
        Operation::Verify(scheme) => {
            let more = format!(r#","Algorithm":"{}""#, wire(scheme)?);
            let signatures = made("SignByAsymmetricKey", "Signature", &more, "Message")?;
            let body = |m: &str, s: &str| format!(r#"{{"KeyId":"{id}","Message":"{m}","SignatureValue":"{s}"{more}}}"#);
            ("VerifyByAsymmetricKey", zip(signatures, &body))
        }
        Operation::DecryptRsa(padding) => {
            let (key, name) = (RsaPublicKey::from_spki(&public()?)?, padding.wire());
            let body = |m: &str| {
                let text = STANDARD.encode(key.encrypt(padding, m.as_bytes())?);
                Ok(format!(r#"{{"KeyId":"{id}","Algorithm":"{name}","Ciphertext":"{text}"}}"#))
            };
            ("AsymmetricRsaDecrypt", each(&body)?)
        }
        Operation::DecryptSm2 => {
            let key = Sm2PublicKey::from_spki(&public()?)?;
            let body = |m: &str| {
                let text = STANDARD.encode(key.encrypt_asn1(&STANDARD.decode(m)?)?);
                Ok(format!(r#"{{"KeyId":"{id}","Ciphertext":"{text}"}}"#))
            };
            ("AsymmetricSm2Decrypt", each(&body)?)
        }
        Operation::EncryptPq => {
            let body = |m: &str| Ok(format!(r#"{{"KeyId":"{id}","PlainText":"{m}"}}"#));
            ("PostQuantumCryptoEncrypt", each(&body)?)
        }
        Operation::DecryptPq => {
            let blobs = made("PostQuantumCryptoEncrypt", "CiphertextBlob", "", "PlainText")?;
            ("PostQuantumCryptoDecrypt", zip(blobs, &|_, blob| format!(r#"{{"CiphertextBlob":"{blob}"}}"#)))
        }
        Operation::SignPq => {
            let body = |m: &str| Ok(format!(r#"{{"KeyId":"{id}","Message":"{m}"}}"#));
            ("PostQuantumCryptoSign", each(&body)?)
        }
        Operation::VerifyPq => {
            let signatures = made("PostQuantumCryptoSign", "Signature", "", "Message")?;
            let body = |m: &str, s: &str| format!(r#"{{"KeyId":"{id}","Message":"{m}","SignatureValue":"{s}"}}"#);
            ("PostQuantumCryptoVerify", zip(signatures, &body))
        }
    })
}

fn message(n: usize) -> String {
    STANDARD.encode([n as u8; MESSAGE])
}

fn wire(scheme: Scheme) -> Result<&'static str> {
    Ok(match scheme {
        Scheme::Sm2 => "SM2DSA",
        Scheme::EcdsaP256 => "ECC_P256_R1",
        Scheme::EcdsaP384 => "ECC_P384_R1",
        Scheme::RsaPss => "RSA_PSS_SHA_256",
        Scheme::RsaPkcs1 => "RSA_PKCS1_SHA_256",
        Scheme::Sm2Raw => bail!("not measured"),
    })
}

/// Symmetric encryption of 4 KiB, for the record.
struct Seal {
    name: &'static str,
    call: Call,
    us: Vec<f64>,
}

fn seals() -> Result<Vec<Seal>> {
    let library = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[5; 32])?);
    let raw: Call = Box::new(move || {
        let mut text = [7; SEALED];
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        black_box(library.seal_in_place_separate_tag(nonce, Aad::empty(), &mut text)?.as_ref());
        Ok(())
    });
    let ours = |suite: Suite| -> Result<Call> {
        let key = BlobKey::new(suite, &SecretBytes::new(vec![5; suite.material_len()]))?;
        let (id, context) = (KeyId::from_bytes([9; 16]), EncryptionContext::default());
        Ok(Box::new(move || {
            black_box(blob::seal(&key, id, 1, &context, &[7; SEALED])?);
            Ok(())
        }))
    };
    let seal = |name, call| Seal { name, call, us: Vec::new() };
    Ok(vec![
        seal("AES-256-GCM, the library's call", raw),
        seal("AES-256-GCM, a ciphertext blob", ours(Suite::Aes256)?),
        seal("SM4-GCM, a ciphertext blob", ours(Suite::Sm4)?),
    ])
}

fn print(rows: &[Row], seals: &[Seal]) {
    println!(
        "| operation | library, µs | our call, µs | rate | request, CPU µs | rate | requests/s | p50 / p99, ms |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        // Paired: what a round has to say of both.
        let against = |other: &[f64]| {
            let all: Vec<_> = row.library_us.iter().zip(other).map(|(library, us)| 100.0 * library / us).collect();
            median(&all)
        };
        println!(
            "| {} | {:.1} | {:.1} | {:.0} % | {:.1} | {:.0} % | {:.0} | {:.2} / {:.2} |",
            row.name,
            median(&row.library_us),
            median(&row.own_us),
            against(&row.own_us),
            median(&row.http_us),
            against(&row.http_us),
            median(&row.rate),
            median(&row.p50),
            median(&row.p99),
        );
    }
    println!("\n| {SEALED} bytes | µs | MB/s |\n|---|---|---|");
    for seal in seals {
        let us = median(&seal.us);
        println!("| {} | {us:.2} | {:.0} |", seal.name, SEALED as f64 / us);
    }
}
