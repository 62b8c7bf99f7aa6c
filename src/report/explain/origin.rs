//! Where each `kms.*` field of a record came from, found again after the fact.
//!
//! The derivation is on the hot path and keeps no account of what it read; this finds the value again
//! in the record, so it can never say a place that does not hold it.
//!
//! Invariant: every derived field has an origin, and a value said to be copied is what stands there
//! (test over the examples of all rules and the synthetic captures).

use serde_json::Value;

use crate::event::derive::Use;
use crate::event::field::{FieldId, Fields, core, derived};
use crate::event::key::KeyRef;
use crate::keys::inventory::Inventory;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// How sure.
    pub kind: Kind,
    /// Paths of the record, names of other derived fields, or `inventory`.
    pub from: Vec<String>,
    /// In words, for what is not simply copied.
    pub how: String,
}

impl Origin {
    /// Of a value that is there and not found again.
    #[must_use]
    pub fn unknown() -> Self {
        worked_out(Vec::new(), "worked out; what of was not found again")
    }
}

/// How a value was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stands there.
    Copied,
    /// It is a part of what stands there.
    Part,
    /// It was worked out of what stands there.
    WorkedOut,
    /// The inventory says so.
    Inventory,
    /// Records before told so, or KMS itself.
    Known,
}

/// What origins are looked for in.
#[derive(Clone, Copy, Debug)]
pub struct Origins<'a> {
    /// With the derived fields of one use filled in.
    pub fields: &'a Fields<'a>,
    /// The record, read whole.
    pub whole: &'a Value,
    /// The use.
    pub used: &'a Use,
    /// What keys were looked up in.
    pub inventory: &'a Inventory,
}

/// Where a record may name its key, surest first.
const KEY_PATHS: &[&str] = &[
    "resources.ARN",
    "resources.arn",
    "responseElements.keyId",
    "responseElements.keyMetadata.arn",
    "serviceEventDetails.keyId",
    "requestParameters.targetKeyId",
    "requestParameters.keyId",
    "requestParameters.aliasName",
    "requestParameters.sourceKeyId",
    "requestParameters.destinationKeyId",
];
const ISSUER_ARN: &str = "userIdentity.sessionContext.sessionIssuer.arn";
const IDENTITY: &[&str] = &[
    "userIdentity.type",
    ISSUER_ARN,
    "userIdentity.arn",
    "userIdentity.accountId",
    "userIdentity.principalId",
    "userIdentity.userName",
    "userIdentity.invokedBy",
    "userIdentity.identityProvider",
    "userIdentity.onBehalfOf.userId",
    "userIdentity.onBehalfOf.identityStoreArn",
];
const CONTEXT: &str = "requestParameters.encryptionContext";
const GRANTEE: &str = "requestParameters.granteePrincipal";
const POLICY: &str = "requestParameters.policy";

fn copied(path: impl Into<String>) -> Origin {
    Origin { kind: Kind::Copied, from: vec![path.into()], how: String::new() }
}

fn part(path: impl Into<String>, how: &str) -> Origin {
    Origin { kind: Kind::Part, from: vec![path.into()], how: how.to_owned() }
}

fn worked_out(from: Vec<String>, how: &str) -> Origin {
    Origin { kind: Kind::WorkedOut, from, how: how.to_owned() }
}

fn listed(what: &str) -> Origin {
    Origin { kind: Kind::Inventory, from: vec!["inventory".to_owned()], how: what.to_owned() }
}

fn known(how: &str) -> Origin {
    Origin { kind: Kind::Known, from: Vec::new(), how: how.to_owned() }
}

impl Origins<'_> {
    /// Where a derived field came from; nothing for a field that is not derived or not there.
    #[must_use]
    pub fn of(&self, id: FieldId) -> Option<Origin> {
        let value = self.fields.values(id).first()?.to_text()?.into_owned();
        let found = self.of_call(id, &value).or_else(|| self.of_caller(id, &value)).or_else(|| self.of_key(id, &value));
        found.or_else(|| self.of_facts(id)).or_else(|| self.of_inventory(id))
    }

    fn of_call(&self, id: FieldId, value: &str) -> Option<Origin> {
        Some(match id {
            derived::OPERATION => copied("eventName"),
            derived::CLASS => worked_out(self.there(&["eventName"]), "the class of the operation"),
            derived::OUTCOME => match self.there(&["errorCode"]) {
                from if from.is_empty() => worked_out(from, "no errorCode: the call succeeded"),
                from => worked_out(from, "by the error code"),
            },
            derived::SOURCE_KIND => match self.there(&["sourceIPAddress"]) {
                from if from.is_empty() => worked_out(from, "no sourceIPAddress"),
                from => worked_out(from, "what kind of thing stands there"),
            },
            derived::OBJECT => self.object(value),
            derived::CHANGE => {
                let paths = ["eventName", "requestParameters", "responseElements"];
                worked_out(self.there(&paths), "what the call changes, beside what was known before")
            }
            derived::ENCRYPTS => worked_out(vec!["kms.operation".to_owned()], "an operation that makes ciphertext"),
            derived::KEY_STATE_ERROR => worked_out(self.there(&["errorMessage"]), "by the words of the message"),
            derived::MATERIAL_HOURS => {
                worked_out(self.there(&["requestParameters.validTo", "eventTime"]), "hours between the two")
            }
            derived::ATTESTED => match self.there(&["additionalEventData.recipient"]) {
                from if from.is_empty() => worked_out(from, "no additionalEventData.recipient"),
                from => worked_out(from, "an attestation document was sent"),
            },
            derived::TRAIL_BLINDS_KMS => {
                let paths = ["eventSelectors", "advancedEventSelectors"];
                let each = ["requestParameters", "responseElements"]
                    .into_iter()
                    .flat_map(|of| paths.map(|path| format!("{of}.{path}")));
                let from = each.flat_map(|path| self.there(&[&path])).collect();
                worked_out(from, "what the selectors leave out")
            }
            _ => return None,
        })
    }

    fn object(&self, value: &str) -> Origin {
        let context = self.at(CONTEXT).into_iter().next().and_then(|(_, context)| context.as_object());
        let mut named = context.into_iter().flatten().filter(|(_, given)| given.as_str() == Some(value));
        match named.next() {
            Some((name, _)) => copied(format!("{CONTEXT}.{name}")),
            None => worked_out(vec![CONTEXT.to_owned()], "a hash, for the context names no resource of AWS"),
        }
    }

    fn of_caller(&self, id: FieldId, value: &str) -> Option<Origin> {
        Some(match id {
            derived::PRINCIPAL => self.principal(value),
            derived::PRINCIPAL_TYPE => self.where_it_stands(value, &["userIdentity.type"]).unwrap_or_else(|| {
                worked_out(Vec::new(), "CloudTrail writes no userIdentity.type on events of services")
            }),
            derived::PRINCIPAL_PATHLESS => worked_out(self.derived(&[derived::PRINCIPAL]), "the same without its path"),
            derived::WHO => worked_out(self.derived(&[derived::PRINCIPAL, derived::SESSION]), "in words"),
            derived::SESSION => {
                let source = "userIdentity.sessionContext.sourceIdentity";
                let held = ["userIdentity.arn", "userIdentity.principalId"];
                let copied = self.where_it_stands(value, &[source]);
                copied
                    .or_else(|| self.part_of(value, &held, "the name of the session"))
                    .unwrap_or_else(|| worked_out(self.there(IDENTITY), "the name of the session, cut short"))
            }
            derived::VIA => copied("userIdentity.invokedBy"),
            derived::CALLER_ACCOUNT => {
                let issuer = "userIdentity.sessionContext.sessionIssuer.accountId";
                let paths = ["userIdentity.accountId", issuer, "recipientAccountId"];
                self.where_it_stands(value, &paths).unwrap_or_else(|| worked_out(self.there(&paths), "cut short"))
            }
            derived::CALLER_TRUSTED => self.trusted(derived::CALLER_ACCOUNT),
            _ => return None,
        })
    }

    fn principal(&self, value: &str) -> Origin {
        if let Some(origin) = self.where_it_stands(value, &[ISSUER_ARN, "userIdentity.arn"]) {
            return origin;
        }
        let from = self.there(IDENTITY);
        if from.is_empty() {
            return worked_out(from, "no userIdentity: a service of AWS");
        }
        let how = match self.used.principal.kind.as_str() {
            "AssumedRole" if value.starts_with("arn:") => "the role of the session; its path is not told",
            "AWSService" | "ServiceEvent" => "a service of AWS",
            "AWSAccount" => "account and unique id, for KMS tells no ARN of a caller from elsewhere",
            "IdentityCenterUser" => "identity store and user",
            "SAMLUser" | "WebIdentityUser" => "identity provider and user",
            _ => "kind, account and what names the caller",
        };
        worked_out(from, how)
    }

    fn of_key(&self, id: FieldId, value: &str) -> Option<Origin> {
        let key = self.used.key.as_ref()?;
        Some(match id {
            derived::KEY_ARN => match [&key.arn, &key.id, &key.alias].into_iter().flatten().any(|name| name == value) {
                true => self.named(value, key),
                false => known("the key that the name in the record stood for"),
            },
            derived::GRANT => known("a grant in force at the time"),
            derived::KEY_ID => match &key.arn {
                Some(arn) => Origin { kind: Kind::Part, how: "the id in the ARN".to_owned(), ..self.named(arn, key) },
                None => self.named(value, key),
            },
            derived::KEY | derived::ALIAS => {
                let in_record = [&key.alias, &key.arn, &key.id].into_iter().flatten().any(|name| name == value);
                let in_inventory = self.inventory.alias_of(key) == Some(value);
                match (in_inventory, in_record) {
                    (true, _) => listed("the alias that it gives the key"),
                    (false, true) => self.named(value, key),
                    (false, false) => known("an alias that the key had at the time"),
                }
            }
            derived::KEY_ROLE => {
                let paths = ["resources.ARN", "requestParameters.sourceKeyId", "requestParameters.destinationKeyId"];
                worked_out(self.there(&paths), "ReEncrypt names first the source, then the destination")
            }
            derived::OWNER_ACCOUNT => match key.account() {
                Some(_) => {
                    let arn = self.named(key.arn.as_deref().unwrap_or_default(), key);
                    Origin { kind: Kind::Part, how: "the account in the ARN".to_owned(), ..arn }
                }
                None => self
                    .where_it_stands(value, &["resources.accountId"])
                    .unwrap_or_else(|| worked_out(self.there(&["resources.accountId"]), "")),
            },
            derived::CROSS_ACCOUNT => {
                worked_out(self.derived(&[derived::OWNER_ACCOUNT, derived::CALLER_ACCOUNT]), "whether the two differ")
            }
            derived::OWNER_TRUSTED => self.trusted(derived::OWNER_ACCOUNT),
            _ => return None,
        })
    }

    /// Where the record says a name of its key.
    fn named(&self, value: &str, key: &KeyRef) -> Origin {
        let texts = KEY_PATHS.iter().flat_map(|path| self.at(path));
        let said = texts.filter_map(|(path, text)| Some((path, text.as_str()?)));
        let of = |text: &str| {
            KeyRef::parse(text)
                .is_some_and(|named| [named.arn, named.id, named.alias].iter().flatten().any(|name| name == value))
        };
        let mut places: Vec<_> = said.filter(|(_, text)| *text == value || of(text)).collect();
        // What stands there as it is comes before what only holds it.
        places.sort_by_key(|(_, text)| *text != value);
        match places.into_iter().next() {
            Some((path, text)) if text == value => copied(path),
            Some((path, _)) => part(path, "the name in the ARN"),
            None if key.arn.as_deref() == Some(value) => {
                part("errorMessage", "the first key ARN in it, for the record names the key nowhere else")
            }
            None => worked_out(self.there(&["errorMessage"]), "the first key ARN in it"),
        }
    }

    fn of_facts(&self, id: FieldId) -> Option<Origin> {
        let value = self.fields.values(id).first()?.to_text()?;
        let policy = |how: &str| worked_out(self.there(&[POLICY]), how);
        Some(match id {
            derived::GRANTEE => {
                let service = "requestParameters.granteeServicePrincipal";
                self.where_it_stands(&value, &[GRANTEE])
                    .unwrap_or_else(|| worked_out(self.there(&[GRANTEE, service]), "the role rather than its session"))
            }
            derived::GRANTEE_PATHLESS => worked_out(self.derived(&[derived::GRANTEE]), "the same without its path"),
            derived::GRANTEE_ACCOUNT => part(GRANTEE, "the account in it"),
            derived::GRANTEE_EXTERNAL => {
                worked_out(self.derived(&[derived::OWNER_ACCOUNT, derived::GRANTEE_ACCOUNT]), "whether the two differ")
            }
            derived::GRANTEE_TRUSTED => self.trusted(derived::GRANTEE_ACCOUNT),
            derived::POLICY_PUBLIC => policy("whether it allows everybody and no condition says whom"),
            derived::POLICY_EXTERNAL => policy("accounts allowed other than the owner's"),
            derived::POLICY_PRINCIPALS => policy("principals allowed"),
            derived::POLICY_LOCKS_OUT => policy("whether nobody of the owner's account may change it again"),
            derived::POLICY_READABLE => policy("whether it could be read"),
            derived::POLICY_OPENS => known("the policy of the time before, which the new one is compared with"),
            derived::POLICY_TRUSTED => self.trusted(derived::POLICY_EXTERNAL),
            derived::OTHER_KEY => {
                let paths = || core::each().map(|(_, path)| path).filter(|path| path.starts_with("requestParameters."));
                let copied = paths().find_map(|path| self.where_it_stands(&value, &[path]));
                copied.or_else(|| paths().find_map(|path| self.part_of(&value, &[path], "cut short")))?
            }
            derived::OTHER_KEY_FOREIGN => {
                let mut from = self.derived(&[derived::OTHER_KEY]);
                from.extend(self.there(&["recipientAccountId"]));
                worked_out(from, "whether the two accounts differ")
            }
            derived::REQUESTED_KEY_TRUSTED => self.trusted(derived::OTHER_KEY),
            _ => return None,
        })
    }

    fn of_inventory(&self, id: FieldId) -> Option<Origin> {
        Some(match id {
            derived::DOMAIN => listed("the domain that has the key"),
            derived::TIER => listed("tier of the domain"),
            derived::OWNER => listed("owner of the domain"),
            derived::EXPECTED | derived::EXPECTED_REASON => listed("the domain's lines of expected use"),
            derived::IN_NO_DOMAIN => listed("it says that it has every key, and this one is in no domain of it"),
            derived::BREAK_GLASS => listed("break-glass access in force"),
            derived::DECOY | derived::RETIRED | derived::ATTESTATION_REQUIRED => listed("standing of the domain"),
            derived::SUPPLY_LINE | derived::SUPPLY_LINE_ARN => listed("its supply line"),
            derived::REGION_APPROVED => {
                let mut origin = listed("approved Regions");
                origin.from.extend(self.there(&["requestParameters.replicaRegion", "requestParameters.primaryRegion"]));
                origin
            }
            _ => return None,
        })
    }

    fn trusted(&self, account: FieldId) -> Origin {
        let mut origin = listed("whether the account is among its accounts");
        origin.from.extend(self.derived(&[account]));
        origin
    }

    /// The first of some paths that holds the value.
    fn where_it_stands(&self, value: &str, paths: &[&str]) -> Option<Origin> {
        let mut places = paths.iter().flat_map(|path| self.at(path));
        places.find(|(_, text)| text.as_str() == Some(value)).map(|(path, _)| copied(path))
    }

    fn part_of(&self, value: &str, paths: &[&str], how: &str) -> Option<Origin> {
        let mut places = paths.iter().flat_map(|path| self.at(path));
        let found = places.find(|(_, text)| text.as_str().is_some_and(|text| text.contains(value)));
        found.map(|(path, _)| part(path, how))
    }

    /// Those of some paths that the record has, one for each element of a list.
    fn there(&self, paths: &[&str]) -> Vec<String> {
        let has = |(path, value): (String, &Value)| (!value.is_null()).then_some(path);
        paths.iter().flat_map(|path| self.at(path)).filter_map(has).collect()
    }

    /// Those of some derived fields that there are, by name.
    fn derived(&self, ids: &[FieldId]) -> Vec<String> {
        ids.iter().filter(|id| self.fields.is_present(**id)).filter_map(|id| derived_path(*id)).collect()
    }

    /// What stands at a path, with the place of each element of a list on the way.
    fn at(&self, path: &str) -> Vec<(String, &Value)> {
        let mut found = vec![(String::new(), self.whole)];
        for segment in path.split('.') {
            let step =
                |(at, value)| elements(at, value).into_iter().filter_map(|(at, value)| member(&at, value, segment));
            found = found.into_iter().flat_map(step).collect();
        }
        // A list of texts where one was expected: each stands for itself.
        let has_text = |value: &Value| value.as_array().is_some_and(|items| items.iter().any(Value::is_string));
        let each = |(at, value)| if has_text(value) { elements(at, value) } else { vec![(at, value)] };
        found.into_iter().flat_map(each).collect()
    }
}

fn elements(at: String, value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| elements(format!("{at}[{index}]"), item)).collect()
        }
        other => vec![(at, other)],
    }
}

fn member<'v>(at: &str, value: &'v Value, name: &str) -> Option<(String, &'v Value)> {
    let inside = value.get(name)?;
    Some((if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }, inside))
}

fn derived_path(id: FieldId) -> Option<String> {
    derived::each().find(|(known, _)| *known == id).map(|(_, path)| path.to_owned())
}

#[cfg(test)]
mod tests;
