//! Conditions that no record can meet, or that every record meets, or only records that EventBridge
//! does not deliver unless told to.

use std::collections::BTreeSet;

use super::alternatives::{Test, alternatives, clash, describe, exclude_each_other, is_possible, passes};
use super::{Lint, place};
use crate::event::field::core;
use crate::rule::diagnostic::Code;
use crate::rule::document::{Document, Kind};
use crate::rule::predicate::Predicate;
use crate::rule::reach::{self, Truth, watched};

pub(super) fn look(lint: &mut Lint<'_, '_>) {
    let document = lint.document;
    let extension = document.extension.kind.as_ref().map(|(kind, _)| kind);
    if let Some(reason) = lint.predicate().and_then(|predicate| impossible(predicate, lint)) {
        let help = "a map is an `and`; for either of two give one key a list, or name two selections with `or`";
        let message = format!("no record can meet this condition: {reason}");
        lint.mistake(Code::UnreachableCondition, place::of_condition(document), message, Some(help.to_owned()));
        return;
    }
    if let Some(reason) = extension.and_then(|kind| kind.closes.as_ref()).and_then(|closes| impossible(closes, lint)) {
        let resolve = document.node.get("kmswatch").and_then(|block| block.get("resolve"));
        let place = resolve.map_or(document.place, |resolve| resolve.key_place("when"));
        let message = format!("no record can close the case: {reason}");
        lint.mistake(Code::UnreachableCondition, place, message, None);
    }
    let Some(predicate) = lint.predicate() else { return };
    let opens_on_each = extension.is_none() && !lint.is_counted && matches!(document.kind, Kind::Detection(_));
    let unmet = |kinds: &[reach::Kind]| kinds.iter().any(|kind| kind.meets(predicate) != Truth::Yes);
    let always = |kinds: &[reach::Kind]| !unmet(kinds) || !is_possible(predicate, false, kinds);
    let (message, help) = if always(lint.kinds) {
        ("every record meets this condition", "test `eventSource` and `eventName`, or `kms.class`")
    } else if opens_on_each && always(&reach::Kind::all_of_kms().collect::<Vec<_>>()) {
        (
            "every call of KMS meets this condition, and each opens an incident",
            "test `kms.class` or `kms.operation` too",
        )
    } else {
        return read_events(lint);
    };
    lint.warning(Code::AlwaysTrue, place::of_condition(document), message.to_owned(), help);
}

/// Says which rules a filter leaves nothing of.
pub(super) fn look_at_filter(lint: &mut Lint<'_, '_>, documents: &[Document<'_>]) {
    let Kind::Filter { rules, any, predicate } = &lint.document.kind else { return };
    let is_meant = |document: &Document<'_>| {
        let names = [Some(&*document.meta.id), document.name.as_deref(), Some(&*document.meta.title)];
        *any || rules.iter().any(|(reference, _)| names.contains(&Some(reference.as_str())))
    };
    for document in documents.iter().filter(|document| is_meant(document)) {
        let Kind::Detection(own) = &document.kind else { continue };
        let both = Predicate::All(vec![own.clone(), predicate.clone()]);
        let Some(reason) = impossible(&both, lint).filter(|_| impossible(own, lint).is_none()) else { continue };
        let message = format!("the filter leaves nothing of `{}`: {reason}", document.meta.title);
        let help = "a filter says what may still match: write `condition: not selection` to take the selection out";
        lint.warning(Code::UnreachableCondition, place::of_condition(lint.document), message, help);
    }
}

/// Says when EventBridge does not deliver what is asked for unless its rule is set to (aws-facts 1.2).
fn read_events(lint: &mut Lint<'_, '_>) {
    let Some(predicate) = lint.predicate() else { return };
    let sources = predicate.required(core::EVENT_SOURCE).unwrap_or_default();
    if sources.iter().any(|source| source == "signin.amazonaws.com") {
        return; // Of a detail-type of its own, whatever it is called.
    }
    let is_read = |name: &str| ["describe", "get", "list"].iter().any(|verb| name.to_lowercase().starts_with(verb));
    let (path, names): (_, Vec<String>) = if lint.is_of_kms_only() {
        let path = ["eventName", "kms.operation", "kms.class"].into_iter();
        (path, watched(predicate).calls.into_iter().map(str::to_owned).collect())
    } else {
        // As they are written, where they stand as they are.
        let names = predicate.required(core::EVENT_NAME).unwrap_or_default();
        let written = |name: String| place::of_value(lint.document, "eventName", &name).map_or(name, |(_, text)| text);
        (["eventName", "", ""].into_iter(), names.into_iter().map(written).collect())
    };
    let reads: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_read(name)).collect();
    let Some(first) = reads.first() else { return };
    // A class may bring some along that nobody asked for.
    let asked_for = predicate.required(core::EVENT_NAME).is_some() || reads.len() * 2 > names.len();
    if !asked_for {
        return;
    }
    let (shown, more) = (reads.get(..3).unwrap_or(&reads).join(", "), reads.len().saturating_sub(3));
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let by_name = place::of_value(lint.document, "eventName", first).map(|(place, _)| place);
    let by_key = path.into_iter().find_map(|path| place::of_key(lint.document, path));
    let place = by_name.or(by_key).unwrap_or(lint.document.place);
    let message = format!("EventBridge leaves read-only calls out unless told otherwise: {shown}{more}");
    let help = "live, the EventBridge rule needs the state ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS; a replay sees them anyhow";
    lint.diagnostics.note(Code::NeedsReadEvents, place, message, Some(help.to_owned()));
}

/// Why a condition can never hold.
fn impossible(predicate: &Predicate, lint: &Lint<'_, '_>) -> Option<String> {
    // Nearly always some kind of record may meet it and nothing clashes; ask that first.
    let all = alternatives(predicate, true)?;
    if all.iter().any(|tests| clash(tests).is_none() && lint.kinds.iter().any(|kind| passes(kind, tests))) {
        return None;
    }
    let first = all.first()?;
    let say = |test: &Test<'_>| describe(*test, lint.projection);
    Some(match clash(first).or_else(|| exclude_each_other(first, lint.kinds)) {
        Some((one, other)) if std::ptr::eq(one.leaf, other.leaf) && one.holds == other.holds => {
            format!("nothing passes {}", say(&one))
        }
        Some((one, other)) => format!("{} and {} exclude each other", say(&one), say(&other)),
        None => {
            let all: BTreeSet<_> = first.iter().map(say).collect();
            format!("nothing passes all of {}", all.into_iter().collect::<Vec<_>>().join(", "))
        }
    })
}
