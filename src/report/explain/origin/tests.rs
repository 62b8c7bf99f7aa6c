use std::collections::BTreeSet;

use super::*;
use crate::event::derive::{derive, uses_of};
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::field::Projection;
use crate::event::record::decode;
use crate::keys::enrich;
use crate::keys::picture::Picture;
use crate::keys::picture::change::{changes_of, stamp_of};
use crate::rule::{RuleSet, pack};

/// Checks every derived field of a record; notes which were seen.
fn check(raw: &str, inventory: &Inventory, seen: &mut BTreeSet<&'static str>) {
    check_with(&mut Picture::default(), raw, inventory, seen);
}

/// With what was told of keys before.
fn check_with(picture: &mut Picture, raw: &str, inventory: &Inventory, seen: &mut BTreeSet<&'static str>) {
    let mut record = decode(raw, &Projection::fixed()).unwrap();
    for change in changes_of(&record) {
        picture.apply(&stamp_of(&record), change);
    }
    let whole: Value = serde_json::from_str(raw).unwrap();
    for used in uses_of(&record) {
        derive(&mut record, &used);
        enrich(&mut record, &used, inventory, picture);
        let origins = Origins { fields: &record.fields, whole: &whole, used: &used, inventory };
        for (id, path) in derived::each() {
            let Some(value) = record.fields.values(id).first() else { continue };
            let value = value.to_text().unwrap();
            let origin = origins.of(id).unwrap_or_else(|| panic!("{path} = {value} has no origin; {raw}"));
            seen.insert(path);
            let stands = |from: &String| text_at(&whole, from);
            match origin.kind {
                Kind::Copied => assert_eq!(stands(&origin.from[0]).as_deref(), Some(&*value), "{path}: {origin:?}"),
                Kind::Part => {
                    let text = stands(&origin.from[0]).unwrap_or_else(|| panic!("{path}: {origin:?}; {raw}"));
                    assert!(text.contains(&*value), "{path}: {value} in {text}");
                }
                Kind::WorkedOut => {
                    let told = !origin.how.is_empty() && (!origin.from.is_empty() || origin.how.contains("no "));
                    assert!(told, "{path}: {origin:?}; {raw}");
                }
                Kind::Inventory => assert_eq!(origin.from[0], "inventory"),
                Kind::Known => assert!(origin.from.is_empty() && !origin.how.is_empty()),
            }
            for from in origin.from.iter().filter(|from| *from != "inventory") {
                let is_derived = derived::each().any(|(id, known)| known == from && record.fields.is_present(id));
                assert!(is_derived || whole_has(&whole, from), "{path}: {from} is not there: {raw}");
            }
        }
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace("].", "/").replace('[', "/").replace(']', "").replace('.', "/"))
}

fn whole_has(whole: &Value, path: &str) -> bool {
    whole.pointer(&pointer(path)).is_some() || path.starts_with(CONTEXT)
}

fn text_at(whole: &Value, path: &str) -> Option<String> {
    if let Some(name) = path.strip_prefix(&format!("{CONTEXT}.")) {
        return whole.pointer("/requestParameters/encryptionContext")?.get(name)?.as_str().map(str::to_owned);
    }
    whole.pointer(&pointer(path))?.as_str().map(str::to_owned)
}

#[test]
fn every_derived_field_of_every_example_has_an_origin_that_holds_it() {
    let rules = RuleSet::compile(&pack::shipped()).rules.unwrap();
    let mut seen = BTreeSet::new();
    for example in rules.examples.iter().flat_map(|examples| examples.fires.iter().chain(&examples.silent)) {
        let inventory = example.keys.as_ref().map(|keys| Inventory::parse("keys", keys).unwrap()).unwrap_or_default();
        for raw in example.records.iter().take(3) {
            check(raw, &inventory, &mut seen);
        }
    }
    let re_encrypt = r#"{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"ReEncrypt","userIdentity":{"type":"AWSAccount","principalId":"AROAX:s","accountId":"999988887777"},"resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a"},{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/b"}]}"#;
    check(re_encrypt, &Inventory::default(), &mut seen);
    let denied = r#"{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","errorCode":"AccessDenied","errorMessage":"not allowed on resource: arn:aws:kms:eu-west-1:111122223333:key/a because","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/pay/s"}}"#;
    check(denied, &Inventory::default(), &mut seen);
    let break_glass = "domains: [{name: d, keys: [a], tier: t, owner: o, retired: true, attested: true}]\nbreak_glass: [{ticket: T, principals: ['*'], start: 2026-01-05T00:00:00Z, until: 2026-01-06T00:00:00Z}]\naccounts: ['111122223333']\napproved_regions: [eu-west-1]\n";
    let used = r#"{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","recipientAccountId":"111122223333","resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a"}],"requestParameters":{"replicaRegion":"us-east-1"}}"#;
    check(used, &Inventory::parse("keys", break_glass).unwrap(), &mut seen);
    check(used, &Inventory::parse("keys", "complete: true").unwrap(), &mut seen);
    let mut picture = Picture::default();
    let before = |name: &str, rest: &str| {
        format!(
            r#"{{"eventTime":"2026-01-05T09:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","userIdentity":{{"type":"IAMUser","accountId":"111122223333","arn":"arn:aws:iam::111122223333:user/ann"}},{rest}}}"#
        )
    };
    let key = r#""resources":[{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a"}]"#;
    let policy = |action: &str| {
        format!(
            r#"{key},"eventID":"{action}","requestParameters":{{"policy":"{{\"Statement\":{{\"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"111122223333\"}},\"Action\":\"kms:{action}\",\"Resource\":\"*\"}}}}"}}"#
        )
    };
    for (name, rest) in [
        ("CreateAlias", format!(r#"{key},"requestParameters":{{"aliasName":"alias/a"}}"#)),
        (
            "CreateGrant",
            format!(
                r#"{key},"requestParameters":{{"granteePrincipal":"arn:aws:iam::111122223333:user/ann","operations":["Decrypt"]}}"#
            ),
        ),
        ("PutKeyPolicy", policy("*")),
        ("PutKeyPolicy", policy("Decrypt")),
        ("Decrypt", key.to_owned()),
        ("Encrypt", r#""errorCode":"AccessDenied","requestParameters":{"keyId":"alias/a"}"#.to_owned()),
    ] {
        check_with(&mut picture, &before(name, &rest), &Inventory::default(), &mut seen);
    }
    let missing: Vec<_> = derived::each().map(|(_, path)| path).filter(|path| !seen.contains(path)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "no example has these fields; add a record here that does");
}

#[test]
fn the_same_over_the_synthetic_captures() {
    let inventory = Inventory::parse("tests/keys.yml", &std::fs::read_to_string("tests/keys.yml").unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    let mut records = 0;
    for file in crate::source::capture::files_under(std::path::Path::new("tests/captures/morning")).unwrap() {
        let body = std::fs::read(&file).unwrap();
        open(&body, EnvelopeLimits::default(), &mut |found| {
            if let Found::Record(raw) = found
                && decode(raw, &Projection::fixed()).is_ok()
            {
                records += 1;
                check(raw, &inventory, &mut seen);
            }
        })
        .unwrap();
    }
    assert!(records > 500, "{records}");
}
