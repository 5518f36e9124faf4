//! Project Wycheproof against the asymmetric algorithms.

use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::ec::EcPublicKey;
use jadeseal_crypto::mldsa::MlDsaPublicKey;
use jadeseal_crypto::mlkem::{self, MlKemPublicKey};
use jadeseal_crypto::rsa::{Padding, RsaPublicKey};
use jadeseal_crypto::{CryptoError, Curve, ImportKey, MlDsaKey, MlKemKey, RsaKey, RsaScheme};
use ml_kem::kem::KeyExport;
use ml_kem::{FromSeed, MlKem1024};
use wycheproof::{
    TestResult, ecdsa, mldsa_sign, mldsa_verify, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify, rsa_pss_verify,
};

/// Both have to agree; where the vectors leave it open there is nothing to compare.
fn agree(claimed: TestResult, ours: bool, id: usize) {
    match claimed {
        TestResult::Valid => assert!(ours, "{id}"),
        TestResult::Invalid => assert!(!ours, "{id}"),
        TestResult::Acceptable => (),
    }
}

#[test]
fn rsa_pkcs1_decryption() {
    let set = rsa_pkcs1_decrypt::TestSet::load(rsa_pkcs1_decrypt::TestName::Rsa2048).unwrap();
    let (mut exact, mut synthetic, mut no_number) = (0, 0, 0);
    for group in &set.test_groups {
        let key = RsaKey::from_pkcs8(&group.pkcs8).unwrap();
        let import = ImportKey::from_pkcs8(&group.pkcs8).unwrap();
        for test in &group.tests {
            let ours = key.decrypt(Padding::Pkcs1, &test.ct);
            let unwrapped = import.unwrap(Padding::Pkcs1, &test.ct);
            agree(test.result, unwrapped.is_ok_and(|m| m.ct_eq(&test.pt)), test.tc_id);
            match (test.result, ours) {
                (TestResult::Invalid, Err(e)) => {
                    assert_eq!(e, CryptoError::Invalid);
                    assert!(
                        test.flags.contains(&rsa_pkcs1_decrypt::TestFlag::InvalidCiphertextFormat),
                        "{}",
                        test.tc_id
                    );
                    no_number += 1;
                }
                (TestResult::Invalid, Ok(message)) => {
                    // What the implicit rejection gives: the same each time and nothing of the block.
                    assert!(!message.ct_eq(&test.pt), "{}", test.tc_id);
                    assert!(key.decrypt(Padding::Pkcs1, &test.ct).unwrap().ct_eq(message.expose()));
                    synthetic += 1;
                }
                (_, ours) => {
                    assert!(ours.unwrap().ct_eq(&test.pt), "{}", test.tc_id);
                    exact += 1;
                }
            }
        }
    }
    assert_eq!((exact, synthetic, no_number), (42, 19, 6));
}

fn oaep(name: rsa_oaep::TestName, padding: Padding) -> usize {
    let set = rsa_oaep::TestSet::load(name).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let key = RsaKey::from_pkcs8(&group.pkcs8).unwrap();
        // The API has no labels, so a ciphertext with one must not open.
        for test in &group.tests {
            count += 1;
            let opened = key.decrypt(padding, &test.ct);
            if !test.label.is_empty() {
                assert!(opened.is_err(), "{}", test.tc_id);
                continue;
            }
            agree(test.result, opened.is_ok_and(|m| m.ct_eq(&test.pt)), test.tc_id);
        }
    }
    count
}

#[test]
fn rsa_oaep() {
    assert_eq!(oaep(rsa_oaep::TestName::Rsa2048Sha1Mgf1Sha1, Padding::OaepSha1), 36);
    assert_eq!(oaep(rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256, Padding::OaepSha256), 37);
}

#[test]
fn rsa_pkcs1_signatures() {
    let set = rsa_pkcs1_verify::TestSet::load(rsa_pkcs1_verify::TestName::Rsa2048Sha256).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let key = RsaPublicKey::from_spki(&group.der).unwrap();
        for test in &group.tests {
            let ours = key.verify(RsaScheme::Pkcs1Sha256, Input::Message(&test.msg), &test.sig).unwrap();
            agree(test.result, ours, test.tc_id);
            count += 1;
        }
    }
    assert_eq!(count, 259);
}

#[test]
fn rsa_pss_signatures() {
    let set = rsa_pss_verify::TestSet::load(rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen32).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let key = RsaPublicKey::from_spki(&group.der).unwrap();
        for test in &group.tests {
            let ours = key.verify(RsaScheme::PssSha256, Input::Message(&test.msg), &test.sig).unwrap();
            agree(test.result, ours, test.tc_id);
            count += 1;
        }
    }
    assert_eq!(count, 108);
    // Signatures with another salt do not verify, whatever else is right.
    let set = rsa_pss_verify::TestSet::load(rsa_pss_verify::TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap();
    for group in &set.test_groups {
        let key = RsaPublicKey::from_spki(&group.der).unwrap();
        for test in group.tests.iter().filter(|t| t.result == TestResult::Valid) {
            assert!(!key.verify(RsaScheme::PssSha256, Input::Message(&test.msg), &test.sig).unwrap());
        }
    }
}

fn ecdsa(name: ecdsa::TestName, curve: Curve) -> usize {
    let set = ecdsa::TestSet::load(name).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let key = EcPublicKey::from_spki(curve, &group.der).unwrap();
        for test in &group.tests {
            let ours = key.verify(Input::Message(&test.msg), &test.sig).unwrap();
            agree(test.result, ours, test.tc_id);
            count += 1;
        }
    }
    count
}

#[test]
fn ecdsa_in_der_and_fixed() {
    assert_eq!(ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256, Curve::P256), 484);
    assert_eq!(ecdsa(ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Curve::P256), 262);
    assert_eq!(ecdsa(ecdsa::TestName::EcdsaSecp384r1Sha384, Curve::P384), 504);
    assert_eq!(ecdsa(ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Curve::P384), 280);
}

fn ml_kem(name: wycheproof::mlkem::TestName) -> Vec<wycheproof::mlkem::Test> {
    wycheproof::mlkem::TestSet::load(name).unwrap().test_groups.into_iter().flat_map(|g| g.tests).collect()
}

/// The stored form of a key that is given by its seed, which an independent implementation expands.
#[allow(deprecated)] // the other crate would keep seeds alone
fn expand(seed: &[u8]) -> (Vec<u8>, Vec<u8>) {
    use ml_kem::ExpandedKeyEncoding as _;
    let (private, public) = MlKem1024::from_seed(&seed.try_into().unwrap());
    (private.to_expanded_bytes().to_vec(), public.to_bytes().to_vec())
}

#[test]
fn ml_kem_1024() {
    use wycheproof::mlkem::TestName;
    let mut decapsulated = 0;
    for test in ml_kem(TestName::MlKem1024) {
        let seed = test.seed.as_ref().unwrap();
        if seed.len() != 64 {
            assert_eq!(test.result, TestResult::Invalid);
            continue;
        }
        let (private, public) = expand(seed);
        let key = MlKemKey::from_bytes(&private).unwrap();
        assert_eq!(&key.public_spki()[22..], &public[..]);
        assert_eq!(&public[..], &test.encaps_key.as_ref().unwrap()[..]);
        let ours = key.decapsulate(test.ct.as_ref().unwrap());
        match test.result {
            TestResult::Invalid => assert!(matches!(ours, Err(CryptoError::Invalid)), "{}", test.tc_id),
            _ => assert_eq!(ours.unwrap().expose()[..], test.shared_secret.as_ref().unwrap()[..], "{}", test.tc_id),
        }
        decapsulated += 1;
    }
    assert_eq!(decapsulated, 182);

    let keys = ml_kem(TestName::MlKem1024KeyGenSeed);
    for test in &keys {
        let private = test.decaps_key.as_ref().unwrap();
        let key = MlKemKey::from_bytes(private).unwrap();
        assert_eq!(key.to_bytes().unwrap().expose(), &private[..]);
        assert_eq!(key.public_spki()[22..], test.encaps_key.as_ref().unwrap()[..]);
    }
    assert_eq!(keys.len(), 100);

    let expanded = ml_kem(TestName::MlKem1024SemiExpandedDecaps);
    for test in &expanded {
        let opened = MlKemKey::from_bytes(test.decaps_key.as_ref().unwrap())
            .and_then(|key| key.decapsulate(test.ct.as_ref().unwrap()));
        match (test.result, opened) {
            (TestResult::Invalid, opened) => assert!(opened.is_err(), "{}", test.tc_id),
            (_, opened) => assert_eq!(opened.unwrap().expose()[..], test.shared_secret.as_ref().unwrap()[..]),
        }
    }
    assert_eq!(expanded.len(), 9);
}

#[test]
fn ml_kem_1024_public_keys() {
    // The encapsulation itself is deterministic in the vectors and random here; what can be compared is
    // which keys are taken.
    let tests = ml_kem(wycheproof::mlkem::TestName::MlKem1024Encaps);
    let head = &MlKemKey::generate().unwrap().public_spki()[..22].to_vec();
    for test in &tests {
        let raw = test.encaps_key.as_ref().unwrap();
        let key = MlKemPublicKey::from_spki(&[&head[..], raw].concat());
        agree(test.result, key.is_ok(), test.tc_id);
        if let Ok(key) = key {
            assert_eq!(key.encapsulate().unwrap().0.len(), mlkem::CIPHERTEXT);
        }
    }
    assert_eq!(tests.len(), 269);
}

#[test]
fn ml_dsa_87_verification() {
    let set = mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa87Verify).unwrap();
    let (mut compared, mut with_context) = (0, 0);
    for group in &set.test_groups {
        let key = MlDsaPublicKey::from_spki(&group.der);
        for test in &group.tests {
            let ours = key.as_ref().is_ok_and(|k| k.verify(&test.msg, &test.sig).unwrap());
            // Signatures over a context string are none without it.
            if test.ctx.as_ref().is_some_and(|c| !c.is_empty()) {
                assert!(!ours, "{}", test.tc_id);
                with_context += 1;
            } else {
                agree(test.result, ours, test.tc_id);
                compared += 1;
            }
        }
    }
    assert_eq!((compared, with_context), (234, 7));
}

#[test]
fn ml_dsa_87_keys_from_seeds() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa87SignSeed).unwrap();
    let (mut keys, mut signatures) = (0, 0);
    for group in &set.test_groups {
        let seed = group.privseed.as_ref().unwrap();
        let Ok(key) = MlDsaKey::from_seed(seed) else {
            assert_ne!(seed.len(), 32);
            continue;
        };
        keys += 1;
        assert_eq!(key.public_spki()[22..], group.pubkey.as_ref().unwrap()[..]);
        for test in group.tests.iter().filter(|t| t.ctx.is_none() && t.result == TestResult::Valid) {
            // The internal ones give the message representative alone.
            if let Some(message) = &test.msg {
                assert!(key.verify(message, &test.sig).unwrap(), "{}", test.tc_id);
                signatures += 1;
            }
        }
    }
    assert_eq!((keys, signatures), (39, 71));
}
