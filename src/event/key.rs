//! Which keys a record is about.
//!
//! The caller may type a key as id, ARN, alias name or alias ARN; a symmetric Decrypt names none.
//! KMS itself says which key it was in `resources[].ARN` and `responseElements.keyId`; a denied
//! call may name it nowhere but in the error message (aws-facts 2.3, captures INDEX oddities 1-3).
//!
//! Invariant: an alias is never taken for a key.

use super::field::{Fields, core};

/// The part a key plays in its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRole {
    /// The only key.
    #[default]
    Only,
    /// The key that ReEncrypt decrypts with.
    Source,
    /// The key that ReEncrypt encrypts under.
    Destination,
}

/// A key as far as a record names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef {
    /// ARN of the key, the surest name.
    pub arn: Option<String>,
    /// Key id (`1234abcd-...` or `mrk-...`).
    pub id: Option<String>,
    /// Alias name (`alias/...`) that the call used or changed.
    pub alias: Option<String>,
    /// The part it plays.
    pub role: KeyRole,
}

impl KeyRef {
    /// Reads any spelling of a key. A text that is none of them gives nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with("arn:") {
            let resource = arn_parts(text)?.resource;
            if let Some(id) = resource.strip_prefix("key/") {
                return Some(Self { arn: Some(text.to_owned()), id: Some(id.to_owned()), ..Self::default() });
            }
            return resource
                .starts_with("alias/")
                .then(|| Self { alias: Some(resource.to_owned()), ..Self::default() });
        }
        if text.starts_with("alias/") {
            return Some(Self { alias: Some(text.to_owned()), ..Self::default() });
        }
        // Anonymised captures hold ids of any shape, so only the clearly absurd is refused.
        let plausible = !text.is_empty()
            && text.len() <= 256
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*'));
        plausible.then(|| Self { id: Some(text.to_owned()), ..Self::default() })
    }

    /// The account in the key's ARN.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        arn_parts(self.arn.as_deref()?).map(|parts| parts.account).filter(|account| !account.is_empty())
    }

    fn absorb(&mut self, other: Self) {
        self.arn = self.arn.take().or(other.arn);
        self.id = self.id.take().or(other.id);
        self.alias = self.alias.take().or(other.alias);
    }
}

/// The parts of an ARN that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArnParts<'a> {
    /// `kms`, `iam`, ...
    pub service: &'a str,
    /// Region, empty for global services.
    pub region: &'a str,
    /// Account id, empty for some services.
    pub account: &'a str,
    /// Everything after the fifth colon.
    pub resource: &'a str,
}

/// Splits an ARN; nothing when the text is none.
#[must_use]
pub fn arn_parts(arn: &str) -> Option<ArnParts<'_>> {
    let mut parts = arn.splitn(6, ':');
    (parts.next()? == "arn").then_some(())?;
    let (_partition, service, region, account, resource) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(ArnParts { service, region, account, resource })
}

/// The keys of a KMS record: none, one, or the two of ReEncrypt.
#[must_use]
pub fn keys_of(operation: &str, fields: &Fields<'_>) -> Vec<KeyRef> {
    if operation == "ReEncrypt" {
        return re_encrypt_keys(fields);
    }
    let mut key = KeyRef::default();
    let resources = [core::RESOURCE_ARN, core::RESOURCE_ARN_LOWER];
    for arn in resources.iter().flat_map(|id| fields.values(*id)).filter_map(|value| value.as_str()) {
        // CreateAlias and its kin list the alias as a second resource typed as a key.
        if let Some(named) = KeyRef::parse(arn) {
            key.absorb(named);
        }
    }
    let named = [
        core::RESPONSE_KEY_ID,
        core::CREATED_KEY_ARN,
        core::SERVICE_EVENT_KEY_ID,
        core::REQUEST_TARGET_KEY_ID,
        core::REQUEST_KEY_ID,
        core::REQUEST_ALIAS_NAME,
    ];
    for text in named.iter().filter_map(|id| fields.text(*id)) {
        // GetKeyPolicy and others log a keyId that is not the key's when it is an alias.
        if let Some(named) = KeyRef::parse(text) {
            key.absorb(named);
        }
    }
    if key.arn.is_none()
        && let Some(arn) = fields.text(core::ERROR_MESSAGE).and_then(key_arn_in)
    {
        key.absorb(KeyRef::parse(arn).unwrap_or_default());
    }
    if key == KeyRef::default() { Vec::new() } else { vec![key] }
}

/// ReEncrypt lists its keys as resources in the order source, destination (aws-facts 2.3).
fn re_encrypt_keys(fields: &Fields<'_>) -> Vec<KeyRef> {
    let listed: Vec<_> =
        fields.values(core::RESOURCE_ARN).iter().filter_map(|value| value.as_str()).filter_map(KeyRef::parse).collect();
    let typed = |id| fields.text(id).and_then(KeyRef::parse);
    let denied = || fields.text(core::ERROR_MESSAGE).and_then(key_arn_in).and_then(KeyRef::parse);
    let (source, destination) = match <[KeyRef; 2]>::try_from(listed) {
        Ok([source, destination]) => (Some(source), Some(destination)),
        Err(listed) => {
            let source = typed(core::REQUEST_SOURCE_KEY_ID);
            let destination = typed(core::REQUEST_DESTINATION_KEY_ID);
            if source.is_none() && destination.is_none() {
                return listed.into_iter().next().or_else(denied).into_iter().collect();
            }
            (source, destination)
        }
    };
    let mut keys: Vec<_> = [(source, KeyRole::Source), (destination, KeyRole::Destination)]
        .into_iter()
        .filter_map(|(key, role)| Some(KeyRef { role, ..key? }))
        .collect();
    // Re-encrypting under the same key (a new context) is one use of one key.
    if let [source, destination] = keys.as_mut_slice()
        && source.arn.is_some()
        && source.arn == destination.arn
    {
        source.role = KeyRole::Only;
        keys.truncate(1);
    }
    keys
}

/// The first key ARN inside an error message.
fn key_arn_in(message: &str) -> Option<&str> {
    message.match_indices("arn:").find_map(|(at, _)| {
        let rest = message.get(at..)?;
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '-' | '_')))
            .unwrap_or(rest.len());
        let arn = rest.get(..end)?;
        let parts = arn_parts(arn)?;
        (parts.service == "kms" && parts.resource.starts_with("key/")).then_some(arn)
    })
}

#[cfg(test)]
mod tests {
    use super::super::field::Projection;
    use super::super::record::decode;
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";
    const OTHER: &str = "arn:aws:kms:eu-west-1:999988887777:key/mrk-0f0f";

    fn keys(operation: &str, rest: &str) -> Vec<KeyRef> {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{operation}",{rest}}}"#
        );
        let projection = Projection::fixed();
        let record = decode(&raw, &projection).unwrap();
        keys_of(operation, &record.fields)
    }

    #[test]
    fn every_spelling() {
        assert_eq!(KeyRef::parse(ARN).unwrap().account(), Some("111122223333"));
        assert_eq!(KeyRef::parse("mrk-0f0f").unwrap().id.as_deref(), Some("mrk-0f0f"));
        let alias = KeyRef::parse("arn:aws:kms:eu-west-1:111122223333:alias/vault").unwrap();
        assert_eq!((alias.alias.as_deref(), alias.arn), (Some("alias/vault"), None));
        for bad in ["", "arn:aws:s3:::bucket", "a b", "\u{7}"] {
            assert_eq!(KeyRef::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_symmetric_decrypt_is_known_by_its_resources() {
        let found = keys(
            "Decrypt",
            &format!(
                r#""requestParameters":{{"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}},"resources":[{{"ARN":"{ARN}"}}]"#
            ),
        );
        assert_eq!(found[0].arn.as_deref(), Some(ARN));
    }

    #[test]
    fn a_denied_call_is_known_by_its_message() {
        let found = keys(
            "Decrypt",
            &format!(
                r#""errorCode":"AccessDenied","errorMessage":"User: arn:aws:sts::111122223333:assumed-role/r/s is not authorized to perform: kms:Decrypt on resource: {ARN} because no identity-based policy allows it""#
            ),
        );
        assert_eq!(found[0].arn.as_deref(), Some(ARN));
        assert_eq!(keys("CreateKey", r#""errorMessage":"not authorized on resource: *""#), []);
    }

    #[test]
    fn an_alias_among_the_resources_is_no_key() {
        let alias = "arn:aws:kms:eu-west-1:111122223333:alias/vault";
        let found = keys(
            "CreateAlias",
            &format!(
                r#""requestParameters":{{"aliasName":"alias/vault","targetKeyId":"{ARN}"}},"resources":[{{"ARN":"{alias}","type":"AWS::KMS::Key"}},{{"ARN":"{ARN}","type":"AWS::KMS::Key"}}]"#
            ),
        );
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].arn.as_deref(), found[0].alias.as_deref()), (Some(ARN), Some("alias/vault")));
    }

    #[test]
    fn re_encrypt_has_two_keys_in_order() {
        let found = keys("ReEncrypt", &format!(r#""resources":[{{"ARN":"{ARN}"}},{{"ARN":"{OTHER}"}}]"#));
        assert_eq!(found.iter().map(|key| key.role).collect::<Vec<_>>(), [KeyRole::Source, KeyRole::Destination]);
        assert_eq!(found[1].arn.as_deref(), Some(OTHER));
        let same = keys("ReEncrypt", &format!(r#""resources":[{{"ARN":"{ARN}"}},{{"ARN":"{ARN}"}}]"#));
        assert_eq!((same.len(), same[0].role), (1, KeyRole::Only));
        let typed = keys("ReEncrypt", r#""requestParameters":{"destinationKeyId":"alias/vault"}"#);
        assert_eq!((typed.len(), typed[0].role), (1, KeyRole::Destination));
    }
}
