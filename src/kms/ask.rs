//! All questions about one key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::DateTime;
use aws_sdk_kms::types::{GrantListEntry, KeyMetadata, KeySpec, OriginType};

use super::pace::{Failure, Pace};
use super::{KmsError, Place};
use crate::event::key::arn_parts;
use crate::event::principal::role_of_session;
use crate::keys::snapshot::{GrantFacts, KeyFacts, MultiRegion, Rotation};
use crate::time::{Clock, EventTime};

/// Pages of one list; 50,000 grants (the quota of AWS for one key) are 500.
const MAX_PAGES: usize = 2_000;
/// Keys in one page of the list of keys, the most that KMS gives.
const KEYS_A_PAGE: i32 = 1000;
/// Grants, aliases in one page.
const ENTRIES_A_PAGE: i32 = 100;
/// Tags in one page: no key has more than 50.
const TAGS_A_PAGE: i32 = 50;

/// Asks the KMS of one account and Region.
pub(super) struct Asker {
    pub(super) place: Place,
    pub(super) client: Client,
    pub(super) pace: Arc<Pace>,
    pub(super) clock: Arc<dyn Clock>,
}

/// One page of a list, and the mark at which the next begins.
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> Page<T> {
    fn of(items: Option<Vec<T>>, truncated: bool, next: Option<String>) -> Self {
        Self { items: items.unwrap_or_default(), next: next.filter(|_| truncated) }
    }
}

impl Asker {
    fn out_of_reach(&self, reason: String) -> KmsError {
        KmsError::OutOfReach { place: self.place.clone(), reason }
    }

    /// The ARNs of all keys, in order.
    pub(super) async fn list(&self) -> Result<BTreeSet<String>, KmsError> {
        let listed = self.pages(|marker| async move {
            let call = || self.client.list_keys().limit(KEYS_A_PAGE).set_marker(marker.clone()).send();
            let page = self.pace.ask("ListKeys", call).await?;
            Ok(Page::of(page.keys, page.truncated, page.next_marker))
        });
        match listed.await {
            Ok(keys) => Ok(keys.into_iter().filter_map(|key| key.key_arn).collect()),
            Err(Failure::OutOfReach(reason)) => Err(self.out_of_reach(reason)),
            Err(Failure::Refused { code, reason }) if is_denial(&code) => {
                Err(KmsError::ListDenied { place: self.place.clone(), reason })
            }
            Err(Failure::Refused { reason, .. }) => Err(KmsError::ListFailed { place: self.place.clone(), reason }),
        }
    }

    /// What KMS says of one key; nothing when it is gone.
    pub(super) async fn key(&self, arn: &str) -> Result<Option<KeyFacts>, KmsError> {
        // Before the first question: what changes meanwhile is told by the stream as later.
        let as_of = self.clock.now();
        let described = self.pace.ask("DescribeKey", || self.client.describe_key().key_id(arn).send()).await;
        if matches!(&described, Err(Failure::Refused { code, .. }) if code == "NotFoundException") {
            return Ok(None);
        }
        let mut unknown = Unknown { asker: self, reasons: BTreeMap::new() };
        let described = unknown.unless("description", described)?.and_then(|answer| answer.key_metadata);
        let policy = || self.client.get_key_policy().key_id(arn).policy_name("default").send();
        let policy = unknown.unless("policy", self.pace.ask("GetKeyPolicy", policy).await)?;
        let grants = unknown.unless("grants", self.grants(arn).await)?;
        let aliases = unknown.unless("aliases", self.aliases(arn).await)?;
        let tags = unknown.unless("tags", self.tags(arn).await)?;
        let rotation = match described.as_ref().and_then(never_rotates) {
            Some(why) => {
                unknown.reasons.insert("rotation".to_owned(), why);
                None
            }
            None => {
                let call = || self.client.get_key_rotation_status().key_id(arn).send();
                unknown.unless("rotation", self.pace.ask("GetKeyRotationStatus", call).await)?
            }
        };
        let rotation = rotation.map(|answer| Rotation {
            enabled: answer.key_rotation_enabled,
            // Only of a key that rotates is the period said to mean anything.
            period_days: answer.rotation_period_in_days.and_then(|days| u32::try_from(days).ok()),
        });
        let mut facts = KeyFacts {
            rotation,
            policy: policy.and_then(|answer| answer.policy),
            aliases: aliases.unwrap_or_default(),
            tags: tags.unwrap_or_default(),
            grants: grants.unwrap_or_default(),
            unknown: unknown.reasons,
            ..nothing_of(arn, as_of)
        };
        if let Some(metadata) = described {
            describe(&mut facts, metadata);
        }
        Ok(Some(facts))
    }

    async fn grants(&self, arn: &str) -> Result<Vec<GrantFacts>, Failure> {
        let listed = self.pages(|marker| async move {
            let call = || self.client.list_grants().key_id(arn).limit(ENTRIES_A_PAGE).set_marker(marker.clone()).send();
            let page = self.pace.ask("ListGrants", call).await?;
            Ok(Page::of(page.grants, page.truncated, page.next_marker))
        });
        // By id, so that the same grants are the same line.
        let by_id: BTreeMap<_, _> =
            listed.await?.into_iter().filter_map(grant).map(|grant| (grant.id.clone(), grant)).collect();
        Ok(by_id.into_values().collect())
    }

    async fn aliases(&self, arn: &str) -> Result<BTreeSet<String>, Failure> {
        let listed = self.pages(|marker| async move {
            let call =
                || self.client.list_aliases().key_id(arn).limit(ENTRIES_A_PAGE).set_marker(marker.clone()).send();
            let page = self.pace.ask("ListAliases", call).await?;
            Ok(Page::of(page.aliases, page.truncated, page.next_marker))
        });
        Ok(listed.await?.into_iter().filter_map(|alias| alias.alias_name).collect())
    }

    async fn tags(&self, arn: &str) -> Result<BTreeMap<String, String>, Failure> {
        let listed = self.pages(|marker| async move {
            let call =
                || self.client.list_resource_tags().key_id(arn).limit(TAGS_A_PAGE).set_marker(marker.clone()).send();
            let page = self.pace.ask("ListResourceTags", call).await?;
            Ok(Page::of(page.tags, page.truncated, page.next_marker))
        });
        Ok(listed.await?.into_iter().map(|tag| (tag.tag_key, tag.tag_value)).collect())
    }

    /// All pages of a list.
    async fn pages<T, F>(&self, page: impl Fn(Option<String>) -> F) -> Result<Vec<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Failure>>,
    {
        let mut all = Vec::new();
        let mut marker = None;
        for _ in 0..MAX_PAGES {
            let got = page(marker.clone()).await?;
            all.extend(got.items);
            match got.next {
                None => return Ok(all),
                // A mark that leads nowhere would lead there for ever.
                next if next == marker => break,
                next => marker = next,
            }
        }
        let reason = format!("the list does not end after {} entries", all.len());
        Err(Failure::Refused { code: "EndlessList".to_owned(), reason })
    }
}

/// Collects what KMS would not say.
struct Unknown<'a> {
    asker: &'a Asker,
    reasons: BTreeMap<String, String>,
}

impl Unknown<'_> {
    fn unless<T>(&mut self, what: &str, answer: Result<T, Failure>) -> Result<Option<T>, KmsError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure::Refused { reason, .. }) => {
                self.reasons.insert(what.to_owned(), reason);
                Ok(None)
            }
            Err(Failure::OutOfReach(reason)) => Err(self.asker.out_of_reach(reason)),
        }
    }
}

fn is_denial(code: &str) -> bool {
    code.starts_with("AccessDenied") || code == "NotAuthorized"
}

fn nothing_of(arn: &str, as_of: EventTime) -> KeyFacts {
    KeyFacts {
        arn: arn.to_owned(),
        as_of,
        description: String::new(),
        manager: None,
        state: None,
        spec: None,
        usage: None,
        origin: None,
        created: None,
        deletion: None,
        multi_region: None,
        rotation: None,
        policy: None,
        aliases: BTreeSet::new(),
        tags: BTreeMap::new(),
        grants: Vec::new(),
        unknown: BTreeMap::new(),
    }
}

/// Why a key cannot be rotated by KMS: only symmetric keys whose material KMS made are.
fn never_rotates(metadata: &KeyMetadata) -> Option<String> {
    let spec = metadata.key_spec.as_ref().filter(|spec| **spec != KeySpec::SymmetricDefault).map(KeySpec::as_str);
    let origin = metadata.origin.as_ref().filter(|origin| **origin != OriginType::AwsKms).map(OriginType::as_str);
    let why = spec.map(|spec| format!("spec {spec}")).or_else(|| origin.map(|origin| format!("origin {origin}")))?;
    Some(format!("not asked: KMS does not rotate keys of {why}"))
}

fn describe(facts: &mut KeyFacts, metadata: KeyMetadata) {
    facts.description = metadata.description.unwrap_or_default();
    facts.manager = metadata.key_manager.map(|manager| manager.as_str().to_owned());
    facts.state = metadata.key_state.map(|state| state.as_str().to_owned());
    facts.spec = metadata.key_spec.map(|spec| spec.as_str().to_owned());
    facts.usage = metadata.key_usage.map(|usage| usage.as_str().to_owned());
    facts.origin = metadata.origin.map(|origin| origin.as_str().to_owned());
    facts.created = metadata.creation_date.as_ref().and_then(instant);
    facts.deletion = metadata.deletion_date.as_ref().and_then(instant);
    facts.multi_region = metadata.multi_region_configuration.and_then(|family| {
        let arns = family.replica_keys.unwrap_or_default().into_iter().filter_map(|replica| replica.arn);
        Some(MultiRegion { primary: family.primary_key?.arn?, replicas: arns.collect() })
    });
}

fn instant(at: &DateTime) -> Option<EventTime> {
    at.to_millis().ok().map(EventTime::from_millis)
}

/// In the words of the stream: sessions by their role, services as `service:NAME`, the issuer as a
/// bare account, for the API does not say who it was.
fn grant(entry: GrantListEntry) -> Option<GrantFacts> {
    let who = |principal: Option<String>, service: Option<String>| {
        let service = service.map(|service| format!("service:{service}"));
        service.or_else(|| {
            principal.map(|given| match given.ends_with(".amazonaws.com") && !given.contains(':') {
                true => format!("service:{given}"),
                false => role_of_session(&given),
            })
        })
    };
    let account = |issuer: String| arn_parts(&issuer).map_or(issuer.clone(), |parts| parts.account.to_owned());
    let constraints = entry.constraints;
    let map = |of: Option<std::collections::HashMap<String, String>>| of.into_iter().flatten().collect();
    let (equals, subset, source_arn) = constraints
        .map(|given| (given.encryption_context_equals, given.encryption_context_subset, given.source_arn))
        .unwrap_or_default();
    Some(GrantFacts {
        id: entry.grant_id?,
        name: entry.name.filter(|name| !name.is_empty()),
        grantee: who(entry.grantee_principal, entry.grantee_service_principal).unwrap_or_default(),
        retiring: who(entry.retiring_principal, entry.retiring_service_principal),
        issuer: entry.issuing_account.map(account),
        operations: entry.operations.into_iter().flatten().map(|operation| operation.as_str().to_owned()).collect(),
        context_equals: map(equals),
        context_subset: map(subset),
        source_arn,
        created: entry.creation_date.as_ref().and_then(instant),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_told_in_the_words_of_the_stream() {
        let entry = GrantListEntry::builder()
            .grant_id("g")
            .name("")
            .grantee_principal("arn:aws:sts::111122223333:assumed-role/aws:ec2-infrastructure/i-1")
            .retiring_service_principal("rds.amazonaws.com")
            .issuing_account("arn:aws:iam::111122223333:root")
            .build();
        let facts = grant(entry).unwrap();
        assert_eq!(facts.grantee, "arn:aws:iam::111122223333:role/aws:ec2-infrastructure");
        assert_eq!((facts.retiring.as_deref(), facts.name), (Some("service:rds.amazonaws.com"), None));
        assert_eq!(facts.issuer.as_deref(), Some("111122223333"), "a snapshot's issuer is an account");
        let service = GrantListEntry::builder().grant_id("g").grantee_principal("dynamodb.amazonaws.com").build();
        assert_eq!(grant(service).unwrap().grantee, "service:dynamodb.amazonaws.com");
        assert_eq!(grant(GrantListEntry::builder().build()), None);
    }

    #[test]
    fn rotation_is_asked_only_of_keys_that_may_rotate() {
        let key = || KeyMetadata::builder().key_id("k");
        let asked = |metadata: KeyMetadata| never_rotates(&metadata);
        assert_eq!(asked(key().key_spec(KeySpec::SymmetricDefault).origin(OriginType::AwsKms).build().unwrap()), None);
        let spec = asked(key().key_spec(KeySpec::Rsa2048).build().unwrap()).unwrap();
        assert!(spec.contains("RSA_2048"), "{spec}");
        let origin = asked(key().key_spec(KeySpec::SymmetricDefault).origin(OriginType::External).build().unwrap());
        assert!(origin.unwrap().contains("EXTERNAL"));
    }
}
