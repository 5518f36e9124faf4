//! The hierarchy from seal to secret: what opens, and what must not.

use crate::{
    DomainKey, DomainRecord, FileSeal, Keyring, Place, Purpose, RootError, RootRecord, Seal,
    passphrase::{Cost, PassphraseSeal},
};
use jadeseal_types::{AccountId, KeyId, SecretBytes, Suite};
use std::sync::Arc;

const ALICE: AccountId = AccountId(100_000_000_001);
const BOB: AccountId = AccountId(100_000_000_002);

fn file_seal() -> FileSeal {
    let dir = tempfile::tempdir().unwrap();
    FileSeal::create(&dir.path().join("root.key")).unwrap()
}

fn passphrase_seal(text: &str) -> PassphraseSeal {
    let cost = Cost { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
    PassphraseSeal::create_with_cost(&SecretBytes::copy_from(text.as_bytes()), cost).unwrap()
}

fn place(account: AccountId) -> Place<'static> {
    Place {
        purpose: Purpose::CmkMaterial,
        account,
        region: "ap-guangzhou",
        key_id: b"0123456789abcdef",
        version: 3,
        usage: 1,
        suite: 1,
    }
}

#[track_caller]
fn sealed<T>(result: Result<T, RootError>, versions: &[u32]) {
    match result.err() {
        Some(RootError::Sealed(found)) => assert_eq!(found, versions),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_wrapped_opens_after_a_restart() {
    for suite in Suite::ALL {
        let seal = file_seal();
        let (keyring, root) = Keyring::bootstrap(&seal, "main", *suite).unwrap();
        assert_eq!((root.version, &*root.slot, &*root.seal_kind), (1, "main", "file"));
        let (domain, record) = keyring.new_domain(ALICE, 1).unwrap();
        assert_eq!((domain.account(), domain.version(), domain.suite()), (ALICE, 1, *suite));
        let wrapped = domain.seal(&place(ALICE), b"material").unwrap();
        let digest = domain.digest("import", b"material");

        let keyring = Keyring::unlock(&[&seal], &[root], Suite::Aes256).unwrap();
        let domain = keyring.open_domain(&record).unwrap();
        assert_eq!((domain.version(), domain.suite()), (1, *suite));
        assert!(domain.open(&place(ALICE), &wrapped).unwrap().ct_eq(b"material"));
        assert_eq!(domain.digest("import", b"material"), digest);
        assert!(!String::from_utf8_lossy(&wrapped).contains("material"));
    }
}

#[test]
fn digests_depend_on_key_label_and_data() {
    let (keyring, _) = Keyring::bootstrap(&file_seal(), "main", Suite::Aes256).unwrap();
    let (a, _) = keyring.new_domain(ALICE, 1).unwrap();
    let (b, _) = keyring.new_domain(ALICE, 1).unwrap();
    let all = [
        a.digest("x", b"yz"),
        a.digest("xy", b"z"),
        a.digest("", b"xyz"),
        a.digest("x", b"y"),
        a.digest("x", b""),
        b.digest("x", b"yz"),
    ];
    for (i, d) in all.iter().enumerate() {
        assert!(!all[..i].contains(d), "{i}");
    }
}

#[test]
fn a_wrong_seal_opens_nothing_and_the_versions_are_named() {
    let (right, wrong) = (file_seal(), file_seal());
    let (keyring, one) = Keyring::bootstrap(&right, "main", Suite::Aes256).unwrap();
    let two = keyring.add_version(&wrong, "main").unwrap();
    let three = keyring.add_version(&right, "main").unwrap();
    let records = [one.clone(), two.clone(), three.clone()];
    sealed(Keyring::unlock(&[&wrong], &records, Suite::Aes256), &[1, 3]);
    sealed(Keyring::unlock(&[&right], &records, Suite::Aes256), &[2]);
    sealed(Keyring::unlock(&[&passphrase_seal("correct horse")], &records, Suite::Aes256), &[1, 2, 3]);
    sealed(Keyring::unlock(&[], &records, Suite::Aes256), &[1, 2, 3]);
    assert_eq!(Keyring::unlock(&[&wrong, &right], &records, Suite::Aes256).unwrap().versions(), [1, 2, 3]);
    assert!(matches!(Keyring::unlock(&[&right], &[], Suite::Aes256), Err(RootError::Empty)));
}

#[test]
fn one_of_several_slots_is_enough() {
    let (file, passphrase) = (file_seal(), passphrase_seal("correct horse"));
    let (keyring, first) = Keyring::bootstrap(&file, "file", Suite::Aes256).unwrap();
    let second = keyring.add_slot(1, &passphrase, "paper").unwrap();
    let (_, domain) = keyring.new_domain(ALICE, 1).unwrap();
    let mut records = [first, second];
    for seal in [&file as &dyn Seal, &passphrase] {
        Keyring::unlock(&[seal], &records, Suite::Aes256).unwrap().open_domain(&domain).unwrap();
    }
    // A broken slot does not matter while another one opens.
    records[0].wrapped[0] ^= 1;
    Keyring::unlock(&[&file, &passphrase], &records, Suite::Aes256).unwrap().open_domain(&domain).unwrap();
    assert!(matches!(keyring.add_slot(9, &file, "x"), Err(RootError::NoVersion(9))));
}

#[test]
fn slots_with_different_keys_are_refused() {
    let seal = file_seal();
    let (_, ours) = Keyring::bootstrap(&seal, "a", Suite::Aes256).unwrap();
    let (_, theirs) = Keyring::bootstrap(&seal, "b", Suite::Aes256).unwrap();
    assert!(matches!(Keyring::unlock(&[&seal], &[ours, theirs], Suite::Aes256), Err(RootError::Conflict(1))));
}

#[test]
fn altered_and_moved_root_records_do_not_open() {
    let seal = file_seal();
    let (_, root) = Keyring::bootstrap(&seal, "main", Suite::Aes256).unwrap();
    for i in 0..root.wrapped.len() {
        let mut bad = root.clone();
        bad.wrapped[i] ^= 0x80;
        sealed(Keyring::unlock(&[&seal], &[bad], Suite::Aes256), &[1]);
        let mut cut = root.clone();
        cut.wrapped.truncate(i);
        sealed(Keyring::unlock(&[&seal], &[cut], Suite::Aes256), &[1]);
    }
    type Edit = fn(&mut RootRecord);
    let edits: [(u32, Edit); 4] = [
        (2, |r| r.version = 2),
        (1, |r| r.slot = "other".into()),
        (1, |r| r.seal_kind = "systemd".into()),
        (1, |r| r.params = vec![1]),
    ];
    for (version, edit) in edits {
        let mut bad = root.clone();
        edit(&mut bad);
        sealed(Keyring::unlock(&[&seal], &[bad], Suite::Aes256), &[version]);
    }
}

#[test]
fn altered_and_moved_domain_records_do_not_open() {
    let (keyring, _) = Keyring::bootstrap(&file_seal(), "main", Suite::Aes256).unwrap();
    keyring.add_version(&file_seal(), "main").unwrap();
    let (_, record) = keyring.new_domain(ALICE, 1).unwrap();
    let fails = |bad: &DomainRecord| {
        assert!(matches!(keyring.open_domain(bad), Err(RootError::DoesNotOpen)));
        assert!(matches!(keyring.rewrap_domain(bad), Err(RootError::DoesNotOpen)));
    };
    for i in 0..record.wrapped.len() {
        let mut bad = record.clone();
        bad.wrapped[i] ^= 1;
        fails(&bad);
        bad.wrapped = record.wrapped[..i].to_vec();
        fails(&bad);
    }
    fails(&DomainRecord { account: BOB, ..record.clone() });
    fails(&DomainRecord { version: 2, ..record.clone() });
    fails(&DomainRecord { root_version: 1, ..record.clone() });
    let nowhere = DomainRecord { root_version: 7, ..record };
    assert!(matches!(keyring.open_domain(&nowhere), Err(RootError::NoVersion(7))));
}

#[test]
fn a_secret_opens_only_at_its_place() {
    let (keyring, _) = Keyring::bootstrap(&file_seal(), "main", Suite::Aes256).unwrap();
    let (alice, record) = keyring.new_domain(ALICE, 1).unwrap();
    let (bob, _) = keyring.new_domain(BOB, 1).unwrap();
    let here = place(ALICE);
    let wrapped = alice.seal(&here, b"material").unwrap();
    let elsewhere = [
        Place { purpose: Purpose::AccessKey, ..here },
        Place { region: "ap-beijing", ..here },
        Place { region: "", ..here },
        Place { key_id: b"0123456789abcdeg", ..here },
        Place { version: 4, ..here },
        Place { usage: 2, ..here },
        Place { suite: 2, ..here },
    ];
    for there in elsewhere {
        assert!(matches!(alice.open(&there, &wrapped), Err(RootError::DoesNotOpen)), "{there:?}");
    }
    let does_not =
        |key: &DomainKey, p: &Place<'_>| assert!(matches!(key.open(p, &wrapped), Err(RootError::DoesNotOpen)));
    does_not(&bob, &place(BOB));
    assert!(matches!(bob.open(&here, &wrapped), Err(RootError::ForeignPlace)));
    assert!(matches!(alice.seal(&place(BOB), b"x"), Err(RootError::ForeignPlace)));
    for i in 0..wrapped.len() {
        let mut bad = wrapped.clone();
        bad[i] ^= 1;
        assert!(matches!(alice.open(&here, &bad), Err(RootError::DoesNotOpen)), "byte {i}");
        assert!(matches!(alice.open(&here, &wrapped[..i]), Err(RootError::DoesNotOpen)), "cut at {i}");
    }
    // Another version of the same account's domain key is another key.
    does_not(&keyring.new_domain(ALICE, 2).unwrap().0, &here);
    assert!(keyring.open_domain(&record).unwrap().open(&here, &wrapped).unwrap().ct_eq(b"material"));
}

#[test]
fn rekey_moves_everything_and_the_old_version_is_gone() {
    let (old_seal, new_seal) = (file_seal(), passphrase_seal("correct horse"));
    let (keyring, one) = Keyring::bootstrap(&old_seal, "main", Suite::Aes256).unwrap();
    let (domain, before) = keyring.new_domain(ALICE, 1).unwrap();
    let wrapped = domain.seal(&place(ALICE), b"material").unwrap();
    assert!(matches!(keyring.forget(1), Err(RootError::Current(1))));

    let two = keyring.add_version(&new_seal, "main").unwrap();
    assert_eq!((two.version, keyring.current(), keyring.versions()), (2, 2, vec![1, 2]));
    let after = keyring.rewrap_domain(&before).unwrap();
    assert_eq!((after.root_version, after.version, after.account), (2, 1, ALICE));
    // Interrupted and begun again: re-wrapping what is re-wrapped changes nothing but the bytes.
    let again = keyring.rewrap_domain(&after).unwrap();
    keyring.open_domain(&before).unwrap();

    keyring.forget(1).unwrap();
    assert!(matches!(keyring.forget(1), Err(RootError::NoVersion(1))));
    assert!(matches!(keyring.open_domain(&before), Err(RootError::NoVersion(1))));
    for record in [&after, &again] {
        let opened = keyring.open_domain(record).unwrap().open(&place(ALICE), &wrapped).unwrap();
        assert!(opened.ct_eq(b"material"), "the account's secrets are untouched by a rekey");
    }
    let restarted = Keyring::unlock(&[&new_seal], std::slice::from_ref(&two), Suite::Aes256).unwrap();
    restarted.open_domain(&after).unwrap();
    // The old root key no longer opens anything that is stored.
    let stale = Keyring::unlock(&[&old_seal], &[one], Suite::Aes256).unwrap();
    let forged = DomainRecord { root_version: 1, ..after };
    assert!(matches!(stale.open_domain(&forged), Err(RootError::DoesNotOpen)));
}

#[test]
fn a_serving_keyring_learns_versions_of_another_process() {
    let seal = file_seal();
    let (operator, one) = Keyring::bootstrap(&seal, "main", Suite::Aes256).unwrap();
    let server = Arc::new(Keyring::unlock(&[&seal], std::slice::from_ref(&one), Suite::Aes256).unwrap());
    let two = operator.add_version(&seal, "main").unwrap();
    let (_, record) = operator.new_domain(ALICE, 1).unwrap();
    let shared = server.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while shared.current() == 1 {
                shared.new_domain(BOB, 1).unwrap();
            }
        });
        assert!(matches!(server.open_domain(&record), Err(RootError::NoVersion(2))));
        assert_eq!(server.learn(&[&seal], &[one.clone(), two.clone()]).unwrap(), [2]);
    });
    assert_eq!(server.current(), 2);
    server.open_domain(&record).unwrap();
    assert_eq!(server.learn(&[&seal], &[one, two.clone()]).unwrap(), [0u32; 0]);
    // What it cannot open it names, and keeps what it has.
    let foreign = RootRecord { version: 3, ..two };
    sealed(server.learn(&[&seal], &[foreign]), &[3]);
    assert_eq!(server.versions(), [1, 2]);
}

#[test]
fn a_pooled_key_opens_as_itself_under_its_root_key() {
    let seal = file_seal();
    let (keyring, one) = Keyring::bootstrap(&seal, "main", Suite::Sm4).unwrap();
    let (id, other) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let wrapped = keyring.seal_pooled(id, &SecretBytes::copy_from(b"pair")).unwrap();
    keyring.add_version(&seal, "main").unwrap();
    assert!(keyring.open_pooled(id, &wrapped).unwrap().ct_eq(b"pair"));
    assert!(matches!(keyring.open_pooled(other, &wrapped), Err(RootError::DoesNotOpen)));
    assert!(matches!(keyring.open_pooled(id, &wrapped[1..]), Err(RootError::DoesNotOpen)));
    let restarted = Keyring::unlock(&[&seal], std::slice::from_ref(&one), Suite::Aes256).unwrap();
    assert!(restarted.open_pooled(id, &wrapped).unwrap().ct_eq(b"pair"));
    keyring.forget(1).unwrap();
    assert!(matches!(keyring.open_pooled(id, &wrapped), Err(RootError::NoVersion(1))));
}
