//! What a record changes of the picture: policies, grants, aliases, tags, states.
//!
//! Only calls that succeeded change anything. These are rare (fewer than one record in a hundred;
//! aws-facts 1.3), so they are read whole.
//!
//! Must not: keep state.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::version::Stamp;
use crate::event::derive::{KMS_SOURCE, uses_of};
use crate::event::field::core;
use crate::event::key::arn_parts;
use crate::event::principal::role_of_session;
use crate::event::record::Record;
use crate::keys::snapshot::{GrantFacts, Rotation};
use crate::time::{EventTime, Span};

/// One change of one key or alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key came to be.
    Created {
        /// ARN of the key.
        key: String,
        /// Fixed facts of it.
        about: About,
    },
    /// A key policy was put.
    Policy {
        /// ARN of the key.
        key: String,
        /// The policy's text.
        text: String,
        /// Who put it.
        by: String,
    },
    /// A grant was made.
    Granted {
        /// ARN of the key.
        key: String,
        /// The grant.
        grant: GrantFacts,
    },
    /// A grant ended.
    GrantEnded {
        /// ARN of the key.
        key: String,
        /// Id of the grant.
        id: String,
        /// Retired or revoked, and by whom.
        how: String,
    },
    /// An alias was put on a key, or taken away.
    Alias {
        /// Account and Region of the alias.
        place: String,
        /// `alias/...`.
        alias: String,
        /// ARN of its key.
        key: Option<String>,
    },
    /// A tag was set or taken away.
    Tag {
        /// ARN of the key.
        key: String,
        /// Name of the tag.
        name: String,
        /// Its value.
        value: Option<String>,
    },
    /// The key came to another state.
    State {
        /// ARN of the key.
        key: String,
        /// KeyState of the API, or `Deleted`.
        state: String,
        /// When KMS deletes it.
        deletion: Option<EventTime>,
    },
    /// Automatic rotation was switched.
    Rotation {
        /// ARN of the key.
        key: String,
        /// On or off.
        rotation: Rotation,
    },
}

/// Facts of a key that never change.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct About {
    /// `SYMMETRIC_DEFAULT`, `RSA_2048`, ...
    pub spec: Option<String>,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, ...
    pub usage: Option<String>,
    /// `AWS_KMS`, `EXTERNAL`, ...
    pub origin: Option<String>,
    /// When it was made.
    pub created: Option<EventTime>,
    /// ARN of the primary, of a multi-Region key.
    pub primary: Option<String>,
}

/// Calls that change something, in the spelling of `eventName`.
pub const NAMES: &[&str] = &[
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateGrant",
    "CreateKey",
    "DeleteAlias",
    "DeleteExpiredKeyMaterial",
    "DeleteImportedKeyMaterial",
    "DeleteKey",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
    "EnableKeyRotation",
    "ImportKeyMaterial",
    "KMS CMK Deletion",
    "KMS Imported Key Material Expiration",
    "PutKeyPolicy",
    "ReplicateKey",
    "RetireGrant",
    "RevokeGrant",
    "ScheduleKeyDeletion",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
];

/// More tags than a key can have (50) are somebody's play.
const MAX_TAGS: usize = 50;

/// When and by which record.
#[must_use]
pub fn stamp_of(record: &Record<'_>) -> Stamp {
    Stamp { time: record.time, event: record.id.as_str().to_owned() }
}

/// What a record changes, nothing for most.
#[must_use]
pub fn changes_of(record: &Record<'_>) -> Vec<Change> {
    let name = record.name();
    let is_change = record.source() == KMS_SOURCE && NAMES.binary_search(&name).is_ok();
    if !is_change || record.fields.text(core::ERROR_CODE).is_some() {
        return Vec::new();
    }
    let Ok(whole) = serde_json::from_str::<Value>(record.raw) else { return Vec::new() };
    let Some(used) = uses_of(record).into_iter().next() else { return Vec::new() };
    let place = place_of(record);
    let key = used.key.as_ref().and_then(|key| {
        key.arn.clone().or_else(|| Some(format!("arn:{}:kms:{}:key/{}", partition(&place), place, key.id.as_ref()?)))
    });
    let call = Call { whole: &whole, record, key, place, by: used.principal.canonical };
    call.changes(name)
}

/// One call, read whole.
struct Call<'a> {
    whole: &'a Value,
    record: &'a Record<'a>,
    key: Option<String>,
    place: String,
    by: String,
}

impl Call<'_> {
    fn changes(&self, name: &str) -> Vec<Change> {
        let Some(key) = self.key.clone() else {
            let is_alias = matches!(name, "DeleteAlias" | "CreateAlias" | "UpdateAlias");
            return if is_alias { self.alias(name, None) } else { Vec::new() };
        };
        let state = |state: &str, deletion| vec![Change::State { key: key.clone(), state: state.to_owned(), deletion }];
        match name {
            "CreateKey" => self.created(&key, "keyMetadata"),
            "ReplicateKey" => self.replicated(),
            "PutKeyPolicy" => self.policy(&key, self.text("/requestParameters/policy")),
            "CreateGrant" => vec![Change::Granted { grant: self.grant(), key }],
            "RetireGrant" | "RevokeGrant" => self.grant_ended(name, &key),
            "CreateAlias" | "UpdateAlias" | "DeleteAlias" => self.alias(name, Some(key)),
            "TagResource" => self.tags(&key),
            "UntagResource" => {
                let names = self.texts("/requestParameters/tagKeys").into_iter().take(MAX_TAGS);
                names.map(|name| Change::Tag { key: key.clone(), name, value: None }).collect()
            }
            "DisableKey" | "CancelKeyDeletion" => state("Disabled", None),
            "EnableKey" | "ImportKeyMaterial" => state("Enabled", None),
            "DeleteImportedKeyMaterial" | "DeleteExpiredKeyMaterial" | "KMS Imported Key Material Expiration" => {
                state("PendingImport", None)
            }
            "ScheduleKeyDeletion" => {
                let days = self.number("/requestParameters/pendingWindowInDays").unwrap_or(30).min(30);
                state("PendingDeletion", Some(self.record.time + Span::from_secs(days * 86_400)))
            }
            "DeleteKey" | "KMS CMK Deletion" => state("Deleted", None),
            "EnableKeyRotation" => {
                let period = self.number("/requestParameters/rotationPeriodInDays");
                let period_days = period.and_then(|days| u32::try_from(days).ok());
                vec![Change::Rotation { key, rotation: Rotation { enabled: true, period_days } }]
            }
            "DisableKeyRotation" => {
                vec![Change::Rotation { key, rotation: Rotation { enabled: false, period_days: None } }]
            }
            _ => Vec::new(),
        }
    }

    fn policy(&self, key: &str, text: Option<String>) -> Vec<Change> {
        text.map(|text| Change::Policy { key: key.to_owned(), text, by: self.by.clone() }).into_iter().collect()
    }

    /// A new key, with its policy and tags.
    fn created(&self, key: &str, metadata: &str) -> Vec<Change> {
        let of = |name: &str| self.text(&format!("/responseElements/{metadata}/{name}"));
        let about = About {
            spec: of("keySpec").or_else(|| of("customerMasterKeySpec")),
            usage: of("keyUsage"),
            origin: of("origin"),
            created: Some(self.record.time),
            primary: of("multiRegionConfiguration/primaryKey/arn"),
        };
        let mut changes = vec![Change::Created { key: key.to_owned(), about }];
        let state = of("keyState").unwrap_or_else(|| "Enabled".to_owned());
        changes.push(Change::State { key: key.to_owned(), state, deletion: None });
        changes.extend(self.tags(key));
        // KMS writes a default policy when none is given, and the record does not show it.
        let default = || arn_parts(key).map(|parts| default_policy(parts.account));
        changes.extend(self.policy(key, self.text("/requestParameters/policy").or_else(default)));
        changes
    }

    /// The replica is the new key; its policy is in the answer (aws-facts 2.3).
    fn replicated(&self) -> Vec<Change> {
        let Some(replica) = self.text("/responseElements/replicaKeyMetadata/arn") else { return Vec::new() };
        let policy = self.text("/responseElements/replicaPolicy").or_else(|| self.text("/requestParameters/policy"));
        let mut changes = self.created(&replica, "replicaKeyMetadata");
        changes.retain(|change| !matches!(change, Change::Policy { .. }));
        changes.extend(self.policy(&replica, policy));
        changes
    }

    fn grant(&self) -> GrantFacts {
        let asked = |name: &str| self.text(&format!("/requestParameters/{name}"));
        let who = |principal: &str, service: &str| {
            let service = asked(service).map(|service| format!("service:{service}"));
            service.or_else(|| asked(principal).map(|given| role_of_session(&given)))
        };
        let map = |name: &str| -> BTreeMap<String, String> {
            let given = self.whole.pointer(&format!("/requestParameters/constraints/{name}"));
            let members = given.and_then(Value::as_object).into_iter().flatten();
            members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        let id = self.text("/responseElements/grantId").unwrap_or_else(|| format!("event:{}", self.record.id.as_str()));
        GrantFacts {
            id,
            name: asked("name"),
            grantee: who("granteePrincipal", "granteeServicePrincipal").unwrap_or_default(),
            retiring: who("retiringPrincipal", "retiringServicePrincipal"),
            issuer: Some(self.by.clone()),
            operations: self.texts("/requestParameters/operations").into_iter().collect::<BTreeSet<_>>(),
            context_equals: map("encryptionContextEquals"),
            context_subset: map("encryptionContextSubset"),
            source_arn: asked("constraints/sourceArn"),
            created: Some(self.record.time),
        }
    }

    /// RetireGrant tells the grant beside request and answer.
    fn grant_ended(&self, name: &str, key: &str) -> Vec<Change> {
        let places = ["/requestParameters/grantId", "/additionalEventData/grantId", "/responseElements/grantId"];
        let id = places.iter().find_map(|place| self.text(place));
        let verb = if name == "RevokeGrant" { "revoked" } else { "retired" };
        let ended = |id| Change::GrantEnded { key: key.to_owned(), id, how: format!("{verb} by {}", self.by) };
        id.map(ended).into_iter().collect()
    }

    fn alias(&self, name: &str, key: Option<String>) -> Vec<Change> {
        let Some(alias) = self.text("/requestParameters/aliasName") else { return Vec::new() };
        let key = key.filter(|_| name != "DeleteAlias");
        if key.is_none() && name != "DeleteAlias" {
            return Vec::new();
        }
        vec![Change::Alias { place: self.place.clone(), alias, key }]
    }

    fn tags(&self, key: &str) -> Vec<Change> {
        let given = self.whole.pointer("/requestParameters/tags").and_then(Value::as_array);
        let read = |tag: &Value| {
            let name = tag.get("tagKey")?.as_str()?.to_owned();
            let value = Some(tag.get("tagValue").and_then(Value::as_str).unwrap_or_default().to_owned());
            Some(Change::Tag { key: key.to_owned(), name, value })
        };
        given.into_iter().flatten().filter_map(read).take(MAX_TAGS).collect()
    }

    fn text(&self, pointer: &str) -> Option<String> {
        self.whole.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn texts(&self, pointer: &str) -> Vec<String> {
        let items = self.whole.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn number(&self, pointer: &str) -> Option<u64> {
        let value = self.whole.pointer(pointer)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }
}

/// What KMS writes for a key that is made without a policy (aws-facts 7).
#[must_use]
pub fn default_policy(account: &str) -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
    .to_string()
}

/// `REGION:ACCOUNT`, as in an ARN, of where a record was written.
#[must_use]
pub fn place_of(record: &Record<'_>) -> String {
    let text = |id| record.fields.text(id);
    let listed = text(core::RESOURCE_ARN).and_then(arn_parts).map(|parts| (parts.region, parts.account));
    let (region, account) = listed.unwrap_or((
        text(core::AWS_REGION).unwrap_or_default(),
        text(core::RECIPIENT_ACCOUNT).or_else(|| text(core::IDENTITY_ACCOUNT)).unwrap_or_default(),
    ));
    format!("{region}:{account}")
}

/// The partition of a Region.
#[must_use]
pub fn partition(place: &str) -> &'static str {
    match place {
        place if place.starts_with("cn-") => "aws-cn",
        place if place.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::field::Projection;
    use crate::event::record::decode;

    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/k-1";

    fn changes(name: &str, rest: &str) -> Vec<Change> {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventID":"e-1","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333","userIdentity":{{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/ann"}},{rest}}}"#
        );
        changes_of(&decode(&raw, &Projection::fixed()).unwrap())
    }

    fn on(rest: &str) -> String {
        format!(r#"{rest},"resources":[{{"ARN":"{KEY}"}}]"#)
    }

    #[test]
    fn names_are_sorted() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn grants_are_read_with_their_bounds_and_end_by_their_id() {
        let made = changes(
            "CreateGrant",
            &on(
                r#""requestParameters":{"granteePrincipal":"arn:aws:sts::111122223333:assumed-role/app/s","operations":["Decrypt","Encrypt"],"constraints":{"encryptionContextSubset":{"purpose":"x"}},"retiringPrincipal":"arn:aws:iam::111122223333:user/bo"},"responseElements":{"grantId":"g-1"}"#,
            ),
        );
        let [Change::Granted { key, grant }] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((key.as_str(), grant.id.as_str()), (KEY, "g-1"));
        assert_eq!(grant.grantee, "arn:aws:iam::111122223333:role/app");
        assert_eq!(grant.context_subset["purpose"], "x");
        assert_eq!(grant.issuer.as_deref(), Some("arn:aws:iam::111122223333:user/ann"));
        let retired =
            changes("RetireGrant", &on(r#""requestParameters":null,"additionalEventData":{"grantId":"g-1"}"#));
        let how = "retired by arn:aws:iam::111122223333:user/ann".to_owned();
        assert_eq!(retired, [Change::GrantEnded { key: KEY.to_owned(), id: "g-1".to_owned(), how }]);
    }

    #[test]
    fn aliases_tags_and_states() {
        let alias = on(r#""requestParameters":{"aliasName":"alias/vault","targetKeyId":"k-1"}"#);
        let put = |key: Option<&str>| Change::Alias {
            place: "eu-west-1:111122223333".to_owned(),
            alias: "alias/vault".to_owned(),
            key: key.map(str::to_owned),
        };
        assert_eq!(changes("UpdateAlias", &alias), [put(Some(KEY))]);
        assert_eq!(changes("DeleteAlias", &alias), [put(None)]);
        assert_eq!(changes("DeleteAlias", r#""requestParameters":{"aliasName":"alias/vault"}"#), [put(None)]);
        let tags = changes("TagResource", &on(r#""requestParameters":{"tags":[{"tagKey":"a","tagValue":"b"},7]}"#));
        let tag = |value: Option<&str>| Change::Tag {
            key: KEY.to_owned(),
            name: "a".to_owned(),
            value: value.map(str::to_owned),
        };
        assert_eq!(tags, [tag(Some("b"))]);
        assert_eq!(changes("UntagResource", &on(r#""requestParameters":{"tagKeys":["a"]}"#)), [tag(None)]);
        let deletion =
            changes("ScheduleKeyDeletion", &on(r#""requestParameters":{"keyId":"k-1","pendingWindowInDays":7}"#));
        let [Change::State { state, deletion: Some(at), .. }] = deletion.as_slice() else { panic!("{deletion:?}") };
        assert_eq!((state.as_str(), at.to_string()), ("PendingDeletion", "2026-01-12T10:00:00Z".to_owned()));
    }

    #[test]
    fn a_replica_is_a_key_of_its_own_and_what_failed_changes_nothing() {
        let replica = "arn:aws:kms:us-east-1:111122223333:key/mrk-1";
        let made = changes(
            "ReplicateKey",
            &on(&format!(
                r#""requestParameters":{{"keyId":"mrk-1","policy":"{{}}"}},"responseElements":{{"replicaKeyMetadata":{{"arn":"{replica}","keyState":"Creating","multiRegionConfiguration":{{"primaryKey":{{"arn":"{KEY}"}}}}}},"replicaPolicy":"{{\"a\":1}}"}}"#
            )),
        );
        let policies: Vec<_> = made
            .iter()
            .filter_map(|change| match change {
                Change::Policy { key, text, .. } => Some((key.as_str(), text.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(policies, [(replica, "{\"a\":1}")]);
        assert_eq!(changes("DisableKey", &on(r#""errorCode":"AccessDenied""#)), []);
        assert_eq!(changes("Decrypt", &on(r#""requestParameters":null"#)), []);
        assert_eq!(changes("PutKeyPolicy", &on(r#""requestParameters":null"#)), []);
    }

    #[test]
    fn a_key_named_by_its_id_alone_is_of_the_records_account() {
        let made = changes("EnableKeyRotation", r#""requestParameters":{"keyId":"k-1"}"#);
        let rotation = Rotation { enabled: true, period_days: None };
        assert_eq!(made, [Change::Rotation { key: KEY.to_owned(), rotation }]);
    }
}
