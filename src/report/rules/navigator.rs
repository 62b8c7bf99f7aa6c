//! A layer for the ATT&CK Navigator, format 4.5: which techniques the rules are about.
//!
//! No tactic is named, so that a technique shows under each that it has in the reader's version of
//! ATT&CK.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Entry;

/// The layer as JSON.
#[must_use]
pub fn render(entries: &[Entry<'_>]) -> String {
    let mut titles: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        for technique in entry.techniques() {
            if let Some((parent, _)) = technique.split_once('.') {
                titles.entry(parent.to_owned()).or_default();
            }
            titles.entry(technique).or_default().push(&entry.rule.meta.title);
        }
    }
    let most = titles.values().map(Vec::len).max().unwrap_or(0).max(1);
    let has_sub =
        |id: &str| titles.keys().any(|other| other.strip_prefix(id).is_some_and(|rest| rest.starts_with('.')));
    let technique = |(id, rules): (&String, &Vec<&str>)| {
        let mut one = json!({"techniqueID": id, "enabled": true, "showSubtechniques": has_sub(id)});
        // Without a score it is there only to open its sub-techniques.
        if let (Some(members), false) = (one.as_object_mut(), rules.is_empty()) {
            members.insert("score".to_owned(), rules.len().into());
            members.insert("comment".to_owned(), rules.join("\n").into());
        }
        one
    };
    let techniques: Vec<Value> = titles.iter().map(technique).collect();
    let layer = json!({
        "name": "kmswatch rules",
        "versions": {"attack": "18", "navigator": "5.1.0", "layer": "4.5"},
        "domain": "enterprise-attack",
        "description": format!("{} rules; the score is the number of rules about a technique", entries.len()),
        "sorting": 3,
        "hideDisabled": false,
        "techniques": techniques,
        "gradient": {"colors": ["#ffe5b4", "#d9480f"], "minValue": 0, "maxValue": most},
        "showTacticRowBackground": false,
        "selectTechniquesAcrossTactics": true,
        "selectSubtechniquesWithParent": false,
    });
    format!("{layer:#}\n")
}
