//! Conditions that no record can meet, or that every record meets.
//!
//! A condition is written out as alternatives, each a list of tests; an alternative is impossible
//! when two of its tests exclude each other, or no kind of record passes all of them.
//!
//! Invariant: in doubt a condition is possible; a lint that cries wolf is switched off.

use std::collections::BTreeSet;

use super::{Lint, place};
use crate::event::field::{FieldId, Projection, core, derived};
use crate::rule::diagnostic::Code;
use crate::rule::document::Kind;
use crate::rule::pattern::ValueTest;
use crate::rule::predicate::Predicate;
use crate::rule::reach::{self, Truth, watched};

/// More alternatives than a person writes; beyond, the condition counts as possible.
const MAX_ALTERNATIVES: usize = 512;

/// Fields of which a record has one value at most.
const SINGLE: &[FieldId] = &[
    core::EVENT_SOURCE,
    core::EVENT_NAME,
    core::EVENT_TYPE,
    core::AWS_REGION,
    core::RECIPIENT_ACCOUNT,
    core::ERROR_CODE,
    core::ERROR_MESSAGE,
    core::SOURCE_IP,
    core::USER_AGENT,
    core::VPC_ENDPOINT,
    core::IDENTITY_TYPE,
    core::IDENTITY_ARN,
    core::IDENTITY_ACCOUNT,
    core::IDENTITY_INVOKED_BY,
    core::ISSUER_ARN,
    derived::OPERATION,
    derived::CLASS,
    derived::OUTCOME,
    derived::KEY_ARN,
    derived::KEY_ROLE,
    derived::DOMAIN,
    derived::TIER,
    derived::OWNER_ACCOUNT,
    derived::CALLER_ACCOUNT,
    derived::CROSS_ACCOUNT,
    derived::PRINCIPAL,
    derived::PRINCIPAL_TYPE,
    derived::SOURCE_KIND,
    derived::VIA,
    derived::EXPECTED,
    derived::GRANTEE_EXTERNAL,
    derived::TRAIL_BLINDS_KMS,
];

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

/// Whether some record of these kinds may meet a condition, or not meet it.
fn is_possible(predicate: &Predicate, holds: bool, kinds: &[reach::Kind]) -> bool {
    let Some(all) = alternatives(predicate, holds) else { return true };
    all.iter().any(|tests| clash(tests).is_none() && kinds.iter().any(|kind| passes(kind, tests)))
}

/// A leaf of a condition, or its contrary.
#[derive(Clone, Copy, Debug)]
struct Test<'p> {
    leaf: &'p Predicate,
    holds: bool,
}

/// A condition as alternatives, each a list of tests; nothing when there are too many.
fn alternatives(predicate: &Predicate, holds: bool) -> Option<Vec<Vec<Test<'_>>>> {
    let (parts, together) = match predicate {
        Predicate::Not(part) => return alternatives(part, !holds),
        Predicate::All(parts) => (parts, holds),
        Predicate::Any(parts) | Predicate::AtLeast(1, parts) => (parts, !holds),
        Predicate::AtLeast(count, parts) if *count == parts.len() => (parts, holds),
        // How many is no question of which.
        Predicate::AtLeast(..) => return Some(vec![Vec::new()]),
        leaf => return Some(vec![vec![Test { leaf, holds }]]),
    };
    let mut all = if together { vec![Vec::new()] } else { Vec::new() };
    for part in parts {
        let of_part = alternatives(part, holds)?;
        if !together {
            all.extend(of_part);
        } else if all.len() * of_part.len() <= MAX_ALTERNATIVES {
            all = all.iter().flat_map(|tests| with_each(tests, &of_part)).collect();
        } else {
            return None;
        }
        if all.len() > MAX_ALTERNATIVES {
            return None;
        }
    }
    Some(all)
}

/// One alternative, and each of several ways to go on from it.
fn with_each<'p>(tests: &[Test<'p>], of_part: &[Vec<Test<'p>>]) -> Vec<Vec<Test<'p>>> {
    of_part.iter().map(|more| [tests, more].concat()).collect()
}

fn passes(kind: &reach::Kind, tests: &[Test<'_>]) -> bool {
    let truth = |test: &Test<'_>| if test.holds { kind.meets(test.leaf) } else { kind.meets(test.leaf).not() };
    tests.iter().all(|test| truth(test) != Truth::No)
}

/// Two tests that no kind of record passes together; one test twice when it alone is too much.
fn exclude_each_other<'p>(tests: &[Test<'p>], kinds: &[reach::Kind]) -> Option<(Test<'p>, Test<'p>)> {
    let pairs =
        tests.iter().enumerate().flat_map(|(at, one)| tests.iter().take(at + 1).map(move |other| (*other, *one)));
    let mut pairs = pairs.filter(|(one, other)| !kinds.iter().any(|kind| passes(kind, &[*one, *other])));
    pairs.next()
}

/// Two tests that exclude each other whatever the record.
fn clash<'p>(tests: &[Test<'p>]) -> Option<(Test<'p>, Test<'p>)> {
    let pairs = tests.iter().enumerate().flat_map(|(at, one)| tests.iter().take(at).map(move |other| (*other, *one)));
    pairs.into_iter().find(|(one, other)| do_clash(*one, *other))
}

fn do_clash(one: Test<'_>, other: Test<'_>) -> bool {
    if one.holds != other.holds && is_same(one.leaf, other.leaf) {
        return true;
    }
    let (yes, no) = if one.holds { (one, other) } else { (other, one) };
    match (yes.leaf, no.leaf) {
        (Predicate::SomeOf(a, wanted), Predicate::SomeOf(b, refused)) if a == b && yes.holds && !no.holds => {
            wanted.iter().all(|test| is_text_that_passes(test, refused))
        }
        (Predicate::SomeOf(a, wanted), Predicate::SomeOf(b, too)) if a == b && yes.holds && no.holds => {
            SINGLE.contains(a) && are_disjoint(wanted, too)
        }
        (Predicate::SomeOf(a, wanted), Predicate::Exists(b, there))
        | (Predicate::Exists(b, there), Predicate::SomeOf(a, wanted))
            if a == b =>
        {
            let (some, exists) = if matches!(yes.leaf, Predicate::SomeOf(..)) { (yes, no) } else { (no, yes) };
            some.holds && *there != exists.holds && !wanted.iter().any(|test| matches!(test, ValueTest::Null))
        }
        (Predicate::Exists(a, one), Predicate::Exists(b, other)) => {
            a == b && (*one == yes.holds) != (*other == no.holds)
        }
        _ => false,
    }
}

/// A text to be equal to that one of some tests takes, whatever its case.
fn is_text_that_passes(test: &ValueTest, tests: &[ValueTest]) -> bool {
    let ValueTest::Equals(needle) = test else { return false };
    tests.iter().any(|test| is_without_case(test) && test.passes_text(&needle.text))
}

/// No text passes a test of both: one side is a list of texts, and of none is it sure that the other
/// might take it.
fn are_disjoint(a: &[ValueTest], b: &[ValueTest]) -> bool {
    let refuses =
        |tests: &[ValueTest], text: &str| tests.iter().all(|test| is_without_case(test) && !test.passes_text(text));
    let all_refused = |texts: &[ValueTest], by: &[ValueTest]| {
        let each = |test: &ValueTest| match test {
            ValueTest::Equals(needle) => refuses(by, &needle.text),
            ValueTest::Null => !by.iter().any(|test| matches!(test, ValueTest::Null)),
            _ => false,
        };
        !texts.is_empty() && texts.iter().all(each)
    };
    all_refused(a, b) || all_refused(b, a)
}

fn is_without_case(test: &ValueTest) -> bool {
    match test {
        ValueTest::Equals(needle)
        | ValueTest::Contains(needle)
        | ValueTest::StartsWith(needle)
        | ValueTest::EndsWith(needle) => !needle.cased,
        ValueTest::Null => true,
        _ => false,
    }
}

/// Whether two leaves ask the same. Regular expressions do not show how they are read, so they never do.
fn is_same(a: &Predicate, b: &Predicate) -> bool {
    let shown = |leaf: &Predicate| Some(format!("{leaf:?}")).filter(|text| !text.contains("Regex("));
    std::ptr::eq(a, b) || shown(a).is_some_and(|text| shown(b) == Some(text))
}

/// A test in words.
fn describe(test: Test<'_>, projection: &Projection) -> String {
    let not = if test.holds { "" } else { "not " };
    match test.leaf {
        Predicate::SomeOf(field, tests) | Predicate::AllOf(field, tests) => {
            let said: BTreeSet<_> = tests.iter().map(in_words).collect();
            let mut said: Vec<_> = said.into_iter().collect();
            if said.len() > 3 {
                said.truncate(2);
                said.push("...".to_owned());
            }
            format!("`{}` {not}{}", projection.name(*field), said.join(" or "))
        }
        Predicate::Exists(field, there) => {
            let there = if *there == test.holds { "there" } else { "absent" };
            format!("`{}` {there}", projection.name(*field))
        }
        Predicate::SameAs(field, other) => {
            format!("`{}` {not}the same as `{}`", projection.name(*field), projection.name(*other))
        }
        _ => format!("{not}the keywords"),
    }
}

fn in_words(test: &ValueTest) -> String {
    match test {
        ValueTest::Equals(needle) => format!("'{}'", needle.text),
        ValueTest::Contains(needle) => format!("with '{}'", needle.text),
        ValueTest::StartsWith(needle) => format!("beginning '{}'", needle.text),
        ValueTest::EndsWith(needle) => format!("ending '{}'", needle.text),
        ValueTest::Null => "null".to_owned(),
        ValueTest::Regex(regex) => format!("like '{regex}'"),
        ValueTest::Cidr(network) => format!("in {network}"),
        other => format!("{other:?}"),
    }
}
