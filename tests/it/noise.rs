//! The shipped noise filters: each silences what it is for, and nothing else would have.

use std::sync::Arc;

use kmswatch::event::record::decode;
use kmswatch::keys::inventory::Inventory;
use kmswatch::keys::picture::Picture;
use kmswatch::pipeline::plan::analyze::{Analysis, Analyzer, Reading};
use kmswatch::rule::{RuleSet, pack};

/// Titles of the rules that a record matches, with or without one of the filters.
fn matching(record: &str, keys: &str, without: Option<&str>) -> Vec<String> {
    let texts: Vec<_> = pack::shipped().into_iter().filter(|text| Some(text.path.as_str()) != without).collect();
    let rules = Arc::new(RuleSet::compile(&texts).rules.unwrap());
    let inventory = Arc::new(Inventory::parse("keys", keys).unwrap());
    let analyzer = Analyzer { rules: rules.clone(), inventory };
    let record = decode(record, &rules.projection).unwrap();
    let Analysis::Read(Reading { matches, .. }) = analyzer.analyze(record, &Picture::default()) else {
        return vec![];
    };
    matches.iter().map(|matched| rules.rules[matched.rule.0 as usize].meta.title.clone()).collect()
}

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";

fn record(name: &str, identity: &str, rest: &str) -> String {
    format!(
        r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{name}","eventID":"e","awsRegion":"eu-west-1","recipientAccountId":"111122223333","userIdentity":{identity},"resources":[{{"ARN":"{KEY}","accountId":"111122223333"}}]{rest}}}"#
    )
}

#[test]
fn each_filter_silences_what_it_is_for() {
    let service = |name: &str| format!(r#"{{"type":"AWSService","invokedBy":"{name}"}}"#);
    let role = |path: &str| {
        format!(
            r#"{{"type":"AssumedRole","accountId":"111122223333","arn":"arn:aws:sts::111122223333:assumed-role/x/s","sessionContext":{{"sessionIssuer":{{"arn":"arn:aws:iam::111122223333:role/{path}"}}}}}}"#
        )
    };
    let denied = r#","errorCode":"AccessDenied","errorMessage":"no""#;
    let grant =
        r#","requestParameters":{"granteePrincipal":"arn:aws:iam::111122223333:role/app","operations":["Decrypt"]}"#;
    let forwarded = r#"{"type":"AssumedRole","accountId":"111122223333","invokedBy":"sqs.amazonaws.com","arn":"arn:aws:sts::111122223333:assumed-role/kmswatch/s","sessionContext":{"sessionIssuer":{"arn":"arn:aws:iam::111122223333:role/kmswatch"}}}"#;
    let ours = format!("supply_line: ['{KEY}']");
    for (filter, record, keys, rule) in [
        (
            "noise/aws_config.yml",
            record("Decrypt", &service("config.amazonaws.com"), denied),
            "{}",
            "Burst of denied KMS calls by one principal",
        ),
        (
            "noise/aws_config.yml",
            record("Decrypt", &role("aws-service-role/config.amazonaws.com/AWSServiceRoleForConfig"), denied),
            "{}",
            "KMS calls on many keys denied to one principal",
        ),
        (
            "noise/service_linked_roles.yml",
            record(
                "CreateGrant",
                &role("aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"),
                grant,
            ),
            "{}",
            "Many KMS grants made by one principal",
        ),
        (
            "noise/cloudtrail_own_keys.yml",
            record("GenerateDataKey", &service("cloudtrail.amazonaws.com"), r#","sharedEventID":"s""#),
            "{}",
            "Key of outside origin created, filled and used by one principal",
        ),
        (
            "noise/own_keys.yml",
            record("Decrypt", forwarded, ""),
            ours.as_str(),
            "First use of a KMS key by a principal",
        ),
    ] {
        let with = matching(&record, keys, None);
        let without = matching(&record, keys, Some(filter));
        assert!(!with.contains(&rule.to_owned()), "{filter}: {with:?}");
        assert!(without.contains(&rule.to_owned()), "{filter}: {rule} is silent without it: {without:?}");
    }
}

#[test]
fn a_person_is_not_silenced_by_naming_a_service() {
    let person =
        r#"{"type":"IAMUser","accountId":"111122223333","arn":"arn:aws:iam::111122223333:user/config.amazonaws.com"}"#;
    let denied = r#","errorCode":"AccessDenied","errorMessage":"no","userAgent":"config.amazonaws.com""#;
    let told = matching(&record("Decrypt", person, denied), "{}", None);
    assert!(told.contains(&"Burst of denied KMS calls by one principal".to_owned()), "{told:?}");
}
