//! What is said of rules that are broken or unwise, whole, as a person sees it:
//! `tests/golden/rules/<case>/**.yml` and `expected.txt` beside them.
//!
//! `BLESS=1 cargo nextest run` writes what is said now; read the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

use kmswatch::rule::{RuleSet, RuleText};

fn rules_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rules_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            found.push(path);
        }
    }
}

fn texts(case: &Path) -> Vec<RuleText> {
    let mut files = Vec::new();
    rules_below(case, &mut files);
    files.sort();
    let text = |file: &PathBuf| RuleText {
        path: file.strip_prefix(case).unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(file).unwrap(),
    };
    files.iter().map(text).collect()
}

#[test]
fn rules_are_told_of_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules");
    let bless = std::env::var_os("BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let mut broken = 0;
    let mut different = Vec::new();
    for case in cases {
        let compiled = RuleSet::compile(&texts(&case));
        let is_lint = case.file_name().unwrap().to_str().unwrap().starts_with("lint_");
        broken += usize::from(compiled.rules.is_none());
        assert!(is_lint || compiled.rules.is_none(), "{} is not broken", case.display());
        assert!(!compiled.diagnostics.is_empty(), "nothing is said of {}", case.display());
        let said: String = compiled.diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
        let expected = case.join("expected.txt");
        if bless {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            different.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(broken >= 20, "{broken}");
    assert!(different.is_empty(), "other than expected; BLESS=1 takes it over\n{}", different.join("\n"));
}
