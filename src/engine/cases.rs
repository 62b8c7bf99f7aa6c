//! Cases of a group: found anew from its matches, and told of where they differ from what was told.
//!
//! A late record may close a case that others had reopened, so that one case becomes two; the one
//! that holds the record it was opened by keeps its id.

use super::chain::incident_id;
use super::detector::case::{Segment, segments};
use super::group::{Group, Outcome};
use super::incident::{Change, Incident, Snapshot};
use super::matched::{Match, Signal};
use super::shape::Shape;
use crate::rule::Rule;
use crate::rule::detector::{Case, Trigger};
use crate::time::{EventTime, Span};

/// Instants of a group's cases that are looked at one by one; a key that is pending deletion and
/// still in use has one each second.
const MAX_INSTANTS: usize = 512;

impl Group {
    /// Whether a match says of an open case only what is known of it, when there is enough of that.
    pub(super) fn is_one_more(&self, matched: &Match) -> bool {
        let said = |bits: u64| {
            matched.signals.iter().all(|signal| match signal {
                Signal::Escalates(number) => bits & 1_u64.checked_shl(u32::from(*number)).unwrap_or(0) != 0,
                Signal::Opens | Signal::Deadline(_) | Signal::Closes => false,
                Signal::Value(_) | Signal::Step { .. } => true,
            })
        };
        let open = |incident: &&Incident| incident.closed.is_none() && incident.start <= matched.time;
        self.buckets.len() >= MAX_INSTANTS
            && !self.buckets.get(&matched.time).is_some_and(|bucket| bucket.entries.contains_key(&matched.id))
            && self.incidents.iter().find(open).is_some_and(|incident| said(incident.escalated))
    }

    /// Counts such a match without keeping it: from now on the count is an estimate.
    pub(super) fn count_one_more(&mut self, shape: &Shape, time: EventTime) -> Vec<(Change, Snapshot)> {
        self.saturated = true;
        let open = |incident: &&mut Incident| incident.closed.is_none() && incident.start <= time;
        let Some(incident) = self.incidents.iter_mut().find(open) else { return Vec::new() };
        incident.beyond += 1;
        incident.count += 1;
        if incident.count < incident.announced.saturating_mul(2) {
            return Vec::new();
        }
        incident.announced = incident.count;
        let incident = incident.clone();
        vec![(Change::Updated, self.snapshot(&incident, shape))]
    }

    /// Finds the cases after a match was stored.
    pub(super) fn follow_cases(&mut self, rule: &Rule, shape: &Shape, case: &Case, now: EventTime, done: &mut Outcome) {
        let mut known = std::mem::take(&mut self.incidents);
        for segment in segments(&self.buckets) {
            let last = segment.closed.unwrap_or(EventTime::MAX);
            let mine = known.iter().position(|incident| {
                segment.opener.0 <= incident.opened_by
                    && incident.opened_by < last.max(segment.opener.0 + Span::from_millis(1))
            });
            let incident = match mine {
                Some(index) => known.remove(index),
                None => {
                    let mut fresh =
                        Incident::new(incident_id(&rule.meta.id, &self.key, &segment.opener.1), segment.opener.0, now);
                    fresh.opened_by = segment.opener.0;
                    fresh
                }
            };
            self.follow(shape, case, incident, &segment, done);
        }
        // What no case is left of has nothing more to say, but must not stay open.
        for incident in known.into_iter().filter(|incident| incident.closed.is_none()) {
            done.changes.push((Change::Ended, self.snapshot(&incident, shape)));
        }
    }

    /// Brings one incident to where its case stands.
    fn follow(&mut self, shape: &Shape, case: &Case, mut incident: Incident, segment: &Segment, done: &mut Outcome) {
        incident.start = segment.opener.0;
        incident.end = segment.end;
        incident.count = incident.beyond;
        for (time, bucket) in self.buckets.range_mut(segment.opener.0..=segment.end) {
            if !bucket.head.covered {
                bucket.head.covered = true;
                done.touched.insert(*time);
            }
            incident.count += bucket.len();
        }
        incident.keep_until = match segment.closed {
            Some(closed) => closed + shape.horizon,
            None => segment.reopened + case.keep + shape.lateness,
        };
        incident.deadline = segment.deadline;
        let known = incident.escalated;
        incident.escalated = segment.escalations | (incident.escalated & by_time(case));
        let newly_closed = segment.closed.is_some() && incident.closed.is_none();
        incident.closed = segment.closed;
        let graver = incident.escalated & !known != 0;
        raise(&mut incident, case);
        incident.note = note(&incident, case);
        let mut tell = |group: &Self, change: Change, incident: &Incident| {
            done.changes.push((change, group.snapshot(incident, shape)));
        };
        if incident.announced == 0 {
            tell(self, Change::Opened, &incident);
            incident.announced = incident.count;
        } else if incident.closed.is_some() && !newly_closed {
            // Told as closed; what still comes late changes nothing for whoever was paged.
        } else if graver {
            tell(self, Change::Escalated, &incident);
            incident.announced = incident.count;
        } else if !newly_closed && incident.count >= incident.announced.saturating_mul(2) {
            tell(self, Change::Updated, &incident);
            incident.announced = incident.count;
        }
        if newly_closed {
            tell(self, Change::Ended, &incident);
        }
        let position = self.incidents.partition_point(|other| other.start < incident.start);
        self.incidents.insert(position, incident);
    }

    /// Escalations that time sets off.
    pub(super) fn pass_deadlines(&mut self, case: &Case, shape: &Shape, watermark: EventTime, done: &mut Outcome) {
        let mut graver = Vec::new();
        for (index, incident) in self.incidents.iter_mut().enumerate() {
            let before = incident.escalated;
            for (number, at) in timers(case, incident) {
                if at < watermark {
                    incident.escalated |= 1_u64.checked_shl(u32::from(number)).unwrap_or(0);
                }
            }
            if incident.escalated != before {
                raise(incident, case);
                incident.note = note(incident, case);
                graver.push(index);
            }
        }
        for index in graver {
            if let Some(incident) = self.incidents.get(index) {
                done.changes.push((Change::Escalated, self.snapshot(incident, shape)));
            }
        }
    }

    /// When the next escalation by time is due.
    pub(super) fn case_due(&self, case: &Case) -> Option<EventTime> {
        self.incidents.iter().flat_map(|incident| timers(case, incident)).map(|(_, at)| at).min()
    }
}

/// Escalations of an incident that time will set off, and when.
fn timers(case: &Case, incident: &Incident) -> Vec<(u8, EventTime)> {
    let Some(deadline) = incident.deadline.filter(|_| incident.closed.is_none()) else { return Vec::new() };
    let escalations = (0_u8..).zip(&case.escalations);
    escalations
        .filter(|(number, _)| incident.escalated & 1_u64.checked_shl(u32::from(*number)).unwrap_or(0) == 0)
        .filter_map(|(number, escalation)| match escalation.when {
            Trigger::Before(span) => Some((number, deadline.saturating_sub(span))),
            Trigger::Record => None,
        })
        .collect()
}

/// The escalations that time sets off, as bits.
fn by_time(case: &Case) -> u64 {
    let timed = (0_u32..).zip(&case.escalations).filter(|(_, one)| one.when != Trigger::Record);
    timed.map(|(number, _)| 1_u64.checked_shl(number).unwrap_or(0)).fold(0, |bits, bit| bits | bit)
}

fn reached(case: &Case, escalated: u64) -> impl Iterator<Item = &crate::rule::detector::Escalation> {
    let bit = |number: u8| 1_u64.checked_shl(u32::from(number)).unwrap_or(0);
    (0_u8..).zip(&case.escalations).filter(move |(number, _)| escalated & bit(*number) != 0).map(|(_, one)| one)
}

fn level_of(case: &Case, escalated: u64) -> Option<crate::rule::Level> {
    reached(case, escalated).map(|escalation| escalation.level).max()
}

fn raise(incident: &mut Incident, case: &Case) {
    incident.level = incident.level.max(level_of(case, incident.escalated));
}

/// What is left of the time as of the last thing that happened, and what made it graver.
fn note(incident: &Incident, case: &Case) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(closed) = incident.closed {
        parts.push(format!("undone at {closed}"));
    } else if let Some(deadline) = incident.deadline {
        let passed = reached(case, incident.escalated).filter_map(|escalation| match escalation.when {
            Trigger::Before(span) => Some(deadline.saturating_sub(span)),
            Trigger::Record => None,
        });
        let now = passed.fold(incident.end, EventTime::max);
        parts.push(format!("{}, until {deadline}", left(deadline - now)));
    }
    let notes = reached(case, incident.escalated).map(|escalation| escalation.note.clone());
    parts.extend(notes.filter(|note| !note.is_empty()));
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whole days, and hours of the last one.
fn left(span: Span) -> String {
    let (count, unit) = match span.as_secs() {
        0..86_400 => (span.as_secs() / 3_600, "hour"),
        86_400.. => (span.as_secs() / 86_400, "day"),
    };
    format!("{count} {unit}{} left", if count == 1 { "" } else { "s" })
}
