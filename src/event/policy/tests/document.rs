//! What is a policy and what is an error.

use proptest::prelude::*;
use serde_json::Value;

use super::super::document::{MAX_BYTES, MAX_STATEMENTS, Policy};

fn error(text: &str) -> String {
    Policy::parse(text).unwrap_err().to_string()
}

#[test]
fn errors_say_what_and_where() {
    let statement = |rest: &str| format!(r#"{{"Statement":[{{"Sid":"Use","Effect":"Allow",{rest}}}]}}"#);
    for (text, wanted) in [
        ("{", "the policy is not JSON: EOF while parsing an object at line 1 column 1".to_owned()),
        ("[]", "the policy: document is not an object with a Statement".to_owned()),
        ("{}", "the policy: Statement is missing".to_owned()),
        (r#"{"Statement":["a"]}"#, "statement 1: Statement is not an object".to_owned()),
        (
            r#"{"Statement":[],"Statement":[]}"#,
            "the policy is not JSON: member 'Statement' is given twice at line 1 column 27".to_owned(),
        ),
        (r#"{"Statement":[],"statement":[]}"#, "the policy: statement is given twice".to_owned()),
        (r#"{"Statement":{"Principal":"*","Action":"*"}}"#, "statement 1: Effect is missing".to_owned()),
        (
            r#"{"Statement":{"Effect":"Maybe","Principal":"*"}}"#,
            "statement 1: Effect is 'Maybe', not Allow or Deny".to_owned(),
        ),
        (&statement(r#""Action":"*""#), "statement 1 'Use': Principal is missing".to_owned()),
        (&statement(r#""Principal":"*""#), "statement 1 'Use': Action is missing".to_owned()),
        (&statement(r#""Principal":{"AWS":7}"#), "statement 1 'Use': Principal.AWS is not a text".to_owned()),
        (
            &statement(r#""Principal":"*","Action":"a","NotAction":"b""#),
            "statement 1 'Use': Action and NotAction are both given".to_owned(),
        ),
        (
            &statement(r#""Principal":"*","Action":"a","Condition":{"Bool":{"aws:ViaAWSService":{}}}"#),
            "statement 1 'Use': Condition.Bool.aws:ViaAWSService has a value that is no text".to_owned(),
        ),
    ] {
        assert_eq!(error(text), wanted, "{text}");
    }
    assert!(error(&"[".repeat(100)).contains("nested deeper than 16"));
    assert!(error(&" ".repeat(MAX_BYTES + 1)).contains("KMS takes 32 KB"));
    let keys: Vec<String> = (0..65).map(|at| format!(r#""k{at}":"x""#)).collect();
    let wide = statement(&format!(r#""Principal":"*","Action":"*","Condition":{{"Null":{{{}}}}}"#, keys.join(",")));
    assert_eq!(error(&wide), "statement 1 'Use': Condition has 65 conditions, more than 64");
    let many = format!(r#"{{"Statement":[{}7]}}"#, "7,".repeat(MAX_STATEMENTS));
    assert_eq!(error(&many), "the policy has 513 statements, more than 512");
}

#[test]
fn unknown_members_are_named() {
    let policy = Policy::parse(
        r#"{"Version":"2031-01-01","Extra":1,"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Until":"x"}}"#,
    )
    .unwrap();
    // serde_json keeps members sorted.
    assert_eq!(policy.unknown_members, ["Extra", "Version 2031-01-01"]);
    assert_eq!(policy.statements[0].unknown_members, ["Until"]);
}

#[test]
fn the_default_policy_is_what_the_developer_guide_shows() {
    let text = r#"{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}"#;
    assert_eq!(Policy::parse(text).unwrap(), Policy::default_of("111122223333"));
}

fn json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "Statement",
        "Effect",
        "Allow",
        "Deny",
        "Principal",
        "AWS",
        "NotPrincipal",
        "Action",
        "NotAction",
        "kms:*",
        "*",
        "Condition",
        "StringLike",
        "ForAllValues:ArnLikeIfExists",
        "kms:ViaService",
        "Null",
        "${aws:x}",
        "é\u{0}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_policy_or_an_error(value in json(), text in ".{0,200}") {
        let _ = Policy::parse(&text);
        let direct = Policy::of_value(&value);
        prop_assert_eq!(Policy::parse(&value.to_string()), direct);
    }
}
