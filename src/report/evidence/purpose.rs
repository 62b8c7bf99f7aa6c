//! What evidence shows of an encryption context; the parent module says why.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::alert::redact::Redaction;
use crate::event::key::KeyRole;
use crate::keys::inventory::Domain;

/// Entries that AWS services write and whose values name a resource of the account (aws-facts 2.2).
const RESOURCE_NAMES: &[&str] = &[
    "SecretARN",
    "SecretVersionId",
    "PARAMETER_ARN",
    "aws:ebs:id",
    "aws:rds:db-id",
    "aws:dynamodb:tableName",
    "aws:dynamodb:subscriberId",
    "aws:lambda:FunctionArn",
    "aws:redshift:arn",
    "aws:redshift:createtime",
    "aws:cloudtrail:arn",
    "aws:acm:arn",
];

/// More entries than AWS allows are somebody's play.
const MAX_ENTRIES: usize = 64;
const MAX_CHARS: usize = 256;

/// The context with values as they may be shown. ReEncrypt has two; the key's role says which.
#[must_use]
pub fn shown(whole: &Value, role: KeyRole, domain: Option<&Domain>, redaction: Redaction) -> BTreeMap<String, String> {
    let request = whole.get("requestParameters");
    let of = |name: &str| request.and_then(|request| request.get(name)).and_then(Value::as_object);
    let context = of("encryptionContext").or_else(|| match role {
        KeyRole::Only | KeyRole::Source => of("sourceEncryptionContext"),
        KeyRole::Destination => of("destinationEncryptionContext"),
    });
    let entries = context.into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_str()?)));
    entries.take(MAX_ENTRIES).map(|(name, value)| (clip(name), clip(&show(name, value, domain, redaction)))).collect()
}

fn clip(text: &str) -> String {
    super::row::clip(text, MAX_CHARS)
}

fn show(name: &str, value: &str, domain: Option<&Domain>, redaction: Redaction) -> String {
    if redaction == Redaction::None || RESOURCE_NAMES.contains(&name) || is_spelt_out(name, value, domain) {
        return value.to_owned();
    }
    if name.eq_ignore_ascii_case("purpose") && is_words(value) {
        return value.to_owned();
    }
    let hidden = |value: &str| redaction.field("requestParameters.encryptionContext", value);
    // An object's key may hold anybody's name; the bucket is the account's.
    match value.split_once('/') {
        Some((bucket, key)) if name == "aws:s3:arn" && bucket.starts_with("arn:") => {
            format!("{bucket}/{}", hidden(key))
        }
        None if name == "aws:s3:arn" && value.starts_with("arn:") => value.to_owned(),
        _ => hidden(value),
    }
}

/// Whether the bank itself has written the value down as expected, for this domain.
fn is_spelt_out(name: &str, value: &str, domain: Option<&Domain>) -> bool {
    let lines = domain.into_iter().flat_map(|domain| &domain.expect).flat_map(|line| &line.context);
    lines
        .filter(|(wanted, _)| wanted.eq_ignore_ascii_case(name))
        .flat_map(|(_, patterns)| patterns)
        .any(|pattern| pattern.is_exact() && pattern.as_str() == value)
}

fn is_words(value: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_');
    !value.is_empty() && value.len() <= 40 && value.chars().all(is_letter)
}
