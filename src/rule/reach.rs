//! What a condition can hold for, told without a record: which KMS operations a rule watches, and
//! whether some record can meet it at all.
//!
//! Invariant: in doubt a condition may hold. A field of which nothing is assumed decides nothing.

mod watched;

use std::collections::BTreeMap;

pub use watched::{Watched, watched};

use super::pattern::ValueTest;
use super::predicate::Predicate;
use crate::event::derive::KMS_SOURCE;
use crate::event::field::{FieldId, core, derived};
use crate::event::operation::{Class, OPERATIONS, Origin};

/// Who writes a record of KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// CloudTrail, of a call to the API.
    Api,
    /// CloudTrail, of what KMS did by itself.
    Service,
    /// EventBridge, without CloudTrail.
    Direct,
}

impl Writer {
    /// For a table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Service => "service event",
            Self::Direct => "direct event",
        }
    }
}

/// A kind of record of KMS, by its `eventName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// `eventName`.
    pub name: &'static str,
    /// What it is for.
    pub class: Class,
    /// Who writes it.
    pub writer: Writer,
}

/// The events that KMS sends to EventBridge itself (aws-facts 1.6).
const DIRECT_EVENTS: [(&str, Class); 3] = [
    ("KMS CMK Deletion", Class::Destruction),
    ("KMS CMK Rotation", Class::Rotation),
    ("KMS Imported Key Material Expiration", Class::Destruction),
];

/// How a call ends, as rules read it under `kms.outcome`.
pub(super) const OUTCOMES: &[&str] = &["success", "denied", "throttled", "dry-run", "error"];

/// Every kind of record of KMS: operations, service events, direct events.
pub fn calls() -> impl Iterator<Item = Call> {
    let table = OPERATIONS.iter().map(|operation| Call {
        name: operation.name,
        class: operation.class,
        writer: match operation.origin {
            Origin::Api => Writer::Api,
            Origin::Service => Writer::Service,
        },
    });
    table.chain(DIRECT_EVENTS.map(|(name, class)| Call { name, class, writer: Writer::Direct }))
}

fn is_call(name: &str) -> bool {
    calls().any(|call| call.name.eq_ignore_ascii_case(name))
}

fn nothing(_: &str) -> bool {
    false
}

/// What is known of a field.
#[derive(Clone, Copy, Debug)]
enum Known {
    Absent,
    Is(&'static str),
    /// There, and nothing that this says yes to.
    Other(fn(&str) -> bool),
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Perhaps,
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Truth {
    pub(super) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
            Self::Yes => Self::No,
        }
    }
}

/// A kind of record, as far as it decides about conditions.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    known: BTreeMap<FieldId, Known>,
}

/// Fields that only records of KMS have.
const ONLY_OF_KMS: [FieldId; 6] =
    [derived::OPERATION, derived::CLASS, derived::KEY_ROLE, derived::KEY, derived::KEY_ARN, derived::KEY_ID];

/// Calls that are about no key.
const KEYLESS: [&str; 9] = [
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "GenerateRandom",
    "ListKeys",
    "ListRetirableGrants",
    "UpdateCustomKeyStore",
];

/// Fields that the key of a call fills in.
const OF_A_KEY: [FieldId; 13] = [
    derived::KEY,
    derived::KEY_ARN,
    derived::KEY_ID,
    derived::KEY_ROLE,
    derived::DOMAIN,
    derived::TIER,
    derived::OWNER,
    derived::OWNER_ACCOUNT,
    derived::OWNER_TRUSTED,
    derived::EXPECTED,
    derived::DECOY,
    derived::RETIRED,
    derived::ATTESTATION_REQUIRED,
];

/// Derived fields that only some calls fill in.
const OF_SOME_CALLS: &[(&[&str], &[FieldId])] = &[
    (
        &["CreateKey", "PutKeyPolicy", "ReplicateKey"],
        &[
            derived::POLICY_PUBLIC,
            derived::POLICY_EXTERNAL,
            derived::POLICY_PRINCIPALS,
            derived::POLICY_LOCKS_OUT,
            derived::POLICY_READABLE,
            derived::POLICY_TRUSTED,
        ],
    ),
    (&["CreateGrant"], &[derived::GRANTEE]),
    // ListGrants may name a grantee to look for.
    (&["CreateGrant", "ListGrants"], &[derived::GRANTEE_ACCOUNT, derived::GRANTEE_EXTERNAL, derived::GRANTEE_TRUSTED]),
    (&["ImportKeyMaterial"], &[derived::MATERIAL_HOURS]),
    (
        &["Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair", "GenerateRandom"],
        &[derived::ATTESTED],
    ),
    (
        &[
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
            "GenerateDataKeyWithoutPlaintext",
            "ReEncrypt",
        ],
        &[derived::ENCRYPTS],
    ),
    (&["ReEncrypt"], &[derived::KEY_ROLE]),
];

impl Kind {
    fn of(outcome: &'static str) -> Self {
        let there = [core::EVENT_ID, core::EVENT_TIME, core::AWS_REGION, derived::PRINCIPAL, derived::SOURCE_KIND];
        let mut known = BTreeMap::from(there.map(|field| (field, Known::Other(nothing))));
        known.insert(derived::OUTCOME, Known::Is(outcome));
        let failed = if outcome == "success" { Known::Absent } else { Known::Other(nothing) };
        known.insert(core::ERROR_CODE, failed);
        if outcome == "success" {
            known.extend([core::ERROR_MESSAGE, derived::KEY_STATE_ERROR].map(|field| (field, Known::Absent)));
        }
        Self { known }
    }

    /// A record of a service other than KMS.
    fn elsewhere(outcome: &'static str) -> Self {
        let mut kind = Self::of(outcome);
        kind.known.insert(core::EVENT_SOURCE, Known::Other(|source| source.eq_ignore_ascii_case(KMS_SOURCE)));
        kind.known.insert(core::EVENT_NAME, Known::Other(nothing));
        kind.known.extend(ONLY_OF_KMS.map(|field| (field, Known::Absent)));
        kind
    }

    /// A record of KMS.
    pub(super) fn of_call(call: Call, outcome: &'static str) -> Self {
        let mut kind = Self::of_kms(Known::Is(call.name), call.class, outcome);
        kind.known.remove(&derived::KEY_ROLE);
        for (_, fields) in OF_SOME_CALLS.iter().filter(|(names, _)| !names.contains(&call.name)) {
            kind.known.extend(fields.iter().map(|field| (*field, Known::Absent)));
        }
        if KEYLESS.contains(&call.name) {
            kind.known.extend(OF_A_KEY.map(|field| (field, Known::Absent)));
        }
        kind
    }

    /// A record of an operation that this table does not have.
    fn of_unknown_call(outcome: &'static str) -> Self {
        Self::of_kms(Known::Other(is_call), Class::Unknown, outcome)
    }

    fn of_kms(name: Known, class: Class, outcome: &'static str) -> Self {
        let mut kind = Self::of(outcome);
        kind.known.insert(core::EVENT_SOURCE, Known::Is(KMS_SOURCE));
        kind.known.insert(core::EVENT_NAME, name);
        kind.known.insert(derived::OPERATION, name);
        kind.known.insert(derived::CLASS, Known::Is(class.as_str()));
        kind.known.extend(
            [derived::KEY_ROLE, derived::TRAIL_BLINDS_KMS, derived::OTHER_KEY, derived::OTHER_KEY_FOREIGN]
                .map(|field| (field, Known::Absent)),
        );
        kind
    }

    /// All kinds of records: of other services, of KMS, of what KMS may yet come to do.
    pub(super) fn all() -> Vec<Self> {
        let elsewhere = OUTCOMES.iter().map(|outcome| Self::elsewhere(outcome));
        elsewhere.chain(Self::all_of_kms()).collect()
    }

    pub(super) fn all_of_kms() -> impl Iterator<Item = Self> {
        let known = calls().flat_map(|call| OUTCOMES.iter().map(move |outcome| Self::of_call(call, outcome)));
        OUTCOMES.iter().map(|outcome| Self::of_unknown_call(outcome)).chain(known)
    }

    /// Whether a condition holds for records of this kind.
    pub(super) fn meets(&self, predicate: &Predicate) -> Truth {
        match predicate {
            Predicate::All(parts) => parts.iter().map(|part| self.meets(part)).min().unwrap_or(Truth::Yes),
            Predicate::Any(parts) => parts.iter().map(|part| self.meets(part)).max().unwrap_or(Truth::No),
            Predicate::AtLeast(count, parts) => {
                let mut each: Vec<_> = parts.iter().map(|part| self.meets(part)).collect();
                each.sort_unstable_by(|a, b| b.cmp(a));
                match count.checked_sub(1) {
                    None => Truth::Yes,
                    Some(last) => each.get(last).copied().unwrap_or(Truth::No),
                }
            }
            Predicate::Not(part) => self.meets(part).not(),
            Predicate::Marked(_, part) => self.meets(part),
            Predicate::SomeOf(field, tests) => self.some_of(*field, tests),
            Predicate::AllOf(field, tests) => {
                let each = tests.iter().map(|test| self.some_of(*field, std::slice::from_ref(test)));
                each.min().unwrap_or(Truth::Yes)
            }
            Predicate::Exists(field, wanted) => match self.known.get(field) {
                None => Truth::Perhaps,
                Some(known) => (matches!(known, Known::Absent) != *wanted).into(),
            },
            _ => Truth::Perhaps,
        }
    }

    fn some_of(&self, field: FieldId, tests: &[ValueTest]) -> Truth {
        let Some(known) = self.known.get(&field) else { return Truth::Perhaps };
        let one = |test: &ValueTest| match (known, test) {
            (Known::Absent, ValueTest::Null) => Truth::Yes,
            (Known::Absent, _) | (_, ValueTest::Null) => Truth::No,
            (Known::Is(text), test) => test.passes_text(text).into(),
            (Known::Other(excluded), ValueTest::Equals(needle)) if excluded(&needle.text) => Truth::No,
            (Known::Other(_), test) if passes_anything(test) => Truth::Yes,
            (Known::Other(_), _) => Truth::Perhaps,
        };
        tests.iter().map(one).max().unwrap_or(Truth::No)
    }
}

/// `contains ''` and its like.
fn passes_anything(test: &ValueTest) -> bool {
    ["", "a", "Z9-zq.4:/"].iter().all(|text| test.passes_text(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::derive::{derive, uses_of};
    use crate::event::field::Projection;
    use crate::event::record::decode;

    #[test]
    fn the_calls_are_of_the_class_that_records_are_given() {
        assert_eq!(calls().count(), 61);
        for call in calls() {
            let raw = format!(
                r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{}"}}"#,
                call.name
            );
            let mut record = decode(&raw, &Projection::fixed()).unwrap();
            let used = uses_of(&record).remove(0);
            derive(&mut record, &used);
            assert_eq!(record.fields.text(derived::CLASS), Some(call.class.as_str()), "{}", call.name);
        }
    }
}
