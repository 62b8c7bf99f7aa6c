//! The picture: what is known of each key as of an instant, from snapshots and from the stream.
//!
//! Policies, grants, aliases, tags, states and users, each at its event time: a record that comes
//! late finds the picture as it was. What a record changes is read by [`change`]; what changed since
//! the last commit is handed out as rows, so that the picture is durable with the rest of the state.
//!
//! Invariants: the same changes in any order, any number of times, make the same picture, as far as
//! the limits let it be kept; a verdict of the inventory hangs on it only for keys that the
//! inventory knows by alias or tag.
//!
//! Must not: decide what is expected. The picture explains; the inventory judges.

pub mod change;
pub mod grant;
mod portrait;
mod rows;
#[cfg(test)]
mod tests;
pub mod version;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use change::Change;
use grant::Grant;
pub use portrait::{PolicyText, Portrait, State, Told, User};
pub use rows::{PictureRow, RowError};
use version::{Stamp, Versions};

use super::expect::Call;
use super::inventory::Known;
use super::snapshot::KeyFacts;
use crate::event::key::{KeyRef, arn_parts};
use crate::time::{EventTime, Span};
use change::partition;

/// What the picture may hold; at a limit the oldest goes first and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureLimits {
    /// Keys.
    pub max_keys: usize,
    /// Aliases over all keys.
    pub max_aliases: usize,
    /// Grants of one key (AWS allows 50,000).
    pub max_grants_per_key: usize,
    /// Users of one key.
    pub max_users_per_key: usize,
    /// Versions of one policy, alias, tag, ...: enough for records that come late. A replay, which knows
    /// all changes before it reads the first use, keeps as many as there are.
    pub max_versions: usize,
}

impl Default for PictureLimits {
    fn default() -> Self {
        Self {
            max_keys: 200_000,
            max_aliases: 400_000,
            max_grants_per_key: 50_000,
            max_users_per_key: 64,
            max_versions: 4,
        }
    }
}

/// What is known of all keys.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    limits: PictureLimits,
    keys: BTreeMap<String, Portrait>,
    /// By `REGION:ACCOUNT` and name: the key's ARN.
    aliases: BTreeMap<(String, String), Versions<Option<String>>>,
    dirty: BTreeSet<Part>,
    forgotten: u64,
}

/// One row of the picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Key(String),
    Grant(String, String),
    User(String, String),
    Alias(String, String),
}

/// One successful use of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// ARN of the key.
    pub key: String,
    /// Canonical principal.
    pub principal: String,
    /// What was called.
    pub operation: String,
    /// When.
    pub time: EventTime,
}

/// How far a user's last time may run ahead of its row: a row for every record would cost more than
/// it tells.
const LAST_USE_STEP: Span = Span::from_secs(3600);

impl Picture {
    /// A picture of nothing.
    #[must_use]
    pub fn new(limits: PictureLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Puts what a record changed.
    pub fn apply(&mut self, stamp: &Stamp, change: Change) {
        let keep = self.limits.max_versions;
        match change {
            Change::Alias { place, alias, key } => self.put_alias(stamp.clone(), place, alias, key),
            Change::Granted { key, grant } => {
                let id = grant.id.clone();
                let limit = self.limits.max_grants_per_key;
                let forgotten = self.portrait(&key).grant(&id, |known| known.made(grant), limit);
                self.grant_changed(key, id, forgotten);
            }
            Change::GrantEnded { key, id, how } => {
                let limit = self.limits.max_grants_per_key;
                let forgotten = self.portrait(&key).grant(&id, |known| known.ended(stamp.time, how), limit);
                self.grant_changed(key, id, forgotten);
            }
            Change::Created { key, about } => self.change(key, |portrait| portrait.about = about),
            Change::Policy { key, text, by } => {
                let value = PolicyText { text: text.into(), by: Some(by) };
                self.change(key, |portrait| _ = portrait.policy.put(stamp.clone(), value, keep));
            }
            Change::Tag { key, name, value } => {
                self.change(key, |portrait| portrait.tag(stamp.clone(), name, value, keep))
            }
            Change::State { key, state, deletion } => {
                let value = State { name: state, deletion };
                self.change(key, |portrait| _ = portrait.state.put(stamp.clone(), value, keep));
            }
            Change::Rotation { key, rotation } => {
                self.change(key, |portrait| _ = portrait.rotation.put(stamp.clone(), rotation, keep));
            }
        }
        self.keep_limits();
    }

    /// Takes over what KMS itself said of a key. What it does not list any more is gone by then.
    pub fn take_snapshot(&mut self, facts: &KeyFacts) {
        let stamp = Stamp::of_snapshot(facts.as_of);
        let before = self.keys.get(&facts.arn).cloned();
        let keep = self.limits.max_versions;
        let portrait = self.portrait(&facts.arn);
        let grants = portrait.take_snapshot(facts, &stamp, keep);
        if before.as_ref() != Some(portrait) {
            self.dirty.insert(Part::Key(facts.arn.clone()));
        }
        for id in grants {
            self.dirty.insert(Part::Grant(facts.arn.clone(), id));
        }
        let Some(parts) = arn_parts(&facts.arn) else { return };
        let place = format!("{}:{}", parts.region, parts.account);
        let here = self.aliases.range((place.clone(), String::new())..).take_while(|((known, _), _)| *known == place);
        let gone: Vec<_> = here
            .filter(|((_, alias), versions)| {
                let is_here = versions.at(facts.as_of).is_some_and(|key| key.as_ref() == Some(&facts.arn));
                is_here && !facts.aliases.contains(alias) && !facts.unknown.contains_key("aliases")
            })
            .map(|((_, alias), _)| alias.clone())
            .collect();
        for alias in gone {
            self.put_alias(stamp.clone(), place.clone(), alias, None);
        }
        for alias in &facts.aliases {
            self.put_alias(stamp.clone(), place.clone(), alias.clone(), Some(facts.arn.clone()));
        }
        self.keep_limits();
    }

    /// Notes a successful use of a key, for who uses it.
    pub fn note_use(&mut self, used: &Used) {
        // A key that nothing else is known of is pictured too: its users are worth knowing.
        let limit = self.limits.max_users_per_key;
        let (is_news, forgotten) = self.portrait(&used.key).note_use(used, LAST_USE_STEP, limit);
        if is_news {
            self.dirty.insert(Part::User(used.key.clone(), used.principal.clone()));
        }
        for principal in forgotten {
            self.forgotten += 1;
            self.dirty.insert(Part::User(used.key.clone(), principal));
        }
        self.keep_limits();
    }

    /// Notes an incident that touched a key.
    pub fn note_incident(&mut self, key: &str, told: Told) {
        if self.keys.contains_key(key) {
            self.change(key.to_owned(), |portrait| portrait.note_incident(told));
        }
    }

    /// The policy that stood before the one that a record put.
    #[must_use]
    pub fn policy_before(&self, arn: &str, stamp: &Stamp) -> Option<&PolicyText> {
        self.keys.get(arn)?.policy.before(stamp).map(|(_, policy)| policy)
    }

    /// A key, if anything is known of it.
    #[must_use]
    pub fn key(&self, arn: &str) -> Option<&Portrait> {
        self.keys.get(arn)
    }

    /// All keys that something is known of, by ARN.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Portrait)> {
        self.keys.iter().map(|(arn, portrait)| (arn.as_str(), portrait))
    }

    /// The ARN of a key that a record at `place` names, as far as the picture tells.
    #[must_use]
    pub fn resolve(&self, key: &KeyRef, place: &str, time: EventTime) -> Option<String> {
        if let Some(arn) = &key.arn {
            return Some(arn.clone());
        }
        let of_id = |id: &String| {
            let arn = format!("arn:{}:kms:{place}:key/{id}", partition(place));
            self.keys.contains_key(&arn).then_some(arn)
        };
        let of_alias = |alias: &String| self.key_of_alias(place, alias, time).map(str::to_owned);
        key.id.as_ref().and_then(of_id).or_else(|| key.alias.as_ref().and_then(of_alias))
    }

    /// What is known of a key that a record at `place` names, for the inventory to find its domain.
    #[must_use]
    pub fn known(&self, key: &KeyRef, place: &str, time: EventTime) -> Known {
        let Some(arn) = self.resolve(key, place, time) else { return Known::default() };
        let tags = self.keys.get(&arn).map(|portrait| portrait.tags_at(time)).unwrap_or_default();
        Known { aliases: self.aliases_of(&arn, time), tags, arn: Some(arn) }
    }

    /// The key that an alias of `REGION:ACCOUNT` stood for at an instant.
    #[must_use]
    pub fn key_of_alias(&self, place: &str, alias: &str, time: EventTime) -> Option<&str> {
        self.aliases.get(&(place.to_owned(), alias.to_owned()))?.at(time)?.as_deref()
    }

    /// The key that an alias stood for before a record moved it.
    #[must_use]
    pub fn alias_before(&self, place: &str, alias: &str, stamp: &Stamp) -> Option<&str> {
        self.aliases.get(&(place.to_owned(), alias.to_owned()))?.before(stamp)?.1.as_deref()
    }

    /// The aliases of a key at an instant.
    #[must_use]
    pub fn aliases_of(&self, arn: &str, time: EventTime) -> Vec<String> {
        let (Some(parts), Some(portrait)) = (arn_parts(arn), self.keys.get(arn)) else { return Vec::new() };
        let place = format!("{}:{}", parts.region, parts.account);
        let stands = |alias: &&String| self.key_of_alias(&place, alias, time).is_some_and(|key| key == arn);
        portrait.aliases.iter().filter(stands).cloned().collect()
    }

    /// The grant that allows a call on a key, the oldest of several.
    #[must_use]
    pub fn granting(&self, arn: &str, call: &Call<'_>) -> Option<&Grant> {
        self.keys.get(arn)?.granting(call)
    }

    /// Keys held, and parts given up at a limit.
    #[must_use]
    pub fn held(&self) -> (usize, u64) {
        (self.keys.len(), self.forgotten)
    }

    fn portrait(&mut self, arn: &str) -> &mut Portrait {
        if !self.keys.contains_key(arn) {
            self.keys.insert(arn.to_owned(), Portrait::default());
        }
        self.keys.entry(arn.to_owned()).or_default()
    }

    fn change(&mut self, key: String, change: impl FnOnce(&mut Portrait)) {
        change(self.portrait(&key));
        self.dirty.insert(Part::Key(key));
    }

    fn grant_changed(&mut self, key: String, id: String, forgotten: Vec<String>) {
        for other in forgotten {
            self.forgotten += 1;
            self.dirty.insert(Part::Grant(key.clone(), other));
        }
        self.dirty.insert(Part::Grant(key, id));
    }

    fn put_alias(&mut self, stamp: Stamp, place: String, alias: String, key: Option<String>) {
        if let Some(key) = &key
            && self.portrait(key).aliases.insert(alias.clone())
        {
            self.dirty.insert(Part::Key(key.clone()));
        }
        let keep = self.limits.max_versions;
        let versions = self.aliases.entry((place.clone(), alias.clone())).or_default();
        if versions.put(stamp, key, keep) {
            self.dirty.insert(Part::Alias(place, alias));
        }
    }

    /// Beyond the limits the keys go of which the last thing happened longest ago: a few at a time,
    /// since finding them means looking at all.
    fn keep_limits(&mut self) {
        if self.keys.len() > self.limits.max_keys {
            let ages = self.keys.iter().map(|(arn, portrait)| (portrait.last(), arn.clone()));
            for arn in oldest(ages, self.keys.len() - self.limits.max_keys) {
                let Some(portrait) = self.keys.remove(&arn) else { continue };
                self.forgotten += 1;
                self.dirty.extend(portrait.grants().map(|(id, _)| Part::Grant(arn.clone(), id.to_owned())));
                self.dirty.extend(portrait.users().map(|(who, _)| Part::User(arn.clone(), who.to_owned())));
                self.dirty.insert(Part::Key(arn));
            }
        }
        if self.aliases.len() > self.limits.max_aliases {
            let latest = |versions: &Versions<_>| versions.latest().map(|(stamp, _)| stamp.clone());
            let ages = self.aliases.iter().map(|(name, versions)| (latest(versions), name.clone()));
            for name in oldest(ages, self.aliases.len() - self.limits.max_aliases) {
                self.aliases.remove(&name);
                self.forgotten += 1;
                self.dirty.insert(Part::Alias(name.0, name.1));
            }
        }
    }
}

/// The oldest of some, at least `least` and a part of all beside.
fn oldest<A: Ord, T: Ord>(ages: impl Iterator<Item = (A, T)>, least: usize) -> Vec<T> {
    let mut ages: Vec<_> = ages.collect();
    ages.sort_unstable();
    let count = least + ages.len() / 256;
    ages.into_iter().take(count).map(|(_, one)| one).collect()
}
