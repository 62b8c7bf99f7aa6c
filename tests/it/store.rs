//! One suite for every store, and what only a file can do.

use kmswatch::engine::StateDelta;
use kmswatch::store::memory::MemoryStore;
use kmswatch::store::redb::RedbStore;
use kmswatch::store::{Commit, StateStore, StoreError};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn alert(id: u64) -> kmswatch::alert::Alert {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "id": format!("i-{id}"), "dedup_key": "d", "status": "open", "merged_into": null, "late": false,
        "saturated": false, "rule": {"id": "r", "title": "t", "level": "high", "family": "f", "tags": [], "controls": [], "hash": ""},
        "level": "high", "summary": "s", "group": {}, "count": 1, "first_event_time": "2026-01-05T10:00:00Z",
        "last_event_time": "2026-01-05T10:00:00Z", "detected_at": "2026-01-05T10:00:00Z", "account": null, "region": null,
        "keys": [], "principals": [], "expected": {"verdict": null, "reason": null}, "event_ids": [],
        "event_ids_truncated": false, "evidence": [], "respond": []
    }))
    .unwrap()
}

fn put(key: &str, value: Option<&str>) -> StateDelta {
    StateDelta { key: key.as_bytes().to_vec(), value: value.map(|text| text.as_bytes().to_vec()) }
}

fn ids(store: &dyn StateStore, after: Option<u64>, limit: usize) -> Vec<String> {
    store.pending(after, limit).unwrap().into_iter().map(|(_, alert)| alert.id).collect()
}

fn conforms(store: &dyn StateStore) {
    assert!(store.restore().unwrap().rows.is_empty());
    let outbox = vec![alert(0), alert(1), alert(2)];
    let deltas =
        vec![put("b", Some("1")), put("a", Some("1")), put("b", Some("2")), put("c", Some("x")), put("c", None)];
    store.commit(&Commit { deltas, outbox }).unwrap();
    let rows = store.restore().unwrap().rows;
    assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
    assert_eq!(ids(store, None, 2), ["i-0", "i-1"]);
    let first = store.pending(None, 1).unwrap()[0].0;
    assert_eq!(ids(store, Some(first), 9), ["i-1", "i-2"]);
    store.delivered(first + 1).unwrap();
    assert_eq!((ids(store, None, 9), store.pending_len().unwrap()), (vec!["i-2".to_owned()], 1));
    store.delivered(first + 2).unwrap();
    store.commit(&Commit { deltas: vec![], outbox: vec![alert(3)] }).unwrap();
    assert!(store.pending(None, 1).unwrap()[0].0 > first + 2, "a number is never given twice");
}

#[test]
fn every_store_conforms() {
    conforms(&MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    conforms(&RedbStore::open(&dir.path().join("deep/state.redb")).unwrap());
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let store = RedbStore::open(&path).unwrap();
    store.commit(&Commit { deltas: vec![put("a", Some("1"))], outbox: vec![alert(7)] }).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Busy { .. })));
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!((store.restore().unwrap().rows.len(), ids(&store, None, 9)), (1, vec!["i-7".to_owned()]));
}

#[test]
fn what_is_no_store_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    std::fs::write(&path, "this is a text and no store, and long enough to be looked at".repeat(100)).unwrap();
    let error = RedbStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("state.redb"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// A file that is closed and opened anywhere between commits holds what a map would.
    #[test]
    fn a_file_is_a_map_over_restarts(
        commits in prop::collection::vec(prop::collection::vec(("[a-d]", prop::option::of("[x-z]{1,3}")), 0..5), 1..8),
        restarts in prop::collection::vec(any::<bool>(), 8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let mut store = RedbStore::open(&path).unwrap();
        let mut expected = BTreeMap::new();
        for (commit, restart) in commits.iter().zip(restarts) {
            for (key, value) in commit {
                match value {
                    Some(value) => expected.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec()),
                    None => expected.remove(key.as_bytes()),
                };
            }
            let deltas = commit.iter().map(|(key, value)| put(key, value.as_deref())).collect();
            store.commit(&Commit { deltas, outbox: vec![] }).unwrap();
            if restart {
                drop(store);
                store = RedbStore::open(&path).unwrap();
            }
            let rows: BTreeMap<_, _> = store.restore().unwrap().rows.into_iter().collect();
            prop_assert_eq!(&rows, &expected);
        }
    }
}
