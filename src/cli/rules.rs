//! Reads rules and inventory from disk for the other subcommands.

use std::io::Read;
use std::path::Path;

use super::Usage;
use crate::keys::inventory::Inventory;
use crate::rule::diagnostic::{Code, Severity};
use crate::rule::placeholders::Placeholders;
use crate::rule::{Compiled, RuleSet, RuleText, pack};
use crate::source::capture::files_under;

/// A rule file is never this long, nor is an inventory of 50,000 keys.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The rule texts of a folder or file; the shipped ones without one.
///
/// # Errors
/// When something cannot be read, or there are no rules.
pub fn texts(dir: Option<&Path>) -> anyhow::Result<Vec<RuleText>> {
    let Some(dir) = dir else { return Ok(pack::shipped()) };
    let files = files_under(dir).map_err(|error| Usage(error.to_string()))?;
    let is_rule = |path: &Path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
    let mut texts = Vec::new();
    for file in files.iter().filter(|file| is_rule(file) || *file == dir) {
        let path = file.strip_prefix(dir).ok().filter(|path| !path.as_os_str().is_empty()).unwrap_or(file);
        texts.push(RuleText { path: path.to_string_lossy().into_owned(), text: read_text(file)? });
    }
    if texts.is_empty() {
        anyhow::bail!(Usage(format!("{}: no rules (*.yml) in it", dir.display())));
    }
    Ok(texts)
}

/// The rules of a folder, compiled; mistakes are printed and end the run. What waits for a list of
/// the inventory is told of, for it looks like a rule at work.
///
/// # Errors
/// When they cannot be read or have mistakes.
pub fn load(dir: Option<&Path>, inventory: &Inventory) -> anyhow::Result<RuleSet> {
    let Compiled { rules, diagnostics } = RuleSet::compile_with(&texts(dir)?, &Placeholders::of(inventory));
    let Some(rules) = rules else {
        let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
        let said: Vec<_> = errors.map(ToString::to_string).collect();
        anyhow::bail!(Usage(format!("the rules have mistakes\n{}", said.join("\n"))));
    };
    for waiting in diagnostics.iter().filter(|found| found.code == Code::UndefinedPlaceholder) {
        super::say(&waiting.to_string());
    }
    Ok(rules)
}

/// The inventory of a file; an empty one without.
///
/// # Errors
/// When it cannot be read or has mistakes.
pub fn inventory(path: Option<&Path>) -> anyhow::Result<Inventory> {
    let Some(path) = path else { return Ok(Inventory::default()) };
    let text = read_text(path)?;
    Ok(Inventory::parse(&path.display().to_string(), &text).map_err(|error| Usage(error.to_string()))?)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let fail = |error: std::io::Error| Usage(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        anyhow::bail!(Usage(format!("{}: longer than {MAX_FILE_BYTES} bytes", path.display())));
    }
    Ok(text)
}
