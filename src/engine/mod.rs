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
mod cascade;
mod cases;
pub mod chain;
pub mod detector;
pub mod group;
pub mod incident;
mod learn;
pub mod lesson;
mod limits;
pub mod matched;
mod reload;
mod restore;
mod scopes;
mod settle;
pub mod shape;
mod state;
#[cfg(test)]
mod tests;
pub mod watermark;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cascade::hand_on;
use detector::Memory;
use group::{Around, Group, Outcome};
use incident::{Change, Snapshot};
use limits::Held;
use matched::{GroupKey, Match};
use scopes::ScopeKey;
use state::GroupId;
pub use state::RestoreError;
use watermark::{Lane, Watermarks};

use crate::rule::{Detector, Rule, RuleIndex, RuleSet};
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
    held: Held,
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
            held: Held::default(),
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
        let before = slot.group.entries();
        let around = Around { watermark, now, scope_first, max_entries: self.limits.max_entries_per_group };
        let done = slot.group.insert(rule, matched, around);
        if done.duplicate {
            return Applied::Duplicate;
        }
        self.held.changed(matched.rule, before, slot.group.entries());
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
        if self.rows == Rows::Written {
            self.heads.extend(done.touched.into_iter().map(|time| (id, time)));
            self.headers.insert(id);
        }
        for (time, bucket) in &done.dropped {
            self.step.deltas.extend(state::bucket_removals(id, *time, bucket.entries.keys()));
        }
        if rule.opens {
            let transition = |(change, snapshot)| Transition { rule: index, group: group.clone(), change, snapshot };
            self.step.transitions.extend(done.changes.into_iter().map(transition));
        }
        self.index(id);
        // Correlations of correlations have no circles (the linker sees to it), so this ends.
        for matched in handed_on {
            self.apply(&matched, now);
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
            self.held.changed(slot.rule, before, slot.group.entries());
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
        self.held.total()
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
        self.held.changed(slot.rule, slot.group.entries(), 0);
        self.headers.remove(&id);
        if let Some(rule) = self.rules.rules.get(slot.rule.0 as usize) {
            self.step.deltas.push(state::removal(state::header_row(id, rule, &slot.group)));
        }
        for (time, bucket) in &slot.group.buckets {
            self.step.deltas.extend(state::bucket_removals(id, *time, bucket.entries.keys()));
        }
    }
}
