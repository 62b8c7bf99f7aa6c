use super::*;
use crate::event::derive::uses_of;
use crate::event::field::Projection;
use crate::event::record::decode;

const INVENTORY: &str = "domains:
  - name: token-vault
    keys: [k-1]
    expect:
      - principals: ['arn:aws:iam::111122223333:role/tokenise']
        operations: [Encrypt, ReEncryptFrom]
        context: {Purpose: 'tok*'}
      - principals: ['arn:aws:iam::111122223333:role/detokenise']
        operations: [Decrypt]
        via: [lambda.amazonaws.com]
    never: ['arn:aws:iam::*:role/developer-*']
  - name: pii
    keys: [k-2]
    expect: [{principals: ['arn:aws:iam::111122223333:role/crm']}]
";

fn judged(operation: &str, role: &str, rest: &str) -> Option<Judgement> {
    let raw = format!(
        r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{operation}","userIdentity":{{"type":"AssumedRole","sessionContext":{{"sessionIssuer":{{"arn":"arn:aws:iam::111122223333:role/{role}"}}}}{rest},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k-1"}}]}}"#
    );
    let record = decode(&raw, &Projection::fixed()).unwrap();
    let inventory = Inventory::parse("keys.yml", INVENTORY).unwrap();
    let used = uses_of(&record).remove(0);
    let domain = inventory.domain_of(used.key.as_ref().unwrap(), None, &Default::default).unwrap();
    judge(domain, &Call::of(&used, operation, &record.fields, record.time), &inventory)
}

fn reason(operation: &str, role: &str, rest: &str) -> (bool, String) {
    let judgement = judged(operation, role, rest).unwrap();
    (judgement.expected, judgement.reason)
}

#[test]
fn verdicts_say_why() {
    let context = r#"},"requestParameters":{"encryptionContext":{"purpose":"tokenise"}}"#;
    assert_eq!(
        reason("Encrypt", "tokenise", context),
        (true, "role/tokenise (111122223333) is expected in token-vault for Encrypt".to_owned())
    );
    let cases = [
        ("Encrypt", "tokenise", "}", "the encryption context's `Purpose` is not"),
        ("Decrypt", "tokenise", context, "but not for Decrypt"),
        ("Decrypt", "detokenise", "}", "but not directly"),
        ("Decrypt", "detokenise", r#","invokedBy":"s3.amazonaws.com"}"#, "but not via s3.amazonaws.com"),
        ("Decrypt", "developer-ann", "}", "never: role/developer-ann (111122223333) fits"),
        ("Decrypt", "crm", "}", "it is in pii's"),
        ("Decrypt", "batch", "}", "role/batch (111122223333) is not in token-vault's principals"),
    ];
    for (operation, role, rest, expected) in cases {
        let (verdict, reason) = reason(operation, role, rest);
        assert!(!verdict && reason.contains(expected), "{operation} by {role}: {reason}");
    }
    assert!(reason("Decrypt", "detokenise", r#","invokedBy":"lambda.amazonaws.com"}"#).0);
}

#[test]
fn direct_is_said_among_the_services_and_a_context_may_have_several_values() {
    const DIRECTLY: &str = "domains:
  - name: vault
    keys: [k-1]
    expect:
      - {principals: ['*'], via: [direct, lambda.amazonaws.com], context: {purpose: [pay, 'refund-*']}}
";
    let inventory = Inventory::parse("keys.yml", DIRECTLY).unwrap();
    let judged = |purpose: &str, via: &str| {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/u"{via}}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k-1"}}],"requestParameters":{{"encryptionContext":{{"purpose":"{purpose}"}}}}}}"#
        );
        let record = decode(&raw, &Projection::fixed()).unwrap();
        let used = uses_of(&record).remove(0);
        let call = Call::of(&used, "Decrypt", &record.fields, record.time);
        judge(&inventory.domains[0], &call, &inventory).unwrap()
    };
    assert!(judged("pay", "").expected);
    assert!(judged("refund-7", r#","invokedBy":"lambda.amazonaws.com""#).expected);
    let forwarded = judged("pay", r#","invokedBy":"s3.amazonaws.com""#);
    assert!(forwarded.reason.contains("but not via s3.amazonaws.com"), "{}", forwarded.reason);
    assert!(judged("debug", "").reason.contains("context's `purpose` is not"));
}

/// Where, when and through what: each line is met whole or not at all.
#[test]
fn place_and_time_are_part_of_a_line() {
    const OFFICE: &str = "domains:
  - name: vault
    keys: [k-1]
    expect:
      - {principals: ['*'], from: [10.20.0.0/16, '2001:db8::/32'], vpc_endpoints: [vpce-1], regions: [eu-*], days: mon-fri, hours: 07:00-19:00}
break_glass:
  - {ticket: INC-1, principals: ['arn:aws:iam::111122223333:role/oncall'], domains: [vault], start: 2026-01-05T22:00:00Z, until: 2026-01-05T23:00:00Z, reason: restore}
";
    let inventory = Inventory::parse("keys.yml", OFFICE).unwrap();
    let judged = |role: &str, time: &str, rest: &str| {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T{time}:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:role/{role}"}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k-1"}}]{rest}}}"#
        );
        let record = decode(&raw, &Projection::fixed()).unwrap();
        let used = uses_of(&record).remove(0);
        let call = Call::of(&used, "Decrypt", &record.fields, record.time);
        judge(&inventory.domains[0], &call, &inventory).unwrap()
    };
    let inside = r#","awsRegion":"eu-west-1","sourceIPAddress":"10.20.3.4""#;
    assert!(judged("pay", "10:00", inside).expected);
    assert!(judged("pay", "10:00", r#","awsRegion":"eu-west-1","sourceIPAddress":"2001:db8::7""#).expected);
    let endpoint = r#","awsRegion":"eu-west-1","sourceIPAddress":"192.168.0.1","vpcEndpointId":"vpce-1""#;
    assert!(judged("pay", "10:00", endpoint).expected);
    for (role, time, rest, expected) in [
        (
            "pay",
            "10:00",
            r#","awsRegion":"us-east-1","sourceIPAddress":"10.20.3.4""#,
            "but in eu-* and not in us-east-1",
        ),
        ("pay", "10:00", r#","awsRegion":"eu-west-1","sourceIPAddress":"198.51.100.9""#, "not from 198.51.100.9"),
        ("pay", "10:00", r#","awsRegion":"eu-west-1","sourceIPAddress":"lambda.amazonaws.com""#, "not from lambda"),
        ("pay", "19:00", inside, "only mon-fri 07:00-19:00 UTC, and not at 2026-01-05T19:00:00Z"),
        ("oncall", "21:59", inside, "and not at 2026-01-05T21:59:00Z"),
        ("oncall", "23:00", inside, "; its break-glass access INC-1 ended 2026-01-05T23:00:00Z"),
    ] {
        let judgement = judged(role, time, rest);
        assert!(!judgement.expected && judgement.reason.contains(expected), "{}", judgement.reason);
    }
    let leave = judged("oncall", "22:30", inside);
    assert_eq!((leave.expected, leave.ticket.as_deref()), (true, Some("INC-1")));
    assert!(leave.reason.contains("under INC-1 (restore)"), "{}", leave.reason);
    assert_eq!(judged("oncall", "10:00", inside).ticket, None, "what is expected anyway needs no leave");
}

#[test]
fn administration_is_not_judged() {
    assert_eq!(judged("PutKeyPolicy", "developer-ann", "}"), None);
}

#[test]
fn re_encrypt_is_judged_by_its_half() {
    let names = names_of("ReEncrypt", KeyRole::Source);
    assert!(fits(&NamePattern::new("ReEncryptFrom"), names) && !fits(&NamePattern::new("ReEncryptTo"), names));
}
