//! Project Wycheproof against the primitives in use, through this crate's own functions.

use crate::aead;
use hmac::{Hmac, KeyInit, Mac};
use jadeseal_types::Suite;
use wycheproof::TestResult;

fn gcm(name: wycheproof::aead::TestName, suite: Suite, key_bits: usize) -> usize {
    let set = wycheproof::aead::TestSet::load(name).unwrap();
    let groups = set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (key_bits, 96, 128));
    let mut count = 0;
    for test in groups.flat_map(|g| &g.tests) {
        count += 1;
        let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
        let tag: [u8; 16] = test.tag[..].try_into().unwrap();
        let opened = aead::open_with_nonce(suite, &test.key, nonce, &test.aad, &test.ct, &tag);
        let mut text = test.pt.to_vec();
        let made = aead::seal_with_nonce(suite, &test.key, nonce, &test.aad, &mut text).unwrap();
        let same = text[..] == test.ct[..] && made == tag;
        match test.result {
            TestResult::Valid | TestResult::Acceptable => {
                assert!(opened.unwrap().ct_eq(&test.pt), "{}", test.tc_id);
                assert!(same, "{}", test.tc_id);
            }
            TestResult::Invalid => {
                assert!(opened.is_err(), "{}", test.tc_id);
                assert!(!same, "{}", test.tc_id);
            }
        }
    }
    count
}

#[test]
fn aes_256_gcm() {
    assert!(gcm(wycheproof::aead::TestName::AesGcm, Suite::Aes256, 256) >= 60);
}

#[test]
fn sm4_gcm() {
    assert!(gcm(wycheproof::aead::TestName::Sm4Gcm, Suite::Sm4, 128) >= 20);
}

fn macs(name: wycheproof::mac::TestName, mac: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> usize {
    let set = wycheproof::mac::TestSet::load(name).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            count += 1;
            let made = mac(&test.key, &test.msg);
            let same = made[..group.tag_size / 8] == test.tag[..];
            assert_eq!(same, test.result == TestResult::Valid, "{}", test.tc_id);
        }
    }
    count
}

#[test]
fn hmac_sha256() {
    let ours = macs(wycheproof::mac::TestName::HmacSha256, |key, data| crate::hmac_sha256(key, data).to_vec());
    assert!(ours >= 150);
}

#[test]
fn hmac_sm3() {
    let sm3 = |key: &[u8], data: &[u8]| {
        let mut mac = Hmac::<sm3::Sm3>::new_from_slice(key).unwrap();
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    };
    assert!(macs(wycheproof::mac::TestName::HmacSm3, sm3) >= 150);
}
