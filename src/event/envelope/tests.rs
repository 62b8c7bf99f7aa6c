use base64::Engine as _;
use serde_json::{Value, json};

use super::super::unpack::tests::gzip;
use super::*;

fn record(id: &str) -> Value {
    json!({"eventVersion": "1.11", "eventID": id, "eventTime": "2026-01-05T10:00:00Z",
        "eventSource": "kms.amazonaws.com", "eventName": "Decrypt"})
}

/// Ids of records, `foreign` or `bad: why` for the rest.
fn found(body: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let result = open(body, EnvelopeLimits { max_bytes: 1 << 20, ..EnvelopeLimits::default() }, &mut |found| {
        out.push(match found {
            Found::Record(raw) => {
                let value: Value = serde_json::from_str(raw).unwrap();
                value["eventID"].as_str().unwrap_or("no id").to_owned()
            }
            Found::Foreign(_) => "foreign".to_owned(),
            Found::Bad { place, reason } => format!("bad: {place}: {reason}"),
        });
    });
    if let Err(error) = result {
        out.push(format!("bad: {error}"));
    }
    out
}

fn event_bridge(detail: &Value) -> Value {
    json!({"version": "0", "id": "11111111-2222-4333-8444-555555555555", "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.kms", "account": "111122223333", "time": "2026-01-05T10:00:00Z", "region": "eu-west-1",
        "resources": [], "detail": detail})
}

fn logs(messages: &[Value]) -> Value {
    let events: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(n, message)| json!({"id": n.to_string(), "timestamp": 1, "message": message.to_string()}))
        .collect();
    json!({"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "g", "logStream": "s",
        "subscriptionFilters": ["f"], "logEvents": events})
}

#[test]
fn every_shape_gives_its_records() {
    let (a, b) = (record("a"), record("b"));
    let subscription = logs(&[a.clone(), b.clone()]);
    let packed = base64::engine::general_purpose::STANDARD.encode(gzip(subscription.to_string().as_bytes()));
    let sns = |message: &Value| json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": message.to_string()});
    let bodies = [
        format!("{a}\n{b}\n"),
        json!([a, b]).to_string(),
        json!({"Records": [a, b]}).to_string(),
        serde_json::to_string_pretty(&json!({"Records": [a, b]})).unwrap(),
        format!("{}\n{}", event_bridge(&a), event_bridge(&b)),
        sns(&json!([event_bridge(&a), event_bridge(&b)])).to_string(),
        sns(&json!({"Records": [a, b]})).to_string(),
        subscription.to_string(),
        json!({"awslogs": {"data": packed}}).to_string(),
        packed,
        json!({"Events": [
            {"EventId": "a", "EventName": "Decrypt", "CloudTrailEvent": a.to_string()},
            {"EventId": "b", "CloudTrailEvent": b.to_string()}]})
        .to_string(),
    ];
    for body in bodies {
        assert_eq!(found(body.as_bytes()), ["a", "b"], "{body}");
        assert_eq!(found(&gzip(body.as_bytes())), ["a", "b"], "gzip of {body}");
    }
}

#[test]
fn direct_kms_events_become_records() {
    let mut event = event_bridge(&json!({"key-id": "k-1"}));
    event["detail-type"] = "KMS CMK Deletion".into();
    event["resources"] = json!(["arn:aws:kms:eu-west-1:111122223333:key/k-1"]);
    let mut record = None;
    open_text(&event.to_string(), EnvelopeLimits::default(), &mut |found| {
        if let Found::Record(raw) = found {
            record = Some(serde_json::from_str::<Value>(raw).unwrap());
        }
    });
    let record = record.unwrap();
    assert_eq!(record["eventName"], "KMS CMK Deletion");
    assert_eq!(record["resources"][0]["ARN"], "arn:aws:kms:eu-west-1:111122223333:key/k-1");
    assert_eq!(record["serviceEventDetails"]["key-id"], "k-1");
    event["time"] = Value::Null;
    assert!(found(event.to_string().as_bytes())[0].contains("without a time"));
}

#[test]
fn what_is_not_for_the_rules_is_told_from_what_is_broken() {
    let mut scheduled = event_bridge(&json!({}));
    scheduled["detail-type"] = "Scheduled Event".into();
    assert_eq!(found(scheduled.to_string().as_bytes()), ["foreign"]);
    let control = json!({"messageType": "CONTROL_MESSAGE", "owner": "1", "logGroup": "", "logStream": "",
        "subscriptionFilters": [], "logEvents": []});
    assert_eq!(found(control.to_string().as_bytes()), ["foreign"]);
    assert_eq!(found(br#"{"awsAccountId":"1","digestStartTime":"x"}"#), ["foreign"]);
    for (body, why) in [
        (&b"garbage"[..], "not JSON"),
        (b"", "empty"),
        (b"{\"detail-type\":\"AWS API Call via CloudTrail\"}", "does not hold together"),
        (br#"{"awslogs":{"data":"%%%"}}"#, "base64"),
        (br#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{}}]}"#, "points to an S3 object"),
        (br#"{"Records":7}"#, "list of records"),
        (b"\x1f\x8bnot gzip", "gzip stream is broken"),
    ] {
        let got = found(body);
        assert!(got.len() == 1 && got[0].starts_with("bad") && got[0].contains(why), "{why}: {got:?}");
    }
}

#[test]
fn a_bad_record_is_named_and_the_rest_goes_on() {
    let body = format!("{}\n{{\"eventVersion\" 1}}\n{}\n", record("a"), record("b"));
    let got = found(body.as_bytes());
    assert_eq!((got[0].as_str(), got[2].as_str()), ("a", "b"));
    assert!(got[1].starts_with("bad: record 2, line 2 column 1"), "{}", got[1]);
}

#[test]
fn envelopes_inside_envelopes_end() {
    let mut body = record("a");
    for _ in 0..9 {
        body = json!({"Type": "Notification", "Message": body.to_string()});
    }
    assert!(found(body.to_string().as_bytes())[0].contains("inside each other"));
    let lists = format!("{}{}{}", "[".repeat(5000), record("a"), "]".repeat(5000));
    assert!(found(lists.as_bytes())[0].contains("inside each other"));
}
