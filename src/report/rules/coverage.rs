//! What of KMS is watched: every operation, service event and direct event, with the rules that look
//! at it by name or class, or the reason why none does.
//!
//! A rule that holds for any call (who calls, from where, with what result) watches no operation in
//! particular and is listed apart.

use std::fmt::Write as _;

use super::Entry;
use crate::alert::redact::printable;
use crate::event::operation::Class;
use crate::rule::reach::{Call, calls};

/// Calls that the shipped rules do not look at one by one, and why.
/// A test fails when a rule looks at one of them after all, or at none that is not here.
const NOT_WORTH_WATCHING: &[(&str, &str)] =
    &[("GenerateRandom", "uses no key and gives away nothing; rules over all cryptographic calls take it along")];

/// A call and what is done about it.
#[derive(Clone, Debug)]
pub struct Row<'e, 'r> {
    /// The call.
    pub call: Call,
    /// The rules that look at it.
    pub rules: Vec<&'e Entry<'r>>,
    /// Why none does, where that is known.
    pub reason: Option<&'static str>,
}

/// Why the shipped rules do not look at a call.
#[must_use]
pub fn reason_not_to(name: &str) -> Option<&'static str> {
    NOT_WORTH_WATCHING.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason)
}

/// Every call, by class.
#[must_use]
pub fn rows<'e, 'r>(entries: &'e [Entry<'r>]) -> Vec<Row<'e, 'r>> {
    let mut rows: Vec<_> = calls()
        .map(|call| {
            let rules: Vec<_> = entries.iter().filter(|entry| entry.watched.calls.contains(call.name)).collect();
            let reason = reason_not_to(call.name).filter(|_| rules.is_empty());
            Row { call, rules, reason }
        })
        .collect();
    rows.sort_by_key(|row| (row.call.class, row.call.name));
    rows
}

/// The rules that hold for any call.
pub fn of_any_call<'e, 'r>(entries: &'e [Entry<'r>]) -> impl Iterator<Item = &'e Entry<'r>> {
    entries.iter().filter(|entry| entry.watched.any_call && entry.watched.calls.is_empty())
}

/// The account at the end of the list.
#[must_use]
pub fn account(rows: &[Row<'_, '_>]) -> String {
    let watched = rows.iter().filter(|row| !row.rules.is_empty()).count();
    let with_reason = rows.iter().filter(|row| row.reason.is_some()).count();
    let open = rows.len() - watched - with_reason;
    let open = if open == 0 { String::new() } else { format!(", {open} not watched without a reason") };
    format!("{} calls: {watched} watched, {with_reason} not, for the reason given{open}", rows.len())
}

/// The coverage as text.
#[must_use]
pub fn render(entries: &[Entry<'_>]) -> String {
    let rows = rows(entries);
    let mut out = String::new();
    let mut class: Option<Class> = None;
    for row in &rows {
        if class != Some(row.call.class) {
            class = Some(row.call.class);
            let _ = writeln!(out, "{}", row.call.class.as_str().to_uppercase());
        }
        let mut left = format!("{:<36}  {:<13}", row.call.name, row.call.writer.as_str());
        for entry in &row.rules {
            let _ =
                writeln!(out, "  {left:<51}  {:<13}  {}", entry.rule.level.as_str(), printable(&entry.rule.meta.title));
            left.clear();
        }
        if row.rules.is_empty() {
            let _ = writeln!(out, "  {left:<51}  not watched: {}", row.reason.unwrap_or("no rule looks at it"));
        }
    }
    out.push_str("WHATEVER THE CALL\n");
    for entry in of_any_call(entries) {
        let _ = writeln!(out, "  {:<51}  {:<13}  {}", "", entry.rule.level.as_str(), printable(&entry.rule.meta.title));
    }
    let _ = writeln!(out, "{}", account(&rows));
    out
}
