//! Why a record was or was not told of: what was made of it, what the inventory expects, which rules
//! match, which nearly do, and what of them does not hold.
//!
//! As JSON it is one object (`schema` 1; members are added, never renamed):
//!
//! ```json
//! {"schema": 1, "left_off": 0, "unreadable": ["record 2: ..."], "records": [{
//!   "event_id": "...", "event_time": "...", "event_source": "...", "event_name": "...",
//!   "account": "111122223333", "region": "eu-west-1",
//!   "uses": [{
//!     "key_role": "source",
//!     "fields": [{"name": "kms.key_arn", "values": ["..."], "kind": "copied|part|worked-out|inventory|known",
//!                 "from": ["resources[0].ARN"], "how": "..."}],
//!     "expectation": {"domain": "...", "tier": "...", "owner": "...", "standing": ["decoy"], "lines": 2,
//!       "verdict": false, "reason": "...", "never": "arn:...",
//!       "nearest": {"line": 12, "parts": [{"part": "via", "entry": null, "wanted": ["..."], "given": null, "met": false}]},
//!       "break_glass": [{"ticket": "...", "start": "...", "until": "...", "in_force": true}]},
//!     "known": {"aliases": [], "state": "...", "policy": "...", "grant": "...", "user": "..."},
//!     "rules": {
//!       "matched": [{"rule": {"id": "...", "title": "...", "level": "high", "path": "..."}, "role": "counts",
//!         "towards": [{"rule": {...}, "kind": "event_count", "group": {"kms.principal": "..."}, "counted": true, "suppressed": null,
//!                      "how": "...", "opens": true, "feeds": ["..."]}], "items": []}],
//!       "filtered": [], "near": [{"rule": {...}, "role": "counts", "held": 4, "of": 5, "distance": 1,
//!         "hindrances": [{"kind": "item|excluded|filter", "name": "use", "holds": false,
//!           "items": [{"selection": "use", "field": "kms.expected", "wanted": ["false"], "holds": false,
//!                      "found": [{"field": "kms.expected", "values": ["true"]}]}]}], "items": []}],
//!       "not_shown": 31, "not_considered": 80}}]}]}
//! ```
//!
//! `values` of what was found is null when the record lacks the field. `items` are filled when a rule
//! was asked for by name.
//!
//! Invariant: text of records is printable here already, and encryption-context values are redacted
//! unless told otherwise. What it says of a rule is what the rule does: its verdicts are those of
//! the path that live records take (test over all examples).

pub mod context;
mod detector;
mod expectation;
pub mod origin;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod text;

use serde::Serialize;
use serde_json::Value;

pub use expectation::Expectation;
pub(crate) use expectation::standing;
pub use rules::Rules;

use crate::alert::redact::{Redaction, printable};
use crate::event::derive::{Use, derive, uses_of};
use crate::event::field::{Fields, core, derived};
use crate::event::key::KeyRole;
use crate::event::record::Record;
use crate::keys::enrich;
use crate::keys::picture::Picture;
use crate::pipeline::plan::analyze::Analyzer;
use context::Known;
use origin::{Kind, Origin, Origins};

/// What records came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Number of the form above.
    pub schema: u32,
    /// In the order in which they were read.
    pub records: Vec<Explained>,
    /// Records beyond those explained.
    pub left_off: u64,
    /// What could not be read, with its place.
    pub unreadable: Vec<String>,
}

impl Report {
    /// Number of its form.
    pub const SCHEMA: u32 = 1;

    /// Whether some rule matched some record.
    #[must_use]
    pub fn has_matches(&self) -> bool {
        self.records.iter().flat_map(|record| &record.uses).any(|used| !used.rules.matched.is_empty())
    }
}

/// One record.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// `eventID`.
    pub event_id: String,
    /// `eventTime`.
    pub event_time: String,
    /// `eventSource`.
    pub event_source: String,
    /// `eventName`.
    pub event_name: String,
    /// Account of the trail.
    pub account: Option<String>,
    /// Region called.
    pub region: Option<String>,
    /// One for each key that it uses, at least one.
    pub uses: Vec<UseExplained>,
}

/// One use of a key.
#[derive(Clone, Debug, Serialize)]
pub struct UseExplained {
    /// Of ReEncrypt: source or destination.
    pub key_role: Option<&'static str>,
    /// What was derived.
    pub fields: Vec<Derived>,
    /// What the inventory says; nothing when the key is in no domain.
    pub expectation: Option<Expectation>,
    /// What had been told of the key before; nothing without context.
    pub known: Option<Known>,
    /// What the rules say.
    pub rules: Rules,
}

/// A derived field and where it came from.
#[derive(Clone, Debug, Serialize)]
pub struct Derived {
    /// `kms.key_arn`.
    pub name: &'static str,
    /// Its values, the first few.
    pub values: Vec<String>,
    /// `copied`, `part`, `worked-out`, `inventory`, or `known` from what was told before.
    pub kind: &'static str,
    /// Paths of the record, other derived fields, or `inventory`.
    pub from: Vec<String>,
    /// In words.
    pub how: String,
}

/// What to say of the rules.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Every condition that was considered, however far from holding.
    pub all: bool,
    /// Only rules whose id is this or whose title contains it, with every item.
    pub rule: Option<String>,
    /// What is kept back.
    pub redaction: Redaction,
}

/// Values shown of one field.
const MAX_VALUES: usize = 20;

/// What a record is explained against.
#[derive(Clone, Debug)]
pub struct Explainer<'a> {
    /// Rules and inventory.
    pub analyzer: &'a Analyzer,
    /// What had been told of keys, the records themselves included.
    pub picture: &'a Picture,
    /// Whether anything was read for it beside the records.
    pub has_context: bool,
    /// What to say.
    pub options: Options,
}

impl Explainer<'_> {
    /// Explains one record.
    #[must_use]
    pub fn explain(&self, mut record: Record<'_>) -> Explained {
        let whole: Value = serde_json::from_str(record.raw).unwrap_or_default();
        let uses = uses_of(&record).iter().map(|used| self.used(&mut record, &whole, used)).collect();
        let text = |id| record.fields.text(id).map(printable);
        Explained {
            event_id: printable(record.id.as_str()),
            event_time: record.time.to_string(),
            event_source: printable(record.source()),
            event_name: printable(record.name()),
            account: text(core::RECIPIENT_ACCOUNT),
            region: text(core::AWS_REGION),
            uses,
        }
    }

    fn used(&self, record: &mut Record<'_>, whole: &Value, used: &Use) -> UseExplained {
        derive(record, used);
        enrich(record, used, &self.analyzer.inventory, self.picture);
        let inventory = &*self.analyzer.inventory;
        let origins = Origins { fields: &record.fields, whole, used, inventory };
        let key_role = match used.key.as_ref().map(|key| key.role) {
            Some(KeyRole::Source) => Some("source"),
            Some(KeyRole::Destination) => Some("destination"),
            _ => None,
        };
        UseExplained {
            key_role,
            fields: self.derived(&record.fields, &origins),
            expectation: expectation::of(record, used, inventory, self.picture, self.options.redaction),
            known: self.has_context.then(|| context::of(record, used, self.picture)).flatten(),
            rules: rules::of(record, self.analyzer, &self.options),
        }
    }

    fn derived(&self, fields: &Fields<'_>, origins: &Origins<'_>) -> Vec<Derived> {
        let redaction = self.options.redaction;
        let one = |(id, name)| {
            let values = fields.values(id);
            if values.is_empty() {
                return None;
            }
            let origin = origins.of(id).unwrap_or_else(Origin::unknown);
            let shown = values.iter().take(MAX_VALUES).map(|value| printable(&redaction.value(name, value))).collect();
            let kind = match origin.kind {
                Kind::Copied => "copied",
                Kind::Part => "part",
                Kind::WorkedOut => "worked-out",
                Kind::Inventory => "inventory",
                Kind::Known => "known",
            };
            let from = origin.from.iter().take(MAX_VALUES).map(|path| printable(path)).collect();
            Some(Derived { name, values: shown, kind, from, how: origin.how })
        };
        derived::each().filter_map(one).collect()
    }
}
