//! The alert: what leaves kmswatch about an incident, and its renderers.
//!
//! [`Alert`] is the JSON of schema 1: fields are added, never renamed, within a schema number.
//!
//! Must not: send anything. A sink takes a rendered alert.

pub mod json;
pub mod make;
pub mod redact;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rule::Level;
use crate::time::EventTime;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// First word of an incident: page.
    Open,
    /// More of the same.
    Updated,
    /// Graver than before.
    Escalated,
    /// Over: quiet, recovered, or merged into another.
    Resolved,
}

impl Status {
    /// As in the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Updated => "updated",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
        }
    }
}

/// The rule behind an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRule {
    /// uuid of the rule.
    pub id: String,
    /// Title of the rule.
    pub title: String,
    /// Level of the rule.
    pub level: Level,
    /// Family of the rule.
    pub family: String,
    /// Sigma tags.
    pub tags: Vec<String>,
    /// Control references.
    pub controls: Vec<String>,
    /// Hash of the rule's text.
    pub hash: String,
}

/// A key that an incident touches, with what the inventory knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlertKey {
    /// ARN of the key.
    pub arn: String,
    /// Alias, if known.
    pub alias: Option<String>,
    /// Domain of the inventory, if any.
    pub domain: Option<String>,
    /// Tier of the domain.
    pub tier: Option<String>,
    /// Owner of the domain.
    #[serde(default)]
    pub owner: Option<String>,
}

/// What the inventory says of the use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Whether the use was expected; null when no domain covers the key.
    pub verdict: Option<bool>,
    /// Why, in words.
    pub reason: Option<String>,
}

/// One message about one incident. See the crate's README for the format with an example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Number of the format: 1.
    pub schema: u32,
    /// Stable id of the incident.
    pub id: String,
    /// The same for all incidents of one rule and group, so that a pager holds one open page.
    pub dedup_key: String,
    /// Where the incident stands.
    pub status: Status,
    /// The incident that this one became part of.
    pub merged_into: Option<String>,
    /// A record came later than the allowed lateness, so that the count is a lower bound.
    pub late: bool,
    /// A limit was reached, so that the count is an estimate.
    pub saturated: bool,
    /// The rule.
    pub rule: AlertRule,
    /// Level of the alert.
    pub level: Level,
    /// One sentence: who did what to which key.
    pub summary: String,
    /// What there is to say beside the count: days left, what is usual.
    #[serde(default)]
    pub note: Option<String>,
    /// What the first records changed, in words: a policy, a grant, an alias.
    #[serde(default)]
    pub changes: Vec<String>,
    /// What makes it one incident: field path and value.
    pub group: BTreeMap<String, String>,
    /// Distinct event IDs in evidence.
    pub count: u64,
    /// Event time of the first record in evidence.
    pub first_event_time: EventTime,
    /// Event time of the last record in evidence.
    pub last_event_time: EventTime,
    /// When kmswatch opened the incident; in a replay the event time at which the condition was met.
    pub detected_at: EventTime,
    /// Account in whose trail the records are.
    pub account: Option<String>,
    /// Region of the calls.
    pub region: Option<String>,
    /// Keys touched.
    pub keys: Vec<AlertKey>,
    /// Canonical principals.
    pub principals: Vec<String>,
    /// Expected or not, and why.
    pub expected: Expectation,
    /// Event IDs in evidence, oldest first, capped.
    pub event_ids: Vec<String>,
    /// Whether `event_ids` was capped.
    pub event_ids_truncated: bool,
    /// The first records, redacted.
    pub evidence: Vec<serde_json::Value>,
    /// What to run or read now.
    pub respond: Vec<String>,
}
