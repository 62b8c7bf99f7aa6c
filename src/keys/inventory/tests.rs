use super::*;
use crate::time::EventTime;

const GOOD: &str = "domains:
  - name: token-vault
    tier: critical
    keys:
      - {alias: alias/vault, arn: 'arn:aws:kms:eu-west-1:111122223333:key/k-1'}
      - mrk-77
    expect:
      - principals: ['arn:aws:iam::111122223333:role/pay']
        operations: [Encrypt, 'Generate*']
    never: ['arn:aws:iam::*:role/developer-*']
";

#[test]
fn a_key_is_found_by_any_of_its_names() {
    let inventory = Inventory::parse("keys.yml", GOOD).unwrap();
    for name in ["arn:aws:kms:eu-west-1:111122223333:key/k-1", "k-1", "alias/vault", "mrk-77"] {
        assert_eq!(
            inventory.domain_of(&KeyRef::parse(name).unwrap(), None, &Known::default).unwrap().name,
            "token-vault",
            "{name}"
        );
    }
    assert!(inventory.domain_of(&KeyRef::parse("k-2").unwrap(), None, &Known::default).is_none());
    assert_eq!(inventory.alias_of(&KeyRef::parse("k-1").unwrap()), Some("alias/vault"));
    assert_eq!(inventory.alias_of(&KeyRef::parse("mrk-77").unwrap()), None);
}

/// A foreign key under an alias of our name, used by a principal that is expected to use ours.
#[test]
fn a_key_of_another_account_is_not_ours_by_its_alias() {
    let inventory = Inventory::parse("keys.yml", GOOD).unwrap();
    let key = |account: &str, id: &str, alias: &str| KeyRef {
        arn: Some(format!("arn:aws:kms:eu-west-1:{account}:key/{id}")),
        id: Some(id.to_owned()),
        alias: Some(alias.to_owned()),
        ..KeyRef::default()
    };
    let found = |key: &KeyRef| inventory.domain_of(key, Some("111122223333"), &Known::default).is_some();
    assert!(!found(&key("999988887777", "k-9", "alias/vault")), "the inventory knows the ARN of alias/vault");
    assert!(!found(&key("111122223333", "k-9", "alias/vault")), "nor is another key of ours, when the alias was moved");
    assert!(!found(&key("999988887777", "mrk-77", "")), "an id alone does not reach into another account");
    assert!(found(&key("111122223333", "mrk-77", "")));
    assert!(found(&key("111122223333", "k-1", "")));
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let text = GOOD
        .replace("Encrypt,", "Encrpyt,")
        .replace("- mrk-77", "- 'arn:aws:s3:::b'")
        .replace("role/pay'", "x:assumed-role/pay/s'")
        + "  - name: token-vault\n    keys: [k-1]\n    never: [bob]\n";
    let error = Inventory::parse("keys.yml", &text).unwrap_err();
    let got = error.to_string();
    for expected in [
        "keys.yml:6:9: 'arn:aws:s3:::b' is no key",
        "keys.yml:9:22: no KMS operation is called 'Encrpyt'; did you mean Encrypt?",
        "write arn:aws:iam::ACCOUNT:role/NAME",
        "keys.yml:11:11: domain 'token-vault' is there already",
        "keys.yml:12:12: key 'k-1' belongs to domain 'token-vault' already",
        "keys.yml:13:13: 'bob' is no principal",
    ] {
        assert!(got.contains(expected), "{expected} is not in\n{got}");
    }
    let odd = Inventory::parse("keys.yml", "accounts: [123]\napproved_regions: [Ireland]\nsupply_line: [kmswatch]\n");
    let odd = odd.unwrap_err().to_string();
    for expected in ["1:12: '123' is no account", "2:20: 'Ireland' is no Region", "3:15: 'kmswatch' is no ARN"] {
        assert!(odd.contains(expected), "{odd}");
    }
    let typo = Inventory::parse("keys.yml", &GOOD.replace("tier:", "teir:")).unwrap_err().to_string();
    assert!(typo.starts_with("keys.yml:3:5: ") && typo.contains("teir"), "{typo}");
}

/// What is known beside the record: an alias put on the key later, tags, the ARN behind an alias.
#[test]
fn a_key_is_found_by_what_is_known_of_it() {
    let text = "domains:
  - {name: vault, keys: [alias/vault, {tag: {data-domain: token-vault, stage: 'prod*'}}]}
  - {name: pii, keys: ['arn:aws:kms:eu-west-1:111122223333:key/mrk-9']}
  - {name: other, keys: ['arn:aws:kms:eu-west-1:999988887777:alias/vault']}
";
    let inventory = Inventory::parse("keys.yml", text).unwrap();
    let found = |account: &str, id: &str, known: &Known| {
        let key = KeyRef::parse(&format!("arn:aws:kms:us-east-1:{account}:key/{id}")).unwrap();
        let domain = inventory.domain_of(&key, Some("111122223333"), &|| known.clone());
        domain.map(|domain| domain.name.as_str())
    };
    let alias = Known { aliases: vec!["alias/x".to_owned(), "alias/vault".to_owned()], ..Known::default() };
    assert_eq!(found("111122223333", "k-1", &alias), Some("vault"));
    assert_eq!(found("999988887777", "k-1", &alias), Some("other"), "an alias ARN names the account");
    assert_eq!(found("444455556666", "k-1", &alias), None);
    let tag = |stage: &str| {
        let tags = [("data-domain", "token-vault"), ("stage", stage)];
        Known { tags: tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), ..Known::default() }
    };
    assert_eq!(found("111122223333", "k-1", &tag("prod-1")), Some("vault"));
    assert_eq!(found("111122223333", "k-1", &tag("test")), None);
    assert_eq!(found("999988887777", "k-1", &tag("prod-1")), None, "anybody may tag his own key");
    assert_eq!(found("111122223333", "mrk-9", &Known::default()), Some("pii"), "a replica is the same key");
    assert_eq!(found("999988887777", "mrk-9", &Known::default()), None);
    let typed = KeyRef::parse("alias/somewhere").unwrap();
    let arn = Known { arn: Some("arn:aws:kms:eu-west-1:111122223333:key/mrk-9".to_owned()), ..Known::default() };
    assert_eq!(inventory.domain_of(&typed, None, &|| arn.clone()).unwrap().name, "pii");
}

#[test]
fn exceptions_are_read_and_their_mistakes_named() {
    let text = "domains: [{name: vault, keys: [k-1]}]
break_glass:
  - {ticket: INC-1, principals: ['arn:aws:iam::111122223333:role/b'], domains: [vault], start: 2026-01-05T22:00:00Z, until: 2026-01-06T02:00:00Z}
suppressions:
  - {rule: 6B0E, keys: ['alias/test-*'], until: 2026-02-01T00:00:00Z, ticket: CHG-1}
";
    let inventory = Inventory::parse("keys.yml", text).unwrap();
    assert!(inventory.break_glass[0].holds(EventTime::parse("2026-01-06T01:59:59Z").unwrap()));
    let keys = [vec!["alias/test-1"]];
    let last = EventTime::parse("2026-01-31T00:00:00Z").unwrap();
    let told = Told { rule: "6b0e", principals: &[], keys: &keys, last };
    assert_eq!(inventory.suppresses(told).unwrap().ticket, "CHG-1");

    let bad = text
        .replace("domains: [vault]", "domains: [valut]")
        .replace("2026-01-06T02", "2026-01-05T02")
        .replace("rule: 6B0E, keys: ['alias/test-*'], ", "");
    let expect = "
  - name: pii
    keys: [{tag: {a: b}, alias: alias/x}]
    expect:
      - {principals: ['*'], from: [10.0.0.0/33], days: [someday]}
      - {principals: ['*'], hours: 7-19}
      - {principals: ['*'], timezone: Mars}
";
    let bad = bad.replace(
        "domains: [{name: vault, keys: [k-1]}]",
        &format!("domains:\n  - {{name: vault, keys: [k-1]}}{expect}"),
    );
    let got = Inventory::parse("keys.yml", &bad).unwrap_err().to_string();
    for expected in [
        "4:12: a key by name or by tag, not both",
        "6:36: '10.0.0.0/33' is no network",
        "6:56: 'someday' is no day",
        "7:36: '7-19' is no stretch of a day",
        "8:39: 'Mars' is no time zone",
        "no domain is called 'valut'; did you mean 'vault'?",
        "the end is not after the start",
        "this would suppress every alert",
    ] {
        assert!(got.contains(expected), "{expected} is not in\n{got}");
    }
}

/// More nodes than a reader of YAML takes unasked: what `keys import` writes for a large bank.
#[test]
fn a_large_inventory_is_read() {
    let text = format!("placeholders: {{all: [{}]}}", "a, ".repeat(300_000));
    assert_eq!(Inventory::parse("keys.yml", &text).unwrap().placeholders["all"].len(), 300_000);
}
