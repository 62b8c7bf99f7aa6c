//! Templates: text with `{field}`, filled in when an alert is made; `{a|b}` is the first of them
//! that there is.

use std::fmt;

use super::{Template, TemplatePart};
use crate::event::field::ProjectionBuilder;

/// The tools whose command lines are quoted.
pub const COMMANDS: &[&str] = &["aws", "kmswatch", "jq"];

/// Reads a template; `{{` and `}}` stand for braces. The fields it names are added to the projection.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str, fields: &mut ProjectionBuilder) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if from.starts_with("{{") || from.starts_with("}}") {
            literal.extend(from.chars().next());
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        let inside = from.strip_prefix('{').ok_or("a `}` without its `{`; write `}}` for a brace")?;
        let (name, after) = inside.split_once('}').ok_or("a `{` without its `}`; write `{{` for a brace")?;
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(match name.trim() {
            "" => return Err("`{}` names no field".to_owned()),
            "count" => TemplatePart::Count,
            paths => {
                let one = |path: &str| (path.trim().to_owned(), fields.field(path.trim()));
                TemplatePart::Field(paths.split('|').map(one).collect())
            }
        });
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(TemplatePart::Literal(literal));
    }
    Ok(Template { parts })
}

impl Template {
    /// The fields it reads.
    pub fn fields(&self) -> impl Iterator<Item = (&str, crate::event::field::FieldId)> {
        let named = self.parts.iter().filter_map(|part| match part {
            TemplatePart::Field(paths) => Some(paths),
            TemplatePart::Literal(_) | TemplatePart::Count => None,
        });
        named.flatten().map(|(path, id)| (path.as_str(), *id))
    }

    /// Whether it is a command to paste, so that every value in it becomes one quoted word.
    #[must_use]
    pub fn is_command(&self) -> bool {
        let Some(TemplatePart::Literal(text)) = self.parts.first() else { return false };
        COMMANDS.iter().any(|tool| text.strip_prefix(tool).is_some_and(|rest| rest.starts_with(' ')))
    }

    /// Fills it in; a field without a value is shown as `-`.
    pub fn render(&self, count: u64, value: impl Fn(&str) -> Option<String>) -> String {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Literal(text) => text.clone(),
            TemplatePart::Count => count.to_string(),
            TemplatePart::Field(paths) => {
                let found = paths.iter().find_map(|(path, _)| value(path).filter(|text| !text.is_empty()));
                found.unwrap_or_else(|| "-".to_owned())
            }
        };
        self.parts.iter().map(part).collect()
    }
}

impl fmt::Display for Template {
    /// As written in the rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                TemplatePart::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                TemplatePart::Count => f.write_str("{count}")?,
                TemplatePart::Field(paths) => {
                    let paths: Vec<_> = paths.iter().map(|(path, _)| path.as_str()).collect();
                    write!(f, "{{{}}}", paths.join("|"))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_braces_and_mistakes() {
        let mut fields = ProjectionBuilder::new();
        let template = parse("{kms.principal} did {{x}} {count} times to {kms.alias|kms.key}", &mut fields).unwrap();
        let text = template.render(3, |path| match path {
            "kms.principal" => Some("role/pay".to_owned()),
            "kms.key" => Some("k-1".to_owned()),
            _ => None,
        });
        assert_eq!(text, "role/pay did {x} 3 times to k-1");
        assert_eq!(template.to_string(), "{kms.principal} did {{x}} {count} times to {kms.alias|kms.key}");
        assert!(!template.is_command() && parse("aws kms list-keys", &mut fields).unwrap().is_command());
        for bad in ["{a", "a}", "{}"] {
            assert!(parse(bad, &mut fields).is_err(), "{bad}");
        }
    }
}
