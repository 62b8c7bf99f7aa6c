//! Decodes one CloudTrail record by projection: the wanted fields, and the bytes kept as they came.
//!
//! Invariant: what is not in the [`Projection`] is skipped over, yet the whole record is checked to
//! be one JSON object. Malformed text, a missing or absurd `eventTime` and a missing `eventSource`
//! or `eventName` are errors that name the place, never a record with holes.
//!
//! Must not know: what the fields mean.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::EventId;
use super::field::{FieldValue, Fields, NodeId, Projection, core};
use crate::time::{EventTime, TimeError};

/// A decoded record: its identity, its time, its wanted fields and its bytes.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The record as it came, one JSON object.
    pub raw: &'a str,
    /// `eventID`, or a hash of the bytes of a record without one.
    pub id: EventId,
    /// `eventTime`.
    pub time: EventTime,
    /// The wanted fields.
    pub fields: Fields<'a>,
}

impl Record<'_> {
    /// `eventSource`, never empty.
    #[must_use]
    pub fn source(&self) -> &str {
        self.fields.text(core::EVENT_SOURCE).unwrap_or_default()
    }

    /// `eventName`, never empty.
    #[must_use]
    pub fn name(&self) -> &str {
        self.fields.text(core::EVENT_NAME).unwrap_or_default()
    }
}

/// Why a text is no CloudTrail record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not one JSON object.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// A field without which a record says nothing.
    #[error("no `{0}`: not a CloudTrail record")]
    Missing(&'static str),
    /// `eventTime` is no instant.
    #[error("`eventTime`: {0}")]
    Time(#[from] TimeError),
}

/// Decodes one record.
///
/// # Errors
/// See [`RecordError`]; a JSON error carries line and column within `raw`.
pub fn decode<'a>(raw: &'a str, projection: &Projection) -> Result<Record<'a>, RecordError> {
    let mut fields = Fields::new(projection);
    let mut json = serde_json::Deserializer::from_str(raw);
    let seed = Extract { projection, node: Projection::ROOT, out: &mut fields };
    json.deserialize_map(seed).and_then(|()| json.end()).map_err(|error| RecordError::Json(error.to_string()))?;

    let time = fields.text(core::EVENT_TIME).ok_or(RecordError::Missing("eventTime"))?;
    let time = EventTime::parse(time)?;
    for (id, name) in [(core::EVENT_SOURCE, "eventSource"), (core::EVENT_NAME, "eventName")] {
        fields.text(id).ok_or(RecordError::Missing(name))?;
    }
    let id = fields.text(core::EVENT_ID).map_or_else(|| EventId::of_bytes(raw.as_bytes()), EventId::new);
    Ok(Record { raw, id, time, fields })
}

/// Walks one JSON value at a place of the projection and keeps what is wanted of it.
struct Extract<'p, 'f, 'a> {
    projection: &'p Projection,
    node: NodeId,
    out: &'f mut Fields<'a>,
}

impl<'a> Extract<'_, '_, 'a> {
    fn keep(self, value: FieldValue<'a>) {
        if let Some(field) = self.projection.field(self.node) {
            self.out.push(field, value);
        }
    }

    fn keep_text(self, text: Cow<'a, str>) {
        // A policy is JSON inside a JSON string; a path that goes on below a string reads it.
        if self.projection.has_children(self.node)
            && text.trim_start().starts_with(['{', '['])
            && let Ok(inside) = serde_json::from_str::<Value>(&text)
        {
            extract_below(self.projection, self.node, &inside, self.out);
        }
        self.keep(FieldValue::Text(text));
    }
}

/// Keeps what is wanted below `node` of a value that was read whole, but not the value itself.
fn extract_below(projection: &Projection, node: NodeId, value: &Value, out: &mut Fields<'_>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if let Some(child) = projection.descend(node, key) {
                    extract_value(projection, child, member, out);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                extract_below(projection, node, item, out);
            }
        }
        _ => {}
    }
}

fn extract_value(projection: &Projection, node: NodeId, value: &Value, out: &mut Fields<'_>) {
    extract_below(projection, node, value, out);
    let Some(field) = projection.field(node) else { return };
    match value {
        Value::Array(items) => {
            out.mark_present(field);
            for item in items {
                out.push(field, FieldValue::from_json(item.clone()));
            }
        }
        other => out.push(field, FieldValue::from_json(other.clone())),
    }
}

impl<'de> DeserializeSeed<'de> for Extract<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Extract<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudTrail record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.projection.field(self.node).is_some() {
            // The object itself is wanted, so it is read whole and searched from there.
            let mut members = serde_json::Map::new();
            while let Some((key, value)) = map.next_entry::<String, Value>()? {
                members.insert(key, value);
            }
            let value = Value::Object(members);
            extract_below(self.projection, self.node, &value, self.out);
            self.keep(FieldValue::Json(value));
            return Ok(());
        }
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match self.projection.descend(self.node, &key) {
                Some(node) => map.next_value_seed(Extract { projection: self.projection, node, out: self.out })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if let Some(field) = self.projection.field(self.node) {
            self.out.mark_present(field);
        }
        while seq.next_element_seed(Extract { projection: self.projection, node: self.node, out: self.out })?.is_some()
        {
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.keep_text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.keep_text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.keep(FieldValue::Bool(flag));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.keep(FieldValue::Number(number.into()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.keep(FieldValue::Number(number.into()));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.keep(serde_json::Number::from_f64(number).map_or(FieldValue::Null, FieldValue::Number));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep(FieldValue::Null);
        Ok(())
    }
}

/// Reads an object's key, borrowed unless it holds escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object key")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::ProjectionBuilder;
    use super::*;
    use proptest::prelude::*;

    fn texts(fields: &Fields<'_>, projection: &Projection, path: &str) -> Vec<String> {
        let id = projection.id(path).unwrap();
        fields.values(id).iter().map(|value| value.to_text().unwrap_or("null".into()).into_owned()).collect()
    }

    fn projection(paths: &[&str]) -> Projection {
        let mut builder = ProjectionBuilder::new();
        for path in paths {
            builder.field(path);
        }
        builder.build()
    }

    const HEAD: &str = r#""eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt""#;

    #[test]
    fn reads_wanted_fields_and_skips_the_rest() {
        let projection = projection(&[
            "requestParameters.encryptionContext.aws:s3:arn",
            "requestParameters.policy.Statement.Principal.AWS",
            "requestParameters.tags.a.b",
            "readOnly",
        ]);
        let raw = format!(
            r#"{{{HEAD},"eventID":"e-1","kms":{{"expected":true}},"readOnly":true,"unwanted":{{"deep":[[[{{}}]]]}},
            "resources":[{{"ARN":"arn:1","accountId":"111122223333"}},{{"ARN":"arn:2"}}],
            "requestParameters":{{"encryptionContext":{{"aws:s3:arn":"arn:aws:s3:::b/k"}},"tags":{{"a.b":"dotted"}},
              "policy":"{{\"Statement\":[{{\"Principal\":{{\"AWS\":[\"*\",\"arn:x\"]}}}}]}}"}}}}"#
        );
        let record = decode(&raw, &projection).unwrap();
        assert_eq!(record.id.as_str(), "e-1");
        assert_eq!(texts(&record.fields, &projection, "resources.ARN"), ["arn:1", "arn:2"]);
        assert_eq!(
            texts(&record.fields, &projection, "requestParameters.encryptionContext.aws:s3:arn"),
            ["arn:aws:s3:::b/k"]
        );
        assert_eq!(
            texts(&record.fields, &projection, "requestParameters.policy.Statement.Principal.AWS"),
            ["*", "arn:x"]
        );
        assert_eq!(texts(&record.fields, &projection, "requestParameters.tags.a.b"), ["dotted"]);
        assert_eq!(texts(&record.fields, &projection, "readOnly"), ["true"]);
        assert!(matches!(record.fields.values(core::ENCRYPTION_CONTEXT), [FieldValue::Json(Value::Object(_))]));
        assert_eq!(
            texts(&record.fields, &projection, "kms.expected"),
            Vec::<String>::new(),
            "a record cannot vouch for itself"
        );
    }

    #[test]
    fn null_and_empty_are_told_from_absent() {
        let raw = format!(r#"{{{HEAD},"requestParameters":null,"errorCode":null,"resources":[]}}"#);
        let record = decode(&raw, &Projection::fixed()).unwrap();
        assert!(record.fields.is_present(core::ERROR_CODE));
        assert!(!record.fields.is_present(core::ERROR_MESSAGE));
        assert!(!record.fields.is_present(core::REQUEST_KEY_ID));
        assert!(record.id.as_str().starts_with("blake3:"), "{}", record.id);
    }

    #[test]
    fn what_is_no_record_says_why() {
        let projection = Projection::fixed();
        let reason = |raw: &str| decode(raw, &projection).unwrap_err().to_string();
        assert!(reason(r#"{"eventTime": }"#).contains("line 1 column 15"), "{}", reason(r#"{"eventTime": }"#));
        assert!(reason("[1]").contains("not valid JSON"));
        assert!(reason("{}").contains("no `eventTime`"));
        assert!(reason(r#"{"eventTime":"..."}"#).contains("'...' is not a time"));
        assert!(reason(r#"{"eventTime":"2026-01-05T10:00:00Z"}"#).contains("no `eventSource`"));
        assert!(reason(&format!("{{{HEAD}}} x")).contains("trailing"));
        let deep = format!(r#"{{{HEAD},"requestParameters":{{"keyId":{}1{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(reason(&deep).contains("recursion limit"));
    }

    /// The slow oracle: parse whole, then look the path up naively.
    fn lookup(value: &Value, path: &[&str], out: &mut Vec<String>) {
        match (value, path) {
            (Value::Array(items), _) => items.iter().for_each(|item| lookup(item, path, out)),
            (Value::Object(members), [first, rest @ ..]) => {
                if let Some(member) = members.get(*first) {
                    lookup(member, rest, out);
                }
            }
            (leaf, []) => out.push(match leaf {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }),
            _ => {}
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z\\\\\"\u{e9}]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn projection_agrees_with_a_whole_parse(value in json()) {
            let projection = projection(&["requestParameters.a", "requestParameters.b.c", "requestParameters.a.a"]);
            let raw = format!(r#"{{{HEAD},"requestParameters":{value}}}"#);
            let record = decode(&raw, &projection).unwrap();
            for path in [["b", "c"].as_slice(), &["a", "a"]] {
                let mut expected = Vec::new();
                lookup(&value, path, &mut expected);
                let name = format!("requestParameters.{}", path.join("."));
                prop_assert_eq!(texts(&record.fields, &projection, &name), expected);
            }
        }

        #[test]
        fn no_text_panics(raw in "\\PC{0,200}") {
            let _ = decode(&raw, &Projection::fixed());
        }
    }
}
