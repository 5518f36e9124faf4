use super::*;
use crate::seal::Seal;
use jadeseal_types::Suite;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Shares 1 to 5 of the bytes 0 to 31, threshold 3, the coefficients of byte i being 7i + 3 and 11i + 5: made with another
/// implementation (Python, logarithm tables of GF(2^8) to the base 3).
const SHARES: [&str; 5] = [
    "jadeseal-root-share-v1 0011223344556677 1/3/5 BhsIPSofbGFuIzAl0sf0ydarWE16b3yxvrOA9eKXhJk= 60687d60",
    "jadeseal-root-share-v1 0011223344556677 2/3/5 ElVMq/65WzwRNk9IsNeOSRTICm24v8ZMYQb/OG2RiM8= e3486eb3",
    "jadeseal-root-share-v1 0011223344556677 3/3/5 FE9GldCjMVp3HHVmbh10j9JyQDPWxazqx6xl1pMbEkk= b6cdf956",
    "jadeseal-root-share-v1 0011223344556677 4/3/5 XDLtNUVwroBDwETxA+2y6mJWJMqMOb2RUnzO4JAk+5U= 65e64837",
    "jadeseal-root-share-v1 0011223344556677 5/3/5 WijnC2tqxOYl6n7f3SdILKTsbpTiQ9c39NZUDm6uYRM= 98fb0d7c",
];

fn share(text: &str) -> Result<Share, RootError> {
    Share::from_text(&SecretBytes::copy_from(text.as_bytes()), "x")
}

fn files(dir: &Path, count: usize) -> Vec<PathBuf> {
    (1..=count).map(|n| dir.join(format!("share{n}"))).collect()
}

fn from(paths: &[&PathBuf]) -> Vec<ShareFrom> {
    paths.iter().map(|path| ShareFrom::File((*path).clone())).collect()
}

#[test]
fn shares_of_another_implementation_are_read() {
    let key: Vec<u8> = (0..32).collect();
    for picked in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
        let shares: Vec<Share> = picked.iter().map(|i| share(SHARES[*i]).unwrap()).collect();
        assert!(combine(&shares).unwrap().ct_eq(&key), "{picked:?}");
        for (i, share) in picked.iter().zip(&shares) {
            assert!(share.to_text().ct_eq(format!("{}\n", SHARES[*i]).as_bytes()));
        }
    }
    let all: Vec<Share> = SHARES.iter().map(|text| share(text).unwrap()).collect();
    assert!(combine(&all).unwrap().ct_eq(&key));
    // Below the threshold something else comes out, which from_shares does not even try.
    assert!(!combine(&all[..2]).unwrap().ct_eq(&key));
}

#[test]
fn any_two_of_three_open_and_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let paths = files(dir.path(), 3);
    let seal = ShamirSeal::create(2, &paths).unwrap();
    let sealed = seal.seal(Suite::Aes256, b"place", &SecretBytes::copy_from(b"hello")).unwrap();
    for path in &paths {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
    for pair in [[0, 1], [0, 2], [2, 1]] {
        let again = ShamirSeal::from_shares(&from(&pair.map(|i| &paths[i]))).unwrap();
        assert_eq!((again.kind(), again.params()), ("shamir", seal.params()));
        assert!(again.open(b"place", &sealed).unwrap().ct_eq(b"hello"));
    }
    // All three, and with a holder who is away.
    assert!(ShamirSeal::from_shares(&from(&[&paths[0], &paths[1], &paths[2]])).is_ok());
    let absent = dir.path().join("absent");
    assert!(ShamirSeal::from_shares(&from(&[&absent, &paths[1], &paths[2]])).is_ok());
    let few = ShamirSeal::from_shares(&from(&[&absent, &paths[1]]));
    assert!(matches!(few, Err(RootError::FewShares { there: 1, threshold: 2 })));
    assert!(matches!(ShamirSeal::from_shares(&from(&[&absent])), Err(RootError::Malformed { .. })));
    let twice = ShamirSeal::from_shares(&from(&[&paths[0], &paths[0]]));
    assert!(matches!(twice, Err(RootError::Malformed { what, .. }) if what.contains("already")));
    assert!(describe_shares(&seal.params()).unwrap().starts_with("2 of 3, set "));
    assert_eq!(describe_shares(b""), None);
}

#[test]
fn sets_do_not_mix_and_nothing_is_written_over() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mine, yours) = (files(one.path(), 3), files(two.path(), 3));
    ShamirSeal::create(2, &mine).unwrap();
    ShamirSeal::create(2, &yours).unwrap();
    let mixed = ShamirSeal::from_shares(&from(&[&mine[0], &yours[1]]));
    assert!(matches!(mixed, Err(RootError::Malformed { what, .. }) if what.contains("another set")));
    let before = fs::read(&mine[2]).unwrap();
    let three = tempfile::tempdir().unwrap();
    let fresh = files(three.path(), 2);
    let partly = [fresh[0].clone(), fresh[1].clone(), mine[2].clone()];
    assert!(matches!(ShamirSeal::create(2, &partly), Err(RootError::Io { .. })));
    assert_eq!(fs::read(&mine[2]).unwrap(), before);
    assert!(!fresh[0].exists() && !fresh[1].exists(), "shares of a set that is not whole are removed");
    for (threshold, count) in [(1, 3), (0, 3), (4, 3), (2, 1), (2, 0), (2, 17)] {
        let made = ShamirSeal::create(threshold, &files(three.path(), count));
        assert!(matches!(made, Err(RootError::Malformed { .. })), "{threshold} of {count}");
    }
    let same = [fresh[0].clone(), fresh[0].clone()];
    assert!(matches!(ShamirSeal::create(2, &same), Err(RootError::Malformed { .. })));
    fs::set_permissions(&mine[0], fs::Permissions::from_mode(0o640)).unwrap();
    let open = ShamirSeal::from_shares(&from(&[&mine[0], &mine[1]]));
    assert!(matches!(open, Err(RootError::Unprotected { .. })));
}

#[test]
fn damaged_copies_are_told() {
    let text = SHARES[0];
    for i in 0..text.len() {
        let mut bad = SecretBytes::copy_from(text.as_bytes());
        bad.expose_mut()[i] ^= 0x02;
        assert!(Share::from_text(&bad, "x").is_err(), "byte {i}");
        assert!(share(&text[..i]).is_err(), "cut at {i}");
    }
    assert!(share(&format!("{text} more")).is_err());
    // Sound sums around nonsense.
    for words in [
        "0011223344556677 0/3/5",
        "0011223344556677 6/3/5",
        "0011223344556677 1/6/5",
        "0011223344556677 1/1/5",
        "0011223344556677 1/3/17",
        "0011223344556677 1/3",
        "001122334455667 1/3/5",
        "+011223344556677 1/3/5",
    ] {
        let line = format!("{TAG} {words} {}", text.split(' ').nth(3).unwrap());
        assert!(share(&format!("{line} {:08x}", crc32c::crc32c(line.as_bytes()))).is_err(), "{words}");
    }
}
