//! Tags of keys and data keys, by account.

use super::*;
use crate::error::StoreError;
use std::sync::Arc;

type S = Arc<dyn Store>;

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.into(), value: value.into() }
}

fn modify(n: u32, set: &[(&str, &str)], remove: &[&str]) -> Change {
    let set = set.iter().map(|(key, value)| tag(key, value)).collect();
    Change::ModifyTags { id: id(n), set, remove: remove.iter().map(|k| (*k).to_owned()).collect(), limit: 3 }
}

/// Keys 1 and 2 with data key 3 of key 1 in the home scope; key 4 of the same account elsewhere.
async fn filled(store: &S) -> Scope {
    let (here, there) = (home(), scope(100_000_001, "ap-beijing"));
    create(&**store, &here, [key(&here, 1), key(&here, 2)]).await;
    create_data_keys(&**store, &here, [data_key(&here, 3, 1)]).await;
    create(&**store, &there, [key(&there, 4)]).await;
    here
}

async fn ids(store: &S, scope: &Scope, filters: &[(&str, &[&str])], after: Option<u32>, limit: u64) -> Vec<KeyId> {
    let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let filters: Vec<_> = filters.iter().map(|(key, values)| ((*key).to_owned(), owned(values))).collect();
    store.tagged(scope, &filters, after.map(id), limit).await.unwrap().into_iter().map(|t| t.id).collect()
}

/// Tags come, change and go, and the row stays what it was.
pub async fn set_and_removed(store: S) {
    let here = filled(&store).await;
    let before = store.key(&here, id(1)).await.unwrap();
    for n in [1, 3, 4] {
        let done = store.commit(&here, one(modify(n, &[("a", "1"), ("b", "")], &["x"]))).await.unwrap();
        assert_eq!(done.keys, []);
        store.commit(&here, one(modify(n, &[("a", "2"), ("c", "3")], &["b"]))).await.unwrap();
        let found = store.taggables(&here, &[id(n)]).await.unwrap().remove(0).unwrap();
        assert_eq!(found.tags, [tag("a", "2"), tag("c", "3")], "{n}");
        assert_eq!(found.region.as_str(), if n == 4 { "ap-beijing" } else { "ap-guangzhou" });
    }
    assert_eq!(store.key(&here, id(1)).await.unwrap(), before);
    assert_eq!(store.tags(&here, id(1)).await.unwrap().len(), 2);
    assert_eq!(store.data_key_tags(&here, DataKeyId(id(3))).await.unwrap().len(), 2);
    // The data key goes with its CMK.
    store.commit(&here, one(Change::DestroyKey { key_id: id(1), revision: 1 })).await.unwrap();
    assert_eq!(ids(&store, &here, &[], None, 9).await, [id(4)]);
    assert_eq!(store.commit(&here, one(modify(3, &[("a", "1")], &[]))).await, Err(StoreError::NotFound));
}

/// The bound is on what there is afterwards; beyond it nothing changes.
pub async fn bounded(store: S) {
    let here = filled(&store).await;
    store.commit(&here, one(modify(1, &[("a", ""), ("b", ""), ("c", "")], &[]))).await.unwrap();
    let refused = store.commit(&here, one(modify(1, &[("a", "changed"), ("d", "")], &[]))).await;
    assert_eq!(refused, Err(StoreError::TooManyTags));
    assert_eq!(store.tags(&here, id(1)).await.unwrap(), [tag("a", ""), tag("b", ""), tag("c", "")]);
    store.commit(&here, one(modify(1, &[("d", "")], &["a"]))).await.unwrap();
    assert_eq!(store.tags(&here, id(1)).await.unwrap(), [tag("b", ""), tag("c", ""), tag("d", "")]);
}

/// Another account's keys and tags do not exist.
pub async fn accounts_do_not_see_each_other(store: S) {
    let here = filled(&store).await;
    store.commit(&here, one(modify(1, &[("a", "1")], &[]))).await.unwrap();
    let other = scope(100_000_002, "ap-guangzhou");
    assert_eq!(store.commit(&other, one(modify(1, &[("b", "2")], &["a"]))).await, Err(StoreError::NotFound));
    assert_eq!(store.taggables(&other, &[id(1)]).await.unwrap(), [None]);
    assert_eq!(ids(&store, &other, &[], None, 9).await, []);
    assert_eq!(ids(&store, &other, &[("a", &[])], None, 9).await, []);
    assert!(store.tag_keys(&other, "", 9).await.unwrap().is_empty());
    assert!(store.tag_values(&other, &["a".into()], None, 9).await.unwrap().is_empty());
    assert_eq!(store.tags(&here, id(1)).await.unwrap(), [tag("a", "1")]);
}

/// OR within a key, AND between keys; pages go on behind an id, over both kinds and all regions.
pub async fn pages_and_filters(store: S) {
    let here = filled(&store).await;
    for (n, tags) in [(1, vec![("a", "1"), ("b", "1")]), (3, vec![("a", "2")]), (4, vec![("a", "3"), ("b", "2")])] {
        store.commit(&here, one(modify(n, &tags, &[]))).await.unwrap();
    }
    for (filters, expected) in [
        (&[][..], &[1, 3, 4][..]),
        (&[("a", &[][..])], &[1, 3, 4]),
        (&[("a", &["1", "3"])], &[1, 4]),
        (&[("a", &[]), ("b", &["2"])], &[4]),
        (&[("a", &["2"]), ("b", &[])], &[]),
        (&[("none", &[])], &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|n| id(*n)).collect();
        assert_eq!(ids(&store, &here, filters, None, 9).await, expected, "{filters:?}");
    }
    assert_eq!(ids(&store, &here, &[], None, 2).await, [id(1), id(3)]);
    assert_eq!(ids(&store, &here, &[("a", &[])], Some(1), 1).await, [id(3)]);
    assert_eq!(ids(&store, &here, &[], Some(3), 2).await, [id(4)]);
}

/// Each key and each pair once, in order, the empty value included.
pub async fn keys_and_values_in_pages(store: S) {
    let here = filled(&store).await;
    for (n, tags) in [(1, vec![("a", "2"), ("b", "")]), (2, vec![("a", "1")]), (3, vec![("a", "2"), ("c", "x")])] {
        store.commit(&here, one(modify(n, &tags, &[]))).await.unwrap();
    }
    assert_eq!(store.tag_keys(&here, "", 9).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(store.tag_keys(&here, "", 2).await.unwrap(), ["a", "b"]);
    assert_eq!(store.tag_keys(&here, "b", 2).await.unwrap(), ["c"]);
    let keys = ["c".to_owned(), "a".to_owned(), "b".to_owned(), "a".to_owned()];
    let all = [tag("a", "1"), tag("a", "2"), tag("b", ""), tag("c", "x")];
    assert_eq!(store.tag_values(&here, &keys, None, 9).await.unwrap(), all);
    let mut seen = Vec::new();
    while let [next] = &store.tag_values(&here, &keys, seen.last().cloned(), 1).await.unwrap()[..] {
        seen.push(next.clone());
    }
    assert_eq!(seen, all);
}
