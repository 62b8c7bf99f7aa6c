//! Finds the predicates that a record may meet.
//!
//! Before a record's fields are derived, its source and name say whether any rule wants it. After
//! that each predicate is looked up under one field that it needs: the most telling one, by the
//! values that it must have, or by its being there at all. So a thousand rules on Decrypt that differ
//! in the key cost as little as a thousand on different calls.
//!
//! Invariant: it may name a predicate that does not hold, never leave out one that does (property
//! test against the full scan).

use std::collections::{BTreeSet, HashMap};

use super::predicate::Predicate;
use crate::event::field::{FieldId, FieldValue, Fields, core, derived};

/// Predicates by the source and name that they need.
#[derive(Debug, Default)]
pub struct Index {
    by_source: HashMap<String, ByName>,
    any_source: ByName,
    /// By field, in the order of [`TELLING`]: predicates by a value that the field must have.
    by_value: Vec<(FieldId, HashMap<String, Vec<usize>>)>,
    /// By a field that must be there.
    by_presence: Vec<(FieldId, Vec<usize>)>,
    /// What needs none of these.
    always: Vec<usize>,
}

/// Fields that predicates are looked up under, the most telling first: what few records have, then
/// what has many values.
const TELLING: &[FieldId] = &[
    derived::SUPPLY_LINE,
    derived::DECOY,
    derived::RETIRED,
    derived::ATTESTATION_REQUIRED,
    derived::IN_NO_DOMAIN,
    derived::REGION_APPROVED,
    derived::POLICY_PUBLIC,
    derived::POLICY_LOCKS_OUT,
    derived::TRAIL_BLINDS_KMS,
    derived::KEY_STATE_ERROR,
    derived::KEY_ARN,
    derived::KEY_ID,
    derived::ALIAS,
    derived::PRINCIPAL,
    core::ISSUER_ARN,
    core::IDENTITY_ARN,
    core::IDENTITY_USER_NAME,
    derived::SESSION,
    derived::DOMAIN,
    core::ERROR_CODE,
    core::EVENT_NAME,
    derived::OPERATION,
    derived::CLASS,
    core::SOURCE_IP,
    core::USER_AGENT,
    derived::TIER,
    core::IDENTITY_TYPE,
    derived::PRINCIPAL_TYPE,
    core::EVENT_TYPE,
    derived::OUTCOME,
    core::EVENT_SOURCE,
];

/// Fields that few records have, so that their being there tells much.
const RARE: &[FieldId] = &[
    derived::SUPPLY_LINE,
    derived::DECOY,
    derived::MATERIAL_HOURS,
    derived::POLICY_EXTERNAL,
    derived::POLICY_PRINCIPALS,
    derived::POLICY_READABLE,
    derived::GRANTEE,
    derived::KEY_STATE_ERROR,
    derived::OTHER_KEY,
    derived::IN_NO_DOMAIN,
    derived::REGION_APPROVED,
    core::ERROR_CODE,
    core::ERROR_MESSAGE,
];

#[derive(Debug, Default)]
struct ByName {
    by_name: HashMap<String, Vec<usize>>,
    any_name: Vec<usize>,
}

impl ByName {
    fn add(&mut self, predicate: usize, names: Option<&BTreeSet<String>>) {
        match names {
            None => self.any_name.push(predicate),
            Some(names) => {
                for name in names {
                    self.by_name.entry(name.clone()).or_default().push(predicate);
                }
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        !self.any_name.is_empty() || self.by_name.contains_key(name)
    }
}

impl Index {
    /// An index over predicates, known by their position.
    #[must_use]
    pub fn over(predicates: &[Predicate]) -> Self {
        let mut index = Self::default();
        for (position, predicate) in predicates.iter().enumerate() {
            let names = predicate.required(core::EVENT_NAME);
            match predicate.required(core::EVENT_SOURCE) {
                None => index.any_source.add(position, names.as_ref()),
                Some(sources) => {
                    for source in sources {
                        index.by_source.entry(source).or_default().add(position, names.as_ref());
                    }
                }
            }
            index.place(position, predicate);
        }
        index
    }

    /// Puts a predicate under the first field that tells it.
    fn place(&mut self, position: usize, predicate: &Predicate) {
        for field in TELLING {
            let Some(values) = predicate.required(*field) else { continue };
            let at = self.by_value.iter().position(|(known, _)| known == field).unwrap_or_else(|| {
                self.by_value.push((*field, HashMap::new()));
                self.by_value.len() - 1
            });
            if let Some((_, map)) = self.by_value.get_mut(at) {
                for value in values {
                    map.entry(value).or_default().push(position);
                }
            }
            return;
        }
        match RARE.iter().find(|field| predicate.needs(**field)) {
            None => self.always.push(position),
            Some(field) => match self.by_presence.iter_mut().find(|(known, _)| known == field) {
                Some((_, list)) => list.push(position),
                None => self.by_presence.push((*field, vec![position])),
            },
        }
    }

    /// Whether any predicate may hold for a record of this source and name.
    #[must_use]
    pub fn wants(&self, source: &str, name: &str) -> bool {
        let (source, name) = (source.to_lowercase(), name.to_lowercase());
        self.any_source.has(&name) || self.by_source.get(&source).is_some_and(|by_name| by_name.has(&name))
    }

    /// The predicates that may hold for a record with its fields derived, each once, in order.
    pub fn candidates(&self, fields: &Fields<'_>, out: &mut Vec<usize>) {
        out.clear();
        out.extend(&self.always);
        for (field, list) in &self.by_presence {
            if fields.is_present(*field) {
                out.extend(list);
            }
        }
        for (field, map) in &self.by_value {
            for text in fields.values(*field).iter().filter_map(FieldValue::to_text) {
                let found =
                    if text.chars().any(char::is_uppercase) { map.get(&text.to_lowercase()) } else { map.get(&*text) };
                out.extend(found.into_iter().flatten());
            }
        }
        out.sort_unstable();
        out.dedup();
    }
}
