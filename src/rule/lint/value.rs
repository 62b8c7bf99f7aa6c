//! Values that a field never has: a misspelt operation or class never matches, and nobody notices.

use std::collections::BTreeSet;

use super::{Lint, place};
use crate::event::field::{FieldId, core, derived};
use crate::event::operation::{Class, OPERATIONS};
use crate::keys::supply::ResourceKind;
use crate::rule::diagnostic::{Code, Severity, nearest};
use crate::rule::document::Kind;
use crate::rule::pattern::ValueTest;
use crate::rule::predicate::Predicate;
use crate::rule::reach::{OUTCOMES, calls};

/// What a field can hold.
struct Vocabulary {
    what: &'static str,
    words: Vec<&'static str>,
    /// AWS may add words that this version does not know.
    is_open: bool,
}

/// `userIdentity.type` (aws-facts 2.1), and what stands in for it on service events.
const PRINCIPAL_TYPES: &[&str] = &[
    "Root",
    "IAMUser",
    "AssumedRole",
    "Role",
    "FederatedUser",
    "Directory",
    "AWSAccount",
    "AWSService",
    "IdentityCenterUser",
    "SAMLUser",
    "WebIdentityUser",
    "Unknown",
    "ServiceEvent",
];

/// Kinds of what kmswatch itself lives by.
const SUPPLY_LINE: &[&str] = &[
    ResourceKind::Trail.as_str(),
    ResourceKind::EventRule.as_str(),
    ResourceKind::EventBus.as_str(),
    ResourceKind::Queue.as_str(),
    ResourceKind::Topic.as_str(),
    ResourceKind::Subscription.as_str(),
    ResourceKind::Bucket.as_str(),
    ResourceKind::Table.as_str(),
    ResourceKind::LogGroup.as_str(),
    ResourceKind::Function.as_str(),
    ResourceKind::Key.as_str(),
];

/// Whether all values can be.
pub(super) fn look(lint: &mut Lint<'_, '_>) -> bool {
    let only_kms = lint.is_of_kms_only();
    let mut leaves = Vec::new();
    let extension = &lint.document.extension;
    match &lint.document.kind {
        Kind::Detection(predicate) | Kind::Filter { predicate, .. } => collect(predicate, &mut leaves),
        Kind::Correlation(_) => {}
    }
    if let Some((kind, _)) = &extension.kind {
        let others = kind.closes.iter().chain(kind.escalates.iter().map(|(_, predicate)| predicate));
        others.for_each(|predicate| collect(predicate, &mut leaves));
    }
    let before = lint.diagnostics.found.len();
    let mut told = BTreeSet::new();
    for (field, tests) in leaves {
        if field == core::EVENT_SOURCE {
            look_at_sources(lint, tests);
        }
        let Some(vocabulary) = vocabulary(field, lint.projection.name(field), only_kms) else { continue };
        for test in tests.iter().filter(|test| !matches!(test, ValueTest::Null)) {
            if !vocabulary.words.iter().any(|word| test.passes_text(word)) && told.insert((field, format!("{test:?}")))
            {
                tell(lint, field, test, &vocabulary);
            }
        }
    }
    lint.diagnostics.found.len() == before
}

/// Too many services come and go for a list of them, but all of their names end alike.
fn look_at_sources(lint: &mut Lint<'_, '_>, tests: &[ValueTest]) {
    let path = lint.projection.name(core::EVENT_SOURCE).to_owned();
    for test in tests {
        let ValueTest::Equals(needle) = test else { continue };
        if needle.text.contains(".amazonaws.com") || needle.text == "kmswatch.internal" {
            continue;
        }
        let Some((place, text)) = place::of_value(lint.document, &path, &needle.text) else { continue };
        let message = format!("`{text}` is no source of CloudTrail records: their names end in `.amazonaws.com`");
        // EventBridge says `aws.kms` where CloudTrail says `kms.amazonaws.com`.
        let service = text.strip_prefix("aws.").unwrap_or(&text).split('.').next().unwrap_or_default();
        let help = Some(format!("did you mean `{service}.amazonaws.com`?")).filter(|_| !service.is_empty());
        lint.diagnostics.push(Severity::Warning, Code::UnknownValue, place, message, help);
    }
}

fn tell(lint: &mut Lint<'_, '_>, field: FieldId, test: &ValueTest, vocabulary: &Vocabulary) {
    let path = lint.projection.name(field).to_owned();
    let text = match test {
        ValueTest::Equals(needle)
        | ValueTest::Contains(needle)
        | ValueTest::StartsWith(needle)
        | ValueTest::EndsWith(needle) => needle.text.as_str(),
        _ => "",
    };
    // What comes from a filter is told of there.
    let Some((place, text)) = place::of_value(lint.document, &path, text) else { return };
    let Vocabulary { what, words, is_open } = vocabulary;
    let near = nearest(&text, words.iter().copied()).filter(|_| matches!(test, ValueTest::Equals(_)));
    let is_news = *is_open && near.is_none();
    let message = match test {
        ValueTest::Equals(_) if is_news => format!("`{text}` is no {what} that this version knows"),
        ValueTest::Equals(_) => format!("`{text}` is no {what}, so this test never passes"),
        _ => format!("no {what} passes this test of `{path}`"),
    };
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if is_news => "delete it, or keep it if AWS has added it since".to_owned(),
        None => format!("one of {}", words.join(", ")),
    };
    let is_ours = lint.document.is_ours || path.starts_with("kms.");
    let is_error = !is_open || (near.is_some() && is_ours);
    let severity = if is_error { Severity::Error } else { Severity::Warning };
    lint.diagnostics.push(severity, Code::UnknownValue, place, message, Some(help));
}

fn vocabulary(field: FieldId, path: &str, only_kms: bool) -> Option<Vocabulary> {
    let closed = |what, words: &[&'static str]| Some(Vocabulary { what, words: words.to_vec(), is_open: false });
    match field {
        derived::OPERATION => Some(operations()),
        core::EVENT_NAME if only_kms => Some(operations()),
        derived::CLASS => {
            let classes: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.class).collect();
            let words = classes.into_iter().chain([Class::Unknown]).map(Class::as_str).collect();
            Some(Vocabulary { what: "class of KMS operations", words, is_open: false })
        }
        derived::OUTCOME => closed("outcome", OUTCOMES),
        derived::SOURCE_KIND => closed("kind of source", &["address", "service", "aws-internal", "unknown"]),
        derived::KEY_STATE_ERROR => closed(
            "state of a key that fails calls",
            &["pending-deletion", "disabled", "pending-import", "unavailable"],
        ),
        derived::SUPPLY_LINE => closed("kind of supply line", SUPPLY_LINE),
        derived::KEY_ROLE => closed("role of a key", &["source", "destination"]),
        derived::PRINCIPAL_TYPE => {
            Some(Vocabulary { what: "kind of principal", words: PRINCIPAL_TYPES.to_vec(), is_open: true })
        }
        _ if is_boolean(path) => closed("boolean", &["true", "false"]),
        _ => None,
    }
}

fn operations() -> Vocabulary {
    Vocabulary { what: "KMS operation", words: calls().map(|call| call.name).collect(), is_open: true }
}

/// Derived fields whose meaning says so.
fn is_boolean(path: &str) -> bool {
    let begins = |meaning: &str| ["true ", "whether ", "the same of the "].iter().any(|word| meaning.starts_with(word));
    derived::ALL.iter().any(|(known, meaning)| *known == path && begins(meaning))
}

/// The field and the tests of every leaf that compares values.
fn collect<'p>(predicate: &'p Predicate, into: &mut Vec<(FieldId, &'p [ValueTest])>) {
    match predicate {
        Predicate::All(parts) | Predicate::Any(parts) | Predicate::AtLeast(_, parts) => {
            parts.iter().for_each(|part| collect(part, into));
        }
        Predicate::Not(part) | Predicate::Marked(_, part) => collect(part, into),
        Predicate::SomeOf(field, tests) | Predicate::AllOf(field, tests) => into.push((*field, tests)),
        _ => {}
    }
}
