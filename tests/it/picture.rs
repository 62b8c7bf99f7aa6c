//! What the stream tells of keys: aliases, tags, grants and suppressions in verdicts, over restarts, and
//! the same in a replay whatever the order of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use kmswatch::alert::Alert;
use kmswatch::alert::redact::Redaction;
use kmswatch::keys::inventory::Inventory;
use kmswatch::pipeline::plan::analyze::Analyzer;
use kmswatch::pipeline::plan::{Limits, Plan};
use kmswatch::pipeline::replay::{FileResult, Reader, Window, incidents};
use kmswatch::pipeline::survey::{Survey, whole_picture};
use kmswatch::rule::{RuleSet, RuleText};
use kmswatch::source::{Delivery, Receipt};
use kmswatch::store::Restored;
use kmswatch::time::EventTime;

const RULE: &str = "title: not expected
id: 11111111-2222-4333-8444-000000000001
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, kms.expected: false}, condition: a}
kmswatch: {group-by: [eventID], summary: '{kms.key} of {kms.domain}: {kms.expected_reason}'}
";

const KEYS: &str = "domains:
  - name: vault
    keys: [alias/vault]
    expect: [{principals: ['arn:aws:iam::111122223333:role/pay']}]
  - name: pii
    keys: [{tag: {data: pii}}]
    expect: [{principals: ['arn:aws:iam::111122223333:role/crm']}]
suppressions:
  - {principals: ['arn:aws:iam::111122223333:role/scanner'], until: 2026-01-05T10:30:00Z, ticket: CHG-1}
";

fn rules() -> Arc<RuleSet> {
    rules_of(RULE)
}

fn rules_of(text: &str) -> Arc<RuleSet> {
    let compiled = RuleSet::compile(&[RuleText { path: "f/r.yml".into(), text: text.into() }]);
    Arc::new(compiled.rules.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics)))
}

fn inventory() -> Arc<Inventory> {
    Arc::new(Inventory::parse("keys.yml", KEYS).unwrap())
}

const CHANGED: &str = "title: changed
id: 11111111-2222-4333-8444-000000000002
logsource: {product: aws}
detection: {a: {eventSource: kms.amazonaws.com, 'kms.change|exists': true}, condition: a}
kmswatch: {group-by: [eventID], summary: '{eventName}'}
";

/// A call at a minute past ten by a role on a key.
fn record(minute: u32, name: &str, role: &str, key: &str, rest: &str) -> String {
    format!(
        r#"{{"eventVersion":"1.11","eventID":"e-{minute:02}","eventTime":"2026-01-05T10:{minute:02}:00Z","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","userIdentity":{{"type":"AssumedRole","accountId":"111122223333","arn":"arn:aws:sts::111122223333:assumed-role/{role}/s","sessionContext":{{"sessionIssuer":{{"arn":"arn:aws:iam::111122223333:role/{role}"}}}}}},{rest}"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/{key}"}}]}}"#
    )
}

fn stream() -> Vec<String> {
    let alias = |key: &str| format!(r#""requestParameters":{{"aliasName":"alias/vault","targetKeyId":"{key}"}},"#);
    let tag = r#""requestParameters":{"tags":[{"tagKey":"data","tagValue":"pii"}]},"#;
    let grant = r#""requestParameters":{"granteePrincipal":"arn:aws:iam::111122223333:role/eve","operations":["Decrypt"]},"responseElements":{"grantId":"g-1"},"#;
    let revoke = r#""requestParameters":{"grantId":"g-1"},"#;
    vec![
        record(1, "Decrypt", "eve", "k-1", ""),
        record(2, "CreateAlias", "admin", "k-1", &alias("k-1")),
        record(3, "Decrypt", "eve", "k-1", ""),
        record(4, "Decrypt", "pay", "k-1", ""),
        record(5, "CreateGrant", "admin", "k-1", grant),
        record(6, "Decrypt", "eve", "k-1", ""),
        record(7, "RevokeGrant", "admin", "k-1", revoke),
        record(8, "Decrypt", "eve", "k-1", ""),
        record(9, "UpdateAlias", "admin", "k-2", &alias("k-2")),
        record(10, "Decrypt", "eve", "k-1", ""),
        record(11, "Decrypt", "eve", "k-2", ""),
        record(12, "TagResource", "admin", "k-3", tag),
        record(13, "Decrypt", "pay", "k-3", ""),
        record(14, "Decrypt", "scanner", "k-3", ""),
        record(40, "Decrypt", "scanner", "k-3", ""),
    ]
}

/// What must be told, by event.
fn truth() -> Vec<(&'static str, String)> {
    let not = |who: &str, domain: &str| format!("role/{who} (111122223333) is not in {domain}'s principals");
    vec![
        ("e-03", format!("alias/vault of vault: {}", not("eve", "vault"))),
        (
            "e-06",
            format!(
                "alias/vault of vault: {}; allowed by grant g-1 to role/eve (111122223333), made by role/admin (111122223333) at 2026-01-05T10:05:00Z",
                not("eve", "vault")
            ),
        ),
        ("e-08", format!("alias/vault of vault: {}", not("eve", "vault"))),
        ("e-11", format!("alias/vault of vault: {}", not("eve", "vault"))),
        ("e-13", format!("arn:aws:kms:eu-west-1:111122223333:key/k-3 of pii: {}; it is in vault's", not("pay", "pii"))),
        ("e-40", format!("arn:aws:kms:eu-west-1:111122223333:key/k-3 of pii: {}", not("scanner", "pii"))),
    ]
}

fn told(alerts: &[Alert]) -> Vec<(&str, String)> {
    let mut told: Vec<_> = alerts.iter().map(|alert| (alert.event_ids[0].as_str(), alert.summary.clone())).collect();
    told.sort();
    told
}

#[test]
fn the_stream_keeps_what_is_known_of_keys_over_restarts() {
    let mut store: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut alerts = Vec::new();
    let mut suppressed = BTreeMap::new();
    for body in stream() {
        // A new process for each record.
        let mut plan = Plan::new(rules(), inventory(), Limits::default(), Redaction::default());
        let rows = store.clone().into_iter().collect();
        assert_eq!(plan.restore(&Restored { rows }).unwrap(), 0);
        let delivery = Delivery {
            body: body.into_bytes(),
            receipt: Receipt("r".to_owned()),
            label: "m".to_owned(),
            sent_at: None,
            receive_count: 1,
        };
        let planned = plan.batch(&[delivery], EventTime::parse("2026-01-05T10:41:00Z").unwrap());
        for delta in planned.commit.deltas {
            match delta.value {
                Some(value) => drop(store.insert(delta.key, value)),
                None => drop(store.remove(&delta.key)),
            }
        }
        assert_eq!(planned.accounting.suppressed, planned.suppressed.values().sum::<u64>());
        planned.suppressed.into_iter().for_each(|(ticket, count)| *suppressed.entry(ticket).or_insert(0) += count);
        alerts.extend(planned.commit.outbox);
    }
    alerts.retain(|alert| alert.status == kmswatch::alert::Status::Open);
    assert_eq!(told(&alerts), truth());
    assert_eq!(suppressed, BTreeMap::from([("CHG-1".to_owned(), 1)]));
}

#[test]
fn a_replay_sees_the_same_in_any_order() {
    let mut forwards = stream();
    let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
    forwards.rotate_left(7);
    for order in [forwards, backwards] {
        let (alerts, suppressed) = replayed(&rules(), &order);
        assert_eq!((told(&alerts), suppressed), (truth(), 1));
    }
}

#[test]
fn alerts_say_what_changed() {
    let (alerts, _) = replayed(&rules_of(CHANGED), &stream());
    let changed: Vec<_> = alerts.iter().map(|alert| (alert.summary.as_str(), alert.changes.join("|"))).collect();
    let key = |id: &str| format!("arn:aws:kms:eu-west-1:111122223333:key/{id}");
    let grant = "Decrypt to role/eve (111122223333), without constraints";
    assert_eq!(
        changed,
        [
            ("CreateAlias", format!("alias/vault stands for {}", key("k-1"))),
            ("CreateGrant", format!("grants {grant}")),
            (
                "RevokeGrant",
                "ends grant g-1 to role/eve (111122223333), made by role/admin (111122223333) at 2026-01-05T10:05:00Z, for Decrypt"
                    .to_owned()
            ),
            ("UpdateAlias", format!("alias/vault goes from {} to {}", key("k-1"), key("k-2"))),
            ("TagResource", "tag data is pii".to_owned()),
        ]
    );
    let text = kmswatch::alert::text::render(&alerts[3]);
    assert!(text.contains("changed   alias/vault goes from"), "{text}");
}

fn replayed(rules: &Arc<RuleSet>, order: &[String]) -> (Vec<Alert>, u64) {
    let mut picture = whole_picture();
    let pieces: Vec<String> = order.chunks(4).map(|lines| lines.join("\n")).collect();
    for piece in &pieces {
        let mut survey = Survey::default();
        survey.look(piece.as_bytes());
        survey.tell(&mut picture);
    }
    let analyzer = Analyzer { rules: rules.clone(), inventory: inventory() };
    let reader = Reader::new(analyzer, picture, Window::default());
    let mut results = Vec::new();
    for piece in &pieces {
        let mut result = FileResult::default();
        reader.read(piece.as_bytes(), &mut result);
        results.push(result);
    }
    let suppressed = results.iter().map(|result| result.accounting.suppressed).sum();
    (incidents(rules, results, &[], Redaction::default()), suppressed)
}
