//! The state of one (rule, group): which matches qualify, and the incidents that they form.
//!
//! A match at time `t` qualifies when the window `[t - timespan, t]` holds enough; all matches of
//! one instant share one bucket and one verdict, since their order is not known. Qualification only
//! ever goes from no to yes, so that a late or repeated record can extend or join incidents but
//! never takes one back. With `quiet >= timespan` (rules are compiled that way) each match is
//! evidence of at most one incident.
//!
//! Invariant: the incidents are a function of the set of matches inserted and not yet expired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::incident::{Change, Evidence, Incident, MAX_SAMPLES, Snapshot};
use super::matched::{Facts, GroupKey, Match, Sample};
use super::watermark::Lane;
use crate::event::EventId;
use crate::rule::{Detector, Rule};
use crate::time::{EventTime, Span};

/// One match as kept in its bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// For the alert.
    pub facts: Arc<Facts>,
}

/// Facts are mostly the same within a group, so equal ones are kept once.
#[derive(Clone, Debug, Default)]
struct SharedFacts(BTreeSet<Arc<Facts>>);

impl SharedFacts {
    const MAX: usize = 1024;

    fn share(&mut self, facts: &Facts) -> Arc<Facts> {
        if let Some(known) = self.0.get(facts) {
            return known.clone();
        }
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        let shared = Arc::new(facts.clone());
        self.0.insert(shared.clone());
        shared
    }
}

/// All matches of one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// By event ID.
    pub entries: BTreeMap<EventId, Entry>,
    /// What is known beside the entries.
    pub head: BucketHead,
}

/// What is stored of a bucket beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketHead {
    /// Matches beyond the group's cap: counted, not known by id.
    pub overflow: u64,
    /// Distinct values, those of `overflow` included.
    pub values: BTreeSet<Arc<str>>,
    /// The window that ends here holds enough.
    pub qualifies: bool,
    /// Evidence of an incident.
    pub covered: bool,
    /// Came after the allowed lateness.
    pub late: bool,
    /// Kept until the watermark passes this; stored as a span over the bucket's own time.
    pub keep_for: Span,
}

impl Bucket {
    fn len(&self) -> u64 {
        self.entries.len() as u64 + self.head.overflow
    }
}

/// The windows of a rule, read once.
#[derive(Clone, Copy, Debug)]
struct Params {
    timespan: Span,
    quiet: Span,
    lateness: Span,
}

impl Params {
    fn of(rule: &Rule) -> Self {
        let timespan = match rule.detector {
            Detector::Every => Span::ZERO,
            Detector::EventCount { timespan, .. } | Detector::ValueCount { timespan, .. } => timespan,
        };
        Self { timespan, quiet: rule.quiet.max(timespan), lateness: rule.lateness }
    }

    /// How long a match may still matter to a record that is not late.
    fn horizon(&self) -> Span {
        self.timespan + self.quiet + self.lateness
    }
}

/// What an insertion did.
#[derive(Debug, Default)]
pub struct Inserted {
    /// The event ID was there already.
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
}

/// The state of one (rule, group).
#[derive(Clone, Debug)]
pub struct Group {
    /// Values of the group-by fields.
    pub key: GroupKey,
    /// Matches by time.
    pub buckets: BTreeMap<EventTime, Bucket>,
    /// Open incidents, by start.
    pub incidents: Vec<Incident>,
    /// The lanes that its matches came through.
    pub lanes: BTreeSet<Lane>,
    /// The cap was reached.
    pub saturated: bool,
    /// Latest match.
    pub last: EventTime,
    /// Records kept for alerts, by time and id.
    pub samples: BTreeMap<(EventTime, EventId), Arc<Sample>>,
    entries: usize,
    facts: SharedFacts,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new(key: GroupKey) -> Self {
        Self {
            key,
            buckets: BTreeMap::new(),
            incidents: Vec::new(),
            lanes: BTreeSet::new(),
            saturated: false,
            last: EventTime::MIN,
            samples: BTreeMap::new(),
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
        let entry = Entry { facts: self.facts.share(&entry.facts) };
        self.buckets.entry(time).or_default().entries.insert(id, entry);
    }

    /// Puts a stored bucket's head back.
    pub fn restore_head(&mut self, time: EventTime, head: BucketHead) {
        self.last = self.last.max(time);
        self.buckets.entry(time).or_default().head = head;
    }

    /// Applies one match. `watermark` is that of its lane, `now` the time to write into what opens.
    pub fn insert(
        &mut self,
        rule: &Rule,
        matched: &Match,
        watermark: EventTime,
        now: EventTime,
        max_entries: usize,
    ) -> Inserted {
        let params = Params::of(rule);
        let time = matched.time;
        let mut done = Inserted { late: time + params.horizon() < watermark, ..Inserted::default() };
        if self.buckets.get(&time).is_some_and(|bucket| bucket.entries.contains_key(&matched.id)) {
            return Inserted { duplicate: true, late: false, ..done };
        }
        self.last = self.last.max(time);
        self.lanes.insert(matched.lane.clone());
        done.stored = self.store(matched, &params, done.late, watermark, max_entries);
        done.touched.insert(time);
        done.sampled = self.wants_sample(time, &params) && self.keep_sample(matched);

        let covered_before = self.buckets.get(&time).is_some_and(|bucket| bucket.head.covered);
        if covered_before && let Some(incident) = self.incident_at(time, &params) {
            incident.count += 1;
        }
        for at in self.newly_qualifying(rule, &params, time) {
            done.touched.insert(at);
            let open = self.incidents.len();
            let merged = self.qualify(rule, &params, at, matched, now);
            // Whatever the few earliest were, the record that opened an incident is shown with it.
            done.sampled |= self.incidents.len() > open && self.keep_sample(matched);
            done.changes.extend(merged);
            done.touched.extend(self.cover(&params, at));
        }
        self.cover_newcomer(&params, time);
        done.changes.extend(self.announce(&params, time));
        done
    }

    /// Adds the match to its bucket; over the cap it is only counted. Whether it was kept by id.
    fn store(
        &mut self,
        matched: &Match,
        params: &Params,
        late: bool,
        watermark: EventTime,
        max_entries: usize,
    ) -> bool {
        let keep = self.entries < max_entries;
        let bucket = self.buckets.entry(matched.time).or_default();
        let keep_for = if late { (watermark - matched.time) + params.horizon() } else { params.horizon() };
        bucket.head.keep_for = bucket.head.keep_for.max(keep_for);
        bucket.head.late |= late;
        if let Some(value) = &matched.value
            && bucket.head.values.len() < max_entries
        {
            bucket.head.values.insert(value.clone());
        }
        if keep {
            let entry = Entry { facts: self.facts.share(&matched.facts) };
            bucket.entries.insert(matched.id.clone(), entry);
            self.entries += 1;
        } else {
            bucket.head.overflow += 1;
            self.saturated = true;
        }
        keep
    }

    /// A few samples suffice for each stretch of time that may become one incident.
    fn wants_sample(&self, time: EventTime, params: &Params) -> bool {
        let since = time.saturating_sub(params.timespan + params.quiet);
        self.samples.range((since, EventId::least())..).take_while(|((at, _), _)| *at <= time).take(MAX_SAMPLES).count()
            < MAX_SAMPLES
    }

    fn keep_sample(&mut self, matched: &Match) -> bool {
        let Some(sample) = &matched.sample else { return false };
        self.samples.insert((matched.time, matched.id.clone()), sample.clone()).is_none()
    }

    /// The incident whose evidence a covered bucket at `time` is.
    fn incident_at(&mut self, time: EventTime, params: &Params) -> Option<&mut Incident> {
        self.incidents
            .iter_mut()
            .find(|incident| incident.start.saturating_sub(params.timespan) <= time && time <= incident.end)
    }

    /// Buckets that a match at `time` made qualify, in order of time.
    fn newly_qualifying(&self, rule: &Rule, params: &Params, time: EventTime) -> Vec<EventTime> {
        self.buckets
            .range(time..=time + params.timespan)
            .filter(|(at, bucket)| !bucket.head.qualifies && self.holds_enough(&rule.detector, params, **at))
            .map(|(at, _)| *at)
            .collect()
    }

    fn holds_enough(&self, detector: &Detector, params: &Params, end: EventTime) -> bool {
        let mut window = self.buckets.range(end.saturating_sub(params.timespan)..=end).rev();
        match detector {
            Detector::Every => true,
            Detector::EventCount { threshold, .. } => {
                let mut sum = 0_u64;
                window.any(|(_, bucket)| {
                    sum += bucket.len();
                    sum >= *threshold
                })
            }
            Detector::ValueCount { threshold, .. } => {
                let mut distinct = BTreeSet::new();
                window.any(|(_, bucket)| {
                    distinct.extend(bucket.head.values.iter());
                    distinct.len() as u64 >= *threshold
                })
            }
        }
    }

    /// Makes the bucket at `at` part of an incident: opens, extends or joins. Tells of joins.
    fn qualify(
        &mut self,
        rule: &Rule,
        params: &Params,
        at: EventTime,
        opener: &Match,
        now: EventTime,
    ) -> Vec<(Change, Snapshot)> {
        let keep_for = self.buckets.get_mut(&at).map_or(Span::ZERO, |bucket| {
            bucket.head.qualifies = true;
            bucket.head.keep_for
        });
        let keep_until = (at + keep_for).saturating_sub(params.timespan);
        let near = |incident: &Incident| incident.start <= at + params.quiet && at <= incident.end + params.quiet;
        let (mut joined, apart): (Vec<_>, Vec<_>) = std::mem::take(&mut self.incidents).into_iter().partition(near);
        self.incidents = apart;
        // The incident that was opened first keeps its id.
        joined.sort_by(|a, b| (a.detected_at, a.start, &a.id).cmp(&(b.detected_at, b.start, &b.id)));
        let mut joined = joined.into_iter();
        let mut incident = joined.next().unwrap_or_else(|| Incident {
            id: incident_id(&rule.meta.id, &self.key, &opener.id),
            start: at,
            end: at,
            count: 0,
            detected_at: now,
            announced: 0,
            keep_until,
            settled: Evidence::default(),
        });
        incident.start = incident.start.min(at);
        incident.end = incident.end.max(at);
        incident.keep_until = incident.keep_until.max(keep_until);
        let mut told = Vec::new();
        for other in joined {
            let snapshot = self.snapshot(&other, params);
            told.push((Change::Merged(incident.id.clone()), snapshot));
            incident.start = incident.start.min(other.start);
            incident.end = incident.end.max(other.end);
            incident.count += other.count;
            incident.keep_until = incident.keep_until.max(other.keep_until);
            incident.settled.absorb(other.settled);
        }
        let position = self.incidents.partition_point(|other| other.start < incident.start);
        self.incidents.insert(position, incident);
        told
    }

    /// Marks the window of the qualifying bucket at `at` as evidence and counts what is new in it.
    fn cover(&mut self, params: &Params, at: EventTime) -> Vec<EventTime> {
        let mut added = 0;
        let mut touched = Vec::new();
        for (time, bucket) in self.buckets.range_mut(at.saturating_sub(params.timespan)..=at) {
            if !bucket.head.covered {
                bucket.head.covered = true;
                added += bucket.len();
                touched.push(*time);
            }
        }
        if let Some(incident) = self.incident_at(at, params) {
            incident.count += added;
        }
        touched
    }

    /// A bucket that came after the window around it had qualified is evidence all the same.
    fn cover_newcomer(&mut self, params: &Params, time: EventTime) {
        let in_window = self.buckets.range(time..=time + params.timespan).any(|(_, bucket)| bucket.head.qualifies);
        let Some(bucket) = self.buckets.get_mut(&time).filter(|bucket| in_window && !bucket.head.covered) else {
            return;
        };
        bucket.head.covered = true;
        let added = bucket.len();
        if let Some(incident) = self.incident_at(time, params) {
            incident.count += added;
        }
    }

    /// Tells of the incident around `time` when it is new, or has doubled since it was last told of.
    fn announce(&mut self, params: &Params, time: EventTime) -> Option<(Change, Snapshot)> {
        let incident = self.incident_at(time, params)?;
        if incident.announced > 0 && incident.count < incident.announced.saturating_mul(2) {
            return None;
        }
        let change = if incident.announced == 0 { Change::Opened } else { Change::Updated };
        incident.announced = incident.count;
        let incident = incident.clone();
        Some((change, self.snapshot(&incident, params)))
    }

    fn snapshot(&self, incident: &Incident, params: &Params) -> Snapshot {
        let mut evidence = incident.settled.clone();
        for (time, bucket) in self.buckets.range(incident.start.saturating_sub(params.timespan)..=incident.end) {
            if bucket.head.covered {
                absorb_bucket(&mut evidence, *time, bucket, &self.samples);
            }
        }
        Snapshot { incident: incident.clone(), evidence, saturated: self.saturated }
    }

    /// The incidents that are open, as they stand.
    #[must_use]
    pub fn open(&self, rule: &Rule) -> Vec<Snapshot> {
        let params = Params::of(rule);
        self.incidents.iter().map(|incident| self.snapshot(incident, &params)).collect()
    }

    /// When something of the group is due next: an end, or state that no timely record needs.
    #[must_use]
    pub fn due(&self) -> Option<EventTime> {
        // The first bucket stands for all: only late ones are kept longer, and what follows them waits.
        let buckets = self.buckets.first_key_value().map(|(time, bucket)| *time + bucket.head.keep_for);
        let incidents = self.incidents.iter().map(|incident| incident.keep_until).min();
        [buckets, incidents].into_iter().flatten().min()
    }

    /// Ends incidents and drops buckets that the watermark has left behind. Returns the ends and
    /// the dropped buckets' times.
    pub fn expire(&mut self, rule: &Rule, watermark: EventTime) -> (Vec<Snapshot>, Vec<(EventTime, Bucket)>) {
        let params = Params::of(rule);
        let mut ended = Vec::new();
        while let Some(index) = self.incidents.iter().position(|incident| incident.keep_until < watermark) {
            let incident = self.incidents.remove(index);
            ended.push(self.snapshot(&incident, &params));
        }
        let due = |time: EventTime, bucket: &Bucket| time + bucket.head.keep_for < watermark;
        let times: Vec<_> =
            self.buckets.iter().filter(|(time, bucket)| due(**time, bucket)).map(|(time, _)| *time).collect();
        let mut dropped = Vec::new();
        for time in times {
            let Some(bucket) = self.buckets.remove(&time) else { continue };
            self.entries = self.entries.saturating_sub(bucket.entries.len());
            if bucket.head.covered {
                let samples = std::mem::take(&mut self.samples);
                if let Some(incident) = self.incident_at(time, &params) {
                    absorb_bucket(&mut incident.settled, time, &bucket, &samples);
                }
                self.samples = samples;
            }
            for id in bucket.entries.keys() {
                self.samples.remove(&(time, id.clone()));
            }
            dropped.push((time, bucket));
        }
        (ended, dropped)
    }
}

fn absorb_bucket(
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
fn incident_id(rule_id: &str, key: &GroupKey, opener: &EventId) -> String {
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
