//! Cards of many keys, and names that are hard to tell.

use super::find::{Meant, find};
use super::*;
use crate::event::field::Projection;
use crate::event::record::decode;
use crate::keys::picture::PictureLimits;
use crate::keys::picture::change::{changes_of, stamp_of};

fn with<T>(inventory: &str, aliases: &[(&str, &str, &str)], then: impl Fn(&Sources<'_>) -> T) -> T {
    let mut picture = Picture::new(PictureLimits::default());
    for (index, (account, alias, id)) in aliases.iter().enumerate() {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:0{index}Z","eventSource":"kms.amazonaws.com","eventName":"CreateAlias","awsRegion":"eu-west-1","recipientAccountId":"{account}","requestParameters":{{"aliasName":"{alias}"}},"resources":[{{"ARN":"arn:aws:kms:eu-west-1:{account}:key/{id}"}}]}}"#
        );
        let record = decode(&raw, &Projection::fixed()).unwrap();
        for change in changes_of(&record) {
            picture.apply(&stamp_of(&record), change);
        }
    }
    let inventory = Inventory::parse("keys.yml", inventory).unwrap();
    let sources = Sources {
        picture: &picture,
        inventory: &inventory,
        incidents: &[],
        calls: &BTreeMap::new(),
        at: EventTime::parse("2026-01-06T00:00:00Z").unwrap(),
        redaction: Redaction::default(),
        replicas: OnceCell::new(),
    };
    then(&sources)
}

const NAMES: &[(&str, &str, &str)] = &[
    ("111122223333", "alias/vault", "k-1"),
    ("444455556666", "alias/vault", "k-2"),
    ("111122223333", "alias/ledger", "mrk-1"),
    ("111122223333", "alias/moved", "k-1"),
    ("111122223333", "alias/moved", "k-3"),
];

#[test]
fn a_key_is_found_by_each_of_its_names() {
    let arn = |account: &str, id: &str| format!("arn:aws:kms:eu-west-1:{account}:key/{id}");
    with("{}", NAMES, |sources| {
        for name in
            ["k-1", "arn:aws:kms:eu-west-1:111122223333:key/k-1", "arn:aws:kms:eu-west-1:111122223333:alias/vault"]
        {
            assert_eq!(find(sources, name), Meant::One(arn("111122223333", "k-1")), "{name}");
        }
        let both = vec![arn("111122223333", "k-1"), arn("444455556666", "k-2")];
        for name in ["alias/vault", "vault"] {
            assert_eq!(find(sources, name), Meant::Several(both.clone()), "{name}");
        }
        assert_eq!(
            find(sources, "alias/moved"),
            Meant::One(arn("111122223333", "k-3")),
            "an alias leads where it stands"
        );
        assert_eq!(find(sources, "alias/valut"), Meant::Nothing(vec!["alias/vault".to_owned()]));
        assert_eq!(find(sources, "arn:aws:kms:eu-west-1:999988887777:alias/vault"), Meant::Nothing(Vec::new()));
        assert_eq!(find(sources, ""), Meant::Nothing(Vec::new()));
    });
}

#[test]
fn the_inventory_names_keys_too_and_its_alias_comes_first() {
    let keys = "domains: [{name: d, keys: [{alias: alias/zoo, arn: 'arn:aws:kms:eu-west-1:111122223333:key/k-1'}, 'arn:aws:kms:eu-west-1:111122223333:key/k-9']}]";
    with(keys, NAMES, |sources| {
        let card = sources.card("arn:aws:kms:eu-west-1:111122223333:key/k-1");
        assert_eq!(
            (card.name.as_str(), card.aliases),
            ("alias/zoo", vec!["alias/zoo".to_owned(), "alias/vault".to_owned()])
        );
        let rows = table::rows(sources);
        let names: Vec<_> = rows.iter().map(|row| (row.domain.as_deref().unwrap_or("-"), row.name.as_str())).collect();
        assert_eq!(
            names,
            [("d", "alias/zoo"), ("d", "k-9"), ("-", "alias/ledger"), ("-", "alias/moved"), ("-", "alias/vault")]
        );
    });
}
