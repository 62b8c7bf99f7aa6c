use super::*;

pub(crate) fn sample() -> Alert {
    let key = AlertKey {
        arn: "arn:aws:kms:eu-west-1:111122223333:key/k-1".into(),
        alias: Some("alias/vault".into()),
        domain: Some("token-vault".into()),
        tier: Some("critical".into()),
        owner: None,
    };
    let time = EventTime::parse("2026-01-05T10:00:00Z").unwrap();
    Alert {
        schema: 1,
        id: "i-1".into(),
        dedup_key: "d-1".into(),
        status: Status::Open,
        merged_into: None,
        late: false,
        saturated: false,
        rule: AlertRule {
            id: "11111111-2222-4333-8444-555555555555".into(),
            title: "Key disabled".into(),
            level: Level::High,
            family: "availability".into(),
            tags: vec![],
            controls: vec!["PCI-DSS-4.0.1:10.2.1".into()],
            hash: "h".into(),
        },
        level: Level::High,
        note: None,
        summary: "somebody disabled alias/vault".into(),
        changes: vec!["alias/a goes from k-1 to k-2".to_owned()],
        group: BTreeMap::from([("kms.key_arn".into(), key.arn.clone())]),
        count: 2,
        first_event_time: time,
        last_event_time: time + crate::time::Span::from_secs(90),
        detected_at: time,
        account: Some("111122223333".into()),
        region: Some("eu-west-1".into()),
        keys: vec![key],
        principals: vec!["arn:aws:iam::111122223333:user/ann".into()],
        expected: Expectation::default(),
        event_ids: (0..100).map(|n| format!("event-{n:04}")).collect(),
        event_ids_truncated: false,
        evidence: vec![serde_json::json!({"a": "x".repeat(1000)}); 3],
        respond: vec!["aws kms enable-key --key-id k-1".into()],
    }
}

#[test]
fn text_says_what_who_when_and_what_to_do() {
    let text = text::render(&sample());
    for part in [
        "[HIGH] Key disabled\nsomebody disabled alias/vault\n",
        "key       alias/vault, domain token-vault, tier critical, arn:aws:kms",
        "who       arn:aws:iam::111122223333:user/ann",
        "when      2026-01-05T10:00:00Z to 2026-01-05T10:01:30Z (2 records in 90s)",
        "do now\n    aws kms enable-key --key-id k-1",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let resolved = Alert { status: Status::Resolved, ..sample() };
    assert!(!text::render(&resolved).contains("do now"));
    assert_eq!(text::subject(&resolved), "[HIGH resolved] Key disabled");
}

#[test]
fn short_texts_keep_their_limits() {
    let mut long = sample();
    long.rule.title = "\u{e9}\n".repeat(200);
    long.summary = "\u{e9}".repeat(400);
    assert_eq!(text::short(&long).chars().count(), 160);
    let subject = text::subject(&long);
    assert!(subject.len() <= 99 && subject.chars().all(|c| c.is_ascii() && !c.is_control()), "{subject}");
}

#[test]
fn json_is_cut_by_meaning() {
    let alert = sample();
    let whole = json::line(&alert);
    assert_eq!(serde_json::from_str::<Alert>(&whole).unwrap(), alert);
    assert_eq!(json::line_within(&alert, whole.len()), whole);
    for max_bytes in [4_000, 2_600, 1_300] {
        let line = json::line_within(&alert, max_bytes);
        let cut: Alert = serde_json::from_str(&line).unwrap();
        assert!(line.len() <= max_bytes, "{} > {max_bytes}", line.len());
        assert_eq!((cut.id, cut.count), (alert.id.clone(), alert.count));
        assert!(cut.event_ids.len() == 100 || cut.event_ids_truncated);
    }
}
