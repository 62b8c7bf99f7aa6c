//! Reports of what captures say of an inventory: where they depart from it, and what was proposed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::alert::redact::printable;
use crate::keys::expect::short_name;
use crate::keys::inventory::Inventory;
use crate::keys::learn::drift::Drift;
use crate::keys::learn::propose::{Proposal, ProposedDomain};
use crate::keys::learn::support::{Support, date, plural, thousands};

/// Rows of each table; JSON has all.
const MAX_ROWS: usize = 200;

/// Whether captures and inventory agree.
#[must_use]
pub fn is_none(drift: &Drift, inventory: &Inventory) -> bool {
    drift.departures().next().is_none() && drift.strangers().next().is_none() && drift.unused(inventory).is_empty()
}

/// For people.
#[must_use]
pub fn table(drift: &Drift, inventory: &Inventory) -> String {
    let mut out = String::new();
    let mut departures: Vec<_> = drift.departures().collect();
    departures.sort_by(|a, b| (&a.0.domain, a.0).cmp(&(&b.0.domain, b.0)));
    if !departures.is_empty() {
        let _ = writeln!(out, "Not expected by the inventory:");
        let _ = writeln!(out, "{:<10}  {:<20}  {:>8}  {:>5}  {:<10}  WHAT", "NEW", "DOMAIN", "USES", "DAYS", "LAST");
        for (one, support) in departures.iter().take(MAX_ROWS) {
            let detail = if one.detail.is_empty() { String::new() } else { format!(" ({})", one.detail) };
            let what = format!("{} {} on {}{detail}", short_name(&one.principal), one.operation, one.key);
            row(&mut out, one.kind.as_str(), &one.domain, support, &what);
        }
        more(&mut out, departures.len());
    }
    let strangers: Vec<_> = drift.strangers().collect();
    if !strangers.is_empty() {
        let _ = writeln!(out, "{}Used, and in no domain:", if out.is_empty() { "" } else { "\n" });
        for (key, support) in strangers.iter().take(MAX_ROWS) {
            row(&mut out, "key", "-", support, key);
        }
        more(&mut out, strangers.len());
    }
    let unused = drift.unused(inventory);
    if !unused.is_empty() {
        let _ = writeln!(out, "{}Expected, and never seen:", if out.is_empty() { "" } else { "\n" });
        for one in unused.iter().take(MAX_ROWS) {
            let _ = writeln!(out, "line {:<5}  {:<20}  {}", one.line, printable(&one.domain), printable(&one.what));
        }
        more(&mut out, unused.len());
    }
    if drift.is_partial() {
        let _ = writeln!(out, "There was more than could be kept: this is a part of it.");
    }
    if out.is_empty() {
        out.push_str("What was seen and what the inventory expects are the same.\n");
    }
    out
}

fn row(out: &mut String, kind: &str, domain: &str, support: &Support, what: &str) {
    let (uses, days, last) = (thousands(support.uses), support.days(), date(support.last));
    let domain = printable(domain);
    let _ = writeln!(out, "{kind:<10}  {domain:<20}  {uses:>8}  {days:>5}  {last:<10}  {}", printable(what));
}

fn more(out: &mut String, rows: usize) {
    if rows > MAX_ROWS {
        let _ = writeln!(out, "... and {} more; `--format json` has all", rows - MAX_ROWS);
    }
}

/// For other tools: one document.
#[must_use]
pub fn json(drift: &Drift, inventory: &Inventory) -> String {
    let support = |support: &Support| {
        json!({
            "uses": support.uses,
            "days": support.days(),
            "first": support.first.to_string(),
            "last": support.last.to_string(),
        })
    };
    let departures: Vec<Value> = drift
        .departures()
        .map(|(one, seen)| {
            json!({
                "new": one.kind.as_str(), "domain": one.domain, "key": one.key, "principal": one.principal,
                "operation": one.operation, "detail": one.detail, "seen": support(seen),
            })
        })
        .collect();
    let keys: Vec<Value> = drift.strangers().map(|(key, seen)| json!({ "key": key, "seen": support(seen) })).collect();
    let unused: Vec<Value> = drift
        .unused(inventory)
        .into_iter()
        .map(|one| json!({ "domain": one.domain, "line": one.line, "what": one.what }))
        .collect();
    let all = json!({
        "schema": 1,
        "unexpected": departures,
        "keys_in_no_domain": keys,
        "never_seen": unused,
        "is_partial": drift.is_partial(),
    });
    format!("{all:#}\n")
}

/// What was proposed, in a few words.
#[must_use]
pub fn of_proposal(proposal: &Proposal) -> String {
    let count = |of: fn(&ProposedDomain) -> usize| proposal.domains.iter().map(of).sum::<usize>() as u64;
    let Proposal { domains, support, .. } = proposal;
    let mut out = format!(
        "{} with {}, {} of expected use and {} to review, from {} on {}",
        plural(domains.len() as u64, "domain"),
        plural(count(|domain| domain.keys.len()), "key"),
        plural(count(|domain| domain.lines.len()), "line"),
        thousands(count(|domain| domain.review.len())),
        plural(support.uses, "use"),
        plural(support.days() as u64, "day"),
    );
    for what in &proposal.left_out {
        let _ = write!(out, "\nnot all of it: {}", printable(what));
    }
    out
}
