//! The `kmswatch:` block: what Sigma has no word for. Other Sigma tools pass over it.

use super::diagnostic::{Code, Diagnostics};
use super::example::Examples;
use super::kinds::{Kind, Reader, Step};
use super::locate::{Node, Place};
use super::placeholders::Placeholders;
use super::template;
use super::{Rule, Template};
use crate::event::field::{FieldId, ProjectionBuilder};
use crate::time::Span;

/// What a rule's block says, or its defaults.
#[derive(Clone, Debug)]
pub struct Extension {
    /// As given.
    pub group_by: Option<Vec<(String, FieldId)>>,
    /// Gap that ends an incident.
    pub quiet: Span,
    /// Allowed lateness.
    pub lateness: Span,
    /// As given.
    pub summary: Option<Template>,
    /// Commands.
    pub respond: Vec<Template>,
    /// Control references.
    pub controls: Vec<String>,
    /// Records that must fire or stay silent.
    pub examples: Examples,
    /// A detector kind that Sigma lacks, and where it stands.
    pub kind: Option<(Kind, Place)>,
    /// Steps of a sequence, and where they stand.
    pub sequence: Option<(Vec<Step>, Place)>,
}

const KEYS: &[&str] = &[
    "group-by",
    "quiet",
    "lateness",
    "summary",
    "respond",
    "controls",
    "examples",
    "new-terms",
    "rate",
    "absence",
    "resolve",
    "sequence",
];

impl Extension {
    /// Reads the block; `used` collects the fields that it names, with their places.
    pub fn read(
        block: Option<&Node>,
        placeholders: &Placeholders,
        fields: &mut ProjectionBuilder,
        used: &mut Vec<(String, Place)>,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Self {
        let mut read = Self {
            group_by: None,
            quiet: Rule::DEFAULT_QUIET,
            lateness: Rule::DEFAULT_LATENESS,
            summary: None,
            respond: Vec::new(),
            controls: Vec::new(),
            examples: Examples::default(),
            kind: None,
            sequence: None,
        };
        if let Some(block) = block.filter(|block| block.members().is_empty()) {
            diagnostics.error(
                Code::BadValue,
                block.place,
                "`kmswatch` is a map",
                Some(format!("of {}", KEYS.join(", "))),
            );
        }
        for (key, value) in block.map(Node::members).unwrap_or_default() {
            match key.text.as_str() {
                "group-by" => read.group_by = Some(field_list(value, fields, used, diagnostics)),
                "quiet" => read.quiet = span(value, diagnostics).unwrap_or(read.quiet),
                "lateness" => read.lateness = span(value, diagnostics).unwrap_or(read.lateness),
                "summary" => read.summary = one_template(value, fields, used, diagnostics),
                "respond" => {
                    read.respond =
                        value.items().iter().filter_map(|item| one_template(item, fields, used, diagnostics)).collect();
                }
                "controls" => {
                    read.controls = texts(value, "a control", diagnostics).into_iter().map(|(text, _)| text).collect();
                }
                "examples" => read.examples = Examples::read(value, diagnostics),
                name @ ("new-terms" | "rate" | "absence" | "resolve") => {
                    if let Some((kind, _)) = &read.kind {
                        let message =
                            format!("a rule is of one kind, and this one is `{}` already", kind.detector.kind());
                        diagnostics.error(Code::BadValue, key.place, message, None);
                    }
                    let kind = Reader { placeholders, fields, used, diagnostics }.kind(name, value);
                    read.kind = kind.map(|kind| (kind, key.place));
                }
                "sequence" => {
                    let steps = Reader { placeholders, fields, used, diagnostics }.sequence(value);
                    read.sequence = Some((steps, key.place));
                }
                other => diagnostics.unknown(Code::UnknownKey, key.place, "key", other, KEYS.iter().copied()),
            }
        }
        read
    }
}

/// The texts of a list, or of the one that stands for a list; anything else in it is a mistake.
pub fn texts(node: &Node, what: &str, diagnostics: &mut Diagnostics<'_>) -> Vec<(String, Place)> {
    let mut texts = Vec::new();
    for item in node.items() {
        match item.scalar_text() {
            Some(text) => texts.push((text, item.place)),
            None => diagnostics.error(Code::BadValue, item.place, format!("{what} was expected"), None),
        }
    }
    texts
}

/// A list of field names, added to the projection.
pub fn field_list(
    node: &Node,
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<(String, FieldId)> {
    let named = texts(node, "the name of a field", diagnostics);
    used.extend(named.iter().cloned());
    named.into_iter().map(|(path, _)| (path.clone(), fields.field(&path))).collect()
}

/// A span of time.
pub(super) fn span(node: &Node, diagnostics: &mut Diagnostics<'_>) -> Option<Span> {
    let text = node.scalar_text().unwrap_or_default();
    let span = Span::parse(&text);
    if span.is_none() {
        let message = format!("'{text}' is not a span of time");
        diagnostics.error(Code::BadSpan, node.place, message, Some("write it like 90s, 15m, 1h or 30d".to_owned()));
    }
    span
}

fn one_template(
    node: &Node,
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Template> {
    let Some(text) = node.scalar_text() else {
        diagnostics.error(Code::BadTemplate, node.place, "a line of text was expected", None);
        return None;
    };
    match template::parse(&text, fields) {
        Ok(template) => {
            used.extend(template.fields().map(|(path, _)| (path.to_owned(), node.place)));
            Some(template)
        }
        Err(reason) => {
            diagnostics.error(Code::BadTemplate, node.place, reason, None);
            None
        }
    }
}
