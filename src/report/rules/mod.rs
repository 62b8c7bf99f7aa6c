//! The rules of a set for people and other tools: a list, a layer for the ATT&CK Navigator, what of
//! KMS is watched, which controls are served, and the page `rules/README.md`.
//!
//! Invariant: the same rules give the same bytes, whatever the order of their files.

pub mod controls;
pub mod coverage;
pub mod json;
pub mod markdown;
pub mod navigator;
pub mod table;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use crate::rule::reach::Watched;
use crate::rule::{Rule, RuleSet};

/// A rule that opens incidents.
#[derive(Clone, Debug)]
pub struct Entry<'r> {
    /// The rule.
    pub rule: &'r Rule,
    /// What of KMS it looks at.
    pub watched: Watched,
}

impl Entry<'_> {
    /// ATT&CK tactics, as Sigma spells them.
    fn tactics(&self) -> impl Iterator<Item = &str> {
        self.attack().filter(|name| technique(name).is_none())
    }

    /// ATT&CK techniques, as ATT&CK spells them: `T1555.006`.
    fn techniques(&self) -> impl Iterator<Item = String> {
        self.attack().filter_map(technique)
    }

    fn attack(&self) -> impl Iterator<Item = &str> {
        self.rule.meta.tags.iter().filter_map(|tag| tag.strip_prefix("attack."))
    }

    fn family(&self) -> &str {
        if self.rule.meta.family.is_empty() { "-" } else { &self.rule.meta.family }
    }
}

fn technique(name: &str) -> Option<String> {
    let digits = name.strip_prefix(['t', 'T'])?;
    let is_id =
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_id.then(|| format!("T{digits}"))
}

/// The rules that open incidents, by family, the gravest first.
#[must_use]
pub fn entries(rules: &RuleSet) -> Vec<Entry<'_>> {
    let all = rules.rules.iter().zip(rules.watched());
    let mut entries: Vec<_> =
        all.filter(|(rule, _)| rule.opens).map(|(rule, watched)| Entry { rule, watched }).collect();
    entries.sort_by(|a, b| {
        let key = |entry: &Entry<'_>| {
            let meta = &entry.rule.meta;
            (meta.family.clone(), Reverse(entry.rule.level), meta.title.clone(), meta.id.clone())
        };
        key(a).cmp(&key(b))
    });
    entries
}

/// So that `3.6` comes before `10.2`: runs of digits count as numbers.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for c in text.chars() {
        match parts.last_mut() {
            Some((_, digits)) if c.is_ascii_digit() => digits.push(c),
            Some((word, digits)) if digits.is_empty() => word.push(c),
            _ if c.is_ascii_digit() => parts.push((String::new(), c.into())),
            _ => parts.push((c.into(), String::new())),
        }
    }
    parts.into_iter().map(|(word, digits)| (word, digits.parse().unwrap_or(0))).collect()
}
