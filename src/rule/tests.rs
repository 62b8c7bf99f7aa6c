//! Rules compiled from text and tried on records; broken rules and what is said of them.

use proptest::prelude::*;

use super::pattern::compile as compile_value;
use super::*;
use crate::event::derive::{derive, uses_of};
use crate::event::field::{core, derived};
use crate::event::record::decode;

const GOOD: &str = "title: Key disabled
id: 11111111-2222-4333-8444-555555555555
status: stable
level: high
tags: [attack.impact]
logsource: {product: aws, service: cloudtrail}
detection:
  use:
    eventSource: kms.amazonaws.com
    eventName: [DisableKey, 'Schedule*']
  failed:
    errorCode|exists: true
  condition: use and not failed
kmswatch:
  group-by: [kms.key_arn]
  quiet: 30m
  summary: '{kms.principal} disabled {kms.key}'
  examples: {fires: [{eventName: DisableKey}], silent: [{eventName: EnableKey}]}
  respond: ['aws kms enable-key --key-id {kms.key_arn}']
description: What it means.
falsepositives: [none]
";

fn text(path: &str, text: &str) -> RuleText {
    RuleText { path: path.to_owned(), text: text.to_owned() }
}

fn compiled(texts: &[&str]) -> RuleSet {
    let texts: Vec<_> = texts.iter().enumerate().map(|(n, yaml)| text(&format!("deletion/{n}.yml"), yaml)).collect();
    let compiled = RuleSet::compile(&texts);
    let said: Vec<_> = compiled.diagnostics.iter().map(ToString::to_string).collect();
    compiled.rules.unwrap_or_else(|| panic!("{}", said.join("\n")))
}

fn said_of(yaml: &str) -> Vec<String> {
    RuleSet::compile(&[text("f/r.yml", yaml)]).diagnostics.iter().map(ToString::to_string).collect()
}

/// Titles of the rules that a record matches.
fn matching(rules: &RuleSet, source: &str, name: &str, rest: &str) -> Vec<String> {
    let raw = format!(
        r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"{source}","eventName":"{name}","requestParameters":{{}}{rest}}}"#
    );
    let mut record = decode(&raw, &rules.projection).unwrap();
    let used = uses_of(&record).remove(0);
    derive(&mut record, &used);
    let mut out = Vec::new();
    rules.matches(&record.fields, record.raw, &mut out);
    out.iter().map(|index| rules.rules[index.0 as usize].meta.title.clone()).collect()
}

const KMS: &str = "kms.amazonaws.com";

#[test]
fn a_rule_reads_as_written() {
    let rules = compiled(&[GOOD]);
    let rule = &rules.rules[0];
    assert_eq!((rule.level, rule.meta.family.as_str(), rule.quiet), (Level::High, "deletion", Span::from_secs(1800)));
    assert_eq!(rule.group_by, ["kms.key_arn"]);
    assert_eq!(matching(&rules, KMS, "DisableKey", ""), ["Key disabled"]);
    assert_eq!(matching(&rules, "KMS.amazonaws.com", "schedulekeydeletion", "").len(), 1);
    assert!(matching(&rules, KMS, "DisableKey", r#","errorCode":"AccessDenied""#).is_empty());
    assert!(matching(&rules, KMS, "EnableKey", "").is_empty());
    assert!(rules.wants(KMS, "DisableKey") && !rules.wants("s3.amazonaws.com", "DisableKey"));
}

#[test]
fn conditions_and_lists() {
    let rule = |id: u8, detection: &str| {
        format!(
            "title: t{id}\nid: 11111111-2222-4333-8444-5555555555{id:02}\nlogsource: {{product: aws}}\ndetection: {detection}\n"
        )
    };
    let all = [
        rule(1, "{a: {eventName: X}, b: {eventSource: s3.amazonaws.com}, condition: 1 of them}"),
        rule(2, "{sel_a: {eventName: X}, sel_b: {awsRegion: eu-west-1}, condition: all of sel_*}"),
        rule(3, "{a: [{eventName: X}, {eventName: Z}], condition: a}"),
        rule(4, "{a: {userAgent|contains|all: [aws, cli]}, condition: a}"),
        rule(5, "{keywords: ['needle'], condition: keywords}"),
        rule(6, "{a: {errorCode: null}, condition: a and not 1 of b*, b1: {eventName: Z}}"),
        rule(7, "{a: {eventName|neq: X}, condition: a}"),
        rule(8, "{a: {awsRegion|fieldref: userAgent}, condition: a}"),
    ];
    let rules = compiled(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let got = |source, name, rest| matching(&rules, source, name, rest).join(" ");
    assert_eq!(got("q.amazonaws.com", "X", r#","awsRegion":"eu-west-1""#), "t1 t2 t3 t6");
    assert_eq!(got("s3.amazonaws.com", "Z", r#","userAgent":"aws-cli""#), "t1 t3 t4 t7");
    assert_eq!(got("q", "X", r#","errorCode":"E","responseElements":{"a":["a NEEDLE b"]}"#), "t1 t3 t5");
    assert_eq!(got("q", "X", r#","errorCode":"E","awsRegion":"r","userAgent":"r""#), "t1 t3 t8");
}

#[test]
fn values_are_what_is_written_and_absent_is_not_empty() {
    let rule = |id: u8, detection: &str| {
        format!(
            "title: t{id}\nid: 11111111-2222-4333-8444-5555555555{id:02}\nlogsource: {{product: aws}}\ndetection: {detection}\n"
        )
    };
    let all = [
        rule(1, "{a: {recipientAccountId: 012345678901}, condition: a}"),
        rule(2, "{a: {eventVersion: 1.10}, condition: a}"),
        rule(3, "{a: {userIdentity.sessionContext|exists: true}, condition: a}"),
        rule(4, "{a: {errorCode|exists: false}, condition: a}"),
        rule(5, "{a: {awsRegion|fieldref|neq: [userAgent, vpcEndpointId]}, condition: a}"),
        rule(6, "{a: {'|all': [needle, 'hay*k']}, condition: a}"),
        rule(7, "{a: {requestParameters.keyId: null}, condition: a}"),
    ];
    let mut marked = all.map(|yaml| format!("\u{feff}{yaml}"));
    marked[1] = marked[1].replace('\n', "\r\n");
    let rules = compiled(&marked.iter().map(String::as_str).collect::<Vec<_>>());
    let got = |rest| matching(&rules, "q.amazonaws.com", "X", rest).join(" ");
    assert_eq!(got(r#","recipientAccountId":"012345678901","eventVersion":"1.10""#), "t1 t2 t4 t5 t7");
    assert_eq!(got(r#","recipientAccountId":"12345678901","eventVersion":"1.1""#), "t4 t5 t7");
    let session = r#","errorCode":null,"userIdentity":{"sessionContext":{"attributes":{}}}"#;
    assert_eq!(got(session), "t3 t4 t5 t7", "null is not there");
    assert_eq!(got(r#","errorCode":"E","awsRegion":"R","vpcEndpointId":"r""#), "t7");
    assert_eq!(got(r#","errorCode":"E","awsRegion":"R","vpcEndpointId":"r","tags":["A NEEDLE","haystack"]"#), "t6 t7");
}

#[test]
fn a_rule_without_our_block_has_defaults() {
    let bare = GOOD.split("kmswatch:").next().unwrap();
    let read = RuleSet::compile(&[text("sigma/r.yml", bare)]);
    let codes: Vec<_> = read.diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    assert_eq!(codes, ["no-examples"]);
    let rule = &read.rules.unwrap().rules[0];
    let grouped: Vec<_> = rule.group_by.iter().map(String::as_str).collect();
    assert_eq!(grouped, ["kms.key_arn", "kms.principal"]);
    assert_eq!((rule.quiet, rule.lateness), (Rule::DEFAULT_QUIET, Rule::DEFAULT_LATENESS));
}

#[test]
fn correlations_count_and_filters_narrow() {
    let base = "title: denied\nid: 11111111-2222-4333-8444-000000000001\nname: denied\nlogsource: {product: aws}\ndetection: {a: {kms.outcome: denied, eventSource: kms.amazonaws.com}, condition: a}\n";
    let burst = "title: burst\nid: 11111111-2222-4333-8444-000000000002\nlevel: high\ncorrelation: {type: event_count, rules: [denied], group-by: [kms.principal], timespan: 5m, condition: {gt: 9}}\n";
    let values = "title: keys\nid: 11111111-2222-4333-8444-000000000003\ncorrelation: {type: value_count, rules: [11111111-2222-4333-8444-000000000001], group-by: [kms.principal], timespan: 1h, condition: {field: kms.key_arn, gte: 5}}\n";
    let filter = "title: config\nid: 11111111-2222-4333-8444-000000000004\nlogsource: {product: aws}\nfilter: {rules: [denied], own: {userIdentity.invokedBy: config.amazonaws.com}, condition: not own}\n";
    let rules = compiled(&[base, burst, values, filter]);
    assert_eq!(rules.rules.len(), 2, "a counted rule opens nothing of its own");
    let events = detector::Test::EventCount(detector::Bounds(vec![detector::Bound::Gt(9.0)]));
    assert_eq!(rules.rules[0].detector, Detector::Window { timespan: Span::from_secs(300), test: events });
    let values = detector::Test::ValueCount { path: "kms.key_arn".to_owned(), bounds: detector::Bounds::at_least(5.0) };
    assert!(matches!(&rules.rules[1].detector, Detector::Window { test, .. } if *test == values));
    assert_eq!(matching(&rules, KMS, "Decrypt", r#","errorCode":"AccessDenied""#), ["burst", "keys"]);
    let config =
        r#","errorCode":"AccessDenied","userIdentity":{"type":"AWSService","invokedBy":"config.amazonaws.com"}"#;
    assert!(matching(&rules, KMS, "Decrypt", config).is_empty());
    let any = filter.replace("[denied]", "any");
    assert!(matching(&compiled(&[base, burst, &any]), KMS, "Decrypt", config).is_empty(), "a filter of all rules");
    let other = any.replace("{product: aws}", "{product: aws, service: waf}");
    let base_of_trail = base.replace("{product: aws}", "{product: aws, service: cloudtrail}");
    assert_eq!(
        matching(&compiled(&[&base_of_trail, burst, &other]), KMS, "Decrypt", config),
        ["burst"],
        "not of this service"
    );
    let generating = burst.replace("timespan", "generate: true, timespan");
    assert_eq!(compiled(&[base, &generating]).rules.len(), 2);
    let beside = format!("{burst}generate: true\n");
    assert_eq!(compiled(&[base, &beside]).rules.len(), 2, "where the schema has it");
    assert_eq!(compiled(&[base, burst]).rules.len(), 1);
}

#[test]
fn an_ordered_correlation_may_say_in_numbers_that_it_wants_all() {
    let base = "title: denied\nid: 11111111-2222-4333-8444-000000000001\nname: denied\nlogsource: {product: aws}\ndetection: {a: {kms.outcome: denied, eventSource: kms.amazonaws.com}, condition: a}\n";
    let ordered = |condition: &str| {
        format!(
            "title: twice\nid: 11111111-2222-4333-8444-000000000002\ncorrelation: {{type: temporal_ordered, rules: [denied, denied], group-by: [kms.principal], timespan: 5m{condition}}}\n"
        )
    };
    for all in ["", ", condition: {gte: 2}", ", condition: {eq: 2}", ", condition: {gt: 1}"] {
        assert_eq!(compiled(&[base, &ordered(all)]).rules.len(), 1, "{all}");
    }
    for some in [", condition: {gte: 1}", ", condition: {gte: 3}", ", condition: {lt: 2}", ", condition: denied"] {
        let texts = [text("f/a.yml", base), text("f/b.yml", &ordered(some))];
        let said = RuleSet::compile(&texts).diagnostics.iter().map(ToString::to_string).collect::<String>();
        assert!(said.contains("wants all of its `rules`"), "{some}: {said}");
    }
}

#[test]
fn every_mistake_has_its_place_and_the_nearest_name() {
    for (from, to, expected) in [
        (
            "title: Key",
            "titel: Key",
            "f/r.yml:1:1: error[unknown-key]: unknown key `titel`\n  help: did you mean `title`?",
        ),
        (
            "    eventName:",
            "    eventNme:",
            "f/r.yml:10:5: error[unknown-field]: no record has a field `eventNme`\n  help: did you mean `eventName`?",
        ),
        (
            "errorCode|exists",
            "errorCode|exist",
            "f/r.yml:12:15: error[unknown-modifier]: unknown modifier `exist`\n  help: did you mean `exists`?",
        ),
        ("use and not failed", "use", "f/r.yml:11:3: error[unused-selection]"),
        (
            "use and not failed",
            "use and not faild",
            "f/r.yml:13:14: error[unknown-selection]: the condition names `faild`, which is no selection\n  help: did you mean `failed`?",
        ),
        ("use and not failed", "use and (failed", "error[bad-condition]"),
        ("level: high", "level: hgih", "f/r.yml:4:8: error[bad-value]: 'hgih' is not a level"),
        ("status: stable", "status: stabel", "did you mean `stable`?"),
        ("11111111-2222-4333-8444-555555555555", "1234", "f/r.yml:2:5: error[bad-id]: '1234' is not a uuid"),
        ("quiet: 30m", "quiet: 30 minutes", "f/r.yml:16:10: error[bad-span]"),
        (
            "quiet: 30m",
            "quite: 30m",
            "f/r.yml:16:3: error[unknown-key]: unknown key `quite`\n  help: did you mean `quiet`?",
        ),
        (
            "[kms.key_arn]",
            "[kms.keyarn]",
            "f/r.yml:15:14: error[unknown-field]: no record has a field `kms.keyarn`\n  help: did you mean `kms.key_arn`?",
        ),
        ("{kms.principal} disabled", "{kms.principal disabled", "error[unknown-field]"),
        ("{kms.key}'", "{kms.key'", "error[bad-template]: a `{` without its `}`"),
        ("[DisableKey, 'Schedule*']", "[]", "f/r.yml:10:5: error[empty-list]"),
        ("eventName: [Disable", "eventName|re: ['(', Disable", "f/r.yml:10:20: error[bad-regex]"),
        ("detection:", "detections:", "f/r.yml:7:1: error[unknown-key]"),
        ("  quiet: 30m", "  resolve: {}", "f/r.yml:16:12: error[bad-value]: `resolve` is a map"),
        ("tags: [", "tags: ]", "error[yaml-syntax]"),
    ] {
        let yaml = GOOD.replacen(from, to, 1);
        assert_ne!(yaml, GOOD, "{from}");
        let said = said_of(&yaml).join("\n");
        assert!(said.contains(expected), "{to}: wanted\n{expected}\ngot\n{said}");
        assert!(RuleSet::compile(&[text("r", &yaml)]).rules.is_none(), "{to}");
    }
    assert_eq!(said_of(GOOD), Vec::<String>::new());
}

#[test]
fn a_public_rule_with_a_strange_field_is_loaded_with_a_warning() {
    let public = "title: t\nid: 11111111-2222-4333-8444-000000000001\nlogsource: {product: aws}\ndetection: {a: {eventSource: iam.amazonaws.com, strangeThing: success}, condition: a}\n";
    let compiled = RuleSet::compile(&[text("r.yml", public)]);
    let told = compiled.diagnostics.iter().any(|told| told.to_string().contains("warning[unknown-field]"));
    assert!(compiled.rules.is_some() && told, "{:?}", compiled.diagnostics);
    let ours = format!("{public}kmswatch: {{quiet: 1h}}\n");
    assert!(RuleSet::compile(&[text("r.yml", &ours)]).rules.is_none());
}

#[test]
fn what_a_correlation_cannot_count() {
    let absence = format!("{}name: gone\n", GOOD.replace("quiet: 30m", "absence: {after: 5m}"));
    let over = |rules: &str, more: &str| {
        format!(
            "title: over\nid: 11111111-2222-4333-8444-000000000002\ncorrelation: {{type: event_count, rules: [{rules}], timespan: 5m, condition: {{gte: 9}}{more}}}\n"
        )
    };
    let said = |texts: &[&str]| {
        let texts: Vec<_> = texts.iter().enumerate().map(|(n, yaml)| text(&format!("{n}.yml"), yaml)).collect();
        let said = RuleSet::compile(&texts).diagnostics;
        said.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(
        said(&[&absence, &over("gone", "")]).contains("`gone` is of kind `absence`, which has no matches to count")
    );
    let burst = over("gone", "").replace("over", "burst\nname: burst").replace("0002", "0003");
    let base = format!("{GOOD}name: gone\n");
    let told = said(&[&base, &burst, &over("burst", ", group-by: [kms.key_arn]")]);
    assert!(told.contains("`burst` does not group by `kms.key_arn`, so its matches have none"), "{told}");
}

#[test]
fn mistakes_of_correlations_and_between_files() {
    let burst = "title: burst\nid: 11111111-2222-4333-8444-000000000002\ncorrelation: {type: event_count, rules: [nobody], timespan: 5m, condition: {gte: 9}}\n";
    assert!(said_of(burst)[0].contains("`nobody`, which is no rule"));
    for (from, to, expected) in [
        ("gte: 9", "atleast: 9", "unknown key `atleast`"),
        ("gte: 9", "gte: 0", "of one or more"),
        ("event_count", "value_count", "needs a `field`"),
        ("event_count", "event_cuont", "did you mean `event_count`?"),
        ("event_count", "temporal", "there are 1 `rules`, and never more match"),
        ("timespan: 5m", "timespan: soon", "'soon' is not a span"),
        ("timespan", "timespann", "did you mean `timespan`?"),
    ] {
        let said = said_of(&burst.replacen(from, to, 1)).join("\n");
        assert!(said.contains(expected), "{to}: {said}");
    }
    let twice = RuleSet::compile(&[text("a.yml", GOOD), text("b.yml", GOOD)]);
    assert!(twice.diagnostics[0].to_string().starts_with("b.yml:1:1: error[duplicate-id]"), "{:?}", twice.diagnostics);
    let both = GOOD.replace("level: high", "level: hgih").replace("eventSource:", "eventSurce:");
    assert_eq!(said_of(&both).len(), 2, "all mistakes are told of at once");
}

#[test]
fn the_shipped_rules_have_no_mistakes_and_examples_each() {
    let compiled = RuleSet::compile(&pack::shipped());
    let wrong = compiled.diagnostics.iter().filter(|diagnostic| diagnostic.severity != diagnostic::Severity::Note);
    let said: Vec<_> = wrong.map(ToString::to_string).collect();
    assert_eq!(said, Vec::<String>::new());
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let value = prop::sample::select(vec![
        "kms.amazonaws.com",
        "S3.amazonaws.com",
        "Decrypt",
        "de*",
        "cryptographic",
        "accessdenied",
        "denied",
        "ARN:aws:kms:eu-west-1:111122223333:key/A",
        "x",
    ]);
    let field = prop::sample::select(vec![
        core::EVENT_SOURCE,
        core::EVENT_NAME,
        derived::OPERATION,
        derived::CLASS,
        core::USER_AGENT,
        core::ERROR_CODE,
        derived::OUTCOME,
        derived::KEY_ARN,
        core::RESOURCE_ARN,
    ]);
    let leaf = (field, prop::collection::vec(value, 1..3), 0..4_u8).prop_map(|(field, values, kind)| {
        let test = |value: &str| compile_value(&locate::documents(&format!("'{value}'")).unwrap()[0], &[]).unwrap();
        let tests: Vec<_> = values.into_iter().flat_map(test).collect();
        match kind {
            0 => Predicate::AllOf(field, tests),
            1 => Predicate::Exists(field, true),
            2 => Predicate::SomeOf(field, [tests, vec![pattern::ValueTest::Null]].concat()),
            _ => Predicate::SomeOf(field, tests),
        }
    });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Predicate::All),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Predicate::Any),
            (0_usize..3, prop::collection::vec(inner.clone(), 1..3))
                .prop_map(|(n, parts)| Predicate::AtLeast(n, parts)),
            inner.prop_map(|part| Predicate::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_index_never_misses(
        predicates in prop::collection::vec(predicate(), 1..6),
        source in prop::sample::select(vec!["kms.amazonaws.com", "s3.amazonaws.com", "KMS.amazonaws.com", "x"]),
        name in prop::sample::select(vec!["Decrypt", "DECRYPT", "Describe", "X"]),
    ) {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"{source}","eventName":"{name}","errorCode":"AccessDenied","resources":[{{"ARN":"X"}},{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a"}}]}}"#
        );
        let mut record = decode(&raw, &Projection::fixed()).unwrap();
        let used = uses_of(&record).remove(0);
        derive(&mut record, &used);
        let index = Index::over(&predicates);
        let mut candidates = Vec::new();
        index.candidates(&record.fields, &mut candidates);
        for (position, predicate) in predicates.iter().enumerate() {
            if predicate.holds(&record.fields, &predicate::Searchable::new(&raw)) {
                prop_assert!(candidates.contains(&position), "{predicate:?}");
                prop_assert!(index.wants(source, name));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// The walk that explanations are made of has the verdict of the quick way.
    #[test]
    fn the_trace_has_the_verdict(predicate in predicate(), code in prop::sample::select(vec!["", r#","errorCode":null"#, r#","errorCode":"x""#])) {
        let raw = format!(
            r#"{{"eventTime":"2026-01-05T10:00:00Z","eventSource":"kms.amazonaws.com","eventName":"Decrypt","resources":[{{"ARN":"X"}},{{"ARN":"arn:aws:kms:eu-west-1:111122223333:key/a"}}]{code}}}"#
        );
        let mut record = decode(&raw, &Projection::fixed()).unwrap();
        let used = uses_of(&record).remove(0);
        derive(&mut record, &used);
        let searchable = predicate::Searchable::new(&raw);
        let trace = trace::Trace::of(&predicate, &record.fields, &searchable);
        let holds = predicate.holds(&record.fields, &searchable);
        prop_assert_eq!(trace.holds, holds);
        prop_assert_eq!(predicate.plain().holds(&record.fields, &searchable), holds);
        if holds {
            prop_assert_eq!(trace.distance(), 0);
        }
    }
}
