//! What is said of rules, for a person and for other tools.

use serde_json::json;

use crate::rule::diagnostic::{Diagnostic, Severity};

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The rules are not used.
    pub errors: usize,
    /// Worth mending.
    pub warnings: usize,
    /// Worth knowing.
    pub notes: usize,
}

impl Counts {
    /// Of these.
    #[must_use]
    pub fn of(diagnostics: &[Diagnostic]) -> Self {
        let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
        Self { errors: count(Severity::Error), warnings: count(Severity::Warning), notes: count(Severity::Note) }
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Rule files.
    pub files: usize,
    /// Rules that open incidents; none when there are errors.
    pub rules: usize,
    /// Key domains, when an inventory was given.
    pub domains: Option<usize>,
}

/// Like a compiler: `file:line:column: severity[code]: message`, and what to do below it.
#[must_use]
pub fn text(diagnostics: &[Diagnostic], looked: Looked) -> String {
    let mut out: String = diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
    let Counts { errors, warnings, notes } = Counts::of(diagnostics);
    let Looked { files, rules, domains } = looked;
    out.push_str(&format!("{files} files, {rules} rules, {errors} errors, {warnings} warnings, {notes} notes\n"));
    if let Some(domains) = domains {
        out.push_str(&format!("{domains} key domains\n"));
    }
    out
}

/// One JSON document.
#[must_use]
pub fn json(diagnostics: &[Diagnostic], looked: Looked) -> String {
    let Counts { errors, warnings, notes } = Counts::of(diagnostics);
    let one = |diagnostic: &Diagnostic| {
        json!({
            "severity": diagnostic.severity.as_str(), "code": diagnostic.code.as_str(), "path": diagnostic.path,
            "line": diagnostic.place.line, "column": diagnostic.place.column,
            "message": diagnostic.message, "help": diagnostic.help,
        })
    };
    let document = json!({
        "files": looked.files, "rules": looked.rules, "domains": looked.domains,
        "errors": errors, "warnings": warnings, "notes": notes,
        "diagnostics": diagnostics.iter().map(one).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
