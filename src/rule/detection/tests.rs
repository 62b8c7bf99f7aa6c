//! Items, lists and placeholders, tried on records.

use crate::event::derive::{derive, uses_of};
use crate::event::record::decode;
use crate::keys::inventory::Inventory;
use crate::rule::placeholders::Placeholders;
use crate::rule::{RuleSet, RuleText};

const LISTS: &str = "domains: [{name: vault, keys: [alias/vault]}]
approved_regions: [eu-west-1]
placeholders: {near: [eu-west-1, 'eu-*-2'], roles: [role/pay, 'role/ops-*'], nobody: []}
";

/// What is said of a detection, and which of the records it matches: by `rest`, members of one.
fn tried(detection: &str, filter: &str, rests: &[&str]) -> (String, Vec<bool>) {
    let rule = format!(
        "title: t\nid: 11111111-2222-4333-8444-000000000001\nlogsource: {{product: aws}}\ndetection: {detection}\n"
    );
    let mut texts = vec![RuleText { path: "r.yml".to_owned(), text: rule }];
    if !filter.is_empty() {
        let filter = format!(
            "title: f\nid: 11111111-2222-4333-8444-000000000002\nlogsource: {{product: aws}}\nfilter: {filter}\n"
        );
        texts.push(RuleText { path: "s.yml".to_owned(), text: filter });
    }
    let placeholders = Placeholders::of(&Inventory::parse("keys.yml", LISTS).unwrap());
    let compiled = RuleSet::compile_with(&texts, &placeholders);
    let told = compiled.diagnostics.iter().filter(|told| told.code.as_str() != "no-examples");
    let said = told.map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let Some(rules) = compiled.rules else { return (said, Vec::new()) };
    let matches = |rest: &&str| {
        let raw =
            format!(r#"{{"eventTime":"2026-01-05T22:10:00Z","eventSource":"q.amazonaws.com","eventName":"X"{rest}}}"#);
        let mut record = decode(&raw, &rules.projection).unwrap();
        let used = uses_of(&record).remove(0);
        derive(&mut record, &used);
        let mut out = Vec::new();
        rules.matches(&record.fields, record.raw, &mut out);
        !out.is_empty()
    };
    (said, rests.iter().map(matches).collect())
}

fn matching(detection: &str, rests: &[&str]) -> Vec<bool> {
    let (said, matched) = tried(detection, "", rests);
    assert_eq!(said, "", "{detection}");
    matched
}

const REGIONS: [&str; 4] =
    [r#","awsRegion":"eu-west-1""#, r#","awsRegion":"eu-north-2""#, r#","awsRegion":"us-east-1""#, ""];

#[test]
fn all_of_values_that_come_to_several_tests() {
    let line = |text: &str| format!(r#","userAgent":"{text}""#);
    let lines = [line("run -a /b"), line("run \u{2013}b -a"), line("run -a")];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        matching("{a: {userAgent|windash|contains|all: [' -a', ' -b']}, condition: a}", &lines),
        [true, true, false]
    );
    let encoded = [r#","userAgent":"eHNlY3JldCBrZXk=""#, r#","userAgent":"eHNlY3JldCA=""#];
    let both = "{a: {userAgent|base64offset|contains|all: [secret, 'key']}, condition: a}";
    assert_eq!(matching(both, &encoded), [true, false]);
}

#[test]
fn one_field_within_another() {
    let arn = |name: &str| format!(r#","userIdentity":{{"arn":"arn:aws:iam::1:user/{name}","userName":"Ann"}}"#);
    let records = [arn("Ann"), arn("ann"), arn("annabel"), arn("bob")];
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    for (modifiers, expected) in [
        ("fieldref|endswith", [true, true, false, false]),
        ("fieldref|contains", [true, true, true, false]),
        ("fieldref|endswith|cased", [true, false, false, false]),
        ("fieldref|contains|neq", [false, false, false, true]),
        ("fieldref", [false; 4]),
    ] {
        let detection = format!("{{a: {{userIdentity.arn|{modifiers}: userIdentity.userName}}, condition: a}}");
        assert_eq!(matching(&detection, &records), expected, "{modifiers}");
    }
}

#[test]
fn keywords_and_what_has_no_place_there() {
    let records = [r#","x":["a NEEDLE b"]"#, r#","x":{"y":"hay 12"},"z":7"#, r#","z":170"#];
    assert_eq!(matching("{a: [needle, 7], condition: a}", &records), [true, true, true]);
    assert_eq!(matching("{a: {'|re': 'hay \\d+'}, condition: a}", &records), [false, true, false]);
    assert_eq!(matching("{a: {'|contains|cased': needle}, condition: a}", &records), [false, false, false]);
    for odd in ["'|neq': x", "'|startswith': x", "'|cidr': 10.0.0.0/8", "'|hour': 7", "'|exists': true"] {
        let (said, _) = tried(&format!("{{a: {{{odd}}}, condition: a}}"), "", &[]);
        assert!(said.contains("without a field") && said.contains("name a field before the bar"), "{odd}: {said}");
    }
}

#[test]
fn lists_that_sigma_does_not_know() {
    let (said, matched) = tried("{a: {errorCode: [X, null]}, condition: a}", "", &["", r#","errorCode":"Y""#]);
    assert!(said.starts_with("r.yml:4:32: warning[bad-value]: Sigma knows no `null` within a list"), "{said}");
    assert_eq!(matched, [true, false], "but it means what it says");
    let (said, _) = tried("{a: {userAgent|contains|all: x}, condition: a}", "", &[]);
    assert!(said.contains("warning[bad-value]: `all` of a single value"), "{said}");
    let (said, _) = tried("{a: {'resources[any]': {ARN: x}}, condition: a}", "", &[]);
    assert!(said.contains("error[unsupported]: `resources[any]` picks elements of a list"), "{said}");
}

#[test]
fn placeholders_stand_for_their_lists() {
    let is = "{a: {awsRegion|expand: '%near%'}, condition: a}";
    assert_eq!(matching(is, &REGIONS), [true, true, false, false]);
    let is_not = "{a: {awsRegion|expand|neq: '%near%'}, condition: a}";
    assert_eq!(matching(is_not, &REGIONS), [false, false, true, true]);
    let arn = |arn: &str| format!(r#","userIdentity":{{"arn":"{arn}"}}"#);
    let arns = [arn("arn:aws:iam::1:role/pay"), arn("arn:aws:iam::1:role/ops-7"), arn("arn:aws:iam::1:role/payer")];
    let arns: Vec<_> = arns.iter().map(String::as_str).collect();
    let ends = "{a: {userIdentity.arn|expand|endswith: ':%roles%'}, condition: a}";
    assert_eq!(matching(ends, &arns), [true, true, false]);
    let like = "{a: {userIdentity.arn|re|expand: '^arn:\\w+:iam::\\d:%roles%$'}, condition: a}";
    assert_eq!(matching(like, &arns), [true, true, false]);
    let keys = "{a: {'|expand': '%domain.vault.keys%'}, condition: a}";
    assert_eq!(matching(keys, &[r#","x":"alias/vault""#, r#","x":"alias/other""#]), [true, false]);
}

/// What the inventory lacks is no mistake of the rule, not even of one of ours.
#[test]
fn lists_do_not_make_a_rule_impossible() {
    for list in ["%nobody%", "%undefined%"] {
        let detection = format!(
            "{{a: {{awsRegion|expand: '{list}'}}, b: {{awsRegion|expand|neq: '{list}'}}, condition: a and not b}}\nkmswatch: {{quiet: 1h}}"
        );
        let (said, matched) = tried(&detection, "", &["", r#","awsRegion":"%undefined%""#]);
        assert!(!said.contains("unreachable") && !said.contains("error"), "{said}");
        assert_eq!(matched, [false, false]);
    }
}

/// Nobody is on a list that is written and empty; of one that is not written nothing is known.
#[test]
fn an_empty_list_is_not_an_undefined_one() {
    let nobody = "{a: {userAgent|expand: '%nobody%'}, b: {eventName: X}, condition: b and not a}";
    assert_eq!(tried(nobody, "", &[""]).1, [true]);
    for (detection, expected) in [
        ("{a: {awsRegion|expand: '%regions%'}, condition: a}", [false; 4]),
        ("{a: {awsRegion|expand|neq: '%regions%'}, condition: a}", [false; 4]),
        ("{a: {awsRegion|expand: '%regions%'}, b: {eventName: X}, condition: b and not a}", [false; 4]),
        ("{a: {awsRegion|expand: ['%regions%', us-east-1]}, condition: a}", [false, false, true, false]),
        (
            "{a: {awsRegion|expand: '%regions%'}, b: {awsRegion: eu-west-1}, condition: a or b}",
            [true, false, false, false],
        ),
        ("{a: {awsRegion|expand|contains|all: ['%regions%', us]}, condition: a}", [false; 4]),
    ] {
        let (said, matched) = tried(detection, "", &REGIONS);
        assert!(said.contains("warning[undefined-placeholder]: `%regions%` is defined nowhere"), "{said}");
        assert!(said.contains("help: define `regions` under `placeholders:` of the key inventory"), "{said}");
        assert!(!said.contains("error"), "{said}");
        assert_eq!(matched, expected, "{detection}");
    }
    let (said, _) = tried("{a: {userAgent|expand: x%role%}, condition: a}", "", &[]);
    assert!(said.starts_with("r.yml:4:35: warning") && said.contains("did you mean `%roles%`?"), "{said}");
    let (said, _) = tried("{a: {userAgent|expand: role}, condition: a}", "", &[]);
    assert!(said.contains("error[bad-value]: `expand` has no placeholder to fill in"), "{said}");
}

#[test]
fn a_filter_by_an_undefined_list_takes_nothing_away() {
    let all = "{a: {eventName: X}, condition: a}";
    for (filter, expected) in [
        ("{rules: any, own: {awsRegion|expand: '%regions%'}, condition: not own}", [true; 4]),
        ("{rules: any, own: {awsRegion|expand: '%regions%'}, condition: own}", [true; 4]),
        ("{rules: any, own: {awsRegion|expand: '%near%'}, condition: not own}", [false, false, true, true]),
    ] {
        assert_eq!(tried(all, filter, &REGIONS).1, expected, "{filter}");
    }
}
