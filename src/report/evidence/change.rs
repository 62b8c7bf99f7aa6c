//! What a call changed, in a few words.
//!
//! Texts of the record are clipped; who prints them makes them printable.

use serde_json::Value;

use super::history::{History, KeyName};
use crate::event::principal::role_of_session;
use crate::keys::expect::short_name;
use crate::keys::picture::change::default_policy;
use crate::keys::picture::version::Stamp;
use crate::keys::picture::words::policy_change;
use crate::time::{EventTime, Span};

/// One call that changes a key.
#[derive(Debug)]
pub struct Changing<'a> {
    /// `eventName`.
    pub operation: &'a str,
    /// The record.
    pub whole: &'a Value,
    /// The key that is changed.
    pub key: Option<&'a KeyName>,
    /// `REGION:ACCOUNT` of the record.
    pub place: &'a str,
    /// When, and by which record.
    pub stamp: &'a Stamp,
    /// What other records say.
    pub history: &'a History,
}

/// Principals, tags or operations named one by one.
const MAX_NAMED: usize = 6;
const MAX_CHARS: usize = 512;

impl Changing<'_> {
    /// What changed; nothing to add to the operation's own name for some.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let words = match self.operation {
            "PutKeyPolicy" => self.put_policy(),
            "CreateGrant" => Some(self.created_grant()),
            "RevokeGrant" => Some(self.ended_grant("revoked")),
            "RetireGrant" => Some(self.ended_grant("retired")),
            "CreateAlias" => self.asked("aliasName").map(|alias| format!("{alias} put on {}", self.key_text())),
            "UpdateAlias" => self.moved_alias(),
            "DeleteAlias" => {
                let before = self.alias_before().map_or_else(|| self.key_text(), |arn| short_key(&arn));
                self.asked("aliasName").map(|alias| format!("{alias} taken off {before}"))
            }
            "TagResource" => Some(self.tags()),
            "UntagResource" => Some(format!("tags removed: {}", list(&self.texts("/requestParameters/tagKeys")))),
            "DisableKey" => Some("switched off".to_owned()),
            "EnableKey" => Some("switched on".to_owned()),
            "ScheduleKeyDeletion" => Some(self.scheduled()),
            "CancelKeyDeletion" => Some("deletion cancelled; the key stays disabled".to_owned()),
            "DeleteKey" | "KMS CMK Deletion" => Some("deleted by KMS, its waiting period over".to_owned()),
            "DeleteImportedKeyMaterial" => Some("imported key material deleted, the key unusable at once".to_owned()),
            "DeleteExpiredKeyMaterial" | "KMS Imported Key Material Expiration" => {
                Some("imported key material expired".to_owned())
            }
            "ImportKeyMaterial" => Some(self.imported()),
            "EnableKeyRotation" => Some(match self.number("/requestParameters/rotationPeriodInDays") {
                Some(days) => format!("automatic rotation on, every {days} days"),
                None => "automatic rotation on".to_owned(),
            }),
            "DisableKeyRotation" => Some("automatic rotation off".to_owned()),
            "RotateKeyOnDemand" => Some("rotation on demand begun".to_owned()),
            "RotateKey" | "KMS CMK Rotation" => Some(match self.text("/serviceEventDetails/rotationType") {
                Some(kind) => format!("rotated by KMS ({})", kind.to_lowercase()),
                None => "rotated by KMS".to_owned(),
            }),
            "ReplicateKey" => self.asked("replicaRegion").map(|region| format!("replica made in {region}")),
            "UpdatePrimaryRegion" => {
                self.asked("primaryRegion").map(|region| format!("{region} becomes the primary Region"))
            }
            "SynchronizeMultiRegionKey" => Some("replica brought up to date by KMS".to_owned()),
            "CreateKey" => Some(self.created()),
            "UpdateKeyDescription" => Some("description changed".to_owned()),
            _ => None,
        };
        words.map(|words| super::row::clip(&words, MAX_CHARS))
    }

    fn put_policy(&self) -> Option<String> {
        let after = self.asked("policy")?;
        let before = self.key.and_then(|key| self.history.policy_before(key, self.stamp));
        let words = policy_change(before, &after, self.key.map(KeyName::account));
        let bypass = self.whole.pointer("/requestParameters/bypassPolicyLockoutSafetyCheck");
        let is_bypass = bypass.is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"));
        Some(if is_bypass { format!("{words}; lockout safety check bypassed") } else { words })
    }

    fn created_grant(&self) -> String {
        let grantee = self.asked("granteeServicePrincipal").map(|service| format!("service:{service}"));
        let grantee = grantee.or_else(|| self.asked("granteePrincipal").map(|given| role_of_session(&given)));
        let mut words = format!(
            "grant to {} for {}",
            grantee.as_deref().map_or_else(|| "nobody named".to_owned(), short_name),
            list(&self.texts("/requestParameters/operations"))
        );
        let names = |kind: &str| {
            let given = self.whole.pointer(&format!("/requestParameters/constraints/{kind}"));
            given.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let bounds = [names("encryptionContextEquals"), names("encryptionContextSubset")].concat();
        if !bounds.is_empty() {
            words += &format!(", bound to context {}", list(&bounds));
        }
        if let Some(retiring) = self.asked("retiringPrincipal") {
            words += &format!(", retired by {}", short_name(&role_of_session(&retiring)));
        }
        if let Some(id) = self.text("/responseElements/grantId") {
            words += &format!(" (grant {})", short_id(&id));
        }
        words
    }

    fn ended_grant(&self, verb: &str) -> String {
        let places = ["/requestParameters/grantId", "/additionalEventData/grantId", "/responseElements/grantId"];
        let Some(id) = places.iter().find_map(|place| self.text(place)) else { return format!("a grant {verb}") };
        match self.history.grant(&id) {
            Some(grant) => {
                let operations: Vec<_> = grant.operations.iter().cloned().collect();
                format!("grant {} to {} for {} {verb}", short_id(&id), short_name(&grant.grantee), list(&operations))
            }
            None => format!("grant {} {verb}", short_id(&id)),
        }
    }

    fn moved_alias(&self) -> Option<String> {
        let alias = self.asked("aliasName")?;
        let from = self.alias_before().map_or_else(|| "an unknown key".to_owned(), |arn| short_key(&arn));
        let to = self.asked("targetKeyId").map_or_else(|| self.key_text(), |target| short_key(&target));
        Some(format!("{alias} moved from {from} to {to}"))
    }

    /// The key that the alias stood for until then.
    fn alias_before(&self) -> Option<String> {
        let alias = (self.place.to_owned(), self.asked("aliasName")?);
        self.history.key_before(&alias, self.stamp).map(str::to_owned)
    }

    fn tags(&self) -> String {
        let given = self.whole.pointer("/requestParameters/tags").and_then(Value::as_array);
        let read = |tag: &Value| {
            let value = tag.get("tagValue").and_then(Value::as_str).unwrap_or_default();
            Some(format!("{}={value}", tag.get("tagKey")?.as_str()?))
        };
        format!("tags set: {}", list(&given.into_iter().flatten().filter_map(read).collect::<Vec<_>>()))
    }

    fn scheduled(&self) -> String {
        // KMS waits 30 days unless told otherwise; its own dates are locale text (aws-facts 2.3).
        let days = self.number("/requestParameters/pendingWindowInDays").unwrap_or(30).min(30);
        let until = self.stamp.time + Span::from_secs(days * 86_400);
        format!("to be deleted after {days} days, about {until}")
    }

    fn imported(&self) -> String {
        let until = self.asked("validTo").and_then(|text| EventTime::parse_locale(&text).ok());
        match until {
            Some(until) => format!("key material imported, expires {until}"),
            None => "key material imported, does not expire".to_owned(),
        }
    }

    fn created(&self) -> String {
        let of = |name: &str| self.text(&format!("/responseElements/keyMetadata/{name}"));
        let facts: Vec<_> = [of("keySpec").or_else(|| of("customerMasterKeySpec")), of("keyUsage"), of("origin")]
            .into_iter()
            .flatten()
            .collect();
        let mut words = "made".to_owned();
        if !facts.is_empty() {
            words += &format!(" ({})", facts.join(", "));
        }
        if let Some(after) = self.asked("policy") {
            let owner = self.key.map(KeyName::account);
            words += &format!("; {}", policy_change(owner.map(default_policy).as_deref(), &after, owner));
        }
        words
    }

    fn key_text(&self) -> String {
        self.key.map_or_else(|| "an unknown key".to_owned(), |key| format!("key/{}", key.id))
    }

    fn asked(&self, name: &str) -> Option<String> {
        self.text(&format!("/requestParameters/{name}"))
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

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return "nothing named".to_owned();
    }
    let more = items.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    items.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ") + &more
}

fn short_id(id: &str) -> String {
    id.chars().take(12).collect()
}

/// A key without what every key of a place has in common.
fn short_key(key: &str) -> String {
    KeyName::from_arn(key).map_or_else(|| key.to_owned(), |name| format!("key/{}", name.id))
}
