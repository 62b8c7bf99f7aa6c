//! Which rules serve which control of which framework.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Entry, natural};
use crate::alert::redact::printable;

/// Controls in their order, each with its rules.
#[must_use]
pub fn by_control<'e, 'r>(entries: &'e [Entry<'r>]) -> Vec<(&'e str, Vec<&'e Entry<'r>>)> {
    let mut controls: BTreeMap<&str, Vec<&Entry<'r>>> = BTreeMap::new();
    for entry in entries {
        for control in &entry.rule.meta.controls {
            controls.entry(control).or_default().push(entry);
        }
    }
    let mut controls: Vec<_> = controls.into_iter().collect();
    controls.sort_by_cached_key(|(control, _)| natural(control));
    controls
}

/// The mapping as text.
#[must_use]
pub fn render(entries: &[Entry<'_>]) -> String {
    let controls = by_control(entries);
    let width = controls.iter().map(|(control, _)| control.chars().count()).max().unwrap_or(0).max(7);
    let mut out = format!("{:<width$}  RULES\n", "CONTROL");
    for (control, rules) in &controls {
        for (at, entry) in rules.iter().enumerate() {
            let control = if at == 0 { printable(control) } else { String::new() };
            let _ = writeln!(out, "{control:<width$}  {}", printable(&entry.rule.meta.title));
        }
    }
    let without = entries.iter().filter(|entry| entry.rule.meta.controls.is_empty()).count();
    let _ = writeln!(out, "{} controls, {without} rules without one", controls.len());
    out
}
