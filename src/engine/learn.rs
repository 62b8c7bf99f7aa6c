//! Teaching the engine from captures: what was seen and how often, without a word to anybody.
//!
//! Invariant: learning the same captures twice changes nothing.

use std::collections::BTreeMap;

use super::detector::Memory;
use super::group::Group;
use super::matched::Match;
use super::shape::{Shape, cell_of};
use super::state::GroupId;
use super::{Engine, Slot};
use crate::event::EventId;
use crate::rule::Detector;
use crate::time::EventTime;

impl Engine {
    /// Learns from matches of captures, in any order: new terms and rates know them from now on.
    /// Returns how many groups learnt something. Matches of other rules are passed over.
    pub fn learn(&mut self, matches: &[Match]) -> usize {
        let rules = self.rules.clone();
        let mut cells: BTreeMap<(GroupId, i64), std::collections::BTreeSet<&EventId>> = BTreeMap::new();
        let mut learnt = std::collections::BTreeSet::new();
        for matched in matches {
            let Some(rule) = rules.rules.get(matched.rule.0 as usize) else { continue };
            if !matches!(rule.detector, Detector::NewTerms(_) | Detector::Rate(_)) {
                continue;
            }
            self.scope_first(rule, matched, matched.time);
            let id = GroupId::of(rule, &matched.group);
            learnt.insert(id);
            let slot = self.slots.entry(id).or_insert_with(|| Slot {
                rule: matched.rule,
                group: Group::new(matched.group.clone(), Memory::of(&rule.detector)),
                due: None,
                age: (false, EventTime::MIN),
            });
            slot.group.last = slot.group.last.max(matched.time);
            slot.group.lanes.insert(matched.lane.clone());
            match (&mut slot.group.memory, &rule.detector) {
                (Memory::Terms(seen), Detector::NewTerms(_)) => seen.note(matched.time, Shape::of(rule).quiet),
                (Memory::Rate(_), Detector::Rate(rate)) => {
                    cells.entry((id, cell_of(matched.time, rate.every))).or_default().insert(&matched.id);
                }
                _ => {}
            }
        }
        for ((id, cell), ids) in cells {
            if let Some(Memory::Rate(history)) = self.slots.get_mut(&id).map(|slot| &mut slot.group.memory) {
                history.learn(cell, ids.len() as u64);
            }
        }
        for id in &learnt {
            self.headers.insert(*id);
            self.index(*id);
        }
        self.keep_limits();
        learnt.len()
    }
}
