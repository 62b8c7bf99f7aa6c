//! A condition written out as alternatives, each a list of tests; an alternative is impossible when
//! two of its tests exclude each other, or no kind of record passes all of them.
//!
//! Invariant: in doubt a condition is possible; a lint that cries wolf is switched off.

use std::collections::BTreeSet;

use crate::event::field::{FieldId, Projection, core, derived};
use crate::rule::pattern::ValueTest;
use crate::rule::predicate::Predicate;
use crate::rule::reach::{self, Truth};

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
    derived::POLICY_PUBLIC,
    derived::POLICY_LOCKS_OUT,
    derived::KEY_STATE_ERROR,
    derived::OWNER_TRUSTED,
    derived::CALLER_TRUSTED,
    derived::GRANTEE_TRUSTED,
    derived::SUPPLY_LINE,
];

/// Whether some record of these kinds may meet a condition, or not meet it.
pub(super) fn is_possible(predicate: &Predicate, holds: bool, kinds: &[reach::Kind]) -> bool {
    let Some(all) = alternatives(predicate, holds) else { return true };
    all.iter().any(|tests| clash(tests).is_none() && kinds.iter().any(|kind| passes(kind, tests)))
}

/// A leaf of a condition, or its contrary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test<'p> {
    /// What is asked.
    pub(super) leaf: &'p Predicate,
    /// Whether it must hold, or must not.
    pub(super) holds: bool,
}

/// A condition as alternatives, each a list of tests; nothing when there are too many.
pub(super) fn alternatives(predicate: &Predicate, holds: bool) -> Option<Vec<Vec<Test<'_>>>> {
    let (parts, together) = match predicate {
        Predicate::Not(part) => return alternatives(part, !holds),
        Predicate::Marked(_, part) => return alternatives(part, holds),
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

pub(super) fn passes(kind: &reach::Kind, tests: &[Test<'_>]) -> bool {
    let truth = |test: &Test<'_>| if test.holds { kind.meets(test.leaf) } else { kind.meets(test.leaf).not() };
    tests.iter().all(|test| truth(test) != Truth::No)
}

/// Two tests that no kind of record passes together; one test twice when it alone is too much.
pub(super) fn exclude_each_other<'p>(tests: &[Test<'p>], kinds: &[reach::Kind]) -> Option<(Test<'p>, Test<'p>)> {
    let pairs =
        tests.iter().enumerate().flat_map(|(at, one)| tests.iter().take(at + 1).map(move |other| (*other, *one)));
    let mut pairs = pairs.filter(|(one, other)| !kinds.iter().any(|kind| passes(kind, &[*one, *other])));
    pairs.next()
}

/// Two tests that exclude each other whatever the record.
pub(super) fn clash<'p>(tests: &[Test<'p>]) -> Option<(Test<'p>, Test<'p>)> {
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
pub(super) fn describe(test: Test<'_>, projection: &Projection) -> String {
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
        Predicate::Refers(field, other) => {
            format!("`{}` {not}referring to `{}`", projection.name(*field), projection.name(other.field))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::derive::{derive, uses_of};
    use crate::event::record::decode;
    use crate::rule::locate::documents;
    use crate::rule::pattern::compile;
    use crate::rule::predicate::Searchable;
    use crate::rule::reach::watched;

    const VALUES: &[(FieldId, &[&str])] = &[
        (core::EVENT_SOURCE, &["kms.amazonaws.com", "s3.amazonaws.com", "*"]),
        (core::EVENT_NAME, &["Decrypt", "DISABLEKEY", "De*", "*Key", "New?hing", "*"]),
        (derived::OPERATION, &["Decrypt", "DisableKey", "*e*"]),
        (derived::CLASS, &["cryptographic", "availability", "unknown", "*i*"]),
        (derived::OUTCOME, &["success", "denied", "throttled", "error", "*e*"]),
        (core::ERROR_CODE, &["AccessDenied", "ThrottlingException", "*"]),
        (core::USER_AGENT, &["boto", "bot*", "aws-cli"]),
        (derived::KEY_ROLE, &["source"]),
        (derived::ENCRYPTS, &["true"]),
        (core::RESOURCE_ACCOUNT, &["111122223333", "999988887777"]),
    ];

    fn condition() -> impl Strategy<Value = Predicate> {
        let leaf =
            (0..VALUES.len(), prop::collection::vec(0..6_usize, 1..3), 0..6_u8).prop_map(|(field, picks, kind)| {
                let (field, values) = VALUES[field];
                let test = |pick: usize| {
                    let yaml = format!("'{}'", values[pick % values.len()]);
                    compile(&documents(&yaml).unwrap()[0], &[]).unwrap()
                };
                let tests: Vec<_> = picks.into_iter().flat_map(test).collect();
                match kind {
                    0 => Predicate::AllOf(field, tests),
                    1 => Predicate::Exists(field, true),
                    2 => Predicate::Exists(field, false),
                    3 => Predicate::SomeOf(field, [tests, vec![ValueTest::Null]].concat()),
                    _ => Predicate::SomeOf(field, tests),
                }
            });
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Predicate::All),
                2 => prop::collection::vec(inner.clone(), 1..4).prop_map(Predicate::Any),
                1 => (1_usize..3, prop::collection::vec(inner.clone(), 1..4))
                    .prop_map(|(count, parts)| Predicate::AtLeast(count, parts)),
                2 => inner.prop_map(|part| Predicate::Not(Box::new(part))),
            ]
        })
    }

    fn record() -> impl Strategy<Value = String> {
        let member = |values: &'static [&'static str]| prop::sample::select(values);
        (
            member(&["kms.amazonaws.com", "s3.amazonaws.com"]),
            member(&["Decrypt", "DisableKey", "ReEncrypt", "Newthing", "KMS CMK Rotation", "GenerateDataKey"]),
            member(&[
                "",
                r#","errorCode":"AccessDenied","errorMessage":"x""#,
                r#","errorCode":"ThrottlingException""#,
                r#","errorCode":"DisabledException""#,
            ]),
            member(&["", r#","userAgent":"boto""#, r#","userAgent":null"#]),
            member(&["", r#","resources":[{"accountId":"111122223333"},{"accountId":"999988887777"}]"#]),
        )
            .prop_map(|(source, name, error, agent, resources)| {
                format!(
                    r#"{{"eventID":"e","eventTime":"2026-01-05T10:00:00Z","awsRegion":"eu-west-1","eventSource":"{source}","eventName":"{name}"{error}{agent}{resources}}}"#
                )
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_happens_is_never_called_impossible(condition in condition(), raw in record()) {
            let mut record = decode(&raw, &Projection::fixed()).unwrap();
            let used = uses_of(&record).remove(0);
            derive(&mut record, &used);
            let holds = condition.holds(&record.fields, &Searchable::new(&raw));
            let kinds = reach::Kind::all();
            prop_assert!(is_possible(&condition, holds, &kinds), "{holds} for {raw}");
            let always = kinds.iter().all(|kind| kind.meets(&condition) == Truth::Yes);
            prop_assert!(holds || !always, "{raw}");
            let outcome = record.fields.text(derived::OUTCOME).unwrap_or_default();
            if let Some(call) = reach::calls().find(|call| {
                holds && call.name == record.name() && record.fields.text(derived::CLASS).is_some()
            }) && ["success", "denied"].contains(&outcome)
            {
                let watched = watched(&condition);
                prop_assert!(watched.any_call || watched.calls.contains(call.name), "{raw}");
            }
        }
    }

    fn some_of(field: FieldId, value: &str) -> Predicate {
        Predicate::SomeOf(field, compile(&documents(value).unwrap()[0], &[]).unwrap())
    }

    #[test]
    fn a_field_of_many_values_may_have_both() {
        let both = |field| {
            let predicate = Predicate::All(vec![some_of(field, "'1'"), some_of(field, "'2'")]);
            is_possible(&predicate, true, &reach::Kind::all())
        };
        assert!(both(core::RESOURCE_ACCOUNT) && both(core::ENCRYPTION_CONTEXT) && both(derived::POLICY_PRINCIPALS));
        assert!(!both(core::AWS_REGION) && !both(derived::PRINCIPAL));
    }

    #[test]
    fn case_decides_only_where_it_counts() {
        use rsigma_parser::Modifier::{Cased, Re};
        let cased = |value: &str, modifier| {
            Predicate::SomeOf(core::AWS_REGION, compile(&documents(value).unwrap()[0], &[modifier]).unwrap())
        };
        let possible = |parts: Vec<Predicate>| is_possible(&Predicate::All(parts), true, &reach::Kind::all());
        let plain = || some_of(core::AWS_REGION, "EU-x");
        assert!(possible(vec![plain(), cased("EU-x", Cased)]) && possible(vec![plain(), cased("^EU", Re)]));
        assert!(possible(vec![plain(), Predicate::Not(Box::new(cased("EU-x", Cased)))]));
        assert!(!possible(vec![plain(), Predicate::Not(Box::new(some_of(core::AWS_REGION, "eu-*")))]));
        assert!(!possible(vec![cased("EU-x", Cased), Predicate::Not(Box::new(plain()))]));
    }

    #[test]
    fn too_many_alternatives_are_possible() {
        let leaf = |value: &str| some_of(core::EVENT_NAME, value);
        let either = Predicate::Any(vec![leaf("A"), leaf("B"), leaf("C")]);
        let many = Predicate::All(vec![either; 12]);
        assert!(alternatives(&many, true).is_none() && is_possible(&many, true, &reach::Kind::all()));
    }
}
