//! The windows of a rule: how far they reach, and how long what lies in them matters.

use crate::rule::detector::Test;
use crate::rule::{Detector, Rule};
use crate::time::{EventTime, Span};

/// How a window lies around the match that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// So far back.
    Back(Span),
    /// To the start of the cell of this width.
    Cell(Span),
}

/// The windows of a rule, read once.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    reach: Reach,
    /// The gap that ends an incident.
    pub quiet: Span,
    /// How late a record may come and still be counted exactly.
    pub lateness: Span,
    /// How far behind the watermark a record is late.
    pub late_after: Span,
    /// How long a match may still matter to a record that is not late.
    pub horizon: Span,
    /// Verdicts wait until no record that is not late can undo them.
    pub settled: bool,
    /// Matches that lie in an incident are kept as long as it is.
    pub holds_cases: bool,
    /// A window's evidence begins with its first step, and what comes before is not kept.
    pub begins: bool,
}

impl Shape {
    /// Of a rule.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        let (quiet, lateness) = (rule.quiet, rule.lateness);
        let windows = |reach: Reach, length: Span| {
            let quiet = quiet.max(length);
            let horizon = length + quiet + lateness;
            Self {
                reach,
                quiet,
                lateness,
                late_after: horizon,
                horizon,
                settled: rule.detector.is_settled(),
                holds_cases: false,
                begins: false,
            }
        };
        match &rule.detector {
            Detector::Every | Detector::Absence(_) => windows(Reach::Back(Span::ZERO), Span::ZERO),
            // Steps that no first step precedes are kept only as long as one may still come.
            Detector::Window { timespan, test: Test::Ordered { .. } } => {
                Self { late_after: lateness, begins: true, ..windows(Reach::Back(*timespan), *timespan) }
            }
            Detector::Window { timespan, .. } => windows(Reach::Back(*timespan), *timespan),
            Detector::Rate(rate) => windows(Reach::Cell(rate.every), rate.every),
            // What counts as new must not be undone by a record that is not late: within `grace` of
            // the first match of a term all are new, and that is as late as a record may come.
            Detector::NewTerms(_) => {
                let grace = quiet + lateness;
                Self {
                    quiet: grace,
                    late_after: grace,
                    horizon: grace + grace,
                    ..windows(Reach::Back(Span::ZERO), Span::ZERO)
                }
            }
            Detector::Case(case) => {
                let late = quiet + lateness;
                Self {
                    quiet: case.keep,
                    late_after: late,
                    horizon: late,
                    holds_cases: true,
                    ..windows(Reach::Back(Span::ZERO), Span::ZERO)
                }
            }
        }
    }

    /// Where the window begins that ends at `end`.
    #[must_use]
    pub fn window_start(&self, end: EventTime) -> EventTime {
        match self.reach {
            Reach::Back(span) => end.saturating_sub(span),
            Reach::Cell(every) => cell_start(cell_of(end, every), every),
        }
    }

    /// The end of the last window that a match at `time` lies in.
    #[must_use]
    pub fn last_window(&self, time: EventTime) -> EventTime {
        match self.reach {
            Reach::Back(span) => time + span,
            Reach::Cell(every) => {
                EventTime::from_millis(cell_start(cell_of(time, every) + 1, every).as_millis().saturating_sub(1))
            }
        }
    }

    /// The longest window.
    #[must_use]
    pub fn length(&self) -> Span {
        match self.reach {
            Reach::Back(span) | Reach::Cell(span) => span,
        }
    }
}

/// The number of the cell that an instant lies in.
#[must_use]
pub fn cell_of(time: EventTime, width: Span) -> i64 {
    let width = i64::try_from(width.as_millis()).unwrap_or(i64::MAX).max(1);
    time.as_millis().div_euclid(width)
}

/// Where a cell begins.
#[must_use]
pub fn cell_start(cell: i64, width: Span) -> EventTime {
    EventTime::from_millis(cell.saturating_mul(i64::try_from(width.as_millis()).unwrap_or(i64::MAX)))
}
