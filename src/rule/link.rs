//! Follows references between documents (correlations, filters) and puts the rule set together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity, nearest};
use super::document::{Document, Kind};
use super::index::Index;
use super::locate::Place;
use super::predicate::Predicate;
use super::{Detector, Rule, RuleIndex, RuleSet, catalogue, template};
use crate::event::field::{ProjectionBuilder, core, derived};

/// Follows references between documents and puts the set together.
pub(super) struct Linker<'t, 'd> {
    pub(super) documents: Vec<Document<'t>>,
    pub(super) found: &'d mut Vec<Diagnostic>,
}

impl<'t> Linker<'t, '_> {
    fn error(&mut self, path: &str, code: Code, place: Place, message: String, help: Option<String>) {
        let mut diagnostics = Diagnostics::new(path);
        diagnostics.error(code, place, message, help);
        self.found.append(&mut diagnostics.found);
    }

    /// A reference from `what` that leads nowhere.
    fn unknown_rule(&mut self, path: &str, place: Place, what: &str, reference: &str) {
        let detections = self.documents.iter().filter(|document| matches!(document.kind, Kind::Detection(_)));
        let names = detections.flat_map(|document| document.name.as_deref().into_iter().chain([&*document.meta.title]));
        let help = nearest(reference, names).map(|near| format!("did you mean `{near}`?"));
        self.error(
            path,
            Code::UnknownRule,
            place,
            format!("the {what} names `{reference}`, which is no detection"),
            help,
        );
    }

    pub(super) fn link(mut self, mut fields: ProjectionBuilder) -> RuleSet {
        self.find_duplicate_ids();
        self.apply_filters();
        let mut predicates = Vec::new();
        let mut by_document = BTreeMap::new();
        for (index, document) in self.documents.iter().enumerate() {
            if let Kind::Detection(predicate) = &document.kind {
                by_document.insert(index, predicates.len());
                predicates.push(predicate.clone());
            }
        }
        let inputs_of = self.follow_correlations(&by_document);
        let correlated: BTreeSet<usize> = inputs_of
            .iter()
            .filter(|(index, _)| matches!(self.documents.get(**index).map(|d| &d.kind), Some(Kind::Correlation(c)) if !c.generate))
            .flat_map(|(_, inputs)| inputs.iter().copied())
            .collect();
        let only_kms: Vec<bool> = predicates
            .iter()
            .map(|predicate| {
                predicate
                    .required(core::EVENT_SOURCE)
                    .is_some_and(|sources| sources.iter().all(|s| s == "kms.amazonaws.com"))
            })
            .collect();
        let mut rules = Vec::new();
        let mut examples = Vec::new();
        let mut inputs: Vec<Vec<RuleIndex>> = vec![Vec::new(); predicates.len()];
        let documents = std::mem::take(&mut self.documents);
        for (index, document) in documents.iter().enumerate() {
            let own = match &document.kind {
                Kind::Detection(_) => by_document.get(&index).copied().into_iter().collect(),
                Kind::Correlation(_) => inputs_of.get(&index).cloned().unwrap_or_default(),
                Kind::Filter { .. } => Vec::new(),
            };
            let kms = own.iter().all(|predicate| only_kms.get(*predicate).copied().unwrap_or(false));
            self.check_fields(document, kms && !own.is_empty());
            let silent = matches!(document.kind, Kind::Detection(_))
                && own.iter().any(|predicate| correlated.contains(predicate));
            if own.is_empty() || silent {
                continue;
            }
            self.check_examples(document);
            let rule = RuleIndex(u32::try_from(rules.len()).unwrap_or(u32::MAX));
            for predicate in own {
                if let Some(list) = inputs.get_mut(predicate) {
                    list.push(rule);
                }
            }
            rules.push(make_rule(document, kms, &mut fields));
            examples.push(document.extension.examples.clone());
        }
        let index = Index::over(&predicates);
        RuleSet { projection: fields.build(), rules, examples, predicates, inputs, index }
    }

    fn find_duplicate_ids(&mut self) {
        let mut seen: BTreeMap<&str, &Document<'t>> = BTreeMap::new();
        let mut doubles = Vec::new();
        for document in &self.documents {
            if let Some(first) = seen.insert(&document.meta.id, document) {
                let message =
                    format!("id {} is that of '{}' in {} already", document.meta.id, first.meta.title, first.path);
                doubles.push((document.path, document.place, message));
            }
        }
        for (path, place, message) in doubles {
            self.error(path, Code::DuplicateId, place, message, None);
        }
    }

    /// Detections that a reference by id, name or title means.
    fn referenced(&self, reference: &str) -> Vec<usize> {
        let fits = |document: &Document<'_>| {
            matches!(document.kind, Kind::Detection(_))
                && (document.meta.id.eq_ignore_ascii_case(reference)
                    || document.name.as_deref() == Some(reference)
                    || document.meta.title == reference)
        };
        self.documents.iter().enumerate().filter(|(_, document)| fits(document)).map(|(index, _)| index).collect()
    }

    fn apply_filters(&mut self) {
        let mut additions: Vec<(usize, Predicate)> = Vec::new();
        let mut mistakes = Vec::new();
        for document in &self.documents {
            let Kind::Filter { rules, any, predicate } = &document.kind else { continue };
            let everything = || (0..self.documents.len()).collect::<Vec<_>>();
            let targets = if *any {
                everything()
            } else {
                rules
                    .iter()
                    .flat_map(|(reference, place)| {
                        let found = self.referenced(reference);
                        if found.is_empty() {
                            mistakes.push((document.path, *place, reference.clone()));
                        }
                        found
                    })
                    .collect()
            };
            additions.extend(targets.into_iter().map(|target| (target, predicate.clone())));
        }
        for (target, filter) in additions {
            if let Some(Document { kind: Kind::Detection(predicate), .. }) = self.documents.get_mut(target) {
                *predicate = Predicate::All(vec![predicate.clone(), filter]);
            }
        }
        for (path, place, reference) in mistakes {
            self.unknown_rule(path, place, "filter", &reference);
        }
    }

    /// For each correlation the predicates that it counts.
    fn follow_correlations(&mut self, by_document: &BTreeMap<usize, usize>) -> BTreeMap<usize, Vec<usize>> {
        let mut inputs = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (index, document) in self.documents.iter().enumerate() {
            let Kind::Correlation(correlation) = &document.kind else { continue };
            let mut predicates = Vec::new();
            for (reference, place) in &correlation.rules {
                let found: Vec<_> =
                    self.referenced(reference).iter().filter_map(|target| by_document.get(target)).copied().collect();
                if found.is_empty() {
                    mistakes.push((document.path, *place, reference.clone()));
                }
                predicates.extend(found);
            }
            inputs.insert(index, predicates);
        }
        for (path, place, reference) in mistakes {
            self.unknown_rule(path, place, "correlation", &reference);
        }
        inputs
    }

    fn check_fields(&mut self, document: &Document<'_>, only_kms: bool) {
        let mut diagnostics = Diagnostics::new(document.path);
        for (path, place) in &document.used {
            let Err(unknown) = catalogue::check(path, only_kms) else { continue };
            let message = format!("no record has a field `{path}`");
            let help = unknown.nearest.map(|near| format!("did you mean `{near}`?"));
            // A rule of a public collection may name what only the records of other tools have, and
            // its neighbours must still load; what is near to a name, or written for us, is surely a
            // mistake.
            if document.is_ours || help.is_some() {
                diagnostics.error(Code::UnknownField, *place, message, help);
            } else {
                let help = Some("a test of it passes only if it wants the field absent".to_owned());
                diagnostics.warning(Code::UnknownField, *place, message, help);
            }
        }
        self.found.append(&mut diagnostics.found);
    }

    fn check_examples(&mut self, document: &Document<'_>) {
        let examples = &document.extension.examples;
        // Examples that have mistakes are there.
        if self.found.iter().any(|found| found.severity == Severity::Error && found.path == document.path) {
            return;
        }
        if examples.fires.is_empty() || examples.silent.is_empty() {
            let mut diagnostics = Diagnostics::new(document.path);
            let help =
                Some("add `kmswatch: examples: {fires: [...], silent: [...]}`; `kmswatch test` runs them".to_owned());
            diagnostics.warning(
                Code::NoExamples,
                document.place,
                "no examples that show it firing and staying silent",
                help,
            );
            self.found.append(&mut diagnostics.found);
        }
    }
}

fn make_rule(document: &Document<'_>, only_kms: bool, fields: &mut ProjectionBuilder) -> Rule {
    let principal = ("kms.principal".to_owned(), derived::PRINCIPAL);
    let (group_by, detector) = match &document.kind {
        Kind::Correlation(correlation) => (correlation.group_by.clone(), correlation.detector.clone()),
        _ if only_kms => (vec![("kms.key_arn".to_owned(), derived::KEY_ARN), principal], Detector::Every),
        _ => (vec![principal], Detector::Every),
    };
    let default_summary = "{kms.principal} called {eventName} of {eventSource}";
    let summary = document.extension.summary.clone().or_else(|| template::parse(default_summary, fields).ok());
    Rule {
        meta: Arc::new(document.meta.clone()),
        level: document.level,
        group_by: document.extension.group_by.clone().unwrap_or(group_by),
        detector,
        quiet: document.extension.quiet,
        lateness: document.extension.lateness,
        summary: summary.unwrap_or_default(),
        respond: document.extension.respond.clone(),
    }
}
