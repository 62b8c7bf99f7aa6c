use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::report::rules::markdown::text;
use crate::rule::{RuleText, pack};

fn shipped() -> RuleSet {
    RuleSet::compile(&pack::shipped()).rules.unwrap()
}

fn small() -> RuleSet {
    let rule = |path: &str, id: u32, title: &str, level: &str, tags: &str, selection: &str, controls: &str| {
        let text = format!(
            "title: '{title}'\nid: 11111111-2222-4333-8444-{id:012}\nlevel: {level}\ntags: [{tags}]\ndescription: 'What | it <b>means</b>'\nfalsepositives: ['# none']\nlogsource: {{product: aws}}\ndetection:\n  a: {selection}\n  condition: a\nkmswatch:\n  summary: '{{kms.who}} did {{{{it}}}}'\n  respond: ['aws kms list-keys', 'Ask ``` {{kms.session|kms.who}}']\n  controls: [{controls}]\n"
        );
        RuleText { path: path.to_owned(), text }
    };
    let texts = [
        rule(
            "grants/b c.yml",
            1,
            "Grant",
            "high",
            "attack.persistence, attack.t1098.003",
            "{kms.operation: CreateGrant}",
            "'PCI:10.2', 'PCI:3.6'",
        ),
        rule(
            "grants/a.yml",
            2,
            "A | *grant* of <all>",
            "critical",
            "attack.t1098, attack.t1098.003",
            "{kms.class: grants}",
            "'PCI:3.6'",
        ),
        rule(
            "alias/c.yml",
            3,
            "Denied",
            "low",
            "attack.impact",
            "{eventSource: kms.amazonaws.com, kms.outcome: denied}",
            "",
        ),
    ];
    let compiled = RuleSet::compile(&texts);
    compiled.rules.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics))
}

#[test]
fn every_call_is_watched_or_there_is_a_reason_and_never_both() {
    let rules = shipped();
    let entries = entries(&rules);
    let rows = coverage::rows(&entries);
    assert_eq!(rows.len(), 61);
    for row in rows {
        let name = row.call.name;
        let titles: Vec<_> = row.rules.iter().map(|entry| &entry.rule.meta.title).collect();
        match (titles.is_empty(), coverage::reason_not_to(name)) {
            (true, None) => panic!("{name}: no rule looks at it; write one, or a reason into coverage.rs"),
            (false, Some(_)) => panic!("{name}: {titles:?} look at it; delete the reason in coverage.rs"),
            _ => {}
        }
    }
}

#[test]
fn every_format_is_the_same_whatever_the_order_of_files() {
    let mut texts = pack::shipped();
    let all = |texts: &[RuleText]| {
        let rules = RuleSet::compile(texts).rules.unwrap();
        let entries = entries(&rules);
        let render: [fn(&[Entry<'_>]) -> String; 6] =
            [table::render, json::render, navigator::render, coverage::render, controls::render, markdown::render];
        render.map(|render| render(&entries))
    };
    let first = all(&texts);
    texts.reverse();
    assert_eq!(first, all(&texts));
}

#[test]
fn the_table_has_a_line_for_each() {
    let rules = small();
    let expected = "\
LEVEL          FAMILY  KIND    TITLE                 ATT&CK           CONTROLS
low            alias   single  Denied
critical       grants  single  A | *grant* of <all>  T1098 T1098.003  PCI:3.6
high           grants  single  Grant                 T1098.003        PCI:10.2 PCI:3.6
3 rules
";
    assert_eq!(table::render(&entries(&rules)), expected);
}

#[test]
fn the_layer_scores_techniques_and_opens_their_parents() {
    let rules = small();
    let layer: Value = serde_json::from_str(&navigator::render(&entries(&rules))).unwrap();
    assert_eq!(
        (layer["versions"]["layer"].as_str(), layer["domain"].as_str()),
        (Some("4.5"), Some("enterprise-attack"))
    );
    let of = |id: &str| layer["techniques"].as_array().unwrap().iter().find(|one| one["techniqueID"] == id).unwrap();
    assert_eq!((of("T1098")["score"].as_u64(), of("T1098")["showSubtechniques"].as_bool()), (Some(1), Some(true)));
    assert_eq!(of("T1098.003")["comment"], "A | *grant* of <all>\nGrant");
    assert_eq!(of("T1098.003")["score"], 2);

    let rules = shipped();
    let layer: Value = serde_json::from_str(&navigator::render(&entries(&rules))).unwrap();
    let ids: Vec<_> =
        layer["techniques"].as_array().unwrap().iter().map(|one| one["techniqueID"].to_string()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "each once");
    assert!(ids.len() > 10, "{ids:?}");
}

#[test]
fn controls_come_in_their_order() {
    let rules = small();
    let expected = "\
CONTROL   RULES
PCI:3.6   A | *grant* of <all>
          Grant
PCI:10.2  Grant
2 controls, 1 rules without one
";
    assert_eq!(controls::render(&entries(&rules)), expected);
}

#[test]
fn coverage_counts_what_looks_at_a_call() {
    let rules = small();
    let entries = entries(&rules);
    let text = coverage::render(&entries);
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    assert!(line("CreateGrant").ends_with("critical       A | *grant* of <all>"), "{text}");
    assert!(
        line("RevokeGrant").contains("A | *grant*") && line("Decrypt").contains("not watched: no rule looks at it")
    );
    assert!(line("GenerateRandom").contains("not watched: uses no key"));
    assert!(text.contains("WHATEVER THE CALL\n") && text.contains("61 calls: 3 watched, "), "{text}");
}

#[test]
fn the_page_shows_text_as_it_is() {
    let rules = small();
    let page = markdown::render(&entries(&rules));
    for expected in [
        "### A \\| \\*grant\\* of &lt;all&gt;\n",
        "What \\| it &lt;b&gt;means&lt;/b&gt;\n",
        "- Alert: `{kms.who} did {{it}}`\n- Harmless: \\# none\n- Controls: PCI:10.2, PCI:3.6\n",
        "````text\naws kms list-keys\nAsk ``` {kms.session|kms.who}\n````",
        "[grants/b c.yml](grants/b%20c.yml)",
        "[T1098.003](https://attack.mitre.org/techniques/T1098/003/)",
        "| grants | CreateGrant | API | [A \\| \\*grant\\* of &lt;all&gt;](grants/a.yml), [Grant](grants/b%20c.yml) |",
        "Whatever the call: [Denied](alias/c.yml).",
        "| PCI:3.6 | [A",
        "| alias |  |  |  | 1 |  |",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
}

#[test]
fn markdown_is_escaped() {
    for (given, shown) in [
        ("a_b `c` [d](e) | f", "a\\_b \\`c\\` \\[d\\](e) \\| f"),
        ("- x\n\n  y", "\\- x y"),
        ("1. first", "1\\. first"),
        ("10.2.1 of it", "10\\.2\\.1 of it"),
        ("v1.2 & <script>", "v1.2 &amp; &lt;script&gt;"),
        ("bell\u{7}", "bell\u{fffd}"),
    ] {
        assert_eq!(text(given), shown);
    }
}
