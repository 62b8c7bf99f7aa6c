//! The `detection:` block of a rule or filter, compiled to a predicate.

use rsigma_parser::{ConditionExpr, Modifier, Quantifier, SelectorPattern, parse_condition, parse_field_spec};

use super::diagnostic::{Code, Diagnostics, nearest};
use super::locate::{Data, Node, Place};
use super::pattern::{self, ValueTest};
use super::predicate::Predicate;
use crate::event::field::ProjectionBuilder;

/// Compiles the block: named selections and the condition over them.
pub fn compile(
    block: &Node,
    not_selections: &[&str],
    fields: &mut ProjectionBuilder,
    used: &mut Vec<(String, Place)>,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Predicate> {
    let mut selections = Vec::new();
    for (key, node) in block.members() {
        if !["condition", "timeframe"].contains(&key.text.as_str()) && !not_selections.contains(&key.text.as_str()) {
            let mut compiler = Selection { fields, used, diagnostics };
            selections.push((key.text.clone(), key.place, compiler.detection(node)));
        }
    }
    let Some(condition) = block.get("condition") else {
        diagnostics.error(Code::MissingKey, block.place, "no `condition`", None);
        return None;
    };
    if block.get("timeframe").is_some() {
        let help = Some("write a correlation with a `timespan` instead".to_owned());
        diagnostics.error(Code::Unsupported, block.key_place("timeframe"), "`timeframe` is of the old Sigma", help);
    }
    let mut referenced = Vec::new();
    let mut alternatives = Vec::new();
    for item in condition.items() {
        let text = item.scalar_text().unwrap_or_default();
        match parse_condition(&text) {
            Ok(expression) => {
                let mut reader =
                    Condition { selections: &selections, referenced: &mut referenced, place: item.place, diagnostics };
                alternatives.extend(reader.compile(&expression));
            }
            Err(error) => {
                let column = error.location().map_or(0, |at| (at.col as usize).saturating_sub(1));
                let place = Place { column: item.place.column + column, ..item.place };
                diagnostics.error(Code::BadCondition, place, first_line(&error.to_string()), None);
                return None;
            }
        }
    }
    for (name, place, _) in &selections {
        if !referenced.contains(name) && !name.starts_with('_') {
            let help = Some("name it in the condition or delete it".to_owned());
            diagnostics.error(
                Code::UnusedSelection,
                *place,
                format!("selection `{name}` is used by no condition"),
                help,
            );
        }
    }
    match alternatives.len() {
        0 => None,
        1 => alternatives.pop(),
        _ => Some(Predicate::Any(alternatives)),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(": ").map_or(line, |(_, what)| what).trim_start_matches(": ").to_owned()
}

type Named = (String, Place, Predicate);

struct Condition<'c, 'd, 'p> {
    selections: &'c [Named],
    referenced: &'c mut Vec<String>,
    place: Place,
    diagnostics: &'d mut Diagnostics<'p>,
}

impl Condition<'_, '_, '_> {
    fn compile(&mut self, expression: &ConditionExpr) -> Option<Predicate> {
        Some(match expression {
            ConditionExpr::And(parts) => Predicate::All(self.each(parts)?),
            ConditionExpr::Or(parts) => Predicate::Any(self.each(parts)?),
            ConditionExpr::Not(part) => Predicate::Not(Box::new(self.compile(part)?)),
            ConditionExpr::Identifier(name) => self.named(name)?,
            ConditionExpr::Selector { quantifier, pattern } => self.selector(quantifier, pattern)?,
        })
    }

    fn each(&mut self, parts: &[ConditionExpr]) -> Option<Vec<Predicate>> {
        // All parts are read, so that every mistake is told of.
        let compiled: Vec<_> = parts.iter().map(|part| self.compile(part)).collect();
        compiled.into_iter().collect()
    }

    fn named(&mut self, name: &str) -> Option<Predicate> {
        self.referenced.push(name.to_owned());
        let found = self.selections.iter().find(|(known, ..)| known == name);
        if found.is_none() {
            let help = nearest(name, self.selections.iter().map(|(known, ..)| known.as_str()))
                .map(|near| format!("did you mean `{near}`?"));
            let message = format!("the condition names `{name}`, which is no selection");
            self.diagnostics.error(Code::UnknownSelection, self.place, message, help);
        }
        found.map(|(_, _, predicate)| predicate.clone())
    }

    fn selector(&mut self, quantifier: &Quantifier, pattern: &SelectorPattern) -> Option<Predicate> {
        let chosen: Vec<_> =
            self.selections.iter().filter(|(name, ..)| pattern.matches_detection_name(name)).cloned().collect();
        self.referenced.extend(chosen.iter().map(|(name, ..)| name.clone()));
        if chosen.is_empty() {
            let message = format!("`{pattern}` fits no selection");
            self.diagnostics.error(Code::UnknownSelection, self.place, message, None);
            return None;
        }
        let parts: Vec<_> = chosen.into_iter().map(|(_, _, predicate)| predicate).collect();
        Some(match quantifier {
            Quantifier::Any => Predicate::Any(parts),
            Quantifier::All => Predicate::All(parts),
            Quantifier::Count(count) => Predicate::AtLeast(usize::try_from(*count).unwrap_or(usize::MAX), parts),
        })
    }
}

struct Selection<'c, 'p> {
    fields: &'c mut ProjectionBuilder,
    used: &'c mut Vec<(String, Place)>,
    diagnostics: &'c mut Diagnostics<'p>,
}

impl Selection<'_, '_> {
    /// A map is an and, a list of maps an or, a list of values keywords.
    fn detection(&mut self, node: &Node) -> Predicate {
        match &node.data {
            Data::Map(members) => {
                let items = members.iter().map(|(key, value)| self.item(&key.text, key.place, value));
                Predicate::All(items.flatten().collect())
            }
            Data::List(items) if items.iter().any(|item| matches!(item.data, Data::Map(_))) => {
                Predicate::Any(items.iter().map(|item| self.detection(item)).collect())
            }
            Data::List(items) => Predicate::Any(items.iter().flat_map(|item| self.keyword(item, &[])).collect()),
            _ => Predicate::Any(self.keyword(node, &[])),
        }
    }

    fn keyword(&mut self, node: &Node, modifiers: &[Modifier]) -> Vec<Predicate> {
        // A keyword is looked for within strings.
        let modifiers = [modifiers, &[Modifier::Contains]].concat();
        self.tests(node, &modifiers).into_iter().map(Predicate::Keyword).collect()
    }

    fn tests(&mut self, node: &Node, modifiers: &[Modifier]) -> Vec<ValueTest> {
        pattern::compile(node, modifiers).unwrap_or_else(|(code, message)| {
            self.diagnostics.error(code, node.place, message, None);
            Vec::new()
        })
    }

    fn item(&mut self, key: &str, place: Place, value: &Node) -> Option<Predicate> {
        let spec = match parse_field_spec(key) {
            Ok(spec) => spec,
            Err(error) => {
                let modifier =
                    key.split('|').skip(1).find(|name| name.parse::<Modifier>().is_err()).unwrap_or_default();
                let at = key.find(&format!("|{modifier}")).map_or(0, |at| at + 1);
                let place = Place { column: place.column + at, ..place };
                if modifier.is_empty() {
                    self.diagnostics.error(Code::BadValue, place, error.to_string(), None);
                } else {
                    self.diagnostics.unknown(
                        Code::UnknownModifier,
                        place,
                        "modifier",
                        modifier,
                        MODIFIERS.iter().copied(),
                    );
                }
                return None;
            }
        };
        let unsupported = [
            Modifier::Expand,
            Modifier::Minute,
            Modifier::Hour,
            Modifier::Day,
            Modifier::Week,
            Modifier::Month,
            Modifier::Year,
        ];
        if let Some(modifier) = spec.modifiers.iter().find(|modifier| unsupported.contains(modifier)) {
            let name = format!("{modifier:?}").to_lowercase();
            self.diagnostics.error(
                Code::Unsupported,
                place,
                format!("modifier `{name}` is not supported by this version"),
                None,
            );
            return None;
        }
        if matches!(&value.data, Data::List(items) if items.is_empty()) {
            self.diagnostics.error(
                Code::EmptyList,
                place,
                format!("`{key}` has no values, so it can never match"),
                None,
            );
            return None;
        }
        let Some(path) = &spec.name else {
            let parts: Vec<_> = value.items().iter().flat_map(|item| self.keyword(item, &spec.modifiers)).collect();
            let all = spec.modifiers.contains(&Modifier::All);
            return Some(if all { Predicate::All(parts) } else { Predicate::Any(parts) });
        };
        self.used.push((path.clone(), place));
        let field = self.fields.field(path);
        if spec.modifiers.contains(&Modifier::Exists) {
            return Some(Predicate::Exists(field, matches!(value.data, Data::Bool(true))));
        }
        if spec.modifiers.contains(&Modifier::FieldRef) {
            let other = value.scalar_text().unwrap_or_default();
            self.used.push((other.clone(), value.place));
            return Some(Predicate::SameAs(field, self.fields.field(&other)));
        }
        let tests: Vec<_> = value.items().iter().flat_map(|item| self.tests(item, &spec.modifiers)).collect();
        Some(if spec.modifiers.contains(&Modifier::Neq) {
            Predicate::Not(Box::new(Predicate::SomeOf(field, tests)))
        } else if spec.modifiers.contains(&Modifier::All) {
            Predicate::AllOf(field, tests)
        } else {
            Predicate::SomeOf(field, tests)
        })
    }
}

const MODIFIERS: &[&str] = &[
    "contains",
    "startswith",
    "endswith",
    "all",
    "cased",
    "re",
    "i",
    "m",
    "s",
    "cidr",
    "exists",
    "gt",
    "gte",
    "lt",
    "lte",
    "neq",
    "fieldref",
    "base64",
    "base64offset",
    "wide",
    "utf16",
    "utf16le",
    "utf16be",
    "windash",
];
