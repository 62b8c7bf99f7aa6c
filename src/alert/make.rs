//! Makes the alert of a transition.

use std::collections::{BTreeMap, BTreeSet};

use super::redact::{Redaction, printable, shell_word};
use super::{Alert, AlertKey, AlertRule, Expectation, Status};
use crate::engine::Transition;
use crate::engine::chain::dedup_key;
use crate::engine::incident::{Change, Evidence};
use crate::rule::{CHANGE_FIELD, Rule};

/// Number of the JSON format.
pub const SCHEMA: u32 = 1;

/// The alert that tells of a transition.
#[must_use]
pub fn make(rule: &Rule, transition: &Transition, redaction: Redaction) -> Alert {
    let snapshot = &transition.snapshot;
    let (incident, evidence) = (&snapshot.incident, &snapshot.evidence);
    let (status, merged_into) = match &transition.change {
        Change::Opened => (Status::Open, None),
        Change::Updated => (Status::Updated, None),
        Change::Escalated => (Status::Escalated, None),
        Change::Ended => (Status::Resolved, None),
        Change::Merged(into) => (Status::Resolved, Some(into.clone())),
    };
    let paths = rule.group_by.iter().cloned();
    let values: BTreeMap<String, String> =
        paths.zip(transition.group.0.iter().map(|value| value.to_string())).collect();
    let details = evidence.samples.first().map(|(_, _, sample)| &sample.details);
    let value = |path: &str| {
        let found = values.get(path).map(String::as_str).or_else(|| details.and_then(|details| details.get(path)))?;
        Some(redaction.field(path, found))
    };
    let count = incident.count;
    let respond = rule.respond.iter().map(|template| {
        // Values go into commands that a person will paste: each is one quoted word.
        let prose = !template.is_command();
        template.render(count, |path| value(path).map(|text| if prose { printable(&text) } else { shell_word(&text) }))
    });
    let keys = keys_of(evidence);
    let one = |pick: fn(&crate::engine::matched::Facts) -> Option<&std::sync::Arc<str>>| {
        evidence.facts.iter().find_map(|facts| pick(facts)).map(|text| printable(text))
    };
    Alert {
        schema: SCHEMA,
        id: incident.id.clone(),
        dedup_key: dedup_key(&rule.meta.id, &transition.group),
        status,
        merged_into,
        late: evidence.late,
        saturated: snapshot.saturated,
        rule: AlertRule {
            id: rule.meta.id.clone(),
            title: rule.meta.title.clone(),
            level: rule.level,
            family: rule.meta.family.clone(),
            tags: rule.meta.tags.clone(),
            controls: rule.meta.controls.clone(),
            hash: rule.meta.hash.clone(),
        },
        level: incident.level.map_or(rule.level, |level| level.max(rule.level)),
        note: incident.note.as_deref().map(printable),
        summary: rule.summary.render(count, |path| value(path).map(|text| printable(&text))),
        changes: changes_of(evidence),
        group: values.iter().map(|(path, text)| (path.clone(), printable(&redaction.field(path, text)))).collect(),
        count,
        first_event_time: evidence.first.unwrap_or(incident.start),
        last_event_time: evidence.last.unwrap_or(incident.end),
        detected_at: incident.detected_at,
        account: one(|facts| facts.account.as_ref()),
        region: one(|facts| facts.region.as_ref()),
        keys,
        principals: principals_of(evidence),
        expected: expectation_of(evidence),
        event_ids: evidence.ids.iter().map(|(_, id)| printable(id.as_str())).collect(),
        event_ids_truncated: evidence.ids.len() as u64 != count,
        evidence: evidence
            .samples
            .iter()
            .filter(|(_, _, sample)| !sample.raw.is_empty())
            .map(|(_, _, sample)| redaction.record(&sample.raw))
            .collect(),
        respond: respond.collect(),
    }
}

fn keys_of(evidence: &Evidence) -> Vec<AlertKey> {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(printable);
    let keys: BTreeSet<_> = evidence
        .facts
        .iter()
        .filter_map(|facts| {
            let arn = printable(facts.key.as_deref()?);
            Some(AlertKey {
                arn,
                alias: text(&facts.alias),
                domain: text(&facts.domain),
                tier: text(&facts.tier),
                owner: text(&facts.owner),
            })
        })
        .collect();
    keys.into_iter().collect()
}

fn changes_of(evidence: &Evidence) -> Vec<String> {
    let mut changes: Vec<String> = Vec::new();
    for change in evidence.samples.iter().filter_map(|(_, _, sample)| sample.details.get(CHANGE_FIELD)) {
        let change = printable(change);
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes
}

fn principals_of(evidence: &Evidence) -> Vec<String> {
    let principals: BTreeSet<_> = evidence.facts.iter().filter_map(|facts| facts.principal.as_deref()).collect();
    principals.into_iter().map(printable).collect()
}

/// One unexpected use makes the whole unexpected.
fn expectation_of(evidence: &Evidence) -> Expectation {
    let judged = |verdict| evidence.facts.iter().find(|facts| facts.expected == Some(verdict));
    let facts = judged(false).or_else(|| judged(true));
    Expectation {
        verdict: facts.and_then(|facts| facts.expected),
        reason: facts.and_then(|facts| facts.reason.as_deref()).map(printable),
    }
}
