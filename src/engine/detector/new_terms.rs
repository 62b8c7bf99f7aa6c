//! When a term was seen, in little: the first and last instant of each stretch of time.
//!
//! The one question is whether the term was seen in `[t - history, t - grace)`. For a stretch that
//! lies across an end of that span its first or last instant answers; so what lies between need
//! not be kept, and a term that is used all day costs as little as one that is used each hour.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::shape::cell_of;
use crate::time::{EventTime, Span};

/// When a term was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// By stretch: first and last instant.
    cells: BTreeMap<i64, (EventTime, EventTime)>,
    /// The last instant before those.
    older: Option<EventTime>,
}

impl Seen {
    /// Whether it was seen in `[from, to)`.
    #[must_use]
    pub fn within(&self, from: EventTime, to: EventTime) -> bool {
        let inside = |time: EventTime| from <= time && time < to;
        self.older.is_some_and(inside) || self.cells.values().any(|(first, last)| inside(*first) || inside(*last))
    }

    /// Notes an instant; `grace` is the rule's.
    pub fn note(&mut self, time: EventTime, grace: Span) {
        if self.older.is_some_and(|older| time <= older) {
            return;
        }
        // An end of the span must not lie in the same stretch as the other.
        let width = Span::from_millis((grace.as_millis() / 4).max(1000));
        let (first, last) = self.cells.entry(cell_of(time, width)).or_insert((time, time));
        *first = (*first).min(time);
        *last = (*last).max(time);
    }

    /// Forgets what no record that is not late asks for: all before `until` but its last instant.
    pub fn prune(&mut self, until: EventTime) -> bool {
        let before = self.cells.len();
        while let Some(entry) = self.cells.first_entry() {
            let last = entry.get().1;
            if last >= until {
                break;
            }
            self.older = self.older.max(Some(last));
            entry.remove();
        }
        before != self.cells.len()
    }

    /// The last instant of the earliest stretch that is kept.
    #[must_use]
    pub fn earliest(&self) -> Option<EventTime> {
        self.cells.first_key_value().map(|(_, (_, last))| *last)
    }

    /// When it was seen last.
    #[must_use]
    pub fn last(&self) -> Option<EventTime> {
        self.cells.last_key_value().map(|(_, (_, last))| *last).max(self.older)
    }
}
