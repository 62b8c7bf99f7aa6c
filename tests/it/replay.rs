//! `kmswatch replay` as a person runs it: what it finds, prints, and tells its caller.

use std::collections::BTreeSet;
use std::path::Path;

use assert_cmd::Command;
use kmswatch::alert::Alert;
use serde_json::Value;

const MORNING: &str = "tests/captures/morning";

fn kmswatch() -> Command {
    let mut command = Command::cargo_bin("kmswatch").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn replay(arguments: &[&str]) -> (i32, String, String) {
    let output = kmswatch().arg("replay").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn alerts(arguments: &[&str]) -> Vec<Alert> {
    let (_, out, _) = replay(&[arguments, &["--format", "jsonl"]].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_planted_attack_is_found_and_nothing_else() {
    let truth: Value = serde_json::from_str(&std::fs::read_to_string("tests/captures/truth.json").unwrap()).unwrap();
    let expected: BTreeSet<_> = truth["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            ["level", "title", "count", "first", "last"].map(|name| one[name].to_string().replace('"', "")).join(" | ")
        })
        .collect();
    let found: BTreeSet<_> = alerts(&[MORNING, "--keys", "tests/keys.yml"])
        .iter()
        .map(|alert| {
            let (first, last) = (alert.first_event_time, alert.last_event_time);
            format!("{} | {} | {} | {first} | {last}", alert.level, alert.rule.title, alert.count)
        })
        .collect();
    assert_eq!(found, expected);

    let (code, out, err) = replay(&[MORNING, "--keys", "tests/keys.yml"]);
    let counts = &truth["counts"];
    assert_eq!(code, 1);
    assert!(out.contains(&format!("records: {} received", counts["records"])), "{out}");
    assert!(out.contains(&format!("{} duplicate", counts["duplicate_copies"])), "{out}");
    assert!(out.contains(&format!("{} unreadable\n", counts["unreadable"])), "{out}");
    assert!(
        err.contains("broken.jsonl: record 2, line 2 column 1") && err.contains("'yesterday' is not a time"),
        "{err}"
    );
}

#[test]
fn threads_and_order_of_files_do_not_show() {
    let one = replay(&[MORNING, "--keys", "tests/keys.yml", "--format", "jsonl", "--threads", "1"]).1;
    let many = replay(&[MORNING, "--keys", "tests/keys.yml", "--format", "jsonl", "--threads", "7"]).1;
    assert_eq!(one, many);
    let mut files: Vec<_> = kmswatch::source::capture::files_under(Path::new(MORNING)).unwrap();
    files.reverse();
    let mut reversed: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    reversed.extend(["--keys", "tests/keys.yml", "--format", "jsonl"]);
    assert_eq!(replay(&reversed).1, one);
}

/// Found on a file with its newest records first: the alert came without evidence.
#[test]
fn the_order_within_a_file_does_not_show_either() {
    let dir = tempfile::tempdir().unwrap();
    let record = |n: usize| {
        format!(
            r#"{{"eventVersion":"1.11","eventID":"e{n}","eventTime":"2026-01-05T10:00:{n:02}Z","eventSource":"kms.amazonaws.com","eventName":"DisableKey","resources":[{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/k"}}]}}"#
        )
    };
    let mut written = Vec::new();
    for (name, order) in [("forwards", (0..40).collect::<Vec<_>>()), ("backwards", (0..40).rev().collect())] {
        let path = dir.path().join(name);
        std::fs::write(&path, order.into_iter().map(record).collect::<Vec<_>>().join("\n")).unwrap();
        written.push(alerts(&[path.to_str().unwrap()]));
    }
    assert_eq!(written[0], written[1]);
    assert_eq!((written[0][0].count, written[0][0].evidence.len()), (40, 3));
}

#[test]
fn alerts_leave_without_context_values_unless_asked() {
    let arguments = [MORNING, "--keys", "tests/keys.yml"];
    let redacted = replay(&[&arguments[..], &["--format", "jsonl"]].concat()).1;
    assert!(!redacted.contains("secret:app/") && redacted.contains("redacted:"));
    let whole = replay(&[&arguments[..], &["--format", "jsonl", "--no-redaction"]].concat()).1;
    assert!(whole.contains("secret:app/"));
}

#[test]
fn windows_and_levels_narrow() {
    let titles =
        |arguments: &[&str]| alerts(arguments).iter().map(|alert| alert.rule.title.clone()).collect::<Vec<_>>();
    let after = [MORNING, "--since", "2026-01-05T10:18:00Z"];
    assert_eq!(titles(&after), ["Deletion of a KMS key cancelled", "Root user uses or changes KMS keys"]);
    assert_eq!(titles(&[MORNING, "--until", "2026-01-05T10:00:00Z"]), Vec::<String>::new());
    assert!(
        alerts(&[MORNING, "--level", "critical"]).iter().all(|alert| alert.level == kmswatch::rule::Level::Critical)
    );
}

#[test]
fn exit_codes_are_an_interface() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = dir.path().join("quiet.jsonl");
    std::fs::write(&quiet, r#"{"eventVersion":"1.11","eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"ListKeys"}"#).unwrap();
    let quiet = quiet.to_str().unwrap();
    let bad_rules = dir.path().join("rules");
    std::fs::create_dir(&bad_rules).unwrap();
    std::fs::write(bad_rules.join("r.yml"), "title: x\n").unwrap();
    assert_eq!(replay(&[quiet]).0, 0);
    assert_eq!(replay(&[MORNING]).0, 1);
    for wrong in [
        &["--no-such-flag"][..],
        &["no/such/path"],
        &[quiet, "--since", "soon"],
        &[quiet, "--rules", bad_rules.to_str().unwrap()],
        &[quiet, "--keys", "Cargo.toml"],
    ] {
        let (code, _, err) = replay(wrong);
        assert_eq!(code, 2, "{wrong:?}: {err}");
        assert!(!err.is_empty());
    }
    assert_eq!(replay(&[quiet, "--out", "/no/such/folder/out"]).0, 3);
    assert_eq!(kmswatch().output().unwrap().status.code(), Some(2));
    assert_eq!(kmswatch().arg("--version").output().unwrap().status.code(), Some(0));
}

#[test]
fn standard_input_is_a_capture() {
    let record = r#"{"eventVersion":"1.11","eventID":"e","eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"DisableKey"}"#;
    let output = kmswatch().args(["replay", "-", "--format", "text"]).write_stdin(record).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("[HIGH] KMS key disabled\n"));
}

#[test]
fn run_and_replay_find_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("kmswatch.toml");
    let root = env!("CARGO_MANIFEST_DIR");
    let text = format!(
        "[source]\nkind = \"directory\"\npath = \"{root}/{MORNING}\"\n[[sink]]\nkind = \"file\"\npath = \"{0}/alerts.jsonl\"\n[state]\ndir = \"{0}/state\"\n[keys]\nfile = \"{root}/tests/keys.yml\"\n",
        dir.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let run = || kmswatch().args(["run", "--once", "--config", config.to_str().unwrap()]).output().unwrap();
    let first = run();
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let sent = std::fs::read_to_string(dir.path().join("alerts.jsonl")).unwrap();
    let opened = sent.lines().map(|line| serde_json::from_str::<Alert>(line).unwrap());
    let live: BTreeSet<_> = opened.map(|alert| (alert.rule.title, alert.dedup_key)).collect();
    let of_aws = live.into_iter().filter(|(title, _)| title != "kmswatch received something that it cannot read");
    let replayed =
        alerts(&[MORNING, "--keys", "tests/keys.yml"]).into_iter().map(|alert| (alert.rule.title, alert.dedup_key));
    assert_eq!(of_aws.collect::<BTreeSet<_>>(), replayed.collect::<BTreeSet<_>>());
    let again = run();
    assert!(String::from_utf8(again.stderr).unwrap().contains("records: 0 received"), "what is done is not read again");
}
