//! The engine: matches in, changes of incidents and rows for the store out.
//!
//! [`group`] is the state of one (rule, group) and the pure function over it; this module finds the
//! group, keeps the limits, lets watermarks expire what no timely record needs, and writes down
//! which rows changed.
//!
//! Invariants: no clock, no I/O. The same matches in any order within the allowed lateness, any
//! number of times, over any number of restarts, give the same incidents (the oracle in `tests` is
//! the design's sentence, written naively).

pub mod group;
pub mod incident;
pub mod matched;
mod state;
#[cfg(test)]
mod tests;
pub mod watermark;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use group::Group;
use incident::{Change, Snapshot};
use matched::{GroupKey, Match};
pub use state::RestoreError;
use state::{GroupId, Row};
use watermark::{Lane, Watermarks};

use crate::rule::{Rule, RuleIndex, RuleSet};
use crate::time::{EventTime, Span};

/// One row of the engine's state: an opaque key and its new value, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDelta {
    /// The row.
    pub key: Vec<u8>,
    /// Its new bytes; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// What the engine may hold. At a limit the oldest goes first, fairly between rules, and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Groups over all rules.
    pub max_groups: usize,
    /// Matches held by id over all groups.
    pub max_entries: usize,
    /// Matches held by id in one group; more are counted without their ids.
    pub max_entries_per_group: usize,
    /// Accounts and Regions with a watermark of their own.
    pub max_lanes: usize,
    /// A lane that says nothing for this long is carried along.
    pub idle: Span,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            max_groups: 200_000,
            max_entries: 4_000_000,
            max_entries_per_group: 10_000,
            max_lanes: 50_000,
            idle: Span::from_secs(2 * 3600),
        }
    }
}

/// What became of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// New.
    Counted,
    /// New, but later than the allowed lateness: counted with what is still known.
    Late,
    /// Known already: changed nothing.
    Duplicate,
}

/// A change of an incident, for an alert to be made of.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The rule.
    pub rule: RuleIndex,
    /// The group's values.
    pub group: GroupKey,
    /// What happened.
    pub change: Change,
    /// How the incident stands.
    pub snapshot: Snapshot,
}

/// What changed since the last step was taken.
#[derive(Debug, Default)]
pub struct Step {
    /// Changes of incidents, in order.
    pub transitions: Vec<Transition>,
    /// Rows that changed; of several for one key the last counts.
    pub deltas: Vec<StateDelta>,
    /// Groups given up at a limit, by rule.
    pub evicted: BTreeMap<RuleIndex, u64>,
}

struct Slot {
    rule: RuleIndex,
    group: Group,
    /// As registered in `deadlines`.
    due: Option<EventTime>,
    /// As registered in `ages`.
    age: (bool, EventTime),
}

/// All state of all rules.
pub struct Engine {
    rules: Arc<RuleSet>,
    limits: EngineLimits,
    slots: HashMap<GroupId, Slot>,
    marks: Watermarks,
    entries: usize,
    deadlines: BTreeSet<(EventTime, GroupId)>,
    /// By rule: groups without an open incident first, then by age.
    ages: BTreeMap<RuleIndex, BTreeSet<(bool, EventTime, GroupId)>>,
    step: Step,
    /// Changed since the last step: written once a step, however often they changed in it.
    headers: BTreeSet<GroupId>,
    heads: BTreeSet<(GroupId, EventTime)>,
    lanes: BTreeSet<Lane>,
    rows: Rows,
}

/// Whether changes are written down for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    Written,
    Unwanted,
}

impl Engine {
    /// An engine without state.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, limits: EngineLimits) -> Self {
        Self {
            rules,
            limits,
            slots: HashMap::new(),
            marks: Watermarks::new(limits.idle, limits.max_lanes),
            entries: 0,
            deadlines: BTreeSet::new(),
            ages: BTreeMap::new(),
            step: Step::default(),
            headers: BTreeSet::new(),
            heads: BTreeSet::new(),
            lanes: BTreeSet::new(),
            rows: Rows::Written,
        }
    }

    /// An engine whose state need not survive, as in a replay: its steps have no rows.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self { rows: Rows::Unwanted, ..self }
    }

    /// Takes back the rows that [`Step::deltas`] wrote. Rows of rules that are gone or count
    /// something else now are removed with the next step; returns how many groups that were.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn restore(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<u64, RestoreError> {
        let by_id: HashMap<&str, RuleIndex> = (0_u32..)
            .map(RuleIndex)
            .zip(&self.rules.rules)
            .map(|(index, rule)| (rule.meta.id.as_str(), index))
            .collect();
        let mut orphans = 0;
        let mut parts = Vec::new();
        for (key, value) in rows {
            match state::read(key, value)? {
                Row::Watermark { lane, mark } => self.marks.restore(lane, mark),
                Row::Group { id, rule_id, group } => {
                    let rule = by_id
                        .get(rule_id.as_str())
                        .and_then(|index| Some((*index, self.rules.rules.get(index.0 as usize)?)));
                    match rule {
                        Some((index, rule)) if GroupId::of(rule, &group.key) == id => {
                            let slot = Slot { rule: index, group: *group, due: None, age: (false, EventTime::MIN) };
                            self.slots.insert(id, slot);
                        }
                        _ => {
                            orphans += 1;
                            self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                        }
                    }
                }
                part => parts.push((key, part)),
            }
        }
        for (key, part) in parts {
            let id = match &part {
                Row::Head { id, .. } | Row::Entry { id, .. } | Row::Sample { id, .. } => *id,
                Row::Group { .. } | Row::Watermark { .. } => continue,
            };
            let Some(slot) = self.slots.get_mut(&id) else {
                self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                continue;
            };
            match part {
                Row::Head { time, head, .. } => slot.group.restore_head(time, head),
                Row::Entry { time, event, entry, .. } => slot.group.restore_entry(time, event, entry),
                Row::Sample { time, event, sample, .. } => {
                    slot.group.samples.insert((time, event), Arc::new(sample));
                }
                Row::Group { .. } | Row::Watermark { .. } => {}
            }
        }
        let mut ids: Vec<_> = self.slots.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.entries += self.slots.get(&id).map_or(0, |slot| slot.group.entries());
            self.index(id);
        }
        Ok(orphans)
    }

    /// Applies one match that came at `now`.
    pub fn apply(&mut self, matched: &Match, now: EventTime) -> Applied {
        let rules = self.rules.clone();
        let Some(rule) = rules.rules.get(matched.rule.0 as usize) else { return Applied::Duplicate };
        let watermark = self.marks.of(&matched.lane);
        self.observe(&matched.lane, matched.time, now);
        let id = GroupId::of(rule, &matched.group);
        let slot = self.slots.entry(id).or_insert_with(|| Slot {
            rule: matched.rule,
            group: Group::new(matched.group.clone()),
            due: None,
            age: (false, EventTime::MIN),
        });
        let inserted = slot.group.insert(rule, matched, watermark, now, self.limits.max_entries_per_group);
        if inserted.duplicate {
            return Applied::Duplicate;
        }
        self.entries += usize::from(inserted.stored);
        if inserted.stored && self.rows == Rows::Written {
            let bucket = slot.group.buckets.get(&matched.time);
            if let Some(entry) = bucket.and_then(|bucket| bucket.entries.get(&matched.id)) {
                self.step.deltas.push(state::entry_row(id, matched.time, &matched.id, entry));
            }
        }
        if let Some(sample) = matched.sample.as_ref().filter(|_| inserted.sampled && self.rows == Rows::Written) {
            self.step.deltas.push(state::sample_row(id, matched.time, &matched.id, sample));
        }
        self.heads.extend(inserted.touched.into_iter().map(|time| (id, time)));
        for (change, snapshot) in inserted.changes {
            self.step.transitions.push(Transition {
                rule: matched.rule,
                group: matched.group.clone(),
                change,
                snapshot,
            });
        }
        self.headers.insert(id);
        self.index(id);
        self.keep_limits();
        if inserted.late { Applied::Late } else { Applied::Counted }
    }

    /// Notes how far a lane has come, for a record that no rule matched.
    pub fn observe(&mut self, lane: &Lane, time: EventTime, now: EventTime) {
        if self.marks.observe(lane, time, now) {
            self.lanes.insert(lane.clone());
        }
    }

    /// Time has come to `now`: carries idle lanes along.
    pub fn pass_time(&mut self, now: EventTime) {
        self.marks.pass_time(now);
    }

    /// Ends incidents and drops state that the watermarks have left behind.
    pub fn expire(&mut self) {
        let furthest = self.marks.furthest();
        let due: Vec<_> =
            self.deadlines.iter().take_while(|(deadline, _)| *deadline < furthest).map(|(_, id)| *id).collect();
        let rules = self.rules.clone();
        for id in due {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(rule) = rules.rules.get(slot.rule.0 as usize) else { continue };
            let watermark = slot.group.lanes.iter().map(|lane| self.marks.of(lane)).min().unwrap_or(furthest);
            let before = slot.group.entries();
            let (ended, dropped) = slot.group.expire(rule, watermark);
            if ended.is_empty() && dropped.is_empty() {
                continue;
            }
            self.entries = self.entries.saturating_sub(before - slot.group.entries());
            for (time, bucket) in &dropped {
                self.step.deltas.extend(state::bucket_removals(id, *time, bucket.entries.keys()));
            }
            let (rule, group) = (slot.rule, slot.group.key.clone());
            self.step.transitions.extend(ended.into_iter().map(|snapshot| Transition {
                rule,
                group: group.clone(),
                change: Change::Ended,
                snapshot,
            }));
            if slot.group.buckets.is_empty() && slot.group.incidents.is_empty() {
                self.remove(id);
            } else {
                self.headers.insert(id);
                self.index(id);
            }
        }
    }

    /// Everything that changed since the last call.
    pub fn take_step(&mut self) -> Step {
        let (headers, heads) = (std::mem::take(&mut self.headers), std::mem::take(&mut self.heads));
        let lanes = std::mem::take(&mut self.lanes);
        if self.rows == Rows::Unwanted {
            self.step.deltas.clear();
            return std::mem::take(&mut self.step);
        }
        for id in headers {
            if let Some(slot) = self.slots.get(&id)
                && let Some(rule) = self.rules.rules.get(slot.rule.0 as usize)
            {
                self.step.deltas.push(state::header_row(id, rule, &slot.group));
            }
        }
        for (id, time) in heads {
            if let Some(bucket) = self.slots.get(&id).and_then(|slot| slot.group.buckets.get(&time)) {
                self.step.deltas.push(state::head_row(id, time, &bucket.head));
            }
        }
        for lane in lanes {
            self.step.deltas.push(state::watermark_row(&lane, self.marks.of(&lane)));
        }
        std::mem::take(&mut self.step)
    }

    /// The incidents that are open, in no particular order of time but always the same.
    #[must_use]
    pub fn open(&self) -> Vec<Transition> {
        let mut ids: Vec<_> = self.slots.keys().collect();
        ids.sort_unstable();
        let slots = ids.into_iter().filter_map(|id| self.slots.get(id));
        slots
            .flat_map(|slot| {
                let rule: Option<&Rule> = self.rules.rules.get(slot.rule.0 as usize);
                let open = rule.map(|rule| slot.group.open(rule)).unwrap_or_default();
                let group = slot.group.key.clone();
                let rule = slot.rule;
                open.into_iter().map(move |snapshot| Transition {
                    rule,
                    group: group.clone(),
                    change: Change::Updated,
                    snapshot,
                })
            })
            .collect()
    }

    /// Groups held.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.slots.len()
    }

    /// Matches held by id.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Registers a group under its deadline and age as they are now.
    fn index(&mut self, id: GroupId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let due = slot.group.due();
        if slot.due != due {
            if let Some(old) = slot.due {
                self.deadlines.remove(&(old, id));
            }
            if let Some(due) = due {
                self.deadlines.insert((due, id));
            }
            slot.due = due;
        }
        let age = (!slot.group.incidents.is_empty(), slot.group.last);
        let ages = self.ages.entry(slot.rule).or_default();
        ages.remove(&(slot.age.0, slot.age.1, id));
        ages.insert((age.0, age.1, id));
        slot.age = age;
    }

    fn remove(&mut self, id: GroupId) {
        let Some(slot) = self.slots.remove(&id) else { return };
        if let Some(due) = slot.due {
            self.deadlines.remove(&(due, id));
        }
        if let Some(ages) = self.ages.get_mut(&slot.rule) {
            ages.remove(&(slot.age.0, slot.age.1, id));
        }
        self.entries = self.entries.saturating_sub(slot.group.entries());
        self.headers.remove(&id);
        if let Some(rule) = self.rules.rules.get(slot.rule.0 as usize) {
            self.step.deltas.push(state::removal(state::header_row(id, rule, &slot.group)));
        }
        for (time, bucket) in &slot.group.buckets {
            self.step.deltas.extend(state::bucket_removals(id, *time, bucket.entries.keys()));
        }
    }

    /// Gives up groups while there are too many: the oldest of the rule that has most.
    fn keep_limits(&mut self) {
        while self.slots.len() > self.limits.max_groups || self.entries > self.limits.max_entries {
            let Some((rule, oldest)) = self
                .ages
                .iter()
                .max_by_key(|(_, ages)| ages.len())
                .and_then(|(rule, ages)| Some((*rule, ages.first()?.2)))
            else {
                return;
            };
            // What was open and is given up is told of, or its page would stay open for ever.
            if let Some(slot) = self.slots.get_mut(&oldest)
                && let Some(of_rule) = self.rules.rules.get(rule.0 as usize)
            {
                slot.group.saturated = true;
                let group = slot.group.key.clone();
                for snapshot in slot.group.open(of_rule) {
                    let change = Change::Ended;
                    self.step.transitions.push(Transition { rule, group: group.clone(), change, snapshot });
                }
            }
            self.remove(oldest);
            *self.step.evicted.entry(rule).or_default() += 1;
        }
    }
}
