//! A map that holds so many and no more, and the same ones in whatever order they came.
//!
//! When it is full the key with the greatest hash goes. A key that is among the least hashes of all
//! was so at every moment before, so what is kept was never dropped and its value is whole; that
//! is why two maps may be merged in any order.

use std::collections::{BTreeMap, BTreeSet};

/// What can take in more of its kind.
pub trait Merge {
    /// Takes in `other`; the order of several does not matter.
    fn merge(&mut self, other: Self);
}

/// What decides which keys stay when there are too many.
pub trait Ranked: Ord + Clone {
    /// Hands the parts of the key to `part`.
    fn parts(&self, part: &mut dyn FnMut(&[u8]));

    /// The hash.
    fn rank(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        self.parts(&mut |bytes| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        });
        let mut rank = [0; 16];
        hasher.finalize_xof().fill(&mut rank);
        rank
    }
}

impl Ranked for String {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self.as_bytes());
    }
}

/// At most `MAX` entries.
#[derive(Clone, Debug)]
pub struct Bounded<K: Ranked, V, const MAX: usize> {
    kept: BTreeMap<K, V>,
    /// Ranks of what is kept, once it is full.
    ranks: BTreeSet<([u8; 16], K)>,
    left_out: bool,
}

impl<K: Ranked, V, const MAX: usize> Default for Bounded<K, V, MAX> {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), ranks: BTreeSet::new(), left_out: false }
    }
}

impl<K: Ranked, V: PartialEq, const MAX: usize> PartialEq for Bounded<K, V, MAX> {
    fn eq(&self, other: &Self) -> bool {
        self.kept == other.kept && self.left_out == other.left_out
    }
}

impl<K: Ranked, V: Default, const MAX: usize> Bounded<K, V, MAX> {
    /// The value of a key, made when it is not there; nothing when the key is one of those left out.
    pub fn entry(&mut self, key: K) -> Option<&mut V> {
        if self.kept.len() >= MAX && !self.kept.contains_key(&key) {
            self.left_out = true;
            if self.ranks.is_empty() {
                self.ranks = self.kept.keys().map(|key| (key.rank(), key.clone())).collect();
            }
            let ranked = (key.rank(), key.clone());
            if self.ranks.last().is_none_or(|worst| *worst <= ranked) {
                return None;
            }
            let worst = self.ranks.pop_last();
            if let Some((_, worst)) = worst {
                self.kept.remove(&worst);
            }
            self.ranks.insert(ranked);
        }
        Some(self.kept.entry(key).or_default())
    }

    /// What is kept, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.kept.iter()
    }

    /// The value of a key that is kept.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.kept.get(key)
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether there were more than fit.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.left_out
    }
}

impl<K: Ranked, V: Default + Merge, const MAX: usize> Merge for Bounded<K, V, MAX> {
    fn merge(&mut self, other: Self) {
        for (key, value) in other.kept {
            if let Some(mine) = self.entry(key) {
                mine.merge(value);
            }
        }
        self.left_out |= other.left_out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Merge for u64 {
        fn merge(&mut self, other: Self) {
            *self += other;
        }
    }

    proptest! {
        /// The oracle: all counts, and of them the least hashes.
        #[test]
        fn kept_is_what_has_the_least_hashes(keys in proptest::collection::vec(0_u8..12, 0..60), cut in 0_usize..60) {
            let mut halves = [Bounded::<String, u64, 5>::default(), Bounded::default()];
            let mut all: BTreeMap<String, u64> = BTreeMap::new();
            for (at, key) in keys.iter().enumerate() {
                *all.entry(key.to_string()).or_default() += 1;
                if let Some(count) = halves[usize::from(at >= cut)].entry(key.to_string()) {
                    *count += 1;
                }
            }
            let [mut one, other] = halves;
            let mut turned = other.clone();
            turned.merge(one.clone());
            one.merge(other);
            let mut ranked: Vec<_> = all.iter().map(|(key, count)| (key.rank(), key.clone(), *count)).collect();
            ranked.sort();
            let mut wanted: Vec<_> = ranked.into_iter().take(5).map(|(_, key, count)| (key, count)).collect();
            wanted.sort();
            let got: Vec<_> = one.iter().map(|(key, count)| (key.clone(), *count)).collect();
            prop_assert_eq!(&got, &wanted);
            prop_assert_eq!(one.is_partial(), all.len() > 5);
            prop_assert!(one == turned);
        }
    }
}
