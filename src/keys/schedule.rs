//! Hours and days at which a use is expected.
//!
//! Invariant: a stretch over midnight belongs to the day on which it begins. Time zones come from
//! the data built in, so that a verdict does not depend on the machine.

use std::fmt;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::time::EventTime;

/// Days and hours in a time zone; without either, every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    days: Option<[bool; 7]>,
    hours: Vec<Hours>,
    zone: TimeZone,
    text: String,
}

/// A stretch of a day, in minutes after midnight; `until` at or before `from` is of the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: u16,
    until: u16,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Of `days`.
    #[error("'{0}' is no day or range of days; write mon, or mon-fri")]
    Day(String),
    /// Of `hours`.
    #[error("'{0}' is no stretch of a day; write 07:00-19:00, or 22:00-06:00 over midnight")]
    Hours(String),
    /// Of `timezone`.
    #[error("'{0}' is no time zone of the IANA database; write one like Europe/Brussels or UTC")]
    Zone(String),
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_OF_DAY: u16 = 24 * 60;

impl Schedule {
    /// Reads what was typed; nothing when neither days nor hours were given.
    ///
    /// # Errors
    /// The first text that cannot be read.
    pub fn parse(days: &[String], hours: &[String], zone: Option<&str>) -> Result<Option<Self>, ScheduleError> {
        let name = zone.unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| ScheduleError::Zone(name.to_owned()))?;
        if days.is_empty() && hours.is_empty() {
            return Ok(None);
        }
        let text = [days.join(" "), hours.join(" "), name.to_owned()];
        let text = text.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ");
        let hours = hours.iter().map(|text| Hours::parse(text)).collect::<Result<_, _>>()?;
        let mut wanted = [false; 7];
        for day in days {
            let range = days_of(day).ok_or_else(|| ScheduleError::Day(day.clone()))?;
            wanted.iter_mut().zip(range).for_each(|(wanted, named)| *wanted |= named);
        }
        Ok(Some(Self { days: (!days.is_empty()).then_some(wanted), hours, zone, text }))
    }

    /// Whether an instant is within.
    #[must_use]
    pub fn covers(&self, time: EventTime) -> bool {
        let Ok(stamp) = jiff::Timestamp::from_millisecond(time.as_millis()) else { return false };
        let local = self.zone.to_datetime(stamp);
        let minute = local.hour().unsigned_abs() as u16 * 60 + local.minute().unsigned_abs() as u16;
        let today = local.weekday();
        let on = |day: Weekday| {
            let index = usize::from(day.to_monday_zero_offset().unsigned_abs());
            self.days.is_none_or(|days| days.get(index).copied().unwrap_or(false))
        };
        if self.hours.is_empty() {
            return on(today);
        }
        self.hours.iter().any(|hours| {
            let wraps = hours.until <= hours.from;
            if wraps {
                (minute >= hours.from && on(today)) || (minute < hours.until && on(today.previous()))
            } else {
                (hours.from..hours.until).contains(&minute) && on(today)
            }
        })
    }
}

impl Hours {
    fn parse(text: &str) -> Result<Self, ScheduleError> {
        let wrong = || ScheduleError::Hours(text.to_owned());
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = (minute_of(from).ok_or_else(wrong)?, minute_of(until).ok_or_else(wrong)?);
        // 24:00 is the end of a day and never its beginning.
        if from == MINUTES_OF_DAY { Err(wrong()) } else { Ok(Self { from, until }) }
    }
}

fn minute_of(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
    let (hour, minute) = (number(hour)?, number(minute)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_OF_DAY).then_some(total)
}

/// `fri-mon` goes over the weekend.
fn days_of(text: &str) -> Option<[bool; 7]> {
    let index = |day: &str| DAYS.iter().position(|known| known.eq_ignore_ascii_case(day.trim()));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (index(first)?, index(last)?),
        None => (index(text)?, index(text)?),
    };
    let mut days = [false; 7];
    let length = (last + 7 - first) % 7;
    for offset in 0..=length {
        *days.get_mut((first + offset) % 7)? = true;
    }
    Some(days)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(days: &[&str], hours: &[&str], zone: Option<&str>) -> Result<Option<Schedule>, ScheduleError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Schedule::parse(&owned(days), &owned(hours), zone)
    }

    fn covers(schedule: &Schedule, time: &str) -> bool {
        schedule.covers(EventTime::parse(time).unwrap())
    }

    #[test]
    fn business_hours_follow_the_zone_and_its_summer() {
        let office = schedule(&["mon-fri"], &["07:00-19:00"], Some("Europe/Brussels")).unwrap().unwrap();
        // 2026-01-05 is a Monday; winter is UTC+1, summer UTC+2.
        for (time, expected) in [
            ("2026-01-05T05:59:59Z", false),
            ("2026-01-05T06:00:00Z", true),
            ("2026-01-05T17:59:59Z", true),
            ("2026-01-05T18:00:00Z", false),
            ("2026-01-10T10:00:00Z", false),
            ("2026-07-06T05:00:00Z", true),
            ("2026-07-06T17:00:00Z", false),
        ] {
            assert_eq!(covers(&office, time), expected, "{time}");
        }
        assert_eq!(office.to_string(), "mon-fri 07:00-19:00 Europe/Brussels");
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let night = schedule(&["fri"], &["22:00-06:00"], None).unwrap().unwrap();
        for (time, expected) in [
            ("2026-01-09T21:59:00Z", false),
            ("2026-01-09T22:00:00Z", true),
            ("2026-01-10T05:59:59Z", true),
            ("2026-01-10T06:00:00Z", false),
            ("2026-01-10T23:00:00Z", false),
            ("2026-01-09T03:00:00Z", false),
        ] {
            assert_eq!(covers(&night, time), expected, "{time}");
        }
        let weekend = schedule(&["sat-sun", "wed"], &[], None).unwrap().unwrap();
        assert!(covers(&weekend, "2026-01-11T12:00:00Z") && covers(&weekend, "2026-01-07T12:00:00Z"));
        assert!(!covers(&weekend, "2026-01-08T12:00:00Z"));
        let around = schedule(&["sat-mon"], &["00:00-24:00"], None).unwrap().unwrap();
        assert!(covers(&around, "2026-01-05T23:59:59Z") && !covers(&around, "2026-01-06T00:00:00Z"));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        assert_eq!(schedule(&[], &[], Some("Europe/Brussels")), Ok(None));
        for (days, hours, zone, expected) in [
            (vec!["mo"], vec![], None, ScheduleError::Day("mo".to_owned())),
            (vec!["mon-"], vec![], None, ScheduleError::Day("mon-".to_owned())),
            (vec![], vec!["7:00-19:00"], None, ScheduleError::Hours("7:00-19:00".to_owned())),
            (vec![], vec!["24:00-06:00"], None, ScheduleError::Hours("24:00-06:00".to_owned())),
            (vec![], vec!["07:00-24:01"], None, ScheduleError::Hours("07:00-24:01".to_owned())),
            (vec![], vec!["07:00"], None, ScheduleError::Hours("07:00".to_owned())),
            (vec![], vec![], Some("Brussels"), ScheduleError::Zone("Brussels".to_owned())),
        ] {
            assert_eq!(schedule(&days, &hours, zone), Err(expected));
        }
    }
}
