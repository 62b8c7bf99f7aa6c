//! Tags and controls that reports cannot read.

use super::Lint;
use crate::rule::diagnostic::{Code, nearest};
use crate::rule::locate::Node;

/// Tactics of ATT&CK Enterprise as Sigma spells them: up to version 18, and `defense-evasion` as
/// split in two since.
const TACTICS: &[&str] = &[
    "reconnaissance",
    "resource-development",
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "stealth",
    "defense-impairment",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
];

pub(super) fn look(lint: &mut Lint<'_, '_>) {
    let node = &lint.document.node;
    for item in node.get("tags").map(Node::items).unwrap_or_default() {
        let Some(tag) = item.scalar_text() else { continue };
        let Some(name) = tag.strip_prefix("attack.") else { continue };
        if is_attack_id(name) || TACTICS.contains(&name) {
            continue;
        }
        let hyphenated = name.to_lowercase().replace('_', "-");
        let near = if is_attack_id(&hyphenated) {
            Some(hyphenated.as_str())
        } else {
            nearest(&hyphenated, TACTICS.iter().copied())
        };
        let help = match near {
            Some(near) => format!("did you mean `attack.{near}`?"),
            None => "write a tactic like `attack.impact`, or a technique like `attack.t1485` or `attack.t1555.006`"
                .to_owned(),
        };
        lint.warning(Code::BadTag, item.place, format!("`{tag}` is no tag of ATT&CK"), &help);
    }
    let controls = node.get("kmswatch").and_then(|block| block.get("controls"));
    for item in controls.map(Node::items).unwrap_or_default() {
        let Some(control) = item.scalar_text() else { continue };
        let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
        if !control.split_once(':').is_some_and(|(framework, reference)| is_word(framework) && is_word(reference)) {
            let message = format!("`{control}` does not say of which framework it is which control");
            lint.warning(Code::BadControl, item.place, message, "write it like `PCI-DSS-4.0.1:3.7.5`");
        }
    }
}

/// `t1485`, `t1555.006`, or a group, a piece of software and so on.
fn is_attack_id(name: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.strip_prefix('t') {
        Some(rest) => match rest.split_once('.') {
            Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
            None => digits(rest, 4),
        },
        None => ["ta", "ds", "g", "s", "m", "c"]
            .iter()
            .any(|kind| name.strip_prefix(kind).is_some_and(|rest| digits(rest, 4))),
    }
}
