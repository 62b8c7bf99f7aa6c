//! Which calls of KMS a condition, and so a rule, looks at.

use std::collections::BTreeSet;

use super::{Call, Kind, Known, OF_SOME_CALLS, OUTCOMES, Truth, calls};
use crate::event::field::core;
use crate::event::operation::Class;
use crate::rule::predicate::Predicate;
use crate::rule::{Role, Rule, RuleIndex, RuleSet};

/// A condition that takes more calls than this looks at who calls or from where.
const MANY: usize = 20;

/// What of KMS a rule looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// It, or a step of it, may hold for nearly any call, even one that nobody knows yet: it watches
    /// who calls, from where or with what result, and no operation in particular.
    pub any_call: bool,
    /// The names of the calls, succeeded or denied, that it looks at.
    pub calls: BTreeSet<&'static str>,
}

/// What of KMS a condition looks at.
#[must_use]
pub fn watched(predicate: &Predicate) -> Watched {
    let may = |kind: &Kind| kind.meets(predicate) != Truth::No;
    // A name that no pattern means, so that only what does not look at names may hold.
    let nobody_s = |outcome: &'static str| {
        let mut kind = Kind::of_kms(Known::Is("\u{2014}"), Class::Unknown, outcome);
        kind.known.extend(OF_SOME_CALLS.iter().flat_map(|(_, fields)| *fields).map(|field| (*field, Known::Absent)));
        kind
    };
    if OUTCOMES.iter().any(|outcome| may(&nobody_s(outcome))) {
        return Watched { any_call: true, calls: BTreeSet::new() };
    }
    let met = |call: &Call| ["success", "denied"].iter().any(|outcome| may(&Kind::of_call(*call, outcome)));
    let mut calls: BTreeSet<_> = calls().filter(met).map(|call| call.name).collect();
    if predicate.required(core::EVENT_NAME).is_none() {
        // It uses no key: a class takes it along, and nobody meant it.
        calls.remove("GenerateRandom");
    }
    let any_call = calls.len() > MANY;
    Watched { any_call, calls: if any_call { BTreeSet::new() } else { calls } }
}

impl RuleSet {
    /// What of KMS each rule counts, by [`RuleIndex`]: itself, or through what feeds it.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        let mut all = vec![Watched::default(); self.rules.len()];
        for (predicate, inputs) in self.predicates.iter().zip(&self.inputs) {
            let counts: Vec<_> = inputs.iter().filter(|input| matches!(input.role, Role::Counts(_))).collect();
            if !counts.is_empty() {
                let watched = watched(predicate);
                for input in counts {
                    add(&mut all, input.rule, &watched);
                }
            }
        }
        // Correlations over correlations: at most as many rounds as there are rules.
        for _ in 0..self.rules.len() {
            let fed = |(at, rule): (usize, &Rule)| {
                let watched = all.get(at).cloned().unwrap_or_default();
                rule.feeds.iter().map(|feed| (feed.rule, watched.clone())).collect::<Vec<_>>()
            };
            let fed: Vec<_> = self.rules.iter().enumerate().flat_map(fed).collect();
            let changed = fed.iter().fold(false, |changed, (rule, more)| add(&mut all, *rule, more) | changed);
            if !changed {
                break;
            }
        }
        all
    }
}

/// Whether it was news.
fn add(all: &mut [Watched], rule: RuleIndex, more: &Watched) -> bool {
    let Some(known) = all.get_mut(rule.0 as usize) else { return false };
    let before = (known.any_call, known.calls.len());
    known.any_call |= more.any_call;
    known.calls.extend(&more.calls);
    before != (known.any_call, known.calls.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::derive::{KMS_SOURCE, derive, uses_of};
    use crate::event::field::derived;
    use crate::event::record::decode;
    use crate::rule::{RuleText, pack};

    fn watched_by(selection: &str, condition: &str) -> Watched {
        let text = format!(
            "title: x\nid: 11111111-2222-4333-8444-555555555555\nlogsource: {{product: aws}}\ndetection:\n  a: {selection}\n  b: {{kms.class: enumeration}}\n  _c: {{kms.operation: Decrypt}}\n  condition: {condition}\n"
        );
        let rules = RuleSet::compile(&[RuleText { path: "x.yml".to_owned(), text }]);
        rules.rules.unwrap().watched().remove(0)
    }

    #[test]
    fn what_conditions_watch() {
        let of = |selection: &str, condition: &str| {
            let watched = watched_by(selection, condition);
            assert!(!watched.any_call, "{selection} {condition}");
            watched.calls.into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("{eventSource: kms.amazonaws.com, eventName: Sign}", "a and not b"), "Sign");
        assert_eq!(of("{kms.class: policy}", "a or (b and _c)"), "PutKeyPolicy");
        assert_eq!(
            of("{kms.operation|endswith: CustomKeyStore, kms.outcome: denied}", "a and not b").split(' ').count(),
            5
        );
        assert_eq!(of("{kms.operation: Sign, kms.outcome: throttled}", "a and not b"), "", "neither done nor denied");
        assert_eq!(of("{eventSource: s3.amazonaws.com}", "a and not b"), "");
        assert_eq!(of("{kms.key_role: destination, kms.class: cryptographic}", "a and not b"), "ReEncrypt");
        for (any, condition) in [
            ("{eventSource: kms.amazonaws.com, kms.outcome: denied}", "a and not b"),
            ("{userIdentity.type: Root}", "a and not _c and not b"),
            ("{eventSource: kms.amazonaws.com, errorMessage|contains: pending deletion}", "a or b"),
        ] {
            assert!(watched_by(any, condition).any_call, "{any}");
        }
    }

    #[test]
    fn what_an_example_fires_on_is_watched() {
        let rules = RuleSet::compile(&pack::shipped()).rules.unwrap();
        let watched = rules.watched();
        let mut seen = 0;
        for examples in &rules.examples {
            for raw in examples.fires.iter().chain(&examples.silent).flat_map(|example| &example.records) {
                let record = decode(raw, &rules.projection).unwrap();
                for used in uses_of(&record) {
                    let mut one = record.clone();
                    derive(&mut one, &used);
                    let mut matched = Vec::new();
                    rules.matches(&one.fields, raw, &mut matched);
                    let name = calls().find(|call| call.name == one.name() && one.source() == KMS_SOURCE);
                    let outcome = one.fields.text(derived::OUTCOME).unwrap_or_default();
                    let Some(call) = name.filter(|_| ["success", "denied"].contains(&outcome)) else { continue };
                    for rule in matched {
                        seen += 1;
                        let watched = &watched[rule.0 as usize];
                        let title = &rules.rules[rule.0 as usize].meta.title;
                        assert!(watched.any_call || watched.calls.contains(call.name), "{title}: {}", call.name);
                    }
                }
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
