//! Groups that whoever is watched can multiply: each new value is a new incident, so a threshold is
//! never reached, pages come without end, and the limit on groups is spent.

use super::Lint;
use crate::rule::diagnostic::Code;
use crate::rule::document::Kind;
use crate::rule::locate::{Node, Place};

/// Fields whose values a caller makes up or gets anew as often as it likes, and why. A name stands
/// for what is below it too.
const UNBOUNDED: &[(&str, &str, Instead)] = &[
    ("userIdentity.arn", "it holds the name of the session, which the caller chooses", Instead::Principal),
    ("userIdentity.principalId", "it holds the name of the session, which the caller chooses", Instead::Principal),
    ("userIdentity.accessKeyId", "every session has a new one", Instead::Principal),
    ("userIdentity.credentialId", "every session has a new one", Instead::Principal),
    ("userIdentity.sessionContext.attributes.creationDate", "every session has a new one", Instead::Principal),
    ("userIdentity.sessionContext.sourceIdentity", "the caller chooses it", Instead::Principal),
    ("kms.session", "the caller chooses the name of its session", Instead::Principal),
    ("kms.who", "it holds the name of the session, which the caller chooses", Instead::Principal),
    ("userAgent", "the caller writes what it likes", Instead::Principal),
    ("sourceIPAddress", "addresses are cheap to change", Instead::Principal),
    ("tlsDetails.clientProvidedHostHeader", "the caller writes what it likes", Instead::Principal),
    ("requestParameters.encryptionContext", "the caller writes what it likes", Instead::Key),
    ("requestParameters.sourceEncryptionContext", "the caller writes what it likes", Instead::Key),
    ("requestParameters.destinationEncryptionContext", "the caller writes what it likes", Instead::Key),
    ("kms.object", "it stands for the encryption context, in which the caller writes what it likes", Instead::Key),
    ("requestParameters.keyId", "one key has many names: id, ARN, aliases", Instead::Key),
    ("requestParameters.description", "the caller writes what it likes", Instead::Key),
    ("requestParameters.policy", "the caller writes what it likes", Instead::Key),
    ("requestParameters.tags", "the caller writes what it likes", Instead::Key),
    ("requestParameters.grantTokens", "every grant has a new one", Instead::Key),
    ("requestParameters.importTokenId", "every request has a new one", Instead::Key),
    ("responseElements.grantId", "every grant has a new one", Instead::Key),
    ("requestParameters", "every request is another", Instead::Principal),
    ("responseElements", "every answer is another", Instead::Principal),
    ("requestID", "every record has a new one", Instead::Principal),
    ("eventID", "every record has a new one", Instead::Principal),
    ("sharedEventID", "every record has a new one", Instead::Principal),
    ("eventTime", "every second is another", Instead::Principal),
    ("errorMessage", "it repeats what the caller typed", Instead::ErrorCode),
];

/// Fields that hold the name of the session.
const SESSION_NAMES: &[&str] = &["userIdentity.arn", "userIdentity.principalId", "kms.session", "kms.who"];

#[derive(Clone, Copy)]
enum Instead {
    Principal,
    Key,
    ErrorCode,
}

pub(super) fn look(lint: &mut Lint<'_, '_>) {
    let document = lint.document;
    if lint.is_counted && document.extension.kind.is_none() && !matches!(document.kind, Kind::Correlation(_)) {
        return;
    }
    let only_kms = lint.is_of_kms_only();
    let is_of_console = is_of_console(lint);
    for (path, place) in groups(lint) {
        let exact = |known: &&str| *known == path;
        let below =
            |known: &&str| known.contains('.') && path.strip_prefix(*known).is_some_and(|rest| rest.starts_with('.'));
        let Some((_, why, instead)) = UNBOUNDED.iter().find(|(known, ..)| exact(known) || below(known)) else {
            continue;
        };
        if is_of_console && SESSION_NAMES.contains(&&*path) {
            continue;
        }
        let instead = match instead {
            Instead::Principal => "`kms.principal`",
            Instead::Key if only_kms => "`kms.key_arn`",
            Instead::Key => "`kms.principal` or `kms.key_arn`",
            Instead::ErrorCode => "`errorCode`",
        };
        let message = format!("a caller can make any number of groups of `{path}`: {why}");
        let help = format!("group by {instead}; the field may still stand in the summary or be counted");
        lint.warning(Code::UnboundedGroup, place, message, &help);
    }
}

/// The rule wants sessions of the console: sign-in names these after the person.
fn is_of_console(lint: &Lint<'_, '_>) -> bool {
    let required = lint.projection.id("sessionCredentialFromConsole").and_then(|id| lint.predicate()?.required(id));
    required.is_some_and(|values| values.iter().all(|value| value == "true"))
}

/// The fields that the rule groups by, with their places.
fn groups(lint: &Lint<'_, '_>) -> Vec<(String, Place)> {
    let document = lint.document;
    let block = document.node.get("kmswatch");
    let listed = |node: Option<&Node>| {
        let items = node.map(Node::items).unwrap_or_default();
        items.iter().filter_map(|item| Some((item.scalar_text()?, item.place))).collect::<Vec<_>>()
    };
    let mut groups = listed(block.and_then(|block| block.get("group-by")));
    groups.extend(listed(block.and_then(|block| block.get("new-terms")).and_then(|terms| terms.get("fields"))));
    if let Kind::Correlation(correlation) = &document.kind {
        for (name, place) in &correlation.group_by {
            match correlation.aliases.iter().find(|alias| alias.name == *name) {
                Some(alias) => groups.extend(alias.of.iter().map(|(_, place, path)| (path.clone(), *place))),
                None => groups.push((name.clone(), *place)),
            }
        }
    }
    groups
}
