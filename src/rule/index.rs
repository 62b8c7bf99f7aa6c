//! Finds the predicates that a record may meet, by (`eventSource`, `eventName`).
//!
//! Invariant: it may name a predicate that does not hold, never leave out one that does (property
//! test against the full scan).

use std::collections::{BTreeSet, HashMap};

use super::predicate::Predicate;
use crate::event::field::core;

/// Predicates by the source and name that they need.
#[derive(Debug, Default)]
pub struct Index {
    by_source: HashMap<String, ByName>,
    any_source: ByName,
}

#[derive(Debug, Default)]
struct ByName {
    by_name: HashMap<String, Vec<usize>>,
    any_name: Vec<usize>,
}

impl ByName {
    fn add(&mut self, predicate: usize, names: Option<&BTreeSet<String>>) {
        match names {
            None => self.any_name.push(predicate),
            Some(names) => {
                for name in names {
                    self.by_name.entry(name.clone()).or_default().push(predicate);
                }
            }
        }
    }

    fn collect(&self, name: &str, out: &mut Vec<usize>) {
        out.extend(&self.any_name);
        out.extend(self.by_name.get(name).into_iter().flatten());
    }

    fn has(&self, name: &str) -> bool {
        !self.any_name.is_empty() || self.by_name.contains_key(name)
    }
}

impl Index {
    /// An index over predicates, known by their position.
    #[must_use]
    pub fn over(predicates: &[Predicate]) -> Self {
        let mut index = Self::default();
        for (position, predicate) in predicates.iter().enumerate() {
            let names = predicate.required(core::EVENT_NAME);
            match predicate.required(core::EVENT_SOURCE) {
                None => index.any_source.add(position, names.as_ref()),
                Some(sources) => {
                    for source in sources {
                        index.by_source.entry(source).or_default().add(position, names.as_ref());
                    }
                }
            }
        }
        index
    }

    /// Whether any predicate may hold for a record of this source and name.
    #[must_use]
    pub fn wants(&self, source: &str, name: &str) -> bool {
        let (source, name) = (source.to_lowercase(), name.to_lowercase());
        self.any_source.has(&name) || self.by_source.get(&source).is_some_and(|by_name| by_name.has(&name))
    }

    /// The predicates that may hold, each once, in order.
    pub fn candidates(&self, source: &str, name: &str, out: &mut Vec<usize>) {
        let (source, name) = (source.to_lowercase(), name.to_lowercase());
        out.clear();
        self.any_source.collect(&name, out);
        if let Some(by_name) = self.by_source.get(&source) {
            by_name.collect(&name, out);
        }
        out.sort_unstable();
        out.dedup();
    }
}
