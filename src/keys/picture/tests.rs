use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::derive::uses_of;
use crate::event::field::Projection;
use crate::event::record::{Record, decode};
use crate::keys::snapshot::GrantFacts;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/k-1";
const OTHER: &str = "arn:aws:kms:eu-west-1:111122223333:key/k-2";

fn at(second: i64) -> EventTime {
    EventTime::from_millis(1_767_600_000_000 + second * 1000)
}

fn stamp(second: i64, event: u32) -> Stamp {
    Stamp { time: at(second), event: event.to_string() }
}

fn alias(name: &str, key: Option<&str>) -> Change {
    Change::Alias { place: "eu-west-1:111122223333".to_owned(), alias: name.to_owned(), key: key.map(str::to_owned) }
}

fn grant(id: &str, grantee: &str, second: i64) -> Change {
    let grant = GrantFacts {
        id: id.to_owned(),
        grantee: grantee.to_owned(),
        issuer: Some("arn:aws:iam::111122223333:role/admin".to_owned()),
        operations: BTreeSet::from(["Decrypt".to_owned()]),
        context_subset: BTreeMap::from([("purpose".to_owned(), "x".to_owned())]),
        created: Some(at(second)),
        ..GrantFacts::default()
    };
    Change::Granted { key: KEY.to_owned(), grant }
}

fn raw(operation: &str, role: &str, second: i64, context: &str) -> String {
    format!(
        r#"{{"eventTime":"{}","eventSource":"kms.amazonaws.com","eventName":"{operation}","userIdentity":{{"type":"AssumedRole","accountId":"111122223333","sessionContext":{{"sessionIssuer":{{"arn":"arn:aws:iam::111122223333:role/{role}"}}}}}},"requestParameters":{{"encryptionContext":{{{context}}}}},"resources":[{{"ARN":"{KEY}"}}]}}"#,
        at(second)
    )
}

fn with_call<T>(record: &Record<'_>, look: impl FnOnce(&Call<'_>) -> T) -> T {
    let used = uses_of(record).remove(0);
    look(&Call::of(&used, record.name(), &record.fields, record.time))
}

fn granted(picture: &Picture, operation: &str, role: &str, second: i64, context: &str) -> Option<String> {
    let raw = raw(operation, role, second, context);
    let record = decode(&raw, &Projection::fixed()).unwrap();
    with_call(&record, |call| picture.granting(KEY, call).map(ToString::to_string))
}

#[test]
fn an_alias_is_what_it_was_at_the_time() {
    let mut picture = Picture::new(PictureLimits::default());
    // The move comes before the making.
    picture.apply(&stamp(20, 2), alias("alias/vault", Some(OTHER)));
    picture.apply(&stamp(10, 1), alias("alias/vault", Some(KEY)));
    picture.apply(&stamp(30, 3), alias("alias/vault", None));
    let typed = KeyRef::parse("alias/vault").unwrap();
    let arn = |second| picture.known(&typed, "eu-west-1:111122223333", at(second)).arn;
    assert_eq!([arn(5), arn(10), arn(25), arn(30)], [None, Some(KEY.into()), Some(OTHER.into()), None]);
    assert_eq!(picture.aliases_of(KEY, at(15)), ["alias/vault"]);
    assert_eq!(picture.aliases_of(KEY, at(25)), Vec::<String>::new());
    assert_eq!(picture.known(&typed, "us-east-1:111122223333", at(15)), Known::default(), "another Region's alias");
}

#[test]
fn a_grant_explains_a_use_while_it_lives() {
    let mut picture = Picture::new(PictureLimits::default());
    let ended = Change::GrantEnded { key: KEY.to_owned(), id: "g-123456789012".to_owned(), how: "revoked".to_owned() };
    picture.apply(&stamp(50, 2), ended);
    picture.apply(&stamp(10, 1), grant("g-123456789012", "arn:aws:iam::111122223333:role/app", 10));
    let context = r#""purpose":"x","more":"y""#;
    let said = granted(&picture, "Decrypt", "app", 20, context).unwrap();
    assert_eq!(
        said,
        format!("grant g-1234567890 to role/app (111122223333), made by role/admin (111122223333) at {}", at(10))
    );
    for (operation, role, second, context) in [
        ("Encrypt", "app", 20, context),
        ("Decrypt", "other", 20, context),
        ("Decrypt", "app", 9, context),
        ("Decrypt", "app", 51, context),
        ("Decrypt", "app", 20, r#""more":"y""#),
    ] {
        assert_eq!(granted(&picture, operation, role, second, context), None, "{operation} {role} {second} {context}");
    }
    picture.apply(&stamp(10, 3), grant("g-2", "arn:aws:iam::111122223333:root", 10));
    assert!(
        granted(&picture, "Decrypt", "other", 60, context).is_some(),
        "a grant to the account is to its principals"
    );
}

#[test]
fn a_snapshot_ends_what_it_does_not_list() {
    let mut picture = Picture::new(PictureLimits::default());
    picture.apply(&stamp(0, 1), grant("g-1", "arn:aws:iam::111122223333:role/app", 0));
    picture.apply(&stamp(0, 2), alias("alias/old", Some(KEY)));
    let tag = Change::Tag { key: KEY.to_owned(), name: "a".to_owned(), value: Some("b".to_owned()) };
    picture.apply(&stamp(0, 3), tag);
    let text = format!(
        r#"{{"arn":"{KEY}","as_of":"{}","policy":"{{}}","aliases":["alias/new"],"grants":[{{"id":"g-9","grantee":"arn:aws:iam::111122223333:role/nine","operations":["Decrypt"]}}]}}"#,
        at(5000)
    );
    let facts = &crate::keys::snapshot::read("s", &text).unwrap()[KEY];
    picture.take_snapshot(facts);
    assert_eq!(picture.aliases_of(KEY, at(5000)), ["alias/new"]);
    // What a snapshot says first of an alias is taken to have been so before, too.
    assert_eq!(picture.aliases_of(KEY, at(4000)), ["alias/new", "alias/old"]);
    let portrait = picture.key(KEY).unwrap();
    assert!(portrait.tags_at(at(5000)).is_empty() && !portrait.tags_at(at(10)).is_empty());
    let live: Vec<_> = portrait.grants().filter(|(_, grant)| grant.lives(at(6000))).map(|(id, _)| id).collect();
    assert_eq!(live, ["g-9"]);
    picture.take_rows();
    picture.take_snapshot(facts);
    assert_eq!(picture.take_rows(), [], "the same again changes no row");
}

#[test]
fn users_are_noted_and_bounded() {
    let mut picture = Picture::new(PictureLimits { max_users_per_key: 2, ..PictureLimits::default() });
    for (role, second) in [("a", 0), ("b", 100), ("a", 50), ("c", 200), ("a", 210)] {
        let principal = format!("arn:aws:iam::111122223333:role/{role}");
        picture.note_use(&Used { key: KEY.to_owned(), principal, operation: "Decrypt".to_owned(), time: at(second) });
    }
    let users: Vec<_> = picture.key(KEY).unwrap().users().map(|(who, user)| (who.to_owned(), user.last)).collect();
    let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    assert_eq!(users, [(role("a"), at(210)), (role("c"), at(200))]);
    assert_eq!(picture.held(), (1, 2));
}

fn any_change() -> impl Strategy<Value = Change> {
    let key = prop_oneof![Just(KEY), Just(OTHER)];
    let name = prop_oneof![Just("alias/a"), Just("alias/b")];
    let id = || prop_oneof![Just("g-1"), Just("g-2")];
    prop_oneof![
        (name, prop::option::of(key.clone())).prop_map(|(name, key)| alias(name, key)),
        (id(), 0_i64..9).prop_map(|(id, second)| grant(id, &format!("arn:aws:iam::111122223333:role/{id}"), second)),
        id().prop_map(|id| Change::GrantEnded { key: KEY.to_owned(), id: id.to_owned(), how: "revoked".to_owned() }),
        (key.clone(), "[ab]", prop::option::of("[xy]")).prop_map(|(key, name, value)| Change::Tag {
            key: key.to_owned(),
            name,
            value
        }),
        (key, "[xy]").prop_map(|(key, text)| Change::Policy { key: key.to_owned(), text, by: "by".to_owned() }),
    ]
}

proptest! {
    /// Whatever the order, the copies and the restarts between them.
    #[test]
    fn the_picture_is_a_set(
        changes in prop::collection::vec((0_i64..9, any_change()), 0..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        restart in 0_usize..12,
    ) {
        let numbered: Vec<_> =
            changes.into_iter().enumerate().map(|(n, (second, change))| (stamp(second, n as u32), change)).collect();
        // A grant's id is given out once; two makings of one would be two grants.
        let mut seen = BTreeSet::new();
        let numbered: Vec<_> = numbered
            .into_iter()
            .filter(|(_, change)| match change {
                Change::Granted { grant, .. } => seen.insert(grant.id.clone()),
                _ => true,
            })
            .collect();
        let mut plain = Picture::new(PictureLimits::default());
        for (stamp, change) in &numbered {
            plain.apply(stamp, change.clone());
        }
        let mut store = BTreeMap::new();
        let mut shuffled = Picture::new(PictureLimits::default());
        let mut sequence: Vec<_> = if numbered.is_empty() { Vec::new() } else { order.iter().map(|index| index.index(numbered.len())).collect() };
        sequence.extend(0..numbered.len());
        for (step, index) in sequence.into_iter().enumerate() {
            let (stamp, change) = &numbered[index];
            shuffled.apply(stamp, change.clone());
            for (key, value) in shuffled.take_rows() {
                match value {
                    Some(value) => drop(store.insert(key, value)),
                    None => drop(store.remove(&key)),
                }
            }
            if step == restart {
                shuffled = Picture::new(PictureLimits::default());
                for (key, value) in &store {
                    prop_assert!(Picture::owns(key));
                    shuffled.restore(key, value).unwrap();
                }
            }
        }
        prop_assert_eq!(&shuffled.keys, &plain.keys);
        prop_assert_eq!(&shuffled.aliases, &plain.aliases);
    }
}

#[test]
fn a_damaged_row_says_what_to_do() {
    let mut picture = Picture::new(PictureLimits::default());
    for (key, value, reason) in
        [(&b"K"[..], &b"\x01{"[..], "EOF"), (b"Karn", b"\x02{}", "another version"), (b"Garn", b"\x01{}", "its key")]
    {
        let error = picture.restore(key, value).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("move the state file away"), "{error}");
    }
}
