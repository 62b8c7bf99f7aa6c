//! Watermarks: how far event time has come, for each lane (account and Region) by itself.
//!
//! One lagging Region must not be late because of another, so nothing here is global. A lane that
//! has gone quiet is carried along by the time given as an argument, or its incidents would never end.
//!
//! Invariant: a watermark never goes back, and a record from the future moves it no further than
//! the time at which it came.

use std::collections::BTreeMap;

use crate::time::{EventTime, Span};

/// An account and Region: records of one lane come through one bus.
pub type Lane = std::sync::Arc<str>;

/// The watermarks of all lanes.
#[derive(Clone, Debug)]
pub struct Watermarks {
    lanes: BTreeMap<Lane, EventTime>,
    idle: Span,
    max_lanes: usize,
    /// What every lane has at least: carried by [`Watermarks::pass_time`].
    floor: EventTime,
}

impl Watermarks {
    /// Clocks of services and of this machine differ by seconds; this much future is believed.
    const SKEW: Span = Span::from_secs(300);

    /// Lanes that say nothing for `idle` are carried along.
    #[must_use]
    pub fn new(idle: Span, max_lanes: usize) -> Self {
        Self { lanes: BTreeMap::new(), idle, max_lanes, floor: EventTime::MIN }
    }

    /// Notes a record of `lane` at `time` that came at `now`.
    pub fn observe(&mut self, lane: &Lane, time: EventTime, now: EventTime) -> bool {
        let time = time.min(now + Self::SKEW);
        let full = self.lanes.len() >= self.max_lanes;
        match self.lanes.get_mut(lane) {
            Some(mark) if *mark >= time => false,
            Some(mark) => {
                *mark = time;
                true
            }
            // Beyond the limit of lanes a new one lives by the floor alone: its state is kept a
            // little longer, nothing is lost.
            None if full => false,
            None => {
                self.lanes.insert(lane.clone(), time);
                true
            }
        }
    }

    /// Time has come to `now` whether or not records came.
    pub fn pass_time(&mut self, now: EventTime) {
        self.floor = self.floor.max(now.saturating_sub(self.idle));
    }

    /// How far `lane` has come.
    #[must_use]
    pub fn of(&self, lane: &Lane) -> EventTime {
        self.lanes.get(lane).copied().unwrap_or(EventTime::MIN).max(self.floor)
    }

    /// The furthest of all lanes: nothing later than this can be due.
    #[must_use]
    pub fn furthest(&self) -> EventTime {
        self.lanes.values().copied().max().unwrap_or(EventTime::MIN).max(self.floor)
    }

    /// Puts a lane back as it was stored.
    pub fn restore(&mut self, lane: Lane, mark: EventTime) {
        self.lanes.insert(lane, mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_independent_and_the_future_is_not_believed() {
        let at = |secs: i64| EventTime::from_millis(secs * 1000);
        let (near, far): (Lane, Lane) = ("1/eu-west-1".into(), "1/eu-west-2".into());
        let mut marks = Watermarks::new(Span::from_secs(7200), 8);
        marks.observe(&near, at(100_000), at(100_010));
        marks.observe(&far, at(90_000), at(100_010));
        assert_eq!((marks.of(&near), marks.of(&far)), (at(100_000), at(90_000)));
        marks.observe(&far, at(9_000_000), at(100_020));
        assert_eq!(marks.of(&far), at(100_320));
        marks.observe(&far, at(5), at(100_020));
        assert_eq!(marks.of(&far), at(100_320));
        marks.pass_time(at(200_000));
        assert_eq!(marks.of(&near), at(192_800));
    }
}
