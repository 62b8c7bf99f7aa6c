//! Explanations against what live records come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::event::record::decode;
use crate::keys::inventory::Inventory;
use crate::keys::picture::change::{changes_of, stamp_of};
use crate::pipeline::plan::analyze::Analysis;
use crate::rule::{RuleSet, pack};

/// The rules and groups that a record is said to count towards are those that it counts towards;
/// how many.
fn check(raw: &str, analyzer: &Analyzer) -> usize {
    let record = decode(raw, &analyzer.rules.projection).unwrap();
    let options = Options { redaction: Redaction::None, ..Options::default() };
    let mut picture = Picture::default();
    for change in changes_of(&record) {
        picture.apply(&stamp_of(&record), change);
    }
    let explainer = Explainer { analyzer, picture: &picture, has_context: true, options };
    let explained = explainer.explain(record.clone());
    for field in explained.uses.iter().flat_map(|used| &used.fields) {
        assert!(!field.how.contains("not found again"), "{field:?} of {raw}");
    }
    let said: BTreeSet<(String, Vec<String>)> = explained
        .uses
        .iter()
        .flat_map(|used| &used.rules.matched)
        .flat_map(|matched| &matched.towards)
        .filter(|towards| towards.counted && towards.suppressed.is_none())
        .map(|towards| (towards.rule.id.clone(), towards.group.values().cloned().collect()))
        .collect();
    let matches = match analyzer.analyze(record, &picture) {
        Analysis::Read(reading) => reading.matches,
        Analysis::Filtered => Vec::new(),
    };
    let truth: BTreeSet<_> = matches
        .iter()
        .map(|matched| {
            let rule = &analyzer.rules.rules[matched.rule.0 as usize];
            // As the form has them: by name, and printable.
            let group = rule.group_by.iter().zip(&matched.group.0);
            let group: BTreeMap<_, _> = group.map(|(name, value)| (name, printable(value))).collect();
            (rule.meta.id.clone(), group.into_values().collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(said, truth, "{raw}");
    said.len()
}

#[test]
fn what_is_said_is_what_happens() {
    let rules = Arc::new(RuleSet::compile(&pack::shipped()).rules.unwrap());
    let mut counted = 0;
    for example in rules.examples.iter().flat_map(|examples| examples.fires.iter().chain(&examples.silent)) {
        let inventory = example.keys.as_ref().map(|keys| Inventory::parse("keys", keys).unwrap()).unwrap_or_default();
        let analyzer = Analyzer { rules: rules.clone(), inventory: Arc::new(inventory) };
        counted += example.records.iter().take(2).map(|raw| check(raw, &analyzer)).sum::<usize>();
    }
    assert!(counted > 100, "{counted}");
}

/// Whatever stands where: no panic, and still what happens.
#[test]
fn absurd_records_are_explained_too() {
    let keys = "domains: [{name: d, keys: [k], expect: [{principals: ['*'], context: {a: b}}]}]\nsuppressions: [{keys: [k], until: 2027-01-01T00:00:00Z, ticket: CHG-1}]";
    let rules = Arc::new(RuleSet::compile(&pack::shipped()).rules.unwrap());
    let analyzer = Analyzer { rules, inventory: Arc::new(Inventory::parse("keys", keys).unwrap()) };
    let absurd = [
        "null",
        "[]",
        "{}",
        "-7.5e300",
        r#""\u0000\u202e""#,
        r#"[[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k"}],{"ARN":7},null]"#,
        r#"{"arn":["arn:x","arn:y"],"type":["AssumedRole"],"keyId":{"a":1},"encryptionContext":[{"a":"b"},"c"]}"#,
        r#"{"policy":"{\"Statement\":[7]}","granteePrincipal":"arn:::::","operations":7,"keyId":"k","type":"IAMUser"}"#,
    ];
    let members = ["userIdentity", "requestParameters", "responseElements", "resources", "errorCode", "errorMessage"];
    for name in ["Decrypt", "ReEncrypt", "CreateGrant", "PutKeyPolicy", "ImportKeyMaterial", "x"] {
        for member in members {
            for value in absurd {
                let raw = format!(
                    r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","requestParameters":{{"keyId":"k"}},"{member}":{value}}}"#
                );
                check(&raw, &analyzer);
            }
        }
    }
}
