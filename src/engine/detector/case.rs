//! Cases: what was opened and is not undone yet.
//!
//! Within one instant what undoes comes first, unless there is nothing to undo yet: a key that is
//! disabled and enabled in the same second may be disabled, so the case stays open. What makes a
//! case graver in the instant that closes it belongs to it.

use std::collections::BTreeMap;

use crate::engine::bucket::Bucket;
use crate::engine::matched::Signal;
use crate::event::EventId;
use crate::time::EventTime;

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What opened it: the earliest record.
    pub opener: (EventTime, EventId),
    /// The last record that opened it again or made it graver, or what closed it.
    pub end: EventTime,
    /// The last record that opened it again.
    pub reopened: EventTime,
    /// When it was undone.
    pub closed: Option<EventTime>,
    /// Decided by then, as the last opening record says.
    pub deadline: Option<EventTime>,
    /// Escalations set off, as bits.
    pub escalations: u64,
}

/// The cases of a group, by time.
#[must_use]
pub fn segments(buckets: &BTreeMap<EventTime, Bucket>) -> Vec<Segment> {
    let mut closed = Vec::new();
    let mut open: Option<Segment> = None;
    for (time, bucket) in buckets {
        let has = |wanted: &Signal| bucket.head.signals.contains(wanted);
        if has(&Signal::Closes)
            && let Some(mut segment) = open.take()
        {
            segment.escalations |= escalations(bucket);
            segment.closed = Some(*time);
            segment.end = *time;
            closed.push(segment);
        }
        if has(&Signal::Opens)
            && let Some(first) = bucket.entries.keys().next()
        {
            let segment = open.get_or_insert_with(|| Segment {
                opener: (*time, first.clone()),
                end: *time,
                reopened: *time,
                closed: None,
                deadline: None,
                escalations: 0,
            });
            segment.end = *time;
            segment.reopened = *time;
            let deadlines = bucket.head.signals.iter().filter_map(|signal| match signal {
                Signal::Deadline(time) => Some(*time),
                _ => None,
            });
            segment.deadline = deadlines.min().or(segment.deadline);
        }
        if let Some(segment) = open.as_mut()
            && escalations(bucket) != 0
        {
            segment.escalations |= escalations(bucket);
            segment.end = *time;
        }
    }
    closed.extend(open);
    closed
}

fn escalations(bucket: &Bucket) -> u64 {
    let bit = |signal: &Signal| match signal {
        Signal::Escalates(number) => 1_u64.checked_shl(u32::from(*number)).unwrap_or(0),
        _ => 0,
    };
    bucket.head.signals.iter().map(bit).fold(0, |bits, bit| bits | bit)
}
