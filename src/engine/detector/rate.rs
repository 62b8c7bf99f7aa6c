//! How many came, cell by cell, and what is usual for a cell: the same hour of the weeks before.
//!
//! Median and median absolute deviation, so that one odd week does not move what is usual; the
//! spread is never less than that of chance arrivals (the root of the median).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rule::detector::Rate;
use crate::time::Span;

/// Counts of cells that are over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The first cell with a match.
    pub first: Option<i64>,
    /// The first cell that is not over.
    pub next: i64,
    /// Cells with none are left out.
    pub counts: BTreeMap<i64, u64>,
    /// Learnt from captures, and nothing has come since: what lies between says nothing.
    pub learnt: bool,
}

/// What is usual for a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// Median of the weeks before.
    pub median: f64,
    /// Half the width of what is ordinary.
    pub spread: f64,
}

const WEEK: Span = Span::from_secs(7 * 86_400);

impl Usual {
    /// Of the counts of earlier weeks; nothing when there are fewer than `least`.
    #[must_use]
    pub fn of(mut counts: Vec<u64>, least: u32) -> Option<Self> {
        if counts.is_empty() || counts.len() < least as usize {
            return None;
        }
        let median = median(&mut counts);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a distance between counts, doubled"
        )]
        let mut doubled: Vec<u64> =
            counts.iter().map(|count| (as_number(*count) - median).abs().mul_add(2.0, 0.0) as u64).collect();
        let deviation = self::median(&mut doubled) / 2.0;
        // 1.4826 makes it the standard deviation where counts are normal.
        Some(Self { median, spread: (1.4826 * deviation).max(median.max(1.0).sqrt()) })
    }

    /// The least count that is a spike.
    #[must_use]
    pub fn spike(&self, rate: &Rate) -> Option<f64> {
        let many = self.median * rate.times.unwrap_or(0.0);
        Some((self.median + rate.spike? * self.spread).max(many).max(as_number(rate.least)))
    }

    /// Whether so few are a drop.
    #[must_use]
    pub fn is_drop(&self, rate: &Rate, count: u64) -> bool {
        rate.drop.is_some_and(|spreads| {
            self.median >= as_number(rate.least) && as_number(count) <= self.median - spreads * self.spread
        })
    }
}

impl History {
    /// Notes a match in a cell.
    pub fn note(&mut self, cell: i64) {
        if std::mem::take(&mut self.learnt) {
            self.next = self.next.max(cell);
        } else if self.first.is_none() {
            self.next = cell;
        }
        self.first = Some(self.first.map_or(cell, |first| first.min(cell)));
        if cell < self.next {
            *self.counts.entry(cell).or_default() += 1;
        }
    }

    /// Learns how many there were in a cell.
    pub fn learn(&mut self, cell: i64, count: u64) {
        if self.first.is_none() {
            self.next = cell;
            self.learnt = true;
        }
        self.first = Some(self.first.map_or(cell, |first| first.min(cell)));
        if self.learnt {
            self.next = self.next.max(cell.saturating_add(1));
        }
        // What is not over is counted as it comes.
        if cell < self.next {
            let known = self.counts.entry(cell).or_default();
            *known = count.max(*known);
        }
    }

    /// What is usual for `cell`; `live` counts cells that are not over.
    #[must_use]
    pub fn usual(&self, cell: i64, rate: &Rate, live: impl Fn(i64) -> u64) -> Option<Usual> {
        let width = i64::try_from(rate.every.as_millis()).ok()?.max(1);
        let week = i64::try_from(WEEK.as_millis()).ok()? / width;
        let oldest = cell.saturating_sub(i64::try_from(rate.history.as_millis()).ok()? / width);
        // The first cell was not seen whole.
        let from = self.first?.saturating_add(1).max(oldest);
        let weeks = (1..).map(|weeks| cell.saturating_sub(week.saturating_mul(weeks)));
        let counts = weeks.take_while(|earlier| *earlier >= from).map(|earlier| {
            if earlier < self.next { self.counts.get(&earlier).copied().unwrap_or(0) } else { live(earlier) }
        });
        Usual::of(counts.collect(), rate.weeks)
    }

    /// Forgets cells before `oldest`.
    pub fn prune(&mut self, oldest: i64) {
        self.counts = self.counts.split_off(&oldest);
    }
}

fn median(counts: &mut [u64]) -> f64 {
    counts.sort_unstable();
    let middle = counts.len() / 2;
    let at = |index: usize| as_number(counts.get(index).copied().unwrap_or(0));
    if counts.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_number(count: u64) -> f64 {
    count as f64
}
