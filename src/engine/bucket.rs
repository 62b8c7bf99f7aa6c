//! All matches of one instant: they share one verdict, since their order is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::matched::{Facts, Match, Signal};
use crate::event::EventId;
use crate::time::Span;

/// One match as kept in its bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// For the alert.
    pub facts: Arc<Facts>,
    /// What is summed or averaged.
    pub number: Option<f64>,
}

/// Facts are mostly the same within a group, so equal ones are kept once.
#[derive(Clone, Debug, Default)]
pub struct SharedFacts(BTreeSet<Arc<Facts>>);

impl SharedFacts {
    const MAX: usize = 1024;

    /// The facts as they are kept.
    pub fn share(&mut self, facts: &Arc<Facts>) -> Arc<Facts> {
        if let Some(known) = self.0.get(facts) {
            return known.clone();
        }
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        self.0.insert(facts.clone());
        facts.clone()
    }
}

/// All matches of one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// By event ID.
    pub entries: BTreeMap<EventId, Entry>,
    /// What is known beside the entries.
    pub head: BucketHead,
}

/// What is stored of a bucket beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketHead {
    /// Matches beyond the group's cap: counted, not known by id.
    pub overflow: u64,
    /// What the matches say, those of `overflow` included.
    pub signals: BTreeSet<Signal>,
    /// The window that ends here passes.
    pub qualifies: bool,
    /// The verdict was given, of a rule whose verdicts wait for late records.
    pub judged: bool,
    /// Evidence of an incident.
    pub covered: bool,
    /// Came after the allowed lateness.
    pub late: bool,
    /// Kept until the watermark passes this; stored as a span over the bucket's own time.
    pub keep_for: Span,
}

impl Bucket {
    /// How many matches.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.len() as u64 + self.head.overflow
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what a match says, up to `max` signals; whether any of it is new.
    pub fn hear(&mut self, matched: &Match, max: usize) -> bool {
        let mut new = false;
        for signal in &matched.signals {
            if self.head.signals.len() < max {
                new |= self.head.signals.insert(signal.clone());
            }
        }
        new
    }
}
