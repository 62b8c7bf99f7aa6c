//! The request that a record tells of, as far as CloudTrail tells it.
//!
//! Invariant: what a record leaves out is not known, unless CloudTrail always writes it. Tags, the
//! organisation, MFA and aliases of the key are never in it.

use super::action::action_of;
use super::caller::Caller;
use super::condition::Context;
use super::evaluate::Request;
use crate::event::derive::{KMS_SOURCE, Use};
use crate::event::field::{FieldValue, Fields, core};
use crate::event::key::{KeyRef, arn_parts};
use crate::event::principal::source_kind;
use crate::event::record::Record;

impl Request {
    /// The request behind one use of a key; nothing when the record is not of KMS or does not say whose
    /// key it is.
    #[must_use]
    pub fn of_use(record: &Record<'_>, used: &Use) -> Option<Self> {
        let key = used.key.as_ref().filter(|_| record.source() == KMS_SOURCE)?;
        let fields = &record.fields;
        let caller = Caller::of_record(&used.principal, fields.text(core::IDENTITY_ARN));
        let context = Context::new().with("aws:CurrentTime", [record.time.to_string()]);
        let context = network(via(context, used, key), used, fields);
        Some(Self {
            caller,
            action: action_of(record.name(), key.role),
            owner: key.account()?.to_owned(),
            key_arn: key.arn.clone(),
            context: of_grant(encryption_context(context, record), record.name(), fields),
        })
    }
}

/// The record has no ViaService: it is the service that forwarded the call, in the key's Region
/// (aws-facts 2.2).
fn via(context: Context, used: &Use, key: &KeyRef) -> Context {
    let service = match used.principal.via.as_deref() {
        None if used.principal.kind == "AWSService" || used.principal.kind == "ServiceEvent" => return context,
        None => return context.without("kms:ViaService").with("aws:ViaAWSService", ["false"]),
        Some(via) => via.strip_suffix(".amazonaws.com"),
    };
    let context = context.with("aws:ViaAWSService", ["true"]);
    let region = key.arn.as_deref().and_then(arn_parts).map(|parts| parts.region);
    match (service, region) {
        (Some(service), Some(region)) if service != "internal" => {
            let name = service.split('.').next().unwrap_or(service);
            context.with("kms:ViaService", [format!("{name}.{region}.amazonaws.com")])
        }
        _ => context,
    }
}

/// The address and the endpoint count for direct calls only.
fn network(context: Context, used: &Use, fields: &Fields<'_>) -> Context {
    let source = fields.text(core::SOURCE_IP);
    if used.principal.via.is_some() || source_kind(source) != "address" {
        return context;
    }
    match (fields.text(core::VPC_ENDPOINT), source) {
        (Some(endpoint), _) if endpoint.starts_with("vpce-") => {
            context.with("aws:SourceVpce", [endpoint]).without("aws:SourceIp")
        }
        (None, Some(address)) => {
            context.with("aws:SourceIp", [address]).without("aws:SourceVpce").without("aws:SourceVpc")
        }
        _ => context,
    }
}

/// A successful call whose record shows no encryption context had none; ReEncrypt has two of them.
fn encryption_context(context: Context, record: &Record<'_>) -> Context {
    let fields = &record.fields;
    let pairs: Vec<(&str, &str)> = (fields.values(core::ENCRYPTION_CONTEXT).iter())
        .filter_map(|value| match value {
            FieldValue::Json(serde_json::Value::Object(members)) => Some(members),
            _ => None,
        })
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let name = record.name();
    let takes_one = matches!(name, "Decrypt" | "Encrypt") || name.starts_with("GenerateDataKey");
    let succeeded = !fields.is_present(core::ERROR_CODE);
    if !pairs.is_empty() || (takes_one && succeeded) { context.with_encryption_context(pairs) } else { context }
}

fn of_grant(context: Context, operation: &str, fields: &Fields<'_>) -> Context {
    if operation != "CreateGrant" {
        return context;
    }
    let texts = |id| fields.values(id).iter().filter_map(FieldValue::as_str).map(str::to_owned).collect::<Vec<_>>();
    let known = [("kms:GranteePrincipal", core::GRANTEE), ("kms:GrantOperations", core::GRANT_OPERATIONS)];
    let filled = known.into_iter().map(|(key, id)| (key, texts(id))).filter(|(_, values)| !values.is_empty());
    filled.fold(context, |context, (key, values)| context.with(key, values))
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Policy};
    use super::*;
    use crate::event::derive::uses_of;
    use crate::event::field::Projection;
    use crate::event::record::decode;

    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/aaaaaaaa-1111-4222-8333-444444444444";

    fn decision(operation: &str, rest: &str, condition: &str) -> String {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"{operation}","recipientAccountId":"111122223333","resources":[{{"ARN":"{KEY}"}}],"userIdentity":{{"type":"AssumedRole","principalId":"AROAX:pay-1","arn":"arn:aws:sts::111122223333:assumed-role/pay/pay-1","accountId":"111122223333","sessionContext":{{"sourceIdentity":"ann","sessionIssuer":{{"type":"Role","arn":"arn:aws:iam::111122223333:role/apps/pay","accountId":"111122223333"}}}}{rest}}}"#
        );
        let record = decode(&raw, &Projection::fixed()).unwrap();
        let request = Request::of_use(&record, &uses_of(&record)[0]).unwrap();
        let policy = Policy::parse(&format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:sts::111122223333:assumed-role/pay/pay-1"}},"Action":"kms:*","Resource":"{KEY}","Condition":{condition}}}}}"#
        ))
        .unwrap();
        match policy.decide(&request) {
            Decision::Allowed { .. } => "allowed".to_owned(),
            Decision::NotAllowed(_) => "not".to_owned(),
            other => other.to_string(),
        }
    }

    #[test]
    fn what_a_record_tells() {
        let direct = r#"},"sourceIPAddress":"203.0.113.7""#;
        let endpoint = r#"},"sourceIPAddress":"10.0.0.7","vpcEndpointId":"vpce-1""#;
        let through =
            r#","invokedBy":"secretsmanager.amazonaws.com"},"sourceIPAddress":"secretsmanager.amazonaws.com""#;
        let internal = r#","invokedBy":"AWS Internal"},"sourceIPAddress":"AWS Internal""#;
        let via = r#"{"StringEquals":{"kms:ViaService":"secretsmanager.eu-west-1.amazonaws.com"}}"#;
        let address = r#"{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}"#;
        let purpose = r#"{"StringEquals":{"kms:EncryptionContext:purpose":"pay"}}"#;
        let unknown = "hangs on kms:ViaService = secretsmanager.eu-west-1.amazonaws.com (statement 1)";
        let with_context = r#"},"requestParameters":{"encryptionContext":{"purpose":"pay"}}"#;
        for (operation, rest, condition, expected) in [
            ("Decrypt", direct, "{}", "allowed"),
            ("Decrypt", direct, via, "not"),
            ("Decrypt", through, via, "allowed"),
            ("Decrypt", internal, via, unknown),
            ("Decrypt", direct, address, "allowed"),
            ("Decrypt", endpoint, address, "not"),
            ("Decrypt", endpoint, r#"{"StringEquals":{"aws:SourceVpce":"vpce-1"}}"#, "allowed"),
            ("Decrypt", through, address, "hangs on aws:SourceIp in 203.0.113.0/24 (statement 1)"),
            ("Decrypt", with_context, purpose, "allowed"),
            ("Decrypt", direct, purpose, "not"),
            (
                "Decrypt",
                r#"},"errorCode":"AccessDenied""#,
                purpose,
                "hangs on kms:EncryptionContext:purpose = pay (statement 1)",
            ),
            ("ReEncrypt", direct, purpose, "hangs on kms:EncryptionContext:purpose = pay (statement 1)"),
            ("Sign", direct, r#"{"DateGreaterThan":{"aws:CurrentTime":"2026-02-01T00:00:00Z"}}"#, "not"),
            (
                "CreateGrant",
                r#"},"requestParameters":{"operations":["Decrypt","Sign"]}"#,
                r#"{"ForAllValues:StringEquals":{"kms:GrantOperations":["Decrypt"]}}"#,
                "not",
            ),
            (
                "Sign",
                direct,
                r#"{"StringEquals":{"aws:PrincipalOrgID":"o-a"}}"#,
                "hangs on aws:PrincipalOrgID = o-a (statement 1)",
            ),
        ] {
            assert_eq!(decision(operation, rest, condition), expected, "{operation} {rest} {condition}");
        }
    }
}
