//! YAML as a tree that knows its places, so that every mistake can be pointed at.
//!
//! The Sigma parser gives an AST without places; this tree runs beside it.

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

/// All documents of a text.
///
/// # Errors
/// Where and why it is not YAML.
pub fn documents(text: &str) -> Result<Vec<Node>, (Place, String)> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let marker = error.marker();
        (Place { line: marker.line(), column: marker.col() + 1 }, error.info().to_owned())
    })?;
    Ok(documents.iter().map(|document| node(document, 0)).collect())
}

fn node(yaml: &MarkedYaml<'_>, depth: usize) -> Node {
    let place = Place { line: yaml.span.start.line(), column: yaml.span.start.col() + 1 };
    let data = match &yaml.data {
        _ if depth > MAX_DEPTH => Data::Null,
        YamlData::Mapping(members) => Data::Map(
            members
                .iter()
                .map(|(key, value)| {
                    let named = node(key, depth + 1);
                    (Key { text: named.scalar_text().unwrap_or_default(), place: named.place }, node(value, depth + 1))
                })
                .collect(),
        ),
        YamlData::Sequence(items) => Data::List(items.iter().map(|item| node(item, depth + 1)).collect()),
        YamlData::Value(Scalar::String(text)) => Data::Text(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Data::Integer(*number),
        YamlData::Value(Scalar::FloatingPoint(number)) => Data::Float(number.into_inner()),
        YamlData::Value(Scalar::Boolean(flag)) => Data::Bool(*flag),
        YamlData::Tagged(_, inner) => return Node { place, ..node(inner, depth + 1) },
        YamlData::Representation(text, ..) => Data::Text(text.to_string()),
        YamlData::Value(Scalar::Null) | YamlData::Alias(_) | YamlData::BadValue => Data::Null,
    };
    Node { place, data }
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
}
