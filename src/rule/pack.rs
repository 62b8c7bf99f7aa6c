//! The shipped rules, built into the binary, so that it runs from any folder.

use include_dir::{Dir, include_dir};

use super::RuleText;

static RULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rules");

/// The texts of the shipped rules, by path.
#[must_use]
pub fn shipped() -> Vec<RuleText> {
    let mut texts = Vec::new();
    collect(&RULES, &mut texts);
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    texts
}

fn collect(dir: &Dir<'_>, into: &mut Vec<RuleText>) {
    for file in dir.files() {
        let path = file.path().to_string_lossy().into_owned();
        if let (true, Some(text)) = (path.ends_with(".yml"), file.contents_utf8()) {
            into.push(RuleText { path, text: text.to_owned() });
        }
    }
    for inner in dir.dirs() {
        collect(inner, into);
    }
}
