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
    lanes: BTreeMap<Lane, Mark>,
    idle: Span,
    max_lanes: usize,
    /// As last told by [`Watermarks::pass_time`].
    now: EventTime,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    time: EventTime,
    /// When the lane last said something; not known of one that was restored.
    arrived: Option<EventTime>,
}

/// Lanes beyond the limit share one.
const SHARED: &str = "*";

impl Watermarks {
    /// Clocks of services and of this machine differ by seconds; this much future is believed.
    const SKEW: Span = Span::from_secs(300);

    /// Lanes that say nothing for `idle` are carried along. One that is behind and still speaks,
    /// like a backlog or a file of last year, is not.
    #[must_use]
    pub fn new(idle: Span, max_lanes: usize) -> Self {
        Self { lanes: BTreeMap::new(), idle, max_lanes, now: EventTime::MIN }
    }

    /// The lane as it is kept.
    fn kept(&self, lane: &Lane) -> Lane {
        if self.lanes.len() < self.max_lanes || self.lanes.contains_key(lane) { lane.clone() } else { SHARED.into() }
    }

    /// Notes a record of `lane` at `time` that came at `now`; whether the watermark moved.
    pub fn observe(&mut self, lane: &Lane, time: EventTime, now: EventTime) -> bool {
        let time = time.min(now + Self::SKEW);
        let carried = self.of(lane);
        let lane = self.kept(lane);
        let mark = self.lanes.entry(lane).or_insert(Mark { time: EventTime::MIN, arrived: None });
        mark.arrived = mark.arrived.max(Some(now));
        let moved = time.max(carried) > mark.time;
        mark.time = mark.time.max(time).max(carried);
        moved
    }

    /// Time has come to `now` whether or not records came.
    pub fn pass_time(&mut self, now: EventTime) {
        self.now = self.now.max(now);
        for mark in self.lanes.values_mut().filter(|mark| mark.arrived.is_none()) {
            mark.arrived = Some(now);
        }
    }

    fn reached(&self, mark: &Mark) -> EventTime {
        let silent = mark.arrived.is_some_and(|arrived| arrived + self.idle <= self.now);
        if silent { mark.time.max(self.now.saturating_sub(self.idle)) } else { mark.time }
    }

    /// How far `lane` has come.
    #[must_use]
    pub fn of(&self, lane: &Lane) -> EventTime {
        self.lanes.get(&self.kept(lane)).map_or(EventTime::MIN, |mark| self.reached(mark))
    }

    /// How far a lane has come when one that is silent for `patience` counts as having nothing to say.
    #[must_use]
    pub fn of_silent(&self, lane: &Lane, patience: Span) -> EventTime {
        let reached = self.of(lane);
        let silent = self.lanes.get(&self.kept(lane)).and_then(|mark| mark.arrived);
        let silent = silent.is_some_and(|arrived| arrived + patience <= self.now);
        if silent { reached.max(self.now) } else { reached }
    }

    /// The time last told by [`Watermarks::pass_time`].
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.now
    }

    /// The furthest of all lanes: nothing later than this can be due.
    #[must_use]
    pub fn furthest(&self) -> EventTime {
        self.lanes.values().map(|mark| self.reached(mark)).max().unwrap_or(EventTime::MIN)
    }

    /// Puts a lane back as it was stored.
    pub fn restore(&mut self, lane: Lane, time: EventTime) {
        self.lanes.insert(lane, Mark { time, arrived: None });
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
    }

    #[test]
    fn a_silent_lane_is_carried_along_and_a_backlog_is_not() {
        let at = |secs: i64| EventTime::from_millis(secs * 1000);
        let (silent, behind): (Lane, Lane) = ("1/silent".into(), "1/behind".into());
        let mut marks = Watermarks::new(Span::from_secs(7200), 8);
        marks.observe(&silent, at(100_000), at(100_000));
        marks.observe(&behind, at(50), at(199_000));
        marks.pass_time(at(200_000));
        assert_eq!((marks.of(&silent), marks.of(&behind)), (at(192_800), at(50)));
        let mut restored = Watermarks::new(Span::from_secs(7200), 8);
        restored.restore(silent.clone(), at(100_000));
        restored.pass_time(at(200_000));
        assert_eq!(restored.of(&silent), at(100_000), "it gets its time to speak again");
        restored.pass_time(at(207_200));
        assert_eq!(restored.of(&silent), at(200_000));
    }

    #[test]
    fn lanes_beyond_the_limit_share_one() {
        let at = |secs: i64| EventTime::from_millis(secs * 1000);
        let mut marks = Watermarks::new(Span::from_secs(7200), 1);
        for lane in ["a", "b", "c"] {
            marks.observe(&lane.into(), at(100), at(100));
        }
        assert_eq!(marks.lanes.len(), 2);
        assert_eq!(marks.of(&"unheard".into()), at(100));
    }
}
