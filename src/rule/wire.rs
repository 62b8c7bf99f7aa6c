//! What feeds what: from the predicates of detections to the rules that count their matches, and
//! from one correlation to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::correlation::{Correlation, Counted};
use super::detector::Test;
use super::diagnostic::Code;
use super::document::{Document, Kind};
use super::kinds::Step;
use super::link::Targets;
use super::locate::Place;
use super::predicate::Predicate;
use super::{Detector, Feed, Input, Outline, Role, RuleIndex, RuleSet};
use crate::event::field::{FieldId, ProjectionBuilder, derived};

/// A mistake: path, kind, place, what, and what to do.
pub(super) type Mistake<'t> = (&'t str, Code, Place, String, Option<String>);

/// Everything that wiring looks at.
pub(super) struct Wiring<'w, 't> {
    pub(super) documents: &'w [Document<'t>],
    pub(super) targets: &'w Targets,
    pub(super) rule_of: &'w BTreeMap<usize, RuleIndex>,
    pub(super) fields: &'w mut ProjectionBuilder,
}

/// What a document came to.
#[derive(Default)]
pub(super) struct Wired {
    /// What it counts, and what by.
    pub(super) rule: Option<(Detector, Vec<String>)>,
    /// Fields named in the correlation, with their places.
    pub(super) used: Vec<(String, Place)>,
}

/// The fields that a step of a correlation fills in.
struct StepFields {
    group_by: Vec<String>,
    value: Vec<String>,
    bound: Vec<Option<String>>,
}

impl<'t> Wiring<'_, 't> {
    /// Wires the predicates of one document; [`Wiring::feeds`] does the rest when all are there.
    pub(super) fn wire(
        &mut self,
        index: usize,
        only_kms: bool,
        set: &mut RuleSet,
        mistakes: &mut Vec<Mistake<'t>>,
    ) -> Wired {
        let Some(document) = self.documents.get(index) else { return Wired::default() };
        match &document.kind {
            Kind::Filter { .. } => Wired::default(),
            Kind::Detection(predicate) => {
                if let Some((_, place)) = &document.extension.sequence {
                    let help = Some("a sequence stands beside `correlation: {type: temporal_ordered}`".to_owned());
                    mistakes.push((document.path, Code::BadValue, *place, "a detection has no steps".to_owned(), help));
                }
                Wired { rule: Some(self.detection(index, document, predicate, only_kms, set)), used: Vec::new() }
            }
            Kind::Correlation(correlation) => {
                if let Some((kind, place)) = &document.extension.kind {
                    let message = format!("`{}` stands on a detection, not on a correlation", kind.detector.kind());
                    mistakes.push((document.path, Code::BadValue, *place, message, None));
                }
                Self::correlation(document, correlation, mistakes)
            }
        }
    }

    fn detection(
        &mut self,
        index: usize,
        document: &Document<'_>,
        predicate: &Predicate,
        only_kms: bool,
        set: &mut RuleSet,
    ) -> (Detector, Vec<String>) {
        let kind = document.extension.kind.as_ref().map(|(kind, _)| kind);
        let terms = kind.map(|kind| kind.terms.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>());
        let given =
            document.extension.group_by.as_ref().map(|list| list.iter().map(|(path, _)| path.clone()).collect());
        let group_by = terms.filter(|terms| !terms.is_empty()).or(given).unwrap_or_else(|| {
            let by: &[FieldId] = if only_kms { &[derived::KEY_ARN, derived::PRINCIPAL] } else { &[derived::PRINCIPAL] };
            by.iter().map(|id| derived_name(*id)).collect()
        });
        let detector = kind.map_or(Detector::Every, |kind| kind.detector.clone());
        let group: Vec<_> = group_by.iter().map(|path| self.fields.field(path)).collect();
        let deadline = match &detector {
            Detector::Case(case) => case.deadline.as_ref().map(|deadline| self.fields.field(&deadline.path)),
            _ => None,
        };
        let rule = self.rule_of.get(&index).copied();
        let meta = Arc::new(document.meta.clone());
        let mut feed = |predicate: &Predicate, role| {
            let value = deadline.filter(|_| role == Role::Counts(0)).into_iter().collect();
            let input = rule.map(|rule| Input { rule, role, group_by: group.clone(), value, bound: Vec::new() });
            set.predicates.push(predicate.plain());
            set.outlines.push(Outline {
                meta: meta.clone(),
                level: document.level,
                role,
                predicate: predicate.clone(),
            });
            set.inputs.push(input.into_iter().collect());
        };
        feed(predicate, Role::Counts(0));
        for predicate in kind.iter().filter_map(|kind| kind.closes.as_ref()) {
            feed(predicate, Role::Closes);
        }
        for (number, predicate) in kind.iter().flat_map(|kind| &kind.escalates) {
            feed(predicate, Role::Escalates(*number));
        }
        (detector, group_by)
    }

    fn correlation(document: &Document<'t>, correlation: &Correlation, mistakes: &mut Vec<Mistake<'t>>) -> Wired {
        let mut used: Vec<_> = Vec::new();
        let is_alias = |name: &str| correlation.aliases.iter().any(|alias| alias.name == name);
        used.extend(correlation.group_by.iter().filter(|(name, _)| !is_alias(name)).cloned());
        used.extend(
            correlation.aliases.iter().flat_map(|alias| &alias.of).map(|(_, place, path)| (path.clone(), *place)),
        );
        match &correlation.counted {
            Some(Counted::Values(fields, _)) => used.extend(fields.iter().cloned()),
            Some(Counted::Number(field, ..)) => used.push(field.clone()),
            _ => {}
        }
        check_aliases(document, correlation, mistakes);
        let group_by = group_of(document, correlation);
        let variables = variables(document, correlation, mistakes);
        Wired { rule: detector_of(correlation, variables).map(|detector| (detector, group_by)), used }
    }

    /// Feeds correlations, now that all predicates and rules are there.
    pub(super) fn feeds(&mut self, set: &mut RuleSet, mistakes: &mut Vec<Mistake<'t>>) {
        let predicate_of = predicates(self.documents);
        let documents = self.documents;
        for (index, steps) in self.targets {
            let (Some(document), Some(rule)) = (documents.get(*index), self.rule_of.get(index).copied()) else {
                continue;
            };
            let Kind::Correlation(correlation) = &document.kind else { continue };
            for (number, targets) in steps.iter().enumerate() {
                let step = u8::try_from(number).unwrap_or(u8::MAX);
                let Some((reference, place)) = correlation.rules.get(number) else { continue };
                let named = step_fields(document, correlation, reference);
                for target in targets {
                    let is_direct = documents.get(*target).is_some_and(is_direct);
                    if let Some(predicate) = predicate_of.get(target).filter(|_| is_direct) {
                        let input = self.input(rule, step, &named);
                        if let Some(inputs) = set.inputs.get_mut(*predicate) {
                            inputs.push(input);
                        }
                        continue;
                    }
                    let Some(inner) = self.rule_of.get(target).and_then(|rule| set.rules.get_mut(rule.0 as usize))
                    else {
                        continue;
                    };
                    if !inner.detector.has_matches() {
                        let message = format!(
                            "`{reference}` is of kind `{}`, which has no matches to count",
                            inner.detector.kind()
                        );
                        mistakes.push((document.path, Code::Unsupported, *place, message, None));
                        continue;
                    }
                    match feed(rule, step, &named, &inner.group_by) {
                        Ok(feed) => inner.feeds.push(feed),
                        Err(path) => {
                            let message = format!("`{reference}` does not group by `{path}`, so its matches have none");
                            let help = Some(format!("it groups by {}", inner.group_by.join(", ")));
                            mistakes.push((document.path, Code::UnknownField, *place, message, help));
                        }
                    }
                }
            }
        }
    }

    fn input(&mut self, rule: RuleIndex, step: u8, named: &StepFields) -> Input {
        let mut ids = |paths: &[String]| paths.iter().map(|path| self.fields.field(path)).collect::<Vec<_>>();
        let (group_by, value) = (ids(&named.group_by), ids(&named.value));
        let bound = named.bound.iter().map(|path| path.as_ref().map(|path| self.fields.field(path))).collect();
        Input { rule, role: Role::Counts(step), group_by, value, bound }
    }
}

/// A detection whose every match qualifies feeds a correlation from its predicate.
fn is_direct(document: &Document<'_>) -> bool {
    matches!(document.kind, Kind::Detection(_)) && document.extension.kind.is_none()
}

/// The predicate of each detection: its own comes first, then those of its case.
fn predicates(documents: &[Document<'_>]) -> BTreeMap<usize, usize> {
    let mut next = 0;
    let mut of = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        if let Kind::Detection(_) = document.kind {
            of.insert(index, next);
            let kind = document.extension.kind.as_ref().map(|(kind, _)| kind);
            next += 1 + kind.map_or(0, |kind| usize::from(kind.closes.is_some()) + kind.escalates.len());
        }
    }
    of
}

fn derived_name(id: FieldId) -> String {
    if id == derived::KEY_ARN { "kms.key_arn".to_owned() } else { "kms.principal".to_owned() }
}

fn group_of(document: &Document<'_>, correlation: &Correlation) -> Vec<String> {
    let given = document.extension.group_by.as_ref().map(|list| list.iter().map(|(path, _)| path.clone()).collect());
    given.unwrap_or_else(|| correlation.group_by.iter().map(|(name, _)| name.clone()).collect())
}

fn detector_of(correlation: &Correlation, variables: Vec<String>) -> Option<Detector> {
    let rules = || correlation.rules.iter().map(|(rule, _)| rule.clone()).collect();
    let test = match correlation.counted.as_ref()? {
        Counted::Events(bounds) => Test::EventCount(bounds.clone()),
        Counted::Values(fields, bounds) => Test::ValueCount {
            path: fields.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" "),
            bounds: bounds.clone(),
        },
        Counted::Number((path, _), how, bounds) => {
            Test::Number { path: path.clone(), how: *how, bounds: bounds.clone() }
        }
        Counted::Temporal(present) => Test::Temporal { rules: rules(), present: present.clone() },
        Counted::Ordered => Test::Ordered { rules: rules(), variables },
    };
    Some(Detector::Window { timespan: correlation.timespan, test })
}

/// What a step fills in: aliases stand for another field in each rule.
fn step_fields(document: &Document<'_>, correlation: &Correlation, reference: &str) -> StepFields {
    let field_of = |name: &String| {
        let alias = correlation.aliases.iter().find(|alias| alias.name == *name);
        let of = alias.and_then(|alias| alias.of.iter().find(|(rule, ..)| rule == reference));
        of.map_or_else(|| name.clone(), |(.., path)| path.clone())
    };
    let value = match &correlation.counted {
        Some(Counted::Values(fields, _)) => fields.iter().map(|(path, _)| field_of(path)).collect(),
        Some(Counted::Number((path, _), ..)) => vec![field_of(path)],
        _ => Vec::new(),
    };
    let steps = document.extension.sequence.as_ref().map(|(steps, _)| steps.as_slice()).unwrap_or_default();
    let binds = steps.iter().find(|step| step.rule == reference).map(|step| step.bind.as_slice()).unwrap_or_default();
    let bound = names_of(steps).into_iter();
    let bound = bound.map(|name| binds.iter().find(|(bound, ..)| *bound == name).map(|(_, path, _)| path.clone()));
    StepFields {
        group_by: group_of(document, correlation).iter().map(field_of).collect(),
        value,
        bound: bound.collect(),
    }
}

fn names_of(steps: &[Step]) -> BTreeSet<String> {
    steps.iter().flat_map(|step| &step.bind).map(|(name, ..)| name.clone()).collect()
}

/// The variables of a sequence, after a look at its steps.
fn variables<'t>(document: &Document<'t>, correlation: &Correlation, mistakes: &mut Vec<Mistake<'t>>) -> Vec<String> {
    let Some((steps, place)) = &document.extension.sequence else { return Vec::new() };
    let mut refuse = |place: Place, message: String, help: Option<&str>| {
        mistakes.push((document.path, Code::BadValue, place, message, help.map(str::to_owned)));
    };
    if !matches!(correlation.counted, Some(Counted::Ordered)) {
        refuse(*place, "a sequence stands beside `type: temporal_ordered`".to_owned(), None);
    }
    let rules: Vec<&str> = correlation.rules.iter().map(|(rule, _)| rule.as_str()).collect();
    let named: Vec<&str> = steps.iter().map(|step| step.rule.as_str()).collect();
    if rules != named {
        let at =
            steps.iter().zip(&rules).find(|(step, rule)| step.rule != **rule).map_or(*place, |(step, _)| step.place);
        refuse(at, "the steps are the `rules` of the correlation, in the same order".to_owned(), None);
    }
    let names = names_of(steps);
    for name in &names {
        let binds = || steps.iter().flat_map(|step| &step.bind).filter(|(bound, ..)| bound == name);
        if let (1, Some((_, _, place))) = (binds().count(), binds().next()) {
            let help = Some("bind it in a second step, or leave it out");
            refuse(*place, format!("`{name}` is bound by one step only, so it binds nothing"), help);
        }
    }
    names.into_iter().collect()
}

fn check_aliases<'t>(document: &Document<'t>, correlation: &Correlation, mistakes: &mut Vec<Mistake<'t>>) {
    for alias in &correlation.aliases {
        for (rule, place, _) in &alias.of {
            if !correlation.rules.iter().any(|(known, _)| known == rule) {
                let message = format!("alias `{}` names `{rule}`, which is not among `rules`", alias.name);
                mistakes.push((document.path, Code::UnknownRule, *place, message, None));
            }
        }
        for (rule, _) in &correlation.rules {
            if !alias.of.iter().any(|(known, ..)| known == rule) {
                let message = format!("alias `{}` does not say what it is in `{rule}`", alias.name);
                mistakes.push((document.path, Code::MissingKey, alias.place, message, None));
            }
        }
        let in_group = correlation.group_by.iter().any(|(name, _)| *name == alias.name);
        let counted = match &correlation.counted {
            Some(Counted::Values(fields, _)) => fields.iter().any(|(path, _)| *path == alias.name),
            Some(Counted::Number((path, _), ..)) => *path == alias.name,
            _ => false,
        };
        if !in_group && !counted {
            let help = Some("name it in `group-by`, or delete it".to_owned());
            let message = format!("alias `{}` is used by nothing", alias.name);
            mistakes.push((document.path, Code::UnusedSelection, alias.place, message, help));
        }
    }
}

/// How the matches of a rule that groups by `inner` fill in a step; the path that they cannot.
fn feed(rule: RuleIndex, step: u8, named: &StepFields, inner: &[String]) -> Result<Feed, String> {
    let position = |path: &String| inner.iter().position(|known| known == path).ok_or_else(|| path.clone());
    let bound = named.bound.iter().map(|path| path.as_ref().map(position).transpose());
    Ok(Feed {
        rule,
        step,
        group_by: named.group_by.iter().map(position).collect::<Result<_, _>>()?,
        value: named.value.iter().map(position).collect::<Result<_, _>>()?,
        bound: bound.collect::<Result<_, _>>()?,
    })
}
