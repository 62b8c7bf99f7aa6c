//! Rule texts to a [`RuleSet`]: detections, correlations and filters, over all files.
//!
//! Invariant: all mistakes of all files are reported, and with an error among them there are no rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rsigma_parser::parse_sigma_yaml;

use super::correlation::{self, Correlation};
use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity, nearest};
use super::extension::{Extension, texts};
use super::index::Index;
use super::locate::{Node, Place, documents};
use super::predicate::Predicate;
use super::{Level, Rule, RuleIndex, RuleMeta, RuleSet, RuleText, catalogue, detection, template};
use crate::event::field::{ProjectionBuilder, core, derived};

/// What compiling gave.
#[derive(Debug)]
pub struct Compiled {
    /// The rules, unless a diagnostic is an error.
    pub rules: Option<RuleSet>,
    /// By file and place.
    pub diagnostics: Vec<Diagnostic>,
}

/// A document as read, before references are followed.
struct Document<'t> {
    path: &'t str,
    place: Place,
    meta: RuleMeta,
    name: Option<String>,
    level: Level,
    extension: Extension,
    /// It has a `kmswatch:` block: written for us, and not for Sigma tools at large.
    is_ours: bool,
    used: Vec<(String, Place)>,
    kind: Kind,
}

enum Kind {
    Detection(Predicate),
    Correlation(Correlation),
    Filter { rules: Vec<(String, Place)>, any: bool, predicate: Predicate },
}

impl RuleSet {
    /// Compiles rule texts.
    #[must_use]
    pub fn compile(texts: &[RuleText]) -> Compiled {
        let mut fields = ProjectionBuilder::new();
        let mut found = Vec::new();
        let mut read = Vec::new();
        for text in texts {
            let mut diagnostics = Diagnostics::new(&text.path);
            read.extend(read_file(text, &mut fields, &mut diagnostics));
            found.append(&mut diagnostics.found);
        }
        let rules = Linker { documents: read, found: &mut found }.link(fields);
        found.sort_by(|a, b| (&a.path, a.place, a.code).cmp(&(&b.path, b.place, b.code)));
        let broken = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        Compiled { rules: (!broken).then_some(rules), diagnostics: found }
    }
}

const TOP_LEVEL: &[&str] = &[
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "author",
    "references",
    "date",
    "modified",
    "logsource",
    "detection",
    "correlation",
    "filter",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "sigma-version",
    "kmswatch",
];
const STATUSES: &[&str] = &["stable", "test", "experimental", "deprecated", "unsupported"];

fn read_file<'t>(
    text: &'t RuleText,
    fields: &mut ProjectionBuilder,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<Document<'t>> {
    // Editors on Windows begin a file with a byte order mark; it is no part of the rule.
    let yaml = text.text.strip_prefix('\u{feff}').unwrap_or(&text.text);
    let nodes = match documents(yaml) {
        Ok(nodes) => nodes,
        Err((place, reason)) => {
            diagnostics.error(Code::YamlSyntax, place, reason, None);
            return Vec::new();
        }
    };
    let hash: String = blake3::hash(text.text.as_bytes()).to_hex().chars().take(16).collect();
    let read: Vec<_> =
        nodes.iter().filter_map(|node| read_document(node, &text.path, &hash, fields, diagnostics)).collect();
    if !diagnostics.has_errors() {
        // What our own reading took and Sigma's grammar does not.
        let at = Place { line: 1, column: 1 };
        match parse_sigma_yaml(yaml) {
            Ok(collection) => {
                for error in collection.errors {
                    diagnostics.error(Code::NotASigmaDocument, at, error, None);
                }
            }
            Err(error) => diagnostics.error(Code::NotASigmaDocument, at, error.to_string(), None),
        }
    }
    read
}

fn read_document<'t>(
    node: &Node,
    path: &'t str,
    hash: &str,
    fields: &mut ProjectionBuilder,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Document<'t>> {
    if node.members().is_empty() {
        diagnostics.error(
            Code::NotASigmaDocument,
            node.place,
            "a rule is a map with `title`, `logsource` and `detection`",
            None,
        );
        return None;
    }
    for (key, _) in node.members() {
        // Sigma allows keys of one's own, but not what is so near to one of its own.
        if !TOP_LEVEL.contains(&key.text.as_str()) && nearest(&key.text, TOP_LEVEL.iter().copied()).is_some() {
            diagnostics.unknown(Code::UnknownKey, key.place, "key", &key.text, TOP_LEVEL.iter().copied());
        }
    }
    let (meta, level) = read_meta(node, path, hash, diagnostics);
    let mut used = Vec::new();
    let extension = Extension::read(node.get("kmswatch"), fields, &mut used, diagnostics);
    let kind = if let Some(block) = node.get("correlation") {
        Kind::Correlation(correlation::read(block, fields, &mut used, diagnostics))
    } else if let Some(block) = node.get("filter") {
        let rules = block.get("rules").map(|list| texts(list, "the name or id of a rule", diagnostics));
        let rules = rules.unwrap_or_default();
        if rules.is_empty() {
            let help = Some("name rules by id or name, or write `rules: any`".to_owned());
            diagnostics.error(Code::MissingKey, block.place, "a filter needs `rules`", help);
        }
        if node.get("kmswatch").is_some() {
            let message = "a filter opens no incidents, so it has no `kmswatch` block";
            diagnostics.error(Code::UnknownKey, node.key_place("kmswatch"), message, None);
        }
        let any = rules.iter().any(|(name, _)| name == "any");
        Kind::Filter { rules, any, predicate: detection::compile(block, &["rules"], fields, &mut used, diagnostics) }
    } else if let Some(block) = node.get("detection") {
        check_log_source(node, diagnostics);
        Kind::Detection(detection::compile(block, &[], fields, &mut used, diagnostics))
    } else {
        diagnostics.error(Code::MissingKey, node.place, "no `detection`, `correlation` or `filter`", None);
        return None;
    };
    let meta = RuleMeta { controls: extension.controls.clone(), ..meta };
    let name = node.get("name").and_then(Node::scalar_text);
    let is_ours = node.get("kmswatch").is_some();
    Some(Document { path, place: node.place, meta, name, level, extension, is_ours, used, kind })
}

fn read_meta(node: &Node, path: &str, hash: &str, diagnostics: &mut Diagnostics<'_>) -> (RuleMeta, Level) {
    let text = |key: &str| node.get(key).and_then(Node::scalar_text);
    let list =
        |key: &str| node.get(key).map(Node::items).unwrap_or_default().iter().filter_map(Node::scalar_text).collect();
    let at = |key: &str| node.get(key).map_or(node.place, |value| value.place);
    let title = text("title").unwrap_or_default();
    if title.trim().is_empty() {
        diagnostics.error(Code::MissingKey, node.place, "no `title`", None);
    }
    let id = match text("id") {
        Some(id) if is_uuid(&id) => id.to_ascii_lowercase(),
        Some(id) => {
            let help = Some("write a fresh uuid: incidents hang on it, so it never changes".to_owned());
            diagnostics.error(Code::BadId, at("id"), format!("'{id}' is not a uuid"), help);
            id
        }
        None => {
            let help = Some(
                "give it a fresh uuid; the title stands in for now, so renaming it makes it another rule".to_owned(),
            );
            diagnostics.warning(Code::MissingId, node.place, "no `id`", help);
            format!("title:{title}")
        }
    };
    let level = text("level").map_or(Ok(Level::Medium), |level| level.parse());
    let level = level.unwrap_or_else(|message| {
        diagnostics.error(Code::BadValue, at("level"), message, None);
        Level::Medium
    });
    let status = text("status").unwrap_or_else(|| "experimental".to_owned());
    if !STATUSES.contains(&status.as_str()) {
        diagnostics.unknown(Code::BadValue, at("status"), "status", &status, STATUSES.iter().copied());
    }
    let family = path.split_once('/').map_or("", |(family, _)| family).to_owned();
    let meta = RuleMeta {
        id,
        title,
        family,
        description: text("description").unwrap_or_default(),
        status,
        tags: list("tags"),
        controls: Vec::new(),
        falsepositives: list("falsepositives"),
        hash: hash.to_owned(),
        path: path.to_owned(),
    };
    (meta, level)
}

fn check_log_source(node: &Node, diagnostics: &mut Diagnostics<'_>) {
    let source = node.get("logsource");
    if source.is_none() {
        let help = Some("write `logsource: {product: aws, service: cloudtrail}`".to_owned());
        diagnostics.error(Code::MissingKey, node.place, "no `logsource`", help);
    }
    let product = source.and_then(|source| source.get("product")).and_then(Node::scalar_text);
    if product.as_deref().is_some_and(|product| product != "aws") {
        let message = "the rule is for another product; here it runs over CloudTrail records like any other";
        diagnostics.warning(Code::BadValue, node.key_place("logsource"), message, None);
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Follows references between documents and puts the set together.
struct Linker<'t, 'd> {
    documents: Vec<Document<'t>>,
    found: &'d mut Vec<Diagnostic>,
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

    fn link(mut self, mut fields: ProjectionBuilder) -> RuleSet {
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
        _ if only_kms => (vec![("kms.key_arn".to_owned(), derived::KEY_ARN), principal], super::Detector::Every),
        _ => (vec![principal], super::Detector::Every),
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
