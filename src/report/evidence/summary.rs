//! What an answer comes to, and what it cannot say.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::question::{Outcome, Question};
use super::reader::{Answer, keys_of};
use super::row::Row;
use crate::alert::redact::printable;
use crate::keys::expect::short_name;

/// Principals listed by count.
const MAX_PRINCIPALS: usize = 5;

/// The summary as text.
#[must_use]
pub fn render(question: Question, answer: &Answer, files: usize) -> String {
    let mut out = String::new();
    let counts = &answer.counts;
    let rows = &answer.rows;
    let verdicts = by(rows, |row| match row.expected {
        Some(true) => "expected".to_owned(),
        Some(false) => "NOT EXPECTED".to_owned(),
        None => "not judged".to_owned(),
    });
    let outcomes = by(rows, |row| row.outcome.as_str().to_owned());
    let said = |counted: &[(String, usize)]| {
        counted.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    let what = match question {
        Question::WhoUsed => "use",
        Question::WhoChanged => "change",
        Question::Denied => "denied call",
    };
    if rows.is_empty() {
        let _ = writeln!(out, "none: no record read answers the question");
    } else {
        let _ = write!(out, "{} of {}: {}", many(rows.len(), what), many(keys_of(rows), "key"), said(&outcomes));
        let judged = rows.iter().any(|row| row.expected.is_some());
        let _ = writeln!(out, "{}", if judged { format!("; {}", said(&verdicts)) } else { String::new() });
        let people = by(rows, |row| short_name(&row.principal));
        for (principal, count) in people.iter().take(MAX_PRINCIPALS) {
            let failed = rows
                .iter()
                .filter(|row| row.outcome != Outcome::Success && short_name(&row.principal) == *principal)
                .count();
            let failed = if failed > 0 && question != Question::Denied {
                format!(", {failed} of them without success")
            } else {
                String::new()
            };
            let _ = writeln!(out, "  {count:>6}  {}{failed}", printable(principal));
        }
        if people.len() > MAX_PRINCIPALS {
            let _ = writeln!(out, "  and {}", many(people.len() - MAX_PRINCIPALS, "more principal"));
        }
    }
    let shared = rows.iter().filter(|row| !row.same_call.is_empty()).count();
    if shared > 0 {
        let _ = writeln!(out, "{shared} of these rows are records of calls across accounts that have two (same_call)");
    }
    let differing = rows.iter().filter(|row| row.copies_differ).count();
    if differing > 0 {
        let _ = writeln!(out, "{} came in copies THAT DIFFER; the first is shown", many(differing, "record"));
    }
    let _ = writeln!(
        out,
        "records: {} read = {} of KMS + {} other + {} unreadable; {} fit, {} of them copies",
        counts.read, counts.kms, counts.other, counts.unreadable, counts.fitting, answer.copies
    );
    let period = counts.period.map_or_else(|| "no records".to_owned(), |(first, last)| format!("{first} to {last}"));
    let _ = writeln!(out, "period: {period} (event time of all records read)");
    out.push_str(&completeness(answer, files));
    out
}

/// What the answer cannot say.
fn completeness(answer: &Answer, files: usize) -> String {
    let counts = &answer.counts;
    let mut out = format!(
        "completeness: this is what {} given say. Files or records that are missing cannot be seen here;\n  \
         digest files of the trail were not verified.\n",
        many(files, "file")
    );
    if counts.keyless > 0 {
        let _ = writeln!(
            out,
            "  {} of this kind named no key and may have been meant for it; `evidence denied` without --key lists those denied",
            many(counts.keyless, "call")
        );
    }
    if counts.unreadable > 0 {
        let _ = writeln!(out, "  {} could not be read and may belong to the answer", many(counts.unreadable, "record"));
    }
    if answer.failed_files > 0 {
        let _ = writeln!(out, "  {} could not be read to the end", many(answer.failed_files, "file"));
    }
    out
}

/// `1 key`, `2 keys`.
fn many(count: impl std::fmt::Display, what: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Values and how often each occurs, most first.
fn by(rows: &[Row], value: impl Fn(&Row) -> String) -> Vec<(String, usize)> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *counted.entry(value(row)).or_default() += 1;
    }
    let mut sorted: Vec<_> = counted.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sorted
}
