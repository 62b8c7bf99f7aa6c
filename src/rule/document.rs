//! One Sigma document as read, before its references are followed.

use rsigma_parser::parse_sigma_yaml;

use super::correlation::{self, Correlation};
use super::diagnostic::{Code, Diagnostics, nearest};
use super::extension::{Extension, texts};
use super::locate::{Node, Place, documents};
use super::placeholders::Placeholders;
use super::predicate::Predicate;
use super::{Level, RuleMeta, RuleText, detection};
use crate::event::field::ProjectionBuilder;

/// A document as read, before references are followed.
pub(super) struct Document<'t> {
    pub(super) path: &'t str,
    pub(super) place: Place,
    /// As written, to point into.
    pub(super) node: Node,
    pub(super) meta: RuleMeta,
    pub(super) name: Option<String>,
    pub(super) level: Level,
    pub(super) extension: Extension,
    /// It has a `kmswatch:` block: written for us, and not for Sigma tools at large.
    pub(super) is_ours: bool,
    pub(super) used: Vec<(String, Place)>,
    pub(super) kind: Kind,
    /// `product`, `category` and `service` of its `logsource`.
    pub(super) log_source: [Option<String>; 3],
}

impl Document<'_> {
    /// Whether a filter is for records that this document reads: what both say must be the same.
    pub(super) fn reads_what(&self, filter: &Self) -> bool {
        let pairs = self.log_source.iter().zip(&filter.log_source);
        pairs.into_iter().all(|(own, wanted)| own.is_none() || wanted.is_none() || own == wanted)
    }
}

pub(super) enum Kind {
    Detection(Predicate),
    Correlation(Correlation),
    Filter { rules: Vec<(String, Place)>, any: bool, predicate: Predicate },
}

impl Document<'_> {
    /// Decides what comes of placeholders that nobody defines: a detection finds nothing by them, and
    /// a filter takes nothing away.
    pub(super) fn settle(&mut self) {
        let settle = |predicate: &mut Predicate, wanted| {
            *predicate = std::mem::replace(predicate, Predicate::Nobody).settle(wanted);
        };
        match &mut self.kind {
            Kind::Detection(predicate) => settle(predicate, false),
            Kind::Filter { predicate, .. } => settle(predicate, true),
            Kind::Correlation(_) => {}
        }
        if let Some((kind, _)) = &mut self.extension.kind {
            let others = kind.closes.iter_mut().chain(kind.escalates.iter_mut().map(|(_, predicate)| predicate));
            others.for_each(|predicate| settle(predicate, false));
        }
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
    "generate",
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

pub(super) fn read_file<'t>(
    text: &'t RuleText,
    placeholders: &Placeholders,
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
    let read: Vec<_> = nodes
        .into_iter()
        .filter_map(|node| read_document(node, &text.path, &hash, placeholders, fields, diagnostics))
        .collect();
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
    node: Node,
    path: &'t str,
    hash: &str,
    placeholders: &Placeholders,
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
    let (meta, level) = read_meta(&node, path, hash, diagnostics);
    let mut used = Vec::new();
    let extension = Extension::read(node.get("kmswatch"), placeholders, fields, &mut used, diagnostics);
    let kind = if let Some(block) = node.get("correlation") {
        Kind::Correlation(correlation::read(&node, block, diagnostics))
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
        let predicate = detection::compile(block, &["rules"], placeholders, fields, &mut used, diagnostics);
        Kind::Filter { rules, any, predicate }
    } else if let Some(block) = node.get("detection") {
        check_log_source(&node, diagnostics);
        Kind::Detection(detection::compile(block, &[], placeholders, fields, &mut used, diagnostics))
    } else {
        diagnostics.error(Code::MissingKey, node.place, "no `detection`, `correlation` or `filter`", None);
        return None;
    };
    let meta = RuleMeta { controls: extension.controls.clone(), ..meta };
    let name = node.get("name").and_then(Node::scalar_text);
    let is_ours = node.get("kmswatch").is_some();
    let source = |key: &str| node.get("logsource").and_then(|source| source.get(key)).and_then(Node::scalar_text);
    let log_source = ["product", "category", "service"].map(source);
    Some(Document { path, place: node.place, node, meta, name, level, extension, is_ours, used, kind, log_source })
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
