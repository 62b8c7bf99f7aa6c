//! What makes a match count: Sigma's correlations, and the kinds that Sigma lacks.
//!
//! Data only; the engine judges by it. [`Detector::signature`] says what state means, so that the
//! windows of a rule survive a reload exactly when what they count is unchanged.

use std::fmt::Write as _;

use super::Level;
use crate::time::Span;

/// What makes a match count.
#[derive(Clone, Debug, PartialEq)]
pub enum Detector {
    /// Every match is a qualifying match.
    Every,
    /// A match qualifies when the window of `timespan` that ends at it (both ends included) passes.
    Window {
        /// How far the window goes back.
        timespan: Span,
        /// What is asked of it.
        test: Test,
    },
    /// The first matches of a combination of values.
    NewTerms(NewTerms),
    /// More or fewer than the group's own history leads to expect.
    Rate(Rate),
    /// What used to come does not come.
    Absence(Absence),
    /// A case: opened by matches, closed by what undoes them.
    Case(Case),
}

/// What is asked of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// How many distinct records.
    EventCount(Bounds),
    /// How many distinct values of a field.
    ValueCount {
        /// Whose values.
        path: String,
        /// How many.
        bounds: Bounds,
    },
    /// A number made of the numbers of a field.
    Number {
        /// Whose numbers.
        path: String,
        /// How.
        how: Aggregate,
        /// What it must be.
        bounds: Bounds,
    },
    /// Which of the rules matched.
    Temporal {
        /// What they are called, by step.
        rules: Vec<String>,
        /// Which must have.
        present: Present,
    },
    /// All steps, one after the other; what comes in the same instant is in order, since
    /// CloudTrail has one second of resolution.
    Ordered {
        /// The rules, by step.
        rules: Vec<String>,
        /// Names of the values that steps must share, beside the group.
        variables: Vec<String>,
    },
}

/// How numbers become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// Their sum. Negative numbers add nothing, so that a sum once reached stays reached.
    Sum,
    /// Their mean.
    Average,
    /// The value below which so many percent of them lie, interpolated; 50 is the median.
    Percentile(f64),
}

/// One bound of a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "as in Sigma")]
pub enum Bound {
    Gt(f64),
    Gte(f64),
    Lt(f64),
    Lte(f64),
    Eq(f64),
    Neq(f64),
}

/// All bounds of a condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds(pub Vec<Bound>);

impl Bounds {
    /// At least so many.
    #[must_use]
    pub fn at_least(count: f64) -> Self {
        Self(vec![Bound::Gte(count)])
    }

    /// Whether a number meets all.
    #[must_use]
    #[allow(clippy::float_cmp, reason = "counts are whole, and a rule that asks for equality means it")]
    pub fn hold(&self, number: f64) -> bool {
        self.0.iter().all(|bound| match *bound {
            Bound::Gt(than) => number > than,
            Bound::Gte(than) => number >= than,
            Bound::Lt(than) => number < than,
            Bound::Lte(than) => number <= than,
            Bound::Eq(to) => number == to,
            Bound::Neq(to) => number != to,
        })
    }

    /// Whether a number that meets them keeps doing so when it grows.
    #[must_use]
    pub fn only_from_below(&self) -> bool {
        self.0.iter().all(|bound| matches!(bound, Bound::Gt(_) | Bound::Gte(_)))
    }
}

/// Which rules of a temporal correlation must have matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// This one.
    Step(u8),
    /// All of these.
    All(Vec<Present>),
    /// Some of these.
    Any(Vec<Present>),
    /// Not this.
    Not(Box<Present>),
    /// At least so many, whichever.
    AtLeast(u32),
}

impl Present {
    /// Whether it holds when the rules of the bits in `steps` matched.
    #[must_use]
    pub fn holds(&self, steps: u64) -> bool {
        match self {
            Self::Step(step) => steps & (1 << step) != 0,
            Self::All(parts) => parts.iter().all(|part| part.holds(steps)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(steps)),
            Self::Not(part) => !part.holds(steps),
            Self::AtLeast(count) => steps.count_ones() >= *count,
        }
    }

    /// Whether a further match cannot undo it.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        match self {
            Self::Step(_) | Self::AtLeast(_) => true,
            Self::All(parts) | Self::Any(parts) => parts.iter().all(Self::is_positive),
            Self::Not(_) => false,
        }
    }
}

/// The first matches of a term: a combination of values, which is the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTerms {
    /// A term not seen for this long is new.
    pub history: Span,
    /// Nothing is told for this long after the scope was first seen.
    pub learn: Span,
    /// Which of the group's values make the scope; none: the whole rule learns at once.
    pub per: Vec<usize>,
}

/// Counts per cell of time against the same cell of the weeks before.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Width of a cell; a week is a whole number of them.
    pub every: Span,
    /// How far back the weeks go.
    pub history: Span,
    /// Fewest weeks to judge by.
    pub weeks: u32,
    /// So many spreads above the median are a spike.
    pub spike: Option<f64>,
    /// And it is at least so many times the median, if given: busy keys have little spread beside what
    /// a month's end adds.
    pub times: Option<f64>,
    /// So many spreads below the median are a drop.
    pub drop: Option<f64>,
    /// A spike has at least so many, and a drop used to.
    pub least: u64,
}

/// What used to come does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// After this long.
    pub after: Span,
    /// Only of what had come without such a gap for this long.
    pub steady: Span,
    /// What stays away for this long is not expected any more.
    pub forget: Span,
}

/// A case that stays open until something undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// It is watched for this long after what last opened it.
    pub keep: Span,
    /// The days that a field of the opening record gives, or as many as here.
    pub deadline: Option<Deadline>,
    /// What makes it graver, in the order of [`Escalation`]s fed.
    pub escalations: Vec<Escalation>,
}

/// When the case is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Field that holds a number of days from the record.
    pub path: String,
    /// Days without it.
    pub default_days: u32,
}

/// What makes a case graver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How grave.
    pub level: Level,
    /// When.
    pub when: Trigger,
    /// Said in the alert.
    pub note: String,
}

/// What sets an escalation off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A record that its predicate matches.
    Record,
    /// This long before the deadline.
    Before(Span),
}

impl Detector {
    /// Whether a verdict must wait until the allowed lateness has passed, because a later record
    /// could undo it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Window { test, .. } => match test {
                Test::EventCount(bounds) | Test::ValueCount { bounds, .. } => !bounds.only_from_below(),
                Test::Number { how: Aggregate::Sum, bounds, .. } => !bounds.only_from_below(),
                Test::Number { .. } => true,
                Test::Temporal { present, .. } => !present.is_positive(),
                Test::Ordered { .. } => false,
            },
            Self::Every | Self::NewTerms(_) | Self::Rate(_) | Self::Absence(_) | Self::Case(_) => false,
        }
    }

    /// Whether its incidents hang on records, so that a correlation can count them.
    #[must_use]
    pub fn has_matches(&self) -> bool {
        !matches!(self, Self::Absence(_) | Self::Rate(_) | Self::Case(_))
    }

    /// The kind, as a rule writes it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Every => "single",
            Self::Window { test, .. } => match test {
                Test::EventCount(_) => "event_count",
                Test::ValueCount { .. } => "value_count",
                Test::Number { how: Aggregate::Sum, .. } => "value_sum",
                Test::Number { how: Aggregate::Average, .. } => "value_avg",
                Test::Number { how: Aggregate::Percentile(_), .. } => "value_percentile",
                Test::Temporal { .. } => "temporal",
                Test::Ordered { variables, .. } if variables.is_empty() => "temporal_ordered",
                Test::Ordered { .. } => "sequence",
            },
            Self::NewTerms(_) => "new-terms",
            Self::Rate(_) => "rate",
            Self::Absence(_) => "absence",
            Self::Case(_) => "case",
        }
    }

    /// What the state of a group means: the same text, the same state. Thresholds may change
    /// without losing windows.
    #[must_use]
    pub fn signature(&self) -> String {
        let mut text = self.kind().to_owned();
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Every | Self::Case(_) | Self::Absence(_) => Ok(()),
            Self::Window { timespan, test } => match test {
                Test::ValueCount { path, .. } | Test::Number { path, .. } => write!(text, " {timespan} {path}"),
                Test::Ordered { rules, variables } => write!(text, " {timespan} {rules:?} {variables:?}"),
                Test::Temporal { rules, .. } => write!(text, " {timespan} {rules:?}"),
                Test::EventCount(_) => write!(text, " {timespan}"),
            },
            Self::NewTerms(terms) => write!(text, " {}", terms.history),
            Self::Rate(rate) => write!(text, " {}", rate.every),
        };
        text
    }
}
