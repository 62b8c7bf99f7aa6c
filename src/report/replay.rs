//! The report of a replay: incidents, a table by rule and level, and the account of every record.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::alert::redact::printable;
use crate::alert::{Alert, Status};
use crate::pipeline::plan::Accounting;
use crate::rule::Level;

/// Incidents listed by themselves; the table counts all.
const MAX_LISTED: usize = 40;

/// The report as text.
#[must_use]
pub fn table(alerts: &[Alert], accounting: &Accounting, files: usize) -> String {
    let mut out = String::new();
    for alert in alerts.iter().take(MAX_LISTED) {
        let records = if alert.count == 1 { String::new() } else { format!("  ({} records)", alert.count) };
        let level = alert.level.as_str().to_uppercase();
        let _ = writeln!(out, "{}  {level:<13}  {}{records}", alert.first_event_time, printable(&alert.summary));
    }
    if alerts.len() > MAX_LISTED {
        let _ = writeln!(out, "... and {} more; `--format jsonl` prints all", alerts.len() - MAX_LISTED);
    }
    if !alerts.is_empty() {
        out.push('\n');
        out.push_str(&by_rule(alerts));
    }
    let open = alerts.iter().filter(|alert| alert.status == Status::Open).count();
    let _ = writeln!(out, "\n{} incidents ({open} still open at the end) in {files} files", alerts.len());
    out.push_str(&account(accounting));
    out
}

fn by_rule(alerts: &[Alert]) -> String {
    let mut rows: BTreeMap<(std::cmp::Reverse<Level>, &str), (u64, u64)> = BTreeMap::new();
    for alert in alerts {
        let row = rows.entry((std::cmp::Reverse(alert.level), &alert.rule.title)).or_default();
        row.0 += 1;
        row.1 += alert.count;
    }
    let mut out = format!("{:<13}  {:>9}  {:>9}  RULE\n", "LEVEL", "INCIDENTS", "RECORDS");
    for ((level, title), (incidents, records)) in rows {
        let _ = writeln!(out, "{:<13}  {incidents:>9}  {records:>9}  {title}", level.0.as_str());
    }
    out
}

/// The account of every record, in one line.
#[must_use]
pub fn account(accounting: &Accounting) -> String {
    let Accounting { received, applied, duplicate, filtered, late, parked, suppressed, .. } = accounting;
    let closes = if accounting.closes() { "" } else { "  DOES NOT CLOSE: please report this" };
    let suppressed = match suppressed {
        0 => String::new(),
        count => format!("suppressed: {count} matches, under tickets of the inventory\n"),
    };
    format!(
        "records: {received} received = {applied} applied + {duplicate} duplicate + {filtered} filtered + {late} late + {parked} unreadable{closes}\n{suppressed}"
    )
}
