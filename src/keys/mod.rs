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
use crate::event::record::Record;
use inventory::{Inventory, Known};

/// Fills in the `kms.*` fields that the inventory knows, after [`crate::event::derive::derive`].
pub fn enrich(record: &mut Record<'_>, used: &Use, inventory: &Inventory) {
    if let Some(resource) = inventory.supply_line.touched(record.source(), &record.fields, used.key.as_ref()) {
        record.fields.set_text(derived::SUPPLY_LINE, resource.kind.as_str());
        record.fields.set_text(derived::SUPPLY_LINE_ARN, resource.arn.clone());
    }
    trust(&mut record.fields, inventory);
    let Some(key) = &used.key else { return };
    let account = used.principal.account.as_deref();
    let Some(domain) = inventory.domain_of(key, account, &Known::default) else {
        if inventory.is_complete {
            record.fields.set(derived::IN_NO_DOMAIN, FieldValue::Bool(true));
        }
        return;
    };
    let call = expect::Call::of(used, record.name(), &record.fields, record.time);
    let judgement = expect::judge(domain, &call, inventory);
    let alias = inventory.alias_of(key).map(str::to_owned).or_else(|| key.alias.clone());
    let fields = &mut record.fields;
    fields.set_text(derived::DOMAIN, domain.name.clone());
    set_some(fields, derived::TIER, domain.tier.as_deref());
    set_some(fields, derived::OWNER, domain.owner.as_deref());
    if let Some(alias) = alias {
        fields.set_text(derived::KEY, alias.clone());
        fields.set_text(derived::ALIAS, alias);
    }
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
        fields.set(derived::EXPECTED, FieldValue::Bool(judgement.expected));
        fields.set_text(derived::EXPECTED_REASON, judgement.reason);
        set_some(fields, derived::BREAK_GLASS, judgement.ticket.as_deref());
    }
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
