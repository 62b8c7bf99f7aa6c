//! A key policy, as a card shows it.

use super::about::PolicyShown;
use crate::alert::redact::printable;
use crate::event::key::arn_parts;
use crate::event::policy::Policy;
use crate::keys::expect::short_name;
use crate::keys::picture::Portrait;
use crate::time::EventTime;

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
    match Policy::parse(text) {
        Ok(policy) => policy.in_words(owner),
        Err(error) => vec![format!("it cannot be read as a policy: {error}")],
    }
}
