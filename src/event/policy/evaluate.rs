//! Whether a key policy lets a request through, by itself or by leaving it to IAM policies.
//!
//! KMS reads key policies as no other service does: without a word of the key policy nobody is let
//! in, the account's administrators included (aws-facts 7).
//!
//! Invariant: an answer that hangs on what is not known says so; more knowledge can only settle it.
//!
//! Must not decide what the policy alone cannot: grants, IAM policies, service and resource control
//! policies, permission boundaries and endpoint policies come on top.

use std::fmt;

use super::action::{action_fits, is_cross_account};
use super::caller::{Caller, CallerKind, Fit};
use super::condition::{Context, Truth, Values};
use super::document::{Effect, Listed, Policy, Statement, StatementName};
use super::text::{bounded, list};
use crate::event::glob::glob;

/// What is asked of KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub caller: Caller,
    /// The action, as `kms:Decrypt`; see [`super::action::action_of`].
    pub action: String,
    /// The key's account.
    pub owner: String,
    /// The key's ARN, if known.
    pub key_arn: Option<String>,
    /// What else is known. What the caller alone tells is filled in.
    pub context: Context,
}

/// What an answer hangs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hinge {
    /// The statement.
    pub statement: StatementName,
    /// What would have to be known, for people.
    pub what: String,
}

impl fmt::Display for Hinge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.statement)
    }
}

/// Why nothing allows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// No statement allows it.
    NoStatement,
    /// The operation cannot be called from another account, whatever a policy says.
    NotAcrossAccounts,
}

/// What a key policy says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It lets the caller in.
    Allowed {
        /// By this statement.
        by: StatementName,
    },
    /// It leaves the choice to the IAM policies of an account. So it is where the policy names the
    /// account, and always for callers of another account: they need both sides.
    Delegated {
        /// By this statement.
        by: StatementName,
        /// The account whose IAM policies decide.
        account: String,
        /// It is not the key's own.
        external: bool,
        /// The policy means the caller, not only the account.
        named: bool,
    },
    /// It shuts the caller out.
    Denied {
        /// By this statement.
        by: StatementName,
    },
    /// Nothing in it allows the request.
    NotAllowed(NotAllowed),
    /// It hangs on what is not known.
    Uncertain {
        /// Which is this, at most eight.
        hinges: Vec<Hinge>,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { by } => write!(f, "allowed by {by}"),
            Self::Delegated { by, account, external, named } => {
                let whose = if *external { " (external)" } else { "" };
                let who = if *named { "also needs" } else { "left to" };
                write!(f, "{who} the IAM policies of account {account}{whose}, by {by}")
            }
            Self::Denied { by } => write!(f, "denied by {by}"),
            Self::NotAllowed(NotAllowed::NoStatement) => f.write_str("no statement allows it"),
            Self::NotAllowed(NotAllowed::NotAcrossAccounts) => {
                f.write_str("another account can never call this operation")
            }
            Self::Uncertain { hinges } => {
                let hinges: Vec<String> = hinges.iter().map(ToString::to_string).collect();
                write!(f, "hangs on {}", list(&hinges, 3))
            }
        }
    }
}

/// Hinges that are kept.
const MAX_HINGES: usize = 8;

impl Policy {
    /// What the policy says to a request.
    ///
    /// Where a statement leaves the choice to IAM policies and another one would allow under
    /// conditions that are not known, the answer is that IAM policies decide; where nothing allows, a
    /// Deny that is not sure does not matter.
    #[must_use]
    pub fn decide(&self, request: &Request) -> Decision {
        let mut context = request.context.clone();
        request.caller.fill(&mut context);
        let external = request.caller.account.as_ref().filter(|account| **account != request.owner);
        if external.is_some() && !is_cross_account(&request.action) {
            return Decision::NotAllowed(NotAllowed::NotAcrossAccounts);
        }
        let mut hinges = Hinges::default();
        let mut certain: Option<(Fit, &StatementName)> = None;
        let mut allow_hinges = Hinges::default();
        for statement in &self.statements {
            let (truth, fit) = statement.applies(request, &context);
            match (statement.effect, truth) {
                (_, Truth::NotMet) => {}
                (Effect::Deny, Truth::Met) => return Decision::Denied { by: statement.name.clone() },
                (Effect::Deny, Truth::NotKnown) => hinges.take(statement, request, &context),
                (Effect::Allow, Truth::NotKnown) => allow_hinges.take(statement, request, &context),
                (Effect::Allow, Truth::Met) => {
                    let better = certain.is_none_or(|(known, _)| known == Fit::OfAccount && fit == Fit::Named);
                    if better {
                        certain = Some((fit, &statement.name));
                    }
                }
            }
        }
        let nothing = || Decision::NotAllowed(NotAllowed::NoStatement);
        match certain {
            // What no statement allows is not allowed, whatever denies it.
            None if allow_hinges.0.is_empty() => nothing(),
            None => {
                Decision::Uncertain { hinges: allow_hinges.0.into_iter().chain(hinges.0).take(MAX_HINGES).collect() }
            }
            Some(_) if !hinges.0.is_empty() => Decision::Uncertain { hinges: hinges.0 },
            Some((fit, by)) => settled(request, fit, by.clone()),
        }
    }
}

fn settled(request: &Request, fit: Fit, by: StatementName) -> Decision {
    let named = fit == Fit::Named;
    match &request.caller.account {
        // They have no IAM policies.
        _ if matches!(request.caller.kind, CallerKind::Service | CallerKind::Anonymous) => Decision::Allowed { by },
        Some(account) if named && *account == request.owner => Decision::Allowed { by },
        Some(account) => {
            let external = *account != request.owner;
            Decision::Delegated { by, account: account.clone(), external, named }
        }
        None => {
            let what = "of which account the caller is".to_owned();
            Decision::Uncertain { hinges: vec![Hinge { statement: by, what }] }
        }
    }
}

impl Statement {
    /// Whether the statement is about the request, and how it means the caller.
    fn applies(&self, request: &Request, context: &Context) -> (Truth, Fit) {
        if !self.has_action(&request.action) {
            return (Truth::NotMet, Fit::No);
        }
        let fit = Fit::of_listed(&self.principals, self.effect, &request.caller);
        let principal = match fit {
            Fit::No => return (Truth::NotMet, fit),
            Fit::NotKnown => Truth::NotKnown,
            Fit::OfAccount | Fit::Named => Truth::Met,
        };
        let conditions = self.conditions.iter().map(|condition| condition.evaluate(context));
        // A member that is not known may narrow the statement in any way.
        let members = if self.unknown_members.is_empty() { Truth::Met } else { Truth::NotKnown };
        let truth = principal.and(self.has_key(request)).and(Truth::all(conditions)).and(members);
        (truth, fit)
    }

    /// Whether an action is meant.
    #[must_use]
    pub fn has_action(&self, action: &str) -> bool {
        let action = if action.contains(':') { action.to_owned() } else { format!("kms:{action}") };
        let any = |patterns: &[String]| patterns.iter().any(|pattern| action_fits(pattern, &action));
        match &self.actions {
            Listed::Only(patterns) => any(patterns),
            Listed::AllBut(patterns) => !any(patterns),
        }
    }

    /// Whether the key is meant. `*` in a key policy is its key.
    fn has_key(&self, request: &Request) -> Truth {
        let any = |patterns: &[String]| {
            Truth::any(patterns.iter().map(|pattern| match &request.key_arn {
                _ if pattern == "*" => Truth::Met,
                Some(arn) => Truth::of(glob(pattern, arn)),
                None => Truth::NotKnown,
            }))
        };
        match &self.resources {
            Listed::Only(patterns) => any(patterns),
            Listed::AllBut(patterns) => !any(patterns),
        }
    }
}

#[derive(Default)]
struct Hinges(Vec<Hinge>);

impl Hinges {
    /// What keeps a statement from being decided.
    fn take(&mut self, statement: &Statement, request: &Request, context: &Context) {
        let mut open: Vec<String> = Vec::new();
        if Fit::of_listed(&statement.principals, statement.effect, &request.caller) == Fit::NotKnown {
            open.push("whether its principals are the caller".to_owned());
        }
        if statement.has_key(request) == Truth::NotKnown {
            open.push("which key it is".to_owned());
        }
        let conditions = statement.conditions.iter();
        let unknown = conditions.filter(|condition| condition.evaluate(context) == Truth::NotKnown);
        open.extend(unknown.map(|condition| condition.in_words(Values::Told)));
        open.extend(statement.unknown_members.iter().map(|member| format!("member {}", bounded(member))));
        let room = MAX_HINGES.saturating_sub(self.0.len());
        let hinge = |what| Hinge { statement: statement.name.clone(), what };
        self.0.extend(open.into_iter().take(room).map(hinge));
    }
}
