//! Records whose effects are durable already: a copy of one of them need not be looked at again.
//!
//! Invariant: an id is remembered only after the commit of its effects. Forgetting is harmless (the
//! engine's state is a set), remembering too early would lose an alert.

use std::collections::HashSet;

use crate::event::EventId;

/// A hash of event ID and lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey([u8; 16]);

impl RecordKey {
    /// The key of a record of a lane: copies for several accounts are records of their own.
    #[must_use]
    pub fn of(id: &EventId, lane: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(lane.as_bytes());
        hasher.update(&[0]);
        hasher.update(id.as_str().as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }
}

/// The latest keys, bounded: two generations, the older forgotten at once.
#[derive(Debug)]
pub struct Recent {
    young: HashSet<RecordKey>,
    old: HashSet<RecordKey>,
    max_per_generation: usize,
}

impl Recent {
    /// Remembers at least the last `max_per_generation` keys, at most twice as many.
    #[must_use]
    pub fn new(max_per_generation: usize) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), max_per_generation }
    }

    /// Whether the key is remembered.
    #[must_use]
    pub fn contains(&self, key: &RecordKey) -> bool {
        self.young.contains(key) || self.old.contains(key)
    }

    /// Remembers keys.
    pub fn extend(&mut self, keys: impl IntoIterator<Item = RecordKey>) {
        for key in keys {
            if self.young.len() >= self.max_per_generation {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key);
        }
    }
}
