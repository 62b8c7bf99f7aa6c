//! When a rule of new terms first saw each of its scopes: until some time after that it learns.

use std::sync::Arc;

use super::matched::{GroupKey, Match};
use super::{Engine, Slot};
use crate::rule::{Detector, Rule, RuleIndex};
use crate::time::EventTime;

/// A rule's id and the values that make one of its scopes.
pub(super) type ScopeKey = (Arc<str>, Vec<Arc<str>>);

impl Engine {
    /// Of new terms: when the scope of a match was first seen, this match included.
    pub(super) fn scope_first(&mut self, rule: &Rule, matched: &Match, now: EventTime) -> EventTime {
        self.scope_seen(rule, matched.rule, &matched.group, matched.time, now)
    }

    /// The same of a group that was seen at `time`.
    pub(super) fn scope_seen(
        &mut self,
        rule: &Rule,
        index: RuleIndex,
        group: &GroupKey,
        time: EventTime,
        now: EventTime,
    ) -> EventTime {
        let Detector::NewTerms(terms) = &rule.detector else { return EventTime::MAX };
        let values = terms.per.iter().filter_map(|at| group.0.get(*at).cloned()).collect();
        let key: ScopeKey = (rule.meta.id.as_str().into(), values);
        match self.scopes.get(&key).copied() {
            Some(first) if first <= time => first,
            known => {
                if known.is_none() && self.scopes.len() >= self.limits.max_groups {
                    *self.step.evicted.entry(index).or_default() += 1;
                    return EventTime::MAX;
                }
                self.scopes.insert(key.clone(), time);
                self.fresh_scopes.insert(key.clone());
                if known.is_some() {
                    self.reconsider(rule, index, &key, &terms.per, time, now);
                }
                time
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
}
