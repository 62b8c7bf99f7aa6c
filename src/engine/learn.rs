//! Teaching the engine from lessons: what was seen and how often, without a word to anybody.
//!
//! Invariant: learning the same lessons twice changes nothing.

use super::detector::Memory;
use super::group::Group;
use super::lesson::{Lesson, Taught};
use super::shape::Shape;
use super::state::GroupId;
use super::{Engine, Slot};
use crate::rule::Detector;
use crate::time::EventTime;

impl Engine {
    /// Learns from lessons, in any order: new terms and rates know them from now on. Returns how many
    /// groups learnt something.
    pub fn learn(&mut self, lessons: &[Lesson]) -> usize {
        let rules = self.rules.clone();
        let mut learnt = std::collections::BTreeSet::new();
        for lesson in lessons {
            let Some(rule) = rules.rules.get(lesson.rule.0 as usize) else { continue };
            if let Some(first) = lesson.first() {
                self.scope_seen(rule, lesson.rule, &lesson.group, first, first);
            }
            let id = GroupId::of(rule, &lesson.group);
            let slot = self.slots.entry(id).or_insert_with(|| Slot {
                rule: lesson.rule,
                group: Group::new(lesson.group.clone(), Memory::of(&rule.detector)),
                due: None,
                age: (false, EventTime::MIN),
            });
            match (&mut slot.group.memory, &rule.detector, &lesson.taught) {
                (Memory::Terms(seen), Detector::NewTerms(_), Taught::Times(times)) => {
                    times.iter().for_each(|time| seen.note(*time, Shape::of(rule).quiet));
                }
                (Memory::Rate(history), Detector::Rate(_), Taught::Cells(cells)) => {
                    cells.iter().for_each(|(cell, count)| history.learn(*cell, *count));
                }
                _ => continue,
            }
            slot.group.last = slot.group.last.max(lesson.last);
            slot.group.lanes.extend(lesson.lanes.iter().cloned());
            learnt.insert(id);
        }
        for id in &learnt {
            self.headers.insert(*id);
            self.index(*id);
        }
        self.keep_limits();
        learnt.len()
    }
}
