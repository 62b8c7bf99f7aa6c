//! Where in the text a test of a condition stands. Predicates have no places; the tree has.

use crate::rule::document::Document;
use crate::rule::locate::{Node, Place};

/// The value that a test of `path` compares with, or its key where the value is not found.
pub(super) fn of_value(document: &Document<'_>, path: &str, text: &str) -> Option<(Place, String)> {
    let mut key_place = None;
    let mut found = None;
    for root in conditions(document) {
        visit(root, path, &mut |key, value| {
            key_place.get_or_insert(key);
            let fits =
                |item: &&Node| item.scalar_text().is_some_and(|value| value.to_lowercase() == text.to_lowercase());
            if let (None, Some(item)) = (&found, value.items().iter().find(fits)) {
                found = Some((item.place, item.scalar_text().unwrap_or_default()));
            }
        });
    }
    found.or(key_place.map(|place| (place, text.to_owned())))
}

/// The first key that tests `path`.
pub(super) fn of_key(document: &Document<'_>, path: &str) -> Option<Place> {
    let mut found = None;
    for root in conditions(document) {
        visit(root, path, &mut |key, _| {
            found.get_or_insert(key);
        });
    }
    found
}

/// The `condition` of the detection, else the document.
pub(super) fn of_condition(document: &Document<'_>) -> Place {
    let block = document.node.get("detection").or_else(|| document.node.get("filter"));
    block.and_then(|block| block.get("condition")).map_or(document.place, |condition| condition.place)
}

/// Where selections stand. Examples look like them and are none.
fn conditions<'d>(document: &'d Document<'_>) -> impl Iterator<Item = &'d Node> {
    let node = &document.node;
    let resolve = node.get("kmswatch").and_then(|block| block.get("resolve"));
    [node.get("detection"), node.get("filter"), resolve].into_iter().flatten()
}

fn visit<'n>(node: &'n Node, path: &str, see: &mut impl FnMut(Place, &'n Node)) {
    for (key, value) in node.members() {
        if key.text.split('|').next() == Some(path) {
            see(key.place, value);
        }
        visit(value, path, see);
    }
    if let crate::rule::locate::Data::List(items) = &node.data {
        for item in items {
            visit(item, path, see);
        }
    }
}
