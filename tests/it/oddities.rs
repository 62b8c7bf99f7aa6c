//! What real CloudTrail records look like where they differ from the book, each with the shipped rules
//! or the fields that rules read. The records are synthetic; the numbers are those of the list of
//! oddities that the design was made from.

use std::sync::{Arc, LazyLock};

use kmswatch::alert::Alert;
use kmswatch::alert::redact::Redaction;
use kmswatch::event::derive::{derive, uses_of};
use kmswatch::event::record::decode;
use kmswatch::keys::inventory::Inventory;
use kmswatch::keys::picture::Picture;
use kmswatch::pipeline::plan::analyze::Analyzer;
use kmswatch::pipeline::replay::{FileResult, Reader, Window, incidents};
use kmswatch::rule::{RuleSet, pack};
use kmswatch::time::EventTime;
use serde_json::{Value, json};

const ACCOUNT: &str = "111122223333";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";
const OTHER: &str = "arn:aws:kms:eu-west-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef";

static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| Arc::new(RuleSet::compile(&pack::shipped()).rules.unwrap()));

/// A record of KMS, with what is given laid over it; null takes a field away.
fn record(id: usize, name: &str, over: &Value) -> Value {
    let start = EventTime::parse("2026-01-05T10:00:00Z").unwrap().as_millis() / 1000;
    let time = EventTime::from_millis((start + i64::try_from(id).unwrap()) * 1000);
    let mut record = json!({
        "eventVersion": "1.11", "eventID": format!("e{id}"), "eventTime": time.to_string(),
        "eventSource": "kms.amazonaws.com", "eventName": name, "awsRegion": "eu-west-1",
        "recipientAccountId": ACCOUNT, "eventType": "AwsApiCall", "sourceIPAddress": "198.51.100.7",
        "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ann", "accountId": ACCOUNT, "userName": "ann"},
        "resources": [{"ARN": KEY, "accountId": ACCOUNT, "type": "AWS::KMS::Key"}],
    });
    for (field, value) in over.as_object().unwrap() {
        match value {
            Value::Null => drop(record.as_object_mut().unwrap().remove(field)),
            value => record[field] = if value == "null" { Value::Null } else { value.clone() },
        }
    }
    record
}

/// The values of fields, for each key that the record uses.
fn fields(record: &Value, names: &[&str]) -> Vec<Vec<String>> {
    let raw = record.to_string();
    let decoded = decode(&raw, &RULES.projection).unwrap();
    let each = uses_of(&decoded).into_iter().map(|used| {
        let mut one = decoded.clone();
        derive(&mut one, &used);
        let value = |name: &&str| {
            let values = one.fields.values(RULES.projection.id(name).unwrap());
            values
                .iter()
                .filter_map(|value| value.to_text().map(|text| text.into_owned()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        names.iter().map(value).collect()
    });
    each.collect()
}

fn one(record: &Value, name: &str) -> String {
    fields(record, &[name]).remove(0).remove(0)
}

fn replayed(bytes: &[u8]) -> (Vec<Alert>, FileResult) {
    let analyzer = Analyzer { rules: RULES.clone(), inventory: Arc::new(Inventory::default()) };
    let read = || {
        let mut result = FileResult::default();
        Reader::new(analyzer.clone(), Picture::default(), Window::default()).read(bytes, &mut result);
        result
    };
    (incidents(&RULES, vec![read()], &[], Redaction::default()), read())
}

fn lines(records: &[Value]) -> Vec<u8> {
    records.iter().map(|record| format!("{record}\n")).collect::<String>().into_bytes()
}

/// Level and title of what the shipped rules say.
fn said(records: &[Value]) -> Vec<String> {
    let mut said: Vec<_> = replayed(&lines(records)).0.iter().map(|alert| alert.rule.title.to_string()).collect();
    said.sort();
    said
}

#[test]
fn keys_by_every_name_and_by_none() {
    // 1: a symmetric Decrypt names no key.
    let decrypt = json!({"requestParameters": {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}});
    assert_eq!(one(&record(0, "Decrypt", &decrypt), "kms.key_arn"), KEY);
    // 2: denied or not found, the key stands in the message alone.
    for (code, message, expected) in [
        (
            "AccessDenied",
            format!(
                "User: arn:aws:iam::111122223333:user/ann is not authorized to perform: kms:Decrypt on resource: {KEY} because no identity-based policy allows the kms:Decrypt action"
            ),
            KEY,
        ),
        ("NotFoundException", format!("Key '{KEY}' does not exist"), KEY),
        ("AccessDenied", "User: x is not authorized to perform: kms:CreateKey on resource: *".to_owned(), ""),
    ] {
        let over = json!({"errorCode": code, "errorMessage": message, "resources": null, "requestParameters": "null"});
        assert_eq!(one(&record(0, "DescribeKey", &over), "kms.key_arn"), expected, "{message}");
    }
    // 3: all spellings of a key id; two resources of CreateAlias; two keys of ReEncrypt.
    let bare = "aaaaaaaa-1111-4222-8333-444444444444";
    for (typed, expected) in [(KEY, KEY), (bare, bare), ("mrk-77", "mrk-77"), ("alias/vault", "alias/vault")] {
        let over = json!({"resources": [], "requestParameters": {"keyId": typed}});
        assert_eq!(one(&record(0, "DescribeKey", &over), "kms.key_arn"), expected);
    }
    let alias = "arn:aws:kms:eu-west-1:111122223333:alias/vault";
    for order in [[KEY, alias], [alias, KEY]] {
        let resources = order.map(|arn| json!({"ARN": arn, "accountId": ACCOUNT, "type": "AWS::KMS::Key"}));
        let over =
            json!({"resources": resources, "requestParameters": {"aliasName": "alias/vault", "targetKeyId": bare}});
        assert_eq!(fields(&record(0, "UpdateAlias", &over), &["kms.key_arn", "kms.alias"]), [[KEY, "alias/vault"]]);
    }
    let both = json!({"resources": [{"ARN": KEY}, {"ARN": OTHER}], "requestParameters": {"destinationKeyId": OTHER}});
    let uses = fields(&record(0, "ReEncrypt", &both), &["kms.key_arn", "kms.key_role"]);
    assert_eq!(uses, [[KEY, "source"], [OTHER, "destination"]]);
    // 4: resources absent, null, empty, without a type, spelt otherwise, with accounts that are none.
    for resources in [json!(null), json!("null"), json!([])] {
        let over = json!({"resources": resources, "responseElements": {"keyId": KEY}});
        assert_eq!(one(&record(0, "DisableKey", &over), "kms.key_arn"), KEY);
    }
    assert_eq!(one(&record(0, "Decrypt", &json!({"resources": [{"arn": KEY}]})), "kms.key_arn"), KEY);
    let internal = json!({"resources": [{"ARN": "alias/x", "accountId": "AWS Internal"}]});
    assert_eq!(one(&record(0, "Decrypt", &internal), "kms.owner_account"), "");
    // 20: anonymised names are names like others.
    let starred = "[AWS_ARN_REDACTED][AWS_ACCOUNT_ID_REDACTED]:key/0a1b";
    let odd = json!({"resources": [{"ARN": starred, "accountId": "1234567890123"}], "recipientAccountId": "123456789"});
    assert_eq!(fields(&record(0, "Decrypt", &odd), &["kms.key_arn", "kms.owner_account"]), [["", ""]]);
}

#[test]
fn callers_of_every_kind() {
    let role = "arn:aws:iam::111122223333:role/pay";
    let session = "arn:aws:sts::111122223333:assumed-role/pay/kim@bank.example";
    let forwarded = json!({"type": "AssumedRole", "arn": session, "accountId": ACCOUNT, "invokedBy": "secretsmanager.eu-west-1.amazonaws.com",
        "sessionContext": {"sessionIssuer": {"arn": role, "accountId": ACCOUNT, "userName": "pay"}}});
    // 5, 6, 7.
    for (identity, principal, kind, via) in [
        (
            json!({"type": "Root", "arn": "arn:aws:iam::111122223333:root", "accountId": ACCOUNT}),
            "arn:aws:iam::111122223333:root",
            "Root",
            "",
        ),
        (
            json!({"type": "AWSService", "invokedBy": "cloudtrail.amazonaws.com"}),
            "service:cloudtrail.amazonaws.com",
            "AWSService",
            "",
        ),
        (
            json!({"type": "AWSAccount", "accountId": "999988887777", "principalId": "AROAX:s"}),
            "account:999988887777/AROAX",
            "AWSAccount",
            "",
        ),
        (json!({"accountId": ACCOUNT, "invokedBy": "AWS Internal"}), "service:aws-internal", "ServiceEvent", ""),
        (
            json!({"type": "AssumedRole", "arn": session, "accountId": ACCOUNT, "sessionContext": {"sessionIssuer": {}}}),
            role,
            "AssumedRole",
            "",
        ),
        (forwarded, role, "AssumedRole", "secretsmanager.eu-west-1.amazonaws.com"),
        (
            json!({"type": "WebIdentityUser", "principalId": "accounts.google.com:app:ann", "identityProvider": "accounts.google.com", "userName": "ann"}),
            "webidentityuser:accounts.google.com/accounts.google.com:app:ann",
            "WebIdentityUser",
            "",
        ),
        (
            json!({"type": "IdentityCenterUser", "accountId": ACCOUNT, "onBehalfOf": {"userId": "u-1", "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-1"}}),
            "idc:d-1/u-1",
            "IdentityCenterUser",
            "",
        ),
        (json!({"type": "Unknown"}), "unknown:unknown/unknown", "Unknown", ""),
        (
            json!({"type": "Directory", "userName": "ann", "accountId": ACCOUNT}),
            "directory:111122223333/ann",
            "Directory",
            "",
        ),
        (json!({"type": "Role", "arn": role, "accountId": ACCOUNT}), role, "Role", ""),
    ] {
        let record = record(0, "Decrypt", &json!({ "userIdentity": identity }));
        let got = fields(&record, &["kms.principal", "kms.principal_type", "kms.via"]);
        assert_eq!(got, [[principal, kind, via]]);
    }
    let absent = record(0, "Decrypt", &json!({"userIdentity": null}));
    assert_eq!(one(&absent, "kms.principal_type"), "ServiceEvent");
    for (source, kind) in [
        ("AWS Internal", "aws-internal"),
        ("internal.amazonaws.com", "aws-internal"),
        ("workmail.eu-west-1.amazonaws.com", "service"),
        ("2001:db8::1", "address"),
    ] {
        assert_eq!(one(&record(0, "Decrypt", &json!({"sourceIPAddress": source})), "kms.source_kind"), kind);
    }
}

#[test]
fn a_burst_in_any_order_and_twice() {
    let role = "arn:aws:iam::111122223333:role/pay";
    // 6, 7: one role behind many sessions and keys is one principal, and its burst one incident.
    let secret = |n: usize| {
        let identity = json!({"type": "AssumedRole", "accountId": ACCOUNT, "accessKeyId": format!("ASIA{n}"), "invokedBy": "AWS Internal",
            "arn": format!("arn:aws:sts::111122223333:assumed-role/pay/s{n}"), "sessionContext": {"sessionIssuer": {"arn": role}}});
        record(
            n,
            "Decrypt",
            &json!({"userIdentity": identity, "sourceIPAddress": "AWS Internal",
            "requestParameters": {"encryptionContext": {"SecretARN": format!("arn:secret:{n}"), "SecretVersionId": "v"}}}),
        )
    };
    let burst: Vec<_> = (0..30).map(secret).collect();
    let (alerts, _) = replayed(&lines(&burst));
    let counts: Vec<_> = alerts.iter().map(|alert| (alert.rule.title.to_string(), alert.count)).collect();
    assert_eq!(counts, [("Many secrets or parameters read out by one principal".to_owned(), 30)]);
    // 9, 10: each twice, and in any order.
    let shuffled: Vec<_> = burst.iter().rev().step_by(2).chain(&burst).cloned().collect();
    let (again, result) = replayed(&lines(&shuffled));
    assert_eq!((again.len(), again[0].count, &again[0].event_ids), (1, 30, &alerts[0].event_ids));
    assert_eq!(result.accounting.received, 45);
}

/// 8: the copies of one call in two accounts are two records, and not two callers of one key.
#[test]
fn a_call_across_accounts_is_told_once_by_key() {
    let foreign = json!({"type": "AWSAccount", "accountId": "999988887777", "principalId": "AROAX:s"});
    let caller = json!({"type": "AssumedRole", "accountId": "999988887777", "arn": "arn:aws:sts::999988887777:assumed-role/job/s"});
    let owner = record(1, "DisableKey", &json!({"userIdentity": foreign, "sharedEventID": "s-1"}));
    let callers = record(
        2,
        "DisableKey",
        &json!({"userIdentity": caller, "sharedEventID": "s-1", "recipientAccountId": "999988887777"}),
    );
    assert_eq!(said(&[owner, callers]), ["KMS key disabled"]);
}

#[test]
fn versions_types_and_parts_of_records() {
    // 11: old and new versions, with and without what came later.
    for version in ["1.0", "1.02", "1.05", "1.08", "1.11", "2.0"] {
        let over = json!({"eventVersion": version, "eventType": null, "recipientAccountId": null});
        assert_eq!(said(&[record(0, "DisableKey", &over)]), ["KMS key disabled"], "{version}");
    }
    // 12: network activity of an endpoint has neither parameters nor resources.
    let endpoint = json!({"eventType": "AwsVpceEvent", "eventCategory": "NetworkActivity", "resources": null,
        "errorCode": "VpceAccessDenied", "errorMessage": "The request was denied due to a VPC endpoint policy",
        "vpcEndpointId": "vpce-1", "vpcEndpointAccountId": ACCOUNT,
        "userIdentity": {"type": "AWSAccount", "principalId": "AROAX:s", "accountId": "999988887777"}});
    assert_eq!(said(&[record(0, "Decrypt", &endpoint)]), ["KMS call refused by a VPC endpoint policy"]);
    // 13: a retired grant has no parameters; what KMS writes itself has no caller.
    let retired = json!({"requestParameters": "null", "additionalEventData": {"grantId": "g-1"}});
    assert_eq!(one(&record(0, "RetireGrant", &retired), "kms.key_arn"), KEY);
    let service = json!({"eventType": "AwsServiceEvent", "resources": null, "userIdentity": {"accountId": ACCOUNT, "invokedBy": "AWS Internal"},
        "sourceIPAddress": "AWS Internal", "serviceEventDetails": {"keyId": KEY}});
    assert_eq!(said(&[record(0, "DeleteKey", &service)]), ["KMS key deleted"]);
    // 14: dates as locale text in three forms, or none; the days are in the request.
    for response in [
        json!({"deletionDate": "Apr 12, 2026 18:58:30 PM"}),
        json!({"deletionDate": "Jan 12, 2026, 2:25:29 PM", "keyState": "PendingDeletion"}),
        json!({"keyState": "PendingReplicaDeletion"}),
        json!("null"),
    ] {
        let over =
            json!({"requestParameters": {"keyId": KEY, "pendingWindowInDays": 10}, "responseElements": response});
        let (alerts, _) = replayed(&lines(&[record(0, "ScheduleKeyDeletion", &over)]));
        assert_eq!(alerts[0].note.as_deref(), Some("10 days left, until 2026-01-15T10:00:00Z"));
    }
    // 17: the object is what the encryption context names.
    for (context, object) in [
        (json!({"aws:ebs:id": "vol-1"}), "vol-1"),
        (json!({"aws:acm:arn": "arn:acm"}), "arn:acm"),
        (json!({"aws:dynamodb:tableName": "t", "aws:dynamodb:subscriberId": ACCOUNT}), "t"),
        (json!({}), ""),
    ] {
        let over = json!({"requestParameters": {"encryptionContext": context}});
        assert_eq!(one(&record(0, "Decrypt", &over), "kms.object"), object);
    }
}

/// 15: policies are text with line breaks, and principals are written in many ways.
#[test]
fn policies_as_they_are_written() {
    let put = |principal: &str, condition: &str| {
        let policy = format!(
            "{{\n  \"Version\" : \"2012-10-17\",\n  \"Statement\" : [ {{\"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"arn:aws:iam::111122223333:root\"}},\"Action\":\"kms:*\",\"Resource\":\"*\"}},\n  {{\"Effect\":\"Allow\",\"Principal\":{principal},\"Action\":\"kms:Decrypt\",\"Resource\":\"*\"{condition}}} ]\n}}"
        );
        said(&[record(0, "PutKeyPolicy", &json!({"requestParameters": {"policyName": "default", "policy": policy}}))])
    };
    for principal in [r#""*""#, r#"{"AWS":"*"}"#, r#"{"AWS":["arn:aws:iam::111122223333:role/x","*"]}"#] {
        assert_eq!(put(principal, ""), ["KMS key policy opened to everybody"], "{principal}");
        let bounded = r#","Condition":{"StringEquals":{"kms:CallerAccount":"111122223333"}}"#;
        assert_eq!(put(principal, bounded), ["KMS key policy changed"], "{principal}");
    }
    for principal in
        [r#"{"AWS":"999988887777"}"#, r#"{"AWS":["999988887777"]}"#, r#"{"AWS":"arn:aws:iam::999988887777:root"}"#]
    {
        assert_eq!(put(principal, ""), ["KMS key policy allows another account"], "{principal}");
    }
}

/// 16: grantees that are no ARN.
#[test]
fn grantees_as_services_write_them() {
    let grant = |grantee: &str| {
        let parameters = json!({"keyId": KEY, "granteePrincipal": grantee, "operations": ["Encrypt"]});
        fields(
            &record(0, "CreateGrant", &json!({ "requestParameters": parameters })),
            &["kms.grantee_account", "kms.grantee_external"],
        )
    };
    assert_eq!(grant("dynamodb.us-west-2.amazonaws.com"), [["", ""]]);
    assert_eq!(grant("111122223333:aws:ec2-infrastructure:i-81e2f56c"), [[ACCOUNT, "false"]]);
    assert_eq!(grant("arn:aws:iam::999988887777:role/x"), [["999988887777", "true"]]);
}

/// 18, 19: values hidden, left out, and spelt as other tools export them.
#[test]
fn values_that_are_hidden_left_out_or_spelt_otherwise() {
    let hidden = json!({"requestParameters": {"keyId": "HIDDEN_DUE_TO_SECURITY_REASONS", "policy": "HIDDEN_DUE_TO_SECURITY_REASONS"}});
    assert_eq!(
        said(&[record(0, "PutKeyPolicy", &hidden)]),
        ["KMS key policy changed", "KMS key policy that cannot be read"]
    );
    let omitted = json!({"requestParameters": {"omitted": true, "originalSize": 200_000, "reason": "requestParameters too large"}});
    assert!(said(&[record(0, "PutKeyPolicy", &omitted)]).iter().any(|title| title.contains("so large")));
    let addendum = json!({"addendum": {"reason": "UPDATED_DATA", "updatedFields": "resources", "originalRequestID": "r", "originalEventID": "e9"}});
    assert_eq!(said(&[record(0, "DisableKey", &addendum)]), ["KMS key disabled"]);
    let export = json!({"userAgent": ["[aws-cli/2]", "x"], "readOnly": "false", "managementEvent": "true", "errorCode": "", "errorMessage": "null",
        "eventTime": "2026-01-05 10:00:00z"});
    assert_eq!(said(&[record(0, "DisableKey", &export)]), ["KMS key disabled"]);
    for time in [json!(null), json!("..."), json!("null"), json!(7)] {
        let (alerts, result) = replayed(&lines(&[
            record(0, "DisableKey", &json!({ "eventTime": time })),
            record(1, "DisableKey", &json!({})),
        ]));
        assert_eq!((alerts.len(), result.accounting.parked), (1, 1), "{time}");
        assert!(result.unreadable[0].contains("eventTime"), "{:?}", result.unreadable);
    }
}

/// 21: a published example with a missing comma is named with its place, and its neighbours are read.
#[test]
fn what_is_no_json_is_named_and_the_rest_goes_on() {
    let good = |id| record(id, "DisableKey", &json!({})).to_string();
    let broken = good(1).replacen(r#","eventName""#, r#""eventName""#, 1);
    for text in [
        format!("{}\n{broken}\n{}\n", good(0), good(2)),
        format!(r#"{{"Records":[{},{broken},{}]}}"#, good(0), good(2)),
    ] {
        let (alerts, result) = replayed(text.as_bytes());
        assert_eq!((alerts.len(), alerts[0].count, result.accounting.parked), (1, 2, 1), "{:?}", result.unreadable);
        assert!(result.unreadable[0].contains("column"), "{:?}", result.unreadable);
    }
}

/// 22: tampering that failed is another thing than tampering that worked.
#[test]
fn failed_tampering_is_told_from_tampering() {
    let stop = |over: Value| {
        let mut base = json!({"eventSource": "cloudtrail.amazonaws.com", "resources": null, "requestParameters": {"name": "main"}});
        base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        said(&[record(0, "StopLogging", &base)])
    };
    let failed = json!({"errorCode": "TrailNotFoundException", "errorMessage": "Unknown trail: main"});
    assert_eq!(stop(json!({})), ["CloudTrail trail stopped or deleted"]);
    assert_eq!(stop(failed), ["Attempt to stop, delete or change a trail failed"]);
}
