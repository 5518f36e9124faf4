//! What must not open, over random inputs, through the public functions alone.

use jadeseal_crypto::{BlobKey, Context, CryptoError, Header, WrapKey, blob, parent_version, place, random, wrap};
use jadeseal_types::{KeyId, SecretBytes, Suite};
use proptest::prelude::*;

fn key(suite: Suite) -> BlobKey {
    BlobKey::new(suite, &random::secret(suite.material_len()).unwrap()).unwrap()
}

fn context(text: &str) -> Context {
    Context::parse(text).unwrap()
}

fn id() -> KeyId {
    KeyId::from_bytes([7; 16])
}

fn invalid(result: Result<SecretBytes, CryptoError>) -> bool {
    matches!(result, Err(CryptoError::Invalid))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn blobs_round_trip_and_no_changed_one_opens(
        aes: bool,
        text in proptest::collection::vec(any::<u8>(), 0..300),
        version: u32,
        flip: proptest::sample::Index,
        cut: proptest::sample::Index,
        extra: u8,
    ) {
        let suite = if aes { Suite::Aes256 } else { Suite::Sm4 };
        let (key, other) = (key(suite), key(suite));
        let here = context(r#"{"a":"b"}"#);
        let sealed = blob::seal(&key, id(), version, &here, &text).unwrap();
        prop_assert_eq!(sealed.len(), text.len() + blob::OVERHEAD);
        prop_assert_eq!(Header::parse(&sealed).unwrap(), Header { suite, key_id: id(), version });
        prop_assert!(blob::open(&key, &sealed, &here).unwrap().ct_eq(&text));

        let mut changed = sealed.clone();
        let bit = flip.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(invalid(blob::open(&key, &changed, &here)), "bit {}", bit);

        prop_assert!(invalid(blob::open(&key, &sealed[..cut.index(sealed.len())], &here)));
        prop_assert!(invalid(blob::open(&key, &[&sealed[..], &[extra]].concat(), &here)));
        prop_assert!(invalid(blob::open(&other, &sealed, &here)));
        for wrong in ["", r#"{"a":"c"}"#, r#"{"b":"a"}"#, r#"{"a":"b","c":""}"#] {
            prop_assert!(invalid(blob::open(&key, &sealed, &context(wrong))));
        }
    }

    #[test]
    fn wraps_round_trip_and_no_changed_one_opens(
        aes: bool,
        secret in proptest::collection::vec(any::<u8>(), 0..100),
        version: u32,
        flip: proptest::sample::Index,
        cut: proptest::sample::Index,
    ) {
        let suite = if aes { Suite::Aes256 } else { Suite::Sm4 };
        let make = || WrapKey::new(suite, &random::secret(32).unwrap()).unwrap();
        let (key, other) = (make(), make());
        let here = place(&[b"cmk", b"1"]);
        let wrapped = key.seal(version, &here, &secret).unwrap();
        prop_assert_eq!(wrapped.len(), secret.len() + wrap::OVERHEAD);
        prop_assert_eq!(parent_version(&wrapped).unwrap(), version);
        prop_assert!(key.open(&wrapped, &here).unwrap().ct_eq(&secret));

        let mut changed = wrapped.clone();
        let bit = flip.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(invalid(key.open(&changed, &here)), "bit {}", bit);

        prop_assert!(invalid(key.open(&wrapped[..cut.index(wrapped.len())], &here)));
        prop_assert!(invalid(other.open(&wrapped, &here)));
        prop_assert!(invalid(key.open(&wrapped, &place(&[b"cmk1", b""]))));
        prop_assert!(invalid(key.open(&wrapped, &[])));
    }

    #[test]
    fn outside_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let mut looks_right = bytes.clone();
        for magic in [b"JS\x01\x01", b"JS\x01\x02", b"JW\x01\x01", b"JW\x01\x02"] {
            looks_right.splice(0..magic.len().min(looks_right.len()), *magic);
            prop_assert!(invalid(blob::open(&key(Suite::Sm4), &looks_right, &Context::default())));
            let wrap = WrapKey::new(Suite::Aes256, &SecretBytes::zeroed(32)).unwrap();
            prop_assert!(invalid(wrap.open(&looks_right, &[])));
            let _ = Header::parse(&looks_right);
            let _ = parent_version(&looks_right);
        }
        let _ = Context::parse(&text);
    }

    #[test]
    fn contexts_are_equal_exactly_when_their_pairs_are(
        a in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
        b in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
    ) {
        let parse = |m: &std::collections::BTreeMap<String, String>| {
            Context::parse(&serde_json::to_string(m).unwrap()).unwrap()
        };
        prop_assert_eq!(parse(&a).encoded() == parse(&b).encoded(), a == b);
    }
}

#[test]
fn a_key_of_the_other_suite_or_of_a_wrong_length_is_refused() {
    let (aes, sm4) = (key(Suite::Aes256), key(Suite::Sm4));
    let sealed = blob::seal(&aes, id(), 1, &Context::default(), b"text").unwrap();
    assert!(invalid(blob::open(&sm4, &sealed, &Context::default())));
    for (suite, len) in [(Suite::Aes256, 16), (Suite::Sm4, 32), (Suite::Aes256, 0)] {
        assert!(BlobKey::new(suite, &SecretBytes::zeroed(len)).is_err());
    }
    assert!(WrapKey::new(Suite::Sm4, &SecretBytes::zeroed(16)).is_err());
}

#[test]
fn equal_plaintexts_give_unrelated_blobs() {
    let key = key(Suite::Sm4);
    let seal = || blob::seal(&key, id(), 1, &Context::default(), &[0; 64]).unwrap();
    let (a, b) = (seal(), seal());
    assert_ne!(a[24..56], b[24..56]);
    assert_ne!(a[88..], b[88..]);
}

#[test]
fn places_never_encode_alike() {
    let places =
        [place(&[]), place(&[b""]), place(&[b"", b""]), place(&[b"a", b"b"]), place(&[b"ab"]), place(&[b"ab", b""])];
    for (i, a) in places.iter().enumerate() {
        assert_eq!(places.iter().position(|b| a == b), Some(i));
    }
}

#[test]
fn a_new_secret_opens_again_and_shares_nothing_with_its_salt() {
    for suite in [Suite::Aes256, Suite::Sm4] {
        let key = key(suite);
        for len in [1, 16, 32, 1024] {
            let make = || blob::seal_new(&key, id(), 1, &Context::default(), len).unwrap();
            let ((secret, sealed), (other, other_sealed)) = (make(), make());
            let opened = blob::open(&key, &sealed, &Context::default()).unwrap();
            assert_eq!((opened.expose(), secret.len()), (secret.expose(), len));
            assert_ne!(sealed[24..56], other_sealed[24..56]);
            assert!(len == 1 || !secret.ct_eq(other.expose()));
            assert!(len < 16 || !sealed.windows(len.min(32)).any(|w| w == &secret.expose()[..len.min(32)]));
        }
    }
}
