//! What is asked: one of three questions, narrowed by operation, principal, outcome and time.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::event::operation::{Class, OPERATIONS, class_of};
use crate::keys::pattern::NamePattern;
use crate::pipeline::replay::Window;

/// An auditor's question of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Every cryptographic call, whatever its outcome.
    WhoUsed,
    /// Every call that changes the key or who may use it, and what KMS did to it of its own accord.
    WhoChanged,
    /// Every call that was denied, of any kind.
    Denied,
}

impl Question {
    /// As on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhoUsed => "who-used",
            Self::WhoChanged => "who-changed",
            Self::Denied => "denied",
        }
    }

    /// Whether an operation of KMS is of the kind that is asked about. An operation that is newer than
    /// this kmswatch is a change, unless its name says that it only reads.
    #[must_use]
    pub fn is_about(self, operation: &str) -> bool {
        let is_use = class_of(operation) == Class::Cryptographic;
        match self {
            Self::WhoUsed => is_use,
            Self::WhoChanged => !is_use && !is_read(operation),
            Self::Denied => true,
        }
    }
}

/// Whether an operation only looks; all of the API's that do begin so (API model 2014-11-01).
#[must_use]
pub fn is_read(operation: &str) -> bool {
    ["Get", "List", "Describe"].iter().any(|verb| operation.starts_with(verb))
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Success,
    /// A policy forbade it, or none allowed it.
    Denied,
    /// It failed for another reason.
    Error,
    /// It was a trial that would have been allowed.
    DryRun,
    /// Too many calls.
    Throttled,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Success, Self::Denied, Self::Error, Self::DryRun, Self::Throttled];

    /// As in `kms.outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Error => "error",
            Self::DryRun => "dry-run",
            Self::Throttled => "throttled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| format!("'{text}' is no outcome; one of {all}"))
    }
}

/// What of the answer is wanted; empty lists let everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Operations, with wildcards.
    pub operations: Vec<NamePattern>,
    /// Canonical principals, ARNs, role and user names, sessions and humans, with wildcards.
    pub principals: Vec<NamePattern>,
    /// Outcomes.
    pub outcomes: BTreeSet<Outcome>,
    /// Event times.
    pub window: Window,
}

impl Filter {
    /// Looks for operation patterns that no operation of the question fits: they would make an empty
    /// answer look like an innocent one.
    ///
    /// # Errors
    /// The first such pattern, with what was likely meant.
    pub fn check(&self, question: Question) -> Result<(), String> {
        for pattern in &self.operations {
            let names = OPERATIONS.iter().map(|operation| operation.name);
            let fitting: Vec<_> = names.clone().filter(|name| pattern.matches(name)).collect();
            if fitting.iter().any(|name| question.is_about(name)) {
                continue;
            }
            if let Some(other) = fitting.first() {
                let asks = match question {
                    Question::WhoUsed => "cryptographic operations; who-changed and denied ask about others",
                    Question::WhoChanged => "calls that change a key; who-used asks about its use",
                    Question::Denied => "denied calls",
                };
                return Err(format!("--operation {pattern}: {other} is outside the question, which is about {asks}"));
            }
            let near = names.min_by_key(|name| strsim::damerau_levenshtein(name, pattern.as_str())).unwrap_or("");
            return Err(format!("--operation {pattern}: no operation of KMS is called so; did you mean {near}?"));
        }
        Ok(())
    }

    /// Whether an operation is wanted.
    #[must_use]
    pub fn wants_operation(&self, operation: &str) -> bool {
        self.operations.is_empty() || self.operations.iter().any(|pattern| pattern.matches(operation))
    }

    /// Whether an outcome is wanted.
    #[must_use]
    pub fn wants_outcome(&self, outcome: Outcome) -> bool {
        self.outcomes.is_empty() || self.outcomes.contains(&outcome)
    }

    /// Whether a time is wanted.
    #[must_use]
    pub fn wants_time(&self, time: crate::time::EventTime) -> bool {
        self.window.since.is_none_or(|since| time >= since) && self.window.until.is_none_or(|until| time < until)
    }

    /// Whether a caller, by any of its names, is wanted.
    #[must_use]
    pub fn wants_principal<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        self.principals.is_empty() || names.any(|name| self.principals.iter().any(|pattern| pattern.matches(name)))
    }
}
