//! What a key is, in which state, and who holds grants on it.

use serde::Serialize;

use crate::alert::redact::{Redaction, printable};
use crate::event::key::arn_parts;
use crate::keys::expect::short_name;
use crate::keys::inventory::Domain;
use crate::keys::picture::Portrait;
use crate::keys::picture::grant::Grant;
use crate::report::explain::standing;
use crate::time::EventTime;

/// The domain that has a key.
#[derive(Clone, Debug, Serialize)]
pub struct DomainOfKey {
    /// Its name.
    pub name: String,
    /// How much hangs on it.
    pub tier: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// `attested`, `decoy`, `retired`.
    pub standing: Vec<&'static str>,
}

/// What a key is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// Its description.
    pub description: Option<String>,
    /// `SYMMETRIC_DEFAULT`, ...
    pub spec: Option<String>,
    /// `ENCRYPT_DECRYPT`, ...
    pub usage: Option<String>,
    /// `AWS_KMS`, `EXTERNAL`, ...
    pub origin: Option<String>,
    /// When it was made.
    pub created: Option<EventTime>,
    /// `CUSTOMER` or `AWS`.
    pub manager: Option<String>,
    /// Its tags, `name=value`.
    pub tags: Vec<String>,
    /// When KMS itself last told of it.
    pub snapshot: Option<EventTime>,
}

/// The state of a key.
#[derive(Clone, Debug, Serialize)]
pub struct Lifecycle {
    /// `Enabled`, `PendingDeletion`, ...
    pub name: String,
    /// Since when, as far as was told.
    pub since: Option<EventTime>,
    /// When KMS deletes it.
    pub deletion: Option<EventTime>,
    /// Whole days until then; negative when it is past.
    pub days_left: Option<i64>,
}

/// A policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyShown {
    /// Who put it; a snapshot does not know.
    pub put_by: Option<String>,
    /// When it was put, or told of.
    pub put_at: Option<EventTime>,
    /// What it allows.
    pub in_words: Vec<String>,
}

/// Grants on a key.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Grants {
    /// Those in force, the oldest first.
    pub live: Vec<GrantShown>,
    /// How many beyond these.
    pub not_shown: usize,
    /// How many ended, as far as was told.
    pub ended: usize,
}

/// A grant in force.
#[derive(Clone, Debug, Serialize)]
pub struct GrantShown {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Who may use it.
    pub grantee: String,
    /// Whether the grantee is of another account than the key; nothing of a service.
    pub external: Option<bool>,
    /// What it allows.
    pub operations: Vec<String>,
    /// Encryption context and source that it asks for.
    pub constraints: Vec<String>,
    /// Who may retire it.
    pub retiring: Option<String>,
    /// Who made it.
    pub made_by: Option<String>,
    /// When.
    pub made_at: Option<EventTime>,
}

/// Grants shown on a card.
const MAX_GRANTS: usize = 50;
/// Tags shown on a card.
const MAX_TAGS: usize = 50;
const DAY_MILLIS: i64 = 86_400_000;

pub(super) fn of_domain(domain: &Domain) -> DomainOfKey {
    DomainOfKey {
        name: domain.name.clone(),
        tier: domain.tier.clone(),
        owner: domain.owner.clone(),
        standing: standing(domain),
    }
}

pub(super) fn of(portrait: &Portrait, at: EventTime) -> About {
    let text = |text: &Option<String>| text.as_deref().map(printable);
    let about = &portrait.about;
    let tags = portrait.tags_at(at);
    About {
        description: text(&portrait.description),
        spec: text(&about.spec),
        usage: text(&about.usage),
        origin: text(&about.origin),
        created: about.created,
        manager: text(&portrait.manager),
        tags: tags.iter().take(MAX_TAGS).map(|(name, value)| printable(&format!("{name}={value}"))).collect(),
        snapshot: portrait.as_of,
    }
}

pub(super) fn lifecycle(portrait: &Portrait, at: EventTime) -> Option<Lifecycle> {
    let state = portrait.state.at(at)?;
    let since = portrait.state.stamp_at(at).map(|stamp| stamp.time);
    let left = |deletion: EventTime| (deletion.as_millis().saturating_sub(at.as_millis())).div_euclid(DAY_MILLIS);
    Some(Lifecycle {
        name: printable(&state.name),
        since,
        deletion: state.deletion,
        days_left: state.deletion.map(left),
    })
}

pub(super) fn rotation(portrait: &Portrait, at: EventTime) -> Option<String> {
    let rotation = portrait.rotation.at(at)?;
    Some(match (rotation.enabled, rotation.period_days) {
        (false, _) => "off".to_owned(),
        (true, Some(days)) => format!("every {days} days"),
        (true, None) => "on".to_owned(),
    })
}

pub(super) fn grants(portrait: &Portrait, arn: &str, at: EventTime, redaction: Redaction) -> Grants {
    let mut live: Vec<&Grant> = portrait.grants().map(|(_, grant)| grant).filter(|grant| grant.lives(at)).collect();
    live.sort_by_key(|grant| grant.facts.as_ref().map(|facts| (facts.created, facts.id.clone())));
    let ended = portrait.grants().filter(|(_, grant)| grant.end.as_ref().is_some_and(|(end, _)| *end < at)).count();
    let not_shown = live.len().saturating_sub(MAX_GRANTS);
    let shown = live.into_iter().take(MAX_GRANTS).filter_map(|grant| grant_shown(grant, arn, redaction)).collect();
    Grants { live: shown, not_shown, ended }
}

fn grant_shown(grant: &Grant, arn: &str, redaction: Redaction) -> Option<GrantShown> {
    let facts = grant.facts.as_ref()?;
    let owner = arn_parts(arn).map(|parts| parts.account);
    let who = |text: &String| printable(&short_name(text));
    let account = match arn_parts(&facts.grantee) {
        Some(parts) => Some(parts.account).filter(|account| !account.is_empty()),
        None => {
            Some(facts.grantee.as_str()).filter(|text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()))
        }
    };
    let context = |how: &str, name: &String, value: &String| {
        printable(&format!("context {how} {name}={}", redaction.field("requestParameters.constraints", value)))
    };
    let equal = facts.context_equals.iter().map(|(name, value)| context("is exactly", name, value));
    let subset = facts.context_subset.iter().map(|(name, value)| context("has", name, value));
    let source = facts.source_arn.iter().map(|source| printable(&format!("for {source}")));
    Some(GrantShown {
        id: printable(&facts.id),
        name: facts.name.as_deref().map(printable),
        grantee: who(&facts.grantee),
        external: account.zip(owner).map(|(grantee, owner)| grantee != owner),
        operations: facts.operations.iter().map(|operation| printable(operation)).collect(),
        constraints: equal.chain(subset).chain(source).collect(),
        retiring: facts.retiring.as_ref().map(who),
        made_by: facts.issuer.as_ref().map(who),
        made_at: facts.created,
    })
}
