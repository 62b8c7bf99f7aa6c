//! A match: one record of one rule and group, with the facts that an alert will show.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::watermark::Lane;
use crate::event::EventId;
use crate::rule::RuleIndex;
use crate::time::EventTime;

/// The values of a rule's `group-by` fields, in its order; an absent field is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey(pub Vec<Arc<str>>);

/// What an alert tells of a record's key and caller. The same for most records of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Facts {
    /// Canonical principal.
    pub principal: Option<Arc<str>>,
    /// ARN, or what name there is, of the key.
    pub key: Option<Arc<str>>,
    /// Alias of the key.
    pub alias: Option<Arc<str>>,
    /// Domain of the key.
    pub domain: Option<Arc<str>>,
    /// Tier of the domain.
    pub tier: Option<Arc<str>>,
    /// Owner of the domain.
    pub owner: Option<Arc<str>>,
    /// Account in whose trail the record is.
    pub account: Option<Arc<str>>,
    /// Region called.
    pub region: Option<Arc<str>>,
    /// The inventory's verdict.
    pub expected: Option<bool>,
    /// Why.
    pub reason: Option<Arc<str>>,
}

/// A record kept for the alert: its text and the fields that the rule's templates read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The record as it came.
    pub raw: Arc<str>,
    /// What the rule's templates read.
    pub details: Details,
}

/// Field paths and values; shared, since a busy caller has millions of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details(Arc<[(Arc<str>, Arc<str>)]>);

impl Details {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *path).map(|(_, value)| &**value)
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for Details {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// What a match says beside that it is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Signal {
    /// Of a value count: the value.
    Value(Arc<str>),
    /// Of a temporal correlation or a sequence: which rule matched, and what the step binds.
    Step {
        /// Position among the rules.
        step: u8,
        /// For each variable its value, if this step binds it.
        bound: Vec<Option<Arc<str>>>,
    },
    /// It opens a case.
    Opens,
    /// The case that it opens is decided by then.
    Deadline(EventTime),
    /// It closes a case.
    Closes,
    /// It makes a case graver.
    Escalates(u8),
}

/// One record that one rule matched, in one group.
#[derive(Clone, Debug)]
pub struct Match {
    /// The rule.
    pub rule: RuleIndex,
    /// The group.
    pub group: GroupKey,
    /// `eventID`.
    pub id: EventId,
    /// `eventTime`.
    pub time: EventTime,
    /// Account and Region.
    pub lane: Lane,
    /// What it says; nothing for rules that only count records.
    pub signals: Vec<Signal>,
    /// The number that is summed or averaged.
    pub number: Option<f64>,
    /// For the alert.
    pub facts: Arc<Facts>,
    /// For the alert; the engine keeps the earliest few of a group.
    pub sample: Option<Arc<Sample>>,
}

/// What a match says: the value or the step. Which of them a rule reads is its own affair.
#[must_use]
pub fn signals(values: &[Arc<str>], step: u8, bound: Vec<Option<Arc<str>>>) -> Vec<Signal> {
    let value = match values {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.join("\u{1f}").into()),
    };
    vec![value.map_or(Signal::Step { step, bound }, Signal::Value)]
}
