//! What is given up when there is too much.

use std::collections::BTreeMap;

use super::incident::Change;
use super::{Engine, Transition};
use crate::rule::RuleIndex;

/// Matches held by id, over all groups and by rule.
#[derive(Debug, Default)]
pub(super) struct Held {
    total: usize,
    by_rule: BTreeMap<RuleIndex, usize>,
}

impl Held {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// A group of the rule held `before` and holds `after`.
    pub(super) fn changed(&mut self, rule: RuleIndex, before: usize, after: usize) {
        let of_rule = self.by_rule.entry(rule).or_default();
        *of_rule = (*of_rule + after).saturating_sub(before);
        self.total = (self.total + after).saturating_sub(before);
    }

    fn most(&self) -> Option<RuleIndex> {
        self.by_rule.iter().max_by_key(|(_, held)| **held).map(|(rule, _)| *rule)
    }
}

impl Engine {
    /// Gives up groups while there is too much: the oldest of the rule that has most of what there is
    /// too much of. Who floods one rule takes nothing from the others.
    pub(super) fn keep_limits(&mut self) {
        loop {
            let rule = if self.held.total() > self.limits.max_entries {
                self.held.most()
            } else if self.slots.len() > self.limits.max_groups {
                self.ages.iter().max_by_key(|(_, ages)| ages.len()).map(|(rule, _)| *rule)
            } else {
                return;
            };
            let oldest = |rule: &RuleIndex| self.ages.get(rule).and_then(|ages| ages.first()).map(|age| age.2);
            let Some((rule, oldest)) = rule.and_then(|rule| Some((rule, oldest(&rule)?))) else { return };
            // What was open and is given up is told of, or its page would stay open for ever.
            if let Some(slot) = self.slots.get_mut(&oldest)
                && let Some(of_rule) = self.rules.rules.get(rule.0 as usize)
            {
                slot.group.saturated = true;
                let group = slot.group.key.clone();
                for snapshot in slot.group.open(of_rule).into_iter().filter(|_| of_rule.opens) {
                    let change = Change::Ended;
                    self.step.transitions.push(Transition { rule, group: group.clone(), change, snapshot });
                }
            }
            self.remove(oldest);
            *self.step.evicted.entry(rule).or_default() += 1;
        }
    }
}
