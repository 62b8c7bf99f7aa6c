//! Keys: which domain a key belongs to and who is expected to use it.
//!
//! [`inventory`] is what the bank says; [`expect`] judges one use against it.
//!
//! Invariant: pure. A key that no domain covers is never judged: no expectation, no verdict.

pub mod exception;
pub mod expect;
pub mod inventory;
pub mod learn;
pub mod pattern;
pub mod picture;
pub mod schedule;
pub mod snapshot;
pub mod supply;

use crate::event::derive::Use;
use crate::event::field::{FieldValue, Fields, core, derived};
use crate::event::key::KeyRef;
use crate::event::policy::{Decision, Policy, Request};
use crate::event::record::Record;
use inventory::Inventory;
use picture::Picture;
use picture::change::place_of;
use picture::words::{change_in_words, policy_opens};

/// Fills in the `kms.*` fields that inventory and picture know, after
/// [`crate::event::derive::derive`].
pub fn enrich(record: &mut Record<'_>, used: &Use, inventory: &Inventory, picture: &Picture) {
    if let Some(resource) = inventory.supply_line.touched(record.source(), &record.fields, used.key.as_ref()) {
        record.fields.set_text(derived::SUPPLY_LINE, resource.kind.as_str());
        record.fields.set_text(derived::SUPPLY_LINE_ARN, resource.arn.clone());
    }
    trust(&mut record.fields, inventory);
    let Some(key) = &used.key else { return };
    let (place, time) = (place_of(record), record.time);
    let arn = picture.resolve(key, &place, time);
    let call = expect::Call::of(used, record.name(), &record.fields, time);
    let granted = arn.as_deref().and_then(|arn| picture.granting(arn, &call)).map(ToString::to_string);
    let account = used.principal.account.as_deref();
    let domain = inventory.domain_of(key, account, &|| picture.known(key, &place, time));
    let judgement = domain.and_then(|domain| expect::judge(domain, &call, inventory));
    let alias = alias_of(key, arn.as_deref(), inventory, picture, time);
    let change = change_in_words(record, picture);
    let opens = policy_opens(record, picture);
    let is_odd = judgement.as_ref().is_some_and(|judgement| !judgement.expected);
    let policy = arn.as_deref().filter(|_| is_odd).and_then(|arn| allowed_by_policy(record, used, arn, picture));
    let fields = &mut record.fields;
    set_some(fields, derived::CHANGE, change.as_deref());
    if let Some(opens) = opens {
        fields.set(derived::POLICY_OPENS, FieldValue::Bool(opens));
    }
    if let Some(alias) = alias {
        fields.set_text(derived::KEY, alias.clone());
        fields.set_text(derived::ALIAS, alias);
    }
    // A call that was refused before KMS looked the key up names it by alias or id only.
    if let (None, Some(arn)) = (&key.arn, arn) {
        fields.set_text(derived::KEY_ARN, arn);
    }
    set_some(fields, derived::GRANT, granted.as_deref());
    let Some(domain) = domain else {
        if inventory.is_complete {
            fields.set(derived::IN_NO_DOMAIN, FieldValue::Bool(true));
        }
        return;
    };
    fields.set_text(derived::DOMAIN, domain.name.clone());
    set_some(fields, derived::TIER, domain.tier.as_deref());
    set_some(fields, derived::OWNER, domain.owner.as_deref());
    let standing = domain.standing;
    let flags = [
        (derived::ATTESTATION_REQUIRED, standing.attested),
        (derived::DECOY, standing.decoy),
        (derived::RETIRED, standing.retired),
    ];
    for (id, _) in flags.into_iter().filter(|(_, flag)| *flag) {
        fields.set(id, FieldValue::Bool(true));
    }
    if let Some(judgement) = judgement {
        // A grant explains how it was possible; whether it was expected the inventory says.
        let how = granted.map(|grant| format!("; allowed by {grant}")).or(policy).filter(|_| !judgement.expected);
        fields.set(derived::EXPECTED, FieldValue::Bool(judgement.expected));
        fields.set_text(derived::EXPECTED_REASON, judgement.reason + &how.unwrap_or_default());
        set_some(fields, derived::BREAK_GLASS, judgement.ticket.as_deref());
    }
}

/// What the key policy of the time says to a call that was let through, for who wonders how.
fn allowed_by_policy(record: &Record<'_>, used: &Use, arn: &str, picture: &Picture) -> Option<String> {
    let request = Request::of_use(record, used).filter(|_| record.fields.text(core::ERROR_CODE).is_none())?;
    let text = &picture.key(arn)?.policy.at(record.time)?.text;
    match Policy::parse(text).ok()?.decide(&request) {
        Decision::Allowed { by } => Some(format!("; allowed by {by} of the key policy")),
        Decision::Delegated { by, account, .. } => {
            Some(format!("; allowed by an IAM policy of account {account}, to which {by} of the key policy leaves it"))
        }
        Decision::Denied { .. } | Decision::NotAllowed(_) | Decision::Uncertain { .. } => None,
    }
}

/// What people call the key: as the inventory has it, as the record has it, as it stood at the time.
fn alias_of(
    key: &KeyRef,
    arn: Option<&str>,
    inventory: &Inventory,
    picture: &Picture,
    time: crate::time::EventTime,
) -> Option<String> {
    let given = inventory.alias_of(key).map(str::to_owned).or_else(|| key.alias.clone());
    given.or_else(|| picture.aliases_of(arn?, time).into_iter().next())
}

/// Which accounts and Regions of a record are the organisation's.
fn trust(fields: &mut Fields<'_>, inventory: &Inventory) {
    let accounts = [
        (derived::OWNER_ACCOUNT, derived::OWNER_TRUSTED),
        (derived::CALLER_ACCOUNT, derived::CALLER_TRUSTED),
        (derived::GRANTEE_ACCOUNT, derived::GRANTEE_TRUSTED),
    ];
    for (account, verdict) in accounts {
        if let Some(trusted) = fields.text(account).and_then(|account| inventory.trusts(account)) {
            fields.set(verdict, FieldValue::Bool(trusted));
        }
    }
    let external = fields.values(derived::POLICY_EXTERNAL);
    let all: Option<Vec<bool>> =
        external.iter().filter_map(FieldValue::as_str).map(|account| inventory.trusts(account)).collect();
    if let Some(all) = all.filter(|all| !all.is_empty()) {
        fields.set(derived::POLICY_TRUSTED, FieldValue::Bool(all.into_iter().all(|trusted| trusted)));
    }
    let requested = fields.text(derived::OTHER_KEY).and_then(crate::event::key::arn_parts);
    if let Some(trusted) = requested.and_then(|parts| inventory.trusts(parts.account)) {
        fields.set(derived::REQUESTED_KEY_TRUSTED, FieldValue::Bool(trusted));
    }
    let region = fields.text(core::REPLICA_REGION).or_else(|| fields.text(core::PRIMARY_REGION));
    if let Some(region) = region.filter(|_| !inventory.approved_regions.is_empty()) {
        let approved = inventory.approved_regions.contains(region);
        fields.set(derived::REGION_APPROVED, FieldValue::Bool(approved));
    }
}

fn set_some(fields: &mut Fields<'_>, id: crate::event::field::FieldId, text: Option<&str>) {
    if let Some(text) = text {
        fields.set_text(id, text.to_owned());
    }
}

/// The encryption context as name-value pairs; empty when the call had none.
pub(crate) fn context_of<'f>(fields: &'f Fields<'_>) -> impl Iterator<Item = (&'f str, &'f str)> {
    fields
        .values(core::ENCRYPTION_CONTEXT)
        .iter()
        .filter_map(|value| match value {
            FieldValue::Json(serde_json::Value::Object(members)) => Some(members),
            _ => None,
        })
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}
