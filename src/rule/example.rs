//! Examples in a rule's own file: records that must open an incident, and records that must not.
//!
//! An example is a partial record, a list of them, `{repeat: {count, every, vary, record}}`, or
//! `{keys: INVENTORY, records: ...}`. What a record leaves out is filled in.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::diagnostic::{Code, Diagnostics, nearest};
use super::locate::{Node, Place};
use crate::keys::inventory::Inventory;
use crate::time::{EventTime, Span};

/// One example.
#[derive(Clone, Debug)]
pub struct Example {
    /// Where it begins.
    pub place: Place,
    /// An inventory of its own, as JSON (which is YAML).
    pub keys: Option<String>,
    /// Whole records, one JSON text each.
    pub records: Vec<String>,
}

impl Example {
    /// Time of the last record: what the example knows of the world ends there.
    #[must_use]
    pub fn end(&self) -> EventTime {
        let time = |record: &String| {
            let record: Value = serde_json::from_str(record).ok()?;
            EventTime::parse(record.get("eventTime")?.as_str()?).ok()
        };
        self.records.iter().filter_map(time).max().unwrap_or(EventTime::MIN)
    }
}

/// A rule's examples.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Must open an incident.
    pub fires: Vec<Example>,
    /// Must not.
    pub silent: Vec<Example>,
}

/// More records than the examples of any rule need.
const MAX_RECORDS: usize = 10_000;

impl Examples {
    /// Reads the `examples:` block.
    pub fn read(node: &Node, diagnostics: &mut Diagnostics<'_>) -> Self {
        let mut examples = Self::default();
        let mut room = MAX_RECORDS;
        if node.members().is_empty() {
            let message = "`examples` is a map of `fires` and `silent`";
            diagnostics.error(Code::BadValue, node.place, message, None);
        }
        for (key, list) in node.members() {
            let into = match key.text.as_str() {
                "fires" => &mut examples.fires,
                "silent" => &mut examples.silent,
                other => {
                    diagnostics.unknown(Code::UnknownKey, key.place, "key", other, ["fires", "silent"].into_iter());
                    continue;
                }
            };
            for item in list.items() {
                match example(item, room) {
                    Ok(example) => {
                        room = room.saturating_sub(example.records.len());
                        into.push(example);
                    }
                    Err(reason) => diagnostics.error(Code::BadValue, item.place, reason, None),
                }
            }
        }
        examples
    }
}

fn example(node: &Node, room: usize) -> Result<Example, String> {
    let records = if node.get("keys").is_some() || node.get("records").is_some() {
        only(node.members().iter().map(|(key, _)| key.text.as_str()), &["keys", "records"])?;
        node.get("records").ok_or("an example with `keys` needs `records`")?
    } else {
        node
    };
    let keys = node.get("keys").map(|keys| keys.to_json().to_string());
    if let Some(keys) = &keys {
        Inventory::parse("keys", keys).map_err(|error| format!("the example's `keys` are no inventory: {error}"))?;
    }
    let mut expanded = Vec::new();
    for item in records.items() {
        expand(&item.to_json(), room, &mut expanded)?;
    }
    let records = expanded.into_iter().enumerate().map(|(index, record)| complete(record, index).to_string()).collect();
    Ok(Example { place: node.place, keys, records })
}

/// Whether all keys are among those that mean something here.
fn only<'k>(mut keys: impl Iterator<Item = &'k str>, known: &[&str]) -> Result<(), String> {
    let Some(odd) = keys.find(|key| !known.contains(key)) else { return Ok(()) };
    let near = nearest(odd, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    Err(format!("`{odd}` means nothing here{}", near.unwrap_or_default()))
}

fn expand(value: &Value, room: usize, out: &mut Vec<Map<String, Value>>) -> Result<(), String> {
    let members = value.as_object().ok_or("an example is a partial record, or a list of them")?;
    let room = room.saturating_sub(out.len());
    let too_many = || format!("the examples of a rule have more than {MAX_RECORDS} records");
    let Some(repeat) = members.get("repeat") else {
        if room == 0 {
            return Err(too_many());
        }
        out.push(members.clone());
        return Ok(());
    };
    only(members.keys().map(String::as_str), &["repeat"])?;
    let repeat = repeat.as_object().ok_or("`repeat` is a map")?;
    only(repeat.keys().map(String::as_str), &["count", "every", "vary", "record"])?;
    let count = repeat.get("count").and_then(Value::as_u64).ok_or("`repeat` needs a `count`")?;
    let count = usize::try_from(count).ok().filter(|count| *count <= room).ok_or_else(too_many)?;
    let record = repeat.get("record").and_then(Value::as_object).ok_or("`repeat` needs a `record`")?;
    let every = repeat.get("every").map_or(Some(Span::from_secs(1)), |every| every.as_str().and_then(Span::parse));
    let every = every.ok_or("`every` is not a span of time like 1s")?;
    let vary: BTreeMap<String, Value> = repeat
        .get("vary")
        .and_then(Value::as_object)
        .map(|vary| vary.clone().into_iter().collect())
        .unwrap_or_default();
    let start = record.get("eventTime").and_then(Value::as_str).unwrap_or(FIRST_TIME);
    let start = EventTime::parse(start).map_err(|error| error.to_string())?;
    for index in 0..count {
        let mut one = record.clone();
        let after = Span::from_millis(every.as_millis().saturating_mul(index as u64));
        one.insert("eventTime".to_owned(), (start + after).to_string().into());
        for (path, template) in &vary {
            let template = template.as_str().ok_or("`vary` gives each path a text with `{i}` in it")?;
            let text = template.replace("{i}", &index.to_string());
            set(&mut one, path, text.into())?;
        }
        out.push(one);
    }
    Ok(())
}

/// Sets a dotted path; a number is an index into a list.
fn set(record: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), String> {
    let mut segments = path.split('.').peekable();
    let first = segments.next().unwrap_or_default();
    let mut at = record.entry(first).or_insert_with(|| json!({}));
    for segment in segments {
        at = match at {
            Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            Value::Object(members) => Some(members.entry(segment).or_insert_with(|| json!({}))),
            _ => None,
        }
        .ok_or_else(|| format!("`vary` cannot follow `{path}` into the record"))?;
    }
    *at = value;
    Ok(())
}

const FIRST_TIME: &str = "2026-01-05T10:00:00Z";

/// Fills in what every record has.
fn complete(mut record: Map<String, Value>, index: usize) -> Value {
    let start = EventTime::parse(FIRST_TIME).unwrap_or(EventTime::MIN);
    let defaults = [
        ("eventVersion", json!("1.11")),
        ("eventID", json!(format!("00000000-0000-4000-8000-{index:012}"))),
        ("eventTime", json!((start + Span::from_secs(index as u64)).to_string())),
        ("eventType", json!("AwsApiCall")),
        ("awsRegion", json!("eu-west-1")),
        ("recipientAccountId", json!("111122223333")),
    ];
    for (name, value) in defaults {
        record.entry(name).or_insert(value);
    }
    Value::Object(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::locate::documents;

    fn read(yaml: &str) -> (Examples, Vec<String>) {
        let node = documents(yaml).unwrap().remove(0);
        let mut diagnostics = Diagnostics::new("r.yml");
        let examples = Examples::read(&node, &mut diagnostics);
        (examples, diagnostics.found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_form() {
        let (examples, mistakes) = read(
            "fires:
  - {eventName: Decrypt}
  - [{eventName: A}, {eventName: B}]
  - repeat: {count: 3, every: 10s, vary: {requestParameters.object: 'o-{i}', resources.0.ARN: 'k-{i}'}, record: {eventName: Decrypt, resources: [{ARN: x}]}}
  - keys: {domains: []}
    records: [{eventName: Decrypt}]
",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(examples.fires.iter().map(|e| e.records.len()).collect::<Vec<_>>(), [1, 2, 3, 1]);
        let third: Value = serde_json::from_str(&examples.fires[2].records[2]).unwrap();
        assert_eq!(
            (third["eventTime"].as_str(), third["requestParameters"]["object"].as_str()),
            (Some("2026-01-05T10:00:20Z"), Some("o-2"))
        );
        assert_eq!(third["resources"][0]["ARN"], "k-2");
        assert!(examples.fires[3].keys.is_some());
        let id = |at: usize| serde_json::from_str::<Value>(&examples.fires[1].records[at]).unwrap()["eventID"].clone();
        assert_ne!(id(0), id(1));
    }

    #[test]
    fn mistakes_have_their_place() {
        let (_, mistakes) = read("fires:\n  - {repeat: {record: {}}}\n  - 7\nsilnet: []\n");
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes[0].starts_with("r.yml:2:5: ") && mistakes[2].contains("did you mean `silent`?"));
    }

    #[test]
    fn what_means_nothing_is_told_of() {
        for (yaml, expected) in [
            (
                "fires: [{repeat: {count: 2, evry: 1s, record: {a: b}}}]",
                "`evry` means nothing here; did you mean `every`?",
            ),
            ("fires: [{repeat: {count: 2, every: 5, record: {a: b}}}]", "`every` is not a span"),
            ("fires: [{repeat: {count: 2, vary: {a: 5}, record: {a: b}}}]", "`vary` gives each path a text"),
            ("fires: [{repeat: {count: 2, record: {a: b}}, eventName: X}]", "`eventName` means nothing here"),
            ("fires: [{repeat: {count: 10001, record: {a: b}}}]", "more than 10000 records"),
            (
                "fires: [{repeat: {count: 9000, record: {a: b}}}, {repeat: {count: 9000, record: {a: b}}}]",
                "more than 10000",
            ),
            ("fires: [{keys: {domain: []}, records: [{a: b}]}]", "`keys` are no inventory"),
            ("fires: [{keys: {}, record: [{a: b}]}]", "`record` means nothing here; did you mean `records`?"),
            ("fires: [x]", "a partial record"),
            ("[fires]", "a map of `fires` and `silent`"),
        ] {
            let mistakes = read(yaml).1.join("\n");
            assert!(mistakes.contains(expected), "{yaml}: {mistakes}");
        }
    }
}
