//! A grant over its life: made, used, retired or revoked.
//!
//! Invariant: its end may be seen before its making; both are kept whatever comes first.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::key::arn_parts;
use crate::keys::context_of;
use crate::keys::expect::{Call, short_name};
use crate::keys::snapshot::GrantFacts;
use crate::time::EventTime;

/// A grant as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What it says; nothing when only its end was seen.
    pub facts: Option<GrantFacts>,
    /// When and how it ended: the earliest end seen.
    pub end: Option<(EventTime, String)>,
}

impl Grant {
    /// Its making was seen. What the stream says has who made it, so a snapshot does not replace it.
    pub fn made(&mut self, facts: GrantFacts) {
        let from_stream = |facts: &GrantFacts| facts.issuer.as_deref().is_some_and(|issuer| issuer.contains(':'));
        if self.facts.as_ref().is_none_or(|known| !from_stream(known) && (from_stream(&facts) || *known != facts)) {
            self.facts = Some(facts);
        }
    }

    /// Its end was seen.
    pub fn ended(&mut self, time: EventTime, how: String) {
        let end = (time, how);
        if self.end.as_ref().is_none_or(|known| end < *known) {
            self.end = Some(end);
        }
    }

    /// Whether it lived at an instant. The second of its end is still of its life: CloudTrail tells
    /// no more, and KMS lets a revoked grant work a little longer (aws-facts 3).
    #[must_use]
    pub fn lives(&self, time: EventTime) -> bool {
        let begun = self.facts.as_ref().is_some_and(|facts| facts.created.is_none_or(|made| made <= time));
        begun && self.end.as_ref().is_none_or(|(end, _)| time <= *end)
    }

    /// When the last thing happened to it.
    #[must_use]
    pub fn last(&self) -> EventTime {
        let made = self.facts.as_ref().and_then(|facts| facts.created);
        self.end.as_ref().map(|(end, _)| *end).max(made).unwrap_or(EventTime::MIN)
    }

    /// Whether it allows a call: live, for this grantee and operation, with the context it asks for.
    #[must_use]
    pub fn allows(&self, call: &Call<'_>) -> bool {
        let Some(facts) = &self.facts else { return false };
        let operation = call.names().iter().any(|name| facts.operations.contains(*name));
        let context = || {
            let has = |name: &str, value: &str| context_of(call.fields()).any(|given| given == (name, value));
            facts.context_subset.iter().all(|(name, value)| has(name, value))
                && (facts.context_equals.is_empty()
                    || (facts.context_equals.iter().all(|(name, value)| has(name, value))
                        && context_of(call.fields()).count() == facts.context_equals.len()))
        };
        operation && self.lives(call.time()) && is_grantee(&facts.grantee, call) && context()
    }
}

/// A grant to an account is to every principal of it.
fn is_grantee(grantee: &str, call: &Call<'_>) -> bool {
    if grantee == call.principal() {
        return true;
    }
    let account = match arn_parts(grantee) {
        Some(parts) if parts.resource == "root" => parts.account,
        Some(_) => return false,
        None => grantee,
    };
    call.account().is_some_and(|caller| caller == account)
}

/// For a sentence: `grant 12ab of role/app (…), made by role/admin (…) at …`.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(facts) = &self.facts else { return f.write_str("a grant of which only the end was seen") };
        let id: String = facts.id.chars().take(12).collect();
        write!(f, "grant {id} to {}", short_name(&facts.grantee))?;
        if let Some(issuer) = &facts.issuer {
            write!(f, ", made by {}", short_name(issuer))?;
        }
        match facts.created {
            Some(time) => write!(f, " at {time}"),
            None => Ok(()),
        }
    }
}
