//! All that a rule says of itself, for other tools.

use serde_json::json;

use super::Entry;

/// One JSON document: a list of rules.
#[must_use]
pub fn render(entries: &[Entry<'_>]) -> String {
    let one = |entry: &Entry<'_>| {
        let (rule, meta) = (entry.rule, &entry.rule.meta);
        json!({
            "id": meta.id, "title": meta.title, "level": rule.level, "family": meta.family, "status": meta.status,
            "kind": rule.detector.kind(), "path": meta.path, "hash": meta.hash, "description": meta.description,
            "falsepositives": meta.falsepositives, "tags": meta.tags, "controls": meta.controls,
            "tactics": entry.tactics().collect::<Vec<_>>(), "techniques": entry.techniques().collect::<Vec<_>>(),
            "group_by": rule.group_by, "summary": rule.summary.to_string(),
            "respond": rule.respond.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "watches": {"any_call": entry.watched.any_call, "calls": entry.watched.calls},
        })
    };
    format!("{:#}\n", serde_json::Value::from_iter(entries.iter().map(one)))
}
