//! At which hours and on which days of the week something was used, and whether that is clearly bounded.
//!
//! Hours are by UTC, and what is proposed is an hour wider on each side: that takes in summer time.

use super::bounded::Merge;
use super::network::wanders;
use super::support::{Support, day_of};
use crate::time::{EventTime, Span};

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// A stretch longer than this, its margins left out, is no bound.
const LONGEST: usize = 12;
/// Fewer uses than these on a usual day leave whole hours empty by chance.
const LEAST_A_DAY: u64 = 5;

/// Uses by hour of the day and by day of the week.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clock {
    hours: [Support; 24],
    weekdays: [Support; 7],
    support: Support,
}

/// Hours and days outside of which nothing was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `mon-fri`, if there are days without use.
    pub days: Option<String>,
    /// `06:00-20:00`, if there are hours without.
    pub hours: Option<String>,
    /// Seldom, and so outside: `03:00 (2 uses on 1 day, last 2026-01-07)`.
    pub rare: Vec<String>,
}

impl Clock {
    /// Notes a use.
    pub fn note(&mut self, time: EventTime) {
        let hour = time.as_millis().div_euclid(3_600_000).rem_euclid(24);
        let slots =
            [self.hours.get_mut(usize::try_from(hour).unwrap_or(0)), self.weekdays.get_mut(weekday_of(day_of(time)))];
        slots.into_iter().flatten().for_each(|support| support.note(time));
        self.support.note(time);
    }

    /// The bounds, if `weeks` weeks of steady use show them clearly.
    #[must_use]
    pub fn bounds(&self, weeks: u32, least_days: usize) -> Option<Bounds> {
        let seen_for = self.support.last - self.support.first + Span::from_secs(86_400);
        let is_steady = self.support.uses >= LEAST_A_DAY * (self.support.days() as u64);
        let enough_days = self.support.days() >= (3 * weeks as usize).max(least_days);
        if weeks == 0 || seen_for < Span::from_secs(u64::from(weeks) * 7 * 86_400) || !is_steady || !enough_days {
            return None;
        }
        let mut rare = Vec::new();
        let days = self.days(weeks, &mut rare);
        let hours = self.hours(least_days, &mut rare);
        (days.is_some() || hours.is_some()).then_some(Bounds { days, hours, rare })
    }

    /// Days of the week, when some had none in all those weeks and the others had use in most.
    fn days(&self, weeks: u32, rare: &mut Vec<String>) -> Option<String> {
        let weeks = weeks as usize;
        let used: Vec<bool> = self.weekdays.iter().map(|support| support.days() * 2 > weeks).collect();
        // A run of days is a habit; a pattern with holes in it may be chance.
        let runs = (0..7).filter(|at| is(&used, *at) && !is(&used, (*at + 6) % 7)).count();
        if runs != 1 {
            return None;
        }
        let first = (0..7).find(|at| is(&used, *at) && !is(&used, (*at + 6) % 7))?;
        let length = (0..7).take_while(|step| is(&used, (first + step) % 7)).count();
        let outside =
            || self.weekdays.iter().zip(&used).zip(NAMES).filter(|((support, used), _)| support.uses > 0 && !**used);
        let seldom: u64 = outside().map(|((support, _), _)| support.uses).sum();
        if wanders(4, seldom, self.support.uses - seldom) {
            return None;
        }
        rare.extend(outside().map(|((support, _), name)| format!("{name} ({support})")));
        let name = |at: usize| NAMES.get(at % 7).copied().unwrap_or_default();
        Some(if length == 1 { name(first).to_owned() } else { format!("{}-{}", name(first), name(first + length - 1)) })
    }

    /// The one stretch of the day that has all usual hours.
    fn hours(&self, least_days: usize, rare: &mut Vec<String>) -> Option<String> {
        let used: Vec<bool> = self.hours.iter().map(|support| support.is_habit(least_days)).collect();
        // The longest stretch without: the rest is the stretch that is used.
        let free = |start: usize| (0..24).take_while(|step| !is(&used, (start + step) % 24)).count();
        let start = (0..24).max_by_key(|at| (free(*at), std::cmp::Reverse(*at)))?;
        let (empty, until) = (free(start), start);
        let from = start + empty;
        if empty >= 24 || 24 - empty > LONGEST {
            return None;
        }
        let outside =
            || self.hours.iter().zip(&used).enumerate().filter(|(_, (support, used))| support.uses > 0 && !**used);
        let inside = |hour: usize| (hour + 24 - from % 24) % 24 < 24 - empty;
        let seldom: u64 = outside().filter(|(hour, _)| !inside(*hour)).map(|(_, (support, _))| support.uses).sum();
        if wanders(4, seldom, self.support.uses - seldom) {
            return None;
        }
        let seldom = outside().filter(|(hour, _)| !inside(*hour));
        rare.extend(seldom.map(|(hour, (support, _))| format!("{hour:02}:00 ({support})")));
        Some(format!("{:02}:00-{:02}:00", (from + 23) % 24, (until + 1) % 24))
    }
}

fn is(used: &[bool], at: usize) -> bool {
    used.get(at).copied().unwrap_or(false)
}

/// Monday is 0; the epoch was a Thursday.
fn weekday_of(day: i64) -> usize {
    usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0)
}

impl Merge for Clock {
    fn merge(&mut self, other: Self) {
        for (mine, others) in self.hours.iter_mut().zip(other.hours) {
            mine.merge(others);
        }
        for (mine, others) in self.weekdays.iter_mut().zip(other.weekdays) {
            mine.merge(others);
        }
        self.support.merge(other.support);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::schedule::Schedule;

    /// Uses at these hours on these days from Monday 2026-01-05 on, ten an hour.
    fn clock(days: &[i64], hours: &[i64]) -> Clock {
        let monday = EventTime::parse("2026-01-05T00:00:00Z").unwrap().as_millis();
        let mut clock = Clock::default();
        for day in days {
            for hour in hours {
                for minute in 0..10 {
                    clock.note(EventTime::from_millis(monday + day * 86_400_000 + hour * 3_600_000 + minute * 60_000));
                }
            }
        }
        clock
    }

    fn workdays(weeks: i64) -> Vec<i64> {
        (0..7 * weeks).filter(|day| day % 7 < 5).collect()
    }

    #[test]
    fn office_hours_and_nights() {
        let office = clock(&workdays(4), &(7..18).collect::<Vec<_>>());
        let bounds = office.bounds(4, 3);
        assert_eq!(bounds, None, "the fourth weekend is not over");
        let mut office = office;
        office.merge(clock(&[28], &[9]));
        let bounds = office.bounds(4, 3).unwrap();
        assert_eq!((bounds.days.as_deref(), bounds.hours.as_deref()), (Some("mon-fri"), Some("06:00-19:00")));
        assert!(bounds.rare.is_empty());
        let nights = clock(&(0..28).collect::<Vec<_>>(), &[22, 23, 0, 1, 2]).bounds(4, 3).unwrap();
        assert_eq!((nights.days, nights.hours.as_deref()), (None, Some("21:00-04:00")));
        assert!(Schedule::parse(&[], &["21:00-04:00".to_owned()], None).is_ok());
    }

    #[test]
    fn what_is_not_clear_is_not_bounded() {
        let always = clock(&(0..35).collect::<Vec<_>>(), &(0..24).collect::<Vec<_>>());
        assert_eq!(always.bounds(4, 3), None);
        assert_eq!(clock(&workdays(3), &[9]).bounds(4, 3), None, "three weeks of four");
        let office = clock(&workdays(5), &(8..18).collect::<Vec<_>>());
        assert_eq!(office.bounds(0, 3), None, "not wanted");
        let mut visited = office.clone();
        visited.merge(clock(&[12], &[3]));
        let bounds = visited.bounds(4, 3).unwrap();
        assert_eq!((bounds.days.as_deref(), bounds.hours.as_deref()), (Some("mon-fri"), Some("07:00-19:00")));
        assert_eq!(bounds.rare.len(), 2, "one night, one Saturday: {:?}", bounds.rare);
        assert!(bounds.rare[1].starts_with("03:00 (10 uses on 1 day"), "{:?}", bounds.rare);
    }
}
