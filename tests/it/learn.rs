//! `kmswatch keys learn` as a person runs it: the inventory, the seeds, the comparison, what is told.

use std::fmt::Write as _;
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

fn kmswatch(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("kmswatch").unwrap().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn record(number: usize, day: usize, role: &str, operation: &str) -> Value {
    json!({
        "eventID": format!("e-{number}"), "eventTime": format!("2026-01-{day:02}T10:00:00Z"),
        "eventSource": "kms.amazonaws.com", "eventName": operation, "awsRegion": "eu-west-1",
        "recipientAccountId": "111122223333", "sourceIPAddress": "203.0.113.7",
        "userIdentity": {"type": "AssumedRole", "accountId": "111122223333",
            "sessionContext": {"sessionIssuer": {"arn": format!("arn:aws:iam::111122223333:role/{role}")}}},
        "resources": [{"ARN": "arn:aws:kms:eu-west-1:111122223333:key/k-1", "accountId": "111122223333"}],
    })
}

/// Three weeks of one role, a visitor, a list of keys each day; written in two files that overlap.
fn captures(folder: &Path) -> String {
    let mut lines = Vec::new();
    for day in 1..22 {
        lines.push(record(day, day, "pay", "Decrypt").to_string());
        lines.push(record(100 + day, day, "auditor", "ListKeys").to_string());
    }
    lines.push(record(200, 9, "visitor", "Decrypt").to_string());
    let captures = folder.join("captures");
    std::fs::create_dir(&captures).unwrap();
    std::fs::write(captures.join("a.jsonl"), lines[..30].join("\n")).unwrap();
    let rest = lines[20..].iter().rev().cloned().collect::<Vec<_>>().join("\n");
    std::fs::write(captures.join("b.jsonl"), format!("{rest}\n{{\"eventVersion\":\"1.11\"}}\n")).unwrap();
    captures.to_str().unwrap().to_owned()
}

#[test]
fn an_inventory_and_seeds_come_out_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let captures = captures(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (keys, seeds) = (path("keys.yml"), path("seeds.jsonl"));

    let (code, out, err) = kmswatch(&["keys", "learn", &captures]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("# 21 uses on 21 days, last 2026-01-21\n"), "{out}");
    assert!(out.contains("# rare: 1 use on 1 day, last 2026-01-09, review\n"), "{out}");
    assert!(err.contains("b.jsonl: record 24: no `eventTime`"), "{err}");
    assert!(err.contains("54 received = 43 applied + 10 duplicate + 0 filtered + 0 late + 1 unreadable"), "{err}");
    for threads in ["1", "4"] {
        assert_eq!(kmswatch(&["keys", "learn", &captures, "--threads", threads]).1, out);
    }

    let write = ["keys", "learn", &captures, "--out", &keys, "--seeds", &seeds];
    assert_eq!(kmswatch(&write).0, 0);
    assert_eq!(std::fs::read_to_string(&keys).unwrap(), out);
    let (code, _, err) = kmswatch(&write);
    assert!(code == 2 && err.contains("keys.yml: is there already; give --force"), "{err}");
    assert_eq!(kmswatch(&[&write[..], &["--force"]].concat()).0, 0);
    let (code, _, err) = kmswatch(&["check", "--keys", &keys]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_replay_after_seeds_knows_whom_it_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    let captures = captures(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let seeds = path("seeds.jsonl");
    assert_eq!(kmswatch(&["keys", "learn", &captures, "--out", &path("keys.yml"), "--seeds", &seeds]).0, 0);
    let mut later = String::new();
    for (number, role) in [(300, "auditor"), (301, "nosy")] {
        writeln!(later, "{}", record(number, 25, role, "ListKeys")).unwrap();
    }
    std::fs::write(path("later.jsonl"), later).unwrap();
    let listed = |more: &[&str]| {
        let (_, out, _) = kmswatch(&[&["replay", &path("later.jsonl"), "--format", "jsonl"], more].concat());
        let alerts = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let listers = alerts.filter(|alert| alert["rule"]["title"] == "First listing of KMS keys by a principal");
        listers.map(|alert| alert["principals"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), Vec::<String>::new(), "without seeds it learns in silence");
    assert_eq!(listed(&["--seeds", &seeds]), ["arn:aws:iam::111122223333:role/nosy"]);

    // Of a rule that was changed since, nothing is believed.
    let text = std::fs::read_to_string(&seeds).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let mut head: Value = serde_json::from_str(head).unwrap();
    head["rules"].as_object_mut().unwrap().values_mut().for_each(|hash| *hash = json!("0"));
    std::fs::write(path("old.jsonl"), format!("{head}\n{rest}")).unwrap();
    let (_, _, err) = kmswatch(&["replay", &path("later.jsonl"), "--seeds", &path("old.jsonl")]);
    assert!(err.contains("First listing of KMS keys by a principal: the rule was changed since"), "{err}");
    let (code, _, err) = kmswatch(&["replay", &path("later.jsonl"), "--seeds", &path("later.jsonl")]);
    assert!(code == 2 && err.contains("later.jsonl: line 1: no head of a file of seeds"), "{err}");
}

#[test]
fn drift_is_a_table_or_json_and_ends_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let captures = captures(folder.path());
    let keys = folder.path().join("keys.yml");
    std::fs::write(
        &keys,
        "domains:
  - name: vault
    keys: [k-1]
    expect:
      - {principals: ['arn:aws:iam::111122223333:role/pay'], operations: [Decrypt, Encrypt]}
",
    )
    .unwrap();
    let diff = ["keys", "learn", &captures, "--diff", keys.to_str().unwrap()];
    let (code, out, err) = kmswatch(&diff);
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("principal   vault") && out.contains("role/visitor (111122223333) Decrypt on arn"), "{out}");
    assert!(out.contains("line 5") && out.contains("operation Encrypt"), "{out}");
    let (_, out, _) = kmswatch(&[&diff[..], &["--format", "json"]].concat());
    let drift: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&drift["unexpected"][0]["new"], &drift["unexpected"][0]["seen"]["uses"]),
        (&json!("principal"), &json!(1))
    );
    assert_eq!(drift["never_seen"][0]["what"], "operation Encrypt");

    std::fs::write(&keys, "domains: [{name: vault, keys: [k-1], expect: [{principals: ['*'], operations: ['*']}]}]")
        .unwrap();
    let (code, out, _) = kmswatch(&diff);
    assert_eq!((code, out.as_str()), (0, "What was seen and what the inventory expects are the same.\n"));
    let (code, _, err) = kmswatch(&["keys", "learn", &captures, "--format", "json"]);
    assert!(code == 2 && err.contains("--diff"), "{err}");
}
