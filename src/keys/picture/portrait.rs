//! What is known of one key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Used;
use super::change::About;
use super::grant::Grant;
use super::version::{Stamp, Versions};
use crate::keys::expect::Call;
use crate::keys::snapshot::{GrantFacts, KeyFacts, Rotation};
use crate::time::{EventTime, Span};

/// A policy and who put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyText {
    /// The text.
    pub text: Arc<str>,
    /// Canonical principal; a snapshot does not know.
    pub by: Option<String>,
}

/// KeyState of the API, or `Deleted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// When KMS deletes the key.
    pub deletion: Option<EventTime>,
}

/// Who uses a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// First use seen.
    pub first: EventTime,
    /// Last use seen; after a restart it may be an hour behind.
    pub last: EventTime,
    /// Operations.
    pub operations: BTreeSet<String>,
}

/// An incident that touched a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Told {
    /// Event time of the latest record in it.
    pub time: EventTime,
    /// Stable id.
    pub id: String,
    /// Level and title of the rule.
    pub title: String,
}

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portrait {
    /// What never changes.
    pub about: About,
    /// Its description, by the last snapshot.
    pub description: Option<String>,
    /// `CUSTOMER` or `AWS`.
    pub manager: Option<String>,
    /// Key policies.
    pub policy: Versions<PolicyText>,
    /// States.
    pub state: Versions<State>,
    /// Automatic rotation.
    pub rotation: Versions<Rotation>,
    /// Every alias that ever stood for it; whether it does is the alias's matter.
    pub aliases: BTreeSet<String>,
    tags: BTreeMap<String, Versions<Option<String>>>,
    incidents: BTreeSet<Told>,
    /// When a snapshot last told of it.
    pub as_of: Option<EventTime>,
    #[serde(skip)]
    grants: BTreeMap<String, Grant>,
    /// Grants by grantee, so that one use need not look at all of 50,000.
    #[serde(skip)]
    by_grantee: BTreeMap<String, BTreeSet<String>>,
    #[serde(skip)]
    users: BTreeMap<String, User>,
}

/// Incidents kept of a key.
const MAX_INCIDENTS: usize = 10;
/// Tags that ever were on a key.
const MAX_TAGS: usize = 200;
/// Operations noted of a user.
const MAX_OPERATIONS: usize = 24;

impl Portrait {
    /// The tags at an instant.
    #[must_use]
    pub fn tags_at(&self, time: EventTime) -> BTreeMap<String, String> {
        let at =
            |(name, versions): (&String, &Versions<Option<String>>)| Some((name.clone(), versions.at(time)?.clone()?));
        self.tags.iter().filter_map(at).collect()
    }

    /// Grants, by id.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &Grant)> {
        self.grants.iter().map(|(id, grant)| (id.as_str(), grant))
    }

    /// Users, by canonical principal.
    pub fn users(&self) -> impl Iterator<Item = (&str, &User)> {
        self.users.iter().map(|(principal, user)| (principal.as_str(), user))
    }

    /// The last incidents, latest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Told> {
        self.incidents.iter().rev()
    }

    /// The grant that allows a call, the oldest of several.
    #[must_use]
    pub fn granting(&self, call: &Call<'_>) -> Option<&Grant> {
        let account = call.account().map(|account| (account.to_owned(), format!("arn:aws:iam::{account}:root")));
        let names = account.iter().flat_map(|(bare, root)| [bare.as_str(), root.as_str()]);
        let names = std::iter::once(call.principal()).chain(names);
        let ids = names.filter_map(|name| self.by_grantee.get(name)).flatten();
        let grants = ids.filter_map(|id| self.grants.get(id)).filter(|grant| grant.allows(call));
        grants.min_by_key(|grant| grant.facts.as_ref().map(|facts| (facts.created, facts.id.clone())))
    }

    pub(super) fn tag(&mut self, stamp: Stamp, name: String, value: Option<String>, keep: usize) {
        if self.tags.len() < MAX_TAGS || self.tags.contains_key(&name) {
            self.tags.entry(name).or_default().put(stamp, value, keep);
        }
    }

    /// Changes a grant; returns which were forgotten for it: the ended first, then the oldest.
    pub(super) fn grant(&mut self, id: &str, change: impl FnOnce(&mut Grant), max: usize) -> Vec<String> {
        let grant = self.grants.entry(id.to_owned()).or_default();
        change(grant);
        if let Some(facts) = &grant.facts {
            self.by_grantee.entry(facts.grantee.clone()).or_default().insert(id.to_owned());
        }
        let mut forgotten = Vec::new();
        while self.grants.len() > max {
            let oldest = self.grants.iter().min_by_key(|(_, grant)| (grant.end.is_none(), grant.last()));
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { break };
            self.forget_grant(&id);
            forgotten.push(id);
        }
        forgotten
    }

    fn forget_grant(&mut self, id: &str) {
        let facts = self.grants.remove(id).and_then(|grant| grant.facts);
        let Some(facts) = facts else { return };
        if let Some(ids) = self.by_grantee.get_mut(&facts.grantee) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_grantee.remove(&facts.grantee);
            }
        }
    }

    /// Notes a use; whether its row should be written, and who was forgotten for it.
    pub(super) fn note_use(&mut self, used: &Used, step: Span, max: usize) -> (bool, Vec<String>) {
        let (time, name) = (used.time, &used.operation);
        let is_news = match self.users.get_mut(&used.principal) {
            None => {
                let operations = BTreeSet::from([name.clone()]);
                self.users.insert(used.principal.clone(), User { first: time, last: time, operations });
                true
            }
            Some(user) => {
                // In steps, so that the row is what memory says whatever the order of arrival.
                let hour = |time: EventTime| time.as_millis().div_euclid(step.as_millis().max(1) as i64);
                let is_news = time < user.first || hour(time) > hour(user.last);
                user.first = user.first.min(time);
                user.last = user.last.max(time);
                let is_new_operation = !user.operations.contains(name) && user.operations.len() < MAX_OPERATIONS;
                if is_new_operation {
                    user.operations.insert(name.clone());
                }
                is_news || is_new_operation
            }
        };
        let mut forgotten = Vec::new();
        while self.users.len() > max {
            let oldest = self.users.iter().min_by_key(|(_, user)| user.last).map(|(who, _)| who.clone());
            let Some(who) = oldest else { break };
            self.users.remove(&who);
            forgotten.push(who);
        }
        (is_news, forgotten)
    }

    pub(super) fn note_incident(&mut self, told: Told) {
        self.incidents.retain(|known| known.id != told.id || known.time > told.time);
        if !self.incidents.iter().any(|known| known.id == told.id) {
            self.incidents.insert(told);
        }
        while self.incidents.len() > MAX_INCIDENTS {
            self.incidents.pop_first();
        }
    }

    /// Takes over a snapshot; returns the ids of the grants that changed.
    pub(super) fn take_snapshot(&mut self, facts: &KeyFacts, stamp: &Stamp, keep: usize) -> Vec<String> {
        let knows = |what: &str| !facts.unknown.contains_key(what);
        self.as_of = self.as_of.max(Some(facts.as_of));
        if knows("description") {
            let primary = facts.multi_region.as_ref().map(|siblings| siblings.primary.clone());
            self.about = About {
                spec: facts.spec.clone(),
                usage: facts.usage.clone(),
                origin: facts.origin.clone(),
                created: facts.created,
                primary,
            };
            self.description = Some(facts.description.clone()).filter(|text| !text.is_empty());
            self.manager.clone_from(&facts.manager);
        }
        if let Some(text) = &facts.policy
            && self.policy.at(facts.as_of).is_none_or(|known| *known.text != **text)
        {
            self.policy.put(stamp.clone(), PolicyText { text: text.as_str().into(), by: None }, keep);
        }
        if let Some(name) = &facts.state {
            self.state.put(stamp.clone(), State { name: name.clone(), deletion: facts.deletion }, keep);
        }
        if let Some(rotation) = facts.rotation {
            self.rotation.put(stamp.clone(), rotation, keep);
        }
        if knows("tags") {
            let known: Vec<String> = self.tags.keys().filter(|name| !facts.tags.contains_key(*name)).cloned().collect();
            known.into_iter().for_each(|name| self.tag(stamp.clone(), name, None, keep));
            for (name, value) in &facts.tags {
                self.tag(stamp.clone(), name.clone(), Some(value.clone()), keep);
            }
        }
        if knows("grants") { self.take_grants(&facts.grants, facts.as_of) } else { Vec::new() }
    }

    /// A grant that KMS does not list is gone, unless it is younger than the list: grants show up
    /// within minutes (aws-facts 3).
    fn take_grants(&mut self, listed: &[GrantFacts], as_of: EventTime) -> Vec<String> {
        const SETTLED: Span = Span::from_secs(900);
        let mut changed = Vec::new();
        let ids: BTreeSet<&str> = listed.iter().map(|facts| facts.id.as_str()).collect();
        for (id, grant) in &mut self.grants {
            let settled =
                grant.facts.as_ref().and_then(|facts| facts.created).is_none_or(|made| made + SETTLED < as_of);
            if grant.end.is_none() && settled && !ids.contains(id.as_str()) {
                grant.ended(as_of, "not listed by KMS any more".to_owned());
                changed.push(id.clone());
            }
        }
        for facts in listed {
            let known = self.grants.get(&facts.id).cloned();
            self.grant(&facts.id, |grant| grant.made(facts.clone()), usize::MAX);
            if self.grants.get(&facts.id) != known.as_ref() {
                changed.push(facts.id.clone());
            }
        }
        changed
    }

    /// When the last thing happened to it.
    pub(super) fn last(&self) -> EventTime {
        let stamps = [
            self.policy.latest().map(|(stamp, _)| stamp.time),
            self.state.latest().map(|(stamp, _)| stamp.time),
            self.users.values().map(|user| user.last).max(),
            self.grants.values().map(Grant::last).max(),
            self.as_of,
            self.about.created,
        ];
        stamps.into_iter().flatten().max().unwrap_or(EventTime::MIN)
    }

    pub(super) fn restore_grant(&mut self, id: String, grant: Grant) {
        if let Some(facts) = &grant.facts {
            self.by_grantee.entry(facts.grantee.clone()).or_default().insert(id.clone());
        }
        self.grants.insert(id, grant);
    }

    pub(super) fn restore_user(&mut self, principal: String, user: User) {
        self.users.insert(principal, user);
    }

    /// Takes what its own row says; grants and users have rows of their own.
    pub(super) fn restore(&mut self, row: Self) {
        let (grants, by_grantee) = (std::mem::take(&mut self.grants), std::mem::take(&mut self.by_grantee));
        let users = std::mem::take(&mut self.users);
        *self = Self { grants, by_grantee, users, ..row };
    }

    pub(super) fn grant_row(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id)
    }

    pub(super) fn user_row(&self, principal: &str) -> Option<&User> {
        self.users.get(principal)
    }
}
