//! The `correlation:` block: counting over windows of event time.

use rsigma_parser::Timespan;

use super::Detector;
use super::diagnostic::{Code, Diagnostics};
use super::extension::{field_list, texts};
use super::locate::{Data, Node, Place};
use crate::event::field::{FieldId, ProjectionBuilder};
use crate::time::Span;

/// A correlation as written.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// What it counts, by id or name.
    pub rules: Vec<(String, Place)>,
    /// What it groups by.
    pub group_by: Vec<(String, FieldId)>,
    /// What makes it fire.
    pub detector: Detector,
    /// Whether the rules that it counts also open incidents of their own.
    pub generate: bool,
}

const KEYS: &[&str] = &["type", "rules", "group-by", "timespan", "condition", "generate", "aliases"];
const TYPES: &[&str] = &[
    "event_count",
    "value_count",
    "temporal",
    "temporal_ordered",
    "value_sum",
    "value_avg",
    "value_percentile",
    "value_median",
];

/// Reads the block; what is mistaken in it is noted.
pub fn read(
    block: &Node,
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Correlation {
    for (key, _) in block.members().iter().filter(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        diagnostics.unknown(Code::UnknownKey, key.place, "key", &key.text, KEYS.iter().copied());
    }
    if block.get("aliases").is_some() {
        diagnostics.error(
            Code::Unsupported,
            block.key_place("aliases"),
            "`aliases` are not supported by this version",
            None,
        );
    }
    let text = |key: &str| block.get(key).and_then(Node::scalar_text);
    let rules = block.get("rules").map(|list| texts(list, "the name or id of a rule", diagnostics));
    let rules = rules.unwrap_or_default();
    if rules.is_empty() {
        diagnostics.error(Code::MissingKey, block.place, "a correlation needs `rules`", None);
    }
    let group_by = block.get("group-by").map(|list| field_list(list, fields, used, diagnostics)).unwrap_or_default();
    let timespan = timespan(block, text("timespan"), diagnostics);
    let threshold = threshold(block, diagnostics);
    let counted = counted(block, fields, used, diagnostics);
    // With a mistake among them there are no rules in the end; this one lives on to be checked.
    let detector = match (counted, threshold, timespan) {
        (Some(Counted::Events), Some(threshold), Some(timespan)) => Detector::EventCount { threshold, timespan },
        (Some(Counted::Values(field)), Some(threshold), Some(timespan)) => {
            Detector::ValueCount { field, threshold, timespan }
        }
        _ => Detector::Every,
    };
    let generate = match block.get("generate").map(|node| (&node.data, node.place)) {
        None => false,
        Some((Data::Bool(generate), _)) => *generate,
        Some((_, place)) => {
            diagnostics.error(Code::BadValue, place, "`generate` is `true` or `false`", None);
            false
        }
    };
    Correlation { rules, group_by, detector, generate }
}

/// What a correlation counts.
enum Counted {
    Events,
    Values(FieldId),
}

fn counted(
    block: &Node,
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Counted> {
    let kind = block.get("type").and_then(Node::scalar_text).unwrap_or_default();
    let place = block.key_place("type");
    match kind.as_str() {
        "event_count" => Some(Counted::Events),
        "value_count" => {
            let field = block.get("condition").and_then(|condition| condition.get("field"));
            let Some((path, at)) = field.and_then(|field| Some((field.scalar_text()?, field.place))) else {
                let help = Some("say whose values to count: `condition: {field: kms.object, gte: 20}`".to_owned());
                let place = block.key_place("condition");
                diagnostics.error(Code::MissingKey, place, "a value_count needs a `field`", help);
                return None;
            };
            used.push((path.clone(), at));
            Some(Counted::Values(fields.field(&path)))
        }
        "" => {
            diagnostics.error(Code::MissingKey, place, "a correlation needs a `type`", None);
            None
        }
        known if TYPES.contains(&known) => {
            let message = format!("correlation type `{known}` is not supported by this version");
            diagnostics.error(Code::Unsupported, place, message, None);
            None
        }
        other => {
            diagnostics.unknown(Code::BadValue, place, "correlation type", other, TYPES.iter().copied());
            None
        }
    }
}

fn timespan(block: &Node, text: Option<String>, diagnostics: &mut Diagnostics<'_>) -> Option<Span> {
    let place = block.get("timespan").map_or(block.place, |node| node.place);
    let Some(text) = text else {
        diagnostics.error(Code::MissingKey, block.place, "a correlation needs a `timespan`", None);
        return None;
    };
    match Timespan::parse(&text) {
        Ok(timespan) if timespan.seconds > 0 => Some(Span::from_secs(timespan.seconds)),
        _ => {
            let help = Some("write it like 90s, 15m, 1h or 30d".to_owned());
            diagnostics.error(Code::BadSpan, place, format!("'{text}' is not a span of time"), help);
            None
        }
    }
}

/// The least count that fires. Only conditions that more records cannot undo are taken: an incident
/// must be decidable before its window has closed.
fn threshold(block: &Node, diagnostics: &mut Diagnostics<'_>) -> Option<u64> {
    let Some(condition) = block.get("condition") else {
        diagnostics.error(Code::MissingKey, block.place, "a correlation needs a `condition` like {gte: 10}", None);
        return None;
    };
    let mut least = None;
    for (key, value) in condition.members() {
        let number = match value.data {
            Data::Integer(number) => u64::try_from(number).ok(),
            _ => None,
        };
        match (key.text.as_str(), number) {
            ("field", _) => {}
            // Of two, the stricter decides.
            ("gte", Some(number)) => least = least.max(Some(number)),
            ("gt", Some(number)) => least = least.max(Some(number.saturating_add(1))),
            ("gte" | "gt", None) => diagnostics.error(Code::BadValue, value.place, "not a whole number", None),
            ("lt" | "lte" | "eq" | "neq", _) => {
                let help = Some("use `gte` or `gt`".to_owned());
                let message =
                    format!("`{}` could be undone by a later record, so no page could be sent on it", key.text);
                diagnostics.error(Code::Unsupported, key.place, message, help);
                return None;
            }
            (other, _) => {
                diagnostics.unknown(Code::UnknownKey, key.place, "key", other, ["gte", "gt", "field"].into_iter())
            }
        }
    }
    if least.is_none_or(|least| least == 0) {
        diagnostics.error(Code::BadValue, condition.place, "a `condition` needs `gte` or `gt` of one or more", None);
        return None;
    }
    least
}
