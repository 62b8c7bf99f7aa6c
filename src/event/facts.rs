//! Further facts of a record that rules ask for: what a policy opens, how long imported material
//! lives, in which state a key refused to serve, which key another service was asked to use.
//!
//! Each costs only the records that can have it.

use super::derive::{KMS_SOURCE, Use, is_account};
use super::field::{FieldId, FieldValue, Fields, core, derived};
use super::key::{KeyRef, KeyRole, arn_parts};
use super::policy;
use super::principal::without_path;
use super::record::Record;
use crate::time::EventTime;

/// Fills in the facts of one use, after its key and accounts.
pub(super) fn derive(record: &mut Record<'_>, used: &Use) {
    if record.source() != KMS_SOURCE {
        requested_key(&mut record.fields);
        return;
    }
    let (name, time) = (record.name().to_owned(), record.time);
    let fields = &mut record.fields;
    match name.as_str() {
        "PutKeyPolicy" | "CreateKey" | "ReplicateKey" => policy_facts(fields, used),
        "CreateGrant" => grantee(fields),
        "ImportKeyMaterial" => material(fields, time),
        "Decrypt" | "DeriveSharedSecret" | "GenerateDataKey" | "GenerateDataKeyPair" | "GenerateRandom" => {
            fields.set(derived::ATTESTED, FieldValue::Bool(fields.is_present(core::ATTESTATION)));
        }
        _ => {}
    }
    let role = used.key.as_ref().map(|key| key.role);
    let encrypts = name == "Encrypt" || name.starts_with("GenerateDataKey") || role == Some(KeyRole::Destination);
    if encrypts {
        fields.set(derived::ENCRYPTS, FieldValue::Bool(true));
    }
    if let Some(state) = fields.text(core::ERROR_MESSAGE).and_then(state_error) {
        fields.set_text(derived::KEY_STATE_ERROR, state);
    }
}

fn policy_facts(fields: &mut Fields<'_>, used: &Use) {
    let Some(text) = fields.text(core::POLICY).map(str::to_owned) else { return };
    // A new key has no ARN when the call failed; it would have been the caller's.
    let owner = used.key.as_ref().and_then(KeyRef::account).or(used.principal.account.as_deref());
    let facts = policy::read(&text, owner);
    fields.set(derived::POLICY_READABLE, FieldValue::Bool(facts.is_some()));
    let Some(facts) = facts else { return };
    fields.set(derived::POLICY_PUBLIC, FieldValue::Bool(facts.public));
    fields.set(derived::POLICY_LOCKS_OUT, FieldValue::Bool(facts.owner_locked_out));
    for account in facts.external_accounts {
        fields.push(derived::POLICY_EXTERNAL, FieldValue::Text(account.into()));
    }
    for principal in facts.principals {
        fields.push(derived::POLICY_PRINCIPALS, FieldValue::Text(principal.into()));
    }
}

/// A session of a role is the role, as for callers.
fn grantee(fields: &mut Fields<'_>) {
    let service = fields.text(core::GRANTEE_SERVICE).map(|service| format!("service:{service}"));
    let canonical = service.or_else(|| {
        let given = fields.text(core::GRANTEE)?;
        let role = arn_parts(given).filter(|parts| parts.service == "sts").and_then(|parts| {
            let name = parts.resource.strip_prefix("assumed-role/")?.split('/').next()?;
            let partition = given.split(':').nth(1)?;
            Some(format!("arn:{partition}:iam::{}:role/{name}", parts.account))
        });
        Some(role.unwrap_or_else(|| given.to_owned()))
    });
    if let Some(canonical) = canonical {
        fields.set_text(derived::GRANTEE_PATHLESS, without_path(&canonical));
        fields.set_text(derived::GRANTEE, canonical);
    }
}

fn material(fields: &mut Fields<'_>, time: EventTime) {
    let hours = fields.text(core::VALID_TO).and_then(|text| EventTime::parse_locale(text).ok()).map(|until| {
        let millis = until.as_millis().saturating_sub(time.as_millis());
        millis.div_euclid(3_600_000)
    });
    if let Some(hours) = hours {
        fields.set(derived::MATERIAL_HOURS, FieldValue::Number(hours.into()));
    }
}

/// The codes differ by operation (`DisabledException`, `KMSInvalidStateException`); the message does
/// not (aws-facts 2.5).
fn state_error(message: &str) -> Option<&'static str> {
    let states = [
        ("is pending deletion", "pending-deletion"),
        ("pending replica deletion", "pending-deletion"),
        ("is disabled", "disabled"),
        ("is pending import", "pending-import"),
        ("is unavailable", "unavailable"),
    ];
    states.into_iter().find(|(text, _)| message.contains(text)).map(|(_, state)| state)
}

/// Where services other than KMS are told which key to encrypt under.
const REQUESTED_KEYS: &[FieldId] = &[
    core::S3_KMS_KEY,
    core::S3_DEFAULT_KEY,
    core::OTHER_KMS_KEY,
    core::EBS_DEFAULT_KEY,
    core::DISK_KEY,
    core::TABLE_KEY,
    core::RESTORED_TABLE_KEY,
    core::EXPORT_KEY,
    core::FUNCTION_KEY,
    core::ATTRIBUTES_KEY,
    core::REPLICA_SECRET_KEY,
    core::VAULT_KEY,
];

/// Where they are told that and much else, so that only an ARN of a key says what is meant.
const PERHAPS_KEYS: &[FieldId] = &[core::REQUEST_KEY_ID, core::ATTRIBUTE_VALUE];

/// The key that S3, EC2, RDS and others are asked to encrypt under; of several the first that is of
/// another account, for that one is what a rule looks for.
fn requested_key(fields: &mut Fields<'_>) {
    let here = fields.text(core::RECIPIENT_ACCOUNT).map(str::to_owned);
    let texts = |ids: &'static [FieldId]| {
        let values = ids.iter().flat_map(|id| fields.values(*id));
        values.filter_map(FieldValue::as_str).filter(|text| !text.is_empty())
    };
    let surely = texts(PERHAPS_KEYS).filter(|text| key_account(text).is_some());
    let asked: Vec<_> = texts(REQUESTED_KEYS).chain(surely).collect();
    let is_foreign = |key: &str| Some(key_account(key)? != here.as_deref()?);
    let foreign = asked.iter().find(|key| is_foreign(key) == Some(true));
    let Some(key) = foreign.or(asked.first()).map(|key| (*key).to_owned()) else { return };
    let foreign = is_foreign(&key);
    fields.set_text(derived::OTHER_KEY, key.chars().take(512).collect::<String>());
    if let Some(foreign) = foreign {
        fields.set(derived::OTHER_KEY_FOREIGN, FieldValue::Bool(foreign));
    }
}

/// The account in the ARN of a key or alias.
fn key_account(text: &str) -> Option<&str> {
    arn_parts(text).filter(|parts| parts.service == "kms").map(|parts| parts.account).filter(|text| is_account(text))
}

#[cfg(test)]
mod tests {
    use super::super::derive::{derive, uses_of};
    use super::super::field::Projection;
    use super::super::record::decode;
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";

    fn got(source: &str, name: &str, rest: &str, id: FieldId) -> Vec<String> {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"{source}","eventName":"{name}","recipientAccountId":"111122223333","resources":[{{"ARN":"{ARN}"}}],{rest}}}"#
        );
        let mut record = decode(&raw, &Projection::fixed()).unwrap();
        let used = uses_of(&record).pop().unwrap();
        derive(&mut record, &used);
        record.fields.values(id).iter().filter_map(|value| value.to_text().map(|text| text.into_owned())).collect()
    }

    fn kms(name: &str, rest: &str, id: FieldId) -> String {
        got(KMS_SOURCE, name, rest, id).join(" ")
    }

    #[test]
    fn policies() {
        let rest = r#""requestParameters":{"policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":[\"999988887777\",\"*\"]},\"Action\":\"kms:*\"}}"}"#;
        assert_eq!(kms("PutKeyPolicy", rest, derived::POLICY_EXTERNAL), "999988887777");
        assert_eq!(kms("PutKeyPolicy", rest, derived::POLICY_PUBLIC), "true");
        assert_eq!(kms("PutKeyPolicy", r#""requestParameters":{"policy":"{"}"#, derived::POLICY_READABLE), "false");
        assert_eq!(kms("PutKeyPolicy", r#""requestParameters":{}"#, derived::POLICY_READABLE), "");
    }

    #[test]
    fn grantees_are_named_as_callers_are() {
        for (given, expected) in [
            (
                r#""granteePrincipal":"arn:aws:sts::111122223333:assumed-role/app/s""#,
                "arn:aws:iam::111122223333:role/app",
            ),
            (r#""granteePrincipal":"arn:aws:iam::111122223333:role/p/app""#, "arn:aws:iam::111122223333:role/p/app"),
            (r#""granteeServicePrincipal":"rds.amazonaws.com""#, "service:rds.amazonaws.com"),
        ] {
            assert_eq!(kms("CreateGrant", &format!(r#""requestParameters":{{{given}}}"#), derived::GRANTEE), expected);
        }
    }

    #[test]
    fn material_states_and_attestation() {
        for (until, hours) in [
            ("Jan 6, 2026, 10:00:00 AM", "24"),
            ("2026-01-05T12:30:00Z", "2"),
            ("Jan 5, 2026 9:00:00 AM", "-1"),
            ("soon", ""),
        ] {
            let rest = format!(r#""requestParameters":{{"validTo":"{until}"}}"#);
            assert_eq!(kms("ImportKeyMaterial", &rest, derived::MATERIAL_HOURS), hours, "{until}");
        }
        let failed = format!(r#""errorCode":"KMSInvalidStateException","errorMessage":"{ARN} is pending deletion.""#);
        assert_eq!(kms("Decrypt", &failed, derived::KEY_STATE_ERROR), "pending-deletion");
        assert_eq!(kms("Decrypt", r#""a":1"#, derived::ATTESTED), "false");
        let attested = r#""additionalEventData":{"recipient":{"attestationDocumentModuleId":"i-1"}}"#;
        assert_eq!(kms("Decrypt", attested, derived::ATTESTED), "true");
        assert_eq!(kms("Encrypt", attested, derived::ATTESTED), "");
        assert_eq!(
            (kms("Encrypt", r#""a":1"#, derived::ENCRYPTS), kms("Decrypt", r#""a":1"#, derived::ENCRYPTS)),
            ("true".into(), String::new())
        );
    }

    #[test]
    fn keys_that_other_services_are_asked_to_use() {
        let s3 =
            |key: &str| format!(r#""requestParameters":{{"x-amz-server-side-encryption-aws-kms-key-id":"{key}"}}"#);
        let foreign = |key: &str| got("s3.amazonaws.com", "CopyObject", &s3(key), derived::OTHER_KEY_FOREIGN).join(" ");
        assert_eq!(foreign("arn:aws:kms:eu-west-1:999988887777:key/k"), "true");
        assert_eq!(foreign(ARN), "false");
        assert_eq!(foreign("alias/ours"), "");
        let ec2 = r#""requestParameters":{"kmsKeyId":"arn:aws:kms:eu-west-1:999988887777:key/k"}"#;
        assert_eq!(got("ec2.amazonaws.com", "CopySnapshot", ec2, derived::OTHER_KEY_FOREIGN), ["true"]);
    }
    #[test]
    fn every_service_says_it_elsewhere() {
        const FOREIGN: &str = "arn:aws:kms:eu-west-1:999988887777:key/k";
        for (source, name, parameters) in [
            (
                "ec2",
                "RunInstances",
                r#"{"blockDeviceMapping":{"items":[{"ebs":{"kmsKeyId":"OURS"}},{"ebs":{"kmsKeyId":"THEIRS"}}]}}"#,
            ),
            ("dynamodb", "UpdateTable", r#"{"sSESpecification":{"kMSMasterKeyId":"THEIRS"}}"#),
            ("dynamodb", "ExportTableToPointInTime", r#"{"s3SseKmsKeyId":"THEIRS"}"#),
            ("secretsmanager", "ReplicateSecretToRegions", r#"{"addReplicaRegions":[{"kmsKeyId":"THEIRS"}]}"#),
            ("lambda", "CreateFunction20150331", r#"{"kMSKeyArn":"THEIRS"}"#),
            ("sqs", "SetQueueAttributes", r#"{"attributes":{"KmsMasterKeyId":"THEIRS"}}"#),
            ("sns", "SetTopicAttributes", r#"{"attributeName":"KmsMasterKeyId","attributeValue":"THEIRS"}"#),
            ("ssm", "PutParameter", r#"{"keyId":"THEIRS"}"#),
            ("backup", "CreateBackupVault", r#"{"encryptionKeyArn":"THEIRS"}"#),
        ] {
            let rest = format!(r#""requestParameters":{parameters}"#).replace("THEIRS", FOREIGN).replace("OURS", ARN);
            let source = format!("{source}.amazonaws.com");
            assert_eq!(got(&source, name, &rest, derived::OTHER_KEY), [FOREIGN], "{name}");
            assert_eq!(got(&source, name, &rest, derived::OTHER_KEY_FOREIGN), ["true"], "{name}");
        }
        for parameters in [r#"{"keyId":"4711"}"#, r#"{"attributeValue":"arn:aws:sqs:eu-west-1:999988887777:q"}"#] {
            let rest = format!(r#""requestParameters":{parameters}"#);
            assert!(got("ssm.amazonaws.com", "X", &rest, derived::OTHER_KEY).is_empty(), "{parameters}");
        }
        let odd = r#""requestParameters":{"kmsKeyId":"arn:aws:s3:eu-west-1:999988887777:key/k"}"#;
        assert!(got("rds.amazonaws.com", "CreateDBInstance", odd, derived::OTHER_KEY_FOREIGN).is_empty());
    }
}
