//! What a rule owes its reader: how grave it is, what it means, what is harmless, what to run.

use super::Lint;
use crate::rule::diagnostic::Code;
use crate::rule::document::Kind;
use crate::rule::locate::Node;
use crate::rule::{Level, TemplatePart};

pub(super) fn look(lint: &mut Lint<'_, '_>) {
    let document = lint.document;
    if !document.is_ours || matches!(document.kind, Kind::Filter { .. }) {
        return;
    }
    if lint.has_families && document.meta.family.is_empty() {
        let help = "move it to a folder like `destruction/` or `grants/`: the first folder is its family";
        lint.warning(Code::NoFamily, document.place, "the rule stands in no family folder".to_owned(), help);
    }
    if lint.is_counted {
        return;
    }
    let block = document.node.get("kmswatch");
    let is_there = |node: Option<&Node>| {
        node.is_some_and(|node| {
            node.items().iter().any(|item| item.scalar_text().is_some_and(|text| !text.trim().is_empty()))
        })
    };
    // What is for the record need not be anybody's technique.
    let is_record = document.level == Level::Informational;
    let top = ["level", "description", "tags"].into_iter().filter(|key| !(is_record && *key == "tags"));
    let missing = top.filter(|key| !is_there(document.node.get(key)));
    // Given and empty it says that nothing is harmless.
    let missing = missing.chain(Some("falsepositives").filter(|key| document.node.get(key).is_none()));
    let missing =
        missing.chain(Some("kmswatch.respond").filter(|_| !is_there(block.and_then(|block| block.get("respond")))));
    let missing: Vec<_> = missing.map(|key| format!("`{key}`")).collect();
    if !missing.is_empty() {
        let message = format!("the rule does not say {}", missing.join(", "));
        let help =
            "whoever is woken by it wants to know how grave it is, what it means, what is harmless and what to run";
        lint.warning(Code::Undocumented, document.place, message, help);
    }
    let names_field =
        |part: &TemplatePart| matches!(part, TemplatePart::Field(_)) || matches!(part, TemplatePart::Count);
    if let Some(summary) = document.extension.summary.as_ref().filter(|summary| !summary.parts.iter().any(names_field))
    {
        let place = block.and_then(|block| block.get("summary")).map_or(document.place, |node| node.place);
        let message = "the summary names no field, so all alerts of the rule read the same".to_owned();
        let help = format!("say who did what: '{{kms.who}} ... {{kms.key}}' instead of '{summary}'");
        lint.warning(Code::EmptySummary, place, message, &help);
    }
}
