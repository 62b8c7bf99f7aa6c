//! Sigma's correlations over one window.

use std::collections::BTreeSet;

use super::order;
use crate::engine::bucket::Bucket;
use crate::engine::matched::Signal;
use crate::rule::detector::{Aggregate, Test};

/// Whether a window passes. `window` has its buckets by time.
pub fn passes<'b>(test: &Test, window: impl DoubleEndedIterator<Item = &'b Bucket> + Clone) -> bool {
    match test {
        Test::EventCount(bounds) => {
            let early = bounds.only_from_below();
            let mut sum = 0_u64;
            // From the end, where it is decided soonest.
            let decided = window.rev().any(|bucket| {
                sum += bucket.len();
                early && bounds.hold(as_number(sum))
            });
            decided || bounds.hold(as_number(sum))
        }
        Test::ValueCount { bounds, .. } => {
            let early = bounds.only_from_below();
            let mut distinct = BTreeSet::new();
            let decided = window.rev().any(|bucket| {
                let values = bucket.head.signals.iter().filter_map(|signal| match signal {
                    Signal::Value(value) => Some(value),
                    _ => None,
                });
                distinct.extend(values);
                early && bounds.hold(as_number(distinct.len() as u64))
            });
            decided || bounds.hold(as_number(distinct.len() as u64))
        }
        Test::Number { how, bounds, .. } => {
            let numbers = window.flat_map(|bucket| bucket.entries.values()).filter_map(|entry| entry.number);
            aggregate(*how, numbers.collect()).is_some_and(|number| bounds.hold(number))
        }
        Test::Temporal { present, .. } => present.holds(window.fold(0, |steps, bucket| steps | steps_of(bucket))),
        Test::Ordered { rules, .. } => order::complete(rules.len(), window),
    }
}

/// The rules that matched in a bucket, as bits.
#[must_use]
pub fn steps_of(bucket: &Bucket) -> u64 {
    let step = |signal: &Signal| match signal {
        Signal::Step { step, .. } => 1_u64.checked_shl(u32::from(*step)).unwrap_or(0),
        _ => 0,
    };
    bucket.head.signals.iter().map(step).fold(0, |steps, step| steps | step)
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn as_number(count: u64) -> f64 {
    count as f64
}

/// One number of many; nothing when there are none.
#[must_use]
pub fn aggregate(how: Aggregate, mut numbers: Vec<f64>) -> Option<f64> {
    if numbers.is_empty() {
        return None;
    }
    match how {
        Aggregate::Sum => Some(numbers.iter().filter(|number| **number > 0.0).sum()),
        Aggregate::Average => Some(numbers.iter().sum::<f64>() / as_number(numbers.len() as u64)),
        Aggregate::Percentile(rank) => {
            numbers.sort_by(f64::total_cmp);
            let at = rank / 100.0 * as_number(numbers.len() as u64 - 1);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
            let low = at.floor() as usize;
            let (below, above) = (numbers.get(low)?, numbers.get(low + 1).or(numbers.last())?);
            Some(below + (above - below) * (at - at.floor()))
        }
    }
}
