//! Explanations against what live records come to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::event::record::decode;
use crate::keys::inventory::Inventory;
use crate::pipeline::plan::analyze::Analysis;
use crate::rule::{RuleSet, pack};

/// For every record of every example: the rules and groups that it is said to count towards are
/// those that it counts towards.
#[test]
fn what_is_said_is_what_happens() {
    let rules = Arc::new(RuleSet::compile(&pack::shipped()).rules.unwrap());
    let mut counted = 0;
    for example in rules.examples.iter().flat_map(|examples| examples.fires.iter().chain(&examples.silent)) {
        let inventory = example.keys.as_ref().map(|keys| Inventory::parse("keys", keys).unwrap()).unwrap_or_default();
        let analyzer = &Analyzer { rules: rules.clone(), inventory: Arc::new(inventory) };
        for raw in example.records.iter().take(2) {
            let record = decode(raw, &analyzer.rules.projection).unwrap();
            let Analysis::Matches(matches) = analyzer.analyze(record.clone()) else { continue };
            let truth: BTreeSet<(String, Vec<String>)> = matches
                .iter()
                .map(|matched| {
                    let rule = &analyzer.rules.rules[matched.rule.0 as usize];
                    let group = rule.group_by.iter().zip(&matched.group.0);
                    // As maps have them: by name.
                    let group: std::collections::BTreeMap<_, _> =
                        group.map(|(name, value)| (name, value.to_string())).collect();
                    (rule.meta.id.clone(), group.into_values().collect())
                })
                .collect();
            let options = Options { redaction: Redaction::None, ..Options::default() };
            let explained = Explainer { analyzer, picture: None, options }.explain(record);
            let said: BTreeSet<_> = explained
                .uses
                .iter()
                .flat_map(|used| &used.rules.matched)
                .flat_map(|matched| &matched.towards)
                .filter(|towards| towards.counted)
                .map(|towards| (towards.rule.id.clone(), towards.group.values().cloned().collect::<Vec<_>>()))
                .collect();
            assert_eq!(said, truth, "{raw}");
            counted += said.len();
        }
    }
    assert!(counted > 100, "{counted}");
}
