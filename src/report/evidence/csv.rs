//! An answer as CSV for spreadsheets: RFC 4180, a header row, lines end in CR LF.
//!
//! Invariant: no cell is a formula. Text that begins as one (`=`, `+`, `-`, `@`, also in full width,
//! tab, line end) gets an apostrophe before it; control characters are made visible.

use std::io::{self, Write};

use super::question::Question;
use super::row::Row;
use crate::alert::redact::{deceives, printable};

/// The columns; those of the JSON lines, but for lists, which are joined by `; `.
pub const COLUMNS: &[&str] = &[
    "question",
    "event_time",
    "event_id",
    "human",
    "human_evidence",
    "principal",
    "principal_type",
    "session",
    "account",
    "operation",
    "class",
    "key",
    "key_role",
    "alias",
    "domain",
    "region",
    "recipient_account",
    "context",
    "change",
    "source",
    "source_kind",
    "vpc_endpoint",
    "via",
    "client",
    "user_agent",
    "outcome",
    "error_code",
    "error_message",
    "denied_by",
    "expected",
    "expected_reason",
    "ticket",
    "shared_event_id",
    "same_call",
    "addendum",
    "addendum_of",
    "found",
    "copies",
    "copies_differ",
];

/// Writes the rows.
///
/// # Errors
/// When the output cannot be written.
pub fn write(out: &mut dyn Write, question: Question, rows: &[Row]) -> io::Result<()> {
    write!(out, "{}\r\n", COLUMNS.join(","))?;
    for row in rows {
        let cells: Vec<_> = cells(question, row).iter().map(|text| cell(text)).collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn cells(question: Question, row: &Row) -> Vec<String> {
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    let fixed = |text: Option<&'static str>| text.unwrap_or_default().to_owned();
    let context: Vec<_> = row.context.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let found: Vec<_> = row.found.iter().map(|found| format!("{} #{}", found.file, found.record)).collect();
    vec![
        question.as_str().to_owned(),
        row.event_time.to_string(),
        row.event_id.clone(),
        some(&row.human),
        fixed(row.human_evidence),
        row.principal.clone(),
        row.principal_type.clone(),
        some(&row.session),
        some(&row.account),
        row.operation.clone(),
        row.class.clone(),
        some(&row.key),
        fixed(row.key_role),
        some(&row.alias),
        some(&row.domain),
        some(&row.region),
        some(&row.recipient_account),
        context.join("; "),
        some(&row.change),
        some(&row.source),
        row.source_kind.clone(),
        some(&row.vpc_endpoint),
        some(&row.via),
        fixed(row.client),
        some(&row.user_agent),
        row.outcome.as_str().to_owned(),
        some(&row.error_code),
        some(&row.error_message),
        some(&row.denied_by),
        row.expected.map(|expected| expected.to_string()).unwrap_or_default(),
        some(&row.expected_reason),
        some(&row.ticket),
        some(&row.shared_event_id),
        row.same_call.join("; "),
        some(&row.addendum),
        some(&row.addendum_of),
        found.join("; "),
        row.copies.to_string(),
        row.copies_differ.to_string(),
    ]
}

/// One cell. The apostrophe is judged before control characters are replaced, for a replaced tab
/// still was one.
#[must_use]
pub fn cell(text: &str) -> String {
    const BEGINS: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    // What a spreadsheet may leave out before it looks.
    let seen = text.trim_start_matches(|c: char| c.is_whitespace() || deceives(c));
    let is_formula = seen.starts_with(BEGINS) || text.starts_with(['\t', '\r', '\n']);
    let shown = printable(text);
    let shown = if is_formula { format!("'{shown}") } else { shown };
    if shown.contains([',', '"', '\r', '\n', ';', '\'']) || shown.starts_with(' ') || shown.ends_with(' ') {
        return format!("\"{}\"", shown.replace('"', "\"\""));
    }
    shown
}
