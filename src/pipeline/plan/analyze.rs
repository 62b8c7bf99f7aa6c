//! From one record to its matches: derive, enrich, evaluate, and put down what alerts will show.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::matched::{Facts, GroupKey, Match, Sample};
use crate::engine::watermark::Lane;
use crate::event::derive::{derive, uses_of};
use crate::event::field::{FieldId, FieldValue, Fields, core, derived};
use crate::event::record::Record;
use crate::keys::enrich;
use crate::keys::inventory::Inventory;
use crate::rule::{Detector, Rule, RuleIndex, RuleSet};

/// Rules and inventory: everything that a record is read against.
#[derive(Clone, Debug)]
pub struct Analyzer {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// The inventory.
    pub inventory: Arc<Inventory>,
}

/// What a record came to.
#[derive(Debug)]
pub enum Analysis {
    /// No rule reads such records.
    Filtered,
    /// The rules were asked; these matched.
    Matches(Vec<Match>),
}

/// Longer records are not kept as evidence: their place is told instead.
const MAX_SAMPLE_BYTES: usize = 16 * 1024;

impl Analyzer {
    /// Reads one record against the rules.
    #[must_use]
    pub fn analyze(&self, mut record: Record<'_>) -> Analysis {
        if !self.rules.wants(record.source(), record.name()) {
            return Analysis::Filtered;
        }
        let lane = lane_of(&record);
        let mut matches = Vec::new();
        let mut matching = Vec::new();
        let uses = uses_of(&record);
        for used in &uses {
            derive(&mut record, used);
            enrich(&mut record, used, &self.inventory);
            self.rules.matches(&record.fields, record.raw, &mut matching);
            for index in &matching {
                if let Some(rule) = self.rules.rules.get(index.0 as usize) {
                    matches.extend(match_of(&record, *index, rule, &lane));
                }
            }
        }
        Analysis::Matches(matches)
    }
}

/// Account and Region of a record.
#[must_use]
pub fn lane_of(record: &Record<'_>) -> Lane {
    let text = |id| record.fields.text(id).unwrap_or("-");
    format!("{}/{}", text(core::RECIPIENT_ACCOUNT), text(core::AWS_REGION)).chars().take(64).collect::<String>().into()
}

fn match_of(record: &Record<'_>, index: RuleIndex, rule: &Rule, lane: &Lane) -> Option<Match> {
    let fields = &record.fields;
    let value = match &rule.detector {
        // A record without the value has nothing to count.
        Detector::ValueCount { field, .. } => Some(Arc::from(text_of(fields, *field)?)),
        Detector::Every | Detector::EventCount { .. } => None,
    };
    let group = rule.group_by.iter().map(|(_, id)| Arc::from(text_of(fields, *id).unwrap_or_default())).collect();
    let templates = std::iter::once(&rule.summary).chain(&rule.respond);
    let details: BTreeMap<_, _> = templates
        .flat_map(|template| template.fields())
        .filter_map(|(path, id)| Some((path.to_owned(), text_of(fields, id)?)))
        .collect();
    Some(Match {
        rule: index,
        group: GroupKey(group),
        id: record.id.clone(),
        time: record.time,
        lane: lane.clone(),
        value,
        facts: facts_of(fields),
        sample: Some(Arc::new(Sample { raw: evidence_of(record), details })),
    })
}

fn evidence_of(record: &Record<'_>) -> Arc<str> {
    if record.raw.len() <= MAX_SAMPLE_BYTES {
        return record.raw.into();
    }
    let told = serde_json::json!({
        "eventID": record.id.as_str(),
        "eventTime": record.time.to_string(),
        "eventSource": record.source(),
        "eventName": record.name(),
        "omitted": format!("a record of {} bytes; find it by its eventID", record.raw.len()),
    });
    told.to_string().into()
}

/// Longest text of a group value or detail: what attackers choose ends somewhere.
const MAX_VALUE_CHARS: usize = 512;

fn text_of(fields: &Fields<'_>, id: FieldId) -> Option<String> {
    let values = fields.values(id);
    let text = values.first().and_then(FieldValue::to_text)?;
    Some(text.chars().take(MAX_VALUE_CHARS).collect())
}

fn facts_of(fields: &Fields<'_>) -> Facts {
    let text = |id| fields.text(id).map(Arc::from);
    Facts {
        principal: text(derived::PRINCIPAL),
        key: text(derived::KEY_ARN),
        alias: text(derived::ALIAS),
        domain: text(derived::DOMAIN),
        tier: text(derived::TIER),
        owner: text(derived::OWNER),
        account: text(core::RECIPIENT_ACCOUNT),
        region: text(core::AWS_REGION),
        expected: match fields.values(derived::EXPECTED) {
            [FieldValue::Bool(flag)] => Some(*flag),
            _ => None,
        },
        reason: text(derived::EXPECTED_REASON),
    }
}
