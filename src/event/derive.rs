//! Fills in the `kms.*` fields that a record alone can tell.
//!
//! One record is one *use* per key: ReEncrypt is two, everything else one. What the inventory knows
//! (domain, expectation) is added by [`crate`]`::keys`.
//!
//! Invariant: derived fields are cleared before any is set, so that nothing is carried over from the
//! use before.

use serde_json::Value;

use super::field::{FieldValue, Fields, core, derived};
use super::key::{KeyRef, KeyRole, arn_parts, keys_of};
use super::operation::{Class, class_of};
use super::principal::{Principal, principal_of, source_kind, without_path};
use super::record::Record;
use super::selectors::blinds_kms;

/// `eventSource` of KMS.
pub const KMS_SOURCE: &str = "kms.amazonaws.com";

/// Longest derived text: names of AWS are shorter, so a longer one is somebody's play.
const MAX_TEXT_BYTES: usize = 2048;

/// Who used which key: the part of a record that enrichment works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The caller.
    pub principal: Principal,
    /// The key, if the record is about one.
    pub key: Option<KeyRef>,
}

/// The uses of a record, at least one.
#[must_use]
pub fn uses_of(record: &Record<'_>) -> Vec<Use> {
    let principal = principal_of(&record.fields);
    let keys = if record.source() == KMS_SOURCE { keys_of(record.name(), &record.fields) } else { Vec::new() };
    if keys.is_empty() {
        return vec![Use { principal, key: None }];
    }
    keys.into_iter().map(|key| Use { principal: principal.clone(), key: Some(key) }).collect()
}

/// Fills in the derived fields of one use.
pub fn derive(record: &mut Record<'_>, used: &Use) {
    let is_kms = record.source() == KMS_SOURCE;
    let operation = record.name().to_owned();
    let outcome = outcome_of(record.fields.text(core::ERROR_CODE));
    let source = source_kind(record.fields.text(core::SOURCE_IP));
    let object = object_of(&record.fields);
    let fields = &mut record.fields;
    fields.clear_derived();
    let mut set = |id, text: Option<String>| match text {
        Some(text) if text.len() <= MAX_TEXT_BYTES => fields.set_text(id, text),
        Some(text) => fields.set_text(id, text.chars().take(MAX_TEXT_BYTES / 4).collect::<String>()),
        None => {}
    };
    set(derived::OPERATION, is_kms.then(|| operation.clone()));
    set(derived::CLASS, is_kms.then(|| class(&operation).as_str().to_owned()));
    set(derived::OUTCOME, Some(outcome.to_owned()));
    set(derived::SOURCE_KIND, Some(source.to_owned()));
    set(derived::OBJECT, object);

    let principal = &used.principal;
    set(derived::PRINCIPAL, Some(principal.canonical.clone()));
    set(derived::PRINCIPAL_PATHLESS, is_kms.then(|| without_path(&principal.canonical)));
    set(derived::WHO, Some(principal.in_words()));
    set(derived::PRINCIPAL_TYPE, Some(principal.kind.clone()));
    set(derived::SESSION, principal.session.clone());
    set(derived::VIA, principal.via.clone());
    set(derived::CALLER_ACCOUNT, principal.account.clone());

    let key = used.key.clone().unwrap_or_default();
    let role = match key.role {
        KeyRole::Only => None,
        KeyRole::Source => Some("source"),
        KeyRole::Destination => Some("destination"),
    };
    set(derived::KEY_ROLE, role.map(str::to_owned));
    set(derived::KEY, key.alias.clone().or_else(|| key.arn.clone()).or_else(|| key.id.clone()));
    // A call that names its key by id or alias alone still needs a group of its own.
    set(derived::KEY_ARN, key.arn.clone().or_else(|| key.id.clone()).or_else(|| key.alias.clone()));
    set(derived::KEY_ID, key.id.clone());
    set(derived::ALIAS, key.alias.clone());
    derive_accounts(record, used);
    super::facts::derive(record, used);
    if record.source() == "cloudtrail.amazonaws.com" {
        derive_trail(&mut record.fields);
    }
}

fn derive_accounts(record: &mut Record<'_>, used: &Use) {
    let fields = &mut record.fields;
    let key = used.key.as_ref();
    let listed = fields.text(core::RESOURCE_ACCOUNT).filter(|account| is_account(account));
    let owner = key.and_then(KeyRef::account).or(listed.filter(|_| key.is_some())).map(str::to_owned);
    let grantee = fields.text(core::GRANTEE).and_then(grantee_account).map(str::to_owned);
    let differ = |a: Option<&str>, b: Option<&str>| Some(FieldValue::Bool(a? != b?));
    let cross = differ(owner.as_deref(), used.principal.account.as_deref());
    let external = differ(owner.as_deref(), grantee.as_deref());
    let text = |account: Option<String>| account.map(|account| FieldValue::Text(account.into()));
    let filled = [
        (derived::OWNER_ACCOUNT, text(owner)),
        (derived::GRANTEE_ACCOUNT, text(grantee)),
        (derived::CROSS_ACCOUNT, cross),
        (derived::GRANTEE_EXTERNAL, external),
    ];
    for (id, value) in filled {
        if let Some(value) = value {
            fields.set(id, value);
        }
    }
}

fn derive_trail(fields: &mut Fields<'_>) {
    let values = |id| {
        let json = |value: &FieldValue<'_>| match value {
            FieldValue::Json(value) => Some(value.clone()),
            _ => None,
        };
        fields.values(id).iter().filter_map(json).collect::<Vec<Value>>()
    };
    let verdict = |basic, advanced| {
        let (basic, advanced) = (values(basic), values(advanced));
        blinds_kms(&basic.iter().collect::<Vec<_>>(), &advanced.iter().collect::<Vec<_>>())
    };
    // Parameters may be left out as too large; what is in force then stands in the response alone.
    let asked = verdict(core::EVENT_SELECTORS, core::ADVANCED_EVENT_SELECTORS);
    let blind = asked.or_else(|| verdict(core::SET_EVENT_SELECTORS, core::SET_ADVANCED_EVENT_SELECTORS));
    if let Some(blind) = blind {
        fields.set(derived::TRAIL_BLINDS_KMS, FieldValue::Bool(blind));
    }
}

/// The class of an operation or of a direct KMS event.
fn class(operation: &str) -> Class {
    match operation {
        "KMS CMK Deletion" | "KMS Imported Key Material Expiration" => Class::Destruction,
        "KMS CMK Rotation" => Class::Rotation,
        name => class_of(name),
    }
}

/// How the call ended. CloudTrail writes `AccessDenied` where the API says `AccessDeniedException`.
fn outcome_of(error_code: Option<&str>) -> &'static str {
    match error_code {
        None => "success",
        Some("DryRunOperationException" | "DryRunOperation") => "dry-run",
        Some(code) if code.contains("AccessDenied") || code.contains("Unauthorized") => "denied",
        Some(code) if code.contains("Throttl") || code == "RequestLimitExceeded" => "throttled",
        Some(_) => "error",
    }
}

/// The encryption-context names that say what was encrypted, surest first (aws-facts 2.2).
const OBJECT_NAMES: &[&str] = &[
    "SecretARN",
    "PARAMETER_ARN",
    "aws:s3:arn",
    "aws:ebs:id",
    "aws:rds:db-id",
    "aws:dynamodb:tableName",
    "aws:lambda:FunctionArn",
    "aws:redshift:arn",
    "aws:cloudtrail:arn",
    "aws:acm:arn",
    "aws:workmail:arn",
];

/// What was en- or decrypted: an AWS name where the context has one, else a hash of the context,
/// which tells objects apart without telling what they are.
fn object_of(fields: &Fields<'_>) -> Option<String> {
    let [FieldValue::Json(context @ Value::Object(members))] = fields.values(core::ENCRYPTION_CONTEXT) else {
        return None;
    };
    let named = OBJECT_NAMES.iter().find_map(|name| members.get(*name)?.as_str());
    match named {
        Some(name) => Some(name.to_owned()),
        None if members.is_empty() => None,
        None => {
            let hash = blake3::hash(context.to_string().as_bytes()).to_hex();
            Some(format!("context:{}", hash.chars().take(16).collect::<String>()))
        }
    }
}

pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The account of a grantee: an ARN, a bare account, or `111122223333:aws:ec2-infrastructure:i-…`;
/// a service principal has none (captures INDEX, oddity 16).
fn grantee_account(grantee: &str) -> Option<&str> {
    if let Some(parts) = arn_parts(grantee) {
        return Some(parts.account).filter(|account| !account.is_empty());
    }
    grantee.split(':').next().filter(|account| is_account(account))
}

#[cfg(test)]
mod tests {
    use super::super::field::{FieldId, Projection};
    use super::super::record::decode;
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";

    fn with<T>(source: &str, name: &str, rest: &str, then: impl Fn(&[Record<'_>]) -> T) -> T {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"{source}","eventName":"{name}","recipientAccountId":"111122223333",{rest}}}"#
        );
        let record = decode(&raw, &Projection::fixed()).unwrap();
        let derived: Vec<_> = uses_of(&record)
            .iter()
            .map(|used| {
                let mut one = record.clone();
                derive(&mut one, used);
                one
            })
            .collect();
        then(&derived)
    }

    fn text(record: &Record<'_>, id: FieldId) -> String {
        record.fields.values(id).first().and_then(|value| value.to_text()).unwrap_or_default().into_owned()
    }

    #[test]
    fn a_forwarded_decrypt() {
        let rest = format!(
            r#""userIdentity":{{"type":"AWSAccount","accountId":"999988887777","principalId":"AROAX:s","invokedBy":"secretsmanager.amazonaws.com"}},"sourceIPAddress":"secretsmanager.amazonaws.com","resources":[{{"ARN":"{ARN}","accountId":"111122223333"}}],"requestParameters":{{"encryptionContext":{{"SecretVersionId":"v","SecretARN":"arn:secret"}}}}"#
        );
        with(KMS_SOURCE, "Decrypt", &rest, |records| {
            let got = |id| text(&records[0], id);
            assert_eq!(records.len(), 1);
            assert_eq!((got(derived::CLASS).as_str(), got(derived::OUTCOME).as_str()), ("cryptographic", "success"));
            assert_eq!((got(derived::KEY_ARN).as_str(), got(derived::OBJECT).as_str()), (ARN, "arn:secret"));
            assert_eq!(
                (got(derived::CROSS_ACCOUNT), got(derived::OWNER_ACCOUNT)),
                ("true".into(), "111122223333".into())
            );
            assert_eq!(
                (got(derived::VIA).as_str(), got(derived::SOURCE_KIND).as_str()),
                ("secretsmanager.amazonaws.com", "service")
            );
        });
    }

    #[test]
    fn re_encrypt_is_two_uses() {
        let rest = format!(r#""resources":[{{"ARN":"{ARN}"}},{{"ARN":"arn:aws:kms:eu-west-1:999988887777:key/b"}}]"#);
        with(KMS_SOURCE, "ReEncrypt", &rest, |records| {
            let roles: Vec<_> = records.iter().map(|record| text(record, derived::KEY_ROLE)).collect();
            assert_eq!(roles, ["source", "destination"]);
            assert_eq!(text(&records[1], derived::OWNER_ACCOUNT), "999988887777");
        });
    }

    #[test]
    fn grantees() {
        for (grantee, external) in [
            ("arn:aws:iam::999988887777:role/x", "true"),
            ("arn:aws:iam::111122223333:role/x", "false"),
            ("111122223333:aws:ec2-infrastructure:i-1", "false"),
            ("999988887777", "true"),
            ("dynamodb.us-west-2.amazonaws.com", ""),
        ] {
            let rest =
                format!(r#""resources":[{{"ARN":"{ARN}"}}],"requestParameters":{{"granteePrincipal":"{grantee}"}}"#);
            with(KMS_SOURCE, "CreateGrant", &rest, |records| {
                assert_eq!(text(&records[0], derived::GRANTEE_EXTERNAL), external, "{grantee}");
            });
        }
    }

    #[test]
    fn selectors_that_leave_kms_out() {
        let rest = r#""requestParameters":{"eventSelectors":[{"readWriteType":"All","includeManagementEvents":true,"excludeManagementEventSources":["kms.amazonaws.com"]}]}"#;
        with("cloudtrail.amazonaws.com", "PutEventSelectors", rest, |records| {
            assert_eq!(text(&records[0], derived::TRAIL_BLINDS_KMS), "true");
            assert_eq!(text(&records[0], derived::CLASS), "", "not a KMS call");
            assert_eq!(text(&records[0], derived::OUTCOME), "success");
        });
        let rest =
            r#""requestParameters":null,"responseElements":{"eventSelectors":[{"includeManagementEvents":false}]}"#;
        with("cloudtrail.amazonaws.com", "PutEventSelectors", rest, |records| {
            assert_eq!(text(&records[0], derived::TRAIL_BLINDS_KMS), "true");
        });
    }

    #[test]
    fn outcomes_and_unnamed_objects() {
        for (code, outcome) in [
            ("AccessDenied", "denied"),
            ("AccessDeniedException", "denied"),
            ("VpceAccessDenied", "denied"),
            ("DryRunOperationException", "dry-run"),
            ("ThrottlingException", "throttled"),
            ("DisabledException", "error"),
            ("", "success"),
        ] {
            let rest =
                format!(r#""errorCode":"{code}","requestParameters":{{"encryptionContext":{{"customer":"4711"}}}}"#);
            with(KMS_SOURCE, "Decrypt", &rest, |records| {
                assert_eq!(text(&records[0], derived::OUTCOME), outcome, "{code}");
                let object = text(&records[0], derived::OBJECT);
                assert!(object.starts_with("context:") && !object.contains("4711"), "{object}");
            });
        }
    }
}
