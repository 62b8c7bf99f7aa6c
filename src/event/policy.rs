//! What a key policy allows, as far as one policy alone can tell: to everybody, to other accounts,
//! and whether the owner can still change it (aws-facts 7).
//!
//! Invariant: what cannot be understood is taken for the worse: an unknown condition bounds nobody.
//!
//! Must not decide: whether another account is trusted; the inventory says so.

use std::collections::BTreeSet;

use serde_json::Value;

use super::key::arn_parts;

/// What a policy allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// Some statement allows everybody, and no condition says whom.
    pub public: bool,
    /// Accounts allowed other than the owner's.
    pub external_accounts: BTreeSet<String>,
    /// Principals allowed, as written.
    pub principals: BTreeSet<String>,
    /// Nobody of the owner's account may change the policy.
    pub owner_locked_out: bool,
}

/// Condition keys that say whose calls are meant.
const BOUNDING: &[&str] = &[
    "kms:calleraccount",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
];
/// Those of them whose values name accounts.
const OF_ACCOUNTS: &[&str] =
    &["kms:calleraccount", "aws:principalaccount", "aws:principalarn", "aws:sourceaccount", "aws:sourcearn"];

/// Reads a policy of a key of `owner`; nothing when it is no policy.
#[must_use]
pub fn read(text: &str, owner: Option<&str>) -> Option<PolicyFacts> {
    let policy: Value = serde_json::from_str(text).ok()?;
    let statements = one_or_many(policy.get("Statement")?);
    let mut facts = PolicyFacts { owner_locked_out: owner.is_some(), ..PolicyFacts::default() };
    for statement in statements.iter().filter(|statement| is_text(statement.get("Effect"), "allow")) {
        let bounds = bounds(statement.get("Condition"));
        let principals = principals(statement);
        let everybody = principals.iter().any(|principal| principal == "*") || statement.get("NotPrincipal").is_some();
        facts.public |= everybody && bounds.is_none();
        let named = bounds.iter().flatten().chain(&principals);
        let accounts: BTreeSet<String> = named.filter_map(|name| account_of(name)).collect();
        if may_change_policy(statement) && owner.is_some_and(|owner| everybody || accounts.contains(owner)) {
            facts.owner_locked_out = false;
        }
        facts.external_accounts.extend(accounts.into_iter().filter(|account| Some(account.as_str()) != owner));
        facts.principals.extend(principals);
    }
    Some(facts)
}

fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn is_text(value: Option<&Value>, wanted: &str) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(wanted))
}

/// `Principal` is a text, or a map of kinds to one or many; services are written `service:NAME`.
fn principals(statement: &Value) -> Vec<String> {
    let texts = |value: &Value, prefix: &str| -> Vec<String> {
        one_or_many(value).iter().filter_map(Value::as_str).map(|text| format!("{prefix}{text}")).collect()
    };
    match statement.get("Principal") {
        Some(Value::Object(kinds)) => {
            let of = |(kind, value): (&String, &Value)| match kind.as_str() {
                "AWS" => texts(value, ""),
                "Service" => texts(value, "service:"),
                kind => texts(value, &format!("{}:", kind.to_lowercase())),
            };
            kinds.iter().flat_map(of).collect()
        }
        Some(value) => texts(value, ""),
        None => Vec::new(),
    }
}

/// The values by which conditions bound who calls; nothing when none does. `IfExists` passes where
/// the key is missing, negations and a bare `*` bound nobody, and `ForAllValues` passes on nothing.
fn bounds(condition: Option<&Value>) -> Option<Vec<String>> {
    let operators = condition?.as_object()?;
    let mut found = None;
    for (operator, keys) in operators {
        let operator = operator.to_lowercase();
        let equal = ["stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"];
        let plain = operator.strip_prefix("foranyvalue:").unwrap_or(&operator);
        if !equal.contains(&plain) {
            continue;
        }
        for (key, value) in keys.as_object().into_iter().flatten() {
            let key = key.to_lowercase();
            let values: Vec<&str> = one_or_many(value).iter().filter_map(Value::as_str).collect();
            if !BOUNDING.contains(&key.as_str()) || values.is_empty() || values.contains(&"*") {
                continue;
            }
            let named = values.into_iter().filter(|_| OF_ACCOUNTS.contains(&key.as_str())).map(str::to_owned);
            found.get_or_insert_with(Vec::new).extend(named);
        }
    }
    found
}

/// The account of an ARN or a bare account; unique ids of deleted principals and services have none.
fn account_of(principal: &str) -> Option<String> {
    let account = arn_parts(principal).map_or(principal, |parts| parts.account);
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then(|| account.to_owned())
}

/// Whether the statement allows `kms:PutKeyPolicy`.
fn may_change_policy(statement: &Value) -> bool {
    if let Some(not) = statement.get("NotAction") {
        return !one_or_many(not).iter().filter_map(Value::as_str).any(fits_put_key_policy);
    }
    let actions = statement.get("Action").map(one_or_many).unwrap_or_default();
    actions.iter().filter_map(Value::as_str).any(fits_put_key_policy)
}

fn fits_put_key_policy(action: &str) -> bool {
    wildcard(&action.to_lowercase(), "kms:putkeypolicy")
}

/// Whether a pattern with `*` and `?` fits a text.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let same = |pattern: &str, text: &str| {
        pattern.len() <= text.len() && pattern.bytes().zip(text.bytes()).all(|(p, t)| p == b'?' || p == t)
    };
    if !same(first, text) {
        return false;
    }
    let mut rest = text.get(first.len()..).unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = (0..=rest.len()).find(|at| rest.get(*at..).is_some_and(|rest| same(part, rest))) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.len() >= last.len() && same(last, rest.get(rest.len() - last.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
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
            facts(&format!(
                r#"{{"Effect":"Allow","Principal":"*","Action":["kms:Decrypt"],"Resource":"*"{condition}}}"#
            ))
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
}
