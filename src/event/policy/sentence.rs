//! A policy and its changes in words: one sentence for an alert, lines for a terminal.
//!
//! Invariant: what matters most comes first, and what does not fit is counted, not cut in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::access::{Access, Conditions, Way, Who};
use super::action::ActionSet;
use super::condition::{Condition, Values};
use super::diff::{ConditionChange, PolicyDiff, PrincipalChange, Reach};
use super::document::{Policy, StatementName};
use super::principal::PolicyPrincipal;
use super::text::{join, list};

/// Characters of a sentence; the first clause is always told.
const MAX_SENTENCE: usize = 700;
/// Lines of a policy or of a change.
const MAX_LINES: usize = 60;

/// How things are told.
#[derive(Clone, Copy)]
struct Style<'o> {
    owner: Option<&'o str>,
    values: Values,
    /// Names in one list.
    most: usize,
}

impl Style<'_> {
    fn who(self, who: &Who) -> String {
        match who {
            Who::Principal(principal) => principal.in_words(self.owner),
            Who::AllBut(principals) => {
                let names: Vec<String> = principals.iter().map(|principal| principal.in_words(self.owner)).collect();
                format!("everybody but {}", list(&names, self.most))
            }
        }
    }

    fn all<'w>(self, who: impl ExactSizeIterator<Item = &'w Who>) -> String {
        let count = who.len();
        let names: Vec<String> = who.take(self.most).map(|who| self.who(who)).collect();
        match count.saturating_sub(names.len()) {
            0 => join(&names),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }

    /// What somebody can do with a list of actions: from another account not all of them.
    fn actions(self, who: &Who, actions: &ActionSet) -> String {
        if !who.is_external(self.owner) {
            return actions.in_words(self.most + 2);
        }
        match actions.cross_account() {
            actions if actions.is_empty() => "nothing that crosses accounts".to_owned(),
            actions => actions.in_words(self.most + 2),
        }
    }

    fn condition(self, condition: &Condition) -> String {
        condition.in_words(self.values)
    }

    fn conditions(self, conditions: &BTreeSet<Condition>) -> String {
        let words: Vec<String> = conditions.iter().take(3).map(|condition| self.condition(condition)).collect();
        let told = words.join(" and ");
        match conditions.len().saturating_sub(words.len()) {
            0 => told,
            more => format!("{told} and {more} more condition{}", if more == 1 { "" } else { "s" }),
        }
    }

    /// `Decrypt if kms:ViaService = ...`.
    fn way(self, who: &Who, actions: &ActionSet, conditions: &Conditions) -> String {
        let mut words = self.actions(who, actions);
        if !conditions.is_empty() {
            let _ = write!(words, " if {}", self.conditions(conditions));
        }
        words
    }

    fn statements(self, reach: &Reach) -> String {
        let names: Vec<String> = reach.statements.iter().map(StatementName::to_string).collect();
        list(&names, self.most)
    }
}

/// How much a clause matters, first first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Opened,
    LockedOut,
    ExternalIn,
    In,
    Loosened,
    DenyDropped,
    NotUnderstood,
    Out,
    Closed,
    Tightened,
}

impl PolicyDiff {
    /// One sentence without a full stop, for an alert: `opens the key to everybody; ...`. Values of
    /// the encryption context are kept back. Text of policies is in it: make it printable.
    #[must_use]
    pub fn sentence(&self) -> String {
        let clauses = self.clauses(Style { owner: self.owner.as_deref(), values: Values::KeptBack, most: 3 });
        let end = if self.before_is_known { "" } else { "; what was there before is not known" };
        if clauses.is_empty() {
            let nothing = if self.before_is_known { "changes nothing that counts" } else { "lets nobody in" };
            return format!("{nothing}{end}");
        }
        let mut told = String::new();
        for (at, (_, clause)) in clauses.iter().enumerate() {
            let fits = told.chars().count() + clause.chars().count() <= MAX_SENTENCE;
            if at > 0 && !fits {
                let left = clauses.len() - at;
                let _ = write!(told, "; and {left} more change{}", if left == 1 { "" } else { "s" });
                break;
            }
            if at > 0 {
                told.push_str("; ");
            }
            told.push_str(clause);
        }
        told + end
    }

    /// The change as lines for a terminal, all values told. Text of policies is in it: make it
    /// printable.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let style = Style { owner: self.owner.as_deref(), values: Values::Told, most: 12 };
        let mut lines: Vec<String> = self.clauses(style).into_iter().map(|(_, clause)| clause).collect();
        if lines.is_empty() {
            lines.push(if self.before_is_known { "changes nothing that counts" } else { "lets nobody in" }.to_owned());
        }
        let mut lines = cut(lines);
        if !self.before_is_known {
            lines.push("what was there before is not known".to_owned());
        }
        lines
    }

    fn clauses(&self, style: Style<'_>) -> Vec<(Rank, String)> {
        let mut clauses = Vec::new();
        if !self.opened.is_empty() {
            let condition = self.opened_if.as_ref().filter(|conditions| !conditions.is_empty());
            let condition = condition.map(|conditions| format!(" if {}", style.conditions(conditions)));
            let actions = self.opened.in_words(style.most + 2);
            clauses.push((
                Rank::Opened,
                format!("opens the key to everybody for {actions}{}", condition.unwrap_or_default()),
            ));
        }
        if self.locks_owner_out {
            let whose = self.owner.as_deref().unwrap_or("the owner");
            clauses
                .push((Rank::LockedOut, format!("leaves nobody of account {whose} who can change the policy again")));
        }
        self.principal_clauses(style, &mut clauses);
        self.account_clauses(style, &mut clauses);
        for (change, reach) in &self.conditions {
            let rank = if change.opens() { Rank::Loosened } else { Rank::Tightened };
            clauses.push((rank, condition_clause(style, change, reach)));
        }
        self.deny_clauses(style, &mut clauses);
        if !self.not_understood.is_empty() {
            let names: Vec<&String> = self.not_understood.iter().collect();
            let clause = format!("has what this kmswatch does not know: {}", list(&names, style.most));
            clauses.push((Rank::NotUnderstood, clause));
        }
        if self.closed {
            clauses.push((Rank::Closed, "no longer opens the key to everybody".to_owned()));
        }
        if self.lets_owner_back {
            clauses.push((Rank::Closed, "lets the owner's account change the policy again".to_owned()));
        }
        clauses.sort_by_key(|(rank, _)| *rank);
        clauses
    }

    /// Principals with the same change are told together.
    fn principal_clauses(&self, style: Style<'_>, clauses: &mut Vec<(Rank, String)>) {
        let mut grouped: BTreeMap<(Rank, u32, Verb, String), Vec<&Who>> = BTreeMap::new();
        for change in &self.principals {
            let external = change.who.is_external(style.owner) || change.who.is_everybody();
            let into = if external { Rank::ExternalIn } else { Rank::In };
            if !change.gained.is_empty() && !self.is_told_as_opened(change) {
                let what = ways_in_words(style, &change.who, &change.gained);
                let verb = match (&change.who, change.is_new) {
                    (Who::Principal(PolicyPrincipal::Account(_)), true) if !external => Verb::Leaves,
                    (_, true) => Verb::LetsIn,
                    (_, false) => Verb::GivesAlso,
                };
                let gained = change.gained.iter().map(|(actions, _)| actions.gravity()).min().unwrap_or(u32::MAX);
                grouped.entry((into, gained, verb, what)).or_default().push(&change.who);
            }
            let lost = change.lost.gravity();
            if change.is_gone {
                let idle = matches!(change.who, Who::Principal(PolicyPrincipal::Account(_))) && !external;
                let why = if idle { " (its IAM policies no longer count)" } else { "" };
                grouped.entry((Rank::Out, lost, Verb::TakesOut, why.to_owned())).or_default().push(&change.who);
            } else if !change.lost.is_empty() {
                let what = style.actions(&change.who, &change.lost);
                grouped.entry((Rank::Out, lost, Verb::Takes, what)).or_default().push(&change.who);
            }
        }
        for ((rank, _, verb, what), who) in grouped {
            let who = style.all(who.into_iter());
            let clause = match verb {
                Verb::LetsIn => format!("lets in {who} for {what}"),
                Verb::Leaves => format!("leaves it to the IAM policies of {who}: {what}"),
                Verb::GivesAlso => format!("gives {who} also {what}"),
                Verb::Takes => format!("takes {what} from {who}"),
                Verb::TakesOut => format!("takes {who} out{what}"),
            };
            clauses.push((rank, clause));
        }
    }

    /// A Deny that is there as before but for its conditions is told once.
    fn deny_clauses(&self, style: Style<'_>, clauses: &mut Vec<(Rank, String)>) {
        let same = |one: &Reach, other: &Reach| one.who == other.who && one.actions == other.actions;
        let mut added: Vec<(&Conditions, &Reach)> = self.denies_added.iter().collect();
        for (conditions, reach) in &self.denies_dropped {
            let (what, place) = (denied(style, reach), style.statements(reach));
            let clause = match added.iter().position(|(_, other)| same(reach, other)) {
                Some(at) => {
                    let (new, _) = added.remove(at);
                    let before = denied_if(style, conditions);
                    let before = if before.is_empty() { " without condition".to_owned() } else { before };
                    format!("changes {what} to one{} from one{before} ({place})", denied_if(style, new))
                }
                None => format!("drops {what}{} ({place})", denied_if(style, conditions)),
            };
            clauses.push((Rank::DenyDropped, clause));
        }
        let verb = if self.before_is_known { "adds" } else { "has" };
        for (conditions, reach) in added {
            let (what, place) = (denied(style, reach), style.statements(reach));
            clauses.push((Rank::Tightened, format!("{verb} {what}{} ({place})", denied_if(style, conditions))));
        }
    }

    fn is_told_as_opened(&self, change: &PrincipalChange) -> bool {
        let gained = change.gained.iter().fold(ActionSet::default(), |all, (actions, _)| all.union(actions));
        change.who.is_everybody() && gained.minus(&self.opened).is_empty()
    }

    /// Accounts that came or went by a condition and not by name.
    fn account_clauses(&self, style: Style<'_>, clauses: &mut Vec<(Rank, String)>) {
        let named = |gained: bool| {
            let changes =
                self.principals.iter().filter(move |change| if gained { change.is_new } else { change.is_gone });
            changes.filter_map(|change| change.who.account()).collect::<Vec<_>>()
        };
        let rest = |accounts: &BTreeSet<String>, named: &[&str]| {
            let rest = accounts.iter().filter(|account| !named.contains(&account.as_str()));
            rest.map(|account| format!("account {account} (external)")).collect::<Vec<_>>()
        };
        let gained = rest(&self.external_gained, &named(true));
        if !gained.is_empty() {
            clauses.push((Rank::ExternalIn, format!("lets in {} by condition", list(&gained, style.most))));
        }
        let lost = rest(&self.external_lost, &named(false));
        if !lost.is_empty() {
            clauses.push((Rank::Out, format!("no longer lets in {}", list(&lost, style.most))));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    LetsIn,
    Leaves,
    GivesAlso,
    Takes,
    TakesOut,
}

fn ways_in_words(style: Style<'_>, who: &Who, ways: &[(ActionSet, Conditions)]) -> String {
    let words: Vec<String> = ways.iter().map(|(actions, conditions)| style.way(who, actions, conditions)).collect();
    match words.as_slice() {
        [one] => one.clone(),
        [one, two] => format!("{one}, and {two}"),
        [one, two, rest @ ..] => format!("{one}, and {two}, and in {} more ways", rest.len()),
        [] => String::new(),
    }
}

fn condition_clause(style: Style<'_>, change: &ConditionChange, reach: &Reach) -> String {
    let place = style.statements(reach);
    let who = || style.all(reach.who.iter());
    match change {
        ConditionChange::Dropped(old) => {
            format!("drops the condition {} from {place} ({})", style.condition(old), who())
        }
        ConditionChange::Added(new) => format!("adds the condition {} to {place} ({})", style.condition(new), who()),
        ConditionChange::Loosened(old, new) => revalued_clause(style, ("loosens", "to"), old, new, &place),
        ConditionChange::Tightened(old, new) => revalued_clause(style, ("tightens", "to"), old, new, &place),
        ConditionChange::Replaced(old, new) => revalued_clause(style, ("replaces", "by"), old, new, &place),
        ConditionChange::OtherWay(conditions) => {
            let actions = reach.actions.in_words(style.most + 2);
            match conditions.is_empty() {
                true => format!("lets {} have {actions} without condition ({place})", who()),
                false => format!("lets {} have {actions} also if {} ({place})", who(), style.conditions(conditions)),
            }
        }
        ConditionChange::WayClosed(conditions) => {
            let actions = reach.actions.in_words(style.most + 2);
            format!("no longer lets {} have {actions} if {}", who(), style.conditions(conditions))
        }
    }
}

fn revalued_clause(
    style: Style<'_>,
    (verb, preposition): (&str, &str),
    old: &Condition,
    new: &Condition,
    place: &str,
) -> String {
    let (from, to) = (style.condition(old), style.condition(new));
    if from == to {
        return format!("{verb} the condition {from} of {place} (its values are not told)");
    }
    format!("{verb} the condition {from} of {place} {preposition} {to}")
}

/// `every operation for everybody`.
fn denied(style: Style<'_>, reach: &Reach) -> String {
    format!("the Deny of {} for {}", reach.actions.in_words(style.most + 2), style.all(reach.who.iter()))
}

fn denied_if(style: Style<'_>, conditions: &Conditions) -> String {
    match conditions.is_empty() {
        true => String::new(),
        false => format!(" if {}", style.conditions(conditions)),
    }
}

impl Policy {
    /// Whom the policy lets in, as lines for a terminal: who, what for, under which conditions. All
    /// values are told. Text of policies is in it: make it printable.
    #[must_use]
    pub fn in_words(&self, owner: Option<&str>) -> Vec<String> {
        let access = Access::of(self, owner);
        let style = Style { owner, values: Values::Told, most: 12 };
        let mut lines = Vec::new();
        if !access.public.is_empty() {
            lines.push(format!("OPEN TO EVERYBODY: {}", access.public.in_words(12)));
        }
        if access.owner_locked_out {
            lines.push("LOCKED: nobody of the owner's account can change this policy".to_owned());
        }
        let mut allowed: Vec<_> = access.allowed.iter().collect();
        allowed.sort_by_key(|(who, _)| (!who.is_everybody(), !who.is_external(owner), (*who).clone()));
        let allowed = allowed.into_iter().flat_map(|(who, ways)| ways.iter().map(move |way| (who, way)));
        extend(&mut lines, allowed.map(|(who, way)| move || allowed_line(style, who, way)));
        if access.allowed.is_empty() {
            lines.push("lets nobody in".to_owned());
        }
        let denied = access.denied.iter().flat_map(|(who, ways)| ways.iter().map(move |way| (who, way)));
        extend(
            &mut lines,
            denied.map(|(who, way)| {
                move || format!("denied to {}: {}", style.who(who), style.way(who, &way.actions, &way.conditions))
            }),
        );
        if !access.not_understood.is_empty() {
            let names: Vec<&String> = access.not_understood.iter().collect();
            lines.push(format!("not known to this kmswatch: {}", list(&names, 12)));
        }
        lines
    }
}

/// Adds lines up to the limit, and how many more there are; those are not even made.
fn extend(lines: &mut Vec<String>, more: impl Iterator<Item = impl FnOnce() -> String>) {
    let mut left = 0_usize;
    for line in more {
        if lines.len() < MAX_LINES {
            lines.push(line());
        } else {
            left += 1;
        }
    }
    if left > 0 {
        lines.push(format!("and {left} more"));
    }
}

fn allowed_line(style: Style<'_>, who: &Who, way: &Way) -> String {
    let external = who.is_external(style.owner);
    let more = match who {
        Who::Principal(PolicyPrincipal::Deleted(_)) => "; nobody is behind it any more",
        Who::Principal(PolicyPrincipal::Account(_)) if !external => "; its IAM policies decide who",
        _ if external => "; IAM policies there must allow it too",
        _ => "",
    };
    format!("{}: {}{more}", style.who(who), style.way(who, &way.actions, &way.conditions))
}

fn cut(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}
