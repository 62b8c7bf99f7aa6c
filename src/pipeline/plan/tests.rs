use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::rule::RuleText;

const RULES: &str = "title: key disabled
id: 11111111-2222-4333-8444-000000000001
level: high
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, eventName: DisableKey}, condition: a}
kmswatch: {quiet: 10m, summary: '{kms.principal} disabled {kms.key}'}
---
title: unreadable
id: 11111111-2222-4333-8444-000000000002
logsource: {product: aws}
detection: {a: {eventSource: kmswatch.internal, eventName: BodyParked}, condition: a}
kmswatch: {group-by: [eventName], summary: '{requestParameters.label}: {requestParameters.reason}'}
---
title: re-encrypted
id: 11111111-2222-4333-8444-000000000003
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, eventName: ReEncrypt}, condition: a}
";

pub(super) fn plan() -> Plan {
    let compiled = RuleSet::compile(&[RuleText { path: "f/r.yml".into(), text: RULES.into() }]);
    let rules = compiled.rules.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
    Plan::new(Arc::new(rules), Arc::default(), Limits::default(), Redaction::default())
}

fn now() -> EventTime {
    EventTime::parse("2026-01-05T12:00:00Z").unwrap()
}

pub(super) fn record(id: &str, name: &str, key: &str, secs: u32) -> String {
    let (minute, second) = (secs / 60 % 60, secs % 60);
    format!(
        r#"{{"eventVersion":"1.11","eventID":"{id}","eventTime":"2026-01-05T11:{minute:02}:{second:02}Z","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ann"}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/{key}"}}]}}"#
    )
}

pub(super) fn delivery(label: &str, body: impl Into<Vec<u8>>) -> Delivery {
    Delivery {
        body: body.into(),
        receipt: Receipt(format!("receipt of {label}")),
        label: label.to_owned(),
        sent_at: None,
        receive_count: 1,
    }
}

#[test]
fn what_is_read_is_acknowledged_and_what_is_not_is_parked_and_told() {
    let mut plan = plan();
    let mixed = format!("{}\n{{broken\n{}", record("e1", "DisableKey", "k-1", 0), record("e2", "ListKeys", "k-1", 1));
    let planned = plan.batch(
        &[
            delivery("m1", record("e0", "DisableKey", "k-0", 0)),
            delivery("m2", mixed),
            delivery("m3", "\u{1b}[31mgarbage"),
        ],
        now(),
    );
    assert_eq!(planned.ack, [Receipt("receipt of m1".into())]);
    assert_eq!(
        planned.park.iter().map(|(receipt, _)| receipt.0.as_str()).collect::<Vec<_>>(),
        ["receipt of m2", "receipt of m3"]
    );
    assert!(planned.park[0].1.contains("record 2, line 2 column 1"), "{}", planned.park[0].1);
    let got = planned.accounting;
    assert_eq!((got.received, got.applied, got.filtered, got.parked, got.opened), (5, 2, 1, 2, 3));
    assert!(got.closes());
    let summaries: Vec<_> = planned.commit.outbox.iter().map(|alert| alert.summary.as_str()).collect();
    assert!(
        summaries.contains(&"arn:aws:iam::111122223333:user/ann disabled arn:aws:kms:eu-west-1:111122223333:key/k-0"),
        "{summaries:?}"
    );
    assert!(
        summaries.iter().any(|text| text.starts_with("m2: record 2"))
            && !summaries.iter().any(|text| text.contains('\u{1b}'))
    );
}

#[test]
fn a_poison_body_that_comes_again_opens_nothing_new() {
    let mut plan = plan();
    for round in 0..3 {
        let planned = plan.batch(&[delivery("m3", "garbage")], now());
        plan.committed();
        assert_eq!((planned.ack.len(), planned.park.len()), (0, 1));
        assert_eq!(planned.accounting.opened, u64::from(round == 0));
    }
}

#[test]
fn copies_are_duplicates_before_and_after_the_commit() {
    let mut plan = plan();
    let body = record("e1", "DisableKey", "k-1", 0);
    let planned = plan.batch(&[delivery("m1", body.clone()), delivery("m2", body.clone())], now());
    assert_eq!((planned.accounting.applied, planned.accounting.duplicate, planned.ack.len()), (1, 1, 2));
    plan.committed();
    assert_eq!(plan.batch(&[delivery("m3", body)], now()).accounting.duplicate, 1);
}

/// CloudTrail sends what it learnt later about a call as an event of its own.
#[test]
fn a_supplement_is_about_the_same_call() {
    let mut plan = plan();
    let first = record("e1", "DisableKey", "k-1", 0);
    let supplement = record("e2", "DisableKey", "k-1", 0).replace(
        "}]}",
        r#"}],"addendum":{"reason":"UPDATED_DATA","updatedFields":"userAgent","originalEventID":"e1"}}"#,
    );
    let planned = plan.batch(&[delivery("m1", first), delivery("m2", supplement)], now());
    let (concluded, _) = plan.tick(now() + crate::time::Span::from_secs(86_400));
    let alerts = planned.commit.outbox.iter().chain(&concluded.outbox);
    assert_eq!(alerts.map(|alert| (alert.count, alert.event_ids.clone())).max(), Some((1, vec!["e1".to_owned()])));
}

#[test]
fn a_re_encrypt_is_one_match_for_each_of_its_keys() {
    let mut plan = plan();
    let body =
        record("e1", "ReEncrypt", "k-1", 0).replace("]}", r#",{"ARN":"arn:aws:kms:eu-west-1:999988887777:key/k-9"}]}"#);
    let planned = plan.batch(&[delivery("m1", body)], now());
    let keys: Vec<_> =
        planned.commit.outbox.iter().map(|alert| alert.keys[0].arn.rsplit('/').next().unwrap()).collect();
    assert_eq!(keys, ["k-1", "k-9"]);
}

/// A store that keeps what was committed, and loses what was not.
#[derive(Default)]
struct Durable {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    alerts: Vec<crate::alert::Alert>,
}

impl Durable {
    fn commit(&mut self, commit: Commit) {
        for delta in commit.deltas {
            match delta.value {
                Some(value) => drop(self.rows.insert(delta.key, value)),
                None => drop(self.rows.remove(&delta.key)),
            }
        }
        self.alerts.extend(commit.outbox);
    }

    /// The last word on each incident that stands: group, count, first and last time, event IDs.
    fn incidents(&self) -> BTreeSet<String> {
        let mut last: BTreeMap<&str, &crate::alert::Alert> = BTreeMap::new();
        for alert in &self.alerts {
            last.insert(&alert.id, alert);
        }
        let standing = last.values().filter(|alert| alert.merged_into.is_none());
        standing
            .map(|alert| {
                format!(
                    "{:?} {} {} {} {:?}",
                    alert.group, alert.count, alert.first_event_time, alert.last_event_time, alert.event_ids
                )
            })
            .collect()
    }
}

/// Runs bodies through plans that crash before or after a commit; what was not acknowledged comes again.
fn run(bodies: &[String], crashes: &[u8]) -> BTreeSet<String> {
    let mut durable = Durable::default();
    let mut queue: std::collections::VecDeque<_> = bodies.iter().cloned().collect();
    let mut running = plan();
    let mut crashes = crashes.iter().copied();
    while let Some(body) = queue.pop_front() {
        let planned = running.batch(&[delivery("m", body.clone())], now());
        let crash = crashes.next().unwrap_or(0);
        if crash != 1 {
            durable.commit(planned.commit);
            running.committed();
        }
        if crash > 0 {
            // Before the commit nothing is durable, after it the acknowledgement is lost: either
            // way the message comes again.
            queue.push_back(body);
            running = plan();
            let rows = durable.rows.clone().into_iter().collect();
            running.restore(&Restored { rows }).unwrap();
        }
    }
    let (commit, _) = running.tick(now() + crate::time::Span::from_secs(86_400));
    durable.commit(commit);
    let is_kept = |key: &Vec<u8>| key[0] == b'w' || Picture::owns(key);
    assert!(durable.rows.keys().all(is_kept), "nothing of incidents is kept for ever");
    durable.incidents()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn incidents_do_not_depend_on_order_copies_or_crashes(
        (bodies, shuffled) in prop::collection::vec((0_u32..3000, 0_u8..3), 1..25)
            .prop_map(|list| list.iter().enumerate().map(|(n, (secs, key))| record(&format!("e{n}"), "DisableKey", &format!("k-{key}"), *secs)).collect::<Vec<_>>())
            .prop_flat_map(|list| {
                let twice: Vec<_> = list.iter().chain(list.iter().step_by(2)).cloned().collect();
                (Just(list), Just(twice).prop_shuffle())
            }),
        crashes in prop::collection::vec(0_u8..3, 40),
    ) {
        prop_assert_eq!(run(&shuffled, &crashes), run(&bodies, &[]));
    }
}
