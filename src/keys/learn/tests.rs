use super::history::Seen;
use super::propose::{Options, propose};
use super::*;
use crate::event::derive::{derive, uses_of};
use crate::event::field::{Projection, derived};
use crate::event::record::decode;
use crate::keys::expect::{Call, judge};
use crate::keys::inventory::Known;
use proptest::prelude::*;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/k-1";

/// A use of a key, as much of it as the tests vary.
#[derive(Clone, Debug)]
struct Made {
    day: u8,
    hour: u8,
    key: String,
    role: String,
    operation: &'static str,
    via: Option<&'static str>,
    source: String,
    context: String,
    error: &'static str,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            day: 1,
            hour: 10,
            key: KEY.to_owned(),
            role: "pay".to_owned(),
            operation: "Decrypt",
            via: None,
            source: "203.0.113.7".to_owned(),
            context: r#"{"purpose":"tokenise"}"#.to_owned(),
            error: "",
        }
    }
}

impl Made {
    fn raw(&self) -> String {
        let Self { day, hour, key, role, operation, source, context, error, .. } = self;
        let via = self.via.map(|via| format!(r#","invokedBy":"{via}""#)).unwrap_or_default();
        let source = self.via.unwrap_or(source);
        format!(
            r#"{{"eventTime":"2026-01-{day:02}T{hour:02}:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{operation}","awsRegion":"eu-west-1","errorCode":"{error}","sourceIPAddress":"{source}","userIdentity":{{"type":"AssumedRole","accountId":"111122223333","sessionContext":{{"sessionIssuer":{{"arn":{}}}}}{via}}},"resources":[{{"ARN":{}}}],"requestParameters":{{"encryptionContext":{context}}}}}"#,
            serde_json::json!(format!("arn:aws:iam::111122223333:role/{role}")),
            serde_json::json!(key),
        )
    }

    /// Hands the use to `then` as it is seen.
    fn seen<T>(&self, then: impl FnOnce(&Seen<'_>) -> T) -> T {
        let raw = self.raw();
        let mut record = decode(&raw, &Projection::fixed()).unwrap();
        let used = uses_of(&record).remove(0);
        derive(&mut record, &used);
        let outcome = record.fields.text(derived::OUTCOME).unwrap_or_default().to_owned();
        then(&Seen::of(&record, &used, &outcome))
    }

    fn is_expected(&self, inventory: &Inventory) -> Option<bool> {
        self.seen(|seen| {
            let call = Call::of(seen.used, seen.operation, seen.fields, seen.time);
            let domain = inventory.domain_of(seen.used.key.as_ref()?, call.account(), &Known::default)?;
            judge(domain, &call, inventory).map(|judgement| judgement.expected)
        })
    }
}

fn learnt(all: &[Made]) -> History {
    let mut history = History::default();
    all.iter().for_each(|made| made.seen(|seen| history.note(seen)));
    history
}

fn written(all: &[Made]) -> (Inventory, String) {
    let options = Options::default();
    let text = write::inventory(&propose(&learnt(all), options), options);
    (Inventory::parse("learnt.yml", &text).unwrap_or_else(|error| panic!("{error}\n{text}")), text)
}

/// The same use on each of these days.
fn daily(days: std::ops::Range<u8>, made: &Made) -> Vec<Made> {
    days.map(|day| Made { day, ..made.clone() }).collect()
}

#[test]
fn what_is_usual_is_expected_and_each_first_use_is_not() {
    let usual = Made::default();
    let by_lambda = Made { via: Some("lambda.amazonaws.com"), operation: "Encrypt", ..Made::default() };
    let (inventory, text) = written(&[daily(1..20, &usual), daily(1..20, &by_lambda)].concat());
    let expected = |made: &Made| made.is_expected(&inventory);
    assert_eq!(expected(&Made { day: 25, ..usual.clone() }), Some(true), "{text}");
    assert_eq!(expected(&Made { day: 25, ..by_lambda.clone() }), Some(true), "{text}");
    for (what, made) in [
        ("principal", Made { role: "batch".to_owned(), ..usual.clone() }),
        ("operation", Made { operation: "ReEncrypt", ..usual.clone() }),
        ("service", Made { via: Some("s3.amazonaws.com"), ..usual.clone() }),
        ("directly", Made { via: None, ..by_lambda.clone() }),
        ("context", Made { context: r#"{"purpose":"debug"}"#.to_owned(), ..usual.clone() }),
        ("no context", Made { context: "{}".to_owned(), ..usual.clone() }),
        ("network", Made { source: "198.51.100.9".to_owned(), ..usual.clone() }),
        ("of the other operation", Made { operation: "Encrypt", ..usual.clone() }),
    ] {
        assert_eq!(expected(&made), Some(false), "{what}\n{text}");
    }
}

#[test]
fn a_single_visit_is_for_review_and_what_was_denied_is_not_learnt() {
    let visit = Made { role: "thief".to_owned(), day: 7, ..Made::default() };
    let denied = Made { role: "nosy".to_owned(), error: "AccessDenied", ..Made::default() };
    let (inventory, text) =
        written(&[daily(1..20, &Made::default()), vec![visit.clone(); 300], daily(1..20, &denied)].concat());
    assert_eq!(visit.is_expected(&inventory), Some(false));
    assert_eq!(Made { error: "", ..denied }.is_expected(&inventory), Some(false));
    assert!(text.contains("# rare: 300 uses on 1 day, last 2026-01-07, review"), "{text}");
    assert!(text.contains(r#"#   "arn:aws:iam::111122223333:role/nosy" "Decrypt": 19 attempts on 19 days"#), "{text}");
    let only = written(&vec![visit.clone(); 300]);
    assert_eq!(
        visit.is_expected(&only.0),
        Some(false),
        "a key that was visited once has a domain that expects nothing"
    );
}

#[test]
fn bucket_keys_may_be_switched_on_and_off() {
    let object = |day: u8, bucket: &str| Made {
        day,
        via: Some("s3.amazonaws.com"),
        context: format!(r#"{{"aws:s3:arn":"arn:aws:s3:::{bucket}/statements/{day}.pdf"}}"#),
        ..Made::default()
    };
    let bucket = |name: &str| Made {
        via: Some("s3.amazonaws.com"),
        context: format!(r#"{{"aws:s3:arn":"arn:aws:s3:::{name}"}}"#),
        ..Made::default()
    };
    let of_objects = written(&(1..20).map(|day| object(day, "pii")).collect::<Vec<_>>()).0;
    let of_bucket = written(&daily(1..20, &bucket("pii"))).0;
    for inventory in [of_objects, of_bucket] {
        assert_eq!(object(25, "pii").is_expected(&inventory), Some(true));
        assert_eq!(bucket("pii").is_expected(&inventory), Some(true));
        assert_eq!(object(25, "pii2").is_expected(&inventory), Some(false));
        assert_eq!(bucket("pii2").is_expected(&inventory), Some(false));
    }
}

#[test]
fn keys_that_are_used_alike_form_a_domain() {
    let key = |id: &str| format!("arn:aws:kms:eu-west-1:111122223333:key/{id}");
    let named = |id: &str, alias: &str| {
        let typed = format!(r#"{{"purpose":"tokenise"}},"keyId":"alias/{alias}""#);
        Made { key: key(id), operation: "Encrypt", context: typed, ..Made::default() }
    };
    let all = [
        daily(1..9, &named("k-1", "vault-cards-key")),
        daily(1..9, &named("k-2", "vault-tokens-key")),
        daily(1..9, &Made { key: key("k-3"), role: "fraud".to_owned(), ..Made::default() }),
    ];
    let (inventory, text) = written(&all.concat());
    let names: Vec<_> = inventory.domains.iter().map(|domain| domain.name.as_str()).collect();
    assert_eq!(names, ["fraud", "vault"], "{text}");
    assert!(inventory.is_complete);
    assert_eq!(inventory.domains[1].key_names.len(), 4, "two ARNs with their aliases\n{text}");
    assert_eq!(named("k-2", "vault-tokens-key").is_expected(&inventory), Some(true));
}

/// As in captures that were made anonymous: one id in two accounts, a session without its role.
#[test]
fn what_an_inventory_cannot_name_is_told_and_the_rest_is_written() {
    let foreign = Made { key: "arn:aws:kms:eu-west-1:999988887777:key/k-1".to_owned(), ..Made::default() };
    let session = Made { role: "x:assumed-role/pay/s".to_owned(), ..Made::default() };
    let (inventory, text) =
        written(&[daily(1..9, &Made::default()), daily(1..9, &foreign), daily(1..9, &session)].concat());
    assert!(text.contains("# NOT ALL OF IT: the key arn:aws:kms:eu-west-1:999988887777:key/k-1: another"), "{text}");
    assert!(!inventory.is_complete && text.contains("# an inventory cannot name it so"), "{text}");
    assert_eq!(Made::default().is_expected(&inventory), Some(true));
}

/// A replica of a multi-Region key is the same key, and its Region is a matter of the line.
#[test]
fn a_replica_in_a_new_region_is_told() {
    let primary = Made { key: "arn:aws:kms:eu-west-1:111122223333:key/mrk-7".to_owned(), ..Made::default() };
    let (inventory, text) = written(&daily(1..9, &primary));
    let raw = primary.raw().replace("eu-west-1", "us-east-1");
    let record = decode(&raw, &Projection::fixed()).unwrap();
    let used = uses_of(&record).remove(0);
    let call = Call::of(&used, "Decrypt", &record.fields, record.time);
    let domain = inventory.domain_of(used.key.as_ref().unwrap(), call.account(), &Known::default).unwrap();
    let judgement = judge(domain, &call, &inventory).unwrap();
    assert!(!judgement.expected && judgement.reason.contains("not in us-east-1"), "{}\n{text}", judgement.reason);
}

#[test]
fn text_of_records_is_never_read_as_yaml() {
    let odd = [r"x\n  - name: evil", "*", "a?b", "x # y", "é\u{202e}", "'\"", "- a", "{a: b}", "\\", "key/../x y", ""];
    for text in odd {
        let hostile = Made {
            role: text.to_owned(),
            key: format!("arn:aws:kms:eu-west-1:111122223333:key/{text}"),
            context: serde_json::json!({ text: "v", "purpose": text }).to_string(),
            ..Made::default()
        };
        let (inventory, written) = written(&[daily(1..9, &hostile), daily(1..2, &hostile)].concat());
        assert!(!inventory.domains.iter().any(|domain| domain.name == "evil"), "{written}");
        let stranger = Made { key: hostile.key.clone(), role: "anybody".to_owned(), ..Made::default() };
        assert_ne!(stranger.is_expected(&inventory), Some(true), "{text} became a pattern\n{written}");
    }
}

#[test]
fn drift_names_what_departs_and_what_was_never_seen() {
    let inventory = Inventory::parse(
        "keys.yml",
        "domains:
  - name: vault
    keys: [k-1]
    expect:
      - {principals: ['arn:aws:iam::111122223333:role/pay', 'arn:aws:iam::111122223333:role/gone'], operations: [Decrypt, Sign], context: {purpose: tokenise}}
      - {principals: ['arn:aws:iam::111122223333:role/old']}
    never: ['arn:aws:iam::*:role/dev-*']
",
    )
    .unwrap();
    let mut learning = Learning::default();
    let debug = r#"{"purpose":"debug"}"#.to_owned();
    for made in [
        Made::default(),
        Made { operation: "Encrypt", ..Made::default() },
        Made { role: "new".to_owned(), ..Made::default() },
        Made { role: "dev-ann".to_owned(), ..Made::default() },
        Made { context: debug, ..Made::default() },
        Made { key: "arn:aws:kms:eu-west-1:111122223333:key/other".to_owned(), ..Made::default() },
        Made { role: "denied".to_owned(), error: "AccessDenied", ..Made::default() },
    ] {
        made.seen(|seen| learning.note(seen, Some(&inventory), &Known::default));
    }
    let departures: Vec<_> =
        learning.drift.departures().map(|(one, _)| (one.kind.as_str(), one.detail.clone())).collect();
    let wanted = ["never", "principal", "operation", "context"]
        .map(|kind| (kind, if kind == "context" { "purpose".to_owned() } else { String::new() }));
    assert_eq!(departures, wanted);
    assert_eq!(learning.drift.strangers().count(), 1);
    let unused: Vec<_> = learning.drift.unused(&inventory).into_iter().map(|one| (one.line, one.what)).collect();
    let text = |line: u64, what: &str| (line, what.to_owned());
    assert_eq!(
        unused,
        [
            text(5, "principal arn:aws:iam::111122223333:role/gone"),
            text(5, "operation Sign"),
            text(6, "the line of arn:aws:iam::111122223333:role/old"),
        ]
    );
}

fn any_use() -> impl Strategy<Value = Made> {
    let word = prop::sample::select(vec!["a", "b", "a/b*c", "x\"y", "\u{202e}ü", "4711081500"]);
    let via = prop::sample::select(vec![None, Some("s3.amazonaws.com"), Some("AWS Internal")]);
    let operation = prop::sample::select(vec!["Decrypt", "Encrypt", "ReEncrypt", "Sign", "DescribeKey", "CreateAlias"]);
    let error = prop::sample::select(vec!["", "", "", "AccessDenied", "ThrottlingException"]);
    (1_u8..29, 0_u8..24, word.clone(), 0_u8..4, operation, via, word, (0_u8..40, error)).prop_map(
        |(day, hour, role, key, operation, via, value, (host, error))| Made {
            day,
            hour,
            key: format!("arn:aws:kms:eu-west-1:111122223333:key/k-{key}"),
            role: role.to_owned(),
            operation,
            via,
            source: format!("198.51.{}.{host}", 100 + host % 3),
            context: serde_json::json!({"aws:s3:arn": format!("arn:aws:s3:::{value}/o"), "purpose": value}).to_string(),
            error,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the records are ordered and spread, the file is the same, and it can be read.
    #[test]
    fn order_and_parts_do_not_show(
        all in prop::collection::vec(any_use(), 1..80),
        order in any::<u64>(),
        parts in 1_usize..5,
    ) {
        let (_, text) = written(&all);
        let mut turned = all.clone();
        let mut state = order;
        for at in (1..turned.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            turned.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
        }
        let mut merged = Learning::default();
        for part in turned.chunks(turned.len().div_ceil(parts)) {
            merged.merge(Learning { history: learnt(part), ..Learning::default() });
        }
        let options = Options::default();
        prop_assert_eq!(write::inventory(&propose(&merged.history, options), options), text);
    }

    /// What a habit is made of is expected by what is learnt from it, or stands under review.
    #[test]
    fn what_was_steady_is_expected(all in prop::collection::vec(any_use(), 1..6)) {
        let plain: Vec<Made> = all
            .into_iter()
            .map(|made| Made { role: "app".to_owned(), operation: "Decrypt", error: "", ..made })
            .collect();
        let steady: Vec<Made> = plain.iter().flat_map(|made| daily(1..15, made)).collect();
        let (inventory, text) = written(&steady);
        for made in &plain {
            prop_assert_eq!(made.is_expected(&inventory), Some(true), "{:?}\n{}", made, text);
        }
    }
}
