//! Evidence, in the small: names over time, cells, patterns, against naive oracles.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::csv::cell;
use super::history::{History, Survey, Surveyor};
use super::key::Typed;
use super::question::{Filter, Question};
use super::row::clip;
use crate::keys::pattern::NamePattern;
use crate::time::EventTime;

const PLACE: &str = "eu-west-1:111122223333";

fn record(second: i64, event: usize, name: &str, rest: &str) -> String {
    let time = EventTime::from_millis(1_767_600_000_000 + second * 1000);
    format!(
        r#"{{"eventVersion":"1.11","eventID":"{event:03}","eventTime":"{time}","eventSource":"kms.amazonaws.com","eventName":"{name}","awsRegion":"eu-west-1","recipientAccountId":"111122223333",{rest}}}"#
    )
}

fn alias_call(second: i64, event: usize, key: Option<u8>) -> String {
    match key {
        Some(key) => record(
            second,
            event,
            "UpdateAlias",
            &format!(
                r#""requestParameters":{{"aliasName":"alias/a"}},"resources":[{{"ARN":"arn:aws:kms:{PLACE}:alias/a"}},{{"ARN":"arn:aws:kms:{PLACE}:key/k-{key}"}}]"#
            ),
        ),
        None => record(second, event, "DeleteAlias", r#""requestParameters":{"aliasName":"alias/a"}"#),
    }
}

fn history(files: &[Vec<String>]) -> History {
    let surveyor = Surveyor::default();
    History::of(files.iter().map(|lines| {
        let mut survey = Survey::default();
        surveyor.read(lines.join("\n").as_bytes(), &mut survey);
        survey
    }))
}

proptest! {
    /// The oracle: of all moves up to the instant the last one counts. Copies, order and files do not.
    #[test]
    fn an_alias_over_time(
        moves in prop::collection::btree_map(0_i64..30, prop::option::of(0_u8..3), 0..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        asked in 0_i64..31,
    ) {
        let moves: BTreeMap<i64, Option<u8>> = moves;
        let calls: Vec<_> = moves.iter().enumerate().map(|(event, (second, key))| alias_call(*second, event, *key)).collect();
        let mut files = vec![Vec::new(), Vec::new(), calls.clone()];
        for (number, index) in order.iter().enumerate().filter(|_| !calls.is_empty()) {
            files[number % 2].push(calls[index.index(calls.len())].clone());
        }
        let told = history(&files);
        let expected = moves.range(..=asked).next_back().and_then(|(_, key)| *key).map(|key| format!("arn:aws:kms:{PLACE}:key/k-{key}"));
        let time = EventTime::from_millis(1_767_600_000_000 + asked * 1000);
        prop_assert_eq!(told.key_of_alias(&(PLACE.to_owned(), "alias/a".to_owned()), time), expected.as_deref());
    }

    /// RFC 4180 read back naively: the text, with its apostrophe, and never a formula.
    #[test]
    fn cells_are_read_back_and_are_no_formula(text in "[=+@\t\r\n\",;'a -]{0,12}") {
        let written = cell(&text);
        let bare = match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => {
                prop_assert!(!written.contains([',', '"', '\n', '\r']), "{written}");
                written
            }
        };
        prop_assert!(!bare.trim_start().starts_with(['=', '+', '-', '@']), "{}", bare);
        let plain = text.replace(['\t', '\r', '\n'], "\u{fffd}");
        prop_assert_eq!(bare.strip_prefix('\'').filter(|_| !plain.starts_with('\'')).unwrap_or(&bare), plain);
    }
}

#[test]
fn a_use_tells_an_alias_too_and_the_key_it_is_taken_off() {
    let name = (PLACE.to_owned(), "alias/a".to_owned());
    let at = |second: i64| EventTime::from_millis(1_767_600_000_000 + second * 1000);
    let used = record(
        10,
        1,
        "Encrypt",
        &format!(r#""requestParameters":{{"keyId":"alias/a"}},"resources":[{{"ARN":"arn:aws:kms:{PLACE}:key/k-1"}}]"#),
    );
    let told = history(&[vec![used]]);
    assert_eq!(told.key_of_alias(&name, at(0)), Some(format!("arn:aws:kms:{PLACE}:key/k-1").as_str()));
    let taken = alias_call(20, 2, Some(1)).replace("UpdateAlias", "DeleteAlias");
    let told = history(&[vec![taken]]);
    assert_eq!(told.key_of_alias(&name, at(0)), Some(format!("arn:aws:kms:{PLACE}:key/k-1").as_str()));
    assert_eq!(told.key_of_alias(&name, at(20)), None);
}

#[test]
fn every_spelling_of_a_key() {
    let parse = |text: &str| Typed::parse(text);
    assert!(matches!(parse("arn:aws-cn:kms:cn-north-1:111122223333:key/k-1"), Ok(Typed::Arn(_))));
    assert_eq!(parse("mrk-0f0f"), Ok(Typed::Id("mrk-0f0f".to_owned())));
    assert_eq!(parse("alias/v"), Ok(Typed::Alias { place: None, alias: "alias/v".to_owned() }));
    let place = Some("eu-west-1:111122223333".to_owned());
    assert_eq!(
        parse("arn:aws:kms:eu-west-1:111122223333:alias/v"),
        Ok(Typed::Alias { place, alias: "alias/v".to_owned() })
    );
    assert_eq!(parse("domain:pii"), Ok(Typed::Domain("pii".to_owned())));
    for wrong in ["", "vault", "a b", "arn:aws:s3:::b", "'; drop"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn operations_outside_the_question_are_refused() {
    let check = |question, pattern: &str| {
        Filter { operations: vec![NamePattern::new(pattern)], ..Filter::default() }.check(question)
    };
    assert_eq!(check(Question::WhoUsed, "De*"), Ok(()));
    assert!(check(Question::WhoUsed, "ScheduleKeyDeletion").unwrap_err().contains("who-changed"));
    assert!(check(Question::WhoChanged, "GetKeyPolicy").is_err());
    assert_eq!(check(Question::Denied, "List*"), Ok(()));
    assert!(check(Question::Denied, "Decript").unwrap_err().ends_with("did you mean Decrypt?"));
}

#[test]
fn long_texts_end_with_a_mark() {
    assert_eq!((clip("abc", 3).as_str(), clip("äbcd", 3).as_str()), ("abc", "äbc\u{2026}"));
}
