//! Follows references between documents (correlations, filters) and puts the rule set together;
//! what feeds what is wired by [`super::wire`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity, nearest};
use super::document::{Document, Kind};
use super::index::Index;
use super::locate::Place;
use super::predicate::{Mark, Predicate};
use super::wire::Wiring;
use super::{CHANGE_FIELD, Detector, Rule, RuleIndex, RuleSet, Template, catalogue, lint, template};
use crate::event::field::{FieldId, ProjectionBuilder, core, derived};

/// Follows references between documents and puts the set together.
pub(super) struct Linker<'t, 'd> {
    pub(super) documents: Vec<Document<'t>>,
    pub(super) found: &'d mut Vec<Diagnostic>,
}

impl<'t> Linker<'t, '_> {
    pub(super) fn error(&mut self, path: &str, code: Code, place: Place, message: String, help: Option<String>) {
        let mut diagnostics = Diagnostics::new(path);
        diagnostics.error(code, place, message, help);
        self.found.append(&mut diagnostics.found);
    }

    /// A reference from `what` that leads nowhere.
    pub(super) fn unknown_rule(&mut self, path: &str, place: Place, what: &str, reference: &str) {
        let rules = self.documents.iter().filter(|document| !matches!(document.kind, Kind::Filter { .. }));
        let names = rules.flat_map(|document| document.name.as_deref().into_iter().chain([&*document.meta.title]));
        let help = nearest(reference, names).map(|near| format!("did you mean `{near}`?"));
        let kind = if what == "filter" { "detection" } else { "rule" };
        let message = format!("the {what} names `{reference}`, which is no {kind}");
        self.error(path, Code::UnknownRule, place, message, help);
    }

    pub(super) fn link(mut self, mut fields: ProjectionBuilder) -> RuleSet {
        self.find_duplicate_ids();
        let lints = lint::look(&self.documents, &fields.clone().build());
        self.documents.iter_mut().for_each(Document::settle);
        self.apply_filters();
        let targets = self.follow_correlations();
        self.refuse_circles(&targets);
        let silent = self.silent(&targets);
        let mut set = RuleSet {
            projection: ProjectionBuilder::new().build(),
            rules: Vec::new(),
            examples: Vec::new(),
            predicates: Vec::new(),
            inputs: Vec::new(),
            outlines: Vec::new(),
            index: Index::default(),
        };
        let documents = std::mem::take(&mut self.documents);
        let rule_of = number(&documents, &silent);
        let kms = only_kms(&documents, &targets);
        let mut wiring = Wiring { documents: &documents, targets: &targets, rule_of: &rule_of, fields: &mut fields };
        let mut mistakes = Vec::new();
        let mut used = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let wired = wiring.wire(index, kms.contains(&index), &mut set, &mut mistakes);
            used.push(wired.used);
            if let Some((detector, group_by)) = wired.rule.filter(|_| rule_of.contains_key(&index)) {
                let rule = make_rule(document, detector, group_by, !silent.contains(&index), wiring.fields);
                set.rules.push(rule);
                set.examples.push(document.extension.examples.clone());
            }
        }
        wiring.feeds(&mut set, &mut mistakes);
        for (index, document) in documents.iter().enumerate() {
            let extra = used.get(index).map(Vec::as_slice).unwrap_or_default();
            self.check_fields(document, extra, kms.contains(&index));
            if rule_of.contains_key(&index) && !silent.contains(&index) {
                self.check_examples(document);
            }
        }
        for (path, code, place, message, help) in mistakes {
            self.error(path, code, place, message, help);
        }
        lint::settle(lints, self.found);
        set.index = Index::over(&set.predicates);
        set.projection = fields.build();
        set
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

    /// Documents that a reference by id, name or title means.
    fn referenced(&self, reference: &str, wanted: fn(&Kind) -> bool) -> Vec<usize> {
        let fits = |document: &Document<'_>| {
            wanted(&document.kind)
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
            let meant = |index: &usize| self.documents.get(*index).is_some_and(|target| target.reads_what(document));
            let everything = || (0..self.documents.len()).filter(meant).collect::<Vec<_>>();
            let targets = if *any {
                everything()
            } else {
                rules
                    .iter()
                    .flat_map(|(reference, place)| {
                        let found = self.referenced(reference, |kind| matches!(kind, Kind::Detection(_)));
                        if found.is_empty() {
                            mistakes.push((document.path, *place, reference.clone()));
                        }
                        found
                    })
                    .collect()
            };
            let mark = Arc::new(Mark::Filter(document.meta.title.clone()));
            let filter = Predicate::Marked(mark, Box::new(predicate.clone()));
            additions.extend(targets.into_iter().map(|target| (target, filter.clone())));
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

    /// For each correlation and each of its steps the documents meant.
    fn follow_correlations(&mut self) -> Targets {
        let mut targets = Targets::new();
        let mut mistakes = Vec::new();
        for (index, document) in self.documents.iter().enumerate() {
            let Kind::Correlation(correlation) = &document.kind else { continue };
            let steps = correlation.rules.iter().map(|(reference, place)| {
                let found = self.referenced(reference, |kind| !matches!(kind, Kind::Filter { .. }));
                if found.is_empty() {
                    mistakes.push((document.path, *place, reference.clone()));
                }
                found
            });
            targets.insert(index, steps.collect());
        }
        for (path, place, reference) in mistakes {
            self.unknown_rule(path, place, "correlation", &reference);
        }
        targets
    }

    /// A correlation that counts itself, by whatever way, would never come to an end.
    fn refuse_circles(&mut self, targets: &Targets) {
        let reaches_itself = |start: usize| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<usize> = targets.get(&start).into_iter().flatten().flatten().copied().collect();
            while let Some(at) = next.pop() {
                if at == start {
                    return true;
                }
                if seen.insert(at) {
                    next.extend(targets.get(&at).into_iter().flatten().flatten());
                }
            }
            false
        };
        let circles: Vec<_> = targets.keys().copied().filter(|index| reaches_itself(*index)).collect();
        for index in circles {
            if let Some((path, place)) = self.documents.get(index).map(|document| (document.path, document.place)) {
                let message = "the correlation counts itself, directly or by way of others".to_owned();
                self.error(path, Code::UnknownRule, place, message, None);
            }
        }
    }

    /// What only feeds correlations and opens no incidents of its own.
    fn silent(&self, targets: &Targets) -> BTreeSet<usize> {
        let generates = |index: &usize| matches!(self.documents.get(*index).map(|d| &d.kind), Some(Kind::Correlation(c)) if c.generate);
        targets.iter().filter(|(index, _)| !generates(index)).flat_map(|(_, steps)| steps).flatten().copied().collect()
    }

    fn check_fields(&mut self, document: &Document<'_>, extra: &[(String, Place)], only_kms: bool) {
        let mut diagnostics = Diagnostics::new(document.path);
        let is_alias = |path: &String| match &document.kind {
            Kind::Correlation(correlation) => correlation.aliases.iter().any(|alias| alias.name == *path),
            Kind::Detection(_) | Kind::Filter { .. } => false,
        };
        // A mistake made a thousand times in one text is one mistake, and looked at once.
        let mut seen = BTreeSet::new();
        for (path, place) in document.used.iter().chain(extra).filter(|(path, _)| !is_alias(path)) {
            if !seen.insert((path, place.line, place.column)) {
                continue;
            }
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

/// For each correlation and each of its steps the documents meant.
pub(super) type Targets = BTreeMap<usize, Vec<Vec<usize>>>;

/// Which documents become rules, and which. A detection that is only counted is none: its
/// predicate feeds the correlation directly.
fn number(documents: &[Document<'_>], silent: &BTreeSet<usize>) -> BTreeMap<usize, RuleIndex> {
    let is_rule = |index: usize, document: &Document<'_>| match &document.kind {
        Kind::Detection(_) => document.extension.kind.is_some() || !silent.contains(&index),
        Kind::Correlation(_) => true,
        Kind::Filter { .. } => false,
    };
    let indexes = documents.iter().enumerate().filter(|(index, document)| is_rule(*index, document));
    indexes.map(|(index, _)| index).zip((0_u32..).map(RuleIndex)).collect()
}

/// Documents that read records of KMS alone.
fn only_kms(documents: &[Document<'_>], targets: &Targets) -> BTreeSet<usize> {
    let direct = |index: usize| match documents.get(index).map(|document| &document.kind) {
        Some(Kind::Detection(predicate)) => predicate
            .required(core::EVENT_SOURCE)
            .is_some_and(|sources| sources.iter().all(|source| source == "kms.amazonaws.com")),
        _ => false,
    };
    let mut known: BTreeSet<usize> = (0..documents.len()).filter(|index| direct(*index)).collect();
    // Correlations may stand before what they count, so it goes round until nothing is added.
    loop {
        let all_known = |steps: &[Vec<usize>]| {
            let mut all = steps.iter().flatten().peekable();
            all.peek().is_some() && all.all(|index| known.contains(index))
        };
        let more: Vec<_> = targets
            .iter()
            .filter(|(index, steps)| !known.contains(index) && all_known(steps))
            .map(|(i, _)| *i)
            .collect();
        if more.is_empty() {
            return known;
        }
        known.extend(more);
    }
}

fn make_rule(
    document: &Document<'_>,
    detector: Detector,
    group_by: Vec<String>,
    opens: bool,
    fields: &mut ProjectionBuilder,
) -> Rule {
    let default_summary = "{kms.principal} called {eventName} of {eventSource}";
    let summary = document.extension.summary.clone().or_else(|| template::parse(default_summary, fields).ok());
    let summary = summary.unwrap_or_default();
    let respond = document.extension.respond.clone();
    let read = std::iter::once(&summary).chain(&respond).flat_map(Template::fields);
    // What a record changed is told whatever the rule.
    let details: BTreeMap<&str, FieldId> = read.chain([(CHANGE_FIELD, derived::CHANGE)]).collect();
    let details = details.into_iter().map(|(path, id)| (path.into(), id)).collect();
    Rule {
        meta: Arc::new(document.meta.clone()),
        level: document.level,
        group_by,
        detector,
        quiet: document.extension.quiet,
        lateness: document.extension.lateness,
        summary,
        respond,
        details,
        opens,
        feeds: Vec::new(),
    }
}
