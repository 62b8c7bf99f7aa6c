//! The `detection:` block of a rule or filter, compiled to a predicate; its condition is read by
//! [`super::condition`].

use std::sync::Arc;

use rsigma_parser::Modifier;

use super::diagnostic::{Code, Diagnostics};
use super::locate::{Data, Node, Place};
use super::pattern::{self, ValueTest};
use super::placeholders::{Placeholders, Unresolved, has_name};
use super::predicate::{Mark, Predicate, Reference};
use super::{condition, modifiers};
use crate::event::field::{FieldId, ProjectionBuilder};

/// Compiles the block: named selections and the condition over them. What is mistaken is noted.
pub fn compile(
    block: &Node,
    not_selections: &[&str],
    placeholders: &Placeholders,
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Predicate {
    let mut selections = Vec::new();
    let is_selection = |name: &str| !["condition", "timeframe"].contains(&name) && !not_selections.contains(&name);
    for (key, node) in block.members().iter().filter(|(key, _)| is_selection(&key.text)) {
        let mut compiler = Selection { placeholders, fields, used, diagnostics };
        let predicate = compiler.detection(&key.text, key.place, node);
        let mark = Arc::new(Mark::Selection(key.text.clone()));
        let predicate = Predicate::Marked(mark, Box::new(predicate));
        selections.push((key.text.clone(), key.place, predicate));
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

#[cfg(test)]
mod tests;

struct Selection<'c, 'p> {
    placeholders: &'c Placeholders,
    fields: &'c mut ProjectionBuilder,
    used: &'c mut Vec<(String, Place)>,
    diagnostics: &'c mut Diagnostics<'p>,
}

impl Selection<'_, '_> {
    /// A map is an and, a list of maps an or, a list of values keywords.
    fn detection(&mut self, name: &str, place: Place, node: &Node) -> Predicate {
        match &node.data {
            Data::Map(members) if !members.is_empty() => {
                let items = members.iter().map(|(key, value)| {
                    let predicate = self.item(&key.text, key.place, value)?;
                    Some(self.marked(&key.text, value.items(), predicate))
                });
                Predicate::All(items.flatten().collect())
            }
            Data::List(items) if items.iter().any(|item| matches!(item.data, Data::Map(_))) => {
                Predicate::Any(items.iter().map(|item| self.detection(name, item.place, item)).collect())
            }
            Data::List(items) if !items.is_empty() => {
                let predicate = self.keywords(items, &[]);
                self.marked("", items, predicate)
            }
            Data::Map(_) | Data::List(_) | Data::Null => {
                // Empty, it would match every record or none, and neither was meant.
                self.diagnostics.error(Code::EmptyList, place, format!("selection `{name}` is empty"), None);
                Predicate::Any(Vec::new())
            }
            _ => {
                let predicate = self.keywords(std::slice::from_ref(node), &[]);
                self.marked("", std::slice::from_ref(node), predicate)
            }
        }
    }

    /// Keeps how an item is written, and what the lists that it names hold.
    fn marked(&self, key: &str, values: &[Node], predicate: Predicate) -> Predicate {
        let is_re = key.split('|').any(|part| part == "re");
        let expands = key.split('|').skip(1).any(|part| part == "expand");
        let written = |node: &Node| match &node.data {
            Data::Null => "null".to_owned(),
            _ => node.scalar_text().unwrap_or_default(),
        };
        let text = |node: &Node| {
            let text = written(node);
            match self.placeholders.expand(&text, is_re).ok().filter(|_| expands && has_name(&text)) {
                Some(texts) => texts,
                None => vec![text],
            }
        };
        let values = values.iter().flat_map(text).collect();
        Predicate::Marked(Arc::new(Mark::Item { key: key.to_owned(), values }), Box::new(predicate))
    }

    /// Text to look for anywhere in a record.
    fn keywords(&mut self, values: &[Node], modifiers: &[Modifier]) -> Predicate {
        if let Some(null) = values.iter().find(|value| matches!(value.data, Data::Null)) {
            self.diagnostics.error(Code::BadValue, null.place, "nothing to look for: a keyword is text", None);
        }
        let (values, undefined) = self.expanded(values, modifiers);
        let within: Vec<_> = modifiers.iter().copied().chain([Modifier::Contains]).collect();
        if values.is_empty() {
            return undefined.unwrap_or(Predicate::Nobody);
        }
        let tests = values.iter().map(|value| self.tests(value, &within));
        if modifiers.contains(&Modifier::All) {
            Predicate::All(tests.map(Predicate::Keyword).chain(undefined).collect())
        } else {
            either(Predicate::Keyword(tests.flatten().collect()), undefined)
        }
    }

    fn tests(&mut self, node: &Node, modifiers: &[Modifier]) -> Vec<ValueTest> {
        pattern::compile(node, modifiers).unwrap_or_else(|(code, message)| {
            self.diagnostics.error(code, node.place, message, None);
            Vec::new()
        })
    }

    /// The values with placeholders filled in, and what stands for those that nobody defines.
    fn expanded(&mut self, values: &[Node], modifiers: &[Modifier]) -> (Vec<Node>, Option<Predicate>) {
        if !modifiers.contains(&Modifier::Expand) {
            return (values.to_vec(), None);
        }
        let mut filled = Vec::new();
        let mut undefined = None;
        for node in values {
            let Some(text) = node.scalar_text().filter(|text| has_name(text)) else {
                filled.push(node.clone());
                continue;
            };
            match self.placeholders.expand(&text, modifiers.contains(&Modifier::Re)) {
                Ok(texts) => {
                    filled.extend(texts.into_iter().map(|text| Node { place: node.place, data: Data::Text(text) }));
                }
                Err(Unresolved::Undefined { name, near }) => {
                    let help = near.map_or_else(
                        || format!("define `{name}` under `placeholders:` of the key inventory"),
                        |near| format!("did you mean `%{near}%`?"),
                    );
                    let message = format!("`%{name}%` is defined nowhere, so what is tested with it never holds");
                    self.diagnostics.warning(Code::UndefinedPlaceholder, node.place, message, Some(help));
                    undefined = Some(Predicate::Undefined(node.place));
                }
                Err(Unresolved::TooMany) => {
                    let message = format!("'{text}' stands for too many values");
                    self.diagnostics.error(Code::BadValue, node.place, message, None);
                }
            }
        }
        if !values.iter().filter_map(Node::scalar_text).any(|text| has_name(&text))
            && let Some(first) = values.first()
        {
            let help = Some("write a name as %name%, or leave `expand` out".to_owned());
            self.diagnostics.error(Code::BadValue, first.place, "`expand` has no placeholder to fill in", help);
        }
        (filled, undefined)
    }

    fn item(&mut self, key: &str, place: Place, value: &Node) -> Option<Predicate> {
        let modifiers = modifiers::read(key, place, self.diagnostics)?;
        if matches!(&value.data, Data::List(items) if items.is_empty()) {
            let message = format!("`{key}` has no values, so it can never match");
            self.diagnostics.error(Code::EmptyList, place, message, None);
            return None;
        }
        self.check_list(value, &modifiers);
        let path = key.split('|').next().unwrap_or_default();
        if path.is_empty() {
            if !modifiers.iter().copied().all(modifiers::fits_keywords) {
                let help = Some("a keyword is looked for anywhere; name a field before the bar".to_owned());
                self.diagnostics.error(Code::BadValue, place, format!("`{key}` without a field"), help);
                return None;
            }
            return Some(self.keywords(value.items(), &modifiers));
        }
        if path.ends_with(']') {
            let help = Some("a path goes through lists by itself: any element may pass".to_owned());
            self.diagnostics.error(Code::Unsupported, place, format!("`{path}` picks elements of a list"), help);
            return None;
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
            let (anchor, cased) = (pattern::anchor_of(&modifiers), has(Modifier::Cased));
            let others: Vec<_> = value.items().iter().filter_map(|item| self.reference(item)).collect();
            let refers = |other| Predicate::Refers(field, Reference { field: other, anchor, cased });
            Predicate::Any(others.into_iter().map(refers).collect())
        } else {
            let (values, undefined) = self.expanded(value.items(), &modifiers);
            if has(Modifier::All) {
                let mut each: Vec<_> = values.iter().map(|item| self.tests(item, &modifiers)).collect();
                // A value may come to several tests, of which one is enough.
                let all = if each.iter().all(|tests| tests.len() == 1) {
                    Predicate::AllOf(field, each.drain(..).flatten().collect())
                } else {
                    Predicate::All(each.drain(..).map(|tests| Predicate::SomeOf(field, tests)).collect())
                };
                if values.is_empty() { undefined.unwrap_or(Predicate::Nobody) } else { both(all, undefined) }
            } else {
                let tests: Vec<_> = values.iter().flat_map(|item| self.tests(item, &modifiers)).collect();
                let some = if values.is_empty() { Predicate::Nobody } else { Predicate::SomeOf(field, tests) };
                either(some, undefined)
            }
        };
        Some(if has(Modifier::Neq) { Predicate::Not(Box::new(predicate)) } else { predicate })
    }

    /// What Sigma forbids although its meaning is plain: other tools may refuse it.
    fn check_list(&mut self, value: &Node, modifiers: &[Modifier]) {
        let items = value.items();
        if let Some(null) = items.iter().find(|item| matches!(item.data, Data::Null)).filter(|_| items.len() > 1) {
            let help = Some("give `null` a selection of its own".to_owned());
            self.diagnostics.warning(Code::BadValue, null.place, "Sigma knows no `null` within a list", help);
        }
        let one = items.len() == 1 && modifiers.contains(&Modifier::All) && !modifiers.contains(&Modifier::Expand);
        if one {
            let help = Some("leave `all` out".to_owned());
            self.diagnostics.warning(Code::BadValue, value.place, "`all` of a single value", help);
        }
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

fn both(known: Predicate, undefined: Option<Predicate>) -> Predicate {
    match undefined {
        Some(undefined) => Predicate::All(vec![known, undefined]),
        None => known,
    }
}

fn either(known: Predicate, undefined: Option<Predicate>) -> Predicate {
    match undefined {
        Some(undefined) if matches!(known, Predicate::Nobody) => undefined,
        Some(undefined) => Predicate::Any(vec![known, undefined]),
        None => known,
    }
}
