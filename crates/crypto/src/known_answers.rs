//! The formats against `tests/vectors/blob_v1.json`, which a second implementation wrote.

use crate::{BlobKey, Context, Header, MlKemKey, WrapKey, blob, parent_version, place, pq, wrap};
use data_encoding::HEXLOWER;
use jadeseal_types::{KeyId, SecretBytes, Suite};
use serde_json::Value;

fn file(list: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../tests/vectors/blob_v1.json")).unwrap();
    all[list].as_array().unwrap().clone()
}

fn hex(v: &Value) -> Vec<u8> {
    HEXLOWER.decode(v.as_str().unwrap().as_bytes()).unwrap()
}

fn version(v: &Value) -> u32 {
    v.as_u64().unwrap().try_into().unwrap()
}

fn suite(v: &Value) -> Suite {
    Suite::from_wire(v["suite"].as_str().unwrap()).unwrap()
}

#[test]
fn blobs_open_and_are_made_byte_for_byte() {
    let vectors = file("blobs");
    assert_eq!(vectors.len(), 18);
    for v in &vectors {
        let key = BlobKey::new(suite(v), &SecretBytes::new(hex(&v["material"]))).unwrap();
        let key_id = KeyId::parse(v["key_id"].as_str().unwrap()).unwrap();
        let version = version(&v["version"]);
        let context = Context::parse(v["context"].as_str().unwrap()).unwrap();
        let (text, sealed) = (hex(&v["plaintext"]), hex(&v["blob"]));
        let salt: [u8; 32] = hex(&v["salt"]).try_into().unwrap();

        assert_eq!(context.encoded(), hex(&v["encoded_context"]));
        assert_eq!(Header::parse(&sealed).unwrap(), Header { suite: suite(v), key_id, version });
        assert_eq!(sealed.len(), text.len() + blob::OVERHEAD);
        assert!(blob::open(&key, &sealed, &context).unwrap().ct_eq(&text));
        let made = blob::seal_with_salt(&key, key_id, version, &context, &text, &salt).unwrap();
        assert_eq!(HEXLOWER.encode(&made), v["blob"].as_str().unwrap());
        // One allocation: room for exactly what was written.
        assert_eq!(made.capacity(), made.len());
    }
}

#[test]
fn wraps_open_and_are_made_byte_for_byte() {
    let vectors = file("wraps");
    assert_eq!(vectors.len(), 6);
    for v in &vectors {
        let key = WrapKey::new(suite(v), &SecretBytes::new(hex(&v["key"]))).unwrap();
        let parts = v["place"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().as_bytes()).collect::<Vec<_>>();
        let place = place(&parts);
        let (secret, wrapped) = (hex(&v["secret"]), hex(&v["wrapped"]));
        let (salt, version) = (hex(&v["salt"]).try_into().unwrap(), version(&v["parent_version"]));

        assert_eq!(parent_version(&wrapped).unwrap(), version);
        assert_eq!(wrapped.len(), secret.len() + wrap::OVERHEAD);
        assert!(key.open(&wrapped, &place).unwrap().ct_eq(&secret));
        let made = key.seal_with_salt(version, &place, &secret, &salt).unwrap();
        assert_eq!(HEXLOWER.encode(&made), v["wrapped"].as_str().unwrap());
    }
}

#[test]
fn pq_blobs_open_and_are_made_byte_for_byte() {
    let vectors = file("pq_blobs");
    assert_eq!(vectors.len(), 3);
    for v in &vectors {
        let key = MlKemKey::from_bytes(&hex(&v["decapsulation_key"])).unwrap();
        let key_id = KeyId::parse(v["key_id"].as_str().unwrap()).unwrap();
        let (text, sealed) = (hex(&v["plaintext"]), hex(&v["blob"]));
        let (salt, version) = (hex(&v["salt"]).try_into().unwrap(), version(&v["version"]));

        assert_eq!(pq::header(&sealed).unwrap(), (key_id, version));
        assert_eq!(sealed.len(), text.len() + pq::OVERHEAD);
        assert!(pq::open(&key, &sealed).unwrap().ct_eq(&text));
        let secret = key.decapsulate(&sealed[24..24 + 1568]).unwrap();
        assert_eq!(secret.expose()[..], hex(&v["shared_secret"]));
        let made = pq::seal_with(&secret, &sealed[24..24 + 1568], key_id, version, &salt, &text).unwrap();
        assert_eq!(HEXLOWER.encode(&made), v["blob"].as_str().unwrap());
        // The ciphertext blob of Encrypt does not know the suite.
        assert!(Header::parse(&sealed).is_err());
    }
}

#[test]
fn the_manual_carries_the_worked_examples() {
    let manual = include_str!("../../../docs/formats.md").split_whitespace().collect::<String>();
    let mut found = 0;
    for v in file("blobs").iter().filter(|v| v["salt"].as_str().unwrap().starts_with("808182")) {
        for field in ["material", "salt", "message_key", "blob"] {
            assert!(manual.contains(v[field].as_str().unwrap()), "{field}");
        }
        found += 1;
    }
    assert_eq!(found, 2);
}
