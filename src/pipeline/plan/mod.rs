//! The plan: what a batch of deliveries comes to, as data. Pure; the driver carries it out.
//!
//! Invariants: nothing is in [`Planned::ack`] whose effects are not in [`Planned::commit`]; a
//! delivery with anything unreadable in it is never acknowledged; the accounting closes:
//! received = applied + duplicate + filtered + late + parked.

pub mod analyze;
pub mod conduct;
pub mod recent;
pub mod reload;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use analyze::{Analysis, Analyzer, lane_of};
use recent::{Recent, RecordKey};

use crate::alert::Alert;
use crate::alert::make::make;
use crate::alert::redact::{Redaction, printable};
use crate::engine::incident::Change;
use crate::engine::lesson::Lesson;
use crate::engine::{Applied, Engine, EngineLimits, RestoreError, StateDelta, Transition};
use crate::event::EventId;
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::record::decode;
use crate::keys::inventory::Inventory;
use crate::keys::picture::change::{Change as KeyChange, changes_of, stamp_of};
use crate::keys::picture::version::Stamp;
use crate::keys::picture::{Picture, PictureLimits, RowError, Told};
use crate::keys::snapshot::KeyFacts;
use crate::rule::RuleSet;
use crate::source::{Delivery, Receipt};
use crate::store::{Commit, Restored};
use crate::time::EventTime;

/// What became of records and incidents; sums over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Records, and bodies that hold none that can be read.
    pub received: u64,
    /// Read against the rules.
    pub applied: u64,
    /// Known already.
    pub duplicate: u64,
    /// Nothing that rules are about.
    pub filtered: u64,
    /// Read against the rules, after the allowed lateness.
    pub late: u64,
    /// Cannot be read.
    pub parked: u64,
    /// Incidents opened.
    pub opened: u64,
    /// Alerts for the outbox: openings, updates and ends.
    pub alerts: u64,
    /// Groups given up at a limit.
    pub evicted: u64,
    /// Matches that a suppression of the inventory took away.
    pub suppressed: u64,
}

impl Accounting {
    /// Whether every record received is accounted for.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.received == self.applied + self.duplicate + self.filtered + self.late + self.parked
    }
}

impl AddAssign for Accounting {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.filtered += other.filtered;
        self.late += other.late;
        self.parked += other.parked;
        self.opened += other.opened;
        self.alerts += other.alerts;
        self.evicted += other.evicted;
        self.suppressed += other.suppressed;
    }
}

/// What the plan may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of the engine.
    pub engine: EngineLimits,
    /// Of a body.
    pub envelope: EnvelopeLimits,
    /// Records remembered as done.
    pub recent: usize,
    /// Of what is known of keys.
    pub picture: PictureLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            engine: EngineLimits::default(),
            envelope: EnvelopeLimits::default(),
            recent: 500_000,
            picture: PictureLimits::default(),
        }
    }
}

/// What to do about a batch: commit, and only then acknowledge and park.
#[derive(Debug, Default)]
pub struct Planned {
    /// State and outbox.
    pub commit: Commit,
    /// To be acknowledged once the commit is durable.
    pub ack: Vec<Receipt>,
    /// To be left to the source's dead-letter path, and why.
    pub park: Vec<(Receipt, String)>,
    /// What became of the records.
    pub accounting: Accounting,
    /// Matches suppressed, by ticket.
    pub suppressed: BTreeMap<String, u64>,
}

/// Why what a store held cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Of the rules' state.
    #[error(transparent)]
    Rules(#[from] RestoreError),
    /// Of what is known of keys.
    #[error(transparent)]
    Keys(#[from] RowError),
}

/// Rules, inventory and all state.
pub struct Plan {
    analyzer: Analyzer,
    engine: Engine,
    picture: Picture,
    recent: Recent,
    /// Of the batch that is not yet committed.
    fresh: Vec<RecordKey>,
    limits: Limits,
    redaction: Redaction,
}

impl Plan {
    /// A plan without state.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, inventory: Arc<Inventory>, limits: Limits, redaction: Redaction) -> Self {
        Self {
            engine: Engine::new(rules.clone(), limits.engine),
            analyzer: Analyzer { rules, inventory },
            picture: Picture::new(limits.picture),
            recent: Recent::new(limits.recent),
            fresh: Vec::new(),
            limits,
            redaction,
        }
    }

    /// Takes back what earlier commits made durable; returns how many groups belong to no rule now.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn restore(&mut self, restored: &Restored) -> Result<u64, PlanError> {
        let (of_keys, of_rules): (Vec<_>, Vec<_>) =
            restored.rows.iter().cloned().partition(|(key, _)| Picture::owns(key));
        for (key, value) in &of_keys {
            self.picture.restore(key, value)?;
        }
        Ok(self.engine.restore(&of_rules)?)
    }

    /// Takes over what KMS itself says of keys.
    pub fn take_snapshot(&mut self, keys: &[KeyFacts]) -> Commit {
        keys.iter().for_each(|facts| self.picture.take_snapshot(facts));
        Commit { deltas: self.rows_of_keys(), outbox: Vec::new() }
    }

    /// Plans a batch that came at `now`.
    pub fn batch(&mut self, deliveries: &[Delivery], now: EventTime) -> Planned {
        let mut planned = Planned::default();
        for delivery in deliveries {
            match self.delivery(delivery, now, &mut planned) {
                None => planned.ack.push(delivery.receipt.clone()),
                Some(reason) => {
                    self.tell_parked(delivery, &reason, now);
                    planned.park.push((delivery.receipt.clone(), reason));
                }
            }
        }
        self.engine.pass_time(now);
        self.engine.expire();
        planned.accounting.suppressed = planned.suppressed.values().sum();
        planned.commit = self.step(now, &mut planned.accounting);
        planned
    }

    /// Lets time pass: ends what is quiet, drops what is old.
    pub fn tick(&mut self, now: EventTime) -> (Commit, Accounting) {
        let mut accounting = Accounting::default();
        self.engine.pass_time(now);
        self.engine.expire();
        (self.step(now, &mut accounting), accounting)
    }

    /// No further record comes, as at the end of a rule's example.
    pub fn conclude(&mut self, now: EventTime) -> (Commit, Accounting) {
        let mut accounting = Accounting::default();
        self.engine.conclude();
        (self.step(now, &mut accounting), accounting)
    }

    /// Learns from what captures teach, and from what they tell of keys; how many groups did. Nobody is
    /// told of anything.
    pub fn learn(&mut self, lessons: &[Lesson], changes: Vec<(Stamp, KeyChange)>) -> (usize, Commit) {
        changes.into_iter().for_each(|(stamp, change)| self.picture.apply(&stamp, change));
        let learnt = self.engine.learn(lessons);
        let mut deltas = self.engine.take_step().deltas;
        deltas.extend(self.rows_of_keys());
        (learnt, Commit { deltas, outbox: Vec::new() })
    }

    /// The last commit is durable: copies of its records need not be looked at again.
    pub fn committed(&mut self) {
        self.recent.extend(self.fresh.drain(..));
    }

    /// Rules in use.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.analyzer.rules.rules.len()
    }

    /// Groups and matches held, for gauges.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        (self.engine.groups(), self.engine.entries())
    }

    /// Keys known, and what of them was given up at a limit, for gauges.
    #[must_use]
    pub fn keys_held(&self) -> (usize, u64) {
        self.picture.held()
    }

    /// Applies a delivery; returns why it must be parked, if something in it cannot be read.
    fn delivery(&mut self, delivery: &Delivery, now: EventTime, planned: &mut Planned) -> Option<String> {
        let Planned { accounting, suppressed, .. } = planned;
        let mut bad: Vec<String> = Vec::new();
        let mut bad_count = 0_u64;
        let mut note = |reason: String| {
            bad_count += 1;
            if bad.len() < 3 {
                bad.push(reason);
            }
        };
        let limits = self.limits.envelope;
        let opened = open(&delivery.body, limits, &mut |found| {
            accounting.received += 1;
            match found {
                Found::Foreign(_) => accounting.filtered += 1,
                Found::Bad { place, reason } => {
                    accounting.parked += 1;
                    note(format!("{place}: {reason}"));
                }
                Found::Record(raw) => match self.record(raw, now, suppressed) {
                    Ok(count) => *count(accounting) += 1,
                    Err(reason) => {
                        accounting.parked += 1;
                        note(reason);
                    }
                },
            }
        });
        if let Err(error) = opened {
            accounting.received += 1;
            accounting.parked += 1;
            note(error.to_string());
        }
        match bad_count {
            0 => None,
            count if count as usize > bad.len() => {
                Some(format!("{} (and {} more)", bad.join("; "), count as usize - bad.len()))
            }
            _ => Some(bad.join("; ")),
        }
    }

    /// Applies one record; says which counter it belongs to, or why it cannot be read.
    fn record(
        &mut self,
        raw: &str,
        now: EventTime,
        suppressed: &mut BTreeMap<String, u64>,
    ) -> Result<fn(&mut Accounting) -> &mut u64, String> {
        let record = decode(raw, &self.analyzer.rules.projection).map_err(|error| error.to_string())?;
        let (lane, time) = (lane_of(&record), record.time);
        let key = RecordKey::of(&record.id, &lane);
        if self.recent.contains(&key) {
            return Ok(|accounting| &mut accounting.duplicate);
        }
        // First what it changes, then what it means: at one instant the picture is what a replay sees.
        let changes = changes_of(&record);
        let stamp = stamp_of(&record);
        changes.into_iter().for_each(|change| self.picture.apply(&stamp, change));
        let reading = match self.analyzer.analyze(record, &self.picture) {
            Analysis::Filtered => {
                self.engine.observe(&lane, time, now);
                return Ok(|accounting| &mut accounting.filtered);
            }
            Analysis::Read(reading) => reading,
        };
        self.fresh.push(key);
        reading.uses.iter().for_each(|used| self.picture.note_use(used));
        reading.suppressed.into_iter().for_each(|ticket| *suppressed.entry(ticket).or_default() += 1);
        let outcomes: Vec<_> = reading.matches.iter().map(|matched| self.engine.apply(matched, now)).collect();
        self.engine.observe(&lane, time, now);
        Ok(if outcomes.contains(&Applied::Late) {
            |accounting| &mut accounting.late
        } else if !outcomes.is_empty() && outcomes.iter().all(|outcome| *outcome == Applied::Duplicate) {
            |accounting| &mut accounting.duplicate
        } else {
            |accounting| &mut accounting.applied
        })
    }

    /// What happens to kmswatch itself is a record too, so that rules alert on it. The id hangs on
    /// the message, so that each redelivery is the same event.
    fn tell_parked(&mut self, delivery: &Delivery, reason: &str, now: EventTime) {
        let id = EventId::of_bytes(delivery.label.as_bytes());
        let about = serde_json::json!({ "label": printable(&delivery.label), "reason": printable(reason) });
        self.internal("BodyParked", &id, delivery.sent_at.unwrap_or(now), about, now);
    }

    fn internal(&mut self, name: &str, id: &EventId, time: EventTime, about: serde_json::Value, now: EventTime) {
        let record = serde_json::json!({
            "eventVersion": "0",
            "eventID": format!("{name}/{id}"),
            "eventTime": time.to_string(),
            "eventSource": "kmswatch.internal",
            "eventName": name,
            "requestParameters": about,
        });
        let text = record.to_string();
        let Ok(record) = decode(&text, &self.analyzer.rules.projection) else { return };
        if let Analysis::Read(reading) = self.analyzer.analyze(record, &self.picture) {
            for matched in &reading.matches {
                self.engine.apply(matched, now);
            }
        }
    }

    fn step(&mut self, now: EventTime, accounting: &mut Accounting) -> Commit {
        let mut step = self.engine.take_step();
        let evicted: u64 = step.evicted.values().sum();
        if evicted > 0 {
            accounting.evicted += evicted;
            for (rule, count) in std::mem::take(&mut step.evicted) {
                let rule_id = self.analyzer.rules.rules.get(rule.0 as usize).map(|rule| rule.meta.id.clone());
                let about = serde_json::json!({ "ruleId": rule_id, "count": count });
                let id = EventId::of_bytes(format!("{rule:?} {now}").as_bytes());
                self.internal("GroupsEvicted", &id, now, about, now);
            }
            let told = self.engine.take_step();
            step.transitions.extend(told.transitions);
            step.deltas.extend(told.deltas);
            accounting.evicted += told.evicted.values().sum::<u64>();
        }
        let outbox: Vec<_> = step.transitions.iter().filter_map(|transition| self.alert(transition)).collect();
        let opened = |transition: &&Transition| transition.change == Change::Opened;
        accounting.opened += step.transitions.iter().filter(opened).count() as u64;
        accounting.alerts += outbox.len() as u64;
        outbox.iter().for_each(|alert| self.note_incident(alert));
        step.deltas.extend(self.rows_of_keys());
        Commit { deltas: step.deltas, outbox }
    }

    /// What touched a key is part of what is known of it.
    fn note_incident(&mut self, alert: &Alert) {
        for key in &alert.keys {
            let title = format!("{}: {}", alert.level.as_str(), alert.rule.title);
            self.picture.note_incident(&key.arn, Told { time: alert.last_event_time, id: alert.id.clone(), title });
        }
    }

    fn rows_of_keys(&mut self) -> Vec<StateDelta> {
        self.picture.take_rows().into_iter().map(|(key, value)| StateDelta { key, value }).collect()
    }

    fn alert(&self, transition: &Transition) -> Option<Alert> {
        let rule = self.analyzer.rules.rules.get(transition.rule.0 as usize)?;
        Some(make(rule, transition, self.redaction))
    }
}
