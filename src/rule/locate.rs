//! YAML as a tree that knows its places, so that every mistake can be pointed at.
//!
//! The Sigma parser gives an AST without places; this tree runs beside it.
//!
//! Invariant: a value is what is written. YAML reads `012345678901` as a number and drops its zero,
//! and `1.10` as 1.1; an account or a version so maimed would match nothing, so such a number is
//! kept as the text that stands there.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A YAML value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub data: Data,
}

/// What a [`Node`] is.
#[derive(Clone, Debug)]
pub enum Data {
    /// Keys with their places, in file order.
    Map(Vec<(Key, Node)>),
    /// Items.
    List(Vec<Node>),
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// true or false.
    Bool(bool),
    /// Nothing.
    Null,
}

/// A key of a map.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it begins.
    pub place: Place,
}

/// Deeper than any rule; a hostile file ends here.
const MAX_DEPTH: usize = 64;

/// Where and why a text is not YAML that a rule can be.
pub type SyntaxError = (Place, String);

/// All documents of a text.
///
/// # Errors
/// Where and why it is not YAML.
pub fn documents(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let marker = error.marker();
        (Place { line: marker.line(), column: marker.col() + 1 }, error.info().to_owned())
    })?;
    // Spans count characters, not bytes.
    let reader = Reader { source: text.chars().collect() };
    documents.iter().map(|document| reader.node(document, 0)).collect()
}

struct Reader {
    source: Vec<char>,
}

impl Reader {
    fn node(&self, yaml: &MarkedYaml<'_>, depth: usize) -> Result<Node, SyntaxError> {
        let place = Place { line: yaml.span.start.line(), column: yaml.span.start.col() + 1 };
        if depth > MAX_DEPTH {
            return Err((place, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let data = match &yaml.data {
            YamlData::Mapping(members) => {
                let member = |(key, value)| Ok((self.key(key, depth + 1)?, self.node(value, depth + 1)?));
                Data::Map(members.iter().map(member).collect::<Result<_, _>>()?)
            }
            YamlData::Sequence(items) => {
                Data::List(items.iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            YamlData::Value(Scalar::String(text)) => Data::Text(text.to_string()),
            YamlData::Value(Scalar::Integer(number)) => self.number(yaml, &number.to_string(), Data::Integer(*number)),
            YamlData::Value(Scalar::FloatingPoint(number)) => {
                let number = number.into_inner();
                self.number(yaml, &number.to_string(), Data::Float(number))
            }
            YamlData::Value(Scalar::Boolean(flag)) => Data::Bool(*flag),
            YamlData::Tagged(_, inner) => return Ok(Node { place, ..self.node(inner, depth + 1)? }),
            YamlData::Representation(text, ..) => Data::Text(text.to_string()),
            YamlData::Value(Scalar::Null) => Data::Null,
            YamlData::Alias(_) | YamlData::BadValue => return Err((place, "not a value".to_owned())),
        };
        Ok(Node { place, data })
    }

    fn key(&self, yaml: &MarkedYaml<'_>, depth: usize) -> Result<Key, SyntaxError> {
        let node = self.node(yaml, depth)?;
        let text = node.scalar_text().ok_or_else(|| (node.place, "a key must be text".to_owned()))?;
        Ok(Key { text, place: node.place })
    }

    /// A number, or the text of one that is spelled otherwise than it would be written back.
    fn number(&self, yaml: &MarkedYaml<'_>, written_back: &str, number: Data) -> Data {
        let (start, end) = (yaml.span.start.index(), yaml.span.end.index());
        let spelled: String = self.source.get(start..end).unwrap_or_default().iter().collect();
        let spelled = spelled.trim();
        if spelled.is_empty() || spelled == written_back { number } else { Data::Text(spelled.to_owned()) }
    }
}

impl Node {
    /// The members of a map; none of anything else.
    #[must_use]
    pub fn members(&self) -> &[(Key, Node)] {
        match &self.data {
            Data::Map(members) => members,
            _ => &[],
        }
    }

    /// The member of a map with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.members().iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// The place of a key, or of the map if it is not there.
    #[must_use]
    pub fn key_place(&self, key: &str) -> Place {
        self.members().iter().find(|(known, _)| known.text == key).map_or(self.place, |(known, _)| known.place)
    }

    /// The items of a list; the node itself where a single value stands for a list of one.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The text of a scalar, however it is typed.
    #[must_use]
    pub fn scalar_text(&self) -> Option<String> {
        match &self.data {
            Data::Text(text) => Some(text.clone()),
            Data::Integer(number) => Some(number.to_string()),
            Data::Float(number) => Some(number.to_string()),
            Data::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.data {
            Data::Map(members) => members
                .iter()
                .map(|(key, value)| (key.text.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Data::List(items) => items.iter().map(Node::to_json).collect(),
            Data::Text(text) => text.as_str().into(),
            Data::Integer(number) => (*number).into(),
            Data::Float(number) => (*number).into(),
            Data::Bool(flag) => (*flag).into(),
            Data::Null => serde_json::Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_an_editor() {
        let documents = documents("title: x\ndetection:\n  sel:\n    a|re: [1, no]\n---\nb: ~\n").unwrap();
        assert_eq!(documents.len(), 2);
        let sel = documents[0].get("detection").unwrap().get("sel").unwrap();
        assert_eq!(sel.key_place("a|re"), Place { line: 4, column: 5 });
        assert_eq!(sel.get("a|re").unwrap().items()[1].place, Place { line: 4, column: 15 });
        assert_eq!(documents[1].key_place("b"), Place { line: 6, column: 1 });
        let (place, _) = super::documents("a: [1\nb: 2\n").unwrap_err();
        assert!(place.line >= 1);
    }

    #[test]
    fn numbers_are_what_is_written() {
        let written = |yaml: &str| documents(yaml).unwrap().remove(0).get("é").unwrap().scalar_text().unwrap();
        for text in ["012345678901", "123456789012", "1.10", "1.08", "1.0", "0x1F", "+5", "-7", "1e3", "000"] {
            assert_eq!(written(&format!("é: {text}\nz: 1\n")), text);
            assert_eq!(written(&format!("{{é: {text} , z: 1}} # c\n")), text);
        }
        let listed = documents("- [012, 12]").unwrap().remove(0);
        let data: Vec<_> = listed.items()[0].items().iter().map(|item| format!("{:?}", item.data)).collect();
        assert_eq!(data, ["Text(\"012\")", "Integer(12)"]);
    }

    #[test]
    fn too_deep_and_odd_keys_are_refused_with_their_place() {
        let deep = format!("a: {}x{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(documents(&deep).unwrap_err().1, "nested deeper than 64 levels");
        assert_eq!(documents("{[a, b]: c}").unwrap_err(), (Place { line: 1, column: 2 }, "a key must be text".into()));
        assert!(documents("a: 1\na: 2\n").unwrap_err().1.contains("duplicate"));
        assert!(documents("a: *b\n").is_err());
    }
}
