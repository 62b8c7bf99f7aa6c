//! The engine: matches in, changes of incidents and rows for the store out.
//!
//! [`group`] is the state of one (rule, group) and the pure function over it; this module finds the
//! group, hands on what qualifies to the correlations that count it, keeps the limits, lets
//! watermarks expire what no timely record needs, and writes down which rows changed.
//!
//! Invariants: no clock, no I/O. The same matches in any order within the allowed lateness, any
//! number of times, over any number of restarts, give the same incidents (the oracle in `tests` is
//! the design's sentence, written naively).

pub mod bucket;
mod cases;
pub mod chain;
pub mod detector;
pub mod group;
pub mod incident;
pub mod matched;
mod settle;
pub mod shape;
mod state;
#[cfg(test)]
mod tests;
pub mod watermark;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use detector::Memory;
use group::{Around, Group, Outcome};
use incident::{Change, Snapshot};
use matched::{GroupKey, Match};
pub use state::RestoreError;
use state::{GroupId, Row};
use watermark::{Lane, Watermarks};

use crate::event::EventId;
use crate::rule::{Detector, Feed, Rule, RuleIndex, RuleSet};
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
    /// The same of groups that silence itself makes due.
    timers: BTreeSet<(EventTime, GroupId)>,
    /// Of new terms: when a rule first saw a scope.
    scopes: BTreeMap<ScopeKey, EventTime>,
    fresh_scopes: BTreeSet<ScopeKey>,
    /// By rule: groups without an open incident first, then by age.
    ages: BTreeMap<RuleIndex, BTreeSet<(bool, EventTime, GroupId)>>,
    step: Step,
    /// Changed since the last step: written once a step, however often they changed in it.
    headers: BTreeSet<GroupId>,
    heads: BTreeSet<(GroupId, EventTime)>,
    lanes: BTreeSet<Lane>,
    rows: Rows,
}

/// A rule's id and the values that make one of its scopes.
type ScopeKey = (Arc<str>, Vec<Arc<str>>);

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
            timers: BTreeSet::new(),
            scopes: BTreeMap::new(),
            fresh_scopes: BTreeSet::new(),
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
                Row::Scope { rule_id, values, first } => {
                    if by_id.contains_key(&*rule_id) {
                        self.scopes.insert((rule_id, values), first);
                    } else {
                        self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                    }
                }
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
                Row::Group { .. } | Row::Watermark { .. } | Row::Scope { .. } => continue,
            };
            let Some(slot) = self.slots.get_mut(&id) else {
                self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                continue;
            };
            match part {
                Row::Head { time, head, .. } => {
                    if let Some(rule) = self.rules.rules.get(slot.rule.0 as usize) {
                        slot.group.restore_head(rule, time, head);
                    }
                }
                Row::Entry { time, event, entry, .. } => slot.group.restore_entry(time, event, entry),
                Row::Sample { time, event, sample, .. } => {
                    slot.group.samples.insert((time, event), Arc::new(sample));
                }
                Row::Group { .. } | Row::Watermark { .. } | Row::Scope { .. } => {}
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
        let scope_first = self.scope_first(rule, matched, now);
        let slot = self.slots.entry(id).or_insert_with(|| Slot {
            rule: matched.rule,
            group: Group::new(matched.group.clone(), Memory::of(&rule.detector)),
            due: None,
            age: (false, EventTime::MIN),
        });
        let around = Around { watermark, now, scope_first, max_entries: self.limits.max_entries_per_group };
        let done = slot.group.insert(rule, matched, around);
        if done.duplicate {
            return Applied::Duplicate;
        }
        self.entries += usize::from(done.stored);
        if self.rows == Rows::Written {
            // Written again when it says something new: that is cheap, and rare.
            let bucket = slot.group.buckets.get(&matched.time);
            if let Some(entry) = bucket.and_then(|bucket| bucket.entries.get(&matched.id)).filter(|_| done.stored) {
                self.step.deltas.push(state::entry_row(id, matched.time, &matched.id, entry));
            }
            if let Some(sample) = matched.sample.as_ref().filter(|_| done.sampled) {
                self.step.deltas.push(state::sample_row(id, matched.time, &matched.id, sample));
            }
        }
        let late = done.late;
        self.settle_up(id, rule, matched.rule, done, Some(matched), now);
        self.keep_limits();
        if late { Applied::Late } else { Applied::Counted }
    }

    /// Takes over what happened to a group: what to tell, what to write, what to hand on.
    fn settle_up(
        &mut self,
        id: GroupId,
        rule: &Rule,
        index: RuleIndex,
        done: Outcome,
        cause: Option<&Match>,
        now: EventTime,
    ) {
        let Some(slot) = self.slots.get(&id) else { return };
        let group = slot.group.key.clone();
        let handed_on =
            if rule.feeds.is_empty() { Vec::new() } else { hand_on(rule, &slot.group, &done.passed, cause) };
        self.heads.extend(done.touched.into_iter().map(|time| (id, time)));
        for (time, bucket) in &done.dropped {
            self.step.deltas.extend(state::bucket_removals(id, *time, bucket.entries.keys()));
        }
        if rule.opens {
            let transition = |(change, snapshot)| Transition { rule: index, group: group.clone(), change, snapshot };
            self.step.transitions.extend(done.changes.into_iter().map(transition));
        }
        self.headers.insert(id);
        self.index(id);
        // Correlations of correlations have no circles (the linker sees to it), so this ends.
        for matched in handed_on {
            self.apply(&matched, now);
        }
    }

    /// Of new terms: when the scope of a match was first seen, this match included.
    fn scope_first(&mut self, rule: &Rule, matched: &Match, now: EventTime) -> EventTime {
        let Detector::NewTerms(terms) = &rule.detector else { return EventTime::MAX };
        let values = terms.per.iter().filter_map(|at| matched.group.0.get(*at).cloned()).collect();
        let key: ScopeKey = (rule.meta.id.as_str().into(), values);
        match self.scopes.get(&key).copied() {
            Some(first) if first <= matched.time => first,
            known => {
                if known.is_none() && self.scopes.len() >= self.limits.max_groups {
                    *self.step.evicted.entry(matched.rule).or_default() += 1;
                    return EventTime::MAX;
                }
                self.scopes.insert(key.clone(), matched.time);
                self.fresh_scopes.insert(key.clone());
                if known.is_some() {
                    self.reconsider(rule, matched.rule, &key, &terms.per, matched.time, now);
                }
                matched.time
            }
        }
    }

    /// A scope turned out to be older: its groups are looked at once more.
    fn reconsider(
        &mut self,
        rule: &Rule,
        index: RuleIndex,
        scope: &ScopeKey,
        per: &[usize],
        first: EventTime,
        now: EventTime,
    ) {
        let in_scope = |slot: &Slot| {
            slot.rule == index && per.iter().zip(&scope.1).all(|(at, value)| slot.group.key.0.get(*at) == Some(value))
        };
        let mut ids: Vec<_> = self.slots.iter().filter(|(_, slot)| in_scope(slot)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in ids {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let done = slot.group.reconsider(rule, first, now);
            self.settle_up(id, rule, index, done, None, now);
        }
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

    /// Ends incidents, gives verdicts that waited, and drops state that the watermarks have left
    /// behind.
    pub fn expire(&mut self) {
        let furthest = self.marks.furthest();
        let due = self.deadlines.iter().take_while(|(deadline, _)| *deadline < furthest);
        let now = self.marks.now().max(furthest);
        let silent = self.timers.iter().take_while(|(deadline, _)| *deadline < now);
        let due: Vec<_> = due.chain(silent).map(|(_, id)| *id).collect();
        let rules = self.rules.clone();
        for id in due {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(rule) = rules.rules.get(slot.rule.0 as usize) else { continue };
            let watermark = match &rule.detector {
                // Silence is what it looks for, so a lane that says nothing is carried along sooner.
                Detector::Absence(absence) => {
                    let patience = absence.after + rule.lateness;
                    let reached = slot.group.lanes.iter().map(|lane| self.marks.of_silent(lane, patience));
                    reached.min()
                }
                _ => slot.group.lanes.iter().map(|lane| self.marks.of(lane)).min(),
            };
            let before = slot.group.entries();
            let done = slot.group.expire(rule, watermark.unwrap_or(furthest));
            self.entries = self.entries.saturating_sub(before - slot.group.entries());
            let (index, spent) = (slot.rule, slot.group.is_spent());
            self.settle_up(id, rule, index, done, None, now);
            if spent {
                self.remove(id);
            }
        }
    }

    /// No further record comes, as at the end of a replay: verdicts that wait for late ones are given.
    pub fn conclude(&mut self) {
        let rules = self.rules.clone();
        let mut ids: Vec<_> = self.slots.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(rule) = rules.rules.get(slot.rule.0 as usize) else { continue };
            let (index, done) = (slot.rule, slot.group.conclude(rule));
            self.settle_up(id, rule, index, done, None, self.marks.now());
        }
    }

    /// Everything that changed since the last call.
    pub fn take_step(&mut self) -> Step {
        let (headers, heads) = (std::mem::take(&mut self.headers), std::mem::take(&mut self.heads));
        let (lanes, scopes) = (std::mem::take(&mut self.lanes), std::mem::take(&mut self.fresh_scopes));
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
        for scope in scopes {
            if let Some(first) = self.scopes.get(&scope) {
                self.step.deltas.push(state::scope_row(&scope.0, &scope.1, *first));
            }
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
                let rule: Option<&Rule> = self.rules.rules.get(slot.rule.0 as usize).filter(|rule| rule.opens);
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
        let Some(rule) = self.rules.rules.get(slot.rule.0 as usize) else { return };
        let due = slot.group.due(rule);
        let deadlines = if let Detector::Absence(_) = rule.detector { &mut self.timers } else { &mut self.deadlines };
        if slot.due != due {
            if let Some(old) = slot.due {
                deadlines.remove(&(old, id));
            }
            if let Some(due) = due {
                deadlines.insert((due, id));
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
            self.timers.remove(&(due, id));
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
                for snapshot in slot.group.open(of_rule).into_iter().filter(|_| of_rule.opens) {
                    let change = Change::Ended;
                    self.step.transitions.push(Transition { rule, group: group.clone(), change, snapshot });
                }
            }
            self.remove(oldest);
            *self.step.evicted.entry(rule).or_default() += 1;
        }
    }
}

/// The matches that a rule's qualifying ones are to the correlations that count it.
fn hand_on(rule: &Rule, group: &Group, passed: &[(EventTime, EventId)], cause: Option<&Match>) -> Vec<Match> {
    let lane = || cause.map(|cause| cause.lane.clone()).or_else(|| group.lanes.first().cloned());
    let one = |(time, id): &(EventTime, EventId), feed: &Feed| {
        let own = cause.filter(|cause| cause.id == *id);
        let stored = group.buckets.get(time).and_then(|bucket| bucket.entries.get(id));
        let facts = own.map(|cause| cause.facts.clone()).or_else(|| stored.map(|entry| (*entry.facts).clone()))?;
        let value = |at: &usize| group.key.0.get(*at).cloned();
        let values: Vec<_> = feed.value.iter().filter_map(value).collect();
        let bound = feed.bound.iter().map(|at| at.as_ref().and_then(value)).collect();
        Some(Match {
            rule: feed.rule,
            group: GroupKey(feed.group_by.iter().filter_map(value).collect()),
            id: id.clone(),
            time: *time,
            lane: lane()?,
            number: values.first().and_then(|value| value.parse().ok()),
            signals: matched::signals(&values, feed.step, bound),
            facts,
            sample: own
                .and_then(|cause| cause.sample.clone())
                .or_else(|| group.samples.get(&(*time, id.clone())).cloned()),
        })
    };
    passed.iter().flat_map(|passed| rule.feeds.iter().filter_map(move |feed| one(passed, feed))).collect()
}
