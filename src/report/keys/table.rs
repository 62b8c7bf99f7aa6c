//! All keys, a line each.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Card, Sources, Standing};

/// A key in the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Alias, else id.
    pub name: String,
    /// ARN.
    pub arn: String,
    /// Its domain.
    pub domain: Option<String>,
    /// Its state.
    pub state: Option<String>,
    /// Principals seen using it.
    pub users: usize,
    /// Those of them that are not expected.
    pub unexpected: usize,
    /// Grants in force.
    pub grants: usize,
    /// Incidents remembered.
    pub incidents: usize,
}

/// All keys that something is known of: by domain, those in none last, then by name.
#[must_use]
pub fn rows(sources: &Sources<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = sources.arns().iter().map(|arn| row(sources.card(arn))).collect();
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.domain.is_none(), row.domain.clone(), row.name.clone(), row.arn.clone());
        key(a).cmp(&key(b))
    });
    rows
}

fn row(card: Card) -> Row {
    let is_unexpected = |standing| matches!(standing, Standing::Never | Standing::Unexpected);
    Row {
        name: card.name,
        arn: card.arn,
        domain: card.domain.map(|domain| domain.name),
        state: card.state.map(|state| match state.days_left {
            Some(days) => format!("{} ({days}d)", state.name),
            None => state.name,
        }),
        users: card.users.len(),
        unexpected: card.users.iter().filter(|user| is_unexpected(user.standing)).count(),
        grants: card.grants.live.len() + card.grants.not_shown,
        incidents: card.incidents.len(),
    }
}

/// The table as text.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let width = |texts: &mut dyn Iterator<Item = &str>, least: usize| {
        texts.map(|text| text.chars().count()).max().unwrap_or_default().clamp(least, 60)
    };
    let name = width(&mut rows.iter().map(|row| row.name.as_str()), 4);
    let domain = width(&mut rows.iter().filter_map(|row| row.domain.as_deref()), 6);
    let state = width(&mut rows.iter().filter_map(|row| row.state.as_deref()), 5);
    let mut out = format!(
        "{:<name$}  {:<domain$}  {:<state$}  {:>5}  {:>10}  {:>6}  {:>9}  ARN\n",
        "NAME", "DOMAIN", "STATE", "USERS", "UNEXPECTED", "GRANTS", "INCIDENTS"
    );
    for row in rows {
        let _ = writeln!(
            out,
            "{:<name$}  {:<domain$}  {:<state$}  {:>5}  {:>10}  {:>6}  {:>9}  {}",
            row.name,
            row.domain.as_deref().unwrap_or("-"),
            row.state.as_deref().unwrap_or("-"),
            row.users,
            row.unexpected,
            row.grants,
            row.incidents,
            row.arn
        );
    }
    let _ = writeln!(out, "\n{} keys", rows.len());
    out
}
