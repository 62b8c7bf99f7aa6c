//! What changed between two policies, by what it means rather than by how it is written.
//!
//! Invariant: order, numbering and naming of statements, order of lists, and one statement written as
//! several make no difference.
//!
//! Must not make sentences; that is the sentences' module's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::access::{Access, Conditions, Way, Who};
use super::action::ActionSet;
use super::condition::Condition;
use super::document::{Policy, StatementName};
use super::operator::Operator;
use super::principal::PolicyPrincipal;

/// What somebody gained and lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalChange {
    /// Who.
    pub who: Who,
    /// New to the policy.
    pub is_new: bool,
    /// Out of the policy.
    pub is_gone: bool,
    /// Actions that were not allowed before, with their conditions.
    pub gained: Vec<(ActionSet, Conditions)>,
    /// Actions that are allowed no more, under any condition.
    pub lost: ActionSet,
}

/// How conditions changed for actions that were allowed before and still are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionChange {
    /// Asked before, no more.
    Dropped(Condition),
    /// More values pass than before.
    Loosened(Condition, Condition),
    /// Other values pass than before.
    Replaced(Condition, Condition),
    /// Another way in beside those there were.
    OtherWay(BTreeSet<Condition>),
    /// Fewer values pass than before.
    Tightened(Condition, Condition),
    /// Asked now, not before.
    Added(Condition),
    /// One of several ways in is closed.
    WayClosed(BTreeSet<Condition>),
}

impl ConditionChange {
    /// Whether more passes than before.
    #[must_use]
    pub fn opens(&self) -> bool {
        matches!(self, Self::Dropped(_) | Self::Loosened(..) | Self::Replaced(..) | Self::OtherWay(_))
    }
}

/// For whom, and where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Who is concerned.
    pub who: BTreeSet<Who>,
    /// The statements that say it: of the new policy, or of the old one where it is gone.
    pub statements: BTreeSet<StatementName>,
    /// For which actions.
    pub actions: ActionSet,
}

/// A Deny that is gone or new: what, under which conditions, for whom.
pub type Denies = BTreeMap<Conditions, Reach>;

/// What changed between two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDiff {
    /// The key's account.
    pub owner: Option<String>,
    /// Whether the policy before is known; if not, all that the new one says is new.
    pub before_is_known: bool,
    /// What everybody may do now and could not before.
    pub opened: ActionSet,
    /// The conditions, where all ways of everybody's have the same.
    pub opened_if: Option<Conditions>,
    /// It was open to everybody and is not.
    pub closed: bool,
    /// Nobody of the owner's account may change the policy any more.
    pub locks_owner_out: bool,
    /// Somebody of it may again.
    pub lets_owner_back: bool,
    /// Other accounts let in that were not.
    pub external_gained: BTreeSet<String>,
    /// Other accounts let in no more.
    pub external_lost: BTreeSet<String>,
    /// By principal.
    pub principals: Vec<PrincipalChange>,
    /// Conditions, each with its reach.
    pub conditions: BTreeMap<ConditionChange, Reach>,
    /// Denies that are gone.
    pub denies_dropped: Denies,
    /// Denies that are new.
    pub denies_added: Denies,
    /// What is new in the policy and not understood.
    pub not_understood: BTreeSet<String>,
}

/// What changed from `old`, or all of `new` when the policy before is not known. `owner` is the key's
/// account.
#[must_use]
pub fn diff(old: Option<&Policy>, new: &Policy, owner: Option<&str>) -> PolicyDiff {
    let before = old.map(|old| Access::of(old, owner)).unwrap_or_default();
    let after = Access::of(new, owner);
    let opened = after.public.minus(&before.public);
    let mut diff = PolicyDiff {
        owner: owner.map(str::to_owned),
        before_is_known: old.is_some(),
        opened_if: common_conditions(&after, &opened),
        opened,
        closed: !before.public.is_empty() && after.public.is_empty(),
        locks_owner_out: after.owner_locked_out && !before.owner_locked_out,
        lets_owner_back: !after.owner_locked_out && before.owner_locked_out,
        external_gained: after.external_accounts.difference(&before.external_accounts).cloned().collect(),
        external_lost: before.external_accounts.difference(&after.external_accounts).cloned().collect(),
        principals: Vec::new(),
        conditions: BTreeMap::new(),
        denies_dropped: denies(&before.denied, &after.denied),
        denies_added: denies(&after.denied, &before.denied),
        not_understood: after.not_understood.difference(&before.not_understood).cloned().collect(),
    };
    let everyone: BTreeSet<&Who> = before.allowed.keys().chain(after.allowed.keys()).collect();
    for who in everyone {
        // Nobody is behind the id of a deleted principal.
        if matches!(who, Who::Principal(PolicyPrincipal::Deleted(_))) {
            continue;
        }
        let ways = |access: &Access| access.allowed.get(who).cloned().unwrap_or_default();
        diff.compare(who, &ways(&before), &ways(&after));
    }
    diff
}

impl PolicyDiff {
    /// Nothing that counts changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { opened, closed, locks_owner_out, lets_owner_back, external_gained, external_lost, .. } = self;
        let flags = *closed || *locks_owner_out || *lets_owner_back;
        let accounts = external_gained.is_empty() && external_lost.is_empty();
        let ways = self.principals.is_empty() && self.conditions.is_empty();
        let denies = self.denies_dropped.is_empty() && self.denies_added.is_empty();
        opened.is_empty() && !flags && accounts && ways && denies && self.not_understood.is_empty()
    }

    /// Whether anybody may do more than before, or the owner less to undo it. What is not understood is
    /// taken for the worse.
    #[must_use]
    pub fn opens(&self) -> bool {
        !self.opened.is_empty()
            || self.locks_owner_out
            || !self.external_gained.is_empty()
            || self.principals.iter().any(|change| !change.gained.is_empty())
            || self.conditions.keys().any(ConditionChange::opens)
            || !self.denies_dropped.is_empty()
            || !self.not_understood.is_empty()
    }

    fn compare(&mut self, who: &Who, old: &[Way], new: &[Way]) {
        let could = Access::actions_of(old);
        let can = Access::actions_of(new);
        let gained = can.minus(&could);
        let lost = could.minus(&can);
        if !gained.is_empty() || !lost.is_empty() {
            let ways = new.iter().map(|way| (way.actions.intersection(&gained), Arc::clone(&way.conditions)));
            self.principals.push(PrincipalChange {
                who: who.clone(),
                is_new: could.is_empty(),
                is_gone: can.is_empty(),
                gained: ways.filter(|(actions, _)| !actions.is_empty()).collect(),
                lost,
            });
        }
        let common = could.intersection(&can);
        for (change, way, actions) in condition_changes(within(old, &common), within(new, &common)) {
            let reach = self.conditions.entry(change).or_default();
            reach.who.insert(who.clone());
            reach.statements.extend(way.by);
            reach.actions = reach.actions.union(&actions);
        }
    }
}

/// The conditions of everybody's ways, if they are the same on all.
fn common_conditions(access: &Access, opened: &ActionSet) -> Option<Conditions> {
    let everybody = access.allowed.iter().filter(|(who, _)| who.is_everybody()).flat_map(|(_, ways)| ways);
    let mut conditions =
        everybody.filter(|way| !way.actions.intersection(opened).is_empty()).map(|way| &way.conditions);
    let first = conditions.next()?;
    conditions.all(|other| other == first).then(|| Arc::clone(first))
}

fn within(ways: &[Way], actions: &ActionSet) -> Vec<Way> {
    let cut = ways.iter().map(|way| Way { actions: way.actions.intersection(actions), ..way.clone() });
    cut.filter(|way| !way.actions.is_empty()).collect()
}

/// Pairs of ways beyond which they are not paired: only an absurd policy has so many for one principal.
const MAX_PAIRS: usize = 4096;

/// What changed of the ways to the same actions: the same ways fall out, the rest are paired, those
/// that differ least first.
fn condition_changes(mut old: Vec<Way>, mut new: Vec<Way>) -> Vec<(ConditionChange, Way, ActionSet)> {
    for before in &mut old {
        for after in new.iter_mut().filter(|after| after.conditions == before.conditions) {
            let same = before.actions.intersection(&after.actions);
            before.actions = before.actions.minus(&same);
            after.actions = after.actions.minus(&same);
        }
    }
    old.retain(|way| !way.actions.is_empty());
    new.retain(|way| !way.actions.is_empty());
    let mut pairs = Vec::new();
    if old.len().saturating_mul(new.len()) <= MAX_PAIRS {
        for (o, before) in old.iter().enumerate() {
            for (n, after) in new.iter().enumerate() {
                pairs.push((before.conditions.symmetric_difference(&after.conditions).count(), o, n));
            }
        }
    }
    pairs.sort_unstable();
    let mut changes = Vec::new();
    for (_, o, n) in pairs {
        let (Some(before), Some(after)) = (old.get_mut(o), new.get_mut(n)) else { continue };
        let both = before.actions.intersection(&after.actions);
        if both.is_empty() {
            continue;
        }
        before.actions = before.actions.minus(&both);
        after.actions = after.actions.minus(&both);
        let each = changed(&before.conditions, &after.conditions);
        changes.extend(each.into_iter().map(|change| (change, after.clone(), both.clone())));
    }
    let left = |ways: Vec<Way>, change: fn(BTreeSet<Condition>) -> ConditionChange| {
        let ways = ways.into_iter().filter(|way| !way.actions.is_empty());
        ways.map(move |way| (change((*way.conditions).clone()), way.clone(), way.actions)).collect::<Vec<_>>()
    };
    changes.extend(left(new, ConditionChange::OtherWay));
    changes.extend(left(old, ConditionChange::WayClosed));
    changes
}

/// What changed from one set of conditions to another.
fn changed(old: &BTreeSet<Condition>, new: &BTreeSet<Condition>) -> Vec<ConditionChange> {
    let mut added: Vec<&Condition> = new.difference(old).collect();
    let mut changes = Vec::new();
    for before in old.difference(new) {
        let like = |after: &&Condition| after.key == before.key && after.operator == before.operator;
        match added.iter().position(like) {
            Some(at) => changes.push(revalued(before, added.remove(at))),
            None => changes.push(ConditionChange::Dropped(before.clone())),
        }
    }
    changes.extend(added.into_iter().cloned().map(ConditionChange::Added));
    changes
}

/// The same key and operator with other values.
fn revalued(before: &Condition, after: &Condition) -> ConditionChange {
    let values = |condition: &Condition| condition.values.iter().cloned().collect::<BTreeSet<_>>();
    let (old, new) = (values(before), values(after));
    let negated = matches!(before.operator, Operator::Known { negated: true, .. });
    let change = match (old.is_subset(&new), new.is_subset(&old), negated) {
        (true, _, false) | (_, true, true) => ConditionChange::Loosened,
        (_, true, false) | (true, _, true) => ConditionChange::Tightened,
        _ => ConditionChange::Replaced,
    };
    change(before.clone(), after.clone())
}

/// The Denies of `some` that are not among `others`.
fn denies(some: &BTreeMap<Who, Vec<Way>>, others: &BTreeMap<Who, Vec<Way>>) -> Denies {
    let mut found = Denies::new();
    for (who, ways) in some {
        for way in ways {
            let same =
                others.get(who).into_iter().flatten().filter(|other| other.conditions.is_subset(&way.conditions));
            let left = same.fold(way.actions.clone(), |left, other| left.minus(&other.actions));
            if left.is_empty() {
                continue;
            }
            let reach = found.entry(Arc::clone(&way.conditions)).or_default();
            reach.who.insert(who.clone());
            reach.statements.extend(way.by.iter().cloned());
            reach.actions = reach.actions.union(&left);
        }
    }
    found
}
