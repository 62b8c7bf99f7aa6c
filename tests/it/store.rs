//! One suite for every store, and what only a file can do.

use kmswatch::engine::StateDelta;
use kmswatch::pipeline::plan::{Limits, Plan};
use kmswatch::rule::{RuleSet, pack};
use kmswatch::source::{Delivery, Receipt};
use kmswatch::store::memory::MemoryStore;
use kmswatch::store::redb::RedbStore;
use kmswatch::store::{Commit, StateStore, StoreError};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

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

fn plan(store: &RedbStore) -> Plan {
    // Compiled once: each restart would cost more than all that is tested.
    static RULES: LazyLock<Arc<RuleSet>> =
        LazyLock::new(|| Arc::new(RuleSet::compile(&pack::shipped()).rules.unwrap()));
    let mut plan = Plan::new(RULES.clone(), Arc::default(), Limits::default(), Default::default());
    plan.restore(&store.restore().unwrap()).unwrap();
    plan
}

fn time(text: &str) -> kmswatch::time::EventTime {
    kmswatch::time::EventTime::parse(text).unwrap()
}

/// Runs records through the shipped rules and a store in a file, reopened wherever `restarts` says,
/// and gives the last word on each incident that stands.
fn incidents(path: &Path, records: &[String], restarts: &[bool]) -> BTreeSet<String> {
    let mut store = RedbStore::open(path).unwrap();
    let mut running = plan(&store);
    let now = time("2026-01-05T12:00:00Z");
    for (index, record) in records.iter().enumerate() {
        let receipt = Receipt(index.to_string());
        let delivery = Delivery {
            body: record.clone().into_bytes(),
            receipt,
            label: String::new(),
            sent_at: None,
            receive_count: 1,
        };
        store.commit(&running.batch(&[delivery], now).commit).unwrap();
        running.committed();
        if restarts.get(index).copied().unwrap_or(false) {
            drop(store);
            store = RedbStore::open(path).unwrap();
            running = plan(&store);
        }
    }
    running.tick(now);
    store.commit(&running.tick(time("2027-01-07T12:00:00Z")).0).unwrap();
    let mut last = BTreeMap::new();
    for (_, alert) in store.pending(None, usize::MAX).unwrap() {
        last.insert(alert.id.clone(), alert);
    }
    let standing = last.into_values().filter(|alert| alert.merged_into.is_none());
    standing
        .map(|alert| {
            format!("{} {:?} {} {:?} {:?}", alert.rule.title, alert.group, alert.count, alert.status, alert.event_ids)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// The shipped rules over a file: order, copies and restarts do not show in the incidents.
    #[test]
    fn incidents_over_a_file_do_not_depend_on_order_copies_or_restarts(
        (records, shuffled) in prop::collection::vec((0_u32..3000, prop::sample::select(vec!["DisableKey", "Decrypt", "PutKeyPolicy"])), 20..45)
            .prop_map(|list| list.iter().enumerate().map(|(n, (secs, name))| {
                let (minute, second) = (secs / 60, secs % 60);
                let denied = if *name == "Decrypt" { r#""errorCode":"AccessDenied","# } else { "" };
                format!(r#"{{"eventVersion":"1.11",{denied}"eventID":"e{n}","eventTime":"2026-01-05T11:{minute:02}:{second:02}Z","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ann"}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k-{}"}}]}}"#, n % 7)
            }).collect::<Vec<_>>())
            .prop_flat_map(|list| {
                let twice: Vec<_> = list.iter().chain(list.iter().step_by(3)).cloned().collect();
                (Just(list), Just(twice).prop_shuffle())
            }),
        restarts in prop::collection::vec(prop::bool::weighted(0.15), 60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let plain = incidents(&dir.path().join("plain"), &records, &[]);
        prop_assert!(!plain.is_empty());
        let other = incidents(&dir.path().join("shuffled"), &shuffled, &restarts);
        let differ: Vec<_> = plain.symmetric_difference(&other).collect();
        prop_assert!(differ.is_empty(), "only in one of the two:\n{differ:#?}");
    }
}
