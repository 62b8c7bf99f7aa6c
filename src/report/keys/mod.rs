//! What is known of a key, as a card; of all keys, as a table.
//!
//! As JSON a card is one object (members are added, never renamed): `arn`, `name`, `aliases`,
//! `siblings`, `domain {name, tier, owner, standing}`, `about {description, spec, usage, origin,
//! created, manager, tags}`, `state {name, since, deletion, days_left}`, `rotation`, `policy {put_by,
//! put_at, in_words}`, `grants {live [...], ended}`, `users [{principal, first, last, calls,
//! operations, standing, unexpected_operations}]`, `expected [{line, in_words, seen}]`, `incidents
//! [{time, title, id}]`, `as_of`. The table is a list of rows with the names of its columns.
//!
//! Invariant: pure, of an instant; text of records and of KMS is printable here already.

mod about;
pub mod card;
pub mod find;
mod policy;
pub mod table;
#[cfg(test)]
mod tests;
mod users;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use about::{About, DomainOfKey, GrantShown, Grants, Lifecycle, PolicyShown};
pub use users::{Line, Standing, UserShown};

use crate::alert::redact::{Redaction, printable};
use crate::event::key::{ArnParts, KeyRef, arn_parts};
use crate::keys::inventory::{Domain, Inventory, Known};
use crate::keys::picture::{Picture, Portrait};
use crate::time::EventTime;

/// Everything that cards are made of.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// What has been told of keys.
    pub picture: &'a Picture,
    /// What the bank says of them.
    pub inventory: &'a Inventory,
    /// Incidents found, beside those that the picture remembers.
    pub incidents: &'a [IncidentShown],
    /// How often a principal used a key, as far as records were counted.
    pub calls: &'a BTreeMap<(String, String), u64>,
    /// The instant that cards are of.
    pub at: EventTime,
    /// What is kept back.
    pub redaction: Redaction,
    /// Multi-Region keys by account and id, looked up when first asked for.
    pub replicas: OnceCell<BTreeMap<String, Vec<String>>>,
}

/// An incident on a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct IncidentShown {
    /// Event time of its last record.
    pub time: EventTime,
    /// Level and title of the rule.
    pub title: String,
    /// Stable id.
    pub id: String,
    /// ARNs of the keys that it touches.
    #[serde(skip)]
    pub keys: Vec<String>,
}

/// What is known of one key.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    /// ARN.
    pub arn: String,
    /// How a person names it: alias, else id.
    pub name: String,
    /// All its names.
    pub aliases: Vec<String>,
    /// ARNs of the same multi-Region key elsewhere, as far as known.
    pub siblings: Vec<String>,
    /// Its domain.
    pub domain: Option<DomainOfKey>,
    /// What it is.
    pub about: About,
    /// What state it is in.
    pub state: Option<Lifecycle>,
    /// Automatic rotation, in words.
    pub rotation: Option<String>,
    /// Its policy.
    pub policy: Option<PolicyShown>,
    /// Its grants.
    pub grants: Grants,
    /// Who uses it, those not expected first.
    pub users: Vec<UserShown>,
    /// Who is expected to.
    pub expected: Vec<Line>,
    /// Its last incidents, the latest first.
    pub incidents: Vec<IncidentShown>,
    /// The instant that the card is of.
    pub as_of: EventTime,
}

/// Incidents shown on a card.
const MAX_INCIDENTS: usize = 10;

impl Sources<'_> {
    /// ARNs of all keys that something is known of.
    #[must_use]
    pub fn arns(&self) -> Vec<String> {
        let is_key = |arn: &&str| arn_parts(arn).is_some_and(|parts| parts.resource.starts_with("key/"));
        let named = self.inventory.domains.iter().flat_map(|domain| &domain.key_names).map(String::as_str);
        let all: BTreeSet<_> =
            self.picture.keys().map(|(arn, _)| arn).chain(named).filter(is_key).map(str::to_owned).collect();
        all.into_iter().collect()
    }

    /// The card of a key.
    #[must_use]
    pub fn card(&self, arn: &str) -> Card {
        let nothing = Portrait::default();
        let portrait = self.picture.key(arn).unwrap_or(&nothing);
        let domain = self.domain(arn);
        let aliases = self.aliases(arn);
        let id = arn.rsplit('/').next().unwrap_or(arn);
        Card {
            arn: printable(arn),
            name: printable(aliases.first().map_or(id, String::as_str)),
            siblings: self.siblings(arn, portrait),
            domain: domain.map(about::of_domain),
            about: about::of(portrait, self.at),
            state: about::lifecycle(portrait, self.at),
            rotation: about::rotation(portrait, self.at),
            policy: policy::of(portrait, arn, self.at),
            grants: about::grants(portrait, arn, self.at, self.redaction),
            users: users::actual(arn, portrait, domain, self),
            expected: users::expected(portrait, domain, self.at),
            incidents: self.incidents_of(arn, portrait),
            aliases: aliases.iter().map(|alias| printable(alias)).collect(),
            as_of: self.at,
        }
    }

    /// The names of a key: the inventory's, then those that KMS told.
    #[must_use]
    pub fn aliases(&self, arn: &str) -> Vec<String> {
        let own = KeyRef::parse(arn).and_then(|key| self.inventory.alias_of(&key).map(str::to_owned));
        let told = self.picture.aliases_of(arn, self.at);
        let others = told.into_iter().filter(|alias| own.as_ref() != Some(alias)).collect::<Vec<_>>();
        own.iter().cloned().chain(others).collect()
    }

    fn domain(&self, arn: &str) -> Option<&Domain> {
        let key = KeyRef::parse(arn)?;
        let parts = arn_parts(arn)?;
        let place = format!("{}:{}", parts.region, parts.account);
        let known = || -> Known { self.picture.known(&key, &place, self.at) };
        self.inventory.domain_of(&key, Some(parts.account), &known)
    }

    fn siblings(&self, arn: &str, portrait: &Portrait) -> Vec<String> {
        let Some(parts) = arn_parts(arn).filter(|parts| parts.resource.starts_with("key/mrk-")) else {
            return Vec::new();
        };
        let identity = |parts: ArnParts<'_>| format!("{} {}", parts.account, parts.resource);
        let replicas = self.replicas.get_or_init(|| {
            let mut replicas: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for arn in self.arns() {
                if let Some(parts) = arn_parts(&arn).filter(|parts| parts.resource.starts_with("key/mrk-")) {
                    replicas.entry(identity(parts)).or_default().push(arn);
                }
            }
            replicas
        });
        let known = replicas.get(&identity(parts)).into_iter().flatten();
        let all: BTreeSet<String> = known.chain(&portrait.about.primary).cloned().collect();
        all.into_iter()
            .filter(|other| other != arn)
            .map(|other| match portrait.about.primary.as_ref() == Some(&other) {
                true => format!("{} (primary)", printable(&other)),
                false => printable(&other),
            })
            .collect()
    }

    fn incidents_of(&self, arn: &str, portrait: &Portrait) -> Vec<IncidentShown> {
        let remembered = portrait.incidents().map(|told| IncidentShown {
            time: told.time,
            title: printable(&told.title),
            id: told.id.clone(),
            keys: Vec::new(),
        });
        let found = self.incidents.iter().filter(|incident| incident.keys.iter().any(|key| key == arn)).cloned();
        let by_id: BTreeMap<String, IncidentShown> =
            remembered.chain(found).map(|incident| (incident.id.clone(), incident)).collect();
        let mut all: Vec<_> = by_id.into_values().collect();
        all.sort_by(|a, b| b.cmp(a));
        all.truncate(MAX_INCIDENTS);
        all
    }
}
