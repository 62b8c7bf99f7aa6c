//! Who called: the canonical principal of a record, by the table of aws-facts 2.1.
//!
//! Invariant: two calls of one role have one principal, whatever their sessions and access keys
//! (a real burst of 566 Decrypts came under 17 access keys). The human is in [`Principal::session`].

use super::field::{Fields, core};
use super::key::arn_parts;

/// Who called, as far as the record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// What expectations and groups use: the role's ARN for a session, `service:...` for AWS.
    pub canonical: String,
    /// `userIdentity.type`, or `ServiceEvent` where CloudTrail writes none.
    pub kind: String,
    /// The session, or the human bound to it.
    pub session: Option<String>,
    /// The caller's account.
    pub account: Option<String>,
    /// The AWS service that forwarded the call, if any.
    pub via: Option<String>,
}

impl Principal {
    /// For a sentence: `role payments (session pay-1, account 111122223333)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Some(parts) = arn_parts(&self.canonical) else { return self.canonical.clone() };
        let name = match parts.resource.split_once('/') {
            Some((kind, name)) => format!("{kind} {name}"),
            None => parts.resource.to_owned(),
        };
        match &self.session {
            Some(session) => format!("{name} (session {session}, account {})", parts.account),
            None => format!("{name} (account {})", parts.account),
        }
    }
}

/// Reads the caller out of a record's fields.
#[must_use]
pub fn principal_of(fields: &Fields<'_>) -> Principal {
    let text = |id| fields.text(id);
    let arn = text(core::IDENTITY_ARN);
    let principal_id = text(core::IDENTITY_PRINCIPAL_ID);
    let kind = text(core::IDENTITY_TYPE).unwrap_or("ServiceEvent");
    let invoked_by = text(core::IDENTITY_INVOKED_BY);
    let account = text(core::IDENTITY_ACCOUNT)
        .or_else(|| text(core::ISSUER_ACCOUNT))
        .or_else(|| matches!(kind, "AWSService" | "ServiceEvent").then(|| text(core::RECIPIENT_ACCOUNT)).flatten());
    let unique = || principal_id.map(|id| id.split(':').next().unwrap_or(id));
    let somebody = || {
        let who = unique().or_else(|| text(core::IDENTITY_USER_NAME)).unwrap_or("unknown");
        format!("{}:{}/{who}", kind.to_ascii_lowercase(), account.unwrap_or("unknown"))
    };
    let canonical = match kind {
        "AssumedRole" => {
            text(core::ISSUER_ARN).map(str::to_owned).or_else(|| arn.map(role_of_session)).unwrap_or_else(somebody)
        }
        "AWSService" | "ServiceEvent" => format!("service:{}", service_name(invoked_by)),
        "AWSAccount" => format!("account:{}/{}", account.unwrap_or("unknown"), unique().unwrap_or("unknown")),
        "IdentityCenterUser" => format!(
            "idc:{}/{}",
            text(core::ON_BEHALF_STORE).and_then(|store| store.rsplit('/').next()).unwrap_or("unknown"),
            text(core::ON_BEHALF_USER).unwrap_or("unknown")
        ),
        "SAMLUser" | "WebIdentityUser" => format!(
            "{}:{}/{}",
            kind.to_ascii_lowercase(),
            text(core::IDENTITY_PROVIDER).unwrap_or("unknown"),
            principal_id.or_else(|| text(core::IDENTITY_USER_NAME)).unwrap_or("unknown")
        ),
        _ => arn.map_or_else(somebody, str::to_owned),
    };
    let session = text(core::SOURCE_IDENTITY)
        .or_else(|| (kind == "AssumedRole").then(|| session_name(arn, principal_id)).flatten())
        .map(str::to_owned);
    let via = invoked_by.filter(|_| !matches!(kind, "AWSService" | "ServiceEvent")).map(str::to_owned);
    Principal { canonical, kind: kind.to_owned(), session, account: account.map(str::to_owned), via }
}

/// The role's ARN out of a session's, and any other ARN as it is; it lacks the IAM path, which only
/// the issuer has.
#[must_use]
pub fn role_of_session(arn: &str) -> String {
    let role = arn_parts(arn).and_then(|parts| {
        let name = parts.resource.strip_prefix("assumed-role/")?.split('/').next()?;
        let partition = arn.split(':').nth(1)?;
        Some(format!("arn:{partition}:iam::{}:role/{name}", parts.account))
    });
    role.unwrap_or_else(|| arn.to_owned())
}

/// An ARN of IAM without its path: names are unique in an account whatever the path, and an ARN of a
/// session has none to compare with.
#[must_use]
pub fn without_path(arn: &str) -> String {
    let short = arn_parts(arn).filter(|parts| parts.service == "iam").and_then(|parts| {
        let (kind, rest) = parts.resource.split_once('/')?;
        let (path, name) = rest.rsplit_once('/')?;
        let head = arn.strip_suffix(parts.resource).filter(|_| !path.is_empty() && !name.is_empty())?;
        Some(format!("{head}{kind}/{name}"))
    });
    short.unwrap_or_else(|| arn.to_owned())
}

fn session_name<'a>(arn: Option<&'a str>, principal_id: Option<&'a str>) -> Option<&'a str> {
    let of_arn = arn.filter(|arn| arn.contains(":assumed-role/")).and_then(|arn| arn.splitn(3, '/').nth(2));
    of_arn.or_else(|| principal_id?.split_once(':').map(|(_, session)| session)).filter(|name| !name.is_empty())
}

fn service_name(invoked_by: Option<&str>) -> &str {
    match invoked_by {
        None | Some("AWS Internal" | "internal.amazonaws.com") => "aws-internal",
        Some(service) => service,
    }
}

/// What kind of thing `sourceIPAddress` is: it holds an address, a service or `AWS Internal`.
#[must_use]
pub fn source_kind(source: Option<&str>) -> &'static str {
    match source {
        Some(text) if text.parse::<std::net::IpAddr>().is_ok() => "address",
        Some(text) if text.starts_with("AWS Internal") || text == "internal.amazonaws.com" => "aws-internal",
        Some(text) if text.ends_with(".amazonaws.com") || text.ends_with(".amazonaws.com.cn") => "service",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Projection;
    use super::super::record::decode;
    use super::*;

    fn of(identity: &str) -> Principal {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","recipientAccountId":"111122223333","userIdentity":{identity}}}"#
        );
        principal_of(&decode(&raw, &Projection::fixed()).unwrap().fields)
    }

    #[test]
    fn the_table_of_identities() {
        let role = r#"{"type":"AssumedRole","principalId":"AROAX:pay-1","arn":"arn:aws:sts::111122223333:assumed-role/pay/pay-1","accountId":"111122223333","invokedBy":"lambda.amazonaws.com","sessionContext":{"sessionIssuer":{"type":"Role","arn":"arn:aws:iam::111122223333:role/apps/pay","accountId":"111122223333","userName":"pay"}}}"#;
        let got = of(role);
        assert_eq!(got.canonical, "arn:aws:iam::111122223333:role/apps/pay");
        assert_eq!(got.in_words(), "role apps/pay (session pay-1, account 111122223333)");
        assert_eq!((got.session.as_deref(), got.via.as_deref()), (Some("pay-1"), Some("lambda.amazonaws.com")));
        let cases = [
            // No issuer: the role comes out of the session's ARN.
            (
                r#"{"type":"AssumedRole","arn":"arn:aws:sts::111122223333:assumed-role/pay/s"}"#,
                "arn:aws:iam::111122223333:role/pay",
            ),
            (
                r#"{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/x/ann","sessionContext":{"sessionIssuer":{}}}"#,
                "arn:aws:iam::111122223333:user/x/ann",
            ),
            (r#"{"type":"Root","arn":"arn:aws:iam::111122223333:root"}"#, "arn:aws:iam::111122223333:root"),
            (
                r#"{"type":"AWSAccount","principalId":"AROAY:s","accountId":"999988887777"}"#,
                "account:999988887777/AROAY",
            ),
            (r#"{"type":"AWSService","invokedBy":"cloudtrail.amazonaws.com"}"#, "service:cloudtrail.amazonaws.com"),
            (r#"{"accountId":"111122223333","invokedBy":"AWS Internal"}"#, "service:aws-internal"),
            (
                r#"{"type":"IdentityCenterUser","accountId":"111122223333","onBehalfOf":{"userId":"u-1","identityStoreArn":"arn:aws:identitystore::1:identitystore/d-9"}}"#,
                "idc:d-9/u-1",
            ),
            (r#"{"type":"Unknown","principalId":"P:q","accountId":"111122223333"}"#, "unknown:111122223333/P"),
            (
                r#"{"type":"WebIdentityUser","identityProvider":"accounts.example","principalId":"p"}"#,
                "webidentityuser:accounts.example/p",
            ),
            (
                r#"{"type":"FederatedUser","arn":"arn:aws:sts::111122223333:federated-user/bo"}"#,
                "arn:aws:sts::111122223333:federated-user/bo",
            ),
            ("null", "service:aws-internal"),
        ];
        for (identity, canonical) in cases {
            assert_eq!(of(identity).canonical, canonical, "{identity}");
        }
        assert_eq!(of(cases[4].0).account.as_deref(), Some("111122223333"));
        assert_eq!(of(cases[4].0).via, None);
    }

    #[test]
    fn the_source_is_a_union() {
        for (text, kind) in [
            ("203.0.113.7", "address"),
            ("2001:db8::1", "address"),
            ("AWS Internal", "aws-internal"),
            ("AWS Internal/3", "aws-internal"),
            ("secretsmanager.amazonaws.com", "service"),
            ("", "unknown"),
        ] {
            assert_eq!(source_kind(Some(text)), kind, "{text}");
        }
        assert_eq!(source_kind(None), "unknown");
    }

    #[test]
    fn an_arn_without_its_path() {
        for (arn, expected) in [
            ("arn:aws:iam::111122223333:role/a/b/pay", "arn:aws:iam::111122223333:role/pay"),
            ("arn:aws:iam::111122223333:user/pay", "arn:aws:iam::111122223333:user/pay"),
            ("arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:root"),
            ("arn:aws:iam::111122223333:role/a/", "arn:aws:iam::111122223333:role/a/"),
            ("service:rds.amazonaws.com", "service:rds.amazonaws.com"),
            ("account:999988887777/AROAX", "account:999988887777/AROAX"),
        ] {
            assert_eq!(without_path(arn), expected);
        }
    }
}
