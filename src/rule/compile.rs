//! Rule texts to a [`RuleSet`]: detections, correlations and filters, over all files.
//!
//! Invariant: all mistakes of all files are reported, and with an error among them there are no rules.

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::document::read_file;
use super::link::Linker;
use super::placeholders::Placeholders;
use super::{RuleSet, RuleText};
use crate::event::field::ProjectionBuilder;

/// What compiling gave.
#[derive(Debug)]
pub struct Compiled {
    /// The rules, unless a diagnostic is an error.
    pub rules: Option<RuleSet>,
    /// By file and place.
    pub diagnostics: Vec<Diagnostic>,
}

impl RuleSet {
    /// Compiles rule texts that need no lists of an inventory.
    #[must_use]
    pub fn compile(texts: &[RuleText]) -> Compiled {
        Self::compile_with(texts, &Placeholders::default())
    }

    /// Compiles rule texts; `placeholders` are filled in where they ask for them.
    #[must_use]
    pub fn compile_with(texts: &[RuleText], placeholders: &Placeholders) -> Compiled {
        let mut fields = ProjectionBuilder::new();
        let mut found = Vec::new();
        let mut read = Vec::new();
        for text in texts {
            let mut diagnostics = Diagnostics::new(&text.path);
            read.extend(read_file(text, placeholders, &mut fields, &mut diagnostics));
            found.append(&mut diagnostics.found);
        }
        let rules = Linker { documents: read, found: &mut found }.link(fields);
        found.sort_by(|a, b| (&a.path, a.place, a.code).cmp(&(&b.path, b.place, b.code)));
        let broken = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        Compiled { rules: (!broken).then_some(rules), diagnostics: found }
    }
}
