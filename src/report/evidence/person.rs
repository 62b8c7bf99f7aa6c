//! The human behind a role, by the best evidence that a record has, and by which.

use serde_json::Value;

use crate::event::field::{Fields, core};
use crate::event::principal::Principal;

/// Who, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Person {
    /// A name.
    pub name: String,
    /// The field that says so.
    pub evidence: &'static str,
}

/// Sets of permissions of IAM Identity Center become roles of this prefix, whose sessions are named
/// after the person (aws-facts 2.1).
const SSO_ROLE: &str = "AWSReservedSSO_";

/// Looks for the human, surest evidence first: what cannot be chosen by the caller before what can.
/// A plain session name is chosen by whoever assumes the role, and comes last. Nothing for AWS itself.
#[must_use]
pub fn person_of(whole: &Value, fields: &Fields<'_>, principal: &Principal) -> Option<Person> {
    let text = |id| fields.text(id);
    let found = |name: &str, evidence| Some(Person { name: name.to_owned(), evidence });
    if let Some(name) = text(core::SOURCE_IDENTITY) {
        return found(name, "sourceIdentity");
    }
    if let Some(user) = text(core::ON_BEHALF_USER) {
        let store = text(core::ON_BEHALF_STORE).and_then(|store| store.rsplit('/').next());
        let name = store.map_or_else(|| user.to_owned(), |store| format!("{store}/{user}"));
        return found(&name, "onBehalfOf");
    }
    let arn = text(core::IDENTITY_ARN);
    let last = || arn.and_then(|arn| arn.rsplit('/').next());
    match principal.kind.as_str() {
        "Root" => {
            let assumed = whole.pointer("/userIdentity/sessionContext/assumedRoot").is_some_and(is_true);
            let evidence = if assumed { "Root session by sts:AssumeRoot" } else { "Root" };
            found(&format!("root of {}", principal.account.as_deref().unwrap_or("an unknown account")), evidence)
        }
        "IAMUser" => found(text(core::IDENTITY_USER_NAME).or_else(last)?, "userName"),
        "AssumedRole" => {
            let is_sso = [text(core::ISSUER_NAME), text(core::ISSUER_ARN), arn]
                .into_iter()
                .flatten()
                .any(|name| name.contains(SSO_ROLE));
            found(principal.session.as_deref()?, if is_sso { "Identity Center session name" } else { "session name" })
        }
        "FederatedUser" => found(last()?, "federated user name"),
        "SAMLUser" | "WebIdentityUser" => {
            found(text(core::IDENTITY_USER_NAME).or_else(|| text(core::IDENTITY_PRINCIPAL_ID))?, "identity provider")
        }
        // The owner's copy of another account's call: only the session is left of the caller.
        "AWSAccount" => {
            let session = text(core::IDENTITY_PRINCIPAL_ID)?.split_once(':')?.1;
            found(Some(session).filter(|session| !session.is_empty())?, "session name in principalId")
        }
        "AWSService" | "ServiceEvent" => None,
        _ => found(text(core::IDENTITY_USER_NAME)?, "userName"),
    }
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
}

/// What kind of client a user agent is. It is what the client says of itself.
#[must_use]
pub fn client_of(user_agent: Option<&str>, source_kind: &str) -> Option<&'static str> {
    let agent = user_agent?.trim_start_matches('[').to_ascii_lowercase();
    let holds = |parts: &[&str]| parts.iter().any(|part| agent.contains(part));
    Some(match () {
        () if source_kind != "address" && (agent.ends_with(".amazonaws.com") || agent.starts_with("aws internal")) => {
            "service"
        }
        () if holds(&["console.amazonaws.com", "signin.amazonaws.com", "aws-internal/"]) => "console",
        () if holds(&["terraform", "opentofu"]) => "terraform",
        () if holds(&["cloudformation", "pulumi", "aws-cdk", "ansible"]) => "deployment tool",
        () if holds(&["aws-cli/"]) => "cli",
        () if holds(&["boto3/", "botocore/", "aws-sdk-", "awssdk", "aws-sdk/"]) => "sdk",
        () if agent.starts_with("mozilla/") => "browser",
        () if agent.ends_with(".amazonaws.com") => "service",
        () => "other",
    })
}
