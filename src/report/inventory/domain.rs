//! Which domain a key is proposed for, and by which names the inventory may know it.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use super::yaml::quoted;
use crate::event::key::arn_parts;
use crate::keys::pattern::NamePattern;
use crate::keys::snapshot::KeyFacts;

/// What makes a domain; without either each key is one, named after its alias.
#[derive(Clone, Debug, Default)]
pub struct DomainBy {
    /// The tag whose value names it.
    pub tag: Option<String>,
    /// Patterns over aliases and the domain of those that fit; the first counts.
    pub aliases: Vec<(NamePattern, String)>,
}

impl DomainBy {
    /// The domain that tags or aliases name.
    pub(super) fn choose(&self, facts: &KeyFacts) -> Option<String> {
        let by_tag = self.tag.as_ref().and_then(|tag| facts.tags.get(tag)).map(|value| value.trim());
        let by_tag = by_tag.filter(|value| !value.is_empty()).map(str::to_owned);
        let fits = |pattern: &NamePattern| facts.aliases.iter().any(|alias| pattern.matches(alias));
        by_tag.or_else(|| self.aliases.iter().find(|(pattern, _)| fits(pattern)).map(|(_, domain)| domain.clone()))
    }
}

/// The domain of each key, in the order of the keys.
pub(super) fn assign(keys: &[Key]) -> Vec<String> {
    let mut accounts_of: BTreeMap<&str, BTreeSet<&Option<String>>> = BTreeMap::new();
    for key in keys.iter().filter(|key| key.domain.is_none()) {
        if let Some(alias) = key.aliases.first() {
            accounts_of.entry(alias).or_default().insert(&key.account);
        }
    }
    // A multi-Region key and its replicas are one key; so is whatever has the same id.
    let mut by_id: BTreeMap<String, String> = BTreeMap::new();
    let mut of = |key: &Key| {
        let named = key.domain.clone().unwrap_or_else(|| match key.aliases.first() {
            Some(alias) => {
                let plain = alias.strip_prefix("alias/").unwrap_or(alias);
                let is_shared = accounts_of.get(alias.as_str()).is_some_and(|accounts| accounts.len() > 1);
                match key.account.as_ref().filter(|_| is_shared) {
                    Some(account) => format!("{plain}-{account}"),
                    None => plain.to_owned(),
                }
            }
            None => format!("key-{}", key.id.as_deref().unwrap_or(&key.name)),
        });
        match &key.id {
            Some(id) => by_id.entry(id.clone()).or_insert(named).clone(),
            None => named,
        }
    };
    // Those that somebody named first: their word counts for the replicas too.
    let mut domains: Vec<Option<String>> = keys.iter().map(|key| key.domain.is_some().then(|| of(key))).collect();
    for (key, domain) in keys.iter().zip(&mut domains) {
        if domain.is_none() {
            *domain = Some(of(key));
        }
    }
    domains.into_iter().flatten().collect()
}

/// Which alias means keys of one domain only.
pub(super) struct Aliases<'k> {
    domains: BTreeMap<&'k str, BTreeSet<&'k str>>,
    of_account: BTreeMap<(&'k str, &'k str), BTreeSet<&'k str>>,
}

impl<'k> Aliases<'k> {
    /// Reads the aliases of all keys, each with its domain.
    pub fn of(keys: &'k [Key], domains: &'k [String]) -> Self {
        let mut aliases = Self { domains: BTreeMap::new(), of_account: BTreeMap::new() };
        for (key, domain) in keys.iter().zip(domains) {
            let Some(alias) = key.aliases.first() else { continue };
            aliases.domains.entry(alias).or_default().insert(domain);
            if let Some(account) = &key.account {
                aliases.of_account.entry((account, alias)).or_default().insert(domain);
            }
        }
        aliases
    }

    /// A key as the inventory has it, and the aliases that it has beside.
    pub fn entry(&self, key: &Key) -> (String, Vec<String>) {
        let mut rest: Vec<String> = key.aliases.iter().skip(1).cloned().collect();
        let Some(alias) = key.aliases.first() else { return (quoted(&key.name), rest) };
        if *alias == key.name || key.name.ends_with(&format!(":{alias}")) {
            return (quoted(&key.name), rest);
        }
        let kind = if arn_parts(&key.name).is_some() { "arn" } else { "id" };
        let alone = |domains: Option<&BTreeSet<&str>>| domains.is_some_and(|domains| domains.len() == 1);
        let of_account = key.account.as_ref().filter(|account| alone(self.of_account.get(&(account, alias))));
        let known_as = match (alone(self.domains.get(alias.as_str())), of_account, arn_parts(&key.name)) {
            (true, _, _) => alias.clone(),
            (false, Some(account), Some(parts)) => {
                let partition = key.name.split(':').nth(1).unwrap_or("aws");
                format!("arn:{partition}:kms:{}:{account}:{alias}", parts.region)
            }
            _ => {
                rest.insert(0, alias.clone());
                return (quoted(&key.name), rest);
            }
        };
        (format!("{{alias: {}, {kind}: {}}}", quoted(&known_as), quoted(&key.name)), rest)
    }
}
