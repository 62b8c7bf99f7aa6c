//! Lints: what is good Sigma and yet surely not meant, or not wise.
//!
//! A condition that nothing can meet or everything meets, a value that does not exist, a group that
//! an attacker can multiply, a rule that does not tell its reader what to do.
//!
//! Invariant: a rule of a public collection loads in spite of any lint; only for rules written for
//! kmswatch (they have a `kmswatch:` block) is one an error.

mod about;
mod alternatives;
mod condition;
mod group;
mod place;
mod respond;
mod tag;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use super::document::{Document, Kind};
use super::locate::Place;
use super::predicate::Predicate;
use super::reach;
use crate::event::derive::KMS_SOURCE;
use crate::event::field::{Projection, core};

/// One document under the glass.
struct Lint<'l, 't> {
    document: &'l Document<'t>,
    projection: &'l Projection,
    /// Every kind of record.
    kinds: &'l [reach::Kind],
    /// It only feeds correlations: it opens nothing and tells nobody anything.
    is_counted: bool,
    /// Other rules of the set stand in folders.
    has_families: bool,
    diagnostics: Diagnostics<'t>,
}

impl Lint<'_, '_> {
    /// An error in a rule of ours, a warning in one from elsewhere.
    fn mistake(&mut self, code: Code, place: Place, message: String, help: Option<String>) {
        let severity = if self.document.is_ours { Severity::Error } else { Severity::Warning };
        self.diagnostics.push(severity, code, place, message, help);
    }

    fn warning(&mut self, code: Code, place: Place, message: String, help: &str) {
        self.diagnostics.warning(code, place, message, Some(help.to_owned()));
    }

    /// The rule's condition, before filters.
    fn predicate(&self) -> Option<&Predicate> {
        match &self.document.kind {
            Kind::Detection(predicate) => Some(predicate),
            Kind::Correlation(_) | Kind::Filter { .. } => None,
        }
    }

    fn is_of_kms_only(&self) -> bool {
        let sources = self.predicate().and_then(|predicate| predicate.required(core::EVENT_SOURCE));
        sources.is_some_and(|sources| sources.iter().all(|source| source == KMS_SOURCE))
    }
}

/// Looks at all documents, before filters are applied to them.
pub(super) fn look(documents: &[Document<'_>], projection: &Projection) -> Vec<Diagnostic> {
    let kinds = reach::Kind::all();
    let counted = counted(documents);
    let has_families = documents.iter().any(|document| !document.meta.family.is_empty());
    let mut found = twice(documents);
    for (index, document) in documents.iter().enumerate() {
        let mut lint = Lint {
            document,
            projection,
            kinds: &kinds,
            is_counted: counted.contains(&index),
            has_families,
            diagnostics: Diagnostics::new(document.path),
        };
        // A value that does not exist is why the condition cannot hold, and the better thing to say.
        if value::look(&mut lint) {
            condition::look(&mut lint);
        }
        condition::look_at_filter(&mut lint, documents);
        group::look(&mut lint);
        about::look(&mut lint);
        tag::look(&mut lint);
        respond::look(&mut lint);
        found.append(&mut lint.diagnostics.found);
    }
    found
}

/// Adds what was found, except in files that have mistakes: these come first, and half a rule
/// looks odd in many ways.
pub(super) fn settle(lints: Vec<Diagnostic>, found: &mut Vec<Diagnostic>) {
    let errors = found.iter().filter(|found| found.severity == Severity::Error);
    let broken: BTreeSet<String> = errors.map(|found| found.path.clone()).collect();
    found.extend(lints.into_iter().filter(|lint| !broken.contains(&lint.path)));
}

/// The documents that correlations count and that open nothing themselves.
fn counted(documents: &[Document<'_>]) -> BTreeSet<usize> {
    let mut by_reference: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        for reference in [Some(&*document.meta.id), Some(&*document.meta.title), document.name.as_deref()] {
            by_reference.entry(reference.unwrap_or_default()).or_default().push(index);
        }
    }
    let silent = documents.iter().filter_map(|document| match &document.kind {
        Kind::Correlation(correlation) if !correlation.generate => Some(&correlation.rules),
        _ => None,
    });
    silent.flatten().filter_map(|(reference, _)| by_reference.get(&**reference)).flatten().copied().collect()
}

/// Names and titles that two documents have.
fn twice(documents: &[Document<'_>]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<(&str, &str), &Document<'_>> = BTreeMap::new();
    for document in documents {
        let name = document.name.as_deref().map(|name| ("name", name));
        let title = Some(("title", &*document.meta.title)).filter(|(_, title)| !title.is_empty());
        for (key, text) in name.into_iter().chain(title) {
            let Some(first) = seen.get(&(key, text)) else {
                seen.insert((key, text), document);
                continue;
            };
            let place = document.node.get(key).map_or(document.place, |node| node.place);
            let mut diagnostics = Diagnostics::new(document.path);
            let at = first.node.get(key).map_or(first.place, |node| node.place);
            let message = format!("{key} `{text}` is that of {}:{}:{} already", first.path, at.line, at.column);
            if key == "name" {
                let help = Some("a correlation that names it would count both; give each a name of its own".to_owned());
                let severity = if document.is_ours { Severity::Error } else { Severity::Warning };
                diagnostics.push(severity, Code::DuplicateName, place, message, help);
            } else {
                let help = Some("on a pager nobody could tell the two apart; say what differs".to_owned());
                diagnostics.warning(Code::DuplicateTitle, place, message, help);
            }
            found.append(&mut diagnostics.found);
        }
    }
    found
}
