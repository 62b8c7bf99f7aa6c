//! KEY as an auditor types it, and what it is taken to mean.
//!
//! ARN, key id (also of a multi-Region key: then in every Region), alias, alias ARN, or `domain:NAME`.
//! An alias means what it stood for at the time of each record, and whatever key the inventory gives
//! with it, at all times. Evidence leans to showing more: each row names its key.
//!
//! Invariant: a KEY that no record and no inventory knows is refused. Otherwise a slip of the finger
//! would read as "nobody".

use std::collections::BTreeSet;

use super::history::{AliasName, History, KeyName};
use crate::event::key::{KeyRef, arn_parts};
use crate::keys::inventory::{Domain, Inventory};
use crate::time::EventTime;

/// A KEY, read but not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A key's ARN.
    Arn(KeyName),
    /// A key id, wherever.
    Id(String),
    /// An alias, at one place or wherever.
    Alias {
        /// `REGION:ACCOUNT`.
        place: Option<String>,
        /// `alias/...`.
        alias: String,
    },
    /// A domain of the inventory.
    Domain(String),
}

impl Typed {
    /// Reads a KEY.
    ///
    /// # Errors
    /// When it has none of the forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("domain:") {
            return Ok(Self::Domain(name.to_owned()));
        }
        let wrong = || {
            format!(
                "'{text}' names no key; write its ARN, its id, alias/NAME, the ARN of an alias, or domain:NAME of the inventory"
            )
        };
        let key = KeyRef::parse(text).ok_or_else(wrong)?;
        if let Some(arn) = &key.arn {
            return KeyName::from_arn(arn).map(Self::Arn).ok_or_else(wrong);
        }
        if let Some(alias) = key.alias {
            let place = arn_parts(text).map(|parts| format!("{}:{}", parts.region, parts.account));
            return Ok(Self::Alias { place, alias });
        }
        // Ids have a hyphen (`mrk-...`, UUID); a bare word is an alias without its prefix, or a slip.
        key.id.filter(|id| id.contains('-')).map(Self::Id).ok_or_else(wrong)
    }
}

/// One KEY with what it is taken to mean.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As typed.
    pub text: String,
    /// Read.
    pub typed: Typed,
    /// Keys that the inventory gives for an alias.
    pub listed: BTreeSet<KeyName>,
}

/// The keys asked for; none asked for means all.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// In the order typed.
    pub asked: Vec<Asked>,
}

/// What of a record a KEY is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The key, as far as it can be told.
    pub name: Option<&'a KeyName>,
    /// The alias that the record names.
    pub alias: Option<&'a str>,
    /// Where the record was written.
    pub place: &'a str,
    /// Domain of the key.
    pub domain: Option<&'a Domain>,
    /// When.
    pub time: EventTime,
}

impl Target {
    /// Reads what was typed.
    ///
    /// # Errors
    /// The first KEY that names none, or a domain that the inventory does not have.
    pub fn parse(texts: &[String], inventory: &Inventory) -> Result<Self, String> {
        let mut asked = Vec::new();
        for text in texts {
            let typed = Typed::parse(text)?;
            if let Typed::Domain(name) = &typed {
                known_domain(name, inventory)?;
            }
            let listed = match &typed {
                Typed::Alias { place, alias } => inventory
                    .arns_of(alias)
                    .into_iter()
                    .filter_map(KeyName::from_arn)
                    .filter(|name| place.as_ref().is_none_or(|place| *place == name.place))
                    .collect(),
                _ => BTreeSet::new(),
            };
            asked.push(Asked { text: text.clone(), typed, listed });
        }
        Ok(Self { asked })
    }

    /// Whether every key is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether a use is of a key that was asked for.
    #[must_use]
    pub fn fits(&self, named: Named<'_>, history: &History) -> bool {
        self.is_everything() || self.asked.iter().any(|asked| asked.fits(named, history))
    }

    /// What each KEY is taken to mean, a line each or more.
    ///
    /// # Errors
    /// The first KEY that fits nothing seen, with near names.
    pub fn understood(&self, history: &History, inventory: &Inventory) -> Result<Vec<String>, String> {
        self.asked
            .iter()
            .map(|asked| asked.understood(history, inventory))
            .collect::<Result<Vec<_>, _>>()
            .map(|lines| lines.concat())
    }
}

fn known_domain(name: &str, inventory: &Inventory) -> Result<(), String> {
    if inventory.domains.iter().any(|domain| domain.name == name) {
        return Ok(());
    }
    let near = nearest(name, inventory.domains.iter().map(|domain| domain.name.clone()));
    Err(match near.as_slice() {
        [] => format!("domain:{name}: no domain is known; give the inventory with --keys"),
        near => format!("domain:{name}: the inventory has no such domain; near: {}", near.join(", ")),
    })
}

/// The few names nearest to a text.
fn nearest(text: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    const MAX_COMPARED: usize = 20_000;
    let distance = |name: &String| strsim::damerau_levenshtein(name, text);
    let mut near: Vec<_> = names.take(MAX_COMPARED).map(|name| (distance(&name), name)).collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

impl Asked {
    fn fits(&self, named: Named<'_>, history: &History) -> bool {
        match &self.typed {
            Typed::Arn(wanted) => named.name == Some(wanted),
            Typed::Id(id) => named.name.is_some_and(|name| name.id == *id),
            Typed::Domain(wanted) => named.domain.is_some_and(|domain| domain.name == *wanted),
            Typed::Alias { place, alias } => {
                let here = named.name.map_or(named.place, |name| name.place.as_str());
                let is_here = place.as_deref().is_none_or(|place| place == here);
                let stood = || {
                    let name = (here.to_owned(), alias.clone());
                    history.key_of_alias(&name, named.time).and_then(KeyName::from_arn)
                };
                let is_listed = named.name.is_some_and(|name| self.listed.contains(name));
                is_listed
                    || is_here
                        && (named.alias == Some(alias) || named.name.is_some_and(|name| stood().as_ref() == Some(name)))
            }
        }
    }

    fn understood(&self, history: &History, inventory: &Inventory) -> Result<Vec<String>, String> {
        let text = &self.text;
        match &self.typed {
            Typed::Domain(name) => {
                let domain = inventory.domains.iter().find(|domain| domain.name == *name);
                let keys = domain.map(|domain| domain.key_names.join(", ")).filter(|keys| !keys.is_empty());
                Ok(vec![format!("{text}: {}", keys.as_deref().unwrap_or("keys by their tags"))])
            }
            Typed::Arn(wanted) => {
                let listed =
                    || inventory.arns_of(text).iter().any(|arn| KeyName::from_arn(arn).as_ref() == Some(wanted));
                if history.names.contains(wanted) {
                    Ok(vec![format!("{text}: this key")])
                } else if listed() {
                    Ok(vec![format!("{text}: a key of the inventory; no record read names it")])
                } else {
                    self.refuse(history, KeyName::arn)
                }
            }
            Typed::Id(id) => {
                let listed = inventory.arns_of(id).into_iter().filter_map(KeyName::from_arn);
                let seen = history.names.iter().filter(|name| name.id == *id).cloned();
                let places: BTreeSet<String> = seen.chain(listed).map(|name| name.place).collect();
                if places.is_empty() {
                    return self.refuse(history, |name| name.id.clone());
                }
                Ok(vec![format!("{text}: the key of that id in {}", list(places.into_iter()))])
            }
            Typed::Alias { place, alias } => {
                let here = |name: &&AliasName| name.1 == *alias && place.as_ref().is_none_or(|place| *place == name.0);
                let seen: Vec<_> = history.alias_names.iter().filter(here).collect();
                if seen.is_empty() && self.listed.is_empty() {
                    let near = nearest(
                        alias,
                        history
                            .alias_names
                            .iter()
                            .map(|(_, alias)| alias.clone())
                            .chain(inventory.domains.iter().flat_map(|domain| domain.key_names.clone())),
                    );
                    return Err(refusal(text, &near));
                }
                let mut lines: Vec<String> = Vec::new();
                if !self.listed.is_empty() {
                    let keys = self.listed.iter().map(|name| format!("key/{} in {}", name.id, name.place));
                    lines.push(format!("{text}: by the inventory, at all times, {}", list(keys)));
                }
                lines.extend(seen.into_iter().map(|name| standing(text, name, history)));
                Ok(lines)
            }
        }
    }

    fn refuse(&self, history: &History, spell: impl Fn(&KeyName) -> String) -> Result<Vec<String>, String> {
        Err(refusal(&self.text, &nearest(&self.text, history.names.iter().map(spell))))
    }
}

fn refusal(text: &str, near: &[String]) -> String {
    let near = if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) };
    format!("{text}: no record read names it, and no inventory given knows it{near}")
}

fn list(items: impl Iterator<Item = String>) -> String {
    const MAX_LISTED: usize = 8;
    let all: Vec<_> = items.collect();
    let more = all.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    all.into_iter().take(MAX_LISTED).collect::<Vec<_>>().join(", ") + &more
}

/// What an alias stood for over time.
fn standing(text: &str, alias: &AliasName, history: &History) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut before: Option<Option<&str>> = None;
    for (stamp, version) in history.versions(alias) {
        let key = version.key.as_deref();
        if before == Some(key) {
            continue;
        }
        let what = key.map_or("no key".to_owned(), |arn| {
            KeyName::from_arn(arn).map_or_else(|| arn.to_owned(), |name| format!("key/{}", name.id))
        });
        said.push(match (before, version.is_change) {
            (None, false) => what,
            (None, true) => format!("unknown before {0}, {what} from {0}", stamp.time),
            (Some(_), true) => format!("{what} from {}", stamp.time),
            (Some(_), false) => format!("{what} from {} or before, found in use", stamp.time),
        });
        before = Some(key);
    }
    let said =
        if said.is_empty() { "which key it stood for, no record tells".to_owned() } else { list(said.into_iter()) };
    format!("{text} in {}: {said}", alias.0)
}
