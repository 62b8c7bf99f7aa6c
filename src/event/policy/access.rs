//! Whom a policy lets in, for what and under which conditions, without asking about one request.
//!
//! Invariant: statements that say the same in other words, orders or numbers give the same access. A
//! Deny counts as far as it is sure: one without conditions takes away, one that shuts out all but
//! some accounts, organisations or networks bounds.
//!
//! Must not decide whether another account is trusted; the inventory says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::ActionSet;
use super::condition::Condition;
use super::document::{Effect, Listed, Policy, Statement, StatementName};
use super::principal::PolicyPrincipal;

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A principal.
    Principal(PolicyPrincipal),
    /// Everybody but these.
    AllBut(Vec<PolicyPrincipal>),
}

impl Who {
    /// The account, where it is of one.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Principal(principal) => principal.account(),
            Self::AllBut(_) => None,
        }
    }

    /// Whether it means everybody, or everybody but some.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        matches!(self, Self::AllBut(_) | Self::Principal(PolicyPrincipal::Everybody))
    }

    /// Whether it is of another account than the key.
    #[must_use]
    pub fn is_external(&self, owner: Option<&str>) -> bool {
        self.account().is_some_and(|account| owner.is_some_and(|owner| owner != account))
    }

    /// Whether a Deny of this one takes in all of the other.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Principal(PolicyPrincipal::Everybody), _) => true,
            (Self::Principal(one), Self::Principal(other)) => one.covers(other),
            (Self::AllBut(exempted), Self::Principal(other)) => {
                *other != PolicyPrincipal::Everybody
                    && !exempted.iter().any(|exempted| exempted.covers(other) || other.covers(exempted))
            }
            (one, other) => one == other,
        }
    }
}

/// Conditions, all of which must be met.
pub type Conditions = Arc<BTreeSet<Condition>>;

/// One way in, or one that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// For what.
    pub actions: ActionSet,
    /// Under which conditions.
    pub conditions: Conditions,
    /// By which statements.
    pub by: BTreeSet<StatementName>,
}

/// Whom a policy lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The ways in of each, after what is denied outright.
    pub allowed: BTreeMap<Who, Vec<Way>>,
    /// What is denied to each.
    pub denied: BTreeMap<Who, Vec<Way>>,
    /// What everybody may do, while no condition says whom.
    pub public: ActionSet,
    /// Other accounts let in.
    pub external_accounts: BTreeSet<String>,
    /// Nobody of the owner's account may change the policy.
    pub owner_locked_out: bool,
    /// What was not understood: condition keys, operators, members, principals.
    pub not_understood: BTreeSet<String>,
}

/// What a Deny leaves of everybody.
struct Fence {
    actions: ActionSet,
    /// The accounts left, where it says so by accounts alone.
    accounts: Option<BTreeSet<String>>,
}

impl Access {
    /// Reads a policy of a key of `owner`.
    #[must_use]
    pub fn of(policy: &Policy, owner: Option<&str>) -> Self {
        let denied = ways(policy, Effect::Deny);
        let fences = fences(&denied);
        let mut allowed = ways(policy, Effect::Allow);
        for (who, ways) in &mut allowed {
            for way in ways.iter_mut() {
                way.actions = left_of(who, &way.actions, &denied, &fences);
            }
            ways.retain(|way| !way.actions.is_empty());
        }
        allowed.retain(|_, ways| !ways.is_empty());
        let mut access = Self {
            public: public(&allowed, &fences),
            external_accounts: external_accounts(&allowed, &fences, owner),
            owner_locked_out: owner.is_some_and(|owner| is_locked_out(&allowed, &fences, owner)),
            not_understood: not_understood(policy),
            allowed,
            denied,
        };
        access.allowed.values_mut().chain(access.denied.values_mut()).for_each(absorb);
        access
    }

    /// All that somebody may do, under any conditions.
    #[must_use]
    pub fn actions_of(ways: &[Way]) -> ActionSet {
        ways.iter().fold(ActionSet::default(), |all, way| all.union(&way.actions))
    }
}

impl Statement {
    /// The actions on the key that the statement is about.
    #[must_use]
    pub fn action_set(&self) -> ActionSet {
        match &self.actions {
            Listed::Only(patterns) => ActionSet::of_patterns(patterns),
            Listed::AllBut(patterns) => ActionSet::all_but(patterns),
        }
    }

    fn who(&self) -> Vec<Who> {
        match &self.principals {
            Listed::Only(principals) => principals.iter().cloned().map(Who::Principal).collect(),
            Listed::AllBut(principals) => {
                let principals: BTreeSet<_> = principals.iter().cloned().collect();
                vec![Who::AllBut(principals.into_iter().collect())]
            }
        }
    }

    /// A Deny whose reach is not known must not be counted on.
    fn is_sure(&self) -> bool {
        let whole_key = matches!(&self.resources, Listed::Only(patterns) if patterns.iter().any(|one| one == "*"));
        self.effect == Effect::Allow || (whole_key && self.unknown_members.is_empty())
    }
}

fn ways(policy: &Policy, effect: Effect) -> BTreeMap<Who, Vec<Way>> {
    let mut grouped: BTreeMap<Who, BTreeMap<Conditions, Way>> = BTreeMap::new();
    for statement in policy.statements.iter().filter(|one| one.effect == effect && one.is_sure()) {
        let actions = statement.action_set();
        if actions.is_empty() {
            continue;
        }
        let conditions: Conditions = Arc::new(statement.conditions.iter().cloned().collect());
        for who in statement.who() {
            let way = grouped.entry(who).or_default().entry(Arc::clone(&conditions)).or_insert_with(|| Way {
                actions: ActionSet::default(),
                conditions: Arc::clone(&conditions),
                by: BTreeSet::new(),
            });
            way.actions = way.actions.union(&actions);
            way.by.insert(statement.name.clone());
        }
    }
    grouped.into_iter().map(|(who, ways)| (who, ways.into_values().collect())).collect()
}

/// A way with fewer conditions makes the same way with more of them idle.
fn absorb(ways: &mut Vec<Way>) {
    for at in 0..ways.len() {
        let Some(strong) = ways.get(at).cloned() else { continue };
        for (other, way) in ways.iter_mut().enumerate() {
            let wider = other != at && strong.conditions.len() < way.conditions.len();
            if wider && strong.conditions.is_subset(&way.conditions) {
                way.actions = way.actions.minus(&strong.actions);
            }
        }
    }
    ways.retain(|way| !way.actions.is_empty());
}

/// The Denies that shut out all but some: everybody unless they meet what bounds, or everybody but the
/// principals left out.
fn fences(denied: &BTreeMap<Who, Vec<Way>>) -> Vec<Fence> {
    let mut fences = Vec::new();
    for (who, ways) in denied.iter().filter(|(who, _)| who.is_everybody()) {
        let exempted: Option<&[PolicyPrincipal]> = match who {
            Who::AllBut(exempted) => Some(exempted),
            Who::Principal(_) => None,
        };
        if exempted.is_some_and(|exempted| exempted.contains(&PolicyPrincipal::Everybody)) {
            continue;
        }
        for way in ways {
            // Not shut out is who fails one of the conditions, or is left out by name.
            let bounds: Option<Vec<_>> = way.conditions.iter().map(|condition| condition.bound(false)).collect();
            let Some(bounds) = bounds.filter(|bounds| exempted.is_some() || !bounds.is_empty()) else { continue };
            let by_name = exempted.unwrap_or_default().iter().map(PolicyPrincipal::account);
            let named: Option<BTreeSet<String>> = by_name.map(|account| account.map(str::to_owned)).collect();
            let only_accounts = bounds.iter().all(|bound| bound.only_accounts);
            let accounts = named
                .filter(|_| only_accounts)
                .map(|named| named.into_iter().chain(bounds.into_iter().flat_map(|bound| bound.accounts)).collect());
            fences.push(Fence { actions: way.actions.clone(), accounts });
        }
    }
    fences
}

/// What the Denies that are sure leave.
fn left_of(who: &Who, actions: &ActionSet, denied: &BTreeMap<Who, Vec<Way>>, fences: &[Fence]) -> ActionSet {
    let mut left = actions.clone();
    for (_, ways) in denied.iter().filter(|(shut_out, _)| shut_out.covers(who)) {
        for way in ways.iter().filter(|way| way.conditions.is_empty()) {
            left = left.minus(&way.actions);
        }
    }
    let Some(account) = who.account() else { return left };
    for fence in fences {
        if fence.accounts.as_ref().is_some_and(|accounts| !accounts.contains(account)) {
            left = left.minus(&fence.actions);
        }
    }
    left
}

fn public(allowed: &BTreeMap<Who, Vec<Way>>, fences: &[Fence]) -> ActionSet {
    let ways = allowed.iter().filter(|(who, _)| who.is_everybody()).flat_map(|(_, ways)| ways);
    let unbounded = ways.filter(|way| !way.conditions.iter().any(|condition| condition.bound(true).is_some()));
    let open = unbounded.fold(ActionSet::default(), |open, way| open.union(&way.actions));
    fences.iter().fold(open, |open, fence| open.minus(&fence.actions))
}

fn external_accounts(allowed: &BTreeMap<Who, Vec<Way>>, fences: &[Fence], owner: Option<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (who, ways) in allowed {
        if let Some(account) = who.account() {
            found.insert(account.to_owned());
            continue;
        }
        for way in ways {
            let mut named: BTreeSet<String> =
                way.conditions.iter().filter_map(|condition| condition.bound(true)).flat_map(|b| b.accounts).collect();
            let whole = fences.iter().filter(|fence| way.actions.minus(&fence.actions).is_empty());
            for accounts in whole.filter_map(|fence| fence.accounts.as_ref()) {
                named = match named.is_empty() {
                    true => accounts.clone(),
                    false => named.intersection(accounts).cloned().collect(),
                };
            }
            found.extend(named);
        }
    }
    found.retain(|account| Some(account.as_str()) != owner);
    found
}

fn is_locked_out(allowed: &BTreeMap<Who, Vec<Way>>, fences: &[Fence], owner: &str) -> bool {
    const CHANGE: &str = "PutKeyPolicy";
    let shut_out = |fence: &Fence| {
        fence.actions.has(CHANGE) && fence.accounts.as_ref().is_some_and(|accounts| !accounts.contains(owner))
    };
    if fences.iter().any(shut_out) {
        return true;
    }
    let lets_owner = |who: &Who, way: &Way| match who {
        Who::Principal(PolicyPrincipal::Account(account) | PolicyPrincipal::Identity { account, .. }) => {
            account == owner
        }
        who if who.is_everybody() => {
            let mut bounds = way.conditions.iter().filter_map(|condition| condition.bound(true));
            bounds.all(|bound| !bound.only_accounts || bound.accounts.contains(owner))
        }
        _ => false,
    };
    !allowed.iter().any(|(who, ways)| ways.iter().any(|way| way.actions.has(CHANGE) && lets_owner(who, way)))
}

/// What is in a policy that this kmswatch does not know.
fn not_understood(policy: &Policy) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = policy.unknown_members.iter().map(|member| format!("member {member}")).collect();
    for statement in &policy.statements {
        found.extend(statement.unknown_members.iter().map(|member| format!("member {member}")));
        for condition in &statement.conditions {
            if !condition.key.is_known() {
                found.insert(format!("condition key {}", condition.key.in_words()));
            }
            if let super::operator::Operator::Unknown(operator) = &condition.operator {
                found.insert(format!("condition operator {}", super::text::bounded(operator)));
            }
        }
        let (Listed::Only(principals) | Listed::AllBut(principals)) = &statement.principals;
        let others = principals.iter().filter_map(|principal| match principal {
            PolicyPrincipal::Other(text) => Some(format!("principal {}", super::text::bounded(text))),
            _ => None,
        });
        found.extend(others);
    }
    found
}
