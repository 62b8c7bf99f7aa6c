//! Requests that key policies let through or not, and by what: the published examples of the KMS and
//! IAM guides among them.

use super::super::*;

const OWNER: &str = "111122223333";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";
const ANN: &str = "arn:aws:iam::111122223333:user/ops/ann";
const PAY: &str = "arn:aws:iam::111122223333:role/apps/pay";
const PAY_1: &str = "arn:aws:sts::111122223333:assumed-role/pay/pay-1";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const THEIRS: &str = "arn:aws:iam::999988887777:role/theirs";
const LOGS: &str = "logs.amazonaws.com";

fn request(who: &str, action: &str, context: Context) -> Request {
    let caller = match who.strip_prefix("somebody of ") {
        Some(account) => {
            Caller { kind: CallerKind::Unnamed, name: None, account: Some(account.to_owned()), session: None }
        }
        None => Caller::of_name(who),
    };
    Request { caller, action: action.to_owned(), owner: OWNER.to_owned(), key_arn: Some(KEY.to_owned()), context }
}

/// Context as `key=value;key=`: nothing after the sign says that the key is absent.
fn context(text: &str) -> Context {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs.fold(Context::new(), |context, (key, value)| {
        context.with(key, value.split(',').filter(|value| !value.is_empty()))
    })
}

fn said(statements: &str, who: &str, action: &str, known: &str) -> String {
    let policy = Policy::parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)).unwrap();
    policy.decide(&request(who, action, context(known))).to_string()
}

fn check(statements: &str, cases: &[(&str, &str, &str, &str)]) {
    for (who, action, known, expected) in cases {
        assert_eq!(said(statements, who, action, known), *expected, "{who} {action} [{known}] of {statements}");
    }
}

const NOTHING: &str = "no statement allows it";

#[test]
fn the_default_policy_leaves_all_to_iam() {
    let own = "left to the IAM policies of account 111122223333, by statement 'Root'";
    check(
        r#"{"Sid":"Root","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}"#,
        &[
            (ANN, "kms:Decrypt", "", own),
            (PAY_1, "kms:PutKeyPolicy", "", own),
            (ROOT, "kms:PutKeyPolicy", "", "allowed by statement 'Root'"),
            (THEIRS, "kms:Decrypt", "", NOTHING),
            (LOGS, "kms:Decrypt", "", NOTHING),
            ("", "kms:Decrypt", "", NOTHING),
            (THEIRS, "kms:PutKeyPolicy", "", "another account can never call this operation"),
            ("somebody of 111122223333", "kms:Decrypt", "", own),
        ],
    );
}

#[test]
fn identities_are_told_apart() {
    let named = |arn: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":["{arn}"]}},"Action":["kms:Decrypt","kms:Gen*"],"Resource":"*"}}"#
        )
    };
    let allowed = "allowed by statement 1";
    let not_known = "hangs on whether its principals are the caller (statement 1)";
    for (arn, who, expected) in [
        (PAY, PAY, allowed),
        (PAY, PAY_1, allowed),
        ("arn:aws:iam::111122223333:role/pay", PAY, allowed),
        ("arn:aws:iam::111122223333:role/payments", PAY_1, NOTHING),
        ("arn:aws:iam::111122223333:user/pay", PAY_1, NOTHING),
        (PAY_1, PAY_1, allowed),
        (PAY_1, "arn:aws:sts::111122223333:assumed-role/pay/pay-2", NOTHING),
        (PAY_1, PAY, not_known),
        (PAY, ROOT, NOTHING),
        (ANN, ANN, allowed),
        (ANN, "somebody of 111122223333", not_known),
        (ANN, "somebody of 999988887777", NOTHING),
        ("arn:aws:sts::111122223333:federated-user/bo", "arn:aws:sts::111122223333:federated-user/bo", allowed),
        ("AROAEXAMPLE", PAY, NOTHING),
        ("arn:aws:iam::111122223333:role/*", PAY, not_known),
        ("arn:aws:iam::444455556666:role/pay", PAY, NOTHING),
    ] {
        assert_eq!(said(&named(arn), who, "kms:GenerateMac", ""), expected, "{arn} {who}");
    }
}

#[test]
fn other_accounts_need_both_sides() {
    check(
        r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::999988887777:role/theirs","444455556666"]},"Action":"kms:*","Resource":"*"}"#,
        &[
            (
                THEIRS,
                "kms:Decrypt",
                "",
                "also needs the IAM policies of account 999988887777 (external), by statement 1",
            ),
            ("arn:aws:iam::999988887777:role/other", "kms:Decrypt", "", NOTHING),
            (
                "arn:aws:iam::444455556666:user/x",
                "kms:CreateGrant",
                "",
                "left to the IAM policies of account 444455556666 (external), by statement 1",
            ),
            (
                "arn:aws:iam::444455556666:root",
                "kms:ScheduleKeyDeletion",
                "",
                "another account can never call this operation",
            ),
            (
                "somebody of 444455556666",
                "kms:Decrypt",
                "",
                "left to the IAM policies of account 444455556666 (external), by statement 1",
            ),
            (
                "somebody of 999988887777",
                "kms:Decrypt",
                "",
                "hangs on whether its principals are the caller (statement 1)",
            ),
        ],
    );
}

#[test]
fn aws_managed_keys_are_not_public() {
    check(
        r#"{"Sid":"Secrets","Effect":"Allow","Principal":{"AWS":"*"},"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*"],"Resource":"*","Condition":{"StringEquals":{"kms:CallerAccount":"111122223333","kms:ViaService":"secretsmanager.eu-west-1.amazonaws.com"}}}"#,
        &[
            (
                PAY_1,
                "kms:Decrypt",
                "kms:ViaService=secretsmanager.eu-west-1.amazonaws.com",
                "allowed by statement 'Secrets'",
            ),
            (
                PAY_1,
                "kms:ReEncryptTo",
                "kms:ViaService=secretsmanager.eu-west-1.amazonaws.com",
                "allowed by statement 'Secrets'",
            ),
            (PAY_1, "kms:Decrypt", "kms:ViaService=", NOTHING),
            (
                PAY_1,
                "kms:Decrypt",
                "",
                "hangs on kms:ViaService = secretsmanager.eu-west-1.amazonaws.com (statement 'Secrets')",
            ),
            (THEIRS, "kms:Decrypt", "kms:ViaService=secretsmanager.eu-west-1.amazonaws.com", NOTHING),
            (THEIRS, "kms:Decrypt", "", NOTHING),
        ],
    );
}

#[test]
fn grants_for_resources_of_aws_only() {
    check(
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/apps/pay"},"Action":["kms:CreateGrant","kms:ListGrants","kms:RevokeGrant"],"Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":true}}}"#,
        &[
            (PAY, "kms:CreateGrant", "kms:GrantIsForAWSResource=true", "allowed by statement 1"),
            (PAY, "kms:CreateGrant", "kms:GrantIsForAWSResource=false", NOTHING),
            (PAY, "kms:CreateGrant", "kms:GrantIsForAWSResource=", NOTHING),
            (PAY, "kms:CreateGrant", "", "hangs on kms:GrantIsForAWSResource = true (statement 1)"),
        ],
    );
}

#[test]
fn encryption_context() {
    let statement = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"KMS:EncryptionContext:Purpose":"tokenisation"}}}"#;
    let policy = Policy::parse(&format!(r#"{{"Statement":{statement}}}"#)).unwrap();
    let decide = |context: Context| policy.decide(&request(ANN, "kms:Decrypt", context)).to_string();
    let left = "left to the IAM policies of account 111122223333, by statement 1";
    assert_eq!(decide(Context::new().with_encryption_context([("purpose", "tokenisation")])), left);
    assert_eq!(decide(Context::new().with_encryption_context([("purpose", "Tokenisation")])), NOTHING);
    assert_eq!(decide(Context::new().with_encryption_context([("other", "tokenisation")])), NOTHING);
    assert_eq!(decide(Context::new().with_encryption_context([])), NOTHING);
    assert_eq!(decide(Context::new()), "hangs on kms:EncryptionContext:Purpose = tokenisation (statement 1)");
    check(
        r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:Decrypt","Resource":"*","Condition":{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a","b"]},"Null":{"kms:EncryptionContextKeys":"false"}}}"#,
        &[
            (ANN, "kms:Decrypt", "kms:EncryptionContextKeys=a,b", left),
            (ANN, "kms:Decrypt", "kms:EncryptionContextKeys=a,c", NOTHING),
            (ANN, "kms:Decrypt", "kms:EncryptionContextKeys=", NOTHING),
        ],
    );
}

#[test]
fn a_deny_beats_every_allow() {
    let root = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"}"#;
    let with = |deny: &str| format!(r#"{root},{{"Sid":"Not","Effect":"Deny","Resource":"*",{deny}}}"#);
    let left = "left to the IAM policies of account 111122223333, by statement 1";
    let denied = "denied by statement 'Not'";
    // MFA: BoolIfExists denies where the key is missing, Bool does not.
    check(
        &with(
            r#""Principal":"*","Action":"kms:ScheduleKeyDeletion","Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}"#,
        ),
        &[
            (ANN, "kms:ScheduleKeyDeletion", "aws:MultiFactorAuthPresent=false", denied),
            (ANN, "kms:ScheduleKeyDeletion", "aws:MultiFactorAuthPresent=true", left),
            (ANN, "kms:ScheduleKeyDeletion", "aws:MultiFactorAuthPresent=", denied),
            (
                ANN,
                "kms:ScheduleKeyDeletion",
                "",
                "hangs on aws:MultiFactorAuthPresent = false where present (statement 'Not')",
            ),
            (ANN, "kms:Decrypt", "", left),
        ],
    );
    check(
        &with(r#""Principal":"*","Action":"kms:*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#),
        &[(ANN, "kms:Decrypt", "aws:MultiFactorAuthPresent=", left)],
    );
    check(
        &with(r#""Principal":"*","Action":"kms:*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-bank"}}"#),
        &[
            (ANN, "kms:Decrypt", "aws:PrincipalOrgID=o-bank", left),
            (ANN, "kms:Decrypt", "aws:PrincipalOrgID=o-else", denied),
            (ANN, "kms:Decrypt", "aws:PrincipalOrgID=", denied),
            // What nobody allows needs no Deny.
            (THEIRS, "kms:Decrypt", "", NOTHING),
            (LOGS, "kms:Decrypt", "", denied),
        ],
    );
    check(
        &with(
            r#""Principal":{"AWS":"*"},"Action":["kms:Decrypt"],"Condition":{"StringNotEquals":{"aws:SourceVpce":["vpce-1","vpce-2"]}}"#,
        ),
        &[
            (PAY_1, "kms:Decrypt", "aws:SourceVpce=vpce-2", left),
            (PAY_1, "kms:Decrypt", "aws:SourceVpce=vpce-3", denied),
            (PAY_1, "kms:Decrypt", "aws:SourceVpce=", denied),
        ],
    );
    // An account in a Deny is everybody of it.
    check(
        &with(r#""Principal":{"AWS":"111122223333"},"Action":"kms:Disable*""#),
        &[
            (ANN, "kms:DisableKey", "", denied),
            (ROOT, "kms:DisableKeyRotation", "", denied),
            (ANN, "kms:EnableKey", "", left),
        ],
    );
    check(
        &with(r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/pay"},"Action":"kms:Decrypt""#),
        &[
            (PAY_1, "kms:Decrypt", "", denied),
            (ANN, "kms:Decrypt", "", left),
            (
                "somebody of 111122223333",
                "kms:Decrypt",
                "",
                "hangs on whether its principals are the caller (statement 'Not')",
            ),
        ],
    );
    check(
        &with(r#""Principal":"*","Action":"kms:Decrypt","Until":"2031""#),
        &[(ANN, "kms:Decrypt", "", "hangs on member Until (statement 'Not')")],
    );
}

#[test]
fn not_principal_and_not_action() {
    let root = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"}"#;
    let left = "left to the IAM policies of account 111122223333, by statement 1";
    let open = "hangs on whether its principals are the caller (statement 2)";
    check(
        &format!(
            r#"{root},{{"Effect":"Deny","NotPrincipal":{{"AWS":["111122223333","arn:aws:iam::111122223333:user/ann","arn:aws:iam::111122223333:role/pay"]}},"Action":"kms:*","Resource":"*"}}"#
        ),
        &[
            (ANN, "kms:Decrypt", "", left),
            (ROOT, "kms:Decrypt", "", "allowed by statement 1"),
            // The role is left out, this session of it is not.
            (PAY_1, "kms:Decrypt", "", open),
            ("arn:aws:iam::111122223333:user/bo", "kms:Decrypt", "", open),
            (LOGS, "kms:Decrypt", "", "denied by statement 2"),
        ],
    );
    check(
        r#"{"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/ann"},"Action":"kms:Decrypt","Resource":"*"}"#,
        &[
            (ANN, "kms:Decrypt", "", NOTHING),
            (PAY_1, "kms:Decrypt", "", "allowed by statement 1"),
            (
                THEIRS,
                "kms:Decrypt",
                "",
                "also needs the IAM policies of account 999988887777 (external), by statement 1",
            ),
            ("", "kms:Decrypt", "", "allowed by statement 1"),
        ],
    );
    check(
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/ann"},"NotAction":["kms:PutKeyPolicy","kms:Schedule*"],"Resource":"*"}"#,
        &[
            (ANN, "kms:Decrypt", "", "allowed by statement 1"),
            (ANN, "kms:PutKeyPolicy", "", NOTHING),
            (ANN, "KMS:scheduleKeyDeletion", "", NOTHING),
        ],
    );
}

#[test]
fn services_networks_times_and_resources() {
    check(
        r#"{"Effect":"Allow","Principal":{"Service":"logs.eu-west-1.amazonaws.com"},"Action":"kms:GenerateDataKey*","Resource":"*","Condition":{"ArnLike":{"kms:EncryptionContext:aws:logs:arn":"arn:aws:logs:eu-west-1:111122223333:*"}}}"#,
        &[
            (
                "logs.eu-west-1.amazonaws.com",
                "kms:GenerateDataKey",
                "kms:EncryptionContext:aws:logs:arn=arn:aws:logs:eu-west-1:111122223333:log-group:x",
                "allowed by statement 1",
            ),
            (
                "logs.eu-west-1.amazonaws.com",
                "kms:GenerateDataKey",
                "kms:EncryptionContext:aws:logs:arn=arn:aws:logs:eu-west-1:999988887777:log-group:x",
                NOTHING,
            ),
            ("sns.amazonaws.com", "kms:GenerateDataKey", "", NOTHING),
            (ANN, "kms:GenerateDataKey", "", NOTHING),
        ],
    );
    let ann = |condition: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::111122223333:user/ann"}},"Action":"*","Resource":"*","Condition":{condition}}}"#
        )
    };
    let allowed = "allowed by statement 1";
    for (condition, known, expected) in [
        (r#"{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:db8::/32"]}}"#, "aws:SourceIp=2001:db8::7", allowed),
        (r#"{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}"#, "aws:SourceIp=203.0.113.7", NOTHING),
        (
            r#"{"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}"#,
            "aws:CurrentTime=2026-01-05T10:00:00Z",
            NOTHING,
        ),
        (
            r#"{"NumericLessThan":{"kms:ScheduleKeyDeletionPendingWindowInDays":"30"}}"#,
            "kms:ScheduleKeyDeletionPendingWindowInDays=7",
            allowed,
        ),
        (r#"{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/ops/*"}}"#, "", NOTHING),
        (r#"{"StringEqualsIfExists":{"kms:ViaService":"s3"}}"#, "kms:ViaService=", allowed),
        (
            r#"{"ForAnyValue:StringLike":{"kms:ResourceAliases":"alias/pay*"}}"#,
            "kms:ResourceAliases=alias/x,alias/pay-1",
            allowed,
        ),
        (r#"{"ForAnyValue:StringNotLike":{"kms:ResourceAliases":"alias/pay*"}}"#, "kms:ResourceAliases=", NOTHING),
        (
            r#"{"StringEquals":{"aws:PrincipalTag/team":"${aws:ResourceTag/team}"}}"#,
            "aws:PrincipalTag/team=pay",
            "hangs on aws:PrincipalTag/team = ${aws:ResourceTag/team} (statement 1)",
        ),
        (
            r#"{"StringFoo":{"aws:PrincipalArn":"x"}}"#,
            "",
            "hangs on aws:PrincipalArn 'StringFoo' x (no operator of IAM) (statement 1)",
        ),
        (r#"{"StringEquals":{"kms:Frobnicate":"x"}}"#, "", "hangs on kms:Frobnicate = x (statement 1)"),
        (r#"{"BinaryEquals":{"kms:RecipientAttestation:PCR0":"AAAA"}}"#, "kms:RecipientAttestation:PCR0=AAAA", allowed),
        (
            r#"{"StringEqualsIgnoreCase":{"kms:RecipientAttestation:ImageSha384":"ABCD"}}"#,
            "kms:RecipientAttestation:ImageSha384=abcd",
            allowed,
        ),
        (r#"{"Null":{"kms:GrantConstraintType":"true"}}"#, "kms:GrantConstraintType=EncryptionContextEquals", NOTHING),
    ] {
        assert_eq!(said(&ann(condition), ANN, "kms:Decrypt", known), expected, "{condition} [{known}]");
    }
    check(
        r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"arn:aws:kms:eu-west-1:111122223333:key/aaaa*"},{"Effect":"Allow","Principal":"*","Action":"kms:Sign","NotResource":"arn:aws:kms:*:111122223333:key/*"}"#,
        &[(ANN, "kms:Decrypt", "", allowed), (ANN, "kms:Sign", "", NOTHING)],
    );
}

#[test]
fn what_settles_first_is_told() {
    check(
        r#"{"Sid":"Root","Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"},{"Sid":"Ann","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/ann"},"Action":"kms:Decrypt","Resource":"*"},{"Sid":"Mfa","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/pay"},"Action":"kms:Sign","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}"#,
        &[
            (ANN, "kms:Decrypt", "", "allowed by statement 'Ann'"),
            (PAY_1, "kms:Sign", "", "left to the IAM policies of account 111122223333, by statement 'Root'"),
            (PAY_1, "kms:Sign", "aws:MultiFactorAuthPresent=true", "allowed by statement 'Mfa'"),
        ],
    );
}

#[test]
fn callers_are_read_from_records() {
    use crate::event::principal::Principal;
    let of = |kind: &str, canonical: &str, session: Option<&str>, account: Option<&str>| {
        let (kind, canonical) = (kind.to_owned(), canonical.to_owned());
        let (session, account) = (session.map(str::to_owned), account.map(str::to_owned));
        Caller::of_record(&Principal { kind, canonical, session, account, via: None }, Some(PAY_1))
    };
    let session = of("AssumedRole", PAY, Some("ann, by source identity"), Some(OWNER));
    assert_eq!((session.kind, session.session.as_deref()), (CallerKind::Session, Some("pay-1")));
    assert_eq!(of("IAMUser", ANN, None, Some(OWNER)).kind, CallerKind::User);
    assert_eq!(of("Root", ROOT, None, Some(OWNER)).kind, CallerKind::Root);
    let foreign = of("AWSAccount", "account:999988887777/AROAX", None, Some("999988887777"));
    assert_eq!(
        (foreign.kind, foreign.account.as_deref(), foreign.name),
        (CallerKind::Unnamed, Some("999988887777"), None)
    );
    let service = of("AWSService", "service:logs.amazonaws.com", None, Some(OWNER));
    assert_eq!((service.kind, service.name.as_deref(), service.account), (CallerKind::Service, Some(LOGS), None));
}
