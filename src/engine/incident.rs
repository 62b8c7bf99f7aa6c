//! An incident: a maximal chain of qualifying matches of one rule and group, and what is known of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::matched::{Facts, Sample};
use crate::event::EventId;
use crate::rule::Level;
use crate::time::EventTime;

/// Event IDs listed in an alert; more are counted, not listed.
pub const MAX_EVENT_IDS: usize = 100;
/// Distinct facts (keys, principals) shown in an alert.
pub const MAX_FACTS: usize = 32;
/// Records shown in an alert.
pub const MAX_SAMPLES: usize = 3;

/// What alerts show of the records behind an incident: the earliest of each, so that the order of
/// arrival does not show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The earliest event IDs, by time and id.
    pub ids: BTreeSet<(EventTime, EventId)>,
    /// The least facts, in their own order.
    pub facts: BTreeSet<Arc<Facts>>,
    /// The earliest samples, by time and id.
    pub samples: Vec<(EventTime, EventId, Arc<Sample>)>,
    /// Time of the first record.
    pub first: Option<EventTime>,
    /// Time of the last record.
    pub last: Option<EventTime>,
    /// Some record came later than the allowed lateness.
    pub late: bool,
}

impl Evidence {
    /// Adds a record.
    pub fn add(&mut self, time: EventTime, id: &EventId, facts: &Arc<Facts>) {
        self.reach(time);
        let belongs =
            self.ids.len() < MAX_EVENT_IDS || self.ids.last().is_some_and(|(at, last)| (time, id) < (*at, last));
        if belongs {
            self.ids.insert((time, id.clone()));
        }
        if !self.facts.contains(facts) {
            self.facts.insert(facts.clone());
        }
        self.trim();
    }

    /// Stretches to a time, for records that are counted but not known by id.
    pub fn reach(&mut self, time: EventTime) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
    }

    /// Adds a record's text.
    pub fn show(&mut self, time: EventTime, id: &EventId, sample: &Arc<Sample>) {
        if !self.samples.iter().any(|(_, known, _)| known == id) {
            let at = self.samples.partition_point(|(at, other, _)| (at, other) < (&time, id));
            self.samples.insert(at, (time, id.clone(), sample.clone()));
            self.trim();
        }
    }

    /// Adds everything of another.
    pub fn absorb(&mut self, other: Self) {
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = [self.last, other.last].into_iter().flatten().max();
        self.ids.extend(other.ids);
        self.facts.extend(other.facts);
        self.samples.extend(other.samples);
        self.samples.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        self.samples.dedup_by(|a, b| a.1 == b.1);
        self.late |= other.late;
        self.trim();
    }

    fn trim(&mut self) {
        while self.ids.len() > MAX_EVENT_IDS {
            self.ids.pop_last();
        }
        while self.facts.len() > MAX_FACTS {
            self.facts.pop_last();
        }
        self.samples.truncate(MAX_SAMPLES);
    }
}

/// An open incident, as stored with its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Hash of rule, group and opener: stable over restarts.
    pub id: String,
    /// First qualifying match.
    pub start: EventTime,
    /// Last qualifying match.
    pub end: EventTime,
    /// Distinct event IDs in evidence.
    pub count: u64,
    /// When it was opened: the order of opening decides which survives a merge.
    pub detected_at: EventTime,
    /// Count when it was last announced.
    pub announced: u64,
    /// Not closed before its lane's watermark passes this.
    pub keep_until: EventTime,
    /// What is kept of records that have left the window.
    pub settled: Evidence,
    /// When what opened it was undone; such an incident is kept for a while so that it is not
    /// opened again.
    pub closed: Option<EventTime>,
    /// Graver than its rule by what happened since.
    pub level: Option<Level>,
    /// What there is to say beside the counts: days left, what is usual.
    pub note: Option<String>,
    /// Of a case: the time of the record that opened it.
    pub opened_by: EventTime,
    /// Of a case: decided by then.
    pub deadline: Option<EventTime>,
    /// Of a case: escalations set off, as bits.
    pub escalated: u64,
    /// Of a case: records counted and not kept.
    pub beyond: u64,
}

impl Incident {
    /// A new one, with nothing in evidence yet.
    #[must_use]
    pub fn new(id: String, at: EventTime, detected_at: EventTime) -> Self {
        Self {
            id,
            start: at,
            end: at,
            count: 0,
            detected_at,
            announced: 0,
            keep_until: at,
            settled: Evidence::default(),
            closed: None,
            level: None,
            note: None,
            opened_by: at,
            deadline: None,
            escalated: 0,
            beyond: 0,
        }
    }

    /// Takes in one that turned out to be the same.
    pub fn absorb(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.count += other.count;
        self.keep_until = self.keep_until.max(other.keep_until);
        self.settled.absorb(other.settled);
        self.note = self.note.take().or(other.note);
    }
}

/// Why an incident is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New.
    Opened,
    /// Grown.
    Updated,
    /// Graver than before.
    Escalated,
    /// Ended by quiet, or undone.
    Ended,
    /// Became part of the incident with this id.
    Merged(String),
}

/// An incident as it stands at a change: what an alert is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The incident.
    pub incident: Incident,
    /// Everything in evidence.
    pub evidence: Evidence,
    /// The group's counts are estimates.
    pub saturated: bool,
}
