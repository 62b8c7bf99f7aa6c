//! State taken back from the rows that were written.

use std::collections::HashMap;
use std::sync::Arc;

use super::state::{self, GroupId, RestoreError, Row};
use super::{Engine, Slot, StateDelta};
use crate::rule::RuleIndex;
use crate::time::EventTime;

impl Engine {
    /// Takes back the rows that [`super::Step::deltas`] wrote. Rows of rules that are gone or count
    /// something else now are removed with the next step; returns how many groups that were.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn restore(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<u64, RestoreError> {
        let by_id: HashMap<&str, RuleIndex> = (0_u32..)
            .map(RuleIndex)
            .zip(&self.rules.rules)
            .map(|(index, rule)| (rule.meta.id.as_str(), index))
            .collect();
        let mut orphans = 0;
        let mut parts = Vec::new();
        for (key, value) in rows {
            match state::read(key, value)? {
                Row::Watermark { lane, mark } => self.marks.restore(lane, mark),
                Row::Scope { rule_id, values, first } => {
                    if by_id.contains_key(&*rule_id) {
                        self.scopes.insert((rule_id, values), first);
                    } else {
                        self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                    }
                }
                Row::Group { id, rule_id, group } => {
                    let rule = by_id
                        .get(rule_id.as_str())
                        .and_then(|index| Some((*index, self.rules.rules.get(index.0 as usize)?)));
                    match rule {
                        Some((index, rule)) if GroupId::of(rule, &group.key) == id => {
                            let slot = Slot { rule: index, group: *group, due: None, age: (false, EventTime::MIN) };
                            self.slots.insert(id, slot);
                        }
                        _ => {
                            orphans += 1;
                            self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                        }
                    }
                }
                part => parts.push((key, part)),
            }
        }
        for (key, part) in parts {
            let id = match &part {
                Row::Head { id, .. } | Row::Entry { id, .. } | Row::Sample { id, .. } => *id,
                Row::Group { .. } | Row::Watermark { .. } | Row::Scope { .. } => continue,
            };
            let Some(slot) = self.slots.get_mut(&id) else {
                self.step.deltas.push(StateDelta { key: key.clone(), value: None });
                continue;
            };
            match part {
                Row::Head { time, head, .. } => {
                    if let Some(rule) = self.rules.rules.get(slot.rule.0 as usize) {
                        slot.group.restore_head(rule, time, head);
                    }
                }
                Row::Entry { time, event, entry, .. } => slot.group.restore_entry(time, event, entry),
                Row::Sample { time, event, sample, .. } => {
                    slot.group.samples.insert((time, event), Arc::new(sample));
                }
                Row::Group { .. } | Row::Watermark { .. } | Row::Scope { .. } => {}
            }
        }
        let mut ids: Vec<_> = self.slots.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(slot) = self.slots.get(&id) {
                self.held.changed(slot.rule, 0, slot.group.entries());
            }
            self.index(id);
        }
        Ok(orphans)
    }
}
