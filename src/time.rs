//! Event time: instants and spans in milliseconds, and the clock as a trait.
//!
//! Invariant: nothing in the core asks what time it is. Instants come out of records or in as
//! arguments; only the shell implements [`Clock`] with the system's clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in milliseconds since the Unix epoch, UTC.
///
/// CloudTrail's `eventTime` has one second of resolution (aws-facts 1.5); milliseconds leave room
/// for the sources that have more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

impl EventTime {
    /// Before every record.
    pub const MIN: Self = Self(i64::MIN);
    /// After every record: the watermark at the end of an input.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 instant, also with a lower-case `z` or a space instead of the `T`
    /// (captures INDEX, oddity 19).
    ///
    /// # Errors
    /// The text, and why it is no instant.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let trimmed = text.trim();
        trimmed
            .parse::<jiff::Timestamp>()
            .map(|stamp| Self(stamp.as_millisecond()))
            .map_err(|error| TimeError { text: trimmed.chars().take(64).collect(), reason: error.to_string() })
    }

    /// Reads an instant as CloudTrail writes some dates of requests and responses, in UTC: RFC 3339,
    /// or `Nov 2, 2021, 11:25:25 PM`, also without the second comma and with a 24-hour clock before
    /// the AM or PM (captures INDEX, oddity 14).
    ///
    /// # Errors
    /// The text, and why it is no instant.
    pub fn parse_locale(text: &str) -> Result<Self, TimeError> {
        let plain = text.trim().replace([',', '\u{202f}'], " ");
        let words: Vec<&str> = plain.split_whitespace().collect();
        let (clock, hour) =
            match words.get(3).and_then(|clock| Some((clock, clock.split(':').next()?.parse::<u8>().ok()?))) {
                Some((clock, hour)) => (*clock, hour),
                None => return Self::parse(text),
            };
        let read = match (words.as_slice(), hour) {
            ([month, day, year, _, half], 1..=12) => {
                jiff::civil::DateTime::strptime("%b %d %Y %I:%M:%S %p", format!("{month} {day} {year} {clock} {half}"))
            }
            ([month, day, year, ..], _) => {
                jiff::civil::DateTime::strptime("%b %d %Y %H:%M:%S", format!("{month} {day} {year} {clock}"))
            }
            _ => return Self::parse(text),
        };
        let stamp = read.and_then(|read| jiff::tz::Offset::UTC.to_timestamp(read));
        stamp
            .map(|stamp| Self(stamp.as_millisecond()))
            .map_err(|error| TimeError { text: text.chars().take(64).collect(), reason: error.to_string() })
    }

    /// Date and time of day in UTC; nothing beyond the calendar.
    #[must_use]
    pub fn civil(self) -> Option<jiff::civil::DateTime> {
        let stamp = jiff::Timestamp::from_millisecond(self.0).ok()?;
        Some(jiff::tz::Offset::UTC.to_datetime(stamp))
    }

    /// `self - span`, stopping at [`EventTime::MIN`].
    #[must_use]
    pub const fn saturating_sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// A text that should have been an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a time ({reason}); write it like 2026-01-02T03:04:05Z")]
pub struct TimeError {
    text: String,
    reason: String,
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => write!(f, "{stamp}"),
            Err(_) if self.0 < 0 => f.write_str("-infinity"),
            Err(_) => f.write_str("+infinity"),
        }
    }
}

impl Add<Span> for EventTime {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for EventTime {
    type Output = Span;
    /// The distance to an earlier instant; zero when `other` is later.
    fn sub(self, other: Self) -> Span {
        Span(self.0.saturating_sub(other.0).max(0))
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// A length of time in milliseconds, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > i64::MAX as u64 { Self(i64::MAX) } else { Self(millis as i64) }
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        (self.0 / 1000) as u64
    }

    /// Milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 as u64
    }

    /// Reads `90s`, `15m`, `1h`, `30d` or `2w`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let unit = text.chars().last()?;
        let number = text.strip_suffix(unit)?;
        let count: u64 = number.trim().parse().ok()?;
        let secs = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        Some(Self::from_secs(count.checked_mul(secs)?))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.as_secs();
        match secs {
            0 => write!(f, "{}ms", self.0),
            s if s % 86_400 == 0 => write!(f, "{}d", s / 86_400),
            s if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// Where the shell gets the time from, so that a test can say what time it is.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> EventTime;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_people_write_them() {
        for (text, expected) in [
            ("Nov 2, 2021, 11:25:25 PM", "2021-11-02T23:25:25Z"),
            ("Apr 12, 2021 18:58:30 PM", "2021-04-12T18:58:30Z"),
            ("Jul 31, 2020 12:00:00 AM", "2020-07-31T00:00:00Z"),
            ("Jul 31, 2020 0:05:00 AM", "2020-07-31T00:05:00Z"),
            ("2026-01-05T10:00:00Z", "2026-01-05T10:00:00Z"),
        ] {
            assert_eq!(EventTime::parse_locale(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "soon", "Jul 31, 2020 25:00:00 AM", "Foo 31, 2020 12:00:00 AM", "1 2 3 4"] {
            assert!(EventTime::parse_locale(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_the_spellings_seen_in_captures() {
        let expected = EventTime::from_millis(1_688_989_431_000);
        for text in ["2023-07-10T11:43:51Z", "2023-07-10t11:43:51z", "2023-07-10 11:43:51Z"] {
            assert_eq!(EventTime::parse(text).unwrap(), expected, "{text}");
        }
        assert!(EventTime::parse("...").unwrap_err().to_string().contains("'...'"));
        assert_eq!(expected.to_string(), "2023-07-10T11:43:51Z");
    }

    #[test]
    fn spans_round_trip() {
        for text in ["90s", "15m", "1h", "30d"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Span::parse("2w").unwrap().to_string(), "14d");
        for bad in ["", "h", "5", "5y", "-5m", "99999999999999999999d"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }
}
