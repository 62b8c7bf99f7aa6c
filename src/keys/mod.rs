//! Keys: which domain a key belongs to and who is expected to use it.
//!
//! [`inventory`] is what the bank says; [`expect`] judges one use against it.
//!
//! Invariant: pure. A key that no domain covers is never judged: no expectation, no verdict.

pub mod expect;
pub mod inventory;
pub mod pattern;

use crate::event::derive::Use;
use crate::event::field::{FieldValue, Fields, core, derived};
use crate::event::record::Record;
use inventory::Inventory;

/// Fills in the `kms.*` fields that the inventory knows, after [`crate::event::derive::derive`].
pub fn enrich(record: &mut Record<'_>, used: &Use, inventory: &Inventory) {
    let Some(key) = &used.key else { return };
    let Some(domain) = inventory.domain_of(key, used.principal.account.as_deref()) else { return };
    let judgement = expect::judge(domain, used, record.name(), &record.fields, inventory);
    let alias = inventory.alias_of(key).map(str::to_owned).or_else(|| key.alias.clone());
    let fields = &mut record.fields;
    fields.set_text(derived::DOMAIN, domain.name.clone());
    set_some(fields, derived::TIER, domain.tier.as_deref());
    set_some(fields, derived::OWNER, domain.owner.as_deref());
    if let Some(alias) = alias {
        fields.set_text(derived::KEY, alias.clone());
        fields.set_text(derived::ALIAS, alias);
    }
    if let Some(judgement) = judgement {
        fields.set(derived::EXPECTED, FieldValue::Bool(judgement.expected));
        fields.set_text(derived::EXPECTED_REASON, judgement.reason);
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
