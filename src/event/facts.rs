//! Further facts of a record that rules ask for: what a policy opens, how long imported material
//! lives, in which state a key refused to serve, which key another service was asked to use.
//!
//! Each costs only the records that can have it.

use super::derive::{KMS_SOURCE, Use, is_account};
use super::field::{FieldValue, Fields, core, derived};
use super::key::{KeyRef, KeyRole, arn_parts};
use super::policy;
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

/// The key that S3, EC2, RDS and others are asked to encrypt under.
fn requested_key(fields: &mut Fields<'_>) {
    let asked = [core::S3_KMS_KEY, core::S3_DEFAULT_KEY, core::OTHER_KMS_KEY, core::EBS_DEFAULT_KEY];
    let Some(key) = asked.into_iter().find_map(|id| fields.text(id)).map(str::to_owned) else { return };
    let owner = arn_parts(&key).map(|parts| parts.account.to_owned()).filter(|account| is_account(account));
    let here = fields.text(core::RECIPIENT_ACCOUNT).map(str::to_owned);
    fields.set_text(derived::OTHER_KEY, key.chars().take(512).collect::<String>());
    if let (Some(owner), Some(here)) = (owner, here) {
        fields.set(derived::OTHER_KEY_FOREIGN, FieldValue::Bool(owner != here));
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::{derive, uses_of};
    use super::super::field::{FieldId, Projection};
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
}
