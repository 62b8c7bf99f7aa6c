//! What is said of a changed key policy: `tests/golden/policies/<case>/old.json` (missing where the
//! policy before is not known; `"default"` is what KMS gives a key) and `new.json` make the sentence
//! and the lines of `expected.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use kmswatch::event::policy::{Policy, PolicyDiff, diff, read};

const OWNER: &str = "111122223333";

fn policy(path: &Path) -> Option<Policy> {
    let text = fs::read_to_string(path).ok()?;
    if text.trim() == "\"default\"" {
        return Some(Policy::default_of(OWNER));
    }
    Some(Policy::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policies");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn changed(case: &Path) -> PolicyDiff {
    let new = policy(&case.join("new.json")).expect("a case has new.json");
    diff(policy(&case.join("old.json")).as_ref(), &new, Some(OWNER))
}

#[test]
fn changes_are_told_as_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 20, "{}", cases.len());
    let mut different = Vec::new();
    for case in cases {
        let diff = changed(&case);
        let new = policy(&case.join("new.json")).unwrap();
        let block = |title: &str, lines: Vec<String>| {
            format!("{title}\n{}", lines.into_iter().map(|line| format!("  {line}\n")).collect::<String>())
        };
        let said = [
            format!("{}\n", diff.sentence()),
            block("the change", diff.lines()),
            block("the policy", new.in_words(Some(OWNER))),
        ]
        .join("\n");
        let expected = case.join("expected.txt");
        if bless {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            different.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(different.is_empty(), "other than expected; BLESS=1 takes it over\n{}", different.join("\n"));
}

/// The alert's sentence and the fields that rules read say the same.
#[test]
fn the_sentence_agrees_with_the_facts() {
    for case in cases() {
        let facts = read(&fs::read_to_string(case.join("new.json")).unwrap(), Some(OWNER)).unwrap();
        let diff = changed(&case);
        let place = case.display();
        assert!(diff.opened.is_empty() || facts.public, "{place}");
        assert!(!diff.closed || !facts.public, "{place}");
        assert!(!diff.locks_owner_out || facts.owner_locked_out, "{place}");
        assert!(diff.external_gained.is_subset(&facts.external_accounts), "{place}");
        assert!(diff.external_lost.is_disjoint(&facts.external_accounts), "{place}");
        assert_ne!(diff.opened.is_empty(), diff.sentence().starts_with("opens the key to everybody"), "{place}");
    }
}

/// No change of a policy to itself, and of no policy longer than a pager shows.
#[test]
fn a_policy_is_no_change_to_itself_and_a_sentence_is_short() {
    for case in cases() {
        let new = policy(&case.join("new.json")).unwrap();
        let same = diff(Some(&new), &new, Some(OWNER));
        assert!(same.is_empty() && same.sentence() == "changes nothing that counts", "{}", case.display());
        assert!(changed(&case).sentence().chars().count() <= 1000, "{}", case.display());
    }
}
