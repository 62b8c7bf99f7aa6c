//! The bank's key strategy in deploy/examples/banking: its day raises what was planted in it and
//! nothing else, and its policies, inventory and pages agree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use kmswatch::alert::Alert;
use kmswatch::event::policy;
use kmswatch::keys::inventory::Inventory;
use serde_json::Value;

const EXAMPLE: &str = "deploy/examples/banking";
const ACCOUNT: &str = "111122223333";
const REPLAY: &str = "kmswatch replay deploy/examples/banking/day --keys deploy/examples/banking/keys.yml";

fn kmswatch(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("kmswatch").unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    command
}

fn replay(more: &[&str]) -> String {
    let arguments: Vec<_> = REPLAY.split(' ').skip(1).chain(more.iter().copied()).collect();
    let output = kmswatch(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn alerts() -> Vec<Alert> {
    replay(&["--format", "jsonl"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(EXAMPLE).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        _ => vec![],
    }
}

fn inventory() -> Inventory {
    Inventory::parse("keys.yml", &read("keys.yml")).unwrap()
}

/// Domain and policy of the four keys; the decoy has none.
fn policies() -> Vec<(String, String)> {
    let domains = inventory().domains.into_iter().filter(|domain| !domain.standing.decoy);
    let policy = |name: &str| read(&format!("key-policies/{name}.json"));
    let policies: Vec<_> = domains.map(|domain| (domain.name.clone(), policy(&domain.name))).collect();
    assert_eq!(policies.len(), 4);
    policies
}

fn statements(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap()["Statement"].as_array().unwrap().clone()
}

fn joined(mut texts: Vec<String>) -> String {
    texts.sort();
    texts.join(" ")
}

/// All that `truth.json` says of an alert, as one line.
fn told(alert: &Alert) -> String {
    assert_eq!(alert.count, alert.event_ids.len() as u64, "{}", alert.summary);
    let keys = alert.keys.iter().map(|key| key.arn.clone()).collect();
    let (first, last, rule) = (alert.first_event_time, alert.last_event_time, &alert.rule);
    let (who, ids) = (joined(alert.principals.clone()), joined(alert.event_ids.clone()));
    format!("{first} {last} | {} | {} {} | {who} | {} | {ids}", alert.level, rule.title, rule.id, joined(keys))
}

fn expected(alert: &Value) -> String {
    let text = |name: &str| joined(texts(&alert[name]));
    let (first, last, who) = (text("first"), text("last"), text("principals"));
    let (title, id) = (text("title"), text("rule"));
    format!("{first} {last} | {} | {title} {id} | {who} | {} | {}", text("level"), text("keys"), text("event_ids"))
}

#[test]
fn the_day_raises_what_was_planted_in_it_and_nothing_else() {
    let truth = json("truth.json");
    let of = |part: &str| -> Vec<&Value> {
        let all = truth[part].as_array().unwrap();
        assert!(all.iter().all(|one| !one["alerts"].as_array().unwrap().is_empty()), "each is told of");
        all.iter().flat_map(|one| one["alerts"].as_array().unwrap()).collect()
    };
    let (planted, recorded) = (of("planted"), of("for_the_record"));
    assert!(recorded.iter().all(|one| one["level"] == "informational"), "ordinary work wakes nobody");
    let mut wanted: Vec<_> = planted.into_iter().chain(recorded).map(expected).collect();
    let alerts = alerts();
    let mut found: Vec<_> = alerts.iter().map(told).collect();
    for alert in of("planted").into_iter().filter(|alert| alert.get("reason").is_some()) {
        let same = alerts.iter().find(|found| told(found) == expected(alert));
        let said = same.and_then(|found| found.expected.reason.clone()).unwrap_or_default();
        let reason = alert["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{} because of `{said}` and not of `{reason}`", alert["title"]);
    }
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);

    let out = replay(&[]);
    let (records, twice) = (truth["records"].as_u64().unwrap(), truth["delivered_twice"].as_u64().unwrap());
    let account = format!(
        "records: {} received = {records} applied + {twice} duplicate + 0 filtered + 0 late + 0 unreadable",
        records + twice
    );
    assert!(out.contains(&account), "{out}");
}

/// The service pages for what the replay finds. Its last word on an incident may lack records that
/// came when the incident was over already: of those nobody is told.
#[test]
fn run_by_its_configuration_finds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("alerts.jsonl");
    let configuration = format!("{EXAMPLE}/kmswatch.toml");
    let output = kmswatch(&["run", "--once", "--config", &configuration])
        .env("KMSWATCH_STATE__DIR", dir.path().join("state"))
        .env("KMSWATCH_SINK__0__PATH", &sent)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut last = BTreeMap::new();
    for line in std::fs::read_to_string(&sent).unwrap().lines() {
        let alert: Alert = serde_json::from_str(line).unwrap();
        last.insert((alert.rule.title.clone(), alert.dedup_key.clone(), alert.first_event_time), alert);
    }
    let replayed = alerts();
    assert_eq!(last.len(), replayed.len());
    for alert in replayed {
        let key = (alert.rule.title.clone(), alert.dedup_key.clone(), alert.first_event_time);
        let live = last.get(&key).unwrap_or_else(|| panic!("run did not tell of: {}", alert.summary));
        assert_eq!(live.level, alert.level, "{}", alert.summary);
        let is_over = live.status == kmswatch::alert::Status::Resolved;
        for (told, all) in [(&live.event_ids, &alert.event_ids), (&live.principals, &alert.principals)] {
            let fits = told == all || (is_over && told.iter().all(|one| all.contains(one)));
            assert!(fits, "{}: {told:?} and not {all:?}", alert.summary);
        }
    }
}

/// What a reader gets from a path: of compressed files the content, as other versions of zlib
/// compress the same bytes otherwise.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in kmswatch::source::capture::files_under(&root.join("day")).unwrap() {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&file).unwrap()).read_to_end(&mut bytes).unwrap();
        found.insert(file.strip_prefix(root).unwrap().to_owned(), bytes);
    }
    found.insert("truth.json".into(), std::fs::read(root.join("truth.json")).unwrap());
    found
}

#[test]
fn the_day_is_what_its_generator_writes() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(EXAMPLE).join("day.py");
    let output = std::process::Command::new("python3").arg(&script).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (written, committed) = (contents(dir.path()), contents(Path::new(EXAMPLE)));
    assert_eq!(written.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (path, bytes) in written {
        assert!(committed[&path] == bytes, "{} is not what {} writes", path.display(), script.display());
    }
}

#[test]
fn inventory_passes_check() {
    let output = kmswatch(&["check", "--deny-warnings", "--keys", &format!("{EXAMPLE}/keys.yml")]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn key_policies_let_in_nobody_from_outside_and_the_owner_never_out() {
    for (domain, text) in policies() {
        let facts = policy::read(&text, Some(ACCOUNT)).unwrap();
        assert!(!facts.public, "{domain}");
        assert_eq!(facts.external_accounts, BTreeSet::new(), "{domain}");
        assert!(!facts.owner_locked_out, "{domain}");
        let explained = read("key-policies/README.md");
        for statement in statements(&text) {
            let sid = statement["Sid"].as_str().unwrap();
            assert!(explained.contains(&format!("| `{sid}` |")), "{domain}: {sid} is not explained");
            let denies = statement["Effect"] == "Deny";
            assert_eq!(statement["Principal"] == "*", denies, "{domain}: {sid}");
            // A Deny without a condition may take away grants alone: any other would lock the owner out.
            assert!(
                !denies || statement.get("Condition").is_some() || statement["Action"] == "kms:CreateGrant",
                "{domain}: {sid}"
            );
        }
    }
}

const USES: &[&str] = &["Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"];

fn is_use(action: &str) -> bool {
    let name = action.trim_start_matches("kms:");
    USES.contains(&name) || name.starts_with("GenerateDataKey")
}

/// Principal and call of every Allow of use: `arn:...:role/x Decrypt`. A service is named as in a record.
fn allowed_uses(text: &str) -> BTreeSet<String> {
    let allows = statements(text).into_iter().filter(|statement| statement["Effect"] == "Allow");
    let uses = allows.flat_map(|statement| {
        let who = match &statement["Principal"] {
            Value::Object(kinds) if kinds.contains_key("Service") => format!("service:{}", texts(&kinds["Service"])[0]),
            principal => texts(&principal["AWS"])[0].clone(),
        };
        let actions = texts(&statement["Action"]).into_iter().filter(|action| is_use(action)).collect::<Vec<_>>();
        assert!(actions.is_empty() || statement.get("Condition").is_some(), "{} is bound by nothing", statement["Sid"]);
        actions.into_iter().map(move |action| format!("{who} {}", action.trim_start_matches("kms:")))
    });
    uses.collect()
}

#[test]
fn policies_and_inventory_expect_the_same_uses() {
    let inventory = inventory();
    for (name, text) in policies() {
        let domain = inventory.domains.iter().find(|domain| domain.name == name).unwrap();
        let expected: BTreeSet<_> = domain
            .expect
            .iter()
            .flat_map(|line| {
                let calls = line.operations.iter().flat_map(|operation| match operation.as_str() {
                    "ReEncrypt" => vec!["ReEncryptFrom", "ReEncryptTo"],
                    one => vec![one],
                });
                let pairs = move |who: &str| calls.clone().map(|call| format!("{who} {call}")).collect::<Vec<_>>();
                line.principals.iter().flat_map(move |who| pairs(who.as_str())).collect::<Vec<_>>()
            })
            // Records may name the service of CloudWatch Logs without its Region; policies may not.
            .filter(|pair| !pair.starts_with("service:logs.amazonaws.com "))
            .collect();
        // Leave of the emergency role is given by ticket, not by a line.
        let is_emergency = |pair: &String| pair.contains(":role/banking-break-glass-role ");
        let allowed: BTreeSet<_> = allowed_uses(&text).into_iter().filter(|pair| !is_emergency(pair)).collect();
        assert_eq!(allowed, expected, "{name}");
    }
}

#[test]
fn who_administers_does_not_use() {
    for (name, text) in policies() {
        for statement in statements(&text).iter().filter(|statement| statement["Effect"] == "Allow") {
            let actions = texts(&statement["Action"]);
            let sid = statement["Sid"].as_str().unwrap();
            assert_eq!(actions.iter().any(|action| action.contains('*')), sid == "TheAccountRecovers", "{name}: {sid}");
            let uses = actions.iter().filter(|action| is_use(action)).count();
            let looks = actions.iter().filter(|action| *action == "kms:DescribeKey").count();
            assert!(uses == 0 || uses + looks == actions.len(), "{name}: {sid} both uses and administers");
        }
    }
}

#[test]
fn the_two_payments_roles_have_one_call_each() {
    for (role, call) in [("tokenise", "kms:Encrypt"), ("detokenise", "kms:Decrypt")] {
        let statements = statements(&read(&format!("iam/{role}-policy.json")));
        let by_sid =
            |wanted: &str| statements.iter().find(|one| one["Sid"].as_str().unwrap().starts_with(wanted)).unwrap();
        let function = format!("arn:aws:lambda:us-east-2:{ACCOUNT}:function:banking-{role}");
        let allow = statements.iter().filter(|one| one["Effect"] == "Allow").collect::<Vec<_>>();
        assert_eq!((allow.len(), &allow[0]["Action"]), (1, &Value::from(call)));
        assert_eq!(allow[0]["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"], function);
        assert_eq!(by_sid("NothingElse")["NotAction"], call);
        assert_eq!(by_sid("OnlyInside")["Condition"]["ArnNotEquals"]["lambda:SourceFunctionArn"], function);
        let key = inventory().arns_of("alias/banking-token-vault-key")[0].to_owned();
        assert!(statements.iter().all(|one| one["Resource"] == key), "of the vault's key and no other");
    }
}

/// The README's table is what its command prints.
#[test]
fn the_readme_shows_what_the_replay_prints() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let (_, section) = readme.split_once("## A bank's key strategy").expect("the section");
    let mut blocks = section.split("```\n").skip(1).step_by(2);
    assert_eq!(blocks.next().unwrap().trim_end(), REPLAY);
    let table = blocks.next().unwrap();
    let out = replay(&[]);
    let (_, printed) = out.split_once("\n\n").expect("incidents, then the table");
    assert_eq!(table, printed, "write the block anew: {REPLAY}");
}
