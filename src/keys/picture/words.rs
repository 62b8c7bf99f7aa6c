//! What a change comes to, in words for an alert.
//!
//! Must not tell: encryption-context values; only names are told.

use super::Picture;
use super::change::{Change, changes_of, default_policy, stamp_of};
use super::grant::Grant;
use super::version::Stamp;
use crate::event::key::arn_parts;
use crate::event::policy::{Policy, diff};
use crate::event::record::Record;
use crate::keys::expect::short_name;
use crate::keys::snapshot::GrantFacts;

/// Longer lists end with a number.
const MAX_LISTED: usize = 8;

/// What a record changed, in words; nothing for most.
#[must_use]
pub fn change_in_words(record: &Record<'_>, picture: &Picture) -> Option<String> {
    let stamp = stamp_of(record);
    let changes = changes_of(record);
    let is_new = changes.iter().any(|change| matches!(change, Change::Created { .. }));
    let news = changes.iter().filter(|change| !(is_new && matches!(change, Change::State { .. })));
    let told: Vec<_> = news.filter_map(|change| told(change, is_new, &stamp, picture)).collect();
    (!told.is_empty()).then(|| listed(&told, "; "))
}

fn told(change: &Change, is_new: bool, stamp: &Stamp, picture: &Picture) -> Option<String> {
    Some(match change {
        Change::Created { .. } => return None,
        Change::Policy { key, text, .. } => {
            let owner = arn_parts(key).map(|parts| parts.account);
            let before = picture.policy_before(key, stamp).map(|before| before.text.to_string());
            // A new key's policy takes the place of the one that KMS would have written.
            let default = || owner.filter(|_| is_new).map(default_policy);
            policy_change(before.or_else(default).as_deref(), text, owner)
        }
        Change::Granted { key, grant } => granted(key, grant),
        Change::GrantEnded { key, id, .. } => {
            let known = picture.key(key).and_then(|portrait| portrait.grant_row(id));
            match known.and_then(|grant| Some((grant, grant.facts.as_ref()?))) {
                Some((grant, facts)) => format!("ends {grant}, for {}", operations(facts)),
                None => format!("ends grant {}, whose making was not seen", short_id(id)),
            }
        }
        Change::Alias { place, alias, key } => {
            let before = picture.alias_before(place, alias, stamp);
            match (before, key) {
                (Some(before), Some(key)) if before != key => format!("{alias} goes from {before} to {key}"),
                (_, Some(key)) => format!("{alias} stands for {key}"),
                (Some(before), None) => format!("{alias} stands no more for {before}"),
                (None, None) => format!("{alias} is gone"),
            }
        }
        Change::Tag { name, value: Some(value), .. } => format!("tag {name} is {value}"),
        Change::Tag { name, value: None, .. } => format!("tag {name} is gone"),
        Change::State { state, deletion: Some(time), .. } => format!("the key is {state}, to be deleted {time}"),
        Change::State { state, .. } => format!("the key is {state}"),
        Change::Rotation { rotation, .. } => match (rotation.enabled, rotation.period_days) {
            (true, Some(days)) => format!("the key rotates every {days} days"),
            (true, None) => "the key rotates every year".to_owned(),
            (false, _) => "the key rotates no more by itself".to_owned(),
        },
    })
}

/// Whether the policy that a record put lets anybody do more than the one before; nothing when that
/// one is not known.
#[must_use]
pub fn policy_opens(record: &Record<'_>, picture: &Picture) -> Option<bool> {
    let stamp = stamp_of(record);
    changes_of(record).iter().find_map(|change| {
        let Change::Policy { key, text, .. } = change else { return None };
        let before = Policy::parse(&picture.policy_before(key, &stamp)?.text).ok()?;
        let after = Policy::parse(text).ok()?;
        Some(diff(Some(&before), &after, arn_parts(key).map(|parts| parts.account)).opens())
    })
}

/// What a policy changes against the one before, in a sentence.
#[must_use]
pub fn policy_change(before: Option<&str>, after: &str, owner: Option<&str>) -> String {
    match Policy::parse(after) {
        Ok(after) => {
            let before = before.and_then(|text| Policy::parse(text).ok());
            diff(before.as_ref(), &after, owner).sentence()
        }
        Err(error) => format!("a policy that cannot be read: {error}"),
    }
}

/// Who may now do what, how far bounded, and who can end it.
fn granted(key: &str, grant: &GrantFacts) -> String {
    let owner = arn_parts(key).map(|parts| parts.account);
    let of_other = arn_parts(&grant.grantee).is_some_and(|parts| owner.is_some_and(|owner| parts.account != owner));
    let mut text = format!("grants {} to {}", operations(grant), short_name(&grant.grantee));
    if of_other {
        text.push_str(", of another account");
    }
    let names: Vec<&String> = grant.context_equals.keys().chain(grant.context_subset.keys()).collect();
    match (names.as_slice(), &grant.source_arn) {
        ([], None) => text.push_str(", without constraints"),
        ([], Some(source)) => text.push_str(&format!(", on behalf of {source}")),
        (names, _) => text.push_str(&format!(", where the encryption context has {}", listed(names, ", "))),
    }
    if let Some(retiring) = &grant.retiring {
        text.push_str(&format!("; {} can retire it", short_name(retiring)));
    }
    text
}

fn operations(grant: &GrantFacts) -> String {
    let operations: Vec<&String> = grant.operations.iter().collect();
    if operations.is_empty() { "nothing that is known".to_owned() } else { listed(&operations, ", ") }
}

fn listed<T: AsRef<str>>(items: &[T], between: &str) -> String {
    let mut shown: Vec<&str> = items.iter().take(MAX_LISTED).map(AsRef::as_ref).collect();
    let more = items.len().saturating_sub(MAX_LISTED);
    let rest = format!("and {more} more");
    if more > 0 {
        shown.push(&rest);
    }
    shown.join(between)
}

fn short_id(id: &str) -> String {
    id.chars().take(12).collect()
}

/// Of a live grant for a card: the same words.
impl Grant {
    /// What it allows to whom, in words.
    #[must_use]
    pub fn in_words(&self, key: &str) -> Option<String> {
        self.facts.as_ref().map(|facts| granted(key, facts))
    }
}
