//! Incidents as chains of qualifying matches: opened, extended, joined, covered, told of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bucket::Bucket;
use super::detector::window::steps_of;
use super::group::{Group, Outcome};
use super::incident::{Change, Evidence, Incident, Snapshot};
use super::matched::{GroupKey, Match, Sample};
use super::shape::Shape;
use crate::event::EventId;
use crate::rule::{Detector, Rule};
use crate::time::{EventTime, Span};

impl Group {
    /// The bucket at `at` qualifies now, because of `opener`.
    pub(super) fn pass(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        at: EventTime,
        opener: &Match,
        now: EventTime,
        done: &mut Outcome,
    ) {
        let open = self.incidents.len();
        self.pass_by(rule, shape, at, &opener.id, now, done);
        // Whatever the few earliest were, the record that opened an incident is shown with it.
        done.sampled |= self.incidents.len() > open && self.keep_sample(opener);
    }

    /// The same, of an opener that is kept already.
    pub(super) fn pass_by(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        at: EventTime,
        opener: &EventId,
        now: EventTime,
        done: &mut Outcome,
    ) {
        done.touched.insert(at);
        let merged = self.qualify(rule, shape, at, opener, now);
        done.changes.extend(merged);
        done.touched.extend(self.cover(shape, at));
        let ids = self.buckets.get(&at).into_iter().flat_map(|bucket| bucket.entries.keys());
        done.passed.extend(ids.map(|id| (at, id.clone())));
    }

    /// The incident whose evidence a covered bucket at `time` is.
    pub(super) fn incident_at(&mut self, time: EventTime, shape: &Shape) -> Option<&mut Incident> {
        self.incidents.iter_mut().find(|incident| shape.window_start(incident.start) <= time && time <= incident.end)
    }

    /// Makes the bucket at `at` part of an incident: opens, extends or joins. Tells of joins.
    fn qualify(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        at: EventTime,
        opener: &EventId,
        now: EventTime,
    ) -> Vec<(Change, Snapshot)> {
        let keep_for = self.buckets.get_mut(&at).map_or(Span::ZERO, |bucket| {
            bucket.head.qualifies = true;
            bucket.head.keep_for
        });
        let keep_until = (at + keep_for).saturating_sub(shape.length());
        let note = self.note_at(rule, shape, at);
        let (told, mut incident) = self.incident_near(rule, shape, at, opener, now);
        incident.keep_until = incident.keep_until.max(keep_until);
        incident.note = note.or(incident.note);
        let position = self.incidents.partition_point(|other| other.start < incident.start);
        self.incidents.insert(position, incident);
        told
    }

    /// Takes out the incident that reaches to `at`, all that it joins being one now; a new one
    /// where there is none. Tells of joins.
    pub(super) fn incident_near(
        &mut self,
        rule: &Rule,
        shape: &Shape,
        at: EventTime,
        opener: &EventId,
        now: EventTime,
    ) -> (Vec<(Change, Snapshot)>, Incident) {
        let near = |incident: &Incident| incident.start <= at + shape.quiet && at <= incident.end + shape.quiet;
        let (mut joined, apart): (Vec<_>, Vec<_>) = std::mem::take(&mut self.incidents).into_iter().partition(near);
        self.incidents = apart;
        // The incident that was opened first keeps its id; one that nobody was told of never does.
        let age = |incident: &Incident| (incident.announced == 0, incident.detected_at, incident.start);
        joined.sort_by(|a, b| age(a).cmp(&age(b)).then_with(|| a.id.cmp(&b.id)));
        let mut joined = joined.into_iter();
        let fresh = || Incident::new(incident_id(&rule.meta.id, &self.key, opener), at, now);
        let mut incident = joined.next().unwrap_or_else(fresh);
        incident.start = incident.start.min(at);
        incident.end = incident.end.max(at);
        let mut told = Vec::new();
        for other in joined {
            // One record may open an incident and join it to another at once: nobody has heard of it.
            if other.announced > 0 {
                told.push((Change::Merged(incident.id.clone()), self.snapshot(&other, shape)));
            }
            incident.absorb(other);
        }
        (told, incident)
    }

    /// What there is to say of a qualifying instant beside its count.
    fn note_at(&self, rule: &Rule, shape: &Shape, at: EventTime) -> Option<String> {
        let Detector::Rate(rate) = &rule.detector else { return None };
        let cell = super::shape::cell_of(at, rate.every);
        let usual = self.usual(rate, cell)?;
        let since = shape.window_start(at);
        Some(format!(
            "{} since {since}; usual for these {} is {:.0}",
            self.count_in(rate, cell),
            rate.every,
            usual.median
        ))
    }

    /// Where the evidence of the window that ends at `at` begins.
    fn evidence_start(&self, shape: &Shape, at: EventTime) -> EventTime {
        let start = shape.window_start(at);
        if !shape.begins {
            return start;
        }
        let mut first = self.buckets.range(start..=at).filter(|(_, bucket)| steps_of(bucket) & 1 != 0);
        first.next().map_or(at, |(time, _)| *time)
    }

    /// Marks the window of the qualifying bucket at `at` as evidence and counts what is new in it.
    fn cover(&mut self, shape: &Shape, at: EventTime) -> Vec<EventTime> {
        let mut added = 0;
        let mut touched = Vec::new();
        for (time, bucket) in self.buckets.range_mut(self.evidence_start(shape, at)..=at) {
            if !bucket.head.covered {
                bucket.head.covered = true;
                added += bucket.len();
                touched.push(*time);
            }
        }
        if let Some(incident) = self.incident_at(at, shape) {
            incident.count += added;
        }
        touched
    }

    /// A bucket that came after the window around it had qualified is evidence all the same.
    /// Returns the buckets that it marked.
    pub(super) fn cover_newcomer(&mut self, shape: &Shape, time: EventTime) -> Vec<EventTime> {
        if shape.begins {
            // A first step that comes late moves the beginning of the windows around it.
            let ends = self.buckets.range(time..=shape.last_window(time)).filter(|(_, bucket)| bucket.head.qualifies);
            let ends: Vec<_> = ends.map(|(at, _)| *at).collect();
            return ends.into_iter().flat_map(|at| self.cover(shape, at)).collect();
        }
        let in_window = self.buckets.range(time..=shape.last_window(time)).any(|(_, bucket)| bucket.head.qualifies);
        let Some(bucket) = self.buckets.get_mut(&time).filter(|bucket| in_window && !bucket.head.covered) else {
            return Vec::new();
        };
        bucket.head.covered = true;
        let added = bucket.len();
        if let Some(incident) = self.incident_at(time, shape) {
            incident.count += added;
        }
        vec![time]
    }

    /// Tells of the incident around `time` when it is new, or has doubled since it was last told of.
    pub(super) fn announce(&mut self, shape: &Shape, time: EventTime) -> Option<(Change, Snapshot)> {
        let incident = self.incident_at(time, shape)?;
        if incident.announced > 0 && incident.count < incident.announced.saturating_mul(2) {
            return None;
        }
        let change = if incident.announced == 0 { Change::Opened } else { Change::Updated };
        incident.announced = incident.count;
        let incident = incident.clone();
        Some((change, self.snapshot(&incident, shape)))
    }

    /// An incident with all its evidence.
    pub(super) fn snapshot(&self, incident: &Incident, shape: &Shape) -> Snapshot {
        let mut evidence = incident.settled.clone();
        for (time, bucket) in self.buckets.range(shape.window_start(incident.start)..=incident.end) {
            if bucket.head.covered {
                absorb_bucket(&mut evidence, *time, bucket, &self.samples);
            }
        }
        Snapshot { incident: incident.clone(), evidence, saturated: self.saturated }
    }
}

/// Adds what a bucket holds to the evidence.
pub(super) fn absorb_bucket(
    evidence: &mut Evidence,
    time: EventTime,
    bucket: &Bucket,
    samples: &BTreeMap<(EventTime, EventId), Arc<Sample>>,
) {
    evidence.late |= bucket.head.late;
    for (id, entry) in &bucket.entries {
        evidence.add(time, id, &entry.facts);
    }
    if bucket.head.overflow > 0 {
        evidence.reach(time);
    }
    let here = samples.range((time, EventId::least())..).take_while(|((at, _), _)| *at == time);
    for ((_, id), sample) in here {
        evidence.show(time, id, sample);
    }
}

/// `hash(rule id, group, opener)`.
pub(super) fn incident_id(rule_id: &str, key: &GroupKey, opener: &EventId) -> String {
    hash_id("incident", rule_id, key, Some(opener))
}

/// `hash(rule id, group)`: what a pager holds one open page of.
#[must_use]
pub fn dedup_key(rule_id: &str, key: &GroupKey) -> String {
    hash_id("dedup", rule_id, key, None)
}

fn hash_id(kind: &str, rule_id: &str, key: &GroupKey, opener: Option<&EventId>) -> String {
    let mut hasher = blake3::Hasher::new();
    // Each part is preceded by its length, so that no two groups run together.
    let parts =
        [kind, rule_id].into_iter().chain(key.0.iter().map(|value| &**value)).chain(opener.map(EventId::as_str));
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}
