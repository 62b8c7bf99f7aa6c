//! Facts for rules; [`decide`] is the table of requests, [`oracle`] the naive evaluator.

mod decide;
mod document;
mod oracle;

use super::*;

const OWNER: &str = "111122223333";

fn facts(statement: &str) -> PolicyFacts {
    read(&format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#), Some(OWNER)).unwrap()
}

fn external(facts: &PolicyFacts) -> Vec<&str> {
    facts.external_accounts.iter().map(String::as_str).collect()
}

#[test]
fn the_default_policy_harms_nobody() {
    let facts = facts(
        r#"[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]"#,
    );
    assert_eq!((facts.public, external(&facts), facts.owner_locked_out), (false, vec![], false));
}

#[test]
fn everybody_is_bounded_only_by_what_says_who_calls() {
    let public = |condition: &str| {
        facts(&format!(r#"{{"Effect":"Allow","Principal":"*","Action":["kms:Decrypt"],"Resource":"*"{condition}}}"#))
            .public
    };
    for (condition, expected) in [
        ("", true),
        (r#","Condition":{"StringEquals":{"kms:CallerAccount":"111122223333"}}"#, false),
        (r#","Condition":{"StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"}}"#, true),
        (r#","Condition":{"StringLike":{"aws:PrincipalOrgID":["o-abc"]}}"#, false),
        (r#","Condition":{"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-abc"}}"#, true),
        (r#","Condition":{"StringNotEquals":{"aws:PrincipalAccount":"999988887777"}}"#, true),
        (r#","Condition":{"StringLike":{"aws:PrincipalArn":"*"}}"#, true),
        (r#","Condition":{"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"o-a/r-b/*"}}"#, false),
        (r#","Condition":{"ForAllValues:StringEquals":{"aws:PrincipalOrgID":"o-abc"}}"#, true),
        (r#","Condition":{"Bool":{"aws:SecureTransport":"true"}}"#, true),
    ] {
        assert_eq!(public(condition), expected, "{condition}");
    }
    let not = facts(r#"{"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::1:user/x"},"Action":"kms:*"}"#);
    assert!(not.public);
    let denied = facts(r#"{"Effect":"Deny","Principal":"*","Action":"kms:*"}"#);
    assert!(!denied.public && denied.owner_locked_out);
}

#[test]
fn other_accounts_are_found_wherever_they_stand() {
    let facts = facts(
        r#"[{"Effect":"Allow","Principal":{"AWS":["999988887777","arn:aws:iam::444455556666:role/x","AROAEXAMPLE"],"Service":"logs.amazonaws.com"},"Action":"kms:Decrypt"},
            {"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:Decrypt","Condition":{"StringEquals":{"kms:CallerAccount":["222233334444","111122223333"]}}},
            {"Effect":"Deny","Principal":{"AWS":"555566667777"},"Action":"kms:*"}]"#,
    );
    assert_eq!(external(&facts), ["222233334444", "444455556666", "999988887777"]);
    assert!(facts.principals.contains("service:logs.amazonaws.com") && !facts.public);
}

#[test]
fn who_may_change_the_policy_decides_who_is_locked_out() {
    let locked = |principal: &str, action: &str| {
        facts(&format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},{action}}}"#)).owner_locked_out
    };
    for (principal, action, expected) in [
        (OWNER, r#""Action":"kms:*""#, false),
        ("arn:aws:iam::111122223333:role/admin", r#""Action":["kms:Put*"]"#, false),
        ("arn:aws:iam::111122223333:role/admin", r#""Action":["kms:Get*","kms:P?tKeyPolicy"]"#, false),
        (OWNER, r#""Action":["kms:Decrypt","kms:Describe*"]"#, true),
        (OWNER, r#""NotAction":"kms:Decrypt""#, false),
        (OWNER, r#""NotAction":"kms:*""#, true),
        ("999988887777", r#""Action":"kms:*""#, true),
    ] {
        assert_eq!(locked(principal, action), expected, "{principal} {action}");
    }
    assert_eq!(read("{", Some(OWNER)), None);
    assert_eq!(read("[]", Some(OWNER)), None);
    assert!(!read(r#"{"Statement":[]}"#, None).unwrap().owner_locked_out);
}

fn with_deny(deny: &str) -> PolicyFacts {
    facts(&format!(
        r#"[{{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}},{{"Effect":"Allow","Principal":{{"AWS":"999988887777"}},"Action":"kms:Decrypt","Resource":"*"}},{{"Effect":"Deny","Resource":"*",{deny}}}]"#
    ))
}

#[test]
fn a_deny_counts_as_far_as_it_is_sure() {
    for (deny, public, accounts, locked) in [
        // The organisation's fence.
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-abc"}}"#,
            false,
            vec!["999988887777"],
            false,
        ),
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEqualsIfExists":{"aws:PrincipalOrgID":"o-abc"},"BoolIfExists":{"aws:PrincipalIsAWSService":"false"}}"#,
            false,
            vec!["999988887777"],
            false,
        ),
        // A second condition lets out whoever fails it.
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-abc"},"Bool":{"aws:ViaAWSService":"false"}}"#,
            true,
            vec!["999988887777"],
            false,
        ),
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"ForAnyValue:StringNotEquals":{"aws:PrincipalOrgPaths":"o-abc/"}}"#,
            true,
            vec!["999988887777"],
            false,
        ),
        // A fence around some actions leaves the others.
        (
            r#""Principal":"*","Action":"kms:Decrypt","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-abc"}}"#,
            true,
            vec!["999988887777"],
            false,
        ),
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}"#,
            false,
            vec!["999988887777"],
            false,
        ),
        // A fence by accounts.
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:PrincipalAccount":"111122223333"}}"#,
            false,
            vec![],
            false,
        ),
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:PrincipalAccount":["111122223333","444455556666"]}}"#,
            false,
            vec!["444455556666"],
            false,
        ),
        (
            r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:PrincipalAccount":"999988887777"}}"#,
            false,
            vec!["999988887777"],
            true,
        ),
        (
            r#""NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:role/a"]},"Action":"kms:*""#,
            false,
            vec![],
            false,
        ),
        (r#""Principal":"*","Action":"kms:PutKeyPolicy""#, true, vec!["999988887777"], true),
        (r#""Principal":{"AWS":"999988887777"},"Action":"kms:*""#, true, vec![], false),
        (r#""Principal":{"AWS":"999988887777"},"Action":"kms:Encrypt""#, true, vec!["999988887777"], false),
        // Of unknown reach: it is not counted on.
        (r#""Principal":"*","Action":"kms:*","Until":"2031""#, true, vec!["999988887777"], false),
    ] {
        let facts = with_deny(deny);
        assert_eq!((facts.public, external(&facts), facts.owner_locked_out), (public, accounts, locked), "{deny}");
    }
}

#[test]
fn everything_that_is_not_known_is_named() {
    let policy = Policy::parse(
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:role/x"},"Action":"kms:*","Condition":{"StringFoo":{"kms:Frobnicate":"x"}},"Until":"x"}}"#,
    )
    .unwrap();
    let named: Vec<_> = Access::of(&policy, Some(OWNER)).not_understood.into_iter().collect();
    assert_eq!(
        named,
        [
            "condition key kms:Frobnicate",
            "condition operator StringFoo",
            "member Until",
            "principal arn:aws:iam::1:role/x"
        ]
    );
}

#[test]
fn in_words() {
    let policy = Policy::parse(
        r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"},
            {"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::999988887777:role/x","AROAEXAMPLE"]},"Action":["kms:*"],"Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:tenant":["a","b"]},"Bool":{"aws:MultiFactorAuthPresent":"true"}}},
            {"Effect":"Deny","NotPrincipal":{"Service":"logs.amazonaws.com"},"Action":"kms:Decrypt","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"true"}}}]}"#,
    )
    .unwrap();
    assert_eq!(
        policy.in_words(Some(OWNER)),
        [
            "role/x (999988887777, external): every operation that crosses accounts if aws:MultiFactorAuthPresent = true and kms:EncryptionContext:tenant = one of a and b; IAM policies there must allow it too",
            "account 111122223333: every operation; its IAM policies decide who",
            "a deleted principal (AROAEXAMPLE): every operation if aws:MultiFactorAuthPresent = true and kms:EncryptionContext:tenant = one of a and b; nobody is behind it any more",
            "denied to everybody but service logs.amazonaws.com: Decrypt if aws:TokenIssueTime is absent",
        ]
    );
}
