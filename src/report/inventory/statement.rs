//! The statements of a key policy, as far as an inventory is made from them.
//!
//! Invariant: what is carried over bounds no less than the policy does, or a note says what was left
//! out.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde_json::Value;

use crate::event::operation::{Class, OPERATIONS};
use crate::keys::pattern::NamePattern;

/// One statement, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// `Sid` in quotes, or its number.
    pub name: String,
    /// Whether it allows; else it denies.
    pub allows: bool,
    /// Principals of kind `AWS`, and `*`.
    pub principals: BTreeSet<String>,
    /// Services.
    pub services: BTreeSet<String>,
    /// Principals of other kinds, as written.
    pub others: BTreeSet<String>,
    /// Whether it names who is not meant.
    pub is_inverted: bool,
    /// Cryptographic operations that it is about.
    pub operations: BTreeSet<String>,
    /// Whether these are all there are.
    pub all_operations: bool,
    /// Whether it is about other operations too.
    pub administers: bool,
    /// Its conditions.
    pub conditions: Conditions,
}

/// What the conditions of a statement say, as far as an inventory can say it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// `kms:ViaService`.
    pub via: BTreeSet<String>,
    /// `kms:EncryptionContext:NAME`: the values allowed.
    pub context: BTreeMap<String, BTreeSet<String>>,
    /// `kms:CallerAccount`, `aws:PrincipalAccount`.
    pub accounts: BTreeSet<String>,
    /// `aws:PrincipalArn`.
    pub principals: BTreeSet<String>,
    /// `aws:SourceVpce`.
    pub vpc_endpoints: BTreeSet<String>,
    /// `aws:SourceIp`.
    pub from: BTreeSet<String>,
    /// `aws:RequestedRegion`.
    pub regions: BTreeSet<String>,
    /// What was left out, as written: operator and key.
    pub left_out: BTreeSet<String>,
}

/// Cryptographic operations under the names that policies and grants give them.
pub(super) fn cryptographic() -> impl Iterator<Item = &'static str> {
    let named = OPERATIONS.iter().filter(|operation| operation.class == Class::Cryptographic);
    // ReEncrypt is two permissions; GenerateRandom uses no key.
    let named = named.map(|operation| operation.name).filter(|name| !matches!(*name, "ReEncrypt" | "GenerateRandom"));
    named.chain(["ReEncryptFrom", "ReEncryptTo"])
}

/// Reads a policy; nothing when it is none.
pub(super) fn statements(policy: &str) -> Option<Vec<Statement>> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let statements = one_or_many(policy.get("Statement")?);
    Some(statements.iter().enumerate().map(|(number, statement)| read(number + 1, statement)).collect())
}

fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    value.map(one_or_many).unwrap_or_default().iter().filter_map(Value::as_str).collect()
}

fn read(number: usize, value: &Value) -> Statement {
    let sid = value.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty());
    let effect = value.get("Effect").and_then(Value::as_str).unwrap_or_default();
    let mut statement = Statement {
        name: sid.map_or_else(|| number.to_string(), |sid| format!("'{sid}'")),
        allows: effect.eq_ignore_ascii_case("allow"),
        is_inverted: value.get("NotPrincipal").is_some(),
        conditions: conditions(value.get("Condition")),
        ..Statement::default()
    };
    match value.get("Principal").or_else(|| value.get("NotPrincipal")) {
        Some(Value::Object(kinds)) => {
            for (kind, named) in kinds {
                let named = texts(Some(named)).into_iter().map(str::to_owned);
                match kind.as_str() {
                    "AWS" => statement.principals.extend(named),
                    "Service" => statement.services.extend(named),
                    _ => statement.others.extend(named.map(|name| format!("{kind} {name}"))),
                }
            }
        }
        named => statement.principals.extend(texts(named).into_iter().map(str::to_owned)),
    }
    let (named, is_not) = match value.get("NotAction") {
        Some(not) => (texts(Some(not)), true),
        None => (texts(value.get("Action")), false),
    };
    let patterns: Vec<_> = named.into_iter().map(|action| NamePattern::new(&action.to_lowercase())).collect();
    let is_meant = |operation: &str| {
        let action = format!("kms:{}", operation.to_lowercase());
        patterns.iter().any(|pattern| pattern.matches(&action)) != is_not
    };
    statement.operations = cryptographic().filter(|name| is_meant(name)).map(str::to_owned).collect();
    statement.all_operations = statement.operations.len() == cryptographic().count();
    let administrative = OPERATIONS
        .iter()
        .filter(|operation| !matches!(operation.class, Class::Cryptographic | Class::Enumeration | Class::Unknown));
    statement.administers = administrative.into_iter().any(|operation| is_meant(operation.name));
    statement
}

fn conditions(value: Option<&Value>) -> Conditions {
    let mut conditions = Conditions::default();
    for (operator, keys) in value.and_then(Value::as_object).into_iter().flatten() {
        for (key, given) in keys.as_object().into_iter().flatten() {
            if !conditions.take(operator, key, &texts(Some(given))) {
                conditions.left_out.insert(format!("{operator} {key}"));
            }
        }
    }
    conditions
}

/// The encryption context that a condition is about. AWS takes the condition key without regard to
/// case, so the name's own case is as it was written.
fn context_name(key: &str) -> Option<&str> {
    const PREFIX: &str = "kms:encryptioncontext:";
    let head = key.get(..PREFIX.len())?;
    head.eq_ignore_ascii_case(PREFIX).then(|| key.get(PREFIX.len()..)).flatten().filter(|name| !name.is_empty())
}

impl Conditions {
    /// Takes a condition over; whether it could be. A key that comes twice is bounded twice, which
    /// an inventory cannot say.
    fn take(&mut self, operator: &str, key: &str, values: &[&str]) -> bool {
        if values.is_empty() || values.iter().any(|value| value.contains("${")) {
            return false;
        }
        let operator = operator.to_lowercase();
        let operator = operator.strip_prefix("foranyvalue:").unwrap_or(&operator);
        let is_network = operator == "ipaddress";
        let takes_wildcards = match operator {
            "stringlike" | "arnlike" | "arnequals" => true,
            "stringequals" | "ipaddress" => false,
            _ => return false,
        };
        let is_pattern = |value: &&str| value.contains(['*', '?']);
        if !takes_wildcards && values.iter().any(is_pattern) {
            return false;
        }
        let all = || values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        if let Some(name) = context_name(key).filter(|_| !is_network) {
            let known = self.context.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            return !known && self.context.insert(name.to_owned(), all()).is_none();
        }
        let place = match (key.to_lowercase().as_str(), is_network) {
            ("kms:viaservice", false) => &mut self.via,
            ("kms:calleraccount" | "aws:principalaccount", false) if values.iter().all(|value| is_account(value)) => {
                &mut self.accounts
            }
            ("aws:principalarn", false) => &mut self.principals,
            ("aws:sourcevpce", false) if self.from.is_empty() => &mut self.vpc_endpoints,
            ("aws:requestedregion", false) => &mut self.regions,
            ("aws:sourceip", true)
                if self.vpc_endpoints.is_empty() && values.iter().all(|value| is_network_text(value)) =>
            {
                &mut self.from
            }
            _ => return false,
        };
        place.is_empty() && {
            *place = all();
            true
        }
    }
}

/// An account, and no pattern over accounts.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_network_text(text: &str) -> bool {
    text.trim().parse::<IpNet>().is_ok() || text.trim().parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(statement: &str) -> Statement {
        statements(&format!(r#"{{"Statement":{statement}}}"#)).unwrap().remove(0)
    }

    #[test]
    fn actions_are_read_as_iam_reads_them() {
        let operations = |action: &str| {
            let statement = one(&format!(r#"{{"Effect":"Allow","Principal":"*",{action}}}"#));
            (statement.operations.into_iter().collect::<Vec<_>>().join(" "), statement.administers)
        };
        for (action, expected, administers) in [
            (r#""Action":"kms:decrypt""#, "Decrypt", false),
            (r#""Action":["kms:ReEncrypt*","kms:DescribeKey"]"#, "ReEncryptFrom ReEncryptTo", false),
            (r#""Action":["kms:GenerateDataKey","kms:Put*"]"#, "GenerateDataKey", true),
            (r#""Action":"s3:*""#, "", false),
            (r#""Action":"kms:Create?rant""#, "", true),
        ] {
            assert_eq!(operations(action), (expected.to_owned(), administers), "{action}");
        }
        assert!(one(r#"{"Effect":"Allow","Principal":"*","Action":"*"}"#).all_operations);
        let not = one(r#"{"Effect":"Allow","Principal":"*","NotAction":["kms:Decrypt","kms:ReEncrypt*"]}"#);
        assert!(!not.operations.contains("Decrypt") && not.operations.contains("Encrypt") && not.administers);
        assert_eq!(statements("[]"), None);
        assert_eq!(statements("{"), None);
    }

    #[test]
    fn conditions_are_carried_over_or_said_to_be_left_out() {
        let of = |condition: &str| one(&format!(r#"{{"Effect":"Allow","Condition":{condition}}}"#)).conditions;
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        let carried = of(
            r#"{"StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com","kms:EncryptionContext:Purpose":["a","b"],"kms:CallerAccount":"111122223333"},
             "StringLike":{"KMS:encryptioncontext:app":"x-*","aws:PrincipalArn":"arn:aws:iam::111122223333:role/app-*"},
             "IpAddress":{"aws:SourceIp":["10.0.0.0/8"]}}"#,
        );
        assert_eq!((carried.via, carried.accounts), (set(&["s3.eu-west-1.amazonaws.com"]), set(&["111122223333"])));
        assert_eq!(carried.context["Purpose"], set(&["a", "b"]));
        assert_eq!(carried.context["app"], set(&["x-*"]));
        assert_eq!((carried.from, carried.left_out.len()), (set(&["10.0.0.0/8"]), 0));
        for left in [
            r#"{"StringEqualsIfExists":{"kms:ViaService":"x"}}"#,
            r#"{"StringNotEquals":{"kms:CallerAccount":"111122223333"}}"#,
            r#"{"ForAllValues:StringEquals":{"kms:EncryptionContext:a":"b"}}"#,
            r#"{"StringEquals":{"kms:EncryptionContext:a":"b*"}}"#,
            r#"{"StringEquals":{"kms:EncryptionContext:a":"${aws:PrincipalTag/team}"}}"#,
            r#"{"StringEquals":{"aws:PrincipalOrgID":"o-abc"}}"#,
            r#"{"Bool":{"aws:SecureTransport":true}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"everywhere"}}"#,
        ] {
            let conditions = of(left);
            assert_eq!(conditions.left_out.len(), 1, "{left}");
            assert_eq!(Conditions { left_out: BTreeSet::new(), ..conditions }, Conditions::default(), "{left}");
        }
        let twice =
            of(r#"{"StringEquals":{"kms:EncryptionContext:a":"1"},"StringLike":{"kms:EncryptionContext:A":"2"}}"#);
        assert_eq!((twice.context.len(), twice.left_out.len()), (1, 1));
    }
}
