//! `explain` and `keys show`, whole, as a person sees them: `tests/golden/{explain,keys_show}/<case>`
//! with what is typed in `args`, a word a line, and what is said in `expected.txt`.
//!
//! `BLESS=1 cargo nextest run` writes what is said now; read the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kmswatch")).current_dir(dir).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn golden(name: &str) {
    let root = folder(name);
    let bless = std::env::var_os("BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("args").exists());
    cases.sort();
    assert!(cases.len() >= 5, "{}", cases.len());
    let mut different = Vec::new();
    for case in cases {
        let args = fs::read_to_string(case.join("args")).unwrap();
        let (code, out, err) = run(&root, &args.lines().collect::<Vec<_>>());
        let said = format!("{out}{err}exit {code}\n");
        let odd = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!said.contains(odd), "{}: text of records goes to the terminal: {said:?}", case.display());
        assert!(!said.contains("4711") || args.contains("--no-redaction"), "{}: {said}", case.display());
        let expected = case.join("expected.txt");
        if bless {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            different.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(different.is_empty(), "other than expected; BLESS=1 takes it over\n{}", different.join("\n"));
}

#[test]
fn records_are_explained_as_expected() {
    golden("explain");
}

#[test]
fn keys_are_shown_as_expected() {
    golden("keys_show");
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_goes_on() {
    let root = folder("explain");
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(root.join("never/event.json")).unwrap();
    let file = dir.path().join("events.jsonl");
    fs::write(&file, format!("{{\"eventTime\": \n{good}{{\"eventVersion\":\"1\",\"eventTime\":\"soon\"}}\n")).unwrap();
    let (code, out, err) = run(&root, &["explain", file.to_str().unwrap(), "--rules", "rules", "--keys", "keys.yml"]);
    assert_eq!(code, 3, "{err}");
    assert!(out.contains("role/developer-ann") && err.contains("is not a time"), "{out}\n{err}");
    fs::write(&file, "").unwrap();
    assert_eq!(run(&root, &["explain", file.to_str().unwrap()]).0, 3);
    assert_eq!(run(&root, &["explain", "no/such/file"]).0, 2);
    assert_eq!(run(&root, &["keys", "show"]).0, 2);
    assert_eq!(run(&root, &["keys", "show", "--snapshot", "keys.yml"]).0, 2);
}

/// The state of the service: read while it stands still, and said to be in use while it does not.
#[test]
fn the_state_of_the_service_is_read_while_it_stands_still() {
    use kmswatch::event::record::decode;
    use kmswatch::keys::picture::change::{changes_of, stamp_of};
    use kmswatch::keys::picture::{Picture, PictureLimits};
    use kmswatch::store::redb::RedbStore;
    use kmswatch::store::{Commit, StateDelta, StateStore as _};

    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state/state/state.redb");
    let config = dir.path().join("kmswatch.toml");
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/kmswatch.toml")).unwrap();
    let example = example.replace("target/local", dir.path().join("state").to_str().unwrap());
    fs::write(&config, example).unwrap();
    let show = || {
        run(
            Path::new(env!("CARGO_MANIFEST_DIR")),
            &["keys", "show", "alias/vault-old", "--config", config.to_str().unwrap()],
        )
    };
    let (code, _, err) = show();
    assert!(code == 2 && err.contains("no state"), "{code} {err}");

    let mut picture = Picture::new(PictureLimits::default());
    let captures = fs::read_to_string(folder("keys_show").join("captures.jsonl")).unwrap();
    for line in captures.lines() {
        let record = decode(line, &kmswatch::event::field::Projection::fixed()).unwrap();
        for change in changes_of(&record) {
            picture.apply(&stamp_of(&record), change);
        }
    }
    let store = RedbStore::open(&state).unwrap();
    let rows = picture.take_rows().into_iter();
    let deltas = rows.map(|(key, value)| StateDelta { key, value }).collect();
    store.commit(&Commit { deltas, outbox: Vec::new() }).unwrap();
    let (code, _, err) = show();
    assert!(code == 3 && err.contains("in use by a running kmswatch; stop it"), "{code} {err}");
    drop(store);
    let (code, out, err) = show();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("PendingDeletion since 2026-01-05T09:40:00Z") && out.contains("role/partner"), "{out}");
}
