//! What is said of broken rules, whole, as a person sees it: `tests/golden/rules/<case>/`.
//!
//! `BLESS=1 cargo nextest run` writes what is said now; read the difference before committing it.

use std::fs;
use std::path::Path;

use kmswatch::rule::{RuleSet, RuleText};

#[test]
fn broken_rules_are_told_of_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules");
    let bless = std::env::var_os("BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 15, "{}", cases.len());
    let mut different = Vec::new();
    for case in cases {
        let text = fs::read_to_string(case.join("rule.yml")).unwrap();
        let compiled = RuleSet::compile(&[RuleText { path: "rule.yml".to_owned(), text }]);
        assert!(compiled.rules.is_none(), "{} is not broken", case.display());
        let said: String = compiled.diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
        let expected = case.join("expected.txt");
        if bless {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            different.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(different.is_empty(), "other than expected; BLESS=1 takes it over\n{}", different.join("\n"));
}
