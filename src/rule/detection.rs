//! The `detection:` block of a rule or filter, compiled to a predicate; its condition is read by
//! [`super::condition`].

use rsigma_parser::Modifier;

use super::diagnostic::{Code, Diagnostics};
use super::locate::{Data, Node, Place};
use super::pattern::{self, ValueTest};
use super::predicate::Predicate;
use super::{condition, modifiers};
use crate::event::field::{FieldId, ProjectionBuilder};

/// Compiles the block: named selections and the condition over them. What is mistaken is noted.
pub fn compile(
    block: &Node,
    not_selections: &[&str],
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Predicate {
    let mut selections = Vec::new();
    for (key, node) in block.members() {
        if !["condition", "timeframe"].contains(&key.text.as_str()) && !not_selections.contains(&key.text.as_str()) {
            let mut compiler = Selection { fields, used, diagnostics };
            let predicate = compiler.detection(&key.text, key.place, node);
            selections.push((key.text.clone(), key.place, predicate));
        }
    }
    if block.get("timeframe").is_some() {
        let help = Some("write a correlation with a `timespan` instead".to_owned());
        diagnostics.error(Code::Unsupported, block.key_place("timeframe"), "`timeframe` is of the old Sigma", help);
    }
    let read = if let Some(condition) = block.get("condition") {
        condition::Reading::new(&selections, diagnostics).whole(condition)
    } else {
        diagnostics.error(Code::MissingKey, block.place, "no `condition`", None);
        None
    };
    // Without a condition the rule is lost, but what it reads is still checked, so that all
    // mistakes are told of.
    read.unwrap_or_else(|| Predicate::All(selections.into_iter().map(|(_, _, predicate)| predicate).collect()))
}

struct Selection<'c, 'p> {
    fields: &'c mut ProjectionBuilder,
    used: &'c mut Vec<(String, Place)>,
    diagnostics: &'c mut Diagnostics<'p>,
}

impl Selection<'_, '_> {
    /// A map is an and, a list of maps an or, a list of values keywords.
    fn detection(&mut self, name: &str, place: Place, node: &Node) -> Predicate {
        match &node.data {
            Data::Map(members) if !members.is_empty() => {
                let items = members.iter().map(|(key, value)| self.item(&key.text, key.place, value));
                Predicate::All(items.flatten().collect())
            }
            Data::List(items) if items.iter().any(|item| matches!(item.data, Data::Map(_))) => {
                Predicate::Any(items.iter().map(|item| self.detection(name, item.place, item)).collect())
            }
            Data::List(items) if !items.is_empty() => self.keywords(items, &[]),
            Data::Map(_) | Data::List(_) | Data::Null => {
                // Empty, it would match every record or none, and neither was meant.
                self.diagnostics.error(Code::EmptyList, place, format!("selection `{name}` is empty"), None);
                Predicate::Any(Vec::new())
            }
            _ => self.keywords(std::slice::from_ref(node), &[]),
        }
    }

    /// Text to look for anywhere in a record.
    fn keywords(&mut self, values: &[Node], modifiers: &[Modifier]) -> Predicate {
        if let Some(null) = values.iter().find(|value| matches!(value.data, Data::Null)) {
            self.diagnostics.error(Code::BadValue, null.place, "nothing to look for: a keyword is text", None);
        }
        let within = [modifiers, &[Modifier::Contains]].concat();
        let tests = values.iter().map(|value| self.tests(value, &within));
        if modifiers.contains(&Modifier::All) {
            Predicate::All(tests.map(Predicate::Keyword).collect())
        } else {
            Predicate::Keyword(tests.flatten().collect())
        }
    }

    fn tests(&mut self, node: &Node, modifiers: &[Modifier]) -> Vec<ValueTest> {
        pattern::compile(node, modifiers).unwrap_or_else(|(code, message)| {
            self.diagnostics.error(code, node.place, message, None);
            Vec::new()
        })
    }

    fn item(&mut self, key: &str, place: Place, value: &Node) -> Option<Predicate> {
        let modifiers = modifiers::read(key, place, self.diagnostics)?;
        if matches!(&value.data, Data::List(items) if items.is_empty()) {
            let message = format!("`{key}` has no values, so it can never match");
            self.diagnostics.error(Code::EmptyList, place, message, None);
            return None;
        }
        let path = key.split('|').next().unwrap_or_default();
        if path.is_empty() {
            return Some(self.keywords(value.items(), &modifiers));
        }
        self.used.push((path.to_owned(), place));
        let field = self.fields.field(path);
        let has = |modifier| modifiers.contains(&modifier);
        let predicate = if has(Modifier::Exists) {
            let Data::Bool(wanted) = value.data else {
                let help = Some("YAML knows no `yes` and `no`".to_owned());
                self.diagnostics.error(Code::BadValue, value.place, "`exists` is `true` or `false`", help);
                return None;
            };
            Predicate::Exists(field, wanted)
        } else if has(Modifier::FieldRef) {
            let others: Vec<_> = value.items().iter().filter_map(|item| self.reference(item)).collect();
            Predicate::Any(others.into_iter().map(|other| Predicate::SameAs(field, other)).collect())
        } else {
            let tests = value.items().iter().flat_map(|item| self.tests(item, &modifiers)).collect();
            if has(Modifier::All) { Predicate::AllOf(field, tests) } else { Predicate::SomeOf(field, tests) }
        };
        Some(if has(Modifier::Neq) { Predicate::Not(Box::new(predicate)) } else { predicate })
    }

    /// The field that a `fieldref` names.
    fn reference(&mut self, node: &Node) -> Option<FieldId> {
        let Data::Text(path) = &node.data else {
            self.diagnostics.error(Code::BadValue, node.place, "`fieldref` takes the name of a field", None);
            return None;
        };
        self.used.push((path.clone(), node.place));
        Some(self.fields.field(path))
    }
}
