//! Hostile input, surface by surface: the property twin of the fuzz targets in `tests/fuzz`, the limits
//! that bombs and floods run into, and what people see of records that somebody wrote to deceive them.

#[path = "../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../fuzz/src/surfaces.rs"]
mod surfaces;

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use kmswatch::alert::redact::{printable, shell_word};
use kmswatch::engine::EngineLimits;
use kmswatch::event::envelope::{EnvelopeLimits, Found, open};
use kmswatch::pipeline::plan::Limits;
use kmswatch::pipeline::replay::{FileResult, Reader, Window};
use kmswatch::report::evidence::csv;
use proptest::prelude::*;
use serde_json::{Value, json};

use mutate::{corpus, gzip, mutated};
use surfaces::{delivered, delivery, now, plan, shown};

/// The files of a target's corpus.
fn files(target: &str) -> Vec<Vec<u8>> {
    corpus(&folder().join(target))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn seed(target: &str, name: &str) -> Vec<u8> {
    std::fs::read(folder().join(target).join(name)).unwrap()
}

/// Each file of the corpus as it is, cut after each of its bytes, and with each byte made another.
fn cut_everywhere(target: &str, surface: fn(&[u8]), stride: usize) {
    for bytes in files(target) {
        surface(&bytes);
        for at in (0..bytes.len()).step_by(stride) {
            surface(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] = [b'"', b'{', b']', 0, 0xff, b'\\', b'\n'][at % 7];
            surface(&changed);
        }
    }
}

#[test]
fn every_seed_cut_after_each_byte() {
    cut_everywhere("policy", surfaces::policy, 1);
    cut_everywhere("snapshot", surfaces::snapshot, 1);
    cut_everywhere("seeds", surfaces::seeds, 1);
    cut_everywhere("inventory", surfaces::inventory, 3);
    cut_everywhere("rule", surfaces::rule, 7);
    cut_everywhere("record", surfaces::record, 3);
}

#[test]
fn every_envelope_cut_after_each_byte() {
    let limits = EnvelopeLimits { max_bytes: 1 << 20, ..EnvelopeLimits::default() };
    for bytes in files("envelope") {
        for at in 0..bytes.len() {
            let mut found = 0;
            let opened = open(&bytes[..at], limits, &mut |_| found += 1);
            assert!(opened.is_err() || found > 0, "nothing is said of the first {at} bytes");
        }
    }
    cut_everywhere("envelope", surfaces::envelope, 97);
}

macro_rules! twins {
    ($($target:ident),*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $target(number in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,100}") {
                    surfaces::$target(&mutated(&files(stringify!($target)), &mut fastrand::Rng::with_seed(number)));
                    surfaces::$target(&bytes);
                    surfaces::$target(text.as_bytes());
                }
            )*
        }
    };
}

mod twin {
    use super::*;
    twins!(envelope, record, policy, rule, inventory, snapshot, seeds);
}

/// A body of good records in which one is broken in any way: the others are all read.
#[test]
fn one_broken_record_takes_no_other_along() {
    let good = |id: usize| {
        let mut record: Value = serde_json::from_slice(&seed("record", "disable.json")).unwrap();
        record["eventID"] = format!("good-{id}").into();
        record.to_string()
    };
    let whole = String::from_utf8(seed("record", "put_policy.json")).unwrap();
    let mut broken: Vec<String> =
        (1..whole.len()).step_by(37).filter_map(|at| whole.get(..at).map(str::to_owned)).collect();
    broken.extend([
        "{\"eventVersion\" 1}".to_owned(),
        "{\"eventTime\":7,\"eventSource\":[],\"eventName\":{}}".to_owned(),
        "{]".to_owned(),
        "\u{0}".to_owned(),
        "{\"a\":\"\\ud800\"}".to_owned(),
        "{\"a\":1e999}".to_owned(),
        format!("{{\"a\":{}}}", "[".repeat(100_000)),
        "{\"a\":1,\"a\":2}".to_owned(),
    ]);
    for bad in broken {
        let body = format!("{}\n{bad}\n{}\n{}\n", good(1), good(2), good(3));
        let planned = delivered(body.as_bytes());
        assert_eq!(
            (planned.accounting.applied, planned.accounting.parked > 0),
            (3, true),
            "{bad:?}: {:?}",
            planned.accounting
        );
    }
}

/// 1 GiB of blanks: zeros pack a thousandfold, and members follow each other.
fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &[b' '; 1 << 20]).unwrap();
    encoder.finish().unwrap().repeat(1024)
}

/// The same in zstd, which says "this byte so often" in four bytes for 128 KiB (RFC 8878, 3.1.1.2).
fn zstd_bomb() -> Vec<u8> {
    const BLOCK_BYTES: u32 = 128 << 10;
    let block = |is_last: bool| {
        let header = u32::from(is_last) | 1 << 1 | BLOCK_BYTES << 3;
        [&header.to_le_bytes()[..3], b" "].concat()
    };
    // A frame without size and checksum, and a window of one block.
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];
    [head.as_slice(), &block(false).repeat(8191), &block(true)].concat()
}

fn base64_of(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A CloudWatch Logs subscription that holds `packed`, inside an SNS envelope.
fn subscription(packed: &[u8]) -> Vec<u8> {
    let message = json!({"awslogs": {"data": base64_of(packed)}}).to_string();
    json!({"Type": "Notification", "MessageId": "m", "Message": message}).to_string().into_bytes()
}

/// Most memory that this process had, where it is a test of its own process.
fn peak_bytes() -> Option<usize> {
    std::env::var_os("NEXTEST")?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

const SMALL: EnvelopeLimits = EnvelopeLimits { max_bytes: 16 << 20, max_record_bytes: 4 << 20, max_depth: 6 };

/// Each way to bring a bomb; all bodies are smaller than the largest message of SQS.
fn bombs() -> Vec<Vec<u8>> {
    let (gz, zst) = (gzip_bomb(), zstd_bomb());
    let twice = gzip(&gz);
    vec![
        subscription(&gz[..gz.len() / 2]),
        subscription(&zst),
        subscription(&twice),
        subscription(&gzip(&subscription(&zst))),
        base64_of(&twice).into_bytes(),
        gzip(&zst),
        gz,
        zst,
    ]
}

#[test]
fn a_bomb_of_a_gibibyte_is_refused_in_bounded_memory() {
    for body in bombs() {
        assert!(body.len() <= 1 << 20 | 1 << 19, "{}", body.len());
        let mut reasons = Vec::new();
        let opened = open(&body, SMALL, &mut |found| match found {
            Found::Bad { reason, .. } => reasons.push(reason),
            other => panic!("{other:?}"),
        });
        reasons.extend(opened.err().map(|error| error.to_string()));
        assert!(reasons.len() == 1 && reasons[0].contains("more than 16777216 bytes"), "{reasons:?}");
        let limits = Limits { envelope: SMALL, ..Limits::default() };
        let planned = plan(limits).batch(&[delivery(&body)], now());
        assert_eq!((planned.accounting.parked, planned.park.len()), (1, 1));
        assert!(planned.park[0].1.contains("more than 16777216 bytes"), "{:?}", planned.park);
    }
    if let Some(peak) = peak_bytes() {
        assert!(peak < 160 << 20, "{peak} bytes for a limit of {}", SMALL.max_bytes);
    }
}

/// Many small bombs in a list, each within the limit, are one large bomb.
#[test]
fn bombs_in_a_row_share_one_budget() {
    let small = gzip(&[b' '; 3 << 20]);
    let one = json!({"awslogs": {"data": base64_of(&small)}});
    let body = json!(vec![one; 40]).to_string();
    let (mut bad, mut refused) = (0, 0);
    open(body.as_bytes(), SMALL, &mut |found| {
        if let Found::Bad { reason, .. } = found {
            bad += 1;
            refused += usize::from(reason.contains("over all layers"));
        }
    })
    .unwrap();
    assert!(refused >= 35, "{refused} of {bad}");
}

/// A replay has no smaller bounds than its documents: what is packed inside is bounded all the same.
#[test]
fn a_bomb_inside_a_capture_is_refused() {
    let limits = EnvelopeLimits::of_captures();
    assert_eq!(limits.max_bytes, EnvelopeLimits::MAX_DOCUMENT_BYTES);
    // One layer more than a gibibyte: two in a row.
    let body = subscription(&zstd_bomb().repeat(2));
    let mut result = FileResult::default();
    let analyzer = kmswatch::pipeline::plan::analyze::Analyzer {
        rules: surfaces::RULES.clone(),
        inventory: std::sync::Arc::default(),
    };
    Reader::new(analyzer, kmswatch::keys::picture::Picture::default(), Window::default()).read(&body, &mut result);
    assert_eq!(result.accounting.parked, 1);
    assert!(result.unreadable[0].contains("more than 1073741824 bytes"), "{:?}", result.unreadable);
}

#[test]
fn nesting_length_and_number_have_limits() {
    let reasons = |body: &str| {
        let planned = delivered(body.as_bytes());
        planned.park.into_iter().map(|(_, reason)| reason).collect::<String>()
    };
    assert!(reasons(&format!("{}{}", "[".repeat(200_000), "]".repeat(200_000))).contains("inside each other"));
    let deep = String::from_utf8(seed("record", "disable.json")).unwrap().replacen(
        "\"keyId\":",
        &format!("\"x\":{}1{},\"keyId\":", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        1,
    );
    assert!(deep.len() > 500_000);
    // What no rule reads is skipped, however deep; nothing is on the stack for it.
    drop(reasons(&deep));
    let mut long: Value = serde_json::from_slice(&seed("record", "disable.json")).unwrap();
    long["userAgent"] = "x".repeat(5 << 20).into();
    let limits = Limits::default();
    let planned = plan(limits).batch(&[delivery(long.to_string().as_bytes())], now());
    assert!(planned.park[0].1.contains("no record of CloudTrail"), "{:?}", planned.park);
    // Half a million zeros in a list are told of in a few words.
    let zeros = format!("[{}0]", "0,".repeat(100_000));
    let planned = plan(limits).batch(&[delivery(zeros.as_bytes())], now());
    assert_eq!((planned.accounting.parked, planned.accounting.closes()), (100_001, true));
    assert!(planned.park[0].1.len() < 1000 && planned.park[0].1.contains("and 99998 more"), "{:?}", planned.park);
}

/// Values that callers choose are kept no longer than they may be.
#[test]
fn long_values_are_clipped_where_they_are_kept() {
    let mut record: Value = serde_json::from_slice(&seed("record", "disable.json")).unwrap();
    let long = "x".repeat(300_000);
    for place in
        ["/userIdentity/arn", "/awsRegion", "/recipientAccountId", "/eventID", "/requestParameters/keyId", "/userAgent"]
    {
        *record.pointer_mut(place).unwrap() = long.clone().into();
    }
    let planned = plan(Limits::default()).batch(&[delivery(record.to_string().as_bytes())], now());
    assert_eq!(planned.accounting.applied, 1);
    let kept: usize =
        planned.commit.deltas.iter().map(|delta| delta.key.len() + delta.value.as_ref().map_or(0, Vec::len)).sum();
    assert!(kept < 200_000, "{kept} bytes are kept of one record");
    for alert in &planned.commit.outbox {
        shown(alert);
        assert!(serde_json::to_string(alert).unwrap().len() < 100_000);
    }
}

/// Found by mutation: the nearest known name was looked for with a name of thousands of characters,
/// which took seconds for each.
#[test]
fn a_name_of_absurd_length_is_compared_with_none() {
    let name = "kms:*".repeat(40_000);
    let rule = String::from_utf8(seed("rule", "expression.yml")).unwrap().replace("eventName|endswith", &name);
    surfaces::rule(rule.as_bytes());
    let inventory = String::from_utf8(seed("inventory", "full.yml")).unwrap().replace("Decrypt]", &format!("{name}]"));
    surfaces::inventory(inventory.as_bytes());
}

/// Found by mutation: a name that no record has, a thousand times in one template, was looked up and
/// told of a thousand times.
#[test]
fn a_mistake_made_often_in_one_place_is_told_once() {
    let text = String::from_utf8(seed("rule", "single.yml")).unwrap();
    let text = text.replace("'{kms.principal} disabled", &format!("'{{x{}}} disabled", "|cidr".repeat(20_000)));
    let text = kmswatch::rule::RuleText { path: "family/rule.yml".into(), text };
    let found = kmswatch::rule::RuleSet::compile(&[text]).diagnostics;
    let told = found.iter().filter(|one| one.to_string().contains("field `cidr`")).count();
    assert_eq!(told, 1, "{}", found.len());
}

/// Found by mutation: a list cut off between two of its elements looked whole, and the body was
/// acknowledged although the rest of it was missing.
#[test]
fn a_body_cut_off_between_records_is_not_acknowledged() {
    let record = String::from_utf8(seed("record", "disable.json")).unwrap();
    for body in [format!("{{\"Records\":[{record},"), format!("[{record}"), "{\"Records\":[".to_owned()] {
        let planned = delivered(body.as_bytes());
        assert_eq!((planned.ack.len(), planned.park.len()), (0, 1), "{body}");
        assert!(planned.park[0].1.contains("EOF while parsing"), "{:?}", planned.park);
    }
}

/// Who can choose the value that a rule groups by can open any number of groups: the oldest go, each
/// is counted, what was open is ended, and a rule of kmswatch itself tells of it.
#[test]
fn a_flood_of_groups_is_bounded_counted_and_told() {
    let engine = EngineLimits { max_groups: 50, ..EngineLimits::default() };
    let mut plan = plan(Limits { engine, ..Limits::default() });
    let record: Value = serde_json::from_slice(&seed("record", "disable.json")).unwrap();
    let body: String = (0..300)
        .map(|number| {
            let mut record = record.clone();
            record["eventID"] = format!("flood-{number}").into();
            record["resources"][0]["ARN"] =
                format!("arn:aws:kms:eu-west-1:111122223333:key/{number:08}-0000-4000-8000-000000000000").into();
            record["requestParameters"]["keyId"] = record["resources"][0]["ARN"].clone();
            format!("{record}\n")
        })
        .collect();
    let planned = plan.batch(&[delivery(body.as_bytes())], now());
    assert_eq!(planned.accounting.applied, 300);
    assert!(plan.held().0 <= 50 && planned.accounting.evicted >= 250, "{:?}", planned.accounting);
    let titles: Vec<_> = planned.commit.outbox.iter().map(|alert| alert.rule.title.to_string()).collect();
    assert!(titles.iter().any(|title| title.contains("limit")), "{titles:?}");
}

/// Names that somebody chose to deceive: whatever people see of them is harmless, and the commands
/// that are proposed are single commands for a real shell.
#[test]
fn hostile_names_are_harmless_in_alerts() {
    let planned = delivered(&seed("envelope", "hostile.json"));
    assert!(!planned.commit.outbox.is_empty());
    for alert in &planned.commit.outbox {
        shown(alert);
        for command in alert.respond.iter().filter(|text| text.starts_with("aws ") || text.starts_with("kmswatch ")) {
            assert!(Command::new("sh").args(["-n", "-c", command]).status().unwrap().success(), "{command}");
            let traced = Command::new("sh")
                .args(["-c", &format!("aws() {{ :; }}; kmswatch() {{ :; }}; {command}")])
                .output()
                .unwrap();
            assert!(traced.stdout.is_empty() && traced.stderr.is_empty(), "{command}: {traced:?}");
        }
    }
}

/// Found by mutation: account, Region and event IDs were shown as they came.
#[test]
fn places_and_ids_are_harmless_in_alerts() {
    let mut record: Value = serde_json::from_slice(&seed("record", "disable.json")).unwrap();
    for place in ["awsRegion", "recipientAccountId", "eventID"] {
        record[place] = "x\u{1b}]0;owned\u{7}\n\u{202e}".into();
    }
    let planned = delivered(record.to_string().as_bytes());
    let alert = planned.commit.outbox.first().unwrap();
    assert_eq!(alert.region.as_deref(), Some("x\u{fffd}]0;owned\u{fffd}\u{fffd}\u{fffd}"));
    assert_eq!((&alert.account, &alert.event_ids[0]), (&alert.region, alert.region.as_ref().unwrap()));
}

/// Every text of a record gets an end that writes to the terminal, forges a line and turns the writing.
fn salted(value: &mut Value) {
    const KEPT: [&str; 6] = ["eventTime", "eventSource", "eventName", "eventType", "eventCategory", "type"];
    match value {
        Value::String(text) => text.push_str("\u{1b}]0;owned\u{7}\u{9b}2J\r\nFORGED \u{202e}\u{2028}\u{200b}\u{e0041}"),
        Value::Array(items) => items.iter_mut().for_each(salted),
        Value::Object(members) => {
            members
                .iter_mut()
                .filter(|(name, _)| !KEPT.contains(&name.as_str()))
                .for_each(|(_, member)| salted(member));
        }
        _ => {}
    }
}

/// Whatever a subcommand prints for people of such records, from a file of such a name.
#[test]
fn nothing_that_people_read_is_moved_by_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for (number, bytes) in files("record").iter().enumerate() {
        let mut record: Value = serde_json::from_slice(bytes).unwrap();
        lines += &format!("{record}\n");
        salted(&mut record);
        record["eventID"] = format!("{number}\u{1b}[2J").into();
        lines += &format!("{record}\n{{\"eventVersion\" \u{1b}[31m}}\n");
    }
    let captures = dir.path().join("a\u{1b}]0;owned\u{7}\nFORGED.jsonl");
    std::fs::write(&captures, &lines).unwrap();
    let path = dir.path().to_str().unwrap();
    let key = "arn:aws:kms:eu-west-1:111122223333:key/00000001-0000-4000-8000-000000000000";
    let alias = "alias/vault";
    let mut made_visible = 0;
    for arguments in [
        vec!["replay", path],
        vec!["replay", "--format", "text", path],
        vec!["evidence", "who-used", "--key", key, path],
        vec!["evidence", "who-used", "--key", key, "--format", "csv", path],
        vec!["evidence", "who-changed", "--key", key, path],
        vec!["evidence", "who-changed", "--key", alias, path],
        vec!["evidence", "denied", path],
        vec!["evidence", "denied", "--format", "csv", path],
        vec!["keys", "learn", path],
        vec!["replay", "--keys", captures.to_str().unwrap(), path],
    ] {
        let output = assert_cmd::Command::cargo_bin("kmswatch").unwrap().args(&arguments).output().unwrap();
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
            made_visible += usize::from(text.contains('\u{fffd}'));
            let moved = |line: &&str| line.chars().any(kmswatch::alert::redact::deceives);
            assert_eq!(text.lines().find(moved), None, "{arguments:?}");
            // The mistakes of a file that is named on the command line are told with its name as it is.
            let forged = text.lines().find(|line| line.starts_with("FORGED"));
            assert!(forged.is_none() || arguments.contains(&"--keys"), "{arguments:?}: {forged:?}");
        }
    }
    assert!(made_visible >= 9, "{made_visible}: the records were shown at all");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// A real shell takes the word for what was meant.
    #[test]
    fn a_shell_word_is_one_word(text in any::<String>()) {
        let shell = Command::new("sh").args(["-c", &format!("printf '[%s]' {}", shell_word(&text))]).output().unwrap();
        prop_assert_eq!(String::from_utf8(shell.stdout).unwrap(), format!("[{}]", printable(&text)));
    }

    /// A cell is read back as one cell of one line, and no spreadsheet takes it for a formula.
    #[test]
    fn a_cell_is_no_formula(text in "[=+@\\-\t\r\n \u{200b}\u{ff1d}\",;']{0,3}\\PC{0,20}") {
        let line = format!("{},end\r\n", csv::cell(&text));
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let rows: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!((rows.len(), rows[0].len()), (1, 2));
        let seen = rows[0][0].trim_start_matches(|c: char| c.is_whitespace() || c == '\u{fffd}');
        prop_assert!(!seen.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']), "{line:?}");
        prop_assert!(!rows[0][0].chars().any(kmswatch::alert::redact::deceives), "{line:?}");
    }
}
