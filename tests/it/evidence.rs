//! `kmswatch evidence` as an auditor runs it: who used a key, who changed it, what was denied.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

const MORNING: &str = "tests/captures/morning";
const VAULT: &str = "arn:aws:kms:eu-west-1:111122223333:key/00000001-0000-4000-8000-000000000000";
const FRAUD: &str = "arn:aws:kms:eu-west-1:111122223333:key/00000002-0000-4000-8000-000000000000";

fn evidence(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("kmswatch").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.arg("evidence").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn rows(arguments: &[&str]) -> Vec<Value> {
    let (code, out, err) = evidence(&[arguments, &["--format", "jsonl"]].concat());
    assert_eq!(code, 0, "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Records on disk; what `fields` gives replaces or joins an ordinary Decrypt of the vault's key.
struct Captures {
    dir: tempfile::TempDir,
    lines: Vec<String>,
}

impl Captures {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), lines: Vec::new() }
    }

    fn add(&mut self, second: usize, name: &str, fields: Value) -> &mut Self {
        let mut record = json!({
            "eventVersion": "1.11",
            "eventID": format!("e-{}", self.lines.len()),
            "eventTime": format!("2026-01-05T10:{:02}:{:02}Z", second / 60, second % 60),
            "eventSource": "kms.amazonaws.com",
            "eventName": name,
            "awsRegion": "eu-west-1",
            "recipientAccountId": "111122223333",
            "sourceIPAddress": "203.0.113.7",
            "userAgent": "aws-cli/2.15 md/x",
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ann", "accountId": "111122223333", "userName": "ann"},
        });
        for (field, value) in fields.as_object().unwrap() {
            record[field] = value.clone();
        }
        self.lines.push(record.to_string());
        self
    }

    fn file(&self) -> String {
        let path = self.dir.path().join("records.jsonl");
        std::fs::write(&path, self.lines.join("\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn on(arn: &str) -> Value {
    json!([{"ARN": arn, "accountId": "111122223333", "type": "AWS::KMS::Key"}])
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["event_id"].as_str().unwrap()).collect()
}

#[test]
fn a_key_can_stand_before_the_paths() {
    let by_option = rows(&["who-used", "--key", "domain:token-vault", MORNING, "--keys", "tests/keys.yml"]);
    assert_eq!(rows(&["who-used", "domain:token-vault", MORNING, "--keys", "tests/keys.yml"]), by_option);
    let every = rows(&["denied", MORNING]);
    let on_one =
        rows(&["denied", "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-4000-8000-000000000000", MORNING]);
    assert!(!on_one.is_empty() && on_one.len() < every.len(), "{} of {}", on_one.len(), every.len());
    for nameless in [&["who-used", MORNING][..], &["who-changed", "--lake-sql"]] {
        let (code, _, err) = evidence(nameless);
        assert_eq!(code, 2, "{err}");
    }
}

#[test]
fn the_theft_in_the_morning_is_told_with_its_people_and_places() {
    let used = rows(&["who-used", "--key", "domain:token-vault", MORNING, "--keys", "tests/keys.yml"]);
    let strangers: Vec<_> = used.iter().filter(|row| row["expected"] == json!(false)).collect();
    let who: Vec<_> = strangers.iter().map(|row| (row["human"].as_str().unwrap(), &row["outcome"])).collect();
    // Three by the thief, one by the developer, four by the payments role against a key pending deletion.
    assert_eq!(who.iter().filter(|(human, _)| *human == "job-77").count(), 3);
    assert_eq!(who.iter().filter(|(human, _)| *human == "dev").count(), 1);
    let thief = strangers.iter().find(|row| row["human"] == "job-77").unwrap();
    assert_eq!(thief["principal"], "arn:aws:iam::111122223333:role/batch-export");
    assert_eq!((&thief["context"]["purpose"], &thief["domain"]), (&json!("detokenisation"), &json!("token-vault")));
    assert_eq!(thief["source"], "203.0.113.10");
    let file = thief["found"][0]["file"].as_str().unwrap();
    assert!(Path::new(file).exists() && thief["found"][0]["record"].as_u64().unwrap() > 0);

    let changed = rows(&["who-changed", "--key", VAULT, MORNING]);
    let said: Vec<_> = changed.iter().map(|row| row["change"].as_str().unwrap()).collect();
    assert_eq!(
        said,
        ["to be deleted after 7 days, about 2026-01-12T10:15:20Z", "deletion cancelled; the key stays disabled"]
    );
    assert_eq!(changed[1]["human"], "root of 111122223333");

    let denied = rows(&["denied", MORNING, "--principal", "batch-export"]);
    assert_eq!(denied.len(), 24);
    assert!(denied.iter().all(|row| row["denied_by"] == "no identity-based policy allows it"), "{}", denied[0]);
}

#[test]
fn rows_are_in_order_whatever_the_files_and_threads() {
    let mut files: Vec<PathBuf> = kmswatch::source::capture::files_under(Path::new(MORNING)).unwrap();
    let question = ["who-used", "--key", "alias/banking-token-vault-key", "--keys", "tests/keys.yml"];
    for format in ["jsonl", "csv", "table"] {
        let ask = |more: &[&str]| {
            let (code, out, _) = evidence(&[&question, more, &["--format", format]].concat());
            assert_eq!(code, 0);
            out
        };
        let one = ask(&[MORNING, "--threads", "1"]);
        assert_eq!(ask(&[MORNING, "--threads", "7"]), one);
        files.reverse();
        let reversed: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!(ask(&reversed), one);
    }
    let used = rows(&[&question[..], &[MORNING]].concat());
    let order: Vec<_> = used.iter().map(|row| (row["event_time"].to_string(), row["event_id"].to_string())).collect();
    assert!(order.is_sorted() && order.len() > 800);
    assert!(used.iter().any(|row| row["copies"] == 2 && row["found"].as_array().unwrap().len() == 2));
    assert!(used.iter().all(|row| row["copies_differ"] == json!(false)));
}

#[test]
fn an_alias_is_the_key_it_stood_for_at_the_time() {
    let mut captures = Captures::new();
    let alias = "alias/vault";
    let put = |target: &str| json!({"requestParameters": {"aliasName": alias, "targetKeyId": target}, "resources": [{"ARN": format!("arn:aws:kms:eu-west-1:111122223333:{alias}")}, {"ARN": target}]});
    captures
        .add(30, "UpdateAlias", put(FRAUD))
        .add(10, "CreateAlias", put(VAULT))
        .add(5, "Decrypt", json!({"resources": on(VAULT)}))
        .add(20, "Decrypt", json!({"resources": on(VAULT)}))
        .add(40, "Decrypt", json!({"resources": on(VAULT)}))
        .add(41, "Decrypt", json!({"resources": on(FRAUD)}))
        .add(42, "Encrypt", json!({"requestParameters": {"keyId": alias}, "errorCode": "ThrottlingException"}))
        .add(50, "DeleteAlias", json!({"requestParameters": {"aliasName": alias}}))
        .add(60, "Decrypt", json!({"resources": on(FRAUD)}));
    let file = captures.file();
    let used = rows(&["who-used", "--key", alias, &file]);
    assert_eq!(ids(&used), ["e-3", "e-5", "e-6"]);
    // A call that failed under the alias is of the key that it stood for.
    assert_eq!((&used[2]["key"], &used[2]["alias"]), (&json!(FRAUD), &json!(alias)));
    assert_eq!(ids(&rows(&["who-used", "--key", FRAUD, &file])), ["e-5", "e-6", "e-8"]);
    // Who takes an alias off a key changes that key too.
    let changed = rows(&["who-changed", "--key", VAULT, &file]);
    assert_eq!(ids(&changed), ["e-1", "e-0"]);
    let moved =
        "alias/vault moved from key/00000001-0000-4000-8000-000000000000 to key/00000002-0000-4000-8000-000000000000";
    assert_eq!((&changed[1]["change"], &changed[1]["key"]), (&json!(moved), &json!(VAULT)));
    let (_, _, err) = evidence(&["who-used", "--key", alias, &file]);
    let said = "alias/vault in eu-west-1:111122223333: unknown before 2026-01-05T10:00:10Z, key/00000001-0000-4000-8000-000000000000 from 2026-01-05T10:00:10Z, key/00000002-0000-4000-8000-000000000000 from 2026-01-05T10:00:30Z, no key from 2026-01-05T10:00:50Z";
    assert!(err.contains(said), "{err}");
}

#[test]
fn a_key_that_nothing_knows_is_refused_with_what_is_near() {
    for (key, near) in [
        ("00000001-0000-4000-8000-000000000001", "00000001-0000-4000-8000-000000000000"),
        ("arn:aws:kms:eu-west-1:111122223333:key/00000001-0000-4000-8000-00000000000", VAULT),
        ("alias/banking-token-valt-key", "near: alias/banking-token-vault-key"),
        ("domain:token-valt", "near: token-vault"),
        ("vault", "'vault' names no key"),
        ("arn:aws:s3:::bucket", "names no key"),
    ] {
        let (code, out, err) = evidence(&["who-used", "--key", key, MORNING, "--keys", "tests/keys.yml"]);
        assert_eq!((code, out.as_str()), (2, ""), "{key}: {err}");
        assert!(err.contains(near), "{key}: {err}");
    }
    // Known to the bank, and nobody used it: an answer.
    let captures = {
        let mut captures = Captures::new();
        captures.add(0, "ListKeys", json!({}));
        captures
    };
    let (code, out, err) = evidence(&["who-used", "--key", VAULT, "--keys", "tests/keys.yml", &captures.file()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("none: no record read answers the question"), "{out}");
    assert!(err.contains("a key of the inventory; no record read names it"), "{err}");
}

#[test]
fn hostile_text_is_harmless_in_every_format() {
    let mut captures = Captures::new();
    let session = "=HYPERLINK(\"http://x\",\"y\")\u{1b}[2J\u{202e}\r\n,end";
    let identity = json!({"type": "AssumedRole", "arn": format!("arn:aws:sts::111122223333:assumed-role/app/{session}"), "accountId": "111122223333",
        "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::111122223333:role/app"}, "sourceIdentity": session}});
    captures.add(0, "Decrypt", json!({"userIdentity": identity, "resources": on(VAULT), "userAgent": "\t+cmd|' /C calc'!A0",
        "requestParameters": {"encryptionContext": {"@SUM(1)": "-1", "x": "y".repeat(100_000)}}, "errorMessage": "@".repeat(1 << 20), "errorCode": "AccessDenied"}));
    let file = captures.file();
    for format in ["table", "csv", "jsonl"] {
        let (code, out, err) = evidence(&["denied", "--key", VAULT, &file, "--format", format, "--no-redaction"]);
        assert_eq!(code, 0, "{err}");
        let acts = |c: char| (c.is_control() && !matches!(c, '\n' | '\r')) || c == '\u{202e}';
        assert!(!out.contains(acts) && out.len() < 8_000, "{format} {}: {out}", out.len());
        match format {
            "csv" => {
                assert_eq!(out.matches("\r\n").count(), 2, "{out}");
                assert!(out.contains("\"'=HYPERLINK(\"\"http://x\"\",") && out.contains("\"'\u{fffd}+cmd"), "{out}");
                assert!(out.contains("'@SUM(1)=-1") && out.contains("'@@@"), "{out}");
            }
            "jsonl" => {
                let row: Value = serde_json::from_str(&out).unwrap();
                assert_eq!(row["human"], session, "JSON keeps what was said");
            }
            _ => assert!(out.lines().all(|line| line.chars().count() <= 120), "{out}"),
        }
    }
}

#[test]
fn copies_supplements_and_the_two_records_of_a_call_across_accounts() {
    let mut captures = Captures::new();
    let foreign = json!({"type": "AWSAccount", "accountId": "999988887777", "principalId": "AROAX:session-9"});
    captures
        .add(0, "Decrypt", json!({"resources": on(VAULT), "eventID": "owner", "sharedEventID": "s", "userIdentity": foreign}))
        .add(0, "Decrypt", json!({"resources": on(VAULT), "eventID": "caller", "sharedEventID": "s", "recipientAccountId": "999988887777",
            "userIdentity": {"type": "AssumedRole", "accountId": "999988887777", "arn": "arn:aws:sts::999988887777:assumed-role/partner/session-9"}}))
        .add(1, "Decrypt", json!({"resources": on(VAULT), "eventID": "late", "addendum": {"reason": "UPDATED_DATA", "originalEventID": "first"}}))
        .add(2, "Decrypt", json!({"resources": on(VAULT), "eventID": "twice"}))
        .add(2, "Decrypt", json!({"resources": on(VAULT), "eventID": "twice"}))
        .add(2, "Decrypt", json!({"resources": on(VAULT), "eventID": "forged"}))
        .add(2, "Decrypt", json!({"resources": on(VAULT), "eventID": "forged", "sourceIPAddress": "198.51.100.1"}));
    let file = captures.file();
    let used = rows(&["who-used", "--key", VAULT, &file]);
    assert_eq!(ids(&used), ["caller", "owner", "late", "forged", "twice"]);
    assert_eq!((&used[0]["same_call"], &used[1]["same_call"]), (&json!(["owner"]), &json!(["caller"])));
    assert_eq!(
        (&used[1]["human"], &used[1]["human_evidence"]),
        (&json!("session-9"), &json!("session name in principalId"))
    );
    assert_eq!((&used[2]["addendum"], &used[2]["addendum_of"]), (&json!("UPDATED_DATA"), &json!("first")));
    assert_eq!((&used[4]["copies"], &used[4]["copies_differ"]), (&json!(2), &json!(false)));
    assert_eq!(used[3]["copies_differ"], json!(true));
    assert_eq!(used[4]["found"], json!([{"file": file, "record": 4}, {"file": file, "record": 5}]));
    let (_, out, _) = evidence(&["who-used", "--key", VAULT, &file]);
    assert!(out.contains("7 fit, 2 of them copies") && out.contains("1 record came in copies THAT DIFFER"), "{out}");
}

#[test]
fn people_are_known_by_the_best_evidence() {
    let mut captures = Captures::new();
    let role = |name: &str, session: &str, more: Value| {
        let mut context = json!({"sessionIssuer": {"type": "Role", "userName": name, "arn": format!("arn:aws:iam::111122223333:role/{name}")}});
        for (field, value) in more.as_object().unwrap() {
            context[field] = value.clone();
        }
        json!({"type": "AssumedRole", "arn": format!("arn:aws:sts::111122223333:assumed-role/{name}/{session}"), "accountId": "111122223333", "sessionContext": context})
    };
    let identities = [
        (role("app", "s-1", json!({"sourceIdentity": "kim"})), "kim", "sourceIdentity"),
        (role("app", "s-1", json!({})), "s-1", "session name"),
        (
            role("AWSReservedSSO_Admin_0a1b", "kim@bank.example", json!({})),
            "kim@bank.example",
            "Identity Center session name",
        ),
        (
            json!({"type": "IdentityCenterUser", "accountId": "111122223333", "onBehalfOf": {"userId": "u-1", "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-9"}}),
            "d-9/u-1",
            "onBehalfOf",
        ),
        (
            json!({"type": "Root", "arn": "arn:aws:iam::111122223333:root", "accountId": "111122223333"}),
            "root of 111122223333",
            "Root",
        ),
    ];
    for (second, (identity, _, _)) in identities.iter().enumerate() {
        captures.add(second, "Decrypt", json!({"resources": on(VAULT), "userIdentity": identity}));
    }
    captures.add(
        50,
        "Decrypt",
        json!({"resources": on(VAULT), "userIdentity": {"type": "AWSService", "invokedBy": "s3.amazonaws.com"}}),
    );
    let file = captures.file();
    let used = rows(&["who-used", "--key", VAULT, &file]);
    for (row, (_, human, evidence)) in used.iter().zip(&identities) {
        assert_eq!((&row["human"], &row["human_evidence"]), (&json!(human), &json!(evidence)));
    }
    assert_eq!((&used[5]["human"], &used[5]["principal"]), (&Value::Null, &json!("service:s3.amazonaws.com")));
    for (pattern, fitting) in
        [("kim", 1), ("kim*", 2), ("app", 2), ("arn:aws:iam::*:role/app", 2), ("nobody", 0), ("service:*", 1)]
    {
        assert_eq!(rows(&["who-used", "--key", VAULT, &file, "--principal", pattern]).len(), fitting, "{pattern}");
    }
}

#[test]
fn changes_are_told_in_words() {
    let mut captures = Captures::new();
    let policy = |principal: &str| {
        json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"}]})
            .to_string()
    };
    let put = |principal: &str| json!({"resources": on(VAULT), "requestParameters": {"keyId": VAULT, "policy": policy(principal)}});
    let grant = json!({"resources": on(VAULT), "requestParameters": {"granteePrincipal": "arn:aws:iam::999988887777:role/x", "operations": ["Decrypt"]}, "responseElements": {"grantId": "0123456789abcdef"}});
    captures
        .add(0, "PutKeyPolicy", put("arn:aws:iam::111122223333:root"))
        .add(1, "PutKeyPolicy", put("arn:aws:iam::999988887777:root"))
        .add(2, "CreateGrant", grant)
        .add(3, "RevokeGrant", json!({"resources": on(VAULT), "requestParameters": {"grantId": "0123456789abcdef"}}))
        .add(4, "ScheduleKeyDeletion", json!({"errorCode": "AccessDenied", "errorMessage": format!("User: x is not authorized to perform: kms:ScheduleKeyDeletion on resource: {VAULT} with an explicit deny in a service control policy")}))
        .add(5, "GetKeyPolicy", json!({"resources": on(VAULT)}))
        .add(6, "Decrypt", json!({"resources": on(VAULT)}))
        .add(7, "RotateKey", json!({"resources": on(VAULT), "userIdentity": {"accountId": "111122223333", "invokedBy": "AWS Internal"}, "serviceEventDetails": {"keyId": "x", "rotationType": "AUTOMATIC"}}))
        .add(8, "InventedOperation", json!({"resources": on(VAULT)}))
        .add(9, "ReplicateKey", json!({"resources": on(FRAUD), "requestParameters": {"keyId": FRAUD, "replicaRegion": "eu-west-3"}, "responseElements": {"replicaKeyMetadata": {"arn": VAULT}}}));
    let changed = rows(&["who-changed", "--key", VAULT, &captures.file()]);
    let said: Vec<_> = changed.iter().map(|row| row["change"].as_str()).collect();
    assert_eq!(
        said,
        [
            Some(
                "leaves it to the IAM policies of account 111122223333: every operation; what was there before is not known"
            ),
            Some(
                "leaves nobody of account 111122223333 who can change the policy again; lets in account 999988887777 (external) for every operation that crosses accounts; takes account 111122223333 out (its IAM policies no longer count)"
            ),
            Some("grant to role/x (999988887777) for Decrypt (grant 0123456789ab)"),
            Some("grant 0123456789ab to role/x (999988887777) for Decrypt revoked"),
            Some("tried: to be deleted after 30 days, about 2026-02-04T10:00:04Z"),
            Some("rotated by KMS (automatic)"),
            None,
            Some("replica made in eu-west-3"),
        ]
    );
    assert_eq!(changed[4]["denied_by"], "an explicit deny in a service control policy");
}

#[test]
fn contexts_show_purposes_and_hide_values() {
    let mut captures = Captures::new();
    let context = json!({"purpose": "tokenisation", "customer": "4711", "aws:s3:arn": "arn:aws:s3:::b/people/4711", "SecretARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:s"});
    captures.add(0, "Decrypt", json!({"resources": on(VAULT), "requestParameters": {"encryptionContext": context}}));
    captures.add(
        1,
        "Decrypt",
        json!({"resources": on(VAULT), "requestParameters": {"encryptionContext": {"Purpose": "card 4711"}}}),
    );
    let source = json!({"resources": [{"ARN": VAULT}, {"ARN": FRAUD}], "requestParameters": {"sourceEncryptionContext": {"purpose": "old"}, "destinationEncryptionContext": {"purpose": "new"}}});
    captures.add(2, "ReEncrypt", source);
    let file = captures.file();
    let used = rows(&["who-used", "--key", VAULT, "--key", FRAUD, &file]);
    let shown = &used[0]["context"];
    assert_eq!((&shown["purpose"], &shown["SecretARN"]), (&context["purpose"], &context["SecretARN"]));
    let redacted = |value: &Value, prefix: &str| value.as_str().unwrap().starts_with(&format!("{prefix}redacted:"));
    assert!(redacted(&shown["customer"], "") && redacted(&shown["aws:s3:arn"], "arn:aws:s3:::b/"), "{shown}");
    assert!(redacted(&used[1]["context"]["Purpose"], ""), "a purpose with a number may be a customer");
    let halves: Vec<_> = used[2..].iter().map(|row| (&row["key_role"], &row["context"]["purpose"])).collect();
    assert_eq!(halves, [(&json!("source"), &json!("old")), (&json!("destination"), &json!("new"))]);
    assert_eq!(rows(&["who-used", "--key", VAULT, &file, "--no-redaction"])[0]["context"], context);
}

#[test]
fn a_call_that_names_no_key_is_not_forgotten() {
    let mut captures = Captures::new();
    captures
        .add(0, "Decrypt", json!({"resources": on(VAULT)}))
        .add(1, "Decrypt", json!({"errorCode": "AccessDenied", "errorMessage": "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."}))
        .add(2, "GenerateRandom", json!({}));
    let file = captures.file();
    let (_, out, _) = evidence(&["denied", "--key", VAULT, &file]);
    assert!(out.starts_with("none:") && out.contains("1 call of this kind named no key"), "{out}");
    assert_eq!(ids(&rows(&["denied", &file])), ["e-1"]);
    let (_, out, _) = evidence(&["who-used", "--key", VAULT, &file]);
    assert!(out.contains("1 call of this kind named no key"), "{out}");
}

#[test]
fn exit_codes_and_limits_are_an_interface() {
    let used = ["who-used", "--key", VAULT];
    let of = |more: &[&str]| evidence(&[&used[..], more].concat());
    for wrong in [
        &[MORNING, "--operation", "Decrpyt"][..],
        &[MORNING, "--operation", "ListKeys"],
        &[MORNING, "--outcome", "fine"],
        &[MORNING, "--since", "soon"],
        &["no/such/path"],
        &[],
        &["--lake-sql", "--event-data-store", "x'; --"],
    ] {
        let (code, _, err) = of(wrong);
        assert_eq!(code, 2, "{wrong:?}: {err}");
    }
    assert!(of(&[MORNING, "--operation", "Decrpyt"]).2.contains("did you mean Decrypt?"));
    assert_eq!(evidence(&["who-used", MORNING]).0, 2, "whose use, must be said");
    let (code, out, err) = of(&[MORNING, "--max-rows", "10"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("rows answer the question, more than 10; narrow it"), "{err}");
    assert_eq!(of(&[MORNING, "--out", "/no/such/folder/out"]).0, 3);
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.json.gz");
    let whole = kmswatch::source::capture::files_under(Path::new(MORNING)).unwrap();
    let gzip = whole.iter().find(|file| file.extension().is_some_and(|extension| extension == "gz")).unwrap();
    let bytes = std::fs::read(gzip).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let (code, out, err) = of(&[MORNING, broken.to_str().unwrap()]);
    assert_eq!(code, 3, "{err}");
    assert!(out.contains("1 file could not be read to the end") && err.contains("broken.json.gz"), "{out}{err}");
    let (code, out, err) = of(&[MORNING, "--outcome", "denied"]);
    assert_eq!(code, 0, "no rows are no failure: {err}");
    assert!(out.contains("period: 2026-01-05T09:00:00Z to ") && out.contains("+ 3 unreadable"), "{out}");
}

#[test]
fn standard_input_is_read_twice() {
    let mut captures = Captures::new();
    captures.add(0, "Encrypt", json!({"requestParameters": {"keyId": "alias/x"}, "resources": on(VAULT)}));
    captures.add(1, "Decrypt", json!({"resources": on(VAULT)}));
    let mut command = Command::cargo_bin("kmswatch").unwrap();
    command.args(["evidence", "who-used", "--key", "alias/x", "-", "--format", "jsonl"]);
    let output = command.write_stdin(captures.lines.join("\n")).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

#[test]
fn the_same_question_for_cloudtrail_lake() {
    let (code, sql, err) = evidence(&[
        "who-used",
        "--key",
        "alias/o'brien_1",
        "--lake-sql",
        "--principal",
        "role-*",
        "--since",
        "2026-01-05T10:00:00Z",
        "--operation",
        "De*",
    ]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("what an alias stood for at the time"), "{err}");
    for part in [
        "FROM $EDS_ID\n",
        "eventSource = 'kms.amazonaws.com'",
        "eventName IN ('Decrypt', 'DeriveSharedSecret')",
        "eventTime >= '2026-01-05 10:00:00'",
        "element_at(requestParameters, 'keyId') = 'alias/o''brien_1'",
        r"any_match(resources, r -> r.arn LIKE 'arn:%:kms:%:alias/o''brien\_1' ESCAPE '\')",
        "userIdentity.sessionContext.sessionIssuer.arn LIKE '%/role-%'",
        "ORDER BY eventTime, eventID\n",
    ] {
        assert!(sql.contains(part), "{part} is not in\n{sql}");
    }
    let unquoted: String = sql.split('\'').step_by(2).collect();
    assert!(!unquoted.contains("brien"), "{unquoted}");
    let (_, sql, _) = evidence(&[
        "who-changed",
        "--key",
        "domain:fraud-engine",
        "--keys",
        "tests/keys.yml",
        "--lake-sql",
        "--event-data-store",
        "arn:aws:cloudtrail:eu-west-1:111122223333:eventdatastore/EXAMPLE-1",
    ]);
    assert!(
        sql.contains("FROM EXAMPLE-1\n") && sql.contains(&format!("any_match(resources, r -> r.arn = '{FRAUD}')")),
        "{sql}"
    );
    assert!(
        sql.contains("eventName NOT IN (") && sql.contains("NOT regexp_like(eventName, '^(Get|List|Describe)')"),
        "{sql}"
    );
    let (_, sql, _) = evidence(&["denied", "--lake-sql"]);
    assert!(sql.contains("errorCode LIKE '%AccessDenied%'") && !sql.contains("any_match"), "{sql}");
}

/// What the README shows is what is printed.
#[test]
fn the_readme_shows_what_is_printed() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let mut shown = 0;
    for block in
        readme.split("```").skip(1).step_by(2).filter(|block| block.trim_start().starts_with("$ kmswatch evidence"))
    {
        let mut lines = block.trim().lines();
        let command = lines.next().unwrap().trim_start_matches("$ kmswatch evidence ");
        let arguments: Vec<_> = command.split_whitespace().collect();
        let (code, out, err) = evidence(&arguments);
        assert_eq!(code, 0, "{err}");
        let wanted: Vec<_> = lines.collect();
        // "..." stands for what is left out.
        let mut rest = out.as_str();
        for part in wanted.join("\n").split("\n...\n") {
            let at =
                rest.find(part).unwrap_or_else(|| panic!("README: `{command}` does not print\n{part}\nbut\n{out}"));
            rest = &rest[at + part.len()..];
        }
        shown += 1;
    }
    assert_eq!(shown, 3);
}
