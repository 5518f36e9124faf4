//! The end of CMKs with very many data keys, and what the metrics count.

mod support;

use jadeseal_store::{Change, Commit, DataKey};
use jadeseal_types::{Alias, DataKeyId, KeyId};
use serde_json::json;
use std::time::Duration;
use support::{Kms, User, hosted::*};

const DAY: Duration = Duration::from_secs(86_400);

/// Puts copies of a data key into the store, with ids and names of their own.
async fn multiply(kms: &Kms, id: &str, count: u32) {
    let id = DataKeyId(KeyId::parse(id).unwrap());
    let cmk = kms.store.all_keys_meta(None, 1).await.unwrap().remove(0);
    let scope = cmk.scope();
    let row = kms.store.data_key(&scope, id).await.unwrap().unwrap();
    let material = kms.store.data_key_material(&scope, id).await.unwrap().unwrap();
    let numbers: Vec<u32> = (1..=count).collect();
    for part in numbers.chunks(1_000) {
        let changes = part.iter().map(|n| {
            let mut bytes = [0x5a; 16];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let data_key_id = DataKeyId(KeyId::from_bytes(bytes));
            let name = Alias::parse(&format!("copy-{n}")).unwrap();
            let key = DataKey { data_key_id, name, ..row.clone() };
            let mut material = material.clone();
            material.data_key_id = data_key_id;
            Change::CreateDataKey { key, material, tags: Vec::new() }
        });
        kms.store.commit(&scope, Commit { changes: changes.collect(), outbox: None }).await.unwrap();
    }
}

/// A CMK with a data key, due for deletion, and a data key of another CMK.
async fn schedule(kms: &mut Kms, user: &User) -> (String, String, String) {
    let cmk = kms.create(user, "cmk").await;
    let (data_key, _) = host(kms, user, &cmk, "d").await;
    let other = kms.create(user, "other").await;
    let (stays, _) = host(kms, user, &other, "stays").await;
    let key = json!({ "KeyId": cmk });
    kms.ok(user, "DisableKey", key.clone()).await;
    kms.ok(user, "ScheduleKeyDeletion", with(&key, json!({ "PendingWindowInDays": 7 }))).await;
    (cmk, data_key, stays)
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_data_keys_go_in_parts_that_are_on_record() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    kms.run_jobs().await;
    let (cmk, data_key, stays) = schedule(&mut kms, &user).await;
    // With the first one: 150 more than go with their CMK.
    multiply(&kms, &data_key, 10_149).await;
    kms.pass_time(8 * DAY).await;
    kms.run_jobs().await;
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": cmk })).await, "ResourceUnavailable.CmkNotFound");
    assert_eq!(kms.err(&user, "DescribeDataKey", of(&data_key)).await, NOT_FOUND);
    assert_eq!(metadata(&kms, &user, &stays).await["KeyState"], "Enabled");
    let left = kms.store.data_key_counts_by_state().await.unwrap();
    assert_eq!(left.iter().map(|(_, count)| count).sum::<u64>(), 1);
    // Two parts of a hundred, each with the ids of its data keys; then the CMK.
    let audit = kms.audit();
    let parts: Vec<_> = audit.lines().filter(|l| l.contains("\"DeleteDataKeysOfKeyAtDate\"")).collect();
    assert_eq!(parts.len(), 2);
    for part in &parts {
        assert!(part.contains(&cmk) && part.contains("\"principal\":\"service\""), "{part}");
        assert_eq!(part.matches("5a5a-5a5a-5a5a5a5a5a5a").count() + part.matches(&data_key).count(), 100, "{part}");
    }
    let ends: Vec<_> = audit.lines().filter(|l| l.contains("\"DeleteKeyAtDate\"")).collect();
    assert!(ends.len() == 1 && ends[0].contains(&cmk), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_data_keys_go_with_their_cmk() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    kms.run_jobs().await;
    let (cmk, data_key, _) = schedule(&mut kms, &user).await;
    multiply(&kms, &data_key, 9_999).await;
    kms.pass_time(8 * DAY).await;
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": cmk })).await, "ResourceUnavailable.CmkNotFound");
    assert!(!kms.audit().contains("DeleteDataKeysOfKeyAtDate"));
}

#[tokio::test]
async fn the_metrics_count_data_keys_by_state() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    for (name, state) in [("a", "Enabled"), ("b", "Enabled"), ("c", "PendingDelete")] {
        let (id, _) = host(&kms, &user, &cmk, name).await;
        put_into(&kms, &user, &id, state).await;
    }
    let text = kms.svc.metrics_text().await;
    for (state, count) in [("Enabled", 2), ("Disabled", 0), ("PendingDelete", 1)] {
        assert!(text.contains(&format!("jadeseal_data_keys{{state=\"{state}\"}} {count}\n")), "{text}");
    }
    assert!(text.contains("jadeseal_keys{state=\"Enabled\"} 1\n"), "{text}");
}
