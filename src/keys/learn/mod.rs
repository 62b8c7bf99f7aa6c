//! Expected use learnt from history: from captures to a proposed inventory, for a person to review.
//!
//! [`history`] counts who used which key how; [`mod@propose`] makes domains and lines of expected use of
//! it; [`mod@write`] puts them down as an inventory file in which every line says how well it is
//! supported; [`drift`] compares captures with an inventory that is there.
//!
//! Invariant: what comes out hangs on the set of records alone, not on their order, nor on how they
//! are spread over files and threads. Everything held is bounded, and what did not fit is told.
//!
//! Must not: take a single use for a habit. What was seen too seldom is written as a comment, so that
//! the use of an intruder who was there while the history was made is unexpected until a person says
//! otherwise.

pub mod bounded;
pub mod drift;
pub mod general;
pub mod history;
mod line;
pub mod network;
pub mod propose;
pub mod support;
#[cfg(test)]
mod tests;
mod when;
pub mod write;

use crate::keys::inventory::{Inventory, Known};
use bounded::Merge as _;
use drift::Drift;
use history::History;

/// What captures came to: to be merged with that of other captures in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learning {
    /// Who used which key how.
    pub history: History,
    /// Where that departs from an inventory, if there is one to compare with.
    pub drift: Drift,
}

impl Learning {
    /// Notes one use of a record; `inventory` is the one to compare with.
    pub fn note(&mut self, seen: &history::Seen<'_>, inventory: Option<&Inventory>, known: &dyn Fn() -> Known) {
        self.history.note(seen);
        if let Some(inventory) = inventory {
            self.drift.note(seen, inventory, known);
        }
    }

    /// Takes in what others came to.
    pub fn merge(&mut self, other: Self) {
        self.history.merge(other.history);
        self.drift.merge(other.drift);
    }
}
