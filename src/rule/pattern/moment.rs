//! Parts of a time: the hour of `eventTime` and the like, in UTC.
//!
//! Invariant: a text that is no instant has no parts, so no test on it passes.

use crate::time::EventTime;

/// A part that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Sigma")]
pub enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl TimePart {
    /// The part of an instant as records write it, like `2026-01-05T10:00:00Z`.
    #[must_use]
    pub fn of(self, text: &str) -> Option<f64> {
        let then = EventTime::parse_locale(text).ok()?.civil()?;
        Some(match self {
            Self::Minute => then.minute().into(),
            Self::Hour => then.hour().into(),
            Self::Day => then.day().into(),
            Self::Week => then.date().iso_week_date().week().into(),
            Self::Month => then.month().into(),
            Self::Year => then.year().into(),
        })
    }

    /// Least and greatest value that there is.
    #[must_use]
    pub const fn range(self) -> (f64, f64) {
        match self {
            Self::Minute => (0.0, 59.0),
            Self::Hour => (0.0, 23.0),
            Self::Day => (1.0, 31.0),
            // Some years of the ISO calendar have a week 53, whatever Sigma's table says.
            Self::Week => (1.0, 53.0),
            Self::Month => (1.0, 12.0),
            Self::Year => (1970.0, 9999.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_utc() {
        let of = |part: TimePart, text| part.of(text);
        for (part, expected) in [
            (TimePart::Minute, 30.0),
            (TimePart::Hour, 23.0),
            (TimePart::Day, 31.0),
            (TimePart::Week, 1.0),
            (TimePart::Month, 12.0),
            (TimePart::Year, 2025.0),
        ] {
            assert_eq!(of(part, "2026-01-01T01:30:59+02:00"), Some(expected), "{part:?}");
        }
        assert_eq!(of(TimePart::Week, "2027-01-01T00:00:00Z"), Some(53.0));
        assert_eq!(of(TimePart::Hour, "Jan 5, 2026, 10:30:00 PM"), Some(22.0), "as validTo is written");
        for odd in ["", "yesterday", "10:30", "1767225600"] {
            assert_eq!(of(TimePart::Hour, odd), None, "{odd}");
        }
    }
}
