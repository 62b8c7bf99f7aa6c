//! Steps one after the other, with values that steps share.
//!
//! What comes in the same instant is taken to be in order: CloudTrail has one second of resolution,
//! and a chain that fits must not be missed for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::bucket::Bucket;
use crate::engine::matched::Signal;

/// More ways to begin a chain than are followed; an attacker chooses the values that are bound.
const MAX_CHAINS: usize = 10_000;

/// How far a chain has come, and the values that it is bound to.
type Chain = (usize, Vec<Option<Arc<str>>>);

/// Whether some chain of all `steps` lies in the buckets, which come by time.
pub fn complete<'b>(steps: usize, buckets: impl Iterator<Item = &'b Bucket>) -> bool {
    let mut chains: BTreeSet<Chain> = BTreeSet::new();
    for bucket in buckets {
        // By step, so that within one instant a chain can go on for several steps.
        for signal in &bucket.head.signals {
            let Signal::Step { step, bound } = signal else { continue };
            let step = usize::from(*step);
            let longer: Vec<Chain> = if step == 0 {
                vec![(1, bound.clone())]
            } else {
                let at_step = chains.iter().filter(|(come, _)| *come == step);
                at_step.filter_map(|(_, held)| Some((step + 1, agree(held, bound)?))).collect()
            };
            if longer.iter().any(|(come, _)| *come == steps) {
                return true;
            }
            if chains.len() < MAX_CHAINS {
                chains.extend(longer);
            }
        }
    }
    false
}

/// Both together, unless they contradict.
fn agree(held: &[Option<Arc<str>>], bound: &[Option<Arc<str>>]) -> Option<Vec<Option<Arc<str>>>> {
    let pairs = held.iter().zip(bound);
    pairs
        .map(|pair| match pair {
            (Some(held), Some(bound)) if held != bound => None,
            (held, bound) => Some(held.clone().or_else(|| bound.clone())),
        })
        .collect()
}
