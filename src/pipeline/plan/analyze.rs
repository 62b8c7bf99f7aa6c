//! From one record to its matches: derive, enrich, evaluate, and put down what alerts will show.

use std::sync::Arc;

use crate::engine::matched::{Details, Facts, GroupKey, Match, Sample, Signal, signals};
use crate::engine::watermark::Lane;
use crate::event::EventId;
use crate::event::derive::{derive, uses_of};
use crate::event::field::{FieldId, FieldValue, Fields, core, derived};
use crate::event::record::Record;
use crate::keys::enrich;
use crate::keys::exception::Told;
use crate::keys::inventory::Inventory;
use crate::keys::picture::{Picture, Used};
use crate::rule::detector::{Deadline, Test};
use crate::rule::{Detector, Input, Role, Rule, RuleSet};
use crate::time::Span;

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
    /// The rules were asked.
    Read(Reading),
}

/// What a record that rules read came to.
#[derive(Debug, Default)]
pub struct Reading {
    /// These rules matched.
    pub matches: Vec<Match>,
    /// Tickets of the suppressions without which more would have.
    pub suppressed: Vec<String>,
    /// Keys that it used with success.
    pub uses: Vec<Used>,
}

/// Longer records are not kept as evidence: their place is told instead.
const MAX_SAMPLE_BYTES: usize = 16 * 1024;

impl Analyzer {
    /// Reads one record against the rules, with what is known of keys.
    #[must_use]
    pub fn analyze(&self, mut record: Record<'_>, picture: &Picture) -> Analysis {
        if !self.rules.wants(record.source(), record.name()) {
            return Analysis::Filtered;
        }
        let lane = lane_of(&record);
        let mut reading = Reading::default();
        let mut fed = Vec::new();
        let uses = uses_of(&record);
        // A supplement (aws-facts 1.5) has an id of its own and is about the same call, which counts once.
        let id = record.fields.text(core::ORIGINAL_EVENT_ID).map_or_else(|| record.id.clone(), EventId::new);
        let mut raw: Option<Arc<str>> = None;
        for used in &uses {
            derive(&mut record, used);
            enrich(&mut record, used, &self.inventory, picture);
            reading.uses.extend(success(&record));
            self.rules.feeds(&record.fields, record.raw, &mut fed);
            let mut texts = Texts { fields: &record.fields, read: Vec::new() };
            let mut facts: Option<Arc<Facts>> = None;
            for input in &fed {
                let Some(rule) = self.rules.rules.get(input.rule.0 as usize) else { continue };
                let Some((group, signals, number)) = said(&record, rule, input, &mut texts) else { continue };
                if let Some(ticket) = self.suppressed(&record, rule, input) {
                    reading.suppressed.push(ticket);
                    continue;
                }
                // One record may be several steps of one rule, or two uses of one group.
                let same = |matched: &&mut Match| matched.rule == input.rule && matched.group == group;
                if let Some(matched) = reading.matches.iter_mut().find(same) {
                    matched.signals.extend(
                        signals.into_iter().filter(|signal| !matched.signals.contains(signal)).collect::<Vec<_>>(),
                    );
                    continue;
                }
                reading.matches.push(Match {
                    rule: input.rule,
                    group,
                    id: id.clone(),
                    time: record.time,
                    lane: lane.clone(),
                    signals,
                    number,
                    facts: facts.get_or_insert_with(|| Arc::new(facts_of(&record.fields))).clone(),
                    sample: Some(Arc::new(Sample {
                        raw: raw.get_or_insert_with(|| evidence_of(&record)).clone(),
                        details: details_of(rule, &mut texts),
                    })),
                });
            }
        }
        Analysis::Read(reading)
    }

    /// The ticket under which a match is not counted. What a rule waits for (a sign of life, the end
    /// of a case) is counted all the same, or leaving it out would ring.
    #[must_use]
    pub fn suppressed(&self, record: &Record<'_>, rule: &Rule, input: &Input) -> Option<String> {
        let awaited = matches!(rule.detector, Detector::Absence(_)) || input.role == Role::Closes;
        if self.inventory.suppressions.is_empty() || awaited {
            return None;
        }
        let fields = &record.fields;
        let principals: Vec<String> = fields.text(derived::PRINCIPAL).map(str::to_owned).into_iter().collect();
        let names = [derived::KEY_ARN, derived::KEY_ID, derived::ALIAS].map(|id| fields.text(id));
        let names: Vec<&str> = names.into_iter().flatten().collect();
        let keys = if names.is_empty() { Vec::new() } else { vec![names] };
        let told = Told { rule: &rule.meta.id, principals: &principals, keys: &keys, last: record.time };
        self.inventory.suppresses(told).map(|suppression| suppression.ticket.clone())
    }
}

/// The use that a derived record is of, if it is a cryptographic one and did not fail.
fn success(record: &Record<'_>) -> Option<Used> {
    let text = |id| record.fields.text(id);
    let is_use = text(derived::CLASS) == Some("cryptographic") && text(derived::OUTCOME) == Some("success");
    let key = text(derived::KEY_ARN).filter(|key| is_use && key.starts_with("arn:"))?;
    Some(Used {
        key: key.to_owned(),
        principal: text(derived::PRINCIPAL)?.to_owned(),
        operation: record.name().to_owned(),
        time: record.time,
    })
}

/// Account and Region of a record.
#[must_use]
pub fn lane_of(record: &Record<'_>) -> Lane {
    let text = |id| record.fields.text(id).unwrap_or("-");
    format!("{}/{}", text(core::RECIPIENT_ACCOUNT), text(core::AWS_REGION)).chars().take(64).collect::<String>().into()
}

/// The group that an input puts a record in, and what it says there; nothing when the record lacks
/// what is to be counted or bound.
fn said(
    record: &Record<'_>,
    rule: &Rule,
    input: &Input,
    texts: &mut Texts<'_, '_>,
) -> Option<(GroupKey, Vec<Signal>, Option<f64>)> {
    let mut value = |id: &FieldId| texts.get(*id);
    let group = input.group_by.iter().map(|id| value(id).unwrap_or_default()).collect();
    let (signals, number) = match (&rule.detector, input.role) {
        (_, Role::Closes) => (vec![Signal::Closes], None),
        (_, Role::Escalates(number)) => (vec![Signal::Escalates(number)], None),
        (Detector::Case(case), Role::Counts(_)) => {
            let mut days = |deadline: &Deadline| {
                let given = input.value.first().and_then(&mut value).and_then(|text| text.parse::<u32>().ok());
                u64::from(given.unwrap_or(deadline.default_days).min(MAX_DAYS))
            };
            let deadline =
                case.deadline.as_ref().map(|deadline| record.time + Span::from_secs(days(deadline) * 86_400));
            (std::iter::once(Signal::Opens).chain(deadline.map(Signal::Deadline)).collect(), None)
        }
        (Detector::Window { test, .. }, Role::Counts(step)) => match test {
            Test::EventCount(_) => (Vec::new(), None),
            Test::Number { .. } => {
                let number = input.value.first().and_then(&mut value)?.trim().parse::<f64>().ok();
                (Vec::new(), Some(number.filter(|number| number.is_finite())?))
            }
            // A record without a value has nothing to count.
            Test::ValueCount { .. } => {
                let values: Vec<_> = input.value.iter().filter_map(&mut value).collect();
                if values.len() < input.value.len() {
                    return None;
                }
                (signals(&values, step, Vec::new()), None)
            }
            Test::Temporal { .. } | Test::Ordered { .. } => {
                let bound: Vec<_> = input.bound.iter().map(|id| id.as_ref().and_then(&mut value)).collect();
                let lacks = |(id, value): (&Option<FieldId>, &Option<Arc<str>>)| id.is_some() && value.is_none();
                if input.bound.iter().zip(&bound).any(lacks) {
                    return None;
                }
                (signals(&[], step, bound), None)
            }
        },
        (Detector::Every | Detector::NewTerms(_) | Detector::Rate(_) | Detector::Absence(_), _) => (Vec::new(), None),
    };
    Some((GroupKey(group), signals, number))
}

/// More days than any deadline has.
const MAX_DAYS: u32 = 36_500;

fn details_of(rule: &Rule, texts: &mut Texts<'_, '_>) -> Details {
    rule.details.iter().filter_map(|(path, id)| Some((path.clone(), texts.get(*id)?))).collect()
}

/// The texts of a record's fields, each made once for all rules that read it.
struct Texts<'f, 'r> {
    fields: &'f Fields<'r>,
    read: Vec<(FieldId, Option<Arc<str>>)>,
}

impl Texts<'_, '_> {
    fn get(&mut self, id: FieldId) -> Option<Arc<str>> {
        if let Some((_, text)) = self.read.iter().find(|(known, _)| *known == id) {
            return text.clone();
        }
        let text: Option<Arc<str>> = text_of(self.fields, id).map(Into::into);
        self.read.push((id, text.clone()));
        text
    }
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

/// Longest fact: the longest ARN that AWS has (2048). Facts are kept with every match.
const MAX_FACT_CHARS: usize = 2048;

fn text_of(fields: &Fields<'_>, id: FieldId) -> Option<String> {
    let values = fields.values(id);
    let text = values.first().and_then(FieldValue::to_text)?;
    Some(text.chars().take(MAX_VALUE_CHARS).collect())
}

fn facts_of(fields: &Fields<'_>) -> Facts {
    let text = |id| fields.text(id).map(|text| text.chars().take(MAX_FACT_CHARS).collect::<String>().into());
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
