//! Makes hostile bytes of well-meant ones. The same seed makes the same bytes.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use fastrand::Rng;

/// What breaks readers: brackets, quotes, numbers too large, halves of surrogates, bytes that are no
/// text, marks that turn the writing, YAML's anchors, magic numbers.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\udfff",
    b"\\u0000",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"-1e-999",
    b"99999999999999999999",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"0.1",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\x1b[31m",
    b"=cmd|' /C calc'!A0",
    b"'; rm -rf \"$HOME\"; '",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"H4sI",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!binary ",
    b"---\n",
    b"? ",
    b"|\n  ",
    b"%",
    b"#",
    b"`",
    b"{{",
    b"*",
    b"?",
    b"\"Records\":",
    b"\"eventTime\":",
    b"\"eventID\":\"e\",",
    b"\"Statement\":",
    b"\"Condition\":",
    b"9999-12-31T23:59:59Z",
    b"-262143-01-01T00:00:00Z",
    b"2026-02-30T25:61:61Z",
    b"9999999999d",
    b"1s",
    b"|re: '(a+)+$'",
    b"|cidr",
    b"1 of x*",
    b"not not not ",
    b"(((((((((",
    b"kms:*",
    b"arn:aws:kms:::key/",
    b"arn:::::",
    b"::::::",
];

/// Longest that mutation makes of a text.
const MAX_BYTES: usize = 1 << 18;

/// The files of a corpus, by name.
pub fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the corpus is there").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let files: Vec<_> = paths.iter().map(|path| std::fs::read(path).expect("a file of the corpus")).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// One of the corpus, changed in a few ways.
pub fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..=5) {
        change(&mut bytes, corpus, rng);
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(0..=bytes.len());
    let range = at..(at + rng.usize(0..=64)).min(bytes.len());
    match rng.u8(0..14) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
        1 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = rng.u8(..)),
        2 | 3 => insert(bytes, at, rng.choice(TOKENS).copied().unwrap_or_default()),
        4 => drop(bytes.drain(range)),
        5 => bytes.truncate(at),
        // A member given twice, a line twice.
        6 => {
            let again: Vec<u8> = bytes.iter().copied().skip(range.start).take(range.len()).collect();
            insert(bytes, at, &again);
        }
        7 => {
            let other = rng.choice(corpus).cloned().unwrap_or_default();
            let from = rng.usize(0..=other.len());
            insert(bytes, at, &other[from..]);
        }
        // Deep, or long.
        8 => {
            let token = rng.choice(TOKENS).copied().unwrap_or_default();
            insert(bytes, at, &token.repeat(rng.usize(1..2000)));
        }
        9 => replace_value(bytes, at, rng),
        10 => replace_token(bytes, at, rng),
        11 => *bytes = wrapped(bytes, rng),
        12 => swap_lines(bytes, rng),
        _ => insert(bytes, at, &[rng.u8(..)]),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    let tail = bytes.split_off(at.min(bytes.len()));
    bytes.extend_from_slice(what);
    bytes.extend_from_slice(&tail);
}

/// The value after the next colon becomes one of another kind.
fn replace_value(bytes: &mut Vec<u8>, from: usize, rng: &mut Rng) {
    let Some(colon) = bytes.iter().skip(from).position(|byte| *byte == b':').map(|at| from + at + 1) else { return };
    let end = bytes.iter().skip(colon).position(|byte| b",}\n".contains(byte)).map_or(bytes.len(), |at| colon + at);
    let other: &[&[u8]] = &[
        b" null",
        b" 7",
        b" -1",
        b" 1e400",
        b" []",
        b" {}",
        b" [[{}]]",
        b" \"\"",
        b" \"x\"",
        b" true",
        b" \"*\"",
        b" {\"a\":{\"b\":[1]}}",
    ];
    bytes.drain(colon..end);
    insert(bytes, colon, rng.choice(other).copied().unwrap_or_default());
}

/// The next quoted text becomes one of the tokens.
fn replace_token(bytes: &mut Vec<u8>, from: usize, rng: &mut Rng) {
    let quote = |bytes: &[u8], from: usize| bytes.iter().skip(from).position(|byte| *byte == b'"').map(|at| from + at);
    let Some(start) = quote(bytes, from) else { return };
    let Some(end) = quote(bytes, start + 1) else { return };
    bytes.drain(start + 1..end);
    insert(bytes, start + 1, rng.choice(TOKENS).copied().unwrap_or_default());
}

/// The body inside another envelope.
fn wrapped(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let packed = || base64::engine::general_purpose::STANDARD.encode(gzip(bytes));
    match rng.u8(0..6) {
        0 => gzip(bytes),
        1 => serde_json::json!({"Type": "Notification", "MessageId": "m", "Message": text}).to_string().into_bytes(),
        2 => serde_json::json!({"awslogs": {"data": packed()}}).to_string().into_bytes(),
        3 => serde_json::json!({"messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "g", "logStream": "s",
            "subscriptionFilters": [], "logEvents": [{"id": "1", "timestamp": 1, "message": text}]})
        .to_string()
        .into_bytes(),
        4 => [b"{\"Records\":[", bytes, b"]}"].concat(),
        _ => serde_json::json!({"Events": [{"EventId": "e", "CloudTrailEvent": text}]}).to_string().into_bytes(),
    }
}

fn swap_lines(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    rng.shuffle(&mut lines);
    *bytes = lines.join(&b'\n');
}

/// Packed.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
