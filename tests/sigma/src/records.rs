//! Records to compare on: those of captures, and those made of a rule's own tests.
//!
//! Captures meet few of the rules, and where nothing matches nothing is compared. So each rule gets
//! records that meet its equalities, and changed copies of them: a field gone, null, in another
//! case, in a list, as a number.

use std::path::Path;

use kmswatch::event::envelope::{EnvelopeLimits, Found, open};
use kmswatch::source::capture::{files_under, read_pieces};
use rsigma_parser::{Detection, DetectionItem, Modifier, SigmaRule, SigmaValue};
use serde_json::{Map, Value, json};

/// The records of files and folders; what cannot be read is counted.
pub fn of_captures(paths: &[String]) -> Result<(Vec<Value>, usize), String> {
    let (mut records, mut unreadable) = (Vec::new(), 0);
    for path in paths {
        for file in files_under(Path::new(path)).map_err(|error| error.to_string())? {
            let opened = std::fs::File::open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let mut visit = |piece: &[u8]| {
                let limits = EnvelopeLimits { max_bytes: 1 << 30, ..EnvelopeLimits::default() };
                let read = open(piece, limits, &mut |found| match found {
                    Found::Record(raw) => match serde_json::from_str(raw) {
                        Ok(record) => records.push(record),
                        Err(_) => unreadable += 1,
                    },
                    Found::Bad { .. } => unreadable += 1,
                    Found::Foreign(_) => {}
                });
                unreadable += usize::from(read.is_err());
            };
            if read_pieces(&file, opened, 1 << 30, &mut visit).is_err() {
                unreadable += 1;
            }
        }
    }
    Ok((records, unreadable))
}

/// Records that meet what a rule asks for, and changed copies.
pub fn of_rule(rule: &SigmaRule) -> Vec<Value> {
    let mut wholes = Vec::new();
    let named: Vec<_> = rule.detection.named.iter().collect();
    // All selections together, all but those that look like exclusions, and each alone.
    let is_filter = |name: &str| name.starts_with("filter") || name.starts_with("not") || name.starts_with("exclu");
    wholes.push(meet(named.iter().map(|(_, detection)| *detection)));
    wholes.push(meet(named.iter().filter(|(name, _)| !is_filter(name)).map(|(_, detection)| *detection)));
    for (left, _) in &named {
        wholes.push(meet(named.iter().filter(|(name, _)| name != left).map(|(_, detection)| *detection)));
    }
    let mut records = Vec::new();
    for whole in wholes {
        for path in paths_of(&whole) {
            records.extend(changed(&whole, &path));
        }
        records.push(whole);
    }
    records
}

fn meet<'d>(detections: impl Iterator<Item = &'d Detection>) -> Value {
    let mut record = Map::new();
    record.insert("eventTime".to_owned(), json!("2026-01-05T22:07:00Z"));
    record.insert("eventSource".to_owned(), json!("x.amazonaws.com"));
    record.insert("eventName".to_owned(), json!("X"));
    for detection in detections {
        fill(detection, &mut record);
    }
    Value::Object(record)
}

fn fill(detection: &Detection, record: &mut Map<String, Value>) {
    match detection {
        Detection::AllOf(items) => items.iter().for_each(|item| fill_item(item, record)),
        Detection::AnyOf(list) | Detection::And(list) => {
            if let Some(first) = list.first() {
                fill(first, record);
            }
        }
        Detection::Keywords(values) => {
            if let Some(value) = values.first() {
                record.insert("requestID".to_owned(), json!(format!("before {} after", text_of(value))));
            }
        }
        _ => {}
    }
}

fn fill_item(item: &DetectionItem, record: &mut Map<String, Value>) {
    let Some(path) = &item.field.name else {
        if let Some(value) = item.values.first() {
            record.insert("requestID".to_owned(), json!(format!("before {} after", text_of(value))));
        }
        return;
    };
    let has = |modifier: Modifier| item.field.modifiers.contains(&modifier);
    let Some(first) = item.values.first() else { return };
    let all: Vec<String> = item.values.iter().map(text_of).collect();
    let value = if has(Modifier::Exists) {
        json!("something")
    } else if has(Modifier::All) {
        json!(format!("-{}-", all.join("-")))
    } else if has(Modifier::Contains) {
        json!(format!("<{}>", text_of(first)))
    } else if has(Modifier::StartsWith) {
        json!(format!("{}>", text_of(first)))
    } else if has(Modifier::EndsWith) {
        json!(format!("<{}", text_of(first)))
    } else if has(Modifier::Cidr) {
        json!(text_of(first).split('/').next().unwrap_or_default())
    } else {
        match first {
            SigmaValue::Null => Value::Null,
            SigmaValue::Bool(flag) => json!(flag),
            SigmaValue::Integer(number) => json!(number),
            SigmaValue::Float(number) => json!(number),
            SigmaValue::String(_) => json!(text_of(first)),
        }
    };
    set(record, path, value);
}

/// The text of a value, with something in the place of each wildcard.
fn text_of(value: &SigmaValue) -> String {
    match value {
        SigmaValue::String(text) => {
            text.original.replace("\\*", "\u{1}").replace('*', "any").replace('?', "x").replace('\u{1}', "*")
        }
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(flag) => flag.to_string(),
        SigmaValue::Null => String::new(),
    }
}

fn set(record: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(record.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = record.entry(first).or_insert_with(|| json!({}));
            if !inner.is_object() {
                *inner = json!({});
            }
            if let Some(inner) = inner.as_object_mut() {
                set(inner, rest, value);
            }
        }
    }
}

fn paths_of(record: &Value) -> Vec<Vec<String>> {
    let Some(members) = record.as_object() else { return vec![Vec::new()] };
    let below = |(name, value): (&String, &Value)| {
        paths_of(value).into_iter().map(move |rest| [vec![name.clone()], rest].concat()).collect::<Vec<_>>()
    };
    members.iter().flat_map(below).collect()
}

/// Copies of a record with one field changed.
fn changed(record: &Value, path: &[String]) -> Vec<Value> {
    let pointer: String =
        path.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect();
    // Without these it is no CloudTrail record.
    if ["/eventTime", "/eventSource", "/eventName"].contains(&pointer.as_str()) {
        return Vec::new();
    }
    let Some(old) = record.pointer(&pointer).cloned() else { return Vec::new() };
    let with = |value: Value| {
        let mut copy = record.clone();
        if let Some(place) = copy.pointer_mut(&pointer) {
            *place = value;
        }
        copy
    };
    let text = old.as_str().map(str::to_owned).unwrap_or_else(|| old.to_string());
    let mut copies = vec![
        with(Value::Null),
        with(json!("")),
        with(json!([old, "another"])),
        with(json!([])),
        with(json!(text.to_uppercase())),
        with(json!(format!("{text} "))),
        with(json!({"inside": old})),
        with(json!(7)),
        with(json!(text == "true")),
    ];
    let mut gone = record.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", ""));
    if let Some(parent) = gone.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.remove(&name.replace("~1", "/").replace("~0", "~"));
        copies.push(gone);
    }
    copies
}
