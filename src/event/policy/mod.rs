//! What a key policy says: whom it lets in, for what and under which conditions; whether it lets one
//! request through; and what changed from one policy to the next (aws-facts 7).
//!
//! [`document`] reads it, [`evaluate`] decides one request, [`access`] says whom it lets in, [`mod@diff`]
//! compares two, `sentence` puts it into words.
//!
//! Invariant: what cannot be understood is taken for the worse: an unknown condition bounds nobody, a
//! Deny of unknown reach denies nobody, and what is not known of a request is not guessed.
//!
//! Must not decide: whether another account is trusted; the inventory says so. Grants and IAM policies
//! are not seen from here.

pub mod access;
pub mod action;
pub mod caller;
pub mod condition;
pub mod context_key;
pub mod diff;
pub mod document;
pub mod evaluate;
mod json;
pub mod operator;
pub mod principal;
mod request;
mod sentence;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;

pub use access::Access;
pub use action::action_of;
pub use caller::{Caller, CallerKind};
pub use condition::{Context, Truth};
pub use diff::{PolicyDiff, diff};
pub use document::{Effect, Listed, Policy, PolicyError, StatementName};
pub use evaluate::{Decision, Hinge, NotAllowed, Request};

/// What a policy allows, for rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// Some statement allows everybody, and nothing says whom.
    pub public: bool,
    /// Accounts allowed other than the owner's.
    pub external_accounts: BTreeSet<String>,
    /// Principals that statements allow, as written.
    pub principals: BTreeSet<String>,
    /// Nobody of the owner's account may change the policy.
    pub owner_locked_out: bool,
}

/// Reads a policy of a key of `owner`; nothing when it is no policy.
#[must_use]
pub fn read(text: &str, owner: Option<&str>) -> Option<PolicyFacts> {
    let policy = Policy::parse(text).ok()?;
    let access = Access::of(&policy, owner);
    let allowing = policy.statements.iter().filter(|statement| statement.effect == Effect::Allow);
    Some(PolicyFacts {
        public: !access.public.is_empty(),
        external_accounts: access.external_accounts,
        principals: allowing.flat_map(|statement| statement.written_principals.iter().cloned()).collect(),
        owner_locked_out: access.owner_locked_out,
    })
}
