//! Other rules for a running engine: windows and incidents of what is unchanged go on.
//!
//! Invariant: after [`Engine::retire`] and [`Engine::replace`] the engine is what a fresh one is
//! that was restored under the new rules; and no page stays open for a rule that is gone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::incident::Change;
use super::limits::Held;
use super::state::{self, GroupId};
use super::{Engine, Transition};
use crate::rule::{RuleIndex, RuleSet};
use crate::time::EventTime;

impl Engine {
    /// Gives up, under the old rules still, the groups that mean nothing under `new`: their open
    /// incidents end, and their rows go with the next step. Returns how many.
    pub fn retire(&mut self, new: &RuleSet) -> usize {
        let ids = by_id(new);
        let rules = self.rules.clone();
        let mut slots: Vec<GroupId> = self.slots.keys().copied().collect();
        slots.sort_unstable();
        let mut gone: Vec<GroupId> = Vec::new();
        for id in slots {
            let Some(slot) = self.slots.get(&id) else { continue };
            let old = rules.rules.get(slot.rule.0 as usize);
            let kept =
                old.and_then(|rule| ids.get(rule.meta.id.as_str())).and_then(|index| new.rules.get(index.0 as usize));
            if kept.is_none_or(|rule| GroupId::of(rule, &slot.group.key) != id) {
                gone.push(id);
            }
        }
        for id in &gone {
            if let Some(slot) = self.slots.get(id)
                && let Some(rule) = rules.rules.get(slot.rule.0 as usize)
            {
                let (index, group) = (slot.rule, slot.group.key.clone());
                let open = slot.group.open(rule).into_iter().filter(|_| rule.opens);
                let ended = open.map(|snapshot| Transition {
                    rule: index,
                    group: group.clone(),
                    change: Change::Ended,
                    snapshot,
                });
                self.step.transitions.extend(ended);
            }
            self.remove(*id);
        }
        let lost: Vec<_> = self.scopes.keys().filter(|scope| !ids.contains_key(&*scope.0)).cloned().collect();
        for scope in lost {
            if let Some(first) = self.scopes.remove(&scope) {
                self.step.deltas.push(state::removal(state::scope_row(&scope.0, &scope.1, first)));
            }
            self.fresh_scopes.remove(&scope);
        }
        gone.len()
    }

    /// Goes on under `new`; what [`Engine::retire`] was not asked about is dropped without a word.
    pub fn replace(&mut self, new: Arc<RuleSet>) {
        let old = std::mem::replace(&mut self.rules, new);
        let moved: HashMap<RuleIndex, RuleIndex> = {
            let ids = by_id(&self.rules);
            let old = (0_u32..).map(RuleIndex).zip(&old.rules);
            old.filter_map(|(index, rule)| Some((index, *ids.get(rule.meta.id.as_str())?))).collect()
        };
        self.deadlines.clear();
        self.timers.clear();
        self.ages.clear();
        let lost: Vec<_> =
            self.slots.iter().filter(|(_, slot)| !moved.contains_key(&slot.rule)).map(|(id, _)| *id).collect();
        for id in lost {
            self.remove(id);
        }
        let ids: BTreeSet<GroupId> = self.slots.keys().copied().collect();
        self.held = Held::default();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.rule = moved.get(&slot.rule).copied().unwrap_or(slot.rule);
                self.held.changed(slot.rule, 0, slot.group.entries());
                slot.due = None;
                slot.age = (false, EventTime::MIN);
            }
            self.index(id);
        }
    }
}

fn by_id(rules: &RuleSet) -> HashMap<&str, RuleIndex> {
    (0_u32..).map(RuleIndex).zip(&rules.rules).map(|(index, rule)| (rule.meta.id.as_str(), index)).collect()
}
