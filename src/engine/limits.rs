//! What is given up when there is too much.

use super::incident::Change;
use super::{Engine, Transition};

impl Engine {
    /// Gives up groups while there are too many: the oldest of the rule that has most.
    pub(super) fn keep_limits(&mut self) {
        while self.slots.len() > self.limits.max_groups || self.entries > self.limits.max_entries {
            let Some((rule, oldest)) = self
                .ages
                .iter()
                .max_by_key(|(_, ages)| ages.len())
                .and_then(|(rule, ages)| Some((*rule, ages.first()?.2)))
            else {
                return;
            };
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
