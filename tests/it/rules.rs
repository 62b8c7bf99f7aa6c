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

fn kmswatch(args: &[&str]) -> (i32, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kmswatch"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn check_ends_as_it_is_told_to() {
    for (case, deny, code) in [
        ("lint_tags", false, 0),
        ("lint_tags", true, 2),
        ("lint_read_events", true, 0),
        ("lint_unreachable", false, 2),
        ("field_misspelt", false, 2),
    ] {
        let path = format!("tests/golden/rules/{case}");
        let mut args = vec!["check", "--format", "json", &path];
        args.extend(deny.then_some("--deny-warnings"));
        let (ended, said) = kmswatch(&args);
        assert_eq!(ended, code, "{case}: {said}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let first = &said["diagnostics"][0];
        assert!(first["line"].as_u64() > Some(0) && first["column"].as_u64() > Some(0), "{first}");
        let counted = ["errors", "warnings", "notes"].map(|key| said[key].as_u64().unwrap());
        assert_eq!(counted.iter().sum::<u64>() as usize, said["diagnostics"].as_array().unwrap().len());
    }
}

#[test]
fn test_writes_junit_and_a_filter_that_fits_nothing_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("rules.xml");
    let (ended, said) = kmswatch(&["test", "--filter", "GRANTS/", "--junit", junit.to_str().unwrap()]);
    assert!(ended == 0 && said.contains("FAMILY") && said.contains("grants  "), "{said}");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains(r#"<testsuite name="grants/"#) && !xml.contains(r#"<testsuite name="alias/"#), "{xml}");
    assert_eq!(kmswatch(&["test", "--filter", "no such rule"]).0, 2);

    let broken =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/grants/grant_to_another_account.yml"));
    let broken = broken
        .unwrap()
        .replace("    fires:\n", "    fires:\n      - {eventSource: s3.amazonaws.com, eventName: Decrypt}\n");
    let rule = dir.path().join("rule.yml");
    fs::write(&rule, broken).unwrap();
    let junit = dir.path().join("broken.xml");
    let (ended, said) = kmswatch(&["test", rule.to_str().unwrap(), "--junit", junit.to_str().unwrap()]);
    assert!(ended == 1 && said.contains("fires[0]: this example should open an incident and does not"), "{said}");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains(r#"failures="1""#) && xml.contains("rule.yml:"), "{xml}");
}

#[test]
fn rules_are_listed_in_every_format() {
    for (format, expected) in [
        ("table", "KMS key disabled"),
        ("json", r#""techniques""#),
        ("navigator", r#""techniqueID""#),
        ("coverage", "WHATEVER THE CALL"),
        ("controls", "PCI-DSS-4.0.1:3.7.5"),
        ("markdown", "## What of KMS is watched"),
    ] {
        let (ended, said) = kmswatch(&["rules", "--format", format]);
        assert!(ended == 0 && said.contains(expected), "{format}");
    }
}
