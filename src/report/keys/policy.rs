//! A key policy, as a card shows it.

use super::about::PolicyShown;
use crate::alert::redact::printable;
use crate::event::key::arn_parts;
use crate::event::policy;
use crate::keys::expect::short_name;
use crate::keys::picture::Portrait;
use crate::time::EventTime;

/// Principals listed of one policy.
const MAX_PRINCIPALS: usize = 30;

pub(super) fn of(portrait: &Portrait, arn: &str, at: EventTime) -> Option<PolicyShown> {
    let policy = portrait.policy.at(at)?;
    let owner = arn_parts(arn).map(|parts| parts.account);
    Some(PolicyShown {
        put_by: policy.by.as_ref().map(|by| printable(&short_name(by))),
        put_at: portrait.policy.stamp_at(at).map(|stamp| stamp.time),
        in_words: in_words(&policy.text, owner).iter().map(|line| printable(line)).collect(),
    })
}

/// What a policy of a key of `owner` allows, a line each.
fn in_words(text: &str, owner: Option<&str>) -> Vec<String> {
    let Some(facts) = policy::read(text, owner) else {
        return vec!["it cannot be read as a policy".to_owned()];
    };
    let mut lines = Vec::new();
    if facts.public {
        lines.push("ALLOWS EVERYBODY, and no condition says whom".to_owned());
    }
    if facts.owner_locked_out {
        lines.push("nobody of the owner's account may change it again".to_owned());
    }
    if !facts.external_accounts.is_empty() {
        let accounts: Vec<_> = facts.external_accounts.iter().cloned().collect();
        lines.push(format!("allows other accounts: {}", accounts.join(", ")));
    }
    let more = facts.principals.len().saturating_sub(MAX_PRINCIPALS);
    let named = facts.principals.iter().take(MAX_PRINCIPALS);
    lines.extend(named.map(|principal| format!("allows {}", short_name(principal))));
    if more > 0 {
        lines.push(format!("and {more} more principals"));
    }
    lines
}
