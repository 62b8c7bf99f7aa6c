//! The explanation as text.

use std::fmt::Write as _;

use super::context::Known;
use super::expectation::{Expectation, Line};
use super::rules::{Hindered, ItemTried, Matched, Missed, Named, Rules};
use super::{Derived, Explained, Report, UseExplained};

/// Most names of fields are no longer.
const NAME_WIDTH: usize = 22;

/// All records.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for (index, record) in report.records.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        one(&mut out, record);
    }
    if report.left_off > 0 {
        let _ = writeln!(out, "\n{} more records; name one with --event-id, or raise --limit", report.left_off);
    }
    out
}

fn one(out: &mut String, record: &Explained) {
    let place =
        [record.account.as_deref(), record.region.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let service = record.event_source.trim_end_matches(".amazonaws.com");
    let _ = writeln!(out, "{} {}  {}  {place}", service, record.event_name, record.event_time);
    let _ = writeln!(out, "eventID {}", record.event_id);
    for used in &record.uses {
        if let Some(role) = used.key_role {
            let _ = writeln!(out, "\nas {role} key");
        }
        use_of_key(out, used);
    }
}

fn use_of_key(out: &mut String, used: &UseExplained) {
    out.push_str("\nWHAT WAS MADE OF IT\n");
    for field in &used.fields {
        let _ = writeln!(out, "  {:<NAME_WIDTH$}  {}", field.name, field.values.join(", "));
        let _ = writeln!(out, "  {:NAME_WIDTH$}    {}", "", origin(field));
    }
    out.push_str("\nWHAT IS EXPECTED\n");
    match &used.expectation {
        None => out.push_str("  nothing: the record is of no key that the inventory has in a domain\n"),
        Some(expectation) => expected(out, expectation),
    }
    if let Some(known) = &used.known {
        out.push_str("\nWHAT WAS KNOWN OF THE KEY\n");
        context(out, known);
    }
    rules(out, &used.rules);
}

fn origin(field: &Derived) -> String {
    let from = field.from.join(", ");
    match (field.kind, from.is_empty()) {
        ("copied", _) => format!("from {from}"),
        ("part" | "inventory", _) => format!("from {from}: {}", field.how),
        ("known", _) => format!("from what was told before: {}", field.how),
        (_, true) => field.how.clone(),
        _ => format!("{} ({from})", field.how),
    }
}

fn expected(out: &mut String, expectation: &Expectation) {
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "  {name:<9} {text}");
    };
    let mut domain = expectation.domain.clone();
    for (name, value) in [("tier", &expectation.tier), ("owner", &expectation.owner)] {
        if let Some(value) = value {
            let _ = write!(domain, ", {name} {value}");
        }
    }
    if !expectation.standing.is_empty() {
        let _ = write!(domain, " ({})", expectation.standing.join(", "));
    }
    line("domain", &domain);
    let verdict = match expectation.verdict {
        None => "not judged: the call is no use of the key",
        Some(true) => "expected",
        Some(false) => "NOT EXPECTED",
    };
    match &expectation.reason {
        Some(reason) => line("verdict", &format!("{verdict}: {reason}")),
        None => line("verdict", verdict),
    }
    if let Some(never) = &expectation.never {
        line("never", &format!("the caller fits `{never}`"));
    }
    for leave in &expectation.break_glass {
        let force = if leave.in_force { "in force" } else { "not in force" };
        line("leave", &format!("{} from {} until {}: {force}", leave.ticket, leave.start, leave.until));
    }
    match &expectation.nearest {
        Some(nearest) => nearest_line(out, nearest),
        None if expectation.verdict.is_some() => {
            line("nearest", &format!("none of its {} lines is for this caller", expectation.lines));
        }
        None => {}
    }
}

fn nearest_line(out: &mut String, line: &Line) {
    let verb = if line.parts.iter().all(|part| part.met) { "met by" } else { "nearest" };
    let _ = writeln!(out, "  {verb:<9} line {} of the inventory", line.line);
    for part in line.parts.iter().filter(|part| !part.wanted.is_empty()) {
        let name = match &part.entry {
            Some(entry) => format!("{} {entry}", part.part),
            None => part.part.to_owned(),
        };
        let given = part.given.as_deref().unwrap_or("nothing");
        let _ = match part.met {
            true => writeln!(out, "    met      {name}: {given}"),
            false => writeln!(out, "    NOT MET  {name}: wants {}; found {given}", part.wanted.join(", ")),
        };
    }
}

fn context(out: &mut String, known: &Known) {
    let aliases = Some(known.aliases.join(", ")).filter(|aliases| !aliases.is_empty());
    let parts = [
        ("names", &aliases),
        ("state", &known.state),
        ("policy", &known.policy),
        ("grant", &known.grant),
        ("caller", &known.user),
    ];
    for (name, text) in parts {
        if let Some(text) = text {
            let _ = writeln!(out, "  {name:<9} {text}");
        }
    }
}

fn rules(out: &mut String, rules: &Rules) {
    let count = |count: usize, what: &str| if count == 0 { "none".to_owned() } else { format!("{count} {what}") };
    let _ = writeln!(out, "\nRULES THAT MATCH: {}", count(rules.matched.len(), "of them"));
    rules.matched.iter().for_each(|matched| match_of(out, matched));
    if !rules.filtered.is_empty() {
        out.push_str("\nTAKEN AWAY BY A FILTER\n");
        rules.filtered.iter().for_each(|missed| miss_of(out, missed));
    }
    if !rules.near.is_empty() {
        out.push_str("\nRULES THAT DO NOT MATCH, THE NEAREST FIRST\n");
        rules.near.iter().for_each(|missed| miss_of(out, missed));
    }
    if rules.not_shown + rules.not_considered > 0 {
        out.push('\n');
    }
    if rules.not_shown > 0 {
        let _ = writeln!(out, "not shown: {} for such calls that lack more (--all shows them)", rules.not_shown);
    }
    if rules.not_considered > 0 {
        let _ = writeln!(out, "not looked at: {} for other calls", rules.not_considered);
    }
}

fn title(rule: &Named) -> String {
    format!("[{}] {}", rule.level.to_uppercase(), rule.title)
}

fn match_of(out: &mut String, matched: &Matched) {
    let _ = writeln!(out, "  {}  {}", title(&matched.rule), matched.rule.path);
    if matched.towards.is_empty() {
        out.push_str("    nothing counts it\n");
    }
    for towards in &matched.towards {
        if towards.rule == matched.rule {
            let _ = writeln!(out, "    {}: {}", towards.kind, towards.how);
        } else {
            let _ = writeln!(out, "    counts towards {}: {}: {}", title(&towards.rule), towards.kind, towards.how);
        }
        for (name, value) in &towards.group {
            let value = if value.is_empty() { "(none)" } else { value };
            let _ = writeln!(out, "      {name} = {value}");
        }
        if let Some(ticket) = &towards.suppressed {
            let _ = writeln!(out, "      suppressed under {ticket}");
        }
        if !towards.opens {
            out.push_str("      tells nobody by itself\n");
        }
        if !towards.feeds.is_empty() {
            let _ = writeln!(out, "      its incidents count towards {}", towards.feeds.join(", "));
        }
    }
    items(out, &matched.items);
}

fn miss_of(out: &mut String, missed: &Missed) {
    let _ = writeln!(out, "  {}  {}", title(&missed.rule), missed.rule.path);
    let role = match missed.role {
        "closes" => "it does not close a case: ",
        "escalates" => "it does not make a case graver: ",
        _ => "",
    };
    let _ = writeln!(out, "    {role}{} of {} items are as wanted; in the way", missed.held, missed.of);
    missed.hindrances.iter().for_each(|hindered| hindrance(out, hindered));
    items(out, &missed.items);
}

fn hindrance(out: &mut String, hindered: &Hindered) {
    let name = hindered.name.as_deref();
    let _ = match hindered.kind {
        "filter" => writeln!(out, "      filter '{}' takes it away", name.unwrap_or_default()),
        "excluded" => {
            writeln!(out, "      selection {} holds, and the condition says not", name.unwrap_or_default())
        }
        _ => Ok(()),
    };
    for item in &hindered.items {
        let is_item = hindered.kind == "item";
        let selection = name.filter(|_| is_item).map(|name| format!("{name}: ")).unwrap_or_default();
        let not = if is_item && hindered.holds { "not " } else { "" };
        let indent = if is_item { "" } else { "  " };
        let _ = writeln!(out, "      {indent}{selection}{not}{}", item_of(item));
    }
}

fn items(out: &mut String, items: &[ItemTried]) {
    for item in items {
        let holds = if item.holds { "yes" } else { "NO " };
        let selection = item.selection.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let _ = writeln!(out, "    {holds} {selection}{}", item_of(item));
    }
}

fn item_of(item: &ItemTried) -> String {
    let field = if item.field.is_empty() { "(anywhere in the record)" } else { &item.field };
    let found: Vec<_> = item
        .found
        .iter()
        .map(|found| {
            let name = if item.found.len() > 1 { format!("{} ", found.field) } else { String::new() };
            match &found.values {
                None => format!("{name}nothing"),
                Some(values) if values.is_empty() => format!("{name}an empty list"),
                Some(values) => format!("{name}{}", values.join(", ")),
            }
        })
        .collect();
    let found = if found.is_empty() { String::new() } else { format!("; found {}", found.join(", ")) };
    format!("{field}: {}{found}", item.wanted.join(" or "))
}
