//! What each kind of rule asks of a group: pure functions over its matches, and the memory that
//! some kinds keep of matches that are gone.
//!
//! Invariant: every answer is a function of a set of matches; their order does not enter.

pub mod absence;
pub mod case;
pub mod new_terms;
pub mod order;
pub mod rate;
#[cfg(test)]
mod tests;
pub mod window;

use serde::{Deserialize, Serialize};

use crate::rule::Detector;

/// What a group remembers of matches that are gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Memory {
    /// Nothing.
    #[default]
    None,
    /// When a term was seen.
    Terms(new_terms::Seen),
    /// How many came, cell by cell.
    Rate(rate::History),
    /// When something was there.
    Presence(absence::Presence),
}

impl Memory {
    /// Of a group of such a rule, before its first match.
    #[must_use]
    pub fn of(detector: &Detector) -> Self {
        match detector {
            Detector::NewTerms(_) => Self::Terms(new_terms::Seen::default()),
            Detector::Rate(_) => Self::Rate(rate::History::default()),
            Detector::Absence(_) => Self::Presence(absence::Presence::default()),
            Detector::Every | Detector::Window { .. } | Detector::Case(_) => Self::None,
        }
    }
}
