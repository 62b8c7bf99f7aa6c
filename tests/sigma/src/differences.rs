//! Where the two are known to differ, and who follows the specification.
//!
//! A difference is explained only when it goes away once the record is written the way in which
//! both read it the same.

use rsigma_parser::Detection;
use serde_json::Value;

/// A way in which the two read records differently.
pub struct Difference {
    /// What it is, and why kmswatch does as it does.
    pub reason: &'static str,
    /// The record as both read it the same.
    pub rewrite: fn(&Value) -> Value,
}

/// All that are known.
pub const KNOWN: &[Difference] = &[
    Difference {
        reason: "a list without a value (`[]`, or one with null in it) meets `null` in kmswatch: Sigma's null is a \
                 field without a value, and CloudTrail writes empty lists for absent ones",
        rewrite: |record| {
            walk(record, &|value| match value {
                Value::Array(items) if items.is_empty() || items.contains(&Value::Null) => Value::Null,
                other => other.clone(),
            })
        },
    },
    Difference {
        reason: "an object is compared as its JSON text in kmswatch: CloudTrail writes policies as text in some calls \
                 and as objects in others, and a rule must meet both; Sigma does not say",
        rewrite: |record| {
            let text = |value: &Value| match value {
                Value::Object(members) if members.contains_key("inside") => Value::String(value.to_string()),
                other => other.clone(),
            };
            walk(record, &text)
        },
    },
    Difference {
        reason: "the spelling of a number or boolean is compared in kmswatch, so that `true` meets both true and \
                 \"true\": CloudTrail writes either; Sigma does not say",
        rewrite: |record| {
            walk(record, &|value| match value {
                Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
                other => other.clone(),
            })
        },
    },
    Difference {
        reason: "text that spells a number or boolean meets one in kmswatch, for the same reason",
        rewrite: |record| {
            walk(record, &|value| match value {
                Value::String(text) => serde_json::from_str(text)
                    .ok()
                    .filter(|read: &Value| read.is_number() || read.is_boolean())
                    .unwrap_or_else(|| value.clone()),
                other => other.clone(),
            })
        },
    },
    Difference {
        reason: "`requestParameters` as a whole is its JSON text in kmswatch, which is what rules that look for a word in \
                 it mean",
        rewrite: |record| {
            let mut written = record.clone();
            if let Some(parameters) = written.pointer_mut("/requestParameters") {
                *parameters = Value::String(parameters.to_string());
            }
            written
        },
    },
];

/// Keywords written as a map, `keywords: {'|all': [...]}` as in the specification, are never met by
/// the other engine.
pub const KEYWORDS_IN_A_MAP: &str = "keywords under `'|all'`, as the specification writes them: the other engine never \
                                     matches them";

/// Whether a rule has keywords written as a map.
pub fn has_keywords_in_a_map(detection: &Detection) -> bool {
    match detection {
        Detection::AllOf(items) => items.iter().any(|item| item.field.name.is_none()),
        Detection::AnyOf(list) | Detection::And(list) => list.iter().any(has_keywords_in_a_map),
        _ => false,
    }
}

fn walk(value: &Value, rewrite: &dyn Fn(&Value) -> Value) -> Value {
    match rewrite(value) {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), walk(value, rewrite))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| walk(item, rewrite)).collect()),
        leaf => leaf,
    }
}
