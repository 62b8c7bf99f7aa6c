//! From history to a proposal: which keys form a domain, and who is expected to use them how.
//!
//! A line of expected use holds for every key of its domain, so a key joins others only where that
//! widens nothing: the same principals do the same things with each of them, by the same services.
//! One domain too many costs a person a minute; one too few hides a use.

use std::collections::{BTreeMap, BTreeSet};

use super::bounded::Merge as _;
use super::history::{Attempt, History, PairHistory, Pointed};
use super::line::{Line, Ways, lines};
use super::support::Support;
use crate::event::key::arn_parts;

/// How much it takes to expect something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// On so many days a thing must have been seen to be a habit; two that are about a week apart
    /// are enough as well.
    pub least_days: usize,
    /// After so many weeks hours and days of the week are proposed; 0 means never. Less than four
    /// have no end of a month in them.
    pub schedule_weeks: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { least_days: 3, schedule_weeks: 4 }
    }
}

/// A proposed inventory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposal {
    /// By name.
    pub domains: Vec<ProposedDomain>,
    /// What it was made of.
    pub support: Support,
    /// Attempts that were refused on keys that nobody used.
    pub denied: Refused,
    /// No key that was used is missing.
    pub has_every_key: bool,
    /// What did not fit, in words.
    pub left_out: Vec<String>,
}

/// A proposed domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProposedDomain {
    /// Unique.
    pub name: String,
    /// Its keys.
    pub keys: Vec<ProposedKey>,
    /// What is expected.
    pub lines: Vec<Line>,
    /// What was seen too seldom to be expected.
    pub review: Vec<Line>,
    /// Attempts on its keys that were refused, by principal and operation.
    pub denied: Refused,
}

/// Attempts that were refused, by principal and operation.
pub type Refused = BTreeMap<(String, String), Support>;

/// A key of a domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProposedKey {
    /// Its names: ARNs (several of a multi-Region key), else an id or alias.
    pub names: Vec<String>,
    /// Its alias, when no other key of the inventory has the same.
    pub alias: Option<String>,
    /// Aliases that several keys have, in other accounts or Regions.
    pub shared_aliases: Vec<String>,
    /// All its uses.
    pub support: Support,
}

/// A key while it is being put into a domain.
#[derive(Debug, Default)]
struct Key {
    names: BTreeSet<String>,
    aliases: BTreeSet<String>,
    users: BTreeMap<String, PairHistory>,
}

/// What a key is used for, as far as that decides with which others it forms a domain.
type Profile = BTreeSet<(String, String, String)>;

/// A key with its name.
type Member<'k> = (&'k String, &'k Key);

/// Makes a proposal.
#[must_use]
pub fn propose(history: &History, options: Options) -> Proposal {
    let mut keys = keys_of(history);
    let namesakes = take_namesakes(&mut keys);
    let owners = aliases_of(&keys);
    // By what they are used for; a key that stands alone has its name beside that.
    let mut clusters: BTreeMap<(Profile, Option<String>), Vec<Member<'_>>> = BTreeMap::new();
    for (name, key) in &keys {
        let profile = profile_of(key, options);
        // Of what AWS itself does for everybody nothing follows about the data.
        let is_somebodys = profile.iter().any(|(principal, ..)| !principal.starts_with("service:"));
        let alone = (!is_somebodys).then(|| name.clone());
        clusters.entry((profile, alone)).or_default().push((name, key));
    }
    let mut domains: Vec<_> =
        clusters.into_values().map(|members| domain_of(&members, &owners, history, options)).collect();
    domains.sort_by(|a, b| first_name(a).cmp(&first_name(b)));
    name_all(&mut domains);
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    let mut left_out = left_out(history);
    let has_every_key = !history.pairs.is_partial() && namesakes.is_empty();
    left_out.extend(namesakes.into_iter().map(|name| format!("the key {name}: another one has its id")));
    let known: BTreeSet<&String> = keys.values().flat_map(|key| &key.names).collect();
    let denied = refused(history, |key| !known.contains(key));
    Proposal { domains, support: history.support.clone(), denied, has_every_key, left_out }
}

fn first_name(domain: &ProposedDomain) -> Option<&String> {
    domain.keys.first().and_then(|key| key.names.first())
}

/// Keys by what makes them the same: a multi-Region key is one, a bare id is the key that has it.
fn keys_of(history: &History) -> BTreeMap<String, Key> {
    let mut by_id: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (pair, _) in history.pairs.iter() {
        if let Some((_, id)) = arn_parts(&pair.key).and_then(|parts| parts.resource.split_once('/')) {
            by_id.entry(id).or_default().insert(&pair.key);
        }
    }
    let arn_of = |name: &str| {
        let found = by_id.get(name).filter(|arns| arns.len() == 1).and_then(BTreeSet::first);
        found.map_or_else(|| name.to_owned(), |arn| (*arn).to_owned())
    };
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    for (pair, seen) in history.pairs.iter() {
        let name = arn_of(&pair.key);
        let parts = arn_parts(&name);
        let replicated = parts.and_then(|parts| Some((parts.account, parts.resource.strip_prefix("key/mrk-")?)));
        let same = replicated.map_or_else(|| name.clone(), |(account, id)| format!("mrk {account} {id}"));
        let key = keys.entry(same).or_default();
        key.names.insert(name);
        key.users.entry(pair.principal.clone()).or_default().merge(seen.clone());
    }
    let mut key_of: BTreeMap<String, String> = BTreeMap::new();
    for (same, key) in &keys {
        key_of.extend(key.names.iter().map(|name| (name.clone(), same.clone())));
    }
    for (place, Pointed { key, .. }) in history.aliases.iter() {
        let alias = place.splitn(3, ' ').nth(2).unwrap_or_default();
        if let Some(key) = key_of.get(key).and_then(|same| keys.get_mut(same)) {
            key.aliases.insert(alias.to_owned());
        }
    }
    keys
}

/// An inventory knows keys by their id as well, so of those that have the same one only the first can
/// be in it. Ids are unique, but not in captures that were made anonymous.
fn take_namesakes(keys: &mut BTreeMap<String, Key>) -> Vec<String> {
    let id_of = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    let mut others = Vec::new();
    for (same, key) in keys.iter() {
        let is_taken = |id: &String| ids.get(id).is_some_and(|owner| owner != same);
        if key.names.iter().map(|name| id_of(name)).any(|id| is_taken(&id)) {
            others.push(same.clone());
        } else {
            ids.extend(key.names.iter().map(|name| (id_of(name), same.clone())));
        }
    }
    others.iter().for_each(|same| drop(keys.remove(same)));
    others
}

/// By alias: how many keys have it.
fn aliases_of(keys: &BTreeMap<String, Key>) -> BTreeMap<&str, usize> {
    let mut owners = BTreeMap::new();
    for alias in keys.values().flat_map(|key| &key.aliases) {
        *owners.entry(alias.as_str()).or_default() += 1;
    }
    owners
}

fn profile_of(key: &Key, options: Options) -> Profile {
    let mut profile = Profile::new();
    for (principal, seen) in &key.users {
        for ((operation, via), support) in Ways::of(seen).by_operation() {
            if support.is_habit(options.least_days) {
                profile.insert((principal.clone(), operation, via));
            }
        }
    }
    profile
}

fn domain_of(
    members: &[Member<'_>],
    owners: &BTreeMap<&str, usize>,
    history: &History,
    options: Options,
) -> ProposedDomain {
    let mut domain = ProposedDomain::default();
    let mut users: BTreeMap<&String, PairHistory> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (_, key) in members {
        let mut support = Support::default();
        for (principal, seen) in &key.users {
            support.merge(seen.support.clone());
            users.entry(principal).or_default().merge(seen.clone());
        }
        let (own, shared): (Vec<_>, Vec<_>) =
            key.aliases.iter().cloned().partition(|alias| owners.get(alias.as_str()) == Some(&1));
        names.extend(key.names.iter().cloned());
        domain.keys.push(ProposedKey {
            names: key.names.iter().cloned().collect(),
            alias: own.into_iter().next(),
            shared_aliases: shared,
            support,
        });
    }
    for (principal, seen) in users {
        let made = lines(principal, &seen, options);
        domain.lines.extend(made.expected);
        domain.review.extend(made.review);
    }
    domain.keys.sort_by(|a, b| (&a.alias, &a.names).cmp(&(&b.alias, &b.names)));
    domain.denied = refused(history, |key| names.contains(key));
    domain
}

fn refused(history: &History, is_meant: impl Fn(&String) -> bool) -> Refused {
    let mut found = Refused::new();
    for (Attempt { key, principal, operation }, support) in history.denied.iter() {
        if is_meant(key) {
            found.entry((principal.clone(), operation.clone())).or_default().merge(support.clone());
        }
    }
    found
}

/// Names the domains, in their order: by what their aliases have in common, if that is theirs alone,
/// else by the one role that uses them or the first alias, else by number.
fn name_all(domains: &mut [ProposedDomain]) {
    let all: Vec<Vec<Vec<String>>> =
        domains.iter().map(|domain| domain.keys.iter().filter_map(words).collect()).collect();
    let mut taken = BTreeSet::new();
    let mut number = 0;
    for (at, domain) in domains.iter_mut().enumerate() {
        let own = all.get(at).map(Vec::as_slice).unwrap_or_default();
        let others = all.iter().enumerate().filter(|(other, _)| *other != at).flat_map(|(_, aliases)| aliases);
        let shared = in_common(own);
        let is_theirs = others.into_iter().all(|alias| !alias.starts_with(&shared));
        let by_aliases = if is_theirs { name_of(&shared) } else { None };
        let first = || own.iter().min().and_then(|alias| name_of(alias));
        let name = by_aliases.or_else(|| by_role(domain)).or_else(first).unwrap_or_else(|| {
            number += 1;
            format!("domain-{number}")
        });
        let mut variants = std::iter::once(name.clone()).chain((2_u32..).map(|more| format!("{name}-{more}")));
        if let Some(free) = variants.find(|variant| !taken.contains(variant)) {
            taken.insert(free.clone());
            domain.name = free;
        }
    }
}

/// The words of a key's alias; `key` at its end says nothing.
fn words(key: &ProposedKey) -> Option<Vec<String>> {
    let alias = key.alias.as_ref().or_else(|| key.shared_aliases.first())?;
    let name = alias.strip_prefix("alias/").unwrap_or(alias).replace(['/', '_'], "-");
    let mut words: Vec<_> = name.split('-').filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    if words.len() > 1 && words.last().is_some_and(|word| word == "key") {
        words.pop();
    }
    Some(words)
}

fn in_common(aliases: &[Vec<String>]) -> Vec<String> {
    let Some((first, rest)) = aliases.split_first() else { return Vec::new() };
    let mut shared = first.clone();
    for alias in rest {
        let same = shared.iter().zip(alias).take_while(|(one, other)| one == other).count();
        shared.truncate(same);
    }
    shared
}

fn name_of(words: &[String]) -> Option<String> {
    let name = words.join("-");
    (name.len() >= 3 && is_name(&name)).then_some(name)
}

fn by_role(domain: &ProposedDomain) -> Option<String> {
    let principals: BTreeSet<&str> = domain.lines.iter().map(|line| line.principal.as_str()).collect();
    let mut people = principals.into_iter().filter(|principal| !principal.starts_with("service:"));
    let (Some(principal), None) = (people.next(), people.next()) else { return None };
    let name = arn_parts(principal)?.resource.rsplit('/').next()?.to_ascii_lowercase();
    is_name(&name).then_some(name)
}

fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn left_out(history: &History) -> Vec<String> {
    let ways = history.pairs.iter().filter(|(_, seen)| seen.ways.is_partial()).count();
    let told = [
        (history.pairs.is_partial(), format!("pairs of key and principal: only {} are in here", history.pairs.len())),
        (history.denied.is_partial(), format!("denied attempts: only {} are in here", history.denied.len())),
        (history.aliases.is_partial(), format!("aliases: only {} are in here", history.aliases.len())),
        (ways > 0, format!("ways of using a key: {ways} pairs of key and principal have more than fit")),
    ];
    told.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect()
}
