//! A line for each rule.

use std::fmt::Write as _;

use super::Entry;
use crate::alert::redact::printable;

/// The list as text.
#[must_use]
pub fn render(entries: &[Entry<'_>]) -> String {
    let widths = |cell: fn(&Entry<'_>) -> usize, least: usize| entries.iter().map(cell).max().unwrap_or(0).max(least);
    let family = widths(|entry| entry.family().len(), 6);
    let title = widths(|entry| entry.rule.meta.title.chars().count(), 5);
    let kind = widths(|entry| entry.rule.detector.kind().len(), 4);
    let attack = widths(|entry| techniques(entry).len(), 6);
    let mut out = format!(
        "{:<13}  {:<family$}  {:<kind$}  {:<title$}  {:<attack$}  CONTROLS\n",
        "LEVEL", "FAMILY", "KIND", "TITLE", "ATT&CK"
    );
    for entry in entries {
        let rule = entry.rule;
        let line = format!(
            "{:<13}  {:<family$}  {:<kind$}  {:<title$}  {:<attack$}  {}",
            rule.level.as_str(),
            entry.family(),
            rule.detector.kind(),
            printable(&rule.meta.title),
            techniques(entry),
            rule.meta.controls.join(" ")
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out, "{} rules", entries.len());
    out
}

fn techniques(entry: &Entry<'_>) -> String {
    entry.techniques().collect::<Vec<_>>().join(" ")
}
