//! Predicates: a rule's condition over a record's fields.
//!
//! Invariant: a field that is absent passes no test but `null`, `exists: false` and `neq`.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::locate::Place;
use super::pattern::ValueTest;
use super::pattern::needle::{Anchor, Needle};
use crate::event::field::{FieldId, FieldValue, Fields, core, derived};

/// A condition.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// All of them.
    All(Vec<Predicate>),
    /// Some of them.
    Any(Vec<Predicate>),
    /// At least so many of them.
    AtLeast(usize, Vec<Predicate>),
    /// Not this.
    Not(Box<Predicate>),
    /// Some value of the field passes some test.
    SomeOf(FieldId, Vec<ValueTest>),
    /// Each test is passed by some value of the field.
    AllOf(FieldId, Vec<ValueTest>),
    /// The field is there, or is not.
    Exists(FieldId, bool),
    /// Some value of the other field stands there in some value of the first.
    Refers(FieldId, Reference),
    /// Some string anywhere in the record passes some test.
    Keyword(Vec<ValueTest>),
    /// A test with a list that is empty: it never holds, and that is no mistake of the rule.
    Nobody,
    /// A test with a placeholder that nobody defines, by its place, until [`Predicate::settle`]
    /// decides what it comes to.
    Undefined(Place),
    /// What the rule's writer calls it, for explanations; never in what is asked of every record
    /// ([`Predicate::plain`]).
    Marked(Arc<Mark>, Box<Predicate>),
}

/// A part of a rule as its writer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A selection, by name.
    Selection(String),
    /// An item of a selection: its key with modifiers (empty for keywords), and the values wanted.
    Item {
        /// `eventName|startswith`.
        key: String,
        /// As written; of named lists what they hold.
        values: Vec<String>,
    },
    /// A filter of its own document, by title.
    Filter(String),
}

/// The other field of [`Predicate::Refers`], and how the two compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field that is referred to.
    pub field: FieldId,
    /// Where its value stands.
    pub anchor: Anchor,
    /// Case counts.
    pub cased: bool,
}

/// A record's text for keyword search: opened when the first keyword asks for it, and once.
#[derive(Debug)]
pub struct Searchable<'r> {
    raw: &'r str,
    opened: OnceCell<Value>,
}

impl<'r> Searchable<'r> {
    /// Over the record as it came.
    #[must_use]
    pub fn new(raw: &'r str) -> Self {
        Self { raw, opened: OnceCell::new() }
    }

    pub(super) fn record(&self) -> &Value {
        self.opened.get_or_init(|| serde_json::from_str(self.raw).unwrap_or(Value::Null))
    }
}

impl Predicate {
    /// Whether a record's fields, and its text for keywords, meet the condition.
    #[must_use]
    pub fn holds(&self, fields: &Fields<'_>, raw: &Searchable<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(fields, raw)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(fields, raw)),
            Self::AtLeast(count, parts) => {
                parts.iter().filter(|part| part.holds(fields, raw)).take(*count).count() >= *count
            }
            Self::Not(part) => !part.holds(fields, raw),
            Self::SomeOf(field, tests) => tests.iter().any(|test| some_value_passes(fields, *field, test)),
            Self::AllOf(field, tests) => tests.iter().all(|test| some_value_passes(fields, *field, test)),
            Self::Exists(field, wanted) => exists(fields, *field) == *wanted,
            Self::Refers(field, other) => {
                let texts = |field| fields.values(field).iter().filter_map(FieldValue::to_text);
                let needles: Vec<_> = texts(other.field).map(|text| Needle::new(&text, other.cased)).collect();
                texts(*field).any(|text| needles.iter().any(|needle| needle.is_in(&text, other.anchor)))
            }
            Self::Nobody | Self::Undefined(_) => false,
            Self::Marked(_, part) => part.holds(fields, raw),
            Self::Keyword(tests) => some_string(raw.record(), &|text| tests.iter().any(|test| test.passes_text(text))),
        }
    }

    /// Whether the field must be there whenever this holds. May say no where it must, never yes
    /// where it need not.
    #[must_use]
    pub fn needs(&self, field: FieldId) -> bool {
        match self {
            Self::All(parts) => parts.iter().any(|part| part.needs(field)),
            Self::Any(parts) => !parts.is_empty() && parts.iter().all(|part| part.needs(field)),
            Self::SomeOf(tested, tests) => {
                *tested == field && !tests.iter().any(|test| matches!(test, ValueTest::Null))
            }
            Self::Exists(tested, true) => *tested == field,
            Self::Marked(_, part) => part.needs(field),
            _ => false,
        }
    }

    /// The same without marks: what is asked of every record.
    #[must_use]
    pub fn plain(&self) -> Self {
        let each = |parts: &[Self]| parts.iter().map(Self::plain).collect();
        match self {
            Self::All(parts) => Self::All(each(parts)),
            Self::Any(parts) => Self::Any(each(parts)),
            Self::AtLeast(count, parts) => Self::AtLeast(*count, each(parts)),
            Self::Not(part) => Self::Not(Box::new(part.plain())),
            Self::Marked(_, part) => part.plain(),
            leaf => leaf.clone(),
        }
    }

    /// Puts a constant where a placeholder is undefined, so that the whole is no more than what holds
    /// for sure (`wanted` false), or no less than what may hold (`wanted` true).
    #[must_use]
    pub fn settle(self, wanted: bool) -> Self {
        let each = |parts: Vec<Self>| parts.into_iter().map(|part| part.settle(wanted)).collect();
        match self {
            Self::All(parts) => Self::All(each(parts)),
            Self::Any(parts) => Self::Any(each(parts)),
            Self::AtLeast(count, parts) => Self::AtLeast(count, each(parts)),
            Self::Not(part) => Self::Not(Box::new(part.settle(!wanted))),
            Self::Marked(mark, part) => Self::Marked(mark, Box::new(part.settle(wanted))),
            Self::Undefined(_) if wanted => Self::All(Vec::new()),
            Self::Undefined(_) => Self::Nobody,
            other => other,
        }
    }

    /// The values, in lower case, of which `field` must have one whenever this holds; nothing when
    /// it may have any. May over-approximate, never miss.
    #[must_use]
    pub fn required(&self, field: FieldId) -> Option<BTreeSet<String>> {
        match self {
            Self::All(parts) => parts.iter().filter_map(|part| part.required(field)).min_by_key(BTreeSet::len),
            Self::Any(parts) | Self::AtLeast(1.., parts) => {
                let all: Option<Vec<_>> = parts.iter().map(|part| part.required(field)).collect();
                all.map(|sets| sets.into_iter().flatten().collect())
            }
            Self::SomeOf(tested, tests) => {
                if field == core::EVENT_SOURCE
                    && is_of_kms_only(*tested)
                    && !tests.iter().any(|test| matches!(test, ValueTest::Null))
                {
                    return Some(BTreeSet::from(["kms.amazonaws.com".to_owned()]));
                }
                let same = *tested == field || (field == core::EVENT_NAME && *tested == derived::OPERATION);
                let equal = |test: &ValueTest| match test {
                    ValueTest::Equals(needle) => Some(needle.text.to_lowercase()),
                    _ => None,
                };
                if same { tests.iter().map(equal).collect() } else { None }
            }
            Self::AllOf(tested, tests) => match tests.as_slice() {
                [] => None,
                [first, ..] => Self::SomeOf(*tested, vec![first.clone()]).required(field),
            },
            Self::Exists(tested, true) if field == core::EVENT_SOURCE && is_of_kms_only(*tested) => {
                Some(BTreeSet::from(["kms.amazonaws.com".to_owned()]))
            }
            Self::Marked(_, part) => part.required(field),
            _ => None,
        }
    }
}

/// Derived fields that only records of KMS have.
fn is_of_kms_only(field: FieldId) -> bool {
    [
        derived::OPERATION,
        derived::CLASS,
        derived::KEY_ARN,
        derived::KEY_ID,
        derived::KEY,
        derived::KEY_ROLE,
        derived::ALIAS,
        derived::DOMAIN,
        derived::TIER,
        derived::OWNER,
        derived::OWNER_ACCOUNT,
        derived::EXPECTED,
        derived::EXPECTED_REASON,
        derived::CROSS_ACCOUNT,
        derived::GRANTEE_EXTERNAL,
        derived::GRANTEE,
        derived::POLICY_PUBLIC,
        derived::POLICY_EXTERNAL,
        derived::POLICY_PRINCIPALS,
        derived::POLICY_LOCKS_OUT,
        derived::POLICY_READABLE,
        derived::POLICY_TRUSTED,
        derived::ENCRYPTS,
        derived::KEY_STATE_ERROR,
        derived::MATERIAL_HOURS,
        derived::ATTESTED,
        derived::ATTESTATION_REQUIRED,
        derived::DECOY,
        derived::RETIRED,
        derived::OWNER_TRUSTED,
    ]
    .contains(&field)
}

/// Exports write null for what a record does not have, so null is not there; an empty list is.
fn exists(fields: &Fields<'_>, field: FieldId) -> bool {
    let values = fields.values(field);
    let is_null = |value: &FieldValue<'_>| matches!(value, FieldValue::Null);
    fields.is_present(field) && (values.is_empty() || !values.iter().all(is_null))
}

fn some_value_passes(fields: &Fields<'_>, field: FieldId, test: &ValueTest) -> bool {
    let values = fields.values(field);
    if let ValueTest::Null = test
        && values.is_empty()
    {
        return true;
    }
    values.iter().any(|value| test.passes(value))
}

fn some_string(value: &Value, passes: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => passes(text),
        Value::Array(items) => items.iter().any(|item| some_string(item, passes)),
        Value::Object(members) => members.values().any(|member| some_string(member, passes)),
        Value::Number(number) => passes(&number.to_string()),
        Value::Bool(_) | Value::Null => false,
    }
}
