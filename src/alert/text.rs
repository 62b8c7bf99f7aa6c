//! The alert as plain text, most important first: for terminals, e-mail, SMS and subjects.

use std::fmt::Write as _;

use super::redact::printable;
use super::{Alert, Status};

fn badge(alert: &Alert) -> String {
    let level = alert.level.as_str().to_uppercase();
    match alert.status {
        Status::Open => level,
        status => format!("{level} {}", status.as_str()),
    }
}

/// One screen.
#[must_use]
pub fn render(alert: &Alert) -> String {
    let mut out = format!("[{}] {}\n{}\n", badge(alert), alert.rule.title, alert.summary);
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {name:<9} {text}");
        }
    };
    for key in alert.keys.iter().take(5) {
        let mut parts = vec![key.alias.clone().unwrap_or_else(|| key.arn.clone())];
        parts.extend(key.domain.as_ref().map(|domain| format!("domain {domain}")));
        parts.extend(key.tier.as_ref().map(|tier| format!("tier {tier}")));
        parts.extend(key.owner.as_ref().map(|owner| format!("owner {owner}")));
        parts.extend(key.alias.as_ref().map(|_| key.arn.clone()));
        line("key", parts.join(", "));
    }
    if alert.keys.len() > 5 {
        line("", format!("and {} more keys", alert.keys.len() - 5));
    }
    line("who", alert.principals.iter().take(5).cloned().collect::<Vec<_>>().join(", "));
    line(
        "where",
        [alert.account.as_deref(), alert.region.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" "),
    );
    line("when", when(alert));
    if let Some(reason) = &alert.expected.reason {
        let verdict = if alert.expected.verdict == Some(false) { "NOT EXPECTED" } else { "expected" };
        line("use", format!("{verdict}: {reason}"));
    }
    for change in alert.changes.iter().take(3) {
        line("changed", change.clone());
    }
    line("note", alert.note.clone().unwrap_or_default());
    line("controls", alert.rule.controls.join(", "));
    if alert.late {
        line("note", "some records came late: the count is a lower bound".to_owned());
    }
    if alert.saturated {
        line("note", "a limit was reached: the count is an estimate".to_owned());
    }
    if let Some(into) = &alert.merged_into {
        line("note", format!("became part of incident {into}"));
    }
    if !alert.respond.is_empty() && alert.status != Status::Resolved {
        out.push_str("  do now\n");
        for command in &alert.respond {
            let _ = writeln!(out, "    {}", printable(command));
        }
    }
    let _ = writeln!(out, "  incident  {}", alert.id);
    out
}

fn when(alert: &Alert) -> String {
    let records = if alert.count == 1 { "1 record".to_owned() } else { format!("{} records", alert.count) };
    if alert.first_event_time == alert.last_event_time {
        return format!("{} ({records})", alert.first_event_time);
    }
    let span = alert.last_event_time - alert.first_event_time;
    format!("{} to {} ({records} in {span})", alert.first_event_time, alert.last_event_time)
}

/// At most 160 characters, for SMS.
#[must_use]
pub fn short(alert: &Alert) -> String {
    cut(&format!("[{}] {}", badge(alert), alert.summary), 160)
}

/// At most 99 printable ASCII characters, as SNS asks of a subject.
#[must_use]
pub fn subject(alert: &Alert) -> String {
    let text: String = format!("[{}] {}", badge(alert), alert.rule.title)
        .chars()
        .map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' })
        .collect();
    cut(&text, 99).replace('\u{2026}', ".")
}

fn cut(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(max_chars - 1).collect();
    kept.push('\u{2026}');
    kept
}
