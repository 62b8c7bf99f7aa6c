//! A value that changes over event time: the latest few versions of it.
//!
//! Invariant: the same versions put in any order, any number of times, leave the same value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// When and by which record a value came to be. Of two in one second the greater id is the later,
/// whatever their order of arrival; CloudTrail tells no more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Event time.
    pub time: EventTime,
    /// eventID, or empty for what a snapshot says.
    pub event: String,
}

impl Stamp {
    /// Of a snapshot: what KMS itself said, after whatever came in the same second.
    #[must_use]
    pub fn of_snapshot(time: EventTime) -> Self {
        Self { time, event: SNAPSHOT.to_owned() }
    }

    fn is_snapshot(&self) -> bool {
        self.event == SNAPSHOT
    }
}

/// Sorts after every eventID.
const SNAPSHOT: &str = "~snapshot";

/// The latest versions of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent, bound(serialize = "T: Serialize", deserialize = "T: Deserialize<'de>"))]
pub struct Versions<T> {
    #[serde(with = "pairs")]
    kept: BTreeMap<Stamp, T>,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self { kept: BTreeMap::new() }
    }
}

impl<T: PartialEq> Versions<T> {
    /// Puts a version, and keeps the latest `keep`; whether anything changed.
    pub fn put(&mut self, stamp: Stamp, value: T, keep: usize) -> bool {
        // A snapshot that says nothing new is no version, or hourly ones would push out what happened.
        if stamp.is_snapshot() && self.at(stamp.time) == Some(&value) {
            return false;
        }
        let before = self.kept.insert(stamp.clone(), value);
        if self.kept.len() > keep {
            self.kept.pop_first();
        }
        self.kept.get(&stamp) != before.as_ref()
    }

    /// The value at an instant, what was put in that very second included. Before all versions it is
    /// what a snapshot says, if that is the first known.
    #[must_use]
    pub fn at(&self, time: EventTime) -> Option<&T> {
        let known = self.kept.iter().take_while(|(stamp, _)| stamp.time <= time).last();
        let first = || self.kept.first_key_value().filter(|(stamp, _)| stamp.is_snapshot());
        known.or_else(first).map(|(_, value)| value)
    }

    /// Since when the value at an instant stands; nothing when it was known from what came later.
    #[must_use]
    pub fn stamp_at(&self, time: EventTime) -> Option<&Stamp> {
        self.kept.keys().take_while(|stamp| stamp.time <= time).last()
    }

    /// The version just before a stamp.
    #[must_use]
    pub fn before(&self, stamp: &Stamp) -> Option<(&Stamp, &T)> {
        self.kept.range(..stamp).next_back()
    }

    /// The latest version.
    #[must_use]
    pub fn latest(&self) -> Option<(&Stamp, &T)> {
        self.kept.last_key_value()
    }
}

/// JSON has no maps with such keys.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Stamp;

    pub fn serialize<S: Serializer, T: Serialize>(kept: &BTreeMap<Stamp, T>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(kept.iter())
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Stamp, T>, D::Error> {
        Ok(Vec::<(Stamp, T)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> EventTime {
        EventTime::from_millis(second * 1000)
    }

    #[test]
    fn a_snapshot_speaks_for_the_time_before_it_as_far_as_nothing_else_is_known() {
        let mut versions = Versions::default();
        assert!(versions.put(Stamp::of_snapshot(at(10)), "a", 4));
        assert_eq!((versions.at(at(1)), versions.at(at(11))), (Some(&"a"), Some(&"a")));
        assert!(!versions.put(Stamp::of_snapshot(at(20)), "a", 4), "the same again is no version");
        let change = Stamp { time: at(5), event: "e".to_owned() };
        assert!(versions.put(change.clone(), "b", 4));
        assert_eq!((versions.at(at(4)), versions.at(at(5)), versions.at(at(10))), (None, Some(&"b"), Some(&"a")));
        assert_eq!(versions.before(&Stamp::of_snapshot(at(10))), Some((&change, &"b")));
        assert!(!versions.put(change, "b", 4));
    }

    proptest! {
        /// The oracle: all versions, sorted, the last few.
        #[test]
        fn order_and_repetition_do_not_matter(
            puts in prop::collection::vec((0_i64..8, 0_u8..3, 0_u8..4), 0..20),
            asked in 0_i64..9,
        ) {
            // One event says one thing.
            let truth: BTreeMap<(i64, u8), u8> = puts.iter().map(|(time, event, value)| ((*time, *event), *value)).collect();
            let mut versions = Versions::default();
            for (time, event, _) in &puts {
                versions.put(Stamp { time: at(*time), event: event.to_string() }, truth[&(*time, *event)], 4);
            }
            let kept: Vec<_> = truth.iter().rev().take(4).collect();
            let expected = kept.iter().find(|((time, _), _)| *time <= asked).map(|(_, value)| *value);
            prop_assert_eq!(versions.at(at(asked)), expected);
            let back: Versions<u8> = serde_json::from_str(&serde_json::to_string(&versions).unwrap()).unwrap();
            prop_assert_eq!(back, versions);
        }
    }
}
