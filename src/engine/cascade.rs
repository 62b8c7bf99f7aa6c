//! From one correlation to the next: each qualifying match of a rule is a match of those that count it.

use super::group::Group;
use super::matched::{self, GroupKey, Match};
use crate::event::EventId;
use crate::rule::{Feed, Rule};
use crate::time::EventTime;

/// The matches that a rule's qualifying ones are to the correlations that count it.
pub(super) fn hand_on(
    rule: &Rule,
    group: &Group,
    passed: &[(EventTime, EventId)],
    cause: Option<&Match>,
) -> Vec<Match> {
    let lane = || cause.map(|cause| cause.lane.clone()).or_else(|| group.lanes.first().cloned());
    let one = |(time, id): &(EventTime, EventId), feed: &Feed| {
        let own = cause.filter(|cause| cause.id == *id);
        let stored = group.buckets.get(time).and_then(|bucket| bucket.entries.get(id));
        let facts = own.map(|cause| cause.facts.clone()).or_else(|| stored.map(|entry| entry.facts.clone()))?;
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
