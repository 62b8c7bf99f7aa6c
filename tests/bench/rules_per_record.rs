//! What many rules cost: predicates asked and time spent for each record, with 10 rules and with
//! 1,000 of the usual kind, in one run. `cargo bench --bench rules_per_record`.
//!
//! The usual kind is that of the shipped pack and of public collections: a service and one or a few
//! calls, with further tests; many on the same call that differ in the key or the principal; a few
//! that look at any call for an error, a class or an identity.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "a benchmark that cannot go on must not")]

use std::hint::black_box;
use std::time::Instant;

use kmswatch::event::derive::{derive, uses_of};
use kmswatch::event::operation::OPERATIONS;
use kmswatch::event::record::decode;
use kmswatch::rule::{RuleSet, RuleText};

const RECORDS: usize = 2_000;
const ROUNDS: usize = 20;

/// A rule of the usual kind.
fn rule(number: usize) -> String {
    let operation = OPERATIONS[number % OPERATIONS.len()].name;
    let key = format!("arn:aws:kms:eu-west-1:111122223333:key/{number:08}-1111-4222-8333-444444444444");
    let detection = match number % 20 {
        // The same call again and again, by key or principal.
        0..=4 => format!("{{eventSource: kms.amazonaws.com, eventName: Decrypt, kms.key_arn: '{key}'}}"),
        5..=7 => format!(
            "{{eventSource: kms.amazonaws.com, eventName: [Decrypt, GenerateDataKey], kms.principal: 'arn:aws:iam::111122223333:role/r{number}'}}"
        ),
        // A call and what came of it.
        8..=11 => format!(
            "{{eventSource: kms.amazonaws.com, eventName: {operation}, kms.outcome: denied, awsRegion: r{number}}}"
        ),
        12..=16 => format!(
            "{{eventSource: service{}.amazonaws.com, eventName: [Create{number}, Delete{number}], errorCode: null}}",
            number % 40
        ),
        // Any call: an error, an identity, a class of one Region.
        17 => format!("{{errorCode: [AccessDenied{number}, Client.UnauthorizedOperation{number}]}}"),
        18 => format!("{{userIdentity.userName: u{number}, userIdentity.type: IAMUser}}"),
        _ => format!("{{kms.class: destruction, kms.domain: d{number}}}"),
    };
    format!(
        "title: rule {number}\nid: 11111111-2222-4333-8444-{number:012}\nlogsource: {{product: aws}}\ndetection: {{a: {detection}, condition: a}}\n"
    )
}

fn rules(count: usize) -> RuleSet {
    let text = |number: usize| RuleText { path: format!("bench/{number}.yml"), text: rule(number) };
    // Evenly over the kinds, however few.
    let step = 1000 / count;
    let texts: Vec<_> = (0..count).map(|number| text(number * step * 7 % 1000)).collect();
    RuleSet::compile(&texts).rules.unwrap_or_else(|| panic!("the rules of the benchmark have mistakes"))
}

/// What keys see: mostly Decrypt by a few roles on a few keys.
fn records() -> Vec<String> {
    let one = |number: usize| {
        let name = match number % 10 {
            0..=5 => "Decrypt",
            6..=7 => "GenerateDataKey",
            8 => "DescribeKey",
            _ => OPERATIONS[number % OPERATIONS.len()].name,
        };
        let (key, role) = (number * 31 % 97, number * 17 % 53);
        format!(
            r#"{{"eventVersion":"1.11","userIdentity":{{"type":"AssumedRole","principalId":"AROAEXAMPLE:s","arn":"arn:aws:sts::111122223333:assumed-role/r{role}/s","accountId":"111122223333","sessionContext":{{"sessionIssuer":{{"type":"Role","arn":"arn:aws:iam::111122223333:role/r{role}","accountId":"111122223333","userName":"r{role}"}}}}}},"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","sourceIPAddress":"203.0.113.7","userAgent":"aws-sdk-java/2.20","requestParameters":{{"encryptionContext":{{"purpose":"x{number}"}}}},"responseElements":null,"requestID":"r{number}","eventID":"e{number}","readOnly":true,"resources":[{{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"arn:aws:kms:eu-west-1:111122223333:key/{key:08}-1111-4222-8333-444444444444"}}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}}"#
        )
    };
    (0..RECORDS).map(one).collect()
}

/// Predicates asked for each record, and nanoseconds to match it, and to decode and match it.
fn measure(rules: &RuleSet, records: &[String]) -> (f64, f64, f64) {
    let (mut asked, mut fed) = (0, Vec::new());
    let (mut matching, mut whole) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let (mut spent, started) = (0.0, Instant::now());
        asked = 0;
        for raw in records {
            let Ok(mut record) = decode(raw, &rules.projection) else { panic!("a record of the benchmark is none") };
            for used in uses_of(&record) {
                derive(&mut record, &used);
                let before = Instant::now();
                rules.feeds(&record.fields, record.raw, &mut fed);
                spent += before.elapsed().as_secs_f64();
                black_box(&fed);
                asked += rules.asked(&record.fields);
            }
        }
        matching = matching.min(spent);
        whole = whole.min(started.elapsed().as_secs_f64());
    }
    let each = 1e9 / records.len() as f64;
    (asked as f64 / records.len() as f64, matching * each, whole * each)
}

fn main() {
    let records = records();
    let (few, many) = (rules(10), rules(1000));
    // In turn, so that what else the machine does meets both.
    let (small, large) = (measure(&few, &records), measure(&many, &records));
    println!("rules   asked of a record   ns to match   ns to decode, derive and match");
    for (count, (asked, matching, whole)) in [(10, small), (1000, large)] {
        println!("{count:>5}   {asked:>17.2}   {matching:>11.0}   {whole:>30.0}");
    }
    println!("a hundred times the rules cost {:.2} times as much for a record", large.2 / small.2);
}
