//! What the watermark does to a group: verdicts that waited are given, incidents end, absences
//! begin, and state that no record asks for any more is dropped.

use std::ops::Bound;

use super::bucket::Bucket;
use super::chain::{absorb_bucket, incident_id};
use super::detector::Memory;
use super::detector::window::steps_of;
use super::group::{Group, Outcome};
use super::incident::{Change, Evidence, Incident, Snapshot};
use super::shape::{Shape, cell_of, cell_start};
use crate::event::EventId;
use crate::rule::detector::{Absence, NewTerms, Rate};
use crate::rule::{Detector, Rule};
use crate::time::EventTime;

impl Group {
    /// When something of the group is due next.
    #[must_use]
    pub fn due(&self, rule: &Rule) -> Option<EventTime> {
        let shape = Shape::of(rule);
        // The first bucket stands for all: only late ones are kept longer, and what follows them waits.
        let mut buckets = self.buckets.iter().filter(|(time, _)| !self.is_held(&shape, **time));
        let buckets = buckets.next().map(|(time, bucket)| *time + bucket.head.keep_for);
        let incidents = self.incidents.iter().map(|incident| incident.keep_until).min();
        let unled = self.next_unchecked(&shape).map(|time| time + shape.lateness);
        let verdict = self.unjudged.first().map(|time| *time + shape.lateness);
        let memory = match (&self.memory, &rule.detector) {
            (Memory::Terms(seen), Detector::NewTerms(terms)) => {
                let earliest = seen.earliest().map(|time| time + shape.horizon);
                earliest.or_else(|| seen.last().map(|time| time + terms.history + shape.horizon))
            }
            (Memory::Rate(history), Detector::Rate(rate)) if history.learnt => {
                Some(self.last + rate.history + shape.lateness)
            }
            (Memory::Rate(history), Detector::Rate(rate)) => {
                history.first.map(|_| cell_start(history.next.saturating_add(1), rate.every) + shape.lateness)
            }
            (Memory::Presence(presence), Detector::Absence(absence)) => {
                let told =
                    |start: EventTime, end: EventTime| !self.incidents.is_empty() || end < start + absence.steady;
                let first = presence.runs.first_key_value();
                first.map(|(start, run)| {
                    let after =
                        if told(*start, run.end) && presence.runs.len() == 1 { absence.forget } else { absence.after };
                    run.end + after + shape.lateness
                })
            }
            _ => None,
        };
        let case = match &rule.detector {
            Detector::Case(case) => self.case_due(case),
            _ => None,
        };
        [buckets, incidents, verdict, memory, case, unled].into_iter().flatten().min()
    }

    /// The watermark has come to `watermark`.
    pub fn expire(&mut self, rule: &Rule, watermark: EventTime) -> Outcome {
        let shape = Shape::of(rule);
        let mut done = Outcome::default();
        match &rule.detector {
            Detector::Rate(rate) => self.close_cells(rule, &shape, rate, watermark, &mut done),
            Detector::NewTerms(terms) => self.forget_term(terms, &shape, watermark),
            Detector::Absence(absence) => {
                self.find_absences(rule, &shape, absence, watermark, &mut done);
                return done;
            }
            Detector::Case(case) => self.pass_deadlines(case, &shape, watermark, &mut done),
            Detector::Every | Detector::Window { .. } => {}
        }
        self.give_verdicts(rule, &shape, watermark, &mut done);
        while let Some(index) = self.incidents.iter().position(|incident| incident.keep_until < watermark) {
            let incident = self.incidents.remove(index);
            if incident.closed.is_none() {
                done.changes.push((Change::Ended, self.snapshot(&incident, &shape)));
            }
        }
        self.drop_buckets(&shape, watermark, &mut done);
        self.drop_unled(rule, &shape, watermark, &mut done);
        done
    }

    /// Of steps in order: the first instant of which it is not known yet whether a first step precedes it.
    fn next_unchecked(&self, shape: &Shape) -> Option<EventTime> {
        let after = (Bound::Excluded(self.checked), Bound::Unbounded);
        self.buckets.range(after).next().map(|(time, _)| *time).filter(|_| shape.begins)
    }

    /// Drops steps that no first step precedes, now that none can come that is not late: they are part
    /// of no chain, and keys in use have one each second.
    fn drop_unled(&mut self, rule: &Rule, shape: &Shape, watermark: EventTime, done: &mut Outcome) {
        let Detector::Window { timespan, .. } = &rule.detector else { return };
        let mut led_until = EventTime::MIN;
        let from = self.checked.saturating_sub(*timespan);
        if let Some((time, _)) =
            self.buckets.range(from..=self.checked).rev().find(|(_, bucket)| steps_of(bucket) & 1 != 0)
        {
            led_until = *time + *timespan;
        }
        while let Some(time) = self.next_unchecked(shape).filter(|time| *time + shape.lateness < watermark) {
            self.checked = time;
            let Some(bucket) = self.buckets.get(&time) else { continue };
            if steps_of(bucket) & 1 != 0 {
                led_until = time + *timespan;
            } else if time > led_until && !bucket.head.covered {
                self.drop_bucket(shape, time, done);
            }
        }
    }

    /// No further record comes: the verdicts that wait for late ones are given.
    pub fn conclude(&mut self, rule: &Rule) -> Outcome {
        let mut done = Outcome::default();
        if rule.detector.is_settled() {
            self.give_verdicts(rule, &Shape::of(rule), EventTime::MAX, &mut done);
        }
        done
    }

    fn give_verdicts(&mut self, rule: &Rule, shape: &Shape, watermark: EventTime, done: &mut Outcome) {
        while let Some(at) = self.unjudged.first().copied().filter(|at| *at + shape.lateness < watermark) {
            self.unjudged.remove(&at);
            done.touched.insert(at);
            let Some(bucket) = self.buckets.get_mut(&at) else { continue };
            bucket.head.judged = true;
            let qualifies = bucket.head.qualifies;
            let Some(opener) = bucket.entries.keys().next().cloned() else { continue };
            if !qualifies && self.passes(rule, shape, at, EventTime::MAX) {
                self.pass_by(rule, shape, at, &opener, at + shape.lateness, done);
            }
            done.changes.extend(self.announce(shape, at));
        }
    }

    fn drop_buckets(&mut self, shape: &Shape, watermark: EventTime, done: &mut Outcome) {
        let due =
            |time: EventTime, bucket: &Bucket| time + bucket.head.keep_for < watermark && !self.is_held(shape, time);
        let due = self.buckets.iter().filter(|(time, bucket)| due(**time, bucket));
        let times: Vec<_> = due.map(|(time, _)| *time).collect();
        for time in times {
            self.drop_bucket(shape, time, done);
        }
    }

    fn drop_bucket(&mut self, shape: &Shape, time: EventTime, done: &mut Outcome) {
        let Some(bucket) = self.buckets.remove(&time) else { return };
        self.entries = self.entries.saturating_sub(bucket.entries.len());
        if bucket.head.covered {
            let samples = std::mem::take(&mut self.samples);
            if let Some(incident) = self.incident_at(time, shape) {
                absorb_bucket(&mut incident.settled, time, &bucket, &samples);
            }
            self.samples = samples;
        }
        for id in bucket.entries.keys() {
            self.samples.remove(&(time, id.clone()));
        }
        done.dropped.push((time, bucket));
    }

    /// What lies in a case is kept with it.
    fn is_held(&self, shape: &Shape, time: EventTime) -> bool {
        shape.holds_cases && self.incidents.iter().any(|incident| incident.start <= time && time <= incident.end)
    }

    fn forget_term(&mut self, terms: &NewTerms, shape: &Shape, watermark: EventTime) {
        let Memory::Terms(seen) = &mut self.memory else { return };
        seen.prune(watermark.saturating_sub(shape.horizon));
        if seen.last().is_some_and(|last| last + terms.history + shape.horizon < watermark) {
            self.memory = Memory::Terms(Default::default());
        }
    }

    /// Cells that are over are counted for good, and looked at for a drop.
    fn close_cells(&mut self, rule: &Rule, shape: &Shape, rate: &Rate, watermark: EventTime, done: &mut Outcome) {
        let over = cell_of(watermark.saturating_sub(shape.lateness), rate.every);
        let Memory::Rate(history) = &self.memory else { return };
        let (Some(_), mut next) = (history.first, history.next) else { return };
        let forgotten = cell_of(self.last + rate.history, rate.every);
        // Between what was learnt and what comes live nobody counted.
        let counted = !history.learnt;
        while counted && next < over && next <= forgotten {
            let count = self.count_in(rate, next);
            let usual = self.usual(rate, next);
            if let Memory::Rate(history) = &mut self.memory {
                if count > 0 {
                    *history.counts.entry(next).or_default() += count;
                }
                history.next = next.saturating_add(1);
            }
            if let Some(usual) = usual.filter(|usual| usual.is_drop(rate, count)) {
                let end = cell_start(next.saturating_add(1), rate.every);
                let note = format!("{count} in the {} before {end}; usual is {:.0}", rate.every, usual.median);
                self.open_without_match(rule, shape, end, count, note, done);
            }
            next = next.saturating_add(1);
        }
        let oldest = cell_of(cell_start(over, rate.every).saturating_sub(rate.history), rate.every).saturating_sub(1);
        if let Memory::Rate(history) = &mut self.memory {
            history.prune(oldest);
            if over > forgotten {
                *history = Default::default();
            }
        }
    }

    /// A drop has no record of its own: what is shown is the group's earliest that is kept.
    fn open_without_match(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        at: EventTime,
        count: u64,
        note: String,
        done: &mut Outcome,
    ) {
        let opener = EventId::of_bytes(format!("drop {at}").as_bytes());
        let (told, mut incident) = self.incident_near(rule, shape, at, &opener, at + shape.lateness);
        done.changes.extend(told);
        let fresh = incident.announced == 0;
        incident.count = incident.count.max(count);
        incident.announced = incident.announced.max(1);
        incident.note = Some(note);
        incident.keep_until = incident.keep_until.max(at + shape.quiet + shape.lateness);
        incident.settled.reach(at);
        let position = self.incidents.partition_point(|other| other.start < incident.start);
        let snapshot = self.snapshot(&incident, shape);
        self.incidents.insert(position, incident);
        if fresh {
            done.changes.push((Change::Opened, snapshot));
        }
    }

    /// Something came at `time`: what was told as absent before that has ended.
    pub(super) fn returned(&mut self, rule: &Rule, absence: &Absence, time: EventTime) -> Vec<(Change, Snapshot)> {
        let shape = Shape::of(rule);
        let Some(incident) = self.incidents.pop_if(|incident| incident.start < time) else { return Vec::new() };
        if let Memory::Presence(presence) = &mut self.memory {
            // Told of: the gap must not be found again.
            let end = incident.start.saturating_sub(absence.after);
            presence.runs.retain(|_, run| run.end > end);
        }
        let incident = Incident { end: time, ..incident };
        vec![(Change::Ended, self.snapshot(&incident, &shape))]
    }

    fn find_absences(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        absence: &Absence,
        watermark: EventTime,
        done: &mut Outcome,
    ) {
        loop {
            let Memory::Presence(presence) = &mut self.memory else { return };
            let mut runs = presence.runs.iter();
            let Some((start, run)) = runs.next().map(|(start, run)| (*start, run.clone())) else { return };
            let next = runs.next().map(|(start, _)| *start);
            let missing = run.end + absence.after;
            if missing + shape.lateness >= watermark {
                return;
            }
            let was_steady = start + absence.steady <= run.end;
            if self.incidents.is_empty() && was_steady {
                let detected = missing + shape.lateness;
                let mut incident = Incident::new(incident_id(&rule.meta.id, &self.key, &run.last), missing, detected);
                incident.settled = evidence_of(&run.last, run.end, &run);
                incident.count = 1;
                incident.announced = 1;
                incident.keep_until = run.end + absence.forget + shape.lateness;
                incident.note = Some(format!("nothing since {}, expected within {}", run.end, absence.after));
                done.changes.push((Change::Opened, self.snapshot(&incident, shape)));
                self.incidents.push(incident);
            }
            if let Some(next) = next {
                let ended = self.incidents.pop().map(|incident| Incident { end: next, ..incident });
                done.changes.extend(ended.map(|incident| (Change::Ended, self.snapshot(&incident, shape))));
            } else if run.end + absence.forget + shape.lateness < watermark {
                let ended = self.incidents.pop();
                done.changes.extend(ended.map(|incident| (Change::Ended, self.snapshot(&incident, shape))));
            } else {
                return;
            }
            if let Memory::Presence(presence) = &mut self.memory {
                presence.runs.remove(&start);
            }
        }
    }
}

/// The last record before an absence.
fn evidence_of(id: &EventId, time: EventTime, run: &super::detector::absence::Run) -> Evidence {
    let mut evidence = Evidence::default();
    evidence.add(time, id, &run.facts);
    if let Some(sample) = &run.sample {
        evidence.show(time, id, sample);
    }
    evidence
}
