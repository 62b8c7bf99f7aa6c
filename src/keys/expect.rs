//! Judges one use of a key against its domain: expected or not, and why, in words.
//!
//! Only uses are judged: cryptographic operations, and whatever operations a domain's own lines
//! name. Administration has rules of its own.

use super::context_of;
use super::inventory::{Domain, Expect, Inventory};
use super::pattern::NamePattern;
use crate::event::derive::Use;
use crate::event::field::Fields;
use crate::event::key::{KeyRole, arn_parts};
use crate::event::operation::{Class, class_of};

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the domain expects this use.
    pub expected: bool,
    /// Why, for a person. One that begins `never:` broke a `never` line.
    pub reason: String,
}

/// Judges; nothing for an operation that is no use of the key.
#[must_use]
pub fn judge(
    domain: &Domain,
    used: &Use,
    operation: &str,
    fields: &Fields<'_>,
    inventory: &Inventory,
) -> Option<Judgement> {
    let role = used.key.as_ref().map(|key| key.role).unwrap_or_default();
    let names = names_of(operation, role);
    let cryptographic = class_of(operation) == Class::Cryptographic;
    let listed = domain.expect.iter().any(|line| line.operations.iter().any(|pattern| fits(pattern, names)));
    if !cryptographic && !listed {
        return None;
    }
    let principal = &used.principal.canonical;
    let who = short_name(principal);
    let in_domain = &domain.name;
    if let Some(pattern) = domain.never.iter().find(|pattern| pattern.matches(principal)) {
        let reason = format!("never: {who} fits `{pattern}`, which must never use a key of {in_domain}");
        return Some(Judgement { expected: false, reason });
    }
    let lines: Vec<_> =
        domain.expect.iter().filter(|line| line.principals.iter().any(|pattern| pattern.matches(principal))).collect();
    if lines.is_empty() {
        return Some(Judgement { expected: false, reason: stranger(&who, domain, principal, inventory) });
    }
    let lines: Vec<_> = lines.into_iter().filter(|line| allows(line, names, cryptographic)).collect();
    if lines.is_empty() {
        let reason = format!("{who} is expected in {in_domain}, but not for {operation}");
        return Some(Judgement { expected: false, reason });
    }
    let via = used.principal.via.as_deref();
    let lines: Vec<_> = lines
        .into_iter()
        .filter(|line| {
            line.via.is_empty() || via.is_some_and(|via| line.via.iter().any(|pattern| pattern.matches(via)))
        })
        .collect();
    if lines.is_empty() {
        let how = via.map_or_else(|| "directly".to_owned(), |via| format!("via {via}"));
        let reason = format!("{who} is expected in {in_domain} for {operation}, but not {how}");
        return Some(Judgement { expected: false, reason });
    }
    let missing: Option<&str> =
        lines.iter().map(|line| context_gap(line, fields)).collect::<Option<Vec<_>>>().and_then(
            // Every line wants something of the context: name what the first one misses.
            |gaps| gaps.into_iter().next(),
        );
    if let Some(name) = missing {
        let reason = format!(
            "{who} is expected in {in_domain} for {operation}, but the encryption context's `{name}` is not what is expected"
        );
        return Some(Judgement { expected: false, reason });
    }
    Some(Judgement { expected: true, reason: format!("{who} is expected in {in_domain} for {operation}") })
}

fn stranger(who: &str, domain: &Domain, principal: &str, inventory: &Inventory) -> String {
    let elsewhere: Vec<_> = inventory
        .domains
        .iter()
        .filter(|other| other.name != domain.name)
        .filter(|other| {
            other.expect.iter().any(|line| line.principals.iter().any(|pattern| pattern.matches(principal)))
        })
        .map(|other| other.name.as_str())
        .take(3)
        .collect();
    if elsewhere.is_empty() {
        format!("{who} is not among the principals of {}", domain.name)
    } else {
        format!("{who} is not among the principals of {}; it is of {}", domain.name, elsewhere.join(", "))
    }
}

/// The names an operation may be listed under: ReEncrypt splits into its two halves.
fn names_of(operation: &str, role: KeyRole) -> [&str; 2] {
    match (operation, role) {
        ("ReEncrypt", KeyRole::Source) => ["ReEncrypt", "ReEncryptFrom"],
        ("ReEncrypt", KeyRole::Destination) => ["ReEncrypt", "ReEncryptTo"],
        _ => [operation, operation],
    }
}

fn fits(pattern: &NamePattern, names: [&str; 2]) -> bool {
    names.iter().any(|name| pattern.matches(name))
}

fn allows(line: &Expect, names: [&str; 2], cryptographic: bool) -> bool {
    if line.operations.is_empty() { cryptographic } else { line.operations.iter().any(|pattern| fits(pattern, names)) }
}

/// The first context entry that a line wants and the call lacks. Names are compared without case,
/// as KMS condition keys are (aws-facts 7).
fn context_gap<'l>(line: &'l Expect, fields: &Fields<'_>) -> Option<&'l str> {
    let met = |name: &str, pattern: &NamePattern| {
        context_of(fields).any(|(given, value)| given.eq_ignore_ascii_case(name) && pattern.matches(value))
    };
    line.context.iter().find(|(name, pattern)| !met(name, pattern)).map(|(name, _)| name.as_str())
}

/// `role/banking-payments-role (111122223333)` out of an ARN, else the principal as it is.
fn short_name(principal: &str) -> String {
    match arn_parts(principal) {
        Some(parts) => format!("{} ({})", parts.resource, parts.account),
        None => principal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
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
        let domain = inventory.domain_of(used.key.as_ref().unwrap(), None).unwrap();
        judge(domain, &used, operation, &record.fields, &inventory)
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
            ("Decrypt", "crm", "}", "it is of pii"),
            ("Decrypt", "batch", "}", "role/batch (111122223333) is not among the principals of token-vault"),
        ];
        for (operation, role, rest, expected) in cases {
            let (verdict, reason) = reason(operation, role, rest);
            assert!(!verdict && reason.contains(expected), "{operation} by {role}: {reason}");
        }
        assert!(reason("Decrypt", "detokenise", r#","invokedBy":"lambda.amazonaws.com"}"#).0);
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
}
