//! An answer for a person: a line for each row, and below it what does not fit one.
//!
//! Lines break between facts, then between words, at the width of the terminal; nothing is cut off
//! but single words longer than a line. Text of records is made printable.

use std::io::{self, Write};

use super::row::Row;
use crate::alert::redact::printable;
use crate::keys::expect::short_name;

/// Narrower than this nothing reads well.
pub const MIN_WIDTH: usize = 40;
const INDENT: &str = "    ";

/// Writes the rows.
///
/// # Errors
/// When the output cannot be written.
pub fn write(out: &mut dyn Write, rows: &[Row], width: usize) -> io::Result<()> {
    let width = width.max(MIN_WIDTH);
    let operation = rows.iter().map(|row| row.operation.chars().count()).max().unwrap_or(0).clamp(9, 24);
    if !rows.is_empty() {
        let head = format!("{:<20}  {:<operation$}  {:<9}  WHO", "TIME (UTC)", "OPERATION", "OUTCOME");
        writeln!(out, "{}", head.chars().take(width).collect::<String>())?;
    }
    for row in rows {
        let head = format!(
            "{:<20}  {:<operation$}  {:<9}  ",
            row.event_time.to_string(),
            printable(&row.operation),
            row.outcome
        );
        let mut facts = vec![head.clone() + &who(row)];
        if head.chars().count() + 20 > width {
            facts = vec![head.trim_end().to_owned(), who(row)];
        }
        let domain = row.domain.as_ref().map(|domain| format!("domain {domain}")).unwrap_or_default();
        let mut lines = Vec::new();
        lines.extend(wrap(&facts, width, ""));
        lines.extend(wrap(&[key(row), domain, context(row), source(row)], width, INDENT));
        lines.extend(
            row.change.iter().flat_map(|change| wrap(&[format!("change: {}", printable(change))], width, INDENT)),
        );
        lines.extend(wrap(&failure(row), width, INDENT));
        lines.extend(wrap(&verdict(row), width, INDENT));
        lines.extend(wrap(&place(row), width, INDENT));
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn who(row: &Row) -> String {
    let principal = printable(&short_name(&row.principal));
    let own_name = row.principal.rsplit(['/', ':']).next();
    match &row.human {
        // Users and root are their own names.
        Some(human) if row.principal_type != "Root" && own_name != Some(human) => {
            format!("{} as {principal}", printable(human))
        }
        _ => principal,
    }
}

fn key(row: &Row) -> String {
    let key = row.key.as_deref().map(printable);
    let name = match (&row.alias, key) {
        (Some(alias), Some(key)) if *alias != key => format!("{} ({})", printable(alias), short_arn(&key)),
        (_, Some(key)) => short_arn(&key),
        (Some(alias), None) => printable(alias),
        (None, None) => "no key named".to_owned(),
    };
    let role = row.key_role.map(|role| format!(" as {role}")).unwrap_or_default();
    format!("{name}{role}")
}

/// Without the part that all ARNs have.
fn short_arn(arn: &str) -> String {
    let parts = crate::event::key::arn_parts(arn);
    parts.map_or_else(|| arn.to_owned(), |parts| format!("{} in {} {}", parts.resource, parts.region, parts.account))
}

fn context(row: &Row) -> String {
    let entries: Vec<_> =
        row.context.iter().map(|(name, value)| format!("{}={}", printable(name), printable(value))).collect();
    entries.join(" ")
}

fn source(row: &Row) -> String {
    let mut words = format!("from {}", row.source.as_deref().map_or_else(|| "an unknown place".to_owned(), printable));
    if let Some(endpoint) = &row.vpc_endpoint {
        words += &format!(" through {}", printable(endpoint));
    }
    if let Some(client) = row.client.filter(|client| *client != "service") {
        words += &format!(" by {client}");
    }
    if let Some(via) = row.via.as_ref().filter(|via| row.source.as_ref() != Some(*via)) {
        words += &format!(" via {}", printable(via));
    }
    words
}

fn failure(row: &Row) -> Vec<String> {
    let Some(code) = &row.error_code else { return Vec::new() };
    let why = row.denied_by.clone().or_else(|| row.error_message.as_deref().map(printable)).unwrap_or_default();
    vec![printable(code), why]
}

fn verdict(row: &Row) -> Vec<String> {
    let Some(expected) = row.expected else { return Vec::new() };
    let reason = row.expected_reason.as_deref().map(printable).unwrap_or_default();
    if expected && row.ticket.is_none() {
        return vec!["expected".to_owned()];
    }
    vec![format!("{}: {reason}", if expected { "expected" } else { "NOT EXPECTED" })]
}

fn place(row: &Row) -> Vec<String> {
    let mut facts = vec![format!("event {}", printable(&row.event_id))];
    for found in row.found.iter().take(2) {
        facts.push(format!("{} #{}", printable(&found.file), found.record));
    }
    if row.copies > 2 {
        facts.push(format!("{} copies", row.copies));
    }
    if row.copies_differ {
        facts.push("THE COPIES DIFFER".to_owned());
    }
    if !row.same_call.is_empty() {
        facts.push(format!("same call as {}", printable(&row.same_call.join(", "))));
    }
    if let Some(reason) = &row.addendum {
        let of = row.addendum_of.as_deref().map(|of| format!(" to {}", printable(of))).unwrap_or_default();
        facts.push(format!("addendum{of}: {}", printable(reason)));
    }
    facts
}

/// A text of lines, each broken between words where it is wider than that.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    let fitted = text.lines().flat_map(|line| {
        let indent = line.len() - line.trim_start().len();
        match line.chars().count() > width {
            true => wrap(&[line.trim_start().to_owned()], width.max(MIN_WIDTH), &" ".repeat(indent)),
            false => vec![line.to_owned()],
        }
    });
    fitted.map(|line| line + "\n").collect()
}

/// Facts on lines: as many on one as fit, two spaces between; a fact that fits none breaks at words.
fn wrap(facts: &[String], width: usize, indent: &str) -> Vec<String> {
    let room = width.saturating_sub(indent.len()).max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let length = |text: &str| text.chars().count();
    let facts = facts.iter().filter(|fact| !fact.is_empty());
    let mut put = |text: &str, gap: &str, line: &mut String| {
        let gap = if line.is_empty() { "" } else { gap };
        if length(line) + gap.len() + length(text) > room && !line.is_empty() {
            lines.push(format!("{indent}{line}"));
            line.clear();
            line.push_str(text);
        } else {
            line.push_str(gap);
            line.push_str(text);
        }
        // A word longer than a line goes on in the next; a path after one of its slashes.
        while length(line) > room {
            let head: String = line.chars().take(room).collect();
            let cut = head.rfind('/').map_or(head.len(), |slash| slash + 1);
            let tail = line.split_off(cut);
            lines.push(format!("{indent}{line}"));
            *line = tail;
        }
    };
    for fact in facts {
        if length(fact) <= room {
            put(fact, "  ", &mut line);
        } else {
            for (number, word) in fact.split(' ').enumerate() {
                put(word, if number == 0 { "  " } else { " " }, &mut line);
            }
        }
    }
    if !line.is_empty() {
        lines.push(format!("{indent}{line}"));
    }
    lines
}
