//! What is wrong with a rule file, with its place and what to do.

use std::fmt;

use super::locate::Place;

/// Whether a rule can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The rules are not used.
    Error,
    /// Worth mending.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl Severity {
    /// As shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// The kind of mistake; its name is shown and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each says itself what it is")]
pub enum Code {
    YamlSyntax,
    NotASigmaDocument,
    UnknownKey,
    MissingKey,
    BadValue,
    UnknownField,
    UndefinedPlaceholder,
    UnknownModifier,
    Unsupported,
    UnusedSelection,
    UnknownSelection,
    BadCondition,
    BadSpan,
    BadId,
    MissingId,
    DuplicateId,
    UnknownRule,
    BadTemplate,
    EmptyList,
    BadRegex,
    BadCidr,
    NoExamples,
    UnknownValue,
    UnreachableCondition,
    AlwaysTrue,
    UnboundedGroup,
    DuplicateName,
    DuplicateTitle,
    NoFamily,
    Undocumented,
    BadTag,
    BadControl,
    EmptySummary,
    UnsafeCommand,
    NeedsReadEvents,
}

impl Code {
    /// As shown: `unknown-field`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::YamlSyntax => "yaml-syntax",
            Self::NotASigmaDocument => "not-a-sigma-document",
            Self::UnknownKey => "unknown-key",
            Self::MissingKey => "missing-key",
            Self::BadValue => "bad-value",
            Self::UnknownField => "unknown-field",
            Self::UndefinedPlaceholder => "undefined-placeholder",
            Self::UnknownModifier => "unknown-modifier",
            Self::Unsupported => "unsupported",
            Self::UnusedSelection => "unused-selection",
            Self::UnknownSelection => "unknown-selection",
            Self::BadCondition => "bad-condition",
            Self::BadSpan => "bad-span",
            Self::BadId => "bad-id",
            Self::MissingId => "missing-id",
            Self::DuplicateId => "duplicate-id",
            Self::UnknownRule => "unknown-rule",
            Self::BadTemplate => "bad-template",
            Self::EmptyList => "empty-list",
            Self::BadRegex => "bad-regex",
            Self::BadCidr => "bad-cidr",
            Self::NoExamples => "no-examples",
            Self::UnknownValue => "unknown-value",
            Self::UnreachableCondition => "unreachable-condition",
            Self::AlwaysTrue => "always-true",
            Self::UnboundedGroup => "unbounded-group",
            Self::DuplicateName => "duplicate-name",
            Self::DuplicateTitle => "duplicate-title",
            Self::NoFamily => "no-family",
            Self::Undocumented => "undocumented",
            Self::BadTag => "bad-tag",
            Self::BadControl => "bad-control",
            Self::EmptySummary => "empty-summary",
            Self::UnsafeCommand => "unsafe-command",
            Self::NeedsReadEvents => "needs-read-events",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// Kind.
    pub code: Code,
    /// The file as named by its [`super::RuleText`].
    pub path: String,
    /// Line and column.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = self.severity.as_str();
        let (path, place) = (&self.path, self.place);
        write!(f, "{path}:{}:{}: {severity}[{}]: {}", place.line, place.column, self.code.as_str(), self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// The nearest of some names to one that is not among them, if any is near.
#[must_use]
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // Comparing costs the product of the lengths; what is longer than any name is like none.
    const MAX_BYTES: usize = 128;
    if name.len() > MAX_BYTES {
        return None;
    }
    let wanted = name.to_ascii_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&wanted, &known.to_ascii_lowercase()), known))
        .min()
        .filter(|(distance, _)| *distance <= 2.max(name.len() / 4))
        .map(|(_, known)| known)
}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub struct Diagnostics<'p> {
    path: &'p str,
    /// In the order found.
    pub found: Vec<Diagnostic>,
}

impl<'p> Diagnostics<'p> {
    /// For the file at `path`.
    #[must_use]
    pub fn new(path: &'p str) -> Self {
        Self { path, found: Vec::new() }
    }

    /// Notes an error.
    pub fn error(&mut self, code: Code, place: Place, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Error, code, place, message.into(), help);
    }

    /// Notes a warning.
    pub fn warning(&mut self, code: Code, place: Place, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Warning, code, place, message.into(), help);
    }

    /// Notes what is worth knowing.
    pub fn note(&mut self, code: Code, place: Place, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Note, code, place, message.into(), help);
    }

    pub(super) fn push(&mut self, severity: Severity, code: Code, place: Place, message: String, help: Option<String>) {
        self.found.push(Diagnostic { severity, code, path: self.path.to_owned(), place, message, help });
    }

    /// Notes a name that is not known, with the nearest that is.
    pub fn unknown<'n>(
        &mut self,
        code: Code,
        place: Place,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let help = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        self.error(code, place, format!("unknown {what} `{name}`"), help);
    }

    /// Whether any is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|found| found.severity == Severity::Error)
    }
}
