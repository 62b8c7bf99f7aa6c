//! Rules: Sigma text in, a [`RuleSet`] out that says which rules a record's fields match.
//!
//! Invariant: pure. Texts come in as arguments ([`RuleText`]); the command line reads the files.
//! A rule file with any mistake yields diagnostics and no rules: a typo never becomes a rule that
//! silently matches nothing.

pub mod catalogue;
pub mod compile;
pub mod condition;
pub mod correlation;
pub mod detection;
pub mod detector;
pub mod diagnostic;
mod document;
pub mod example;
pub mod extension;
pub mod index;
mod kinds;
mod link;
mod lint;
pub mod locate;
pub mod modifiers;
pub mod pack;
pub mod pattern;
pub mod placeholders;
pub mod predicate;
pub mod reach;
pub mod template;
#[cfg(test)]
mod tests;
pub mod trace;
mod wire;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use compile::Compiled;
pub use detector::Detector;
use example::Examples;
use index::Index;
use predicate::{Predicate, Searchable};

use crate::event::field::{FieldId, Fields, Projection};
use crate::time::Span;

/// How grave: Sigma's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the record.
    Informational,
    /// Worth a look some day.
    Low,
    /// Worth a look today.
    Medium,
    /// Wakes a person.
    High,
    /// Wakes a person, and more than one.
    Critical,
}

impl Level {
    /// As written in rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| format!("'{text}' is not a level; use informational, low, medium, high or critical"))
    }
}

/// A rule file as text, with the name that diagnostics show.
#[derive(Clone, Debug)]
pub struct RuleText {
    /// Path relative to the rules folder, like `destruction/schedule_key_deletion.yml`; its first
    /// folder is the rule's family.
    pub path: String,
    /// The YAML, one or more documents.
    pub text: String,
}

/// The position of a rule in its [`RuleSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub u32);

/// What a rule says about itself; goes into alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleMeta {
    /// The rule's uuid: incidents hang on it, so it never changes.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// First folder of the file's path: destruction, grants, ...
    pub family: String,
    /// Longer explanation.
    pub description: String,
    /// `experimental`, `test` or `stable`.
    pub status: String,
    /// ATT&CK and other tags as in Sigma.
    pub tags: Vec<String>,
    /// Control frameworks, like `PCI-DSS-4.0.1:10.2.1`.
    pub controls: Vec<String>,
    /// Known harmless causes.
    pub falsepositives: Vec<String>,
    /// Hash of the rule's text, so that an alert says which version fired.
    pub hash: String,
    /// Where the rule was read.
    pub path: String,
}

/// A text with `{field}` placeholders (`{{` for a brace), filled in when an alert is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Literals and fields in turn.
    pub parts: Vec<TemplatePart>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it stands.
    Literal(String),
    /// The value of the first of some fields that there is. Paths are kept for the alert, which
    /// holds values by path.
    Field(Vec<(String, FieldId)>),
    /// How many distinct records the incident counts: `{count}`.
    Count,
}

/// A rule that opens incidents: a detection, or a correlation over detections.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it says about itself.
    pub meta: Arc<RuleMeta>,
    /// How grave.
    pub level: Level,
    /// What makes two matches the same incident: field paths, or aliases of a correlation. Which
    /// fields of a record fill them is a matter of the [`Input`].
    pub group_by: Vec<String>,
    /// What makes a match count.
    pub detector: Detector,
    /// The gap in event time that ends an incident.
    pub quiet: Span,
    /// How late a record may come and still be counted exactly.
    pub lateness: Span,
    /// The sentence of the alert.
    pub summary: Template,
    /// Commands and runbook links shown in the alert, never run.
    pub respond: Vec<Template>,
    /// The fields that summary and commands read, and [`CHANGE_FIELD`].
    pub details: Vec<(Arc<str>, FieldId)>,
    /// Whether it opens incidents; a rule that only feeds correlations does not.
    pub opens: bool,
    /// The correlations that its qualifying matches feed.
    pub feeds: Vec<Feed>,
}

/// Says what a record changed; every alert tells it.
pub const CHANGE_FIELD: &str = "kms.change";

/// What a match is to the rule that it is fed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It counts, as this step of several.
    Counts(u8),
    /// It closes a case.
    Closes,
    /// It makes a case graver, by the escalation of this number.
    Escalates(u8),
}

/// How a predicate feeds a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The rule.
    pub rule: RuleIndex,
    /// As what.
    pub role: Role,
    /// The fields that fill the rule's `group_by`, in its order.
    pub group_by: Vec<FieldId>,
    /// The fields whose values, taken together, are counted.
    pub value: Vec<FieldId>,
    /// The fields that steps share: for each variable of the rule, the field of this step.
    pub bound: Vec<Option<FieldId>>,
}

/// How the qualifying matches of one correlation feed another: by position in the group of the
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The correlation fed.
    pub rule: RuleIndex,
    /// As which step.
    pub step: u8,
    /// What fills its `group_by`.
    pub group_by: Vec<usize>,
    /// What is counted.
    pub value: Vec<usize>,
    /// For each of its variables what this step binds.
    pub bound: Vec<Option<usize>>,
}

impl Rule {
    /// Default [`Rule::quiet`].
    pub const DEFAULT_QUIET: Span = Span::from_secs(3600);
    /// Default [`Rule::lateness`].
    pub const DEFAULT_LATENESS: Span = Span::from_secs(3600);
}

/// A condition as it is written: with the names of its selections, and the filters added to it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The document that it stands in.
    pub meta: Arc<RuleMeta>,
    /// The document's level.
    pub level: Level,
    /// What a match of it is to its document's own rule, if that is one.
    pub role: Role,
    /// The condition, with marks.
    pub predicate: Predicate,
}

/// All rules, compiled, with the projection that decodes what they read.
#[derive(Debug)]
pub struct RuleSet {
    /// The fields to decode.
    pub projection: Projection,
    /// The rules that open incidents, by [`RuleIndex`].
    pub rules: Vec<Rule>,
    /// Their examples, by [`RuleIndex`].
    pub examples: Vec<Examples>,
    predicates: Vec<Predicate>,
    /// For each predicate what it feeds.
    inputs: Vec<Vec<Input>>,
    /// For each predicate how it is written.
    outlines: Vec<Outline>,
    index: Index,
}

impl RuleSet {
    /// Rules without predicates, for tests of what comes after matching.
    #[cfg(test)]
    pub(crate) fn of_rules(rules: Vec<Rule>) -> Self {
        Self {
            projection: Projection::fixed(),
            rules,
            examples: Vec::new(),
            predicates: Vec::new(),
            inputs: Vec::new(),
            outlines: Vec::new(),
            index: Index::default(),
        }
    }

    /// The conditions as they are written, each with what it feeds: for explanations.
    pub fn outlines(&self) -> impl Iterator<Item = (&Outline, &[Input])> {
        self.outlines.iter().zip(self.inputs.iter().map(Vec::as_slice))
    }

    /// Whether some rule may match a record of this source and name.
    #[must_use]
    pub fn wants(&self, event_source: &str, event_name: &str) -> bool {
        self.index.wants(event_source, event_name)
    }

    /// How many predicates are asked of a record: what its cost grows by.
    #[must_use]
    pub fn asked(&self, fields: &Fields<'_>) -> usize {
        let mut candidates = Vec::new();
        self.index.candidates(fields, &mut candidates);
        candidates.len()
    }

    /// What a record feeds to which rules. `fields` has the derived ones filled in; `raw` is for
    /// keyword search.
    pub fn feeds<'r>(&'r self, fields: &Fields<'_>, raw: &str, out: &mut Vec<&'r Input>) {
        out.clear();
        let mut candidates = Vec::new();
        self.index.candidates(fields, &mut candidates);
        let raw = Searchable::new(raw);
        for candidate in candidates {
            if self.predicates.get(candidate).is_some_and(|predicate| predicate.holds(fields, &raw)) {
                out.extend(self.inputs.get(candidate).into_iter().flatten());
            }
        }
    }

    /// The rules that count a record, each once.
    pub fn matches(&self, fields: &Fields<'_>, raw: &str, out: &mut Vec<RuleIndex>) {
        let mut fed = Vec::new();
        self.feeds(fields, raw, &mut fed);
        out.clear();
        out.extend(fed.iter().filter(|input| matches!(input.role, Role::Counts(_))).map(|input| input.rule));
        out.sort_unstable();
        out.dedup();
    }
}
