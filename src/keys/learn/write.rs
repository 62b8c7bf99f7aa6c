//! A proposal as an inventory file, every line with its support.
//!
//! Invariant: what is written can be read by [`crate::keys::inventory::Inventory::parse`], and text
//! of records is always quoted, in comments too, so that none of it is read as YAML.

use std::fmt::Write as _;

use super::line::Line;
use super::propose::{Options, Proposal, ProposedDomain, ProposedKey, Refused};
use super::support::{date, plural, thousands};

/// Denied attempts listed for one domain.
const MAX_DENIED: usize = 20;

/// The file.
#[must_use]
pub fn inventory(proposal: &Proposal, options: Options) -> String {
    let mut out = Out::default();
    let Proposal { support, domains, left_out, .. } = proposal;
    out.comment(0, "Proposed by `kmswatch keys learn`; a person has to review it before it decides anything.");
    if domains.is_empty() {
        out.comment(0, "No cryptographic use of a key was seen.");
        out.line(0, "domains: []");
        write_denied(&mut out, 0, "Denied on keys that nobody used:", &proposal.denied);
        return out.text;
    }
    out.comment(
        0,
        &format!(
            "Learnt from {} on {}, {} to {}.",
            plural(support.uses, "use"),
            plural(support.days() as u64, "day"),
            date(support.first),
            date(support.last)
        ),
    );
    out.comment(
        0,
        &format!(
            "Expected is what was seen on {} or more, or on two that are about a week apart. What was",
            plural(options.least_days as u64, "day")
        ),
    );
    out.comment(0, "rarer stands under `review` as a comment and is unexpected until somebody takes the # away.");
    for what in left_out {
        out.comment(0, &format!("NOT ALL OF IT: {}", visible(what)));
    }
    if proposal.has_every_key {
        out.comment(0, "Every key that was used is in here, so the first use of another one is told.");
        out.line(0, "complete: true");
    }
    out.line(0, "domains:");
    for domain in domains {
        write_domain(&mut out, domain);
    }
    write_denied(&mut out, 0, "Denied on keys that nobody used:", &proposal.denied);
    out.text
}

fn write_domain(out: &mut Out, domain: &ProposedDomain) {
    out.line(1, &format!("- name: {}", quoted(&domain.name)));
    out.line(2, "keys:");
    for key in &domain.keys {
        write_key(out, key);
    }
    if domain.lines.is_empty() {
        out.comment(2, "Nothing was seen often enough to be expected, so every use of it is told.");
        out.line(2, "expect: []");
    } else {
        out.line(2, "expect:");
        for line in &domain.lines {
            write_line(out, line, Kind::Expected);
        }
    }
    if !domain.review.is_empty() {
        out.comment(2, "review: rare, and so not expected. Move what is right up to `expect`.");
        for line in &domain.review {
            write_line(out, line, Kind::Review);
        }
    }
    write_denied(out, 2, "denied, never learnt as expected:", &domain.denied);
}

fn write_denied(out: &mut Out, depth: usize, head: &str, denied: &Refused) {
    if !denied.is_empty() {
        out.comment(depth, head);
    }
    for ((principal, operation), support) in denied.iter().take(MAX_DENIED) {
        let attempts = support.in_words("attempt");
        out.comment(depth, &format!("  {} {}: {attempts}", quoted(principal), quoted(operation)));
    }
    if denied.len() > MAX_DENIED {
        out.comment(depth, &format!("  and {} more", denied.len() - MAX_DENIED));
    }
}

fn write_key(out: &mut Out, key: &ProposedKey) {
    for alias in &key.shared_aliases {
        out.comment(3, &format!("{} too, as keys in other places are", quoted(alias)));
    }
    for (at, name) in key.names.iter().enumerate() {
        let support =
            if at == 0 { format!("  # {}", key.support) } else { "  # the same key in another Region".into() };
        let alias = key.alias.as_ref().filter(|alias| at == 0 && *alias != name);
        let kind = if name.starts_with("arn:") { "arn" } else { "id" };
        match alias {
            Some(alias) => out.line(3, &format!("- {{alias: {}, {kind}: {}}}{support}", quoted(alias), quoted(name))),
            None => out.line(3, &format!("- {}{support}", quoted(name))),
        }
    }
}

/// Whether a line counts, or is there to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Expected,
    Review,
}

fn write_line(out: &mut Out, line: &Line, kind: Kind) {
    let mark = if kind == Kind::Review { "rare: " } else { "" };
    let review = if kind == Kind::Review { ", review" } else { "" };
    out.comment(3, &format!("{mark}{}{review}", line.support));
    for remark in &line.remarks {
        // Remarks hold names and values of records.
        out.comment(3, &visible(remark));
    }
    let mut first = true;
    let mut put = |text: String| {
        let lead = if std::mem::take(&mut first) { "- " } else { "  " };
        match kind {
            Kind::Expected => out.line(3, &format!("{lead}{text}")),
            Kind::Review => out.comment(3, &format!("{lead}{text}")),
        }
    };
    put(format!("principals: [{}]", quoted(&line.principal)));
    let each: Vec<_> =
        line.operations.iter().map(|(name, support)| format!("{name} {}", thousands(support.uses))).collect();
    let names: Vec<_> = line.operations.keys().map(|name| quoted_word(name)).collect();
    let detail = if each.len() > 1 { format!("  # {}", each.join(", ")) } else { String::new() };
    put(format!("operations: [{}]{detail}", names.join(", ")));
    put(format!("via: [{}]", list(line.via.iter())));
    if !line.context.is_empty() {
        put("context:".to_owned());
        for (name, patterns) in &line.context {
            put(format!("  {}: [{}]", quoted(name), list(patterns.iter())));
        }
    }
    for (name, values) in [("from", &line.from), ("vpc_endpoints", &line.vpc_endpoints), ("regions", &line.regions)] {
        if !values.is_empty() {
            put(format!("{name}: [{}]", list(values.iter())));
        }
    }
    if let Some(days) = &line.days {
        put(format!("days: {}", quoted(days)));
    }
    if let Some(hours) = &line.hours {
        put(format!("hours: {}", quoted(hours)));
    }
}

fn list<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    texts.map(|text| quoted_word(text)).collect::<Vec<_>>().join(", ")
}

/// A text in double quotes, with everything escaped that YAML or a terminal could take for more.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    out.push_str(&escaped(text));
    out.push('"');
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(letter),
            _ => {
                let code = u32::from(letter);
                let _ = if code <= 0xffff { write!(out, "\\u{code:04x}") } else { write!(out, "\\U{code:08x}") };
            }
        }
    }
    out
}

/// As it is, when it is a word that means nothing else in YAML.
fn quoted_word(text: &str) -> String {
    let is_word = text.starts_with(|letter: char| letter.is_ascii_uppercase())
        && text.len() > 5
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { text.to_owned() } else { quoted(text) }
}

/// For a comment: nothing that ends the line.
fn visible(text: &str) -> String {
    text.chars().map(|letter| if matches!(letter, ' '..='~') { letter } else { '\u{fffd}' }).collect()
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.text, "{:width$}{text}", "", width = depth * 2);
    }

    fn comment(&mut self, depth: usize, text: &str) {
        self.line(depth, &format!("# {text}"));
    }
}
