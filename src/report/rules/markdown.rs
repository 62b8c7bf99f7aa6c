//! The page `rules/README.md`.
//!
//! Text of rules is escaped: it may say anything and shows as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Entry, controls, coverage};
use crate::rule::Level;

const LEVELS: [Level; 5] = [Level::Critical, Level::High, Level::Medium, Level::Low, Level::Informational];

/// The page.
#[must_use]
pub fn render(entries: &[Entry<'_>]) -> String {
    let mut out = String::from(
        "<!-- Generated from the rules by `kmswatch rules --format markdown`; edit these, not this page. -->\n\n# Rules\n\n",
    );
    let families: BTreeSet<_> = entries.iter().map(Entry::family).collect();
    let _ = writeln!(
        out,
        "{} rules in {} families. `critical` and `high` wake a person, `medium` is for today, `low` and\n`informational` are for the record. What a rule does when it fires, and on which records it must fire and stay\nsilent, stands in its file; `kmswatch test` runs these examples.\n",
        entries.len(),
        families.len()
    );
    overview(&mut out, entries);
    for family in families {
        let _ = writeln!(out, "\n## {}\n", text(family));
        for entry in entries.iter().filter(|entry| entry.family() == family) {
            rule(&mut out, entry);
        }
    }
    operations(&mut out, entries);
    mapping(&mut out, entries);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn overview(out: &mut String, entries: &[Entry<'_>]) {
    let _ = writeln!(out, "| family | {} |", LEVELS.map(Level::as_str).join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(LEVELS.len()));
    let mut counts: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for entry in entries {
        let row = counts.entry(entry.family()).or_default();
        for (count, _) in row.iter_mut().zip(LEVELS).filter(|(_, level)| *level == entry.rule.level) {
            *count += 1;
        }
    }
    for (family, counts) in counts {
        let cells = counts.map(|count| if count == 0 { String::new() } else { count.to_string() });
        let _ = writeln!(out, "| {} | {} |", text(family), cells.join(" | "));
    }
}

fn rule(out: &mut String, entry: &Entry<'_>) {
    let (rule, meta) = (entry.rule, &entry.rule.meta);
    let _ = writeln!(out, "### {}\n", text(&meta.title));
    let techniques =
        entry.techniques().map(|id| format!("[{id}](https://attack.mitre.org/techniques/{}/)", id.replace('.', "/")));
    let tactics = entry.tactics().map(text);
    let attack: Vec<_> = tactics.chain(techniques).collect();
    let mut facts = vec![format!("**{}**", rule.level.as_str()), rule.detector.kind().replace('_', "\\_")];
    facts.extend(Some(attack.join(", ")).filter(|attack| !attack.is_empty()));
    facts.push(link(&meta.path, &meta.path));
    let _ = writeln!(out, "{}\n", facts.join(" · "));
    if !meta.description.trim().is_empty() {
        let _ = writeln!(out, "{}\n", text(&meta.description));
    }
    let _ = writeln!(out, "- Alert: {}", code(&rule.summary.to_string()));
    for harmless in &meta.falsepositives {
        let _ = writeln!(out, "- Harmless: {}", text(harmless));
    }
    if !meta.controls.is_empty() {
        let _ = writeln!(
            out,
            "- Controls: {}",
            meta.controls.iter().map(|control| text(control)).collect::<Vec<_>>().join(", ")
        );
    }
    if !rule.respond.is_empty() {
        let _ = writeln!(out, "\n{}", block(&rule.respond.iter().map(ToString::to_string).collect::<Vec<_>>()));
    }
    out.push('\n');
}

fn operations(out: &mut String, entries: &[Entry<'_>]) {
    let rows = coverage::rows(entries);
    out.push_str("\n## What of KMS is watched\n\n");
    let _ = writeln!(out, "{}.\n", coverage::account(&rows));
    out.push_str("| class | call | written by | watched by |\n|---|---|---|---|\n");
    for row in &rows {
        let watched = match row.reason {
            _ if !row.rules.is_empty() => links(&row.rules),
            Some(reason) => format!("not watched: {}", text(reason)),
            None => "not watched".to_owned(),
        };
        let call = row.call;
        let _ = writeln!(out, "| {} | {} | {} | {watched} |", call.class.as_str(), call.name, call.writer.as_str());
    }
    let any: Vec<_> = coverage::of_any_call(entries).collect();
    let _ = writeln!(out, "\nWhatever the call: {}.", if any.is_empty() { "no rule".to_owned() } else { links(&any) });
}

fn mapping(out: &mut String, entries: &[Entry<'_>]) {
    out.push_str("\n## Controls\n\n| control | rules |\n|---|---|\n");
    for (control, rules) in controls::by_control(entries) {
        let _ = writeln!(out, "| {} | {} |", text(control), links(&rules));
    }
}

fn links(rules: &[&Entry<'_>]) -> String {
    rules.iter().map(|entry| link(&entry.rule.meta.title, &entry.rule.meta.path)).collect::<Vec<_>>().join(", ")
}

/// A link to a file beside the page.
fn link(title: &str, path: &str) -> String {
    let keeps = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let path: String = path
        .bytes()
        .map(|byte| if keeps(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("[{}]({path})", text(title))
}

/// Text in a line, a heading or a cell, showing as it is.
#[must_use]
pub fn text(text: &str) -> String {
    let mut out = String::new();
    for (at, word) in text.split_whitespace().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        // At the start of a line these would make a list, a heading or a quotation.
        let begins_list = word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['.', ')']);
        let begins_mark = word.starts_with(['#', '+', '-', '=']);
        if at == 0 && begins_mark {
            out.push('\\');
        }
        for (number, c) in word.chars().enumerate() {
            match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', c]),
                '.' | ')' if at == 0 && begins_list && number > 0 => out.extend(['\\', c]),
                c if c.is_control() => out.push('\u{fffd}'),
                c => out.push(c),
            }
        }
    }
    out
}

/// Text in a line as code.
fn code(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let fence = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Lines as code.
fn block(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let longest = lines.iter().map(|line| longest_run(line)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}", lines.join("\n"))
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
