//! An answer as JSON lines; the parent module lists the fields.

use std::io::{self, Write};

use serde::Serialize;

use super::question::Question;
use super::row::Row;

/// Rises when a field changes its meaning.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    question: &'static str,
    #[serde(flatten)]
    row: &'a Row,
}

/// Writes the rows.
///
/// # Errors
/// When the output cannot be written.
pub fn write(out: &mut dyn Write, question: Question, rows: &[Row]) -> io::Result<()> {
    for row in rows {
        let line = serde_json::to_string(&Line { schema: SCHEMA, question: question.as_str(), row })?;
        writeln!(out, "{}", visible(&line))?;
    }
    Ok(())
}

/// JSON escapes the control characters below the space itself; the others, and the marks that turn
/// the direction of writing, would still reach a terminal.
fn visible(line: &str) -> String {
    let acts = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !line.contains(acts) {
        return line.to_owned();
    }
    line.chars().map(|c| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}
