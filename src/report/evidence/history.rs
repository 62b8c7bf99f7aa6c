//! What the records themselves say of keys and their names: the first reading of the files.
//!
//! Aliases move, and an answer for `alias/vault` must follow them: which key an alias stood for at an
//! instant is told by the calls that put it there, and by calls that used it and whose record names
//! the key. All versions are kept, where [`crate::keys::picture`] keeps the latest few; tags are the
//! picture's.
//!
//! Invariant: the same records in any order, any number of times, make the same history.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::derive::{KMS_SOURCE, uses_of};
use crate::event::envelope::{EnvelopeLimits, Found, open};
use crate::event::field::{Projection, core};
use crate::event::key::{KeyRef, arn_parts};
use crate::event::record::{Record, decode};
use crate::keys::inventory::{Inventory, Known};
use crate::keys::picture::change::{Change, changes_of, place_of, stamp_of};
use crate::keys::picture::version::Stamp;
use crate::keys::picture::{Picture, PictureLimits};
use crate::keys::snapshot::GrantFacts;
use crate::time::{EventTime, Span};

/// A key by place (`REGION:ACCOUNT`) and id, whatever the spelling of its ARN's partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// `REGION:ACCOUNT`.
    pub place: String,
    /// Key id.
    pub id: String,
}

impl KeyName {
    /// Of a key's ARN; nothing for other texts.
    #[must_use]
    pub fn from_arn(arn: &str) -> Option<Self> {
        let parts = arn_parts(arn)?;
        let id = parts.resource.strip_prefix("key/").filter(|_| parts.service == "kms")?;
        Some(Self { place: format!("{}:{}", parts.region, parts.account), id: id.to_owned() })
    }

    /// As an ARN; the partition follows from the Region.
    #[must_use]
    pub fn arn(&self) -> String {
        let partition = match self.place.as_str() {
            place if place.starts_with("cn-") => "aws-cn",
            place if place.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        format!("arn:{partition}:kms:{}:key/{}", self.place, self.id)
    }

    /// The account in it.
    #[must_use]
    pub fn account(&self) -> &str {
        self.place.rsplit(':').next().unwrap_or_default()
    }
}

/// Place and name of an alias.
pub type AliasName = (String, String);

/// What one file says.
#[derive(Debug, Default)]
pub struct Survey {
    changes: Vec<(Stamp, Change)>,
    /// First and last call that used an alias and whose record names the key.
    sightings: BTreeMap<(AliasName, String), (Stamp, Stamp)>,
    names: BTreeSet<KeyName>,
    aliases: BTreeSet<AliasName>,
    /// Names and changes beyond the limits.
    left_out: u64,
}

/// Changes kept of one file. They are rare: fewer than one record in a hundred.
const MAX_CHANGES: usize = 500_000;
/// Names of keys and aliases kept of one file; who is denied can make up as many as he likes.
const MAX_NAMES: usize = 500_000;
/// A key policy has at most 32 KB (API reference); a longer one is somebody's play.
const MAX_POLICY_BYTES: usize = 64 << 10;

/// Collects what files say of names; shared by threads.
#[derive(Debug)]
pub struct Surveyor {
    projection: Projection,
}

impl Default for Surveyor {
    fn default() -> Self {
        Self { projection: Projection::fixed() }
    }
}

impl Surveyor {
    /// Reads one piece of a file. What cannot be read is told of at the second reading.
    pub fn read(&self, piece: &[u8], survey: &mut Survey) {
        let limits = EnvelopeLimits::of_captures();
        let _ = open(piece, limits, &mut |found| {
            if let Found::Record(raw) = found
                && let Ok(record) = decode(raw, &self.projection)
                && record.source() == KMS_SOURCE
            {
                survey.note(&record);
            }
        });
    }
}

impl Survey {
    fn note(&mut self, record: &Record<'_>) {
        let (stamp, place) = (stamp_of(record), place_of(record));
        let failed = record.fields.text(core::ERROR_CODE).is_some();
        for key in uses_of(record).into_iter().filter_map(|used| used.key) {
            self.names(&key, &place);
            let (Some(arn), Some(alias)) = (key.arn, key.alias) else { continue };
            let place = KeyName::from_arn(&arn).map_or_else(|| place.clone(), |name| name.place);
            match record.name() {
                "CreateAlias" | "UpdateAlias" => {}
                // The key that an alias is taken off is the one that it stood for until then.
                "DeleteAlias" if !failed => {
                    let before = Stamp { time: record.time.saturating_sub(Span::from_secs(1)), ..stamp.clone() };
                    self.sighting((place, alias), arn, before);
                }
                _ if !failed => self.sighting((place, alias), arn, stamp.clone()),
                _ => {}
            }
        }
        for change in changes_of(record) {
            let fits = match &change {
                Change::Policy { text, .. } => text.len() <= MAX_POLICY_BYTES,
                _ => true,
            };
            if fits && self.changes.len() < MAX_CHANGES {
                self.changes.push((stamp.clone(), change));
            } else {
                self.left_out += 1;
            }
        }
    }

    fn names(&mut self, key: &KeyRef, place: &str) {
        let name = match (&key.arn, &key.id) {
            (Some(arn), _) => KeyName::from_arn(arn),
            (None, Some(id)) => Some(KeyName { place: place.to_owned(), id: id.clone() }),
            (None, None) => None,
        };
        let place = name.as_ref().map_or(place, |name| name.place.as_str());
        if let Some(alias) = &key.alias {
            let alias = (place.to_owned(), alias.clone());
            self.left_out += u64::from(!keep(&mut self.aliases, alias));
        }
        if let Some(name) = name {
            self.left_out += u64::from(!keep(&mut self.names, name));
        }
    }

    fn sighting(&mut self, alias: AliasName, arn: String, stamp: Stamp) {
        if self.sightings.len() >= MAX_NAMES && !self.sightings.contains_key(&(alias.clone(), arn.clone())) {
            self.left_out += 1;
            return;
        }
        let seen = self.sightings.entry((alias, arn)).or_insert_with(|| (stamp.clone(), stamp.clone()));
        if stamp < seen.0 {
            seen.0 = stamp;
        } else if stamp > seen.1 {
            seen.1 = stamp;
        }
    }
}

/// Keeps a name while there is room; whether it is kept.
fn keep<T: Ord>(names: &mut BTreeSet<T>, name: T) -> bool {
    let kept = names.contains(&name) || names.len() < MAX_NAMES;
    if kept {
        names.insert(name);
    }
    kept
}

/// What an alias stood for from an instant on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// ARN of the key; nothing once the alias was deleted.
    pub key: Option<String>,
    /// Said by the call that put it there, not only by one that used it.
    pub is_change: bool,
}

/// What all files say.
#[derive(Debug, Default)]
pub struct History {
    aliases: BTreeMap<AliasName, BTreeMap<Stamp, Standing>>,
    by_key: BTreeMap<KeyName, BTreeSet<AliasName>>,
    policies: BTreeMap<KeyName, BTreeMap<Stamp, String>>,
    grants: BTreeMap<String, GrantFacts>,
    /// For the tags.
    picture: Picture,
    /// Keys that some record names.
    pub names: BTreeSet<KeyName>,
    /// Aliases that some record names.
    pub alias_names: BTreeSet<AliasName>,
    /// Names and changes beyond the limits.
    pub left_out: u64,
}

impl History {
    /// Puts together what files say.
    #[must_use]
    pub fn of(surveys: impl IntoIterator<Item = Survey>) -> Self {
        let mut history = Self { picture: Picture::new(PictureLimits::default()), ..Self::default() };
        let mut changes: BTreeMap<(Stamp, usize), Change> = BTreeMap::new();
        for survey in surveys {
            history.names.extend(survey.names);
            history.alias_names.extend(survey.aliases);
            history.left_out += survey.left_out;
            for ((alias, key), (first, last)) in survey.sightings {
                for stamp in [first, last] {
                    let versions = history.aliases.entry(alias.clone()).or_default();
                    versions.entry(stamp).or_insert_with(|| Standing { key: Some(key.clone()), is_change: false });
                }
                history.names_alias(&key, &alias);
            }
            let mut number = 0;
            let mut before: Option<Stamp> = None;
            for (stamp, change) in survey.changes {
                number = if before.as_ref() == Some(&stamp) { number + 1 } else { 0 };
                before = Some(stamp.clone());
                changes.insert((stamp, number), change);
            }
        }
        for ((stamp, _), change) in changes {
            history.take(stamp, change);
        }
        history
    }

    fn names_alias(&mut self, key: &str, alias: &AliasName) {
        if let Some(name) = KeyName::from_arn(key) {
            self.by_key.entry(name).or_default().insert(alias.clone());
        }
    }

    fn take(&mut self, stamp: Stamp, change: Change) {
        match &change {
            Change::Alias { place, alias, key } => {
                let alias = (place.clone(), alias.clone());
                if let Some(key) = key {
                    self.names_alias(key, &alias);
                }
                let standing = Standing { key: key.clone(), is_change: true };
                self.aliases.entry(alias).or_default().insert(stamp, standing);
            }
            Change::Policy { key, text, .. } => {
                if let Some(name) = KeyName::from_arn(key) {
                    self.policies.entry(name).or_default().insert(stamp, text.clone());
                }
            }
            Change::Granted { grant, .. } => {
                self.grants.entry(grant.id.clone()).or_insert_with(|| grant.clone());
            }
            Change::Tag { .. } => self.picture.apply(&stamp, change),
            Change::Created { key, .. } => {
                self.names.extend(KeyName::from_arn(key));
            }
            Change::GrantEnded { .. } | Change::State { .. } | Change::Rotation { .. } => {}
        }
    }

    /// What an alias stood for over time.
    pub fn versions(&self, alias: &AliasName) -> impl Iterator<Item = (&Stamp, &Standing)> {
        self.aliases.get(alias).into_iter().flatten()
    }

    /// The key that an alias stood for at an instant. Before all that is known it is what the first
    /// call that used it found; before the first call that moved it nothing is known.
    #[must_use]
    pub fn key_of_alias(&self, alias: &AliasName, time: EventTime) -> Option<&str> {
        let versions = self.aliases.get(alias)?;
        let known = versions.iter().take_while(|(stamp, _)| stamp.time <= time).last();
        let first = || versions.first_key_value().filter(|(_, standing)| !standing.is_change);
        known.or_else(first)?.1.key.as_deref()
    }

    /// The key that an alias stood for just before a record.
    #[must_use]
    pub fn key_before(&self, alias: &AliasName, stamp: &Stamp) -> Option<&str> {
        let (_, standing) = self.aliases.get(alias)?.range(..stamp).next_back()?;
        standing.key.as_deref()
    }

    /// The aliases of a key at an instant.
    pub fn aliases_of<'h>(&'h self, key: &'h KeyName, time: EventTime) -> impl Iterator<Item = &'h AliasName> {
        let stands = move |alias: &&AliasName| {
            self.key_of_alias(alias, time).and_then(KeyName::from_arn).is_some_and(|name| name == *key)
        };
        self.by_key.get(key).into_iter().flatten().filter(stands)
    }

    /// The policy that a key had before a record, if one was put in these files.
    #[must_use]
    pub fn policy_before(&self, key: &KeyName, stamp: &Stamp) -> Option<&str> {
        self.policies.get(key)?.range(..stamp).next_back().map(|(_, text)| text.as_str())
    }

    /// A grant that was made in these files.
    #[must_use]
    pub fn grant(&self, id: &str) -> Option<&GrantFacts> {
        self.grants.get(id)
    }

    /// The key that a record at `place` names, however it names it.
    #[must_use]
    pub fn resolve(&self, key: &KeyRef, place: &str, time: EventTime, inventory: &Inventory) -> Option<KeyName> {
        if let Some(arn) = &key.arn {
            return KeyName::from_arn(arn);
        }
        if let Some(id) = &key.id {
            return Some(KeyName { place: place.to_owned(), id: id.clone() });
        }
        let alias = key.alias.as_ref()?;
        let told = self.key_of_alias(&(place.to_owned(), alias.clone()), time).and_then(KeyName::from_arn);
        let listed = || inventory.arns_of(alias).into_iter().filter_map(KeyName::from_arn);
        told.or_else(|| listed().find(|name| name.place == place))
    }

    /// What is known of a key beside what its record says, for the inventory to find its domain.
    #[must_use]
    pub fn known(&self, key: &KeyRef, name: Option<&KeyName>, time: EventTime) -> Known {
        let Some(name) = name else { return Known::default() };
        let arn = key.arn.clone().unwrap_or_else(|| name.arn());
        let tags = self.picture.key(&arn).map(|portrait| portrait.tags_at(time)).unwrap_or_default();
        let aliases = self.aliases_of(name, time).map(|(_, alias)| alias.clone()).collect();
        Known { arn: Some(arn), aliases, tags }
    }
}
