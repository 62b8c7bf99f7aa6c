use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::keys::inventory::{Inventory, Known};
use crate::keys::pattern::NamePattern;
use crate::keys::snapshot;

fn settings(text: &str) -> ProposalSettings {
    let mut settings = ProposalSettings::default();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("tag", tag)) => settings.domain_by.tag = Some(tag.to_owned()),
            Some((pattern, domain)) => {
                settings.domain_by.aliases.push((NamePattern::new(pattern), domain.to_owned()));
            }
            None => settings.expect_accounts = word == "expect-accounts",
        }
    }
    settings
}

/// Each folder of `tests/golden/import`: keys as a snapshot, how to propose, and what comes of it.
/// `KMSWATCH_BLESS=1` writes what comes of it now.
#[test]
fn goldens() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/import");
    let mut cases: Vec<_> = std::fs::read_dir(&golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 5, "{cases:?}");
    for case in cases {
        let text = std::fs::read_to_string(case.join("keys.jsonl")).unwrap();
        let how = std::fs::read_to_string(case.join("settings")).unwrap_or_default();
        let mut proposal = Proposal::new(settings(&how));
        for facts in snapshot::read("keys.jsonl", &text).unwrap().into_values() {
            proposal.add(&facts, None, None);
        }
        let got = proposal.propose().text;
        Inventory::parse(&case.display().to_string(), &got).unwrap_or_else(|error| panic!("{error}\n{got}"));
        let expected = case.join("expected.yml");
        if std::env::var_os("KMSWATCH_BLESS").is_some() {
            std::fs::write(&expected, &got).unwrap();
        }
        assert_eq!(got, std::fs::read_to_string(&expected).unwrap(), "{}", case.display());
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z/*:'\"{}#&\\[\\] -]{0,12}",
        Just("arn:aws:iam::111122223333:role/pay".to_owned()),
        Just("arn:aws:iam::999988887777:root".to_owned()),
        Just("arn:aws:sts::111122223333:assumed-role/pay/s".to_owned()),
        Just("arn:aws:sts::111122223333:assumed-role/".to_owned()),
        Just("*".to_owned()),
        Just("<<".to_owned()),
    ]
}

prop_compose! {
    fn any_statement()(
        sid in any_text(),
        effect in prop_oneof![Just("Allow"), Just("Deny")],
        inverted in any::<bool>(),
        principals in prop::collection::vec(any_text(), 0..3),
        kind in prop_oneof![Just("AWS"), Just("Service"), Just("Federated")],
        action in prop_oneof![Just("kms:*"), Just("kms:Decrypt"), Just("kms:Put*"), Just("*")],
        operator in prop_oneof![Just("StringEquals"), Just("StringLike"), Just("IpAddress"), Just("Null")],
        condition in prop_oneof![
            Just("kms:ViaService".to_owned()), Just("aws:PrincipalArn".to_owned()), Just("aws:SourceIp".to_owned()),
            Just("kms:CallerAccount".to_owned()), Just("aws:RequestedRegion".to_owned()),
            any_text().prop_map(|name| format!("kms:EncryptionContext:{name}")),
        ],
        values in prop::collection::vec(any_text(), 0..3),
    ) -> serde_json::Value {
        let who = if inverted { "NotPrincipal" } else { "Principal" };
        serde_json::json!({
            "Sid": sid, "Effect": effect, who: {kind: principals}, "Action": action,
            "Condition": {operator: {condition: values}},
        })
    }
}

prop_compose! {
    fn any_grant()(
        id in any_text(),
        name in prop::option::of(any_text()),
        grantee in any_text(),
        operations in prop::collection::btree_set(prop_oneof![Just("Decrypt".to_owned()), Just("CreateGrant".to_owned()), any_text()], 0..3),
        context in prop::collection::btree_map(any_text(), any_text(), 0..3),
    ) -> snapshot::GrantFacts {
        snapshot::GrantFacts { id, name, grantee, operations, context_subset: context, ..Default::default() }
    }
}

prop_compose! {
    fn any_key()(
        region in prop_oneof![Just("eu-west-1"), Just("us-east-1")],
        account in prop_oneof![Just("111122223333"), Just("999988887777")],
        id in prop_oneof![Just("mrk-1"), Just("k-1"), Just("k-2"), Just("k-3")],
        aliases in prop::collection::btree_set(prop_oneof![Just("alias/a".to_owned()), Just("alias/b".to_owned()), any_text()], 0..3),
        tag in prop::option::of(any_text()),
        description in any_text(),
        statements in prop::collection::vec(any_statement(), 0..3),
        grants in prop::collection::vec(any_grant(), 0..3),
        unknown in prop::collection::btree_map(any_text(), any_text(), 0..2),
    ) -> KeyFacts {
        let policy = serde_json::json!({"Statement": statements}).to_string();
        let arn = format!("arn:aws:kms:{region}:{account}:key/{id}");
        let mut facts: KeyFacts = serde_json::from_value(serde_json::json!({"arn": arn, "as_of": "2026-01-05T10:00:00Z"})).unwrap();
        facts.aliases = aliases;
        facts.tags = tag.map(|value| ("data-domain".to_owned(), value)).into_iter().collect();
        (facts.description, facts.policy, facts.grants, facts.unknown) = (description, Some(policy), grants, unknown);
        facts
    }
}

proptest! {
    #[test]
    fn whatever_keys_hold_the_proposal_parses_and_knows_them(
        keys in prop::collection::vec(any_key(), 0..6),
        expect_accounts in any::<bool>(),
        by_tag in any::<bool>(),
    ) {
        let mut settings = ProposalSettings { expect_accounts, ..ProposalSettings::default() };
        settings.domain_by.tag = by_tag.then(|| "data-domain".to_owned());
        // One of each ARN, as in a snapshot.
        let keys: BTreeMap<String, KeyFacts> = keys.into_iter().map(|key| (key.arn.clone(), key)).collect();
        let propose = |keys: Vec<&KeyFacts>| {
            let mut proposal = Proposal::new(settings.clone());
            keys.into_iter().for_each(|key| proposal.add(key, None, None));
            proposal.propose()
        };
        let proposed = propose(keys.values().collect());
        let inventory = Inventory::parse("keys.yml", &proposed.text);
        prop_assert!(inventory.is_ok(), "{:?}\n{}", inventory, proposed.text);
        let inventory = inventory.unwrap();
        prop_assert_eq!(inventory.domains.len(), proposed.domains);
        let lines: usize = inventory.domains.iter().map(|domain| domain.expect.len()).sum();
        prop_assert_eq!(lines, proposed.lines);
        for arn in keys.values().filter(|key| !key.aliases.iter().any(|alias| alias.starts_with("alias/aws/"))).map(|key| &key.arn) {
            let found = inventory.domain_of(&KeyRef::parse(arn).unwrap(), None, &Known::default);
            prop_assert!(found.is_some(), "{}\n{}", arn, proposed.text);
        }
        prop_assert_eq!(&propose(keys.values().rev().collect()).text, &proposed.text, "the order does not matter");
    }
}

#[test]
fn keys_known_by_id_or_alias_only_are_listed_so() {
    let mut proposal = Proposal::new(ProposalSettings::default());
    let mut facts: KeyFacts = serde_json::from_str(r#"{"arn":"mrk-1","as_of":"2026-01-05T10:00:00Z"}"#).unwrap();
    facts.policy = Some(r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999988887777:role/x"},"Action":"kms:Decrypt"}}"#.to_owned());
    proposal.add(&facts, Some("vault"), Some("vault.json"));
    proposal.add(&KeyFacts { arn: "alias/pii".to_owned(), ..facts.clone() }, None, None);
    let managed = KeyFacts { arn: "k-9".to_owned(), aliases: BTreeSet::from(["alias/aws/s3".to_owned()]), ..facts };
    proposal.add(&managed, None, None);
    let proposed = proposal.propose();
    let text = &proposed.text;
    assert!(!text.contains("EXTERNAL"), "whose key it is is not known:\n{text}");
    assert!(text.contains("      # from vault.json\n      - 'mrk-1'\n") && text.contains("- 'alias/pii'\n"), "{text}");
    assert_eq!((proposed.keys, proposed.aws_managed), (2, 1));
    let inventory = Inventory::parse("keys.yml", text).unwrap();
    let names: Vec<_> = inventory.domains.iter().map(|domain| domain.name.as_str()).collect();
    assert_eq!(names, ["pii", "vault"]);
}

#[test]
fn many_contexts_are_one_line_without() {
    let grants: Vec<_> = (0..40)
        .map(|n| {
            serde_json::json!({"id": format!("g{n:02}"), "grantee": "arn:aws:iam::111122223333:role/ebs", "operations": ["Decrypt"],
                "context_equals": {"aws:ebs:id": format!("vol-{n}")}})
        })
        .collect();
    let facts = serde_json::json!({"arn": "arn:aws:kms:eu-west-1:111122223333:key/k", "as_of": "2026-01-05T10:00:00Z", "grants": grants});
    let mut proposal = Proposal::new(ProposalSettings::default());
    proposal.add(&serde_json::from_value(facts).unwrap(), None, None);
    let proposed = proposal.propose();
    assert_eq!(proposed.lines, 1);
    let said = "grants g00, g01, g02 and 37 more of arn:aws:kms:eu-west-1:111122223333:key/k; without their 40 encryption contexts";
    assert!(proposed.text.contains(said), "{}", proposed.text);
}
