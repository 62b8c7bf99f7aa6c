//! What KMS itself says of a key at one moment: the lines of a snapshot file.
//!
//! `kmswatch keys import` writes one JSON object a line and a key; `run`, `replay`, `keys show` and
//! `explain` read them as the picture that the stream then keeps current.
//!
//! Invariant: a line says only what was asked and answered; what could not be asked is in
//! [`KeyFacts::unknown`], never a default that looks like an answer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// One key as KMS describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// ARN of the key.
    pub arn: String,
    /// When KMS said so.
    pub as_of: EventTime,
    /// Its description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who manages it: `CUSTOMER` or `AWS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// `Enabled`, `Disabled`, `PendingDeletion`, ... (KeyState of the API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `SYMMETRIC_DEFAULT`, `RSA_2048`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// `AWS_KMS`, `EXTERNAL`, `AWS_CLOUDHSM`, `EXTERNAL_KEY_STORE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<EventTime>,
    /// When KMS will delete it, if that is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<EventTime>,
    /// Its siblings, if it is a multi-Region key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_region: Option<MultiRegion>,
    /// Automatic rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// The key policy, as KMS gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Names, `alias/...`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Grants, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantFacts>,
    /// What could not be asked, and why: `policy`, `grants`, `tags`, `rotation`, `description`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, String>,
}

/// The part a key plays among its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiRegion {
    /// ARN of the primary.
    pub primary: String,
    /// ARNs of the replicas.
    #[serde(default)]
    pub replicas: BTreeSet<String>,
}

/// Automatic rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// On or off.
    pub enabled: bool,
    /// Days between rotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_days: Option<u32>,
}

/// A grant: who may use the key for what, beside its policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantFacts {
    /// Id of the grant.
    pub id: String,
    /// Name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who may use it: an ARN, or `service:NAME`.
    pub grantee: String,
    /// Who may retire it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring: Option<String>,
    /// Who made it: the account as the API tells, the canonical principal as the stream does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What it allows (GrantOperation of the API).
    pub operations: BTreeSet<String>,
    /// Encryption context that a call must have exactly.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context_equals: BTreeMap<String, String>,
    /// Encryption context that a call must have at least.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context_subset: BTreeMap<String, String>,
    /// The resource for which a service may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_arn: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<EventTime>,
}

/// Why a snapshot file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {reason}; write it anew with `kmswatch keys import`, or take the line out")]
pub struct SnapshotError {
    /// The file.
    pub path: String,
    /// The line.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads the lines of a snapshot; `path` is only for messages. Of several lines for one key the
/// latest `as_of` counts.
///
/// # Errors
/// The first line that is no such object.
pub fn read(path: &str, text: &str) -> Result<BTreeMap<String, KeyFacts>, SnapshotError> {
    let mut keys: BTreeMap<String, KeyFacts> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let facts: KeyFacts = serde_json::from_str(line).map_err(|error| SnapshotError {
            path: path.to_owned(),
            line: number + 1,
            reason: error.to_string(),
        })?;
        match keys.get(&facts.arn) {
            Some(known) if known.as_of > facts.as_of => {}
            _ => drop(keys.insert(facts.arn.clone(), facts)),
        }
    }
    Ok(keys)
}

/// One line of a snapshot, without its end.
#[must_use]
pub fn line(facts: &KeyFacts) -> String {
    // Maps of texts always have a JSON form.
    serde_json::to_string(facts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_and_the_latest_counts() {
        let at = |text: &str| EventTime::parse(text).unwrap();
        let older = KeyFacts {
            arn: "arn:aws:kms:eu-west-1:111122223333:key/k".to_owned(),
            as_of: at("2026-01-05T10:00:00Z"),
            description: String::new(),
            manager: Some("CUSTOMER".to_owned()),
            state: None,
            spec: None,
            usage: None,
            origin: None,
            created: None,
            deletion: None,
            multi_region: None,
            rotation: Some(Rotation { enabled: true, period_days: Some(365) }),
            policy: Some("{}".to_owned()),
            aliases: BTreeSet::from(["alias/vault".to_owned()]),
            tags: BTreeMap::new(),
            grants: vec![GrantFacts { id: "g".to_owned(), grantee: "arn:x".to_owned(), ..GrantFacts::default() }],
            unknown: BTreeMap::from([("tags".to_owned(), "AccessDenied".to_owned())]),
        };
        let newer = KeyFacts { as_of: at("2026-01-05T11:00:00Z"), aliases: BTreeSet::new(), ..older.clone() };
        let text = format!("{}\n\n{}\n", line(&newer), line(&older));
        let keys = read("keys.jsonl", &text).unwrap();
        assert_eq!(keys.into_values().collect::<Vec<_>>(), [newer]);
        let error = read("keys.jsonl", "\n{\"arn\": 1}").unwrap_err().to_string();
        assert!(error.starts_with("keys.jsonl:2: invalid type") && error.contains("keys import"), "{error}");
    }
}
