//! The state of one (rule, group): its matches, what it remembers of those that are gone, and the
//! incidents that they form.
//!
//! A match at time `t` qualifies when the window that ends at `t` passes; all matches of one
//! instant share one bucket and one verdict. A verdict only ever goes from no to yes: what a later
//! record could undo is judged when no record that is not late can come any more. With a `quiet`
//! of at least the window each match is evidence of at most one incident.
//!
//! [`super::chain`] forms incidents of qualifying matches, `cases` those that are closed by
//! what undoes them, `settle` ends and judges as the watermark passes.
//!
//! Invariant: the incidents are a function of the set of matches inserted and not yet expired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bucket::{Bucket, BucketHead, Entry, SharedFacts};
use super::detector::absence::Run;
use super::detector::window::{passes, steps_of};
use super::detector::{Memory, rate};
use super::incident::{Change, Incident, MAX_SAMPLES, Snapshot};
use super::matched::{GroupKey, Match, Sample};
use super::shape::{Shape, cell_of, cell_start};
use super::watermark::Lane;
use crate::event::EventId;
use crate::rule::detector::{NewTerms, Rate, Test};
use crate::rule::{Detector, Rule};
use crate::time::EventTime;

/// What the group is told of the world beside the match.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// How far the match's lane had come.
    pub watermark: EventTime,
    /// Written into what opens.
    pub now: EventTime,
    /// Of new terms: when the scope was first seen.
    pub scope_first: EventTime,
    /// Matches kept by id; more are counted.
    pub max_entries: usize,
}

/// What an insertion, or the watermark, did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The event ID was there already and said nothing new.
    pub duplicate: bool,
    /// Later than the allowed lateness.
    pub late: bool,
    /// What is to be told, in order.
    pub changes: Vec<(Change, Snapshot)>,
    /// Buckets whose head changed.
    pub touched: BTreeSet<EventTime>,
    /// Whether the match is kept by its id, and not just counted.
    pub stored: bool,
    /// Whether its record is kept for alerts.
    pub sampled: bool,
    /// Matches that qualify now and did not before.
    pub passed: Vec<(EventTime, EventId)>,
    /// Buckets that are gone.
    pub dropped: Vec<(EventTime, Bucket)>,
}

/// The state of one (rule, group).
#[derive(Clone, Debug)]
pub struct Group {
    /// Values of the group-by fields.
    pub key: GroupKey,
    /// Matches by time.
    pub buckets: BTreeMap<EventTime, Bucket>,
    /// Incidents that are open or were closed lately, by start.
    pub incidents: Vec<Incident>,
    /// The lanes that its matches came through.
    pub lanes: BTreeSet<Lane>,
    /// The cap was reached.
    pub saturated: bool,
    /// Latest match.
    pub last: EventTime,
    /// Records kept for alerts, by time and id.
    pub samples: BTreeMap<(EventTime, EventId), Arc<Sample>>,
    /// What it remembers of matches that are gone.
    pub memory: Memory,
    /// Of steps in order: up to here what no first step precedes was dropped.
    pub(super) checked: EventTime,
    /// Buckets without a verdict, of a rule whose verdicts wait.
    pub(super) unjudged: BTreeSet<EventTime>,
    /// Steps that ever matched, as bits; never less than the buckets say.
    steps: u64,
    pub(super) entries: usize,
    facts: SharedFacts,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new(key: GroupKey, memory: Memory) -> Self {
        Self {
            key,
            buckets: BTreeMap::new(),
            incidents: Vec::new(),
            lanes: BTreeSet::new(),
            saturated: false,
            last: EventTime::MIN,
            samples: BTreeMap::new(),
            memory,
            checked: EventTime::MIN,
            unjudged: BTreeSet::new(),
            steps: 0,
            entries: 0,
            facts: SharedFacts::default(),
        }
    }

    /// Matches held by id.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Puts a stored entry back.
    pub fn restore_entry(&mut self, time: EventTime, id: EventId, entry: Entry) {
        self.last = self.last.max(time);
        self.entries += 1;
        let entry = Entry { facts: self.facts.share(&entry.facts), number: entry.number };
        self.buckets.entry(time).or_default().entries.insert(id, entry);
    }

    /// Puts a stored bucket's head back.
    pub fn restore_head(&mut self, rule: &Rule, time: EventTime, head: BucketHead) {
        self.last = self.last.max(time);
        if rule.detector.is_settled() && !head.judged {
            self.unjudged.insert(time);
        }
        let bucket = self.buckets.entry(time).or_default();
        bucket.head = head;
        self.steps |= steps_of(bucket);
    }

    /// Applies one match.
    pub fn insert(&mut self, rule: &Rule, matched: &Match, around: Around) -> Outcome {
        let shape = Shape::of(rule);
        let time = matched.time;
        self.lanes.insert(matched.lane.clone());
        let mut done = Outcome { late: self.is_late(rule, &shape, time, around.watermark), ..Outcome::default() };
        self.last = self.last.max(time);
        match &rule.detector {
            Detector::Absence(absence) => {
                self.note_presence(matched, absence);
                done.changes = self.returned(rule, absence, time);
                return done;
            }
            Detector::NewTerms(terms) if !self.is_new(terms, &shape, time) => {
                self.note_term(&shape, time);
                return done;
            }
            Detector::NewTerms(_) => self.note_term(&shape, time),
            Detector::Case(_) if self.is_one_more(matched) => {
                done.changes = self.count_one_more(&shape, time);
                return done;
            }
            _ => {}
        }
        let known = self.buckets.get(&time).is_some_and(|bucket| bucket.entries.contains_key(&matched.id));
        let heard = self.buckets.entry(time).or_default().hear(matched, around.max_entries);
        if known && !heard {
            return Outcome { duplicate: true, late: false, ..done };
        }
        done.touched.insert(time);
        if !known {
            self.add(rule, &shape, matched, around, &mut done);
        }
        self.steps |= self.buckets.get(&time).map_or(0, steps_of);
        self.judge(rule, &shape, matched, around, known, heard, &mut done);
        done
    }

    fn is_late(&self, rule: &Rule, shape: &Shape, time: EventTime, watermark: EventTime) -> bool {
        // What counts as new depends on all lanes of the term together.
        let reached = if matches!(rule.detector, Detector::NewTerms(_)) { watermark.max(self.last) } else { watermark };
        time + shape.late_after < reached
    }

    /// Adds a match that is not known yet to its bucket, and to the incident that it is evidence of.
    fn add(&mut self, rule: &Rule, shape: &Shape, matched: &Match, around: Around, done: &mut Outcome) {
        let time = matched.time;
        done.stored = self.store(matched, shape, done.late, around);
        done.sampled = self.wants_sample(time, shape) && self.keep_sample(matched);
        if let (Memory::Rate(history), Detector::Rate(rate)) = (&mut self.memory, &rule.detector) {
            history.note(cell_of(time, rate.every));
        }
        let (covered, qualifies) =
            self.buckets.get(&time).map_or((false, false), |bucket| (bucket.head.covered, bucket.head.qualifies));
        if covered && let Some(incident) = self.incident_at(time, shape) {
            incident.count += 1;
        }
        if qualifies {
            done.passed.push((time, matched.id.clone()));
        }
    }

    /// Gives the verdicts that the match changes.
    #[allow(clippy::too_many_arguments, reason = "what was found on the way is not worth a type")]
    fn judge(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        matched: &Match,
        around: Around,
        known: bool,
        heard: bool,
        done: &mut Outcome,
    ) {
        let time = matched.time;
        if let Detector::Case(case) = &rule.detector {
            // Said already in this instant, and counted: the cases are as they were.
            let is_said =
                !heard && self.buckets.get(&time).is_some_and(|bucket| bucket.len() > 1 && bucket.head.covered);
            if !is_said {
                self.follow_cases(rule, shape, case, around.now, done);
            }
            return;
        }
        if shape.settled {
            if let Some(bucket) = self.buckets.get_mut(&time) {
                bucket.head.judged = false;
            }
            self.unjudged.insert(time);
            done.touched.extend(self.cover_newcomer(shape, time));
            return;
        }
        // The same thing said once more in the same instant changes no verdict of most kinds.
        let first = self.buckets.get(&time).is_some_and(|bucket| bucket.len() == 1);
        if heard || first || counts_records(&rule.detector) {
            for at in self.newly_qualifying(rule, shape, time, around.scope_first) {
                self.pass(rule, shape, at, matched, around.now, done);
            }
        }
        if !known || shape.begins {
            done.touched.extend(self.cover_newcomer(shape, time));
        }
        done.changes.extend(self.announce(shape, time));
    }

    /// Adds the match to its bucket; over the cap it is only counted. Whether it was kept by id.
    fn store(&mut self, matched: &Match, shape: &Shape, late: bool, around: Around) -> bool {
        let keep = self.entries < around.max_entries;
        let bucket = self.buckets.entry(matched.time).or_default();
        let keep_for = if late { (around.watermark - matched.time) + shape.horizon } else { shape.horizon };
        bucket.head.keep_for = bucket.head.keep_for.max(keep_for);
        bucket.head.late |= late;
        if keep {
            let entry = Entry { facts: self.facts.share(&matched.facts), number: matched.number };
            bucket.entries.insert(matched.id.clone(), entry);
            self.entries += 1;
        } else {
            bucket.head.overflow += 1;
            self.saturated = true;
        }
        keep
    }

    /// A few samples suffice for each stretch of time that may become one incident.
    fn wants_sample(&self, time: EventTime, shape: &Shape) -> bool {
        let since = time.saturating_sub(shape.length() + shape.quiet);
        self.samples.range((since, EventId::least())..).take_while(|((at, _), _)| *at <= time).take(MAX_SAMPLES).count()
            < MAX_SAMPLES
    }

    pub(super) fn keep_sample(&mut self, matched: &Match) -> bool {
        let Some(sample) = &matched.sample else { return false };
        self.samples.insert((matched.time, matched.id.clone()), sample.clone()).is_none()
    }

    /// Buckets that a match at `time` made qualify, in order of time.
    fn newly_qualifying(&self, rule: &Rule, shape: &Shape, time: EventTime, scope_first: EventTime) -> Vec<EventTime> {
        self.buckets
            .range(time..=shape.last_window(time))
            .filter(|(at, bucket)| !bucket.head.qualifies && self.passes(rule, shape, **at, scope_first))
            .map(|(at, _)| *at)
            .collect()
    }

    /// Whether the window that ends at `end` passes.
    pub(super) fn passes(&self, rule: &Rule, shape: &Shape, end: EventTime, scope_first: EventTime) -> bool {
        let window = || self.buckets.range(shape.window_start(end)..=end).map(|(_, bucket)| bucket);
        match &rule.detector {
            Detector::Every => true,
            Detector::Window { test, .. } => self.may_pass(test) && passes(test, window()),
            // What is kept by id was new when it came.
            Detector::NewTerms(terms) => scope_first + terms.learn <= end,
            Detector::Rate(rate) => {
                let cell = cell_of(end, rate.every);
                let count: u64 = window().map(Bucket::len).sum();
                let limit = self.usual(rate, cell).and_then(|usual| usual.spike(rate));
                #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
                limit.is_some_and(|limit| count as f64 >= limit)
            }
            Detector::Absence(_) | Detector::Case(_) => false,
        }
    }

    /// Whether all steps were ever seen, without which no window need be looked at.
    fn may_pass(&self, test: &Test) -> bool {
        match test {
            Test::Ordered { rules, .. } => {
                let all = u32::try_from(rules.len()).ok().and_then(|steps| 1_u64.checked_shl(steps));
                let all = all.map_or(u64::MAX, |bit| bit - 1);
                self.steps & all == all
            }
            Test::Temporal { present, .. } if present.is_positive() => present.holds(self.steps),
            _ => true,
        }
    }

    /// What is usual for a cell.
    pub(super) fn usual(&self, rate: &Rate, cell: i64) -> Option<rate::Usual> {
        let Memory::Rate(history) = &self.memory else { return None };
        history.usual(cell, rate, |earlier| self.count_in(rate, earlier))
    }

    /// Matches in a cell that is not over.
    pub(super) fn count_in(&self, rate: &Rate, cell: i64) -> u64 {
        let (from, to) = (cell_start(cell, rate.every), cell_start(cell.saturating_add(1), rate.every));
        self.buckets.range(from..to).map(|(_, bucket)| bucket.len()).sum()
    }

    fn is_new(&self, terms: &NewTerms, shape: &Shape, time: EventTime) -> bool {
        let Memory::Terms(seen) = &self.memory else { return true };
        !seen.within(time.saturating_sub(terms.history), time.saturating_sub(shape.quiet))
    }

    fn note_term(&mut self, shape: &Shape, time: EventTime) {
        if let Memory::Terms(seen) = &mut self.memory {
            seen.note(time, shape.quiet);
        }
    }

    fn note_presence(&mut self, matched: &Match, absence: &crate::rule::detector::Absence) {
        let Memory::Presence(presence) = &mut self.memory else { return };
        let bare = |sample: &Arc<Sample>| Arc::new(Sample { raw: "".into(), details: sample.details.clone() });
        presence.note(matched.time, absence.after, || Run {
            end: matched.time,
            last: matched.id.clone(),
            facts: matched.facts.clone(),
            sample: matched.sample.as_ref().map(bare),
        });
    }

    /// The scope of a new term was seen earlier than was known: what was still being learnt may be
    /// new now.
    pub fn reconsider(&mut self, rule: &Rule, scope_first: EventTime, now: EventTime) -> Outcome {
        let shape = Shape::of(rule);
        let mut done = Outcome::default();
        let waiting: Vec<_> =
            self.buckets.iter().filter(|(_, bucket)| !bucket.head.qualifies).map(|(time, _)| *time).collect();
        for at in waiting {
            if self.passes(rule, &shape, at, scope_first)
                && let Some(opener) = self.buckets.get(&at).and_then(|bucket| bucket.entries.keys().next().cloned())
            {
                self.pass_by(rule, &shape, at, &opener, now, &mut done);
                done.changes.extend(self.announce(&shape, at));
            }
        }
        done
    }

    /// The incidents that are open, as they stand.
    #[must_use]
    pub fn open(&self, rule: &Rule) -> Vec<Snapshot> {
        let shape = Shape::of(rule);
        let open = self.incidents.iter().filter(|incident| incident.closed.is_none());
        open.map(|incident| self.snapshot(incident, &shape)).collect()
    }

    /// Whether it says nothing any more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let memory = match &self.memory {
            Memory::None => true,
            Memory::Terms(seen) => seen.last().is_none(),
            Memory::Rate(history) => history.first.is_none(),
            Memory::Presence(presence) => presence.runs.is_empty(),
        };
        memory && self.buckets.is_empty() && self.incidents.is_empty()
    }
}

/// Whether each further record may change a verdict, and not only what it says.
fn counts_records(detector: &Detector) -> bool {
    match detector {
        Detector::Window { test, .. } => matches!(test, Test::EventCount(_) | Test::Number { .. }),
        Detector::Rate(_) => true,
        Detector::Every | Detector::NewTerms(_) | Detector::Absence(_) | Detector::Case(_) => false,
    }
}
