//! How well something is supported: how often it was seen, on which days, from when to when.
//!
//! Days decide and not counts: one intruder can call ten thousand times in an hour, but does not come
//! on as many days as a system at work. Days are a set, so a record that comes twice changes nothing.

use std::collections::BTreeSet;
use std::fmt;

use super::bounded::Merge;
use crate::time::{EventTime, Span};

const DAY_MILLIS: i64 = 86_400_000;
/// The latest days that are told apart.
const MAX_DAYS: usize = 800;
/// Two days that are nearly a week apart are a weekly job rather than one visit.
const WEEKLY: Span = Span::from_secs(6 * 86_400);

/// What was seen of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// Records.
    pub uses: u64,
    days: BTreeSet<i64>,
    /// Time of the first.
    pub first: EventTime,
    /// Time of the last.
    pub last: EventTime,
}

impl Default for Support {
    fn default() -> Self {
        Self { uses: 0, days: BTreeSet::new(), first: EventTime::MAX, last: EventTime::MIN }
    }
}

impl Support {
    /// Notes one use.
    pub fn note(&mut self, time: EventTime) {
        self.uses += 1;
        self.days.insert(day_of(time));
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        self.keep_latest();
    }

    fn keep_latest(&mut self) {
        while self.days.len() > MAX_DAYS {
            self.days.pop_first();
        }
    }

    /// On how many days, by UTC.
    #[must_use]
    pub fn days(&self) -> usize {
        self.days.len()
    }

    /// The days, counted from the epoch.
    pub fn each_day(&self) -> impl Iterator<Item = i64> {
        self.days.iter().copied()
    }

    /// `1,204 uses on 20 days, last 2026-01-30`, of whatever it was.
    #[must_use]
    pub fn in_words(&self, one: &str) -> String {
        let (uses, days) = (plural(self.uses, one), plural(self.days() as u64, "day"));
        format!("{uses} on {days}, last {}", date(self.last))
    }

    /// Whether it is a habit: on `least_days` days, or on two that are about a week apart.
    #[must_use]
    pub fn is_habit(&self, least_days: usize) -> bool {
        self.days() >= least_days || (self.days() >= 2 && self.last - self.first >= WEEKLY)
    }
}

impl Merge for Support {
    fn merge(&mut self, other: Self) {
        self.uses += other.uses;
        self.days.extend(other.days);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.keep_latest();
    }
}

/// The day of an instant by UTC, counted from the epoch.
#[must_use]
pub fn day_of(time: EventTime) -> i64 {
    time.as_millis().div_euclid(DAY_MILLIS)
}

/// `1,204 uses on 20 days, last 2026-01-30`.
impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words("use"))
    }
}

/// `1204` as `1,204`.
#[must_use]
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 day`, `1,204 days`.
#[must_use]
pub fn plural(count: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// The date of an instant by UTC.
#[must_use]
pub fn date(time: EventTime) -> String {
    time.civil().map_or_else(|| time.to_string(), |civil| civil.date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn support(times: &[&str]) -> Support {
        let mut support = Support::default();
        times.iter().for_each(|time| support.note(EventTime::parse(time).unwrap()));
        support
    }

    #[test]
    fn days_make_a_habit_and_counts_do_not() {
        let burst = support(&["2026-01-05T10:00:00Z"; 500]);
        assert!(!burst.is_habit(3));
        assert_eq!(burst.to_string(), "500 uses on 1 day, last 2026-01-05");
        assert!(support(&["2026-01-05T10:00:00Z", "2026-01-06T10:00:00Z", "2026-01-08T10:00:00Z"]).is_habit(3));
        assert!(!support(&["2026-01-05T10:00:00Z", "2026-01-06T10:00:00Z"]).is_habit(3));
        assert!(support(&["2026-01-04T02:00:00Z", "2026-01-11T02:00:00Z"]).is_habit(3), "each Sunday");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
